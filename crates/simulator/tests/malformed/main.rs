//! What is no request, or not quite one, never stops the server.
//!
//! A handler that panics takes its connection with it: every request here that is whole HTTP must
//! be answered.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod mutate;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use http::StatusCode;
use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::{DiskSpec, Machine, Scenario};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use mutate::Random;
use support::wire::{Client, moref, tls};

async fn start() -> Simulator {
    let mut scenario = Scenario::from_json(
        r#"{ "switches": [{ "name": "DVS0", "portgroups": [{ "name": "DPG0" }] }] }"#,
    )
    .unwrap();
    scenario.lease_timeout_s = 3600;
    Simulator::builder().scenario(scenario).start().await.unwrap()
}

fn authority(simulator: &Simulator) -> &str {
    simulator.url().strip_prefix("https://").unwrap()
}

fn descriptor() -> String {
    let mut machine = Machine::new("package");
    machine.networks = vec!["VM Network".to_owned()];
    machine.disks = vec![DiskSpec::new(1 << 20)];
    let folder = tempfile::tempdir().unwrap();
    let package = Appliance::new(machine).write_folder(folder.path()).unwrap();
    std::fs::read_to_string(package.path()).unwrap()
}

/// One request of each kind that carries much, by path and body.
async fn json_requests(client: &mut Client) -> Vec<(String, Value)> {
    let manager = moref("OvfManager", "OvfManager");
    let pool = client.find("/DC0/host/Cluster0/Resources").await;
    let datastore = client.find("/DC0/datastore/datastore0").await;
    let folder = client.find("/DC0/vm").await;
    let vm = client.find("/DC0/vm/database").await;
    let switch = client.find("/DC0/network/DVS0").await;
    let devices = client.property(&vm, "config").await["hardware"]["device"].clone();
    let devices = devices["_value"].as_array().or(devices.as_array()).cloned().unwrap();
    let card = devices.iter().find(|device| device["macAddress"].is_string()).unwrap();
    let cisp = json!({
        "_typeName": "OvfCreateImportSpecParams", "locale": "", "deploymentOption": "",
        "entityName": "broken", "diskProvisioning": "thin",
        "propertyMapping": [{ "_typeName": "KeyValue", "key": "a", "value": "b" }],
    });
    let good = json!({ "_typeName": "OvfCreateImportSpecParams", "locale": "", "deploymentOption": "", "entityName": "good" });
    let create = |cisp: &Value| json!({ "ovfDescriptor": descriptor(), "resourcePool": pool, "datastore": datastore, "cisp": cisp });
    let spec = client.call(&manager, "CreateImportSpec", &create(&good)).await.unwrap();
    let traversal = json!([{
        "_typeName": "PropertyFilterSpec",
        "propSet": [{ "_typeName": "PropertySpec", "type": "ManagedEntity", "pathSet": ["name", "parent"] }],
        "objectSet": [{
            "_typeName": "ObjectSpec", "obj": folder, "skip": false,
            "selectSet": [{
                "_typeName": "TraversalSpec", "name": "children", "type": "Folder", "path": "childEntity",
                "selectSet": [{ "_typeName": "SelectionSpec", "name": "children" }],
            }],
        }],
    }]);
    let change =
        json!([{ "_typeName": "VirtualDeviceConfigSpec", "operation": "edit", "device": card }]);
    let object =
        |of: &Value| format!("{}/{}", of["type"].as_str().unwrap(), of["value"].as_str().unwrap());
    let collector = "PropertyCollector/propertyCollector";
    [
        (format!("{}/CreateImportSpec", object(&manager)), create(&cisp)),
        (
            format!("{}/ParseDescriptor", object(&manager)),
            json!({ "ovfDescriptor": descriptor(), "pdp": { "_typeName": "OvfParseDescriptorParams", "locale": "", "deploymentOption": "" } }),
        ),
        (
            format!("{}/CreateDescriptor", object(&manager)),
            json!({ "obj": vm, "cdp": { "_typeName": "OvfCreateDescriptorParams", "ovfFiles": [
                { "_typeName": "OvfFile", "deviceId": "/x/y:0", "path": "a", "size": 1 },
            ] } }),
        ),
        (format!("{}/ImportVApp", object(&pool)), json!({ "spec": spec["importSpec"], "folder": folder })),
        (
            format!("{}/ReconfigVM_Task", object(&vm)),
            json!({ "spec": { "_typeName": "VirtualMachineConfigSpec", "deviceChange": change } }),
        ),
        (
            format!("{}/CreateSnapshot_Task", object(&vm)),
            json!({ "name": "s", "description": "d", "memory": false, "quiesce": false }),
        ),
        (format!("{}/Rename_Task", object(&vm)), json!({ "newName": "database" })),
        (format!("{}/CreateFolder", object(&folder)), json!({ "name": "f" })),
        (format!("{collector}/RetrievePropertiesEx"), json!({ "specSet": traversal, "options": { "_typeName": "RetrieveOptions", "maxObjects": 2 } })),
        (format!("{collector}/CreateFilter"), json!({ "spec": traversal[0], "partialUpdates": true })),
        (
            "ViewManager/ViewManager/CreateContainerView".to_owned(),
            json!({ "container": folder, "type": ["VirtualMachine"], "recursive": true }),
        ),
        (
            format!("{}/FetchDVPorts", object(&switch)),
            json!({ "criteria": { "_typeName": "DistributedVirtualSwitchPortCriteria", "inside": true, "portKey": ["1"] } }),
        ),
        ("SearchIndex/SearchIndex/FindByUuid".to_owned(), json!({ "uuid": "x", "vmSearch": true, "instanceUuid": false })),
    ]
    .to_vec()
}

