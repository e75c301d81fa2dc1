//! Converts packages into each other, and repairs what is wrong with them on the way.

mod names;
mod repair;
mod running;

use std::fmt;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::certificate::SigningKey;
use ovftransfer_ovf::envelope::FileRef;

use self::names::Names;
pub use self::repair::Repair;
use self::running::Running;
use crate::artefact::Output;
use crate::artefact::Place;
use crate::check::not_proven;
use crate::error::Check;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Finding;
use crate::error::check_findings;
use crate::export::key_finding;
use crate::handle::Transfer;
use crate::server::Options;
use crate::signature::SignaturePolicy;
use crate::signature::StoredCertificate;
use crate::store::file::Existing;
use crate::store::file::blocking;
use crate::store::file::free_bytes;
use crate::store::file::nearest;
use crate::store::package::Package;
use crate::store::parts::PackageFile;
use crate::store::reference::is_packed;
use crate::store::reference::promised_by_name;

/// A package to convert, and where to.
///
/// Chunks are joined and compressed files inflated.  What comes out is what every product takes: in an OVA the descriptor, the manifest and then the
/// files in the order of the references; headers of POSIX (ustar), those of files of 8 GiB and more
/// of GNU; short names; sizes that are right; a manifest that lists every file.  The same package
/// gives the same bytes.  The descriptor is kept to the byte where nothing in it needs to change.
///
/// Every byte is read once and hashed while it passes, by the algorithm of the package's manifest
/// and by that of the new one; stream-optimized disks are checked for structure.
///
/// ```
/// use ovftransfer::{Convert, Options, Package};
///
/// # async fn convert() -> Result<(), ovftransfer::Error> {
/// let package = Package::open("appliance/appliance.ovf".as_ref())?;
/// let report = Convert::new(package, "appliance.ova").plan().await?.start(Options::default());
/// let report = report.finish().await?;
/// for repair in &report.repairs {
///     println!("{repair}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Convert {
    /// The package.
    pub source: Package,
    /// Where the new one goes: a folder, `x.ovf`, `x.ova`, a pipe, a store.
    pub destination: Output,
    /// The algorithm of the new manifest.
    pub algorithm: DigestAlgorithm,
    /// Whether a package of the same name is replaced.
    pub overwrite: bool,
    /// Takes the bytes as they are, also where the package's manifest says that they are others, or
    /// where nothing proves a file whose size is not the promised one.  What differed is in the
    /// [`report`](Converted::repairs).
    pub rehash: bool,
    /// Signs the new manifest.  Without it the package's own signature is kept if it still fits,
    /// and left out otherwise.
    pub signing_key: Option<Arc<SigningKey>>,
    /// Where files of an archive wait for their place; `None` is beside the archive, or the
    /// system's folder for temporary files if the archive goes into a pipe.
    pub spool_dir: Option<PathBuf>,
}

impl Convert {
    /// Converts `source` into `destination`, with a manifest of SHA-256.
    #[must_use]
    pub fn new(source: Package, destination: impl Into<Output>) -> Self {
        Self {
            source,
            destination: destination.into(),
            algorithm: DigestAlgorithm::Sha256,
            overwrite: false,
            rehash: false,
            signing_key: None,
            spool_dir: None,
        }
    }

    /// Finds out what is to be done.  Creates nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Package`] if the package is not sound and that cannot be repaired,
    /// [`Error::DigestMismatch`] and [`Error::Certificate`] if manifest or signature say that the
    /// descriptor was changed, [`Error::Refused`] if the destination exists or is the package itself.
    pub async fn plan(self) -> Result<ConvertPlan, Error> {
        let place = Place::resolve(self.destination.clone(), self.source.descriptor().stem());
        self.check_apart(&place)?;
        place.check(self.existing()).await?;
        let names = Names::choose(&self.source, place.is_folder());
        let mut plan = ConvertPlan {
            files: Vec::new(),
            repairs: Vec::new(),
            findings: Vec::new(),
            kept: None,
            place,
            request: self,
        };
        plan.look_at_manifest()?;
        plan.look_at_files(names)?;
        plan.look_at_signature()?;
        plan.findings.extend(plan.request.signing_key.as_deref().and_then(key_finding));
        plan.findings.extend(plan.space().await);
        Ok(plan)
    }

    const fn existing(&self) -> Existing {
        if self.overwrite { Existing::Replace } else { Existing::Keep }
    }

