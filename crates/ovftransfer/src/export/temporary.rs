//! The snapshot that is made for the export of a machine that runs.

use std::time::Duration;

use ovftransfer_vim::Session;
use ovftransfer_vim::VimError;
use ovftransfer_vim::machine::SnapshotParams;
use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::value::MoRef;
use ovftransfer_vim::value::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// A snapshot that is there for one export only.
#[derive(Debug)]
pub(super) struct TemporarySnapshot {
    session: Session,
    machine: String,
    moref: MoRef,
}

impl TemporarySnapshot {
    /// Makes a snapshot without the machine's memory.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`], after a snapshot that was made all the same has been removed;
    /// [`Error::CancelledUnclean`] if that did not go well; those of the server.
    pub(super) async fn take(
        session: &Session,
        vm: &MoRef,
        machine: &str,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let params = SnapshotParams {
            name: NAME.to_owned(),
            description: Some(DESCRIPTION.to_owned()),
            ..SnapshotParams::default()
        };
        let task = session.create_snapshot(vm, &params).await?;
        let made = session.watch_task(&task).finished();
        let made = match cancel.run_until_cancelled(made).await {
            Some(made) => made?,
            None => {
                // The server may be past the point where it can stop: what counts is how it ends.
                let _may_be_too_late = session.cancel_task(&task).await;
                let ended = tokio::time::timeout(END_WAIT, session.watch_task(&task).finished());
                match ended.await {
                    Ok(Ok(made)) => made,
                    Ok(Err(VimError::Fault { .. })) => return Err(Error::Cancelled),
                    Ok(Err(_)) | Err(_) => {
                        return Err(Error::CancelledUnclean {
                            left_behind: format!(
                                "{machine} may have a snapshot {NAME:?}; remove it"
                            ),
                        });
                    }
                }
            }
        };
        let (TaskState::Success, Some(moref)) =
            (&made.state, made.result.as_ref().and_then(Value::moref).cloned())
        else {
            let problem = format!("it did not say which snapshot of {machine} it made");
            return Err(Error::Refused { problem });
        };
        let this = Self { session: session.clone(), machine: machine.to_owned(), moref };
        if !cancel.is_cancelled() {
            return Ok(this);
        }
        match this.remove().await {
            Ok(()) => Err(Error::Cancelled),
            Err(left_behind) => Err(Error::CancelledUnclean { left_behind }),
        }
    }

    /// The snapshot.
    pub(super) const fn moref(&self) -> &MoRef {
        &self.moref
    }

    /// Removes it; waits until the disks are consolidated.
    ///
    /// The error is a sentence that says what is left and what to do.
    pub(super) async fn remove(self) -> Result<(), String> {
        let deadline = Instant::now() + REMOVAL_WAIT;
        let removed = tokio::time::timeout_at(deadline, async {
            loop {
                match self.remove_once().await {
                    // The lease has just ended, and the server may still be busy with that.
                    Err(error) if is_busy(&error) => tokio::time::sleep(BUSY_PAUSE).await,
                    outcome => return outcome,
                }
            }
        });
        let reason = match removed.await {
            Ok(Ok(())) => return Ok(()),
            // Somebody else was faster.
            Ok(Err(error)) if error.fault().is_some_and(|f| f.is("ManagedObjectNotFound")) => {
                return Ok(());
            }
            Ok(Err(error)) => Error::from(error).chain(),
            Err(_) => "it takes too long".to_owned(),
        };
        let machine = &self.machine;
        Err(format!("{machine} may still have the snapshot {NAME:?} ({reason}); remove it"))
    }

    async fn remove_once(&self) -> Result<(), VimError> {
        let task = self.session.remove_snapshot(&self.moref, false).await?;
        self.session.watch_task(&task).finished().await.map(drop)
    }
}

fn is_busy(error: &VimError) -> bool {
    error.fault().is_some_and(|fault| fault.is("TaskInProgress"))
}

/// What people see in the list of snapshots while the export runs.
const NAME: &str = "ovftransfer-export";

const DESCRIPTION: &str = "Made for an export; is removed when that ends.";

/// How long a snapshot that was cancelled may take to be made or not.
const END_WAIT: Duration = Duration::from_secs(60);

/// How long a removal may take: the disks of a busy machine have grown meanwhile.
const REMOVAL_WAIT: Duration = Duration::from_secs(30 * 60);

/// The pause before a busy machine is asked again.
const BUSY_PAUSE: Duration = Duration::from_secs(2);