/// Sends what must be answered somehow.
async fn expect_answer(client: &mut Client, path: &str, body: Vec<u8>) -> StatusCode {
    let shown = String::from_utf8_lossy(&body).into_owned();
    let answer = timeout(Duration::from_secs(20), client.send("POST", path, body)).await;
    let Ok(answer) = answer else { panic!("no answer to {path}: {shown}") };
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {path}: {shown}"));
    let status = answer.status;
    let is_known = [200, 204, 400, 404, 500].contains(&status.as_u16());
    assert!(is_known, "{status} {}: {path}: {shown}", answer.text());
    // A fault, never the text of a panic.
    assert!(!answer.text().contains("panicked"), "{}", answer.text());
    status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_broken_json_request_stops_the_server() {
    let simulator = start().await;
    let mut client = Client::log_in(&simulator).await;
    let requests = json_requests(&mut client).await;
    let mut random = Random::new(20_240_601);
    let mut refused = 0;
    for (member, body) in &requests {
        let path = format!("/sdk/vim25/8.0.3.0/{member}");
        for round in 0..ROUNDS {
            let broken = match round % 2 {
                0 => mutate::values(&mut random, body),
                _ => mutate::bytes(&mut random, &body.to_string()),
            };
            let status = expect_answer(&mut client, &path, broken).await;
            refused += usize::from(!status.is_success());
        }
    }
    assert!(refused > requests.len() * ROUNDS / 2, "only {refused} were refused");
    still_serves(&simulator).await;
    simulator.stop().await;
}

fn soap(method: &str, this: &Value, arguments: &str) -> String {
    let (kind, id) = (this["type"].as_str().unwrap(), this["value"].as_str().unwrap());
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\"><soapenv:Body>\
         <{method} xmlns=\"urn:vim25\"><_this type=\"{kind}\">{id}</_this>{arguments}</{method}>\
         </soapenv:Body></soapenv:Envelope>"
    )
}

/// A client with a session of the SOAP wire.
async fn soap_client(simulator: &Simulator) -> Client {
    let mut client = Client::connect(authority(simulator)).await;
    client.keep_header("soapaction", "urn:vim25/8.0.3.0");
    let login = soap(
        "Login",
        &moref("SessionManager", "SessionManager"),
        &format!(
            "<userName>{}</userName><password>{}</password>",
            simulator.username(),
            simulator.password()
        ),
    );
    let answer = client.send("POST", "/sdk", login).await.unwrap();
    let cookie =
        answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    client.keep_header("cookie", &cookie);
    client
}

