//! DER (X.690), as far as it is read without a type for it.

use x509_cert::der::Reader;
use x509_cert::der::SliceReader;
use x509_cert::der::asn1::AnyRef;

/// What stands one after the other in these bytes.
pub(super) fn items(content: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(content).ok()?;
    let mut items = Vec::new();
    while !reader.is_finished() {
        items.push(reader.decode().ok()?);
    }
    Some(items)
}
