//! The XML of every call: element names and their order are the WSDL's.  A real server refuses
//! another order, and no simulator does.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use ovftransfer_vim::lease::{DeviceKey, DeviceUrl, ImportKey, LeaseId};
use ovftransfer_vim::nfc::{AbortCause, ChecksumType, SourceFile};
use ovftransfer_vim::ovf::{DescriptorParams, ImportSpec, ImportSpecParams, OvfFile};
use ovftransfer_vim::{Call, MoRef, Secret, Session};

use scripted::{Answer, Script, connected};

const LEASE: &str = "<returnval type=\"HttpNfcLease\">session[52aa]77</returnval>";

fn moref(kind: &'static str, id: &str) -> MoRef {
    MoRef::new(kind, id)
}

fn lease() -> LeaseId {
    LeaseId::new(moref("HttpNfcLease", "session[52aa]7<7"))
}

fn on_lease(method: &str, inner: &str) -> String {
    format!(
        "<{method} xmlns=\"urn:vim25\"><_this type=\"HttpNfcLease\">session[52aa]7&lt;7</_this>\
         {inner}</{method}>"
    )
}

#[tokio::test]
async fn envelopes_declare_their_prefixes_and_name_the_version() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let asked = script.last();
    assert_eq!(asked.path, "/sdk");
    assert_eq!(asked.action.as_deref(), Some("urn:vim25/8.0.3.0"));
    assert_eq!(session.version(), "8.0.3.0");
    assert_eq!(
        asked.body,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>\
         <RetrieveServiceContent xmlns=\"urn:vim25\"><_this type=\"ServiceInstance\">ServiceInstance\
         </_this></RetrieveServiceContent></soapenv:Body></soapenv:Envelope>"
    );
    assert_eq!(session.about().full_name, "VMware vCenter Server 8.0.3 Büro");
    assert!(!session.about().is_host());
    assert_eq!(session.about().instance_uuid.as_deref(), Some("u"));
}

#[tokio::test]
async fn login_and_logout() {
    let script = Script::list([
        Answer::soap("Login", "<returnval><key>52secret</key></returnval>")
            .cookie("vmware_soap_session=\"5f00\"; Path=/; HttpOnly; Secure;"),
        Answer::soap("CurrentTime", "<returnval>2026-11-21T00:01:09.2Z</returnval>"),
        Answer::soap("Logout", ""),
    ]);
    let session = connected(&script).await;
    session.login("jürgen", &Secret::new("a<&>\"b")).await.unwrap();
    assert_eq!(
        script.last().call(),
        "<Login xmlns=\"urn:vim25\"><_this type=\"SessionManager\">SessionManager</_this>\
         <userName>jürgen</userName><password>a&lt;&amp;&gt;&quot;b</password>\
         <locale>en_US</locale></Login>"
    );
    assert_eq!(session.current_time().await.unwrap(), "2026-11-21T00:01:09.2Z");
    // Quotes are part of the value.
    assert_eq!(script.last().cookie.as_deref(), Some("vmware_soap_session=\"5f00\""));
    // It goes to those devices that the API's own host serves.
    let url = |text| DeviceUrl::parse(text, session.endpoint()).unwrap();
    let cookie = session.cookie_for(&url("https://vc.example/nfc/1/d")).unwrap();
    assert_eq!(cookie, "vmware_soap_session=\"5f00\"");
    assert!(session.cookie_for(&url("https://esx.example/nfc/1/d")).is_none());
    assert!(session.cookie_for(&url("https://vc.example:902/nfc/1/d")).is_none());
    session.logout().await.unwrap();
    assert_eq!(
        script.last().call(),
        "<Logout xmlns=\"urn:vim25\"><_this type=\"SessionManager\">SessionManager</_this></Logout>"
    );
}

