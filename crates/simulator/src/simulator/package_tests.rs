//! What the server reads in descriptors, and what it makes of options and properties.

use serde_json::{Value, json};

use super::Scenario;
use super::inventory::fixed;
use super::tests::{Bench, scenario, settle, spec_text};
use crate::scenario::DatastoreCluster;

const NAME: &str = "<entityName>shop</entityName>";

const PACKAGE: &str = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:vmw="http://www.vmware.com/schema/ovf"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="f1" ovf:href="d.vmdk" ovf:size="1000"/></References>
 <DiskSection><Info/><Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="8388608" ovf:populatedSize="65536"
   ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
 <NetworkSection><Info/><Network ovf:name="inside"><Description>Größe</Description></Network></NetworkSection>
 <DeploymentOptionSection><Info/>
  <Configuration ovf:id="small"><Label ovf:msgid="s">x</Label><Description>Few users</Description></Configuration>
  <Configuration ovf:id="large" ovf:default="true"><Label>Large</Label><Description>Many</Description></Configuration>
 </DeploymentOptionSection>
 <VirtualSystem ovf:id="vm"><Info/><Name>shop</Name>
  <AnnotationSection><Info/><Annotation>A shop</Annotation></AnnotationSection>
  <EulaSection><Info/><License>Be kind.</License></EulaSection>
  <ProductSection ovf:class="net" ovf:instance="1"><Info/><Product>Shop</Product><Vendor>We</Vendor>
   <Category>Addresses</Category>
   <Property ovf:key="ip" ovf:type="string" ovf:userConfigurable="true" vmw:qualifiers="Ip"><Label>Address</Label>
     <Value ovf:value="10.0.0.9" ovf:configuration="small"/></Property>
   <Property ovf:key="fixed" ovf:type="uint8" ovf:value="7" ovf:qualifiers="MinValue(1) MaxValue(9)"/>
  </ProductSection>
  <VirtualHardwareSection ovf:transport="com.vmware.guestInfo"><Info/>
   <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>4</rasd:VirtualQuantity></Item>
   <Item ovf:configuration="small"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
   <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>256</rasd:VirtualQuantity></Item>
   <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
   <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
   <Item ovf:configuration="large"><rasd:Connection>inside</rasd:Connection><rasd:InstanceID>5</rasd:InstanceID><rasd:ResourceType>10</rasd:ResourceType></Item>
  </VirtualHardwareSection>
 </VirtualSystem>
 <Strings xml:lang="en"><Msg ovf:msgid="s">Small</Msg></Strings>
</Envelope>"#;

fn escaped(descriptor: &str) -> String {
    descriptor.replace('&', "&amp;").replace('<', "&lt;")
}

async fn parse(bench: &Bench, descriptor: &str, option: &str, more: &str) -> Value {
    let parameters = format!(
        "<ovfDescriptor>{}</ovfDescriptor>\
         <pdp><locale/><deploymentOption>{option}</deploymentOption>{more}</pdp>",
        escaped(descriptor)
    );
    bench.ok("OvfManager:OvfManager", "ParseDescriptor", &parameters).await
}

async fn validate(bench: &Bench, descriptor: &str) -> Value {
    let host = bench.get("ClusterComputeResource:domain-c7", "host").await[0]["value"].clone();
    let parameters = format!(
        "<ovfDescriptor>{}</ovfDescriptor><host type='HostSystem'>{}</host>\
         <vhp><locale/><deploymentOption/></vhp>",
        escaped(descriptor),
        host.as_str().unwrap()
    );
    bench.ok("OvfManager:OvfManager", "ValidateHost", &parameters).await
}

