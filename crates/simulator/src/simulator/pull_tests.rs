//! Pull mode as a client sees it, on both wires, against a web server that is really there.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::wires::{Peer, WIRES, pause, start, start_json, upload, url_of, vmdk};
use super::*;
use crate::disk::hex;

/// A web server with a package on it.
struct Web {
    server: Server,
    identity: Identity,
}

impl Web {
    async fn start() -> Self {
        let identity = Identity::generate(&["127.0.0.1"]).unwrap();
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let serve = |request: Request<Incoming>| async move { Self::answer(&request).await };
        let server = Server::start(address, &identity, Limits::default(), serve).await.unwrap();
        Self { server, identity }
    }

    async fn answer(request: &Request<Incoming>) -> Response<Body> {
        let content: Bytes = match request.uri().path() {
            "/disk.vmdk" => vmdk(11).into(),
            "/package.ova" => ova(),
            "/image.iso" => "image".into(),
            "/secret.nvram" if request.headers().contains_key(AUTHORIZATION) => "nvram".into(),
            "/secret.nvram" => return text(StatusCode::FORBIDDEN, "no"),
            "/moved.vmdk" => {
                let mut response = text(StatusCode::FOUND, "there");
                response.headers_mut().insert(LOCATION, HeaderValue::from_static("/disk.vmdk"));
                return response;
            }
            "/silent.vmdk" => std::future::pending().await,
            _ => return text(StatusCode::NOT_FOUND, "no such file"),
        };
        Response::new(full(content))
    }

    /// A file of it for the device with this import key.
    fn file(&self, target: &Value, path: &str, is_created: bool) -> Value {
        json!({
            "_typeName": "HttpNfcLeaseSourceFile",
            "targetDeviceId": target,
            "url": format!("https://{}/{path}", self.server.local_addr()),
            "create": is_created,
            "sslThumbprint": self.identity.thumbprint_sha1(),
        })
    }

    /// One file for each device of an import of two disks.
    fn files(&self, info: &Value) -> Vec<Value> {
        let key = |file: &str| url_of(info, file)["importKey"].clone();
        let mut first = self.file(&key("disk-0.vmdk"), "disk.vmdk", false);
        first["size"] = json!(vmdk(11).len());
        let mut second = self.file(&key("disk-1.vmdk"), "package.ova", false);
        second["memberName"] = json!("disk-2.vmdk");
        // The size of an OVA says nothing of its members.
        second["size"] = json!(7);
        second["sslThumbprint"] = json!(self.identity.thumbprint_sha256());
        let mut image = self.file(&key("disk-0.iso"), "image.iso", true);
        image.as_object_mut().unwrap().remove("sslThumbprint");
        image["sslCertificate"] = json!(self.identity.certificate_pem());
        let mut nvram = self.file(&key("new.nvram"), "secret.nvram", true);
        let secret =
            json!({ "_typeName": "KeyValue", "key": "Authorization", "value": "Basic eA==" });
        nvram["httpHeaders"] = json!([secret]);
        vec![nvram, image, second, first]
    }
}

/// An OVA whose second disk is [`vmdk`] of 12.
fn ova() -> Bytes {
    let mut ova = ovftransfer_ovf::ova::Writer::new(Vec::new());
    let members =
        [("a.ovf", b"<Envelope/>".to_vec()), ("disk-1.vmdk", vmdk(13)), ("disk-2.vmdk", vmdk(12))];
    for (name, content) in members {
        let name = ovftransfer_ovf::FileName::new(name).unwrap();
        ova.append(&name, content.len() as u64, &mut content.as_slice()).unwrap();
    }
    ova.finish().unwrap().into()
}

async fn task_end(peer: &Peer<'_>, task: &Value) -> Value {
    let task = format!("Task:{}", task["value"].as_str().unwrap());
    loop {
        let info = peer.get(&task, "info").await;
        if info["state"] != "running" {
            return info;
        }
        pause().await;
    }
}

