//! Memory does not grow with what a header claims, nor with the length of the file.

#![expect(unsafe_code, reason = "an allocator that counts has to be one")]
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::ops::ControlFlow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use ovftransfer_vmdk::AnyImage;
use ovftransfer_vmdk::ConvertError;
use ovftransfer_vmdk::DiskImage;
use ovftransfer_vmdk::GrainDecoder;
use ovftransfer_vmdk::Header;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::ParallelWriter;
use ovftransfer_vmdk::Progress;
use ovftransfer_vmdk::Qcow2Image;
use ovftransfer_vmdk::Storage;
use ovftransfer_vmdk::StreamCheck;
use ovftransfer_vmdk::StreamWriter;
use ovftransfer_vmdk::VmdkError;
use ovftransfer_vmdk::VmdkImage;
use ovftransfer_vmdk::check_image;
use ovftransfer_vmdk::to_stream;

/// The system's allocator, and how much it has given out.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes that `work` holds at once, besides what was there before.
fn peak(work: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    work();
    PEAK.load(Ordering::Relaxed) - before
}

/// Throws bytes away, or pushes them on.
struct Push(Option<(StreamCheck, GrainDecoder)>);

impl std::io::Write for Push {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some((check, decoder)) = &mut self.0 {
            check.push(bytes).unwrap();
            decoder.push(bytes, &mut |_, _| Ok(())).unwrap();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One test, because other threads would be counted as well.
#[test]
fn memory_is_bounded() {
    // Headers that claim the most, in either layout.
    let mut header = Header::stream_optimized(64 << 31).unwrap();
    for gd_offset_sectors in [u64::MAX, 21, u64::MAX - 1] {
        header.gd_offset_sectors = gd_offset_sectors;
        header.overhead_sectors = u64::from(u32::MAX);
        header.descriptor_sectors = 512;
        let claims = peak(|| {
            let mut check = StreamCheck::new();
            check.push(&header.encode()).unwrap();
            assert_eq!(check.position().capacity_bytes, Some(64 << 40));
        });
        assert!(claims < 64 << 10, "{claims}");
    }

    // 256 GiB of capacity, a grain in every second table.
    let mut grain = vec![0; 65_536];
    grain[5] = 1;
    let both = peak(|| {
        let push = Push(Some((StreamCheck::new(), GrainDecoder::new())));
        let mut writer = StreamWriter::new(push, 256 << 30, Options::default()).unwrap();
        for table in (0..1 << 13).step_by(2) {
            writer.write_grain(table * 65_536, &grain).unwrap();
        }
        let (push, written) = writer.finish().unwrap();
        let (check, decoder) = push.0.unwrap();
        assert_eq!(check.finish().unwrap(), written);
        assert_eq!(decoder.finish().unwrap(), written);
    });
    assert!(both < 2 << 20, "{both}");

    // Threads share their buffers, however many there are and however long the disk.
    let many = parallel(1000, 64);
    assert!(many.0 < 45 << 20, "{}", many.0);
    let (few, more) = (parallel(500, 2), parallel(1000, 2));
    assert!(more.0 < 6 << 20, "{}", more.0);
    let units = (converted(64 << 10, 2), converted(2 << 20, 2), converted(2 << 20, 64));
    assert!(units.0 < 6 << 20 && units.1 < 45 << 20 && units.2 < 45 << 20, "{units:?}");
    // Tables of files of 2 TiB and 600 GiB, whose places are looked at in windows.
    let (sparse, qcow2) = (checked(Large::sparse()), checked(Large::qcow2()));
    assert!(sparse.0 < 32 << 20 && qcow2.0 < 20 << 20, "{sparse:?} {qcow2:?}");
    assert_eq!((sparse.1, qcow2.1), (1024 << 16, 2 << 16));

    // Sinks and tables grow a few times; a buffer for each grain would be hundreds.
    assert!(more.1 < few.1 + 50, "{} {}", few.1, more.1);
}

/// A disk that is all data, made when it is read.
#[derive(Debug)]
struct Endless(u64);

impl DiskImage for Endless {
    fn capacity_bytes(&self) -> u64 {
        64 << 40
    }

    fn read_at(&self, _: u64, buffer: &mut [u8]) -> Result<(), VmdkError> {
        buffer.iter_mut().step_by(512).for_each(|byte| *byte = 1);
        Ok(())
    }

    fn next_data(&self, from_byte: u64) -> Result<Option<Range<u64>>, VmdkError> {
        Ok(Some(from_byte..self.capacity_bytes()))
    }

