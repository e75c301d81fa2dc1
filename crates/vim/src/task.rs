//! Tasks: what the server does in the background, and what stands behind every lease.

use crate::connection::Call;
use crate::error::VimError;
use crate::fault::Fault;
use crate::session::Session;
use crate::value::{MoRef, Value};

/// The present state of a task (`TaskInfo`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// The task.
    pub task: MoRef,
    /// What it does: `ResourcePool.ImportVAppLRO`, `VirtualMachine.ExportVmLRO`.
    pub description_id: String,
    /// What it works on.
    pub entity: Option<MoRef>,
    /// Where it stands.
    pub state: TaskState,
    /// Percent, 0 to 100, while it runs and if it says.
    pub progress: Option<u8>,
    /// Whether it can be cancelled.
    pub is_cancelable: bool,
    /// Whether somebody has cancelled it.
    pub is_cancelled: bool,
    /// What came out of it.
    pub result: Option<Value>,
}

/// Where a task stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TaskState {
    /// Failed.
    Error(Fault),
    /// Waits for its turn.
    Queued,
    /// Runs.
    Running,
    /// Done.
    Success,
    /// A state that this crate does not know.
    Unknown(String),
}

impl TaskInfo {
    fn from_value(task: &MoRef, value: &Value) -> Self {
        let fault = || {
            let fault = value.field("error").and_then(Fault::from_value);
            fault.unwrap_or_else(|| Fault::named("MethodFault", None))
        };
        let state = match value.text_of("state").unwrap_or_default().as_str() {
            "error" => TaskState::Error(fault()),
            "queued" => TaskState::Queued,
            "running" => TaskState::Running,
            "success" => TaskState::Success,
            unknown => TaskState::Unknown(unknown.to_owned()),
        };
        Self {
            task: task.clone(),
            description_id: value.text_of("descriptionId").unwrap_or_default(),
            entity: value.moref_of("entity"),
            state,
            progress: value
                .int_of("progress")
                .and_then(|percent| u8::try_from(percent.clamp(0, 100)).ok()),
            is_cancelable: value.boolean_of("cancelable").unwrap_or(false),
            is_cancelled: value.boolean_of("cancelled").unwrap_or(false),
            result: value.field("result").cloned(),
        }
    }
}

impl Session {
    /// Reads the state of a task.
    ///
    /// # Errors
    ///
    /// The fault `ManagedObjectNotFound` some minutes after the task's end.
    pub async fn task_info(&self, task: &MoRef) -> Result<TaskInfo, VimError> {
        let read = self.read(task, &["info"]).await?;
        let info = read.value("info").ok_or_else(|| {
            self.connection().protocol("RetrievePropertiesEx", "the task has no info")
        })?;
        Ok(TaskInfo::from_value(task, info))
    }

    /// Cancels a task.  That of a lease ends the lease with an error, also from another session.
    ///
    /// # Errors
    ///
    /// The faults `NotSupported` (cannot be cancelled) and `InvalidState` (has ended).
    pub async fn cancel_task(&self, task: &MoRef) -> Result<(), VimError> {
        self.call(Call::new(task, "CancelTask")).await?;
        Ok(())
    }

    /// Tasks that run on `entity` or have ended lately, in the server's order.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn recent_tasks(&self, entity: &MoRef) -> Result<Vec<TaskInfo>, VimError> {
        let read = self.read(entity, &["recentTask"]).await?;
        let mut tasks = Vec::new();
        for task in read.morefs("recentTask") {
            match self.task_info(&task).await {
                Ok(info) => tasks.push(info),
                // Forgotten between the two calls.
                Err(error) if error.is_fault("ManagedObjectNotFound") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tasks)
    }
}
