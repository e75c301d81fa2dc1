//! An OVA that is read once, from its first byte to its last: from a pipe, or from a web server
//! that serves no ranges.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::Fuse;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::ova::Member;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::OvaError;
use ovftransfer_ovf::ova::Rules;
use ovftransfer_ovf::ova::Walk;
use tokio::sync::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::sync::mpsc;

use crate::error::Error;
use crate::error::StreamEnded;
use crate::signature::StoredCertificate;
use crate::store::ByteStream;
use crate::store::Source;
use crate::store::parts::CERTIFICATE_BYTES_MAX;
use crate::store::parts::DESCRIPTOR_BYTES_MAX;
use crate::store::parts::MANIFEST_BYTES_MAX;
use crate::store::parts::Parts;
use crate::store::parts::parse_envelope;
use crate::store::parts::parse_manifest;
use crate::store::parts::stopped;
use crate::store::parts::too_large;
use crate::store::reference::ByName;

/// Reads descriptor and manifest from the beginning of an archive.
pub(crate) async fn open(
    stream: ByteStream,
    location: String,
    rules: Rules,
) -> Result<Parts, Error> {
    let Front { reader, descriptor, bytes, manifest, certificate } =
        front(stream, &location, rules).await?;
    let envelope = parse_envelope(&location, bytes)?;
    let by_name = ByName::new(envelope.references());
    let in_order = Some(Arc::new(InOrder { reader: Arc::new(Mutex::new(reader)) }));
    let (files, missing, warnings) = (BTreeMap::new(), Vec::new(), Vec::new());
    Ok(Parts {
        location,
        descriptor,
        envelope,
        by_name,
        manifest,
        certificate,
        files,
        missing,
        warnings,
        in_order,
    })
}

/// An archive that has been read up to the header of its first file.
#[derive(Debug)]
pub(crate) struct Front {
    reader: Reader,
    pub(crate) descriptor: FileName,
    /// The descriptor.
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) certificate: Option<StoredCertificate>,
}

impl Front {
    /// The file that comes next; none if the archive has ended.
    pub(crate) fn next(&self) -> Option<&Member> {
        self.reader.next.as_ref()
    }
}

/// Reads an archive up to the header of its first file: most have their manifest before it.
pub(crate) async fn front(
    stream: ByteStream,
    location: &str,
    rules: Rules,
) -> Result<Front, Error> {
    let mut reader = Reader {
        location: location.to_owned(),
        stream: stream.fuse(),
        walk: Some(Walk::new(None).by(rules)),
        chunk: Bytes::new(),
        at_byte: 0,
        member: None,
        next: None,
        small: BTreeMap::new(),
        certificates: BTreeMap::new(),
        stall: None,
    };
    // Manifests and certificates before it are kept.
    let Some(first) = reader.file().await? else {
        let is_empty = reader.small.is_empty() && reader.certificates.is_empty();
        let error = if is_empty { OvaError::Empty } else { OvaError::NoDescriptor };
        return Err(reader.unsound(error));
    };
    if !first.name().has_extension("ovf") {
        return Err(reader.unsound(OvaError::DescriptorNotFirst { file: first.name().clone() }));
    }
    let bytes = reader.content(&first, DESCRIPTOR_BYTES_MAX).await?;
    let descriptor = first.name().clone();
    reader.next = reader.file().await?;
    let manifest = match reader.small.iter().find(|(name, _)| name.stem() == descriptor.stem()) {
        Some((name, bytes)) => Some(parse_manifest(&format!("{location}: {name}"), bytes)?),
        None => None,
    };
    let mut certificates = reader.certificates.iter();
    let named = certificates.find(|(name, _)| name.stem() == descriptor.stem());
    let certificate = named.map(|(file, bytes)| stored(file, bytes));
    Ok(Front { reader, descriptor, bytes, manifest, certificate })
}

/// The files of an archive, as they come.
#[derive(Debug)]
pub(crate) struct InOrder {
    reader: Arc<Mutex<Reader>>,
}

impl InOrder {
    /// Waits for the next file that is neither a manifest nor a certificate; what was not read of
    /// the one before is skipped.  Nothing at the end of the archive.
    ///
    /// `stall` is how long the stream may give nothing while it is waited for.
    pub(crate) async fn next(&self, stall: Option<Duration>) -> Result<Option<Arrived>, Error> {
        let mut reader = self.reader.lock().await;
        reader.stall = stall;
        let member = match reader.next.take() {
            Some(member) => Some(member),
            None => reader.file().await?,
        };
        let arrived = |member| Arrived {
            member,
            reader: Arc::clone(&self.reader),
            is_open: AtomicBool::new(false),
        };
        Ok(member.map(arrived))
    }

    /// Has a file come again next, of which nothing has been read.
    pub(crate) async fn put_back(&self, arrived: Arrived) {
        self.reader.lock().await.next = Some(arrived.member);
    }

