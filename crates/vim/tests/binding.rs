//! What went wrong in another binding, point by point: the same server behaviour must not hurt us.
//! The table in `tests/README.md` says which test holds which point.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use std::fmt::{Debug, Write};

use ovftransfer_vim::lease::{ImportKey, LeaseId, LeaseMode, LeaseState};
use ovftransfer_vim::nfc::SourceFile;
use ovftransfer_vim::ovf::{DescriptorParams, ImportSpecParams, ReadParams};
use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::{Fault, MoRef, Secret, VimError, Wire};

use scripted::{Answer, Script, connected, wire};

fn vm() -> MoRef {
    MoRef::new("VirtualMachine", "vm-9")
}

fn lease() -> LeaseId {
    LeaseId::new(MoRef::new("HttpNfcLease", "session[52aa]a"))
}

/// A fault as SOAP wraps it, with a cause that is wrapped in turn.
const INSIDE: &str = "<fault xsi:type=\"FileFault\"><faultCause><fault xsi:type=\"NovelFault\">\
    <reason>ungewöhnlich</reason></fault><localizedMessage>Größe – 大きい</localizedMessage>\
    </faultCause><file>[ds] büro.vmdk</file></fault><localizedMessage>Datei 💾 fehlt\
    </localizedMessage>";
const PRINTED: &str = "FileFault: Datei 💾 fehlt: [ds] büro.vmdk \
    (cause: NovelFault: Größe – 大きい: ungewöhnlich)";

fn inside(name: &str) -> String {
    format!("<{name}>{INSIDE}</{name}>")
}

fn one_property(object: &MoRef, name: &str, val: &str) -> Answer {
    Answer::soap(
        "RetrievePropertiesEx",
        &format!(
            "<returnval><objects><obj type=\"{}\">{}</obj><propSet><name>{name}</name>{val}\
             </propSet></objects></returnval>",
            object.kind(),
            object.id()
        ),
    )
}

/// B1: wherever data has a fault, it and the rest of the answer are readable.
#[tokio::test]
async fn faults_inside_data_keep_text_and_cause() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let both = format!("<returnval>{}{}", inside("error"), inside("warning"));
    let assert_all = |errors: &[Fault], warnings: &[Fault]| {
        for faults in [errors, warnings] {
            assert_eq!(faults.iter().map(Fault::to_string).collect::<Vec<_>>(), [PRINTED]);
        }
    };
    script.push(Answer::soap("CreateImportSpec", &format!("{both}</returnval>")));
    let (pool, store) = (MoRef::new("ResourcePool", "r"), MoRef::new("Datastore", "d"));
    let params = ImportSpecParams::default();
    let result = session.create_import_spec("<x/>", &pool, &store, &params).await.unwrap();
    assert_all(&result.errors, &result.warnings);

    let text = "<ovfDescriptor>&lt;Büro/&gt;</ovfDescriptor></returnval>";
    script.push(Answer::soap("CreateDescriptor", &format!("{both}{text}")));
    let result = session.create_descriptor(&vm(), &DescriptorParams::default()).await.unwrap();
    assert_all(&result.errors, &result.warnings);
    assert_eq!(result.descriptor, "<Büro/>");

    let rest = "<annotation>n</annotation><defaultEntityName>Büro</defaultEntityName>\
        <virtualApp>false</virtualApp></returnval>";
    script.push(Answer::soap("ParseDescriptor", &format!("{both}{rest}")));
    let result = session.parse_descriptor("<x/>", &ReadParams::default()).await.unwrap();
    assert_all(&result.errors, &result.warnings);

    script.push(Answer::soap("ValidateHost", &format!("{both}</returnval>")));
    let host = MoRef::new("HostSystem", "h");
    let result = session.validate_host("<x/>", &host, &ReadParams::default()).await.unwrap();
    assert_all(&result.errors, &result.warnings);

    let task = MoRef::new("Task", "t");
    let info = format!("<val xsi:type=\"TaskInfo\"><state>error</state>{}</val>", inside("error"));
    script.push(one_property(&task, "info", &info));
    let info = session.task_info(&task).await.unwrap();
    let TaskState::Error(fault) = info.state else { panic!("{info:?}") };
    assert_eq!(fault.to_string(), PRINTED);

    script.push(Answer::soap(
        "RetrievePropertiesEx",
        &format!(
            "<returnval><objects><obj type=\"VirtualMachine\">vm-9</obj><propSet><name>name</name>\
             <val xsi:type=\"xsd:string\">Büro</val></propSet><missingSet><path>config</path>{}\
             </missingSet></objects></returnval>",
            inside("fault")
        ),
    ));
    let read = session.read(&vm(), &["name", "config"]).await.unwrap();
    assert_eq!(read.missing("config").unwrap().to_string(), PRINTED);
    assert_eq!(read.text("name").as_deref(), Some("Büro"));

    let fields = &INSIDE[INSIDE.find('>').unwrap() + 1..INSIDE.rfind("</fault><local").unwrap()];
    script.push(Answer::fault("FileFault", "Datei 💾 fehlt", fields));
    let refused = session.export_vm(&vm()).await.unwrap_err();
    assert_eq!(refused.fault().unwrap().to_string(), PRINTED);
}

