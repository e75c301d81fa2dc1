//! What makes a package, whatever it is read from, and how it is found among files.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use futures::StreamExt;
use futures::TryStreamExt;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::envelope::FileRef;

use crate::error::Error;
use crate::signature::StoredCertificate;
use crate::store::Source;
use crate::store::content::Content;
use crate::store::content::Packing;
use crate::store::content::Stored;
use crate::store::file::FileSource;
use crate::store::gzip::inflated_head;
use crate::store::in_order::InOrder;
use crate::store::lookup::Entry;
use crate::store::lookup::Lookup;
use crate::store::lookup::Want;
use crate::store::reference::ByName;
use crate::store::reference::CHUNKS_MAX;
use crate::store::reference::Piece;
use crate::store::reference::check_chunk;
use crate::store::reference::chunk_bytes;
use crate::store::reference::chunk_name;
use crate::store::reference::names;
use crate::store::reference::packing;
use crate::store::reference::promised;
use crate::store::reference::promised_whole;
use crate::store::reference::two_for_one;

/// A reference of the descriptor, and what the package has for it.
#[derive(Clone, Debug)]
pub(crate) struct PackageFile {
    source: Arc<dyn Source>,
    stored: Vec<Stored>,
    /// Set if the content is made of the stored files, and is not just one of them.
    content: Option<Content>,
    /// Whether the manifest says something about the chunks as a whole.
    is_whole_promised: bool,
    /// The first bytes of the content, where they were read.
    head: Option<Vec<u8>>,
}

impl PackageFile {
    /// What the reference stands for: chunks are joined, compressed files inflated.
    pub(crate) const fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// The content, if the package does not have it as it is in one file.
    ///
    /// What the manifest says about it is compared while it is read.
    pub(crate) const fn content(&self) -> Option<&Content> {
        self.content.as_ref()
    }

    /// The same, of whose stored files digests by `algorithms` are kept too.
    pub(crate) fn recording(mut self, algorithms: Vec<DigestAlgorithm>) -> Self {
        if let Some(content) = self.content.take() {
            let content = content.recording(algorithms);
            self.source = Arc::new(content.clone());
            self.content = Some(content);
        }
        self
    }

    /// The files that the package has for it, in order.
    pub(crate) fn stored(&self) -> &[Stored] {
        &self.stored
    }

    /// What all stored files have together, in bytes.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored.iter().map(|part| part.size_bytes).fold(0, u64::saturating_add)
    }

    /// Size of the content in bytes; of a compressed file only its end tells.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        self.source.size_bytes()
    }

    /// The first bytes of a disk, at most [`HEAD_BYTES`](super::lookup::HEAD_BYTES).
    pub(crate) fn head(&self) -> Option<&[u8]> {
        self.head.as_deref()
    }

    /// The file, if it is one of this machine that holds the content as it is.
    pub(crate) fn at_hand(&self) -> Option<&FileSource> {
        match &*self.stored {
            [only] if self.content.is_none() => only.at_hand.as_ref(),
            _ => None,
        }
    }

    /// Whether the manifest says something about every stored byte.
    pub(crate) fn is_promised(&self) -> bool {
        self.is_whole_promised || self.stored.iter().all(|part| part.promised.is_some())
    }
}

/// What makes a package, whatever it is read from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) location: String,
    pub(crate) descriptor: FileName,
    pub(crate) envelope: Envelope,
    /// The references of the envelope.
    pub(crate) by_name: ByName,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) certificate: Option<StoredCertificate>,
    /// What the descriptor refers to; empty if it comes in its own order.
    pub(crate) files: BTreeMap<FileName, PackageFile>,
    /// Files that the manifest names and the package does not have.
    pub(crate) missing: Vec<FileName>,
    pub(crate) warnings: Vec<String>,
    pub(crate) in_order: Option<Arc<InOrder>>,
}

impl Parts {
    /// Finds and reads what makes a package.
    pub(crate) async fn read(files: &dyn Lookup, descriptor: &FileName) -> Result<Self, Error> {
        let location = files.location();
        let bytes = files.small(descriptor, DESCRIPTOR_BYTES_MAX).await?;
        let bytes = bytes.ok_or_else(|| wrong(&location, not_there(descriptor)))?;
        let envelope = parse_envelope(&location, bytes)?;
        let Proofs { manifest, certificate, .. } = Proofs::read(files, descriptor).await?;
        let here = |reference: &FileRef| reference.url().is_none();
        let found = find(files, &envelope, manifest.as_ref(), here).await?;
        check_apart(&location, &found)?;
        let by_name = ByName::new(envelope.references());
        let mut missing = Vec::new();
        for entry in manifest.as_ref().map_or(&[][..], Manifest::entries) {
            let file = entry.file();
            let is_known = file == descriptor || by_name.subject(file).is_some();
            if !is_known && files.find(file, Want::Presence).await?.is_none() {
                missing.push(file.clone());
            }
        }
        let (descriptor, warnings) = (descriptor.clone(), files.warnings());
        let (files, in_order) = (found, None);
        Ok(Self {
            location,
            descriptor,
            envelope,
            by_name,
            manifest,
            certificate,
            files,
            missing,
            warnings,
            in_order,
        })
    }
}

