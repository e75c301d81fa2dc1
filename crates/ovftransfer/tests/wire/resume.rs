//! Runs that were killed: how the same call goes on, and how `reap` cleans up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use ovftransfer::Event;
use ovftransfer::Fate;
use ovftransfer::Observer;
use ovftransfer::ReapOptions;
use ovftransfer::Remains;
use ovftransfer::Remnant;
use ovftransfer::RemnantKind;
use ovftransfer::Severity;
use ovftransfer::SignaturePolicy;
use tokio_util::sync::CancellationToken;

use super::*;

/// A machine with two small disks and one that takes two seconds.
async fn slow(wire: Wire) -> World {
    slow_and(wire, false).await
}

async fn slow_and(wire: Wire, powered_on: bool) -> World {
    World::over(wire, |scenario| {
        scenario.machines[0].powered_on = powered_on;
        slow_disks(scenario);
    })
    .await
}

fn slow_disks(scenario: &mut Scenario) {
    let data = |mib, seed| Data::new(DataKind::Random, mib * MIB, seed);
    scenario.machines[0].disks = vec![
        DiskSpec::new(16 * MIB).with_data(data(8, 1)),
        DiskSpec::new(8 * MIB).with_data(data(1, 2)),
        DiskSpec::new(8 * MIB).with_data(data(1, 3)),
    ];
    for host in &mut scenario.hosts {
        host.throttle_mb_per_s_per_stream = Some(4.0);
    }
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    fn count(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| is_it(event)).count()
    }
}

fn is_proven(event: &Event) -> bool {
    matches!(event, Event::FileProven { .. })
}

/// A session of its own: that of the process that is killed.
async fn connect(world: &World, wire: Wire) -> Server {
    let simulator = &world.simulator;
    let locator: Locator = simulator.url().replace("https", "vi").parse().unwrap();
    let trust = Trust::Pinned(simulator.thumbprint().parse().unwrap());
    let password = Secret::new(simulator.password());
    let endpoint = locator.endpoint().clone();
    Server::connect_with(endpoint, trust, simulator.username(), password, wire).await.unwrap()
}

/// Runs a transfer up to some moment, and then no further: nothing of it cleans up.
async fn killed<F: Future<Output = ovftransfer::Transfer>>(
    start: impl FnOnce(Options) -> F + Send + 'static,
    until: impl Fn(&Heard) -> bool,
) {
    let heard = Arc::new(Heard::default());
    let mut options = options();
    options.governor = Governor::new(Limits::new(4, 4));
    options.observer = Arc::clone(&heard) as Arc<dyn Observer>;
    let (kill, killed) = tokio::sync::oneshot::channel();
    let process = std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let transfer = runtime.block_on(async {
            let transfer = start(options).await;
            killed.await.unwrap();
            transfer
        });
        // In this order: nobody is left to hear that the transfer is cancelled.
        runtime.shutdown_background();
        drop(transfer);
    });
    while !until(&heard) {
        assert!(!process.is_finished(), "it ended by itself");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kill.send(()).unwrap();
    tokio::task::spawn_blocking(|| process.join().unwrap()).await.unwrap();
}

/// An export that is killed when two of its three disks are proven.
async fn killed_export(world: &World, wire: Wire, change: impl FnOnce(&mut Export)) {
    let mut export = Export::new("/DC0/vm/web", world.folder.path());
    change(&mut export);
    let (url, user) = (world.simulator.url().to_owned(), world.simulator.username().to_owned());
    let (password, print) = (world.simulator.password().to_owned(), world.simulator.thumbprint());
    let start = move |options: Options| async move {
        let locator: Locator = url.replace("https", "vi").parse().unwrap();
        let trust = Trust::Pinned(print.parse().unwrap());
        let endpoint = locator.endpoint().clone();
        let server = Server::connect_with(endpoint, trust, &user, Secret::new(password), wire);
        export.plan(&server.await.unwrap()).await.unwrap().start(options)
    };
    killed(start, |heard| heard.count(is_proven) == 2).await;
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|one| (one.file_name().into_string().unwrap(), fs::read(one.path()).unwrap()))
        .collect()
}

