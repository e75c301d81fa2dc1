//! Leases on vApps: several machines under one.

use serde_json::Value;

use super::{
    Prepared, Purpose, Targets, begin, check_free, idlest_host, import_vm, kind_of, powered_on,
};
use crate::fault::Fault;
use crate::inventory::{self, Place};
use crate::object::Moref;
use crate::scenario::Direction;
use crate::world::World;

/// `VirtualApp.ExportVApp`: begins the lease.
///
/// # Errors
///
/// `InvalidPowerState` if one of the machines runs, `TaskInProgress` if something holds one.
pub(crate) fn export_vapp(
    world: &mut World,
    caller: (&str, &str),
    moref: &Moref,
) -> Result<(Moref, Purpose), Fault> {
    let name = world.vapp(moref)?.name.clone();
    check_vapp_free(world, moref)?;
    let machines = world.machines_in(moref);
    let mut hosts = Vec::new();
    for machine in &machines {
        let vm = world.vm(machine)?;
        if vm.powered_on {
            return Err(powered_on());
        }
        if !hosts.contains(&vm.host) {
            hosts.push(vm.host);
        }
    }
    let lease = begin(world, caller, moref, "VirtualApp.ExportVAppLRO", Direction::Export, &name);
    let vapps = vapps_in(world, moref);
    if let Some(record) = world.leases.get_mut(&lease.id) {
        record.entity = Some(moref.clone());
        record.vms.clone_from(&machines);
        record.vapps.clone_from(&vapps);
        record.hosts = hosts;
    }
    for machine in &machines {
        world.vm_mut(machine)?.lease = Some(lease.id.clone());
        world.refresh(&machine.id);
    }
    hold(world, &vapps, Some(&lease.id));
    Ok((lease, Purpose::Export { vms: machines, snapshot: None }))
}

/// Whether nothing holds the vApp nor anything in it.
///
/// # Errors
///
/// `TaskInProgress` with the task behind the lease that holds it.
pub(crate) fn check_vapp_free(world: &World, moref: &Moref) -> Result<(), Fault> {
    for vapp in vapps_in(world, moref) {
        let lease = world.vapp(&vapp)?.lease.as_ref();
        if let Some(lease) = lease.and_then(|id| world.leases.get(id)) {
            return Err(Fault::task_in_progress(&lease.task));
        }
    }
    world.machines_in(moref).iter().try_for_each(|machine| check_free(world, machine))
}

/// The vApp and those in it, the outer before the inner.
fn vapps_in(world: &World, moref: &Moref) -> Vec<Moref> {
    let mut found = vec![moref.clone()];
    for inner in world.objects.references(moref, "resourcePool") {
        found.extend(vapps_in(world, &inner));
    }
    found
}

/// Says which lease holds the vApps.
pub(super) fn hold(world: &mut World, vapps: &[Moref], lease: Option<&str>) {
    for moref in vapps {
        if let Some(vapp) = world.vapps.get_mut(&moref.id) {
            vapp.lease = lease.map(str::to_owned);
        }
        world.refresh_vapp(&moref.id);
    }
}

/// Takes the vApps that the lease `id` made out of the inventory, with everything in them.
pub(super) fn undo(world: &mut World, vapps: &[Moref], id: &str) {
    for moref in vapps {
        if world.vapps.get(&moref.id).is_some_and(|vapp| vapp.lease.as_deref() == Some(id)) {
            inventory::remove_vapp(world, moref);
        }
    }
}

/// Looks through a `VirtualAppImportSpec` before the lease begins; `check` is told every name.
///
/// # Errors
///
/// `InvalidArgument` for what is no import spec, and what `check` says.
pub(super) fn check_spec(
    spec: &Value,
    levels_left: usize,
    check: &impl Fn(&str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let wrong = || Fault::invalid_argument("spec");
    let levels_left = levels_left.checked_sub(1).ok_or_else(wrong)?;
    match kind_of(spec) {
        "VirtualMachineImportSpec" => check(spec["configSpec"]["name"].as_str().unwrap_or("")),
        "VirtualAppImportSpec" => {
            check(spec["name"].as_str().unwrap_or(""))?;
            let children = spec["child"].as_array().into_iter().flatten();
            children.into_iter().try_for_each(|child| check_spec(child, levels_left, check))
        }
        _ => Err(wrong()),
    }
}

/// Makes what the import spec `spec` describes.
///
/// `around` is the path of the vApps that it is made in, `/shop`; `host` the only host that may be
/// taken.
///
/// # Errors
///
/// Those of [`import_vm`] and [`inventory::add_vapp`].
pub(super) fn import_entity(
    world: &mut World,
    id: &str,
    spec: &Value,
    (place, host): (Place, Option<usize>),
    (around, targets): (&str, &mut Targets),
) -> Result<(Moref, Vec<Prepared>), Fault> {
    if kind_of(spec) == "VirtualMachineImportSpec" {
        let host = host.or_else(|| idlest_host(world, &place.parent)).unwrap_or(0);
        let config = spec["configSpec"].clone();
        let place = (place.folder, place.parent, host);
        return import_vm(world, id, config, place, (around, targets));
    }
    let name = spec["name"].as_str().unwrap_or_default();
    let config = spec["vAppConfigSpec"].clone();
    let moref = inventory::add_vapp(world, name, place, config, &spec["resourcePoolSpec"])?;
    if let Some(lease) = world.leases.get_mut(id) {
        lease.vapps.push(moref.clone());
    }
    hold(world, std::slice::from_ref(&moref), Some(id));
    let around = format!("{around}/{name}");
    let mut prepared = Vec::new();
    for child in spec["child"].as_array().into_iter().flatten() {
        let place = Place { parent: moref.clone(), folder: None };
        let (made, files) =
            import_entity(world, id, child, (place, host), (&around, &mut *targets))?;
        inventory::adopt(world, &moref, &made, &child["entityConfig"]);
        prepared.extend(files);
    }
    Ok((moref, prepared))
}

/// vApps in one another: more than anybody builds, and few enough to walk through.
pub(super) const NESTING_MAX: usize = 16;
