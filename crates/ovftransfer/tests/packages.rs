//! Packages on disk: what an export leaves there when something is in its way, and what an import
//! and a check make of packages that are not as they should be.
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ovftransfer::CheckedFile;
use ovftransfer::Endpoint;
use ovftransfer::Error;
use ovftransfer::ErrorKind;
use ovftransfer::Event;
use ovftransfer::Export;
use ovftransfer::Import;
use ovftransfer::ImportPlan;
use ovftransfer::Locator;
use ovftransfer::Meter;
use ovftransfer::Observer;
use ovftransfer::Options;
use ovftransfer::Package;
use ovftransfer::Report;
use ovftransfer::Secret;
use ovftransfer::Server;
use ovftransfer::Transfer;
use ovftransfer::Trust;
use ovftransfer::check_package;
use ovftransfer_simulator::LeaseState;
use ovftransfer_simulator::Scenario;
use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::scenario::Data;
use ovftransfer_simulator::scenario::DataKind;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Machine;
use ovftransfer_simulator::scenario::Size;
use ovftransfer_simulator::scenario::Spread;

const MIB: u64 = 1 << 20;

/// Two machines, `one` and `two`, with two disks each and other bytes on every disk; and one that
/// has nothing but its NVRAM.
struct World {
    simulator: Simulator,
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::throttled(None).await
    }

    async fn throttled(mb_per_s: Option<f64>) -> Self {
        let simulator = simulator(mb_per_s).await;
        let locator: Locator = simulator.url().replace("https", "vi").parse().unwrap();
        let server = connect(&simulator, locator.endpoint().clone()).await;
        Self { simulator, server, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    async fn start(&self, machine: &str, overwrite: bool) -> Result<Transfer, Error> {
        let mut export = Export::new(format!("/DC0/vm/{machine}"), self.path("x.ovf"));
        export.overwrite = overwrite;
        Ok(export.plan(&self.server).await?.start(Options::default()))
    }

    async fn export(&self, machine: &str, overwrite: bool) -> Result<Report, Error> {
        self.start(machine, overwrite).await?.finish().await
    }

    async fn plan_import(&self) -> Result<ImportPlan, Error> {
        let package = Package::open(&self.path("x.ovf"))?;
        let mut import = Import::new(package, "/DC0/host/Cluster0");
        import.name = Some("again".to_owned());
        import.datastore = Some("datastore0".to_owned());
        import.plan(&self.server).await
    }

    async fn check(&self) -> Result<Vec<CheckedFile>, Error> {
        let package = Arc::new(Package::open(&self.path("x.ovf"))?);
        let meter = Arc::new(Meter::default());
        Ok(check_package(package, &Default::default(), meter, &Default::default()).await?.files)
    }

    /// Changes the lines of the manifest.
    fn edit_manifest(&self, edit: impl FnOnce(&str) -> String) {
        let path = self.path("x.mf");
        let text = edit(&fs::read_to_string(&path).unwrap());
        fs::write(path, text).unwrap();
    }
}

async fn simulator(mb_per_s: Option<f64>) -> Simulator {
    let disk = |seed| {
        let data = Data::new(DataKind::Random, 4 * MIB, seed).with_spread(Spread::Even);
        DiskSpec::new(64 * MIB).with_data(data)
    };
    let mut scenario = Scenario::default();
    scenario.vapps.clear();
    scenario.machines = ["one", "two", "no-disk"].map(Machine::new).into();
    scenario.machines[0].disks = vec![disk(1), disk(2)];
    scenario.machines[1].disks = vec![disk(3), disk(4)];
    scenario.machines[2].nvram = Size::from_bytes(8_684);
    for host in &mut scenario.hosts {
        host.throttle_mb_per_s_per_stream = mb_per_s;
    }
    Simulator::builder().scenario(scenario).start().await.unwrap()
}

async fn connect(simulator: &Simulator, endpoint: Endpoint) -> Server {
    let trust = Trust::Pinned(simulator.thumbprint().parse().unwrap());
    let password = Secret::new(simulator.password());
    Server::connect(endpoint, trust, simulator.username(), password).await.unwrap()
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const PACKAGE: [&str; 4] = ["x-disk-0.vmdk", "x-disk-1.vmdk", "x.mf", "x.ovf"];

#[tokio::test]
async fn two_exports_into_one_name_are_not_mixed() {
    let world = World::throttled(Some(4.0)).await;
    // The second one is refused by its plan if the first has begun to write by then, and by its start
    // or the first by its own otherwise.
    let one = world.start("one", false).await.unwrap();
    let outcomes = match world.start("two", false).await {
        Ok(two) => tokio::join!(one.finish(), two.finish()),
        Err(error) => (one.finish().await, Err(error)),
    };
    let refused = match outcomes {
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
        both => panic!("not one of them: {both:?}"),
    };
    assert_eq!(refused.kind(), ErrorKind::Refused, "{}", refused.chain());
    let folder = world.folder.path().display().to_string();
    assert!(refused.to_string().contains(&folder), "{refused}");
    assert_eq!(world.names(), PACKAGE);
    world.check().await.unwrap();
    assert_eq!(world.simulator.leases().len(), 1, "the second one took a lease");
}

#[tokio::test]
async fn a_machine_without_disks_is_a_package_too() {
    let world = World::new().await;
    world.export("no-disk", false).await.unwrap();
    assert_eq!(world.names(), ["x.mf", "x.nvram", "x.ovf"]);
    assert_eq!(world.check().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_killed_export_left_is_no_obstacle() {
    let world = World::new().await;
    for name in ["x.ovf.partial", "x.mf.partial", "x-disk-0.vmdk.a4b5d6560f66a3f6.partial"] {
        fs::write(world.path(name), vec![7; 9_000_000]).unwrap();
    }
    if cfg!(not(unix)) {
        // Without locks nobody can tell that it was killed.
        assert_eq!(world.export("one", false).await.unwrap_err().kind(), ErrorKind::Refused);
        return;
    }
    world.export("one", false).await.unwrap();
    assert_eq!(world.names(), PACKAGE);
    world.check().await.unwrap();
}

#[tokio::test]
async fn no_file_is_replaced_without_leave() {
    for name in PACKAGE {
        let world = World::new().await;
        fs::write(world.path(name), b"precious").unwrap();
        let error = world.export("one", false).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{name}: {}", error.chain());
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(world.names(), [name]);
        assert_eq!(fs::read(world.path(name)).unwrap(), b"precious");
    }
}

#[tokio::test]
async fn a_file_that_comes_meanwhile_is_not_replaced() {
    let world = World::throttled(Some(4.0)).await;
    let transfer = world.start("one", false).await.unwrap();
    until(|| transfer.meter().bytes() > 100_000).await;
    fs::write(world.path("x-disk-1.vmdk"), b"precious").unwrap();
    let error = transfer.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LocalFile, "{}", error.chain());
    assert!(error.to_string().contains("x-disk-1.vmdk"), "{error}");
    // Half a package is none.
    assert_eq!(world.names(), ["x-disk-1.vmdk"]);
    assert_eq!(fs::read(world.path("x-disk-1.vmdk")).unwrap(), b"precious");
}

#[tokio::test]
async fn a_package_is_replaced_as_a_whole_or_not_at_all() {
    let world = World::new().await;
    world.export("one", false).await.unwrap();
    for obstacle in ["x-disk-1.vmdk", "x.mf"] {
        let kept = ["x-disk-0.vmdk", "x.ovf"].map(|name| fs::read(world.path(name)).unwrap());
        let away = fs::read(world.path(obstacle)).unwrap();
        fs::remove_file(world.path(obstacle)).unwrap();
        fs::create_dir(world.path(obstacle)).unwrap();
        let error = world.export("two", true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{obstacle}: {}", error.chain());
        assert!(error.to_string().contains(obstacle), "{error}");
        assert_eq!(world.names(), PACKAGE);
        let now = ["x-disk-0.vmdk", "x.ovf"].map(|name| fs::read(world.path(name)).unwrap());
        assert!(kept == now, "{obstacle}: the old package was changed");
        fs::remove_dir(world.path(obstacle)).unwrap();
        fs::write(world.path(obstacle), away).unwrap();
    }
    let before = world.check().await.unwrap();
    world.export("two", true).await.unwrap();
    assert_eq!(world.names(), PACKAGE);
    let after = world.check().await.unwrap();
    assert!(before.iter().zip(&after).all(|(old, new)| old.digest != new.digest));
}

/// Manifests made by hand leave files out, and keep entries of files that are gone.
#[tokio::test]
async fn a_manifest_need_not_fit_but_does_not_prove_what_it_leaves_out() {
    let world = World::new().await;
    world.export("one", false).await.unwrap();
    world.edit_manifest(|text| {
        let gone = text.lines().next().unwrap().replace("x.ovf", "gone.iso");
        let kept = text.lines().filter(|line| !line.contains("disk-1"));
        kept.chain([&*gone]).map(|line| format!("{line}\n")).collect()
    });
    let warnings = [
        "the manifest names gone.iso, which is not in the package",
        "the manifest does not list x-disk-1.vmdk, which it does not prove",
    ];
    assert_eq!(world.plan_import().await.unwrap().warnings(), warnings);
    let checked = world.check().await.unwrap();
    for file in &checked {
        assert_eq!(file.in_manifest, file.file.as_str() != "x-disk-1.vmdk", "{file:?}");
    }
    assert_eq!(checked.len(), 2);
}

#[tokio::test]
async fn a_package_without_manifest_is_imported_with_a_warning() {
    let world = World::new().await;
    world.export("one", false).await.unwrap();
    assert_eq!(world.plan_import().await.unwrap().warnings(), [] as [&str; 0]);
    fs::rename(world.path("x.mf"), world.path("x.MF")).unwrap();
    assert_eq!(world.plan_import().await.unwrap().warnings(), [] as [&str; 0], "it is there");
    fs::remove_file(world.path("x.MF")).unwrap();
    let plan = world.plan_import().await.unwrap();
    assert!(plan.warnings()[0].contains("no manifest"), "{:?}", plan.warnings());
}

#[tokio::test]
async fn a_manifest_that_names_more_is_only_odd() {
    let world = World::new().await;
    world.export("one", false).await.unwrap();
    world.edit_manifest(|text| {
        let first = text.lines().find(|line| line.contains("disk-0")).unwrap();
        format!("{text}{}\n", first.replace("x-disk-0.vmdk", "readme.txt"))
    });
    let gone = "the manifest names readme.txt, which is not in the package";
    assert_eq!(world.plan_import().await.unwrap().warnings(), [gone]);
    assert_eq!(world.check().await.unwrap().len(), 2);
    fs::write(world.path("readme.txt"), b"hello").unwrap();
    let unused = "the manifest names readme.txt, which the descriptor does not";
    assert_eq!(world.plan_import().await.unwrap().warnings(), [unused]);
    assert_eq!(world.check().await.unwrap().len(), 2);

    world.edit_manifest(|text| {
        let keep = |line: &&str| !line.contains("x.ovf") && !line.contains("readme.txt");
        text.lines().filter(keep).map(|line| format!("{line}\n")).collect()
    });
    let plan = world.plan_import().await.unwrap();
    assert!(plan.warnings()[0].contains("descriptor"), "{:?}", plan.warnings());
}

#[tokio::test]
async fn a_check_says_where_a_file_broke_off() {
    let world = World::new().await;
    world.export("one", false).await.unwrap();
    let package = Arc::new(Package::open(&world.path("x.ovf")).unwrap());
    let disk = fs::File::options().write(true).open(world.path("x-disk-1.vmdk")).unwrap();
    disk.set_len(2 * MIB + 1).unwrap();
    let meter = Arc::new(Meter::default());
    let (policy, cancel) = Default::default();
    let error = check_package(package, &policy, meter, &cancel).await.unwrap_err();
    // The place of the read that failed.
    assert!(matches!(error, Error::Stream { at_byte, .. } if at_byte == 2 * MIB), "{error}");
}

/// To open a pipe is to wait for its other end, which here never comes.
#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_refused_and_not_waited_for() {
    let world = World::new().await;
    world.export("one", false).await.unwrap();
    let (sender, outcome) = mpsc::channel();
    for name in ["x-disk-1.vmdk", "x.mf", "x.ovf", "x.ova"] {
        let path = world.path(name);
        let _absent = fs::remove_file(&path);
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let package = if name == "x.ova" { path } else { world.path("x.ovf") };
        let sender = sender.clone();
        thread::spawn(move || sender.send(Package::open(&package).err()));
        let error = outcome.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        assert!(error.to_string().contains("not a regular file"), "{name}: {error}");
    }
}

/// The call that makes the descriptor may take minutes; who cancels does not wait for it.
#[tokio::test]
async fn cancelling_does_not_wait_for_the_descriptor() {
    let simulator = simulator(None).await;
    let locator: Locator = simulator.url().replace("https", "vi").parse().unwrap();
    let frozen = Arc::new(Freeze::default());
    let port = proxy(locator.endpoint(), Arc::clone(&frozen));
    let server = connect(&simulator, Endpoint::new("127.0.0.1", port)).await;
    let folder = tempfile::tempdir().unwrap();
    let export = Export::new("/DC0/vm/one", folder.path().join("x.ovf"));
    let mut options = Options::default();
    options.observer = Arc::clone(&frozen) as Arc<dyn Observer>;
    let transfer = export.plan(&server).await.unwrap().start(options);
    until(|| frozen.is_frozen.load(Ordering::SeqCst)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    transfer.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(20), transfer.finish()).await;
    let error = ended.unwrap().unwrap_err();
    // The abort does not get through either.
    assert_eq!(error.kind(), ErrorKind::CancelledUnclean, "{}", error.chain());
    // What stays is the journal of the lease that could not be ended, for `reap`.
    let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), [".x.ovf.ovftransfer-journal"]);
    assert_eq!(simulator.leases()[0].state, LeaseState::Ready);
}

/// Cuts the way to the server when both disks are proven: what comes next is the descriptor.
#[derive(Debug, Default)]
struct Freeze {
    proven: AtomicUsize,
    is_frozen: AtomicBool,
}

impl Observer for Freeze {
    fn observe(&self, event: &Event) {
        if matches!(event, Event::FileProven { .. })
            && self.proven.fetch_add(1, Ordering::SeqCst) == 1
        {
            self.is_frozen.store(true, Ordering::SeqCst);
        }
    }
}

/// Passes connections on to `server` until the way is cut; returns its port.
fn proxy(server: &Endpoint, frozen: Arc<Freeze>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let at = (server.host().to_owned(), server.port());
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(&at).unwrap();
            let (down, up) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let frozen = Arc::clone(&frozen);
            thread::spawn(move || pass(client, server, Some(&frozen)));
            thread::spawn(move || pass(down, up, None));
        }
    });
    port
}

fn pass(mut from: TcpStream, mut to: TcpStream, frozen: Option<&Freeze>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if frozen.is_some_and(|freeze| freeze.is_frozen.load(Ordering::SeqCst)) {
            // Taken, and never passed on.
            continue;
        }
        if to.write_all(&buffer[..len]).is_err() {
            return;
        }
    }
}
