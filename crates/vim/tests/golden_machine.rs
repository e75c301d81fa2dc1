//! The XML of the calls about descriptors and machines: names and order are the WSDL's.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use ovftransfer_vim::MoRef;
use ovftransfer_vim::machine::SnapshotParams;
use ovftransfer_vim::ovf::ReadParams;

use scripted::{Answer, Script, connected};

const TASK: &str = "<returnval type=\"Task\">task-1</returnval>";

#[tokio::test]
async fn snapshots_power_and_templates() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let vm = MoRef::new("VirtualMachine", "vm-1");
    let task = MoRef::new("Task", "task-1");
    let on_vm = |method: &str, inner: &str| {
        format!(
            "<{method} xmlns=\"urn:vim25\"><_this type=\"VirtualMachine\">vm-1</_this>{inner}</{method}>"
        )
    };

    script.push(Answer::soap("CreateSnapshot_Task", TASK));
    let params = SnapshotParams {
        name: "täglich".into(),
        description: Some("d".into()),
        quiesce: true,
        ..SnapshotParams::default()
    };
    assert_eq!(session.create_snapshot(&vm, &params).await.unwrap(), task);
    let inner = "<name>täglich</name><description>d</description><memory>false</memory>\
        <quiesce>true</quiesce>";
    assert_eq!(script.last().call(), on_vm("CreateSnapshot_Task", inner));

    script.push(Answer::soap("RemoveSnapshot_Task", TASK));
    let snapshot = MoRef::new("VirtualMachineSnapshot", "snapshot-1");
    session.remove_snapshot(&snapshot, false).await.unwrap();
    assert_eq!(
        script.last().call(),
        "<RemoveSnapshot_Task xmlns=\"urn:vim25\">\
         <_this type=\"VirtualMachineSnapshot\">snapshot-1</_this>\
         <removeChildren>false</removeChildren><consolidate>true</consolidate></RemoveSnapshot_Task>"
    );

    script.push(Answer::soap("PowerOnVM_Task", TASK));
    session.power_on(&vm, Some(&MoRef::new("HostSystem", "host-1"))).await.unwrap();
    let host = "<host type=\"HostSystem\">host-1</host>";
    assert_eq!(script.last().call(), on_vm("PowerOnVM_Task", host));

    script.push(Answer::soap("PowerOffVM_Task", TASK));
    session.power_off(&vm).await.unwrap();
    assert_eq!(script.last().call(), on_vm("PowerOffVM_Task", ""));

    script.push(Answer::soap("MarkAsTemplate", ""));
    session.mark_as_template(&vm).await.unwrap();
    assert_eq!(script.last().call(), on_vm("MarkAsTemplate", ""));
}

const PARSED: &str = "<returnval><eula>a</eula><eula>b</eula><network><name>VM Network</name>\
    <description>Büro</description></network><ipAllocationScheme>ovfenv</ipAllocationScheme>\
    <ipProtocols>IPv4</ipProtocols><property><key>0</key><classId>vami</classId>\
    <instanceId>vm1</instanceId><id>ip</id><category>c</category><label>l</label>\
    <type>ip:VM Network</type><typeReference>t</typeReference>\
    <userConfigurable>false</userConfigurable><defaultValue>10.0.0.1</defaultValue><value>v</value>\
    <description>d</description></property><productInfo><key>0</key><name>Web</name>\
    <vendor>v</vendor><version>1</version><fullVersion>1-2</fullVersion></productInfo>\
    <annotation>n</annotation><approximateDownloadSize>5000000000</approximateDownloadSize>\
    <approximateFlatDeploymentSize>-1</approximateFlatDeploymentSize>\
    <defaultEntityName>web</defaultEntityName><virtualApp>true</virtualApp><deploymentOption>\
    <key>small</key><label>Klein</label><description>k</description></deploymentOption>\
    <defaultDeploymentOption>small</defaultDeploymentOption><entityName><key>vm1</key>\
    <value>web-01</value></entityName><annotatedOst><id>x</id></annotatedOst><novelty/>\
    <warning><fault xsi:type=\"OvfUnsupportedSection\"/><localizedMessage>schön</localizedMessage>\
    </warning></returnval>";

