//! Imports of packages that are not on this machine: fetched, or in a stream.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::io::Read;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use ovftransfer::Error;
use ovftransfer::ErrorKind;
use ovftransfer::Event;
use ovftransfer::FileName;
use ovftransfer::Import;
use ovftransfer::Locator;
use ovftransfer::Observer;
use ovftransfer::Options;
use ovftransfer::Package;
use ovftransfer::Report;
use ovftransfer::Rules;
use ovftransfer::Secret;
use ovftransfer::Server;
use ovftransfer::Trust;
use ovftransfer::check_package;
use ovftransfer::read_stream;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::Writer;
use ovftransfer_simulator::LeaseState;
use ovftransfer_simulator::Scenario;
use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::scenario::Direction;
use ovftransfer_simulator::scenario::Fault;
use ovftransfer_simulator::scenario::FaultKind;

use super::ETAG;
use super::appliance;
use super::check;
use super::fetch;
use super::options;
use super::ova;
use super::server::Reply;
use super::server::WebServer;
use super::server::ranges;
use super::trusting;

/// A vCenter without machines.
struct World {
    simulator: Simulator,
    server: Server,
    events: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log(Mutex<Vec<String>>);

impl Observer for Log {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

impl World {
    async fn new() -> Self {
        Self::with([]).await
    }

    async fn with(faults: impl IntoIterator<Item = Fault>) -> Self {
        let mut scenario = Scenario::from_json(r#"{"machines": []}"#).unwrap();
        scenario.faults = faults.into_iter().collect();
        let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
        let locator: Locator = simulator.url().replace("https", "vi").parse().unwrap();
        let trust = Trust::Pinned(simulator.thumbprint().parse().unwrap());
        let password = Secret::new(simulator.password());
        let endpoint = locator.endpoint().clone();
        let server = Server::connect(endpoint, trust, simulator.username(), password).await;
        Self { simulator, server: server.unwrap(), events: Arc::default() }
    }

    async fn import(&self, package: Package) -> Result<Report, Error> {
        let mut import = Import::new(package, "/DC0/host/Cluster0");
        import.datastore = Some("datastore0".to_owned());
        let mut options = Options::default();
        options.observer = Arc::clone(&self.events) as Arc<dyn Observer>;
        options.stall = Duration::from_secs(5);
        import.plan(&self.server).await?.start(options).finish().await
    }

    async fn stream(&self, archive: Vec<u8>) -> Result<Report, Error> {
        self.import(streamed(archive).await?).await
    }

    /// The machine is there, with every byte of its disks.
    #[track_caller]
    fn expect_machine(&self) {
        let vms = self.simulator.vms();
        assert_eq!(vms.len(), 1);
        let digests = vms[0].disks.iter().map(|disk| disk.digest().unwrap().raw_sha256);
        assert_eq!(digests.collect::<Vec<_>>(), appliance().raw_sha256().unwrap());
    }

    #[track_caller]
    fn expect_nothing(&self) {
        assert_eq!(self.simulator.vms().len(), 0);
        for lease in self.simulator.leases() {
            assert_eq!(lease.state, LeaseState::Error, "{lease:?}");
        }
    }
}

async fn streamed(archive: Vec<u8>) -> Result<Package, Error> {
    Package::from_stream(read_stream(Cursor::new(archive)).unwrap(), "the pipe").await
}

/// The files of a package, by their extension or the number of the disk.
struct Files(BTreeMap<String, (FileName, Vec<u8>)>);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        appliance().write_folder(folder.path()).unwrap();
        let mut files = BTreeMap::new();
        let mut paths: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let extension = path.extension().unwrap().to_str().unwrap().to_owned();
            let disks = files.keys().filter(|key: &&String| key.starts_with("disk")).count();
            let key = if extension == "vmdk" { format!("disk{disks}") } else { extension };
            files.insert(key, (FileName::new(name).unwrap(), fs::read(&path).unwrap()));
        }
        Self(files)
    }

