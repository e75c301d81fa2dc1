//! Files that the descriptor names by their addresses on web servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use ovftransfer::CheckedFile;
use ovftransfer::Convert;
use ovftransfer::Converted;
use ovftransfer::Error;
use ovftransfer::ErrorKind;
use ovftransfer::FetchOptions;
use ovftransfer::Package;
use ovftransfer::Repair;
use ovftransfer::Trust;
use sha2::Digest;
use sha2::Sha256;
use sha2::Sha512;

use super::World;
use super::check;
use super::server::Reply;
use super::server::Seen;
use super::server::WebServer;
use super::server::ranges;
use super::shelf::ETAG;
use super::shelf::PLACES;
use super::shelf::Place;
use super::shelf::Shelf;

/// A web server for files that are put there.
struct Host {
    server: WebServer,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Host {
    fn new(make: impl FnOnce(Answer) -> WebServer) -> Self {
        let files = Arc::new(Mutex::new(BTreeMap::<String, Vec<u8>>::new()));
        let served = Arc::clone(&files);
        let server = make(Box::new(move |seen| match served.lock().unwrap().get(&seen.path) {
            Some(bytes) => ranges(seen, bytes, ETAG),
            None => Reply::status(404),
        }));
        Self { server, files }
    }

    fn tls() -> Self {
        Self::new(|answer| WebServer::tls(answer))
    }

    fn plain() -> Self {
        Self::new(|answer| WebServer::plain(answer))
    }

    /// Takes the files of a disk out of a package, which names them by their address then.
    fn take(&self, mut shelf: Shelf, disk: usize) -> Shelf {
        let envelope = shelf.envelope();
        let href = envelope.references()[disk].href().as_str().to_owned();
        let url = self.server.url(&format!("/far/{href}"));
        let mut files = self.files.lock().unwrap();
        shelf.files.retain(|(name, bytes)| {
            let is_other = !name.starts_with(&href);
            if !is_other {
                files.insert(format!("/far/{name}"), bytes.clone());
            }
            is_other
        });
        let manifest = String::from_utf8(shelf.files[1].1.clone()).unwrap();
        let manifest = manifest.replace(&format!("({href}"), &format!("({url}"));
        let mut shelf =
            shelf.edited(|text| text.replace(&format!("\"{href}\""), &format!("\"{url}\"")));
        let signed = String::from_utf8(shelf.files[1].1.clone()).unwrap();
        let far = manifest.lines().filter(|line| line.contains(&url));
        let far: String = far.map(|line| format!("{line}\n")).collect();
        shelf.files[1].1 = format!("{signed}{far}").into_bytes();
        shelf
    }
}

type Answer = Box<dyn Fn(&Seen) -> Reply + Send + Sync>;

fn trusting(hosts: &[&Host]) -> FetchOptions {
    let pem: String = hosts.iter().map(|host| host.server.pem.as_str()).collect();
    let mut options = FetchOptions::default();
    options.trust = Trust::CaPem(Arc::from(pem.as_bytes()));
    options
}

/// One disk is elsewhere as it is, the other one compressed and in chunks.
fn far(host: &Host) -> Shelf {
    let shelf = host.take(Shelf::plain().packed(1, true, Some(100_000)), 1);
    host.take(shelf, 0)
}

#[tokio::test]
async fn files_elsewhere_become_the_same_machine_once_they_are_allowed() {
    let world = World::new().await;
    let host = Host::tls();
    let orders =
        PLACES.into_iter().flat_map(|place| place.orders().iter().map(move |late| (place, *late)));
    for (number, (place, late_manifest)) in (1..).zip(orders) {
        let shelf = Shelf { late_manifest, ..far(&host) };
        let before = host.server.requests().len();
        for _ in 0..2 {
            let refused = check(shelf.open(place).await.unwrap().package).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Package, "{place:?}: {}", refused.chain());
            assert!(refused.to_string().contains("--allow-remote-references"), "{refused}");
        }
        let opened = shelf.open(place).await.unwrap();
        let refused = world.plan(opened.package, "refused").await.unwrap_err();
        assert!(refused.to_string().contains("--allow-remote-references"), "{refused}");
        assert_eq!(host.server.requests().len(), before, "{place:?}: asked without leave");

        let mut opened = shelf.open(place).await.unwrap();
        opened.package.fetch_references(&trusting(&[&host])).await.unwrap();
        let checked = check(opened.package).await;
        let checked = checked.unwrap_or_else(|error| panic!("{place:?}: {}", error.chain()));
        assert!(checked.len() == 2 && checked.iter().all(|file| file.in_manifest), "{checked:?}");

        let mut opened = shelf.open(place).await.unwrap();
        opened.package.fetch_references(&trusting(&[&host])).await.unwrap();
        let report = world.import(opened.package, &format!("{place:?} {late_manifest}")).await;
        let report = report.unwrap_or_else(|error| panic!("{place:?}: {}", error.chain()));
        assert!(report.files.iter().all(|file| file.by_package && file.by_server), "{report:?}");
        world.expect_machine(number);
    }
}

