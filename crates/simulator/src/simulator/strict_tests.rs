//! Rules of hosts and sessions beyond the list of requirements: each as it holds by default, and
//! without it.

use std::time::Duration;

use serde_json::json;
use sha1::{Digest as _, Sha1};

use super::wires::{
    Peer, WIRES, disk_0, download, open, over_both_wires, pause, start, start_json, upload, url_of,
    vmdk,
};
use super::*;
use crate::client;
use crate::disk::hex;

#[tokio::test]
async fn a_machine_under_a_lease_is_blocked() {
    for (wire, blocks) in [(Wire::Json, true), (Wire::Soap, true), (Wire::Soap, false)] {
        let mut scenario = Scenario::default();
        scenario.strict.block = blocks;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, wire).await;
        peer.export("small").await;
        let outcome = peer.call(&peer.vm("small"), "PowerOnVM_Task", &json!({})).await;
        assert_eq!(
            outcome.map_err(|fault| fault.kind).err().as_deref(),
            match blocks {
                true => Some("TaskInProgress"),
                false => None,
            }
        );
    }
}

#[tokio::test]
async fn an_upload_needs_a_length() {
    for is_strict in [true, false] {
        let mut scenario = Scenario::default();
        scenario.strict.content_length = is_strict;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Soap).await;
        let (_, info) = peer.import("new", 1).await;
        let (mut client, path) = open(&simulator, disk_0(&info)["url"].as_str().unwrap()).await;
        let frames = futures::stream::iter([Ok(http_body::Frame::data(vmdk(1).into()))]);
        let body = BodyExt::boxed(http_body_util::StreamBody::new(frames));
        let status = client.send("POST", &path, body).await.unwrap().status();
        assert_eq!(status, if is_strict { 411 } else { 200 });
    }
}

#[tokio::test]
async fn a_put_says_that_it_overwrites() {
    for is_strict in [true, false] {
        let mut scenario = Scenario::default();
        scenario.strict.overwrite = is_strict;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Soap).await;
        let (_, info) = peer.import("new", 1).await;
        let url = url_of(&info, "new.nvram");
        let path = url["url"].as_str().unwrap().split('/').skip(3).collect::<Vec<_>>().join("/");
        let host = &simulator.hosts[0];
        let put = async |more: &str| {
            let text = format!(
                "PUT /{path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n{more}\r\nx"
            );
            let answer = client::raw(host.local_addr(), host.identity(), &text).await;
            answer.split(' ').nth(1).unwrap().to_owned()
        };
        assert_eq!(put("").await, if is_strict { "412" } else { "201" });
        assert_eq!(put("Overwrite: f\r\n").await, if is_strict { "412" } else { "201" });
        assert_eq!(put("Overwrite: t\r\n").await, "201");
    }
}

#[tokio::test]
async fn an_upload_that_ends_early_does_not_count() {
    for is_strict in [true, false] {
        let mut scenario = Scenario::default();
        scenario.strict.whole_bodies = is_strict;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Json).await;
        let (lease, info) = peer.import("new", 1).await;
        let url = url_of(&info, "new.nvram");
        let path = url["url"].as_str().unwrap().split('/').skip(3).collect::<Vec<_>>().join("/");
        let host = &simulator.hosts[0];
        let mut stream = client::connect(host.local_addr(), host.identity()).await.unwrap();
        let text = format!(
            "PUT /{path} HTTP/1.1\r\nHost: h\r\nOverwrite: t\r\nContent-Length: 9\r\n\r\nshort"
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        drop(stream);
        while simulator.hosts()[0].connections > 0 {
            pause().await;
        }
        if is_strict {
            assert!(peer.manifest(&lease).await.is_empty());
            continue;
        }
        while peer.manifest(&lease).await.is_empty() {
            pause().await;
        }
        let line = &peer.manifest(&lease).await[0];
        assert_eq!(
            (&line["size"], &line["sha1"]),
            (&json!(5), &json!(hex(&Sha1::digest("short"))))
        );
    }
}

#[tokio::test]
async fn a_length_is_what_counts_and_not_the_size_in_the_descriptor() {
    // The NVRAM has no size in the import spec at all; a real one was twice what its OVF said.
    let simulator = start(Scenario::default()).await;
    let peer = Peer::login(&simulator, Wire::Soap).await;
    let (lease, info) = peer.import("new", 1).await;
    let url = url_of(&info, "new.nvram");
    assert!(url.get("fileSize").is_none(), "{url}");
    assert_eq!(upload(&simulator, "PUT", &url, vec![7; 270_840]).await.unwrap(), 201);
    assert_eq!(peer.manifest(&lease).await[0]["size"], 270_840);
}

