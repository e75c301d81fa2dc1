//! Transfers drawn from seeds, on a paused clock, with an oracle that says beforehand how each must
//! end and promises that must hold however it ends.
//!
//! A seed draws a [`script`](script): an inventory of disks and hosts, what goes wrong, and whether
//! and when the caller cancels.  The engine plays it against a scripted server, scripted hosts and
//! a scripted package or store; the [`judge`](judge) compares.  Nothing but the seed matters: the
//! same one gives the same events at the same times.
//!
//! `.ci/campaign scenarios 10000` runs so many, and `.ci/campaign scenarios 1 SEED` one again, with
//! all that happened in it.

mod dice;
mod draw;
mod ends;
mod hosts;
mod judge;
mod lease;
mod oracle;
mod play;
mod script;
mod torture;
mod universe;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::draw::draw;
use self::judge::judge;
use self::oracle::End;
use self::play::play;

/// What one seed came to.
struct Seen {
    end: Option<End>,
    wrong: Vec<String>,
    hits: BTreeMap<&'static str, u64>,
    record: Vec<String>,
    hash: u64,
}

/// Plays one seed in a runtime of its own.
fn run_seed(seed: u64) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let script = draw(seed);
    let ends = script.ends();
    let played = runtime.block_on(async {
        let played = tokio::time::timeout(RUN_LIMIT, play(script)).await.ok();
        // What was spawned has been joined, so nothing is alive but this.
        let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        (played, alive)
    });
    let mut seen =
        Seen { end: None, wrong: Vec::new(), hits: BTreeMap::new(), record: Vec::new(), hash: 0 };
    match played {
        (Some(played), alive) => {
            if alive > 0 {
                seen.wrong.push(format!("{alive} tasks are still alive"));
            }
            seen.end = ends.first().copied();
            seen.hits = played.universe.lock().hits.clone();
            seen.record = played.universe.record();
            seen.hash = played.universe.record_hash();
            seen.wrong.extend(judge(played, &ends));
        }
        (None, _) => seen.wrong.push(format!("it did not end within {RUN_LIMIT:?}")),
    }
    seen
}

/// Says which seed is bad, why, and how to see it again.
fn complain(seed: u64, seen: &Seen) -> String {
    let mut script = draw(seed);
    for file in &mut script.files {
        file.content = format!("{} bytes", file.content.len()).into();
    }
    format!(
        "seed {seed} (commit {}): {}\n  replay: .ci/campaign scenarios 1 {seed}\n{script:#?}\n{}",
        std::env::var("OVFTRANSFER_COMMIT").as_deref().unwrap_or("unknown"),
        seen.wrong.join("\n  "),
        seen.record.join("\n"),
    )
}

/// Seeds that were bad once: each has found a defect of the engine, or of this campaign.
#[test]
fn seeds_that_were_bad_once_are_good() {
    for line in include_str!("campaign/seeds.txt").lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let seed = line.parse().unwrap();
        let seen = run_seed(seed);
        assert!(seen.wrong.is_empty(), "{}", complain(seed, &seen));
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 0..40 {
        let (one, two) = (run_seed(seed), run_seed(seed));
        assert!(one.wrong.is_empty(), "{}", complain(seed, &one));
        assert_eq!(one.record, two.record, "seed {seed}");
        assert_eq!(one.hash, two.hash, "seed {seed}");
    }
}

/// The campaign: `.ci/campaign scenarios`.
#[test]
#[ignore = "too long for every run: run by .ci/campaign scenarios, a step of its own in .ci/run"]
fn seeds() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (from, count) = (number("OVFTRANSFER_SEED", 0), number("OVFTRANSFER_SEEDS", 2000));
    let next = AtomicU64::new(from);
    let hits = Mutex::new(BTreeMap::<&str, u64>::new());
    let ends = Mutex::new(BTreeMap::<String, u64>::new());
    let bad = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || bad.lock().unwrap().len() >= BAD_MAX {
                        break;
                    }
                    let seen = run_seed(seed);
                    if count == 1 {
                        println!("{}", complain(seed, &seen));
                    }
                    if !seen.wrong.is_empty() {
                        bad.lock().unwrap().push(complain(seed, &seen));
                    }
                    for (kind, times) in seen.hits {
                        *hits.lock().unwrap().entry(kind).or_default() += times;
                    }
                    let end = seen.end.map_or_else(|| "none".to_owned(), |end| format!("{end:?}"));
                    *ends.lock().unwrap().entry(end).or_default() += 1;
                }
            });
        }
    });
    let (hits, ends) = (hits.into_inner().unwrap(), ends.into_inner().unwrap());
    println!("ends: {ends:?}");
    println!("faults: {hits:?}");
    let bad = bad.into_inner().unwrap();
    println!(
        "ci: {count} seeds from {from}, {} faults of {} kinds, {} bad",
        hits.values().sum::<u64>(),
        hits.len(),
        bad.len()
    );
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
    if count >= SEEDS_FOR_ALL_KINDS {
        let missing: Vec<_> = KINDS.iter().filter(|kind| !hits.contains_key(*kind)).collect();
        assert!(missing.is_empty(), "never struck: {missing:?}");
        let unknown: Vec<_> = hits.keys().filter(|kind| !KINDS.contains(kind)).collect();
        assert!(unknown.is_empty(), "not in the list: {unknown:?}");
    }
}

/// What can strike; a campaign that never has one of them strike is none.
const KINDS: [&str; 55] = [
    "abort refused",
    "abort unanswered",
    "another status",
    "answer to the completion lost",
    "cancelled",
    "certificate changed in mid-transfer",
    "choice of digest failed",
    "completion refused",
    "completion slow",
    "completion unanswered",
    "completion unreachable",
    "connection refused",
    "connection reset",
    "done by another",
    "flipped bit",
    "heartbeat refused",
    "heartbeat slow",
    "heartbeat unanswered",
    "host away",
    "host breaks the handshake's connection",
    "host mute",
    "host with a wrong certificate",
    "initialisation failed",
    "late answer",
    "lease gone at the start",
    "looks whole",
    "manifest broken off",
    "manifest late",
    "manifest refused",
    "manifest unanswered",
    "manifest without the file",
    "manifest wrong",
    "no manifest at all",
    "package can be read once",
    "package cannot be opened",
    "package cannot be read",
    "package stalls",
    "session lost",
    "stall",
    "state error",
    "state error, unwatched",
    "state unreadable",
    "status 405",
    "status 500",
    "status 503",
    "store cannot sync",
    "store creates nothing",
    "store gives no name",
    "store removes nothing",
    "store stalls",
    "store takes no byte",
    "timed out before completion",
    "unreachable",
    "vanished",
    "watch failed",
];

/// Longest run on the paused clock: far beyond every limit of the engine put together.
const RUN_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// So many seeds have everything strike.
const SEEDS_FOR_ALL_KINDS: u64 = 2_000;

/// More than a few bad seeds say nothing new.
const BAD_MAX: usize = 5;
