//! The scenario's faults at work: each occasion asks whether one strikes.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::lock::lock;
use crate::scenario::{Direction, Fault, FaultKind, RandomFaults, RandomKind};

/// All faults of a scenario, counting down as they strike.  Shared by all hosts and leases.
#[derive(Debug, Default)]
pub(crate) struct Script {
    faults: Mutex<Vec<Pending>>,
    chance: Option<Chance>,
}

/// Faults by chance: what strikes follows from the seed and from the occasion.
#[derive(Debug)]
struct Chance {
    faults: RandomFaults,
    /// How many occasions of each kind there were.
    occasions: Mutex<HashMap<String, u64>>,
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
        Self { faults: Mutex::new(faults.iter().map(pending).collect()), chance: None }
    }

    /// The same with faults by chance beside them.
    #[must_use]
    pub(crate) fn with_chance(self, faults: Option<&RandomFaults>) -> Self {
        let chance =
            |faults: &RandomFaults| Chance { faults: faults.clone(), occasions: Mutex::default() };
        Self { chance: faults.map(chance), ..self }
    }

    /// What strikes a transfer of `file` that starts now.  `disk` is its index in the machine,
    /// `None` for other files.
    pub(crate) fn stream(
        &self,
        on: Direction,
        machine: &str,
        disk: Option<usize>,
        file: &str,
    ) -> StreamFaults {
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
        let by_chance = self.by_chance(Occasion::Stream, on, &[machine, file]);
        if let Some(kind) = by_chance {
            strikes.add(&kind);
        }
        strikes
    }

    fn by_chance(&self, occasion: Occasion, on: Direction, who: &[&str]) -> Option<FaultKind> {
        self.chance.as_ref()?.draw(occasion, on, who)
    }

    /// Whether this `HttpNfcLeaseProgress` is refused.
    pub(crate) fn refuses_heartbeat(&self, on: Direction, machine: &str) -> bool {
        self.first(on, machine, |kind| (*kind == FaultKind::HeartbeatRefused).then_some(()))
            .is_some()
            || self.by_chance(Occasion::Heartbeat, on, &[machine]).is_some()
    }

    /// The message with which a lease that is being made ends instead.
    pub(crate) fn initialize_error(&self, on: Direction, machine: &str) -> Option<String> {
        let message = |kind: &FaultKind| {
            if let FaultKind::InitializeError(message) = kind {
                Some(message.clone())
            } else {
                None
            }
        };
        let scripted = self.first(on, machine, message);
        scripted.or_else(|| message(&self.by_chance(Occasion::Initialize, on, &[machine])?))
    }

    /// When a lease that becomes ready now will be lost.
    pub(crate) fn lease_loss(&self, on: Direction, machine: &str) -> LeaseLoss {
        let bytes = |kind: &FaultKind| {
            if let FaultKind::LeaseLostAfterBytes(bytes) = kind { Some(*bytes) } else { None }
        };
        let by_chance = self.by_chance(Occasion::Lease, on, &[machine]);
        LeaseLoss {
            after_bytes: self
                .first(on, machine, bytes)
                .or_else(|| by_chance.as_ref().and_then(bytes)),
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

/// What can be struck.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Occasion {
    Heartbeat,
    Initialize,
    Lease,
    Stream,
}

impl Occasion {
    fn of(kind: RandomKind) -> Self {
        match kind {
            RandomKind::HeartbeatRefused => Self::Heartbeat,
            RandomKind::InitializeError => Self::Initialize,
            RandomKind::LeaseLost => Self::Lease,
            RandomKind::FlipBit
            | RandomKind::Reset
            | RandomKind::Stall
            | RandomKind::Status500
            | RandomKind::Status503
            | RandomKind::Truncate
            | RandomKind::WrongDigest => Self::Stream,
        }
    }
}

impl Chance {
    /// What strikes the next occasion of this kind for `who`, if anything.
    fn draw(&self, occasion: Occasion, on: Direction, who: &[&str]) -> Option<FaultKind> {
        let faults = &self.faults;
        let kinds: Vec<RandomKind> =
            faults.kinds.iter().copied().filter(|kind| Occasion::of(*kind) == occasion).collect();
        if kinds.is_empty() || faults.on.is_some_and(|only| only != on) {
            return None;
        }
        // Names may have any letter but NUL in them.
        let key = format!("{occasion:?}\0{on:?}\0{}", who.join("\0"));
        let number = {
            let mut occasions = lock(&self.occasions);
            let number = occasions.entry(key.clone()).or_default();
            *number += 1;
            *number
        };
        let mut dice = Dice::new(faults.seed, &key, number);
        if dice.roll(1000) >= u64::from(faults.per_mille) {
            return None;
        }
        let kind = usize::try_from(dice.roll(kinds.len() as u64)).unwrap_or(0);
        let at_byte = dice.roll(faults.within.bytes());
        Some(match kinds.get(kind).copied()? {
            RandomKind::FlipBit => FaultKind::FlipBitAt(at_byte),
            RandomKind::HeartbeatRefused => FaultKind::HeartbeatRefused,
            RandomKind::InitializeError => FaultKind::InitializeError("by chance".to_owned()),
            RandomKind::LeaseLost => FaultKind::LeaseLostAfterBytes(at_byte),
            RandomKind::Reset => FaultKind::ResetAfterBytes(at_byte),
            RandomKind::Stall => FaultKind::StallAfterBytes(at_byte),
            RandomKind::Status500 => FaultKind::Status(500),
            RandomKind::Status503 => FaultKind::Status(503),
            RandomKind::Truncate => FaultKind::TruncateAfterBytes(at_byte),
            RandomKind::WrongDigest => FaultKind::WrongDigest,
        })
    }
}

/// Random numbers that are the same on every machine and for every version of this crate.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64, key: &str, number: u64) -> Self {
        // FNV-1a over the key, then one step of the generator for each part.
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut dice = Self(seed);
        dice.0 = dice.next() ^ hash;
        dice.0 = dice.next() ^ number;
        dice
    }

    /// A number below `sides`; their tiny inequality does not matter here.
    fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides.max(1)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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
        assert_eq!(script.stream(Direction::Import, "vm", Some(1), "f"), nothing);
        assert_eq!(script.stream(Direction::Export, "vm", Some(0), "f"), nothing);
        assert_eq!(script.stream(Direction::Export, "vm", None, "f"), nothing);
        assert_eq!(script.stream(Direction::Export, "vm", Some(1), "f").status, Some(503));
        assert_eq!(script.stream(Direction::Export, "vm", Some(1), "f").status, Some(503));
        assert_eq!(script.stream(Direction::Export, "vm", Some(1), "f"), nothing);
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
        assert_eq!(script.stream(Direction::Export, "vm", Some(0), "f"), StreamFaults::default());
        assert_eq!(script.initialize_error(Direction::Export, "vm").as_deref(), Some("no space"));
        assert_eq!(script.initialize_error(Direction::Export, "vm"), None);
        let loss = script.lease_loss(Direction::Export, "vm");
        assert_eq!(loss, LeaseLoss { after_bytes: Some(7), after_ms: None });
    }

    /// The fates of so many downloads of each of two files and of as many heartbeats, asked for in
    /// an order of their own.
    fn fates(seed: u64, turns: impl Iterator<Item = usize>) -> [Vec<String>; 3] {
        let faults = RandomFaults {
            seed,
            per_mille: 300,
            kinds: vec![
                RandomKind::Reset,
                RandomKind::Status503,
                RandomKind::FlipBit,
                RandomKind::HeartbeatRefused,
            ],
            ..RandomFaults::default()
        };
        let script = Script::default().with_chance(Some(&faults));
        let mut fates = [Vec::new(), Vec::new(), Vec::new()];
        for turn in turns {
            let on = Direction::Export;
            fates[turn].push(match turn {
                0 => format!("{:?}", script.stream(on, "vm", Some(0), "disk-0.vmdk")),
                1 => format!("{:?}", script.stream(on, "vm", Some(1), "disk-1.vmdk")),
                _ => script.refuses_heartbeat(on, "vm").to_string(),
            });
        }
        fates
    }

    #[test]
    fn chance_depends_on_the_seed_and_not_on_the_order_of_streams() {
        let by_turns = fates(7, (0..300).map(|step| step % 3));
        let one_by_one = fates(7, (0..300).map(|step| step / 100));
        assert_eq!(by_turns, one_by_one);
        assert_ne!(by_turns[0], by_turns[1], "files have fates of their own");
        assert_ne!(by_turns, fates(8, (0..300).map(|step| step % 3)));
        let struck = by_turns[2].iter().filter(|fate| *fate == "true").count();
        assert!((15..=45).contains(&struck), "{struck} of 100 at 300 per mille");
        // The numbers are part of what users rely on: a seed in a bug report must stay good.
        let first = by_turns[0].iter().position(|fate| fate.contains("Some(")).unwrap();
        let unavailable = StreamFaults { status: Some(503), ..StreamFaults::default() };
        assert_eq!((first, &by_turns[0][first]), (7, &format!("{unavailable:?}")));
    }

    #[test]
    fn chance_strikes_only_what_it_may() {
        let always = |kind| RandomFaults {
            per_mille: 1000,
            on: Some(Direction::Import),
            kinds: vec![kind],
            ..RandomFaults::default()
        };
        let script = |kind| Script::default().with_chance(Some(&always(kind)));
        let beats = script(RandomKind::HeartbeatRefused);
        assert!(beats.refuses_heartbeat(Direction::Import, "vm"));
        assert!(!beats.refuses_heartbeat(Direction::Export, "vm"));
        let nothing = StreamFaults::default();
        assert_eq!(beats.stream(Direction::Import, "vm", Some(0), "f"), nothing);
        assert_eq!(beats.initialize_error(Direction::Import, "vm"), None);
        assert_eq!(beats.lease_loss(Direction::Import, "vm"), LeaseLoss::default());
        let lost = script(RandomKind::LeaseLost).lease_loss(Direction::Import, "vm");
        assert!(lost.after_bytes.is_some_and(|bytes| bytes < 1 << 20));
        let refused = script(RandomKind::InitializeError);
        assert!(refused.initialize_error(Direction::Import, "vm").is_some());
        let status = script(RandomKind::Status500).stream(Direction::Import, "vm", None, "f");
        assert_eq!(status.status, Some(500));
    }
}
