//! Our client against a foreign server: `vcsim` of govmomi, over SOAP.  The test program `vijson`
//! brings these tests over VI JSON once more.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the peer")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test")]

pub(crate) mod peer;

use ovftransfer_vim::dvs::{CardBacking, PortConnection, PortCriteria};
use ovftransfer_vim::inventory::PowerState;
use ovftransfer_vim::lease::LeaseState;
use ovftransfer_vim::machine::SnapshotParams;
use ovftransfer_vim::nfc::{AbortCause, lease_is_lost};
use ovftransfer_vim::ovf::ImportSpecParams;
use ovftransfer_vim::transport::TransportError;
use ovftransfer_vim::{Call, EntityKind, ErrorKind, Locator, MoRef, Secret, Trust, VimError};

use peer::{DESCRIPTOR, Peer, download, import, next, path, ready, upload};

#[tokio::test]
async fn logs_in_and_out() {
    let Some(server) = Peer::start(&[]).await else { return };
    let session = server.session().await;
    assert_eq!(session.about().api_type, "VirtualCenter");
    assert!(session.version().starts_with(['6', '7', '8']), "{}", session.version());
    assert!(session.current_time().await.unwrap().starts_with("20"));
    session.logout().await.unwrap();
    let lost = session.current_time().await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::SessionLost);
    // Properties of others are refused one by one here, not the call as a whole.
    let lost = session.find(&path("/DC0"), &[]).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::SessionLost, "{lost}");

    let other = server.connect(Trust::Insecure).await.unwrap();
    let denied = other.login("jürgen", &Secret::new("falsch")).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied);
    assert!(denied.is_fault("InvalidLogin"), "{denied}");
    let endpoint = server.endpoint();
    assert_eq!(denied.to_string(), format!("Login on {endpoint}: InvalidLogin: Login failure"));
}

