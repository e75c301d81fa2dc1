//! What a simulator of this protocol must be able to do, one test for each requirement: the rule
//! of a real server as it holds by default, and the switch that turns it off or makes it odd.

use std::time::Duration;

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::tests::{Bench, settle};
use super::wires::{
    Peer, WIRES, disk_0, download, open, over_both_wires, pause, start, start_json, upload, url_of,
    vmdk,
};
use super::*;
use crate::client::Client;
use crate::disk::hex;
use crate::scenario::{DiskSpec, FaultText, Quirks};
use crate::types;

#[tokio::test]
async fn both_wires_serve_one_state() {
    let simulator = start(Scenario::default()).await;
    let json = Peer::login(&simulator, Wire::Json).await;
    let soap = Peer::login(&simulator, Wire::Soap).await;
    let (lease, info) = soap.import("new", 1).await;
    assert_eq!(upload(&simulator, "POST", &disk_0(&info), vmdk(1)).await.unwrap(), 200);
    let vm = json.vm("new");
    assert_eq!(json.get(&vm, "name").await, "new");
    assert_eq!(json.fault(&vm, "PowerOnVM_Task", json!({})).await, "TaskInProgress");
    soap.ok(&lease, "HttpNfcLeaseComplete", json!({})).await;
    json.ok(&vm, "PowerOnVM_Task", json!({})).await;
    assert_eq!(soap.get(&vm, "runtime.powerState").await, "poweredOn");
}

#[tokio::test(start_paused = true)]
async fn leases_time_out() {
    let lasts = async |scenario: Scenario| {
        let bench = Bench::new(scenario).await;
        let lease = bench.export("small").await;
        settle().await;
        tokio::time::sleep(Duration::from_secs(61)).await;
        bench.get(&lease, "state").await == "ready"
    };
    let scenario = Scenario { lease_timeout_s: 60, ..Scenario::default() };
    assert!(!lasts(scenario.clone()).await);
    let mut lax = scenario;
    lax.strict.lease_timeout = false;
    assert!(lasts(lax).await);
}

