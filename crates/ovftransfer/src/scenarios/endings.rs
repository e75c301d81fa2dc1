//! How a transfer can end.  Each test says beforehand which end is right.

use std::sync::Arc;
use std::time::Duration;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_vim::lease::LeaseState;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::world::Beat;
use super::world::Call;
use super::world::File;
use super::world::Step;
use super::world::World;
use super::world::fault;
use super::world::play;
use crate::error::Error;
use crate::error::ErrorKind;

const S: Duration = Duration::from_secs(1);

fn two_files() -> [File; 2] {
    let steps = [Step::Bytes(1000), Step::Pause(50 * S), Step::Bytes(1000)];
    [File::new("a.vmdk", &steps), File::new("b.vmdk", &steps)]
}

#[tokio::test(start_paused = true)]
async fn all_good_completes_once_and_commits() {
    let world = Arc::new(World::new(60));
    let done = play(&world, &two_files(), None, &CancellationToken::new()).await.unwrap();
    assert_eq!(done, [("a.vmdk".to_owned(), 1), ("b.vmdk".to_owned(), 1)]);
    assert_eq!(world.endings(), [Call::Complete]);
    assert_eq!(world.sinks().len(), 2);
    assert!(world.sinks().iter().all(|(_, end)| *end == "commit"));
}

