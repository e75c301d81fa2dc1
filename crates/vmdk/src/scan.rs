//! The state machine that reads a stream-optimized extent as it passes.
//!
//! It does no input or output and copies nothing but metadata; compressed data comes out in slices
//! of what was pushed.
//!
//! ```text
//!   Header -> Overhead -> Marker -+-> Payload ----> padding -> Marker
//!                           ^     +-> Table, Directory, Footer -> Marker
//!                           |     `-> end of stream ---------> Ended
//!                           `---------- zeros before the footer
//! ```

use crate::descriptor::Descriptor;
use crate::error::Fault;
use crate::error::VmdkError;
use crate::front::Front;
use crate::gather::Gather;
use crate::header::Header;
use crate::header::SECTOR_BYTES;
use crate::header::SECTOR_LEN;
use crate::header::TABLE_SECTORS;
use crate::header::u32_at;
use crate::header::u64_at;
use crate::marker::GRAIN_MARKER_BYTES;
use crate::marker::MARKER_BYTES;
use crate::marker::Marker;
use crate::tables::Tables;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Position {
    /// Bytes of the file that have passed.
    pub at_byte: u64,
    /// Place on the disk behind the last grain seen, in bytes; the capacity once all have passed.
    pub lba_bytes: u64,
    /// Size of the disk, once the header has passed.
    pub capacity_bytes: Option<u64>,
    /// Bytes of the disk that the grains seen stand for.
    pub populated_bytes: u64,
}

/// What a sound file holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Summary {
    pub(crate) file_bytes: u64,
    pub(crate) capacity_bytes: u64,
    pub(crate) populated_bytes: u64,
    pub(crate) grains: u64,
}

impl Summary {
    /// Length of the file, in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Size of the disk, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Bytes of the disk that its grains stand for; what is not populated reads as zeros.
    #[must_use]
    pub fn populated_bytes(&self) -> u64 {
        self.populated_bytes
    }

    /// Number of grains.
    #[must_use]
    pub fn grains(&self) -> u64 {
        self.grains
    }
}

/// A part of a grain's compressed data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// Where the grain's marker stands in the file.
    pub(crate) at_byte: u64,
    pub(crate) lba_sectors: u64,
    /// Length of all the compressed data.
    pub(crate) size: usize,
    pub(crate) bytes: &'a [u8],
    /// Whether this is the last part.
    pub(crate) last: bool,
}

/// Reads the structure of a stream-optimized extent.
#[derive(Debug)]
pub(crate) struct Scanner {
    at_byte: u64,
    gather: Gather,
    state: State,
    stream: Option<Stream>,
}

/// Where to go on reading.
#[derive(Clone, Copy, Debug)]
enum State {
    /// In the grain directory.
    Directory { sectors_left: u64 },
    /// Behind the end-of-stream marker.
    Ended,
    /// Behind an error.
    Failed,
    /// Before the second header.
    Footer,
    /// Before the first header.
    Header,
    /// In the first twelve bytes of a marker.
    Marker,
    /// Between the header and the first marker.
    Overhead,
    /// In bytes that mean nothing.
    Padding { left: usize, next: Next },
    /// In the compressed data of the grain whose marker stands at `at_byte`.
    Payload { at_byte: u64, lba_sectors: u64, size: usize, left: usize },
    /// In the type of a marker that is not a grain's.
    Special,
    /// In one or more grain tables.
    Table { sectors_left: u64 },
}

/// What follows padding.
#[derive(Clone, Copy, Debug)]
enum Next {
    Directory { sectors: u64 },
    Ended,
    Footer,
    Marker,
    Table { sectors: u64 },
}

/// What part of a stream with its directory at the end has been seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Directory { sector: u64 },
    Footer,
    Grains,
}

