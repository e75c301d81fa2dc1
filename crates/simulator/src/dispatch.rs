//! From a call to what it does.

mod vapp;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock;
use crate::collector::{self, Reader};
use crate::fault::Fault;
use crate::inventory::{self, fixed};
use crate::lease;
use crate::lock::lock;
use crate::network;
use crate::object::{Missing, Moref, complete};
use crate::ovf;
use crate::pull;
use crate::rights;
use crate::scenario::ApiVersion;
use crate::session::{self, Client, Session, Wire};
use crate::soap::{Call, FETCH, unknown_method};
use crate::task;
use crate::types;
use crate::vcenter::Vcenter;
use crate::view;
use crate::vm::unescape_name;
use crate::world::World;

/// Who calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// How it speaks.
    pub(crate) wire: Wire,
    /// The session's cookie or token, if one was sent.
    pub(crate) cookie: Option<String>,
    /// The other end.
    pub(crate) client: Client,
    /// Whether it speaks 9.0.0.0 or newer, and so knows the fields that came with it.
    pub(crate) knows_9: bool,
}

impl Caller {
    fn session<'a>(&self, world: &'a mut World) -> Option<&'a Session> {
        world.sessions.find(self.wire, self.cookie.as_deref()?)
    }
}

/// What a call gave.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// The result; `null` for none.
    pub(crate) value: Value,
    /// The cookie or token of a session that was opened.
    pub(crate) cookie: Option<String>,
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        Self { value, cookie: None }
    }
}

/// Answers one call.
///
/// # Errors
///
/// The fault of the call.
pub(crate) async fn call(
    vcenter: &Arc<Vcenter>,
    caller: &Caller,
    call: &Call,
) -> Result<Reply, Fault> {
    let mut reply = answer(vcenter, caller, call).await?;
    if let Some(method) = types::method(&call.method) {
        reply.value = complete(reply.value, method.result);
    }
    if !caller.knows_9 && lock(&vcenter.world).scenario.api_version >= ApiVersion::V9_0_0_0 {
        Missing::since_9().strip(&mut reply.value);
    }
    Ok(reply)
}

async fn answer(vcenter: &Arc<Vcenter>, caller: &Caller, call: &Call) -> Result<Reply, Fault> {
    let latency = Duration::from_millis(lock(&vcenter.world).scenario.latency_ms);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    if call.method == "Login" {
        return login(&mut lock(&vcenter.world), caller, call);
    }
    if call.method == "RetrieveServiceContent" {
        let world = lock(&vcenter.world);
        check_target(&world, &call.this, "ServiceInstance", &call.method)?;
        return Ok(world.objects.value(&fixed::service_instance(), "content").clone().into());
    }
    let who = {
        let mut world = lock(&vcenter.world);
        let session = caller.session(&mut world);
        let session = session.ok_or_else(|| session::not_authenticated(&call.this.value()))?;
        let who = Who { key: session.key.clone(), user: session.user.clone() };
        let calls = session.calls();
        if world.scenario.session_calls_max.is_some_and(|most| calls > most) {
            end_session(&mut world, &who.key);
            return Err(session::not_authenticated(&call.this.value()));
        }
        if world.objects.visible(&call.this, Some(&who.key)).is_none() {
            return Err(Fault::not_found(&call.this));
        }
        let receiver = receiver(&call.method);
        if let Some(receiver) = receiver {
            check_target(&world, &call.this, receiver, &call.method)?;
        }
        rights::check(&world, call)?;
        if let Some(place) = world.refused.iter().position(|method| *method == call.method) {
            world.refused.swap_remove(place);
            return Err(Fault::new("GenericVmConfigFault", "It does not go now."));
        }
        who
    };
    match call.method.as_str() {
        "WaitForUpdatesEx" | "WaitForUpdates" | "CheckForUpdates" => {
            wait(vcenter, &who, call).await.map(Reply::from)
        }
        "ExportSnapshot" | "ExportVApp" | "ExportVm" | "ImportVApp" => {
            lease_call(vcenter, &who, call).map(Reply::from)
        }
        "HttpNfcLeaseProbeUrls" => {
            pull::probe(&vcenter.world, &call.this, &call.arguments).await.map(Reply::from)
        }
        "HttpNfcLeasePullFromUrls_Task" => {
            let world = &mut lock(&vcenter.world);
            let begun = pull::begin(world, &who.user, &call.this, &call.arguments)?;
            let task = begun.task().value();
            vcenter.pull(begun);
            Ok(task.into())
        }
        _ => {
            let reply = simple(&mut lock(&vcenter.world), &who, call).map(Reply::from);
            vcenter.wait_for_guests();
            vcenter.wait_for_failovers();
            reply
        }
    }
}