/// B1: a lease in error, too, whose fault is a property.
#[tokio::test(start_paused = true)]
async fn the_fault_of_a_lease_keeps_text_and_cause() {
    let script = Script::new(|asked| {
        let method = asked.method()?.to_owned();
        let object = |kind| format!("<returnval type=\"{kind}\">x</returnval>");
        Some(match method.as_str() {
            "CreatePropertyCollector" => Answer::soap(&method, &object("PropertyCollector")),
            "CreateFilter" => Answer::soap(&method, &object("PropertyFilter")),
            "WaitForUpdatesEx" => {
                Answer::soap(&method, "").after(std::time::Duration::from_secs(9))
            }
            "RetrievePropertiesEx" => Answer::soap(
                &method,
                &format!(
                    "<returnval><objects><obj type=\"HttpNfcLease\">session[52aa]a</obj><propSet>\
                     <name>error</name><val xsi:type=\"LocalizedMethodFault\">{INSIDE}</val>\
                     </propSet><propSet><name>state</name><val xsi:type=\"HttpNfcLeaseState\">error\
                     </val></propSet></objects></returnval>"
                ),
            ),
            _ => return None,
        })
    });
    let session = connected(&script).await;
    let mut watch = session.watch_lease(&lease()).await.unwrap();
    let LeaseState::Error(fault) = watch.changed().await.unwrap() else { panic!() };
    assert_eq!(fault.to_string(), PRINTED);
}

const NAME: &str = "Büro – 東京 🖥\u{301}";

fn print(log: &mut String, value: &dyn Debug) {
    write!(log, "{value:?} {value:#?}").unwrap();
}

/// B2: everything that can be printed can be printed whatever its text is.
#[tokio::test]
async fn names_outside_ascii_can_be_printed() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let mut log = String::new();
    let tree = format!(
        "<val xsi:type=\"VirtualMachineSnapshotInfo\">\
         <currentSnapshot type=\"VirtualMachineSnapshot\">s-1</currentSnapshot>\
         <rootSnapshotList><snapshot type=\"VirtualMachineSnapshot\">s-1</snapshot>\
         <name>{NAME}</name><novelty>{NAME}</novelty></rootSnapshotList></val>"
    );
    script.push(Answer::soap(
        "RetrievePropertiesEx",
        &format!(
            "<returnval><objects><obj type=\"VirtualMachine\">vm-9</obj><propSet><name>name</name>\
             <val xsi:type=\"xsd:string\">{NAME}</val></propSet><propSet><name>snapshot</name>{tree}\
             </propSet></objects></returnval>"
        ),
    ));
    let facts = session.vm_facts(&vm()).await.unwrap();
    assert_eq!((facts.name.as_str(), facts.snapshots[0].name.as_str()), (NAME, NAME));
    print(&mut log, &facts);
    // However the cuts of a message fall.
    for length in 0..8 {
        let text = format!("{}{}", "x".repeat(length), NAME.repeat(300));
        script.push(Answer::fault("InvalidName", &text, &format!("<name>{NAME}</name>")));
        let refused = session.export_vm(&vm()).await.unwrap_err();
        assert!(refused.to_string().contains(NAME));
        print(&mut log, &refused);
        print(&mut log, &refused.fault().unwrap().fields());
        // B3: an error page in another language.
        script.push(Answer::raw(503, format!("<html>{text}")));
        let page = session.export_vm(&vm()).await.unwrap_err();
        let VimError::Status { snippet, .. } = &page else { panic!("{page}") };
        assert_eq!(snippet.chars().count(), 200);
        print(&mut log, &page);
    }
    assert!(log.contains('東'));
}

