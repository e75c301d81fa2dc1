//! Goes on where a run of the same export was killed.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::FileName;
use ovftransfer_vim::lease::DeviceKey;
use ovftransfer_vim::value::MoRef;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Export;
use super::ExportPlan;
use super::running::Running;
use super::source::identity;
use super::subject::Subject;
use super::temporary::TemporarySnapshot;
use super::temporary::left;
use crate::artefact::Artefact;
use crate::artefact::Place;
use crate::clock::since_1970;
use crate::copy::Copy;
use crate::error::Error;
use crate::inspect::DiskCheck;
use crate::inspect::Inspect;
use crate::inspect::Position;
use crate::journal;
use crate::journal::Journal;
use crate::journal::history::History;
use crate::journal::history::sha256_of;
use crate::journal::process::Life;
use crate::journal::process::Process;
use crate::journal::record;
use crate::journal::record::Begin;
use crate::journal::record::Kind;
use crate::journal::record::Record;
use crate::journal::record::VERSION;
use crate::meter::Meter;
use crate::report::After;
use crate::report::FileReport;
use crate::report::Report;
use crate::server::Server;
use crate::server::warn;
use crate::settle::LEASE_WAIT;
use crate::settle::end_lease;
use crate::settle::find_snapshot;
use crate::settle::remove_snapshot;
use crate::store::file::FileSource;
use crate::store::file::blocking;
use crate::store::file::partial_path;
use crate::store::file::sync_folder;
use crate::store::inode::is_one;
use crate::store::neighbours::partial_of;
use crate::transfer::Moved;
use crate::verify::Verified;

/// What a run that was killed has written down, at the place of this one.
#[derive(Clone, Debug)]
pub(super) struct Earlier {
    folder: PathBuf,
    history: History,
    /// Whether it was an export of the same thing from the same server.
    is_ours: bool,
    /// Whether a package that it has finished would be the one that is asked for, if the source is
    /// still the same.
    is_wanted: bool,
}

impl Earlier {
    /// Looks for the journal of a run that was killed.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it still runs; or if it was another export, unless that is to be
    /// forgotten.
    pub(super) async fn look(
        place: &Place,
        server: &Server,
        subject: &Subject,
        request: &Export,
    ) -> Result<Option<Self>, Error> {
        let Some(package) = place.path() else { return Ok(None) };
        let path = journal::path_of(&package);
        let at = path.clone();
        let found = blocking(move || match journal::read(&at)? {
            Some(history) => {
                let life = journal::life(&at, &history.begin.process);
                Ok::<_, Error>(Some((history, life)))
            }
            None => Ok(None),
        });
        let Some((history, life)) = found.await? else { return Ok(None) };
        if life == Life::Alive {
            let problem = format!("another export is writing {}", package.display());
            return Err(Error::Refused { problem });
        }
        let begin = &history.begin;
        let is_ours = begin.kind == Kind::Export
            && begin.server.is(&server.note())
            && begin.subject.moref() == *subject.entity();
        if !is_ours && request.resume {
            let (path, name, server) = (path.display(), &begin.name, &begin.server.endpoint);
            let problem = format!(
                "{path} is what a killed export of {name} from {server} has left; ovftransfer reap \
                 {path} removes it, and to start anew (--no-resume) forgets it"
            );
            return Err(Error::Refused { problem });
        }
        let is_wanted = is_ours
            && request.resume
            && !request.overwrite
            && begin.wishes == Some(wishes_of(request));
        let folder = journal::folder_of(&path).to_owned();
        Ok(Some(Self { folder, history, is_ours, is_wanted }))
    }

    /// Whether the server may still hold the machine for the run.
    pub(super) fn may_hold(&self) -> bool {
        self.is_ours && self.history.lease.as_ref().is_some_and(|lease| !lease.is_over)
    }

    /// Whether names that it has given are in nobody's way: they are taken back, or the package
    /// has all of them and is the one that is asked for.
    pub(super) fn makes_room(&self) -> bool {
        self.is_finished() || self.history.is_publishing && !self.history.has_package(&self.folder)
    }

    /// Whether it has finished the package that is asked for, if the source is still the same.
    fn is_finished(&self) -> bool {
        self.is_wanted && self.history.is_published(&self.folder)
    }