/// As captured from a server that uses a prefix of its own making for `xsi`.
const SPEC: &str = "<returnval><importSpec \
    xmlns:_XMLSchema-instance=\"http://www.w3.org/2001/XMLSchema-instance\" \
    _XMLSchema-instance:type=\"VirtualMachineImportSpec\"><configSpec><name>Büro &amp; Söhne</name>\
    <annotation> two\r\nlines&#13;\n </annotation><deviceChange><operation>add</operation>\
    <device _XMLSchema-instance:type=\"VirtualDisk\"><key>-1</key><novelty a=\"b\"/></device>\
    </deviceChange><extraConfig><key>a</key><value xmlns:s=\"http://www.w3.org/2001/XMLSchema\" \
    _XMLSchema-instance:type=\"s:string\">x</value></extraConfig><deviceChange>\
    <operation>add</operation></deviceChange><extraConfig><key>b</key>\
    <value xmlns:XMLSchema=\"http://www.w3.org/2001/XMLSchema\" \
    _XMLSchema-instance:type=\"XMLSchema:int\">7</value></extraConfig><any \
    _XMLSchema-instance:type=\"ManagedObjectReference\" type=\"Network\">net-1</any>\
    <cdata><![CDATA[a<b]]></cdata></configSpec><resPoolEntity type=\"ResourcePool\">resgroup-27\
    </resPoolEntity></importSpec><fileItem><deviceId>/b/disk:0</deviceId><path>d 1.vmdk</path>\
    <size>70000</size><cimType>17</cimType><create>false</create></fileItem><fileItem>\
    <deviceId>/b/nvram</deviceId><path>b.nvram</path><compressionMethod>gzip</compressionMethod>\
    <chunkSize>4096</chunkSize><cimType>1</cimType><create>true</create></fileItem>\
    <warning><fault xsi:type=\"OvfUnsupportedElement\"><name>x</name></fault>\
    <localizedMessage>Nicht unterstützt</localizedMessage></warning></returnval>";

async fn imported(script: &Script, session: &Session) -> ImportSpec {
    script.push(Answer::soap("CreateImportSpec", SPEC));
    let params = ImportSpecParams {
        deployment_option: "small".into(),
        import_options: vec!["o".into()],
        entity_name: "Büro".into(),
        host: Some(moref("HostSystem", "host-1")),
        network_mappings: vec![(
            "VM Network".into(),
            moref("DistributedVirtualPortgroup", "dvp-1"),
        )],
        ip_allocation_policy: Some("fixedPolicy".into()),
        ip_protocol: Some("IPv4".into()),
        property_mappings: vec![("vami.ip".into(), "10.0.0.1".into())],
        disk_provisioning: Some("thin".into()),
        ..ImportSpecParams::default()
    };
    let pool = moref("ResourcePool", "resgroup-27");
    let store = moref("Datastore", "datastore-59");
    let result =
        session.create_import_spec("<Envelope ü=\"1\"/>", &pool, &store, &params).await.unwrap();
    assert_eq!(result.errors.len(), 0);
    assert_eq!(result.warnings[0].to_string(), "OvfUnsupportedElement: Nicht unterstützt: x");
    let [disk, nvram] = &result.file_items[..] else { panic!("{result:?}") };
    assert_eq!((disk.import_key.as_str(), disk.size_bytes), ("/b/disk:0", Some(70_000)));
    assert_eq!((disk.path.as_str(), disk.cim_type, disk.is_created), ("d 1.vmdk", 17, false));
    assert_eq!((nvram.compression.as_deref(), nvram.chunk_bytes), (Some("gzip"), Some(4096)));
    assert!(nvram.is_created);
    result.import_spec.unwrap()
}

#[tokio::test]
async fn create_import_spec() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let spec = imported(&script, &session).await;
    assert_eq!(spec.type_name(), "VirtualMachineImportSpec");
    assert_eq!(spec.entity_name().as_deref(), Some("Büro & Söhne"));
    assert_eq!(format!("{spec:?}"), "ImportSpec(VirtualMachineImportSpec)");
    assert_eq!(
        script.last().call(),
        "<CreateImportSpec xmlns=\"urn:vim25\"><_this type=\"OvfManager\">OvfManager</_this>\
         <ovfDescriptor>&lt;Envelope ü=&quot;1&quot;/&gt;</ovfDescriptor>\
         <resourcePool type=\"ResourcePool\">resgroup-27</resourcePool>\
         <datastore type=\"Datastore\">datastore-59</datastore>\
         <cisp xsi:type=\"OvfCreateImportSpecParams\"><locale>US</locale>\
         <deploymentOption>small</deploymentOption><importOption>o</importOption>\
         <entityName>Büro</entityName><hostSystem type=\"HostSystem\">host-1</hostSystem>\
         <networkMapping><name>VM Network</name>\
         <network type=\"DistributedVirtualPortgroup\">dvp-1</network></networkMapping>\
         <ipAllocationPolicy>fixedPolicy</ipAllocationPolicy><ipProtocol>IPv4</ipProtocol>\
         <propertyMapping><key>vami.ip</key><value>10.0.0.1</value></propertyMapping>\
         <diskProvisioning>thin</diskProvisioning></cisp></CreateImportSpec>"
    );
}

