//! What makes a package, whatever it is read from, and how it is found among files.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures::StreamExt;
use futures::TryStreamExt;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::ManifestEntry;
use ovftransfer_ovf::envelope::FileRef;

use crate::error::Error;
use crate::signature::StoredCertificate;
use crate::store::PackageFiles;
use crate::store::Source;
use crate::store::in_order::InOrder;

/// One file of a package, and what is known about it beforehand.
#[derive(Clone, Debug)]
pub(crate) struct PackageFile {
    source: Arc<dyn Source>,
    size_bytes: u64,
    /// The first bytes, where they were read.
    head: Option<Vec<u8>>,
}

impl PackageFile {
    pub(crate) fn new(source: Arc<dyn Source>, size_bytes: u64, head: Option<Vec<u8>>) -> Self {
        Self { source, size_bytes, head }
    }

    pub(crate) const fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Size in bytes.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The first bytes, at most [`HEAD_BYTES`], of a disk.
    pub(crate) fn head(&self) -> Option<&[u8]> {
        self.head.as_deref()
    }
}

/// What makes a package, whatever it is read from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) location: String,
    pub(crate) descriptor: FileName,
    pub(crate) envelope: Envelope,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) certificate: Option<StoredCertificate>,
    pub(crate) files: BTreeMap<FileName, PackageFile>,
    pub(crate) missing: Vec<FileName>,
    pub(crate) warnings: Vec<String>,
    pub(crate) in_order: Option<Arc<InOrder>>,
}

impl Parts {
    /// Finds and reads what makes a package among `files`.
    pub(crate) async fn read(
        files: &dyn PackageFiles,
        descriptor: &FileName,
    ) -> Result<Self, Error> {
        let location = files.location();
        let reader = Reader { files, location: &location };
        let source = reader.needed(descriptor).await?;
        let bytes = reader.all(descriptor, &*source, DESCRIPTOR_BYTES_MAX).await?;
        let envelope = parse_envelope(&location, bytes)?;
        let manifest = reader.manifest(descriptor).await?;
        let certificate = reader.certificate(descriptor).await?;
        let wanted: Vec<(FileName, bool)> = envelope
            .references()
            .iter()
            .map(|file| (file.href().clone(), is_disk(&envelope, file)))
            .collect();
        let found = futures::stream::iter(wanted)
            .map(|(file, is_disk)| reader.file(file, is_disk))
            .buffered(OPEN_AT_ONCE)
            .try_collect()
            .await?;
        let mut missing = Vec::new();
        for entry in manifest.as_ref().map_or(&[][..], Manifest::entries) {
            let file = entry.file();
            let is_known = file == descriptor
                || envelope.references().iter().any(|known| known.href() == file);
            if !is_known && reader.find(file).await?.is_none() {
                missing.push(file.clone());
            }
        }
        let (descriptor, files) = (descriptor.clone(), found);
        let (warnings, in_order) = (Vec::new(), None);
        Ok(Self {
            location,
            descriptor,
            envelope,
            manifest,
            certificate,
            files,
            missing,
            warnings,
            in_order,
        })
    }
}

/// Reads small things from a store, and says what is wrong with it in words for people.
struct Reader<'r> {
    files: &'r dyn PackageFiles,
    location: &'r str,
}

