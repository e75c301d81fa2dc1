//! Operations on vApps.  None takes time here.

use serde_json::Value;

use super::{Who, power};
use crate::fault::Fault;
use crate::inventory;
use crate::lease;
use crate::object::Moref;
use crate::soap::{Call, unknown_method};
use crate::task;
use crate::world::World;

/// Answers a call on a vApp.
///
/// # Errors
///
/// `TaskInProgress` while a lease holds the vApp, `MethodNotFound`.
pub(super) fn call(world: &mut World, who: &Who, call: &Call) -> Result<Value, Fault> {
    let this = &call.this;
    lease::check_vapp_free(world, this)?;
    match call.method.as_str() {
        "PowerOnVApp_Task" => {
            Ok(task::run(world, this, "VirtualApp.powerOn", &who.user, |world| {
                power_all(world, this, true)
            }))
        }
        "PowerOffVApp_Task" => {
            Ok(task::run(world, this, "VirtualApp.powerOff", &who.user, |world| {
                power_all(world, this, false)
            }))
        }
        "Destroy_Task" => Ok(task::run(world, this, "VirtualApp.destroy", &who.user, |world| {
            if is_started(world, this) {
                return Err(invalid_power("poweredOff", "poweredOn"));
            }
            inventory::remove_vapp(world, this);
            Ok(Value::Null)
        })),
        method => Err(unknown_method(this, method)),
    }
}

/// Starts all machines in their order, or stops them in the opposite one.
fn power_all(world: &mut World, this: &Moref, on: bool) -> Result<Value, Fault> {
    if is_started(world, this) == on {
        let state = if on { "poweredOn" } else { "poweredOff" };
        return Err(invalid_power(state, state));
    }
    let mut machines = in_order(world, this);
    if !on {
        machines.reverse();
    }
    for machine in machines {
        if world.vm(&machine)?.powered_on != on {
            power(world, &machine, on)?;
        }
    }
    Ok(Value::Null)
}

/// The machines in the order in which they are started; those of an inner vApp at its turn.
fn in_order(world: &World, this: &Moref) -> Vec<Moref> {
    let children = ["vm", "resourcePool"];
    let children = children.iter().flat_map(|name| world.objects.references(this, name));
    let mut children: Vec<Moref> = children.collect();
    if let Ok(vapp) = world.vapp(this) {
        children.sort_by_key(|child| vapp.start_order(child));
    }
    let machines = |child: Moref| match child.kind.as_str() {
        "VirtualMachine" => vec![child],
        _ => in_order(world, &child),
    };
    children.into_iter().flat_map(machines).collect()
}

fn is_started(world: &World, this: &Moref) -> bool {
    let machines = world.machines_in(this);
    machines.iter().any(|machine| world.vm(machine).is_ok_and(|vm| vm.powered_on))
}

fn invalid_power(requested: &str, existing: &str) -> Fault {
    Fault::new("InvalidPowerState", "The vApp's machines are in another state.")
        .with("requestedState", requested)
        .with("existingState", existing)
}
