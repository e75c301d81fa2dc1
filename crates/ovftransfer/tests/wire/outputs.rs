//! Where exports go: an OVA, a pipe, a store of the caller's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer::FileName;
use ovftransfer::Output;
use ovftransfer::Pipe;
use ovftransfer::Sink;
use ovftransfer::Store;
use ovftransfer::Verified;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_simulator::VmState;
use ovftransfer_simulator::scenario::Size;
use ovftransfer_simulator::scenario::VappSpec;

use super::*;

/// Four disks of different sizes, two streams at a time: some go to their place, some wait.
async fn four_disks(faults: Vec<Fault>) -> World {
    World::with(|scenario| {
        let disk = |mib, seed| {
            DiskSpec::new(64 * MIB).with_data(Data::new(DataKind::Random, mib * MIB, seed))
        };
        scenario.machines[0].disks = vec![disk(2, 1), disk(5, 2), disk(1, 3), disk(3, 4)];
        scenario.machines[0].nvram = Size::from_bytes(8684);
        scenario.faults = faults;
        for host in &mut scenario.hosts {
            host.throttle_mb_per_s_per_stream = Some(20.0);
        }
    })
    .await
}

fn members(archive: &[u8]) -> Vec<String> {
    let ova = Ova::index(&archive.to_vec()).unwrap();
    assert!(ova.warnings().is_empty(), "{:?}", ova.warnings());
    ova.members().iter().map(|member| member.name().to_string()).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

const MEMBERS: [&str; 7] =
    ["disk-0.vmdk", "disk-1.vmdk", "disk-2.vmdk", "disk-3.vmdk", "x.mf", "x.nvram", "x.ovf"];

#[tokio::test]
async fn a_machine_goes_into_one_file_and_comes_back() {
    for wire in [Wire::Json, Wire::Soap] {
        let world = World::over(wire, |_| {}).await;
        let ova = world.folder.path().join("new/x.ova");
        let report = world.export_to(&ova).await.unwrap();
        assert_eq!(report.package.as_ref(), Some(&ova));
        assert!(report.streamed <= report.took, "{report:?}");
        assert_eq!(world.files(), std::slice::from_ref(&ova), "and nothing else is left");
        world.import(&ova, "again").await.unwrap();
        assert_eq!(world.disks("again"), world.disks("web"));
    }
}

#[tokio::test]
async fn an_archive_has_the_descriptor_first_and_the_files_in_its_order() {
    let world = four_disks(Vec::new()).await;
    let ova = world.folder.path().join("x.ova");
    world.export_to(&ova).await.unwrap();
    let names = members(&fs::read(&ova).unwrap());
    assert_eq!(names[..2], ["x.ovf", "x.mf"]);
    assert_eq!(sorted(names.clone()), MEMBERS);
    let package = Package::open(&ova).unwrap();
    let references = package.envelope().references();
    let order: Vec<String> = references.iter().map(|file| file.href().to_string()).collect();
    assert_eq!(order, names[2..]);
    world.import(&ova, "again").await.unwrap();
    assert_eq!(world.disks("again"), world.disks("web"));
}

#[tokio::test]
async fn a_stream_that_breaks_is_started_again_at_its_place_or_in_its_spool() {
    side_by_side(0..4, async |disk| {
        let reset = on_export(FaultKind::ResetAfterBytes(400_000)).with_disk(disk);
        let world = four_disks(vec![reset]).await;
        let ova = world.folder.path().join("x.ova");
        let report = world.export_to(&ova).await.unwrap();
        assert_eq!(report.files.iter().map(|file| file.attempts).max(), Some(2));
        world.import(&ova, "again").await.unwrap();
        assert_eq!(world.disks("again"), world.disks("web"));
    })
    .await;
}

#[tokio::test]
async fn what_is_not_proven_becomes_no_archive() {
    for kind in [
        FaultKind::WrongDigest,
        FaultKind::FlipBitAt(300_000),
        FaultKind::TruncateAfterBytes(300_000),
        FaultKind::LeaseLostAfterBytes(2_000_000),
        FaultKind::Status(404),
    ] {
        let world = four_disks(vec![on_export(kind.clone()).with_times(99)]).await;
        let error = world.export_to(&world.folder.path().join("new/x.ova")).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Refused, "{kind:?}: {}", error.chain());
        world.assert_clean();
    }
}

