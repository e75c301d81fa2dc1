//! The file behind an OVA, into which files come side by side.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::ReadAt;
use ovftransfer_ovf::ova;
use tokio::sync::Notify;

use crate::sabotage;
use crate::sabotage::Defect;
use crate::store::Sink;
use crate::store::faulty;
use crate::store::file::SYNC_BYTES;
use crate::store::file::blocking;
use crate::store::file::release;
use crate::store::file::start_writeback;
use crate::store::file::write_batch;
use crate::store::lock::open_itself;
use crate::store::spool::Collect;
use crate::store::spool::SpoolSink;
use crate::store::spool::Spooled;
use crate::store::spool::had_failed;
use crate::verify::Verified;
use crate::worker::Batch;
use crate::worker::Work;
use crate::worker::Worker;

/// The archive, and which files stand in it.
#[derive(Debug)]
pub(super) struct Assembly {
    /// Read and written by position only.
    content: File,
    path: PathBuf,
    state: Mutex<State>,
    /// Told each time the end becomes free.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Room for the content of the descriptor.
    descriptor_bytes: u64,
    /// Room for what stands between the descriptor and the first file, with its headers.
    fixed_bytes: u64,
    /// Where the header of the next file goes.
    end: u64,
    /// Whether somebody writes at the end: a file that streams to its place, or the mover.
    is_taken: bool,
    /// Files that have come and wait to be moved in.
    waiting: VecDeque<Spooled>,
    /// Files that stand in the archive, in this order.
    placed: Vec<FileName>,
    /// Why the mover stopped early.
    failed: Option<io::Error>,
    has_given_up: bool,
}

impl Assembly {
    pub(super) fn new(content: File, path: PathBuf) -> Self {
        Self { content, path, state: Mutex::default(), freed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves room for the descriptor, and for small files of these sizes behind it.
    pub(super) fn reserve(&self, descriptor_bytes: u64, fixed: impl Iterator<Item = usize>) {
        let mut state = self.lock();
        state.descriptor_bytes = blocks(descriptor_bytes);
        state.fixed_bytes = fixed.map(|size_bytes| member_bytes(size_bytes as u64)).sum();
        state.end = member_bytes(state.descriptor_bytes) + state.fixed_bytes;
    }

    /// Takes a file: to its place if nobody else is there, into a spool otherwise.
    pub(super) async fn sink(
        self: Arc<Self>,
        file: FileName,
        spools: &Path,
    ) -> io::Result<Box<dyn Sink>> {
        let Some(place) = Self::take_end(&self) else {
            let collector = Collector(self);
            return Ok(Box::new(SpoolSink::create(file, spools, collector).await?));
        };
        let path = self.path.clone();
        let at_byte = place.at_byte;
        let opened = blocking(move || {
            faulty::point("create", &path)?;
            let mut content = open_itself(File::options().write(true), &path)?;
            content.seek(SeekFrom::Start(at_byte + BLOCK_BYTES))?;
            Ok::<_, io::Error>(content)
        });
        let content = opened.await?;
        let writer = PlaceWriter { content, size_bytes: 0, unsynced_bytes: 0, place };
        Ok(Box::new(PlaceSink { file, writer: Worker::new(writer), assembly: self }))
    }

    /// The end of the archive, unless somebody writes there or files wait for it.
    fn take_end(this: &Arc<Self>) -> Option<Place> {
        let mut state = this.lock();
        if state.is_taken || !state.waiting.is_empty() {
            return None;
        }
        state.is_taken = true;
        Some(Place { assembly: Arc::clone(this), at_byte: state.end, is_held: true })
    }

    /// Starts to move in what waits, if nobody writes at the end.  Needs a runtime.
    fn move_in(self: Arc<Self>) {
        let mut state = self.lock();
        let is_stopped = state.has_given_up || state.failed.is_some();
        if is_stopped || state.is_taken || state.waiting.is_empty() {
            return;
        }
        state.is_taken = true;
        let mut place = Place { assembly: Arc::clone(&self), at_byte: state.end, is_held: true };
        drop(state);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = place.move_all() {
                // Before the place is free again, so that nobody takes the rest for the whole.
                self.lock().failed.get_or_insert(error);
            }
        });
    }

