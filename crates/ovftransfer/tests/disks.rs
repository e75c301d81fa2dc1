//! Disks that are files of their own are converted, or nothing is left.
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ovftransfer::CheckDisk;
use ovftransfer::CheckedDisk;
use ovftransfer::ConvertDisk;
use ovftransfer::ConvertedDisk;
use ovftransfer::DiskFormat;
use ovftransfer::DiskKind;
use ovftransfer::DiskOverview;
use ovftransfer::Error;
use ovftransfer::ImageFormat;
use ovftransfer::Meter;
use tokio_util::sync::CancellationToken;

async fn convert(from: &Path, to: &Path, overwrite: bool) -> Result<ConvertedDisk, Error> {
    let format = DiskFormat::of_path(to).unwrap();
    let mut request = ConvertDisk::new(from.to_owned(), to.to_owned(), format);
    request.overwrite = overwrite;
    request.run(&Arc::default(), &CancellationToken::new()).await
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn text(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

#[tokio::test]
async fn a_disk_goes_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut disk = vec![0; (3 << 20) + 512];
    for (at, byte) in disk.iter_mut().enumerate().skip(70_000).take(200_000) {
        *byte = u8::try_from(at % 251).unwrap();
    }
    fs::write(path("in.raw"), &disk).unwrap();
    let made = convert(&path("in.raw"), &path("disk.vmdk"), false).await.unwrap();
    assert_eq!(
        (made.format, made.capacity_bytes),
        (DiskFormat::StreamOptimized, disk.len() as u64)
    );
    assert_eq!(made.bytes, fs::metadata(path("disk.vmdk")).unwrap().len());
    assert_eq!(made.populated_bytes, 4 * 65_536);
    let back = convert(&path("disk.vmdk"), &path("out.img"), false).await.unwrap();
    assert_eq!((back.format, back.capacity_bytes), (DiskFormat::Raw, disk.len() as u64));
    assert!(fs::read(path("out.img")).unwrap() == disk);
    assert_eq!(names(folder.path()), ["disk.vmdk", "in.raw", "out.img"]);

    let error = convert(&path("in.raw"), &path("disk.vmdk"), false).await.unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert!(error.to_string().contains("disk.vmdk exists"), "{error}");
    fs::write(path("in.raw"), vec![0; 1024]).unwrap();
    let empty = convert(&path("in.raw"), &path("disk.vmdk"), true).await.unwrap();
    assert_eq!((empty.capacity_bytes, empty.populated_bytes), (1024, 0));
}

#[tokio::test]
async fn what_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("in.raw"), vec![7; 1 << 20]).unwrap();
    convert(&path("in.raw"), &path("disk.vmdk"), false).await.unwrap();
    let mut damaged = fs::read(path("disk.vmdk")).unwrap();
    damaged[65_536 + 14] ^= 1;
    fs::write(path("disk.vmdk"), damaged).unwrap();
    let error = convert(&path("disk.vmdk"), &path("out.raw"), false).await.unwrap_err();
    assert!(matches!(error, Error::Disk { .. }), "{error}");
    assert!(text(&error).contains("disk.vmdk: this disk cannot be used: at byte 65536"));

    let error = convert(&path("missing.raw"), &path("out.vmdk"), false).await.unwrap_err();
    assert!(matches!(error, Error::Local { action: "read", .. }), "{error}");
    fs::write(path("empty.raw"), b"").unwrap();
    let error = convert(&path("empty.raw"), &path("out.vmdk"), false).await.unwrap_err();
    assert!(text(&error).contains("empty.raw: this disk cannot be used: cannot be written"));
    let elsewhere = path("no/such/folder.vmdk");
    let error = convert(&path("in.raw"), &elsewhere, false).await.unwrap_err();
    assert!(matches!(error, Error::Local { action: "create", .. }), "{error}");

    let cancel = CancellationToken::new();
    cancel.cancel();
    let (from, to) = (path("in.raw"), path("out.vmdk"));
    let request = ConvertDisk::new(from, to, DiskFormat::StreamOptimized);
    let meter = Arc::new(Meter::default());
    let error = request.run(&meter, &cancel).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(names(folder.path()), ["disk.vmdk", "empty.raw", "in.raw"]);
}

