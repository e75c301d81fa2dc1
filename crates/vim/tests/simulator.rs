//! Our client against our own server.  The two share no wire code, so a misreading of the API by
//! one of them shows here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use http::Request;
use ovftransfer_simulator::{Scenario, Simulator};
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::inventory::{PowerState, VappState, VmFacts};
use ovftransfer_vim::lease::{DeviceKey, LeaseInfo, LeaseManifestEntry, LeaseState};
use ovftransfer_vim::nfc::{AbortCause, ChecksumType, lease_is_lost};
use ovftransfer_vim::ovf::{DescriptorParams, ImportSpecParams, OvfFile};
use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::transport::{Body, Transport};
use ovftransfer_vim::{
    Endpoint, EntityKind, ErrorKind, InventoryPath, LeaseWatch, Secret, Session, Trust,
};

async fn start(scenario: &str) -> Simulator {
    let scenario = Scenario::from_json(scenario).unwrap();
    Simulator::builder().scenario(scenario).start().await.unwrap()
}

async fn session(server: &Simulator) -> Session {
    let port = server.url().rsplit(':').next().unwrap().trim_end_matches("/sdk").parse().unwrap();
    let endpoint = Endpoint::new("127.0.0.1", port);
    let trust = Trust::Pinned(server.thumbprint().parse().unwrap());
    let session = Session::connect(Arc::new(HttpTransport::new()), endpoint, trust).await.unwrap();
    session.login(server.username(), &Secret::new(server.password())).await.unwrap();
    session
}

#[tokio::test]
async fn a_vapp_goes_out_under_one_lease_and_comes_back() {
    let server = start("{}").await;
    let session = session(&server).await;
    let target = session.import_target(&cluster()).await.unwrap();
    let path = InventoryPath::new("/DC0/vm/vapp0");
    let vapp = session.find(&path, &[EntityKind::VirtualApp]).await.unwrap();
    let in_pool = InventoryPath::new("/DC0/host/Cluster0/Resources/vapp0");
    assert_eq!(session.find(&in_pool, &[]).await.unwrap().moref(), vapp.moref());
    let facts = session.vapp_facts(vapp.moref()).await.unwrap();
    assert_eq!((facts.name.as_str(), &facts.state), ("vapp0", &VappState::Stopped));
    let names: Vec<&str> = facts.machines.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names, ["vapp-db", "vapp-web"]);

    let lease = session.export_vapp(vapp.moref()).await.unwrap();
    let mut watch = session.watch_lease(&lease).await.unwrap();
    let info = ready(&mut watch).await;
    assert_eq!(info.entity.as_ref(), Some(vapp.moref()));
    let transport = HttpTransport::new();
    let mut hosts = Vec::new();
    for device in &info.devices {
        let trust = device.thumbprint.map_or(Trust::System, Trust::Pinned);
        hosts.push(device.url.expose().split('/').nth(2).unwrap().to_owned());
        let get = Request::get(device.url.expose()).body(Body::Empty).unwrap();
        let response = transport.send(get, &trust).await.unwrap();
        assert_eq!(response.status(), 200);
        let _bytes: Vec<bytes::Bytes> = response.into_body().try_collect().await.unwrap();
    }
    assert_eq!(hosts.len(), 2);
    assert_ne!(hosts[0], hosts[1], "each machine at its own host");
    let manifest = session.lease_manifest(&lease).await.unwrap();
    let file = |(index, entry): (usize, &LeaseManifestEntry)| OvfFile {
        device_key: entry.key.clone(),
        path: format!("part-{index}.vmdk"),
        size_bytes: entry.size_bytes,
        capacity_bytes: entry.capacity_bytes,
        populated_bytes: entry.populated_bytes,
    };
    let files = manifest.iter().enumerate().map(file).collect();
    let params = DescriptorParams { files, ..DescriptorParams::default() };
    let described = session.create_descriptor(vapp.moref(), &params).await.unwrap();
    assert!(described.errors.is_empty(), "{:?}", described.errors);
    session.lease_complete(&lease).await.unwrap();

    let store = session.datastore(target.compute.moref(), Some("datastore1")).await.unwrap();
    let params =
        ImportSpecParams { entity_name: "again".to_owned(), ..ImportSpecParams::default() };
    let result = session
        .create_import_spec(&described.descriptor, &target.pool, store.moref(), &params)
        .await
        .unwrap();
    assert!(result.errors.is_empty(), "{:?}", result.errors);
    let paths: Vec<&str> = result.file_items.iter().map(|item| item.path.as_str()).collect();
    assert_eq!(paths, ["part-0.vmdk", "part-1.vmdk"]);
    let spec = result.import_spec.unwrap();
    assert_eq!(spec.entity_name().as_deref(), Some("again"));
    let folder = Some(&target.vm_folder);
    let lease = session.import_vapp(&target.pool, &spec, folder, None).await.unwrap();
    let mut watch = session.watch_lease(&lease).await.unwrap();
    let info = ready(&mut watch).await;
    let mut keys = info.devices.iter().map(|device| device.import_key.clone().unwrap());
    assert!(result.file_items.iter().all(|item| Some(&item.import_key) == keys.next().as_ref()));
    let made = session.vapp_facts(info.entity.as_ref().unwrap()).await.unwrap();
    for (old, new) in facts.machines.iter().zip(&made.machines) {
        assert_eq!(old.name, new.name);
        let capacities = |vm: &VmFacts| vm.disks.iter().map(|d| d.capacity_bytes).sum::<u64>();
        assert_eq!(capacities(old), capacities(new));
    }
    session.lease_abort(&lease, None).await.unwrap();
    assert_eq!(session.child_named(&target.vm_folder, "again").await.unwrap(), None);
}

