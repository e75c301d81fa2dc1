//! The other packages of a folder that a package is written into.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::envelope::FileRef;

use crate::error::Error;
use crate::inspect::Hasher;
use crate::store::file::Existing;
use crate::store::file::partial_path;
use crate::store::lock::open_itself;
use crate::store::lock::try_lock;
use crate::store::parts::DESCRIPTOR_BYTES_MAX;

/// The name under which a file of a package is written until it is proven.
///
/// Two packages in one folder may have disks of the same name: each writes its own, and whoever
/// comes first has the name.  The small files are named after the package anyway.
pub(crate) fn partial_of(path: &Path, descriptor: &Path) -> PathBuf {
    let is_small = path.extension().is_some_and(|own| PAPERS.iter().any(|paper| own == *paper));
    if is_small && path.with_extension("ovf") == *descriptor {
        return partial_path(path);
    }
    let package = descriptor.file_name().unwrap_or_default().as_encoded_bytes();
    let tag = Hasher::digest(DigestAlgorithm::Sha256, package).hex();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:.TAG_CHARS$}", tag));
    partial_path(Path::new(&name))
}

/// Refuses files that belong to another package: one that is there, of which nothing is to be
/// replaced, or one that is being written, and whose descriptor waits for its name.
///
/// Of two packages that ask when their own descriptors wait, one hears of the other at least.
///
/// # Errors
///
/// [`Error::Refused`] if there is such a file; [`Error::Local`] if the folder cannot be read.
pub(super) fn check(
    descriptor: &Path,
    files: &[FileName],
    existing: Existing,
) -> Result<(), Error> {
    let folder = descriptor.parent().unwrap_or(Path::new("."));
    let reading = |source| Error::Local { action: "read", path: folder.to_owned(), source };
    let own = [descriptor.to_owned(), partial_path(descriptor)].map(|path| folded(&path));
    for entry in fs::read_dir(folder).map_err(reading)?.take(ENTRIES_MAX) {
        let path = entry.map_err(reading)?.path();
        let name = folded(&path);
        let is_written = name.ends_with(".ovf.partial");
        // What is there and is to be kept is not replaced in any case.
        let is_there = name.ends_with(".ovf") && existing == Existing::Replace;
        if own.contains(&name) || !(is_written || is_there) {
            continue;
        }
        let Some(theirs) = hrefs(&path) else { continue };
        let Some(taken) = files.iter().find(|file| theirs.contains(&file.as_str().to_lowercase()))
        else {
            continue;
        };
        if is_there || is_held(&path) {
            let (taken, path) = (folder.join(taken.as_str()), path.display());
            let problem = format!(
                "{} is a file of another package, {path}; choose another folder",
                taken.display()
            );
            return Err(Error::Refused { problem });
        }
    }
    Ok(())
}

/// The name of a file as file systems have it to which case is nothing.
fn folded(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// The files that a descriptor names; `None` if it is none that can be read.
fn hrefs(path: &Path) -> Option<BTreeSet<String>> {
    let file = open_itself(File::options().read(true), path).ok()?;
    file.metadata().ok().filter(fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    file.take(DESCRIPTOR_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let envelope = Envelope::parse_alone(bytes).ok()?;
    let hrefs = envelope.references().iter().map(FileRef::href);
    Some(hrefs.map(|href| href.as_str().to_lowercase()).collect())
}

/// Whether a package is being written, or may be: of one whose run was killed nothing is kept.
fn is_held(path: &Path) -> bool {
    let locked = open_itself(File::options().read(true), path).and_then(|file| try_lock(&file));
    let kinds = [io::ErrorKind::Unsupported, io::ErrorKind::WouldBlock];
    locked.is_err_and(|error| kinds.contains(&error.kind()))
}

/// The extensions of the small files of a package.
const PAPERS: [&str; 3] = ["cert", "mf", "ovf"];

/// So many hexadecimal digits tell one package from another.
const TAG_CHARS: usize = 16;

/// Entries of a folder that are looked at: a folder of packages has some hundreds.
const ENTRIES_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::store::lock::PackageLock;

    const X: &str = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
        xmlns:o="http://schemas.dmtf.org/ovf/envelope/1">
        <References><File o:id="f" o:href="Disk"/></References>
        <VirtualSystem o:id="v"><Info/></VirtualSystem></Envelope>"#;

    #[test]
    fn files_of_other_packages_are_not_taken() {
        let temp = tempfile::tempdir().unwrap();
        let (x, y) = (temp.path().join("x.ovf"), temp.path().join("y.ovf"));
        let disk = FileName::new("disk").unwrap();
        let is_free = |descriptor: &Path, existing| {
            check(descriptor, slice::from_ref(&disk), existing).is_ok()
        };
        let both = [Existing::Keep, Existing::Replace];
        let lock = PackageLock::take(partial_path(&x)).unwrap();
        assert_eq!(both.map(|existing| is_free(&y, existing)), [true, true], "it says nothing yet");
        lock.write(X.as_bytes()).unwrap();
        assert_eq!(both.map(|existing| is_free(&y, existing)), [false, false]);
        assert_eq!(both.map(|existing| is_free(&x, existing)), [true, true], "it is its own");
        drop(lock);
        if cfg!(unix) {
            assert_eq!(both.map(|existing| is_free(&y, existing)), [true, true], "it was killed");
        }
        fs::rename(partial_path(&x), &x).unwrap();
        assert_eq!(both.map(|existing| is_free(&y, existing)), [true, false]);
        assert_eq!(both.map(|existing| is_free(&x, existing)), [true, true]);
        let other = FileName::new("other").unwrap();
        check(&y, &[other], Existing::Replace).unwrap();
    }
}
