//! From the data of a grain to its compressed form.  Knows nothing of files, so that many can be
//! packed at once.

use std::fmt;

use libdeflater::CompressionLvl;
use libdeflater::Compressor;

use crate::error::Fault;

/// How hard to compress: 1 is fastest, 12 smallest, 0 stores.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Level(u8);

impl Level {
    /// No compression at all.
    pub const STORE: Self = Self(0);

    /// The level, if it is 0 to 12.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        if level <= 12 { Some(Self(level)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    fn compressor(self) -> Compressor {
        // The fall-back is not reached: `new` lets only libdeflate's own levels through.
        let level = CompressionLvl::new(i32::from(self.0)).unwrap_or_default();
        Compressor::new(level)
    }
}

impl Default for Level {
    /// Level 2: not far from the fastest in speed, nor from zlib's usual level 6 in size.
    fn default() -> Self {
        Self(2)
    }
}

/// Compresses grains.
pub(crate) struct Packer {
    compressor: Compressor,
    /// For data that a probe shows not to compress: a probe, and deflate's stored blocks.
    incompressible: Option<Incompressible>,
}

struct Incompressible {
    probe: Compressor,
    store: Compressor,
    sample: Vec<u8>,
    packed: Vec<u8>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    pub(crate) fn new(level: Level, store_incompressible: bool) -> Self {
        let incompressible = (store_incompressible && level != Level::STORE).then(|| {
            let mut probe = Level(1).compressor();
            let packed_len = probe.deflate_compress_bound(PROBES * PROBE_LEN);
            Incompressible {
                probe,
                store: Level::STORE.compressor(),
                sample: Vec::with_capacity(PROBES * PROBE_LEN),
                packed: vec![0; packed_len],
            }
        });
        Self { compressor: level.compressor(), incompressible }
    }

    /// Appends `data` as a zlib stream to `packed`.  Returns the length of the stream.
    pub(crate) fn pack(&mut self, data: &[u8], packed: &mut Vec<u8>) -> Result<usize, Fault> {
        let store = self.incompressible.as_mut().and_then(|probe| probe.store_for(data));
        let compressor = store.unwrap_or(&mut self.compressor);
        let start = packed.len();
        packed.resize(start + compressor.zlib_compress_bound(data.len()), 0);
        let len = compressor.zlib_compress(data, &mut packed[start..]).map_err(|_| {
            // Not reached: the buffer has the size that libdeflate asks for.
            let size_bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
            Fault::GrainLength { size_bytes, max_bytes: size_bytes }
        })?;
        packed.truncate(start + len);
        Ok(len)
    }
}

impl Incompressible {
    /// The compressor that stores, if samples of `data` hardly shrink.
    fn store_for(&mut self, data: &[u8]) -> Option<&mut Compressor> {
        if data.len() < PROBES * PROBE_LEN {
            return None;
        }
        self.sample.clear();
        for stretch in data.chunks(data.len() / PROBES).take(PROBES) {
            self.sample.extend_from_slice(&stretch[..PROBE_LEN]);
        }
        let packed = self.probe.deflate_compress(&self.sample, &mut self.packed);
        let len = packed.unwrap_or(self.sample.len());
        (len * PROBE_RATIO.1 > self.sample.len() * PROBE_RATIO.0).then_some(&mut self.store)
    }
}

/// A sample is taken at the start of each quarter of a grain, in case they differ.
const PROBES: usize = 4;

/// 4 KiB in all: a sixteenth of the cost of compressing everything.
const PROBE_LEN: usize = 1024;

/// What shrinks to more than 31/32 is stored.
const PROBE_RATIO: (usize, usize) = (31, 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_end_at_twelve() {
        assert_eq!(Level::new(12).map(Level::number), Some(12));
        assert_eq!(Level::new(13), None);
    }

    #[test]
    fn only_data_that_does_not_shrink_is_stored() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(65_536)
        .collect();
        let mut packer = Packer::new(Level::default(), true);
        let mut packed = Vec::new();
        assert!(packer.pack(&noise, &mut packed).unwrap() > 65_536);
        let half = [&noise[..32_768], &[b'a'; 32_768]].concat();
        assert!(packer.pack(&half, &mut packed).unwrap() < 40_000);
        assert!(packer.pack(&[b'a'; 65_536], &mut packed).unwrap() < 1000);
    }
}
