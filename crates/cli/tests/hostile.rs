//! Packages that are made to do harm: refused with the reason, in bounded time and memory, and
//! before any server has heard of them.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ovftransfer::ErrorKind;
use ovftransfer::Package;

#[path = "../../ovf/tests/hostile/mod.rs"]
mod hostile;
mod support;

use hostile::Case;
use support::Done;
use support::Lab;
use support::import_args;
use support::now;
use support::text;

/// The error with what has caused it.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Opens a package in this process, as the engine does before everything else.
fn open(case: &Case, path: &Path, wrong: &mut Vec<String>) {
    let started = now();
    let opened = Package::open(path);
    let took = started.elapsed();
    if took > TIME_MAX {
        wrong.push(format!("{}: took {took:?}", case.name));
    }
    match (opened, case.refused) {
        (Ok(_), None) => {}
        (Ok(_), Some(because)) => wrong.push(format!("{}: accepted, not {because}", case.name)),
        (Err(error), because) => {
            let text = whole(&error);
            let is_right = because.is_some_and(|because| text.contains(because));
            if !is_right || error.kind() != ErrorKind::Package || text.contains('\u{1b}') {
                let kind = error.kind();
                wrong.push(format!("{}: {kind:?}: {text}, not {because:?}", case.name));
            }
        }
    }
}

#[test]
fn the_engine_tells_good_packages_from_bad_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for case in hostile::archives() {
        let path = folder.path().join("vm.ova");
        fs::write(&path, &case.bytes).unwrap();
        open(&case, &path, &mut wrong);
    }
    fs::write(folder.path().join("data.bin"), hostile::DATA).unwrap();
    let descriptor = folder.path().join("vm.ovf");
    for case in hostile::descriptors() {
        fs::write(&descriptor, &case.bytes).unwrap();
        open(&case, &descriptor, &mut wrong);
    }
    fs::write(&descriptor, hostile::DESCRIPTOR).unwrap();
    for case in hostile::manifests() {
        fs::write(folder.path().join("vm.mf"), &case.bytes).unwrap();
        open(&case, &descriptor, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The program with no more than 512 MiB of address space; most of that are stacks that are never
/// touched.
fn bounded(arguments: &[&str]) -> Done {
    let program = env!("CARGO_BIN_EXE_ovftransfer");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 524288 && exec \"$0\" \"$@\"", program]).args(arguments);
    let started = now();
    let done = Done::of(&command.output().unwrap());
    assert!(started.elapsed() < PROCESS_TIME_MAX, "{arguments:?} took {:?}", started.elapsed());
    done
}

/// One of each kind, those that ask for much among them.
#[cfg(target_os = "linux")]
#[test]
fn the_program_refuses_bombs_and_traps_in_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let mut tried = 0;
    let cases = [
        ("vm.ova", hostile::archives()),
        ("vm.ovf", hostile::descriptors()),
        ("vm.mf", hostile::manifests()),
    ];
    for (file, cases) in cases {
        fs::write(folder.path().join("vm.ovf"), hostile::DESCRIPTOR).unwrap();
        fs::write(folder.path().join("data.bin"), hostile::DATA).unwrap();
        for case in cases {
            let (true, Some(because)) = (TRAPS.contains(&&*case.name), case.refused) else {
                continue;
            };
            tried += 1;
            fs::write(folder.path().join(file), &case.bytes).unwrap();
            let package = if file == "vm.mf" { "vm.ovf" } else { file };
            let package = folder.path().join(package);
            for command in ["verify", "inspect"] {
                let done = bounded(&[command, text(&package)]);
                assert_eq!(done.code, Some(6), "{command}, {}: {}", case.name, done.stderr);
                done.expect(6, &[because]);
            }
        }
    }
    assert_eq!(tried, TRAPS.len(), "a name in the list is none of a case");
}

