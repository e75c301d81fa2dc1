//! The one task of a session that waits for updates, or polls for them.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::poll;
use super::{End, Shared, State, WAIT, is_gone};
use crate::connection::Call;
use crate::error::VimError;
use crate::fault::Fault;
use crate::value::{MoRef, Object, Value};

/// Waits until nobody watches any more, or the session is lost.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut waiter = Waiter {
        shared,
        version: String::new(),
        asked_all_at: None,
        poll_pause: poll::PAUSE_MIN,
        failures: 0,
        failing_since: None,
    };
    while let Some(collector) = waiter.collector().await {
        let goes_on = match collector {
            Some(collector) => {
                let outcome = waiter.wait(&collector).await;
                waiter.digest(&collector, outcome).await
            }
            None => waiter.poll().await,
        };
        if !goes_on {
            return;
        }
    }
}

struct Waiter {
    shared: Arc<Shared>,
    /// The version of the last update set; empty asks for the full state.
    version: String,
    /// When the full state was asked for, until all of it has come.
    asked_all_at: Option<Instant>,
    /// Until the server is asked again, where it is polled.
    poll_pause: Duration,
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
    /// The collector to wait on, with a filter for every watch; no collector where the server is
    /// polled.  `None` ends the waiter.
    async fn collector(&mut self) -> Option<Option<MoRef>> {
        loop {
            if let Some(collector) = self.shared.leave_if_unwatched() {
                if let Some(collector) = collector {
                    self.quietly(Call::new(&collector, "DestroyPropertyCollector")).await;
                }
                return None;
            }
            let (known, polling) = {
                let state = self.shared.state();
                (state.collector.clone(), state.polling)
            };
            if polling {
                return Some(None);
            }
            if known.is_some() {
                return Some(known);
            }
            match self.renew().await {
                Ok(collector) => return Some(Some(collector)),
                Err(VimError::SessionLost { .. }) => {
                    self.shared.end_all(End::SessionLost);
                    return None;
                }
                Err(error) if self.shared.is_unsupported(&error) => {
                    self.shared.poll_from_now_on(&error);
                }
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// Makes a new collector and all filters in it.
    async fn renew(&mut self) -> Result<MoRef, VimError> {
        self.version.clear();
        let collector = self.shared.collector().await?;
        let missing: Vec<(u64, MoRef)> = {
            let state = self.shared.state();
            let unfiltered = state.watches.iter().filter(|(_, entry)| entry.filter.is_none());
            unfiltered.map(|(id, entry)| (*id, entry.object.clone())).collect()
        };
        let shared = &self.shared;
        let collector = &collector;
        let made = stream::iter(missing).map(|(id, object)| async move {
            match shared.make_filter(collector, &object).await {
                Ok(filter) => shared.set_filter(id, collector, filter),
                Err(error) if is_gone(&error, &object) => {
                    shared.tell(&object, |report| report.end = Some(End::Gone));
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
        let call = Call::new(collector, WAIT)
            .with("version", self.version.clone())
            .with("options", options)
            .within(WAIT_LIMIT);
        if self.version.is_empty() {
            self.asked_all_at = Some(Instant::now());
        }
        let connection = Arc::clone(&self.shared.connection);
        let mut answer = Box::pin(connection.call_one(call));
        let mut cut = false;
        loop {
            let overdue = if cut {
                // The request to cancel may have overtaken the wait: ask again.
                Some(Instant::now() + ENTER_GRACE)
            } else {
                self.shared.state().overdue(self.asked_all_at)
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
                    Ok(answer) => Outcome::Answer(answer),
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
                if let Some(set) = &answer {
                    if !self.shared.apply(set) {
                        self.shared.end_all(End::SessionLost);
                        return false;
                    }
                    self.version = set.text_of("version").unwrap_or_default();
                }
                let is_part = answer.and_then(|set| set.boolean_of("truncated")) == Some(true);
                if let Some(asked_at) = self.asked_all_at.take_if(|_| !is_part) {
                    self.look_for_silent(asked_at).await;
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
        if self.shared.is_unsupported(&error) {
            self.quietly(Call::new(collector, "DestroyPropertyCollector")).await;
            self.shared.forget_collector(collector);
            self.shared.poll_from_now_on(&error);
            return true;
        }
        let Some(fault) = error.fault() else {
            self.pause(&error).await;
            return true;
        };
        if fault.is("ManagedObjectNotFound") {
            // Of a lease, on servers that refuse the whole wait for one of them; else of ours.
            let object = fault.object().filter(|object| self.shared.has_watch_of(object));
            match object {
                Some(object) => {
                    // Progress: there is one object less that can spoil the wait.
                    self.shared.tell_gone(&object);
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

    /// After the full state: objects that it does not have are gone, or the server is blind to
    /// them.
    async fn look_for_silent(&self, asked_at: Instant) {
        let silent = self.shared.state().silent_since(asked_at);
        if silent.is_empty() {
            return;
        }
        match poll::read(&self.shared, silent).await {
            Ok((_, 0)) => {}
            Ok(_) => self.shared.poll_from_now_on(&"the full state leaves out what is there"),
            Err(error) => tracing::debug!(%error, "what the full state leaves out is not readable"),
        }
    }

    /// Reads everything once and waits a little.  `false` ends the waiter.
    async fn poll(&mut self) -> bool {
        let objects = self.shared.state().unfinished();
        match poll::read(&self.shared, objects).await {
            Ok((is_news, _)) => {
                self.failures = 0;
                self.failing_since = None;
                let longer = self.poll_pause.saturating_mul(2).min(poll::PAUSE_MAX);
                self.poll_pause = if is_news { poll::PAUSE_MIN } else { longer };
            }
            Err(VimError::SessionLost { .. }) => {
                self.shared.end_all(End::SessionLost);
                return false;
            }
            Err(error) => self.pause(&error).await,
        }
        tokio::select! {
            () = tokio::time::sleep(self.poll_pause) => {}
            () = self.shared.changed.notified() => self.poll_pause = poll::PAUSE_MIN,
        }
        true
    }

    /// Waits before the next try, longer each time.
    async fn pause(&mut self, error: &VimError) {
        tracing::warn!(%error, failures = self.failures, "waiting for updates failed");
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

    /// Takes every filter that was there when the full state was asked for as reported; returns
    /// the objects of those that were not.
    fn silent_since(&mut self, asked_at: Instant) -> Vec<MoRef> {
        let mut silent = Vec::new();
        for entry in self.watches.values_mut() {
            if entry.filter.is_some() && entry.since <= asked_at && !entry.entered {
                entry.entered = true;
                silent.push(entry.object.clone());
            }
        }
        silent
    }

    /// The objects of which something new may come.
    fn unfinished(&self) -> Vec<MoRef> {
        let entries = self.watches.values().filter(|entry| {
            let report = entry.sender.borrow();
            report.end.is_none() && !report.watched.has_ended()
        });
        entries.map(|entry| entry.object.clone()).collect()
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

    pub(super) fn has_watch_of(&self, object: &MoRef) -> bool {
        self.state().watches.values().any(|entry| entry.object.id() == object.id())
    }

    /// Ends every watch of an object; the filters go, they may spoil the next wait.
    pub(super) fn tell_gone(&self, object: &MoRef) {
        let mut state = self.state();
        let State { watches, orphans, .. } = &mut *state;
        for entry in watches.values_mut().filter(|e| e.object.id() == object.id()) {
            let _is_news = entry.tell(|report| report.end = Some(End::Gone));
            orphans.extend(entry.filter.take());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Spreads an `UpdateSet` to the watches.  `false` if it says that the session is lost.
    fn apply(&self, set: &Value) -> bool {
        for filter in set.each("filterSet") {
            for object in filter.each("objectSet") {
                if misses(object, "NotAuthenticated") {
                    return false;
                }
                self.apply_object(object);
            }
            for missing in filter.each("missingSet") {
                if is_fault(missing, "NotAuthenticated") {
                    return false;
                }
                if let Some(object) = missing.moref_of("obj")
                    && is_fault(missing, "ManagedObjectNotFound")
                {
                    self.tell_gone(&object);
                }
            }
        }
        true
    }

    fn apply_object(&self, update: &Value) {
        let Some(object) = update.moref_of("obj") else { return };
        let left = update.text_of("kind").as_deref() == Some("leave");
        if left || misses(update, "ManagedObjectNotFound") {
            self.tell_gone(&object);
            return;
        }
        let mut state = self.state();
        for entry in state.watches.values_mut().filter(|entry| entry.object == object) {
            entry.entered = true;
        }
        drop(state);
        self.tell(&object, |report| {
            for change in update.each("changeSet") {
                let Some(name) = change.text_of("name") else { continue };
                report.watched.set(&name, change.whole("val"));
            }
        });
    }
}

/// Whether properties of an object are missing for this reason.
fn misses(update: &Value, fault: &str) -> bool {
    update.each("missingSet").any(|missing| is_fault(missing, fault))
}

fn is_fault(missing: &Value, type_name: &str) -> bool {
    missing.field("fault").and_then(Fault::from_value).is_some_and(|fault| fault.is(type_name))
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
