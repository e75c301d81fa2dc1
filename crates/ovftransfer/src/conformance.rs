//! Checks that a vendor runs on its own sources and stores, in its own tests.
//!
//! The traits [`Source`], [`PackageFiles`], [`Store`] and [`Sink`] have contracts that no compiler
//! checks.  The functions here call an implementation in all the ways in which the engine does, and
//! name the sentence of the contract that does not hold.  They need the feature `conformance`:
//!
//! ```toml
//! [dev-dependencies]
//! ovftransfer = { version = "0.1", features = ["conformance"] }
//! ```
//!
//! ```
//! use std::sync::Arc;
//!
//! use futures::FutureExt;
//! use futures::StreamExt;
//! use futures::future::BoxFuture;
//! use ovftransfer::{ByteStream, Source, conformance};
//!
//! #[derive(Debug)]
//! struct Text(&'static str);
//!
//! impl Source for Text {
//!     fn open(&self) -> BoxFuture<'_, std::io::Result<ByteStream>> {
//!         let chunks = self.0.as_bytes().chunks(2).map(|chunk| Ok(chunk.into()));
//!         let stream = futures::stream::iter(chunks.collect::<Vec<_>>());
//!         async { Ok(stream.boxed()) }.boxed()
//!     }
//!
//!     fn size_bytes(&self) -> Option<u64> {
//!         Some(self.0.len() as u64)
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! conformance::check_source(&Text("abcde"), b"abcde").await.unwrap();
//! let violation = conformance::check_source(&Text("abcde"), b"abcdef").await.unwrap_err();
//! assert!(violation.sentence().contains("the stream has that size"));
//! # });
//! ```

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;

use crate::inspect::Hasher;
use crate::inspect::Inspection;
use crate::store::ByteStream;
use crate::store::PackageFiles;
use crate::store::Sink;
use crate::store::Source;
use crate::store::Store;
use crate::verify::Verification;
use crate::verify::Verified;

/// A sentence of a contract that does not hold.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{contract}: \"{sentence}\" does not hold: {found}")]
pub struct Violation {
    contract: &'static str,
    sentence: &'static str,
    found: String,
}

impl Violation {
    /// The trait whose contract it is.
    #[must_use]
    pub const fn contract(&self) -> &'static str {
        self.contract
    }

    /// The sentence of the contract.
    #[must_use]
    pub const fn sentence(&self) -> &'static str {
        self.sentence
    }

    /// What was found instead.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }
}

/// Checks a source that must have these bytes.
///
/// Several kilobytes are better than none: some faults show between chunks only.  A source that can
/// be read only once is checked as far as one time allows.
///
/// # Errors
///
/// The first [`Violation`].
pub async fn check_source(source: &dyn Source, expected: &[u8]) -> Result<(), Violation> {
    let size = source.size_bytes();
    if size.is_some_and(|size| size != expected.len() as u64) {
        return Err(SIZE.broken(format!("size_bytes() is {size:?}, of {}", expected.len())));
    }
    let mut first = opened(source).await?;
    same(&mut first, expected, size).await?;
    drop(first);
    if source.size_bytes() != size {
        return Err(SIZE.broken(format!("{size:?} has become {:?}", source.size_bytes())));
    }
    let mut second = match within(source.open()).await? {
        Ok(second) => second,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
        Err(error) => {
            return Err(ONCE.broken(format!("{error} ({:?})", error.kind())));
        }
    };
    same(&mut second, expected, size).await.map_err(|other| AGAIN.broken(other.found))?;
    let mut dropped = opened(source).await?;
    let mut kept = opened(source).await?;
    let _some = within(dropped.try_next()).await?;
    let head = within(kept.try_next()).await?.map_err(|error| SEVERAL.broken(error))?;
    drop(dropped);
    let head = head.unwrap_or_default();
    let Some(rest) = expected.strip_prefix(head.as_ref()) else {
        return Err(SEVERAL.broken("a second stream that is open begins with other bytes"));
    };
    same(&mut kept, rest, None).await.map_err(|other| SEVERAL.broken(other.found))
}

