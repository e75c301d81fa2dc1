use std::collections::VecDeque;
use std::iter;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use ovftransfer_vim::Endpoint;
use ovftransfer_vim::fault::Fault;
use ovftransfer_vim::transport::TransportError;
use ovftransfer_vim::value::Object;
use ovftransfer_vim::value::Value;

use super::*;
use crate::error::ErrorKind;

const S: Duration = Duration::from_secs(1);

/// What the server does with one call.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer,
    Fault(&'static str),
    LoseSession,
    Silence,
    /// It answers after so many seconds.
    Slow(u64),
    /// Nobody is reached.
    Away,
}

/// A lease whose calls go by lists; what is beyond the end of one is answered.
#[derive(Debug)]
struct Listed {
    start: Instant,
    /// States and failures to tell them; after them nothing is told.
    states: Mutex<VecDeque<Result<LeaseState, VimError>>>,
    progress: Mutex<VecDeque<Act>>,
    complete: Mutex<VecDeque<Act>>,
    abort: Mutex<VecDeque<Act>>,
    /// Every call and event with its second.
    log: Mutex<Vec<(u64, String)>>,
}

impl Listed {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            states: Mutex::default(),
            progress: Mutex::default(),
            complete: Mutex::default(),
            abort: Mutex::default(),
            log: Mutex::default(),
        }
    }

    fn states(self, states: impl IntoIterator<Item = Result<LeaseState, VimError>>) -> Self {
        self.states.lock().unwrap().extend(states);
        self
    }

    fn progress(self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.progress.lock().unwrap().extend(acts);
        self
    }

    fn complete(self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.complete.lock().unwrap().extend(acts);
        self
    }

    fn abort(self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.abort.lock().unwrap().extend(acts);
        self
    }

    fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push((self.start.elapsed().as_secs(), what.into()));
    }

    /// Everything that happened, as `second what`.
    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|(at_s, what)| format!("{at_s} {what}")).collect()
    }

    /// The seconds of what begins like this.
    fn seconds(&self, what: &str) -> Vec<u64> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|(_, one)| one.starts_with(what)).map(|(at_s, _)| *at_s).collect()
    }

    async fn act(&self, list: &Mutex<VecDeque<Act>>, call: &str) -> Result<(), VimError> {
        let act = list.lock().unwrap().pop_front().unwrap_or(Act::Answer);
        match act {
            Act::Answer => Ok(()),
            Act::Away => Err(away(call)),
            Act::Fault(name) => Err(refused(name)),
            Act::LoseSession => Err(session_lost(call)),
            Act::Silence => std::future::pending().await,
            Act::Slow(seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(())
            }
        }
    }
}

fn fault(name: &'static str) -> Fault {
    Fault::from_value(&Object::new(name).into()).unwrap()
}

fn refused(name: &'static str) -> VimError {
    let (host, call) = ("vc:443".to_owned(), "a call".to_owned());
    VimError::Fault { host, call, fault: Box::new(fault(name)) }
}

fn away(call: &str) -> VimError {
    let (host, reason) = ("vc:443".to_owned(), "connection refused".to_owned());
    let source = TransportError::Connect { host: host.clone(), reason };
    VimError::Transport { host, call: call.to_owned(), source }
}

fn session_lost(call: &str) -> VimError {
    VimError::SessionLost { host: "vc:443".to_owned(), call: call.to_owned() }
}

fn gone() -> VimError {
    VimError::LeaseGone { host: "vc:443".to_owned(), lease: "lease-1".to_owned() }
}

fn info(timeout_s: u64) -> LeaseInfo {
    let info: Value = Object::untyped().with("leaseTimeout", timeout_s.to_string()).into();
    LeaseInfo::from_value(&info, &Endpoint::new("vc", 443)).unwrap()
}

fn ready(timeout_s: u64) -> Result<LeaseState, VimError> {
    Ok(LeaseState::Ready(info(timeout_s)))
}

#[derive(Debug)]
struct Api(Arc<Listed>);

impl LeaseApi for Api {
    fn name(&self) -> String {
        "lease-1".to_owned()
    }

