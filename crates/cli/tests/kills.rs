//! SIGKILL at any moment: what a killed run leaves, how the same command goes on, and that `reap`
//! leaves nothing.
//!
//! `.ci/campaign kills` runs many of these; every number stands for one run, and the same number always draws
//! the same machine, command and moment.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that fails panics"
)]
#![cfg(unix)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use ovftransfer_simulator::LeaseState;
use rustix::process::Signal;

mod support;

use support::Done;
use support::Lab;
use support::appliance;
use support::files;
use support::import_args;
use support::now;
use support::pause;
use support::signal;
use support::start;
use support::text;
use support::until;

/// A generator of numbers that need not be good, only the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What a run is made of.
#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    is_import: bool,
    is_ova: bool,
    is_live: bool,
    wire: &'static str,
    /// KiB of incompressible data on each disk.
    disks_kib: Vec<u64>,
    /// When the kill comes, in thousandths of the time that an undisturbed run takes.
    moment: u64,
    /// Whether the run is cleaned up after instead of gone on with.
    is_reaped: bool,
}

impl Plan {
    fn draw(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut one_in = |count: u64| random.below(count) == 0;
        let (is_import, is_ova, is_live) = (one_in(3), one_in(3), one_in(4));
        let wire = if one_in(2) { "json" } else { "soap" };
        let is_reaped = one_in(3);
        let disks = 1 + random.below(8);
        let disks_kib = (0..disks).map(|_| 64 << random.below(5)).collect();
        let moment = random.below(1050);
        Self { seed, is_import, is_ova, is_live, wire, disks_kib, moment, is_reaped }
    }

    /// A server whose hosts are slow enough to be killed in the middle.
    fn lab(&self) -> Lab {
        let disk = |(seed, kib): (usize, &u64)| {
            format!(
                r#"{{"capacity": "8MiB", "data": {{"amount": "{kib}KiB", "kind": "random", "seed": {seed}}}}}"#
            )
        };
        let disks: Vec<String> = self.disks_kib.iter().enumerate().map(disk).collect();
        let is_on = self.is_live && !self.is_import;
        let machines = format!(
            r#"[{{"name": "web", "powered_on": {is_on}, "disks": [{}]}}]"#,
            disks.join(", ")
        );
        let machines = if self.is_import { "[]".to_owned() } else { machines };
        Lab::new(&format!(
            r#"{{"machines": {machines}, "lease_timeout_s": 4,
                 "hosts": [{{"name": "host0", "throttle_mb_per_s_per_stream": 3}}]}}"#
        ))
    }

    /// The command, which makes the same each time.
    fn command(&self, lab: &Lab, name: &str) -> Command {
        let target = lab.path(if self.is_ova { "out/web.ova" } else { "out" });
        let mut args = if self.is_import {
            let package = lab.path("package/appliance.ovf");
            import_args(&package, name).map(str::to_owned).to_vec()
        } else {
            ["export", "/DC0/vm/web", text(&target), "--json"].map(str::to_owned).to_vec()
        };
        args.extend(["--wire", self.wire].map(str::to_owned));
        if self.is_live && !self.is_import {
            args.push("--live".to_owned());
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = lab.command(&args);
        command.env("XDG_STATE_HOME", lab.path("state"));
        command
    }
}

/// What was counted.
#[derive(Debug, Default)]
struct Counts {
    kills: AtomicU64,
    too_late: AtomicU64,
    resumed: AtomicU64,
    refused: AtomicU64,
    kept: AtomicU64,
    cancelled: AtomicU64,
    reaped: AtomicU64,
}

fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

/// One run from its beginning to the proof that nothing is left.
fn run(plan: &Plan, counts: &Counts) {
    let lab = plan.lab();
    if plan.is_import {
        let folder = lab.path("package");
        fs::create_dir(&folder).unwrap();
        let mib: Vec<u64> = plan.disks_kib.iter().map(|kib| kib.div_ceil(1024)).collect();
        appliance(&mib).write_folder(&folder).unwrap();
    }
    // How long it takes, and what comes out.
    let begun = now();
    Done::of(&plan.command(&lab, "whole").output().unwrap()).expect(0, &[]);
    let took = begun.elapsed();
    let wanted = outcome(plan, &lab, "whole");
    let served = lab.simulator.leases()[0].moved_bytes;
    if !plan.is_import {
        fs::remove_dir_all(lab.path("out")).unwrap();
    }

    let mut child = start(&mut plan.command(&lab, "web"));
    pause(took * u32::try_from(plan.moment).unwrap() / 1000);
    signal(&child, Signal::KILL);
    let status = child.wait().unwrap();
    if status.code().is_some() {
        count(&counts.too_late, 1);
        assert_eq!(outcome(plan, &lab, "web"), wanted);
        return;
    }
    count(&counts.kills, 1);
    check_names(plan, &lab, &wanted);
    let all = || files(lab.folder.path()).into_iter();
    if is_whole(plan, &lab, &wanted) && !all().any(|path| is_journal(&path)) {
        // Only its last words are missing.
        return;
    }
    if plan.is_reaped {
        reap(plan, &lab, counts);
        if is_whole(plan, &lab, &wanted) {
            return;
        }
        expect_nothing(plan, &lab);
    }
    go_on(plan, &lab, &wanted, served, counts);
    let is_cancelled = |kind: &str| kind == "RequestCanceled";
    let faults = lab.simulator.leases().into_iter().filter_map(|lease| lease.fault);
    count(&counts.cancelled, faults.filter(|fault| is_cancelled(&fault.kind)).count());
}

