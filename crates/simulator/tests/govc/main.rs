//! govc drives the simulator: a foreign client judges the server, once on each wire.
//!
//! govc is looked up in `$OVFTRANSFER_PEERS/bin`, `<workspace>/.ci/peers/bin` and `PATH`.  Where it
//! is missing the tests say so and pass, unless `OVFTRANSFER_REQUIRE_PEERS` is 1.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

macro_rules! on_each_wire {
    ($($name:ident)*) => {
        mod soap {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(crate::Wire::Soap).await;
                }
            )*
        }

        mod vi_json {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(crate::Wire::ViJson).await;
                }
            )*
        }
    };
}

mod browse;
mod esxi;
mod export;
mod import;
mod options;
#[path = "../support/mod.rs"]
mod support;
mod vapps;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::{Data, DataKind, DiskSpec, Machine, Size};
use ovftransfer_simulator::{Simulator, VmState};
use ovftransfer_vmdk::GrainReader;
use sha2::{Digest, Sha256};

use support::peers;

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
        let program = peers::find("govc", true)?;
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

fn appliance() -> Appliance {
    Appliance::new(machine())
}

/// A machine of two disks with NVRAM, `appliance`.
fn machine() -> Machine {
    let mut machine = Machine::new("appliance");
    machine.networks = vec!["VM Network".to_owned()];
    machine.nvram = Size::from_bytes(8684);
    machine.disks = vec![
        DiskSpec::new(48 << 20).with_data(Data::new(DataKind::Mixed, 24 << 20, 11)),
        DiskSpec::new(16 << 20).with_data(Data::new(DataKind::Random, 3 << 20, 12)),
    ];
    machine
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

/// The machine of this name.
#[track_caller]
fn vm(simulator: &Simulator, name: &str) -> VmState {
    simulator.vms().into_iter().find(|vm| vm.name == name).unwrap()
}

/// SHA-256 of the raw content of each disk that the server has stored.
fn stored(vm: &VmState) -> Vec<String> {
    vm.disks.iter().map(|disk| disk.digest().unwrap().raw_sha256).collect()
}

/// Digests of a manifest by file, compared with those that the program `sum` computes.
#[track_caller]
fn check_manifest(manifest: &Path, kind: &str, sum: &str) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    for line in fs::read_to_string(manifest).unwrap().lines() {
        let line = line.strip_prefix(kind).and_then(|rest| rest.strip_prefix('(')).unwrap();
        let (name, digest) = line.split_once(")= ").unwrap();
        let file = manifest.with_file_name(name);
        let computed = peers::tool(sum, &[file.to_str().unwrap()]);
        assert_eq!(computed.split(' ').next(), Some(digest), "{name}");
        lines.insert(name.to_owned(), digest.to_owned());
    }
    lines
}

/// Writes a manifest with the digests that `sum` computes, in place of the one that is there.
fn write_manifest(descriptor: &Path, kind: &str, sum: &str) {
    let folder = descriptor.parent().unwrap();
    let manifest = descriptor.with_extension("mf");
    let mut text = String::new();
    for file in walk(folder).into_iter().filter(|file| *file != manifest) {
        let computed = peers::tool(sum, &[file.to_str().unwrap()]);
        let name = file.file_name().unwrap().to_str().unwrap();
        text += &format!("{kind}({name})= {}\n", computed.split(' ').next().unwrap());
    }
    fs::write(manifest, text).unwrap();
}

/// Packs a folder into an OVA with the program of the system.
fn tar(descriptor: &Path) -> PathBuf {
    let folder = descriptor.parent().unwrap();
    let ova = folder.with_extension("ova");
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    // The descriptor comes first (DSP0243 1.1.0 §5.3).
    let others = walk(folder).into_iter().filter(|file| file != descriptor);
    let names: Vec<String> =
        [name(descriptor)].into_iter().chain(others.map(|file| name(&file))).collect();
    let start = ["--format=ustar", "-C", folder.to_str().unwrap(), "-cf", ova.to_str().unwrap()];
    let arguments: Vec<&str> = start.into_iter().chain(names.iter().map(String::as_str)).collect();
    peers::tool("tar", &arguments);
    ova
}
