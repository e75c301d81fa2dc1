//! The options of an import in govc's form, without a server.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

use std::fs;
use std::time::Duration;

use ovftransfer::Envelope;
use ovftransfer::Import;
use ovftransfer::ImportSpecOptions;
use ovftransfer::NetworkMap;
use ovftransfer::Overview;
use ovftransfer::Package;
use ovftransfer::SpecScope;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Machine;
use tempfile::TempDir;

const DESCRIPTOR: &str = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <NetworkSection><Info/><Network ovf:name="lan"/><Network ovf:name="wan"/></NetworkSection>
  <DeploymentOptionSection><Info/>
    <Configuration ovf:id="small"/><Configuration ovf:id="large" ovf:default="true"/>
  </DeploymentOptionSection>
  <VirtualSystem ovf:id="vm">
    <Info/>
    <AnnotationSection><Info/><Annotation>Notes</Annotation></AnnotationSection>
    <ProductSection ovf:class="app" ovf:instance="1"><Info/>
      <Property ovf:key="ssh" ovf:type="boolean" ovf:value="TRUE" ovf:userConfigurable="true">
        <Label>Secure shell</Label>
      </Property>
      <Property ovf:key="fixed" ovf:type="string" ovf:value="x" ovf:userConfigurable="false"/>
      <Property ovf:key="internal" ovf:type="string" ovf:value="y"/>
      <Property ovf:key="host" ovf:type="string" ovf:userConfigurable="true"/>
    </ProductSection>
  </VirtualSystem>
</Envelope>"#;

/// What `govc import.spec` 0.56 prints for the descriptor.
const BY_GOVC: &str = r#"{
  "Deployment": "large",
  "DiskProvisioning": "flat",
  "IPAllocationPolicy": "dhcpPolicy",
  "IPProtocol": "IPv4",
  "PropertyMapping": [
    {
      "Key": "app.ssh.1",
      "Value": "True"
    },
    {
      "Key": "app.host.1",
      "Value": ""
    }
  ],
  "NetworkMapping": [
    {
      "Name": "lan",
      "Network": ""
    },
    {
      "Name": "wan",
      "Network": ""
    }
  ],
  "Annotation": "Notes",
  "MarkAsTemplate": false,
  "PowerOn": false,
  "InjectOvfEnv": false,
  "WaitForIP": false,
  "Name": null
}"#;

#[test]
fn the_form_is_that_of_govc_to_the_byte() {
    let envelope = Envelope::parse(DESCRIPTOR).unwrap();
    assert_eq!(ImportSpecOptions::of(&envelope).to_json(), BY_GOVC);
    let read = ImportSpecOptions::from_json(BY_GOVC).unwrap();
    assert_eq!(read, ImportSpecOptions::of(&envelope));
    assert!(read.unknown().is_empty());
}

#[test]
fn more_is_listed_on_request() {
    let envelope = Envelope::parse(DESCRIPTOR).unwrap();
    let mut scope = SpecScope::default();
    scope.hidden = true;
    scope.verbose = true;
    let options = ImportSpecOptions::within(&envelope, scope);
    assert_eq!(options.all_deployment_options, ["large", "small"]);
    assert!(options.all_disk_provisioning_options.contains(&options.disk_provisioning));
    assert!(options.all_ip_allocation_policy_options.contains(&options.ip_allocation_policy));
    assert!(options.all_ip_protocol_options.contains(&options.ip_protocol));
    let keys: Vec<_> = options.property_mapping.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["app.ssh.1", "app.fixed.1", "app.host.1"]);
    let json: serde_json::Value = serde_json::from_str(&options.to_json()).unwrap();
    let spec = serde_json::json!({
        "key": "ssh", "type": "boolean", "userConfigurable": true, "default": "TRUE",
        "label": "Secure shell",
    });
    assert_eq!(json["PropertyMapping"][0]["Spec"], spec);
    assert_eq!(json["AllIPProtocolOptions"], serde_json::json!(["IPv4", "IPv6"]));
    assert!(ImportSpecOptions::from_json(&options.to_json()).unwrap().unknown().is_empty());

    let vapp = DESCRIPTOR
        .replace("<VirtualSystem ", "<VirtualSystemCollection ovf:id='c'><Info/><VirtualSystem ");
    let vapp = vapp.replace("</VirtualSystem>", "</VirtualSystem></VirtualSystemCollection>");
    let vapp = Envelope::parse(vapp).unwrap();
    assert!(ImportSpecOptions::of(&vapp).property_mapping.is_empty(), "as govc");
    let mut scope = SpecScope::default();
    scope.nested = true;
    assert_eq!(ImportSpecOptions::within(&vapp, scope).property_mapping.len(), 2);
}

