//! The snapshot that is made for the export of a machine that runs.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ovftransfer_vim::Session;
use ovftransfer_vim::VimError;
use ovftransfer_vim::machine::SnapshotParams;
use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::value::MoRef;
use ovftransfer_vim::value::Value;
use tokio_util::sync::CancellationToken;

use crate::clock::since_1970;
use crate::error::Error;
use crate::journal::Journal;
use crate::journal::history::SnapshotNote;
use crate::journal::record::Record;
use crate::settle::remove_snapshot;

/// A snapshot that is there for one export only.
#[derive(Debug)]
pub(super) struct TemporarySnapshot {
    session: Session,
    vm: MoRef,
    name: String,
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
        journal: &Journal,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let name = unique_name();
        journal.note(Record::SnapshotWanted { vm: vm.into(), name: name.clone() }).await;
        let params = SnapshotParams {
            name: name.clone(),
            description: Some(DESCRIPTION.to_owned()),
            ..SnapshotParams::default()
        };
        let task = match session.create_snapshot(vm, &params).await {
            Ok(task) => task,
            Err(error) => {
                if error.fault().is_some() {
                    journal.note(Record::SnapshotGone).await;
                }
                return Err(error.into());
            }
        };
        journal.note(Record::SnapshotTask { task: (&task).into() }).await;
        let made = session.watch_task(&task).finished();
        let made = match cancel.run_until_cancelled(made).await {
            Some(Ok(made)) => made,
            Some(Err(error)) => {
                if error.fault().is_some() {
                    journal.note(Record::SnapshotGone).await;
                }
                return Err(error.into());
            }
            None => {
                // The server may be past the point where it can stop: what counts is how it ends.
                let _may_be_too_late = session.cancel_task(&task).await;
                let ended = tokio::time::timeout(END_WAIT, session.watch_task(&task).finished());
                match ended.await {
                    Ok(Ok(made)) => made,
                    Ok(Err(VimError::Fault { .. })) => {
                        journal.note(Record::SnapshotGone).await;
                        return Err(Error::Cancelled);
                    }
                    Ok(Err(_)) | Err(_) => {
                        return Err(Error::CancelledUnclean {
                            left_behind: format!(
                                "{machine} may have a snapshot {name:?}; remove it"
                            ),
                        });
                    }
                }
            }
        };
        let (TaskState::Success, Some(moref)) =
            (&made.state, made.result.as_ref().and_then(Value::moref).cloned())
        else {
            let problem = format!("the server did not say which snapshot of {machine} it made");
            return Err(Error::Refused { problem });
        };
        journal.note(Record::Snapshot { snapshot: (&moref).into() }).await;
        let this = Self { session: session.clone(), vm: vm.clone(), name, moref };
        if !cancel.is_cancelled() {
            return Ok(this);
        }
        match this.remove(machine, journal).await {
            Ok(()) => Err(Error::Cancelled),
            Err(left_behind) => Err(Error::CancelledUnclean { left_behind }),
        }
    }

    /// The snapshot.
    pub(super) const fn moref(&self) -> &MoRef {
        &self.moref
    }

    /// The snapshot that a killed run of the same export has made.
    pub(super) fn found(session: &Session, note: SnapshotNote, moref: MoRef) -> Self {
        Self { session: session.clone(), vm: note.vm, name: note.name, moref }
    }

    /// Removes it; waits until the disks are consolidated.  What cannot be removed is written down
    /// as that: no other run goes on with it.
    ///
    /// The error is a sentence that says what is left and what to do.
    pub(super) async fn remove(self, machine: &str, journal: &Journal) -> Result<(), String> {
        match remove_snapshot(&self.session, &self.moref).await {
            Ok(()) => {
                journal.note(Record::SnapshotGone).await;
                Ok(())
            }
            Err(reason) => {
                let name = &self.name;
                journal.note(left(&self.vm, name, &self.moref)).await;
                Err(format!("{machine} may still have the snapshot {name:?} ({reason}); remove it"))
            }
        }
    }
}

/// What is written down of a snapshot that could not be removed.
pub(super) fn left(vm: &MoRef, name: &str, snapshot: &MoRef) -> Record {
    Record::SnapshotLeft { vm: vm.into(), name: name.to_owned(), snapshot: snapshot.into() }
}

/// A name that no other snapshot has: whoever cleans up after a killed run knows it by that.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{NAME}-{:x}-{:x}-{count:x}", since_1970().as_millis(), std::process::id())
}

/// What the name begins with that people see in the list of snapshots while the export runs.
const NAME: &str = "ovftransfer-export";

const DESCRIPTION: &str = "Made for an export; is removed when that ends.";

/// How long a snapshot that was cancelled may take to be made or not.
const END_WAIT: Duration = Duration::from_secs(60);
