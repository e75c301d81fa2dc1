//! Cards of machines on distributed ports: what is found of them, and how they come to others.

use std::sync::Arc;
use std::sync::Mutex;

use ovftransfer::CardNetwork;
use ovftransfer::Check;
use ovftransfer::CheckedMachine;
use ovftransfer::CheckedPort;
use ovftransfer::ConnectCard;
use ovftransfer::Event;
use ovftransfer::NetworkMap;
use ovftransfer::Observer;
use ovftransfer::PortAspect;
use ovftransfer::PortMap;
use ovftransfer::Severity;
use ovftransfer::Step;
use ovftransfer::Verdict;
use ovftransfer_simulator::scenario::PortQuirk;
use ovftransfer_simulator::scenario::PortgroupKind;
use ovftransfer_simulator::scenario::PortgroupSpec;
use ovftransfer_simulator::scenario::SwitchSpec;
use ovftransfer_vim::MoRef;

use super::imports::Bench;
use super::imports::error_of;
use super::*;

const WIRES: [Wire; 2] = [Wire::Json, Wire::Soap];

/// A machine without disks on these networks.
fn on(name: &str, networks: &[&str]) -> Machine {
    let mut machine = Machine::new(name);
    machine.disks.clear();
    machine.networks = networks.iter().map(|name| (*name).to_owned()).collect();
    machine
}

/// What is wrong with the ports of one machine.
fn quirk(machine: &str, change: fn(&mut PortQuirk)) -> PortQuirk {
    let mut quirk = PortQuirk::default();
    quirk.machine = Some(machine.to_owned());
    change(&mut quirk);
    quirk
}

async fn checked(world: &World, name: &str) -> CheckedMachine {
    let path = format!("/DC0/vm/{name}");
    let mut machines = world.server.check_network(&path, true).await.unwrap();
    assert_eq!(machines.len(), 1);
    machines.remove(0)
}

fn port(machine: &CheckedMachine) -> &CheckedPort {
    machine.cards[0].port().unwrap()
}

/// The aspects that are not good, each with its verdict.
fn not_good(port: &CheckedPort) -> Vec<(&'static str, &'static str)> {
    let checks = port.checks.iter().filter(|check| check.verdict != Verdict::Good);
    checks.map(|check| (check.aspect.word(), check.verdict.word())).collect()
}

/// What an early binding port of a machine that is off does not show yet.
const LATER: [(&str, &str); 4] =
    [("link", "not_yet"), ("vlan", "not_yet"), ("mtu", "not_yet"), ("mac", "not_yet")];

#[tokio::test]
async fn every_card_is_found_on_its_port_and_judged() {
    const BAD: [(&str, Change, &str, &str); 4] = [
        ("contended", |quirk| quirk.conflict = true, "conflict", "contends for the port"),
        ("blocked", |quirk| quirk.blocked = true, "blocked", "blocked by its configuration"),
        ("cookie", |quirk| quirk.wrong_cookie = true, "cookie", "do not agree"),
        ("lonely", |quirk| quirk.no_connectee = true, "connectee", "nobody"),
    ];
    for wire in WIRES {
        let world = World::over(wire, |scenario| {
            scenario.machines = vec![on("web", &["DPG0", "VM Network", "DPG1"])];
            scenario.machines.extend(BAD.map(|(name, ..)| on(name, &["DPG0"])));
            let quirks = BAD.map(|(name, change, ..)| quirk(name, change));
            scenario.switches[0].quirks = quirks.into();
        })
        .await;
        let web = checked(&world, "web").await;
        assert_eq!((web.name.as_str(), web.cards.len(), web.unread.clone()), ("web", 3, None));
        assert_eq!(not_good(port(&web)), LATER);
        assert!(port(&web).is_good() && web.findings().is_empty(), "{:?}", web.findings());
        assert_eq!(port(&web).place(), "DVS0/DPG0, port 0");
        assert_eq!(port(&web).switch.as_ref().unwrap().max_mtu_bytes, Some(1500));
        let standard = &web.cards[1];
        assert_eq!(standard.label, "Network adapter 2");
        assert_eq!(standard.network.to_string(), "VM Network, of a standard switch");
        let ephemeral = web.cards[2].port().unwrap();
        assert_eq!(not_good(ephemeral), [("exists", "not_yet")]);
        for (name, _, aspect, word) in BAD {
            let machine = checked(&world, name).await;
            let bad = [(aspect, "bad")];
            let found: Vec<_> =
                not_good(port(&machine)).into_iter().filter(|one| one.1 == "bad").collect();
            assert_eq!(found, bad, "{name}");
            assert!(port(&machine).is_bad());
            let findings = machine.findings();
            assert_eq!(findings[0].severity, Severity::Warning);
            let text = findings[0].to_string();
            assert!(text.starts_with(&format!("{name}: Network adapter 1 (DVS0/DPG0")), "{text}");
            assert!(text.contains(word), "{text}");
        }
    }
}

