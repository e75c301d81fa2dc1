//! Packages on web servers: what is asked for, what is believed, and what is not.
//!
//! Over real sockets; what a server does wrong is scripted.
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

mod imports;
mod looks;
mod server;

use std::sync::Arc;
use std::time::Duration;

use ovftransfer::CheckedFile;
use ovftransfer::Error;
use ovftransfer::ErrorKind;
use ovftransfer::FetchOptions;
use ovftransfer::Package;
use ovftransfer::PackageUrl;
use ovftransfer::Trust;
use ovftransfer::check_package;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::Data;
use ovftransfer_simulator::scenario::DataKind;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Machine;
use server::Reply;
use server::Seen;
use server::WebServer;
use server::ranges;
use server::whole;

const ETAG: &str = "\"one\"";

/// A machine with two disks, as an OVA in memory.
fn ova() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.ova");
    appliance().write_ova(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn appliance() -> Appliance {
    let mut machine = Machine::new("web");
    for seed in [1, 2] {
        let data = Data::new(DataKind::Random, 1 << 20, seed);
        machine.disks.push(DiskSpec::new(16 << 20).with_data(data));
    }
    machine.networks = vec!["VM Network".to_owned()];
    Appliance::new(machine)
}

/// Limits of milliseconds.
fn options() -> FetchOptions {
    let mut options = FetchOptions::default();
    options.window = Duration::from_millis(400);
    options.pause = Duration::from_millis(5);
    options
}

async fn fetch(url: &str, options: &FetchOptions) -> Result<Package, Error> {
    Package::fetch(&url.parse().unwrap(), options).await
}

async fn check(package: Package) -> Result<Vec<CheckedFile>, Error> {
    let (meter, policy, cancel) = Default::default();
    Ok(check_package(Arc::new(package), &policy, meter, &cancel).await?.files)
}

/// Fetches and checks an OVA.
async fn read(server: &WebServer) -> Result<Vec<CheckedFile>, Error> {
    check(fetch(&server.url("/web.ova"), &options()).await?).await
}

/// Serves an OVA by ranges, but for what `change` does to an answer.
fn changed(change: impl Fn(&Seen, Reply) -> Reply + Send + Sync + 'static) -> WebServer {
    let ova = ova();
    WebServer::plain(move |seen| change(seen, ranges(seen, &ova, ETAG)))
}

/// Whether a request is for the bytes of a disk, and not for a small piece.
fn is_disk(seen: &Seen) -> bool {
    seen.range().is_some_and(|(start, end)| end - start > 200_000)
}

#[tokio::test]
async fn an_ova_is_read_by_ranges_of_one_and_the_same_file() {
    let server = changed(|_, reply| reply);
    let package = fetch(&server.url("/web.ova"), &options()).await.unwrap();
    assert!(!package.is_in_order());
    assert_eq!(package.location(), server.url("/web.ova"));
    // The descriptor is not worth a request of its own, and no disk has been read.
    assert!(server.requests().len() <= 4, "{:?}", server.requests());
    assert!(!server.requests().iter().any(is_disk));
    let checked = check(package).await.unwrap();
    assert!(checked.len() == 2 && checked.iter().all(|file| file.in_manifest));
    let requests = server.requests();
    assert_eq!(requests.iter().filter(|seen| is_disk(seen)).count(), 2);
    for (nth, seen) in requests.iter().enumerate() {
        assert!(seen.range().is_some(), "{seen:?}");
        assert_eq!(seen.header("if-range"), (nth > 0).then_some(ETAG));
        assert_eq!(seen.header("accept-encoding"), Some("identity"));
        assert!(seen.header("cookie").is_none() && seen.header("authorization").is_none());
    }
}

#[tokio::test]
async fn without_ranges_an_ova_is_read_once_in_its_order() {
    let file = ova();
    let no_ranges = WebServer::plain(move |_| whole(&file).with("ETag", ETAG));
    // Ranges, but nothing to recognise the file by.
    let no_identity = changed(|_, reply| reply.without("ETag"));
    let weak = changed(|_, reply| reply.with("ETag", "W/\"one\""));
    for server in [no_ranges, no_identity, weak] {
        let package = fetch(&server.url("/web.ova"), &options()).await.unwrap();
        assert!(package.is_in_order());
        assert_eq!(check(package).await.unwrap().len(), 2);
        assert!(server.requests().len() <= 2, "{:?}", server.requests());
    }
}

#[tokio::test]
async fn a_date_recognises_a_file_too() {
    const DATE: &str = "Sat, 21 Nov 2026 06:00:00 GMT";
    let server = changed(|seen, reply| {
        assert!(seen.header("if-range").is_none_or(|validator| validator == DATE));
        reply.without("ETag").with("Last-Modified", DATE)
    });
    // The server knows only its tag: to it, the date is that of another file.
    let error = read(&server).await.unwrap_err();
    assert!(error.chain().contains("has changed"), "{}", error.chain());
    let file = ova();
    let server = WebServer::plain(move |seen| {
        let mut seen = seen.clone();
        if seen.headers.remove("if-range").is_some_and(|date| date != DATE) {
            return Reply::status(500);
        }
        ranges(&seen, &file, ETAG).without("ETag").with("Last-Modified", DATE)
    });
    assert_eq!(read(&server).await.unwrap().len(), 2);
}

/// What HTTP libraries let pass, and their like.
#[tokio::test]
async fn what_was_not_asked_for_is_not_believed() {
    type Change = fn(&Seen, Reply) -> Reply;
    let cases: [(&str, Change); 10] = [
        ("asked for bytes", |_, reply| {
            match reply.headers.iter().find(|(n, _)| n == "Content-Range") {
                Some((_, range)) => {
                    let shifted = range.replacen("bytes ", "bytes 1", 1);
                    reply.clone().with("Content-Range", &shifted)
                }
                None => reply,
            }
        }),
        ("asked for bytes", |seen, reply| {
            let range = reply.headers.iter().find(|(name, _)| name == "Content-Range");
            match range.filter(|_| is_disk(seen)) {
                Some((_, range)) => {
                    // A byte less, of the same file.
                    let (start, rest) = range.split_once('-').unwrap();
                    let (last, total) = rest.split_once('/').unwrap();
                    let last = last.parse::<u64>().unwrap() - 1;
                    reply.clone().with("Content-Range", &format!("{start}-{last}/{total}"))
                }
                None => reply,
            }
        }),
        ("which range", |seen, reply| match is_disk(seen) {
            true => reply.without("Content-Range"),
            false => reply,
        }),
        ("all of it", |seen, mut reply| {
            if is_disk(seen) {
                reply.status = 200;
            }
            reply
        }),
        ("has changed", |seen, reply| match is_disk(seen) {
            true => reply.with("ETag", "\"two\""),
            false => reply,
        }),
        ("has changed", |seen, reply| match is_disk(seen) {
            true => reply.without("ETag"),
            false => reply,
        }),
        ("another size", |seen, reply| {
            let range = reply.headers.iter().find(|(name, _)| name == "Content-Range");
            match range.filter(|_| is_disk(seen)) {
                Some((_, range)) => {
                    let longer = format!("{range}0");
                    reply.clone().with("Content-Range", &longer)
                }
                None => reply,
            }
        }),
        ("compresses", |_, reply| reply.with("Content-Encoding", "gzip")),
        ("it is shorter", |seen, reply| if is_disk(seen) { Reply::status(416) } else { reply }),
        ("answered 500", |seen, reply| if is_disk(seen) { Reply::status(500) } else { reply }),
    ];
    for (words, change) in cases {
        let server = changed(change);
        let error = read(&server).await.unwrap_err();
        assert!(error.chain().contains(words), "{words}: {}", error.chain());
        assert_eq!(error.kind(), ErrorKind::Network, "{}", error.chain());
    }
}

#[tokio::test]
async fn a_file_that_changes_between_two_ranges_is_no_mixture() {
    let (one, mut two) = (ova(), ova());
    let last = two.len() - 2000;
    two[last] ^= 1;
    let server = WebServer::plain(move |seen| match seen.before {
        0..=1 => ranges(seen, &one, ETAG),
        _ => ranges(seen, &two, "\"two\""),
    });
    let error = read(&server).await.unwrap_err();
    assert!(error.chain().contains("has changed"), "{}", error.chain());
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let server = changed(|seen, reply| {
        let cut_at = is_disk(seen).then_some(300_000);
        Reply { cut_at, ..reply }
    });
    assert_eq!(read(&server).await.unwrap().len(), 2);
    let starts: Vec<usize> =
        server.requests().iter().filter_map(|seen| Some(seen.range()?.0)).collect();
    // Of two disks, side by side.
    let goes_on = |start: &&usize| starts.contains(&(**start + 300_000));
    assert!(starts.iter().filter(goes_on).count() >= 4, "{starts:?}");
    for seen in server.requests().iter().skip(1) {
        assert_eq!(seen.header("if-range"), Some(ETAG));
    }
}

#[tokio::test]
async fn a_download_that_breaks_each_time_comes_to_an_end() {
    let server = changed(|seen, reply| {
        let cut_at = is_disk(seen).then_some(0);
        Reply { cut_at, ..reply }
    });
    let error = read(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{}", error.chain());
    assert!(server.requests().len() < 20, "{}", server.requests().len());
}

#[tokio::test]
async fn without_ranges_nothing_is_taken_up_again() {
    let file = ova();
    let server = WebServer::plain(move |_| Reply { cut_at: Some(400_000), ..whole(&file) });
    let error = read(&server).await.unwrap_err();
    assert!(matches!(error, Error::Stream { .. }), "{}", error.chain());
    // A body without a length looks whole wherever it breaks.
    let file = ova();
    let server = WebServer::plain(move |_| whole(&file).without("Content-Length"));
    let error = read(&server).await.unwrap_err();
    assert!(error.chain().contains("how long"), "{}", error.chain());
}

#[tokio::test]
async fn who_trickles_is_left() {
    let server = changed(|seen, reply| {
        let trickle_from = is_disk(seen).then_some(1000);
        Reply { trickle_from, ..reply }
    });
    let limit = Duration::from_secs(30);
    let read = tokio::time::timeout(limit, read(&server)).await;
    let error = read.expect("it waits for every single byte").unwrap_err();
    assert!(error.chain().contains("too slow"), "{}", error.chain());
    assert_eq!(error.kind(), ErrorKind::Network);
}

#[tokio::test]
async fn a_server_that_is_overloaded_is_asked_again() {
    let server = changed(|seen, reply| match seen.before {
        0 | 1 | 4 => Reply::status(503),
        _ => reply,
    });
    assert_eq!(read(&server).await.unwrap().len(), 2);
}

#[tokio::test]
async fn refusals_have_their_kind() {
    for (status, kind) in [
        (401, ErrorKind::Permission),
        (403, ErrorKind::Permission),
        (404, ErrorKind::NotFound),
        (410, ErrorKind::NotFound),
        (405, ErrorKind::Network),
        (500, ErrorKind::Network),
    ] {
        let server = WebServer::plain(move |_| Reply::status(status));
        let error = read(&server).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {}", error.chain());
    }
}

fn trusting(server: &WebServer) -> FetchOptions {
    let mut options = options();
    options.trust = Trust::CaPem(Arc::from(server.pem.as_bytes()));
    options
}

#[tokio::test]
async fn five_redirects_are_followed_and_no_sixth() {
    let file = ova();
    let server =
        WebServer::tls(move |seen| match seen.path.trim_start_matches('/').parse::<u32>() {
            Ok(0) => ranges(seen, &file, ETAG),
            Ok(left) => Reply::redirect(&format!("/{}", left - 1)).with("Set-Cookie", "id=1"),
            Err(_) => Reply::status(404),
        });
    let url = server.url("/5").replace("https://", "https://me:hunter2@");
    let package = fetch(&url, &trusting(&server)).await.unwrap();
    assert_eq!(check(package).await.unwrap().len(), 2);
    let fetched = server.requests();
    let error = fetch(&server.url("/6"), &trusting(&server)).await.unwrap_err();
    assert!(error.chain().contains("more than 5 redirects"), "{}", error.chain());
    for seen in &fetched {
        assert!(seen.header("cookie").is_none(), "{seen:?}");
        // bWU6aHVudGVyMg== is me:hunter2; it is for the place that was named.
        let expected = (seen.path == "/5").then_some("Basic bWU6aHVudGVyMg==");
        assert_eq!(seen.header("authorization"), expected, "{}", seen.path);
    }
    // The way is gone once.
    assert_eq!(fetched.iter().filter(|seen| seen.path == "/3").count(), 1);
}

#[tokio::test]
async fn a_way_that_is_closed_is_looked_up_again() {
    let file = ova();
    let server = WebServer::tls(move |seen| match seen.path.as_str() {
        "/web.ova" => Reply::redirect(&format!("/signed-{}", seen.before)),
        "/signed-0" if seen.before > 2 => Reply::status(403),
        _ => ranges(seen, &file, ETAG),
    });
    let package = fetch(&server.url("/web.ova"), &trusting(&server)).await.unwrap();
    assert_eq!(check(package).await.unwrap().len(), 2);
    assert!(server.requests().iter().filter(|seen| seen.path == "/web.ova").count() > 1);
}

#[tokio::test]
async fn redirects_lead_to_https_only() {
    let file = ova();
    let plain = WebServer::plain(move |seen| ranges(seen, &file, ETAG));
    let away = plain.url("/web.ova");
    let server = WebServer::tls(move |_| Reply::redirect(&away));
    let error = fetch(&server.url("/web.ova"), &trusting(&server)).await.unwrap_err();
    assert!(error.chain().contains("not https"), "{}", error.chain());
    assert_eq!(plain.requests().len(), 0);
    for location in ["https://u:hunter2@127.0.0.1/x", "", "https://"] {
        let server = WebServer::tls(move |_| match location {
            "" => Reply::status(302),
            _ => Reply::redirect(location),
        });
        let error = fetch(&server.url("/web.ova"), &trusting(&server)).await.unwrap_err();
        assert!(error.chain().contains("redirect"), "{}", error.chain());
        assert!(!error.chain().contains("hunter2"), "{}", error.chain());
    }
}

#[tokio::test]
async fn who_is_not_trusted_gets_no_request() {
    let file = ova();
    let server = WebServer::tls(move |seen| ranges(seen, &file, ETAG));
    let url = server.url("/web.ova");
    let error = fetch(&url, &options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{}", error.chain());
    let mut pinned = options();
    pinned.trust = Trust::Pinned("00112233445566778899aabbccddeeff00112233".parse().unwrap());
    let error = fetch(&url, &pinned).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{}", error.chain());
    assert_eq!(server.requests().len(), 0);
    // The certificate that was shown is named, so that it can be compared and pinned.
    let chain = error.chain();
    let shown = chain.split("thumbprint ").nth(1).unwrap().split(',').next().unwrap();
    pinned.trust = Trust::Pinned(shown.parse().unwrap());
    assert_eq!(check(fetch(&url, &pinned).await.unwrap()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_pin_is_for_the_host_that_was_named() {
    let file = ova();
    let mirror = WebServer::tls(move |seen| ranges(seen, &file, ETAG));
    let away = mirror.url("/web.ova");
    let server = WebServer::tls(move |_| Reply::redirect(&away));
    let url: PackageUrl = server.url("/web.ova").parse().unwrap();
    let mut options = options();
    options.trust = Trust::Insecure;
    Package::fetch(&url, &options).await.unwrap();
    options.trust = Trust::Pinned("00112233445566778899aabbccddeeff00112233".parse().unwrap());
    let error = Package::fetch(&url, &options).await.unwrap_err();
    let shown = error.chain();
    let shown = shown.split("thumbprint ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    options.trust = Trust::Pinned(shown.parse().unwrap());
    let before = mirror.requests().len();
    let error = Package::fetch(&url, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{}", error.chain());
    assert_eq!(mirror.requests().len(), before, "the mirror was asked without being trusted");
}
