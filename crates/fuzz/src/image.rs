//! Disks that are read by position.

use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;

use ovftransfer_vmdk::AnyImage;
use ovftransfer_vmdk::ImageSummary;
use ovftransfer_vmdk::Qcow2Image;
use ovftransfer_vmdk::VmdkError;
use ovftransfer_vmdk::VmdkImage;
use ovftransfer_vmdk::check_image;
use ovftransfer_vmdk::check_image_deep;

/// A qcow2 image: what its tables say is read, if it can be, and is what was checked.
pub fn qcow2(bytes: &[u8]) {
    let Ok(image) = Qcow2Image::open(Arc::new(bytes.to_vec())) else { return };
    examine(&AnyImage::Qcow2(image));
}

/// A VMDK of one sparse file, or a descriptor with two files beside it.
pub fn sparse(bytes: &[u8]) {
    let Ok(image) = VmdkImage::open(Arc::new(bytes.to_vec()), &BESIDE) else { return };
    examine(&AnyImage::Vmdk(image));
}

/// Reads some of a disk, and checks all of it.
fn examine(image: &AnyImage) {
    let capacity_bytes = image.as_image().capacity_bytes();
    assert!(capacity_bytes <= 64 << 40 && capacity_bytes % 512 == 0);
    let read = read_some(image, CHUNK_LEN);
    assert_eq!(text(&read_some(image, 7 * 512)), text(&read), "the pieces do not matter");

    let checked = check_image(image, &mut |progress| {
        assert!(progress.lba_bytes <= capacity_bytes);
        ControlFlow::Continue(())
    });
    let Ok(summary) = checked else { return };
    assert_eq!(summary.capacity_bytes, capacity_bytes);
    let by_tables = ImageSummary::of(image.as_image()).expect("sound tables can be read");
    assert_eq!(by_tables, summary);
    // Compressed clusters may share a place, and so be more than the file could hold.
    if summary.populated_bytes > READ_BYTES_MAX {
        return;
    }
    let mut end = 0;
    let deep = check_image_deep(image, 1.try_into().ok(), &mut |progress| {
        end = progress.lba_bytes;
        ControlFlow::Continue(())
    });
    if let Ok(deep) = deep {
        assert_eq!((deep, end), (summary, capacity_bytes));
        read.expect("a sound disk can be read");
    }
}

/// A digest of the first data of a disk, read in pieces of this length.
fn read_some(image: &AnyImage, piece: usize) -> Result<u64, VmdkError> {
    let image = image.as_image();
    let mut buffer = vec![0; piece];
    let (mut from_byte, mut total, mut sum) = (0, 0, 0_u64);
    let mut count = 0;
    while let Some(data) = image.next_data(from_byte)? {
        assert!(data.start >= from_byte && data.end > data.start);
        assert!(data.end <= image.capacity_bytes());
        let end = data.end.min(data.start + READ_BYTES_MAX - total);
        for at in (data.start..end).step_by(piece) {
            let len = usize::try_from(end - at).unwrap_or(piece).min(piece);
            image.read_at(at, &mut buffer[..len])?;
            for byte in &buffer[..len] {
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
            }
        }
        total += end - data.start;
        from_byte = data.end;
        count += 1;
        // Tables may lead to one place a million times.
        if total == READ_BYTES_MAX || count > STRETCHES_MAX {
            break;
        }
    }
    Ok(sum)
}

/// Errors are compared by what they say, without the place in the disk.
fn text(result: &Result<u64, VmdkError>) -> String {
    match result {
        Ok(sum) => sum.to_string(),
        Err(_) => "an error".to_owned(),
    }
}

/// A folder with `flat.vmdk`, for descriptors to name.
static BESIDE: LazyLock<PathBuf> = LazyLock::new(|| {
    // The same for every run, because nobody removes it: a target ends without unwinding.
    let folder = env::temp_dir().join("ovftransfer-fuzz");
    fs::create_dir_all(&folder).expect("a folder is made");
    let flat = folder.join("flat.vmdk");
    if !fs::metadata(&flat).is_ok_and(|found| found.len() == FLAT_LEN as u64) {
        fs::write(flat, vec![7; FLAT_LEN]).expect("a file is written");
    }
    folder
});

const FLAT_LEN: usize = 8192;

const CHUNK_LEN: usize = 64 << 10;

/// Enough to go through all ways of reading.
const READ_BYTES_MAX: u64 = 1 << 20;

const STRETCHES_MAX: usize = 300;
