//! Writes an OVA, always in the same way.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;

use tar::EntryType;
use tar::Header;

use super::header::BLOCK_BYTES;
use crate::name::FileName;

/// Writes members one after the other.
///
/// The same members give the same bytes: owner 0, mode 0644, one fixed time.  Headers are POSIX
/// (ustar) below 8 GiB; above, where ustar has no room for the size, GNU with a base-256 size, which
/// vSphere takes, unlike PAX.  The descriptor must be the first member (DSP0243 1.1.0 §5.3).
///
/// Once a call has failed the archive is incomplete, and every further call fails.
pub struct Writer<W: Write> {
    sink: W,
    /// Names in lower case.
    folded: HashSet<String>,
    is_broken: bool,
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    #[must_use]
    pub fn new(sink: W) -> Self {
        Self { sink, folded: HashSet::new(), is_broken: false }
    }

    /// Copies a member of exactly `size_bytes` from `source`.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: the first member is not a descriptor, the name was used before or is too long
    /// for a header, the source has another size, reading or writing failed.
    pub fn append(
        &mut self,
        file: &FileName,
        size_bytes: u64,
        source: &mut dyn Read,
    ) -> Result<(), WriteError> {
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(WriteError::Broken);
        }
        if self.folded.is_empty() && !file.has_extension("ovf") {
            return Err(WriteError::DescriptorNotFirst { file: file.clone() });
        }
        if !self.folded.insert(file.as_str().to_lowercase()) {
            return Err(WriteError::Duplicate { file: file.clone() });
        }
        self.write(&member_header(file, size_bytes)?)?;
        self.copy(file, size_bytes, source)?;
        self.write(member_padding(size_bytes))?;
        self.is_broken = false;
        Ok(())
    }

    /// Ends the archive, flushes it and gives back what it was written to.
    ///
    /// # Errors
    ///
    /// [`WriteError::Broken`] if a member failed before, [`WriteError::Write`].
    pub fn finish(mut self) -> Result<W, WriteError> {
        if self.is_broken {
            return Err(WriteError::Broken);
        }
        self.write(&END)?;
        self.sink.flush().map_err(|source| WriteError::Write { source })?;
        Ok(self.sink)
    }

    fn copy(
        &mut self,
        file: &FileName,
        size_bytes: u64,
        source: &mut dyn Read,
    ) -> Result<(), WriteError> {
        let mut buffer = vec![0; COPY_BYTES];
        let mut done_bytes = 0;
        loop {
            let read = match source.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(WriteError::Read { file: file.clone(), source }),
            };
            done_bytes += read as u64;
            let is_end = read == 0;
            if done_bytes > size_bytes || (is_end && done_bytes < size_bytes) {
                let file = file.clone();
                return Err(WriteError::Size { file, size_bytes, found_bytes: done_bytes });
            }
            if is_end {
                return Ok(());
            }
            self.write(buffer.get(..read).unwrap_or_default())?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.sink.write_all(bytes).map_err(|source| WriteError::Write { source })
    }
}

impl<W: Write> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("members", &self.folded.len())
            .field("is_broken", &self.is_broken)
            .finish_non_exhaustive()
    }
}

/// Why an OVA could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// An earlier member failed, so the archive cannot be completed.
    #[error("an earlier member failed, the archive is incomplete")]
    Broken,
    /// The first member is not the descriptor.
    #[error("{file} is the first member, but is not the descriptor (.ovf)")]
    DescriptorNotFirst {
        /// The first member.
        file: FileName,
    },
    /// The name was used before, or one that differs only in case.
    #[error("{file}: a second member of this name, case ignored")]
    Duplicate {
        /// The second member.
        file: FileName,
    },
    /// The name does not fit into a header: 100 bytes, or 255 where it can be split at a `/`.
    #[error("{file}: the name is too long for a tar header")]
    NameTooLong {
        /// The member.
        file: FileName,
    },
    /// The source could not be read.
    #[error("{file}: reading failed")]
    Read {
        /// The member.
        file: FileName,
        /// Why.
        source: io::Error,
    },
    /// The source has fewer or more bytes than were promised.
    #[error("{file}: expected {size_bytes} bytes, found {found_bytes} or more")]
    Size {
        /// The member.
        file: FileName,
        /// What was promised.
        size_bytes: u64,
        /// What was read before that was clear.
        found_bytes: u64,
    },
    /// The archive could not be written.
    #[error("writing the archive failed")]
    Write {
        /// Why.
        source: io::Error,
    },
}

/// The header of a member, as [`Writer`] writes it: for archives that are not written in order.
///
/// # Errors
///
/// [`WriteError::NameTooLong`].
pub fn member_header(file: &FileName, size_bytes: u64) -> Result<[u8; 512], WriteError> {
    let mut header =
        if size_bytes < USTAR_BYTES_END { Header::new_ustar() } else { Header::new_gnu() };
    header.set_path(file.as_str()).map_err(|_| WriteError::NameTooLong { file: file.clone() })?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME_S);
    header.set_size(size_bytes);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// What follows a member of `size_bytes`: zeros up to the next block of 512 bytes.
#[must_use]
pub fn member_padding(size_bytes: u64) -> &'static [u8] {
    let len = size_bytes.next_multiple_of(BLOCK_BYTES) - size_bytes;
    END.get(..usize::try_from(len).unwrap_or(0)).unwrap_or_default()
}

/// Sizes from here on do not fit into the eleven octal digits of ustar: 8 GiB.
const USTAR_BYTES_END: u64 = 1 << 33;

/// Time of every member: 1980-01-01.  GNU tar calls a time of zero implausible.
const MTIME_S: u64 = 315_532_800;

/// Bytes that are copied at once; as large as a grain, so that a disk is not read in crumbs.
const COPY_BYTES: usize = 64 << 10;

/// The two blocks of zeros that end an archive.
pub const END: [u8; 1024] = [0; 1024];
