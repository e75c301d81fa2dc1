//! Looks at a disk that is a file of its own, and checks it.

use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ovftransfer_ovf::FileName;
use ovftransfer_vmdk::AnyImage;
use ovftransfer_vmdk::ConvertError;
use ovftransfer_vmdk::Descriptor;
use ovftransfer_vmdk::Format;
use ovftransfer_vmdk::Header;
use ovftransfer_vmdk::ImageSummary;
use ovftransfer_vmdk::Progress;
use ovftransfer_vmdk::check_image;
use ovftransfer_vmdk::check_image_deep;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::disk::read_error;
use crate::error::Error;
use crate::meter::Meter;
use crate::store::file::blocking;

/// A disk of this machine, as far as its header and its tables tell.
///
/// ```
/// use ovftransfer::DiskKind;
/// use ovftransfer::DiskOverview;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("disk.raw");
/// std::fs::write(&path, vec![7; 1 << 20])?;
/// let disk = DiskOverview::read(&path, None)?;
/// assert_eq!(disk.capacity_bytes, 1 << 20);
/// assert!(matches!(disk.kind, DiskKind::Raw));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiskOverview {
    /// The file that was named; a disk may have others.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Size of the disk, in bytes.
    pub capacity_bytes: u64,
    /// Bytes of the disk in grains, clusters or blocks that may hold data; the others are zeros.
    pub populated_bytes: u64,
    /// Length of all its files, holes included, in bytes.
    pub file_bytes: u64,
    /// What only disks of its format have.
    pub kind: DiskKind,
}

/// What only disks of one format have.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DiskKind {
    /// qcow2.
    Qcow2 {
        /// 2 or 3.
        version: u32,
        /// Length of a cluster, in bytes.
        cluster_bytes: u64,
        /// Whether clusters have parts that may be there or not.
        has_extended_entries: bool,
    },
    /// Byte for byte: nothing.
    Raw,
    /// VMDK of any sub-format.
    Vmdk {
        /// The header, if the disk is one sparse file.
        header: Option<Header>,
        /// The descriptor: embedded, or the file that was named.
        descriptor: Descriptor,
    },
}

impl DiskOverview {
    /// Opens a disk and reads its tables, but none of its data.
    ///
    /// Without a `format`, its first bytes and its name tell.  Blocks: call it from a thread that may.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`] for what is wrong with the disk, [`Error::Local`] if a file cannot be read.
    pub fn read(path: &Path, format: Option<Format>) -> Result<Self, Error> {
        let wrong = |error| read_error(path, error);
        let image = AnyImage::open(path, format).map_err(wrong)?;
        let summary = ImageSummary::of(image.as_image()).map_err(wrong)?;
        Ok(Self::of(path, &image, summary))
    }

    /// The sub-format of a VMDK by its descriptor, such as `monolithicSparse`.
    #[must_use]
    pub fn create_type(&self) -> Option<&str> {
        match &self.kind {
            DiskKind::Vmdk { descriptor, .. } => descriptor.create_type(),
            DiskKind::Qcow2 { .. } | DiskKind::Raw => None,
        }
    }

    fn of(path: &Path, image: &AnyImage, summary: ImageSummary) -> Self {
        let kind = match image {
            AnyImage::Qcow2(image) => DiskKind::Qcow2 {
                version: image.version(),
                cluster_bytes: image.cluster_bytes(),
                has_extended_entries: image.has_extended_entries(),
            },
            AnyImage::Vmdk(image) => DiskKind::Vmdk {
                header: image.header().cloned(),
                descriptor: image.descriptor().clone(),
            },
            AnyImage::Raw(_) | _ => DiskKind::Raw,
        };
        Self {
            path: path.to_owned(),
            format: image.format(),
            capacity_bytes: summary.capacity_bytes,
            populated_bytes: summary.populated_bytes,
            file_bytes: image.file_bytes(),
            kind,
        }
    }
}

/// A disk to check: raw, VMDK of any sub-format, or qcow2.
///
/// ```
/// use ovftransfer::CheckDisk;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("disk.raw");
/// std::fs::write(&path, vec![7; 1 << 20])?;
/// let checked = CheckDisk::new(path).run(&Default::default(), &Default::default()).await?;
/// assert_eq!(checked.disk.populated_bytes, 1 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckDisk {
    /// The disk.
    pub path: PathBuf,
    /// What it is, if its first bytes are not to tell: a guest may have written those of a raw disk.
    pub format: Option<Format>,
    /// Read all data, too: compressed data is proven by it, other data to be readable.
    pub deep: bool,
}

/// A disk that was checked, and is sound.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckedDisk {
    /// What it is.
    pub disk: DiskOverview,
    /// How long it took.
    pub took: Duration,
}

impl CheckDisk {
    /// Checks the header and the tables of the disk at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, format: None, deep: false }
    }

    /// Checks the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`] for what is wrong with it, [`Error::Local`] if a file cannot be read,
    /// [`Error::Cancelled`].
    pub async fn run(
        self,
        meter: &Arc<Meter>,
        cancel: &CancellationToken,
    ) -> Result<CheckedDisk, Error> {
        let started = Instant::now();
        let (meter, scope) = (Arc::clone(meter), cancel.child_token());
        // Whoever drops this future does not wait for the threads, but they end soon.
        let _stop = scope.clone().drop_guard();
        let disk = blocking(move || self.check(&meter, &scope)).await?;
        Ok(CheckedDisk { disk, took: started.elapsed() })
    }

    fn check(&self, meter: &Meter, cancel: &CancellationToken) -> Result<DiskOverview, Error> {
        let opened = AnyImage::open(&self.path, self.format);
        let image = opened.map_err(|error| read_error(&self.path, error))?;
        // A name that no file of a package could have is of no use to whoever shows it.
        let name = self.path.file_name().and_then(|name| FileName::new(name.to_str()?).ok());
        let meter = name.map(|name| meter.add_file(&name, image.as_image().capacity_bytes()));
        let on_progress = &mut |progress: Progress| {
            if let Some(meter) = &meter {
                meter.set_position(progress.lba_bytes);
                meter.add_bytes(progress.read_bytes.saturating_sub(meter.bytes()));
            }
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let checked = if self.deep {
            check_image_deep(&image, None, on_progress)
        } else {
            check_image(&image, on_progress)
        };
        match checked {
            Ok(summary) => {
                // Of a raw disk nothing was checked that could have been told of.
                if let Some(meter) = &meter {
                    meter.set_position(summary.capacity_bytes);
                }
                Ok(DiskOverview::of(&self.path, &image, summary))
            }
            Err(ConvertError::Source(error) | ConvertError::Target(error)) => {
                Err(read_error(&self.path, error))
            }
            // Nothing else ends a check.
            Err(_) => Err(Error::Cancelled),
        }
    }
}
