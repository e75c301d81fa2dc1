//! Watching leases: one collector per session, a filter per lease, one long poll for all.
//!
//! ```text
//!   watch ──> CreateFilter ──> read once          waiter (one task per session)
//!     ^                            │                WaitForUpdatesEx ─┐
//!     └── changed() <── merge <────┴───────────────── updates <───────┘
//! ```
//!
//! The waiter starts with the first watch and ends with the last one.

mod waiter;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connection::{Call, Connection};
use crate::error::VimError;
use crate::fault::Fault;
use crate::lease::{LEASE_PATHS, LeaseId, LeaseProperties, LeaseState};
use crate::property;
use crate::value::MoRef;

/// Everything a session watches.
#[derive(Debug)]
pub(crate) struct Updates {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

/// What the watches and the waiter share.
struct Shared {
    connection: Arc<Connection>,
    /// The session's own collector: makes ours, and reads.
    parent: MoRef,
    state: Mutex<State>,
    /// A watch came or went.
    changed: Notify,
    /// Held while a collector is made, so that only one is.
    making: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    collector: Option<MoRef>,
    watches: BTreeMap<u64, Entry>,
    /// Filters of watches that went.
    orphans: Vec<MoRef>,
    next_id: u64,
    waiting: bool,
}

struct Entry {
    lease: LeaseId,
    filter: Option<MoRef>,
    since: Instant,
    /// Whether the collector has reported it at least once.
    entered: bool,
    sender: watch::Sender<Report>,
}

/// What a watch has been told.
#[derive(Clone, Debug, Default, PartialEq)]
struct Report {
    properties: LeaseProperties,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Gone,
    SessionLost,
    Silence,
}

/// Follows one lease.  Dropping it ends the watch, not the lease.
#[derive(Debug)]
#[must_use = "a watch that is dropped tells nothing"]
pub struct LeaseWatch {
    lease: LeaseId,
    id: u64,
    receiver: watch::Receiver<Report>,
    shared: Weak<Shared>,
    connection: Arc<Connection>,
    parent: MoRef,
    /// The last report has been taken but not handed out.
    unfinished: bool,
}

impl LeaseWatch {
    /// Waits for the next state of the lease; the first call answers at once with the present one.
    ///
    /// States that came and went between two calls are not repeated.  Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`VimError::LeaseGone`] if the server does not have the lease any more,
    /// [`VimError::SessionLost`] if the session has ended, [`VimError::TimedOut`] if the server
    /// did not answer for half an hour, [`VimError::Protocol`] if the lease offers something that
    /// cannot be understood.  After an error there are no more states.
    pub async fn changed(&mut self) -> Result<LeaseState, VimError> {
        loop {
            if !self.unfinished && self.receiver.changed().await.is_err() {
                return Err(self.connection.lost(WAIT));
            }
            self.unfinished = true;
            let report = self.receiver.borrow_and_update().clone();
            match report.end {
                // It went after its end was told: that is the better news.
                Some(End::Gone) if report.properties.is_done() => return Ok(LeaseState::Done),
                Some(End::Gone) => return Err(gone(&self.connection, &self.lease)),
                Some(End::Silence) => return Err(self.connection.silent(WAIT, SILENCE_MAX)),
                Some(End::SessionLost) => return Err(self.connection.lost(WAIT)),
                None => {}
            }
            match report.properties.snapshot(self.connection.endpoint()) {
                Some(state) => {
                    self.unfinished = false;
                    return state.map_err(|reason| self.connection.protocol(WAIT, &reason));
                }
                None if report.properties.is_bare_error() => {
                    let fault = self.reason().await;
                    if let Some(fault) = fault {
                        self.unfinished = false;
                        return Ok(LeaseState::Error(fault));
                    }
                }
                None => self.unfinished = false,
            }
        }
    }

    /// The lease.
    #[must_use]
    pub fn lease(&self) -> &LeaseId {
        &self.lease
    }

    /// Why the lease is in error: the fault may come in a later update than the state, and some
    /// servers never send it.  `None` if something new has arrived instead.
    async fn reason(&mut self) -> Option<Fault> {
        if tokio::time::timeout(ERROR_GRACE, self.receiver.changed()).await.is_ok() {
            return None;
        }
        let lease = self.lease.moref();
        let read = property::read(&self.connection, &self.parent, lease, &["error"]).await;
        let fault = read.ok().and_then(|p| p.value("error").and_then(Fault::from_value));
        Some(fault.unwrap_or_else(|| Fault::named("MethodFault", Some(NO_REASON))))
    }
}

impl Drop for LeaseWatch {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut state = shared.state();
        if let Some(filter) = state.watches.remove(&self.id).and_then(|entry| entry.filter) {
            state.orphans.push(filter);
        }
        drop(state);
        shared.changed.notify_one();
    }
}

impl Updates {
    pub(crate) fn new(connection: Arc<Connection>, parent: MoRef) -> Self {
        let shared = Arc::new(Shared {
            connection,
            parent,
            state: Mutex::default(),
            changed: Notify::new(),
            making: tokio::sync::Mutex::new(()),
        });
        Self { shared, tasks: Mutex::default() }
    }