#[tokio::test]
async fn a_port_shows_its_state_when_the_machine_runs() {
    for wire in WIRES {
        let world = World::over(wire, |scenario| {
            scenario.machines = vec![on("web", &["DPG0", "DPG1"]), on("down", &["DPG0"])];
            scenario.machines.iter_mut().for_each(|machine| machine.powered_on = true);
            scenario.switches[0].state_lags = true;
            scenario.switches[0].quirks = vec![quirk("down", |quirk| quirk.link_down = true)];
        })
        .await;
        let known = world.server.check_network("/DC0/vm/web", false).await.unwrap();
        let link = port(&known[0]).verdict(PortAspect::Link).unwrap();
        assert_eq!(link.word(), "unknown", "the state lags until it is refreshed");
        let web = checked(&world, "web").await;
        for card in &web.cards {
            assert_eq!(not_good(card.port().unwrap()), [], "{card:?}");
        }
        let down = checked(&world, "down").await;
        assert_eq!(not_good(port(&down)), [("link", "bad")]);
    }
}

#[tokio::test]
async fn a_card_comes_to_the_port_that_was_chosen() {
    for wire in WIRES {
        let world = World::over(wire, |scenario| {
            scenario.machines = vec![on("web", &["DPG0", "VM Network"]), on("db", &["DPG0"])];
        })
        .await;
        let connect = async |nic: &str, portgroup: Option<&str>, port: Option<&str>| {
            let mut request = ConnectCard::new("/DC0/vm/web", nic);
            request.portgroup = portgroup.map(str::to_owned);
            request.port = port.map(str::to_owned);
            world.server.connect_card(&request).await
        };
        let mac = checked(&world, "web").await.cards[0].mac_address.clone();
        let done = connect("1", None, Some("5")).await.unwrap();
        assert_eq!(done.before.port().unwrap().connection.port_key.as_deref(), Some("0"));
        let after = done.after.port().unwrap();
        assert_eq!(after.connection.port_key.as_deref(), Some("5"));
        assert!(after.is_good(), "{after:?}");
        assert_eq!(done.after.mac_address, mac, "the rest of the card stays");
        // A card of a standard switch, onto whatever port there is.
        let done = connect("Network adapter 2", Some("DPG0"), None).await.unwrap();
        assert!(matches!(done.before.network, CardNetwork::Standard { .. }));
        assert_eq!(not_good(done.after.port().unwrap()), LATER);
        type Place = (Option<&'static str>, Option<&'static str>);
        let cases: [(&str, Place, ErrorKind, &str); 8] = [
            ("1", (None, Some("1")), ErrorKind::Refused, "taken by VirtualMachine:"),
            ("1", (None, Some("999")), ErrorKind::NotFound, "no port 999"),
            ("1", (None, Some("8")), ErrorKind::Refused, "uplink"),
            ("1", (Some("DPG1"), Some("6")), ErrorKind::Refused, "another portgroup, DPG0"),
            ("1", (Some("VM Network"), None), ErrorKind::Refused, "not a portgroup"),
            ("1", (Some("DVS0-DVUplinks"), None), ErrorKind::Refused, "for uplinks"),
            ("1", (None, None), ErrorKind::Refused, "name a port"),
            ("7", (None, Some("6")), ErrorKind::NotFound, "Network adapter 1"),
        ];
        for (nic, (portgroup, port), kind, word) in cases {
            let error = connect(nic, portgroup, port).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{nic} {portgroup:?} {port:?}: {}", error.chain());
            assert!(
                error.chain().contains(word),
                "{nic} {portgroup:?} {port:?}: {}",
                error.chain()
            );
        }
    }
}

