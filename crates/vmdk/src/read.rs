//! Grains out of a disk that is read.

use std::fmt;
use std::io;
use std::io::Read;

use crate::descriptor::Descriptor;
use crate::error::VmdkError;
use crate::header::Header;
use crate::header::SECTOR_LEN;
use crate::inflate::Inflater;
use crate::scan::Position;
use crate::scan::Scanner;
use crate::scan::Summary;

/// Reads a stream-optimized VMDK from its start to its end, grain by grain.
///
/// Checks what [`GrainDecoder`](crate::GrainDecoder) checks.  Holds one grain and a buffer of
/// 256 KiB, so `source` needs none of its own.
///
/// ```
/// use ovftransfer_vmdk::{GrainReader, Options, StreamWriter};
///
/// let mut writer = StreamWriter::new(Vec::new(), 1 << 20, Options::default())?;
/// writer.write_grain(128, &[7; 65_536])?;
/// let (file, _) = writer.finish()?;
///
/// let mut reader = GrainReader::new(file.as_slice())?;
/// while let Some(grain) = reader.next_grain()? {
///     assert_eq!((grain.lba_sectors(), grain.data()), (128, &[7; 65_536][..]));
/// }
/// assert_eq!(reader.summary().map(|summary| summary.grains()), Some(1));
/// # Ok::<(), ovftransfer_vmdk::VmdkError>(())
/// ```
pub struct GrainReader<R> {
    source: R,
    scanner: Scanner,
    inflater: Inflater,
    header: Header,
    buffer: Box<[u8]>,
    /// What of the buffer has not been looked at.
    unread: std::ops::Range<usize>,
    summary: Option<Summary>,
}

/// Data of one grain.
#[derive(Clone, Copy, Debug)]
pub struct Grain<'a> {
    lba_sectors: u64,
    data: &'a [u8],
}

impl Grain<'_> {
    /// Where the data belongs on the disk, in sectors of 512 bytes.
    #[must_use]
    pub fn lba_sectors(&self) -> u64 {
        self.lba_sectors
    }

    /// The data: a whole grain, or what is left of the disk.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.data
    }
}

impl<R> fmt::Debug for GrainReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrainReader")
            .field("header", &self.header)
            .field("position", &self.scanner.position())
            .finish_non_exhaustive()
    }
}

impl<R: Read> GrainReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Io`] if `source` fails, otherwise what is wrong with the header.
    pub fn new(mut source: R) -> Result<Self, VmdkError> {
        let mut scanner = Scanner::new();
        let mut buffer = vec![0; BUFFER_LEN].into_boxed_slice();
        while scanner.header().is_none() {
            let at_byte = scanner.position().at_byte;
            let left = usize::try_from(at_byte).map_or(0, |at| SECTOR_LEN.saturating_sub(at));
            let len = read(&mut source, &mut buffer[..left], at_byte)?;
            if len == 0 {
                scanner.finish()?;
            }
            scanner.step(&mut &buffer[..len])?;
        }
        let at_byte = scanner.position().at_byte;
        let header = scanner.header().cloned();
        let header = header.ok_or(VmdkError::Truncated { at_byte, expected: "a header" })?;
        let inflater = Inflater::new();
        Ok(Self { source, scanner, inflater, header, buffer, unread: 0..0, summary: None })
    }

    /// The next grain, in ascending order; `None` once the file has ended, and is sound.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Io`] if the source fails, otherwise what is wrong with the file; every later
    /// call fails, too.
    pub fn next_grain(&mut self) -> Result<Option<Grain<'_>>, VmdkError> {
        let Some(lba_sectors) = self.advance()? else { return Ok(None) };
        Ok(Some(Grain { lba_sectors, data: self.inflater.data() }))
    }

    /// Size of the disk, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.header.capacity_bytes()
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The embedded descriptor, once it has passed, which it has before the first grain.
    #[must_use]
    pub fn descriptor(&self) -> Option<Descriptor> {
        self.scanner.descriptor()
    }

    /// How far the stream has come.
    #[must_use]
    pub fn position(&self) -> Position {
        self.scanner.position()
    }

    /// What the file holds, once [`next_grain`](Self::next_grain) has returned `None`.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        self.summary
    }

    /// Reads up to the end of the next grain.  Returns its place.
    fn advance(&mut self) -> Result<Option<u64>, VmdkError> {
        if self.summary.is_some() {
            return Ok(None);
        }
        loop {
            let mut chunk = &self.buffer[self.unread.clone()];
            while let Some(piece) = self.scanner.step(&mut chunk)? {
                let complete = self.inflater.take(&self.header, &piece);
                if complete.is_err() {
                    self.scanner.fail();
                }
                if complete? {
                    self.unread.start = self.unread.end - chunk.len();
                    return Ok(Some(piece.lba_sectors));
                }
            }
            let at_byte = self.scanner.position().at_byte;
            let len = read(&mut self.source, &mut self.buffer, at_byte)?;
            self.unread = 0..len;
            if len == 0 {
                self.summary = Some(self.scanner.finish()?);
                return Ok(None);
            }
        }
    }
}

/// Reads once, and again if a signal came.
fn read(source: &mut impl Read, buffer: &mut [u8], at_byte: u64) -> Result<usize, VmdkError> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(|source| VmdkError::Io { at_byte, source }),
        }
    }
}

/// Holds three whole grains, so that most need not be copied to be inflated.
const BUFFER_LEN: usize = 256 * 1024;
