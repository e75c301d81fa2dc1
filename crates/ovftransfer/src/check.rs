//! Checks a package without a server: digests, and the structure of every disk.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::ManifestEntry;
use ovftransfer_ovf::certificate::Signature;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_ovf::ova::Member;
use ovftransfer_vmdk::Summary;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::copy::Copy;
use crate::error::Error;
use crate::inspect::DiskCheck;
use crate::inspect::Inspect;
use crate::inspect::Inspection;
use crate::inspect::Position;
use crate::meter::FileMeter;
use crate::meter::Meter;
use crate::signature::SignaturePolicy;
use crate::store::Source;
use crate::store::arriving;
use crate::store::arriving::Arriving;
use crate::store::arriving::Members;
use crate::store::arriving::check_late;
use crate::store::content::SeenPart;
use crate::store::file::FileSource;
use crate::store::in_order::End;
use crate::store::in_order::InOrder;
use crate::store::package::Package;
use crate::store::parts::PackageFile;
use crate::store::reference::ALL_ALGORITHMS;
use crate::store::reference::Piece;
use crate::store::reference::piece_of;
use crate::store::reference::promised;
use crate::store::reference::promised_by_name;
use crate::store::reference::promised_whole;
use crate::store::reference::two_for_one;
use crate::verify::check_promise;

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
    /// The files that the package has for it, if it is cut into chunks or compressed: `bytes` and
    /// `digest` are those of what they hold.  Empty if the package has the file as it is.
    pub stored: Vec<StoredFile>,
}

/// One of several files that hold another one, or a file that holds another one compressed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredFile {
    /// The file.
    pub file: FileName,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digest: by the manifest's algorithm, SHA-256 if the manifest does not name it.
    pub digest: Digest,
    /// Whether the manifest names it, and so agrees with it.
    pub in_manifest: bool,
}

/// What was found about a package.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckedPackage {
    /// Its files, in the order of the references.
    pub files: Vec<CheckedFile>,
    /// Its signature, if it has one.  It holds; whether the signer is trusted is its verdict.
    pub signature: Option<Signature>,
    /// What the manifest does not prove, and what it names in vain.
    pub warnings: Vec<String>,
}

/// Reads every file of a package and compares it with the manifest; checks the structure of disks,
/// and the signature over the manifest.
///
/// Several files are read at once, one for each core; those of a stream one after the other.
///
/// # Errors
///
/// The first of [`Error::Certificate`], [`Error::DigestMismatch`], [`Error::Structure`],
/// [`Error::Package`], [`Error::Stream`] and [`Error::Unsigned`]; [`Error::Cancelled`] if `cancel`
/// came first.
pub async fn check_package(
    package: Arc<Package>,
    policy: &SignaturePolicy,
    meter: Arc<Meter>,
    cancel: &CancellationToken,
) -> Result<CheckedPackage, Error> {
    check(package, policy, DiskCheck::Structure, meter, cancel).await
}

/// The same, and inflates every grain of every disk, on all cores.
///
/// Finds damage that was there when the manifest was made, or that it does not cover.
///
/// # Errors
///
/// As [`check_package`].
pub async fn check_package_deep(
    package: Arc<Package>,
    policy: &SignaturePolicy,
    meter: Arc<Meter>,
    cancel: &CancellationToken,
) -> Result<CheckedPackage, Error> {
    check(package, policy, DiskCheck::Deep, meter, cancel).await
}

async fn check(
    package: Arc<Package>,
    policy: &SignaturePolicy,
    disks: DiskCheck,
    meter: Arc<Meter>,
    cancel: &CancellationToken,
) -> Result<CheckedPackage, Error> {
    package.prove_descriptor()?;
    let signature = package.signature(policy)?;
    package.check_fetched()?;
    check_sizes(&package)?;
    let mut warnings = package.missing().iter().map(named_in_vain).collect::<Vec<_>>();
    if let Some(manifest) = package.manifest() {
        warnings.extend(not_proven(&package, manifest)?);
    }
    let scope = cancel.child_token();
    match package.in_order() {
        Some(in_order) => {
            let checking =
                Box::pin(check_in_order(&package, policy, disks, in_order, &meter, &scope));
            // Where it waits for the next file, nothing else would end it.
            let checked = scope.run_until_cancelled(checking).await;
            let mut checked = checked.unwrap_or(Err(Error::Cancelled))?;
            checked.warnings.splice(0..0, warnings);
            Ok(checked)
        }
        None => {
            let files = check_at_once(&package, disks, &meter, &scope).await?;
            Ok(CheckedPackage { files, signature, warnings })
        }
    }
}