    /// Waits until every file stands in the archive; returns them in their order.
    pub(super) async fn settle(self: Arc<Self>) -> io::Result<Vec<FileName>> {
        loop {
            let freed = self.freed.notified();
            Arc::clone(&self).move_in();
            {
                let mut state = self.lock();
                if let Some(error) = state.failed.take() {
                    return Err(error);
                }
                if !state.is_taken && state.waiting.is_empty() {
                    return Ok(state.placed.clone());
                }
            }
            freed.await;
        }
    }

    /// Stops what moves in, and waits for it.
    pub(super) async fn give_up(&self) {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.lock();
                state.has_given_up = true;
                state.waiting.clear();
                if !state.is_taken {
                    return;
                }
            }
            freed.await;
        }
    }

    /// Makes room for a descriptor of `len_bytes` and a line feed; returns the size of its slot.
    pub(super) fn fit(&self, len_bytes: u64) -> io::Result<u64> {
        self.make_room(len_bytes + 1)
    }

    /// Makes room for a descriptor of `len_bytes`; returns the size of its slot.
    pub(super) fn make_room(&self, len_bytes: u64) -> io::Result<u64> {
        let mut state = self.lock();
        let wanted = blocks(len_bytes);
        if let Some(more) = wanted.checked_sub(state.descriptor_bytes).filter(|more| *more > 0) {
            let from = member_bytes(state.descriptor_bytes) + state.fixed_bytes;
            self.shift(from, state.end, more)?;
            state.descriptor_bytes = wanted;
            state.end += more;
        }
        Ok(state.descriptor_bytes)
    }

    /// Moves what stands from `from` to `end` by `by` bytes, from its end to its beginning.
    fn shift(&self, from: u64, end: u64, by: u64) -> io::Result<()> {
        let mut buffer = vec![0; SHIFT_BYTES];
        let mut at_byte = end;
        let mut writer = &self.content;
        while at_byte > from {
            let len = (at_byte - from).min(SHIFT_BYTES as u64);
            at_byte -= len;
            let piece = &mut buffer[..usize::try_from(len).unwrap_or(SHIFT_BYTES)];
            self.content.read_exact_at(piece, at_byte)?;
            writer.seek(SeekFrom::Start(at_byte + by))?;
            writer.write_all(piece)?;
        }
        Ok(())
    }

    /// Writes the small files, which must have the sizes that were reserved, and the end of the
    /// archive, and makes everything durable.
    pub(super) fn seal(&self, small: &[u8]) -> io::Result<()> {
        let (reserved, end) = {
            let state = self.lock();
            let small = member_bytes(state.descriptor_bytes) + state.fixed_bytes;
            (small, state.end)
        };
        if small.len() as u64 != reserved {
            let text = format!("{} bytes for a place of {reserved}", small.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut content = &self.content;
        content.rewind()?;
        content.write_all(small)?;
        content.seek(SeekFrom::Start(end))?;
        content.write_all(&ova::END)?;
        // A try that failed may have left bytes behind the end.
        content.set_len(end + ova::END.len() as u64)?;
        if sabotage::on(Defect::ArchiveNotSynced) {
            return Ok(());
        }
        faulty::point("sync", &self.path)?;
        content.sync_all()
    }
}

/// The right to write at the end of the archive.  It is given back when this is dropped, which a
/// thread that is still writing holds off.
#[derive(Debug)]
struct Place {
    assembly: Arc<Assembly>,
    at_byte: u64,
    is_held: bool,
}

impl Place {
    /// Ends the file at this place with its header and padding.
    fn finish(&mut self, content: &mut File, file: &FileName, size_bytes: u64) -> io::Result<()> {
        let header = ova::member_header(file, size_bytes).map_err(io::Error::other)?;
        content.seek(SeekFrom::Start(self.at_byte))?;
        content.write_all(&header)?;
        content.seek(SeekFrom::Start(self.at_byte + BLOCK_BYTES + size_bytes))?;
        content.write_all(ova::member_padding(size_bytes))?;
        self.at_byte += member_bytes(size_bytes);
        let mut state = self.assembly.lock();
        state.end = self.at_byte;
        state.placed.push(file.clone());
        Ok(())
    }

    /// Moves in what waits, one file after the other.
    fn move_all(&mut self) -> io::Result<()> {
        let mut content = open_itself(File::options().write(true), &self.assembly.path)?;
        while let Some(mut spooled) = self.next() {
            self.move_one(&mut content, &mut spooled)?;
        }
        Ok(())
    }

    /// The next file that waits; gives back the place if there is none.
    fn next(&mut self) -> Option<Spooled> {
        let mut state = self.assembly.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            // Under the lock: whoever comes next finds a mover at work or a free place.
            state.is_taken = false;
            self.is_held = false;
            self.assembly.freed.notify_waiters();
        }
        next
    }

    fn move_one(&mut self, content: &mut File, spooled: &mut Spooled) -> io::Result<()> {
        let start = self.at_byte + BLOCK_BYTES;
        faulty::point("write", &self.assembly.path)?;
        content.seek(SeekFrom::Start(start))?;
        spooled.content.rewind()?;
        let mut rest = spooled.size_bytes;
        while rest > 0 {
            if self.assembly.lock().has_given_up {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let step = rest.min(SYNC_BYTES);
            // The kernel copies, where it can.
            let copied = io::copy(&mut (&mut spooled.content).take(step), content)?;
            if copied != step {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // The disk writes while the next piece is copied; sealing waits for all of it.
            let from_byte = spooled.size_bytes - rest;
            start_writeback(content, start + from_byte, step)?;
            release(&spooled.content, from_byte, step);
            rest -= step;
        }
        // If a write to the disk has failed meanwhile, these need not be the bytes that were proven,
        // and nothing but a sync tells.  What was given back has not to be written for that: 20 ms
        // for a file of 512 MiB, beside 350 with all its bytes.
        faulty::point("sync a spool", &self.assembly.path)?;
        spooled.content.sync_data()?;
        self.finish(content, &spooled.file, spooled.size_bytes)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_held {
            self.assembly.lock().is_taken = false;
            self.assembly.freed.notify_waiters();
        }
    }
}

/// Writes one file to its place.
#[derive(Debug)]
struct PlaceSink {
    file: FileName,
    writer: Worker<PlaceWriter>,
    assembly: Arc<Assembly>,
}

impl Sink for PlaceSink {
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        self.writer.feed(batch).boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        async move {
            let mut writer = self.writer.finish().await?.ok_or_else(had_failed)?;
            let file = self.file.clone();
            let ended = blocking(move || {
                let PlaceWriter { content, size_bytes, place, .. } = &mut writer;
                place.finish(content, &file, *size_bytes)
                // Here the place is given back.
            });
            ended.await?;
            Arc::clone(&self.assembly).move_in();
            Ok(())
        }
        .boxed()
    }

    /// Nothing: the file becomes visible with its package.
    fn commit(self: Box<Self>, _proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    /// Nothing: what was written stands behind the end of the archive.
    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// The work behind a [`PlaceSink`].
#[derive(Debug)]
struct PlaceWriter {
    content: File,
    size_bytes: u64,
    unsynced_bytes: u64,
    place: Place,
}

impl Work for PlaceWriter {
    type Output = Self;
    type Error = io::Error;

    fn batch(&mut self, batch: Batch) -> io::Result<()> {
        faulty::point("write", &self.place.assembly.path)?;
        let len_bytes = write_batch(&mut self.content, &batch)?;
        self.size_bytes += len_bytes;
        self.unsynced_bytes += len_bytes;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.content.sync_data()?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    fn finish(self) -> io::Result<Self> {
        Ok(self)
    }
}

/// Takes spools into the archive.
#[derive(Clone, Debug)]
struct Collector(Arc<Assembly>);

impl Collect for Collector {
    fn collect(&self, spooled: Spooled) -> io::Result<()> {
        self.0.lock().waiting.push_back(spooled);
        Arc::clone(&self.0).move_in();
        Ok(())
    }
}

/// What a file of `size_bytes` takes in the archive, with its header.
fn member_bytes(size_bytes: u64) -> u64 {
    BLOCK_BYTES + blocks(size_bytes)
}

/// The size of whole blocks that hold so many bytes.
pub(super) const fn blocks(size_bytes: u64) -> u64 {
    size_bytes.next_multiple_of(BLOCK_BYTES)
}

/// A block of a tar file (POSIX.1-1988, ustar).
const BLOCK_BYTES: u64 = 512;

/// The pieces in which an archive is moved to make room at its start.
const SHIFT_BYTES: usize = 1 << 20;
