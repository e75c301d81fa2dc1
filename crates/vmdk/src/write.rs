//! Writes a stream-optimized VMDK, one grain at a time.

use std::fmt;
use std::io::Write;

use crate::assemble::Assembly;
use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::SECTOR_BYTES;
use crate::pack::Options;
use crate::pack::Packer;
use crate::pack::is_zero;
use crate::scan::Summary;
use crate::scan::len_u64;

/// Writes a stream-optimized VMDK, grain by grain, without ever seeking.
///
/// The same grains and options give the same bytes, which are also those of
/// [`ParallelWriter`](crate::ParallelWriter).  Grains of 64 KiB; each grain table follows its
/// grains, the directory and the footer stand at the end.  Memory: two grains, one table, and four
/// bytes for each 32 MiB of the disk up to the last grain.
///
/// ```
/// use ovftransfer_vmdk::{Level, Options, StreamWriter};
///
/// let options = Options::default().level(Level::FASTEST);
/// let mut writer = StreamWriter::new(Vec::new(), 1 << 20, options)?;
/// writer.write_grain(0, &[1; 65_536])?;
/// writer.write_grain(128, &[0; 65_536])?; // takes no room
/// let (file, summary) = writer.finish()?;
/// assert_eq!(summary.file_bytes(), file.len() as u64);
/// assert_eq!(summary.populated_bytes(), 65_536);
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
pub struct StreamWriter<W> {
    file: Assembly<W>,
    packer: Packer,
    /// The last grain of a disk, filled up.
    whole: Vec<u8>,
    /// A grain with its marker and padding, ready to be written.
    packed: Vec<u8>,
    /// Length of the last grain in `packed`; 0 before the first one.
    packed_len: usize,
}

impl<W> fmt::Debug for StreamWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<W: Write> StreamWriter<W> {
    /// Writes the header and the descriptor.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Unwritable`] if the capacity is 0, above 64 TiB, or no multiple of 512;
    /// [`VmdkError::Io`] if `sink` fails.
    pub fn new(sink: W, capacity_bytes: u64, options: Options) -> Result<Self, VmdkError> {
        Ok(Self {
            file: Assembly::new(sink, capacity_bytes)?,
            packer: Packer::new(options),
            whole: Vec::new(),
            packed: Vec::new(),
            packed_len: 0,
        })
    }

    /// Size of a grain, in bytes; the last one of a disk may be shorter.
    #[must_use]
    pub fn grain_bytes(&self) -> u64 {
        self.file.header().grain_bytes()
    }

    /// Writes the grain that starts at `lba_sectors`, unless it holds nothing but zeros.
    ///
    /// `data` is a whole grain, or what is left of the disk.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Unwritable`] if the grain does not come after the one before, is not on a
    /// grain boundary, has the wrong length, or the file would exceed 2 TiB; nothing was written
    /// then.  [`VmdkError::Io`] if the sink fails.
    pub fn write_grain(&mut self, lba_sectors: u64, data: &[u8]) -> Result<(), VmdkError> {
        self.check(lba_sectors, data).map_err(VmdkError::Unwritable)?;
        if is_zero(data) {
            self.file.skip(lba_sectors);
            return Ok(());
        }
        let grain_len = usize::try_from(self.grain_bytes()).unwrap_or(data.len());
        let data = if data.len() == grain_len {
            data
        } else {
            // Readers expect whole grains, also at the end of the disk.
            self.whole.clear();
            self.whole.extend_from_slice(data);
            self.whole.resize(grain_len, 0);
            &self.whole
        };
        self.packed.resize(Packer::packed_len_max(grain_len), 0);
        let packed = self.packer.grain(lba_sectors, data, &mut self.packed);
        self.packed_len = packed.map_err(VmdkError::Unwritable)?;
        self.file.grain(lba_sectors, &self.packed[..self.packed_len])
    }

    /// Writes the last grain that held data once more, at `lba_sectors`, without compressing it
    /// again: as fast as memory is copied.
    ///
    /// # Errors
    ///
    /// Those of [`write_grain`](Self::write_grain), also if no grain was written before or if this
    /// one is beyond the last whole grain of the disk.
    pub fn repeat_grain(&mut self, lba_sectors: u64) -> Result<(), VmdkError> {
        let disk_sectors = self.file.disk_sectors(lba_sectors).map_err(VmdkError::Unwritable)?;
        let (size_bytes, max_bytes) = (self.grain_bytes(), disk_sectors * SECTOR_BYTES);
        if self.packed_len == 0 || size_bytes != max_bytes {
            let size_bytes = if self.packed_len == 0 { 0 } else { size_bytes };
            return Err(VmdkError::Unwritable(Fault::GrainLength { size_bytes, max_bytes }));
        }
        // The marker begins with the place on the disk, the rest stays as it is.
        self.packed[..LBA_LEN].copy_from_slice(&lba_sectors.to_le_bytes());
        self.file.grain(lba_sectors, &self.packed[..self.packed_len])
    }

    /// Bytes written so far.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file.file_bytes()
    }

    /// Writes the rest of the metadata, and flushes the sink.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Io`] if the sink fails, [`VmdkError::Unwritable`] beyond 2 TiB.
    pub fn finish(self) -> Result<(W, Summary), VmdkError> {
        self.file.finish()
    }

    /// Whether a grain may come now, and has the right length.
    fn check(&self, lba_sectors: u64, data: &[u8]) -> Result<(), Fault> {
        let disk_sectors = self.file.disk_sectors(lba_sectors)?;
        let (size_bytes, max_bytes) = (len_u64(data.len()), disk_sectors * SECTOR_BYTES);
        if size_bytes == max_bytes {
            Ok(())
        } else {
            Err(Fault::GrainLength { size_bytes, max_bytes })
        }
    }
}

/// Bytes of the place on the disk at the start of a marker.
const LBA_LEN: usize = 8;
