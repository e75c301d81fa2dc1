//! Grain directories and tables that stand before the grains, as qemu and open-vmdk write them.
//!
//! Each directory is followed by all its tables, in order and without gaps; there may be a
//! redundant pair, which must say the same.

use crate::error::Fault;
use crate::header::ENTRIES_PER_SECTOR;
use crate::header::GD_AT_END;
use crate::header::Header;
use crate::header::SECTOR_LEN;
use crate::header::TABLE_SECTORS;
use crate::tables::Tables;
use crate::tables::entries;

/// Reads the metadata within the overhead.
#[derive(Debug)]
pub(crate) struct Front {
    directory_entries: u64,
    /// Where the next directory is expected, and the one behind it.
    places: [Option<u64>; 2],
    region: Region,
    repeated: bool,
}

/// Where to go on reading.
#[derive(Clone, Copy, Debug)]
enum Region {
    /// At entry `entry` of a directory, whose tables start at `tables_at` once that is known.
    Directory { entry: u64, tables_at: Option<u64> },
    /// Before the next directory, if there is one.
    Gap,
    /// In table `table`, which is at sector `at` and the ones after it.
    Tables { table: u64, at: u64 },
}

impl Front {
    /// `None` if the grain directory stands behind the grains.
    pub(crate) fn new(header: &Header) -> Option<Self> {
        if header.gd_offset_sectors == GD_AT_END {
            return None;
        }
        let redundant = header.redundant_sector();
        let mut places = [Some(header.gd_offset_sectors), redundant];
        if redundant.is_some_and(|at| at < header.gd_offset_sectors) {
            places.swap(0, 1);
        }
        Some(Self {
            directory_entries: header.directory_entries(),
            places,
            region: Region::Gap,
            repeated: false,
        })
    }

    /// Takes sector `number` of the file.
    pub(crate) fn sector(
        &mut self,
        number: u64,
        bytes: &[u8; SECTOR_LEN],
        tables: &mut Tables,
    ) -> Result<(), Fault> {
        if matches!(self.region, Region::Gap) && self.places[0] == Some(number) {
            self.places = [self.places[1], None];
            self.region = Region::Directory { entry: 0, tables_at: None };
        }
        match self.region {
            Region::Directory { entry, tables_at } => {
                self.region = self.directory(number, entry, tables_at, bytes)?;
            }
            Region::Tables { table, at } if number >= at => {
                if tables.table_sector(bytes) {
                    let number = u32::try_from(table).map_err(|_| Fault::TableUnexpected)?;
                    tables.promise(number, self.repeated)?;
                    self.region = self.next_table(table + 1);
                }
            }
            Region::Gap | Region::Tables { .. } => {}
        }
        Ok(())
    }

    /// Whether everything was found.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.region, Region::Gap) && self.places[0].is_none()
    }

    /// Checks that the entries of a directory point to one table after the other.
    fn directory(
        &self,
        number: u64,
        first_entry: u64,
        mut tables_at: Option<u64>,
        bytes: &[u8; SECTOR_LEN],
    ) -> Result<Region, Fault> {
        for (entry, found) in (first_entry..).zip(entries(bytes)) {
            if entry >= self.directory_entries {
                break;
            }
            let end = number + (self.directory_entries - first_entry).div_ceil(ENTRIES_PER_SECTOR);
            let start = *tables_at.get_or_insert(u64::from(found));
            let expected = u32::try_from(start.max(end) + (entry) * TABLE_SECTORS).unwrap_or(0);
            if found != expected {
                return Err(Fault::DirectoryEntry { entry, expected, found });
            }
        }
        let entry = first_entry + ENTRIES_PER_SECTOR;
        if entry < self.directory_entries {
            return Ok(Region::Directory { entry, tables_at });
        }
        Ok(Region::Tables { table: 0, at: tables_at.unwrap_or(number + 1) })
    }

    /// Where to go on behind a table.
    fn next_table(&mut self, table: u64) -> Region {
        if table < self.directory_entries {
            return Region::Tables { table, at: 0 };
        }
        self.repeated = true;
        Region::Gap
    }
}
