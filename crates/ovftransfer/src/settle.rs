//! What stands behind a lease on the server, and how that is ended by another session.
//!
//! Another session can neither drive nor abort a lease, but it can cancel the task behind it, which
//! ends the lease and, of an import, removes what the lease had made.  So the task is looked for when
//! the lease is taken, and written down.

use std::time::Duration;

use ovftransfer_vim::ErrorKind as VimErrorKind;
use ovftransfer_vim::Session;
use ovftransfer_vim::VimError;
use ovftransfer_vim::task::TaskInfo;
use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::value::MoRef;
use tokio::time::Instant;

use crate::error::Error;
use crate::event::Event;
use crate::event::Observer;
use crate::journal::Journal;
use crate::journal::history::LeaseNote;
use crate::journal::history::SnapshotNote;
use crate::journal::record::Record;
use crate::journal::record::Reference;

/// A lease that is asked for, and the search for its task.
#[derive(Debug)]
pub(crate) struct Asked {
    session: Session,
    journal: Journal,
    on: MoRef,
    known: Vec<String>,
}

impl Asked {
    /// Writes down that a lease on a machine, or in a pool, is about to be asked for.
    pub(crate) async fn begin(session: &Session, journal: &Journal, on: &MoRef) -> Self {
        let mut known = Vec::new();
        if journal.is_kept() {
            let read = tokio::time::timeout(LOOK_LIMIT, session.read(on, &[RECENT])).await;
            if let Ok(Ok(read)) = read {
                known.extend(read.morefs(RECENT).iter().map(|task| task.id().to_owned()));
            }
            journal.note(Record::Lease { on: on.into(), known: known.clone() }).await;
        }
        let (session, journal, on) = (session.clone(), journal.clone(), on.clone());
        Self { session, journal, on, known }
    }

    /// Looks for the task behind the lease, and writes it down; says whether it was found.
    ///
    /// `entity` is what the lease is for, once that is known: it tells the task from that of another
    /// lease which was taken at the same moment.
    pub(crate) async fn note_task(&self, lease: &str, entity: Option<&MoRef>) -> bool {
        if !self.journal.is_kept() {
            return true;
        }
        let looking = self.task(entity);
        let Ok(Ok(Some(task))) = tokio::time::timeout(LOOK_LIMIT, looking).await else {
            tracing::debug!(lease, "the task behind the lease is not known");
            return false;
        };
        let (task, lease) = (Reference::from(&task), lease.to_owned());
        self.journal.note(Record::Task { task, lease }).await;
        true
    }

    async fn task(&self, entity: Option<&MoRef>) -> Result<Option<MoRef>, VimError> {
        let mut fresh: Vec<TaskInfo> = Vec::new();
        let elsewhere = entity.filter(|entity| **entity != self.on);
        for on in [Some(&self.on), elsewhere].into_iter().flatten() {
            for info in running_since(&self.session, on, &self.known).await? {
                if !fresh.iter().any(|known| known.task == info.task) {
                    fresh.push(info);
                }
            }
        }
        if fresh.len() > 1 {
            fresh.retain(|info| info.entity.as_ref() == entity && entity.is_some());
        }
        Ok(fresh.pop().filter(|_| fresh.is_empty()).map(|info| info.task))
    }
}

