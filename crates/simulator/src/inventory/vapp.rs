//! vApps in the inventory tree.

use serde_json::{Value, json};

use super::{child, duplicate_name, pool, unregister};
use crate::fault::Fault;
use crate::object::Moref;
use crate::vapp::Vapp;
use crate::world::World;

/// Where a vApp is made.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The pool or vApp that it will be in.
    pub(crate) parent: Moref,
    /// The folder that it will lie in; none in a vApp.
    pub(crate) folder: Option<Moref>,
}

/// Makes an empty vApp from a `VAppConfigSpec` and a `ResourceConfigSpec`.
///
/// # Errors
///
/// `DuplicateName` if the folder or the pool has something of that name.
pub(crate) fn add_vapp(
    world: &mut World,
    name: &str,
    place: Place,
    spec: Value,
    resources: &Value,
) -> Result<Moref, Fault> {
    for around in place.folder.iter().chain([&place.parent]) {
        if let Some(other) = child(&world.objects, around, name) {
            return Err(duplicate_name(name, &other));
        }
    }
    let Place { parent, folder } = place;
    let moref = world.new_moref("VirtualApp", "resgroup-v");
    let owner = world.objects.reference(&parent, "owner").unwrap_or_else(|| parent.clone());
    let mut value = pool(&moref, name, &parent, &owner);
    for part in ["cpuAllocation", "memoryAllocation"] {
        if resources[part].is_object() {
            value["config"][part] = resources[part].clone();
        }
    }
    let numbers = (value["config"].clone(), value["runtime"].clone());
    value["datastore"] = json!([]);
    value["network"] = json!([]);
    value["parentFolder"] = folder.as_ref().map(Moref::value).into();
    if parent.kind == "VirtualApp" {
        value["parentVApp"] = parent.value();
    }
    world.objects.put(moref.clone(), None, value);
    world.objects.link(&parent, "resourcePool", &moref);
    if let Some(folder) = &folder {
        world.objects.link(folder, "childEntity", &moref);
    }
    let vapp = Vapp::new((moref.clone(), name), (parent, folder), spec, numbers);
    world.vapps.insert(moref.id.clone(), vapp);
    world.refresh_vapp(&moref.id);
    Ok(moref)
}

/// Says when `child` of the vApp `vapp` is started (`VAppEntityConfigInfo`).
pub(crate) fn adopt(world: &mut World, vapp: &Moref, child: &Moref, wanted: &Value) {
    let name = world.objects.text(child, "name").to_owned();
    if let Some(vapp) = world.vapps.get_mut(&vapp.id) {
        vapp.add(child, &name, wanted);
    }
    world.refresh_vapp(&vapp.id);
}

/// Takes a vApp with everything in it out of the inventory.
pub(crate) fn remove_vapp(world: &mut World, moref: &Moref) {
    for inner in world.objects.references(moref, "resourcePool") {
        remove_vapp(world, &inner);
    }
    for machine in world.objects.references(moref, "vm") {
        unregister(world, &machine);
    }
    let Some(vapp) = world.vapps.remove(&moref.id) else { return };
    world.objects.unlink(&vapp.parent, "resourcePool", moref);
    if let Some(folder) = &vapp.folder {
        world.objects.unlink(folder, "childEntity", moref);
    }
    world.objects.remove(moref);
    if let Some(around) = world.vapps.get_mut(&vapp.parent.id) {
        around.drop_child(moref);
    }
    world.refresh_vapp(&vapp.parent.id);
}
