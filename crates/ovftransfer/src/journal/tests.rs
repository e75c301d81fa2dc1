//! Journals on a real file system.

use super::*;
use crate::journal::record::Begin;
use crate::journal::record::Kind;
use crate::journal::record::Reference;
use crate::journal::record::ServerNote;
use crate::journal::record::VERSION;

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
        subject: Reference::from(&ovftransfer_vim::value::MoRef::new("VirtualMachine", "vm-7")),
        name: "web".to_owned(),
        package: Some("web.ovf".to_owned()),
        made: Vec::new(),
    }))
}

fn lease() -> Record {
    let on = ovftransfer_vim::value::MoRef::new("VirtualMachine", "vm-7");
    Record::Lease { on: (&on).into(), known: vec!["task-1".to_owned()] }
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
    journal.note(Record::Publishing).await;
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

#[test]
fn no_name_leaves_the_folder() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("out");
    fs::create_dir(&folder).unwrap();
    fs::write(temp.path().join("x.partial"), b"theirs").unwrap();
    let files = ["../x", "", "..", "a/b", "ok"].map(str::to_owned).to_vec();
    fs::write(folder.join("ok.partial"), b"ours").unwrap();
    let history = History::of(vec![begin(), Record::Writing { files }]).unwrap().unwrap();
    assert_eq!(history.partials(&folder), [folder.join("ok.partial")]);
}
