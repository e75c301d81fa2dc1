//! Transfers over real sockets and TLS, against the simulator and its scripted faults.
//!
//! The clock is the real one, so disks and limits are small.
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

mod afterwards;
mod away;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most kinds of fault need nothing at any one place"
)]
mod campaign;
mod conversions;
mod dpu;
mod esxi;
mod exports;
mod hosts;
mod imports;
mod networks;
mod outputs;
mod ports;
mod resume;
#[path = "../web/server.rs"]
mod web_server;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use ovftransfer::Endpoint;
use ovftransfer::Error;
use ovftransfer::ErrorKind;
use ovftransfer::Export;
use ovftransfer::Governor;
use ovftransfer::Import;
use ovftransfer::Limits;
use ovftransfer::Locator;
use ovftransfer::Options;
use ovftransfer::Output;
use ovftransfer::Package;
use ovftransfer::Remains;
use ovftransfer::Report;
use ovftransfer::Secret;
use ovftransfer::Server;
use ovftransfer::Trust;
use ovftransfer::Verification;
use ovftransfer::Wire;
use ovftransfer_simulator::LeaseState;
use ovftransfer_simulator::Scenario;
use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::Data;
use ovftransfer_simulator::scenario::DataKind;
use ovftransfer_simulator::scenario::Direction;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Fault;
use ovftransfer_simulator::scenario::FaultKind;
use ovftransfer_simulator::scenario::Machine;
use ovftransfer_simulator::scenario::Size;
use ovftransfer_simulator::scenario::Spread;
use tokio::sync::OnceCell;

const MIB: u64 = 1 << 20;

/// A simulator with one machine of two disks, and a session with it.
struct World {
    simulator: Simulator,
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self::with(|scenario| scenario.faults = faults.into_iter().collect()).await
    }

    async fn with(change: impl FnOnce(&mut Scenario)) -> Self {
        Self::over(Wire::Auto, change).await
    }

    async fn over(wire: Wire, change: impl FnOnce(&mut Scenario)) -> Self {
        let data = |kind, mib, seed| Data::new(kind, mib * MIB, seed).with_spread(Spread::Even);
        let mut machine = Machine::new("web");
        machine.disks = vec![
            DiskSpec::new(64 * MIB).with_data(data(DataKind::Random, 4, 1)),
            DiskSpec::new(32 * MIB).with_data(data(DataKind::Text, 2, 2)),
        ];
        machine.networks = vec!["VM Network".to_owned()];
        let mut scenario = Scenario::default();
        scenario.machines = vec![machine];
        scenario.vapps.clear();
        scenario.lease_timeout_s = 6;
        change(&mut scenario);
        let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
        let locator: Locator = simulator.url().replace("https", "vi").parse().unwrap();
        let trust = Trust::Pinned(simulator.thumbprint().parse().unwrap());
        let password = Secret::new(simulator.password());
        let endpoint: Endpoint = locator.endpoint().clone();
        let server = Server::connect_with(endpoint, trust, simulator.username(), password, wire)
            .await
            .unwrap();
        Self { simulator, server, folder: tempfile::tempdir().unwrap() }
    }

    async fn export(&self) -> Result<Report, Error> {
        self.export_to(self.folder.path()).await
    }

    async fn export_to(&self, output: impl Into<Output>) -> Result<Report, Error> {
        let export = Export::new("/DC0/vm/web", output);
        export.plan(&self.server).await?.start(options()).finish().await
    }

    async fn import(&self, descriptor: &Path, name: &str) -> Result<Report, Error> {
        let mut import = Import::new(Package::open(descriptor)?, "/DC0/host/Cluster0");
        import.name = Some(name.to_owned());
        import.datastore = Some("datastore0".to_owned());
        import.plan(&self.server).await?.start(options()).finish().await
    }

    /// The digests of a machine's disks; `None` if there is no such machine.
    fn disks(&self, name: &str) -> Option<Vec<String>> {
        let vm = self.simulator.vms().into_iter().find(|vm| vm.name == name)?;
        Some(vm.disks.iter().map(|disk| format!("{:?}", disk.digest().unwrap())).collect())
    }

    /// Everything below the folder that takes exports.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }

    /// What must hold after a failure, whatever it was.
    fn assert_clean(&self) {
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "files are left");
        assert_eq!(fs::read_dir(self.folder.path()).unwrap().count(), 0, "folders are left");
        let names: Vec<String> = self.simulator.vms().into_iter().map(|vm| vm.name).collect();
        assert_eq!(names, ["web"], "machines are left");
        for lease in self.simulator.leases() {
            assert_eq!(lease.state, LeaseState::Error, "{lease:?}");
            assert!(lease.fault.is_some(), "{lease:?}");
        }
        assert!(self.simulator.vms().iter().all(|vm| !vm.is_leased));
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.governor = Governor::new(Limits::new(2, 2));
    options.stall = Duration::from_secs(5);
    options
}

