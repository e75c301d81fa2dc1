//! Descriptors that other people wrote: none may panic, and what is refused is listed.
//!
//! Runs over the folder that `OVFTRANSFER_CORPUS` names, else over `shared/corpus/ovf` beside the
//! workspace, if there is one.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use ovftransfer_ovf::Envelope;

#[test]
fn descriptors_of_other_people() {
    let folder = env::var_os("OVFTRANSFER_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/ovf"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        println!("skipped: no folder {}, and OVFTRANSFER_CORPUS names no other", folder.display());
        return;
    }
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no .ovf file below {}", folder.display());
    let (mut read, mut alone, mut refused) = (0, 0, 0);
    let (mut properties, mut configurations, mut eulas) = (0, 0, 0);
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let whole = Envelope::parse(bytes.clone());
        match Envelope::parse_alone(bytes.clone()) {
            Ok(envelope) => {
                read += 1;
                alone += usize::from(whole.is_err());
                // Those that can be read at all differ in nothing but the references.
                assert_eq!(whole.is_err(), !envelope.outside().is_empty(), "{}", file.display());
                assert_eq!(envelope.bytes(), bytes, "{}", file.display());
                properties += envelope.products().map(|one| one.properties.len()).sum::<usize>();
                configurations += envelope.configurations().len();
                eulas += envelope.eulas().count();
            }
            Err(error) => {
                assert!(whole.is_err(), "{}", file.display());
                refused += 1;
                let name = file.strip_prefix(&folder).unwrap_or(file);
                println!("refused: {}: {error}", name.display());
            }
        }
    }
    println!("{} descriptors: {read} read, {alone} of them alone, {refused} refused", files.len());
    println!("{properties} properties, {configurations} configurations, {eulas} EULAs");
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
