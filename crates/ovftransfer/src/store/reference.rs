//! What a reference of the descriptor says about the files that the package has for it (DSP0243
//! 1.1.0 §7.1): their names, their sizes, and how they become what the reference stands for.

use std::collections::HashMap;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::NameError;
use ovftransfer_ovf::envelope::Disk;
use ovftransfer_ovf::envelope::FileRef;

use crate::store::content::Packing;
use crate::store::gzip::Limit;
use crate::store::url::decoded;

/// Which part of a reference a stored file is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Piece {
    /// All of it.
    Whole,
    /// The chunk of this number.
    Chunk(u32),
}

/// The files that may hold a reference: that of its very name, and that of its name with `%XX`
/// resolved.
///
/// An href is a URI, so `my%20disk.vmdk` stands for `my disk.vmdk`; but many who write descriptors
/// do not know that, and a file may well be called `my%20disk.vmdk`.
///
/// The second is an error if it would leave the package, or its folder.
pub(crate) fn names(reference: &FileRef) -> (&FileName, Option<Result<FileName, String>>) {
    let href = reference.href();
    // The name of a file on a web server is one that we have given it.
    if reference.url().is_some() {
        return (href, None);
    }
    let depth = |name: &str| name.matches('/').count();
    let resolve = |name: String| match FileName::new(&*name) {
        Ok(file) if depth(&name) == depth(href.as_str()) => Ok(file),
        Ok(file) => Err(format!("\"{file}\": an encoded slash is none between folders")),
        Err(error) => Err(error.to_string()),
    };
    (href, decoded(href.as_str()).filter(|name| name != href.as_str()).map(resolve))
}

/// The name of a chunk: that of the file, a dot and nine digits.
pub(crate) fn chunk_name(file: &FileName, number: u32) -> Result<FileName, NameError> {
    FileName::new(format!("{file}.{number:09}"))
}

/// Which part of a reference a file is by its name; nothing if it does not belong to it.
pub(crate) fn piece_of(reference: &FileRef, file: &FileName) -> Option<Piece> {
    // The package does not have what lies elsewhere.
    if reference.url().is_some() {
        return None;
    }
    let (href, resolved) = names(reference);
    let resolved = resolved.and_then(Result::ok);
    let is_name = |name: &str| {
        name == href.as_str() || resolved.as_ref().is_some_and(|other| other.as_str() == name)
    };
    if reference.chunk_size_bytes().is_none() {
        return is_name(file.as_str()).then_some(Piece::Whole);
    }
    let (name, number) = chunk_of(file)?;
    is_name(name).then_some(Piece::Chunk(number))
}

/// What a file is a chunk of by its name, and which.
pub(crate) fn chunk_of(file: &FileName) -> Option<(&str, u32)> {
    let (name, digits) = file.as_str().rsplit_once('.')?;
    let is_number = digits.len() == 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().map(|number| (name, number))
}

/// The references of a descriptor by the names of their files: there may be thousands of both, and
/// of entries in a manifest.
#[derive(Debug)]
pub(crate) struct ByName {
    /// By what stands in the descriptor.
    hrefs: HashMap<String, usize>,
    /// The first one that is the file of a name, by either of its names.
    whole: HashMap<String, usize>,
    /// The first one whose chunks are called so.
    chunked: HashMap<String, usize>,
}

impl ByName {
    pub(crate) fn new(references: &[FileRef]) -> Self {
        let (mut whole, mut chunked) = (HashMap::new(), HashMap::new());
        for (place, reference) in references.iter().enumerate() {
            // The package does not have what lies elsewhere.
            if reference.url().is_some() {
                continue;
            }
            let known = match reference.chunk_size_bytes() {
                Some(_) => &mut chunked,
                None => &mut whole,
            };
            let (href, resolved) = names(reference);
            for name in [Some(href.clone()), resolved.and_then(Result::ok)].into_iter().flatten() {
                known.entry(name.as_str().to_owned()).or_insert(place);
            }
        }
        let hrefs = references.iter().map(|one| one.href().as_str().to_owned());
        Self { hrefs: hrefs.zip(0..).collect(), whole, chunked }
    }

    /// The place of the reference that a file belongs to: see [`piece_of`].
    pub(crate) fn owner(&self, file: &FileName) -> Option<usize> {
        let chunk = chunk_of(file).and_then(|(name, _)| self.chunked.get(name));
        self.whole.get(file.as_str()).into_iter().chain(chunk).min().copied()
    }

    /// The place of the reference that an entry of a manifest is about: of what stands so in the
    /// descriptor, else of what the file belongs to, or all chunks together.
    pub(crate) fn subject(&self, entry: &FileName) -> Option<usize> {
        let named = self.hrefs.get(entry.as_str()).copied();
        let together = self.chunked.get(entry.as_str()).copied();
        named.or_else(|| self.owner(entry).into_iter().chain(together).min())
    }
}

/// Whether the content of a reference is made of files, and is not one of them.
pub(crate) fn is_packed(reference: &FileRef) -> bool {
    let is_compressed = reference.compression().is_some_and(|method| method != "identity");
    is_compressed || reference.chunk_size_bytes().is_some()
}