#[tokio::test]
async fn one_port_serves_the_disks_of_all_hosts_without_a_name() {
    let hosts = r#"{"hosts":[{"name":"host0","star_url":true},{"name":"host1","star_url":true}]}"#;
    let server = start(hosts).await;
    let session = session(&server).await;
    let path = InventoryPath::new("/DC0/vm/vapp0");
    let vapp = session.find(&path, &[EntityKind::VirtualApp]).await.unwrap();
    let lease = session.export_vapp(vapp.moref()).await.unwrap();
    let mut watch = session.watch_lease(&lease).await.unwrap();
    let info = ready(&mut watch).await;
    assert_eq!(info.devices.len(), 2);
    let transport = HttpTransport::new();
    let trust = Trust::Pinned(server.thumbprint().parse().unwrap());
    for device in &info.devices {
        let get = Request::get(device.url.expose()).body(Body::Empty).unwrap();
        let response = transport.send(get, &trust).await.unwrap();
        assert_eq!(response.status(), 200, "{}", device.url);
        let _bytes: Vec<bytes::Bytes> = response.into_body().try_collect().await.unwrap();
    }
    assert_eq!(session.lease_manifest(&lease).await.unwrap().len(), 2);
    session.lease_complete(&lease).await.unwrap();
}

fn cluster() -> InventoryPath {
    InventoryPath::new("/DC0/host/Cluster0")
}

async fn vm(session: &Session, path: &str) -> ovftransfer_vim::MoRef {
    let path = InventoryPath::new(path);
    session.find(&path, &[EntityKind::VirtualMachine]).await.unwrap().moref().clone()
}

async fn ready(watch: &mut LeaseWatch) -> LeaseInfo {
    loop {
        match tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.unwrap().unwrap()
        {
            LeaseState::Initializing { .. } => {}
            LeaseState::Ready(info) => return info,
            state => panic!("{state:?}"),
        }
    }
}

