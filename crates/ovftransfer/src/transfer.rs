//! Moves every file under a lease, proves it, and ends the lease.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures::FutureExt;
use futures::Stream;
use futures::StreamExt;
use ovftransfer_ovf::Digest;
use ovftransfer_ovf::FileName;
use ovftransfer_vim::ErrorKind as VimErrorKind;
use ovftransfer_vim::VimError;
use ovftransfer_vim::lease::DeviceKey;
use ovftransfer_vim::lease::LeaseManifestEntry;
use ovftransfer_vim::nfc::lease_is_lost;
use ovftransfer_vmdk::Summary;
use tokio::task::JoinError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::copy::Copy;
use crate::error::DeviceStatus;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::is_final;
use crate::event::Event;
use crate::event::Observer;
use crate::governor::Governor;
use crate::inspect::DiskCheck;
use crate::inspect::Inspect;
use crate::inspect::Inspection;
use crate::inspect::Position;
use crate::journal::Journal;
use crate::journal::record;
use crate::journal::record::Record;
use crate::kind::Conversion;
use crate::lease::Lease;
use crate::lease::LeaseApi;
use crate::lease::Ready;
use crate::lease::after_abort;
use crate::lease::lost;
use crate::meter::FileMeter;
use crate::meter::Meter;
use crate::sabotage;
use crate::sabotage::Defect;
use crate::store::Destination;
use crate::store::Nowhere;
use crate::store::Sink;
use crate::store::Source;
use crate::store::unpack::Written;
use crate::verify::Promise;
use crate::verify::Verification;
use crate::verify::Verified;
use crate::verify::check_promise;

/// One file to move.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) file: FileName,
    /// The device in the server's manifest.
    pub(crate) key: DeviceKey,
    /// The device's host as `name:port`, for the governor and for messages.
    pub(crate) host: String,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) source_at: String,
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) sink_at: String,
    pub(crate) inspect: Inspect,
    pub(crate) position: Position,
    /// What the package's manifest says.
    pub(crate) promised: Promise,
    pub(crate) meter: Arc<FileMeter>,
    /// What was done to the file before it moves.
    pub(crate) conversion: Option<Conversion>,
    /// What the destination makes of the file, if that is not the file itself.
    pub(crate) written: Option<Written>,
}

/// One file that has been moved and proven, and its sink, which waits for its commit.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) key: DeviceKey,
    pub(crate) host: String,
    pub(crate) proof: Verified,
    pub(crate) digests: Vec<Digest>,
    pub(crate) disk: Option<Summary>,
    /// The server's entry, where it has one.
    pub(crate) entry: Option<LeaseManifestEntry>,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) attempts: u32,
    pub(crate) took: Duration,
    pub(crate) conversion: Option<Conversion>,
    /// Size in bytes and digest of what was made of it, if that is not the file itself.
    pub(crate) written: Option<(u64, Digest)>,
}

/// A file that is proven, and waits for its name.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) proof: Verified,
    pub(crate) sink: Box<dyn Sink>,
}

impl From<Moved> for Proven {
    fn from(moved: Moved) -> Self {
        Self { proof: moved.proof, sink: moved.sink }
    }
}

/// Whether a file whose trouble may pass is moved again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Repeats {
    /// Downloads: what has arrived is thrown away.
    Freely,
    /// It is not.
    Never,
    /// Uploads: what the host has made of the first try is unknown, so after a second one the
    /// server's manifest must prove the file, whatever the level.
    Proven,
}

/// What all files of a transfer share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) governor: Governor,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) verification: Verification,
    pub(crate) stall: Duration,
    pub(crate) repeats: Repeats,
    /// Where it is written down that a file is proven.
    pub(crate) journal: Journal,
    /// What could not be removed, for the answer to a cancellation.
    pub(crate) leftovers: Arc<Mutex<Vec<String>>>,
}

impl Shared {
    /// Removes what a file has written; notes it if that fails.
    async fn remove(&self, sink: Box<dyn Sink>, what: &str) {
        if sabotage::on(Defect::LeavePartialFiles) {
            return;
        }
        if let Err(error) = sink.abort().await {
            tracing::warn!(what, %error, "could not be removed");
            let mut leftovers = self.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
            leftovers.push(format!("{what} ({error})"));
        }
    }

