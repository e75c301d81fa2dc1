//! What one seed asks for: an inventory, what goes wrong with it, and when it is cancelled.
//!
//! Times are milliseconds.  Everything that the engine waits for is a multiple of [`SLOT_MS`]; what
//! a file does happens at its own place between two such multiples, so that no two files ever do
//! something at the same time, and the same seed always gives the same events in the same order.

use bytes::Bytes;

use crate::verify::Verification;

/// The raster of the paused clock.
pub(super) const SLOT_MS: u64 = 20;
/// Where in the raster the lease does something by itself.
pub(super) const LEASE_SLOT: u64 = 11;
/// Where the caller cancels.
pub(super) const CANCEL_SLOT: u64 = 13;

/// Stands in every ticket, session key and password of a universe; must stand in no message.
pub(super) const CANARY: &str = "c0ffee5ec2e7";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    Export(Into),
    Import,
}

/// Where an export goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Into {
    Store,
    Folder,
    Archive,
    Pipe,
}

/// Everything that a seed draws.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) way: Way,
    pub(super) verification: Verification,
    pub(super) retry_uploads: bool,
    pub(super) parallel: usize,
    pub(super) per_host: usize,
    pub(super) stall_ms: u64,
    pub(super) files: Vec<FilePlan>,
    pub(super) hosts: Vec<HostTrouble>,
    pub(super) lease: LeasePlan,
    /// What happens to the small files of an export.
    pub(super) papers: Option<SinkTrouble>,
    pub(super) cancel: Option<Cancel>,
    /// The operation of this number fails, counted from 1.
    pub(super) fail_at: Option<usize>,
}

/// When the caller cancels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cancel {
    pub(super) at_ms: u64,
    /// Whether the transfer cannot have come to its end by then.
    pub(super) is_midway: bool,
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct FilePlan {
    pub(super) name: String,
    pub(super) is_disk: bool,
    pub(super) content: Bytes,
    /// Index of its host.
    pub(super) host: usize,
    /// Its place in the raster.
    pub(super) slot: u64,
    /// The file comes in so many pieces.
    pub(super) pieces: u64,
    /// Pause before each piece.
    pub(super) pause_ms: u64,
    /// One long pause, in the middle of every try.
    pub(super) rest_ms: u64,
    /// It needs the file before it.
    pub(super) is_delta: bool,
    /// What the package's manifest says (imports).
    pub(super) promise: Promised,
    /// What goes wrong with the first tries.
    pub(super) tries: Vec<Trouble>,
    /// What goes wrong with the package's own file (imports).
    pub(super) source: Option<SourceTrouble>,
    /// What goes wrong with the sink (exports).
    pub(super) sink: Option<SinkTrouble>,
    pub(super) entry: Entry,
}

impl FilePlan {
    pub(super) fn len_bytes(&self) -> u64 {
        self.content.len() as u64
    }

    pub(super) fn piece_bytes(&self) -> usize {
        self.content.len().div_ceil(usize::try_from(self.pieces).unwrap()).max(1)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Promised {
    Nothing,
    Right,
    Wrong,
}

/// What goes wrong with one try of one stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    None,
    /// Nobody can be reached.
    Connect,
    /// The certificate is another one.
    Tls,
    /// The connection breaks after so many bytes.
    Reset(u64),
    /// Nothing moves any more after so many bytes.
    Stall(u64),
    /// The host answers with this status; of an upload it takes so many bytes before.
    Status(u16, u64),
    /// The stream ends after so many bytes, and looks whole; an upload's host takes no more, and
    /// says that all is well.
    Truncate(u64),
    /// The lowest bit of this byte is turned over on the way.
    Flip(u64),
    /// The host says so many milliseconds nothing after the last byte (uploads).
    LateAnswer(u64),
}

/// What goes wrong with a file of the package.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SourceTrouble {
    /// It cannot be opened the first time.
    Open,
    /// It can be read once.
    Once,
    /// A read fails after so many bytes.
    Read(u64),
    /// A read does not come back, in the first try.
    Stall(u64),
}

/// What goes wrong with where a file is written to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SinkTrouble {
    Create(Errno),
    Write(Errno),
    /// The first write does not come back, in the first try.
    Stall,
    Finish,
    Commit,
    /// It cannot be removed.
    Abort,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Errno {
    Access,
    Io,
    NoSpace,
}

impl Errno {
    pub(super) fn error(self) -> std::io::Error {
        std::io::Error::from_raw_os_error(match self {
            Self::Access => 13,
            Self::Io => 5,
            Self::NoSpace => 28,
        })
    }
}

/// What the server's manifest says about a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    Right,
    /// It comes so many milliseconds after the last byte.
    Late(u64),
    Missing,
    NoDigest,
    NotHex,
    /// That of a try that broke is there too.
    Stale,
    WrongDigest,
    WrongSize,
}

/// What a host does when it is looked at before the first byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HostTrouble {
    None,
    /// The connection breaks once the host has shown who it is.
    Broken,
    /// It cannot be reached so many times.
    Away(u32),
    /// It says nothing.
    Mute,
    WrongCertificate,
}

/// What the server does.
#[derive(Clone, Debug)]
pub(super) struct LeasePlan {
    /// `leaseTimeout` as the server says it.
    pub(super) timeout_s: u64,
    /// Pauses before the lease tells these percentages.
    pub(super) initializing: Vec<(u64, u8)>,
    pub(super) start: Start,
    pub(super) sha256: Sha256Answer,
    /// What happens to each heartbeat; those beyond the end are answered.
    pub(super) beats: Vec<Beat>,
    /// So many looks at the state fail first.
    pub(super) watch_fails: u32,
    pub(super) death: Option<(u64, Death)>,
    pub(super) manifest: Vec<CallTrouble>,
    pub(super) manifest_never: bool,
    pub(super) complete: Vec<Completion>,
    pub(super) abort: Abortion,
}

/// How the lease begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Start {
    Ready,
    Fault(&'static str),
    Gone,
    /// The state cannot be read.
    Unreadable,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sha256Answer {
    Yes,
    /// An older server.
    No,
    /// The network fails so many times.
    Fails(u32),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Beat {
    Answer,
    Fault,
    Silence,
    /// The answer takes so many milliseconds.
    Slow(u64),
}

/// How the lease ends by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Death {
    /// The watch tells the state `error`.
    Error,
    /// The watch tells nothing; the next call does.
    Unwatched,
    /// The object is gone.
    Vanished,
    /// The session is gone, and with it the right to end the lease.
    SessionLost,
    /// Somebody else completed it.
    Done,
    /// The server answers nothing any more: the lease times out.
    Unreachable,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CallTrouble {
    Fault,
    Network,
    Silence,
}

/// What one call for completion does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Completion {
    /// Nobody is reached.
    Away,
    Fault,
    /// It is done, but the answer is lost.
    AnswerLost,
    /// It is done, and the answer never comes.
    Mute,
    /// It takes so many milliseconds.
    Slow(u64),
    /// The lease has timed out a moment before.
    TooLate,
}

/// What an abort does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Abortion {
    Answer,
    /// It fails so many times.
    Fails(u32),
    Silence,
}
