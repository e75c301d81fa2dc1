//! Descriptors that other people wrote: none may panic, and what is refused is listed.
//!
//! Runs over the folder that `OVFTRANSFER_CORPUS` names, if it does.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use ovftransfer_ovf::Envelope;

#[test]
fn descriptors_of_other_people() {
    let Some(folder) = env::var_os("OVFTRANSFER_CORPUS") else {
        println!("skipped: OVFTRANSFER_CORPUS does not name a folder of descriptors");
        return;
    };
    let mut files = Vec::new();
    collect(Path::new(&folder), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no .ovf file below {}", folder.display());
    let (mut read, mut refused) = (0, 0);
    for file in &files {
        let bytes = fs::read(file).unwrap();
        match Envelope::parse(bytes.clone()) {
            Ok(envelope) => {
                read += 1;
                assert_eq!(envelope.bytes(), bytes, "{}", file.display());
            }
            Err(error) => {
                refused += 1;
                let name = file.strip_prefix(&folder).unwrap_or(file);
                println!("refused: {}: {error}", name.display());
            }
        }
    }
    println!("{} descriptors: {read} read, {refused} refused", files.len());
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
