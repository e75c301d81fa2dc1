//! What an export makes, wherever it goes.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::certificate::SigningKey;

use crate::error::Error;
use crate::store::Destination;
use crate::store::Store;
use crate::store::archive::PackageArchive;
use crate::store::custom::PackageStore;
use crate::store::file::Existing;
use crate::store::file::FileDestination;
use crate::store::file::KeptFile;
use crate::store::file::blocking;
use crate::store::folder::PackageFolder;
use crate::store::folder::check_name;
use crate::store::folder::safe_base;
use crate::store::inode::stamp;
use crate::store::papers::Papers;
use crate::store::pipe::PackagePipe;
use crate::store::pipe::Pipe;
use crate::transfer::Proven;
use crate::transfer::discard;

/// Where a package goes.
///
/// A path becomes one by its name: `x.ova` is an archive, all else a folder or a descriptor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Output {
    /// A folder in which the package gets a folder of its own, or `x.ovf`, beside which the other
    /// files go.
    Folder(PathBuf),
    /// One file, an OVA.
    Archive(PathBuf),
    /// An OVA that is written when everything is proven; until then it waits in temporary files.
    Pipe(Pipe),
    /// A store of the caller's.
    Store(Arc<dyn Store>),
}

impl From<PathBuf> for Output {
    fn from(path: PathBuf) -> Self {
        let is_archive = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ova"));
        if is_archive { Self::Archive(path) } else { Self::Folder(path) }
    }
}

impl From<&Path> for Output {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl From<&PathBuf> for Output {
    fn from(path: &PathBuf) -> Self {
        path.clone().into()
    }
}

impl From<&str> for Output {
    fn from(path: &str) -> Self {
        PathBuf::from(path).into()
    }
}

impl From<String> for Output {
    fn from(path: String) -> Self {
        PathBuf::from(path).into()
    }
}

impl From<Pipe> for Output {
    fn from(pipe: Pipe) -> Self {
        Self::Pipe(pipe)
    }
}

/// An output with the names that a machine's package has there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    output: Output,
    /// The folder of the package, or the path of the archive.
    path: PathBuf,
    /// The base name of descriptor and manifest.
    base: String,
}

impl Place {
    /// Finds the names for the package of `machine`.
    pub(crate) fn resolve(output: Output, machine: &str) -> Self {
        let (path, base) = match &output {
            Output::Folder(path) => PackageFolder::resolve(path, machine),
            Output::Archive(path) => {
                let base = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or(machine);
                (path.clone(), archive_base(base))
            }
            Output::Pipe(_) => (PathBuf::from("-"), archive_base(machine)),
            Output::Store(_) => (PathBuf::new(), safe_base(machine)),
        };
        Self { output, path, base }
    }

    /// Refuses a place that is taken.
    pub(crate) async fn check(&self, existing: Existing) -> Result<(), Error> {
        let (path, base) = (self.path.clone(), self.base.clone());
        match self.output {
            Output::Folder(_) => {
                blocking(move || PackageFolder::check_names(&path, &base, &[], existing)).await
            }
            Output::Archive(_) => blocking(move || check_name(path, existing)).await,
            Output::Pipe(_) | Output::Store(_) => Ok(()),
        }
    }

    /// Takes the place.
    pub(crate) async fn create(
        &self,
        existing: Existing,
        spools: Option<PathBuf>,
    ) -> Result<Artefact, Error> {
        self.create_again(existing, spools, Vec::new()).await
    }

    /// Takes the place in which a run was killed, after it had given these final names.
    pub(crate) async fn create_again(
        &self,
        existing: Existing,
        spools: Option<PathBuf>,
        early: Vec<PathBuf>,
    ) -> Result<Artefact, Error> {
        let (path, base) = (self.path.clone(), self.base.clone());
        Ok(match &self.output {
            Output::Folder(_) => {
                Artefact::Folder(PackageFolder::create(path, base, existing, early).await?)
            }
            Output::Archive(_) => {
                Artefact::Archive(PackageArchive::create(path, spools, existing).await?)
            }
            Output::Pipe(pipe) => Artefact::Pipe(PackagePipe::new(pipe.clone(), spools)),
            Output::Store(store) => Artefact::Store(PackageStore::new(Arc::clone(store))),
        })
    }

    /// Whether the package has the files of a folder for its own, with any names.
    pub(crate) const fn is_folder(&self) -> bool {
        matches!(self.output, Output::Folder(_) | Output::Store(_))
    }