/// B4: what a host fetches itself may carry credentials.
#[test]
fn sources_are_printed_without_their_credentials() {
    let source = SourceFile {
        target: ImportKey::new("/x/disk:0"),
        url: Secret::new("https://user:PASSWORD@web/x.ova?token=TOKEN"),
        member_name: Some("disk1.vmdk".to_owned()),
        is_created: false,
        thumbprint: None,
        http_headers: Vec::new(),
        size_bytes: None,
    };
    let text = format!("{source:?} {source:#?}");
    assert!(text.contains("disk1.vmdk"));
    for secret in ["PASSWORD", "TOKEN"] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn info(device: &str) -> Answer {
    Answer::soap(
        "RetrievePropertiesEx",
        &format!(
            "<returnval><objects><obj type=\"VirtualMachine\">vm-9</obj><propSet>\
             <name>config.hardware.device</name><val xsi:type=\"ArrayOfVirtualDevice\">{device}\
             <VirtualDevice xsi:type=\"VirtualDisk\"><key>2000</key><deviceInfo>\
             <label>Platte 1</label></deviceInfo><capacityInBytes>1048576</capacityInBytes>\
             </VirtualDevice></val></propSet></objects></returnval>"
        ),
    )
}

/// B6: new device types, fields and types of fields do not hide what is known.
#[tokio::test]
async fn unknown_devices_do_no_harm() {
    let script = Script::list([]);
    let session = connected(&script).await;
    for device in [
        "<VirtualDevice xsi:type=\"VirtualQuantumDisk\"><key>1</key><spin>auf</spin></VirtualDevice>",
        "<VirtualDevice xsi:type=\"VirtualDevice\"/>",
        "<VirtualDevice><key>99999999999999999999</key></VirtualDevice>",
        "<VirtualDevice xsi:type=\"VirtualCdrom\"><backing xsi:type=\"Neu\"><a xsi:type=\"B\">\
         <c/></a></backing><key>seven</key></VirtualDevice>",
    ] {
        script.push(info(device));
        let facts = session.vm_facts(&vm()).await.unwrap();
        let labels: Vec<&str> = facts.disks.iter().map(|disk| disk.label.as_str()).collect();
        assert_eq!(labels, ["Platte 1"], "{device}");
        assert_eq!(facts.disks[0].capacity_bytes, 1 << 20);
    }
}

/// B6: `null` is absence, and so is absence, also of what the schema requires.
#[tokio::test]
async fn what_is_null_is_unset() {
    if wire() != Wire::Json {
        return; // XML has `xsi:nil`: see `unknown_fields_types_and_values_do_no_harm`.
    }
    let script = Script::list([]);
    let session = connected(&script).await;
    script.push(Answer::json(
        "[{\"_typeName\":\"HttpNfcLeaseManifestEntry\",\"key\":\"k\",\"sha1\":null,\"checksum\":null,\
         \"size\":7,\"disk\":null,\"capacity\":null},null,{\"key\":\"l\",\"size\":\"8\"}]",
    ));
    let manifest = session.lease_manifest(&lease()).await.unwrap();
    let sizes: Vec<u64> = manifest.iter().map(|entry| entry.size_bytes).collect();
    assert_eq!(sizes, [7, 8]);
    assert_eq!((manifest[0].sha1.as_deref(), manifest[0].capacity_bytes), (None, None));
    for nothing in ["null", "", "[]", "[null]"] {
        script.push(Answer::json(nothing));
        assert!(session.lease_manifest(&lease()).await.unwrap().is_empty(), "{nothing}");
    }
}

/// B8: the version that was agreed on is named by every call, logout included.
#[tokio::test]
async fn every_call_names_the_version_agreed_on() {
    let script = Script::list([]);
    let session = connected(&script).await;
    for method in ["Login", "ExportVm", "Logout"] {
        script.push(Answer::soap(method, "<returnval type=\"HttpNfcLease\">l</returnval>"));
        match method {
            "Login" => session.login("jürgen", &Secret::new("p")).await.unwrap(),
            "Logout" => session.logout().await.unwrap(),
            _ => drop(session.export_vm(&vm()).await.unwrap()),
        }
        let asked = script.last();
        match asked.action {
            Some(action) => assert_eq!(action, "urn:vim25/8.0.3.0"),
            None => assert!(asked.path.starts_with("/sdk/vim25/8.0.3.0/"), "{}", asked.path),
        }
    }
}

/// B9: the type of an object is what the server said, not what the method's name suggests.
#[tokio::test]
async fn objects_keep_the_type_that_the_server_gave() {
    let script = Script::list([]);
    let session = connected(&script).await;
    for kind in ["DistributedVirtualSwitch", "VmwareDistributedVirtualSwitch"] {
        let switch = MoRef::new(kind, "dvs-8");
        script.push(Answer::soap("RefreshDVPortState", ""));
        session.refresh_port_state(&switch, &["1".to_owned()]).await.unwrap();
        let asked = script.last();
        let named = if asked.is_json() {
            asked.path.ends_with(&format!("/{kind}/dvs-8/RefreshDVPortState"))
        } else {
            asked.body.contains(&format!("<_this type=\"{kind}\">dvs-8</_this>"))
        };
        assert!(named, "{asked:?}");
    }
}

/// B10: a session that was logged out can be used again, and logged out again.
#[tokio::test]
async fn sessions_log_in_and_out_more_than_once() {
    let script = Script::list([]);
    let session = connected(&script).await;
    for (cookie, id) in [("vmware_soap_session=A", "a"), ("vmware_soap_session=B", "b")] {
        let login = Answer::soap("Login", "<returnval><key>k</key></returnval>");
        script.push(login.cookie(cookie).session(id));
        session.login("jürgen", &Secret::new("p")).await.unwrap();
        script.push(Answer::soap("Logout", ""));
        session.logout().await.unwrap();
        let asked = script.last();
        assert_eq!(asked.method(), Some("Logout"));
        let carrier = if asked.is_json() { (asked.session, id) } else { (asked.cookie, cookie) };
        assert_eq!(carrier.0.as_deref(), Some(carrier.1));
    }
    assert_eq!(script.count("Logout"), 2);
}

const LEASE_INFO: &str = "<val xsi:type=\"HttpNfcLeaseInfo\"><lease type=\"HttpNfcLease\">l</lease>\
    <entity type=\"VirtualMachine\">vm-9</entity><deviceUrl><key>/vm-9/c0:0</key>\
    <importKey></importKey><url>https://esx1/nfc/TICKET/disk-0.vmdk</url>\
    <sslThumbprint></sslThumbprint><disk>true</disk><targetId>disk-0.vmdk</targetId>\
    <datastoreKey>https://esx1/nfc/TICKET/</datastoreKey></deviceUrl><deviceUrl>\
    <key>/vm-9/c0:1</key><url>https://esx1/nfc/TICKET/vm.nvram</url><fileSize>8684</fileSize>\
    </deviceUrl><totalDiskCapacityInKB>1024</totalDiskCapacityInKB><leaseTimeout>300</leaseTimeout>\
    <hostMap><datastoreKey>https://esx1/nfc/TICKET/</datastoreKey><hosts>\
    <url>https://esx1/nfc/TICKET/</url><sslThumbprint></sslThumbprint></hosts><hosts>\
    <url>https://esx2:8443/nfc/TICKET/</url>\
    <sslThumbprint>00112233445566778899aabbccddeeff00112233</sslThumbprint></hosts><hosts>\
    <url>ftp://esx3/</url><sslThumbprint></sslThumbprint></hosts></hostMap><hostMap>\
    <datastoreKey>other</datastoreKey><hosts><url>https://esx4/</url></hosts></hostMap></val>";

/// All of a lease: its devices with every host that reaches them, and its other properties.
#[tokio::test(start_paused = true)]
async fn everything_that_a_lease_says_is_read() {
    let script = Script::new(|asked| {
        let method = asked.method()?.to_owned();
        let object = |kind| format!("<returnval type=\"{kind}\">x</returnval>");
        let set = |name, val: &str| format!("<propSet><name>{name}</name>{val}</propSet>");
        Some(match method.as_str() {
            "CreatePropertyCollector" => Answer::soap(&method, &object("PropertyCollector")),
            "CreateFilter" => Answer::soap(&method, &object("PropertyFilter")),
            "WaitForUpdatesEx" => {
                Answer::soap(&method, "").after(std::time::Duration::from_secs(9))
            }
            "RetrievePropertiesEx" => {
                let properties = [
                    set("info", LEASE_INFO),
                    set("state", "<val xsi:type=\"HttpNfcLeaseState\">ready</val>"),
                    set("initializeProgress", "<val xsi:type=\"xsd:int\">100</val>"),
                    set("transferProgress", "<val xsi:type=\"xsd:int\">-5</val>"),
                    set("mode", "<val xsi:type=\"xsd:string\">pushOrGet</val>"),
                    set(
                        "capabilities",
                        "<val xsi:type=\"HttpNfcLeaseCapabilities\"><pullModeSupported>true\
                         </pullModeSupported><corsSupported>false</corsSupported></val>",
                    ),
                ];
                let object = "<obj type=\"HttpNfcLease\">session[52aa]a</obj>";
                let all = format!("<objects>{object}{}</objects>", properties.concat());
                Answer::soap(&method, &format!("<returnval>{all}</returnval>"))
            }
            _ => return None,
        })
    });
    let session = connected(&script).await;
    let mut watch = session.watch_lease(&lease()).await.unwrap();
    let LeaseState::Ready(info) = watch.changed().await.unwrap() else { panic!() };
    assert_eq!((info.total_capacity_kib, info.timeout_s), (1024, 300));
    let [disk, nvram] = info.devices.as_slice() else { panic!("{info:?}") };
    assert_eq!((disk.is_disk, disk.target_id.as_deref()), (Some(true), Some("disk-0.vmdk")));
    assert_eq!((nvram.file_bytes, nvram.is_disk, nvram.hosts.len()), (Some(8684), None, 0));
    // What is no device URL is left out, and nobody else's host is taken.
    let hosts: Vec<_> = disk.hosts.iter().map(|host| (host.url.host(), host.url.port())).collect();
    assert_eq!(hosts, [("esx1", 443), ("esx2", 8443)]);
    assert!(disk.hosts[0].thumbprint.is_none() && disk.hosts[1].thumbprint.is_some());
    assert_eq!(disk.hosts[1].url.expose(), "https://esx2:8443/nfc/TICKET/");
    assert!(!format!("{info:?}").contains("TICKET"), "{info:?}");

    let facts = session.lease_facts(&lease()).await.unwrap();
    assert_eq!((facts.initialize_percent, facts.transfer_percent), (Some(100), Some(0)));
    assert_eq!(facts.mode, Some(LeaseMode::PushOrGet));
    assert_eq!((facts.can_pull, facts.can_cors), (Some(true), Some(false)));
}
