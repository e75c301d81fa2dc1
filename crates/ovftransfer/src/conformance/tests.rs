//! The suite holds for our own sources and stores, and catches those that are broken.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::FutureExt;
use futures::StreamExt;
use http::Request;
use http::Response;
use http::header;
use ovftransfer_ovf::ova::Rules;
use ovftransfer_ovf::ova::Writer;
use ovftransfer_vim::tls::Trust;
use ovftransfer_vim::transport::Body;
use ovftransfer_vim::transport::Transport;
use ovftransfer_vim::transport::TransportError;

use super::*;
use crate::store::Destination;
use crate::store::content::Content;
use crate::store::content::Packing;
use crate::store::content::Stored;
use crate::store::fetch::FetchOptions;
use crate::store::file::Existing;
use crate::store::file::FileDestination;
use crate::store::file::FileSource;
use crate::store::file::PathSource;
use crate::store::file::partial_path;
use crate::store::gzip::Limit;
use crate::store::in_order;
use crate::store::web::Found;
use crate::store::web::Web;
use crate::store::web::WebPart;

fn bytes() -> Vec<u8> {
    (0..600_000_u32).map(|number| number.to_le_bytes()[usize::from(number % 7 == 0)]).collect()
}

#[tokio::test]
async fn a_part_of_a_file_conforms() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("x");
    fs::write(&path, bytes()).unwrap();
    let file = Arc::new(File::open(path).unwrap());
    check_source(&FileSource::new(file, 7, 590_000), &bytes()[7..590_007]).await.unwrap();
}

/// A web server in memory, which breaks each connection after 200,000 bytes.
#[derive(Debug)]
struct Memory(Bytes);

