//! The path and the body of every call over VI JSON, and what comes back in its forms.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use std::sync::Arc;

use ovftransfer_vim::lease::{DeviceKey, ImportKey, LeaseId};
use ovftransfer_vim::nfc::{AbortCause, ChecksumType, SourceFile};
use ovftransfer_vim::ovf::{DescriptorParams, ImportSpecParams, OvfFile};
use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::{Call, ErrorKind, MoRef, Secret, Session, VimError};
use serde_json::{Value, json};

use scripted::{Answer, Script, connected};

/// A session of its own, with the answers that follow.
async fn session(answers: impl IntoIterator<Item = Answer>) -> (Arc<Script>, Session) {
    let script = Script::list([]);
    let session = connected(&script).await;
    for answer in answers {
        script.push(answer);
    }
    (script, session)
}

fn moref(kind: &str, id: &str) -> Value {
    json!({"_typeName": "ManagedObjectReference", "type": kind, "value": id})
}

fn reply(body: &Value) -> Answer {
    Answer::json(&body.to_string())
}

const LEASE: &str = "session[52aa-1]77";

fn lease() -> LeaseId {
    LeaseId::new(MoRef::new("HttpNfcLease", LEASE))
}

/// The last call must have been to `path`, with exactly `body`.
#[track_caller]
fn assert_asked(script: &Script, path: &str, body: &Value) {
    let asked = script.last();
    assert_eq!(asked.path, format!("/sdk/vim25/8.0.3.0/{path}"));
    assert_eq!(asked.http_method, "POST");
    if body.is_null() {
        assert_eq!((asked.body.as_str(), asked.content_type), ("", None));
    } else {
        assert_eq!(asked.body, body.to_string());
        assert_eq!(asked.content_type.as_deref(), Some("application/json"));
    }
    assert_eq!(asked.action, None);
}

#[tokio::test]
async fn login_renewal_and_logout() {
    let user = json!({"_typeName": "UserSession", "key": "K", "loginTime": "2026-11-21T00:12:20Z"});
    let (script, session) = session([
        reply(&user).session("first"),
        reply(&json!("2026-11-21T00:12:20.939167Z")).session("second"),
        reply(&json!({"_typeName": "dateTime", "_value": "2026-11-21T00:12:21Z"})),
        Answer::nothing(),
        reply(&user).session("third"),
    ])
    .await;
    session.login("jürgen", &Secret::new("g\"e\\h\n")).await.unwrap();
    let body = json!({"userName": "jürgen", "password": "g\"e\\h\n", "locale": "en_US"});
    assert_asked(&script, "SessionManager/SessionManager/Login", &body);
    assert_eq!(script.last().session, None);
    assert_eq!(session.current_time().await.unwrap(), "2026-11-21T00:12:20.939167Z");
    assert_asked(&script, "ServiceInstance/ServiceInstance/CurrentTime", &Value::Null);
    assert_eq!(script.last().session.as_deref(), Some("first"));
    assert_eq!(session.current_time().await.unwrap(), "2026-11-21T00:12:21Z");
    assert_eq!(script.last().session.as_deref(), Some("second"));
    session.logout().await.unwrap();
    assert_asked(&script, "SessionManager/SessionManager/Logout", &Value::Null);
    session.login("u", &Secret::new("p")).await.unwrap();
    assert_eq!(script.last().session, None);
}

