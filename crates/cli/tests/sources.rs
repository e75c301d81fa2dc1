//! Packages that are not files of this machine: from a pipe, from a web server.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::thread;

#[path = "../../ovftransfer/tests/web/server.rs"]
mod server;
mod support;

use server::Reply;
use server::WebServer;
use server::ranges;
use server::whole;
use support::Done;
use support::Lab;
use support::appliance;
use support::import_args;
use support::start;
use support::text;

const EMPTY: &str = r#"{"machines": []}"#;

/// Runs a command with these bytes in a pipe on its standard input.
fn piped(command: &mut Command, bytes: Vec<u8>) -> Done {
    let mut child = start(command.stdin(Stdio::piped()));
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        // Who has seen enough closes the pipe.
        let _closed = stdin.write_all(&bytes);
    });
    let done = Done::of(&child.wait_with_output().unwrap());
    writer.join().unwrap();
    done
}

fn import_piped(lab: &Lab, bytes: Vec<u8>) -> Done {
    piped(&mut lab.command(&import_args(Path::new("-"), "web")), bytes)
}

#[test]
fn an_ova_comes_through_a_pipe() {
    let lab = Lab::new(EMPTY);
    let ova = fs::read(lab.ova()).unwrap();
    let done = import_piped(&lab, ova.clone());
    done.expect(0, &[]);
    assert_eq!(done.object("report")["files"].as_array().unwrap().len(), 2);
    assert_eq!(lab.digests("web"), appliance(&[2, 1]).raw_sha256().unwrap());
    lab.expect_machines(1);

    let done = piped(&mut lab.command(&["verify", "-"]), ova.clone());
    done.expect(0, &[]);
    assert!(done.stdout.contains("standard input: valid"), "{}", done.stdout);
    let args = [&import_args(Path::new("-"), "other")[..], &["--dry-run"]].concat();
    let plan = piped(&mut lab.command(&args), ova);
    plan.expect(0, &[]);
    assert_eq!(plan.object("plan")["files"].as_array().unwrap().len(), 2);
    lab.expect_machines(1);
}

#[test]
fn what_is_wrong_in_a_pipe_leaves_nothing() {
    let lab = Lab::new(EMPTY);
    let ova = fs::read(lab.ova()).unwrap();
    let cut = ova[..ova.len() / 2].to_vec();
    let more = [&ova[..], b"garbage"].concat();
    // Another digest for the last disk.
    let mut flipped = ova.clone();
    let at = ova.windows(13).rposition(|bytes| bytes == b"disk2.vmdk)= ").unwrap() + 13;
    flipped[at] = if flipped[at] == b'0' { b'1' } else { b'0' };
    for (bytes, code, words) in [
        (cut, 6, "in the middle of the file"),
        (more, 6, "data after the end"),
        (flipped, 7, "manifest"),
        (b"not an archive".to_vec(), 6, "standard input"),
        (Vec::new(), 6, "standard input"),
    ] {
        import_piped(&lab, bytes.clone()).expect(code, &[words]);
        lab.expect_untouched();
        piped(&mut lab.command(&["verify", "-"]), bytes).expect(code, &[words]);
    }
}

#[test]
fn a_package_comes_from_a_web_server() {
    let lab = Lab::new(EMPTY);
    let ova = fs::read(lab.ova()).unwrap();
    let file = ova.clone();
    let plain = WebServer::plain(move |seen| ranges(seen, &file, "\"1\""));
    let url = plain.url("/a/web.ova");
    lab.import(Path::new(&url), "web").expect(0, &[]);
    assert_eq!(lab.digests("web"), appliance(&[2, 1]).raw_sha256().unwrap());
    lab.run(&["verify", &url]).expect(0, &[]);
    let before = plain.requests().len();
    let looked = lab.run(&["inspect", &url, "--json"]);
    looked.expect(0, &[]);
    assert_eq!(looked.object("package")["package"], url);
    assert_eq!(looked.object("package")["bytes"], ova.len());
    assert!(plain.requests().len() - before <= 3, "{:?}", plain.requests());
    lab.run(&["spec", &url]).expect(0, &[]);

    let file = ova.clone();
    let no_ranges = WebServer::plain(move |_| whole(&file));
    lab.import(Path::new(&no_ranges.url("/web.ova")), "again").expect(0, &[]);
    lab.expect_machines(2);

    let tls = WebServer::tls(move |seen| match seen.header("authorization") {
        Some("Basic bWU6aHVudGVyMg==") => ranges(seen, &ova, "\"1\""),
        _ => Reply::status(401),
    });
    let ca = lab.path("source.pem");
    fs::write(&ca, &tls.pem).unwrap();
    let url = tls.url("/web.ova?signature=hunter2").replace("://", "://me:hunter2@");
    let untrusted = lab.run(&["verify", &url]);
    untrusted.expect(5, &["--source-thumbprint"]);
    assert_eq!(tls.requests().len(), 0);
    let trusted = lab.run(&["verify", &url, "--source-ca-cert", text(&ca), "-vvv", "--json"]);
    trusted.expect(0, &[]);
    let named = trusted.object("report")["package"].as_str().unwrap().to_owned();
    assert_eq!(named, tls.url("/web.ova"));
    lab.run(&["inspect", &url]).expect(5, &["--source-thumbprint"]);
    let looked = lab.run(&["inspect", &url, "--source-ca-cert", text(&ca)]);
    looked.expect(0, &[]);
    assert!(looked.stdout.contains(&tls.url("/web.ova: OVA of ")), "{}", looked.stdout);
    lab.run(&["spec", &url, "--source-ca-cert", text(&ca)]).expect(0, &[]);
    let hint = untrusted.stderr.split("--source-thumbprint ").nth(1).unwrap().trim();
    let pinned = lab.run(&["verify", &url, "--source-thumbprint", hint]);
    pinned.expect(0, &[]);
    let bare = tls.url("/web.ova");
    let refused = lab.run(&["verify", &bare, "--source-ca-cert", text(&ca)]);
    refused.expect(3, &["user:password@"]);
    for done in [untrusted, trusted, pinned, looked] {
        for secret in ["hunter2", "bWU6aHVudGVyMg"] {
            assert!(!done.stderr.contains(secret), "{}", done.stderr);
            assert!(!done.stdout.contains(secret), "{}", done.stdout);
        }
    }
}

#[test]
fn a_package_that_a_web_server_does_not_have_is_code_4() {
    let lab = Lab::new(EMPTY);
    let server = WebServer::plain(|_| Reply::status(404));
    for name in ["/x.ova", "/x.ovf"] {
        let done = lab.run(&["verify", &server.url(name)]);
        assert!(matches!(done.code, Some(4 | 6)), "{name}: {}", done.stderr);
        let done = lab.run(&["inspect", &server.url(name)]);
        assert!(matches!(done.code, Some(4 | 6)), "{name}: {}", done.stderr);
    }
    let server = WebServer::plain(|_| Reply::redirect("http://127.0.0.1/x.ova"));
    lab.run(&["verify", &server.url("/x.ova")]).expect(9, &["https"]);
    lab.expect_untouched();
}
