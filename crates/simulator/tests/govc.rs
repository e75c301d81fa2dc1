//! govc drives the simulator: a foreign client judges the server, once on each wire.
//!
//! govc is looked up in `$OVFTRANSFER_PEERS/bin`, `<workspace>/.ci/peers/bin` and `PATH`.  Where it
//! is missing the tests say so and pass, unless `OVFTRANSFER_REQUIRE_PEERS` is 1.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says why it skips, and fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::{
    ApiVersion, Data, DataKind, DiskSpec, Machine, Scenario, Size,
};
use ovftransfer_simulator::{LeaseState, Simulator};
use ovftransfer_vmdk::GrainReader;
use sha2::{Digest, Sha256};

/// How govc talks to the server.
#[derive(Clone, Copy, Debug)]
enum Wire {
    Soap,
    ViJson,
}

impl Wire {
    /// Whether govc cannot say why a task or a lease failed.
    ///
    /// Its binding wants every fault inside data in a `LocalizedMethodFault`, which VI JSON does not
    /// have, and dies when it meets the fault itself.
    fn loses_faults_in_data(self) -> bool {
        matches!(self, Self::ViJson)
    }
}

/// govc, set up to talk to a simulator.
struct Govc {
    wire: Wire,
    program: PathBuf,
    url: String,
    home: tempfile::TempDir,
}

impl Govc {
    /// `None` where govc is missing and need not be there.
    fn find(simulator: &Simulator, wire: Wire) -> Option<Self> {
        let program = find("govc")?;
        let address = simulator.url().strip_prefix("https://").unwrap();
        let (user, password) = (simulator.username(), simulator.password());
        let url = format!("https://{}:{password}@{address}/sdk", user.replace('@', "%40"));
        Some(Self { wire, program, url, home: tempfile::tempdir().unwrap() })
    }

    fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let wire: &[(&str, &str)] = match self.wire {
            Wire::Soap => &[],
            Wire::ViJson => &[("GOVC_VI_JSON", "1"), ("GOVC_VIM_VERSION", "8.0.3.0")],
        };
        let output = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("GOVC_URL", &self.url)
            .env("GOVC_INSECURE", "true")
            .env("GOVC_PERSIST_SESSION", "false")
            .env("HOME", self.home.path())
            .envs(wire.iter().copied())
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(out) } else { Err(format!("{out}\n{err}")) }
    }

    /// Runs govc on a thread that may block.
    fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("govc {arguments:?}: {error}"))
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let mut folders = Vec::new();
    if let Some(peers) = std::env::var_os("OVFTRANSFER_PEERS") {
        folders.push(PathBuf::from(peers).join("bin"));
    }
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/peers/bin"));
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    let found = folders.into_iter().map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        let is_required =
            std::env::var("OVFTRANSFER_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!is_required, "{program} is required and was not found");
        eprintln!(
            "skipped: {program} was not found in OVFTRANSFER_PEERS/bin, .ci/peers/bin or PATH"
        );
    }
    found
}

fn appliance() -> Appliance {
    let mut machine = Machine::new("appliance");
    machine.networks = vec!["VM Network".to_owned()];
    machine.nvram = Size::from_bytes(8684);
    machine.disks = vec![
        DiskSpec::new(48 << 20).with_data(Data::new(DataKind::Mixed, 24 << 20, 11)),
        DiskSpec::new(16 << 20).with_data(Data::new(DataKind::Random, 3 << 20, 12)),
    ];
    Appliance::new(machine)
}

/// SHA-256 of the raw content of a stream-optimized disk.
fn raw_sha256(path: &Path) -> String {
    let mut reader = GrainReader::new(BufReader::new(File::open(path).unwrap())).unwrap();
    let capacity = usize::try_from(reader.capacity_bytes()).unwrap();
    let mut raw = vec![0_u8; capacity];
    while let Some(grain) = reader.next_grain().unwrap() {
        let at = usize::try_from(grain.lba_sectors() * 512).unwrap();
        let len = grain.data().len().min(capacity - at);
        raw[at..at + len].copy_from_slice(&grain.data()[..len]);
    }
    Sha256::digest(&raw).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files below `folder`.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn file_sha256(path: &Path) -> String {
    Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! on_each_wire {
    ($($name:ident)*) => {
        mod soap {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(super::Wire::Soap).await;
                }
            )*
        }

        mod vi_json {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(super::Wire::ViJson).await;
                }
            )*
        }
    };
}

