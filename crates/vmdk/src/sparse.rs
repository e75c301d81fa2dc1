//! A sparse extent that is read by position: grains as they are, or compressed.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::descriptor::Descriptor;
use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::GD_AT_END;
use crate::header::Header;
use crate::header::SECTOR_BYTES;
use crate::header::SECTOR_LEN;
use crate::header::TABLE_ENTRIES;
use crate::header::TABLE_SECTORS;
use crate::header::u32_at;
use crate::header::u64_at;
use crate::image::OnTable;
use crate::image::Unit;
use crate::image::Units;
use crate::inflate::inflate;
use crate::lookup::Lookup;
use crate::lookup::Scratch;
use crate::lookup::Shared;
use crate::marker::GRAIN_MARKER_BYTES;
use crate::occupied::Occupied;
use crate::scan::len_u64;
use crate::storage::Storage;

/// A sparse extent (VMDK format 1.1): its grain directory leads to tables, and they to grains.
///
/// Tables are read when needed; nothing is allocated for what a header claims.
pub(crate) struct SparseExtent {
    lookup: Lookup,
    header: Header,
    directory_sector: u64,
}

impl fmt::Debug for SparseExtent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SparseExtent")
            .field("header", &self.header)
            .field("directory_sector", &self.directory_sector)
            .finish_non_exhaustive()
    }
}

