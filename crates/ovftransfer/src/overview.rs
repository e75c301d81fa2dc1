//! A package that is only looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::envelope::Disk;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_ovf::ova::Ova;

use crate::error::Error;
use crate::store::file::FileSource;
use crate::store::local::file_name;
use crate::store::local::only_descriptor;
use crate::store::local::open_file;
use crate::store::local::open_manifest;
use crate::store::local::read_limited;
use crate::store::local::reading;
use crate::store::package::check_descriptor;
use crate::store::parts::DESCRIPTOR_BYTES_MAX;
use crate::store::parts::MANIFEST_BYTES_MAX;
use crate::store::parts::parse_manifest;

/// A package as far as its descriptor and its headers tell.
///
/// In contrast to a [`Package`](crate::Package), nothing can be imported from it, and its files
/// need not be there.  The descriptor is still compared with the manifest.  Of an OVA only headers,
/// descriptor and manifest are read, so that its size does not matter.
#[derive(Debug)]
pub struct Overview {
    path: PathBuf,
    descriptor: FileName,
    envelope: Envelope,
    manifest: Option<Manifest>,
    has_certificate: bool,
    is_ova: bool,
    files: BTreeMap<FileName, u64>,
    size_bytes: u64,
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
        let overview = if kind.is_dir() {
            Self::of_descriptor(&only_descriptor(path)?)?
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf")) {
            Self::of_descriptor(path)?
        } else {
            Self::of_ova(path)?
        };
        check_descriptor(&overview.descriptor, &overview.envelope, overview.manifest())?;
        Ok(overview)
    }

    /// Where the package lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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

    /// Whether the package has a certificate.  It has not been checked.
    #[must_use]
    pub const fn has_certificate(&self) -> bool {
        self.has_certificate
    }

    /// Whether the package is one file.
    #[must_use]
    pub const fn is_ova(&self) -> bool {
        self.is_ova
    }

    /// Size in bytes of a referenced file as it is there; nothing if it is missing.
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

    /// Size of the whole package in bytes, as far as it is there.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Referenced files that are not there.
    pub fn missing(&self) -> impl Iterator<Item = &FileName> {
        let references = self.envelope.references().iter().map(FileRef::href);
        references.filter(|href| !self.files.contains_key(*href))
    }

    /// What is odd about the package.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn of_descriptor(path: &Path) -> Result<Self, Error> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let envelope = parse(path, read_limited(path, DESCRIPTOR_BYTES_MAX)?)?;
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
        let certificate = here(["cert", "CERT"]);
        let around = [size(path), here(["mf", "MF"]), certificate];
        let sizes = around.into_iter().flatten().chain(files.values().copied());
        Ok(Self {
            path: path.to_owned(),
            descriptor: file_name(path)?,
            manifest,
            has_certificate: certificate.is_some(),
            is_ova: false,
            size_bytes: sizes.fold(0, u64::saturating_add),
            files,
            warnings: Vec::new(),
            envelope,
        })
    }

    fn of_ova(path: &Path) -> Result<Self, Error> {
        let package = path.display().to_string();
        let (file, size_bytes) = open_file(path)?;
        let ova = Ova::index(&*file)
            .map_err(|source| Error::Ova { package: package.clone(), source: Box::new(source) })?;
        let read = |member: &ovftransfer_ovf::ova::Member, limit_bytes| {
            FileSource::new(Arc::clone(&file), member.offset_bytes(), member.size_bytes())
                .read(limit_bytes)
                .map_err(|error| reading(path, error))
        };
        let member = ova.descriptor();
        let envelope = parse(path, read(member, DESCRIPTOR_BYTES_MAX)?)?;
        let manifest = match ova.manifest() {
            Some(member) => {
                let bytes = read(member, MANIFEST_BYTES_MAX)?;
                Some(parse_manifest(&format!("{package}: {}", member.name()), &bytes)?)
            }
            None => None,
        };
        let sizes = envelope.references().iter().filter_map(|file| {
            let member = ova.member(file.href())?;
            Some((file.href().clone(), member.size_bytes()))
        });
        let is_certificate =
            |member: &ovftransfer_ovf::ova::Member| member.name().has_extension("cert");
        Ok(Self {
            path: path.to_owned(),
            descriptor: member.name().clone(),
            manifest,
            has_certificate: ova.members().iter().any(is_certificate),
            is_ova: true,
            files: sizes.collect(),
            size_bytes,
            warnings: ova.warnings().iter().map(ToString::to_string).collect(),
            envelope,
        })
    }
}

fn parse(path: &Path, bytes: Vec<u8>) -> Result<Envelope, Error> {
    let package = path.display().to_string();
    Envelope::parse_alone(bytes)
        .map_err(|source| Error::Envelope { package, source: Box::new(source) })
}
