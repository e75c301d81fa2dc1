//! From the parts of a compressed grain to its data.

use std::fmt;

use libdeflater::DecompressionError;
use libdeflater::Decompressor;

use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::Header;
use crate::header::SECTOR_BYTES;
use crate::scan::Piece;

/// Assembles compressed grains in one buffer and inflates them into another.
pub(crate) struct Inflater {
    zlib: Decompressor,
    packed: Vec<u8>,
    data: Vec<u8>,
    data_len: usize,
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("packed_bytes", &self.packed.len()).finish_non_exhaustive()
    }
}

impl Inflater {
    pub(crate) fn new() -> Self {
        Self { zlib: Decompressor::new(), packed: Vec::new(), data: Vec::new(), data_len: 0 }
    }

    /// Takes a part.  Returns whether the grain is complete, and then in [`data`](Self::data).
    ///
    /// A grain that comes in one part is not copied.
    pub(crate) fn take(&mut self, header: &Header, piece: &Piece<'_>) -> Result<bool, VmdkError> {
        let whole = piece.bytes.len() == piece.size;
        if !whole {
            self.packed.extend_from_slice(piece.bytes);
        }
        if !piece.last {
            return Ok(false);
        }
        let packed: &[u8] = if whole { piece.bytes } else { &self.packed };
        let lba_sectors = piece.lba_sectors;
        self.data.resize(usize::try_from(header.grain_bytes()).unwrap_or(0), 0);
        let inflated = inflate(&mut self.zlib, packed, header, lba_sectors, &mut self.data);
        self.packed.clear();
        self.data_len = inflated
            .map_err(|problem| Fault::GrainData { lba_sectors, problem }.at(piece.at_byte))?;
        Ok(true)
    }

    /// Data of the last complete grain.
    pub(crate) fn data(&self) -> &[u8] {
        &self.data[..self.data_len]
    }
}

/// Inflates one grain into `data`, which has the length of a grain, and checks its length and checksum.
///
/// The checksum must stand at the very end of `packed`, so that a wrong length in the grain's
/// marker cannot pass.  Returns the length of the grain on the disk, which is shorter for the last
/// one of a disk that is not a multiple of grains.
pub(crate) fn inflate(
    zlib: &mut Decompressor,
    packed: &[u8],
    header: &Header,
    lba_sectors: u64,
    data: &mut [u8],
) -> Result<usize, &'static str> {
    let too_large = "the grain does not fit in memory";
    let grain_len = usize::try_from(header.grain_bytes()).map_err(|_| too_large)?;
    let left_bytes = header.capacity_sectors.saturating_sub(lba_sectors) * SECTOR_BYTES;
    let disk_len = usize::try_from(left_bytes.min(header.grain_bytes())).map_err(|_| too_large)?;

    // RFC 1950: two bytes of header, deflate data, Adler-32.
    let [method, flags, body @ .., a, b, c, d] = packed else { return Err("too short") };
    let check = u16::from_be_bytes([*method, *flags]);
    if method & 0x0f != METHOD_DEFLATE || check % 31 != 0 || flags & FLAG_DICTIONARY != 0 {
        return Err("no zlib header");
    }
    let len = zlib.deflate_decompress(body, data).map_err(|error| match error {
        DecompressionError::BadData => "not deflate data",
        DecompressionError::InsufficientSpace => "longer than a grain",
    })?;
    if len != grain_len && len != disk_len {
        return Err("shorter than a grain");
    }
    if libdeflater::adler32(&data[..len]) != u32::from_be_bytes([*a, *b, *c, *d]) {
        return Err("wrong checksum");
    }
    Ok(disk_len)
}

/// `CM` of RFC 1950.
const METHOD_DEFLATE: u8 = 8;

/// `FDICT` of RFC 1950: a dictionary that nobody has.
const FLAG_DICTIONARY: u8 = 0x20;
