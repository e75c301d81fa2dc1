//! Disks for the tests.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::collections::BTreeMap;

use ovftransfer_vmdk::GrainDecoder;
use ovftransfer_vmdk::Header;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::StreamCheck;
use ovftransfer_vmdk::StreamWriter;
use ovftransfer_vmdk::Summary;
use ovftransfer_vmdk::VmdkError;

pub(crate) const SECTOR: usize = 512;
pub(crate) const GRAIN: usize = 65_536;
pub(crate) const GRAIN_SECTORS: u64 = 128;

/// Bytes without a pattern, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Lines of text, the same for the same seed.
pub(crate) fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 40);
    let mut line = 0;
    while bytes.len() < len {
        bytes.extend_from_slice(format!("{seed} line {line} {}\n", line * seed % 977).as_bytes());
        line += 1;
    }
    bytes.truncate(len);
    bytes
}

/// Grains by number, each as long as it is on the disk.
pub(crate) type Grains = BTreeMap<u64, Vec<u8>>;

pub(crate) fn write(capacity_bytes: u64, grains: &Grains, options: Options) -> (Vec<u8>, Summary) {
    let mut writer = StreamWriter::new(Vec::new(), capacity_bytes, options).unwrap();
    for (number, data) in grains {
        writer.write_grain(number * GRAIN_SECTORS, data).unwrap();
    }
    writer.finish().unwrap()
}

/// Three grains under two tables, small.
pub(crate) fn small() -> Vec<u8> {
    let grains = Grains::from([
        (1, text(1, GRAIN)),
        (2, [noise(2, 600), vec![0; GRAIN - 600]].concat()),
        (513, text(3, GRAIN)),
    ]);
    write(40 << 20, &grains, Options::default()).0
}

pub(crate) fn check(file: &[u8]) -> Result<Summary, VmdkError> {
    let mut check = StreamCheck::new();
    check.push(file)?;
    check.finish()
}

/// Every grain by number, and the summary.
pub(crate) fn decode(file: &[u8]) -> Result<(Grains, Summary), VmdkError> {
    let mut grains = Grains::new();
    let mut decoder = GrainDecoder::new();
    decoder.push(file, &mut |lba_sectors, data| {
        grains.insert(lba_sectors / GRAIN_SECTORS, data.to_vec());
        Ok(())
    })?;
    Ok((grains, decoder.finish()?))
}

/// A monolithicSparse disk of 40 MiB with two grains; all but the last byte of it is needed.
pub(crate) fn sparse() -> Vec<u8> {
    let mut header = Header::stream_optimized(40 << 11).unwrap();
    header.version = 1;
    header.flags = Header::FLAG_NEW_LINES;
    header.compress_algorithm = 0;
    header.gd_offset_sectors = 21;
    header.overhead_sectors = 30;
    let mut file = header.encode().to_vec();
    file.extend_from_slice(
        b"# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n",
    );
    file.resize(21 * SECTOR, 0);
    let directory = [22_u32, 26].map(u32::to_le_bytes).concat();
    file.extend_from_slice(&directory);
    file.resize(30 * SECTOR, 0);
    file[22 * SECTOR + 4..][..4].copy_from_slice(&30_u32.to_le_bytes());
    file[26 * SECTOR + 8..][..4].copy_from_slice(&158_u32.to_le_bytes());
    file.extend_from_slice(&text(1, GRAIN));
    file.extend_from_slice(&text(2, GRAIN));
    file
}

