//! `inspect`, `spec`, `ls`, and options in a file: what is there is told before anything moves.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

mod support;

use support::Done;
use support::Lab;
use support::files;
use support::import_args;
use support::now;
use support::ours;
use support::text;

const EMPTY: &str = r#"{"machines": []}"#;

const WIRES: [&str; 2] = ["json", "soap"];

/// A package with everything that can be told about one; its disk is not there.
const RICH: &str = include_str!("data/rich.ovf");

const VMW: &str = "http://www.vmware.com/schema/ovf";

fn run(args: &[&str]) -> Done {
    Done::of(&ours().args(args).output().unwrap())
}

#[test]
fn inspect_tells_what_an_administrator_wants_to_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rich.ovf");
    fs::write(&path, RICH).unwrap();
    let done = run(&["inspect", text(&path), "--json"]);
    done.expect(0, &[]);
    let expected = json!({
        "version": 1,
        "type": "package",
        "package": text(&path),
        "form": "folder",
        "descriptor": "rich.ovf",
        "ovf": "1",
        "bytes": RICH.len(),
        "is_whole": true,
        "has_manifest": false,
        "has_certificate": false,
        "missing": ["disk.vmdk", "vm.nvram"],
        "outside": ["https://example.com/tools.iso"],
        "products": [{
            "class": "app", "name": "Appliance", "vendor": "Example", "product_version": "1.2",
            "full_version": "1.2.3",
        }],
        "collections": [{ "id": "suite", "startup": [{
            "id": "web", "order": 2, "start_delay_s": 30, "waits_for_guest": true,
        }] }],
        "machines": [{
            "id": "web", "name": "Web server", "collection": "suite", "cpus": 8, "memory_bytes": 2_147_483_648_u64,
            "os": "Debian 12", "os_type": "debian12_64Guest", "hardware": "vmx-19",
            "disks": ["d1"],
            "adapters": [{ "name": "Ethernet 1", "adapter": "VmxNet3", "networks": ["lan"] }],
            "controllers": [
                { "name": "SCSI 0", "kind": "scsi", "model": "VirtualSCSI", "address": "0", "description": "VMware paravirtual SCSI" },
            ],
            "devices": [{ "name": "CD 1", "kind": "cd" }],
            "ranges": [{ "resource": "Processor", "bound": "max", "quantity": 16 }],
            "transports": ["iso"],
            "settings": [{ "key": "firmware", "value": "efi", "is_required": false }],
            "boot_order": [{ "kind": "disk", "instance": "3" }],
            "install": { "initial_boot": true, "stop_delay_s": 0 },
        }],
        "files": [
            { "id": "f1", "file": "disk.vmdk", "promised_bytes": 1_048_576 },
            { "id": "f3", "file": "vm.nvram", "compression": "gzip", "chunk_bytes": 1000 },
        ],
        "disks": [
            {
                "id": "d1", "file": "disk.vmdk", "capacity_bytes": 8_589_934_592_u64,
                "populated_bytes": 4096, "download_bytes": 1_048_576,
                "format": "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
            },
            { "id": "d2", "capacity_bytes": 1_073_741_824, "capacity_property": "app.size" },
        ],
        "networks": [{ "name": "lan", "description": "Inside" }],
        "properties": [
            {
                "key": "app.port", "kind": "uint16", "default": "80", "defaults": [{ "configuration": "large", "default": "8080" }],
                "is_user_configurable": true, "is_password": false, "category": "Access",
                "label": "Port\u{9b}31m",
            },
            {
                "key": "app.size", "kind": "uint16", "default": "1", "is_user_configurable": false,
                "is_password": false, "category": "Access",
            },
            {
                "key": "app.secret", "kind": "string", "is_user_configurable": false,
                "is_password": true, "category": "Access",
            },
        ],
        "configurations": [
            { "id": "small", "label": "Small", "description": "For a test", "is_default": false },
            { "id": "large", "label": "Large", "is_default": true },
        ],
        "eulas": [{ "info": "Terms", "bytes": 4 }],
        "ip_assignment": { "protocols": ["IPv4"], "schemes": ["dhcp", "ovfenv"] },
        "sections": [
            { "name": "IpAssignmentSection", "namespace": VMW, "is_required": true },
            { "name": "BootOrderSection", "namespace": VMW, "is_required": true },
            {
                "name": "AuditSection", "namespace": "urn:example", "is_required": true,
                "info": "Who may read",
            },
        ],
        "languages": ["de-DE"],
    });
    assert_eq!(done.objects(), [expected]);

    let done = run(&["inspect", text(&path)]);
    done.expect(0, &[]);
    for words in [
        "Appliance 1.2.3, Example",
        "no manifest",
        "Web server  8 CPUs  2.0 GiB  Debian 12  vmx-19",
        "8.0 GiB  1.0 MiB to download  4.0 KiB used  streamOptimized  disk.vmdk  Web server",
        "2  web    then 30 s  or until its guest is ready",
        "SCSI 0  scsi  VirtualSCSI",
        "dhcp, ovfenv  IPv4",
        "vm.nvram",
        "1.0 GiB  empty",
        "Ethernet 1  VmxNet3  lan",
        "Large  default",
        "= 80",
        "Port 31m",
        "(password)",
        "Terms  4 B",
        "AuditSection         Who may read  must be understood, and is not of VMware",
        "missing files",
    ] {
        assert!(done.stdout.contains(words), "no {words:?} in {}", done.stdout);
    }
    assert!(!done.stdout.contains("hunter2") && !done.stdout.contains('\u{9b}'), "{}", done.stdout);
}

