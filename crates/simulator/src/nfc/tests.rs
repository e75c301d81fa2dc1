use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use ovftransfer_vmdk::GrainReader;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use tokio::time::Instant;

use super::device::Transferred;
use super::*;
use crate::client::{Client, raw};
use crate::disk::{Blob, Disk, hex};
use crate::scenario::{Data, DataKind, DiskSpec, Fault, FaultKind, Spread, Uploads};
use crate::stream::write_disk;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TICKET: &str = "session[52a]5218";
const PATH: &str = "/nfc/session%5B52a%5D5218/disk-0.vmdk";

struct Bench {
    host: NfcHost,
    tickets: Arc<Tickets>,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new(host: &Host, faults: &[Fault]) -> Self {
        Self::with_rules(host, faults, &Scenario::default()).await
    }

    async fn with_rules(host: &Host, faults: &[Fault], rules: &Scenario) -> Self {
        let tickets = Arc::new(Tickets::default());
        let (script, rules) = (Arc::new(Script::new(faults)), Rules::of(rules));
        let grants = Grants { tickets: Arc::clone(&tickets), script, rules };
        let host = NfcHost::start(0, host, LOCAL, grants).await.unwrap();
        Self { host, tickets, folder: tempfile::tempdir().unwrap() }
    }

    fn grant(&self, device: Device) -> Arc<Device> {
        let device = Arc::new(device);
        self.tickets.grant(TICKET, 0, [Arc::clone(&device)]);
        device
    }

    /// A disk to read with 1 MiB of mixed data.
    fn readable(&self, disk: &Arc<Disk>) -> Arc<Device> {
        let device =
            Device::disk("/vm-1/0", "disk-0.vmdk", "vm", 0, Arc::clone(disk), Access::Read);
        self.grant(device)
    }

    fn writable(&self, capacity_bytes: u64) -> (Arc<Device>, Arc<Disk>) {
        let disk = Arc::new(Disk::stored(self.folder.path(), capacity_bytes).unwrap());
        let access = Access::WriteDisk;
        let device = Device::disk("/vm-1/0", "disk-0.vmdk", "vm", 0, Arc::clone(&disk), access);
        (self.grant(device), disk)
    }

    async fn client(&self) -> Client {
        Client::open(self.host.local_addr(), self.host.identity()).await
    }

    async fn download(&self) -> Result<Bytes, hyper::Error> {
        let mut client = self.client().await;
        let response = client.get(PATH).await?;
        assert_eq!(response.status(), StatusCode::OK);
        Ok(response.into_body().collect().await?.to_bytes())
    }

    async fn upload(&self, content: impl Into<Bytes>) -> Result<StatusCode, hyper::Error> {
        self.client().await.put("POST", PATH, content).await
    }
}

fn disk(kind: DataKind, amount: u64) -> Arc<Disk> {
    let data = Data::new(kind, amount, 11).with_spread(Spread::Even);
    Arc::new(Disk::generated(&DiskSpec::new(16 << 20).with_data(data)))
}

/// The disk as a stream.
fn vmdk(disk: &Disk) -> Vec<u8> {
    write_disk(disk, Vec::new()).unwrap().0
}

fn raw_sha256(vmdk: &[u8]) -> String {
    let mut reader = GrainReader::new(vmdk).unwrap();
    let mut raw = vec![0; usize::try_from(reader.capacity_bytes()).unwrap()];
    while let Some(grain) = reader.next_grain().unwrap() {
        let at = usize::try_from(grain.lba_sectors() * 512).unwrap();
        raw[at..at + grain.data().len()].copy_from_slice(grain.data());
    }
    hex(&Sha256::digest(raw))
}

fn fault(on: Direction, kind: FaultKind) -> Vec<Fault> {
    vec![Fault::new(on, kind)]
}

