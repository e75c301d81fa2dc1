//! From every format to a stream and back, byte for byte.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod common;
mod peer;

use std::fs;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use common::GRAIN;
use common::Grains;
use common::noise;
use ovftransfer_vmdk::ConvertError;
use ovftransfer_vmdk::DiskImage;
use ovftransfer_vmdk::Fault;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::Progress;
use ovftransfer_vmdk::RawImage;
use ovftransfer_vmdk::Summary;
use ovftransfer_vmdk::VmdkError;
use ovftransfer_vmdk::open_image;
use ovftransfer_vmdk::to_raw;
use ovftransfer_vmdk::to_stream;
use peer::FORMATS;
use peer::disk;
use peer::qemu_img;
use peer::run;
use peer::write_raw;

fn threads(count: usize) -> Options {
    Options::default().threads(NonZeroUsize::new(count).unwrap())
}

fn stream(source: &dyn DiskImage, options: Options) -> (Vec<u8>, Summary) {
    to_stream(source, Vec::new(), options, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Writes `source` to a raw file, and reads that.
fn raw(source: &dyn DiskImage, path: &Path) -> Vec<u8> {
    let file = File::create(path).unwrap();
    let summary = to_raw(source, &file, threads(2), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(summary.capacity_bytes, source.capacity_bytes());
    #[cfg(unix)]
    {
        let used = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) * 512;
        // A file system may take some blocks for itself.
        assert!(used <= summary.populated_bytes + (64 << 10), "{used} {summary:?}");
    }
    fs::read(path).unwrap()
}

#[test]
fn every_format_becomes_the_same_stream_and_comes_back() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (capacity_bytes, grains) = disk();
    write_raw(&folder.path().join("in.raw"), capacity_bytes, &grains);
    let expected = fs::read(folder.path().join("in.raw")).unwrap();
    let (file, _) = common::write(capacity_bytes, &grains, Options::default());
    fs::write(folder.path().join("ours.vmdk"), &file).unwrap();
    run(folder.path(), &["check", "ours.vmdk"]);
    run(folder.path(), &["compare", "in.raw", "ours.vmdk"]);
    for options in FORMATS {
        let folder = tempfile::tempdir_in(folder.path()).unwrap();
        let convert = ["convert", "-t", "unsafe", "-f", "raw"];
        run(folder.path(), &[&convert[..], options, &["../in.raw", "disk"]].concat());
        let image = open_image(&folder.path().join("disk"), None).unwrap();
        assert!(stream(&*image, threads(3)).0 == file, "{options:?}");
        assert!(raw(&*image, &folder.path().join("out.raw")) == expected, "{options:?}");
    }
    let image = open_image(&folder.path().join("ours.vmdk"), None).unwrap();
    assert!(raw(&*image, &folder.path().join("out.raw")) == expected);
    assert!(stream(&*image, threads(1)).0 == file);
}

#[test]
fn a_file_system_comes_back() {
    if !qemu_img() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.raw");
    File::create(&path).unwrap().set_len(24 << 20).unwrap();
    let made = Command::new("mkfs.ext4")
        .env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
        .args(["-q", "-d", concat!(env!("CARGO_MANIFEST_DIR"), "/src")])
        .arg(&path)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mkfs.ext4 is missing");
        return;
    }
    let (file, summary) = stream(&*open_image(&path, None).unwrap(), Options::default());
    assert!(summary.populated_bytes() < 12 << 20, "{summary:?}");
    fs::write(folder.path().join("ours.vmdk"), file).unwrap();
    run(folder.path(), &["check", "ours.vmdk"]);
    run(folder.path(), &["compare", "in.raw", "ours.vmdk"]);
    run(folder.path(), &["convert", "-t", "unsafe", "-O", "qcow2", "ours.vmdk", "their.qcow2"]);
    let image = open_image(&folder.path().join("their.qcow2"), None).unwrap();
    assert!(raw(&*image, &folder.path().join("out.raw")) == fs::read(&path).unwrap());
}

/// A disk with some data, which says where, and notes what is read.
#[derive(Debug)]
struct Noted {
    disk: Vec<u8>,
    data: Vec<Range<u64>>,
    read: std::sync::Mutex<Vec<Range<u64>>>,
    /// Where reading fails.
    bad_byte: Option<u64>,
}

impl DiskImage for Noted {
    fn capacity_bytes(&self) -> u64 {
        self.disk.len() as u64
    }

