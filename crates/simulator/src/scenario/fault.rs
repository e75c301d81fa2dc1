//! What goes wrong in a scenario.

use serde::{Deserialize, Serialize};

use super::{ScenarioError, wrong};

/// Something that goes wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Fault {
    /// Which transfers it strikes.
    pub on: Direction,
    /// Only this disk of the machine, counted from 0; absent: any file.  Faults of a lease
    /// ignore it.
    #[serde(default)]
    pub disk: Option<usize>,
    /// Only this machine, by name; absent: any.
    #[serde(default)]
    pub machine: Option<String>,
    /// What happens.
    pub kind: FaultKind,
    /// How many occasions pass before it strikes.
    #[serde(default)]
    pub after: u32,
    /// How many times it strikes.
    #[serde(default = "once")]
    pub times: u32,
}

/// Way of a transfer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "there are two ways")]
pub enum Direction {
    /// From the server: downloads.
    Export,
    /// To the server: uploads.
    Import,
}

/// What goes wrong.  Bytes are counted in the body of one request, from 0.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// The lowest bit of the byte at this offset is turned over.  On export the manifest keeps
    /// the digest of the right bytes; on import the bytes count as they arrived: turned over.
    FlipBitAt(u64),
    /// One `HttpNfcLeaseProgress` fails.
    HeartbeatRefused,
    /// The lease does not become ready but ends in error with this message.
    InitializeError(String),
    /// The lease ends in error once so many bytes have moved under it.
    LeaseLostAfterBytes(u64),
    /// The lease ends in error so many milliseconds after it became ready.
    LeaseLostAfterMs(u64),
    /// The connection is cut by a TCP reset after so many bytes.
    ResetAfterBytes(u64),
    /// Nothing moves any more after so many bytes, until the lease ends.
    StallAfterBytes(u64),
    /// The host answers with this HTTP status instead of moving anything.
    Status(u16),
    /// The reply ends cleanly after so many bytes, as if it were whole (export); an upload is
    /// answered with 200 although the rest was dropped (import).
    TruncateAfterBytes(u64),
    /// The manifest of the lease has another digest than the bytes.
    WrongDigest,
}

impl Fault {
    /// A fault that strikes the first occasion on any file of any machine.
    #[must_use]
    pub fn new(on: Direction, kind: FaultKind) -> Self {
        Self { on, disk: None, machine: None, kind, after: 0, times: once() }
    }

    /// The same fault only on the disk with this index.
    #[must_use]
    pub fn with_disk(mut self, index: usize) -> Self {
        self.disk = Some(index);
        self
    }

    /// The same fault so many times.
    #[must_use]
    pub fn with_times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    pub(super) fn check(&self, at: &str) -> Result<(), ScenarioError> {
        if let FaultKind::Status(code) = self.kind
            && !(400..=599).contains(&code)
        {
            return Err(wrong(format!("{at}.kind.status"), "must be between 400 and 599"));
        }
        Ok(())
    }
}

fn once() -> u32 {
    1
}
