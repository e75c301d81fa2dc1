//! The header of a sparse extent (VMDK format 1.1, `SparseExtentHeader`), which is also its footer.

use crate::error::Fault;

/// Bytes in a sector, the unit of every length and place in the format.
pub const SECTOR_BYTES: u64 = 512;

/// [`SECTOR_BYTES`] for buffers.
pub(crate) const SECTOR_LEN: usize = 512;

/// Value of [`Header::gd_offset_sectors`] when the footer holds the real one.
pub const GD_AT_END: u64 = u64::MAX;

/// The header of a sparse extent, checked.
///
/// [`Header::parse`] accepts every sparse extent; [`Header::require_stream`] tells whether it is a
/// stream-optimized one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Header {
    /// Format version, 1 to 3.
    pub version: u32,
    /// Bits, see the `FLAG_…` constants of this type.
    pub flags: u32,
    /// Size of the disk, in sectors.
    pub capacity_sectors: u64,
    /// Size of a grain, in sectors; a power of two.
    pub grain_sectors: u64,
    /// First sector of the embedded descriptor; 0 if there is none.
    pub descriptor_offset_sectors: u64,
    /// Room for the embedded descriptor, in sectors.
    pub descriptor_sectors: u64,
    /// First sector of the redundant grain directory.
    pub rgd_offset_sectors: u64,
    /// First sector of the grain directory, or [`GD_AT_END`].
    pub gd_offset_sectors: u64,
    /// Sectors before the first grain.
    pub overhead_sectors: u64,
    /// Whether the disk was open when its host stopped.
    pub unclean_shutdown: bool,
    /// 0 none, 1 deflate (in truth a zlib stream for each grain).
    pub compress_algorithm: u16,
}

impl Header {
    /// The four end-of-line characters are there to be checked.
    pub const FLAG_NEW_LINES: u32 = 1;
    /// There is a redundant grain directory.
    pub const FLAG_REDUNDANT: u32 = 1 << 1;
    /// A grain table entry of 1 means a grain of zeros.
    pub const FLAG_ZEROED: u32 = 1 << 2;
    /// Grains are compressed.
    pub const FLAG_COMPRESSED: u32 = 1 << 16;
    /// Markers say what follows.
    pub const FLAG_MARKERS: u32 = 1 << 17;

    /// The header we write for a stream of `capacity_sectors`.
    ///
    /// # Errors
    ///
    /// [`Fault::Capacity`] for 0 and beyond 64 TiB.
    pub fn stream_optimized(capacity_sectors: u64) -> Result<Self, Fault> {
        let header = Self {
            version: 3,
            flags: Self::FLAG_NEW_LINES | Self::FLAG_COMPRESSED | Self::FLAG_MARKERS,
            capacity_sectors,
            grain_sectors: GRAIN_SECTORS_WRITTEN,
            descriptor_offset_sectors: 1,
            descriptor_sectors: DESCRIPTOR_SECTORS_WRITTEN,
            rgd_offset_sectors: 0,
            gd_offset_sectors: GD_AT_END,
            overhead_sectors: OVERHEAD_SECTORS_WRITTEN,
            unclean_shutdown: false,
            compress_algorithm: COMPRESS_DEFLATE,
        };
        header.check()?;
        Ok(header)
    }

    /// Reads the first sector of a sparse extent.
    ///
    /// # Errors
    ///
    /// The [`Fault`] of the first field that is out of bounds.  Nothing is allocated.
    pub fn parse(sector: &[u8; 512]) -> Result<Self, Fault> {
        let magic = u32_at(sector, 0);
        if magic != MAGIC {
            return Err(Fault::Magic(magic));
        }
        let header = Self {
            version: u32_at(sector, 4),
            flags: u32_at(sector, 8),
            capacity_sectors: u64_at(sector, 12),
            grain_sectors: u64_at(sector, 20),
            descriptor_offset_sectors: u64_at(sector, 28),
            descriptor_sectors: u64_at(sector, 36),
            rgd_offset_sectors: u64_at(sector, 48),
            gd_offset_sectors: u64_at(sector, 56),
            overhead_sectors: u64_at(sector, 64),
            unclean_shutdown: sector[72] != 0,
            compress_algorithm: u16::from_le_bytes([sector[77], sector[78]]),
        };
        if !(1..=3).contains(&header.version) {
            return Err(Fault::Version(header.version));
        }
        if header.flags & !FLAGS_KNOWN != 0 {
            return Err(Fault::Flags(header.flags));
        }
        let new_lines = [sector[73], sector[74], sector[75], sector[76]];
        if header.flags & Self::FLAG_NEW_LINES != 0 && new_lines != NEW_LINES {
            return Err(Fault::NewLines(new_lines));
        }
        let entries = u32_at(sector, 44);
        if entries != TABLE_ENTRIES {
            return Err(Fault::TableLength(entries));
        }
        header.check()?;
        Ok(header)
    }

