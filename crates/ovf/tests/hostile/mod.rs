//! Packages that are made to do harm, or that tools read in different ways.
//!
//! Each is a [`Case`] with the words that its refusal has to say, or none if it is sane.  Tests of
//! other crates take this folder by its path.  To try something new is to add a line to one of the
//! tables; [`campaign`] makes as many more as are wanted from all of them.

#![allow(dead_code, unused_imports, reason = "each test takes a part")]

mod archives;
mod descriptors;
mod manifests;
mod tar;

pub(crate) use archives::archives;
pub(crate) use descriptors::descriptors;
pub(crate) use manifests::manifests;
pub(crate) use tar::DATA;
pub(crate) use tar::DESCRIPTOR;

/// A file to try.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What is odd about it; can be a file name.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// What the reason for its refusal contains; nothing if it is to be accepted.
    pub(crate) refused: Option<&'static str>,
}

impl Case {
    fn refused(name: impl Into<String>, bytes: Vec<u8>, because: &'static str) -> Self {
        Self { name: name.into(), bytes, refused: Some(because) }
    }

    fn sane(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), bytes, refused: None }
    }
}

/// `count` changed archives, the same ones for the same `seed`: what is wrong with each is unknown,
/// but what is accepted must have one meaning.
pub(crate) fn campaign(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let cases = archives();
    let bases: Vec<&Case> = cases.iter().filter(|case| case.bytes.len() <= 64 << 10).collect();
    let mut dice = Dice::new(seed);
    let mut made = Vec::new();
    while made.len() < count {
        let mut bytes = bases[dice.below(bases.len())].bytes.clone();
        for _ in 0..1 + dice.below(3) {
            if bytes.is_empty() {
                break;
            }
            let at = dice.below(bytes.len());
            match dice.below(8) {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << dice.below(8),
                2 => {
                    let block =
                        bytes[at / 512 * 512..].iter().copied().take(512).collect::<Vec<_>>();
                    let to = dice.below(bytes.len()) / 512 * 512;
                    bytes.splice(to..to, block);
                }
                3 => drop(bytes.drain(at / 512 * 512..bytes.len().min(at / 512 * 512 + 512))),
                // Fields of headers: size, checksum, type, magic, prefix.
                4..=6 => {
                    let field = [0, 124, 135, 156, 257, 263, 345][dice.below(7)];
                    let at = at / 512 * 512 + field + dice.below(8);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = b"\0 017Lgx5\x80\xFF/."[dice.below(13)];
                    }
                }
                _ => bytes[at] = b'0' + u8::try_from(dice.below(10)).unwrap_or(0),
            }
        }
        if dice.below(8) != 0 {
            tar::mend(&mut bytes);
        }
        made.push(bytes);
    }
    made
}

/// Numbers without a pattern, the same for the same seed (xorshift64*).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0) % end.max(1)
    }
}