#[tokio::test]
async fn only_the_pinned_certificate_is_trusted() {
    let Some(server) = Peer::start(&[]).await else { return };
    let wrong = "00112233445566778899aabbccddeeff00112233".parse().unwrap();
    let error = server.connect(Trust::Pinned(wrong)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    let connecting = format!("connecting to {} failed", server.endpoint());
    assert_eq!(error.to_string(), connecting);
    let VimError::Transport { source, .. } = error else { panic!() };
    assert!(source.to_string().contains("expected 00:11:22"), "{source}");
    let TransportError::Tls { presented: Some(presented), .. } = source else { panic!() };
    assert_eq!(presented.len(), 95);
    // What was refused can be pinned.
    server.connect(Trust::Pinned(presented.parse().unwrap())).await.unwrap();

    let system = server.connect(Trust::System).await.unwrap_err();
    assert_eq!(system.kind(), ErrorKind::Tls);
    let VimError::Transport { source: TransportError::Tls { presented, .. }, .. } = system else {
        panic!()
    };
    assert!(presented.is_some());
}

#[tokio::test]
async fn paths_lead_to_objects() {
    let Some(server) = Peer::start(&["-folder", "1", "-pool", "1", "-pg", "2"]).await else {
        return;
    };
    let session = server.session().await;
    for (text, kind) in [
        ("/", EntityKind::Folder),
        ("/F0", EntityKind::Folder),
        ("/F0/DC0", EntityKind::Datacenter),
        ("/F0/DC0/vm/F0", EntityKind::Folder),
        ("/F0/DC0/vm/F0/DC0_H0_VM0", EntityKind::VirtualMachine),
        ("/F0/DC0/host/F0/DC0_C0", EntityKind::Compute),
        ("/F0/DC0/host/F0/DC0_C0/DC0_C0_H1", EntityKind::Host),
        ("/F0/DC0/host/F0/DC0_C0/Resources", EntityKind::ResourcePool),
        ("/F0/DC0/host/F0/DC0_C0/Resources/DC0_C0_RP1", EntityKind::ResourcePool),
        ("/F0/DC0/host/F0/DC0_H0/DC0_H0", EntityKind::Host),
        ("/F0/DC0/datastore/F0/LocalDS_0", EntityKind::Datastore),
        ("/F0/DC0/network/F0/DC0_DVPG0", EntityKind::Network),
        ("/F0/DC0/network/VM Network", EntityKind::Network),
    ] {
        match session.find(&path(text), &[]).await {
            Ok(found) => {
                assert_eq!(found.kind(), kind, "{text}");
                assert_eq!(found.path().to_string(), text);
            }
            Err(error) => panic!("{text}: {error}"),
        }
    }
    let near = session.find(&path("/F0/DC0/vm/F0/DC0_H0_VM9"), &[]).await.unwrap_err();
    assert_eq!(near.kind(), ErrorKind::NotFound);
    assert!(near.to_string().contains("DC0_H0_VM0"), "{near}");
    let vm = path("/F0/DC0/vm/F0/DC0_H0_VM0");
    let kind = session.find(&vm, &[EntityKind::Datastore]).await.unwrap_err();
    assert!(kind.to_string().contains("is a machine, not a datastore"), "{kind}");

    let target = session.import_target(&path("/F0/DC0/host/F0/DC0_C0/DC0_C0_H1")).await.unwrap();
    assert_eq!(target.datacenter.name(), "DC0");
    assert!(target.host.is_some());
    assert_eq!(session.datastore(target.compute.moref(), None).await.unwrap().name(), "LocalDS_0");
    let networks = session.network(target.compute.moref(), None).await.unwrap_err();
    assert_eq!(networks.kind(), ErrorKind::Ambiguous, "{networks}");
    let network = session.network(target.compute.moref(), Some("DC0_DVPG1")).await.unwrap();
    assert_eq!(network.moref().kind(), "DistributedVirtualPortgroup");
    let clusters = session.import_target(&path("/")).await.unwrap_err();
    assert_eq!(clusters.kind(), ErrorKind::Ambiguous, "{clusters}");

    let found = session.find(&vm, &[]).await.unwrap();
    let facts = session.vm_facts(found.moref()).await.unwrap();
    assert_eq!((facts.name.as_str(), facts.power_state), ("DC0_H0_VM0", PowerState::On));
    assert_eq!(facts.disks.len(), 1);
    assert_eq!(facts.disks[0].capacity_bytes, 10 << 30);
    let locator = format!("vi://127.0.0.1/?moref={}", found.moref());
    let locator: Locator = locator.parse().unwrap();
    let by_id = session.locate(&locator, &[EntityKind::VirtualMachine]).await.unwrap();
    assert_eq!(by_id.moref(), found.moref());
}

#[tokio::test]
async fn imports_with_a_lease() {
    let Some(server) = Peer::start(&[]).await else { return };
    let session = server.session().await;
    let lease = import(&session, CLUSTER, "Büro & Söhne").await;
    let mut watch = session.watch_lease(&lease).await.unwrap();
    let info = ready(&mut watch).await;
    assert_eq!((info.devices.len(), info.timeout_s), (1, 300));
    assert!(info.entity.is_some());
    let device = &info.devices[0];
    assert_eq!(device.import_key.as_ref().unwrap().as_str(), "/Büro & Söhne/disk:0");
    assert!(session.lease_manifest(&lease).await.unwrap().is_empty());

    upload(&session, device).await;
    session.lease_progress(&lease, 50).await.unwrap();
    let facts = session.lease_facts(&lease).await.unwrap();
    // This server says that it is older than the percent of transfers, over SOAP.
    let percent = facts.transfer_percent;
    assert!(percent == Some(50) || percent.is_none() && !session.version().starts_with('8'));
    let manifest = session.lease_manifest(&lease).await.unwrap();
    assert_eq!((manifest.len(), manifest[0].size_bytes), (1, 70_000));
    assert_eq!(manifest[0].key, device.key);
    session.lease_progress(&lease, 100).await.unwrap();
    session.lease_complete(&lease).await.unwrap();
    // This server forgets a lease at once, and does not tell.
    let gone = session.watch_lease(&lease).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Gone, "{gone}");
    let lost = session.lease_progress(&lease, 100).await.unwrap_err();
    assert!(lease_is_lost(&lost), "{lost}");

    let folder = session.find(&path("/DC0/vm"), &[]).await.unwrap();
    let found = session.child_named(folder.moref(), "Büro & Söhne").await.unwrap();
    assert_eq!(found, info.entity);
    session.logout().await.unwrap();
}