#[test]
fn what_people_write_is_read() {
    let read = |text| ImportSpecOptions::from_json(text);
    assert_eq!(read("{}").unwrap(), ImportSpecOptions::default());
    let all_null = r#"{"Deployment":null,"PropertyMapping":null,"NetworkMapping":null,
                       "PowerOn":null,"AllIPProtocolOptions":null,"Name":null}"#;
    assert_eq!(read(all_null).unwrap(), ImportSpecOptions::default());
    let text = "\u{feff}{\"name\":\"web\",\"ipprotocol\":\"IPv6\",\"DISKPROVISIONING\":\"thin\",\
                \"propertyMapping\":[{\"key\":\"a\",\"value\":null,\"Spec\":{\"any\":1},\"x\":1}],\
                \"networkmapping\":[{\"NAME\":\"lan\",\"network\":\"VM Network\",\"y\":2}],\"Z\":[]}";
    let options = read(text).unwrap();
    assert_eq!(options.name.as_deref(), Some("web"));
    assert_eq!(
        (options.ip_protocol.as_str(), options.disk_provisioning.as_str()),
        ("IPv6", "thin")
    );
    assert_eq!(
        (options.property_mapping[0].key.as_str(), options.property_mapping[0].value.as_str()),
        ("a", "")
    );
    assert_eq!(options.network_mapping[0].network, "VM Network");
    assert_eq!(options.unknown(), ["NetworkMapping.y", "PropertyMapping.x", "Z"]);
    for (text, problem) in [
        ("", "EOF"),
        ("[]", "expected a JSON object"),
        ("{\"PowerOn\":\"yes\"}", "boolean"),
        ("{\"PropertyMapping\":[1]}", "PropertyMapping"),
        ("{\"Name\":1}", "string"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
    assert!(read(&"[".repeat(100_000)).is_err());
}

/// A package, and the folder that it lies in.
fn package() -> (TempDir, Package) {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = Machine::new("appliance");
    machine.disks.push(DiskSpec::new(1 << 20));
    machine.networks = vec!["lan".to_owned()];
    let written = Appliance::new(machine).write_folder(folder.path()).unwrap();
    let package = Package::open(written.path()).unwrap();
    (folder, package)
}

#[test]
fn options_fill_what_a_request_leaves_open() {
    let (_folder, package) = package();
    let text = r#"{"Name":"by file","Deployment":"large","DiskProvisioning":"thin",
        "PropertyMapping":[{"Key":"a","Value":"1"},{"Key":"b","Value":""}],
        "NetworkMapping":[{"Name":"lan","Network":"N1"},{"Name":"wan","Network":""},
                          {"Name":"dmz","Network":"Network:network-7"}]}"#;
    let options = ImportSpecOptions::from_json(text).unwrap();
    let fresh = Import::new(package, "/DC0/host/C0");
    let mut request = fresh.clone();
    options.fill(&mut request);
    assert_eq!(request.name.as_deref(), Some("by file"));
    assert_eq!(request.deployment_option.as_deref(), Some("large"));
    assert_eq!(request.disk_provisioning.as_deref(), Some("thin"));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(request.properties, [pair("a", "1"), pair("b", "")]);
    let map = |ovf: &str, network: &str| NetworkMap::new(Some(ovf.to_owned()), network);
    assert_eq!(request.networks, [map("lan", "N1"), map("dmz", "Network:network-7")]);

    let mut request = fresh.clone();
    request.name = Some("by flag".to_owned());
    request.deployment_option = Some("small".to_owned());
    request.properties = vec![pair("b", "2")];
    request.networks = vec![map("lan", "N2")];
    options.fill(&mut request);
    assert_eq!(request.name.as_deref(), Some("by flag"));
    assert_eq!(request.deployment_option.as_deref(), Some("small"));
    assert_eq!(request.properties, [pair("b", "2"), pair("a", "1")]);
    assert_eq!(request.networks, [map("lan", "N2"), map("dmz", "Network:network-7")]);

    let mut request = fresh;
    request.networks = vec![NetworkMap::new(None, "N3")];
    options.fill(&mut request);
    assert_eq!(request.networks, [NetworkMap::new(None, "N3")]);
}

