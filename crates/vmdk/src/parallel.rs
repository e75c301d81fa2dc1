//! Writes a stream-optimized VMDK with all cores.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::thread;

use crate::assemble::Assembly;
use crate::batch::BATCH_GRAINS;
use crate::batch::Batch;
use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::Header;
use crate::header::SECTOR_BYTES;
use crate::pack::Options;
use crate::pack::Packer;
use crate::pack::is_zero;
use crate::pool;
use crate::pool::Workers;
use crate::scan::Summary;
use crate::scan::len_u64;

/// Writes a stream-optimized VMDK from a stream of places and data, compressing on several threads.
///
/// The data may come in pieces of any number of sectors, in ascending order; what does not come is
/// zero, and grains of zeros take no room.  The bytes written are the same for the same data and
/// options, whatever the pieces and however many the threads, and the same that
/// [`StreamWriter`](crate::StreamWriter) writes.
///
/// The sink is written by the caller's thread alone.  Memory: about 1.2 MiB for each thread and as
/// much again, at most 40 MiB; and what the compressors need, less than 1 MiB each up to level 9,
/// 9 MiB above.  The threads end when the writer is dropped.
///
/// ```
/// use ovftransfer_vmdk::{Options, ParallelWriter};
///
/// let mut writer = ParallelWriter::new(Vec::new(), 1 << 20, Options::default())?;
/// writer.write(8, b"sixteen bytes...".repeat(32).as_slice())?; // one sector
/// writer.write(300, &[7; 100 * 512])?;
/// let (file, summary) = writer.finish()?;
/// assert_eq!(summary.file_bytes(), file.len() as u64);
/// assert_eq!(summary.grains(), 3);
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
pub struct ParallelWriter<W> {
    file: Assembly<W>,
    workers: Workers<Batch>,
    jobs_max: usize,
    /// What is being filled.
    batch: Batch,
    free: Vec<Batch>,
    /// Behind the last data that came.
    next_lba_sectors: u64,
    failed: bool,
}

impl<W> fmt::Debug for ParallelWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParallelWriter")
            .field("file", &self.file)
            .field("threads", &self.workers.threads.len())
            .finish_non_exhaustive()
    }
}

impl<W: Write> ParallelWriter<W> {
    /// Writes the header and the descriptor, and starts the threads.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Unwritable`] if the capacity is 0, above 64 TiB, or no multiple of 512;
    /// [`VmdkError::Io`] if `sink` fails, or no thread can be started.
    pub fn new(sink: W, capacity_bytes: u64, options: Options) -> Result<Self, VmdkError> {
        let file = Assembly::new(sink, capacity_bytes)?;
        let grain_len = usize::try_from(file.header().grain_bytes()).unwrap_or(usize::MAX);
        let count = pool::threads(options.threads);
        let mut writer = Self {
            file,
            workers: Workers::new(),
            jobs_max: pool::jobs(count, Batch::bytes(grain_len, BATCH_GRAINS)),
            batch: Batch::new(grain_len, BATCH_GRAINS),
            free: Vec::new(),
            next_lba_sectors: 0,
            failed: false,
        };
        for number in 0..count {
            let pool = Arc::clone(&writer.workers.pool);
            let thread = thread::Builder::new().name(format!("pack-{number}")).spawn(move || {
                let mut packer = Packer::new(options);
                pool.work(|batch: &mut Batch| batch.pack(&mut packer));
            });
            let at_byte = writer.file.file_bytes();
            let thread = thread.map_err(|source| VmdkError::Io { at_byte, source })?;
            writer.workers.threads.push(thread);
        }
        Ok(writer)
    }

    /// Takes the data that starts at `lba_sectors`.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Unwritable`] if the data is no whole number of sectors, does not lie behind the
    /// data before, or ends beyond the capacity; nothing was taken then.  [`VmdkError::Io`] if the
    /// sink fails; every later call fails, too.
    pub fn write(&mut self, lba_sectors: u64, data: &[u8]) -> Result<(), VmdkError> {
        let end = self.check(lba_sectors, data).map_err(VmdkError::Unwritable)?;
        let taken = self.take(lba_sectors, data);
        self.failed = taken.is_err();
        self.next_lba_sectors = end;
        taken
    }