on_each_wire! {
    looks_around
    switches_and_snapshots_machines
    imports_and_exports_the_same_bytes
    exports_a_snapshot_of_a_running_machine
    an_older_server_has_only_soap
    starts_imports_and_destroys_vapps
    deploys_with_options_changes_and_templates
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

        let vm = simulator.vms().into_iter().find(|vm| vm.name == "imported").unwrap();
        let stored: Vec<String> =
            vm.disks.iter().map(|disk| disk.digest().unwrap().raw_sha256).collect();
        assert_eq!(stored, expected);
        assert_eq!(vm.files[0].len_bytes().unwrap(), 8684);
        assert!(!vm.is_leased);

        let target = folder.path().to_str().unwrap();
        govc.run(&["export.ovf", "-sha", "256", "-vm", "imported", target]);
        let exported = folder.path().join("imported");
        for (index, expected) in expected.iter().enumerate() {
            let disk = exported.join(format!("imported-disk-{index}.vmdk"));
            assert_eq!(&raw_sha256(&disk), expected, "{}", disk.display());
        }
        // The manifest that govc wrote is about the files that are there.
        let manifest = fs::read_to_string(exported.join("imported.mf")).unwrap();
        let mut lines = BTreeMap::new();
        for line in manifest.lines() {
            let (name, digest) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
            lines.insert(name.to_owned(), digest.to_owned());
        }
        assert_eq!(lines.len(), 3, "{manifest}");
        for (name, digest) in &lines {
            assert_eq!(&file_sha256(&exported.join(name)), digest, "{name}");
        }

        // What was exported can be imported again, from the folder this time.  With SHA-1, which
        // the server's manifest has by default, govc compares each file with it.
        govc.run(&["export.ovf", "-f", "-sha", "1", "-vm", "imported", target]);
        let descriptor = exported.join("imported.ovf");
        let place = ["-ds", "datastore0", "-pool", "pool0", "-host", "host1", "-name", "again"];
        let arguments =
            [&["import.ovf", "-m"], &place[..], &[descriptor.to_str().unwrap()]].concat();
        govc.run(&arguments);
        let again = simulator.vms().into_iter().find(|vm| vm.name == "again").unwrap();
        let stored: Vec<String> =
            again.disks.iter().map(|disk| disk.digest().unwrap().raw_sha256).collect();
        assert_eq!(stored, expected);
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

async fn exports_a_snapshot_of_a_running_machine(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| {
        let target = folder.path().to_str().unwrap();
        let vm = "/DC0/vm/backup/daily/with-snapshot";
        let refusal = govc.try_run(&["export.ovf", "-vm", vm, target]).unwrap_err();
        assert!(refusal.contains("Powered on"), "{refusal}");
        govc.run(&["export.ovf", "-f", "-snapshot", "before update", "-vm", vm, target]);
        let state = simulator.vms().into_iter().find(|vm| vm.name == "with-snapshot").unwrap();
        let disk = folder.path().join("with-snapshot/with-snapshot-disk-0.vmdk");
        let expected = state.disks[0].digest().unwrap().raw_sha256;
        assert_eq!(raw_sha256(&disk), expected);

        let plain = tempfile::tempdir().unwrap();
        let target = plain.path().to_str().unwrap();
        govc.run(&["snapshot.export", "-d", target, "-vm", vm, "before update"]);
        let disks: Vec<PathBuf> = walk(plain.path())
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "vmdk"))
            .collect();
        assert_eq!(disks.len(), 1, "{disks:?}");
        assert_eq!(raw_sha256(&disks[0]), expected);
    });
    simulator.stop().await;
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
        let package = appliance().write_ova(&folder.path().join("a.ova")).unwrap();
        let path = package.path().to_str().unwrap();
        let place = ["-ds", "datastore0", "-pool", "*/Resources", "-net", "VM Network"];
        let mut import = vec!["import.ova", "-name", "sent"];
        import.extend(place);
        import.push(path);
        govc.run(&import);
        let out = folder.path().join("out");
        govc.run(&["export.ovf", "-sha", "256", "-i", "-vm", "sent", out.to_str().unwrap()]);
        let disks: Vec<String> = simulator
            .vms()
            .iter()
            .filter(|vm| vm.name == "sent")
            .flat_map(|vm| vm.disks.iter().map(|disk| disk.digest().unwrap().raw_sha256))
            .collect();
        let exported = ["sent-disk-0.vmdk", "sent-disk-1.vmdk", "disk-0.vmdk", "disk-1.vmdk"];
        let exported: Vec<String> = exported
            .iter()
            .map(|name| out.join("sent").join(name))
            .filter(|path| path.exists())
            .map(|path| raw_sha256(&path))
            .collect();
        assert_eq!(disks.len(), 2);
        assert_eq!(disks, exported);
    });
    assert!(simulator.leases().iter().all(|lease| lease.state == LeaseState::Done));
    simulator.stop().await;
}
