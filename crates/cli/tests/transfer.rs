//! Import, export, verify against a simulated vCenter, as a user runs them.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;

mod support;

use support::Done;
use support::Lab;
use support::appliance;
use support::files;
use support::import_args;
use support::ours;
use support::start;
use support::text;

const EMPTY: &str = r#"{"machines": []}"#;

#[test]
fn a_machine_goes_in_and_comes_out_the_same() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let imported = lab.import(&package, "web");
    imported.expect(0, &[]);
    let report = imported.object("report");
    assert_eq!(report["name"], "web");
    assert_eq!(report["command"], "import");
    assert_eq!(report["files"].as_array().unwrap().len(), 2);
    for file in report["files"].as_array().unwrap() {
        assert_eq!(file["by_server"], true);
        assert_eq!(file["digests"]["SHA256"].as_str().unwrap().len(), 64);
    }
    for object in imported.objects() {
        assert_eq!(object["version"], 1, "{object}");
    }
    for kind in ["lease_ready", "file_start", "file_proven", "lease_complete"] {
        imported.object(kind);
    }
    assert_eq!(lab.digests("web"), appliance(&[2, 1]).raw_sha256().unwrap());

    let out = lab.path("out");
    for (sha, label) in [("1", "SHA1"), ("512", "SHA512"), ("256", "SHA256")] {
        let overwrite = ["--overwrite", "--sha", sha];
        let args = ["export", "/DC0/vm/web", text(&out)];
        let exported = lab.run(&[&args[..], &overwrite].concat());
        exported.expect(0, &[]);
        assert!(exported.stdout.starts_with("web: exported to "), "{}", exported.stdout);
        assert!(exported.stdout.contains("proven by the server"), "{}", exported.stdout);
        let manifest = fs::read_to_string(out.join("web/web.mf")).unwrap();
        assert!(manifest.lines().all(|line| line.starts_with(&format!("{label}("))), "{manifest}");
        let verified = lab.run(&["verify", text(&out)]);
        // The folder above holds no descriptor.
        verified.expect(6, &["no .ovf"]);
        let verified = lab.run(&["verify", text(&out.join("web"))]);
        verified.expect(0, &[]);
        assert!(verified.stdout.contains("as in the manifest"), "{}", verified.stdout);
    }
    assert!(files(&out).iter().all(|file| file.extension().is_some_and(|e| e != "partial")));

    lab.import(&out.join("web/web.ovf"), "again").expect(0, &[]);
    assert_eq!(lab.digests("again"), lab.digests("web"));
    lab.expect_machines(2);
}

#[test]
fn an_ova_goes_in() {
    let lab = Lab::new(EMPTY);
    let ova = lab.ova();
    lab.import(&ova, "web").expect(0, &[]);
    assert_eq!(lab.digests("web"), appliance(&[2, 1]).raw_sha256().unwrap());
    lab.run(&["verify", text(&ova), "--json"]).expect(0, &[]);
}

#[test]
fn a_machine_comes_out_as_an_ova_in_a_file_and_in_a_pipe() {
    let lab = Lab::new(EMPTY);
    lab.import(&lab.ova(), "web").expect(0, &[]);
    let ova = lab.path("web.ova");
    let exported = lab.run(&["export", "/DC0/vm/web", text(&ova)]);
    exported.expect(0, &[]);
    assert!(exported.stdout.contains("web.ova"), "{}", exported.stdout);
    lab.run(&["verify", text(&ova)]).expect(0, &[]);

    // Its journal lies in a folder that nobody has made yet, or that cannot be made.
    fs::write(lab.path("no-folder"), "").unwrap();
    let mut without = lab.command(&["export", "/DC0/vm/web", "-"]);
    let without = without.env("XDG_STATE_HOME", lab.path("no-folder")).output().unwrap();
    let told = String::from_utf8(without.stderr).unwrap();
    assert!(without.status.success() && told.contains("no journal is kept"), "{told}");
    let mut piped = lab.command(&["export", "/DC0/vm/web", "-"]);
    let piped = piped.env("XDG_STATE_HOME", lab.path("state")).output().unwrap();
    assert_eq!(files(&lab.path("state/ovftransfer")), Vec::<PathBuf>::new());
    let told = String::from_utf8(piped.stderr.clone()).unwrap();
    assert!(piped.status.success() && told.contains("web: exported"), "{told}");
    let second = lab.path("second.ova");
    fs::write(&second, &piped.stdout).unwrap();
    for (package, name) in [(&ova, "first"), (&second, "second")] {
        lab.import(package, name).expect(0, &[]);
        assert_eq!(lab.digests(name), lab.digests("web"));
    }
    lab.run(&["export", "/DC0/vm/web", text(&ova)])
        .expect(12, &["error: ", "exists", "--overwrite"]);
    lab.expect_machines(3);
}

