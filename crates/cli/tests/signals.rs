//! SIGINT, SIGTERM and SIGHUP: what was begun is ended, and the exit code says how.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails panics")]
#![cfg(unix)]

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Stdio;
use std::time::Duration;

use ovftransfer_simulator::LeaseState;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use rustix::process::waitpid;
use serde_json::Value;

mod support;

use support::Done;
use support::Lab;
use support::appliance;
use support::files;
use support::import_args;
use support::now;
use support::ours;
use support::pause;
use support::signal;
use support::start;
use support::text;
use support::until;

/// A host on which the appliance of 2 MiB and 1 MiB takes half a second.
const SLOW: &str =
    r#"{"machines": [], "hosts": [{"name": "host0", "throttle_mb_per_s_per_stream": 4}]}"#;

/// A host on which it takes longer than any test waits, but the first bytes of a disk a second.
const STUCK: &str = r#"{
    "hosts": [{"name": "host0", "throttle_mb_per_s_per_stream": 0.1}],
    "machines": [{
        "name": "web",
        "disks": [{"capacity": "16MiB", "data": {"amount": "8MiB", "kind": "random", "seed": 1}}]
    }]
}"#;

fn done(child: Child) -> Done {
    Done::of(&child.wait_with_output().unwrap())
}

/// A process that does not outlive its test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended long ago.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A simulator in a process of its own.
fn simulate(args: &[&str]) -> (Guard, Value) {
    let mut command = ours();
    let child = command.arg("simulate").args(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut child = Guard(child);
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

/// Stops a process, and waits until all of it stands: on a busy machine that is not at once.
fn stop(child: &Child) {
    signal(child, Signal::STOP);
    let pid = Pid::from_child(child);
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped(), "{status:?}");
}

#[test]
fn an_interrupted_import_leaves_no_machine() {
    let hangup = cfg!(target_os = "linux").then_some(Signal::HUP);
    for kind in [Signal::INT, Signal::TERM].into_iter().chain(hangup) {
        let lab = Lab::new(STUCK);
        let package = lab.package();
        let child = start(&mut lab.command(&import_args(&package, "new")));
        until("bytes move", || lab.simulator.leases().iter().any(|lease| lease.moved_bytes > 0));
        let begun = now();
        signal(&child, kind);
        let done = done(child);
        assert!(begun.elapsed() < Duration::from_secs(5));
        done.expect(10, &["interrupted: giving up the lease", "nothing is left behind"]);
        assert_eq!(done.object("error")["kind"], "cancelled");
        lab.expect_untouched();
        assert_eq!(lab.simulator.leases()[0].state, LeaseState::Error);
        let tasks = lab.simulator.tasks();
        assert!(tasks.iter().all(|task| task.state == "error"), "{tasks:?}");
    }
}

#[test]
fn an_interrupted_export_leaves_no_file() {
    let lab = Lab::new(STUCK);
    let out = lab.path("out");
    let child = start(&mut lab.command(&["export", "/DC0/vm/web", text(&out)]));
    until("bytes move", || lab.simulator.leases().iter().any(|lease| lease.moved_bytes > 0));
    signal(&child, Signal::INT);
    done(child).expect(10, &["interrupted"]);
    assert_eq!(files(&out), Vec::<PathBuf>::new());
    lab.expect_untouched();
    assert_eq!(lab.simulator.leases()[0].state, LeaseState::Error);
}

/// Whatever the moment: either the import is complete, exit code 0, and the machine is there, or
/// it is not, exit code 10, and nothing is.
#[test]
fn every_moment_is_a_good_one() {
    let lab = Lab::new(SLOW);
    let package = lab.package();
    let moments: Vec<u64> = (0..20).map(|n| n * 40).collect();
    let mut complete = 0;
    for group in moments.chunks(4) {
        let names: Vec<String> = group.iter().map(|moment| format!("at-{moment}")).collect();
        std::thread::scope(|scope| {
            for (moment, name) in group.iter().zip(&names) {
                let (lab, package) = (&lab, &package);
                scope.spawn(move || {
                    interrupt_at(lab, package, name, Duration::from_millis(*moment))
                });
            }
        });
        for name in &names {
            complete += usize::from(lab.simulator.vms().iter().any(|vm| vm.name == *name));
        }
        lab.expect_machines(complete);
    }
    assert!(complete < moments.len(), "none was in time");
}

fn interrupt_at(lab: &Lab, package: &Path, name: &str, moment: Duration) {
    let child = start(&mut lab.command(&import_args(package, name)));
    let lease = || lab.simulator.leases().into_iter().find(|lease| lease.machine == name);
    until("the lease is there", || lease().is_some());
    pause(moment);
    let begun = now();
    signal(&child, Signal::INT);
    let done = done(child);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let is_there = lab.simulator.vms().iter().any(|vm| vm.name == name);
    let state = lease().unwrap().state;
    match done.code {
        Some(0) => assert!(is_there && state == LeaseState::Done, "{moment:?}: {done:?}"),
        Some(10) => assert!(!is_there && state == LeaseState::Error, "{moment:?}: {done:?}"),
        _ => panic!("{moment:?}: {done:?}"),
    }
}

/// The system tells of a lost terminal, and then the shell does: that is one request, not two.
#[cfg(target_os = "linux")]
#[test]
fn a_lost_terminal_leaves_time_to_clean_up() {
    let lab = Lab::new(STUCK);
    let out = lab.path("out");
    let mut child = start(&mut lab.command(&["export", "/DC0/vm/web", text(&out)]));
    until("bytes move", || lab.simulator.leases().iter().any(|lease| lease.moved_bytes > 0));
    signal(&child, Signal::HUP);
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap().contains("interrupted")));
    signal(&child, Signal::HUP);
    assert_eq!(child.wait().unwrap().code(), Some(10));
    assert_eq!(files(&out), Vec::<PathBuf>::new());
    lab.expect_untouched();
}

