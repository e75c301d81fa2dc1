//! Signs manifests.

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::KeyPair;
use aws_lc_rs::signature::RsaKeyPair;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::algorithm::SignatureHash;
use super::error::KEY_BYTES_MAX;
use super::error::KeyError;
use super::pbes;
use super::pem;
use super::pkcs12;
use super::signer::Fingerprint;
use super::signer::Moment;
use super::signer::Signer;
use crate::digest::DigestAlgorithm;
use crate::name::FileName;

/// A private key with its certificate: signs packages.
///
/// Nothing of the key can be printed.
pub struct SigningKey {
    pair: Pair,
    signer: Signer,
    certificate: CertificateDer<'static>,
}

enum Pair {
    Ecdsa(EcdsaKeyPair, SignatureHash),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    /// Reads a key and its certificate from a PEM or a PKCS#12 file, whichever it is.
    ///
    /// The certificate stands in the same file, or in `certificate` (PEM).  Of several it is the
    /// one that belongs to the key.
    ///
    /// # Errors
    ///
    /// A [`KeyError`] that says what is wrong with the file, the password or the certificate.
    pub fn read(
        bytes: &[u8],
        password: Option<&str>,
        certificate: Option<&[u8]>,
    ) -> Result<Self, KeyError> {
        // DER begins with a sequence, which is no text.
        match bytes.first() {
            Some(0x30) => Self::from_pkcs12(bytes, password, certificate),
            _ => Self::from_pem(bytes, password, certificate),
        }
    }

    /// Reads a PEM file: PKCS#8 (`PRIVATE KEY`), encrypted or not, PKCS#1 (`RSA PRIVATE KEY`) or
    /// SEC1 (`EC PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn from_pem(
        text: &[u8],
        password: Option<&str>,
        certificate: Option<&[u8]>,
    ) -> Result<Self, KeyError> {
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLarge);
        }
        let text = str::from_utf8(text)
            .map_err(|_| KeyError::Form { reason: "neither PEM nor PKCS#12" })?;
        let mut pair = None;
        for block in pem::Blocks::new(text) {
            let block = block?;
            let label = block.label();
            if !label.ends_with("PRIVATE KEY") {
                continue;
            }
            if block.is_encrypted() {
                let found = "the old way of OpenSSL (Proc-Type)".to_owned();
                return Err(KeyError::Encryption { found, advice: PEM_ADVICE });
            }
            let content = block.content()?;
            pair = Some(match label {
                "ENCRYPTED PRIVATE KEY" => {
                    let password = password.ok_or(KeyError::PasswordMissing)?;
                    let plain = pbes::decrypt_key(&content, password.as_bytes(), PEM_ADVICE)?;
                    // Bytes that a wrong password made may have the right padding by chance.
                    if plain.first() != Some(&0x30) {
                        return Err(KeyError::PasswordWrong);
                    }
                    Pair::read(&plain)?
                }
                _ => Pair::read(&content)?,
            });
            break;
        }
        let certificates = match certificate {
            Some(other) => certificates(&String::from_utf8_lossy(other))?,
            None => certificates(text)?,
        };
        Self::new(pair.ok_or(KeyError::NoKey)?, certificates)
    }

    /// Reads a PKCS#12 file (`.p12`, `.pfx`).
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); in particular [`KeyError::Encryption`] for the old encryptions
    /// (RC2, 3DES), which OpenSSL wrote before 3.0.
    pub fn from_pkcs12(
        bytes: &[u8],
        password: Option<&str>,
        certificate: Option<&[u8]>,
    ) -> Result<Self, KeyError> {
        if bytes.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLarge);
        }
        // Some are made with an empty password, so that they need none.
        let content = pkcs12::open(bytes, password.unwrap_or_default().as_bytes());
        let content = content.map_err(|error| match (error, password) {
            (KeyError::PasswordWrong, None) => KeyError::PasswordMissing,
            (error, _) => error,
        })?;
        let [key] = content.keys.as_slice() else {
            return Err(match content.keys.is_empty() {
                true => KeyError::NoKey,
                false => KeyError::Form { reason: "it has several private keys" },
            });
        };
        let certificates = match certificate {
            Some(other) => certificates(&String::from_utf8_lossy(other))?,
            None => content.certificates.into_iter().map(CertificateDer::from).collect(),
        };
        Self::new(Pair::read(key)?, certificates)
    }

    fn new(pair: Pair, certificates: Vec<CertificateDer<'static>>) -> Result<Self, KeyError> {
        let mut other = KeyError::NoCertificate;
        for certificate in certificates {
            let signer = Signer::read(&certificate)?;
            if signer.public_key == pair.public_key() {
                return Ok(Self { pair, signer, certificate });
            }
            if other == KeyError::NoCertificate {
                other = KeyError::Mismatch { subject: signer.subject };
            }
        }
        Err(other)
    }

    /// Whose certificate it is, as in RFC 4514.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.signer.subject
    }

    /// From when on the certificate is valid.
    #[must_use]
    pub const fn not_before(&self) -> Moment {
        self.signer.not_before
    }

    /// Until when the certificate is valid.
    #[must_use]
    pub const fn not_after(&self) -> Moment {
        self.signer.not_after
    }

    /// Whether the certificate is valid at this time.
    #[must_use]
    pub fn is_valid_at(&self, time: SystemTime) -> bool {
        (self.signer.not_before..=self.signer.not_after).contains(&Moment::of(time))
    }

    /// The SHA-256 fingerprint of the certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.signer.fingerprint
    }

    /// Signs the manifest called `name`: returns the content of the `.cert` file.
    ///
    /// An RSA key signs with the manifest's own `algorithm`, but never with SHA-1; an ECDSA key
    /// with the digest of its curve's strength.  Only the signer's certificate is written, as the
    /// format has one.
    ///
    /// # Errors
    ///
    /// [`KeyError::Signing`] if the key cannot.
    pub fn sign(
        &self,
        name: &FileName,
        manifest: &[u8],
        algorithm: DigestAlgorithm,
    ) -> Result<Vec<u8>, KeyError> {
        let (hash, signature) = self.pair.sign(manifest, algorithm)?;
        Ok(self.file(name, hash, &signature))
    }

    /// What a `.cert` file takes at most, in bytes, for a manifest called `name`.
    #[must_use]
    pub fn file_bytes_max(&self, name: &FileName) -> usize {
        let signature = vec![0; self.pair.signature_bytes_max()];
        self.file(name, SignatureHash::Sha512, &signature).len()
    }

    fn file(&self, name: &FileName, hash: SignatureHash, signature: &[u8]) -> Vec<u8> {
        let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{hash}({name})= {hex}\n{}", pem::certificate(&self.certificate)).into_bytes()
    }
}

