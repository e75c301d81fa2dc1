//! A package that is only looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use futures::TryStreamExt;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::certificate::Signature;
use ovftransfer_ovf::envelope::Disk;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_ovf::ova::Member;
use ovftransfer_ovf::ova::Ova;

use crate::error::Error;
use crate::signature::Sealed;
use crate::signature::SignaturePolicy;
use crate::signature::StoredCertificate;
use crate::store::ByteStream;
use crate::store::PackageFiles;
use crate::store::fetch;
use crate::store::fetch::FetchOptions;
use crate::store::fetch::Reached;
use crate::store::file::FileSource;
use crate::store::in_order;
use crate::store::local::file_name;
use crate::store::local::only_descriptor;
use crate::store::local::open_certificate;
use crate::store::local::open_file;
use crate::store::local::open_manifest;
use crate::store::local::read_limited;
use crate::store::local::reading;
use crate::store::package::check_descriptor;
use crate::store::parts::CERTIFICATE_BYTES_MAX;
use crate::store::parts::DESCRIPTOR_BYTES_MAX;
use crate::store::parts::MANIFEST_BYTES_MAX;
use crate::store::parts::parse_manifest;
use crate::store::parts::stopped;
use crate::store::parts::too_large;
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
        let kind = fs::metadata(path).map_err(|error| reading(path, error))?;
        if kind.is_dir() {
            Self::of_descriptor(&only_descriptor(path)?)?.checked()
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf")) {
            Self::of_descriptor(path)?.checked()
        } else {
            Self::of_ova(path)?.checked()
        }
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
            Reached::Folder(folder, descriptor) => Self::from_files(&*folder, &descriptor).await,
            Reached::Stream(body) => Self::from_stream(body, location).await,
            Reached::Ova(archive) => {
                let envelope = parse(&location, archive.descriptor.to_vec())?;
                let mut overview = Self::of_members(location, &archive.ova, envelope);
                overview.size_bytes = archive.size_bytes;
                overview.manifest = archive.manifest;
                overview.certificate = archive.certificate;
                overview.checked()
            }
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
        let location = location.into();
        let mut front = in_order::front(stream, &location).await?;
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
        let location = files.location();
        let bytes = small(files, descriptor, DESCRIPTOR_BYTES_MAX).await?.ok_or_else(|| {
            let problem = format!("the package needs {descriptor}, but it is not there");
            Error::Package { package: location.clone(), problem }
        })?;
        let mut size_bytes = bytes.len() as u64;
        let envelope = parse(&location, bytes)?;
        let mut manifest = None;
        for file in beside(descriptor, ["mf", "MF"]) {
            if let Some(bytes) = small(files, &file, MANIFEST_BYTES_MAX).await? {
                size_bytes += bytes.len() as u64;
                manifest = Some(parse_manifest(&format!("{location}: {file}"), &bytes)?);
                break;
            }
        }
        let mut certificate = None;
        for file in beside(descriptor, ["cert", "CERT"]) {
            if let Some(bytes) = small(files, &file, CERTIFICATE_BYTES_MAX).await? {
                size_bytes += bytes.len() as u64;
                certificate = Some(StoredCertificate { file, bytes });
                break;
            }
        }
        let wanted: Vec<FileName> =
            envelope.references().iter().map(|file| file.href().clone()).collect();
        let found: Vec<(FileName, Option<u64>)> = futures::stream::iter(wanted)
            .map(|file| async move {
                let size = size_of(files, &file).await?;
                Ok::<_, Error>((file, size))
            })
            .buffered(LOOK_AT_ONCE)
            .try_collect()
            .await?;
        let files: BTreeMap<FileName, u64> =
            found.into_iter().filter_map(|(file, size)| Some((file, size?))).collect();
        let overview = Self {
            size_bytes: Some(files.values().copied().fold(size_bytes, u64::saturating_add)),
            descriptor: descriptor.clone(),
            manifest,
            certificate,
            is_ova: false,
            is_whole: true,
            files,
            warnings: Vec::new(),
            envelope,
            location: location.clone(),
        };
        overview.checked()
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

    /// Size in bytes of a referenced file as it is there; nothing if it is missing, or was not
    /// looked at.
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

    fn of_descriptor(path: &Path) -> Result<Self, Error> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let location = path.display().to_string();
        let envelope = parse(&location, read_limited(path, DESCRIPTOR_BYTES_MAX)?)?;
        let manifest = open_manifest(path)?;
        let size = |path: &Path| {
            fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|there| there.len())
        };
        let here = |extensions: [&str; 2]| {
            extensions.into_iter().find_map(|extension| size(&path.with_extension(extension)))
        };
        let references = envelope.references().iter().map(FileRef::href);
        let files: BTreeMap<FileName, u64> = references
            .filter_map(|href| Some((href.clone(), size(&folder.join(href.as_str()))?)))
            .collect();
        let around = [size(path), here(["mf", "MF"]), here(["cert", "CERT"])];
        let sizes = around.into_iter().flatten().chain(files.values().copied());
        Ok(Self {
            location,
            descriptor: file_name(path)?,
            manifest,
            certificate: open_certificate(path)?,
            is_ova: false,
            is_whole: true,
            size_bytes: Some(sizes.fold(0, u64::saturating_add)),
            files,
            warnings: Vec::new(),
            envelope,
        })
    }

    fn of_ova(path: &Path) -> Result<Self, Error> {
        let location = path.display().to_string();
        let (file, size_bytes) = open_file(path)?;
        let ova = Ova::index(&*file)
            .map_err(|source| Error::Ova { package: location.clone(), source: Box::new(source) })?;
        let read = |member: &Member, limit_bytes| {
            FileSource::new(Arc::clone(&file), member.offset_bytes(), member.size_bytes())
                .read(limit_bytes)
                .map_err(|error| reading(path, error))
        };
        let envelope = parse(&location, read(ova.descriptor(), DESCRIPTOR_BYTES_MAX)?)?;
        let manifest = match ova.manifest() {
            Some(member) => {
                let bytes = read(member, MANIFEST_BYTES_MAX)?;
                Some(parse_manifest(&format!("{location}: {}", member.name()), &bytes)?)
            }
            None => None,
        };
        let certificate = match ova.certificate() {
            Some(member) => {
                let (file, bytes) = (member.name().clone(), read(member, CERTIFICATE_BYTES_MAX)?);
                Some(StoredCertificate { file, bytes })
            }
            None => None,
        };
        let overview = Self::of_members(location, &ova, envelope);
        Ok(Self { manifest, certificate, size_bytes: Some(size_bytes), ..overview })
    }

    /// An OVA, but for its manifest, its certificate and its size.
    fn of_members(location: String, ova: &Ova, envelope: Envelope) -> Self {
        let sizes = envelope.references().iter().filter_map(|file| {
            let member = ova.member(file.href())?;
            Some((file.href().clone(), member.size_bytes()))
        });
        Self {
            location,
            descriptor: ova.descriptor().name().clone(),
            manifest: None,
            certificate: None,
            is_ova: true,
            is_whole: true,
            files: sizes.collect(),
            size_bytes: None,
            warnings: ova.warnings().iter().map(ToString::to_string).collect(),
            envelope,
        }
    }
}