#[tokio::test]
async fn import_specs_travel_back_as_they_came() {
    let spec = json!({"_typeName": "VirtualMachineImportSpec", "configSpec": {
        "_typeName": "VirtualMachineConfigSpec", "name": "Büro & Söhne \u{1}",
        "deviceChange": [{"_typeName": "VirtualDeviceConfigSpec", "operation": "add", "device": {
            "_typeName": "VirtualBrandNew", "key": -366_531_319, "capacityInKB": 9_007_199_254_740_993_i64,
            "backing": {"_typeName": "Backing", "thin": true, "none": [], "odd": {}},
            "ratio": 0.1, "share": 18_446_744_073_709_551_615_u64 }}],
        "extraConfig": [
            {"_typeName": "OptionValue", "key": "a", "value": {"_typeName": "string", "_value": "x"}},
            {"_typeName": "OptionValue", "key": "b", "value": {"_typeName": "ArrayOfInt", "_value": [1, 2]}},
            {"_typeName": "OptionValue", "key": "c", "value": {"_typeName": "HttpNfcLeaseState", "_value": "ready"}}],
        "net": moref("Network", "net-1"),
        "boxed": {"_typeName": "ManagedObjectReference", "_value": moref("Network", "net-2")}},
        "resPoolEntity": {"_typeName": "ManagedObjectReference", "type": "ResourcePool", "value": "r", "serverGuid": "g"}});
    let result = json!({"_typeName": "OvfCreateImportSpecResult", "importSpec": spec, "error": null,
        "fileItem": [{"_typeName": "OvfFileItem", "deviceId": "/b/disk:0", "path": "d.vmdk",
            "size": 5_000_000_000_i64, "cimType": 17, "create": false, "chunkSize": null}],
        "warning": [{"_typeName": "OvfUnsupportedElement", "faultstring": "Nicht unterstützt", "name": "x"}]});
    let lease_ref = moref("HttpNfcLease", LEASE);
    let (script, session) = session([reply(&result), reply(&lease_ref)]).await;
    let params = ImportSpecParams {
        entity_name: "Büro".into(),
        network_mappings: vec![("VM Network".into(), MoRef::new("Network", "n"))],
        property_mappings: vec![("k".into(), "v".into())],
        import_options: vec!["o".into()],
        ..ImportSpecParams::default()
    };
    let (pool, store) = (MoRef::new("ResourcePool", "r"), MoRef::new("Datastore", "d"));
    let made = session.create_import_spec("<E ü=\"1\"/>", &pool, &store, &params).await.unwrap();
    let body = json!({"ovfDescriptor": "<E ü=\"1\"/>", "resourcePool": moref("ResourcePool", "r"),
        "datastore": moref("Datastore", "d"), "cisp": {"_typeName": "OvfCreateImportSpecParams",
        "locale": "US", "deploymentOption": "", "importOption": ["o"], "entityName": "Büro",
        "networkMapping": [{"_typeName": "OvfNetworkMapping", "name": "VM Network", "network": moref("Network", "n")}],
        "propertyMapping": [{"_typeName": "KeyValue", "key": "k", "value": "v"}]}});
    assert_asked(&script, "OvfManager/OvfManager/CreateImportSpec", &body);
    assert_eq!(made.file_items[0].size_bytes, Some(5_000_000_000));
    assert_eq!(made.warnings[0].to_string(), "OvfUnsupportedElement: Nicht unterstützt: x");
    assert!(made.errors.is_empty());
    let made = made.import_spec.unwrap();
    assert_eq!(made.type_name(), "VirtualMachineImportSpec");
    let folder = MoRef::new("Folder", "group-2");
    let taken = session.import_vapp(&pool, &made, Some(&folder), None).await.unwrap();
    assert_eq!(taken, lease());
    let body = json!({"spec": spec, "folder": moref("Folder", "group-2")});
    assert_asked(&script, "ResourcePool/r/ImportVApp", &body);
}

#[tokio::test]
async fn leases_are_taken_and_driven() {
    let (script, session) = session([]).await;
    for (method, kind, id) in [
        ("ExportVm", "VirtualMachine", "vm-9"),
        ("ExportVApp", "VirtualApp", "resgroup-v9"),
        ("ExportSnapshot", "VirtualMachineSnapshot", "snapshot-79"),
    ] {
        // `_typeName` may be missing.
        script.push(reply(&json!({"value": LEASE, "type": "HttpNfcLease"})));
        let object = MoRef::new(kind, id);
        let taken = match method {
            "ExportVm" => session.export_vm(&object).await,
            "ExportVApp" => session.export_vapp(&object).await,
            _ => session.export_snapshot(&object).await,
        };
        assert_eq!(taken.unwrap(), lease());
        assert_asked(&script, &format!("{kind}/{id}/{method}"), &Value::Null);
    }
    let on_lease = |method: &str| format!("HttpNfcLease/{LEASE}/{method}");
    script.push(Answer::nothing());
    session.lease_progress(&lease(), 42).await.unwrap();
    assert_asked(&script, &on_lease("HttpNfcLeaseProgress"), &json!({"percent": 42}));
    script.push(Answer::json(""));
    session.lease_complete(&lease()).await.unwrap();
    assert_asked(&script, &on_lease("HttpNfcLeaseComplete"), &Value::Null);
    for (cause, body) in [
        (None, Value::Null),
        (
            Some(AbortCause::Reason("nicht <weiter>".into())),
            json!({"fault": {"_typeName": "SystemError", "reason": "nicht <weiter>"}}),
        ),
        (
            Some(AbortCause::File("d.vmdk".into())),
            json!({"fault": {"_typeName": "FileFault", "file": "d.vmdk"}}),
        ),
    ] {
        script.push(Answer::json("null"));
        session.lease_abort(&lease(), cause.as_ref()).await.unwrap();
        assert_asked(&script, &on_lease("HttpNfcLeaseAbort"), &body);
    }
    script.push(Answer::nothing());
    let key = DeviceKey::new("/vm-90/c0:0");
    session.lease_set_checksum_type(&lease(), [&key], ChecksumType::Sha256).await.unwrap();
    let pair = json!({"_typeName": "KeyValue", "key": "/vm-90/c0:0", "value": "sha256"});
    let body = json!({"deviceUrlsToChecksumTypes": [pair]});
    assert_asked(&script, &on_lease("HttpNfcLeaseSetManifestChecksumType"), &body);
}