/// A qcow2 disk of 1 MiB in clusters of 4 KiB, one of them compressed: header, L1, L2, data, table
/// and block of reference counts, compressed data.
pub(crate) fn qcow2() -> Vec<u8> {
    let mut file = vec![0; 7 * 4096];
    file[..4].copy_from_slice(b"QFI\xfb");
    for (at, number) in [(4, 2_u32), (20, 12), (36, 1), (56, 1)] {
        file[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    let mut packed = vec![0; 4096];
    let mut zlib = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    let len = zlib.deflate_compress(&text(3, 4096), &mut packed).unwrap();
    let sectors = len.div_ceil(SECTOR) as u64;
    let compressed = (1 << 62) | ((sectors - 1) << 58) | (6 * 4096);
    for (at, number) in [
        (24, 1_u64 << 20),
        (40, 4096),
        (48, 4 * 4096),
        (4096, 2 * 4096),
        (8192 + 24, 3 * 4096),
        (8192 + 40, compressed),
        (4 * 4096, 5 * 4096),
    ] {
        file[at..at + 8].copy_from_slice(&number.to_be_bytes());
    }
    file[3 * 4096..4 * 4096].copy_from_slice(&text(4, 4096));
    for cluster in 0..7 {
        file[5 * 4096 + cluster * 2 + 1] = 1;
    }
    file.truncate(6 * 4096);
    file.extend_from_slice(&packed[..len]);
    file
}

/// A monolithicSparse disk of 40 MiB with two grains and a redundant directory: directories at
/// sectors 21 and 30, their tables behind them, grains from sector 48 on.
pub(crate) fn redundant() -> Vec<u8> {
    let mut header = Header::stream_optimized(40 << 11).unwrap();
    header.version = 1;
    header.flags = Header::FLAG_NEW_LINES | Header::FLAG_REDUNDANT;
    header.compress_algorithm = 0;
    header.rgd_offset_sectors = 21;
    header.gd_offset_sectors = 30;
    header.overhead_sectors = 48;
    let mut file = header.encode().to_vec();
    file.extend_from_slice(
        b"# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\
        RW 81920 SPARSE \"disk.vmdk\"\n",
    );
    file.resize(48 * SECTOR, 0);
    for directory in [21_u32, 30] {
        let at = directory as usize * SECTOR;
        file[at..at + 4].copy_from_slice(&(directory + 1).to_le_bytes());
        file[at + 4..at + 8].copy_from_slice(&(directory + 5).to_le_bytes());
        file[at + SECTOR + 4..][..4].copy_from_slice(&48_u32.to_le_bytes());
        file[at + 5 * SECTOR + 8..][..4].copy_from_slice(&176_u32.to_le_bytes());
    }
    file.extend_from_slice(&text(1, GRAIN));
    file.extend_from_slice(&text(2, GRAIN));
    file
}

/// The little-endian number at `at`.
pub(crate) fn u64_at(file: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(file[at..at + 8].try_into().unwrap())
}

/// The little-endian number at `at`.
pub(crate) fn u32_at(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(file[at..at + 4].try_into().unwrap())
}

/// What stands where in a file of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// A grain's marker, of whose length only the sectors can be checked without inflating.
    GrainMarker,
    /// Anything else that every byte of means something.
    Metadata,
    /// Compressed data.
    Payload,
    /// Descriptor text and fill.
    Slack,
}

/// The place of every byte, found without the reader under test.
pub(crate) fn places(file: &[u8]) -> Vec<Place> {
    let mut places = vec![Place::Slack; file.len()];
    places[..79].fill(Place::Metadata);
    let mut at = 128 * SECTOR;
    while at < file.len() {
        let size = u32_at(file, at + 8) as usize;
        if size != 0 {
            places[at..at + 12].fill(Place::GrainMarker);
            places[at + 12..at + 12 + size].fill(Place::Payload);
            at = (at + 12 + size).next_multiple_of(SECTOR);
            continue;
        }
        places[at..at + 16].fill(Place::Metadata);
        let data = at + SECTOR;
        at = data + usize::try_from(u64_at(file, at)).unwrap() * SECTOR;
        match u32_at(file, data - SECTOR + 12) {
            3 => places[data..data + 79].fill(Place::Metadata),
            _ => places[data..at].fill(Place::Metadata),
        }
    }
    places
}
