//! An OVA that is being written into a file.

mod assembly;

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::certificate::SigningKey;

use self::assembly::Assembly;
use crate::error::Error;
use crate::store::Destination;
use crate::store::Sink;
use crate::store::file::Existing;
use crate::store::file::blocking;
use crate::store::file::give_name;
use crate::store::file::sync_folder;
use crate::store::folder::check_name;
use crate::store::folder::log_failure;
use crate::store::folder::make_folders;
use crate::store::folder::naming;
use crate::store::folder::remove_folders;
use crate::store::folder::take;
use crate::store::folder::writing;
use crate::store::lock::PackageLock;
use crate::store::papers::Papers;
use crate::store::papers::certificate_bytes;

/// An OVA under its `.partial` name.
///
/// ```text
///  create ──> reserve ──> [disks move] ──> seal ──> publish
///     └──────────┴──────────────┴───────────┴───> discard
///
///  ┌──────┬─────────────────────┬──────┬────┬───────┬─────────┬───────┬─────────┬─────┐
///  │ .ovf │ blanks up to the    │ .mf  │    │ first │ streams │ next  │ moved   │ ... │
///  │      │ end of its slot     │      │    │       │ in place│       │ in      │     │
///  └──────┴─────────────────────┴──────┴────┴───────┴─────────┴───────┴─────────┴─────┘
/// ```
///
/// The sizes of disks are known only when they have come.  So one file at a time streams to its
/// place; the others, which come at the same time, wait in spools, and are moved in while more
/// still stream.  Descriptor, manifest and certificate, which must be first, have slots that were
/// left free.
#[derive(Debug)]
pub(crate) struct PackageArchive {
    path: PathBuf,
    existing: Existing,
    /// The folders that were made for this package, the outermost first.
    made: Vec<PathBuf>,
    /// The archive under its `.partial` name.
    lock: PackageLock,
    assembly: Arc<Assembly>,
    /// Where files wait for their place.
    spools: PathBuf,
}

impl PackageArchive {
    /// Refuses a final name that cannot be given.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it is a folder's, [`Error::Exists`] if it is that of a file which is to
    /// be kept.
    pub(crate) fn check_name(path: &Path, existing: Existing) -> Result<(), Error> {
        check_name(path.to_owned(), existing)
    }

    /// Makes the file, under another name than its own, and takes it for this package alone.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if somebody else is writing it, or if there is one already;
    /// [`Error::Local`] if it cannot be made.
    pub(crate) async fn create(
        path: PathBuf,
        spools: Option<PathBuf>,
        existing: Existing,
    ) -> Result<Self, Error> {
        blocking(move || {
            let folder = parent(&path).to_owned();
            let made = make_folders(&folder)?;
            let taken = take(&path).and_then(|lock| {
                // Somebody may have finished one since the plan was made.
                let checked = Self::check_name(&path, existing);
                let fresh = checked.and_then(|()| lock.fresh().map_err(writing(lock.path())));
                match fresh {
                    Ok(content) => Ok((lock, content)),
                    Err(error) => {
                        log_failure(fs::remove_file(lock.path()), lock.path());
                        Err(error)
                    }
                }
            });
            match taken {
                Ok((lock, content)) => {
                    let assembly = Arc::new(Assembly::new(content, lock.path().to_owned()));
                    let spools = spools.unwrap_or(folder);
                    Ok(Self { path, existing, made, lock, assembly, spools })
                }
                Err(error) => {
                    remove_folders(made);
                    Err(error)
                }
            }
        })
        .await
    }

    /// The folders that were made for this package, the outermost first.
    pub(crate) fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// Leaves room for the descriptor, for a manifest of exactly `files`, and for the certificate of
    /// a key.
    pub(crate) fn reserve(
        &self,
        descriptor: &FileName,
        files: &[FileName],
        algorithm: DigestAlgorithm,
        key: Option<&SigningKey>,
    ) -> Result<(), Error> {
        let slot_bytes = DESCRIPTOR_BYTES + DESCRIPTOR_FILE_BYTES * files.len() as u64;
        let certificate = key.map(|key| certificate_bytes(key, descriptor)).transpose()?;
        self.reserve_for(descriptor, (slot_bytes, certificate), files, algorithm);
        Ok(())
    }