    /// A cancellation promises that nothing is left; this keeps the promise honest.
    fn honest(&self, error: Error) -> Error {
        let leftovers = self.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        if leftovers.is_empty() || !matches!(error, Error::Cancelled) {
            return error;
        }
        let left_behind = format!("could not remove {}", leftovers.join(", "));
        Error::CancelledUnclean { left_behind }
    }
}

/// Does `work` under the lease, then ends the lease.  The only function that ends a ready lease.
///
/// `work` gets a token that is cancelled when it is to stop, and must return soon then; it is
/// always waited for.  Beside it the lease is renewed and watched.  The lease is completed only
/// when `work` returns its proof, and aborted in every other case.
///
/// A panic in the work, or in somebody's observer, ends the lease too before it goes on.
pub(crate) async fn run<W>(
    lease: Lease<Ready>,
    meter: &Meter,
    cancel: &CancellationToken,
    work: impl FnOnce(Arc<dyn LeaseApi>, CancellationToken) -> W,
) -> Result<Vec<Moved>, Error>
where
    W: Future<Output = Result<Vec<Moved>, Error>>,
{
    // Stops the work without cancelling the caller's other transfers.
    let scope = cancel.child_token();
    let work = work(lease.shared_api(), scope.clone());
    let held = AssertUnwindSafe(under_lease(&lease, meter, &scope, work)).catch_unwind().await;
    let outcome = match held {
        Ok(outcome) => outcome,
        Err(panic) => {
            scope.cancel();
            lease.abort_before(panic).await
        }
    };
    match outcome {
        Ok(moved) => match lease.complete(cancel).await {
            Ok(()) => Ok(moved),
            Err(error) => {
                discard(moved).await;
                Err(error)
            }
        },
        Err(error)
            if sabotage::on(Defect::NoAbort)
                || sabotage::on(Defect::AbortWithCancelledScope) && cancel.is_cancelled() =>
        {
            Err(error)
        }
        Err(error) => {
            // Also when it is believed lost: if the server was only away, it hears of it now.
            let aborted = lease.abort(&error).await;
            Err(after_abort(error, aborted))
        }
    }
}

/// Does the work while the lease is renewed and watched; always waits for the work to stop.
async fn under_lease(
    lease: &Lease<Ready>,
    meter: &Meter,
    scope: &CancellationToken,
    work: impl Future<Output = Result<Vec<Moved>, Error>>,
) -> Result<Vec<Moved>, Error> {
    tokio::pin!(work);
    let lost = tokio::select! {
        // Of two things at one instant it is always the same that counts.
        biased;
        outcome = &mut work => {
            return match outcome {
                Err(error) => Err(blame_lease(lease, error).await),
                done => done,
            };
        }
        lost = lease.keep_alive(meter) => lost,
        lost = lease.watch() => lost,
    };
    scope.cancel();
    if sabotage::on(Defect::NoDrain) {
        return Err(lost);
    }
    // It may just have come to its end; without a lease that is worth nothing.
    if let Ok(moved) = work.await {
        discard(moved).await;
    }
    Err(lost)
}

/// If a stream broke because the lease had died on the server, the lease is the cause to report:
/// the broken stream is only how we heard of it.
async fn blame_lease(lease: &Lease<Ready>, error: Error) -> Error {
    if let Error::Server(error) = error {
        return if lease_is_lost(&error) && !is_of_another(&error) {
            lost(&*lease.shared_api(), *error)
        } else {
            Error::Server(error)
        };
    }
    if !matches!(error, Error::Stream { .. }) {
        return error;
    }
    match tokio::time::timeout(BLAME_WAIT, lease.watch()).await {
        Ok(lost) => lost,
        Err(_) => error,
    }
}

/// Whether a call on another object than a lease was refused: such have states of their own.
fn is_of_another(error: &VimError) -> bool {
    matches!(error, VimError::Fault { call, .. } if !call.starts_with("HttpNfcLease"))
}

