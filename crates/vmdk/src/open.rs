//! Opens a disk by what it is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::Fault;
use crate::error::VmdkError;
use crate::image::DiskImage;
use crate::qcow2::Qcow2Image;
use crate::raw::RawImage;
use crate::storage::FileStorage;
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

/// Opens the disk at `path`.
///
/// Without a `format`, its first bytes tell; what is none of the known formats is a raw disk.  Give
/// [`Format::Raw`] for a raw disk whose first bytes somebody else has written, such as a guest: they
/// may look like another format on purpose.
///
/// # Errors
///
/// [`VmdkError::Io`] if the file cannot be read, otherwise what is wrong with it.
///
/// ```no_run
/// use ovftransfer_vmdk::DiskImage;
///
/// let image = ovftransfer_vmdk::open_image("disk.qcow2".as_ref(), None)?;
/// println!("{} bytes", image.capacity_bytes());
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
pub fn open_image(path: &Path, format: Option<Format>) -> Result<Box<dyn DiskImage>, VmdkError> {
    let storage = FileStorage::open(path).map_err(|source| VmdkError::Io { at_byte: 0, source })?;
    let format = match format {
        Some(format) => format,
        None => probe(&storage)?,
    };
    Ok(match format {
        Format::Raw => Box::new(RawImage::new(storage)),
        Format::Qcow2 => Box::new(Qcow2Image::open(Arc::new(storage))?),
        Format::Vmdk => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            Box::new(VmdkImage::open(Arc::new(storage), folder)?)
        }
    })
}

fn probe(storage: &dyn Storage) -> Result<Format, VmdkError> {
    let mut start = [0; PROBE_LEN];
    let len = usize::try_from(storage.len_bytes()).unwrap_or(PROBE_LEN).min(PROBE_LEN);
    let read = storage.read_exact_at(0, &mut start[..len]);
    read.map_err(|source| VmdkError::Io { at_byte: 0, source })?;
    Ok(Format::of_bytes(&start[..len])?.unwrap_or(Format::Raw))
}

/// Longer than every magic.
const PROBE_LEN: usize = 64;
