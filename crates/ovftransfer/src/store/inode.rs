//! Which file it is, whatever its name.

use std::fs;
use std::fs::Metadata;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// What tells a file that is not written to any more from every other, under each name that it is
/// given; `None` if there is none of this name.
///
/// Numbers of files are given again, so size and time of the last change belong to it.
pub(crate) fn stamp(path: &Path) -> Option<String> {
    let found = fs::symlink_metadata(path).ok().filter(Metadata::is_file)?;
    let changed = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {} {}", number_of(&found), found.len(), changed.as_nanos()))
}

/// Whether two names are those of one file.
#[cfg(unix)]
pub(crate) fn is_one(path: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let which = |path| fs::symlink_metadata(path).map(|found| (found.dev(), found.ino())).ok();
    which(path).is_some_and(|one| which(other) == Some(one))
}

#[cfg(not(unix))]
pub(crate) fn is_one(_path: &Path, _other: &Path) -> bool {
    false
}

/// Whether a file has more names than one.
#[cfg(unix)]
pub(crate) fn has_other_names(file: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(file) > 1
}

#[cfg(not(unix))]
pub(crate) fn has_other_names(_file: &Metadata) -> bool {
    false
}

/// The number within its file system; that of the file system may be another after a restart.
#[cfg(unix)]
fn number_of(file: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(file)
}

#[cfg(not(unix))]
fn number_of(_file: &Metadata) -> u64 {
    0
}
