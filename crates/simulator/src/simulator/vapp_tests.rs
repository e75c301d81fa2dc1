//! vApps: seen, run, exported, imported, and the host beside the cluster.

use std::time::Duration;

use serde_json::{Value, json};

use super::inventory::fixed;
use super::tests::{Bench, scenario, settle, spec_text};
use super::{Scenario, lock, state};
use crate::state::VmState;

const MANAGER: &str = "OvfManager:OvfManager";
const POOL: &str = "ResourcePool:resgroup-8";

impl Bench {
    async fn at(&self, path: &str) -> String {
        let path = format!("<inventoryPath>{path}</inventoryPath>");
        let found = self.ok("SearchIndex:SearchIndex", "FindByInventoryPath", &path).await;
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        format!("{}:{}", text("type"), text("value"))
    }

    fn machine(&self, folder: &str, name: &str) -> VmState {
        let vms = state::vms(&lock(&self.vcenter.world));
        vms.into_iter().find(|vm| vm.folder == folder && vm.name == name).unwrap()
    }

    pub(super) async fn descriptor_of(&self, object: &str, name: &str) -> String {
        let (kind, id) = object.split_once(':').unwrap();
        let parameters = format!("<obj type='{kind}'>{id}</obj><cdp><name>{name}</name></cdp>");
        let result = self.ok(MANAGER, "CreateDescriptor", &parameters).await;
        result["ovfDescriptor"].as_str().unwrap().to_owned()
    }

    pub(super) async fn begin(&self, spec: &Value) -> String {
        let parameters = format!("{}<folder type='Folder'>group-v3</folder>", spec_text(spec));
        let lease = self.ok(POOL, "ImportVApp", &parameters).await;
        format!("HttpNfcLease:{}", lease["value"].as_str().unwrap())
    }

    fn count(&self) -> (usize, usize) {
        let world = lock(&self.vcenter.world);
        (world.vms.len(), world.vapps.len())
    }
}

#[tokio::test(start_paused = true)]
async fn a_vapp_is_in_a_pool_and_in_a_folder() {
    let bench = Bench::new(scenario()).await;
    let vapp = bench.at("/DC0/vm/vapp0").await;
    assert!(vapp.starts_with("VirtualApp:resgroup-v"), "{vapp}");
    assert_eq!(bench.at("/DC0/host/Cluster0/Resources/vapp0").await, vapp);
    let id = vapp.split_once(':').unwrap().1;
    assert_eq!(bench.get(&vapp, "parent").await["value"], fixed::root_pool().id.as_str());
    assert_eq!(bench.get(&vapp, "parentFolder").await["value"], fixed::vm_folder().id.as_str());
    assert_eq!(bench.get(&vapp, "owner").await["value"], fixed::cluster().id.as_str());
    let machine = bench.at("/DC0/vm/vapp0/vapp-web").await;
    assert_eq!(bench.get(&machine, "parentVApp").await["value"], id);
    assert_eq!(bench.get(&machine, "resourcePool").await["value"], id);
    assert!(bench.get(&machine, "parent").await.is_null());
    assert_eq!(bench.machine("/DC0/vm/vapp0", "vapp-web").host, "host1");

    let config = bench.get(&vapp, "vAppConfig").await;
    assert_eq!(config["entityConfig"][0]["tag"], "vapp-db");
    assert_eq!(config["entityConfig"][1]["startOrder"], 2);
    assert_eq!(config["entityConfig"][1]["key"]["value"], machine.split_once(':').unwrap().1);
    let summary = bench.get(&vapp, "summary").await;
    assert_eq!(
        (&summary["_typeName"], &summary["vAppState"]),
        (&json!("VirtualAppSummary"), &json!("stopped"))
    );
    assert_eq!(bench.get(&vapp, "network").await.as_array().unwrap().len(), 2);
    assert_eq!(bench.get(&vapp, "datastore").await.as_array().unwrap().len(), 1);

    let container = "<container type='Folder'>group-v3</container><type>VirtualApp</type><recursive>true</recursive>";
    let view = bench.ok("ViewManager:ViewManager", "CreateContainerView", container).await;
    let view = format!("ContainerView:{}", view["value"].as_str().unwrap());
    assert_eq!(bench.get(&view, "view").await[0]["value"], id);
    let child = format!("<entity type='VirtualApp'>{id}</entity><name>vapp-db</name>");
    let child = bench.ok("SearchIndex:SearchIndex", "FindChild", &child).await;
    assert_eq!(child["type"], "VirtualMachine");
}