/// Checks the files of a package in a store, which must be these and no others.
///
/// # Errors
///
/// The first [`Violation`], of [`PackageFiles`] or of one of its sources.
pub async fn check_files(
    files: &dyn PackageFiles,
    expected: &[(FileName, Vec<u8>)],
) -> Result<(), Violation> {
    for (file, bytes) in expected {
        let mut found = Vec::new();
        for _ in 0..2 {
            match within(files.find(file)).await? {
                Ok(Some(source)) => found.push(source),
                Ok(None) => return Err(NAME.broken(format!("{file} is not found"))),
                Err(error) => return Err(NAME.broken(format!("{file}: {error}"))),
            }
        }
        for source in found {
            if source.size_bytes().is_none() {
                return Err(KNOWN.broken(format!("size_bytes() of {file} is None")));
            }
            check_source(&*source, bytes).await?;
        }
    }
    let absent = name("conformance-absent-file")?;
    match within(files.find(&absent)).await? {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(ABSENT.broken("a file that nobody has stored is found")),
        Err(error) => Err(ABSENT.broken(error)),
    }
}

/// What somebody sees who reads a store; made by the vendor for the suite.
pub trait StoreView: fmt::Debug + Send + Sync {
    /// The content of a file, as readers of the store see it; none if they see no such file.
    ///
    /// # Errors
    ///
    /// Those of the store; they end the check.
    fn read<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>>;

    /// The names of everything that the store holds: files, and what is kept for files that are not
    /// complete.
    ///
    /// # Errors
    ///
    /// Those of the store; they end the check.
    fn everything(&self) -> BoxFuture<'_, io::Result<Vec<String>>>;
}

/// Checks a store and its sinks; it must be empty, and is empty afterwards.
///
/// # Errors
///
/// The first [`Violation`].
pub async fn check_store(store: &dyn Store, view: &dyn StoreView) -> Result<(), Violation> {
    let check = StoreCheck { store, view };
    check.commits().await?;
    check.aborts().await?;
    check.drops().await?;
    check.several().await
}

struct StoreCheck<'c> {
    store: &'c dyn Store,
    view: &'c dyn StoreView,
}

