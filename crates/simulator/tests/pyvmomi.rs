//! pyvmomi drives the simulator, with scripts of the kind that public samples show.
//!
//! A python3 that has pyvmomi is looked up in `$OVFTRANSFER_PEERS/bin` and
//! `<workspace>/.ci/peers/bin`.  Where it is missing the test says so and passes, unless
//! `OVFTRANSFER_REQUIRE_PEERS` is 1.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ovftransfer_ovf::Envelope;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::{Data, DataKind, DiskSpec, Machine, Scenario, Size};
use ovftransfer_simulator::{LeaseState, Simulator};

use support::peers;

fn python() -> Option<PathBuf> {
    peers::find("python3", false)
}

/// Runs a script against the simulator and returns what it printed.
fn run(python: &Path, script: &str, arguments: &[&str], simulator: &Simulator) -> String {
    let address = simulator.url().strip_prefix("https://").unwrap();
    let output = tokio::task::block_in_place(|| {
        Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pyvmomi").join(script))
            .args(arguments)
            // No folder of compiled scripts among the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("SIM_HOST", address)
            .env("SIM_USER", simulator.username())
            .env("SIM_PASSWORD", simulator.password())
            .output()
            .unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_around_exports_imports_and_aborts() {
    let Some(python) = python() else { return };
    let simulator = Simulator::builder().start().await.unwrap();
    let text = run(&python, "tour.py", &[], &simulator);
    assert!(text.contains("aborted error"), "{text}");

    let vms = simulator.vms();
    let [original, copy] =
        ["small", "from python"].map(|name| vms.iter().find(|vm| vm.name == name).unwrap());
    assert_eq!(original.disks[0].digest().unwrap(), copy.disks[0].digest().unwrap());
    assert_eq!(original.files[0].sha256().unwrap(), copy.files[0].sha256().unwrap());
    assert!(vms.iter().all(|vm| vm.name != "given up"));
    let leases = simulator.leases();
    let last = leases.last().unwrap();
    assert_eq!(last.state, LeaseState::Error);
    assert_eq!(last.fault.as_ref().unwrap().kind, "FileFault");
    assert!(simulator.sessions().is_empty());
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_exports_and_imports_a_vapp() {
    let Some(python) = python() else { return };
    let simulator = Simulator::builder().start().await.unwrap();
    let text = run(&python, "vapp.py", &[], &simulator);
    for line in [
        "refused poweredOn",
        "covered vapp0 ['disk-0.vmdk', 'disk-1.vmdk']",
        "children ['vapp-db', 'vapp-web']",
        "made ['vapp-db', 'vapp-web']",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // The abort took the copy away.
    assert!(simulator.vms().iter().all(|vm| vm.folder != "/DC0/vm/copy"));
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finds_ports_moves_a_card_and_lets_a_dpu_take_over() {
    let Some(python) = python() else { return };
    let scenario = Scenario::from_json(
        r#"{
            "switches": [{
                "name": "DVS0",
                "portgroups": [{ "name": "DPG0", "vlan": 7 }],
                "offload": { "dpus": ["dpu0", "dpu1"], "standby": ["Uplink 2"] }
            }],
            "machines": [{ "name": "ported", "powered_on": true, "networks": ["DPG0"] }]
        }"#,
    );
    let simulator = Simulator::builder().scenario(scenario.unwrap()).start().await.unwrap();
    let text = run(&python, "ports.py", &[], &simulator);
    assert!(text.contains("moved"), "{text}");
    simulator.stop().await;
}

fn machine() -> Machine {
    let mut machine = Machine::new("appliance");
    machine.networks = vec!["VM Network".to_owned()];
    machine.nvram = Size::from_bytes(8684);
    machine.disks = vec![
        DiskSpec::new(16 << 20).with_data(Data::new(DataKind::Mixed, 12 << 20, 21)),
        DiskSpec::new(8 << 20).with_data(Data::new(DataKind::Random, 3 << 20, 22)),
    ];
    machine
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_an_archive_and_gives_up_half_way() {
    let Some(python) = python() else { return };
    let simulator = Simulator::builder().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::new(machine());
    let ova = folder.path().join("appliance.ova");
    appliance.write_ova(&ova).unwrap();
    let path = ova.to_str().unwrap();

    let text = run(&python, "deploy_ova.py", &[path, "deployed"], &simulator);
    assert!(text.contains("deployed vm-") && text.contains("beats True"), "{text}");
    let vms = simulator.vms();
    let vm = vms.iter().find(|vm| vm.name == "deployed").unwrap();
    let disks: Vec<String> =
        vm.disks.iter().map(|disk| disk.digest().unwrap().raw_sha256).collect();
    assert_eq!(disks, appliance.raw_sha256().unwrap());
    assert_eq!((vm.host.as_str(), vm.files[0].len_bytes().unwrap()), ("host1", 8684));

    let text = run(&python, "deploy_ova.py", &[path, "half", "1"], &simulator);
    assert!(text.contains("gone"), "{text}");
    assert!(simulator.vms().iter().all(|vm| vm.name != "half"));
    let leases = simulator.leases();
    let (done, given_up) = (&leases[0], &leases[1]);
    assert_eq!((done.state, given_up.state), (LeaseState::Done, LeaseState::Error));
    assert_eq!(done.percents.last(), Some(&100));
    assert!(done.percents.is_sorted(), "{:?}", done.percents);
    let fault = given_up.fault.as_ref().unwrap();
    assert_eq!((fault.kind.as_str(), fault.reason.as_str()), ("FileFault", "appliance-disk2.vmdk"));
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_machines_and_snapshots_with_their_manifests() {
    let Some(python) = python() else { return };
    let mut scenario = Scenario::default();
    scenario.machines.push(machine());
    let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
    for (name, more, files) in
        [("appliance", &[][..], 3), ("with-snapshot", &["before update"][..], 1)]
    {
        let folder = tempfile::tempdir().unwrap();
        let arguments = [&[name, folder.path().to_str().unwrap()], more].concat();
        let text = run(&python, "export_vm.py", &arguments, &simulator);
        assert!(text.contains(&format!("exported {files} beats True")), "{text}");
        assert_eq!(text.contains("given up"), more.is_empty(), "{text}");
        let descriptor = fs::read_to_string(folder.path().join(format!("{name}.ovf"))).unwrap();
        let envelope = Envelope::parse(descriptor).unwrap();
        assert_eq!(envelope.references().len(), files);
        for file in envelope.references() {
            let len = fs::metadata(folder.path().join(file.href().as_str())).unwrap().len();
            assert_eq!(file.size_bytes(), Some(len));
        }
        let manifest = fs::read_to_string(folder.path().join(format!("{name}.mf"))).unwrap();
        assert_eq!(manifest.lines().count(), files + 1);
    }
    assert!(simulator.vms().iter().all(|vm| !vm.is_leased));
    assert!(simulator.sessions().is_empty());
    simulator.stop().await;
}
