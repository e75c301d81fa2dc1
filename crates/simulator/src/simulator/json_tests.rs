//! The VI JSON wire as a client sees it, over real sockets: every byte is in the test.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::client;
use crate::scenario::{ApiVersion, FaultText};

/// A client that hides nothing.
struct Raw {
    simulator: Simulator,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    token: Option<String>,
    body: String,
}

impl Answer {
    fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn fault(&self) -> String {
        assert_eq!(self.status, 500, "{self:?}");
        self.value()["_typeName"].as_str().unwrap().to_owned()
    }
}

impl Raw {
    async fn start(scenario: Scenario) -> Self {
        let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
        Self { simulator, token: None }
    }

    async fn logged_in(scenario: Scenario) -> Self {
        let mut raw = Self::start(scenario).await;
        let answer = raw.login("simulated").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        raw.token = answer.token;
        raw
    }

    async fn login(&self, password: &str) -> Answer {
        let body = json!({
            "userName": "administrator@vsphere.local", "password": password, "locale": "en",
        });
        self.call("SessionManager/SessionManager/Login", &body).await
    }

    async fn send(&self, head: &str, headers: &str, body: &str) -> Answer {
        let address = self.simulator.url().strip_prefix("https://").unwrap();
        let address: SocketAddr = address.parse().unwrap();
        let token = self.token.as_ref();
        let token = token.map(|token| format!("vmware-api-session-id: {token}\r\n"));
        let request = format!(
            "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}{headers}\r\n{body}",
            token.unwrap_or_default()
        );
        let text = client::raw(address, &self.simulator.identity, &request).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
        let token = head.lines().find_map(|line| line.strip_prefix("vmware-api-session-id: "));
        Answer {
            status: head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap(),
            token: token.map(str::to_owned),
            body: body.to_owned(),
        }
    }

    /// POST with a length and a type.
    async fn post(&self, path: &str, body: &str) -> Answer {
        let headers =
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        self.send(&format!("POST {path}"), &headers, body).await
    }

    async fn call(&self, member: &str, body: &Value) -> Answer {
        self.post(&format!("/sdk/vim25/8.0.3.0/{member}"), &body.to_string()).await
    }

    async fn get(&self, member: &str) -> Answer {
        self.send(&format!("GET /sdk/vim25/8.0.3.0/{member}"), "", "").await
    }

    fn vm(&self, name: &str) -> String {
        let vm = self.simulator.vms().into_iter().find(|vm| vm.name == name);
        format!("VirtualMachine/{}", vm.unwrap().id)
    }

    /// Exports a machine; the lease as it stands in paths.
    async fn export(&self, name: &str) -> String {
        let lease = self.call(&format!("{}/ExportVm", self.vm(name)), &json!({})).await.value();
        let lease = format!("HttpNfcLease/{}", lease["value"].as_str().unwrap());
        while self.get(&format!("{lease}/state")).await.value() == "initializing" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lease
    }
}

#[tokio::test]
async fn a_release_is_agreed_on() {
    let raw = Raw::start(Scenario::default()).await;
    let hello = "/api/vcenter/system?action=hello";
    for (wanted, release) in [
        (json!(["9.1.0.0", "9.0.0.0", "8.0.3.0", "8.0.2.0"]), "8.0.3.0"),
        (json!(["8.0.1.0", "8.0.3.0"]), "8.0.1.0"),
        (json!(["9.9.9.9"]), ""),
        (json!(vec!["x".repeat(64); 128]), ""),
    ] {
        let answer = raw.post(hello, &json!({ "api_releases": wanted }).to_string()).await;
        assert_eq!((answer.status, answer.value()), (200, json!({ "api_release": release })));
    }
    for body in [
        json!({ "api_releases": [] }).to_string(),
        json!({ "api_releases": vec!["8.0.3.0"; 129] }).to_string(),
        json!({ "api_releases": ["x".repeat(65)] }).to_string(),
        json!({ "api_releases": "8.0.3.0" }).to_string(),
        json!({ "api_releases": [8] }).to_string(),
        "{}".to_owned(),
        "[]".to_owned(),
        "7".to_owned(),
        "{".to_owned(),
        String::new(),
    ] {
        let answer = raw.post(hello, &body).await;
        assert_eq!(answer.status, 400, "{body:.80}");
        assert_eq!(answer.value()["error_type"], "INVALID_ARGUMENT");
    }
    assert_eq!(raw.post("/api/vcenter/system", "{}").await.status, 404);
    assert_eq!(raw.post("/api/vcenter/system?action=bye", "{}").await.status, 404);
    assert_eq!(raw.send(&format!("GET {hello}"), "", "").await.status, 405);
}

