//! What can be wrong with a disk, and where.

use std::io;

/// Why reading or writing a disk failed, with the place in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmdkError {
    /// The bytes are not a sound disk of their format.
    #[error("at byte {at_byte}: {fault}")]
    Corrupt {
        /// Offset of the structure that is wrong, in bytes from the start of the file.
        at_byte: u64,
        /// What was expected, and what was found.
        fault: Fault,
    },
    /// One of the files that a descriptor names is missing or wrong.
    #[error("in extent {file:?}")]
    Extent {
        /// Name of the file.
        file: String,
        /// What is wrong, and where in that file.
        #[source]
        error: Box<Self>,
    },
    /// Reading the source, writing the sink, or the receiver of a grain failed.
    #[error("stopped at byte {at_byte}")]
    Io {
        /// Bytes of the file that had been read or written.
        at_byte: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file ended too early.
    #[error("cut at byte {at_byte}: expected {expected}")]
    Truncated {
        /// Length of the part that is there.
        at_byte: u64,
        /// What should have come next.
        expected: &'static str,
    },
    /// The caller of a writer asked for something that the format cannot hold.
    #[error("cannot be written: {0}")]
    Unwritable(Fault),
}

impl VmdkError {
    /// Offset in the file, in bytes; 0 where the fault is in the caller's own values.
    #[must_use]
    pub fn at_byte(&self) -> u64 {
        match self {
            Self::Corrupt { at_byte, .. }
            | Self::Io { at_byte, .. }
            | Self::Truncated { at_byte, .. } => *at_byte,
            Self::Extent { error, .. } => error.at_byte(),
            Self::Unwritable(_) => 0,
        }
    }
}

