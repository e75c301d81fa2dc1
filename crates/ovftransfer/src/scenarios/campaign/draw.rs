//! Draws a script from a seed.

use std::sync::LazyLock;

use bytes::Bytes;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::StreamWriter;

use super::dice::Dice;
use super::script::Abortion;
use super::script::Beat;
use super::script::CallTrouble;
use super::script::Cancel;
use super::script::Completion;
use super::script::Death;
use super::script::Entry;
use super::script::Errno;
use super::script::FilePlan;
use super::script::HostTrouble;
use super::script::Into;
use super::script::LeasePlan;
use super::script::Promised;
use super::script::Script;
use super::script::Sha256Answer;
use super::script::SinkTrouble;
use super::script::SourceTrouble;
use super::script::Start;
use super::script::Trouble;
use super::script::Way;
use crate::verify::Verification;

/// The script of a seed.
///
/// First an inventory, then what passes and what is only slow, then so many causes that do not pass:
/// none in three seeds of ten, one in most.
pub(super) fn draw(seed: u64) -> Script {
    let mut dice = Dice::new(seed);
    let mut script = inventory(seed, &mut dice);
    passing(&mut script, &mut dice);
    let causes = match dice.below(100) {
        0..30 => 0,
        30..85 => 1,
        _ => 2,
    };
    for _ in 0..causes {
        cause(&mut script, &mut dice);
    }
    script.know();
    script
}

impl Script {
    /// Takes back damage of which nobody can know, as nobody says what the bytes should be.
    fn know(&mut self) {
        let is_told = self.verification != Verification::Off && !self.lease.manifest_never;
        for file in &mut self.files {
            let is_told =
                is_told && !matches!(file.entry, Entry::Missing | Entry::NoDigest | Entry::NotHex);
            for trouble in &mut file.tries {
                let is_quiet = match trouble {
                    Trouble::Flip(_) => true,
                    Trouble::Truncate(_) => !file.is_disk && self.way != Way::Import,
                    _ => false,
                };
                if is_quiet && !is_told {
                    *trouble = Trouble::Tls;
                }
            }
        }
    }
}

fn inventory(seed: u64, dice: &mut Dice) -> Script {
    let way = match dice.below(200) {
        0..100 => Way::Import,
        100..185 => Way::Export(Into::Store),
        185..190 => Way::Export(Into::Folder),
        190..195 => Way::Export(Into::Archive),
        _ => Way::Export(Into::Pipe),
    };
    let verification = match dice.below(100) {
        0..60 => Verification::Require,
        60..85 => Verification::Prefer,
        _ => Verification::Off,
    };
    let hosts = dice.between(1, 3);
    let disks = 1 + dice.below(8).min(dice.below(8));
    let has_chain = disks > 1 && dice.percent(15);
    let mut files: Vec<FilePlan> = (0..disks)
        .map(|index| FilePlan {
            name: format!("disk-{index}.vmdk"),
            is_disk: true,
            content: DISKS[dice.index(DISKS.len())].clone(),
            is_delta: has_chain && index > 0 && dice.percent(60),
            ..file(index, hosts, way, dice)
        })
        .collect();
    if dice.percent(40) {
        let len = usize::try_from(dice.between(64, 9_000)).unwrap();
        files.push(FilePlan {
            name: "machine.nvram".to_owned(),
            content: noise(seed, len),
            ..file(disks, hosts, way, dice)
        });
    }
    Script {
        way,
        verification,
        retry_uploads: dice.percent(85),
        parallel: usize::try_from(dice.between(1, 8)).unwrap(),
        per_host: usize::try_from(dice.between(1, 8)).unwrap(),
        stall_ms: dice.pick(&[5_000, 60_000, 600_000]),
        files,
        hosts: vec![HostTrouble::None; usize::try_from(hosts).unwrap()],
        lease: LeasePlan {
            timeout_s: dice.pick(&TIMEOUTS_S),
            initializing: Vec::new(),
            start: Start::Ready,
            sha256: if dice.percent(80) { Sha256Answer::Yes } else { Sha256Answer::No },
            beats: Vec::new(),
            watch_fails: 0,
            death: None,
            manifest: Vec::new(),
            manifest_never: false,
            complete: Vec::new(),
            abort: Abortion::Answer,
        },
        papers: None,
        cancel: None,
        fail_at: None,
    }
}

