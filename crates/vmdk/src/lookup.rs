//! Numbers out of the tables of an image, and what many readers of one image share.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use libdeflater::Decompressor;

use crate::error::Fault;
use crate::error::VmdkError;
use crate::scan::len_u64;
use crate::storage::Storage;

/// What the files of one image share: a cache of their tables, and buffers for compressed data.
///
/// Memory: 1 MiB for tables, whatever their length and the number of files; and one set of buffers
/// for each thread that reads compressed data.
pub(crate) struct Shared {
    blocks: Vec<Mutex<Option<Block>>>,
    scratch: Mutex<Vec<Scratch>>,
}

/// A part of a table.
struct Block {
    file: u32,
    number: u64,
    bytes: Box<[u8; BLOCK_LEN]>,
    len: usize,
}

/// Buffers for one unit of compressed data.
pub(crate) struct Scratch {
    pub(crate) zlib: Decompressor,
    pub(crate) packed: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        let blocks = (0..BLOCKS).map(|_| Mutex::new(None)).collect();
        Arc::new(Self { blocks, scratch: Mutex::new(Vec::new()) })
    }

    /// Lends buffers that no other thread has now.
    pub(crate) fn with_scratch<T>(&self, act: impl FnOnce(&mut Scratch) -> T) -> T {
        let lent = self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = lent.unwrap_or_else(|| Scratch {
            zlib: Decompressor::new(),
            packed: Vec::new(),
            data: Vec::new(),
        });
        let result = act(&mut scratch);
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        result
    }
}

/// One file of an image, whose tables are read a few KiB at a time and kept for a while.
pub(crate) struct Lookup {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) shared: Arc<Shared>,
    /// Tells the files of the image apart in the cache.
    file: u32,
}

impl Lookup {
    pub(crate) fn new(storage: Arc<dyn Storage>, shared: Arc<Shared>, file: u32) -> Self {
        Self { storage, shared, file }
    }

    /// Fills `buffer`.  `what` names the structure in errors.
    pub(crate) fn read(
        &self,
        at_byte: u64,
        buffer: &mut [u8],
        what: &'static str,
    ) -> Result<(), VmdkError> {
        self.require(at_byte, len_u64(buffer.len()), what)?;
        self.storage
            .read_exact_at(at_byte, buffer)
            .map_err(|source| VmdkError::Io { at_byte, source })
    }

    /// That so many bytes are there.
    pub(crate) fn require(
        &self,
        at_byte: u64,
        len_bytes: u64,
        what: &'static str,
    ) -> Result<(), VmdkError> {
        let file_bytes = self.storage.len_bytes();
        match at_byte.checked_add(len_bytes) {
            Some(end) if end <= file_bytes => Ok(()),
            _ => Err(Fault::OutsideFile { what, len_bytes, file_bytes }.at(at_byte)),
        }
    }

    /// The `N` bytes at `at_byte`, which is a multiple of `N`, a power of two; from the cache.
    pub(crate) fn number<const N: usize>(
        &self,
        at_byte: u64,
        what: &'static str,
    ) -> Result<[u8; N], VmdkError> {
        let outside = || {
            let file_bytes = self.storage.len_bytes();
            Fault::OutsideFile { what, len_bytes: len_u64(N), file_bytes }.at(at_byte)
        };
        let block = len_u64(BLOCK_LEN);
        let (number, into) = (at_byte / block, usize::try_from(at_byte % block).unwrap_or(0));
        let slot = (number ^ u64::from(self.file).wrapping_mul(SPREAD)) % len_u64(BLOCKS);
        let slot = &self.shared.blocks[usize::try_from(slot).unwrap_or(0)];
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let present =
            matches!(&*slot, Some(block) if block.number == number && block.file == self.file);
        if !present {
            let loaded = self.load(number, slot.take().map(|block| block.bytes));
            *slot = Some(loaded.map_err(|source| VmdkError::Io { at_byte, source })?);
        }
        let block = slot.as_ref().ok_or_else(outside)?;
        let bytes = block.bytes[..block.len].get(into..into + N).ok_or_else(outside)?;
        let mut found = [0; N];
        found.copy_from_slice(bytes);
        Ok(found)
    }

    fn load(&self, number: u64, bytes: Option<Box<[u8; BLOCK_LEN]>>) -> io::Result<Block> {
        let mut bytes = bytes.unwrap_or_else(|| Box::new([0; BLOCK_LEN]));
        let at_byte = number * len_u64(BLOCK_LEN);
        let left = self.storage.len_bytes().saturating_sub(at_byte);
        let len = usize::try_from(left).unwrap_or(BLOCK_LEN).min(BLOCK_LEN);
        if len > 0 {
            self.storage.read_exact_at(at_byte, &mut bytes[..len])?;
        }
        Ok(Block { file: self.file, number, bytes, len })
    }
}

/// Two grain tables.
const BLOCK_LEN: usize = 4096;

/// The tables of 16 GiB of a disk in grains of 64 KiB.
const BLOCKS: usize = 256;

/// Puts the blocks of neighbouring files apart.
const SPREAD: u64 = 37;
