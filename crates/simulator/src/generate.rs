//! Content of disks made from a seed, any grain of it at any time.

use std::sync::LazyLock;

use crate::scenario::{Data, DataKind, DiskSpec, Spread};

/// The content that a [`DiskSpec`] describes.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    capacity_bytes: u64,
    data: Data,
    /// Grains of the whole disk; the last one may be short.
    grains: u64,
    /// Grains that were written.
    written: u64,
}

impl Generator {
    pub(crate) fn new(spec: &DiskSpec) -> Self {
        let capacity_bytes = spec.capacity.bytes();
        let grains = capacity_bytes.div_ceil(GRAIN_BYTES);
        let written = spec.data.amount.bytes().div_ceil(GRAIN_BYTES).min(grains);
        Self { capacity_bytes, data: spec.data.clone(), grains, written }
    }

    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// The first grain from `from` on that holds other bytes than zeros.
    pub(crate) fn next_grain(&self, from: u64) -> Option<u64> {
        let mut grain = from;
        loop {
            grain = self.next_written(grain)?;
            match self.kind_of(grain) {
                DataKind::Zero if self.data.kind == DataKind::Zero => return None,
                // The next one is at the end of the region at the earliest.
                DataKind::Zero => grain = (grain / REGION_GRAINS + 1) * REGION_GRAINS,
                DataKind::Mixed | DataKind::Random | DataKind::Repeat | DataKind::Text => {
                    return Some(grain);
                }
            }
        }
    }

    /// Whether all grains that hold data hold the same, but for a short last one.
    pub(crate) fn repeats(&self) -> bool {
        self.data.kind == DataKind::Repeat
    }

    /// Fills `buffer` with the grain's bytes; a short last grain is followed by zeros.
    pub(crate) fn fill(&self, grain: u64, buffer: &mut [u8]) {
        let inside = self.capacity_bytes.saturating_sub(grain.saturating_mul(GRAIN_BYTES));
        let inside = usize::try_from(inside).unwrap_or(usize::MAX).min(buffer.len());
        let (data, rest) = buffer.split_at_mut(inside);
        rest.fill(0);
        let key = mix(self.data.seed ^ mix(grain));
        match self.kind_of(grain) {
            _ if self.next_written(grain) != Some(grain) => data.fill(0),
            DataKind::Random => fill_random(key, data),
            DataKind::Repeat => fill_random(mix(self.data.seed), data),
            DataKind::Text => fill_text(key, data),
            DataKind::Mixed | DataKind::Zero => data.fill(0),
        }
    }

    fn next_written(&self, from: u64) -> Option<u64> {
        match self.data.spread {
            Spread::Front => (from < self.written).then_some(from),
            Spread::Even => {
                // The k-th written grain is at floor(k * grains / written).
                let (grains, written) = (u128::from(self.grains), u128::from(self.written));
                if written == 0 {
                    return None;
                }
                let k = (u128::from(from) * written).div_ceil(grains);
                (k < written).then(|| u64::try_from(k * grains / written).ok()).flatten()
            }
        }
    }

    fn kind_of(&self, grain: u64) -> DataKind {
        if self.data.kind != DataKind::Mixed {
            return self.data.kind;
        }
        // In turn rather than by chance, so that a few MiB already hold all three.
        match (grain / REGION_GRAINS).wrapping_add(self.data.seed) % 3 {
            0 => DataKind::Text,
            1 => DataKind::Random,
            _ => DataKind::Zero,
        }
    }
}

/// Incompressible bytes that depend on `key` only.
///
/// Each block of 64 KiB is one block of noise with every word changed by the same number: as
/// incompressible as the noise (deflate sees half a block at a time) and many times faster to make.
pub(crate) fn fill_random(key: u64, data: &mut [u8]) {
    let mut counter = key;
    for block in data.chunks_mut(NOISE.len()) {
        counter = counter.wrapping_add(STEP);
        let change = mix(counter);
        let mut words = block.chunks_exact_mut(WORD_BYTES);
        let mut noise = NOISE.chunks_exact(WORD_BYTES);
        for (word, noise) in words.by_ref().zip(noise.by_ref()) {
            let mut bytes = [0; WORD_BYTES];
            bytes.copy_from_slice(noise);
            word.copy_from_slice(&(u64::from_le_bytes(bytes) ^ change).to_le_bytes());
        }
        let tail = mix(change).to_le_bytes();
        for (byte, random) in words.into_remainder().iter_mut().zip(tail) {
            *byte = random;
        }
    }
}

/// Words and line ends that depend on `key` only.
fn fill_text(key: u64, data: &mut [u8]) {
    let mut counter = key;
    for line in data.chunks_mut(8 * WORD_BYTES) {
        counter = counter.wrapping_add(STEP);
        let mut choice = mix(counter);
        for word in line.chunks_mut(WORD_BYTES) {
            let chosen = usize::try_from(choice % 32).unwrap_or(0);
            choice >>= 5;
            word.copy_from_slice(&WORDS[chosen][..word.len()]);
        }
        if let Some(last) = line.last_mut() {
            *last = b'\n';
        }
    }
}

