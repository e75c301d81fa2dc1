//! Each operation that can fail, failed once, in each of the ways in which a transfer is run.
//!
//! A clean run counts them; then there is one run for each, in which just that one fails: a call to
//! the server, a connection, a read, a write, a sync, a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RUN_LIMIT;
use super::draw::quiet;
use super::judge::judge;
use super::oracle::End;
use super::play::play;
use super::play::play_beside;
use super::script::Into;
use super::script::Script;
use super::script::Trouble;
use super::script::Way;
use super::universe::Streams;
use crate::error::ErrorKind;
use crate::governor::Governor;
use crate::governor::Limits;
use crate::verify::Verification;

/// The ways in which transfers are run, and how each ends if nothing is failed on purpose.
fn canonical() -> Vec<(&'static str, Script)> {
    let import = |disks, change: fn(&mut Script)| with(Way::Import, disks, change);
    let export = |into, disks, change: fn(&mut Script)| with(Way::Export(into), disks, change);
    let off = |script: &mut Script| script.verification = Verification::Off;
    vec![
        ("import of one disk", import(1, |_| {})),
        ("import of three disks", import(3, |_| {})),
        ("import, one after the other", import(3, |script| script.parallel = 1)),
        ("import without a second try", import(2, |script| script.retry_uploads = false)),
        ("import, nothing proven", import(2, off)),
        (
            "import, proven where possible",
            import(2, |script| {
                script.verification = Verification::Prefer;
            }),
        ),
        (
            "import of deltas",
            import(3, |script| {
                script.files.iter_mut().skip(1).for_each(|file| file.is_delta = true);
            }),
        ),
        (
            "import that has to try again",
            import(2, |script| {
                script.files[1].tries = vec![Trouble::Reset(0)];
            }),
        ),
        ("import that fails", import(2, |script| script.files[1].tries = vec![Trouble::Tls; 3])),
        ("export into a folder", export(Into::Folder, 1, |_| {})),
        ("export of three disks into a folder", export(Into::Folder, 3, |_| {})),
        (
            "export into a folder that fails",
            export(Into::Folder, 2, |script| {
                script.files[1].tries = vec![Trouble::Tls; 3];
            }),
        ),
        ("export into an archive", export(Into::Archive, 1, |_| {})),
        ("export of three disks into an archive", export(Into::Archive, 3, |_| {})),
        ("export of two disks into a pipe", export(Into::Pipe, 2, |_| {})),
        ("export into a store", export(Into::Store, 3, |_| {})),
        ("export into a store, nothing proven", export(Into::Store, 2, off)),
        (
            "export that has to try again",
            export(Into::Store, 2, |script| {
                script.files[0].tries = vec![Trouble::Reset(7), Trouble::Status(503, 0)];
            }),
        ),
    ]
}

fn with(way: Way, disks: usize, change: fn(&mut Script)) -> Script {
    let mut script = quiet(way, disks);
    change(&mut script);
    script
}

/// How a script ends if this operation fails.
fn ends(script: &Script, operation: &str) -> Vec<End> {
    let clean = script.ends();
    let fatal = |kind| vec![End::Failed(kind)];
    let mut ends = match operation {
        "begin" => fatal(ErrorKind::Network),
        // What is asked again, or is another's to judge.
        "watch" | "progress" | "manifest" | "choice of digest" | "complete" | "abort"
        | "look at a host" => Vec::new(),
        "connect" | "receive" | "send" | "answer" => {
            // One more than three tries are not made.
            let tried = script.files.iter().map(|file| file.tries.len()).max().unwrap_or(0);
            match script.may_repeat() && tried < 2 {
                true => Vec::new(),
                false => fatal(ErrorKind::Network),
            }
        }
        "open the package" | "read the package" | "create" | "write" | "sync" | "sync a spool"
        | "create a folder" | "lock" => fatal(ErrorKind::LocalFile),
        "commit" | "rename" | "write the pipe" => vec![End::Unnamed(ErrorKind::LocalFile)],
        // A folder that was made, or the names in it.
        "sync a folder" => {
            vec![End::Failed(ErrorKind::LocalFile), End::Unnamed(ErrorKind::LocalFile)]
        }
        // A failed clean-up changes nothing in what went wrong before.
        "remove" => Vec::new(),
        other => panic!("no expectation for {other}"),
    };
    // Which of two causes comes first is open.
    if ends.is_empty() || !clean.contains(&End::Complete) {
        ends.extend(clean);
    }
    if ends == fatal(ErrorKind::Network) && script.may_repeat() {
        // It may have struck a file that had not been tried before.
        ends.push(End::Complete);
    }
    ends
}