fn kept(report: &Report) -> Vec<&str> {
    report.files.iter().filter(|one| one.kept).map(|one| one.file.as_str()).collect()
}

fn names(files: &BTreeMap<String, Vec<u8>>) -> Vec<&str> {
    files.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_killed_export_goes_on_with_what_was_proven() {
    side_by_side([Wire::Json, Wire::Soap], async |wire| {
        let world = slow(wire).await;
        let undisturbed = tempfile::tempdir().unwrap();
        let whole = world.export_to(undisturbed.path()).await.unwrap();
        killed_export(&world, wire, |_| {}).await;
        let folder = world.folder.path().join("web");
        let left = contents(&folder);
        assert_eq!(
            names(&left),
            [
                ".web.ovf.ovftransfer-journal",
                "web-disk-0.vmdk.75d62126db0f5614.partial",
                "web-disk-1.vmdk.75d62126db0f5614.partial",
                "web-disk-2.vmdk.75d62126db0f5614.partial",
                "web.ovf.partial"
            ]
        );
        let journal = String::from_utf8(left[".web.ovf.ovftransfer-journal"].clone()).unwrap();
        for secret in [world.simulator.password(), "/nfc/", "session["] {
            assert!(!journal.contains(secret), "{secret} in {journal}");
        }
        let leases = world.simulator.leases();
        assert_eq!(leases[1].state, LeaseState::Ready);

        let server = connect(&world, wire).await;
        let plan = Export::new("/DC0/vm/web", world.folder.path()).plan(&server).await.unwrap();
        assert!(plan.to_string().contains("proven 2 of the files"), "{plan}");
        let report = plan.start(options()).finish().await.unwrap();
        assert_eq!(kept(&report), ["web-disk-1.vmdk", "web-disk-2.vmdk"]);
        assert_eq!(contents(&folder), contents(&undisturbed.path().join("web")));
        // What was kept was not served again.
        let leases = world.simulator.leases();
        let bytes: u64 = whole.files.iter().map(|one| one.bytes).sum();
        assert_eq!(leases[0].moved_bytes, bytes);
        assert_eq!(leases[1].state, LeaseState::Error);
        assert_eq!(leases[1].fault.as_ref().unwrap().kind, "RequestCanceled");
        assert_eq!(leases[2].moved_bytes, report.files[0].bytes);
        assert_eq!(leases[2].state, LeaseState::Done);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_the_same_any_more_is_fetched_again() {
    let changes = ["configuration", "file", "anew"];
    side_by_side(changes, async |change| {
        let world = slow(Wire::Auto).await;
        killed_export(&world, Wire::Auto, |_| {}).await;
        let folder = world.folder.path().join("web");
        let server = connect(&world, Wire::Auto).await;
        let mut export = Export::new("/DC0/vm/web", world.folder.path());
        let mut expected = Vec::new();
        match change {
            "configuration" => world.simulator.touch("web"),
            "file" => {
                let partial = folder.join("web-disk-1.vmdk.75d62126db0f5614.partial");
                let mut bytes = fs::read(&partial).unwrap();
                bytes[70_000] ^= 1;
                fs::write(&partial, bytes).unwrap();
                expected.push("web-disk-2.vmdk");
            }
            _ => export.resume = false,
        }
        let report = export.plan(&server).await.unwrap().start(options()).finish().await.unwrap();
        assert_eq!(kept(&report), expected, "{change}");
        assert_eq!(names(&contents(&folder)).len(), 5, "{change}");
        let package = Package::open(&folder.join("web.ovf")).unwrap();
        let (policy, cancel) = (SignaturePolicy::default(), CancellationToken::new());
        let checked =
            ovftransfer::check_package(Arc::new(package), &policy, Arc::default(), &cancel);
        checked.await.unwrap();
    })
    .await;
}

/// Takes its time over the first warning, as a disk does that is read again.
#[derive(Debug)]
struct Slow(Duration);

impl Observer for Slow {
    #[expect(clippy::disallowed_methods, reason = "blocks one of the runtime's threads")]
    fn observe(&self, event: &Event) {
        if matches!(event, Event::Warning { message } if message.contains("fetched again")) {
            // Tasks that wait for this very thread, that of the calls among them, go to another one.
            tokio::task::block_in_place(|| std::thread::sleep(self.0));
        }
    }
}

/// Otherwise every run would read the same files again, and then fail again.
#[tokio::test(flavor = "multi_thread")]
async fn reading_again_what_was_proven_does_not_cost_the_session() {
    let world = World::with(|scenario| {
        scenario.session_idle_s = 3;
        slow_disks(scenario);
    })
    .await;
    killed_export(&world, Wire::Auto, |_| {}).await;
    let partial = world.folder.path().join("web/web-disk-1.vmdk.75d62126db0f5614.partial");
    let mut bytes = fs::read(&partial).unwrap();
    bytes[70_000] ^= 1;
    fs::write(&partial, bytes).unwrap();
    let server = connect(&world, Wire::Auto).await.keep_alive_every(Duration::from_millis(500));
    let mut options = options();
    options.observer = Arc::new(Slow(Duration::from_secs(5)));
    let plan = Export::new("/DC0/vm/web", world.folder.path()).plan(&server).await.unwrap();
    let report = plan.start(options).finish().await.unwrap();
    assert_eq!(kept(&report), ["web-disk-2.vmdk"]);
}

/// A name that was given is taken back, or the package is whole already.
#[tokio::test]
async fn an_export_that_was_killed_while_it_gave_names_goes_on() {
    let world = slow(Wire::Auto).await;
    let export = || Export::new("/DC0/vm/web", world.folder.path());
    killed_export(&world, Wire::Auto, |_| {}).await;
    let folder = world.folder.path().join("web");
    // As if it had come further: the record is there, and one name was given.
    append(&folder.join(".web.ovf.ovftransfer-journal"), r#"{"is":"publishing"}"#);
    fs::rename(
        folder.join("web-disk-1.vmdk.75d62126db0f5614.partial"),
        folder.join("web-disk-1.vmdk"),
    )
    .unwrap();
    let server = connect(&world, Wire::Auto).await;
    let report = export().plan(&server).await.unwrap().start(options()).finish().await.unwrap();
    assert_eq!(kept(&report), ["web-disk-1.vmdk", "web-disk-2.vmdk"]);

    let error = export().plan(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "a package that is whole is not written again");
}

/// Adds a record to a journal.
fn append(journal: &Path, json: &str) {
    let mut bytes = fs::read(journal).unwrap();
    let crc = crc_of(json.as_bytes());
    bytes.extend(format!("{:08x} {crc:08x} {json}\n", json.len()).into_bytes());
    fs::write(journal, bytes).unwrap();
}

/// CRC-32 as everybody has it (ISO-HDLC), by its definition.
fn crc_of(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[tokio::test]
async fn a_killed_live_export_goes_on_with_its_snapshot() {
    let world = slow_and(Wire::Auto, true).await;
    let snapshots = || world.simulator.vms()[0].snapshots.clone();
    killed_export(&world, Wire::Auto, |export| export.live = true).await;
    assert_eq!(snapshots().len(), 1);
    let server = connect(&world, Wire::Auto).await;
    let mut export = Export::new("/DC0/vm/web", world.folder.path());
    export.live = true;
    let report = export.plan(&server).await.unwrap().start(options()).finish().await.unwrap();
    assert_eq!(kept(&report), ["web-disk-1.vmdk", "web-disk-2.vmdk"]);
    assert_eq!(snapshots(), Vec::<String>::new());
    assert_eq!(names(&contents(&world.folder.path().join("web"))).len(), 5);
}

/// Opens a journal as soon as the last thread of the run that was killed is gone.
/// It is not a run that was killed: it cleans up behind itself, also what it had proven.
#[tokio::test]
async fn a_failed_export_leaves_nothing_to_go_on_with() {
    let bad = [FaultKind::FlipBitAt(500_000), FaultKind::LeaseLostAfterBytes(2_000_000)];
    side_by_side(bad, async |kind| {
        let world = World::with(|scenario| {
            let data = |mib, seed| Data::new(DataKind::Random, mib * MIB, seed);
            scenario.machines[0].disks = vec![
                DiskSpec::new(16 * MIB).with_data(data(1, 1)),
                DiskSpec::new(8 * MIB).with_data(data(2, 2)),
            ];
            scenario.faults = vec![on_export(kind.clone()).with_disk(1)];
        });
        let world = world.await;
        let heard = Arc::new(Heard::default());
        let export = || Export::new("/DC0/vm/web", world.folder.path());
        let mut options = options();
        options.governor = Governor::new(Limits::new(1, 1));
        options.observer = Arc::clone(&heard) as Arc<dyn Observer>;
        let plan = export().plan(&world.server).await.unwrap();
        let error = plan.start(options).finish().await.unwrap_err();
        let kinds = [ErrorKind::DigestMismatch, ErrorKind::LeaseLost, ErrorKind::Package];
        assert!(kinds.contains(&error.kind()), "{}", error.chain());
        assert_eq!(heard.count(is_proven), 1, "{kind:?}");
        world.assert_clean();

        let plan = export().plan(&world.server).await.unwrap();
        let report = plan.start(super::options()).finish().await.unwrap();
        assert_eq!(kept(&report), [""; 0], "{kind:?}");
    })
    .await;
}

async fn opened(journal: &Path) -> Remains {
    for _ in 0..200 {
        match Remains::open(journal, ReapOptions::default()) {
            Ok(remains) => return remains,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    Remains::open(journal, ReapOptions::default()).unwrap()
}

fn fates(remnants: &[Remnant], kind: RemnantKind) -> Vec<&Fate> {
    remnants.iter().filter(|one| one.kind == kind).map(|one| &one.fate).collect()
}

#[tokio::test]
async fn reap_removes_what_a_killed_export_left() {
    side_by_side([(Wire::Json, false), (Wire::Soap, true)], async |(wire, live)| {
        let world = slow_and(wire, live).await;
        killed_export(&world, wire, |export| export.live = live).await;
        let journals = Remains::find(world.folder.path()).unwrap();
        assert_eq!(journals.len(), 1);
        let remains = opened(&journals[0]).await;
        assert!(Remains::open(&journals[0], ReapOptions::default()).is_err(), "somebody has it");
        assert!(Export::new("/DC0/vm/web", world.folder.path()).plan(&world.server).await.is_err());
        let server = connect(&world, wire).await;
        let shown = remains.look(Some(&server)).await.unwrap();
        assert_eq!(world.simulator.leases()[0].state, LeaseState::Ready, "nothing was done");
        let done = remains.remove(Some(&server)).await.unwrap();
        assert_eq!(shown, done, "what is shown is what is done");
        assert_eq!(fates(&done, RemnantKind::Task), [&Fate::Removed]);
        assert_eq!(fates(&done, RemnantKind::File).len(), 4);
        assert_eq!(fates(&done, RemnantKind::Snapshot).len(), usize::from(live));
        assert!(world.simulator.vms()[0].snapshots.is_empty());
        world.assert_clean();
    })
    .await;
}

#[tokio::test]
async fn reap_leaves_alone_what_is_not_provably_its_own() {
    let world = slow(Wire::Auto).await;
    // It runs.
    let transfer = Export::new("/DC0/vm/web", world.folder.path());
    let transfer = transfer.plan(&world.server).await.unwrap().start(options());
    while transfer.meter().bytes() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let journal = Remains::find(world.folder.path()).unwrap().remove(0);
    let error = Remains::open(&journal, ReapOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    transfer.cancel();
    drop(transfer.finish().await);
    world.assert_clean();

    // It was killed, but is about another server.
    killed_export(&world, Wire::Auto, |_| {}).await;
    let other = World::new([]).await;
    let remains = opened(&journal).await;
    assert_eq!(remains.look(Some(&other.server)).await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(remains.remove(None).await.unwrap_err().kind(), ErrorKind::Refused);
    assert!(journal.exists());
}

/// An import that is killed when it tells of something.
async fn killed_import(world: &World, package: &Path, journals: &Path, told: fn(&Event) -> bool) {
    let (url, user) = (world.simulator.url().to_owned(), world.simulator.username().to_owned());
    let (password, print) = (world.simulator.password().to_owned(), world.simulator.thumbprint());
    let import = import(package, journals);
    let start = move |options: Options| async move {
        let locator: Locator = url.replace("https", "vi").parse().unwrap();
        let trust = Trust::Pinned(print.parse().unwrap());
        let endpoint = locator.endpoint().clone();
        let server = Server::connect(endpoint, trust, &user, Secret::new(password)).await.unwrap();
        import.plan(&server).await.unwrap().start(options)
    };
    killed(start, |heard| heard.count(told) > 0).await;
}

fn has_begun(event: &Event) -> bool {
    matches!(event, Event::FileStart { .. })
}

fn import(package: &Path, journals: &Path) -> Import {
    let mut import = Import::new(Package::open(package).unwrap(), "/DC0/host/Cluster0");
    import.name = Some("again".to_owned());
    import.datastore = Some("datastore0".to_owned());
    import.journal_dir = Some(journals.to_owned());
    import
}

#[tokio::test]
async fn reap_removes_the_machine_of_a_killed_import() {
    let (folder, package) = package().await;
    let journals = folder.path().join("journals");
    let world = World::with(|scenario| {
        scenario.lease_timeout_s = 300;
        for host in &mut scenario.hosts {
            host.throttle_mb_per_s_per_stream = Some(0.5);
        }
    })
    .await;
    killed_import(&world, &package, &journals, has_begun).await;
    assert_eq!(world.simulator.vms().len(), 2);
    let server = connect(&world, Wire::Auto).await;
    // The same call says what is in its way.
    let plan = import(&package, &journals).plan(&server).await.unwrap();
    let error = plan.check().unwrap_err();
    assert!(error.to_string().contains("ovftransfer reap "), "{error}");
    assert!(
        plan.findings()
            .iter()
            .any(|one| { one.severity == Severity::Warning && one.problem.contains("killed") })
    );

    let found = Remains::find(&journals).unwrap();
    let remains = opened(&found[0]).await;
    assert_eq!(remains.what(), "import of again");
    let shown = remains.look(Some(&server)).await.unwrap();
    let done = remains.remove(Some(&server)).await.unwrap();
    assert_eq!(shown, done);
    assert_eq!(fates(&done, RemnantKind::Machine), [&Fate::Removed]);
    world.assert_clean();
    assert!(Remains::find(&journals).unwrap().is_empty());
    assert!(import(&package, &journals).plan(&server).await.unwrap().check().is_ok());
}

/// The server may have been faster, and an import that was completed is not touched.
#[tokio::test]
async fn an_import_that_ended_otherwise_is_left_as_it_is() {
    let (folder, package) = package().await;
    let journals = folder.path().join("journals");
    let world = World::with(|scenario| scenario.lease_timeout_s = 2).await;
    let slow = World::with(|scenario| {
        scenario.lease_timeout_s = 2;
        scenario.hosts[0].throttle_mb_per_s_per_stream = Some(0.5);
        scenario.hosts[1].throttle_mb_per_s_per_stream = Some(0.5);
    })
    .await;
    killed_import(&slow, &package, &journals, has_begun).await;
    while slow.simulator.vms().len() > 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The lease has run out: nothing is in the way any more, and nothing is left but the journal.
    let server = connect(&slow, Wire::Auto).await;
    assert!(import(&package, &journals).plan(&server).await.unwrap().check().is_ok());
    let found = Remains::find(&journals).unwrap();
    let remains = opened(&found[0]).await;
    let done = remains.remove(Some(&server)).await.unwrap();
    assert_eq!(fates(&done, RemnantKind::Machine), [&Fate::Gone]);
    assert!(Remains::find(&journals).unwrap().is_empty());

    // Killed after the server was told that all is well.
    let is_complete = |event: &Event| matches!(event, Event::LeaseComplete);
    killed_import(&world, &package, &journals, is_complete).await;
    let found = Remains::find(&journals).unwrap();
    if let Some(journal) = found.first() {
        let remains = opened(journal).await;
        let done = remains.remove(Some(&connect(&world, Wire::Auto).await)).await.unwrap();
        assert!(matches!(fates(&done, RemnantKind::Machine)[..], [Fate::Stays { .. }]), "{done:?}");
    }
    assert!(world.disks("again").is_some());
}