/// The package that an export of the machine makes, in a folder of its own; the descriptor's path.
///
/// It is exported once, and kept in memory: most tests need one to begin with.
async fn package_in(folder: &Path) -> PathBuf {
    static FILES: OnceCell<Vec<(String, Vec<u8>)>> = OnceCell::const_new();
    let exported = async || {
        let world = World::new([]).await;
        world.export().await.unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let files = world.files().into_iter();
        files.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
    };
    let folder = folder.join("package");
    fs::create_dir(&folder).unwrap();
    for (name, bytes) in FILES.get_or_init(exported).await {
        fs::write(folder.join(name), bytes).unwrap();
    }
    folder.join("web.ovf")
}

/// The same in a temporary folder.
async fn package() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let descriptor = package_in(folder.path()).await;
    (folder, descriptor)
}

/// Runs the cases of a test beside one another, as they mostly wait.
async fn side_by_side<T>(cases: impl IntoIterator<Item = T>, run: impl AsyncFn(T)) {
    futures::future::join_all(cases.into_iter().map(|case| run(case))).await;
}

fn on_export(kind: FaultKind) -> Fault {
    Fault::new(Direction::Export, kind)
}

fn on_import(kind: FaultKind) -> Fault {
    Fault::new(Direction::Import, kind)
}

#[tokio::test]
async fn a_machine_goes_out_and_comes_back() {
    for wire in [Wire::Json, Wire::Soap] {
        goes_out_and_comes_back(wire).await;
    }
}

async fn goes_out_and_comes_back(wire: Wire) {
    let world = World::over(wire, |_| {}).await;
    let out = world.export().await.unwrap();
    assert_eq!(out.files.len(), 2);
    assert!(out.files.iter().all(|file| file.by_server && file.attempts == 1), "{out:?}");
    let descriptor = out.package.unwrap();
    assert_eq!(descriptor, world.folder.path().join("web/web.ovf"));
    let mut names: Vec<String> = world
        .files()
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["web-disk-0.vmdk", "web-disk-1.vmdk", "web.mf", "web.ovf"]);

    let back = world.import(&descriptor, "again").await.unwrap();
    assert!(back.files.iter().all(|file| file.by_server && file.by_package), "{back:?}");
    assert_eq!(world.disks("again").unwrap(), world.disks("web").unwrap());
    let leases = world.simulator.leases();
    assert!(leases.iter().all(|lease| lease.state == LeaseState::Done), "{leases:?}");
    assert!(leases.iter().all(|lease| lease.percents.last() == Some(&100)), "{leases:?}");
    assert!(leases.iter().all(|lease| lease.heartbeats >= 1), "{leases:?}");
    world.server.logout().await;
    assert!(world.simulator.sessions().is_empty());
}

#[tokio::test]
async fn a_package_of_two_machines_becomes_a_vapp() {
    for wire in [Wire::Json, Wire::Soap] {
        let world = World::over(wire, |scenario| scenario.machines.clear()).await;
        let disk =
            |seed| DiskSpec::new(16 * MIB).with_data(Data::new(DataKind::Mixed, 4 * MIB, seed));
        let mut machines = ["db", "front"].map(Machine::new);
        machines[0].disks = vec![disk(1), disk(2)];
        machines[1].disks = vec![disk(3)];
        for machine in &mut machines {
            machine.networks = vec!["VM Network".to_owned()];
            machine.nvram = Size::from_bytes(8_684);
        }
        let appliance = Appliance::vapp("shop", machines.into());
        let package = appliance.write_folder(world.folder.path()).unwrap();
        let report = world.import(package.path(), "laden").await.unwrap();
        assert_eq!(report.files.len(), 5);
        assert!(report.files.iter().all(|file| file.by_server), "{report:?}");
        let vms = world.simulator.vms();
        let places: Vec<(&str, &str)> =
            vms.iter().map(|vm| (vm.folder.as_str(), vm.name.as_str())).collect();
        assert_eq!(places, [("/DC0/vm/laden", "db"), ("/DC0/vm/laden", "front")]);
        let disks = vms.iter().flat_map(|vm| &vm.disks);
        let disks: Vec<String> = disks.map(|disk| disk.digest().unwrap().raw_sha256).collect();
        assert_eq!(disks, appliance.raw_sha256().unwrap());
        assert!(vms.iter().all(|vm| vm.files.len() == 1 && !vm.is_leased), "{vms:?}");
        // Each machine came to the host that it is on.
        assert_ne!(vms[0].host, vms[1].host);
    }
}