    /// What the whole archive says, when [`next`](Self::next) has come to its end.
    pub(crate) async fn end(&self) -> Result<End, Error> {
        let mut reader = self.reader.lock().await;
        let Some(walk) = reader.walk.take() else {
            let problem = "it can be read only once".to_owned();
            return Err(Error::Package { package: reader.location.clone(), problem });
        };
        let ova = Ova::new(walk).map_err(|error| reader.unsound(error))?;
        let manifest = match ova.manifest() {
            Some(member) => {
                let bytes = reader.small.get(member.name()).map(Vec::as_slice).unwrap_or_default();
                let package = format!("{}: {}", reader.location, member.name());
                Some(parse_manifest(&package, bytes)?)
            }
            None => None,
        };
        let certificate = ova.certificate().and_then(|member| {
            let bytes = reader.certificates.get(member.name())?;
            Some(stored(member.name(), bytes))
        });
        Ok(End { ova, manifest, certificate })
    }
}

/// An archive that has been read to its end.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) ova: Ova,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) certificate: Option<StoredCertificate>,
}

fn stored(file: &FileName, bytes: &[u8]) -> StoredCertificate {
    StoredCertificate { file: file.clone(), bytes: bytes.to_vec() }
}

/// A file whose bytes come next.
pub(crate) struct Arrived {
    member: Member,
    reader: Arc<Mutex<Reader>>,
    is_open: AtomicBool,
}

impl Arrived {
    pub(crate) fn name(&self) -> &FileName {
        self.member.name()
    }
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Arrived").field(&self.member).finish()
    }
}

impl Source for Arrived {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let is_open = self.is_open.swap(true, Ordering::Relaxed);
        let reader = Arc::clone(&self.reader);
        async move {
            if is_open {
                return Err(read_once());
            }
            let body = Some(reader.lock_owned().await);
            Ok(futures::stream::unfold(body, next_chunk).boxed())
        }
        .boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.member.size_bytes())
    }
}

async fn next_chunk(
    body: Option<OwnedMutexGuard<Reader>>,
) -> Option<(io::Result<Bytes>, Option<OwnedMutexGuard<Reader>>)> {
    let mut reader = body?;
    match reader.body().await.transpose()? {
        Ok(chunk) => Some((Ok(chunk), Some(reader))),
        Err(error) => Some((Err(error), None)),
    }
}

/// Reads an archive.
struct Reader {
    location: String,
    stream: Fuse<ByteStream>,
    /// Gone when the end has been asked for.
    walk: Option<Walk>,
    /// What has come and was not used yet.
    chunk: Bytes,
    /// The place of the first byte of `chunk`.
    at_byte: u64,
    /// The member that the place is in, or was last.
    member: Option<Member>,
    /// A member whose header has been read ahead.
    next: Option<Member>,
    /// Manifests.
    small: BTreeMap<FileName, Vec<u8>>,
    certificates: BTreeMap<FileName, Vec<u8>>,
    /// How long the stream may give nothing.
    stall: Option<Duration>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at_byte, member) = (&self.at_byte, &self.member);
        f.debug_struct("Reader").field("at_byte", at_byte).field("member", member).finish()
    }
}

impl Reader {
    /// The next file; manifests and certificates are kept on the way.
    async fn file(&mut self) -> Result<Option<Member>, Error> {
        while let Some(member) = self.member().await? {
            if member.name().is_apple_double() {
                continue;
            }
            if member.name().has_extension("mf") {
                // Together they have as much room as one.
                let kept: u64 = self.small.values().map(|bytes| bytes.len() as u64).sum();
                let content = self.content(&member, MANIFEST_BYTES_MAX - kept).await?;
                self.small.insert(member.name().clone(), content);
            } else if member.name().has_extension("cert") {
                let kept: u64 = self.certificates.values().map(|bytes| bytes.len() as u64).sum();
                let content = self.content(&member, CERTIFICATE_BYTES_MAX - kept).await?;
                self.certificates.insert(member.name().clone(), content);
            } else {
                return Ok(Some(member));
            }
        }
        Ok(None)
    }

    /// Goes on to the next member.
    async fn member(&mut self) -> Result<Option<Member>, Error> {
        loop {
            let Some(wanted) = self.walk.as_ref().and_then(Walk::wanted) else { return Ok(None) };
            let bytes = match self.take(wanted.at_byte, wanted.len_bytes).await {
                Ok(bytes) => bytes,
                Err(source) => return Err(self.unsound(source)),
            };
            let fed = self.walk.as_mut().map_or(Ok(None), |walk| walk.feed(&bytes));
            if let Some(member) = fed.map_err(|error| self.unsound(error))? {
                self.member = Some(member.clone());
                return Ok(Some(member));
            }
        }
    }