#[tokio::test(start_paused = true)]
async fn machines_of_a_vapp_run_and_go_together() {
    let bench = Bench::new(scenario()).await;
    let vapp = bench.at("/DC0/vm/vapp0").await;
    let state = async |task: Value| {
        let task = format!("Task:{}", task["value"].as_str().unwrap());
        bench.get(&task, "info.state").await
    };
    let off = "<force>false</force>";
    assert_eq!(state(bench.ok(&vapp, "PowerOffVApp_Task", off).await).await, "error");
    assert_eq!(state(bench.ok(&vapp, "PowerOnVApp_Task", "").await).await, "success");
    assert!(bench.machine("/DC0/vm/vapp0", "vapp-db").powered_on);
    assert_eq!(bench.get(&vapp, "summary").await["vAppState"], "started");
    let disabled = bench.get(&vapp, "disabledMethod").await;
    assert!(disabled.as_array().unwrap().contains(&json!("ExportVApp")), "{disabled}");
    assert_eq!(bench.fault(&vapp, "ExportVApp", "").await, "InvalidPowerState");
    assert_eq!(state(bench.ok(&vapp, "Destroy_Task", "").await).await, "error");
    let name = "<newName>front</newName>";
    bench.ok(&bench.vm("vapp-web"), "Rename_Task", name).await;
    assert_eq!(bench.get(&vapp, "vAppConfig").await["entityConfig"][1]["tag"], "front");
    bench.ok(&bench.vm("front"), "Rename_Task", "<newName>vapp-web</newName>").await;
    let taken = bench.ok(&bench.vm("vapp-web"), "Rename_Task", "<newName>vapp-db</newName>").await;
    assert_eq!(state(taken).await, "error");
    // One machine that still runs is enough.
    bench.ok(&bench.vm("vapp-web"), "PowerOffVM_Task", "").await;
    assert_eq!(bench.get(&vapp, "summary").await["vAppState"], "started");
    assert_eq!(bench.fault(&vapp, "ExportVApp", "").await, "InvalidPowerState");
    assert_eq!(state(bench.ok(&vapp, "PowerOffVApp_Task", off).await).await, "success");
    assert_eq!(state(bench.ok(&vapp, "Destroy_Task", "").await).await, "success");
    assert_eq!(bench.count(), (4, 0));
    assert_eq!(bench.fault(&vapp, "ExportVApp", "").await, "ManagedObjectNotFound");
    assert_eq!(bench.fault(POOL, "ExportVApp", "").await, "MethodNotFound");
}

#[tokio::test(start_paused = true)]
async fn an_export_covers_and_holds_all_machines() {
    let bench = Bench::new(scenario()).await;
    let vapp = bench.at("/DC0/vm/vapp0").await;
    let lease = bench.ok(&vapp, "ExportVApp", "").await;
    let lease = format!("HttpNfcLease:{}", lease["value"].as_str().unwrap());
    settle().await;
    let info = bench.get(&lease, "info").await;
    assert_eq!(info["entity"]["value"], vapp.split_once(':').unwrap().1);
    let urls = info["deviceUrl"].as_array().unwrap();
    let [db, web] = [0, 1].map(|index| urls[index]["url"].as_str().unwrap());
    assert!(db.starts_with("https://host0:443/nfc/") && db.ends_with("/disk-0.vmdk"), "{db}");
    assert!(web.starts_with("https://host1:443/nfc/") && web.ends_with("/disk-1.vmdk"), "{web}");
    let id = bench.machine("/DC0/vm/vapp0", "vapp-web").id;
    assert_eq!(urls[1]["key"], format!("/{id}/VirtualLsiLogicController0:0"));
    assert_eq!(urls[1]["importKey"], "");
    assert_eq!(info["totalDiskCapacityInKB"], (32 + 16) << 10);
    assert_eq!(bench.lease().machine, "vapp0");
    for method in ["ExportVApp", "PowerOnVApp_Task", "Destroy_Task"] {
        assert_eq!(bench.fault(&vapp, method, "").await, "TaskInProgress", "{method}");
    }
    for method in ["PowerOnVM_Task", "ExportVm", "Destroy_Task"] {
        let web = format!("VirtualMachine:{id}");
        assert_eq!(bench.fault(&web, method, "").await, "TaskInProgress", "{method}");
    }
    bench.ok(&lease, "HttpNfcLeaseComplete", "").await;
    assert_eq!(bench.ok(&vapp, "PowerOnVApp_Task", "").await["type"], "Task");

    // A machine that is held holds its vApp.
    bench.ok(&vapp, "PowerOffVApp_Task", "<force>false</force>").await;
    bench.export("vapp-db").await;
    assert_eq!(bench.fault(&vapp, "ExportVApp", "").await, "TaskInProgress");
}

