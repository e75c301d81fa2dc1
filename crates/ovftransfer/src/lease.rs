//! The lease: what the caller may do with it, and the heartbeat that keeps it.
//!
//! ```text
//!                   Progress (renews)
//!                       ,---.
//!                       v   |
//!   Initializing ---> Ready ---- Complete ----> Done
//!        |              |
//!        |              +------- Abort -------> Error
//!        `-- fault -->  +-- timeout, fault ---> Error
//! ```
//!
//! What *we* may do is a type ([`Lease<Initializing>`], [`Lease<Ready>`]); what the *server* says
//! is an enum, [`LeaseState`].  `Done` and `Error` are the absence of the value.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_vim::ErrorKind as VimErrorKind;
use ovftransfer_vim::VimError;
use ovftransfer_vim::lease::DeviceKey;
use ovftransfer_vim::lease::LeaseInfo;
use ovftransfer_vim::lease::LeaseManifestEntry;
use ovftransfer_vim::lease::LeaseState;
use ovftransfer_vim::nfc::lease_is_lost;
use tokio::time::Instant;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::event::Event;
use crate::event::Observer;
use crate::meter::Meter;
use crate::sabotage;
use crate::sabotage::Defect;

/// The calls on one lease.
///
/// In production they go to the server; scenario tests play them by a script.
pub(crate) trait LeaseApi: fmt::Debug + Send + Sync {
    /// The part of the lease's id that may be shown.
    fn name(&self) -> String;
    /// The next state the server tells; the first call tells the present one.
    fn next_state(&self) -> BoxFuture<'_, Result<LeaseState, VimError>>;
    /// Renews the lease and tells the percentage (HttpNfcLeaseProgress).
    fn progress(&self, percent: u8) -> BoxFuture<'_, Result<(), VimError>>;
    /// HttpNfcLeaseComplete.
    fn complete(&self) -> BoxFuture<'_, Result<(), VimError>>;
    /// HttpNfcLeaseAbort, with the cause for the server's task.
    fn abort<'a>(&'a self, reason: &'a str) -> BoxFuture<'a, Result<(), VimError>>;
    /// HttpNfcLeaseGetManifest.
    fn manifest(&self) -> BoxFuture<'_, Result<Vec<LeaseManifestEntry>, VimError>>;
    /// HttpNfcLeaseSetManifestChecksumType: SHA-256 for these devices.
    fn ask_for_sha256<'a>(
        &'a self,
        devices: &'a [DeviceKey],
    ) -> BoxFuture<'a, Result<(), VimError>>;
}

/// A lease that is held.
///
/// It ends by [`complete`](Lease::complete) or [`abort`](Lease::abort), which consume it.
#[derive(Debug)]
#[must_use = "a held lease blocks the virtual machine until it times out"]
pub(crate) struct Lease<S> {
    api: Arc<dyn LeaseApi>,
    observer: Arc<dyn Observer>,
    state: S,
}

/// The server prepares the machine; no URL exists yet.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) struct Initializing;

/// Data may move.
#[derive(Debug)]
pub(crate) struct Ready {
    info: LeaseInfo,
}

/// What came of waiting for a lease.
enum Begun {
    Ready(LeaseInfo),
    /// It has ended by itself.
    Over(Error),
    /// It may live.
    Stopped(Error),
}

/// What is known about the server after an abort.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) enum Aborted {
    /// The server took the abort.
    Confirmed,
    /// The lease had ended before, in one way or another.
    Ended,
    /// No answer: the server will clean up when the lease times out.
    Unconfirmed,
}

impl Lease<Initializing> {
    /// Takes charge of a lease that the server has just given.
    pub(crate) fn new(api: Arc<dyn LeaseApi>, observer: Arc<dyn Observer>) -> Self {
        Self { api, observer, state: Initializing }
    }