    /// Refuses to write over the package that is being read: what would be left of both, if that
    /// stopped half-way, is nothing.
    fn check_apart(&self, place: &Place) -> Result<(), Error> {
        // That of a package that is not of this machine leads to no file.
        let source = Path::new(self.source.location());
        let Ok(found) = fs::canonicalize(source) else { return Ok(()) };
        let found =
            if found.is_dir() { found.join(self.source.descriptor().as_str()) } else { found };
        let beside = |target: &Path| {
            let folder = fs::canonicalize(target.parent().filter(|up| !up.as_os_str().is_empty())?);
            let is_descriptor = target.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf"));
            let has_files = found.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf"));
            Some(is_descriptor && has_files && folder.ok().as_deref() == found.parent())
        };
        let Some(target) = place.path() else { return Ok(()) };
        let problem = if fs::canonicalize(&target).is_ok_and(|target| target == found) {
            "is the package itself; choose another name"
        } else if beside(&target).unwrap_or(false) {
            "lies beside the package, and its files would have the same names; choose another folder"
        } else {
            return Ok(());
        };
        Err(Error::Refused { problem: format!("{} {problem}", target.display()) })
    }
}

/// One file of a package, and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct PlannedFile {
    /// What stands in the descriptor.
    reference: FileRef,
    /// Its new name.
    file: FileName,
    /// Its size in bytes, joined and inflated, if it is known.
    size_bytes: Option<u64>,
    /// Whether it is a stream-optimized disk, whose structure can be checked.
    is_stream: bool,
}

impl PlannedFile {
    /// Its name in the package.
    fn source(&self) -> &FileName {
        self.reference.href()
    }
}

/// What a conversion will do.  `Display` tells a person.
#[derive(Debug)]
#[must_use = "a plan does nothing by itself"]
pub struct ConvertPlan {
    request: Convert,
    place: Place,
    files: Vec<PlannedFile>,
    repairs: Vec<Repair>,
    findings: Vec<Finding>,
    /// The package's certificate, if it fits the new manifest too.
    kept: Option<StoredCertificate>,
}