/// The session that calls.
#[derive(Debug)]
struct Who {
    key: String,
    user: String,
}

fn login(world: &mut World, caller: &Caller, call: &Call) -> Result<Reply, Fault> {
    check_target(world, &call.this, "SessionManager", &call.method)?;
    let is_open = caller.session(world).is_some();
    let text = |name: &str| call.arguments[name].as_str().unwrap_or_default();
    let scenario = &world.scenario;
    // As a real server: a session that is logged in cannot log in again.
    if is_open || text("userName") != scenario.username || text("password") != scenario.password {
        return Err(session::invalid_login());
    }
    let user = scenario.username.clone();
    let (cookie, session) = world.sessions.open(caller.wire, &user, caller.client.clone());
    Ok(Reply { value: session.value(), cookie: Some(cookie) })
}

/// Type of the objects that have a method; `None` if several have it or nobody.
pub(crate) fn receiver(method: &str) -> Option<&'static str> {
    Some(match method {
        "CurrentTime" | "RetrieveServiceContent" => "ServiceInstance",
        "Logout" | "SessionIsActive" | "TerminateSession" => "SessionManager",
        "CancelRetrievePropertiesEx"
        | "CancelWaitForUpdates"
        | "CheckForUpdates"
        | "ContinueRetrievePropertiesEx"
        | "CreateFilter"
        | "CreatePropertyCollector"
        | "DestroyPropertyCollector"
        | "RetrieveProperties"
        | "RetrievePropertiesEx"
        | "WaitForUpdates"
        | "WaitForUpdatesEx" => "PropertyCollector",
        "DestroyPropertyFilter" => "PropertyFilter",
        "CreateContainerView" | "CreateListView" => "ViewManager",
        "DestroyView" => "ManagedObjectView",
        "ModifyListView" | "ResetListView" => "ListView",
        "FindAllByUuid"
        | "FindByDnsName"
        | "FindByInventoryPath"
        | "FindByIp"
        | "FindByUuid"
        | "FindChild" => "SearchIndex",
        "CancelTask" => "Task",
        "CreateDescriptor" | "CreateImportSpec" | "ParseDescriptor" | "ValidateHost" => {
            "OvfManager"
        }
        "CreateFolder" => "Folder",
        "FetchDVPortKeys" | "FetchDVPorts" | "RefreshDVPortState" => "DistributedVirtualSwitch",
        "QueryDvsByUuid" => "DistributedVirtualSwitchManager",
        "startDpuFailover" => "HostNetworkSystem",
        "ImportVApp" => "ResourcePool",
        "ExportVApp" | "PowerOffVApp_Task" | "PowerOnVApp_Task" => "VirtualApp",
        "FetchUserPrivilegeOnEntities" | "HasPrivilegeOnEntities" | "HasPrivilegeOnEntity" => {
            "AuthorizationManager"
        }
        "CreateSnapshot_Task"
        | "ExportVm"
        | "MarkAsTemplate"
        | "MarkAsVirtualMachine"
        | "PowerOffVM_Task"
        | "PowerOnVM_Task"
        | "ReconfigVM_Task"
        | "RemoveAllSnapshots_Task"
        | "UnregisterVM" => "VirtualMachine",
        "Destroy_Task" | "Rename_Task" => "ManagedEntity",
        "ExportSnapshot" | "RemoveSnapshot_Task" => "VirtualMachineSnapshot",
        lease if lease.starts_with("HttpNfcLease") => "HttpNfcLease",
        _ => return None,
    })
}