/// A transfer of so many disks and a small file, to which nothing happens.
pub(super) fn quiet(way: Way, disks: usize) -> Script {
    let mut dice = Dice::new(0);
    let mut script = inventory(0, &mut dice);
    script.way = way;
    script.verification = Verification::Require;
    script.retry_uploads = true;
    (script.parallel, script.per_host) = (4, 4);
    script.lease.timeout_s = 60;
    script.lease.sha256 = Sha256Answer::Yes;
    script.hosts = vec![HostTrouble::None; 2];
    let plan = |index: usize| FilePlan {
        name: format!("disk-{index}.vmdk"),
        is_disk: true,
        content: DISKS[index % DISKS.len()].clone(),
        host: index % 2,
        slot: index as u64 + 1,
        pieces: 4,
        pause_ms: 2_000,
        rest_ms: 0,
        is_delta: false,
        promise: if way == Way::Import { Promised::Right } else { Promised::Nothing },
        tries: Vec::new(),
        source: None,
        sink: None,
        entry: Entry::Right,
    };
    script.files = (0..disks).map(plan).collect();
    let nvram = FilePlan { name: "m.nvram".to_owned(), is_disk: false, ..plan(disks) };
    script.files.push(FilePlan { content: noise(7, 700), ..nvram });
    script
}

/// A file to which nothing happens.
fn file(index: u64, hosts: u64, way: Way, dice: &mut Dice) -> FilePlan {
    let promise = match (way, dice.percent(70)) {
        (Way::Import, true) => Promised::Right,
        _ => Promised::Nothing,
    };
    FilePlan {
        name: String::new(),
        is_disk: false,
        content: Bytes::new(),
        host: usize::try_from(dice.below(hosts)).unwrap(),
        slot: index + 1,
        // Uploads can be broken in the middle only if what is queued is not the whole.
        pieces: if way == Way::Import { PIECES_MAX } else { dice.between(1, PIECES_MAX) },
        pause_ms: dice.pick(&[0, 0, 20, 100, 1_000, 2_000]),
        rest_ms: 0,
        is_delta: false,
        promise,
        tries: Vec::new(),
        source: None,
        sink: None,
        entry: Entry::Right,
    }
}

/// What a transfer gets over.
fn passing(script: &mut Script, dice: &mut Dice) {
    let (way, repeats) = (script.way, script.may_repeat());
    for file in &mut script.files {
        if repeats && dice.percent(25) {
            file.tries = (0..dice.between(1, 2)).map(|_| passes(way, file, dice)).collect();
            if dice.percent(25) {
                file.entry = Entry::Stale;
            }
        } else if repeats && dice.percent(5) {
            match way {
                Way::Import => file.source = Some(SourceTrouble::Stall(file.len_bytes() / 4)),
                Way::Export(Into::Store) => file.sink = Some(SinkTrouble::Stall),
                Way::Export(_) => {}
            }
        } else if way == Way::Import && dice.percent(10) {
            file.tries = vec![Trouble::LateAnswer(dice.pick(&[1_000, 40_000, 700_000]))];
        }
        if file.entry == Entry::Right && dice.percent(10) {
            file.entry = Entry::Late(dice.pick(&[200, 1_000, 5_000]));
        }
    }
    for host in &mut script.hosts {
        if dice.percent(8) {
            *host = dice.pick(&[HostTrouble::Broken, HostTrouble::Away(1), HostTrouble::Away(2)]);
        }
    }
    let lease = &mut script.lease;
    if dice.percent(40) {
        let percents = dice.between(1, 4);
        lease.initializing = (1..=percents)
            .map(|at| {
                let percent = u8::try_from(at * 20).unwrap();
                (dice.pick(&[20, 1_000, 30_000]), percent)
            })
            .collect();
    }
    if dice.percent(45) {
        lease.beats = beats(lease.timeout_s, dice);
    }
    lease.watch_fails =
        if dice.percent(15) { u32::try_from(dice.between(1, 5)).unwrap() } else { 0 };
    if lease.sha256 == Sha256Answer::Yes && dice.percent(8) {
        lease.sha256 = Sha256Answer::Fails(u32::try_from(dice.between(1, 2)).unwrap());
    }
    if dice.percent(15) {
        let troubles = [CallTrouble::Fault, CallTrouble::Network, CallTrouble::Silence];
        lease.manifest = (0..dice.between(1, 2)).map(|_| dice.pick(&troubles)).collect();
    }
    if dice.percent(15) {
        lease.complete = dice.pick(&COMPLETIONS).to_vec();
    }
    lease.abort = match dice.below(100) {
        0..75 => Abortion::Answer,
        75..90 => Abortion::Fails(u32::try_from(dice.between(1, 2)).unwrap()),
        90..95 => Abortion::Fails(1000),
        _ => Abortion::Silence,
    };
    if way == Way::Export(Into::Store) && dice.percent(5) {
        let index = dice.index(script.files.len());
        script.files[index].sink.get_or_insert(SinkTrouble::Abort);
    }
}

