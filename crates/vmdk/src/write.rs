//! Writes a stream-optimized VMDK.

use std::fmt;
use std::io;
use std::io::Write;

use crate::descriptor::Descriptor;
use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::Header;
use crate::header::SECTOR_BYTES;
use crate::header::SECTOR_LEN;
use crate::header::TABLE_ENTRIES;
use crate::header::TABLE_SECTORS;
use crate::marker::GRAIN_MARKER_BYTES;
use crate::marker::Marker;
use crate::pack::Level;
use crate::pack::Packer;
use crate::scan::Summary;
use crate::scan::len_u64;

/// How to write.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// How hard to compress.
    pub level: Level,
    /// Store a grain as it is if samples of it hardly shrink.  Ten times as fast for data that is
    /// encrypted or already compressed; a grain that shrinks only between the samples is stored, too.
    pub store_incompressible: bool,
}

impl Options {
    /// With this level.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// With or without the short cut for data that does not compress.
    #[must_use]
    pub fn store_incompressible(mut self, store: bool) -> Self {
        self.store_incompressible = store;
        self
    }
}

/// Writes a stream-optimized VMDK, grain by grain, without ever seeking.
///
/// The same grains and options give the same bytes.  Grains of 64 KiB; each grain table follows
/// its grains, the directory and the footer stand at the end.  Memory: one grain, one table, and
/// four bytes for each 32 MiB of the disk up to the last grain.
///
/// ```
/// use ovftransfer_vmdk::{Level, Options, StreamWriter};
///
/// let options = Options::default().level(Level::new(1).unwrap_or_default());
/// let mut writer = StreamWriter::new(Vec::new(), 1 << 20, options)?;
/// writer.write_grain(0, &[1; 65_536])?;
/// writer.write_grain(128, &[0; 65_536])?; // takes no room
/// let (file, summary) = writer.finish()?;
/// assert_eq!(summary.file_bytes(), file.len() as u64);
/// assert_eq!(summary.populated_bytes(), 65_536);
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
pub struct StreamWriter<W> {
    sink: W,
    at_byte: u64,
    header: Header,
    packer: Packer,
    /// A grain with its marker and padding, ready to be written.
    packed: Vec<u8>,
    /// The table whose grains are being written, and its number.
    table: Box<[u32; TABLE_ENTRIES as usize]>,
    table_number: Option<u64>,
    directory: Vec<u32>,
    next_lba_sectors: u64,
    grains: u64,
    populated_sectors: u64,
}

