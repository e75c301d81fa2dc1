//! Data flows one way: a module uses only the modules before it.
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

use std::fs;
use std::path::Path;

/// Modules of this crate, lowest first.  A module may use only those before it.
const LAYERS: &[&str] = &[
    "sabotage",
    "clock",
    "meter",
    "kind",
    "event",
    "error",
    "worker",
    "inspect",
    "verify",
    "signature",
    "store",
    "journal",
    "overview",
    "linted",
    "governor",
    "lease",
    "copy",
    "transfer",
    "artefact",
    "server",
    "network",
    "report",
    "handle",
    "rights",
    "inventory",
    "ports",
    "dpu",
    "settle",
    "reap",
    "devices",
    "hosts",
    "check",
    "disk",
    "image",
    "conformance",
    "import",
    "spec",
    "export",
    "convert",
    "scenarios",
];

#[test]
fn modules_use_only_lower_modules() {
    for (rank, module) in LAYERS.iter().enumerate() {
        for text in sources(module) {
            for rest in text.split("crate::").skip(1) {
                let used = rest.split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap();
                let lower = LAYERS[..=rank].contains(&used);
                // The names that the crate re-exports, in links of its docs.
                let name = used.starts_with(char::is_uppercase);
                assert!(lower || name, "{module}: crate::{used} is not below it");
            }
        }
    }
}

/// The text of a module: its file, and those of its folder and the folders in it.
fn sources(module: &str) -> Vec<String> {
    let folder = Path::new("src").join(module);
    let mut texts = vec![fs::read_to_string(folder.with_extension("rs")).unwrap()];
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                texts.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    texts
}

#[test]
fn every_module_has_its_layer() {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("mod ")) {
        let module = line.trim_end_matches(';');
        assert!(LAYERS.contains(&module), "{module} is not in LAYERS");
    }
}
