//! Opens a disk by what it is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::SECTOR_BYTES;
use crate::header::SECTOR_LEN;
use crate::image::DiskImage;
use crate::qcow2::Qcow2Image;
use crate::raw::RawImage;
use crate::storage::FileStorage;
use crate::storage::FindExtent;
use crate::storage::Storage;
use crate::vmdk::VmdkImage;

/// Format of a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Format {
    /// qcow2 of QEMU.
    Qcow2,
    /// Byte for byte.
    Raw,
    /// Any sub-format of VMDK.
    Vmdk,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Vmdk => "vmdk",
        })
    }
}

impl Format {
    /// What a file is, if it is a disk: by its first bytes, else by its name (`.vmdk`, `.qcow2`,
    /// `.raw`, `.img`).  `None` for what is no disk, or no file that can be read by position.
    ///
    /// # Errors
    ///
    /// As [`of_bytes`](Self::of_bytes).
    pub fn of_path(path: &Path) -> Result<Option<Self>, VmdkError> {
        match look(path) {
            Ok((_, Some(format))) => Ok(Some(format)),
            Ok((_, None)) => Ok(of_name(path).or_else(|| is_called_raw(path).then_some(Self::Raw))),
            Err(VmdkError::Io { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the first bytes of a file say; `None` if it may be a raw disk.
    ///
    /// # Errors
    ///
    /// [`Fault::Unsupported`] for a disk of another format, which must not be taken for a raw one.
    pub fn of_bytes(start: &[u8]) -> Result<Option<Self>, VmdkError> {
        if start.starts_with(b"QFI\xfb") {
            return Ok(Some(Self::Qcow2));
        }
        if start.starts_with(b"KDMV") || start.starts_with(b"# Disk Descriptor") {
            return Ok(Some(Self::Vmdk));
        }
        let others: [(&[u8], &str); 5] = [
            (b"COWD", "a COWD disk of ESXi"),
            (b"conectix", "a VHD disk"),
            (b"vhdxfile", "a VHDX disk"),
            (b"<<< ", "a VDI disk"),
            (b"QED\0", "a QED disk"),
        ];
        match others.iter().find(|(magic, _)| start.starts_with(magic)) {
            Some(&(_, what)) => Err(Fault::Unsupported { what }.at(0)),
            None => Ok(None),
        }
    }
}

/// Opens a file, and asks its first bytes.
fn look(path: &Path) -> Result<(FileStorage, Option<Format>), VmdkError> {
    let storage = FileStorage::open(path).map_err(|source| VmdkError::Io { at_byte: 0, source })?;
    let format = probe(&storage)?;
    Ok((storage, format))
}

/// A disk of any format that is read.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyImage {
    /// qcow2 of QEMU.
    Qcow2(Qcow2Image),
    /// Byte for byte.
    Raw(RawImage<Arc<dyn Storage>>),
    /// Any sub-format of VMDK.
    Vmdk(VmdkImage),
}

impl AnyImage {
    /// Opens the disk at `path`.
    ///
    /// Without a `format`, its first bytes tell; what is none of the known formats is a raw disk,
    /// unless it is called `.vmdk` or `.qcow2`.  What looks like a package, an archive or a disk of
    /// yet another format is a raw disk only if it is called `.raw` or `.img`.  Give [`Format::Raw`]
    /// for a raw disk whose first bytes somebody else has written, such as a guest: they may look
    /// like another format on purpose.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Io`] if the file cannot be read, [`Fault::NoDisk`] for what is something else,
    /// otherwise what is wrong with it.
    pub fn open(path: &Path, format: Option<Format>) -> Result<Self, VmdkError> {
        let storage =
            FileStorage::open(path).map_err(|source| VmdkError::Io { at_byte: 0, source })?;
        let format = match format {
            Some(format) => format,
            // One that has lost its first bytes must not pass for a raw disk.
            None => match probe(&storage)?.or_else(|| of_name(path)) {
                Some(format) => format,
                None if is_called_raw(path) => Format::Raw,
                // Wrapped into a disk, it would be of no use to anybody, and nobody would notice.
                None => {
                    refuse_strangers(&storage)?;
                    Format::Raw
                }
            },
        };
        Ok(match format {
            Format::Raw => Self::Raw(RawImage::new(Arc::new(storage))),
            Format::Qcow2 => Self::Qcow2(Qcow2Image::open(Arc::new(storage))?),
            Format::Vmdk => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                Self::Vmdk(VmdkImage::open(Arc::new(storage), folder)?)
            }
        })
    }

    /// What it is.
    #[must_use]
    pub const fn format(&self) -> Format {
        match self {
            Self::Qcow2(_) => Format::Qcow2,
            Self::Raw(_) => Format::Raw,
            Self::Vmdk(_) => Format::Vmdk,
        }
    }

    /// What all formats have in common.
    #[must_use]
    pub fn as_image(&self) -> &dyn DiskImage {
        match self {
            Self::Qcow2(image) => image,
            Self::Raw(image) => image,
            Self::Vmdk(image) => image,
        }
    }

    /// Length of all its files, holes included, in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        match self {
            Self::Qcow2(image) => image.file_bytes(),
            Self::Raw(image) => image.file_bytes(),
            Self::Vmdk(image) => image.file_bytes(),
        }
    }
}