/// Something that another try mends.
fn passes(way: Way, file: &FilePlan, dice: &mut Dice) -> Trouble {
    let at_byte = at_byte(way, file, dice);
    let status = dice.pick(&[408, 429, 502, 503, 504]);
    let choices = match way {
        Way::Export(_) => 5,
        Way::Import => 6,
    };
    match dice.below(choices) {
        0 => Trouble::Connect,
        1 => Trouble::Reset(at_byte),
        2 => Trouble::Stall(at_byte),
        3 => Trouble::Status(status, at_byte),
        _ if way == Way::Import => Trouble::Truncate(at_byte),
        _ => Trouble::Status(500, 0),
    }
}

/// A byte in front of which a stream can be broken.  What is queued for an upload has been taken.
fn at_byte(way: Way, file: &FilePlan, dice: &mut Dice) -> u64 {
    match way {
        Way::Export(_) => dice.below(file.len_bytes()),
        Way::Import => dice.below(file.len_bytes() * 3 / PIECES_MAX + 1),
    }
}

/// Beats of which never so many in a row go wrong that the lease times out.
fn beats(timeout_s: u64, dice: &mut Dice) -> Vec<Beat> {
    let beat_ms = (timeout_s * 1000 / 6).clamp(500, 20_000);
    let mut bad = 0;
    (0..dice.between(1, 30))
        .map(|_| {
            let beat = match dice.below(100) {
                0..40 => Beat::Answer,
                40..60 => Beat::Slow(beat_ms * 4 / 5 / 20 * 20),
                60..80 => Beat::Fault,
                _ => Beat::Silence,
            };
            bad = if matches!(beat, Beat::Fault | Beat::Silence) { bad + 1 } else { 0 };
            if bad > BAD_BEATS_MAX {
                bad = 0;
                return Beat::Answer;
            }
            beat
        })
        .collect()
}

/// One thing that a transfer does not get over; sometimes it does, as the script is made otherwise.
fn cause(script: &mut Script, dice: &mut Dice) {
    let way = script.way;
    let index = dice.index(script.files.len());
    match dice.below(13) {
        0 | 1 => stream_cause(script, index, dice),
        2 if way == Way::Import => script.files[index].promise = Promised::Wrong,
        3 if way == Way::Import => {
            let file = &mut script.files[index];
            let at_byte = file.len_bytes() / 2;
            match dice.below(3) {
                0 => {
                    file.tries = vec![Trouble::Reset(0)];
                    file.source = Some(SourceTrouble::Once);
                }
                1 => {
                    file.tries.clear();
                    file.source = Some(SourceTrouble::Open);
                }
                _ => {
                    file.tries.clear();
                    file.source = Some(SourceTrouble::Read(at_byte));
                }
            }
        }
        2 | 3 => sink_cause(script, index, dice),
        4 => {
            script.files[index].entry = dice.pick(&[
                Entry::Missing,
                Entry::NoDigest,
                Entry::NotHex,
                Entry::WrongDigest,
                Entry::WrongSize,
            ]);
        }
        5 => script.lease.manifest_never = true,
        6 => {
            let host = script.files[index].host;
            script.hosts[host] = dice.pick(&[
                HostTrouble::Away(3),
                HostTrouble::Mute,
                HostTrouble::WrongCertificate,
            ]);
        }
        7 => {
            script.lease.start = dice.pick(&[
                Start::Fault("NoDiskSpace"),
                Start::Fault("HostCommunication"),
                Start::Fault("TaskInProgress"),
                Start::Fault("Timedout"),
                Start::Gone,
                Start::Unreadable,
            ]);
        }
        8 => script.lease.sha256 = Sha256Answer::Fails(3),
        9 => death(script, dice),
        10 => {
            script.lease.complete = dice
                .pick(&[
                    &[Completion::Fault, Completion::Fault, Completion::Fault][..],
                    &[Completion::TooLate][..],
                    &[Completion::Fault, Completion::TooLate][..],
                    // As long as half a minute, which some leases live through.
                    &[Completion::Away; 6][..],
                ])
                .to_vec();
        }
        11 => midway(script, dice),
        _ => {
            let at_ms = dice.below(90_000);
            script.cancel = Some(Cancel { at_ms, is_midway: false });
        }
    }
}

