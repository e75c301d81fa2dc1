//! Packages of this machine: a folder with a descriptor, or an OVA.

use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::future::Future;
use std::future::ready;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::ova::Member;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::Rules;

use crate::error::Error;
use crate::store::file::FileSource;
use crate::store::file::PathSource;
use crate::store::lookup::Entry;
use crate::store::lookup::HEAD_BYTES;
use crate::store::lookup::Lookup;
use crate::store::lookup::Want;
use crate::store::lookup::certificate_of;
use crate::store::lookup::manifest_of;
use crate::store::lookup::warnings_of;
use crate::store::parts::Parts;
use crate::store::parts::too_large;

/// Opens a descriptor, an OVA, or a folder with exactly one descriptor.  Blocks.
pub(crate) fn open(path: &Path, rules: Rules) -> Result<Parts, Error> {
    let (files, descriptor) = reach(path, rules)?;
    at_once(Parts::read(&*files, &descriptor))
}

/// Finds out what a path leads to, and reads the headers of an OVA.  What is looked up there is
/// found [at once](at_once).
pub(crate) fn reach(path: &Path, rules: Rules) -> Result<(Box<dyn Lookup>, FileName), Error> {
    let beside = |descriptor: PathBuf| {
        let name = file_name(&descriptor)?;
        Ok((Box::new(LocalFolder { descriptor }) as Box<dyn Lookup>, name))
    };
    let kind = fs::metadata(path).map_err(|error| reading(path, error))?;
    if kind.is_dir() {
        beside(only_descriptor(path)?)
    } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf")) {
        beside(path.to_owned())
    } else {
        let (file, size_bytes) = open_file(path)?;
        let ova = Ova::index_by(rules, &*file).map_err(|source| Error::Ova {
            package: path.display().to_string(),
            source: Box::new(source),
        })?;
        let descriptor = ova.descriptor().name().clone();
        Ok((Box::new(LocalOva { path: path.to_owned(), size_bytes, file, ova }), descriptor))
    }
}

/// Waits for work that never has to wait for anything.
pub(crate) fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}

/// The folder that a descriptor lies in.
struct LocalFolder {
    descriptor: PathBuf,
}

impl LocalFolder {
    fn path(&self, file: &FileName) -> PathBuf {
        self.descriptor.with_file_name(file.as_str())
    }

    fn entry(&self, file: &FileName, want: Want) -> Result<Option<Entry>, Error> {
        let path = self.path(file);
        let lazily = |len_bytes: u64| {
            let source = Arc::new(PathSource::new(path.clone(), len_bytes));
            let size_bytes = Some(len_bytes);
            Ok(Some(Entry { source, size_bytes, head: None, at_hand: None }))
        };
        let there = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(reading(&path, error)),
            Ok(there) => there,
        };
        match want {
            Want::Presence if there.is_file() => lazily(there.len()),
            Want::Presence => Ok(None),
            // Thousands of them cannot stay open.
            Want::Chunk => lazily(open_file(&path)?.1),
            Want::File | Want::Head => {
                let (open, len_bytes) = open_file(&path)?;
                let found = found(FileSource::new(open, 0, len_bytes), want);
                found.map(Some).map_err(|error| reading(&path, error))
            }
        }
    }
}

impl Lookup for LocalFolder {
    fn location(&self) -> String {
        self.descriptor.display().to_string()
    }

    fn find<'a>(
        &'a self,
        file: &'a FileName,
        want: Want,
    ) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
        ready(self.entry(file, want)).boxed()
    }

    fn small<'a>(
        &'a self,
        file: &'a FileName,
        limit_bytes: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, Error>> {
        let path = self.path(file);
        ready(match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(reading(&path, error)),
            Ok(_) => read_limited(&path, limit_bytes).map(Some),
        })
        .boxed()
    }
}

/// An archive of this machine.
struct LocalOva {
    path: PathBuf,
    size_bytes: u64,
    file: Arc<File>,
    ova: Ova,
}

impl LocalOva {
    fn member(&self, member: &Member) -> FileSource {
        FileSource::new(Arc::clone(&self.file), member.offset_bytes(), member.size_bytes())
    }
}

impl Lookup for LocalOva {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn manifest_names(&self, _descriptor: &FileName) -> Vec<FileName> {
        manifest_of(&self.ova)
    }

    fn certificate_names(&self, _descriptor: &FileName) -> Vec<FileName> {
        certificate_of(&self.ova)
    }

    fn archive_bytes(&self) -> Option<u64> {
        Some(self.size_bytes)
    }

    fn warnings(&self) -> Vec<String> {
        warnings_of(&self.ova)
    }

    fn find<'a>(
        &'a self,
        file: &'a FileName,
        want: Want,
    ) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
        let source = self.ova.member(file).map(|member| self.member(member));
        let entry = source.map(|source| found(source, want)).transpose();
        ready(entry.map_err(|error| reading(&self.path, error))).boxed()
    }

    fn small<'a>(
        &'a self,
        file: &'a FileName,
        limit_bytes: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, Error>> {
        ready(match self.ova.member(file) {
            None => Ok(None),
            Some(member) if member.size_bytes() > limit_bytes => {
                Err(too_large(&self.location(), file, limit_bytes))
            }
            Some(member) => {
                let bytes = self.member(member).read(limit_bytes);
                bytes.map(Some).map_err(|error| reading(&self.path, error))
            }
        })
        .boxed()
    }
}

/// A file with its size and, if wanted, its first bytes.
fn found(source: FileSource, want: Want) -> io::Result<Entry> {
    let head = match want {
        Want::Head => Some(source.read_head(&mut [0; HEAD_BYTES])?.to_vec()),
        Want::Presence | Want::Chunk | Want::File => None,
    };
    let size_bytes = Some(source.size_bytes());
    let at_hand = Some(source.clone());
    Ok(Entry { source: Arc::new(source), size_bytes, head, at_hand })
}

pub(crate) fn only_descriptor(folder: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).map_err(|error| reading(folder, error))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf")))
        // What macOS puts beside a file on disks of other systems.
        .filter(|path| !path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"._")))
        .take(2)
        .collect();
    let problem = match (found.pop(), found.pop()) {
        (Some(path), None) => return Ok(path),
        (None, _) => "the folder holds no .ovf file",
        (Some(_), Some(_)) => "the folder holds several .ovf files; name the one you mean",
    };
    Err(Error::Package { package: folder.display().to_string(), problem: problem.to_owned() })
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

fn file_name(path: &Path) -> Result<FileName, Error> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    FileName::new(name).map_err(|error| Error::Package {
        package: path.display().to_string(),
        problem: error.to_string(),
    })
}

fn read_limited(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
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
