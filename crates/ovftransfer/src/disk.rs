//! Converts a disk that is a file of its own.

use std::fs;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ovftransfer_ovf::FileName;
use ovftransfer_vmdk::AnyImage;
use ovftransfer_vmdk::ConvertError;
use ovftransfer_vmdk::Format;
use ovftransfer_vmdk::Level;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::Progress;
use ovftransfer_vmdk::VmdkError;
use ovftransfer_vmdk::check_image;
use ovftransfer_vmdk::to_raw;
use ovftransfer_vmdk::to_stream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::meter::Leg;
use crate::meter::Meter;
use crate::store::file::Existing;
use crate::store::file::blocking;
use crate::store::file::give_name;
use crate::store::file::partial_path;
use crate::store::file::sync_folder;
use crate::store::folder::check_name;
use crate::store::folder::naming;
use crate::store::folder::take;
use crate::store::folder::writing;
use crate::store::lock::open_itself;

/// What a disk is converted to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DiskFormat {
    /// Byte for byte, with holes where it is zero.
    Raw,
    /// Stream-optimized VMDK, which vSphere takes.
    StreamOptimized,
}

impl DiskFormat {
    /// What the name of a file asks for: `.vmdk`, `.raw` or `.img`.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        match extension.to_ascii_lowercase().as_str() {
            "vmdk" => Some(Self::StreamOptimized),
            "raw" | "img" => Some(Self::Raw),
            _ => None,
        }
    }
}

/// A disk to convert: raw, VMDK of any sub-format, or qcow2.
///
/// The new one is written under a `.partial` name, by all cores, and gets its own when it is
/// complete and durable.
///
/// ```
/// use ovftransfer::{ConvertDisk, DiskFormat};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let folder = tempfile::tempdir()?;
/// let (raw, vmdk) = (folder.path().join("disk.raw"), folder.path().join("disk.vmdk"));
/// std::fs::write(&raw, vec![7; 1 << 20])?;
/// let converted = ConvertDisk::new(raw, vmdk, DiskFormat::StreamOptimized)
///     .run(&Default::default(), &Default::default())
///     .await?;
/// assert_eq!(converted.capacity_bytes, 1 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConvertDisk {
    /// The disk that is there.
    pub input: PathBuf,
    /// The disk to be made.
    pub output: PathBuf,
    /// What it is to be.
    pub format: DiskFormat,
    /// What the input is, if its first bytes are not to tell: a guest may have written those of a raw
    /// disk.
    pub input_format: Option<Format>,
    /// Replace an output that is there already.
    pub overwrite: bool,
    /// How hard to compress.
    pub level: Level,
}

/// A disk that was converted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConvertedDisk {
    /// Where it is.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// Size of the disk, in bytes.
    pub capacity_bytes: u64,
    /// Bytes of the disk that hold data, in whole grains or blocks.
    pub populated_bytes: u64,
    /// Bytes that the file takes; holes take none.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

impl ConvertDisk {
    /// Converts `input` to `output`, with the default level, and keeps what is there.
    #[must_use]
    pub fn new(input: PathBuf, output: PathBuf, format: DiskFormat) -> Self {
        let level = Level::default();
        Self { input, output, format, input_format: None, overwrite: false, level }
    }

    /// Converts the disk, once its header and its tables are checked as [`CheckDisk`](crate::CheckDisk)
    /// checks them.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`] for what is wrong with the input, [`Error::Local`] if a file cannot be read or
    /// written, [`Error::Exists`] if the output is there, [`Error::Refused`] if somebody is writing
    /// it; [`Error::Cancelled`].  Nothing is left then.
    pub async fn run(
        self,
        meter: &Arc<Meter>,
        cancel: &CancellationToken,
    ) -> Result<ConvertedDisk, Error> {
        let started = Instant::now();
        let (meter, scope) = (Arc::clone(meter), cancel.child_token());
        // Whoever drops this future does not wait for the threads, but they end soon.
        let _stop = scope.clone().drop_guard();
        let mut converted = blocking(move || self.convert(&meter, &scope)).await?;
        converted.took = started.elapsed();
        Ok(converted)
    }

