//! Limits how many streams run at once, over all and for each host.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::sabotage;
use crate::sabotage::Defect;

/// How many streams may run at once.
///
/// The NFC service of a host has hard limits on its connections; a host that answers 503 is given
/// half as many streams, and one more after each file that went well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Streams over all, 1 to 24.
    pub parallel: usize,
    /// Streams to one host, 1 to 24.
    pub per_host: usize,
}

impl Limits {
    /// Limits within the range that makes sense: 1 to [`Limits::MAX`] each.
    #[must_use]
    pub fn new(parallel: usize, per_host: usize) -> Self {
        Self { parallel: parallel.clamp(1, Self::MAX), per_host: per_host.clamp(1, Self::MAX) }
    }

    /// The most streams that are ever used.  A host's NFC service takes about 48 connections and
    /// vCenter 52, shared with backup products and other clients: half is all one may take.
    pub const MAX: usize = 24;
}

impl Default for Limits {
    /// 8 streams over all, 8 to one host.
    fn default() -> Self {
        Self { parallel: 8, per_host: 8 }
    }
}

/// Gives out permits to open streams.  Shared by all transfers of a process.
#[derive(Clone)]
pub struct Governor {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    state: Mutex<State>,
    /// Told whenever a permit may have become free.
    freed: Notify,
}

#[derive(Default)]
struct State {
    running: usize,
    hosts: HashMap<String, Host>,
    /// Counts permits and cuts, to tell which came first.
    serial: u64,
}

#[derive(Clone, Copy)]
struct Host {
    running: usize,
    allowed: usize,
    /// When the host was last given less.
    cut_at: u64,
}

impl Governor {
    /// A governor with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits::new(limits.parallel, limits.per_host);
        let shared = Shared { limits, state: Mutex::default(), freed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// The limits that were given.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Waits until a stream to `host` may be opened; `None` if `cancel` came first.
    pub(crate) async fn permit(&self, host: &str, cancel: &CancellationToken) -> Option<Permit> {
        loop {
            let freed = self.shared.freed.notified();
            tokio::pin!(freed);
            // Registered before the look, so that a permit freed in between is not missed.
            freed.as_mut().enable();
            if cancel.is_cancelled() {
                return None;
            }
            if let Some(taken_at) = self.try_take(host) {
                return Some(Permit { governor: self.clone(), host: host.to_owned(), taken_at });
            }
            cancel.run_until_cancelled(freed).await?;
        }
    }

    fn try_take(&self, host: &str) -> Option<u64> {
        let mut state = self.lock();
        if state.running >= self.shared.limits.parallel {
            return None;
        }
        let fresh = Host { running: 0, allowed: self.shared.limits.per_host, cut_at: 0 };
        let entry = state.hosts.entry(host.to_owned()).or_insert(fresh);
        if entry.running >= entry.allowed && !sabotage::on(Defect::IgnoreHostLimit) {
            return None;
        }
        entry.running += 1;
        state.running += 1;
        state.serial += 1;
        Some(state.serial)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Governor {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.lock().running;
        f.debug_struct("Governor")
            .field("limits", &self.shared.limits)
            .field("running", &running)
            .finish()
    }
}

/// The right to one stream to one host; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    governor: Governor,
    host: String,
    taken_at: u64,
}

impl Permit {
    /// The host said that it is overloaded: from now on it gets half as many streams.
    ///
    /// Streams that were opened before the last cut say nothing new.
    pub(crate) fn overloaded(&self) {
        if sabotage::on(Defect::IgnoreOverload) {
            return;
        }
        let mut state = self.governor.lock();
        let now = state.serial + 1;
        if let Some(host) = state.hosts.get_mut(&self.host)
            && self.taken_at > host.cut_at
        {
            host.allowed = (host.allowed / 2).max(1);
            host.cut_at = now;
            state.serial = now;
        }
    }

    /// A file went well: the host may have one stream more, up to the limit.
    pub(crate) fn went_well(&self) {
        let limit = self.governor.shared.limits.per_host;
        if let Some(host) = self.governor.lock().hosts.get_mut(&self.host) {
            host.allowed = (host.allowed + 1).min(limit);
        }
        self.governor.shared.freed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut state = self.governor.lock();
            state.running -= 1;
            if let Some(host) = state.hosts.get_mut(&self.host) {
                host.running -= 1;
                if host.running == 0 && host.allowed == self.governor.shared.limits.per_host {
                    // Nothing to remember: a process that lives for years sees many hosts.
                    state.hosts.remove(&self.host);
                }
            }
        }
        self.governor.shared.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_free(governor: &Governor, host: &str) -> Option<Permit> {
        let cancel = CancellationToken::new();
        tokio::time::timeout(Duration::from_secs(1), governor.permit(host, &cancel))
            .await
            .ok()
            .flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn limits_over_all_and_for_each_host() {
        let governor = Governor::new(Limits::new(3, 2));
        let one = is_free(&governor, "a").await.unwrap();
        let _two = is_free(&governor, "a").await.unwrap();
        assert!(is_free(&governor, "a").await.is_none());
        let _three = is_free(&governor, "b").await.unwrap();
        assert!(is_free(&governor, "c").await.is_none());
        drop(one);
        assert!(is_free(&governor, "c").await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_freed_permit_wakes_who_waits() {
        let governor = Governor::new(Limits::new(1, 1));
        let first = is_free(&governor, "a").await.unwrap();
        let cancel = CancellationToken::new();
        let waits = governor.permit("a", &cancel);
        let frees = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(first);
        };
        let (permit, ()) = tokio::join!(waits, frees);
        assert!(permit.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_host_gets_half_and_recovers() {
        let governor = Governor::new(Limits::new(8, 4));
        let first = is_free(&governor, "a").await.unwrap();
        first.overloaded();
        let _second = is_free(&governor, "a").await.unwrap();
        assert!(is_free(&governor, "a").await.is_none());
        first.went_well();
        assert!(is_free(&governor, "a").await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_refusals_is_one_cut() {
        let governor = Governor::new(Limits::new(8, 8));
        let mut permits = Vec::new();
        while let Some(permit) = is_free(&governor, "a").await {
            permits.push(permit);
        }
        permits.iter().for_each(Permit::overloaded);
        permits.clear();
        while let Some(permit) = is_free(&governor, "a").await {
            permits.push(permit);
        }
        assert_eq!(permits.len(), 4);
        permits.iter().for_each(Permit::overloaded);
        drop(permits);
        let _one = is_free(&governor, "a").await.unwrap();
        let _two = is_free(&governor, "a").await.unwrap();
        assert!(is_free(&governor, "a").await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_forgotten_when_there_is_nothing_to_remember() {
        let governor = Governor::new(Limits::new(8, 2));
        let (one, two) = (is_free(&governor, "a").await, is_free(&governor, "a").await);
        drop(one);
        // One stream is still there, and counts.
        let three = is_free(&governor, "a").await;
        assert!(three.is_some() && is_free(&governor, "a").await.is_none());
        drop((two, three));
        assert!(governor.lock().hosts.is_empty());
        // A host that is overloaded is remembered also while nothing runs.
        is_free(&governor, "a").await.unwrap().overloaded();
        let _one = is_free(&governor, "a").await.unwrap();
        assert!(is_free(&governor, "a").await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_ends_the_wait() {
        let governor = Governor::new(Limits::new(1, 1));
        let _held = is_free(&governor, "a").await.unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(governor.permit("a", &cancel).await.is_none());
    }

    #[test]
    fn limits_are_kept_within_reason() {
        assert_eq!(Limits::new(0, 1000), Limits { parallel: 1, per_host: 24 });
    }
}
