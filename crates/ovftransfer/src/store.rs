//! Where files come from and where they go to.
//!
//! [`Source`] and [`Destination`] are the two ends of every stream.  Device URLs of a lease, files
//! in a folder and members of an OVA are all behind them; so is a vendor's own store.

pub(crate) mod archive;
pub(crate) mod arriving;
pub(crate) mod begun;
pub(crate) mod buffers;
pub(crate) mod content;
pub(crate) mod custom;
pub(crate) mod device;
pub(crate) mod faulty;
pub(crate) mod fetch;
pub(crate) mod file;
pub(crate) mod folder;
pub(crate) mod gzip;
pub(crate) mod in_order;
pub(crate) mod inode;
pub(crate) mod local;
pub(crate) mod lock;
pub(crate) mod lookup;
pub(crate) mod neighbours;
pub(crate) mod package;
pub(crate) mod papers;
pub(crate) mod parts;
pub(crate) mod pipe;
pub(crate) mod reference;
pub(crate) mod remote;
pub(crate) mod spool;
pub(crate) mod unpack;
pub(crate) mod url;
pub(crate) mod web;

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::FileName;
pub use ovftransfer_vim::transport::ByteStream;

use crate::verify::Verified;

/// Where one file's bytes come from: a device URL, a file, a member of an OVA.
///
/// # Contract
///
/// 1. Every stream begins at byte 0 and gives all bytes in order, in chunks of any length.
/// 2. Where the size is known, it does not change, and the stream ends after exactly so many bytes.
/// 3. A stream that ends without an error is whole; a failure is an error of the stream, never an
///    early end.
/// 4. Opened again, the file has the same bytes, or opening it is an error.
/// 5. Several streams may be open at the same time, and one may be dropped at any byte; the others
///    are not disturbed.
///
/// The suite in `conformance` (a feature of this crate) checks it.
pub trait Source: fmt::Debug + Send + Sync {
    /// Opens the file at byte 0.  A retry calls this again.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] on the second call if the bytes can be read only once, such
    /// as those of a pipe.  The engine then gives up instead of retrying.
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>>;

    /// Size in bytes, or `None` if only the end of the stream will tell.
    fn size_bytes(&self) -> Option<u64>;
}

/// The files of a package in a store of the caller's, to be imported or checked.
///
/// # Contract
///
/// 1. A name stands for the same file each time.
/// 2. A file that is not there is `None`; whatever keeps it from being found is an error.
/// 3. Every [`Source`] keeps its own contract and knows its size: a server is told it beforehand.
///
/// The engine asks for the descriptor, for the manifest beside it, and for what both of them name:
/// of a file in chunks for each chunk, by its own name (`disk.vmdk.000000000`), and for one chunk more
/// than there should be; of a name with `%XX` for that very name and for the one that it stands for.
/// What is compressed is inflated by the engine.
/// A name never leaves the package: it has no `..`, no backslash, and does not begin with `/`.
/// Several files are asked for, and read, at the same time.
pub trait PackageFiles: fmt::Debug + Send + Sync {
    /// Where the package lies, in words for messages; without secrets.
    fn location(&self) -> String;

    /// Finds a file by its name in the package.
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn find<'a>(&'a self, file: &'a FileName)
    -> BoxFuture<'a, io::Result<Option<Arc<dyn Source>>>>;
}

impl<F: PackageFiles + ?Sized> PackageFiles for &F {
    fn location(&self) -> String {
        (**self).location()
    }

    fn find<'a>(
        &'a self,
        file: &'a FileName,
    ) -> BoxFuture<'a, io::Result<Option<Arc<dyn Source>>>> {
        (**self).find(file)
    }
}

/// Where one file's bytes go: makes a fresh [`Sink`] for each try.
pub(crate) trait Destination: fmt::Debug + Send + Sync {
    /// Makes a sink that is empty.
    ///
    /// # Errors
    ///
    /// Those of the store: no permission, no space, no such host.
    fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>>;
}

/// Takes the files of a package: where an export goes that ends in neither a folder nor an OVA.
///
/// # Contract
///
/// 1. Every [`Sink`] keeps its own contract, also while sinks of other files are written.
/// 2. After a sink was aborted, its file can be created again.
/// 3. A file that was removed is not visible any more, and nothing of it is left.
///
/// Files are committed one after the other: disks and the like first, then the manifest (`.mf`),
/// the descriptor (`.ovf`) last, so that whoever finds a descriptor finds everything that it names.
/// What an earlier, failed package of the same name has left may be overwritten; nothing else may.
///
/// The suite in `conformance` (a feature of this crate) checks it.
pub trait Store: fmt::Debug + Send + Sync {
    /// Makes an empty sink for a file of the package.  May be called again for the same file after
    /// the sink before has been aborted.
    ///
    /// # Errors
    ///
    /// Those of the store; [`io::ErrorKind::AlreadyExists`] if the file is there and is to stay.
    fn create<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<Box<dyn Sink>>>;

    /// Removes a file that was committed, because a later one of the package could not be.
    ///
    /// # Errors
    ///
    /// Those of the store: something is left behind.
    fn remove<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<()>>;
}

/// Takes one file's bytes.
///
/// The calls come in the order `write`*, `finish`, then one of `commit` and `abort`; `abort` may
/// come at any time.
///
/// # Contract
///
/// 1. Nothing is visible under the file's name before [`commit`](Sink::commit).
/// 2. After [`commit`](Sink::commit) the file is visible, with all bytes in the order in which they
///    were written, however they were cut into batches and chunks; either may be empty.
/// 3. Nothing is left after [`abort`](Sink::abort), whenever it comes.
/// 4. A sink that is dropped may leave something behind, but never under the file's name.
pub trait Sink: fmt::Debug + Send {
    /// Appends `batch`, in order.  Waits while the destination is busy; that wait is the only
    /// back-pressure.  If the wait is given up, the sink is only good for `abort`.
    ///
    /// # Errors
    ///
    /// Those of the store; the sink is then only good for `abort`.
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>>;

    /// Waits until everything is durable, or taken by the peer.
    ///
    /// # Errors
    ///
    /// Those of the store; an error here means that the bytes may be lost.
    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>>;

    /// Makes the file visible.  [`Verified`] can only come from the verifier.
    ///
    /// # Errors
    ///
    /// Those of the store; nothing of the file is left then.
    fn commit(self: Box<Self>, proof: &Verified) -> BoxFuture<'static, io::Result<()>>;

    /// Removes what was written.
    ///
    /// # Errors
    ///
    /// Those of the store: something is left behind.
    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>>;
}

/// Takes what is only looked at.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn commit(self: Box<Self>, _proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}
