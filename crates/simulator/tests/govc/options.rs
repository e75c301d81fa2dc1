//! Imports with a file of options, as `import.spec` writes it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::scenario::Scenario;
use ovftransfer_vmdk::{Options, StreamWriter};
use serde_json::{Value, json};

use crate::{Govc, Wire, vm};

on_each_wire! {
    a_file_of_options_is_obeyed
    networks_are_mapped_by_name_and_by_reference
    what_the_package_does_not_have_is_refused
}

/// A package with deployment options, properties and two networks.
fn package(folder: &Path) -> PathBuf {
    let disk = File::create(folder.join("disk.vmdk")).unwrap();
    StreamWriter::new(disk, 8 << 20, Options::default()).unwrap().finish().unwrap();
    let descriptor = folder.join("shop.ovf");
    fs::write(&descriptor, DESCRIPTOR).unwrap();
    descriptor
}

/// What `import.spec` says of the package.
fn options(govc: &Govc, descriptor: &Path) -> Value {
    serde_json::from_str(&govc.run(&["import.spec", descriptor.to_str().unwrap()])).unwrap()
}

fn try_import(
    govc: &Govc,
    descriptor: &Path,
    options: &Value,
    more: &[&str],
) -> Result<(), String> {
    let file = descriptor.with_extension("json");
    fs::write(&file, options.to_string()).unwrap();
    let start = ["import.ovf", "-ds", "datastore0", "-pool", "pool0", "-options"];
    let paths = [file.to_str().unwrap(), descriptor.to_str().unwrap()];
    let arguments = [&start, &paths[..1], more, &paths[1..]].concat();
    govc.try_run(&arguments).map(|_| ())
}

async fn a_file_of_options_is_obeyed(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| {
        let descriptor = package(folder.path());
        let mut options = options(&govc, &descriptor);
        assert_eq!(options["Deployment"], "small");
        assert_eq!(options["PropertyMapping"][0]["Key"], "net.ip.1");
        options["Name"] = json!("Größe");
        options["Deployment"] = json!("large");
        options["DiskProvisioning"] = json!("thin");
        options["Annotation"] = json!("imported by a test");
        options["PowerOn"] = json!(true);
        options["PropertyMapping"] = json!([{ "Key": "net.ip.1", "Value": "10.1.2.3" }]);
        try_import(&govc, &descriptor, &options, &[]).unwrap();

        assert!(vm(&simulator, "Größe").powered_on);
        let collect = |property: &str| {
            let all = govc.run(&["object.collect", "-s", "-json", "vm/Größe", property]);
            serde_json::from_str::<Value>(&all).unwrap()
        };
        assert_eq!(collect("config.hardware.numCPU").to_string(), "4");
        assert_eq!(collect("config.annotation").as_str(), Some("imported by a test"));
        let properties = collect("config.vAppConfig.property").to_string();
        assert!(properties.contains("10.1.2.3"), "{properties}");
        let devices = collect("config.hardware.device").to_string();
        assert!(devices.contains("\"thinProvisioned\":true"), "{devices}");
    });
    simulator.stop().await;
}

