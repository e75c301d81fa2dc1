//! `--json` says what its documentation says: no field that is not there, no field left out.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

mod support;

use ovftransfer::DigestAlgorithm;
use ovftransfer::FileName;
use ovftransfer::certificate::SigningKey;
use serde_json::Value;
use support::Done;
use support::Lab;
use support::import_args;
use support::text;

type Words = BTreeMap<String, BTreeSet<String>>;

/// Types with their fields, those of objects inside included, as the README has them.
fn documented() -> (Words, BTreeSet<String>) {
    let readme = fs::read_to_string("README.md").unwrap();
    let section = readme.split("\n## JSON\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut types = Words::new();
    let table = section.split("| type | fields |\n").nth(1).unwrap();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let mut cells = row.splitn(3, '|').skip(1);
        let (kinds, fields) = (cells.next().unwrap(), cells.next().unwrap());
        for kind in quoted(kinds) {
            types.insert(kind, quoted(fields).into_iter().collect());
        }
    }
    (types, quoted(section).into_iter().collect())
}

/// The words in back quotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Collects the fields of what a run printed.
fn collect(done: &Done, seen: &mut Words, inner: &mut BTreeSet<String>) {
    for object in done.objects() {
        assert_eq!(object["version"], 1, "{object}");
        let kind = object["type"].as_str().unwrap().to_owned();
        let fields = seen.entry(kind).or_default();
        for (name, value) in object.as_object().unwrap() {
            if name != "version" && name != "type" {
                fields.insert(name.clone());
                keys_inside(value, inner);
            }
        }
    }
}

