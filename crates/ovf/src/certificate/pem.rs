//! PEM blocks (RFC 7468), read liberally: any width of lines, text between blocks, headers.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;
use zeroize::Zeroizing;

use super::error::CertificateError;
use crate::name::shown;

/// The blocks of a text, in their order.
#[derive(Debug)]
pub(super) struct Blocks<'t> {
    rest: &'t str,
}

impl<'t> Blocks<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { rest: text }
    }
}

impl<'t> Iterator for Blocks<'t> {
    type Item = Result<Block<'t>, CertificateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, rest) = self.rest.split_once(BEGIN)?;
        let broken = |label: &str| Some(Err(CertificateError::Pem { label: shown(label) }));
        let line = rest.lines().next().unwrap_or_default();
        let Some((label, body)) = rest.split_once(DASHES).filter(|_| line.contains(DASHES)) else {
            self.rest = "";
            return broken(line);
        };
        let Some((body, rest)) = body.split_once(&format!("-----END {label}{DASHES}")) else {
            self.rest = "";
            return broken(label);
        };
        self.rest = rest;
        Some(Ok(Block { label, body }))
    }
}

/// One block: what it is called, and what stands in it.
#[derive(Clone, Copy)]
pub(super) struct Block<'t> {
    label: &'t str,
    body: &'t str,
}

impl Block<'_> {
    /// What it is called, such as `CERTIFICATE`.
    pub(super) const fn label(&self) -> &str {
        self.label
    }

    /// Whether it has the headers of a key that OpenSSL encrypted in its old way (RFC 1421).
    pub(super) fn is_encrypted(&self) -> bool {
        self.body.contains("Proc-Type:") && self.body.contains("ENCRYPTED")
    }

    /// The bytes in it, which may be secret.
    pub(super) fn content(&self) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
        let text: String = self.body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let text = Zeroizing::new(text);
        let broken = || CertificateError::Pem { label: shown(self.label) };
        base64(&text).map(Zeroizing::new).ok_or_else(broken)
    }
}

/// Not the body: it may be a key.
impl std::fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("label", &self.label).finish_non_exhaustive()
    }
}

/// Reads Base64 with or without its padding; text without blanks.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Writes a certificate as a block: 64 characters to a line.
pub(super) fn certificate(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut block = format!("{BEGIN}CERTIFICATE{DASHES}\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_CHARS));
        block.push_str(line);
        block.push('\n');
        rest = after;
    }
    block.push_str(&format!("-----END CERTIFICATE{DASHES}\n"));
    block
}

/// What a block begins with.
pub(super) const BEGIN: &str = "-----BEGIN ";

const DASHES: &str = "-----";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Characters of a line (RFC 7468 §2).
const LINE_CHARS: usize = 64;
