//! Reading by position.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// Bytes that can be read from any position, by many readers at once.
///
/// # Contract
///
/// The length and the bytes do not change while they are being read.  A position is never shared:
/// two threads may read from the same value at once.
pub trait ReadAt: Send + Sync {
    /// Fills `buffer` with the bytes from `offset_bytes` on.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] if there are fewer, or the error of the file system.
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    ///
    /// The error of the file system.
    fn len_bytes(&self) -> io::Result<u64>;
}

impl ReadAt for File {
    #[cfg(unix)]
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset_bytes)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset_bytes: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(self, buffer, offset_bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                    offset_bytes += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let start = usize::try_from(offset_bytes).ok();
        let end = start.and_then(|start| start.checked_add(buffer.len()));
        match start.zip(end).and_then(|(start, end)| self.get(start..end)) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buffer, offset_bytes)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.as_slice().len_bytes()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset_bytes)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        (**self).len_bytes()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset_bytes)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        (**self).len_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_and_its_bytes_read_the_same() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let bytes = b"0123456789".to_vec();
        for source in [&file as &dyn ReadAt, &bytes, &bytes.as_slice(), &Arc::new(bytes.clone())] {
            let mut buffer = [0; 3];
            source.read_exact_at(&mut buffer, 7).unwrap();
            assert_eq!(&buffer, b"789");
            assert_eq!(source.len_bytes().unwrap(), 10);
            let error = source.read_exact_at(&mut buffer, 8).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert!(source.read_exact_at(&mut buffer, u64::MAX).is_err());
        }
    }
}