/// How many bytes each chunk has but the last; nothing if there are none.
pub(crate) fn chunk_bytes(reference: &FileRef) -> Result<Option<u64>, String> {
    match reference.chunk_size_bytes() {
        Some(0) => Err(format!("{}: the chunks have a size of 0 bytes", reference.href())),
        size => Ok(size),
    }
}

/// Compares the size of a chunk with what the descriptor says about all of them.
pub(crate) fn check_chunk(
    name: &FileName,
    size_bytes: u64,
    chunk_bytes: u64,
    is_last: bool,
) -> Result<(), String> {
    let is_right = if is_last { size_bytes <= chunk_bytes } else { size_bytes == chunk_bytes };
    if is_right {
        return Ok(());
    }
    let most = if is_last { "at most " } else { "" };
    Err(format!("{name} has {size_bytes} bytes, but a chunk has {most}{chunk_bytes}"))
}

/// How the stored files of a reference become its content.
pub(crate) fn packing(envelope: &Envelope, reference: &FileRef) -> Result<Packing, String> {
    match reference.compression() {
        None | Some("identity") => Ok(Packing::Plain),
        Some("gzip") => Ok(Packing::Gzip(limit(envelope, reference))),
        Some(other) => Err(format!(
            "{} is compressed by \"{other}\"; there is only gzip (DSP0243 §7.1)",
            reference.href()
        )),
    }
}

fn limit(envelope: &Envelope, reference: &FileRef) -> Limit {
    let disks = envelope.disks().iter().filter(|disk| disk.file_ref() == Some(reference.id()));
    match disks.map(Disk::capacity_bytes).max() {
        Some(capacity) => {
            let extra = (capacity / DISK_EXTRA_PART).saturating_add(DISK_EXTRA_BYTES);
            Limit { fixed_bytes: capacity.saturating_add(extra), ratio: 0 }
        }
        None => Limit { fixed_bytes: OTHER_BYTES, ratio: OTHER_RATIO },
    }
}

/// What the manifest says about a stored file of a reference.
///
/// It has the names that stand in the descriptor (§5.1); packers also write those of the files.
pub(crate) fn promised(
    manifest: Option<&Manifest>,
    reference: &FileRef,
    stored: &FileName,
    piece: Piece,
) -> Option<Digest> {
    let manifest = manifest?;
    if let Some(url) = reference.url() {
        let by_url = match piece {
            Piece::Whole => manifest.digest_of_url(url),
            Piece::Chunk(number) => manifest.digest_of_url(&format!("{url}.{number:09}")),
        };
        if by_url.is_some() {
            return by_url.copied();
        }
    }
    let by_href = || match piece {
        Piece::Whole => manifest.digest(reference.href()),
        Piece::Chunk(number) => manifest.digest(&chunk_name(reference.href(), number).ok()?),
    };
    manifest.digest(stored).or_else(by_href).copied()
}

/// What the manifest says about a reference that is one file, under either of its names.
pub(crate) fn promised_by_name(manifest: Option<&Manifest>, reference: &FileRef) -> Option<Digest> {
    let (href, resolved) = names(reference);
    let stored = resolved.and_then(Result::ok).unwrap_or_else(|| href.clone());
    promised(manifest, reference, &stored, Piece::Whole)
}

/// What the manifest says about all chunks of a reference together, which it may.
pub(crate) fn promised_whole(manifest: Option<&Manifest>, reference: &FileRef) -> Option<Digest> {
    reference.chunk_size_bytes()?;
    let (href, resolved) = names(reference);
    let by_file = || manifest?.digest(&resolved?.ok()?);
    let by_url = || manifest?.digest_of_url(reference.url()?);
    manifest?.digest(href).or_else(by_file).or_else(by_url).copied()
}

/// What is wrong with two references that have the same file (§7.1).
pub(crate) fn two_for_one(file: &FileName) -> String {
    format!("two references of the descriptor stand for {file}")
}

/// Digests that a manifest may have.
pub(crate) const ALL_ALGORITHMS: [DigestAlgorithm; 3] =
    [DigestAlgorithm::Sha1, DigestAlgorithm::Sha256, DigestAlgorithm::Sha512];

/// Most chunks of one file: an OVA has no room for more.
pub(crate) const CHUNKS_MAX: u64 = 16_384;

/// A disk has its capacity in grains, and at most an eighth more: data that deflate makes larger
/// (9 bits for a byte at the worst), a marker for each grain, and the tables.
const DISK_EXTRA_PART: u64 = 8;

/// And this much whatever its capacity: header, descriptor and overhead of a disk that is empty.
const DISK_EXTRA_BYTES: u64 = 16 << 20;

/// Any other file may have this size without a question: firmware variables and empty images are
/// mostly zeros.
const OTHER_BYTES: u64 = 64 << 20;

/// Above it, it may have so many times the size of the compressed file.  Text reaches 10, tables 30;
/// deflate ends at 1,032.
const OTHER_RATIO: u64 = 64;