#[tokio::test]
async fn manifests_come_bare_boxed_or_not_at_all() {
    let entry = json!({"_typeName": "HttpNfcLeaseManifestEntry", "key": "/vm-90/c0:0", "sha1": "AB",
        "checksum": "CD", "checksumType": "sha256", "size": 5_000_000_000_i64, "disk": true,
        "capacity": 1_048_576, "populatedSize": 655_360});
    let (script, session) = session([
        reply(&json!([entry, entry])),
        reply(&json!({"_typeName": "ArrayOfHttpNfcLeaseManifestEntry", "_value": [entry, entry]})),
        Answer::nothing(),
        reply(&json!([])),
        reply(&Value::Null),
    ])
    .await;
    for count in [2, 2, 0, 0, 0] {
        let entries = session.lease_manifest(&lease()).await.unwrap();
        assert_eq!(entries.len(), count);
        if let Some(first) = entries.first() {
            assert_eq!((first.size_bytes, first.is_disk), (5_000_000_000, true));
            assert_eq!(first.checksum.as_deref(), Some("cd"));
        }
    }
    let path = format!("HttpNfcLease/{LEASE}/HttpNfcLeaseGetManifest");
    assert_asked(&script, &path, &Value::Null);
}

#[tokio::test]
async fn hosts_fetch_and_probe() {
    let results = json!([{"_typeName": "HttpNfcLeaseProbeResult", "serverAccessible": true}]);
    let (script, session) = session([reply(&moref("Task", "task-1")), reply(&results)]).await;
    let file = SourceFile {
        target: ImportKey::new("/b/c0:0"),
        url: Secret::new("https://u:p@web/x.ova"),
        member_name: Some("d.vmdk".into()),
        is_created: false,
        thumbprint: None,
        http_headers: vec![("A".into(), Secret::new("b"))],
        size_bytes: Some(7),
    };
    let body = json!({"files": [{"_typeName": "HttpNfcLeaseSourceFile", "targetDeviceId": "/b/c0:0",
        "url": "https://u:p@web/x.ova", "memberName": "d.vmdk", "create": false,
        "httpHeaders": [{"_typeName": "KeyValue", "key": "A", "value": "b"}], "size": 7}]});
    let task = session.lease_pull(&lease(), std::slice::from_ref(&file)).await.unwrap();
    assert_eq!(task, MoRef::new("Task", "task-1"));
    let path = format!("HttpNfcLease/{LEASE}/HttpNfcLeasePullFromUrls_Task");
    assert_asked(&script, &path, &body);
    assert_eq!(session.lease_probe(&lease(), &[file], Some(30)).await.unwrap(), [true]);
    let mut body = body;
    body["timeout"] = 30.into();
    assert_asked(&script, &format!("HttpNfcLease/{LEASE}/HttpNfcLeaseProbeUrls"), &body);
}

