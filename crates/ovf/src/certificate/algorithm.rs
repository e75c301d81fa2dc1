//! How signatures are made: the digest, and the kind of the key.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature;
use aws_lc_rs::signature::UnparsedPublicKey;
use aws_lc_rs::signature::VerificationAlgorithm;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::error::CertificateError;
use crate::name::shown;

/// The digest of a signature.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SignatureHash {
    /// SHA-1: such signatures can be forged.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl SignatureHash {
    /// The word that stands for it in a certificate file.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }
}

impl fmt::Display for SignatureHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for SignatureHash {
    type Err = CertificateError;

    /// Reads `SHA256`, `sha256`, `SHA-256` and the like.
    fn from_str(text: &str) -> Result<Self, CertificateError> {
        let word = text.trim().to_ascii_uppercase().replace('-', "");
        let all = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];
        let known = all.into_iter().find(|hash| hash.label() == word);
        known.ok_or_else(|| CertificateError::Algorithm { found: shown(text.trim()) })
    }
}

/// The kind of a signer's key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// ECDSA on the curve P-256.
    P256,
    /// ECDSA on the curve P-384.
    P384,
    /// ECDSA on the curve P-521.
    P521,
    /// RSA, PKCS#1 v1.5.
    Rsa {
        /// The length of the modulus.
        bits: u32,
    },
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::P256 => f.write_str("ECDSA P-256"),
            Self::P384 => f.write_str("ECDSA P-384"),
            Self::P521 => f.write_str("ECDSA P-521"),
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
        }
    }
}

impl KeyKind {
    /// Finds out what a certificate's key is.
    pub(super) fn of(key: &SubjectPublicKeyInfoOwned) -> Result<Self, CertificateError> {
        let algorithm = key.algorithm.oid;
        let unknown = |found: String| CertificateError::Key { found };
        match algorithm {
            ED25519 => Ok(Self::Ed25519),
            EC => {
                let curve = key.algorithm.parameters.as_ref();
                match curve.and_then(|any| any.decode_as::<ObjectIdentifier>().ok()) {
                    Some(P256) => Ok(Self::P256),
                    Some(P384) => Ok(Self::P384),
                    Some(P521) => Ok(Self::P521),
                    Some(curve) => Err(unknown(format!("curve {curve}"))),
                    None => Err(unknown("curve without a name".to_owned())),
                }
            }
            RSA => match rsa_bits(key.subject_public_key.raw_bytes()) {
                Some(bits) if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) => {
                    Ok(Self::Rsa { bits })
                }
                Some(bits) => Err(unknown(format!("RSA-{bits}"))),
                None => Err(unknown("a broken RSA key".to_owned())),
            },
            other => Err(unknown(format!("algorithm {other}"))),
        }
    }
}

/// The length of the modulus of an `RSAPublicKey` (RFC 8017 A.1.1).
fn rsa_bits(der: &[u8]) -> Option<u32> {
    use x509_cert::der::Decode;
    use x509_cert::der::Reader;
    use x509_cert::der::SliceReader;
    use x509_cert::der::asn1::UintRef;

    let mut reader = SliceReader::new(der).ok()?;
    reader
        .sequence(|key| {
            let modulus = UintRef::decode(key)?;
            UintRef::decode(key)?;
            let bytes = modulus.as_bytes();
            let zeros = bytes.first().map_or(0, |byte| byte.leading_zeros());
            let bits = u32::try_from(bytes.len()).ok().and_then(|len| len.checked_mul(8));
            Ok::<_, x509_cert::der::Error>(bits.and_then(|bits| bits.checked_sub(zeros)))
        })
        .ok()?
}

/// How a signature was made.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct SignatureAlgorithm {
    /// The signer's key.
    pub key: KeyKind,
    /// The digest; with Ed25519, which has its own, only a word.
    pub hash: SignatureHash,
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if self.key == KeyKind::Ed25519 { Ok(()) } else { write!(f, " with {}", self.hash) }
    }
}

impl SignatureAlgorithm {
    /// Whether such signatures can be forged with means that some people have: those over SHA-1,
    /// whose collisions are computed, and those of RSA keys below 2,048 bits.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        let is_short = matches!(self.key, KeyKind::Rsa { bits } if bits < RSA_BITS_GOOD);
        is_short || (self.hash == SignatureHash::Sha1 && self.key != KeyKind::Ed25519)
    }

    /// Whether `signature` is one over `message` by the key.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Key`] for a pair of key and digest that nobody uses.
    pub(super) fn holds(
        &self,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, CertificateError> {
        let unknown = || CertificateError::Key { found: self.to_string() };
        let algorithm = self.verification().ok_or_else(unknown)?;
        Ok(UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok())
    }

    fn verification(&self) -> Option<&'static dyn VerificationAlgorithm> {
        use KeyKind::P256;
        use KeyKind::P384;
        use KeyKind::P521;
        use SignatureHash::Sha1;
        use SignatureHash::Sha256;
        use SignatureHash::Sha384;
        use SignatureHash::Sha512;

        Some(match (self.key, self.hash) {
            (KeyKind::Ed25519, _) => &signature::ED25519,
            (P256, Sha1) => &signature::ECDSA_P256_SHA1_ASN1,
            (P256, Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
            (P256, Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
            (P256, Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
            (P384, Sha1) => return None,
            (P384, Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
            (P384, Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
            (P384, Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
            (P521, Sha1) => &signature::ECDSA_P521_SHA1_ASN1,
            (P521, Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
            (P521, Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
            (P521, Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
            (KeyKind::Rsa { .. }, Sha1) => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            (KeyKind::Rsa { bits }, Sha256) if bits < RSA_BITS_GOOD => {
                &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY
            }
            (KeyKind::Rsa { bits }, Sha512) if bits < RSA_BITS_GOOD => {
                &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY
            }
            (KeyKind::Rsa { bits }, Sha384) if bits < RSA_BITS_GOOD => return None,
            (KeyKind::Rsa { .. }, Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (KeyKind::Rsa { .. }, Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (KeyKind::Rsa { .. }, Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        })
    }
}

/// `rsaEncryption` (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// `id-ecPublicKey` (RFC 5480).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// `id-Ed25519` (RFC 8410).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// `secp256r1` (RFC 5480).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// `secp384r1` (RFC 5480).
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// `secp521r1` (RFC 5480).
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// The shortest RSA key that is looked at; shorter ones are broken by amateurs.
const RSA_BITS_MIN: u32 = 1024;

/// The shortest RSA key that proves something (NIST SP 800-131A).
const RSA_BITS_GOOD: u32 = 2048;

/// The longest RSA key: longer ones only cost time.
const RSA_BITS_MAX: u32 = 8192;
