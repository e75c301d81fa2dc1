//! Files that wait until it is known where they go.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::FileName;

use crate::store::Sink;
use crate::store::faulty;
use crate::store::file::blocking;
use crate::store::file::write_batch;
use crate::verify::Verified;
use crate::worker::Batch;
use crate::worker::Work;
use crate::worker::Worker;

/// A file that has come whole and waits for its place.
#[derive(Debug)]
pub(crate) struct Spooled {
    pub(crate) file: FileName,
    pub(crate) content: File,
    pub(crate) size_bytes: u64,
}

/// Takes files that have come whole.
pub(crate) trait Collect: fmt::Debug + Send + Sync + 'static {
    /// Takes one; called on a thread that may block, but not for long.
    fn collect(&self, spooled: Spooled) -> io::Result<()>;
}

/// Files that have come, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<Spooled>>>);

impl Kept {
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Spooled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collect for Kept {
    fn collect(&self, spooled: Spooled) -> io::Result<()> {
        self.lock().push(spooled);
        Ok(())
    }
}

/// Writes one file into a spool: a temporary file without a name, which is gone with the process
/// however that ends.
///
/// It need not be durable: what is proven is written once more, at its place.
#[derive(Debug)]
pub(crate) struct SpoolSink<C> {
    file: FileName,
    writer: Worker<SpoolWriter>,
    collector: C,
}

impl<C: Collect + Clone> SpoolSink<C> {
    pub(crate) async fn create(file: FileName, folder: &Path, collector: C) -> io::Result<Self> {
        let folder = folder.to_owned();
        let place = folder.clone();
        let made = blocking(move || {
            faulty::point("create", &folder)?;
            tempfile::tempfile_in(folder)
        });
        let writer = SpoolWriter { content: made.await?, folder: place, size_bytes: 0 };
        let writer = Worker::new(writer);
        Ok(Self { file, writer, collector })
    }
}

impl<C: Collect + Clone> Sink for SpoolSink<C> {
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        self.writer.feed(batch).boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        async move {
            let finished = self.writer.finish().await?;
            let SpoolWriter { content, size_bytes, .. } = finished.ok_or_else(had_failed)?;
            let (file, collector) = (self.file.clone(), self.collector.clone());
            blocking(move || collector.collect(Spooled { file, content, size_bytes })).await
        }
        .boxed()
    }

    /// Nothing: the file becomes visible with its package.
    fn commit(self: Box<Self>, _proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    /// Nothing: a spool has no name.
    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// What a sink says that is finished although it had failed.
pub(crate) fn had_failed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "it had failed")
}

#[derive(Debug)]
struct SpoolWriter {
    content: File,
    folder: PathBuf,
    size_bytes: u64,
}

impl Work for SpoolWriter {
    type Output = Self;
    type Error = io::Error;

    fn batch(&mut self, batch: Batch) -> io::Result<()> {
        faulty::point("write", &self.folder)?;
        self.size_bytes += write_batch(&mut self.content, &batch)?;
        Ok(())
    }

    fn finish(self) -> io::Result<Self> {
        Ok(self)
    }
}
