//! Disks that are checked as a whole: sound ones of every writer pass, and damage is found.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod common;
mod peer;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;

use common::GRAIN;
use common::Grains;
use common::SECTOR;
use common::qcow2;
use common::redundant;
use common::sparse;
use common::text;
use ovftransfer_vmdk::AnyImage;
use ovftransfer_vmdk::ConvertError;
use ovftransfer_vmdk::Fault;
use ovftransfer_vmdk::Format;
use ovftransfer_vmdk::ImageSummary;
use ovftransfer_vmdk::VmdkError;
use ovftransfer_vmdk::check_image;
use ovftransfer_vmdk::check_image_deep;
use peer::FORMATS;
use peer::disk;
use peer::qemu_img;
use peer::run;
use peer::write_raw;
use proptest::prelude::*;
use tempfile::TempDir;

/// A folder with one file.
fn stored(file: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let name = match file.get(..4) {
        Some(b"KDMV") => "disk.vmdk",
        Some(b"QFI\xfb") => "disk.qcow2",
        _ => "disk.raw",
    };
    let path = folder.path().join(name);
    fs::write(&path, file).unwrap();
    (folder, path)
}

/// Opens and checks a disk, its data too if `deep`.
fn examine(path: &Path, deep: bool) -> Result<ImageSummary, VmdkError> {
    let image = AnyImage::open(path, None)?;
    let go_on = &mut |_| ControlFlow::Continue(());
    let checked = if deep {
        check_image_deep(&image, 2.try_into().ok(), go_on)
    } else {
        check_image(&image, go_on)
    };
    checked.map_err(|error| {
        let ConvertError::Source(error) = error else { unreachable!("{error}") };
        error
    })
}

fn fault(file: &[u8]) -> (u64, Fault) {
    let (_folder, path) = stored(file);
    let error = examine(&path, false).unwrap_err();
    let VmdkError::Corrupt { at_byte, fault } = error else { unreachable!("{error}") };
    (at_byte, fault)
}

/// Writes `bytes` at `at`.
fn patched(mut file: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn sound_disks_pass() {
    for (file, populated) in [
        (sparse(), 2 * GRAIN),
        (redundant(), 2 * GRAIN),
        (qcow2(), 2 * 4096),
        (common::small(), 3 * GRAIN),
        (vec![7; 70_000], 70_144),
    ] {
        let (_folder, path) = stored(&file);
        let found = examine(&path, false).unwrap();
        assert_eq!(found.populated_bytes, populated as u64);
        assert_eq!(examine(&path, true).unwrap(), found);
        let image = AnyImage::open(&path, None).unwrap();
        assert_eq!(ImageSummary::of(image.as_image()).unwrap(), found);
        assert_eq!(image.file_bytes(), file.len() as u64);
    }
}

#[test]
fn sound_disks_of_qemu_pass() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (capacity_bytes, mut grains) = disk();
    // Enough to fill more than one block of reference counts of the smallest clusters.
    grains.extend((100..130).map(|number| (number, text(number, GRAIN))));
    write_raw(&folder.path().join("in.raw"), capacity_bytes, &grains);
    for options in FORMATS {
        let folder = tempfile::tempdir_in(folder.path()).unwrap();
        let convert = ["convert", "-t", "unsafe", "-f", "raw"];
        run(folder.path(), &[&convert[..], options, &["../in.raw", "disk"]].concat());
        let path = folder.path().join("disk");
        let found = examine(&path, false).unwrap();
        assert_eq!(found.capacity_bytes, capacity_bytes, "{options:?}");
        let populated = grains.values().map(|data| data.len() as u64).sum::<u64>();
        assert!(found.populated_bytes <= populated + (8 << 20), "{options:?} {found:?}");
        assert_eq!(examine(&path, true).unwrap(), found, "{options:?}");
    }
    // Images in use: snapshots share clusters, counts are wide or narrow, room is there in advance.
    let path = folder.path().join("used.qcow2");
    for options in [
        "refcount_bits=1",
        "refcount_bits=64",
        "lazy_refcounts=on",
        "preallocation=metadata",
        "preallocation=metadata,extended_l2=on",
        "preallocation=metadata,compat=0.10",
    ] {
        let convert = ["convert", "-t", "unsafe", "-O", "qcow2", "-o", options];
        run(folder.path(), &[&convert[..], &["in.raw", "used.qcow2"]].concat());
        if options != "refcount_bits=1" {
            run(folder.path(), &["snapshot", "-c", "one", "used.qcow2"]);
        }
        examine(&path, true).unwrap();
    }
    for subformat in ["monolithicSparse", "twoGbMaxExtentSparse", "streamOptimized"] {
        let option = format!("subformat={subformat}");
        run(folder.path(), &["create", "-q", "-f", "vmdk", "-o", &option, "empty.vmdk", "5G"]);
        let found = examine(&folder.path().join("empty.vmdk"), true).unwrap();
        assert_eq!((found.capacity_bytes, found.populated_bytes), (5 << 30, 0), "{subformat}");
    }
}