    /// The descriptor (`ovf`) or another small file of the package.
    pub(crate) fn own_file(&self, extension: &str) -> Result<FileName, Error> {
        let base = &self.base;
        FileName::new(format!("{base}.{extension}")).map_err(|error| Error::Refused {
            problem: format!("the package cannot be called {base:?}: {error}"),
        })
    }

    /// The base name of descriptor and manifest.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Whether the package becomes one file, which has no holes.
    pub(crate) const fn is_archive(&self) -> bool {
        matches!(self.output, Output::Archive(_) | Output::Pipe(_))
    }

    /// What the names of disks begin with.  The archive is a folder of its own, and short names
    /// fit into its headers.
    pub(crate) fn prefix(&self) -> String {
        match self.output {
            Output::Archive(_) | Output::Pipe(_) => String::new(),
            Output::Folder(_) | Output::Store(_) => format!("{}-", self.base),
        }
    }

    /// What a machine of the package is called in names of files.
    pub(crate) fn part(&self, machine: &str) -> String {
        match self.output {
            Output::Archive(_) | Output::Pipe(_) => archive_base(machine),
            Output::Folder(_) | Output::Store(_) => safe_base(machine),
        }
    }

    /// The folder of this machine that takes the package.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match self.output {
            Output::Folder(_) => Some(self.path.clone()),
            Output::Archive(_) => Some(self.path.parent().unwrap_or(Path::new("")).to_owned()),
            Output::Pipe(_) | Output::Store(_) => None,
        }
    }

    /// Whether files that are proven have names of their own here, under which another run finds
    /// them.
    pub(crate) const fn keeps_files(&self) -> bool {
        matches!(self.output, Output::Folder(_))
    }

    /// The file that leads to the package: its descriptor or its archive.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self.output {
            Output::Folder(_) => Some(self.path.join(format!("{}.ovf", self.base))),
            Output::Archive(_) => Some(self.path.clone()),
            Output::Pipe(_) | Output::Store(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.output, self.path()) {
            (_, Some(path)) => path.display().fmt(f),
            (Output::Pipe(_), None) => f.write_str("a pipe, as an OVA"),
            (output, None) => write!(f, "{output:?}"),
        }
    }
}

/// A base name for the members of an archive: short, and of letters that every reader of tar takes.
fn archive_base(name: &str) -> String {
    let plain = |c: char| if c.is_ascii() { c } else { '_' };
    safe_base(&name.chars().map(plain).take(ARCHIVE_BASE_CHARS).collect::<String>())
}

/// A package that is being written.
#[derive(Debug)]
pub(crate) enum Artefact {
    Archive(PackageArchive),
    Folder(PackageFolder),
    Pipe(PackagePipe),
    Store(PackageStore),
}

impl Artefact {
    /// Makes room for the files of the package, before the first byte.
    pub(crate) async fn reserve(
        &self,
        descriptor: &FileName,
        files: Vec<FileName>,
        algorithm: DigestAlgorithm,
        key: Option<&SigningKey>,
    ) -> Result<(), Error> {
        match self {
            Self::Archive(archive) => archive.reserve(descriptor, &files, algorithm, key)?,
            Self::Folder(folder) => folder.check(files).await?,
            Self::Pipe(_) | Self::Store(_) => {}
        }
        Ok(())
    }

    /// Makes room for the files of a package whose descriptor, and certificate if there is going to
    /// be one, have so many bytes.
    pub(crate) async fn reserve_for(
        &self,
        descriptor: &FileName,
        descriptor_bytes: u64,
        files: Vec<FileName>,
        algorithm: DigestAlgorithm,
        certificate_bytes: Option<usize>,
    ) -> Result<(), Error> {
        match self {
            Self::Archive(archive) => {
                let small = (descriptor_bytes, certificate_bytes);
                archive.reserve_for(descriptor, small, &files, algorithm);
                Ok(())
            }
            Self::Folder(_) | Self::Pipe(_) | Self::Store(_) => {
                self.reserve(descriptor, files, algorithm, None).await
            }
        }
    }

    /// Where the bytes of a file go, and what messages call it.
    pub(crate) fn destination(&self, file: &FileName) -> (Arc<dyn Destination>, String) {
        match self {
            Self::Archive(archive) => {
                (archive.destination(file), archive.partial().display().to_string())
            }
            Self::Folder(folder) => {
                let (path, partial) = (folder.path(file), folder.partial(file));
                let at = partial.display().to_string();
                (Arc::new(FileDestination::new(path, partial, folder.existing())), at)
            }
            Self::Pipe(pipe) => (pipe.destination(file), pipe.spools().display().to_string()),
            Self::Store(store) => (store.destination(file), file.to_string()),
        }
    }

