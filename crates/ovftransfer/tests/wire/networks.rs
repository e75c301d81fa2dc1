//! Cards of machines on distributed ports: what is found of them, and how they come to others.

use ovftransfer::CardNetwork;
use ovftransfer::CheckedMachine;
use ovftransfer::CheckedPort;
use ovftransfer::ConnectCard;
use ovftransfer::PortAspect;
use ovftransfer::Severity;
use ovftransfer::Verdict;
use ovftransfer_simulator::scenario::PortQuirk;

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
