//! What is tried with bytes from outside, and what must hold whatever they are.
//!
//! Each function is one fuzz target.  That nothing panics, hangs or takes much memory is seen by
//! libFuzzer (see `.ci/fuzz` for its limits); the rest is asserted here.

mod certificate;
mod edit;
mod image;
mod lint;
mod ova;
mod seeds;

pub use certificate::certificate;
pub use edit::edit;
pub use image::qcow2;
pub use image::sparse;
pub use lint::lint;
pub use ova::mend_checksums;
pub use ova::ova;
pub use seeds::seeds;

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::envelope::EnvelopeVersion;
use ovftransfer_vmdk::GrainDecoder;
use ovftransfer_vmdk::GrainReader;
use ovftransfer_vmdk::StreamCheck;
use ovftransfer_vmdk::Summary;
use ovftransfer_vmdk::VmdkError;

/// A descriptor keeps its bytes, and its references in another order are still a descriptor.
pub fn descriptor(bytes: &[u8]) {
    let alone = Envelope::parse_alone(bytes);
    let Ok(envelope) = Envelope::parse(bytes) else {
        // What is only looked at may be worse than what is transferred.
        if let Ok(alone) = alone {
            look_at(&alone);
        }
        return;
    };
    let alone = alone.expect("what can be transferred can be looked at");
    assert_eq!(alone.references().len(), envelope.references().len());
    assert_eq!(envelope.bytes(), bytes);
    look_at(&envelope);

    if envelope.version() == EnvelopeVersion::Draft {
        // Drafts are read only.
        let href = FileName::new("other.vmdk").expect("a good name");
        for file in envelope.references() {
            assert!(envelope.edit().file_href(file.id(), &href).apply().is_err());
        }
        return;
    }
    let mut names: Vec<FileName> =
        envelope.references().iter().map(|file| file.href().clone()).collect();
    names.reverse();
    let turned = envelope.edit().order_references(&names).apply().expect("still a descriptor");
    let turned: Vec<&FileName> = turned.references().iter().map(|file| file.href()).collect();
    assert!(turned.iter().copied().eq(names.iter()));
}

/// Asks for everything that is worked out when it is asked for.
fn look_at(envelope: &Envelope) {
    for file in envelope.references() {
        assert!(envelope.file(file.id()).is_some());
        assert!(FileName::new(file.href().as_str()).is_ok());
    }
    for disk in envelope.disks() {
        assert!(envelope.disk(disk.id()).is_some());
    }
    for product in envelope.products() {
        for property in &product.properties {
            let _key = product.key_of(property);
            let _value = property.value_in(None);
        }
    }
    let _licences = envelope.eulas().count();
    let default = envelope.default_configuration().map(|one| one.id.as_str());
    for system in envelope.systems() {
        for item in system.items_in(default) {
            let _size = item.quantity_bytes();
            let _ids = item.disk_ids().count() + item.file_ids().count();
        }
    }
}

/// A manifest that was read is written in one form, and says the same of the files then.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let again = Manifest::parse(&manifest.to_bytes()).expect("what is written can be read");
    assert_eq!(again.entries(), manifest.entries());
    for entry in manifest.entries() {
        assert_eq!(manifest.digest(entry.file()), Some(entry.digest()));
    }
}

/// A disk is the same however it is cut, by all three of its readers.
pub fn vmdk(bytes: &[u8]) {
    let checked = check([bytes]);
    assert_eq!(text(&check(bytes.chunks(7))), text(&checked));

    let mut grains = Vec::new();
    let decoded = decode([bytes], &mut grains);
    let mut others = Vec::new();
    assert_eq!(text(&decode(bytes.chunks(61), &mut others)), text(&decoded));
    assert_eq!(others, grains);
    let mut others = Vec::new();
    assert_eq!(read(bytes, &mut others).is_ok(), decoded.is_ok());
    assert_eq!(others, grains);

    if let Ok(decoded) = decoded {
        assert_eq!(text(&checked), text(&Ok(decoded)));
        assert_eq!(decoded.grains(), grains.len() as u64);
    }
}

/// A grain's place and a digest of its data: data of all grains would be gigabytes.
type Grains = Vec<(u64, usize, u64)>;

fn grain(lba_sectors: u64, data: &[u8]) -> (u64, usize, u64) {
    let sum = data.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
    (lba_sectors, data.len(), sum)
}

fn check<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Summary, VmdkError> {
    let mut check = StreamCheck::new();
    for chunk in chunks {
        check.push(chunk)?;
    }
    let _descriptor = check.descriptor().map(|text| text.capacity_bytes());
    check.finish()
}

fn decode<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    grains: &mut Grains,
) -> Result<Summary, VmdkError> {
    let mut decoder = GrainDecoder::new();
    for chunk in chunks {
        decoder.push(chunk, &mut |lba_sectors, data| {
            grains.push(grain(lba_sectors, data));
            Ok(())
        })?;
    }
    decoder.finish()
}

fn read(bytes: &[u8], grains: &mut Grains) -> Result<(), VmdkError> {
    let mut reader = GrainReader::new(bytes)?;
    while let Some(next) = reader.next_grain()? {
        grains.push(grain(next.lba_sectors(), next.data()));
    }
    Ok(())
}

/// Errors are compared by what they say: they hold other errors that cannot be compared.
fn text(result: &Result<Summary, VmdkError>) -> String {
    match result {
        Ok(summary) => format!("{summary:?}"),
        Err(error) => format!("{error}"),
    }
}