/// What is known once the header has passed.
#[derive(Debug)]
struct Stream {
    header: Header,
    descriptor: Vec<u8>,
    front: Option<Front>,
    tables: Tables,
    phase: Phase,
    grains: u64,
    populated_sectors: u64,
    /// First sector of the disk at which the next grain may be.
    next_lba_sectors: u64,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self { at_byte: 0, gather: Gather::new(), state: State::Header, stream: None }
    }

    pub(crate) fn header(&self) -> Option<&Header> {
        self.stream.as_ref().map(|stream| &stream.header)
    }

    pub(crate) fn descriptor(&self) -> Option<Descriptor> {
        let stream = self.stream.as_ref().filter(|stream| !stream.descriptor.is_empty())?;
        Some(Descriptor::parse(&stream.descriptor))
    }

    pub(crate) fn position(&self) -> Position {
        let Some(stream) = &self.stream else {
            return Position { at_byte: self.at_byte, ..Position::default() };
        };
        let capacity_sectors = stream.header.capacity_sectors;
        let all_passed = stream.phase != Phase::Grains || matches!(self.state, State::Ended);
        let lba_sectors = if all_passed { capacity_sectors } else { stream.next_lba_sectors };
        Position {
            at_byte: self.at_byte,
            lba_bytes: lba_sectors.min(capacity_sectors) * SECTOR_BYTES,
            capacity_bytes: Some(stream.header.capacity_bytes()),
            populated_bytes: stream.populated_sectors * SECTOR_BYTES,
        }
    }

    /// Reads on in `input`, to its end (`None`) or to the next part of a grain.
    pub(crate) fn step<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Piece<'a>>, VmdkError> {
        while !input.is_empty() {
            match self.advance(input) {
                Ok(None) => {}
                Ok(piece) => return Ok(piece),
                Err(error) => {
                    self.fail();
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Nothing more can come of this stream.
    pub(crate) fn fail(&mut self) {
        self.state = State::Failed;
    }

    /// The file ends here.
    pub(crate) fn finish(&mut self) -> Result<Summary, VmdkError> {
        let at_byte = self.at_byte;
        let truncated = |expected| VmdkError::Truncated { at_byte, expected };
        match self.state {
            State::Ended => {}
            // qemu writes no end-of-stream marker: the tables in front tell whether all is there.
            State::Marker if self.gather.is_empty() => {
                let stream = self.stream.as_mut().filter(|stream| stream.front.is_some());
                let stream = stream.ok_or_else(|| truncated("a marker"))?;
                let all_seen = stream.tables.grains_end(true);
                all_seen.map_err(|_| truncated("more grains, by the grain tables"))?;
            }
            State::Failed => return Err(Fault::Failed.at(at_byte)),
            State::Header => return Err(truncated("a header of 512 bytes")),
            State::Overhead => return Err(truncated("descriptor and overhead")),
            State::Marker | State::Special => return Err(truncated("the rest of a marker")),
            State::Payload { .. } => return Err(truncated("the rest of a grain")),
            State::Padding { .. } => return Err(truncated("the rest of a sector")),
            State::Table { .. } => return Err(truncated("the rest of a grain table")),
            State::Directory { .. } => return Err(truncated("the rest of the grain directory")),
            State::Footer => return Err(truncated("the footer")),
        }
        let Some(stream) = &self.stream else { return Err(Fault::Failed.at(at_byte)) };
        Ok(Summary {
            file_bytes: self.at_byte,
            capacity_bytes: stream.header.capacity_bytes(),
            populated_bytes: stream.populated_sectors * SECTOR_BYTES,
            grains: stream.grains,
        })
    }

    /// One step of the state machine.  Takes at least one byte of `input`, which is not empty.
    fn advance<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, VmdkError> {
        match self.state {
            State::Payload { at_byte, lba_sectors, size, left } => {
                let bytes = self.take(input, left);
                let left = left - bytes.len();
                self.state = State::Payload { at_byte, lba_sectors, size, left };
                if left == 0 {
                    self.pad(Next::Marker);
                }
                return Ok(Some(Piece { at_byte, lba_sectors, size, bytes, last: left == 0 }));
            }
            State::Padding { left, next } => {
                let left = left - self.take(input, left).len();
                self.state = State::Padding { left, next };
                if left == 0 {
                    self.enter(next);
                }
            }
            State::Marker => {
                if self.fill(input, GRAIN_MARKER_BYTES) {
                    self.grain_marker()?;
                }
            }
            State::Special => {
                if self.fill(input, MARKER_BYTES) {
                    self.special_marker()?;
                    self.gather.clear();
                }
            }
            State::Directory { .. }
            | State::Footer
            | State::Header
            | State::Overhead
            | State::Table { .. } => {
                if self.fill(input, SECTOR_LEN) {
                    self.sector()?;
                    self.gather.clear();
                }
            }
            State::Ended => {
                let zeros = input.iter().take_while(|&&byte| byte == 0).count();
                self.take(input, zeros);
                if !input.is_empty() {
                    return Err(Fault::AfterEnd.at(self.at_byte));
                }
            }
            State::Failed => return Err(Fault::Failed.at(self.at_byte)),
        }
        Ok(None)
    }

    /// The twelve bytes of a grain's marker are there, or the start of another one.
    fn grain_marker(&mut self) -> Result<(), VmdkError> {
        let size_bytes = u32_at(self.gather.bytes(), 8);
        if size_bytes == 0 {
            self.state = State::Special;
            return Ok(());
        }
        let at_byte = self.at_byte - len_u64(GRAIN_MARKER_BYTES);
        let lba_sectors = u64_at(self.gather.bytes(), 0);
        self.gather.clear();
        let stream = self.stream.as_mut().ok_or_else(|| Fault::Failed.at(at_byte))?;
        let size = stream
            .grain(lba_sectors, size_bytes, at_byte / SECTOR_BYTES)
            .map_err(|fault| fault.at(at_byte))?;
        self.state = State::Payload { at_byte, lba_sectors, size, left: size };
        Ok(())
    }

    /// The sixteen bytes of a marker that is not a grain's are there.
    fn special_marker(&mut self) -> Result<(), VmdkError> {
        let at_byte = self.at_byte - len_u64(MARKER_BYTES);
        let stream = self.stream.as_mut().ok_or_else(|| Fault::Failed.at(at_byte))?;
        let mut bytes = [0; MARKER_BYTES];
        bytes.copy_from_slice(&self.gather.bytes()[..MARKER_BYTES]);
        let data_sector = at_byte / SECTOR_BYTES + 1;
        let next = stream
            .special(Marker::parse(&bytes), data_sector)
            .map_err(|fault| fault.at(at_byte))?;
        self.pad(next);
        Ok(())
    }

    /// A whole sector of metadata is there.
    fn sector(&mut self) -> Result<(), VmdkError> {
        let at_byte = self.at_byte - SECTOR_BYTES;
        let number = at_byte / SECTOR_BYTES;
        let bytes = self.gather.bytes();
        let Some(stream) = self.stream.as_mut() else {
            let stream = Stream::open(bytes).map_err(|fault| fault.at(at_byte))?;
            self.state = stream.overhead_left(1);
            self.stream = Some(stream);
            return Ok(());
        };
        let done = match self.state {
            State::Overhead => {
                let done = stream.overhead(number, bytes);
                done.map(|()| self.state = stream.overhead_left(number + 1))
            }
            State::Table { sectors_left } => {
                let done = stream.table(number, bytes);
                done.map(|()| self.state = State::table(sectors_left - 1))
            }
            State::Directory { sectors_left } => {
                let last = sectors_left == 1;
                let done = stream.directory(bytes, last);
                done.map(|()| self.state = State::directory(sectors_left - 1))
            }
            State::Footer => stream.footer(bytes).map(|()| self.state = State::Marker),
            State::Ended
            | State::Failed
            | State::Header
            | State::Marker
            | State::Padding { .. }
            | State::Payload { .. }
            | State::Special => Err(Fault::Failed),
        };
        done.map_err(|fault| fault.at(at_byte))
    }

    /// Skips to the end of the sector, then goes on with `next`.
    fn pad(&mut self, next: Next) {
        let into = self.at_byte % SECTOR_BYTES;
        if into == 0 {
            self.enter(next);
        } else {
            let left = usize::try_from(SECTOR_BYTES - into).unwrap_or(SECTOR_LEN);
            self.state = State::Padding { left, next };
        }
    }

    fn enter(&mut self, next: Next) {
        self.state = match next {
            Next::Directory { sectors } => State::directory(sectors),
            Next::Ended => State::Ended,
            Next::Footer => State::Footer,
            Next::Marker => State::Marker,
            Next::Table { sectors } => State::table(sectors),
        };
    }

    /// Collects `need` bytes.  Returns whether they are there.
    fn fill(&mut self, input: &mut &[u8], need: usize) -> bool {
        let before = input.len();
        let full = self.gather.fill(input, need);
        self.at_byte += len_u64(before - input.len());
        full
    }

    /// Takes at most `most` bytes out of `input`.
    fn take<'a>(&mut self, input: &mut &'a [u8], most: usize) -> &'a [u8] {
        let (taken, rest) = input.split_at(input.len().min(most));
        *input = rest;
        self.at_byte += len_u64(taken.len());
        taken
    }
}