#[tokio::test]
async fn what_is_wrong_with_files_elsewhere_is_named() {
    let host = Host::tls();
    let mut cases = Vec::new();
    let lying = {
        let mut shelf = far(&host);
        let text = String::from_utf8(shelf.files[1].1.clone()).unwrap();
        let at = text.find("disk1.vmdk)= ").unwrap() + 13;
        shelf.files[1].1[at] = if shelf.files[1].1[at] == b'0' { b'1' } else { b'0' };
        shelf
    };
    cases.push(("manifest", lying, ErrorKind::DigestMismatch));
    let gone = far(&host).edited(|text| text.replace("/far/", "/gone/")).without_manifest();
    cases.push(("not there", gone, ErrorKind::Package));
    let mut unlisted = far(&host);
    unlisted.files[1].1 = Vec::new();
    let unlisted = unlisted.signed();
    cases.push(("does not list", unlisted, ErrorKind::Package));
    let mut chunk = far(&host);
    let manifest = String::from_utf8(chunk.files[1].1.clone()).unwrap();
    let lines = manifest.lines().filter(|line| !line.contains("vmdk.000000001)"));
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(lines.len() < manifest.len());
    chunk.files[1].1 = lines.into_bytes();
    cases.push(("vmdk.000000001", chunk, ErrorKind::Package));
    let plain = Host::plain();
    cases.push(("not https", far(&plain), ErrorKind::Package));
    for (words, shelf, kind) in cases {
        for place in PLACES {
            // What has come over http may name what comes over http.
            if words == "not https" && [Place::Web, Place::WebOva].contains(&place) {
                continue;
            }
            for &late_manifest in place.orders() {
                let shelf = Shelf { late_manifest, ..shelf.clone() };
                let checked = async {
                    let mut opened = shelf.open(place).await?;
                    opened.package.fetch_references(&trusting(&[&host])).await?;
                    check(opened.package).await
                };
                let error = checked.await.unwrap_err();
                assert_eq!(error.kind(), kind, "{words}, {place:?}: {}", error.chain());
                assert!(error.chain().contains(words), "{words}, {place:?}: {}", error.chain());
            }
        }
    }
    assert_eq!(plain.server.requests().len(), 0);
    for href in ["ftp://127.0.0.1/x", "file:///etc/passwd", "//127.0.0.1/x"] {
        let name = Shelf::plain().envelope().references()[0].href().to_string();
        let shelf = Shelf::plain().edited(|text| text.replace(&name, href)).without_manifest();
        for place in PLACES {
            let error = shelf.open(place).await.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Package, "{href}: {}", error.chain());
        }
    }
}

/// All chunks together may be promised by their address, also when the promise comes at the end; and
/// then it must hold.
#[tokio::test]
async fn all_chunks_elsewhere_together_are_compared_with_a_late_manifest() {
    let world = World::new().await;
    let host = Host::tls();
    // With both disks elsewhere the manifest would be the next, and not late.
    let shelf = host.take(Shelf::plain().packed(1, true, Some(100_000)), 1);
    let shelf = Shelf { late_manifest: true, ..shelf };
    let url = shelf.envelope().references()[1].url().unwrap().to_owned();
    let path = url.split_once("/far/").unwrap().1;
    let whole: Vec<u8> = {
        let files = host.files.lock().unwrap();
        let chunks = files.iter().filter(|(name, _)| name.contains(&format!("{path}.0")));
        chunks.flat_map(|(_, bytes)| bytes.clone()).collect()
    };
    let right: String = Sha256::digest(&whole).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = String::from_utf8(shelf.files[1].1.clone()).unwrap();
    let others = manifest.lines().filter(|line| !line.contains(&format!("{url}.0")));
    let others: String = others.map(|line| format!("{line}\n")).collect();
    let cases = [(&others, true), (&others, false), (&manifest, true), (&manifest, false)];
    for (number, (before, is_right)) in (1..).zip(cases) {
        let digest = if is_right { right.clone() } else { "0".repeat(64) };
        let mut shelf = shelf.clone();
        shelf.files[1].1 = format!("{before}SHA256({url})= {digest}\n").into_bytes();
        let open = async || {
            let mut opened = shelf.open(Place::Pipe).await.unwrap();
            opened.package.fetch_references(&trusting(&[&host])).await.unwrap();
            opened
        };
        let checked = check(open().await.package).await;
        let imported = world.import(open().await.package, &format!("whole {number}")).await;
        if is_right {
            assert!(checked.unwrap().iter().all(|file| file.in_manifest));
            assert!(imported.unwrap().files.iter().all(|file| file.by_package));
        } else {
            for error in [checked.unwrap_err(), imported.unwrap_err()] {
                assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{}", error.chain());
                assert!(error.to_string().contains(path), "{error}");
            }
        }
    }
}

/// Converts a package, and checks what has become of it.
async fn convert(
    shelf: &Shelf,
    host: &Host,
    place: Place,
    rehash: bool,
) -> Result<(Converted, Vec<CheckedFile>), Error> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.ova");
    let mut opened = shelf.open(place).await?;
    opened.package.fetch_references(&trusting(&[host])).await?;
    let mut convert = Convert::new(opened.package, &out);
    convert.rehash = rehash;
    let report = convert.plan().await?.start(Default::default()).finish().await?;
    Ok((report, check(Package::open(&out)?).await?))
}