/// By position a lost table is nothing but zeros.
#[tokio::test]
async fn a_disk_without_one_of_its_tables_is_not_converted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("in.raw"), vec![7; 1 << 20]).unwrap();
    convert(&path("in.raw"), &path("disk.vmdk"), false).await.unwrap();
    let mut file = fs::read(path("disk.vmdk")).unwrap();
    let number = |file: &[u8], at: usize| {
        usize::try_from(u32::from_le_bytes(file[at..at + 4].try_into().unwrap())).unwrap()
    };
    // The footer, which leads to the directory and that to the table, stands before the last sector.
    let directory = number(&file, file.len() - 1024 + 56) * 512;
    let table = number(&file, directory) * 512;
    file[table..table + 2048].fill(0);
    fs::write(path("disk.vmdk"), file).unwrap();
    for out in ["out.raw", "out.vmdk"] {
        let error = convert(&path("disk.vmdk"), &path(out), false).await.unwrap_err();
        assert!(matches!(error, Error::Disk { .. }), "{error}");
    }
    assert_eq!(names(folder.path()), ["disk.vmdk", "in.raw"]);
}

async fn check(path: &Path, deep: bool, meter: &Arc<Meter>) -> Result<CheckedDisk, Error> {
    let mut request = CheckDisk::new(path.to_owned());
    request.deep = deep;
    request.run(meter, &CancellationToken::new()).await
}

#[tokio::test]
async fn disks_are_looked_at_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("in.raw"), [vec![7; 1 << 20], vec![0; 1 << 20]].concat()).unwrap();
    convert(&path("in.raw"), &path("disk.vmdk"), false).await.unwrap();
    assert_eq!(ImageFormat::of_path(&path("disk.vmdk")).unwrap(), Some(ImageFormat::Vmdk));
    assert_eq!(ImageFormat::of_path(&path("in.raw")).unwrap(), Some(ImageFormat::Raw));
    assert_eq!(ImageFormat::of_path(folder.path()).unwrap(), None);
    assert_eq!(ImageFormat::of_path(&path("missing.vmdk")).unwrap(), None);
    for name in ["in.raw", "disk.vmdk"] {
        let seen = DiskOverview::read(&path(name), None).unwrap();
        for deep in [false, true] {
            let meter = Arc::<Meter>::default();
            let checked = check(&path(name), deep, &meter).await.unwrap().disk;
            assert_eq!((checked.capacity_bytes, checked.file_bytes), (2 << 20, seen.file_bytes));
            assert_eq!(checked.populated_bytes, seen.populated_bytes);
            assert_eq!(meter.files()[0].position_bytes(), 2 << 20, "{name} {deep}");
        }
    }
    let seen = DiskOverview::read(&path("disk.vmdk"), None).unwrap();
    let DiskKind::Vmdk { header, descriptor } = &seen.kind else { panic!("{seen:?}") };
    assert_eq!(header.as_ref().unwrap().version, 3);
    assert_eq!(descriptor.create_type(), Some("streamOptimized"));
    assert_eq!((seen.capacity_bytes, seen.populated_bytes), (2 << 20, 1 << 20));
}

#[tokio::test]
async fn damaged_disks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("in.raw"), vec![7; 1 << 20]).unwrap();
    convert(&path("in.raw"), &path("disk.vmdk"), false).await.unwrap();
    let sound = fs::read(path("disk.vmdk")).unwrap();
    let damaged = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(path("disk.vmdk"), bytes).unwrap();
    };
    // A flip within a grain is not seen in the structure.
    damaged(65_536 + 14);
    check(&path("disk.vmdk"), false, &Arc::default()).await.unwrap();
    let error = check(&path("disk.vmdk"), true, &Arc::default()).await.unwrap_err();
    assert!(text(&error).contains("at byte 65536: data of the grain"), "{}", text(&error));
    damaged(0);
    let error = check(&path("disk.vmdk"), false, &Arc::default()).await.unwrap_err();
    assert!(text(&error).contains("at byte 0: not a VMDK"), "{}", text(&error));
    fs::write(path("disk.vmdk"), &sound[..sound.len() - 512]).unwrap();
    let error = check(&path("disk.vmdk"), false, &Arc::default()).await.unwrap_err();
    assert!(matches!(error, Error::Disk { .. }), "{error}");
    let error = check(&path("missing.raw"), false, &Arc::default()).await.unwrap_err();
    assert!(matches!(error, Error::Local { action: "read", .. }), "{error}");
    let cancel = CancellationToken::new();
    cancel.cancel();
    fs::write(path("disk.vmdk"), &sound).unwrap();
    let request = CheckDisk::new(path("disk.vmdk"));
    let error = request.run(&Arc::default(), &cancel).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
}
