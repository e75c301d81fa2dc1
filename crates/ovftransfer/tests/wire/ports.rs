//! Listings of distributed ports.

use ovftransfer::ErrorKind;
use ovftransfer::Finding;
use ovftransfer::ListedPort;
use ovftransfer::PortQuery;
use ovftransfer::Server;
use ovftransfer::Wire;
use ovftransfer::dvs::ConnecteeKind;
use ovftransfer_simulator::scenario::Machine;
use ovftransfer_simulator::scenario::PortQuirk;
use ovftransfer_simulator::scenario::PortgroupKind;
use ovftransfer_simulator::scenario::PortgroupSpec;
use ovftransfer_simulator::scenario::SwitchSpec;

use super::World;

const WIRES: [Wire; 2] = [Wire::Json, Wire::Soap];

/// Two switches: on the first are a machine that runs, one that does not, and the hosts.
async fn world(wire: Wire, change: impl FnOnce(&mut SwitchSpec)) -> World {
    World::over(wire, |scenario| {
        scenario.hosts.truncate(2);
        let mut early = PortgroupSpec::new("early", PortgroupKind::EarlyBinding);
        (early.ports, early.vlan, early.vmkernel) = (3, 42, true);
        let ephemeral = PortgroupSpec::new("on the fly", PortgroupKind::Ephemeral);
        let mut switch = SwitchSpec::new("DVS0");
        switch.portgroups = vec![early, ephemeral];
        change(&mut switch);
        let mut other = SwitchSpec::new("DVS1");
        other.portgroups = vec![PortgroupSpec::new("many", PortgroupKind::EarlyBinding)];
        scenario.switches = vec![switch, other];
        for (name, powered_on) in [("runs", true), ("rests", false)] {
            let mut machine = Machine::new(name);
            machine.networks = ["early", "on the fly", "VM Network"].map(str::to_owned).into();
            machine.powered_on = powered_on;
            scenario.machines.push(machine);
        }
    })
    .await
}

/// Every port that a query lists, the sizes of the pages, and what was found beside them.
async fn list(server: &Server, query: &PortQuery) -> (Vec<ListedPort>, Vec<usize>, Vec<Finding>) {
    let mut listing = server.ports(query).await.unwrap();
    let (mut ports, mut sizes) = (Vec::new(), Vec::new());
    while let Some(page) = listing.next().await.unwrap() {
        sizes.push(page.len());
        ports.extend(page);
    }
    assert!(listing.next().await.unwrap().is_none());
    (ports, sizes, listing.findings().to_vec())
}

async fn ports(server: &Server, query: &PortQuery) -> Vec<ListedPort> {
    list(server, query).await.0
}

fn query(place: &str, change: impl FnOnce(&mut PortQuery)) -> PortQuery {
    let mut query = PortQuery::new(place);
    change(&mut query);
    query
}

#[tokio::test]
async fn ports_come_with_who_is_on_them() {
    for wire in WIRES {
        let world = world(wire, |_| ()).await;
        let server = &world.server;
        let all = ports(server, &query("/DC0", |q| q.switch = Some("DVS0".to_owned()))).await;
        // Three and the vmk0 of two hosts; one of the machine that runs; two uplinks of each host.
        assert_eq!(all.len(), 5 + 1 + 4, "{all:?}");
        let kind = |port: &ListedPort| port.port.connectee.as_ref()?.kind.clone();
        let of = |wanted: ConnecteeKind| -> Vec<&ListedPort> {
            all.iter().filter(|port| kind(port).as_ref() == Some(&wanted)).collect()
        };
        let cards = of(ConnecteeKind::VmVnic);
        let names: Vec<_> =
            cards.iter().map(|port| port.connected_entity.as_deref().unwrap()).collect();
        assert_eq!(names, ["runs", "rests", "runs"]);
        assert_eq!(cards[0].portgroup.as_deref(), Some("early"));
        assert_eq!(cards[0].proxy_host.as_deref(), Some("host0"));
        assert_eq!(cards[0].port.runtime().unwrap().link_up, Some(true));
        assert!(cards[1].port.runtime().is_none() && cards[1].is_free() == Some(false));
        assert_eq!(cards[2].portgroup.as_deref(), Some("on the fly"));
        let kernels = of(ConnecteeKind::HostVmkVnic);
        let hosts: Vec<_> = kernels.iter().map(|port| port.connected_entity.clone()).collect();
        assert_eq!(hosts, [Some("host0".to_owned()), Some("host1".to_owned())]);
        let uplinks = of(ConnecteeKind::Pnic);
        assert!(uplinks.len() == 4 && uplinks.iter().all(|port| port.is_uplink()));
        assert_eq!(all.iter().filter(|port| port.is_free() == Some(true)).count(), 1);
        assert_eq!(all[0].switch.name, "DVS0");
    }
}