/// What comes from elsewhere while a stream is converted is compared with its manifest, as everything.
#[tokio::test]
async fn files_elsewhere_are_converted_with_a_late_manifest() {
    let host = Host::tls();
    let plain = check(Shelf::plain().open(Place::Folder).await.unwrap().package).await.unwrap();
    let shapes = [
        Shelf::plain(),
        Shelf::plain().packed(1, true, None),
        Shelf::plain().packed(1, false, Some(100_000)),
        Shelf::plain().packed(1, true, Some(100_000)),
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        let mut shelf = Shelf { late_manifest: true, ..host.take(shape, 1) };
        // The new manifest is by another algorithm.
        let manifest = String::from_utf8(shelf.files[1].1.clone()).unwrap();
        let lines = manifest.lines().map(|line| match line.split_once("/far/") {
            Some((_, rest)) => {
                let (name, _) = rest.split_once(')').unwrap();
                let files = host.files.lock().unwrap();
                let digest = Sha512::digest(&files[&format!("/far/{name}")]);
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                let (start, _) = line.split_once(")= ").unwrap();
                format!("{})= {hex}\n", start.replace("SHA256", "SHA512"))
            }
            None => format!("{line}\n"),
        });
        shelf.files[1].1 = lines.collect::<String>().into_bytes();
        let (report, checked) = convert(&shelf, &host, Place::Pipe, false).await.unwrap();
        assert!(report.files.iter().all(|file| file.by_package), "{number}: {report:?}");
        let is_unlisted = |repair: &Repair| matches!(repair, Repair::Unlisted { .. });
        assert!(!report.repairs.iter().any(is_unlisted), "{number}: {:?}", report.repairs);
        let digests = |files: &[CheckedFile]| files.iter().map(|f| f.digest).collect::<Vec<_>>();
        assert_eq!(digests(&checked), digests(&plain), "{number}");

        // The promise is another one than the bytes.
        let at = shelf.files[1].1.len() - 2;
        shelf.files[1].1[at] = if shelf.files[1].1[at] == b'0' { b'1' } else { b'0' };
        let error = convert(&shelf, &host, Place::Pipe, false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{number}: {}", error.chain());
        for place in [Place::Pipe, Place::Folder] {
            let (report, _) = convert(&shelf, &host, place, true).await.unwrap();
            let by_package = report.files.iter().map(|file| file.by_package);
            assert_eq!(by_package.collect::<Vec<_>>(), [true, false], "{number}, {place:?}");
            let differs = report.repairs.iter().filter(|one| matches!(one, Repair::Digest { .. }));
            assert_eq!(differs.count(), 1, "{number}, {place:?}: {:?}", report.repairs);
        }
    }
}

#[tokio::test]
async fn a_package_over_http_may_name_files_over_http() {
    let host = Host::plain();
    for place in [Place::Web, Place::WebOva] {
        let mut opened = far(&host).open(place).await.unwrap();
        opened.package.fetch_references(&FetchOptions::default()).await.unwrap();
        assert_eq!(check(opened.package).await.unwrap().len(), 2);
    }
}

/// Neither the user and the password of the package's server nor its pin are anybody else's.
#[tokio::test]
async fn what_is_for_one_server_is_for_no_other() {
    let (near, host) = (Host::tls(), Host::tls());
    let shelf = far(&host);
    for (name, bytes) in &shelf.files {
        near.files.lock().unwrap().insert(format!("/p/{name}"), bytes.clone());
    }
    let url = near.server.url(&format!("/p/{}", shelf.descriptor()));
    let url = url.replace("https://", "https://me:hunter2@").parse().unwrap();
    let options = trusting(&[&near, &host]);
    let mut package = Package::fetch(&url, &options).await.unwrap();
    package.fetch_references(&options).await.unwrap();
    assert_eq!(check(package).await.unwrap().len(), 2);
    assert!(near.server.requests().iter().all(|seen| seen.header("authorization").is_some()));
    let far = host.server.requests();
    assert!(!far.is_empty() && far.iter().all(|seen| seen.header("authorization").is_none()));

    let mut pinned = FetchOptions::default();
    pinned.trust = Trust::Pinned("00112233445566778899aabbccddeeff00112233".parse().unwrap());
    let shown = Package::fetch(&url, &pinned).await.unwrap_err().chain();
    let shown = shown.split("thumbprint ").nth(1).unwrap().split(',').next().unwrap();
    pinned.trust = Trust::Pinned(shown.parse().unwrap());
    let mut package = Package::fetch(&url, &pinned).await.unwrap();
    let error = package.fetch_references(&pinned).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{}", error.chain());
    // It is not the pin that was compared: the host has no certificate that the system trusts.
    assert!(!error.chain().contains("pinned"), "{}", error.chain());
    assert_eq!(host.server.requests().len(), far.len());
}
