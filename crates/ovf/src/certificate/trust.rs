//! Whether a signer is somebody to trust.

use std::fmt;
use std::time::Duration;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::TrustAnchor;
use rustls_pki_types::UnixTime;
use webpki::EndEntityCert;
use webpki::KeyUsage;
use webpki::anchor_from_trusted_cert;

use super::algorithm::SignatureAlgorithm;
use super::error::CertificateError;
use super::pem;
use super::signer::Fingerprint;
use super::signer::Moment;
use super::signer::Signer;

/// Whom to trust: authorities, and single certificates.
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors {
    authorities: Vec<CertificateDer<'static>>,
    /// Certificates that need nobody to vouch for them.
    known: Vec<Fingerprint>,
    allows_weak: bool,
}

impl TrustAnchors {
    /// Nobody.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// These authorities, such as those of the operating system.  Certificates that cannot be
    /// read are passed over when they are used.
    #[must_use]
    pub fn authorities(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        Self { authorities: certificates.into_iter().collect(), ..Self::default() }
    }

    /// The certificates in a PEM file: authorities, or those of signers themselves.
    ///
    /// # Errors
    ///
    /// [`CertificateError::NoCertificate`] and the errors of a broken one.
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        let mut anchors = Self::default();
        for block in pem::Blocks::new(&String::from_utf8_lossy(text)) {
            let block = block?;
            if block.label() == "CERTIFICATE" {
                let der = CertificateDer::from(block.content()?.to_vec());
                anchor_from_trusted_cert(&der)
                    .map_err(|error| CertificateError::X509 { reason: error.to_string() })?;
                anchors.known.push(Fingerprint::of(&der));
                anchors.authorities.push(der);
            }
        }
        if anchors.authorities.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        Ok(anchors)
    }

    /// Whether signatures that can be forged count: those over SHA-1, and of short RSA keys.
    #[must_use]
    pub fn allow_weak(mut self, allows_weak: bool) -> Self {
        self.allows_weak = allows_weak;
        self
    }

    fn anchors(&self) -> Vec<TrustAnchor<'_>> {
        self.authorities.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect()
    }
}

/// What is to be thought of a signer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// The signer would be trusted, but the certificate has expired.
    Expired,
    /// The signer would be trusted, but the certificate is not valid yet.
    NotYetValid,
    /// The certificate is its own authority.
    SelfSigned,
    /// A known authority has issued the certificate, or it is known itself.
    Trusted,
    /// No known authority stands behind the certificate.
    Untrusted {
        /// Why not.
        reason: String,
    },
    /// The signature can be forged, whoever made it.
    Weak,
}

impl Verdict {
    /// The word for it in JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::SelfSigned => "self_signed",
            Self::Trusted => "trusted",
            Self::Untrusted { .. } => "untrusted",
            Self::Weak => "weak",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word().replace('_', " "))
    }
}

/// Judges the signer of a signature that holds.
pub(super) fn judge(
    signer: &Signer,
    chain: &[CertificateDer<'_>],
    algorithm: SignatureAlgorithm,
    anchors: &TrustAnchors,
    now: SystemTime,
) -> Verdict {
    if algorithm.is_weak() && !anchors.allows_weak {
        return Verdict::Weak;
    }
    let now = Moment::of(now);
    let is_valid = (signer.not_before..=signer.not_after).contains(&now);
    // Outside of that time it is asked for the time at which the certificate was issued, when those
    // above it were valid.
    let valid_at = if is_valid { now } else { signer.not_before };
    if !anchors.known.contains(&signer.fingerprint) {
        if signer.is_self_issued {
            return Verdict::SelfSigned;
        }
        if let Err(reason) = vouched(chain, anchors, valid_at) {
            return Verdict::Untrusted { reason };
        }
    }
    match () {
        () if now > signer.not_after => Verdict::Expired,
        () if now < signer.not_before => Verdict::NotYetValid,
        () => Verdict::Trusted,
    }
}

/// Looks for a chain from the first certificate to a known authority.
fn vouched(chain: &[CertificateDer<'_>], anchors: &TrustAnchors, at: Moment) -> Result<(), String> {
    let Some((first, intermediates)) = chain.split_first() else { return Ok(()) };
    let time = UnixTime::since_unix_epoch(Duration::from_secs(at.unix_seconds()));
    let path = EndEntityCert::try_from(first).and_then(|signer| {
        let usage = KeyUsage::required_if_present(CODE_SIGNING);
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        let anchors = anchors.anchors();
        signer
            .verify_for_usage(algorithms, &anchors, intermediates, time, usage, None, None)
            .map(|_path| ())
    });
    path.map_err(|error| {
        if matches!(error, webpki::Error::UnknownIssuer) {
            "no known authority has issued it".to_owned()
        } else if matches!(error, webpki::Error::CertExpired { .. }) {
            "the certificate of an authority above it has expired".to_owned()
        } else if matches!(error, webpki::Error::RequiredEkuNotFoundContext(_)) {
            "it is not meant for signing code".to_owned()
        } else {
            error.to_string()
        }
    })
}

/// `id-kp-codeSigning` (RFC 5280 §4.2.1.12), as DER has it: 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
