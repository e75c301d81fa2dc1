//! Files of the local machine, and parts of files.

use std::fs;
use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::ReadAt;
use tokio::sync::mpsc;

use crate::store::ByteStream;
use crate::store::Destination;
use crate::store::Sink;
use crate::store::Source;
use crate::verify::Verified;
use crate::worker::Batch;
use crate::worker::Work;
use crate::worker::Worker;
use crate::worker::join;

/// A part of an open file: the whole of it, or a member of an OVA.
///
/// The file is opened once, by whoever makes this; every read is by position, so that many parts
/// of one file can be read at the same time.
#[derive(Debug)]
pub(crate) struct FileSource {
    file: Arc<File>,
    offset_bytes: u64,
    size_bytes: u64,
}

impl FileSource {
    pub(crate) const fn new(file: Arc<File>, offset_bytes: u64, size_bytes: u64) -> Self {
        Self { file, offset_bytes, size_bytes }
    }

    /// Reads all of it into memory.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::FileTooLarge`] if it is larger than `limit_bytes`.
    pub(crate) fn read(&self, limit_bytes: u64) -> io::Result<Vec<u8>> {
        if self.size_bytes > limit_bytes {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{} bytes, more than the limit of {limit_bytes}", self.size_bytes),
            ));
        }
        let len = usize::try_from(self.size_bytes).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, self.offset_bytes)?;
        Ok(bytes)
    }

    /// The bytes in order, for a thread that may block.
    pub(crate) fn chunks(&self) -> FileChunks {
        let (at_byte, end) = (self.offset_bytes, self.offset_bytes + self.size_bytes);
        FileChunks { file: Arc::clone(&self.file), buffer: BytesMut::new(), at_byte, end }
    }

    /// Size in bytes.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads the first bytes, at most `buffer.len()`.
    pub(crate) fn read_head<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let len = buffer.len().min(usize::try_from(self.size_bytes).unwrap_or(usize::MAX));
        self.file.read_exact_at(&mut buffer[..len], self.offset_bytes)?;
        Ok(&buffer[..len])
    }
}

/// Reads a [`FileSource`] from its first byte to its last.
#[derive(Debug)]
pub(crate) struct FileChunks {
    file: Arc<File>,
    buffer: BytesMut,
    at_byte: u64,
    end: u64,
}

impl FileChunks {
    /// The next bytes; `None` at the end.
    pub(crate) fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        if self.at_byte == self.end {
            return Ok(None);
        }
        let len = (self.end - self.at_byte).min(READ_BYTES as u64);
        // Reuses the allocation once the chunks that were split off are gone.
        self.buffer.resize(usize::try_from(len).unwrap_or(READ_BYTES), 0);
        self.file.read_exact_at(&mut self.buffer, self.at_byte)?;
        self.at_byte += len;
        Ok(Some(self.buffer.split().freeze()))
    }
}

impl Source for FileSource {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let (sender, mut queue) = mpsc::channel::<io::Result<Bytes>>(READ_AHEAD_CHUNKS);
        let mut chunks = self.chunks();
        // The thread ends by itself: when the part is read, or when nobody listens any more.
        drop(tokio::task::spawn_blocking(move || {
            while let Some(chunk) = chunks.next_chunk().transpose() {
                let failed = chunk.is_err();
                if sender.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        }));
        let stream = futures::stream::poll_fn(move |context| queue.poll_recv(context)).boxed();
        std::future::ready(Ok(stream)).boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.size_bytes)
    }
}

/// A file of a folder, written under a `.partial` name until it is proven.
#[derive(Debug)]
pub(crate) struct FileDestination {
    path: PathBuf,
}

impl FileDestination {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Destination for FileDestination {
    fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>> {
        let path = self.path.clone();
        async move {
            let sink = blocking(move || FileSink::create(path)).await?;
            Ok(Box::new(sink) as Box<dyn Sink>)
        }
        .boxed()
    }
}

/// Writes one file under its `.partial` name.
#[derive(Debug)]
pub(crate) struct FileSink {
    path: PathBuf,
    partial: PathBuf,
    writer: Worker<FileWriter>,
}

impl FileSink {
    fn create(path: PathBuf) -> io::Result<Self> {
        let partial = partial_path(&path);
        // Whatever a killed run left under this name is worthless: it was never proven.
        let file = File::create(&partial)?;
        Ok(Self { path, partial, writer: Worker::new(FileWriter { file, unsynced_bytes: 0 }) })
    }
}

impl Sink for FileSink {
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        self.writer.feed(batch).boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        async move {
            let finished = self.writer.finish().await?;
            finished.ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "it had failed"))
        }
        .boxed()
    }

    fn commit(self: Box<Self>, _proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        blocking(move || fs::rename(&self.partial, &self.path)).boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        // A batch that is still being written goes into a file that has no name any more.
        blocking(move || fs::remove_file(&self.partial)).boxed()
    }
}

/// The work behind a [`FileSink`].
#[derive(Debug)]
struct FileWriter {
    file: File,
    unsynced_bytes: u64,
}

impl Work for FileWriter {
    type Output = ();
    type Error = io::Error;

    fn batch(&mut self, batch: Batch) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = batch.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match self.file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => IoSlice::advance_slices(&mut rest, len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsynced_bytes += batch.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        if self.unsynced_bytes >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        // A failed sync is final: after it the kernel may have dropped the pages.
        self.file.sync_all()
    }
}

/// Writes a small file under its `.partial` name and makes it durable.
pub(crate) fn write_partial(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(partial_path(path))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The name under which a file is written until it is proven.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Makes renames in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    join(tokio::task::spawn_blocking(work)).await
}

/// One read from a local file: large enough that system calls do not show, small enough that
/// eight streams stay within a few MiB.
const READ_BYTES: usize = 256 << 10;

/// Chunks that are read ahead of a slow peer.
const READ_AHEAD_CHUNKS: usize = 2;

/// Data is synced in steps of this size while the stream runs, so that the sync at the end, which
/// the proof waits for, has little left to do, and dirty pages never pile up.
const SYNC_BYTES: u64 = 64 << 20;