async fn check_at_once(
    package: &Package,
    disks: DiskCheck,
    meter: &Meter,
    scope: &CancellationToken,
) -> Result<Vec<CheckedFile>, Error> {
    let cores = match disks {
        DiskCheck::None | DiskCheck::Structure => {
            thread::available_parallelism().map_or(1, NonZero::get)
        }
        // One file keeps all of them busy.
        DiskCheck::Deep => 1,
    };
    let cores = Arc::new(Semaphore::new(cores));
    let mut running = JoinSet::new();
    for (place, reference) in package.envelope().references().iter().enumerate() {
        let Some(file) = package.file(reference.href()) else { continue };
        let promised = package.promised(reference);
        let algorithm = promised.as_ref().map_or(DigestAlgorithm::Sha256, Digest::algorithm);
        let (source, parts) = match file.content() {
            None => (Arc::clone(file.source()), None),
            Some(content) => {
                let is_promised = file.stored().iter().all(|part| part.promised.is_some());
                let others = if is_promised { Vec::new() } else { vec![DigestAlgorithm::Sha256] };
                let content = content.recording(others);
                let seen = content.seen().clone();
                (Arc::new(content) as Arc<dyn Source>, Some((seen, file.is_promised())))
            }
        };
        let check = FileCheck {
            file: reference.href().clone(),
            source,
            at_hand: file.at_hand().cloned(),
            at: package.display(),
            inspect: Inspect {
                algorithms: vec![algorithm],
                disk: disks.of(package.is_checked_disk(reference)),
            },
            meter: meter.add_file(reference.href(), file.stored_bytes()),
        };
        let (cores, scope) = (Arc::clone(&cores), scope.clone());
        running.spawn(async move {
            // Closed never: the error cannot come.
            let _core = cores.acquire_owned().await.ok();
            let (bytes, seen) = check.run(&scope).await?;
            let mut checked = checked(check.file, bytes, seen, promised.as_ref())?;
            if let Some((seen, is_promised)) = parts {
                checked.in_manifest = is_promised;
                checked.stored = seen.parts().into_iter().filter_map(stored_file).collect();
            }
            Ok((place, checked))
        });
    }
    let mut checked = Vec::new();
    let mut failed = None;
    while let Some(joined) = running.join_next().await {
        match joined {
            Ok(Ok(file)) => checked.push(file),
            Ok(Err(error)) => {
                scope.cancel();
                if failed.as_ref().is_none_or(|first| matches!(first, Error::Cancelled)) {
                    failed = Some(error);
                }
            }
            // A defect; it must not look like a bad package.
            Err(join) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
            Err(_) => scope.cancel(),
        }
    }
    checked.sort_by_key(|(place, _)| *place);
    failed.map_or_else(|| Ok(checked.into_iter().map(|(_, file)| file).collect()), Err)
}