#[tokio::test]
async fn create_descriptor() {
    let result = json!({"_typeName": "OvfCreateDescriptorResult", "ovfDescriptor": "<E name=\"ü\"/>",
        "error": [{"_typeName": "Brandneu"}], "includeImageFiles": false});
    let (script, session) = session([reply(&result)]).await;
    let params = DescriptorParams {
        files: vec![OvfFile {
            device_key: DeviceKey::new("/vm-90/c0:0"),
            path: "x-disk-0.vmdk".into(),
            size_bytes: 123,
            capacity_bytes: Some(1 << 40),
            populated_bytes: Some(65_536),
        }],
        name: Some("x".into()),
        includes_images: Some(false),
        ..DescriptorParams::default()
    };
    let made = session.create_descriptor(&MoRef::new("VirtualMachine", "vm-90"), &params).await;
    let made = made.unwrap();
    assert_eq!(made.descriptor, "<E name=\"ü\"/>");
    assert_eq!(made.errors[0].type_name(), "Brandneu");
    let body = json!({"obj": moref("VirtualMachine", "vm-90"), "cdp": {
        "_typeName": "OvfCreateDescriptorParams", "ovfFiles": [{"_typeName": "OvfFile",
        "deviceId": "/vm-90/c0:0", "path": "x-disk-0.vmdk", "size": 123,
        "capacity": 1_099_511_627_776_i64, "populatedSize": 65_536}], "name": "x",
        "includeImageFiles": false}});
    assert_asked(&script, "OvfManager/OvfManager/CreateDescriptor", &body);
}

#[tokio::test]
async fn properties_are_read_in_every_form() {
    let page = |id: &str, name: Value, token: Value| {
        reply(&json!({"_typeName": "RetrieveResult", "token": token, "objects": [
            {"_typeName": "ObjectContent", "obj": moref("VirtualMachine", id), "missingSet": null,
             "propSet": [{"_typeName": "DynamicProperty", "name": "name", "val": name}]}]}))
    };
    let boxed = json!({"_typeName": "string", "_value": "Büro"});
    let (script, session) =
        session([page("vm-1", boxed, json!("1")), page("vm-2", json!("a%2fb"), Value::Null)]).await;
    let found = session.child_named(&MoRef::new("Folder", "group-v3"), "a/b").await.unwrap();
    assert_eq!(found, Some(MoRef::new("VirtualMachine", "vm-2")));
    let body = json!({"token": "1"});
    let collector = "PropertyCollector/propertyCollector";
    assert_asked(&script, &format!("{collector}/ContinueRetrievePropertiesEx"), &body);
    let body = json!({"specSet": [{"_typeName": "PropertyFilterSpec",
        "propSet": [{"_typeName": "PropertySpec", "type": "ManagedEntity", "pathSet": ["name"]}],
        "objectSet": [{"_typeName": "ObjectSpec", "obj": moref("Folder", "group-v3"), "skip": true,
            "selectSet": [{"_typeName": "TraversalSpec", "type": "Folder", "path": "childEntity",
                "skip": false}]}]}],
        "options": {"_typeName": "RetrieveOptions", "maxObjects": 1000}});
    assert_eq!(script.asked()[2].body, body.to_string());
}

#[tokio::test]
async fn tasks_carry_flat_faults_and_unknown_values() {
    let info = json!({"_typeName": "TaskInfo", "state": "error", "progress": 40, "cancelable": true,
        "error": {"_typeName": "Brandneu", "faultstring": "Abgebrochen – schön", "faultCause":
            {"_typeName": "SystemError", "reason": "darum", "faultMessage": []}},
        "result": null, "novelty": {"_typeName": "Unknown", "x": [[1, null]]}});
    let result = json!({"_typeName": "RetrieveResult", "objects": [{"_typeName": "ObjectContent",
        "obj": moref("Task", "t"),
        "propSet": [{"_typeName": "DynamicProperty", "name": "info", "val": info}]}]});
    let (script, session) = session([reply(&result), Answer::nothing()]).await;
    let task = MoRef::new("Task", "t");
    let info = session.task_info(&task).await.unwrap();
    let TaskState::Error(fault) = &info.state else { panic!("{info:?}") };
    assert_eq!(fault.to_string(), "Brandneu: Abgebrochen – schön (cause: SystemError: darum)");
    assert_eq!((info.progress, info.is_cancelable, info.result.is_none()), (Some(40), true, true));
    session.cancel_task(&task).await.unwrap();
    assert_asked(&script, "Task/t/CancelTask", &Value::Null);
}