    /// Why a place is taken, where it had finished a package.
    pub(super) fn explain(&self, error: Error) -> Error {
        let package = self.history.package(&self.folder);
        let Some(package) = package.filter(|_| self.history.is_published(&self.folder)) else {
            return error;
        };
        if !matches!(error, Error::Exists { .. }) {
            return error;
        }
        let journal = journal::path_of(&package);
        let journal = journal.display();
        let problem = format!(
            "{error} (an earlier run has finished it; ovftransfer reap {journal} removes what else \
             it has left)"
        );
        Error::Refused { problem }
    }

    /// Final names that the run gave before it was killed.
    pub(super) fn published_early(&self) -> Vec<PathBuf> {
        self.history.published_early(&self.folder)
    }

    /// Words for a plan.
    pub(super) fn told(&self) -> String {
        if self.history.is_published(&self.folder) {
            return "where an earlier run has finished a package".to_owned();
        }
        let count = self.history.proven.len();
        format!("goes on where a run was killed that had proven {count} of the files")
    }
}

/// What an export begins with.
pub(super) struct Prepared {
    pub(super) journal: Journal,
    /// Files that need not move, and what they are of.
    pub(super) kept: Vec<Moved>,
    pub(super) identity: Option<String>,
    /// The snapshot that the killed run had made, if it is of use.
    pub(super) snapshot: Option<TemporarySnapshot>,
}

/// Ends what the killed run had under way, looks at what it has left, and begins the journal.
pub(super) async fn prepare(
    running: &Running,
    artefact: &Artefact,
    cancel: &CancellationToken,
) -> Result<Prepared, Error> {
    let plan = &running.plan;
    let (mut kept, mut snapshot, mut identity) = (Vec::new(), None, None);
    let mut records = Vec::new();
    let session = plan.server.session();
    if let Some(earlier) = &plan.earlier {
        // That of a run which has published is of another time.
        let is_of_use = matches!(plan.subject, Subject::Live(_))
            && plan.request.resume
            && !(earlier.history.is_publishing && earlier.history.has_package(&earlier.folder));
        let settled = cancel.run_until_cancelled(settle(running, earlier, is_of_use)).await;
        let Settled { snapshot: found, left } = settled.ok_or(Error::Cancelled)??;
        records.extend(left);
        if let (Some(moref), Some(note)) = (&found, earlier.history.snapshot.clone()) {
            records.push(Record::SnapshotWanted { vm: (&note.vm).into(), name: note.name.clone() });
            records.push(Record::Snapshot { snapshot: moref.into() });
            snapshot = Some(TemporarySnapshot::found(session, note, moref.clone()));
        }
        (identity, kept) =
            look_at_files(running, earlier, found.as_ref(), artefact, cancel).await?;
        let names: Vec<String> = kept.iter().map(|one| one.proof.file().to_string()).collect();
        records.push(Record::Writing { files: names.clone() });
        records.push(Record::Source { identity: identity.clone() });
        let proven = earlier.history.proven.iter().filter(|one| names.contains(&one.file));
        records.extend(proven.map(|one| Record::Proven(Box::new(one.clone()))));
    }
    records.insert(0, Record::Begin(Box::new(begin(plan, artefact))));
    let journal = match (plan.place.path(), plan.request.journal_dir.clone()) {
        (Some(package), _) => Journal::begin(journal::path_of(&package), records).await?,
        (None, Some(folder)) => {
            Journal::begin_apart(folder, "export", records, &*running.options.observer).await
        }
        (None, None) => Journal::default(),
    };
    journal.has_files(!kept.is_empty());
    Ok(Prepared { journal, kept, identity, snapshot })
}

/// What a killed run still has on the server once that is settled.
#[derive(Default)]
struct Settled {
    /// Its snapshot, if that is of use.
    snapshot: Option<MoRef>,
    /// Of every other one that could not be removed, what is to be written down.
    left: Vec<Record>,
}

