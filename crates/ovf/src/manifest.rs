//! The manifest (`.mf`): one digest for each file of the package (DSP0243 1.1.0 §5.1).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::digest::Digest;
use crate::digest::DigestAlgorithm;
use crate::digest::DigestError;
use crate::name::FileName;
use crate::name::NameError;
use crate::name::NameFault;

/// The digests that a package promises.
///
/// Reading is liberal, because tools disagree about blanks, case and line ends: `SHA256(a)= hex`,
/// `SHA256(a)=hex`, `SHA256 (a) = HEX` and `SHA2-256(./a)= hex` mean the same.  Lines may come in any
/// order; blank ones and those that begin with `#` are passed over.  Writing has one form, the first.
///
/// ```
/// use ovftransfer_ovf::{FileName, Manifest};
///
/// let text = format!("SHA1 (disk (1).vmdk) = {}\r\n", "AB".repeat(20));
/// let manifest = Manifest::parse(text.as_bytes())?;
/// let name = FileName::new("disk (1).vmdk").expect("a good name");
/// assert!(manifest.digest(&name).is_some());
/// assert!(manifest.to_bytes().starts_with(b"SHA1(disk (1).vmdk)= abab"));
/// # Ok::<(), ovftransfer_ovf::ManifestError>(())
/// ```
///
/// Two manifests are equal if they have the same entries, however these are written.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    entries: Vec<ManifestEntry>,
    /// Where in `entries` a file stands.
    places: BTreeMap<FileName, usize>,
    /// What is said about files on web servers, by their addresses.
    urls: BTreeMap<String, Digest>,
    /// What it was read from: signatures are over these bytes.
    source: Option<Vec<u8>>,
}

impl PartialEq for Manifest {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries && self.urls == other.urls
    }
}

impl Eq for Manifest {}

impl Manifest {
    /// A manifest without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// A [`ManifestError`] that names the line: not UTF-8, not of the form above, a bad name or
    /// digest, a second and different digest for a file, or a limit exceeded (4 MiB, 65,536 lines).
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError { line: 1, fault: ManifestFault::TooLarge });
        }
        if is_utf16(bytes) {
            return Err(ManifestError { line: 1, fault: ManifestFault::Utf16 });
        }
        let mut manifest = Self { source: Some(bytes.to_vec()), ..Self::new() };
        // An editor's byte order mark is not part of the first algorithm's name.
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let at = |fault| ManifestError { line, fault };
            if line > MANIFEST_LINES_MAX {
                return Err(at(ManifestFault::TooManyLines));
            }
            let text = str::from_utf8(text).map_err(|_| at(ManifestFault::Encoding))?.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (name, digest) = parse_line(text).map_err(at)?;
            match FileName::from_relative(name) {
                Ok(file) => manifest.push(file, digest).map_err(|error| at(error.fault))?,
                Err(error) if error.fault() == NameFault::Url => {
                    let known = manifest.urls.insert(name.to_owned(), digest);
                    if known.is_some_and(|known| known != digest) {
                        return Err(at(ManifestFault::Name(error)));
                    }
                }
                Err(error) => return Err(at(ManifestFault::Name(error))),
            }
        }
        Ok(manifest)
    }

    /// The entries in the order of the manifest; each file once.
    #[must_use]
    pub fn entries(&self) -> &[ManifestEntry] {
        &self.entries
    }

    /// The bytes that it was read from, which is what a signature is over; nothing of one that was
    /// made here.
    #[must_use]
    pub fn source(&self) -> Option<&[u8]> {
        self.source.as_deref()
    }

    /// The digest that is promised for a file.
    #[must_use]
    pub fn digest(&self, file: &FileName) -> Option<&Digest> {
        self.places.get(file).and_then(|place| self.entries.get(*place)).map(|entry| &entry.digest)
    }

    /// The digest that is promised for a file on a web server, by its address as it stands in the
    /// descriptor (DSP0243 1.1.0 §5.1).
    ///
    /// These are no [`entries`](Self::entries), and [`to_bytes`](Self::to_bytes) leaves them out.
    #[must_use]
    pub fn digest_of_url(&self, url: &str) -> Option<&Digest> {
        self.urls.get(url)
    }

    /// Adds an entry at the end.  The same entry twice is one entry.
    ///
    /// # Errors
    ///
    /// [`ManifestFault::Duplicate`] if the file already has another digest.
    pub fn push(&mut self, file: FileName, digest: Digest) -> Result<(), ManifestError> {
        match self.digest(&file) {
            Some(known) if *known == digest => Ok(()),
            Some(_) => {
                let line = self.entries.len() + 1;
                Err(ManifestError { line, fault: ManifestFault::Duplicate { file } })
            }
            None => {
                self.places.insert(file.clone(), self.entries.len());
                self.entries.push(ManifestEntry { file, digest });
                Ok(())
            }
        }
    }

    /// The canonical form: `SHA256(name)= hex`, lower-case, a line feed after each line.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for ManifestEntry { file, digest } in &self.entries {
            // Writing to a `String` cannot fail.
            let _infallible = writeln!(text, "{}({file})= {}", digest.algorithm(), digest.hex());
        }
        text.into_bytes()
    }
}

