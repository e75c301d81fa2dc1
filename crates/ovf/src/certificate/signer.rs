//! Who has signed: what the certificate says.

use std::fmt;
use std::time::Duration;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use x509_cert::der::DateTime;
use x509_cert::der::Decode;

use super::algorithm::KeyKind;
use super::algorithm::SignatureAlgorithm;
use super::algorithm::SignatureHash;
use super::error::CertificateError;

/// What the certificate of a signer says.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) serial: String,
    pub(super) not_before: Moment,
    pub(super) not_after: Moment,
    pub(super) fingerprint: Fingerprint,
    /// Whether subject and issuer are the same.
    pub(super) is_self_issued: bool,
    pub(super) key: KeyKind,
    /// The public key as its own algorithm writes it.
    pub(super) public_key: Vec<u8>,
}

impl Signer {
    pub(super) fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let sound = x509_cert::Certificate::from_der(der)
            .map_err(|error| CertificateError::X509 { reason: error.to_string() })?;
        let body = sound.tbs_certificate();
        let key = body.subject_public_key_info();
        let serial = body.serial_number().as_bytes().iter().map(|byte| format!("{byte:02x}"));
        Ok(Self {
            subject: one_line(&body.subject().to_string()),
            issuer: one_line(&body.issuer().to_string()),
            serial: serial.collect(),
            not_before: Moment(body.validity().not_before.to_unix_duration()),
            not_after: Moment(body.validity().not_after.to_unix_duration()),
            fingerprint: Fingerprint::of(der),
            is_self_issued: body.subject() == body.issuer(),
            key: KeyKind::of(key)?,
            public_key: key.subject_public_key.raw_bytes().to_vec(),
        })
    }

    /// Checks a signature over `message`.
    pub(super) fn check(
        &self,
        hash: SignatureHash,
        message: &[u8],
        signature: &[u8],
    ) -> Result<SignatureAlgorithm, CertificateError> {
        let algorithm = SignatureAlgorithm { key: self.key, hash };
        if algorithm.holds(&self.public_key, message, signature)? {
            return Ok(algorithm);
        }
        Err(CertificateError::Mismatch { subject: self.subject.clone() })
    }
}

/// A name from a certificate, fit for one line.
fn one_line(name: &str) -> String {
    if name.is_empty() {
        return "(no name)".to_owned();
    }
    let escape = |c: char| {
        let is_plain = !c.is_control() && !is_invisible(c);
        if is_plain { c.to_string() } else { c.escape_unicode().to_string() }
    };
    let mut text: String = name.chars().take(NAME_CHARS_MAX).map(escape).collect();
    if name.chars().nth(NAME_CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

/// Characters that turn the direction of the text around them: a name could look like another one.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A point in time in a certificate; prints as RFC 3339, in UTC.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(Duration);

impl Moment {
    /// Seconds since 1970.
    #[must_use]
    pub const fn unix_seconds(self) -> u64 {
        self.0.as_secs()
    }

    pub(super) fn of(time: SystemTime) -> Self {
        // A clock before 1970 is wrong, and before every certificate.
        Self(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{} s", self.0.as_secs()),
        }
    }
}

/// The SHA-256 digest of a certificate; prints as `AA:BB:…`.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Characters of a name that are shown: enough to tell signers apart in a log line.
const NAME_CHARS_MAX: usize = 300;