impl Transport for Memory {
    fn send(
        &self,
        request: Request<Body>,
        _trust: &Trust,
    ) -> BoxFuture<'_, Result<Response<ByteStream>, TransportError>> {
        let range = request.headers()[header::RANGE].to_str().unwrap();
        let (start, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (start, end) = (start.parse().unwrap(), last.parse::<usize>().unwrap() + 1);
        let end = end.min(self.0.len());
        let body = self.0.slice(start..end.min(start + 200_000));
        let chunks: Vec<_> = body.chunks(4096).map(|chunk| Ok(chunk.to_vec().into())).collect();
        let response = Response::builder()
            .status(206)
            .header(header::ETAG, "\"x\"")
            .header(header::CONTENT_RANGE, format!("bytes {start}-{}/{}", end - 1, self.0.len()))
            .body(futures::stream::iter(chunks).boxed())
            .unwrap();
        async { Ok(response) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_on_a_web_server_conforms() {
    let (transport, options) = (Arc::new(Memory(bytes().into())), FetchOptions::default());
    let web = Arc::new(Web { transport, options });
    let url = "https://h/x".parse().unwrap();
    let Found::Ranges(file, _) = web.find(&url, 4).await.unwrap() else { panic!("no ranges") };
    // Each stream breaks several times, and is allowed to.
    check_source(&*file, &bytes()).await.unwrap();
    let part = WebPart { file, offset_bytes: 100, size_bytes: 450_000 };
    check_source(&part, &bytes()[100..450_100]).await.unwrap();
}

#[tokio::test]
async fn a_file_in_a_stream_conforms() {
    let descriptor = br#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1">
        <References/><VirtualSystem/></Envelope>"#;
    let mut writer = Writer::new(Vec::new());
    for (file, content) in [("x.ovf", &descriptor[..]), ("disk.vmdk", &bytes())] {
        let file = FileName::new(file).unwrap();
        writer.append(&file, content.len() as u64, &mut { content }).unwrap();
    }
    let archive = writer.finish().unwrap();
    let stream = in_order::read_stream(io::Cursor::new(archive)).unwrap();
    let parts = in_order::open(stream, "the pipe".to_owned(), Rules::Strict).await.unwrap();
    let arrived = parts.in_order.unwrap().next(None).await.unwrap().unwrap();
    check_source(&arrived, &bytes()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_cut_and_compressed_conforms() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    io::Write::write_all(&mut gzip, &bytes()).unwrap();
    let whole = [(Packing::Plain, bytes()), (Packing::Gzip(LIMIT), gzip.finish().unwrap())];
    for (packing, stored) in whole {
        let temp = tempfile::tempdir().unwrap();
        let name = |number: usize| FileName::new(format!("disk.{number:09}")).unwrap();
        let parts = stored.chunks(stored.len() / 3 + 1).enumerate().map(|(number, chunk)| {
            let path = temp.path().join(name(number).as_str());
            fs::write(&path, chunk).unwrap();
            let size_bytes = chunk.len() as u64;
            let source = Arc::new(PathSource::new(path, size_bytes));
            let promised = Some(Hasher::digest(DigestAlgorithm::Sha1, chunk));
            Stored { name: name(number), source, size_bytes, promised, at_hand: None }
        });
        let content = Content::new(FileName::new("disk").unwrap(), parts.collect(), packing);
        check_source(&content, &bytes()).await.unwrap();
    }
}

const LIMIT: Limit = Limit { fixed_bytes: 1 << 30, ratio: 0 };

/// Our files of a folder, as a store.
#[derive(Debug)]
struct Folder(PathBuf);

impl Store for Folder {
    fn create<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<Box<dyn Sink>>> {
        let path = self.0.join(file.as_str());
        let partial = partial_path(&path);
        async move { FileDestination::new(path, partial, Existing::Keep).create().await }.boxed()
    }

    fn remove<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<()>> {
        let path = self.0.join(file.as_str());
        async move { fs::remove_file(path) }.boxed()
    }
}

impl StoreView for Folder {
    fn read<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        let path: &Path = &self.0.join(file.as_str());
        let read = path.exists().then(|| fs::read(path)).transpose();
        async { read }.boxed()
    }

    fn everything(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        let name =
            |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        let names = fs::read_dir(&self.0).and_then(|entries| entries.map(name).collect());
        async { names }.boxed()
    }
}

#[tokio::test]
async fn a_folder_conforms() {
    let temp = tempfile::tempdir().unwrap();
    let folder = Folder(temp.path().to_owned());
    check_store(&folder, &folder).await.unwrap();
}

/// What a broken implementation does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Fault {
    #[default]
    None,
    VisibleEarly,
    LeftAfterAbort,
    LeftByDrop,
    ChunksTurned,
    EmptyChunkEnds,
    RemovesNothing,
    Mixes,
    NotAgain,
}

/// A store in memory; names of files that are not complete end in `.part`.
#[derive(Debug, Default)]
struct MemoryStore {
    fault: Fault,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    created: Mutex<Vec<FileName>>,
}

#[derive(Debug)]
struct MemorySink {
    fault: Fault,
    part: String,
    file: FileName,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Store for MemoryStore {
    fn create<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<Box<dyn Sink>>> {
        let mut created = self.created.lock().unwrap();
        if self.fault == Fault::NotAgain && created.contains(file) {
            return async { Err(io::ErrorKind::AlreadyExists.into()) }.boxed();
        }
        created.push(file.clone());
        let (fault, file, files) = (self.fault, file.clone(), Arc::clone(&self.files));
        let part = if fault == Fault::Mixes {
            "shared.part".to_owned()
        } else if fault == Fault::VisibleEarly {
            file.to_string()
        } else {
            format!("{file}.part")
        };
        files.lock().unwrap().insert(part.clone(), Vec::new());
        async move { Ok(Box::new(MemorySink { fault, part, file, files }) as Box<dyn Sink>) }
            .boxed()
    }

    fn remove<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<()>> {
        if self.fault != Fault::RemovesNothing {
            self.files.lock().unwrap().remove(file.as_str());
        }
        async { Ok(()) }.boxed()
    }
}

impl Sink for MemorySink {
    fn write(&mut self, mut batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        if self.fault == Fault::ChunksTurned {
            batch.reverse();
        }
        let mut files = self.files.lock().unwrap();
        let content = files.entry(self.part.clone()).or_default();
        for chunk in batch {
            if self.fault == Fault::EmptyChunkEnds && chunk.is_empty() {
                content.clear();
            }
            content.extend_from_slice(&chunk);
        }
        async { Ok(()) }.boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn commit(self: Box<Self>, proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        assert_eq!(*proof.file(), self.file);
        let mut files = self.files.lock().unwrap();
        if let Some(content) = files.remove(&self.part) {
            files.insert(self.file.to_string(), content);
        }
        async { Ok(()) }.boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        if self.fault != Fault::LeftAfterAbort {
            self.files.lock().unwrap().remove(&self.part);
        }
        async { Ok(()) }.boxed()
    }
}

impl Drop for MemorySink {
    fn drop(&mut self) {
        let mut files = self.files.lock().unwrap();
        if self.fault == Fault::LeftByDrop
            && let Some(content) = files.remove(&self.part)
        {
            files.insert(self.file.to_string(), content);
        }
    }
}

impl StoreView for MemoryStore {
    fn read<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        let content = self.files.lock().unwrap().get(file.as_str()).cloned();
        async { Ok(content) }.boxed()
    }

    fn everything(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        let names = self.files.lock().unwrap().keys().cloned().collect();
        async { Ok(names) }.boxed()
    }
}

#[tokio::test]
async fn broken_stores_are_caught_by_the_sentence_they_break() {
    for (fault, sentence) in [
        (Fault::None, None),
        (Fault::VisibleEarly, Some(&HIDDEN)),
        (Fault::LeftAfterAbort, Some(&ABORTED)),
        (Fault::LeftByDrop, Some(&DROPPED)),
        (Fault::ChunksTurned, Some(&WRITTEN)),
        (Fault::EmptyChunkEnds, Some(&WRITTEN)),
        (Fault::RemovesNothing, Some(&REMOVED)),
        (Fault::Mixes, Some(&APART)),
        (Fault::NotAgain, Some(&CREATED)),
    ] {
        let store = MemoryStore { fault, ..MemoryStore::default() };
        let violation = check_store(&store, &store).await.err();
        let found = violation.as_ref().map(Violation::sentence);
        assert_eq!(found, sentence.map(|point| point.sentence), "{fault:?}: {violation:?}");
    }
}

/// A source in memory whose `n`-th stream is made by a function.
struct Scripted {
    size_bytes: Option<u64>,
    opened: AtomicUsize,
    make: fn(usize) -> io::Result<Vec<io::Result<Bytes>>>,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Source for Scripted {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let made = (self.make)(self.opened.fetch_add(1, Ordering::Relaxed));
        async { Ok(futures::stream::iter(made?).boxed()) }.boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }
}

fn chunks(parts: &[&'static str]) -> io::Result<Vec<io::Result<Bytes>>> {
    Ok(parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect())
}

#[tokio::test]
async fn broken_sources_are_caught_by_the_sentence_they_break() {
    type Make = fn(usize) -> io::Result<Vec<io::Result<Bytes>>>;
    let cases: [(Option<u64>, Make, Option<&Point>); 12] = [
        (Some(6), |_| chunks(&["ab", "", "cdef"]), None),
        (None, |_| chunks(&["abcdef"]), None),
        (
            Some(6),
            |nth| {
                if nth == 0 { chunks(&["abcdef"]) } else { Err(io::ErrorKind::Unsupported.into()) }
            },
            None,
        ),
        (Some(7), |_| chunks(&["abcdef"]), Some(&SIZE)),
        (Some(6), |_| chunks(&["abcdef", "g"]), Some(&SIZE)),
        (None, |_| chunks(&["abcdefg"]), Some(&ORDER)),
        (Some(6), |_| chunks(&["cd", "ab", "ef"]), Some(&ORDER)),
        (Some(6), |_| chunks(&["ab", "cd"]), Some(&WHOLE)),
        (Some(6), |nth| chunks(if nth == 0 { &["abcdef"] } else { &["abcdeX"] }), Some(&AGAIN)),
        (Some(6), |nth| chunks(if nth == 0 { &["abcdef"] } else { &["def"] }), Some(&AGAIN)),
        (
            Some(6),
            |nth| if nth == 0 { chunks(&["abcdef"]) } else { Err(io::ErrorKind::NotFound.into()) },
            Some(&ONCE),
        ),
        (Some(6), |nth| chunks(if nth < 3 { &["ab", "cdef"] } else { &["ab"] }), Some(&SEVERAL)),
    ];
    for (number, (size_bytes, make, point)) in cases.into_iter().enumerate() {
        let source = Scripted { size_bytes, opened: AtomicUsize::new(0), make };
        let violation = check_source(&source, b"abcdef").await.err();
        let found = violation.as_ref().map(Violation::sentence);
        assert_eq!(found, point.map(|point| point.sentence), "{number}: {violation:?}");
    }
}

/// Files in memory that find what is not there, or say no size.
#[derive(Debug)]
struct MemoryFiles {
    finds_all: bool,
    size_bytes: Option<u64>,
}

impl PackageFiles for MemoryFiles {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn find<'a>(
        &'a self,
        file: &'a FileName,
    ) -> BoxFuture<'a, io::Result<Option<Arc<dyn Source>>>> {
        let is_there = self.finds_all || file.as_str() == "a";
        let (size_bytes, make) = (self.size_bytes, |_| chunks(&["abcdef"]));
        let source = Scripted { size_bytes, opened: AtomicUsize::new(0), make };
        async move { Ok(is_there.then(|| Arc::new(source) as Arc<dyn Source>)) }.boxed()
    }
}

#[tokio::test]
async fn broken_packages_are_caught_by_the_sentence_they_break() {
    for (finds_all, size_bytes, file, point) in [
        (false, Some(6), "a", None),
        (true, Some(6), "a", Some(&ABSENT)),
        (false, None, "a", Some(&KNOWN)),
        (false, Some(6), "b", Some(&NAME)),
    ] {
        let files = MemoryFiles { finds_all, size_bytes };
        let expected = [(FileName::new(file).unwrap(), b"abcdef".to_vec())];
        let violation = check_files(&files, &expected).await.err();
        let found = violation.as_ref().map(Violation::sentence);
        assert_eq!(found, point.map(|point| point.sentence), "{violation:?}");
    }
}
