//! What a scenario lets go wrong, over real sockets and on both wires.  Faults inside one stream
//! are tested in `nfc`.

use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::wires::{Peer, WIRES, download, open, pause, start_json, upload, url_of, vmdk};
use super::*;
use crate::disk::hex;

#[tokio::test]
async fn calls_take_their_time() {
    for wire in WIRES {
        let simulator = start_json(r#"{"latency_ms":200}"#).await;
        let peer = Peer::login(&simulator, wire).await;
        let begun = Instant::now();
        peer.get(&peer.vm("small"), "name").await;
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_host_has_one_pace_for_all_its_streams() {
    let hosts = r#"{"hosts":[{"throttle_mb_per_s":2},{"name":"host1"}]}"#;
    let simulator = start_json(hosts).await;
    let peer = Peer::login(&simulator, Wire::Soap).await;
    let (_, info) = peer.import("new", 2).await;
    let [zero, one] = ["disk-0.vmdk", "disk-1.vmdk"].map(|file| url_of(&info, file));
    let content = vmdk(1);
    let bytes = f64::from(u32::try_from(content.len() * 2).unwrap());
    let begun = Instant::now();
    let (zero, one) = tokio::join!(
        upload(&simulator, "POST", &zero, content.clone()),
        upload(&simulator, "POST", &one, content.clone()),
    );
    assert_eq!((zero.unwrap(), one.unwrap()), (200, 200));
    let taken = begun.elapsed().as_secs_f64();
    assert!(taken > bytes / 2e6 * 0.9, "{taken} s for {bytes} bytes");
}

#[tokio::test]
async fn the_first_tries_are_refused() {
    for status in [405, 500, 503] {
        for (on, direction) in [("export", "GET"), ("import", "POST")] {
            let fault = format!(
                r#"{{"faults":[{{"on":"{on}","disk":0,"times":2,"kind":{{"status":{status}}}}}]}}"#
            );
            let simulator = start_json(&fault).await;
            let peer = Peer::login(&simulator, Wire::Soap).await;
            let (_, info) = match on {
                "export" => peer.export("small").await,
                _ => peer.import("new", 1).await,
            };
            let url = url_of(&info, "disk-0.vmdk");
            let mut answers = Vec::new();
            for _ in 0..3 {
                answers.push(match direction {
                    "GET" => download(&simulator, &url).await.unwrap().0,
                    _ => upload(&simulator, "POST", &url, vmdk(1)).await.unwrap(),
                });
            }
            assert_eq!(answers, [status, status, 200], "{on}");
        }
    }
}

#[tokio::test]
async fn initializing_is_slow_or_fails() {
    for wire in WIRES {
        let simulator = start_json(r#"{"initialize_delay_ms":300}"#).await;
        let peer = Peer::login(&simulator, wire).await;
        let begun = Instant::now();
        let lease = peer.begin_import("new", 1).await;
        let id = format!("HttpNfcLease:{}", lease["value"].as_str().unwrap());
        assert_eq!(peer.get(&id, "state").await, "initializing");
        assert_eq!(peer.get(&id, "info").await, Value::Null);
        assert_eq!(peer.fault(&id, "HttpNfcLeaseComplete", json!({})).await, "InvalidState");
        peer.ready(lease).await;
        assert!(begun.elapsed() >= Duration::from_millis(300));

        let fault = r#"{"faults":[{"on":"import","kind":{"initialize_error":"no space"}}]}"#;
        let simulator = start_json(fault).await;
        let peer = Peer::login(&simulator, wire).await;
        let lease = peer.begin_import("new", 1).await;
        let id = format!("HttpNfcLease:{}", lease["value"].as_str().unwrap());
        while peer.get(&id, "state").await == "initializing" {
            pause().await;
        }
        assert_eq!(peer.get(&id, "state").await, "error");
        assert!(peer.get(&id, "error").await.to_string().contains("no space"));
        assert!(simulator.vms().iter().all(|vm| vm.name != "new"));
        peer.import("new", 1).await;
    }
}

#[tokio::test]
async fn heartbeats_are_refused() {
    for wire in WIRES {
        let fault =
            r#"{"faults":[{"on":"export","after":1,"times":2,"kind":"heartbeat_refused"}]}"#;
        let simulator = start_json(fault).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, _) = peer.export("small").await;
        let mut beats = Vec::new();
        for percent in 0..5 {
            let beat = json!({ "percent": percent });
            beats.push(peer.call(&lease, "HttpNfcLeaseProgress", &beat).await.map_err(|f| f.kind));
        }
        let refused: Vec<bool> = beats.iter().map(Result::is_err).collect();
        assert_eq!(refused, [false, true, true, false, false]);
        assert_eq!(beats[1].as_ref().unwrap_err(), "SystemError");
        assert_eq!(simulator.leases()[0].heartbeats_refused, 2);
    }
}

#[tokio::test]
async fn leases_are_lost_and_cut_what_runs() {
    for wire in WIRES {
        for (kind, vanishes) in [
            (r#"{"lease_lost_after_bytes":100000}"#, false),
            (r#"{"lease_lost_after_ms":50}"#, true),
        ] {
            let text = format!(
                r#"{{"lease_vanishes":{vanishes},
                    "hosts":[{{"throttle_mb_per_s":1}},{{"name":"host1"}}],
                    "faults":[{{"on":"export","kind":{kind}}}]}}"#
            );
            let simulator = start_json(&text).await;
            let peer = Peer::login(&simulator, wire).await;
            let (lease, info) = peer.export("small").await;
            let url = url_of(&info, "disk-0.vmdk");
            assert!(download(&simulator, &url).await.is_err(), "it is cut, not ended");
            assert_eq!(download(&simulator, &url).await.unwrap().0, 404);
            match peer.try_get(&lease, "state").await {
                Ok(state) => assert_eq!((state, vanishes), (json!("error"), false)),
                Err(fault) => {
                    assert_eq!((fault.kind.as_str(), vanishes), ("ManagedObjectNotFound", true));
                }
            }
            assert_eq!(simulator.leases()[0].fault.as_ref().unwrap().kind, "SystemError");
        }
    }
}

#[tokio::test]
async fn sessions_are_lost_and_their_leases_with_them() {
    for wire in WIRES {
        let simulator = start_json(r#"{"session_calls_max":20}"#).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, info) = peer.export("small").await;
        let fault = loop {
            match peer.call(&lease, "HttpNfcLeaseProgress", &json!({ "percent": 1 })).await {
                Ok(_) => {}
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault.kind, "NotAuthenticated");
        assert!(simulator.sessions().is_empty());
        // A new session cannot drive the old lease, but the ticket is good until that times out.
        let again = Peer::login(&simulator, wire).await;
        let gone = again.fault(&lease, "HttpNfcLeaseAbort", json!({})).await;
        assert_eq!(gone, "ManagedObjectNotFound");
        assert_eq!(download(&simulator, &url_of(&info, "disk-0.vmdk")).await.unwrap().0, 200);
        simulator.drop_sessions();
        let lost = again.try_get(&again.vm("small"), "name").await.unwrap_err();
        assert_eq!(lost.kind, "NotAuthenticated");
    }
}

#[tokio::test]
async fn the_same_seed_does_the_same() {
    // What each of twelve downloads of two disks came to, one after the other or side by side.
    let run = async |seed: u64, side_by_side: bool| {
        let text = format!(
            r#"{{"random_faults":{{"seed":{seed},"per_mille":500,"within":"100KiB",
                "kinds":["reset","status_503","flip_bit","truncate"]}},
                "machines":[{{"name":"two","disks":[
                    {{"capacity":"1MiB","data":{{"amount":"256KiB","kind":"random","seed":1}}}},
                    {{"capacity":"1MiB","data":{{"amount":"256KiB","kind":"random","seed":2}}}}
                ]}}]}}"#
        );
        let simulator = start_json(&text).await;
        let peer = Peer::login(&simulator, Wire::Json).await;
        let (_, info) = peer.export("two").await;
        let outcome = async |file: &str| {
            let mut outcomes = Vec::new();
            for _ in 0..12 {
                let (mut client, path) =
                    open(&simulator, url_of(&info, file)["url"].as_str().unwrap()).await;
                let reply = client.get(&path).await.map_err(|_| "cut".to_owned());
                outcomes.push(match reply {
                    Ok(reply) if reply.status() != 200 => reply.status().to_string(),
                    Ok(reply) => match reply.into_body().collect().await {
                        Ok(body) => hex(&Sha256::digest(body.to_bytes())),
                        Err(_) => "cut".to_owned(),
                    },
                    Err(cut) => cut,
                });
            }
            outcomes
        };
        if side_by_side {
            let both = tokio::join!(outcome("disk-1.vmdk"), outcome("disk-0.vmdk"));
            return [both.1, both.0];
        }
        [outcome("disk-0.vmdk").await, outcome("disk-1.vmdk").await]
    };
    let first = run(7, false).await;
    assert_eq!(first, run(7, true).await);
    assert_ne!(first, run(8, false).await);
    let all: Vec<&String> = first.iter().flatten().collect();
    assert!(all.iter().any(|one| *one == "cut") && all.iter().any(|one| one.starts_with("503")));
}
