//! Markers, which say what follows in a stream-optimized extent (VMDK format 1.1, `Marker`).

use crate::header::SECTOR_LEN;
use crate::header::u32_at;
use crate::header::u64_at;

/// What stands at the start of a sector, once the overhead is past.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Marker {
    /// The stream ends; also what a sector of zeros looks like.
    EndOfStream,
    /// The header follows again, with the grain directory's place.
    Footer {
        /// Length, in sectors.
        sectors: u64,
    },
    /// Compressed data follows in the same sector.
    Grain {
        /// Where the grain belongs on the disk, in sectors.
        lba_sectors: u64,
        /// Length of the compressed data, never 0.
        size_bytes: u32,
    },
    /// The grain directory follows.
    GrainDirectory {
        /// Length, in sectors.
        sectors: u64,
    },
    /// A grain table follows.
    GrainTable {
        /// Length, in sectors.
        sectors: u64,
    },
    /// A type that the format does not define.
    Unknown {
        /// The type.
        kind: u32,
        /// Length, in sectors.
        sectors: u64,
    },
}

impl Marker {
    /// Reads the first bytes of a marker.  The rest of its sector is the grain's data, or padding.
    #[must_use]
    pub fn parse(bytes: &[u8; MARKER_BYTES]) -> Self {
        let value = u64_at(bytes, 0);
        let size_bytes = u32_at(bytes, 8);
        if size_bytes != 0 {
            return Self::Grain { lba_sectors: value, size_bytes };
        }
        match u32_at(bytes, 12) {
            0 if value == 0 => Self::EndOfStream,
            GRAIN_TABLE => Self::GrainTable { sectors: value },
            GRAIN_DIRECTORY => Self::GrainDirectory { sectors: value },
            FOOTER => Self::Footer { sectors: value },
            kind => Self::Unknown { kind, sectors: value },
        }
    }

    /// The marker's sector; of a grain's marker, only the first twelve bytes mean anything.
    #[must_use]
    pub fn encode(self) -> [u8; 512] {
        let (value, size_bytes, kind) = match self {
            Self::EndOfStream => (0, 0, 0),
            Self::Footer { sectors } => (sectors, 0, FOOTER),
            Self::Grain { lba_sectors, size_bytes } => (lba_sectors, size_bytes, 0),
            Self::GrainDirectory { sectors } => (sectors, 0, GRAIN_DIRECTORY),
            Self::GrainTable { sectors } => (sectors, 0, GRAIN_TABLE),
            Self::Unknown { kind, sectors } => (sectors, 0, kind),
        };
        let mut sector = [0; SECTOR_LEN];
        sector[..8].copy_from_slice(&value.to_le_bytes());
        sector[8..12].copy_from_slice(&size_bytes.to_le_bytes());
        sector[12..16].copy_from_slice(&kind.to_le_bytes());
        sector
    }

    /// Type and length, for error messages.
    pub(crate) fn evidence(self) -> (u32, u64) {
        match self {
            Self::EndOfStream | Self::Grain { .. } => (0, 0),
            Self::Footer { sectors } => (FOOTER, sectors),
            Self::GrainDirectory { sectors } => (GRAIN_DIRECTORY, sectors),
            Self::GrainTable { sectors } => (GRAIN_TABLE, sectors),
            Self::Unknown { kind, sectors } => (kind, sectors),
        }
    }
}

/// Bytes of a marker that are read before deciding: value, size, and type or data.
pub const MARKER_BYTES: usize = 16;

/// Bytes of a grain's marker: its data starts here.
pub(crate) const GRAIN_MARKER_BYTES: usize = 12;

const GRAIN_TABLE: u32 = 1;
const GRAIN_DIRECTORY: u32 = 2;
const FOOTER: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_markers_are_read_back() {
        for marker in [
            Marker::EndOfStream,
            Marker::Footer { sectors: 1 },
            Marker::Grain { lba_sectors: 1 << 36, size_bytes: 7 },
            Marker::GrainDirectory { sectors: 9 },
            Marker::GrainTable { sectors: 4 },
            Marker::Unknown { kind: 4, sectors: 3 },
            Marker::Unknown { kind: 0, sectors: 3 },
        ] {
            let sector = marker.encode();
            assert_eq!(Marker::parse(sector[..MARKER_BYTES].try_into().unwrap()), marker);
        }
    }
}