/// Tasks behind leases on an object that run and are none of those that were `known`.
pub(crate) async fn running_since(
    session: &Session,
    on: &MoRef,
    known: &[String],
) -> Result<Vec<TaskInfo>, VimError> {
    let read = match session.read(on, &[RECENT]).await {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        read => read?,
    };
    let mut running = Vec::new();
    for task in read.morefs(RECENT) {
        if known.iter().any(|known| known == task.id()) {
            continue;
        }
        match session.task_info(&task).await {
            Ok(info) if info.description_id.ends_with(LONG_RUNNING) && !info.has_ended() => {
                running.push(info);
            }
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(running)
}

/// How the lease of a killed run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LeaseEnd {
    /// Its task was cancelled just now.
    Cancelled,
    /// It was completed: what it was for is done.
    Completed,
    /// It had ended by itself, or was never given.
    Gone,
    /// It may have been completed: the server does not know its task any more.
    Unsure,
}

/// Ends the lease of a killed run: cancels its task, or waits until the server gives it up, at most
/// so long.
///
/// # Errors
///
/// [`Error::Refused`] if it does not end; those of the server.
pub(crate) async fn end_lease(
    session: &Session,
    lease: &LeaseNote,
    wait: Duration,
    observer: &dyn Observer,
) -> Result<LeaseEnd, Error> {
    let forgotten = || if lease.is_completing { LeaseEnd::Unsure } else { LeaseEnd::Gone };
    if lease.is_over {
        return Ok(LeaseEnd::Completed);
    }
    let deadline = Instant::now() + wait;
    let Some(task) = &lease.task else {
        // Killed while it asked for the lease, so none of these can be proven to be its own.  But
        // nobody renews the one that is: it ends within the time that a lease has.
        let mut pause = Pause::new();
        while !running_since(session, &lease.on, &lease.known).await?.is_empty() {
            if Instant::now() >= deadline {
                break;
            }
            pause.wait(observer, "the server to end the lease of the killed run").await;
        }
        return Ok(forgotten());
    };
    let (mut pause, mut is_cancelled) = (Pause::new(), false);
    loop {
        let info = match session.task_info(task).await {
            Err(error) if is_gone(&error) => return Ok(forgotten()),
            info => info?,
        };
        match info.state {
            TaskState::Success => return Ok(LeaseEnd::Completed),
            TaskState::Error(_) if is_cancelled => return Ok(LeaseEnd::Cancelled),
            TaskState::Error(_) => return Ok(LeaseEnd::Gone),
            TaskState::Queued | TaskState::Running | TaskState::Unknown(_) | _ => {}
        }
        if !info.description_id.ends_with(LONG_RUNNING) {
            let what = info.description_id;
            let problem = format!("{task} is not the task of a lease any more but {what:?}");
            return Err(Error::Refused { problem });
        }
        if !is_cancelled {
            match session.cancel_task(task).await {
                Ok(()) => is_cancelled = true,
                // It may have ended between the two calls, or we may not: its time runs out then.
                Err(error) if error.fault().is_some() => {
                    tracing::debug!(%task, %error, "the task could not be cancelled");
                }
                Err(error) => return Err(error.into()),
            }
        }
        if Instant::now() >= deadline {
            let seconds = wait.as_secs();
            let problem = format!("{task}, which holds the lease, has not ended in {seconds} s");
            return Err(Error::Refused { problem });
        }
        pause.wait(observer, "the server to end the lease of the killed run").await;
    }
}

/// Finds the snapshot that a killed run has made, if it is still there.
///
/// # Errors
///
/// [`Error::Refused`] if it has another name now, so that somebody has made it his own; those of the
/// server.
pub(crate) async fn find_snapshot(
    session: &Session,
    note: &SnapshotNote,
    observer: &dyn Observer,
) -> Result<Option<MoRef>, Error> {
    let deadline = Instant::now() + SNAPSHOT_WAIT;
    let mut pause = Pause::new();
    while is_being_made(session, note).await? && Instant::now() < deadline {
        pause.wait(observer, "the snapshot of the killed run to be made").await;
    }
    let facts = match session.vm_facts(&note.vm).await {
        Err(error) if is_gone(&error) => return Ok(None),
        facts => facts?,
    };
    let is_noted = |moref: &MoRef| note.snapshot.as_ref().is_none_or(|noted| noted == moref);
    let mut snapshots = facts.snapshots.iter();
    let found = snapshots.find(|one| one.name == note.name && is_noted(&one.moref));
    if let Some(found) = found {
        return Ok(Some(found.moref.clone()));
    }
    let mut snapshots = facts.snapshots.iter();
    match snapshots.find(|one| note.snapshot.as_ref() == Some(&one.moref)) {
        Some(renamed) => {
            let (machine, now, then) = (&facts.name, &renamed.name, &note.name);
            let problem = format!("the snapshot {then:?} of {machine} is called {now:?} now");
            Err(Error::Refused { problem })
        }
        None => Ok(None),
    }
}

/// Whether the server may still be at work on the snapshot.
async fn is_being_made(session: &Session, note: &SnapshotNote) -> Result<bool, Error> {
    if note.snapshot.is_some() {
        return Ok(false);
    }
    let tasks = match session.recent_tasks(&note.vm).await {
        Err(error) if is_gone(&error) => return Ok(false),
        tasks => tasks?,
    };
    let is_it = |info: &TaskInfo| match &note.task {
        Some(task) => info.task == *task,
        None => info.description_id == "VirtualMachine.createSnapshot",
    };
    Ok(tasks.iter().any(|info| is_it(info) && !info.has_ended()))
}

/// Removes a snapshot; waits until the disks are consolidated.
///
/// The error is the reason in words.
pub(crate) async fn remove_snapshot(session: &Session, snapshot: &MoRef) -> Result<(), String> {
    let removed = persist(|| remove_once(session, snapshot));
    match tokio::time::timeout(REMOVAL_WAIT, removed).await {
        Ok(Ok(())) => Ok(()),
        // Somebody else was faster, or a try whose answer was lost.
        Ok(Err(error)) if is_gone(&error) => Ok(()),
        Ok(Err(error)) => Err(Error::from(error).chain()),
        Err(_) => Err("it takes too long".to_owned()),
    }
}

async fn remove_once(session: &Session, snapshot: &MoRef) -> Result<(), VimError> {
    let task = session.remove_snapshot(snapshot, false).await?;
    session.watch_task(&task).finished().await.map(drop)
}

/// Repeats a step that does no harm if it was done already: while the server is busy with something
/// else, for which the caller has a limit, and when it is not reached for some minutes.
///
/// The server may still be busy with a lease that has just ended, or with a try whose answer was lost.
pub(crate) async fn persist<T, F: Future<Output = Result<T, VimError>>>(
    step: impl Fn() -> F,
) -> Result<T, VimError> {
    let mut away_since = None;
    loop {
        match step().await {
            Err(error) if error.is_fault("TaskInProgress") => away_since = None,
            Err(error)
                if is_unanswered(&error)
                    && away_since.get_or_insert_with(Instant::now).elapsed() < OUTAGE_MAX =>
            {
                tracing::warn!(%error, "tried again");
            }
            outcome => return outcome,
        }
        tokio::time::sleep(AGAIN_PAUSE).await;
    }
}

/// Whether nobody knows what has become of a call.
fn is_unanswered(error: &VimError) -> bool {
    error.kind() == VimErrorKind::Network && error.fault().is_none()
}

/// Whether an object is not there, or not any more.
pub(crate) fn is_gone(error: &VimError) -> bool {
    error.is_fault("ManagedObjectNotFound")
}

/// The pause between two looks, which grows; a person is told when it takes long.
struct Pause {
    next: Duration,
    waited: Duration,
    is_told: bool,
}

impl Pause {
    const fn new() -> Self {
        Self { next: PAUSE_MIN, waited: Duration::ZERO, is_told: false }
    }

    async fn wait(&mut self, observer: &dyn Observer, what: &str) {
        if self.waited >= TELL_AFTER && !self.is_told {
            self.is_told = true;
            let message = format!("waiting for {what}");
            observer.observe(&Event::Warning { message });
        }
        tokio::time::sleep(self.next).await;
        self.waited += self.next;
        self.next = (self.next * 2).min(PAUSE_MAX);
    }
}

/// The tasks that an object knows of.
const RECENT: &str = "recentTask";

/// What the names of tasks behind leases end with: `ImportVAppLRO`, `ExportVmLRO`.
const LONG_RUNNING: &str = "LRO";

/// How long the search for a task may take: it must not hold up the data.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// How long a snapshot may take to be made by a server that was asked by a run that is no more.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(60);

/// How long a removal may take: the disks of a busy machine have grown meanwhile.
const REMOVAL_WAIT: Duration = Duration::from_secs(30 * 60);

/// The pause before a busy machine, or a server that was not reached, is asked again.
const AGAIN_PAUSE: Duration = Duration::from_secs(2);

/// How long a server may be away: longer than a vCenter takes to change over to its passive node.
const OUTAGE_MAX: Duration = Duration::from_secs(5 * 60);

const PAUSE_MIN: Duration = Duration::from_millis(50);

const PAUSE_MAX: Duration = Duration::from_secs(2);

/// When a person is told what is waited for.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// How long a lease lives that nobody renews: 300 seconds on every server that is known, and a moment
/// for the server to notice.
pub(crate) const LEASE_WAIT: Duration = Duration::from_secs(330);

#[cfg(test)]
mod tests;
