//! From a disk of any format to a stream-optimized or a raw one, with all cores.

use std::fs::File;
use std::io;
use std::io::Write;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::ops::Range;
use std::thread;

use crate::assemble::Assembly;
use crate::batch::BATCH_GRAINS;
use crate::batch::Batch;
use crate::error::ConvertError;
use crate::error::Fault;
use crate::error::VmdkError;
use crate::image::DiskImage;
use crate::pack::Options;
use crate::pack::Packer;
use crate::pack::is_zero;
use crate::pool;
use crate::pool::Closing;
use crate::pool::Pool;
use crate::scan::Summary;
use crate::scan::len_u64;

/// How far a conversion has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Place on the disk behind which everything is still to be done, in bytes.
    pub lba_bytes: u64,
    /// Size of the disk, in bytes.
    pub capacity_bytes: u64,
    /// Bytes of the disk that were read, because the source did not know them to be zeros.
    pub read_bytes: u64,
    /// Bytes written so far.
    pub written_bytes: u64,
}

/// Is told how far a conversion has come, a few thousand times per GB, in the caller's thread.  Its
/// answer says whether to go on.
pub type OnProgress<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Writes a disk as a stream-optimized VMDK.
///
/// The source is read by as many threads as compress, in pieces of 256 KiB or one of its own units;
/// what it knows to be zeros is not read.  The sink is written in order by the caller's thread, and
/// need not seek.  The bytes are those of [`ParallelWriter`](crate::ParallelWriter): the same for
/// the same disk and options, whatever format it came in and however many threads there were.
///
/// Memory: as for [`ParallelWriter`](crate::ParallelWriter), and for a source in units above
/// 256 KiB, at most 40 MiB.
///
/// # Errors
///
/// [`ConvertError::Source`] if the source cannot be read, [`ConvertError::Target`] if the sink
/// fails or the disk cannot be written in this format, [`ConvertError::Cancelled`] on request.
///
/// ```
/// use ovftransfer_vmdk::{GrainReader, Options, RawImage, to_stream};
///
/// let mut disk = vec![0; 1 << 20];
/// disk[70_000] = 1;
/// let source = RawImage::new(disk);
/// let go_on = &mut |_| std::ops::ControlFlow::Continue(());
/// let (file, summary) = to_stream(&source, Vec::new(), Options::default(), go_on)?;
/// assert_eq!(summary.grains(), 1);
/// # Ok::<(), ovftransfer_vmdk::ConvertError>(())
/// ```
pub fn to_stream<W: Write>(
    source: &dyn DiskImage,
    sink: W,
    options: Options,
    on_progress: &mut OnProgress<'_>,
) -> Result<(W, Summary), ConvertError> {
    let mut file = Assembly::new(sink, source.capacity_bytes()).map_err(ConvertError::Target)?;
    let grain_bytes = file.header().grain_bytes();
    let grain_len = usize::try_from(grain_bytes).unwrap_or(usize::MAX);
    let pieces = Pieces::new(source, grain_bytes);
    let grains = usize::try_from(pieces.piece_bytes / grain_bytes).unwrap_or(BATCH_GRAINS);
    let crew = Crew { threads: options.threads, job_bytes: Batch::bytes(grain_len, grains) };
    crew.run(
        pieces,
        || Batch::new(grain_len, grains),
        || Packer::new(options),
        |packer, place, batch| {
            batch.load(source, place)?;
            batch.pack(packer);
            Ok(())
        },
        |batch| {
            batch.append(&mut file)?;
            batch.clear();
            Ok(file.file_bytes())
        },
        on_progress,
    )?;
    file.finish().map_err(ConvertError::Target)
}