/// Portgroups with early binding of so many ports.
fn early(name: &str, ports: u32, auto_expand: bool) -> PortgroupSpec {
    let mut group = PortgroupSpec::new(name, PortgroupKind::EarlyBinding);
    (group.ports, group.auto_expand) = (ports, auto_expand);
    group
}

/// Two switches of which the second has a portgroup of the same name as the first; the machine
/// `web` has one card.
fn two_switches(scenario: &mut Scenario) {
    scenario.switches[0].portgroups.push(early("small", 1, false));
    let mut second = SwitchSpec::new("DVS1");
    second.folder = "other".to_owned();
    second.portgroups =
        vec![early("DPG0", 2, false), early("none", 0, false), early("growing", 0, true)];
    scenario.switches.push(second);
}

#[tokio::test]
async fn a_network_is_one_object_however_it_is_called() {
    for wire in WIRES {
        let bench = Bench::over(wire, two_switches).await;
        let plan = async |network: &str| {
            let mut request = bench.request();
            request.networks = vec![NetworkMap::new(None, network)];
            bench.plan(request).await
        };
        let first = plan("DVS0/DPG0").await.unwrap();
        let [network] = first.networks() else { panic!("{:?}", first.networks()) };
        assert_eq!(
            (network.ovf.as_str(), network.cards, network.is_mapped),
            ("VM Network", 1, true)
        );
        let moref = network.network.as_ref().unwrap().moref.to_string();
        let line = format!(
            "  network VM Network (1 card): DVS0/DPG0 ({moref}), early binding, 8 ports free\n"
        );
        assert!(first.to_string().contains(&line), "{first}");
        first.check().unwrap();
        let again = plan(&moref).await.unwrap();
        assert!(again.to_string().contains(&line), "{again}");
        let second = plan("DVS1/DPG0").await.unwrap();
        assert!(second.to_string().contains("DVS1/DPG0 ("), "{second}");
        assert!(second.to_string().contains("2 ports free"), "{second}");
        // Which of the two?
        let error = plan("DPG0").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        for candidate in ["ambiguous", "DVS0/DPG0 (Dist", "DVS1/DPG0 (Dist"] {
            assert!(error.chain().contains(candidate), "{}", error.chain());
        }
        let error = plan("DVS2/DPG0").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
        let standard = plan("VM Network").await.unwrap();
        assert!(standard.to_string().contains("of the hosts' own switches"), "{standard}");
        bench.assert_untouched();
    }
}

#[tokio::test]
async fn a_portgroup_must_have_room_before_anything_is_made() {
    for wire in WIRES {
        let bench = Bench::over(wire, two_switches).await;
        // A second card on the network of the first.
        bench.edit("</VirtualHardwareSection>", SECOND_CARD);
        for (network, stops) in [
            ("small", Some((ErrorKind::NoSpace, "small: has 1 port free, but 2 cards are"))),
            ("none", Some((ErrorKind::NoSpace, "none: has no port free, but 2 cards are"))),
            ("DVS1/DPG0", None),
            ("growing", None),
            ("DPG1", None),
            ("DVS0-DVUplinks", Some((ErrorKind::Refused, "is for the uplinks of DVS0"))),
        ] {
            let mut request = bench.request();
            request.networks = vec![NetworkMap::new(None, network)];
            match (bench.plan(request).await, stops) {
                (Ok(plan), None) => {
                    plan.check().unwrap();
                    assert_eq!(plan.networks()[0].cards, 2, "{plan}");
                }
                (Ok(plan), Some((kind, words))) => {
                    let (found, check, text) = error_of(&plan);
                    assert_eq!((found, check), (kind, Check::Network), "{text}");
                    assert!(text.contains(words), "{network}: {text}");
                }
                // The server does not take uplinks either.
                (Err(error), Some((kind, words))) => {
                    assert_eq!(error.kind(), kind, "{network}: {}", error.chain());
                    assert!(error.chain().contains(words), "{network}: {}", error.chain());
                }
                (Err(error), None) => panic!("{network}: {}", error.chain()),
            }
        }
        bench.assert_untouched();
    }
}