/// Opens the disk at `path`, as [`AnyImage::open`] does.
///
/// # Errors
///
/// As [`AnyImage::open`].
///
/// ```no_run
/// use ovftransfer_vmdk::DiskImage;
///
/// let image = ovftransfer_vmdk::open_image("disk.qcow2".as_ref(), None)?;
/// println!("{} bytes", image.capacity_bytes());
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
pub fn open_image(path: &Path, format: Option<Format>) -> Result<Box<dyn DiskImage>, VmdkError> {
    Ok(match AnyImage::open(path, format)? {
        AnyImage::Qcow2(image) => Box::new(image),
        AnyImage::Raw(image) => Box::new(image),
        AnyImage::Vmdk(image) => Box::new(image),
    })
}

/// Opens a disk that is no file of a folder: a member of an archive, say.
///
/// `find_extent` is asked for the other files of a VMDK that consists of several.
///
/// # Errors
///
/// As [`open_image`]; what `find_extent` says is in [`VmdkError::Extent`].
///
/// ```
/// use std::sync::Arc;
/// use ovftransfer_vmdk::open_storage;
///
/// let none = &|_: &str| Err(std::io::ErrorKind::NotFound.into());
/// let image = open_storage(Arc::new(vec![7; 4096]), None, none)?;
/// assert_eq!(image.as_image().capacity_bytes(), 4096);
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
pub fn open_storage(
    storage: Arc<dyn Storage>,
    format: Option<Format>,
    find_extent: &FindExtent<'_>,
) -> Result<AnyImage, VmdkError> {
    let format = match format {
        Some(format) => format,
        None => probe(&*storage)?.unwrap_or(Format::Raw),
    };
    Ok(match format {
        Format::Raw => AnyImage::Raw(RawImage::new(storage)),
        Format::Qcow2 => AnyImage::Qcow2(Qcow2Image::open(storage)?),
        Format::Vmdk => AnyImage::Vmdk(VmdkImage::open_with(storage, find_extent)?),
    })
}

/// The format that a name promises; the data of a flat VMDK is raw.
fn of_name(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    match name.rsplit_once('.')? {
        (stem, "vmdk") if !is_flat(stem) => Some(Format::Vmdk),
        (_, "qcow2") => Some(Format::Qcow2),
        _ => None,
    }
}

/// Whether a file is called as raw disks are; that of a flat VMDK is one, too.
fn is_called_raw(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        ["raw", "img", "vmdk"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// Whether a file with this name is an extent of a flat disk: `disk-flat.vmdk` or `disk-f001.vmdk`.
fn is_flat(stem: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match stem.rsplit_once('-') {
        Some((_, "flat")) => true,
        Some((_, part)) => part.strip_prefix('f').is_some_and(number),
        None => false,
    }
}

/// Refuses what can be told from a raw disk, although it is none of the formats that are read.
fn refuse_strangers(storage: &dyn Storage) -> Result<(), VmdkError> {
    let sector = |at_byte, len| {
        let mut bytes = [0; SECTOR_LEN];
        let read = storage.read_exact_at(at_byte, &mut bytes[..len]);
        read.map(|()| bytes).map_err(|source| VmdkError::Io { at_byte, source })
    };
    let file_bytes = storage.len_bytes();
    let start = sector(0, usize::try_from(file_bytes).unwrap_or(SECTOR_LEN).min(SECTOR_LEN))?;
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
    let others: [(&[u8], &[u8], &str); 8] = [
        (text, b"<?xml", "an XML file, such as the descriptor of a package"),
        (text, b"<Envelope", "the descriptor of a package"),
        (&start[TAR_MAGIC_AT..], b"ustar", "a tar archive, such as an OVA"),
        (&start, b"\x1f\x8b", "a file packed with gzip"),
        (&start, b"\xfd7zXZ\0", "a file packed with xz"),
        (&start, b"\x28\xb5\x2f\xfd", "a file packed with zstd"),
        (&start, b"BZh", "a file packed with bzip2"),
        (&start, b"PK\x03\x04", "a ZIP archive"),
    ];
    let found = others.iter().find(|(bytes, magic, _)| bytes.starts_with(magic));
    if let Some(&(_, _, what)) = found {
        return Err(Fault::NoDisk { what }.at(0));
    }
    // A fixed VHD is raw but for its footer.
    match file_bytes.checked_sub(SECTOR_BYTES) {
        Some(at) if sector(at, SECTOR_LEN)?.starts_with(b"conectix") => {
            Err(Fault::Unsupported { what: "a VHD disk" }.at(at))
        }
        _ => Ok(()),
    }
}

fn probe(storage: &dyn Storage) -> Result<Option<Format>, VmdkError> {
    let mut start = [0; PROBE_LEN];
    let len = usize::try_from(storage.len_bytes()).unwrap_or(PROBE_LEN).min(PROBE_LEN);
    let read = storage.read_exact_at(0, &mut start[..len]);
    read.map_err(|source| VmdkError::Io { at_byte: 0, source })?;
    Format::of_bytes(&start[..len])
}

/// Longer than every magic.
const PROBE_LEN: usize = 64;

/// Where a tar archive says that it is one (POSIX.1-1988).
const TAR_MAGIC_AT: usize = 257;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_promises_a_format() {
        for (name, format) in [
            ("disk.vmdk", Some(Format::Vmdk)),
            ("a-b.VMDK", Some(Format::Vmdk)),
            ("disk-s001.vmdk", Some(Format::Vmdk)),
            ("disk.qcow2", Some(Format::Qcow2)),
            ("disk-flat.vmdk", None),
            ("disk-f001.vmdk", None),
            ("disk.img", None),
            ("vmdk", None),
        ] {
            assert_eq!(of_name(Path::new(name)), format, "{name}");
        }
    }
}
