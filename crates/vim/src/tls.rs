//! Whom we talk to: trust in system roots, in a CA, or in one pinned certificate.
//!
//! Whatever the trust, the certificate is judged inside the handshake, before a byte of a request
//! is sent.  A refused certificate's SHA-256 thumbprint travels in the error, so that a user can
//! compare it and pin it.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_platform_verifier::Verifier;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Which server certificates are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trust {
    /// Certificates that chain up to one in this PEM text (one or more), and name the host.
    CaPem(Arc<[u8]>),
    /// Any certificate at all.  For laboratories: whoever answers gets the password.
    Insecure,
    /// Exactly the certificate with this thumbprint; names and dates are not looked at.
    Pinned(Thumbprint),
    /// Certificates that the operating system trusts.
    #[default]
    System,
}

impl Trust {
    /// Trusts the authorities in this PEM text, if it has some.
    ///
    /// # Errors
    ///
    /// What is wrong with a certificate, or that there is none.
    pub fn of_ca_pem(pem: &[u8]) -> Result<Self, String> {
        roots(pem).map(|_| Self::CaPem(Arc::from(pem)))
    }
}

/// The hash of a certificate's DER bytes, as vSphere prints it (`protocol` section 4.2).
///
/// Parses 20 bytes (SHA-1) or 32 bytes (SHA-256) of hex, with or without colons, in any case;
/// prints `AA:BB:..`, 59 or 95 characters.
///
/// ```
/// use ovftransfer_vim::tls::Thumbprint;
///
/// let thumbprint: Thumbprint = "00112233445566778899aabbccddeeff00112233".parse()?;
/// assert_eq!(thumbprint.to_string(), "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33");
/// # Ok::<(), ovftransfer_vim::tls::ThumbprintError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint(Hash);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Hash {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

/// The hash of a thumbprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThumbprintAlgorithm {
    /// 20 bytes; what vSphere has always printed.
    Sha1,
    /// 32 bytes; what newer releases print.
    Sha256,
}

/// A text is not a thumbprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-1 or SHA-256 thumbprint: {digits} hex digits, expected 40 or 64")]
pub struct ThumbprintError {
    digits: usize,
}

/// A certificate was refused in the handshake.
#[derive(Debug)]
pub(crate) struct Refused {
    /// SHA-256 thumbprint of what was presented.
    pub(crate) presented: Thumbprint,
    pub(crate) reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for Refused {}

impl Thumbprint {
    /// The thumbprint of a certificate given as DER bytes.
    #[must_use]
    pub fn of(der: &[u8], algorithm: ThumbprintAlgorithm) -> Self {
        Self(match algorithm {
            ThumbprintAlgorithm::Sha1 => Hash::Sha1(Sha1::digest(der).into()),
            ThumbprintAlgorithm::Sha256 => Hash::Sha256(Sha256::digest(der).into()),
        })
    }

    /// Which hash it is.
    #[must_use]
    pub fn algorithm(&self) -> ThumbprintAlgorithm {
        match self.0 {
            Hash::Sha1(_) => ThumbprintAlgorithm::Sha1,
            Hash::Sha256(_) => ThumbprintAlgorithm::Sha256,
        }
    }

    /// Whether it is the thumbprint of the certificate `der`.
    #[must_use]
    pub fn matches(&self, der: &[u8]) -> bool {
        *self == Self::of(der, self.algorithm())
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Hash::Sha1(bytes) => bytes,
            Hash::Sha256(bytes) => bytes,
        }
    }
}

impl FromStr for Thumbprint {
    type Err = ThumbprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Vec<char> = text.trim().chars().filter(|c| *c != ':').collect();
        let error = ThumbprintError { digits: digits.len() };
        let bytes: Option<Vec<u8>> = digits
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => u8::try_from(high.to_digit(16)? * 16 + low.to_digit(16)?).ok(),
                _ => None,
            })
            .collect();
        let bytes = bytes.ok_or_else(|| error.clone())?;
        if let Ok(bytes) = <[u8; 20]>::try_from(bytes.as_slice()) {
            Ok(Self(Hash::Sha1(bytes)))
        } else if let Ok(bytes) = <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(Self(Hash::Sha256(bytes)))
        } else {
            Err(error)
        }
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.bytes().iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