/// Not the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("signer", &self.signer.subject).finish_non_exhaustive()
    }
}

impl Pair {
    /// Reads a key in PKCS#8, PKCS#1 or SEC1.
    fn read(der: &Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        if let Ok(pair) = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)) {
            return Ok(Self::Rsa(pair));
        }
        let curves = [
            (&signature::ECDSA_P256_SHA256_ASN1_SIGNING, SignatureHash::Sha256),
            (&signature::ECDSA_P384_SHA384_ASN1_SIGNING, SignatureHash::Sha384),
            (&signature::ECDSA_P521_SHA512_ASN1_SIGNING, SignatureHash::Sha512),
        ];
        for (curve, hash) in curves {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve, der) {
                return Ok(Self::Ecdsa(pair, hash));
            }
        }
        Err(KeyError::Unsuitable)
    }

    /// As the certificate has it.
    fn public_key(&self) -> &[u8] {
        match self {
            Self::Ecdsa(pair, _) => pair.public_key().as_ref(),
            Self::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// The longest signature of the key.
    fn signature_bytes_max(&self) -> usize {
        match self {
            // Two integers of the curve's size, one of them with a zero before it, and headers.
            Self::Ecdsa(_, SignatureHash::Sha256) => 72,
            Self::Ecdsa(_, SignatureHash::Sha384) => 104,
            Self::Ecdsa(..) => 139,
            Self::Rsa(pair) => pair.public_modulus_len(),
        }
    }

    fn sign(
        &self,
        message: &[u8],
        algorithm: DigestAlgorithm,
    ) -> Result<(SignatureHash, Vec<u8>), KeyError> {
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(pair, hash) => {
                let signature = pair.sign(&random, message).map_err(|_| KeyError::Signing)?;
                Ok((*hash, signature.as_ref().to_vec()))
            }
            Self::Rsa(pair) => {
                let (hash, encoding): (_, &'static signature::RsaSignatureEncoding) =
                    match algorithm {
                        DigestAlgorithm::Sha512 => {
                            (SignatureHash::Sha512, &signature::RSA_PKCS1_SHA512)
                        }
                        DigestAlgorithm::Sha1 | DigestAlgorithm::Sha256 => {
                            (SignatureHash::Sha256, &signature::RSA_PKCS1_SHA256)
                        }
                    };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .map_err(|_| KeyError::Signing)?;
                Ok((hash, signature))
            }
        }
    }
}

/// The certificates in a PEM file.
fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let mut certificates = Vec::new();
    for block in pem::Blocks::new(text) {
        let block = block?;
        if block.label() == "CERTIFICATE" {
            certificates.push(CertificateDer::from(block.content()?.to_vec()));
        }
    }
    Ok(certificates)
}

const PEM_ADVICE: &str = "convert it: openssl pkey -in OLD.pem -aes256 -out NEW.pem";
