//! Places for an import, what the session may do, and what is done to a machine after an import:
//! our client against our own server, over both wires.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use ovftransfer_simulator::{Scenario, Simulator};
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::ovf::{DescriptorParams, ImportSpecParams};
use ovftransfer_vim::{
    Endpoint, EntityKind, ErrorKind, InventoryPath, MoRef, Secret, Session, Trust, Value, Wire,
};

const WIRES: [Wire; 2] = [Wire::Json, Wire::Soap];

async fn start(wire: Wire, scenario: &str) -> (Simulator, Session) {
    let scenario = Scenario::from_json(scenario).unwrap();
    let server = Simulator::builder().scenario(scenario).start().await.unwrap();
    let port = server.url().rsplit(':').next().unwrap().parse().unwrap();
    let endpoint = Endpoint::new("127.0.0.1", port);
    let trust = Trust::Pinned(server.thumbprint().parse().unwrap());
    let transport = Arc::new(HttpTransport::new());
    let session = Session::connect_with(transport, endpoint, trust, wire).await.unwrap();
    session.login(server.username(), &Secret::new(server.password())).await.unwrap();
    (server, session)
}

async fn at(session: &Session, path: &str) -> MoRef {
    session.find(&InventoryPath::new(path), &[]).await.unwrap().moref().clone()
}