/// Moves and proves all files; returns when none is left under way.
///
/// A lane is a list of files that keep their order (delta disks need their parents first); lanes
/// run side by side.  If one file fails, the others are stopped, what they wrote is removed, and
/// the first cause is returned.
pub(crate) async fn move_all(
    lanes: Vec<Vec<Job>>,
    lease: &Arc<dyn LeaseApi>,
    shared: &Shared,
    scope: &CancellationToken,
) -> Result<Vec<Moved>, Error> {
    let lanes = futures::stream::iter(lanes.into_iter().map(Ok));
    move_coming(lanes, lease, shared, scope).await
}

/// The same for lanes that come one after the other; one that cannot come fails them all.
///
/// Whoever makes the lanes stops by himself when `scope` is cancelled.
pub(crate) async fn move_coming(
    lanes: impl Stream<Item = Result<Vec<Job>, Error>>,
    lease: &Arc<dyn LeaseApi>,
    shared: &Shared,
    scope: &CancellationToken,
) -> Result<Vec<Moved>, Error> {
    let mut coming = std::pin::pin!(lanes.fuse());
    let mut running = JoinSet::new();
    let mut moved = Vec::new();
    let mut first_error = None;
    loop {
        let has_room = running.len() < shared.governor.limits().parallel;
        let is_wanted = has_room && !scope.is_cancelled() && !coming.is_done();
        let (done, error) = tokio::select! {
            biased;
            lane = coming.next(), if is_wanted => match lane {
                Some(Ok(lane)) => {
                    let (lease, shared) = (Arc::clone(lease), shared.clone());
                    running.spawn(move_lane(lane, lease, shared, scope.clone()));
                    continue;
                }
                Some(Err(error)) => (Vec::new(), Some(error)),
                None => continue,
            },
            Some(joined) = running.join_next() => propagate_panic(joined),
            else => {
                if !scope.is_cancelled() && first_error.is_none() {
                    return Ok(moved);
                }
                for file in moved {
                    shared.remove(file.sink, file.proof.file().as_str()).await;
                }
                return Err(shared.honest(first_error.unwrap_or(Error::Cancelled)));
            }
        };
        moved.extend(done);
        let Some(error) = error else { continue };
        if sabotage::on(Defect::IgnoreSiblingFailure) {
            continue;
        }
        scope.cancel();
        // A sibling that stopped because of `scope` says `Cancelled`; keep the cause.
        if first_error.as_ref().is_none_or(|first| matches!(first, Error::Cancelled)) {
            first_error = Some(error);
        }
    }
}

/// Removes what files that were moved have written.
pub(crate) async fn discard<M: Into<Proven>>(moved: Vec<M>) {
    for file in moved.into_iter().map(Into::into) {
        if let Err(error) = file.sink.abort().await {
            tracing::warn!(file = %file.proof.file(), %error, "could not be removed");
        }
    }
}

/// Moves the files of one lane, in order; stops at the first that fails.
async fn move_lane(
    lane: Vec<Job>,
    lease: Arc<dyn LeaseApi>,
    shared: Shared,
    scope: CancellationToken,
) -> (Vec<Moved>, Option<Error>) {
    let mut moved = Vec::new();
    for job in lane {
        match job.run(&*lease, &shared, &scope).await {
            Ok(done) => moved.push(done),
            Err(error) => return (moved, Some(error)),
        }
    }
    (moved, None)
}

impl Job {
    /// Moves the file, in several tries if need be, and proves it.
    async fn run(
        self,
        lease: &dyn LeaseApi,
        shared: &Shared,
        scope: &CancellationToken,
    ) -> Result<Moved, Error> {
        let started = Instant::now();
        let mut attempts = 0;
        let mut before = None;
        loop {
            attempts += 1;
            let Some(permit) = shared.governor.permit(&self.host, scope).await else {
                return Err(Error::Cancelled);
            };
            let error = match self.attempt(attempts, shared, scope).await {
                Ok(attempt) => {
                    permit.went_well();
                    drop(permit);
                    let took = started.elapsed();
                    return self.prove(attempt, attempts, took, lease, shared, scope).await;
                }
                Err(error) => error,
            };
            if is_overload(&error) {
                permit.overloaded();
            }
            drop(permit);
            if is_read_only_once(&error) {
                // That it cannot be read again is not why the file was not moved.
                return Err(before.unwrap_or(error));
            }
            let is_enough = attempts >= ATTEMPTS_MAX && !sabotage::on(Defect::RetryUnbounded);
            let is_last = is_enough || shared.repeats == Repeats::Never;
            if is_last || !may_pass(&error) {
                return Err(self.blame_package(error, scope).await);
            }
            if scope.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let after = RETRY_PAUSE * 2u32.pow(attempts - 1);
            let (file, reason) = (self.file.clone(), error.chain());
            shared.observer.observe(&Event::FileRetry { file, reason, after });
            before = Some(error);
            if scope.run_until_cancelled(tokio::time::sleep(after)).await.is_none() {
                return Err(Error::Cancelled);
            }
        }
    }

