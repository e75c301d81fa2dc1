//! Collects a few bytes that may come in many pieces.

use crate::header::SECTOR_LEN;

/// At most one sector, filled from pushed chunks.
#[derive(Debug)]
pub(crate) struct Gather {
    bytes: [u8; SECTOR_LEN],
    len: usize,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; SECTOR_LEN], len: 0 }
    }

    /// Takes from `input` until `need` bytes are there, at most a sector.  Returns whether they are.
    pub(crate) fn fill(&mut self, input: &mut &[u8], need: usize) -> bool {
        let (taken, rest) = input.split_at(input.len().min(need.saturating_sub(self.len)));
        self.bytes[self.len..self.len + taken.len()].copy_from_slice(taken);
        self.len += taken.len();
        *input = rest;
        self.len == need
    }

    /// The bytes, of which the filled ones mean something.
    pub(crate) fn bytes(&self) -> &[u8; SECTOR_LEN] {
        &self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}