    fn read_at(&self, at_byte: u64, buffer: &mut [u8]) -> Result<(), VmdkError> {
        let place = at_byte..at_byte + buffer.len() as u64;
        if self.bad_byte.is_some_and(|bad| place.contains(&bad)) {
            let source = std::io::Error::other("bad sector");
            return Err(VmdkError::Io { at_byte, source });
        }
        let start = usize::try_from(at_byte).unwrap();
        buffer.copy_from_slice(&self.disk[start..start + buffer.len()]);
        self.read.lock().unwrap().push(place);
        Ok(())
    }

    fn next_data(&self, from_byte: u64) -> Result<Option<Range<u64>>, VmdkError> {
        let next = self.data.iter().find(|range| range.end > from_byte);
        Ok(next.map(|range| range.start.max(from_byte)..range.end))
    }

    fn unit_bytes(&self) -> u64 {
        65_536
    }
}

/// 8 MiB with data across pieces, in two parts of one grain, and in the last sector.
fn noted() -> Noted {
    let mut disk = vec![0; (8 << 20) + 512];
    let len = disk.len();
    let data = [100_000..700_000, 1 << 20..(1 << 20) + 1000, (1 << 20) + 9000..(1 << 20) + 9100]
        .into_iter()
        .chain(std::iter::once(len - 512..len));
    let data: Vec<Range<usize>> = data.collect();
    for range in &data {
        let len = range.len();
        disk[range.clone()].copy_from_slice(&noise(range.start as u64, len));
    }
    let data = data.iter().map(|range| range.start as u64..range.end as u64).collect();
    Noted { disk, data, read: Vec::new().into(), bad_byte: None }
}

#[test]
fn only_grains_with_data_are_read_once_and_progress_is_told() {
    let source = noted();
    let mut told: Vec<Progress> = Vec::new();
    let (file, summary) = to_stream(&source, Vec::new(), threads(2), &mut |progress| {
        told.push(progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut read = source.read.lock().unwrap().clone();
    read.sort_by_key(|range| range.start);
    assert!(read.windows(2).all(|pair| pair[0].end <= pair[1].start), "{read:?}");
    let bytes: u64 = read.iter().map(|range| range.end - range.start).sum();
    assert_eq!(bytes, 10 * 65_536 + 65_536 + 512);
    assert_eq!(summary.populated_bytes(), bytes);
    assert_eq!(common::check(&file).unwrap(), summary);

    assert!(told.windows(2).all(|pair| pair[0].lba_bytes <= pair[1].lba_bytes));
    let last = told.last().unwrap();
    assert_eq!((last.lba_bytes, last.read_bytes), (source.capacity_bytes(), bytes));
    assert!(last.written_bytes < summary.file_bytes());

    // The same from all bytes, without knowledge of holes.
    let plain = RawImage::new(source.disk.clone());
    assert!(stream(&plain, threads(4)).0 == file);
    let grains: Grains = (0..).zip(source.disk.chunks(GRAIN).map(<[u8]>::to_vec)).collect();
    assert!(common::write(source.capacity_bytes(), &grains, Options::default()).0 == file);
}

#[test]
fn bad_sources_and_targets_are_told_apart() {
    let mut source = noted();
    source.bad_byte = Some(400_000);
    let go_on = &mut |_| ControlFlow::Continue(());
    let error = to_stream(&source, Vec::new(), threads(2), go_on).unwrap_err();
    assert!(
        matches!(error, ConvertError::Source(VmdkError::Io { at_byte: 262_144, .. })),
        "{error}"
    );

    let empty = RawImage::new(Vec::new());
    let error = to_stream(&empty, Vec::new(), threads(2), go_on).unwrap_err();
    let fault = Fault::Capacity { sectors: 0, max: 64 << 31 };
    assert!(matches!(error, ConvertError::Target(VmdkError::Unwritable(found)) if found == fault));

    let read_only = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let error = to_raw(&noted(), &read_only, threads(2), go_on).unwrap_err();
    assert!(matches!(error, ConvertError::Target(VmdkError::Io { .. })), "{error}");
}

#[test]
fn a_conversion_can_be_cancelled() {
    let source = noted();
    let mut calls = 0;
    let error = to_stream(&source, Vec::new(), threads(2), &mut |_| {
        calls += 1;
        if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap_err();
    assert!(matches!(error, ConvertError::Cancelled));
    assert_eq!(calls, 2);
}
