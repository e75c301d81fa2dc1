//! Our client against `vcsim` as a standalone ESXi host.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the peer")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test")]

mod peer;

use ovftransfer_vim::inventory::PowerState;
use ovftransfer_vim::lease::LeaseState;
use ovftransfer_vim::machine::SnapshotParams;
use ovftransfer_vim::nfc::{AbortCause, lease_is_lost};
use ovftransfer_vim::ovf::ImportSpecParams;
use ovftransfer_vim::{EntityKind, ErrorKind, MoRef, Secret, Trust, Wire};

use peer::{DESCRIPTOR, Peer, download, import, next, path, ready, upload};

const ESX: [&str; 1] = ["-esx"];

#[tokio::test]
async fn logs_in_and_out() {
    let Some(server) = Peer::start(&ESX).await else { return };
    let session = server.connect_with(Trust::Insecure, Wire::Auto).await.unwrap();
    assert!(session.about().is_host(), "{:?}", session.about());
    assert_eq!(session.wire(), Wire::Soap);
    let denied = session.login(peer::USER, &Secret::new("falsch")).await.unwrap_err();
    assert!(denied.is_fault("InvalidLogin"), "{denied}");
    session.login(peer::USER, &Secret::new(peer::PASSWORD)).await.unwrap();
    assert!(session.current_time().await.unwrap().starts_with("20"));
    session.logout().await.unwrap();
    let lost = session.current_time().await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::SessionLost);
    // A host has no VI JSON.
    let forced = server.connect_with(Trust::Insecure, Wire::Json).await.unwrap_err();
    assert_eq!(forced.kind(), ErrorKind::Protocol, "{forced}");
}

#[tokio::test]
async fn paths_lead_to_objects() {
    let Some(server) = Peer::start(&ESX).await else { return };
    let session = server.session().await;
    for (text, kind) in [
        ("/", EntityKind::Folder),
        ("/ha-datacenter", EntityKind::Datacenter),
        ("/ha-datacenter/vm", EntityKind::Folder),
        ("/ha-datacenter/vm/ha-host_VM0", EntityKind::VirtualMachine),
        ("/ha-datacenter/host/localhost.localdomain", EntityKind::Compute),
        ("/ha-datacenter/host/localhost.localdomain/localhost.localdomain", EntityKind::Host),
        ("/ha-datacenter/host/localhost.localdomain/Resources", EntityKind::ResourcePool),
        ("/ha-datacenter/datastore/LocalDS_0", EntityKind::Datastore),
        ("/ha-datacenter/network/VM Network", EntityKind::Network),
    ] {
        let found = session.find(&path(text), &[]).await.unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!((found.kind(), found.path().to_string().as_str()), (kind, text));
    }
    let near = session.find(&path("/ha-datacenter/vm/ha-host_VM7"), &[]).await.unwrap_err();
    assert!(near.to_string().contains("ha-host_VM0"), "{near}");
    // On a host there is only one place.
    let target = session.import_target(&path("/")).await.unwrap();
    assert_eq!(target.datacenter.name(), "ha-datacenter");
    let network = session.network(target.compute.moref(), None).await.unwrap();
    assert_eq!(network.name(), "VM Network");
    let vm = session.find(&path("/ha-datacenter/vm/ha-host_VM0"), &[]).await.unwrap();
    let facts = session.vm_facts(vm.moref()).await.unwrap();
    assert_eq!((facts.power_state, facts.disks.len()), (PowerState::On, 1));
}

#[tokio::test]
async fn imports_with_a_lease_whose_urls_have_no_host() {
    let Some(server) = Peer::start(&ESX).await else { return };
    let session = server.session().await;
    let lease = import(&session, "/", "Büro & Söhne").await;
    let mut watch = session.watch_lease(&lease).await.unwrap();
    let info = ready(&mut watch).await;
    let device = &info.devices[0];
    // The server wrote `*`: the API host stands for it, with its port, and may see the cookie.
    let api = server.endpoint();
    assert_eq!((device.url.host(), device.url.port()), (api.host(), api.port()));
    assert!(session.cookie_for(&device.url).is_some());
    upload(&session, device).await;
    session.lease_progress(&lease, 50).await.unwrap();
    let manifest = session.lease_manifest(&lease).await.unwrap();
    assert_eq!((manifest.len(), manifest[0].size_bytes), (1, 70_000));
    assert_eq!(manifest[0].sha1.as_deref(), Some(SHA1_OF_SEVENS));
    session.lease_progress(&lease, 100).await.unwrap();
    session.lease_complete(&lease).await.unwrap();
    assert!(lease_is_lost(&session.lease_progress(&lease, 1).await.unwrap_err()));
    let vm = session.find(&path("/ha-datacenter/vm/Büro & Söhne"), &[]).await.unwrap();
    assert_eq!(Some(vm.moref()), info.entity.as_ref());
}