#[tokio::test(start_paused = true)]
async fn what_was_exported_comes_back_equal() {
    let bench = Bench::new(scenario()).await;
    let vapp = bench.at("/DC0/vm/vapp0").await;
    let descriptor = bench.descriptor_of(&vapp, "shop").await;
    let spec = bench.import_spec_of(&descriptor, "", "").await;
    assert!(spec.get("error").is_none() && spec.get("warning").is_none(), "{spec}");
    let import = &spec["importSpec"];
    assert_eq!(
        (&import["_typeName"], &import["name"]),
        (&json!("VirtualAppImportSpec"), &json!("shop"))
    );
    assert_eq!(import["child"][1]["entityConfig"]["startOrder"], 2);
    let items = spec["fileItem"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["deviceId"], "/shop/vapp-db/VirtualLsiLogicController0:0");
    let lease = bench.begin(&spec).await;
    settle().await;
    let info = bench.get(&lease, "info").await;
    for (item, url) in items.iter().zip(info["deviceUrl"].as_array().unwrap()) {
        assert_eq!(item["deviceId"], url["importKey"]);
    }
    let hosts = info["deviceUrl"].as_array().unwrap().iter();
    let hosts: Vec<&str> =
        hosts.map(|url| url["url"].as_str().unwrap().split('/').nth(2).unwrap()).collect();
    assert_eq!(hosts, ["host0:443", "host1:443"], "not on the host beside the cluster");
    let shop = bench.at("/DC0/vm/shop").await;
    assert_eq!(format!("VirtualApp:{}", info["entity"]["value"].as_str().unwrap()), shop);
    assert_eq!(bench.fault(&shop, "PowerOnVApp_Task", "").await, "TaskInProgress");
    bench.ok(&lease, "HttpNfcLeaseComplete", "").await;

    for name in ["vapp-db", "vapp-web"] {
        let [old, new] = ["/DC0/vm/vapp0", "/DC0/vm/shop"].map(|at| bench.machine(at, name));
        let capacities = |vm: &VmState| -> Vec<(String, u64)> {
            vm.disks.iter().map(|disk| (disk.label.clone(), disk.capacity_bytes)).collect()
        };
        assert_eq!(capacities(&old), capacities(&new), "{name}");
        assert_eq!(old.networks, new.networks, "{name}");
        let [old, new] = [old, new].map(|vm| format!("VirtualMachine:{}", vm.id));
        for path in ["config.hardware.numCPU", "config.hardware.memoryMB", "config.guestId"] {
            assert_eq!(bench.get(&old, path).await, bench.get(&new, path).await, "{name} {path}");
        }
    }
    // And once more: nothing is lost on the way.
    assert_eq!(bench.descriptor_of(&shop, "shop").await, descriptor);
}

