//! What was not as it should be.

use std::fmt;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;

/// Something about a package that was not as it should be, and is in the new one.
///
/// `Display` is one sentence for people.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Repair {
    /// The archive was odd; the new one is not.
    Archive {
        /// What was odd.
        problem: String,
    },
    /// The manifest promised other bytes; these were taken as they are, on request.
    Digest {
        /// The file, by its name in the package.
        file: FileName,
        /// What the package's manifest says.
        expected: Box<Digest>,
        /// What the file is.
        computed: Box<Digest>,
    },
    /// The descriptor named an address on a web server; now it is a file of the package.
    Fetched {
        /// The file.
        file: FileName,
    },
    /// The package had the file compressed.
    Inflated {
        /// The file, by its new name.
        file: FileName,
    },
    /// The package had the file in chunks.
    Joined {
        /// The file, by its new name.
        file: FileName,
    },
    /// Something that the descriptor does not name was left out.
    LeftOut {
        /// The file.
        file: FileName,
    },
    /// The package had no manifest, or one by other algorithms than the new one's.
    Manifest {
        /// The algorithms of the old one; none if there was none.
        algorithms: Vec<DigestAlgorithm>,
    },
    /// The file has got another name, which every product takes.
    Name {
        /// Its name in the package.
        from: FileName,
        /// Its new name.
        to: FileName,
    },
    /// The references have got the order in which the files came.
    Order,
    /// The package's signature does not fit the new manifest, and was left out.
    Signature,
    /// The descriptor said another size.
    Size {
        /// The file, by its new name.
        file: FileName,
        /// What the descriptor said, in bytes.
        stated: u64,
        /// What the file has, in bytes.
        found: u64,
    },
    /// The manifest did not list the file, so nothing proves that it is the packer's.
    Unlisted {
        /// The file, by its name in the package.
        file: FileName,
    },
}

impl Repair {
    /// The word for it in JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Archive { .. } => "archive",
            Self::Digest { .. } => "digest",
            Self::Fetched { .. } => "fetched",
            Self::Inflated { .. } => "inflated",
            Self::Joined { .. } => "joined",
            Self::LeftOut { .. } => "left_out",
            Self::Manifest { .. } => "manifest",
            Self::Name { .. } => "name",
            Self::Order => "order",
            Self::Signature => "signature",
            Self::Size { .. } => "size",
            Self::Unlisted { .. } => "unlisted",
        }
    }

    /// Whether somebody should know at once: something was taken that the package does not prove, or
    /// the new package proves less.
    #[must_use]
    pub const fn is_on_trust(&self) -> bool {
        match self {
            Self::Digest { .. } | Self::Signature | Self::Unlisted { .. } => true,
            Self::Manifest { algorithms } => algorithms.is_empty(),
            Self::Archive { .. }
            | Self::Fetched { .. }
            | Self::Inflated { .. }
            | Self::Joined { .. }
            | Self::LeftOut { .. }
            | Self::Name { .. }
            | Self::Order
            | Self::Size { .. } => false,
        }
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive { problem } => write!(f, "the archive: {problem}"),
            Self::Digest { file, expected, computed } => write!(
                f,
                "{file} is not what the manifest says ({expected} promised, {computed} found); \
                 taken as it is"
            ),
            Self::Fetched { file } => {
                write!(f, "{file} is a file of the package now; it was named by an address")
            }
            Self::Inflated { file } => write!(f, "{file} is not compressed any more"),
            Self::Joined { file } => write!(f, "{file} is one file now; it was cut into chunks"),
            Self::LeftOut { file } => {
                write!(f, "{file} is left out: the descriptor does not name it")
            }
            Self::Manifest { algorithms } if algorithms.is_empty() => f.write_str(
                "the package had no manifest: nothing proves that its files are the packer's",
            ),
            Self::Manifest { algorithms } => {
                let names: Vec<String> = algorithms.iter().map(ToString::to_string).collect();
                write!(f, "the manifest was by {}", names.join(" and "))
            }
            Self::Name { from, to } => write!(f, "{from} is called {to} now"),
            Self::Order => f.write_str("the references have the order of the files now"),
            Self::Signature => f.write_str(
                "the signature is left out, as it is not one of the new manifest; sign the package \
                 again with a key of yours",
            ),
            Self::Size { file, stated, found } => {
                write!(f, "{file}: the descriptor said {stated} bytes, the file has {found}")
            }
            Self::Unlisted { file } => write!(
                f,
                "the manifest did not list {file}: nothing proves that it is the packer's"
            ),
        }
    }
}