#[tokio::test]
async fn import_specs_travel_back_as_they_came() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let spec = imported(&script, &session).await;
    script.push(Answer::soap("ImportVApp", LEASE));
    let pool = moref("ResourcePool", "resgroup-27");
    let (folder, host) = (moref("Folder", "group-2"), moref("HostSystem", "host-1"));
    let lease = session.import_vapp(&pool, &spec, Some(&folder), Some(&host)).await.unwrap();
    assert_eq!(lease.to_string(), "77");
    assert_eq!(
        script.last().call(),
        "<ImportVApp xmlns=\"urn:vim25\"><_this type=\"ResourcePool\">resgroup-27</_this>\
         <spec xsi:type=\"VirtualMachineImportSpec\"><configSpec><name>Büro &amp; Söhne</name>\
         <annotation> two\nlines&#13;\n </annotation><deviceChange><operation>add</operation>\
         <device xsi:type=\"VirtualDisk\"><key>-1</key><novelty></novelty></device>\
         </deviceChange><extraConfig><key>a</key><value xsi:type=\"xsd:string\">x</value>\
         </extraConfig><deviceChange><operation>add</operation></deviceChange><extraConfig>\
         <key>b</key><value xsi:type=\"xsd:int\">7</value></extraConfig>\
         <any type=\"Network\" xsi:type=\"ManagedObjectReference\">net-1</any>\
         <cdata>a&lt;b</cdata></configSpec>\
         <resPoolEntity type=\"ResourcePool\">resgroup-27</resPoolEntity></spec>\
         <folder type=\"Folder\">group-2</folder><host type=\"HostSystem\">host-1</host></ImportVApp>"
    );
}

#[tokio::test]
async fn create_descriptor() {
    let script = Script::list([Answer::soap(
        "CreateDescriptor",
        "<returnval><ovfDescriptor>&lt;Envelope name=\"Büro\"/&gt;</ovfDescriptor><error>\
         <fault xsi:type=\"OvfExportFailed\"/></error></returnval>",
    )]);
    let session = connected(&script).await;
    let params = DescriptorParams {
        files: vec![OvfFile {
            device_key: DeviceKey::new("/vm-9/disk:0"),
            path: "b-disk1.vmdk".into(),
            size_bytes: 5_000_000_000,
            capacity_bytes: Some(1 << 40),
            populated_bytes: Some(65_536),
        }],
        name: Some("b".into()),
        description: Some("d".into()),
        includes_images: Some(false),
        export_options: vec!["extraconfig".into()],
        snapshot: Some(moref("VirtualMachineSnapshot", "snapshot-1")),
    };
    let vm = moref("VirtualMachine", "vm-9");
    let result = session.create_descriptor(&vm, &params).await.unwrap();
    assert_eq!(result.descriptor, "<Envelope name=\"Büro\"/>");
    assert_eq!(result.errors[0].type_name(), "OvfExportFailed");
    assert_eq!(
        script.last().call(),
        "<CreateDescriptor xmlns=\"urn:vim25\"><_this type=\"OvfManager\">OvfManager</_this>\
         <obj type=\"VirtualMachine\">vm-9</obj><cdp xsi:type=\"OvfCreateDescriptorParams\">\
         <ovfFiles><deviceId>/vm-9/disk:0</deviceId><path>b-disk1.vmdk</path>\
         <size>5000000000</size><capacity>1099511627776</capacity>\
         <populatedSize>65536</populatedSize></ovfFiles><name>b</name>\
         <description>d</description><includeImageFiles>false</includeImageFiles>\
         <exportOption>extraconfig</exportOption>\
         <snapshot type=\"VirtualMachineSnapshot\">snapshot-1</snapshot></cdp></CreateDescriptor>"
    );
}

#[tokio::test]
async fn leases_are_taken() {
    let script = Script::list([]);
    let session = connected(&script).await;
    for (method, kind, id) in [
        ("ExportVm", "VirtualMachine", "vm-9"),
        ("ExportVApp", "VirtualApp", "resgroup-v9"),
        ("ExportSnapshot", "VirtualMachineSnapshot", "snapshot-79"),
    ] {
        script.push(Answer::soap(method, LEASE));
        let object = moref(kind, id);
        let lease = match method {
            "ExportVm" => session.export_vm(&object).await,
            "ExportVApp" => session.export_vapp(&object).await,
            _ => session.export_snapshot(&object).await,
        };
        assert_eq!(lease.unwrap().moref().id(), "session[52aa]77");
        assert_eq!(
            script.last().call(),
            format!("<{method} xmlns=\"urn:vim25\"><_this type=\"{kind}\">{id}</_this></{method}>")
        );
    }
}

