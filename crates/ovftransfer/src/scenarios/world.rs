//! The universe of the scenarios.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_vim::Endpoint;
use ovftransfer_vim::VimError;
use ovftransfer_vim::fault::Fault;
use ovftransfer_vim::lease::DeviceKey;
use ovftransfer_vim::lease::LeaseInfo;
use ovftransfer_vim::lease::LeaseManifestEntry;
use ovftransfer_vim::lease::LeaseState;
use ovftransfer_vim::value::Object;
use ovftransfer_vim::value::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::event::Event;
use crate::event::Observer;
use crate::governor::Governor;
use crate::governor::Limits;
use crate::inspect::DiskCheck;
use crate::inspect::Hasher;
use crate::inspect::Inspect;
use crate::inspect::Position;
use crate::journal::Journal;
use crate::lease::Lease;
use crate::lease::LeaseApi;
use crate::meter::Meter;
use crate::store::ByteStream;
use crate::store::Destination;
use crate::store::Sink;
use crate::store::Source;
use crate::transfer::Job;
use crate::transfer::Moved;
use crate::transfer::Repeats;
use crate::transfer::Shared;
use crate::transfer::move_all;
use crate::transfer::run;
use crate::verify::Verification;
use crate::verify::Verified;

/// What the server does with one heartbeat.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beat {
    Answer,
    /// A fault of this type.
    Fault(&'static str),
    /// No answer at all.
    Silence,
}

/// A call as the server saw it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Progress(u8),
    Complete,
    Abort(String),
}

/// What one file's stream does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Bytes(usize),
    Pause(Duration),
    /// The connection breaks, in the first so many tries.
    Break {
        tries: u32,
    },
    Stall,
}

/// One scenario: a lease of `timeout_s` seconds and files that come by their scripts.
#[derive(Debug)]
pub(super) struct World {
    start: Instant,
    timeout_s: u64,
    /// What happens to each heartbeat; those beyond the end are answered.
    pub(super) beats: Mutex<VecDeque<Beat>>,
    /// States that the server tells after the lease became ready.
    pub(super) states: Mutex<VecDeque<(Duration, LeaseState)>>,
    /// How long an abort takes.
    pub(super) abort_takes: Duration,
    /// Faults that the completion answers with, in order, before it goes well.
    pub(super) complete_faults: Mutex<VecDeque<&'static str>>,
    calls: Mutex<Vec<(Duration, Call)>>,
    manifest: Mutex<Vec<LeaseManifestEntry>>,
    pub(super) manifest_calls: Mutex<u32>,
    /// What the server says about a file in place of the truth.
    pub(super) lie: Mutex<Option<String>>,
    /// Whether the server's manifest gets entries at all.
    pub(super) is_listed: bool,
    sinks: Mutex<Vec<(FileName, &'static str)>>,
    events: Mutex<Vec<Event>>,
    ready: Mutex<bool>,
}

impl World {
    pub(super) fn new(timeout_s: u64) -> Self {
        Self {
            start: Instant::now(),
            timeout_s,
            beats: Mutex::default(),
            states: Mutex::default(),
            abort_takes: Duration::ZERO,
            complete_faults: Mutex::default(),
            calls: Mutex::default(),
            manifest: Mutex::default(),
            manifest_calls: Mutex::default(),
            lie: Mutex::default(),
            is_listed: true,
            sinks: Mutex::default(),
            events: Mutex::default(),
            ready: Mutex::default(),
        }
    }

    pub(super) fn with_beats(self, beats: &[Beat]) -> Self {
        self.beats.lock().unwrap().extend(beats);
        self
    }

    pub(super) fn with_state(self, after: Duration, state: LeaseState) -> Self {
        self.states.lock().unwrap().push_back((after, state));
        self
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().iter().map(|(_, call)| call.clone()).collect()
    }

    /// Heartbeats, with the time of each since the start.
    pub(super) fn heartbeats(&self) -> Vec<(Duration, u8)> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .filter_map(|(at, call)| match call {
                Call::Progress(percent) => Some((*at, *percent)),
                Call::Complete | Call::Abort(_) => None,
            })
            .collect()
    }

    /// How the lease was ended: every call that ends it.
    pub(super) fn endings(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| !matches!(call, Call::Progress(_))).collect()
    }

    /// What became of the sinks, in order: `commit` or `abort`.
    pub(super) fn sinks(&self) -> Vec<(String, &'static str)> {
        let sinks = self.sinks.lock().unwrap();
        sinks.iter().map(|(file, end)| (file.to_string(), *end)).collect()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    fn log(&self, call: Call) {
        self.calls.lock().unwrap().push((self.start.elapsed(), call));
    }
}