    /// The sector that [`parse`](Self::parse) reads back.
    #[must_use]
    pub fn encode(&self) -> [u8; 512] {
        let mut sector = [0; SECTOR_LEN];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_le_bytes());
        put(4, &self.version.to_le_bytes());
        put(8, &self.flags.to_le_bytes());
        put(12, &self.capacity_sectors.to_le_bytes());
        put(20, &self.grain_sectors.to_le_bytes());
        put(28, &self.descriptor_offset_sectors.to_le_bytes());
        put(36, &self.descriptor_sectors.to_le_bytes());
        put(44, &TABLE_ENTRIES.to_le_bytes());
        put(48, &self.rgd_offset_sectors.to_le_bytes());
        put(56, &self.gd_offset_sectors.to_le_bytes());
        put(64, &self.overhead_sectors.to_le_bytes());
        put(72, &[u8::from(self.unclean_shutdown)]);
        put(73, &NEW_LINES);
        put(77, &self.compress_algorithm.to_le_bytes());
        sector
    }

    /// Whether this is the header of a stream-optimized extent.
    ///
    /// # Errors
    ///
    /// [`Fault::Flags`] or [`Fault::Compression`] if it is not.
    pub fn require_stream(&self) -> Result<(), Fault> {
        const NEEDED: u32 = Header::FLAG_COMPRESSED | Header::FLAG_MARKERS;
        if self.flags & NEEDED != NEEDED {
            return Err(Fault::Flags(self.flags));
        }
        if self.compress_algorithm != COMPRESS_DEFLATE {
            return Err(Fault::Compression(self.compress_algorithm));
        }
        Ok(())
    }

    /// Whether grains are compressed.
    pub(crate) fn is_compressed(&self) -> bool {
        self.flags & Self::FLAG_COMPRESSED != 0
    }

    /// Size of the disk, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_sectors * SECTOR_BYTES // at most 2^46, by `check`
    }

    /// Size of a grain, in bytes.
    #[must_use]
    pub fn grain_bytes(&self) -> u64 {
        self.grain_sectors * SECTOR_BYTES
    }

    /// Number of grain tables, which is the number of entries of the grain directory.
    #[must_use]
    pub fn directory_entries(&self) -> u64 {
        self.capacity_sectors.div_ceil(self.grain_sectors * u64::from(TABLE_ENTRIES))
    }

    /// First sector of the grain directory; `None` if the footer says where it is.
    #[must_use]
    pub fn directory_sector(&self) -> Option<u64> {
        Some(self.gd_offset_sectors).filter(|&sector| sector != GD_AT_END)
    }

    /// First sector of the redundant grain directory, if there is one in front of the grains.
    #[must_use]
    pub fn redundant_sector(&self) -> Option<u64> {
        let has_one = self.flags & Self::FLAG_REDUNDANT != 0;
        Some(self.rgd_offset_sectors).filter(|&at| has_one && at != 0 && at != GD_AT_END)
    }

    /// Sectors that the grain directory takes.
    pub(crate) fn directory_sectors(&self) -> u64 {
        self.directory_entries().div_ceil(ENTRIES_PER_SECTOR)
    }

    /// Most bytes that a compressed grain may take.
    ///
    /// Deflate's own worst case is five bytes for each 64 KiB block and six around all; an eighth
    /// more leaves room for poor compressors, and still bounds the buffer.
    pub(crate) fn packed_bytes_max(&self) -> u64 {
        self.grain_bytes() + self.grain_bytes() / 8 + SECTOR_BYTES
    }

    /// Name of the first field in which `footer` is not what this header promised.
    ///
    /// The footer repeats the header, but for the place of the grain directory (VMDK format 1.1,
    /// stream-optimized).  VirtualBox treats the redundant one in the same way.
    pub(crate) fn footer_difference(&self, footer: &Self) -> Option<&'static str> {
        let rgd_same = self.rgd_offset_sectors == footer.rgd_offset_sectors;
        let fields = [
            ("version", self.version == footer.version),
            ("flags", self.flags == footer.flags),
            ("capacity", self.capacity_sectors == footer.capacity_sectors),
            ("grain size", self.grain_sectors == footer.grain_sectors),
            (
                "descriptor place",
                self.descriptor_offset_sectors == footer.descriptor_offset_sectors
                    && self.descriptor_sectors == footer.descriptor_sectors,
            ),
            ("redundant directory", rgd_same || self.rgd_offset_sectors == GD_AT_END),
            ("overhead", self.overhead_sectors == footer.overhead_sectors),
            ("unclean shutdown", self.unclean_shutdown == footer.unclean_shutdown),
            ("compression", self.compress_algorithm == footer.compress_algorithm),
        ];
        fields.into_iter().find(|(_, same)| !same).map(|(name, _)| name)
    }

    /// Bounds that hold for every sparse extent.
    fn check(&self) -> Result<(), Fault> {
        let grain = self.grain_sectors;
        if !grain.is_power_of_two() || !(GRAIN_SECTORS_MIN..=GRAIN_SECTORS_MAX).contains(&grain) {
            return Err(Fault::GrainSize(grain));
        }
        let max = CAPACITY_SECTORS_MAX
            .min(DIRECTORY_ENTRIES_MAX.saturating_mul(grain * u64::from(TABLE_ENTRIES)));
        if self.capacity_sectors == 0 || self.capacity_sectors > max {
            return Err(Fault::Capacity { sectors: self.capacity_sectors, max });
        }
        if self.overhead_sectors == 0 || self.overhead_sectors > u64::from(u32::MAX) {
            return Err(Fault::Overhead(self.overhead_sectors));
        }
        let (at_sector, sectors) = (self.descriptor_offset_sectors, self.descriptor_sectors);
        let fits = sectors <= DESCRIPTOR_SECTORS_MAX
            && at_sector.checked_add(sectors).is_some_and(|end| end <= self.overhead_sectors);
        if at_sector != 0 && sectors != 0 && !fits {
            return Err(Fault::DescriptorPlace { at_sector, sectors });
        }
        Ok(())
    }
}