    /// An OVA with these files in this order.
    fn ova(&self, order: &[&str]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for key in order {
            let (name, bytes) = &self.0[*key];
            writer.append(name, bytes.len() as u64, &mut bytes.as_slice()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn edit(&mut self, key: &str, edit: impl FnOnce(&str) -> String) {
        let (_, bytes) = self.0.get_mut(key).unwrap();
        *bytes = edit(str::from_utf8(bytes).unwrap()).into_bytes();
    }

    fn name(&self, key: &str) -> String {
        self.0[key].0.as_str().to_owned()
    }
}

const USUAL: [&str; 4] = ["ovf", "mf", "disk0", "disk1"];
const LATE: [&str; 4] = ["ovf", "disk0", "disk1", "mf"];

#[tokio::test]
async fn a_descriptor_is_fetched_with_its_files() {
    let files = Files::new();
    let descriptor = files.name("ovf");
    let server = WebServer::tls(move |seen| {
        let name = seen.path.strip_prefix("/a%20b/").unwrap_or_default();
        match files.0.values().find(|(file, _)| file.as_str() == name) {
            Some((_, bytes)) => ranges(seen, bytes, ETAG),
            None => Reply::status(404),
        }
    });
    let url = server.url(&format!("/a%20b/{descriptor}"));
    let world = World::new().await;
    let package = fetch(&url, &trusting(&server)).await.unwrap();
    assert_eq!(package.location(), url);
    assert!(package.manifest().is_some());
    world.import(package).await.unwrap();
    world.expect_machine();
    let package = fetch(&url, &trusting(&server)).await.unwrap();
    assert_eq!(check(package).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_that_is_not_beside_its_descriptor_is_named() {
    for absent in ["mf", "disk1"] {
        let files = Files::new();
        let (descriptor, gone) = (files.name("ovf"), files.name(absent));
        let path = gone.clone();
        let server = WebServer::plain(move |seen| {
            let name = seen.path.trim_start_matches('/');
            match files.0.values().find(|(file, _)| file.as_str() == name && name != path) {
                Some((_, bytes)) => ranges(seen, bytes, ETAG),
                None => Reply::status(404),
            }
        });
        match fetch(&server.url(&format!("/{descriptor}")), &options()).await {
            Ok(package) => assert!(absent == "mf" && package.manifest().is_none()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Package, "{}", error.chain());
                assert!(error.to_string().contains(&gone), "{error}");
                assert_eq!(absent, "disk1");
            }
        }
    }
}

#[tokio::test]
async fn an_ova_is_imported_straight_from_the_server() {
    let file = ova();
    let server = WebServer::plain(move |seen| ranges(seen, &file, ETAG));
    let world = World::new().await;
    world.import(fetch(&server.url("/web.ova"), &options()).await.unwrap()).await.unwrap();
    world.expect_machine();
    assert!(server.requests().iter().all(|seen| seen.range().is_some()));
}

#[tokio::test]
async fn a_break_on_the_way_from_the_server_is_none_on_the_way_to_the_host() {
    let file = ova();
    let server = WebServer::plain(move |seen| {
        let reply = ranges(seen, &file, ETAG);
        let cut_at = (reply.body.len() > 600_000).then_some(500_000);
        Reply { cut_at, ..reply }
    });
    let world = World::new().await;
    let package = fetch(&server.url("/web.ova"), &options()).await.unwrap();
    let report = world.import(package).await.unwrap();
    assert!(report.files.iter().all(|file| file.attempts == 1), "{report:?}");
    world.expect_machine();
}

#[tokio::test]
async fn a_file_that_changes_never_becomes_a_machine() {
    let file = ova();
    let server = WebServer::plain(move |seen| {
        let etag = if seen.before > 2 { "\"two\"" } else { ETAG };
        let reply = ranges(seen, &file, etag);
        let cut_at = (reply.body.len() > 600_000).then_some(500_000);
        Reply { cut_at, ..reply }
    });
    let world = World::new().await;
    let package = fetch(&server.url("/web.ova"), &options()).await.unwrap();
    let error = world.import(package).await.unwrap_err();
    assert!(error.chain().contains("has changed"), "{}", error.chain());
    // It would not be another one the next time.
    assert!(!world.events.0.lock().unwrap().iter().any(|event| event.contains("FileRetry")));
    world.expect_nothing();
}

#[tokio::test]
async fn a_stream_is_imported_in_its_order() {
    let files = Files::new();
    for order in [&USUAL[..], &LATE, &["ovf", "disk1", "disk0", "mf"], &["ovf", "disk1", "disk0"]] {
        let archive = files.ova(order);
        let checked = check(streamed(archive.clone()).await.unwrap()).await.unwrap();
        assert_eq!(checked.len(), 2);
        let has_manifest = order.contains(&"mf");
        assert!(checked.iter().all(|file| file.in_manifest == has_manifest));
        let world = World::new().await;
        let report = world.stream(archive).await.unwrap();
        assert_eq!(report.files.len(), 2);
        world.expect_machine();
        let events = world.events.0.lock().unwrap().join("\n");
        let is_warned = events.contains("the package has no manifest");
        assert_eq!(is_warned, !has_manifest, "{events}");
    }
}

/// A pipe gives a few bytes at a time.
struct Dribble(Cursor<Vec<u8>>);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(1000);
        self.0.read(&mut buffer[..len])
    }
}

#[tokio::test]
async fn chunks_of_a_stream_may_have_any_length() {
    let archive = Files::new().ova(&LATE);
    let stream = read_stream(Dribble(Cursor::new(archive))).unwrap();
    let package = Package::from_stream(stream, "the pipe").await.unwrap();
    assert_eq!(check(package).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_stream_that_is_not_whole_leaves_nothing() {
    let whole = Files::new().ova(&LATE);
    // In the header, in the descriptor, in the first disk, in the last file, in the padding.
    for len in [0, 100, 700, 400_000, whole.len() - 1800, whole.len() - 1100] {
        let cut = whole[..len].to_vec();
        let world = World::new().await;
        let error = world.stream(cut.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Package, "{len}: {}", error.chain());
        world.expect_nothing();
        let checked = match streamed(cut).await {
            Ok(package) => check(package).await.map(|_files| ()),
            Err(error) => Err(error),
        };
        assert_eq!(checked.unwrap_err().kind(), ErrorKind::Package, "{len}");
    }
    let mut more = whole;
    more.extend_from_slice(b"garbage");
    let world = World::new().await;
    let error = world.stream(more).await.unwrap_err();
    assert!(error.chain().contains("data after the end"), "{}", error.chain());
    world.expect_nothing();
}

#[tokio::test]
async fn a_manifest_at_the_end_counts_as_much_as_one_at_the_beginning() {
    for order in [&USUAL[..], &LATE] {
        for (edit, kind, words) in [
            ("disk0", ErrorKind::DigestMismatch, "manifest says"),
            ("ovf", ErrorKind::DigestMismatch, "manifest says"),
        ] {
            let mut files = Files::new();
            let (disk, descriptor) = (files.name("disk0"), files.name("ovf"));
            files.edit("mf", |text| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                let of = |lines: &[String], name: &str| {
                    lines.iter().position(|line| line.contains(&format!("({name})"))).unwrap()
                };
                let at = of(&lines, if edit == "ovf" { &descriptor } else { &disk });
                let last = if lines[at].ends_with('0') { "1" } else { "0" };
                let len = lines[at].len() - 1;
                lines[at].replace_range(len.., last);
                lines.join("\n")
            });
            let world = World::new().await;
            let error = world.stream(files.ova(order)).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{edit}: {}", error.chain());
            assert!(error.chain().contains(words), "{edit}: {}", error.chain());
            world.expect_nothing();
            let checked = match streamed(files.ova(order)).await {
                Ok(package) => check(package).await.map(|_files| ()),
                Err(error) => Err(error),
            };
            assert_eq!(checked.unwrap_err().kind(), kind, "{edit}");
        }
    }
}

#[tokio::test]
async fn a_manifest_that_does_not_fit_is_warned_of_wherever_it_stands() {
    for order in [&USUAL[..], &LATE] {
        let mut files = Files::new();
        let disk = files.name("disk0");
        files.edit("mf", |text| {
            let (mine, others): (Vec<&str>, Vec<&str>) =
                text.lines().partition(|line| line.contains(&disk));
            [&others[..], &[&mine[0].replace(&disk, "readme.txt")]].concat().join("\n")
        });
        let expected = [
            "the manifest names readme.txt, which is not in the package".to_owned(),
            format!("the manifest does not list {disk}, which it does not prove"),
        ];
        let (meter, policy, cancel) = Default::default();
        let package = Arc::new(streamed(files.ova(order)).await.unwrap());
        let checked = check_package(package, &policy, meter, &cancel).await.unwrap();
        for warning in &expected {
            assert!(checked.warnings.contains(warning), "{warning}: {:?}", checked.warnings);
        }
        for file in &checked.files {
            assert_eq!(file.in_manifest, file.file.as_str() != disk, "{file:?}");
        }
        let world = World::new().await;
        let report = world.stream(files.ova(order)).await.unwrap();
        for file in &report.files {
            assert!(file.by_server, "{file:?}");
            assert_eq!(file.by_package, file.file.as_str() != disk, "{file:?}");
        }
        world.expect_machine();
    }
}

/// A descriptor may stand behind the manifest, but not behind a disk that nobody can keep.
#[tokio::test]
async fn a_stream_may_begin_with_the_manifest() {
    let files = Files::new();
    let archive = |order: &[&str]| {
        let written = files.ova(&USUAL);
        let ova = Ova::index(&written).unwrap();
        let mut archive = Vec::new();
        for key in order {
            let member = ova.member(&files.0[*key].0).unwrap();
            let start = usize::try_from(member.offset_bytes()).unwrap() - 512;
            let end = start + 512 + usize::try_from(member.size_bytes()).unwrap();
            archive.extend_from_slice(&written[start..end.next_multiple_of(512)]);
        }
        archive.extend_from_slice(&[0; 1024]);
        archive
    };
    let world = World::new().await;
    let double = {
        let mut writer = Writer::new(Vec::new());
        writer.append(&FileName::new("._x.ovf").unwrap(), 1, &mut b"x".as_slice()).unwrap();
        writer.finish().unwrap()[..1024].to_vec()
    };
    let made_on_macos = [&double[..], &archive(&["mf", "ovf", "disk0", "disk1"])].concat();
    let report = world.stream(made_on_macos).await.unwrap();
    assert!(report.files.iter().all(|file| file.by_package), "{report:?}");
    world.expect_machine();

    let error = streamed(archive(&["disk0", "ovf", "mf", "disk1"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Package);
    assert!(error.chain().contains("save the OVA to a file first"), "{}", error.chain());
}

#[tokio::test]
async fn lenient_rules_hold_for_streams_and_ranges() {
    let files = Files::new();
    let cut = {
        let mut archive = files.ova(&USUAL);
        archive.truncate(archive.len() - 1000);
        archive
    };
    let more = [&files.ova(&USUAL)[..], b"signature"].concat();
    for archive in [cut, more] {
        let stream = || read_stream(Cursor::new(archive.clone())).unwrap();
        let opened = Package::from_stream(stream(), "the pipe").await.unwrap();
        assert_eq!(check(opened).await.unwrap_err().kind(), ErrorKind::Package);
        let opened = Package::from_stream_by(Rules::Lenient, stream(), "the pipe").await.unwrap();
        assert_eq!(check(opened).await.unwrap().len(), 2);

        let shared = archive.clone();
        let server = WebServer::plain(move |seen| ranges(seen, &shared, ETAG));
        let url = server.url("/web.ova");
        let mut lenient = options();
        assert_eq!(fetch(&url, &lenient).await.unwrap_err().kind(), ErrorKind::Package);
        lenient.rules = Rules::Lenient;
        let package = fetch(&url, &lenient).await.unwrap();
        assert_eq!(package.warnings().len(), 1, "{:?}", package.warnings());
        assert_eq!(check(package).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_stream_must_hold_all_that_it_names() {
    let files = Files::new();
    for order in [&["ovf", "mf", "disk0"][..], &["ovf", "disk1", "mf"], &["ovf"]] {
        let world = World::new().await;
        let error = world.stream(files.ova(order)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Package, "{order:?}: {}", error.chain());
        world.expect_nothing();
    }
}

/// That a stream cannot be read again is not why its file was not moved.
#[tokio::test]
async fn a_failed_upload_of_a_stream_is_told_by_its_cause() {
    let reset = FaultKind::ResetAfterBytes(200_000);
    let world = World::with([Fault::new(Direction::Import, reset)]).await;
    let error = world.stream(Files::new().ova(&USUAL)).await.unwrap_err();
    assert!(error.chain().contains("writing to"), "{}", error.chain());
    world.expect_nothing();
}

#[tokio::test]
async fn a_stream_that_stops_is_given_up() {
    use futures::StreamExt;

    let archive = Files::new().ova(&USUAL);
    let half = archive.len() / 2;
    for len in [half, archive.len() - 1024] {
        let begun = read_stream(Cursor::new(archive[..len].to_vec())).unwrap();
        let stream = begun.chain(futures::stream::pending()).boxed();
        let package = Package::from_stream(stream, "the pipe").await.unwrap();
        let world = World::new().await;
        let importing = tokio::time::timeout(Duration::from_secs(30), world.import(package));
        let error = importing.await.expect("it waits for ever").unwrap_err();
        assert!(error.chain().contains("seconds"), "{}", error.chain());
        world.expect_nothing();
    }
}