/// One line of a manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ManifestEntry {
    file: FileName,
    digest: Digest,
}

impl ManifestEntry {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &FileName {
        &self.file
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Why a manifest cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("manifest, line {line}: {fault}")]
pub struct ManifestError {
    line: usize,
    fault: ManifestFault,
}

impl ManifestError {
    /// The line, counted from 1.  For an entry that was pushed: the line it would have had.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// What is wrong there.
    #[must_use]
    pub fn fault(&self) -> &ManifestFault {
        &self.fault
    }
}

/// What is wrong with a line of a manifest.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestFault {
    /// The algorithm or the digest is not one.
    #[error("{0}")]
    Digest(DigestError),
    /// The file has already another digest.
    #[error("{file}: a second, different digest")]
    Duplicate {
        /// The file.
        file: FileName,
    },
    /// The line is not UTF-8.
    #[error("not UTF-8 text")]
    Encoding,
    /// The line has not the form of an entry.
    #[error("not of the form \"SHA256(name)= digest\"")]
    Form,
    /// The file name is not one of a package.
    #[error("{0}")]
    Name(NameError),
    /// The manifest is larger than 4 MiB.
    #[error("larger than {MANIFEST_BYTES_MAX} bytes")]
    TooLarge,
    /// The manifest has more than 65,536 lines.
    #[error("more than {MANIFEST_LINES_MAX} lines")]
    TooManyLines,
    /// The manifest is UTF-16 text.
    #[error("UTF-16 text, as PowerShell writes it; convert it to UTF-8: iconv -f UTF-16 -t UTF-8")]
    Utf16,
}

/// Whether a text begins like UTF-16: by its byte order mark, or by a letter of ASCII.
pub(crate) fn is_utf16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..])
        || matches!(bytes, [letter, 0, ..] | [0, letter, ..] if letter.is_ascii_graphic())
}

/// Splits at the first `(` and at the last `)` that stands before a `=`: both may be in names.
fn parse_line(text: &str) -> Result<(&str, Digest), ManifestFault> {
    let (algorithm, rest) = text.split_once('(').ok_or(ManifestFault::Form)?;
    // Hex has no `=`, so the last one is the separator.
    let (name, hex) = rest.rsplit_once('=').ok_or(ManifestFault::Form)?;
    let name = name.trim_end().strip_suffix(')').ok_or(ManifestFault::Form)?;
    let algorithm: DigestAlgorithm = algorithm.parse().map_err(ManifestFault::Digest)?;
    let digest = Digest::from_hex(algorithm, hex.trim()).map_err(ManifestFault::Digest)?;
    Ok((name, digest))
}