#[tokio::test]
async fn a_disk_goes_out_and_comes_back() {
    let bench = Bench::new(&Host::default(), &[]).await;
    let source = disk(DataKind::Mixed, 4 << 20);
    let device = bench.readable(&source);
    device.want_sha256();
    let stream = bench.download().await.unwrap();
    let line = device.transferred().unwrap();
    assert_eq!(line.sha1, hex(&Sha1::digest(&stream)));
    assert_eq!(line.sha256, Some(hex(&Sha256::digest(&stream))));
    assert_eq!(line.size_bytes, stream.len() as u64);
    assert_eq!(line.capacity_bytes, Some(16 << 20));
    assert_eq!(line.populated_bytes, Some(source.populated_bytes()));
    assert_eq!(device.moved_bytes(), line.size_bytes);
    assert_eq!(raw_sha256(&stream), source.digest().unwrap().raw_sha256);
    assert_eq!(bench.download().await.unwrap(), stream, "a second time");

    bench.tickets.revoke(TICKET);
    let (device, stored) = bench.writable(16 << 20);
    assert_eq!(bench.upload(stream.clone()).await.unwrap(), StatusCode::OK);
    assert_eq!(device.transferred(), Some(Transferred { sha256: None, ..line.clone() }));
    assert_eq!(stored.digest().unwrap(), source.digest().unwrap());

    let other = disk(DataKind::Text, 1 << 20);
    assert_eq!(bench.upload(vmdk(&other)).await.unwrap(), StatusCode::OK, "overwrites");
    assert_eq!(stored.digest().unwrap(), other.digest().unwrap());
    bench.host.stop().await;
}

#[tokio::test]
async fn files_are_put() {
    let bench = Bench::new(&Host::default(), &[]).await;
    let blob = Arc::new(Blob::new(bench.folder.path()).unwrap());
    let name = "my vm.nvram";
    let device = Device::file("/vm-1/nvram", name, "vm", Arc::clone(&blob), Access::WriteFile);
    let device = bench.grant(device);
    let path = format!("/ha-nfc/{TICKET}/my%20vm.nvram");
    let mut client = bench.client().await;
    assert_eq!(client.put("PUT", &path, "content").await.unwrap(), StatusCode::CREATED);
    assert_eq!(blob.sha256().unwrap(), hex(&Sha256::digest("content")));
    assert_eq!(device.transferred().unwrap().size_bytes, 7);
    assert_eq!(device.transferred().unwrap().capacity_bytes, None);
    let posted = client.put("POST", &path, "content").await.unwrap();
    assert_eq!(posted, StatusCode::METHOD_NOT_ALLOWED);

    bench.tickets.revoke(TICKET);
    let device = Device::file("/vm-1/nvram", name, "vm", Arc::clone(&blob), Access::Read);
    let device = bench.grant(device);
    let mut client = bench.client().await;
    let response = client.get(&path).await.unwrap();
    assert_eq!(response.headers()["content-length"], "7");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "content");
    assert_eq!(device.transferred().unwrap().sha1, hex(&Sha1::digest("content")));
    blob.clear().unwrap();
    assert_eq!(client.get(&path).await.unwrap().headers()["content-length"], "0");
    assert_eq!(device.transferred().unwrap().size_bytes, 0);
    bench.host.stop().await;
}

