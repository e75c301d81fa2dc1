//! Where files come from and where they go to.
//!
//! [`Source`] and [`Destination`] are the two ends of every stream.  Device URLs of a lease, files
//! in a folder and members of an OVA are all behind them; so is a vendor's own store.

pub(crate) mod archive;
pub(crate) mod custom;
pub(crate) mod device;
pub(crate) mod file;
pub(crate) mod folder;
pub(crate) mod lock;
pub(crate) mod package;
pub(crate) mod pipe;
pub(crate) mod spool;

use std::fmt;
use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;
use ovftransfer_ovf::FileName;
pub use ovftransfer_vim::transport::ByteStream;

use crate::verify::Verified;

/// Where one file's bytes come from: a device URL, a file, a member of an OVA.
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
/// Sinks of several files are written at the same time.  They are committed one after the other:
/// disks and the like first, then the manifest (`.mf`), the descriptor (`.ovf`) last, so that
/// whoever finds a descriptor finds everything that it names.  What an earlier, failed package of
/// the same name has left may be overwritten; nothing else may.
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
/// # Contract
///
/// The calls come in the order `write`*, `finish`, then one of `commit` and `abort`; `abort` may
/// come at any time.  Nothing may be visible at the destination under the file's final name before
/// [`commit`](Sink::commit), and nothing may be left of it after [`abort`](Sink::abort).  A sink
/// that is dropped without either may leave something behind, but never under the final name.
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
