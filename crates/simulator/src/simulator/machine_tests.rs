//! Machines that are changed, become templates, report addresses; and what the user may not do.

use std::time::Duration;

use serde_json::{Value, json};

use super::tests::{Bench, scenario, settle, spec_text};
use super::{Scenario, inventory, lock};

const INDEX: &str = "SearchIndex:SearchIndex";
const RIGHTS: &str = "AuthorizationManager:AuthorizationManager";

impl Bench {
    /// State and fault of a task.
    async fn outcome(&self, task: &Value) -> (String, String) {
        let info = self.get(&format!("Task:{}", task["value"].as_str().unwrap()), "info").await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&info["state"]), text(&info["error"]["fault"]["_typeName"]))
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_reconfigured() {
    let bench = Bench::new(scenario()).await;
    let vm = bench.vm("small");
    let option = |key: &str, value: &str| {
        format!(
            "<extraConfig><key>{key}</key><value xsi:type='xsd:string' xmlns:xsd='http://www.w3.org/2001/XMLSchema'>{value}</value></extraConfig>"
        )
    };
    let spec = format!(
        "<spec><guestId>ubuntu64Guest</guestId><annotation>Größe</annotation><numCPUs>4</numCPUs>\
         <memoryMB>1024</memoryMB>{}{}</spec>",
        option("guestinfo.a", "1"),
        option("guestinfo.b", "2")
    );
    let task = bench.ok(&vm, "ReconfigVM_Task", &spec).await;
    assert_eq!(bench.outcome(&task).await.0, "success");
    let config = bench.get(&vm, "config").await;
    assert_eq!(
        (&config["hardware"]["numCPU"], &config["hardware"]["memoryMB"]),
        (&json!(4), &json!(1024))
    );
    assert_eq!(
        (&config["annotation"], &config["guestId"]),
        (&json!("Größe"), &json!("ubuntu64Guest"))
    );
    assert_eq!(bench.get(&vm, "summary.config.numCpu").await, 4);
    let spec = format!("<spec>{}{}</spec>", option("guestinfo.a", ""), option("guestinfo.b", "3"));
    bench.ok(&vm, "ReconfigVM_Task", &spec).await;
    let options = bench.get(&vm, "config.extraConfig").await;
    assert_eq!(options.as_array().unwrap().len(), 1, "{options}");
    assert_eq!(options[0]["value"]["_value"], "3");

    // What is changed goes into the descriptor, and back into a machine.
    let id = vm.split_once(':').unwrap().1;
    let parameters = format!("<obj type='VirtualMachine'>{id}</obj><cdp/>");
    let result = bench.ok("OvfManager:OvfManager", "CreateDescriptor", &parameters).await;
    let descriptor = result["ovfDescriptor"].as_str().unwrap();
    let spec = bench.import_spec_of(descriptor, "copy", "").await;
    assert_eq!(spec["importSpec"]["configSpec"]["numCPUs"], 4);

    bench.ok(&vm, "PowerOnVM_Task", "").await;
    for (spec, fault) in [
        ("<numCPUs>8</numCPUs>", "CpuHotPlugNotSupported"),
        ("<memoryMB>8</memoryMB>", "MemoryHotPlugNotSupported"),
        ("<name>x</name>", "NotSupported"),
    ] {
        let spec = format!("<spec>{spec}</spec>");
        assert_eq!(bench.fault(&vm, "ReconfigVM_Task", &spec).await, fault);
    }
    bench.ok(&vm, "ReconfigVM_Task", "<spec><numCPUs>4</numCPUs></spec>").await;
}

