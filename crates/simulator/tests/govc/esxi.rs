//! A host without vCenter: SOAP only, device URLs with `*` in place of the host.

use std::fs;

use ovftransfer_simulator::scenario::Scenario;
use ovftransfer_simulator::{LeaseState, Simulator};

use crate::{Govc, Wire, appliance, check_manifest, raw_sha256, stored, vm, write_manifest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_to_and_exports_from_a_host_without_vcenter() {
    let simulator = Simulator::builder().scenario(Scenario::esxi()).start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, Wire::Soap) else { return };
    tokio::task::block_in_place(|| {
        let about = govc.run(&["about"]);
        assert!(about.contains("HostAgent"), "{about}");
        let found = govc.run(&["find", "/"]);
        assert!(found.contains("/ha-datacenter/host/esxi0/esxi0"), "{found}");
        assert!(!found.contains("Cluster0"), "{found}");

        let folder = tempfile::tempdir().unwrap();
        let appliance = appliance();
        let expected = appliance.raw_sha256().unwrap();
        let ova = appliance.write_ova(&folder.path().join("a.ova")).unwrap();
        let place = ["-ds", "datastore0", "-pool", "*/Resources", "-net", "VM Network", "-name"];
        let path = [ova.path().to_str().unwrap()];
        govc.run(&[&["import.ova"], &place[..], &["sent"], &path[..]].concat());
        assert_eq!(stored(&vm(&simulator, "sent")), expected);

        // On a host nothing needs to be told but the package and the datastore.
        let package = folder.path().join("package");
        fs::create_dir(&package).unwrap();
        let descriptor = appliance.write_folder(&package).unwrap().path().to_owned();
        write_manifest(&descriptor, "SHA1", "sha1sum");
        let plain = ["import.ovf", "-m", "-ds", "datastore0", "-name", "plain"];
        govc.run(&[&plain[..], &[descriptor.to_str().unwrap()]].concat());
        assert_eq!(stored(&vm(&simulator, "plain")), expected);

        let out = folder.path().join("out");
        govc.run(&["export.ovf", "-sha", "256", "-i", "-vm", "sent", out.to_str().unwrap()]);
        let exported = out.join("sent");
        let lines = check_manifest(&exported.join("sent.mf"), "SHA256", "sha256sum");
        assert_eq!(lines.len(), 4, "{lines:?}");
        for (index, expected) in expected.iter().enumerate() {
            assert_eq!(&raw_sha256(&exported.join(format!("sent-disk-{index}.vmdk"))), expected);
        }
        govc.run(&["vm.destroy", "plain"]);
    });
    let leases = simulator.leases();
    assert!(leases.iter().all(|lease| lease.state == LeaseState::Done), "{leases:?}");
    simulator.stop().await;
}
