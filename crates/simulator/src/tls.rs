//! Certificates of the simulated servers: each has its own, made when it starts.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A key and the self-signed certificate for it.
///
/// The certificate is a leaf, not a CA, so that it can serve as its own trust anchor.
#[derive(Clone)]
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pkcs8: Vec<u8>,
}

/// Why a certificate or a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate could not be made, for example because a name is no DNS name.
    #[error("certificate not made")]
    Certificate(#[from] rcgen::Error),
    /// The certificate was made but the TLS library does not take it.
    #[error("certificate not usable")]
    Config(#[from] rustls::Error),
}

impl Identity {
    /// Makes a new key (ECDSA P-256) and a certificate for `names`, DNS names or IP addresses.
    ///
    /// The first name is the common name.
    pub(crate) fn generate(names: &[&str]) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let common_name = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::OrganizationName, "ovftransfer simulator");
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pkcs8: key.serialize_der(),
        })
    }

    /// SHA-1 of the certificate as `sslThumbprint` has it: upper case, pairs parted by colons.
    pub(crate) fn thumbprint_sha1(&self) -> String {
        colon_hex(&Sha1::digest(&self.certificate))
    }

    /// SHA-256 of the certificate in the same form.
    pub(crate) fn thumbprint_sha256(&self) -> String {
        colon_hex(&Sha256::digest(&self.certificate))
    }

    /// The certificate in PEM.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate in DER, for clients in tests.
    #[cfg(test)]
    pub(crate) fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A configuration for TLS 1.2 and 1.3 that offers HTTP/1.1 only.
    pub(crate) fn server_config(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key_pkcs8.clone()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("thumbprint", &self.thumbprint_sha1()).finish()
    }
}

/// Bytes as `sslThumbprint` has them.
pub(crate) fn colon_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        let separator = if index == 0 { "" } else { ":" };
        // Writing to a String cannot fail.
        write!(text, "{separator}{byte:02X}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_have_the_form_of_vsphere() {
        let identity = Identity::generate(&["localhost", "127.0.0.1"]).unwrap();
        assert_eq!(identity.thumbprint_sha1().len(), 59);
        assert_eq!(identity.thumbprint_sha256().len(), 95);
        assert!(identity.certificate_pem().starts_with("-----BEGIN CERTIFICATE-----"));
        identity.server_config().unwrap();
    }

    #[test]
    fn every_identity_is_another() {
        let one = Identity::generate(&["localhost"]).unwrap();
        let two = Identity::generate(&["localhost"]).unwrap();
        assert_ne!(one.thumbprint_sha1(), two.thumbprint_sha1());
    }

    #[test]
    fn a_name_that_is_none_is_an_error() {
        assert!(Identity::generate(&["ä"]).is_err());
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let identity = Identity::generate(&["localhost"]).unwrap();
        assert!(!format!("{identity:?}").contains("key"));
    }
}
