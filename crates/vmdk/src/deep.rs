//! Grains out of a disk that is pushed, inflated with all cores.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use libdeflater::Decompressor;

use crate::descriptor::Descriptor;
use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::Header;
use crate::header::SECTOR_BYTES;
use crate::inflate::inflate;
use crate::pool;
use crate::pool::Workers;
use crate::scan::Position;
use crate::scan::Scanner;
use crate::scan::Summary;

/// Receives grains, in any order and from several threads at once: the place on the disk in
/// sectors, and the data.
pub type OnAnyGrain = dyn Fn(u64, &[u8]) -> io::Result<()> + Send + Sync;

/// Checks a stream-optimized VMDK as its bytes pass, with every grain inflated, on all cores.
///
/// Checks what [`GrainDecoder`](crate::GrainDecoder) checks, and in addition that the descriptor
/// names the capacity of the header.  The structure is checked in the caller's thread, the grains in
/// others, so that what is wrong with a grain may be said a few MiB later, but always by
/// [`finish`](Self::finish); it is the first thing that is wrong in the file.
///
/// Memory: for each thread two batches of at most 320 KiB (more for grains above 64 KiB) and a
/// grain, 40 MiB at most.
///
/// ```
/// use ovftransfer_vmdk::{DeepCheck, Options, StreamWriter};
///
/// let mut writer = StreamWriter::new(Vec::new(), 1 << 20, Options::default())?;
/// writer.write_grain(128, &[7; 65_536])?;
/// let (mut file, _) = writer.finish()?;
///
/// let mut check = DeepCheck::new(None);
/// check.push(&file)?;
/// assert_eq!(check.finish()?.grains(), 1);
///
/// // A flipped bit in compressed data, which the structure does not show.
/// file[65_536 + 20] ^= 1;
/// let mut check = DeepCheck::new(None);
/// let found = check.push(&file).and_then(|()| check.finish().map(drop));
/// assert_eq!(found.unwrap_err().at_byte(), 65_536);
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
pub struct DeepCheck {
    scanner: Scanner,
    header: Option<Arc<Header>>,
    workers: Workers<Batch>,
    /// How many there will be.
    threads: usize,
    jobs_max: usize,
    on_grain: Option<Arc<OnAnyGrain>>,
    /// What is being filled.
    batch: Batch,
    free: Vec<Batch>,
}

impl fmt::Debug for DeepCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeepCheck")
            .field("scanner", &self.scanner)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Grains that one thread inflates.
#[derive(Default)]
struct Batch {
    header: Option<Arc<Header>>,
    packed: Vec<u8>,
    grains: Vec<Packed>,
    result: Option<VmdkError>,
}

/// A grain in [`Batch::packed`].
struct Packed {
    /// Where its marker stands in the file.
    at_byte: u64,
    lba_sectors: u64,
    end: usize,
}

impl DeepCheck {
    /// Starts at byte 0, with so many threads, or one for each core.
    #[must_use]
    pub fn new(threads: Option<NonZeroUsize>) -> Self {
        Self {
            scanner: Scanner::new(),
            header: None,
            workers: Workers::new(),
            threads: pool::threads(threads),
            jobs_max: 0,
            on_grain: None,
            batch: Batch::default(),
            free: Vec::new(),
        }
    }

    /// The same, and hands every grain on as soon as it is inflated.
    ///
    /// An error of `on_grain` ends the check as damage does.
    #[must_use]
    pub fn with_grains(threads: Option<NonZeroUsize>, on_grain: Arc<OnAnyGrain>) -> Self {
        Self { on_grain: Some(on_grain), ..Self::new(threads) }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Corrupt`] with the place and the reason, or [`VmdkError::Io`] with the error of
    /// the one who receives grains, or if no thread can be started; every later call fails, too.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<(), VmdkError> {
        loop {
            let piece = match self.scanner.step(&mut chunk) {
                Ok(Some(piece)) => piece,
                Ok(None) => return self.collect(),
                // Grains before this place may be damaged, too.
                Err(error) => return self.drain().and(Err(error)),
            };
            self.batch.packed.extend_from_slice(piece.bytes);
            if piece.last {
                let end = self.batch.packed.len();
                let (at_byte, lba_sectors) = (piece.at_byte, piece.lba_sectors);
                self.batch.grains.push(Packed { at_byte, lba_sectors, end });
                if end >= BATCH_LEN || self.batch.grains.len() == BATCH_GRAINS {
                    self.send()?;
                }
            }
        }
    }

    /// How far the stream has come.
    #[must_use]
    pub fn position(&self) -> Position {
        self.scanner.position()
    }

    /// The header, once it has passed.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.scanner.header()
    }

    /// The embedded descriptor, once it has passed.
    #[must_use]
    pub fn descriptor(&self) -> Option<Descriptor> {
        self.scanner.descriptor()
    }

    /// The file ends here.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Truncated`] if something should have followed; otherwise as
    /// [`push`](Self::push).
    pub fn finish(mut self) -> Result<Summary, VmdkError> {
        self.drain()?;
        let summary = self.scanner.finish()?;
        if let (Some(header), Some(descriptor)) = (self.scanner.header(), self.descriptor()) {
            let header_sectors = header.capacity_sectors;
            let named = descriptor.capacity_bytes().map(|bytes| bytes / SECTOR_BYTES);
            if let Some(descriptor_sectors) = named.filter(|&sectors| sectors != header_sectors) {
                let fault = Fault::DescriptorCapacity { descriptor_sectors, header_sectors };
                return Err(fault.at(header.descriptor_offset_sectors * SECTOR_BYTES));
            }
        }
        Ok(summary)
    }