#[tokio::test]
async fn older_servers_have_less() {
    for (version, hello, vim) in [
        (ApiVersion::V7_0_3_0, 404, 404),
        (ApiVersion::V8_0_0_0, 404, 404),
        (ApiVersion::V8_0_1_0, 404, 200),
        (ApiVersion::V8_0_2_0, 200, 200),
    ] {
        let raw = Raw::start(Scenario { api_version: version, ..Scenario::default() }).await;
        let body = json!({ "api_releases": ["8.0.1.0"] }).to_string();
        let answer = raw.post("/api/vcenter/system?action=hello", &body).await;
        assert_eq!(answer.status, hello, "{version:?}");
        let path = "GET /sdk/vim25/8.0.1.0/ServiceInstance/ServiceInstance/content";
        let answer = raw.send(path, "", "").await;
        assert_eq!(answer.status, vim, "{version:?}");
        if vim == 200 {
            assert_eq!(answer.value()["about"]["apiVersion"], version.as_str());
        }
        let versions = raw.send("GET /sdk/vimServiceVersions.xml", "", "").await.body;
        let first = format!("<name>urn:vim25</name><version>{}</version>", version.as_str());
        assert!(versions.contains(&first), "{versions}");
        assert!(!versions.contains("8.0.3.0"), "{versions}");
    }
    // A host without vCenter has none of it, whatever its version.
    let host = Raw::start(Scenario::esxi()).await;
    let body = json!({ "api_releases": ["8.0.3.0"] }).to_string();
    assert_eq!(host.post("/api/vcenter/system?action=hello", &body).await.status, 404);
    let path = "GET /sdk/vim25/8.0.3.0/ServiceInstance/ServiceInstance/content";
    assert_eq!(host.send(path, "", "").await.status, 404);
}

#[tokio::test]
async fn a_session_is_a_token_in_a_header() {
    let mut raw = Raw::start(Scenario::default()).await;
    let content = raw.get("ServiceInstance/ServiceInstance/content").await.value();
    assert_eq!(content["_typeName"], "ServiceContent");
    assert_eq!(content["about"]["apiType"], "VirtualCenter");
    let vm = raw.vm("small");
    let refused = raw.call(&format!("{vm}/ExportVm"), &json!({})).await;
    assert_eq!(refused.fault(), "NotAuthenticated");
    assert_eq!(refused.value()["privilegeId"], "System.View");
    assert_eq!(raw.get(&format!("{vm}/name")).await.fault(), "NotAuthenticated");

    let wrong = raw.login("wrong").await;
    assert_eq!(wrong.fault(), "InvalidLogin");
    assert!(wrong.value()["faultstring"].as_str().unwrap().contains("incorrect user name"));
    assert_eq!(wrong.token, None);

    let login = raw.login("simulated").await;
    let session = login.value();
    assert_eq!(session["_typeName"], "UserSession");
    let token = login.token.unwrap();
    assert_eq!(token.len(), 40);
    assert_ne!(session["key"], token.as_str());
    // The token is no cookie, and the key is no token.
    let cookie = format!("Cookie: vmware_soap_session=\"{token}\"\r\n");
    let path = format!("GET /sdk/vim25/8.0.3.0/{vm}/name");
    assert_eq!(raw.send(&path, &cookie, "").await.fault(), "NotAuthenticated");
    raw.token = session["key"].as_str().map(str::to_owned);
    assert_eq!(raw.get(&format!("{vm}/name")).await.fault(), "NotAuthenticated");
    raw.token = Some(token);
    assert_eq!(raw.get(&format!("{vm}/name")).await.value(), "small");
    let again = raw.login("simulated").await;
    assert_eq!((again.fault().as_str(), again.token), ("InvalidLogin", None));

    let out = raw.call("SessionManager/SessionManager/Logout", &json!({})).await;
    assert_eq!((out.status, out.body.as_str()), (204, ""));
    assert_eq!(raw.get(&format!("{vm}/name")).await.fault(), "NotAuthenticated");
    assert!(raw.simulator.sessions().is_empty());
}

#[tokio::test]
async fn values_of_properties_are_bare() {
    let raw = Raw::logged_in(Scenario::default()).await;
    let lease = raw.export("small").await;
    assert_eq!(raw.get(&format!("{lease}/state")).await.value(), "ready");
    assert_eq!(raw.get(&format!("{lease}/initializeProgress")).await.value(), 100);
    let encoded = lease.replace('[', "%5B").replace(']', "%5d");
    let info = raw.get(&format!("{encoded}/info")).await.value();
    assert_eq!(info["_typeName"], "HttpNfcLeaseInfo");
    assert_eq!(info["deviceUrl"][0]["_typeName"], "HttpNfcLeaseDeviceUrl");
    assert_eq!(raw.get(&format!("{lease}/error")).await.status, 204);
    let vm = raw.vm("small");
    assert_eq!(raw.get(&format!("{vm}/network")).await.value().as_array().unwrap().len(), 1);
    let manifest = raw.call(&format!("{lease}/HttpNfcLeaseGetManifest"), &json!({})).await;
    assert_eq!(manifest.status, 204);
    let now = raw.call("ServiceInstance/ServiceInstance/CurrentTime", &json!({})).await.value();
    assert!(now.as_str().unwrap().ends_with('Z'), "{now}");
}

