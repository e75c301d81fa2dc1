//! qemu-img as a judge.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs::File;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::common::GRAIN;
use crate::common::Grains;
use crate::common::noise;
use crate::common::text;

/// Sub-formats of VMDK, and variants of qcow2, as options of `qemu-img convert`.
pub(crate) const FORMATS: [&[&str]; 13] = [
    &["-O", "raw"],
    &["-O", "vmdk", "-o", "subformat=monolithicSparse"],
    &["-O", "vmdk", "-o", "subformat=monolithicFlat"],
    &["-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"],
    &["-O", "vmdk", "-o", "subformat=twoGbMaxExtentFlat"],
    &["-O", "vmdk", "-o", "subformat=streamOptimized"],
    &["-O", "vmdk", "-o", "subformat=monolithicSparse,zeroed_grain=on"],
    &["-O", "qcow2", "-o", "compat=0.10"],
    &["-O", "qcow2"],
    &["-O", "qcow2", "-c"],
    &["-O", "qcow2", "-c", "-o", "cluster_size=2M"],
    &["-O", "qcow2", "-o", "cluster_size=512"],
    &["-O", "qcow2", "-o", "extended_l2=on"],
];

/// A disk that is no multiple of grains or clusters, with data at both ends, under two tables.
pub(crate) fn disk() -> (u64, Grains) {
    let capacity_bytes = (33 << 20) + 1536;
    let mut grains = Grains::from([(528, text(9, 1536)), (511, text(8, GRAIN))]);
    grains.extend((0..6).map(|number| (number, text(number, GRAIN))));
    grains.insert(8, [vec![0; 5000], noise(8, 512), vec![0; GRAIN - 5512]].concat());
    (capacity_bytes, grains)
}

/// Whether the test can run.  Says why if it cannot.
pub(crate) fn qemu_img() -> bool {
    let found = Command::new("qemu-img").arg("--version").output().is_ok();
    if !found {
        let required = std::env::var("OVFTRANSFER_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "qemu-img is missing, and OVFTRANSFER_REQUIRE_PEERS=1");
        eprintln!("skipped: qemu-img is missing");
    }
    found
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) {
    let output = Command::new("qemu-img").current_dir(folder).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-img {arguments:?}: {said}");
}

/// A sparse file with these grains.
pub(crate) fn write_raw(path: &Path, capacity_bytes: u64, grains: &Grains) {
    let mut file = File::create(path).unwrap();
    file.set_len(capacity_bytes).unwrap();
    for (number, data) in grains {
        file.seek(SeekFrom::Start(number * GRAIN as u64)).unwrap();
        file.write_all(data).unwrap();
    }
}
