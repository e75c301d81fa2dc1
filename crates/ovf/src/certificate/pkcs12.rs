//! PKCS#12 (RFC 7292): a key and its certificates in one file.
//!
//! The file's own checksum is not looked at: a wrong password shows in the padding, and whether key
//! and certificate belong together is checked anyway.

use x509_cert::der::Decode;
use x509_cert::der::Tag;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::asn1::ObjectIdentifier;
use zeroize::Zeroizing;

use super::der::items;
use super::error::KeyError;
use super::pbes;

/// What is in a file: the private keys as PKCS#8, and the certificates.
#[derive(Default)]
pub(super) struct Content {
    pub(super) keys: Vec<Zeroizing<Vec<u8>>>,
    pub(super) certificates: Vec<Vec<u8>>,
}

/// Opens a file.
pub(super) fn open(der: &[u8], password: &[u8]) -> Result<Content, KeyError> {
    let any = AnyRef::from_der(der).map_err(|_| BROKEN)?;
    // version, authSafe, perhaps macData
    let fields = sequence(any)?;
    let safe = fields.get(1).ok_or(BROKEN)?;
    let (kind, safe) = tagged(*safe)?;
    if kind != DATA {
        return Err(KeyError::Form {
            reason: "the PKCS#12 file is signed, which is not supported",
        });
    }
    let mut content = Content::default();
    for info in nested(safe)? {
        let (kind, inner) = tagged(info)?;
        match kind {
            DATA => content.take(&nested(inner)?, password)?,
            ENCRYPTED_DATA => {
                // version, (type, algorithm, [0] bytes)
                let fields = sequence(inner)?;
                let fields = sequence(*fields.get(1).ok_or(BROKEN)?)?;
                let (Some(algorithm), Some(bytes)) = (fields.get(1), fields.get(2)) else {
                    return Err(BROKEN);
                };
                let plain = pbes::decrypt(*algorithm, bytes.value(), password, ADVICE)?;
                // Bytes that a wrong password made may have the right padding by chance.
                let any = AnyRef::from_der(&plain).map_err(|_| KeyError::PasswordWrong)?;
                content.take(&sequence(any)?, password)?;
            }
            _ => {}
        }
    }
    Ok(content)
}

impl Content {
    /// Takes keys and certificates out of a list of bags.
    fn take(&mut self, bags: &[AnyRef<'_>], password: &[u8]) -> Result<(), KeyError> {
        for bag in bags {
            let (kind, value) = tagged(*bag)?;
            match kind {
                KEY_BAG => self.keys.push(encoded(value)?),
                SHROUDED_KEY_BAG => {
                    self.keys.push(pbes::decrypt_key(&encoded(value)?, password, ADVICE)?);
                }
                CERTIFICATE_BAG => {
                    let (kind, value) = tagged(value)?;
                    if kind == X509_CERTIFICATE {
                        self.certificates.push(value.value().to_vec());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A type, and what stands in the `[0]` after it: `ContentInfo`, `SafeBag` and `CertBag` are so.
fn tagged(any: AnyRef<'_>) -> Result<(ObjectIdentifier, AnyRef<'_>), KeyError> {
    let fields = sequence(any)?;
    let (Some(kind), Some(value)) = (fields.first(), fields.get(1)) else { return Err(BROKEN) };
    let kind = kind.decode_as().map_err(|_| BROKEN)?;
    let value = AnyRef::from_der(value.value()).map_err(|_| BROKEN)?;
    Ok((kind, value))
}

/// The items of the sequence that stands in an octet string.
fn nested(any: AnyRef<'_>) -> Result<Vec<AnyRef<'_>>, KeyError> {
    sequence(AnyRef::from_der(any.value()).map_err(|_| BROKEN)?)
}

fn sequence(any: AnyRef<'_>) -> Result<Vec<AnyRef<'_>>, KeyError> {
    use x509_cert::der::Tagged;

    if any.tag() != Tag::Sequence {
        return Err(BROKEN);
    }
    items(any.value()).ok_or(BROKEN)
}

/// A value with its tag and length again.
fn encoded(any: AnyRef<'_>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    use x509_cert::der::Encode;

    any.to_der().map(Zeroizing::new).map_err(|_| BROKEN)
}

const BROKEN: KeyError = KeyError::Form {
    reason: "neither PEM nor a sound PKCS#12 file; openssl pkcs12 -export makes one",
};

const ADVICE: &str = "convert it: openssl pkcs12 -legacy -in OLD.p12 -out KEY.pem, which can be \
                      given instead";

/// `id-data` (RFC 5652).
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");

/// `id-encryptedData` (RFC 5652).
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");

/// `keyBag` (RFC 7292 §4.2).
const KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.1");

/// `pkcs8ShroudedKeyBag`.
const SHROUDED_KEY_BAG: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");

/// `certBag`.
const CERTIFICATE_BAG: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.3");

/// `x509Certificate` (RFC 2985).
const X509_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.22.1");
