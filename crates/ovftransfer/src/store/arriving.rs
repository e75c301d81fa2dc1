//! References whose files come in the order of an archive.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_ovf::ova::Member;
use ovftransfer_ovf::ova::Ova;

use crate::error::Error;
use crate::store::ByteStream;
use crate::store::Source;
use crate::store::content::Packing;
use crate::store::content::Parts;
use crate::store::content::Recipe;
use crate::store::content::Seen;
use crate::store::content::Stored;
use crate::store::content::check;
use crate::store::content::unpacked;
use crate::store::in_order::Arrived;
use crate::store::in_order::InOrder;
use crate::store::in_order::read_once;
use crate::store::package::Package;
use crate::store::reference::ALL_ALGORITHMS;
use crate::store::reference::Piece;
use crate::store::reference::check_chunk;
use crate::store::reference::chunk_bytes;
use crate::store::reference::chunk_name;
use crate::store::reference::chunk_of;
use crate::store::reference::is_packed;
use crate::store::reference::names;
use crate::store::reference::packing;
use crate::store::reference::piece_of;
use crate::store::reference::promised;
use crate::store::reference::promised_whole;

/// The content of a reference, which comes next.
#[derive(Debug)]
pub(crate) struct Arriving {
    /// What stands in the descriptor.
    pub(crate) reference: FileRef,
    pub(crate) source: Arc<dyn Source>,
    /// What goes by of the stored files, if the content is made of them.
    pub(crate) seen: Option<Seen>,
    /// Size in bytes of the file that has come, which may be the first of several.
    pub(crate) stored_bytes: u64,
}

/// Waits for the next reference of those that are wanted; nothing at the end of the archive.
///
/// `stall` is how long the stream may give nothing while it is waited for.
pub(crate) async fn next(
    package: &Package,
    in_order: &Arc<InOrder>,
    stall: Option<Duration>,
    is_wanted: impl Fn(&FileRef) -> bool,
) -> Result<Option<Arriving>, Error> {
    loop {
        let Some(arrived) = in_order.next(stall).await? else { return Ok(None) };
        let owner = package.owner(arrived.name());
        let found = owner.and_then(|one| Some((one, piece_of(one, arrived.name())?)));
        let Some((reference, piece)) = found.filter(|(reference, _)| is_wanted(reference)) else {
            continue;
        };
        let stored_bytes = arrived.size_bytes().unwrap_or_default();
        if !is_packed(reference) {
            let (reference, source) = (reference.clone(), Arc::new(arrived) as Arc<dyn Source>);
            return Ok(Some(Arriving { reference, source, seen: None, stored_bytes }));
        }
        if let Piece::Chunk(number @ 1..) = piece {
            let before = chunk_name(reference.href(), number - 1);
            let before = before.map_err(|error| package.wrong(error.to_string()))?;
            let name = arrived.name();
            let problem = format!("{name} does not come right behind {before}, as it must");
            return Err(package.wrong(problem));
        }
        let seen = Seen::default();
        let source = Unpacking::new(package, in_order, reference, arrived, stall, seen.clone())?;
        let (reference, source) = (reference.clone(), Arc::new(source) as Arc<dyn Source>);
        return Ok(Some(Arriving { reference, source, seen: Some(seen), stored_bytes }));
    }
}

/// Compares stored files that went by with a manifest that came after them; tells whether it says
/// something about every byte.
pub(crate) fn check_late(
    reference: &FileRef,
    seen: &Seen,
    manifest: &Manifest,
) -> Result<bool, Error> {
    let mut is_proven = true;
    for (number, part) in (0..).zip(seen.parts()) {
        let piece = match reference.chunk_size_bytes() {
            Some(_) => Piece::Chunk(number),
            None => Piece::Whole,
        };
        match promised(Some(manifest), reference, &part.name, piece) {
            Some(expected) => check(&part.name, &part.digests, &expected)?,
            None => is_proven = false,
        }
    }
    match promised_whole(Some(manifest), reference) {
        Some(expected) => {
            check(reference.href(), &seen.whole(), &expected)?;
            Ok(true)
        }
        None => Ok(is_proven),
    }
}

