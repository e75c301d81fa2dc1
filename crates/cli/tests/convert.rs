//! `convert`: packages into packages, and what is said about it.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::fs::File;
use std::process::Stdio;

use serde_json::json;

mod support;

use support::Done;
use support::appliance;
use support::files;
use support::ours;
use support::replace;
use support::text;

fn run(args: &[&str]) -> Done {
    Done::of(&ours().args(args).output().unwrap())
}

#[test]
fn a_folder_becomes_an_ova_and_a_folder_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    fs::create_dir(path("in")).unwrap();
    let descriptor = appliance(&[1]).write_folder(&path("in")).unwrap().path().to_owned();
    let ova = path("appliance.ova");
    let plan = run(&["convert", text(&descriptor), text(&ova), "--dry-run", "--sha", "1"]);
    plan.expect(0, &[]);
    assert!(plan.stdout.contains("the manifest was by SHA256"), "{}", plan.stdout);
    assert!(!ova.exists());

    let done = run(&["convert", text(&descriptor), text(&ova)]);
    done.expect(0, &[]);
    assert!(done.stdout.contains(&format!("converted to {}", ova.display())), "{}", done.stdout);
    assert!(done.stdout.contains("as in the manifest"), "{}", done.stdout);
    run(&["convert", text(&descriptor), text(&ova)]).expect(12, &["exists", "another name"]);
    let itself = run(&["convert", text(&ova), text(&ova), "--overwrite"]);
    itself.expect(12, &["error: ", "the package itself"]);
    assert!(!itself.stderr.contains("server"), "{}", itself.stderr);
    run(&["verify", text(&ova)]).expect(0, &[]);

    let back = run(&["convert", text(&ova), text(&path("out")), "--json"]);
    back.expect(0, &[]);
    let report = back.object("report");
    assert_eq!(report["command"], "convert");
    assert_eq!(report["package"], text(&path("out/appliance/appliance.ovf")));
    assert_eq!((&report["repairs"], &report["is_descriptor_kept"]), (&json!([]), &json!(true)));
    let names = |folder: &str| -> Vec<(String, Vec<u8>)> {
        let found = files(&path(folder)).into_iter();
        found
            .map(|file| {
                let name = file.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(file).unwrap())
            })
            .collect()
    };
    assert!(names("in") == names("out"), "not the same");
}

#[test]
fn a_package_goes_through_pipes() {
    let temp = tempfile::tempdir().unwrap();
    let ova = temp.path().join("appliance.ova");
    appliance(&[1]).write_ova(&ova).unwrap();
    let piped = |more: &[&str], output: Stdio| {
        let mut command = ours();
        command.args(["convert", "-", "-"]).args(more).stdin(File::open(&ova).unwrap());
        command.stdout(output).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    let done = piped(&[], Stdio::piped());
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{told}");
    assert!(told.contains("standard input: converted"), "{told}");
    assert!(done.stdout == fs::read(&ova).unwrap(), "a good package comes out as it went in");
    assert_eq!(piped(&["--json"], Stdio::piped()).status.code(), Some(2));
    if cfg!(target_os = "linux") {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let done = Done::of(&piped(&[], full.into()));
        done.expect(13, &["No space"]);
    }
}

#[test]
fn what_is_wrong_is_refused_or_repaired_on_request() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    fs::create_dir(path("in")).unwrap();
    let descriptor = appliance(&[1]).write_folder(&path("in")).unwrap().path().to_owned();
    let manifest = descriptor.with_extension("mf");
    let good = fs::read_to_string(&manifest).unwrap();
    let (line, digest) = good.lines().nth(1).unwrap().rsplit_once(' ').unwrap();
    replace(&manifest, digest, &"0".repeat(64));
    let disk = line.split(['(', ')']).nth(1).unwrap();
    let out = path("out.ova");
    let args = ["convert", text(&descriptor), text(&out)];
    run(&args).expect(7, &[disk, "--rehash"]);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    let done = run(&[&args[..], &["--rehash", "--json"]].concat());
    done.expect(0, &["warning: ", disk, "taken as it is"]);
    let report = done.object("report");
    assert_eq!(report["repairs"][0]["repair"], "digest");
    assert_eq!(report["repairs"][0]["is_on_trust"], true);
    run(&["verify", text(&out)]).expect(0, &[]);

    // A descriptor that somebody has changed on purpose.
    replace(&manifest, &"0".repeat(64), digest);
    replace(&descriptor, "appliance</Name>", "another</Name>");
    let changed = path("changed.ova");
    let args = ["convert", text(&descriptor), text(&changed)];
    run(&args).expect(7, &["appliance.ovf", "--rehash"]);
    run(&[&args[..], &["--rehash"]].concat()).expect(0, &["appliance.ovf", "taken as it is"]);
    run(&["verify", text(&changed)]).expect(0, &[]);
    run(&["verify", text(&descriptor)]).expect(7, &["appliance.ovf"]);

    fs::remove_file(path("in").join(disk)).unwrap();
    run(&["convert", text(&descriptor), text(&path("none.ova"))]).expect(6, &[disk]);
    run(&["convert", text(&path("nothing.ova")), text(&path("none.ova"))]).expect(14, &[]);
    run(&["convert", text(&out), "https://h/x.ova"]).expect(2, &["URL", "x.ova"]);
    assert!(!path("none.ova").exists());
}

