//! Finds the programs of other people.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that was built for the tests, or an installed one if `also_installed`.
///
/// `None`, with the reason on stderr, where it is missing and need not be there.
pub(crate) fn find(program: &str, also_installed: bool) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/peers");
    let peers = std::env::var_os("OVFTRANSFER_PEERS").map(PathBuf::from);
    let mut folders: Vec<PathBuf> =
        peers.into_iter().chain([own]).map(|folder| folder.join("bin")).collect();
    if also_installed && let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    let found = folders.into_iter().map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        let is_required =
            std::env::var("OVFTRANSFER_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!is_required, "{program} is required and was not found");
        eprintln!("skipped: {program} was not found in OVFTRANSFER_PEERS/bin or .ci/peers/bin");
    }
    found
}

/// Runs an installed program that must succeed, and returns what it printed.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