#[test]
fn places_have_short_names() {
    let lab = Lab::new(r#"{"machines": [{"name": "old", "folder": "backup/daily"}]}"#);
    let package = lab.package();
    let place = ["--folder", "backup/daily", "--pool", "pool1", "--host", "host1"];
    lab.run(&[&import_args(&package, "flags")[..], &place].concat()).expect(0, &[]);

    let mut command = lab.command(&["import", text(&package), "Cluster0", "--name", "govc"]);
    command
        .env("GOVC_DATACENTER", "DC0")
        .env("GOVC_DATASTORE", "datastore1")
        .env("GOVC_NETWORK", "Storage Network")
        .env("GOVC_FOLDER", "vm/backup")
        .env("GOVC_RESOURCE_POOL", "Cluster0/Resources/pool0")
        .env("GOVC_HOST", "host1");
    Done::of(&command.output().unwrap()).expect(0, &[]);

    let vms = lab.simulator.vms();
    let find = |name: &str| vms.iter().find(|vm| vm.name == name).unwrap();
    assert_eq!(
        (find("flags").folder.as_str(), find("flags").host.as_str()),
        ("/DC0/vm/backup/daily", "host1")
    );
    assert_eq!(
        (find("govc").folder.as_str(), find("govc").host.as_str()),
        ("/DC0/vm/backup", "host1")
    );
    assert_eq!(find("govc").networks, ["Storage Network"]);
}

#[test]
fn the_connection_may_come_from_govc_or_a_locator() {
    let lab = Lab::new("{}");
    let out = lab.path("out");
    let host = lab.simulator.url().trim_start_matches("https://").to_owned();
    let password = lab.path("password");
    fs::write(&password, format!("{}\n", lab.simulator.password())).unwrap();
    let known = lab.path("known_hosts");
    fs::write(&known, format!("{host} {}\n", lab.simulator.thumbprint())).unwrap();
    let run = |command: &mut std::process::Command| Done::of(&command.output().unwrap());

    let args = ["export", "small", text(&out), "--dry-run"];
    let done = run(ours()
        .args(args)
        .env("GOVC_URL", format!("https://{}@{host}/sdk", lab.simulator.username()))
        .env("GOVC_PASSWORD", &password)
        .env("GOVC_TLS_KNOWN_HOSTS", &known)
        .env("GOVC_DATACENTER", "DC0"));
    done.expect(0, &[]);
    assert!(done.stdout.contains("small"), "{}", done.stdout);

    let ca = lab.path("ca.pem");
    fs::write(&ca, lab.simulator.certificate_pem()).unwrap();
    let user = lab.simulator.username().replace('@', "%40");
    let source = format!("vi://{user}@{host}/DC0/vm/small");
    let trust = ["--password-file", text(&password), "--ca-cert", text(&ca)];
    let args = [&["export", &source, text(&out), "--dry-run", "--json"][..], &trust].concat();
    let done = run(ours().args(args));
    done.expect(0, &[]);
    assert_eq!(done.object("plan")["name"], "small");
    assert_eq!(files(&out).len(), 0);
    lab.expect_untouched();
}

#[test]
fn running_machines_are_exported_by_snapshot() {
    let lab = Lab::new("{}");
    let out = lab.path("out");
    let source = "/DC0/vm/backup/daily/with-snapshot";
    lab.run(&["export", source, text(&out)])
        .expect(12, &["powered off", "before update", "--live"]);
    assert_eq!(files(&out).len(), 0);
    lab.run(&["export", source, text(&out), "--snapshot", "before update"]).expect(0, &[]);
    lab.run(&["verify", text(&out.join("with-snapshot"))]).expect(0, &[]);
    lab.run(&["export", source, text(&out), "--snapshot", "none"]).expect(4, &["none"]);
    lab.expect_untouched();
}

#[test]
fn nvram_belongs_to_an_export_unless_it_is_left_out() {
    let lab = Lab::new("{}");
    let with = lab.path("with");
    lab.run(&["export", "/DC0/vm/small", text(&with.join("x.ovf"))]).expect(0, &[]);
    assert!(files(&with).iter().any(|file| file.extension().is_some_and(|e| e == "nvram")));
    let without = lab.path("without");
    lab.run(&["export", "/DC0/vm/small", text(&without), "--no-nvram"]).expect(0, &[]);
    assert!(files(&without).iter().all(|file| file.extension().is_some_and(|e| e != "nvram")));
}

#[test]
fn a_package_that_is_there_is_not_replaced_by_itself() {
    let lab = Lab::new("{}");
    let out = lab.path("out");
    lab.run(&["export", "/DC0/vm/small", text(&out)]).expect(0, &[]);
    let before = fs::read(out.join("small/small.mf")).unwrap();
    lab.run(&["export", "/DC0/vm/small", text(&out)]).expect(12, &["exists"]);
    assert_eq!(fs::read(out.join("small/small.mf")).unwrap(), before);
    lab.run(&["export", "/DC0/vm/small", text(&out), "--overwrite"]).expect(0, &[]);
}

#[test]
fn a_dry_run_changes_nothing() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let args = import_args(&package, "web");
    let plan = lab.run(&[&args[..args.len() - 1], &["--dry-run"]].concat());
    plan.expect(0, &[]);
    assert!(plan.stdout.contains("web") && plan.stdout.contains("datastore0"), "{}", plan.stdout);
    let plan = lab.run(&[&args[..], &["--dry-run"]].concat());
    assert_eq!(plan.object("plan")["files"].as_array().unwrap().len(), 2);
    lab.expect_untouched();
    assert_eq!(lab.simulator.leases().len(), 0);
}