/// Plays the script; returns what could have failed, and what is wrong.
fn torture(script: Script, expected: impl Fn(&[&'static str]) -> Vec<End>) -> Tortured {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let played = runtime.block_on(async { tokio::time::timeout(RUN_LIMIT, play(script)).await });
    let Ok(played) = played else { return (Vec::new(), vec!["it did not end".to_owned()]) };
    let operations = played.universe.lock().operations.clone();
    let expected = expected(&operations);
    (operations, judge(played, &expected))
}

type Tortured = (Vec<&'static str>, Vec<String>);

fn each_operation_fails_once(cases: Vec<(&'static str, Script)>) -> BTreeMap<&'static str, u32> {
    let mut failed = BTreeMap::new();
    for (name, script) in cases {
        let clean = script.ends();
        let (operations, wrong) = torture(script.clone(), |_| clean.clone());
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        for number in 1..=operations.len() {
            let script = Script { fail_at: Some(number), ..script.clone() };
            // Threads that write beside one another do not always do so in the same order.
            let expected = |operations: &[&'static str]| match operations.get(number - 1) {
                Some(operation) => ends(&script, operation),
                None => clean.clone(),
            };
            let (operations, wrong) = torture(script.clone(), expected);
            let operation = operations.get(number - 1).copied().unwrap_or("none");
            assert!(wrong.is_empty(), "{name}, operation {number} ({operation}): {wrong:?}");
            *failed.entry(operation).or_default() += 1;
        }
    }
    failed
}

#[test]
fn whatever_fails_once_ends_as_it_should() {
    let mut cases = canonical();
    assert!(cases.len() >= 12);
    // The larger ones, and those that wait for a disk, are a step of their own.
    let is_quick = |way| matches!(way, Way::Import | Way::Export(Into::Store));
    cases.retain(|(_, script)| script.files.len() <= 3 && is_quick(script.way));
    each_operation_fails_once(cases);
}

/// `.ci/campaign torture`.
#[test]
#[ignore = "too long for every run: run by .ci/campaign torture, a step of its own in .ci/run"]
fn whatever_fails_once_ends_as_it_should_everywhere() {
    let cases = canonical();
    let scenarios = cases.len();
    let failed = each_operation_fails_once(cases);
    println!("failed: {failed:?}");
    let runs: u32 = failed.values().sum();
    println!("ci: {runs} operations failed, each once, in {scenarios} ways to run a transfer");
}

/// The answer to the last of the calls for completion is lost as easily as that to the first.
#[test]
fn an_answer_that_is_lost_with_the_last_call_is_found_out() {
    use super::script::Completion;
    let answers = [Completion::Fault, Completion::Fault, Completion::AnswerLost];
    for way in [Way::Import, Way::Export(Into::Store)] {
        let mut script = quiet(way, 1);
        script.lease.complete = answers.to_vec();
        assert_eq!(torture(script, |_| vec![End::Complete]).1, Vec::<String>::new());
    }
}

/// Somebody who cancels waits, also if something cannot be removed.
#[test]
fn a_cancellation_that_leaves_something_behind_is_as_quick_as_any() {
    use super::script::Abortion;
    use super::script::Cancel;
    use super::script::SinkTrouble;
    let mut script = quiet(Way::Export(Into::Store), 2);
    script.lease.abort = Abortion::Silence;
    script.files[0].sink = Some(SinkTrouble::Abort);
    script.cancel = Some(Cancel { at_ms: 3_000, is_midway: true });
    let expected = [End::Failed(ErrorKind::CancelledUnclean)];
    assert_eq!(torture(script, |_| expected.to_vec()).1, Vec::<String>::new());
}

/// Transfers of one process share the limits of its hosts, and all come to their end.
#[test]
fn many_transfers_share_one_governor() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (streams, governor) = (Streams::new(6, 4), Governor::new(Limits::new(6, 4)));
    let transfers = (0..32).map(|index| {
        let way = if index % 2 == 0 { Way::Import } else { Way::Export(Into::Store) };
        let mut script = quiet(way, 3);
        if index % 4 == 1 {
            // Some hosts are overloaded now and then.
            script.files[0].tries = vec![Trouble::Status(503, 0)];
        }
        play_beside(script, Arc::clone(&streams), governor.clone())
    });
    let all = runtime.block_on(async {
        tokio::time::timeout(RUN_LIMIT, futures::future::join_all(transfers)).await.unwrap()
    });
    for played in all {
        assert_eq!(judge(played, &[End::Complete]), Vec::<String>::new());
    }
    // How close to the limit they come is a matter of threads, too: 5 on a machine that was busy.
    let peak = streams.peak();
    assert!((2..=6).contains(&peak), "{peak}");
}
