//! How files of a package are looked up, whatever it is stored in.

use std::io;
use std::sync::Arc;

use futures::FutureExt;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::ova::Ova;

use crate::error::Error;
use crate::store::PackageFiles;
use crate::store::Source;
use crate::store::file::FileSource;
use crate::store::parts::stopped;
use crate::store::parts::too_large;

/// Where the files of a package are looked up.
pub(crate) trait Lookup: Send + Sync {
    /// Where the package lies, for messages.
    fn location(&self) -> String;

    /// The names that the manifest may have, the likeliest first.
    ///
    /// Packers for Windows write its name in upper case too.
    fn manifest_names(&self, descriptor: &FileName) -> Vec<FileName> {
        beside(descriptor, ["mf", "MF"])
    }

    /// The names that the certificate may have, the likeliest first.
    fn certificate_names(&self, descriptor: &FileName) -> Vec<FileName> {
        beside(descriptor, ["cert", "CERT"])
    }

    /// Size in bytes of the archive, if the package is one.
    fn archive_bytes(&self) -> Option<u64> {
        None
    }

    /// What is odd about the package as a whole.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Finds a file; nothing if it is not there.
    fn find<'a>(
        &'a self,
        file: &'a FileName,
        want: Want,
    ) -> BoxFuture<'a, Result<Option<Entry>, Error>>;

    /// Reads a small file; nothing if it is not there.
    fn small<'a>(
        &'a self,
        file: &'a FileName,
        limit_bytes: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, Error>>;
}

fn beside(descriptor: &FileName, extensions: [&str; 2]) -> Vec<FileName> {
    let name = |extension| FileName::new(format!("{}.{extension}", descriptor.stem())).ok();
    extensions.into_iter().filter_map(name).collect()
}

/// What is wanted of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Want {
    /// Whether it is there.
    Presence,
    /// Its bytes, later; it may be one of thousands.
    Chunk,
    /// Its bytes, later.
    File,
    /// Its bytes, and the first of them at once.
    Head,
}

/// A file that was found.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) source: Arc<dyn Source>,
    /// Its size in bytes; nothing if only its end will tell.
    pub(crate) size_bytes: Option<u64>,
    /// Its first bytes, at most [`HEAD_BYTES`]; nothing if they were not wanted.
    pub(crate) head: Option<Vec<u8>>,
    /// The file, if it is one of this machine that stays open.
    pub(crate) at_hand: Option<FileSource>,
}

/// Files in a store of the caller's, or of a web server.
pub(crate) struct Stocked<F>(pub(crate) F);

impl<F: PackageFiles> Stocked<F> {
    async fn source(&self, file: &FileName) -> Result<Option<Arc<dyn Source>>, Error> {
        self.0.find(file).await.map_err(|error| self.broken(file, error))
    }

    async fn read(
        &self,
        file: &FileName,
        source: &dyn Source,
        limit_bytes: u64,
    ) -> Result<Vec<u8>, Error> {
        let broken = |error| self.broken(file, error);
        let too_large = || too_large(&self.0.location(), file, limit_bytes);
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

    fn broken(&self, file: &FileName, source: io::Error) -> Error {
        stopped(file, &self.0.location(), 0, source)
    }
}

impl<F: PackageFiles> Lookup for Stocked<F> {
    fn location(&self) -> String {
        self.0.location()
    }

    fn find<'a>(
        &'a self,
        file: &'a FileName,
        want: Want,
    ) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
        async move {
            let Some(source) = self.source(file).await? else { return Ok(None) };
            let head = match want {
                Want::Head => {
                    Some(read_head(&*source).await.map_err(|error| self.broken(file, error))?)
                }
                Want::Presence | Want::Chunk | Want::File => None,
            };
            Ok(Some(Entry { size_bytes: source.size_bytes(), source, head, at_hand: None }))
        }
        .boxed()
    }

    fn small<'a>(
        &'a self,
        file: &'a FileName,
        limit_bytes: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, Error>> {
        async move {
            match self.source(file).await? {
                Some(source) => self.read(file, &*source, limit_bytes).await.map(Some),
                None => Ok(None),
            }
        }
        .boxed()
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

/// The manifest of an archive, which may stand under another name than the descriptor's.
pub(crate) fn manifest_of(ova: &Ova) -> Vec<FileName> {
    ova.manifest().map(|member| member.name().clone()).into_iter().collect()
}

/// The certificate of an archive.
pub(crate) fn certificate_of(ova: &Ova) -> Vec<FileName> {
    ova.certificate().map(|member| member.name().clone()).into_iter().collect()
}

/// What is odd about an archive.
pub(crate) fn warnings_of(ova: &Ova) -> Vec<String> {
    ova.warnings().iter().map(ToString::to_string).collect()
}

/// How much of a disk is read beforehand: enough to tell what it is, also if it is compressed and
/// the names of the file and of who made it stand first (RFC 1952 section 2.3).
pub(crate) const HEAD_BYTES: usize = 512;
