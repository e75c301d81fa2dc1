//! Names of files inside a package.

use std::fmt;
use std::str::FromStr;

/// The name of a file in a package, relative to the descriptor's folder.
///
/// Parts are separated by `/`.  A `FileName` never leaves the package: it is not absolute, has no
/// `.` or `..` part, no backslash, no control character, no drive letter, and is not a URL.  Code
/// that holds one may join it to a folder without looking again.
///
/// Names are compared byte by byte; neither case nor Unicode form is folded.
///
/// ```
/// use ovftransfer_ovf::FileName;
///
/// assert_eq!(FileName::new("disks/disk-1.vmdk")?.as_str(), "disks/disk-1.vmdk");
/// assert!(FileName::new("../disk-1.vmdk").is_err());
/// # Ok::<(), ovftransfer_ovf::NameError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FileName(String);

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// A [`NameError`] that says which rule the name breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        match fault(&name) {
            None => Ok(Self(name)),
            Some(fault) => Err(NameError { shown: shown(&name), fault }),
        }
    }

    /// Checks a name that may start with `./`, which means nothing and is dropped.
    ///
    /// Archives made by `tar -c .` and some manifests write names so.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), for what stands after the `./`.
    pub fn from_relative(name: &str) -> Result<Self, NameError> {
        let mut rest = name;
        while let Some(shorter) = rest.strip_prefix("./") {
            rest = shorter;
        }
        Self::new(rest)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the last part ends in `.` and this extension, whatever its case.
    #[must_use]
    pub fn has_extension(&self, extension: &str) -> bool {
        self.split_extension().is_some_and(|(_, own)| own.eq_ignore_ascii_case(extension))
    }

    /// Whether macOS has put it beside a file, for what other systems have no place for: `._vm.ovf`
    /// beside `vm.ovf` (AppleDouble).  It is no descriptor, whatever its extension.
    #[must_use]
    pub fn is_apple_double(&self) -> bool {
        self.0.rsplit('/').next().is_some_and(|last| last.starts_with("._"))
    }

    /// The name without its extension: `vm` for `vm.ovf`, `vm` for `vm`.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.split_extension().map_or(&self.0, |(stem, _)| stem)
    }

    fn split_extension(&self) -> Option<(&str, &str)> {
        self.0.rsplit_once('.').filter(|(_, extension)| !extension.contains('/'))
    }
}

impl AsRef<str> for FileName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FileName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

/// A name that cannot stand for a file of a package.
///
/// The name is printed escaped and shortened, because it is outside data.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{shown}\": {fault}")]
pub struct NameError {
    shown: String,
    fault: NameFault,
}

impl NameError {
    /// The rule that was broken.
    #[must_use]
    pub fn fault(&self) -> NameFault {
        self.fault
    }
}

/// The rule that a name breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameFault {
    /// It starts with `/`.
    #[error("the name is absolute")]
    Absolute,
    /// It has a backslash, which separates folders on Windows only.
    #[error("the name has a backslash")]
    Backslash,
    /// It has a control character.
    #[error("the name has a control character")]
    Control,
    /// It starts with a drive letter.
    #[error("the name starts with a drive letter")]
    DriveLetter,
    /// It is empty, or one of its parts is.
    #[error("the name or a part of it is empty")]
    Empty,
    /// It, or one of its parts, is too long.
    #[error("the name or a part of it is too long")]
    TooLong,
    /// One of its parts is `.` or `..`.
    #[error("the name has a \".\" or \"..\" part")]
    Traversal,
    /// It is a URL; only files inside the package are supported.
    #[error("the name is a URL, not a file of the package")]
    Url,
}