/// Checks files as they come; a manifest at the end is compared at the end.
async fn check_in_order(
    package: &Package,
    policy: &SignaturePolicy,
    disks: DiskCheck,
    in_order: &Arc<InOrder>,
    meter: &Meter,
    scope: &CancellationToken,
) -> Result<CheckedPackage, Error> {
    // All of them from the beginning: a percentage counts what is still to come.
    let meters = package.envelope().references().iter().map(|file| {
        let weight = file.size_bytes().unwrap_or_default();
        (file.href(), meter.add_file(file.href(), weight))
    });
    let meters: BTreeMap<&FileName, Arc<FileMeter>> = meters.collect();
    let elsewhere = package.envelope().references().iter().filter_map(|reference| {
        let file = package.file(reference.href())?;
        let seen = file.content().map(|content| content.seen().clone());
        let (source, stored_bytes) = (Arc::clone(file.source()), file.stored_bytes());
        Some(Arriving { reference: reference.clone(), source, seen, stored_bytes })
    });
    // What lies elsewhere comes last: the stream does not wait.
    let mut elsewhere = elsewhere.collect::<Vec<_>>().into_iter();
    let mut files = Vec::new();
    loop {
        let next = arriving::next(package, in_order, None, |_| true).await?;
        let Some(arriving) = next.or_else(|| elsewhere.next()) else { break };
        let Arriving { reference, source, seen: parts, stored_bytes } = arriving;
        let Some(meter) = meters.get(reference.href()).cloned() else { continue };
        check_size(package, &reference, stored_bytes)?;
        let algorithms = match &parts {
            None => algorithms_in_order(package, &reference),
            Some(_) => vec![DigestAlgorithm::Sha256],
        };
        let check = FileCheck {
            file: reference.href().clone(),
            source,
            at_hand: None,
            at: package.display(),
            inspect: Inspect { algorithms, disk: disks.of(package.is_checked_disk(&reference)) },
            meter,
        };
        let (bytes, seen) = check.run(scope).await?;
        files.push((reference, bytes, seen, parts));
    }
    let end = in_order.end().await?;
    let warnings = check_end(package, &end)?;
    let signature =
        policy.judge(&package.sealed(end.manifest.as_ref(), end.certificate.as_ref()))?;
    let manifest = end.manifest.as_ref();
    let mut all = Vec::new();
    for (reference, bytes, seen, parts) in files {
        let href = reference.href().clone();
        let Some(parts) = parts else {
            let promised = promised_by_name(manifest, &reference);
            all.push(checked(href, bytes, seen, promised.as_ref())?);
            continue;
        };
        let mut file = checked(href, bytes, seen, None)?;
        if let Some(manifest) = manifest {
            file.in_manifest = check_late(&reference, &parts, manifest)?;
        }
        file.stored = parts.parts().into_iter().filter_map(stored_file).collect();
        for stored in &mut file.stored {
            stored.in_manifest = file.in_manifest;
        }
        all.push(file);
    }
    Ok(CheckedPackage { files: all, signature, warnings })
}

/// The digests to compute of a file that comes in its order: the manifest may come after it.
pub(crate) fn algorithms_in_order(package: &Package, reference: &FileRef) -> Vec<DigestAlgorithm> {
    match package.manifest() {
        Some(_) => {
            let promised = package.promised(reference);
            vec![promised.map_or(DigestAlgorithm::Sha256, |digest| digest.algorithm())]
        }
        None => ALL_ALGORITHMS.to_vec(),
    }
}

/// What only the end of an archive tells: whether everything has come, and what the manifest says
/// about the package as a whole.  Returns what was not known before and is only odd.
pub(crate) fn check_end(package: &Package, end: &End) -> Result<Vec<String>, Error> {
    let references = package.envelope().references();
    let members = Members::new(&end.ova);
    let mut names = BTreeSet::new();
    for reference in references {
        let found = members.of(reference).map_err(|problem| package.wrong(problem))?;
        if let Some(twice) = found.into_iter().find(|member| !names.insert(member.name())) {
            return Err(package.wrong(two_for_one(twice.name())));
        }
    }
    if package.certificate().is_some_and(|first| end.certificate.as_ref() != Some(first)) {
        return Err(package.wrong("there are two certificates"));
    }
    let Some(manifest) = &end.manifest else { return Ok(Vec::new()) };
    let is_late = package.manifest().is_none();
    if package.manifest().is_some_and(|first| first != manifest) {
        return Err(package.wrong("there are two manifests"));
    }
    package.check_descriptor(manifest)?;
    let is_signed = end.certificate.is_some();
    let has = |file: &FileName| end.ova.member(file).is_some() || package.reference(file).is_some();
    let files = manifest.entries().iter().map(ManifestEntry::file);
    let missing: Vec<FileName> = files.filter(|file| !has(file)).cloned().collect();
    let mut warnings: Vec<String> = missing.iter().map(named_in_vain).collect();
    if is_late {
        warnings.extend(without_use(package, manifest, &missing));
    }
    for reference in references {
        if let Some(file) = left_out(package, reference, manifest, &members)? {
            let text = not_listed(package, file, is_signed || reference.url().is_some())?;
            // How many chunks there are was not known before, the rest was.
            if is_late || reference.chunk_size_bytes().is_some() {
                warnings.push(text);
            }
        }
    }
    Ok(warnings)
}

