//! Archives whose files come in every order.

use bytes::Bytes;
use ovftransfer_ovf::ReadAt;
use ovftransfer_ovf::ova::Ova;

use super::*;
use crate::store::faulty;

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

/// A file's content: its name, again and again, cut at a length that is no multiple of a block.
fn content(file: &str) -> Bytes {
    let len = 700 * (1 + file.len()) + 13;
    file.bytes().cycle().take(len).collect()
}

async fn archive(path: &Path, files: &[&str]) -> PackageArchive {
    let archive = PackageArchive::create(path.to_owned(), None, Existing::Keep).await.unwrap();
    let files: Vec<FileName> = files.iter().map(|file| name(file)).collect();
    archive.reserve(&name("x.ovf"), &files, DigestAlgorithm::Sha256, None).unwrap();
    archive
}

/// Seals an archive whose descriptor has `len` bytes; the manifest has the size that it must.
async fn seal(archive: PackageArchive, order: &[FileName], len: usize) -> Vec<u8> {
    let descriptor = archive.fit(vec![b'd'; len]).await.unwrap();
    let digest = Digest::new(DigestAlgorithm::Sha256, &[7; 32]).unwrap();
    let mut manifest = Manifest::new();
    for file in std::iter::once(&name("x.ovf")).chain(order) {
        manifest.push(file.clone(), digest).unwrap();
    }
    let papers = Papers::new(name("x.ovf"), descriptor, manifest.to_bytes()).unwrap();
    archive.seal(papers).await.unwrap();
    fs::read(archive.publish().await.unwrap()).unwrap()
}

fn check(archive: &Vec<u8>, order: &[FileName]) {
    let ova = Ova::index(archive).unwrap();
    assert!(ova.warnings().is_empty(), "{:?}", ova.warnings());
    let names: Vec<&FileName> = ova.members().iter().map(|member| member.name()).collect();
    assert_eq!(names[..2], [&name("x.ovf"), &name("x.mf")]);
    assert_eq!(names[2..], order.iter().collect::<Vec<_>>());
    for member in &ova.members()[2..] {
        let mut bytes = vec![0; usize::try_from(member.size_bytes()).unwrap()];
        archive.read_exact_at(&mut bytes, member.offset_bytes()).unwrap();
        assert_eq!(bytes, content(member.name().as_str()));
    }
}

#[tokio::test]
async fn files_that_come_side_by_side_stand_one_after_the_other() {
    let files = ["a", "bb", "ccc", "dddd"];
    // Whoever starts first streams to its place; the order of the ends is all that differs.
    for ends in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]] {
        let temp = tempfile::tempdir().unwrap();
        let archive = archive(&temp.path().join("x.ova"), &files).await;
        let mut sinks = Vec::new();
        for file in files {
            let mut sink = archive.destination(&name(file)).create().await.unwrap();
            sink.write(vec![content(file).slice(..100)]).await.unwrap();
            sinks.push(sink);
        }
        for end in ends {
            sinks[end].write(vec![content(files[end]).slice(100..)]).await.unwrap();
            sinks[end].finish().await.unwrap();
        }
        let order = archive.order().await.unwrap();
        assert_eq!(order.len(), files.len());
        check(&seal(archive, &order, 5_000).await, &order);
    }
}

#[tokio::test]
async fn a_descriptor_that_outgrows_its_slot_moves_everything() {
    for len in [1, 511, 512, 600_000, 3_000_000] {
        let temp = tempfile::tempdir().unwrap();
        let archive = archive(&temp.path().join("x.ova"), &["a", "bb"]).await;
        for file in ["a", "bb"] {
            let mut sink = archive.destination(&name(file)).create().await.unwrap();
            sink.write(vec![content(file)]).await.unwrap();
            sink.finish().await.unwrap();
        }
        let order = archive.order().await.unwrap();
        let bytes = seal(archive, &order, len).await;
        check(&bytes, &order);
        let descriptor = Ova::index(&bytes).unwrap().descriptor().clone();
        let start = usize::try_from(descriptor.offset_bytes()).unwrap();
        assert!(bytes[start..][..len].iter().all(|byte| *byte == b'd'));
        assert_eq!(bytes[start + len], b'\n');
    }
}

/// The bytes of a try that failed must not stand between the files or behind the end.
#[tokio::test]
async fn a_try_that_failed_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let archive = archive(&temp.path().join("x.ova"), &["a", "bb"]).await;
    let mut failing = archive.destination(&name("bb")).create().await.unwrap();
    failing.write(vec![Bytes::from(vec![b'!'; 1 << 20])]).await.unwrap();
    failing.abort().await.unwrap();
    for file in ["a", "bb"] {
        let mut sink = archive.destination(&name(file)).create().await.unwrap();
        sink.write(vec![content(file)]).await.unwrap();
        sink.finish().await.unwrap();
    }
    let order = archive.order().await.unwrap();
    let bytes = seal(archive, &order, 100).await;
    check(&bytes, &order);
    assert!(!bytes.contains(&b'!'));
}

#[tokio::test]
async fn discarding_leaves_nothing_and_the_name_is_free_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("new/x.ova");
    let first = archive(&path, &["a", "bb"]).await;
    let taken = PackageArchive::create(path.clone(), None, Existing::Replace).await.unwrap_err();
    assert!(matches!(taken, Error::Refused { .. }), "{taken}");
    let mut placed = first.destination(&name("a")).create().await.unwrap();
    let mut spooled = first.destination(&name("bb")).create().await.unwrap();
    placed.write(vec![content("a")]).await.unwrap();
    spooled.write(vec![content("bb")]).await.unwrap();
    spooled.finish().await.unwrap();
    placed.abort().await.unwrap();
    first.discard().await;
    assert!(!temp.path().join("new").exists());
    archive(&path, &["a"]).await.discard().await;
}

/// The system writes into a spool on its own time, and tells of trouble when it is asked.
#[tokio::test]
async fn a_spool_that_the_disk_did_not_take_is_no_file_of_a_package() {
    let temp = tempfile::tempdir().unwrap();
    let _watch = faulty::Watch::new(temp.path(), |operation, _| operation == "sync a spool");
    let archive = archive(&temp.path().join("x.ova"), &["a", "bb"]).await;
    let mut placed = archive.destination(&name("a")).create().await.unwrap();
    let mut spooled = archive.destination(&name("bb")).create().await.unwrap();
    placed.write(vec![content("a")]).await.unwrap();
    spooled.write(vec![content("bb")]).await.unwrap();
    spooled.finish().await.unwrap();
    placed.finish().await.unwrap();
    archive.order().await.unwrap_err();
    archive.discard().await;
}