    /// Leaves room for a descriptor and perhaps a certificate of so many bytes, and for a manifest of
    /// exactly `files`.
    pub(crate) fn reserve_for(
        &self,
        descriptor: &FileName,
        (descriptor_bytes, certificate_bytes): (u64, Option<usize>),
        files: &[FileName],
        algorithm: DigestAlgorithm,
    ) {
        let blank = vec![0; algorithm.len_bytes()];
        let digest = Digest::new(algorithm, &blank).ok();
        let mut manifest = Manifest::new();
        for file in std::iter::once(descriptor).chain(files) {
            // Names that cannot stand in a manifest are refused when it is made.
            let _refused_later = digest.map(|digest| manifest.push(file.clone(), digest));
        }
        let fixed = [Some(manifest.to_bytes().len()), certificate_bytes];
        self.assembly.reserve(descriptor_bytes, fixed.into_iter().flatten());
    }

    /// Where the bytes of a file go.
    pub(crate) fn destination(&self, file: &FileName) -> Arc<dyn Destination> {
        let (assembly, spools) = (Arc::clone(&self.assembly), self.spools.clone());
        Arc::new(ArchiveDestination { file: file.clone(), assembly, spools })
    }

    /// The archive under its present name.
    pub(crate) fn partial(&self) -> PathBuf {
        self.lock.path().to_owned()
    }

    /// The files in the order in which they stand in the archive; waits until all do.
    pub(crate) async fn order(&self) -> Result<Vec<FileName>, Error> {
        Arc::clone(&self.assembly).settle().await.map_err(writing(self.lock.path()))
    }

    /// Fills the descriptor with blanks, so that it fills its slot; makes the slot larger if it is
    /// too small.
    pub(crate) async fn fit(&self, mut descriptor: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (assembly, path) = (Arc::clone(&self.assembly), self.lock.path().to_owned());
        blocking(move || {
            let slot_bytes = assembly.fit(descriptor.len() as u64).map_err(writing(&path))?;
            let slot = usize::try_from(slot_bytes).unwrap_or(descriptor.len());
            // One line feed, so that nobody's viewer shows it as one line with what follows.
            descriptor.push(b'\n');
            descriptor.resize(slot, b' ');
            Ok(descriptor)
        })
        .await
    }

    /// Leaves the descriptor as it is if it ends in the last block of its slot.  Otherwise it is
    /// filled with blanks, or the slot is made larger.
    pub(crate) async fn fit_to(&self, mut descriptor: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (assembly, path) = (Arc::clone(&self.assembly), self.lock.path().to_owned());
        blocking(move || {
            let len_bytes = descriptor.len() as u64;
            let slot_bytes = assembly.make_room(len_bytes).map_err(writing(&path))?;
            if assembly::blocks(len_bytes) < slot_bytes {
                let slot = usize::try_from(slot_bytes).unwrap_or(descriptor.len());
                descriptor.resize(slot, b' ');
            }
            Ok(descriptor)
        })
        .await
    }

    /// Writes the small files into their slots and makes everything durable.
    pub(crate) async fn seal(&self, papers: Papers) -> Result<(), Error> {
        let (assembly, path) = (Arc::clone(&self.assembly), self.lock.path().to_owned());
        blocking(move || {
            let small = papers.members()?;
            assembly.seal(&small).map_err(writing(&path))
        })
        .await
    }

    /// Gives the archive its final name and makes the name durable.
    pub(crate) async fn publish(&self) -> Result<PathBuf, Error> {
        let (partial, path, existing) = (self.partial(), self.path.clone(), self.existing);
        blocking(move || {
            let replaces = fs::symlink_metadata(&path).is_ok();
            give_name(&partial, &path, existing).map_err(naming(&path))?;
            let folder = parent(&path);
            let synced = sync_folder(folder).map_err(writing(folder));
            if synced.is_err() && !replaces {
                // What took a place cannot give it back.
                log_failure(fs::remove_file(&path), &path);
            }
            synced.map(|()| path)
        })
        .await
    }

    /// Removes what was made.
    pub(crate) async fn discard(self) {
        // What still moves in would go on into a file without a name, and cost the disk's time.
        self.assembly.give_up().await;
        blocking(move || {
            log_failure(fs::remove_file(self.lock.path()), self.lock.path());
            remove_folders(self.made);
        })
        .await;
    }
}

/// The folder of a file.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// One file of the archive.
#[derive(Debug)]
struct ArchiveDestination {
    file: FileName,
    assembly: Arc<Assembly>,
    spools: PathBuf,
}

impl Destination for ArchiveDestination {
    fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>> {
        async move { Arc::clone(&self.assembly).sink(self.file.clone(), &self.spools).await }
            .boxed()
    }
}

/// The slot of a descriptor.  Those of vSphere have 5 to 30 KiB.
const DESCRIPTOR_BYTES: u64 = 64 << 10;

/// What the slot has more for each file: its reference, its disk and its hardware item.
const DESCRIPTOR_FILE_BYTES: u64 = 2 << 10;

#[cfg(test)]
mod tests;