async fn soap_requests(simulator: &Simulator, client: &mut Client) -> Vec<String> {
    let mut finder = Client::log_in(simulator).await;
    let reference = |name: &str, of: &Value| {
        format!("<{name} type={}>{}</{name}>", of["type"], of["value"].as_str().unwrap())
    };
    let manager = moref("OvfManager", "OvfManager");
    let pool = finder.find("/DC0/host/Cluster0/Resources").await;
    let datastore = finder.find("/DC0/datastore/datastore0").await;
    let folder = finder.find("/DC0/vm").await;
    let vm = finder.find("/DC0/vm/database").await;
    let switch = finder.find("/DC0/network/DVS0").await;
    let text = descriptor().replace('&', "&amp;").replace('<', "&lt;");
    let create = soap(
        "CreateImportSpec",
        &manager,
        &format!(
            "<ovfDescriptor>{text}</ovfDescriptor>{}{}<cisp><locale/><deploymentOption/>\
             <entityName>broken</entityName><diskProvisioning>thin</diskProvisioning></cisp>",
            reference("resourcePool", &pool),
            reference("datastore", &datastore),
        ),
    );
    let answer = client.send("POST", "/sdk", create.clone()).await.unwrap().text();
    let (from, to) = (answer.find("<importSpec").unwrap(), answer.find("</importSpec>").unwrap());
    let spec = answer[from..to].replacen("<importSpec", "<spec", 1);
    let collector = moref("PropertyCollector", "propertyCollector");
    let traversal = format!(
        "<propSet><type>ManagedEntity</type><pathSet>name</pathSet></propSet><objectSet>{}\
         <skip>false</skip><selectSet xsi:type=\"TraversalSpec\"><name>c</name><type>Folder</type>\
         <path>childEntity</path><selectSet><name>c</name></selectSet></selectSet></objectSet>",
        reference("obj", &folder)
    );
    [
        create,
        soap("ImportVApp", &pool, &format!("{spec}</spec>{}", reference("folder", &folder))),
        soap(
            "RetrievePropertiesEx",
            &collector,
            &format!("<specSet>{traversal}</specSet><options><maxObjects>2</maxObjects></options>"),
        ),
        soap(
            "CreateFilter",
            &collector,
            &format!("<spec>{traversal}</spec><partialUpdates>true</partialUpdates>"),
        ),
        soap(
            "CreateContainerView",
            &moref("ViewManager", "ViewManager"),
            &format!(
                "{}<type>VirtualMachine</type><recursive>true</recursive>",
                reference("container", &folder)
            ),
        ),
        soap(
            "CreateSnapshot_Task",
            &vm,
            "<name>s</name><memory>false</memory><quiesce>false</quiesce>",
        ),
        soap(
            "ReconfigVM_Task",
            &vm,
            "<spec><deviceChange><operation>edit</operation><device xsi:type=\"VirtualVmxnet3\">\
             <key>4000</key></device></deviceChange></spec>",
        ),
        soap(
            "FetchDVPorts",
            &switch,
            "<criteria><inside>true</inside><portKey>1</portKey></criteria>",
        ),
        soap(
            "CreateDescriptor",
            &manager,
            &format!(
                "{}<cdp><ovfFiles><deviceId>/x/y:0</deviceId><path>a</path><size>1</size></ovfFiles></cdp>",
                reference("obj", &vm)
            ),
        ),
    ]
    .to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_broken_soap_request_stops_the_server() {
    let simulator = start().await;
    let mut client = soap_client(&simulator).await;
    let requests = soap_requests(&simulator, &mut client).await;
    let mut random = Random::new(20_240_602);
    let mut refused = 0;
    for request in &requests {
        for round in 0..ROUNDS {
            let broken = match round % 2 {
                0 => mutate::tags(&mut random, request),
                _ => mutate::bytes(&mut random, request),
            };
            let status = expect_answer(&mut client, "/sdk", broken).await;
            refused += usize::from(!status.is_success());
        }
    }
    assert!(refused > requests.len() * ROUNDS / 2, "only {refused} were refused");
    still_serves(&simulator).await;
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_with_something_wrong_are_judged() {
    let simulator = start().await;
    let mut client = Client::log_in(&simulator).await;
    let good = descriptor();
    let mut random = Random::new(20_240_603);
    let path = "/sdk/vim25/8.0.3.0/OvfManager/OvfManager/ParseDescriptor";
    for round in 0..ROUNDS * 4 {
        let broken = match round % 2 {
            0 => mutate::tags(&mut random, &good),
            _ => mutate::bytes(&mut random, &good),
        };
        let pdp = json!({ "_typeName": "OvfParseDescriptorParams", "locale": "", "deploymentOption": "" });
        let body = json!({ "ovfDescriptor": String::from_utf8_lossy(&broken), "pdp": pdp });
        let status = expect_answer(&mut client, path, body.to_string().into_bytes()).await;
        assert_eq!(status, StatusCode::OK, "what is wrong stands in the result: {body}");
    }
    still_serves(&simulator).await;
    simulator.stop().await;
}

/// Found by broken requests: the map of such a disk took 16 TiB of memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_bounds_is_refused() {
    let simulator = start().await;
    let mut client = Client::log_in(&simulator).await;
    let requests = json_requests(&mut client).await;
    let (path, body) = requests.iter().find(|(path, _)| path.ends_with("/ImportVApp")).unwrap();
    let broken = body.to_string().replace("1048576", "9223372036854775807");
    assert_ne!(broken, body.to_string());
    let path = format!("/sdk/vim25/8.0.3.0/{path}");
    let lease = client.send("POST", &path, broken).await.unwrap().value();
    let limit = tokio::time::Instant::now() + Duration::from_secs(20);
    while client.property(&lease, "state").await != "error" {
        assert!(tokio::time::Instant::now() < limit, "the lease is not refused");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(client.property(&lease, "error").await["_typeName"], "InvalidDeviceSpec");
    still_serves(&simulator).await;
    simulator.stop().await;
}

/// Bytes that are no text, bodies that are too large or too deep, verbs that nobody serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_no_requests_are_answered() {
    let simulator = start().await;
    let mut client = Client::log_in(&simulator).await;
    let json = "/sdk/vim25/8.0.3.0/Folder/group-v3/CreateFolder";
    for (path, body, status) in [
        ("/sdk", b"<a>\xFF\xFE</a>".to_vec(), 500),
        (json, b"{\"name\":\"\xFF\"}".to_vec(), 500),
        (json, b"{\"name\":\"\\ud800\"}".to_vec(), 500),
        ("/sdk", "<a>".repeat(1_000_000).into_bytes(), 500),
        (json, "{\"name\":".repeat(1_000_000).into_bytes(), 500),
        ("/sdk", vec![b' '; 20_000_001], 500),
        (json, vec![b' '; 20_000_001], 413),
        ("/api/vcenter/system?action=hello", b"[[[".to_vec(), 400),
        ("/nfc/ticket/disk-0.vmdk", b"KDMV".to_vec(), 404),
        ("/../../etc/passwd", Vec::new(), 404),
        ("/sdk/vim25/8.0.3.0/Folder/%FF%00/name", Vec::new(), 404),
    ] {
        // What was sent too much of may cost the connection, never the answer.
        let answer = client.send("POST", path, body).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        client = Client::log_in(&simulator).await;
    }
    for verb in ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "NONSENSE"] {
        for path in
            ["/sdk", json, "/api/vcenter/system?action=hello", "/", "/sdk/vimServiceVersions.xml"]
        {
            let answer = client.send(verb, path, "").await.unwrap();
            let is_served = verb == "GET" && path.ends_with(".xml");
            assert_eq!(answer.status.is_success(), is_served, "{verb} {path}: {}", answer.status);
            assert!(!answer.status.is_server_error(), "{verb} {path}: {}", answer.status);
        }
    }
    still_serves(&simulator).await;
    simulator.stop().await;
}

