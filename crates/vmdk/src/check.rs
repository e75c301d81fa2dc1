//! Checks the structure of a disk as it passes.

use crate::descriptor::Descriptor;
use crate::error::VmdkError;
use crate::header::Header;
use crate::scan::Position;
use crate::scan::Scanner;
use crate::scan::Summary;

/// Checks a stream-optimized VMDK as its bytes pass, without inflating it.
///
/// Chunks may be of any size.  What is checked: the header; that grains lie on the disk, in
/// ascending order; that grain tables and grain directory point to the grains and tables that were
/// seen, and to nothing else; that the footer repeats the header; the end-of-stream marker, and
/// that only zeros follow it.  What is not: descriptor text, padding, and the compressed data
/// itself, including its exact length within its last sector; [`GrainDecoder`] finds what is wrong
/// there.
///
/// Memory is a few KiB, and 16 bytes for each grain table (32 MiB of the disk) that holds grains;
/// nothing is allocated for what a header merely claims.
///
/// [`GrainDecoder`]: crate::GrainDecoder
///
/// ```
/// use ovftransfer_vmdk::{Options, StreamCheck, StreamWriter};
///
/// let mut writer = StreamWriter::new(Vec::new(), 1 << 20, Options::default())?;
/// writer.write_grain(128, &[7; 65_536])?;
/// let (file, _) = writer.finish()?;
///
/// let mut check = StreamCheck::new();
/// for chunk in file.chunks(1000) {
///     check.push(chunk)?;
/// }
/// assert_eq!(check.position().capacity_bytes, Some(1 << 20));
/// assert_eq!(check.finish()?.populated_bytes(), 65_536);
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
#[derive(Debug)]
pub struct StreamCheck {
    scanner: Scanner,
}

impl Default for StreamCheck {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamCheck {
    /// Starts at byte 0.
    #[must_use]
    pub fn new() -> Self {
        Self { scanner: Scanner::new() }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Corrupt`] with the place and the reason; every later call fails, too.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<(), VmdkError> {
        while self.scanner.step(&mut chunk)?.is_some() {}
        Ok(())
    }

    /// How far the stream has come.
    #[must_use]
    pub fn position(&self) -> Position {
        self.scanner.position()
    }

    /// The header, once it has passed.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.scanner.header()
    }

    /// The embedded descriptor, once it has passed.
    #[must_use]
    pub fn descriptor(&self) -> Option<Descriptor> {
        self.scanner.descriptor()
    }

    /// The file ends here.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Truncated`] if something should have followed, [`VmdkError::Corrupt`] if
    /// [`push`](Self::push) had failed.
    pub fn finish(mut self) -> Result<Summary, VmdkError> {
        self.scanner.finish()
    }
}
