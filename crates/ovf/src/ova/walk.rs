//! The way through an archive, header by header, without reading itself.

use std::collections::HashSet;

use super::error::OvaError;
use super::error::OvaWarning;
use super::extension;
use super::extension::Extension;
use super::header;
use super::header::BLOCK_BYTES;
use super::header::Block;
use super::header::Entry;
use super::header::Kind;
use super::wrapper::wrapper;
use crate::name::FileName;
use crate::name::NAME_BYTES_MAX;
use crate::sabotage;
use crate::sabotage::Defect;

/// A file in an OVA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    pub(super) name: FileName,
    offset_bytes: u64,
    size_bytes: u64,
}

impl Member {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &FileName {
        &self.name
    }

    /// Where its content starts in the OVA, in bytes.
    #[must_use]
    pub fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// Length of its content in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// How strictly an archive is read.
///
/// Whatever could be read in two ways is refused by both: by neither can a member mean one thing
/// here and another to GNU tar or Python.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Rules {
    /// As [`OvaError`] says.
    #[default]
    Strict,
    /// As strict, but for what comes behind the last member, where every tool stops to look:
    ///
    /// - after two blocks of zeros anything may follow, such as a signature, the rest of a tape or
    ///   of a disk that was larger than the archive; it is not looked at;
    /// - the archive may be cut within the zeros that follow the last member, if that is whole.
    ///
    /// Both are told as an [`OvaWarning`].
    Lenient,
}

/// One pass over the headers of an archive, for callers that read by themselves: by position, from
/// a stream, or over a network.
///
/// It says which bytes it needs; the places only grow, so that a stream can give them too.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ovftransfer_ovf::FileName;
/// use ovftransfer_ovf::ova::{Ova, Walk, Writer};
///
/// let mut writer = Writer::new(Vec::new());
/// writer.append(&FileName::new("vm.ovf")?, 3, &mut b"<a>".as_slice())?;
/// let archive = writer.finish()?;
///
/// let mut walk = Walk::new(None);
/// while let Some(wanted) = walk.wanted() {
///     let start = archive.len().min(wanted.at_byte as usize);
///     let end = archive.len().min(start + wanted.len_bytes);
///     if let Some(member) = walk.feed(&archive[start..end])? {
///         assert_eq!((member.offset_bytes(), member.size_bytes()), (512, 3));
///     }
/// }
/// assert_eq!(Ova::new(walk)?.members().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Walk {
    /// Length of the archive, once it is known.
    len_bytes: Option<u64>,
    /// Place of the bytes that are wanted.
    at_byte: u64,
    rules: Rules,
    state: State,
    headers: usize,
    /// What extended headers said about the next member.
    extension: Option<Extension>,
    is_member_due: bool,
    members: Vec<Member>,
    /// Names in lower case.
    folded: HashSet<String>,
    warnings: Vec<OvaWarning>,
}

/// Bytes of an archive that are needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Wanted {
    /// Their place.
    pub at_byte: u64,
    /// Their number; fewer are given only where the archive ends.
    pub len_bytes: usize,
}

/// What the bytes are that are wanted.
#[derive(Debug)]
enum State {
    /// The next header, or the first block of the end.
    Header,
    /// The body of an extended header that stands at `at_byte`.
    Extended { at_byte: u64, entry: Entry },
    /// What follows the first block of the end, which stands at `end_byte`.
    End { end_byte: u64 },
    /// Nothing any more.
    Done,
}

impl Walk {
    /// Starts at the first byte of an archive; its length is given where it is known.
    #[must_use]
    pub fn new(len_bytes: Option<u64>) -> Self {
        Self {
            len_bytes,
            at_byte: 0,
            rules: Rules::Strict,
            state: State::Header,
            headers: 0,
            extension: None,
            is_member_due: false,
            members: Vec::new(),
            folded: HashSet::new(),
            warnings: Vec::new(),
        }
    }

