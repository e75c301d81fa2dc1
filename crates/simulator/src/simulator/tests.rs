//! Calls as text, answers as text: what a client sees, on a paused clock and without a network,
//! and a few over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::*;
use crate::appliance::Appliance;
use crate::client;
use crate::scenario::{Data, DataKind, Direction, DiskSpec, FaultKind};
use crate::types;
use crate::world::LeaseState;

/// A vCenter without sockets and a session in it.
pub(super) struct Bench {
    pub(super) vcenter: Arc<Vcenter>,
    pub(super) caller: Caller,
    _store: TempDir,
}

impl Bench {
    pub(super) async fn new(scenario: Scenario) -> Self {
        let store = tempfile::tempdir().unwrap();
        let scenario = Arc::new(scenario);
        let endpoints: Vec<_> = scenario
            .hosts
            .iter()
            .map(|host| (format!("{}:443", host.name), "AA:BB".to_owned()))
            .collect();
        let script = Arc::new(Script::new(&scenario.faults));
        let tickets = Arc::new(Tickets::default());
        let path = store.path().to_owned();
        let world = make_world(scenario, tickets, script, path, &endpoints).unwrap();
        let vcenter = Arc::new(Vcenter::new(world));
        let mut bench = Self { vcenter, caller: Caller::default(), _store: store };
        bench.caller = bench.login("simulated").await.unwrap();
        bench
    }

    pub(super) async fn login(&self, password: &str) -> Result<Caller, Fault> {
        let user = "administrator@vsphere.local";
        let body = format!(
            "<Login xmlns='urn:vim25'><_this type='SessionManager'>SessionManager</_this>\
             <userName>{user}</userName><password>{password}</password></Login>"
        );
        let call = soap::read(Some(ACTION), envelope(&body).as_bytes())?;
        let reply = dispatch::call(&self.vcenter, &Caller::default(), &call).await?;
        Ok(Caller { cookie: reply.cookie, ..Caller::default() })
    }

    /// Calls `method` on `this` (`Type:id`) as `caller`; the result as XML text and as a value.
    pub(super) async fn call_as(
        &self,
        caller: &Caller,
        this: &str,
        method: &str,
        parameters: &str,
    ) -> Result<Value, Fault> {
        let (kind, id) = this.split_once(':').unwrap();
        let body = format!(
            "<{method} xmlns='urn:vim25'><_this type='{kind}'>{id}</_this>{parameters}</{method}>"
        );
        let call = soap::read(Some(ACTION), envelope(&body).as_bytes())?;
        let reply = dispatch::call(&self.vcenter, caller, &call).await?;
        // Every answer must be XML that this very reader takes.
        let text = soap::answer(method, &reply.value);
        assert!(quick_xml_reads(&text), "{text}");
        Ok(reply.value)
    }

    pub(super) async fn call(
        &self,
        this: &str,
        method: &str,
        parameters: &str,
    ) -> Result<Value, Fault> {
        self.call_as(&self.caller, this, method, parameters).await
    }

    pub(super) async fn ok(&self, this: &str, method: &str, parameters: &str) -> Value {
        self.call(this, method, parameters).await.unwrap()
    }

    pub(super) async fn fault(&self, this: &str, method: &str, parameters: &str) -> String {
        self.call(this, method, parameters).await.unwrap_err().kind().to_owned()
    }

    /// One property, unboxed.
    pub(super) async fn get(&self, object: &str, path: &str) -> Value {
        let value = self.ok(object, "Fetch", &format!("<prop>{path}</prop>")).await;
        value.get("_value").cloned().unwrap_or(value)
    }

    pub(super) fn vm(&self, name: &str) -> String {
        let vm = state::vms(&lock(&self.vcenter.world)).into_iter().find(|vm| vm.name == name);
        vm.map(|vm| format!("VirtualMachine:{}", vm.id)).unwrap()
    }

    pub(super) fn lease(&self) -> LeaseRecord {
        state::leases(&lock(&self.vcenter.world)).pop().unwrap()
    }

    pub(super) async fn export(&self, name: &str) -> String {
        let lease = self.ok(&self.vm(name), "ExportVm", "").await;
        format!("HttpNfcLease:{}", lease["value"].as_str().unwrap())
    }

    /// Takes the import spec of a package with one disk and begins the import.
    pub(super) async fn import(&self, name: &str) -> Result<String, Fault> {
        let result = self.import_spec(name, "").await;
        assert!(result.get("error").is_none(), "{result}");
        let config = spec_text(&result);
        let parameters = format!("{config}<folder type='Folder'>group-v3</folder>");
        let lease = self.call("ResourcePool:resgroup-8", "ImportVApp", &parameters).await?;
        Ok(format!("HttpNfcLease:{}", lease["value"].as_str().unwrap()))
    }

