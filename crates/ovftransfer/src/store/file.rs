//! Files of the local machine, and parts of files.

use std::collections::VecDeque;
use std::fs;
use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::mem;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::ReadAt;
use ovftransfer_vmdk::FileStorage;
use ovftransfer_vmdk::Storage;
use tokio::task::JoinHandle;

use crate::error::FileChanged;
use crate::sabotage;
use crate::sabotage::Defect;
use crate::store::ByteStream;
use crate::store::Destination;
use crate::store::Sink;
use crate::store::Source;
use crate::store::buffers::Buffers;
use crate::store::faulty;
use crate::verify::Verified;
use crate::worker::Batch;
use crate::worker::Work;
use crate::worker::Worker;
use crate::worker::join;

/// A part of an open file: the whole of it, or a member of an OVA.
///
/// The file is opened once, by whoever makes this; every read is by position, so that many parts
/// of one file can be read at the same time.
#[derive(Clone, Debug)]
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
        let (at_byte, end) = (self.offset_bytes, self.offset_bytes.saturating_add(self.size_bytes));
        FileChunks { file: Arc::clone(&self.file), at_byte, end, buffers: Buffers::default() }
    }

    /// Size in bytes.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The bytes by position, for threads that may block.  The holes of a file are known.
    pub(crate) fn storage(&self) -> io::Result<Arc<dyn Storage>> {
        if self.is_whole()? {
            return Ok(Arc::new(FileStorage::new(self.file.try_clone()?)?));
        }
        Ok(Arc::new(self.clone()))
    }

    /// What is another one when somebody has written to the file.
    pub(crate) fn stamp(&self) -> io::Result<(u64, Option<SystemTime>)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.len(), metadata.modified().ok()))
    }

    /// Bytes of it that take room, as far as can be known: holes take none.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        match self.is_whole() {
            Ok(true) => allocated_bytes(&self.file).unwrap_or(self.size_bytes).min(self.size_bytes),
            Ok(false) | Err(_) => self.size_bytes,
        }
    }

    fn is_whole(&self) -> io::Result<bool> {
        Ok(self.offset_bytes == 0 && self.file.metadata()?.len() == self.size_bytes)
    }

    /// Reads the first bytes, at most `buffer.len()`.
    pub(crate) fn read_head<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let len = buffer.len().min(usize::try_from(self.size_bytes).unwrap_or(usize::MAX));
        self.file.read_exact_at(&mut buffer[..len], self.offset_bytes)?;
        Ok(&buffer[..len])
    }
}

impl Storage for FileSource {
    fn len_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, at_byte: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = at_byte.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buffer, self.offset_bytes + at_byte)
    }
}

/// Reads a [`FileSource`] from its first byte to its last.
#[derive(Debug)]
pub(crate) struct FileChunks {
    file: Arc<File>,
    at_byte: u64,
    end: u64,
    buffers: Buffers,
}

impl FileChunks {
    /// The next bytes; `None` at the end.
    pub(crate) fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        if self.at_byte == self.end {
            return Ok(None);
        }
        let mut bytes = self.buffers.take();
        self.read(&mut bytes)?;
        Ok(Some(self.buffers.share(bytes)))
    }

    /// Puts the next bytes in place of those in a buffer; false at the end.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let len = self.next_len();
        buffer.clear();
        buffer.reserve_exact(len);
        fill(&self.file, self.at_byte, len, buffer)?;
        self.at_byte += len as u64;
        Ok(len > 0)
    }

    fn next_len(&self) -> usize {
        let len = (self.end - self.at_byte).min(READ_BYTES as u64);
        usize::try_from(len).unwrap_or(READ_BYTES)
    }

    /// The next [`CHUNKS_AT_ONCE`] chunks, fewer at the end or before an error.
    fn next_chunks(&mut self) -> VecDeque<io::Result<Bytes>> {
        let mut chunks = VecDeque::new();
        while chunks.len() < CHUNKS_AT_ONCE {
            let Some(chunk) = self.next_chunk().transpose() else { break };
            let is_last = chunk.is_err();
            chunks.push_back(chunk);
            if is_last {
                break;
            }
        }
        chunks
    }
}

