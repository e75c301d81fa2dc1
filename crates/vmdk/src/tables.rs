//! Whether grain tables and grain directory say what the stream has shown.
//!
//! A grain table may come right behind its grains (VMware, VirtualBox and our own writer), behind
//! all grains, or before them (qemu, open-vmdk; see the module `front`).  At most one table is held
//! as such; of those that wait for their other half, a fingerprint is kept.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::error::Fault;
use crate::header::Header;
use crate::header::SECTOR_LEN;
use crate::header::TABLE_ENTRIES;
use crate::header::u32_at;

/// One grain table.
pub(crate) type Table = [u32; TABLE_ENTRIES as usize];

/// The account of grains seen and tables seen.
///
/// Memory: two tables, and 16 bytes for each table whose other half has not come or which the
/// directory has not confirmed: 4 MiB for a full disk of 8 TiB.
#[derive(Debug)]
pub(crate) struct Tables {
    grain_sectors: u64,
    directory_entries: u64,
    /// A table entry of 1 stands for a grain of zeros.
    zeroed: bool,
    /// Number of the table whose grains are passing.
    open: Option<u32>,
    /// That table as it should be.
    expected: Box<Table>,
    /// The table that is being read, and how much of it is there.
    incoming: Box<Table>,
    incoming_len: usize,
    /// Tables without grains yet, if tables come first; else grains without a table yet.
    waiting: VecDeque<Waiting>,
    /// Tables behind their grains, in the order of the file.
    seen: Vec<Seen>,
    /// Next entry of the directory, and next of `seen` that it should point to.
    directory_at: u64,
    seen_at: usize,
    /// Keyed afresh for each stream, so that nobody can prepare two tables with one fingerprint.
    hash: RandomState,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Waiting {
    table: u32,
    fingerprint: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// `None` for a table without grains: nothing tells its number.
    table: Option<u32>,
    sector: u32,
}

impl Tables {
    pub(crate) fn new(header: &Header) -> Self {
        Self {
            grain_sectors: header.grain_sectors,
            directory_entries: header.directory_entries(),
            zeroed: header.flags & Header::FLAG_ZEROED != 0,
            open: None,
            expected: Box::new([0; TABLE_ENTRIES as usize]),
            incoming: Box::new([0; TABLE_ENTRIES as usize]),
            incoming_len: 0,
            waiting: VecDeque::new(),
            seen: Vec::new(),
            directory_at: 0,
            seen_at: 0,
            hash: RandomState::new(),
        }
    }

    /// A grain stands at `sector` of the file.  Its place on the disk was checked.
    pub(crate) fn grain(
        &mut self,
        lba_sectors: u64,
        sector: u32,
        tables_first: bool,
    ) -> Result<(), Fault> {
        let grain = lba_sectors / self.grain_sectors;
        let table = u32::try_from(grain / u64::from(TABLE_ENTRIES)).map_err(|_| {
            // Not reached: the header bounds the number of tables.
            Fault::TableUnexpected
        })?;
        if self.open != Some(table) {
            self.close(tables_first)?;
            self.open = Some(table);
        }
        let entry = grain % u64::from(TABLE_ENTRIES);
        if let Some(slot) = usize::try_from(entry).ok().and_then(|at| self.expected.get_mut(at)) {
            *slot = sector;
        }
        Ok(())
    }

    /// Takes the next sector of a grain table.  Returns whether the table is complete.
    pub(crate) fn table_sector(&mut self, bytes: &[u8; SECTOR_LEN]) -> bool {
        for entry in entries(bytes) {
            let entry = if self.zeroed && entry == ZEROED { 0 } else { entry };
            self.incoming[self.incoming_len] = entry;
            self.incoming_len += 1;
        }
        let complete = self.incoming_len == self.incoming.len();
        if complete {
            self.incoming_len = 0;
        }
        complete
    }

    /// The table just read comes before any grain.  `repeated` if another copy came before it.
    pub(crate) fn promise(&mut self, table: u32, repeated: bool) -> Result<(), Fault> {
        if self.incoming.iter().all(|&entry| entry == 0) {
            // A copy of zeros is one only where the first copy had no grains.
            let is_next = |waiting: &Waiting| repeated && waiting.table == table;
            return match self.waiting.front().is_some_and(is_next) {
                true => Err(Fault::TableMismatch { table: table.into() }),
                false => Ok(()),
            };
        }
        let promised = Waiting { table, fingerprint: self.hash.hash_one(&self.incoming) };
        // The first copy makes a queue, the second goes round it once.
        if repeated && self.waiting.pop_front() != Some(promised) {
            return Err(Fault::TableMismatch { table: table.into() });
        }
        self.waiting.push_back(promised);
        Ok(())
    }

