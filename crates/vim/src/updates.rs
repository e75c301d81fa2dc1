//! Watching leases and tasks: one collector per session, a filter per object, one long poll for
//! all.
//!
//! ```text
//!   watch ──> CreateFilter ──> read once          waiter (one task per session)
//!     ^                            │                WaitForUpdatesEx ─┐
//!     └── changed() <── merge <────┴───────────────── updates <───────┘
//! ```
//!
//! The waiter starts with the first watch and ends with the last one.  Where the server has no
//! collectors, or they do not tell of objects that are there, it reads the properties of all
//! watched objects again and again instead.

mod poll;
mod waiter;
mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connection::{Call, Codec, Connection};
use crate::error::VimError;
use crate::fault::Fault;
use crate::lease::LeaseId;
use crate::property::{self, Properties};
use crate::value::MoRef;
use watched::Watched;

pub use watched::LeaseWatch;
pub(crate) use watched::Watch;

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
    /// The server cannot tell of changes: it is asked for them.
    polling: bool,
}

struct Entry {
    object: MoRef,
    filter: Option<MoRef>,
    since: Instant,
    /// Whether the collector has reported it at least once.
    entered: bool,
    sender: watch::Sender<Report>,
}

/// What a watch has been told.
#[derive(Clone, Debug, PartialEq)]
struct Report {
    watched: Watched,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Gone,
    SessionLost,
    Silence,
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

    /// Starts to follow a lease or a task.
    pub(crate) async fn watch(&self, object: &MoRef) -> Result<Watch, VimError> {
        let shared = &self.shared;
        // Registered first: the collector stays as long as somebody is.
        let watch = shared.register(object);
        shared.filter(&watch).await?;
        self.start_waiter();
        // Not every server notices a new filter at once, and the caller should not wait for it.
        let paths = Watched::new(object).paths();
        let read = property::read(&shared.connection, &shared.parent, object, paths).await;
        let read = read.map_err(|error| {
            if is_gone(&error, object) { gone(&shared.connection, object) } else { error }
        })?;
        if let Some(fault) = paths.first().and_then(|path| read.missing(path)) {
            return Err(shared.connection.refused("RetrievePropertiesEx", fault.clone()));
        }
        shared.take_over(&read);
        shared.changed.notify_one();
        Ok(watch)
    }

    /// Whether properties are read again and again, because the server tells of no changes.
    pub(crate) fn is_polling(&self) -> bool {
        self.shared.state().polling
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

    fn register(self: &Arc<Self>, object: &MoRef) -> Watch {
        let watched = Watched::new(object);
        let (sender, receiver) = watch::channel(Report { watched, end: None });
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        let since = Instant::now();
        let entry = Entry { object: object.clone(), filter: None, since, entered: false, sender };
        state.watches.insert(id, entry);
        drop(state);
        Watch::new(object, id, receiver, self)
    }

    /// Makes the filter of a new watch, unless the server has no filters.
    async fn filter(&self, watch: &Watch) -> Result<(), VimError> {
        let mut attempts = 0;
        while !self.state().polling {
            let collector = match self.collector().await {
                Err(error) if self.is_unsupported(&error) => {
                    self.poll_from_now_on(&error);
                    break;
                }
                collector => collector?,
            };
            match self.make_filter(&collector, watch.object()).await {
                Ok(filter) => {
                    self.set_filter(watch.id(), &collector, filter);
                    break;
                }
                Err(error) if is_gone(&error, watch.object()) => {
                    return Err(gone(&self.connection, watch.object()));
                }
                Err(error) if self.is_unsupported(&error) => self.poll_from_now_on(&error),
                // The collector went away between two calls: once more with a new one.
                Err(error) if error.is_fault("ManagedObjectNotFound") && attempts == 0 => {
                    attempts += 1;
                    self.forget_collector(&collector);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the server does not have what was called.
    fn is_unsupported(&self, error: &VimError) -> bool {
        const FAULTS: [&str; 3] = ["MethodNotFound", "NotImplemented", "NotSupported"];
        // VI JSON has a path for every method.
        let no_path = matches!(error, VimError::Status { status: 404 | 405 | 501, .. });
        FAULTS.iter().any(|fault| error.is_fault(fault))
            || no_path && self.connection.codec() == Codec::Json
    }

    fn poll_from_now_on(&self, reason: &dyn fmt::Display) {
        let mut state = self.state();
        if !state.polling {
            tracing::warn!(%reason, "this server cannot tell of changes; asking for them instead");
        }
        state.polling = true;
        for entry in state.watches.values_mut() {
            entry.filter = None;
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

    async fn make_filter(&self, collector: &MoRef, object: &MoRef) -> Result<MoRef, VimError> {
        let start = property::object_spec(object);
        let (kind, paths) = (object.kind().to_owned(), Watched::new(object).paths());
        let call = Call::new(collector, "CreateFilter")
            .with("spec", property::filter_spec(kind, paths, [start]))
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

    /// Changes what every watch of `object` has been told.  Returns whether that is news.
    fn tell(&self, object: &MoRef, change: impl Fn(&mut Report)) -> bool {
        let mut is_news = false;
        for entry in self.state().watches.values().filter(|e| e.object == *object) {
            is_news |= entry.tell(&change);
        }
        is_news
    }

    /// Tells what was read of an object.  Returns whether that is news.
    fn take_over(&self, read: &Properties) -> bool {
        self.tell(read.object(), |report| {
            for path in report.watched.paths() {
                if let Some(value) = read.value(path) {
                    report.watched.set(path, Some(value));
                }
            }
        })
    }

    fn end_all(&self, end: End) {
        let mut state = self.state();
        state.waiting = false;
        state.collector = None;
        state.orphans.clear();
        for entry in state.watches.values_mut() {
            entry.filter = None;
            let _is_news = entry.tell(|report| report.end = Some(end));
        }
    }
}

impl Entry {
    fn tell(&self, change: impl Fn(&mut Report)) -> bool {
        self.sender.send_if_modified(|report| {
            let before = report.clone();
            change(report);
            *report != before
        })
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

fn gone(connection: &Connection, object: &MoRef) -> VimError {
    if Watched::new(object).is_lease() {
        let lease = LeaseId::new(object.clone()).to_string();
        return VimError::LeaseGone { host: connection.host(), lease };
    }
    let reason = format!("{object} is not there any more");
    connection.refused(WAIT, Fault::named("ManagedObjectNotFound", Some(&reason)))
}

const WAIT: &str = "WaitForUpdatesEx";
/// How long the server may be away before whoever waits is told: longer than a restart takes.
const SILENCE_MAX: Duration = Duration::from_secs(30 * 60);
