//! Everything that goes wrong has its exit code and one message, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

mod support;

use support::Done;
use support::Lab;
use support::files;
use support::import_args;
use support::replace;
use support::text;

const EMPTY: &str = r#"{"machines": []}"#;

fn run(command: &mut Command) -> Done {
    Done::of(&command.output().unwrap())
}

/// Imports while the scenario has this fault; nothing may be left.
fn import_with_fault(kind: &str, times: u32) -> Done {
    let fault = format!(r#"[{{"on": "import", "kind": {kind}, "times": {times}}}]"#);
    let lab = Lab::new(&format!(r#"{{"machines": [], "faults": {fault}}}"#));
    let package = lab.package();
    let done = lab.import(&package, "web");
    if done.code != Some(0) {
        lab.expect_untouched();
    }
    done
}

/// Exports while the scenario has this fault; nothing may be left.
fn export_with_fault(kind: &str, times: u32) -> Done {
    let fault = format!(r#"[{{"on": "export", "kind": {kind}, "times": {times}}}]"#);
    let disk = r#"{"capacity": "16MiB", "data": {"amount": "2MiB", "kind": "random", "seed": 1}}"#;
    let machine = format!(r#"{{"name": "web", "disks": [{disk}]}}"#);
    let lab = Lab::new(&format!(r#"{{"machines": [{machine}], "faults": {fault}}}"#));
    let out = lab.path("out");
    let done = lab.run(&["export", "/DC0/vm/web", text(&out), "--json"]);
    if done.code != Some(0) {
        assert_eq!(files(&out), Vec::<PathBuf>::new());
        assert!(!out.exists());
    }
    lab.expect_untouched();
    done
}

#[test]
fn a_wrong_password_is_code_3() {
    let lab = Lab::new("{}");
    let mut command = lab.command(&["export", "/DC0/vm/small", "out", "--json"]);
    let done = run(command.env("OVFTRANSFER_PASSWORD", "hunter2"));
    done.expect(3, &["hint: check the user and the password"]);
    assert!(!done.stderr.contains("hunter2"), "{}", done.stderr);
    let error = done.object("error");
    assert_eq!((&error["code"], &error["kind"]), (&3.into(), &"permission".into()));
    assert!(error["message"].is_string());
    lab.expect_untouched();
}

#[test]
fn an_untrusted_server_is_code_5_and_shows_its_thumbprint() {
    let lab = Lab::new("{}");
    let sha256 = lab.simulator.thumbprint_sha256();
    let words = [sha256.as_str(), "--thumbprint"];
    let args = ["export", "/DC0/vm/small", "out"];
    run(lab.command(&args).env_remove("OVFTRANSFER_THUMBPRINT")).expect(5, &words);
    let wrong = "00112233445566778899aabbccddeeff00112233";
    let args = ["export", "/DC0/vm/small", "out", "--thumbprint", wrong];
    let presented = lab.simulator.thumbprint();
    run(&mut lab.command(&args)).expect(5, &[&words[..], &[presented.as_str()]].concat());
    let other = Lab::new(EMPTY);
    let ca = lab.path("ca.pem");
    fs::write(&ca, other.simulator.certificate_pem()).unwrap();
    let args = ["export", "/DC0/vm/small", "out", "--ca-cert", text(&ca)];
    run(&mut lab.command(&args)).expect(5, &words);
    // The password was not sent: nobody tried to log in.
    lab.expect_untouched();
}

#[test]
fn unknown_places_are_code_4() {
    let lab = Lab::new("{}");
    let package = lab.package();
    lab.run(&["export", "/DC0/vm/smal", "out"]).expect(4, &["/DC0/vm/smal"]);
    lab.run(&["export", "/DC9/vm/small", "out"]).expect(4, &["DC9"]);
    let import = |more: &[&str]| lab.run(&[&import_args(&package, "web")[..], more].concat());
    lab.run(&["import", text(&package), "/DC0/host/Cluster9"]).expect(4, &["Cluster9"]);
    import(&["--folder", "nowhere"]).expect(4, &["nowhere"]);
    import(&["--pool", "nowhere"]).expect(4, &["nowhere"]);
    import(&["--host", "nowhere"]).expect(4, &["nowhere"]);
    import(&["--network", "nowhere=VM Network"]).expect(4, &["nowhere"]);
    let args = ["import", text(&package), "/DC0/host/Cluster0", "--datastore", "nowhere"];
    lab.run(&args).expect(4, &["nowhere"]);
    // Two datastores, and none is named.
    lab.run(&args[..3]).expect(4, &["datastore0", "datastore1"]);
    lab.expect_untouched();
}

#[test]
fn what_is_no_vsphere_server_is_code_9() {
    let lab = Lab::new("{}");
    // A host's data port: TLS, HTTP, but no API.
    let host = &lab.simulator.hosts()[0];
    let source = format!("vi://{}/DC0/vm/small", host.authority);
    let args = ["export", &source, "out", "--thumbprint", &host.thumbprint];
    run(&mut lab.command(&args)).expect(9, &[&host.authority]);

    // HTTP without TLS.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _read = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let source = format!("vi://{address}/DC0/vm/small");
    let args = ["export", source.as_str(), "out"];
    run(&mut lab.command(&args)).expect(9, &[&address.to_string()]);
    server.join().unwrap();

    // Nobody at all.
    run(&mut lab.command(&args)).expect(9, &[&address.to_string()]);
}

#[test]
fn a_missing_or_wrong_sized_disk_is_code_6() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let disk = package.with_file_name("appliance-disk2.vmdk");
    let whole = fs::read(&disk).unwrap();

    fs::remove_file(&disk).unwrap();
    lab.import(&package, "web").expect(6, &["appliance-disk2.vmdk"]);
    lab.run(&["verify", text(&package)]).expect(6, &["appliance-disk2.vmdk"]);
    for len_bytes in [whole.len() - 512, 0] {
        fs::write(&disk, &whole[..len_bytes]).unwrap();
        lab.import(&package, "web").expect(6, &["appliance-disk2.vmdk"]);
        lab.run(&["verify", text(&package)]).expect(6, &["appliance-disk2.vmdk"]);
    }
    fs::write(&disk, [&whole[..], &[0; 512]].concat()).unwrap();
    lab.import(&package, "web").expect(6, &["appliance-disk2.vmdk"]);
    // Not even asked the server for a lease.
    assert_eq!(lab.simulator.leases().len(), 0);
    lab.expect_untouched();
}

#[test]
fn damage_that_no_digest_shows_needs_a_deep_check() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let name = "appliance-disk2.vmdk";
    let disk = package.with_file_name(name);
    let mut bytes = fs::read(&disk).unwrap();
    lab.run(&["verify", text(&package), "--deep"]).expect(0, &[]);
    // Within the data of the first grain, which starts at 64 KiB.
    bytes[65_536 + 40] ^= 1;
    fs::write(&disk, &bytes).unwrap();
    lab.run(&["verify", text(&package), "--deep"]).expect(6, &[name, "byte 65536"]);
    fs::remove_file(package.with_extension("mf")).unwrap();
    lab.run(&["verify", text(&package)]).expect(0, &[]);
    lab.run(&["verify", text(&package), "--deep"]).expect(6, &[name, "byte 65536"]);
}

#[test]
fn a_package_that_is_none_is_code_6_or_14() {
    let lab = Lab::new(EMPTY);
    lab.import(&lab.path("nothing.ovf"), "web").expect(14, &["nothing.ovf"]);
    let broken = lab.path("broken.ovf");
    fs::write(&broken, "<Envelope").unwrap();
    lab.import(&broken, "web").expect(6, &["broken.ovf"]);
    let broken = lab.path("broken.ova");
    fs::write(&broken, "no tar at all").unwrap();
    lab.import(&broken, "web").expect(6, &["broken.ova"]);
    lab.run(&["verify", text(lab.folder.path())]).expect(6, &[]);
    lab.expect_untouched();
}

#[test]
fn a_wrong_digest_is_code_7() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let manifest = package.with_extension("mf");
    let right = fs::read_to_string(&manifest).unwrap();
    let digest = |file: &str| {
        let line = right.lines().find(|line| line.contains(file)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let wrong = "0".repeat(64);
    for file in ["appliance-disk1.vmdk", "appliance.ovf"] {
        replace(&manifest, &digest(file), &wrong);
        lab.import(&package, "web").expect(7, &[file, &wrong[..12]]);
        lab.run(&["verify", text(&package)]).expect(7, &[file]);
        fs::write(&manifest, &right).unwrap();
        lab.expect_untouched();
    }
    lab.import(&package, "web").expect(0, &[]);
}

#[test]
fn an_existing_name_is_code_12() {
    let lab = Lab::new("{}");
    let package = lab.package();
    lab.import(&package, "small").expect(12, &["small"]);
    lab.expect_untouched();
}

#[test]
fn a_lease_that_does_not_become_ready_is_refused() {
    let kind = r#"{"initialize_error": "no room at the inn"}"#;
    import_with_fault(kind, 1).expect(12, &["no room at the inn"]);
    export_with_fault(kind, 1).expect(12, &["no room at the inn"]);
}

#[test]
fn a_lost_lease_is_code_8() {
    let kind = r#"{"lease_lost_after_bytes": 500000}"#;
    import_with_fault(kind, 1).expect(8, &[]);
    export_with_fault(kind, 1).expect(8, &[]);
}

#[test]
fn bytes_that_change_on_the_way_are_code_7() {
    import_with_fault(r#""wrong_digest""#, 9).expect(7, &["server"]);
    export_with_fault(r#"{"flip_bit_at": 900000}"#, 9).expect(7, &["server"]);
    export_with_fault(r#""wrong_digest""#, 9).expect(7, &["server"]);
}

#[test]
fn a_truncated_reply_does_not_look_whole() {
    let done = export_with_fault(r#"{"truncate_after_bytes": 700000}"#, 99);
    assert!(matches!(done.code, Some(6 | 7 | 9)), "{done:?}");
    let done = import_with_fault(r#"{"truncate_after_bytes": 700000}"#, 99);
    assert!(matches!(done.code, Some(7 | 9)), "{done:?}");
}

#[test]
fn what_the_host_finds_damaged_is_code_9_and_not_sent_again() {
    let done = import_with_fault(r#"{"flip_bit_at": 900000}"#, 1);
    done.expect(9, &["appliance-disk", "answered 500", "cannot use the data"]);
}

#[test]
fn a_broken_connection_is_mended() {
    let done = export_with_fault(r#"{"reset_after_bytes": 700000}"#, 1);
    done.expect(0, &["warning: ", "trying again"]);
    done.object("file_retry");
}

#[test]
fn a_file_in_the_way_is_code_14() {
    let lab = Lab::new("{}");
    let file = lab.path("file");
    fs::write(&file, "").unwrap();
    lab.run(&["export", "/DC0/vm/small", text(&file.join("below"))]).expect(14, &["file"]);
    for (option, path) in [("--password-file", lab.path("none")), ("--log-file", file.join("log"))]
    {
        let args = ["export", "/DC0/vm/small", "out", option, text(&path)];
        lab.run(&args).expect(14, &[text(&path)]);
    }
    lab.expect_untouched();
}