#[tokio::test]
async fn wrong_requests_are_refused_as_a_host_does() {
    let bench = Bench::new(&Host::default(), &[]).await;
    let (device, _) = bench.writable(16 << 20);
    let content = vmdk(&disk(DataKind::Text, 1 << 20));
    for (method, path, status) in [
        ("PUT", PATH, 405),
        ("DELETE", PATH, 405),
        ("POST", "/nfc/none/disk-0.vmdk", 404),
        ("POST", "/nfc/session%5B52a%5D5218/disk-1.vmdk", 404),
        ("POST", "/elsewhere", 404),
    ] {
        let answer = bench.client().await.put(method, path, content.clone()).await.unwrap();
        assert_eq!(answer.as_u16(), status, "{method} {path}");
    }
    assert_eq!(bench.client().await.get(PATH).await.unwrap().status(), 405);
    assert_eq!(bench.upload("no disk at all").await.unwrap(), 500);
    let (address, identity) = (bench.host.local_addr(), bench.host.identity());
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert!(raw(address, identity, &head).await.contains(" 500 "));
    assert_eq!(bench.upload(content[..content.len() - 512].to_vec()).await.unwrap(), 500);
    let mut flipped = content.clone();
    flipped[70_000] ^= 1;
    assert_eq!(bench.upload(flipped).await.unwrap(), 500);
    bench.tickets.revoke(TICKET);
    bench.writable(1 << 20);
    assert_eq!(bench.upload(content.clone()).await.unwrap(), 500, "larger than the disk");
    assert_eq!(device.transferred(), None);

    let chunks = stream::iter([Ok::<_, io::Error>(Frame::data(Bytes::from(content)))]);
    let body = BodyExt::boxed(StreamBody::new(chunks));
    let chunked = bench.client().await.send("POST", PATH, body).await.unwrap();
    assert_eq!(chunked.status(), StatusCode::LENGTH_REQUIRED);
    bench.host.stop().await;
}

#[tokio::test]
async fn raw_brackets_are_understood_and_a_short_body_is_not_counted() {
    let bench = Bench::new(&Host::default(), &[]).await;
    let (device, _) = bench.writable(16 << 20);
    let (address, identity) = (bench.host.local_addr(), bench.host.identity());
    let head =
        format!("GET /nfc/{TICKET}/disk-0.vmdk HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(raw(address, identity, &head).await.contains(" 405 "));

    let mut stream = crate::client::connect(address, identity).await.unwrap();
    let content = vmdk(&disk(DataKind::Text, 1 << 20));
    let head =
        format!("POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", content.len() + 1);
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &content).await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    while bench.host.connections() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(device.transferred(), None);
    assert!(device.moved_bytes() > 0);
    bench.host.stop().await;
}

#[tokio::test]
async fn the_pace_is_kept_both_ways() {
    let host = Host { throttle_mb_per_s_per_stream: Some(4.0), ..Host::default() };
    let bench = Bench::new(&host, &[]).await;
    bench.readable(&disk(DataKind::Random, 2 << 20));
    let start = Instant::now();
    let stream = bench.download().await.unwrap();
    let due = |len: usize| f64::from(u32::try_from(len).unwrap()) / 4e6;
    let taken = start.elapsed().as_secs_f64();
    // Never faster; how much slower is up to the machine.  The pace itself is tested on a paused
    // clock in `throttle`.
    assert!((0.9..4.0).contains(&(taken / due(stream.len()))), "down: {taken} s");

    bench.tickets.revoke(TICKET);
    bench.writable(16 << 20);
    let start = Instant::now();
    let len = stream.len();
    assert_eq!(bench.upload(stream).await.unwrap(), StatusCode::OK);
    let taken = start.elapsed().as_secs_f64();
    assert!((0.9..4.0).contains(&(taken / due(len))), "up: {taken} s");
    bench.host.stop().await;
}

