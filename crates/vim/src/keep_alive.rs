//! A session that does nothing stays alive.

use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use crate::error::VimError;
use crate::session::Session;

/// Keeps a session alive until it is dropped, or the session ends.
///
/// Made by [`Session::keep_alive`].
#[derive(Debug)]
#[must_use = "the session is kept alive only as long as this is"]
pub struct KeepAlive {
    task: AbortHandle,
    /// Ends the task when it is dropped.
    _tasks: JoinSet<()>,
}

impl KeepAlive {
    /// Whether it has nothing to keep alive any more: logged out, or lost.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

impl Session {
    /// Calls the server (`CurrentTime`) every `interval` while nothing else may, so that the
    /// session does not end by idling: 30 minutes on a vCenter, unless its administrator has set
    /// another time.  [`KEEP_ALIVE_INTERVAL`] suits most servers.
    ///
    /// Whoever holds a lease does not need it: renewing a lease is a call, too.  A failed call is
    /// repeated after the next interval.  Ends with the session, by logout or loss, and when the
    /// returned guard is dropped; the other calls of the session tell what happened.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn keep_alive(&self, interval: Duration) -> KeepAlive {
        let session = self.clone();
        // A pause of nothing would be a flood.
        let interval = interval.max(INTERVAL_MIN);
        let mut tasks = JoinSet::new();
        let task = tasks.spawn(async move {
            let mut logged_out = std::pin::pin!(session.logged_out());
            loop {
                tokio::select! {
                    () = &mut logged_out => return,
                    () = tokio::time::sleep(interval) => {}
                }
                match session.current_time().await {
                    Ok(_) => {}
                    Err(error @ VimError::SessionLost { .. }) => {
                        tracing::debug!(%error, "nothing left to keep alive");
                        return;
                    }
                    Err(error) => tracing::warn!(%error, "keeping the session alive failed"),
                }
            }
        });
        KeepAlive { task, _tasks: tasks }
    }
}

/// Five tries within the 30 minutes after which a vCenter ends an idle session (`protocol` section
/// 3.6), so that a short outage does not cost it.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// More often than any server lets sessions idle.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
