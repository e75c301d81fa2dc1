//! Damaged files are refused, with the place; nothing panics, and nothing is allocated for claims.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

mod common;

use common::Place;
use common::SECTOR;
use ovftransfer_vmdk::Fault;
use ovftransfer_vmdk::GrainReader;
use ovftransfer_vmdk::StreamCheck;
use ovftransfer_vmdk::VmdkError;

/// Writes `bytes` at `at`.
fn patched(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn fault(file: &[u8]) -> (u64, Fault) {
    let error = common::check(file).unwrap_err();
    let VmdkError::Corrupt { at_byte, fault } = error else { unreachable!("{error}") };
    (at_byte, fault)
}

#[test]
fn every_cut_is_an_error() {
    let file = common::small();
    for len in 0..file.len() {
        let error = common::check(&file[..len]).unwrap_err();
        assert!(matches!(error, VmdkError::Truncated { .. }), "{len}: {error}");
        assert_eq!(error.at_byte(), len as u64);
    }
    common::check(&file).unwrap();
}

#[test]
fn every_flipped_bit_is_found() {
    let mut file = common::small();
    let places = common::places(&file);
    let (grains, _) = common::decode(&file).unwrap();
    for (at, place) in places.iter().enumerate() {
        for bit in 0..8 {
            // Of data and fill, a sample is enough.
            let sampled = (at * 8 + bit) % 211 == 0;
            if matches!(place, Place::Payload | Place::Slack) && !sampled {
                continue;
            }
            file[at] ^= 1 << bit;
            let checked = common::check(&file);
            match place {
                Place::Metadata => assert!(checked.is_err(), "byte {at} bit {bit}"),
                // The length may be wrong within its last sector: inflating finds it.
                Place::GrainMarker => {
                    let found = checked.is_err() || common::decode(&file).is_err();
                    assert!(found, "byte {at} bit {bit}");
                }
                // Some bits between the end of the deflate data and its checksum mean nothing.
                Place::Payload => {
                    assert!(checked.is_ok(), "byte {at} bit {bit}");
                    let harmless = common::decode(&file).is_ok_and(|(same, _)| same == grains);
                    assert!(harmless || common::decode(&file).is_err(), "byte {at} bit {bit}");
                }
                Place::Slack => assert!(checked.is_ok(), "byte {at} bit {bit}"),
            }
            file[at] ^= 1 << bit;
        }
    }
}

#[test]
fn only_zeros_follow_the_end() {
    let mut file = common::small();
    let len = file.len();
    file.extend_from_slice(&[0; 1000]);
    common::check(&file).unwrap();
    file.push(1);
    assert_eq!(fault(&file), (len as u64 + 1000, Fault::AfterEnd));
}

#[test]
fn zeros_before_the_first_grain_are_padding() {
    // The overhead says less than there is: the rest looks like end-of-stream markers.
    let file = common::small();
    let header = patched(&file, 64, &21_u64.to_le_bytes());
    let footer = file.len() - 2 * SECTOR;
    let file = patched(&header, footer + 64, &21_u64.to_le_bytes());
    common::check(&file).unwrap();
}

#[test]
fn faults_name_place_and_evidence() {
    let file = common::small();
    let first = 128 * SECTOR;
    let size = common::u32_at(&file, first + 8) as usize;
    let second = (first + 12 + size).next_multiple_of(SECTOR);

    let order = patched(&file, second, &128_u64.to_le_bytes());
    let expected = Fault::GrainOrder { lba_sectors: 128, expected_min: 256 };
    assert_eq!(fault(&order), (second as u64, expected));

    let beyond = patched(&file, second, &(1_u64 << 40).to_le_bytes());
    assert!(matches!(fault(&beyond), (_, Fault::GrainBeyondCapacity { .. })));

    let long = patched(&file, second + 8, &u32::MAX.to_le_bytes());
    assert!(matches!(fault(&long), (at, Fault::GrainLength { .. }) if at == second as u64));

    // The grain claims another place, and only its table knows better.
    let moved = patched(&file, second, &384_u64.to_le_bytes());
    let sector = u32::try_from(second / SECTOR).unwrap();
    let expected = Fault::TableEntry { table: 0, entry: 2, expected: 0, found: sector };
    assert_eq!(fault(&moved).1, expected);

    let mut twice = StreamCheck::new();
    assert!(twice.push(&order).is_err());
    assert!(matches!(twice.push(&[0]), Err(VmdkError::Corrupt { fault: Fault::Failed, .. })));
}

#[test]
fn a_grain_may_not_be_a_bomb() {
    // A valid zlib stream of twice a grain, in the place of the first grain.
    let file = common::small();
    let first = 128 * SECTOR;
    let mut zlib = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    for (len, problem) in [(131_072, "longer than a grain"), (65_535, "shorter than a grain")] {
        let mut packed = vec![0; 1000];
        let size = zlib.zlib_compress(&vec![7; len], &mut packed).unwrap();
        let old = common::u32_at(&file, first + 8) as usize;
        assert!(size < 400 && old > SECTOR, "the replacement fits");
        let mut bomb = file[..first].to_vec();
        bomb.extend_from_slice(&128_u64.to_le_bytes());
        bomb.extend_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        bomb.extend_from_slice(&packed[..size]);
        let error = common::decode(&bomb).unwrap_err();
        let expected = Fault::GrainData { lba_sectors: 128, problem };
        assert!(
            matches!(&error, VmdkError::Corrupt { fault, .. } if *fault == expected),
            "{error}"
        );
    }
}

#[test]
fn not_a_stream() {
    assert!(matches!(fault(&[0; 512]), (0, Fault::Magic(0))));
    assert!(matches!(common::check(b""), Err(VmdkError::Truncated { at_byte: 0, .. })));
    assert!(GrainReader::new(&b"KDMV"[..]).is_err());
    let file = common::small();
    let sparse = patched(&file, 8, &1_u32.to_le_bytes());
    assert_eq!(fault(&sparse), (0, Fault::Flags(1)));
    let other = patched(&file, 77, &2_u16.to_le_bytes());
    assert_eq!(fault(&other), (0, Fault::Compression(2)));
}