    pub(super) async fn import_spec(&self, name: &str, more: &str) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let mut machine = Machine::new("package");
        machine.networks = vec!["VM Network".to_owned()];
        machine.disks =
            vec![DiskSpec::new(1 << 20).with_data(Data::new(DataKind::Text, 1 << 16, 1))];
        let package = Appliance::new(machine).write_folder(folder.path()).unwrap();
        let descriptor = std::fs::read_to_string(package.path()).unwrap();
        self.import_spec_of(&descriptor, name, more).await
    }

    pub(super) async fn import_spec_of(&self, descriptor: &str, name: &str, more: &str) -> Value {
        let more = format!("<entityName>{name}</entityName>{more}");
        self.import_spec_with(descriptor, "<deploymentOption/>", &more).await
    }

    /// The same with `option`, and with what follows it among the parameters.
    pub(super) async fn import_spec_with(
        &self,
        descriptor: &str,
        option: &str,
        more: &str,
    ) -> Value {
        let descriptor = descriptor.replace('&', "&amp;").replace('<', "&lt;");
        let datastore =
            inventory::children(&lock(&self.vcenter.world).objects, &fixed::datastore_folder());
        let parameters = format!(
            "<ovfDescriptor>{descriptor}</ovfDescriptor>\
             <resourcePool type='ResourcePool'>resgroup-8</resourcePool>\
             <datastore type='Datastore'>{}</datastore>\
             <cisp><locale/>{option}{more}</cisp>",
            datastore[0].id
        );
        self.ok("OvfManager:OvfManager", "CreateImportSpec", &parameters).await
    }
}

/// The import spec as a client sends it back: out by our writer, in by our reader.
pub(super) fn spec_text(result: &Value) -> String {
    let text = soap::answer("CreateImportSpec", result);
    let start = text.find("<importSpec").unwrap();
    let end = text.find("</importSpec>").unwrap();
    format!("{}</spec>", &text[start..end]).replacen("<importSpec", "<spec", 1)
}

pub(super) fn envelope(body: &str) -> String {
    format!(
        "<Envelope xmlns='http://schemas.xmlsoap.org/soap/envelope/' \
         xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'><Body>{body}</Body></Envelope>"
    )
}

pub(super) fn quick_xml_reads(text: &str) -> bool {
    let mut reader = quick_xml::NsReader::from_str(text);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Eof) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

pub(super) fn scenario() -> Scenario {
    Scenario { lease_timeout_s: 60, ..Scenario::default() }
}

/// Lets the tasks beside the calls do what they can do now.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

const ACTION: &str = "urn:vim25/8.0.3.0";

#[tokio::test(start_paused = true)]
async fn a_session_is_needed_and_its_key_is_not_its_cookie() {
    let bench = Bench::new(scenario()).await;
    let nobody = Caller::default();
    let vm = bench.vm("small");
    let fault = bench.call_as(&nobody, &vm, "ExportVm", "").await.unwrap_err();
    assert_eq!(fault.kind(), "NotAuthenticated");
    assert_eq!(bench.login("wrong").await.unwrap_err().kind(), "InvalidLogin");
    let session = bench.get("SessionManager:SessionManager", "currentSession").await;
    let cookie = bench.caller.cookie.clone().unwrap();
    assert_ne!(session["key"], cookie.as_str());
    bench.ok("SessionManager:SessionManager", "Logout", "").await;
    assert_eq!(bench.fault(&vm, "ExportVm", "").await, "NotAuthenticated");
}

#[tokio::test(start_paused = true)]
async fn leases_and_collectors_belong_to_their_session() {
    let bench = Bench::new(scenario()).await;
    let other = bench.login("simulated").await.unwrap();
    let lease = bench.export("small").await;
    settle().await;
    let key = bench.get("SessionManager:SessionManager", "currentSession").await["key"].clone();
    assert!(lease.contains(&format!("session[{}]", key.as_str().unwrap())), "{lease}");
    let pc = bench.ok("PropertyCollector:propertyCollector", "CreatePropertyCollector", "").await;
    let pc = format!("PropertyCollector:{}", pc["value"].as_str().unwrap());
    for (this, method) in [
        (&lease, "HttpNfcLeaseComplete"),
        (&lease, "HttpNfcLeaseAbort"),
        (&lease, "HttpNfcLeaseGetManifest"),
        (&pc, "WaitForUpdatesEx"),
    ] {
        let fault = bench.call_as(&other, this, method, "").await.unwrap_err();
        assert_eq!(fault.kind(), "ManagedObjectNotFound", "{method}");
    }
    let fault = bench.call_as(&other, &lease, "Fetch", "<prop>state</prop>").await.unwrap_err();
    assert_eq!(fault.kind(), "ManagedObjectNotFound");
    assert_eq!(bench.get(&lease, "state").await, "ready");
}