/// Writes a disk as a raw one, and leaves holes where it is zero.
///
/// `file` gets the disk's length; what it held before is lost.  Several threads read, and inflate
/// where that is needed; the caller's thread writes, in order: file systems let one thread at a time
/// write to a file.  The caller decides whether to sync.
///
/// # Errors
///
/// As [`to_stream`].
pub fn to_raw(
    source: &dyn DiskImage,
    file: &File,
    options: Options,
    on_progress: &mut OnProgress<'_>,
) -> Result<RawSummary, ConvertError> {
    let cleared = clear(file, source.capacity_bytes());
    cleared.map_err(|error| ConvertError::Target(VmdkError::Io { at_byte: 0, source: error }))?;
    let pieces = Pieces::new(source, BLOCK_BYTES);
    let len = usize::try_from(pieces.piece_bytes).unwrap_or(usize::MAX);
    let crew = Crew { threads: options.threads, job_bytes: len };
    let mut populated_bytes = 0;
    crew.run(
        pieces,
        || RawPiece { at_byte: 0, data: vec![0; len], runs: Vec::new() },
        || (),
        |(), place, piece| {
            let data = &mut piece.data[..range_len(&place)];
            source.read_at(place.start, data)?;
            piece.at_byte = place.start;
            find_runs(data, &mut piece.runs);
            Ok(())
        },
        |piece| {
            populated_bytes += piece.write(file)?;
            Ok(populated_bytes)
        },
        on_progress,
    )?;
    Ok(RawSummary { capacity_bytes: source.capacity_bytes(), populated_bytes })
}

/// Reads all data of a disk with several threads, and drops it.
pub(crate) fn read_all(
    source: &dyn DiskImage,
    options: Options,
    on_progress: &mut OnProgress<'_>,
) -> Result<(), ConvertError> {
    let pieces = Pieces::new(source, BLOCK_BYTES);
    let len = usize::try_from(pieces.piece_bytes).unwrap_or(usize::MAX);
    let crew = Crew { threads: options.threads, job_bytes: len };
    crew.run(
        pieces,
        || vec![0; len],
        || (),
        |(), place, data| source.read_at(place.start, &mut data[..range_len(&place)]),
        |_| Ok(0),
        on_progress,
    )
}

/// Makes a file one hole of this length.
fn clear(file: &File, len_bytes: u64) -> io::Result<()> {
    // Not an empty file: ext4 takes any file that was cut to nothing for one that is being replaced,
    // and sends all of it to the disk when it is closed (`auto_da_alloc`), while the caller waits.
    if file.metadata()?.len() > 0 {
        file.set_len(0)?;
    }
    file.set_len(len_bytes)
}

/// What was written of a raw disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RawSummary {
    /// Size of the disk, in bytes.
    pub capacity_bytes: u64,
    /// Bytes written, in blocks of 4 KiB; the others are holes.
    pub populated_bytes: u64,
}

/// A stretch of a raw disk on its way.
struct RawPiece {
    at_byte: u64,
    data: Vec<u8>,
    /// What of it is not zero.
    runs: Vec<Range<usize>>,
}

impl RawPiece {
    /// Writes what is not zero.  Returns the length of that.
    fn write(&self, file: &File) -> Result<u64, VmdkError> {
        let mut written = 0;
        for run in &self.runs {
            let at_byte = self.at_byte + len_u64(run.start);
            write_at(file, at_byte, &self.data[run.clone()])
                .map_err(|source| VmdkError::Io { at_byte, source })?;
            written += len_u64(run.len());
        }
        Ok(written)
    }
}

/// Finds the blocks of `data` that are not zero, neighbours together.
fn find_runs(data: &[u8], runs: &mut Vec<Range<usize>>) {
    let block = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
    runs.clear();
    for (number, bytes) in data.chunks(block).enumerate() {
        if is_zero(bytes) {
            continue;
        }
        let start = number * block;
        let end = start + bytes.len();
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
}

#[cfg(unix)]
fn write_at(file: &File, at_byte: u64, data: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, data, at_byte)
}

#[cfg(windows)]
fn write_at(file: &File, mut at_byte: u64, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let len = std::os::windows::fs::FileExt::seek_write(file, data, at_byte)?;
        if len == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        at_byte += len_u64(len);
        data = &data[len..];
    }
    Ok(())
}

/// The stretches of a disk that may hold data, in pieces for one thread.
struct Pieces<'a> {
    source: &'a dyn DiskImage,
    /// Pieces start and end at multiples of this, but for the end of the disk.
    align_bytes: u64,
    /// No piece crosses a multiple of this.
    piece_bytes: u64,
    /// What is left of the last stretch.
    stretch: Range<u64>,
}

impl<'a> Pieces<'a> {
    /// A unit of the source is a power of two, as is `align_bytes`.
    fn new(source: &'a dyn DiskImage, align_bytes: u64) -> Self {
        let piece_bytes = source.unit_bytes().clamp(PIECE_BYTES, PIECE_BYTES_MAX);
        Self { source, align_bytes, piece_bytes, stretch: 0..0 }
    }

