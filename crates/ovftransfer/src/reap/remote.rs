//! What a killed run has left on the server.

use std::time::Duration;

use ovftransfer_vim::Session;
use ovftransfer_vim::VimError;
use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::value::MoRef;
use tokio::time::Instant;

use super::Fate;
use super::ReapOptions;
use super::Remnant;
use super::RemnantKind;
use crate::error::Error;
use crate::journal::history::EntityNote;
use crate::journal::history::History;
use crate::journal::history::LeaseNote;
use crate::journal::history::SnapshotNote;
use crate::settle::LeaseEnd;
use crate::settle::end_lease;
use crate::settle::find_snapshot;
use crate::settle::is_gone;
use crate::settle::remove_snapshot;

/// What is there, and what would become of it.
pub(super) async fn look(session: &Session, history: &History) -> Result<Vec<Remnant>, Error> {
    let mut found = Vec::new();
    let mut end = LeaseEnd::Gone;
    if let Some(lease) = &history.lease {
        let (remnant, would_end) = look_at_task(session, lease).await?;
        found.extend(remnant);
        end = would_end;
    }
    if let Some(note) = &history.entity {
        found.extend(judge(session, note, end).await?.0);
    }
    for note in history.snapshots() {
        found.extend(look_at_snapshot(session, note).await?);
    }
    Ok(found)
}