#[tokio::test]
async fn passing_troubles_of_an_export_are_tried_again() {
    let kinds = [
        FaultKind::ResetAfterBytes(1_000_000),
        FaultKind::TruncateAfterBytes(1_000_000),
        FaultKind::Status(503),
        FaultKind::StallAfterBytes(500_000),
    ];
    side_by_side(kinds, async |kind| {
        let world = World::new([on_export(kind.clone()).with_disk(0)]).await;
        let outcome = world.export().await;
        if matches!(kind, FaultKind::TruncateAfterBytes(_)) {
            // It looks whole; only its structure shows that it is not.  That is never glossed over.
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Package, "{kind:?}");
            world.assert_clean();
            return;
        }
        let report = outcome.unwrap();
        assert_eq!(report.files[0].attempts, 2, "{kind:?}");
        assert_eq!(report.files[1].attempts, 1, "{kind:?}");
    })
    .await;
}

#[tokio::test]
async fn a_flipped_bit_is_seen_in_both_directions() {
    let world = World::new([on_export(FaultKind::FlipBitAt(1_000_000)).with_disk(0)]).await;
    let error = world.export().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{}", error.chain());
    assert!(error.to_string().contains("web-disk-0.vmdk"), "{error}");
    world.assert_clean();

    let (_folder, package) = package().await;
    let flip = on_import(FaultKind::FlipBitAt(1_000_000)).with_disk(0).with_times(9);
    let world = World::new([flip]).await;
    let error = world.import(&package, "again").await.unwrap_err();
    // The host may refuse the grain, or take it and say so in its manifest.
    let kinds = [ErrorKind::DigestMismatch, ErrorKind::Network];
    assert!(kinds.contains(&error.kind()), "{}", error.chain());
    world.assert_clean();
}

#[tokio::test]
async fn an_import_that_fails_leaves_no_machine() {
    let (_folder, package) = package().await;
    let cases = [
        (FaultKind::WrongDigest, ErrorKind::DigestMismatch),
        (FaultKind::InitializeError("no luck".to_owned()), ErrorKind::Refused),
        (FaultKind::LeaseLostAfterBytes(1_000_000), ErrorKind::LeaseLost),
        (FaultKind::Status(405), ErrorKind::Network),
    ];
    side_by_side(cases, async |(kind, expected)| {
        let world = World::new([on_import(kind.clone()).with_times(9)]).await;
        let error = world.import(&package, "again").await.unwrap_err();
        assert_eq!(error.kind(), expected, "{kind:?}: {}", error.chain());
        world.assert_clean();
    })
    .await;
}

/// A host refuses a grain that is not sound at once; the package's manifest knows why it is not.
#[tokio::test]
async fn a_damaged_package_is_told_as_such_also_if_the_host_refuses_it_first() {
    let (_folder, package) = package().await;
    let disk = package.with_file_name("web-disk-0.vmdk");
    let mut bytes = fs::read(&disk).unwrap();
    // Early in the file, so that what the host says comes long before the last byte.
    bytes[200_000..200_016].fill(0xFF);
    fs::write(&disk, bytes).unwrap();
    side_by_side([Wire::Json, Wire::Soap], async |wire| {
        let slow = |scenario: &mut Scenario| {
            for host in &mut scenario.hosts {
                host.throttle_mb_per_s_per_stream = Some(4.0);
            }
        };
        let world = World::over(wire, slow).await;
        let error = world.import(&package, "again").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{}", error.chain());
        assert!(error.to_string().contains("web-disk-0.vmdk: the package's manifest"), "{error}");
        world.assert_clean();
    })
    .await;
    // With a manifest that agrees, it is a disk that is not sound.
    fs::remove_file(package.with_extension("mf")).unwrap();
    let world = World::new([]).await;
    let error = world.import(&package, "again").await.unwrap_err();
    let kinds = [ErrorKind::Network, ErrorKind::Package];
    assert!(kinds.contains(&error.kind()), "{}", error.chain());
    world.assert_clean();
}

