//! A package that is read: its descriptor, its manifest, and where its files are.

use std::path::Path;
use std::sync::Arc;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::certificate::Signature;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_ovf::ova::Rules;

use crate::error::Error;
use crate::inspect::Hasher;
use crate::kind::Declared;
use crate::kind::DiskFileFormat;
use crate::signature::Sealed;
use crate::signature::SignaturePolicy;
use crate::signature::StoredCertificate;
use crate::store::ByteStream;
use crate::store::PackageFiles;
use crate::store::fetch;
use crate::store::fetch::FetchOptions;
use crate::store::in_order;
use crate::store::in_order::InOrder;
use crate::store::local;
use crate::store::lookup::Stocked;
use crate::store::parts::PackageFile;
use crate::store::parts::Parts;
use crate::store::parts::is_disk;
use crate::store::reference::ALL_ALGORITHMS;
use crate::store::reference::is_packed;
use crate::store::reference::promised_by_name;
use crate::store::remote;
use crate::store::url::PackageUrl;

/// A package that has been opened and read as far as that costs nothing: its descriptor, its
/// manifest and the sizes of its files, but none of the disks.
///
/// | where it is | how it is opened | read |
/// |---|---|---|
/// | a folder, a descriptor, an OVA of this machine | [`open`](Self::open) | in parallel |
/// | a web server | [`fetch`](Self::fetch) | in parallel, if the server serves ranges |
/// | a pipe, standard input | [`from_stream`](Self::from_stream) | once, in its order |
/// | a store of the caller's | [`from_files`](Self::from_files) | in parallel |
#[derive(Debug)]
pub struct Package {
    parts: Parts,
}

