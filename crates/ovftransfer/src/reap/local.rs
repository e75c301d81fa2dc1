//! Files that a killed run has left.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use ovftransfer_ovf::Digest;

use super::Fate;
use super::Remnant;
use super::RemnantKind;
use crate::inspect::Hasher;
use crate::journal::history::History;
use crate::store::file::FileSource;
use crate::store::file::sync_folder;

/// What would be removed: files under `.partial` names but the one at `leading`, by which the package
/// is locked and which goes last; and files of a package that has not got all its names.
pub(super) fn look(history: &History, folder: &Path, leading: Option<&Path>) -> Vec<Remnant> {
    paths(history, folder, leading).into_iter().map(|path| remnant(&path, Ok(()))).collect()
}

pub(super) fn remove(history: &History, folder: &Path, leading: Option<&Path>) -> Vec<Remnant> {
    let paths = paths(history, folder, leading);
    let done: Vec<_> = paths.into_iter().map(|path| remove_one(&path)).collect();
    if !done.is_empty()
        && let Err(error) = sync_folder(folder)
    {
        tracing::debug!(%error, "the folder could not be synced");
    }
    done
}

pub(super) fn remove_one(path: &Path) -> Remnant {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => remnant(path, Ok(())),
        removed => remnant(path, removed),
    }
}

/// Removes folders that were made for the package, if nothing is in them and the package lay there.
pub(super) fn remove_folders(made: &[String], journal: &Path) {
    let Some(inner) = journal.parent().and_then(|folder| fs::canonicalize(folder).ok()) else {
        return;
    };
    for folder in made.iter().rev() {
        let is_around = fs::canonicalize(folder).is_ok_and(|folder| inner.starts_with(folder));
        if is_around && let Err(error) = fs::remove_dir(folder) {
            tracing::debug!(folder, %error, "not removed");
        }
    }
}

fn paths(history: &History, folder: &Path, leading: Option<&Path>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for path in history.published_early(folder) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let promised = history.promised(&name.unwrap_or_default());
        // Of the small files the digest has been compared already.
        if promised.is_none_or(|(bytes, digest)| has_bytes_of(&path, bytes, digest)) {
            paths.push(path);
        }
    }
    paths.extend(history.partials(folder).into_iter().filter(|path| Some(&**path) != leading));
    paths
}

/// Whether a file is, to the byte, what the run had proven or written.
fn has_bytes_of(path: &Path, bytes: u64, promised: Option<Digest>) -> bool {
    let Some(promised) = promised else { return false };
    match digest_of(path, bytes, &promised) {
        Ok(digest) => digest == promised,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "could not be read");
            false
        }
    }
}

fn digest_of(path: &Path, bytes: u64, like: &Digest) -> io::Result<Digest> {
    let mut chunks = FileSource::new(Arc::new(File::open(path)?), 0, bytes).chunks();
    let mut hasher = Hasher::new(like.algorithm());
    while let Some(chunk) = chunks.next_chunk()? {
        hasher.update(&chunk);
    }
    Ok(hasher.finish())
}

pub(super) fn remnant(path: &Path, removed: io::Result<()>) -> Remnant {
    let name = path.display().to_string();
    match removed {
        Ok(()) => Remnant::new(RemnantKind::File, name, Fate::Removed),
        Err(error) => Remnant::stays(RemnantKind::File, name, error.to_string()),
    }
}
