//! Foreign programs judge what we read and write.
//!
//! `mkfs.ext4` and `qemu-img` make a real disk, `qemu-img`, `sha256sum` and `openssl` look at what
//! comes back, `vcsim` is the server of somebody else, govc and pyvmomi use ours.  A program that
//! is missing is named and its test skipped; with `OVFTRANSFER_REQUIRE_PEERS=1` it is an error.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that fails says so by a panic"
)]
#![expect(clippy::disallowed_methods, reason = "no runtime: these tests wait for processes")]
#![expect(clippy::print_stdout, reason = "what was skipped is said")]

mod converts;
mod exports;
mod networks;

use std::env;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

/// A real file system goes in as qemu-img writes it, and comes back with the same content.
#[test]
fn a_file_system_made_by_mkfs_survives_the_round_trip() {
    if !have(&["mkfs.ext4", "qemu-img", "sha256sum", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let raw = ext4_image(folder.path());
    let package = package_of(&raw, folder.path());
    let server = Server::simulate();

    server.import(&package, "fs").expect_code(0);
    let out = folder.path().join("out");
    server.run(&["export", "/DC0/vm/fs", text(&out)]).expect_code(0);

    let back = only_file(&out, "vmdk");
    tool("qemu-img", &["check", text(&back)]);
    tool("qemu-img", &["compare", "-f", "raw", "-F", "vmdk", text(&raw), text(&back)]);
    server.run(&["verify", text(&out.join("fs/fs.ovf"))]).expect_code(0);

    let manifest = fs::read_to_string(out.join("fs/fs.mf")).unwrap();
    assert_eq!(manifest.lines().count(), 2, "{manifest}");
    for line in manifest.lines() {
        let (name, digest) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
        let file = out.join("fs").join(name);
        let sum = tool("sha256sum", &[text(&file)]);
        assert_eq!(sum.split(' ').next(), Some(digest), "sha256sum of {name}");
        let sum = tool("openssl", &["dgst", "-sha256", "-r", text(&file)]);
        assert_eq!(sum.split(' ').next(), Some(digest), "openssl of {name}");
    }
    assert_eq!(files_named(&out, "partial"), Vec::<PathBuf>::new());
}

/// The same package into somebody else's server.  One stream at a time: vcsim's process dies of
/// parallel uploads.
#[test]
fn our_client_imports_into_vcsim() {
    let Some(vcsim) = peer("vcsim") else { return };
    if !have(&["mkfs.ext4", "qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let raw = ext4_image(folder.path());
    let package = package_of(&raw, folder.path());
    let server = Server::vcsim(&vcsim);

    let done = server.import(&package, "fs");
    done.expect_code(0);
    let report = done.report();
    assert_eq!(report["files"][0]["by_server"], true, "{report}");

    // The name is taken now.
    server.import(&package, "fs").expect_code(12);

    // A digest that is wrong aborts, and the message says of which file.
    break_digest(&package.with_extension("mf"), "disk.vmdk");
    let failed = server.import(&package, "other");
    failed.expect_code(7);
    assert!(failed.stderr.contains("disk.vmdk"), "{}", failed.stderr);

    server.run(&["export", "/DC0/vm/no-such-machine", text(folder.path())]).expect_code(4);
}

/// What other people's clients are used for works against the command `simulate`: archives and
/// folders in, machines and snapshots out, and not a byte of a real file system is lost on the way.
#[test]
fn govc_and_pyvmomi_use_the_command_simulate() {
    let (Some(govc), Some(python)) = (peer("govc"), python()) else { return };
    if !have(&["mkfs.ext4", "qemu-img", "tar", "sha1sum"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let raw = ext4_image(folder.path());
    let descriptor = package_of(&raw, folder.path());
    // govc compares with the server's digests if they are of SHA-1.
    let manifest = manifest_of(&[&descriptor, &folder.path().join("disk.vmdk")], "SHA1", "sha1sum");
    fs::write(descriptor.with_extension("mf"), manifest).unwrap();
    let ova = folder.path().join("appliance.ova");
    let members = ["appliance.ovf", "appliance.mf", "disk.vmdk"];
    let start = ["--format=ustar", "-C", text(folder.path()), "-cf", text(&ova)];
    tool("tar", &[&start[..], &members].concat());
    let server = Server::simulate();
    let same = |name: &str, disk: &Path| {
        println!("{name}: {}", disk.display());
        tool("qemu-img", &["compare", "-f", "raw", "-F", "vmdk", text(&raw), text(disk)]);
    };

    for (wire, is_json) in [("soap", false), ("json", true)] {
        let govc = |args: &[&str]| server.govc(&govc, is_json, folder.path(), args);
        let out = folder.path().join(wire);
        let place = ["-ds", "datastore0", "-pool", "pool0", "-net", "VM Network", "-m", "-name"];
        let [archive, plain] = ["archive", "folder"].map(|kind| format!("{kind}-{wire}"));
        govc(&[&["import.ova"], &place[..], &[&archive, text(&ova)]].concat());
        govc(&[&["import.ovf"], &place[..], &[&plain, text(&descriptor)]].concat());
        for name in [&archive, &plain] {
            govc(&["export.ovf", "-sha", "256", "-i", "-vm", name, text(&out)]);
            same(name, &only_file(&out.join(name), "vmdk"));
            // As the size of a disk govc writes the capacity of all (govmomi 2297).
            server.run(&["verify", text(&out.join(name))]).expect_code(0);
            let manifest = fs::read_to_string(out.join(format!("{name}/{name}.mf"))).unwrap();
            let files = files_of(&out.join(name), &manifest);
            let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
            assert_eq!(files.len(), 2, "{manifest}");
            assert_eq!(manifest_of(&files, "SHA256", "sha256sum"), manifest);
        }
        govc(&["snapshot.create", "-vm", &plain, "then"]);
        govc(&["vm.power", "-on", &plain]);
        let snapshot = out.join("snapshot");
        fs::create_dir(&snapshot).unwrap();
        govc(&["snapshot.export", "-vm", &plain, "-d", text(&snapshot), "then"]);
        same("snapshot", &only_file(&snapshot, "vmdk"));
        assert!(govc(&["find", "/", "-type", "m"]).contains(&format!("/DC0/vm/{archive}")));
    }

    let out = folder.path().join("python");
    fs::create_dir(&out).unwrap();
    let said = server.python(&python, "deploy_ova.py", &[text(&ova), "from-python"]);
    assert!(said.contains("deployed"), "{said}");
    let said = server.python(&python, "export_vm.py", &["from-python", text(&out)]);
    assert!(said.contains("exported 1"), "{said}");
    same("from-python", &only_file(&out, "vmdk"));
    server.run(&["verify", text(&out.join("from-python.ovf"))]).expect_code(0);
}

/// A file system with a real tree on it: the sources of this workspace.
fn ext4_image(folder: &Path) -> PathBuf {
    let raw = folder.join("disk.raw");
    fs::File::create(&raw).unwrap().set_len(96 << 20).unwrap();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    tool("mkfs.ext4", &["-q", "-F", "-d", text(&tree), text(&raw)]);
    raw
}

/// A package around the image, its disk written by qemu-img, its digests by sha256sum.
fn package_of(raw: &Path, folder: &Path) -> PathBuf {
    let disk = folder.join("disk.vmdk");
    let format = ["-O", "vmdk", "-o", "subformat=streamOptimized"];
    tool("qemu-img", &[&["convert"], &format[..], &[text(raw), text(&disk)]].concat());
    let descriptor = folder.join("appliance.ovf");
    let filled = DESCRIPTOR
        .replace("@SIZE@", &fs::metadata(&disk).unwrap().len().to_string())
        .replace("@CAPACITY@", &fs::metadata(raw).unwrap().len().to_string());
    fs::write(&descriptor, filled).unwrap();
    let manifest = manifest_of(&[&descriptor, &disk], "SHA256", "sha256sum");
    fs::write(descriptor.with_extension("mf"), manifest).unwrap();
    descriptor
}

/// A manifest with the digests that the program `sum` computes.
fn manifest_of(files: &[&Path], kind: &str, sum: &str) -> String {
    let line = |file: &&Path| {
        let sum = tool(sum, &[text(file)]);
        let name = file.file_name().unwrap().to_str().unwrap();
        format!("{kind}({name})= {}\n", sum.split(' ').next().unwrap())
    };
    files.iter().map(line).collect()
}

/// The files that a manifest names, in its order.
fn files_of(folder: &Path, manifest: &str) -> Vec<PathBuf> {
    let name = |line: &str| line.split(['(', ')']).nth(1).unwrap().to_owned();
    manifest.lines().map(|line| folder.join(name(line))).collect()
}

/// Turns the first digit of one file's digest.
fn break_digest(manifest: &Path, file: &str) {
    let before = fs::read_to_string(manifest).unwrap();
    let start = format!("SHA256({file})= ");
    let at = before.find(&start).unwrap() + start.len();
    let digit = if before[at..].starts_with('0') { "1" } else { "0" };
    fs::write(manifest, format!("{}{digit}{}", &before[..at], &before[at + 1..])).unwrap();
}

/// A server in a process of its own, and how to reach it.
struct Server {
    process: Child,
    environment: Vec<(&'static str, String)>,
    datastore: &'static str,
    target: &'static str,
}

impl Server {
    fn simulate() -> Self {
        let mut process = ours().arg("simulate").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let answers: Value = serde_json::from_str(&line).unwrap();
        let field = |name: &str| answers[name].as_str().unwrap().to_owned();
        let environment = vec![
            ("OVFTRANSFER_URL", field("url")),
            ("OVFTRANSFER_USERNAME", field("username")),
            ("OVFTRANSFER_PASSWORD", field("password")),
            ("OVFTRANSFER_THUMBPRINT", field("thumbprint")),
        ];
        Self { process, environment, datastore: "datastore0", target: "/DC0/host/Cluster0" }
    }

    fn vcsim(program: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut process = Command::new(program)
            .args(["-l", &address])
            .args(["-username", "user", "-password", "pass"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "vcsim does not listen");
            assert!(process.try_wait().unwrap().is_none(), "vcsim ended");
            std::thread::sleep(Duration::from_millis(50));
        }
        let environment = vec![
            ("OVFTRANSFER_URL", format!("https://{address}/sdk")),
            ("OVFTRANSFER_USERNAME", "user".to_owned()),
            ("OVFTRANSFER_PASSWORD", "pass".to_owned()),
            ("OVFTRANSFER_INSECURE", "1".to_owned()),
        ];
        Self { process, environment, datastore: "LocalDS_0", target: "/DC0/host/DC0_C0" }
    }

    fn import(&self, package: &Path, name: &str) -> Done {
        let place = ["--datastore", self.datastore, "--network", "VM Network"];
        let how = ["--name", name, "--parallel", "1", "--json"];
        self.run(&[&["import", text(package), self.target], &place[..], &how[..]].concat())
    }

    /// Runs govc, which must succeed; returns what it printed.
    fn govc(&self, program: &Path, is_json: bool, home: &Path, args: &[&str]) -> String {
        let value = |name: &str| {
            let found = self.environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_str()).unwrap()
        };
        let json = [("GOVC_VI_JSON", "1"), ("GOVC_VIM_VERSION", "8.0.3.0")];
        let output = Command::new(program)
            .args(args)
            .env_clear()
            .env("GOVC_URL", format!("{}/sdk", value("OVFTRANSFER_URL")))
            .env("GOVC_USERNAME", value("OVFTRANSFER_USERNAME"))
            .env("GOVC_PASSWORD", value("OVFTRANSFER_PASSWORD"))
            .env("GOVC_INSECURE", "1")
            .env("GOVC_PERSIST_SESSION", "false")
            .env("HOME", home)
            .envs(json.into_iter().filter(|_| is_json))
            .output()
            .unwrap();
        let done = Done::of(&output);
        assert_eq!(done.code, Some(0), "govc {args:?}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// Runs one of the simulator's scripts, which must succeed; returns what it printed.
    fn python(&self, program: &Path, script: &str, args: &[&str]) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../simulator/tests/pyvmomi");
        let address = self.environment[0].1.strip_prefix("https://").unwrap();
        let output = Command::new(program)
            .arg(folder.join(script))
            .args(args)
            .env("SIM_HOST", address)
            .env("SIM_USER", &self.environment[1].1)
            .env("SIM_PASSWORD", &self.environment[2].1)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        let done = Done::of(&output);
        assert_eq!(done.code, Some(0), "{script} {args:?}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    fn run(&self, args: &[&str]) -> Done {
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        Done::of(&ours().args(args).envs(environment).output().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// What a run of our program left.
struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Done {
    fn of(output: &Output) -> Self {
        let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (utf8(&output.stdout), utf8(&output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }

    #[track_caller]
    fn expect_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
    }

    fn report(&self) -> Value {
        let lines = self.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.into_iter().find(|line| line["type"] == "report").expect("no report")
    }
}

/// Our program, with nothing of the caller's environment that it would read.
fn ours() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovftransfer"));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("GOVC_") || text.starts_with("OVFTRANSFER_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a foreign program that must succeed; returns what it printed.
#[track_caller]
fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(peer(program).unwrap()).args(args).output().unwrap();
    let done = Done::of(&output);
    assert_eq!(done.code, Some(0), "{program} {args:?}: {}{}", done.stdout, done.stderr);
    done.stdout
}

fn have(programs: &[&str]) -> bool {
    programs.iter().all(|program| peer(program).is_some())
}

/// A foreign program: built for the tests, or installed.
fn peer(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin".into(), "/sbin".into()];
    find(program, built().chain(env::split_paths(&path)).chain(system))
}

/// A python3 that has pyvmomi, as the one of the system has not.
fn python() -> Option<PathBuf> {
    find("python3", built())
}

/// Folders of the programs that were built for the tests.
fn built() -> impl Iterator<Item = PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/peers");
    let folders = env::var_os("OVFTRANSFER_PEERS").map(PathBuf::from).into_iter().chain([own]);
    folders.map(|folder| folder.join("bin"))
}

fn find(program: &str, mut folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let found = folders.find_map(|folder| Some(folder.join(program)).filter(|file| file.is_file()));
    if found.is_none() {
        let required = env::var_os("OVFTRANSFER_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!required, "{program} is required and missing");
        println!("skipped: {program} is not installed");
    }
    found
}

fn only_file(folder: &Path, extension: &str) -> PathBuf {
    let mut files = files_named(folder, extension);
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn files_named(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_named(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

#[track_caller]
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const DESCRIPTOR: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References><File ovf:href="disk.vmdk" ovf:id="file1" ovf:size="@SIZE@"/></References>
  <DiskSection>
    <Info>Disks</Info>
    <Disk ovf:capacity="@CAPACITY@" ovf:diskId="disk1" ovf:fileRef="file1"
      ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection><Info>Networks</Info>
    <Network ovf:name="inside"><Description>The only one</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="fs">
    <Info>A machine with a file system</Info>
    <Name>fs</Name>
    <OperatingSystemSection ovf:id="101"><Info>Guest</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>fs</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:ElementName>1 virtual CPU</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>1</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:ElementName>256 MB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>256</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SCSI controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Hard disk 1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/disk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>inside</rasd:Connection>
        <rasd:ElementName>Ethernet 1</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#;