fn parse(location: &str, bytes: Vec<u8>) -> Result<Envelope, Error> {
    let package = location.to_owned();
    Envelope::parse_alone(bytes)
        .map_err(|source| Error::Envelope { package, source: Box::new(source) })
}

/// The names that a small file beside a descriptor may have; packers for Windows write them in
/// upper case too.
fn beside(descriptor: &FileName, extensions: [&'static str; 2]) -> impl Iterator<Item = FileName> {
    let stem = descriptor.stem().to_owned();
    extensions
        .into_iter()
        .filter_map(move |extension| FileName::new(format!("{stem}.{extension}")).ok())
}

/// Size in bytes of a file, if it is there.
async fn size_of(files: &dyn PackageFiles, file: &FileName) -> Result<Option<u64>, Error> {
    let found = files.find(file).await;
    let found = found.map_err(|error| stopped(file, &files.location(), 0, error))?;
    Ok(found.map(|source| source.size_bytes().unwrap_or_default()))
}

/// All of a small file, if it is there.
async fn small(
    files: &dyn PackageFiles,
    file: &FileName,
    limit_bytes: u64,
) -> Result<Option<Vec<u8>>, Error> {
    let location = files.location();
    let broken = |error| stopped(file, &location, 0, error);
    let Some(source) = files.find(file).await.map_err(broken)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let mut stream = source.open().await.map_err(broken)?;
    while let Some(chunk) = stream.try_next().await.map_err(broken)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit_bytes {
            return Err(too_large(&location, file, limit_bytes));
        }
    }
    Ok(Some(bytes))
}

/// Files that are asked for at the same time: each question is a way to a server and back.
const LOOK_AT_ONCE: usize = 8;