#[tokio::test(start_paused = true)]
async fn an_import_that_fails_leaves_nothing() {
    let bench = Bench::new(scenario()).await;
    let before = bench.count();
    let vapp = bench.at("/DC0/vm/vapp0").await;
    let descriptor = bench.descriptor_of(&vapp, "shop").await;
    let spec = bench.import_spec_of(&descriptor, "", "").await;
    let lease = bench.begin(&spec).await;
    settle().await;
    assert_eq!(bench.count(), (before.0 + 2, before.1 + 1));
    bench.ok(&lease, "HttpNfcLeaseAbort", "").await;
    assert_eq!(bench.count(), before);
    assert_eq!(bench.at("/DC0/vm/shop").await, ":");

    bench.begin(&spec).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(bench.lease().fault.unwrap().kind, "Timedout");
    assert_eq!(bench.count(), before);

    // The name of the vApp is taken, and then that of the second machine in it.
    let twice = bench.import_spec_of(&descriptor, "vapp0", "").await;
    let mut same = bench.import_spec_of(&descriptor, "other", "").await;
    same["importSpec"]["child"][1]["configSpec"]["name"] = json!("vapp-db");
    for spec in [twice, same] {
        bench.begin(&spec).await;
        settle().await;
        assert_eq!(bench.lease().fault.unwrap().kind, "DuplicateName");
        assert_eq!(bench.count(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn vapps_are_imported_into_one_another() {
    let bench = Bench::new(scenario()).await;
    let inner = NESTED;
    let spec = bench.import_spec_of(inner, "outer", "").await;
    assert!(spec.get("error").is_none(), "{spec}");
    let ids: Vec<&Value> =
        spec["fileItem"].as_array().unwrap().iter().map(|item| &item["deviceId"]).collect();
    assert_eq!(ids, ["/outer/in/deep/VirtualLsiLogicController0:0", "/outer/in/deep/nvram"]);
    let config = &spec["importSpec"]["vAppConfigSpec"];
    assert_eq!(config["product"][0]["info"]["name"], "Shop");
    assert_eq!(config["annotation"], "Two levels");
    assert_eq!(spec["importSpec"]["child"][0]["vAppConfigSpec"]["product"], Value::Null);
    let lease = bench.begin(&spec).await;
    settle().await;
    bench.ok(&lease, "HttpNfcLeaseComplete", "").await;
    let deep = bench.at("/DC0/vm/outer/in/deep").await;
    let inside = bench.at("/DC0/vm/outer/in").await;
    assert_eq!(bench.get(&deep, "parentVApp").await["value"], inside.split_once(':').unwrap().1);
    let outer = bench.at("/DC0/vm/outer").await;
    assert_eq!(bench.get(&inside, "parentVApp").await["value"], outer.split_once(':').unwrap().1);
    assert!(bench.get(&inside, "parentFolder").await.is_null());
    assert_eq!(bench.get(&outer, "vAppConfig").await["entityConfig"][0]["startDelay"], 9);
    assert_eq!(bench.machine("/DC0/vm/outer/in", "deep").files[0].name, "deep.nvram");

    // Into the vApp: without a folder, and not beside something of the same name.
    let parameters = format!("{}<folder type='Folder'>group-v3</folder>", spec_text(&spec));
    assert_eq!(bench.fault(&outer, "ImportVApp", &parameters).await, "InvalidArgument");
    bench.ok(&outer, "ImportVApp", &spec_text(&spec)).await;
    settle().await;
    assert_eq!(bench.fault(&outer, "Destroy_Task", "").await, "TaskInProgress");
    let lease = format!("HttpNfcLease:{}", bench.lease().id);
    bench.ok(&lease, "HttpNfcLeaseComplete", "").await;
    assert!(bench.at("/DC0/vm/outer/outer/in/deep").await.starts_with("VirtualMachine:"));
    bench.ok(&outer, "Destroy_Task", "").await;
    assert_eq!(bench.count(), (6, 1));
    assert_eq!(bench.fault(POOL, "ImportVApp", &spec_text(&spec)).await, "NotSupported");
}

#[tokio::test(start_paused = true)]
async fn machines_of_one_name_get_different_ones() {
    let bench = Bench::new(scenario()).await;
    let machine = |id: &str| {
        format!(
            "<VirtualSystem ovf:id='{id}'><Info/><Name>same</Name><VirtualHardwareSection><Info/>\
             <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>\
             <rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item></VirtualHardwareSection></VirtualSystem>"
        )
    };
    let (start, end) = (NESTED.find("<VirtualSystemCollection").unwrap(), "</Envelope>");
    let machines = [machine("a"), machine("same"), machine("b")].concat();
    let descriptor = format!(
        "{}<VirtualSystemCollection ovf:id='c'><Info/>{machines}</VirtualSystemCollection>{end}",
        &NESTED[..start]
    );
    let spec = bench.import_spec_of(&descriptor, "", "").await;
    assert!(spec.get("error").is_none(), "{spec}");
    assert_eq!(spec["importSpec"]["name"], "c");
    let children = spec["importSpec"]["child"].as_array().unwrap().iter();
    let names: Vec<&Value> = children.map(|child| &child["configSpec"]["name"]).collect();
    assert_eq!(names, ["same", "same (2)", "b"]);
    bench.begin(&spec).await;
    settle().await;
    assert!(bench.lease().fault.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_host_without_vcenter_takes_no_vapps() {
    let bench = Bench::new(Scenario::esxi()).await;
    assert_eq!(bench.at("/ha-datacenter/vm/vapp0").await, ":");
    let datastore = bench.get("Folder:group-s5", "childEntity").await[0]["value"].clone();
    let parameters = format!(
        "<ovfDescriptor>{}</ovfDescriptor><resourcePool type='ResourcePool'>resgroup-8</resourcePool>\
         <datastore type='Datastore'>{}</datastore>\
         <cisp><locale/><deploymentOption/><entityName/></cisp>",
        NESTED.replace('&', "&amp;").replace('<', "&lt;"),
        datastore.as_str().unwrap()
    );
    let result = bench.ok("OvfManager:ha-ovf-manager", "CreateImportSpec", &parameters).await;
    assert_eq!(result["error"][0]["fault"]["_typeName"], "OvfUnsupportedElement");
    assert!(result.get("importSpec").is_none_or(Value::is_null));
}

#[tokio::test(start_paused = true)]
async fn a_host_beside_the_cluster_has_its_own_pool() {
    let bench = Bench::new(scenario()).await;
    let pool = bench.at("/DC0/host/host2/Resources").await;
    let compute = bench.at("/DC0/host/host2").await;
    assert!(compute.starts_with("ComputeResource:"), "{compute}");
    let host = bench.at("/DC0/host/host2/host2").await;
    let cluster = bench.get("ClusterComputeResource:domain-c7", "host").await;
    assert_eq!(cluster.as_array().unwrap().len(), 2);
    let spec = bench.import_spec("alone", "").await;
    let config = spec_text(&spec);
    let folder = "<folder type='Folder'>group-v3</folder>";
    bench.ok(&pool, "ImportVApp", &format!("{config}{folder}")).await;
    settle().await;
    let vm = bench.machine("/DC0/vm", "alone");
    assert_eq!(vm.host, "host2");
    let id = |object: &str| object.split_once(':').unwrap().1.to_owned();
    let vm = format!("VirtualMachine:{}", vm.id);
    assert_eq!(bench.get(&vm, "resourcePool").await["value"], id(&pool));
    let spec = spec_text(&bench.import_spec("other", "").await);
    let there = format!("{spec}{folder}<host type='HostSystem'>{}</host>", id(&host));
    assert_eq!(bench.fault(POOL, "ImportVApp", &there).await, "InvalidArgument");

    let text = r#"{"hosts":[{"name":"a"},{"name":"b","standalone":true}],
        "machines":[{"name":"m","host":"b"}]}"#;
    let bench = Bench::new(Scenario::from_json(text).unwrap()).await;
    let pool = bench.at("/DC0/host/b/Resources").await;
    assert_eq!(bench.get(&bench.vm("m"), "resourcePool").await["value"], id(&pool));
    for text in [
        r#"{"hosts":[{"standalone":true}],"machines":[]}"#,
        r#"{"vapps":[{"name":"a","machines":[{"host":"host2"}]}]}"#,
        r#"{"vapps":[{"name":"a","machines":[{},{}]}]}"#,
        r#"{"vapps":[{"name":"small"}]}"#,
        r#"{"vapps":[{"name":"pool0"}]}"#,
        r#"{"vapps":[{"name":"a","machines":[{"folder":"b"}]}]}"#,
    ] {
        assert!(Scenario::from_json(text).is_err(), "{text}");
    }
}

/// Two vApps in one another, with a start order, texts and an NVRAM.
const NESTED: &str = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:vmw="http://www.vmware.com/schema/ovf"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="f1" ovf:href="d.vmdk" ovf:size="1000"/><File ovf:id="f2" ovf:href="x.nvram"/></References>
 <DiskSection><Info/><Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="8388608"
   ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
 <NetworkSection><Info/><Network ovf:name="VM Network"/></NetworkSection>
 <VirtualSystemCollection ovf:id="o"><Info/>
  <AnnotationSection><Info/><Annotation>Two levels</Annotation></AnnotationSection>
  <ProductSection><Info/><Product>Shop</Product></ProductSection>
  <StartupSection><Info/><Item ovf:id="in" ovf:order="3" ovf:startDelay="9"/></StartupSection>
  <VirtualSystemCollection ovf:id="in"><Info/>
   <VirtualSystem ovf:id="deep"><Info/>
    <VirtualHardwareSection><Info/>
     <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
     <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
     <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
     <Item><rasd:Connection>VM Network</rasd:Connection><rasd:InstanceID>5</rasd:InstanceID><rasd:ResourceType>10</rasd:ResourceType></Item>
     <vmw:ExtraConfig ovf:required="false" vmw:key="nvram" vmw:value="ovf:/file/f2"/>
    </VirtualHardwareSection>
   </VirtualSystem>
  </VirtualSystemCollection>
 </VirtualSystemCollection>
</Envelope>"#;

#[tokio::test(start_paused = true)]
async fn what_a_vapp_may_use_goes_along() {
    let bench = Bench::new(scenario()).await;
    let vapp = bench.at("/DC0/vm/vapp0").await;
    let plain = bench.descriptor_of(&vapp, "shop").await;
    assert!(!plain.contains("ResourceAllocationSection"), "{plain}");
    let section = "<Name>shop</Name><ResourceAllocationSection><Info/>\
        <Item><rasd:AllocationUnits>hertz * 10^9</rasd:AllocationUnits>\
        <rasd:InstanceID>1</rasd:InstanceID><rasd:Limit>4</rasd:Limit>\
        <rasd:Reservation>1</rasd:Reservation><rasd:ResourceType>3</rasd:ResourceType></Item>\
        <Item><rasd:AllocationUnits>byte * 2^30</rasd:AllocationUnits>\
        <rasd:InstanceID>2</rasd:InstanceID><rasd:Reservation>0</rasd:Reservation>\
        <rasd:ResourceType>4</rasd:ResourceType><rasd:Weight>77</rasd:Weight></Item>\
        </ResourceAllocationSection>";
    let descriptor = plain.replacen("<Name>shop</Name>", section, 1);
    let spec = bench.import_spec_of(&descriptor, "", "").await;
    let pool = &spec["importSpec"]["resourcePoolSpec"];
    assert_eq!(pool["cpuAllocation"]["reservation"], 1000);
    assert_eq!(pool["cpuAllocation"]["limit"], 4000);
    assert_eq!(pool["memoryAllocation"]["limit"], -1);
    let shares = &pool["memoryAllocation"]["shares"];
    assert_eq!((&shares["shares"], &shares["level"]), (&json!(77), &json!("custom")));
    let lease = bench.begin(&spec).await;
    settle().await;
    bench.ok(&lease, "HttpNfcLeaseComplete", "").await;
    let shop = bench.at("/DC0/vm/shop").await;
    let again = bench.descriptor_of(&shop, "other").await;
    let again = bench.import_spec_of(&again, "", "").await;
    assert_eq!(again["importSpec"]["resourcePoolSpec"], *pool);

    for (good, bad) in [("Limit>4<", "Limit>many<"), ("hertz * 10^9", "furlong")] {
        let result = bench.import_spec_of(&descriptor.replace(good, bad), "", "").await;
        let fault = &result["error"][0]["fault"];
        assert_eq!(fault["_typeName"], "OvfInvalidValueFormatMalformed", "{bad}");
        assert!(fault["lineNumber"].as_u64().is_some_and(|line| line > 1), "{fault}");
    }
}
