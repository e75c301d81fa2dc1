//! Habits of descriptors in the wild, and what the server makes of them.

use serde_json::Value;

use crate::types;

use super::tests::{Bench, scenario, settle};

/// A machine with these items and disks, of this family.
fn package(family: &str, disks: &str, items: &str) -> String {
    format!(
        r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
 xmlns:sasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_StorageAllocationSettingData"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="f" ovf:href="../disks/d.vmdk"/></References>
 <DiskSection>{disks}</DiskSection>
 <NetworkSection><Network ovf:name="VM Network"/></NetworkSection>
 <DeploymentOptionSection><Configuration ovf:id="small"/><Configuration ovf:id="large"/></DeploymentOptionSection>
 <VirtualSystem ovf:id="vm">
  <ProductSection ovf:class="app"><Property ovf:key="gib" ovf:type="uint32" ovf:value="1">
   <Value ovf:value="3" ovf:configuration="large"/></Property></ProductSection>
  <VirtualHardwareSection>
   <System><vssd:VirtualSystemType>{family}</vssd:VirtualSystemType></System>
   {items}
  </VirtualHardwareSection>
 </VirtualSystem>
</Envelope>"#
    )
}

/// An item with these fields.
fn item(attributes: &str, id: u8, kind: u8, fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().map(|(name, value)| format!("<rasd:{name}>{value}</rasd:{name}>"));
    let fields: String = fields.collect();
    format!(
        "<Item {attributes}><rasd:InstanceID>{id}</rasd:InstanceID>\
         <rasd:ResourceType>{kind}</rasd:ResourceType>{fields}</Item>\n"
    )
}

fn bus(sub_type: &str) -> String {
    item("", 3, 6, &[("ResourceSubType", sub_type)])
}

fn disk(attributes: &str, name: &str) -> String {
    let resource = format!("ovf:/disk/{name}");
    item(attributes, 4, 17, &[("HostResource", &resource), ("Parent", "3")])
}

fn kinds(result: &Value, name: &str) -> Vec<String> {
    let all = result[name].as_array().into_iter().flatten();
    all.map(|fault| fault["fault"]["_typeName"].as_str().unwrap().to_owned()).collect()
}

/// Devices of the import spec that are of this type.
fn devices<'a>(result: &'a Value, kind: &str) -> Vec<&'a Value> {
    assert!(result.get("error").is_none(), "{result}");
    let changes = result["importSpec"]["configSpec"]["deviceChange"].as_array().unwrap();
    let devices = changes.iter().map(|change| &change["device"]);
    devices.filter(|device| device["_typeName"] == kind).collect()
}

const DISK: &str = r#"<Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="2" ovf:capacityAllocationUnits="byte * 2^30"/>
 <Disk ovf:diskId="e" ovf:capacity="4194304"/>"#;