#[test]
fn options_say_what_is_done_to_the_machine() {
    let (_folder, package) = package();
    let text = r#"{"IPAllocationPolicy":"fixedPolicy","IPProtocol":"IPv6","Annotation":"by file",
        "PowerOn":true,"WaitForIP":true,"InjectOvfEnv":true}"#;
    let mut options = ImportSpecOptions::from_json(text).unwrap();
    let fresh = Import::new(package, "/DC0/host/C0");
    let mut request = fresh.clone();
    options.fill(&mut request);
    assert_eq!(request.ip_allocation.as_deref(), Some("fixedPolicy"));
    assert_eq!(request.ip_protocol.as_deref(), Some("IPv6"));
    assert_eq!(request.annotation.as_deref(), Some("by file"));
    assert!(request.power_on && request.inject_ovf_env && !request.template);
    assert!(request.wait_for_ip.is_some_and(|limit| !limit.is_zero()));

    let mut request = fresh.clone();
    request.ip_allocation = Some("dhcpPolicy".to_owned());
    request.annotation = Some("by flag".to_owned());
    request.wait_for_ip = Some(Duration::from_secs(5));
    request.template = true;
    options.fill(&mut request);
    assert_eq!(request.ip_allocation.as_deref(), Some("dhcpPolicy"));
    assert_eq!(request.annotation.as_deref(), Some("by flag"));
    assert_eq!(request.wait_for_ip, Some(Duration::from_secs(5)));
    assert!(request.template && !request.power_on, "the flag says so");

    // As in govc, a template is not started.
    options.mark_as_template = true;
    let mut request = fresh.clone();
    options.fill(&mut request);
    assert!(request.template && !request.power_on && request.wait_for_ip.is_none());
    let mut request = fresh;
    request.power_on = true;
    options.fill(&mut request);
    assert!(request.power_on && !request.template, "the flag says so");
}

#[test]
fn a_package_is_looked_at_without_its_files() {
    let (folder, package) = package();
    let path = std::path::PathBuf::from(package.location());
    let whole = Overview::read(&path).unwrap();
    let disk = package.envelope().references()[0].href().clone();
    let disk_bytes = fs::metadata(folder.path().join(disk.as_str())).unwrap().len();
    assert_eq!(whole.size_of(&disk), Some(disk_bytes));
    let all =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert_eq!(whole.size_bytes(), Some(all.sum::<u64>()));
    assert_eq!(
        (whole.missing().count(), whole.is_ova(), whole.has_certificate()),
        (0, false, false)
    );
    assert!(whole.manifest().is_some());

    fs::remove_file(folder.path().join(disk.as_str())).unwrap();
    fs::write(path.with_extension("cert"), "").unwrap();
    assert!(Package::open(&path).is_err());
    let bare = Overview::read(folder.path()).unwrap();
    assert_eq!(bare.missing().collect::<Vec<_>>(), [&disk]);
    assert_eq!(bare.download_bytes(&bare.envelope().disks()[0]), Some(disk_bytes), "as promised");
    assert!(bare.has_certificate());
    assert!(bare.size_bytes() < whole.size_bytes());

    // The descriptor is still compared with the manifest.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + "\n").unwrap();
    let error = Overview::read(&path).unwrap_err();
    assert_eq!(error.kind(), ovftransfer::ErrorKind::DigestMismatch, "{error}");
}
