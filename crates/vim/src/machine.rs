//! What is done to a machine around a transfer: snapshots, power, templates.
//!
//! Each call but the last starts a task and returns it; [`Session::watch_task`] follows it.

use crate::connection::Call;
use crate::error::VimError;
use crate::session::Session;
use crate::value::MoRef;

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
}
