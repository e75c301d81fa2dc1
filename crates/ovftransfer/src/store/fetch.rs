//! Packages on web servers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::ova::Member;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::OvaError;
use ovftransfer_ovf::ova::Walk;
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::tls::Trust;
use ovftransfer_vim::transport::ByteStream;

use crate::error::Error;
use crate::signature::StoredCertificate;
use crate::store::PackageFiles;
use crate::store::Source;
use crate::store::in_order;
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
use crate::store::parts::stopped;
use crate::store::parts::too_large;
use crate::store::url::PackageUrl;
use crate::store::web::Found;
use crate::store::web::Web;
use crate::store::web::WebFile;
use crate::store::web::WebPart;

/// How a package is fetched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FetchOptions {
    /// Which certificates are accepted.  A pin holds for the host of the URL; hosts that it
    /// redirects to are then checked against what the operating system trusts.
    pub trust: Trust,
    /// The least number of bytes per second, 64 KiB by default, on average over a
    /// [`window`](Self::window); time that the other side takes does not count.
    pub floor_bytes_per_s: u64,
    /// How long the pace is measured, and how long an answer may take: 60 seconds by default.
    pub window: Duration,
    /// The pause before a broken download is taken up again, 1 second by default; it doubles with
    /// each failure in a row.
    pub pause: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            trust: Trust::System,
            floor_bytes_per_s: FLOOR_BYTES_PER_S,
            window: WINDOW,
            pause: PAUSE,
        }
    }
}

/// Opens a descriptor with its files beside it, or an OVA.
pub(crate) async fn open(url: &PackageUrl, options: &FetchOptions) -> Result<Parts, Error> {
    let transport = Arc::new(HttpTransport::new());
    let web = Arc::new(Web { transport, options: options.clone() });
    if url.is_descriptor() {
        let descriptor = url.file_name("package.ovf").ok_or_else(|| nameless(url))?;
        let folder = WebFolder { web, descriptor: url.clone() };
        return Parts::read(&folder, &descriptor).await;
    }
    let archive = url.file_name("package.ova").ok_or_else(|| nameless(url))?;
    let location = url.to_string();
    let broken = |error| stopped(&archive, &location, 0, error);
    match web.find(url, BLOCK_BYTES).await.map_err(broken)? {
        Found::Ranges(file, head) => open_ova(Blocks::new(file, head), location, &archive).await,
        Found::Whole(_, body) => in_order::open(body, location).await,
        Found::Nothing => Err(Error::NotFound { problem: format!("{url} is not there") }),
    }
}

fn nameless(url: &PackageUrl) -> Error {
    let problem = "its address has no name of a file".to_owned();
    Error::Package { package: url.to_string(), problem }
}

/// The folder that a descriptor lies in.
#[derive(Debug)]
struct WebFolder {
    web: Arc<Web>,
    descriptor: PackageUrl,
}

impl PackageFiles for WebFolder {
    fn location(&self) -> String {
        self.descriptor.to_string()
    }

    fn find<'a>(
        &'a self,
        file: &'a FileName,
    ) -> BoxFuture<'a, io::Result<Option<Arc<dyn Source>>>> {
        async move {
            let is_descriptor = self.descriptor.file_name("package.ovf").as_ref() == Some(file);
            let url = match is_descriptor {
                true => self.descriptor.clone(),
                false => self.descriptor.beside(file),
            };
            Ok(match self.web.find(&url, HEAD_BYTES as u64).await? {
                Found::Ranges(file, head) => Some(Arc::new(Headed { file, head }) as _),
                Found::Whole(file, _) => Some(file as _),
                Found::Nothing => None,
            })
        }
        .boxed()
    }
}

/// A file whose first bytes have come with the answer to the question for it.
#[derive(Debug)]
struct Headed {
    file: Arc<WebFile>,
    head: Bytes,
}

impl Source for Headed {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let head = futures::stream::iter([Ok(self.head.clone())]);
        let size_bytes = self.size_bytes().unwrap_or_default();
        let rest = self.file.range(self.head.len() as u64, size_bytes);
        std::future::ready(Ok(head.chain(rest).boxed())).boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        self.file.size_bytes()
    }
}

