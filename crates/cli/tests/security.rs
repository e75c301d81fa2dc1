//! Nothing goes to whom it does not belong to: no byte to a server that is not the right one, no
//! session to another host, no secret into what is printed.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::process::Command;

mod support;
#[path = "../../ovftransfer/tests/web/server.rs"]
mod web;

use support::Done;
use support::Lab;
use support::appliance;
use support::import_args;
use support::text;
use web::Reply;
use web::WebServer;

const EMPTY: &str = r#"{"machines": []}"#;

const WIRES: [&str; 2] = ["json", "soap"];

fn run(command: &mut Command) -> Done {
    Done::of(&command.output().unwrap())
}

/// Somebody answers in the place of the server, with the right name and a certificate of his own.
#[test]
fn a_man_in_the_middle_gets_no_byte() {
    let lab = Lab::new(EMPTY);
    let between = WebServer::tls(|_| Reply::status(200));
    let (package, ca) = (lab.package(), lab.path("ca.pem"));
    fs::write(&ca, lab.simulator.certificate_pem()).unwrap();
    let export = ["export", "/DC0/vm/web", text(&lab.path("out"))].map(str::to_owned);
    let import = import_args(&package, "web").map(str::to_owned);
    for command in [&["ls".to_owned(), "/DC0".to_owned()][..], &export, &import] {
        for wire in WIRES {
            for trust in [
                &["--thumbprint", &lab.simulator.thumbprint()][..],
                &["--thumbprint", &lab.simulator.thumbprint_sha256()],
                &["--ca-cert", text(&ca)],
                &[],
            ] {
                let args: Vec<&str> = command.iter().map(String::as_str).collect();
                let args = [&args[..], &["--wire", wire], trust].concat();
                let mut command = lab.command(&args);
                command.env("OVFTRANSFER_URL", between.url(""));
                run(command.env_remove("OVFTRANSFER_THUMBPRINT")).expect(5, &["not trusted"]);
            }
        }
    }
    assert_eq!(between.requests().len(), 0);
    lab.expect_untouched();
}

/// The API is asked at one place, whatever that place answers.
#[test]
fn a_redirect_of_the_api_leads_nowhere() {
    let elsewhere = WebServer::tls(|_| Reply::status(200));
    let target = elsewhere.url("/sdk");
    let server = WebServer::tls(move |_| Reply::redirect(&target));
    let lab = Lab::new(EMPTY);
    let ca = lab.path("both.pem");
    fs::write(&ca, format!("{}{}", server.pem, elsewhere.pem)).unwrap();
    for wire in WIRES {
        let mut command = lab.command(&["ls", "/DC0", "--wire", wire, "--ca-cert", text(&ca)]);
        let done = run(command.env("OVFTRANSFER_URL", server.url("")));
        assert!(matches!(done.code, Some(1 | 9)), "{done:?}");
    }
    assert!(!server.requests().is_empty());
    assert_eq!(elsewhere.requests().len(), 0);
}

/// The session is for the API's host alone: hosts get their tickets, and nothing else.
#[test]
fn no_host_ever_sees_the_session() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    for wire in WIRES {
        let import = [&import_args(&package, wire)[..], &["--wire", wire]].concat();
        lab.run(&import).expect(0, &[]);
        let (place, out) = (format!("/DC0/vm/{wire}"), lab.path(&format!("{wire}.ova")));
        lab.run(&["export", &place, text(&out), "--wire", wire]).expect(0, &[]);
    }
    let hosts = lab.simulator.hosts();
    assert!(!hosts.is_empty());
    assert!(hosts.iter().all(|host| host.sessions_seen == 0), "{hosts:?}");
}

/// Runs of every kind of trouble, as loud as can be: the password, keys, cookies, tokens and
/// tickets of the run are nowhere.
#[test]
fn no_trouble_makes_a_secret_seen() {
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|lane| {
                scope.spawn(move || -> Vec<i32> {
                    let mine = TROUBLES.iter().enumerate().skip(lane / 2).step_by(2);
                    let on = ["import", "export"][lane % 2];
                    mine.map(|(at, trouble)| loud(WIRES[at / 2 % 2], on, trouble)).collect()
                })
            })
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(codes.len(), 2 * TROUBLES.len());
    // Troubles, not refusals before anything moved.
    for code in [0, 7, 8, 9] {
        assert!(codes.contains(&code), "{codes:?}");
    }
}

