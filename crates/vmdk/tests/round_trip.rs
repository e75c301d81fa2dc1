//! What is written is read back, however it is cut into chunks.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

mod common;

use common::GRAIN;
use common::Grains;
use common::noise;
use common::text;
use ovftransfer_vmdk::GrainDecoder;
use ovftransfer_vmdk::GrainReader;
use ovftransfer_vmdk::Level;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::ParallelWriter;
use ovftransfer_vmdk::StreamCheck;
use ovftransfer_vmdk::StreamWriter;
use ovftransfer_vmdk::VmdkError;
use proptest::collection;
use proptest::prelude::*;

/// Content of one grain.
fn content() -> impl Strategy<Value = (u8, u64)> {
    (0_u8..4, any::<u64>())
}

fn fill(kind: u8, seed: u64, len: usize) -> Vec<u8> {
    match kind {
        0 => vec![0; len],
        1 => text(seed % 1000, len),
        2 => noise(seed, len),
        _ => [vec![0; len / 2], noise(seed, len - len / 2)].concat(),
    }
}

/// A disk of some sectors, with some of its grains.
fn disk() -> impl Strategy<Value = (u64, Grains)> {
    (1_u64..200_000).prop_flat_map(|sectors| {
        let numbers = 0..sectors.div_ceil(128);
        collection::btree_map(numbers, content(), 0..12).prop_map(move |contents| {
            let grains = contents.into_iter().map(|(number, (kind, seed))| {
                let left_bytes = (sectors - number * 128) * 512;
                let len = usize::try_from(left_bytes).unwrap().min(GRAIN);
                (number, fill(kind, seed, len))
            });
            (sectors * 512, grains.collect())
        })
    })
}

fn options() -> impl Strategy<Value = Options> {
    (0_u8..=12, any::<bool>()).prop_map(|(level, store)| {
        Options::default().level(Level::new(level).unwrap()).store_incompressible(store)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn grains_come_back((capacity_bytes, grains) in disk(), options in options()) {
        let (file, written) = common::write(capacity_bytes, &grains, options);
        let (again, _) = common::write(capacity_bytes, &grains, options);
        prop_assert!(file == again, "not the same bytes twice");

        let mut expected = grains;
        expected.retain(|_, data| data.iter().any(|&byte| byte != 0));
        let populated: usize = expected.values().map(Vec::len).sum();
        prop_assert_eq!(written.populated_bytes(), populated as u64);
        prop_assert_eq!(written.file_bytes(), file.len() as u64);
        prop_assert_eq!(written.capacity_bytes(), capacity_bytes);

        prop_assert_eq!(common::check(&file).unwrap(), written);
        let (decoded, summary) = common::decode(&file).unwrap();
        prop_assert_eq!(summary, written);
        prop_assert!(decoded == expected, "other grains");
    }

    #[test]
    fn pieces_and_threads_do_not_matter(
        (capacity_bytes, grains) in disk(),
        options in options(),
        threads in 1_usize..5,
        pieces in collection::vec(1_usize..300, 1..20),
    ) {
        let (file, written) = common::write(capacity_bytes, &grains, options);
        let options = options.threads(threads.try_into().unwrap());
        let mut writer = ParallelWriter::new(Vec::new(), capacity_bytes, options).unwrap();
        let mut lengths = pieces.iter().cycle();
        for (number, data) in &grains {
            let (mut at, mut rest) = (number * common::GRAIN_SECTORS, data.as_slice());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(lengths.next().unwrap() * 512));
                // What does not come is zero.
                if piece.iter().any(|&byte| byte != 0) {
                    writer.write(at, piece).unwrap();
                }
                at += (piece.len() / 512) as u64;
                rest = behind;
            }
        }
        let (parallel, summary) = writer.finish().unwrap();
        prop_assert_eq!(summary, written);
        prop_assert!(parallel == file, "not the bytes of one thread");
    }

    #[test]
    fn chunks_do_not_matter(
        (capacity_bytes, grains) in disk(),
        chunks in collection::vec(prop_oneof![1_usize..20, 1_usize..2000, 1_usize..200_000], 1..40),
    ) {
        let (file, written) = common::write(capacity_bytes, &grains, Options::default());
        let (expected, _) = common::decode(&file).unwrap();
        let mut check = StreamCheck::new();
        let mut decoder = GrainDecoder::new();
        let mut decoded = Grains::new();
        let mut rest = file.as_slice();
        let mut lengths = chunks.iter().cycle();
        let mut last_lba_bytes = 0;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
            rest = behind;
            check.push(chunk).unwrap();
            decoder.push(chunk, &mut |lba_sectors, data| {
                decoded.insert(lba_sectors / 128, data.to_vec());
                Ok(())
            }).unwrap();
            let position = check.position();
            prop_assert_eq!(position, decoder.position());
            prop_assert!(last_lba_bytes <= position.lba_bytes);
            last_lba_bytes = position.lba_bytes;
        }
        prop_assert_eq!(last_lba_bytes, capacity_bytes);
        prop_assert_eq!(check.finish().unwrap(), written);
        prop_assert_eq!(decoder.finish().unwrap(), written);
        prop_assert!(decoded == expected, "other grains");
    }
}