/// Indexes an OVA and reads its small files; every other one is read when it is needed.
async fn open_ova(
    mut blocks: Blocks,
    location: String,
    archive: &FileName,
) -> Result<Parts, Error> {
    let unsound = |source| in_order::unsound(&location, archive, source);
    let mut walk = Walk::new(blocks.file.size_bytes());
    let mut heads = BTreeMap::new();
    while let Some(wanted) = walk.wanted() {
        let bytes = blocks.read(wanted.at_byte, wanted.len_bytes as u64).await;
        let bytes =
            bytes.map_err(|source| unsound(OvaError::Read { at_byte: wanted.at_byte, source }))?;
        if let Some(member) = walk.feed(&bytes).map_err(unsound)? {
            // Most often it has come together with the header.
            let head = blocks.read(member.offset_bytes(), head_bytes(&member)).await;
            let head = head.map_err(|error| stopped(member.name(), &location, 0, error))?;
            heads.insert(member.name().clone(), head);
        }
    }
    let ova = Ova::new(walk).map_err(unsound)?;
    let member = ova.descriptor();
    let bytes = blocks.small(member, DESCRIPTOR_BYTES_MAX, &location).await?;
    let envelope = parse_envelope(&location, bytes.to_vec())?;
    let manifest = match ova.manifest() {
        Some(member) => {
            let bytes = blocks.small(member, MANIFEST_BYTES_MAX, &location).await?;
            Some(parse_manifest(&format!("{location}: {}", member.name()), &bytes)?)
        }
        None => None,
    };
    let certificate = certificate(&mut blocks, &ova, &location).await?;
    let mut files = BTreeMap::new();
    for file in envelope.references() {
        let member = ova.member(file.href()).ok_or_else(|| Error::Package {
            package: location.clone(),
            problem: format!("the descriptor names {}, which is not in the OVA", file.href()),
        })?;
        let (offset_bytes, size_bytes) = (member.offset_bytes(), member.size_bytes());
        let head = heads.get(file.href()).filter(|_| is_disk(&envelope, file));
        let head = head.map(|head| head.to_vec());
        let source = WebPart { file: Arc::clone(&blocks.file), offset_bytes, size_bytes };
        let file_of_package = PackageFile::new(Arc::new(source), size_bytes, head);
        files.insert(file.href().clone(), file_of_package);
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

/// What an address leads to, for those who only look.
pub(crate) enum Reached {
    /// A descriptor in a folder.
    Folder(Box<dyn PackageFiles>, FileName),
    /// An OVA that is read by ranges.
    Ova(Box<Indexed>),
    /// An OVA that can only be read from its first byte to its last.
    Stream(ByteStream),
}

/// The headers and the small files of an OVA.
pub(crate) struct Indexed {
    pub(crate) ova: Ova,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) descriptor: Bytes,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) certificate: Option<StoredCertificate>,
}

/// Finds out what an address leads to, and reads the headers and the small files of an OVA.
pub(crate) async fn reach(url: &PackageUrl, options: &FetchOptions) -> Result<Reached, Error> {
    let transport = Arc::new(HttpTransport::new());
    let web = Arc::new(Web { transport, options: options.clone() });
    if url.is_descriptor() {
        let descriptor = url.file_name("package.ovf").ok_or_else(|| nameless(url))?;
        let folder = WebFolder { web, descriptor: url.clone() };
        return Ok(Reached::Folder(Box::new(folder), descriptor));
    }
    let archive = url.file_name("package.ova").ok_or_else(|| nameless(url))?;
    let location = url.to_string();
    let broken = |error| stopped(&archive, &location, 0, error);
    match web.find(url, BLOCK_BYTES).await.map_err(broken)? {
        Found::Ranges(file, head) => {
            let indexed = index(Blocks::new(file, head), &location, &archive).await?;
            Ok(Reached::Ova(Box::new(indexed)))
        }
        Found::Whole(_, body) => Ok(Reached::Stream(body)),
        Found::Nothing => Err(Error::NotFound { problem: format!("{url} is not there") }),
    }
}