impl SparseExtent {
    /// Reads the header, and the footer if that has the directory's place.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        shared: Arc<Shared>,
        file: u32,
    ) -> Result<Self, VmdkError> {
        let lookup = Lookup::new(storage, shared, file);
        let mut sector = [0; SECTOR_LEN];
        lookup.read(0, &mut sector, "the header")?;
        let header = Header::parse(&sector).map_err(|fault| fault.at(0))?;
        if header.is_compressed() || header.gd_offset_sectors == GD_AT_END {
            header.require_stream().map_err(|fault| fault.at(0))?;
        }
        let mut directory_sector = header.gd_offset_sectors;
        if directory_sector == GD_AT_END {
            directory_sector = footer(&lookup, &header)?.gd_offset_sectors;
        }
        let at_byte = directory_sector.saturating_mul(SECTOR_BYTES);
        lookup.require(at_byte, header.directory_entries() * ENTRY_BYTES, "the grain directory")?;
        Ok(Self { lookup, header, directory_sector })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The embedded text; `None` if this is a part of a disk whose text is in another file.
    pub(crate) fn descriptor(&self) -> Result<Option<Descriptor>, VmdkError> {
        let Header { descriptor_offset_sectors: at_sector, descriptor_sectors, .. } = self.header;
        if at_sector == 0 || descriptor_sectors == 0 {
            return Ok(None);
        }
        // At most 256 KiB, and within the overhead, by `Header::parse`.
        let len = usize::try_from(descriptor_sectors * SECTOR_BYTES).unwrap_or(0);
        let mut text = vec![0; len];
        self.lookup.read(at_sector * SECTOR_BYTES, &mut text, "the descriptor")?;
        Ok(Some(Descriptor::parse(&text)))
    }

    /// The file, whose length counts.
    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.lookup.storage
    }

    /// The file, if it is stream-optimized and so can be read from its start to its end.
    pub(crate) fn stream(&self) -> Option<&Arc<dyn Storage>> {
        self.header.require_stream().is_ok().then_some(&self.lookup.storage)
    }

    /// Checks all tables of an extent whose grains are as they are: that tables and grains lie in
    /// the file, behind the metadata and apart from each other, that there are none beyond the
    /// capacity, and that the redundant directory says the same.
    ///
    /// Memory: 16 bytes for each table, 32 MiB at most, and 16 MiB for grains.  Returns whether the
    /// end was reached.
    pub(crate) fn check(&self, on_table: &mut OnTable<'_>) -> Result<bool, VmdkError> {
        let tables = self.directory(self.directory_sector)?;
        self.check_tables(&tables)?;
        let redundant = self.header.redundant_sector();
        let copies = redundant.map(|sector| self.directory(sector)).transpose()?;
        if let Some(copies) = &copies {
            self.check_tables(copies)?;
        }
        let file_sectors = self.lookup.storage.len_bytes().div_ceil(SECTOR_BYTES);
        let mut occupied = Occupied::new(self.header.grain_sectors, file_sectors);
        let mut is_first = true;
        loop {
            for (number, &sector) in (0..).zip(&tables) {
                let bytes = if sector == 0 { Vec::new() } else { self.table(sector)? };
                if is_first && let Some(copies) = &copies {
                    self.compare(number, &bytes, copies)?;
                }
                self.check_grains(number, sector, &bytes, &mut occupied)?;
                let end = (number + 1) * u64::from(TABLE_ENTRIES) * self.header.grain_bytes();
                if on_table(end.min(self.header.capacity_bytes())).is_break() {
                    return Ok(false);
                }
            }
            // Most writers have all tables within the overhead, where no grain can be.
            for &sector in tables.iter().chain(copies.iter().flatten()) {
                let at = u64::from(sector);
                if sector != 0 && !occupied.is_free(at..at + TABLE_SECTORS) {
                    return Err(overlap("a grain table", at));
                }
            }
            is_first = false;
            if !occupied.next(file_sectors) {
                return Ok(true);
            }
        }
    }

    /// The first sector of each table, 0 for none.
    fn directory(&self, at_sector: u64) -> Result<Vec<u32>, VmdkError> {
        let (what, at_byte) = ("the grain directory", at_sector.saturating_mul(SECTOR_BYTES));
        let len_bytes = self.header.directory_entries() * ENTRY_BYTES;
        // At most 8 MiB, by `Header::parse`; and nothing is allocated for what is not there.
        self.lookup.require(at_byte, len_bytes, what)?;
        let mut bytes = vec![0; usize::try_from(len_bytes).unwrap_or(0)];
        self.lookup.read(at_byte, &mut bytes, what)?;
        Ok(bytes.chunks_exact(4).map(|entry| u32_at(entry, 0)).collect())
    }

    /// That the tables lie apart from each other and from what the header places.
    fn check_tables(&self, tables: &[u32]) -> Result<(), VmdkError> {
        let header = &self.header;
        let directory = |at: u64| at..at.saturating_add(header.directory_sectors());
        let text_at = header.descriptor_offset_sectors;
        let text_sectors = if text_at == 0 { 0 } else { header.descriptor_sectors };
        let placed = [
            0..1,
            text_at..text_at.saturating_add(text_sectors),
            directory(self.directory_sector),
            directory(self.header.redundant_sector().unwrap_or(self.directory_sector)),
        ];
        let mut sorted: Vec<u32> = tables.iter().copied().filter(|&sector| sector != 0).collect();
        sorted.sort_unstable();
        let mut end = 0;
        for sector in sorted.into_iter().map(u64::from) {
            let table = sector..sector + TABLE_SECTORS;
            if sector < end || placed.iter().any(|place| overlaps(place, &table)) {
                return Err(overlap("a grain table", sector));
            }
            end = table.end;
        }
        Ok(())
    }

    /// The bytes of a table.
    fn table(&self, sector: u32) -> Result<Vec<u8>, VmdkError> {
        let mut bytes = vec![0; SECTOR_LEN * usize::try_from(TABLE_SECTORS).unwrap_or(0)];
        self.lookup.read(u64::from(sector) * SECTOR_BYTES, &mut bytes, "a grain table")?;
        Ok(bytes)
    }

    /// That the copy of a table holds these bytes, and that there is none of one that is not there.
    fn compare(&self, table: u64, bytes: &[u8], copies: &[u32]) -> Result<(), VmdkError> {
        let sector = usize::try_from(table).ok().and_then(|at| copies.get(at).copied());
        let sector = sector.unwrap_or(0);
        let copy = if sector == 0 { Vec::new() } else { self.table(sector)? };
        let Some(at) = copy.iter().zip(bytes).position(|(copy, byte)| copy != byte) else {
            if copy.len() == bytes.len() {
                return Ok(());
            }
            let at_byte = self.header.redundant_sector().unwrap_or(0) * SECTOR_BYTES;
            return Err(Fault::TableRedundant { table }.at(at_byte + table * ENTRY_BYTES));
        };
        let at_byte = u64::from(sector) * SECTOR_BYTES + len_u64(at / 4 * 4);
        Err(Fault::TableRedundant { table }.at(at_byte))
    }

    /// Checks what a table at `sector` points to, as far as it lies in the window of `occupied`.
    fn check_grains(
        &self,
        number: u64,
        sector: u32,
        bytes: &[u8],
        occupied: &mut Occupied,
    ) -> Result<(), VmdkError> {
        let Header { capacity_sectors, grain_sectors, .. } = self.header;
        let entries = (number * u64::from(TABLE_ENTRIES)..).zip(bytes.chunks_exact(4));
        for (into, (grain, entry)) in (0..).zip(entries) {
            let Some(start) = self.grain_sector(u32_at(entry, 0)) else { continue };
            let at_byte = u64::from(sector) * SECTOR_BYTES + into * ENTRY_BYTES;
            let lba_sectors = grain * grain_sectors;
            if lba_sectors >= capacity_sectors {
                let fault = Fault::GrainBeyondCapacity { lba_sectors, capacity_sectors };
                return Err(fault.at(at_byte));
            }
            if start < self.header.overhead_sectors {
                let expected_min = self.header.overhead_sectors;
                return Err(Fault::GrainPlace { sector: start, expected_min }.at(at_byte));
            }
            // The last grain need not be there beyond the capacity.
            let sectors = grain_sectors.min(capacity_sectors - lba_sectors);
            self.lookup.require(start * SECTOR_BYTES, sectors * SECTOR_BYTES, "a grain")?;
            if !occupied.take(start) {
                return Err(overlap("a grain", start));
            }
        }
        Ok(())
    }

    /// Where an entry of a table points; `None` if its grain is zeros.
    fn grain_sector(&self, entry: u32) -> Option<u64> {
        let zeroed = self.header.flags & Header::FLAG_ZEROED != 0;
        (entry != 0 && !(entry == 1 && zeroed)).then_some(u64::from(entry))
    }

    /// First sector of the file that holds grain `grain`; `None` if it is zeros, and then up to
    /// which grain all are.
    fn place(&self, grain: u64) -> Result<Result<u64, Unit>, VmdkError> {
        let entries = u64::from(TABLE_ENTRIES);
        let (table, entry) = (grain / entries, grain % entries);
        let at_byte = self.directory_sector * SECTOR_BYTES + table * ENTRY_BYTES;
        let number = self.lookup.number(at_byte, "an entry of the grain directory")?;
        let table_sector = u64::from(u32::from_le_bytes(number));
        if table_sector == 0 {
            return Ok(Err(Unit::ZeroUntil((table + 1) * entries)));
        }
        let at_byte = table_sector * SECTOR_BYTES + entry * ENTRY_BYTES;
        let number = self.lookup.number(at_byte, "an entry of a grain table")?;
        let Some(sector) = self.grain_sector(u32::from_le_bytes(number)) else {
            return Ok(Err(Unit::ZeroUntil(grain + 1)));
        };
        if sector < self.header.overhead_sectors {
            let expected_min = self.header.overhead_sectors;
            return Err(Fault::GrainPlace { sector, expected_min }.at(at_byte));
        }
        Ok(Ok(sector))
    }

    /// Inflates the grain `grain` that stands at `sector`, and hands out its data.
    fn unpack(
        &self,
        grain: u64,
        sector: u64,
        from: usize,
        buffer: &mut [u8],
    ) -> Result<(), VmdkError> {
        let at_byte = sector * SECTOR_BYTES;
        let mut marker = [0; GRAIN_MARKER_BYTES];
        self.lookup.read(at_byte, &mut marker, "a grain")?;
        let lba_sectors = grain * self.header.grain_sectors;
        let found = u64_at(&marker, 0);
        if found != lba_sectors {
            return Err(
                Fault::GrainElsewhere { lba_sectors: found, expected: lba_sectors }.at(at_byte)
            );
        }
        let (size_bytes, max_bytes) =
            (u64::from(u32_at(&marker, 8)), self.header.packed_bytes_max());
        if size_bytes == 0 || size_bytes > max_bytes {
            return Err(Fault::GrainLength { size_bytes, max_bytes }.at(at_byte));
        }
        self.lookup.shared.with_scratch(|Scratch { zlib, packed, data }| {
            let grain_len = usize::try_from(self.header.grain_bytes()).unwrap_or(usize::MAX);
            packed.resize(usize::try_from(size_bytes).unwrap_or(usize::MAX), 0);
            self.lookup.read(at_byte + len_u64(GRAIN_MARKER_BYTES), packed, "a grain")?;
            let damaged = |problem| Fault::GrainData { lba_sectors, problem }.at(at_byte);
            if buffer.len() == grain_len {
                inflate(zlib, packed, &self.header, lba_sectors, buffer).map_err(damaged)?;
                return Ok(());
            }
            data.resize(grain_len, 0);
            let len = inflate(zlib, packed, &self.header, lba_sectors, data).map_err(damaged)?;
            let wanted = data[..len].get(from..).and_then(|rest| rest.get(..buffer.len()));
            buffer.copy_from_slice(wanted.ok_or_else(|| damaged("shorter than a grain"))?);
            Ok(())
        })
    }
}