impl<W> fmt::Debug for StreamWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter")
            .field("at_byte", &self.at_byte)
            .field("header", &self.header)
            .field("grains", &self.grains)
            .finish_non_exhaustive()
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
        if !capacity_bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(VmdkError::Unwritable(Fault::CapacityBytes { bytes: capacity_bytes }));
        }
        let header = Header::stream_optimized(capacity_bytes / SECTOR_BYTES)
            .map_err(VmdkError::Unwritable)?;
        let mut overhead = header.encode().to_vec();
        overhead.extend_from_slice(
            Descriptor::stream_optimized(header.capacity_sectors).text().as_bytes(),
        );
        let overhead_bytes = header.overhead_sectors * SECTOR_BYTES;
        overhead.resize(usize::try_from(overhead_bytes).unwrap_or(usize::MAX), 0);
        let mut writer = Self {
            sink,
            at_byte: 0,
            header,
            packer: Packer::new(options.level, options.store_incompressible),
            packed: Vec::new(),
            table: Box::new([0; TABLE_ENTRIES as usize]),
            table_number: None,
            directory: Vec::new(),
            next_lba_sectors: 0,
            grains: 0,
            populated_sectors: 0,
        };
        writer.put(&overhead)?;
        Ok(writer)
    }

    /// Size of a grain, in bytes; the last one of a disk may be shorter.
    #[must_use]
    pub fn grain_bytes(&self) -> u64 {
        self.header.grain_bytes()
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
        let disk_sectors = self.check(lba_sectors, data).map_err(VmdkError::Unwritable)?;
        self.next_lba_sectors = lba_sectors + self.header.grain_sectors;
        if is_zero(data) {
            return Ok(());
        }
        let grain = lba_sectors / self.header.grain_sectors;
        let table_number = grain / u64::from(TABLE_ENTRIES);
        if self.table_number != Some(table_number) {
            self.end_table()?;
            self.table_number = Some(table_number);
        }
        let sector = self.sector()?;
        self.pack(lba_sectors, data).map_err(VmdkError::Unwritable)?;
        let packed = std::mem::take(&mut self.packed);
        let written = self.put(&packed);
        self.packed = packed;
        written?;
        let entry = grain % u64::from(TABLE_ENTRIES);
        if let Some(slot) = usize::try_from(entry).ok().and_then(|at| self.table.get_mut(at)) {
            *slot = sector;
        }
        self.grains += 1;
        self.populated_sectors += disk_sectors;
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.at_byte
    }

    /// Writes the rest of the metadata, and flushes the sink.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Io`] if the sink fails, [`VmdkError::Unwritable`] beyond 2 TiB.
    pub fn finish(mut self) -> Result<(W, Summary), VmdkError> {
        self.end_table()?;
        let sectors = self.header.directory_sectors();
        self.put(&Marker::GrainDirectory { sectors }.encode())?;
        let directory_sector = self.sector()?;
        self.directory.resize(usize::try_from(sectors * SECTOR_BYTES / 4).unwrap_or(0), 0);
        let directory = le_bytes(&self.directory);
        self.put(&directory)?;

        self.put(&Marker::Footer { sectors: 1 }.encode())?;
        let mut footer = self.header.clone();
        footer.gd_offset_sectors = directory_sector.into();
        self.put(&footer.encode())?;
        self.put(&Marker::EndOfStream.encode())?;
        let at_byte = self.at_byte;
        self.sink.flush().map_err(|source| VmdkError::Io { at_byte, source })?;
        let summary = Summary {
            file_bytes: self.at_byte,
            capacity_bytes: self.header.capacity_bytes(),
            populated_bytes: self.populated_sectors * SECTOR_BYTES,
            grains: self.grains,
        };
        Ok((self.sink, summary))
    }

    /// Whether a grain may come now.  Returns its length on the disk, in sectors.
    fn check(&self, lba_sectors: u64, data: &[u8]) -> Result<u64, Fault> {
        let Header { capacity_sectors, grain_sectors, .. } = self.header;
        if lba_sectors >= capacity_sectors {
            return Err(Fault::GrainBeyondCapacity { lba_sectors, capacity_sectors });
        }
        if !lba_sectors.is_multiple_of(grain_sectors) || lba_sectors < self.next_lba_sectors {
            return Err(Fault::GrainOrder { lba_sectors, expected_min: self.next_lba_sectors });
        }
        let disk_sectors = grain_sectors.min(capacity_sectors - lba_sectors);
        let (size_bytes, max_bytes) = (len_u64(data.len()), disk_sectors * SECTOR_BYTES);
        if size_bytes != max_bytes {
            return Err(Fault::GrainLength { size_bytes, max_bytes });
        }
        Ok(disk_sectors)
    }

    /// Puts marker, compressed data and padding into `packed`.
    fn pack(&mut self, lba_sectors: u64, data: &[u8]) -> Result<(), Fault> {
        self.packed.clear();
        self.packed.resize(GRAIN_MARKER_BYTES, 0);
        let grain_len = usize::try_from(self.header.grain_bytes()).unwrap_or(data.len());
        let size = if data.len() == grain_len {
            self.packer.pack(data, &mut self.packed)?
        } else {
            // Readers expect whole grains, also at the end of the disk.
            let mut whole = data.to_vec();
            whole.resize(grain_len, 0);
            self.packer.pack(&whole, &mut self.packed)?
        };
        let too_long = Fault::GrainLength { size_bytes: len_u64(size), max_bytes: u32::MAX.into() };
        let size_bytes = u32::try_from(size).map_err(|_| too_long)?;
        let marker = Marker::Grain { lba_sectors, size_bytes }.encode();
        self.packed[..GRAIN_MARKER_BYTES].copy_from_slice(&marker[..GRAIN_MARKER_BYTES]);
        self.packed.resize(self.packed.len().next_multiple_of(SECTOR_LEN), 0);
        Ok(())
    }

    /// Writes the table of the grains since the last one, if there were any.
    fn end_table(&mut self) -> Result<(), VmdkError> {
        let Some(number) = self.table_number.take() else { return Ok(()) };
        self.put(&Marker::GrainTable { sectors: TABLE_SECTORS }.encode())?;
        let sector = self.sector()?;
        let table = le_bytes(self.table.as_slice());
        self.put(&table)?;
        self.table.fill(0);
        self.directory.resize(usize::try_from(number).unwrap_or(usize::MAX), 0);
        self.directory.push(sector);
        Ok(())
    }

    /// The sector that comes next.
    fn sector(&self) -> Result<u32, VmdkError> {
        u32::try_from(self.at_byte / SECTOR_BYTES)
            .map_err(|_| VmdkError::Unwritable(Fault::FileLength))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), VmdkError> {
        let at_byte = self.at_byte;
        self.sink
            .write_all(bytes)
            .map_err(|source: io::Error| VmdkError::Io { at_byte, source })?;
        self.at_byte += len_u64(bytes.len());
        Ok(())
    }
}

/// Whether all bytes are zero; looks at whole words, and stops at the first that is not.
fn is_zero(data: &[u8]) -> bool {
    let mut blocks = data.chunks(ZERO_BLOCK_LEN);
    blocks.all(|block| block.iter().fold(0, |seen, &byte| seen | byte) == 0)
}

fn le_bytes(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Long enough for vector instructions, short enough to stop early.
const ZERO_BLOCK_LEN: usize = 256;
