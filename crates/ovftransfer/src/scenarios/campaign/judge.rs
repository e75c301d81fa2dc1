//! Compares what came of a script with what the oracle said, and with the promises that hold always.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ovftransfer_ovf::ova::Ova;

use super::oracle::End;
use super::play::Played;
use super::play::name;
use super::script::Abortion;
use super::script::CANCEL_SLOT;
use super::script::Death;
use super::script::Into as Goes;
use super::script::Start;
use super::script::Way;
use super::universe::Heard;
use super::universe::OnServer;
use super::universe::Universe;
use crate::error::ErrorKind;

/// Everything that is wrong with what came of a script that was to end in one of these ways.
pub(super) fn judge(played: Played, expected: &[End]) -> Vec<String> {
    let mut wrong = played.universe.lock().broken.clone();
    wrong.extend(end(&played, expected));
    wrong.extend(lease(&played));
    wrong.extend(pulse(&played.universe));
    wrong.extend(bounds(&played));
    wrong.extend(durable(&played));
    wrong.extend(promptly(&played));
    if let Err(error) = &played.outcome {
        let texts = [error.to_string(), format!("{error:?}"), error.chain()];
        texts.iter().for_each(|text| played.universe.check_secrets("error", text));
        wrong.extend(played.universe.lock().broken.drain(..).filter(|one| one.contains("secret")));
    }
    let Played { universe, .. } = played;
    // Every source, sink, call and task holds the universe.
    let holders = Arc::strong_count(&universe) - 1;
    if holders > 0 {
        wrong.push(format!("{holders} things are left over that were never dropped"));
    }
    wrong
}

/// The end that is right, and everything or nothing there.
fn end(played: &Played, expected: &[End]) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_completed = played.universe.lock().lease == OnServer::Completed;
    let end = match &played.outcome {
        Ok(()) => End::Complete,
        Err(error) if is_completed => End::Unnamed(error.kind()),
        Err(error) => End::Failed(error.kind()),
    };
    if !expected.contains(&end) {
        let chain = played.outcome.as_ref().err().map(crate::error::Error::chain);
        wrong.push(format!("ended as {end:?} ({chain:?}), expected one of {expected:?}"));
    }
    let there = there(played);
    if end == End::Complete {
        for file in &played.universe.script.files {
            match there.get(&file.name) {
                None => wrong.push(format!("{} is not there", file.name)),
                Some(bytes) if *bytes != file.content => {
                    wrong.push(format!("{} is not what it was", file.name));
                }
                Some(_) => {}
            }
        }
        let papers: &[&str] = match played.universe.script.way {
            Way::Import => &[],
            Way::Export(_) => &["m.ovf", "m.mf"],
        };
        wrong.extend(
            papers
                .iter()
                .filter(|paper| !there.contains_key(**paper))
                .map(|paper| format!("{paper} is not there")),
        );
    } else if matches!(played.universe.script.way, Way::Export(_)) && !there.is_empty() {
        wrong.push(format!("left behind: {:?}", there.keys()));
    }
    wrong
}

/// What lies under a name: in the store, in the folder, in the pipe, on the hosts.
fn there(played: &Played) -> BTreeMap<String, Bytes> {
    let state = played.universe.lock();
    let mut there: BTreeMap<String, Bytes> =
        state.there.iter().map(|(file, bytes)| (file.to_string(), bytes.clone())).collect();
    match (&played.folder, played.universe.script.way) {
        (Some(folder), Way::Export(Goes::Folder)) => there.extend(in_folder(folder.path())),
        (Some(folder), Way::Export(Goes::Archive)) => {
            let files = in_folder(folder.path());
            match files.get("m.ova") {
                Some(archive) => there.extend(in_archive(archive)),
                None => there.extend(files),
            }
        }
        (Some(folder), Way::Export(Goes::Pipe)) => {
            there.extend(in_folder(folder.path()));
            if !played.piped.is_empty() {
                there.extend(in_archive(&played.piped));
            }
        }
        _ => {}
    }
    there
}

/// The files in a folder, and in those that were made in it.
fn in_folder(folder: &Path) -> BTreeMap<String, Bytes> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            // A folder that was made for nothing is something that was left.
            files.insert(file, Bytes::new());
            files.extend(in_folder(&path));
        } else {
            files.insert(file, fs::read(&path).unwrap().into());
        }
    }
    files
}

fn in_archive(archive: &[u8]) -> BTreeMap<String, Bytes> {
    let Ok(ova) = Ova::index(&archive) else { return BTreeMap::new() };
    let names = ova.members().iter().map(|member| member.name().to_string());
    names
        .map(|file| {
            let member = ova.member(&name(&file)).unwrap();
            let from = usize::try_from(member.offset_bytes()).unwrap();
            let len = usize::try_from(member.size_bytes()).unwrap();
            (file, Bytes::copy_from_slice(&archive[from..from + len]))
        })
        .collect()
}