const PULL: &str = "HttpNfcLeasePullFromUrls_Task";
const PROBE: &str = "HttpNfcLeaseProbeUrls";

#[tokio::test]
async fn a_host_fetches_a_package_itself() {
    let web = Web::start().await;
    for wire in WIRES {
        let simulator = start(Scenario::default()).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, info) = peer.import("new", 2).await;
        assert_eq!(peer.get(&lease, "capabilities").await["pullModeSupported"], true);
        assert_eq!(peer.get(&lease, "mode").await, "pushOrGet");
        let files = web.files(&info);
        let task = peer.ok(&lease, PULL, json!({ "files": files })).await;
        assert_eq!(peer.get(&lease, "mode").await, "pull");
        let end = task_end(&peer, &task).await;
        assert_eq!(end["state"], "success", "{end}");
        assert!(end.get("result").is_none());
        assert_eq!(peer.get(&lease, "transferProgress").await, 100);
        let lines = peer.manifest(&lease).await;
        for (file, content) in [
            ("disk-0.vmdk", vmdk(11)),
            ("disk-1.vmdk", vmdk(12)),
            ("disk-0.iso", b"image".to_vec()),
            ("new.nvram", b"nvram".to_vec()),
        ] {
            let key = &url_of(&info, file)["key"];
            let line = lines.iter().find(|line| line["key"] == *key).unwrap();
            assert_eq!(line["sha1"], hex(&Sha1::digest(&content)), "{file}");
            assert_eq!(line["size"], content.len(), "{file}");
        }
        peer.ok(&lease, "HttpNfcLeaseComplete", json!({})).await;
        let (_, info) = peer.export("new").await;
        let disk = url_of(&info, "disk-1.vmdk");
        assert_eq!(wires::download(&simulator, &disk).await.unwrap().1, vmdk(12));
    }
    web.server.stop().await;
}

