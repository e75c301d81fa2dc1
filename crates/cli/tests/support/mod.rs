//! What the tests of the program share: a simulated vCenter, packages, and runs of the binary.

#![allow(dead_code, reason = "every test uses a part of it")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of tests fail as tests do"
)]

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use ovftransfer_simulator::LeaseState;
use ovftransfer_simulator::Scenario;
use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::Data;
use ovftransfer_simulator::scenario::DataKind;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Machine;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A simulated vCenter in this process, and a folder for files.
pub(crate) struct Lab {
    pub(crate) simulator: Simulator,
    pub(crate) folder: TempDir,
    _runtime: Runtime,
    machines: usize,
}

impl Lab {
    /// A vCenter from a scenario in JSON.
    pub(crate) fn new(scenario: &str) -> Self {
        let scenario = Scenario::from_json(scenario).unwrap();
        let inside: usize = scenario.vapps.iter().map(|vapp| vapp.machines.len()).sum();
        let machines = scenario.machines.len() + inside;
        let runtime = Runtime::new().unwrap();
        let simulator =
            runtime.block_on(async { Simulator::builder().scenario(scenario).start().await });
        let folder = tempfile::tempdir().unwrap();
        Self { simulator: simulator.unwrap(), folder, _runtime: runtime, machines }
    }

    /// Path of a file in the lab's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A package with two small disks, in a folder of its own; returns the descriptor.
    pub(crate) fn package(&self) -> PathBuf {
        self.package_of(&[2, 1])
    }

    /// A package with disks that hold so many MiB of incompressible data.
    pub(crate) fn package_of(&self, disks_mib: &[u64]) -> PathBuf {
        let folder = self.path("package");
        fs::create_dir(&folder).unwrap();
        appliance(disks_mib).write_folder(&folder).unwrap().path().to_owned()
    }

    /// The same as an OVA.
    pub(crate) fn ova(&self) -> PathBuf {
        let path = self.path("appliance.ova");
        appliance(&[2, 1]).write_ova(&path).unwrap();
        path
    }

    /// The program, pointed at the lab's server.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = ours();
        command
            .args(args)
            .env("OVFTRANSFER_URL", self.simulator.url())
            .env("OVFTRANSFER_USERNAME", self.simulator.username())
            .env("OVFTRANSFER_PASSWORD", self.simulator.password())
            .env("OVFTRANSFER_THUMBPRINT", self.simulator.thumbprint());
        command
    }

    /// The lab's server as a locator, without a path.
    pub(crate) fn locator(&self) -> String {
        self.simulator.url().replace("https://", "vi://")
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        Done::of(&self.command(args).output().unwrap())
    }

    /// Imports a package with everything that has to be said.
    pub(crate) fn import(&self, package: &Path, name: &str) -> Done {
        self.run(&import_args(package, name))
    }

    /// Nothing that was begun has stayed: no machine, no lease, no session.
    #[track_caller]
    pub(crate) fn expect_untouched(&self) {
        self.expect_machines(self.machines);
    }

    /// So many machines, and nothing under way.
    #[track_caller]
    pub(crate) fn expect_machines(&self, count: usize) {
        let names: Vec<_> = self.simulator.vms().into_iter().map(|vm| vm.name).collect();
        assert_eq!(names.len(), count, "{names:?}");
        assert!(self.simulator.vms().iter().all(|vm| !vm.is_leased));
        for lease in self.simulator.leases() {
            assert!(matches!(lease.state, LeaseState::Done | LeaseState::Error), "{lease:?}");
        }
        assert_eq!(self.simulator.sessions().len(), 0);
    }

    /// So many machines, and nothing under way; sessions of killed runs idle on.
    #[track_caller]
    pub(crate) fn expect_machines_left(&self, count: usize) {
        assert_eq!(self.simulator.vms().len(), count);
        assert!(self.simulator.vms().iter().all(|vm| !vm.is_leased));
    }

    /// The content of a machine's disks.
    pub(crate) fn digests(&self, name: &str) -> Vec<String> {
        let vms = self.simulator.vms();
        let vm = vms.iter().find(|vm| vm.name == name).unwrap();
        vm.disks.iter().map(|disk| disk.digest().unwrap().raw_sha256).collect()
    }
}

/// Arguments that import a package under a name.
pub(crate) fn import_args<'a>(package: &'a Path, name: &'a str) -> [&'a str; 10] {
    [
        "import",
        text(package),
        "/DC0/host/Cluster0",
        "--name",
        name,
        "--datastore",
        "datastore0",
        "--network",
        "VM Network",
        "--json",
    ]
}

/// A machine with disks that hold so many MiB of incompressible data.
pub(crate) fn appliance(disks_mib: &[u64]) -> Appliance {
    let mut machine = Machine::new("appliance");
    for (seed, amount) in (1..).zip(disks_mib) {
        let data = Data::new(DataKind::Random, amount << 20, seed);
        machine.disks.push(DiskSpec::new(16 << 20).with_data(data));
    }
    machine.networks = vec!["VM Network".to_owned()];
    Appliance::new(machine)
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(output: &Output) -> Self {
        let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (utf8(&output.stdout), utf8(&output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }

    /// The exit code, and for failures one message that has these words.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        let errors: Vec<_> =
            self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), usize::from(code != 0), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }

    /// The objects of the JSON output.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let parse =
            |line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The first object of a type.
    #[track_caller]
    pub(crate) fn object(&self, kind: &str) -> Value {
        let objects = self.objects();
        objects.into_iter().find(|object| object["type"] == kind).expect(kind)
    }
}

/// The program, with nothing of the caller's environment that it would read.
pub(crate) fn ours() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovftransfer"));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("GOVC_") || text.starts_with("OVFTRANSFER_") {
            command.env_remove(&name);
        }
    }
    command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.stdin(Stdio::null());
    command
}

/// Starts the program with its output kept.
pub(crate) fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Sends a signal to a process of ours.
pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Waits until something holds; fails after half a minute.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = now() + Duration::from_secs(30);
    while !holds() {
        assert!(now() < deadline, "waited in vain: {what}");
        pause(Duration::from_millis(5));
    }
}

#[expect(clippy::disallowed_methods, reason = "no runtime whose clock could be asked")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "no runtime that could be blocked")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Replaces a text that must be in a file.
#[track_caller]
pub(crate) fn replace(path: &Path, from: &str, to: &str) {
    let before = fs::read_to_string(path).unwrap();
    assert!(before.contains(from), "{}", path.display());
    fs::write(path, before.replace(from, to)).unwrap();
}

#[track_caller]
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
