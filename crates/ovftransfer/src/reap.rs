//! Ends and removes what a run that was killed has left, by its journal.
//!
//! What was under way is written down in the journal: the task behind the lease, the snapshot that
//! was made for an export, the machine that an import was making, files under their `.partial` names.
//! [`Remains::look`] says what is still there, [`Remains::remove`] ends and removes it, and nothing
//! else:
//!
//! - nothing, as long as the process runs;
//! - a task, if it is the one in the journal and is one of a lease;
//! - a machine, if its reference, its name and its instance UUID are those in the journal, it is off,
//!   and its import was never completed;
//! - a snapshot, if its reference and its name, which is unique, are those in the journal;
//! - files beside the journal that it names, under their `.partial` names, or with the very bytes that
//!   the run had proven.

mod local;
mod remote;

use std::fmt;
use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::event::Observer;
use crate::journal;
use crate::journal::history::History;
use crate::journal::process::Life;
use crate::journal::record::Kind;
use crate::server::Server;
use crate::settle::LEASE_WAIT;
use crate::store::file::blocking;
use crate::store::file::partial_path;
use crate::store::lock::PackageLock;

/// How what a killed run has left is removed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReapOptions {
    /// How long to wait for a lease that ends by its timeout only; a little more than the 300 seconds
    /// of every known server by default.
    pub wait: Duration,
    /// Whether a journal counts that was written on another machine, where its process may still run.
    pub from_other_host: bool,
    /// Hears what is waited for.
    pub observer: Arc<dyn Observer>,
}

impl Default for ReapOptions {
    fn default() -> Self {
        Self { wait: LEASE_WAIT, from_other_host: false, observer: Arc::new(()) }
    }
}

/// What a killed run has left, as far as its journal tells.
///
/// As long as it is held, no other process cleans up behind the same run or goes on with it.
#[derive(Debug)]
pub struct Remains {
    path: PathBuf,
    history: History,
    options: ReapOptions,
    /// Keeps others out.
    _journal: File,
    /// Keeps exports out of the package.
    package: Option<PackageLock>,
    /// Whether its file was made for that.
    is_made: bool,
}

/// One thing that a killed run has left, or may have.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Remnant {
    /// What kind of thing it is.
    pub kind: RemnantKind,
    /// Its name: a path, a reference, the name of a machine.
    pub name: String,
    /// What becomes of it, or has become of it.
    pub fate: Fate,
}

/// Kinds of things that a run may leave.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RemnantKind {
    /// A file of a package that is not whole.
    File,
    /// The journal itself.
    Journal,
    /// A machine, or a vApp, that was not completed.
    Machine,
    /// The snapshot that was made for an export.
    Snapshot,
    /// The task behind the lease.
    Task,
}

impl RemnantKind {
    /// The word for it, in JSON and for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Journal => "journal",
            Self::Machine => "machine",
            Self::Snapshot => "snapshot",
            Self::Task => "task",
        }
    }
}

/// What becomes of a remnant.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fate {
    /// The server ended or removed it without us.
    Gone,
    /// It is ended or removed.
    Removed,
    /// It stays.
    Stays {
        /// Why, and what to do.
        reason: String,
        /// Whether that is as it should be: an import that was complete, for one.
        is_right: bool,
    },
}

impl Remnant {
    fn new(kind: RemnantKind, name: impl Into<String>, fate: Fate) -> Self {
        Self { kind, name: name.into(), fate }
    }

    fn stays(kind: RemnantKind, name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(kind, name, Fate::Stays { reason: reason.into(), is_right: false })
    }

    /// Whether it stays although it should not.
    #[must_use]
    pub const fn is_left(&self) -> bool {
        matches!(self.fate, Fate::Stays { is_right: false, .. })
    }
}

impl fmt::Display for Remnant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.word(), self.name)?;
        match &self.fate {
            Fate::Gone => f.write_str(": gone"),
            Fate::Removed if self.kind == RemnantKind::Task => f.write_str(": cancelled"),
            Fate::Removed => f.write_str(": removed"),
            Fate::Stays { reason, .. } => write!(f, ": stays: {reason}"),
        }
    }
}