#[tokio::test]
async fn an_upload_that_breaks_is_sent_again() {
    let (_folder, package) = package().await;
    let kinds = [FaultKind::ResetAfterBytes(2_000_000), FaultKind::Status(503)];
    side_by_side(kinds, async |kind| {
        let world = World::new([on_import(kind.clone()).with_disk(0)]).await;
        let report = world.import(&package, "again").await.unwrap();
        assert_eq!(report.files.iter().map(|file| file.attempts).max(), Some(2), "{kind:?}");
        assert_eq!(world.disks("again"), world.disks("web"), "{kind:?}");
    })
    .await;
}

#[tokio::test]
async fn refused_heartbeats_are_survived() {
    let world = World::with(|scenario| {
        scenario.lease_timeout_s = 3;
        scenario.hosts[0].throttle_mb_per_s_per_stream = Some(1.0);
        scenario.faults = vec![on_export(FaultKind::HeartbeatRefused).with_times(3)];
    })
    .await;
    let report = world.export().await.unwrap();
    assert!(report.took > Duration::from_secs(3), "{:?}", report.took);
    let lease = &world.simulator.leases()[0];
    assert_eq!((lease.state, lease.heartbeats_refused), (LeaseState::Done, 3));
}

#[tokio::test]
async fn a_lost_session_is_a_lost_lease() {
    let world = World::with(|scenario| {
        scenario.hosts[0].throttle_mb_per_s_per_stream = Some(1.0);
    })
    .await;
    let export = Export::new("/DC0/vm/web", world.folder.path());
    let transfer = export.plan(&world.server).await.unwrap().start(options());
    while transfer.meter().bytes() < 500_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.simulator.drop_sessions();
    let error = transfer.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{}", error.chain());
    // The right to end the lease went with the session; whoever cleans up finds how in the journal.
    let journals = Remains::find(world.folder.path()).unwrap();
    assert_eq!(world.files(), journals);
    assert_eq!(journals.len(), 1);
}

#[tokio::test]
async fn cancelling_cleans_up_at_any_moment() {
    let (_folder, package) = package().await;
    side_by_side([0, 5, 20, 60, 200, 600], async |after_ms| {
        let world = World::with(|scenario| {
            scenario.initialize_delay_ms = 40;
            for host in &mut scenario.hosts {
                host.throttle_mb_per_s_per_stream = Some(2.0);
            }
        })
        .await;
        let mut import = Import::new(Package::open(&package).unwrap(), "/DC0/host/Cluster0");
        import.name = Some("again".to_owned());
        import.datastore = Some("datastore0".to_owned());
        let transfer = import.plan(&world.server).await.unwrap().start(options());
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        transfer.cancel();
        let error = transfer.finish().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{after_ms}: {}", error.chain());
        world.assert_clean();
    })
    .await;
}

#[tokio::test]
async fn dropping_the_handle_ends_the_lease() {
    let world = World::with(|scenario| {
        scenario.hosts[0].throttle_mb_per_s_per_stream = Some(1.0);
    })
    .await;
    let export = Export::new("/DC0/vm/web", world.folder.path());
    let transfer = export.plan(&world.server).await.unwrap().start(options());
    while transfer.meter().bytes() < 200_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(transfer);
    while world.simulator.leases()[0].state == LeaseState::Ready || !world.files().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.assert_clean();
}

#[tokio::test]
async fn a_name_that_exists_is_refused_before_anything_is_made() {
    let world = World::new([]).await;
    let package = world.export().await.unwrap().package.unwrap();
    let error = world.import(&package, "web").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("exists"), "{error}");
    assert_eq!(world.simulator.leases().len(), 1, "only the export took a lease");

    // And so is a package that is there already.
    let error = world.export().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}
