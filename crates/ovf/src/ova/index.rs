//! The index of an OVA: which member stands where.

use std::collections::BTreeMap;
use std::collections::HashSet;

use super::error::OvaError;
use super::error::OvaWarning;
use super::extension;
use super::extension::Extension;
use super::header;
use super::header::BLOCK_BYTES;
use super::header::Block;
use super::header::Kind;
use crate::name::FileName;
use crate::name::NAME_BYTES_MAX;
use crate::read_at::ReadAt;

/// The members of an OVA (DSP0243 1.1.0 §5.3), by their place in the file.
///
/// Only headers are read, so that an index costs the same for any size of disks.  Members are then
/// read by position, several at once.
///
/// ```
/// use ovftransfer_ovf::FileName;
/// use ovftransfer_ovf::ova::{Ova, Writer};
///
/// let mut writer = Writer::new(Vec::new());
/// writer.append(&FileName::new("vm.ovf")?, 3, &mut b"<a>".as_slice())?;
/// writer.append(&FileName::new("disk-1.vmdk")?, 4, &mut b"KDMV".as_slice())?;
/// let archive = writer.finish()?;
///
/// let ova = Ova::index(&archive)?;
/// assert_eq!(ova.descriptor().name().as_str(), "vm.ovf");
/// let disk = ova.member(&FileName::new("disk-1.vmdk")?).expect("it was written");
/// assert_eq!(&archive[disk.offset_bytes() as usize..][..4], b"KDMV");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Ova {
    descriptor: Member,
    members: Vec<Member>,
    manifest: Option<Member>,
    /// Where in `members` a name stands.
    places: BTreeMap<FileName, usize>,
    warnings: Vec<OvaWarning>,
}

impl Ova {
    /// Reads the headers of an archive.
    ///
    /// # Errors
    ///
    /// An [`OvaError`] that says where and what; see there for what is refused.
    pub fn index(source: &dyn ReadAt) -> Result<Self, OvaError> {
        let len_bytes =
            source.len_bytes().map_err(|source| OvaError::Read { at_byte: 0, source })?;
        let mut walk = Walk::new(source, len_bytes);
        walk.members()?;
        let Walk { members, mut warnings, .. } = walk;
        let descriptor = the_descriptor(&members)?;
        let manifest = the_manifest(&members, &descriptor);
        if let Some(Member { name, .. }) = &manifest
            && name.stem() != descriptor.name.stem()
        {
            warnings.push(OvaWarning::ManifestName { file: name.clone() });
        }
        let places = (0..).zip(&members).map(|(place, member)| (member.name.clone(), place));
        let places = places.collect();
        Ok(Self { descriptor, members, manifest, places, warnings })
    }

    /// All members in the order of the archive; folders are left out.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The descriptor, which is the first member.
    #[must_use]
    pub fn descriptor(&self) -> &Member {
        &self.descriptor
    }

    /// The manifest: the `.mf` with the name of the descriptor, else the only `.mf`.
    #[must_use]
    pub fn manifest(&self) -> Option<&Member> {
        self.manifest.as_ref()
    }

    /// The member with a name.
    #[must_use]
    pub fn member(&self, file: &FileName) -> Option<&Member> {
        self.places.get(file).and_then(|place| self.members.get(*place))
    }

    /// What is odd about the archive.
    #[must_use]
    pub fn warnings(&self) -> &[OvaWarning] {
        &self.warnings
    }
}

/// A file in an OVA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    name: FileName,
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

fn the_descriptor(members: &[Member]) -> Result<Member, OvaError> {
    let mut descriptors = members.iter().filter(|member| member.name.has_extension("ovf"));
    let first = members.first().ok_or(OvaError::Empty)?;
    if descriptors.next() != Some(first) {
        return Err(OvaError::DescriptorNotFirst { file: first.name.clone() });
    }
    match descriptors.next() {
        None => Ok(first.clone()),
        Some(second) => Err(OvaError::SecondDescriptor { file: second.name.clone() }),
    }
}

/// A manifest under another name is used too: to overlook it would be to verify nothing.
fn the_manifest(members: &[Member], descriptor: &Member) -> Option<Member> {
    let mut manifests = members.iter().filter(|member| member.name.has_extension("mf"));
    let named = manifests.clone().find(|member| member.name.stem() == descriptor.name.stem());
    match (named, manifests.next(), manifests.next()) {
        (Some(named), ..) => Some(named.clone()),
        (None, Some(only), None) => Some(only.clone()),
        _ => None,
    }
}