#[tokio::test]
async fn without_a_version_the_oldest_api_is_served() {
    for is_needed in [true, false] {
        let mut scenario = Scenario::default();
        scenario.soap.action_needed = is_needed;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Soap).await;
        let (kind, id) = ("VirtualMachine", peer.vm("small"));
        let id = id.strip_prefix("VirtualMachine:").unwrap();
        let body = tests::envelope(&format!(
            "<ExportVm xmlns='urn:vim25'><_this type='{kind}'>{id}</_this></ExportVm>"
        ));
        let raw = peer.request("POST /sdk", "", &body).await;
        assert_eq!(raw.status, if is_needed { 500 } else { 200 }, "{raw:?}");
    }
}

#[tokio::test]
async fn idle_sessions_end() {
    assert_eq!(Scenario::default().session_idle_s, 1800);
    over_both_wires(async |wire| {
        let simulator = start_json(r#"{"session_idle_s":1}"#).await;
        let peer = Peer::login(&simulator, wire).await;
        let vm = peer.vm("small");
        // Activity keeps it.
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(peer.get(&vm, "name").await, "small");
        }
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(peer.try_get(&vm, "name").await.unwrap_err().kind, "NotAuthenticated");
    })
    .await;
}

#[tokio::test]
async fn one_upload_goes_to_many_disks() {
    for wire in WIRES {
        let simulator = start(Scenario::default()).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, info) = peer.import("new", 2).await;
        let base = info["hostMap"][0]["hosts"][0]["url"].as_str().unwrap();
        assert_eq!(info["hostMap"][0]["datastoreKey"], disk_0(&info)["datastoreKey"]);
        assert_eq!(
            info["hostMap"][0]["hosts"][0]["sslThumbprint"],
            simulator.hosts()[0].thumbprint
        );
        let multi = |targets: &str| json!({ "url": format!("{base}multi?targets={targets}") });
        let both = multi("disk-0.vmdk,disk-1.vmdk");
        for (method, url, status) in [
            ("POST", multi("disk-0.vmdk,disk-7.vmdk"), 404),
            ("POST", multi("disk-0.vmdk,disk-0.vmdk"), 404),
            ("POST", multi("disk-0.vmdk,new.nvram"), 405),
            ("PUT", both.clone(), 405),
            ("GET", both.clone(), 405),
            ("POST", both.clone(), 200),
        ] {
            assert_eq!(upload(&simulator, method, &url, vmdk(5)).await.unwrap(), status, "{url}");
        }
        let lines = peer.manifest(&lease).await;
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["sha1"], lines[1]["sha1"]);
        assert_eq!(upload(&simulator, "POST", &both, "no disk").await.unwrap(), 500);
        assert_eq!(upload(&simulator, "POST", &both, vmdk(5)).await.unwrap(), 200);
        peer.ok(&lease, "HttpNfcLeaseComplete", json!({})).await;
        let vms = simulator.vms();
        let new = vms.iter().find(|vm| vm.name == "new").unwrap();
        assert_eq!(new.disks[0].digest().unwrap(), new.disks[1].digest().unwrap());
        assert_eq!(new.disks[0].populated_bytes(), 512 << 10);
        // Nothing of this on export.
        let (_, info) = peer.export("new").await;
        assert!(info.get("hostMap").is_none() && disk_0(&info).get("datastoreKey").is_none());
    }
    let simulator = start_json(r#"{"multi_post":false}"#).await;
    let peer = Peer::login(&simulator, Wire::Soap).await;
    let (_, info) = peer.import("new", 2).await;
    assert!(info.get("hostMap").is_none());
    let url =
        disk_0(&info)["url"].as_str().unwrap().replace("disk-0.vmdk", "multi?targets=disk-0.vmdk");
    let url = json!({ "url": url });
    assert_eq!(upload(&simulator, "POST", &url, vmdk(5)).await.unwrap(), 404);
}

#[tokio::test]
async fn an_image_can_have_no_target() {
    for has_quirk in [false, true] {
        let mut scenario = Scenario::default();
        scenario.quirks.images_without_target = has_quirk;
        let simulator = start(scenario).await;
        let peer = Peer::login(&simulator, Wire::Json).await;
        let (lease, info) = peer.import("new", 1).await;
        assert_eq!(upload(&simulator, "POST", &disk_0(&info), vmdk(1)).await.unwrap(), 200);
        let image = url_of(&info, "disk-0.iso");
        assert_eq!(upload(&simulator, "PUT", &image, "image").await.unwrap(), 201);
        peer.ok(&lease, "HttpNfcLeaseComplete", json!({})).await;
        let (_, info) = peer.export("new").await;
        let image = url_of(&info, "disk-0.iso");
        assert_eq!(image.get("targetId").is_some(), !has_quirk);
        assert_eq!(disk_0(&info)["targetId"], "disk-0.vmdk");
        assert_eq!(download(&simulator, &image).await.unwrap().1, "image");
    }
}