#[tokio::test(start_paused = true)]
async fn a_descriptor_tells_what_can_be_chosen() {
    let bench = Bench::new(scenario()).await;
    let result = parse(&bench, PACKAGE, "", "").await;
    assert!(result.get("error").is_none(), "{result}");
    assert_eq!(result["defaultEntityName"], "shop");
    assert_eq!(result["annotation"], "A shop");
    assert_eq!(result["virtualApp"], false);
    assert_eq!(result["eula"], json!(["Be kind."]));
    assert_eq!(result["network"][0]["name"], "inside");
    assert_eq!(result["network"][0]["description"], "Größe");
    assert_eq!(result["approximateDownloadSize"], 1000);
    assert_eq!(result["approximateFlatDeploymentSize"], 8_388_608);
    assert_eq!(result["approximateSparseDeploymentSize"], 65536);
    assert_eq!(result["defaultDeploymentOption"], "large");
    assert_eq!(result["deploymentOption"][0]["label"], "Small");
    assert_eq!(result["deploymentOption"][1]["key"], "large");
    assert_eq!(result["productInfo"]["name"], "Shop");
    assert_eq!(result["entityName"][0]["value"], "shop");
    let [ip, fixed] = [0, 1].map(|index| result["property"][index].clone());
    assert_eq!((&ip["type"], &ip["defaultValue"]), (&json!("ip"), &json!("")));
    assert_eq!((&ip["category"], &ip["userConfigurable"]), (&json!("Addresses"), &json!(true)));
    assert_eq!((&fixed["type"], &fixed["defaultValue"]), (&json!("int(1..9)"), &json!("7")));
    assert_eq!(fixed["userConfigurable"], false);

    // An option changes defaults; a bundle of messages comes before the descriptor's own.
    let bundle = "<msgBundle><key>s</key><value>Klein</value></msgBundle>";
    let result = parse(&bench, PACKAGE, "small", bundle).await;
    assert_eq!(result["property"][0]["defaultValue"], "10.0.0.9");
    assert_eq!(result["deploymentOption"][0]["label"], "Klein");
    let result = parse(&bench, PACKAGE, "huge", "").await;
    assert_eq!(result["error"][0]["fault"]["_typeName"], "OvfInvalidValueConfiguration");
    assert_eq!(result["error"][0]["fault"]["value"], "huge");
    let result = parse(&bench, "<html>no", "", "").await;
    assert_eq!(result["error"][0]["fault"]["_typeName"], "OvfXmlFormat");
}

#[tokio::test(start_paused = true)]
async fn a_host_says_what_it_takes() {
    let bench = Bench::new(scenario()).await;
    let result = validate(&bench, PACKAGE).await;
    assert!(result.get("error").is_none(), "{result}");
    assert!(result.get("warning").is_none(), "{result}");
    assert_eq!(result["downloadSize"], 1000);
    assert_eq!(result["flatDeploymentSize"], 8_388_608);
    assert_eq!(result["sparseDeploymentSize"], 65536);
    let kinds = result["supportedDiskProvisioning"].as_array().unwrap();
    assert!(kinds.contains(&json!("thin")) && !kinds.contains(&json!("monolithicSparse")));
    let strange = PACKAGE.replace(">6</rasd:ResourceType>", ">99</rasd:ResourceType>");
    let result = validate(&bench, &strange).await;
    assert_eq!(result["error"][0]["fault"]["_typeName"], "OvfUnsupportedType");
    assert_eq!(validate(&bench, "nothing").await["error"][0]["fault"]["_typeName"], "OvfXmlFormat");
    let parameters = "<ovfDescriptor/><host type='HostSystem'>host-1</host>\
        <vhp><locale/><deploymentOption/></vhp>";
    let manager = "OvfManager:OvfManager";
    assert_eq!(bench.fault(manager, "ValidateHost", parameters).await, "ManagedObjectNotFound");
}