/// Finalizer of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input moves every other.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 KiB of SplitMix64.
static NOISE: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..8192).flat_map(|word| mix(word).to_le_bytes()).collect());

/// The golden ratio in 64 bits, SplitMix64's increment.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// 64 KiB, the grain of stream-optimized disks.
pub(crate) const GRAIN_BYTES: u64 = 64 * 1024;

/// Mixed content changes its kind every MiB.
const REGION_GRAINS: u64 = 16;

/// Bytes of a word, of noise and of text.
const WORD_BYTES: usize = 8;

const WORDS: [&[u8; WORD_BYTES]; 32] = [
    b"machine ",
    b"started ",
    b"stopped ",
    b"backup  ",
    b"network ",
    b"storage ",
    b"kernel  ",
    b"message ",
    b"warning ",
    b"error   ",
    b"service ",
    b"request ",
    b"answer  ",
    b"timeout ",
    b"update  ",
    b"version ",
    b"system  ",
    b"process ",
    b"memory  ",
    b"thread  ",
    b"socket  ",
    b"volume  ",
    b"device  ",
    b"driver  ",
    b"session ",
    b"account ",
    b"monday  ",
    b"january ",
    b"0000001 ",
    b"2026-11 ",
    b"success ",
    b"failure ",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(capacity: u64, kind: DataKind, amount: u64, spread: Spread) -> DiskSpec {
        DiskSpec::new(capacity).with_data(Data::new(kind, amount, 42).with_spread(spread))
    }

    fn grains(generator: &Generator) -> Vec<u64> {
        let mut from = 0;
        std::iter::from_fn(|| {
            let grain = generator.next_grain(from)?;
            from = grain + 1;
            Some(grain)
        })
        .collect()
    }

    #[test]
    fn data_lies_where_the_spread_says() {
        let front = Generator::new(&spec(1 << 20, DataKind::Random, 1 << 18, Spread::Front));
        assert_eq!(grains(&front), [0, 1, 2, 3]);
        let even = Generator::new(&spec(1 << 20, DataKind::Random, 1 << 18, Spread::Even));
        assert_eq!(grains(&even), [0, 4, 8, 12]);
        let full = Generator::new(&spec(1 << 20, DataKind::Text, 1 << 30, Spread::Even));
        assert_eq!(grains(&full).len(), 16);
        let odd = Generator::new(&spec(7 << 16, DataKind::Random, 3 << 16, Spread::Even));
        assert_eq!(grains(&odd), [0, 2, 4]);
    }

    #[test]
    fn zeros_are_no_data() {
        let zero = Generator::new(&spec(1 << 40, DataKind::Zero, 1 << 40, Spread::Front));
        assert_eq!(zero.next_grain(0), None);
        let empty = Generator::new(&spec(1 << 20, DataKind::Random, 0, Spread::Even));
        assert_eq!(empty.next_grain(0), None);
    }

    #[test]
    fn mixed_has_all_kinds() {
        let mixed = Generator::new(&spec(3 << 20, DataKind::Mixed, 3 << 20, Spread::Front));
        assert_eq!(grains(&mixed).len(), 32);
        let mut buffer = vec![1; 1 << 16];
        for grain in 0..48 {
            mixed.fill(grain, &mut buffer);
            let is_zero = buffer.iter().all(|byte| *byte == 0);
            assert_eq!(is_zero, mixed.next_grain(grain) != Some(grain), "grain {grain}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_in_any_order() {
        let generator = Generator::new(&spec(1 << 20, DataKind::Random, 1 << 20, Spread::Front));
        let (mut one, mut two) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        generator.fill(3, &mut one);
        generator.fill(4, &mut two);
        assert_ne!(one, two);
        generator.fill(3, &mut two);
        assert_eq!(one, two);
    }

    #[test]
    fn random_does_not_repeat() {
        let mut data = vec![0; 300_001];
        fill_random(7, &mut data);
        let mut words: Vec<&[u8]> = data.chunks_exact(8).collect();
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
    }

    #[test]
    fn what_repeats_is_the_same_in_every_grain() {
        let disk = spec((4 << 16) + 512, DataKind::Repeat, 1 << 20, Spread::Front);
        let generator = Generator::new(&disk);
        assert!(generator.repeats());
        let (mut one, mut two) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        generator.fill(0, &mut one);
        generator.fill(3, &mut two);
        assert!(one == two && one != vec![0; 1 << 16]);
        generator.fill(4, &mut two);
        assert_eq!(one[..512], two[..512]);
        assert!(two[512..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_short_last_grain_ends_at_the_capacity() {
        let disk = spec((1 << 16) + 512, DataKind::Random, 1 << 20, Spread::Front);
        let mut buffer = vec![1; 1 << 16];
        Generator::new(&disk).fill(1, &mut buffer);
        assert!(buffer[..512].iter().any(|byte| *byte != 0));
        assert!(buffer[512..].iter().all(|byte| *byte == 0));
    }
}