#[tokio::test]
async fn faults_of_downloads_strike_once() {
    let source = disk(DataKind::Random, 2 << 20);
    let whole = vmdk(&source);
    for kind in [FaultKind::ResetAfterBytes(1_000_000), FaultKind::ResetAfterBytes(0)] {
        let bench = Bench::new(&Host::default(), &fault(Direction::Export, kind)).await;
        let device = bench.readable(&source);
        assert!(bench.download().await.is_err());
        assert_eq!(device.transferred(), None);
        assert_eq!(bench.download().await.unwrap(), whole);
        bench.host.stop().await;
    }

    let faults = fault(Direction::Export, FaultKind::TruncateAfterBytes(1_000_000));
    let bench = Bench::new(&Host::default(), &faults).await;
    let device = bench.readable(&source);
    assert_eq!(bench.download().await.unwrap(), whole[..1_000_000]);
    assert_eq!(device.transferred().unwrap().sha1, hex(&Sha1::digest(&whole)));
    bench.host.stop().await;

    let faults = fault(Direction::Export, FaultKind::FlipBitAt(1_000_000));
    let bench = Bench::new(&Host::default(), &faults).await;
    let device = bench.readable(&source);
    let mut flipped = bench.download().await.unwrap().to_vec();
    flipped[1_000_000] ^= 1;
    assert_eq!(flipped, whole);
    assert_eq!(device.transferred().unwrap().sha1, hex(&Sha1::digest(&whole)));
    bench.host.stop().await;

    let faults = fault(Direction::Export, FaultKind::WrongDigest);
    let bench = Bench::new(&Host::default(), &faults).await;
    let device = bench.readable(&source);
    assert_eq!(bench.download().await.unwrap(), whole);
    assert_ne!(device.transferred().unwrap().sha1, hex(&Sha1::digest(&whole)));
    bench.host.stop().await;
}

#[tokio::test]
async fn faults_of_uploads_strike_once() {
    let source = disk(DataKind::Random, 2 << 20);
    let whole = vmdk(&source);

    let faults = fault(Direction::Import, FaultKind::ResetAfterBytes(1_000_000));
    let bench = Bench::new(&Host::default(), &faults).await;
    let (device, stored) = bench.writable(16 << 20);
    assert!(bench.upload(whole.clone()).await.is_err());
    assert_eq!(device.transferred(), None);
    assert_eq!(bench.upload(whole.clone()).await.unwrap(), StatusCode::OK);
    assert_eq!(stored.digest().unwrap(), source.digest().unwrap());
    bench.host.stop().await;

    let faults = fault(Direction::Import, FaultKind::TruncateAfterBytes(1_000_000));
    let bench = Bench::new(&Host::default(), &faults).await;
    let (device, _) = bench.writable(16 << 20);
    assert_eq!(bench.upload(whole.clone()).await.unwrap(), StatusCode::OK);
    assert_eq!(device.transferred().unwrap().sha1, hex(&Sha1::digest(&whole[..1_000_000])));
    bench.host.stop().await;

    for (kind, status) in [
        (FaultKind::FlipBitAt(1_000_000), 500),
        (FaultKind::Status(503), 503),
        (FaultKind::WrongDigest, 200),
    ] {
        let bench = Bench::new(&Host::default(), &fault(Direction::Import, kind)).await;
        let (device, _) = bench.writable(16 << 20);
        assert_eq!(bench.upload(whole.clone()).await.unwrap(), status);
        let sha1 = device.transferred().map(|line| line.sha1);
        assert_ne!(sha1, Some(hex(&Sha1::digest(&whole))));
        bench.host.stop().await;
    }
}

#[tokio::test]
async fn revoking_a_ticket_cuts_what_runs() {
    let host = Host::default();
    let stalls = |on| fault(on, FaultKind::StallAfterBytes(100_000));
    let later = async |bench: &Bench, device: &Device| {
        while device.moved_bytes() < 100_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.tickets.revoke(TICKET);
    };

    let bench = Bench::new(&host, &stalls(Direction::Export)).await;
    let device = bench.readable(&disk(DataKind::Random, 2 << 20));
    let (downloaded, ()) = tokio::join!(bench.download(), later(&bench, &device));
    assert!(downloaded.is_err());
    bench.host.stop().await;

    let bench = Bench::new(&host, &stalls(Direction::Import)).await;
    let (device, _) = bench.writable(16 << 20);
    let content = vmdk(&disk(DataKind::Random, 2 << 20));
    let (uploaded, ()) = tokio::join!(bench.upload(content), later(&bench, &device));
    assert!(uploaded.is_err());
    assert_eq!(bench.upload("x").await.unwrap(), StatusCode::NOT_FOUND);
    bench.host.stop().await;
}