    /// Starts to follow a lease.
    pub(crate) async fn watch(&self, lease: &LeaseId) -> Result<LeaseWatch, VimError> {
        let shared = &self.shared;
        // Registered first: the collector stays as long as somebody is.
        let watch = shared.register(lease);
        let mut attempts = 0;
        loop {
            let collector = shared.collector().await?;
            match shared.make_filter(&collector, lease).await {
                Ok(filter) => {
                    shared.set_filter(watch.id, &collector, filter);
                    break;
                }
                Err(error) if is_gone(&error, lease.moref()) => {
                    return Err(gone(&shared.connection, lease));
                }
                // The collector went away between two calls: once more with a new one.
                Err(error) if error.is_fault("ManagedObjectNotFound") && attempts == 0 => {
                    attempts += 1;
                    shared.forget_collector(&collector);
                }
                Err(error) => return Err(error),
            }
        }
        self.start_waiter();
        // Not every server notices a new filter at once, and the caller should not wait for it.
        let connection = &shared.connection;
        match property::read(connection, &shared.parent, lease.moref(), &LEASE_PATHS).await {
            Ok(read) => shared.tell(lease.moref(), |report| {
                for path in LEASE_PATHS {
                    if let Some(value) = read.value(path) {
                        report.properties.set(path, Some(value));
                    }
                }
            }),
            Err(error) if is_gone(&error, lease.moref()) => return Err(gone(connection, lease)),
            Err(error) => return Err(error),
        }
        shared.changed.notify_one();
        Ok(watch)
    }

    /// Ends every watch with a lost session.
    pub(crate) fn stop(&self) {
        self.tasks().abort_all();
        self.shared.end_all(End::SessionLost);
    }

    fn start_waiter(&self) {
        let mut state = self.shared.state();
        if state.waiting {
            return;
        }
        state.waiting = true;
        drop(state);
        let mut tasks = self.tasks();
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::debug!(%error, "the waiter for lease updates was stopped");
            }
        }
        tasks.spawn(waiter::run(Arc::clone(&self.shared)));
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(self: &Arc<Self>, lease: &LeaseId) -> LeaseWatch {
        let (sender, receiver) = watch::channel(Report::default());
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        let since = Instant::now();
        let entry = Entry { lease: lease.clone(), filter: None, since, entered: false, sender };
        state.watches.insert(id, entry);
        drop(state);
        LeaseWatch {
            lease: lease.clone(),
            id,
            receiver,
            shared: Arc::downgrade(self),
            connection: Arc::clone(&self.connection),
            parent: self.parent.clone(),
            unfinished: false,
        }
    }

    /// Our collector; made if there is none.
    async fn collector(&self) -> Result<MoRef, VimError> {
        let _making = self.making.lock().await;
        if let Some(collector) = self.state().collector.clone() {
            return Ok(collector);
        }
        let make = Call::new(&self.parent, "CreatePropertyCollector");
        let collector = self.connection.call_moref(make).await?;
        self.state().collector = Some(collector.clone());
        Ok(collector)
    }

    async fn make_filter(&self, collector: &MoRef, lease: &LeaseId) -> Result<MoRef, VimError> {
        let start = property::object_spec(lease.moref());
        let kind = lease.moref().kind().to_owned();
        let call = Call::new(collector, "CreateFilter")
            .with("spec", property::filter_spec(kind, &LEASE_PATHS, start))
            .with("partialUpdates", false);
        self.connection.call_moref(call).await
    }

    fn set_filter(&self, id: u64, collector: &MoRef, filter: MoRef) {
        let mut state = self.state();
        // Made in a collector that has been replaced meanwhile: it went with it.
        if state.collector.as_ref() != Some(collector) {
            return;
        }
        if let Some(entry) = state.watches.get_mut(&id) {
            entry.filter = Some(filter);
            entry.since = Instant::now();
            entry.entered = false;
        }
    }

    /// Forgets a collector that the server does not have any more, and its filters.
    fn forget_collector(&self, collector: &MoRef) {
        let mut state = self.state();
        if state.collector.as_ref() == Some(collector) {
            state.collector = None;
            state.orphans.clear();
            for entry in state.watches.values_mut() {
                entry.filter = None;
            }
        }
    }

    /// Changes what every watch of `lease` has been told.
    fn tell(&self, lease: &MoRef, change: impl Fn(&mut Report)) {
        for entry in self.state().watches.values().filter(|e| e.lease.moref() == lease) {
            entry.tell(&change);
        }
    }

    fn end_all(&self, end: End) {
        let mut state = self.state();
        state.waiting = false;
        state.collector = None;
        state.orphans.clear();
        for entry in state.watches.values_mut() {
            entry.filter = None;
            entry.tell(|report| report.end = Some(end));
        }
    }
}

impl Entry {
    fn tell(&self, change: impl Fn(&mut Report)) {
        self.sender.send_if_modified(|report| {
            let before = report.clone();
            change(report);
            *report != before
        });
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("watches", &self.state().watches.len()).finish()
    }
}

fn is_gone(error: &VimError, object: &MoRef) -> bool {
    error.fault().is_some_and(|fault| {
        fault.is("ManagedObjectNotFound") && fault.object().is_some_and(|o| o.id() == object.id())
    })
}

fn gone(connection: &Connection, lease: &LeaseId) -> VimError {
    VimError::LeaseGone { host: connection.host(), lease: lease.to_string() }
}

const WAIT: &str = "WaitForUpdatesEx";
const NO_REASON: &str = "the lease failed and the server gives no reason";
/// Between the state `error` and its fault; longer than any server takes.
const ERROR_GRACE: Duration = Duration::from_secs(1);
/// How long the server may be away before whoever waits is told: longer than a restart takes.
const SILENCE_MAX: Duration = Duration::from_secs(30 * 60);
