//! Holds the order of the crate's modules: each uses only those before it.
#![expect(clippy::expect_used, reason = "a helper of tests")]

use std::fs;
use std::path::PathBuf;

/// Modules of this crate, lowest first: the data plane, then the vCenter on top of it.
const LAYERS: [&str; 42] = [
    "clock",
    "lock",
    "scenario",
    "script",
    "throttle",
    "tls",
    "generate",
    "disk",
    "stream",
    "bus",
    "descriptor",
    "appliance",
    "client",
    "server",
    "fetch",
    "nfc",
    "types",
    "object",
    "fault",
    "session",
    "soap",
    "json",
    "vm",
    "vapp",
    "hardware",
    "port",
    "world",
    "dvs",
    "inventory",
    "state",
    "task",
    "rights",
    "view",
    "collector",
    "lease",
    "pull",
    "ovf",
    "network",
    "vcenter",
    "dispatch",
    "rest",
    "simulator",
];

#[test]
fn modules_use_only_lower_modules() {
    for (rank, module) in LAYERS.iter().enumerate() {
        for text in texts(module) {
            for rest in text.split("crate::").skip(1) {
                let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric());
                let used = &rest[..end.unwrap_or(rest.len())];
                assert!(LAYERS[..=rank].contains(&used), "{module}: crate::{used} is not below it");
            }
        }
    }
}

#[test]
fn every_module_has_its_layer() {
    let root = fs::read_to_string("src/lib.rs").unwrap();
    let modules = root
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    for module in modules {
        assert!(LAYERS.contains(&module), "{module} has no place among the layers");
    }
}

#[test]
fn no_file_is_over_800_lines() {
    for module in LAYERS {
        for text in texts(module) {
            assert!(text.lines().count() <= 800, "a file of {module} is too long");
        }
    }
}

/// Text of the module's file and of all files in its folder.
fn texts(module: &str) -> Vec<String> {
    let children = fs::read_dir(format!("src/{module}")).into_iter().flatten();
    let children = children.map(|entry| entry.expect("the folder is readable").path());
    [PathBuf::from(format!("src/{module}.rs"))]
        .into_iter()
        .chain(children)
        .map(|path| fs::read_to_string(path).expect("the file is readable"))
        .collect()
}
