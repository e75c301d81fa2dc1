//! Bytes that are read by position: files, and memory.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::VmdkError;

/// Something that has a length and is read by position, by several threads at once.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Length, in bytes.
    fn len_bytes(&self) -> u64;

    /// Fills `buffer` with the bytes from `at_byte` on.
    ///
    /// # Errors
    ///
    /// What the source says; [`io::ErrorKind::UnexpectedEof`] if it ends before.
    fn read_exact_at(&self, at_byte: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The next stretch of bytes at or after `from_byte` that may be other than zero; `None` if
    /// there are only zeros up to the end.
    ///
    /// # Errors
    ///
    /// What the source says.
    fn next_data(&self, from_byte: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.len_bytes();
        Ok((from_byte < end).then_some(from_byte..end))
    }
}

impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn len_bytes(&self) -> u64 {
        (**self).len_bytes()
    }

    fn read_exact_at(&self, at_byte: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(at_byte, buffer)
    }

    fn next_data(&self, from_byte: u64) -> io::Result<Option<Range<u64>>> {
        (**self).next_data(from_byte)
    }
}

impl Storage for Vec<u8> {
    fn len_bytes(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }

    fn read_exact_at(&self, at_byte: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(at_byte).unwrap_or(usize::MAX);
        let bytes = self.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[cfg(unix)]
fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;

    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(not(unix))]
const fn is_pipe(_path: &Path) -> bool {
    false
}

/// Finds a file that the descriptor of a VMDK names, such as `disk-flat.vmdk`.
///
/// It is asked for plain names only: none has a slash, none is `..`.
pub type FindExtent<'a> = dyn Fn(&str) -> io::Result<Arc<dyn Storage>> + 'a;

/// A file, or a block device, whose holes are known.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    len_bytes: u64,
}

impl FileStorage {
    /// Opens a file or a block device for reading.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::InvalidInput`] for anything else, such as a pipe.
    pub fn open(path: &Path) -> io::Result<Self> {
        // To open a pipe is to wait for somebody who writes into it.
        if is_pipe(path) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Self::new(File::open(path)?)
    }

    /// Opens the file `name` in `folder`, which must not be a link that leads elsewhere.
    pub(crate) fn open_in(folder: &Path, name: &str) -> io::Result<Self> {
        let file = open_no_follow(&folder.join(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Self::new(file)
    }

    /// Takes an open file.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::InvalidInput`] for what is not read by position.
    pub fn new(mut file: File) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !is_block_device(kind) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a file that can be read by position",
            ));
        }
        // The length in the metadata of a device is 0.
        let len_bytes = io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        Ok(Self { file, len_bytes })
    }
}

impl Storage for FileStorage {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    #[cfg(unix)]
    fn read_exact_at(&self, at_byte: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, at_byte)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut at_byte: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let len = std::os::windows::fs::FileExt::seek_read(&self.file, buffer, at_byte)?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at_byte += u64::try_from(len).unwrap_or(u64::MAX);
            buffer = &mut buffer[len..];
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn next_data(&self, from_byte: u64) -> io::Result<Option<Range<u64>>> {
        use rustix::fs::SeekFrom;
        use rustix::fs::seek;
        use rustix::io::Errno;

        if from_byte >= self.len_bytes {
            return Ok(None);
        }
        // Reads take their own position, so the file's may be moved.
        match seek(&self.file, SeekFrom::Data(from_byte)) {
            Ok(start) => {
                let end = seek(&self.file, SeekFrom::Hole(start)).unwrap_or(self.len_bytes);
                // Beyond the length: the file has grown meanwhile.
                let end = end.min(self.len_bytes);
                Ok((start < end).then_some(start..end))
            }
            Err(Errno::NXIO) => Ok(None),
            // A file system or a device that knows of no holes.
            Err(_) => Ok(Some(from_byte..self.len_bytes)),
        }
    }
}

/// Takes the next bytes of a file.  Its answer says whether to go on.
type OnChunk<'a> = dyn FnMut(&[u8]) -> Result<ControlFlow<()>, VmdkError> + 'a;

/// Reads the bytes from the first to the last, until `act` breaks off.  Returns whether it did not.
pub(crate) fn for_each_chunk(
    storage: &dyn Storage,
    act: &mut OnChunk<'_>,
) -> Result<bool, VmdkError> {
    let mut buffer = vec![0; CHUNK_LEN];
    let (mut at_byte, end) = (0, storage.len_bytes());
    while at_byte < end {
        let len = usize::try_from(end - at_byte).unwrap_or(CHUNK_LEN).min(CHUNK_LEN);
        let chunk = &mut buffer[..len];
        storage
            .read_exact_at(at_byte, chunk)
            .map_err(|source| VmdkError::Io { at_byte, source })?;
        if act(chunk)?.is_break() {
            return Ok(false);
        }
        at_byte += u64::try_from(len).unwrap_or(u64::MAX);
    }
    Ok(true)
}

/// Holds three whole grains, so that most need not be put together from two chunks.
const CHUNK_LEN: usize = 256 << 10;

#[cfg(unix)]
fn open_no_follow(path: &Path) -> io::Result<File> {
    use rustix::fs::Mode;
    use rustix::fs::OFlags;

    // Without NONBLOCK, a named pipe would wait for somebody to write to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open_no_follow(path: &Path) -> io::Result<File> {
    if std::fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a link"));
    }
    File::open(path)
}

#[cfg(unix)]
fn is_block_device(kind: std::fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(&kind)
}

#[cfg(not(unix))]
fn is_block_device(_: std::fs::FileType) -> bool {
    false
}
