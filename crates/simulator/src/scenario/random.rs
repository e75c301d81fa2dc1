//! Faults that strike by chance, the same ones for the same seed.

use serde::{Deserialize, Serialize};

use super::{Direction, ScenarioError, Size, wrong};

/// Faults by chance.
///
/// Whether an occasion is struck, by what and at which byte depends on nothing but the seed, the
/// kind of occasion, the machine, the file, and how many such occasions there were before.  Streams
/// that run side by side do not disturb each other: the same seed does the same to the same work,
/// however it is timed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RandomFaults {
    /// Another seed strikes elsewhere.
    pub seed: u64,
    /// How many of a thousand occasions are struck.
    pub per_mille: u16,
    /// Only transfers of this way; absent: both.
    pub on: Option<Direction>,
    /// What may happen.
    pub kinds: Vec<RandomKind>,
    /// Faults inside a stream strike before this many bytes.
    pub within: Size,
}

/// What may happen by chance; see [`FaultKind`](super::FaultKind) for what each does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RandomKind {
    /// One bit of a stream is turned over.
    FlipBit,
    /// A heartbeat is refused.
    HeartbeatRefused,
    /// A lease does not become ready.
    InitializeError,
    /// A lease is lost while data moves.
    LeaseLost,
    /// A connection is reset.
    Reset,
    /// A stream stands still.
    Stall,
    /// A transfer is answered with 500.
    #[serde(rename = "status_500")]
    Status500,
    /// A transfer is answered with 503.
    #[serde(rename = "status_503")]
    Status503,
    /// A stream ends early, as if it were whole.
    Truncate,
    /// The manifest has another digest.
    WrongDigest,
}

impl RandomFaults {
    /// Two of a hundred occasions, with everything that a client can repeat.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        if self.per_mille > 1000 {
            return Err(wrong("random_faults.per_mille", "must be at most 1000"));
        }
        if self.kinds.is_empty() {
            return Err(wrong("random_faults.kinds", "at least one is needed"));
        }
        if self.within.bytes() == 0 {
            return Err(wrong("random_faults.within", "must be at least 1"));
        }
        Ok(())
    }
}

impl Default for RandomFaults {
    fn default() -> Self {
        Self {
            seed: 0,
            per_mille: 20,
            on: None,
            kinds: vec![RandomKind::HeartbeatRefused, RandomKind::Reset, RandomKind::Status503],
            within: Size::from_bytes(1 << 20),
        }
    }
}