#[tokio::test]
async fn the_object_says_its_type_and_the_method_keeps_its_case() {
    let (script, session) = session([Answer::nothing(), Answer::nothing()]).await;
    let switch = MoRef::new("VmwareDistributedVirtualSwitch", "dvs-9");
    let call = Call::new(&switch, "RefreshDVPortState").with_each("portKeys", ["12"]);
    session.call(call).await.unwrap();
    let path = "VmwareDistributedVirtualSwitch/dvs-9/RefreshDVPortState";
    assert_asked(&script, path, &json!({"portKeys": ["12"]}));
    let network = MoRef::new("HostNetworkSystem", "a/b ü");
    session.call(Call::new(&network, "startDpuFailover").with("dvsName", "d")).await.unwrap();
    let path = "HostNetworkSystem/a%2Fb%20%C3%BC/startDpuFailover";
    assert_asked(&script, path, &json!({"dvsName": "d"}));
    let nowhere = Call::new(&MoRef::new("Task", ".."), "CancelTask");
    let error = session.call(nowhere).await.unwrap_err();
    assert!(matches!(error, VimError::Invalid { .. }), "{error}");
}

async fn refused(answer: Answer) -> VimError {
    let (_, session) = session([reply(&json!({})).session("T"), answer]).await;
    session.login("u", &Secret::new("p")).await.unwrap();
    session.export_vm(&MoRef::new("VirtualMachine", "vm-9")).await.unwrap_err()
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let flat = json!({"_typeName": "InvalidArgument", "invalidProperty": "dvsName", "faultCause": {},
        "faultMessage": [{"_typeName": "LocalizableMessage", "key": "k", "message": "Falsch: ü"}]});
    let error = refused(Answer::raw(500, flat.to_string())).await;
    assert_eq!(
        error.to_string(),
        "ExportVm on vc.example:443: InvalidArgument: Falsch: ü: dvsName"
    );
    let unnamed = refused(Answer::raw(500, "{\"faultstring\":\"so nicht\"}")).await;
    assert_eq!(unnamed.fault().unwrap().message(), Some("so nicht"));
    let lost = Answer::raw(500, "{\"_typeName\":\"NotAuthenticated\"}");
    assert_eq!(refused(lost).await.kind(), ErrorKind::SessionLost);
    let gateway = Answer::raw(401, "{\"type\":\"com.vmware.vapi.std.errors.unauthenticated\"}");
    assert_eq!(refused(gateway).await.kind(), ErrorKind::SessionLost);
    for (status, kind) in [
        (403, ErrorKind::Protocol),
        (404, ErrorKind::Protocol),
        (500, ErrorKind::Network),
        (502, ErrorKind::Network),
        (503, ErrorKind::Network),
    ] {
        for page in [format!("<html>{}", "ü".repeat(5000)), "{\"a\":1}".into(), String::new()] {
            let error = refused(Answer::raw(status, page)).await;
            let VimError::Status { status: told, snippet, .. } = &error else { panic!("{error}") };
            assert!(*told == status && snippet.chars().count() <= 200, "{error}");
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}

#[tokio::test]
async fn a_refusal_without_a_session_is_not_a_lost_one() {
    let (_, session) = session([Answer::raw(401, "<html>wer bist du?</html>")]).await;
    let error = session.login("u", &Secret::new("p")).await.unwrap_err();
    assert!(matches!(error, VimError::Status { status: 401, .. }), "{error}");
}

#[tokio::test]
async fn answers_that_are_none_end_in_errors() {
    let whole = moref("HttpNfcLease", "lü").to_string();
    for cut in 1..whole.len() {
        let error = refused(Answer::raw(200, &whole.as_bytes()[..cut])).await;
        assert_eq!(error.kind(), ErrorKind::Protocol, "cut at {cut}: {error}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let causes = "{\"_typeName\":\"A\",\"faultCause\":".repeat(5000);
    let many = format!("[{}1]", "1,".repeat(1_100_000));
    for (body, text) in [
        (deep, "recursion limit"),
        (causes.clone(), "recursion limit"),
        (many, "values"),
        ("{} {}".into(), "not JSON"),
        ("{\"a\":NaN}".into(), "not JSON"),
        ("<html>Büro</html>".into(), "HTML page"),
        ("\"\\ud800\"".into(), "not JSON"),
        (String::new(), "names no object"),
        ("7".into(), "names no object"),
        ("{\"_typeName\":7}".into(), "names no object"),
        (" ".repeat((32 << 20) + 1), "larger than"),
    ] {
        let error = refused(Answer::raw(200, body)).await;
        assert!(error.to_string().contains(text), "{text}: {error}");
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }
    assert_eq!(refused(Answer::raw(500, causes)).await.kind(), ErrorKind::Network);
    assert_eq!(refused(Answer::raw(200, [0xff, 0xfe])).await.kind(), ErrorKind::Protocol);
}
