//! A package that is only looked at.

use std::collections::BTreeMap;
use std::path::Path;

use futures::StreamExt;
use futures::TryStreamExt;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::certificate::Signature;
use ovftransfer_ovf::envelope::Disk;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_ovf::ova::Rules;

use crate::error::Error;
use crate::signature::Sealed;
use crate::signature::SignaturePolicy;
use crate::signature::StoredCertificate;
use crate::store::ByteStream;
use crate::store::PackageFiles;
use crate::store::fetch;
use crate::store::fetch::FetchOptions;
use crate::store::fetch::Reached;
use crate::store::in_order;
use crate::store::local;
use crate::store::lookup::Lookup;
use crate::store::lookup::Stocked;
use crate::store::package::check_descriptor;
use crate::store::parts::DESCRIPTOR_BYTES_MAX;
use crate::store::parts::Proofs;
use crate::store::parts::stored_bytes;
use crate::store::url::PackageUrl;

/// A package as far as its descriptor and its headers tell.
///
/// In contrast to a [`Package`](crate::Package), nothing can be imported from it, and its files
/// need not be there.  The descriptor is still compared with the manifest.  Of an OVA only headers,
/// descriptor and manifest are read, so that its size does not matter.
///
/// | where it is | how it is looked at | read |
/// |---|---|---|
/// | a folder, a descriptor, an OVA of this machine | [`read`](Self::read) | headers |
/// | a web server | [`fetch`](Self::fetch) | headers, if the server serves ranges |
/// | a pipe, standard input | [`from_stream`](Self::from_stream) | up to the first file |
/// | a store of the caller's | [`from_files`](Self::from_files) | the small files |
#[derive(Debug)]
pub struct Overview {
    location: String,
    descriptor: FileName,
    envelope: Envelope,
    manifest: Option<Manifest>,
    certificate: Option<StoredCertificate>,
    is_ova: bool,
    is_whole: bool,
    files: BTreeMap<FileName, u64>,
    size_bytes: Option<u64>,
    warnings: Vec<String>,
}