impl Source for FileSource {
    /// Some chunks are read while those before are on their way.
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let start = (VecDeque::new(), Some(read_ahead(self.chunks())));
        let stream = futures::stream::unfold(start, |(mut read, mut reading)| async move {
            if read.is_empty() {
                let (chunks, next) = join(reading.take()?).await;
                read = next;
                let is_good = read.back().is_some_and(Result::is_ok);
                reading = is_good.then(|| read_ahead(chunks));
            }
            Some((read.pop_front()?, (read, reading)))
        });
        std::future::ready(Ok(stream.boxed())).boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.size_bytes)
    }
}

/// A file that is opened each time it is read: one of so many that they cannot all stay open.
#[derive(Debug)]
pub(crate) struct PathSource {
    path: PathBuf,
    size_bytes: u64,
}

impl PathSource {
    pub(crate) const fn new(path: PathBuf, size_bytes: u64) -> Self {
        Self { path, size_bytes }
    }
}

impl Source for PathSource {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let (path, size_bytes) = (self.path.clone(), self.size_bytes);
        async move {
            let file = blocking(move || {
                let file = File::open(path)?;
                let is_same = file.metadata()?.len() == size_bytes;
                let changed = FileChanged { what: "it has another size" };
                if is_same { Ok(file) } else { Err(io::Error::other(changed)) }
            });
            FileSource::new(Arc::new(file.await?), 0, size_bytes).open().await
        }
        .boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.size_bytes)
    }
}

/// Chunks that are being read, and what reads the next.
type Reading = JoinHandle<(FileChunks, VecDeque<io::Result<Bytes>>)>;

/// Reads some chunks.  The thread is given back then: a stream whose peer is slow must not keep a
/// thread from the work that the peer waits for.
fn read_ahead(mut chunks: FileChunks) -> Reading {
    tokio::task::spawn_blocking(move || {
        let read = chunks.next_chunks();
        (chunks, read)
    })
}

/// Reads so many bytes into the room of an empty buffer, which is not filled with zeros before: that
/// would take a tenth of the time of hashing them.
#[cfg(unix)]
fn fill(file: &File, at_byte: u64, len: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    while buffer.len() < len {
        let at_byte = at_byte + buffer.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(buffer), at_byte) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // There may be more room than was asked for.
    buffer.truncate(len);
    Ok(())
}

#[cfg(not(unix))]
fn fill(file: &File, at_byte: u64, len: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(len, 0);
    file.read_exact_at(buffer, at_byte)
}

/// What becomes of a file that has the final name already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Existing {
    /// It stays, and the new one is refused.
    Keep,
    /// The new one takes its place.
    Replace,
}

/// A file of a folder, written under a `.partial` name until it is proven.
#[derive(Debug)]
pub(crate) struct FileDestination {
    path: PathBuf,
    partial: PathBuf,
    existing: Existing,
}

impl FileDestination {
    pub(crate) const fn new(path: PathBuf, partial: PathBuf, existing: Existing) -> Self {
        Self { path, partial, existing }
    }
}