/// Why a disk could not be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The one who watches the progress wanted no more.
    #[error("cancelled")]
    Cancelled,
    /// The source cannot be read, or is damaged.
    #[error("the source cannot be read")]
    Source(#[source] VmdkError),
    /// The target cannot be written, or its format cannot hold this disk.
    #[error("the target cannot be written")]
    Target(#[source] VmdkError),
}

/// One thing that is wrong, with the evidence.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The disk is empty, or larger than any that vSphere knows.
    #[error("capacity of {sectors} sectors, expected 1 to {max}")]
    Capacity {
        /// What the header says.
        sectors: u64,
        /// The limit.
        max: u64,
    },
    /// The capacity is not a whole number of 512-byte sectors.
    #[error("capacity of {bytes} bytes is not a multiple of 512")]
    CapacityBytes {
        /// What the caller asked for.
        bytes: u64,
    },
    /// A compressed cluster does not inflate to a cluster.
    #[error("compressed cluster is damaged")]
    ClusterData,
    /// The cluster size of a qcow2 image is out of bounds.
    #[error("clusters of 2^{0} bytes, expected 2^9 to 2^21")]
    ClusterBits(u32),
    /// The header asks for a compression other than deflate (1).
    #[error("compression {0}, expected deflate (1)")]
    Compression(u16),
    /// Data reaches beyond the capacity.
    #[error("data at sector {lba_sectors} reaches beyond the capacity of {capacity_sectors}")]
    DataBeyondCapacity {
        /// Where the data belongs on the disk.
        lba_sectors: u64,
        /// Capacity of the disk.
        capacity_sectors: u64,
    },
    /// Data is no whole number of sectors.
    #[error("data of {bytes} bytes is not a multiple of 512")]
    DataLength {
        /// Length of the data.
        bytes: u64,
    },
    /// Data does not lie behind the data before it.
    #[error("data at sector {lba_sectors}, expected {expected_min} or above")]
    DataOrder {
        /// Where the data belongs on the disk.
        lba_sectors: u64,
        /// End of the data before.
        expected_min: u64,
    },
    /// The descriptor text lies outside the place the header leaves for it, or is too long.
    #[error("descriptor of {sectors} sectors at sector {at_sector} does not fit the overhead")]
    DescriptorPlace {
        /// First sector.
        at_sector: u64,
        /// Length.
        sectors: u64,
    },
    /// The descriptor names another capacity than the header.
    #[error("the header says {header_sectors} sectors, the descriptor {descriptor_sectors}")]
    DescriptorCapacity {
        /// Sum of the extents in the text.
        descriptor_sectors: u64,
        /// Capacity in the header.
        header_sectors: u64,
    },
    /// A grain directory entry points elsewhere than to the table that was seen.
    #[error("directory entry {entry} points to sector {found}, expected {expected}")]
    DirectoryEntry {
        /// Number of the entry, from 0.
        entry: u64,
        /// Where the table is, 0 if there is none.
        expected: u32,
        /// Where the entry points.
        found: u32,
    },
    /// The grain directory has another length than the capacity needs.
    #[error("grain directory of {found} sectors, expected {expected}")]
    DirectoryLength {
        /// Sectors needed.
        expected: u64,
        /// Sectors announced.
        found: u64,
    },
    /// A descriptor names more files than can be opened.
    #[error("{found} extents, expected at most {max}")]
    ExtentCount {
        /// Number of lines.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// An extent is a device, or of a format that only ESXi reads.
    #[error("extents of kind {kind:?} are not supported, only FLAT, VMFS, SPARSE and ZERO")]
    ExtentKind {
        /// The kind.
        kind: String,
    },
    /// A line of a descriptor speaks of an extent, and cannot be read.
    #[error("extent line {line:?} cannot be read")]
    ExtentLine {
        /// Its beginning.
        line: String,
    },
    /// The name of an extent leads out of the descriptor's folder.
    #[error("the name is not that of a file beside the descriptor")]
    ExtentName,
    /// A previous error ended this stream.
    #[error("the stream had already failed")]
    Failed,
    /// The file would need sector numbers above 32 bits (2 TiB of compressed data).
    #[error("the file grows beyond 2 TiB, where grain tables cannot point")]
    FileLength,
    /// The header has flags this format does not define, or lacks those a stream needs.
    #[error("flags {0:#x}, expected compressed grains and markers")]
    Flags(u32),
    /// The footer is not the header with the grain directory's place filled in.
    #[error("footer differs from the header in {field}")]
    Footer {
        /// Name of the field.
        field: &'static str,
    },
    /// A grain lies at or beyond the capacity.
    #[error("grain at sector {lba_sectors} lies beyond the capacity of {capacity_sectors}")]
    GrainBeyondCapacity {
        /// Where the grain belongs on the disk.
        lba_sectors: u64,
        /// Capacity of the disk.
        capacity_sectors: u64,
    },
    /// A grain's compressed data does not inflate to the grain it should be.
    #[error("data of the grain at sector {lba_sectors} is damaged: {problem}")]
    GrainData {
        /// Where the grain belongs on the disk.
        lba_sectors: u64,
        /// In what way.
        problem: &'static str,
    },
    /// A grain table leads to a grain of another place.
    #[error("grain of sector {lba_sectors} where the grain tables expect that of {expected}")]
    GrainElsewhere {
        /// Where the grain says that it belongs on the disk.
        lba_sectors: u64,
        /// Where the tables say that it does.
        expected: u64,
    },
    /// A grain table leads into the metadata.
    #[error("a grain table points to sector {sector}, expected {expected_min} or above")]
    GrainPlace {
        /// Where the entry points.
        sector: u64,
        /// End of the metadata.
        expected_min: u64,
    },
    /// A grain has a compressed size that no compressor makes.
    #[error("grain of {size_bytes} compressed bytes, expected at most {max_bytes}")]
    GrainLength {
        /// What the marker (or the caller) says.
        size_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// A grain does not start at a multiple of the grain size, or not above the one before.
    #[error("grain at sector {lba_sectors}, expected a grain boundary at or above {expected_min}")]
    GrainOrder {
        /// Where the grain belongs on the disk.
        lba_sectors: u64,
        /// First sector that had been possible.
        expected_min: u64,
    },
    /// The grain size is not a power of two between 8 and 2048 sectors.
    #[error("grain size of {0} sectors, expected a power of two from 8 to 2048")]
    GrainSize(u64),
    /// The L1 table is too short for the capacity.
    #[error("L1 table of {found} entries, expected {expected}")]
    L1Length {
        /// Entries there are.
        found: u64,
        /// Entries needed.
        expected: u64,
    },
    /// The file does not start with `KDMV`.
    #[error("magic {0:#010x}, expected KDMV")]
    Magic(u32),
    /// A marker of this kind cannot stand here.
    #[error("marker of type {kind}, length {sectors} sectors, cannot stand here")]
    Marker {
        /// Type number.
        kind: u32,
        /// Length it announces.
        sectors: u64,
    },
    /// The four end-of-line characters were changed, as a text-mode transfer does.
    #[error("end-of-line characters {0:02x?}, expected 0a 20 0d 0a (transferred as text?)")]
    NewLines([u8; 4]),
    /// The file is something else than a disk, such as a package.
    #[error("{what}, and no disk")]
    NoDisk {
        /// What it is.
        what: &'static str,
    },
    /// The file is no descriptor of a VMDK: wrong first line, no extents, or far too long.
    #[error("not a VMDK: neither KDMV nor a disk descriptor")]
    NotADescriptor,
    /// Something lies behind the end of the file, as after a cut.
    #[error("{what} of {len_bytes} bytes lies outside the file of {file_bytes}")]
    OutsideFile {
        /// Name of the structure.
        what: &'static str,
        /// Its length.
        len_bytes: u64,
        /// Length of the file.
        file_bytes: u64,
    },
    /// The overhead does not hold what the header places in it.
    #[error("overhead of {0} sectors does not hold the metadata")]
    Overhead(u64),
    /// Two structures of a file share a place.
    #[error("{what} shares its place with another structure of the file")]
    Overlap {
        /// Name of the structure that was found second.
        what: &'static str,
    },
    /// The version of a qcow2 image is neither 2 nor 3.
    #[error("qcow2 version {0}, expected 2 or 3")]
    QcowVersion(u32),
    /// A cluster that is used is free by the image's reference counts.
    #[error("the cluster at byte {offset_bytes} is in use, and free by its reference count")]
    ReferenceCount {
        /// Where the cluster is.
        offset_bytes: u64,
    },
    /// Bits are set that have no meaning.
    #[error("reserved bits {bits:#x} are set in {what}")]
    ReservedBits {
        /// Where they are.
        what: &'static str,
        /// Those that are set.
        bits: u64,
    },
    /// An extended L2 entry contradicts itself.
    #[error("parts of a cluster are there ({there:#010x}) and zero ({zeros:#010x}) at once")]
    Subclusters {
        /// Parts that are there.
        there: u32,
        /// Parts that read as zeros.
        zeros: u32,
    },
    /// Something other than zeros follows the end-of-stream marker.
    #[error("data after the end of the stream")]
    AfterEnd,
    /// A grain table entry points elsewhere than to the grain that was seen.
    #[error("entry {entry} of grain table {table} points to sector {found}, expected {expected}")]
    TableEntry {
        /// Number of the table, from 0.
        table: u64,
        /// Number of the entry, from 0.
        entry: u64,
        /// Where the grain is, 0 if there is none.
        expected: u32,
        /// Where the entry points.
        found: u32,
    },
    /// A grain table has another length than 512 entries.
    #[error("{0} entries for each grain table, expected 512")]
    TableLength(u32),
    /// A grain table and the grains that were seen are not the same.
    #[error("grain table {table} does not match the grains that were seen")]
    TableMismatch {
        /// Number of the table, from 0.
        table: u64,
    },
    /// There are grains that no grain table points to.
    #[error("grains of table {table} have no grain table")]
    TableMissing {
        /// Number of the table, from 0.
        table: u64,
    },
    /// A grain table and its copy in the redundant directory are not the same.
    #[error("grain table {table} is another one in the redundant grain directory")]
    TableRedundant {
        /// Number of the table, from 0.
        table: u64,
    },
    /// There is a grain table whose grains were never seen.
    #[error("a grain table points to grains that were not seen")]
    TableUnexpected,
    /// A place in the file is not at the start of a cluster.
    #[error("{what} at byte {offset_bytes} is not at the start of a cluster")]
    Unaligned {
        /// Name of the structure.
        what: &'static str,
        /// Where it should be.
        offset_bytes: u64,
    },
    /// The disk is of a kind that cannot be read.
    #[error("{what} cannot be read")]
    Unsupported {
        /// Which kind.
        what: &'static str,
    },
    /// The header's version is none of 1, 2, 3.
    #[error("version {0}, expected 1 to 3")]
    Version(u32),
}

impl Fault {
    /// This fault, at that place.
    pub(crate) fn at(self, at_byte: u64) -> VmdkError {
        VmdkError::Corrupt { at_byte, fault: self }
    }
}