/// A lease ends exactly once.
fn lease(played: &Played) -> Vec<String> {
    let mut wrong = Vec::new();
    let state = played.universe.lock();
    let script = &played.universe.script;
    let plan = &script.lease;
    if state.ended > 1 {
        wrong.push(format!("the lease was ended {} times", state.ended));
    }
    let never_answers = matches!(plan.abort, Abortion::Silence | Abortion::Fails(1000));
    let no_way = matches!(plan.death, Some((_, Death::Unreachable | Death::SessionLost)));
    // Where nothing can be written no lease is taken.
    let is_taken = state.calls.contains_key("next_state");
    let is_held = match state.lease {
        OnServer::Ready => true,
        OnServer::Initializing => plan.start == Start::Ready,
        OnServer::Aborted | OnServer::Completed | OnServer::Dead => false,
    };
    let is_open = is_taken && is_held;
    if is_open && !never_answers && !no_way {
        wrong.push(format!("the lease was left {:?}", state.lease));
    }
    if is_open && !state.calls.contains_key("HttpNfcLeaseAbort") {
        wrong.push("nobody tried to abort the lease".to_owned());
    }
    if played.outcome.is_ok() && state.lease != OnServer::Completed {
        wrong.push(format!("success, and the lease is {:?}", state.lease));
    }
    if state.open_sinks != 0 {
        wrong.push(format!("{} sinks were dropped on the way", state.open_sinks));
    }
    wrong
}

/// Heartbeats are never later than they should be, whether data moves or not.
fn pulse(universe: &Universe) -> Vec<String> {
    let state = universe.lock();
    let beat_ms = (universe.script.lease.timeout_s.saturating_mul(1000) / 6).clamp(500, 20_000);
    let mut wrong = Vec::new();
    let until = state.heard_ms.iter().position(|(_, heard)| *heard == Heard::Ending);
    let streaming = &state.heard_ms[..until.unwrap_or(state.heard_ms.len())];
    for pair in streaming.windows(2) {
        let gap_ms = pair[1].0 - pair[0].0;
        if gap_ms > beat_ms + ROUNDING_MS {
            wrong.push(format!("no heartbeat for {gap_ms} ms at {} ms", pair[0].0));
        }
    }
    wrong
}

/// Nothing gets its name before it is on the disk, the descriptor comes last, and names are made
/// durable.
fn durable(played: &Played) -> Vec<String> {
    let mut wrong = Vec::new();
    let state = played.universe.lock();
    let on_disk = &state.on_disk;
    let names: Vec<(usize, &String)> = on_disk
        .iter()
        .enumerate()
        .filter_map(|(at, (operation, file))| (*operation == "rename").then_some((at, file)))
        .collect();
    for (at, file) in &names {
        let is_synced =
            on_disk[..*at].iter().any(|(operation, one)| *operation == "sync" && one == *file);
        if !is_synced {
            wrong.push(format!("{file} got its name before it was synced"));
        }
    }
    let Some((last, file)) = names.last() else { return wrong };
    if played.outcome.is_ok() {
        if !["m.ovf.partial", "m.ova.partial"].contains(&file.as_str()) {
            wrong.push(format!("{file} got its name after the descriptor"));
        }
        if !on_disk[*last..].iter().any(|(operation, _)| *operation == "sync a folder") {
            wrong.push("the names were not made durable".to_owned());
        }
    }
    wrong
}

/// A lease of which the server says that it has ended is not held on to.
fn promptly(played: &Played) -> Option<String> {
    let plan = &played.universe.script.lease;
    let (at_ms, death) = plan.death?;
    let is_told = matches!(death, Death::Error | Death::Vanished | Death::Done);
    let is_lost = played.outcome.as_ref().err()?.kind() == ErrorKind::LeaseLost;
    let took_ms = played.ended_ms.saturating_sub(at_ms);
    (is_told && is_lost && plan.watch_fails == 0 && took_ms > LOSS_MS)
        .then(|| format!("the lease was lost, and it went on for {took_ms} ms"))
}

/// Everything is bounded: tries, calls, and the time after a cancellation.
fn bounds(played: &Played) -> Vec<String> {
    let mut wrong = Vec::new();
    let state = played.universe.lock();
    let script = &played.universe.script;
    for ((file, side), count) in &state.opened {
        // Whoever blames the package reads it once more.
        let most = match *side {
            "host" if !script.may_repeat() => 1,
            "host" | "store" | "looked at" => 3,
            _ => 4,
        };
        if *count > most {
            wrong.push(format!("{file}: {side} {count} times"));
        }
    }
    let calls = |name: &str| state.calls.get(name).copied().unwrap_or(0);
    // One more than go wrong; that a call to which nothing was to happen fails is another cause.
    let completions = u32::try_from(script.lease.complete.len() + 1).unwrap();
    if calls("HttpNfcLeaseComplete") > completions.max(3) {
        wrong.push(format!("{} completions", calls("HttpNfcLeaseComplete")));
    }
    if calls("HttpNfcLeaseAbort") > 31 {
        wrong.push(format!("{} aborts", calls("HttpNfcLeaseAbort")));
    }
    let percent = played.meter.percent();
    if percent > 99 {
        wrong.push(format!("the meter says {percent} before the proof"));
    }
    if let (Some(cancelled_ms), Err(error)) = (played.cancelled_ms, &played.outcome) {
        let took_ms = played.ended_ms - cancelled_ms;
        let is_cancelled =
            matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::CancelledUnclean);
        if is_cancelled && took_ms > CANCEL_MS + CANCEL_SLOT {
            wrong.push(format!("cancelling took {took_ms} ms"));
        }
    }
    wrong
}

/// Timers are rounded up to whole milliseconds.
const ROUNDING_MS: u64 = 2;

/// How soon a transfer ends that has lost its lease: within seconds.
const LOSS_MS: u64 = 3_000;

/// Somebody waits: five seconds are promised.
const CANCEL_MS: u64 = 5_000;