impl Destination for FileDestination {
    fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>> {
        let (path, partial, existing) = (self.path.clone(), self.partial.clone(), self.existing);
        async move {
            let sink = blocking(move || FileSink::create(path, partial, existing)).await?;
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
    existing: Existing,
    writer: Worker<FileWriter>,
}

impl FileSink {
    fn create(path: PathBuf, partial: PathBuf, existing: Existing) -> io::Result<Self> {
        let is_early = sabotage::on(Defect::RenameBeforeVerify);
        let partial = if is_early { path.clone() } else { partial };
        faulty::point("create", &partial)?;
        // Whatever a killed run left under this name is worthless: what was proven is not moved again.
        let file = create_new(&partial)?;
        let writer = Worker::new(FileWriter {
            file,
            path: partial.clone(),
            unsynced_bytes: 0,
            hole_bytes: 0,
        });
        Ok(Self { path, partial, existing, writer })
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
        blocking(move || {
            if sabotage::on(Defect::RenameBeforeVerify) {
                return Ok(());
            }
            name_or_remove(&self.partial, &self.path, self.existing)
        })
        .boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        // A batch that is still being written goes into a file that has no name any more.
        blocking(move || fs::remove_file(&self.partial)).boxed()
    }
}

/// A file whose bytes have been there before this transfer, under its `.partial` name, and were
/// durable then.
#[derive(Debug)]
pub(crate) struct KeptFile {
    path: PathBuf,
    partial: PathBuf,
    existing: Existing,
}

impl KeptFile {
    pub(crate) const fn new(path: PathBuf, partial: PathBuf, existing: Existing) -> Self {
        Self { path, partial, existing }
    }
}

impl Sink for KeptFile {
    fn write(&mut self, _batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        // It has all its bytes.
        std::future::ready(Err(io::ErrorKind::Unsupported.into())).boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn commit(self: Box<Self>, _proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        blocking(move || name_or_remove(&self.partial, &self.path, self.existing)).boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        blocking(move || fs::remove_file(&self.partial)).boxed()
    }
}

/// Gives a file its final name.  What cannot get it must not stay under another one.
fn name_or_remove(partial: &Path, path: &Path, existing: Existing) -> io::Result<()> {
    give_name(partial, path, existing).or_else(|error| fs::remove_file(partial).and(Err(error)))
}

/// The work behind a [`FileSink`].
#[derive(Debug)]
struct FileWriter {
    file: File,
    path: PathBuf,
    unsynced_bytes: u64,
    /// Zeros that have come since anything was written: they become a hole.
    hole_bytes: u64,
}

impl FileWriter {
    /// Passes over the zeros that have come.
    fn skip(&mut self) -> io::Result<()> {
        let len = i64::try_from(mem::take(&mut self.hole_bytes)).map_err(io::Error::other)?;
        self.file.seek(SeekFrom::Current(len)).map(drop)
    }
}

impl Work for FileWriter {
    type Output = ();
    type Error = io::Error;

    fn batch(&mut self, batch: Batch) -> io::Result<()> {
        faulty::point("write", &self.path)?;
        for run in batch.chunk_by(|one, other| is_hole(one) == is_hole(other)) {
            if run.first().is_some_and(is_hole) {
                self.hole_bytes += run.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
                continue;
            }
            if self.hole_bytes > 0 {
                self.skip()?;
            }
            self.unsynced_bytes += write_batch(&mut self.file, run)?;
        }
        if self.unsynced_bytes >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if self.hole_bytes > 0 {
            self.skip()?;
            let end = self.file.stream_position()?;
            self.file.set_len(end)?;
        }
        if sabotage::on(Defect::SkipFileSync) {
            return Ok(());
        }
        faulty::point("sync", &self.path)?;
        // A failed sync is final: after it the kernel may have dropped the pages.
        self.file.sync_all()
    }
}

/// Whether bytes need not be written into a new file.
fn is_hole(chunk: &Bytes) -> bool {
    chunk.len() >= HOLE_BYTES_MIN
        && chunk.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()])
}

/// Zeros to compare with, and to hand on without an allocation.
pub(crate) static ZEROS: &[u8] = &[0; 256 << 10];

/// A block of most file systems: what is smaller makes no hole.
const HOLE_BYTES_MIN: usize = 4096;

/// Appends a batch to a file; returns its length in bytes.
pub(crate) fn write_batch(file: &mut File, batch: &[Bytes]) -> io::Result<u64> {
    let mut slices: Vec<IoSlice<'_>> = batch.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut rest = slices.as_mut_slice();
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => IoSlice::advance_slices(&mut rest, len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(batch.iter().map(|chunk| chunk.len() as u64).sum())
}

/// Has the kernel begin to write what stands in a part of a file, without waiting for the disk.
///
/// The pages may be dropped afterwards: nobody reads them soon.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(crate) fn start_writeback(file: &File, at_byte: u64, len_bytes: u64) -> io::Result<()> {
    let len_bytes = std::num::NonZeroU64::new(len_bytes);
    Ok(rustix::fs::fadvise(file, at_byte, len_bytes, rustix::fs::Advice::DontNeed)?)
}

/// Without a way to ask for less, this waits for the disk.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub(crate) fn start_writeback(file: &File, _at_byte: u64, _len_bytes: u64) -> io::Result<()> {
    file.sync_data()
}

/// Gives back the room of a part of a file that nobody reads any more, where the file system can.
///
/// What has not reached the disk yet never has to.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(crate) fn release(file: &File, at_byte: u64, len_bytes: u64) {
    let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    // Only room is lost where it cannot, and only until the file is gone.
    let _ignored = rustix::fs::fallocate(file, hole, at_byte, len_bytes);
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub(crate) fn release(_file: &File, _at_byte: u64, _len_bytes: u64) {}