    /// The same by other rules than the strict ones.
    #[must_use]
    pub fn by(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// The bytes that are needed next; nothing at the end of the archive.
    #[must_use]
    pub fn wanted(&self) -> Option<Wanted> {
        let needed = match &self.state {
            State::Header | State::End { .. } => BLOCK_BYTES,
            State::Extended { entry, .. } => entry.size_bytes,
            State::Done => return None,
        };
        let left = self.len_bytes.map_or(needed, |len| len.saturating_sub(self.at_byte));
        let len_bytes = usize::try_from(needed.min(left)).unwrap_or(usize::MAX);
        Some(Wanted { at_byte: self.at_byte, len_bytes })
    }

    /// Takes the bytes that were wanted.  Fewer mean that the archive ends there.
    ///
    /// Returns a member when its header is complete; its content follows.
    ///
    /// # Errors
    ///
    /// An [`OvaError`] that says where and what; see there for what is refused.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Member>, OvaError> {
        let Some(wanted) = self.wanted() else { return Ok(None) };
        if bytes.len() < wanted.len_bytes {
            self.len_bytes = Some(wanted.at_byte.saturating_add(bytes.len() as u64));
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Header => self.header(bytes),
            State::Extended { at_byte, entry } => {
                let end_bytes = self.at_byte.saturating_add(entry.size_bytes);
                self.whole(at_byte, end_bytes)?;
                self.extended(at_byte, &entry, bytes)?;
                self.skip_body(at_byte, entry.size_bytes)?;
                self.state = State::Header;
                Ok(None)
            }
            State::End { end_byte } => self.end(end_byte, bytes).map(|()| None),
            State::Done => Ok(None),
        }
    }

    /// The archive ends at `len_bytes`, before the place of what is wanted: within the last member
    /// or the zeros behind it.
    ///
    /// # Errors
    ///
    /// [`OvaError::Truncated`], unless the rules allow the zeros to be missing.
    pub fn ends_at(&mut self, len_bytes: u64) -> Result<(), OvaError> {
        self.len_bytes = Some(len_bytes);
        let (last, end_byte) = self.members.last().map_or((0, 0), |member| {
            let end_byte = member.offset_bytes.saturating_add(member.size_bytes);
            (member.offset_bytes - BLOCK_BYTES, end_byte)
        });
        if matches!(self.state, State::Header) && self.may_be_cut(end_byte) {
            self.cut(len_bytes);
            return Ok(());
        }
        self.state = State::Done;
        Err(OvaError::Truncated { at_byte: last, len_bytes, end_bytes: self.at_byte })
    }

    pub(super) fn into_parts(self) -> (Vec<Member>, Vec<OvaWarning>) {
        (self.members, self.warnings)
    }

    fn header(&mut self, bytes: &[u8]) -> Result<Option<Member>, OvaError> {
        let at_byte = self.at_byte;
        if at_byte == 0
            && let Some(wrapped) = wrapper(bytes)
            && !Block::try_from(bytes).is_ok_and(|block| header::parse(&block).is_ok())
        {
            return Err(wrapped);
        }
        if bytes.iter().all(|byte| *byte == 0) {
            if self.is_member_due {
                return Err(OvaError::Extension { at_byte, problem: "no member after it" });
            }
            return self.first_end_block(at_byte, bytes).map(|()| None);
        }
        self.whole(at_byte, at_byte.saturating_add(BLOCK_BYTES))?;
        let block = Block::try_from(bytes);
        let block = block.map_err(|_| OvaError::Header { at_byte, problem: "not a block" })?;
        self.headers += 1;
        if self.headers > HEADERS_MAX {
            let max = HEADERS_MAX as u64;
            return Err(OvaError::Limit { at_byte, what: "headers", max });
        }
        let entry =
            header::parse(&block).map_err(|problem| OvaError::Header { at_byte, problem })?;
        self.is_member_due = !matches!(entry.kind, Kind::Directory | Kind::Regular);
        self.state = State::Header;
        match entry.kind {
            Kind::Regular => self.add(at_byte, &entry).map(Some),
            Kind::Directory => self.skip_directory(at_byte, &entry).map(|()| None),
            Kind::GnuLongName | Kind::LocalExtension if self.extension.is_some() => {
                Err(OvaError::Extension { at_byte, problem: "two for one member" })
            }
            Kind::GnuLongName => self.expect(at_byte, entry, LONG_NAME_BYTES_MAX),
            Kind::GlobalExtension | Kind::LocalExtension => {
                self.expect(at_byte, entry, PAX_BYTES_MAX)
            }
            Kind::Other(kind) => Err(OvaError::Kind { at_byte, kind }),
        }
    }

    fn add(&mut self, at_byte: u64, entry: &Entry) -> Result<Member, OvaError> {
        let (name, size_bytes) = meaning(at_byte, entry, self.extension.take())?;
        let name =
            FileName::from_relative(&name).map_err(|error| OvaError::Name { at_byte, error })?;
        if !self.folded.insert(name.as_str().to_lowercase()) {
            return Err(OvaError::Duplicate { at_byte, file: name });
        }
        let offset_bytes = self.skip_body(at_byte, size_bytes)?;
        let member = Member { name, offset_bytes, size_bytes };
        self.members.push(member.clone());
        Ok(member)
    }

