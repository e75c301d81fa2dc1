//! Journals on a real file system.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::journal::record::Begin;
use crate::journal::record::Kind;
use crate::journal::record::Proven;
use crate::journal::record::Reference;
use crate::journal::record::ServerNote;
use crate::journal::record::VERSION;
use crate::store::neighbours::partial_of;

pub(crate) fn begin() -> Record {
    Record::Begin(Box::new(Begin {
        version: VERSION,
        tool: "ovftransfer 0.0.0".to_owned(),
        kind: Kind::Export,
        process: Process::current(),
        started: 0,
        server: ServerNote {
            endpoint: "vc:443".to_owned(),
            instance_uuid: None,
            user: "u".to_owned(),
        },
        subject: of(),
        name: "web".to_owned(),
        package: Some("web.ovf".to_owned()),
        made: Vec::new(),
        wishes: None,
    }))
}

fn of() -> Reference {
    Reference::from(&ovftransfer_vim::value::MoRef::new("VirtualMachine", "vm-7"))
}

fn lease() -> Record {
    Record::Lease { on: of(), known: vec!["task-1".to_owned()] }
}

async fn fresh(folder: &Path) -> Journal {
    Journal::begin(path_of(&folder.join("web.ovf")), vec![begin()]).await.unwrap()
}

#[tokio::test]
async fn what_is_noted_is_read() {
    let temp = tempfile::tempdir().unwrap();
    let journal = fresh(temp.path()).await;
    let path = journal.path().unwrap().to_owned();
    assert_eq!(path.file_name().unwrap(), ".web.ovf.ovftransfer-journal");
    assert!(is_journal(&path));
    journal.note(lease()).await;
    journal.note(Record::Publishing { leading: None }).await;
    let history = read(&path).unwrap().unwrap();
    assert!(history.is_publishing && !history.lease.unwrap().is_over);
    assert_eq!(history.begin.subject.moref().id(), "vm-7");
    // Whatever the end of the file is, the beginning counts.
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 3);
    fs::write(&path, bytes).unwrap();
    assert!(!read(&path).unwrap().unwrap().is_publishing);
}

#[tokio::test]
async fn a_newer_journal_is_refused_and_an_empty_one_is_none() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("x.ovftransfer-journal");
    assert!(read(&path).unwrap().is_none());
    fs::write(&path, b"").unwrap();
    assert!(read(&path).unwrap().is_none());
    let Record::Begin(mut newer) = begin() else { unreachable!() };
    newer.version = VERSION + 1;
    fs::write(&path, format::line(&Record::Begin(newer)).unwrap()).unwrap();
    assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::Refused);
}