/// What the server chooses is told, and counted, too.
#[tokio::test]
async fn a_network_that_is_not_mapped_is_told_as_the_server_chose_it() {
    for wire in WIRES {
        let bench = Bench::over(wire, |scenario| {
            scenario.switches[0].portgroups.push(early("VM Netwrk", 0, false));
        })
        .await;
        bench.edit("ovf:name=\"VM Network\"", "ovf:name=\"VM Netwrk\"");
        bench.edit("<rasd:Connection>VM Network<", "<rasd:Connection>VM Netwrk<");
        let plan = bench.plan(bench.request()).await.unwrap();
        let (kind, check, text) = error_of(&plan);
        assert_eq!((kind, check), (ErrorKind::NoSpace, Check::Network), "{text}");
        assert!(text.contains("VM Netwrk: has no port free, but 1 card is to be on it"), "{text}");
        assert!(plan.to_string().contains("0 ports free; the server chooses it"), "{plan}");
        bench.assert_untouched();
    }
}

const SECOND_CARD: &str = "<Item><rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>\
    <rasd:Connection>VM Network</rasd:Connection><rasd:ElementName>Ethernet 2</rasd:ElementName>\
    <rasd:InstanceID>99</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>\
    <rasd:ResourceType>10</rasd:ResourceType></Item></VirtualHardwareSection>";

type Change = fn(&mut PortQuirk);

/// What is found wrong with a port before the lease completes.
const WRONG: [(&str, Change); 7] = [
    ("contends for the port", |quirk| quirk.conflict = true),
    ("a host made the port", |quirk| quirk.host_local = true),
    ("blocked by its configuration", |quirk| quirk.blocked = true),
    ("the cookies do not agree", |quirk| quirk.wrong_cookie = true),
    ("nobody is connected", |quirk| quirk.no_connectee = true),
    ("the port is taken by", |quirk| quirk.wrong_connectee = true),
    ("the switch has no port", |quirk| quirk.missing = true),
];

/// A server whose switch has these quirks, and a package of a machine with one card and no disk.
struct Ports {
    world: World,
    package: PathBuf,
}

impl Ports {
    async fn over(wire: Wire, quirks: Vec<PortQuirk>) -> Self {
        let world = World::over(wire, |scenario| {
            scenario.machines.clear();
            scenario.switches[0].portgroups[0].ports = 32;
            scenario.switches[0].quirks = quirks;
        })
        .await;
        let folder = world.folder.path().join("bare");
        fs::create_dir(&folder).unwrap();
        let package = Appliance::new(on("bare", &["VM Network"])).write_folder(&folder).unwrap();
        Self { package: package.path().to_owned(), world }
    }

    fn request(&self, name: &str, network: &str) -> Import {
        let mut import = Import::new(Package::open(&self.package).unwrap(), "/DC0/host/Cluster0");
        import.name = Some(name.to_owned());
        import.datastore = Some("datastore0".to_owned());
        import.networks = vec![NetworkMap::new(None, network)];
        import.link_wait = Duration::from_millis(100);
        import
    }

    /// What came out, and the warnings on the way.
    async fn run(&self, request: Import) -> (Result<Report, Error>, Vec<String>) {
        let warnings = Arc::new(Warnings::default());
        let mut options = options();
        options.observer = Arc::clone(&warnings) as Arc<dyn Observer>;
        let outcome = match request.plan(&self.world.server).await {
            Ok(plan) => plan.start(options).finish().await,
            Err(error) => Err(error),
        };
        let warnings = warnings.0.lock().unwrap().clone();
        (outcome, warnings)
    }

    /// Takes the machine away.
    async fn remove(&self, vm: &MoRef) {
        let session = imports::session(&self.world, Wire::Auto).await;
        let task = session.power_off(vm).await.unwrap();
        session.watch_task(&task).finished().await.unwrap();
        let task = session.destroy(vm).await.unwrap();
        session.watch_task(&task).finished().await.unwrap();
    }