/// The files of a package, or the disks of a machine; names and digests.
fn outcome(plan: &Plan, lab: &Lab, name: &str) -> BTreeMap<String, Vec<u8>> {
    if plan.is_import {
        let is_there = lab.simulator.vms().iter().any(|vm| vm.name == name);
        let digests = if is_there { lab.digests(name) } else { Vec::new() };
        return digests.into_iter().enumerate().map(|(n, d)| (n.to_string(), d.into())).collect();
    }
    if plan.is_ova {
        return members(&lab.path("out/web.ova"));
    }
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read(&path).unwrap())
    };
    files(&lab.path("out")).into_iter().map(named).collect()
}

/// The members of an archive.  Their order, and with it the descriptor, follows the order in which
/// the disks came; so of the descriptor and the manifest only that they are there counts here, and
/// `verify` compares the rest.
fn members(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(bytes) = fs::read(archive) else { return BTreeMap::new() };
    Done::of(&support::ours().args(["verify", text(archive)]).output().unwrap()).expect(0, &[]);
    let mut found = BTreeMap::new();
    let mut at = 0;
    while bytes.get(at).is_some_and(|first| *first != 0) {
        let field = |from: usize, len: usize| {
            let text = String::from_utf8_lossy(&bytes[at + from..at + from + len]).into_owned();
            text.trim_matches(['\0', ' ']).to_owned()
        };
        let (name, size) = (field(0, 100), usize::from_str_radix(&field(124, 12), 8).unwrap());
        let content = at + 512..at + 512 + size;
        let is_small = name.ends_with(".ovf") || name.ends_with(".mf");
        found.insert(name, if is_small { Vec::new() } else { bytes[content].to_vec() });
        at += 512 + size.next_multiple_of(512);
    }
    found
}

/// Nothing that is not whole has a final name.
fn check_names(plan: &Plan, lab: &Lab, wanted: &BTreeMap<String, Vec<u8>>) {
    if plan.is_import {
        return;
    }
    for path in files(&lab.path("out")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".partial") || name.starts_with('.') {
            continue;
        }
        if plan.is_ova {
            assert_eq!(&members(&path), wanted);
            continue;
        }
        assert_eq!(wanted.get(&name), Some(&fs::read(&path).unwrap()), "{name}");
        if name.ends_with(".ovf") {
            let all = files(&lab.path("out"));
            let is_there = |name: &String| all.iter().any(|path| path.ends_with(name));
            assert!(wanted.keys().all(is_there), "a descriptor without its files: {all:?}");
        }
    }
}

/// Whether the run was killed after its work was done.
fn is_whole(plan: &Plan, lab: &Lab, wanted: &BTreeMap<String, Vec<u8>>) -> bool {
    !wanted.is_empty() && outcome(plan, lab, "web") == *wanted
}