#[test]
fn bytes_one_by_one() {
    let file = common::small();
    let mut check = StreamCheck::new();
    for byte in &file {
        check.push(std::slice::from_ref(byte)).unwrap();
    }
    assert_eq!(check.finish().unwrap(), common::check(&file).unwrap());
}

/// Gives one byte at a time, as a slow pipe does.
struct Drip<'a>(&'a [u8]);

impl std::io::Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(1);
        std::io::Read::read(&mut self.0, &mut buffer[..len])
    }
}

#[test]
fn reader_reads_from_a_slow_source() {
    let file = common::small();
    let (expected, summary) = common::decode(&file).unwrap();
    let mut reader = GrainReader::new(Drip(&file)).unwrap();
    assert_eq!(reader.capacity_bytes(), 40 << 20);
    let mut grains = Grains::new();
    while let Some(grain) = reader.next_grain().unwrap() {
        grains.insert(grain.lba_sectors() / 128, grain.data().to_vec());
    }
    assert!(reader.next_grain().unwrap().is_none());
    assert_eq!(reader.summary(), Some(summary));
    assert!(grains == expected);
    let descriptor = reader.descriptor().unwrap();
    assert_eq!(descriptor.capacity_bytes(), Some(40 << 20));
}

#[test]
fn writer_refuses_what_the_format_cannot_hold() {
    let new = |capacity_bytes| StreamWriter::new(Vec::new(), capacity_bytes, Options::default());
    for capacity_bytes in [0, 511, 513, (64 << 40) + 512, u64::MAX] {
        assert!(matches!(new(capacity_bytes), Err(VmdkError::Unwritable(_))), "{capacity_bytes}");
    }
    let grain = [1; GRAIN];
    let mut writer = new(1 << 20).unwrap();
    writer.write_grain(128, &grain).unwrap();
    let before = writer.file_bytes();
    for (lba_sectors, len) in
        [(128, GRAIN), (0, GRAIN), (257, GRAIN), (2048, GRAIN), (256, GRAIN - 1), (256, 0)]
    {
        let refused = writer.write_grain(lba_sectors, &grain[..len]);
        assert!(matches!(refused, Err(VmdkError::Unwritable(_))), "{lba_sectors} {len}");
    }
    assert_eq!(writer.file_bytes(), before);
    writer.write_grain(256, &grain).unwrap();
    let (file, written) = writer.finish().unwrap();
    assert_eq!(common::check(&file).unwrap(), written);
}

#[test]
fn a_repeated_grain_is_the_same_as_one_written_twice() {
    let capacity_bytes = (4 << 20) + 512;
    let new = || StreamWriter::new(Vec::new(), capacity_bytes, Options::default()).unwrap();
    let grain = noise(7, GRAIN);
    let (mut once, mut twice) = (new(), new());
    let refused = once.repeat_grain(0);
    assert!(matches!(refused, Err(VmdkError::Unwritable(_))), "nothing to repeat");
    once.write_grain(0, &grain).unwrap();
    twice.write_grain(0, &grain).unwrap();
    for lba_sectors in [128, 1024, 8064] {
        once.repeat_grain(lba_sectors).unwrap();
        twice.write_grain(lba_sectors, &grain).unwrap();
    }
    for lba_sectors in [8064, 8192, 8320] {
        let refused = once.repeat_grain(lba_sectors);
        assert!(matches!(refused, Err(VmdkError::Unwritable(_))), "{lba_sectors}");
    }
    let (once, written) = once.finish().unwrap();
    assert!(once == twice.finish().unwrap().0);
    assert_eq!(common::check(&once).unwrap(), written);
}

