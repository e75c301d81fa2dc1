//! What several tests share.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]
#![expect(clippy::print_stdout, reason = "what was skipped is told")]

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// The descriptors of the folder that `OVFTRANSFER_CORPUS` names, else of `shared/corpus/ovf`
/// beside the workspace, if there is one.
pub(crate) fn corpus() -> Vec<PathBuf> {
    let folder = env::var_os("OVFTRANSFER_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/ovf"),
        PathBuf::from,
    );
    let mut files = Vec::new();
    if folder.is_dir() {
        collect(&folder, &mut files);
        assert!(!files.is_empty(), "no .ovf file below {}", folder.display());
    } else {
        println!("skipped: no folder {}, and OVFTRANSFER_CORPUS names no other", folder.display());
    }
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ovf")) {
            files.push(path);
        }
    }
}