    /// All of a small member.
    async fn content(&mut self, member: &Member, limit_bytes: u64) -> Result<Vec<u8>, Error> {
        let broken = |location: &str, error| stopped(member.name(), location, 0, error);
        if member.size_bytes() > limit_bytes {
            return Err(too_large(&self.location, member.name(), limit_bytes));
        }
        let mut content = Vec::new();
        while let Some(chunk) = self.body().await.map_err(|error| broken(&self.location, error))? {
            content.extend_from_slice(&chunk);
        }
        Ok(content)
    }

    /// The next bytes of the member that the place is in; none at its end.
    async fn body(&mut self) -> io::Result<Option<Bytes>> {
        let Some(member) = self.member.clone() else { return Ok(None) };
        let end = member.offset_bytes().saturating_add(member.size_bytes());
        if self.at_byte < member.offset_bytes() && !self.skip(member.offset_bytes()).await? {
            return Err(self.ended());
        }
        if self.at_byte >= end {
            return Ok(None);
        }
        if !self.fill().await? {
            return Err(self.ended());
        }
        let left = usize::try_from(end - self.at_byte).unwrap_or(usize::MAX);
        Ok(Some(self.split(left)))
    }

    /// The bytes at a place further on; fewer only where the stream ends.
    async fn take(&mut self, at_byte: u64, len_bytes: usize) -> Result<Bytes, OvaError> {
        let read = |at_byte, source| OvaError::Read { at_byte, source };
        if !self.skip(at_byte).await.map_err(|error| read(self.at_byte, error))? {
            let at_byte = self.at_byte;
            self.walk.as_mut().map_or(Ok(()), |walk| walk.ends_at(at_byte))?;
            return Ok(Bytes::new());
        }
        let mut bytes = BytesMut::new();
        while bytes.len() < len_bytes
            && self.fill().await.map_err(|error| read(self.at_byte, error))?
        {
            let part = self.split(len_bytes - bytes.len());
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.freeze())
    }

    /// Moves on to a place; false if the stream ends before it.
    async fn skip(&mut self, at_byte: u64) -> io::Result<bool> {
        while self.at_byte < at_byte {
            if !self.fill().await? {
                return Ok(false);
            }
            let left = usize::try_from(at_byte - self.at_byte).unwrap_or(usize::MAX);
            drop(self.split(left));
        }
        Ok(true)
    }

    /// Waits until there are bytes; false at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        while self.chunk.is_empty() {
            let next = self.stream.next();
            let chunk = match self.stall {
                Some(stall) => tokio::time::timeout(stall, next).await.map_err(|_| {
                    let text = format!("no byte came for {} seconds", stall.as_secs());
                    io::Error::new(io::ErrorKind::TimedOut, text)
                })?,
                None => next.await,
            };
            match chunk {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn split(&mut self, len: usize) -> Bytes {
        let part = self.chunk.split_to(len.min(self.chunk.len()));
        self.at_byte += part.len() as u64;
        part
    }

    fn ended(&self) -> io::Error {
        io::Error::other(StreamEnded { at_byte: self.at_byte })
    }

    fn unsound(&self, source: OvaError) -> Error {
        match &self.member {
            Some(member) => unsound(&self.location, member.name(), source),
            None => Error::Ova { package: self.location.clone(), source: Box::new(source) },
        }
    }
}

/// An archive that is not as it should be; if it could only not be read, that is another matter.
pub(crate) fn unsound(location: &str, near: &FileName, source: OvaError) -> Error {
    if let OvaError::Read { at_byte, source } = source {
        return stopped(near, location, at_byte, source);
    }
    Error::Ova { package: location.to_owned(), source: Box::new(source) }
}

/// What a source of a stream says that is opened a second time.
pub(crate) fn read_once() -> io::Error {
    let text = "the package comes in a stream, which can be read only once";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The bytes of a blocking reader, such as standard input, as a stream.
///
/// They are read on a thread of its own: a read that never returns keeps neither a runtime nor a
/// program from ending.
///
/// # Errors
///
/// Those of the system if there can be no thread.
pub fn read_stream(mut reader: impl Read + Send + 'static) -> io::Result<ByteStream> {
    let (sender, mut chunks) = mpsc::channel(CHUNKS);
    let work = move || {
        loop {
            let chunk = read_chunk(&mut reader).transpose();
            let Some(chunk) = chunk else { return };
            let is_last = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || is_last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("read_stream".to_owned()).spawn(work)?;
    Ok(futures::stream::poll_fn(move |context| chunks.poll_recv(context)).boxed())
}

fn read_chunk(reader: &mut impl Read) -> io::Result<Option<Bytes>> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(len) => {
                chunk.truncate(len);
                return Ok(Some(chunk.into()));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One read: a pipe of Linux holds 64 KiB.
const CHUNK_BYTES: usize = 64 << 10;

/// Chunks that wait to be taken.
const CHUNKS: usize = 4;