    fn unit_bytes(&self) -> u64 {
        self.0
    }
}

/// Most bytes held while 64 MiB of a disk in units of this length are converted.
fn converted(unit_bytes: u64, threads: usize) -> usize {
    peak(|| {
        let options = Options::default().threads(threads.try_into().unwrap());
        let mut enough = |progress: Progress| match progress.lba_bytes {
            0..0x400_0000 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        };
        let source = Endless(unit_bytes);
        let end = to_stream(&source, std::io::sink(), options, &mut enough);
        assert!(matches!(end, Err(ConvertError::Cancelled)));
    })
}

/// Most bytes held and calls made for memory while so many grains are written.
fn parallel(grains: u64, threads: usize) -> (usize, usize) {
    let mut grain = vec![0; 65_536];
    grain[5] = 1;
    let calls = CALLS.load(Ordering::Relaxed);
    let peak = peak(|| {
        let options = Options::default().threads(threads.try_into().unwrap());
        let mut writer = ParallelWriter::new(std::io::sink(), 64 << 40, options).unwrap();
        for number in 0..grains {
            writer.write(number * 128, &grain).unwrap();
        }
        let (_, written) = writer.finish().unwrap();
        assert_eq!(written.grains(), grains);
    });
    (peak, CALLS.load(Ordering::Relaxed) - calls)
}

/// A file of which only a few words are not zero.
#[derive(Debug)]
struct Large {
    len_bytes: u64,
    words: Vec<(u64, Vec<u8>)>,
}

impl Large {
    /// A sparse file of a disk of 2 TiB: in every 64th table one grain, spread over the file.
    fn sparse() -> Self {
        let mut header = Header::stream_optimized(1 << 32).unwrap();
        header.version = 1;
        header.flags = Header::FLAG_NEW_LINES;
        header.compress_algorithm = 0;
        header.gd_offset_sectors = 128;
        header.overhead_sectors = 1 << 20;
        let mut words = vec![(0, header.encode().to_vec())];
        let text =
            b"# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n";
        words.push((512, text.to_vec()));
        for number in 0..1024_u32 {
            let (table, grain) = (1024 + 4 * number, (1 << 20) + 4_000_000 * number);
            words.push((128 * 512 + u64::from(number) * 64 * 4, table.to_le_bytes().to_vec()));
            words.push((u64::from(table) * 512, grain.to_le_bytes().to_vec()));
        }
        Self { len_bytes: (1 << 32) * 512, words }
    }

    /// A qcow2 file of 600 GiB with a cluster at either end.
    fn qcow2() -> Self {
        let last = (600_u64 << 30) - (1 << 16);
        let mut words = vec![(0, b"QFI\xfb".to_vec())];
        for (at, number) in [(4, 3_u32), (20, 16), (36, 1), (56, 3), (96, 4), (100, 104)] {
            words.push((at, number.to_be_bytes().to_vec()));
        }
        let cluster = 1_u64 << 16;
        for (at, number) in [
            (24, 1 << 29),
            (40, cluster),
            (48, 2 * cluster),
            (cluster, 5 * cluster),
            (2 * cluster, 6 * cluster),
            // Counts of 2 GiB are in a block.
            (2 * cluster + last / (2 << 30) * 8, 7 * cluster),
            (5 * cluster, 8 * cluster),
            (5 * cluster + 800, last),
        ] {
            words.push((at, u64::to_be_bytes(number).to_vec()));
        }
        words.push((6 * cluster, [0, 1].repeat(9)));
        words.push((7 * cluster + last % (2 << 30) / cluster * 2, vec![0, 1]));
        Self { len_bytes: 600 << 30, words }
    }
}

impl Storage for Large {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_exact_at(&self, at_byte: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        buffer.fill(0);
        let end = at_byte + buffer.len() as u64;
        let near = |(at, word): &&(u64, Vec<u8>)| *at < end && *at + word.len() as u64 > at_byte;
        for (at, word) in self.words.iter().filter(near) {
            for (at, byte) in (*at..).zip(word).filter(|(at, _)| (at_byte..end).contains(at)) {
                buffer[usize::try_from(at - at_byte).unwrap()] = *byte;
            }
        }
        Ok(())
    }
}

/// Most bytes held while the tables of this file are checked, and how much of the disk is populated.
fn checked(file: Large) -> (usize, u64) {
    let file = Arc::new(file);
    let mut populated_bytes = 0;
    let peak = peak(|| {
        let image = if file.words[0].1.starts_with(b"QFI") {
            AnyImage::Qcow2(Qcow2Image::open(file).unwrap())
        } else {
            AnyImage::Vmdk(VmdkImage::open_file(file).unwrap())
        };
        let summary = check_image(&image, &mut |_| ControlFlow::Continue(())).unwrap();
        populated_bytes = summary.populated_bytes;
    });
    (peak, populated_bytes)
}