#[tokio::test]
async fn descriptors_are_parsed() {
    let script = Script::list([Answer::soap("ParseDescriptor", PARSED)]);
    let session = connected(&script).await;
    let params = ReadParams {
        locale: "de".into(),
        deployment_option: "small".into(),
        messages: vec![("k".into(), "v".into())],
        import_options: vec!["o".into()],
    };
    let parsed = session.parse_descriptor("<Envelope/>", &params).await.unwrap();
    let common = "<locale>de</locale><deploymentOption>small</deploymentOption><msgBundle>\
        <key>k</key><value>v</value></msgBundle><importOption>o</importOption>";
    assert_eq!(
        script.last().call(),
        format!(
            "<ParseDescriptor xmlns=\"urn:vim25\"><_this type=\"OvfManager\">OvfManager</_this>\
             <ovfDescriptor>&lt;Envelope/&gt;</ovfDescriptor>\
             <pdp xsi:type=\"OvfParseDescriptorParams\">{common}</pdp></ParseDescriptor>"
        )
    );
    assert_eq!((parsed.eulas.len(), parsed.networks[0].description.as_str()), (2, "Büro"));
    assert_eq!(parsed.ip_allocation_schemes, ["ovfenv"]);
    assert_eq!(parsed.ip_protocols, ["IPv4"]);
    let property = &parsed.properties[0];
    assert_eq!(
        (property.key().as_str(), property.is_user_configurable),
        ("vami.ip.vm1", Some(false))
    );
    assert_eq!(property.default_value.as_deref(), Some("10.0.0.1"));
    assert_eq!(parsed.product.unwrap().full_version.as_deref(), Some("1-2"));
    assert_eq!((parsed.download_bytes, parsed.flat_bytes), (Some(5_000_000_000), None));
    assert_eq!((parsed.default_entity_name.as_str(), parsed.is_virtual_app), ("web", true));
    assert_eq!(parsed.deployment_options[0].label, "Klein");
    assert_eq!(parsed.entity_names, [("vm1".to_owned(), "web-01".to_owned())]);
    assert!(parsed.annotated_ost.is_some() && parsed.errors.is_empty());
    assert_eq!(parsed.warnings[0].to_string(), "OvfUnsupportedSection: schön");

    let valid = "<returnval><downloadSize>7</downloadSize><error>\
        <fault xsi:type=\"OvfUnsupportedType\"/></error><novelty/>\
        <supportedDiskProvisioning>thin</supportedDiskProvisioning></returnval>";
    script.push(Answer::soap("ValidateHost", valid));
    let host = MoRef::new("HostSystem", "host-1");
    let valid = session.validate_host("<Envelope/>", &host, &params).await.unwrap();
    assert_eq!(
        script.last().call(),
        format!(
            "<ValidateHost xmlns=\"urn:vim25\"><_this type=\"OvfManager\">OvfManager</_this>\
             <ovfDescriptor>&lt;Envelope/&gt;</ovfDescriptor><host type=\"HostSystem\">host-1</host>\
             <vhp xsi:type=\"OvfValidateHostParams\">{common}</vhp></ValidateHost>"
        )
    );
    assert_eq!((valid.download_bytes, valid.sparse_bytes), (Some(7), None));
    assert_eq!(valid.disk_provisionings, ["thin"]);
    assert_eq!(valid.errors[0].type_name(), "OvfUnsupportedType");
}

#[tokio::test]
async fn options_are_listed() {
    let list = |name: &str| {
        format!(
            "<returnval><objects><obj type=\"OvfManager\">OvfManager</obj><propSet><name>{name}</name>\
             <val xsi:type=\"ArrayOfOvfOptionInfo\"><OvfOptionInfo><option>extraconfig</option>\
             <description><key>k</key><message>Mehr – schön</message></description></OvfOptionInfo>\
             <OvfOptionInfo><option>mac</option></OvfOptionInfo></val></propSet></objects></returnval>"
        )
    };
    let script = Script::list([
        Answer::soap("RetrievePropertiesEx", &list("ovfExportOption")),
        Answer::soap("RetrievePropertiesEx", &list("ovfImportOption")),
    ]);
    let session = connected(&script).await;
    let options = session.ovf_export_options().await.unwrap();
    assert_eq!(
        (options[0].option.as_str(), options[0].description.as_str()),
        ("extraconfig", "Mehr – schön")
    );
    assert!(
        script.last().body.contains("<type>OvfManager</type><pathSet>ovfExportOption</pathSet>")
    );
    assert_eq!(session.ovf_import_options().await.unwrap()[1].option, "mac");
}

#[tokio::test]
async fn clusters_offer_the_datastore_with_most_space() {
    let pod = "<returnval><objects><obj type=\"StoragePod\">group-p1</obj>\
        <propSet><name>name</name><val xsi:type=\"xsd:string\">Pod</val></propSet>\
        <propSet><name>childEntity</name><val xsi:type=\"ArrayOfManagedObjectReference\">\
        <ManagedObjectReference type=\"Datastore\">datastore-1</ManagedObjectReference>\
        <ManagedObjectReference type=\"Datastore\">datastore-2</ManagedObjectReference>\
        <ManagedObjectReference type=\"Datastore\">datastore-3</ManagedObjectReference></val>\
        </propSet></objects></returnval>";
    let store = |id: u8, free: u64, more: &str| {
        let answer = format!(
            "<returnval><objects><obj type=\"Datastore\">datastore-{id}</obj><propSet>\
             <name>summary</name><val xsi:type=\"DatastoreSummary\"><name>ds{id}</name>\
             <capacity>9000</capacity><freeSpace>{free}</freeSpace><novelty/>{more}</val></propSet>\
             </objects></returnval>"
        );
        Answer::soap("RetrievePropertiesEx", &answer)
    };
    let busy = "<accessible>true</accessible><maintenanceMode>inMaintenance</maintenanceMode>";
    let script = Script::list([
        Answer::soap("RetrievePropertiesEx", pod),
        store(1, 500, "<accessible>true</accessible>"),
        store(2, 700, "<accessible>true</accessible><maintenanceMode>normal</maintenanceMode>"),
        store(3, 900, busy),
    ]);
    let session = connected(&script).await;
    let cluster = session.datastore_cluster(&MoRef::new("StoragePod", "group-p1")).await.unwrap();
    assert_eq!((cluster.name.as_str(), cluster.datastores.len()), ("Pod", 3));
    let roomiest = cluster.roomiest().unwrap();
    assert_eq!((roomiest.name.as_str(), roomiest.free_bytes), ("ds2", Some(700)));
}
