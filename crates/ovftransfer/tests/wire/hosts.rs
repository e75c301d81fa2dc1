//! The hosts of a lease are looked at before anything moves.

use std::sync::Arc;
use std::sync::Mutex;

use ovftransfer::Check;
use ovftransfer::Event;
use ovftransfer::Observer;
use ovftransfer::Severity;
use ovftransfer_simulator::scenario::Host;
use ovftransfer_simulator::scenario::Thumbprint;
use ovftransfer_simulator::scenario::VappSpec;

use super::*;

const WIRES: [Wire; 2] = [Wire::Json, Wire::Soap];

/// Notes what is told of hosts and of files.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<Event>>);

impl Told {
    fn options(self: &Arc<Self>) -> Options {
        let mut options = options();
        options.observer = Arc::clone(self) as Arc<dyn Observer>;
        options
    }

    /// The hosts that were checked, and whether by a pin; all of them before the first file.
    fn hosts(&self) -> Vec<(String, bool)> {
        let told = self.0.lock().unwrap();
        let is_start = |event: &&Event| matches!(event, Event::FileStart { .. });
        let mut files = told.iter().skip_while(|event| !is_start(event));
        assert!(!files.any(|event| matches!(event, Event::HostChecked { .. })), "{told:?}");
        let hosts = told.iter().filter_map(|event| {
            let Event::HostChecked { host, pinned, .. } = event else { return None };
            Some((host.clone(), *pinned))
        });
        hosts.collect()
    }

    fn assert_nothing_started(&self) {
        let told = self.0.lock().unwrap();
        let has_started = told
            .iter()
            .any(|event| matches!(event, Event::FileStart { .. } | Event::FileRetry { .. }));
        assert!(!has_started, "{told:?}");
    }
}

impl Observer for Told {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// What can be wrong with a host, the kind of the error that it makes, and a word of its message.
type Trouble = (fn(&mut Host), ErrorKind, &'static str);

const TROUBLES: [Trouble; 2] = [
    (|host| host.unreachable = true, ErrorKind::Network, "cannot connect to"),
    (|host| host.thumbprint = Some(Thumbprint::Wrong), ErrorKind::Tls, "is not trusted"),
];

/// Where the device URLs of a host lead.
fn authority(world: &World, index: usize, kind: ErrorKind) -> String {
    if kind == ErrorKind::Network {
        return "127.0.0.1:1".to_owned();
    }
    world.simulator.hosts()[index].authority.clone()
}

/// The transfer ended with this error, and its lease with an abort that gives it.
fn assert_ended(world: &World, error: &Error, host: &str, (kind, word): (ErrorKind, &str)) {
    assert_eq!(error.kind(), kind, "{}", error.chain());
    assert!(error.to_string().contains(host), "{error}");
    assert!(error.chain().contains(word), "{}", error.chain());
    world.assert_clean();
    let leases = world.simulator.leases();
    let ends: Vec<_> = leases.iter().map(|lease| (lease.state, lease.moved_bytes)).collect();
    assert_eq!(ends, [(LeaseState::Error, 0)]);
}

#[tokio::test]
async fn an_export_is_not_begun_when_a_host_cannot_be_used() {
    for wire in WIRES {
        for (trouble, kind, word) in TROUBLES {
            let world = World::over(wire, |scenario| trouble(&mut scenario.hosts[0])).await;
            let told = Arc::new(Told::default());
            let export = Export::new("/DC0/vm/web", world.folder.path().join("x.ova"));
            let plan = export.plan(&world.server).await.unwrap();
            let error = plan.start(told.options()).finish().await.unwrap_err();
            assert_ended(&world, &error, &authority(&world, 0, kind), (kind, word));
            told.assert_nothing_started();
            assert_eq!(told.hosts(), []);
        }
    }
}

#[tokio::test]
async fn an_import_is_not_begun_when_a_host_cannot_be_used() {
    let (_folder, package) = package().await;
    for wire in WIRES {
        for (trouble, kind, word) in TROUBLES {
            let world = World::over(wire, |scenario| trouble(&mut scenario.hosts[1])).await;
            let told = Arc::new(Told::default());
            let mut import = Import::new(Package::open(&package).unwrap(), "/DC0/host/Cluster0");
            import.name = Some("again".to_owned());
            import.datastore = Some("datastore0".to_owned());
            import.host = Some("/DC0/host/Cluster0/host1".to_owned());
            let plan = import.plan(&world.server).await.unwrap();
            let error = plan.start(told.options()).finish().await.unwrap_err();
            assert_ended(&world, &error, &authority(&world, 1, kind), (kind, word));
            told.assert_nothing_started();
        }
    }
}

/// Two machines on two hosts, with one disk each.
async fn two_hosts(wire: Wire, change: impl FnOnce(&mut Scenario)) -> World {
    World::over(wire, |scenario| {
        scenario.machines.clear();
        let machine = |(name, host): (&str, &str)| {
            let mut machine = Machine::new(name);
            let disk =
                |seed| DiskSpec::new(MIB).with_data(Data::new(DataKind::Text, 1 << 16, seed));
            machine.disks = vec![disk(1), disk(2)];
            machine.host = host.to_owned();
            machine
        };
        let machines = [("front", "host0"), ("back", "host1")].map(machine).to_vec();
        scenario.vapps = vec![VappSpec::new("shop", machines)];
        change(scenario);
    })
    .await
}

#[tokio::test]
async fn every_host_of_a_lease_is_checked_once_before_the_files() {
    for wire in WIRES {
        // A host without a thumbprint is judged as the server is, and the lease's own goes before.
        let world = two_hosts(wire, |_| {}).await;
        let told = Arc::new(Told::default());
        let export = Export::new("/DC0/vm/shop", world.folder.path().join("x.ova"));
        let plan = export.plan(&world.server).await.unwrap();
        plan.start(told.options()).finish().await.unwrap();
        let mut hosts = told.hosts();
        hosts.sort();
        let mut there: Vec<(String, bool)> =
            world.simulator.hosts().iter().map(|host| (host.authority.clone(), true)).collect();
        there.truncate(2);
        there.sort();
        assert_eq!(hosts, there);

        let world = two_hosts(wire, |scenario| scenario.hosts[1].unreachable = true).await;
        let told = Arc::new(Told::default());
        let export = Export::new("/DC0/vm/shop", world.folder.path().join("x.ova"));
        let plan = export.plan(&world.server).await.unwrap();
        let error = plan.start(told.options()).finish().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{}", error.chain());
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
        told.assert_nothing_started();
        assert_eq!(world.files(), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn a_plan_says_that_the_hosts_are_not_known_yet() {
    let note = |findings: &[ovftransfer::Finding]| {
        let note = findings.iter().find(|one| one.check == Check::DeviceHost).cloned();
        note.map(|note| (note.severity, note.to_string()))
    };
    let (_folder, package) = package().await;
    for wire in WIRES {
        let world = World::over(wire, |_| {}).await;
        let plan = Export::new("/DC0/vm/web", world.folder.path()).plan(&world.server);
        let (severity, text) = note(plan.await.unwrap().findings()).unwrap();
        assert_eq!(severity, Severity::Note);
        assert!(text.contains("known with the lease only"), "{text}");
        let mut import = Import::new(Package::open(&package).unwrap(), "/DC0/host/Cluster0");
        import.name = Some("again".to_owned());
        import.datastore = Some("datastore0".to_owned());
        let plan = import.plan(&world.server).await.unwrap();
        assert_eq!(note(plan.findings()), Some((severity, text)));
    }
}
