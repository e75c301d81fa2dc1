//! What it costs to look at a package from far away.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt;
use ovftransfer::ByteStream;
use ovftransfer::Error;
use ovftransfer::Overview;

use crate::ETAG;
use crate::appliance;
use crate::options;
use crate::ova;
use crate::server::Reply;
use crate::server::Seen;
use crate::server::WebServer;
use crate::server::ranges;
use crate::server::whole;

async fn look(server: &WebServer, path: &str) -> Result<Overview, Error> {
    Overview::fetch(&server.url(path).parse().unwrap(), &options()).await
}

fn asked_bytes(requests: &[Seen]) -> usize {
    requests.iter().map(|seen| seen.range().map_or(usize::MAX, |(start, end)| end - start)).sum()
}

#[tokio::test]
async fn the_headers_of_an_ova_come_in_few_requests() {
    let file = ova();
    let len_bytes = file.len() as u64;
    let server = WebServer::plain(move |seen| ranges(seen, &file, ETAG));
    let overview = look(&server, "/web.ova").await.unwrap();
    assert_eq!(overview.location(), server.url("/web.ova"));
    assert!(overview.is_ova() && overview.is_whole() && overview.manifest().is_some());
    assert_eq!(overview.size_bytes(), Some(len_bytes));
    assert_eq!(overview.missing().count(), 0);
    for disk in overview.envelope().disks() {
        assert!(overview.download_bytes(disk).unwrap() > 1 << 20);
    }
    let requests = server.requests();
    // One for the small files, one for the header of the second disk, one for the end.
    assert!(requests.len() <= 3, "{requests:?}");
    assert!(asked_bytes(&requests) <= 3 * (64 << 10), "{requests:?}");
}

#[tokio::test]
async fn without_ranges_it_stops_at_the_first_disk() {
    let file = ova();
    let server = WebServer::plain(move |_| whole(&file));
    let overview = look(&server, "/web.ova").await.unwrap();
    assert!(overview.manifest().is_some() && !overview.is_whole());
    assert_eq!((overview.missing().count(), overview.size_bytes()), (0, None));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn files_beside_a_descriptor_are_asked_for_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    appliance().write_folder(folder.path()).unwrap();
    let path = folder.path().to_owned();
    let server = WebServer::plain(move |seen| match std::fs::read(path.join(&seen.path[1..])) {
        Ok(file) => ranges(seen, &file, ETAG),
        Err(_) => Reply::status(404),
    });
    let overview = look(&server, "/web.ovf").await.unwrap();
    assert!(!overview.is_ova() && overview.is_whole() && overview.manifest().is_some());
    assert!(!overview.has_certificate());
    assert_eq!(overview.missing().count(), 0);
    let sizes: u64 = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(overview.size_bytes(), Some(sizes));
    // The descriptor and the manifest, each with the rest that the first bytes did not bring; two
    // certificates that are not there; two disks.
    let requests = server.requests();
    assert!(requests.len() <= 8, "{requests:?}");
    assert!(!requests.iter().any(crate::is_disk), "{requests:?}");

    let disk = overview.envelope().references()[0].href().as_str();
    std::fs::remove_file(folder.path().join(disk)).unwrap();
    let overview = look(&server, "/web.ovf").await.unwrap();
    assert_eq!(overview.missing().map(|file| file.as_str()).collect::<Vec<_>>(), [disk]);
}

/// The bytes in pieces of 1 KiB, and how many pieces were taken.
fn counted(file: &[u8]) -> (ByteStream, Arc<AtomicUsize>) {
    let pieces: Vec<Bytes> = file.chunks(1 << 10).map(Bytes::copy_from_slice).collect();
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let count = move |piece| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(piece)
    };
    (futures::stream::iter(pieces).map(count).boxed(), taken)
}

#[tokio::test]
async fn a_stream_is_read_up_to_its_first_file() {
    let (stream, taken) = counted(&ova());
    let overview = Overview::from_stream(stream, "a pipe").await.unwrap();
    assert!(overview.manifest().is_some() && !overview.is_whole());
    let disks = overview.envelope().disks();
    // The next one's header has been read, the other's has not.
    assert!(overview.size_of(overview.envelope().references()[0].href()).is_some());
    assert!(overview.size_of(overview.envelope().references()[1].href()).is_none());
    assert!(disks.iter().all(|disk| overview.download_bytes(disk).is_some()));
    assert!(taken.load(Ordering::Relaxed) < 64, "{taken:?} KiB");
}

#[tokio::test]
async fn a_stream_is_no_package_if_it_is_none() {
    for file in [&b""[..], b"<Envelope/>", &[0; 4096]] {
        let (stream, _) = counted(file);
        let error = Overview::from_stream(stream, "a pipe").await.unwrap_err();
        assert!(matches!(error, Error::Ova { .. }), "{error:?}");
    }
    let mut changed = ova();
    let at = changed.windows(9).position(|bytes| bytes == b"<Envelope").unwrap();
    changed[at + 1] = b'e';
    let (stream, _) = counted(&changed);
    let error = Overview::from_stream(stream, "a pipe").await.unwrap_err();
    assert!(matches!(error, Error::Envelope { .. } | Error::DigestMismatch { .. }), "{error:?}");
}