    /// Waits until the server has prepared the lease.  If that fails, the lease is ended.
    ///
    /// Takes the token, instead of leaving the race to the caller, because dropping this future
    /// would drop the lease without ending it.  There is no time limit: large machines on slow
    /// datastores take their time.
    pub(crate) async fn ready(self, cancel: &CancellationToken) -> Result<Lease<Ready>, Error> {
        let begun = AssertUnwindSafe(self.begin(cancel)).catch_unwind().await;
        match begun {
            Ok(Begun::Ready(info)) => {
                let Self { api, observer, state: Initializing } = self;
                Ok(Lease { api, observer, state: Ready { info } })
            }
            Ok(Begun::Over(error)) => Err(error),
            Ok(Begun::Stopped(error)) => {
                let aborted = self.abort(&error).await;
                Err(after_abort(error, aborted))
            }
            Err(panic) => self.abort_before(panic).await,
        }
    }

    async fn begin(&self, cancel: &CancellationToken) -> Begun {
        let mut told = None;
        loop {
            match cancel.run_until_cancelled(self.api.next_state()).await {
                Some(Ok(LeaseState::Initializing { percent })) => {
                    if told != Some(percent) {
                        told = Some(percent);
                        self.observer.observe(&Event::LeaseInitializing { percent });
                    }
                }
                Some(Ok(LeaseState::Ready(info))) => {
                    let (timeout, beat) = (timeout_of(&info), beat_of(&info));
                    self.observer.observe(&Event::LeaseReady { timeout, beat });
                    return Begun::Ready(info);
                }
                // Not a lease that was lost but one that was never had: the fault says why.
                Some(Ok(LeaseState::Error(fault))) => {
                    return Begun::Over(Error::LeaseFault(Box::new(fault)));
                }
                Some(Ok(state @ LeaseState::Done)) => return Begun::Over(ended(&*self.api, state)),
                Some(Ok(state)) => return Begun::Stopped(ended(&*self.api, state)),
                Some(Err(error)) if lease_is_lost(&error) => {
                    return Begun::Over(lost(&*self.api, error));
                }
                Some(Err(error)) => return Begun::Stopped(Error::from(error)),
                None => return Begun::Stopped(Error::Cancelled),
            }
        }
    }
}

impl Lease<Ready> {
    /// Device URLs, entity and timeout.  They exist only here.
    pub(crate) const fn info(&self) -> &LeaseInfo {
        &self.state.info
    }

    /// The calls on this lease.
    pub(crate) fn shared_api(&self) -> Arc<dyn LeaseApi> {
        Arc::clone(&self.api)
    }