/// Free space in bytes for callers without privileges, on the file system of `folder`.
#[cfg(unix)]
pub(crate) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
pub(crate) fn free_bytes(_folder: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Bytes that a file takes on its file system.
#[cfg(unix)]
fn allocated_bytes(file: &File) -> Option<u64> {
    std::os::unix::fs::MetadataExt::blocks(&file.metadata().ok()?).checked_mul(512)
}

#[cfg(not(unix))]
fn allocated_bytes(_file: &File) -> Option<u64> {
    None
}

/// The first folder on the way up that is there.
pub(crate) fn nearest(folder: &Path) -> Option<&Path> {
    folder.ancestors().find_map(|above| match above.as_os_str().is_empty() {
        true => Some(Path::new(".")),
        false => above.is_dir().then_some(above),
    })
}

/// Writes a small file under its `.partial` name and makes it durable.
pub(crate) fn write_partial(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = partial_path(path);
    faulty::point("create", &partial)?;
    let mut file = create_new(&partial)?;
    faulty::point("write", &partial)?;
    file.write_all(bytes)?;
    faulty::point("sync", &partial)?;
    file.sync_all()
}

/// Makes a file in the place of what has its name: that may be a link, or another name of a file
/// that somebody wants to have overwritten.
fn create_new(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::options().write(true).create_new(true).open(path)
}

/// The name under which a file is written until it is proven.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Gives the file `partial` its final name, `path`, in the same folder.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`] if there is such a file and it is to be kept.
pub(crate) fn give_name(partial: &Path, path: &Path, existing: Existing) -> io::Result<()> {
    faulty::point("rename", partial)?;
    match existing {
        Existing::Keep => match rename_no_replace(partial, path) {
            Err(error) if !is_final(&error) => link_and_unlink(partial, path),
            renamed => renamed,
        },
        Existing::Replace => fs::rename(partial, path),
    }
}

/// Whether no other way to give a name could go better.
fn is_final(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::AlreadyExists, io::ErrorKind::NotFound];
    kinds.contains(&error.kind())
}

#[cfg(any(target_os = "android", target_os = "linux", target_vendor = "apple"))]
fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::CWD;
    use rustix::fs::RenameFlags;

    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(any(target_os = "android", target_os = "linux", target_vendor = "apple")))]
fn rename_no_replace(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The way for systems, and network file systems, whose rename always replaces.
fn link_and_unlink(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        // With both names it would be neither given nor not.
        Ok(()) => match faulty::point("unlink", from).and_then(|()| fs::remove_file(from)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                fs::remove_file(to).and(Err(error))
            }
            Ok(()) | Err(_) => Ok(()),
        },
        Err(error) if is_final(&error) => Err(error),
        // Nor are there links, as on FAT: what is left is to look first.
        Err(_) if fs::symlink_metadata(to).is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// Makes renames in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if sabotage::on(Defect::SkipFolderSync) {
        return Ok(());
    }
    faulty::point("sync a folder", folder)?;
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    join(tokio::task::spawn_blocking(work)).await
}

/// One read from a local file: large enough that system calls do not show, small enough that
/// eight streams stay within a few MiB.
const READ_BYTES: usize = 256 << 10;

/// Chunks for which a thread is woken once.
const CHUNKS_AT_ONCE: usize = 2;

