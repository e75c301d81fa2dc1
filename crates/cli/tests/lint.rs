//! `lint`: which descriptors are accepted, and what is said of the others.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::io::Write;
use std::process::Stdio;

mod support;

use serde_json::json;
use support::Done;
use support::appliance;
use support::ours;
use support::start;
use support::text;

/// A descriptor in which two networks have one name.
fn wrong() -> String {
    let networks =
        r#"<NetworkSection><Info/><Network ovf:name="a"/><Network ovf:name="a"/></NetworkSection>"#;
    RIGHT.replace("<VirtualSystem", &format!("{networks}\n<VirtualSystem"))
}

const RIGHT: &str = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
<References><File ovf:id="f" ovf:href="a.iso" ovf:size="3"/></References>
<VirtualSystem ovf:id="vm"><Info/><VirtualHardwareSection><Info/></VirtualHardwareSection></VirtualSystem>
</Envelope>"#;

fn run(args: &[&str]) -> Done {
    Done::of(&ours().arg("lint").args(args).output().unwrap())
}

#[test]
fn a_descriptor_is_accepted_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (right, bad) = (folder.path().join("right.ovf"), folder.path().join("wrong.ovf"));
    fs::write(&right, RIGHT).unwrap();
    fs::write(&bad, wrong()).unwrap();

    // What is missing beside a descriptor does not refuse it.
    let done = run(&[text(&right)]);
    done.expect(0, &[]);
    assert!(done.stdout.contains("right.ovf: accepted, 0 errors, 0 warnings"), "{}", done.stdout);
    fs::write(folder.path().join("b.iso"), "abc").unwrap();

    let done = run(&[text(&bad)]);
    done.expect(6, &["1 of 1 descriptor refused"]);
    for words in [
        "wrong.ovf: refused, 1 error, 0 warnings",
        "3:47",
        "network-duplicate",
        "a second network \"a\" (Envelope/NetworkSection/Network[2], DSP0243 §9.2)",
    ] {
        assert!(done.stdout.contains(words), "{words} in {}", done.stdout);
    }

    let packed = folder.path().join("small.ovf.gz");
    fs::write(&packed, b"\x1f\x8b\x08\0rest").unwrap();
    let done = run(&[text(&packed)]);
    done.expect(6, &[]);
    assert!(done.stdout.contains("packed with gzip"), "{}", done.stdout);

    let done = run(&[text(&right), text(&bad), "no-such.ovf", "--json"]);
    done.expect(
        6,
        &["not checked: cannot read no-such.ovf", "1 of 2 descriptors refused, 1 not checked"],
    );
    let objects = done.objects();
    assert_eq!(objects[0]["accepted"], true);
    assert_eq!(objects[1]["errors"], 1);
    assert_eq!(
        objects[1]["findings"],
        json!([{
            "severity": "error", "code": "network-duplicate", "line": 3, "column": 47,
            "path": "Envelope/NetworkSection/Network[2]",
            "message": "a second network \"a\"", "section": "9.2",
        }])
    );
    run(&["no-such.ovf"]).expect(14, &["no-such.ovf"]);

    // The file tells more once it is there.
    fs::write(folder.path().join("a.iso"), "abcd").unwrap();
    let done = run(&[text(&right)]);
    done.expect(6, &[]);
    assert!(done.stdout.contains("file-size-differs"), "{}", done.stdout);
    fs::write(folder.path().join("a.iso"), "abc").unwrap();
    run(&[text(&right)]).expect(0, &[]);
    run(&[text(folder.path())]).expect(6, &["several .ovf files"]);
}

#[test]
fn a_descriptor_comes_through_a_pipe() {
    for (descriptor, code) in [(RIGHT.to_owned(), 0), (wrong(), 6), ("no XML".to_owned(), 6)] {
        let mut child = start(ours().args(["lint", "-"]).stdin(Stdio::piped()));
        child.stdin.take().unwrap().write_all(descriptor.as_bytes()).unwrap();
        Done::of(&child.wait_with_output().unwrap()).expect(code, &[]);
    }
}

#[test]
fn an_archive_has_all_that_its_descriptor_names() {
    let folder = tempfile::tempdir().unwrap();
    let ova = folder.path().join("appliance.ova");
    appliance(&[1]).write_ova(&ova).unwrap();
    let done = run(&[text(&ova)]);
    done.expect(0, &[]);
    assert!(done.stdout.contains("accepted, 0 errors, 0 warnings"), "{}", done.stdout);
    let piped = |bytes: Vec<u8>| {
        let mut child = start(ours().args(["lint", "-"]).stdin(Stdio::piped()));
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&bytes));
        let done = Done::of(&child.wait_with_output().unwrap());
        writer.join().unwrap().unwrap();
        done
    };
    let done = piped(fs::read(&ova).unwrap());
    done.expect(0, &[]);
    assert!(done.stdout.contains("-: accepted, 0 errors, 0 warnings"), "{}", done.stdout);
    let mut bytes = fs::read(&ova).unwrap();
    let name = b"ovf:href=\"";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    bytes[at] = b'_';
    fs::write(&ova, &bytes).unwrap();
    for done in [run(&[text(&ova)]), piped(bytes)] {
        done.expect(6, &[]);
        assert!(done.stdout.contains("file-missing "), "{}", done.stdout);
    }
    fs::write(&ova, "no archive").unwrap();
    run(&[text(&ova)]).expect(6, &["appliance.ova"]);
}
