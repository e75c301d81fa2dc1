//! From the data of a grain to its compressed form.  Knows nothing of files, so that many can be
//! packed at once.

use std::fmt;
use std::num::NonZeroUsize;

use libdeflater::CompressionLvl;
use libdeflater::Compressor;

use crate::error::Fault;
use crate::header::SECTOR_LEN;
use crate::marker::GRAIN_MARKER_BYTES;
use crate::marker::Marker;

/// How hard to compress: 1 is fastest, 12 smallest, 0 stores.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Level(u8);

impl Level {
    /// Compression that costs the least time.
    pub const FASTEST: Self = Self(1);
    /// Compression that leaves the least bytes, at a twenty-fifth of the speed.
    pub const SMALLEST: Self = Self(12);
    /// No compression at all.
    pub const STORE: Self = Self(0);
    /// Twice the speed of [`FASTEST`](Self::FASTEST) and some 3 % more bytes, by Intel's ISA-L.
    ///
    /// The bytes may be others on a processor with other vector instructions, but are the same for any
    /// number of threads.
    #[cfg(feature = "isal")]
    pub const TURBO: Self = Self(TURBO);

    /// The level, if it is 0 to 12.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        if level <= 12 { Some(Self(level)) } else { None }
    }

    /// The number; 13 for `TURBO`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    fn compressor(self) -> Compressor {
        // The fall-back is for `TURBO` alone, which makes no use of this compressor.
        let level =
            CompressionLvl::new(i32::from(self.0)).unwrap_or_else(|_| CompressionLvl::fastest());
        Compressor::new(level)
    }
}

impl Default for Level {
    /// Level 3: programs and libraries come out 2 % larger than by zlib's usual level 6, five times
    /// as fast on each core.  Level 6 saves those 2 % and one more, and takes half as long again.
    fn default() -> Self {
        Self(3)
    }
}

/// How to write.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// How hard to compress.
    pub level: Level,
    /// Store a grain as it is if samples of it hardly shrink.  Ten times as fast for data that is
    /// encrypted or already compressed; a grain that shrinks only between the samples is stored, too.
    pub store_incompressible: bool,
    /// Threads that compress; `None` for as many as there are cores.  Does not change a byte of
    /// what is written.  A [`StreamWriter`](crate::StreamWriter) compresses in its caller's thread.
    pub threads: Option<NonZeroUsize>,
}

impl Options {
    /// With this level.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// With or without the short cut for data that does not compress.
    #[must_use]
    pub fn store_incompressible(mut self, store: bool) -> Self {
        self.store_incompressible = store;
        self
    }

    /// With this number of threads.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }
}

/// Compresses grains.
pub(crate) struct Packer {
    compressor: Compressor,
    #[cfg(feature = "isal")]
    is_turbo: bool,
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
    pub(crate) fn new(options: Options) -> Self {
        let level = options.level;
        let probing = options.store_incompressible && level != Level::STORE;
        let incompressible = probing.then(|| {
            let mut probe = Level::FASTEST.compressor();
            let packed_len = probe.deflate_compress_bound(PROBES * PROBE_LEN);
            Incompressible {
                probe,
                store: Level::STORE.compressor(),
                sample: Vec::with_capacity(PROBES * PROBE_LEN),
                packed: vec![0; packed_len],
            }
        });
        Self {
            compressor: level.compressor(),
            #[cfg(feature = "isal")]
            is_turbo: level == Level::TURBO,
            incompressible,
        }
    }

    /// Room that [`grain`](Self::grain) needs for a grain of `data_len` bytes: stored blocks of
    /// deflate add five bytes to each 64 KiB at most, an eighth is plenty.
    pub(crate) const fn packed_len_max(data_len: usize) -> usize {
        (data_len + data_len / 8 + GRAIN_MARKER_BYTES).next_multiple_of(SECTOR_LEN) + SECTOR_LEN
    }

    /// Puts the grain at `lba_sectors` into `packed`: its marker, `data` as a zlib stream, and
    /// zeros up to a sector.  Returns the length of all that.
    pub(crate) fn grain(
        &mut self,
        lba_sectors: u64,
        data: &[u8],
        packed: &mut [u8],
    ) -> Result<usize, Fault> {
        // Not reached: the buffer has more than the size that libdeflate asks for.
        let too_long =
            || Fault::GrainLength { size_bytes: u64::MAX, max_bytes: u64::from(u32::MAX) };
        let (marker, rest) =
            packed.split_at_mut_checked(GRAIN_MARKER_BYTES).ok_or_else(too_long)?;
        let len = self.pack(data, rest).ok_or_else(too_long)?;
        let size_bytes = u32::try_from(len).map_err(|_| too_long())?;
        let sector = Marker::Grain { lba_sectors, size_bytes }.encode();
        marker.copy_from_slice(&sector[..GRAIN_MARKER_BYTES]);
        let end = GRAIN_MARKER_BYTES + len;
        let padded = end.next_multiple_of(SECTOR_LEN);
        packed.get_mut(end..padded).ok_or_else(too_long)?.fill(0);
        Ok(padded)
    }

    /// Compresses into `packed`.  Returns the length; `None` if there is no room.
    fn pack(&mut self, data: &[u8], packed: &mut [u8]) -> Option<usize> {
        if let Some(store) = self.incompressible.as_mut().and_then(|probe| probe.store_for(data)) {
            return store.zlib_compress(data, packed).ok();
        }
        #[cfg(feature = "isal")]
        if self.is_turbo {
            return turbo(data, packed);
        }
        self.compressor.zlib_compress(data, packed).ok()
    }
}

/// Compresses with ISA-L.
#[cfg(feature = "isal")]
fn turbo(data: &[u8], packed: &mut [u8]) -> Option<usize> {
    isal::compress_into(data, packed, isal::CompressionLevel::One, isal::Codec::Zlib).ok()
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(data: &[u8]) -> bool {
    // Each byte equals the next and the first is zero: the comparison is the C library's, which
    // takes the widest vectors there are and stops at the first difference.
    data.first().is_none_or(|&first| first == 0)
        && data.get(1..).is_none_or(|rest| *rest == data[..rest.len()])
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

/// No level of libdeflate.
#[cfg(feature = "isal")]
const TURBO: u8 = 13;

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
        let mut packer = Packer::new(Options::default().store_incompressible(true));
        let mut packed = vec![0xff; Packer::packed_len_max(65_536)];
        assert!(packer.grain(0, &noise, &mut packed).unwrap() > 65_536);
        let half = [&noise[..32_768], &[b'a'; 32_768]].concat();
        assert!(packer.grain(0, &half, &mut packed).unwrap() < 40_000);
        let len = packer.grain(0, &[b'a'; 65_536], &mut packed).unwrap();
        assert_eq!(len, 512);
        let size = usize::from(packed[8]);
        assert!(is_zero(&packed[GRAIN_MARKER_BYTES + size..len]), "old bytes in the padding");
    }

    #[test]
    fn one_byte_is_enough_not_to_be_zero() {
        for len in [0, 1, 2, 7, 255, 256, 257, 65_536] {
            let mut data = vec![0; len];
            assert!(is_zero(&data), "{len}");
            for at in [0, 1, len / 2, len.wrapping_sub(2), len.wrapping_sub(1)] {
                if let Some(byte) = data.get_mut(at) {
                    *byte = 1;
                    assert!(!is_zero(&data), "{len} {at}");
                    data[at] = 0;
                }
            }
        }
    }
}