#[test]
fn tables_of_a_sparse_disk_are_checked() {
    let entry = |file: Vec<u8>, at: usize, number: u32| patched(file, at, &number.to_le_bytes());
    // Grain 1 is at sector 30, grain 514 at 158, by entries of the tables at 22 and 26.
    let (first, second) = (22 * SECTOR + 4, 26 * SECTOR + 8);
    for sector in [30, 31, 157] {
        let found = fault(&entry(sparse(), second, sector));
        assert_eq!(found, (u64::from(sector) * 512, Fault::Overlap { what: "a grain" }));
    }
    let outside = fault(&entry(sparse(), second, 159));
    assert!(matches!(outside, (81_408, Fault::OutsideFile { what: "a grain", .. })));
    let metadata = fault(&entry(sparse(), first, 29));
    let expected = Fault::GrainPlace { sector: 29, expected_min: 30 };
    assert_eq!(metadata, (first as u64, expected));
    // 40 MiB are 640 grains: entry 128 of the second table is the first one behind.
    let beyond = fault(&entry(sparse(), 26 * SECTOR + 128 * 4, 158));
    let expected = Fault::GrainBeyondCapacity { lba_sectors: 81_920, capacity_sectors: 81_920 };
    assert_eq!(beyond, (26 * 512 + 128 * 4, expected));
    for (table, at) in [(22, 22), (23, 23), (21, 21), (18, 18), (20, 20), (0, 0)] {
        let file = entry(sparse(), 21 * SECTOR + 4, table);
        if table == 0 {
            // No table: its grains are zeros.
            let (_folder, path) = stored(&file);
            assert_eq!(examine(&path, false).unwrap().populated_bytes, GRAIN as u64);
            continue;
        }
        let found = fault(&file);
        assert_eq!(found, (at * 512, Fault::Overlap { what: "a grain table" }), "{table}");
    }
    // Within the first grain, whose data could be a table of no grains.
    let mut file = entry(sparse(), 21 * SECTOR + 4, 40);
    file[30 * SECTOR..158 * SECTOR].fill(0);
    assert_eq!(fault(&file), (40 * 512, Fault::Overlap { what: "a grain table" }));
    let long = fault(&entry(sparse(), 21 * SECTOR, u32::MAX));
    assert!(matches!(long.1, Fault::OutsideFile { what: "a grain table", .. }));
}

#[test]
fn the_redundant_directory_says_the_same() {
    let first = 22 * SECTOR;
    for (at, copy_at, table) in [
        (first + 4, first + 4, 0),
        (26 * SECTOR + 40, 26 * SECTOR + 40, 1),
        // The place of the copy is told, which is the table that the header places first.
        (31 * SECTOR + 8, first + 8, 0),
    ] {
        let mut file = redundant();
        file[at + 1] ^= 1;
        assert_eq!(fault(&file), (copy_at as u64, Fault::TableRedundant { table }));
    }
    let mut file = redundant();
    file[21 * SECTOR + 4] = 0;
    let found = fault(&file);
    assert_eq!(found, (21 * 512 + 4, Fault::TableRedundant { table: 1 }));
}