#[test]
fn inspect_reads_the_headers_of_an_ova_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.ova");
    let mut ova = File::create(&path).unwrap();
    let pad = |len: u64| len.next_multiple_of(512) - len;
    let descriptor = RICH.replace("1048576", &LARGE_BYTES.to_string());
    ova.write_all(&header("vm.ovf", descriptor.len() as u64)).unwrap();
    ova.write_all(descriptor.as_bytes()).unwrap();
    ova.write_all(&vec![0; usize::try_from(pad(descriptor.len() as u64)).unwrap()]).unwrap();
    ova.write_all(&header("disk.vmdk", LARGE_BYTES)).unwrap();
    let len_bytes = ova.metadata().unwrap().len() + LARGE_BYTES + 1024;
    ova.set_len(len_bytes).unwrap();
    drop(ova);

    let started = now();
    let done = run(&["inspect", text(&path), "--json"]);
    let took = started.elapsed();
    done.expect(0, &[]);
    let package = done.object("package");
    assert_eq!((&package["form"], &package["bytes"]), (&json!("ova"), &json!(len_bytes)));
    assert_eq!(package["disks"][0]["download_bytes"], LARGE_BYTES);
    // To read as much takes minutes.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// What a process has read is in a file of the system, its children included.
#[cfg(target_os = "linux")]
#[test]
fn inspect_reads_next_to_nothing_of_a_large_ova() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.ova");
    let lab_ova = {
        let lab = Lab::new(EMPTY);
        fs::read(lab.ova()).unwrap()
    };
    // A third file, of 6 GiB, after a real package.
    let mut ova = File::create(&path).unwrap();
    ova.write_all(&lab_ova[..lab_ova.len() - 1024]).unwrap();
    ova.write_all(&header("extra.bin", 6 << 30)).unwrap();
    ova.set_len(ova.metadata().unwrap().len() + (6 << 30) + 1024).unwrap();
    drop(ova);
    let count = |command: &str| -> u64 {
        let script = format!("{command} >/dev/null || exit 1; cat /proc/$$/io");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script]).env("OVFTRANSFER", env!("CARGO_BIN_EXE_ovftransfer"));
        let done = Done::of(&shell.env("OVA", &path).output().unwrap());
        done.expect(0, &[]);
        let read = done.stdout.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        read.parse().unwrap()
    };
    let nothing = count("$OVFTRANSFER --version");
    let inspect = count("$OVFTRANSFER inspect \"$OVA\"");
    assert!(inspect - nothing < 256 << 10, "{inspect} bytes read, {nothing} without a package");
}

