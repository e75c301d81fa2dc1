//! What we list of a package is what govc lists, for descriptors that other people wrote.
//!
//! The descriptors are those of the folder that `OVFTRANSFER_CORPUS` names, else of
//! `shared/corpus/ovf` beside the workspace.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]
#![expect(clippy::print_stdout, reason = "the counts are told, and what was skipped")]

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

mod support;

use support::files;
use support::ours;
use support::text;

/// Where govc and we differ, and why.  The path ends the descriptor's.
const DIFFERENT: &[(&str, &str)] = &[];

#[test]
fn spec_lists_what_govc_lists() {
    let Some((govc, folder)) = govc_and_corpus() else { return };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = |what| *counts.entry(what).or_default() += 1;
    let mut different = Vec::new();
    let mut excused = Vec::new();
    let is_neg = |path: &Path| path.components().any(|part| part.as_os_str() == "Neg");
    for path in files(&folder).iter().filter(|path| !is_neg(path)) {
        if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("ovf")) {
            continue;
        }
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        let theirs = options(Command::new(&govc).args(["import.spec", "-verbose", text(path)]));
        let own = options(ours().args(["spec", "-v", "-q", text(path)]));
        let (theirs, own) = match (theirs, own) {
            (Some(theirs), Some(own)) => (theirs, own),
            (Some(_), None) => {
                count("read by govc only");
                println!("read by govc only: {name}");
                continue;
            }
            (None, Some(_)) => {
                count("read by us only");
                println!("read by us only: {name}");
                continue;
            }
            (None, None) => {
                count("read by neither");
                continue;
            }
        };
        count("compared");
        for what in ["NetworkMapping", "AllDeploymentOptions"] {
            *counts.entry(what).or_default() += own[what].as_array().map_or(0, Vec::len);
        }
        *counts.entry("PropertyMapping").or_default() += properties(&own).len();
        let is_same = properties(&own) == properties(&theirs)
            && ["NetworkMapping", "AllDeploymentOptions", "Deployment", "Name", "DiskProvisioning"]
                .iter()
                .all(|what| own[what] == theirs[what]);
        let excuse = DIFFERENT.iter().find(|(end, _)| name.ends_with(end));
        match (is_same, excuse) {
            (true, None) => {}
            (true, Some((_, reason))) => different.push(format!("{name}: the same, but {reason}")),
            (false, Some((_, reason))) => excused.push(format!("{name}: {reason}")),
            (false, None) => different.push(format!(
                "{name}:\n  ours {:?} {}\n  govc {:?} {}",
                properties(&own),
                own["NetworkMapping"],
                properties(&theirs),
                theirs["NetworkMapping"]
            )),
        }
        *counts.entry("different for a reason").or_default() += usize::from(!is_same);
    }
    for (what, count) in &counts {
        println!("{count:6}  {what}");
    }
    for one in &excused {
        println!("different: {one}");
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(counts.get("compared").is_some_and(|count| *count > 0));
}

/// Keys and values of the properties.
fn properties(options: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let mapping = options["PropertyMapping"].as_array();
    let pair = |one: &Value| (word(&one["Key"]), word(&one["Value"]));
    mapping.map(|all| all.iter().map(pair).collect()).unwrap_or_default()
}

/// The JSON that a program prints; nothing if it refuses.
fn options(command: &mut Command) -> Option<Value> {
    let output = command.env("GOVC_URL", "https://nobody:x@127.0.0.1:1/sdk").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

/// govc, and the folder of descriptors; says what is missing.
fn govc_and_corpus() -> Option<(PathBuf, PathBuf)> {
    let is_required = env::var("OVFTRANSFER_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    let govc = env::var_os("OVFTRANSFER_PEERS").map(|peers| Path::new(&peers).join("bin/govc"));
    let Some(govc) = govc.filter(|path| path.is_file()) else {
        assert!(!is_required, "govc is required, and not below OVFTRANSFER_PEERS");
        println!("skipped: OVFTRANSFER_PEERS does not lead to govc");
        return None;
    };
    let folder = env::var_os("OVFTRANSFER_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/ovf"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        println!("skipped: no folder {}, and OVFTRANSFER_CORPUS names no other", folder.display());
        return None;
    }
    Some((govc, folder))
}