/// Ends and removes it.
pub(super) async fn remove(
    session: &Session,
    history: &History,
    options: &ReapOptions,
) -> Result<Vec<Remnant>, Error> {
    let mut done = Vec::new();
    let mut end = LeaseEnd::Gone;
    if let Some(lease) = &history.lease {
        match end_lease(session, lease, options.wait, &*options.observer).await {
            Ok(ended) => {
                end = ended;
                done.extend(task_remnant(lease, ended));
            }
            Err(Error::Refused { problem }) => {
                let name = lease.task.as_ref().map(MoRef::to_string).unwrap_or_default();
                done.push(Remnant::stays(RemnantKind::Task, name, problem));
                // As long as the lease lives, nothing that it covers can be removed.
                return Ok(done);
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(note) = &history.entity {
        done.extend(remove_machine(session, note, end).await?);
    }
    for note in history.snapshots() {
        done.extend(remove_noted(session, note, options).await?);
    }
    Ok(done)
}

fn task_remnant(lease: &LeaseNote, end: LeaseEnd) -> Option<Remnant> {
    let name = lease.task.as_ref()?.to_string();
    match end {
        LeaseEnd::Cancelled => Some(Remnant::new(RemnantKind::Task, name, Fate::Removed)),
        LeaseEnd::Gone => Some(Remnant::new(RemnantKind::Task, name, Fate::Gone)),
        LeaseEnd::Completed | LeaseEnd::Unsure => None,
    }
}

/// The task, if it runs, and how the lease would end.
async fn look_at_task(
    session: &Session,
    lease: &LeaseNote,
) -> Result<(Option<Remnant>, LeaseEnd), Error> {
    let forgotten = if lease.is_completing { LeaseEnd::Unsure } else { LeaseEnd::Gone };
    let Some(task) = &lease.task else { return Ok((None, forgotten)) };
    let end = match session.task_info(task).await {
        Err(error) if is_gone(&error) => forgotten,
        Err(error) => return Err(error.into()),
        Ok(info) => match info.state {
            TaskState::Success => LeaseEnd::Completed,
            TaskState::Error(_) => LeaseEnd::Gone,
            TaskState::Queued | TaskState::Running | TaskState::Unknown(_) | _ => {
                LeaseEnd::Cancelled
            }
        },
    };
    Ok((task_remnant(lease, end), end))
}

async fn look_at_snapshot(
    session: &Session,
    note: &SnapshotNote,
) -> Result<Option<Remnant>, Error> {
    match find_snapshot(session, note, &()).await {
        Ok(Some(_)) => Ok(Some(Remnant::new(RemnantKind::Snapshot, &note.name, Fate::Removed))),
        Ok(None) => Ok(None),
        Err(Error::Refused { problem }) => {
            Ok(Some(Remnant::stays(RemnantKind::Snapshot, &note.name, problem)))
        }
        Err(error) => Err(error),
    }
}

async fn remove_noted(
    session: &Session,
    note: &SnapshotNote,
    options: &ReapOptions,
) -> Result<Option<Remnant>, Error> {
    let found = match find_snapshot(session, note, &*options.observer).await {
        Err(Error::Refused { problem }) => {
            return Ok(Some(Remnant::stays(RemnantKind::Snapshot, &note.name, problem)));
        }
        found => found?,
    };
    let Some(found) = found else { return Ok(None) };
    Ok(Some(match remove_snapshot(session, &found).await {
        Ok(()) => Remnant::new(RemnantKind::Snapshot, &note.name, Fate::Removed),
        Err(reason) => Remnant::stays(RemnantKind::Snapshot, &note.name, reason),
    }))
}

/// Whether the machine of an import is the one in the journal, and half-made.  The flag says that it
/// is to be removed.
async fn judge(
    session: &Session,
    note: &EntityNote,
    end: LeaseEnd,
) -> Result<(Option<Remnant>, bool), Error> {
    let kind = RemnantKind::Machine;
    let name = format!("{} ({})", note.name, note.entity);
    let stays = |reason: &str| Ok((Some(Remnant::stays(kind, name.clone(), reason)), false));
    let Some(found) = identity(session, &note.entity).await? else {
        return Ok((Some(Remnant::new(kind, name, Fate::Gone)), false));
    };
    if end == LeaseEnd::Completed {
        let reason = "its import is complete".to_owned();
        let fate = Fate::Stays { reason, is_right: true };
        return Ok((Some(Remnant::new(kind, name, fate)), false));
    }
    if (found.name.as_deref(), found.instance_uuid.as_ref())
        != (Some(&*note.name), note.instance_uuid.as_ref())
    {
        return stays(
            "it is not what was being imported any more: its name or its UUID is another",
        );
    }
    if end == LeaseEnd::Unsure {
        return stays(
            "its import may have been completed, and the server does not remember; look at it, and \
             remove it if it is not good",
        );
    }
    if !found.is_off {
        return stays("it is not powered off");
    }
    Ok((Some(Remnant::new(kind, name, Fate::Removed)), true))
}

async fn remove_machine(
    session: &Session,
    note: &EntityNote,
    end: LeaseEnd,
) -> Result<Option<Remnant>, Error> {
    let deadline = Instant::now() + CLEAN_UP_WAIT;
    loop {
        let (remnant, is_to_go) = judge(session, note, end).await?;
        if !is_to_go {
            return Ok(match (remnant, end) {
                // It went with its lease, which we have just ended.
                (Some(Remnant { kind, name, fate: Fate::Gone }), LeaseEnd::Cancelled) => {
                    Some(Remnant::new(kind, name, Fate::Removed))
                }
                (remnant, _) => remnant,
            });
        }
        // The server removes by itself what a lease has made that failed.
        if Instant::now() < deadline {
            tokio::time::sleep(CLEAN_UP_PAUSE).await;
            continue;
        }
        let removed = match session.destroy(&note.entity).await {
            Ok(task) => session.watch_task(&task).finished().await.map(drop),
            Err(error) => Err(error),
        };
        return match removed {
            Err(error) if !is_gone(&error) => {
                let name = format!("{} ({})", note.name, note.entity);
                let reason = Error::from(error).chain();
                Ok(Some(Remnant::stays(RemnantKind::Machine, name, reason)))
            }
            Ok(()) | Err(_) => Ok(remnant),
        };
    }
}

/// What tells a machine from every other.
struct Identity {
    name: Option<String>,
    instance_uuid: Option<String>,
    is_off: bool,
}

async fn identity(session: &Session, entity: &MoRef) -> Result<Option<Identity>, VimError> {
    let paths: &[&str] = if entity.kind() == "VirtualApp" { &PATHS[..1] } else { &PATHS };
    match session.read(entity, paths).await {
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
        Ok(read) => Ok(Some(Identity {
            name: read.text(PATHS[0]),
            instance_uuid: read.text(PATHS[1]),
            is_off: read.text(PATHS[2]).is_none_or(|state| state == "poweredOff"),
        })),
    }
}

const PATHS: [&str; 3] = ["name", "config.instanceUuid", "runtime.powerState"];

/// How long the server is given to remove what a failed lease has made.
const CLEAN_UP_WAIT: Duration = Duration::from_secs(5);

const CLEAN_UP_PAUSE: Duration = Duration::from_millis(250);