impl ConvertPlan {
    /// The file that will lead to the package: its descriptor or its archive.  A package in a pipe
    /// or a store has none.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.place.path()
    }

    /// What is going to be repaired, as far as it can be told beforehand.
    #[must_use]
    pub fn repairs(&self) -> &[Repair] {
        &self.repairs
    }

    /// What was found beforehand, also what does not stop the conversion.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether the conversion can be started.
    ///
    /// # Errors
    ///
    /// [`Error::Preflight`] if something was found that stops it.
    pub fn check(&self) -> Result<(), Error> {
        let location = || format!("{} cannot be converted", self.request.source.location());
        check_findings(location, &self.findings)
    }

    /// Runs the conversion.  Needs to be called within a tokio runtime.
    ///
    /// Of the options only the observer and the limit of time for a stream that stands still are
    /// used.  A plan that does not pass its [`check`](Self::check) fails with that error at once.
    pub fn start(self, options: Options) -> Transfer<Converted> {
        Transfer::start(LEFT_AT_SHUTDOWN, |meter, cancel| {
            Running::new(self, options, meter).run(cancel)
        })
    }

    /// What the manifest leaves out, and what it names in vain.
    fn look_at_manifest(&mut self) -> Result<(), Error> {
        let package = &self.request.source;
        match package.prove_descriptor() {
            Err(Error::DigestMismatch { file, expected, computed, .. }) if self.request.rehash => {
                self.repairs.push(Repair::Digest { file, expected, computed });
            }
            proven => proven?,
        }
        for warning in package.warnings() {
            self.repairs.push(Repair::Archive { problem: warning.clone() });
        }
        match package.manifest() {
            Some(manifest) => {
                if !self.request.rehash {
                    // Its warnings are repairs here; its errors are about what is signed.
                    not_proven(package, manifest)?;
                }
                let found = manifest_repairs(package, manifest, self.request.algorithm);
                self.repairs.extend(found);
                Ok(())
            }
            None if package.is_in_order() => Ok(()),
            None => {
                self.repairs.push(Repair::Manifest { algorithms: Vec::new() });
                Ok(())
            }
        }
    }

    fn look_at_files(&mut self, names: Names) -> Result<(), Error> {
        let package = &self.request.source;
        package.check_fetched()?;
        for (reference, file) in package.envelope().references().iter().zip(names.into_vec()) {
            let found = package.file(reference.href());
            let planned = PlannedFile {
                reference: reference.clone(),
                file,
                size_bytes: found.and_then(PackageFile::size_bytes),
                is_stream: is_stream(package, reference),
            };
            self.repairs.extend(shape_repairs(&planned));
            if let Some(found) = found {
                self.repairs.extend(self.check_size(&planned, found.stored_bytes())?);
            }
            self.files.push(planned);
        }
        Ok(())
    }

    /// A size that is not the promised one is repaired if something else proves the file whole.
    fn check_size(&self, file: &PlannedFile, found: u64) -> Result<Option<Repair>, Error> {
        let stated = file.reference.size_bytes().filter(|stated| *stated != found);
        // Chunks and compressed files prove themselves, and get another size anyway.
        let Some(stated) = stated.filter(|_| !is_packed(&file.reference)) else { return Ok(None) };
        let package = &self.request.source;
        // Of a package in a stream, the manifest may be at the end.
        let is_promised = package.promised(&file.reference).is_some();
        if is_promised || file.is_stream || self.request.rehash {
            return Ok(Some(Repair::Size { file: file.file.clone(), stated, found }));
        }
        Err(package.wrong(format!(
            "{}: the descriptor says {stated} bytes, but the file has {found}, and nothing proves \
             that it is whole; if it is, take it as it is (rehash)",
            file.source()
        )))
    }

    /// A signature that does not fit its manifest is an error, one that would not fit the new one is
    /// left out.
    fn look_at_signature(&mut self) -> Result<(), Error> {
        let request = &self.request;
        let judged = request.source.signature(&SignaturePolicy::default());
        if let (Err(error), false) = (judged, request.rehash) {
            return Err(error);
        }
        let Some(certificate) = request.source.certificate() else { return Ok(()) };
        if request.signing_key.is_some() {
            return Ok(());
        }
        if self.keeps_manifest(certificate)? {
            self.kept = Some(certificate.clone());
        } else {
            self.repairs.push(Repair::Signature);
        }
        Ok(())
    }

    /// Whether the new manifest will be the package's, to the byte, and under the same name.
    fn keeps_manifest(&self, certificate: &StoredCertificate) -> Result<bool, Error> {
        let package = &self.request.source;
        let Some(old) = package.manifest() else { return Ok(false) };
        let descriptor = self.place.own_file("ovf")?;
        let is_same = descriptor == *package.descriptor()
            && certificate.file.stem() == descriptor.stem()
            && !package.is_in_order()
            && !self.request.rehash;
        let names: Vec<FileName> = self.files.iter().map(|file| file.file.clone()).collect();
        if !is_same || self.described(&self.files, &names)? != package.envelope().bytes() {
            return Ok(false);
        }
        let mut manifest = Manifest::new();
        for name in std::iter::once(&descriptor).chain(&names) {
            let promised = old.digest(name);
            match promised.filter(|promised| promised.algorithm() == self.request.algorithm) {
                Some(digest) if manifest.push(name.clone(), *digest).is_ok() => {}
                _ => return Ok(false),
            }
        }
        Ok(old.source() == Some(&manifest.to_bytes()))
    }

    async fn space(&self) -> Option<Finding> {
        let folder = self.place.folder()?;
        let sizes = self.files.iter().filter_map(|file| file.size_bytes);
        let needed = sizes.fold(0, u64::saturating_add);
        let at = folder.clone();
        let free =
            blocking(move || nearest(&at).and_then(|folder| free_bytes(folder).ok())).await?;
        if free >= needed {
            return None;
        }
        let problem = format!("{free} bytes are free, and the package takes {needed}");
        let subject = folder.display().to_string();
        let finding = Finding::error(Check::Space, ErrorKind::NoSpace, subject, problem);
        Some(finding.advise("make room, or choose another place"))
    }

    /// The descriptor with these names and sizes; the same bytes if nothing changes.
    fn described(&self, files: &[PlannedFile], order: &[FileName]) -> Result<Vec<u8>, Error> {
        let envelope = self.request.source.envelope();
        let package = self.request.source.location();
        let unfit =
            |source| Error::Envelope { package: package.to_owned(), source: Box::new(source) };
        let mut edit = envelope.edit();
        for PlannedFile { reference, file, size_bytes, .. } in files {
            let id = reference.id();
            edit.file_href(id, file);
            if is_packed(reference) {
                edit.file_compression(id, None).file_chunk_size(id, None);
            }
            if reference.size_bytes().is_some() && size_bytes.is_some() {
                edit.file_size(id, *size_bytes);
            }
        }
        let edited = edit.apply().map_err(unfit)?;
        let ordered = edited.edit().order_references(order).apply().map_err(unfit)?;
        Ok(Envelope::into_bytes(ordered))
    }
}