fn check_target(world: &World, this: &Moref, kind: &str, method: &str) -> Result<(), Fault> {
    if !types::is_a(&this.kind, kind) {
        return Err(unknown_method(this, method));
    }
    // Unauthenticated calls come here too: they may learn that a fixed object is not there.
    if kind == "ServiceInstance" || kind == "SessionManager" {
        return match world.objects.get(this) {
            Some(_) => Ok(()),
            None => Err(Fault::not_found(this)),
        };
    }
    Ok(())
}

fn simple(world: &mut World, who: &Who, call: &Call) -> Result<Value, Fault> {
    let (this, arguments, key) = (&call.this, &call.arguments, who.key.as_str());
    let text = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
    match call.method.as_str() {
        FETCH => collector::fetch(world, Reader { key }, this, &text("prop")),
        "CurrentTime" => Ok(json!(clock::now())),
        "Logout" => Ok(end_session(world, key)),
        "SessionIsActive" => Ok(json!(world.sessions.is_open(&text("sessionID")))),
        "TerminateSession" => {
            for key in
                arguments["sessionId"].as_array().into_iter().flatten().filter_map(Value::as_str)
            {
                end_session(world, key);
            }
            Ok(Value::Null)
        }
        "RetrieveProperties" => {
            let found = collector::retrieve(world, Reader { key }, &arguments["specSet"])?;
            Ok(if found.is_empty() { Value::Null } else { Value::Array(found) })
        }
        "RetrievePropertiesEx" => {
            let found = collector::retrieve(world, Reader { key }, &arguments["specSet"])?;
            let at_most = arguments["options"]["maxObjects"].as_u64();
            Ok(collector::page(
                world,
                key,
                found,
                at_most.and_then(|most| usize::try_from(most).ok()),
            ))
        }
        "ContinueRetrievePropertiesEx" => collector::next_page(world, key, &text("token")),
        "CancelRetrievePropertiesEx" => {
            world.remainders.remove(&text("token"));
            Ok(Value::Null)
        }
        "CreatePropertyCollector" => Ok(collector::create(world, key)),
        "DestroyPropertyCollector" => collector::destroy(world, key, this),
        "CreateFilter" => collector::create_filter(world, key, this, arguments),
        "DestroyPropertyFilter" => Ok(collector::destroy_filter(world, this)),
        "CancelWaitForUpdates" => Ok(collector::cancel_wait(world, key, this)),
        "CreateContainerView" => view::create_container(world, key, arguments),
        "CreateListView" => view::create_list(world, key, arguments),
        "ModifyListView" => Ok(view::change_list(world, this, false, arguments)),
        "ResetListView" => Ok(view::change_list(world, this, true, arguments)),
        "DestroyView" => {
            world.objects.remove(this);
            Ok(Value::Null)
        }
        "FindByInventoryPath" => Ok(view::find_by_path(&world.objects, &text("inventoryPath"))),
        "FindChild" => {
            let entity = Moref::from_value(&arguments["entity"]).unwrap_or_else(fixed::root_folder);
            Ok(view::find_child(&world.objects, &entity, &text("name")))
        }
        "FindByUuid" => {
            Ok(view::find_by_uuid(world, arguments).into_iter().next().unwrap_or_default())
        }
        "FindAllByUuid" => Ok(Value::Array(view::find_by_uuid(world, arguments))),
        "FindByDnsName" => Ok(view::find_by_guest(world, "hostName", arguments)),
        "FindByIp" => Ok(view::find_by_guest(world, "ipAddress", arguments)),
        "FetchUserPrivilegeOnEntities" | "HasPrivilegeOnEntities" | "HasPrivilegeOnEntity" => {
            rights::call(world, &call.method, arguments)
        }
        "CreateImportSpec" => ovf::create_import_spec(world, arguments),
        "CreateDescriptor" => ovf::create_descriptor(world, arguments),
        "ParseDescriptor" => Ok(ovf::parse_descriptor(arguments)),
        "ValidateHost" => ovf::validate_host(world, arguments),
        "CreateFolder" => {
            if world.scenario.esxi {
                return Err(Fault::new("NotSupported", "A host without vCenter has no folders."));
            }
            let name = text("name");
            match inventory::child(&world.objects, this, &name) {
                Some(other) => Err(inventory::duplicate_name(&name, &other)),
                None => Ok(inventory::add_folder(world, this, &name).value()),
            }
        }
        "CancelTask" => cancel_task(world, this),
        "FetchDVPortKeys" | "FetchDVPorts" | "QueryDvsByUuid" | "RefreshDVPortState"
        | "startDpuFailover" => network::call(world, this, &call.method, arguments),
        method if method.starts_with("HttpNfcLease") => lease::call(world, this, method, arguments),
        _ if this.kind == "VirtualApp" => vapp::call(world, who, call),
        _ => vm_call(world, who, call),
    }
}