/// Somebody else may have written it, or where it leads to.
#[cfg(unix)]
#[tokio::test]
async fn what_others_may_have_written_is_not_believed() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::fs::symlink;

    let temp = tempfile::tempdir().unwrap();
    let journal = fresh(temp.path()).await;
    let path = journal.path().unwrap().to_owned();
    drop(journal);
    let chmod = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    for (mode, is_believed) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
        chmod(mode);
        match read(&path) {
            Ok(history) => assert!(is_believed && history.is_some(), "{mode:o}"),
            Err(error) => assert!(!is_believed && error.kind() == ErrorKind::Refused, "{error}"),
        }
    }
    chmod(0o600);
    let link = temp.path().join("link.ovftransfer-journal");
    symlink(&path, &link).unwrap();
    let error = read(&link).unwrap_err();
    assert!(error.chain().contains("symbolic link"), "{}", error.chain());
    assert!(take(&link).unwrap_err().to_string().contains("symbolic link"));
    // Who is not the superuser cannot give a file away.
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::Refused);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_one_has_a_journal() {
    let temp = tempfile::tempdir().unwrap();
    let journal = fresh(temp.path()).await;
    let path = journal.path().unwrap().to_owned();
    assert_eq!(take(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(life(&path, &Process::current()), Life::Alive);
    drop(journal);
    // It is not the process that counts where there are locks, but the transfer.
    assert_eq!(life(&path, &Process::current()), Life::Dead);
    take(&path).unwrap();
}

#[tokio::test]
async fn it_goes_unless_something_is_left() {
    let temp = tempfile::tempdir().unwrap();
    let refused = Error::Refused { problem: String::new() };
    let lost = || Error::LeaseLost { lease: "l".into(), reason: "r".into(), source: None };
    let unclean = Error::CancelledUnclean { left_behind: String::new() };
    for (records, is_held, error, stays) in [
        (vec![], false, Some(&refused), false),
        (vec![lease()], false, Some(&refused), false),
        (vec![lease()], false, Some(&unclean), true),
        (vec![lease()], true, Some(&lost()), true),
        (vec![lease()], true, Some(&refused), true),
        (vec![lease(), Record::LeaseEnded], true, Some(&refused), false),
        (vec![lease(), Record::LeaseEnded], true, None, false),
    ] {
        let journal = fresh(temp.path()).await;
        for record in records {
            let ends = record == Record::LeaseEnded;
            if is_held && ends {
                journal.lease_is_held();
            }
            journal.note(record).await;
            if is_held && !ends {
                journal.lease_is_held();
            }
        }
        let told = journal.close(error).await;
        assert_eq!(told.is_some(), stays, "{error:?}");
        assert_eq!(journal.path().unwrap().exists(), stays, "{error:?}");
    }
}

/// The lease itself tells how it ended.
#[tokio::test]
async fn a_confirmed_abort_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    for confirmed in [true, false] {
        let journal = fresh(temp.path()).await;
        let observer = journal.observing(Arc::new(()));
        journal.note(lease()).await;
        journal.lease_is_held();
        observer.observe(&Event::LeaseAborted { reason: String::new(), confirmed });
        let told = journal.close(Some(&Error::Cancelled)).await;
        assert_eq!(told.is_none(), confirmed);
    }
}

#[tokio::test]
async fn a_snapshot_that_stays_is_told_of() {
    let temp = tempfile::tempdir().unwrap();
    let journal = fresh(temp.path()).await;
    let vm = ovftransfer_vim::value::MoRef::new("VirtualMachine", "vm-7");
    journal.note(Record::SnapshotWanted { vm: (&vm).into(), name: "s".to_owned() }).await;
    assert!(journal.close(None).await.unwrap().contains("reap"));
    journal.note(Record::SnapshotGone).await;
    assert!(journal.close(None).await.is_none());
}

/// It is not the one that the next run goes on with, and the one that is made then does not take its
/// place.
#[tokio::test]
async fn a_snapshot_that_could_not_be_removed_is_told_of_beside_the_next() {
    let temp = tempfile::tempdir().unwrap();
    let journal = fresh(temp.path()).await;
    let path = journal.path().unwrap().to_owned();
    let names = || -> Vec<String> {
        let history = read(&path).unwrap().unwrap();
        history.snapshots().map(|note| note.name.clone()).collect()
    };
    let wanted = |name: &str| Record::SnapshotWanted { vm: of(), name: name.to_owned() };
    journal.note(wanted("first")).await;
    journal.note(Record::Snapshot { snapshot: of() }).await;
    let left = Record::SnapshotLeft { vm: of(), name: "first".to_owned(), snapshot: of() };
    journal.note(left).await;
    assert!(read(&path).unwrap().unwrap().snapshot.is_none());
    journal.note(wanted("second")).await;
    assert_eq!(names(), ["first", "second"]);
    journal.note(Record::SnapshotGone).await;
    assert_eq!(names(), ["first"]);
    assert!(journal.close(None).await.unwrap().contains("reap"));
}

#[test]
fn no_name_leaves_the_folder() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("out");
    fs::create_dir(&folder).unwrap();
    fs::write(temp.path().join("x.partial"), b"theirs").unwrap();
    let files = ["../x", "", "..", "a/b", "ok"].map(str::to_owned).to_vec();
    let ours = partial_of(&folder.join("ok"), &folder.join("web.ovf"));
    fs::write(&ours, b"ours").unwrap();
    fs::write(folder.join("ok.partial"), b"theirs").unwrap();
    let history = History::of(vec![begin(), Record::Writing { files }]).unwrap().unwrap();
    assert_eq!(history.partials(&folder), [ours]);
}

fn proven(file: String, hex: String) -> Record {
    Record::Proven(Box::new(Proven {
        file,
        key: "k".to_owned(),
        host: "esx:443".to_owned(),
        bytes: 7,
        digests: vec![("SHA256".to_owned(), hex)],
        is_disk: true,
        capacity_bytes: None,
        by_server: false,
        entry: None,
    }))
}

fn some_record() -> impl Strategy<Value = Record> {
    prop_oneof![
        Just(lease()),
        Just(Record::Completing),
        proptest::option::of(".{0,9}").prop_map(|leading| Record::Publishing { leading }),
        Just(Record::SnapshotGone),
        ".{0,9}".prop_map(|name| Record::SnapshotLeft { vm: of(), name, snapshot: of() }),
        proptest::option::of(".{0,9}").prop_map(|identity| Record::Source { identity }),
        proptest::collection::vec(".{0,9}", 0..3).prop_map(|files| Record::Writing { files }),
        (".{0,9}", "[0-9a-f]{0,9}").prop_map(|(file, hex)| proven(file, hex)),
        proptest::collection::vec((".{0,9}", ".{0,9}"), 0..3)
            .prop_map(|papers| Record::Staged { papers }),
    ]
}