#[tokio::test(start_paused = true)]
async fn a_list_of_kinds_means_the_first_that_is_known() {
    let bench = Bench::new(scenario()).await;
    let items = [&bus("someother, buslogic"), &*disk("", "d")].concat();
    let package = package("foo, vmx-09 vmx-10,xen", DISK, &items);
    let result = bench.import_spec_of(&package, "a", "").await;
    assert_eq!(devices(&result, "VirtualBusLogicController").len(), 1);
    assert_eq!(result["importSpec"]["configSpec"]["version"], "vmx-10");
    // Where the file lies is the client's business.
    assert_eq!(result["fileItem"][0]["path"], "../disks/d.vmdk");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_supported_is_refused_or_left_out() {
    let bench = Bench::new(scenario()).await;
    let sound = item("", 7, 35, &[]);
    let items = [&bus("ideal"), &*disk("", "d"), &*sound].concat();
    let package_text = package("virtualbox-2.2", DISK, &items);
    let refused = bench.import_spec_of(&package_text, "a", "").await;
    assert_eq!(
        kinds(&refused, "error"),
        ["OvfUnsupportedSubType", "OvfUnsupportedType", "OvfUnsupportedElementValue"]
    );
    assert!(refused["error"][1]["fault"]["lineNumber"].as_u64().unwrap() > 15, "{refused}");
    let lax = "<deploymentOption/><importOption>lax</importOption>";
    let name = "<entityName>a</entityName>";
    let taken = bench.import_spec_with(&package_text, lax, name).await;
    assert_eq!(kinds(&taken, "warning").len(), 3, "{taken}");
    assert_eq!(devices(&taken, "VirtualLsiLogicController").len(), 1);

    // The descriptor itself may say that it can do without.
    let items = item("ovf:required='false'", 7, 35, &[]);
    let taken = bench.import_spec_of(&package("vmx-13", DISK, &items), "a", "").await;
    assert_eq!(kinds(&taken, "warning"), ["OvfUnsupportedType"]);
    assert!(devices(&taken, "VirtualDisk").is_empty());
}

#[tokio::test(start_paused = true)]
async fn options_choose_items_also_without_a_namespace() {
    let bench = Bench::new(scenario()).await;
    let items = [
        &bus("lsilogic"),
        &*disk("configuration='small'", "d"),
        &*disk("ovf:configuration='large'", "e"),
    ]
    .concat();
    let package = package("vmx-13", DISK, &items);
    for (option, bytes) in [("small", 2_u64 << 30), ("large", 4 << 20)] {
        let option = format!("<deploymentOption>{option}</deploymentOption>");
        let result = bench.import_spec_with(&package, &option, "<entityName>a</entityName>").await;
        let disks = devices(&result, "VirtualDisk");
        assert_eq!(disks.len(), 1, "{disks:?}");
        assert_eq!(disks[0]["capacityInBytes"], bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_capacity_follows_its_property() {
    let bench = Bench::new(scenario()).await;
    let disks = r#"<Disk ovf:diskId="d" ovf:capacity="${app.gib}" ovf:capacityAllocationUnits="byte * 2^30"/>"#;
    let items = [&bus("lsilogic"), &*disk("", "d")].concat();
    let package = package("vmx-13", disks, &items);
    let set = "<propertyMapping><key>app.gib</key><value>7</value></propertyMapping>";
    for (option, mapping, gib) in [("small", "", 1_u64), ("large", "", 3), ("large", set, 7)] {
        let option = format!("<deploymentOption>{option}</deploymentOption>");
        let more = format!("<entityName>a</entityName>{mapping}");
        let result = bench.import_spec_with(&package, &option, &more).await;
        assert_eq!(devices(&result, "VirtualDisk")[0]["capacityInBytes"], gib << 30, "{option}");
        assert_eq!(result["fileItem"].as_array().map(Vec::len), Some(0), "{result}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_may_say_itself_how_large_its_empty_disk_is() {
    let bench = Bench::new(scenario()).await;
    let size = "<sasd:AllocationUnits>byte*1024*1024</sasd:AllocationUnits>\
                <sasd:VirtualQuantity>10</sasd:VirtualQuantity></Item>";
    let item = item("", 4, 17, &[("Parent", "3")]).replace("</Item>", size);
    let items = [&bus("VirtualSCSI"), &*item].concat();
    let result = bench.import_spec_of(&package("vmx-13", DISK, &items), "a", "").await;
    assert_eq!(devices(&result, "VirtualDisk")[0]["capacityInBytes"], 10 << 20);
    let items = items.replace("sasd:VirtualQuantity", "sasd:Limit");
    let result = bench.import_spec_of(&package("vmx-13", DISK, &items), "a", "").await;
    assert_eq!(kinds(&result, "error"), ["OvfDiskMappingNotFound"]);
}

/// A controller with the number `number`.
fn controller(id: u8, kind: u8, sub_type: &str, number: u8) -> String {
    let number = number.to_string();
    item("", id, kind, &[("Address", &number), ("ResourceSubType", sub_type)])
}

/// What is on a controller, at its unit `unit` or at any.
fn plugged(id: u8, kind: u8, parent: u8, unit: &str) -> String {
    let parent = parent.to_string();
    let mut fields = vec![("AddressOnParent", unit), ("Parent", parent.as_str())];
    fields.extend((kind == 17).then_some(("HostResource", "ovf:/disk/d")));
    fields.retain(|(_, value)| !value.is_empty());
    item("", id, kind, &fields)
}

fn device_ids(result: &Value) -> Vec<&str> {
    assert!(result.get("error").is_none(), "{result}");
    let items = result["fileItem"].as_array().unwrap().iter();
    items.map(|item| item["deviceId"].as_str().unwrap().trim_start_matches("/a/")).collect()
}

#[tokio::test(start_paused = true)]
async fn disks_keep_their_controllers_and_their_places() {
    let bench = Bench::new(scenario()).await;
    let buses = [(5, "", 1), (6, "lsilogicsas", 2), (6, "VirtualSCSI", 0), (6, "buslogic", 1)];
    let buses =
        buses.into_iter().chain([(20, "vmware.sata.ahci", 0), (20, "vmware.nvme.controller", 0)]);
    let items = (10..).zip(buses).map(|(id, (kind, sub_type, number))| {
        let bus = controller(id, kind, sub_type, number);
        bus + &plugged(id + 10, 17, id, if kind == 5 { "1" } else { "3" })
    });
    let items: String = items.chain([plugged(40, 15, 14, "0")]).collect();
    let expected = [
        "VirtualIDEController1:1",
        "VirtualLsiLogicSASController2:3",
        "ParaVirtualSCSIController0:3",
        "VirtualBusLogicController1:3",
        "VirtualAHCIController0:3",
        "VirtualNVMEController0:3",
    ];
    let mut descriptor = package("vmx-13", DISK, &items);
    for name in ["first", "again"] {
        let spec = bench.import_spec_of(&descriptor, "a", "").await;
        let mut ids = device_ids(&spec);
        ids.sort_by_key(|id| expected.iter().position(|one| one == id));
        assert_eq!(ids, expected, "{name}");
        assert_eq!(devices(&spec, "VirtualCdrom").len(), 1, "{name}");

        let spec = bench.import_spec_of(&descriptor, name, "").await;
        let lease = bench.begin(&spec).await;
        settle().await;
        let info = bench.get(&lease, "info").await;
        let id = info["entity"]["value"].as_str().unwrap();
        let mut keys: Vec<&str> = info["deviceUrl"]
            .as_array()
            .unwrap()
            .iter()
            .map(|url| url["key"].as_str().unwrap().strip_prefix(&format!("/{id}/")).unwrap())
            .collect();
        keys.sort_by_key(|id| expected.iter().position(|one| one == id));
        assert_eq!(keys, expected, "{name}");
        bench.ok(&lease, "HttpNfcLeaseComplete", "").await;
        descriptor = bench.descriptor_of(&bench.vm(name), name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_an_item_asks_for_is_left_to_it() {
    let bench = Bench::new(scenario()).await;
    let any = controller(3, 6, "lsilogic", 0).replace("<rasd:Address>0</rasd:Address>", "");
    let items = [
        &any,
        &*controller(4, 6, "VirtualSCSI", 0),
        &*plugged(5, 17, 3, ""),
        &*plugged(6, 17, 3, "0"),
        // The controller's own.
        &*plugged(7, 17, 3, "7"),
    ]
    .concat();
    let spec = bench.import_spec_of(&package("vmx-13", DISK, &items), "a", "").await;
    let ids = ["1", "0", "2"].map(|unit| format!("VirtualLsiLogicController1:{unit}"));
    assert_eq!(device_ids(&spec), ids);
}

#[tokio::test(start_paused = true)]
async fn a_full_controller_has_no_room() {
    let bench = Bench::new(scenario()).await;
    let drives = (4..7).map(|id| plugged(id, 15, 3, ""));
    let items: String = [controller(3, 5, "PIIX4", 0)].into_iter().chain(drives).collect();
    let result = bench.import_spec_of(&package("vmx-13", DISK, &items), "a", "").await;
    assert_eq!(kinds(&result, "error"), ["OvfNoSpaceOnController"]);
    let fault = &result["error"][0]["fault"];
    assert_eq!(fault["parent"], "3");
    // What the table does not have cannot be sent.
    let known = types::data("OvfNoSpaceOnController").unwrap();
    let fields: Vec<&str> = known.fields.iter().map(|field| field.name).collect();
    for name in ["lineNumber", "name", "parent"] {
        assert!(fields.contains(&name) && !fault[name].is_null(), "{name}: {fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn storage_that_nobody_knows_is_left_out_and_not_taken_for_another() {
    let bench = Bench::new(scenario()).await;
    let items = controller(3, 20, "vmware.nvdimm.controller", 0);
    let lax = "<deploymentOption/><importOption>lax</importOption>";
    let name = "<entityName>a</entityName>";
    let result = bench.import_spec_with(&package("vmx-13", DISK, &items), lax, name).await;
    assert_eq!(kinds(&result, "warning"), ["OvfUnsupportedSubType"]);
    assert!(devices(&result, "VirtualAHCIController").is_empty());
}
