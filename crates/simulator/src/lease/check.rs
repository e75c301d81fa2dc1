//! What must hold before a machine is made.

use serde_json::Value;

use crate::fault::Fault;
use crate::hardware::kind_of;
use crate::lease::idlest_host;
use crate::object::Moref;
use crate::scenario::HostCondition;
use crate::world::World;

/// Whether the host can take a machine, or any of those that the pool is on.
pub(super) fn hosts(world: &World, pool: &Moref, wanted: Option<usize>) -> Result<(), Fault> {
    let Some(host) = wanted.or_else(|| idlest_host(world, pool)).and_then(|at| world.hosts.get(at))
    else {
        return Err(Fault::new("HostNotConnected", "No host can take the virtual machine."));
    };
    match host.condition {
        HostCondition::Connected => Ok(()),
        HostCondition::Maintenance => {
            let what = "The operation is not allowed in the current state of the host.";
            Err(Fault::new("InvalidHostState", what).with("host", host.moref.value()))
        }
        HostCondition::Disconnected | HostCondition::NotResponding => {
            let what = "Unable to communicate with the remote host, since it is disconnected.";
            Err(Fault::new("HostNotConnected", what))
        }
    }
}

/// Whether a machine or vApp may be called so.
pub(super) fn name(name: &str) -> Result<(), Fault> {
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        return Err(
            Fault::new("InvalidName", format!("The name '{name}' is invalid.")).with("name", name)
        );
    }
    Ok(())
}

/// "Required when importing a virtual machine into a resource pool."
pub(super) fn folder(world: &World, folder: Option<&Moref>, is_vapp: bool) -> Result<(), Fault> {
    let Some(folder) = folder else {
        let what = "A folder is needed to import into a resource pool.";
        return Err(Fault::new("NotSupported", what));
    };
    if world.objects.get(folder).is_none() {
        return Err(Fault::not_found(folder));
    }
    let wanted = if is_vapp { "VirtualApp" } else { "VirtualMachine" };
    let kinds = world.objects.value(folder, "childType").as_array();
    if kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == wanted)) {
        return Ok(());
    }
    Err(Fault::new("InvalidFolder", format!("The folder takes no {wanted}."))
        .with("target", folder.value()))
}

/// Whether disks that take all their space at once fit.
pub(super) fn space(world: &World, datastore: &str, devices: &[Value]) -> Result<(), Fault> {
    let Some(free) = world.scenario.datastore_free.get(datastore) else { return Ok(()) };
    let thick = devices.iter().filter(|device| {
        kind_of(device) == "VirtualDisk" && device["backing"]["thinProvisioned"] != true
    });
    let needed: u64 = thick.filter_map(|disk| disk["capacityInBytes"].as_u64()).sum();
    if needed <= free.bytes() {
        return Ok(());
    }
    Err(Fault::new("NoDiskSpace", "Insufficient disk space on the datastore.")
        .with("file", "")
        .with("datastore", datastore))
}

/// Longest name of an entity in vSphere.
const NAME_CHARS_MAX: usize = 80;
