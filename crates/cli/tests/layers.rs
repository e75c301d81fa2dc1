//! The order of this crate's modules.

use std::fs;

/// Lowest first.  A module may use only those before it.
const LAYERS: [&str; 33] = [
    "args",
    "format",
    "memory",
    "exit",
    "environment",
    "terminal",
    "console",
    "connection",
    "log",
    "signature",
    "signing",
    "package",
    "place",
    "journals",
    "signals",
    "tell",
    "progress",
    "watch",
    "transfer",
    "import",
    "export",
    "disk",
    "convert",
    "verify",
    "lint",
    "inspect",
    "spec",
    "ls",
    "net",
    "reap",
    "simulate",
    "demo",
    "main",
];

#[test]
fn modules_use_only_lower_modules() {
    for (rank, module) in LAYERS.iter().enumerate() {
        let text = fs::read_to_string(format!("src/{module}.rs")).unwrap();
        for rest in text.split("crate::").skip(1) {
            let used = rest.split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap();
            assert!(LAYERS[..=rank].contains(&used), "{module}.rs: crate::{used} is not below it");
        }
    }
}

#[test]
fn every_module_has_its_place() {
    for entry in fs::read_dir("src").unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(LAYERS.contains(&module.as_str()), "{module}");
    }
}