impl State {
    fn table(sectors_left: u64) -> Self {
        if sectors_left == 0 { Self::Marker } else { Self::Table { sectors_left } }
    }

    fn directory(sectors_left: u64) -> Self {
        if sectors_left == 0 { Self::Marker } else { Self::Directory { sectors_left } }
    }
}

impl Stream {
    /// Starts with the first sector of the file.
    fn open(sector: &[u8; SECTOR_LEN]) -> Result<Self, Fault> {
        let header = Header::parse(sector)?;
        header.require_stream()?;
        Ok(Self {
            descriptor: Vec::new(),
            front: Front::new(&header),
            tables: Tables::new(&header),
            phase: Phase::Grains,
            grains: 0,
            populated_sectors: 0,
            next_lba_sectors: 0,
            header,
        })
    }

    /// Checks a grain's marker at `sector` of the file.  Returns the length of its data.
    fn grain(&mut self, lba_sectors: u64, size_bytes: u32, sector: u64) -> Result<usize, Fault> {
        let header = &self.header;
        if self.phase != Phase::Grains {
            return Err(Fault::Marker { kind: 0, sectors: lba_sectors });
        }
        if lba_sectors >= header.capacity_sectors {
            let capacity_sectors = header.capacity_sectors;
            return Err(Fault::GrainBeyondCapacity { lba_sectors, capacity_sectors });
        }
        if !lba_sectors.is_multiple_of(header.grain_sectors) || lba_sectors < self.next_lba_sectors
        {
            let expected_min = self.next_lba_sectors;
            return Err(Fault::GrainOrder { lba_sectors, expected_min });
        }
        let max_bytes = header.packed_bytes_max();
        let too_long = Fault::GrainLength { size_bytes: size_bytes.into(), max_bytes };
        if u64::from(size_bytes) > max_bytes {
            return Err(too_long);
        }
        let sector = u32::try_from(sector).map_err(|_| Fault::FileLength)?;
        self.tables.grain(lba_sectors, sector, self.front.is_some())?;
        self.next_lba_sectors = lba_sectors + header.grain_sectors;
        self.grains += 1;
        self.populated_sectors += header.grain_sectors.min(header.capacity_sectors - lba_sectors);
        usize::try_from(size_bytes).map_err(|_| too_long)
    }