    /// The table just read stands at `sector`, behind its grains.
    pub(crate) fn table(&mut self, sector: u32) -> Result<(), Fault> {
        let table = if self.incoming.iter().all(|&entry| entry == 0) {
            None
        } else if let Some(waiting) = self.waiting.pop_front() {
            if waiting.fingerprint != self.hash.hash_one(&self.incoming) {
                return Err(Fault::TableMismatch { table: waiting.table.into() });
            }
            Some(waiting.table)
        } else if let Some(open) = self.open.take() {
            self.compare(open)?;
            self.expected.fill(0);
            Some(open)
        } else {
            return Err(Fault::TableUnexpected);
        };
        let count = u64::try_from(self.seen.len()).unwrap_or(u64::MAX);
        if count >= self.directory_entries {
            return Err(Fault::TableUnexpected);
        }
        self.seen.push(Seen { table, sector });
        Ok(())
    }

    /// No more grains follow.  With tables first, none may be left without its grains.
    pub(crate) fn grains_end(&mut self, tables_first: bool) -> Result<(), Fault> {
        if tables_first {
            self.close(true)?;
            if !self.waiting.is_empty() {
                return Err(Fault::TableUnexpected);
            }
            return Ok(());
        }
        match self.waiting.front().map(|waiting| waiting.table).or(self.open) {
            Some(table) => Err(Fault::TableMissing { table: table.into() }),
            None => Ok(()),
        }
    }

    /// Takes the next sector of the grain directory behind the grains.
    pub(crate) fn directory_sector(&mut self, bytes: &[u8; SECTOR_LEN]) -> Result<(), Fault> {
        for found in entries(bytes) {
            let entry = self.directory_at;
            self.directory_at += 1;
            let expected = self.directory_entry(entry, found);
            if found != expected || (found != 0 && entry >= self.directory_entries) {
                return Err(Fault::DirectoryEntry { entry, expected, found });
            }
        }
        Ok(())
    }

    /// The directory is complete: every table with grains must have been in it.
    pub(crate) fn directory_end(&self) -> Result<(), Fault> {
        match self.seen[self.seen_at..].iter().find_map(|seen| seen.table) {
            Some(table) => Err(Fault::TableMissing { table: table.into() }),
            None => Ok(()),
        }
    }

    /// Where directory entry `entry`, which says `found`, should point.
    fn directory_entry(&mut self, entry: u64, found: u32) -> u32 {
        while let Some(seen) = self.seen.get(self.seen_at) {
            match seen.table {
                Some(table) if u64::from(table) == entry => {
                    self.seen_at += 1;
                    return seen.sector;
                }
                Some(_) => return 0,
                None if found == 0 => return 0,
                None => {
                    self.seen_at += 1;
                    if seen.sector == found {
                        return found;
                    }
                }
            }
        }
        0
    }

    /// Grains of another table follow, or none.
    fn close(&mut self, tables_first: bool) -> Result<(), Fault> {
        let Some(table) = self.open.take() else { return Ok(()) };
        let closed = Waiting { table, fingerprint: self.hash.hash_one(&self.expected) };
        self.expected.fill(0);
        if !tables_first {
            self.waiting.push_back(closed);
        } else if self.waiting.pop_front() != Some(closed) {
            return Err(Fault::TableMismatch { table: table.into() });
        }
        Ok(())
    }

    /// Compares the table just read with the grains of table `open`.
    fn compare(&self, open: u32) -> Result<(), Fault> {
        let pairs = self.expected.iter().zip(self.incoming.iter());
        for (entry, (&expected, &found)) in (0..).zip(pairs) {
            if expected != found {
                return Err(Fault::TableEntry { table: open.into(), entry, expected, found });
            }
        }
        Ok(())
    }
}

/// The 128 numbers of a sector.
pub(crate) fn entries(bytes: &[u8; SECTOR_LEN]) -> impl Iterator<Item = u32> + '_ {
    bytes.chunks_exact(4).map(|entry| u32_at(entry, 0))
}

/// Table entry of a grain of zeros that takes no room (VMDK format 1.1, version 2).
const ZEROED: u32 = 1;