/// Ends the lease of the killed run, and removes its snapshots; but the one that it worked with stays
/// if it is of use.
async fn settle(running: &Running, earlier: &Earlier, is_of_use: bool) -> Result<Settled, Error> {
    let (plan, options) = (&running.plan, &running.options);
    let mut settled = Settled::default();
    if !earlier.is_ours {
        return Ok(settled);
    }
    let (session, history) = (plan.server.session(), &earlier.history);
    if let Some(lease) = &history.lease {
        end_lease(session, lease, LEASE_WAIT, &*options.observer).await?;
    }
    for note in history.snapshots() {
        let found = find_snapshot(session, note, &*options.observer).await?;
        let Some(found) = found else { continue };
        let is_own = history.snapshot.as_ref().is_some_and(|own| own.name == note.name);
        if is_of_use && is_own {
            settled.snapshot = Some(found);
            continue;
        }
        if let Err(reason) = remove_snapshot(session, &found).await {
            let name = &note.name;
            let message =
                format!("the snapshot {name:?} of an earlier run is still there: {reason}");
            warn(options, message);
            settled.left.push(left(&note.vm, name, &found));
        }
    }
    Ok(settled)
}

/// Reads again what the killed run had proven, where the source is the same; removes the rest.
async fn look_at_files(
    running: &Running,
    earlier: &Earlier,
    snapshot: Option<&MoRef>,
    artefact: &Artefact,
    cancel: &CancellationToken,
) -> Result<(Option<String>, Vec<Moved>), Error> {
    let (plan, history) = (&running.plan, &earlier.history);
    let mut now = None;
    let mut kept = Vec::new();
    if earlier.is_ours && plan.request.resume && !history.proven.is_empty() {
        let snapshot = snapshot.or_else(|| plan.subject.snapshot());
        now = identity(&plan.server, &plan.subject, snapshot).await;
    }
    if now.is_some() && now == history.source {
        for proven in &history.proven {
            kept.extend(read_again(running, proven, artefact, cancel).await?);
        }
    }
    let package = history.package(&earlier.folder);
    let path = |one: &Moved| earlier.folder.join(one.proof.file().as_str());
    let stays: Vec<PathBuf> =
        kept.iter().filter_map(|one| Some(partial_of(&path(one), package.as_deref()?))).collect();
    let leading = package.as_deref().map(partial_path);
    let folder = earlier.folder.clone();
    let history = history.clone();
    blocking(move || {
        for path in history.partials(&folder) {
            // The lock of this very run.
            if !stays.contains(&path) && Some(&path) != leading.as_ref() {
                log_removal(&path);
            }
        }
    })
    .await;
    Ok((now, kept))
}

fn log_removal(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "could not be removed");
    }
}

/// Reads a file from its first byte to its last: what the journal promises is believed, but what the
/// bytes have become since then is not.
async fn read_again(
    running: &Running,
    proven: &record::Proven,
    artefact: &Artefact,
    cancel: &CancellationToken,
) -> Result<Option<Moved>, Error> {
    let Ok(file) = FileName::new(proven.file.clone()) else { return Ok(None) };
    let (Some((sink, partial)), Some(promised)) = (artefact.kept(&file), proven.digests()) else {
        return Ok(None);
    };
    let (at, bytes) = (partial.clone(), proven.bytes);
    let Ok(source) = blocking(move || open(&at, bytes)).await else { return Ok(None) };
    let algorithms = vec![running.plan.request.algorithm];
    let inspect = Inspect { algorithms, disk: DiskCheck::structure(proven.is_disk) };
    let inspect = promised.iter().map(Digest::algorithm).fold(inspect, Inspect::also);
    // Not the counters of the transfer: nothing moves.
    let meter = Meter::default().add_file(&file, 0);
    let at = partial.display().to_string();
    let copy = Copy {
        file: &file,
        source: &source,
        source_at: &at,
        sink_at: "",
        inspect: &inspect,
        position: Position::Bytes,
        meter: &meter,
        stall: running.options.stall,
    };
    let seen = match copy.look(Some(&source), cancel).await {
        Ok((_, seen)) => seen,
        Err(Error::Cancelled) => return Err(Error::Cancelled),
        Err(error) => {
            warn(&running.options, format!("{file} is fetched again: {}", error.chain()));
            return Ok(None);
        }
    };
    let is_same = promised.iter().all(|one| seen.digest(one.algorithm()) == Some(one));
    if !is_same || promised.is_empty() {
        let message = format!("{file} is fetched again: it has changed since it was proven");
        warn(&running.options, message);
        return Ok(None);
    }
    let (entry, level) = (proven.entry(), running.options.verification);
    let Ok(proof) = Verified::check(&file, bytes, &seen, None, entry.as_ref(), level) else {
        return Ok(None);
    };
    Ok(Some(Moved {
        key: DeviceKey::new(proven.key.as_str()),
        host: proven.host.clone(),
        proof,
        digests: seen.digests,
        disk: seen.disk,
        entry,
        sink: Box::new(sink),
        attempts: 0,
        took: Duration::ZERO,
        conversion: None,
        written: None,
    }))
}

