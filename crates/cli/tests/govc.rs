//! What we list of a package is what govc lists, and what govc writes drives our import.
//!
//! The descriptors are those that other people wrote, of the folder that `OVFTRANSFER_CORPUS` names, else of
//! `shared/corpus/ovf` beside the workspace.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]
#![expect(clippy::print_stdout, reason = "the counts are told, and what was skipped")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

mod support;

use support::Done;
use support::Lab;
use support::appliance;
use support::files;
use support::ours;
use support::text;

/// What govc lists something of and we refuse, and why, by the end of the path and words of ours.
const REFUSED: [(&str, &str, &str); 4] = [
    ("Sass_old/descriptor.ovf", "HTML", "the error page of a web server is no descriptor"),
    ("negative-size-disk/haoUnOS2VMs.ovf", "size is \"-", "no file has a negative size"),
    (
        "out-of-bounds-disk/haoUnOS2VMs.ovf",
        "size is \"9223372036854775808\"",
        "larger than files get",
    ),
    ("unsupported-ovfs/unsupportedSection.ovf", "no VirtualSystem", "there is nothing to import"),
];

/// Namespace of the drafts before OVF 1.0.
const DRAFT: &str = "http://www.vmware.com/schema/ovf/1/envelope";

#[test]
fn spec_lists_what_govc_lists() {
    let (Some(govc), Some(folder)) = (govc(), corpus()) else { return };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for path in descriptors(&folder) {
        let mut count = |what, by| *counts.entry(what).or_default() += by;
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        let theirs =
            options(&run(Command::new(&govc).args(["import.spec", "-verbose", text(&path)])));
        let done = run(ours().args(["spec", "-v", "-q", text(&path)]));
        let (Some(theirs), Some(own)) = (&theirs, &options(&done)) else {
            let refusal = REFUSED
                .iter()
                .find(|(end, words, _)| name.ends_with(end) && done.stderr.contains(words));
            match (theirs, refusal) {
                (None, _) => count("refused by govc", 1),
                (Some(_), Some((_, _, reason))) => {
                    count("refused by us", 1);
                    println!("refused: {name}: {reason}");
                }
                (Some(_), None) => wrong.push(format!("{name}: {}", done.stderr)),
            }
            continue;
        };
        count("compared", 1);
        count("properties", properties(own).len());
        for what in ["NetworkMapping", "AllDeploymentOptions"] {
            count(what, own[what].as_array().map_or(0, Vec::len));
        }
        let unlike: Vec<_> = unlike(own, theirs).collect();
        if fs::read_to_string(&path).is_ok_and(|text| text.contains(DRAFT)) {
            // govc looks for elements of OVF 1.x only, and finds none.
            count("drafts, of which govc sees no networks", 1);
            assert_eq!(theirs["NetworkMapping"], Value::Null, "{name}");
            assert!(unlike.iter().all(|one| one.contains("ours: NetworkMapping [{")), "{name}");
        } else if !unlike.is_empty() {
            wrong.push(format!("{name}:\n{}", unlike.join("\n")));
        }
    }
    for (what, count) in &counts {
        println!("{count:6}  {what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counts.get("compared").is_some_and(|count| *count > 0));
}

/// The descriptors that a tool should accept.
fn descriptors(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let is_neg = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "Neg");
    let is_one = |path: &PathBuf| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf"));
    files(folder).into_iter().filter(move |path| is_one(path) && !is_neg(path))
}

/// What the two say about the same thing, where it is not the same.
fn unlike(own: &Value, theirs: &Value) -> impl Iterator<Item = String> {
    const ALIKE: [&str; 6] = [
        "NetworkMapping",
        "AllDeploymentOptions",
        "Deployment",
        "Name",
        "DiskProvisioning",
        "AllDiskProvisioningOptions",
    ];
    let properties = [own, theirs].map(|options| format!("{:?}", properties(options)));
    let others = ALIKE.map(|what| [own, theirs].map(|options| format!("{what} {}", options[what])));
    let pairs = others.into_iter().chain([properties]);
    let unlike = pairs.filter(|[own, theirs]| own != theirs);
    unlike.map(|[own, theirs]| format!("  ours: {own}\n  govc: {theirs}"))
}

/// Keys and values of the properties.
fn properties(options: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let mapping = options["PropertyMapping"].as_array();
    let pair = |one: &Value| (word(&one["Key"]), word(&one["Value"]));
    mapping.map(|all| all.iter().map(pair).collect()).unwrap_or_default()
}

/// A run that needs no server; govc wants the address of one all the same.
fn run(command: &mut Command) -> Done {
    let done =
        Done::of(&command.env("GOVC_URL", "https://nobody:x@127.0.0.1:1/sdk").output().unwrap());
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    done
}

/// The JSON that a program has printed; nothing if it refused.
fn options(done: &Done) -> Option<Value> {
    (done.code == Some(0)).then(|| serde_json::from_str(&done.stdout).unwrap())
}

#[test]
fn what_govc_writes_drives_our_import() {
    let Some(govc) = govc() else { return };
    let lab = Lab::new(r#"{"machines": []}"#);
    let package = lab.package();
    let done = run(Command::new(govc).args(["import.spec", text(&package)]));
    done.expect(0, &[]);
    let place = ["import", text(&package), "/DC0/host/Cluster0", "--datastore", "datastore0"];
    for (wire, name) in [("json", "first"), ("soap", "second")] {
        // Unchanged, but for the name: it is that of the package otherwise.
        let file = lab.path("options.json");
        fs::write(&file, &done.stdout).unwrap();
        let how = ["--wire", wire, "--options", text(&file), "--name", name];
        lab.run(&[&place[..], &how].concat()).expect(0, &[]);

        // And as people change it.
        let networks = lab.run(&["ls", "/DC0/network", "--type", "network", "--json"]).objects();
        let storage = networks.iter().find(|one| one["name"] == "Storage Network").unwrap();
        let mut options: Value = serde_json::from_str(&done.stdout).unwrap();
        options["NetworkMapping"][0]["Network"] = storage["moref"].clone();
        options["Name"] = format!("{name}, changed").into();
        options["DiskProvisioning"] = "thin".into();
        options["PowerOn"] = true.into();
        options["Annotation"] = "by govc".into();
        fs::write(&file, options.to_string()).unwrap();
        let how = ["--wire", wire, "--options", text(&file), "--json"];
        let imported = lab.run(&[&place[..], &how].concat());
        imported.expect(0, &[]);
        assert_eq!(imported.object("report")["after"]["is_powered_on"], true);

        options["Name"] = format!("{name}, template").into();
        options["MarkAsTemplate"] = true.into();
        fs::write(&file, options.to_string()).unwrap();
        let imported = lab.run(&[&place[..], &how].concat());
        imported.expect(0, &[]);
        let after = &imported.object("report")["after"];
        assert_eq!((&after["is_template"], &after["is_powered_on"]), (&true.into(), &false.into()));
    }
    let vms = lab.simulator.vms();
    let find = |name: &str| vms.iter().find(|vm| vm.name == name).unwrap();
    for name in ["first", "second"] {
        assert_eq!(lab.digests(name), appliance(&[2, 1]).raw_sha256().unwrap());
        assert_eq!(find(&format!("{name}, changed")).networks, ["Storage Network"]);
    }
    lab.expect_machines(6);
}

/// The program govc; says if it is missing.
fn govc() -> Option<PathBuf> {
    let is_required = env::var("OVFTRANSFER_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    let govc = env::var_os("OVFTRANSFER_PEERS").map(|peers| Path::new(&peers).join("bin/govc"));
    let govc = govc.filter(|path| path.is_file());
    if govc.is_none() {
        assert!(!is_required, "govc is required, and not below OVFTRANSFER_PEERS");
        println!("skipped: OVFTRANSFER_PEERS does not lead to govc");
    }
    govc
}

/// The folder of descriptors; says if it is missing.
fn corpus() -> Option<PathBuf> {
    let folder = env::var_os("OVFTRANSFER_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/ovf"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        println!("skipped: no folder {}, and OVFTRANSFER_CORPUS names no other", folder.display());
        return None;
    }
    Some(folder)
}