#[tokio::test]
async fn cancelling_removes_the_archive_and_its_spools() {
    for after_bytes in [1, 1_000_000, 4_000_000, 10_500_000] {
        let world = four_disks(Vec::new()).await;
        let export = Export::new("/DC0/vm/web", world.folder.path().join("new/x.ova"));
        let transfer = export.plan(&world.server).await.unwrap().start(options());
        while transfer.meter().bytes() < after_bytes {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        transfer.cancel();
        let error = transfer.finish().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", error.chain());
        world.assert_clean();
    }
}

#[tokio::test]
async fn an_archive_that_exists_stays_unless_it_is_to_be_replaced() {
    let world = World::new([]).await;
    let ova = world.folder.path().join("x.ova");
    fs::write(&ova, b"theirs").unwrap();
    let error = world.export_to(&ova).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{}", error.chain());
    assert_eq!(fs::read(&ova).unwrap(), b"theirs");
    let mut export = Export::new("/DC0/vm/web", &ova);
    export.overwrite = true;
    export.plan(&world.server).await.unwrap().start(options()).finish().await.unwrap();
    assert_eq!(members(&fs::read(&ova).unwrap()).len(), 4);
    assert_eq!(world.files(), [ova]);
}

/// Remembers what was written, and whether it was asked for anything after it was closed.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_pipe_gets_a_whole_archive_or_nothing() {
    let world = four_disks(Vec::new()).await;
    let written = Written::default();
    let mut export = Export::new("/DC0/vm/web", Pipe::new(written.clone()));
    export.spool_dir = Some(world.folder.path().to_owned());
    let report = export.plan(&world.server).await.unwrap().start(options()).finish().await.unwrap();
    assert_eq!(report.package, None);
    assert_eq!(world.files(), Vec::<PathBuf>::new());
    let archive = written.0.lock().unwrap().clone();
    assert_eq!(members(&archive)[..2], ["web.ovf", "web.mf"]);
    let ova = world.folder.path().join("x.ova");
    fs::write(&ova, &archive).unwrap();
    world.import(&ova, "again").await.unwrap();
    assert_eq!(world.disks("again"), world.disks("web"));

    let world = four_disks(vec![on_export(FaultKind::WrongDigest).with_disk(3)]).await;
    let written = Written::default();
    let error = world.export_to(Pipe::new(written.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{}", error.chain());
    assert_eq!(written.0.lock().unwrap().len(), 0);
    world.assert_clean();
}

/// A pipe whose reader has gone.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_pipe_that_breaks_is_told() {
    let world = World::new([]).await;
    let error = world.export_to(Pipe::new(Broken)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LocalFile, "{}", error.chain());
}

/// A pipe whose reader takes its time.
struct Slow(Option<Duration>);

impl Write for Slow {
    #[expect(clippy::disallowed_methods, reason = "a pipe that blocks, on a thread that may")]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(pause) = self.0.take() {
            std::thread::sleep(pause);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lease is over by then, and nothing else asks the server for anything.
#[tokio::test]
async fn a_pipe_that_is_slow_does_not_cost_the_session_that_removes_the_snapshot() {
    side_by_side([Wire::Json, Wire::Soap], async |wire| {
        let world = World::over(wire, |scenario| {
            scenario.machines[0].powered_on = true;
            scenario.session_idle_s = 3;
        })
        .await;
        let server = world.server.clone().keep_alive_every(Duration::from_millis(500));
        let pipe = Pipe::new(Slow(Some(Duration::from_secs(5))));
        let mut export = Export::new("/DC0/vm/web", pipe);
        export.live = true;
        export.plan(&server).await.unwrap().start(options()).finish().await.unwrap();
        assert_eq!(snapshots(&world).await, Vec::<String>::new());
    })
    .await;
}

/// Files that are visible, in the order in which they became so.
type Visible = Arc<Mutex<Vec<(FileName, Vec<u8>)>>>;

/// A store in memory.
#[derive(Debug, Default)]
struct Memory {
    visible: Visible,
    /// A file that cannot be committed.
    refuses: Option<&'static str>,
}

#[derive(Debug)]
struct MemorySink {
    file: FileName,
    bytes: Vec<u8>,
    is_refused: bool,
    visible: Visible,
}

impl Store for Memory {
    fn create<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<Box<dyn Sink>>> {
        let sink = MemorySink {
            file: file.clone(),
            bytes: Vec::new(),
            is_refused: self.refuses == Some(file.as_str()),
            visible: Arc::clone(&self.visible),
        };
        async move { Ok(Box::new(sink) as Box<dyn Sink>) }.boxed()
    }

    fn remove<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<()>> {
        self.visible.lock().unwrap().retain(|(visible, _)| visible != file);
        async { Ok(()) }.boxed()
    }
}

impl Sink for MemorySink {
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        for chunk in batch {
            self.bytes.extend_from_slice(&chunk);
        }
        async { Ok(()) }.boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn commit(self: Box<Self>, proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        assert_eq!((proof.file(), proof.bytes()), (&self.file, self.bytes.len() as u64));
        async move {
            if self.is_refused {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            self.visible.lock().unwrap().push((self.file, self.bytes));
            Ok(())
        }
        .boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

#[tokio::test]
async fn a_store_gets_every_file_and_the_descriptor_last() {
    let world = World::new([]).await;
    let store = Arc::new(Memory::default());
    world.export_to(Output::Store(Arc::clone(&store) as Arc<dyn Store>)).await.unwrap();
    let visible = store.visible.lock().unwrap().clone();
    let names: Vec<&str> = visible.iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!(names, ["web-disk-0.vmdk", "web-disk-1.vmdk", "web.mf", "web.ovf"]);
    for (file, bytes) in &visible {
        fs::write(world.folder.path().join(file.as_str()), bytes).unwrap();
    }
    world.import(&world.folder.path().join("web.ovf"), "again").await.unwrap();
    assert_eq!(world.disks("again"), world.disks("web"));
}

#[tokio::test]
async fn a_store_that_refuses_the_last_file_keeps_none() {
    for refuses in ["web-disk-0.vmdk", "web-disk-1.vmdk", "web.mf", "web.ovf"] {
        let world = World::new([]).await;
        let store = Arc::new(Memory { refuses: Some(refuses), ..Memory::default() });
        let output = Output::Store(Arc::clone(&store) as Arc<dyn Store>);
        let error = world.export_to(output).await.unwrap_err();
        assert!(error.to_string().contains(refuses), "{}", error.chain());
        let visible: BTreeMap<_, _> = store.visible.lock().unwrap().iter().cloned().collect();
        assert!(visible.is_empty(), "{:?}", visible.keys());
    }
}

/// A machine that runs, with a slow host, and its names in the list of snapshots.
async fn running(wire: Wire, faults: Vec<Fault>) -> World {
    World::over(wire, |scenario| {
        scenario.machines[0].powered_on = true;
        scenario.faults = faults;
        for host in &mut scenario.hosts {
            host.throttle_mb_per_s_per_stream = Some(20.0);
        }
    })
    .await
}

async fn snapshots(world: &World) -> Vec<String> {
    let vms = world.simulator.vms();
    vms.iter().find(|vm| vm.name == "web").unwrap().snapshots.clone()
}

fn live(world: &World) -> Export {
    let mut export = Export::new("/DC0/vm/web", world.folder.path().join("x.ova"));
    export.live = true;
    export
}

#[tokio::test]
async fn a_machine_that_runs_is_exported_by_a_snapshot_that_goes_again() {
    for wire in [Wire::Json, Wire::Soap] {
        let world = running(wire, Vec::new()).await;
        let error = world.export().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let plan = live(&world).plan(&world.server).await.unwrap();
        assert!(plan.to_string().contains("snapshot"), "{plan}");
        let transfer = plan.start(options());
        while transfer.meter().bytes() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let made = snapshots(&world).await;
        assert!(made.len() == 1 && made[0].starts_with("ovftransfer-export-"), "{made:?}");
        transfer.finish().await.unwrap();
        assert_eq!(snapshots(&world).await, Vec::<String>::new());
        world.import(&world.folder.path().join("x.ova"), "again").await.unwrap();
        assert_eq!(world.disks("again"), world.disks("web"));
    }
}

#[tokio::test]
async fn the_snapshot_goes_too_when_the_export_fails_or_is_cancelled() {
    let world = running(Wire::Auto, vec![on_export(FaultKind::WrongDigest)]).await;
    let plan = live(&world).plan(&world.server).await.unwrap();
    let error = plan.start(options()).finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{}", error.chain());
    assert_eq!(snapshots(&world).await, Vec::<String>::new());
    world.assert_clean();

    for after_bytes in [0, 1, 500_000] {
        let world = running(Wire::Auto, Vec::new()).await;
        let transfer = live(&world).plan(&world.server).await.unwrap().start(options());
        while transfer.meter().bytes() < after_bytes {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        transfer.cancel();
        let error = transfer.finish().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{after_bytes}: {}", error.chain());
        assert_eq!(snapshots(&world).await, Vec::<String>::new());
        world.assert_clean();
    }
}

#[tokio::test]
async fn a_machine_that_is_off_needs_no_snapshot() {
    let world = World::new([]).await;
    live(&world).plan(&world.server).await.unwrap().start(options()).finish().await.unwrap();
    let kinds: Vec<String> =
        world.simulator.tasks().iter().map(|task| task.description_id.clone()).collect();
    assert!(!kinds.iter().any(|kind| kind.contains("napshot")), "{kinds:?}");
}

/// What leases say of the size of NVRAM is not always what comes.
#[tokio::test]
async fn a_wrong_file_size_does_no_harm() {
    let world = World::with(|scenario| {
        scenario.machines[0].nvram = Size::from_bytes(8684);
        scenario.quirks.file_size_offset = 136_890;
    })
    .await;
    let report = world.export().await.unwrap();
    let nvram = report.files.iter().find(|file| file.file.as_str() == "web.nvram").unwrap();
    assert_eq!((nvram.bytes, nvram.by_server), (8684, true));
}

/// Some servers send nothing for the second disk of a lease.
#[tokio::test]
async fn a_server_of_one_disk_per_lease_is_asked_for_one_at_a_time() {
    for wire in [Wire::Json, Wire::Soap] {
        check_one_disk_per_lease(wire).await;
    }
}

async fn check_one_disk_per_lease(wire: Wire) {
    let one_disk = |scenario: &mut Scenario| scenario.quirks.one_disk_per_lease = true;
    let world = World::over(wire, one_disk).await;
    let error = world.export().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Package, "{}", error.chain());
    assert!(matches!(error, Error::EmptyDisk { .. }), "{}", error.chain());
    assert!(error.to_string().contains("a lease for each disk"), "{error}");
    world.assert_clean();
    let mut export = Export::new("/DC0/vm/web", world.folder.path().join("x.ova"));
    export.lease_per_disk = true;
    export.plan(&world.server).await.unwrap().start(options()).finish().await.unwrap();
    world.import(&world.folder.path().join("x.ova"), "again").await.unwrap();
    assert_eq!(world.disks("again"), world.disks("web"));
}

#[tokio::test]
async fn every_disk_can_have_a_lease_of_its_own() {
    let world = four_disks(Vec::new()).await;
    let mut export = Export::new("/DC0/vm/web", world.folder.path().join("x.ova"));
    export.lease_per_disk = true;
    let plan = export.clone().plan(&world.server).await.unwrap();
    let report = plan.start(options()).finish().await.unwrap();
    assert_eq!(report.files.len(), 5);
    let leases = world.simulator.leases();
    assert_eq!(leases.len(), 4);
    assert!(leases.iter().all(|lease| lease.state == LeaseState::Done), "{leases:?}");
    world.import(&world.folder.path().join("x.ova"), "again").await.unwrap();
    assert_eq!(world.disks("again"), world.disks("web"));

    // What the first leases have brought goes too when a later one fails.
    let world = four_disks(vec![on_export(FaultKind::WrongDigest).with_disk(3)]).await;
    export.destination = world.folder.path().into();
    let plan = export.plan(&world.server).await.unwrap();
    let error = plan.start(options()).finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{}", error.chain());
    assert_eq!(world.files(), Vec::<PathBuf>::new());
}

/// A vApp of two machines with disks and NVRAM, and nothing else.
async fn vapp(wire: Wire, powered_on: bool) -> World {
    World::over(wire, |scenario| {
        let machine = |name: &str, seed| {
            let mut machine = Machine::new(name);
            let data = |seed| Data::new(DataKind::Mixed, 2 * MIB, seed);
            let disk = |seed| DiskSpec::new(16 * MIB).with_data(data(seed));
            machine.disks = vec![disk(seed), disk(seed + 1)];
            machine.nvram = Size::from_bytes(8684);
            machine.networks = vec!["VM Network".to_owned()];
            machine.powered_on = powered_on && name == "back";
            machine
        };
        let machines = vec![machine("front", 1), machine("back", 11)];
        scenario.machines.clear();
        scenario.vapps = vec![VappSpec::new("shop", machines)];
    })
    .await
}

#[tokio::test]
async fn a_vapp_goes_out_with_all_its_machines_and_comes_back() {
    for (wire, output) in [(Wire::Json, "x.ova"), (Wire::Soap, "out")] {
        let world = vapp(wire, false).await;
        let export = Export::new("/DC0/vm/shop", world.folder.path().join(output));
        let plan = export.plan(&world.server).await.unwrap();
        assert!(plan.to_string().contains("back, Hard disk 2"), "{plan}");
        let report = plan.start(options()).finish().await.unwrap();
        assert_eq!(report.files.len(), 6, "{report:?}");
        let package = report.package.unwrap();
        let names: Vec<String> = report.files.iter().map(|file| file.file.to_string()).collect();
        let nvrams = names.iter().filter(|name| name.ends_with(".nvram")).count();
        assert_eq!(nvrams, 2, "{names:?}");

        let before = [world.disks("front"), world.disks("back")];
        world.import(&package, "again").await.unwrap();
        let vms = world.simulator.vms();
        for (name, disks) in ["front", "back"].iter().zip(before) {
            let same = vms.iter().filter(|vm| vm.name == *name);
            let digests = |vm: &VmState| -> Vec<String> {
                vm.disks.iter().map(|disk| format!("{:?}", disk.digest().unwrap())).collect()
            };
            let all: Vec<Vec<String>> = same.map(digests).collect();
            assert_eq!(all, [disks.clone().unwrap(), disks.unwrap()], "{name}");
        }
        assert!(world.simulator.leases().iter().all(|lease| lease.state == LeaseState::Done));
    }
}

#[tokio::test]
async fn a_vapp_that_runs_is_refused_with_the_machine_that_does() {
    for wire in [Wire::Json, Wire::Soap] {
        let world = vapp(wire, true).await;
        let export = Export::new("/DC0/vm/shop", world.folder.path());
        let error = export.clone().plan(&world.server).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("back"), "{error}");
        let mut live = export;
        live.live = true;
        let error = live.plan(&world.server).await.unwrap_err();
        assert!(error.to_string().contains("vApp"), "{error}");
    }
}
