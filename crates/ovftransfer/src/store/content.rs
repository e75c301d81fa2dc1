//! What a reference of the descriptor stands for, made of the files that the package has: chunks
//! are joined, and a compressed file is inflated (DSP0243 1.1.0 §7.1).
//!
//! The manifest is about the files that the package has, so every one of them is compared with it
//! while it goes by; who reads gets a stream like any other, which ends with an error if one
//! differs.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;

use crate::error::Error;
use crate::inspect::Hasher;
use crate::store::ByteStream;
use crate::store::Source;
use crate::store::file::FileSource;
use crate::store::file::blocking;
use crate::store::gzip::Gunzip;
use crate::store::gzip::Limit;

/// A file that the package has, under a name of its own.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) name: FileName,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) size_bytes: u64,
    /// What the manifest says about it.
    pub(crate) promised: Option<Digest>,
    /// The file, if it is one of this machine that stays open.
    pub(crate) at_hand: Option<FileSource>,
}

/// How the stored files become the content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Packing {
    /// They are it, one after the other.
    Plain,
    /// Together they are a gzip file.
    Gzip(Limit),
}

/// The content of a reference that is cut into chunks, compressed, or both.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    file: FileName,
    stored: Vec<Stored>,
    /// What the manifest says about all chunks together.
    whole: Option<Digest>,
    /// Whether there may be something to say about them together.
    is_cut: bool,
    packing: Packing,
    /// Digests to compute of stored files beside those that are promised.
    algorithms: Vec<DigestAlgorithm>,
    seen: Seen,
}

impl Content {
    pub(crate) fn new(file: FileName, stored: Vec<Stored>, packing: Packing) -> Self {
        let (whole, algorithms, seen) = (None, Vec::new(), Seen::default());
        Self { file, stored, whole, is_cut: false, packing, algorithms, seen }
    }

    /// The stored files are chunks, of which the manifest may say something together, too.
    pub(crate) fn of_chunks(self, whole: Option<Digest>) -> Self {
        Self { whole, is_cut: true, ..self }
    }

    /// The same content with a record of its own, into which digests by `algorithms` come too.
    pub(crate) fn recording(&self, algorithms: Vec<DigestAlgorithm>) -> Self {
        Self { algorithms, seen: Seen::default(), ..self.clone() }
    }

    /// The same content, whose stored files are not compared with anything, but recorded.
    pub(crate) fn unpromised(&self, algorithms: Vec<DigestAlgorithm>) -> Self {
        let parts = self.stored.iter().cloned();
        let stored = parts.map(|part| Stored { promised: None, ..part }).collect();
        Self { whole: None, stored, ..self.recording(algorithms) }
    }

    /// What has been seen of the stored files.
    pub(crate) const fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl Source for Content {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let parts = Listed(self.stored.clone().into_iter());
        let recipe = Recipe {
            file: self.file.clone(),
            packing: self.packing,
            is_cut: self.is_cut,
            whole: self.whole,
            algorithms: self.algorithms.clone(),
        };
        std::future::ready(Ok(unpacked(parts, recipe, self.seen.clone()))).boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        match self.packing {
            Packing::Plain => {
                Some(self.stored.iter().map(|part| part.size_bytes).fold(0, u64::saturating_add))
            }
            Packing::Gzip(_) => None,
        }
    }
}

/// Stored files that are known beforehand.
#[derive(Debug)]
struct Listed(std::vec::IntoIter<Stored>);

impl Parts for Listed {
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Stored>>> {
        std::future::ready(Ok(self.0.next())).boxed()
    }
}

/// The stored files of a reference, one after the other.
pub(crate) trait Parts: Send {
    /// The next one; nothing behind the last.
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Stored>>>;
}

/// What is made of the stored files, and what is to be seen in them.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// The reference, for messages.
    pub(crate) file: FileName,
    pub(crate) packing: Packing,
    /// What the manifest says about all stored files together.
    pub(crate) whole: Option<Digest>,
    /// Digests to compute of each stored file, beside the one that is promised.
    pub(crate) algorithms: Vec<DigestAlgorithm>,
    /// Whether they are computed of all stored files together, too.
    pub(crate) is_cut: bool,
}

/// Digests of stored files that went by.  Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    parts: Vec<SeenPart>,
    whole: Vec<Digest>,
}