#[test]
fn a_package_is_looked_at_in_a_pipe() {
    let lab = Lab::new(EMPTY);
    let ova = fs::read(lab.ova()).unwrap();
    let piped = |args: &[&str], bytes: &[u8]| {
        let mut command = ours();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It stops reading early, which breaks the pipe.
        drop(child.stdin.take().unwrap().write_all(bytes));
        Done::of(&child.wait_with_output().unwrap())
    };
    let done = piped(&["inspect", "-", "--json"], &ova);
    done.expect(0, &[]);
    let package = done.object("package");
    assert_eq!(package["package"], "standard input");
    assert_eq!((&package["is_whole"], &package["has_manifest"]), (&json!(false), &json!(true)));
    assert_eq!((&package["has_certificate"], &package["bytes"]), (&Value::Null, &Value::Null));
    assert_eq!(package["missing"], Value::Null);
    let done = piped(&["inspect", "-"], &ova);
    done.expect(0, &[]);
    let words = "standard input: OVA of unknown size, a manifest, no certificate before the first";
    assert!(done.stdout.contains(words), "{}", done.stdout);
    let done = piped(&["spec", "-"], &ova);
    done.expect(0, &[]);
    let options: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(options["NetworkMapping"], json!([{ "Name": "VM Network", "Network": "" }]));
    for command in ["inspect", "spec"] {
        piped(&[command, "-"], b"no package").expect(6, &["standard input"]);
        piped(&[command, "-"], b"").expect(6, &["standard input"]);
    }
}

/// A ustar header of a file; sizes of 8 GiB and more as GNU writes them.
fn header(name: &str, size_bytes: u64) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124] = 0x80;
    header[128..136].copy_from_slice(&size_bytes.to_be_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar  \0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// As large as a disk may be without the file system of a test minding: 1 TiB, all of it a hole.
const LARGE_BYTES: u64 = 1 << 40;

#[test]
fn a_draft_is_looked_at_like_the_standard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("draft.ovf");
    let draft = "<e:Envelope xmlns:e='http://www.vmware.com/schema/ovf/1/envelope' \
                 xmlns:i='http://www.w3.org/2001/XMLSchema-instance'><References/>\
                 <Section i:type='e:NetworkSection_Type'><Network e:name='lan'/></Section>\
                 <Content i:type='e:VirtualSystem_Type' e:id='old'/></e:Envelope>";
    fs::write(&path, draft).unwrap();
    let seen = run(&["inspect", "--json", text(&path)]);
    seen.expect(0, &[]);
    let seen: Value = serde_json::from_str(&seen.stdout).unwrap();
    assert_eq!((&seen["ovf"], &seen["machines"][0]["id"]), (&json!("0.9"), &json!("old")));
    let spec: Value = serde_json::from_str(&run(&["spec", text(&path)]).stdout).unwrap();
    assert_eq!(spec["NetworkMapping"][0]["Name"], "lan");
    run(&["verify", text(&path)]).expect(0, &[]);
}

/// To open a pipe is to wait for somebody who writes into it.
#[cfg(unix)]
#[test]
fn a_pipe_with_a_name_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.vmdk");
    for name in ["f.ova", "f.vmdk", "f.ovf"] {
        let pipe = folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for command in ["inspect", "verify", "lint", "convert"] {
            let mut args = vec![command, text(&pipe)];
            args.extend((command == "convert").then(|| text(&out)));
            let done = run(&args);
            assert!(done.stderr.contains("not a regular file"), "{args:?}: {}", done.stderr);
        }
    }
}

#[test]
fn what_is_no_package_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ovf");
    for command in ["inspect", "spec"] {
        run(&[command, text(&path)]).expect(14, &["a.ovf"]);
        fs::write(&path, "<Envelope/>").unwrap();
        run(&[command, text(&path)]).expect(6, &["a.ovf", "line 1"]);
        run(&[command, text(folder.path())]).expect(6, &["line 1"]);
        fs::write(&path, RICH).unwrap();
        let manifest = path.with_extension("mf");
        fs::write(&manifest, format!("SHA1(a.ovf)= {}\n", "0".repeat(40))).unwrap();
        run(&[command, text(&path)]).expect(7, &["a.ovf", "manifest"]);
        fs::remove_file(&manifest).unwrap();
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn spec_prints_options_that_import_takes() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let done = lab.run(&["spec", text(&package)]);
    done.expect(0, &[]);
    let mut options: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(options["NetworkMapping"], json!([{ "Name": "VM Network", "Network": "" }]));
    assert_eq!(options["Name"], Value::Null);
    let line = lab.run(&["spec", text(&package), "--json"]);
    assert_eq!(line.stdout.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Value>(&line.stdout).unwrap(), options);

    options["Name"] = json!("by-file");
    options["NetworkMapping"][0]["Network"] = json!("Storage Network");
    options["Strange"] = json!(1);
    let file = lab.path("options.json");
    fs::write(&file, options.to_string()).unwrap();
    for wire in WIRES {
        let import = |more: &[&str]| {
            let place = ["import", text(&package), "/DC0/host/Cluster0", "--wire", wire];
            let store = ["--datastore", "datastore0", "--json", "--dry-run"];
            lab.run(&[&place[..], &store[..], more].concat())
        };
        let done = import(&["--options", text(&file)]);
        done.expect(0, &["warning: Strange"]);
        assert_eq!(done.object("plan")["name"], "by-file");
        let done = import(&["--options", text(&file), "--name", "by-flag"]);
        assert_eq!(done.object("plan")["name"], "by-flag");
        import(&["--options", text(&lab.path("none.json"))]).expect(14, &["none.json"]);
        fs::write(lab.path("bad.json"), "{\"PowerOn\": 1}").unwrap();
        import(&["--options", text(&lab.path("bad.json"))]).expect(2, &["bad.json", "boolean"]);
    }
    lab.expect_untouched();
}