#[tokio::test]
async fn bodies_come_in_all_their_forms() {
    let raw = Raw::logged_in(Scenario::default()).await;
    let lease = raw.export("small").await;
    let path = format!("POST /sdk/vim25/8.0.3.0/{lease}/HttpNfcLeaseProgress");
    for body in [
        r#"{"percent":1}"#,
        r#"{"_typeName":"HttpNfcLeaseProgress","percent":2}"#,
        r#" {"_typeName":"HttpNfcLeaseProgressRequestType","percent":3} "#,
    ] {
        let headers = format!("Content-Length: {}\r\n", body.len());
        assert_eq!(raw.send(&path, &headers, body).await.status, 204, "{body}");
    }
    assert_eq!(raw.get(&format!("{lease}/transferProgress")).await.value(), 3);
    // Neither body nor type.
    let path = format!("POST /sdk/vim25/8.0.3.0/{lease}/HttpNfcLeaseComplete");
    assert_eq!(raw.send(&path, "", "").await.status, 204);
    assert_eq!(raw.get(&format!("{lease}/state")).await.value(), "done");
    assert_eq!(raw.send(&path, "", "").await.fault(), "InvalidState");
}

#[tokio::test]
async fn faults_inside_data_are_flat() {
    let raw = Raw::logged_in(Scenario::default()).await;
    let lease = raw.export("small").await;
    let abort = |fault: Value| json!({ "fault": fault });
    let cause = json!({ "_typeName": "FileFault", "file": "a.vmdk", "faultstring": "no more" });
    let wrapped = json!({ "_typeName": "LocalizedMethodFault", "fault": cause });
    let path = format!("{lease}/HttpNfcLeaseAbort");
    assert_eq!(raw.call(&path, &abort(wrapped)).await.fault(), "InvalidType");
    assert_eq!(raw.call(&path, &abort(cause.clone())).await.status, 204);
    assert_eq!(raw.get(&format!("{lease}/error")).await.value(), cause);
    assert_eq!(raw.simulator.leases()[0].fault.as_ref().unwrap().kind, "FileFault");
    // The task behind it says the same.
    let vm = raw.vm("small");
    let task = raw.get(&format!("{vm}/recentTask")).await.value();
    let task = task[0]["value"].as_str().unwrap().to_owned();
    let info = raw.get(&format!("Task/{task}/info")).await.value();
    assert_eq!(info["error"], cause, "{info}");
    // And so do updates, where the value may be anything.
    let spec = json!({
        "propSet": [{ "type": "HttpNfcLease", "pathSet": ["state", "error"] }],
        "objectSet": [{ "obj": {
            "type": "HttpNfcLease", "value": lease.strip_prefix("HttpNfcLease/").unwrap(),
        } }],
    });
    let pc = "PropertyCollector/propertyCollector";
    let specs = json!({ "specSet": [spec.clone()], "options": {} });
    let read = raw.call(&format!("{pc}/RetrievePropertiesEx"), &specs).await.value();
    let values = &read["objects"][0]["propSet"];
    let named = |name: &str| {
        let all = values.as_array().unwrap().iter();
        all.filter(|one| one["name"] == name).map(|one| one["val"].clone()).next().unwrap()
    };
    assert_eq!(named("state"), json!({ "_typeName": "HttpNfcLeaseState", "_value": "error" }));
    assert_eq!(named("error"), cause);
    let filter = json!({ "spec": spec, "partialUpdates": false });
    assert_eq!(raw.call(&format!("{pc}/CreateFilter"), &filter).await.status, 200);
    let set = raw.call(&format!("{pc}/WaitForUpdatesEx"), &json!({})).await.value();
    let text = set.to_string();
    assert!(text.contains("faultstring") && !text.contains("LocalizedMethodFault"), "{text}");
    let quick = json!({ "version": set["version"], "options": { "maxWaitSeconds": 0 } });
    assert_eq!(raw.call(&format!("{pc}/WaitForUpdatesEx"), &quick).await.status, 204);
    // What is wrong with a package, too.
    let path = json!({ "inventoryPath": "/DC0/datastore/datastore0" });
    let found = raw.call("SearchIndex/SearchIndex/FindByInventoryPath", &path).await;
    let params = json!({
        "ovfDescriptor": "no descriptor",
        "resourcePool": { "type": "ResourcePool", "value": "resgroup-8" },
        "datastore": found.value(),
        "cisp": { "locale": "", "deploymentOption": "", "entityName": "x" },
    });
    let result = raw.call("OvfManager/OvfManager/CreateImportSpec", &params).await.value();
    assert_eq!(result["error"][0]["_typeName"], "OvfXmlFormat", "{result}");
}