    /// Renews the lease.  Resolves only when the lease is lost.
    ///
    /// The percentage is read from the meter at each beat, never pushed: a slow observer cannot delay a renewal and a
    /// stalled stream cannot stop one.  A renewal that fails for another reason than the end of
    /// the lease is tried again until the lease's own deadline.
    pub(crate) async fn keep_alive(&self, meter: &Meter) -> Error {
        let deadline = deadline_of(self.info());
        let beat = beat_of(self.info());
        let mut ticks = tokio::time::interval(beat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed = Instant::now();
        let mut missed = 0;
        let mut moved_bytes = None;
        loop {
            ticks.tick().await;
            if sabotage::on(Defect::HeartbeatOnlyWhenDataMoves)
                && moved_bytes.replace(meter.bytes()) == Some(meter.bytes())
            {
                continue;
            }
            let sent = Instant::now();
            let error = match tokio::time::timeout(beat, self.api.progress(meter.percent())).await {
                Ok(Ok(())) => {
                    // The server counts from when it heard us, which is not before we spoke.
                    renewed = sent;
                    missed = 0;
                    meter.count_beat();
                    continue;
                }
                Ok(Err(error)) if lease_is_lost(&error) => return lost(&*self.api, error),
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            missed += 1;
            if sabotage::on(Defect::HeartbeatStopsAtFirstError) {
                std::future::pending::<()>().await;
            }
            if renewed.elapsed() + beat >= deadline && !sabotage::on(Defect::DeadlineIgnored) {
                return not_renewed(&*self.api, deadline, error);
            }
            let reason = error.map_or_else(|| "no answer".to_owned(), |e| Error::from(e).chain());
            self.observer.observe(&Event::HeartbeatMissed { missed, reason });
        }
    }

    /// Watches the state that the server tells.  Resolves only when the lease has left `ready`.
    pub(crate) async fn watch(&self) -> Error {
        if sabotage::on(Defect::DeafWatch) {
            return std::future::pending().await;
        }
        loop {
            match self.api.next_state().await {
                Ok(LeaseState::Ready(_) | LeaseState::Initializing { .. }) => {}
                Ok(state) => return ended(&*self.api, state),
                Err(error) if lease_is_lost(&error) => return lost(&*self.api, error),
                // The heartbeat is the judge of a server that does not answer.
                Err(error) => {
                    tracing::debug!(%error, "watching the lease failed");
                    tokio::time::sleep(WATCH_PAUSE).await;
                }
            }
        }
    }

    /// Tells the server that everything is right.  From here on the lease is gone.
    ///
    /// If the answer is lost the call is repeated; a lease that is then found `done` was completed
    /// by one of the calls.  A server that is away is waited for as long as the lease may live, one
    /// that refuses is asked three times; the lease is renewed meanwhile.  If all tries fail, or the
    /// caller cancels, the lease is given up, unless a call has gone through all the same.
    pub(crate) async fn complete(self, cancel: &CancellationToken) -> Result<(), Error> {
        // The last word on the percentage belongs to us, not to the next beat.
        let beat = beat_of(self.info());
        // Not put off by the beats beside it: a server may answer those, and never this call.
        let deadline = Instant::now() + deadline_of(self.info());
        let last_word = tokio::time::timeout(LAST_WORD.min(beat), self.api.progress(100));
        let _told = cancel.run_until_cancelled(last_word).await;
        let mut ticks = tokio::time::interval_at(Instant::now() + beat, beat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut tries, mut refused) = (0, 0);
        let mut pause = Duration::ZERO;
        let error = loop {
            let attempt = self.beating(&mut ticks, async {
                tokio::time::sleep(pause).await;
                // A server may take its time to finish a machine.
                tokio::time::timeout(CALL_DEADLINE, self.api.complete()).await
            });
            let error = match cancel.run_until_cancelled(attempt).await {
                Some(Ok(Ok(()))) => {
                    if sabotage::on(Defect::CompleteTwice) {
                        let _again = self.api.complete().await;
                    }
                    self.observer.observe(&Event::LeaseComplete);
                    return Ok(());
                }
                Some(Ok(Err(error))) if lease_is_lost(&error) => {
                    let until = Instant::now() + CALL_DEADLINE;
                    let is_unsure = tries > 0;
                    if is_unsure && matches!(self.ending(until).await, Some(LeaseState::Done)) {
                        self.observer.observe(&Event::LeaseComplete);
                        return Ok(());
                    }
                    return Err(lost(&*self.api, error));
                }
                Some(Ok(Err(error))) => Some(error),
                Some(Err(_)) => None,
                None => break Error::Cancelled,
            };
            tries += 1;
            pause = (pause * 2).clamp(WATCH_PAUSE, COMPLETE_PAUSE_MAX);
            let is_away = error.as_ref().is_none_or(|e| e.kind() == VimErrorKind::Network);
            refused += u32::from(!is_away);
            let goes_on = match is_away {
                true => tries < COMPLETE_TRIES || Instant::now() + pause < deadline,
                false => refused < COMPLETE_TRIES,
            };
            if !goes_on {
                break not_completed(&*self.api, error);
            }
            let reason = error.map_or_else(|| "no answer".to_owned(), |e| Error::from(e).chain());
            tracing::warn!(reason, "the lease could not be completed yet");
        };
        let until = abort_deadline(&error);
        let mut aborted = self.give_up(&error, until).await;
        if aborted == Aborted::Ended && !sabotage::on(Defect::LostAnswerIsFailure) {
            // One of the calls may have gone through after all; then nothing was undone.
            match self.ending(until).await {
                Some(LeaseState::Done) => {
                    self.observer.observe(&Event::LeaseComplete);
                    return Ok(());
                }
                Some(LeaseState::Error(_)) => {}
                // It may stand complete on the server: whoever reads the journal finds out.
                _ => aborted = Aborted::Unconfirmed,
            }
        }
        self.tell_aborted(&error, aborted);
        Err(after_abort(error, aborted))
    }

    /// Does something with heartbeats beside it.
    async fn beating<T>(&self, ticks: &mut Interval, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            // One that gets no answer must not put off the next.
            let renewal = async {
                ticks.tick().await;
                tokio::time::timeout(ticks.period(), self.api.progress(100)).await
            };
            tokio::select! {
                biased;
                done = &mut work => return done,
                _renewed = renewal => {}
            }
        }
    }

    /// The last state of a lease that has ended, unless it is not to be found out in time; earlier
    /// states that are still queued are passed over.
    async fn ending(&self, until: Instant) -> Option<LeaseState> {
        let settled = async {
            loop {
                match self.api.next_state().await {
                    Ok(LeaseState::Ready(_) | LeaseState::Initializing { .. }) => {}
                    // What is true of the lease does not depend on one call.
                    Err(error) if !lease_is_lost(&error) => {
                        tokio::time::sleep(WATCH_PAUSE).await;
                    }
                    Ok(LeaseState::Unknown(_)) | Err(_) => return None,
                    Ok(state) => return Some(state),
                }
            }
        };
        tokio::time::timeout_at(until, settled).await.unwrap_or_default()
    }
}

impl<S: Sync> Lease<S> {
    /// Gives the lease up, with the cause for the server's task.
    ///
    /// Best effort within a deadline of its own: it does not look at any cancellation, because a
    /// cancelled transfer must clean up too.
    pub(crate) async fn abort(self, cause: &Error) -> Aborted {
        let aborted = self.give_up(cause, abort_deadline(cause)).await;
        self.tell_aborted(cause, aborted);
        aborted
    }

