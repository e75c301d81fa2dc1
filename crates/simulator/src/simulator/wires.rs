//! A client for tests that says the same on both wires, over real sockets, and moves bytes.
//!
//! Requests are values, written for SOAP by the schema; answers come back as values from either
//! wire.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::tests::envelope;
use super::*;
use crate::client::{self, Client};

/// Both wires.
pub(super) const WIRES: [Wire; 2] = [Wire::Json, Wire::Soap];

/// Runs a test that mostly waits over both wires at the same time.
pub(super) async fn over_both_wires(run: impl AsyncFn(Wire)) {
    tokio::join!(run(Wire::Json), run(Wire::Soap));
}

/// A fault as it came over a wire.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: String,
    /// The whole body.
    pub(super) text: String,
}

/// A session on one wire.
pub(super) struct Peer<'a> {
    pub(super) simulator: &'a Simulator,
    pub(super) wire: Wire,
    /// Version of the API that it speaks.
    pub(super) release: &'static str,
    pub(super) secret: Option<String>,
}

/// Head and body of a reply, as they came.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

pub(super) async fn start(scenario: Scenario) -> Simulator {
    Simulator::builder().scenario(scenario).start().await.unwrap()
}

pub(super) async fn start_json(scenario: &str) -> Simulator {
    start(Scenario::from_json(scenario).unwrap()).await
}

impl<'a> Peer<'a> {
    /// Nobody yet.
    pub(super) fn anonymous(simulator: &'a Simulator, wire: Wire) -> Self {
        Self { simulator, wire, release: "8.0.3.0", secret: None }
    }

    /// Logs in.
    pub(super) async fn login(simulator: &'a Simulator, wire: Wire) -> Self {
        let mut peer = Self::anonymous(simulator, wire);
        let raw = peer.log_in().await;
        assert_eq!(raw.status, 200, "{raw:?}");
        peer.secret = raw.head.lines().find_map(|line| match wire {
            Wire::Json => line.strip_prefix("vmware-api-session-id: ").map(str::to_owned),
            Wire::Soap => session::cookie(line.strip_prefix("set-cookie: ")?).map(str::to_owned),
        });
        assert!(peer.secret.is_some(), "{raw:?}");
        peer
    }

    pub(super) async fn log_in(&self) -> Raw {
        let parameters = json!({
            "userName": self.simulator.username(), "password": self.simulator.password(),
        });
        self.send("SessionManager:SessionManager", "Login", &parameters).await
    }

    /// Calls `method` on `this` (`Type:id`).
    pub(super) async fn send(&self, this: &str, method: &str, parameters: &Value) -> Raw {
        let (kind, id) = this.split_once(':').unwrap();
        let (path, headers, body) = match self.wire {
            Wire::Json => {
                let path = format!("POST /sdk/vim25/{}/{kind}/{id}/{method}", self.release);
                (path, String::new(), parameters.to_string())
            }
            Wire::Soap => {
                let mut text = soap::write_parameters(method, parameters);
                text.insert_str(0, &format!("<_this type='{kind}'>{id}</_this>"));
                let body = envelope(&format!("<{method} xmlns='urn:vim25'>{text}</{method}>"));
                let headers = format!("SOAPAction: urn:vim25/{}\r\n", self.release);
                ("POST /sdk".to_owned(), headers, body)
            }
        };
        self.request(&path, &headers, &body).await
    }