#[test]
fn quiet_says_nothing_and_the_log_knows_no_secret() {
    let lab = Lab::new(r#"{"machines": [], "password": "hunter2"}"#);
    let package = lab.package();
    let log = lab.path("log");
    let args = import_args(&package, "web");
    let quiet = lab.run(&[&args[..args.len() - 1], &["--quiet"]].concat());
    quiet.expect(0, &[]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));

    let args = import_args(&package, "loud");
    let loud = lab.run(&[&args[..], &["-vvv", "--log-file", text(&log)]].concat());
    loud.expect(0, &[]);
    let louder = lab.run(&[&import_args(&package, "louder")[..], &["-vvv"]].concat());
    louder.expect(0, &[]);
    let log = fs::read_to_string(log).unwrap();
    assert!(!log.is_empty());
    for text in [&log, &loud.stderr, &louder.stderr, &louder.stdout] {
        for secret in ["hunter2", "vmware_soap_session", "/nfc/52"] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
}

#[test]
fn nobody_reading_is_no_error() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let mut command = lab.command(&import_args(&package, "web"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success(), "{stderr}");
    assert!(!stderr.contains("error"), "{stderr}");
    lab.expect_machines(1);
}

#[test]
fn a_full_standard_output_is_an_error() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let mut command = lab.command(&["verify", text(&package), "--json"]);
    let child = start(&mut command).wait_with_output().unwrap();
    assert!(child.status.success());
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    Done::of(&output).expect(13, &["standard output"]);
}

/// On a host there is one place for machines, so nobody has to name it.
#[test]
fn a_host_without_vcenter_needs_no_path() {
    let lab = Lab::new(
        r#"{"esxi": true, "hosts": [{"name": "esxi0"}], "datastores": ["local"], "machines": []}"#,
    );
    let ova = lab.ova();
    lab.run(&["import", text(&ova), "/", "--name", "web"]).expect(0, &[]);
    let url = lab.simulator.url().replace("https://", "vi://");
    lab.run(&["import", text(&ova), &url, "--name", "two"]).expect(0, &[]);
    let out = lab.path("web.ova");
    lab.run(&["export", "/ha-datacenter/vm/web", text(&out)]).expect(0, &[]);
    lab.run(&["verify", text(&out)]).expect(0, &[]);
    assert_eq!(lab.digests("web"), appliance(&[2, 1]).raw_sha256().unwrap());
    lab.expect_machines(2);
}

#[test]
fn an_export_without_the_privilege_is_code_3_before_anything_is_made() {
    let lab = Lab::new(
        r#"{"machines": [{"name": "small", "disks": [{"capacity": "16MiB"}]}],
            "missing_privileges": ["VApp.Export"]}"#,
    );
    let out = lab.path("out");
    for flags in [&["--dry-run", "--json"][..], &[]] {
        let done = lab.run(&[&["export", "/DC0/vm/small", text(&out)][..], flags].concat());
        done.expect(3, &["VApp.Export", "role"]);
    }
    assert!(!out.exists() && lab.simulator.leases().is_empty());
    lab.expect_machines(1);
}
