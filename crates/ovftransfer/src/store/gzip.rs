//! Files that are compressed with gzip (`ovf:compression="gzip"`, DSP0243 1.1.0 §7.1).

use std::fmt;

use bytes::Bytes;
use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;

use crate::error::GzipFault;

/// Inflates a gzip file (RFC 1952) that comes in pieces, and gives it back in pieces.
///
/// A file may have several members, which are one after the other what it holds.  Checksum and
/// length of each are compared; behind the last there must be nothing.
pub(crate) struct Gunzip {
    state: State,
    limit: Limit,
    in_bytes: u64,
    out_bytes: u64,
}

/// How much a compressed file may hold: a bomb of some MiB would else be a TiB to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limit {
    /// Bytes that may always come out.
    pub(crate) fixed_bytes: u64,
    /// Bytes that may come out for each byte that went in, beside these.
    pub(crate) ratio: u64,
}

enum State {
    /// In the middle of a member.
    Member(Decompress),
    /// Behind a member; nothing of another one has come.
    Between,
}

impl fmt::Debug for Gunzip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gunzip").field("out_bytes", &self.out_bytes).finish_non_exhaustive()
    }
}

impl Gunzip {
    pub(crate) fn new(limit: Limit) -> Self {
        Self { state: State::Member(new_member()), limit, in_bytes: 0, out_bytes: 0 }
    }

    /// Takes bytes from the beginning of `input` and gives back what they hold, at most
    /// [`PIECE_BYTES`]; nothing when more input is needed.
    pub(crate) fn step(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, GzipFault> {
        let mut out = Vec::with_capacity(PIECE_BYTES);
        while !input.is_empty() && out.len() < out.capacity() {
            let member = match &mut self.state {
                State::Member(member) => member,
                // A member begins with these two bytes; the second one is looked at by its reader.
                State::Between if input.first() != Some(&MAGIC) => return Err(GzipFault::Garbage),
                State::Between => {
                    self.state = State::Member(new_member());
                    continue;
                }
            };
            let before = (member.total_in(), out.len());
            let status = member
                .decompress_vec(input, &mut out, FlushDecompress::None)
                .map_err(|error| GzipFault::Broken(error.to_string()))?;
            let used = usize::try_from(member.total_in() - before.0).unwrap_or(input.len());
            drop(input.split_to(used.min(input.len())));
            self.in_bytes += used as u64;
            match status {
                Status::StreamEnd => self.state = State::Between,
                // Never with room and input; it must not become a loop without end.
                Status::Ok | Status::BufError if used == 0 && out.len() == before.1 => {
                    return Err(GzipFault::Broken("it does not go on".to_owned()));
                }
                Status::Ok | Status::BufError => {}
            }
        }
        self.out_bytes += out.len() as u64;
        let Limit { fixed_bytes, ratio } = self.limit;
        let limit_bytes = fixed_bytes.saturating_add(self.in_bytes.saturating_mul(ratio));
        if self.out_bytes > limit_bytes {
            return Err(GzipFault::TooLarge { limit_bytes });
        }
        Ok((!out.is_empty()).then(|| out.into()))
    }

    /// Gives back what is left after the last input.
    pub(crate) fn finish(&mut self) -> Result<(), GzipFault> {
        match self.state {
            State::Between => Ok(()),
            State::Member(_) => Err(GzipFault::Truncated),
        }
    }
}

/// What the first bytes of a compressed file hold, as far as they tell.
pub(crate) fn inflated_head(stored: &[u8]) -> Option<Bytes> {
    let limit = Limit { fixed_bytes: u64::MAX, ratio: 0 };
    Gunzip::new(limit).step(&mut Bytes::copy_from_slice(stored)).ok().flatten()
}

fn new_member() -> Decompress {
    Decompress::new_gzip(WINDOW_BITS)
}

/// The first byte of a member (RFC 1952 section 2.3.1, ID1).
const MAGIC: u8 = 0x1f;

/// The largest window of deflate.
const WINDOW_BITS: u8 = 15;

/// Most bytes of one step: a chunk of input may hold a thousand times its size.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Inflates bytes that come in pieces of a length.
    fn inflate(stored: &[u8], piece: usize, fixed_bytes: u64) -> Result<Vec<u8>, GzipFault> {
        let mut gunzip = Gunzip::new(Limit { fixed_bytes, ratio: 0 });
        let mut bytes = Vec::new();
        for piece in stored.chunks(piece) {
            let mut input = Bytes::copy_from_slice(piece);
            loop {
                let out = gunzip.step(&mut input)?;
                assert!(out.as_ref().is_none_or(|out| out.len() <= PIECE_BYTES));
                bytes.extend(out.iter().flatten());
                if out.is_none() && input.is_empty() {
                    break;
                }
            }
        }
        gunzip.finish().map(|()| bytes)
    }

