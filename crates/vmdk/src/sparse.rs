//! A sparse extent that is read by position: grains as they are, or compressed.

use std::fmt;
use std::sync::Arc;

use crate::descriptor::Descriptor;
use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::GD_AT_END;
use crate::header::Header;
use crate::header::SECTOR_BYTES;
use crate::header::SECTOR_LEN;
use crate::header::TABLE_ENTRIES;
use crate::header::u32_at;
use crate::header::u64_at;
use crate::image::Unit;
use crate::image::Units;
use crate::inflate::inflate;
use crate::lookup::Lookup;
use crate::lookup::Scratch;
use crate::lookup::Shared;
use crate::marker::GRAIN_MARKER_BYTES;
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
        let sector = u64::from(u32::from_le_bytes(number));
        let zeroed = self.header.flags & Header::FLAG_ZEROED != 0;
        if sector == 0 || (sector == 1 && zeroed) {
            return Ok(Err(Unit::ZeroUntil(grain + 1)));
        }
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

/// Directory and table entries.
const ENTRY_BYTES: u64 = 4;

/// Some writers fill the file up to the next MiB.
const FOOTER_SEARCH_SECTORS: u64 = 2048;