fn keys_inside(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys_inside(item, keys)),
        Value::Object(fields) => {
            for (name, value) in fields {
                keys.insert(name.clone());
                keys_inside(value, keys);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn json_is_what_its_documentation_says() {
    let (documented, all_words) = documented();
    let troubled = std::thread::spawn(troubled_runs);
    let (mut seen, mut inner) = (Words::new(), BTreeSet::new());
    let mut run = |done: Done| collect(&done, &mut seen, &mut inner);

    let lab = Lab::new(
        r#"{"machines": [{"name": "small", "disks": [{"capacity": "16MiB"}], "snapshots": ["one"]}],
                           "initialize_delay_ms": 400}"#,
    );
    let package = lab.package();
    let cert = sign(&package);
    run(lab.run(&[
        "import",
        text(&package),
        "/DC0/host/Cluster0",
        "--datastore",
        "datastore0",
        "--name",
        "web",
        "--network",
        "DVS0/DPG0",
        "--dry-run",
        "--json",
    ]));
    run(lab.import(&package, "web"));
    run(lab.import(&package, "web"));
    let again = ["--overwrite", "--power-on", "--wait-for-ip"];
    run(lab.run(&[&import_args(&package, "web")[..], &again].concat()));
    for descriptor in [RICH, VAPP] {
        let path = lab.path("looked-at.ovf");
        fs::write(&path, descriptor).unwrap();
        run(lab.run(&["inspect", text(&path), "--json"]));
        run(lab.run(&["lint", text(&path), "--json"]));
    }
    run(lab.run(&["inspect", &format!("{}/DC0/vm/small", lab.locator()), "--json"]));
    run(lab.run(&["ls", "/", "--json"]));
    networks().into_iter().for_each(&mut run);
    let ova = lab.path("small.ova");
    run(lab.run(&["export", "/DC0/vm/small", text(&ova), "--json", "--dry-run"]));
    run(lab.run(&["export", "/DC0/vm/small", text(&ova), "--json"]));
    run(lab.run(&["verify", text(&ova), "--json"]));
    let raw = lab.path("raw/small.ovf");
    run(lab.run(&["export", "/DC0/vm/small", text(&raw), "--disk-format", "raw", "--json"]));
    let folder = lab.path("converted");
    let convert = ["convert", text(&ova), text(&folder), "--sha", "1", "--json"];
    run(lab.run(&[&convert[..], &["--dry-run"]].concat()));
    run(lab.run(&convert));
    let disk = package.with_file_name("appliance-disk1.vmdk");
    run(lab.run(&["convert", text(&disk), text(&lab.path("disk.raw")), "--json"]));
    run(lab.run(&["inspect", text(&disk), "--json"]));
    run(lab.run(&["verify", text(&disk), "--json"]));
    let (sparse, qcow2) = disks(&lab);
    run(lab.run(&["inspect", text(&sparse), "--json"]));
    run(lab.run(&["inspect", text(&qcow2), "--json"]));
    run(lab.run(&["export", "/DC0/vm/small", "https://h/small.ova", "--json"]));
    run(lab.run(&["verify", text(&package), "--json"]));
    run(lab.run(&["inspect", text(&package), "--json"]));
    fs::remove_file(cert).unwrap();
    fs::remove_file(package.with_extension("mf")).unwrap();
    run(lab.import(&package, "bare"));
    raw_disk(&package, &lab.path("disk.raw"));
    run(lab.run(&[&import_args(&package, "raw")[..], &["--dry-run", "--json"]].concat()));
    run(lab.import(&package, "raw"));

    troubled.join().unwrap().into_iter().for_each(run);

    for (kind, fields) in &seen {
        let known = documented.get(kind).unwrap_or_else(|| panic!("{kind} is not documented"));
        for field in fields {
            assert!(known.contains(field), "{field} of {kind} is not documented");
        }
    }
    for key in &inner {
        let is_algorithm = key.starts_with("SHA");
        assert!(is_algorithm || all_words.contains(key), "{key} is not documented");
    }
    for (kind, fields) in documented.iter().filter(|(kind, _)| !ELSEWHERE.contains(&&***kind)) {
        let found = seen.get(kind).unwrap_or_else(|| panic!("no {kind} was seen"));
        for field in fields.iter().filter(|field| !NO_FIELDS.contains(&&***field)) {
            assert!(
                found.contains(field) || inner.contains(field),
                "no {field} of {kind} was seen"
            );
        }
    }
}

/// A sparse VMDK with a redundant directory and a qcow2 image, both empty.
fn disks(lab: &Lab) -> (PathBuf, PathBuf) {
    let mut vmdk = vec![0; 40 * 512];
    let mut put = |at: usize, bytes: &[u8]| vmdk[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"KDMV\x01\0\0\0\x03\0\0\0");
    for (at, number) in [(12, 2048), (20, 128), (28, 1), (36, 20), (48, 21), (56, 26), (64, 40)] {
        put(at, &u64::to_le_bytes(number));
    }
    put(44, &512_u32.to_le_bytes());
    put(73, b"\n \r\n");
    put(
        512,
        b"# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n",
    );
    let sparse = lab.path("sparse.vmdk");
    fs::write(&sparse, vmdk).unwrap();
    let mut image = vec![0; 3 << 16];
    let mut put = |at: usize, number: u64| image[at..at + 8].copy_from_slice(&number.to_be_bytes());
    put(0, 0x5146_49fb_0000_0003);
    put(20, 16 << 32);
    put(24, 1 << 20);
    put(36, 1 << 32);
    put(40, 1 << 16);
    put(48, 2 << 16);
    put(56, 1 << 32);
    put(96, 4 << 32 | 104);
    let qcow2 = lab.path("disk.qcow2");
    fs::write(&qcow2, image).unwrap();
    (sparse, qcow2)
}

/// Ports of every kind, a card that changes its port, a DPU that takes over.
fn networks() -> [Done; 3] {
    let lab = Lab::new(
        r#"{"machines": [
                {"name": "runs", "powered_on": true, "networks": ["DPG0"]},
                {"name": "rests", "networks": ["DPG0", "VM Network"]}],
            "switches": [{"name": "DVS0",
                "portgroups": [{"name": "DPG0", "vlan": 7, "vmkernel": true}],
                "offload": {"dpus": ["dpu0", "dpu1"], "standby": ["Uplink 2"]},
                "quirks": [{"machine": "runs", "conflict": true, "blocked": true, "nsx": true}]}]}"#,
    );
    let host = "/DC0/host/Cluster0/host0";
    [
        lab.run(&["net", "ports", "/DC0", "--json"]),
        lab.run(&["net", "connect", "/DC0/vm/runs", "--nic", "1", "--portgroup", "DPG0", "--json"]),
        lab.run(&[
            "net",
            "dpu-failover",
            host,
            "--dvs",
            "DVS0",
            "--yes",
            "--target-dpu",
            "dpu1",
            "--json",
        ]),
    ]
}