impl fmt::Display for ConvertPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "convert {}", self.request.source.location())?;
        writeln!(f, "  to {}", self.place)?;
        for repair in &self.repairs {
            writeln!(f, "  {repair}")?;
        }
        for finding in &self.findings {
            writeln!(f, "  {}: {finding}", finding.severity.word())?;
        }
        Ok(())
    }
}

/// What a conversion did.  There is one only when everything was proven and lies under its name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Converted {
    /// The file that leads to the new package: its descriptor or its archive.  A package in a pipe
    /// or a store has none.
    pub package: Option<PathBuf>,
    /// The name of the new descriptor.
    pub descriptor: FileName,
    /// Whether the descriptor is the one of the package, to the byte.
    pub is_descriptor_kept: bool,
    /// Whether the new package is signed: by the key, or as it was.
    pub is_signed: bool,
    /// One entry for each file, in the order of the new package.
    pub files: Vec<ConvertedFile>,
    /// What was not as it should be, and is now.
    pub repairs: Vec<Repair>,
    /// From the start to the end.
    pub took: Duration,
}

impl Converted {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// One file of a package that was converted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConvertedFile {
    /// Its name in the package.
    pub source: FileName,
    /// Its name in the new one.
    pub file: FileName,
    /// Its size in bytes.
    pub bytes: u64,
    /// The capacity of the disk in bytes, for disks whose structure was checked.
    pub capacity_bytes: Option<u64>,
    /// Its digest in the new manifest.
    pub digest: Digest,
    /// Whether the manifest of the package agreed.
    pub by_package: bool,
}

/// What a new manifest repairs.
fn manifest_repairs(
    package: &Package,
    manifest: &Manifest,
    algorithm: DigestAlgorithm,
) -> Vec<Repair> {
    let mut repairs = Vec::new();
    let mut algorithms: Vec<DigestAlgorithm> = Vec::new();
    for entry in manifest.entries() {
        let file = entry.file();
        if !algorithms.contains(&entry.digest().algorithm()) {
            algorithms.push(entry.digest().algorithm());
        }
        if file != package.descriptor() && package.reference(file).is_none() {
            repairs.push(Repair::LeftOut { file: file.clone() });
        }
    }
    if algorithms != [algorithm] {
        repairs.push(Repair::Manifest { algorithms });
    }
    let is_unlisted = |reference: &&FileRef| match package.file(reference.href()) {
        // What lies elsewhere is refused if a manifest at the end leaves it out.
        Some(_) if package.is_promised_later() => false,
        Some(file) => !file.is_promised(),
        // How many chunks there are is not known before all have come.
        None if reference.chunk_size_bytes().is_some() => false,
        None => promised_by_name(Some(manifest), reference).is_none(),
    };
    let references = package.envelope().references().iter();
    let unlisted = references.filter(is_unlisted).map(FileRef::href);
    let descriptor = Some(package.descriptor()).filter(|name| manifest.digest(name).is_none());
    let unlisted = descriptor.into_iter().chain(unlisted);
    repairs.extend(unlisted.map(|file| Repair::Unlisted { file: file.clone() }));
    repairs
}

/// What is repaired in how a file is stored.
fn shape_repairs(planned: &PlannedFile) -> Vec<Repair> {
    let PlannedFile { reference, file, .. } = planned;
    let from = reference.href();
    let mut repairs = Vec::new();
    if reference.url().is_some() {
        repairs.push(Repair::Fetched { file: file.clone() });
    }
    if reference.chunk_size_bytes().is_some() {
        repairs.push(Repair::Joined { file: file.clone() });
    }
    if is_compressed(reference) {
        repairs.push(Repair::Inflated { file: file.clone() });
    }
    if from != file {
        repairs.push(Repair::Name { from: from.clone(), to: file.clone() });
    }
    repairs
}

/// Whether the package has a file compressed (DSP0243 1.1.0 §7.1).
fn is_compressed(reference: &FileRef) -> bool {
    reference.compression().is_some_and(|name| name != "identity")
}

/// Whether a file is a stream-optimized disk: by its first bytes, or else by what the descriptor says.
fn is_stream(package: &Package, reference: &FileRef) -> bool {
    let disks = package.envelope().disks().iter();
    let mut formats = disks
        .filter(|disk| disk.file_ref() == Some(reference.id()))
        .map(|disk| disk.format().rsplit('#').next().unwrap_or_default());
    let is_said = || formats.any(|format| format.eq_ignore_ascii_case("streamOptimized"));
    package.is_stream(reference).unwrap_or_else(is_said)
}

/// What is left when the runtime ends before a conversion does.
const LEFT_AT_SHUTDOWN: &str = "the runtime was shut down before the conversion ended; files that \
                                end in .partial may be left";
