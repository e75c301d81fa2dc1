//! The same disk in the layouts of other writers.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

mod common;

use common::GRAIN;
use common::Grains;
use common::SECTOR;
use common::text;
use ovftransfer_vmdk::Fault;
use ovftransfer_vmdk::Header;
use ovftransfer_vmdk::Marker;
use ovftransfer_vmdk::VmdkError;

/// A disk of 100 MiB: four tables, of which the second has no grains.
const CAPACITY_SECTORS: u64 = 200 << 10;
const TABLES: usize = 4;

fn grains() -> Grains {
    [0, 5, 511, 1024, 1025, 1599].map(|number| (number, text(number, GRAIN))).into()
}

/// A file under construction.
struct Builder {
    file: Vec<u8>,
    /// Entries of all tables, 0 where there is no grain.
    entries: Vec<u32>,
    directory: Vec<u32>,
}

impl Builder {
    /// With an overhead of zeros, to be filled later.
    fn new(overhead_sectors: u64) -> Self {
        let overhead = usize::try_from(overhead_sectors).unwrap() * SECTOR;
        Self { file: vec![0; overhead], entries: vec![0; TABLES * 512], directory: vec![0; TABLES] }
    }

    fn sector(&self) -> u32 {
        u32::try_from(self.file.len() / SECTOR).unwrap()
    }

    fn marker(&mut self, marker: Marker) {
        self.file.extend_from_slice(&marker.encode());
    }

    fn numbers(&mut self, numbers: &[u32]) {
        self.file.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self.file.resize(self.file.len().next_multiple_of(SECTOR), 0);
    }

    /// Adds a grain's marker and data.
    fn grain(&mut self, number: u64, data: &[u8]) {
        self.entries[usize::try_from(number).unwrap()] = self.sector();
        let mut zlib = libdeflater::Compressor::new(libdeflater::CompressionLvl::fastest());
        let mut packed = vec![0; zlib.zlib_compress_bound(data.len())];
        let len = zlib.zlib_compress(data, &mut packed).unwrap();
        let size_bytes = u32::try_from(len).unwrap();
        let marker = Marker::Grain { lba_sectors: number * 128, size_bytes }.encode();
        self.file.extend_from_slice(&marker[..12]);
        self.file.extend_from_slice(&packed[..len]);
        self.file.resize(self.file.len().next_multiple_of(SECTOR), 0);
    }

    fn grains(&mut self) {
        for (number, data) in grains() {
            self.grain(number, &data);
        }
    }

    /// Adds table `number` without a marker.
    fn table(&mut self, number: usize) {
        self.directory[number] = self.sector();
        let table = self.entries[number * 512..(number + 1) * 512].to_vec();
        self.numbers(&table);
    }

    /// Adds directory, footer and end-of-stream, and puts the header in front.
    fn end(mut self, mut header: Header) -> Vec<u8> {
        self.file[..SECTOR].copy_from_slice(&header.encode());
        self.marker(Marker::GrainDirectory { sectors: 1 });
        header.gd_offset_sectors = self.sector().into();
        let directory = self.directory.clone();
        self.numbers(&directory);
        self.marker(Marker::Footer { sectors: 1 });
        self.file.extend_from_slice(&header.encode());
        self.marker(Marker::EndOfStream);
        self.file
    }
}

fn header() -> Header {
    Header::stream_optimized(CAPACITY_SECTORS).unwrap()
}

fn assert_reads(file: &[u8]) {
    let (read, summary) = common::decode(file).unwrap();
    assert_eq!(common::check(file).unwrap(), summary);
    assert!(read == grains());
    assert_eq!((summary.grains(), summary.file_bytes()), (6, file.len() as u64));
}

fn fault(file: &[u8]) -> Fault {
    let error = common::check(file).unwrap_err();
    let VmdkError::Corrupt { fault, .. } = error else { unreachable!("{error}") };
    fault
}