    /// Checks a marker that is not a grain's, whose data starts at `data_sector`.
    fn special(&mut self, marker: Marker, data_sector: u64) -> Result<Next, Fault> {
        let (kind, sectors) = marker.evidence();
        let misplaced = Err(Fault::Marker { kind, sectors });
        if self.front.is_some() {
            if marker != Marker::EndOfStream {
                return misplaced;
            }
            self.tables.grains_end(true)?;
            return Ok(Next::Ended);
        }
        match (marker, self.phase) {
            (Marker::EndOfStream, Phase::Footer) => Ok(Next::Ended),
            // A sector of zeros looks the same; some writers leave them before the first grain.
            (Marker::EndOfStream, Phase::Grains | Phase::Directory { .. }) => Ok(Next::Marker),
            (Marker::GrainTable { sectors }, Phase::Grains)
                if sectors != 0 && sectors % TABLE_SECTORS == 0 =>
            {
                Ok(Next::Table { sectors })
            }
            (Marker::GrainDirectory { sectors: found }, Phase::Grains) => {
                let expected = self.header.directory_sectors();
                if found < expected || found > expected + DIRECTORY_SLACK_SECTORS {
                    return Err(Fault::DirectoryLength { expected, found });
                }
                self.tables.grains_end(false)?;
                self.phase = Phase::Directory { sector: data_sector };
                Ok(Next::Directory { sectors: found })
            }
            (Marker::Footer { sectors: 1 }, Phase::Directory { .. }) => Ok(Next::Footer),
            _ => misplaced,
        }
    }