/// Compares the sizes in the descriptor with those of the files.
pub(crate) fn check_sizes(package: &Package) -> Result<(), Error> {
    for reference in package.envelope().references() {
        if let Some(file) = package.file(reference.href()) {
            check_size(package, reference, file.stored_bytes())?;
        }
    }
    Ok(())
}

/// Only for disks is a difference an error: descriptors from the field name wrong sizes for NVRAM.
pub(crate) fn check_size(package: &Package, reference: &FileRef, found: u64) -> Result<(), Error> {
    match reference.size_bytes() {
        Some(expected)
            if found != expected
                && package.is_disk(reference)
                && reference.chunk_size_bytes().is_none()
                && !is_capacity(package, expected) =>
        {
            Err(package.wrong(format!(
                "{}: the descriptor says {expected} bytes, but the file has {found}; \
                 the package is incomplete or damaged",
                reference.href()
            )))
        }
        _ => Ok(()),
    }
}

/// Whether a size is the capacity of all disks, or of one: so do descriptors say that govc 0.56 and
/// older made.  The digest and the structure of the disk tell whether it is whole.
fn is_capacity(package: &Package, size_bytes: u64) -> bool {
    let capacities = package.envelope().disks().iter().map(|disk| disk.capacity_bytes());
    let all = capacities.clone().fold(0, u64::saturating_add);
    size_bytes == all || capacities.into_iter().any(|capacity| capacity == size_bytes)
}

/// What a manifest does not prove, or names without use.
///
/// A manifest lists every file of the package (DSP0243 1.1.0 §5.1), but those made by hand do not.
/// What is left out is as good as in a package without manifest, which is only warned of; but a
/// signature promises the whole, and a file from elsewhere has nothing else that vouches for it.
///
/// # Errors
///
/// [`Error::Package`] if the manifest is signed, and if the file lies on a web server.
pub(crate) fn not_proven(package: &Package, manifest: &Manifest) -> Result<Vec<String>, Error> {
    let mut warnings = without_use(package, manifest, package.missing());
    for reference in package.envelope().references() {
        let file = match package.file(reference.href()) {
            Some(file) if file.is_promised() => continue,
            Some(file) => file.stored().iter().find(|part| part.promised.is_none()),
            // How many chunks there are is not known before all have come.
            None if reference.chunk_size_bytes().is_some() => continue,
            None if promised_by_name(Some(manifest), reference).is_some() => continue,
            None => None,
        };
        let file = file.map_or(reference.href(), |part| &part.name);
        let is_needed = package.certificate().is_some() || reference.url().is_some();
        warnings.push(not_listed(package, file, is_needed)?);
    }
    Ok(warnings)
}

/// About a file that the manifest leaves out.
fn not_listed(package: &Package, file: &FileName, is_needed: bool) -> Result<String, Error> {
    match is_needed {
        true => Err(package.wrong(format!("the manifest does not list {file}"))),
        false => Ok(format!("the manifest does not list {file}, which it does not prove")),
    }
}

/// The first file of a reference that the manifest leaves out, of an archive that has been read to
/// its end.
fn left_out<'o>(
    package: &'o Package,
    reference: &'o FileRef,
    manifest: &Manifest,
    members: &Members<'o>,
) -> Result<Option<&'o FileName>, Error> {
    if promised_whole(Some(manifest), reference).is_some() {
        return Ok(None);
    }
    if reference.url().is_some() {
        if reference.chunk_size_bytes().is_none() {
            let is_listed = promised_by_name(Some(manifest), reference).is_some();
            return Ok((!is_listed).then_some(reference.href()));
        }
        let file = package.file(reference.href());
        let mut parts = (0..).zip(file.map_or(&[][..], PackageFile::stored));
        let left_out = parts.find(|(number, part)| {
            let piece = Piece::Chunk(*number);
            promised(Some(manifest), reference, &part.name, piece).is_none()
        });
        return Ok(left_out.map(|(_, part)| &part.name));
    }
    let members = members.of(reference).map_err(|problem| package.wrong(problem))?;
    let is_listed = |member: &&Member| {
        let piece = piece_of(reference, member.name());
        piece.is_some_and(|piece| {
            promised(Some(manifest), reference, member.name(), piece).is_some()
        })
    };
    Ok(members.into_iter().find(|member| !is_listed(member)).map(Member::name))
}

