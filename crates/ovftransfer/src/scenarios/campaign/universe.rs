//! The state of one universe, its clock and its record.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::hash::Hasher as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use ovftransfer_ovf::FileName;
use ovftransfer_vim::lease::LeaseManifestEntry;
use tokio::time::Instant;

use super::script::CANARY;
use super::script::FilePlan;
use super::script::SLOT_MS;
use super::script::Script;
use crate::event::Event;
use crate::event::Observer;

/// Everything that a script is played in.
#[derive(Debug)]
pub(in crate::scenarios) struct Universe {
    pub(super) script: Script,
    streams: Arc<Streams>,
    start: Instant,
    state: Mutex<State>,
}

/// How the lease stands on the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OnServer {
    Initializing,
    Ready,
    Aborted,
    Completed,
    /// It ended by itself.
    Dead,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) lease: OnServer,
    pub(super) renewed_ms: u64,
    /// How often the lease was ended by a call of ours.
    pub(super) ended: u32,
    /// Calls by name.
    pub(super) calls: BTreeMap<&'static str, u32>,
    /// When the server heard from us: heartbeats and the calls that end a lease.
    pub(super) heard_ms: Vec<(u64, Heard)>,
    pub(super) manifest: Vec<(u64, LeaseManifestEntry)>,
    /// How often each file was opened on its host, in the package, and at its destination.
    pub(super) opened: BTreeMap<(String, &'static str), u32>,
    /// What the hosts hold (imports), or the store (exports).
    pub(super) there: BTreeMap<FileName, Bytes>,
    /// Files that were proven before the lease was completed.
    pub(super) proven: Vec<String>,
    /// Sinks that were neither committed nor aborted.
    pub(super) open_sinks: i64,
    /// What struck, by kind.
    pub(super) hits: BTreeMap<&'static str, u64>,
    /// What broke a promise.
    pub(super) broken: Vec<String>,
    /// What was asked of the file system, and of which file.
    pub(super) on_disk: Vec<(&'static str, String)>,
    /// Everything that could have failed, in its order.
    pub(super) operations: Vec<&'static str>,
    record: Vec<(u64, String, String)>,
    percent: u8,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Heard {
    Beat,
    Ending,
}

impl Universe {
    pub(super) fn new(script: Script, streams: Arc<Streams>) -> Arc<Self> {
        let state = State {
            lease: OnServer::Initializing,
            renewed_ms: 0,
            ended: 0,
            calls: BTreeMap::new(),
            heard_ms: Vec::new(),
            manifest: Vec::new(),
            opened: BTreeMap::new(),
            there: BTreeMap::new(),
            proven: Vec::new(),
            open_sinks: 0,
            hits: BTreeMap::new(),
            broken: Vec::new(),
            on_disk: Vec::new(),
            operations: Vec::new(),
            record: Vec::new(),
            percent: 0,
        };
        Arc::new(Self { script, streams, start: Instant::now(), state: Mutex::new(state) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    /// Waits so long, and then for the next place `slot` of the raster.
    pub(super) async fn wait(&self, pause_ms: u64, slot: u64) {
        let earliest = self.now_ms() + pause_ms;
        let behind = (slot + SLOT_MS - earliest % SLOT_MS) % SLOT_MS;
        self.until(earliest + behind).await;
    }

    pub(super) async fn until(&self, at_ms: u64) {
        tokio::time::sleep_until(self.start + Duration::from_millis(at_ms)).await;
    }

    /// Notes that something went wrong as the script has it.
    pub(super) fn hit(&self, kind: &'static str) {
        *self.lock().hits.entry(kind).or_default() += 1;
    }

    /// Counts something that can fail, and says whether it does, as its turn has come.
    pub(super) fn fails(&self, operation: &'static str) -> bool {
        let mut state = self.lock();
        state.operations.push(operation);
        self.script.fail_at == Some(state.operations.len())
    }

    /// The same for the file system.
    pub(super) fn touches(&self, operation: &'static str, path: &Path) -> bool {
        let fails = self.fails(operation);
        if !fails {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.lock().on_disk.push((operation, file));
        }
        fails
    }

    /// Counts a call; the first is 1.
    pub(super) fn count(&self, call: &'static str) -> u32 {
        let mut state = self.lock();
        let count = state.calls.entry(call).or_default();
        *count += 1;
        *count
    }

    /// Counts that a file was opened; the first time is 1.
    pub(super) fn opens(&self, file: &FilePlan, side: &'static str) -> u32 {
        let mut state = self.lock();
        let count = state.opened.entry((file.name.clone(), side)).or_default();
        *count += 1;
        *count
    }

    /// Notes a promise that was broken.
    pub(super) fn broken(&self, what: impl Into<String>) {
        let what = format!("at {} ms: {}", self.now_ms(), what.into());
        self.lock().broken.push(what);
    }

    /// Records what `actor` did or was told, and looks for secrets in it.
    pub(super) fn note(&self, actor: &str, what: impl Into<String>) {
        let (now_ms, what) = (self.now_ms(), what.into());
        self.check_secrets(actor, &what);
        self.lock().record.push((now_ms, actor.to_owned(), what));
    }

    pub(super) fn check_secrets(&self, actor: &str, text: &str) {
        if text.contains(CANARY) {
            self.broken(format!("{actor}: a secret is told: {text}"));
        }
    }

    /// A percentage that the server was told.
    pub(super) fn percent(&self, percent: u8) {
        let mut state = self.lock();
        let last = std::mem::replace(&mut state.percent, percent);
        drop(state);
        if percent < last || percent > 100 {
            self.broken(format!("the percentage went from {last} to {percent}"));
        }
    }

    pub(super) fn file(&self, name: &str) -> &FilePlan {
        self.script.files.iter().find(|file| file.name == name).unwrap()
    }

    /// Everything that happened: each actor's part in its order, actors sorted within a
    /// millisecond, since nothing says who of two comes first.
    pub(super) fn record(&self) -> Vec<String> {
        let mut record = self.lock().record.clone();
        record.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        record.into_iter().map(|(ms, actor, what)| format!("{ms:>8} {actor}: {what}")).collect()
    }

    pub(super) fn record_hash(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.record().hash(&mut hasher);
        hasher.finish()
    }
}

/// Streams that are open, of all transfers that share a governor.
#[derive(Debug)]
pub(super) struct Streams {
    parallel: usize,
    per_host: usize,
    by_host: Mutex<BTreeMap<usize, usize>>,
    /// The most that were open at one time.
    peak: AtomicUsize,
}

impl Streams {
    pub(super) fn new(parallel: usize, per_host: usize) -> Arc<Self> {
        let (by_host, peak) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { parallel, per_host, by_host, peak })
    }

    pub(super) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

/// A stream that is open to a host.
#[derive(Debug)]
pub(super) struct Open {
    universe: Arc<Universe>,
    host: usize,
}

impl Open {
    pub(super) fn new(universe: &Arc<Universe>, host: usize) -> Self {
        let streams = &universe.streams;
        let (all, here) = {
            let mut by_host = streams.by_host.lock().unwrap();
            *by_host.entry(host).or_default() += 1;
            (by_host.values().sum::<usize>(), by_host[&host])
        };
        streams.peak.fetch_max(all, Ordering::Relaxed);
        if all > streams.parallel || here > streams.per_host {
            universe.broken(format!("{all} streams, {here} of them to one host"));
        }
        Self { universe: Arc::clone(universe), host }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut by_host = self.universe.streams.by_host.lock().unwrap();
        *by_host.get_mut(&self.host).unwrap() -= 1;
    }
}

/// Hears what is told to the caller.
#[derive(Debug)]
pub(super) struct Listener(pub(super) Arc<Universe>);

impl Observer for Listener {
    fn observe(&self, event: &Event) {
        let actor = match event {
            Event::FileStart { file, .. }
            | Event::FileRetry { file, .. }
            | Event::FileProven { file, .. } => file.to_string(),
            Event::HeartbeatMissed { .. } => "beat".to_owned(),
            Event::HostChecked { host, .. } => host.clone(),
            Event::LeaseInitializing { .. } | Event::LeaseReady { .. } => "watch".to_owned(),
            Event::LeaseComplete | Event::LeaseAborted { .. } => "end".to_owned(),
            _ => "other".to_owned(),
        };
        if let Event::FileProven { file, .. } = event {
            self.0.lock().proven.push(file.to_string());
        }
        self.0.note(&actor, format!("{event:?}"));
    }
}
