//! The last steps of a transfer, and what a cancellation may promise.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_vim::Endpoint;
use ovftransfer_vim::VimError;
use ovftransfer_vim::lease::DeviceKey;
use ovftransfer_vim::lease::LeaseInfo;
use ovftransfer_vim::lease::LeaseManifestEntry;
use ovftransfer_vim::lease::LeaseState;
use ovftransfer_vim::value::Object;
use ovftransfer_vim::value::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::world::Beat;
use super::world::Call;
use super::world::File;
use super::world::Step;
use super::world::World;
use super::world::fault;
use super::world::play;
use crate::error::ErrorKind;
use crate::event::Event;
use crate::event::Observer;
use crate::lease::Lease;
use crate::lease::LeaseApi;
use crate::meter::Meter;
use crate::server::Options;
use crate::server::server_algorithm;
use crate::transfer::run;

const S: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_moved_is_removed_when_the_completion_is_refused() {
    let world = World::new(60);
    world.complete_faults.lock().unwrap().extend(["Timedout"]);
    let world = Arc::new(world);
    let files = [File::new("a.vmdk", &[Step::Bytes(10)])];
    play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(world.sinks(), [("a.vmdk".to_owned(), "abort")]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_completed_is_aborted() {
    let world = World::new(60);
    world.complete_faults.lock().unwrap().extend(["SystemError"; 3]);
    let world = Arc::new(world);
    let files = [File::new("a.vmdk", &[Step::Bytes(10)])];
    let error = play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    let endings = world.endings();
    assert!(
        matches!(&endings[..], [Call::Complete, Call::Complete, Call::Complete, Call::Abort(_)]),
        "{endings:?}"
    );
    assert_eq!(world.sinks(), [("a.vmdk".to_owned(), "abort")]);
}

#[tokio::test(start_paused = true)]
async fn the_last_percentage_does_not_hold_up_the_completion() {
    // Beats at 0 and 5 s; the percentage before the completion is never answered.
    let beats = [Beat::Answer, Beat::Answer, Beat::Silence];
    let world = Arc::new(World::new(30).with_beats(&beats));
    let files = [File::new("a.vmdk", &[Step::Pause(7 * S), Step::Bytes(10)])];
    let begin = Instant::now();
    play(&world, &files, None, &CancellationToken::new()).await.unwrap();
    assert!(begin.elapsed() < 10 * S, "{:?}", begin.elapsed());
}

/// A lease whose calls do one odd thing.
#[derive(Debug)]
struct Odd {
    /// What the first look at the state gives.
    first: Mutex<Option<Result<LeaseState, VimError>>>,
    is_session_lost: bool,
}

impl Odd {
    fn new(first: Result<LeaseState, VimError>) -> Self {
        Self { first: Mutex::new(Some(first)), is_session_lost: false }
    }

    fn ready() -> Self {
        let info: Value = Object::untyped().with("leaseTimeout", "300").into();
        let info = LeaseInfo::from_value(&info, &Endpoint::new("vc", 443)).unwrap();
        Self::new(Ok(LeaseState::Ready(info)))
    }
}

impl LeaseApi for Odd {
    fn name(&self) -> String {
        "lease-1".to_owned()
    }

    fn next_state(&self) -> BoxFuture<'_, Result<LeaseState, VimError>> {
        match self.first.lock().unwrap().take() {
            Some(first) => std::future::ready(first).boxed(),
            None => std::future::pending().boxed(),
        }
    }

    fn progress(&self, _: u8) -> BoxFuture<'_, Result<(), VimError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn complete(&self) -> BoxFuture<'_, Result<(), VimError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn abort<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), VimError>> {
        let call = "HttpNfcLeaseAbort".to_owned();
        let lost = VimError::SessionLost { host: "vc".to_owned(), call };
        std::future::ready(if self.is_session_lost { Err(lost) } else { Ok(()) }).boxed()
    }

    fn manifest(&self) -> BoxFuture<'_, Result<Vec<LeaseManifestEntry>, VimError>> {
        std::future::pending().boxed()
    }

    fn ask_for_sha256<'a>(&'a self, _: &'a [DeviceKey]) -> BoxFuture<'a, Result<(), VimError>> {
        std::future::pending().boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_without_a_session_is_not_confirmed() {
    let mut odd = Odd::new(Ok(LeaseState::Initializing { percent: 0 }));
    odd.is_session_lost = true;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = Lease::new(Arc::new(odd), Arc::new(())).ready(&cancel).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CancelledUnclean, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_vanishes_while_it_initialises_is_lost() {
    let gone = VimError::LeaseGone { host: "vc".to_owned(), lease: "lease-1".to_owned() };
    let lease = Lease::new(Arc::new(Odd::new(Err(gone))), Arc::new(()));
    let error = lease.ready(&CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{}", error.chain());
}

#[tokio::test(start_paused = true)]
async fn cancelling_does_not_wait_for_a_call_that_hangs() {
    let cancel = CancellationToken::new();
    let lease = Lease::new(Arc::new(Odd::ready()), Arc::new(())).ready(&cancel).await.unwrap();
    let (meter, options) = (Meter::default(), Options::default());
    let begin = Instant::now();
    let work = run(lease, &meter, &cancel, |api, scope| async move {
        server_algorithm(&*api, &[], &options, &scope).await.map(|_| Vec::new())
    });
    let (outcome, ()) = tokio::join!(work, async {
        tokio::time::sleep(S).await;
        cancel.cancel();
    });
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(begin.elapsed() < 5 * S, "{:?}", begin.elapsed());
}

/// What is asked beside the lease has states of its own, and a session that it shares.
#[tokio::test(start_paused = true)]
async fn the_lease_is_not_blamed_for_the_state_of_something_else() {
    let (host, session) =
        ("vc", VimError::SessionLost { host: "vc".to_owned(), call: "x".to_owned() });
    let refused = |call: &str| VimError::Fault {
        host: host.to_owned(),
        call: call.to_owned(),
        fault: Box::new(fault("InvalidState")),
    };
    for (error, kind) in [
        (refused("CreateDescriptor"), ErrorKind::Refused),
        (refused("HttpNfcLeaseGetManifest"), ErrorKind::LeaseLost),
        (session, ErrorKind::LeaseLost),
    ] {
        let cancel = CancellationToken::new();
        let lease = Lease::new(Arc::new(Odd::ready()), Arc::new(())).ready(&cancel).await.unwrap();
        let work = |_, _| async { Err(error.into()) };
        let failed = run(lease, &Meter::default(), &cancel, work).await.unwrap_err();
        assert_eq!(failed.kind(), kind, "{}", failed.chain());
    }
}

/// Somebody's observer that has a defect.
#[derive(Debug)]
struct Defect;

impl Observer for Defect {
    fn observe(&self, event: &Event) {
        assert!(!matches!(event, Event::Warning { .. }), "a defect in an observer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_lease_before_it_goes_on() {
    let world = Arc::new(World::new(60));
    let played = {
        let world = Arc::clone(&world);
        let api = super::world::lease_of(&world);
        async move {
            let lease = Lease::new(api, Arc::new(Defect));
            let lease = lease.ready(&CancellationToken::new()).await.unwrap();
            let meter = Meter::default();
            let work = |_, _| async {
                Defect.observe(&Event::Warning { message: String::new() });
                Ok(Vec::new())
            };
            run(lease, &meter, &CancellationToken::new(), work).await
        }
    };
    let panicked = std::panic::AssertUnwindSafe(played).catch_unwind().await;
    assert!(panicked.is_err(), "the panic was swallowed");
    assert!(matches!(&world.endings()[..], [Call::Abort(_)]), "{:?}", world.endings());
}