#[test]
fn extents_do_not_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.vmdk");
    fs::write(folder.path().join("flat.vmdk"), vec![7; 2 * GRAIN]).unwrap();
    let describe = |offset: u64| {
        let text = format!(
            "# Disk DescriptorFile\nRW 128 FLAT \"flat.vmdk\" 0\nRW 128 FLAT \"flat.vmdk\" {offset}\n"
        );
        fs::write(&path, &text).unwrap();
        (examine(&path, false), text.len() as u64)
    };
    let (found, text_bytes) = describe(128);
    assert_eq!(found.unwrap().populated_bytes, 2 * GRAIN as u64);
    let file_bytes = AnyImage::open(&path, None).unwrap().file_bytes();
    assert_eq!(file_bytes, text_bytes + 2 * GRAIN as u64);
    let error = describe(127).0.unwrap_err();
    let VmdkError::Extent { file, error } = error else { unreachable!("{error}") };
    assert_eq!(file, "flat.vmdk");
    let said = "at byte 65024: an extent shares its place with another structure of the file";
    assert_eq!(error.to_string(), said);
}

#[test]
fn tables_of_qcow2_are_checked() {
    let with = |at: usize, number: u64| fault(&patched(qcow2(), at, &number.to_be_bytes()));
    let entry = 8192 + 24;
    for (offset, what) in [(4096, "a cluster"), (8192, "a cluster"), (4 * 4096, "a cluster")] {
        assert_eq!(with(entry, offset), (offset, Fault::Overlap { what }));
    }
    // The compressed cluster, which comes later, is in the place of the other one.
    let mut file = patched(qcow2(), entry, &(6_u64 * 4096).to_be_bytes());
    file.resize(7 * 4096, 0);
    let found = fault(&file);
    assert_eq!(found, (8192 + 40, Fault::Overlap { what: "a compressed cluster" }));
    let what = "an entry of an L2 table";
    for bits in [1, 2, 1 << 60] {
        assert_eq!(
            with(entry, 3 * 4096 + bits),
            (entry as u64, Fault::ReservedBits { what, bits })
        );
    }
    let (at, found) = with(4096, 2 * 4096 + 1);
    assert_eq!(at, 4096);
    assert!(matches!(found, Fault::ReservedBits { bits: 1, .. }), "{found}");
    let free = Fault::ReferenceCount { offset_bytes: 3 * 4096 };
    let file = patched(qcow2(), 5 * 4096 + 7, &[0]);
    assert_eq!(fault(&file), (5 * 4096 + 6, free));
    let free = Fault::ReferenceCount { offset_bytes: 0 };
    assert_eq!(with(4 * 4096, 0), (4 * 4096, free));
    let (at, found) = with(48, 1 << 40);
    assert!(matches!((at, &found), (0x100_0000_0000, Fault::OutsideFile { .. })), "{at} {found}");
}

#[test]
fn damaged_data_is_found_by_the_deep_check_alone() {
    for (mut file, at) in [(qcow2(), 6 * 4096 + 5), (common::small(), 128 * SECTOR + 40)] {
        file[at] ^= 0x55;
        let (_folder, path) = stored(&file);
        examine(&path, false).unwrap();
        let error = examine(&path, true).unwrap_err();
        assert!(matches!(error, VmdkError::Corrupt { .. }), "{error}");
        assert!(error.at_byte() <= at as u64 && at as u64 - error.at_byte() < 65_536);
    }
}