#[tokio::test]
async fn refusals_keep_their_type_and_what_they_are_about() {
    let Some(server) = Peer::start(&[]).await else { return };
    let session = server.session().await;
    let nobody = MoRef::new("VirtualMachine", "vm-4711");
    let gone = session.power_on(&nobody, None).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Gone, "{gone}");
    assert_eq!(gone.fault().unwrap().object().as_ref(), Some(&nobody));
    let gone = session.read(&nobody, &["name"]).await.unwrap_err();
    assert!(gone.is_fault("ManagedObjectNotFound"), "{gone}");
    let unread = session.read(&root(), &["namen"]).await;
    let unread = unread.map(|read| read.missing("namen").cloned()).unwrap();
    assert_eq!(unread.unwrap().name().as_deref(), Some("namen"));

    let folder = session.find(&path("/DC0/vm"), &[]).await.unwrap();
    let make = Call::new(folder.moref(), "CreateFolder").with("name", "Bücher");
    let made = session.call(make.clone()).await.unwrap()[0].moref().cloned();
    let twice = session.call(make).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::NameExists, "{twice}");
    let fault = twice.fault().unwrap();
    assert_eq!((fault.name().as_deref(), fault.object()), (Some("Bücher"), made));
    assert!(twice.to_string().starts_with("CreateFolder on 127.0.0.1:"), "{twice}");
    // There is no such method in this server.
    let unknown = session.export_vm(&nobody).await.unwrap_err();
    assert!(unknown.is_fault("ManagedObjectNotFound"), "{unknown}");
}

#[tokio::test]
async fn descriptors_are_refused_with_reasons() {
    let Some(server) = Peer::start(&[]).await else { return };
    let session = server.session().await;
    let target = session.import_target(&path(CLUSTER)).await.unwrap();
    let store = session.datastore(target.compute.moref(), None).await.unwrap();
    let (pool, store) = (&target.pool, store.moref());
    let params = ImportSpecParams { entity_name: "Büro".into(), ..ImportSpecParams::default() };
    let refused = session.create_import_spec("kein XML", pool, store, &params).await.unwrap_err();
    assert!(refused.is_fault("InvalidArgument"), "{refused}");
    let invalid = refused.fault().unwrap().invalid_property();
    assert_eq!(invalid.as_deref(), Some("ovfDescriptor"));

    // What is wrong with one device is said inside the result, and the result stays readable.
    let odd = "<rasd:ResourceType>1234</rasd:ResourceType>";
    let odd = DESCRIPTOR.replace("<rasd:ResourceType>17</rasd:ResourceType>", odd);
    let result = session.create_import_spec(&odd, pool, store, &params).await.unwrap();
    assert_eq!(result.errors.len(), 1, "{:?}", result.errors);
    assert!(result.errors[0].is("OvfUnsupportedType"), "{}", result.errors[0]);
    assert_eq!(result.errors[0].fields().text_of("instanceId").as_deref(), Some("4"));

    let unknown = ImportSpecParams { disk_provisioning: Some("löchrig".into()), ..params };
    let result = session.create_import_spec(DESCRIPTOR, pool, store, &unknown).await.unwrap();
    assert!(result.errors[0].is("OvfUnsupportedDiskProvisioning"), "{}", result.errors[0]);
}

#[tokio::test]
async fn several_leases_share_one_wait() {
    let Some(server) = Peer::start(&[]).await else { return };
    let session = server.session().await;
    let mut watches = Vec::new();
    for index in 0..5 {
        let lease = import(&session, CLUSTER, &format!("vm{index}")).await;
        let mut watch = session.watch_lease(&lease).await.unwrap();
        ready(&mut watch).await;
        watches.push(watch);
    }
    let cause = AbortCause::Reason("Abbruch – ü".into());
    for watch in &watches {
        session.lease_abort(watch.lease(), Some(&cause)).await.unwrap();
    }
    // What was there before is reported, with its fault.
    let again = import(&session, CLUSTER, "vm0").await;
    let mut watch = session.watch_lease(&again).await.unwrap();
    let fault = loop {
        match next(&mut watch).await.unwrap() {
            LeaseState::Initializing { .. } => {}
            LeaseState::Error(fault) => break fault,
            state => panic!("{state:?}"),
        }
    };
    assert!(fault.is("FileFault") || fault.is("DuplicateName"), "{fault}");
    // The new filter makes the server look at all of them, and notice that the others are gone.
    for watch in &mut watches {
        assert_eq!(next(watch).await.unwrap_err().kind(), ErrorKind::Gone);
    }
}

