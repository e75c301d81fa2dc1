//! What the file of a disk really is: by its first bytes, not only by what the descriptor says.

use std::fmt;
use std::time::Duration;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::envelope::Disk;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_vmdk::Format;
use ovftransfer_vmdk::Header;
use ovftransfer_vmdk::SECTOR_BYTES;

/// What the file of a disk is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum DiskFileFormat {
    /// The descriptor of a VMDK whose data is in other files, flat or sparse ones.
    Extents,
    /// qcow2 of QEMU.
    Qcow2,
    /// Byte for byte.
    Raw,
    /// A VMDK of one sparse file that is not stream-optimized (`monolithicSparse`).
    SparseVmdk,
    /// A stream-optimized VMDK: what vSphere takes and gives.
    StreamOptimized,
}

impl DiskFileFormat {
    /// The word for it in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Extents => "vmdk-extents",
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::SparseVmdk => "vmdk-sparse",
            Self::StreamOptimized => "stream-optimized",
        }
    }
}

impl fmt::Display for DiskFileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Extents => "a VMDK of several files",
            Self::Qcow2 => "a qcow2 disk",
            Self::Raw => "a raw disk",
            Self::SparseVmdk => "a sparse VMDK",
            Self::StreamOptimized => "a stream-optimized VMDK",
        })
    }
}

/// A disk that was converted to a stream-optimized VMDK before it was sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Conversion {
    /// What it was.
    pub from: DiskFileFormat,
    /// The files of the package that it was made of: one, and the extents of a VMDK of several.
    pub files: Vec<ConvertedFrom>,
    /// From the first byte that was read to the last one that was written.
    pub took: Duration,
}

/// A file of the package of which a disk was made that was sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConvertedFrom {
    /// Its name in the package.
    pub file: FileName,
    /// Its size in bytes; of a compressed one, what it holds.
    pub bytes: u64,
    /// Every digest that was computed of it while it was read.
    pub digests: Vec<Digest>,
    /// Whether the package's manifest agreed.
    pub by_package: bool,
}

impl Conversion {
    pub(crate) const fn new(
        from: DiskFileFormat,
        files: Vec<ConvertedFrom>,
        took: Duration,
    ) -> Self {
        Self { from, files, took }
    }

    /// What the files have together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// Whether the package's manifest agreed in the digest of every file.
    #[must_use]
    pub fn by_package(&self) -> bool {
        self.files.iter().all(|file| file.by_package)
    }
}

impl ConvertedFrom {
    pub(crate) const fn new(
        file: FileName,
        bytes: u64,
        digests: Vec<Digest>,
        by_package: bool,
    ) -> Self {
        Self { file, bytes, digests, by_package }
    }
}

/// What the descriptor says about the file of a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared<'d> {
    /// URI of the format (DSP0243 1.1.0 §9.1); empty if it does not say.
    uri: &'d str,
    /// The largest capacity of the disks that are made of the file.
    pub(crate) capacity_bytes: u64,
}

impl<'d> Declared<'d> {
    /// Nothing if the file is no disk.
    pub(crate) fn of(envelope: &'d Envelope, reference: &FileRef) -> Option<Self> {
        let is_of = |disk: &&Disk| disk.file_ref() == Some(reference.id());
        let disks = envelope.disks().iter().filter(is_of);
        let capacity_bytes = disks.clone().map(Disk::capacity_bytes).max()?;
        let uri = disks.map(Disk::format).find(|uri| !uri.is_empty()).unwrap_or_default();
        Some(Self { uri, capacity_bytes })
    }

    /// Whether the URI is one of a VMDK; the many spellings of it say no more that counts.
    pub(crate) fn says_vmdk(&self) -> bool {
        self.says("vmdk")
    }

    /// Whether there is a URI, and none of a VMDK.
    pub(crate) fn says_other(&self) -> bool {
        !self.uri.is_empty() && !self.says_vmdk()
    }