/// A slow server that refuses a heartbeat and resets a stream, and one that is wrong.
fn troubled_runs() -> [Done; 2] {
    let lab = Lab::new(
        r#"{"machines": [{"name": "slow", "disks": [
                {"capacity": "16MiB", "data": {"amount": "1MiB", "kind": "random"}}]}],
            "lease_timeout_s": 3,
            "hosts": [{"name": "h", "throttle_mb_per_s_per_stream": 0.3}],
            "faults": [{"on": "export", "kind": "heartbeat_refused"},
                       {"on": "export", "kind": {"reset_after_bytes": 100000}}]}"#,
    );
    let slow = lab.run(&["export", "/DC0/vm/slow", text(&lab.path("slow.ova")), "--json"]);
    let lab = Lab::new(
        r#"{"machines": [],
                           "faults": [{"on": "import", "kind": "wrong_digest", "times": 9}]}"#,
    );
    [slow, lab.import(&lab.package(), "web")]
}

/// Puts a raw disk in the place of the first one.
fn raw_disk(descriptor: &Path, raw: &Path) {
    let text = fs::read_to_string(descriptor).unwrap();
    let href = text.find("appliance-disk1.vmdk").unwrap();
    let size = href + text[href..].find(" ovf:size=\"").unwrap();
    let end = size + 11 + text[size + 11..].find('"').unwrap() + 1;
    fs::write(descriptor, [&text[..size], &text[end..]].concat()).unwrap();
    fs::copy(raw, descriptor.with_file_name("appliance-disk1.vmdk")).unwrap();
}

/// Signs the package beside a descriptor with a key that nobody knows.
fn sign(descriptor: &Path) -> PathBuf {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let pem = key.serialize_pem() + &certificate.pem();
    let (manifest, cert) = (descriptor.with_extension("mf"), descriptor.with_extension("cert"));
    let name = FileName::new(manifest.file_name().unwrap().to_str().unwrap()).unwrap();
    let key = SigningKey::read(pem.as_bytes(), None, None).unwrap();
    let signed = key.sign(&name, &fs::read(manifest).unwrap(), DigestAlgorithm::Sha256);
    fs::write(&cert, signed.unwrap()).unwrap();
    cert
}

/// A package with all that `inspect` tells, but for what only a vApp has; one reference is to elsewhere.
const RICH: &str = include_str!("data/rich.ovf");

/// A vApp in a vApp.
const VAPP: &str = include_str!("data/vapp.ovf");

/// Types that other tests look at: the demonstration takes long, and not every inventory has all.
const ELSEWHERE: [&str; 9] = [
    "ComputeResource",
    "DistributedVirtualPortgroup",
    "OpaqueNetwork",
    "StoragePod",
    "VirtualApp",
    "file_kept",
    "reaped",
    "remnant",
    "step",
];

/// Words that stand between the fields: commands, and values of fields.
const NO_FIELDS: [&str; 19] = [
    "--dry-run",
    "check_network",
    "connect_port",
    "convert",
    "demo",
    "export",
    "import",
    "inject_ovf_env",
    "inspect",
    "lint",
    "ls",
    "net connect",
    "net dpu-failover",
    "net ports",
    "power_on",
    "replace",
    "template",
    "verify",
    "wait_for_ip",
];
