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