impl Overview {
    /// Looks at a descriptor (`.ovf`), an OVA, or a folder with exactly one descriptor.
    ///
    /// Blocks: call it from a thread that may.
    ///
    /// # Errors
    ///
    /// [`Error::Local`] if a file cannot be read; [`Error::Envelope`], [`Error::Manifest`],
    /// [`Error::Ova`] and [`Error::Package`] if it is not a package; [`Error::DigestMismatch`] if
    /// the manifest disagrees about the descriptor.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::read_by(Rules::Strict, path)
    }

    /// [Looks](Self::read) at a package; if it is an OVA, by other rules than the strict ones.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn read_by(rules: Rules, path: &Path) -> Result<Self, Error> {
        let (files, descriptor) = local::reach(path, rules)?;
        local::at_once(Self::of(&*files, &descriptor))
    }

    /// Looks at a package on a web server: a descriptor (`.ovf`) with its files beside it, or an
    /// OVA, which every other name is taken for.
    ///
    /// Of an OVA the headers are read, by ranges.  If the server serves none, it is read
    /// [as a stream](Self::from_stream).
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), and [`Error::Stream`] for the way to the server and for what
    /// it answers.
    pub async fn fetch(url: &PackageUrl, options: &FetchOptions) -> Result<Self, Error> {
        let location = url.to_string();
        match fetch::reach(url, options).await? {
            Reached::Files(files, descriptor) => Self::of(&*files, &descriptor).await,
            Reached::Stream(body) => Self::from_stream_by(options.rules, body, location).await,
        }
    }

    /// Looks at an OVA that comes as a stream, and reads it only up to the header of the first file
    /// after the descriptor.
    ///
    /// What stands behind that is not known: neither which files are there, nor a manifest and a
    /// certificate at the end.  [`is_whole`](Self::is_whole) tells.
    ///
    /// `location` stands for the stream in messages.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), and [`Error::Stream`] if the stream breaks.
    pub async fn from_stream(
        stream: ByteStream,
        location: impl Into<String>,
    ) -> Result<Self, Error> {
        Self::from_stream_by(Rules::Strict, stream, location).await
    }

    /// [Looks](Self::from_stream) at an OVA that comes as a stream, by other rules than the strict
    /// ones.
    ///
    /// # Errors
    ///
    /// Those of [`from_stream`](Self::from_stream).
    pub async fn from_stream_by(
        rules: Rules,
        stream: ByteStream,
        location: impl Into<String>,
    ) -> Result<Self, Error> {
        let location = location.into();
        let mut front = in_order::front(stream, &location, rules).await?;
        let next = front.next().map(|next| (next.name().clone(), next.size_bytes()));
        let overview = Self {
            envelope: parse(&location, std::mem::take(&mut front.bytes))?,
            location,
            descriptor: front.descriptor.clone(),
            manifest: front.manifest.take(),
            certificate: front.certificate.take(),
            is_ova: true,
            is_whole: next.is_none(),
            files: next.into_iter().collect(),
            size_bytes: None,
            warnings: Vec::new(),
        };
        overview.checked()
    }

    /// Looks at a package in a store of the caller's.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), and [`Error::Stream`] for those of the store.
    pub async fn from_files(
        files: &dyn PackageFiles,
        descriptor: &FileName,
    ) -> Result<Self, Error> {
        Self::of(&Stocked(files), descriptor).await
    }

    /// Where the package lies, for people: a path, a URL without anything secret, a name.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The name of the descriptor in the package.
    #[must_use]
    pub const fn descriptor(&self) -> &FileName {
        &self.descriptor
    }

    /// The descriptor.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The manifest, if the package has one.
    #[must_use]
    pub const fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Whether the package has a certificate.
    #[must_use]
    pub const fn has_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    /// The signature of the package, if it has one and it has been seen.
    ///
    /// # Errors
    ///
    /// As [`Package::signature`](crate::Package::signature).
    pub fn signature(&self, policy: &SignaturePolicy) -> Result<Option<Signature>, Error> {
        let manifest = self.manifest.as_ref();
        if !self.is_whole && (manifest.is_none() || self.certificate.is_none()) {
            return Ok(None);
        }
        let certificate = self.certificate.as_ref();
        let (package, descriptor) = (self.location.as_str(), &self.descriptor);
        policy.judge(&Sealed { package, descriptor, manifest, certificate })
    }

    /// Whether the package is one file.
    #[must_use]
    pub const fn is_ova(&self) -> bool {
        self.is_ova
    }

    /// Whether all of the package has been looked at, as is the case but for a
    /// [stream](Self::from_stream).
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Size in bytes of a referenced file as it is there, all of its chunks together; nothing if it
    /// or a chunk is missing, or was not looked at.
    #[must_use]
    pub fn size_of(&self, file: &FileName) -> Option<u64> {
        self.files.get(file).copied()
    }

    /// Size in bytes of the file with a disk's content: as it is there, else as the descriptor
    /// says; nothing for a disk that is created empty.
    #[must_use]
    pub fn download_bytes(&self, disk: &Disk) -> Option<u64> {
        let file = self.envelope.file(disk.file_ref()?)?;
        self.size_of(file.href()).or_else(|| file.size_bytes())
    }

    /// Size of the whole package in bytes, as far as it is there; unknown of a stream.
    #[must_use]
    pub const fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// Referenced files that are not there; none of a package that was not looked at to its end.
    pub fn missing(&self) -> impl Iterator<Item = &FileName> {
        let references = self.envelope.references().iter().map(FileRef::href);
        references.filter(|href| self.is_whole && !self.files.contains_key(*href))
    }

    /// What is odd about the package.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn checked(self) -> Result<Self, Error> {
        check_descriptor(&self.descriptor, &self.envelope, self.manifest())?;
        Ok(self)
    }

    async fn of(files: &dyn Lookup, descriptor: &FileName) -> Result<Self, Error> {
        let location = files.location();
        let bytes = files.small(descriptor, DESCRIPTOR_BYTES_MAX).await?.ok_or_else(|| {
            let problem = format!("the package needs {descriptor}, but it is not there");
            Error::Package { package: location.clone(), problem }
        })?;
        let mut size_bytes = bytes.len() as u64;
        let envelope = parse(&location, bytes)?;
        let proofs = Proofs::read(files, descriptor).await?;
        size_bytes += proofs.size_bytes;
        let found: Vec<(FileName, Option<u64>)> = futures::stream::iter(envelope.references())
            .map(|reference| async move {
                let size = stored_bytes(files, reference).await?;
                Ok::<_, Error>((reference.href().clone(), size))
            })
            .buffered(LOOK_AT_ONCE)
            .try_collect()
            .await?;
        let sizes: BTreeMap<FileName, u64> =
            found.into_iter().filter_map(|(file, size)| Some((file, size?))).collect();
        let all = sizes.values().copied().fold(size_bytes, u64::saturating_add);
        let overview = Self {
            size_bytes: Some(files.archive_bytes().unwrap_or(all)),
            descriptor: descriptor.clone(),
            manifest: proofs.manifest,
            certificate: proofs.certificate,
            is_ova: files.archive_bytes().is_some(),
            is_whole: true,
            files: sizes,
            warnings: files.warnings(),
            envelope,
            location,
        };
        overview.checked()
    }
}

fn parse(location: &str, bytes: Vec<u8>) -> Result<Envelope, Error> {
    let package = location.to_owned();
    Envelope::parse_alone(bytes)
        .map_err(|source| Error::Envelope { package, source: Box::new(source) })
}

/// Files that are asked for at the same time: each question is a way to a server and back.
const LOOK_AT_ONCE: usize = 8;