fn end_session(world: &mut World, key: &str) -> Value {
    world.sessions.close(key);
    collector::forget(world, key);
    Value::Null
}

/// Operations on machines and snapshots.  None takes time here.
fn vm_call(world: &mut World, who: &Who, call: &Call) -> Result<Value, Fault> {
    let (this, arguments) = (&call.this, &call.arguments);
    let text = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
    match call.method.as_str() {
        "PowerOnVM_Task" | "PowerOffVM_Task" => {
            lease::check_free(world, this)?;
            check_no_template(world, this)?;
            let on = call.method == "PowerOnVM_Task";
            let id = if on { "VirtualMachine.powerOn" } else { "VirtualMachine.powerOff" };
            Ok(task::run(world, this, id, &who.user, |world| power(world, this, on)))
        }
        "ReconfigVM_Task" => {
            lease::check_free(world, this)?;
            check_no_template(world, this)?;
            let devices = network::reconfigured(world, this, &arguments["spec"])?;
            Ok(task::run(world, this, "VirtualMachine.reconfigure", &who.user, |world| {
                let is_on = world.vm(this)?.powered_on;
                network::reattach(world, this, devices, is_on)?;
                world.vm_mut(this)?.change(&arguments["spec"]);
                world.refresh(&this.id);
                Ok(Value::Null)
            }))
        }
        "MarkAsTemplate" => {
            lease::check_free(world, this)?;
            check_no_template(world, this)?;
            check_off(world, this)?;
            if world.vm(this)?.folder.is_none() {
                return Err(Fault::new("NotSupported", "A machine in a vApp is no template."));
            }
            inventory::mark_as_template(world, this).map(|()| Value::Null)
        }
        "MarkAsVirtualMachine" => mark_as_machine(world, this, arguments),
        "Destroy_Task" => {
            if this.kind != "VirtualMachine" {
                return Err(Fault::new(
                    "NotSupported",
                    "Only virtual machines and vApps can be destroyed here.",
                ));
            }
            lease::check_free(world, this)?;
            let id = "VirtualMachine.destroy";
            Ok(task::run(world, this, id, &who.user, |world| {
                check_off(world, this)?;
                inventory::unregister(world, this);
                Ok(Value::Null)
            }))
        }
        "UnregisterVM" => {
            lease::check_free(world, this)?;
            check_off(world, this)?;
            inventory::unregister(world, this);
            Ok(Value::Null)
        }
        "Rename_Task" => {
            if this.kind != "VirtualMachine" {
                return Err(Fault::new(
                    "NotSupported",
                    "Only virtual machines can be renamed here.",
                ));
            }
            lease::check_free(world, this)?;
            let name = unescape_name(&text("newName"));
            Ok(task::run(world, this, "VirtualMachine.rename", &who.user, |world| {
                let vm = world.vm(this)?;
                let around = vm.folder.clone().unwrap_or_else(|| vm.pool.clone());
                match inventory::child(&world.objects, &around, &name) {
                    Some(other) if other != *this => {
                        return Err(inventory::duplicate_name(&name, &other));
                    }
                    _ => {
                        let vm = world.vm_mut(this)?;
                        vm.name.clone_from(&name);
                        vm.touch();
                    }
                }
                if let Some(vapp) = world.vapps.get_mut(&around.id) {
                    vapp.rename_child(this, &name);
                }
                world.refresh(&this.id);
                Ok(Value::Null)
            }))
        }
        "CreateSnapshot_Task" => {
            lease::check_free(world, this)?;
            let (name, description) = (text("name"), text("description"));
            Ok(task::run(world, this, "VirtualMachine.createSnapshot", &who.user, |world| {
                let moref = world.new_moref("VirtualMachineSnapshot", "snapshot");
                world.vm_mut(this)?.take_snapshot(moref.clone(), &name, &description);
                world.refresh(&this.id);
                Ok(moref.value())
            }))
        }
        "RemoveSnapshot_Task" => {
            let vm = world.objects.reference(this, "vm").ok_or_else(|| Fault::not_found(this))?;
            lease::check_free(world, &vm)?;
            let with_children = arguments["removeChildren"].as_bool().unwrap_or(false);
            let id = "VirtualMachineSnapshot.remove";
            Ok(task::run(world, &vm, id, &who.user, |world| {
                remove_snapshots(world, &vm, Some(this), with_children)
            }))
        }
        "RemoveAllSnapshots_Task" => {
            lease::check_free(world, this)?;
            let id = "VirtualMachine.removeAllSnapshots";
            Ok(task::run(world, this, id, &who.user, |world| {
                remove_snapshots(world, this, None, true)
            }))
        }
        method => Err(unknown_method(this, method)),
    }
}

