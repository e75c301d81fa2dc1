//! vApps, and what else govc does with a machine that it deployed.

use std::fs;

use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::{Data, DataKind, DiskSpec, Machine};

use crate::{Govc, Wire, appliance};

on_each_wire! {
    starts_imports_and_destroys_vapps
    deploys_with_options_changes_and_templates
}

async fn starts_imports_and_destroys_vapps(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    let runs = |vapp: &str| {
        let vms = simulator.vms().into_iter().filter(|vm| vm.folder == format!("/DC0/vm/{vapp}"));
        vms.map(|vm| (vm.name, vm.powered_on)).collect::<Vec<_>>()
    };
    tokio::task::block_in_place(|| {
        assert_eq!(govc.run(&["find", "/", "-type", "a"]), "/DC0/host/Cluster0/Resources/vapp0\n");
        let listed = govc.run(&["ls", "/DC0/vm/vapp0"]);
        assert!(listed.contains("/DC0/vm/vapp0/vapp-web"), "{listed}");
        let info = govc.run(&["vm.info", "vapp-web"]);
        assert!(info.contains("/DC0/vm/vapp0/vapp-web"), "{info}");
        govc.run(&["vapp.power", "-on", "vapp0"]);
        assert_eq!(runs("vapp0"), [("vapp-db".to_owned(), true), ("vapp-web".to_owned(), true)]);
        assert!(govc.try_run(&["vapp.power", "-on", "vapp0"]).is_err());
        govc.run(&["vapp.power", "-off", "-force", "vapp0"]);
        assert_eq!(runs("vapp0")[1], ("vapp-web".to_owned(), false));

        let machine = |name: &str, seed| {
            let mut machine = Machine::new(name);
            machine.networks = vec!["VM Network".to_owned()];
            machine.disks =
                vec![DiskSpec::new(8 << 20).with_data(Data::new(DataKind::Mixed, 4 << 20, seed))];
            machine
        };
        let appliance = Appliance::vapp("shop", vec![machine("db", 1), machine("front", 2)]);
        let package = appliance.write_folder(folder.path()).unwrap();
        let archive = appliance.write_ova(&folder.path().join("shop.ova")).unwrap();
        let (package, archive) =
            (package.path().to_str().unwrap(), archive.path().to_str().unwrap());
        let place = ["-ds", "datastore0", "-pool", "pool0", "-name", "shop", package];
        govc.run(&[&["import.ovf"], &place[..]].concat());
        // A vApp takes one, too.
        let inside = "/DC0/host/Cluster0/Resources/vapp0";
        let place = ["-ds", "datastore0", "-pool", inside, "-name", "inner", archive];
        govc.run(&[&["import.ova"], &place[..]].concat());
        let expected = appliance.raw_sha256().unwrap();
        for vapp in ["/DC0/vm/shop", "/DC0/vm/vapp0/inner"] {
            let vms = simulator.vms().into_iter().filter(|vm| vm.folder == vapp);
            let disks: Vec<String> =
                vms.flat_map(|vm| vm.disks).map(|disk| disk.digest().unwrap().raw_sha256).collect();
            assert_eq!(disks, expected, "{vapp}");
        }
        // It switches the vApp off first, and must not learn that it is off already: see above.
        govc.run(&["vapp.power", "-on", "shop"]);
        govc.run(&["vapp.destroy", "shop"]);
        assert!(runs("shop").is_empty());
        assert!(!govc.run(&["find", "/", "-type", "a"]).contains("shop"));
    });
    simulator.stop().await;
}

async fn deploys_with_options_changes_and_templates(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| {
        let package = appliance().write_folder(folder.path()).unwrap();
        let package = package.path().to_str().unwrap();
        let options = folder.path().join("options.json");
        let text = r#"{
            "Name": "deployed", "Annotation": "by options", "PowerOn": true, "WaitForIP": true,
            "InjectOvfEnv": true, "DiskProvisioning": "thin",
            "NetworkMapping": [{ "Name": "VM Network", "Network": "DPG0" }]
        }"#;
        fs::write(&options, text).unwrap();
        let place = ["-ds", "datastore0", "-pool", "pool0", "-options", options.to_str().unwrap()];
        let told = govc.run(&[&["import.ovf"], &place[..], &[package]].concat());
        assert!(told.contains("Received IP address: 10."), "{told}");
        let vm = simulator.vms().into_iter().find(|vm| vm.name == "deployed").unwrap();
        assert!(vm.powered_on);
        assert_eq!(vm.networks, ["DPG0"]);
        let info = govc.run(&["vm.info", "-json", "deployed"]);
        for part in ["by options", "guestinfo.ovfEnv"] {
            assert!(info.contains(part), "{part} in {info}");
        }
        let address = govc.run(&["vm.ip", "deployed"]);
        let found = govc.run(&["vm.info", "-vm.ip", address.trim()]);
        assert!(found.contains("deployed"), "{found}");

        govc.run(&["vm.change", "-vm", "small", "-c", "3", "-m", "768", "-e", "guestinfo.x=y"]);
        let info = govc.run(&["vm.info", "-e", "small"]);
        for part in ["3 vCPU(s)", "768MB", "guestinfo.x"] {
            assert!(info.contains(part), "{part} in {info}");
        }
        govc.run(&["vm.markastemplate", "small"]);
        assert!(govc.try_run(&["vm.power", "-on", "small"]).is_err());
        govc.run(&["vm.markasvm", "-pool", "pool0", "small"]);
        govc.run(&["vm.power", "-on", "small"]);
    });
    simulator.stop().await;
}
