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

/// Cuts the first disk into chunks, and says so in the descriptor.
fn cut(descriptor: &Path) -> String {
    let folder = descriptor.parent().unwrap();
    let text = fs::read_to_string(descriptor).unwrap();
    let disk = text.split("ovf:href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let bytes = fs::read(folder.join(&disk)).unwrap();
    for (number, chunk) in bytes.chunks(bytes.len() / 2 + 1).enumerate() {
        fs::write(folder.join(format!("{disk}.{number:09}")), chunk).unwrap();
    }
    fs::remove_file(folder.join(&disk)).unwrap();
    let size = format!("ovf:chunkSize=\"{}\" ovf:href=\"{disk}\"", bytes.len() / 2 + 1);
    support::replace(descriptor, &format!("ovf:href=\"{disk}\""), &size);
    disk
}

#[test]
fn chunks_are_told_and_proven_one_by_one() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let disk = cut(&package);
    let manifest = package.with_extension("mf");
    fs::remove_file(&manifest).unwrap();
    let checked = lab.run(&["verify", text(&package), "--json"]);
    checked.expect(0, &[]);
    let report = checked.object("report");
    let file = &report["files"][0];
    assert_eq!((&file["file"], &file["in_manifest"]), (&disk.clone().into(), &false.into()));
    let stored = file["stored"].as_array().unwrap();
    assert_eq!(stored.len(), 2);
    assert!(report["files"][1].get("stored").is_none());
    let sum: u64 = stored.iter().map(|part| part["bytes"].as_u64().unwrap()).sum();
    assert_eq!(file["bytes"], sum);

    let mut parts: Vec<&serde_json::Value> = stored.iter().collect();
    parts.push(&report["files"][1]);
    let line = |part: &&serde_json::Value| {
        let (name, hex) = (part["file"].as_str().unwrap(), &part["digests"]["SHA256"]);
        format!("SHA256({name})= {}\n", hex.as_str().unwrap())
    };
    let lines: String = parts.iter().map(line).collect();
    fs::write(&manifest, &lines).unwrap();
    let checked = lab.run(&["verify", text(&package)]);
    checked.expect(0, &[]);
    let part = format!("  {disk}.000000001 ");
    let row = checked.stdout.lines().find(|line| line.contains(&part));
    assert!(row.is_some_and(|row| row.contains("as in the manifest")), "{}", checked.stdout);
    let planned = lab.run(&[&import_args(&package, "web")[..], &["--dry-run"]].concat());
    planned.expect(0, &[]);
    assert!(planned.object("plan")["text"].as_str().unwrap().contains(&disk));
    lab.import(&package, "web").expect(0, &[]);
    assert_eq!(lab.digests("web"), appliance(&[2, 1]).raw_sha256().unwrap());
    let looked = lab.run(&["inspect", text(&package), "--json"]);
    assert_eq!(looked.object("package")["files"][0]["bytes"], sum);

    let at = lines.find(".000000001)= ").unwrap() + 13;
    let other = if lines.as_bytes()[at] == b'0' { "1" } else { "0" };
    fs::write(&manifest, format!("{}{other}{}", &lines[..at], &lines[at + 1..])).unwrap();
    lab.run(&["verify", text(&package)]).expect(7, &["000000001"]);
    lab.import(&package, "bad").expect(7, &["000000001"]);
    lab.expect_machines(1);
    fs::remove_file(package.with_file_name(format!("{disk}.000000001"))).unwrap();
    lab.import(&package, "bad").expect(6, &["000000001", "not there"]);
    let looked = lab.run(&["inspect", text(&package), "--json"]);
    assert_eq!(looked.object("package")["missing"][0], disk);
}

#[test]
fn files_elsewhere_are_fetched_when_that_is_allowed() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let descriptor = fs::read_to_string(&package).unwrap();
    let disk = descriptor.split("ovf:href=\"").nth(1).unwrap().split('"').next().unwrap();
    let path = package.with_file_name(disk);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let server = WebServer::tls(move |seen| ranges(seen, &bytes, "\"1\""));
    let ca = lab.path("source.pem");
    fs::write(&ca, &server.pem).unwrap();
    let url = server.url("/far.vmdk");
    support::replace(&package, &format!("\"{disk}\""), &format!("\"{url}\""));
    let manifest = package.with_extension("mf");
    support::replace(&manifest, &format!("({disk})"), &format!("({url})"));
    // The digest of the descriptor is not that of the old one.
    let text_of = fs::read_to_string(&manifest).unwrap();
    let lines = text_of.lines().filter(|line| !line.contains(".ovf)"));
    fs::write(&manifest, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();

    lab.run(&["verify", text(&package)]).expect(6, &["--allow-remote-references"]);
    lab.import(&package, "web").expect(6, &["--allow-remote-references"]);
    assert_eq!(server.requests().len(), 0);
    let allow = ["--allow-remote-references", "--source-ca-cert", text(&ca)];
    lab.run(&[&["verify", text(&package)][..], &allow].concat()).expect(0, &[]);
    lab.run(&[&import_args(&package, "web")[..], &allow].concat()).expect(0, &[]);
    assert_eq!(lab.digests("web"), appliance(&[2, 1]).raw_sha256().unwrap());
    let untrusted = ["verify", text(&package), "--allow-remote-references"];
    lab.run(&untrusted).expect(5, &["--source-thumbprint"]);
}
