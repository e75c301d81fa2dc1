//! Keys that are encrypted with a password: PBES2 (RFC 8018), as OpenSSL 3 writes it.

use std::num::NonZeroU32;

use aws_lc_rs::cipher;
use aws_lc_rs::cipher::DecryptionContext;
use aws_lc_rs::cipher::PaddedBlockDecryptingKey;
use aws_lc_rs::cipher::UnboundCipherKey;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use pkcs5::pbes2::EncryptionScheme;
use pkcs5::pbes2::Kdf;
use pkcs5::pbes2::PBES2_OID;
use pkcs5::pbes2::Parameters;
use pkcs5::pbes2::Pbkdf2Prf;
use x509_cert::der::Decode;
use x509_cert::der::asn1::AnyRef;
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::der::items;
use super::error::KeyError;

/// Decrypts `content`, which was encrypted by this `AlgorithmIdentifier`.
///
/// # Errors
///
/// [`KeyError::PasswordWrong`] if the padding says so, [`KeyError::Encryption`] for what is not
/// supported.
pub(super) fn decrypt(
    algorithm: AnyRef<'_>,
    content: &[u8],
    password: &[u8],
    advice: &'static str,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let unsupported = |found: &str| KeyError::Encryption { found: found.to_owned(), advice };
    let broken =
        |_| KeyError::Form { reason: "the encryption of the key is not described soundly" };
    let identifier: AlgorithmIdentifierRef<'_> = algorithm.decode_as().map_err(broken)?;
    if identifier.oid != PBES2_OID {
        return Err(unsupported(old_name(&identifier.oid.to_string())));
    }
    let parameters =
        identifier.parameters.ok_or_else(|| unsupported("PBES2 without parameters"))?;
    let parameters = Parameters::try_from(parameters)
        .map_err(|_| unsupported("an algorithm that is not known"))?;
    let (cipher, key_bytes, iv) = match &parameters.encryption {
        EncryptionScheme::Aes128Cbc { iv } => (&cipher::AES_128, 16, iv),
        EncryptionScheme::Aes192Cbc { iv } => (&cipher::AES_192, 24, iv),
        EncryptionScheme::Aes256Cbc { iv } => (&cipher::AES_256, 32, iv),
        other @ (EncryptionScheme::Aes128Gcm { .. } | EncryptionScheme::Aes256Gcm { .. } | _) => {
            return Err(unsupported(&format!("the cipher {}", other.oid())));
        }
    };
    let mut key = Zeroizing::new(vec![0; key_bytes]);
    derive(&parameters.kdf, password, &mut key).map_err(unsupported)?;
    let wrong = |_| KeyError::PasswordWrong;
    let key = UnboundCipherKey::new(cipher, &key).map_err(wrong)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(wrong)?;
    let mut bytes = Zeroizing::new(content.to_vec());
    let iv = DecryptionContext::Iv128(FixedLength::from(iv));
    let plain = key.decrypt(&mut bytes, iv).map_err(wrong)?.len();
    bytes.truncate(plain);
    Ok(bytes)
}

/// Decrypts an `EncryptedPrivateKeyInfo` (RFC 5958).
pub(super) fn decrypt_key(
    der: &[u8],
    password: &[u8],
    advice: &'static str,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let broken = || KeyError::Form { reason: "the encrypted key is broken" };
    let any = AnyRef::from_der(der).map_err(|_| broken())?;
    let [algorithm, content] = items(any.value()).and_then(two).ok_or_else(broken)?;
    decrypt(algorithm, content.value(), password, advice)
}

fn two(items: Vec<AnyRef<'_>>) -> Option<[AnyRef<'_>; 2]> {
    items.try_into().ok()
}

/// Makes the key of the password.
fn derive(kdf: &Kdf, password: &[u8], key: &mut [u8]) -> Result<(), &'static str> {
    match kdf {
        Kdf::Pbkdf2(parameters) => {
            let algorithm = match parameters.prf {
                Pbkdf2Prf::HmacWithSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
                Pbkdf2Prf::HmacWithSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
                Pbkdf2Prf::HmacWithSha384 => pbkdf2::PBKDF2_HMAC_SHA384,
                Pbkdf2Prf::HmacWithSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
                Pbkdf2Prf::HmacWithSha224 | _ => return Err("PBKDF2 with an odd digest"),
            };
            let iterations = NonZeroU32::new(parameters.iteration_count)
                .filter(|count| count.get() <= ITERATIONS_MAX)
                .ok_or("PBKDF2 with an absurd number of iterations")?;
            pbkdf2::derive(algorithm, iterations, parameters.salt.as_bytes(), password, key);
            Ok(())
        }
        Kdf::Scrypt(parameters) => {
            let (cost, block) = (parameters.cost_parameter, parameters.block_size);
            let bytes = cost.saturating_mul(u64::from(block)).saturating_mul(128);
            let is_sane = cost.is_power_of_two()
                && bytes <= SCRYPT_BYTES_MAX
                && parameters.parallelization <= SCRYPT_PARALLEL_MAX;
            let log = u8::try_from(cost.trailing_zeros()).unwrap_or(u8::MAX);
            let lanes = parameters.parallelization.into();
            let scrypt = scrypt::Params::new(log, block.into(), lanes).ok().filter(|_| is_sane);
            let scrypt = scrypt.ok_or("scrypt with absurd parameters")?;
            scrypt::scrypt(password, parameters.salt.as_bytes(), &scrypt, key)
                .map_err(|_| "scrypt with a key of an absurd length")
        }
        _ => Err("a key derivation that is not known"),
    }
}

/// What people call the ways of before PBES2 (RFC 7292 appendix C, RFC 8018 appendix A.3).
fn old_name(oid: &str) -> &str {
    match oid {
        "1.2.840.113549.1.12.1.1" | "1.2.840.113549.1.12.1.2" => "RC4",
        "1.2.840.113549.1.12.1.3" | "1.2.840.113549.1.12.1.4" => "3DES",
        "1.2.840.113549.1.12.1.5" | "1.2.840.113549.1.12.1.6" => "RC2",
        "1.2.840.113549.1.5.3" | "1.2.840.113549.1.5.10" => "DES",
        other => other,
    }
}

/// Most iterations of PBKDF2.  OpenSSL takes 2,048, other tools up to a million; these take about
/// five seconds.
const ITERATIONS_MAX: u32 = 10_000_000;

/// Most memory of scrypt.  OpenSSL takes 16 MiB.
const SCRYPT_BYTES_MAX: u64 = 256 << 20;

/// Most lanes of scrypt; everybody takes one.
const SCRYPT_PARALLEL_MAX: u16 = 16;
