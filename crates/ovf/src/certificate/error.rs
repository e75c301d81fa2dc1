//! What can be wrong with a certificate file, and with a key.

use crate::name::FileName;
use crate::name::NameError;

/// Why a certificate file cannot be used, or what it does not prove.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The first line names no algorithm that signatures are made with.
    #[error("unknown digest algorithm \"{found}\", expected SHA256, SHA384, SHA512 or SHA1")]
    Algorithm {
        /// The word that was read, escaped and shortened.
        found: String,
    },
    /// The file is not UTF-8.
    #[error("not UTF-8 text")]
    Encoding,
    /// The first line has not the form of a signature.
    #[error("the first line is not of the form \"SHA256(name.mf)= signature\"")]
    Form,
    /// The certificate's key is of a kind that cannot be checked.
    #[error(
        "the certificate has a key that cannot be checked ({found}); RSA of 1,024 to 8,192 bits, \
         ECDSA on P-256, P-384 and P-521, and Ed25519 can"
    )]
    Key {
        /// What the key is.
        found: String,
    },
    /// The signature is for a manifest of another name.
    #[error("it signs {certified}, but the manifest is {found}")]
    Manifest {
        /// The name in the first line.
        certified: FileName,
        /// The manifest's.
        found: FileName,
    },
    /// The signature is not one over the manifest by the certificate's key.
    #[error(
        "the signature of {subject} does not fit the manifest: one of them, or the certificate, \
         has been changed"
    )]
    Mismatch {
        /// The subject of the certificate.
        subject: String,
    },
    /// The manifest's name in the first line is not one of a package.
    #[error("{0}")]
    Name(NameError),
    /// There is no certificate in the file.
    #[error("no certificate in it (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// A PEM block is broken.
    #[error("a PEM block ({label}) is broken")]
    Pem {
        /// What the block is called, escaped and shortened.
        label: String,
    },
    /// The file is larger than 256 KiB.
    #[error("larger than {} bytes", CERTIFICATE_BYTES_MAX)]
    TooLarge,
    /// There are more than 16 certificates in the file.
    #[error("more than {} certificates", CERTIFICATES_MAX)]
    TooMany,
    /// The signature is neither hex nor Base64.
    #[error("the signature is neither hex nor Base64")]
    Value,
    /// The certificate is not a sound X.509 certificate.
    #[error("the certificate is not sound: {reason}")]
    X509 {
        /// What the parser says.
        reason: String,
    },
}

/// Why a key cannot be used, or has not signed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The certificate that comes with the key cannot be used.
    #[error("{0}")]
    Certificate(CertificateError),
    /// The key is encrypted in a way that is not read.
    #[error("the key is encrypted with {found}, which is not supported; {advice}")]
    Encryption {
        /// The way.
        found: String,
        /// How to convert it.
        advice: &'static str,
    },
    /// The file is neither PEM nor PKCS#12, or its key is broken.
    #[error("{reason}")]
    Form {
        /// What was expected.
        reason: &'static str,
    },
    /// The key is not the certificate's.
    #[error("the key does not belong to the certificate of {subject}")]
    Mismatch {
        /// The subject of the certificate.
        subject: String,
    },
    /// There is no certificate.
    #[error("no certificate for the key: put it into the same file, or name its file")]
    NoCertificate,
    /// There is no private key in the file.
    #[error("no private key in it")]
    NoKey,
    /// The key is encrypted, and no password was given.
    #[error("the key is encrypted and needs a password")]
    PasswordMissing,
    /// The key does not open with the password.
    #[error("the password is wrong, or the key is damaged")]
    PasswordWrong,
    /// The library that signs has refused.
    #[error("the key cannot sign")]
    Signing,
    /// The file is larger than 1 MiB.
    #[error("larger than {} bytes: not a file with a key", KEY_BYTES_MAX)]
    TooLarge,
    /// The key is of a kind that packages are not signed with.
    #[error(
        "a key of a kind that packages are not signed with; RSA of 2,048 to 8,192 bits and ECDSA \
         on P-256, P-384 and P-521 are read everywhere"
    )]
    Unsuitable,
}

impl From<CertificateError> for KeyError {
    fn from(error: CertificateError) -> Self {
        Self::Certificate(error)
    }
}

/// Largest certificate file.  Real ones have 2 to 10 KiB, with a PKCS#7 signature some 20.
pub(super) const CERTIFICATE_BYTES_MAX: usize = 256 << 10;

/// Most certificates in a file: more than any chain has.
pub(super) const CERTIFICATES_MAX: usize = 16;

/// Largest file with a key.  Real ones have 2 to 20 KiB, with all certificates above.
pub(super) const KEY_BYTES_MAX: usize = 1 << 20;