#[tokio::test]
async fn leases_are_driven() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let lease = lease();

    script.push(Answer::soap("HttpNfcLeaseProgress", ""));
    session.lease_progress(&lease, 150).await.unwrap();
    let expected = on_lease("HttpNfcLeaseProgress", "<percent>100</percent>");
    assert_eq!(script.last().call(), expected);

    script.push(Answer::soap("HttpNfcLeaseComplete", ""));
    session.lease_complete(&lease).await.unwrap();
    assert_eq!(script.last().call(), on_lease("HttpNfcLeaseComplete", ""));

    for (cause, inner) in [
        (None, ""),
        (
            Some(AbortCause::Reason("upload failed: <Büro>\u{1}\n\u{ffff}".into())),
            "<fault><fault xsi:type=\"SystemError\"><reason>upload failed: &lt;Büro&gt;   </reason>\
             </fault></fault>",
        ),
        (
            Some(AbortCause::File("tiny-disk1.vmdk".into())),
            "<fault><fault xsi:type=\"FileFault\"><file>tiny-disk1.vmdk</file></fault></fault>",
        ),
    ] {
        script.push(Answer::soap("HttpNfcLeaseAbort", ""));
        session.lease_abort(&lease, cause.as_ref()).await.unwrap();
        assert_eq!(script.last().call(), on_lease("HttpNfcLeaseAbort", inner));
    }

    script.push(Answer::soap("HttpNfcLeaseSetManifestChecksumType", ""));
    let keys = [DeviceKey::new("/vm-9/a"), DeviceKey::new("/vm-9/b")];
    session.lease_set_checksum_type(&lease, &keys, ChecksumType::Sha256).await.unwrap();
    let pair = |key: &str| {
        format!(
            "<deviceUrlsToChecksumTypes><key>{key}</key><value>sha256</value>\
             </deviceUrlsToChecksumTypes>"
        )
    };
    assert_eq!(
        script.last().call(),
        on_lease(
            "HttpNfcLeaseSetManifestChecksumType",
            &format!("{}{}", pair("/vm-9/a"), pair("/vm-9/b"))
        )
    );
}

#[tokio::test]
async fn manifests_are_read() {
    let script = Script::list([]);
    let session = connected(&script).await;
    script.push(Answer::soap("HttpNfcLeaseGetManifest", ""));
    assert!(session.lease_manifest(&lease()).await.unwrap().is_empty());
    assert_eq!(script.last().call(), on_lease("HttpNfcLeaseGetManifest", ""));

    let entry = |key: &str| {
        format!(
            "<returnval><key>{key}</key><sha1>AB</sha1><checksum>CD</checksum>\
             <checksumType>SHA256</checksumType><size>7</size><disk>true</disk>\
             <capacity>9</capacity><populatedSize>8</populatedSize></returnval>"
        )
    };
    let two = format!("{}{}", entry("a"), entry("b"));
    script.push(Answer::soap("HttpNfcLeaseGetManifest", &two));
    let entries = session.lease_manifest(&lease()).await.unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].key.as_str(), "b");
    assert_eq!(entries[0].checksum.as_deref(), Some("cd"));
    assert_eq!(entries[0].checksum_type.as_deref(), Some("sha256"));
    assert_eq!((entries[0].capacity_bytes, entries[0].populated_bytes), (Some(9), Some(8)));
}

#[tokio::test]
async fn hosts_fetch_and_probe() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let file = SourceFile {
        target: ImportKey::new("/b/disk:0"),
        url: Secret::new("https://u:p@web/x.ova?a=1&b=2"),
        member_name: Some("d.vmdk".into()),
        is_created: false,
        thumbprint: Some("00112233445566778899aabbccddeeff00112233".parse().unwrap()),
        http_headers: vec![("Authorization".into(), Secret::new("Bearer GEHEIM"))],
        size_bytes: Some(7),
    };
    let printed = format!("{file:?}");
    assert!(!printed.contains("web") && !printed.contains("GEHEIM"), "{printed}");
    let files = "<files><targetDeviceId>/b/disk:0</targetDeviceId>\
        <url>https://u:p@web/x.ova?a=1&amp;b=2</url><memberName>d.vmdk</memberName>\
        <create>false</create>\
        <sslThumbprint>00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33</sslThumbprint>\
        <httpHeaders><key>Authorization</key><value>Bearer GEHEIM</value></httpHeaders>\
        <size>7</size></files>";
    let task = "<returnval type=\"Task\">task-1</returnval>";
    script.push(Answer::soap("HttpNfcLeasePullFromUrls_Task", task));
    let pulled = session.lease_pull(&lease(), std::slice::from_ref(&file)).await.unwrap();
    assert_eq!(pulled, moref("Task", "task-1"));
    assert_eq!(script.last().call(), on_lease("HttpNfcLeasePullFromUrls_Task", files));

    let results = "<returnval><serverAccessible>true</serverAccessible></returnval>\
        <returnval><serverAccessible>false</serverAccessible></returnval>";
    script.push(Answer::soap("HttpNfcLeaseProbeUrls", results));
    let reached = session.lease_probe(&lease(), &[file], Some(90)).await.unwrap();
    assert_eq!(reached, [true, false]);
    let expected = on_lease("HttpNfcLeaseProbeUrls", &format!("{files}<timeout>60</timeout>"));
    assert_eq!(script.last().call(), expected);
}