/// Clients that stop half-way, in each state of a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_half_way_cost_nothing() {
    let simulator = start().await;
    let address = authority(&simulator).parse().unwrap();
    let head = "POST /sdk HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n<a>";
    let chunked = "POST /sdk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<a";
    let mut open = Vec::new();
    for text in ["", "P", "POST /sdk HTTP/1.1\r\nHo", head, chunked] {
        // Half-closed: the server may still answer, and must then let go.
        let mut stream = tls(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{text}: the connection stays");
        // Dropped without a word.
        let mut stream = tls(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        drop(stream);
        // Left open.
        let mut stream = tls(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        open.push(stream);
    }
    // Not even TLS.
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n\x16\x03\x01\xFF\xFF").await.unwrap();
    still_serves(&simulator).await;
    drop(open);
    simulator.stop().await;
}

/// A new client finds everything where it was.
async fn still_serves(simulator: &Simulator) {
    let mut json = Client::log_in(simulator).await;
    let vm = json.find("/DC0/vm/small").await;
    assert_eq!(json.property(&vm, "name").await, "small");
    let mut client = soap_client(simulator).await;
    let now = soap("CurrentTime", &moref("ServiceInstance", "ServiceInstance"), "");
    let answer = client.send("POST", "/sdk", now).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let lease = json.call(&vm, "ExportVm", &json!({})).await.unwrap();
    json.call(&lease, "HttpNfcLeaseAbort", &json!({})).await.unwrap();
}

/// Broken forms of each request.
const ROUNDS: usize = 150;
