//! What a transfer writes down, so that a run that was killed can be gone on with or cleaned up.
//!
//! A journal is a small file: beside the package that an export writes
//! (`.web.ovf.ovftransfer-journal`), or in a folder for journals.  It is there while its transfer
//! runs, and stays if that is killed or cannot clean up.  Each line is one record:
//!
//! ```text
//! 00000013 87623dc1 {"is":"publishing"}
//! length   CRC-32   JSON of that length
//! ```
//!
//! Records are appended, and each is durable before what it promises, or warns of, begins: the wish
//! for a snapshot before the snapshot is made, a disk as proven after its bytes were synced.  A tail
//! that was cut by a crash does not pass its length or its CRC, and does not count.
//!
//! Later programs add records and fields, which earlier ones pass over.  Whoever reads takes one that is
//! missing for what is not known, and does nothing that would need it.
//!
//! Nothing in it is secret: no password, no session, no device URL, and of the lease only the part
//! of its id that may be shown.

pub(crate) mod format;
pub(crate) mod history;
pub(crate) mod process;
pub(crate) mod record;

use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use crate::clock::since_1970;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::event::Event;
use crate::event::Observer;
use crate::journal::history::History;
use crate::journal::process::Life;
use crate::journal::process::Process;
use crate::journal::record::Record;
use crate::sabotage;
use crate::sabotage::Defect;
use crate::store::faulty;
use crate::store::file::blocking;
use crate::store::file::sync_folder;
use crate::store::folder::make_folders;
use crate::store::lock::open_itself;
use crate::store::lock::try_lock;

/// The journal of a transfer that runs.  Clones share it; a transfer may have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    path: PathBuf,
    /// `None` once a record could not be written: what would come behind it could not be read.
    file: Mutex<Option<File>>,
    standing: Mutex<Standing>,
}

/// What is under way on the server, as far as the records say.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    lease: LeaseStanding,
    has_snapshot: bool,
    /// Whether there is a snapshot that could not be removed.
    has_left: bool,
    /// Whether files of an earlier run are there, which have not been taken over yet.
    has_files: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum LeaseStanding {
    /// None was asked for, or it is over.
    #[default]
    None,
    /// It was asked for, and whether the server gave it is not known.
    Asked,
    /// It is held.
    Held,
}

impl Journal {
    /// Makes a journal with its first records, in the place of one that is there.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub(crate) async fn begin(path: PathBuf, records: Vec<Record>) -> Result<Self, Error> {
        let at = path.clone();
        let mut standing = Standing::default();
        records.iter().for_each(|record| standing.take(record));
        let made = blocking(move || create(&path, &records).map(|file| (path, file))).await;
        let (path, file) =
            made.map_err(|source| Error::Local { action: "write", path: at, source })?;
        let standing = Mutex::new(standing);
        Ok(Self(Some(Arc::new(Open { path, file: Mutex::new(Some(file)), standing }))))
    }

    /// Begins a journal that lies beside no package, in the folder for journals, which is made.
    ///
    /// One that cannot be written is no reason not to transfer: a warning says so.
    pub(crate) async fn begin_apart(
        folder: PathBuf,
        kind: &str,
        records: Vec<Record>,
        observer: &dyn Observer,
    ) -> Self {
        let path = folder.join(unique_name(kind));
        // Durable, as the journal in it has to be.
        let begun = match blocking(move || make_folders(&folder)).await {
            Ok(_) => Self::begin(path, records).await,
            Err(error) => Err(error),
        };
        begun.unwrap_or_else(|error| {
            let message = format!("no journal is kept of the {kind}: {}", error.chain());
            observer.observe(&Event::Warning { message });
            Self::default()
        })
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> Option<&Path> {
        self.0.as_ref().map(|open| open.path.as_path())
    }

    /// Whether anything is written down.
    pub(crate) const fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Appends a record and makes it durable.
    ///
    /// A transfer does not fail because nothing can be written down of it: whoever reads the
    /// journal then knows less.
    pub(crate) async fn note(&self, record: Record) {
        let Some(open) = self.0.clone() else { return };
        open.standing().take(&record);
        blocking(move || open.append(&record)).await;
    }

    /// Hears from the lease itself how it ended.
    pub(crate) fn observing(&self, observer: Arc<dyn Observer>) -> Arc<dyn Observer> {
        match &self.0 {
            Some(open) => Arc::new(Listening { open: Arc::clone(open), observer }),
            None => observer,
        }
    }

    /// The lease that was asked for is there.
    pub(crate) fn lease_is_held(&self) {
        if let Some(open) = &self.0 {
            open.standing().lease = LeaseStanding::Held;
        }
    }

    /// Files of an earlier run are there, to be taken over under the lease, or not any more.
    pub(crate) fn has_files(&self, has_files: bool) {
        if let Some(open) = &self.0 {
            open.standing().has_files = has_files;
        }
    }

    /// Removes the journal: nothing is left that it could tell of.
    pub(crate) async fn remove(&self) {
        let Some(open) = self.0.clone() else { return };
        blocking(move || remove(&open.path)).await;
    }

    /// Removes the journal of a transfer that has ended, unless something may be left on the server;
    /// then it stays, and a sentence says so.
    pub(crate) async fn close(&self, error: Option<&Error>) -> Option<String> {
        let open = self.0.as_ref()?;
        let standing = *open.standing();
        let lease_is_over = match (standing.lease, error) {
            (LeaseStanding::None, _) | (_, None | Some(Error::LeaseFault(_))) => true,
            // The server has answered, and it was no.
            (LeaseStanding::Asked, Some(error)) => !matches!(
                error.kind(),
                ErrorKind::CancelledUnclean
                    | ErrorKind::LeaseLost
                    | ErrorKind::Network
                    | ErrorKind::Unexpected
            ),
            (LeaseStanding::Held, Some(_)) => false,
        };
        let path = open.path.display();
        if lease_is_over && !standing.has_snapshot && !standing.has_left {
            if standing.has_files {
                return Some(format!("what was proven before stays for the next run ({path})"));
            }
            self.remove().await;
            return None;
        }
        Some(format!(
            "what may be left on the server is written down in {path}; \
             ovftransfer reap {path} ends and removes it"
        ))
    }
}