fn open(path: &Path, bytes: u64) -> io::Result<FileSource> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() || found.len() != bytes {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(FileSource::new(Arc::new(File::open(path)?), 0, bytes))
}

/// Ends an export that was killed when its package had all its names, if the package is the one that
/// is asked for: of a source that is still the same.
pub(super) async fn finish(
    running: &Running,
    earlier: &Earlier,
    started: Instant,
) -> Result<Option<Report>, Error> {
    let (plan, history) = (&running.plan, &earlier.history);
    let Some(package) = plan.place.path().filter(|_| earlier.is_finished()) else {
        return Ok(None);
    };
    let found = match &history.snapshot {
        Some(note) => {
            find_snapshot(plan.server.session(), note, &*running.options.observer).await?
        }
        None => None,
    };
    let snapshot = found.as_ref().or_else(|| plan.subject.snapshot());
    let now = identity(&plan.server, &plan.subject, snapshot).await;
    if now.is_none() || now != history.source {
        return Ok(None);
    }
    let Settled { left, .. } = settle(running, earlier, false).await?;
    let (folder, leading) = (earlier.folder.clone(), package.clone());
    let made_durable = blocking(move || {
        let partial = partial_path(&leading);
        // The package was given its name by a link.
        if is_one(&leading, &partial) {
            log_removal(&partial);
        }
        sync_folder(&folder)
    });
    let path = earlier.folder.clone();
    made_durable.await.map_err(|source| Error::Local { action: "write", path, source })?;
    let path = journal::path_of(&package);
    if left.is_empty() {
        blocking(move || journal::remove(&path)).await;
    } else {
        // The package is nothing to go on with any more.
        let begin = Record::Begin(Box::new(history.begin.clone()));
        Journal::begin(path, std::iter::once(begin).chain(left).collect()).await?;
    }
    let lease = history.lease.as_ref().and_then(|lease| lease.name.clone());
    Ok(Some(Report {
        name: plan.subject.name().to_owned(),
        entity: plan.subject.entity().clone(),
        lease: lease.unwrap_or_default(),
        package: Some(package),
        verification: running.options.verification,
        files: history.proven.iter().filter_map(reported).collect(),
        after: After::default(),
        network: Vec::new(),
        beats: 0,
        streamed: Duration::ZERO,
        took: started.elapsed(),
    }))
}

fn reported(proven: &record::Proven) -> Option<FileReport> {
    Some(FileReport {
        file: FileName::new(proven.file.clone()).ok()?,
        host: proven.host.clone(),
        bytes: proven.bytes,
        capacity_bytes: proven.capacity_bytes,
        digests: proven.digests()?,
        by_package: false,
        by_server: proven.by_server,
        attempts: 0,
        kept: true,
        took: Duration::ZERO,
        conversion: None,
        written: None,
    })
}

fn begin(plan: &ExportPlan, artefact: &Artefact) -> Begin {
    let package = plan.place.path();
    let package = package.as_deref().and_then(Path::file_name);
    // What an earlier run made is not made again.
    let earlier = plan.earlier.iter().flat_map(|one| one.history.begin.made.iter().cloned());
    let made = artefact.made().iter().map(|folder| folder.display().to_string());
    Begin {
        version: VERSION,
        tool: concat!("ovftransfer ", env!("CARGO_PKG_VERSION")).to_owned(),
        kind: Kind::Export,
        process: Process::current(),
        started: since_1970().as_secs(),
        server: plan.server.note(),
        subject: plan.subject.entity().into(),
        name: plan.subject.name().to_owned(),
        package: package.map(|name| name.to_string_lossy().into_owned()),
        made: earlier.chain(made).collect(),
        wishes: Some(wishes_of(&plan.request)),
    }
}

/// What tells wishes that decide on the bytes of a package from others; not what is exported.
fn wishes_of(request: &Export) -> String {
    let Export { algorithm, nvram, images, options, disk_format, .. } = request;
    let key = request.signing_key.as_ref().map(|key| key.fingerprint().to_string());
    sha256_of(
        format!("{algorithm} {nvram} {images} {options:?} {disk_format:?} {key:?}").as_bytes(),
    )
}
