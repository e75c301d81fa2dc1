//! What is done to a machine around a transfer: snapshots, power, templates.
//!
//! Calls that return a reference start a task; [`Session::watch_task`] follows it.

use crate::connection::Call;
use crate::error::VimError;
use crate::session::Session;
use crate::value::{MoRef, Object, Value};

/// What a new snapshot should be (since 2.0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "filled in by the caller with `..default()`")]
pub struct SnapshotParams {
    /// Its name; need not be unique.
    pub name: String,
    /// What people should know about it.
    pub description: Option<String>,
    /// Whether it holds the memory of a running machine.
    pub memory: bool,
    /// Whether the guest brings its file systems to rest first; needs its tools.
    pub quiesce: bool,
}

/// Snapshots, power and templates.
impl Session {
    /// Makes a snapshot of a machine, by a task; the task's result is the snapshot.  Privilege
    /// `VirtualMachine.State.CreateSnapshot`.  [`VmFacts::snapshot`] finds one again.
    ///
    /// [`VmFacts::snapshot`]: crate::inventory::VmFacts::snapshot
    ///
    /// API: `CreateSnapshot_Task`, since 2.0.
    ///
    /// # Errors
    ///
    /// The faults `InvalidState`, `TaskInProgress`, `SnapshotFault`; others end the task.
    pub async fn create_snapshot(
        &self,
        vm: &MoRef,
        params: &SnapshotParams,
    ) -> Result<MoRef, VimError> {
        let call = Call::new(vm, "CreateSnapshot_Task")
            .with("name", params.name.as_str())
            .with_some("description", params.description.as_deref())
            .with("memory", params.memory)
            .with("quiesce", params.quiesce);
        self.connection().call_moref(call).await
    }

    /// Removes a snapshot, by a task; with `children` all that descend from it, too.  The disks are
    /// consolidated.  Privilege `VirtualMachine.State.RemoveSnapshot`.
    ///
    /// API: `RemoveSnapshot_Task`, since 2.0; `consolidate` since 5.0.
    ///
    /// # Errors
    ///
    /// The faults `TaskInProgress` and `ManagedObjectNotFound`; others end the task.
    pub async fn remove_snapshot(
        &self,
        snapshot: &MoRef,
        children: bool,
    ) -> Result<MoRef, VimError> {
        let call = Call::new(snapshot, "RemoveSnapshot_Task")
            .with("removeChildren", children)
            .with("consolidate", true);
        self.connection().call_moref(call).await
    }

    /// Starts a machine, by a task; on `host` if one is given.  Privilege
    /// `VirtualMachine.Interact.PowerOn`.
    ///
    /// API: `PowerOnVM_Task`, since 2.0.
    ///
    /// # Errors
    ///
    /// The faults `InvalidPowerState`, `TaskInProgress`, `InsufficientResourcesFault`; others end
    /// the task.
    pub async fn power_on(&self, vm: &MoRef, host: Option<&MoRef>) -> Result<MoRef, VimError> {
        let call = Call::new(vm, "PowerOnVM_Task").with_some("host", host);
        self.connection().call_moref(call).await
    }

    /// Stops a machine as by its switch, by a task.  Privilege `VirtualMachine.Interact.PowerOff`.
    ///
    /// API: `PowerOffVM_Task`, since 2.0.
    ///
    /// # Errors
    ///
    /// The faults `InvalidPowerState` and `TaskInProgress`; others end the task.
    pub async fn power_off(&self, vm: &MoRef) -> Result<MoRef, VimError> {
        self.connection().call_moref(Call::new(vm, "PowerOffVM_Task")).await
    }

    /// Makes a template of a machine that is off.  Privilege
    /// `VirtualMachine.Provisioning.MarkAsTemplate`.
    ///
    /// API: `MarkAsTemplate`, since 2.0.
    ///
    /// # Errors
    ///
    /// The faults `InvalidPowerState`, `InvalidState` and, on ESXi, `NotSupported`.
    pub async fn mark_as_template(&self, vm: &MoRef) -> Result<(), VimError> {
        self.call(Call::new(vm, "MarkAsTemplate")).await?;
        Ok(())
    }

    /// Starts the machines of a vApp in their order, by a task.  Privilege `VApp.PowerOn`.
    ///
    /// # Errors
    ///
    /// The faults `InvalidState` and `TaskInProgress`; others end the task.
    pub async fn power_on_vapp(&self, vapp: &MoRef) -> Result<MoRef, VimError> {
        self.connection().call_moref(Call::new(vapp, "PowerOnVApp_Task")).await
    }

    /// Deletes an object with all that belongs to it, by a task: of a machine its files, too.
    /// Privilege for machines `VirtualMachine.Inventory.Delete`.
    ///
    /// # Errors
    ///
    /// The faults `InvalidPowerState` and `TaskInProgress`; others end the task.
    pub async fn destroy(&self, entity: &MoRef) -> Result<MoRef, VimError> {
        self.connection().call_moref(Call::new(entity, "Destroy_Task")).await
    }

    /// Gives an object another name, by a task; its files keep theirs.  Privilege for machines
    /// `VirtualMachine.Config.Rename`.
    ///
    /// # Errors
    ///
    /// The faults `DuplicateName` and `InvalidName`; others end the task.
    pub async fn rename(&self, entity: &MoRef, name: &str) -> Result<MoRef, VimError> {
        let call = Call::new(entity, "Rename_Task").with("newName", name);
        self.connection().call_moref(call).await
    }

    /// Sets options of a machine's extra configuration, by a task; an empty value removes one.
    /// Privilege `VirtualMachine.Config.AdvancedConfig`.
    ///
    /// # Errors
    ///
    /// The faults `InvalidState` and `TaskInProgress`; others end the task.
    pub async fn set_extra_config(
        &self,
        vm: &MoRef,
        options: &[(&str, &str)],
    ) -> Result<MoRef, VimError> {
        let options = options.iter().map(|(key, value)| {
            let option = Object::declared("OptionValue").with("key", *key);
            option.with("value", Value::any_text(value))
        });
        let spec = Object::declared("VirtualMachineConfigSpec").with_each("extraConfig", options);
        let call = Call::new(vm, "ReconfigVM_Task").with("spec", spec);
        self.connection().call_moref(call).await
    }

    /// The address that a machine's tools report (`guest.ipAddress`); `None` before they do.
    ///
    /// # Errors
    ///
    /// The fault `ManagedObjectNotFound`, among others.
    pub async fn guest_address(&self, vm: &MoRef) -> Result<Option<String>, VimError> {
        let read = self.read(vm, &["guest.ipAddress"]).await?;
        Ok(read.text("guest.ipAddress").filter(|address| !address.is_empty()))
    }
}