    #[test]
    fn members_are_one_file() {
        let stored = [gzip(b"one"), gzip(b""), gzip(b"two")].concat();
        for piece in [1, 2, 7, 1000] {
            assert_eq!(inflate(&stored, piece, 6).unwrap(), b"onetwo", "{piece}");
        }
        assert_eq!(inflate(&gzip(b""), 1000, 0).unwrap(), b"");
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let stored = gzip(&[7; 100_000]);
        for len in 0..stored.len() {
            assert_eq!(inflate(&stored[..len], 50, u64::MAX), Err(GzipFault::Truncated), "{len}");
        }
        let two = [stored.clone(), stored.clone()].concat();
        let cut = &two[..two.len() - 1];
        assert_eq!(inflate(cut, 50, u64::MAX), Err(GzipFault::Truncated));
        for garbage in [&b"\0"[..], b"x", &[0; 512]] {
            let padded = [&stored, garbage].concat();
            assert_eq!(inflate(&padded, 64, u64::MAX), Err(GzipFault::Garbage));
        }
        let fault = inflate(&[&stored[..], b"\x1f\x8c"].concat(), 64, u64::MAX).unwrap_err();
        assert!(matches!(fault, GzipFault::Broken(_)), "{fault}");
    }

    #[test]
    fn checksum_and_length_are_compared() {
        let stored = gzip(b"some text");
        for from_end in 1..=8 {
            let mut changed = stored.clone();
            let at = changed.len() - from_end;
            changed[at] ^= 1;
            let fault = inflate(&changed, 1000, u64::MAX).unwrap_err();
            assert!(matches!(fault, GzipFault::Broken(_)), "{from_end}: {fault}");
        }
    }

    /// A thousand to one, and stopped within a piece of the limit.
    #[test]
    fn a_bomb_is_stopped_at_its_limit() {
        let stored = gzip(&vec![0; 64 << 20]);
        assert!(stored.len() < 400_000);
        let limit = Limit { fixed_bytes: 1 << 20, ratio: 0 };
        let mut gunzip = Gunzip::new(limit);
        let mut input = Bytes::from(stored);
        let mut came = 0;
        let fault = loop {
            match gunzip.step(&mut input) {
                Ok(out) => came += out.map_or(0, |out| out.len()),
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault, GzipFault::TooLarge { limit_bytes: 1 << 20 });
        assert_eq!(came, 1 << 20);
        let mut gunzip = Gunzip::new(Limit { fixed_bytes: 0, ratio: 100 });
        let mut input = Bytes::from(gzip(&vec![0; 64 << 20]));
        assert!(matches!(gunzip.step(&mut input), Err(GzipFault::TooLarge { .. })));
    }

    #[test]
    fn the_head_is_told_by_a_few_bytes() {
        let stored = gzip(&[b"KDMV".as_slice(), &[9; 100_000]].concat());
        assert!(inflated_head(&stored[..100]).unwrap().starts_with(b"KDMV"));
        assert_eq!(inflated_head(b"KDMV"), None);
        assert_eq!(inflated_head(&stored[..8]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            let _checked = inflate(&bytes, piece, 1 << 20);
            let sound = gzip(&bytes);
            prop_assert_eq!(&inflate(&sound, piece, 1 << 20).unwrap(), &bytes);
        }

        #[test]
        fn no_mutation_panics(at in 0_usize..60, byte in any::<u8>(), piece in 1_usize..50) {
            let mut stored = gzip(b"a text that is compressed, compressed and compressed");
            if let Some(place) = stored.get_mut(at) {
                *place = byte;
            }
            let _checked = inflate(&stored, piece, 1 << 20);
        }
    }
}