impl Open {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, record: &Record) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = file.as_mut() else { return };
        let written = format::line(record).and_then(|line| {
            faulty::point("write", &self.path)?;
            open.write_all(line.as_bytes())?;
            sync(open, &self.path)
        });
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "the journal cannot be written");
            *file = None;
        }
    }
}

impl Standing {
    fn take(&mut self, record: &Record) {
        match record {
            Record::Lease { .. } => self.lease = LeaseStanding::Asked,
            Record::LeaseEnded => self.lease = LeaseStanding::None,
            Record::SnapshotWanted { .. } => self.has_snapshot = true,
            Record::SnapshotGone => self.has_snapshot = false,
            Record::SnapshotLeft { .. } => self.has_left = true,
            Record::Begin(_)
            | Record::Completing
            | Record::Entity { .. }
            | Record::Proven(_)
            | Record::Publishing { .. }
            | Record::Snapshot { .. }
            | Record::SnapshotTask { .. }
            | Record::Source { .. }
            | Record::Staged { .. }
            | Record::Task { .. }
            | Record::Writing { .. }
            | Record::Written { .. }
            | Record::Unknown => {}
        }
    }
}

/// Notes the end of the lease, and hands every event on.
#[derive(Debug)]
struct Listening {
    open: Arc<Open>,
    observer: Arc<dyn Observer>,
}

impl Observer for Listening {
    fn observe(&self, event: &Event) {
        // Not written down: whoever reads the journal asks the server for the task.
        if let Event::LeaseComplete | Event::LeaseAborted { confirmed: true, .. } = event {
            self.open.standing().lease = LeaseStanding::None;
        }
        self.observer.observe(event);
    }
}