    /// Whether the machine is there, and runs.
    fn is_there(&self, name: &str) -> Option<bool> {
        let mut vms = self.world.simulator.vms().into_iter();
        vms.find(|vm| vm.name == name).map(|vm| vm.powered_on)
    }
}

/// Notes the warnings.
#[derive(Debug, Default)]
struct Warnings(Mutex<Vec<String>>);

impl Observer for Warnings {
    fn observe(&self, event: &Event) {
        if let Event::Warning { message } = event {
            self.0.lock().unwrap().push(message.clone());
        }
    }
}

#[tokio::test]
async fn a_bad_port_is_a_warning_and_where_it_is_required_an_error_that_leaves_nothing() {
    side_by_side(WIRES, async |wire| {
        let name = |index: usize| format!("bad{index}");
        let quirks = WRONG.iter().enumerate().map(|(at, (_, change))| quirk(&name(at), *change));
        let ports = Ports::over(wire, quirks.collect()).await;
        for (index, (words, _)) in WRONG.iter().enumerate() {
            let name = name(index);
            let mut required = ports.request(&name, "DPG0");
            required.require_networks = true;
            let error = ports.run(required).await.0.unwrap_err();
            assert!(
                matches!(&error, Error::BadNetwork { name: bad, .. } if *bad == name),
                "{error}"
            );
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(ports.is_there(&name), None);
            let leases = ports.world.simulator.leases();
            assert_eq!(leases.last().unwrap().state, LeaseState::Error, "{leases:?}");

            let (outcome, warnings) = ports.run(ports.request(&name, "DPG0")).await;
            let report = outcome.unwrap();
            assert!(warnings.iter().any(|one| one.contains(words)), "{words}: {warnings:?}");
            assert_eq!((report.network.len(), report.network[0].name.as_str()), (1, &*name));
            assert!(port(&report.network[0]).is_bad(), "{words}: {:?}", report.network);
            assert_eq!(ports.is_there(&name), Some(false));
        }
    })
    .await;
}

#[tokio::test]
async fn good_ports_are_reported_and_accepted_where_they_are_required() {
    side_by_side(WIRES, async |wire| {
        let ports = Ports::over(wire, Vec::new()).await;
        for (network, power_on) in
            [("DPG0", false), ("DPG0", true), ("DPG1", false), ("DPG1", true), ("VM Network", true)]
        {
            let mut request = ports.request(&format!("{network} {power_on}"), network);
            (request.require_networks, request.power_on) = (true, power_on);
            request.link_wait = Duration::from_secs(30);
            let (outcome, warnings) = ports.run(request).await;
            assert_eq!(warnings, [""; 0], "{network} {power_on}");
            let card = &outcome.unwrap().network[0].cards[0];
            match card.port() {
                Some(port) if power_on => assert_eq!(not_good(port), [], "{network}"),
                Some(port) => assert!(port.is_good(), "{port:?}"),
                None => assert!(matches!(card.network, CardNetwork::Standard { .. })),
            }
        }
    })
    .await;
}

/// A link shows only when the machine runs, and then the machine stays.
#[tokio::test]
async fn a_link_that_stays_down_is_told_when_the_machine_runs() {
    side_by_side(WIRES, async |wire| {
        let ports = Ports::over(wire, vec![quirk("down", |quirk| quirk.link_down = true)]).await;
        for network in ["DPG0", "DPG1"] {
            let mut request = ports.request("down", network);
            request.power_on = true;
            let (outcome, warnings) = ports.run(request.clone()).await;
            let vm = outcome.unwrap().entity;
            assert!(warnings.iter().any(|one| one.contains("the link is down")), "{warnings:?}");
            ports.remove(&vm).await;
            request.require_networks = true;
            let error = ports.run(request).await.0.unwrap_err();
            let Error::AfterImport { step: Step::CheckNetwork, source, entity, .. } = &error else {
                panic!("{}", error.chain())
            };
            assert!(matches!(**source, Error::BadNetwork { .. }));
            assert_eq!(error.kind(), ErrorKind::Refused);
            let text = error.chain();
            for words in ["is imported and complete, but checking its network", "link is down"] {
                assert!(text.contains(words), "{text}");
            }
            assert_eq!(ports.is_there("down"), Some(true));
            ports.remove(entity).await;
        }
    })
    .await;
}