fn power(world: &mut World, this: &Moref, on: bool) -> Result<Value, Fault> {
    let vm = world.vm_mut(this)?;
    if vm.powered_on == on {
        let state = if on { "poweredOn" } else { "poweredOff" };
        return Err(Fault::new("InvalidPowerState", "The machine is in that state already.")
            .with("requestedState", state)
            .with("existingState", state));
    }
    vm.powered_on = on;
    vm.guest_ip = None;
    // A start writes into the configuration, too.
    vm.touch();
    let devices = vm.devices.clone();
    if let Err(fault) = network::reattach(world, this, devices, !on) {
        world.vm_mut(this)?.powered_on = !on;
        return Err(fault);
    }
    if on {
        world.booting.push(this.clone());
    }
    Ok(Value::Null)
}

/// A template is neither started nor changed.
fn check_no_template(world: &World, this: &Moref) -> Result<(), Fault> {
    match world.vm(this)?.is_template {
        true => Err(Fault::new("NotSupported", "The machine is a template.")),
        false => Ok(()),
    }
}

fn mark_as_machine(world: &mut World, this: &Moref, arguments: &Value) -> Result<Value, Fault> {
    if !world.vm(this)?.is_template {
        return Err(Fault::invalid_state());
    }
    let pool = Moref::from_value(&arguments["pool"]).filter(|pool| pool.kind == "ResourcePool");
    let pool = pool.ok_or_else(|| Fault::invalid_argument("pool"))?;
    let owner = world.objects.reference(&pool, "owner");
    let owner = owner.ok_or_else(|| Fault::not_found(&pool))?;
    // Where it is, unless the pool is elsewhere.
    let current = world.vm(this)?.host;
    let wanted = Moref::from_value(&arguments["host"]);
    let mut hosts = world.hosts.iter().enumerate().filter(|(_, host)| host.compute == owner);
    let host = match &wanted {
        Some(wanted) => hosts.find(|(_, host)| host.moref == *wanted),
        None => hosts.clone().find(|(place, _)| *place == current).or_else(|| hosts.next()),
    };
    let host = host.map(|(place, _)| place).ok_or_else(|| Fault::invalid_argument("host"))?;
    inventory::mark_as_machine(world, this, &pool, host).map(|()| Value::Null)
}

fn check_off(world: &World, this: &Moref) -> Result<(), Fault> {
    if world.vm(this)?.powered_on {
        return Err(Fault::new("InvalidPowerState", "The machine is running.")
            .with("requestedState", "poweredOff")
            .with("existingState", "poweredOn"));
    }
    Ok(())
}