#[tokio::test]
async fn aborts_and_tells_why_an_import_fails() {
    let Some(server) = Peer::start(&ESX).await else { return };
    let session = server.session().await;
    let lease = import(&session, "/", "ein").await;
    let mut watch = session.watch_lease(&lease).await.unwrap();
    ready(&mut watch).await;
    let cause = AbortCause::Reason("Abbruch – ü".into());
    session.lease_abort(&lease, Some(&cause)).await.unwrap();
    assert!(lease_is_lost(&session.lease_progress(&lease, 1).await.unwrap_err()));
    // This server leaves the machine behind.
    let again = import(&session, "/", "ein").await;
    let mut watch = session.watch_lease(&again).await.unwrap();
    let fault = loop {
        match next(&mut watch).await.unwrap() {
            LeaseState::Initializing { .. } => {}
            LeaseState::Error(fault) => break fault,
            state => panic!("{state:?}"),
        }
    };
    assert!(fault.is("FileFault") || fault.is("DuplicateName"), "{fault}");
}

#[tokio::test]
async fn exports_a_snapshot() {
    let Some(server) = Peer::start(&ESX).await else { return };
    let session = server.session().await;
    let vm = session.find(&path("/ha-datacenter/vm/ha-host_VM0"), &[]).await.unwrap();
    let params = SnapshotParams { name: "täglich".into(), ..SnapshotParams::default() };
    let task = session.create_snapshot(vm.moref(), &params).await.unwrap();
    session.watch_task(&task).finished().await.unwrap();
    let facts = session.vm_facts(vm.moref()).await.unwrap();
    let snapshot = facts.snapshot("täglich").unwrap();
    let lease = session.export_snapshot(&snapshot.moref).await.unwrap();
    let mut watch = session.watch_lease(&lease).await.unwrap();
    let info = ready(&mut watch).await;
    assert!(!download(&info.devices[0]).await.is_empty());
    session.lease_complete(&lease).await.unwrap();
}

#[tokio::test]
async fn refusals_keep_their_type() {
    let Some(server) = Peer::start(&ESX).await else { return };
    let session = server.session().await;
    let nobody = MoRef::new("VirtualMachine", "4711");
    let gone = session.power_on(&nobody, None).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Gone, "{gone}");
    assert_eq!(gone.fault().unwrap().object().as_ref(), Some(&nobody));
    let vm = session.find(&path("/ha-datacenter/vm/ha-host_VM0"), &[]).await.unwrap();
    let missing = session.export_vm(vm.moref()).await.unwrap_err();
    assert!(missing.is_fault("MethodNotFound"), "{missing}");
    let target = session.import_target(&path("/")).await.unwrap();
    let store = session.datastore(target.compute.moref(), None).await.unwrap();
    let params = ImportSpecParams::default();
    let (pool, store) = (&target.pool, store.moref());
    let refused = session.create_import_spec("kein XML", pool, store, &params).await.unwrap_err();
    assert!(refused.is_fault("InvalidArgument"), "{refused}");
    let odd = "<rasd:ResourceType>1234</rasd:ResourceType>";
    let odd = DESCRIPTOR.replace("<rasd:ResourceType>17</rasd:ResourceType>", odd);
    let result = session.create_import_spec(&odd, pool, store, &params).await.unwrap();
    assert!(result.errors[0].is("OvfUnsupportedType"), "{}", result.errors[0]);
}

/// Of 70,000 bytes with the value 7.
const SHA1_OF_SEVENS: &str = "38e80e0415bcb135c13ef0b71398f0d76b3cd7ce";