/// State that lags is asked for.
#[tokio::test]
async fn state_that_lags_is_no_bad_link() {
    side_by_side(WIRES, async |wire| {
        let bench = Bench::over(wire, |scenario| scenario.switches[0].state_lags = true).await;
        let mut request = bench.request();
        request.networks = vec![NetworkMap::new(None, "DPG0")];
        (request.power_on, request.require_networks) = (true, true);
        let report = bench.run(request).await.unwrap();
        assert_eq!(not_good(port(&report.network[0])), []);
    })
    .await;
}

/// What may not be read is unknown: it fails nothing, but is told where it is required.
#[tokio::test]
async fn a_port_that_may_not_be_read_is_unknown() {
    for wire in WIRES {
        let bench = Bench::over(wire, |scenario| {
            scenario.missing_privileges = vec!["System.Read".to_owned()];
        })
        .await;
        let mut request = bench.request();
        request.networks = vec![NetworkMap::new(None, "DPG0")];
        let plan = bench.plan(request.clone()).await.unwrap();
        let note = plan.findings().iter().find(|one| one.check == Check::Network).unwrap();
        assert_eq!(note.severity, Severity::Note, "the free ports could not be counted");
        assert!(note.problem.contains("could not be looked at"), "{note}");
        request.require_networks = true;
        let report = bench.run(request).await.unwrap();
        assert_eq!(not_good(port(&report.network[0])), [("exists", "unknown")]);
        assert!(
            port(&report.network[0])
                .verdict(PortAspect::Exists)
                .unwrap()
                .reason()
                .unwrap()
                .contains("NoPermission")
        );
    }
}

#[tokio::test]
async fn every_machine_of_a_vapp_is_looked_at() {
    for wire in WIRES {
        let bench = Bench::over(wire, |scenario| {
            scenario.switches[0].quirks = vec![quirk("front", |quirk| quirk.conflict = true)];
        })
        .await;
        let folder = bench.world.folder.path().join("shop");
        fs::create_dir(&folder).unwrap();
        let machine = |name: &str| {
            let mut machine = on(name, &["VM Network"]);
            machine.disks = vec![DiskSpec::new(16 * MIB)];
            machine
        };
        let package = Appliance::vapp("shop", vec![machine("db"), machine("front")]);
        let package = package.write_folder(&folder).unwrap();
        let request = || {
            let package = Package::open(package.path()).unwrap();
            let mut import = Import::new(package, "/DC0/host/Cluster0");
            import.datastore = Some("datastore0".to_owned());
            import.networks = vec![NetworkMap::new(None, "DPG0")];
            import
        };
        let mut required = request();
        required.require_networks = true;
        let error = bench.run(required).await.unwrap_err();
        assert!(error.to_string().contains("front: Network adapter 1"), "{error}");
        assert_eq!(bench.names(), ["web"]);
        let report = bench.run(request()).await.unwrap();
        let mut bad: Vec<_> = report
            .network
            .iter()
            .map(|machine| (machine.name.as_str(), port(machine).is_bad()))
            .collect();
        bad.sort_unstable();
        assert_eq!(bad, [("db", false), ("front", true)]);
    }
}

