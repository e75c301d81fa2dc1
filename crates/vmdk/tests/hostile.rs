//! Images that lie: nothing panics, nothing is allocated for claims, and a cut is always found.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::GRAIN;
use common::SECTOR;
use common::qcow2;
use common::sparse;
use common::text;
use ovftransfer_vmdk::DiskImage;
use ovftransfer_vmdk::Fault;
use ovftransfer_vmdk::Qcow2Image;
use ovftransfer_vmdk::VmdkError;
use ovftransfer_vmdk::VmdkImage;
use ovftransfer_vmdk::open_image;
use proptest::prelude::*;

fn open(file: Vec<u8>) -> Result<Box<dyn DiskImage>, VmdkError> {
    if file.starts_with(b"QFI") {
        Ok(Box::new(Qcow2Image::open(Arc::new(file))?))
    } else {
        Ok(Box::new(VmdkImage::open_file(Arc::new(file))?))
    }
}

/// Reads all data of a disk.  Returns its length.
fn read(file: Vec<u8>) -> Result<u64, VmdkError> {
    let image = open(file)?;
    let mut buffer = vec![0; 1 << 20];
    let (mut from_byte, mut total) = (0, 0);
    // A damaged directory may make a disk of many TiB of the same grain: some of it is enough.
    while let Some(data) = image.next_data(from_byte)?.filter(|_| total < 8 << 20) {
        for at in data.clone().step_by(buffer.len()) {
            let len = (data.end - at).min(buffer.len() as u64);
            image.read_at(at, &mut buffer[..usize::try_from(len).unwrap()])?;
        }
        total += data.end - data.start;
        from_byte = data.end;
    }
    Ok(total)
}

#[test]
fn the_images_are_sound() {
    assert_eq!(read(sparse()).unwrap(), 2 * 65_536);
    assert_eq!(read(qcow2()).unwrap(), 2 * 4096);
    let mut cluster = [0; 4096];
    let image = open(qcow2()).unwrap();
    image.read_at(5 * 4096, &mut cluster).unwrap();
    assert!(cluster[..] == text(3, 4096));
    let mut grain = vec![0; GRAIN];
    open(sparse()).unwrap().read_at(514 * 65_536, &mut grain).unwrap();
    assert!(grain == text(2, GRAIN));
    // What a stream needs at most is in its tables, too.
    let stream = common::small();
    assert_eq!(read(stream).unwrap(), 3 * 65_536);
}

#[test]
fn every_cut_is_an_error() {
    for (file, step) in [(sparse(), 1021), (qcow2(), 61), (common::small(), 37)] {
        for len in (1..file.len()).step_by(step).chain([file.len() - 1]) {
            let error = read(file[..len].to_vec()).unwrap_err();
            assert!(error.at_byte() <= file.len() as u64, "{len}: {error}");
        }
    }
}

#[test]
fn a_grain_of_another_place_is_found() {
    let mut file = common::small();
    let first = 128 * SECTOR;
    file[first] ^= 0x80;
    file[first + 1] ^= 1;
    let error = read(file).unwrap_err();
    let expected = Fault::GrainElsewhere { lba_sectors: 256, expected: 128 };
    assert!(
        matches!(&error, VmdkError::Corrupt { at_byte: 65_536, fault } if *fault == expected),
        "{error}"
    );
    let mut file = sparse();
    file[22 * SECTOR + 4] = 29;
    let error = read(file).unwrap_err();
    assert_eq!(
        error.to_string(),
        "at byte 11268: a grain table points to sector 29, expected 30 or above"
    );
}