/// `nohup` has the signal ignored.
#[cfg(target_os = "linux")]
#[test]
fn nohup_keeps_it_alive() {
    let lab = Lab::new(SLOW);
    let package = lab.package();
    let plain = lab.command(&import_args(&package, "new"));
    let mut command = std::process::Command::new("nohup");
    command.arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let child = start(&mut command);
    until("bytes move", || lab.simulator.leases().iter().any(|lease| lease.moved_bytes > 0));
    signal(&child, Signal::HUP);
    done(child).expect(0, &[]);
    lab.expect_machines(1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_lost_terminal_leaves_no_temporary_folder() {
    let temp = tempfile::tempdir().unwrap();
    let child = start(ours().arg("demo").env("TMPDIR", temp.path()));
    until("something is made", || fs::read_dir(temp.path()).unwrap().count() > 0);
    signal(&child, Signal::HUP);
    done(child).expect(10, &[]);
    assert_eq!(files(temp.path()), Vec::<PathBuf>::new());
}

#[test]
fn before_the_lease_there_is_nothing_to_clean_up() {
    // A server that accepts connections and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("vi://u:p@{}/DC0/vm/a", listener.local_addr().unwrap());
    let child = start(ours().args(["export", &source, "out"]));
    let _held = listener.accept().unwrap();
    let begun = now();
    signal(&child, Signal::INT);
    done(child).expect(10, &[]);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_second_interrupt_leaves_at_once_and_says_what_may_be_left() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("scenario.json");
    fs::write(&scenario, STUCK).unwrap();
    let package = appliance(&[2]).write_folder(folder.path()).unwrap();
    let (server, answers) = simulate(&["--scenario", text(&scenario)]);
    let field = |name: &str| answers[name].as_str().unwrap().to_owned();
    let mut command = ours();
    command
        .args(import_args(package.path(), "new"))
        .env("OVFTRANSFER_URL", field("url"))
        .env("OVFTRANSFER_USERNAME", field("username"))
        .env("OVFTRANSFER_PASSWORD", field("password"))
        .env("OVFTRANSFER_THUMBPRINT", field("thumbprint"));
    let mut child = start(&mut command);
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(stdout.any(|line| line.unwrap().contains("file_start")));
    // The server does not answer any more.
    stop(&server.0);
    signal(&child, Signal::INT);
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap().contains("interrupt again")));
    let begun = now();
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(11));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let rest: Vec<String> = stderr.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.contains("new may be on")), "{rest:?}");
}

#[test]
fn the_simulator_runs_until_it_is_interrupted() {
    for kind in [Signal::INT, Signal::TERM] {
        let (mut server, answers) = simulate(&["--seed", "7"]);
        for field in ["url", "username", "password", "thumbprint"] {
            assert!(answers[field].is_string(), "{answers}");
        }
        assert_eq!(answers.as_object().unwrap().len(), 4);
        signal(&server.0, kind);
        assert_eq!(server.0.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn the_simulator_can_be_a_host_without_vcenter() {
    let (_server, answers) = simulate(&["--esxi"]);
    let text_of = |field: &str| answers[field].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let export = |name: &str, wire: &str| {
        let address = text_of("url").strip_prefix("https://").unwrap();
        let source = format!("vi://root@{address}/ha-datacenter/vm/small");
        let mut command = ours();
        command.args(["export", &source, text(&folder.path().join(name)), "--wire", wire]);
        command.args(["--username", text_of("username"), "--thumbprint", text_of("thumbprint")]);
        command.env("OVFTRANSFER_PASSWORD", text_of("password"));
        Done::of(&command.output().unwrap())
    };
    export("small", "auto").expect(0, &[]);
    assert!(!files(&folder.path().join("small")).is_empty());
    // Such a host speaks SOAP only.
    assert_ne!(export("other", "json").code, Some(0));
}

#[test]
fn a_bad_scenario_is_a_usage_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("scenario.json");
    let run = |content: &str| {
        fs::write(&scenario, content).unwrap();
        Done::of(&ours().args(["simulate", "--scenario", text(&scenario)]).output().unwrap())
    };
    run("{\n  \"machine\": []\n}").expect(2, &["line 2", "column", "scenario.json"]);
    run(r#"{"hosts": []}"#).expect(2, &["hosts"]);
    let missing = folder.path().join("none.json");
    let output = ours().args(["simulate", "--scenario", text(&missing)]).output().unwrap();
    Done::of(&output).expect(14, &["none.json"]);
}

#[test]
fn the_demo_ends_cleanly_when_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(ours().arg("demo").env("TMPDIR", folder.path()));
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap().contains("import demo.ova")));
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(10));
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
