//! Nine faults of the field's reference client, each shown to be absent here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::world::Beat;
use super::world::Call;
use super::world::File;
use super::world::Step;
use super::world::World;
use super::world::play;
use crate::error::ErrorKind;
use crate::inspect::Hasher;

const S: Duration = Duration::from_secs(1);

/// Bytes, slowly: `seconds` chunks, one each second.
fn slow(name: &'static str, seconds: usize) -> File {
    let steps: Vec<Step> =
        (0..seconds).flat_map(|_| [Step::Bytes(100_000), Step::Pause(S)]).collect();
    File::new(name, &steps)
}

/// Fault 1: one failed renewal ended all renewals.
#[tokio::test(start_paused = true)]
async fn fault_1_a_failed_renewal_is_tried_again() {
    let refused = [Beat::Answer, Beat::Fault("SystemError"), Beat::Fault("HostCommunication")];
    let world = Arc::new(World::new(60).with_beats(&refused));
    play(&world, &[slow("a.vmdk", 200)], None, &CancellationToken::new()).await.unwrap();
    assert!(world.heartbeats().len() >= 20, "{:?}", world.heartbeats());
    assert_eq!(world.endings(), [Call::Complete]);
}

/// Fault 1, the other side: renewals that fail until the deadline are not ignored.
#[tokio::test(start_paused = true)]
async fn fault_1_a_lease_that_cannot_be_renewed_is_lost_at_its_deadline() {
    let world = Arc::new(World::new(60).with_beats(&[Beat::Fault("SystemError"); 50]));
    let begin = Instant::now();
    let error = play(&world, &[slow("a.vmdk", 900)], None, &CancellationToken::new()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::LeaseLost);
    assert!(begin.elapsed() >= 50 * S && begin.elapsed() <= 62 * S, "{:?}", begin.elapsed());
}

/// Fault 1, the end of the lease: no second try where there is nothing left to renew.
#[tokio::test(start_paused = true)]
async fn fault_1_a_lease_that_has_ended_is_given_up_at_once() {
    for gone in ["Timedout", "InvalidState", "ManagedObjectNotFound"] {
        let world = Arc::new(World::new(60).with_beats(&[Beat::Answer, Beat::Fault(gone)]));
        let begin = Instant::now();
        let error = play(&world, &[slow("a.vmdk", 900)], None, &CancellationToken::new()).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::LeaseLost, "{gone}");
        assert!(begin.elapsed() < 15 * S, "{gone}: {:?}", begin.elapsed());
        assert_eq!(world.sinks(), [("a.vmdk".to_owned(), "abort")]);
    }
}

/// Fault 2: a renewal without time limit hung for ever, and with it all further ones.
#[tokio::test(start_paused = true)]
async fn fault_2_a_renewal_that_hangs_is_given_up_and_tried_again() {
    let world = Arc::new(World::new(60).with_beats(&[Beat::Answer, Beat::Silence, Beat::Silence]));
    play(&world, &[slow("a.vmdk", 120)], None, &CancellationToken::new()).await.unwrap();
    assert!(world.heartbeats().len() >= 10, "{:?}", world.heartbeats());
    assert_eq!(world.endings(), [Call::Complete]);
}

/// Fault 3: the abort used the context whose cancellation was the reason for it.
#[tokio::test(start_paused = true)]
async fn fault_3_a_cancelled_transfer_still_aborts() {
    let mut world = World::new(60);
    world.abort_takes = 3 * S;
    let world = Arc::new(world);
    let cancel = CancellationToken::new();
    let files = [slow("a.vmdk", 900)];
    let (outcome, ()) = tokio::join!(play(&world, &files, None, &cancel), async {
        tokio::time::sleep(10 * S).await;
        cancel.cancel();
    });
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(matches!(&world.endings()[..], [Call::Abort(_)]), "{:?}", world.endings());
    assert_eq!(world.sinks(), [("a.vmdk".to_owned(), "abort")]);
}

/// Fault 4: a failed export left the machine locked until the lease timed out.
#[tokio::test(start_paused = true)]
async fn fault_4_a_failed_export_aborts_and_removes_its_files() {
    let world = Arc::new(World::new(300));
    let files = [
        slow("good.vmdk", 30),
        File::new("bad.vmdk", &[Step::Bytes(1000), Step::Break { tries: 3 }]),
    ];
    play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    let [Call::Abort(cause)] = &world.endings()[..] else { panic!("{:?}", world.endings()) };
    assert!(cause.contains("bad.vmdk") && cause.contains("byte 1000"), "{cause}");
    assert!(world.sinks().iter().all(|(_, end)| *end == "abort"), "{:?}", world.sinks());
}