#[tokio::test]
async fn exports_a_snapshot() {
    let Some(server) = Peer::start(&[]).await else { return };
    let session = server.session().await;
    let vm = session.find(&path("/DC0/vm/DC0_H0_VM0"), &[]).await.unwrap();
    let params = SnapshotParams { name: "täglich".into(), ..SnapshotParams::default() };
    let task = session.create_snapshot(vm.moref(), &params).await.unwrap();
    session.watch_task(&task).finished().await.unwrap();
    let facts = session.vm_facts(vm.moref()).await.unwrap();
    let snapshot = facts.snapshot("täglich").unwrap();
    assert!(snapshot.is_current);
    let lease = session.export_snapshot(&snapshot.moref).await.unwrap();
    let mut watch = session.watch_lease(&lease).await.unwrap();
    let info = ready(&mut watch).await;
    assert!(!info.devices.is_empty());
    let device = &info.devices[0];
    assert!(!download(device).await.is_empty());
    session.lease_abort(&lease, None).await.unwrap();
    // There is no ExportVm in this server.
    let error = session.export_vm(vm.moref()).await.unwrap_err();
    assert!(error.is_fault("MethodNotFound"), "{error}");
}

#[tokio::test]
async fn ports_of_distributed_switches_are_read() {
    let Some(server) = Peer::start(&[]).await else { return };
    let session = server.session().await;
    let found = session.find(&path("/DC0/network/DC0_DVPG0"), &[]).await.unwrap();
    let portgroup = session.portgroup(found.moref()).await.unwrap();
    assert_eq!(portgroup.config.name, "DC0_DVPG0");
    let moref = portgroup.config.switch.clone().unwrap();
    let switch = session.switch(&moref).await.unwrap();
    assert!(!switch.config.name.is_empty() && !switch.config.is_offloaded());
    assert!(session.portgroups_of(&moref).await.unwrap().contains(found.moref()));

    // This server has no FetchDVPortKeys: the pages are one.
    let criteria = PortCriteria::in_portgroups([portgroup.key.clone()]);
    let mut pages = session.port_pages(&moref, &criteria).await.unwrap();
    let ports = pages.next().await.unwrap().unwrap();
    assert!(pages.next().await.unwrap().is_none());
    assert!(!ports.is_empty());
    for port in &ports {
        assert_eq!(port.portgroup_key.as_deref(), Some(portgroup.key.as_str()));
        assert_eq!(port.dvs_uuid.as_deref(), Some(switch.uuid.as_str()));
        assert_eq!((port.connectee.as_ref(), port.runtime()), (None, None));
        assert_eq!(port.last_status_change, None);
    }
    let key = ports[0].key.clone();
    let one = session.fetch_ports(&moref, &PortCriteria::of_ports([key.clone()])).await.unwrap();
    assert!(one.iter().all(|port| port.key == key) && !one.is_empty());

    let vm = session.find(&path("/DC0/vm/DC0_H0_VM0"), &[]).await.unwrap();
    let cards = session.network_cards(vm.moref()).await.unwrap();
    let CardBacking::Distributed(before) = &cards[0].backing else { panic!("{cards:?}") };
    assert_eq!(before.switch_uuid, switch.uuid);
    let port = PortConnection::to_portgroup(&switch.uuid, &portgroup.key).on_port(key.clone());
    let task = session.connect_card(vm.moref(), &cards[0], &port).await.unwrap();
    session.watch_task(&task).finished().await.unwrap();
    let after = session.network_cards(vm.moref()).await.unwrap();
    let CardBacking::Distributed(now) = &after[0].backing else { panic!("{after:?}") };
    assert_eq!(now.port_key.as_deref(), Some(key.as_str()));
    assert_eq!((&after[0].mac_address, after[0].key), (&cards[0].mac_address, cards[0].key));

    let host = session.find(&path("/DC0/host/DC0_H0/DC0_H0"), &[]).await.unwrap();
    let network = session.host_network(host.moref()).await.unwrap();
    assert_eq!(network.network_system.kind(), "HostNetworkSystem");
    assert!(network.pnics.iter().all(|pnic| pnic.dpu_id.is_none()));
}