#[tokio::test]
async fn a_lease_that_timed_out_says_so_on_both_wires() {
    over_both_wires(async |wire| {
        let simulator = start_json(r#"{"lease_timeout_s":1}"#).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, info) = peer.export("small").await;
        assert_eq!(info["leaseTimeout"], 1);
        while peer.get(&lease, "state").await == "ready" {
            pause().await;
        }
        let error = peer.get(&lease, "error").await;
        assert!(error.to_string().contains("Timedout"), "{error}");
        let beat = json!({ "percent": 1 });
        assert_eq!(peer.fault(&lease, "HttpNfcLeaseProgress", beat).await, "Timedout");
        assert_eq!(download(&simulator, &disk_0(&info)).await.unwrap().0, 404);
    })
    .await;
}

#[tokio::test]
async fn leases_end_when_no_data_moves() {
    over_both_wires(async |wire| {
        let simulator = start_json(r#"{"no_data_timeout_s":1}"#).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, _) = peer.export("small").await;
        let fault = loop {
            match peer.call(&lease, "HttpNfcLeaseProgress", &json!({ "percent": 0 })).await {
                Ok(_) => pause().await,
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault.kind, "Timedout");
        assert!(simulator.leases()[0].heartbeats > 0);
    })
    .await;
    assert_eq!(Scenario::default().no_data_timeout_s, None, "the time is published nowhere");
}

#[tokio::test]
async fn an_import_that_fails_is_deleted() {
    for (wire, cleans_up) in [(Wire::Json, true), (Wire::Soap, true), (Wire::Soap, false)] {
        let mut scenario = Scenario::default();
        scenario.strict.clean_up = cleans_up;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, _) = peer.import("new", 1).await;
        peer.ok(&lease, "HttpNfcLeaseAbort", json!({})).await;
        assert_eq!(peer.get(&lease, "state").await, "error");
        let is_left = simulator.vms().iter().any(|vm| vm.name == "new");
        assert_eq!(is_left, !cleans_up);
        if is_left {
            // As on such a server, the next import of the name fails.
            let lease = peer.begin_import("new", 1).await;
            let lease = format!("HttpNfcLease:{}", lease["value"].as_str().unwrap());
            while peer.get(&lease, "state").await == "initializing" {
                pause().await;
            }
            assert!(peer.get(&lease, "error").await.to_string().contains("DuplicateName"));
        }
    }
}

#[tokio::test]
async fn the_wrong_verb_is_405() {
    for is_strict in [true, false] {
        let mut scenario = Scenario::default();
        scenario.strict.verbs = is_strict;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Soap).await;
        let (lease, info) = peer.import("new", 1).await;
        let nvram = url_of(&info, "new.nvram");
        let (put, post) = if is_strict { (405, 405) } else { (200, 201) };
        assert_eq!(upload(&simulator, "PUT", &disk_0(&info), vmdk(1)).await.unwrap(), put);
        assert_eq!(upload(&simulator, "POST", &nvram, "content").await.unwrap(), post);
        for verb in ["DELETE", "HEAD", "PATCH"] {
            assert_eq!(upload(&simulator, verb, &nvram, "").await.unwrap(), 405, "{verb}");
        }
        assert_eq!(peer.manifest(&lease).await.len(), if is_strict { 0 } else { 2 });
    }
}

#[tokio::test]
async fn a_body_without_the_magic_is_500() {
    for is_strict in [true, false] {
        let mut scenario = Scenario::default();
        scenario.strict.magic = is_strict;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Json).await;
        let (lease, info) = peer.import("new", 1).await;
        let status = upload(&simulator, "POST", &disk_0(&info), "no disk").await.unwrap();
        assert_eq!(status, if is_strict { 500 } else { 200 });
        let lines = peer.manifest(&lease).await;
        assert_eq!(lines.len(), usize::from(!is_strict));
        if let Some(line) = lines.first() {
            assert_eq!(line["sha1"], hex(&Sha1::digest("no disk")));
            assert_eq!((&line["size"], &line["populatedSize"]), (&json!(7), &json!(0)));
        }
        assert_eq!(upload(&simulator, "POST", &disk_0(&info), vmdk(1)).await.unwrap(), 200);
    }
}

#[tokio::test]
async fn more_connections_than_a_host_takes_are_503() {
    let simulator = start_json(r#"{"hosts":[{"connection_cap":1},{"name":"host1"}]}"#).await;
    let peer = Peer::login(&simulator, Wire::Soap).await;
    let (_, info) = peer.export("small").await;
    let (mut first, path) = open(&simulator, disk_0(&info)["url"].as_str().unwrap()).await;
    let held = first.get(&path).await.unwrap();
    assert_eq!(held.status(), 200);
    assert_eq!(download(&simulator, &disk_0(&info)).await.unwrap().0, 503);
    // The cap is each host's own.
    let other = &simulator.hosts[1];
    let mut client = Client::open(other.local_addr(), other.identity()).await;
    assert_eq!(client.get(&path).await.unwrap().status(), 404);
    drop((first, held));
    while simulator.hosts()[0].connections > 0 {
        pause().await;
    }
    assert_eq!(download(&simulator, &disk_0(&info)).await.unwrap().0, 200);
}

#[tokio::test]
async fn star_hosts_lead_to_the_api() {
    let mut star = Scenario::default();
    star.hosts.iter_mut().for_each(|host| host.star_url = true);
    for (scenario, wire) in
        [(star.clone(), Wire::Json), (star, Wire::Soap), (Scenario::esxi(), Wire::Soap)]
    {
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, info) = peer.import("new", 1).await;
        let url = disk_0(&info);
        assert!(url["url"].as_str().unwrap().starts_with("https://*/ha-nfc/52"), "{url}");
        assert_eq!(url["sslThumbprint"], "");
        assert_eq!(upload(&simulator, "POST", &url, vmdk(1)).await.unwrap(), 200);
        peer.ok(&lease, "HttpNfcLeaseComplete", json!({})).await;
        let (_, info) = peer.export("new").await;
        let (status, stream) = download(&simulator, &disk_0(&info)).await.unwrap();
        assert_eq!((status, &stream[..]), (200, &vmdk(1)[..]));
    }
}