impl StoreCheck<'_> {
    /// A file on its way to being visible, and away again.
    async fn commits(&self) -> Result<(), Violation> {
        let file = name("conformance-commit.vmdk")?;
        let mut sink = self.create(&file).await?;
        self.expect_hidden(&file, "after create()").await?;
        for batch in batches() {
            done(sink.write(batch), &WRITTEN).await?;
            self.expect_hidden(&file, "after write()").await?;
        }
        done(sink.finish(), &WRITTEN).await?;
        self.expect_hidden(&file, "after finish()").await?;
        done(sink.commit(&proof(&file, &content())?), &WRITTEN).await?;
        self.expect_content(&file, &content()).await?;
        done(self.store.remove(&file), &REMOVED).await?;
        if self.read(&file).await?.is_some() {
            return Err(REMOVED.broken("it can still be read"));
        }
        self.expect_empty(&REMOVED, "after remove()").await
    }

    /// A file that is given up, at every step.
    async fn aborts(&self) -> Result<(), Violation> {
        let file = name("conformance-abort.vmdk")?;
        for (step, words) in
            ["after create()", "after the first write()", "after write()", "after finish()"]
                .into_iter()
                .enumerate()
        {
            let mut sink = self.create(&file).await?;
            let count = match step {
                0 => 0,
                1 => 1,
                _ => usize::MAX,
            };
            for batch in batches().into_iter().take(count) {
                done(sink.write(batch), &WRITTEN).await?;
            }
            if step == 3 {
                done(sink.finish(), &WRITTEN).await?;
            }
            done(sink.abort(), &ABORTED).await?;
            self.expect_hidden(&file, words).await?;
            self.expect_empty(&ABORTED, words).await?;
        }
        let mut sink = within(self.store.create(&file))
            .await?
            .map_err(|error| CREATED.broken(format!("after abort(): {error}")))?;
        done(sink.write(vec![content().into()]), &WRITTEN).await?;
        done(sink.finish(), &WRITTEN).await?;
        done(sink.commit(&proof(&file, &content())?), &WRITTEN).await?;
        self.expect_content(&file, &content()).await?;
        done(self.store.remove(&file), &REMOVED).await
    }

    /// A file whose sink nobody asks any more.
    async fn drops(&self) -> Result<(), Violation> {
        let file = name("conformance-drop.vmdk")?;
        for is_finished in [false, true] {
            let mut sink = self.create(&file).await?;
            done(sink.write(vec![content().into()]), &WRITTEN).await?;
            if is_finished {
                done(sink.finish(), &WRITTEN).await?;
            }
            drop(sink);
            if self.read(&file).await?.is_some() {
                return Err(DROPPED.broken("it can be read"));
            }
            // Takes away what the drop may have left.
            let sink = self.create(&file).await?;
            done(sink.abort(), &ABORTED).await?;
        }
        Ok(())
    }

    /// Two files at the same time: one is given up, the other one committed.
    async fn several(&self) -> Result<(), Violation> {
        let (one, other) = (name("conformance-1.vmdk")?, name("conformance-2.vmdk")?);
        let (mut first, mut second) = (self.create(&one).await?, self.create(&other).await?);
        for (number, batch) in (0..).zip(batches()) {
            done(first.write(vec![Bytes::from(vec![number; 100])]), &WRITTEN).await?;
            done(second.write(batch), &WRITTEN).await?;
        }
        done(second.finish(), &WRITTEN).await?;
        done(first.abort(), &ABORTED).await?;
        self.expect_hidden(&one, "after abort()").await?;
        done(second.commit(&proof(&other, &content())?), &WRITTEN).await?;
        let found = self.read(&other).await?;
        if found.as_deref() != Some(&content()) {
            return Err(APART.broken("the file beside an aborted one has other bytes"));
        }
        done(self.store.remove(&other), &REMOVED).await?;
        self.expect_empty(&REMOVED, "after remove()").await
    }

    async fn create(&self, file: &FileName) -> Result<Box<dyn Sink>, Violation> {
        within(self.store.create(file)).await?.map_err(|error| CREATED.broken(error))
    }

    async fn read(&self, file: &FileName) -> Result<Option<Vec<u8>>, Violation> {
        within(self.view.read(file)).await?.map_err(|error| VIEW.broken(error))
    }

    async fn expect_hidden(&self, file: &FileName, when: &str) -> Result<(), Violation> {
        match self.read(file).await? {
            None => Ok(()),
            Some(bytes) => Err(HIDDEN.broken(format!("{} bytes can be read {when}", bytes.len()))),
        }
    }

    async fn expect_content(&self, file: &FileName, expected: &[u8]) -> Result<(), Violation> {
        let Some(found) = self.read(file).await? else {
            return Err(WRITTEN.broken("no such file can be read"));
        };
        if found == expected {
            return Ok(());
        }
        let same = found.iter().zip(expected).take_while(|(found, known)| found == known).count();
        let (len, of) = (found.len(), expected.len());
        Err(WRITTEN.broken(format!("{len} bytes of {of} are there, the first {same} are right")))
    }

    async fn expect_empty(&self, point: &Point, when: &str) -> Result<(), Violation> {
        let left = within(self.view.everything()).await?.map_err(|error| VIEW.broken(error))?;
        if left.is_empty() {
            return Ok(());
        }
        Err(point.broken(format!("{when} there is {}", left.join(", "))))
    }
}

/// A sentence of a contract.
struct Point {
    contract: &'static str,
    sentence: &'static str,
}

impl Point {
    fn broken(&self, found: impl fmt::Display) -> Violation {
        let Self { contract, sentence } = *self;
        Violation { contract, sentence, found: found.to_string() }
    }
}

const fn point(contract: &'static str, sentence: &'static str) -> Point {
    Point { contract, sentence }
}

const ORDER: Point = point("Source", "every stream begins at byte 0 and gives all bytes in order");
const SIZE: Point =
    point("Source", "where the size is known, it does not change, and the stream has that size");