    /// Gives the lease up, and lets a panic of the work or of somebody's observer go on.
    pub(crate) async fn abort_before(self, panic: Box<dyn Any + Send>) -> ! {
        let cause = Error::Refused { problem: "the client failed (a defect)".to_owned() };
        let _best_effort = self.abort(&cause).await;
        std::panic::resume_unwind(panic)
    }

    /// Aborts it without telling anybody.
    async fn give_up(&self, cause: &Error, deadline: Instant) -> Aborted {
        let reason = cause.chain();
        loop {
            match tokio::time::timeout_at(deadline, self.api.abort(&reason)).await {
                Ok(Ok(())) => return Aborted::Confirmed,
                // The right to end it went with the session; the lease itself lives on.
                Ok(Err(error)) if is_session_lost(&error) => return Aborted::Unconfirmed,
                Ok(Err(error)) if lease_is_lost(&error) => return Aborted::Ended,
                Ok(Err(error)) if Instant::now() + WATCH_PAUSE < deadline => {
                    tracing::warn!(%error, "the lease could not be aborted yet");
                    tokio::time::sleep(WATCH_PAUSE).await;
                }
                Ok(Err(_)) | Err(_) => return Aborted::Unconfirmed,
            }
        }
    }

    fn tell_aborted(&self, cause: &Error, aborted: Aborted) {
        let confirmed = aborted != Aborted::Unconfirmed;
        self.observer.observe(&Event::LeaseAborted { reason: cause.chain(), confirmed });
    }
}

/// The error to report when a lease was aborted because of `error`.
pub(crate) fn after_abort(error: Error, aborted: Aborted) -> Error {
    const UNCONFIRMED: &str = "the server did not confirm the abort; it removes the machine when the \
                               lease times out";
    match (error, aborted) {
        (Error::Cancelled, Aborted::Unconfirmed) => {
            Error::CancelledUnclean { left_behind: UNCONFIRMED.to_owned() }
        }
        (Error::CancelledUnclean { left_behind }, Aborted::Unconfirmed) => {
            Error::CancelledUnclean { left_behind: format!("{left_behind}; {UNCONFIRMED}") }
        }
        (error, _) => error,
    }
}

/// The timeout as the server says it.
const fn timeout_of(info: &LeaseInfo) -> Duration {
    Duration::from_secs(info.timeout_s)
}

/// How often the lease is renewed: several times within its timeout.
pub(crate) fn beat_of(info: &LeaseInfo) -> Duration {
    (timeout_of(info) / BEATS_PER_TIMEOUT).clamp(BEAT_MIN, BEAT_MAX)
}

/// How long after the last renewal the lease is believed to live.
fn deadline_of(info: &LeaseInfo) -> Duration {
    timeout_of(info).clamp(BEAT_MIN * BEATS_PER_TIMEOUT, DEADLINE_MAX)
}

/// When an abort for this cause is left to the server.
fn abort_deadline(cause: &Error) -> Instant {
    // Somebody who cancels waits for us; everybody else is better served by insisting.
    let is_cancelled = matches!(cause, Error::Cancelled | Error::CancelledUnclean { .. });
    Instant::now() + if is_cancelled { CANCEL_DEADLINE } else { ABORT_DEADLINE }
}

/// The session is gone, and with it the right to end the lease.
fn is_session_lost(error: &VimError) -> bool {
    error.kind() == VimErrorKind::SessionLost
}

/// The error for a state that is neither `initializing` nor `ready`.
fn ended(api: &dyn LeaseApi, state: LeaseState) -> Error {
    let lease = api.name();
    match state {
        LeaseState::Error(fault) => {
            let reason = "the server gave it up".to_owned();
            Error::LeaseLost {
                lease,
                reason,
                source: Some(Box::new(Error::LeaseFault(Box::new(fault)))),
            }
        }
        LeaseState::Done => {
            Error::LeaseLost { lease, reason: "somebody completed it".to_owned(), source: None }
        }
        LeaseState::Unknown(name) => {
            let reason = format!("its state is {name:?}, which means nothing here");
            Error::LeaseLost { lease, reason, source: None }
        }
        LeaseState::Initializing { .. } | LeaseState::Ready(_) | _ => {
            let reason = "its state is not one that ends it".to_owned();
            Error::LeaseLost { lease, reason, source: None }
        }
    }
}

/// The error for a lease that is gone, as `error` says.
pub(crate) fn lost(api: &dyn LeaseApi, error: VimError) -> Error {
    let reason = if is_session_lost(&error) {
        "its session ended on the server"
    } else {
        "the server says that it has ended"
    };
    let source = Some(Box::new(Error::from(error)));
    Error::LeaseLost { lease: api.name(), reason: reason.to_owned(), source }
}

/// The error for a lease that was held to the end, and that the server has not taken back.
fn not_completed(api: &dyn LeaseApi, error: Option<VimError>) -> Error {
    let reason = "the server did not confirm its completion".to_owned();
    let source = error.map(|error| Box::new(Error::from(error)));
    Error::LeaseLost { lease: api.name(), reason, source }
}

fn not_renewed(api: &dyn LeaseApi, timeout: Duration, error: Option<VimError>) -> Error {
    let reason = format!("it could not be renewed within its {} seconds", timeout.as_secs());
    let source = error.map(|error| Box::new(Error::from(error)));
    Error::LeaseLost { lease: api.name(), reason, source }
}

/// Beats within one timeout: several may be lost without harm.
const BEATS_PER_TIMEOUT: u32 = 6;

/// The shortest beat: with a timeout of a few seconds, more often would only be a burden.
const BEAT_MIN: Duration = Duration::from_millis(500);

/// The longest beat.  Servers have answered a timeout of 300,000,000 seconds; a beat every 20
/// seconds also keeps the percentage on the server fresh.
const BEAT_MAX: Duration = Duration::from_secs(20);

/// The longest time without an answer before a lease is given up, whatever its timeout.
const DEADLINE_MAX: Duration = Duration::from_secs(30 * 60);

/// How long an abort may take.  After it the server is left to its own timeout.
const ABORT_DEADLINE: Duration = Duration::from_secs(30);

/// How long it may take when somebody waits for the end of a cancelled transfer.
const CANCEL_DEADLINE: Duration = Duration::from_secs(4);

/// How long the last percentage may take, if that is not longer than a beat: it is a courtesy, and the
/// lease is not renewed meanwhile.
const LAST_WORD: Duration = Duration::from_secs(2);

/// How long one call that ends the lease may take.
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// Pause after a call that failed, so that a server in trouble is not flooded.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// How often the completion is tried: the bytes are all there, so it is worth insisting.
const COMPLETE_TRIES: u32 = 3;

/// The longest pause before it is tried again; the pauses double.
const COMPLETE_PAUSE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
