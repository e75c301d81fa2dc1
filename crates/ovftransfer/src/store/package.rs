//! A package as it lies on disk: a folder with a descriptor, or an OVA.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::ManifestEntry;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_ovf::ova::Ova;

use crate::error::Error;
use crate::inspect::Hasher;
use crate::store::file::FileSource;

/// A package that has been opened and read as far as that costs nothing: its descriptor, its
/// manifest and the sizes of its files, but none of the disks.
#[derive(Debug)]
pub struct Package {
    path: PathBuf,
    descriptor: FileName,
    envelope: Envelope,
    manifest: Option<Manifest>,
    files: BTreeMap<FileName, Arc<FileSource>>,
    /// Files that the manifest names and the package does not have.
    missing: Vec<FileName>,
    warnings: Vec<String>,
}

impl Package {
    /// Opens a descriptor (`.ovf`), an OVA, or a folder with exactly one descriptor.
    ///
    /// Blocks: call it from a thread that may.
    ///
    /// # Errors
    ///
    /// [`Error::Local`] if a file cannot be read; [`Error::Envelope`], [`Error::Manifest`],
    /// [`Error::Ova`] and [`Error::Package`] if the package is not valid or lacks a file;
    /// [`Error::DigestMismatch`] if the manifest disagrees about the descriptor.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let kind = fs::metadata(path).map_err(|error| reading(path, error))?;
        let package = if kind.is_dir() {
            Self::open_descriptor(&only_descriptor(path)?)?
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf")) {
            Self::open_descriptor(path)?
        } else {
            Self::open_ova(path)?
        };
        package.check_descriptor()?;
        Ok(package)
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

    /// What is odd about the package but does no harm.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A file of the package, by its name in the descriptor.
    pub(crate) fn file(&self, name: &FileName) -> Option<&Arc<FileSource>> {
        self.files.get(name)
    }

    /// The digest that the manifest promises for a file.
    pub(crate) fn promised(&self, name: &FileName) -> Option<&Digest> {
        self.manifest.as_ref()?.digest(name)
    }

    /// Files that the manifest names and the package does not have.
    pub(crate) fn missing(&self) -> &[FileName] {
        &self.missing
    }

    /// Whether a referenced file is the content of a disk.
    pub(crate) fn is_disk(&self, file: &FileRef) -> bool {
        self.envelope.disks().iter().any(|disk| disk.file_ref() == Some(file.id()))
    }

    /// Text for messages.
    pub(crate) fn display(&self) -> String {
        self.path.display().to_string()
    }

    fn open_descriptor(path: &Path) -> Result<Self, Error> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let bytes = read_limited(path, DESCRIPTOR_BYTES_MAX)?;
        let envelope = parse_envelope(path, bytes)?;
        let descriptor = file_name(path)?;
        let manifest = open_manifest(path)?;
        let mut files = BTreeMap::new();
        for file in envelope.references() {
            let path = folder.join(file.href().as_str());
            let (open, len_bytes) = open_file(&path)?;
            files.insert(file.href().clone(), Arc::new(FileSource::new(open, 0, len_bytes)));
        }
        let missing = missing(manifest.as_ref(), |file| folder.join(file.as_str()).exists());
        let (path, warnings) = (path.to_owned(), Vec::new());
        Ok(Self { path, descriptor, envelope, manifest, files, missing, warnings })
    }

    fn open_ova(path: &Path) -> Result<Self, Error> {
        let package = path.display().to_string();
        let (file, _) = open_file(path)?;
        let ova = Ova::index(&*file)
            .map_err(|source| Error::Ova { package: package.clone(), source: Box::new(source) })?;
        let part = |offset, size| FileSource::new(Arc::clone(&file), offset, size);
        let read = |offset, size, limit| {
            part(offset, size).read(limit).map_err(|error| reading(path, error))
        };
        let member = ova.descriptor();
        let bytes = read(member.offset_bytes(), member.size_bytes(), DESCRIPTOR_BYTES_MAX)?;
        let envelope = parse_envelope(path, bytes)?;
        let manifest = match ova.manifest() {
            Some(member) => {
                let bytes = read(member.offset_bytes(), member.size_bytes(), MANIFEST_BYTES_MAX)?;
                Some(parse_manifest(&format!("{package}: {}", member.name()), &bytes)?)
            }
            None => None,
        };
        let mut files = BTreeMap::new();
        for file in envelope.references() {
            let member = ova.member(file.href()).ok_or_else(|| Error::Package {
                package: package.clone(),
                problem: format!("the descriptor names {}, which is not in the OVA", file.href()),
            })?;
            let source = part(member.offset_bytes(), member.size_bytes());
            files.insert(file.href().clone(), Arc::new(source));
        }
        let warnings = ova.warnings().iter().map(ToString::to_string).collect();
        let missing = missing(manifest.as_ref(), |file| ova.member(file).is_some());
        let (path, descriptor) = (path.to_owned(), member.name().clone());
        Ok(Self { path, descriptor, envelope, manifest, files, missing, warnings })
    }

    /// The descriptor has been read anyway, so its digest can be compared at once.
    fn check_descriptor(&self) -> Result<(), Error> {
        check_descriptor(&self.descriptor, &self.envelope, self.manifest())
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

pub(crate) fn only_descriptor(folder: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).map_err(|error| reading(folder, error))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf")))
        .take(2)
        .collect();
    let problem = match (found.pop(), found.pop()) {
        (Some(path), None) => return Ok(path),
        (None, _) => "the folder holds no .ovf file",
        (Some(_), Some(_)) => "the folder holds several .ovf files; name the one you mean",
    };
    Err(Error::Package { package: folder.display().to_string(), problem: problem.to_owned() })
}

