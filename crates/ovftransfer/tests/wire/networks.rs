//! Cards of machines on distributed ports: what is found of them, and how they come to others.

use ovftransfer::CardNetwork;
use ovftransfer::Check;
use ovftransfer::CheckedMachine;
use ovftransfer::CheckedPort;
use ovftransfer::ConnectCard;
use ovftransfer::NetworkMap;
use ovftransfer::PortAspect;
use ovftransfer::Severity;
use ovftransfer::Verdict;
use ovftransfer_simulator::scenario::PortQuirk;
use ovftransfer_simulator::scenario::PortgroupKind;
use ovftransfer_simulator::scenario::PortgroupSpec;
use ovftransfer_simulator::scenario::SwitchSpec;

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
    type Change = fn(&mut PortQuirk);
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