    /// Sends a request with the session's secret.
    pub(super) async fn request(&self, line: &str, headers: &str, body: &str) -> Raw {
        let secret = match (&self.secret, self.wire) {
            (Some(token), Wire::Json) => format!("vmware-api-session-id: {token}\r\n"),
            (Some(cookie), Wire::Soap) => format!("Cookie: vmware_soap_session=\"{cookie}\"\r\n"),
            (None, _) => String::new(),
        };
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
             {secret}{headers}\r\n{body}"
        );
        let text = client::raw(api(self.simulator), &self.simulator.identity, &request).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
        Raw {
            status: head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(super) async fn call(
        &self,
        this: &str,
        method: &str,
        parameters: &Value,
    ) -> Result<Value, Failure> {
        let raw = self.send(this, method, parameters).await;
        match (raw.status, self.wire) {
            (204, Wire::Json) => Ok(Value::Null),
            (200, Wire::Json) if raw.body.is_empty() => Ok(Value::Null),
            (200, Wire::Json) => Ok(serde_json::from_str(&raw.body).unwrap()),
            (200, Wire::Soap) => Ok(soap::read_answer(method, &raw.body).unwrap()),
            (500, Wire::Json) => {
                let fault: Value = serde_json::from_str(&raw.body).unwrap();
                let kind = fault["_typeName"].as_str().unwrap().to_owned();
                Err(Failure { kind, text: raw.body })
            }
            (500, Wire::Soap) => {
                let detail = raw.body.split("<detail>").nth(1).unwrap_or_default();
                let kind =
                    detail.split("xsi:type=\"").nth(1).and_then(|rest| rest.split('"').next());
                let kind = kind.unwrap_or_default().to_owned();
                Err(Failure { kind, text: raw.body })
            }
            _ => panic!("{method}: {raw:?}"),
        }
    }

    pub(super) async fn ok(&self, this: &str, method: &str, parameters: Value) -> Value {
        self.call(this, method, &parameters).await.unwrap_or_else(|fault| panic!("{fault:?}"))
    }

    pub(super) async fn fault(&self, this: &str, method: &str, parameters: Value) -> String {
        self.call(this, method, &parameters).await.unwrap_err().kind
    }

    /// One property, bare; `null` if it is not set.
    pub(super) async fn get(&self, object: &str, property: &str) -> Value {
        self.try_get(object, property).await.unwrap_or_else(|fault| panic!("{fault:?}"))
    }

    pub(super) async fn try_get(&self, object: &str, property: &str) -> Result<Value, Failure> {
        let (kind, id) = object.split_once(':').unwrap();
        if self.wire == Wire::Json {
            let line = format!("GET /sdk/vim25/{}/{kind}/{id}/{property}", self.release);
            let raw = self.request(&line, "", "").await;
            return match raw.status {
                204 => Ok(Value::Null),
                200 => Ok(serde_json::from_str(&raw.body).unwrap()),
                _ => {
                    let fault: Value = serde_json::from_str(&raw.body).unwrap();
                    let kind = fault["_typeName"].as_str().unwrap().to_owned();
                    Err(Failure { kind, text: raw.body })
                }
            };
        }
        let value = self.call(object, soap::FETCH, &json!({ "prop": property })).await?;
        Ok(value.get("_value").cloned().unwrap_or(value))
    }

    pub(super) fn vm(&self, name: &str) -> String {
        let vm = self.simulator.vms().into_iter().find(|vm| vm.name == name);
        format!("VirtualMachine:{}", vm.unwrap_or_else(|| panic!("no {name}")).id)
    }

    pub(super) async fn ready(&self, lease: Value) -> (String, Value) {
        let lease = format!("HttpNfcLease:{}", lease["value"].as_str().unwrap());
        loop {
            match self.get(&lease, "state").await.as_str().unwrap() {
                "initializing" => pause().await,
                "ready" => break,
                _ => panic!("{}", self.get(&lease, "error").await),
            }
        }
        let info = self.get(&lease, "info").await;
        (lease, info)
    }

    /// Exports a machine: the lease and its information.
    pub(super) async fn export(&self, name: &str) -> (String, Value) {
        let lease = self.ok(&self.vm(name), "ExportVm", json!({})).await;
        self.ready(lease).await
    }

    /// The import spec of a machine with so many disks of 1 MiB, and of an image if wanted.
    pub(super) fn spec(name: &str, disks: usize, with_image: bool) -> Value {
        let device = |device: Value| {
            json!({
                "_typeName": "VirtualDeviceConfigSpec",
                "operation": "add", "fileOperation": "create", "device": device,
            })
        };
        let mut changes = vec![
            device(json!({
                "_typeName": "VirtualLsiLogicController",
                "key": -1, "busNumber": 0, "sharedBus": "noSharing",
            })),
            device(json!({ "_typeName": "VirtualIDEController", "key": -2, "busNumber": 0 })),
        ];
        for unit in 0..disks {
            changes.push(device(json!({
                "_typeName": "VirtualDisk",
                "key": -100 - i64::try_from(unit).unwrap(),
                "backing": {
                    "_typeName": "VirtualDiskFlatVer2BackingInfo",
                    "fileName": "", "diskMode": "persistent", "thinProvisioned": true,
                },
                "controllerKey": -1, "unitNumber": unit, "capacityInKB": 1024,
            })));
        }
        if with_image {
            changes.push(device(json!({
                "_typeName": "VirtualCdrom",
                "key": -3,
                "backing": { "_typeName": "VirtualCdromIsoBackingInfo", "fileName": "[datastore0] x.iso" },
                "controllerKey": -2, "unitNumber": 0,
            })));
        }
        json!({
            "_typeName": "VirtualMachineImportSpec",
            "configSpec": {
                "_typeName": "VirtualMachineConfigSpec",
                "name": name,
                "files": { "_typeName": "VirtualMachineFileInfo", "vmPathName": "[datastore0]" },
                "numCPUs": 1,
                "memoryMB": 64,
                "deviceChange": changes,
                "extraConfig": [{
                    "_typeName": "OptionValue",
                    "key": NVRAM, "value": { "_typeName": "string", "_value": format!("{name}.nvram") },
                }],
            },
        })
    }

    /// Begins the import of a machine with so many disks, an image and an NVRAM.
    pub(super) async fn import(&self, name: &str, disks: usize) -> (String, Value) {
        let lease = self.begin_import(name, disks).await;
        self.ready(lease).await
    }

    pub(super) async fn begin_import(&self, name: &str, disks: usize) -> Value {
        let (pool, folder) = (fixed::root_pool(), fixed::vm_folder().value());
        let parameters = json!({ "spec": Self::spec(name, disks, true), "folder": folder });
        self.ok(&pool.to_string(), "ImportVApp", parameters).await
    }

    pub(super) async fn manifest(&self, lease: &str) -> Vec<Value> {
        let entries = self.ok(lease, "HttpNfcLeaseGetManifest", json!({})).await;
        entries.as_array().cloned().unwrap_or_default()
    }
}

/// The device URL whose file has this name.
pub(super) fn url_of(info: &Value, file: &str) -> Value {
    let urls = info["deviceUrl"].as_array().unwrap().iter();
    let mut found = urls.filter(|url| url["url"].as_str().unwrap().ends_with(&format!("/{file}")));
    found.next().cloned().unwrap_or_else(|| panic!("no {file} in {info}"))
}

/// The device URL of the first disk.
pub(super) fn disk_0(info: &Value) -> Value {
    url_of(info, "disk-0.vmdk")
}

/// The API's address.
pub(super) fn api(simulator: &Simulator) -> SocketAddr {
    simulator.url().strip_prefix("https://").unwrap().parse().unwrap()
}

/// A connection to where a device URL leads, and the path there, blanks encoded.
pub(super) async fn open(simulator: &Simulator, url: &str) -> (Client, String) {
    let rest = url.strip_prefix("https://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let path = format!("/{}", path.replace(' ', "%20"));
    if authority == "*" {
        return (Client::open(api(simulator), &simulator.identity).await, path);
    }
    let mut hosts = simulator.hosts.iter();
    let host = hosts.find(|host| host.local_addr().to_string() == authority).unwrap();
    (Client::open(host.local_addr(), host.identity()).await, path)
}

/// Reads a device URL.
pub(super) async fn download(
    simulator: &Simulator,
    url: &Value,
) -> Result<(u16, Bytes), hyper::Error> {
    let (mut client, path) = open(simulator, url["url"].as_str().unwrap()).await;
    let reply = client.get(&path).await?;
    let status = reply.status().as_u16();
    Ok((status, reply.into_body().collect().await?.to_bytes()))
}

/// Sends `content` to a device URL.
pub(super) async fn upload(
    simulator: &Simulator,
    method: &str,
    url: &Value,
    content: impl Into<Bytes>,
) -> Result<u16, hyper::Error> {
    let (mut client, path) = open(simulator, url["url"].as_str().unwrap()).await;
    client.put(method, &path, content).await.map(|status| status.as_u16())
}

/// A stream-optimized disk of 1 MiB.
pub(super) fn vmdk(seed: u64) -> Vec<u8> {
    use crate::scenario::{Data, DataKind, DiskSpec};
    let data = Data::new(DataKind::Random, 512 << 10, seed);
    let disk = Disk::generated(&DiskSpec::new(1 << 20).with_data(data));
    crate::stream::write_disk(&disk, Vec::new()).unwrap().0
}

/// A little time, for loops that wait for something; they have a limit by the test's own.
pub(super) async fn pause() {
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
}
