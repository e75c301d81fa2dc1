//! The help, the README, and what the program says about bad arguments.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::collections::BTreeSet;
use std::fs;

mod support;

use support::Done;
use support::ours;

const COMMANDS: [&str; 12] = [
    "import", "export", "inspect", "verify", "lint", "convert", "spec", "ls", "net", "reap",
    "simulate", "demo",
];

/// Commands of `net`.
const NET_COMMANDS: [&str; 3] = ["ports", "connect", "dpu-failover"];

fn help(args: &[&str]) -> String {
    let done = Done::of(&ours().args(args).output().unwrap());
    done.expect(0, &[]);
    assert_eq!(done.stderr, "");
    done.stdout
}

fn all_help() -> Vec<String> {
    let mut texts = vec![help(&["--help"]), help(&["-h"])];
    for command in COMMANDS {
        texts.push(help(&[command, "--help"]));
        texts.push(help(&[command, "-h"]));
    }
    for command in NET_COMMANDS {
        texts.push(help(&["net", command, "--help"]));
        texts.push(help(&["net", command, "-h"]));
    }
    texts
}

#[test]
fn help_fits_80_columns() {
    for text in all_help() {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn help_names_only_what_is_there() {
    let top = help(&["--help"]);
    for command in COMMANDS {
        assert!(top.contains(&format!("  {command} ")), "{command} in {top}");
    }
    let net = help(&["net", "--help"]);
    for command in NET_COMMANDS {
        assert!(net.contains(&format!("  {command} ")), "{command} in {net}");
    }
    for absent in ["--limit-rate"] {
        for text in all_help() {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
    }
}

#[test]
fn every_long_option_is_in_the_readme() {
    let readme = fs::read_to_string("README.md").unwrap();
    let words = |text: &str| -> BTreeSet<String> {
        let is_part = |c: char| c == '-' || c.is_ascii_alphanumeric();
        let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("--"));
        words.map(str::to_owned).collect()
    };
    let known = words(&readme);
    for text in all_help() {
        for option in words(&text) {
            assert!(known.contains(&option), "{option} is not in README.md");
        }
    }
}

#[test]
fn every_exit_code_and_variable_is_in_the_readme() {
    let readme = fs::read_to_string("README.md").unwrap();
    for code in 0..=14 {
        assert!(readme.contains(&format!("| {code} |")), "{code}");
    }
    let mut source = fs::read_to_string("src/connection.rs").unwrap();
    source.push_str(&fs::read_to_string("src/import.rs").unwrap());
    source.push_str(&fs::read_to_string("src/signing.rs").unwrap());
    for (start, prefix) in [("ours(\"", "OVFTRANSFER_"), ("govc(\"", "GOVC_")] {
        for rest in source.split(start).skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(readme.contains(&format!("{prefix}{name}")), "{prefix}{name}");
        }
    }
}

#[test]
fn bad_arguments_are_usage_errors() {
    let pin = "00112233445566778899aabbccddeeff00112233";
    for args in [
        &["frobnicate"][..],
        &[],
        &["import"],
        &["import", "a.ovf", "vi://u@h/dc", "--parallel", "0"],
        &["import", "a.ovf", "vi://u@h/dc", "--per-host", "25"],
        &["import", "a.ovf", "vi://u@h/dc", "--network", "="],
        &["import", "a.ovf", "vi://u@h/dc", "--property", "x"],
        &["import", "a.ovf", "vi://u@h/dc", "--disk-mode", "round"],
        &["import", "a.ovf", "vi://u@h/dc", "--ip-allocation", "magic"],
        &["import", "a.ovf", "vi://u@h/dc", "--ip-protocol", "IPX"],
        &["import", "a.ovf", "vi://u@h/dc", "--wait-for-ip"],
        &["import", "a.ovf", "vi://u@h/dc", "--power-on", "--wait-for-ip=0"],
        &["import", "a.ovf", "vi://u@h/dc", "--power-on", "--template"],
        &["import", "a.ovf", "vi://u@h/dc", "--retry-uploads", "maybe"],
        &["import", "a.ovf", "vi://u@h/dc", "--insecure", "--thumbprint", pin],
        &["export", "vi://u@h/dc/vm/a", "b", "--sha", "384"],
        &["export", "vi://u@h/dc/vm/a", "b", "--verify", "maybe"],
        &["net"],
        &["net", "ports"],
        &["net", "ports", "vi://u@h/dc", "--vm", "a", "--portgroup", "b"],
        &["net", "connect", "vi://u@h/dc/vm/a", "--nic", "1"],
        &["net", "connect", "vi://u@h/dc/vm/a", "--port", "1"],
        &["net", "dpu-failover", "vi://u@h/dc/host/a"],
        &["verify", "a.ovf", "--progress", "loud"],
        &["simulate", "--listen", "everywhere"],
        &["simulate", "--esxi", "--scenario", "a.json"],
    ] {
        let output = ours().args(args).output().unwrap();
        let done = Done::of(&output);
        assert_eq!(done.code, Some(2), "{args:?}: {}", done.stderr);
        assert_eq!(done.stdout, "");
    }
}

#[test]
fn what_cannot_be_done_yet_says_what_can() {
    for (args, words) in [
        (&["export", "vi://u@h/dc/vm/a", "https://h/a.ova"][..], &["URL", "x.ova"][..]),
        (&["export", "vi://u@h/dc/vm/a", "-", "--json"], &["--json", "x.ova"]),
        (&["import", "ftp://u:hunter2@h/a.ova", "vi://u@h/dc/host/c"], &["https://"]),
        (&["verify", "http://u:hunter2@h/a.ova"], &["https://"]),
        (&["inspect", "http://u:hunter2@h/a.ova"], &["https://"]),
        (&["spec", "ftp://u:hunter2@h/a.ova"], &["https://"]),
    ] {
        let done = Done::of(&ours().args(args).output().unwrap());
        done.expect(2, words);
        assert!(!done.stderr.contains("hunter2"), "{}", done.stderr);
    }
}

#[test]
fn a_server_a_user_and_a_password_are_asked_for_by_name() {
    for (args, words) in [
        (["export", "/dc/vm/a", "b"], &["OVFTRANSFER_URL"][..]),
        (["export", "vi://h/dc/vm/a", "b"], &["--username", "OVFTRANSFER_USERNAME"]),
        (["export", "vi://u@h/dc/vm/a", "b"], &["--password-file", "OVFTRANSFER_PASSWORD"]),
        (["export", "http://h/dc/vm/a", "b"], &["vi://"]),
        (["export", "vi://u@h:x/dc/vm/a", "b"], &["port"]),
    ] {
        Done::of(&ours().args(args).output().unwrap()).expect(2, words);
    }
}