impl Units for SparseExtent {
    fn capacity_bytes(&self) -> u64 {
        self.header.capacity_bytes()
    }

    fn unit_bytes(&self) -> u64 {
        self.header.grain_bytes()
    }

    fn unit(&self, unit: u64) -> Result<Unit, VmdkError> {
        Ok(self.place(unit)?.map_or_else(|zero| zero, |_| Unit::Data))
    }

    fn read_unit(&self, unit: u64, from: u64, buffer: &mut [u8]) -> Result<(), VmdkError> {
        let Ok(sector) = self.place(unit)? else {
            buffer.fill(0);
            return Ok(());
        };
        if self.header.is_compressed() {
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            return self.unpack(unit, sector, from, buffer);
        }
        self.lookup.read(sector * SECTOR_BYTES + from, buffer, "a grain")
    }
}

/// The second header of a stream, in its last sectors but one; zeros may follow.
fn footer(lookup: &Lookup, header: &Header) -> Result<Header, VmdkError> {
    let end = lookup.storage.len_bytes() / SECTOR_BYTES;
    let mut sector = [0; SECTOR_LEN];
    for back in 2..=FOOTER_SEARCH_SECTORS.min(end) {
        let at_byte = (end - back) * SECTOR_BYTES;
        lookup.read(at_byte, &mut sector, "the footer")?;
        if sector.iter().all(|&byte| byte == 0) {
            continue;
        }
        let footer = Header::parse(&sector).map_err(|fault| fault.at(at_byte))?;
        if let Some(field) = header.footer_difference(&footer) {
            return Err(Fault::Footer { field }.at(at_byte));
        }
        if footer.gd_offset_sectors == GD_AT_END {
            return Err(Fault::Footer { field: "place of the grain directory" }.at(at_byte));
        }
        return Ok(footer);
    }
    let at_byte = lookup.storage.len_bytes();
    Err(VmdkError::Truncated { at_byte, expected: "a footer" })
}

fn overlap(what: &'static str, sector: u64) -> VmdkError {
    Fault::Overlap { what }.at(sector * SECTOR_BYTES)
}

fn overlaps(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Directory and table entries.
const ENTRY_BYTES: u64 = 4;

/// Some writers fill the file up to the next MiB.
const FOOTER_SEARCH_SECTORS: u64 = 2048;