    /// Bytes written so far; those of grains that are being compressed will follow.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file.file_bytes()
    }

    /// Writes what is left, and flushes the sink.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Io`] if the sink fails, [`VmdkError::Unwritable`] beyond 2 TiB or if a call
    /// before has failed.
    pub fn finish(mut self) -> Result<(W, Summary), VmdkError> {
        if self.failed {
            return Err(VmdkError::Unwritable(Fault::Failed));
        }
        self.send()?;
        while self.workers.pool.in_flight() > 0 {
            self.append()?;
        }
        let Self { file, workers, .. } = self;
        drop(workers);
        file.finish()
    }

    /// Whether this data may come now.  Returns its end, in sectors.
    fn check(&self, lba_sectors: u64, data: &[u8]) -> Result<u64, Fault> {
        if self.failed {
            return Err(Fault::Failed);
        }
        let len = len_u64(data.len());
        if !len.is_multiple_of(SECTOR_BYTES) {
            return Err(Fault::DataLength { bytes: len });
        }
        if lba_sectors < self.next_lba_sectors {
            return Err(Fault::DataOrder { lba_sectors, expected_min: self.next_lba_sectors });
        }
        let capacity_sectors = self.file.header().capacity_sectors;
        let end = lba_sectors.checked_add(len / SECTOR_BYTES);
        end.filter(|&end| end <= capacity_sectors)
            .ok_or(Fault::DataBeyondCapacity { lba_sectors, capacity_sectors })
    }

    /// Puts data into grains.
    fn take(&mut self, mut lba_sectors: u64, mut data: &[u8]) -> Result<(), VmdkError> {
        let Header { grain_sectors, .. } = *self.file.header();
        while !data.is_empty() {
            let into_sectors = lba_sectors % grain_sectors;
            let start = lba_sectors - into_sectors;
            let left_sectors = grain_sectors - into_sectors;
            let left = usize::try_from(left_sectors * SECTOR_BYTES).unwrap_or(usize::MAX);
            let (piece, rest) = data.split_at(data.len().min(left));
            data = rest;
            lba_sectors = start + grain_sectors;
            // Most zeros come in whole grains, and need not even be copied.
            if into_sectors == 0 && piece.len() == left && is_zero(piece) {
                continue;
            }
            let open = matches!(self.batch.last(), Some((last, _)) if last == start);
            if !open && self.batch.is_full() {
                self.send()?;
            }
            let grain = match self.batch.last() {
                Some((_, grain)) if open => grain,
                _ => self.batch.grain(start),
            };
            let at = usize::try_from(into_sectors * SECTOR_BYTES).unwrap_or(usize::MAX);
            grain[at..at + piece.len()].copy_from_slice(piece);
        }
        Ok(())
    }

    /// Hands the batch to the threads, and writes what they have finished.
    fn send(&mut self) -> Result<(), VmdkError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        while self.workers.pool.in_flight() >= self.jobs_max {
            self.append()?;
        }
        while let Some(batch) = self.workers.pool.try_take() {
            self.append_batch(batch)?;
        }
        let empty = self.free.pop().unwrap_or_else(|| {
            let header = self.file.header();
            let grain_len = usize::try_from(header.grain_bytes()).unwrap_or(usize::MAX);
            Batch::new(grain_len, BATCH_GRAINS)
        });
        self.workers.pool.put(std::mem::replace(&mut self.batch, empty));
        Ok(())
    }

    /// Waits for the first batch under way, and writes it.
    fn append(&mut self) -> Result<(), VmdkError> {
        // `None` means that a worker has panicked, and nothing in this crate does.
        let batch = self.workers.pool.take().ok_or(VmdkError::Unwritable(Fault::Failed))?;
        self.append_batch(batch)
    }

    fn append_batch(&mut self, mut batch: Batch) -> Result<(), VmdkError> {
        batch.append(&mut self.file)?;
        batch.clear();
        self.free.push(batch);
        Ok(())
    }
}
