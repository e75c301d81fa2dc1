//! `reap`, and what the other commands say after a run was killed.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;

use ovftransfer_simulator::LeaseState;
use rustix::process::Signal;

mod support;

use support::Done;
use support::Lab;
use support::files;
use support::import_args;
use support::replace;
use support::signal;
use support::start;
use support::text;
use support::until;

/// A host on which the machine takes longer than any test waits.
const STUCK: &str = r#"{
    "hosts": [{"name": "host0", "throttle_mb_per_s_per_stream": 0.1}],
    "machines": [{
        "name": "web",
        "disks": [{"capacity": "16MiB", "data": {"amount": "8MiB", "kind": "random", "seed": 1}}]
    }]
}"#;

/// Starts a command and waits until its bytes move.
fn moving(lab: &Lab, args: &[&str]) -> Child {
    let child = start(lab.command(args).env("XDG_STATE_HOME", lab.path("state")));
    until("bytes move", || lab.simulator.leases().iter().any(|lease| lease.moved_bytes > 0));
    child
}

fn kill(mut child: Child) {
    signal(&child, Signal::KILL);
    child.wait().unwrap();
}

fn reap(lab: &Lab, args: &[&str]) -> Done {
    let mut command = lab.command(&["reap"]);
    command.args(args).env("XDG_STATE_HOME", lab.path("state")).current_dir(lab.folder.path());
    // As whom is written down, too.
    command.env_remove("OVFTRANSFER_URL").env_remove("OVFTRANSFER_USERNAME");
    Done::of(&command.output().unwrap())
}

#[test]
fn an_export_that_was_killed_is_shown_and_removed() {
    let lab = Lab::new(STUCK);
    let out = lab.path("out");
    let child = moving(&lab, &["export", "/DC0/vm/web", text(&out)]);
    reap(&lab, &["out", "--yes"]).expect(12, &["still runs"]);
    kill(child);
    let before = files(&out);
    assert_eq!(before.len(), 3, "{before:?}");

    // In the folder in which the export was started, too.
    let shown = reap(&lab, &["--dry-run"]);
    assert!(shown.stdout.contains("export of web, on 127.0.0.1:"), "{}", shown.stdout);
    let shown = reap(&lab, &["out/web/web.ovf", "--dry-run"]);
    shown.expect(0, &[]);
    assert!(shown.stdout.contains("export of web, on 127.0.0.1:"), "{}", shown.stdout);
    assert!(shown.stdout.contains("runs, would be cancelled"), "{}", shown.stdout);
    // Nobody can be asked here.
    reap(&lab, &["out"]).expect(2, &["nothing has been removed yet", "--yes"]);
    assert_eq!(files(&out), before);
    assert_eq!(lab.simulator.leases()[0].state, LeaseState::Ready);

    let done = reap(&lab, &["out", "--yes", "--json"]);
    done.expect(0, &[]);
    let kinds: Vec<String> = done.objects().iter().map(|one| one["kind"].to_string()).collect();
    assert_eq!(kinds, [r#""task""#, r#""file""#, r#""file""#, r#""journal""#]);
    assert!(done.objects().iter().all(|one| one["type"] == "reaped" && one["fate"] == "removed"));
    assert_eq!(files(&out), Vec::<PathBuf>::new());
    assert!(!lab.path("out/web").exists(), "the folder of the package was made for it");
    assert_eq!(lab.simulator.leases()[0].state, LeaseState::Error);
    assert!(lab.simulator.vms().iter().all(|vm| !vm.is_leased));
    reap(&lab, &["--yes"]).expect(0, &["nothing is written down", "looked in ., "]);
    reap(&lab, &["nowhere"]).expect(14, &["no such file"]);
}

/// A journal may have come with a package: whoever wrote it does not get a password, nor is it
/// believed when somebody else can write to it.
#[test]
fn a_journal_from_elsewhere_gets_no_password() {
    let lab = Lab::new(STUCK);
    kill(moving(&lab, &["export", "/DC0/vm/web", text(&lab.path("out/web.ovf"))]));
    let secrets = lab.simulator.secrets();
    let ca = lab.path("ca.pem");
    fs::write(&ca, lab.simulator.certificate_pem()).unwrap();

    // As a file of a package, it gets another name.
    let name = ".web.ovf.ovftransfer-journal";
    let package = lab.path("package");
    let descriptor = lab.package_of(&[1]);
    fs::rename(lab.path("out").join(name), package.join(name)).unwrap();
    fs::remove_dir_all(lab.path("out")).unwrap();
    fs::remove_file(descriptor.with_extension("mf")).unwrap();
    let file = format!("<References><File ovf:href=\"{name}\" ovf:id=\"j\"/>");
    replace(&descriptor, "<References>", &file);
    let made = lab.path("made");
    lab.run(&["convert", text(&descriptor), text(&made.join("web.ovf"))]).expect(0, &[]);
    assert!(files(&made).contains(&made.join("file-1.bin")), "{:?}", files(&made));
    reap(&lab, &["made", "--dry-run"]).expect(0, &["nothing is written down"]);

    // As a file that was unpacked by something else, it is there.
    let unknown = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = lab.command(&["reap", "package", "--ca-cert", text(&ca)]);
        command.args(args).current_dir(lab.folder.path()).envs(variables.iter().copied());
        Done::of(&command.output().unwrap())
    };
    let other = ("OVFTRANSFER_URL", "vc.example");
    for args in [["--dry-run"], ["--yes"]] {
        unknown(&args, &[other]).expect(2, &["only the journal says", "OVFTRANSFER_URL=vi://"]);
    }
    fs::set_permissions(package.join(name), fs::Permissions::from_mode(0o666)).unwrap();
    unknown(&["--yes"], &[]).expect(12, &["others can write to it"]);
    // A session would have given out some more.
    assert_eq!(lab.simulator.secrets(), secrets);

    fs::set_permissions(package.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    unknown(&["--dry-run"], &[]).expect(0, &[]);
}

#[test]
fn an_import_that_was_killed_is_found_without_a_name() {
    let lab = Lab::new(STUCK);
    let package = lab.package();
    kill(moving(&lab, &import_args(&package, "new")));
    let again = |args: &[&str]| {
        Done::of(&lab.command(args).env("XDG_STATE_HOME", lab.path("state")).output().unwrap())
    };
    again(&import_args(&package, "new")).expect(12, &["exists", "ovftransfer reap "]);
    reap(&lab, &["--yes"]).expect(0, &[]);
    lab.expect_machines_left(1);
    assert_eq!(files(&lab.path("state")), Vec::<PathBuf>::new());
}