async fn certificate(
    blocks: &mut Blocks,
    ova: &Ova,
    location: &str,
) -> Result<Option<StoredCertificate>, Error> {
    let Some(member) = ova.certificate() else { return Ok(None) };
    let bytes = blocks.small(member, CERTIFICATE_BYTES_MAX, location).await?;
    Ok(Some(StoredCertificate { file: member.name().clone(), bytes: bytes.to_vec() }))
}

async fn index(mut blocks: Blocks, location: &str, archive: &FileName) -> Result<Indexed, Error> {
    let unsound = |source| in_order::unsound(location, archive, source);
    let mut walk = Walk::new(blocks.file.size_bytes());
    while let Some(wanted) = walk.wanted() {
        let bytes = blocks.read(wanted.at_byte, wanted.len_bytes as u64).await;
        let bytes =
            bytes.map_err(|source| unsound(OvaError::Read { at_byte: wanted.at_byte, source }))?;
        walk.feed(&bytes).map_err(unsound)?;
    }
    let ova = Ova::new(walk).map_err(unsound)?;
    let descriptor = blocks.small(ova.descriptor(), DESCRIPTOR_BYTES_MAX, location).await?;
    let manifest = match ova.manifest() {
        Some(member) => {
            let bytes = blocks.small(member, MANIFEST_BYTES_MAX, location).await?;
            Some(parse_manifest(&format!("{location}: {}", member.name()), &bytes)?)
        }
        None => None,
    };
    let certificate = certificate(&mut blocks, &ova, location).await?;
    Ok(Indexed { ova, size_bytes: blocks.file.size_bytes(), descriptor, manifest, certificate })
}

fn head_bytes(member: &Member) -> u64 {
    member.size_bytes().min(HEAD_BYTES as u64)
}

/// Reads small pieces of a file in blocks: descriptor, manifest and many headers come in one
/// request.
struct Blocks {
    file: Arc<WebFile>,
    /// What the file begins with.
    first: Bytes,
    /// The block that was read last, and its place.
    last: (u64, Bytes),
}

impl Blocks {
    fn new(file: Arc<WebFile>, head: Bytes) -> Self {
        Self { file, first: head, last: (0, Bytes::new()) }
    }

    async fn small(
        &mut self,
        member: &Member,
        limit_bytes: u64,
        location: &str,
    ) -> Result<Bytes, Error> {
        if member.size_bytes() > limit_bytes {
            return Err(too_large(location, member.name(), limit_bytes));
        }
        let read = self.read(member.offset_bytes(), member.size_bytes()).await;
        read.map_err(|error| stopped(member.name(), location, 0, error))
    }

    async fn read(&mut self, at_byte: u64, len_bytes: u64) -> io::Result<Bytes> {
        if let Some(bytes) = self.known(at_byte, len_bytes) {
            return Ok(bytes);
        }
        let total = self.file.size_bytes().unwrap_or_default();
        let end = at_byte.saturating_add(len_bytes.max(BLOCK_BYTES)).min(total);
        let mut block = Vec::new();
        let mut stream = self.file.range(at_byte.min(end), end);
        while let Some(chunk) = stream.try_next().await? {
            block.extend_from_slice(&chunk);
        }
        self.last = (at_byte, block.into());
        self.known(at_byte, len_bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn known(&self, at_byte: u64, len_bytes: u64) -> Option<Bytes> {
        let within = |place: u64, block: &Bytes| {
            let start = usize::try_from(at_byte.checked_sub(place)?).ok()?;
            let end = start.checked_add(usize::try_from(len_bytes).ok()?)?;
            (end <= block.len()).then(|| block.slice(start..end))
        };
        within(0, &self.first).or_else(|| within(self.last.0, &self.last.1))
    }
}

/// Read at once while an OVA is indexed.  Room for the descriptor and the manifest of most
/// packages; small against what a way to the server and back costs.
const BLOCK_BYTES: u64 = 64 << 10;

/// The default of [`FetchOptions::floor_bytes_per_s`].  A slower line would need two days for
/// 10 GiB; what trickles more slowly is out to hold the connection.
const FLOOR_BYTES_PER_S: u64 = 64 << 10;

/// The default of [`FetchOptions::window`]: long enough for an object store that thinks.
const WINDOW: Duration = Duration::from_secs(60);

/// The default of [`FetchOptions::pause`].
const PAUSE: Duration = Duration::from_secs(1);
