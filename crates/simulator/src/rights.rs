//! Privileges: which a method needs, and what `AuthorizationManager` says about them.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::object::Moref;
use crate::scenario::PRIVILEGES;
use crate::soap::Call;
use crate::vm::network_of;
use crate::world::World;

/// Whether the user may make this call.
///
/// # Errors
///
/// `NoPermission` with the object and the first privilege that is missing there.
pub(crate) fn check(world: &World, call: &Call) -> Result<(), Fault> {
    let missing = &world.scenario.missing_privileges;
    if missing.is_empty() {
        return Ok(());
    }
    let lacks = |(_, privilege): &(Moref, &str)| missing.iter().any(|name| name == privilege);
    match needed(call).into_iter().find(lacks) {
        Some((object, privilege)) => Err(no_permission(&object, privilege)),
        None => Ok(()),
    }
}

fn no_permission(object: &Moref, privilege: &str) -> Fault {
    let entity = json!({ "entity": object.value(), "privilegeIds": [privilege] });
    Fault::new("NoPermission", "Permission to perform this operation was denied.")
        .with("object", object.value())
        .with("privilegeId", privilege)
        .with("missingPrivileges", json!([entity]))
}

/// The privileges that a call needs, and on what, after the API reference.
fn needed(call: &Call) -> Vec<(Moref, &'static str)> {
    let arguments = &call.arguments;
    let on = |value: &Value, privilege| Moref::from_value(value).map(|moref| (moref, privilege));
    let this = |privilege| vec![(call.this.clone(), privilege)];
    match call.method.as_str() {
        "CancelTask" => this("Global.CancelTask"),
        "CreateDescriptor" => on(&arguments["obj"], "VApp.Export").into_iter().collect(),
        "CreateFolder" => this("Folder.Create"),
        "CreateImportSpec" => {
            let mapping = arguments["cisp"]["networkMapping"].as_array().into_iter().flatten();
            on(&arguments["resourcePool"], "VApp.Import")
                .into_iter()
                .chain(on(&arguments["datastore"], "Datastore.AllocateSpace"))
                .chain(mapping.filter_map(|pair| on(&pair["network"], "Network.Assign")))
                .collect()
        }
        "CreateSnapshot_Task" => this("VirtualMachine.State.CreateSnapshot"),
        "Destroy_Task" if call.this.kind == "VirtualApp" => this("VApp.Delete"),
        "Destroy_Task" => this("VirtualMachine.Inventory.Delete"),
        "ExportSnapshot" | "ExportVApp" | "ExportVm" => this("VApp.Export"),
        "FetchDVPortKeys" | "FetchDVPorts" | "RefreshDVPortState" => this("System.Read"),
        "HttpNfcLeasePullFromUrls_Task" => this("VApp.PullFromUrls"),
        "ImportVApp" => {
            let mut all = this("VApp.Import");
            all.extend(on(&arguments["folder"], "VApp.Import"));
            all
        }
        "MarkAsTemplate" => this("VirtualMachine.Provisioning.MarkAsTemplate"),
        "MarkAsVirtualMachine" => this("VirtualMachine.Provisioning.MarkAsVM"),
        "PowerOffVApp_Task" => this("VApp.PowerOff"),
        "PowerOffVM_Task" => this("VirtualMachine.Interact.PowerOff"),
        "PowerOnVApp_Task" => this("VApp.PowerOn"),
        "PowerOnVM_Task" => this("VirtualMachine.Interact.PowerOn"),
        "ReconfigVM_Task" => {
            let spec = &arguments["spec"];
            let set = RECONFIGURE.iter().filter(|(name, _)| !spec[*name].is_null());
            let set = set.map(|(_, privilege)| (call.this.clone(), *privilege));
            let changes = spec["deviceChange"].as_array().into_iter().flatten();
            let networks = changes.filter_map(|change| network_of(&change["device"]));
            set.chain(networks.map(|network| (network, "Network.Assign"))).collect()
        }
        "RemoveAllSnapshots_Task" | "RemoveSnapshot_Task" => {
            this("VirtualMachine.State.RemoveSnapshot")
        }
        "Rename_Task" => this("VirtualMachine.Config.Rename"),
        "UnregisterVM" => this("VirtualMachine.Inventory.Unregister"),
        "startDpuFailover" => this("Host.Config.Network"),
        _ => Vec::new(),
    }
}

/// Answers a call on `AuthorizationManager`.
///
/// # Errors
///
/// `ManagedObjectNotFound` for an entity that is not there, `InvalidArgument` for another session
/// than one that is open, `NotFound` for another user than the only one.
pub(crate) fn call(world: &World, method: &str, arguments: &Value) -> Result<Value, Fault> {
    let text = |name: &str| arguments[name].as_str().unwrap_or_default();
    let entities = |name: &str| -> Result<Vec<Moref>, Fault> {
        let all =
            arguments[name].as_array().map_or(vec![&arguments[name]], |all| all.iter().collect());
        let all: Vec<Moref> = all.into_iter().filter_map(Moref::from_value).collect();
        match all.iter().find(|moref| world.objects.get(moref).is_none()) {
            Some(missing) => Err(Fault::not_found(missing)),
            None => Ok(all),
        }
    };
    if method == "FetchUserPrivilegeOnEntities" {
        if text("userName") != world.scenario.username {
            return Err(Fault::new("NotFound", "There is no such user."));
        }
        let granted: Vec<&str> = granted(world).collect();
        let result =
            |entity: Moref| json!({ "entity": entity.value(), "privileges": granted.clone() });
        return Ok(entities("entities")?.into_iter().map(result).collect());
    }
    if !world.sessions.is_open(text("sessionId")) {
        return Err(Fault::invalid_argument("sessionId"));
    }
    let wanted = arguments["privId"].as_array().into_iter().flatten();
    let wanted: Vec<&str> = wanted.filter_map(Value::as_str).collect();
    let has = |name: &str| granted(world).any(|one| one == name);
    let found = entities("entity")?;
    if method == "HasPrivilegeOnEntity" {
        return Ok(wanted.into_iter().map(has).collect());
    }
    let result = |entity: Moref| {
        let each = wanted.iter().map(|name| json!({ "privId": name, "isGranted": has(name) }));
        json!({ "entity": entity.value(), "privAvailability": each.collect::<Value>() })
    };
    Ok(found.into_iter().map(result).collect())
}

/// What the user may do, everywhere.
pub(crate) fn granted(world: &World) -> impl Iterator<Item = &'static str> {
    let missing = &world.scenario.missing_privileges;
    let needed = PRIVILEGES.into_iter();
    let needed = needed.filter(|name| !missing.iter().any(|one| one == name));
    ALWAYS.into_iter().chain(needed)
}

/// Privileges that everybody has who is logged in.
const ALWAYS: [&str; 2] = ["System.Anonymous", "System.View"];

/// Fields of a configuration and what changing them needs.
const RECONFIGURE: [(&str, &str); 7] = [
    ("annotation", "VirtualMachine.Config.Annotation"),
    ("deviceChange", "VirtualMachine.Config.EditDevice"),
    ("extraConfig", "VirtualMachine.Config.AdvancedConfig"),
    ("guestId", "VirtualMachine.Config.Settings"),
    ("memoryMB", "VirtualMachine.Config.Memory"),
    ("numCPUs", "VirtualMachine.Config.CPUCount"),
    ("numCoresPerSocket", "VirtualMachine.Config.CPUCount"),
];
