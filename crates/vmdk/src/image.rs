//! What every image of a disk can do, and how those that consist of units do it.

use std::fmt;
use std::ops::ControlFlow;
use std::ops::Range;

use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::SECTOR_BYTES;
use crate::scan::len_u64;

/// A disk that is read by position, by several threads at once.
///
/// ```
/// use ovftransfer_vmdk::{DiskImage, RawImage};
///
/// let mut disk = vec![0; 1 << 20];
/// disk[70_000] = 1;
/// let image = RawImage::new(disk);
/// let mut sector = [0; 512];
/// image.read_at(70_000 / 512 * 512, &mut sector)?;
/// assert_eq!(sector[70_000 % 512], 1);
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
pub trait DiskImage: fmt::Debug + Send + Sync {
    /// Size of the disk, in bytes; a multiple of 512.
    fn capacity_bytes(&self) -> u64;

    /// Fills `buffer` with the disk's bytes from `at_byte` on.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Io`] if the source fails, [`VmdkError::Corrupt`] with what is wrong with the
    /// image, or [`Fault::DataBeyondCapacity`].
    fn read_at(&self, at_byte: u64, buffer: &mut [u8]) -> Result<(), VmdkError>;

    /// The next stretch of the disk at or after `from_byte` that may hold data; `None` if only
    /// zeros follow.  A stretch need not be as long as it could be.
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at).
    fn next_data(&self, from_byte: u64) -> Result<Option<Range<u64>>, VmdkError>;

    /// Length of what is best read at once, in bytes: a grain or a cluster.  A power of two.
    fn unit_bytes(&self) -> u64;
}

/// Is told of every table that was checked: up to where on the disk, in bytes.  Its answer says whether
/// to go on.
pub(crate) type OnTable<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// Whether a unit holds data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    Data,
    /// Zeros, as are all units before this one.
    ZeroUntil(u64),
}

/// An image that says for each unit of one size where its data is.
pub(crate) trait Units {
    fn capacity_bytes(&self) -> u64;
    /// Length of a unit; a power of two.
    fn unit_bytes(&self) -> u64;
    /// What unit `unit` is, which begins below the capacity.
    fn unit(&self, unit: u64) -> Result<Unit, VmdkError>;
    /// Fills `buffer` with bytes of unit `unit`, from `from` on; they lie on the disk.
    fn read_unit(&self, unit: u64, from: u64, buffer: &mut [u8]) -> Result<(), VmdkError>;
}

/// [`DiskImage::read_at`] of units.
pub(crate) fn read_units(
    units: &impl Units,
    mut at_byte: u64,
    mut buffer: &mut [u8],
) -> Result<(), VmdkError> {
    require_capacity(units.capacity_bytes(), at_byte, buffer.len())?;
    while !buffer.is_empty() {
        let (unit, from) = (at_byte / units.unit_bytes(), at_byte % units.unit_bytes());
        let left = usize::try_from(units.unit_bytes() - from).unwrap_or(usize::MAX);
        let (piece, rest) = buffer.split_at_mut(buffer.len().min(left));
        units.read_unit(unit, from, piece)?;
        at_byte += len_u64(piece.len());
        buffer = rest;
    }
    Ok(())
}

/// [`DiskImage::next_data`] of units.
pub(crate) fn next_units(
    units: &impl Units,
    from_byte: u64,
) -> Result<Option<Range<u64>>, VmdkError> {
    let (unit_bytes, capacity_bytes) = (units.unit_bytes(), units.capacity_bytes());
    let end = capacity_bytes.div_ceil(unit_bytes);
    if from_byte >= capacity_bytes {
        return Ok(None);
    }
    let mut unit = from_byte / unit_bytes;
    while unit < end {
        match units.unit(unit)? {
            Unit::ZeroUntil(next) => unit = next.max(unit + 1),
            Unit::Data => {
                let first = unit;
                let last = end.min(first + RUN_UNITS_MAX);
                unit += 1;
                while unit < last && units.unit(unit)? == Unit::Data {
                    unit += 1;
                }
                let start = (first * unit_bytes).max(from_byte);
                return Ok(Some(start..(unit * unit_bytes).min(capacity_bytes)));
            }
        }
    }
    Ok(None)
}

/// That `len` bytes from `at_byte` on lie on the disk.
pub(crate) fn require_capacity(
    capacity_bytes: u64,
    at_byte: u64,
    len: usize,
) -> Result<(), VmdkError> {
    let end = at_byte.checked_add(len_u64(len));
    if end.is_some_and(|end| end <= capacity_bytes) {
        return Ok(());
    }
    let (lba_sectors, capacity_sectors) = (at_byte / SECTOR_BYTES, capacity_bytes / SECTOR_BYTES);
    Err(Fault::DataBeyondCapacity { lba_sectors, capacity_sectors }.at(at_byte))
}

/// A stretch ends after so many units, for a caller that wants to be asked whether to go on.
const RUN_UNITS_MAX: u64 = 1024;