/// The members of an archive, by what they are called without the number of a chunk.
#[derive(Debug)]
pub(crate) struct Members<'o> {
    ova: &'o Ova,
    chunks: HashMap<&'o str, Vec<(u32, &'o Member)>>,
}

impl<'o> Members<'o> {
    pub(crate) fn new(ova: &'o Ova) -> Self {
        let mut chunks: HashMap<&str, Vec<(u32, &Member)>> = HashMap::new();
        for member in ova.members() {
            if let Some((name, number)) = chunk_of(member.name()) {
                chunks.entry(name).or_default().push((number, member));
            }
        }
        Self { ova, chunks }
    }

    /// Those that belong to a reference: its file, or all of its chunks in their order.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in words.
    pub(crate) fn of(&self, reference: &FileRef) -> Result<Vec<&'o Member>, String> {
        if reference.url().is_some() {
            return Ok(Vec::new());
        }
        let (href, resolved) = names(reference);
        let other = resolved.as_ref().and_then(|name| name.as_ref().ok());
        let both = [Some(href), other].into_iter().flatten();
        let Some(chunk_bytes) = chunk_bytes(reference)? else {
            let found: Vec<&Member> = both.filter_map(|name| self.ova.member(name)).collect();
            return match &*found {
                [] => Err(match resolved {
                    Some(Err(problem)) => format!("{href}: {problem}"),
                    _ => format!("the descriptor names {href}, which is not in the OVA"),
                }),
                [_] => Ok(found),
                [one, other, ..] => Err(format!(
                    "the descriptor names {href}, which may be {} or {}: take one of the two away",
                    one.name(),
                    other.name()
                )),
            };
        };
        let chunks = both.filter_map(|name| self.chunks.get(name.as_str()));
        let mut chunks: Vec<(u32, &Member)> = chunks.flatten().copied().collect();
        chunks.sort_by_key(|(number, _)| *number);
        check_chunks(reference, chunk_bytes, &chunks)?;
        Ok(chunks.into_iter().map(|(_, member)| member).collect())
    }
}

/// Compares all chunks of a reference with what the descriptor says about them.
fn check_chunks(
    reference: &FileRef,
    chunk_bytes: u64,
    chunks: &[(u32, &Member)],
) -> Result<(), String> {
    let href = reference.href();
    let count = chunks.len().max(1);
    let mut sum = 0;
    for number in 0..count {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let found = chunks.get(number as usize).filter(|(found, _)| *found == number);
        let Some((_, member)) = found else {
            let name = chunk_name(href, number).map_err(|error| error.to_string())?;
            return Err(format!("the package needs {name}, but it is not there"));
        };
        let is_last = number as usize + 1 == count;
        check_chunk(member.name(), member.size_bytes(), chunk_bytes, is_last)?;
        sum += member.size_bytes();
    }
    match reference.size_bytes() {
        Some(expected) if expected != sum => {
            Err(format!("{href}: the descriptor says {expected} bytes, but the chunks have {sum}"))
        }
        _ => Ok(()),
    }
}

/// Chunks and compressed files as they come, joined and inflated.
struct Unpacking {
    parts: Mutex<Option<InArchive>>,
    recipe: Recipe,
    seen: Seen,
    size_bytes: Option<u64>,
}

impl fmt::Debug for Unpacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacking").field("recipe", &self.recipe).finish_non_exhaustive()
    }
}