    /// Folders are tolerated, because they are made as files need them; their names are not.
    fn skip_directory(&mut self, at_byte: u64, entry: &Entry) -> Result<(), OvaError> {
        let (name, size_bytes) = meaning(at_byte, entry, self.extension.take())?;
        if size_bytes != 0 {
            return Err(OvaError::Header { at_byte, problem: "a folder with a size" });
        }
        let name = name.trim_end_matches('/');
        if name != "." {
            FileName::from_relative(name).map_err(|error| OvaError::Name { at_byte, error })?;
        }
        self.skip_body(at_byte, 0).map(|_offset| ())
    }

    /// Wants the body of an extended header.
    fn expect(&mut self, at_byte: u64, entry: Entry, max: u64) -> Result<Option<Member>, OvaError> {
        if entry.size_bytes > max {
            return Err(OvaError::Limit { at_byte, what: "bytes of an extended header", max });
        }
        let offset_bytes = at_byte + BLOCK_BYTES;
        self.whole(at_byte, offset_bytes.saturating_add(entry.size_bytes))?;
        self.at_byte = offset_bytes;
        self.state = State::Extended { at_byte, entry };
        Ok(None)
    }

    fn extended(&mut self, at_byte: u64, entry: &Entry, bytes: &[u8]) -> Result<(), OvaError> {
        let read = match entry.kind {
            Kind::GnuLongName => extension::parse_long_name(bytes),
            Kind::GlobalExtension
            | Kind::LocalExtension
            | Kind::Directory
            | Kind::Regular
            | Kind::Other(_) => extension::parse_pax(bytes),
        };
        let read = read.map_err(|problem| OvaError::Extension { at_byte, problem })?;
        if entry.kind != Kind::GlobalExtension {
            self.extension = Some(read);
        } else if read != Extension::default() {
            // A global header may carry a comment; a global name or size is not understood by all
            // tools.
            let problem = "a name or size for all members";
            return Err(OvaError::Extension { at_byte, problem });
        }
        Ok(())
    }