impl Remains {
    /// Finds the journals at a path: a journal, the descriptor or archive that one belongs to, or a
    /// folder with some, at most two folders down.
    ///
    /// Blocks: call it from a thread that may.
    ///
    /// # Errors
    ///
    /// [`Error::Local`] if the path cannot be read.
    pub fn find(path: &Path) -> Result<Vec<PathBuf>, Error> {
        let reading = |source| Error::Local { action: "read", path: path.to_owned(), source };
        let beside = journal::path_of(path);
        if !path.is_dir() {
            return match () {
                () if journal::is_journal(path) => {
                    fs::metadata(path).map(|_| vec![path.to_owned()])
                }
                () if beside.exists() => Ok(vec![beside]),
                // Nothing was left of a package that is there, nor of one that is not.
                () => Ok(Vec::new()),
            }
            .map_err(reading);
        }
        let mut found = Vec::new();
        let mut level = Vec::new();
        let mut entries: Vec<_> =
            fs::read_dir(path).and_then(|all| all.take(ENTRIES_MAX).collect()).map_err(reading)?;
        let mut left = ENTRIES_MAX;
        // A package has a folder of its own, and that one is often in a folder of packages.
        for depth in 0..=FOLDERS_BELOW {
            for path in entries.drain(..).map(|entry: fs::DirEntry| entry.path()) {
                if journal::is_journal(&path) {
                    found.push(path);
                } else if depth < FOLDERS_BELOW && path.is_dir() && !path.is_symlink() {
                    level.push(path);
                }
            }
            for folder in level.drain(..) {
                // What cannot be read down there is not ours.
                let inside = fs::read_dir(&folder).into_iter().flatten().flatten().take(left);
                let known = entries.len();
                entries.extend(inside);
                left -= entries.len() - known;
            }
        }
        found.sort();
        Ok(found)
    }

    /// Opens a journal, and keeps others away from it.
    ///
    /// Blocks: call it from a thread that may.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if its process still runs, or may run on another machine; if somebody is
    /// writing the package again; if there is no journal in the file; or if another user owns the
    /// file or can write to it.  [`Error::Local`] if it cannot be read, or is a link.
    pub fn open(path: &Path, options: ReapOptions) -> Result<Self, Error> {
        let refused = |problem: String| Error::Refused { problem };
        let shown = path.display();
        let reading = |source| Error::Local { action: "read", path: path.to_owned(), source };
        let held = journal::take(path).map_err(|source| {
            if source.kind() == io::ErrorKind::WouldBlock {
                let who = "its process still runs, or somebody else cleans up behind it";
                return refused(format!("{shown}: {who}"));
            }
            reading(source)
        })?;
        let Some(history) = journal::read(path)? else {
            return Err(refused(format!("{shown} is no journal, or nothing of it can be read")));
        };
        // Our own hold on it would look like that of its process.
        match journal::life_unlocked(&history.begin.process) {
            Life::Alive if !journal::has_locks(&held) => {
                let pid = history.begin.process.pid;
                return Err(refused(format!("{shown}: its process, {pid}, still runs")));
            }
            Life::Elsewhere if !options.from_other_host => {
                let host = history.begin.process.host.as_deref().unwrap_or("another machine");
                return Err(refused(format!(
                    "{shown} was written on {host}, where its process may still run: clean up there, \
                     or say that it does not run (--from-other-host)"
                )));
            }
            Life::Alive | Life::Dead | Life::Elsewhere => {}
        }
        let folder = journal::folder_of(path);
        let mut is_made = false;
        let package = match history.package(folder) {
            Some(package) => {
                let partial = partial_path(&package);
                // Also if it is not there: an export that was planned before could begin meanwhile.
                is_made = !partial.exists();
                match PackageLock::take(partial) {
                    Ok(lock) => Some(lock),
                    // Where there are no locks, the journal's process was asked for.
                    Err(source) if source.kind() == io::ErrorKind::AlreadyExists => None,
                    Err(source) if source.kind() == io::ErrorKind::WouldBlock => {
                        let problem = format!("an export is writing {}", package.display());
                        return Err(refused(problem));
                    }
                    Err(source) => return Err(reading(source)),
                }
            }
            None => None,
        };
        is_made &= package.is_some();
        Ok(Self { path: path.to_owned(), history, options, _journal: held, package, is_made })
    }