/// One pass over the headers.
struct Walk<'a> {
    source: &'a dyn ReadAt,
    len_bytes: u64,
    /// Place of the next header.
    at_byte: u64,
    members: Vec<Member>,
    /// Names in lower case.
    folded: HashSet<String>,
    warnings: Vec<OvaWarning>,
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn ReadAt, len_bytes: u64) -> Self {
        let (members, folded, warnings) = Default::default();
        Self { source, len_bytes, at_byte: 0, members, folded, warnings }
    }

    /// Reads up to the end of the archive.
    fn members(&mut self) -> Result<(), OvaError> {
        let mut extension = None;
        let mut is_member_due = false;
        for _ in 0..HEADERS_MAX {
            let at_byte = self.at_byte;
            let Some(block) = self.next_block()? else {
                let problem = "no member after it";
                let unfinished = Err(OvaError::Extension { at_byte, problem });
                return if is_member_due { unfinished } else { Ok(()) };
            };
            let entry =
                header::parse(&block).map_err(|problem| OvaError::Header { at_byte, problem })?;
            is_member_due = !matches!(entry.kind, Kind::Directory | Kind::Regular);
            extension = match entry.kind {
                Kind::Regular => {
                    self.add(at_byte, &entry, extension)?;
                    None
                }
                Kind::Directory => {
                    self.skip_directory(at_byte, &entry, extension)?;
                    None
                }
                Kind::GlobalExtension => {
                    self.skip_global(at_byte, &entry)?;
                    extension
                }
                Kind::GnuLongName | Kind::LocalExtension if extension.is_some() => {
                    let problem = "two for one member";
                    return Err(OvaError::Extension { at_byte, problem });
                }
                Kind::GnuLongName => Some(self.long_name(at_byte, &entry)?),
                Kind::LocalExtension => Some(self.pax(at_byte, &entry)?),
                Kind::Other(kind) => return Err(OvaError::Kind { at_byte, kind }),
            };
        }
        let (at_byte, max) = (self.at_byte, HEADERS_MAX as u64);
        Err(OvaError::Limit { at_byte, what: "headers", max })
    }

    fn add(
        &mut self,
        at_byte: u64,
        entry: &header::Entry,
        extension: Option<Extension>,
    ) -> Result<(), OvaError> {
        let (name, size_bytes) = meaning(at_byte, entry, extension)?;
        let name =
            FileName::from_relative(&name).map_err(|error| OvaError::Name { at_byte, error })?;
        if !self.folded.insert(name.as_str().to_lowercase()) {
            return Err(OvaError::Duplicate { at_byte, file: name });
        }
        let offset_bytes = self.skip_body(at_byte, size_bytes)?;
        self.members.push(Member { name, offset_bytes, size_bytes });
        Ok(())
    }

    /// Folders are tolerated, because they are made as files need them; their names are not.
    fn skip_directory(
        &mut self,
        at_byte: u64,
        entry: &header::Entry,
        extension: Option<Extension>,
    ) -> Result<(), OvaError> {
        let (name, size_bytes) = meaning(at_byte, entry, extension)?;
        if size_bytes != 0 {
            return Err(OvaError::Header { at_byte, problem: "a folder with a size" });
        }
        let name = name.trim_end_matches('/');
        if name != "." {
            FileName::from_relative(name).map_err(|error| OvaError::Name { at_byte, error })?;
        }
        self.skip_body(at_byte, 0).map(|_offset| ())
    }

    /// A global header may carry a comment; a global name or size is not understood by all tools.
    fn skip_global(&mut self, at_byte: u64, entry: &header::Entry) -> Result<(), OvaError> {
        if self.pax(at_byte, entry)? != Extension::default() {
            let problem = "a name or size for all members";
            return Err(OvaError::Extension { at_byte, problem });
        }
        Ok(())
    }

    fn pax(&mut self, at_byte: u64, entry: &header::Entry) -> Result<Extension, OvaError> {
        let bytes = self.body(at_byte, entry, PAX_BYTES_MAX)?;
        extension::parse_pax(&bytes).map_err(|problem| OvaError::Extension { at_byte, problem })
    }

    fn long_name(&mut self, at_byte: u64, entry: &header::Entry) -> Result<Extension, OvaError> {
        let bytes = self.body(at_byte, entry, LONG_NAME_BYTES_MAX)?;
        extension::parse_long_name(&bytes)
            .map_err(|problem| OvaError::Extension { at_byte, problem })
    }

    /// Reads the body of an extended header.
    fn body(&mut self, at_byte: u64, entry: &header::Entry, max: u64) -> Result<Vec<u8>, OvaError> {
        let len_bytes = usize::try_from(entry.size_bytes).unwrap_or(usize::MAX);
        if entry.size_bytes > max {
            return Err(OvaError::Limit { at_byte, what: "bytes of an extended header", max });
        }
        let offset_bytes = self.skip_body(at_byte, entry.size_bytes)?;
        let mut bytes = vec![0; len_bytes];
        self.read(&mut bytes, offset_bytes)?;
        Ok(bytes)
    }

    /// Moves on to the header after a body; returns where the body starts.
    fn skip_body(&mut self, at_byte: u64, size_bytes: u64) -> Result<u64, OvaError> {
        let offset_bytes = at_byte + BLOCK_BYTES;
        let padded_bytes = size_bytes.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX);
        self.at_byte = self.whole(at_byte, offset_bytes.saturating_add(padded_bytes))?;
        Ok(offset_bytes)
    }

    /// Checks that the file reaches to `end_bytes`.
    fn whole(&self, at_byte: u64, end_bytes: u64) -> Result<u64, OvaError> {
        let len_bytes = self.len_bytes;
        if end_bytes > len_bytes {
            return Err(OvaError::Truncated { at_byte, len_bytes, end_bytes });
        }
        Ok(end_bytes)
    }

    /// The next header block; nothing at the end of the archive, which is then checked.
    fn next_block(&mut self) -> Result<Option<Block>, OvaError> {
        let at_byte = self.at_byte;
        if at_byte == self.len_bytes {
            self.warnings.push(OvaWarning::MissingEnd);
            return Ok(None);
        }
        let second = self.whole(at_byte, at_byte.saturating_add(BLOCK_BYTES))?;
        let mut block: Block = [0; 512];
        self.read(&mut block, at_byte)?;
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        if second == self.len_bytes {
            self.warnings.push(OvaWarning::SingleEndBlock);
            return Ok(None);
        }
        self.whole(second, second.saturating_add(BLOCK_BYTES))?;
        let left_bytes = self.len_bytes - at_byte;
        if left_bytes > PADDING_BYTES_MAX {
            let what = "bytes after the archive's end";
            return Err(OvaError::Limit { at_byte, what, max: PADDING_BYTES_MAX });
        }
        if let Some(at_byte) = self.first_data(second)? {
            return Err(OvaError::DataAfterEnd { at_byte });
        }
        if left_bytes > RECORD_BYTES {
            self.warnings.push(OvaWarning::Padding { bytes: left_bytes });
        }
        Ok(None)
    }

    /// The first block from `at_byte` on that is not zero.
    fn first_data(&self, mut at_byte: u64) -> Result<Option<u64>, OvaError> {
        let mut block: Block = [0; 512];
        while at_byte < self.len_bytes {
            let left_bytes = (self.len_bytes - at_byte).min(BLOCK_BYTES);
            let part = usize::try_from(left_bytes).ok().and_then(|left| block.get_mut(..left));
            let part = part.unwrap_or_default();
            self.read(part, at_byte)?;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(Some(at_byte));
            }
            at_byte += left_bytes;
        }
        Ok(None)
    }

    fn read(&self, buffer: &mut [u8], at_byte: u64) -> Result<(), OvaError> {
        let read = self.source.read_exact_at(buffer, at_byte);
        read.map_err(|source| OvaError::Read { at_byte, source })
    }
}

/// Name and size of a member by both of its headers.
fn meaning(
    at_byte: u64,
    entry: &header::Entry,
    extension: Option<Extension>,
) -> Result<(String, u64), OvaError> {
    let Extension { name, size_bytes } = extension.unwrap_or_default();
    let size_bytes = match (entry.size_bytes, size_bytes) {
        (header_bytes, None) => header_bytes,
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
