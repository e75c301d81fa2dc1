//! pyvmomi drives the simulator, with a script of the kind that public samples show.
//!
//! A python3 that has pyvmomi is looked up in `$OVFTRANSFER_PEERS/bin` and
//! `<workspace>/.ci/peers/bin`.  Where it is missing the test says so and passes, unless
//! `OVFTRANSFER_REQUIRE_PEERS` is 1.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says why it skips, and fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use ovftransfer_simulator::scenario::Scenario;
use ovftransfer_simulator::{LeaseState, Simulator};

fn python() -> Option<PathBuf> {
    let peers = std::env::var_os("OVFTRANSFER_PEERS").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/peers");
    let folders = peers.into_iter().chain([own]);
    let found = folders.map(|folder| folder.join("bin/python3")).find(|file| file.is_file());
    if found.is_none() {
        let is_required =
            std::env::var("OVFTRANSFER_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!is_required, "python3 with pyvmomi is required and was not found");
        eprintln!(
            "skipped: python3 with pyvmomi was not found in OVFTRANSFER_PEERS/bin or .ci/peers/bin"
        );
    }
    found
}

/// Runs a script against the simulator and returns what it printed.
fn run(python: &Path, script: &str, simulator: &Simulator) -> String {
    let address = simulator.url().strip_prefix("https://").unwrap();
    let output = tokio::task::block_in_place(|| {
        Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pyvmomi").join(script))
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
    let text = run(&python, "tour.py", &simulator);
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
    let text = run(&python, "vapp.py", &simulator);
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
    let text = run(&python, "ports.py", &simulator);
    assert!(text.contains("moved"), "{text}");
    simulator.stop().await;
}
