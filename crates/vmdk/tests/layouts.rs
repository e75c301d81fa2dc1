//! The same disk in the layouts of other writers.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

mod common;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::LazyLock;

use common::GRAIN;
use common::Grains;
use common::SECTOR;
use common::text;
use ovftransfer_vmdk::DeepCheck;
use ovftransfer_vmdk::Fault;
use ovftransfer_vmdk::Header;
use ovftransfer_vmdk::Marker;
use ovftransfer_vmdk::VmdkError;
use proptest::prelude::*;

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

/// Two directories and two sets of tables before the grains, and nothing behind them, as qemu writes.
fn tables_twice() -> Vec<u8> {
    let mut header = header();
    header.flags |= Header::FLAG_REDUNDANT;
    header.rgd_offset_sectors = 21;
    header.gd_offset_sectors = 38;
    header.overhead_sectors = 55;
    let mut builder = Builder::new(header.overhead_sectors);
    builder.grains();
    let mut front = Builder { entries: builder.entries, ..Builder::new(21) };
    front.file[..SECTOR].copy_from_slice(&header.encode());
    for first in [22, 39] {
        front.numbers(&[first, first + 4, first + 8, first + 12]);
        (0..TABLES).for_each(|number| front.table(number));
    }
    builder.file[..front.file.len()].copy_from_slice(&front.file);
    builder.file
}

/// The second set says the same, table by table: also where it says nothing.
#[test]
fn zeros_are_no_copy_of_a_table() {
    let file = tables_twice();
    assert_reads(&file);
    for (tables, first) in [(0..1, 0), (2..3, 2), (3..4, 3), (0..TABLES, 0)] {
        let mut file = file.clone();
        let sectors = 39 + 4 * tables.start..39 + 4 * tables.end;
        file[sectors.start * SECTOR..sectors.end * SECTOR].fill(0);
        assert_eq!(fault(&file), Fault::TableMismatch { table: first }, "{tables:?}");
        assert!(deep(&file).is_err());
    }
}

/// A file, and the bytes of it that may be damaged: all but the zeros before the first grain.
type Layout = (Vec<u8>, Vec<Range<usize>>);

/// Every layout with every version, and with the text that every writer puts in.
static LAYOUTS: LazyLock<Vec<Layout>> = LazyLock::new(|| {
    let mut layouts = Vec::new();
    for file in [tables_last(&[0, 2, 3]), tables_first(true), tables_first(false), tables_twice()] {
        for version in 1..=3_u32 {
            let mut file = file.clone();
            let overhead = usize::try_from(common::u64_at(&file, 64)).unwrap() * SECTOR;
            file[4..8].copy_from_slice(&version.to_le_bytes());
            let text = b"# Disk DescriptorFile\nRW 204800 SPARSE \"disk.vmdk\"\n";
            file[SECTOR..SECTOR + text.len()].copy_from_slice(text);
            let tables = 21 * SECTOR..overhead;
            let mut places = vec![0..79, overhead..file.len()];
            if common::u64_at(&file, 56) == u64::MAX {
                let footer = file.len() - 2 * SECTOR;
                file[footer + 4..footer + 8].copy_from_slice(&version.to_le_bytes());
            } else {
                places.push(tables);
            }
            layouts.push((file, places));
        }
    }
    layouts
});

#[test]
fn every_layout_is_sound() {
    assert_eq!(LAYOUTS.len(), 12);
    for (file, _) in LAYOUTS.iter() {
        assert_reads(file);
    }
}

fn deep(file: &[u8]) -> Result<u64, VmdkError> {
    let mut check = DeepCheck::new(NonZeroUsize::new(1));
    check.push(file)?;
    Ok(check.finish()?.capacity_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// No part of a file passes, and where it ends is told.
    #[test]
    fn cuts_are_found(layout in 0..12_usize, at in any::<prop::sample::Index>()) {
        let (file, _) = &LAYOUTS[layout];
        let len = at.index(file.len());
        for error in [common::check(&file[..len]).unwrap_err(), deep(&file[..len]).unwrap_err()] {
            prop_assert!(matches!(error, VmdkError::Truncated { .. }), "{error}");
            prop_assert_eq!(error.at_byte(), len as u64);
        }
    }

    /// Of a flipped bit the place is told, or the disk is the same as before: padding, and what the
    /// format says only once and no reader needs, such as the version.
    #[test]
    fn flips_change_no_disk_unseen(
        layout in 0..12_usize,
        region in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let (file, places) = &LAYOUTS[layout];
        let mut file = file.clone();
        let region = places[region.index(places.len())].clone();
        let at = region.start + at.index(region.len());
        file[at] ^= 1_u8 << bit;
        match (common::decode(&file), deep(&file)) {
            (Ok((read, summary)), Ok(capacity_bytes)) => {
                prop_assert!(read == grains(), "byte {at} bit {bit}");
                prop_assert_eq!(summary.capacity_bytes(), CAPACITY_SECTORS * 512);
                prop_assert_eq!(capacity_bytes, CAPACITY_SECTORS * 512);
            }
            (Err(error), Err(deep)) => {
                prop_assert_eq!(error.to_string(), deep.to_string());
                prop_assert!(error.at_byte() <= file.len() as u64, "{error}");
            }
            (decoded, deep) => {
                prop_assert!(false, "byte {at} bit {bit}: {:?} {deep:?}", decoded.map(|(_, all)| all));
            }
        }
        // Metadata has no bits that mean nothing, but for those of the header.
        let is_table = region.start == 21 * SECTOR;
        if is_table && common::check(&file).is_ok() {
            // Each directory has four entries, and takes a sector.
            let into = (at - 21 * SECTOR) % (17 * SECTOR);
            prop_assert!((4 * TABLES..SECTOR).contains(&into), "byte {at} bit {bit}");
        }
    }
}