impl Unpacking {
    fn new(
        package: &Package,
        in_order: &Arc<InOrder>,
        reference: &FileRef,
        first: Arrived,
        stall: Option<Duration>,
        seen: Seen,
    ) -> Result<Self, Error> {
        let wrong = |problem: String| package.wrong(problem);
        let packing = packing(package.envelope(), reference).map_err(wrong)?;
        let chunk_bytes = chunk_bytes(reference).map_err(wrong)?;
        let manifest = package.manifest().cloned();
        // The manifest may come when all files have gone by.
        let algorithms = match manifest {
            Some(_) => Vec::new(),
            None => ALL_ALGORITHMS.to_vec(),
        };
        let recipe = Recipe {
            file: reference.href().clone(),
            packing,
            is_cut: chunk_bytes.is_some(),
            whole: promised_whole(manifest.as_ref(), reference),
            algorithms,
        };
        let size_bytes = reference.size_bytes().filter(|_| packing == Packing::Plain);
        let parts = InArchive {
            location: package.display(),
            in_order: Arc::clone(in_order),
            stall,
            base: base_of(&first, chunk_bytes),
            first: Some(first),
            reference: reference.clone(),
            manifest,
            chunk_bytes,
            number: 0,
            came_bytes: 0,
            is_last: false,
        };
        Ok(Self { parts: Mutex::new(Some(parts)), recipe, seen, size_bytes })
    }
}

impl Source for Unpacking {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(match parts {
            Some(parts) => Ok(unpacked(parts, self.recipe.clone(), self.seen.clone())),
            None => Err(read_once()),
        })
        .boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }
}

/// The files of one reference in an archive.
struct InArchive {
    location: String,
    in_order: Arc<InOrder>,
    stall: Option<Duration>,
    /// What all chunks are called before their number.
    base: String,
    first: Option<Arrived>,
    reference: FileRef,
    manifest: Option<Manifest>,
    /// Nothing if there is but one file.
    chunk_bytes: Option<u64>,
    number: u32,
    came_bytes: u64,
    /// Whether the file before was the last one.
    is_last: bool,
}

impl InArchive {
    async fn following(&mut self) -> Result<Option<Stored>, Error> {
        let arrived = match self.first.take() {
            Some(first) => first,
            None if self.is_last => return Ok(None),
            None => match self.in_order.next(self.stall).await? {
                Some(arrived) if *arrived.name().as_str() == *self.name() => arrived,
                other => {
                    let is_needed = self.reference.size_bytes().is_some();
                    if let Some(other) = other {
                        self.in_order.put_back(other).await;
                    }
                    let problem = format!("the package needs {}, but it is not there", self.name());
                    return if is_needed { Err(self.wrong(problem)) } else { Ok(None) };
                }
            },
        };
        let size_bytes = arrived.size_bytes().unwrap_or_default();
        self.came_bytes += size_bytes;
        let mut piece = Piece::Whole;
        if let Some(chunk_bytes) = self.chunk_bytes {
            piece = Piece::Chunk(self.number);
            let total = self.reference.size_bytes();
            self.is_last = match total {
                Some(total) => self.came_bytes >= total,
                None => size_bytes < chunk_bytes,
            };
            check_chunk(arrived.name(), size_bytes, chunk_bytes, self.is_last)
                .map_err(|problem| self.wrong(problem))?;
        } else {
            self.is_last = true;
        }
        self.number += 1;
        let name = arrived.name().clone();
        let promised = promised(self.manifest.as_ref(), &self.reference, &name, piece);
        Ok(Some(Stored { name, source: Arc::new(arrived), size_bytes, promised, at_hand: None }))
    }

    fn name(&self) -> String {
        format!("{}.{:09}", self.base, self.number)
    }

    fn wrong(&self, problem: String) -> Error {
        Error::Package { package: self.location.clone(), problem }
    }
}

impl Parts for InArchive {
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Stored>>> {
        async move { self.following().await.map_err(io::Error::other) }.boxed()
    }
}

/// The name of a chunk without its number.
fn base_of(first: &Arrived, chunk_bytes: Option<u64>) -> String {
    match chunk_bytes {
        Some(_) => first.name().stem().to_owned(),
        None => first.name().to_string(),
    }
}