fn remove_snapshots(
    world: &mut World,
    vm: &Moref,
    first: Option<&Moref>,
    with_children: bool,
) -> Result<Value, Fault> {
    let known = world.vm_mut(vm)?;
    known.touch();
    let snapshots = &mut known.snapshots;
    let from = first.map_or(Some(0), |first| snapshots.iter().position(|one| one.moref == *first));
    let Some(from) = from else { return Ok(Value::Null) };
    let to = if with_children { snapshots.len() } else { from + 1 };
    let gone: Vec<Moref> = snapshots.drain(from..to).map(|snapshot| snapshot.moref).collect();
    for snapshot in gone {
        world.objects.remove(&snapshot);
    }
    world.refresh(&vm.id);
    Ok(Value::Null)
}

/// `Task.CancelTask`: of a task behind a lease it ends the lease.
fn cancel_task(world: &mut World, task: &Moref) -> Result<Value, Fault> {
    let info = world.objects.value(task, "info");
    if info["state"] != "running" {
        return Err(Fault::invalid_state());
    }
    let pulls = world.leases.values().filter_map(|lease| lease.pull.as_ref());
    if let Some(pull) = pulls.into_iter().find(|pull| pull.task == *task) {
        pull.cancel.cancel();
        return Ok(Value::Null);
    }
    let lease =
        world.leases.values().find(|lease| lease.task == *task).map(|lease| lease.moref.clone());
    let Some(lease) = lease else {
        return Err(Fault::new("NotSupported", "The task cannot be cancelled."));
    };
    let fault = Fault::new("RequestCanceled", "The task was canceled by a user.");
    lease::end(world, &lease.id, Err(fault));
    Ok(Value::Null)
}

fn lease_call(vcenter: &Arc<Vcenter>, who: &Who, call: &Call) -> Result<Value, Fault> {
    let mut world = lock(&vcenter.world);
    let caller = (who.key.as_str(), who.user.as_str());
    let (lease, purpose) = match call.method.as_str() {
        "ExportVApp" => lease::export_vapp(&mut world, caller, &call.this)?,
        "ExportVm" => lease::export_vm(&mut world, caller, &call.this)?,
        "ExportSnapshot" => lease::export_snapshot(&mut world, caller, &call.this)?,
        _ => lease::import(&mut world, caller, &call.this, &call.arguments)?,
    };
    drop(world);
    vcenter.drive(&lease, purpose);
    Ok(lease.value())
}

/// `WaitForUpdatesEx` and its elders.
async fn wait(vcenter: &Arc<Vcenter>, who: &Who, call: &Call) -> Result<Value, Fault> {
    let version = call.arguments["version"].as_str().unwrap_or_default();
    let limit = match call.method.as_str() {
        "CheckForUpdates" => Some(0),
        "WaitForUpdates" => None,
        _ => call.arguments["options"]["maxWaitSeconds"].as_u64(),
    };
    let key = who.key.as_str();
    let (number, mut changes) = {
        let mut world = lock(&vcenter.world);
        let number = collector::begin_wait(&mut world, key, &call.this, version)?;
        (number, world.objects.watch())
    };
    let look = async {
        loop {
            changes.borrow_and_update();
            let answer = collector::updates(&mut lock(&vcenter.world), key, &call.this, number)?;
            if !answer.is_null() {
                return Ok(answer);
            }
            if changes.changed().await.is_err() {
                return Ok(Value::Null);
            }
        }
    };
    let stopped = || Err(Fault::new("RequestCanceled", "The server is stopping."));
    tokio::select! {
        biased;
        answer = look => answer,
        () = sleep_for(limit) => Ok(Value::Null),
        () = vcenter.stop.cancelled() => stopped(),
    }
}

/// Sleeps for so many seconds, or for ever.
async fn sleep_for(limit_s: Option<u64>) {
    match limit_s {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds.min(WAIT_S_MAX))).await,
        None => std::future::pending().await,
    }
}

/// Longest `maxWaitSeconds`: a client that asks for more gets an empty answer after it.
const WAIT_S_MAX: u64 = 30 * 60;