#[test]
fn a_disk_becomes_a_stream_and_a_raw_one_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    let mut disk = vec![0; 2 << 20];
    disk[100_000..200_000].fill(7);
    fs::write(path("in.raw"), &disk).unwrap();
    let (raw, stream) = (path("in.raw"), path("disk.vmdk"));
    let args = ["convert", text(&raw), text(&stream), "--level", "6"];
    let done = run(&args);
    done.expect(0, &[]);
    assert!(done.stdout.contains(&format!("converted to {}", stream.display())), "{}", done.stdout);
    run(&args).expect(12, &["error: ", "disk.vmdk exists", "--overwrite"]);
    run(&[&args[..], &["--overwrite"]].concat()).expect(0, &[]);
    let done = run(&["convert", text(&stream), text(&path("out.img")), "--json"]);
    done.expect(0, &[]);
    let report = done.object("report");
    assert_eq!(
        (&report["command"], &report["capacity_bytes"]),
        (&json!("convert"), &json!(2 << 20))
    );
    assert!(fs::read(path("out.img")).unwrap() == disk);

    // What is said to be raw is not looked at.
    let twice = path("twice.raw");
    run(&["convert", text(&stream), text(&twice), "--input-format", "raw"]).expect(0, &[]);
    assert!(fs::read(twice).unwrap() == fs::read(&stream).unwrap());

    let mut damaged = fs::read(&stream).unwrap();
    damaged[65_536 + 14] ^= 1;
    fs::write(&stream, damaged).unwrap();
    let none = path("none.raw");
    run(&["convert", text(&stream), text(&none)]).expect(6, &["disk.vmdk", "byte 65536"]);
    run(&["convert", text(&raw), text(&none), "--rehash"]).expect(2, &["--rehash"]);
    run(&["convert", text(&raw), text(&path("none.ova")), "--level", "1"]).expect(2, &["--level"]);
    run(&["convert", text(&raw), text(&path("x.vmdk")), "--level", "13"]).expect(2, &["--level"]);
    if !cfg!(feature = "isal") {
        let out = path("x.vmdk");
        let turbo = ["convert", text(&raw), text(&out), "--level", "turbo"];
        run(&turbo).expect(2, &["was built without ISA-L"]);
    }
    assert!(!none.exists());
}

/// What would be a disk that nobody can read, and nobody would notice.
#[test]
fn what_is_no_disk_is_not_wrapped_into_one() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    let descriptor = appliance(&[1]).write_folder(temp.path()).unwrap().path().to_owned();
    appliance(&[1]).write_ova(&path("small.ova")).unwrap();
    fs::write(path("x.qcow2.gz"), b"\x1f\x8b\x08\0rest").unwrap();
    let mut fixed = vec![0; 4096];
    fixed.extend([&b"conectix"[..], &[0; 504]].concat());
    fs::write(path("fixed.vhd"), &fixed).unwrap();
    fs::write(path("empty.bin"), []).unwrap();
    let out = path("x.vmdk");
    for (input, words) in [
        (descriptor, &["XML", "--input-format raw"][..]),
        (path("small.ova"), &["small.ova", "tar archive", ".ovf or a folder"]),
        (path("x.qcow2.gz"), &["packed with gzip", "unpack"]),
        (path("fixed.vhd"), &["fixed.vhd", "byte 4096", "VHD", "qemu-img"]),
        (path("empty.bin"), &["empty.bin"]),
    ] {
        run(&["convert", text(&input), text(&out)]).expect(6, words);
        assert!(!out.exists());
    }

    // A guest may write what it likes on a raw disk, and who says that it is one is believed.
    fs::copy(path("small.ova"), path("disk.raw")).unwrap();
    fs::copy(path("fixed.vhd"), path("disk.img")).unwrap();
    for (at, input) in ["disk.raw", "disk.img"].iter().enumerate() {
        let out = path(&format!("{at}.vmdk"));
        run(&["convert", text(&path(input)), text(&out)]).expect(0, &[]);
    }
    let ova = path("small.ova");
    run(&["convert", text(&ova), text(&out), "--input-format", "raw"]).expect(0, &[]);
}
