//! Why an OVA cannot be used, and what is odd about one that can.

use std::fmt;
use std::io;

use crate::name::FileName;
use crate::name::NameError;

/// Why an OVA is refused.
///
/// The reader is strict: an archive that it accepts lists the same for every tool, so that what was
/// checked here is what is deployed there.  [`Rules::Lenient`](super::Rules::Lenient) allows what
/// every tool passes over.  `at_byte` is the place of the header in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OvaError {
    /// Something other than zeros stands after the end of the archive.
    #[error("byte {at_byte}: data after the end of the archive")]
    DataAfterEnd {
        /// The first block that is not zero.
        at_byte: u64,
    },
    /// The archive comes as a stream, and a file stands before the descriptor, which says what to
    /// do with it (DSP0243 1.1.0 §5.3).  From a file or by ranges it can be read.
    #[error(
        "{file} stands before the descriptor (.ovf), and a stream cannot be turned back; save the \
         OVA to a file first"
    )]
    DescriptorNotFirst {
        /// The first member.
        file: FileName,
    },
    /// Two members have the same name, or names that differ only in case.
    #[error("byte {at_byte}: a second member with the name {file}, case ignored")]
    Duplicate {
        /// Place of the second one.
        at_byte: u64,
        /// Its name.
        file: FileName,
    },
    /// There is no member.
    #[error("not one member, so no descriptor")]
    Empty,
    /// There are members, but none of them is a descriptor.
    #[error("none of its members is a descriptor (.ovf)")]
    NoDescriptor,
    /// An extended header (PAX or GNU) is malformed, or says something that tools read differently.
    #[error("byte {at_byte}: extended header: {problem}")]
    Extension {
        /// Place of the extended header.
        at_byte: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A header is malformed.
    #[error("byte {at_byte}: not a tar header: {problem}")]
    Header {
        /// Its place.
        at_byte: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A member is not a regular file.
    #[error("byte {at_byte}: a {kind}, only regular files are allowed")]
    Kind {
        /// Place of its header.
        at_byte: u64,
        /// What it is.
        kind: &'static str,
    },
    /// A limit of this crate is exceeded.
    #[error("byte {at_byte}: {what} exceed the limit of {max}")]
    Limit {
        /// Where.
        at_byte: u64,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// A member has a name that leaves the package.
    #[error("byte {at_byte}: {error}")]
    Name {
        /// Place of its header.
        at_byte: u64,
        /// The rule that the name breaks.
        error: NameError,
    },
    /// The file could not be read.
    #[error("byte {at_byte}: reading failed")]
    Read {
        /// Where.
        at_byte: u64,
        /// Why.
        source: io::Error,
    },
    /// There is a second descriptor; tools would choose differently.
    #[error("{file} is a second descriptor")]
    SecondDescriptor {
        /// The second one.
        file: FileName,
    },
    /// The extended header and the header give different sizes; tools would read other members.
    #[error(
        "byte {at_byte}: the header says {header_bytes} bytes, the extended header {extended_bytes}"
    )]
    SizeConflict {
        /// Place of the header.
        at_byte: u64,
        /// Size in the header.
        header_bytes: u64,
        /// Size in the extended header.
        extended_bytes: u64,
    },
    /// The file ends inside of a header or a member.
    #[error("byte {at_byte}: the file has {len_bytes} bytes, but {end_bytes} are needed")]
    Truncated {
        /// Place of the header or member that is cut.
        at_byte: u64,
        /// Length of the file.
        len_bytes: u64,
        /// Where the header or member would end.
        end_bytes: u64,
    },
    /// It is not a tar archive; most likely there is one inside.
    #[error("packed with {format}, and must be unpacked first: {command}")]
    Wrapped {
        /// What it is packed with: `gzip`.
        format: &'static str,
        /// What unpacks it: `gunzip`.
        command: &'static str,
    },
}

/// Something odd about an OVA that does not change its meaning.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum OvaWarning {
    /// The archive ends within the zeros that follow its last member.
    CutEnd {
        /// Length of the archive.
        len_bytes: u64,
    },
    /// What stands after the end of the archive was not looked at.
    DataAfterEnd {
        /// The first byte that was passed over.
        at_byte: u64,
    },
    /// Other members stand before the descriptor (DSP0243 1.1.0 §5.3).
    DescriptorNotFirst {
        /// The first member.
        file: FileName,
    },
    /// The only manifest does not have the name of the descriptor; it is used nevertheless.
    ManifestName {
        /// The manifest.
        file: FileName,
    },
    /// The zero blocks that end an archive are missing.
    MissingEnd,
    /// More zeros stand after the end than a tar writer adds.
    Padding {
        /// Bytes of zeros after the end.
        bytes: u64,
    },
    /// There are several manifests, or certificates, and none has the name of the descriptor: none
    /// is used.
    Several {
        /// The first one.
        first: FileName,
        /// The second one.
        second: FileName,
    },
    /// One zero block ends the archive instead of two.
    SingleEndBlock,
}

impl fmt::Display for OvaWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutEnd { len_bytes } => {
                write!(f, "the archive is cut at byte {len_bytes}, after its last member")
            }
            Self::DataAfterEnd { at_byte } => {
                write!(f, "what stands from byte {at_byte} on, after the archive's end, is ignored")
            }
            Self::DescriptorNotFirst { file } => {
                write!(f, "the first member is {file}, not the descriptor")
            }
            Self::ManifestName { file } => {
                write!(f, "the manifest {file} does not have the name of the descriptor")
            }
            Self::MissingEnd => f.write_str("the archive has no end blocks"),
            Self::Padding { bytes } => write!(f, "{bytes} zero bytes after the archive's end"),
            Self::Several { first, second } => write!(
                f,
                "neither {first} nor {second} has the name of the descriptor, and none of them is used"
            ),
            Self::SingleEndBlock => f.write_str("the archive ends with one zero block, not two"),
        }
    }
}