#[tokio::test(start_paused = true)]
async fn one_bad_file_stops_its_siblings_and_aborts_once() {
    let world = Arc::new(World::new(60));
    let files = [
        File::new("bad.vmdk", &[Step::Bytes(10), Step::Break { tries: 9 }]),
        File::new("slow.vmdk", &[Step::Bytes(10), Step::Stall]),
        File::new("waiting.vmdk", &[Step::Bytes(10)]),
    ];
    let begin = Instant::now();
    let error = play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(&error, Error::Stream { file, .. } if file.as_str() == "bad.vmdk"), "{error}");
    assert!(begin.elapsed() < 20 * S, "the stalled sibling was not stopped");
    let [Call::Abort(cause)] = &world.endings()[..] else { panic!("{:?}", world.endings()) };
    assert!(cause.contains("bad.vmdk"), "{cause}");
    assert!(world.sinks().iter().all(|(_, end)| *end == "abort"));
    assert!(!world.sinks().iter().any(|(file, _)| file == "waiting.vmdk"), "it was started");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_dies_on_the_server_stops_the_streams_within_seconds() {
    let died = LeaseState::Error(fault("HostNotReachable"));
    let world = Arc::new(World::new(300).with_state(20 * S, died));
    let files = [File::new("a.vmdk", &[Step::Bytes(10), Step::Stall])];
    let begin = Instant::now();
    let error = play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert!(error.chain().contains("HostNotReachable"), "{}", error.chain());
    assert!(begin.elapsed() < 25 * S);
    assert_eq!(world.sinks(), [("a.vmdk".to_owned(), "abort")]);
    assert!(!world.endings().contains(&Call::Complete));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_because_the_lease_died_blames_the_lease() {
    let died = LeaseState::Error(fault("Timedout"));
    let world = Arc::new(World::new(300).with_state(20 * S + S / 2, died));
    let steps = [Step::Pause(20 * S), Step::Break { tries: 9 }];
    let files = [File::new("a.vmdk", &[Step::Bytes(1), steps[0], steps[1]])];
    let error = play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{}", error.chain());
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_is_tried_again() {
    let world = Arc::new(World::new(60));
    let files = [File::new("a.vmdk", &[Step::Bytes(70_000), Step::Break { tries: 2 }])];
    let begin = Instant::now();
    let done = play(&world, &files, None, &CancellationToken::new()).await.unwrap();
    assert_eq!(done, [("a.vmdk".to_owned(), 3)]);
    // Two seconds before the second try, and twice that before the third.
    assert_eq!(begin.elapsed(), 6 * S);
    let ends: Vec<_> = world.sinks().into_iter().map(|(_, end)| end).collect();
    assert_eq!(ends, ["abort", "abort", "commit"]);
    assert_eq!(world.endings(), [Call::Complete]);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_ends_after_its_limit_and_not_before() {
    let world = Arc::new(World::new(60));
    let files = [File::new("a.vmdk", &[Step::Bytes(10), Step::Pause(590 * S), Step::Bytes(10)])];
    play(&world, &files, None, &CancellationToken::new()).await.unwrap();

    let world = Arc::new(World::new(60));
    let files = [File::new("a.vmdk", &[Step::Bytes(10), Step::Stall])];
    let begin = Instant::now();
    let error = play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert!(error.chain().contains("no byte moved for 600 seconds"), "{}", error.chain());
    assert_eq!(error.kind(), ErrorKind::Network);
    // Three tries of ten minutes, and the pauses between them.
    assert!(begin.elapsed() < 1_810 * S);
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_the_package_does_not_promise_aborts() {
    let wrong = Digest::new(DigestAlgorithm::Sha256, &[7; 32]).unwrap();
    let world = Arc::new(World::new(60));
    let files = [File::new("a.vmdk", &[Step::Bytes(10)])];
    let error = play(&world, &files, Some(&wrong), &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert!(error.to_string().contains("the package's manifest"), "{error}");
    assert!(matches!(&world.endings()[..], [Call::Abort(_)]));
    assert_eq!(world.sinks(), [("a.vmdk".to_owned(), "abort")]);
}

/// The host adds its entry a moment later than we have seen the last byte.
#[tokio::test(start_paused = true)]
async fn an_entry_that_is_missing_is_waited_for_and_a_wrong_one_is_not() {
    let mut world = World::new(60);
    world.is_listed = false;
    let (world, files) = (Arc::new(world), [File::new("a.vmdk", &[Step::Bytes(10)])]);
    let begin = Instant::now();
    let error = play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("does not list the file"), "{error}");
    // Twice in a second, for half a minute.
    assert_eq!(begin.elapsed(), 29 * S + S / 2);
    assert_eq!(*world.manifest_calls.lock().unwrap(), 60);

    let world = Arc::new(World::new(60));
    *world.lie.lock().unwrap() = Some("07".repeat(20));
    let begin = Instant::now();
    let error = play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert_eq!((begin.elapsed(), *world.manifest_calls.lock().unwrap()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_completion_whose_answer_is_lost_is_asked_about() {
    // The first call is answered with trouble although it went through; the second one then finds
    // a lease that has ended, and the state says how.
    let world = World::new(60).with_state(Duration::ZERO, LeaseState::Done);
    world.complete_faults.lock().unwrap().extend(["SystemError", "InvalidState"]);
    // The lease must look ready as long as files move.
    world.states.lock().unwrap().front_mut().unwrap().0 = 55 * S;
    let world = Arc::new(world);
    let files = [File::new("a.vmdk", &[Step::Pause(54 * S), Step::Bytes(10)])];
    play(&world, &files, None, &CancellationToken::new()).await.unwrap();
    assert_eq!(world.endings(), [Call::Complete, Call::Complete]);
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_is_refused_commits_nothing() {
    let world = World::new(60);
    world.complete_faults.lock().unwrap().extend(["Timedout"]);
    let world = Arc::new(world);
    let files = [File::new("a.vmdk", &[Step::Bytes(10)])];
    let error = play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert!(!world.sinks().contains(&("a.vmdk".to_owned(), "commit")));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_on_while_no_data_moves() {
    let world = Arc::new(World::new(60).with_beats(&[Beat::Answer]));
    let files = [File::new("a.vmdk", &[Step::Bytes(10), Step::Pause(300 * S), Step::Bytes(10)])];
    play(&world, &files, None, &CancellationToken::new()).await.unwrap();
    let beats = world.heartbeats();
    assert!(beats.len() >= 30, "{} beats in 300 s", beats.len());
    assert!(beats.windows(2).all(|pair| pair[1].0 - pair[0].0 <= 11 * S), "{beats:?}");
}
