//! The embedded descriptor: a few lines of text about the disk.

use std::fmt::Write;

use crate::header::SECTOR_BYTES;

/// The text that a sparse extent carries behind its header, and the few keys of it that matter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Descriptor {
    text: String,
}

/// A line that says which sectors of the disk lie in which file.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Extent {
    /// `RW`, `RDONLY` or `NOACCESS`.
    pub access: String,
    /// Length of the extent, in sectors.
    pub sectors: u64,
    /// `SPARSE`, `FLAT`, `ZERO` and others.
    pub kind: String,
    /// Name of the file; empty for `ZERO`.
    pub file: String,
    /// Where the extent starts in a flat file, in sectors.
    pub offset_sectors: u64,
}

impl Extent {
    /// Whether a line of a descriptor speaks of an extent.
    pub(crate) fn is_line(line: &str) -> bool {
        line.split_whitespace().next().is_some_and(|word| ACCESS.contains(&word))
    }

    /// Reads `RW 4192256 FLAT "name.vmdk" 0`, with or without an offset behind the name.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (access, rest) = line.trim().split_once(char::is_whitespace)?;
        if !ACCESS.contains(&access) {
            return None;
        }
        let (sectors, rest) = rest.trim_start().split_once(char::is_whitespace)?;
        let (kind, rest) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
        let mut quoted = rest.split('"');
        let (file, behind) = (quoted.nth(1).unwrap_or(""), quoted.next().unwrap_or("").trim());
        Some(Self {
            access: access.to_owned(),
            sectors: sectors.parse().ok()?,
            kind: kind.to_owned(),
            file: file.to_owned(),
            offset_sectors: if behind.is_empty() { 0 } else { behind.parse().ok()? },
        })
    }
}

impl Descriptor {
    /// Reads the text up to the first NUL.  Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Self { text: String::from_utf8_lossy(&bytes[..end]).into_owned() }
    }

    /// The descriptor we write: the same text for the same capacity.
    #[must_use]
    pub fn stream_optimized(capacity_sectors: u64) -> Self {
        let mut text = String::from("# Disk DescriptorFile\nversion=1\n");
        let cylinders = (capacity_sectors / (HEADS * TRACK_SECTORS)).clamp(1, CYLINDERS_MAX);
        let written = write!(
            text,
            "CID={cid:08x}\n\
             parentCID=ffffffff\n\
             createType=\"streamOptimized\"\n\
             \n\
             # Extent description\n\
             RW {capacity_sectors} SPARSE \"disk.vmdk\"\n\
             \n\
             # The Disk Data Base\n\
             #DDB\n\
             \n\
             ddb.adapterType = \"lsilogic\"\n\
             ddb.geometry.cylinders = \"{cylinders}\"\n\
             ddb.geometry.heads = \"{HEADS}\"\n\
             ddb.geometry.sectors = \"{TRACK_SECTORS}\"\n\
             ddb.virtualHWVersion = \"4\"\n",
            cid = content_id(capacity_sectors),
        );
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        Self { text }
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Value of `key`, without its quotes.  Keys are compared without regard to case.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case(key).then(|| value.trim().trim_matches('"'))
        })
    }

    /// `createType`, such as `streamOptimized`.
    #[must_use]
    pub fn create_type(&self) -> Option<&str> {
        self.value("createType")
    }

    /// `CID`, which hosts change whenever they write to the disk.
    #[must_use]
    pub fn content_id(&self) -> Option<u32> {
        u32::from_str_radix(self.value("CID")?, 16).ok()
    }

    /// The content id of the disk this one is a delta of; `None` for a disk of its own.
    #[must_use]
    pub fn parent_content_id(&self) -> Option<u32> {
        let id = u32::from_str_radix(self.value("parentCID")?, 16).ok()?;
        (id != NO_PARENT).then_some(id)
    }

    /// The lines of the disk data base, `ddb.adapterType = "lsilogic"` and the like: keys with their
    /// `ddb.`, and values without quotes.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.text.lines().filter_map(|line| line.split_once('='));
        let pairs = pairs.map(|(key, value)| (key.trim(), value.trim().trim_matches('"')));
        pairs.filter(|(key, _)| key.starts_with("ddb."))
    }

    /// The extents, in the order of the disk.
    #[must_use]
    pub fn extents(&self) -> Vec<Extent> {
        self.text.lines().filter_map(Extent::parse).collect()
    }

    /// Size of the disk by its extents, in bytes; `None` if the text names none.
    #[must_use]
    pub fn capacity_bytes(&self) -> Option<u64> {
        let extents = self.extents();
        let sectors = extents.iter().try_fold(0_u64, |sum, e| sum.checked_add(e.sectors))?;
        (!extents.is_empty()).then(|| sectors.checked_mul(SECTOR_BYTES))?
    }
}

/// A content id that is the same in every run.  The text precedes the content, so it cannot depend
/// on it; hosts give the disk a new one when they first write to it.
fn content_id(capacity_sectors: u64) -> u32 {
    let hash = capacity_sectors
        .to_le_bytes()
        .iter()
        .fold(FNV_OFFSET, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(FNV_PRIME));
    // The two highest values mean "no parent" and "unknown".
    hash & 0x7fff_ffff
}

/// First words of a line that describes an extent.
const ACCESS: [&str; 3] = ["RW", "RDONLY", "NOACCESS"];

/// `parentCID` of a disk that is no delta.
const NO_PARENT: u32 = u32::MAX;

/// Geometry of a disk on a SCSI controller above 1 GiB; nothing reads it today.
const HEADS: u64 = 255;
const TRACK_SECTORS: u64 = 63;
const CYLINDERS_MAX: u64 = 65_535;

/// FNV-1a, 32 bits.
const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_text_is_read_back() {
        let descriptor = Descriptor::stream_optimized(8192);
        assert_eq!(descriptor.create_type(), Some("streamOptimized"));
        assert_eq!(descriptor.parent_content_id(), None);
        assert!(descriptor.content_id().is_some());
        assert_eq!(descriptor.capacity_bytes(), Some(8192 * 512));
        assert_eq!(descriptor.extents()[0].file, "disk.vmdk");
        assert!(descriptor.text().len() < 20 * 512);
        let settings: Vec<_> = descriptor.settings().collect();
        assert_eq!(settings.len(), 5);
        assert_eq!(settings[0], ("ddb.adapterType", "lsilogic"));
    }

    #[test]
    fn foreign_text_is_read_without_trust() {
        let text = b"CID = FFFFFFFE\r\nparentcid=00000001\r\nRW 10 FLAT \"a b-flat.vmdk\" 0\r\n\
            RDONLY 5 ZERO\r\nRW x SPARSE \"n\"\r\nRWX\r\n\xff\xfe\0CID=1";
        let descriptor = Descriptor::parse(text);
        assert_eq!(descriptor.content_id(), Some(0xffff_fffe));
        assert_eq!(descriptor.parent_content_id(), Some(1));
        assert_eq!(descriptor.capacity_bytes(), Some(15 * 512));
        assert_eq!(descriptor.extents()[0].file, "a b-flat.vmdk");
        assert_eq!(descriptor.extents()[1].kind, "ZERO");
        let huge = Descriptor::parse(b"RW 18446744073709551615 FLAT \"a\"\nRW 1 FLAT \"b\"\n");
        assert_eq!(huge.capacity_bytes(), None);
    }
}
