//! What a transfer tells while it runs.

use std::fmt;
use std::time::Duration;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::FileName;

use crate::kind::Conversion;
use crate::kind::DiskFileFormat;

/// Something worth telling a person, once.
///
/// Byte counts are not events: read them from the [`Meter`](crate::Meter).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A disk begins to be converted to a stream-optimized VMDK, which is sent in its place.
    FileConvert {
        /// The file.
        file: FileName,
        /// What it is.
        from: DiskFileFormat,
    },
    /// A disk has been converted, and waits to be sent.
    FileConverted {
        /// The file.
        file: FileName,
        /// What it was made of; that has been compared with the package's manifest.
        conversion: Conversion,
        /// Size of what is sent, in bytes.
        bytes: u64,
    },
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
    /// A file need not move: an earlier run, which was killed, has fetched and proven it, and it is
    /// still the same.
    FileKept {
        /// The file.
        file: FileName,
        /// Its size in bytes.
        bytes: u64,
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
    /// A host that serves or takes files of the lease was reached, before any of them moved.
    HostChecked {
        /// The host, as `name:port`.
        host: String,
        /// Whether its certificate was compared with one that the lease, or the user, names; if
        /// not, it was judged as that of the server is.
        pinned: bool,
        /// How long it took to answer.
        took: Duration,
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
    /// Something is done to the machine after its import is complete.
    Step {
        /// What.
        step: Step,
    },
    /// Something a person should know that does not stop the transfer.
    Warning {
        /// One sentence.
        message: String,
    },
}

/// What is done to a machine, on request, after its import is complete.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// The ports of its cards are looked at.
    CheckNetwork,
    /// Cards are put on the ports that were chosen for them.
    ConnectPort,
    /// The OVF environment is put into its configuration.
    InjectOvfEnv,
    /// It is started.
    PowerOn,
    /// The old machine of its name is deleted, and it takes the name.
    Replace,
    /// It is made a template.
    Template,
    /// Its guest is waited for until it reports an address.
    WaitForIp,
}

impl Step {
    /// The word for it in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::CheckNetwork => "check_network",
            Self::ConnectPort => "connect_port",
            Self::InjectOvfEnv => "inject_ovf_env",
            Self::PowerOn => "power_on",
            Self::Replace => "replace",
            Self::Template => "template",
            Self::WaitForIp => "wait_for_ip",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CheckNetwork => "checking its network",
            Self::ConnectPort => "putting its cards on the chosen ports",
            Self::InjectOvfEnv => "putting the OVF environment into it",
            Self::PowerOn => "powering it on",
            Self::Replace => "putting it in the place of the old machine",
            Self::Template => "making it a template",
            Self::WaitForIp => "waiting for its address",
        })
    }
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