#[test]
fn a_check_can_be_cancelled() {
    for (file, format) in [
        (sparse(), Format::Vmdk),
        (qcow2(), Format::Qcow2),
        (common::small(), Format::Vmdk),
        (vec![7; 70_000], Format::Raw),
    ] {
        let (_folder, path) = stored(&file);
        let image = AnyImage::open(&path, None).unwrap();
        assert_eq!(image.format(), format);
        let stop = &mut |_| ControlFlow::Break(());
        let deep = check_image_deep(&image, None, stop);
        assert!(matches!(deep, Err(ConvertError::Cancelled)), "{format}");
        if format != Format::Raw {
            let checked = check_image(&image, stop);
            assert!(matches!(checked, Err(ConvertError::Cancelled)), "{format}");
        }
    }
}

/// All data of a disk.
fn contents(path: &Path) -> Result<Grains, VmdkError> {
    let image = AnyImage::open(path, None)?;
    let image = image.as_image();
    let (mut grains, mut from_byte) = (Grains::new(), 0);
    grains.insert(u64::MAX, image.capacity_bytes().to_le_bytes().to_vec());
    while let Some(data) = image.next_data(from_byte)? {
        for at in data.clone().step_by(4096) {
            let len = usize::try_from((data.end - at).min(4096)).unwrap();
            let mut block = vec![0; len];
            image.read_at(at, &mut block)?;
            grains.insert(at, block);
        }
        from_byte = data.end;
    }
    grains.retain(|_, block| block.iter().any(|&byte| byte != 0));
    Ok(grains)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A flipped bit in the header or the tables is found, or the disk reads as before: some bits
    /// mean nothing to a reader, such as those of the version.  The size in a header of qcow2 (bytes
    /// 24 to 31) is left out: a disk that ends a little later is as sound as the one before.
    #[test]
    fn flips_change_no_disk_unseen(
        kind in 0..3,
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let (mut file, places) = match kind {
            // Of the header what means something, and all tables.
            0 => (redundant(), (0..79).chain(21 * SECTOR..48 * SECTOR).collect::<Vec<_>>()),
            1 => {
                let tables = (4096..3 * 4096).chain(4 * 4096..6 * 4096);
                (qcow2(), (0..24).chain(32..72).chain(tables).collect())
            },
            _ => (common::small(), (0..79).collect()),
        };
        let (_folder, path) = stored(&file);
        let before = contents(&path).unwrap();
        let at = places[at.index(places.len())];
        file[at] ^= 1_u8 << bit;
        fs::write(&path, &file).unwrap();
        if let Ok(found) = examine(&path, true) {
            prop_assert!(contents(&path).unwrap() == before, "byte {at} bit {bit}: {found:?}");
        }
    }

    /// Of a disk whose last byte is needed, no part passes.
    #[test]
    fn cuts_are_found(kind in 0..4, at in any::<prop::sample::Index>()) {
        let file = match kind {
            0 => sparse(),
            1 => redundant(),
            2 => qcow2(),
            _ => common::small(),
        };
        let len = at.index(file.len());
        // What is too short for its magic is a raw disk, as anything else.
        prop_assume!(len >= 4);
        let (_folder, path) = stored(&file[..len]);
        // The tables of qcow2 tell the lengths of compressed clusters in whole sectors.
        let error = examine(&path, kind == 2).unwrap_err();
        prop_assert!(error.at_byte() <= file.len() as u64, "{error}");
    }
}

#[test]
fn large_disks_are_checked_by_their_tables() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let grains = Grains::from([((63 << 30) / GRAIN as u64, text(5, GRAIN))]);
    write_raw(&folder.path().join("in.raw"), 64 << 30, &grains);
    for (format, option) in [("qcow2", "compat=1.1"), ("vmdk", "subformat=monolithicSparse")] {
        let convert = ["convert", "-t", "unsafe", "-f", "raw", "-O", format, "-o", option];
        run(folder.path(), &[&convert[..], &["in.raw", "disk"]].concat());
        let found = examine(&folder.path().join("disk"), true).unwrap();
        assert_eq!((found.capacity_bytes, found.populated_bytes), (64 << 30, GRAIN as u64));
    }
}