/// A fault of the API by its type name.
pub(super) fn fault(type_name: &'static str) -> Fault {
    Fault::from_value(&Object::new(type_name).into()).unwrap()
}

fn refused(type_name: &'static str) -> VimError {
    VimError::Fault {
        host: "vc.example:443".to_owned(),
        call: "HttpNfcLeaseProgress".to_owned(),
        fault: Box::new(fault(type_name)),
    }
}

/// The lease of a world.
#[derive(Clone, Debug)]
struct ScriptedLease(Arc<World>);

impl LeaseApi for ScriptedLease {
    fn name(&self) -> String {
        "lease-1".to_owned()
    }

    fn next_state(&self) -> BoxFuture<'_, Result<LeaseState, VimError>> {
        async move {
            if !std::mem::replace(&mut *self.0.ready.lock().unwrap(), true) {
                let info: Value =
                    Object::untyped().with("leaseTimeout", self.0.timeout_s.to_string()).into();
                let api = Endpoint::new("vc.example", 443);
                return Ok(LeaseState::Ready(LeaseInfo::from_value(&info, &api).unwrap()));
            }
            let Some((after, state)) = self.0.states.lock().unwrap().front().cloned() else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(self.0.start + after).await;
            self.0.states.lock().unwrap().pop_front();
            Ok(state)
        }
        .boxed()
    }

    fn progress(&self, percent: u8) -> BoxFuture<'_, Result<(), VimError>> {
        async move {
            self.0.log(Call::Progress(percent));
            let beat = self.0.beats.lock().unwrap().pop_front();
            match beat.unwrap_or(Beat::Answer) {
                Beat::Answer => Ok(()),
                Beat::Fault(type_name) => Err(refused(type_name)),
                Beat::Silence => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn complete(&self) -> BoxFuture<'_, Result<(), VimError>> {
        async move {
            self.0.log(Call::Complete);
            match self.0.complete_faults.lock().unwrap().pop_front() {
                Some(type_name) => Err(refused(type_name)),
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn abort<'a>(&'a self, reason: &'a str) -> BoxFuture<'a, Result<(), VimError>> {
        async move {
            tokio::time::sleep(self.0.abort_takes).await;
            self.0.log(Call::Abort(reason.to_owned()));
            Ok(())
        }
        .boxed()
    }

    fn manifest(&self) -> BoxFuture<'_, Result<Vec<LeaseManifestEntry>, VimError>> {
        *self.0.manifest_calls.lock().unwrap() += 1;
        std::future::ready(Ok(self.0.manifest.lock().unwrap().clone())).boxed()
    }

    fn ask_for_sha256<'a>(&'a self, _: &'a [DeviceKey]) -> BoxFuture<'a, Result<(), VimError>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// The lease of a world, for scenarios that drive it themselves.
pub(super) fn lease_of(world: &Arc<World>) -> Arc<dyn LeaseApi> {
    Arc::new(ScriptedLease(Arc::clone(world)))
}

/// One file of a scenario.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) steps: Vec<Step>,
}

impl File {
    pub(super) fn new(name: &'static str, steps: &[Step]) -> Self {
        Self { name, steps: steps.to_vec() }
    }

    fn len_bytes(&self) -> u64 {
        let lens = self.steps.iter().map(|step| match step {
            Step::Bytes(len) => *len as u64,
            Step::Pause(_) | Step::Break { .. } | Step::Stall => 0,
        });
        lens.sum()
    }
}

/// Bytes that come by a script; the server's manifest gets its entry with the last of them.
#[derive(Debug)]
struct ScriptedSource {
    file: File,
    world: Arc<World>,
    tries: Mutex<u32>,
}

impl Source for ScriptedSource {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let attempt = {
            let mut tries = self.tries.lock().unwrap();
            *tries += 1;
            *tries
        };
        let played = Played {
            steps: self.file.steps.iter().copied().collect(),
            hasher: Hasher::new(DigestAlgorithm::Sha1),
            size_bytes: 0,
            attempt,
            name: self.file.name,
            world: Arc::clone(&self.world),
        };
        let stream = futures::stream::unfold(played, |mut played| async move {
            played.next().await.map(|chunk| (chunk, played))
        });
        std::future::ready(Ok(stream.boxed())).boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        None
    }
}

struct Played {
    steps: VecDeque<Step>,
    hasher: Hasher,
    size_bytes: u64,
    attempt: u32,
    name: &'static str,
    world: Arc<World>,
}

impl Played {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.steps.pop_front() {
                Some(Step::Bytes(len)) => {
                    let chunk = Bytes::from(vec![b'x'; len]);
                    self.hasher.update(&chunk);
                    self.size_bytes += len as u64;
                    return Some(Ok(chunk));
                }
                Some(Step::Pause(pause)) => tokio::time::sleep(pause).await,
                Some(Step::Break { tries }) if self.attempt <= tries => {
                    return Some(Err(io::ErrorKind::ConnectionReset.into()));
                }
                Some(Step::Break { .. }) => {}
                Some(Step::Stall) => std::future::pending().await,
                None => {
                    self.enter_manifest();
                    return None;
                }
            }
        }
    }

    fn enter_manifest(&self) {
        if !self.world.is_listed {
            return;
        }
        let lie = self.world.lie.lock().unwrap().clone();
        let sha1 = lie.unwrap_or_else(|| self.hasher.clone().finish().hex());
        let entry: Value = Object::untyped()
            .with("key", key(self.name).as_str().to_owned())
            .with("sha1", sha1)
            .with("size", self.size_bytes.to_string())
            .into();
        let entry = LeaseManifestEntry::from_value(&entry).unwrap();
        self.world.manifest.lock().unwrap().push(entry);
    }
}

