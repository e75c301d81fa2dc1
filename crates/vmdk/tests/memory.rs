//! Memory does not grow with what a header claims, nor with the length of the file.

#![expect(unsafe_code, reason = "an allocator that counts has to be one")]
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::ops::ControlFlow;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use ovftransfer_vmdk::ConvertError;
use ovftransfer_vmdk::DiskImage;
use ovftransfer_vmdk::GrainDecoder;
use ovftransfer_vmdk::Header;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::ParallelWriter;
use ovftransfer_vmdk::Progress;
use ovftransfer_vmdk::StreamCheck;
use ovftransfer_vmdk::StreamWriter;
use ovftransfer_vmdk::VmdkError;
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