#[tokio::test(start_paused = true)]
async fn options_and_properties_are_taken_or_refused() {
    let bench = Bench::new(scenario()).await;
    let network = bench.get(&format!("Folder:{}", fixed::network_folder().id), "childEntity").await
        [0]["value"]
        .clone();
    let network = network.as_str().unwrap();
    let mapping = format!(
        "<networkMapping><name>inside</name><network type='Network'>{network}</network></networkMapping>"
    );
    let property = |key: &str, value: &str| {
        format!(
            "{mapping}<propertyMapping><key>{key}</key><value>{value}</value></propertyMapping>"
        )
    };
    let result = bench.import_spec_of(PACKAGE, "shop1", &property("net.ip.1", "10.0.0.1")).await;
    assert!(result.get("error").is_none(), "{result}");
    let config = &result["importSpec"]["configSpec"];
    assert_eq!(config["numCPUs"], 4);
    let cards = |config: &Value| {
        let all = config["deviceChange"].as_array().unwrap();
        all.iter().filter(|change| change["device"]["_typeName"] == "VirtualE1000").count()
    };
    assert_eq!(cards(config), 1);
    assert_eq!(config["vAppConfig"]["property"][0]["info"]["value"], "10.0.0.1");
    assert_eq!(config["vAppConfig"]["eula"][0], "Be kind.");

    // The machine that comes of it knows its properties.
    let parameters = format!("{}<folder type='Folder'>group-v3</folder>", spec_text(&result));
    bench.ok("ResourcePool:resgroup-8", "ImportVApp", &parameters).await;
    settle().await;
    let known = bench.get(&bench.vm("shop1"), "config").await["vAppConfig"].clone();
    assert_eq!(known["property"][0]["value"], "10.0.0.1");
    assert_eq!(known["product"][0]["vendor"], "We");
    assert_eq!(known["ovfEnvironmentTransport"][0], "com.vmware.guestInfo");

    for (key, value, kind) in [
        ("net.ip.1", "10.0.0", "OvfPropertyValue"),
        ("ip", "10.0.0.1", "OvfInvalidValueReference"),
        ("net.fixed.1", "10", "OvfPropertyValue"),
    ] {
        let result = bench.import_spec_of(PACKAGE, "shop2", &property(key, value)).await;
        assert_eq!(result["error"][0]["fault"]["_typeName"], kind, "{key}");
        assert!(result.get("importSpec").is_none());
    }
    // What users cannot set shows when the machine is made.
    let result = bench.import_spec_of(PACKAGE, "shop3", &property("net.fixed.1", "8")).await;
    let parameters = format!("{}<folder type='Folder'>group-v3</folder>", spec_text(&result));
    bench.ok("ResourcePool:resgroup-8", "ImportVApp", &parameters).await;
    settle().await;
    assert_eq!(bench.lease().fault.unwrap().kind, "NotUserConfigurableProperty");

    let result =
        bench.import_spec_of(PACKAGE, "shop4", "<diskProvisioning>liquid</diskProvisioning>").await;
    assert_eq!(result["error"][0]["fault"]["_typeName"], "OvfUnsupportedDiskProvisioning");
    assert_eq!(result["error"][0]["fault"]["diskProvisioning"], "liquid");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_option_chooses_the_hardware() {
    let bench = Bench::new(scenario()).await;
    let result =
        bench.import_spec_with(PACKAGE, "<deploymentOption>small</deploymentOption>", NAME).await;
    assert!(result.get("error").is_none(), "{result}");
    let config = &result["importSpec"]["configSpec"];
    assert_eq!(config["numCPUs"], 1);
    let devices = config["deviceChange"].to_string();
    assert!(!devices.contains("VirtualE1000"), "{devices}");
    assert_eq!(config["vAppConfig"]["property"][0]["info"]["defaultValue"], "10.0.0.9");
    let result =
        bench.import_spec_with(PACKAGE, "<deploymentOption>huge</deploymentOption>", NAME).await;
    assert_eq!(result["error"][0]["fault"]["_typeName"], "OvfInvalidValueConfiguration");
}

#[tokio::test(start_paused = true)]
async fn offered_options_do_what_they_say() {
    let bench = Bench::new(scenario()).await;
    let manager = "OvfManager:OvfManager";
    let names = |list: Value| -> Vec<String> {
        let all = list.as_array().unwrap().iter();
        all.map(|one| one["option"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(bench.get(manager, "ovfImportOption").await), ["lax"]);
    let offered = names(bench.get(manager, "ovfExportOption").await);
    assert_eq!(offered, ["extraconfig", "mac", "nodevicesubtypes", "uuid"]);

    let strange = PACKAGE.replace(
        "</VirtualHardwareSection>",
        "<Item><rasd:InstanceID>9</rasd:InstanceID><rasd:ResourceType>99</rasd:ResourceType></Item></VirtualHardwareSection>",
    );
    let result = bench.import_spec_of(&strange, "shop", "").await;
    assert_eq!(result["error"][0]["fault"]["_typeName"], "OvfUnsupportedType");
    let result = bench
        .import_spec_with(&strange, "<deploymentOption/><importOption>lax</importOption>", NAME)
        .await;
    assert!(result.get("error").is_none(), "{result}");
    assert!(result["warning"].to_string().contains("OvfUnsupportedType"), "{result}");
}

/// A drive on a controller of its own.
const DRIVE: &str = "<Item><rasd:InstanceID>8</rasd:InstanceID><rasd:ResourceType>5</rasd:ResourceType></Item>\
  <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:InstanceID>9</rasd:InstanceID>\
  <rasd:Parent>8</rasd:Parent><rasd:ResourceSubType>vmware.cdrom.atapi</rasd:ResourceSubType>\
  <rasd:ResourceType>15</rasd:ResourceType></Item></VirtualHardwareSection>";

#[tokio::test(start_paused = true)]
async fn every_export_option_does_its_own_and_nothing_else() {
    let bench = Bench::new(scenario()).await;
    let manager = "OvfManager:OvfManager";
    let package = PACKAGE.replace("</VirtualHardwareSection>", DRIVE);
    let spec = spec_text(&bench.import_spec_of(&package, "shop", "").await);
    let parameters = format!("{spec}<folder type='Folder'>group-v3</folder>");
    let lease = bench.ok("ResourcePool:resgroup-8", "ImportVApp", &parameters).await;
    settle().await;
    let lease = format!("HttpNfcLease:{}", lease["value"].as_str().unwrap());
    bench.ok(&lease, "HttpNfcLeaseComplete", "").await;
    let vm = bench.vm("shop");
    let id = vm.split_once(':').unwrap().1;
    let extra = "<spec><extraConfig><key>guestinfo.role</key><value xsi:type='xsd:string' \
                 xmlns:xsd='http://www.w3.org/2001/XMLSchema'>db</value></extraConfig></spec>";
    bench.ok(&vm, "ReconfigVM_Task", extra).await;
    let descriptor = async |options: &[&str]| {
        let options = options.iter().map(|name| format!("<exportOption>{name}</exportOption>"));
        let options: String = options.collect();
        let parameters = format!("<obj type='VirtualMachine'>{id}</obj><cdp>{options}</cdp>");
        let result = bench.ok(manager, "CreateDescriptor", &parameters).await;
        result["ovfDescriptor"].as_str().unwrap().to_owned()
    };
    let uuid = bench.get(&vm, "config.uuid").await.as_str().unwrap().to_owned();
    let uuid =
        format!("<vmw:Config ovf:required=\"false\" vmw:key=\"uuid\" vmw:value=\"{uuid}\"/>");
    let card = bench.get(&vm, "config.hardware.device").await;
    let card = card.as_array().unwrap().iter().find_map(|device| device["macAddress"].as_str());
    let mac = format!("<rasd:Address>{}</rasd:Address>", card.unwrap());
    let signs: [(&str, &str, bool); 4] = [
        ("extraconfig", "vmw:key=\"guestinfo.role\" vmw:value=\"db\"", true),
        ("mac", &mac, true),
        ("nodevicesubtypes", "vmware.cdrom.", false),
        ("uuid", &uuid, true),
    ];
    let plain = descriptor(&[]).await;
    let drive = "<rasd:ResourceType>15<";
    assert!(plain.contains(drive));
    for (_, sign, appears) in signs {
        assert_ne!(plain.contains(sign), appears, "{sign}: {plain}");
    }
    // Each does its own and nothing else; what no server knows is passed over.
    for (option, ..) in signs {
        let text = descriptor(&[option, "no-such-option"]).await;
        for (other, sign, appears) in signs {
            assert_eq!(text.contains(sign), (other == option) == appears, "{option}: {text}");
        }
    }
    let all = descriptor(&signs.map(|(option, ..)| option)).await;
    assert!(signs.iter().all(|(_, sign, appears)| all.contains(sign) == *appears), "{all}");
    let sub_types = |text: &str| text.matches("<rasd:ResourceSubType>").count();
    assert_eq!(sub_types(&all) + 1, sub_types(&plain), "other devices keep their sub-types");
    // A drive of no sub-type is still one.
    let result = bench.import_spec_of(&all, "again", "").await;
    assert!(result["importSpec"].to_string().contains("VirtualCdrom"), "{result}");
}

#[tokio::test(start_paused = true)]
async fn a_host_without_vcenter_has_its_own_names() {
    let bench = Bench::new(Scenario::esxi()).await;
    let content = bench.get("ServiceInstance:ServiceInstance", "content").await;
    assert_eq!(content["about"]["apiType"], "HostAgent");
    assert_eq!(content["ovfManager"]["value"], "ha-ovf-manager");
    assert!(content.get("dvSwitchManager").is_none());
    let compute = bench.get("ResourcePool:resgroup-8", "owner").await;
    assert_eq!(compute["type"], "ComputeResource");
    let name = "<name>x</name>";
    assert_eq!(bench.fault("Folder:group-v3", "CreateFolder", name).await, "NotSupported");
    for text in [
        r#"{"esxi":true}"#,
        r#"{"esxi":true,"hosts":[{}],"machines":[{"folder":"a"}]}"#,
        r#"{"esxi":true,"hosts":[{}],"machines":[],"switches":[{}]}"#,
    ] {
        assert!(Scenario::from_json(text).is_err(), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_and_leases_can_end_early_and_calls_take_time() {
    let mut short = scenario();
    short.session_calls_max = Some(2);
    short.latency_ms = 500;
    let bench = Bench::new(short).await;
    let start = tokio::time::Instant::now();
    let clock = "ServiceInstance:ServiceInstance";
    bench.ok(clock, "CurrentTime", "").await;
    bench.ok(clock, "CurrentTime", "").await;
    assert_eq!(start.elapsed().as_millis(), 1000);
    assert_eq!(bench.fault(clock, "CurrentTime", "").await, "NotAuthenticated");
    assert_eq!(bench.fault(clock, "CurrentTime", "").await, "NotAuthenticated");

    let mut idle = scenario();
    idle.no_data_timeout_s = Some(10);
    idle.lease_timeout_shown = Some(300_000_000);
    let bench = Bench::new(idle).await;
    let lease = bench.export("small").await;
    settle().await;
    assert_eq!(bench.get(&lease, "info").await["leaseTimeout"], 300_000_000);
    tokio::time::sleep(std::time::Duration::from_secs(9)).await;
    bench.ok(&lease, "HttpNfcLeaseProgress", "<percent>1</percent>").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let beat = "<percent>1</percent>";
    assert_eq!(bench.fault(&lease, "HttpNfcLeaseProgress", beat).await, "Timedout");
}

#[tokio::test(start_paused = true)]
async fn datastores_in_a_cluster_are_found_there_and_used() {
    let mut scenario = scenario();
    scenario.datastore_clusters = vec![DatastoreCluster::new("pod", &["datastore1"])];
    let bench = Bench::new(scenario).await;
    let find = async |path: &str| {
        let path = format!("<inventoryPath>{path}</inventoryPath>");
        bench.ok("SearchIndex:SearchIndex", "FindByInventoryPath", &path).await
    };
    assert_eq!(find("/DC0/datastore/pod").await["type"], "StoragePod");
    assert!(find("/DC0/datastore/datastore1").await.is_null());
    let datastore = find("/DC0/datastore/pod/datastore1").await["value"].clone();
    let cisp = "<cisp><locale/><deploymentOption/><entityName>in pod</entityName></cisp>";
    let spec = |kind: &str, id: &Value| {
        format!(
            "<ovfDescriptor>{}</ovfDescriptor><resourcePool type='ResourcePool'>resgroup-8\
             </resourcePool><datastore type='{kind}'>{}</datastore>{cisp}",
            escaped(PACKAGE),
            id.as_str().unwrap()
        )
    };
    let manager = "OvfManager:OvfManager";
    let result = bench.ok(manager, "CreateImportSpec", &spec("Datastore", &datastore)).await;
    let parameters = format!("{}<folder type='Folder'>group-v3</folder>", spec_text(&result));
    bench.ok("ResourcePool:resgroup-8", "ImportVApp", &parameters).await;
    settle().await;
    let used = bench.get(&bench.vm("in pod"), "datastore").await;
    assert_eq!(used[0]["value"], datastore);
    let pod = find("/DC0/datastore/pod").await["value"].clone();
    let fault = bench.fault(manager, "CreateImportSpec", &spec("StoragePod", &pod)).await;
    assert_eq!(fault, "InvalidArgument");
    let text = r#"{"datastore_clusters":[{"name":"a","datastores":["x"]}]}"#;
    assert!(Scenario::from_json(text).is_err());
}