#[test]
fn import_takes_options_from_a_file_and_from_standard_input() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let options = json!({
        "DiskProvisioning": "thin",
        "NetworkMapping": [{ "Name": "VM Network", "Network": "Storage Network" }],
        "Name": "by-file",
    });
    let file = lab.path("options.json");
    fs::write(&file, options.to_string()).unwrap();
    let place = ["import", text(&package), "/DC0/host/Cluster0", "--datastore", "datastore0"];
    lab.run(&[&place[..], &["--options", text(&file)]].concat()).expect(0, &[]);

    let mut child = lab
        .command(&[&place[..], &["--options", "-", "--name", "by-flag"]].concat())
        .env("GOVC_NETWORK", "VM Network")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(options.to_string().as_bytes()).unwrap();
    Done::of(&child.wait_with_output().unwrap()).expect(0, &[]);

    lab.run(&[&import_args(&package, "all-flags")[..], &["--options", text(&file)]].concat())
        .expect(0, &[]);
    let networks: BTreeMap<String, Vec<String>> =
        lab.simulator.vms().into_iter().map(|vm| (vm.name, vm.networks)).collect();
    assert_eq!(networks["by-file"], ["Storage Network"]);
    assert_eq!(networks["by-flag"], ["Storage Network"], "a file beats a variable");
    assert_eq!(networks["all-flags"], ["VM Network"], "a flag beats a file");
    lab.expect_machines(3);
}

#[test]
fn ls_prints_paths_that_lead_back() {
    let scenario = r#"{"machines": [
        {"name": "old one/100%", "folder": "backup/daily"}, {"name": "new"}]}"#;
    let lab = Lab::new(scenario);
    let mut first: Option<Vec<Value>> = None;
    for wire in WIRES {
        let done = lab.run(&["ls", "/", "--json", "--wire", wire]);
        done.expect(0, &[]);
        let objects = done.objects();
        let by_path = |path: &str| {
            objects.iter().find(|object| object["path"] == path).unwrap_or_else(|| panic!("{path}"))
        };
        assert_eq!(by_path("/DC0")["type"], "Datacenter");
        assert_eq!(by_path("/DC0/vm/backup/daily")["type"], "Folder");
        assert_eq!(by_path("/DC0/datastore/datastore0")["type"], "Datastore");
        assert_eq!(by_path("/DC0/network/VM%20Network")["name"], "VM Network");
        assert_eq!(by_path("/DC0/host/Cluster0")["type"], "ClusterComputeResource");
        assert_eq!(by_path("/DC0/host/Cluster0/Resources/pool0")["type"], "ResourcePool");
        assert_eq!(by_path("/DC0/host/Cluster0/host1")["type"], "HostSystem");
        let machine = by_path("/DC0/vm/backup/daily/old%20one%2f100%25");
        assert_eq!((&machine["type"], &machine["version"]), (&json!("VirtualMachine"), &json!(1)));
        assert_eq!(machine["name"], "old one/100%");
        assert_eq!(machine["powerState"], "poweredOff");
        assert!(machine["moref"].as_str().unwrap().starts_with("VirtualMachine:"));
        assert_eq!(by_path("/DC0")["powerState"], Value::Null);
        let at = |path| objects.iter().position(|object| object["path"] == path);
        assert!(at("/DC0/vm/backup") < at("/DC0/vm/backup/daily"), "parents first");
        match &first {
            None => first = Some(objects),
            Some(first) => assert_eq!(*first, objects),
        }

        // Each path is a place again.
        let server = lab.locator();
        for object in first.iter().flatten() {
            let place = format!("{server}{}", object["path"].as_str().unwrap());
            let again = lab.run(&["ls", &place, "--json", "--wire", wire]);
            again.expect(0, &[]);
            assert_eq!(again.objects()[0]["moref"], object["moref"], "{place}");
        }
    }
    // Also without the server.
    for path in ["/DC0/vm/backup/daily/old%20one%2f100%25", "/DC0/vm/backup/daily/old one%2f100%"] {
        lab.run(&["ls", path]).expect(0, &[]);
    }

    let done = lab.run(&["ls", "/DC0", "--type", "vm", "--type", "datacenter"]);
    done.expect(0, &[]);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", done.stdout);
    assert!(lines[0].starts_with("/DC0  ") && lines[0].ends_with("Datacenter"), "{}", lines[0]);
    assert!(lines[1..].iter().all(|line| line.ends_with("VirtualMachine  poweredOff")));
    lab.run(&["ls", "/DC0/vm/nothing"]).expect(4, &["nothing"]);
    lab.expect_untouched();
}

