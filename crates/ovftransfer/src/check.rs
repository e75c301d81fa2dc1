//! Checks a package without a server: digests, and the structure of every disk.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::ManifestEntry;
use ovftransfer_vmdk::Summary;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::inspect::Inspect;
use crate::inspect::Inspection;
use crate::inspect::Inspector;
use crate::inspect::Position;
use crate::meter::FileMeter;
use crate::meter::Meter;
use crate::store::file::FileSource;
use crate::store::package::Package;
use crate::verify::check_promise;
use crate::worker::Work;

/// What was found about one file of a package.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckedFile {
    /// The file.
    pub file: FileName,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digest: by the manifest's algorithm, SHA-256 if the manifest does not name the file.
    pub digest: Digest,
    /// Whether the manifest names the file, and so agrees with it.
    pub in_manifest: bool,
    /// For disks: what the structure says.
    pub disk: Option<Summary>,
}

/// Reads every file of a package and compares it with the manifest; checks the structure of disks.
///
/// Several files are read at once, one for each core.
///
/// # Errors
///
/// The first of [`Error::DigestMismatch`], [`Error::Structure`], [`Error::Package`] and
/// [`Error::Local`]; [`Error::Cancelled`] if `cancel` came first.
pub async fn check_package(
    package: Arc<Package>,
    meter: Arc<Meter>,
    cancel: &CancellationToken,
) -> Result<Vec<CheckedFile>, Error> {
    check_sizes(&package)?;
    check_manifest_covers(&package)?;
    if let Some(problem) = manifest_strays(&package).into_iter().next() {
        return Err(Error::Package { package: package.display(), problem });
    }
    let cores = Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, NonZero::get)));
    let scope = cancel.child_token();
    let mut running = JoinSet::new();
    let mut order = Vec::new();
    for file in package.envelope().references() {
        let Some(source) = package.file(file.href()).cloned() else { continue };
        let promised = package.promised(file.href()).cloned();
        let algorithm = promised.as_ref().map_or(DigestAlgorithm::Sha256, Digest::algorithm);
        let inspect = Inspect { algorithms: vec![algorithm], disk: package.is_disk(file) };
        let counter = meter.add_file(file.href(), source.size_bytes());
        let (file, scope) = (file.href().clone(), scope.clone());
        let cores = Arc::clone(&cores);
        order.push(file.clone());
        running.spawn(async move {
            // Closed never: the error cannot come.
            let _core = cores.acquire_owned().await.ok();
            let work = move || check_file(file, &source, &inspect, promised, counter, &scope);
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
        });
    }
    let mut checked = Vec::new();
    let mut failed = None;
    while let Some(joined) = running.join_next().await {
        let outcome = joined.map_err(io::Error::other).and_then(|outcome| outcome);
        match outcome.unwrap_or_else(|source| Err(broken(&package, source))) {
            Ok(file) => checked.push(file),
            Err(error) => {
                scope.cancel();
                if failed.as_ref().is_none_or(|first| matches!(first, Error::Cancelled)) {
                    failed = Some(error);
                }
            }
        }
    }
    checked.sort_by_key(|file| order.iter().position(|name| *name == file.file));
    failed.map_or(Ok(checked), Err)
}

/// Compares the sizes in the descriptor with those of the files.
///
/// Only for disks is a difference an error: descriptors from the field name wrong sizes for NVRAM.
pub(crate) fn check_sizes(package: &Package) -> Result<(), Error> {
    for file in package.envelope().references() {
        let (Some(expected), Some(source)) = (file.size_bytes(), package.file(file.href())) else {
            continue;
        };
        let found = source.size_bytes();
        if package.is_disk(file) && found != expected && file.chunk_size_bytes().is_none() {
            return Err(Error::Package {
                package: package.display(),
                problem: format!(
                    "{}: the descriptor says {expected} bytes, but the file has {found}; \
                     the package is incomplete or damaged",
                    file.href()
                ),
            });
        }
    }
    Ok(())
}

/// A manifest lists every file of the package (DSP0243 1.1.0 §5.1): one that it leaves out could
/// have been changed without anybody noticing.
pub(crate) fn check_manifest_covers(package: &Package) -> Result<(), Error> {
    let Some(manifest) = package.manifest() else { return Ok(()) };
    let mut files = package.envelope().references().iter();
    match files.find(|file| manifest.digest(file.href()).is_none()) {
        None => Ok(()),
        Some(file) => Err(Error::Package {
            package: package.display(),
            problem: format!("the manifest does not list {}", file.href()),
        }),
    }
}

/// What is wrong with a manifest that names files which the descriptor does not: it promises
/// something that nobody can check.  One text for each such file.
pub(crate) fn manifest_strays(package: &Package) -> Vec<String> {
    let entries = package.manifest().map_or(&[][..], Manifest::entries).iter();
    entries
        .map(ManifestEntry::file)
        .filter(|file| *file != package.descriptor() && package.file(file).is_none())
        .map(|file| format!("the manifest names {file}, which the descriptor does not"))
        .collect()
}

fn check_file(
    file: FileName,
    source: &FileSource,
    inspect: &Inspect,
    promised: Option<Digest>,
    meter: Arc<FileMeter>,
    scope: &CancellationToken,
) -> Result<CheckedFile, Error> {
    let seen = read(&file, source, inspect, meter, scope)?;
    if let Some(expected) = &promised {
        check_promise(&file, &seen, expected)?;
    }
    let bytes = source.size_bytes();
    let Inspection { mut digests, disk } = seen;
    let digest = digests.swap_remove(0);
    Ok(CheckedFile { file, bytes, digest, in_manifest: promised.is_some(), disk })
}

fn read(
    file: &FileName,
    source: &FileSource,
    inspect: &Inspect,
    meter: Arc<FileMeter>,
    scope: &CancellationToken,
) -> Result<Inspection, Error> {
    let structure = |source| Error::Structure { file: file.clone(), source: Box::new(source) };
    let mut inspector = Inspector::new(inspect, meter, Position::Bytes);
    let mut chunks = source.chunks();
    loop {
        if scope.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let chunk = chunks.next_chunk().map_err(|source| Error::Stream {
            file: file.clone(),
            side: "reading from",
            at: "the package".to_owned(),
            at_byte: chunks.position_bytes(),
            source,
        })?;
        let Some(chunk) = chunk else { break };
        inspector.batch(vec![chunk]).map_err(structure)?;
    }
    inspector.finish().map_err(structure)
}

fn broken(package: &Package, source: io::Error) -> Error {
    Error::Local { action: "check", path: package.path().to_owned(), source }
}