#[tokio::test]
async fn a_target_is_the_same_by_path_and_by_reference() {
    for wire in WIRES {
        let (_server, session) = start(wire, "{}").await;
        for path in [
            "/DC0/host/Cluster0",
            "/DC0/host/Cluster0/host1",
            "/DC0/host/Cluster0/Resources/pool1",
            "/DC0/host/Cluster0/Resources/vapp0",
        ] {
            let by_path = session.import_target_named(path).await.unwrap();
            let moref = at(&session, path).await;
            for text in [moref.to_string(), format!("?moref={}", moref.id())] {
                let by_moref = session.import_target_named(&text).await.unwrap();
                assert_eq!(by_moref.compute.moref(), by_path.compute.moref(), "{text}");
                assert_eq!(by_moref.datacenter.moref(), by_path.datacenter.moref(), "{text}");
                let places = |target: &ovftransfer_vim::inventory::ImportTarget| {
                    (target.pool.clone(), target.host.clone(), target.vm_folder.clone())
                };
                assert_eq!(places(&by_moref), places(&by_path), "{text}");
            }
        }
        for text in ["ResourcePool:resgroup-999", "?moref=vm-1"] {
            let error = session.import_target_named(text).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
        let pool = at(&session, "/DC0/host/Cluster0/Resources/pool1").await.to_string();
        let found = session.find_named(&pool, &[EntityKind::ResourcePool]).await.unwrap();
        assert_eq!(found.name(), "pool1");
    }
}

#[tokio::test]
async fn storage_is_a_datastore_or_the_members_of_a_cluster() {
    let free = r#"{"datastore_free": {"datastore2": "1GiB", "datastore3": "3GiB"}}"#;
    for wire in WIRES {
        let (_server, session) = start(wire, free).await;
        let target = session.import_target_named("/DC0/host/Cluster0").await.unwrap();
        let pod = at(&session, "/DC0/datastore/pod0").await;
        for text in ["pod0", "/DC0/datastore/pod0", &format!("?moref={}", pod.id())] {
            let place = session.storage_place(&target, Some(text)).await.unwrap();
            assert_eq!(place.cluster.as_deref(), Some("pod0"));
            assert_eq!(place.datastores.len(), 2);
            let choice = place.choice().unwrap();
            assert_eq!((choice.name.as_str(), choice.free_bytes), ("datastore3", Some(3 << 30)));
        }
        let one = at(&session, "/DC0/datastore/datastore1").await.to_string();
        for text in ["datastore1", "/DC0/datastore/datastore1", &one] {
            let place = session.storage_place(&target, Some(text)).await.unwrap();
            assert_eq!(
                (place.cluster.as_ref(), place.choice().unwrap().name.as_str()),
                (None, "datastore1")
            );
        }
        for text in ["datastor1", "/DC0/datastore", "/DC0/vm"] {
            let error = session.storage_place(&target, Some(text)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{text}: {error}");
        }
        let error = session.storage_place(&target, Some("datastor1")).await.unwrap_err();
        assert!(error.to_string().contains("datastore1"), "{error}");
        let error = session.storage_place(&target, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
    }
}

#[tokio::test]
async fn networks_and_hosts_are_those_of_the_cluster() {
    let hosts = r#"{"hosts": [{"name": "a"}, {"name": "b", "condition": "maintenance"},
        {"name": "c", "condition": "not_responding"}], "machines": []}"#;
    for wire in WIRES {
        let (_server, session) = start(wire, hosts).await;
        let target = session.import_target_named("/DC0/host/Cluster0").await.unwrap();
        let compute = target.compute.moref();
        let names = session.network_names(compute).await.unwrap();
        assert!(names.iter().any(|name| name == "Storage Network"), "{names:?}");
        let by_name = session.network_named(compute, "Storage Network").await.unwrap();
        let text = by_name.moref().to_string();
        assert!(text.starts_with("Network:network-"), "{text}");
        assert_eq!(session.network_named(compute, &text).await.unwrap(), by_name);
        let error = session.network_named(compute, "Network:network-999").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let hosts = session.hosts_of(compute).await.unwrap();
        let usable: Vec<_> = hosts.iter().map(|h| (h.name.as_str(), h.is_usable())).collect();
        assert_eq!(usable, [("a", true), ("b", false), ("c", false)]);
        assert_eq!(
            (hosts[1].is_in_maintenance, hosts[2].connection_state.as_str()),
            (true, "notResponding")
        );
    }
}

#[tokio::test]
async fn missing_privileges_are_told_for_each_object() {
    let missing = r#"{"missing_privileges": ["VApp.Import", "Network.Assign"]}"#;
    const WANTED: [&str; 3] = ["VApp.Import", "Datastore.AllocateSpace", "Network.Assign"];
    for wire in WIRES {
        let (_server, session) = start(wire, missing).await;
        let pool = at(&session, "/DC0/host/Cluster0/Resources").await;
        let folder = at(&session, "/DC0/vm").await;
        let entities = [pool.clone(), folder.clone()];
        let found = session.missing_privileges(&entities, &WANTED).await.unwrap();
        let objects: Vec<_> = found.iter().map(|one| one.entity.clone()).collect();
        assert_eq!(objects, [pool.clone(), folder]);
        assert!(
            found.iter().all(|one| one.privileges == ["VApp.Import", "Network.Assign"]),
            "{found:?}"
        );
        let found = session.missing_privileges(&[pool], &WANTED[1..2]).await.unwrap();
        assert_eq!(found, []);
    }
}

#[tokio::test]
async fn a_machine_is_changed_started_renamed_and_deleted() {
    for wire in WIRES {
        let (server, session) = start(wire, r#"{"guest_ip_after_ms": 100}"#).await;
        let vm = at(&session, "/DC0/vm/small").await;
        let options = [("guestinfo.ovfEnv", "<a b=\"c\">&</a>"), ("x", "y")];
        let task = session.set_extra_config(&vm, &options).await.unwrap();
        session.watch_task(&task).finished().await.unwrap();
        let read = session.read(&vm, &["config.extraConfig"]).await.unwrap();
        let all: Vec<&Value> = read.value("config.extraConfig").unwrap().items().collect();
        for (key, value) in options {
            let option = all.iter().find(|option| option.text_of("key").as_deref() == Some(key));
            assert_eq!(option.unwrap().text_of("value").as_deref(), Some(value));
        }

        assert_eq!(session.guest_address(&vm).await.unwrap(), None);
        let task = session.power_on(&vm, None).await.unwrap();
        session.watch_task(&task).finished().await.unwrap();
        let mut address = None;
        while address.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            address = session.guest_address(&vm).await.unwrap();
        }
        let task = session.destroy(&vm).await.unwrap();
        let error = session.watch_task(&task).finished().await.unwrap_err();
        assert!(error.is_fault("InvalidPowerState"), "{error}");
        let task = session.power_off(&vm).await.unwrap();
        session.watch_task(&task).finished().await.unwrap();

        let task = session.rename(&vm, "smaller").await.unwrap();
        session.watch_task(&task).finished().await.unwrap();
        assert_eq!(at(&session, "/DC0/vm/smaller").await, vm);
        let task = session.destroy(&vm).await.unwrap();
        session.watch_task(&task).finished().await.unwrap();
        assert!(server.vms().iter().all(|one| one.name != "smaller"));

        let vapp = at(&session, "/DC0/vm/vapp0").await;
        let task = session.power_on_vapp(&vapp).await.unwrap();
        session.watch_task(&task).finished().await.unwrap();
        assert!(
            server
                .vms()
                .iter()
                .filter(|one| one.folder.ends_with("vapp0"))
                .all(|one| one.powered_on)
        );
    }
}

/// The simulator refuses what the plan of an import warns of.
#[tokio::test]
async fn hosts_that_cannot_take_a_machine_are_refused_by_their_own_faults() {
    for wire in WIRES {
        for (condition, fault, kind) in [
            ("maintenance", "InvalidHostState", ErrorKind::Refused),
            ("disconnected", "HostNotConnected", ErrorKind::Network),
        ] {
            let hosts = format!(
                r#"{{"hosts": [{{"name": "a", "condition": "{condition}"}}],
                    "machines": [{{"name": "small", "disks": []}}]}}"#
            );
            let (server, session) = start(wire, &hosts).await;
            let vm = at(&session, "/DC0/vm/small").await;
            let described =
                session.create_descriptor(&vm, &DescriptorParams::default()).await.unwrap();
            let target = session.import_target_named("/DC0/host/Cluster0").await.unwrap();
            let store =
                session.datastore(target.compute.moref(), Some("datastore0")).await.unwrap();
            let params = ImportSpecParams { entity_name: "b".to_owned(), ..Default::default() };
            let made = session
                .create_import_spec(&described.descriptor, &target.pool, store.moref(), &params)
                .await
                .unwrap();
            let host = at(&session, "/DC0/host/Cluster0/a").await;
            let (spec, folder) = (made.import_spec.unwrap(), Some(&target.vm_folder));
            let import = session.import_vapp(&target.pool, &spec, folder, Some(&host));
            let error = import.await.unwrap_err();
            assert!(error.is_fault(fault), "{error}");
            assert_eq!(error.kind(), kind, "{error}");
            // Nor is another one chosen: there is none.
            let import = session.import_vapp(&target.pool, &spec, folder, None);
            assert!(import.await.unwrap_err().is_fault("HostNotConnected"));
            assert_eq!(server.leases().len(), 0);
        }
    }
}