/// A TLS configuration that accepts what `trust` accepts.  TLS 1.2 and 1.3, HTTP/1.1.
///
/// # Errors
///
/// The text of a CA file has no usable certificate, or the system's roots cannot be read.
pub(crate) fn client_config(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let policy = match trust {
        Trust::CaPem(pem) => Policy::Chain(ca_verifier(pem, Arc::clone(&provider))?),
        Trust::Insecure => Policy::Any,
        Trust::Pinned(thumbprint) => Policy::Pin(*thumbprint),
        Trust::System => Policy::Chain(Arc::new(
            Verifier::new(Arc::clone(&provider)).map_err(|e| e.to_string())?,
        )),
    };
    let verifier = Arc::new(Judge { policy, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn ca_verifier(
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let unusable = |problem: String| format!("the CA certificates: {problem}");
    let roots = roots(pem).map_err(unusable)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(verifier)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    if roots.is_empty() { Err("none found".to_owned()) } else { Ok(roots) }
}

#[derive(Debug)]
enum Policy {
    Any,
    Chain(Arc<dyn ServerCertVerifier>),
    Pin(Thumbprint),
}

/// Judges the certificate by a policy.  The proof that the peer owns its key is always checked:
/// without it a pin would only say that somebody has seen the certificate.
#[derive(Debug)]
struct Judge {
    policy: Policy,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let reason = match &self.policy {
            Policy::Any => return Ok(ServerCertVerified::assertion()),
            Policy::Pin(pin) if pin.matches(end_entity) => {
                return Ok(ServerCertVerified::assertion());
            }
            Policy::Pin(pin) => {
                let presented = Thumbprint::of(end_entity, pin.algorithm());
                format!("its certificate has the thumbprint {presented}, expected {pin}")
            }
            Policy::Chain(chain) => {
                match chain.verify_server_cert(
                    end_entity,
                    intermediates,
                    server_name,
                    ocsp_response,
                    now,
                ) {
                    Ok(verified) => return Ok(verified),
                    Err(error) => error.to_string(),
                }
            }
        };
        let presented = Thumbprint::of(end_entity, ThumbprintAlgorithm::Sha256);
        let refused = Arc::new(Refused { presented, reason });
        Err(CertificateError::Other(OtherError(refused)).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_read_every_common_form() {
        let sha1 = Thumbprint::of(b"certificate", ThumbprintAlgorithm::Sha1);
        let text = sha1.to_string();
        assert_eq!(text.len(), 59);
        assert_eq!(text.parse(), Ok(sha1));
        assert_eq!(text.to_lowercase().replace(':', "").parse(), Ok(sha1));
        let sha256 = Thumbprint::of(b"certificate", ThumbprintAlgorithm::Sha256);
        assert_eq!(sha256.to_string().len(), 95);
        assert_eq!(format!(" {sha256}\n").parse(), Ok(sha256));
        assert!(sha1.matches(b"certificate") && sha256.matches(b"certificate"));
        assert!(!sha1.matches(b"another"));
    }

    #[test]
    fn other_texts_are_not_thumbprints() {
        for text in ["", "AA", "zz", "AA:B", "é0", &"A".repeat(39), &"A".repeat(128)] {
            assert!(text.parse::<Thumbprint>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_trust_makes_a_configuration_or_says_why_not() {
        let pin = Thumbprint::of(b"", ThumbprintAlgorithm::Sha256);
        client_config(&Trust::Pinned(pin)).unwrap();
        client_config(&Trust::Insecure).unwrap();
        let none = client_config(&Trust::CaPem(Arc::from(&b"nothing here"[..]))).unwrap_err();
        assert!(none.contains("none found"), "{none}");
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(client_config(&Trust::CaPem(Arc::from(&broken[..]))).is_err());
    }
}