/// The manifest beside a descriptor; packers for Windows write its name in upper case too.
pub(crate) fn open_manifest(descriptor: &Path) -> Result<Option<Manifest>, Error> {
    for extension in ["mf", "MF"] {
        let path = descriptor.with_extension(extension);
        match fs::metadata(&path) {
            Ok(_) => {
                let bytes = read_limited(&path, MANIFEST_BYTES_MAX)?;
                return parse_manifest(&path.display().to_string(), &bytes).map(Some);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(reading(&path, error)),
        }
    }
    Ok(None)
}

fn missing(manifest: Option<&Manifest>, has: impl Fn(&FileName) -> bool) -> Vec<FileName> {
    let files = manifest.map_or(&[][..], Manifest::entries).iter().map(ManifestEntry::file);
    files.filter(|file| !has(file)).cloned().collect()
}

pub(crate) fn open_file(path: &Path) -> Result<(Arc<File>, u64), Error> {
    let broken = |error: io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            return reading(path, error);
        }
        let problem = "the package needs this file, but it is not there".to_owned();
        Error::Package { package: path.display().to_string(), problem }
    };
    let regular = |metadata: Metadata| {
        if metadata.is_file() {
            return Ok(metadata);
        }
        let problem = "not a regular file".to_owned();
        Err(Error::Package { package: path.display().to_string(), problem })
    };
    // Before it is opened: to open a pipe is to wait for somebody who writes into it.
    regular(fs::metadata(path).map_err(broken)?)?;
    let file = File::open(path).map_err(broken)?;
    // And what was opened, as it may be another one.
    let metadata = regular(file.metadata().map_err(broken)?)?;
    Ok((Arc::new(file), metadata.len()))
}

fn parse_envelope(path: &Path, bytes: Vec<u8>) -> Result<Envelope, Error> {
    let package = path.display().to_string();
    Envelope::parse(bytes).map_err(|source| Error::Envelope { package, source: Box::new(source) })
}

pub(crate) fn parse_manifest(package: &str, bytes: &[u8]) -> Result<Manifest, Error> {
    Manifest::parse(bytes)
        .map_err(|source| Error::Manifest { package: package.to_owned(), source: Box::new(source) })
}

pub(crate) fn file_name(path: &Path) -> Result<FileName, Error> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    FileName::new(name).map_err(|error| Error::Package {
        package: path.display().to_string(),
        problem: error.to_string(),
    })
}

pub(crate) fn read_limited(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let (file, len_bytes) = open_file(path)?;
    FileSource::new(file, 0, len_bytes).read(limit_bytes).map_err(|error| reading(path, error))
}

pub(crate) fn reading(path: &Path, source: io::Error) -> Error {
    Error::Local { action: "read", path: path.to_owned(), source }
}

/// The largest descriptor that is read.  Real ones have some ten KiB; message bundles make them
/// larger, and a server takes no request above 20,000,000 bytes.
pub(crate) const DESCRIPTOR_BYTES_MAX: u64 = 4 << 20;

/// The largest manifest that is read: 30,000 lines.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;