const WHOLE: Point = point("Source", "a stream that ends without an error is whole");
const AGAIN: Point = point("Source", "opened again, the file has the same bytes");
const ONCE: Point = point(
    "Source",
    "what can be read only once is ErrorKind::Unsupported when it is opened a second time",
);
const SEVERAL: Point = point(
    "Source",
    "several streams may be open at the same time, and one may be dropped at any byte",
);
const NAME: Point = point("PackageFiles", "a name stands for the same file each time");
const ABSENT: Point = point("PackageFiles", "a file that is not there is None");
const KNOWN: Point = point("PackageFiles", "every source knows its size");
const HIDDEN: Point = point("Sink", "nothing is visible under the file's name before commit");
const WRITTEN: Point =
    point("Sink", "after commit the file has all bytes in the order in which they were written");
const ABORTED: Point = point("Sink", "nothing is left after abort, whenever it comes");
const DROPPED: Point = point("Sink", "a sink that is dropped leaves nothing under the file's name");
const APART: Point = point("Store", "sinks of several files do not disturb each other");
const CREATED: Point = point("Store", "after a sink was aborted, its file can be created again");
const REMOVED: Point = point("Store", "a file that was removed is not visible any more");
const VIEW: Point = point("StoreView", "what the store holds can be read");
const ENDS: Point = point("all traits", "every call comes to an end");

/// What is written into sinks.
fn content() -> Vec<u8> {
    batches().concat().concat()
}

/// Batches and chunks of many lengths, with bytes that tell an order.
fn batches() -> Vec<Vec<Bytes>> {
    const LENGTHS: [&[usize]; 6] = [&[1], &[], &[70_000, 3], &[0], &[511, 512, 513], &[300_000]];
    let mut bytes = (0_u32..).flat_map(|number| number.to_le_bytes());
    let mut chunk = |len: &usize| bytes.by_ref().take(*len).collect::<Vec<u8>>().into();
    LENGTHS.iter().map(|lengths| lengths.iter().map(&mut chunk).collect()).collect()
}

fn proof(file: &FileName, content: &[u8]) -> Result<Verified, Violation> {
    let digests = vec![Hasher::digest(DigestAlgorithm::Sha256, content)];
    let seen = Inspection { digests, disk: None };
    let level = Verification::Off;
    Verified::check(file, content.len() as u64, &seen, None, None, level)
        .map_err(|error| WRITTEN.broken(error))
}

fn name(name: &str) -> Result<FileName, Violation> {
    FileName::new(name).map_err(|error| NAME.broken(error))
}

async fn opened(source: &dyn Source) -> Result<ByteStream, Violation> {
    within(source.open()).await?.map_err(|error| ORDER.broken(error))
}

/// Reads a stream to its end and compares it.
async fn same(
    stream: &mut ByteStream,
    expected: &[u8],
    size: Option<u64>,
) -> Result<(), Violation> {
    let mut rest = expected;
    while let Some(chunk) = within(stream.try_next()).await?.map_err(|error| ORDER.broken(error))? {
        let at_byte = expected.len() - rest.len();
        if chunk.len() > rest.len() && chunk.starts_with(rest) {
            let point = if size.is_some() { SIZE } else { ORDER };
            return Err(point.broken(format!("more than {} bytes came", expected.len())));
        }
        let Some(left) = rest.strip_prefix(chunk.as_ref()) else {
            return Err(ORDER.broken(format!("other bytes came from byte {at_byte} on")));
        };
        rest = left;
    }
    match rest {
        [] => Ok(()),
        _ => {
            let at_byte = expected.len() - rest.len();
            Err(WHOLE.broken(format!("it ended at byte {at_byte} of {}", expected.len())))
        }
    }
}

async fn done(work: impl Future<Output = io::Result<()>>, point: &Point) -> Result<(), Violation> {
    within(work).await?.map_err(|error| point.broken(error))
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, Violation> {
    let seconds = CALL_LIMIT.as_secs();
    tokio::time::timeout(CALL_LIMIT, work)
        .await
        .map_err(|_| ENDS.broken(format!("one has not within {seconds} seconds")))
}

/// How long one call may take: far more than a test should need.
const CALL_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