fn stream_cause(script: &mut Script, index: usize, dice: &mut Dice) {
    let way = script.way;
    let file = &mut script.files[index];
    let at_byte = at_byte(way, file, dice);
    let trouble = match (dice.below(6), way) {
        (0, _) => Trouble::Tls,
        (1, Way::Import) => Trouble::Status(500, at_byte),
        (1 | 2, _) => Trouble::Status(dice.pick(&[307, 400, 403, 404, 405]), at_byte),
        (3, _) => Trouble::Flip(dice.below(file.len_bytes())),
        (4, Way::Export(_)) => Trouble::Truncate(dice.below(file.len_bytes())),
        _ => {
            file.tries = (0..3).map(|_| passes(way, file, dice)).collect();
            (file.source, file.sink) = (None, None);
            return;
        }
    };
    file.tries.truncate(2);
    (file.source, file.sink) = (None, None);
    file.tries.push(trouble);
}

fn sink_cause(script: &mut Script, index: usize, dice: &mut Dice) {
    if script.way != Way::Export(Into::Store) {
        return;
    }
    let errno = dice.pick(&[Errno::Access, Errno::Io, Errno::NoSpace]);
    let trouble = match dice.below(4) {
        0 => SinkTrouble::Create(errno),
        1 => SinkTrouble::Write(errno),
        2 => SinkTrouble::Finish,
        _ => SinkTrouble::Commit,
    };
    if dice.percent(25) {
        script.papers = Some(trouble);
        return;
    }
    let file = &mut script.files[index];
    file.tries.clear();
    file.entry = Entry::Right;
    file.sink = Some(trouble);
}

/// The lease ends by itself while the first file is certain to be under way.
fn death(script: &mut Script, dice: &mut Dice) {
    let death = dice.pick(&[
        Death::Error,
        Death::Unwatched,
        Death::Vanished,
        Death::SessionLost,
        Death::Done,
        Death::Unreachable,
    ]);
    if death == Death::Unreachable {
        // Before anybody gives up waiting for a manifest.
        script.lease.timeout_s = dice.pick(&[3, 6, 12]);
        script.lease.beats.clear();
    }
    rest(script);
    let at_ms = script.ready_ms() + dice.below(REST_MS - 20_000);
    script.lease.death = Some((at_ms, death));
}

/// The caller cancels while the lease is being made, or the first file is certain to be under way.
fn midway(script: &mut Script, dice: &mut Dice) {
    rest(script);
    let at_ms = dice.below(script.ready_ms() + REST_MS - 20_000);
    script.cancel = Some(Cancel { at_ms, is_midway: true });
}

fn rest(script: &mut Script) {
    script.stall_ms = 600_000;
    script.files[0].rest_ms = REST_MS;
}

fn noise(seed: u64, len: usize) -> Bytes {
    let mut dice = Dice::new(seed);
    (0..len).map(|_| dice.next().to_le_bytes()[0]).collect()
}

/// Disks of a few sizes: with no data, with text, with noise.
static DISKS: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    [(0, 0), (1, 0), (3, 0), (0, 1), (2, 1), (1, 2), (0, 4)]
        .into_iter()
        .map(|(texts, noises)| {
            let mut writer = StreamWriter::new(Vec::new(), 2 << 20, Options::default()).unwrap();
            for grain in 0..texts + noises {
                let data = match grain < texts {
                    true => Bytes::from(vec![b'a' + u8::try_from(grain).unwrap(); 65_536]),
                    false => noise(grain, 65_536),
                };
                writer.write_grain(grain * 3 * 128, &data).unwrap();
            }
            writer.finish().unwrap().0.into()
        })
        .collect()
});

/// Timeouts of leases: tight ones, usual ones, and nonsense at both ends.
const TIMEOUTS_S: [u64; 9] = [0, 3, 6, 12, 30, 60, 300, 3_600, 300_000_000];

/// So many beats may go wrong in a row: a lease is lost with the fourth that gets no answer.
const BAD_BEATS_MAX: u32 = 3;

/// Pieces of a file.  Three of them may be queued or on their way while an upload breaks.
const PIECES_MAX: u64 = 8;

/// How long the first file rests if something is to happen meanwhile.
const REST_MS: u64 = 45_000;

/// Completions that go well in the end.
const COMPLETIONS: [&[Completion]; 9] = [
    &[Completion::Away, Completion::Fault],
    &[Completion::Away, Completion::AnswerLost],
    &[Completion::Fault],
    &[Completion::Fault, Completion::Fault],
    &[Completion::AnswerLost],
    &[Completion::Mute],
    &[Completion::Slow(45_000)],
    &[Completion::Fault, Completion::AnswerLost],
    &[Completion::Fault, Completion::Fault, Completion::AnswerLost],
];
