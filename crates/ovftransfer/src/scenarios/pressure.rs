//! Back-pressure, fairness, and limits that many transfers share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use http::Request;
use http::Response;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_vim::Endpoint;
use ovftransfer_vim::lease::DeviceUrl;
use ovftransfer_vim::tls::Trust;
use ovftransfer_vim::transport::Body;
use ovftransfer_vim::transport::Transport;
use ovftransfer_vim::transport::TransportError;
use tokio_util::sync::CancellationToken;

use crate::copy::Copy;
use crate::inspect::DiskCheck;
use crate::inspect::Inspect;
use crate::inspect::Position;
use crate::meter::Meter;
use crate::store::ByteStream;
use crate::store::Destination;
use crate::store::Nowhere;
use crate::store::Sink;
use crate::store::Source;
use crate::store::device::Device;
use crate::store::device::DeviceDestination;
use crate::store::device::Upload;
use crate::verify::Verified;

/// A file that is made while it is read; it knows how much of it is in memory.
#[derive(Debug, Default)]
struct Endless {
    alive: Arc<Alive>,
}

#[derive(Debug, Default)]
struct Alive {
    now_bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

/// A chunk that says when it is gone.
struct Chunk(Vec<u8>, Arc<Alive>);

impl Chunk {
    fn new(alive: &Arc<Alive>) -> Self {
        let now = alive.now_bytes.fetch_add(CHUNK_BYTES, Ordering::Relaxed) + CHUNK_BYTES;
        alive.peak_bytes.fetch_max(now, Ordering::Relaxed);
        Self(vec![7; usize::try_from(CHUNK_BYTES).unwrap()], Arc::clone(alive))
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.1.now_bytes.fetch_sub(CHUNK_BYTES, Ordering::Relaxed);
    }
}

impl Source for Endless {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let alive = Arc::clone(&self.alive);
        let chunks =
            (0..FILE_BYTES / CHUNK_BYTES).map(move |_| Ok(Bytes::from_owner(Chunk::new(&alive))));
        std::future::ready(Ok(futures::stream::iter(chunks).boxed())).boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(FILE_BYTES)
    }
}

/// Takes a batch in its own time.
#[derive(Debug)]
struct Slow;

impl Sink for Slow {
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(batch);
            Ok(())
        }
        .boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn commit(self: Box<Self>, _: &Verified) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// A host that takes a chunk in its own time.
#[derive(Debug)]
struct SlowHost;

impl Transport for SlowHost {
    fn send(
        &self,
        request: Request<Body>,
        _: &Trust,
    ) -> BoxFuture<'_, Result<Response<ByteStream>, TransportError>> {
        async move {
            let Body::Stream { mut stream, .. } = request.into_body() else { panic!("no upload") };
            while let Ok(Some(chunk)) = stream.try_next().await {
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(chunk);
            }
            Ok(Response::new(futures::stream::empty().boxed()))
        }
        .boxed()
    }
}

async fn copy(source: &Endless, sink: &mut dyn Sink) {
    let file = FileName::new("disk.vmdk").unwrap();
    let inspect = Inspect { algorithms: vec![DigestAlgorithm::Sha256], disk: DiskCheck::None };
    let meter = Meter::default().add_file(&file, FILE_BYTES);
    let copy = Copy {
        file: &file,
        source,
        source_at: "the source",
        sink_at: "the sink",
        inspect: &inspect,
        position: Position::Bytes,
        meter: &meter,
        stall: Duration::from_secs(600),
    };
    let (bytes, _) = copy.run(sink, &CancellationToken::new()).await.unwrap();
    assert_eq!(bytes, FILE_BYTES);
}

#[tokio::test(start_paused = true)]
async fn a_slow_sink_does_not_fill_the_memory() {
    let source = Endless::default();
    copy(&source, &mut Slow).await;
    let peak = source.alive.peak_bytes.load(Ordering::Relaxed);
    assert!(peak <= BATCHES_MAX * BATCH_BYTES, "{peak} bytes were in memory");
}

#[tokio::test(start_paused = true)]
async fn a_slow_host_does_not_fill_the_memory() {
    let url = DeviceUrl::parse("https://esx/nfc/1/d.vmdk", &Endpoint::new("vc", 443)).unwrap();
    let device = Device { transport: Arc::new(SlowHost), url, trust: Trust::System };
    let upload = DeviceDestination { device, upload: Upload::Disk, len_bytes: FILE_BYTES };
    let source = Endless::default();
    copy(&source, &mut *upload.create().await.unwrap()).await;
    let peak = source.alive.peak_bytes.load(Ordering::Relaxed);
    assert!(peak <= BATCHES_MAX * BATCH_BYTES, "{peak} bytes were in memory");
}

/// A source and a sink that never have to be waited for leave their thread to others all the same:
/// the heartbeat is one of them.
#[tokio::test]
async fn a_fast_stream_lets_others_run() {
    let source = Endless::default();
    let mut turns = 0_u64;
    let others = async {
        loop {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    let mut sink = Nowhere;
    tokio::select! {
        () = copy(&source, &mut sink) => {}
        () = others => {}
    }
    let batches = FILE_BYTES / BATCH_BYTES;
    assert!(turns >= batches / 2, "{turns} turns beside {batches} batches");
}

const CHUNK_BYTES: u64 = 16 << 10;

/// What a stream hands on in one piece.
const BATCH_BYTES: u64 = 256 << 10;

/// One that is read, one that is hashed, one that is written.
const BATCHES_MAX: u64 = 3;

const FILE_BYTES: u64 = 16 << 20;