fn key(name: &str) -> DeviceKey {
    DeviceKey::new(format!("/vm-1/{name}"))
}

/// A sink that only remembers how it ended.
#[derive(Debug)]
struct ScriptedDestination {
    file: FileName,
    world: Arc<World>,
}

impl Destination for ScriptedDestination {
    fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>> {
        let sink = ScriptedSink { file: self.file.clone(), world: Arc::clone(&self.world) };
        std::future::ready(Ok(Box::new(sink) as Box<dyn Sink>)).boxed()
    }
}

#[derive(Debug)]
struct ScriptedSink {
    file: FileName,
    world: Arc<World>,
}

impl ScriptedSink {
    fn end(&self, end: &'static str) -> BoxFuture<'static, io::Result<()>> {
        self.world.sinks.lock().unwrap().push((self.file.clone(), end));
        std::future::ready(Ok(())).boxed()
    }
}

impl Sink for ScriptedSink {
    fn write(&mut self, _: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn commit(self: Box<Self>, _: &Verified) -> BoxFuture<'static, io::Result<()>> {
        self.end("commit")
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        self.end("abort")
    }
}

/// Remembers events.
#[derive(Debug)]
struct Listener(Arc<World>);

impl Observer for Listener {
    fn observe(&self, event: &Event) {
        self.0.events.lock().unwrap().push(event.clone());
    }
}

/// Plays a scenario to its end: waits for the lease, moves the files, ends the lease, commits.
pub(super) async fn play(
    world: &Arc<World>,
    files: &[File],
    promised: Option<&Digest>,
    cancel: &CancellationToken,
) -> Result<Vec<(String, u32)>, Error> {
    let api = lease_of(world);
    let observer: Arc<dyn Observer> = Arc::new(Listener(Arc::clone(world)));
    let meter = Meter::default();
    let jobs = files.iter().map(|file| vec![job(world, file, promised, &meter)]).collect();
    let shared = Shared {
        governor: Governor::new(Limits::new(2, 2)),
        observer: Arc::clone(&observer),
        verification: Verification::Require,
        stall: Duration::from_secs(600),
        repeats: Repeats::Freely,
        journal: Journal::default(),
        leftovers: Arc::default(),
    };
    let lease = Lease::new(api, observer).ready(cancel).await?;
    let moved = run(lease, &meter, cancel, |lease, scope| async move {
        move_all(jobs, &lease, &shared, &scope).await
    })
    .await?;
    let mut done = Vec::new();
    for Moved { proof, sink, attempts, .. } in moved {
        // Nobody is said to have agreed who was not asked.
        assert_eq!((proof.by_package(), proof.by_server()), (promised.is_some(), true));
        sink.commit(&proof).await.unwrap();
        done.push((proof.file().to_string(), attempts));
    }
    done.sort();
    Ok(done)
}

fn job(world: &Arc<World>, file: &File, promised: Option<&Digest>, meter: &Meter) -> Job {
    let name = FileName::new(file.name).unwrap();
    let world = || Arc::clone(world);
    Job {
        key: key(file.name),
        host: "esx1.example:443".to_owned(),
        source: Arc::new(ScriptedSource {
            file: file.clone(),
            world: world(),
            tries: Mutex::new(0),
        }),
        source_at: "esx1.example:443".to_owned(),
        destination: Arc::new(ScriptedDestination { file: name.clone(), world: world() }),
        sink_at: "the sink".to_owned(),
        inspect: Inspect {
            algorithms: vec![DigestAlgorithm::Sha1, DigestAlgorithm::Sha256],
            disk: DiskCheck::None,
        },
        position: Position::Bytes,
        promised: promised.copied().into(),
        meter: meter.add_file(&name, file.len_bytes()),
        file: name,
        conversion: None,
        written: None,
    }
}
