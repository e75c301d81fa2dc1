//! The machine that the program runs on lets it down: full disks, limits, files that change.
//!
//! File systems of their own are mounted in a mount namespace, which goes with the process.  Where
//! that is not allowed these tests are left out, unless `OVFTRANSFER_REQUIRE_PEERS` is set.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails panics")]
#![allow(clippy::print_stderr, reason = "a test that is left out says so")]
#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

mod support;

use support::Done;
use support::Lab;
use support::files;
use support::import_args;
use support::start;
use support::text;
use support::until;

/// A machine with two disks, 8 MiB together.
const WEB: &str = r#"{"machines": [{"name": "web", "disks": [
    {"capacity": "16MiB", "data": {"amount": "6MiB", "kind": "random", "seed": 1}},
    {"capacity": "16MiB", "data": {"amount": "2MiB", "kind": "random", "seed": 2}}
]}]}"#;

/// The same on a host where it takes longer than any test waits.
const SLOW: &str = r#"{
    "hosts": [{"name": "host0", "throttle_mb_per_s_per_stream": 1}],
    "machines": [{"name": "web", "disks": [
        {"capacity": "64MiB", "data": {"amount": "40MiB", "kind": "random", "seed": 1}}
    ]}]
}"#;

const EMPTY: &str = r#"{"machines": []}"#;

/// The lab's program behind a shell that runs `before` with it as `"$@"`.
fn behind(lab: &Lab, shell: &[&str], before: &str, args: &[&str]) -> Command {
    let direct = lab.command(args);
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["sh", "-c", before, "sh"]);
    command.arg(direct.get_program()).args(direct.get_args()).stdin(Stdio::null());
    for (name, value) in direct.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Runs the program with a limit of the shell's `ulimit`.
fn limited(lab: &Lab, limit: &str, args: &[&str]) -> Done {
    let before = format!("ulimit {limit} && exec \"$@\"");
    Done::of(&behind(lab, &["env"], &before, args).output().unwrap())
}

/// Runs the program with a file system of its own at `place`, and lists what it leaves there.
/// `None` where nothing may be mounted.
fn mounted(lab: &Lab, place: &Path, options: &str, args: &[&str]) -> Option<(Done, Vec<String>)> {
    fs::create_dir_all(place).unwrap();
    let list = lab.path("left");
    let before = format!(
        "mount -t tmpfs -o {options} none '{0}' || exit {NOT_ALLOWED}\n\
         \"$@\"; code=$?; find '{0}' -mindepth 1 > '{1}'; exit $code",
        place.display(),
        list.display(),
    );
    let namespace = ["unshare", "--map-root-user", "--mount"];
    let done = Done::of(&behind(lab, &namespace, &before, args).output().ok()?);
    // 1: no namespace; the program itself is asked for nothing that ends with it.
    if [Some(NOT_ALLOWED), Some(1)].contains(&done.code) {
        assert!(env::var_os("OVFTRANSFER_REQUIRE_PEERS").is_none(), "{}", done.stderr);
        eprintln!("left out: nothing may be mounted here: {}", done.stderr);
        return None;
    }
    let left = fs::read_to_string(list).unwrap();
    Some((done, left.lines().map(str::to_owned).collect()))
}

#[test]
fn a_full_disk_is_code_13_and_leaves_nothing() {
    let lab = Lab::new(WEB);
    let place = lab.path("full");
    let ova = place.join("web.ova");
    for (target, more) in [(&place, &[][..]), (&ova, &[]), (&place, &["--parallel", "1"])] {
        let args = [&["export", "/DC0/vm/web", text(target), "--json"], more].concat();
        let Some((done, left)) = mounted(&lab, &place, "size=5m", &args) else { return };
        done.expect(13, &["No space left on device"]);
        assert_eq!(left, [""; 0]);
        assert_eq!(done.object("error")["kind"], "no_space");
        lab.expect_untouched();
    }
}

/// What is spooled for a pipe needs room too.
#[test]
fn a_full_spool_is_code_13_and_leaves_nothing() {
    let lab = Lab::new(WEB);
    let place = lab.path("spool");
    let args = ["export", "/DC0/vm/web", "-", "--spool-dir", text(&place)];
    let Some((done, left)) = mounted(&lab, &place, "size=5m", &args) else { return };
    done.expect(13, &["No space left on device"]);
    assert_eq!((done.stdout.as_str(), left), ("", Vec::new()));
    lab.expect_untouched();
}

