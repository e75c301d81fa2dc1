//! The certificate (`.cert`): a signature over the manifest (DSP0243 1.1.0 §5.1).
//!
//! ```text
//!   SHA256(vm.mf)= 3a5f…            signature over the bytes of the manifest, in hex
//!   -----BEGIN CERTIFICATE-----     the signer's certificate (X.509)
//!   …
//!   -----END CERTIFICATE-----
//! ```
//!
//! The value is what `openssl dgst -sha256 -sign` makes: PKCS#1 v1.5 of an RSA key, a DER sequence
//! of an ECDSA key.  [`Certificate`] reads and checks such a file, [`SigningKey`] writes one.

mod algorithm;
mod der;
mod error;
mod key;
mod pbes;
mod pem;
mod pkcs12;
mod signer;
mod trust;

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

pub use self::algorithm::KeyKind;
pub use self::algorithm::SignatureAlgorithm;
pub use self::algorithm::SignatureHash;
use self::error::CERTIFICATE_BYTES_MAX;
use self::error::CERTIFICATES_MAX;
pub use self::error::CertificateError;
pub use self::error::KeyError;
pub use self::key::SigningKey;
pub use self::signer::Fingerprint;
pub use self::signer::Moment;
use self::signer::Signer;
pub use self::trust::TrustAnchors;
pub use self::trust::Verdict;
use crate::name::FileName;
use crate::name::shown;

/// A `.cert` file that has been read, not yet checked.
///
/// Reading is liberal about what tools disagree in: blanks, case, line ends, a signature in Base64
/// (as Cloud Director writes it) instead of hex, further certificates, which are taken for those
/// of intermediate authorities, and other PEM blocks, of which a warning is made (VirtualBox
/// appends a PKCS#7 signature).
///
/// ```
/// use std::time::SystemTime;
///
/// use ovftransfer_ovf::FileName;
/// use ovftransfer_ovf::certificate::{Certificate, TrustAnchors};
///
/// # fn check(cert: &[u8], manifest: &[u8], roots: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// let anchors = TrustAnchors::from_pem(roots)?;
/// let name = FileName::new("vm.mf")?;
/// let signature = Certificate::parse(cert)?.verify(&name, manifest, &anchors, SystemTime::now())?;
/// println!("signed by {}: {}", signature.subject, signature.verdict);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Certificate {
    manifest: FileName,
    hash: SignatureHash,
    signature: Vec<u8>,
    signer: Signer,
    /// The signer's certificate first, then those of intermediate authorities.
    chain: Vec<CertificateDer<'static>>,
    warnings: Vec<String>,
}

impl Certificate {
    /// Reads a certificate file.
    ///
    /// # Errors
    ///
    /// A [`CertificateError`] that says what is wrong with the file: its first line, the
    /// certificate, or a limit exceeded (256 KiB, 16 certificates).
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLarge);
        }
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let text = str::from_utf8(bytes).map_err(|_| CertificateError::Encoding)?;
        let (line, rest) = text.split_at(text.find(pem::BEGIN).unwrap_or(text.len()));
        let (manifest, hash, signature) = parse_line(line)?;
        let (mut chain, mut warnings) = (Vec::new(), Vec::new());
        for block in pem::Blocks::new(rest) {
            let block = block?;
            if block.label() == "CERTIFICATE" {
                if chain.len() == CERTIFICATES_MAX {
                    return Err(CertificateError::TooMany);
                }
                chain.push(CertificateDer::from(block.content()?.to_vec()));
            } else {
                let label = shown(block.label());
                warnings.push(format!("the certificate file has a block {label}, not checked"));
            }
        }
        let first = chain.first().ok_or(CertificateError::NoCertificate)?;
        let signer = Signer::read(first)?;
        Ok(Self { manifest, hash, signature, signer, chain, warnings })
    }

    /// The name of the manifest in the first line.
    #[must_use]
    pub const fn manifest(&self) -> &FileName {
        &self.manifest
    }

    /// Checks the signature over the manifest called `name`, and judges the signer.
    ///
    /// The signature holds, or this is an error.  Whether the signer is to be trusted is the
    /// [`verdict`](Signature::verdict): the format has no timestamps, so that good packages
    /// outlive the certificates they were signed with.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Mismatch`] if the signature is not one over these bytes by this
    /// certificate's key, [`CertificateError::Manifest`] if it is for a manifest of another name,
    /// [`CertificateError::Key`] if the key is of a kind that cannot be checked.
    pub fn verify(
        &self,
        name: &FileName,
        manifest: &[u8],
        anchors: &TrustAnchors,
        now: SystemTime,
    ) -> Result<Signature, CertificateError> {
        if !self.manifest.as_str().eq_ignore_ascii_case(name.as_str()) {
            let (certified, found) = (self.manifest.clone(), name.clone());
            return Err(CertificateError::Manifest { certified, found });
        }
        let algorithm = self.signer.check(self.hash, manifest, &self.signature)?;
        let verdict = trust::judge(&self.signer, &self.chain, algorithm, anchors, now);
        Ok(Signature {
            algorithm,
            subject: self.signer.subject.clone(),
            issuer: self.signer.issuer.clone(),
            serial: self.signer.serial.clone(),
            not_before: self.signer.not_before,
            not_after: self.signer.not_after,
            fingerprint: self.signer.fingerprint,
            verdict,
            warnings: self.warnings.clone(),
        })
    }
}