#[test]
fn without_a_version_there_are_no_leases() {
    let lease = "<HttpNfcLeaseComplete xmlns='urn:vim25'><_this type='HttpNfcLease'>x</_this></HttpNfcLeaseComplete>";
    let read = |action: Option<&str>| soap::read(action, envelope(lease).as_bytes());
    assert!(read(Some("\"urn:vim25/8.0.3.0\"")).is_ok());
    assert!(read(Some("urn:vim25/9.9.9.9")).is_ok());
    for action in [None, Some(""), Some("urn:vim25"), Some("urn:vim25/2.5"), Some("nonsense")] {
        assert!(read(action).is_err(), "{action:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_holds_its_machine_until_it_is_completed() {
    let bench = Bench::new(scenario()).await;
    let vm = bench.vm("small");
    let lease = bench.export("small").await;
    settle().await;
    assert_eq!(bench.get(&lease, "state").await, "ready");
    let info = bench.get(&lease, "info").await;
    let urls = info["deviceUrl"].as_array().unwrap();
    assert_eq!(
        urls[0]["key"],
        format!("/{}/VirtualLsiLogicController0:0", &vm["VirtualMachine:".len()..])
    );
    assert_eq!(urls[0]["importKey"], "");
    assert!(urls[0]["url"].as_str().unwrap().starts_with("https://host0:443/nfc/52"), "{info}");
    assert_eq!(urls[1]["targetId"], "small.nvram");
    assert_eq!(urls[1]["fileSize"], 8684);
    assert_eq!(info["totalDiskCapacityInKB"], 64 << 10);

    for method in ["PowerOnVM_Task", "Destroy_Task", "ExportVm", "UnregisterVM"] {
        assert_eq!(bench.fault(&vm, method, "").await, "TaskInProgress", "{method}");
    }
    bench.ok(&lease, "HttpNfcLeaseProgress", "<percent>40</percent>").await;
    assert_eq!(bench.get(&lease, "transferProgress").await, 40);
    assert_eq!(bench.ok(&lease, "HttpNfcLeaseGetManifest", "").await, Value::Null);
    bench.ok(&lease, "HttpNfcLeaseComplete", "").await;
    assert_eq!(bench.get(&lease, "state").await, "done");
    assert_eq!(bench.get(&lease, "info").await, Value::Null);
    for method in ["HttpNfcLeaseComplete", "HttpNfcLeaseAbort", "HttpNfcLeaseGetManifest"] {
        assert_eq!(bench.fault(&lease, method, "").await, "InvalidState", "{method}");
    }
    let task = bench.get(&vm, "recentTask").await[0]["value"].as_str().unwrap().to_owned();
    assert_eq!(bench.get(&format!("Task:{task}"), "info.state").await, "success");
    bench.ok(&vm, "PowerOnVM_Task", "").await;
    assert_eq!(bench.fault(&vm, "ExportVm", "").await, "InvalidPowerState");

    // After a while nobody can read it any more.
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(bench.fault(&lease, "Fetch", "<prop>state</prop>").await, "ManagedObjectNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_lease_lives_as_long_as_it_is_renewed() {
    let bench = Bench::new(scenario()).await;
    let lease = bench.export("small").await;
    settle().await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        bench.ok(&lease, "HttpNfcLeaseProgress", "<percent>0</percent>").await;
    }
    assert_eq!(bench.get(&lease, "state").await, "ready");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(bench.get(&lease, "state").await, "error");
    assert_eq!(bench.get(&lease, "error").await["fault"]["_typeName"], "Timedout");
    for method in ["HttpNfcLeaseComplete", "HttpNfcLeaseAbort", "HttpNfcLeaseGetManifest"] {
        assert_eq!(bench.fault(&lease, method, "").await, "Timedout", "{method}");
    }
    let record = bench.lease();
    assert_eq!((record.heartbeats, record.state), (5, LeaseState::Error));
    bench.ok(&bench.vm("small"), "PowerOnVM_Task", "").await;
}

#[tokio::test(start_paused = true)]
async fn an_import_that_ends_in_error_leaves_nothing() {
    let bench = Bench::new(scenario()).await;
    let before = state::vms(&lock(&bench.vcenter.world)).len();
    let fault = "<fault><fault xsi:type='FileFault'><file>disk-0.vmdk</file></fault>\
                 <localizedMessage>gone</localizedMessage></fault>";
    for how in ["abort", "cancel", "time out"] {
        let lease = bench.import("new").await.unwrap();
        settle().await;
        assert_eq!(bench.get(&lease, "state").await, "ready");
        let info = bench.get(&lease, "info").await;
        assert_eq!(info["deviceUrl"][0]["importKey"], "/new/VirtualLsiLogicController0:0");
        let vm = bench.vm("new");
        assert_eq!(bench.fault(&vm, "PowerOnVM_Task", "").await, "TaskInProgress");
        let record = bench.lease();
        match how {
            "abort" => bench.ok(&lease, "HttpNfcLeaseAbort", fault).await,
            "cancel" => bench.ok(&format!("Task:{}", record.task), "CancelTask", "").await,
            _ => {
                tokio::time::sleep(Duration::from_secs(61)).await;
                Value::Null
            }
        };
        assert_eq!(bench.get(&lease, "state").await, "error", "{how}");
        assert_eq!(state::vms(&lock(&bench.vcenter.world)).len(), before, "{how}");
        assert_eq!(bench.fault(&vm, "Fetch", "<prop>name</prop>").await, "ManagedObjectNotFound");
        let task = state::tasks(&lock(&bench.vcenter.world)).pop().unwrap();
        assert_eq!(task.description_id, "ResourcePool.ImportVAppLRO");
        assert_eq!(task.state, "error");
        let expected = match how {
            "abort" => "FileFault",
            "cancel" => "RequestCanceled",
            _ => "Timedout",
        };
        assert_eq!(task.fault.unwrap().kind, expected);
    }
    let leases = state::leases(&lock(&bench.vcenter.world));
    assert!(leases.iter().any(|l| l.fault.as_ref().is_some_and(|f| f.reason == "disk-0.vmdk")));
}

#[tokio::test(start_paused = true)]
async fn a_completed_import_stays() {
    let bench = Bench::new(scenario()).await;
    let lease = bench.import("new").await.unwrap();
    settle().await;
    bench.ok(&lease, "HttpNfcLeaseComplete", "").await;
    let vm = bench.vm("new");
    assert_eq!(bench.get(&vm, "summary.config.numVirtualDisks").await, 1);
    let task = bench.lease().task;
    let result = bench.get(&format!("Task:{task}"), "info.result").await;
    assert_eq!(result["value"], vm["VirtualMachine:".len()..]);
    // The name is taken now, and that shows in the lease.
    let lease = bench.import("new").await.unwrap();
    settle().await;
    assert_eq!(bench.get(&lease, "error").await["fault"]["_typeName"], "DuplicateName");
}

#[tokio::test(start_paused = true)]
async fn import_checks_where_the_machine_goes() {
    let bench = Bench::new(scenario()).await;
    let spec = spec_text(&bench.import_spec("new", "").await);
    let host = lock(&bench.vcenter.world).hosts[1].moref.id.clone();
    for (place, fault) in [
        ("", "NotSupported"),
        ("<folder type='Folder'>group-h4</folder>", "InvalidFolder"),
        ("<folder type='Folder'>group-v99</folder>", "ManagedObjectNotFound"),
        (
            "<folder type='Folder'>group-v3</folder><host type='HostSystem'>host-99</host>",
            "ManagedObjectNotFound",
        ),
    ] {
        let parameters = format!("{spec}{place}");
        assert_eq!(
            bench.fault("ResourcePool:resgroup-8", "ImportVApp", &parameters).await,
            fault,
            "{place}"
        );
    }
    let place = format!(
        "{spec}<folder type='Folder'>group-v3</folder><host type='HostSystem'>{host}</host>"
    );
    let lease = bench.ok("ResourcePool:resgroup-8", "ImportVApp", &place).await;
    settle().await;
    let lease = format!("HttpNfcLease:{}", lease["value"].as_str().unwrap());
    let info = bench.get(&lease, "info").await;
    assert!(info["deviceUrl"][0]["url"].as_str().unwrap().contains("//host1:443/"), "{info}");
}

#[tokio::test(start_paused = true)]
async fn initializing_takes_its_time_and_can_fail() {
    let mut scenario = scenario();
    scenario.initialize_delay_ms = 10_000;
    let bench = Bench::new(scenario.clone()).await;
    let lease = bench.export("small").await;
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    assert_eq!(bench.get(&lease, "state").await, "initializing");
    assert_eq!(bench.get(&lease, "initializeProgress").await, 50);
    assert_eq!(bench.fault(&lease, "HttpNfcLeaseComplete", "").await, "InvalidState");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(bench.get(&lease, "state").await, "ready");

    scenario.faults = vec![crate::scenario::Fault::new(
        Direction::Export,
        FaultKind::InitializeError("no space".to_owned()),
    )];
    let bench = Bench::new(scenario).await;
    let lease = bench.export("small").await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(bench.get(&lease, "error").await["fault"]["reason"], "no space");
    let lease = bench.export("small").await;
    bench.ok(&lease, "HttpNfcLeaseAbort", "").await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(bench.get(&lease, "state").await, "error");
}

#[tokio::test(start_paused = true)]
async fn the_scenario_can_refuse_heartbeats_lose_leases_and_let_them_vanish() {
    let mut scenario = scenario();
    let fault = |kind| crate::scenario::Fault::new(Direction::Export, kind);
    scenario.faults = vec![
        fault(FaultKind::HeartbeatRefused).with_times(2),
        fault(FaultKind::LeaseLostAfterMs(5_000)),
    ];
    scenario.lease_vanishes = true;
    let bench = Bench::new(scenario).await;
    let lease = bench.export("small").await;
    settle().await;
    let beat = "<percent>1</percent>";
    for _ in 0..2 {
        assert_eq!(bench.fault(&lease, "HttpNfcLeaseProgress", beat).await, "SystemError");
    }
    bench.ok(&lease, "HttpNfcLeaseProgress", beat).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(bench.fault(&lease, "HttpNfcLeaseProgress", beat).await, "ManagedObjectNotFound");
    let record = bench.lease();
    assert_eq!((record.heartbeats, record.heartbeats_refused), (1, 2));
    assert_eq!(record.fault.unwrap().kind, "SystemError");
}

#[tokio::test(start_paused = true)]
async fn checksum_types_are_checked() {
    let bench = Bench::new(scenario()).await;
    let lease = bench.export("small").await;
    settle().await;
    let key = bench.get(&lease, "info").await["deviceUrl"][0]["key"].as_str().unwrap().to_owned();
    let pair = |key: &str, value: &str| {
        format!(
            "<deviceUrlsToChecksumTypes><key>{key}</key><value>{value}</value></deviceUrlsToChecksumTypes>"
        )
    };
    let method = "HttpNfcLeaseSetManifestChecksumType";
    bench.ok(&lease, method, &pair(&key, "sha256")).await;
    assert_eq!(bench.fault(&lease, method, &pair("/none", "sha256")).await, "InvalidArgument");
    assert_eq!(bench.fault(&lease, method, &pair(&key, "md5")).await, "InvalidArgument");
}

/// A collector with one filter on the state of a lease.
async fn watch_lease(bench: &Bench, lease: &str) -> String {
    let pc = bench.ok("PropertyCollector:propertyCollector", "CreatePropertyCollector", "").await;
    let pc = format!("PropertyCollector:{}", pc["value"].as_str().unwrap());
    add_filter(bench, &pc, lease).await;
    pc
}

async fn add_filter(bench: &Bench, pc: &str, lease: &str) {
    let filter = format!(
        "<spec><propSet><type>HttpNfcLease</type><pathSet>state</pathSet><pathSet>info</pathSet></propSet>\
         <objectSet><obj type='HttpNfcLease'>{}</obj></objectSet></spec><partialUpdates>false</partialUpdates>",
        &lease["HttpNfcLease:".len()..]
    );
    bench.ok(pc, "CreateFilter", &filter).await;
}

#[tokio::test(start_paused = true)]
async fn updates_tell_what_changed_and_repeat_what_was_lost() {
    let mut scenario = scenario();
    scenario.initialize_delay_ms = 5_000;
    let bench = Bench::new(scenario).await;
    let lease = bench.export("small").await;
    let pc = watch_lease(&bench, &lease).await;
    let first = bench.ok(&pc, "WaitForUpdatesEx", "<version></version>").await;
    let object = &first["filterSet"][0]["objectSet"][0];
    assert_eq!(object["kind"], "enter");
    let change = |object: &Value, name: &str| {
        let all = object["changeSet"].as_array().unwrap();
        all.iter().find(|change| change["name"] == name).cloned().unwrap()
    };
    assert_eq!(change(object, "state")["val"]["_value"], "initializing");
    assert_eq!(change(object, "info")["val"], Value::Null);

    let version = |set: &Value| format!("<version>{}</version>", set["version"].as_str().unwrap());
    let quick = format!("{}<options><maxWaitSeconds>1</maxWaitSeconds></options>", version(&first));
    assert_eq!(bench.ok(&pc, "WaitForUpdatesEx", &quick).await, Value::Null);
    let second = bench.ok(&pc, "WaitForUpdatesEx", &version(&first)).await;
    let object = &second["filterSet"][0]["objectSet"][0];
    assert_eq!(object["kind"], "modify");
    assert_eq!(change(object, "state")["val"]["_value"], "ready");
    assert_eq!(change(object, "info")["val"]["leaseTimeout"], 60);

    // The answer was lost: the same question gets the same news.
    let again = bench.ok(&pc, "WaitForUpdatesEx", &version(&first)).await;
    assert_eq!(again["filterSet"], second["filterSet"]);
    bench
        .ok(
            &pc,
            "WaitForUpdatesEx",
            &format!("{}<options><maxWaitSeconds>0</maxWaitSeconds></options>", version(&again)),
        )
        .await;
    assert_eq!(
        bench.fault(&pc, "WaitForUpdatesEx", &version(&first)).await,
        "InvalidCollectorVersion"
    );
    assert_eq!(
        bench.fault(&pc, "WaitForUpdatesEx", "<version>x</version>").await,
        "InvalidCollectorVersion"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_wakes_for_new_filters_and_ends_by_cancel() {
    let bench = Arc::new(Bench::new(scenario()).await);
    let lease = bench.export("small").await;
    settle().await;
    let pc = watch_lease(&bench, &lease).await;
    let first = bench.ok(&pc, "WaitForUpdatesEx", "").await;
    let version = format!("<version>{}</version>", first["version"].as_str().unwrap());
    let mut waits = JoinSet::new();
    let wait = |version: String| {
        let (bench, pc) = (Arc::clone(&bench), pc.clone());
        async move { bench.call(&pc, "WaitForUpdatesEx", &version).await }
    };
    waits.spawn(wait(version.clone()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let other = bench.export("database").await;
    settle().await;
    add_filter(&bench, &pc, &other).await;
    let second = waits.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(second["filterSet"][0]["objectSet"][0]["kind"], "enter");

    let version = format!("<version>{}</version>", second["version"].as_str().unwrap());
    waits.spawn(wait(version.clone()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    bench.ok(&pc, "CancelWaitForUpdates", "").await;
    assert_eq!(waits.join_next().await.unwrap().unwrap().unwrap_err().kind(), "RequestCanceled");

    waits.spawn(wait(version));
    settle().await;
    bench.ok(&pc, "DestroyPropertyCollector", "").await;
    assert!(waits.join_next().await.unwrap().unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn traversals_views_and_pages_lead_through_the_inventory() {
    let bench = Bench::new(scenario()).await;
    // A selection set that refers to itself, as all clients use for folders.
    let spec = "<specSet><propSet><type>ManagedEntity</type><pathSet>name</pathSet></propSet>\
        <objectSet><obj type='Folder'>group-d1</obj><skip>false</skip>\
        <selectSet xsi:type='TraversalSpec'><name>folders</name><type>Folder</type><path>childEntity</path>\
        <skip>false</skip><selectSet><name>folders</name></selectSet><selectSet><name>vms</name></selectSet></selectSet>\
        <selectSet xsi:type='TraversalSpec'><name>vms</name><type>Datacenter</type><path>vmFolder</path>\
        <skip>false</skip><selectSet><name>folders</name></selectSet></selectSet></objectSet></specSet>";
    let all = bench.ok("PropertyCollector:propertyCollector", "RetrieveProperties", spec).await;
    let names: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["propSet"][0]["val"]["_value"].as_str().unwrap())
        .collect();
    for name in ["Datacenters", "DC0", "vm", "small", "daily", "with-snapshot"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let pages = format!("{spec}<options><maxObjects>4</maxObjects></options>");
    let mut page =
        bench.ok("PropertyCollector:propertyCollector", "RetrievePropertiesEx", &pages).await;
    let mut count = page["objects"].as_array().unwrap().len();
    assert_eq!(count, 4);
    while let Some(token) = page["token"].as_str() {
        let token = format!("<token>{token}</token>");
        page = bench
            .ok("PropertyCollector:propertyCollector", "ContinueRetrievePropertiesEx", &token)
            .await;
        count += page["objects"].as_array().unwrap().len();
    }
    assert_eq!(count, names.len());

    let container = "<container type='Folder'>group-d1</container><type>VirtualMachine</type><recursive>true</recursive>";
    let view = bench.ok("ViewManager:ViewManager", "CreateContainerView", container).await;
    let view = format!("ContainerView:{}", view["value"].as_str().unwrap());
    assert_eq!(bench.get(&view, "view").await.as_array().unwrap().len(), 6);
    bench.ok(&bench.vm("small"), "Destroy_Task", "").await;
    assert_eq!(bench.get(&view, "view").await.as_array().unwrap().len(), 5);
    bench.ok(&view, "DestroyView", "").await;
    assert_eq!(bench.fault(&view, "Fetch", "<prop>view</prop>").await, "ManagedObjectNotFound");

    let find = "<inventoryPath>/DC0/vm/backup/daily/with-snapshot</inventoryPath>";
    let found = bench.ok("SearchIndex:SearchIndex", "FindByInventoryPath", find).await;
    assert_eq!(found["type"], "VirtualMachine");
    let spec = spec.replace("<pathSet>name</pathSet>", "<pathSet>nothing</pathSet>");
    let fault =
        bench.fault("PropertyCollector:propertyCollector", "RetrieveProperties", &spec).await;
    assert_eq!(fault, "InvalidProperty");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_package_stands_in_the_result() {
    let bench = Bench::new(scenario()).await;
    let kinds = |result: &Value| -> Vec<String> {
        assert!(result.get("importSpec").is_none_or(Value::is_null), "{result}");
        let errors = result["error"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|e| e["fault"]["_typeName"].as_str().unwrap().to_owned()).collect()
    };
    let network = inventory::networks(&lock(&bench.vcenter.world).objects)[0].0.id.clone();
    let mapping = |name: &str, id: &str| {
        format!(
            "<networkMapping><name>{name}</name><network type='Network'>{id}</network></networkMapping>"
        )
    };
    for garbage in ["", "x", "<a/>", "<a:Envelope/>"] {
        assert_eq!(
            kinds(&bench.import_spec_of(garbage, "a", "").await),
            ["OvfXmlFormat"],
            "{garbage}"
        );
    }
    let odd = bench.import_spec("a", "<diskProvisioning>monolithicSparse</diskProvisioning>").await;
    assert_eq!(kinds(&odd), ["OvfUnsupportedDiskProvisioning"]);
    let odd = bench.import_spec("a", &mapping("Nowhere", &network)).await;
    assert_eq!(kinds(&odd), ["OvfNetworkMappingNotSupported"]);

    let good = bench.import_spec("a b", &mapping("VM Network", &network)).await;
    assert_eq!(good["fileItem"][0]["deviceId"], "/a b/VirtualLsiLogicController0:0");
    assert_eq!(good["fileItem"][0]["cimType"], 17);
    assert_eq!(good["importSpec"]["configSpec"]["name"], "a b");
}

#[tokio::test(start_paused = true)]
async fn a_descriptor_is_written_that_can_be_read() {
    let bench = Bench::new(scenario()).await;
    let vm = bench.vm("database");
    let id = &vm["VirtualMachine:".len()..];
    let files: String = (0..3)
        .map(|unit| {
            format!(
                "<ovfFiles><deviceId>/{id}/ParaVirtualSCSIController0:{unit}</deviceId>\
                 <path>d{unit}.vmdk</path><size>{unit}</size><populatedSize>7</populatedSize></ovfFiles>"
            )
        })
        .collect();
    let parameters = |files: &str| {
        format!("<obj type='VirtualMachine'>{id}</obj><cdp>{files}<name>other</name></cdp>")
    };
    let result = bench.ok("OvfManager:OvfManager", "CreateDescriptor", &parameters(&files)).await;
    let text = result["ovfDescriptor"].as_str().unwrap();
    let envelope = ovftransfer_ovf::Envelope::parse(text).unwrap();
    assert_eq!(envelope.disks().len(), 3);
    assert_eq!(envelope.references()[2].href().as_str(), "d2.vmdk");
    assert_eq!(envelope.systems()[0].name(), Some("other"));
    let odd = files.replace("Controller0:1", "Controller0:9");
    let fault = bench.fault("OvfManager:OvfManager", "CreateDescriptor", &parameters(&odd)).await;
    assert_eq!(fault, "InvalidArgument");
}

#[tokio::test(start_paused = true)]
async fn the_state_fits_the_schema() {
    let bench = Bench::new(scenario()).await;
    bench.export("small").await;
    bench.import("new").await.unwrap();
    settle().await;
    let world = lock(&bench.vcenter.world);
    for (moref, object) in world.objects.iter() {
        for (name, value) in &object.properties {
            assert!(types::property(&moref.kind, name).is_some(), "{moref}.{name}");
            check(value, &format!("{moref}.{name}"));
        }
    }
}

/// Every data object is of a known type, has no unknown field and no mandatory one missing.
fn check(value: &Value, at: &str) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| check(item, at)),
        Value::Object(fields) => {
            let name = value["_typeName"].as_str().unwrap_or_else(|| panic!("{at}: no type"));
            if name == "ManagedObjectReference" || fields.contains_key("_value") {
                return;
            }
            let known = types::data(name).unwrap_or_else(|| panic!("{at}: {name}"));
            for (field, inner) in fields.iter().filter(|(field, _)| *field != "_typeName") {
                assert!(known.field(field).is_some(), "{at}: {name}.{field}");
                check(inner, &format!("{at}.{field}"));
            }
            // This one has some forty flags, nearly all of which nobody reads.
            for field in known.fields.iter().filter(|_| name != "VirtualMachineCapability") {
                let is_there = field.kind.optional || fields.contains_key(field.name);
                assert!(is_there, "{at}: {name}.{} is missing", field.name);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_method_of_the_schema_is_in_the_documentation() {
    let (schema, text) = (include_str!("../../schema/vim.txt"), include_str!("../lib.rs"));
    let methods = schema.split("[method]").nth(1).unwrap();
    for method in
        methods.lines().filter_map(|line| line.split(':').next()).filter(|m| !m.is_empty())
    {
        assert!(text.contains(&format!("`{method}`")), "{method} is not in the table");
    }
}

async fn post(simulator: &Simulator, headers: &str, body: &str) -> String {
    let address: SocketAddr = simulator.url().strip_prefix("https://").unwrap().parse().unwrap();
    let request = format!(
        "POST /sdk HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client::raw(address, &simulator.identity, &request).await
}

#[tokio::test]
async fn no_malformed_request_stops_the_server() {
    let simulator = Simulator::builder().start().await.unwrap();
    let address: SocketAddr = simulator.url().strip_prefix("https://").unwrap().parse().unwrap();
    let action = "SOAPAction: urn:vim25/8.0.3.0\r\n";
    let this = "<_this type='ServiceInstance'>ServiceInstance</_this>";
    let deep = "<a>".repeat(100_000);
    let bodies = [
        String::new(),
        "\u{feff}".to_owned(),
        "{}".to_owned(),
        deep,
        "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'bb'>]><a>&b;</a>".to_owned(),
        envelope(""),
        envelope("<Login/>"),
        envelope("<Login xmlns='urn:vim25'/>"),
        envelope("<Login xmlns='urn:vim25'><_this>SessionManager</_this></Login>"),
        envelope("<Login xmlns='urn:vim25'><_this type='Folder'>group-d1</_this></Login>"),
        envelope(&format!("<Unheard xmlns='urn:vim25'>{this}</Unheard>")),
        envelope(&format!("<CurrentTime xmlns='urn:vim25'>{this}<more/></CurrentTime>")),
        envelope(&format!("<RetrieveServiceContent xmlns='urn:vim25'>{this}")),
        envelope("<x:RetrieveServiceContent/>"),
    ];
    for body in bodies {
        let answer = post(&simulator, action, &body).await;
        assert!(answer.starts_with("HTTP/1.1 500"), "{body:.60}: {answer}");
        assert!(answer.contains("<soapenv:Fault>"), "{answer}");
    }
    for text in [
        "GET",
        "\0\0\0",
        "GET / HTTP/1.1\r\n\r\n",
        "POST /sdk HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nshort",
    ] {
        let mut waits = JoinSet::new();
        let (identity, text) = (simulator.identity.clone(), text.to_owned());
        waits.spawn(async move { client::raw(address, &identity, &text).await });
        // Those that are not whole are left alone; they must not keep anybody else waiting.
        tokio::time::timeout(Duration::from_millis(50), waits.join_next()).await.ok();
    }
    let good = envelope(&format!(
        "<RetrieveServiceContent xmlns='urn:vim25'>{this}</RetrieveServiceContent>"
    ));
    let answer = post(&simulator, action, &good).await;
    assert!(answer.contains("<apiType>VirtualCenter</apiType>"), "{answer}");
    let bad =
        post(&simulator, "", &envelope(&format!("<ExportVm xmlns='urn:vim25'>{this}</ExportVm>")))
            .await;
    assert!(bad.contains("InvalidRequestFault"), "{bad}");
    simulator.stop().await;
}

#[tokio::test]
async fn the_cookie_is_quoted_and_nothing_is_left_on_the_disk() {
    let simulator = Simulator::builder().start().await.unwrap();
    let store = simulator._store.path().to_owned();
    let login = "<Login xmlns='urn:vim25'><_this type='SessionManager'>SessionManager</_this>\
                 <userName>administrator@vsphere.local</userName><password>simulated</password></Login>";
    let answer = post(&simulator, "SOAPAction: urn:vim25/8.0.3.0\r\n", &envelope(login)).await;
    let header = answer.lines().find(|line| line.to_lowercase().starts_with("set-cookie")).unwrap();
    assert!(header.contains("vmware_soap_session=\""), "{header}");
    let cookie = header.split('"').nth(1).unwrap();
    assert!(!answer.contains(&format!("<key>{cookie}")));
    assert_eq!(simulator.sessions().len(), 1);
    assert!(store.exists());
    drop(simulator);
    assert!(!store.exists());
}
