//! Digests of uploads that were seen before, at the cost of a checksum.
//!
//! A host that stores nothing is there so that clients can be measured.  Hashing what they send
//! would cost as much as receiving it; but measurements send the same again and again.  So the
//! state of the digests is kept for each block of an upload, and while the blocks of another one
//! have the same checksums, theirs are the same.  From the first other block on they are computed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use libdeflater::Crc;

use super::digests::Digests;
use crate::disk::StreamDigest;
use crate::lock::lock;

/// The last uploads of a host.
#[derive(Debug, Default)]
pub(super) struct Recall {
    seen: Mutex<VecDeque<Arc<Vec<Block>>>>,
}

/// A part of an upload, of [`BLOCK_LEN`] bytes but for the last.
#[derive(Clone, Debug)]
struct Block {
    crc: u32,
    len: usize,
    /// The digests from the first byte to the end of the block.
    after: Digests,
}

impl Recall {
    /// An upload that begins with these blocks and goes on with such a one.
    fn like(&self, before: &[Block], crc: u32, len: usize) -> Option<Arc<Vec<Block>>> {
        let is_like = |blocks: &&Arc<Vec<Block>>| {
            let pairs = blocks.iter().zip(before);
            blocks.get(before.len()).is_some_and(|block| block.is(crc, len))
                && pairs.into_iter().all(|(block, before)| block.is(before.crc, before.len))
        };
        lock(&self.seen).iter().find(is_like).cloned()
    }

    fn keep(&self, blocks: Vec<Block>) {
        let mut seen = lock(&self.seen);
        if seen.len() == SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back(Arc::new(blocks));
    }
}

impl Block {
    fn is(&self, crc: u32, len: usize) -> bool {
        self.crc == crc && self.len == len
    }
}

/// An upload that is under way.
pub(super) struct Passing {
    recall: Arc<Recall>,
    /// What came of the block that is being received.
    pieces: Vec<Bytes>,
    len: usize,
    crc: Crc,
    /// The blocks before it.
    blocks: Vec<Block>,
    /// An upload that has had the same blocks so far.
    like: Option<Arc<Vec<Block>>>,
    /// From the first block on that is not known.
    digests: Option<Digests>,
}

impl fmt::Debug for Passing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passing").field("blocks", &self.blocks.len()).finish_non_exhaustive()
    }
}

impl Passing {
    pub(super) fn new(recall: Arc<Recall>) -> Self {
        Self {
            recall,
            pieces: Vec::new(),
            len: 0,
            crc: Crc::new(),
            blocks: Vec::new(),
            like: None,
            digests: None,
        }
    }

    pub(super) fn push(&mut self, mut data: Bytes) {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(BLOCK_LEN - self.len));
            self.crc.update(&piece);
            self.len += piece.len();
            self.pieces.push(piece);
            if self.len == BLOCK_LEN {
                self.end_block();
            }
        }
    }

    /// Digests of all that came.
    pub(super) fn finish(mut self) -> StreamDigest {
        if self.len > 0 {
            self.end_block();
        }
        let last = self.blocks.last().map(|block| block.after.clone());
        let Some(digests) = self.digests.take() else {
            return last.unwrap_or_else(|| Digests::new(true)).finish();
        };
        if self.blocks.len() <= BLOCKS_MAX {
            self.recall.keep(self.blocks);
        }
        digests.finish()
    }

    fn end_block(&mut self) {
        let (crc, len) = (std::mem::replace(&mut self.crc, Crc::new()).sum(), self.len);
        let pieces = std::mem::take(&mut self.pieces);
        self.len = 0;
        let at = self.blocks.len();
        let known = |like: &Option<Arc<Vec<Block>>>| {
            like.as_ref()?.get(at).filter(|block| block.is(crc, len)).cloned()
        };
        if self.digests.is_none() && known(&self.like).is_none() {
            self.like = self.recall.like(&self.blocks, crc, len);
        }
        if let Some(known) = known(&self.like) {
            self.blocks.push(known);
            return;
        }
        self.like = None;
        let last = self.blocks.last().map(|block| &block.after);
        let digests =
            self.digests.get_or_insert_with(|| last.cloned().unwrap_or_else(|| Digests::new(true)));
        pieces.iter().for_each(|piece| digests.update(piece));
        // One above the limit says that there were more.
        if at <= BLOCKS_MAX {
            self.blocks.push(Block { crc, len, after: digests.clone() });
        }
    }
}

/// 1 MiB: three hundred bytes of state for each are nothing.
const BLOCK_LEN: usize = 1 << 20;

/// Of 64 GiB, which take 20 MiB of memory.
const BLOCKS_MAX: usize = 64 << 10;

/// A machine with many disks, twice.
const SEEN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use sha1::{Digest as _, Sha1};
    use sha2::Sha256;

    use super::*;

    fn upload(recall: &Arc<Recall>, data: &[u8], chunk_len: usize) -> (StreamDigest, bool) {
        let mut passing = Passing::new(Arc::clone(recall));
        for chunk in data.chunks(chunk_len) {
            passing.push(Bytes::copy_from_slice(chunk));
        }
        let is_hashed = passing.digests.is_some();
        (passing.finish(), is_hashed)
    }

    #[test]
    fn what_was_seen_is_not_hashed_again_and_what_differs_is() {
        let recall = Arc::new(Recall::default());
        let data: Vec<u8> = (0..(5 << 20) / 2_u32).flat_map(|n| n.to_le_bytes()).collect();
        let mut last = data.clone();
        *last.last_mut().unwrap() ^= 1;
        let mut middle = data.clone();
        middle[3 << 20] ^= 0x80;
        let longer = [&data[..], b"x"].concat();
        let twice = [&data[..], &data[..]].concat();
        for (bytes, chunk_len, is_hashed) in [
            (&data, 16 << 10, true),
            (&data, 300_000, false),
            (&last, 16 << 10, true),
            (&middle, 4 << 20, true),
            (&longer, 16 << 10, true),
            (&data, 1 << 20, false),
            (&longer, 7 << 20, false),
            (&twice, 1 << 20, true),
            (&twice, 1 << 19, false),
            (&data[..2 << 20].to_vec(), 1 << 19, false),
            (&Vec::new(), 1, false),
        ] {
            let (digest, hashed) = upload(&recall, bytes, chunk_len);
            assert_eq!(digest.sha1, Sha1::digest(bytes).to_vec(), "{} bytes", bytes.len());
            assert_eq!(digest.sha256, Some(Sha256::digest(bytes).to_vec()));
            assert_eq!(digest.size_bytes, bytes.len() as u64);
            // The last block is hashed by `finish`, which is too late to be seen here.
            let ends_in_block = bytes.len() % BLOCK_LEN == 0;
            assert!(hashed == is_hashed || (is_hashed && !ends_in_block), "{} bytes", bytes.len());
        }
    }
}
