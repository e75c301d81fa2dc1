//! The scenario's faults at work: each occasion asks whether one strikes.

use std::sync::Mutex;

use crate::lock::lock;
use crate::scenario::{Direction, Fault, FaultKind};

/// All faults of a scenario, counting down as they strike.  Shared by all hosts and leases.
#[derive(Debug, Default)]
pub(crate) struct Script {
    faults: Mutex<Vec<Pending>>,
}

#[derive(Debug)]
struct Pending {
    fault: Fault,
    passed: u32,
    struck: u32,
}

/// What goes wrong with one transfer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct StreamFaults {
    /// Offset of the byte whose lowest bit is turned over.
    pub(crate) flip_at: Option<u64>,
    /// Bytes after which the connection is reset.
    pub(crate) reset_after: Option<u64>,
    /// Bytes after which nothing moves any more.
    pub(crate) stall_after: Option<u64>,
    /// Status that is answered instead of moving anything.
    pub(crate) status: Option<u16>,
    /// Bytes after which the body ends as if it were whole.
    pub(crate) truncate_after: Option<u64>,
    /// The manifest gets another digest.
    pub(crate) wrong_digest: bool,
}

/// When a lease is lost.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct LeaseLoss {
    /// Bytes moved under the lease.
    pub(crate) after_bytes: Option<u64>,
    /// Milliseconds since it became ready.
    pub(crate) after_ms: Option<u64>,
}

impl Script {
    pub(crate) fn new(faults: &[Fault]) -> Self {
        let pending = |fault: &Fault| Pending { fault: fault.clone(), passed: 0, struck: 0 };
        Self { faults: Mutex::new(faults.iter().map(pending).collect()) }
    }

    /// What strikes a transfer of `disk` (index in its machine; `None` for other files) that
    /// starts now.
    pub(crate) fn stream(&self, on: Direction, machine: &str, disk: Option<usize>) -> StreamFaults {
        let mut strikes = StreamFaults::default();
        for pending in lock(&self.faults).iter_mut() {
            let fits = pending.fault.disk.is_none_or(|wanted| Some(wanted) == disk);
            if !fits || !pending.concerns(on, machine) {
                continue;
            }
            let kind = pending.fault.kind.clone();
            let is_stream_fault = match kind {
                FaultKind::FlipBitAt(_)
                | FaultKind::ResetAfterBytes(_)
                | FaultKind::StallAfterBytes(_)
                | FaultKind::Status(_)
                | FaultKind::TruncateAfterBytes(_)
                | FaultKind::WrongDigest => true,
                FaultKind::HeartbeatRefused
                | FaultKind::InitializeError(_)
                | FaultKind::LeaseLostAfterBytes(_)
                | FaultKind::LeaseLostAfterMs(_) => false,
            };
            if is_stream_fault && pending.strikes() {
                strikes.add(&kind);
            }
        }
        strikes
    }

    /// Whether this `HttpNfcLeaseProgress` is refused.
    pub(crate) fn refuses_heartbeat(&self, on: Direction, machine: &str) -> bool {
        self.first(on, machine, |kind| (*kind == FaultKind::HeartbeatRefused).then_some(()))
            .is_some()
    }

    /// The message with which a lease that is being made ends instead.
    pub(crate) fn initialize_error(&self, on: Direction, machine: &str) -> Option<String> {
        self.first(on, machine, |kind| {
            if let FaultKind::InitializeError(message) = kind {
                Some(message.clone())
            } else {
                None
            }
        })
    }

    /// When a lease that becomes ready now will be lost.
    pub(crate) fn lease_loss(&self, on: Direction, machine: &str) -> LeaseLoss {
        LeaseLoss {
            after_bytes: self.first(on, machine, |kind| {
                if let FaultKind::LeaseLostAfterBytes(bytes) = kind { Some(*bytes) } else { None }
            }),
            after_ms: self.first(on, machine, |kind| {
                if let FaultKind::LeaseLostAfterMs(ms) = kind { Some(*ms) } else { None }
            }),
        }
    }

    /// The first fault of a lease that `select` takes and that strikes now.
    fn first<T>(
        &self,
        on: Direction,
        machine: &str,
        select: impl Fn(&FaultKind) -> Option<T>,
    ) -> Option<T> {
        lock(&self.faults).iter_mut().filter(|pending| pending.concerns(on, machine)).find_map(
            |pending| {
                let found = select(&pending.fault.kind)?;
                pending.strikes().then_some(found)
            },
        )
    }
}