impl Reader<'_> {
    async fn find(&self, file: &FileName) -> Result<Option<Arc<dyn Source>>, Error> {
        self.files.find(file).await.map_err(|error| self.broken(file, error))
    }

    async fn needed(&self, file: &FileName) -> Result<Arc<dyn Source>, Error> {
        self.find(file).await?.ok_or_else(|| Error::Package {
            package: self.location.to_owned(),
            problem: format!("the package needs {file}, but it is not there"),
        })
    }

    async fn all(
        &self,
        file: &FileName,
        source: &dyn Source,
        limit_bytes: u64,
    ) -> Result<Vec<u8>, Error> {
        let broken = |error| self.broken(file, error);
        let too_large = || too_large(self.location, file, limit_bytes);
        if source.size_bytes().is_some_and(|size_bytes| size_bytes > limit_bytes) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        let mut stream = source.open().await.map_err(broken)?;
        while let Some(chunk) = stream.try_next().await.map_err(broken)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit_bytes {
                return Err(too_large());
            }
        }
        match source.size_bytes() {
            Some(expected) if expected != bytes.len() as u64 => {
                let text = format!("the file has {expected} bytes, but {} came", bytes.len());
                Err(broken(io::Error::new(io::ErrorKind::UnexpectedEof, text)))
            }
            _ => Ok(bytes),
        }
    }

    /// The manifest; packers for Windows write its name in upper case too.
    async fn manifest(&self, descriptor: &FileName) -> Result<Option<Manifest>, Error> {
        for extension in ["mf", "MF"] {
            let Ok(file) = FileName::new(format!("{}.{extension}", descriptor.stem())) else {
                continue;
            };
            if let Some(source) = self.find(&file).await? {
                let bytes = self.all(&file, &*source, MANIFEST_BYTES_MAX).await?;
                return parse_manifest(&format!("{}: {file}", self.location), &bytes).map(Some);
            }
        }
        Ok(None)
    }

    async fn certificate(&self, descriptor: &FileName) -> Result<Option<StoredCertificate>, Error> {
        for extension in ["cert", "CERT"] {
            let Ok(file) = FileName::new(format!("{}.{extension}", descriptor.stem())) else {
                continue;
            };
            if let Some(source) = self.find(&file).await? {
                let bytes = self.all(&file, &*source, CERTIFICATE_BYTES_MAX).await?;
                return Ok(Some(StoredCertificate { file, bytes }));
            }
        }
        Ok(None)
    }

    async fn file(&self, file: FileName, is_disk: bool) -> Result<(FileName, PackageFile), Error> {
        let source = self.needed(&file).await?;
        let size_bytes = source.size_bytes().ok_or_else(|| Error::Package {
            package: self.location.to_owned(),
            problem: format!("the size of {file} is not known beforehand, as a server needs it"),
        })?;
        let head = if is_disk {
            Some(read_head(&*source).await.map_err(|error| self.broken(&file, error))?)
        } else {
            None
        };
        Ok((file, PackageFile { source, size_bytes, head }))
    }

    fn broken(&self, file: &FileName, source: io::Error) -> Error {
        stopped(file, self.location, 0, source)
    }
}

/// Reads the first bytes of a file, and no more than it takes.
async fn read_head(source: &dyn Source) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut stream = source.open().await?;
    while head.len() < HEAD_BYTES {
        let Some(chunk) = stream.try_next().await? else { break };
        head.extend(chunk.iter().take(HEAD_BYTES - head.len()));
    }
    Ok(head)
}

/// Whether a referenced file is the content of a disk.
pub(crate) fn is_disk(envelope: &Envelope, file: &FileRef) -> bool {
    envelope.disks().iter().any(|disk| disk.file_ref() == Some(file.id()))
}

/// Files that the manifest names and the package does not have.
pub(crate) fn missing(
    manifest: Option<&Manifest>,
    has: impl Fn(&FileName) -> bool,
) -> Vec<FileName> {
    let files = manifest.map_or(&[][..], Manifest::entries).iter().map(ManifestEntry::file);
    files.filter(|file| !has(file)).cloned().collect()
}

pub(crate) fn parse_envelope(package: &str, bytes: Vec<u8>) -> Result<Envelope, Error> {
    let package = package.to_owned();
    Envelope::parse(bytes).map_err(|source| Error::Envelope { package, source: Box::new(source) })
}

pub(crate) fn parse_manifest(package: &str, bytes: &[u8]) -> Result<Manifest, Error> {
    Manifest::parse(bytes)
        .map_err(|source| Error::Manifest { package: package.to_owned(), source: Box::new(source) })
}

/// A descriptor or a manifest that is not read.
pub(crate) fn too_large(package: &str, file: &FileName, limit_bytes: u64) -> Error {
    let problem = format!("{file} is larger than the limit of {limit_bytes} bytes");
    Error::Package { package: package.to_owned(), problem }
}

/// Reading a file of a package did not go on.
pub(crate) fn stopped(file: &FileName, at: &str, at_byte: u64, source: io::Error) -> Error {
    let (file, at) = (file.clone(), at.to_owned());
    Error::Stream { file, side: "reading from", at, at_byte, source }
}

/// The largest descriptor that is read.  Real ones have some ten KiB; message bundles make them
/// larger, and a server takes no request above 20,000,000 bytes.
pub(crate) const DESCRIPTOR_BYTES_MAX: u64 = 4 << 20;

/// The largest manifest that is read: 30,000 lines.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// The largest certificate that is read, as far as `ovftransfer_ovf` reads it.
pub(crate) const CERTIFICATE_BYTES_MAX: u64 = 256 << 10;

/// How much of a disk is read beforehand: enough to tell what it is.
pub(crate) const HEAD_BYTES: usize = 4;

/// Files that are looked up at the same time: a package may have thousands, and each lookup is a
/// way to a server and back.
const OPEN_AT_ONCE: usize = 8;
