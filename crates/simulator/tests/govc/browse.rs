//! Looking around, power, snapshots, sessions.

use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::scenario::{ApiVersion, Machine, Scenario};

use crate::{Govc, Wire, appliance};

on_each_wire! {
    looks_around
    switches_and_snapshots_machines
    an_older_server_has_only_soap
    a_taken_name_and_a_wrong_password_are_refused
}

async fn looks_around(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    tokio::task::block_in_place(|| {
        let about = govc.run(&["about"]);
        assert!(about.contains("VMware vCenter Server"), "{about}");
        assert!(about.contains("8.0.3.0"), "{about}");

        let all = govc.run(&["find", "/"]);
        for path in [
            "/DC0/vm/small",
            "/DC0/vm/database",
            "/DC0/vm/backup/daily/with-snapshot",
            "/DC0/host/Cluster0/host0",
            "/DC0/host/Cluster0/host1",
            "/DC0/host/Cluster0/Resources/pool0",
            "/DC0/host/Cluster0/Resources/vapp0/vapp-web",
            "/DC0/host/host2/host2",
            "/DC0/host/host2/Resources",
            "/DC0/datastore/datastore1",
            "/DC0/datastore/pod0/datastore2",
            "/DC0/network/VM Network",
            "/DC0/network/DVS0",
            "/DC0/network/DPG0",
        ] {
            assert!(all.lines().any(|line| line == path), "{path} in {all}");
        }
        let machines = govc.run(&["find", "/", "-type", "m", "-runtime.powerState", "poweredOn"]);
        assert_eq!(machines.lines().count(), 2, "{machines}");
        assert!(govc.run(&["ls", "/DC0/vm"]).contains("/DC0/vm/small"));
        assert!(govc.run(&["ls", "-l", "/DC0/host/Cluster0"]).contains("HostSystem"));

        let info = govc.run(&["vm.info", "database"]);
        for part in ["database", "2048MB", "2 vCPU(s)", "poweredOff"] {
            assert!(info.contains(part), "{part} in {info}");
        }
        govc.run(&["vm.info", "-json", "-r", "database"]);
        let devices = govc.run(&["device.ls", "-vm", "database"]);
        assert!(devices.contains("VirtualDisk") && devices.contains("VirtualVmxnet3"), "{devices}");
        govc.run(&["device.info", "-vm", "database"]);
        assert!(govc.run(&["snapshot.tree", "-vm", "with-snapshot"]).contains("before update"));
        assert!(govc.run(&["datastore.info", "datastore0"]).contains("VMFS"));
        let cluster = govc.run(&["datastore.cluster.info", "pod0"]);
        for part in ["/DC0/datastore/pod0", "SDRS Enabled:  false", "SDRS Mode:     manual"] {
            assert!(cluster.contains(part), "{part} in {cluster}");
        }
        govc.run(&["datastore.cluster.info", "-json"]);
        assert!(govc.run(&["pool.info", "*/Resources"]).contains("Resources"));
        assert!(govc.run(&["host.info", "host1"]).contains("ovftransfer"));
        assert!(govc.run(&["session.ls"]).contains("administrator"));
        assert!(govc.try_run(&["vm.info", "-json", "nothing"]).is_ok());
        assert!(govc.try_run(&["ls", "-dc", "nothing", "vm"]).is_err());
    });
    simulator.stop().await;
}

async fn switches_and_snapshots_machines(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    tokio::task::block_in_place(|| {
        govc.run(&["vm.power", "-on", "small"]);
        let refusal = govc.try_run(&["vm.power", "-on", "small"]).unwrap_err();
        assert!(wire.loses_faults_in_data() || refusal.contains("state"), "{refusal}");
        govc.run(&["vm.power", "-off", "small"]);
        govc.run(&["snapshot.create", "-vm", "small", "first"]);
        govc.run(&["snapshot.remove", "-vm", "small", "first"]);
        govc.run(&["vm.destroy", "small"]);
        let tasks = govc.run(&["tasks"]);
        assert!(tasks.contains("destroy") || tasks.contains("Destroy"), "{tasks}");
    });
    assert!(simulator.vms().iter().all(|vm| vm.name != "small"));
    simulator.stop().await;
}

async fn an_older_server_has_only_soap(wire: Wire) {
    let mut scenario = Scenario::default();
    scenario.api_version = ApiVersion::V7_0_3_0;
    let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    tokio::task::block_in_place(|| match (wire, govc.try_run(&["about"])) {
        (Wire::Soap, Ok(about)) => assert!(about.contains("7.0.3"), "{about}"),
        (Wire::ViJson, Err(refusal)) => {
            // It looks at the type of the 404 before its status.
            assert!(refusal.contains("not application/json"), "{refusal}");
        }
        (_, other) => panic!("{other:?}"),
    });
    simulator.stop().await;
}

async fn a_taken_name_and_a_wrong_password_are_refused(wire: Wire) {
    let mut scenario = Scenario::default();
    scenario.machines.push(Machine::new("appliance"));
    let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
    let Some(mut govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| {
        let package = appliance().write_folder(folder.path()).unwrap();
        let arguments =
            ["import.ovf", "-ds", "datastore0", "-pool", "pool0", package.path().to_str().unwrap()];
        let refusal = govc.try_run(&arguments).unwrap_err();
        assert!(wire.loses_faults_in_data() || refusal.contains("already exists"), "{refusal}");
        govc.url = govc.url.replace(simulator.password(), "wrong");
        let refusal = govc.try_run(&["find", "/"]).unwrap_err();
        assert!(refusal.contains("incorrect user name or password"), "{refusal}");
    });
    assert_eq!(simulator.leases()[0].fault.as_ref().unwrap().kind, "DuplicateName");
    simulator.stop().await;
}
