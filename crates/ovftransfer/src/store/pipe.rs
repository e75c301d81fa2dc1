//! An OVA that is written in one go, once everything is proven.

use std::fmt;
use std::io;
use std::io::Seek;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::ova;

use crate::error::Error;
use crate::store::Destination;
use crate::store::Sink;
use crate::store::faulty;
use crate::store::file::blocking;
use crate::store::papers::Papers;
use crate::store::spool::Kept;
use crate::store::spool::SpoolSink;
use crate::store::spool::Spooled;

/// What an OVA is written to: standard output, a socket, a pipe.
///
/// Clones share it.
#[derive(Clone)]
pub struct Pipe(Arc<Mutex<Box<dyn Write + Send>>>);

impl Pipe {
    /// Writes to `writer`, on a thread that may block.
    #[must_use]
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(writer))))
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").finish_non_exhaustive()
    }
}

/// An OVA that goes into a pipe: all of it waits in spools until all of it is proven, because what
/// has gone into a pipe cannot be taken back.
#[derive(Debug)]
pub(crate) struct PackagePipe {
    pipe: Pipe,
    spools: PathBuf,
    parts: Kept,
    /// The small files as members of the archive.
    small: Mutex<Vec<u8>>,
}

impl PackagePipe {
    pub(crate) fn new(pipe: Pipe, spools: Option<PathBuf>) -> Self {
        let spools = spools.unwrap_or_else(std::env::temp_dir);
        Self { pipe, spools, parts: Kept::default(), small: Mutex::default() }
    }

    /// Where the bytes of a file go.
    pub(crate) fn destination(&self, file: &FileName) -> Arc<dyn Destination> {
        let (parts, spools) = (self.parts.clone(), self.spools.clone());
        Arc::new(PipeDestination { file: file.clone(), parts, spools })
    }

    /// Where the spools are.
    pub(crate) fn spools(&self) -> &std::path::Path {
        &self.spools
    }

    /// Keeps the small files.
    pub(crate) fn stage(&self, papers: &Papers) -> Result<(), Error> {
        let small = papers.members()?;
        *self.small.lock().unwrap_or_else(PoisonError::into_inner) = small;
        Ok(())
    }

    /// Writes the archive, its files in this `order`.
    ///
    /// # Errors
    ///
    /// [`Error::Local`] if the pipe breaks, or the files are not those in `order`.
    pub(crate) async fn publish(self, order: Vec<FileName>) -> Result<(), Error> {
        blocking(move || {
            let mut parts = self.parts.lock();
            parts.sort_by_key(|part| order.iter().position(|file| *file == part.file));
            let mut pipe = self.pipe.0.lock().unwrap_or_else(PoisonError::into_inner);
            let small = self.small.lock().unwrap_or_else(PoisonError::into_inner);
            let written = faulty::point("write the pipe", &self.spools)
                .and_then(|()| write_all(&mut **pipe, &small, &mut parts));
            written.map_err(|source| Error::Local {
                action: "write",
                path: PathBuf::from("-"),
                source,
            })
        })
        .await
    }
}

fn write_all(pipe: &mut dyn Write, small: &[u8], parts: &mut [Spooled]) -> io::Result<()> {
    pipe.write_all(small)?;
    for part in parts {
        pipe.write_all(
            &ova::member_header(&part.file, part.size_bytes).map_err(io::Error::other)?,
        )?;
        part.content.rewind()?;
        let copied = io::copy(&mut part.content, pipe)?;
        if copied != part.size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pipe.write_all(ova::member_padding(part.size_bytes))?;
    }
    pipe.write_all(&ova::END)?;
    pipe.flush()
}

/// One file on its way into a spool.
#[derive(Debug)]
struct PipeDestination {
    file: FileName,
    parts: Kept,
    spools: PathBuf,
}

impl Destination for PipeDestination {
    fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>> {
        async move {
            let sink = SpoolSink::create(self.file.clone(), &self.spools, self.parts.clone());
            Ok(Box::new(sink.await?) as Box<dyn Sink>)
        }
        .boxed()
    }
}
