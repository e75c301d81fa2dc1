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

#[cfg(test)]
mod tests {
    use ovftransfer_vim::value::Object;
    use ovftransfer_vim::value::Value;

    use super::*;

    const BYTES: u64 = 10;

    fn digest(algorithm: DigestAlgorithm, fill: u8) -> Digest {
        Digest::new(algorithm, &vec![fill; algorithm.len_bytes()]).unwrap()
    }

    fn sha1() -> Digest {
        digest(DigestAlgorithm::Sha1, 1)
    }

    fn sha256() -> Digest {
        digest(DigestAlgorithm::Sha256, 2)
    }

    fn seen(digests: &[Digest]) -> Inspection {
        Inspection { digests: digests.to_vec(), disk: None }
    }

    fn file() -> FileName {
        FileName::new("a.vmdk").unwrap()
    }

    /// An entry of the server's manifest; a digest that is empty is not said.
    fn entry(bytes: u64, sha1: &str, checksum: &str, kind: &str) -> LeaseManifestEntry {
        let entry: Value = Object::untyped()
            .with("key", "/vm-1/disk")
            .with("sha1", sha1.to_owned())
            .with("checksum", checksum.to_owned())
            .with("checksumType", kind.to_owned())
            .with("size", bytes.to_string())
            .into();
        LeaseManifestEntry::from_value(&entry).unwrap()
    }

    /// What a file comes to that has SHA-1 and SHA-256 and that no package promises: the digest
    /// that the server agreed in.
    fn checked(
        entry: Option<&LeaseManifestEntry>,
        level: Verification,
    ) -> Result<Option<Digest>, Error> {
        let seen = seen(&[sha1(), sha256()]);
        let proof = Verified::check(&file(), BYTES, &seen, None, entry, level)?;
        assert_eq!((proof.file(), proof.bytes(), proof.by_package()), (&file(), BYTES, false));
        Ok(proof.by_server().then_some(*proof.digest()))
    }

    #[test]
    fn the_level_decides_what_the_server_must_say() {
        let wrong = entry(BYTES + 1, "77", "77", "sha256");
        for said in [None, Some(&wrong)] {
            assert_eq!(checked(said, Verification::Off).unwrap(), None);
        }
        // It says nothing that could be compared; SHA-512 was not computed.
        let silent = entry(BYTES, "", "", "");
        let longer = entry(BYTES, "", &"07".repeat(64), "sha512");
        let unknown = entry(BYTES, "", "07", "crc32");
        let broken = entry(BYTES, "", "seven", "sha256");
        for (said, reason) in [
            (None, "does not list the file"),
            (Some(&silent), "has no digest that can be compared"),
            (Some(&longer), "has no digest that can be compared"),
            (Some(&unknown), "has no digest that can be compared"),
            (Some(&broken), "holds a digest that is not one"),
        ] {
            assert_eq!(checked(said, Verification::Prefer).unwrap(), None, "{said:?}");
            let error = checked(said, Verification::Require).unwrap_err();
            assert!(
                matches!(&error, Error::Unproven { reason: found, .. } if *found == reason),
                "{said:?}: {error}"
            );
        }
    }

    #[test]
    fn what_the_server_says_must_agree_at_every_level() {
        let (one, two) = (sha1().hex(), sha256().hex());
        let other = digest(DigestAlgorithm::Sha256, 9).hex();
        for level in [Verification::Require, Verification::Prefer] {
            // The strongest digest counts, and what cannot be compared is passed over.
            for (said, agreed) in [
                (entry(BYTES, &one, &two, "sha256"), sha256()),
                (entry(BYTES, "", &two, "sha256"), sha256()),
                (entry(BYTES, "", &one, "sha1"), sha1()),
                (entry(BYTES, &one, "", "sha256"), sha1()),
                (entry(BYTES, &one, &two, "crc32"), sha1()),
                (entry(BYTES, &one, &"07".repeat(64), "sha512"), sha1()),
            ] {
                assert_eq!(checked(Some(&said), level).unwrap(), Some(agreed), "{said:?}");
            }
            let error = checked(Some(&entry(BYTES - 1, &one, &two, "sha256")), level).unwrap_err();
            assert!(matches!(error, Error::SizeMismatch { expected: 9, found: 10, .. }), "{error}");
            // That a weaker one agrees is no excuse.
            let error = checked(Some(&entry(BYTES, &one, &other, "sha256")), level).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::DigestMismatch { .. }), "{text}");
            assert!(text.contains(&two) && text.contains(&other), "{text}");
        }
        // A digest that is none says nothing, and the other one is still asked.
        let broken = |sha1: &str| entry(BYTES, sha1, "seven", "sha256");
        let prefer = |sha1: &str| checked(Some(&broken(sha1)), Verification::Prefer);
        assert_eq!(prefer(&one).unwrap(), Some(sha1()));
        assert!(matches!(prefer(&"07".repeat(20)), Err(Error::DigestMismatch { .. })));
        assert!(checked(Some(&broken(&one)), Verification::Require).is_err());
    }

    #[test]
    fn what_the_package_promises_must_agree_at_every_level() {
        let (seen, said) = (seen(&[sha1(), sha256()]), entry(BYTES, &sha1().hex(), "", ""));
        let check = |promised: &Digest, level| {
            Verified::check(&file(), BYTES, &seen, Some(promised), Some(&said), level)
        };
        for level in [Verification::Require, Verification::Prefer, Verification::Off] {
            let proof = check(&sha256(), level).unwrap();
            let by_server = level != Verification::Off;
            assert_eq!((proof.by_package(), proof.by_server()), (true, by_server));
            assert_eq!(*proof.digest(), if by_server { sha1() } else { sha256() });
            let wrong = digest(DigestAlgorithm::Sha256, 9);
            assert!(matches!(check(&wrong, level), Err(Error::DigestMismatch { .. })));
            let uncomputed = digest(DigestAlgorithm::Sha512, 9);
            assert!(matches!(check(&uncomputed, level), Err(Error::Unproven { .. })));
        }
    }

    #[test]
    fn a_proof_needs_a_digest_and_remembers_who_agreed() {
        let check = |digests: &[Digest]| {
            Verified::check(&file(), BYTES, &seen(digests), None, None, Verification::Off)
        };
        assert!(matches!(check(&[]), Err(Error::Unproven { .. })));
        let mut proof = check(&[sha1(), sha256()]).unwrap();
        assert_eq!(
            (*proof.digest(), proof.by_package(), proof.by_server()),
            (sha1(), false, false)
        );
        // The package's manifest came later, and does not agree.
        let seen = seen(&[sha1()]);
        let wrong = digest(DigestAlgorithm::Sha1, 9);
        assert!(proof.confirm(&seen, &wrong).is_err() && !proof.by_package());
        assert!(proof.confirm(&seen, &sha256()).is_err() && !proof.by_package());
        let mut parts = proof.clone();
        proof.confirm(&seen, &sha1()).unwrap();
        parts.confirm_parts();
        assert!(proof.by_package() && parts.by_package());
        let inner = proof.of_what_is_in_it(77, sha256());
        assert_eq!((inner.bytes(), *inner.digest(), inner.by_package()), (77, sha256(), true));
    }

    #[test]
    fn only_the_digest_of_the_file_itself_can_be_compared_with_it() {
        assert_eq!(Promise::from(Some(sha1())).digest(), Some(&sha1()));
        assert_eq!(Promise::from(None::<Digest>), Promise::Nothing);
        assert_eq!((Promise::Nothing.digest(), Promise::Parts.digest()), (None, None));
    }
}