#[tokio::test]
async fn properties_are_read_page_by_page() {
    let page = |id: &str, name: &str, token: &str| {
        format!(
            "<returnval>{token}<objects><obj type=\"VirtualMachine\">{id}</obj><propSet>\
             <name>name</name><val xsi:type=\"xsd:string\">{name}</val></propSet></objects></returnval>"
        )
    };
    let script = Script::list([
        Answer::soap("RetrievePropertiesEx", &page("vm-1", "Büro", "<token>1&amp;2</token>")),
        Answer::soap("ContinueRetrievePropertiesEx", &page("vm-2", "a%2fb", "")),
    ]);
    let session = connected(&script).await;
    let found = session.child_named(&moref("Folder", "group-v3"), "a/b").await.unwrap();
    assert_eq!(found, Some(moref("VirtualMachine", "vm-2")));
    let asked = script.asked();
    let [.., first, next] = &asked[..] else { panic!() };
    assert_eq!(
        first.call(),
        "<RetrievePropertiesEx xmlns=\"urn:vim25\">\
         <_this type=\"PropertyCollector\">propertyCollector</_this><specSet><propSet>\
         <type>ManagedEntity</type><pathSet>name</pathSet></propSet><objectSet>\
         <obj type=\"Folder\">group-v3</obj><skip>true</skip><selectSet xsi:type=\"TraversalSpec\">\
         <type>Folder</type><path>childEntity</path><skip>false</skip></selectSet></objectSet>\
         </specSet><options><maxObjects>1000</maxObjects></options></RetrievePropertiesEx>"
    );
    assert_eq!(
        next.call(),
        "<ContinueRetrievePropertiesEx xmlns=\"urn:vim25\">\
         <_this type=\"PropertyCollector\">propertyCollector</_this><token>1&amp;2</token>\
         </ContinueRetrievePropertiesEx>"
    );
}

#[tokio::test]
async fn tasks_are_read_and_cancelled() {
    let info = |state: &str| {
        format!(
            "<returnval><objects><obj type=\"Task\">task-1</obj><propSet><name>info</name>\
             <val xsi:type=\"TaskInfo\"><key>task-1</key>\
             <descriptionId>ResourcePool.ImportVAppLRO</descriptionId>\
             <entity type=\"ResourcePool\">resgroup-1</entity><state>{state}</state>\
             <cancelled>false</cancelled><cancelable>true</cancelable>\
             <error><fault xsi:type=\"RequestCanceled\"/><localizedMessage>Abgebrochen – schön\
             </localizedMessage></error><progress>40</progress></val></propSet></objects></returnval>"
        )
    };
    let script = Script::list([
        Answer::soap("RetrievePropertiesEx", &info("error")),
        Answer::soap("CancelTask", ""),
    ]);
    let session = connected(&script).await;
    let task = moref("Task", "task-1");
    let info = session.task_info(&task).await.unwrap();
    assert_eq!((info.progress, info.is_cancelable), (Some(40), true));
    let shown = format!("{:?}", info.state);
    assert!(shown.contains("Abgebrochen – schön"), "{shown}");
    session.cancel_task(&task).await.unwrap();
    assert_eq!(
        script.last().call(),
        "<CancelTask xmlns=\"urn:vim25\"><_this type=\"Task\">task-1</_this></CancelTask>"
    );
}

#[tokio::test]
async fn ids_and_types_are_escaped() {
    let script = Script::list([Answer::soap("Odd", "")]);
    let session = connected(&script).await;
    let odd = MoRef::new("A\"B", "<&>");
    session.call(Call::new(&odd, "Odd")).await.unwrap();
    assert_eq!(
        script.last().call(),
        "<Odd xmlns=\"urn:vim25\"><_this type=\"A&quot;B\">&lt;&amp;&gt;</_this></Odd>"
    );
    let error = session.call(Call::new(&odd, "Odd").with("name", "a\0b")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Odd on vc.example:443 cannot be sent: character U+0000 cannot be sent"
    );
}