#[tokio::test(start_paused = true)]
async fn a_template_is_in_no_pool_and_does_not_start() {
    let bench = Bench::new(scenario()).await;
    let vm = bench.vm("small");
    assert_eq!(bench.fault(&bench.vm("running"), "MarkAsTemplate", "").await, "InvalidPowerState");
    assert_eq!(bench.fault(&bench.vm("vapp-db"), "MarkAsTemplate", "").await, "NotSupported");
    bench.ok(&vm, "MarkAsTemplate", "").await;
    assert_eq!(bench.get(&vm, "config.template").await, true);
    assert_eq!(bench.get(&vm, "summary.config.template").await, true);
    assert!(bench.get(&vm, "resourcePool").await.is_null());
    let id = vm.split_once(':').unwrap().1;
    let inside = bench.get("ResourcePool:resgroup-8", "vm").await.to_string();
    assert!(!inside.contains(&format!("\"{id}\"")), "{inside}");
    for method in ["MarkAsTemplate", "PowerOnVM_Task"] {
        assert_eq!(bench.fault(&vm, method, "").await, "NotSupported", "{method}");
    }
    let back = "<pool type='ResourcePool'>resgroup-8</pool>";
    bench.ok(&vm, "MarkAsVirtualMachine", back).await;
    assert_eq!(bench.get(&vm, "resourcePool").await["value"], "resgroup-8");
    assert_eq!(bench.fault(&vm, "MarkAsVirtualMachine", back).await, "InvalidState");
    bench.ok(&vm, "PowerOnVM_Task", "").await;

    // A pool elsewhere takes it to a host there.
    let other = bench.vm("database");
    bench.ok(&other, "MarkAsTemplate", "").await;
    let path = "<inventoryPath>/DC0/host/host2/Resources</inventoryPath>";
    let pool = bench.ok(INDEX, "FindByInventoryPath", path).await;
    let pool = format!("<pool type='ResourcePool'>{}</pool>", pool["value"].as_str().unwrap());
    bench.ok(&other, "MarkAsVirtualMachine", &pool).await;
    let path = "<inventoryPath>/DC0/host/host2/host2</inventoryPath>";
    let host = bench.ok(INDEX, "FindByInventoryPath", path).await;
    assert_eq!(bench.get(&other, "runtime.host").await["value"], host["value"]);
    let host = format!("HostSystem:{}", host["value"].as_str().unwrap());
    assert_eq!(bench.get(&host, "vm").await.as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_guest_reports_its_address_after_a_while() {
    let mut slow = scenario();
    slow.guest_ip_after_ms = Some(5000);
    let bench = Bench::new(slow).await;
    let running = bench.get(&bench.vm("running"), "guest.ipAddress").await;
    assert!(running.as_str().unwrap().starts_with("10."), "runs from the start: {running}");
    let vm = bench.vm("small");
    let find = async |method: &str, what: &str| {
        bench.ok(INDEX, method, &format!("{what}<vmSearch>true</vmSearch>")).await
    };
    bench.ok(&vm, "PowerOnVM_Task", "").await;
    tokio::time::sleep(Duration::from_millis(4990)).await;
    assert!(bench.get(&vm, "guest.ipAddress").await.is_null());
    tokio::time::sleep(Duration::from_millis(20)).await;
    let address = bench.get(&vm, "guest.ipAddress").await;
    assert_ne!(address, running);
    assert_eq!(bench.get(&vm, "summary.guest.ipAddress").await, address);
    let guest = bench.get(&vm, "guest").await;
    assert_eq!(guest["net"][0]["ipAddress"][0], address);
    assert_eq!(guest["toolsRunningStatus"], "guestToolsRunning");
    let ip = format!("<ip>{}</ip>", address.as_str().unwrap());
    assert_eq!(find("FindByIp", &ip).await["value"], vm.split_once(':').unwrap().1);
    assert_eq!(find("FindByDnsName", "<dnsName>SMALL</dnsName>").await["type"], "VirtualMachine");
    bench.ok(&vm, "PowerOffVM_Task", "").await;
    assert!(bench.get(&vm, "guest.ipAddress").await.is_null());
    assert!(find("FindByIp", &ip).await.is_null());
    assert!(find("FindByIp", "<ip/>").await.is_null());
    let host = "<dnsName>host1</dnsName><vmSearch>false</vmSearch>";
    assert_eq!(bench.ok(INDEX, "FindByDnsName", host).await["type"], "HostSystem");

    let silent = Scenario::from_json(r#"{"guest_ip_after_ms":null}"#).unwrap();
    let bench = Bench::new(silent).await;
    bench.ok(&bench.vm("small"), "PowerOnVM_Task", "").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    for name in ["small", "running"] {
        let status = bench.get(&bench.vm(name), "guest.toolsRunningStatus").await;
        assert_eq!(status, "guestToolsNotRunning", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_privilege_is_told_and_denied() {
    let mut poor = scenario();
    poor.missing_privileges = ["VApp.Export", "Network.Assign", "VirtualMachine.Config.CPUCount"]
        .map(str::to_owned)
        .into();
    let bench = Bench::new(poor).await;
    let vm = bench.vm("small");
    let fault = bench.call(&vm, "ExportVm", "").await.unwrap_err();
    let fault = fault.localized()["fault"].clone();
    assert_eq!(
        (&fault["_typeName"], &fault["privilegeId"]),
        (&json!("NoPermission"), &json!("VApp.Export"))
    );
    assert_eq!(fault["object"]["value"], vm.split_once(':').unwrap().1);
    assert_eq!(fault["missingPrivileges"][0]["privilegeIds"], json!(["VApp.Export"]));
    let vapp =
        bench.ok(INDEX, "FindByInventoryPath", "<inventoryPath>/DC0/vm/vapp0</inventoryPath>");
    let vapp = format!("VirtualApp:{}", vapp.await["value"].as_str().unwrap());
    assert_eq!(bench.fault(&vapp, "ExportVApp", "").await, "NoPermission");
    let cpus = "<spec><numCPUs>3</numCPUs></spec>";
    assert_eq!(bench.fault(&vm, "ReconfigVM_Task", cpus).await, "NoPermission");
    bench.ok(&vm, "ReconfigVM_Task", "<spec><memoryMB>64</memoryMB></spec>").await;
    // An import goes, but not onto a network of one's choice.
    let network = inventory::networks(&lock(&bench.vcenter.world).objects)[0].0.id.clone();
    let spec = bench.import_spec("a", "").await;
    let parameters = format!("{}<folder type='Folder'>group-v3</folder>", spec_text(&spec));
    bench.ok("ResourcePool:resgroup-8", "ImportVApp", &parameters).await;
    settle().await;
    let datastore = bench.get("Folder:group-s5", "childEntity").await[0]["value"].clone();
    let parameters = format!(
        "<ovfDescriptor/><resourcePool type='ResourcePool'>resgroup-8</resourcePool>\
         <datastore type='Datastore'>{}</datastore><cisp><locale/><deploymentOption/><entityName/>\
         <networkMapping><name>a</name><network type='Network'>{network}</network></networkMapping></cisp>",
        datastore.as_str().unwrap()
    );
    let fault = bench.fault("OvfManager:OvfManager", "CreateImportSpec", &parameters).await;
    assert_eq!(fault, "NoPermission");

    let session = bench.get("SessionManager:SessionManager", "currentSession").await["key"].clone();
    let ask = |entity: &str| {
        format!(
            "<entity type='Folder'>{entity}</entity><sessionId>{}</sessionId>\
             <privId>VApp.Export</privId><privId>VApp.Import</privId><privId>System.View</privId>",
            session.as_str().unwrap()
        )
    };
    let told = bench.ok(RIGHTS, "HasPrivilegeOnEntities", &ask("group-v3")).await;
    let granted = told[0]["privAvailability"].as_array().unwrap().iter();
    let granted: Vec<&Value> = granted.map(|one| &one["isGranted"]).collect();
    assert_eq!(granted, [&json!(false), &json!(true), &json!(true)]);
    assert_eq!(told[0]["entity"]["value"], "group-v3");
    let told = bench.ok(RIGHTS, "HasPrivilegeOnEntity", &ask("group-v3")).await;
    assert_eq!(told, json!([false, true, true]));
    for (entity, fault) in [("group-v3", "InvalidArgument"), ("group-v99", "ManagedObjectNotFound")]
    {
        let ask = ask(entity);
        let ask =
            if entity == "group-v3" { ask.replace("<sessionId>", "<sessionId>x") } else { ask };
        assert_eq!(bench.fault(RIGHTS, "HasPrivilegeOnEntities", &ask).await, fault);
    }
    let user = "<entities type='Folder'>group-v3</entities><userName>administrator@vsphere.local</userName>";
    let told = bench.ok(RIGHTS, "FetchUserPrivilegeOnEntities", user).await;
    let names = told[0]["privileges"].as_array().unwrap();
    assert!(names.contains(&json!("VApp.Import")) && !names.contains(&json!("VApp.Export")));
    let other = user.replace("administrator", "nobody");
    assert_eq!(bench.fault(RIGHTS, "FetchUserPrivilegeOnEntities", &other).await, "NotFound");
    assert!(Scenario::from_json(r#"{"missing_privileges":["VApp.Exprot"]}"#).is_err());
}