/// A stored file that went by.
#[derive(Clone, Debug)]
pub(crate) struct SeenPart {
    pub(crate) name: FileName,
    pub(crate) size_bytes: u64,
    pub(crate) digests: Vec<Digest>,
    /// What the manifest says about it, and has been compared.
    pub(crate) promised: Option<Digest>,
}

impl Seen {
    /// The stored files that went by since the content was opened last.
    pub(crate) fn parts(&self) -> Vec<SeenPart> {
        self.record().parts.clone()
    }

    /// Digests of all stored files together, if there are several.
    pub(crate) fn whole(&self) -> Vec<Digest> {
        self.record().whole.clone()
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn restart(&self) {
        *self.record() = Record::default();
    }
}

/// The content of a reference.
///
/// The work is done on threads that may block, one batch of input at a time.
pub(crate) fn unpacked(parts: impl Parts + 'static, recipe: Recipe, seen: Seen) -> ByteStream {
    seen.restart();
    let flow = Flow {
        parts: Box::new(parts),
        open: None,
        input: VecDeque::new(),
        is_over: false,
        unpack: Unpack::new(recipe, seen),
    };
    futures::stream::unfold(Some(Box::new(flow)), Flow::next).boxed()
}

/// Reads stored files and has them unpacked.
struct Flow {
    parts: Box<dyn Parts>,
    /// The stored file that is being read.
    open: Option<ByteStream>,
    input: VecDeque<Input>,
    /// Whether the last stored file has been read to its end.
    is_over: bool,
    unpack: Unpack,
}

impl Flow {
    async fn next(flow: Option<Box<Self>>) -> Option<(io::Result<Bytes>, Option<Box<Self>>)> {
        let mut flow = flow?;
        loop {
            if flow.input.is_empty()
                && !flow.is_over
                && let Err(error) = flow.fill().await
            {
                return Some((Err(error), None));
            }
            let out;
            (flow, out) = blocking(move || {
                let Self { input, unpack, .. } = &mut *flow;
                let out = unpack.step(input);
                (flow, out)
            })
            .await;
            match out {
                Ok(Some(bytes)) => return Some((Ok(bytes), Some(flow))),
                Ok(None) if flow.is_over => return None,
                Ok(None) => {}
                Err(error) => return Some((Err(error), None)),
            }
        }
    }

    /// Reads on: what is there, and no more than a batch.
    async fn fill(&mut self) -> io::Result<()> {
        let mut len_bytes = 0;
        while len_bytes < BATCH_BYTES {
            let Some(stream) = &mut self.open else {
                match self.parts.next().await? {
                    Some(part) => {
                        self.open = Some(part.source.open().await?);
                        self.input.push_back(Input::Begin(part));
                    }
                    None => {
                        self.input.push_back(Input::Over);
                        self.is_over = true;
                        return Ok(());
                    }
                }
                continue;
            };
            let chunk = match self.input.is_empty() {
                true => stream.next().await,
                // What has come must not wait for what has not.
                false => match stream.next().now_or_never() {
                    Some(chunk) => chunk,
                    None => return Ok(()),
                },
            };
            match chunk.transpose()? {
                Some(chunk) => {
                    len_bytes += chunk.len();
                    self.input.push_back(Input::Bytes(chunk));
                }
                None => {
                    self.open = None;
                    self.input.push_back(Input::End);
                }
            }
        }
        Ok(())
    }
}

/// What happens to stored files.
#[derive(Debug)]
enum Input {
    /// One begins.
    Begin(Stored),
    Bytes(Bytes),
    /// It has come to its end.
    End,
    /// And so have all.
    Over,
}

/// Looks at every stored byte, and unpacks it.
struct Unpack {
    recipe: Recipe,
    seen: Seen,
    gunzip: Option<Gunzip>,
    /// Digests of all stored files together: that which was promised, or those that may be.
    whole: Vec<Hasher>,
    part: Option<OpenPart>,
    /// Stored bytes that have been looked at and not been unpacked.
    left: Bytes,
}

/// The stored file that goes by.
struct OpenPart {
    stored: Stored,
    hashers: Vec<Hasher>,
    came_bytes: u64,
}

impl fmt::Debug for Unpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpack").field("recipe", &self.recipe).finish_non_exhaustive()
    }
}