fn fault(name: &str) -> Option<NameFault> {
    if name.is_empty() {
        return Some(NameFault::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Some(NameFault::TooLong);
    }
    if name.chars().any(char::is_control) {
        return Some(NameFault::Control);
    }
    if name.contains('\\') {
        return Some(NameFault::Backslash);
    }
    if name.starts_with('/') {
        return Some(NameFault::Absolute);
    }
    if is_url(name) {
        return Some(NameFault::Url);
    }
    if let [letter, b':', ..] = name.as_bytes()
        && letter.is_ascii_alphabetic()
    {
        return Some(NameFault::DriveLetter);
    }
    name.split('/').find_map(|part| match part {
        "" => Some(NameFault::Empty),
        "." | ".." => Some(NameFault::Traversal),
        _ if part.len() > PART_BYTES_MAX => Some(NameFault::TooLong),
        _ => None,
    })
}

/// A colon alone does not make a URL: backup products put the time of day into file names.
fn is_url(name: &str) -> bool {
    name.contains("://") || name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("file:"))
}

/// Makes an outside name fit for one line of an error message.
pub(crate) fn shown(name: &str) -> String {
    let mut text: String =
        name.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN_CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

/// Longest part of a name.  The limit of ext4, XFS, NTFS and VMFS alike.
const PART_BYTES_MAX: usize = 255;

/// Longest name.  Room for four full parts; bounds the memory of an index (see `ova::HEADERS_MAX`).
pub(crate) const NAME_BYTES_MAX: usize = 1024;

/// Characters of an outside name that an error repeats: enough to recognise it in a log line.
const SHOWN_CHARS_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_package_are_refused() {
        for (name, fault) in [
            ("", NameFault::Empty),
            ("a//b", NameFault::Empty),
            ("a/", NameFault::Empty),
            ("/etc/passwd", NameFault::Absolute),
            ("..", NameFault::Traversal),
            ("a/../b", NameFault::Traversal),
            ("a/./b", NameFault::Traversal),
            ("./a", NameFault::Traversal),
            ("a\\b", NameFault::Backslash),
            ("C:disk.vmdk", NameFault::DriveLetter),
            ("c:/disk.vmdk", NameFault::DriveLetter),
            ("a\0b", NameFault::Control),
            ("a\nb", NameFault::Control),
            ("a\u{85}b", NameFault::Control),
            ("https://example.com/disk.vmdk", NameFault::Url),
            ("FILE:disk.vmdk", NameFault::Url),
        ] {
            assert_eq!(FileName::new(name).unwrap_err().fault(), fault, "{name:?}");
        }
    }

    #[test]
    fn parts_and_names_have_a_length_limit() {
        assert!(FileName::new("a".repeat(255)).is_ok());
        assert_eq!(FileName::new("a".repeat(256)).unwrap_err().fault(), NameFault::TooLong);
        assert_eq!(FileName::new("a/".repeat(600) + "b").unwrap_err().fault(), NameFault::TooLong);
    }

    #[test]
    fn ordinary_names_pass() {
        for name in ["disk-1.vmdk", "a b (1).vmdk", "ùàç.ovf", "sub/x", "..a", "at-10:30:00.vmdk"]
        {
            assert_eq!(FileName::new(name).unwrap().as_str(), name);
        }
        assert_eq!(FileName::from_relative("././a").unwrap().as_str(), "a");
        assert!(FileName::from_relative("./").is_err());
    }

    #[test]
    fn extensions_ignore_case_and_folders() {
        let name = FileName::new("a.b/vm.OVF").unwrap();
        assert!(name.has_extension("ovf"));
        assert_eq!(name.stem(), "a.b/vm");
        assert!(!name.is_apple_double());
        assert!(FileName::new("a/._vm.ovf").unwrap().is_apple_double());
        assert_eq!(FileName::new("a.b/vm").unwrap().stem(), "a.b/vm");
    }

    #[test]
    fn an_error_repeats_the_name_on_one_line() {
        let error = FileName::new("a\nb".repeat(100)).unwrap_err().to_string();
        assert!(!error.contains('\n') && error.len() < 400, "{error}");
    }
}