    /// The journal.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The server that the run worked with, as `host:port`.
    ///
    /// So says the journal, which may have come out of a package that somebody has unpacked here: a
    /// password belongs there only if whoever owns it names that server, too.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.history.begin.server.endpoint
    }

    /// As whom the run had logged in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.history.begin.server.user
    }

    /// What the run was: `export of web`.
    #[must_use]
    pub fn what(&self) -> String {
        let begin = &self.history.begin;
        let kind = match begin.kind {
            Kind::Export => "export",
            Kind::Import => "import",
        };
        format!("{kind} of {}", begin.name)
    }

    /// Whether the server must be asked: nothing but files is left otherwise.
    #[must_use]
    pub fn needs_server(&self) -> bool {
        self.history.lease.is_some() || self.history.snapshots().next().is_some()
    }

    /// Says what is left, and what would become of it.  Changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Server`], and [`Error::Refused`] if `server` is not the run's, or missing.
    pub async fn look(&self, server: Option<&Server>) -> Result<Vec<Remnant>, Error> {
        let mut found = match self.session(server)? {
            Some(session) => remote::look(session, &self.history).await?,
            None => Vec::new(),
        };
        let (history, folder) = (self.history.clone(), self.folder());
        let leading = self.leading();
        found.extend(blocking(move || local::look(&history, &folder, leading.as_deref())).await);
        let last = self.leading().filter(|_| !self.is_made);
        found.extend(last.map(|leading| local::remnant(&leading, Ok(()))));
        let name = self.path.display().to_string();
        found.push(Remnant::new(RemnantKind::Journal, name, Fate::Removed));
        Ok(found)
    }

    /// Ends and removes what is left; first what the server has, then the files, the journal last.
    ///
    /// The journal stays if anything else does that should not.
    ///
    /// # Errors
    ///
    /// Those of [`look`](Self::look).
    pub async fn remove(mut self, server: Option<&Server>) -> Result<Vec<Remnant>, Error> {
        let mut done = match self.session(server)? {
            Some(session) => remote::remove(session, &self.history, &self.options).await?,
            None => Vec::new(),
        };
        let (history, folder) = (self.history.clone(), self.folder());
        let leading = self.leading();
        done.extend(blocking(move || local::remove(&history, &folder, leading.as_deref())).await);
        let is_left = done.iter().any(Remnant::is_left);
        let (path, is_made) = (self.path.clone(), self.is_made);
        let (made, lock) = (self.history.begin.made.clone(), self.package.take());
        let last = blocking(move || {
            if !is_left {
                journal::remove(&path);
            }
            // As long as it is there nobody else begins a journal.
            let last = lock.map(|lock| local::remove_one(lock.path()));
            if !is_left {
                local::remove_folders(&made, &path);
            }
            last.filter(|_| !is_made)
        });
        done.extend(last.await);
        let name = self.path.display().to_string();
        done.push(match is_left {
            true => {
                let reason = "it tells of what is left; remove it when that is gone";
                Remnant::stays(RemnantKind::Journal, name, reason)
            }
            false => Remnant::new(RemnantKind::Journal, name, Fate::Removed),
        });
        Ok(done)
    }

    fn folder(&self) -> PathBuf {
        journal::folder_of(&self.path).to_owned()
    }

    /// The file under whose `.partial` name the package is kept for one.
    fn leading(&self) -> Option<PathBuf> {
        self.package.as_ref().map(|lock| lock.path().to_owned())
    }

    /// The session, if one is needed.
    fn session<'s>(
        &self,
        server: Option<&'s Server>,
    ) -> Result<Option<&'s ovftransfer_vim::Session>, Error> {
        if !self.needs_server() {
            return Ok(None);
        }
        let wanted = &self.history.begin.server;
        match server {
            Some(server) if wanted.is(&server.note()) => Ok(Some(server.session())),
            _ => {
                let (path, endpoint) = (self.path.display(), &wanted.endpoint);
                let problem = format!("{path} is about another server, {endpoint}");
                Err(Error::Refused { problem })
            }
        }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        if let Some(leading) = self.leading().filter(|_| self.is_made) {
            let removed = fs::remove_file(&leading);
            removed.unwrap_or_else(|error| {
                tracing::warn!(path = %leading.display(), %error, "could not be removed");
            });
        }
    }
}

/// Entries of folders that are looked at: a folder of packages has some hundreds.
const ENTRIES_MAX: usize = 100_000;

/// How far down journals are looked for: `backups/web/` is where an export into `backups/` has its own.
const FOLDERS_BELOW: usize = 2;
