//! What a watch is told, and the watch of a lease.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::{End, Report, SILENCE_MAX, Shared, WAIT, gone};
use crate::connection::Connection;
use crate::error::VimError;
use crate::fault::Fault;
use crate::lease::{LEASE_PATHS, LeaseId, LeaseProperties, LeaseState};
use crate::property;
use crate::value::{MoRef, Value};

/// What is known of a watched object; updates bring it piece by piece.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Watched {
    Lease(LeaseProperties),
    /// The `TaskInfo`.
    Task(Option<Value>),
}

impl Watched {
    /// Nothing is known yet.
    pub(super) fn new(object: &MoRef) -> Self {
        if object.kind() == "HttpNfcLease" {
            Self::Lease(LeaseProperties::default())
        } else {
            Self::Task(None)
        }
    }

    pub(super) fn is_lease(&self) -> bool {
        matches!(self, Self::Lease(_))
    }

    /// The properties that are watched.  An object that does not show the first shows none.
    pub(super) fn paths(&self) -> &'static [&'static str] {
        match self {
            Self::Lease(_) => &LEASE_PATHS,
            Self::Task(_) => &["info"],
        }
    }

    /// Takes over one property; `None` means unset.
    pub(super) fn set(&mut self, name: &str, value: Option<&Value>) {
        let has_ended = self.has_ended();
        match self {
            Self::Lease(properties) => properties.set(name, value),
            // A read and an update may cross: no task begins again after its end.
            Self::Task(info) if name == "info" && value.is_some() && !has_ended => {
                *info = value.cloned();
            }
            Self::Task(_) => {}
        }
    }

    /// Whether nothing new can come.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Lease(properties) => properties.is_done() || properties.error.is_some(),
            Self::Task(info) => {
                let state = info.as_ref().and_then(|info| info.text_of("state"));
                matches!(state.as_deref(), Some("error" | "success"))
            }
        }
    }
}

/// Follows one object.  Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Watch {
    object: MoRef,
    id: u64,
    receiver: watch::Receiver<Report>,
    shared: Weak<Shared>,
    connection: Arc<Connection>,
    parent: MoRef,
    /// The last report has been taken but not handed out.
    unfinished: bool,
}

impl Watch {
    pub(super) fn new(
        object: &MoRef,
        id: u64,
        receiver: watch::Receiver<Report>,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            object: object.clone(),
            id,
            receiver,
            shared: Arc::downgrade(shared),
            connection: Arc::clone(&shared.connection),
            parent: shared.parent.clone(),
            unfinished: false,
        }
    }

    pub(super) fn object(&self) -> &MoRef {
        &self.object
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the `TaskInfo` to change; the first call answers with the present one.
    pub(crate) async fn task_info(&mut self) -> Result<Value, VimError> {
        loop {
            if let Watched::Task(Some(info)) = self.report().await? {
                self.finish();
                return Ok(info);
            }
            self.finish();
        }
    }

    /// The last report has been handed out.  One that is the end is handed out again and again.
    fn finish(&mut self) {
        self.unfinished = self.receiver.borrow().end.is_some();
    }

    /// Waits for the next report, or takes the last one again if it has not been finished.
    async fn report(&mut self) -> Result<Watched, VimError> {
        if !self.unfinished && self.receiver.changed().await.is_err() {
            return Err(self.connection.lost(WAIT));
        }
        self.unfinished = true;
        let report = self.receiver.borrow_and_update().clone();
        match report.end {
            // It went after its end was told: that is the better news.
            Some(End::Gone) if report.watched.has_ended() => Ok(report.watched),
            Some(End::Gone) => Err(gone(&self.connection, &self.object)),
            Some(End::Silence) => Err(self.connection.silent(WAIT, SILENCE_MAX)),
            Some(End::SessionLost) => Err(self.connection.lost(WAIT)),
            None => Ok(report.watched),
        }
    }
}

impl Drop for Watch {
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

/// Follows one lease.  Dropping it ends the watch, not the lease.
#[derive(Debug)]
#[must_use = "a watch that is dropped tells nothing"]
pub struct LeaseWatch {
    lease: LeaseId,
    watch: Watch,
}

impl LeaseWatch {
    pub(crate) fn new(lease: &LeaseId, watch: Watch) -> Self {
        Self { lease: lease.clone(), watch }
    }

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
            let Watched::Lease(properties) = self.watch.report().await? else {
                self.watch.finish();
                continue;
            };
            let connection = Arc::clone(&self.watch.connection);
            match properties.snapshot(connection.endpoint()) {
                Some(state) => {
                    self.watch.finish();
                    return state.map_err(|reason| connection.protocol(WAIT, &reason));
                }
                None if properties.is_bare_error() => {
                    if let Some(fault) = self.reason().await {
                        self.watch.finish();
                        return Ok(LeaseState::Error(fault));
                    }
                }
                None => self.watch.finish(),
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
        let watch = &mut self.watch;
        if tokio::time::timeout(ERROR_GRACE, watch.receiver.changed()).await.is_ok() {
            return None;
        }
        let lease = self.lease.moref();
        let read = property::read(&watch.connection, &watch.parent, lease, &["error"]).await;
        let fault = read.ok().and_then(|p| p.value("error").and_then(Fault::from_value));
        Some(fault.unwrap_or_else(|| Fault::named("MethodFault", Some(NO_REASON))))
    }
}

const NO_REASON: &str = "the lease failed and the server gives no reason";
/// Between the state `error` and its fault; longer than any server takes.
const ERROR_GRACE: Duration = Duration::from_secs(1);
