//! The order of the modules, and other rules of style that can be checked.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of this crate, lowest first.  A module may use only those before it.
const LAYERS: [&str; 28] = [
    "secret",
    "tls",
    "transport",
    "http",
    "value",
    "fault",
    "endpoint",
    "error",
    "json",
    "soap",
    "connection",
    "negotiation",
    "property",
    "lease",
    "updates",
    "session",
    "keep_alive",
    "locator",
    "service",
    "authorization",
    "inventory",
    "task",
    "ovf",
    "nfc",
    "dvs",
    "host_network",
    "machine",
    "lib",
];

#[test]
fn modules_use_only_lower_modules() {
    for (rank, module) in LAYERS.iter().enumerate().filter(|(_, module)| **module != "lib") {
        for file in files(&Path::new("src").join(module)) {
            let text = fs::read_to_string(&file).unwrap();
            for rest in text.split("crate::").skip(1) {
                let used = rest.split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap();
                let file = file.display();
                assert!(LAYERS[..=rank].contains(&used), "{file}: crate::{used} is not below it");
            }
        }
    }
}

#[test]
fn every_module_has_a_layer_and_fits_its_limit() {
    for file in files(Path::new("src")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 800, "{}: {lines} lines", file.display());
    }
    for entry in fs::read_dir("src").unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        assert!(LAYERS.contains(&module), "{module} has no layer");
    }
}

/// Who embeds this crate chooses the logger.
#[test]
fn no_logger_is_brought_along() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
    assert!(dependencies.contains("tracing.workspace"));
    for logger in ["env_logger", "tracing-subscriber", "simplelog", "fern", "log4rs"] {
        assert!(!dependencies.contains(logger), "{logger}");
    }
}

/// Every test that the table of `tests/README.md` names exists.
#[test]
fn the_table_of_tests_is_true() {
    let table = fs::read_to_string("tests/README.md").unwrap();
    let mut named = 0;
    for name in table.split('`').skip(1).step_by(2) {
        let Some((file, test)) = name.split_once("::") else { continue };
        let text = fs::read_to_string(format!("tests/{file}.rs")).unwrap();
        assert!(text.contains(&format!("fn {test}()")), "{name}");
        named += 1;
    }
    assert!(named > 30, "{named}");
}

/// `module.rs` and everything in the folder `module`.
fn files(module: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let parent = module.with_extension("rs");
    if parent.is_file() {
        found.push(parent);
    }
    let Ok(folder) = fs::read_dir(module) else { return found };
    for entry in folder {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
