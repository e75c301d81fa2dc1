//! Compares what moved with what was promised.  Only here is a [`Verified`] made.

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_vim::lease::LeaseManifestEntry;

use crate::error::Error;
use crate::inspect::Inspection;
use crate::sabotage;
use crate::sabotage::Defect;

/// How much the server's manifest must say before a transfer counts as proven.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Verification {
    /// The server's manifest must hold every file, with a digest that can be compared.
    #[default]
    Require,
    /// What the server's manifest holds must agree; what it does not hold is not missed.
    Prefer,
    /// The server's manifest is not asked for.  The package's manifest is checked all the same.
    Off,
}

/// What the package's manifest says about a file that moves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Promise {
    /// Nothing, or nothing yet.
    Nothing,
    /// The digest of the file.
    File(Digest),
    /// The digests of all the files that it is made of, which are compared while it is read.
    Parts,
}

impl Promise {
    /// The digest of the file itself.
    pub(crate) const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::File(digest) => Some(digest),
            Self::Nothing | Self::Parts => None,
        }
    }
}

impl From<Option<Digest>> for Promise {
    fn from(digest: Option<Digest>) -> Self {
        digest.map_or(Self::Nothing, Self::File)
    }
}

/// Proof that a file is what was promised.
///
/// Only the verifier makes one, so code that holds a `Verified` need not check again.
#[derive(Clone, Debug)]
#[must_use]
pub struct Verified {
    file: FileName,
    bytes: u64,
    digest: Digest,
    by_package: bool,
    by_server: bool,
}

impl Verified {
    /// The file.
    #[must_use]
    pub const fn file(&self) -> &FileName {
        &self.file
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A digest of it that was compared, or just computed if nobody promised one.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether the package's manifest agreed in the digest.
    #[must_use]
    pub const fn by_package(&self) -> bool {
        self.by_package
    }

    /// Whether the server's manifest agreed in size and digest.
    #[must_use]
    pub const fn by_server(&self) -> bool {
        self.by_server
    }

    /// The same proof for what the file holds in another form, such as a raw disk.
    pub(crate) fn of_what_is_in_it(&self, bytes: u64, digest: Digest) -> Self {
        Self { bytes, digest, ..self.clone() }
    }

    /// Compares the file with a manifest that came after it.
    ///
    /// # Errors
    ///
    /// [`Error::DigestMismatch`]; [`Error::Unproven`] if the digest was not computed.
    pub(crate) fn confirm(&mut self, seen: &Inspection, expected: &Digest) -> Result<(), Error> {
        check_promise(&self.file, seen, expected)?;
        self.by_package = true;
        Ok(())
    }

    /// Notes that the package's manifest agreed with every file that this one was made of, as
    /// whoever joined, inflated or converted them has found.
    pub(crate) fn confirm_parts(&mut self) {
        self.by_package = true;
    }

    /// Compares a file with the package's manifest and the server's.
    ///
    /// `promised` is the digest in the package's manifest, `entry` what the server says it sent
    /// or received.
    ///
    /// # Errors
    ///
    /// [`Error::DigestMismatch`], [`Error::SizeMismatch`], and [`Error::Unproven`] when the level
    /// is [`Verification::Require`] and the server did not say enough.
    pub(crate) fn check(
        file: &FileName,
        bytes: u64,
        seen: &Inspection,
        promised: Option<&Digest>,
        entry: Option<&LeaseManifestEntry>,
        level: Verification,
    ) -> Result<Self, Error> {
        if let Some(expected) = promised {
            check_promise(file, seen, expected)?;
        }
        let by_server = match (level, entry) {
            (Verification::Off, _) | (Verification::Prefer, None) => None,
            (Verification::Require, None) => return Err(unproven(file, "does not list the file")),
            (_, Some(entry)) => check_entry(file, bytes, seen, entry, level)?,
        };
        let computed = by_server.or(promised).or(seen.digests.first());
        let Some(digest) = computed.cloned() else {
            return Err(unproven(file, "was not compared, and no digest was computed"));
        };
        let (by_package, by_server) = (promised.is_some(), by_server.is_some());
        Ok(Self { file: file.clone(), bytes, digest, by_package, by_server })
    }
}

/// Compares the bytes with the package's manifest.
pub(crate) fn check_promise(
    file: &FileName,
    seen: &Inspection,
    expected: &Digest,
) -> Result<(), Error> {
    match seen.digest(expected.algorithm()) {
        Some(computed) if computed == expected => Ok(()),
        Some(_) if sabotage::on(Defect::CommitOnDigestMismatch) => Ok(()),
        Some(computed) => Err(Error::DigestMismatch {
            file: file.clone(),
            against: "the package's manifest",
            expected: Box::new(*expected),
            computed: Box::new(*computed),
        }),
        None => Err(unproven(file, "was not asked, and the package's digest was not computed")),
    }
}

/// Compares the bytes with the server's manifest; returns the digest that agreed.
fn check_entry<'i>(
    file: &FileName,
    bytes: u64,
    seen: &'i Inspection,
    entry: &LeaseManifestEntry,
    level: Verification,
) -> Result<Option<&'i Digest>, Error> {
    if entry.size_bytes != bytes {
        return Err(Error::SizeMismatch {
            file: file.clone(),
            against: "the server's manifest",
            expected: entry.size_bytes,
            found: bytes,
        });
    }
    for (algorithm, hex) in promises_of(entry) {
        let Some(computed) = seen.digest(algorithm) else { continue };
        let Ok(expected) = Digest::from_hex(algorithm, hex) else {
            if level == Verification::Prefer {
                continue;
            }
            return Err(unproven(file, "holds a digest that is not one"));
        };
        if *computed == expected || sabotage::on(Defect::CommitOnDigestMismatch) {
            return Ok(Some(computed));
        }
        return Err(Error::DigestMismatch {
            file: file.clone(),
            against: "the server's manifest",
            expected: Box::new(expected),
            computed: Box::new(*computed),
        });
    }
    match level {
        Verification::Require => Err(unproven(file, "has no digest that can be compared")),
        Verification::Prefer | Verification::Off => Ok(None),
    }
}

/// The digests of an entry, the strongest first.
fn promises_of(entry: &LeaseManifestEntry) -> impl Iterator<Item = (DigestAlgorithm, &str)> {
    let typed = entry.checksum.as_deref().zip(entry.checksum_type.as_deref());
    let typed = typed.and_then(|(hex, name)| Some((name.parse::<DigestAlgorithm>().ok()?, hex)));
    let sha1 = entry.sha1.as_deref().map(|hex| (DigestAlgorithm::Sha1, hex));
    // `sha1` is mandatory in the schema and yet may be empty where SHA-256 was asked for.
    typed.into_iter().chain(sha1).filter(|(_, hex)| !hex.is_empty())
}

fn unproven(file: &FileName, reason: &'static str) -> Error {
    Error::Unproven { file: file.clone(), reason }
}