    fn convert(&self, meter: &Meter, cancel: &CancellationToken) -> Result<ConvertedDisk, Error> {
        let opened = AnyImage::open(&self.input, self.input_format);
        let source = opened.map_err(|error| read_error(&self.input, error))?;
        let existing = if self.overwrite { Existing::Replace } else { Existing::Keep };
        check_name(self.output.clone(), existing)?;
        let lock = take(&self.output)?;
        let made = self.write(&source, lock.path(), meter, cancel).and_then(|converted| {
            let named = give_name(lock.path(), &self.output, existing);
            named.map(|()| converted).map_err(naming(&self.output))
        });
        if made.is_err() {
            // What is wrong was said; a file that cannot be removed, either, says no more.
            drop(fs::remove_file(lock.path()));
        }
        let made = made?;
        let folder = self.output.parent().filter(|folder| !folder.as_os_str().is_empty());
        sync_folder(folder.unwrap_or(Path::new("."))).map_err(writing(&self.output))?;
        Ok(made)
    }

    fn write(
        &self,
        image: &AnyImage,
        partial: &Path,
        meter: &Meter,
        cancel: &CancellationToken,
    ) -> Result<ConvertedDisk, Error> {
        let file = open_itself(File::options().write(true), partial).map_err(writing(partial))?;
        file.set_len(0).map_err(writing(partial))?;
        // A name that no file of a package could have is of no use to whoever shows it.
        let name = self.output.file_name().and_then(|name| FileName::new(name.to_str()?).ok());
        let source = image.as_image();
        let len_bytes = source.capacity_bytes();
        let meter = name.map(|name| meter.add_file(&name, len_bytes));
        let begin = |percent, is_sent| {
            meter.iter().for_each(|meter| meter.begin(Leg { percent, len_bytes, is_sent }));
        };
        let on_progress = &mut |progress: Progress| {
            if let Some(meter) = &meter {
                meter.set_position(progress.lba_bytes);
                meter.add_bytes(progress.written_bytes.saturating_sub(meter.bytes()));
            }
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        // What is read by position shows grains, and not which of them are missing.
        begin((0, CHECKED), false);
        check_image(image, on_progress).map_err(|error| self.error(error))?;
        begin((CHECKED, 100), true);
        let options = Options::default().level(self.level);
        let (capacity_bytes, populated_bytes, bytes) = match self.format {
            DiskFormat::StreamOptimized => {
                to_stream(source, &file, options, on_progress).map(|(_, made)| {
                    (made.capacity_bytes(), made.populated_bytes(), made.file_bytes())
                })
            }
            DiskFormat::Raw => to_raw(source, &file, options, on_progress)
                .map(|made| (made.capacity_bytes, made.populated_bytes, made.populated_bytes)),
        }
        .map_err(|error| self.error(error))?;
        file.sync_all().map_err(writing(partial))?;
        let (path, format, took) = (self.output.clone(), self.format, Duration::ZERO);
        Ok(ConvertedDisk { path, format, capacity_bytes, populated_bytes, bytes, took })
    }

    fn error(&self, error: ConvertError) -> Error {
        match error {
            ConvertError::Cancelled => Error::Cancelled,
            ConvertError::Source(error) => read_error(&self.input, error),
            ConvertError::Target(VmdkError::Io { source, .. }) => {
                writing(&partial_path(&self.output))(source)
            }
            // The input is what cannot be written: an empty disk, or one that is too large.
            ConvertError::Target(error) => disk_error(&self.input, error),
            error => Error::Refused { problem: error.to_string() },
        }
    }
}

/// How far a disk is, in percent, when it has been checked.
const CHECKED: u8 = 10;

/// Tells a file that cannot be read from a disk that is damaged.
pub(crate) fn read_error(path: &Path, error: VmdkError) -> Error {
    if let VmdkError::Io { source, .. } = error {
        return Error::Local { action: "read", path: path.to_owned(), source };
    }
    disk_error(path, error)
}

fn disk_error(path: &Path, error: VmdkError) -> Error {
    Error::Disk { path: path.to_owned(), source: Box::new(error) }
}