/// The files that prove a package, as far as it has them.
pub(crate) struct Proofs {
    pub(crate) manifest: Option<Manifest>,
    pub(crate) certificate: Option<StoredCertificate>,
    /// What both have together.
    pub(crate) size_bytes: u64,
}

impl Proofs {
    pub(crate) async fn read(files: &dyn Lookup, descriptor: &FileName) -> Result<Self, Error> {
        let mut proofs = Self { manifest: None, certificate: None, size_bytes: 0 };
        for file in files.manifest_names(descriptor) {
            if let Some(bytes) = files.small(&file, MANIFEST_BYTES_MAX).await? {
                proofs.size_bytes += bytes.len() as u64;
                let package = format!("{}: {file}", files.location());
                proofs.manifest = Some(parse_manifest(&package, &bytes)?);
                break;
            }
        }
        for file in files.certificate_names(descriptor) {
            if let Some(bytes) = files.small(&file, CERTIFICATE_BYTES_MAX).await? {
                proofs.size_bytes += bytes.len() as u64;
                proofs.certificate = Some(StoredCertificate { file, bytes });
                break;
            }
        }
        Ok(proofs)
    }
}

/// Finds what there is among `files` for those references that are wanted.
pub(crate) async fn find(
    files: &dyn Lookup,
    envelope: &Envelope,
    manifest: Option<&Manifest>,
    is_wanted: fn(&FileRef) -> bool,
) -> Result<BTreeMap<FileName, PackageFile>, Error> {
    let finder = Finder { files, envelope, manifest };
    let wanted = envelope.references().iter().filter(|reference| is_wanted(reference));
    futures::stream::iter(wanted)
        .map(|reference| finder.file(reference))
        .buffered(OPEN_AT_ONCE)
        .try_collect()
        .await
}

/// Finds what the package has for a reference.
struct Finder<'f> {
    files: &'f dyn Lookup,
    envelope: &'f Envelope,
    manifest: Option<&'f Manifest>,
}