/// Data is synced in steps of this size while the stream runs, so that the sync at the end, which
/// the proof waits for, has little left to do, and dirty pages never pile up.
pub(crate) const SYNC_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use futures::TryStreamExt;

    use super::*;

    fn source(folder: &Path, bytes: &[u8]) -> FileSource {
        let path = folder.join("source");
        fs::write(&path, bytes).unwrap();
        FileSource::new(Arc::new(File::open(path).unwrap()), 0, bytes.len() as u64)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn released_room_is_free_and_the_rest_stays() {
        use std::os::unix::fs::MetadataExt;

        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 4 << 20]).unwrap();
        file.sync_all().unwrap();
        let before = file.metadata().unwrap();
        release(&file, 0, 3 << 20);
        let after = file.metadata().unwrap();
        assert_eq!(after.len(), 4 << 20);
        assert!(after.blocks() + (2 << 20) / 512 < before.blocks(), "{}", after.blocks());
        let mut rest = vec![0; 1 << 20];
        file.read_exact_at(&mut rest, 3 << 20).unwrap();
        assert_eq!(rest, vec![7; 1 << 20]);
    }

    /// A runtime may have one thread for blocking work, for any number of streams.
    #[test]
    fn streams_that_are_not_read_hold_no_thread() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let temp = tempfile::tempdir().unwrap();
        let source = source(temp.path(), &vec![7; 8 * READ_BYTES]);
        let read = async {
            let mut streams =
                [source.open().await.unwrap(), source.open().await.unwrap()].map(StreamExt::fuse);
            let mut len_bytes = 0;
            for _ in 0..8 {
                for stream in &mut streams {
                    len_bytes += stream.try_next().await.unwrap().unwrap().len();
                }
                blocking(|| ()).await;
            }
            len_bytes
        };
        let limit = Duration::from_secs(20);
        let read = runtime.block_on(async { tokio::time::timeout(limit, read).await });
        runtime.shutdown_background();
        assert_eq!(read.expect("the streams wait for each other's thread"), 16 * READ_BYTES);
    }

    #[tokio::test]
    async fn a_long_file_is_read_into_few_buffers() {
        let temp = tempfile::tempdir().unwrap();
        let source = source(temp.path(), &vec![7; 16 * READ_BYTES]);
        let mut chunks = source.open().await.unwrap();
        let mut buffers = BTreeSet::new();
        while let Some(chunk) = chunks.try_next().await.unwrap() {
            buffers.insert(chunk.as_ptr().addr());
        }
        assert!(buffers.len() <= 2 * CHUNKS_AT_ONCE, "{} buffers", buffers.len());
    }

    #[tokio::test]
    async fn a_part_is_read_to_its_end_and_not_beyond() {
        let temp = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..READ_BYTES + 9).map(|n| n.to_le_bytes()[0]).collect();
        let whole = source(temp.path(), &bytes);
        let part = FileSource::new(Arc::clone(&whole.file), 3, bytes.len() as u64 - 5);
        let chunks: Vec<Bytes> = part.open().await.unwrap().try_collect().await.unwrap();
        assert_eq!(chunks.concat(), bytes[3..bytes.len() - 2]);

        let beyond = FileSource::new(Arc::clone(&whole.file), 0, bytes.len() as u64 + 1);
        let read: Vec<_> = beyond.open().await.unwrap().collect().await;
        assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
    }

    #[tokio::test]
    async fn zeros_become_holes_and_the_length_is_right() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("disk.raw");
        let data = Bytes::from_static(b"data");
        let zeros = |len: usize| Bytes::from(vec![0; len]);
        let batches = [
            vec![zeros(1 << 20), data.clone(), zeros(8192)],
            vec![zeros(8192), zeros(100), data.clone()],
            vec![zeros(1 << 20), zeros(4096)],
        ];
        let partial = partial_path(&path);
        let mut sink = FileSink::create(path, partial.clone(), Existing::Keep).unwrap();
        for batch in &batches {
            sink.write(batch.clone()).await.unwrap();
        }
        sink.finish().await.unwrap();
        let expected: Vec<u8> = batches.iter().flatten().flatten().copied().collect();
        assert!(fs::read(&partial).unwrap() == expected);
        let taken = allocated_bytes(&File::open(&partial).unwrap());
        assert!(taken.is_none_or(|bytes| bytes < 1 << 19), "{taken:?}");
        Box::new(sink).abort().await.unwrap();
    }

    #[test]
    fn a_name_that_is_given_by_half_is_not_given() {
        let temp = tempfile::tempdir().unwrap();
        let (partial, path) = (temp.path().join("x.partial"), temp.path().join("x"));
        fs::write(&partial, b"new").unwrap();
        let watch = faulty::Watch::new(temp.path(), |operation, _| operation == "unlink");
        link_and_unlink(&partial, &path).unwrap_err();
        drop(watch);
        assert!(partial.exists() && !path.exists());
    }

    #[test]
    fn a_name_that_is_taken_stays_with_its_file() {
        for give in [|a: &Path, b: &Path| give_name(a, b, Existing::Keep), link_and_unlink] {
            let temp = tempfile::tempdir().unwrap();
            let (partial, path) = (temp.path().join("x.partial"), temp.path().join("x"));
            fs::write(&partial, b"new").unwrap();
            fs::write(&path, b"old").unwrap();
            let error = give(&partial, &path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"old");
            fs::remove_file(&path).unwrap();
            give(&partial, &path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert!(!partial.exists());
        }
    }
}
