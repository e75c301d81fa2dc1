//! What can be wrong with a descriptor, where, and by which rule.

use std::fmt;

use crate::name::FileName;
use crate::name::NameError;

/// Why a descriptor cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("descriptor, {position}: {fault} ({})", fault.section())]
pub struct EnvelopeError {
    position: Position,
    fault: EnvelopeFault,
}

impl EnvelopeError {
    /// An error at a byte of the text.
    pub(super) fn at(text: &str, at_byte: usize, fault: EnvelopeFault) -> Self {
        Self { position: Position::of(text, at_byte), fault }
    }

    /// Where it was found.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// What is wrong there.
    #[must_use]
    pub fn fault(&self) -> &EnvelopeFault {
        &self.fault
    }
}

/// A place in a descriptor, as editors count.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
}

impl Position {
    pub(super) fn of(text: &str, at_byte: usize) -> Self {
        let bytes = text.as_bytes();
        let before = bytes.get(..at_byte).unwrap_or(bytes);
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // Characters are counted by their first bytes.
        let is_first = |byte: &&u8| **byte & 0b1100_0000 != 0b1000_0000;
        Self {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: before.iter().skip(line_start).filter(is_first).count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a descriptor.  Outside text in it is escaped and shortened.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeFault {
    /// A draft was to be changed.
    #[error("a draft of OVF (version 0.9), which is read but not changed: convert it first")]
    Draft,
    /// A document type declaration; it could define entities that grow without bound.
    #[error("a document type declaration, which a descriptor must not have")]
    DocType,
    /// Two disks have the same `diskId`.
    #[error("a second disk with the id \"{id}\"")]
    DuplicateDisk {
        /// The id.
        id: String,
    },
    /// Two references have the same id.
    #[error("a second file reference with the id \"{id}\"")]
    DuplicateFile {
        /// The id.
        id: String,
    },
    /// Two references name the same file.
    #[error("a second file reference to {href}")]
    DuplicateHref {
        /// The file.
        href: FileName,
    },
    /// The text is not UTF-8.
    #[error("not UTF-8 text")]
    Encoding,
    /// A reference to something outside the package, or with a name that no file may have.
    #[error("file reference \"{id}\": {error}")]
    Href {
        /// Id of the reference.
        id: String,
        /// The rule that the name breaks.
        error: NameError,
    },
    /// A limit of this crate is exceeded.
    #[error("{what} exceed the limit of {max}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A required element or attribute is missing.
    #[error("{element} has no {part}")]
    Missing {
        /// The element.
        element: &'static str,
        /// Its missing child or attribute.
        part: &'static str,
    },
    /// The root element is not an OVF 0.9, 1.x or 2.x envelope.
    #[error("the root element is {found}, not an Envelope of OVF 0.9, 1.x or 2.x")]
    NotAnEnvelope {
        /// Name and namespace of the root element.
        found: String,
    },
    /// A number is negative, too large, or not a number.
    #[error("{part} is \"{found}\", expected a whole number up to {max}")]
    Number {
        /// The attribute or element.
        part: &'static str,
        /// Its value.
        found: String,
        /// The largest value.
        max: u64,
    },
    /// A disk is, through its parents, its own parent.
    #[error("disk \"{id}\" is its own ancestor by parentRef")]
    ParentCircle {
        /// Id of a disk on the circle.
        id: String,
    },
    /// A capacity is a property that is missing or has no value.
    #[error("capacity is the property \"{key}\", which has no value in the descriptor")]
    Property {
        /// Key of the property.
        key: String,
    },
    /// An allocation unit that is not one of bytes.
    #[error("\"{found}\" is not a unit of bytes, such as \"byte * 2^30\"")]
    Unit {
        /// The unit.
        found: String,
    },
    /// A disk that is referred to does not exist.
    #[error("{from} refers to the disk \"{id}\", which is not in the DiskSection")]
    UnknownDisk {
        /// The attribute or element that refers to it.
        from: &'static str,
        /// Its id.
        id: String,
    },
    /// A file that is referred to does not exist.
    #[error("{from} refers to the file \"{id}\", which is not in the References")]
    UnknownFile {
        /// The attribute or element that refers to it.
        from: &'static str,
        /// Its id.
        id: String,
    },
    /// The text is not well-formed XML.
    #[error("not well-formed XML: {problem}")]
    Xml {
        /// What the XML parser says.
        problem: String,
    },
    /// The descriptor is UTF-16 text.
    #[error(
        "UTF-16 text; convert it to UTF-8 and let its XML declaration say so: iconv -f UTF-16 -t UTF-8"
    )]
    Utf16,
}

impl EnvelopeFault {
    /// The section of DSP0243 1.1.0 that has the rule; for limits of ours, the one they guard.
    #[must_use]
    pub fn section(&self) -> &'static str {
        match self {
            Self::DuplicateFile { .. } | Self::DuplicateHref { .. } | Self::Href { .. } => {
                "DSP0243 §7.1"
            }
            Self::Number { part, .. } | Self::Missing { part, .. } => section_of(part),
            Self::UnknownDisk { from, .. } | Self::UnknownFile { from, .. } => section_of(from),
            Self::DuplicateDisk { .. }
            | Self::ParentCircle { .. }
            | Self::Property { .. }
            | Self::Unit { .. } => "DSP0243 §9.1",
            Self::DocType
            | Self::Draft
            | Self::Encoding
            | Self::Utf16
            | Self::Limit { .. }
            | Self::NotAnEnvelope { .. }
            | Self::Xml { .. } => "DSP0243 §6",
        }
    }
}

fn section_of(part: &str) -> &'static str {
    match part {
        "id" | "href" | "size" | "chunkSize" => "DSP0243 §7.1",
        "VirtualSystem" => "DSP0243 §7.2",
        "InstanceID" | "ResourceType" | "VirtualQuantity" | "HostResource" => "DSP0243 §8.3",
        "network name" => "DSP0243 §9.2",
        _ => "DSP0243 §9.1",
    }
}
