//! Disks of QEMU: qcow2, versions 2 and 3 (QEMU, `docs/interop/qcow2.txt`).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Fault;
use crate::error::VmdkError;
use crate::image::DiskImage;
use crate::image::OnTable;
use crate::image::Unit;
use crate::image::Units;
use crate::image::next_units;
use crate::image::read_units;
use crate::lookup::Lookup;
use crate::lookup::Scratch;
use crate::lookup::Shared;
use crate::occupied::Occupied;
use crate::storage::Storage;

/// A qcow2 image, read-only.
///
/// Read are both versions, compressed clusters (deflate), clusters of zeros and extended L2 entries.
/// Refused, with the reason, are images that need another file (a backing file, external data),
/// encrypted ones, those marked corrupt, and those compressed with zstd.  Snapshots inside the image
/// are not looked at: what is read is its present state.
///
/// Tables are read when needed; nothing is allocated for what a header claims.
pub struct Qcow2Image {
    lookup: Lookup,
    capacity_bytes: u64,
    version: u32,
    cluster_bits: u32,
    l1_offset_bytes: u64,
    /// Entries of an L2 table have a second half that says which of 32 parts are there.
    extended: bool,
    /// Entries of the L1 table that the capacity needs.
    l1_entries: u64,
    counts: Counts,
}

/// Where the reference counts of clusters are.
#[derive(Clone, Copy, Debug)]
struct Counts {
    table_offset_bytes: u64,
    table_clusters: u64,
    /// A count takes 1 << `order` bits.
    order: u32,
    /// Whether they may be wrong, and the image is sound all the same.
    lazy: bool,
}

impl fmt::Debug for Qcow2Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2Image")
            .field("version", &self.version)
            .field("capacity_bytes", &self.capacity_bytes)
            .field("cluster_bits", &self.cluster_bits)
            .finish_non_exhaustive()
    }
}

/// Where the data of a cluster is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Deflate data of at most this length.
    Compressed { at_byte: u64, len_bytes: u64 },
    /// As it is.
    Data { at_byte: u64 },
    /// As it is where a bit of `there` is set, zeros elsewhere.
    Parts { at_byte: u64, there: u32 },
    /// Zeros up to this cluster.
    Zero { until: u64 },
}