    fn next_state(&self) -> BoxFuture<'_, Result<LeaseState, VimError>> {
        match self.0.states.lock().unwrap().pop_front() {
            Some(state) => std::future::ready(state).boxed(),
            None => std::future::pending().boxed(),
        }
    }

    fn progress(&self, percent: u8) -> BoxFuture<'_, Result<(), VimError>> {
        self.0.note(format!("progress {percent}"));
        self.0.act(&self.0.progress, "HttpNfcLeaseProgress").boxed()
    }

    fn complete(&self) -> BoxFuture<'_, Result<(), VimError>> {
        self.0.note("complete");
        self.0.act(&self.0.complete, "HttpNfcLeaseComplete").boxed()
    }

    fn abort<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), VimError>> {
        self.0.note("abort");
        self.0.act(&self.0.abort, "HttpNfcLeaseAbort").boxed()
    }

    fn manifest(&self) -> BoxFuture<'_, Result<Vec<LeaseManifestEntry>, VimError>> {
        std::future::pending().boxed()
    }

    fn ask_for_sha256<'a>(&'a self, _: &'a [DeviceKey]) -> BoxFuture<'a, Result<(), VimError>> {
        std::future::pending().boxed()
    }
}

/// Notes what it is told.
#[derive(Debug)]
struct Ear(Arc<Listed>);

impl Observer for Ear {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a lease tells nothing else")]
    fn observe(&self, event: &Event) {
        let told = match event {
            Event::HeartbeatMissed { missed, reason } => format!("missed {missed}: {reason}"),
            Event::LeaseAborted { confirmed, .. } => format!("told: aborted, {confirmed}"),
            Event::LeaseComplete => "told: complete".to_owned(),
            Event::LeaseInitializing { percent } => format!("told: {percent} %"),
            Event::LeaseReady { timeout, beat } => format!("told: {timeout:?}, {beat:?}"),
            other => panic!("{other:?}"),
        };
        self.0.note(told);
    }
}

fn begun(listed: Listed) -> (Arc<Listed>, Lease<Initializing>) {
    let listed = Arc::new(listed);
    let (api, ear) = (Api(Arc::clone(&listed)), Ear(Arc::clone(&listed)));
    let lease = Lease::new(Arc::new(api), Arc::new(ear));
    (listed, lease)
}

/// A lease of so many seconds that is held; the log begins after that.
async fn held(timeout_s: u64, listed: Listed) -> (Arc<Listed>, Lease<Ready>) {
    listed.states.lock().unwrap().push_front(ready(timeout_s));
    let (listed, lease) = begun(listed);
    let lease = lease.ready(&CancellationToken::new()).await.unwrap();
    listed.log.lock().unwrap().clear();
    (listed, lease)
}

