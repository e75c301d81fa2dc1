//! Says beforehand how a script must end.
//!
//! It knows the promises, not the engine: it walks through the script in the order of a transfer,
//! and names every end that is right.  With one cause that is one end.

use super::script::Abortion;
use super::script::Completion;
use super::script::Death;
use super::script::Entry;
use super::script::Errno;
use super::script::FilePlan;
use super::script::HostTrouble;
use super::script::LeasePlan;
use super::script::Promised;
use super::script::Script;
use super::script::Sha256Answer;
use super::script::SinkTrouble;
use super::script::SourceTrouble;
use super::script::Start;
use super::script::Trouble;
use super::script::Way;
use crate::error::ErrorKind;
use crate::verify::Verification;

/// How a transfer ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The lease is completed, and everything is there.
    Complete,
    /// The lease is not completed, and nothing is there.
    Failed(ErrorKind),
    /// The lease was completed, but what came could not be given its name.
    Unnamed(ErrorKind),
}

impl Script {
    /// Whether a stream that breaks is begun again.
    pub(super) fn may_repeat(&self) -> bool {
        let proves = self.retry_uploads && self.verification != Verification::Off;
        matches!(self.way, Way::Export(_)) || proves
    }

    /// When the lease becomes ready.
    pub(super) fn ready_ms(&self) -> u64 {
        self.lease.initializing.iter().map(|(pause_ms, _)| pause_ms + 20).sum()
    }

    /// Every end that is right.
    pub(super) fn ends(&self) -> Vec<End> {
        // What strikes at a time of its own may strike before anything else does.
        let mut ends = Vec::new();
        let mut is_certain = false;
        if let Some(cancel) = self.cancel {
            ends.extend(self.cancelled().map(End::Failed));
            // It cannot be found out in four seconds that a lease was completed.
            let is_quiet =
                |one: &Completion| matches!(one, Completion::AnswerLost | Completion::Mute);
            if self.lease.watch_fails > 0 && self.lease.complete.iter().any(is_quiet) {
                ends.push(End::Unnamed(ErrorKind::CancelledUnclean));
            }
            is_certain |= cancel.is_midway;
        }
        if self.lease.start == Start::Ready
            && let Some((at_ms, death)) = self.lease.death
        {
            // The choice of a digest is not tried for as long as a heartbeat.
            if death == Death::Unreachable && at_ms < self.ready_ms() + PREPARED_MS {
                ends.push(End::Failed(ErrorKind::Network));
            }
            ends.push(End::Failed(ErrorKind::LeaseLost));
            is_certain = true;
        }
        let in_order = self.in_order();
        if !is_certain || in_order.iter().any(|end| is_before_completion(*end)) {
            ends.extend(
                in_order.into_iter().filter(|end| !is_certain || is_before_completion(*end)),
            );
        }
        ends
    }

    fn cancelled(&self) -> impl Iterator<Item = ErrorKind> {
        // A lease that nobody renews any more may time out before the last try to abort it.
        let is_gone = self.lease.death.is_some() || self.lease.timeout_s <= 12;
        let abort_fails = match self.lease.abort {
            Abortion::Answer => false,
            // A call each second, within four.
            Abortion::Fails(times) => times > 3,
            Abortion::Silence => true,
        };
        let death_leaves =
            matches!(self.lease.death, Some((_, Death::SessionLost | Death::Unreachable)));
        let sink_stays = self.files.iter().any(|file| file.sink == Some(SinkTrouble::Abort));
        let is_unclean = abort_fails || death_leaves || sink_stays;
        let is_clean = !abort_fails || is_gone;
        let kinds = [(is_clean, ErrorKind::Cancelled), (is_unclean, ErrorKind::CancelledUnclean)];
        kinds.into_iter().filter_map(|(is_possible, kind)| is_possible.then_some(kind))
    }

    /// The ends of what happens one after the other: the first that must fail decides.
    fn in_order(&self) -> Vec<End> {
        let failed = |kinds: Vec<ErrorKind>| kinds.into_iter().map(End::Failed).collect();
        if let Some(kind) = start(self.lease.start) {
            return failed(vec![kind]);
        }
        let hosts: Vec<ErrorKind> = self
            .files
            .iter()
            .filter_map(|file| match self.hosts[file.host] {
                HostTrouble::Away(3..) | HostTrouble::Mute => Some(ErrorKind::Network),
                HostTrouble::WrongCertificate => Some(ErrorKind::Tls),
                HostTrouble::None | HostTrouble::Broken | HostTrouble::Away(_) => None,
            })
            .collect();
        if !hosts.is_empty() {
            return failed(hosts);
        }
        let is_asked = self.verification != Verification::Off;
        if is_asked && matches!(self.lease.sha256, Sha256Answer::Fails(3..)) {
            return failed(vec![ErrorKind::Network]);
        }
        let files: Vec<ErrorKind> = self.files.iter().flat_map(|file| self.fate(file)).collect();
        if !files.is_empty() {
            return failed(files);
        }
        match self.papers {
            Some(SinkTrouble::Create(errno) | SinkTrouble::Write(errno)) => {
                return failed(vec![local(errno)]);
            }
            Some(SinkTrouble::Finish) => return failed(vec![ErrorKind::LocalFile]),
            Some(SinkTrouble::Stall | SinkTrouble::Commit | SinkTrouble::Abort) | None => {}
        }
        if !completes(&self.lease) {
            return failed(vec![ErrorKind::LeaseLost]);
        }
        let sinks = self.files.iter().map(|file| file.sink).chain([self.papers]);
        if sinks.flatten().any(|sink| sink == SinkTrouble::Commit) {
            return vec![End::Unnamed(ErrorKind::LocalFile)];
        }
        vec![End::Complete]
    }

