//! Lays out a stream-optimized file from grains that are packed already.

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
use crate::marker::Marker;
use crate::scan::Summary;
use crate::scan::len_u64;

/// A file under construction: header and descriptor in front, each grain table behind its grains,
/// directory and footer at the end.
///
/// Memory: one table, and four bytes for each 32 MiB of the disk up to the last grain.
pub(crate) struct Assembly<W> {
    sink: W,
    at_byte: u64,
    header: Header,
    /// The table whose grains are being written, and its number.
    table: Box<[u32; TABLE_ENTRIES as usize]>,
    table_number: Option<u64>,
    directory: Vec<u32>,
    next_lba_sectors: u64,
    grains: u64,
    populated_sectors: u64,
}

impl<W> fmt::Debug for Assembly<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly")
            .field("at_byte", &self.at_byte)
            .field("header", &self.header)
            .field("grains", &self.grains)
            .finish_non_exhaustive()
    }
}

impl<W: Write> Assembly<W> {
    /// Writes the header and the descriptor.
    pub(crate) fn new(sink: W, capacity_bytes: u64) -> Result<Self, VmdkError> {
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
        let mut assembly = Self {
            sink,
            at_byte: 0,
            header,
            table: Box::new([0; TABLE_ENTRIES as usize]),
            table_number: None,
            directory: Vec::new(),
            next_lba_sectors: 0,
            grains: 0,
            populated_sectors: 0,
        };
        assembly.put(&overhead)?;
        Ok(assembly)
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes written so far.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.at_byte
    }

    /// Length of the grain at `lba_sectors` on the disk, in sectors, if one may come there now.
    pub(crate) fn disk_sectors(&self, lba_sectors: u64) -> Result<u64, Fault> {
        let Header { capacity_sectors, grain_sectors, .. } = self.header;
        if lba_sectors >= capacity_sectors {
            return Err(Fault::GrainBeyondCapacity { lba_sectors, capacity_sectors });
        }
        if !lba_sectors.is_multiple_of(grain_sectors) || lba_sectors < self.next_lba_sectors {
            return Err(Fault::GrainOrder { lba_sectors, expected_min: self.next_lba_sectors });
        }
        Ok(grain_sectors.min(capacity_sectors - lba_sectors))
    }

    /// The grain at `lba_sectors` takes no room.
    pub(crate) fn skip(&mut self, lba_sectors: u64) {
        self.next_lba_sectors = lba_sectors + self.header.grain_sectors;
    }

    /// Appends a grain: its marker, its data, and padding up to a sector.
    pub(crate) fn grain(&mut self, lba_sectors: u64, packed: &[u8]) -> Result<(), VmdkError> {
        let disk_sectors = self.disk_sectors(lba_sectors).map_err(VmdkError::Unwritable)?;
        self.skip(lba_sectors);
        let grain = lba_sectors / self.header.grain_sectors;
        let table_number = grain / u64::from(TABLE_ENTRIES);
        if self.table_number != Some(table_number) {
            self.end_table()?;
            self.table_number = Some(table_number);
        }
        let sector = self.sector()?;
        self.put(packed)?;
        let entry = grain % u64::from(TABLE_ENTRIES);
        if let Some(slot) = usize::try_from(entry).ok().and_then(|at| self.table.get_mut(at)) {
            *slot = sector;
        }
        self.grains += 1;
        self.populated_sectors += disk_sectors;
        Ok(())
    }

    /// Writes the rest of the metadata, and flushes the sink.
    pub(crate) fn finish(mut self) -> Result<(W, Summary), VmdkError> {
        self.end_table()?;
        let sectors = self.header.directory_sectors();
        self.put(&Marker::GrainDirectory { sectors }.encode())?;
        let directory_sector = self.sector()?;
        let directory = std::mem::take(&mut self.directory);
        let mut numbers = directory.iter().copied();
        // Sector by sector, since it is 8 MiB long for the largest disk and mostly zeros.
        for _ in 0..sectors {
            let mut sector = [0; SECTOR_LEN];
            for (entry, number) in sector.chunks_exact_mut(4).zip(&mut numbers) {
                entry.copy_from_slice(&number.to_le_bytes());
            }
            self.put(&sector)?;
        }

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

fn le_bytes(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