/// The little-endian number at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// The little-endian number at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// `KDMV` as the bytes stand in the file.
const MAGIC: u32 = u32::from_le_bytes(*b"KDMV");

/// The bits that the format defines.
const FLAGS_KNOWN: u32 = Header::FLAG_NEW_LINES
    | Header::FLAG_REDUNDANT
    | Header::FLAG_ZEROED
    | Header::FLAG_COMPRESSED
    | Header::FLAG_MARKERS;

/// A transfer as text changes at least one of these.
const NEW_LINES: [u8; 4] = *b"\n \r\n";

/// Deflate.
const COMPRESS_DEFLATE: u16 = 1;

/// Entries of a grain table: always 512 (VMDK format 1.1), and no writer uses another number.
pub(crate) const TABLE_ENTRIES: u32 = 512;

/// Sectors of a grain table.
pub(crate) const TABLE_SECTORS: u64 = TABLE_ENTRIES as u64 / ENTRIES_PER_SECTOR;

/// Table and directory entries take four bytes.
pub(crate) const ENTRIES_PER_SECTOR: u64 = SECTOR_BYTES / 4;

/// Largest disk: vSphere stops at 62 TiB.
const CAPACITY_SECTORS_MAX: u64 = 64 << 31;

/// Most grain tables: those of 64 TiB in grains of 64 KiB.  Keeps small grains from needing more
/// memory than large ones.
const DIRECTORY_ENTRIES_MAX: u64 = 1 << 21;

/// 4 KiB, the least that the format allows.
const GRAIN_SECTORS_MIN: u64 = 8;

/// 1 MiB: sixteen times what everyone uses, and still a small buffer.
const GRAIN_SECTORS_MAX: u64 = 2048;

/// 256 KiB of text; writers leave 10 KiB.
const DESCRIPTOR_SECTORS_MAX: u64 = 512;

/// 64 KiB, as everyone.
const GRAIN_SECTORS_WRITTEN: u64 = 128;

/// 10 KiB, as everyone.
const DESCRIPTOR_SECTORS_WRITTEN: u64 = 20;

/// The first grain starts at 64 KiB, as VMware's does.
const OVERHEAD_SECTORS_WRITTEN: u64 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_header_is_read_back() {
        let header = Header::stream_optimized(12_345).unwrap();
        assert_eq!(Header::parse(&header.encode()), Ok(header));
    }

    #[test]
    fn absurd_numbers_are_refused() {
        let sound = Header::stream_optimized(1 << 20).unwrap();
        let with = |change: fn(&mut Header)| {
            let mut header = sound.clone();
            change(&mut header);
            Header::parse(&header.encode())
        };
        assert!(matches!(with(|h| h.capacity_sectors = u64::MAX), Err(Fault::Capacity { .. })));
        assert!(matches!(with(|h| h.capacity_sectors = 1 << 38), Err(Fault::Capacity { .. })));
        assert_eq!(with(|h| h.grain_sectors = 0), Err(Fault::GrainSize(0)));
        assert_eq!(with(|h| h.grain_sectors = 96), Err(Fault::GrainSize(96)));
        assert_eq!(with(|h| h.grain_sectors = 1 << 63), Err(Fault::GrainSize(1 << 63)));
        assert_eq!(with(|h| h.overhead_sectors = 0), Err(Fault::Overhead(0)));
        assert_eq!(with(|h| h.version = 4), Err(Fault::Version(4)));
        let place = with(|h| h.descriptor_offset_sectors = u64::MAX);
        assert!(matches!(place, Err(Fault::DescriptorPlace { .. })));
    }

    #[test]
    fn text_mode_transfer_is_recognised() {
        let mut sector = Header::stream_optimized(128).unwrap().encode();
        sector[75] = b'\n';
        assert_eq!(Header::parse(&sector), Err(Fault::NewLines(*b"\n \n\n")));
    }
}