#[test]
fn what_is_of_another_kind_is_said_to_be() {
    let lab = Lab::new(
        r#"{"machines": [{"name": "small", "folder": "backup"}],
        "vapps": [{"name": "suite", "machines": []}]}"#,
    );
    let ova = lab.ova();
    let out = lab.path("b.ova");
    let vapp = format!("{}/DC0/vm/suite", lab.locator());
    for (args, words) in [
        (vec!["export", "/DC0/vm/backup", text(&out)], "is a folder, not a machine or a vApp"),
        (vec!["export", "/DC0/vm/backup/small/x", text(&out)], "small on"),
        (vec!["import", text(&ova), "/DC0/vm/backup/small"], "is a machine, not a cluster, a"),
        (vec!["inspect", &vapp], "is a vApp, not a machine"),
    ] {
        let done = lab.run(&args);
        done.expect(4, &[words]);
        assert!(!done.stderr.contains("not found"), "{}", done.stderr);
    }
}

#[test]
fn a_vapp_has_two_places_and_one_content() {
    let lab = Lab::new(
        r#"{"machines": [], "vapps": [{"name": "suite", "machines": [{"name": "a"}, {"name": "b"}]}]}"#,
    );
    for wire in WIRES {
        let done =
            lab.run(&["ls", "/", "--json", "--wire", wire, "--type", "vapp", "--type", "vm"]);
        done.expect(0, &[]);
        let objects = done.objects();
        let of_type = |kind: &str| -> Vec<&Value> {
            objects.iter().filter(|object| object["type"] == kind).collect()
        };
        let vapps = of_type("VirtualApp");
        assert_eq!(vapps.len(), 2, "{objects:?}");
        assert_eq!(vapps[0]["moref"], vapps[1]["moref"]);
        let machines = of_type("VirtualMachine");
        assert_eq!(machines.len(), 2, "{objects:?}");
        for machine in machines {
            let path = machine["path"].as_str().unwrap();
            assert!(path.starts_with(vapps[0]["path"].as_str().unwrap()), "{path}");
            assert_eq!(machine["powerState"], "poweredOff");
        }
    }
}

#[test]
fn ls_and_inspect_work_on_a_bare_host() {
    let lab = Lab::new(
        r#"{"esxi": true, "hosts": [{"name": "esxi0"}], "machines": [
        {"name": "web", "disks": [{"capacity": "8 MiB"}]}]}"#,
    );
    let done = lab.run(&["ls", "/", "--json", "--type", "vm"]);
    done.expect(0, &[]);
    let objects = done.objects();
    let [machine] = &objects[..] else { panic!("{objects:?}") };
    assert_eq!(machine["name"], "web");
    let server = lab.locator();
    let place = format!("{server}{}", machine["path"].as_str().unwrap());
    let done = lab.run(&["inspect", &place, "--json"]);
    done.expect(0, &[]);
    let told = done.object("machine");
    assert_eq!((&told["name"], &told["powerState"]), (&json!("web"), &json!("poweredOff")));
    assert_eq!(told["disks"][0]["capacity_bytes"], 8 << 20);
    let done = lab.run(&["inspect", &place]);
    done.expect(0, &[]);
    assert!(done.stdout.starts_with("web (VirtualMachine:"), "{}", done.stdout);
    lab.run(&["inspect", &server]).expect(4, &["/ is not a machine"]);
    lab.run(&["inspect", &format!("{server}/none")]).expect(4, &["none"]);
    lab.expect_untouched();
}