#[test]
fn parallel_writer_refuses_what_the_format_cannot_hold() {
    let new = |capacity_bytes| ParallelWriter::new(Vec::new(), capacity_bytes, Options::default());
    for capacity_bytes in [0, 513, (64 << 40) + 512] {
        assert!(matches!(new(capacity_bytes), Err(VmdkError::Unwritable(_))), "{capacity_bytes}");
    }
    let data = [1; GRAIN];
    let mut writer = new(1 << 20).unwrap();
    writer.write(100, &data).unwrap();
    for (lba_sectors, len) in [(227, 512), (0, 512), (300, 511), (2047, 1024), (u64::MAX, 512)] {
        let refused = writer.write(lba_sectors, &data[..len]);
        assert!(matches!(refused, Err(VmdkError::Unwritable(_))), "{lba_sectors} {len}");
    }
    writer.write(2047, &data[..512]).unwrap();
    let (file, written) = writer.finish().unwrap();
    assert_eq!((common::check(&file).unwrap(), written.grains()), (written, 3));
}

/// Takes so many bytes.
struct Small(usize);

impl std::io::Write for Small {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn error_of_the_sink_ends_the_writer() {
    let options = Options::default().threads(2.try_into().unwrap());
    let mut writer = ParallelWriter::new(Small(300_000), 1 << 30, options).unwrap();
    let data = noise(1, GRAIN);
    let mut lbas = (0..1 << 13).map(|number| number * 128);
    let error = lbas.find_map(|lba| writer.write(lba, &data).err()).unwrap();
    assert!(matches!(error, VmdkError::Io { at_byte: 65_536..300_000, .. }), "{error}");
    assert!(matches!(writer.write(1 << 20, &data), Err(VmdkError::Unwritable(_))));
    assert!(matches!(writer.finish(), Err(VmdkError::Unwritable(_))));
}

#[test]
fn largest_disk_needs_little_memory_and_file() {
    let mut writer = StreamWriter::new(Vec::new(), 64 << 40, Options::default()).unwrap();
    writer.write_grain((64 << 31) - 128, &[1; GRAIN]).unwrap();
    let (file, written) = writer.finish().unwrap();
    assert!(file.len() < 9 << 20, "{}", file.len());
    assert_eq!(common::check(&file).unwrap(), written);
}

#[test]
fn error_of_the_receiver_ends_the_stream() {
    let file = common::small();
    let mut decoder = GrainDecoder::new();
    let refused = decoder.push(&file, &mut |_, _| Err(std::io::Error::other("full")));
    assert!(matches!(refused, Err(VmdkError::Io { at_byte: 65_536, .. })));
    assert!(decoder.push(&[0], &mut |_, _| Ok(())).is_err());
    assert!(decoder.finish().is_err());
}

/// ISA-L makes the same bytes with any number of threads, and all readers take them.
#[cfg(feature = "isal")]
#[test]
fn turbo_is_read_by_everyone() {
    let options = Options::default().level(Level::TURBO);
    let grains: Grains = [
        (0, text(1, GRAIN)),
        (1, noise(2, GRAIN)),
        (2, vec![7; GRAIN]),
        (3, [noise(3, 600), vec![0; GRAIN - 600]].concat()),
        (511, [vec![0; GRAIN - 1], vec![1]].concat()),
        (512, text(4, GRAIN)),
    ]
    .into();
    for options in [options, options.store_incompressible(true)] {
        let (file, summary) = common::write(40 << 20, &grains, options);
        let (decoded, found) = common::decode(&file).unwrap();
        assert!(decoded == grains, "other grains");
        assert_eq!((found, summary.grains()), (summary, 6));
        for threads in [1, 3] {
            let options = options.threads(threads.try_into().unwrap());
            let mut writer = ParallelWriter::new(Vec::new(), 40 << 20, options).unwrap();
            for (number, data) in &grains {
                writer.write(number * 128, data).unwrap();
            }
            assert!(writer.finish().unwrap().0 == file, "not the bytes of one thread");
        }
    }
}