    /// Takes sector `number`, which lies before the first marker.
    fn overhead(&mut self, number: u64, bytes: &[u8; SECTOR_LEN]) -> Result<(), Fault> {
        let header = &self.header;
        let from = header.descriptor_offset_sectors;
        if from != 0 && (from..from + header.descriptor_sectors).contains(&number) {
            self.descriptor.extend_from_slice(bytes);
        }
        let Some(front) = &mut self.front else { return Ok(()) };
        front.sector(number, bytes, &mut self.tables)?;
        if number + 1 < header.overhead_sectors {
            return Ok(());
        }
        if !front.is_complete() {
            return Err(Fault::Overhead(header.overhead_sectors));
        }
        // There is no footer to tell whether the header was damaged; the text repeats its most
        // important number.
        let header_sectors = header.capacity_sectors;
        match Descriptor::parse(&self.descriptor).capacity_bytes() {
            Some(bytes) if bytes / SECTOR_BYTES != header_sectors => {
                let descriptor_sectors = bytes / SECTOR_BYTES;
                Err(Fault::DescriptorCapacity { descriptor_sectors, header_sectors })
            }
            _ => Ok(()),
        }
    }

    /// Where to go on at sector `number`.
    fn overhead_left(&self, number: u64) -> State {
        if number < self.header.overhead_sectors { State::Overhead } else { State::Marker }
    }

    /// Takes sector `number`, which belongs to a grain table.
    fn table(&mut self, number: u64, bytes: &[u8; SECTOR_LEN]) -> Result<(), Fault> {
        if self.tables.table_sector(bytes) {
            let first = number + 1 - TABLE_SECTORS;
            self.tables.table(u32::try_from(first).map_err(|_| Fault::FileLength)?)?;
        }
        Ok(())
    }

    /// Takes the next sector of the grain directory.
    fn directory(&mut self, bytes: &[u8; SECTOR_LEN], last: bool) -> Result<(), Fault> {
        self.tables.directory_sector(bytes)?;
        if last { self.tables.directory_end() } else { Ok(()) }
    }

    /// Compares the footer with the header and with what was seen.
    fn footer(&mut self, bytes: &[u8; SECTOR_LEN]) -> Result<(), Fault> {
        let footer = Header::parse(bytes)?;
        let directory = Phase::Directory { sector: footer.gd_offset_sectors };
        if let Some(field) = self.header.footer_difference(&footer) {
            return Err(Fault::Footer { field });
        }
        if self.phase != directory {
            return Err(Fault::Footer { field: "place of the grain directory" });
        }
        self.phase = Phase::Footer;
        Ok(())
    }
}

/// A length as a file offset.
pub(crate) fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A directory may be rounded up to the next 64 KiB.
const DIRECTORY_SLACK_SECTORS: u64 = 128;