#[test]
fn nothing_is_written_by_looking() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let before = files(lab.folder.path());
    for command in ["inspect", "spec"] {
        lab.run(&[command, text(&package)]).expect(0, &[]);
    }
    assert_eq!(files(lab.folder.path()), before);
}

#[test]
fn a_disk_is_looked_at_and_checked() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    let run = |args: &[&str]| Done::of(&ours().args(args).output().unwrap());
    let mut disk = vec![0; 2 << 20];
    disk[100_000..200_000].fill(7);
    fs::write(path("disk.raw"), &disk).unwrap();
    let (raw, stream) = (path("disk.raw"), path("disk.vmdk"));
    run(&["convert", text(&raw), text(&stream)]).expect(0, &[]);

    let done = run(&["inspect", text(&stream)]);
    done.expect(0, &[]);
    for said in [
        "disk.vmdk: vmdk (streamOptimized)",
        "2.0 MiB, 192.0 KiB hold data",
        "new_lines, compressed, markers",
        "behind the grains",
        "ddb.adapterType",
    ] {
        assert!(done.stdout.contains(said), "{said}: {}", done.stdout);
    }
    let object = run(&["inspect", text(&stream), "--json"]).object("disk");
    assert_eq!((&object["format"], &object["capacity_bytes"]), (&json!("vmdk"), &json!(2 << 20)));
    assert_eq!(object["header"]["grain_bytes"], 65_536);
    assert_eq!(object["extents"][0]["bytes"], 2 << 20);
    let object = run(&["inspect", text(&stream), "--json", "--input-format", "raw"]).object("disk");
    let bytes = fs::metadata(&stream).unwrap().len();
    assert_eq!((&object["format"], &object["capacity_bytes"]), (&json!("raw"), &json!(bytes)));

    for deep in [&[][..], &["--deep"]] {
        let done = run(&[&["verify", text(&stream)], deep].concat());
        done.expect(0, &[]);
        assert!(done.stdout.contains("disk.vmdk: sound vmdk (streamOptimized)"), "{}", done.stdout);
        run(&[&["verify", text(&raw)], deep].concat()).expect(0, &[]);
    }
    run(&["verify", text(&raw)]).expect(0, &["a raw disk has no structure"]);
    let report = run(&["verify", text(&stream), "--json", "--deep"]).object("report");
    assert_eq!((&report["deep"], &report["populated_bytes"]), (&json!(true), &json!(196_608)));

    let sound = fs::read(&stream).unwrap();
    let damaged = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(&stream, bytes).unwrap();
    };
    damaged(65_536 + 14);
    run(&["verify", text(&stream)]).expect(0, &[]);
    run(&["verify", text(&stream), "--deep"]).expect(6, &["disk.vmdk", "byte 65536"]);
    // By its name it is a disk still.
    damaged(0);
    run(&["verify", text(&stream)]).expect(6, &["disk.vmdk", "byte 0: not a VMDK"]);
    run(&["inspect", text(&stream)]).expect(6, &["byte 0: not a VMDK"]);
    fs::write(&stream, &sound[..sound.len() - 512]).unwrap();
    run(&["verify", text(&stream)]).expect(6, &["disk.vmdk", "byte"]);
    // What would be silently passed over is refused.
    run(&["verify", text(&raw), "--require-signature"]).expect(2, &["--require-signature", "disk"]);
    fs::write(path("disk.vhdx"), b"vhdxfile").unwrap();
    run(&["verify", text(&path("disk.vhdx"))]).expect(6, &["a VHDX disk cannot be read"]);
    run(&["verify", text(&path("none.vmdk"))]).expect(14, &["none.vmdk"]);
}
