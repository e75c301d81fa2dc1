//! Digests as values: which algorithm, which bytes.  Nothing is hashed here.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

/// A digest algorithm that a manifest may name.
#[expect(clippy::exhaustive_enums, reason = "closed by DSP0243 and by what vSphere computes")]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DigestAlgorithm {
    /// SHA-1, of OVF 1.x packages and of lease manifests before vSphere 6.7.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl DigestAlgorithm {
    /// The word that stands in a manifest: `SHA256`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// Length of a digest in bytes.
    #[must_use]
    pub fn len_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Reads `SHA256`, `sha256`, `SHA-256`, `256`, and `SHA2-256` of OpenSSL 3 alike.
impl FromStr for DigestAlgorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let lower = text.trim().to_ascii_lowercase();
        let bits = lower.strip_prefix("sha").unwrap_or(&lower);
        match bits.strip_prefix('-').unwrap_or(bits) {
            "1" => Ok(Self::Sha1),
            "256" | "2-256" => Ok(Self::Sha256),
            "512" | "2-512" => Ok(Self::Sha512),
            _ => Err(DigestError::Algorithm { found: crate::name::shown(text) }),
        }
    }
}

/// A digest and the algorithm that made it.
///
/// Holds bytes, not text, so that equality does not depend on the case of hex digits.
///
/// ```
/// use ovftransfer_ovf::{Digest, DigestAlgorithm};
///
/// let upper = Digest::from_hex(DigestAlgorithm::Sha1, &"AB".repeat(20))?;
/// let lower = Digest::from_hex(DigestAlgorithm::Sha1, &"ab".repeat(20))?;
/// assert_eq!(upper, lower);
/// assert!(upper.to_string().starts_with("SHA1:abab"));
/// # Ok::<(), ovftransfer_ovf::DigestError>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Digest {
    algorithm: DigestAlgorithm,
    /// Zero after the algorithm's length, so that the derived equality is right.
    bytes: [u8; BYTES_MAX],
}

impl Digest {
    /// Takes the output of a hash function.
    ///
    /// # Errors
    ///
    /// [`DigestError::Length`] if `bytes` has not the length of the algorithm.
    pub fn new(algorithm: DigestAlgorithm, bytes: &[u8]) -> Result<Self, DigestError> {
        let mut own = [0; BYTES_MAX];
        match own.get_mut(..algorithm.len_bytes()) {
            Some(place) if place.len() == bytes.len() => place.copy_from_slice(bytes),
            _ => return Err(DigestError::Length { algorithm, found_bytes: bytes.len() }),
        }
        Ok(Self { algorithm, bytes: own })
    }

    /// Reads hex digits of either case.
    ///
    /// # Errors
    ///
    /// [`DigestError::Hex`] if `hex` is not made of pairs of hex digits, [`DigestError::Length`] if
    /// it is too long or too short.
    pub fn from_hex(algorithm: DigestAlgorithm, hex: &str) -> Result<Self, DigestError> {
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let mut bytes = Vec::with_capacity(BYTES_MAX);
        for pair in hex.as_bytes().chunks(2).take(BYTES_MAX + 1) {
            let [high, low] = *pair else { return Err(DigestError::Hex) };
            match (nibble(high), nibble(low)) {
                (Some(high), Some(low)) => bytes.push(high << 4 | low),
                _ => return Err(DigestError::Hex),
            }
        }
        Self::new(algorithm, &bytes)
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The digest itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.algorithm.len_bytes()).unwrap_or_default()
    }

    /// The digest as lower-case hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(2 * self.algorithm.len_bytes());
        for byte in self.as_bytes() {
            // Writing to a `String` cannot fail.
            let _infallible = write!(hex, "{byte:02x}");
        }
        hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Why something is not a digest.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The algorithm is not one of SHA-1, SHA-256 and SHA-512.
    #[error("unknown digest algorithm \"{found}\", expected SHA1, SHA256 or SHA512")]
    Algorithm {
        /// The word that was read, escaped and shortened.
        found: String,
    },
    /// The digest is not made of pairs of hex digits.
    #[error("the digest is not made of hex digits")]
    Hex,
    /// The digest has the wrong length for its algorithm.
    #[error(
        "a digest of {found_bytes} bytes, but one of {algorithm} has {}",
        algorithm.len_bytes()
    )]
    Length {
        /// The algorithm that was asked for.
        algorithm: DigestAlgorithm,
        /// Bytes that were given; of longer hex text only one byte too many is counted.
        found_bytes: usize,
    },
}

/// Length of the longest digest, that of SHA-512.
const BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_hex_and_lengths_are_refused() {
        let sha1 = |hex: &str| Digest::from_hex(DigestAlgorithm::Sha1, hex);
        assert_eq!(sha1("zz"), Err(DigestError::Hex));
        assert_eq!(sha1("abc"), Err(DigestError::Hex));
        assert_eq!(sha1("+1"), Err(DigestError::Hex));
        let length = |found_bytes| {
            Err(DigestError::Length { algorithm: DigestAlgorithm::Sha1, found_bytes })
        };
        assert_eq!(sha1(""), length(0));
        assert_eq!(sha1(&"00".repeat(19)), length(19));
        assert_eq!(sha1(&"00".repeat(1000)), length(65));
    }

    #[test]
    fn algorithms_are_read_in_any_writing() {
        for text in ["SHA256", "sha256", "SHA-256", "SHA2-256", "256", " Sha256 "] {
            assert_eq!(text.parse(), Ok(DigestAlgorithm::Sha256));
        }
        for text in ["", "MD5", "SHA3-256", "SHA", "sha 256", "SHA2-1", "SHA2-512/256"] {
            assert!(text.parse::<DigestAlgorithm>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_algorithm_is_part_of_equality() {
        let sha256 = Digest::new(DigestAlgorithm::Sha256, &[0; 32]).unwrap();
        let sha512 = Digest::new(DigestAlgorithm::Sha512, &[0; 64]).unwrap();
        assert_ne!(sha256, sha512);
        assert_eq!(sha256.hex(), "00".repeat(32));
    }
}