#[test]
fn a_full_disk_stops_a_conversion() {
    let lab = Lab::new(EMPTY);
    let package = lab.package_of(&[6, 1]);
    let place = lab.path("full");
    let output = place.join("copy.ova");
    let args = ["convert", text(&package), text(&output)];
    let Some((done, left)) = mounted(&lab, &place, "size=5m", &args) else { return };
    done.expect(13, &["bytes are free", text(&place)]);
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_folder_that_cannot_be_written_is_code_14_before_the_server_is_asked_for_a_lease() {
    let lab = Lab::new(WEB);
    let place = lab.path("read-only");
    for target in [&place, &place.join("web.ova")] {
        let args = ["export", "/DC0/vm/web", text(target)];
        let Some((done, _)) = mounted(&lab, &place, "size=1m,ro", &args) else { return };
        done.expect(14, &["Read-only file system", text(&place)]);
        lab.expect_untouched();
        assert_eq!(lab.simulator.leases().len(), 0);
    }
}

/// The signal that comes with this limit would kill the program with its lease in its hands.
#[test]
fn a_limit_on_the_size_of_files_is_code_13_and_leaves_nothing() {
    let lab = Lab::new(WEB);
    for target in [lab.path("out"), lab.path("out/web.ova")] {
        // Blocks of 512 bytes: 3 MiB.
        let done = limited(&lab, "-f 6144", &["export", "/DC0/vm/web", text(&target)]);
        done.expect(13, &["File too large"]);
        assert_eq!(files(&lab.path("out")), Vec::<PathBuf>::new());
        lab.expect_untouched();
    }
    let package = lab.package_of(&[4]);
    let copy = lab.path("copy.ova");
    limited(&lab, "-f 6144", &["convert", text(&package), text(&copy)]).expect(13, &["too large"]);
    assert!(!copy.exists());
}

/// 60 disks, and no more than 256 files open at a time, of which some are sockets.
#[test]
fn many_disks_need_few_open_files() {
    let disk = r#"{"capacity": "1MiB", "data": {"amount": "64KiB", "kind": "random", "seed": 1}}"#;
    let disks = vec![disk; 60].join(",");
    let machine = format!(r#"{{"name": "many", "disks": [{disks}]}}"#);
    let lab = Lab::new(&format!(r#"{{"machines": [{machine}]}}"#));
    let widest = ["--parallel", "24", "--per-host", "24", "--json"];
    for target in [lab.path("many.ova"), lab.path("out")] {
        let export = [&["export", "/DC0/vm/many", text(&target)], &widest[..]].concat();
        let done = limited(&lab, "-n 256", &export);
        done.expect(0, &[]);
        let package = PathBuf::from(done.object("report")["package"].as_str().unwrap());
        limited(&lab, "-n 256", &["verify", text(&package)]).expect(0, &[]);
        let name = format!("again-{}", target.file_name().unwrap().to_str().unwrap());
        let import = [&import_args(&package, &name)[..], &widest[..4]].concat();
        limited(&lab, "-n 256", &import).expect(0, &[]);
        assert_eq!(lab.digests(&name), lab.digests("many"));
    }
    lab.expect_machines(3);
}

/// The soft limit is for programs that cannot do with more; a shell of macOS sets it to 256.
#[test]
fn a_soft_limit_on_open_files_is_raised() {
    let lab = Lab::new(WEB);
    let out = lab.path("out");
    limited(&lab, "-S -n 12", &["export", "/DC0/vm/web", text(&out)]).expect(0, &[]);
}

#[test]
fn one_core_is_enough() {
    let lab = Lab::new(WEB);
    let run = |args: &[&str]| {
        let shell = ["taskset", "--cpu-list", "0"];
        Done::of(&behind(&lab, &shell, "exec \"$@\"", args).output().unwrap())
    };
    let ova = lab.path("web.ova");
    run(&["export", "/DC0/vm/web", text(&ova)]).expect(0, &[]);
    run(&["verify", "--deep", text(&ova)]).expect(0, &[]);
    run(&import_args(&ova, "again")).expect(0, &[]);
    assert_eq!(lab.digests("again"), lab.digests("web"));
}

/// Somebody cuts a disk of the package while it is being sent.
#[test]
fn a_file_that_shrinks_under_way_is_never_a_machine() {
    let lab = Lab::new(SLOW);
    let package = lab.package_of(&[8]);
    let disk = files(package.parent().unwrap())
        .into_iter()
        .find(|file| file.extension().is_some_and(|extension| extension == "vmdk"))
        .unwrap();
    let child = start(&mut lab.command(&import_args(&package, "cut")));
    until("bytes move", || lab.simulator.leases().iter().any(|lease| lease.moved_bytes > 0));
    OpenOptions::new().write(true).open(&disk).unwrap().set_len(1 << 20).unwrap();
    let done = Done::of(&child.wait_with_output().unwrap());
    assert!(matches!(done.code, Some(6 | 7 | 14)), "{done:?}");
    done.expect(done.code.unwrap(), &[disk.file_name().unwrap().to_str().unwrap()]);
    lab.expect_untouched();
}

/// Somebody removes the folder into which an export goes.
#[test]
fn a_folder_that_vanishes_under_way_is_code_14() {
    let lab = Lab::new(
        r#"{
        "hosts": [{"name": "host0", "throttle_mb_per_s_per_stream": 2}],
        "machines": [{"name": "web", "disks": [
            {"capacity": "16MiB", "data": {"amount": "3MiB", "kind": "random", "seed": 1}}
        ]}]
    }"#,
    );
    let out = lab.path("out");
    let child = start(&mut lab.command(&["export", "/DC0/vm/web", text(&out)]));
    until("bytes move", || lab.simulator.leases().iter().any(|lease| lease.moved_bytes > 0));
    fs::remove_dir_all(&out).unwrap();
    let done = Done::of(&child.wait_with_output().unwrap());
    done.expect(14, &[text(&out)]);
    assert_eq!(files(&out), Vec::<PathBuf>::new());
    lab.expect_untouched();
}

/// The time of day is another at every look, years before and behind the real one.  The run that goes
/// on with what was proven finds itself years before it was.
#[cfg(target_env = "gnu")]
#[test]
fn no_wait_is_by_the_time_of_day() {
    let lab = Lab::new(
        r#"{
        "hosts": [{"name": "host0", "throttle_mb_per_s_per_stream": 4}],
        "machines": [{"name": "web", "disks": [
            {"capacity": "16MiB", "data": {"amount": "4MiB", "kind": "random", "seed": 1}},
            {"capacity": "16MiB", "data": {"amount": "128KiB", "kind": "random", "seed": 2}}
        ]}]
    }"#,
    );
    let clock = jumping_clock(&lab);
    let out = lab.path("out");
    let export = |years: &str| {
        let mut command = lab.command(&["export", "/DC0/vm/web", text(&out), "--json"]);
        command.env("LD_PRELOAD", &clock).env("YEARS", years);
        command
    };
    let mut child = start(&mut export("4 8"));
    let journal = lab.path("out/web/.web.ovf.ovftransfer-journal");
    let noted = || fs::read_to_string(&journal).unwrap_or_default();
    until("a disk is proven", || noted().contains(r#""is":"proven""#));
    child.kill().unwrap();
    child.wait().unwrap();
    let begin = noted();
    // Behind length and CRC.
    let begin = begin.lines().next().unwrap().split_at(18).1;
    let begin: serde_json::Value = serde_json::from_str(begin).unwrap();
    let real = fs::metadata(&journal).unwrap().modified().unwrap();
    let real = real.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(begin["started"].as_u64().unwrap() > real + 3 * YEAR_S, "{begin} at {real}");

    let done = Done::of(&export("-4 -8").output().unwrap());
    done.expect(0, &[]);
    let files = done.object("report")["files"].clone();
    let kept = |file: &&serde_json::Value| file["kept"] == true;
    assert_eq!(files.as_array().unwrap().iter().filter(kept).count(), 1, "{files}");
    assert_eq!(lab.run(&["verify", text(&lab.path("out/web/web.ovf"))]).code, Some(0));
    lab.expect_machines_left(1);
}

/// A library that, loaded before the system's, sets the time of day anew whenever it is read: by the
/// first number of `YEARS` and by the second in turns.  The clock that only goes forward is left alone.
#[cfg(target_env = "gnu")]
fn jumping_clock(lab: &Lab) -> PathBuf {
    let (source, library) = (lab.path("clock.c"), lab.path("clock.so"));
    let code = format!(
        r#"
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/syscall.h>
        #include <time.h>
        #include <unistd.h>
        int clock_gettime(clockid_t clock, struct timespec *now) {{
            static unsigned looks;
            int years[2] = {{0, 0}};
            long result = syscall(SYS_clock_gettime, clock, now);
            if (clock == CLOCK_REALTIME && getenv("YEARS")) {{
                sscanf(getenv("YEARS"), "%d %d", &years[0], &years[1]);
                now->tv_sec += years[__sync_fetch_and_add(&looks, 1) % 2] * {YEAR_S}L;
            }}
            return (int)result;
        }}"#
    );
    fs::write(&source, code).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o", text(&library), text(&source)]);
    let built = cc.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

#[cfg(target_env = "gnu")]
const YEAR_S: u64 = 365 * 86_400;

/// A word about it, and no refusal: secrets that are mounted into a container look like this.
#[test]
fn a_password_that_everybody_can_read_is_a_warning() {
    let lab = Lab::new(EMPTY);
    let file = lab.path("password");
    fs::write(&file, lab.simulator.password()).unwrap();
    let run = || {
        let mut command = lab.command(&["ls", "/DC0", "--password-file", text(&file)]);
        Done::of(&command.env_remove("OVFTRANSFER_PASSWORD").output().unwrap())
    };
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let open = run();
    open.expect(0, &["warning: every user of this machine can read the password", "chmod 600"]);
    fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    let closed = run();
    closed.expect(0, &[]);
    assert_eq!(closed.stderr, "");
}

/// Exit code of the shell where nothing may be mounted.
const NOT_ALLOWED: i32 = 99;
