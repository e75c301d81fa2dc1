//! Tasks: what the server does in the background, and what stands behind every lease.

use std::mem::discriminant;
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::Call;
use crate::error::{ErrorKind, VimError};
use crate::fault::Fault;
use crate::session::Session;
use crate::updates::Watch;
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

impl TaskInfo {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, TaskState::Error(_) | TaskState::Success)
    }

    fn differs(&self, other: &Self) -> bool {
        discriminant(&self.state) != discriminant(&other.state)
            || self.progress != other.progress
            || self.is_cancelled != other.is_cancelled
    }
}

/// Follows one task.  Dropping it ends the watch, not the task.
///
/// All watches of a session share one request to the server.
#[derive(Debug)]
#[must_use = "a watch that is dropped tells nothing"]
pub struct TaskWatch {
    session: Session,
    task: MoRef,
    /// Made by the first question, given up with the end of the task.
    watch: Option<Watch>,
    last: Option<TaskInfo>,
    /// Since when the watch cannot be made.
    failing_since: Option<Instant>,
}

impl TaskWatch {
    /// Waits until state or progress of the task change; the first call answers with the present
    /// ones.  After the end it answers with the end.
    ///
    /// A server that is not reached is asked again: for five minutes by the first call, for half an
    /// hour by later ones.  Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`VimError::SessionLost`]; the fault `ManagedObjectNotFound` if the task has been forgotten,
    /// some minutes after its end.
    pub async fn changed(&mut self) -> Result<TaskInfo, VimError> {
        loop {
            if let Some(last) = self.last.as_ref().filter(|last| last.has_ended()) {
                return Ok(last.clone());
            }
            let watch = match &mut self.watch {
                Some(watch) => watch,
                None => match self.session.watch_object(&self.task).await {
                    Ok(watch) => self.watch.insert(watch),
                    Err(error) => {
                        self.bear(error)?;
                        tokio::time::sleep(RETRY_PAUSE).await;
                        continue;
                    }
                },
            };
            let info = TaskInfo::from_value(&self.task, &watch.task_info().await?);
            if info.has_ended() {
                self.watch = None;
            }
            if self.last.as_ref().is_none_or(|last| info.differs(last)) {
                self.last = Some(info.clone());
                return Ok(info);
            }
        }
    }

    /// Waits for the end of the task, and returns it if it was a success.
    ///
    /// # Errors
    ///
    /// [`VimError::Fault`] with the task's fault, and those of [`changed`](Self::changed).
    pub async fn finished(mut self) -> Result<TaskInfo, VimError> {
        loop {
            let info = self.changed().await?;
            match info.state {
                TaskState::Success => return Ok(info),
                TaskState::Error(fault) => {
                    let call = if info.description_id.is_empty() {
                        info.task.to_string()
                    } else {
                        info.description_id
                    };
                    let host = self.session.connection().host();
                    return Err(VimError::Fault { host, call, fault: Box::new(fault) });
                }
                TaskState::Queued | TaskState::Running | TaskState::Unknown(_) => {}
            }
        }
    }

    /// Takes an error for a short outage, if it may be one.
    fn bear(&mut self, error: VimError) -> Result<(), VimError> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if error.kind() != ErrorKind::Network || since.elapsed() >= OUTAGE_MAX {
            return Err(error);
        }
        tracing::warn!(%error, task = %self.task, "the task is not readable at present");
        Ok(())
    }
}

impl Session {
    /// Follows a task.
    pub fn watch_task(&self, task: &MoRef) -> TaskWatch {
        let (session, task) = (self.clone(), task.clone());
        TaskWatch { session, task, watch: None, last: None, failing_since: None }
    }

    /// Reads the state of a task.
    ///
    /// API: `Task.info`, since 2.0.
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
    /// API: `Task.CancelTask`, since 2.0.
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
    /// API: `ManagedEntity.recentTask`, since 2.0.
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

/// Between two tries to begin a watch.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Longer than a vCenter takes to change over to its passive node.
const OUTAGE_MAX: Duration = Duration::from_secs(5 * 60);