    fn next(&mut self) -> Result<Option<Range<u64>>, VmdkError> {
        if self.stretch.is_empty() {
            let Some(data) = self.source.next_data(self.stretch.end)? else { return Ok(None) };
            let start = data.start - data.start % self.align_bytes;
            let end = data.end.next_multiple_of(self.align_bytes);
            self.stretch = start.max(self.stretch.end)..end.min(self.source.capacity_bytes());
            if self.stretch.is_empty() {
                // Not reached with images that keep the promise of `next_data`.
                return Ok(None);
            }
        }
        let start = self.stretch.start;
        let end = (start + 1).next_multiple_of(self.piece_bytes).min(self.stretch.end);
        self.stretch.start = end;
        Ok(Some(start..end))
    }
}

/// Threads that work on the pieces of a disk.
struct Crew {
    threads: Option<NonZeroUsize>,
    /// Memory of one job.
    job_bytes: usize,
}

/// A piece of the disk, and the buffers for it.
struct Piece<J> {
    place: Range<u64>,
    job: J,
    result: Result<(), VmdkError>,
}

impl Crew {
    /// Lets threads `act` on all pieces, and takes these back in order.
    ///
    /// `take` returns the bytes written so far.
    fn run<J: Send, T>(
        &self,
        mut pieces: Pieces<'_>,
        new_job: impl Fn() -> J,
        tools: impl Fn() -> T + Sync,
        act: impl Fn(&mut T, Range<u64>, &mut J) -> Result<(), VmdkError> + Sync,
        mut take: impl FnMut(&mut J) -> Result<u64, VmdkError>,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<(), ConvertError> {
        let threads = pool::threads(self.threads);
        let jobs_max = pool::jobs(threads, self.job_bytes);
        let capacity_bytes = pieces.source.capacity_bytes();
        let mut progress = Progress { capacity_bytes, ..Progress::default() };
        let pool = Pool::new();
        let work = || {
            let mut tools = tools();
            pool.work(|piece: &mut Piece<J>| {
                piece.result = act(&mut tools, piece.place.clone(), &mut piece.job);
            });
        };
        thread::scope(|scope| {
            let _closing = Closing(&pool);
            for number in 0..threads {
                let builder = thread::Builder::new().name(format!("convert-{number}"));
                let started = builder.spawn_scoped(scope, work);
                started
                    .map_err(|source| ConvertError::Target(VmdkError::Io { at_byte: 0, source }))?;
            }
            let mut free = Vec::new();
            let mut all_put = false;
            loop {
                let full = pool.in_flight() >= jobs_max;
                let done = if full || all_put { pool.take() } else { pool.try_take() };
                if let Some(mut piece) = done {
                    std::mem::replace(&mut piece.result, Ok(())).map_err(ConvertError::Source)?;
                    progress.written_bytes = take(&mut piece.job).map_err(ConvertError::Target)?;
                    progress.lba_bytes = piece.place.end;
                    progress.read_bytes += piece.place.end - piece.place.start;
                    if on_progress(progress).is_break() {
                        return Err(ConvertError::Cancelled);
                    }
                    free.push(piece.job);
                } else if full {
                    // A worker has panicked, and the scope will, too.
                    return Err(ConvertError::Target(VmdkError::Unwritable(Fault::Failed)));
                } else if all_put {
                    break;
                } else if let Some(place) = pieces.next().map_err(ConvertError::Source)? {
                    let job = free.pop().unwrap_or_else(&new_job);
                    pool.put(Piece { place, job, result: Ok(()) });
                } else {
                    all_put = true;
                }
            }
            progress.lba_bytes = capacity_bytes;
            if on_progress(progress).is_break() {
                return Err(ConvertError::Cancelled);
            }
            Ok(())
        })
    }
}

fn range_len(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}

/// A file system's block: what is smaller makes no hole.
const BLOCK_BYTES: u64 = 4096;

/// What a thread does at once: four grains.
const PIECE_BYTES: u64 = BATCH_GRAINS as u64 * (64 << 10);

/// The largest unit of any format: a cluster of qcow2.
const PIECE_BYTES_MAX: u64 = 2 << 20;