#[tokio::test]
async fn many_disks_move_at_once() {
    let bench = Bench::new(&Host::default(), &[]).await;
    let source = disk(DataKind::Mixed, 4 << 20);
    for index in 0..8 {
        let name = format!("disk-{index}.vmdk");
        let device = Device::disk(&name, &name, "vm", index, Arc::clone(&source), Access::Read);
        bench.grant(device);
    }
    let whole = vmdk(&source);
    let downloads = (0..8).map(|index| {
        let bench = &bench;
        async move {
            let path = format!("/nfc/session%5B52a%5D5218/disk-{index}.vmdk");
            let mut client = bench.client().await;
            let response = client.get(&path).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        }
    });
    for stream in futures::future::join_all(downloads).await {
        assert_eq!(stream, whole);
    }
    bench.host.stop().await;
}

#[tokio::test]
async fn what_repeats_is_served_as_it_is_and_hashed_once() {
    let bench = Bench::new(&Host::default(), &[]).await;
    let source = disk(DataKind::Repeat, 4 << 20);
    let device = bench.readable(&source);
    let whole = bench.download().await.unwrap();
    let sha1 = hex(&Sha1::digest(&whole));
    assert_eq!(raw_sha256(&whole), source.digest().unwrap().raw_sha256);
    assert_eq!(device.transferred().unwrap().sha1, sha1);
    assert!(source.stream_digest(false).is_some() && source.stream_digest(true).is_none());
    device.want_sha256();
    assert_eq!(bench.download().await.unwrap(), whole);
    let line = device.transferred().unwrap();
    assert_eq!(line.sha256, Some(hex(&Sha256::digest(&whole))));
    assert_eq!(bench.download().await.unwrap(), whole);
    assert_eq!(device.transferred(), Some(line.clone()));
    assert_eq!((line.sha1, line.size_bytes), (sha1, whole.len() as u64));
    bench.host.stop().await;
}

#[tokio::test]
async fn a_host_that_stores_nothing_has_a_right_manifest_or_none() {
    let content = vmdk(&disk(DataKind::Random, 3 << 20));
    let mut other = content.clone();
    other[2_000_000] ^= 1;
    let host = Host { uploads: Uploads::Hash, ..Host::default() };
    let bench = Bench::new(&host, &[]).await;
    let (device, stored) = bench.writable(16 << 20);
    device.want_sha256();
    for content in [&content, &content, &other] {
        assert_eq!(bench.upload(content.clone()).await.unwrap(), StatusCode::OK);
        let line = device.transferred().unwrap();
        assert_eq!(line.sha1, hex(&Sha1::digest(content)));
        assert_eq!(line.sha256, Some(hex(&Sha256::digest(content))));
        assert_eq!((line.size_bytes, line.capacity_bytes), (content.len() as u64, Some(16 << 20)));
    }
    assert_eq!(stored.populated_bytes(), 0);
    bench.host.stop().await;

    // A fault strikes here as well.
    let bench = Bench::new(&host, &fault(Direction::Import, FaultKind::WrongDigest)).await;
    let (device, _) = bench.writable(16 << 20);
    assert_eq!(bench.upload(content.clone()).await.unwrap(), StatusCode::OK);
    assert_ne!(device.transferred().unwrap().sha1, hex(&Sha1::digest(&content)));
    bench.host.stop().await;

    let host = Host { uploads: Uploads::Drop, ..Host::default() };
    let bench = Bench::new(&host, &[]).await;
    let (device, stored) = bench.writable(16 << 20);
    assert_eq!(bench.upload(content.clone()).await.unwrap(), StatusCode::OK);
    assert_eq!(device.transferred(), None);
    assert_eq!((device.moved_bytes(), stored.populated_bytes()), (content.len() as u64, 0));
    bench.host.stop().await;
}
