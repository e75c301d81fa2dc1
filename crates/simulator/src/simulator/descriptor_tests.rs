//! Habits of descriptors in the wild, and what the server makes of them.

use serde_json::Value;

use super::tests::{Bench, scenario};

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