    /// What the file is, by its first bytes (as many as there are, up to 512) and its size, where
    /// that is known.
    ///
    /// A raw disk has no mark of its own.  What has none is one only if the descriptor says so, or
    /// if it has exactly the disk's capacity: what is left of a broken download must not become a
    /// machine.  A file that is raw by both is raw whatever it begins with, for a guest writes those
    /// bytes.
    ///
    /// # Errors
    ///
    /// Why it is none that can be sent, in words that follow the file's name.
    pub(crate) fn kind(
        &self,
        head: &[u8],
        size_bytes: Option<u64>,
    ) -> Result<DiskFileFormat, String> {
        let sectors = |bytes: u64| bytes.div_ceil(SECTOR_BYTES);
        let capacity = sectors(self.capacity_bytes);
        let is_whole = size_bytes.is_some_and(|bytes| sectors(bytes) == capacity && bytes > 0);
        let is_raw = self.says("raw");
        if is_raw && is_whole {
            return Ok(DiskFileFormat::Raw);
        }
        match Format::of_bytes(head) {
            Ok(Some(Format::Qcow2)) => Ok(DiskFileFormat::Qcow2),
            Ok(Some(_)) => Ok(vmdk(head)),
            Ok(None) if is_whole || (is_raw && size_bytes != Some(0)) => Ok(DiskFileFormat::Raw),
            Ok(None) => Err(format!(
                "is no disk: it has the first bytes of neither VMDK nor qcow2, and it is no raw \
                 disk of {} bytes, which is the capacity in the descriptor",
                self.capacity_bytes
            )),
            Err(error) => Err(format!("cannot be taken: {error}")),
        }
    }

    /// What the URI alone says of a file that has yet to come; nothing if it is one of a VMDK.
    ///
    /// `#sparse` says nothing: packers gave that name to streams, too.
    pub(crate) fn kind_by_uri(&self) -> Option<DiskFileFormat> {
        if self.says("raw") {
            return Some(DiskFileFormat::Raw);
        }
        self.says("qcow").then_some(DiskFileFormat::Qcow2)
    }

    /// What is odd about a file of a kind that the descriptor does not say.
    pub(crate) fn contradiction(&self, kind: DiskFileFormat) -> Option<String> {
        let is_said = match kind {
            _ if self.uri.is_empty() => true,
            DiskFileFormat::Raw => self.says("raw"),
            DiskFileFormat::Qcow2 => self.says("qcow"),
            DiskFileFormat::StreamOptimized => self.says_vmdk(),
            DiskFileFormat::SparseVmdk | DiskFileFormat::Extents => {
                self.says_vmdk() && !self.says("streamoptimized")
            }
        };
        let uri: String = self.uri.chars().take(URI_CHARS_SHOWN).collect();
        (!is_said).then(|| format!("is {kind}, but the descriptor calls its format {uri:?}"))
    }

    fn says(&self, word: &str) -> bool {
        self.uri.to_ascii_lowercase().contains(word)
    }
}

/// Tells stream-optimized disks by their header: the grains are compressed.
///
/// One that cannot be read is left to the check of the stream, which says what is wrong and where.
fn vmdk(head: &[u8]) -> DiskFileFormat {
    if !head.starts_with(b"KDMV") {
        return DiskFileFormat::Extents;
    }
    let header = head.first_chunk::<512>().and_then(|sector| Header::parse(sector).ok());
    match header {
        Some(header) if header.flags & Header::FLAG_COMPRESSED == 0 => DiskFileFormat::SparseVmdk,
        Some(_) | None => DiskFileFormat::StreamOptimized,
    }
}

/// The format of what vSphere takes and gives (Virtual Disk Format 1.1).
pub(crate) const STREAM_OPTIMIZED_URI: &str =
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/// The format of raw disks: the page that says what they are.  There is no URI that everybody takes.
pub(crate) const RAW_URI: &str = "https://www.qemu.org/docs/master/system/qemu-block-drivers.html#cmdoption-image-formats-arg-raw";