/// Largest manifest.  About 20,000 files with SHA-512; real ones are below 100 KiB.
const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// Most lines of a manifest, blank ones included.  Far above the 16,384 files that an OVA may have.
const MANIFEST_LINES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef01234567";

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    #[test]
    fn every_writing_of_a_line_means_the_same() {
        let upper = HEX.to_uppercase();
        for line in [
            format!("SHA1(a b.vmdk)= {HEX}\n"),
            format!("SHA1(a b.vmdk)={HEX}"),
            format!("sha1 (a b.vmdk) = {upper}\r\n\r\n"),
            format!("# made by hand\n\n#SHA1(b)= 0\nSHA1(a b.vmdk)= {HEX}\n"),
            format!("\u{feff}  SHA-1(./a b.vmdk)  =\t{HEX}  \n"),
        ] {
            let manifest = Manifest::parse(line.as_bytes()).unwrap();
            assert_eq!(manifest.digest(&name("a b.vmdk")).unwrap().hex(), HEX, "{line:?}");
            assert_eq!(manifest.to_bytes(), format!("SHA1(a b.vmdk)= {HEX}\n").into_bytes());
        }
    }

    #[test]
    fn addresses_are_told_apart_from_files() {
        let (url, other) = ("https://host/a(1)=.vmdk?x=1", HEX.replace('0', "1"));
        let text = format!("SHA1({url})= {HEX}\nSHA1(a)= {HEX}\n");
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.digest_of_url(url).unwrap().hex(), HEX);
        assert_eq!(manifest.digest_of_url("https://host/"), None);
        assert_eq!(manifest.entries().len(), 1);
        Manifest::parse(format!("{text}{text}").as_bytes()).unwrap();
        let twice = format!("{text}SHA1({url})= {other}\n");
        assert_eq!(Manifest::parse(twice.as_bytes()).unwrap_err().line(), 3);
    }

    #[test]
    fn parentheses_and_equal_signs_belong_to_the_name() {
        for file in ["a(1)", "(a)= b", ")= x", "a) = (b"] {
            let text = format!("SHA1({file})= {HEX}");
            let manifest = Manifest::parse(text.as_bytes()).unwrap();
            assert_eq!(manifest.entries().first().unwrap().file(), &name(file));
        }
    }

    #[test]
    fn faults_name_the_line() {
        let other = HEX.replace('0', "1");
        let long = "00".repeat(32);
        for (line, fault) in [
            ("SHA1 a = b".to_owned(), "form"),
            (format!("SHA1(a {HEX}"), "form"),
            (format!("MD5(b)= {HEX}"), "algorithm"),
            ("SHA1(b)= 12".to_owned(), "2"),
            ("SHA1(b)= xy".to_owned(), "hex"),
            (format!("SHA1(../b)= {HEX}"), "\"..\""),
            (format!("SHA1(a)= {other}"), "second"),
            (format!("SHA256(a)= {long}"), "second"),
        ] {
            let text = format!("SHA1(a)= {HEX}\n\n{line}\n");
            let error = Manifest::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.line(), 3, "{line}");
            assert!(error.to_string().contains(fault), "{error}");
        }
        assert_eq!(Manifest::parse(b"\n\xFF").unwrap_err().line(), 2);
    }

    #[test]
    fn equal_duplicates_and_mixed_algorithms_are_fine() {
        let long = "00".repeat(64);
        let text = format!("SHA1(a)= {HEX}\nSHA512(b)= {long}\nSHA1(a)= {HEX}\n");
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.entries().len(), 2);
    }

    #[test]
    fn limits_hold() {
        let lines = "\n".repeat(MANIFEST_LINES_MAX);
        assert_eq!(
            Manifest::parse(lines.as_bytes()).unwrap_err().fault(),
            &ManifestFault::TooManyLines
        );
        let large = vec![b' '; MANIFEST_BYTES_MAX + 1];
        assert_eq!(Manifest::parse(&large).unwrap_err().fault(), &ManifestFault::TooLarge);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _checked = Manifest::parse(&bytes);
        }

        #[test]
        fn no_mutation_panics(at in 0_usize..200, byte in any::<u8>()) {
            let mut text = format!("SHA1(a (1))= {HEX}\r\nSHA-256 (b) = {}\n", "0f".repeat(32))
                .into_bytes();
            if let Some(place) = text.get_mut(at) {
                *place = byte;
            }
            let _checked = Manifest::parse(&text);
        }

        #[test]
        fn what_is_written_reads_the_same(names in proptest::collection::btree_set("[^\0-\x1f\x7f-\u{9f}/\\\\:. ]{1,20}", 0..8)) {
            let mut manifest = Manifest::new();
            for file in &names {
                let digest = Digest::from_hex(DigestAlgorithm::Sha1, HEX).unwrap();
                manifest.push(name(file), digest).unwrap();
            }
            prop_assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
        }
    }
}
