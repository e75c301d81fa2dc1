//! The deep check finds what the decoder finds, on several cores.

mod common;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;

use common::GRAIN;
use common::Grains;
use common::Place;
use common::SECTOR;
use common::noise;
use common::text;
use ovftransfer_vmdk::DeepCheck;
use ovftransfer_vmdk::Fault;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::Summary;
use ovftransfer_vmdk::VmdkError;
use proptest::prelude::*;

fn deep(file: &[u8], threads: usize, chunk: usize) -> Result<Summary, VmdkError> {
    let mut check = DeepCheck::new(NonZeroUsize::new(threads));
    for bytes in file.chunks(chunk) {
        check.push(bytes)?;
    }
    check.finish()
}

/// Enough grains for several batches, most of them small.
fn large() -> Vec<u8> {
    let mut grains: Grains = (0..60).map(|number| (number, vec![7; GRAIN])).collect();
    grains.extend((60..70).map(|number| (number, noise(number, GRAIN))));
    grains.insert(600, text(1, GRAIN));
    common::write(40 << 20, &grains, Options::default()).0
}

#[test]
fn grains_come_out_whole_in_any_order() {
    for file in [common::small(), large()] {
        let (expected, summary) = common::decode(&file).unwrap();
        let grains = Arc::new(Mutex::new(BTreeMap::new()));
        let taken = Arc::clone(&grains);
        let on_grain = Arc::new(move |lba_sectors: u64, data: &[u8]| {
            taken.lock().unwrap().insert(lba_sectors / 128, data.to_vec());
            Ok(())
        });
        let mut check = DeepCheck::with_grains(NonZeroUsize::new(3), on_grain);
        check.push(&file).unwrap();
        assert_eq!(check.position().capacity_bytes, Some(40 << 20));
        assert_eq!(check.finish().unwrap(), summary);
        assert!(*grains.lock().unwrap() == expected);
    }
}

#[test]
fn every_cut_is_found() {
    let file = common::small();
    for len in (0..file.len()).step_by(997).chain([file.len() - 1]) {
        let error = deep(&file[..len], 1, 10_000).unwrap_err();
        assert!(matches!(error, VmdkError::Truncated { .. }), "{len}: {error}");
        assert_eq!(error.at_byte(), len as u64);
    }
}

#[test]
fn the_descriptor_must_name_the_capacity() {
    let file = common::small();
    let old = b"RW 81920 SPARSE";
    let at = file.windows(old.len()).position(|window| window == old).unwrap();
    let mut file = file;
    file[at + 3..at + 8].copy_from_slice(b"81919");
    common::check(&file).unwrap();
    let error = deep(&file, 1, 10_000).unwrap_err();
    let fault = Fault::DescriptorCapacity { descriptor_sectors: 81_919, header_sectors: 81_920 };
    assert!(matches!(&error, VmdkError::Corrupt { at_byte: 512, fault: found } if *found == fault));
}

#[test]
fn error_of_the_receiver_ends_the_check() {
    let file = large();
    let full = Arc::new(|_: u64, _: &[u8]| Err(std::io::Error::other("full")));
    let mut check = DeepCheck::with_grains(NonZeroUsize::new(2), full);
    let error = check.push(&file).and_then(|()| check.finish().map(drop)).unwrap_err();
    assert!(matches!(error, VmdkError::Io { at_byte: 65_536, .. }), "{error}");

    let mut damaged = file;
    damaged[128 * SECTOR + 20] ^= 1;
    let mut check = DeepCheck::new(NonZeroUsize::new(2));
    // Told at some time, though not at once: zeros may follow the end for as long as they like.
    let zeros = std::iter::repeat_n(&[0; 1000][..], 10_000_000);
    let mut chunks = damaged.chunks(1000).chain(zeros);
    assert!(chunks.find_map(|chunk| check.push(chunk).err()).is_some());
    assert!(check.push(&[0; 10]).is_err());
    assert!(check.finish().is_err());
}

/// A file, and each byte of it that means something.
type Sample = (Vec<u8>, Vec<(usize, Place)>);

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let file = large();
    let places = common::places(&file).into_iter().enumerate();
    let places = places.filter(|(_, place)| *place != Place::Slack).collect();
    (file, places)
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any flip outside of padding and descriptor text is an error with its place, the same that
    /// the decoder of one core gives; but for the capacity in the text.
    #[test]
    fn flips_are_found(
        at in any::<prop::sample::Index>(),
        bit in 0..8,
        threads in 1_usize..4,
        chunk in 500_usize..100_000,
    ) {
        let (file, places) = &*SAMPLE;
        let mut file = file.clone();
        let (at, place) = places[at.index(places.len())];
        file[at] ^= 1_u8 << bit;
        let expected = common::decode(&file).map(|(_, summary)| summary);
        let found = deep(&file, threads, chunk);
        prop_assert!(found.is_err() || place == Place::Payload);
        match (expected, found) {
            (Ok(expected), Ok(found)) => prop_assert_eq!(expected, found),
            (Err(expected), Err(found)) => {
                prop_assert_eq!(expected.to_string(), found.to_string());
                prop_assert!(found.at_byte() <= at as u64 + 65_536 * 2);
            }
            (expected, found) => prop_assert!(false, "{:?} {:?}", expected, found),
        }
    }
}