#[test]
fn absurd_claims_are_refused() {
    let with = |mut file: Vec<u8>, at: usize, bytes: &[u8]| {
        file[at..at + bytes.len()].copy_from_slice(bytes);
        read(file).unwrap_err().to_string()
    };
    for (at, bytes, said) in [
        (12, &[0xff; 8][..], "capacity of 18446744073709551615 sectors"),
        (12, &(1_u64 << 34).to_le_bytes(), "lies outside the file"),
        (56, &[0xfe; 8], "the grain directory of 8 bytes lies outside the file"),
    ] {
        let error = with(sparse(), at, bytes);
        assert!(error.contains(said), "{at}: {error}");
    }
    for (at, bytes, said) in [
        (4, &4_u32.to_be_bytes()[..], "qcow2 version 4"),
        (20, &[0xff; 4], "clusters of 2^4294967295 bytes"),
        (24, &[0xff; 8], "capacity of 36028797018963967 sectors"),
        (24, &(1_u64 << 40).to_be_bytes(), "L1 table of 1 entries, expected 524288"),
        (40, &[0x7f; 8], "the L1 table at byte 9187201950435737471 is not at the start"),
        (40, &(1_u64 << 60).to_be_bytes(), "the L1 table of 8 bytes lies outside the file"),
        (4096, &(1_u64 << 50).to_be_bytes(), "an entry of an L2 table of 8 bytes lies outside"),
        (4096, &0x2200_u64.to_be_bytes(), "an L2 table at byte 8704 is not at the start"),
        (8192 + 24, &(1_u64 << 50).to_be_bytes(), "a cluster of 4096 bytes lies outside the file"),
        (6 * 4096 + 3, &[0xff; 40], "compressed cluster is damaged"),
    ] {
        let error = with(qcow2(), at, bytes);
        assert!(error.contains(said), "{at}: {error}");
    }
}

#[test]
fn a_text_of_no_length_may_be_anywhere() {
    let mut file = sparse();
    file[28..36].fill(0xff);
    file[36..44].fill(0);
    let error = read(file).unwrap_err();
    assert!(error.to_string().contains("without their descriptor"), "{error}");
}

/// Opens `text` as the descriptor of a folder with a flat extent of 64 KiB beside it.
fn described(folder: &Path, text: &str) -> Result<u64, String> {
    fs::write(folder.join("disk.vmdk"), format!("# Disk DescriptorFile\n{text}")).unwrap();
    let opened = open_image(&folder.join("disk.vmdk"), None);
    opened.map(|image| image.capacity_bytes()).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    })
}

#[test]
fn extents_stay_in_their_folder() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), vec![7; GRAIN]).unwrap();
    let folder = outside.path().join("disk");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("flat.vmdk"), vec![7; GRAIN]).unwrap();
    assert_eq!(described(&folder, "RW 128 FLAT \"flat.vmdk\" 0\nRW 8 ZERO\n"), Ok(136 * 512));
    let absolute = outside.path().join("secret").display().to_string();
    for name in ["../secret", absolute.as_str(), "..", ".", "", "a\\b", "c:secret"] {
        let error = described(&folder, &format!("RW 128 FLAT \"{name}\" 0\n")).unwrap_err();
        assert!(error.contains("not that of a file beside the descriptor"), "{error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret", folder.join("link.vmdk")).unwrap();
        let error = described(&folder, "RW 128 FLAT \"link.vmdk\" 0\n").unwrap_err();
        assert!(error.starts_with("in extent \"link.vmdk\""), "{error}");
    }
    fs::create_dir(folder.join("folder.vmdk")).unwrap();
    assert!(described(&folder, "RW 128 FLAT \"folder.vmdk\" 0\n").is_err());
}

#[test]
fn descriptors_that_lie_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flat.vmdk"), vec![7; GRAIN]).unwrap();
    for (text, said) in [
        ("RW 129 FLAT \"flat.vmdk\" 0", "the extent of 66048 bytes lies outside the file of 65536"),
        ("RW 128 FLAT \"flat.vmdk\" 1", "the extent of 65536 bytes lies outside the file"),
        ("RW 128 FLAT \"flat.vmdk\" 18446744073709551615", "lies outside the file"),
        ("RW 128 FLAT \"flat.vmdk\" x", "extent line"),
        ("RW 18446744073709551615 ZERO", "capacity of 18446744073709551615 sectors"),
        ("RW 128 SPARSE \"flat.vmdk\"", "magic"),
        ("RW 128 SESPARSE \"flat.vmdk\"", "extents of kind \"SESPARSE\" are not supported"),
        ("NOACCESS 128 FLAT \"flat.vmdk\" 0", "an extent without access cannot be read"),
        ("parentCID=12345678\nRW 128 FLAT \"flat.vmdk\" 0", "a delta of another disk"),
        ("", "not a VMDK"),
    ] {
        let error = described(folder.path(), text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_a_reader_panic(
        kind in 0..3,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (mut file, metadata) = match kind {
            0 => (sparse(), 30 * SECTOR),
            1 => (qcow2(), 3 * 4096),
            _ => (common::small(), usize::MAX),
        };
        let metadata = metadata.min(file.len());
        for (at, byte) in changes {
            file[at.index(metadata)] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Err(error) = read(file) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
