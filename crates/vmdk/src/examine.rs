//! Checks a disk of any format: its tables, and on request all of its data.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::check::StreamCheck;
use crate::convert::OnProgress;
use crate::convert::Progress;
use crate::convert::read_all;
use crate::deep::DeepCheck;
use crate::error::ConvertError;
use crate::error::VmdkError;
use crate::image::DiskImage;
use crate::open::AnyImage;
use crate::pack::Options;
use crate::scan::Summary;
use crate::storage::Storage;
use crate::storage::for_each_chunk;

/// Checks the tables of a disk, without its data.
///
/// - Of a stream-optimized VMDK what [`StreamCheck`] checks; its file is read as a whole.
/// - Of a sparse one that tables and grains lie in the file, behind the header, apart from each other
///   and on the disk, and that the redundant grain directory says the same.
/// - Of a qcow2 image that tables and clusters lie in the file, at the start of a cluster and apart
///   from each other, that reserved bits are not set, and that nothing in use is free by its reference
///   count.
/// - Of all VMDKs what opening them checks: the header, the capacity against the descriptor, and that
///   extents are there as a whole; and that no two of them share a part of a file.
///
/// A raw disk has nothing to be checked.
///
/// Memory: 48 MiB at most.
///
/// # Errors
///
/// [`ConvertError::Source`] with what is wrong, [`ConvertError::Cancelled`] on request.
///
/// ```no_run
/// use std::ops::ControlFlow;
///
/// use ovftransfer_vmdk::AnyImage;
/// use ovftransfer_vmdk::check_image;
///
/// let image = AnyImage::open("disk.vmdk".as_ref(), None)?;
/// let found = check_image(&image, &mut |_| ControlFlow::Continue(()))?;
/// println!("{} of {} bytes hold data", found.populated_bytes, found.capacity_bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_image(
    image: &AnyImage,
    on_progress: &mut OnProgress<'_>,
) -> Result<ImageSummary, ConvertError> {
    if let Some(stream) = stream(image) {
        let mut check = StreamCheck::new();
        let mut tell = Tell { progress: progress(image), on_progress };
        let whole = for_each_chunk(&**stream, &mut |chunk| {
            check.push(chunk)?;
            Ok(tell.chunk(chunk, check.position().lba_bytes))
        });
        if !whole.map_err(ConvertError::Source)? {
            return Err(ConvertError::Cancelled);
        }
        return check.finish().map(ImageSummary::from).map_err(ConvertError::Source);
    }
    check_tables(image, on_progress)?;
    ImageSummary::of(image.as_image()).map_err(ConvertError::Source)
}

/// The same, and reads all data on all cores, or on so many threads.
///
/// That proves compressed data: each grain of a stream-optimized VMDK has a checksum, a compressed
/// cluster of qcow2 must inflate to a whole one.  Other data is proven to be readable, for these
/// formats have no checksums of it.
///
/// Memory: 48 MiB at most.
///
/// # Errors
///
/// As [`check_image`].
pub fn check_image_deep(
    image: &AnyImage,
    threads: Option<NonZeroUsize>,
    on_progress: &mut OnProgress<'_>,
) -> Result<ImageSummary, ConvertError> {
    if let Some(stream) = stream(image) {
        let mut check = DeepCheck::new(threads);
        let mut tell = Tell { progress: progress(image), on_progress };
        let whole = for_each_chunk(&**stream, &mut |chunk| {
            check.push(chunk)?;
            Ok(tell.chunk(chunk, check.position().lba_bytes))
        });
        if !whole.map_err(ConvertError::Source)? {
            return Err(ConvertError::Cancelled);
        }
        return check.finish().map(ImageSummary::from).map_err(ConvertError::Source);
    }
    // What comes then takes most of the time.
    let start = progress(image);
    check_tables(image, &mut |_| on_progress(start))?;
    let options = threads.map_or_else(Options::default, |count| Options::default().threads(count));
    read_all(image.as_image(), options, on_progress)?;
    ImageSummary::of(image.as_image()).map_err(ConvertError::Source)
}

/// What a disk holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ImageSummary {
    /// Size of the disk, in bytes.
    pub capacity_bytes: u64,
    /// Bytes of the disk in grains, clusters or blocks that may hold data; the others are zeros.
    pub populated_bytes: u64,
}

impl ImageSummary {
    /// What a disk holds by its tables, or by the holes of a raw file; none of its data is read.
    ///
    /// # Errors
    ///
    /// As [`DiskImage::next_data`].
    pub fn of(image: &dyn DiskImage) -> Result<Self, VmdkError> {
        let (mut from_byte, mut populated_bytes) = (0, 0);
        while let Some(data) = image.next_data(from_byte)? {
            populated_bytes += data.end - data.start;
            from_byte = data.end;
        }
        Ok(Self { capacity_bytes: image.capacity_bytes(), populated_bytes })
    }
}

impl From<Summary> for ImageSummary {
    fn from(summary: Summary) -> Self {
        Self {
            capacity_bytes: summary.capacity_bytes(),
            populated_bytes: summary.populated_bytes(),
        }
    }
}

/// The file, if the disk is one stream-optimized VMDK.
fn stream(image: &AnyImage) -> Option<&Arc<dyn Storage>> {
    match image {
        AnyImage::Vmdk(image) => image.stream(),
        AnyImage::Qcow2(_) | AnyImage::Raw(_) => None,
    }
}

fn check_tables(image: &AnyImage, on_progress: &mut OnProgress<'_>) -> Result<(), ConvertError> {
    let start = progress(image);
    let on_table = &mut |lba_bytes| on_progress(Progress { lba_bytes, ..start });
    let whole = match image {
        AnyImage::Qcow2(image) => image.check(on_table),
        AnyImage::Raw(_) => Ok(true),
        AnyImage::Vmdk(image) => image.check(on_table),
    };
    if whole.map_err(ConvertError::Source)? { Ok(()) } else { Err(ConvertError::Cancelled) }
}

/// Before anything was done.
fn progress(image: &AnyImage) -> Progress {
    Progress { capacity_bytes: image.as_image().capacity_bytes(), ..Progress::default() }
}

/// Tells of the chunks of a stream.
struct Tell<'a, 'b> {
    progress: Progress,
    on_progress: &'a mut OnProgress<'b>,
}

impl Tell<'_, '_> {
    fn chunk(&mut self, chunk: &[u8], lba_bytes: u64) -> ControlFlow<()> {
        self.progress.read_bytes += chunk.len() as u64;
        self.progress.lba_bytes = lba_bytes;
        (self.on_progress)(self.progress)
    }
}