#[test]
fn beats_and_deadlines_fit_the_timeout() {
    for (timeout_s, beat_ms, deadline_s) in [
        (0, 500, 3),
        (1, 500, 3),
        (6, 1_000, 6),
        (60, 10_000, 60),
        (120, 20_000, 120),
        (300, 20_000, 300),
        (1_800, 20_000, 1_800),
        (1_801, 20_000, 1_800),
        (300_000_000, 20_000, 1_800),
    ] {
        let info = info(timeout_s);
        assert_eq!(beat_of(&info), Duration::from_millis(beat_ms), "{timeout_s}");
        assert_eq!(deadline_of(&info), deadline_s * S, "{timeout_s}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lease_becomes_is_told_once() {
    let percents = [0, 0, 40, 40].map(|percent| Ok(LeaseState::Initializing { percent }));
    let (listed, lease) = begun(Listed::new().states(percents).states([ready(60)]));
    drop(lease.ready(&CancellationToken::new()).await.unwrap());
    assert_eq!(listed.log(), ["0 told: 0 %", "0 told: 40 %", "0 told: 60s, 10s"]);
}

/// A lease that is over is not aborted, any other is.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_to_be_had_is_ended_if_it_may_live() {
    let unknown = LeaseState::Unknown("paused".to_owned());
    for (state, says, kind, is_aborted) in [
        (Ok(LeaseState::Done), "somebody completed it", ErrorKind::LeaseLost, false),
        (Ok(LeaseState::Error(fault("NoDiskSpace"))), "", ErrorKind::NoSpace, false),
        (Ok(unknown), "its state is \"paused\"", ErrorKind::LeaseLost, true),
        (Err(gone()), "the server says that it has ended", ErrorKind::LeaseLost, false),
        (Err(session_lost("x")), "its session ended", ErrorKind::LeaseLost, false),
        (Err(refused("SystemError")), "SystemError", ErrorKind::Refused, true),
    ] {
        let (listed, lease) = begun(Listed::new().states([state]));
        let error = lease.ready(&CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.chain().contains(says), "{}", error.chain());
        assert_eq!(!listed.seconds("abort").is_empty(), is_aborted, "{error}");
    }
}

/// An observer that has a defect, once.
#[derive(Debug)]
struct Defective(AtomicBool);

impl Observer for Defective {
    fn observe(&self, event: &Event) {
        let is_first = self.0.swap(false, Ordering::Relaxed);
        assert!(!is_first, "a defect in an observer: {event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_ended_before_a_panic_of_whoever_hears_of_it_goes_on() {
    for state in [Ok(LeaseState::Initializing { percent: 0 }), ready(60)] {
        let listed = Arc::new(Listed::new().states([state]));
        let observer = Arc::new(Defective(AtomicBool::new(true)));
        let lease = Lease::new(Arc::new(Api(Arc::clone(&listed))), observer);
        let cancel = CancellationToken::new();
        let held = AssertUnwindSafe(lease.ready(&cancel)).catch_unwind().await;
        assert!(held.is_err(), "the panic was swallowed");
        assert_eq!(listed.log(), ["0 abort"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_up_when_no_beat_is_left_within_its_deadline() {
    let acts = [Act::Answer, Act::Fault("SystemError"), Act::Answer, Act::Slow(9)];
    let listed = Listed::new().progress(acts).progress([Act::Fault("SystemError"); 9]);
    let (listed, lease) = held(60, listed).await;
    let meter = Meter::default();
    let error = lease.keep_alive(&meter).await;
    assert_eq!(meter.beats(), 3);
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    let text = error.chain();
    assert!(text.contains("within its 60 seconds") && text.contains("SystemError"), "{text}");
    // The answer to the beat at 30 came at 39: what counts is when it was sent.  The next beat
    // after that at 80 would come at 90, too late.
    assert_eq!(listed.seconds("progress"), [0, 10, 20, 30, 40, 50, 60, 70, 80]);
    let missed: Vec<String> =
        listed.log().into_iter().filter(|line| line.contains("missed")).collect();
    let missed: Vec<&str> = missed.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(missed, ["10 missed 1", "40 missed 1", "50 missed 2", "60 missed 3", "70 missed 4"]);
}

#[tokio::test(start_paused = true)]
async fn a_beat_that_is_not_answered_is_given_up_with_the_next() {
    let (listed, lease) = held(60, Listed::new().progress([Act::Silence; 9])).await;
    let error = lease.keep_alive(&Meter::default()).await;
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(listed.seconds("progress"), [0, 10, 20, 30, 40]);
    assert!(listed.log().contains(&"40 missed 4: no answer".to_owned()), "{:?}", listed.log());
    assert_eq!(listed.start.elapsed(), 50 * S);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_the_lease_and_not_before() {
    let unknown = LeaseState::Unknown("paused".to_owned());
    for (last, says) in [
        (Ok(LeaseState::Done), "somebody completed it"),
        (Ok(LeaseState::Error(fault("Timedout"))), "the server gave it up"),
        (Ok(unknown), "its state is \"paused\""),
        (Err(gone()), "the server says that it has ended"),
        (Err(session_lost("x")), "its session ended on the server"),
    ] {
        let initializing = Ok(LeaseState::Initializing { percent: 7 });
        let failed = [Err(refused("SystemError")), Err(refused("SystemError"))];
        let listed = Listed::new().states([ready(60), initializing]).states(failed).states([last]);
        let (listed, lease) = held(60, listed).await;
        let error = lease.watch().await;
        assert!(matches!(error, Error::LeaseLost { .. }), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
        // A server in trouble is not flooded.
        assert_eq!(listed.start.elapsed(), 2 * S, "{says}");
    }
}

/// Completes a lease of a minute; the outcome, and all that happened.
async fn completed(listed: Listed) -> (Result<(), ErrorKind>, Vec<String>) {
    let (listed, lease) = held(60, listed).await;
    let outcome = lease.complete(&CancellationToken::new()).await.map_err(|error| error.kind());
    (outcome, listed.log())
}

#[tokio::test(start_paused = true)]
async fn what_the_server_has_completed_is_complete() {
    let done =
        || Listed::new().states([ready(60), Err(refused("SystemError")), Ok(LeaseState::Done)]);
    let lost = Act::Fault("InvalidState");
    let trouble = Act::Fault("SystemError");
    let first = ["0 progress 100", "0 complete"];

    let (outcome, log) = completed(Listed::new()).await;
    assert_eq!((outcome, &log[..2]), (Ok(()), &first.map(str::to_owned)[..]));
    assert_eq!(log[2..], ["0 told: complete"]);

    // The answer to the first call was lost: the second one finds it done.
    let (outcome, log) = completed(done().complete([trouble, lost])).await;
    assert_eq!(outcome, Ok(()));
    assert_eq!(log[2..], ["1 complete", "2 told: complete"]);

    // The same with the last of the calls: that the lease cannot be aborted any more says it, also
    // if that is known only when the server is back.
    for away in [0, 5] {
        let aborts = iter::repeat_n(trouble, away).chain([lost]);
        let (outcome, log) = completed(done().complete([trouble; 3]).abort(aborts)).await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(log[2..4], ["1 complete", "3 complete"]);
        assert_eq!(log[4..].len(), away + 2, "{log:?}");
        assert_eq!(log.last().unwrap(), &format!("{} told: complete", away + 4));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_has_not_completed_is_lost() {
    let failed = || Listed::new().states([Ok(LeaseState::Error(fault("Timedout")))]);
    let done = || Listed::new().states([Ok(LeaseState::Done)]);
    let lost = Act::Fault("InvalidState");
    let trouble = Act::Fault("SystemError");

    // A lease that is gone at the first call was not completed by us, whatever it is now.
    let (outcome, log) = completed(done().complete([lost])).await;
    assert_eq!(outcome, Err(ErrorKind::LeaseLost));
    assert_eq!(log, ["0 progress 100", "0 complete"]);

    let (outcome, log) = completed(failed().complete([trouble, lost])).await;
    assert_eq!(outcome, Err(ErrorKind::LeaseLost));
    assert_eq!(log[2..], ["1 complete"]);

    // Nobody waits for news of a lease that is not there.
    let vanished = Listed::new().states([Err(gone())]).complete([trouble, lost]);
    let (vanished, lease) = held(60, vanished).await;
    assert_eq!(
        lease.complete(&CancellationToken::new()).await.unwrap_err().kind(),
        ErrorKind::LeaseLost
    );
    assert_eq!(vanished.start.elapsed(), S);

    // It lives: it is aborted.
    let tries = ["1 complete", "3 complete", "3 abort", "3 told: aborted, true"];
    let (outcome, log) = completed(done().complete([trouble; 3])).await;
    assert_eq!(outcome, Err(ErrorKind::LeaseLost));
    assert_eq!(log[2..], tries);

    // It has ended, but not as done.
    let (outcome, log) = completed(failed().complete([trouble; 3]).abort([lost])).await;
    assert_eq!(outcome, Err(ErrorKind::LeaseLost));
    assert_eq!(log[2..], tries);

    // It has ended, and nobody says how: whoever reads the journal finds out.
    let vanished = Listed::new().states([Err(gone())]).complete([trouble; 3]).abort([lost]);
    let (outcome, log) = completed(vanished).await;
    assert_eq!(outcome, Err(ErrorKind::LeaseLost));
    assert_eq!(log[4..], ["3 abort", "3 told: aborted, false"]);

    // How it has ended is not to be found out: that is not waited for any longer than for a call.
    let listed = Listed::new().complete([trouble, lost]);
    let (outcome, log) = completed(listed).await;
    assert_eq!((outcome, log.len()), (Err(ErrorKind::LeaseLost), 3));
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_takes_its_time_has_heartbeats_beside_it() {
    let (listed, lease) = held(60, Listed::new().complete([Act::Slow(35)])).await;
    lease.complete(&CancellationToken::new()).await.unwrap();
    assert_eq!(listed.seconds("progress"), [0, 10, 20, 30]);
    assert_eq!(listed.seconds("complete"), [0]);

    // None of three calls is answered, nor any heartbeat: a minute each, and a second between.
    let silent = Listed::new().complete([Act::Silence; 3]).progress([Act::Silence; 40]);
    let (listed, lease) = held(60, silent.abort([Act::Silence; 9])).await;
    assert_eq!(
        lease.complete(&CancellationToken::new()).await.unwrap_err().kind(),
        ErrorKind::LeaseLost
    );
    assert_eq!(listed.seconds("complete"), [2, 63, 125]);
    let beats: Vec<u64> = (12..=182).step_by(10).collect();
    assert_eq!(listed.seconds("progress"), [&[0][..], &beats].concat());
    assert_eq!(listed.seconds("abort"), [185]);
    assert_eq!(listed.start.elapsed(), 215 * S);
}

/// The bytes are all there: a server that is away for less than the lease lives costs nothing.
#[tokio::test(start_paused = true)]
async fn a_completion_waits_for_a_server_that_is_away() {
    let away_for = |calls| Listed::new().complete(iter::repeat_n(Act::Away, calls));
    let (listed, lease) = held(300, away_for(30).progress([Act::Away; 15])).await;
    lease.complete(&CancellationToken::new()).await.unwrap();
    let tries = listed.seconds("complete");
    assert_eq!(tries[..7], [0, 1, 3, 7, 15, 25, 35]);
    assert_eq!((tries.len(), tries.last()), (31, Some(&275)));
    assert_eq!(listed.log().last().unwrap(), "275 told: complete");

    // What the server has done before it went away is found out when it is back.
    let states = [Ok(LeaseState::Done)];
    let listed = away_for(5).states(states).complete([Act::Fault("InvalidState")]);
    let (outcome, log) = completed(listed).await;
    assert_eq!((outcome, &**log.last().unwrap()), (Ok(()), "25 told: complete"));

    // A server that comes back and is not ready yet is asked as often as any other.
    let listed = away_for(4).complete([Act::Fault("SystemError"); 2]);
    assert_eq!(completed(listed).await.0, Ok(()));
    let listed = away_for(4).complete([Act::Fault("SystemError"); 3]);
    assert_eq!(completed(listed).await.0, Err(ErrorKind::LeaseLost));

    // Longer than the lease lives, though the heartbeats are answered.
    let (listed, lease) = held(60, away_for(99)).await;
    let error = lease.complete(&CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert!(error.chain().contains("connection refused"), "{}", error.chain());
    assert_eq!(listed.seconds("complete"), [0, 1, 3, 7, 15, 25, 35, 45, 55]);
    assert_eq!(listed.seconds("abort"), [55]);
}

#[tokio::test(start_paused = true)]
async fn whoever_cancels_does_not_wait_for_a_completion() {
    let lost = Act::Fault("InvalidState");
    let cases: [(Vec<Act>, Vec<Act>, _, u64); 5] = [
        (vec![Act::Away; 99], vec![], Err(ErrorKind::Cancelled), 5),
        (vec![Act::Away; 99], vec![Act::Away; 99], Err(ErrorKind::CancelledUnclean), 8),
        (vec![Act::Away, Act::Silence], vec![lost], Ok(()), 5),
        (vec![Act::Silence], vec![lost], Ok(()), 5),
        (vec![Act::Slow(30)], vec![], Err(ErrorKind::Cancelled), 5),
    ];
    for (completes, aborts, expected, took_s) in cases {
        let listed = Listed::new().states([Ok(LeaseState::Done)]);
        let (listed, lease) = held(300, listed.complete(completes).abort(aborts)).await;
        let cancel = CancellationToken::new();
        let (outcome, ()) = tokio::join!(lease.complete(&cancel), async {
            tokio::time::sleep(5 * S).await;
            cancel.cancel();
        });
        assert_eq!(outcome.map_err(|error| error.kind()), expected);
        assert_eq!(listed.start.elapsed().as_secs(), took_s, "{:?}", listed.log());
    }

    // Nor for the last percentage.
    let (listed, lease) = held(300, Listed::new().progress([Act::Silence])).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert_eq!(lease.complete(&cancel).await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(listed.start.elapsed(), Duration::ZERO);
}

/// The last percentage is a courtesy; it takes no longer than a beat.
#[tokio::test(start_paused = true)]
async fn the_last_percentage_is_not_waited_for_longer_than_a_beat() {
    let (listed, lease) = held(6, Listed::new().progress([Act::Silence])).await;
    lease.complete(&CancellationToken::new()).await.unwrap();
    assert_eq!(listed.seconds("complete"), [1]);
}

#[tokio::test(start_paused = true)]
async fn an_abort_insists_as_long_as_anybody_can_wait() {
    let trouble = Act::Fault("SystemError");
    let left = || Error::CancelledUnclean { left_behind: "a file".to_owned() };
    let failed = || Error::Refused { problem: "no".to_owned() };
    let yes = Aborted::Confirmed;
    let ended = Aborted::Ended;
    let no = Aborted::Unconfirmed;
    let cases: Vec<(Error, Vec<Act>, Aborted, usize, u32)> = vec![
        (failed(), vec![], yes, 1, 0),
        (failed(), vec![Act::Fault("InvalidState")], ended, 1, 0),
        (failed(), vec![Act::Fault("ManagedObjectNotFound")], ended, 1, 0),
        (failed(), vec![Act::LoseSession], no, 1, 0),
        (failed(), vec![trouble; 3], yes, 4, 3),
        (failed(), vec![trouble; 99], no, 30, 29),
        (failed(), vec![Act::Silence; 9], no, 1, 30),
        (Error::Cancelled, vec![trouble; 3], yes, 4, 3),
        (Error::Cancelled, vec![trouble; 99], no, 4, 3),
        (Error::Cancelled, vec![Act::Silence], no, 1, 4),
        (left(), vec![Act::Silence], no, 1, 4),
    ];
    for (cause, acts, expected, calls, took_s) in cases {
        let (listed, lease) = held(60, Listed::new().abort(acts)).await;
        let begin = Instant::now();
        assert_eq!(lease.abort(&cause).await, expected, "{cause}");
        assert_eq!(listed.seconds("abort").len(), calls, "{cause}");
        assert_eq!(begin.elapsed(), took_s * S, "{cause}");
        let told = format!("told: aborted, {}", expected != no);
        assert!(listed.log().last().unwrap().ends_with(&told), "{cause}: {:?}", listed.log());
    }
}

/// Only a cancellation promises that nothing is left behind.
#[test]
fn an_abort_that_is_not_confirmed_is_told_to_whoever_cancels() {
    let left = || Error::CancelledUnclean { left_behind: "a file".to_owned() };
    assert_eq!(after_abort(Error::Cancelled, Aborted::Confirmed).kind(), ErrorKind::Cancelled);
    let text = after_abort(Error::Cancelled, Aborted::Unconfirmed).to_string();
    assert!(text.contains("did not confirm the abort"), "{text}");
    let text = after_abort(left(), Aborted::Unconfirmed).to_string();
    assert!(text.contains("a file; the server did not confirm"), "{text}");
    let text = after_abort(left(), Aborted::Confirmed).to_string();
    assert!(text.ends_with("a file"), "{text}");
    let refused = Error::Refused { problem: "no".to_owned() };
    assert_eq!(after_abort(refused, Aborted::Unconfirmed).kind(), ErrorKind::Refused);
}