    /// The folders of this machine that were made for the package, the outermost first.
    pub(crate) fn made(&self) -> &[PathBuf] {
        match self {
            Self::Archive(archive) => archive.made(),
            Self::Folder(folder) => folder.made(),
            Self::Pipe(_) | Self::Store(_) => &[],
        }
    }

    /// A file that has been proven by an earlier run, under its `.partial` name, and where it is;
    /// none where such files have no names.
    pub(crate) fn kept(&self, file: &FileName) -> Option<(KeptFile, PathBuf)> {
        let Self::Folder(folder) = self else { return None };
        let (path, partial) = (folder.path(file), folder.partial(file));
        Some((KeptFile::new(path, partial.clone(), folder.existing()), partial))
    }

    /// The order of the files in the package, which is that of its references.
    pub(crate) async fn order(&self, planned: Vec<FileName>) -> Result<Vec<FileName>, Error> {
        match self {
            Self::Archive(archive) => archive.order().await,
            Self::Folder(_) | Self::Pipe(_) | Self::Store(_) => Ok(planned),
        }
    }

    /// The descriptor as it will stand in the package.
    pub(crate) async fn fit(&self, descriptor: Vec<u8>) -> Result<Vec<u8>, Error> {
        match self {
            Self::Archive(archive) => archive.fit(descriptor).await,
            Self::Folder(_) | Self::Pipe(_) | Self::Store(_) => Ok(descriptor),
        }
    }

    /// The descriptor as it will stand in the place that was reserved for its size; as it is, if it
    /// has the size.
    pub(crate) async fn fit_to(&self, descriptor: Vec<u8>) -> Result<Vec<u8>, Error> {
        match self {
            Self::Archive(archive) => archive.fit_to(descriptor).await,
            Self::Folder(_) | Self::Pipe(_) | Self::Store(_) => Ok(descriptor),
        }
    }

    /// Writes the small files, not yet under their final names, and makes all durable.
    pub(crate) async fn stage(&self, papers: Papers) -> Result<(), Error> {
        match self {
            Self::Archive(archive) => archive.seal(papers).await,
            Self::Folder(folder) => folder.stage(papers).await,
            Self::Pipe(pipe) => pipe.stage(&papers),
            Self::Store(store) => store.stage(papers).await,
        }
    }

    /// Makes the package visible: files first, then manifest and certificate, then the descriptor.
    ///
    /// If that stops half-way, what was moved is removed again.  Returns the file that leads to
    /// the package, if there is one.
    pub(crate) async fn publish(self, moved: Vec<Proven>) -> Result<Option<PathBuf>, Error> {
        match self {
            Self::Archive(archive) => match archive.publish().await {
                Ok(path) => Ok(Some(path)),
                Err(error) => {
                    archive.discard().await;
                    Err(error)
                }
            },
            Self::Folder(folder) => publish_folder(folder, moved).await.map(Some),
            Self::Pipe(pipe) => {
                let order = moved.iter().map(|moved| moved.proof.file().clone()).collect();
                pipe.publish(order).await.map(|()| None)
            }
            Self::Store(store) => {
                let files = moved.into_iter().map(|moved| (moved.sink, moved.proof)).collect();
                store.publish(files).await.map(|()| None)
            }
        }
    }

    /// Which file leads to the package once all is staged, whatever its name; none if no file does.
    pub(crate) async fn stamp(&self) -> Option<String> {
        let partial = match self {
            Self::Archive(archive) => archive.partial(),
            Self::Folder(folder) => folder.descriptor(),
            Self::Pipe(_) | Self::Store(_) => return None,
        };
        blocking(move || stamp(&partial)).await
    }

    /// Removes what was made.
    pub(crate) async fn discard(self) {
        match self {
            Self::Archive(archive) => archive.discard().await,
            Self::Folder(folder) => folder.discard().await,
            // Spools have no names.
            Self::Pipe(_) => {}
            Self::Store(store) => store.discard().await,
        }
    }
}

async fn publish_folder(mut folder: PackageFolder, moved: Vec<Proven>) -> Result<PathBuf, Error> {
    let mut waiting = moved.into_iter();
    let outcome = async {
        let files = waiting.as_slice().iter().map(|file| file.proof.file().clone()).collect();
        folder.make_way(files).await?;
        for file in waiting.by_ref() {
            folder.commit(file.sink, &file.proof).await?;
        }
        folder.publish().await
    }
    .await;
    if outcome.is_err() {
        discard(waiting.collect()).await;
        folder.discard().await;
    }
    outcome
}

/// Longest base name of members: 100 bytes fit into a header, with an extension.
const ARCHIVE_BASE_CHARS: usize = 80;