impl Finder<'_> {
    async fn file(&self, reference: &FileRef) -> Result<(FileName, PackageFile), Error> {
        let packing = packing(self.envelope, reference).map_err(|problem| self.wrong(problem))?;
        let chunk_bytes = chunk_bytes(reference).map_err(|problem| self.wrong(problem))?;
        let (stored, head) = match chunk_bytes {
            Some(chunk_bytes) => self.chunks(reference, chunk_bytes).await?,
            None => {
                let (name, entry) = self.named(reference, Piece::Whole).await?;
                let (part, head) = self.stored(reference, name, entry, Piece::Whole)?;
                (vec![part], head)
            }
        };
        let head = match packing {
            Packing::Plain => head,
            Packing::Gzip(_) => head.and_then(|head| inflated_head(&head)).map(Vec::from),
        };
        let whole = promised_whole(self.manifest, reference);
        let href = reference.href().clone();
        let content = || Content::new(href.clone(), stored.clone(), packing);
        let content = match (&*stored, packing, chunk_bytes) {
            ([_], Packing::Plain, None) => None,
            (_, _, None) => Some(content()),
            (_, _, Some(_)) => Some(content().of_chunks(whole)),
        };
        let source = match (&content, &*stored) {
            (None, [part]) => Arc::clone(&part.source),
            (Some(content), _) => Arc::new(content.clone()) as Arc<dyn Source>,
            (None, _) => return Err(self.wrong(not_there(&href))),
        };
        let is_whole_promised = whole.is_some();
        Ok((href, PackageFile { source, stored, content, is_whole_promised, head }))
    }

    /// Finds all chunks of a file: as many as the size says, or as there are.
    async fn chunks(
        &self,
        reference: &FileRef,
        chunk_bytes: u64,
    ) -> Result<(Vec<Stored>, Option<Vec<u8>>), Error> {
        let (name, entry) = self.named(reference, Piece::Chunk(0)).await?;
        // All chunks are called as the first one.
        let base = FileName::new(name.stem()).map_err(|error| self.wrong(error.to_string()))?;
        let (first, head) = self.stored(reference, name, entry, Piece::Chunk(0))?;
        let mut stored = vec![first];
        let count = reference.size_bytes().map(|size| size.div_ceil(chunk_bytes).max(1));
        if count.is_some_and(|count| count > CHUNKS_MAX) {
            return Err(self.wrong(too_many(reference)));
        }
        if let Some(count) = count.and_then(|count| u32::try_from(count).ok()) {
            let rest: Vec<Stored> = futures::stream::iter(1..count)
                .map(|number| self.chunk(reference, &base, number))
                .buffered(OPEN_AT_ONCE)
                .map(|found| {
                    let (name, found) = found?;
                    found.ok_or_else(|| self.wrong(not_there(&name)))
                })
                .try_collect()
                .await?;
            stored.extend(rest);
        }
        // The next one is not there, if all is well.
        loop {
            let number = u32::try_from(stored.len()).unwrap_or(u32::MAX);
            let (name, found) = self.chunk(reference, &base, number).await?;
            let Some(found) = found else { break };
            if count.is_some() {
                let problem = format!(
                    "the package has {name}, but the descriptor says that {} ends before it",
                    reference.href()
                );
                return Err(self.wrong(problem));
            }
            stored.push(found);
            if stored.len() as u64 > CHUNKS_MAX {
                return Err(self.wrong(too_many(reference)));
            }
        }
        for (number, part) in stored.iter().enumerate() {
            let is_last = number + 1 == stored.len();
            check_chunk(&part.name, part.size_bytes, chunk_bytes, is_last)
                .map_err(|problem| self.wrong(problem))?;
        }
        let sum = stored.iter().map(|part| part.size_bytes).fold(0, u64::saturating_add);
        match reference.size_bytes() {
            Some(expected) if expected != sum => Err(self.wrong(format!(
                "{}: the descriptor says {expected} bytes, but the chunks have {sum}",
                reference.href()
            ))),
            _ => Ok((stored, head)),
        }
    }

    async fn chunk(
        &self,
        reference: &FileRef,
        base: &FileName,
        number: u32,
    ) -> Result<(FileName, Option<Stored>), Error> {
        let name = chunk_name(base, number).map_err(|error| self.wrong(error.to_string()))?;
        let Some(entry) = self.files.find(&name, Want::Chunk).await? else {
            return Ok((name, None));
        };
        let (part, _) = self.stored(reference, name.clone(), entry, Piece::Chunk(number))?;
        Ok((name, Some(part)))
    }

    /// Finds the file of a reference, or its first chunk, under the one name that it has.
    async fn named(&self, reference: &FileRef, piece: Piece) -> Result<(FileName, Entry), Error> {
        let want = match piece {
            _ if is_disk(self.envelope, reference) => Want::Head,
            Piece::Whole => Want::File,
            Piece::Chunk(_) => Want::Chunk,
        };
        let name_of = |file: &FileName| match piece {
            Piece::Whole => Ok(file.clone()),
            Piece::Chunk(number) => {
                chunk_name(file, number).map_err(|error| self.wrong(error.to_string()))
            }
        };
        let (href, resolved) = names(reference);
        let literal = name_of(href)?;
        let found = self.files.find(&literal, want).await?;
        let other = match (&found, resolved) {
            (_, None) => None,
            (_, Some(Ok(other))) => Some(name_of(&other)?),
            // The file is called so, and nobody means anything else.
            (Some(_), Some(Err(_))) => None,
            (None, Some(Err(problem))) => return Err(self.wrong(format!("{href}: {problem}"))),
        };
        let found_other = match &other {
            Some(other) => self.files.find(other, want).await?,
            None => None,
        };
        match (found, found_other.zip(other)) {
            (Some(entry), None) => Ok((literal, entry)),
            (None, Some((entry, other))) => Ok((other, entry)),
            (None, None) => Err(self.wrong(not_there(&literal))),
            (Some(_), Some((_, other))) => Err(self.wrong(format!(
                "the descriptor names {literal}, which may be the file of that name or {other}: \
                 take one of the two away"
            ))),
        }
    }

    fn stored(
        &self,
        reference: &FileRef,
        name: FileName,
        entry: Entry,
        piece: Piece,
    ) -> Result<(Stored, Option<Vec<u8>>), Error> {
        let Entry { source, size_bytes, head, at_hand } = entry;
        let size_bytes = size_bytes.ok_or_else(|| {
            self.wrong(format!("the size of {name} is not known beforehand, as a server needs it"))
        })?;
        let promised = promised(self.manifest, reference, &name, piece);
        Ok((Stored { name, source, size_bytes, promised, at_hand }, head))
    }

    fn wrong(&self, problem: String) -> Error {
        wrong(&self.files.location(), problem)
    }
}

