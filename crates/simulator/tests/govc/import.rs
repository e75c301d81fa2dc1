//! Imports of folders and archives.

use std::fs;
use std::path::Path;

use ovftransfer_simulator::scenario::{DatastoreCluster, Direction, Scenario};
use ovftransfer_simulator::{LeaseState, Simulator};

use crate::{Govc, Wire, appliance, check_manifest, raw_sha256};
use crate::{stored, tar, vm, write_manifest};

on_each_wire! {
    imports_and_exports_the_same_bytes
    a_manifest_is_compared_with_what_the_server_computed
    a_datastore_cluster_takes_a_machine
}

async fn imports_and_exports_the_same_bytes(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    let ova = folder.path().join("appliance.ova");
    let appliance = appliance();
    tokio::task::block_in_place(|| {
        appliance.write_ova(&ova).unwrap();
        let expected = appliance.raw_sha256().unwrap();
        let path = ova.to_str().unwrap();
        govc.run(&["import.ova", "-ds", "datastore1", "-pool", "pool1", "-name", "imported", path]);

        let imported = vm(&simulator, "imported");
        assert_eq!(stored(&imported), expected);
        assert_eq!(imported.files[0].len_bytes().unwrap(), 8684);
        assert!(!imported.is_leased);

        let target = folder.path().to_str().unwrap();
        govc.run(&["export.ovf", "-sha", "256", "-vm", "imported", target]);
        let exported = folder.path().join("imported");
        for (index, expected) in expected.iter().enumerate() {
            let disk = exported.join(format!("imported-disk-{index}.vmdk"));
            assert_eq!(&raw_sha256(&disk), expected, "{}", disk.display());
        }
        // The manifest that govc wrote is about the files that are there.
        let lines = check_manifest(&exported.join("imported.mf"), "SHA256", "sha256sum");
        assert_eq!(lines.len(), 3, "{lines:?}");

        // What was exported can be imported again, from the folder this time.  With SHA-1, which
        // the server's manifest has by default, govc compares each file with it.
        govc.run(&["export.ovf", "-f", "-sha", "1", "-vm", "imported", target]);
        let descriptor = exported.join("imported.ovf");
        let place = ["-ds", "datastore0", "-pool", "pool0", "-host", "host1", "-name", "again"];
        let arguments =
            [&["import.ovf", "-m"], &place[..], &[descriptor.to_str().unwrap()]].concat();
        govc.run(&arguments);
        let again = vm(&simulator, "again");
        assert_eq!(stored(&again), expected);
        assert_eq!(again.host, "host1");
        assert_eq!(again.networks, ["VM Network"]);
    });
    let leases = simulator.leases();
    assert_eq!(leases.len(), 4);
    assert!(leases.iter().all(|lease| lease.state == LeaseState::Done), "{leases:?}");
    let tasks = simulator.tasks();
    assert!(tasks.iter().all(|task| task.state == "success"), "{tasks:?}");
    simulator.stop().await;
}

/// govc never asks for another kind of digest than SHA-1, so a package with a manifest of SHA-256
/// fails with it on every server.
async fn a_manifest_is_compared_with_what_the_server_computed(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("package");
    fs::create_dir(&package).unwrap();
    tokio::task::block_in_place(|| {
        let appliance = appliance();
        let descriptor = appliance.write_folder(&package).unwrap().path().to_owned();
        let import = |name: &str, ova: &Path| {
            let place = ["-ds", "datastore0", "-pool", "pool0", "-name", name];
            let path = [ova.to_str().unwrap()];
            govc.try_run(&[&["import.ova", "-m"], &place[..], &path[..]].concat())
        };
        let refusal = import("sha256", &tar(&descriptor)).unwrap_err();
        assert!(refusal.contains("checksum type SHA256 mismatch"), "{refusal}");

        write_manifest(&descriptor, "SHA1", "sha1sum");
        import("sha1", &tar(&descriptor)).unwrap();
        assert_eq!(stored(&vm(&simulator, "sha1")), appliance.raw_sha256().unwrap());

        let manifest = descriptor.with_extension("mf");
        let text = fs::read_to_string(&manifest).unwrap();
        let line = text.lines().find(|line| line.contains(".vmdk)= ")).unwrap();
        let digit = if line.ends_with('0') { "1" } else { "0" };
        fs::write(&manifest, text.replace(line, &format!("{}{digit}", &line[..line.len() - 1])))
            .unwrap();
        let refusal = import("wrong", &tar(&descriptor)).unwrap_err();
        assert!(refusal.contains("mismatch with uploaded checksum"), "{refusal}");
    });
    let leases = simulator.leases();
    assert!(leases.iter().all(|lease| lease.direction == Direction::Import));
    let states: Vec<_> = leases.iter().map(|lease| (&*lease.machine, lease.state)).collect();
    // govc aborts with a LocalizedMethodFault, which VI JSON does not have.  There it is refused,
    // govc does not look, and the lease stays until it times out.
    let given_up = if wire.loses_faults_in_data() { LeaseState::Ready } else { LeaseState::Error };
    assert_eq!(states, [("sha256", given_up), ("sha1", LeaseState::Done), ("wrong", given_up)]);
    for lease in leases.iter().filter(|lease| lease.state == LeaseState::Error) {
        let fault = lease.fault.as_ref().unwrap();
        assert_eq!(fault.kind, "FileFault");
        assert!(fault.reason.ends_with(".vmdk"), "{fault:?}");
        assert!(simulator.vms().iter().all(|vm| vm.name != lease.machine));
    }
    simulator.stop().await;
}

async fn a_datastore_cluster_takes_a_machine(wire: Wire) {
    let mut scenario = Scenario::default();
    scenario.datastores.extend(["inner0", "inner1"].map(str::to_owned));
    scenario.datastore_clusters.push(DatastoreCluster::new("pod", &["inner0", "inner1"]));
    let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| {
        let package = appliance().write_folder(folder.path()).unwrap();
        let path = package.path().to_str().unwrap();
        // govc asks the cluster for its datastores and takes the one with the most space.
        for name in ["first", "second"] {
            govc.run(&["import.ovf", "-ds", "pod", "-pool", "pool0", "-name", name, path]);
        }
        let used = |name: &str| {
            let path = govc.run(&[
                "object.collect",
                "-s",
                &format!("vm/{name}"),
                "summary.config.vmPathName",
            ]);
            path.trim().to_owned()
        };
        let mut used = [used("first"), used("second")];
        used.sort();
        assert!(used[0].starts_with("[inner0] ") && used[1].starts_with("[inner1] "), "{used:?}");
    });
    simulator.stop().await;
}