/// Reads a journal; `None` if there is none, or nothing in it can be read.
///
/// # Errors
///
/// [`Error::Local`] if it cannot be read; [`Error::Refused`] if a newer version has made it, or
/// if somebody else may have.
pub(crate) fn read(path: &Path) -> Result<Option<History>, Error> {
    let reading = |source| Error::Local { action: "read", path: path.to_owned(), source };
    let file = match open_itself(File::options().read(true), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(reading)?,
    };
    let found = file.metadata().map_err(reading)?;
    if !found.is_file() {
        return Err(reading(io::ErrorKind::InvalidInput.into()));
    }
    if !is_ours(&found, path) {
        let problem = format!(
            "{} belongs to another user, or others can write to it: what it says is not believed; \
             remove it if it is nobody's journal",
            path.display()
        );
        return Err(Error::Refused { problem });
    }
    if found.len() > BYTES_MAX {
        return Err(reading(io::ErrorKind::FileTooLarge.into()));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(reading)?;
    match History::of(format::records(&bytes)) {
        Ok(history) => Ok(history),
        Err(version) => Err(Error::Refused {
            problem: format!(
                "{} is a journal of version {version}, which a newer ovftransfer has made; use \
                 that one",
                path.display()
            ),
        }),
    }
}

/// Whether a file can only have been written by this user: whoever believes a journal cancels and
/// removes what it names.
#[cfg(unix)]
fn is_ours(found: &Metadata, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let writers = |file: &Metadata| (file.uid(), file.mode() & WRITABLE_BY_OTHERS);
    let is_as_made_here = || {
        let made = tempfile::tempfile_in(folder_of(path)).and_then(|file| file.metadata());
        made.is_ok_and(|made| writers(&made) == writers(found))
    };
    // On FAT and on some network file systems whatever we make is shown as somebody else's, or as
    // everybody's.
    writers(found) == (rustix::process::geteuid().as_raw(), 0) || is_as_made_here()
}

#[cfg(not(unix))]
fn is_ours(_found: &Metadata, _path: &Path) -> bool {
    true
}

/// Takes a journal for whoever cleans up behind it, so that nobody else does.
///
/// # Errors
///
/// [`io::ErrorKind::WouldBlock`] if its transfer still runs, or somebody else cleans up.
pub(crate) fn take(path: &Path) -> io::Result<File> {
    let file = open_itself(File::options().read(true).write(true), path)?;
    match try_lock(&file) {
        // The process that made it is asked for instead.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        locked => locked.map(|()| file),
    }
}

/// Whether a process runs, as far as that can be told without a lock.
pub(crate) fn life_unlocked(process: &Process) -> Life {
    process.life(&Process::current())
}

/// Whether the file system of a file has locks.
pub(crate) fn has_locks(file: &File) -> bool {
    !matches!(try_lock(file), Err(error) if error.kind() == io::ErrorKind::Unsupported)
}

/// Whether the transfer of a journal still runs.
pub(crate) fn life(path: &Path, process: &Process) -> Life {
    let life = life_unlocked(process);
    let is_free = File::open(path).and_then(|file| try_lock(&file));
    match is_free {
        Ok(()) if life == Life::Elsewhere => Life::Elsewhere,
        // A lock ends with its process, whatever has become of the process's id.
        Ok(()) => Life::Dead,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Life::Alive,
        Err(_) => life,
    }
}

/// A name for a journal that lies beside no package.
fn unique_name(kind: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (ms, pid) = (since_1970().as_millis(), std::process::id());
    format!("{kind}-{ms:x}-{pid:x}-{:x}{SUFFIX}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Removes a journal and makes that durable.
pub(crate) fn remove(path: &Path) {
    let removed = faulty::point("remove", path).and_then(|()| fs::remove_file(path));
    match removed.and_then(|()| sync_folder(folder_of(path))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "the journal could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
}

/// The journal of the package that this file, a descriptor or an archive, leads to.
pub(crate) fn path_of(package: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(package.file_name().unwrap_or_default());
    name.push(SUFFIX);
    folder_of(package).join(name)
}

/// Whether a file is called like a journal.
pub(crate) fn is_journal(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX))
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes the file beside its place, and moves it there when it is durable: there is never half a
/// beginning.
fn create(path: &Path, records: &[Record]) -> io::Result<File> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = File::options();
    options.read(true).append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
    faulty::point("create", &fresh)?;
    let mut file = options.open(&fresh)?;
    let written = (|| {
        match try_lock(&file) {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
            Ok(()) | Err(_) => {}
        }
        for record in records {
            file.write_all(format::line(record)?.as_bytes())?;
        }
        sync(&file, &fresh)?;
        faulty::point("rename", &fresh)?;
        fs::rename(&fresh, path)?;
        sync_folder(folder_of(path))
    })();
    match written {
        Ok(()) => Ok(file),
        // What could not be written is not to stay under another name.
        Err(error) => fs::remove_file(&fresh).and(Err(error)),
    }
}

/// Makes what was written into a journal durable.
fn sync(file: &File, path: &Path) -> io::Result<()> {
    if sabotage::on(Defect::JournalNotSynced) {
        return Ok(());
    }
    faulty::point("sync", path)?;
    file.sync_data()
}

/// What names of journals end with.
pub(crate) const SUFFIX: &str = ".ovftransfer-journal";

/// The largest journal that is read.  One of 60 disks has 60 KiB.
const BYTES_MAX: u64 = 16 << 20;

/// The bits of a file's mode that let others than its owner write to it (POSIX).
#[cfg(unix)]
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Names of machines and servers stand in it, which need not be everybody's.
#[cfg(unix)]
const FILE_MODE: u32 = 0o600;

#[cfg(test)]
pub(crate) mod tests;
