//! Packages of this machine: a folder with a descriptor, or an OVA.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_ovf::ova::Member;
use ovftransfer_ovf::ova::Ova;

use crate::error::Error;
use crate::signature::StoredCertificate;
use crate::store::file::FileSource;
use crate::store::parts::CERTIFICATE_BYTES_MAX;
use crate::store::parts::DESCRIPTOR_BYTES_MAX;
use crate::store::parts::HEAD_BYTES;
use crate::store::parts::MANIFEST_BYTES_MAX;
use crate::store::parts::PackageFile;
use crate::store::parts::Parts;
use crate::store::parts::is_disk;
use crate::store::parts::missing;
use crate::store::parts::parse_envelope;
use crate::store::parts::parse_manifest;
use crate::store::parts::too_large;

/// Opens a descriptor, an OVA, or a folder with exactly one descriptor.  Blocks.
pub(crate) fn open(path: &Path) -> Result<Parts, Error> {
    let kind = fs::metadata(path).map_err(|error| reading(path, error))?;
    if kind.is_dir() {
        open_descriptor(&only_descriptor(path)?)
    } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf")) {
        open_descriptor(path)
    } else {
        open_ova(path)
    }
}

fn open_descriptor(path: &Path) -> Result<Parts, Error> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let location = path.display().to_string();
    let envelope = parse_envelope(&location, read_limited(path, DESCRIPTOR_BYTES_MAX)?)?;
    let descriptor = file_name(path)?;
    let manifest = open_manifest(path)?;
    let certificate = open_certificate(path)?;
    let mut files = BTreeMap::new();
    for file in envelope.references() {
        let path = folder.join(file.href().as_str());
        let (open, len_bytes) = open_file(&path)?;
        let source = FileSource::new(open, 0, len_bytes);
        files.insert(file.href().clone(), packed(source, &envelope, file, &path)?);
    }
    let missing = missing(manifest.as_ref(), |file| folder.join(file.as_str()).exists());
    let (warnings, in_order) = (Vec::new(), None);
    Ok(Parts {
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

fn open_ova(path: &Path) -> Result<Parts, Error> {
    let location = path.display().to_string();
    let (file, _) = open_file(path)?;
    let ova = Ova::index(&*file)
        .map_err(|source| Error::Ova { package: location.clone(), source: Box::new(source) })?;
    let part = |offset, size| FileSource::new(Arc::clone(&file), offset, size);
    let read = |member: &Member, limit| {
        if member.size_bytes() > limit {
            return Err(too_large(&location, member.name(), limit));
        }
        let part = part(member.offset_bytes(), member.size_bytes());
        part.read(limit).map_err(|error| reading(path, error))
    };
    let member = ova.descriptor();
    let bytes = read(member, DESCRIPTOR_BYTES_MAX)?;
    let envelope = parse_envelope(&location, bytes)?;
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
    let mut files = BTreeMap::new();
    for file in envelope.references() {
        let member = ova.member(file.href()).ok_or_else(|| Error::Package {
            package: location.clone(),
            problem: format!("the descriptor names {}, which is not in the OVA", file.href()),
        })?;
        let source = part(member.offset_bytes(), member.size_bytes());
        files.insert(file.href().clone(), packed(source, &envelope, file, path)?);
    }
    let warnings = ova.warnings().iter().map(ToString::to_string).collect();
    let missing = missing(manifest.as_ref(), |file| ova.member(file).is_some());
    let (descriptor, in_order) = (member.name().clone(), None);
    Ok(Parts {
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

/// A file with its size and, for disks, its first bytes.
fn packed(
    source: FileSource,
    envelope: &Envelope,
    file: &FileRef,
    path: &Path,
) -> Result<PackageFile, Error> {
    let head = if is_disk(envelope, file) {
        let mut head = [0; HEAD_BYTES];
        Some(source.read_head(&mut head).map_err(|error| reading(path, error))?.to_vec())
    } else {
        None
    };
    let size_bytes = source.size_bytes();
    Ok(PackageFile::new(Arc::new(source), size_bytes, head))
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

/// The certificate beside a descriptor.
pub(crate) fn open_certificate(descriptor: &Path) -> Result<Option<StoredCertificate>, Error> {
    for extension in ["cert", "CERT"] {
        let path = descriptor.with_extension(extension);
        match fs::metadata(&path) {
            Ok(_) => {
                let (file, bytes) =
                    (file_name(&path)?, read_limited(&path, CERTIFICATE_BYTES_MAX)?);
                return Ok(Some(StoredCertificate { file, bytes }));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(reading(&path, error)),
        }
    }
    Ok(None)
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

pub(crate) fn file_name(path: &Path) -> Result<FileName, Error> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    FileName::new(name).map_err(|error| Error::Package {
        package: path.display().to_string(),
        problem: error.to_string(),
    })
}

pub(crate) fn read_limited(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let (file, len_bytes) = open_file(path)?;
    if len_bytes > limit_bytes {
        let problem = format!("larger than the limit of {limit_bytes} bytes");
        return Err(Error::Package { package: path.display().to_string(), problem });
    }
    FileSource::new(file, 0, len_bytes).read(limit_bytes).map_err(|error| reading(path, error))
}

pub(crate) fn reading(path: &Path, source: io::Error) -> Error {
    Error::Local { action: "read", path: path.to_owned(), source }
}