/// A signature that holds, who made it, and whether that is somebody to trust.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Signature {
    /// How it was made.
    pub algorithm: SignatureAlgorithm,
    /// Whose certificate it is, as in RFC 4514; fit for one line, as it is outside data.
    pub subject: String,
    /// Who issued the certificate.
    pub issuer: String,
    /// The certificate's serial number, in hex.
    pub serial: String,
    /// From when on the certificate is valid.
    pub not_before: Moment,
    /// Until when it is valid.
    pub not_after: Moment,
    /// The SHA-256 fingerprint of the certificate.
    pub fingerprint: Fingerprint,
    /// Whether the signer is trusted.
    pub verdict: Verdict,
    /// What is odd about the file but does no harm.
    pub warnings: Vec<String>,
}

impl Signature {
    /// Whether the signer is trusted, by the anchors and at the time of the check.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        matches!(self.verdict, Verdict::Trusted)
    }

    /// What stands against trusting the signer, as a sentence that says what to do; nothing for
    /// one who is trusted.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let (subject, fingerprint) = (&self.subject, &self.fingerprint);
        Some(match &self.verdict {
            Verdict::Trusted => return None,
            Verdict::Expired => format!(
                "the certificate of the signer, {subject}, has expired ({}): the signature fits, \
                 but it may have been made after that",
                self.not_after
            ),
            Verdict::NotYetValid => format!(
                "the certificate of the signer, {subject}, is valid only from {} on: check the \
                 clock of this machine",
                self.not_before
            ),
            Verdict::SelfSigned => format!(
                "the signer, {subject}, has a self-signed certificate, as anybody can make one; if \
                 its SHA-256 fingerprint is the right one ({fingerprint}), trust the certificate \
                 itself"
            ),
            Verdict::Untrusted { reason } => format!(
                "the certificate of the signer, {subject}, issued by {}, is not trusted: {reason}; \
                 trust its authority if the SHA-256 fingerprint is the right one ({fingerprint})",
                self.issuer
            ),
            Verdict::Weak => format!(
                "the signature of {subject} is made with {}, which can be forged: it proves \
                 nothing unless such signatures are allowed",
                self.algorithm
            ),
        })
    }
}

/// Splits as a line of a manifest: at the first `(`, and at the first `=` after the last `)`.
fn parse_line(text: &str) -> Result<(FileName, SignatureHash, Vec<u8>), CertificateError> {
    let (hash, rest) = text.split_once('(').ok_or(CertificateError::Form)?;
    // Base64 has no parenthesis, but may end in `=`.
    let (name, value) = rest.rsplit_once(')').ok_or(CertificateError::Form)?;
    let value = value.trim_start().strip_prefix('=').ok_or(CertificateError::Form)?;
    let hash = hash.parse()?;
    let manifest = FileName::from_relative(name.trim()).map_err(CertificateError::Name)?;
    // A tool may have wrapped it.
    let value: String = value.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let signature = signature_bytes(&value).ok_or(CertificateError::Value)?;
    Ok((manifest, hash, signature))
}

/// The signature: hex; or Base64, which a text of hundreds of hex digits is not by chance.
fn signature_bytes(value: &str) -> Option<Vec<u8>> {
    if value.is_empty() {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let hex: Option<Vec<u8>> = value
        .as_bytes()
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        })
        .collect();
    hex.or_else(|| pem::base64(value))
}

#[cfg(test)]
mod tests;
