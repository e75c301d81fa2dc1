//! A few grains that are packed together, with all the buffers that takes.

use std::ops::Range;

use crate::assemble::Assembly;
use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::SECTOR_BYTES;
use crate::image::DiskImage;
use crate::pack::Packer;
use crate::pack::is_zero;
use crate::scan::len_u64;

/// Grains side by side, and behind that their packed forms.
#[derive(Debug)]
pub(crate) struct Batch {
    grain_len: usize,
    /// Place on the disk of each grain in `data`.
    lbas_sectors: Vec<u64>,
    data: Vec<u8>,
    /// Place on the disk and end in `packed` of each grain that is not zero.
    ends: Vec<(u64, usize)>,
    packed: Vec<u8>,
    result: Result<(), Fault>,
}

impl Batch {
    /// With room for so many grains.
    pub(crate) fn new(grain_len: usize, grains: usize) -> Self {
        Self {
            grain_len,
            lbas_sectors: Vec::with_capacity(grains),
            data: vec![0; grain_len * grains],
            ends: Vec::with_capacity(grains),
            packed: vec![0; Packer::packed_len_max(grain_len) * grains],
            result: Ok(()),
        }
    }

    /// Memory that one with so many grains takes.
    pub(crate) fn bytes(grain_len: usize, grains: usize) -> usize {
        (grain_len + Packer::packed_len_max(grain_len)) * grains
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lbas_sectors.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lbas_sectors.len() * self.grain_len == self.data.len()
    }

    pub(crate) fn clear(&mut self) {
        self.lbas_sectors.clear();
        self.ends.clear();
        self.result = Ok(());
    }

    /// Adds the grain at `lba_sectors`, all zeros.  There must be room.
    pub(crate) fn grain(&mut self, lba_sectors: u64) -> &mut [u8] {
        let start = self.lbas_sectors.len() * self.grain_len;
        self.lbas_sectors.push(lba_sectors);
        let data = &mut self.data[start..start + self.grain_len];
        data.fill(0);
        data
    }

    /// The grain added last.
    pub(crate) fn last(&mut self) -> Option<(u64, &mut [u8])> {
        let start = (self.lbas_sectors.len().checked_sub(1)?) * self.grain_len;
        let lba_sectors = *self.lbas_sectors.last()?;
        Some((lba_sectors, &mut self.data[start..start + self.grain_len]))
    }

    /// Takes the grains of `place`, which starts on a grain and has room.
    pub(crate) fn load(
        &mut self,
        source: &dyn DiskImage,
        place: Range<u64>,
    ) -> Result<(), VmdkError> {
        let len = usize::try_from(place.end - place.start).unwrap_or(usize::MAX);
        let whole = len.next_multiple_of(self.grain_len);
        source.read_at(place.start, &mut self.data[..len])?;
        // Readers expect whole grains, also at the end of the disk.
        self.data[len..whole].fill(0);
        let first = place.start / SECTOR_BYTES;
        let grain_sectors = len_u64(self.grain_len) / SECTOR_BYTES;
        let grains = len_u64(whole / self.grain_len);
        self.lbas_sectors.extend((0..grains).map(|grain| first + grain * grain_sectors));
        Ok(())
    }

    /// Packs the grains.
    pub(crate) fn pack(&mut self, packer: &mut Packer) {
        let mut end = 0;
        for (&lba_sectors, data) in self.lbas_sectors.iter().zip(self.data.chunks(self.grain_len)) {
            if is_zero(data) {
                continue;
            }
            match packer.grain(lba_sectors, data, &mut self.packed[end..]) {
                Ok(len) => end += len,
                Err(fault) => {
                    self.result = Err(fault);
                    return;
                }
            }
            self.ends.push((lba_sectors, end));
        }
    }

    /// Appends the packed grains to `file`.
    pub(crate) fn append<W: std::io::Write>(
        &self,
        file: &mut Assembly<W>,
    ) -> Result<(), VmdkError> {
        self.result.clone().map_err(VmdkError::Unwritable)?;
        let mut start = 0;
        for &(lba_sectors, end) in &self.ends {
            file.grain(lba_sectors, &self.packed[start..end])?;
            start = end;
        }
        Ok(())
    }
}

/// Enough work for a thread to be worth waking, and little enough memory to have many of them.
pub(crate) const BATCH_GRAINS: usize = 4;
