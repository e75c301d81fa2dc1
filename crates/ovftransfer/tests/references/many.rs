//! Packages of so many files that whatever is done for each pair of them takes minutes.

use std::fs;
use std::io::Cursor;
use std::time::Duration;

use ovftransfer::Package;
use ovftransfer::read_stream;
use ovftransfer_ovf::ova::Writer;
use tokio::time::Instant;

use super::check;
use super::shelf::name;

/// As many files as an archive may have, and entries of a manifest that are about none of them.
#[tokio::test]
async fn many_files_and_many_entries_of_a_manifest_are_little_work() {
    let files: Vec<String> = (0..16_000).map(|number| format!("f{number}")).collect();
    let references = files.iter().map(|file| format!("<File o:id=\"{file}\" o:href=\"{file}\"/>"));
    let descriptor = format!(
        "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
         xmlns:o=\"http://schemas.dmtf.org/ovf/envelope/1\"><References>{}</References>\
         <VirtualSystem o:id=\"vm\"><Info/></VirtualSystem></Envelope>",
        references.collect::<String>()
    );
    let digest = "0".repeat(40);
    let manifest: String =
        (0..65_000).map(|number| format!("SHA1(a{number})= {digest}\n")).collect();
    let mut writer = Writer::new(Vec::new());
    for (file, content) in [("vm.ovf", &descriptor), ("vm.mf", &manifest)] {
        let size_bytes = content.len() as u64;
        writer.append(&name(file), size_bytes, &mut content.as_bytes()).unwrap();
    }
    for file in &files {
        writer.append(&name(file), 0, &mut [].as_slice()).unwrap();
    }
    let ova = writer.finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ova");
    fs::write(&path, &ova).unwrap();

    let started = Instant::now();
    let package = Package::open(&path).unwrap();
    assert!(started.elapsed() < TIME_MAX, "opened after {:?}", started.elapsed());
    let stream = Package::from_stream(read_stream(Cursor::new(ova)).unwrap(), "a pipe").await;
    for package in [package, stream.unwrap()] {
        let started = Instant::now();
        assert_eq!(check(package).await.unwrap().len(), files.len());
        assert!(started.elapsed() < TIME_MAX, "checked after {:?}", started.elapsed());
    }
}

/// For one package in this process, in a test build on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(20);