/// Runs with a trouble; returns the exit code.
fn loud(wire: &str, on: &str, trouble: &str) -> i32 {
    let lab = Lab::new(&format!(
        r#"{{"password": "hunter2-{on}",
            "machines": [{{"name": "web", "disks": [
                {{"capacity": "16MiB", "data": {{"amount": "1MiB", "kind": "random", "seed": 1}}}}
            ]}}],
            "faults": [{{"on": "{on}", "kind": {trouble}}}]}}"#
    ));
    let (log, out) = (lab.path("log"), lab.path("out.ova"));
    let package = lab.package();
    let loud = ["--wire", wire, "-vvv", "--log-file", text(&log), "--json"];
    let done = if on == "import" {
        let args = import_args(&package, "new");
        lab.run(&[&args[..args.len() - 1], &loud, &["--retry-uploads", "no"]].concat())
    } else {
        lab.run(&[&["export", "/DC0/vm/web", text(&out)], &loud[..]].concat())
    };
    let secrets = lab.simulator.secrets();
    // The password, a key and a cookie at least; and nothing that is anywhere anyway.
    assert!(secrets.len() >= 3 && secrets.iter().all(|secret| secret.len() >= 8), "{secrets:?}");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("method=\"Logout\""), "{log}");
    for printed in [&log, &done.stdout, &done.stderr] {
        for secret in secrets.iter().map(String::as_str).chain(["/nfc/", "vmware_soap_session"]) {
            assert!(!printed.contains(secret), "{on}, {wire}, {trouble}: {secret}\n{printed}");
        }
    }
    done.code.unwrap()
}

/// A package of somebody else's server asks for a password there: the vCenter's does not go there.
#[test]
fn a_package_server_gets_no_session_and_no_password() {
    let lab = Lab::new(EMPTY);
    let folder = lab.path("made");
    fs::create_dir(&folder).unwrap();
    let ova = lab.path("made.ova");
    appliance(&[1]).write_ova(&ova).unwrap();
    let bytes = fs::read(ova).unwrap();
    let server = WebServer::plain(move |seen| web::ranges(seen, &bytes, "\"1\""));
    lab.run(&import_args(server.url("/web.ova").as_ref(), "web")).expect(0, &[]);
    let requests = server.requests();
    assert!(!requests.is_empty());
    for request in &requests {
        let seen = format!("{request:?}").to_lowercase();
        for name in ["authorization", "cookie", "vmware-api-session-id"] {
            assert!(request.header(name).is_none(), "{seen}");
        }
        let secrets = lab.simulator.secrets();
        assert!(secrets.iter().all(|secret| !seen.contains(&secret.to_lowercase())), "{seen}");
    }
}

/// As in a scenario's `kind`.
const TROUBLES: [&str; 9] = [
    r#"{"flip_bit_at": 70000}"#,
    r#""heartbeat_refused""#,
    r#"{"initialize_error": "out of everything"}"#,
    r#"{"lease_lost_after_bytes": 500000}"#,
    r#"{"reset_after_bytes": 500000}"#,
    r#"{"status": 405}"#,
    r#"{"status": 500}"#,
    r#"{"truncate_after_bytes": 500000}"#,
    r#""wrong_digest""#,
];

/// A message names the argument that it is about, and people write passwords into arguments.
#[test]
fn a_password_in_a_wrong_argument_is_not_repeated() {
    let lab = Lab::new(EMPTY);
    let out = lab.path("out.vmdk");
    for args in [
        &["ls", "https://u:hunter2@127.0.0.1:1/DC0"][..],
        &["ls", "u:hunter2@127.0.0.1:1/DC0"],
        &["ls", "/", "vi://u:hunter2@127.0.0.1:1/DC0"],
        &["lint", "https://u:hunter2@127.0.0.1:1/x.ova"],
        &["convert", "https://u:hunter2@127.0.0.1:1/x.ova", text(&out)],
        &["export", "/DC0/vm/web", "https://u:hunter2@127.0.0.1:1/x.ova"],
        &["reap", "vi://u:hunter2@127.0.0.1:1/DC0"],
        &["spec", "u:hunter2@127.0.0.1:1"],
    ] {
        for json in [&[][..], &["--json"]] {
            let done = run(&mut lab.command(&[args, json].concat()));
            assert_ne!(done.code, Some(0), "{done:?}");
            assert!(!format!("{done:?}").contains("hunter2"), "{done:?}");
        }
    }
}
