//! Container views and list views, and what `SearchIndex` finds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::inventory::{children, fixed};
use crate::object::{Moref, Objects};
use crate::types;
use crate::vm::{Vm, escape_name, unescape_name};
use crate::world::World;

/// `ViewManager.CreateContainerView`.
pub(crate) fn create_container(
    world: &mut World,
    key: &str,
    arguments: &Value,
) -> Result<Value, Fault> {
    let container = Moref::from_value(&arguments["container"])
        .ok_or_else(|| Fault::invalid_argument("container"))?;
    if world.objects.visible(&container, Some(key)).is_none() {
        return Err(Fault::not_found(&container));
    }
    let view = World::new_session_moref(key, "ContainerView");
    let properties = json!({
        "container": container.value(),
        "type": arguments["type"],
        "recursive": arguments["recursive"].as_bool().unwrap_or(false),
    });
    world.objects.put(view.clone(), Some(key.to_owned()), properties);
    Ok(view.value())
}

/// `ViewManager.CreateListView`.
pub(crate) fn create_list(world: &mut World, key: &str, arguments: &Value) -> Result<Value, Fault> {
    let view = World::new_session_moref(key, "ListView");
    let members = arguments.get("obj").cloned().unwrap_or_else(|| json!([]));
    world.objects.put(view.clone(), Some(key.to_owned()), json!({ "view": members }));
    Ok(view.value())
}

/// `ListView.ModifyListView` and `ResetListView`.  Returns the references that lead nowhere.
pub(crate) fn change_list(
    world: &mut World,
    view: &Moref,
    is_reset: bool,
    arguments: &Value,
) -> Value {
    let morefs = |name: &str| -> Vec<Moref> {
        arguments[name].as_array().into_iter().flatten().filter_map(Moref::from_value).collect()
    };
    let (reset, add, remove) = (morefs("obj"), morefs("add"), morefs("remove"));
    let mut members = world.objects.references(view, "view");
    if is_reset {
        members.clear();
    }
    members.retain(|member| !remove.contains(member));
    let mut unresolved = Vec::new();
    for moref in reset.into_iter().chain(add) {
        if world.objects.get(&moref).is_none() {
            unresolved.push(moref.value());
        } else if !members.contains(&moref) {
            members.push(moref);
        }
    }
    world.objects.set(view, "view", members.iter().map(Moref::value).collect());
    Value::Array(unresolved)
}

/// What a container view contains now.
pub(crate) fn members(objects: &Objects, view: &Moref) -> Vec<Moref> {
    let Some(container) = objects.reference(view, "container") else { return Vec::new() };
    let recursive = objects.value(view, "recursive").as_bool().unwrap_or(false);
    let kinds = objects.value(view, "type").as_array().into_iter().flatten();
    let kinds: Vec<&str> = kinds.filter_map(Value::as_str).collect();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = children(objects, &container);
    open.reverse();
    while let Some(next) = open.pop() {
        if !seen.insert(next.clone()) {
            continue;
        }
        if kinds.is_empty() || kinds.iter().any(|kind| types::is_a(&next.kind, kind)) {
            found.push(next.clone());
        }
        if recursive {
            open.extend(children(objects, &next).into_iter().rev());
        }
    }
    found
}

/// `SearchIndex.FindByInventoryPath`.
pub(crate) fn find_by_path(objects: &Objects, path: &str) -> Value {
    let mut at = fixed::root_folder();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        match crate::inventory::child(objects, &at, name) {
            Some(child) => at = child,
            None => return Value::Null,
        }
    }
    at.value()
}

/// `SearchIndex.FindChild`: by name, and for machines also by address.
pub(crate) fn find_child(objects: &Objects, entity: &Moref, name: &str) -> Value {
    let escaped = escape_name(&unescape_name(name));
    let found = children(objects, entity).into_iter().find(|c| objects.text(c, "name") == escaped);
    found.map_or(Value::Null, |child| child.value())
}

/// `SearchIndex.FindByIp` and `FindByDnsName`: a machine by what its guest reports, or a host.
pub(crate) fn find_by_guest(world: &World, field: &str, arguments: &Value) -> Value {
    let wanted = arguments["ip"].as_str().or(arguments["dnsName"].as_str()).unwrap_or_default();
    if wanted.is_empty() {
        return Value::Null;
    }
    if !arguments["vmSearch"].as_bool().unwrap_or(true) {
        let found = world.hosts.iter().find(|host| field == "hostName" && host.name == wanted);
        return found.map_or(Value::Null, |host| host.moref.value());
    }
    let reports = |vm: &&Vm| {
        let guest = world.objects.value(&vm.moref, "guest");
        guest[field].as_str().is_some_and(|own| own.eq_ignore_ascii_case(wanted))
    };
    world.vms.values().find(reports).map_or(Value::Null, |vm| vm.moref.value())
}

/// `SearchIndex.FindAllByUuid`.
pub(crate) fn find_by_uuid(world: &World, arguments: &Value) -> Vec<Value> {
    let uuid = arguments["uuid"].as_str().unwrap_or_default();
    if !arguments["vmSearch"].as_bool().unwrap_or(true) {
        let is_host = |host: &&crate::world::HostEntry| {
            let summary = world.objects.value(&host.moref, "summary");
            summary["hardware"]["uuid"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(uuid))
        };
        return world.hosts.iter().filter(is_host).map(|host| host.moref.value()).collect();
    }
    let instance = arguments["instanceUuid"].as_bool().unwrap_or(false);
    let vms = world.vms.values().filter(|vm| {
        let own = if instance { &vm.instance_uuid } else { &vm.uuid };
        own.eq_ignore_ascii_case(uuid)
    });
    vms.map(|vm| vm.moref.value()).collect()
}