#[tokio::test]
async fn the_inventory_is_what_the_scenario_says() {
    let server = start("{}").await;
    let session = session(&server).await;
    let root = session.find(&InventoryPath::default(), &[]).await.unwrap();
    let datacenter = session.children(&root).await.unwrap().remove(0);
    let name = datacenter.name().to_owned();
    let small = vm(&session, &format!("/{name}/vm/small")).await;
    let facts = session.vm_facts(&small).await.unwrap();
    assert_eq!((facts.name.as_str(), &facts.power_state), ("small", &PowerState::Off));
    assert_eq!(facts.disks.len(), 1);
    assert_eq!(facts.disks[0].capacity_bytes, 64 << 20);
    assert!(facts.disks[0].slot.is_some());
    let nested = vm(&session, &format!("/{name}/vm/backup/daily/with-snapshot")).await;
    let facts = session.vm_facts(&nested).await.unwrap();
    assert_eq!(facts.power_state, PowerState::On);
    assert!(facts.refuses("ExportVm"));
    assert!(facts.snapshot("before update").unwrap().is_current);

    let both = session.import_target(&InventoryPath::default()).await.unwrap_err();
    assert_eq!(both.kind(), ErrorKind::Ambiguous);
    let alone = InventoryPath::new(&format!("/{name}/host/host2"));
    let alone = session.import_target(&alone).await.unwrap();
    let target = session.import_target(&cluster()).await.unwrap();
    assert_eq!(target.datacenter.name(), name);
    assert_ne!(alone.pool, target.pool);
    let stores = session.datastore(target.compute.moref(), None).await.unwrap_err();
    assert_eq!(stores.kind(), ErrorKind::Ambiguous);
    let compute = target.compute.moref();
    assert!(session.datastore(compute, Some("datastore1")).await.is_ok());
    assert!(session.network(compute, Some("Storage Network")).await.is_ok());
    let by_path = format!("/{name}/datastore/datastore0");
    assert!(session.datastore(compute, Some(&by_path)).await.is_ok());
    let missing = session.datastore(compute, Some("datastore9")).await.unwrap_err();
    assert!(missing.to_string().contains("datastore0"), "{missing}");
    let pool = InventoryPath::new(&format!("{}/Resources/pool0", target.compute.path()));
    let in_pool = session.import_target(&pool).await.unwrap();
    assert_ne!(in_pool.pool, target.pool);
}