/// A server never hears of a bad package.
#[test]
fn nothing_bad_is_imported() {
    let lab = Lab::new(r#"{"machines": []}"#);
    for case in hostile::archives() {
        let (true, Some(because)) = (TRAPS.contains(&&*case.name), case.refused) else { continue };
        let path = lab.path("bad.ova");
        fs::write(&path, &case.bytes).unwrap();
        lab.run(&import_args(&path, "bad")).expect(6, &[because]);
    }
    lab.expect_untouched();
}

/// Every package that is made to do harm, and changed ones beside them, through the whole program:
/// `cargo test -p ovftransfer-cli --test hostile -- --ignored`, a step of `.ci/run`.
#[test]
#[ignore = "takes a minute; a step of its own in .ci/run"]
fn the_whole_corpus_goes_through_import() {
    let lab = Lab::new(r#"{"machines": []}"#);
    let mut tried = 0;
    let mut machines = 0;
    let mut wrong = Vec::new();
    let mut import = |name: &str, package: &Path, refused: Option<&str>| {
        tried += 1;
        let machine = format!("hostile-{tried}");
        let done = lab.import(package, &machine);
        let is_there = lab.simulator.vms().iter().any(|vm| vm.name == machine);
        machines += usize::from(is_there);
        let is_right = match done.code {
            Some(0) => refused.is_none() && is_there,
            // What only looks like a package, or one that the server cannot take.
            Some(6 | 7 | 12) => !is_there,
            _ => false,
        };
        let is_refused = refused.is_none_or(|because| done.stderr.contains(because));
        if !is_right || !is_refused || done.stderr.contains("panicked") {
            wrong.push(format!("{name}: {:?}: {}, not {refused:?}", done.code, done.stderr));
        }
    };

    let archive = lab.path("vm.ova");
    for case in hostile::archives() {
        fs::write(&archive, &case.bytes).unwrap();
        import(&case.name, &archive, case.refused);
    }
    for (number, bytes) in hostile::campaign(CAMPAIGN_SEED, CHANGED).into_iter().enumerate() {
        fs::write(&archive, bytes).unwrap();
        import(&format!("changed archive {number}"), &archive, None);
    }
    fs::remove_file(&archive).unwrap();
    fs::write(lab.path("data.bin"), hostile::DATA).unwrap();
    let descriptor = lab.path("vm.ovf");
    for case in hostile::descriptors() {
        fs::write(&descriptor, &case.bytes).unwrap();
        import(&case.name, &descriptor, case.refused);
    }
    fs::write(&descriptor, hostile::DESCRIPTOR).unwrap();
    for case in hostile::manifests() {
        fs::write(lab.path("vm.mf"), &case.bytes).unwrap();
        import(&case.name, &descriptor, case.refused);
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tried >= 300, "{tried}");
    lab.expect_machines(machines);
}

/// What no tool looks at may be passed over, if somebody says so.
#[test]
fn lenient_makes_warnings_of_what_stands_behind_the_last_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm.ova");
    for (name, words) in [("the end, then rubbish", "is ignored"), ("cut in the padding", "is cut")]
    {
        let case = hostile::archives().into_iter().find(|case| case.name == name).unwrap();
        fs::write(&path, &case.bytes).unwrap();
        for command in ["verify", "inspect", "spec"] {
            let run = |more: &[&str]| {
                let arguments = [&[command, text(&path)], more].concat();
                Done::of(&support::ours().args(arguments).output().unwrap())
            };
            run(&[]).expect(6, &[case.refused.unwrap()]);
            let done = run(&["--lenient"]);
            done.expect(0, &[]);
            assert!(command == "spec" || done.stderr.contains(words), "{}", done.stderr);
        }
        // Converted, it is as it should be.
        let repaired = folder.path().join(format!("{}.ova", words.replace(' ', "-")));
        let convert = |more: &[&str]| {
            let arguments = [&["convert", text(&path), text(&repaired)], more].concat();
            Done::of(&support::ours().args(arguments).output().unwrap())
        };
        convert(&[]).expect(6, &[case.refused.unwrap()]);
        convert(&["--lenient"]).expect(0, &[]);
        let done = Done::of(&support::ours().args(["verify", text(&repaired)]).output().unwrap());
        done.expect(0, &[]);
        assert!(!done.stderr.contains("warning"), "{}", done.stderr);
    }
}

/// Cases that go through the program, each in a process of its own.
const TRAPS: [&str; 14] = [
    "name, traversal",
    "name, absolute",
    "kind 2",
    "twice, by case",
    "pax, size hides a member",
    "pax, of 2 GiB",
    "size of 2^63",
    "16,400 members",
    "the end, then rubbish",
    "gzip",
    "entities in entities",
    "100,000 levels",
    "40,000 attributes",
    "5 MiB",
];

/// How many changed archives go through the program, and from which seed.
const CHANGED: usize = 120;
const CAMPAIGN_SEED: u64 = 20_261_121;

/// For one package in this process, in a test build on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(5);

/// For a whole process.
const PROCESS_TIME_MAX: Duration = Duration::from_secs(20);