impl Pending {
    fn concerns(&self, on: Direction, machine: &str) -> bool {
        self.fault.on == on && self.fault.machine.as_deref().is_none_or(|name| name == machine)
    }

    /// Counts one occasion.
    fn strikes(&mut self) -> bool {
        if self.passed < self.fault.after {
            self.passed += 1;
            return false;
        }
        let strikes = self.struck < self.fault.times;
        self.struck += u32::from(strikes);
        strikes
    }
}

impl StreamFaults {
    /// How many of the `len` bytes at offset `at_byte` pass before something strikes.
    pub(crate) fn room(&self, at_byte: u64, len: usize) -> usize {
        [self.reset_after, self.stall_after, self.truncate_after]
            .into_iter()
            .flatten()
            .map(|after| usize::try_from(after.saturating_sub(at_byte)).unwrap_or(usize::MAX))
            .fold(len, usize::min)
    }

    /// Which of the `len` bytes at offset `at_byte` has its bit turned over.
    pub(crate) fn flip_index(&self, at_byte: u64, len: usize) -> Option<usize> {
        let index = usize::try_from(self.flip_at?.checked_sub(at_byte)?).ok()?;
        (index < len).then_some(index)
    }

    /// Adds one fault; of two of a kind the first one counts.
    fn add(&mut self, kind: &FaultKind) {
        match *kind {
            FaultKind::FlipBitAt(at) => self.flip_at = self.flip_at.or(Some(at)),
            FaultKind::ResetAfterBytes(n) => self.reset_after = self.reset_after.or(Some(n)),
            FaultKind::StallAfterBytes(n) => self.stall_after = self.stall_after.or(Some(n)),
            FaultKind::Status(code) => self.status = self.status.or(Some(code)),
            FaultKind::TruncateAfterBytes(n) => {
                self.truncate_after = self.truncate_after.or(Some(n));
            }
            FaultKind::WrongDigest => self.wrong_digest = true,
            FaultKind::HeartbeatRefused
            | FaultKind::InitializeError(_)
            | FaultKind::LeaseLostAfterBytes(_)
            | FaultKind::LeaseLostAfterMs(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_so_many_times_and_only_where_it_should() {
        let fault =
            Fault::new(Direction::Export, FaultKind::Status(503)).with_disk(1).with_times(2);
        let script = Script::new(&[fault]);
        let nothing = StreamFaults::default();
        assert_eq!(script.stream(Direction::Import, "vm", Some(1)), nothing);
        assert_eq!(script.stream(Direction::Export, "vm", Some(0)), nothing);
        assert_eq!(script.stream(Direction::Export, "vm", None), nothing);
        assert_eq!(script.stream(Direction::Export, "vm", Some(1)).status, Some(503));
        assert_eq!(script.stream(Direction::Export, "vm", Some(1)).status, Some(503));
        assert_eq!(script.stream(Direction::Export, "vm", Some(1)), nothing);
    }

    #[test]
    fn occasions_before_the_fault_pass() {
        let mut fault = Fault::new(Direction::Import, FaultKind::HeartbeatRefused);
        fault.after = 2;
        fault.machine = Some("a".to_owned());
        let script = Script::new(&[fault]);
        let beats: Vec<bool> =
            (0..5).map(|_| script.refuses_heartbeat(Direction::Import, "a")).collect();
        assert_eq!(beats, [false, false, true, false, false]);
        assert!(!script.refuses_heartbeat(Direction::Import, "b"));
    }

    #[test]
    fn faults_of_a_lease_are_not_faults_of_a_stream() {
        let script = Script::new(&[
            Fault::new(Direction::Export, FaultKind::LeaseLostAfterBytes(7)),
            Fault::new(Direction::Export, FaultKind::InitializeError("no space".to_owned())),
        ]);
        assert_eq!(script.stream(Direction::Export, "vm", Some(0)), StreamFaults::default());
        assert_eq!(script.initialize_error(Direction::Export, "vm").as_deref(), Some("no space"));
        assert_eq!(script.initialize_error(Direction::Export, "vm"), None);
        let loss = script.lease_loss(Direction::Export, "vm");
        assert_eq!(loss, LeaseLoss { after_bytes: Some(7), after_ms: None });
    }
}