#[tokio::test]
async fn machines_are_snapshotted_started_and_stopped() {
    let Some(server) = Peer::start(&[]).await else { return };
    let session = server.session().await;
    let vm = session.find(&path("/DC0/vm/DC0_H0_VM0"), &[]).await.unwrap();
    let vm = vm.moref();
    let params = SnapshotParams { name: "täglich".into(), ..SnapshotParams::default() };
    let task = session.create_snapshot(vm, &params).await.unwrap();
    let made = session.watch_task(&task).finished().await.unwrap();
    let facts = session.vm_facts(vm).await.unwrap();
    let snapshot = facts.snapshot("täglich").unwrap().moref.clone();
    assert_eq!(made.result.unwrap().moref(), Some(&snapshot));
    let task = session.remove_snapshot(&snapshot, false).await.unwrap();
    session.watch_task(&task).finished().await.unwrap();
    assert!(session.vm_facts(vm).await.unwrap().snapshots.is_empty());
    // By updates: this server tells.
    assert!(!session.is_polling());

    let task = session.power_on(vm, None).await.unwrap();
    let failed = session.watch_task(&task).finished().await.unwrap_err();
    assert!(failed.is_fault("InvalidPowerState"), "{failed}");
    let task = session.power_off(vm).await.unwrap();
    session.watch_task(&task).finished().await.unwrap();
    assert_eq!(session.vm_facts(vm).await.unwrap().power_state, PowerState::Off);
    let task = session.power_on(vm, None).await.unwrap();
    session.watch_task(&task).finished().await.unwrap();
    let running = session.mark_as_template(vm).await.unwrap_err();
    assert!(running.is_fault("InvalidPowerState"), "{running}");
}

#[tokio::test]
async fn machines_are_found_by_bios_uuid_and_clusters_and_vapps_are_read() {
    let Some(server) = Peer::start(&["-app", "1"]).await else { return };
    let session = server.session().await;
    let vm = session.find(&path("/DC0/vm/DC0_H0_VM0"), &[]).await.unwrap();
    let uuid = session.read(vm.moref(), &["config.uuid"]).await.unwrap();
    let uuid = uuid.text("config.uuid").unwrap().to_uppercase();
    let locator: Locator = format!("vi://127.0.0.1/?bios={uuid}").parse().unwrap();
    let found = session.locate(&locator, &[EntityKind::VirtualMachine]).await.unwrap();
    assert_eq!((found.moref(), found.name()), (vm.moref(), "DC0_H0_VM0"));
    let nobody: Locator =
        "vi://127.0.0.1/?bios=00000000-0000-0000-0000-00000000000f".parse().unwrap();
    let error = session.locate(&nobody, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

    let folder = session.find(&path("/DC0/datastore"), &[]).await.unwrap();
    let make = Call::new(folder.moref(), "CreateStoragePod").with("name", "Büro");
    let made = session.call(make).await.unwrap();
    let store = session.find(&path("/DC0/datastore/LocalDS_0"), &[]).await.unwrap();
    let enter = Call::new(made[0].moref().unwrap(), "MoveIntoFolder_Task")
        .with_each("list", [store.moref()]);
    let task = session.call(enter).await.unwrap()[0].moref().cloned().unwrap();
    session.watch_task(&task).finished().await.unwrap();
    let pod = session.find(&path("/DC0/datastore/Büro"), &[]).await.unwrap();
    assert_eq!(pod.moref().kind(), "StoragePod");
    let cluster = session.datastore_cluster(pod.moref()).await.unwrap();
    assert_eq!((cluster.name.as_str(), cluster.datastores.len()), ("Büro", 1));
    assert_eq!(&cluster.roomiest().unwrap().moref, store.moref());
    assert!(cluster.datastores[0].free_bytes.unwrap() > 0);

    let vapp = path("/DC0/host/DC0_C0/Resources/DC0_C0_APP0");
    let vapp = session.find(&vapp, &[EntityKind::VirtualApp]).await.unwrap();
    let facts = session.vapp_facts(vapp.moref()).await.unwrap();
    assert_eq!(facts.name, "DC0_C0_APP0");
    assert!(!facts.machines.is_empty());
}

/// Where machines are imported to.
const CLUSTER: &str = "/DC0/host/DC0_C0";

fn root() -> MoRef {
    MoRef::new("Folder", "group-d1")
}
