//! The order of the modules: each may use only those before it.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::fs;
use std::path::Path;

/// Modules of the crate, lowest first.
const LAYERS: [&str; 9] =
    ["sabotage", "name", "digest", "manifest", "certificate", "read_at", "envelope", "lint", "ova"];

/// Parts of the module `certificate`, lowest first.
const CERTIFICATE: [&str; 10] =
    ["der", "error", "pem", "algorithm", "signer", "trust", "pbes", "pkcs12", "key", "tests"];

/// Parts of the module `envelope`, lowest first.
const ENVELOPE: [&str; 12] = [
    "units", "error", "hardware", "sections", "view", "scan", "tree", "messages", "items",
    "describe", "read", "edit",
];

/// Parts of the module `lint`, lowest first.
const LINT: [&str; 14] = [
    "place",
    "report",
    "lexical",
    "document",
    "tree",
    "beside",
    "schema",
    "structure",
    "package",
    "entities",
    "item",
    "hardware",
    "qualifiers",
    "product",
];

/// Parts of the module `ova`, lowest first.
const OVA: [&str; 7] = ["error", "wrapper", "header", "extension", "walk", "index", "writer"];

#[test]
fn modules_use_only_lower_modules() {
    for (rank, module) in LAYERS.iter().enumerate() {
        let mut text = source(module);
        let parts: &[&str] = match *module {
            "certificate" => &CERTIFICATE,
            "envelope" => &ENVELOPE,
            "lint" => &LINT,
            "ova" => &OVA,
            _ => &[],
        };
        for part in parts {
            text += &source(&format!("{module}/{part}"));
        }
        check(module, &text, "use crate::", LAYERS.get(..=rank).expect("a rank in the list"));
        check(module, &text, "[`crate::", LAYERS.get(..=rank).expect("a rank in the list"));
    }
}

#[test]
fn parts_use_only_lower_parts() {
    for (module, parts) in
        [("certificate", &CERTIFICATE[..]), ("envelope", &ENVELOPE), ("lint", &LINT), ("ova", &OVA)]
    {
        for (rank, part) in parts.iter().enumerate() {
            let text = source(&format!("{module}/{part}"));
            check(part, &text, "use super::", parts.get(..rank).expect("a rank in the list"));
        }
    }
}

#[test]
fn every_module_is_in_a_list_and_not_too_long() {
    for (folder, known) in [
        ("src", &LAYERS[..]),
        ("src/certificate", &CERTIFICATE),
        ("src/envelope", &ENVELOPE),
        ("src/lint", &LINT),
        ("src/ova", &OVA),
    ] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Some(module) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".rs")
            else {
                continue;
            };
            assert!(module == "lib" || known.contains(&module), "{folder}/{module}.rs: no place");
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 800, "{folder}/{module}.rs has {lines} lines");
        }
    }
}

fn source(module: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{module}.rs"));
    fs::read_to_string(path).unwrap()
}

fn check(module: &str, text: &str, marker: &str, allowed: &[&str]) {
    // Unit tests see their own module by `super::*`.
    let text = text.replace("use super::*;", "");
    for rest in text.split(marker).skip(1) {
        let used = rest.split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap();
        assert!(allowed.contains(&used), "{module}: {used} is not below it");
    }
}