impl Unpack {
    fn new(recipe: Recipe, seen: Seen) -> Self {
        let gunzip = match recipe.packing {
            Packing::Plain => None,
            Packing::Gzip(limit) => Some(Gunzip::new(limit)),
        };
        let whole = match &recipe.whole {
            Some(promised) => vec![promised.algorithm()],
            None if recipe.is_cut => recipe.algorithms.clone(),
            None => Vec::new(),
        };
        let whole = whole.into_iter().map(Hasher::new).collect();
        Self { recipe, seen, gunzip, whole, part: None, left: Bytes::new() }
    }

    /// Goes on until something comes out; nothing when there is no more input.
    fn step(&mut self, input: &mut VecDeque<Input>) -> io::Result<Option<Bytes>> {
        loop {
            if !self.left.is_empty() {
                let out = match &mut self.gunzip {
                    None => Some(mem::take(&mut self.left)),
                    Some(gunzip) => gunzip.step(&mut self.left).map_err(io::Error::other)?,
                };
                match out {
                    Some(out) => return Ok(Some(out)),
                    None => continue,
                }
            }
            match input.pop_front() {
                Some(Input::Begin(stored)) => self.begin(stored),
                Some(Input::Bytes(chunk)) => self.look(chunk)?,
                Some(Input::End) => self.end()?,
                Some(Input::Over) => self.over()?,
                None => return Ok(None),
            }
        }
    }

    fn begin(&mut self, stored: Stored) {
        let mut algorithms = self.recipe.algorithms.clone();
        let promised = stored.promised.as_ref().map(Digest::algorithm);
        algorithms.extend(promised.filter(|promised| !self.recipe.algorithms.contains(promised)));
        let hashers = algorithms.into_iter().map(Hasher::new).collect();
        self.part = Some(OpenPart { stored, hashers, came_bytes: 0 });
    }

    fn look(&mut self, chunk: Bytes) -> io::Result<()> {
        if let Some(part) = &mut self.part {
            part.came_bytes += chunk.len() as u64;
            if part.came_bytes > part.stored.size_bytes {
                return Err(part.other_size());
            }
            part.hashers.iter_mut().for_each(|hasher| hasher.update(&chunk));
        }
        self.whole.iter_mut().for_each(|hasher| hasher.update(&chunk));
        self.left = chunk;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(part) = self.part.take() else { return Ok(()) };
        if part.came_bytes != part.stored.size_bytes {
            return Err(part.other_size());
        }
        let digests: Vec<Digest> = part.hashers.into_iter().map(Hasher::finish).collect();
        let Stored { name, size_bytes, promised, .. } = part.stored;
        if let Some(expected) = &promised {
            check(&name, &digests, expected).map_err(io::Error::other)?;
        }
        self.seen.record().parts.push(SeenPart { name, size_bytes, digests, promised });
        Ok(())
    }

    fn over(&mut self) -> io::Result<()> {
        let whole: Vec<Digest> =
            mem::take(&mut self.whole).into_iter().map(Hasher::finish).collect();
        if let Some(expected) = &self.recipe.whole {
            check(&self.recipe.file, &whole, expected).map_err(io::Error::other)?;
        }
        self.seen.record().whole = whole;
        match &mut self.gunzip {
            Some(gunzip) => gunzip.finish().map_err(io::Error::other),
            None => Ok(()),
        }
    }
}

impl OpenPart {
    fn other_size(&self) -> io::Error {
        let Stored { name, size_bytes, .. } = &self.stored;
        let text = format!("{name} has {size_bytes} bytes, but {} came", self.came_bytes);
        io::Error::new(io::ErrorKind::UnexpectedEof, text)
    }
}

/// Compares a stored file with the manifest.
///
/// # Errors
///
/// [`Error::DigestMismatch`]; [`Error::Unproven`] if the digest was not computed.
pub(crate) fn check(name: &FileName, digests: &[Digest], expected: &Digest) -> Result<(), Error> {
    match digests.iter().find(|digest| digest.algorithm() == expected.algorithm()) {
        Some(computed) if computed == expected => Ok(()),
        Some(computed) => Err(Error::DigestMismatch {
            file: name.clone(),
            against: "the package's manifest",
            expected: Box::new(*expected),
            computed: Box::new(*computed),
        }),
        None => Err(Error::Unproven {
            file: name.clone(),
            reason: "was not asked, and the package's digest was not computed",
        }),
    }
}

/// Stored bytes that are read before they are unpacked: as many as one read from a local file.
const BATCH_BYTES: usize = 256 << 10;