    /// How a file fails, if it must.
    fn fate(&self, file: &FilePlan) -> Vec<ErrorKind> {
        let is_import = self.way == Way::Import;
        match file.source {
            Some(SourceTrouble::Open) => return vec![ErrorKind::LocalFile],
            Some(SourceTrouble::Read(_)) => return vec![ErrorKind::LocalFile],
            Some(SourceTrouble::Once | SourceTrouble::Stall(_)) | None => {}
        }
        match file.sink {
            Some(SinkTrouble::Create(errno) | SinkTrouble::Write(errno)) => {
                return vec![local(errno)];
            }
            Some(SinkTrouble::Finish) => return vec![ErrorKind::LocalFile],
            Some(SinkTrouble::Stall | SinkTrouble::Commit | SinkTrouble::Abort) | None => {}
        }
        let is_stalled = matches!(file.source, Some(SourceTrouble::Stall(_)))
            || file.sink == Some(SinkTrouble::Stall);
        let mut attempts = 1;
        for trouble in is_stalled.then_some(&Trouble::Stall(0)).into_iter().chain(&file.tries) {
            match self.verdict(file, *trouble) {
                Verdict::Good => break,
                Verdict::Bad(kinds) => return kinds,
                Verdict::Passes => {
                    let is_once = file.source == Some(SourceTrouble::Once);
                    if attempts == TRIES || !self.may_repeat() || is_once {
                        return vec![ErrorKind::Network];
                    }
                    attempts += 1;
                }
            }
        }
        if file.promise == Promised::Wrong {
            return vec![ErrorKind::DigestMismatch];
        }
        let level = match (is_import, attempts > 1) {
            (true, true) => Verification::Require,
            _ => self.verification,
        };
        let is_proven = match (level, file.entry) {
            (Verification::Off, _) => true,
            (Verification::Require, _) if self.lease.manifest_never => false,
            (Verification::Prefer, _) if self.lease.manifest_never => true,
            (_, Entry::Right | Entry::Late(_) | Entry::Stale) => true,
            (_, Entry::WrongDigest | Entry::WrongSize) => false,
            (level, Entry::Missing | Entry::NoDigest | Entry::NotHex) => {
                level == Verification::Prefer
            }
        };
        if is_proven { Vec::new() } else { vec![ErrorKind::DigestMismatch] }
    }

    fn verdict(&self, file: &FilePlan, trouble: Trouble) -> Verdict {
        let is_import = self.way == Way::Import;
        match trouble {
            Trouble::None | Trouble::LateAnswer(_) => Verdict::Good,
            Trouble::Connect | Trouble::Reset(_) | Trouble::Stall(_) => Verdict::Passes,
            Trouble::Tls => Verdict::Bad(vec![ErrorKind::Tls]),
            Trouble::Status(408 | 429 | 502..=504, _) => Verdict::Passes,
            Trouble::Status(500, _) if !is_import => Verdict::Passes,
            // The package is looked at, whether it was the reason.
            Trouble::Status(500, _) if file.promise == Promised::Wrong => {
                Verdict::Bad(vec![ErrorKind::DigestMismatch])
            }
            Trouble::Status(..) => Verdict::Bad(vec![ErrorKind::Network]),
            Trouble::Truncate(_) if is_import => Verdict::Passes,
            Trouble::Truncate(_) if file.is_disk => Verdict::Bad(vec![ErrorKind::Package]),
            Trouble::Truncate(_) => Verdict::Bad(vec![ErrorKind::DigestMismatch]),
            Trouble::Flip(_) if is_import || !file.is_disk => {
                Verdict::Bad(vec![ErrorKind::DigestMismatch])
            }
            Trouble::Flip(_) => Verdict::Bad(vec![ErrorKind::DigestMismatch, ErrorKind::Package]),
        }
    }
}

enum Verdict {
    Good,
    Passes,
    Bad(Vec<ErrorKind>),
}

fn is_before_completion(end: End) -> bool {
    matches!(end, End::Failed(_))
}

fn local(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NoSpace => ErrorKind::NoSpace,
        Errno::Access | Errno::Io => ErrorKind::LocalFile,
    }
}

fn start(start: Start) -> Option<ErrorKind> {
    match start {
        Start::Ready => None,
        Start::Fault("NoDiskSpace") => Some(ErrorKind::NoSpace),
        Start::Fault("HostCommunication") | Start::Unreadable => Some(ErrorKind::Network),
        Start::Fault("Timedout") | Start::Gone => Some(ErrorKind::LeaseLost),
        Start::Fault(_) => Some(ErrorKind::Refused),
    }
}

fn completes(lease: &LeasePlan) -> bool {
    let mut refused = 0;
    for (completion, tries) in lease.complete.iter().zip(1..) {
        match completion {
            // Those that are drawn are over within a minute.
            Completion::Away if tries >= TRIES && lease.timeout_s < 60 => return false,
            Completion::Away => {}
            Completion::Fault => refused += 1,
            Completion::TooLate => return false,
            Completion::AnswerLost | Completion::Mute | Completion::Slow(_) => return true,
        }
        if refused == TRIES {
            return false;
        }
    }
    true
}

/// Longest time from the lease to the first stream, if every host is reached in the end.
const PREPARED_MS: u64 = 10_000;

/// Tries of a stream, and of the completion.
const TRIES: usize = 3;
