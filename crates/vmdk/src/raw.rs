//! A disk as it is, byte for byte.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::error::VmdkError;
use crate::header::SECTOR_BYTES;
use crate::image::DiskImage;
use crate::image::require_capacity;
use crate::scan::len_u64;
use crate::storage::FileStorage;
use crate::storage::Storage;

/// A raw disk.  Holes of a file are known and never read.
///
/// A length that is no multiple of 512 is filled up with zeros.
#[derive(Debug)]
pub struct RawImage<S> {
    storage: S,
}

impl RawImage<FileStorage> {
    /// Opens a file or a block device.
    ///
    /// # Errors
    ///
    /// As [`FileStorage::open`].
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(FileStorage::open(path)?))
    }
}

impl<S: Storage> RawImage<S> {
    /// The disk whose bytes these are.
    pub fn new(storage: S) -> Self {
        Self { storage }
    }

    /// Length of the file, holes included, in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.storage.len_bytes()
    }
}

impl<S: Storage> DiskImage for RawImage<S> {
    fn capacity_bytes(&self) -> u64 {
        self.storage.len_bytes().next_multiple_of(SECTOR_BYTES)
    }

    fn read_at(&self, at_byte: u64, buffer: &mut [u8]) -> Result<(), VmdkError> {
        require_capacity(self.capacity_bytes(), at_byte, buffer.len())?;
        let left = self.storage.len_bytes().saturating_sub(at_byte);
        let len = usize::try_from(left.min(len_u64(buffer.len()))).unwrap_or(buffer.len());
        let (there, beyond) = buffer.split_at_mut(len);
        beyond.fill(0);
        self.storage
            .read_exact_at(at_byte, there)
            .map_err(|source| VmdkError::Io { at_byte, source })
    }

    fn next_data(&self, from_byte: u64) -> Result<Option<Range<u64>>, VmdkError> {
        let data = self.storage.next_data(from_byte);
        let data = data.map_err(|source| VmdkError::Io { at_byte: from_byte, source })?;
        // The last sector belongs to the data as a whole.
        Ok(data.map(|range| range.start..range.end.next_multiple_of(SECTOR_BYTES)))
    }

    fn unit_bytes(&self) -> u64 {
        UNIT_BYTES
    }
}

/// A grain of what is made of it.
const UNIT_BYTES: u64 = 64 << 10;