async fn networks_are_mapped_by_name_and_by_reference(wire: Wire) {
    let scenario = r#"{
        "networks": ["VM Network", "front", "back"],
        "switches": [{ "name": "DVS0", "portgroups": [{ "name": "DPG0" }] }],
        "machines": []
    }"#;
    let scenario = Scenario::from_json(scenario).unwrap();
    let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| {
        let descriptor = package(folder.path());
        let reference = |path: &str| govc.run(&["ls", "-i", path]).trim().to_owned();
        let (back, group) = (reference("/DC0/network/back"), reference("/DC0/network/DPG0"));
        assert!(back.starts_with("Network:"), "{back}");
        let import = |name: &str, outside: &str, inside: &str| {
            let mut options = options(&govc, &descriptor);
            let networks = [("outside", outside), ("inside", inside)];
            let networks =
                networks.map(|(name, network)| json!({ "Name": name, "Network": network }));
            options["NetworkMapping"] = json!(networks);
            try_import(&govc, &descriptor, &options, &["-name", name]).unwrap();
            vm(&simulator, name).networks
        };
        assert_eq!(import("by name", "front", "back"), ["front", "back"]);
        assert_eq!(import("by reference", &back, "front"), ["back", "front"]);
        assert_eq!(import("on a switch", "DPG0", &group), ["DPG0", "DPG0"]);
        // -net is for all networks of the package.
        let options = options(&govc, &descriptor);
        try_import(&govc, &descriptor, &options, &["-net", "back", "-name", "one"]).unwrap();
        assert_eq!(vm(&simulator, "one").networks, ["back", "back"]);
        // Without a mapping the server chooses, and says so.
        let refusal = try_import(&govc, &descriptor, &options, &["-net", "nowhere"]).unwrap_err();
        assert!(refusal.contains("nowhere"), "{refusal}");
    });
    simulator.stop().await;
}

async fn what_the_package_does_not_have_is_refused(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| {
        let descriptor = package(folder.path());
        let good = options(&govc, &descriptor);
        for (field, value, complaint) in [
            ("Deployment", json!("huge"), "huge"),
            ("DiskProvisioning", json!("liquid"), "liquid"),
            (
                "PropertyMapping",
                json!([{ "Key": "net.ip.1", "Value": "no address" }]),
                "no address",
            ),
            ("PropertyMapping", json!([{ "Key": "unknown", "Value": "x" }]), "unknown"),
        ] {
            let mut options = good.clone();
            options[field] = value;
            let refusal = try_import(&govc, &descriptor, &options, &[]).unwrap_err();
            // With VI JSON govc dies of what stands in `error` before it can print it.
            assert!(wire.loses_faults_in_data() || refusal.contains(complaint), "{refusal}");
        }
    });
    assert!(simulator.leases().is_empty());
    simulator.stop().await;
}

const DESCRIPTOR: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:vmw="http://www.vmware.com/schema/ovf"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References><File ovf:id="file1" ovf:href="disk.vmdk"/></References>
  <DiskSection><Info>Disks</Info>
    <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="8" ovf:capacityAllocationUnits="byte * 2^20"
      ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection><Info>Networks</Info>
    <Network ovf:name="outside"><Description>Customers</Description></Network>
    <Network ovf:name="inside"><Description>Database</Description></Network>
  </NetworkSection>
  <DeploymentOptionSection><Info>Sizes</Info>
    <Configuration ovf:id="small" ovf:default="true"><Label>Small</Label><Description>Few</Description></Configuration>
    <Configuration ovf:id="large"><Label>Large</Label><Description>Many</Description></Configuration>
  </DeploymentOptionSection>
  <VirtualSystem ovf:id="shop">
    <Info>A shop</Info>
    <Name>shop</Name>
    <OperatingSystemSection ovf:id="101"><Info>Guest</Info></OperatingSystemSection>
    <ProductSection ovf:class="net" ovf:instance="1"><Info>Product</Info>
      <Product>Shop</Product>
      <Property ovf:key="ip" ovf:type="string" ovf:userConfigurable="true" vmw:qualifiers="Ip"><Label>Address</Label></Property>
    </ProductSection>
    <VirtualHardwareSection ovf:transport="com.vmware.guestInfo">
      <Info>Hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:ElementName>CPU</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity>
      </Item>
      <Item ovf:configuration="large">
        <rasd:ElementName>CPU</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>4</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>Memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>256</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address><rasd:ElementName>SCSI 0</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>Disk</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/disk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:Connection>outside</rasd:Connection><rasd:ElementName>Network 1</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:Connection>inside</rasd:Connection><rasd:ElementName>Network 2</rasd:ElementName>
        <rasd:InstanceID>6</rasd:InstanceID><rasd:ResourceSubType>E1000e</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#;
