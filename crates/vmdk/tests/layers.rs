//! The order of the modules: each may use only those before it.

use std::fs;

/// Modules of this crate, lowest first.
const LAYERS: [&str; 30] = [
    "error",
    "header",
    "marker",
    "descriptor",
    "gather",
    "tables",
    "front",
    "scan",
    "inflate",
    "check",
    "decode",
    "read",
    "pack",
    "assemble",
    "write",
    "pool",
    "storage",
    "lookup",
    "image",
    "occupied",
    "batch",
    "parallel",
    "raw",
    "sparse",
    "vmdk",
    "qcow2",
    "open",
    "convert",
    "deep",
    "examine",
];

#[test]
fn modules_use_only_lower_modules() {
    for (rank, module) in LAYERS.iter().enumerate() {
        let text = fs::read_to_string(format!("src/{module}.rs")).unwrap();
        for rest in text.split("crate::").skip(1) {
            let used = rest.split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap();
            // Links in documentation name what the crate's root re-exports.
            let is_type = used.starts_with(char::is_uppercase);
            assert!(
                is_type || LAYERS[..=rank].contains(&used),
                "{module}.rs: crate::{used} is not below it"
            );
        }
    }
}

#[test]
fn every_module_has_its_place() {
    for entry in fs::read_dir("src").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(module == "lib" || LAYERS.contains(&module), "{name} is in no layer");
    }
}