    /// Moves on to the header after a body; returns where the body starts.
    fn skip_body(&mut self, at_byte: u64, size_bytes: u64) -> Result<u64, OvaError> {
        let offset_bytes = at_byte + BLOCK_BYTES;
        let padded_bytes = size_bytes.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX);
        let next = offset_bytes.saturating_add(padded_bytes);
        let body_end = offset_bytes.saturating_add(size_bytes);
        match self.len_bytes {
            Some(len_bytes) if next > len_bytes && self.may_be_cut(body_end) => {
                self.cut(len_bytes);
            }
            _ => self.at_byte = self.whole(at_byte, next)?,
        }
        Ok(offset_bytes)
    }

    /// Whether the archive may end from here on, before the zeros that should end it.
    fn may_be_cut(&self, end_byte: u64) -> bool {
        self.rules == Rules::Lenient
            && !self.is_member_due
            && self.len_bytes.is_some_and(|len_bytes| len_bytes >= end_byte)
    }

    fn cut(&mut self, len_bytes: u64) {
        self.warnings.push(OvaWarning::CutEnd { len_bytes });
        self.state = State::Done;
    }

    /// Checks that the archive reaches to `end_bytes`, as far as its length is known.
    fn whole(&self, at_byte: u64, end_bytes: u64) -> Result<u64, OvaError> {
        match self.len_bytes {
            Some(len_bytes) if end_bytes > len_bytes => {
                Err(OvaError::Truncated { at_byte, len_bytes, end_bytes })
            }
            _ => Ok(end_bytes),
        }
    }

    /// The first of the zero blocks that end the archive; nothing if there is none.
    fn first_end_block(&mut self, end_byte: u64, bytes: &[u8]) -> Result<(), OvaError> {
        if bytes.is_empty() {
            self.warnings.push(OvaWarning::MissingEnd);
            return Ok(());
        }
        if !self.is_whole_block(end_byte, bytes)? {
            return Ok(());
        }
        self.at_byte = end_byte + BLOCK_BYTES;
        if self.rules == Rules::Strict && self.len_bytes != Some(self.at_byte) {
            self.whole(self.at_byte, self.at_byte.saturating_add(BLOCK_BYTES))?;
            self.check_padding(end_byte)?;
        }
        self.state = State::End { end_byte };
        Ok(())
    }

    /// What comes after the first zero block must be zeros up to the end.
    fn end(&mut self, end_byte: u64, bytes: &[u8]) -> Result<(), OvaError> {
        let (at_byte, second) = (self.at_byte, end_byte + BLOCK_BYTES);
        if bytes.iter().any(|byte| *byte != 0) {
            // Behind a single block some tools go on reading, so that it is no end by any rules.
            if self.rules == Rules::Lenient && at_byte > second {
                self.warnings.push(OvaWarning::DataAfterEnd { at_byte });
                return Ok(());
            }
            return Err(OvaError::DataAfterEnd { at_byte });
        }
        if at_byte == second {
            if bytes.is_empty() {
                self.warnings.push(OvaWarning::SingleEndBlock);
                return Ok(());
            }
            if !self.is_whole_block(second, bytes)? {
                return Ok(());
            }
        }
        self.at_byte = at_byte.saturating_add(bytes.len() as u64);
        match self.rules {
            Rules::Strict => self.check_padding(end_byte)?,
            Rules::Lenient if self.at_byte - end_byte > PADDING_BYTES_MAX => {
                self.warnings.push(OvaWarning::DataAfterEnd { at_byte: self.at_byte });
                return Ok(());
            }
            Rules::Lenient => {}
        }
        if self.len_bytes == Some(self.at_byte) {
            let bytes = self.at_byte - end_byte;
            if bytes > RECORD_BYTES {
                self.warnings.push(OvaWarning::Padding { bytes });
            }
            return Ok(());
        }
        self.state = State::End { end_byte };
        Ok(())
    }

    /// Whether a block of the end is all there; if it need not be, the archive ends here.
    fn is_whole_block(&mut self, at_byte: u64, bytes: &[u8]) -> Result<bool, OvaError> {
        let end_bytes = at_byte.saturating_add(BLOCK_BYTES);
        match self.len_bytes {
            Some(len_bytes) if len_bytes < end_bytes && self.rules == Rules::Lenient => {
                self.cut(len_bytes);
                Ok(false)
            }
            _ => self.whole(at_byte, end_bytes).map(|_end| bytes.len() as u64 == BLOCK_BYTES),
        }
    }

    fn check_padding(&self, end_byte: u64) -> Result<(), OvaError> {
        let left_bytes = self.len_bytes.unwrap_or(self.at_byte).saturating_sub(end_byte);
        if left_bytes > PADDING_BYTES_MAX {
            let what = "bytes after the archive's end";
            return Err(OvaError::Limit { at_byte: end_byte, what, max: PADDING_BYTES_MAX });
        }
        Ok(())
    }
}

/// Name and size of a member by both of its headers.
fn meaning(
    at_byte: u64,
    entry: &Entry,
    extension: Option<Extension>,
) -> Result<(String, u64), OvaError> {
    let Extension { name, size_bytes } = extension.unwrap_or_default();
    let size_bytes = match (entry.size_bytes, size_bytes) {
        (header_bytes, None) => header_bytes,
        (header_bytes, Some(_)) if sabotage::on(Defect::TrustTheUstarSize) => header_bytes,
        // Writers leave the header's size at zero when it has no room for the real one.
        (0, Some(extended_bytes)) => extended_bytes,
        (header_bytes, Some(extended_bytes)) if header_bytes == extended_bytes => header_bytes,
        (header_bytes, Some(extended_bytes)) => {
            return Err(OvaError::SizeConflict { at_byte, header_bytes, extended_bytes });
        }
    };
    let name = match name {
        Some(name) => name,
        None => str::from_utf8(&entry.name)
            .map_err(|_| OvaError::Header { at_byte, problem: "the name is not UTF-8" })?
            .to_owned(),
    };
    Ok((name, size_bytes))
}

/// Most headers of an archive.  Packages of 10,000 files exist; with names of 1 KiB, kept three
/// times while indexing, this many take 48 MiB.
pub(crate) const HEADERS_MAX: usize = 16_384;

/// Longest PAX header.  Names and sizes need less than 2 KiB; extended attributes may come along.
const PAX_BYTES_MAX: u64 = 1 << 20;

/// Longest GNU long name with its zero and a `./` in front.
const LONG_NAME_BYTES_MAX: u64 = NAME_BYTES_MAX as u64 + 16;

/// A tar record: writers fill the last one with zeros.
const RECORD_BYTES: u64 = 20 * BLOCK_BYTES;

/// Most zeros after the end.  Disk images of tapes have up to 1 MiB; all of it is read.
const PADDING_BYTES_MAX: u64 = 1 << 20;