    /// If a file was refused for its data, and is not what the package's manifest says either, that
    /// is the cause to report: a host refuses the first grain that is not sound, long before the last
    /// byte has been hashed.
    async fn blame_package(&self, error: Error, scope: &CancellationToken) -> Error {
        if self.promised == Promise::Nothing || !is_about_data(&error) {
            return error;
        }
        let algorithms = self.promised.digest().map(Digest::algorithm).into_iter().collect();
        let inspect = Inspect { algorithms, disk: DiskCheck::None };
        // Not the counters of the transfer: nothing moves.
        let meter = Meter::default().add_file(&self.file, 0);
        let copy = Copy {
            file: &self.file,
            source: &*self.source,
            source_at: &self.source_at,
            sink_at: "",
            inspect: &inspect,
            position: Position::Bytes,
            meter: &meter,
            stall: VERDICT_LIMIT,
        };
        let mut nowhere = Nowhere;
        let read = tokio::time::timeout(VERDICT_LIMIT, copy.run(&mut nowhere, scope)).await;
        match (read, self.promised.digest()) {
            (Ok(Ok((_, seen))), Some(promised)) => {
                check_promise(&self.file, &seen, promised).err().unwrap_or(error)
            }
            // Found by whoever joins the parts.
            (Ok(Err(found @ Error::DigestMismatch { .. })), _) => found,
            // A source that cannot be read again, or not in time, leaves it at what the host said.
            _ => error,
        }
    }

    /// Moves the file once, from its first byte to its last.
    async fn attempt(
        &self,
        attempt: u32,
        shared: &Shared,
        scope: &CancellationToken,
    ) -> Result<Attempt, Error> {
        self.meter.restart();
        let (file, host) = (self.file.clone(), self.host.clone());
        shared.observer.observe(&Event::FileStart { file, host, attempt });
        let mut sink = self.destination.create().await.map_err(|source| Error::Stream {
            file: self.file.clone(),
            side: "writing to",
            at: self.sink_at.clone(),
            at_byte: 0,
            source,
        })?;
        let copy = Copy {
            file: &self.file,
            source: &*self.source,
            source_at: &self.source_at,
            sink_at: &self.sink_at,
            inspect: &self.inspect,
            position: self.position,
            meter: &self.meter,
            stall: shared.stall,
        };
        match copy.run(&mut *sink, scope).await {
            Ok((bytes, seen)) => Ok(Attempt { sink, bytes, seen }),
            Err(error) => {
                shared.remove(sink, &self.sink_at).await;
                Err(error)
            }
        }
    }

    /// Compares what moved with what was promised, while the lease is still held.
    async fn prove(
        self,
        attempt: Attempt,
        attempts: u32,
        took: Duration,
        lease: &dyn LeaseApi,
        shared: &Shared,
        scope: &CancellationToken,
    ) -> Result<Moved, Error> {
        let Attempt { sink, bytes, seen } = attempt;
        let proven = self.proof(bytes, &seen, attempts, lease, shared, scope).await;
        let (mut proof, entry) = match proven {
            Ok(proven) => proven,
            Err(error) => {
                shared.remove(sink, &self.sink_at).await;
                return Err(error);
            }
        };
        if self.promised == Promise::Parts {
            // Nothing has moved that was not compared on its way.
            proof.confirm_parts();
        }
        shared.observer.observe(&Event::FileProven {
            file: self.file,
            bytes,
            digest: *proof.digest(),
            by_server: proof.by_server(),
        });
        let Self { key, host, conversion, written, .. } = self;
        let written = written.and_then(|written| written.get());
        let (digests, disk) = (seen.digests, seen.disk);
        let moved = Moved {
            key,
            host,
            proof,
            digests,
            disk,
            entry,
            sink,
            attempts,
            took,
            conversion,
            written,
        };
        // Of a disk that was written in another format, a journal could not tell whether it is whole.
        if shared.journal.is_kept() && moved.written.is_none() {
            shared.journal.note(Record::Proven(Box::new(record_of(&moved)))).await;
        }
        Ok(moved)
    }