/// Fault 5: the percentage was wrong for several disks, and undefined for a total of zero.
#[tokio::test(start_paused = true)]
async fn fault_5_the_percentage_is_right_and_never_goes_back() {
    let world = Arc::new(World::new(30));
    // The large file breaks near its end and starts again.
    let mut large = slow("large.vmdk", 90);
    large.steps.push(Step::Break { tries: 1 });
    large.steps.extend(slow("large.vmdk", 10).steps);
    play(&world, &[large, slow("small.vmdk", 10)], None, &CancellationToken::new()).await.unwrap();
    let percents: Vec<u8> = world.heartbeats().iter().map(|(_, percent)| *percent).collect();
    assert!(percents.windows(2).all(|pair| pair[0] <= pair[1]), "{percents:?}");
    assert!(percents.iter().all(|percent| *percent <= 100), "{percents:?}");
    // After 10 of 110 seconds' worth of each: (10 + 10) / 110.
    let (_, at_10) = world.heartbeats()[2];
    assert!((15..=20).contains(&at_10), "{percents:?}");

    let world = Arc::new(World::new(30));
    play(&world, &[File::new("empty", &[])], None, &CancellationToken::new()).await.unwrap();
    assert_eq!(world.endings(), [Call::Complete]);
}

/// Fault 6: progress was told by a blocking send for every chunk, so a slow listener slowed the
/// data.  Here chunks are not told at all: what is told does not grow with the bytes.
#[tokio::test(start_paused = true)]
async fn fault_6_events_do_not_grow_with_the_data() {
    let mut told = Vec::new();
    for seconds in [1, 100] {
        let world = Arc::new(World::new(300));
        let begin = Instant::now();
        play(&world, &[slow("a.vmdk", seconds)], None, &CancellationToken::new()).await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), seconds as u64);
        told.push(world.events().len());
    }
    assert_eq!(told[0], told[1]);
}

/// Fault 7: an export compared its digests with nothing, and in one branch by letter case.
#[tokio::test(start_paused = true)]
async fn fault_7_the_servers_manifest_is_compared() {
    let right = Hasher::digest(ovftransfer_ovf::DigestAlgorithm::Sha1, &[b'x'; 10]).hex();
    let files = [File::new("a.vmdk", &[Step::Bytes(10)])];

    let world = Arc::new(World::new(60));
    *world.lie.lock().unwrap() = Some(right.to_ascii_uppercase());
    play(&world, &files, None, &CancellationToken::new()).await.unwrap();
    assert!(*world.manifest_calls.lock().unwrap() >= 1);

    let world = Arc::new(World::new(60));
    *world.lie.lock().unwrap() = Some(right.replace(|c: char| c.is_ascii_digit(), "0"));
    let error = play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert!(error.to_string().contains("the server's manifest"), "{error}");
    assert!(matches!(&world.endings()[..], [Call::Abort(_)]));
    assert_eq!(world.sinks(), [("a.vmdk".to_owned(), "abort")]);
}

/// Fault 7, what the server does not say: a missing digest is no proof.
#[tokio::test(start_paused = true)]
async fn fault_7_no_digest_is_no_proof() {
    let world = Arc::new(World::new(60));
    *world.lie.lock().unwrap() = Some(String::new());
    let files = [File::new("a.vmdk", &[Step::Bytes(10)])];
    let error = play(&world, &files, None, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert!(error.to_string().contains("not proven"), "{error}");
}

// Fault 8, two keys of one type that were mixed up: `DeviceKey` and `ImportKey` are two types, and
// `devices::tests` shows what happens when an import key has no device.

/// Fault 9: the server was told 0 % throughout.
#[tokio::test(start_paused = true)]
async fn fault_9_the_server_hears_the_percentage() {
    let world = Arc::new(World::new(60));
    play(&world, &[slow("a.vmdk", 100)], None, &CancellationToken::new()).await.unwrap();
    let percents: Vec<u8> = world.heartbeats().iter().map(|(_, percent)| *percent).collect();
    assert!(percents.iter().filter(|percent| (10..=90).contains(*percent)).count() >= 7);
    assert_eq!(percents.last(), Some(&100), "the last word before the completion");
    let calls = world.calls();
    assert_eq!(calls[calls.len() - 2..], [Call::Progress(100), Call::Complete]);
}