/// How much of a URI is shown.
const URI_CHARS_SHOWN: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 1 << 20;

    fn declared(uri: &str) -> Declared<'_> {
        Declared { uri, capacity_bytes: CAPACITY }
    }

    fn head(magic: &[u8]) -> Vec<u8> {
        let mut head = magic.to_vec();
        head.resize(512, 0);
        head
    }

    #[test]
    fn the_first_bytes_count_and_not_the_uri() {
        let stream = Header::stream_optimized(2048).unwrap();
        let mut sparse = stream.clone();
        sparse.flags = Header::FLAG_NEW_LINES;
        (sparse.compress_algorithm, sparse.gd_offset_sectors) = (0, 21);
        let cases = [
            (stream.encode().to_vec(), DiskFileFormat::StreamOptimized),
            (sparse.encode().to_vec(), DiskFileFormat::SparseVmdk),
            (head(b"# Disk DescriptorFile\n"), DiskFileFormat::Extents),
            (head(b"QFI\xfb"), DiskFileFormat::Qcow2),
            // Damaged: the check of the stream says how.
            (head(b"KDMV"), DiskFileFormat::StreamOptimized),
        ];
        for (head, expected) in &cases {
            for uri in ["", STREAM_OPTIMIZED_URI, "http://example.com/raw", "urn:qcow2"] {
                assert_eq!(declared(uri).kind(head, Some(70_000)).unwrap(), *expected, "{uri}");
            }
        }
    }

    #[test]
    fn a_raw_disk_is_called_so_or_has_its_capacity() {
        let zeros = head(b"");
        let kind = |uri, head: &[u8], size| declared(uri).kind(head, size);
        assert_eq!(kind("", &zeros, Some(CAPACITY)), Ok(DiskFileFormat::Raw));
        // The last sector need not be there as a whole.
        assert_eq!(kind("", &zeros, Some(CAPACITY - 511)), Ok(DiskFileFormat::Raw));
        assert_eq!(kind(STREAM_OPTIMIZED_URI, &zeros, Some(CAPACITY)), Ok(DiskFileFormat::Raw));
        assert_eq!(kind("urn:raw", &zeros, Some(CAPACITY / 2)), Ok(DiskFileFormat::Raw));
        assert_eq!(kind("urn:raw", &zeros, None), Ok(DiskFileFormat::Raw));
        for size in [Some(0), Some(CAPACITY - 512), Some(CAPACITY + 512), None] {
            assert!(kind(STREAM_OPTIMIZED_URI, &zeros, size).is_err(), "{size:?}");
        }
        assert!(kind("urn:raw", b"", Some(0)).is_err());
        // A guest writes what it likes to the beginning of its disk.
        assert_eq!(kind("urn:raw", &head(b"QFI\xfb"), Some(CAPACITY)), Ok(DiskFileFormat::Raw));
    }

    #[test]
    fn formats_that_nobody_reads_are_named() {
        for (magic, name) in [(&b"conectix"[..], "VHD"), (b"vhdxfile", "VHDX"), (b"COWD", "COWD")] {
            let error = declared("").kind(&head(magic), Some(CAPACITY)).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_contradiction_is_told() {
        let said = declared(STREAM_OPTIMIZED_URI);
        assert_eq!(said.contradiction(DiskFileFormat::StreamOptimized), None);
        assert!(said.contradiction(DiskFileFormat::Raw).unwrap().contains("raw disk"));
        assert!(said.contradiction(DiskFileFormat::SparseVmdk).is_some());
        assert_eq!(declared("vmdk.html#sparse").contradiction(DiskFileFormat::SparseVmdk), None);
        assert_eq!(declared("").contradiction(DiskFileFormat::Qcow2), None);
        assert!(declared("urn:raw").contradiction(DiskFileFormat::Qcow2).is_some());
    }
}