    /// Asks for the server's manifest until it proves the file, or it is clear that it does not.
    ///
    /// The host adds an entry when it has seen the last byte, which may be a moment later than we
    /// have; and after a broken try there may be an entry of that one, which is replaced.  A server
    /// that is away has not said that it has none: the heartbeat is the judge of it.
    async fn proof(
        &self,
        bytes: u64,
        seen: &Inspection,
        attempts: u32,
        lease: &dyn LeaseApi,
        shared: &Shared,
        scope: &CancellationToken,
    ) -> Result<(Verified, Option<LeaseManifestEntry>), Error> {
        let level = match shared.repeats {
            Repeats::Proven if attempts > 1 => Verification::Require,
            Repeats::Freely | Repeats::Never | Repeats::Proven => shared.verification,
        };
        let is_skipped = sabotage::on(Defect::CompleteWithoutManifest)
            || sabotage::on(Defect::SkipManifestOfSecondFile) && self.file.as_str().contains('1');
        let level = if is_skipped { Verification::Off } else { level };
        let promised = self.promised.digest();
        let check = |entry: Option<&LeaseManifestEntry>| {
            Verified::check(&self.file, bytes, seen, promised, entry, level)
        };
        if level == Verification::Off {
            return Ok((check(None)?, None));
        }
        let mut deadline = Instant::now() + MANIFEST_WAIT;
        let away_deadline = Instant::now() + AWAY_WAIT;
        loop {
            let call = tokio::time::timeout(MANIFEST_CALL, lease.manifest());
            let Some(answer) = scope.run_until_cancelled(call).await else {
                return Err(Error::Cancelled);
            };
            let answer = answer.unwrap_or_else(|_| Err(no_manifest(lease)));
            let is_away = matches!(&answer, Err(error) if error.kind() == VimErrorKind::Network);
            if is_away {
                deadline = (Instant::now() + MANIFEST_WAIT).min(away_deadline);
            }
            let is_last = Instant::now() + MANIFEST_PAUSE >= deadline;
            match answer {
                Ok(entries) => {
                    let mut mine = entries.into_iter().filter(|entry| {
                        entry.key == self.key || sabotage::on(Defect::AnyManifestEntry)
                    });
                    let mut outcome = mine.next().map(|entry| (check(Some(&entry)), entry));
                    for entry in mine {
                        if !matches!(outcome, Some((Ok(_), _))) {
                            outcome = Some((check(Some(&entry)), entry));
                        }
                    }
                    match outcome {
                        Some((Ok(proof), entry)) => return Ok((proof, Some(entry))),
                        Some((Err(error), _)) if is_last || attempts == 1 => return Err(error),
                        None if is_last => return Ok((check(None)?, None)),
                        Some((Err(_), _)) | None => {}
                    }
                }
                Err(error) if lease_is_lost(&error) => return Err(Error::from(error)),
                Err(error) if is_last => {
                    let error = Error::from(error);
                    let reason = error.chain();
                    let proof = match check(None) {
                        Err(Error::Unproven { .. }) if is_away => return Err(error),
                        proof => proof,
                    };
                    let message = format!("{}: no manifest from the server: {reason}", self.file);
                    shared.observer.observe(&Event::Warning { message });
                    return Ok((proof?, None));
                }
                Err(_) => {}
            }
            if scope.run_until_cancelled(tokio::time::sleep(MANIFEST_PAUSE)).await.is_none() {
                return Err(Error::Cancelled);
            }
        }
    }
}