/// All tables behind all grains, each behind a marker of its own.
fn tables_last(numbers: &[usize]) -> Vec<u8> {
    let mut builder = Builder::new(128);
    builder.grains();
    for &number in numbers {
        builder.marker(Marker::GrainTable { sectors: 4 });
        builder.table(number);
    }
    builder.end(header())
}

#[test]
fn tables_behind_all_grains() {
    assert_reads(&tables_last(&[0, 2, 3]));
}

#[test]
fn tables_without_grains_are_allowed() {
    assert_reads(&tables_last(&[0, 1, 2, 3]));
}

#[test]
fn tables_under_one_marker() {
    let mut builder = Builder::new(128);
    builder.grains();
    builder.marker(Marker::GrainTable { sectors: 16 });
    for number in 0..TABLES {
        builder.table(number);
    }
    assert_reads(&builder.end(header()));
}

#[test]
fn missing_and_swapped_tables_are_found() {
    assert_eq!(fault(&tables_last(&[0, 2])), Fault::TableMissing { table: 3 });
    assert_eq!(fault(&tables_last(&[0, 3, 2])), Fault::TableMismatch { table: 2 });
    assert_eq!(fault(&tables_last(&[0, 2, 3, 3])), Fault::TableUnexpected);
}

#[test]
fn zeroed_grains_take_no_room() {
    let mut builder = Builder::new(128);
    builder.grains();
    builder.entries[7] = 1;
    builder.entries[700] = 1;
    builder.marker(Marker::GrainTable { sectors: 16 });
    for number in 0..TABLES {
        builder.table(number);
    }
    let mut header = header();
    let plain = Builder { file: builder.file.clone(), ..Builder::new(128) };
    let plain = Builder { directory: builder.directory.clone(), ..plain };
    assert!(matches!(fault(&plain.end(header.clone())), Fault::TableMismatch { table: 0 }));
    header.flags |= Header::FLAG_ZEROED;
    assert_reads(&builder.end(header));
}

/// Directory at sector 21, tables behind it, then the grains, as open-vmdk writes.
fn tables_first(end_of_stream: bool) -> Vec<u8> {
    let mut header = header();
    header.gd_offset_sectors = 21;
    header.overhead_sectors = 22 + 16;
    let mut builder = Builder::new(header.overhead_sectors);
    builder.grains();
    if end_of_stream {
        builder.marker(Marker::EndOfStream);
    }
    let mut front = Builder { entries: builder.entries, ..Builder::new(21) };
    front.file[..SECTOR].copy_from_slice(&header.encode());
    front.numbers(&[22, 26, 30, 34]);
    (0..TABLES).for_each(|number| front.table(number));
    builder.file[..front.file.len()].copy_from_slice(&front.file);
    builder.file
}

#[test]
fn tables_before_the_grains() {
    assert_reads(&tables_first(true));
    assert_reads(&tables_first(false));
}

#[test]
fn tables_before_the_grains_tell_what_is_missing() {
    let file = tables_first(false);
    // Cut where the last grain starts: nothing but the tables tells that there was one.
    let last = (22 + 12) * SECTOR + (1599 - 3 * 512) * 4;
    let len = common::u32_at(&file, last) as usize * SECTOR;
    assert!(matches!(common::check(&file[..len]), Err(VmdkError::Truncated { .. })));

    let mut file = tables_first(true);
    file[last..last + 4].fill(0);
    assert_eq!(fault(&file), Fault::TableMismatch { table: 3 });
    let mut file = tables_first(true);
    file[21 * SECTOR] ^= 1;
    assert!(matches!(fault(&file), Fault::DirectoryEntry { .. }));
}

#[test]
fn a_directory_outside_the_overhead_is_refused() {
    let mut file = tables_first(true);
    file[64..72].copy_from_slice(&30_u64.to_le_bytes());
    assert_eq!(fault(&file), Fault::Overhead(30));
}
