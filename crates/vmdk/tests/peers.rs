//! qemu-img as a judge: it accepts what we write, and we read what it writes.

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
use ovftransfer_vmdk::GrainReader;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::VmdkError;
use peer::qemu_img;
use peer::run;
use peer::write_raw;

/// Disks of several sizes: one sector, not a multiple of grains, several tables, data at both ends.
fn disks() -> Vec<(u64, Grains)> {
    let tail = |capacity_bytes: u64| {
        let number = (capacity_bytes - 1) / GRAIN as u64;
        let len = usize::try_from(capacity_bytes - number * GRAIN as u64).unwrap();
        (number, text(9, len))
    };
    [512, 65_536, 65_536 + 512, (33 << 20) + 1536, 100 << 20]
        .into_iter()
        .map(|capacity_bytes| {
            let mut grains = Grains::from([tail(capacity_bytes)]);
            if capacity_bytes > 2 << 20 {
                grains.extend((0..20).map(|number| (number, text(number, GRAIN))));
                grains.extend((25..30).map(|number| (number, noise(number, GRAIN))));
            }
            if capacity_bytes > 34 << 20 {
                grains.extend((1030..1040).map(|number| (number, noise(number, GRAIN))));
            }
            (capacity_bytes, grains)
        })
        .collect()
}

/// All grains of a file, which must be sound.
fn read(file: &[u8]) -> Grains {
    let mut reader = GrainReader::new(file).unwrap();
    let mut grains = Grains::new();
    while let Some(grain) = reader.next_grain().unwrap() {
        grains.insert(grain.lba_sectors() / 128, grain.data().to_vec());
    }
    assert_eq!(reader.summary().unwrap(), common::check(file).unwrap());
    grains
}

#[test]
fn qemu_reads_what_we_write() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (capacity_bytes, grains) in disks() {
        write_raw(&folder.path().join("in.raw"), capacity_bytes, &grains);
        #[cfg(feature = "isal")]
        {
            let options = Options::default().level(ovftransfer_vmdk::Level::TURBO);
            let (file, _) = common::write(capacity_bytes, &grains, options);
            fs::write(folder.path().join("turbo.vmdk"), file).unwrap();
            run(folder.path(), &["check", "turbo.vmdk"]);
            run(folder.path(), &["compare", "in.raw", "turbo.vmdk"]);
        }
        let options = Options::default().store_incompressible(true);
        let (file, _) = common::write(capacity_bytes, &grains, options);
        fs::write(folder.path().join("ours.vmdk"), file).unwrap();
        run(folder.path(), &["check", "ours.vmdk"]);
        run(folder.path(), &["compare", "in.raw", "ours.vmdk"]);
        run(folder.path(), &["convert", "-O", "raw", "ours.vmdk", "out.raw"]);
        let same = fs::read(folder.path().join("in.raw")).unwrap()
            == fs::read(folder.path().join("out.raw")).unwrap();
        assert!(same, "{capacity_bytes}");
    }
}

#[test]
fn qemu_reads_an_empty_disk() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = common::write(10 << 30, &Grains::new(), Options::default());
    fs::write(folder.path().join("ours.vmdk"), file).unwrap();
    write_raw(&folder.path().join("in.raw"), 10 << 30, &Grains::new());
    run(folder.path(), &["check", "ours.vmdk"]);
    run(folder.path(), &["compare", "in.raw", "ours.vmdk"]);
}

/// A file of qemu's.
fn qemu_file(folder: &Path, capacity_bytes: u64, grains: &Grains) -> Vec<u8> {
    write_raw(&folder.join("in.raw"), capacity_bytes, grains);
    let format = "subformat=streamOptimized";
    run(folder, &["convert", "-O", "vmdk", "-o", format, "in.raw", "theirs.vmdk"]);
    fs::read(folder.join("theirs.vmdk")).unwrap()
}

#[test]
fn we_read_what_qemu_writes() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (capacity_bytes, grains) in disks() {
        let file = qemu_file(folder.path(), capacity_bytes, &grains);
        assert!(read(&file) == grains, "{capacity_bytes}");
    }
    let file = qemu_file(folder.path(), 10 << 30, &Grains::new());
    assert!(read(&file).is_empty());
}

#[test]
fn cut_and_damaged_files_of_qemu_are_found() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let grains = Grains::from([(1, text(1, GRAIN)), (2, noise(2, GRAIN)), (600, text(3, GRAIN))]);
    let mut file = qemu_file(folder.path(), 40 << 20, &grains);
    // qemu leaves room for a whole grain behind the last one.
    let end = file.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    for len in (0..end).step_by(17).chain([end - 1]) {
        let error = common::check(&file[..len]).unwrap_err();
        assert!(matches!(error, VmdkError::Truncated { .. }), "{len}: {error}");
    }
    // Directories and tables, both copies.
    let entries: Vec<usize> = (21 * 512..39 * 512).filter(|&at| file[at] != 0).collect();
    assert!(entries.len() > 8);
    for at in entries {
        file[at] ^= 1;
        assert!(common::check(&file).is_err(), "byte {at}");
        file[at] ^= 1;
    }
    common::check(&file).unwrap();
}