impl Package {
    /// Opens a descriptor (`.ovf`), an OVA, or a folder with exactly one descriptor.
    ///
    /// Blocks: call it from a thread that may.
    ///
    /// # Errors
    ///
    /// [`Error::Local`] if a file cannot be read; [`Error::Envelope`], [`Error::Manifest`],
    /// [`Error::Ova`] and [`Error::Package`] if the package is not valid or lacks a file.  The
    /// manifest is not compared with anything yet, see [`prove_descriptor`](Self::prove_descriptor).
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_by(Rules::Strict, path)
    }

    /// [Opens](Self::open) a package; if it is an OVA, by other rules than the strict ones.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_by(rules: Rules, path: &Path) -> Result<Self, Error> {
        Ok(Self::new(local::open(path, rules)?))
    }

    /// Opens a package on a web server: a descriptor (`.ovf`) with its files beside it, or an OVA,
    /// which every other name is taken for.
    ///
    /// An OVA is not downloaded: its members are read by ranges, several at once.  If the server
    /// serves no ranges, or does not say how to recognise the file (`ETag`, `Last-Modified`), the
    /// OVA is read once, in its order.  A file that is not the same any more at a later request is
    /// an error, never a mixture.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`Error::Stream`] for the way to the server and for what
    /// it answers.
    pub async fn fetch(url: &PackageUrl, options: &FetchOptions) -> Result<Self, Error> {
        Ok(Self::new(fetch::open(url, options).await?))
    }

    /// Opens a package in a store of the caller's.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`Error::Stream`] for those of the store.
    pub async fn from_files(
        files: &dyn PackageFiles,
        descriptor: &FileName,
    ) -> Result<Self, Error> {
        Ok(Self::new(Parts::read(&Stocked(files), descriptor).await?))
    }

    /// Reads an OVA from its first byte on, as it comes: up to the first file after the descriptor
    /// and the manifest.
    ///
    /// Such a package can be imported or checked once.  Its files move one after the other, in the
    /// order of the archive, and no file can be tried a second time.  If the manifest stands at
    /// the end, everything is held back until it has been compared.
    ///
    /// `location` stands for the stream in messages.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`Error::Stream`] if the stream breaks.
    pub async fn from_stream(
        stream: ByteStream,
        location: impl Into<String>,
    ) -> Result<Self, Error> {
        Self::from_stream_by(Rules::Strict, stream, location).await
    }

    /// [Reads](Self::from_stream) an OVA as it comes, by other rules than the strict ones.
    ///
    /// # Errors
    ///
    /// Those of [`from_stream`](Self::from_stream).
    pub async fn from_stream_by(
        rules: Rules,
        stream: ByteStream,
        location: impl Into<String>,
    ) -> Result<Self, Error> {
        Ok(Self::new(in_order::open(stream, location.into(), rules).await?))
    }

    /// Finds the files that the descriptor names by an address on a web server (DSP0243 1.1.0
    /// §7.1), so that they can be imported and checked like any other.
    ///
    /// Nothing is fetched before, and a package with such files is refused.  Only `https` is taken,
    /// and `http` if the package came over `http` itself.  If the package came from a web server, a pin
    /// in `options` is for that host alone; user and password of its address are for nobody else.
    ///
    /// # Errors
    ///
    /// [`Error::Package`] for an address that is not taken and a file that is not there;
    /// [`Error::Stream`] for the way to the server and for what it answers.
    pub async fn fetch_references(&mut self, options: &FetchOptions) -> Result<(), Error> {
        let found =
            remote::fetch(&self.parts.location, &self.parts.envelope, self.manifest(), options)
                .await?;
        // The manifest of a stream may come later.
        let late = match self.is_promised_later() {
            true => ALL_ALGORITHMS.to_vec(),
            false => Vec::new(),
        };
        let found = found.into_iter();
        self.parts.files.extend(found.map(|(name, file)| (name, file.recording(late.clone()))));
        Ok(())
    }

    /// Refuses a package whose files are not all found.
    pub(crate) fn check_fetched(&self) -> Result<(), Error> {
        let mut references = self.parts.envelope.references().iter();
        let is_missing = |one: &&FileRef| one.url().is_some() && self.file(one.href()).is_none();
        match references.find(is_missing).and_then(remote::refusal) {
            Some(problem) => Err(self.wrong(problem)),
            None => Ok(()),
        }
    }

    /// Where the package lies, for people: a path, a URL without anything secret, a name.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.parts.location
    }

    /// The name of the descriptor in the package.
    #[must_use]
    pub const fn descriptor(&self) -> &FileName {
        &self.parts.descriptor
    }

    /// The descriptor.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.parts.envelope
    }

    /// The manifest, if the package has one.
    ///
    /// Of an OVA that is read in its order: if it stands before the first file.
    #[must_use]
    pub const fn manifest(&self) -> Option<&Manifest> {
        self.parts.manifest.as_ref()
    }

    /// Whether the package has a certificate.
    ///
    /// Of an OVA that is read in its order: if it stands before the first file.
    #[must_use]
    pub const fn has_certificate(&self) -> bool {
        self.parts.certificate.is_some()
    }

    /// The signature of the package, if it has one.
    ///
    /// Of an OVA that is read in its order: if certificate and manifest stand before the first file.
    /// The files are not compared with the manifest by this.
    ///
    /// # Errors
    ///
    /// [`Error::Certificate`] if it does not fit the manifest, or cannot be read; [`Error::Package`]
    /// if there is no manifest, or one that leaves the descriptor out; [`Error::Unsigned`] if the
    /// policy requires more than there is.
    pub fn signature(&self, policy: &SignaturePolicy) -> Result<Option<Signature>, Error> {
        if self.may_be_signed_later() {
            return Ok(None);
        }
        policy.judge(&self.sealed(self.parts.manifest.as_ref(), self.parts.certificate.as_ref()))
    }

    /// Whether only the end of a stream tells whether and how the package is signed.
    pub(crate) const fn may_be_signed_later(&self) -> bool {
        self.parts.in_order.is_some()
            && (self.parts.manifest.is_none() || self.parts.certificate.is_none())
    }

    /// Whether only the end of a stream tells what the manifest says.
    pub(crate) const fn is_promised_later(&self) -> bool {
        self.parts.in_order.is_some() && self.parts.manifest.is_none()
    }

    /// The certificate that has come.
    pub(crate) const fn certificate(&self) -> Option<&StoredCertificate> {
        self.parts.certificate.as_ref()
    }

    /// What a signature is about, with what the end of a stream has told.
    pub(crate) fn sealed<'s>(
        &'s self,
        manifest: Option<&'s Manifest>,
        certificate: Option<&'s StoredCertificate>,
    ) -> Sealed<'s> {
        Sealed {
            package: &self.parts.location,
            descriptor: &self.parts.descriptor,
            manifest,
            certificate,
        }
    }

    /// What is odd about the package but does no harm.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.parts.warnings
    }

    /// Whether the package can be read once only, in its own order.
    #[must_use]
    pub const fn is_in_order(&self) -> bool {
        self.parts.in_order.is_some()
    }

    /// A file of the package, by its name in the descriptor; none if it has yet to come.
    pub(crate) fn file(&self, name: &FileName) -> Option<&PackageFile> {
        self.parts.files.get(name)
    }

    /// The descriptor's reference that stands for a file, by its name there or the file's own.
    pub(crate) fn reference(&self, name: &FileName) -> Option<&FileRef> {
        self.parts.envelope.references().get(self.parts.by_name.subject(name)?)
    }

    /// The descriptor's reference that a file belongs to.
    pub(crate) fn owner(&self, file: &FileName) -> Option<&FileRef> {
        self.parts.envelope.references().get(self.parts.by_name.owner(file)?)
    }

    /// The digest that the manifest promises for the content of a reference, if the content is
    /// what the package has in one file.
    pub(crate) fn promised(&self, reference: &FileRef) -> Option<Digest> {
        match self.file(reference.href()) {
            Some(file) if file.content().is_some() => None,
            Some(file) => file.stored().first()?.promised,
            None if is_packed(reference) => None,
            None => promised_by_name(self.manifest(), reference),
        }
    }

    /// Files that the manifest names and the package does not have.
    pub(crate) fn missing(&self) -> &[FileName] {
        &self.parts.missing
    }

    /// Whether a file is a stream-optimized disk, by its first bytes; nothing if they are not known,
    /// or those of no disk.
    pub(crate) fn is_stream(&self, reference: &FileRef) -> Option<bool> {
        let declared = Declared::of(self.envelope(), reference)?;
        let file = self.file(reference.href())?;
        let kind = declared.kind(file.head()?, file.size_bytes()).ok()?;
        Some(kind == DiskFileFormat::StreamOptimized)
    }

    /// Whether a file is to be checked as a stream-optimized disk: every disk that is not known to
    /// be something else.
    pub(crate) fn is_checked_disk(&self, reference: &FileRef) -> bool {
        let is_said = || {
            let declared = Declared::of(self.envelope(), reference);
            declared.is_some_and(|declared| !declared.says_other())
        };
        self.is_stream(reference).unwrap_or_else(is_said)
    }

    /// Whether a referenced file is the content of a disk.
    pub(crate) fn is_disk(&self, file: &FileRef) -> bool {
        is_disk(&self.parts.envelope, file)
    }

    /// The files as they come, if they come in an order of their own.
    pub(crate) const fn in_order(&self) -> Option<&Arc<InOrder>> {
        self.parts.in_order.as_ref()
    }

    /// Text for messages.
    pub(crate) fn display(&self) -> String {
        self.parts.location.clone()
    }

    /// An error about the package.
    pub(crate) fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::Package { package: self.display(), problem: problem.into() }
    }

    const fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Compares the descriptor with the manifest that has come, if one has.
    ///
    /// Whoever plans an import, checks or converts the package does this first.
    ///
    /// # Errors
    ///
    /// [`Error::DigestMismatch`] if they disagree: somebody has changed the descriptor.
    pub fn prove_descriptor(&self) -> Result<(), Error> {
        check_descriptor(&self.parts.descriptor, &self.parts.envelope, self.manifest())
    }

    /// Compares the descriptor with a manifest.
    pub(crate) fn check_descriptor(&self, manifest: &Manifest) -> Result<(), Error> {
        check_descriptor(&self.parts.descriptor, &self.parts.envelope, Some(manifest))
    }
}

/// Compares a descriptor with what the manifest says about it, if it does.
pub(crate) fn check_descriptor(
    descriptor: &FileName,
    envelope: &Envelope,
    manifest: Option<&Manifest>,
) -> Result<(), Error> {
    let Some(expected) = manifest.and_then(|manifest| manifest.digest(descriptor)) else {
        return Ok(());
    };
    let computed = Hasher::digest(expected.algorithm(), envelope.bytes());
    if computed == *expected {
        return Ok(());
    }
    Err(Error::DigestMismatch {
        file: descriptor.clone(),
        against: "the package's manifest",
        expected: Box::new(*expected),
        computed: Box::new(computed),
    })
}