#[tokio::test]
async fn files_and_devices_must_fit() {
    let web = Web::start().await;
    let simulator = start(Scenario::default()).await;
    let peer = Peer::login(&simulator, Wire::Json).await;
    let (lease, info) = peer.import("new", 2).await;
    let files = web.files(&info);
    let change = |edit: &dyn Fn(&mut Vec<Value>)| {
        let mut files = files.clone();
        edit(&mut files);
        json!({ "files": files })
    };
    for (what, wrong) in [
        ("no list", json!({})),
        ("none", change(&Vec::clear)),
        ("too few", change(&|files| drop(files.pop()))),
        ("too many", change(&|files| files.push(files[0].clone()))),
        ("one twice", change(&|files| files[0] = files[1].clone())),
        ("unknown", change(&|files| files[0]["targetDeviceId"] = json!("/x/disk:0"))),
        ("other verb", change(&|files| files[0]["create"] = json!(false))),
        ("no web", change(&|files| files[0]["url"] = json!("ftp://x/y"))),
        (
            "two pins",
            change(&|files| files[0]["sslCertificate"] = json!(web.identity.certificate_pem())),
        ),
        ("no pin", change(&|files| files[0]["sslThumbprint"] = json!("AA:BB"))),
    ] {
        assert_eq!(peer.fault(&lease, PULL, wrong.clone()).await, "InvalidArgument", "{what}");
        assert_eq!(peer.fault(&lease, PROBE, wrong).await, "InvalidArgument", "{what}");
    }
    assert_eq!(peer.get(&lease, "mode").await, "pushOrGet");
    let good = json!({ "files": files });
    // Push or pull, not both; and once.
    let nvram = url_of(&info, "new.nvram");
    assert_eq!(upload(&simulator, "PUT", &nvram, "x").await.unwrap(), 201);
    assert_eq!(peer.fault(&lease, PULL, good.clone()).await, "InvalidState");
    peer.ok(&lease, "HttpNfcLeaseAbort", json!({})).await;
    assert_eq!(peer.fault(&lease, PROBE, good.clone()).await, "InvalidState");
    let (lease, _) = peer.import("new", 2).await;
    let task = peer.ok(&lease, PULL, good.clone()).await;
    assert_eq!(peer.fault(&lease, PULL, good.clone()).await, "InvalidState");
    assert_eq!(task_end(&peer, &task).await["state"], "success");
    // Nothing is pulled out of an export, nor where the scenario has no pull mode.
    let (lease, _) = peer.export("small").await;
    assert_eq!(peer.get(&lease, "capabilities").await["pullModeSupported"], false);
    assert_eq!(peer.fault(&lease, PULL, good.clone()).await, "NotSupported");
    for wire in WIRES {
        let simulator = start_json(r#"{"pull_mode":false}"#).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, _) = peer.import("new", 2).await;
        assert_eq!(peer.get(&lease, "capabilities").await["pullModeSupported"], false);
        assert_eq!(peer.fault(&lease, PULL, good.clone()).await, "NotSupported");
        assert_eq!(peer.fault(&lease, PROBE, good.clone()).await, "NotSupported");
    }
    web.server.stop().await;
}

#[tokio::test]
async fn what_goes_wrong_at_the_source_is_told() {
    let web = Web::start().await;
    let other = Identity::generate(&["localhost"]).unwrap().thumbprint_sha1();
    for wire in WIRES {
        let simulator = start(Scenario::default()).await;
        let peer = Peer::login(&simulator, wire).await;
        let closed = "https://127.0.0.1:1/disk.vmdk";
        let address = web.server.local_addr();
        let url = |path: &str| json!(format!("https://{address}/{path}"));
        for (field, value, kind, told) in [
            ("url", url("none.vmdk"), "HttpFault", "404"),
            ("url", url("moved.vmdk"), "HttpFault", "302"),
            ("sslThumbprint", json!(other), "SSLVerifyFault", "true"),
            ("sslThumbprint", json!(""), "SSLVerifyFault", &web.identity.thumbprint_sha1()),
            ("url", json!(closed), "SystemError", "cannot reach"),
            ("url", url("image.iso"), "SystemError", "another size"),
            ("memberName", json!("disk-2.vmdk"), "SystemError", "no tar archive"),
            ("size", json!(70_000), "SystemError", "another size"),
        ] {
            let (lease, info) = peer.import("new", 2).await;
            let mut files = web.files(&info);
            files[3][field] = value;
            let task = peer.ok(&lease, PULL, json!({ "files": files })).await;
            let end = task_end(&peer, &task).await;
            let error = end["error"].to_string();
            assert!(error.contains(kind) && error.contains(told), "{told}: {end}");
            // The lease is the client's to abort.
            assert_eq!(peer.get(&lease, "state").await, "ready");
            peer.ok(&lease, "HttpNfcLeaseAbort", json!({})).await;
        }
    }
    // No disk, of the right size: the host looks into it.
    let simulator = start(Scenario::default()).await;
    let peer = Peer::login(&simulator, Wire::Soap).await;
    let (lease, info) = peer.import("new", 2).await;
    let mut files = web.files(&info);
    files[3]["url"] = json!(format!("https://{}/image.iso", web.server.local_addr()));
    files[3]["size"] = json!(5);
    let task = peer.ok(&lease, PULL, json!({ "files": files })).await;
    let end = task_end(&peer, &task).await;
    assert!(end["error"].to_string().contains("invalid sparse VMDK header"), "{end}");
    // A member that is not there.
    peer.ok(&lease, "HttpNfcLeaseAbort", json!({})).await;
    let (lease, info) = peer.import("new", 2).await;
    let mut files = web.files(&info);
    files[2]["memberName"] = json!("disk-9.vmdk");
    let task = peer.ok(&lease, PULL, json!({ "files": files })).await;
    let end = task_end(&peer, &task).await;
    assert!(end["error"].to_string().contains("no member disk-9.vmdk"), "{end}");
    web.server.stop().await;
}

#[tokio::test]
async fn a_pull_can_be_cancelled_and_ends_with_its_lease() {
    let web = Web::start().await;
    for (wire, by_task) in [(Wire::Json, true), (Wire::Soap, true), (Wire::Soap, false)] {
        let simulator = start(Scenario::default()).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, info) = peer.import("new", 2).await;
        let mut files = web.files(&info);
        files[3]["url"] = json!(format!("https://{}/silent.vmdk", web.server.local_addr()));
        let task = peer.ok(&lease, PULL, json!({ "files": files })).await;
        let id = format!("Task:{}", task["value"].as_str().unwrap());
        assert_eq!(peer.get(&id, "info").await["cancelable"], true);
        while peer.manifest(&lease).await.len() < 3 {
            pause().await;
        }
        assert_eq!(peer.get(&id, "info").await["state"], "running");
        if by_task {
            peer.ok(&id, "CancelTask", json!({})).await;
        } else {
            peer.ok(&lease, "HttpNfcLeaseAbort", json!({})).await;
        }
        let end = task_end(&peer, &task).await;
        let kind = if by_task { "RequestCanceled" } else { "InvalidState" };
        assert!(end["error"].to_string().contains(kind), "{end}");
        let state = if by_task { "ready" } else { "error" };
        assert_eq!(peer.get(&lease, "state").await, state);
    }
    web.server.stop().await;
}

