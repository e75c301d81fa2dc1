//! Checking a descriptor by the rules of OVF, with the files of its package.

use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ovftransfer_ovf::lint;
use ovftransfer_ovf::lint::FilesBeside;
use ovftransfer_ovf::lint::Lint;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::Walk;

use crate::error::Error;
use crate::store::file::FileSource;
use crate::store::local::only_descriptor;
use crate::store::local::open_file;
use crate::store::local::reading;
use crate::store::parts::DESCRIPTOR_BYTES_MAX;

/// Checks the descriptor of a package by the rules of DSP0243: a descriptor (`.ovf`), an OVA, or a
/// folder with exactly one descriptor.
///
/// All that is wrong with the descriptor is told in the result; see [`lint`](ovftransfer_ovf::lint).  Of the
/// files beside it, their sizes and their first bytes are looked at, as far as they are there.  A
/// file that is missing is a warning beside a descriptor, and an error in an OVA.
///
/// Blocks: call it from a thread that may.
///
/// # Errors
///
/// [`Error::Local`] if a file cannot be read; [`Error::Ova`] and [`Error::Package`] if there is no
/// descriptor.
pub fn lint_package(path: &Path) -> Result<Lint, Error> {
    let kind = fs::metadata(path).map_err(|error| reading(path, error))?;
    if kind.is_dir() {
        with_folder(&only_descriptor(path)?)
    } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ova")) {
        with_archive(path)
    } else {
        with_folder(path)
    }
}

/// Checks a descriptor or an OVA that is read from a stream, such as standard input.
///
/// A descriptor stands alone then; an OVA is read to its end.  Blocks: call it from a thread that
/// may.
///
/// # Errors
///
/// [`Error::Local`] if the stream cannot be read, [`Error::Ova`] if it is a broken OVA.
pub fn lint_stream(stream: impl Read) -> Result<Lint, Error> {
    let mut stream = stream;
    let mut start = Vec::new();
    stream.by_ref().take(BLOCK_BYTES).read_to_end(&mut start).map_err(broken)?;
    if start.get(USTAR_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return archive_in_order(start.chain(stream));
    }
    Ok(lint::lint(&start_of(start.chain(stream)).map_err(broken)?))
}

/// Walks through an archive that can be read only once.
fn archive_in_order(mut stream: impl Read) -> Result<Lint, Error> {
    let unsound = |source| Error::Ova { package: STREAM.to_owned(), source: Box::new(source) };
    let mut beside = FilesBeside::default();
    let mut descriptor = Vec::new();
    let mut walk = Walk::new(None);
    let mut at_byte = 0;
    while let Some(wanted) = walk.wanted() {
        let between = wanted.at_byte.saturating_sub(at_byte);
        at_byte += io::copy(&mut stream.by_ref().take(between), &mut io::sink()).map_err(broken)?;
        let mut bytes = Vec::new();
        stream.by_ref().take(wanted.len_bytes as u64).read_to_end(&mut bytes).map_err(broken)?;
        at_byte += bytes.len() as u64;
        let Some(member) = walk.feed(&bytes).map_err(unsound)? else { continue };
        let (name, size_bytes) = (member.name().clone(), member.size_bytes());
        let is_descriptor =
            descriptor.is_empty() && name.has_extension("ovf") && !name.is_apple_double();
        let limit = if is_descriptor { DESCRIPTOR_BYTES_MAX + 1 } else { START_BYTES as u64 };
        let mut start = Vec::new();
        stream.by_ref().take(size_bytes.min(limit)).read_to_end(&mut start).map_err(broken)?;
        at_byte += start.len() as u64;
        beside.add(name.as_str(), size_bytes);
        if is_descriptor {
            descriptor = start;
        } else {
            beside.add_start(name.as_str(), &start);
        }
    }
    Ova::new(walk).map_err(unsound)?;
    beside.complete();
    Ok(lint::lint_with(&descriptor, &beside))
}

fn broken(error: io::Error) -> Error {
    reading(Path::new(STREAM), error)
}

fn with_folder(path: &Path) -> Result<Lint, Error> {
    let (file, _) = open_file(path)?;
    let bytes = start_of(&*file).map_err(|error| reading(path, error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut beside = FilesBeside::default();
    for href in lint::hrefs(&bytes) {
        // Relative names only: an absolute one is not beside the descriptor.
        if href.starts_with(['/', '\\']) || href.contains(':') {
            continue;
        }
        let chunks = (0..CHUNKS_MAX).map(|number| format!("{href}.{number:09}"));
        if !add(&mut beside, folder, &href) {
            for chunk in chunks.take_while(|chunk| folder.join(chunk).is_file()) {
                add(&mut beside, folder, &chunk);
            }
        }
    }
    Ok(lint::lint_with(&bytes, &beside))
}

/// Adds a file, if it is there and can be read.
fn add(beside: &mut FilesBeside, folder: &Path, name: &str) -> bool {
    let Ok((file, size_bytes)) = open_file(&folder.join(name)) else { return false };
    beside.add(name, size_bytes);
    let source = FileSource::new(file, 0, size_bytes);
    let mut start = vec![0; START_BYTES];
    if let Ok(start) = source.read_head(&mut start) {
        beside.add_start(name, start);
    }
    true
}

fn with_archive(path: &Path) -> Result<Lint, Error> {
    let package = path.display().to_string();
    let (file, _) = open_file(path)?;
    let ova =
        Ova::index(&*file).map_err(|source| Error::Ova { package, source: Box::new(source) })?;
    let part = |member: &ovftransfer_ovf::ova::Member| {
        FileSource::new(Arc::clone(&file), member.offset_bytes(), member.size_bytes())
    };
    let mut beside = FilesBeside::default();
    for member in ova.members() {
        beside.add(member.name().as_str(), member.size_bytes());
        let mut start = vec![0; START_BYTES];
        let start = part(member).read_head(&mut start).map_err(|error| reading(path, error))?;
        beside.add_start(member.name().as_str(), start);
    }
    beside.complete();
    let descriptor = part(ova.descriptor());
    let bytes = descriptor.read(DESCRIPTOR_BYTES_MAX + 1).map_err(|error| reading(path, error))?;
    Ok(lint::lint_with(&bytes, &beside))
}

/// As much of a descriptor as it takes to see that it is too large.
fn start_of(stream: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(DESCRIPTOR_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of a disk in which its own descriptor is looked for: sparse VMDKs have it in the second
/// half KiB and for at most 20 KiB.
const START_BYTES: usize = 32 << 10;

/// What a stream is called.
const STREAM: &str = "standard input";

/// A block of an archive: the first one is a header.
const BLOCK_BYTES: u64 = 512;

/// Where a header says that it is one.
const USTAR_AT: usize = 257;

/// Chunks of a file that are looked for.  Nine digits would allow a thousand million.
const CHUNKS_MAX: u32 = 100_000;