#[tokio::test]
async fn manifests_are_real_in_both_directions() {
    for wire in WIRES {
        let simulator = start(Scenario::default()).await;
        let peer = Peer::login(&simulator, wire).await;
        let content = vmdk(3);
        let check = async |lease: &str, info: &Value, is_import: bool| {
            let (disk, nvram) = (disk_0(info), url_of(info, "new.nvram"));
            let pair = json!({ "_typeName": "KeyValue", "key": disk["key"], "value": "sha256" });
            let pairs = json!({ "deviceUrlsToChecksumTypes": [pair] });
            peer.ok(lease, "HttpNfcLeaseSetManifestChecksumType", pairs.clone()).await;
            assert!(peer.manifest(lease).await.is_empty());
            if is_import {
                assert_eq!(upload(&simulator, "POST", &disk, content.clone()).await.unwrap(), 200);
                assert_eq!(upload(&simulator, "PUT", &nvram, "nvram").await.unwrap(), 201);
            } else {
                assert_eq!(download(&simulator, &disk).await.unwrap().1, content);
                assert_eq!(download(&simulator, &nvram).await.unwrap().1, "nvram");
            }
            let lines = peer.manifest(lease).await;
            let line =
                |url: &Value| lines.iter().find(|line| line["key"] == url["key"]).unwrap().clone();
            let (disk, nvram) = (line(&disk), line(&nvram));
            assert_eq!(disk["sha1"], hex(&Sha1::digest(&content)));
            assert_eq!(disk["checksum"], hex(&Sha256::digest(&content)));
            assert_eq!(disk["checksumType"], "sha256");
            assert_eq!((&disk["size"], &disk["disk"]), (&json!(content.len()), &json!(true)));
            assert_eq!(disk["capacity"], 1 << 20);
            assert_eq!(disk["populatedSize"], 512 << 10);
            assert_eq!(nvram["checksum"], hex(&Sha1::digest("nvram")));
            assert_eq!((&nvram["checksumType"], &nvram["disk"]), (&json!("sha1"), &json!(false)));
            assert!(nvram.get("capacity").is_none());
            // Too late now.
            let late = peer.fault(lease, "HttpNfcLeaseSetManifestChecksumType", pairs).await;
            assert_eq!(late, "InvalidState");
            peer.ok(lease, "HttpNfcLeaseComplete", json!({})).await;
        };
        let (lease, info) = peer.import("new", 1).await;
        check(&lease, &info, true).await;
        let (lease, info) = peer.export("new").await;
        check(&lease, &info, false).await;
    }
    let simulator = start_json(r#"{"strict":{"export_manifest":false}}"#).await;
    let peer = Peer::login(&simulator, Wire::Soap).await;
    let (lease, info) = peer.export("small").await;
    assert_eq!(download(&simulator, &disk_0(&info)).await.unwrap().0, 200);
    assert!(peer.manifest(&lease).await.is_empty());
}

#[tokio::test]
async fn ended_leases_are_readable_for_a_while_or_vanish() {
    over_both_wires(async |wire| {
        for (vanishes, grace_s) in [(false, 300), (true, 300), (false, 0)] {
            let scenario = Scenario {
                lease_vanishes: vanishes,
                lease_grace_s: grace_s,
                ..Scenario::default()
            };
            let simulator = start(scenario).await;
            let peer = Peer::login(&simulator, wire).await;
            for (method, state) in
                [("HttpNfcLeaseComplete", "done"), ("HttpNfcLeaseAbort", "error")]
            {
                let (lease, _) = peer.export("small").await;
                peer.ok(&lease, method, json!({})).await;
                if !vanishes && grace_s > 0 {
                    assert_eq!(peer.get(&lease, "state").await, state);
                    let again = peer.fault(&lease, "HttpNfcLeaseComplete", json!({})).await;
                    assert_eq!(again, "InvalidState");
                    continue;
                }
                let gone = loop {
                    match peer.try_get(&lease, "state").await {
                        Ok(_) if !vanishes => pause().await,
                        other => break other.unwrap_err(),
                    }
                };
                assert_eq!(gone.kind, "ManagedObjectNotFound");
                let again = peer.fault(&lease, "HttpNfcLeaseComplete", json!({})).await;
                assert_eq!(again, "ManagedObjectNotFound");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn thumbprints_are_right_wrong_long_or_none() {
    for (form, version) in
        [("sha1", "8.0.3.0"), ("sha256", "9.0.0.0"), ("wrong", "9.0.0.0"), ("empty", "9.0.0.0")]
    {
        let text = format!(
            r#"{{"api_version":"{version}","hosts":[{{"thumbprint":"{form}"}},{{"name":"host1"}}]}}"#
        );
        let simulator = start_json(&text).await;
        let host = simulator.hosts[0].identity();
        for wire in WIRES {
            let peer = Peer::login(&simulator, wire).await;
            let (lease, info) = peer.export("small").await;
            let url = disk_0(&info);
            let thumbprint = url["sslThumbprint"].as_str().unwrap();
            match form {
                "sha1" => assert_eq!(thumbprint, host.thumbprint_sha1()),
                "sha256" => assert_eq!(thumbprint, host.thumbprint_sha256()),
                "empty" => assert_eq!(thumbprint, ""),
                _ => {
                    assert_eq!(thumbprint.len(), 59);
                    assert_ne!(thumbprint, host.thumbprint_sha1());
                }
            }
            // Since 9.0 the whole certificate is there too, as wrong as the thumbprint; not for
            // those who speak an older version.
            assert!(url.get("sslCertificate").is_none());
            let newest = Peer { release: version, ..peer };
            let info = newest.get(&lease, "info").await;
            let url = disk_0(&info);
            let certificate = url.get("sslCertificate").and_then(Value::as_str);
            assert_eq!(certificate.is_some(), matches!(form, "sha256" | "wrong"));
            let is_right = certificate == Some(host.certificate_pem());
            assert_eq!(is_right, form == "sha256");
            newest.ok(&lease, "HttpNfcLeaseAbort", json!({})).await;
        }
    }
    // With `*` it is the API's own.
    let simulator = {
        let hosts = r#"{"hosts":[{"star_url":true,"thumbprint":"sha1"},{"name":"host1"}]}"#;
        start_json(hosts).await
    };
    let peer = Peer::login(&simulator, Wire::Soap).await;
    let (_, info) = peer.export("small").await;
    assert_eq!(disk_0(&info)["sslThumbprint"], simulator.thumbprint());
}

#[tokio::test]
async fn a_truncated_chunked_reply_looks_whole() {
    let fault = r#"{"faults":[{"on":"export","kind":{"truncate_after_bytes":70000}}]}"#;
    let simulator = start_json(fault).await;
    let peer = Peer::login(&simulator, Wire::Json).await;
    let (lease, info) = peer.export("small").await;
    let (status, stream) = download(&simulator, &disk_0(&info)).await.unwrap();
    assert_eq!((status, stream.len()), (200, 70_000));
    assert!(stream.starts_with(b"KDMV"));
    // Only the manifest tells.
    assert!(peer.manifest(&lease).await[0]["size"].as_u64().unwrap() > 70_000);
}

#[tokio::test]
async fn the_second_disk_of_a_lease_can_be_empty() {
    for has_quirk in [false, true] {
        let mut scenario = Scenario::default();
        scenario.quirks.one_disk_per_lease = has_quirk;
        let mut two = Machine::new("two");
        two.disks = vec![DiskSpec::new(1 << 20), DiskSpec::new(1 << 20)];
        scenario.machines = vec![two];
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Soap).await;
        let (lease, info) = peer.export("two").await;
        let [zero, one] = ["disk-0.vmdk", "disk-1.vmdk"].map(|file| url_of(&info, file));
        let (status, stream) = download(&simulator, &one).await.unwrap();
        assert_eq!((status, stream.is_empty()), (200, false));
        let (status, stream) = download(&simulator, &zero).await.unwrap();
        assert_eq!((status, stream.is_empty()), (200, has_quirk));
        assert!(!download(&simulator, &one).await.unwrap().1.is_empty(), "the first one, again");
        peer.ok(&lease, "HttpNfcLeaseComplete", json!({})).await;
        // With a lease for each disk all of them come.
        let (_, info) = peer.export("two").await;
        let zero = url_of(&info, "disk-0.vmdk");
        assert!(!download(&simulator, &zero).await.unwrap().1.is_empty());
    }
}

#[tokio::test]
async fn file_sizes_can_be_wrong() {
    let simulator = start_json(r#"{"quirks":{"file_size_offset":136890}}"#).await;
    let peer = Peer::login(&simulator, Wire::Soap).await;
    let (lease, info) = peer.export("small").await;
    let nvram = url_of(&info, "small.nvram");
    let (status, content) = download(&simulator, &nvram).await.unwrap();
    assert_eq!((status, content.len()), (200, 8684));
    assert_eq!(nvram["fileSize"], 8684 + 136_890);
    let line = peer.manifest(&lease).await.into_iter().find(|line| line["disk"] == false).unwrap();
    assert_eq!(line["size"], 8684);
    assert!(disk_0(&info).get("fileSize").is_none());
}

#[tokio::test]
async fn blanks_in_urls_are_not_escaped() {
    for is_escaped in [false, true] {
        let text = format!(
            r#"{{"quirks":{{"escaped_blanks":{is_escaped}}},
                "machines":[{{"name":"my vm","disks":[{{"capacity":65536}}],"nvram":100}}]}}"#
        );
        let simulator = start_json(&text).await;
        let peer = Peer::login(&simulator, Wire::Json).await;
        let (_, info) = peer.export("my vm").await;
        let name = if is_escaped { "my%20vm.nvram" } else { "my vm.nvram" };
        let nvram = url_of(&info, name);
        assert_eq!(nvram["targetId"], "my vm.nvram");
        assert_eq!(download(&simulator, &nvram).await.unwrap().1.len(), 100);
    }
}

#[tokio::test]
async fn ids_of_leases_have_brackets() {
    for wire in WIRES {
        let simulator = start_json(r#"{"quirks":{"bracketed_tickets":true}}"#).await;
        let peer = Peer::login(&simulator, wire).await;
        let key = simulator.sessions()[0].key.clone();
        let (lease, info) = peer.export("small").await;
        assert!(lease.starts_with(&format!("HttpNfcLease:session[{key}]")), "{lease}");
        if wire == Wire::Json {
            // The peer sends them raw; encoded they are the same.
            let encoded = lease.replace('[', "%5B").replace(']', "%5d");
            assert_eq!(peer.get(&encoded, "state").await, "ready");
        }
        let url = disk_0(&info);
        let encoded = url["url"].as_str().unwrap();
        assert!(encoded.contains(&format!("/nfc/session%5B{key}%5D")), "{encoded}");
        assert_eq!(download(&simulator, &url).await.unwrap().0, 200);
        let raw = json!({ "url": encoded.replace("%5B", "[").replace("%5D", "]") });
        assert_eq!(download(&simulator, &raw).await.unwrap().0, 200);
    }
    let simulator = start_json(r#"{"quirks":{"plain_lease_ids":true}}"#).await;
    let peer = Peer::login(&simulator, Wire::Soap).await;
    assert!(!peer.export("small").await.0.contains('['));
}

#[tokio::test]
async fn faults_come_with_and_without_text() {
    let ask = async |scenario: Scenario, wire| {
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, _) = peer.export("small").await;
        peer.ok(&lease, "HttpNfcLeaseComplete", json!({})).await;
        let fault = peer.call(&lease, "HttpNfcLeaseComplete", &json!({})).await.unwrap_err();
        assert_eq!(fault.kind, "InvalidState");
        let task = format!("Task:{}", simulator.leases()[0].task);
        assert_eq!(peer.get(&task, "info").await["state"], "success");
        fault.text
    };
    for (habit, names) in [
        (FaultText::Faultstring, ["faultstring"].as_slice()),
        (FaultText::FaultMessage, &["faultMessage"]),
        (FaultText::None, &[]),
    ] {
        let mut scenario = Scenario::default();
        scenario.vi_json.fault_text = habit;
        let text = ask(scenario, Wire::Json).await;
        for name in ["faultstring", "faultMessage"] {
            assert_eq!(text.contains(name), names.contains(&name), "{text}");
        }
    }
    for has_text in [true, false] {
        let mut scenario = Scenario::default();
        scenario.soap.fault_text = has_text;
        let text = ask(scenario, Wire::Soap).await;
        assert_eq!(text.contains("<faultstring></faultstring>"), !has_text, "{text}");
    }
    // Inside data, too.
    for has_text in [true, false] {
        let mut scenario = Scenario::default();
        scenario.soap.fault_text = has_text;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Soap).await;
        let (lease, _) = peer.export("small").await;
        peer.ok(&lease, "HttpNfcLeaseAbort", json!({})).await;
        let error = peer.get(&lease, "error").await;
        assert_eq!(error["fault"]["_typeName"], "RequestCanceled");
        assert_eq!(error.get("localizedMessage").is_some(), has_text, "{error}");
    }
}

#[tokio::test]
async fn no_result_is_204_or_an_empty_200() {
    for (is_200, status) in [(false, 204), (true, 200)] {
        let mut scenario = Scenario::default();
        scenario.vi_json.empty_is_200 = is_200;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Json).await;
        let (lease, _) = peer.export("small").await;
        let beat = peer.send(&lease, "HttpNfcLeaseProgress", &json!({ "percent": 1 })).await;
        assert_eq!((beat.status, beat.body.as_str()), (status, ""));
    }
}

#[tokio::test]
async fn results_are_bare_or_boxed_and_either_is_understood() {
    for is_boxed in [false, true] {
        let mut scenario = Scenario::default();
        scenario.vi_json.boxed_results = is_boxed;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Json).await;
        let name = peer.get(&peer.vm("small"), "name").await;
        let boxed = json!({ "_typeName": "string", "_value": "small" });
        assert_eq!(name, if is_boxed { boxed } else { json!("small") });
        // References come in a box from some clients.
        let folder = fixed::vm_folder().value();
        let boxed = json!({ "_typeName": "ManagedObjectReference", "_value": folder });
        for entity in [folder, boxed] {
            let found = json!({ "entity": entity, "name": "small" });
            let found = peer.ok("SearchIndex:SearchIndex", "FindChild", found).await;
            assert_eq!(
                format!("VirtualMachine:{}", found["value"].as_str().unwrap()),
                peer.vm("small")
            );
        }
    }
}

#[tokio::test]
async fn the_cookie_is_quoted_or_not() {
    for is_quoted in [true, false] {
        let mut scenario = Scenario::default();
        scenario.soap.quoted_cookie = is_quoted;
        let simulator = start(scenario).await;
        // The peer sends it back in quotes, whatever it was.
        let peer = Peer::login(&simulator, Wire::Soap).await;
        assert_eq!(peer.get(&peer.vm("small"), "name").await, "small");
        let head = Peer::anonymous(&simulator, Wire::Soap).log_in().await.head;
        let header = head.lines().find(|line| line.starts_with("set-cookie")).unwrap();
        assert_eq!(header.contains("vmware_soap_session=\""), is_quoted, "{header}");
    }
}

#[tokio::test]
async fn everything_but_the_state_can_be_missing() {
    // Each field of what a lease says is in the list, and nothing else.
    let mut known: Vec<String> = Vec::new();
    for kind in Quirks::OPTIONAL.map(|name| name.split_once('.').unwrap().0) {
        let fields = match types::data(kind) {
            Some(data) => data.fields.as_slice(),
            None => types::properties(kind),
        };
        known.extend(fields.iter().map(|field| format!("{kind}.{}", field.name)));
    }
    known.sort();
    known.dedup();
    known.retain(|name| name != "HttpNfcLease.state");
    assert_eq!(known, Quirks::OPTIONAL);

    for name in Quirks::OPTIONAL {
        let mut scenario = Scenario::default();
        scenario.quirks.missing = vec![name.to_owned()];
        scenario.machines.clear();
        let bench = Bench::new(scenario).await;
        let lease = bench.import("new").await.unwrap();
        settle().await;
        let (kind, field) = name.split_once('.').unwrap();
        assert_eq!(bench.get(&lease, "state").await, "ready", "{name}");
        if kind == "HttpNfcLease" {
            assert_eq!(bench.get(&lease, field).await, Value::Null, "{name}");
        } else {
            let info = bench.get(&lease, "info").await;
            let capabilities = bench.get(&lease, "capabilities").await;
            assert!(!has(&info, kind, field) && !has(&capabilities, kind, field), "{name}");
        }
    }
    // And over the wires, with manifest.
    let missing: Vec<_> = Quirks::OPTIONAL
        .into_iter()
        .filter(|name| !matches!(*name, "HttpNfcLease.info" | "HttpNfcLeaseInfo.deviceUrl"))
        .filter(|name| !name.ends_with("DeviceUrl.url"))
        .collect();
    let text = json!({ "quirks": { "missing": missing } }).to_string();
    for wire in WIRES {
        let simulator = start_json(&text).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, info) = peer.import("new", 1).await;
        let names =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(names(&info), ["_typeName", "deviceUrl"]);
        assert_eq!(names(&info["deviceUrl"][0]), ["_typeName", "url"]);
        assert_eq!(peer.get(&lease, "mode").await, Value::Null);
        assert_eq!(upload(&simulator, "POST", &disk_0(&info), vmdk(1)).await.unwrap(), 200);
        let line = &peer.manifest(&lease).await[0];
        assert!(line.as_object().unwrap().keys().all(|name| name == "_typeName"), "{line}");
        peer.ok(&lease, "HttpNfcLeaseAbort", json!({})).await;
        assert_eq!(peer.get(&lease, "state").await, "error");
        assert_eq!(peer.get(&lease, "error").await, Value::Null);
    }
}

#[tokio::test]
async fn the_lease_timeout_can_be_nonsense() {
    for wire in WIRES {
        let simulator = start_json(r#"{"lease_timeout_shown":300000000}"#).await;
        let peer = Peer::login(&simulator, wire).await;
        assert_eq!(peer.export("small").await.1["leaseTimeout"], 300_000_000);
    }
}

/// Whether a data object of the type `kind` in `value` has the field.
fn has(value: &Value, kind: &str, field: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| has(item, kind, field)),
        Value::Object(fields) => {
            (value["_typeName"] == kind && fields.contains_key(field))
                || fields.values().any(|inner| has(inner, kind, field))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
