//! Privileges of the user in a scenario.

use super::{Scenario, ScenarioError, wrong};

/// Checks that methods need the privileges that are missing.
pub(super) fn check(scenario: &Scenario) -> Result<(), ScenarioError> {
    let unknown = |name: &&String| !PRIVILEGES.contains(&name.as_str());
    match scenario.missing_privileges.iter().find(unknown) {
        Some(name) => {
            let problem = format!("{name} is none that a method here needs");
            Err(wrong("missing_privileges", problem))
        }
        None => Ok(()),
    }
}

/// Privileges that methods here need, after the API reference.
pub(crate) const PRIVILEGES: [&str; 27] = [
    "Datastore.AllocateSpace",
    "Folder.Create",
    "Global.CancelTask",
    "Host.Config.Network",
    "Network.Assign",
    "System.Read",
    "VApp.Delete",
    "VApp.Export",
    "VApp.Import",
    "VApp.PowerOff",
    "VApp.PowerOn",
    "VApp.PullFromUrls",
    "VirtualMachine.Config.AdvancedConfig",
    "VirtualMachine.Config.Annotation",
    "VirtualMachine.Config.CPUCount",
    "VirtualMachine.Config.EditDevice",
    "VirtualMachine.Config.Memory",
    "VirtualMachine.Config.Rename",
    "VirtualMachine.Config.Settings",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Inventory.Unregister",
    "VirtualMachine.Provisioning.MarkAsTemplate",
    "VirtualMachine.Provisioning.MarkAsVM",
    "VirtualMachine.State.CreateSnapshot",
    "VirtualMachine.State.RemoveSnapshot",
];
