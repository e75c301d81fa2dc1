//! The one task of a session that waits for updates.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::{End, LeaseId, Shared, State, WAIT, is_gone};
use crate::connection::Call;
use crate::error::VimError;
use crate::fault::Fault;
use crate::value::{MoRef, Object, Value};

/// Waits until nobody watches any more, or the session is lost.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut waiter = Waiter { shared, version: String::new(), failures: 0, failing_since: None };
    while let Some(collector) = waiter.collector().await {
        let outcome = waiter.wait(&collector).await;
        if !waiter.digest(&collector, outcome).await {
            return;
        }
    }
}

struct Waiter {
    shared: Arc<Shared>,
    /// The version of the last update set; empty asks for the full state.
    version: String,
    /// Failed waits in a row.
    failures: u32,
    /// When the first of them began.
    failing_since: Option<Instant>,
}

/// How a wait ended.
enum Outcome {
    /// The server answered: updates, or that there are none.
    Answer(Option<Value>),
    /// We cut it short, because the server does not see a new filter.
    Cut,
    Error(VimError),
}

impl Waiter {
    /// The collector to wait on, with a filter for every watch.  `None` ends the waiter.
    async fn collector(&mut self) -> Option<MoRef> {
        loop {
            if let Some(collector) = self.shared.leave_if_unwatched() {
                if let Some(collector) = collector {
                    self.quietly(Call::new(&collector, "DestroyPropertyCollector")).await;
                }
                return None;
            }
            let known = self.shared.state().collector.clone();
            if let Some(collector) = known {
                return Some(collector);
            }
            match self.renew().await {
                Ok(collector) => return Some(collector),
                Err(VimError::SessionLost { .. }) => {
                    self.shared.end_all(End::SessionLost);
                    return None;
                }
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// Makes a new collector and all filters in it.
    async fn renew(&mut self) -> Result<MoRef, VimError> {
        self.version.clear();
        let collector = self.shared.collector().await?;
        let missing: Vec<(u64, LeaseId)> = {
            let state = self.shared.state();
            let unfiltered = state.watches.iter().filter(|(_, entry)| entry.filter.is_none());
            unfiltered.map(|(id, entry)| (*id, entry.lease.clone())).collect()
        };
        let shared = &self.shared;
        let collector = &collector;
        let made = stream::iter(missing).map(|(id, lease)| async move {
            match shared.make_filter(collector, &lease).await {
                Ok(filter) => shared.set_filter(id, collector, filter),
                Err(error) if is_gone(&error, lease.moref()) => {
                    shared.tell(lease.moref(), |report| report.end = Some(End::Gone));
                }
                Err(error) => return Err(error),
            }
            Ok(())
        });
        let mut made = made.buffer_unordered(FILTERS_AT_ONCE);
        while let Some(result) = made.next().await {
            result?;
        }
        Ok(collector.clone())
    }

    /// One long poll.
    async fn wait(&mut self, collector: &MoRef) -> Outcome {
        self.destroy_orphans().await;
        let options = Object::declared("WaitOptions").with("maxWaitSeconds", WAIT_S);
        let asked_all = self.version.is_empty();
        let call = Call::new(collector, WAIT)
            .with("version", self.version.clone())
            .with("options", options)
            .within(WAIT_LIMIT);
        let asked_at = Instant::now();
        let connection = Arc::clone(&self.shared.connection);
        let mut answer = Box::pin(connection.call_one(call));
        let mut cut = false;
        loop {
            let overdue = if cut {
                // The request to cancel may have overtaken the wait: ask again.
                Some(Instant::now() + ENTER_GRACE)
            } else {
                self.shared.state().overdue(asked_all.then_some(asked_at))
            };
            let alarm = async {
                match overdue {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = &mut answer => return match answer {
                    Err(error) if cut && error.is_fault("RequestCanceled") => Outcome::Cut,
                    Ok(answer) => {
                        if asked_all {
                            self.shared.state().all_entered(asked_at);
                        }
                        Outcome::Answer(answer)
                    }
                    Err(error) => Outcome::Error(error),
                },
                () = self.shared.changed.notified() => {
                    self.destroy_orphans().await;
                    if self.shared.state().watches.is_empty() {
                        // Destroying the collector ends the wait on the server.
                        return Outcome::Answer(None);
                    }
                }
                () = alarm => {
                    cut = true;
                    self.quietly(Call::new(collector, "CancelWaitForUpdates")).await;
                }
            }
        }
    }

    /// Acts on the end of a wait.  `false` ends the waiter.
    async fn digest(&mut self, collector: &MoRef, outcome: Outcome) -> bool {
        let error = match outcome {
            Outcome::Answer(answer) => {
                self.failures = 0;
                self.failing_since = None;
                if let Some(set) = answer {
                    self.shared.apply(&set);
                    self.version = set.text_of("version").unwrap_or_default();
                }
                return true;
            }
            Outcome::Cut => {
                // Only the full state brings a filter that the server does not see.
                self.version.clear();
                return true;
            }
            Outcome::Error(error) => error,
        };
        if matches!(error, VimError::SessionLost { .. }) {
            self.shared.end_all(End::SessionLost);
            return false;
        }
        let Some(fault) = error.fault() else {
            self.pause(&error).await;
            return true;
        };
        if fault.is("ManagedObjectNotFound") {
            // Of a lease, on servers that refuse the whole wait for one of them; else of ours.
            let lease = fault.object().filter(|object| self.shared.has_lease(object));
            match lease {
                Some(lease) => {
                    // Progress: there is one lease less that can spoil the wait.
                    self.shared.tell_gone(&lease);
                    return true;
                }
                None => self.shared.forget_collector(collector),
            }
        }
        if fault.is("InvalidCollectorVersion") {
            self.version.clear();
        }
        self.pause(&error).await;
        true
    }

    /// Waits before the next try, longer each time.
    async fn pause(&mut self, error: &VimError) {
        tracing::warn!(%error, failures = self.failures, "waiting for lease updates failed");
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(8)).min(PAUSE_MAX);
        // The first failure is often the answer to a question, such as a lost collector.
        if self.failures > 0 {
            tokio::time::sleep(pause).await;
        }
        self.failures = self.failures.saturating_add(1);
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= super::SILENCE_MAX {
            self.shared.end_all(End::Silence);
        }
    }

    /// Destroys the filters of watches that went.
    async fn destroy_orphans(&self) {
        let orphans = std::mem::take(&mut self.shared.state().orphans);
        for filter in orphans {
            self.quietly(Call::new(&filter, "DestroyPropertyFilter")).await;
        }
    }

    /// Makes a call whose failure changes nothing.
    async fn quietly(&self, call: Call) {
        let method = call.method().to_owned();
        if let Err(error) = self.shared.connection.call(call.within(QUIET_LIMIT)).await {
            tracing::debug!(%error, method, "clean-up call failed");
        }
    }
}

impl State {
    /// When the first filter that the collector should have reported by now is late.  Filters
    /// that were there when the full state was asked for are part of the answer.
    fn overdue(&self, asked_all_at: Option<Instant>) -> Option<Instant> {
        let silent = self.watches.values().filter(|entry| entry.filter.is_some() && !entry.entered);
        let late = silent.filter(|entry| asked_all_at.is_none_or(|at| entry.since > at));
        late.map(|entry| entry.since + ENTER_GRACE).min()
    }

    /// Takes every filter that was there when the full state was asked for as reported.
    fn all_entered(&mut self, asked_at: Instant) {
        for entry in self.watches.values_mut() {
            entry.entered |= entry.filter.is_some() && entry.since <= asked_at;
        }
    }
}

impl Shared {
    /// If nobody watches: notes that the waiter ends, and returns the collector to destroy.
    fn leave_if_unwatched(&self) -> Option<Option<MoRef>> {
        let mut state = self.state();
        if !state.watches.is_empty() {
            return None;
        }
        state.waiting = false;
        state.orphans.clear();
        Some(state.collector.take())
    }

    fn has_lease(&self, object: &MoRef) -> bool {
        self.state().watches.values().any(|entry| entry.lease.moref().id() == object.id())
    }

    /// Ends every watch of a lease; the filters go, they may spoil the next wait.
    fn tell_gone(&self, lease: &MoRef) {
        let mut state = self.state();
        let State { watches, orphans, .. } = &mut *state;
        for entry in watches.values_mut().filter(|e| e.lease.moref().id() == lease.id()) {
            entry.tell(|report| report.end = Some(End::Gone));
            orphans.extend(entry.filter.take());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Spreads an `UpdateSet` to the watches.
    fn apply(&self, set: &Value) {
        for filter in set.each("filterSet") {
            for object in filter.each("objectSet") {
                self.apply_object(object);
            }
            for missing in filter.each("missingSet") {
                if let Some(lease) = missing.moref_of("obj")
                    && is_not_found(missing.field("fault"))
                {
                    self.tell_gone(&lease);
                }
            }
        }
    }

    fn apply_object(&self, update: &Value) {
        let Some(lease) = update.moref_of("obj") else { return };
        let left = update.text_of("kind").as_deref() == Some("leave");
        if left || update.each("missingSet").any(|missing| is_not_found(missing.field("fault"))) {
            self.tell_gone(&lease);
            return;
        }
        let mut state = self.state();
        for entry in state.watches.values_mut().filter(|e| *e.lease.moref() == lease) {
            entry.entered = true;
        }
        drop(state);
        self.tell(&lease, |report| {
            for change in update.each("changeSet") {
                let Some(name) = change.text_of("name") else { continue };
                report.properties.set(&name, change.whole("val"));
            }
        });
    }
}

fn is_not_found(fault: Option<&Value>) -> bool {
    fault.and_then(Fault::from_value).is_some_and(|fault| fault.is("ManagedObjectNotFound"))
}

/// Seconds the server may hold a wait; proxies commonly cut idle requests after 60.
const WAIT_S: u32 = 50;
/// When we stop to believe that a wait will be answered.
const WAIT_LIMIT: Duration = Duration::from_secs(110);
/// How long a server may take to report a filter made during a wait.
const ENTER_GRACE: Duration = Duration::from_millis(800);
/// A clean-up call must not hold up the wait.
const QUIET_LIMIT: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// A lost lease is noticed this late at most after an outage.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Enough to renew a thousand filters in seconds, few enough for one session.
const FILTERS_AT_ONCE: usize = 16;