#[tokio::test]
async fn a_card_gets_the_port_that_the_request_chooses() {
    side_by_side(WIRES, async |wire| {
        let ports = Ports::over(wire, vec![quirk("late", |quirk| quirk.conflict = true)]).await;
        let with = |name: &str, network: &str, nic: &str, port: &str| {
            let mut request = ports.request(name, network);
            request.ports = vec![PortMap::new(nic, port)];
            request
        };
        for (name, nic, key) in [("a", "1", "7"), ("b", "Network adapter 1", "9")] {
            let mut request = with(name, "DPG0", nic, key);
            (request.require_networks, request.power_on) = (true, true);
            request.link_wait = Duration::from_secs(30);
            let plan = request.clone().plan(&ports.world.server).await.unwrap();
            let line = format!("then put {nic} on the port {key} of DPG0");
            assert!(plan.to_string().contains(&line), "{plan}");
            let report = ports.run(request).await.0.unwrap();
            let found = port(&report.network[0]);
            assert_eq!(found.connection.port_key.as_deref(), Some(key));
            assert_eq!(not_good(found), [], "{found:?}");
        }
        // What is known before stops the plan, and what the package does not have.
        for (network, nic, key, kind, words) in [
            ("DPG0", "1", "7", ErrorKind::Refused, "the port 7 of DPG0 is taken by VirtualMachine"),
            ("DPG0", "1", "999", ErrorKind::NotFound, "no port 999"),
            ("DPG0", "1", "32", ErrorKind::Refused, "in another portgroup, DVS0-DVUplinks"),
            ("DPG1", "1", "3", ErrorKind::Refused, "in another portgroup, DPG0"),
            ("VM Network", "1", "3", ErrorKind::Refused, "not mapped to a portgroup"),
            ("DPG0", "2", "3", ErrorKind::NotFound, "no network card"),
        ] {
            let error = ports.run(with("c", network, nic, key)).await.0.unwrap_err();
            assert_eq!(error.kind(), kind, "{network} {nic} {key}: {}", error.chain());
            assert!(error.chain().contains(words), "{network} {nic} {key}: {}", error.chain());
            assert_eq!(ports.is_there("c"), None);
        }
        let mut twice = with("c", "DPG0", "1", "3");
        twice.ports.push(PortMap::new("Network adapter 1", "4"));
        let error = ports.run(twice).await.0.unwrap_err();
        assert!(error.to_string().contains("named twice"), "{error}");
        // What goes wrong with the port is found, as for any other.
        let (outcome, warnings) = ports.run(with("late", "DPG0", "1", "11")).await;
        assert_eq!(port(&outcome.unwrap().network[0]).connection.port_key.as_deref(), Some("11"));
        assert!(warnings.iter().any(|one| one.contains("contends for")), "{warnings:?}");
    })
    .await;
}

/// The lease is over then, so the machine stays, on the port that the server chose.
#[tokio::test]
async fn a_port_that_is_taken_meanwhile_is_told_and_the_machine_stays() {
    side_by_side(WIRES, async |wire| {
        let ports = Ports::over(wire, Vec::new()).await;
        let mut first = ports.request("first", "DPG0");
        first.ports = vec![PortMap::new("1", "7")];
        let mut second = ports.request("second", "DPG0");
        second.ports = vec![PortMap::new("1", "7")];
        let late = second.plan(&ports.world.server).await.unwrap();
        ports.run(first).await.0.unwrap();
        let error = late.start(options()).finish().await.unwrap_err();
        let Error::AfterImport { step: Step::ConnectPort, name, .. } = &error else {
            panic!("{}", error.chain())
        };
        assert_eq!((name.as_str(), error.kind()), ("second", ErrorKind::Refused));
        assert!(error.chain().contains("imported and complete, but putting"), "{}", error.chain());
        let machine = checked(&ports.world, "second").await;
        assert!(port(&machine).is_good(), "{machine:?}");
    })
    .await;
}

#[tokio::test]
async fn a_card_of_a_vapp_is_named_with_its_machine() {
    side_by_side(WIRES, async |wire| {
        let ports = Ports::over(wire, Vec::new()).await;
        let folder = ports.world.folder.path().join("shop");
        fs::create_dir(&folder).unwrap();
        let machines = ["db", "front"].map(|name| on(name, &["VM Network"]));
        let package = Appliance::vapp("shop", machines.into()).write_folder(&folder).unwrap();
        let request = |nic: &str| {
            let package = Package::open(package.path()).unwrap();
            let mut import = Import::new(package, "/DC0/host/Cluster0");
            import.datastore = Some("datastore0".to_owned());
            import.networks = vec![NetworkMap::new(None, "DPG0")];
            import.ports = vec![PortMap::new(nic, "7")];
            import
        };
        let error = ports.run(request("1")).await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
        assert!(error.to_string().contains("MACHINE/1"), "{error}");
        let report = ports.run(request("front/1")).await.0.unwrap();
        let key = |name: &str| {
            let machine = report.network.iter().find(|machine| machine.name == name).unwrap();
            port(machine).connection.port_key.clone().unwrap()
        };
        assert_eq!(key("front"), "7");
        assert_ne!(key("db"), "7");
    })
    .await;
}
