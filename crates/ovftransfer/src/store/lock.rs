//! Keeps a second export out of a package that is being written.

use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::io::Seek;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::store::faulty;
use crate::store::inode::has_other_names;

/// The `.partial` file of a descriptor: there, and locked, while its package is being written.
///
/// The lock ends with the process, however that ends, so that what a killed run left behind can be
/// taken over.
#[derive(Debug)]
pub(crate) struct PackageLock {
    file: File,
    path: PathBuf,
}

impl PackageLock {
    /// Makes the file at `path`, or takes over one that nobody holds.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if somebody holds it; [`io::ErrorKind::AlreadyExists`] if it
    /// is there and the file system cannot tell whether somebody holds it.
    pub(crate) fn take(path: PathBuf) -> io::Result<Self> {
        faulty::point("lock", &path)?;
        for _ in 0..TAKES_MAX {
            let (file, is_new) = match open(&path) {
                Ok(opened) => opened,
                // Gone between two looks: it was given up, or has become a descriptor.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(_) if path.is_symlink() => {
                    fs::remove_file(&path)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match try_lock(&file) {
                // Where there are no locks, the file belongs to whoever made it.
                Err(error) if error.kind() == io::ErrorKind::Unsupported && is_new => {}
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                locked => locked?,
            }
            let found = file.metadata()?;
            // Whoever held it before may have given the file its final name, or removed it.
            if !is_at(&found, &path) {
                continue;
            }
            if !has_other_names(&found) {
                return Ok(Self { file, path });
            }
            // Under another name it may be a whole package, or a file of somebody else.
            fs::remove_file(&path)?;
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Empties the file, and opens it once more, to be read and written from its start.
    pub(crate) fn fresh(&self) -> io::Result<File> {
        self.file.set_len(0)?;
        open_itself(File::options().read(true).write(true), &self.path)
    }

    /// Makes `bytes` the content of the file, and durable.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        faulty::point("write", &self.path)?;
        file.write_all(bytes)?;
        faulty::point("sync", &self.path)?;
        file.sync_all()
    }
}

/// Opens what is at a path itself: where a link there leads to is for nobody to say but its owner.
pub(crate) fn open_itself(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Nor does a pipe that has no other end keep us waiting.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        options,
        (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed(),
    );
    options.open(path).map_err(|error| {
        if path.is_symlink() {
            io::Error::new(error.kind(), "it is a symbolic link")
        } else {
            error
        }
    })
}

/// Opens the file, and says whether it was made.
///
/// [`io::ErrorKind::AlreadyExists`] if it was there, and then it was not.
fn open(path: &Path) -> io::Result<(File, bool)> {
    match File::options().write(true).create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(exists) if exists.kind() == io::ErrorKind::AlreadyExists => {
            match open_itself(File::options().write(true), path) {
                Ok(file) => Ok((file, false)),
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => Err(exists),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
pub(crate) fn try_lock(file: &File) -> io::Result<()> {
    use rustix::fs::FlockOperation;
    use rustix::io::Errno;

    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        // The second is what some network file systems say.
        Err(Errno::WOULDBLOCK | Errno::ACCESS) => Err(io::ErrorKind::WouldBlock.into()),
        Err(Errno::INVAL | Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => {
            Err(io::ErrorKind::Unsupported.into())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
pub(crate) fn try_lock(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn is_at(file: &Metadata, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    fs::symlink_metadata(path)
        .is_ok_and(|found| (found.dev(), found.ino()) == (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn is_at(_file: &Metadata, _path: &Path) -> bool {
    true
}

/// How often the file may vanish under our hands before it counts as held.
const TAKES_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("x.ovf.partial")
    }

    #[test]
    fn what_is_held_is_not_taken() {
        let temp = tempfile::tempdir().unwrap();
        let held = PackageLock::take(path(&temp)).unwrap();
        let error = PackageLock::take(path(&temp)).unwrap_err();
        let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::AlreadyExists];
        assert!(kinds.contains(&error.kind()), "{error}");
        held.write(b"a longer text").unwrap();
        held.write(b"a text").unwrap();
        assert_eq!(fs::read(path(&temp)).unwrap(), b"a text");
    }

    #[cfg(unix)]
    #[test]
    fn what_a_killed_run_left_is_taken_over() {
        let temp = tempfile::tempdir().unwrap();
        drop(PackageLock::take(path(&temp)).unwrap());
        assert!(path(&temp).exists());
        PackageLock::take(path(&temp)).unwrap();
    }

    /// Somebody else may have put it there, or a run was killed between giving a name and taking
    /// back the other.
    #[cfg(unix)]
    #[test]
    fn no_link_is_followed() {
        for is_symbolic in [true, false] {
            let plant = |target: &Path, at: &Path| match is_symbolic {
                true => std::os::unix::fs::symlink(target, at),
                false => fs::hard_link(target, at),
            };
            let temp = tempfile::tempdir().unwrap();
            let target = temp.path().join("theirs");
            fs::write(&target, b"precious").unwrap();
            plant(&target, &path(&temp)).unwrap();
            let held = PackageLock::take(path(&temp)).unwrap();
            held.write(b"a text").unwrap();
            drop(held.fresh().unwrap());
            held.write(b"a text").unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"precious");
            assert_eq!(fs::read(path(&temp)).unwrap(), b"a text");
        }
    }

    /// The descriptor of a finished package must not be taken for the lock of the next one.
    #[cfg(unix)]
    #[test]
    fn a_file_that_was_renamed_is_not_the_lock() {
        let temp = tempfile::tempdir().unwrap();
        let held = PackageLock::take(path(&temp)).unwrap();
        let late = open(&path(&temp)).unwrap().0;
        fs::rename(path(&temp), temp.path().join("x.ovf")).unwrap();
        drop(held);
        try_lock(&late).unwrap();
        assert!(!is_at(&late.metadata().unwrap(), &path(&temp)));
        PackageLock::take(path(&temp)).unwrap();
    }
}