#[tokio::test]
async fn a_probe_says_what_can_be_reached() {
    let web = Web::start().await;
    for wire in WIRES {
        let simulator = start(Scenario::default()).await;
        let peer = Peer::login(&simulator, wire).await;
        let (lease, info) = peer.import("new", 2).await;
        let files = web.files(&info);
        let reached = async |files: &[Value], timeout: u8| {
            let probe = json!({ "files": files, "timeout": timeout });
            let results = peer.ok(&lease, PROBE, probe).await;
            let results = results.as_array().unwrap().clone();
            let flags = results.iter().map(|one| one["serverAccessible"].as_bool().unwrap());
            flags.collect::<Vec<_>>()
        };
        assert_eq!(reached(&files, 30).await, [true; 4]);
        let mut bad = files.clone();
        bad[0].as_object_mut().unwrap().remove("httpHeaders");
        bad[1]["url"] = json!("https://127.0.0.1:1/");
        bad[3]["url"] = json!(format!("https://{}/silent.vmdk", web.server.local_addr()));
        // The answers stand in the order of the files.
        assert_eq!(reached(&bad, 1).await, [false, false, true, false]);
        // It only looked.
        assert_eq!(peer.get(&lease, "mode").await, "pushOrGet");
        assert!(peer.manifest(&lease).await.is_empty());
    }
    web.server.stop().await;
}

#[tokio::test]
async fn plain_http_is_pulled_and_a_broken_source_is_not_whole() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let content = Arc::new(vmdk(11));
    let mut serving = JoinSet::new();
    let served = Arc::clone(&content);
    // The first GET breaks half-way, the others are whole.
    serving.spawn(async move {
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _read = stream.read(&mut head).await.unwrap();
            let length = served.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let end = if turn == 0 { length / 2 } else { length };
            stream.write_all(&served[..end]).await.unwrap();
        }
    });
    let web = Web::start().await;
    let simulator = start(Scenario::default()).await;
    let peer = Peer::login(&simulator, Wire::Soap).await;
    for is_whole in [false, true] {
        let (lease, info) = peer.import("new", 2).await;
        let mut files = web.files(&info);
        files[3]["url"] = json!(format!("http://{address}/x"));
        let task = peer.ok(&lease, PULL, json!({ "files": files })).await;
        let end = task_end(&peer, &task).await;
        assert_eq!(end["state"], if is_whole { "success" } else { "error" }, "{end}");
        let has_line = peer.manifest(&lease).await.iter().any(|line| line["size"] == content.len());
        assert_eq!(has_line, is_whole);
        peer.ok(&lease, "HttpNfcLeaseAbort", json!({})).await;
    }
    web.server.stop().await;
}
