//! Grains out of a disk that is pushed.

use std::io;

use crate::error::VmdkError;
use crate::header::Header;
use crate::inflate::Inflater;
use crate::scan::Position;
use crate::scan::Scanner;
use crate::scan::Summary;

/// Receives a grain: its place on the disk in sectors, and its data.
pub type OnGrain<'a> = dyn FnMut(u64, &[u8]) -> io::Result<()> + 'a;

/// Decodes a stream-optimized VMDK as its bytes pass.
///
/// Checks what [`StreamCheck`](crate::StreamCheck) checks, and in addition every grain: that it
/// inflates, to the right length, with the right checksum.  Holds one grain, compressed and
/// inflated.
///
/// ```
/// use ovftransfer_vmdk::{GrainDecoder, Options, StreamWriter};
///
/// let mut writer = StreamWriter::new(Vec::new(), 1 << 20, Options::default())?;
/// writer.write_grain(128, &[7; 65_536])?;
/// let (file, _) = writer.finish()?;
///
/// let mut disk = vec![0; 1 << 20];
/// let mut decoder = GrainDecoder::new();
/// decoder.push(&file, &mut |lba_sectors, data| {
///     let at = usize::try_from(lba_sectors * 512).unwrap();
///     disk[at..at + data.len()].copy_from_slice(data);
///     Ok(())
/// })?;
/// decoder.finish()?;
/// assert_eq!(disk[65_536..131_072], [7; 65_536]);
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
#[derive(Debug)]
pub struct GrainDecoder {
    scanner: Scanner,
    inflater: Inflater,
}

impl Default for GrainDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl GrainDecoder {
    /// Starts at byte 0.
    #[must_use]
    pub fn new() -> Self {
        Self { scanner: Scanner::new(), inflater: Inflater::new() }
    }

    /// Takes the next bytes of the file, and hands on every grain they complete.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Corrupt`] with the place and the reason, or [`VmdkError::Io`] with the error
    /// of `on_grain`; every later call fails, too.
    pub fn push(&mut self, mut chunk: &[u8], on_grain: &mut OnGrain<'_>) -> Result<(), VmdkError> {
        while let Some(piece) = self.scanner.step(&mut chunk)? {
            let Some(header) = self.scanner.header() else { continue };
            let taken = self.inflater.take(header, &piece).and_then(|complete| {
                if !complete {
                    return Ok(());
                }
                on_grain(piece.lba_sectors, self.inflater.data())
                    .map_err(|source| VmdkError::Io { at_byte: piece.at_byte, source })
            });
            if taken.is_err() {
                self.scanner.fail();
            }
            taken?;
        }
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
