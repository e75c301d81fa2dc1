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
use ovftransfer_ovf::ova::Member;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::OvaError;
use ovftransfer_ovf::ova::Rules;
use ovftransfer_ovf::ova::Walk;
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::tls::Trust;
use ovftransfer_vim::transport::ByteStream;
use tokio::sync::Mutex;

use crate::error::Error;
use crate::store::PackageFiles;
use crate::store::Source;
use crate::store::in_order;
use crate::store::lookup::Entry;
use crate::store::lookup::HEAD_BYTES;
use crate::store::lookup::Lookup;
use crate::store::lookup::Stocked;
use crate::store::lookup::Want;
use crate::store::lookup::certificate_of;
use crate::store::lookup::manifest_of;
use crate::store::lookup::warnings_of;
use crate::store::parts::Parts;
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
    /// How strictly an OVA is read: by the strict rules if it is not said otherwise.
    pub rules: Rules,
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
            rules: Rules::Strict,
            floor_bytes_per_s: FLOOR_BYTES_PER_S,
            window: WINDOW,
            pause: PAUSE,
        }
    }
}

/// Opens a descriptor with its files beside it, or an OVA.
pub(crate) async fn open(url: &PackageUrl, options: &FetchOptions) -> Result<Parts, Error> {
    match reach(url, options).await? {
        Reached::Files(files, descriptor) => Parts::read(&*files, &descriptor).await,
        Reached::Stream(body) => in_order::open(body, url.to_string(), options.rules).await,
    }
}

/// What an address leads to.
pub(crate) enum Reached {
    /// A descriptor with its files beside it, or an OVA that is read by ranges.
    Files(Box<dyn Lookup>, FileName),
    /// An OVA that can only be read from its first byte to its last.
    Stream(ByteStream),
}

/// Finds out what an address leads to, and reads the headers of an OVA.
pub(crate) async fn reach(url: &PackageUrl, options: &FetchOptions) -> Result<Reached, Error> {
    let web = web(options);
    if url.is_descriptor() {
        let descriptor = url.file_name("package.ovf").ok_or_else(|| nameless(url))?;
        let folder = Stocked(WebFolder { web, descriptor: url.clone() });
        return Ok(Reached::Files(Box::new(folder), descriptor));
    }
    let archive = url.file_name("package.ova").ok_or_else(|| nameless(url))?;
    let location = url.to_string();
    let broken = |error| stopped(&archive, &location, 0, error);
    match web.find(url, BLOCK_BYTES).await.map_err(broken)? {
        Found::Ranges(file, head) => {
            let ova = index(Blocks::new(file, head), location, &archive, options.rules).await?;
            let descriptor = ova.ova.descriptor().name().clone();
            Ok(Reached::Files(Box::new(ova), descriptor))
        }
        Found::Whole(_, body) => Ok(Reached::Stream(body)),
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
            found_at(&self.web, &url).await
        }
        .boxed()
    }
}

/// Looks whether there is a file at an address.
pub(crate) async fn found_at(
    web: &Arc<Web>,
    url: &PackageUrl,
) -> io::Result<Option<Arc<dyn Source>>> {
    Ok(match web.find(url, HEAD_BYTES as u64).await? {
        Found::Ranges(file, head) => Some(Arc::new(Headed { file, head }) as _),
        Found::Whole(file, _) => Some(file as _),
        Found::Nothing => None,
    })
}

/// The way to web servers.
pub(crate) fn web(options: &FetchOptions) -> Arc<Web> {
    Arc::new(Web { transport: Arc::new(HttpTransport::new()), options: options.clone() })
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

/// Indexes an OVA; its files are read when they are needed.
async fn index(
    mut blocks: Blocks,
    location: String,
    archive: &FileName,
    rules: Rules,
) -> Result<WebOva, Error> {
    let unsound = |source| in_order::unsound(&location, archive, source);
    let mut walk = Walk::new(blocks.file.size_bytes()).by(rules);
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
    let file = Arc::clone(&blocks.file);
    Ok(WebOva { location, ova, heads, file, blocks: Mutex::new(blocks) })
}

/// An archive on a web server.
struct WebOva {
    location: String,
    ova: Ova,
    /// What its members begin with.
    heads: BTreeMap<FileName, Bytes>,
    file: Arc<WebFile>,
    blocks: Mutex<Blocks>,
}

impl Lookup for WebOva {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn manifest_names(&self, _descriptor: &FileName) -> Vec<FileName> {
        manifest_of(&self.ova)
    }

    fn certificate_names(&self, _descriptor: &FileName) -> Vec<FileName> {
        certificate_of(&self.ova)
    }

    fn archive_bytes(&self) -> Option<u64> {
        self.file.size_bytes()
    }

    fn warnings(&self) -> Vec<String> {
        warnings_of(&self.ova)
    }

    fn find<'a>(
        &'a self,
        file: &'a FileName,
        _want: Want,
    ) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
        let entry = self.ova.member(file).map(|member| {
            let (offset_bytes, size_bytes) = (member.offset_bytes(), member.size_bytes());
            let part = WebPart { file: Arc::clone(&self.file), offset_bytes, size_bytes };
            let head = self.heads.get(file).map(|head| head.to_vec());
            Entry { source: Arc::new(part), size_bytes: Some(size_bytes), head, at_hand: None }
        });
        std::future::ready(Ok(entry)).boxed()
    }

    fn small<'a>(
        &'a self,
        file: &'a FileName,
        limit_bytes: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, Error>> {
        async move {
            let Some(member) = self.ova.member(file) else { return Ok(None) };
            let mut blocks = self.blocks.lock().await;
            let bytes = blocks.small(member, limit_bytes, &self.location).await?;
            Ok(Some(bytes.to_vec()))
        }
        .boxed()
    }
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