/// The same command again makes what an undisturbed one does.
fn go_on(plan: &Plan, lab: &Lab, wanted: &BTreeMap<String, Vec<u8>>, served: u64, counts: &Counts) {
    let leases_before = lab.simulator.leases().len();
    let proven = proven(lab);
    let mut done = Done::of(&plan.command(lab, "web").output().unwrap());
    if plan.is_import && done.code != Some(0) {
        // The half-made machine is still there, or the whole one; the message says which.
        count(&counts.refused, 1);
        done.expect(12, &[]);
        let is_complete =
            is_whole(plan, lab, wanted) && lab.simulator.vms().iter().all(|vm| !vm.is_leased);
        if is_complete {
            reap(plan, lab, counts);
            assert!(is_whole(plan, lab, wanted), "reap took a machine that is complete");
            return;
        }
        assert!(done.stderr.contains("ovftransfer reap "), "{}", done.stderr);
        reap(plan, lab, counts);
        done = Done::of(&plan.command(lab, "web").output().unwrap());
    }
    if plan.is_live && done.code != Some(0) && is_whole(plan, lab, wanted) {
        // What the package was made of is gone, so nothing proves that it is what was asked for.
        done.expect(12, &[]);
        assert!(done.stderr.contains("ovftransfer reap "), "{}", done.stderr);
        reap(plan, lab, counts);
        assert!(is_whole(plan, lab, wanted), "reap took a package that is complete");
        expect_idle(lab);
        return;
    }
    done.expect(0, &[]);
    count(&counts.resumed, 1);
    assert_eq!(outcome(plan, lab, "web"), *wanted);
    let kept: u64 = done.object("report")["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|file| file["kept"] == true)
        .map(|file| file["bytes"].as_u64().unwrap())
        .sum();
    let leases = lab.simulator.leases();
    if !plan.is_import && leases.len() > leases_before {
        // What was kept was not served again, and what was proven was kept.
        assert_eq!(leases.last().unwrap().moved_bytes + kept, served);
        let kept = done.objects().iter().filter(|one| one["type"] == "file_kept").count();
        if !plan.is_ova {
            assert_eq!(kept, proven, "disks that were proven were fetched again");
        }
        count(&counts.kept, kept);
    }
    expect_idle(lab);
    let left: Vec<_> =
        files(lab.folder.path()).into_iter().filter(|path| is_journal(path)).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn is_journal(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".ovftransfer-journal")
}

/// How many files a journal names as proven.
fn proven(lab: &Lab) -> usize {
    let journals = files(&lab.path("out")).into_iter().filter(|path| is_journal(path));
    let lines = journals.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
    lines.map(|text| text.matches(r#"{"is":"proven""#).count()).sum()
}

fn reap(plan: &Plan, lab: &Lab, counts: &Counts) {
    let state = lab.path("state");
    let mut args = vec!["reap", "--yes", "--json", "--wire", plan.wire];
    let places = ["state/ovftransfer", "out"];
    args.extend(places.iter().filter(|place| lab.path(place).is_dir()));
    if args.len() == 5 {
        return;
    }
    let mut command = lab.command(&args);
    command.env("XDG_STATE_HOME", &state).current_dir(lab.folder.path());
    Done::of(&command.output().unwrap()).expect(0, &[]);
    count(&counts.reaped, 1);
}

/// Nothing is under way on the server, and no snapshot is left.
fn expect_idle(lab: &Lab) {
    let is_over = |state| matches!(state, LeaseState::Done | LeaseState::Error);
    until("every lease has ended", || {
        lab.simulator.leases().iter().all(|lease| is_over(lease.state))
    });
    for vm in lab.simulator.vms() {
        assert!(!vm.is_leased && vm.snapshots.is_empty(), "{vm:?}");
    }
}

fn expect_nothing(plan: &Plan, lab: &Lab) {
    expect_idle(lab);
    if plan.is_import {
        assert!(lab.simulator.vms().iter().all(|vm| vm.name != "web"), "the machine is left");
    }
    for path in ["out", "state"].into_iter().flat_map(|place| files(&lab.path(place))) {
        // Killed before the journal had its name: an empty lock, or the beginning of a journal.
        let is_empty = fs::metadata(&path).unwrap().len() == 0;
        let name = path.to_string_lossy();
        assert!(
            name.ends_with(".new") || (name.ends_with(".partial") && is_empty),
            "{name} is left"
        );
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `KILLS` runs from the number `KILLS_SEED` on, `KILLS_PARALLEL` at a time.
#[test]
#[ignore = "takes a second and more for each kill: run by .ci/campaign kills"]
fn any_moment_will_do() {
    let (kills, first) = (number("KILLS", 100), number("KILLS_SEED", 1));
    let counts = Counts::default();
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..number("KILLS_PARALLEL", 4) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + kills {
                        break;
                    }
                    let plan = Plan::draw(seed);
                    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        run(&plan, &counts)
                    }));
                    if ran.is_err() {
                        failed.lock().unwrap().push(plan);
                    }
                }
            });
        }
    });
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "ci: {} kills ({} came too late): {} went on, {} disks kept, {} imports told of reap, \
         {} runs reaped, {} tasks cancelled",
        read(&counts.kills),
        read(&counts.too_late),
        read(&counts.resumed),
        read(&counts.kept),
        read(&counts.refused),
        read(&counts.reaped),
        read(&counts.cancelled),
    );
    let failed = failed.into_inner().unwrap();
    for plan in &failed {
        println!("ci: failed: {plan:?}; again by: .ci/campaign kills 1 {}", plan.seed);
    }
    assert!(failed.is_empty(), "{} of {kills} failed", failed.len());
}
