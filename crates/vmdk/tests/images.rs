//! Disks of qemu-img in every format that is read, beside the raw disk they were made of.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod common;
mod peer;

use std::fs;
use std::path::Path;

use common::GRAIN;
use common::Grains;
use common::noise;
use common::text;
use ovftransfer_vmdk::DiskImage;
use ovftransfer_vmdk::Fault;
use ovftransfer_vmdk::Format;
use ovftransfer_vmdk::VmdkError;
use ovftransfer_vmdk::open_image;
use peer::FORMATS;
use peer::disk;
use peer::qemu_img;
use peer::run;
use peer::write_raw;

/// The whole disk by its stretches, which must be in order; between them it must read as zeros.
fn contents(image: &dyn DiskImage) -> Vec<u8> {
    let capacity = usize::try_from(image.capacity_bytes()).unwrap();
    let mut disk = vec![0; capacity];
    let mut from_byte = 0;
    while let Some(data) = image.next_data(from_byte).unwrap() {
        assert!(data.start >= from_byte && data.end > data.start && data.end <= capacity as u64);
        let place = usize::try_from(data.start).unwrap()..usize::try_from(data.end).unwrap();
        image.read_at(data.start, &mut disk[place]).unwrap();
        from_byte = data.end;
    }
    let mut whole = vec![1; capacity];
    image.read_at(0, &mut whole).unwrap();
    assert!(whole == disk, "data outside the stretches");
    disk
}

#[test]
fn every_format_reads_as_the_raw_disk() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (capacity_bytes, grains) = disk();
    write_raw(&folder.path().join("in.raw"), capacity_bytes, &grains);
    let expected = fs::read(folder.path().join("in.raw")).unwrap();
    for options in FORMATS {
        let folder = tempfile::tempdir_in(folder.path()).unwrap();
        run(
            folder.path(),
            &[&["convert", "-t", "unsafe", "-f", "raw"], options, &["../in.raw", "disk"]].concat(),
        );
        let image = open_image(&folder.path().join("disk"), None).unwrap();
        assert!(contents(&*image) == expected, "{options:?}");

        // Any place, any length.
        let mut seed = 7_u64;
        for _ in 0..200 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(seed >> 33).unwrap() % expected.len();
            let len = (usize::try_from(seed & 0x1_ffff).unwrap()).min(expected.len() - at);
            let mut buffer = vec![1; len];
            image.read_at(at as u64, &mut buffer).unwrap();
            assert!(buffer == expected[at..at + len], "{options:?} {at} {len}");
        }
        let beyond = image.read_at(capacity_bytes - 511, &mut [0; 512]).unwrap_err();
        let fault = Fault::DataBeyondCapacity { lba_sectors: 67_586, capacity_sectors: 67_587 };
        assert!(matches!(&beyond, VmdkError::Corrupt { fault: found, .. } if *found == fault));
    }
}

#[test]
fn several_extents_are_one_disk() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Two extents of 2 GiB and one of 1 MiB, with data across a boundary.
    let boundary = (2 << 30) / GRAIN as u64;
    let grains = Grains::from([
        (0, text(1, GRAIN)),
        (boundary - 1, noise(2, GRAIN)),
        (boundary, noise(3, GRAIN)),
        (2 * boundary + 15, text(4, GRAIN)),
    ]);
    write_raw(&folder.path().join("in.raw"), (4 << 30) + (1 << 20), &grains);
    for subformat in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let option = format!("subformat={subformat}");
        run(
            folder.path(),
            &["convert", "-f", "raw", "-O", "vmdk", "-o", &option, "in.raw", subformat],
        );
        let image = open_image(&folder.path().join(subformat), None).unwrap();
        assert_eq!(image.capacity_bytes(), (4 << 30) + (1 << 20));
        let mut from_byte = 0;
        let mut found = Vec::new();
        while let Some(data) = image.next_data(from_byte).unwrap() {
            found.push(data.clone());
            from_byte = data.end;
        }
        // Holes may be coarser than grains.
        for (number, data) in &grains {
            let at_byte = number * GRAIN as u64;
            let covered = |at| found.iter().any(|range| range.contains(&at));
            assert!(covered(at_byte) && covered(at_byte + GRAIN as u64 - 1), "{subformat}");
            let mut buffer = vec![0; GRAIN];
            image.read_at(at_byte, &mut buffer).unwrap();
            assert!(buffer == *data, "{subformat} {number}");
        }
        assert!(found.iter().map(|range| range.end - range.start).sum::<u64>() < 2 << 20);
        let mut across = vec![0; 2 * GRAIN];
        image.read_at((boundary - 1) * GRAIN as u64, &mut across).unwrap();
        assert!(across == [noise(2, GRAIN), noise(3, GRAIN)].concat());
    }
}

fn refused(path: &Path) -> VmdkError {
    open_image(path, None).unwrap_err()
}

#[test]
fn disks_that_need_another_file_are_refused() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    run(folder.path(), &["create", "-q", "-f", "qcow2", "base.qcow2", "1M"]);
    run(folder.path(), &["create", "-q", "-f", "vmdk", "base.vmdk", "1M"]);
    let base = ["-b", "base.qcow2", "-F", "qcow2", "delta.qcow2"];
    run(folder.path(), &[&["create", "-q", "-f", "qcow2"][..], &base].concat());
    run(
        folder.path(),
        &["create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "delta.vmdk"],
    );
    let external = ["-o", "data_file=data.raw", "external.qcow2", "1M"];
    run(folder.path(), &[&["create", "-q", "-f", "qcow2"][..], &external].concat());
    run(
        folder.path(),
        &["create", "-q", "-f", "qcow2", "-o", "compression_type=zstd", "zstd.qcow2", "1M"],
    );
    // Encryption method 2 is LUKS; to make a real one takes seconds.
    let mut luks = fs::read(path("base.qcow2")).unwrap();
    luks[35] = 2;
    fs::write(path("luks.qcow2"), luks).unwrap();
    run(folder.path(), &["create", "-q", "-f", "vpc", "-o", "subformat=dynamic", "disk.vhd", "1M"]);
    run(folder.path(), &["create", "-q", "-f", "vhdx", "disk.vhdx", "1M"]);
    run(folder.path(), &["create", "-q", "-f", "vdi", "disk.vdi", "1M"]);
    for (name, said) in [
        ("delta.qcow2", "at byte 8: a qcow2 image with a backing file cannot be read"),
        ("delta.vmdk", "at byte 512: a delta of another disk cannot be read"),
        ("external.qcow2", "at byte 72: a qcow2 image with an external data file cannot be read"),
        ("zstd.qcow2", "at byte 72: a qcow2 image compressed with zstd cannot be read"),
        ("luks.qcow2", "at byte 32: an encrypted qcow2 image cannot be read"),
        ("disk.vhd", "at byte 0: a VHD disk cannot be read"),
        ("disk.vhdx", "at byte 0: a VHDX disk cannot be read"),
        ("disk.vdi", "at byte 0: a VDI disk cannot be read"),
    ] {
        assert_eq!(refused(&path(name)).to_string(), said, "{name}");
    }
    // An extent is not the disk.
    run(
        folder.path(),
        &["create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", "split.vmdk", "1M"],
    );
    let alone = refused(&path("split-s001.vmdk")).to_string();
    assert!(alone.contains("without their descriptor"), "{alone}");
    // What is said to be raw is taken as such, whatever it looks like.
    let raw = open_image(&path("delta.qcow2"), Some(Format::Raw)).unwrap();
    let mut magic = [0; 4];
    raw.read_at(0, &mut magic).unwrap();
    assert_eq!(&magic, b"QFI\xfb");
}
