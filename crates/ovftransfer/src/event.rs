//! What a transfer tells while it runs.

use std::fmt;
use std::time::Duration;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::FileName;

/// Something worth telling a person, once.
///
/// Byte counts are not events: read them from the [`Meter`](crate::Meter).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A file's bytes begin to move.
    FileStart {
        /// The file.
        file: FileName,
        /// The host that serves or takes it, as `name:port`.
        host: String,
        /// 1 for the first try.
        attempt: u32,
    },
    /// A try failed in a way that another one may mend.
    FileRetry {
        /// The file.
        file: FileName,
        /// Why the try failed.
        reason: String,
        /// The pause before the next one.
        after: Duration,
    },
    /// A file is proven: it is what the package and the server say it is.
    FileProven {
        /// The file.
        file: FileName,
        /// Its size in bytes.
        bytes: u64,
        /// The digest that was compared.
        digest: Digest,
        /// Whether the server's manifest agreed too.
        by_server: bool,
    },
    /// The server prepares the machine.
    LeaseInitializing {
        /// Whole percent, 0 to 100, as the server gives it.
        percent: u8,
    },
    /// The lease is held; data may move.
    LeaseReady {
        /// How long the server keeps the lease without a heartbeat.
        timeout: Duration,
        /// How often it is renewed.
        beat: Duration,
    },
    /// A heartbeat went wrong; it is tried again.
    HeartbeatMissed {
        /// How many went wrong in a row.
        missed: u32,
        /// Why.
        reason: String,
    },
    /// Everything is proven and the server has been told so.
    LeaseComplete,
    /// The lease was given up; the server removes what it had made.
    LeaseAborted {
        /// Why.
        reason: String,
        /// Whether the server took it; if not, it cleans up when the lease times out.
        confirmed: bool,
    },
    /// Something a person should know that does not stop the transfer.
    Warning {
        /// One sentence.
        message: String,
    },
}

/// Receives events.
///
/// Called from the transfer's own tasks, so it must not block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Told once per event, in order per file.
    fn observe(&self, event: &Event);
}

impl Observer for () {
    fn observe(&self, _: &Event) {}
}