/// About what the manifest names and the descriptor does not, but for `missing` files, and about the
/// descriptor if it is not named itself.
fn without_use(package: &Package, manifest: &Manifest, missing: &[FileName]) -> Vec<String> {
    let files = manifest.entries().iter().map(ManifestEntry::file);
    let missing: BTreeSet<&FileName> = missing.iter().collect();
    let is_known = |file: &FileName| {
        file == package.descriptor() || package.reference(file).is_some() || missing.contains(file)
    };
    let mut warnings: Vec<String> = files
        .filter(|file| !is_known(file))
        .map(|file| format!("the manifest names {file}, which the descriptor does not"))
        .collect();
    if manifest.digest(package.descriptor()).is_none() {
        warnings.push("the manifest does not list the descriptor, which is not checked".to_owned());
    }
    warnings
}

/// About a file that the manifest names and that is not there.
pub(crate) fn named_in_vain(file: &FileName) -> String {
    format!("the manifest names {file}, which is not in the package")
}

/// One file to read from its first byte to its last.
struct FileCheck {
    file: FileName,
    source: Arc<dyn Source>,
    /// The source, if it is a file of this machine.
    at_hand: Option<FileSource>,
    /// Where it is, for messages.
    at: String,
    inspect: Inspect,
    meter: Arc<FileMeter>,
}

impl FileCheck {
    async fn run(&self, scope: &CancellationToken) -> Result<(u64, Inspection), Error> {
        let copy = Copy {
            file: &self.file,
            source: &*self.source,
            source_at: &self.at,
            sink_at: "",
            inspect: &self.inspect,
            position: Position::Bytes,
            meter: &self.meter,
            stall: STALL,
        };
        copy.look(self.at_hand.as_ref(), scope).await
    }
}

fn checked(
    file: FileName,
    bytes: u64,
    seen: Inspection,
    promised: Option<&Digest>,
) -> Result<CheckedFile, Error> {
    if let Some(expected) = promised {
        check_promise(&file, &seen, expected)?;
    }
    let strongest = || seen.digest(DigestAlgorithm::Sha256).or(seen.digests.first());
    let digest = promised.or_else(strongest).copied().ok_or_else(|| Error::Unproven {
        file: file.clone(),
        reason: "was not asked, and no digest was computed",
    })?;
    let (in_manifest, disk, stored) = (promised.is_some(), seen.disk, Vec::new());
    Ok(CheckedFile { file, bytes, digest, in_manifest, disk, stored })
}

fn stored_file(part: SeenPart) -> Option<StoredFile> {
    let SeenPart { name: file, size_bytes: bytes, digests, promised } = part;
    let digest = promised.or_else(|| digests.first().copied())?;
    Some(StoredFile { file, bytes, digest, in_manifest: promised.is_some() })
}

/// Reads a compressed file of a package to its end and tells what it holds, in bytes.
///
/// # Errors
///
/// Those of [`check_package`] about this file.
pub(crate) async fn measure(
    package: &Package,
    reference: &FileRef,
    file: &PackageFile,
) -> Result<u64, Error> {
    let check = FileCheck {
        file: reference.href().clone(),
        source: Arc::clone(file.source()),
        at_hand: file.at_hand().cloned(),
        at: package.display(),
        inspect: Inspect {
            algorithms: Vec::new(),
            disk: DiskCheck::structure(package.is_checked_disk(reference)),
        },
        meter: Meter::default().add_file(reference.href(), 0),
    };
    let (bytes, _) = check.run(&CancellationToken::new()).await?;
    Ok(bytes)
}

/// How long a source may give nothing: as long as in a transfer.
const STALL: Duration = Duration::from_secs(600);