#[tokio::test]
async fn exports_and_imports_what_it_exported() {
    let server = start("{}").await;
    let session = session(&server).await;
    let target = session.import_target(&cluster()).await.unwrap();
    let small = vm(&session, &format!("{}/vm/small", target.datacenter.path())).await;

    let lease = session.export_vm(&small).await.unwrap();
    let mut watch = session.watch_lease(&lease).await.unwrap();
    let info = ready(&mut watch).await;
    let keys: Vec<DeviceKey> = info.devices.iter().map(|device| device.key.clone()).collect();
    session.lease_set_checksum_type(&lease, &keys, ChecksumType::Sha256).await.unwrap();
    let transport = HttpTransport::new();
    for device in &info.devices {
        let trust = device.thumbprint.map_or(Trust::System, Trust::Pinned);
        let get = Request::get(device.url.expose()).body(Body::Empty).unwrap();
        let response = transport.send(get, &trust).await.unwrap();
        assert_eq!(response.status(), 200);
        let _bytes: Vec<bytes::Bytes> = response.into_body().try_collect().await.unwrap();
        session.lease_progress(&lease, 50).await.unwrap();
    }
    let manifest = session.lease_manifest(&lease).await.unwrap();
    let disks = info.devices.iter().filter(|device| device.is_disk == Some(true));
    assert!(disks.map(|disk| &disk.key).all(|key| manifest.iter().any(|entry| entry.key == *key)));
    assert!(manifest.iter().all(|entry| entry.checksum_type.as_deref() == Some("sha256")));
    let disk = manifest.iter().find(|entry| entry.is_disk).unwrap();
    assert_eq!(disk.capacity_bytes, Some(64 << 20));
    let files = vec![OvfFile {
        device_key: disk.key.clone(),
        path: "disk-1.vmdk".to_owned(),
        size_bytes: disk.size_bytes,
        capacity_bytes: disk.capacity_bytes,
        populated_bytes: disk.populated_bytes,
    }];
    let params = DescriptorParams { files, ..DescriptorParams::default() };
    let described = session.create_descriptor(&small, &params).await.unwrap();
    assert!(described.errors.is_empty());
    assert!(described.descriptor.contains("disk-1.vmdk"));
    session.lease_complete(&lease).await.unwrap();
    assert!(matches!(watch.changed().await.unwrap(), LeaseState::Done));
    assert!(lease_is_lost(&session.lease_progress(&lease, 1).await.unwrap_err()));

    let store = session.datastore(target.compute.moref(), Some("datastore0")).await.unwrap();
    let network = session.network(target.compute.moref(), Some("VM Network")).await.unwrap();
    let params = ImportSpecParams {
        entity_name: "Büro".to_owned(),
        network_mappings: vec![("VM Network".to_owned(), network.moref().clone())],
        ..ImportSpecParams::default()
    };
    let result = session
        .create_import_spec(&described.descriptor, &target.pool, store.moref(), &params)
        .await
        .unwrap();
    assert!(result.errors.is_empty(), "{:?}", result.errors);
    let spec = result.import_spec.unwrap();
    let folder = Some(&target.vm_folder);
    let lease = session.import_vapp(&target.pool, &spec, folder, None).await.unwrap();
    let mut watch = session.watch_lease(&lease).await.unwrap();
    let info = ready(&mut watch).await;
    let wanted = &result.file_items[0].import_key;
    assert!(info.devices.iter().any(|device| device.import_key.as_ref() == Some(wanted)));
    let tasks = session.recent_tasks(&target.pool).await.unwrap();
    let running = tasks.iter().filter(|task| matches!(task.state, TaskState::Running)).count();
    assert_eq!(running, 1, "{tasks:?}");
    let cause = AbortCause::Reason("nicht weiter – ü".to_owned());
    session.lease_abort(&lease, Some(&cause)).await.unwrap();
    loop {
        match watch.changed().await.unwrap() {
            LeaseState::Error(fault) => {
                assert_eq!(fault.reason().as_deref(), Some("nicht weiter – ü"), "{fault}");
                break;
            }
            LeaseState::Ready(_) => {}
            state => panic!("{state:?}"),
        }
    }
    assert_eq!(session.child_named(&target.vm_folder, "Büro").await.unwrap(), None);
    session.logout().await.unwrap();
    assert!(server.sessions().is_empty());
}

#[tokio::test]
async fn initialising_is_shown_and_many_leases_are_watched() {
    let server = start(r#"{"initialize_delay_ms": 400}"#).await;
    let session = session(&server).await;
    let target = session.import_target(&cluster()).await.unwrap();
    let mut watches = Vec::new();
    for name in ["small", "database"] {
        let vm = vm(&session, &format!("{}/vm/{name}", target.datacenter.path())).await;
        let lease = session.export_vm(&vm).await.unwrap();
        watches.push(session.watch_lease(&lease).await.unwrap());
    }
    for watch in &mut watches {
        assert!(matches!(watch.changed().await.unwrap(), LeaseState::Initializing { .. }));
    }
    for watch in &mut watches {
        assert!(!ready(watch).await.devices.is_empty());
    }
    server.drop_sessions();
    for watch in &mut watches {
        let lost = tokio::time::timeout(Duration::from_secs(60), watch.changed()).await.unwrap();
        assert_eq!(lost.unwrap_err().kind(), ErrorKind::SessionLost);
    }
}

#[tokio::test]
async fn a_running_machine_is_refused_with_its_reason() {
    let server = start("{}").await;
    let session = session(&server).await;
    let target = session.import_target(&cluster()).await.unwrap();
    let running = vm(&session, &format!("{}/vm/running", target.datacenter.path())).await;
    let refused = session.export_vm(&running).await.unwrap_err();
    assert!(refused.is_fault("InvalidState"), "{refused}");
    let near = InventoryPath::new(&format!("{}/vm/smal", target.datacenter.path()));
    let near = session.find(&near, &[]).await.unwrap_err();
    assert!(near.to_string().contains("small"), "{near}");
}