    /// Hands the batch to the threads, and takes back those that are done.
    fn send(&mut self) -> Result<(), VmdkError> {
        if self.batch.grains.is_empty() {
            return Ok(());
        }
        if self.header.is_none()
            && let Err(error) = self.start()
        {
            self.scanner.fail();
            return Err(error);
        }
        while self.workers.pool.in_flight() >= self.jobs_max {
            let batch = self.workers.pool.take();
            self.reuse(batch.ok_or_else(|| Fault::Failed.at(self.scanner.position().at_byte))?)?;
        }
        self.collect()?;
        let empty = self.free.pop().unwrap_or_default();
        let mut batch = std::mem::replace(&mut self.batch, empty);
        batch.header.clone_from(&self.header);
        self.workers.pool.put(batch);
        Ok(())
    }

    /// Starts the threads, now that the header is known and there is something to do.
    fn start(&mut self) -> Result<(), VmdkError> {
        let header = self.scanner.header().cloned().map(Arc::new);
        let packed = header.as_ref().map_or(0, |header| header.packed_bytes_max());
        let packed = usize::try_from(packed).unwrap_or(usize::MAX);
        self.jobs_max = pool::jobs(self.threads, packed.saturating_add(BATCH_LEN));
        self.header = header;
        for number in 0..self.threads {
            let (pool, on_grain) = (Arc::clone(&self.workers.pool), self.on_grain.clone());
            let builder = thread::Builder::new().name(format!("inflate-{number}"));
            let thread = builder.spawn(move || {
                let (mut zlib, mut data) = (Decompressor::new(), Vec::new());
                pool.work(|batch: &mut Batch| {
                    batch.result = batch.inflate(&mut zlib, &mut data, on_grain.as_deref()).err();
                });
            });
            let at_byte = self.scanner.position().at_byte;
            let thread = thread.map_err(|source| VmdkError::Io { at_byte, source })?;
            self.workers.threads.push(thread);
        }
        Ok(())
    }

    /// Takes back the batches that are done.
    fn collect(&mut self) -> Result<(), VmdkError> {
        while let Some(batch) = self.workers.pool.try_take() {
            self.reuse(batch)?;
        }
        Ok(())
    }

    /// Waits for all grains that are complete.
    fn drain(&mut self) -> Result<(), VmdkError> {
        self.send()?;
        while let Some(batch) = self.workers.pool.take() {
            self.reuse(batch)?;
        }
        Ok(())
    }

    /// Takes a batch back that is done.
    fn reuse(&mut self, mut batch: Batch) -> Result<(), VmdkError> {
        if let Some(error) = batch.result.take() {
            self.scanner.fail();
            // Nothing of what is under way matters any more.
            self.workers.pool.close();
            return Err(error);
        }
        batch.packed.clear();
        batch.grains.clear();
        self.free.push(batch);
        Ok(())
    }
}

impl Batch {
    fn inflate(
        &self,
        zlib: &mut Decompressor,
        data: &mut Vec<u8>,
        on_grain: Option<&OnAnyGrain>,
    ) -> Result<(), VmdkError> {
        let Some(header) = &self.header else { return Ok(()) };
        data.resize(usize::try_from(header.grain_bytes()).unwrap_or(0), 0);
        let mut start = 0;
        for &Packed { at_byte, lba_sectors, end } in &self.grains {
            let len = inflate(zlib, &self.packed[start..end], header, lba_sectors, data)
                .map_err(|problem| Fault::GrainData { lba_sectors, problem }.at(at_byte))?;
            if let Some(on_grain) = on_grain {
                on_grain(lba_sectors, &data[..len])
                    .map_err(|source| VmdkError::Io { at_byte, source })?;
            }
            start = end;
        }
        Ok(())
    }
}

/// A batch is complete with so much compressed data,
const BATCH_LEN: usize = 256 << 10;

/// or with so many grains: those of one byte repeated take a sector each.
const BATCH_GRAINS: usize = 16;