#[tokio::test]
async fn servers_differ_in_habits() {
    let mut scenario = Scenario::default();
    scenario.vi_json.fault_text = FaultText::FaultMessage;
    scenario.vi_json.boxed_results = true;
    scenario.vi_json.empty_is_200 = true;
    let raw = Raw::logged_in(scenario).await;
    let name = raw.get(&format!("{}/name", raw.vm("small"))).await.value();
    assert_eq!(name, json!({ "_typeName": "string", "_value": "small" }));
    let fault = raw.get("HttpNfcLease/nothing/state").await;
    assert_eq!(fault.fault(), "ManagedObjectNotFound");
    assert!(fault.value()["faultMessage"][0]["message"].is_string(), "{fault:?}");
    let out = raw.call("SessionManager/SessionManager/Logout", &json!({})).await;
    assert_eq!((out.status, out.body.as_str()), (200, ""));
}

#[tokio::test]
async fn what_is_not_there_is_told_apart() {
    let raw = Raw::logged_in(Scenario::default()).await;
    for path in [
        "GET /sdk/vim25/9.1.0.0/ServiceInstance/ServiceInstance/content",
        "GET /sdk/vim25/8.0.3.0/Folder/group-d1/nothing",
        "GET /sdk/vim25/8.0.3.0/Nothing/group-d1/name",
        "GET /sdk/vim25/8.0.3.0/Folder/group-d1/CreateFolder",
        "POST /sdk/vim25/8.0.3.0/Folder/group-d1/Nothing",
        "POST /sdk/vim25/8.0.3.0/Folder/group-d1/Fetch",
        "POST /sdk/vim25/8.0.3.0/Folder/group-d1/ExportVm",
        "POST /sdk/vim25/8.0.3.0/Folder/group-d1/name",
        "POST /sdk/vim25/",
        "GET /api/Folder/group-d1/name",
    ] {
        assert_eq!(raw.send(path, "", "").await.status, 404, "{path}");
    }
    let path = "DELETE /sdk/vim25/8.0.3.0/Folder/group-d1/name";
    assert_eq!(raw.send(path, "", "").await.status, 405);
    let gone = raw.get("VirtualMachine/vm-99999/name").await;
    assert_eq!(gone.fault(), "ManagedObjectNotFound");
    assert_eq!(gone.value()["obj"]["value"], "vm-99999");
    // An object is known by its own type only.
    assert_eq!(raw.get("ManagedEntity/group-d1/name").await.fault(), "ManagedObjectNotFound");
}

#[tokio::test]
async fn no_malformed_body_stops_the_server() {
    let raw = Raw::logged_in(Scenario::default()).await;
    let path = "/sdk/vim25/8.0.3.0/Folder/group-v3/CreateFolder";
    for (body, kind) in [
        ("".to_owned(), "InvalidArgument"),
        ("{}".to_owned(), "InvalidArgument"),
        (r#"{"name":null}"#.to_owned(), "InvalidArgument"),
        (r#"{"name":7}"#.to_owned(), "InvalidRequest"),
        (r#"{"name":"a","more":1}"#.to_owned(), "InvalidRequest"),
        (r#"{"name":"a""#.to_owned(), "InvalidRequest"),
        ("[]".to_owned(), "InvalidRequest"),
        ("null".to_owned(), "InvalidRequest"),
        ("\u{feff}{}".to_owned(), "InvalidRequest"),
        ("<a/>".to_owned(), "InvalidRequest"),
        ("[".repeat(100_000), "InvalidRequest"),
        (format!("{{\"name\":{}1{}}}", "[".repeat(500), "]".repeat(500)), "InvalidRequest"),
    ] {
        assert_eq!(raw.post(path, &body).await.fault(), kind, "{body:.60}");
    }
    let large = "Content-Length: 20000001\r\n";
    let body = " ".repeat(20_000_001);
    assert_eq!(raw.send(&format!("POST {path}"), large, &body).await.status, 413);
    assert_eq!(raw.post(path, r#"{"name":"a"}"#).await.value()["type"], "Folder");
}