#[tokio::test]
async fn many_ports_come_in_pages() {
    for (wire, refresh, portgroup) in
        [(Wire::Json, false, "DVS1/many"), (Wire::Soap, true, "/DC0/network/many")]
    {
        let world = World::over(wire, |scenario| {
            let mut switch = SwitchSpec::new("DVS1");
            switch.portgroups = vec![PortgroupSpec::new("many", PortgroupKind::EarlyBinding)];
            switch.portgroups[0].ports = 520;
            scenario.switches = vec![switch];
        })
        .await;
        let query = query("/", |query| {
            query.portgroup = Some(portgroup.to_owned());
            query.refresh = refresh;
        });
        let (ports, sizes, findings) = list(&world.server, &query).await;
        assert_eq!((sizes, findings), (vec![500, 20], Vec::new()), "{portgroup}");
        assert!(ports.iter().all(|port| port.portgroup.as_deref() == Some("many")));
    }
}

#[tokio::test]
async fn a_place_can_be_a_switch_a_portgroup_a_machine_a_host_or_a_cluster() {
    let world = world(Wire::Auto, |_| ()).await;
    let server = &world.server;
    let count = async |place: &str| ports(server, &PortQuery::new(place)).await.len();
    assert_eq!(count("/DC0/network/DVS0").await, 10);
    assert_eq!(count("/DC0/network/early").await, 5);
    assert_eq!(count("/DC0/network").await, 10 + 12);
    // Of each host its two uplinks on both switches, and vmk0; the first has three cards too.
    assert_eq!(count("/DC0/host/Cluster0/host1").await, 5);
    assert_eq!(count("/DC0/host/Cluster0").await, 5 + 5 + 3);
    let (ports, _, findings) = list(server, &PortQuery::new("/DC0/vm/rests")).await;
    let [port] = ports.as_slice() else { panic!("{ports:?}") };
    assert_eq!(port.nic_label.as_deref(), Some("Network adapter 1"));
    let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("Network adapter 2") && told[0].contains("when the machine starts"));
    assert!(told[1].contains("Network adapter 3") && told[1].contains("not on a distributed"));
    let of_machine = query("/DC0", |query| {
        query.machine = Some("runs".to_owned());
        query.portgroup = Some("on the fly".to_owned());
    });
    let (ports, ..) = list(server, &of_machine).await;
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].nic_label.as_deref(), Some("Network adapter 2"));

    for (place, change, words) in [
        ("/DC0/network/VM Network", None, "no ports"),
        ("/DC0/vm", None, "no distributed switch"),
        ("/DC0/host/Cluster0/Resources", None, "has no ports"),
        ("/DC0", Some(query("", |q| q.switch = Some("DVS".to_owned()))), "DVS0, DVS1"),
        ("/DC0", Some(query("", |q| q.portgroup = Some("erly".to_owned()))), "DVS0/early"),
        ("/DC0", Some(query("", |q| q.machine = Some("run".to_owned()))), "runs"),
    ] {
        let mut query = change.unwrap_or_default();
        query.place = place.to_owned();
        let error = server.ports(&query).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{place}: {error}");
        assert!(error.to_string().contains(words), "{place}: {error}");
    }
}

#[tokio::test]
async fn bad_ports_are_told_and_can_be_chosen() {
    for wire in WIRES {
        let quirk = |machine: &str, change: fn(&mut PortQuirk)| {
            let mut quirk = PortQuirk::default();
            quirk.machine = Some(machine.to_owned());
            quirk.nic = Some(0);
            change(&mut quirk);
            quirk
        };
        let world = world(wire, |switch| {
            switch.state_lags = true;
            switch.portgroups[0].host_local = true;
            switch.quirks = vec![
                quirk("runs", |quirk| (quirk.conflict, quirk.blocked) = (true, true)),
                quirk("rests", |quirk| quirk.nsx = true),
            ];
        })
        .await;
        let server = &world.server;
        let conflicts = query("/DC0", |query| query.only_conflicts = true);
        let found = ports(server, &conflicts).await;
        let local = |port: &&ListedPort| port.port.host_local_port == Some(true);
        assert_eq!((found.len(), found.iter().filter(local).count()), (3, 2), "{found:?}");
        let mine = found.iter().find(|port| !local(port)).unwrap();
        assert_eq!(mine.connected_entity.as_deref(), Some("runs"));
        assert!(mine.port.conflict_port_key.is_some());
        // Its state was not told to the vCenter yet.
        assert!(mine.port.runtime().is_none());
        let refreshed = query("/DC0", |query| {
            (query.only_conflicts, query.refresh) = (true, true);
        });
        let found = ports(server, &refreshed).await;
        let mine = found.iter().find(|port| !local(port)).unwrap();
        assert_eq!(mine.port.runtime().unwrap().blocked, Some(true));
        let rests = ports(server, &PortQuery::new("/DC0/vm/rests")).await;
        assert!(rests[0].port.segment_port_id.is_some() && rests[0].port.external_id.is_some());
    }
}