/// Size in bytes of what the package has for a reference, all chunks together; nothing if it is not
/// there, or not all of it.
pub(crate) async fn stored_bytes(
    files: &dyn Lookup,
    reference: &FileRef,
) -> Result<Option<u64>, Error> {
    let (href, resolved) = names(reference);
    for base in [Some(href.clone()), resolved.and_then(Result::ok)].into_iter().flatten() {
        let Some(chunk_bytes) = reference.chunk_size_bytes() else {
            match files.find(&base, Want::Presence).await? {
                Some(found) => return Ok(Some(found.size_bytes.unwrap_or_default())),
                None => continue,
            }
        };
        let (mut count, mut sum) = (0, 0);
        while let Ok(name) = chunk_name(&base, count)
            && u64::from(count) < CHUNKS_MAX
            && let Some(found) = files.find(&name, Want::Presence).await?
        {
            let size_bytes = found.size_bytes.unwrap_or_default();
            (count, sum) = (count + 1, size_bytes.saturating_add(sum));
            if size_bytes < chunk_bytes {
                break;
            }
        }
        if count > 0 {
            let is_whole = reference.size_bytes().is_none_or(|expected| expected <= sum);
            return Ok(is_whole.then_some(sum));
        }
    }
    Ok(None)
}

/// Two references must not stand for the same file (DSP0243 1.1.0 §7.1).
fn check_apart(location: &str, files: &BTreeMap<FileName, PackageFile>) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    let mut stored = files.values().flat_map(PackageFile::stored);
    match stored.find(|part| !names.insert(&part.name)) {
        Some(part) => Err(wrong(location, two_for_one(&part.name))),
        None => Ok(()),
    }
}

fn too_many(reference: &FileRef) -> String {
    format!("{} has more than {CHUNKS_MAX} chunks", reference.href())
}

fn not_there(file: &FileName) -> String {
    format!("the package needs {file}, but it is not there")
}

fn wrong(location: &str, problem: String) -> Error {
    Error::Package { package: location.to_owned(), problem }
}

/// Whether a referenced file is the content of a disk.
pub(crate) fn is_disk(envelope: &Envelope, file: &FileRef) -> bool {
    envelope.disks().iter().any(|disk| disk.file_ref() == Some(file.id()))
}

pub(crate) fn parse_envelope(package: &str, bytes: Vec<u8>) -> Result<Envelope, Error> {
    let package = package.to_owned();
    Envelope::parse_with_urls(bytes)
        .map_err(|source| Error::Envelope { package, source: Box::new(source) })
}

pub(crate) fn parse_manifest(package: &str, bytes: &[u8]) -> Result<Manifest, Error> {
    Manifest::parse(bytes)
        .map_err(|source| Error::Manifest { package: package.to_owned(), source: Box::new(source) })
}

/// A descriptor or a manifest that is not read.
pub(crate) fn too_large(package: &str, file: &FileName, limit_bytes: u64) -> Error {
    let problem = format!("{file} is larger than the limit of {limit_bytes} bytes");
    Error::Package { package: package.to_owned(), problem }
}

/// Reading a file of a package did not go on.
pub(crate) fn stopped(file: &FileName, at: &str, at_byte: u64, source: io::Error) -> Error {
    // What was found by whoever made one stream of several files says more.
    let source = match source.downcast::<Error>() {
        Ok(error) => return error,
        Err(source) => source,
    };
    let (file, at) = (file.clone(), at.to_owned());
    Error::Stream { file, side: "reading from", at, at_byte, source }
}

/// The largest descriptor that is read.  Real ones have some ten KiB; message bundles make them
/// larger, and a server takes no request above 20,000,000 bytes.
pub(crate) const DESCRIPTOR_BYTES_MAX: u64 = 4 << 20;

/// The largest manifest that is read: 30,000 lines.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// The largest certificate that is read, as far as `ovftransfer_ovf` reads it.
pub(crate) const CERTIFICATE_BYTES_MAX: u64 = 256 << 10;

/// Files that are looked up at the same time: a package may have thousands, and each lookup is a
/// way to a server and back.
const OPEN_AT_ONCE: usize = 8;