/// What may have become of the bytes of a journal.
#[derive(Clone, Debug)]
enum Damage {
    Cut(Index),
    Flip(Index, u8),
    Garbage(Index, Vec<u8>),
    Lost(Index, usize),
    Repeated(Index, Index),
    Zeros(Index, usize),
}

impl Damage {
    fn some() -> impl Strategy<Value = Self> {
        let at = any::<Index>;
        prop_oneof![
            at().prop_map(Self::Cut),
            (at(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            (at(), proptest::collection::vec(any::<u8>(), 1..40))
                .prop_map(|(at, bytes)| Self::Garbage(at, bytes)),
            (at(), 1..80_usize).prop_map(|(at, len)| Self::Lost(at, len)),
            (at(), at()).prop_map(|(from, to)| Self::Repeated(from, to)),
            (at(), 1..600_usize).prop_map(|(at, len)| Self::Zeros(at, len)),
        ]
    }

    /// Damages the bytes; returns how many at the beginning are what they were.
    fn done_to(&self, bytes: &mut Vec<u8>) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        let starts = |bytes: &[u8]| -> Vec<usize> {
            let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            [0].into_iter().chain(ends.map(|(at, _)| at + 1)).collect()
        };
        match self {
            Self::Cut(at) => {
                bytes.truncate(at.index(bytes.len()));
                bytes.len()
            }
            Self::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                at
            }
            // Between two records.
            Self::Garbage(at, garbage) => {
                let at = *at.get(&starts(bytes));
                bytes.splice(at..at, garbage.iter().copied());
                at
            }
            Self::Lost(at, len) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + len);
                bytes.drain(at..end);
                at
            }
            // A whole record, or what a cut has left of it, before another one.
            Self::Repeated(from, to) => {
                let starts = starts(bytes);
                let (from, to) = (*from.get(&starts), *to.get(&starts));
                let end = starts.iter().copied().find(|end| *end > from).unwrap_or(bytes.len());
                let record = bytes[from..end].to_vec();
                bytes.splice(to..to, record);
                to
            }
            Self::Zeros(at, len) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + len);
                bytes[at..end].fill(0);
                at
            }
        }
    }
}

/// All that is worked out of records; none of it may panic.
fn look_at(records: Vec<Record>) -> Result<(), TestCaseError> {
    let folder = Path::new("/nowhere");
    for record in &records {
        if let Record::Proven(proven) = record {
            let _read = (proven.digests(), proven.entry());
        }
    }
    if let Ok(Some(history)) = History::of(records) {
        let package = history.package(folder);
        prop_assert!(package.is_none_or(|path| path.parent() == Some(folder)));
        prop_assert!(!history.is_published(folder));
        prop_assert!(history.partials(folder).is_empty());
        prop_assert!(history.published_early(folder).is_empty());
    }
    Ok(())
}

proptest! {
    /// Whatever becomes of its bytes, a journal tells nothing that was not written, and all that
    /// was written before the first damage.
    #[test]
    fn a_damaged_journal_tells_nothing_new(
        rest in proptest::collection::vec(some_record(), 0..6),
        damages in proptest::collection::vec(Damage::some(), 1..4),
    ) {
        let written: Vec<Record> = [begin()].into_iter().chain(rest).collect();
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for record in &written {
            bytes.extend(format::line(record).unwrap().into_bytes());
            ends.push(bytes.len());
        }
        let whole = damages.iter().map(|damage| damage.done_to(&mut bytes)).min().unwrap();
        let read = format::records(&bytes);
        let before = ends.iter().filter(|end| **end <= whole).count();
        prop_assert!(read.starts_with(&written[..before]), "{read:?}");
        prop_assert!(read.iter().all(|record| written.contains(record)), "{read:?}");
        look_at(read)?;
    }

    /// Somebody may have written a journal by hand: every line is sound, and what it says is not.
    #[test]
    fn no_journal_panics(
        rest in proptest::collection::vec(some_record(), 0..4),
        at in any::<Index>(),
        text in ".{0,12}",
    ) {
        let mut lines = String::new();
        for record in [begin()].into_iter().chain(rest) {
            let line = format::line(&record).unwrap();
            let mut json = line[18..line.len() - 1].to_owned();
            let places: Vec<usize> = json.char_indices().map(|(at, _)| at).collect();
            let from = *at.get(&places);
            let to = json[from..].find(['"', ',', '}']).map_or(json.len(), |len| from + len);
            json.replace_range(from..to, &text);
            lines.push_str(&format::line_of(&json));
        }
        look_at(format::records(lines.as_bytes()))?;
    }
}