impl Qcow2Image {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Io`] if the source fails, [`VmdkError::Corrupt`] with what is wrong or not
    /// supported.
    pub fn open(storage: Arc<dyn Storage>) -> Result<Self, VmdkError> {
        let lookup = Lookup::new(storage, Shared::new(), 0);
        let mut bytes = [0; HEADER_LEN_V3];
        lookup.read(0, &mut bytes[..HEADER_LEN_V2], "the header")?;
        if bytes[..4] != MAGIC {
            return Err(Fault::Magic(u32_be(&bytes, 0).swap_bytes()).at(0));
        }
        let version = u32_be(&bytes, 4);
        if version > 2 {
            lookup.read(0, &mut bytes[..HEADER_LEN_V3], "the header")?;
        }
        let header_len = if version == 2 { HEADER_LEN_V2 } else { HEADER_LEN_V3 };
        let header = Header::parse(&bytes[..header_len])?;
        let table_bytes = header.l1_entries * ENTRY_BYTES;
        lookup.require(header.l1_offset_bytes, table_bytes, "the L1 table")?;
        Ok(Self {
            lookup,
            capacity_bytes: header.capacity_bytes,
            version,
            cluster_bits: header.cluster_bits,
            l1_offset_bytes: header.l1_offset_bytes,
            extended: header.extended,
            l1_entries: header.l1_entries,
            counts: header.counts,
        })
    }

    /// 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Length of the file, in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.lookup.storage.len_bytes()
    }

    /// Length of a cluster, in bytes.
    #[must_use]
    pub fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Whether clusters have 32 parts that may be there or not.
    #[must_use]
    pub fn has_extended_entries(&self) -> bool {
        self.extended
    }

    /// Checks all tables of the image: that tables and clusters lie in the file, at the start of a
    /// cluster and apart from each other, that no reserved bits are set, and that no cluster in use
    /// is free by its reference count.
    ///
    /// Memory: 16 MiB.  Returns whether the end was reached.
    pub(crate) fn check(&self, on_table: &mut OnTable<'_>) -> Result<bool, VmdkError> {
        let file_bytes = self.lookup.storage.len_bytes();
        // Everything lies in whole clusters: one of them is the unit.
        let file_clusters = file_bytes.div_ceil(self.cluster_bytes());
        let mut occupied = Occupied::new(1, file_clusters);
        loop {
            self.take(0, 1, "the header", &mut occupied)?;
            let l1_bytes = self.l1_entries * ENTRY_BYTES;
            let l1_clusters = l1_bytes.div_ceil(self.cluster_bytes());
            self.take(self.l1_offset_bytes, l1_clusters, "the L1 table", &mut occupied)?;
            self.check_counts(&mut occupied)?;
            for table in 0..self.l1_entries {
                self.check_table(table, &mut occupied)?;
                let end = (table + 1) * self.table_entries() * self.cluster_bytes();
                if on_table(end.min(self.capacity_bytes)).is_break() {
                    return Ok(false);
                }
            }
            self.compare_counts(&occupied)?;
            if !occupied.next(file_clusters) {
                return Ok(true);
            }
        }
    }

    /// Notes that `clusters` from `at_byte` on are taken.
    fn take(
        &self,
        at_byte: u64,
        clusters: u64,
        what: &'static str,
        occupied: &mut Occupied,
    ) -> Result<(), VmdkError> {
        let first = at_byte / self.cluster_bytes();
        // Clusters beyond the file are in no window, and are not looked at one by one.
        let window = occupied.places();
        for cluster in first.max(window.start)..first.saturating_add(clusters).min(window.end) {
            if !occupied.take(cluster) {
                return Err(Fault::Overlap { what }.at(cluster * self.cluster_bytes()));
            }
        }
        Ok(())
    }

    /// Checks one L2 table and its clusters, as far as they lie in the window of `occupied`.
    fn check_table(&self, table: u64, occupied: &mut Occupied) -> Result<(), VmdkError> {
        let at_byte = self.l1_offset_bytes + table * ENTRY_BYTES;
        let what = "an entry of the L1 table";
        let l1 = u64::from_be_bytes(self.lookup.number(at_byte, what)?);
        require_reserved(l1, L1_RESERVED, what, at_byte)?;
        let offset_bytes = self.offset(l1, "an L2 table", at_byte)?;
        if offset_bytes == 0 {
            return Ok(());
        }
        self.lookup.require(offset_bytes, self.cluster_bytes(), "an L2 table")?;
        self.take(offset_bytes, 1, "an L2 table", occupied)?;
        let entries = self.table_entries();
        let end = self.capacity_bytes.div_ceil(self.cluster_bytes());
        for cluster in table * entries..((table + 1) * entries).min(end) {
            let at_byte = offset_bytes + cluster % entries * self.entry_bytes();
            self.check_cluster(cluster, at_byte, occupied)?;
        }
        Ok(())
    }

    /// Checks the cluster whose L2 entry stands at `entry_at`.
    fn check_cluster(
        &self,
        cluster: u64,
        entry_at: u64,
        occupied: &mut Occupied,
    ) -> Result<(), VmdkError> {
        let what = "an entry of an L2 table";
        let number = u64::from_be_bytes(self.lookup.number(entry_at, what)?);
        if number & L2_COMPRESSED == 0 {
            let zero = if self.version > 2 && !self.extended { 0 } else { L2_ZERO };
            require_reserved(number, L2_RESERVED | zero, what, entry_at)?;
        }
        let (at_byte, what) = match self.place(cluster)? {
            Place::Compressed { at_byte, len_bytes } => {
                // The last sector need not be there as a whole: the length is in sectors.
                let needed_bytes = len_bytes.saturating_sub(SECTOR_BYTES) + 1;
                self.lookup.require(at_byte, needed_bytes, "a compressed cluster")?;
                let first = at_byte / self.cluster_bytes();
                let last = (at_byte + len_bytes - 1) / self.cluster_bytes();
                if (first..=last).all(|cluster| occupied.share(cluster)) {
                    return Ok(());
                }
                return Err(Fault::Overlap { what: "a compressed cluster" }.at(entry_at));
            }
            Place::Data { at_byte } => {
                (self.require_cluster(cluster, at_byte, u32::MAX)?, "a cluster")
            }
            Place::Parts { at_byte, there } => {
                (self.require_cluster(cluster, at_byte, there)?, "a cluster")
            }
            // One that reads as zeros may have its place all the same.
            Place::Zero { .. } => (number & OFFSET_MASK, "a cluster of zeros"),
        };
        if at_byte == 0 {
            return Ok(());
        }
        self.take(at_byte, 1, what, occupied)
    }

    /// That the parts of a cluster that are there lie in the file, as far as they are on the disk.
    fn require_cluster(&self, cluster: u64, at_byte: u64, there: u32) -> Result<u64, VmdkError> {
        let left_bytes = self.capacity_bytes - cluster * self.cluster_bytes();
        let parts = u64::from(u32::BITS - there.leading_zeros());
        let len_bytes = left_bytes.min(self.cluster_bytes() * parts / u64::from(u32::BITS));
        self.lookup.require(at_byte, len_bytes, "a cluster")?;
        Ok(at_byte)
    }

    /// Notes where the reference counts are.
    fn check_counts(&self, occupied: &mut Occupied) -> Result<(), VmdkError> {
        let Counts { table_offset_bytes, table_clusters, .. } = self.counts;
        let table_bytes = table_clusters.saturating_mul(self.cluster_bytes());
        let what = "the table of reference counts";
        self.lookup.require(table_offset_bytes, table_bytes, what)?;
        self.take(table_offset_bytes, table_clusters, what, occupied)?;
        for entry in 0..table_bytes / ENTRY_BYTES {
            let Some(at_byte) = self.count_block(entry)? else { continue };
            self.take(at_byte, 1, "a block of reference counts", occupied)?;
        }
        Ok(())
    }

    /// Where block `block` of the reference counts is; `None` if all of its clusters are free.
    fn count_block(&self, block: u64) -> Result<Option<u64>, VmdkError> {
        let Counts { table_offset_bytes, table_clusters, .. } = self.counts;
        if block >= table_clusters * self.cluster_bytes() / ENTRY_BYTES {
            return Ok(None);
        }
        let at_byte = table_offset_bytes + block * ENTRY_BYTES;
        let what = "an entry of the table of reference counts";
        let entry = u64::from_be_bytes(self.lookup.number(at_byte, what)?);
        require_reserved(entry, COUNT_RESERVED, what, at_byte)?;
        if !entry.is_multiple_of(self.cluster_bytes()) {
            let what = "a block of reference counts";
            return Err(Fault::Unaligned { what, offset_bytes: entry }.at(at_byte));
        }
        Ok((entry != 0).then_some(entry))
    }

    /// That no cluster in use is free by its reference count.
    fn compare_counts(&self, occupied: &Occupied) -> Result<(), VmdkError> {
        if self.counts.lazy {
            return Ok(());
        }
        let bits = 1_u64 << self.counts.order;
        let counts = self.cluster_bytes() * 8 / bits;
        let mut block = (u64::MAX, None);
        for cluster in occupied.places().filter(|&cluster| occupied.is_taken(cluster)) {
            if block.0 != cluster / counts {
                block = (cluster / counts, self.count_block(cluster / counts)?);
            }
            let offset_bytes = cluster * self.cluster_bytes();
            let free = Fault::ReferenceCount { offset_bytes };
            let Some(start) = block.1 else {
                let at_byte = self.counts.table_offset_bytes + block.0 * ENTRY_BYTES;
                return Err(free.at(at_byte));
            };
            let bit = cluster % counts * bits;
            let at_byte = start + bit / u64::from(u64::BITS) * ENTRY_BYTES;
            let word: [u8; 8] = self.lookup.number(at_byte, "a block of reference counts")?;
            if !is_counted(word, bit % u64::from(u64::BITS), bits) {
                return Err(free.at(start + bit / 8));
            }
        }
        Ok(())
    }

    fn entry_bytes(&self) -> u64 {
        if self.extended { 2 * ENTRY_BYTES } else { ENTRY_BYTES }
    }

    /// Entries of an L2 table.
    fn table_entries(&self) -> u64 {
        self.cluster_bytes() / self.entry_bytes()
    }

    /// Where cluster `cluster` is.
    fn place(&self, cluster: u64) -> Result<Place, VmdkError> {
        let (entry_bytes, entries) = (self.entry_bytes(), self.table_entries());
        let (table, entry) = (cluster / entries, cluster % entries);
        let at_byte = self.l1_offset_bytes + table * ENTRY_BYTES;
        let l1 = u64::from_be_bytes(self.lookup.number(at_byte, "an entry of the L1 table")?);
        let l2_offset_bytes = self.offset(l1, "an L2 table", at_byte)?;
        if l2_offset_bytes == 0 {
            return Ok(Place::Zero { until: (table + 1) * entries });
        }
        let at_byte = l2_offset_bytes + entry * entry_bytes;
        let what = "an entry of an L2 table";
        let number = u64::from_be_bytes(self.lookup.number(at_byte, what)?);
        let zero = Place::Zero { until: cluster + 1 };
        if number & L2_COMPRESSED != 0 {
            return Ok(self.compressed(number));
        }
        let data_bytes = self.offset(number, "a cluster", at_byte)?;
        if self.extended {
            let bitmap_at = at_byte + ENTRY_BYTES;
            let half: [u8; 8] = self.lookup.number(bitmap_at, what)?;
            let (zeros, there) = (u32_be(&half, 0), u32_be(&half, 4));
            if zeros & there != 0 || (there != 0 && data_bytes == 0) {
                return Err(Fault::Subclusters { there, zeros }.at(bitmap_at));
            }
            return Ok(match there {
                0 => zero,
                u32::MAX => Place::Data { at_byte: data_bytes },
                there => Place::Parts { at_byte: data_bytes, there },
            });
        }
        if data_bytes == 0 || (self.version > 2 && number & L2_ZERO != 0) {
            return Ok(zero);
        }
        Ok(Place::Data { at_byte: data_bytes })
    }

    /// The offset in an entry that stands at `at_byte`; 0 for none.
    fn offset(&self, entry: u64, what: &'static str, at_byte: u64) -> Result<u64, VmdkError> {
        let offset = entry & OFFSET_MASK;
        if offset.is_multiple_of(self.cluster_bytes()) {
            Ok(offset)
        } else {
            Err(Fault::Unaligned { what, offset_bytes: offset }.at(at_byte))
        }
    }

    /// A compressed cluster's descriptor: the offset below bit `62 - (cluster_bits - 8)`, above it
    /// the number of further sectors.
    fn compressed(&self, entry: u64) -> Place {
        let bits = 62 - (self.cluster_bits - 8);
        let at_byte = entry & ((1 << bits) - 1);
        let sectors = ((entry & (L2_COMPRESSED - 1)) >> bits) + 1;
        let len_bytes = sectors * SECTOR_BYTES - at_byte % SECTOR_BYTES;
        Place::Compressed { at_byte, len_bytes }
    }

    fn unpack(
        &self,
        at_byte: u64,
        len_bytes: u64,
        from: usize,
        buffer: &mut [u8],
    ) -> Result<(), VmdkError> {
        self.lookup.shared.with_scratch(|Scratch { zlib, packed, data }| {
            // The last sectors need not be there: the length is in whole ones.
            let left_bytes = self.lookup.storage.len_bytes().saturating_sub(at_byte);
            let len = usize::try_from(len_bytes.min(left_bytes)).unwrap_or(usize::MAX);
            packed.resize(len, 0);
            self.lookup.read(at_byte, packed, "a compressed cluster")?;
            let cluster_len = usize::try_from(self.cluster_bytes()).unwrap_or(usize::MAX);
            let damaged = || Fault::ClusterData.at(at_byte);
            let mut inflate = |data: &mut [u8]| match zlib.deflate_decompress(packed, data) {
                Ok(len) if len == cluster_len => Ok(()),
                _ => Err(damaged()),
            };
            if buffer.len() == cluster_len {
                return inflate(buffer);
            }
            data.resize(cluster_len, 0);
            inflate(data)?;
            let wanted = data.get(from..).and_then(|rest| rest.get(..buffer.len()));
            buffer.copy_from_slice(wanted.ok_or_else(damaged)?);
            Ok(())
        })
    }

    /// Reads from a cluster at `at_byte`, of whose 32 parts only some are there.
    fn read_parts(
        &self,
        at_byte: u64,
        there: u32,
        mut from: u64,
        mut buffer: &mut [u8],
    ) -> Result<(), VmdkError> {
        let part_bytes = self.cluster_bytes() / u64::from(u32::BITS);
        while !buffer.is_empty() {
            let left = usize::try_from(part_bytes - from % part_bytes).unwrap_or(usize::MAX);
            let (piece, rest) = buffer.split_at_mut(buffer.len().min(left));
            let len_bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if there & (1 << (from / part_bytes)) == 0 {
                piece.fill(0);
            } else {
                self.lookup.read(at_byte + from, piece, "a cluster")?;
            }
            from += len_bytes;
            buffer = rest;
        }
        Ok(())
    }
}

impl Units for Qcow2Image {
    fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    fn unit_bytes(&self) -> u64 {
        self.cluster_bytes()
    }

    fn unit(&self, unit: u64) -> Result<Unit, VmdkError> {
        Ok(match self.place(unit)? {
            Place::Zero { until } => Unit::ZeroUntil(until),
            Place::Compressed { .. } | Place::Data { .. } | Place::Parts { .. } => Unit::Data,
        })
    }

    fn read_unit(&self, unit: u64, from: u64, buffer: &mut [u8]) -> Result<(), VmdkError> {
        match self.place(unit)? {
            Place::Zero { .. } => {
                buffer.fill(0);
                Ok(())
            }
            Place::Compressed { at_byte, len_bytes } => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                self.unpack(at_byte, len_bytes, from, buffer)
            }
            Place::Data { at_byte } => self.lookup.read(at_byte + from, buffer, "a cluster"),
            Place::Parts { at_byte, there } => self.read_parts(at_byte, there, from, buffer),
        }
    }
}

impl DiskImage for Qcow2Image {
    fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    fn read_at(&self, at_byte: u64, buffer: &mut [u8]) -> Result<(), VmdkError> {
        read_units(self, at_byte, buffer)
    }

    fn next_data(&self, from_byte: u64) -> Result<Option<Range<u64>>, VmdkError> {
        next_units(self, from_byte)
    }

    fn unit_bytes(&self) -> u64 {
        self.cluster_bytes()
    }
}

/// What of the header is needed.
struct Header {
    capacity_bytes: u64,
    cluster_bits: u32,
    l1_offset_bytes: u64,
    l1_entries: u64,
    extended: bool,
    counts: Counts,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, VmdkError> {
        let unsupported = |what, at_byte| Err(Fault::Unsupported { what }.at(at_byte));
        let version = u32_be(bytes, 4);
        if !(2..=3).contains(&version) {
            return Err(Fault::QcowVersion(version).at(4));
        }
        if u64_be(bytes, 8) != 0 {
            return unsupported("a qcow2 image with a backing file", 8);
        }
        let cluster_bits = u32_be(bytes, 20);
        if !(CLUSTER_BITS_MIN..=CLUSTER_BITS_MAX).contains(&cluster_bits) {
            return Err(Fault::ClusterBits(cluster_bits).at(20));
        }
        if u32_be(bytes, 32) != 0 {
            return unsupported("an encrypted qcow2 image", 32);
        }
        let incompatible = if version == 2 { 0 } else { u64_be(bytes, 72) };
        for (bit, what) in [
            (INCOMPATIBLE_CORRUPT, "a qcow2 image that is marked as corrupt"),
            (INCOMPATIBLE_EXTERNAL, "a qcow2 image with an external data file"),
            (INCOMPATIBLE_COMPRESSION, "a qcow2 image compressed with zstd"),
            (!INCOMPATIBLE_KNOWN, "a qcow2 image with unknown incompatible features"),
        ] {
            if incompatible & bit != 0 {
                return unsupported(what, 72);
            }
        }
        let extended = incompatible & INCOMPATIBLE_EXTENDED != 0;
        if extended && cluster_bits < CLUSTER_BITS_EXTENDED_MIN {
            return Err(Fault::ClusterBits(cluster_bits).at(20));
        }
        // A disk is a whole number of sectors for everyone else.
        let capacity_bytes = u64_be(bytes, 24).checked_next_multiple_of(SECTOR_BYTES);
        let capacity_bytes = capacity_bytes.filter(|&bytes| bytes <= CAPACITY_BYTES_MAX);
        let Some(capacity_bytes) = capacity_bytes else {
            let sectors = u64_be(bytes, 24) / SECTOR_BYTES;
            let max = CAPACITY_BYTES_MAX / SECTOR_BYTES;
            return Err(Fault::Capacity { sectors, max }.at(24));
        };
        let entry_bits = if extended { 4 } else { 3 };
        let l1_entries = capacity_bytes.div_ceil(1 << (2 * cluster_bits - entry_bits));
        let found = u64::from(u32_be(bytes, 36));
        if found < l1_entries {
            return Err(Fault::L1Length { found, expected: l1_entries }.at(36));
        }
        let l1_offset_bytes = u64_be(bytes, 40);
        if !l1_offset_bytes.is_multiple_of(1 << cluster_bits) {
            let fault = Fault::Unaligned { what: "the L1 table", offset_bytes: l1_offset_bytes };
            return Err(fault.at(40));
        }
        let order = if version == 2 { COUNT_ORDER_V2 } else { u32_be(bytes, 96) };
        if order > COUNT_ORDER_MAX {
            return unsupported("a qcow2 image with reference counts of more than 64 bits", 96);
        }
        let table_offset_bytes = u64_be(bytes, 48);
        if !table_offset_bytes.is_multiple_of(1 << cluster_bits) {
            let what = "the table of reference counts";
            return Err(Fault::Unaligned { what, offset_bytes: table_offset_bytes }.at(48));
        }
        let counts = Counts {
            table_offset_bytes,
            table_clusters: u32_be(bytes, 56).into(),
            order,
            lazy: incompatible & INCOMPATIBLE_DIRTY != 0,
        };
        Ok(Self { capacity_bytes, cluster_bits, l1_offset_bytes, l1_entries, extended, counts })
    }
}

/// That none of these bits is set.
fn require_reserved(
    number: u64,
    reserved: u64,
    what: &'static str,
    at_byte: u64,
) -> Result<(), VmdkError> {
    match number & reserved {
        0 => Ok(()),
        bits => Err(Fault::ReservedBits { what, bits }.at(at_byte)),
    }
}

/// Whether the count of `bits` bits that starts at bit `at` of these bytes is not zero.
fn is_counted(word: [u8; 8], at: u64, bits: u64) -> bool {
    if bits < 8 {
        // Those within a byte start with its lowest bits.
        let byte = word[usize::try_from(at / 8).unwrap_or(0)];
        return byte >> (at % 8) & ((1 << bits) - 1) != 0;
    }
    let first = usize::try_from(at / 8).unwrap_or(0);
    let len = usize::try_from(bits / 8).unwrap_or(0);
    word.iter().skip(first).take(len).any(|&byte| byte != 0)
}

/// The big-endian number at `at`.
fn u32_be(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

/// The big-endian number at `at`.
fn u64_be(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(number)
}

const MAGIC: [u8; 4] = *b"QFI\xfb";

const HEADER_LEN_V2: usize = 72;
const HEADER_LEN_V3: usize = 104;

/// Of L1 tables and of simple L2 tables.
const ENTRY_BYTES: u64 = 8;

/// Unit of the lengths of compressed clusters.
const SECTOR_BYTES: u64 = 512;

/// 512 bytes to 2 MiB.
const CLUSTER_BITS_MIN: u32 = 9;
const CLUSTER_BITS_MAX: u32 = 21;
/// A part of a cluster must be a sector at least.
const CLUSTER_BITS_EXTENDED_MIN: u32 = 14;

/// Offset in an L1 or L2 entry; what is left are flags and reserved bits.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const L2_COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros whatever its offset (version 3).
const L2_ZERO: u64 = 1;

/// Bits of an L1 entry that are neither offset nor "referenced once".
const L1_RESERVED: u64 = !(OFFSET_MASK | REFERENCED_ONCE);
/// The same of the L2 entry of a cluster that is not compressed, but for [`L2_ZERO`].
const L2_RESERVED: u64 = !(OFFSET_MASK | REFERENCED_ONCE | L2_ZERO);
const REFERENCED_ONCE: u64 = 1 << 63;
/// Of an entry of the table of reference counts.
const COUNT_RESERVED: u64 = 0x1ff;

/// Counts of 16 bits.
const COUNT_ORDER_V2: u32 = 4;
/// Counts of 64 bits.
const COUNT_ORDER_MAX: u32 = 6;

const INCOMPATIBLE_DIRTY: u64 = 1;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_EXTERNAL: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED: u64 = 1 << 4;
/// [`INCOMPATIBLE_DIRTY`] says that reference counts may be wrong, which no reader needs.
const INCOMPATIBLE_KNOWN: u64 = 0b1_1111;

/// 64 TiB: no disk of vSphere is larger.
const CAPACITY_BYTES_MAX: u64 = 64 << 40;