/// The error for a manifest that does not come.
fn no_manifest(lease: &dyn LeaseApi) -> VimError {
    let call = "HttpNfcLeaseGetManifest".to_owned();
    VimError::TimedOut { host: lease.name(), call, after: MANIFEST_CALL }
}

/// What a journal says of a file that is proven.
fn record_of(moved: &Moved) -> record::Proven {
    record::Proven {
        file: moved.proof.file().to_string(),
        key: moved.key.as_str().to_owned(),
        host: moved.host.clone(),
        bytes: moved.proof.bytes(),
        digests: record::digests_of(&moved.digests),
        is_disk: moved.disk.is_some(),
        capacity_bytes: moved.disk.as_ref().map(|disk| disk.capacity_bytes()),
        by_server: moved.proof.by_server(),
        entry: moved.entry.as_ref().map(record::Entry::from),
    }
}

/// One try that went well up to the last byte.
#[derive(Debug)]
struct Attempt {
    sink: Box<dyn Sink>,
    bytes: u64,
    seen: Inspection,
}

/// Whether the same try may go well a moment later.
///
/// | what broke | again? |
/// |---|---|
/// | an upload, where [`Repeats::Never`] holds | no, whatever it was |
/// | the connection, on either side | yes |
/// | the host answered 408, 429, 502, 503 or 504 | yes |
/// | the host answered 500 to a download | yes |
/// | the host answered 500 to an upload | no: it cannot use the data, and would not the next time |
/// | the host answered anything else | no: it would answer the same again |
/// | the certificate | no |
/// | the source can be read only once | no |
/// | the file on a web server has changed, or is not what was asked for | no |
/// | a local file | no |
/// | the bytes are wrong | no: it is reported, never glossed over |
fn may_pass(error: &Error) -> bool {
    let Error::Stream { source, side, .. } = error else {
        return sabotage::on(Defect::RetryWrongBytes);
    };
    if is_read_only_once(error) || is_final(source) {
        return false;
    }
    if let Some(answer) = DeviceStatus::of(source) {
        let is_upload = *side == "writing to";
        return match answer.status() {
            408 | 429 | 502 | 503 | 504 => true,
            500 => !is_upload,
            _ => false,
        };
    }
    error.kind() == ErrorKind::Network
}

/// Whether it was the data that could not be used: by the host, or by our own look at the disk.
fn is_about_data(error: &Error) -> bool {
    let Error::Stream { source, side, .. } = error else {
        return matches!(error, Error::Structure { .. });
    };
    *side == "writing to" && DeviceStatus::of(source).is_some_and(|answer| answer.status() == 500)
}

fn is_read_only_once(error: &Error) -> bool {
    let Error::Stream { source, side, .. } = error else { return false };
    *side == "reading from" && source.kind() == std::io::ErrorKind::Unsupported
}

fn is_overload(error: &Error) -> bool {
    let Error::Stream { source, .. } = error else { return false };
    DeviceStatus::of(source).is_some_and(|answer| matches!(answer.status(), 429 | 503))
}

/// A panic in a task is a defect: it goes on in the caller instead of looking like a failed file.
fn propagate_panic<T>(joined: Result<T, JoinError>) -> T {
    match joined {
        Ok(outcome) => outcome,
        Err(join) => match join.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Tasks of the set are never aborted, only cancelled by their token.
            Err(join) => unreachable!("a task of the transfer was aborted: {join}"),
        },
    }
}

/// Tries for one file.  A host that fails three times in a row does not have a passing trouble.
const ATTEMPTS_MAX: u32 = 3;

/// The pause before the second try; it doubles with each.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// How long a file may be missing in the server's manifest after its last byte.
const MANIFEST_WAIT: Duration = Duration::from_secs(30);

/// How long a file waits for a server that does not answer: as long as one commonly keeps a lease.
const AWAY_WAIT: Duration = Duration::from_secs(300);

/// How long one call for the manifest may take.
const MANIFEST_CALL: Duration = Duration::from_secs(10);

/// How long the digest of a file that was refused may take: for a file of this machine that is tens
/// of GiB, and somebody waits for the message.
const VERDICT_LIMIT: Duration = Duration::from_secs(60);

/// The pause before the manifest is asked for again.
const MANIFEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a broken stream waits for the news that its lease has died.
const BLAME_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
