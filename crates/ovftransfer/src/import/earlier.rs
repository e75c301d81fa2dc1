//! Imports of the same name that were killed, and the journal of this one.

use std::path::Path;
use std::path::PathBuf;

use ovftransfer_vim::value::MoRef;

use crate::clock::since_1970;
use crate::error::Check;
use crate::error::Finding;
use crate::error::Severity;
use crate::import::ImportPlan;
use crate::import::Place;
use crate::journal;
use crate::journal::Journal;
use crate::journal::history::History;
use crate::journal::process::Life;
use crate::journal::process::Process;
use crate::journal::record::Begin;
use crate::journal::record::Kind;
use crate::journal::record::Record;
use crate::journal::record::VERSION;
use crate::server::Options;
use crate::server::Server;
use crate::settle::is_gone;
use crate::settle::running_since;
use crate::store::file::blocking;

/// Looks for journals of imports of the same name into the same pool that were killed.
///
/// What they have left is told among the findings.  Returns those that have left nothing.
pub(super) async fn look(
    server: &Server,
    folder: Option<&Path>,
    place: &Place,
    name: &str,
    findings: &mut Vec<Finding>,
) -> Vec<PathBuf> {
    let Some(folder) = folder.map(Path::to_owned) else { return Vec::new() };
    let mut stale = Vec::new();
    for (path, history) in blocking(move || killed(&folder)).await {
        let begin = &history.begin;
        let is_same = begin.kind == Kind::Import
            && begin.server.is(&server.note())
            && begin.subject.moref() == place.pool
            && begin.name == name;
        if !is_same {
            continue;
        }
        let Some(left) = left_by(server, &history).await else {
            stale.push(path);
            continue;
        };
        let advice = format!("ovftransfer reap {} ends and removes it", path.display());
        for taken in findings.iter_mut().filter(|one| is_taken(one)) {
            taken.advice = Some(advice.clone());
        }
        let problem = format!("a run that was killed has left {left}");
        findings.push(Finding::warning(Check::Name, name, problem).advise(advice));
    }
    stale
}

fn is_taken(finding: &Finding) -> bool {
    finding.check == Check::Name && finding.severity == Severity::Error
}

/// The journals of a folder whose runs were killed.
fn killed(folder: &Path) -> Vec<(PathBuf, History)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(JOURNALS_MAX);
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let journals = paths.filter(|path| journal::is_journal(path));
    let read = journals.filter_map(|path| {
        let history = journal::read(&path).ok().flatten()?;
        let is_dead = journal::life(&path, &history.begin.process) == Life::Dead;
        is_dead.then_some((path, history))
    });
    read.collect()
}

/// What a run has left on the server, in words.
async fn left_by(server: &Server, history: &History) -> Option<String> {
    let session = server.session();
    let lease = history.lease.as_ref().filter(|lease| !lease.is_over)?;
    if let Some(task) = &lease.task {
        match session.task_info(task).await {
            Err(error) if is_gone(&error) => {}
            Ok(info) if info.has_ended() => {}
            // If that cannot be told, it may be there.
            Ok(_) | Err(_) => return Some(format!("a lease that has not ended yet ({task})")),
        }
    }
    let Some(note) = &history.entity else {
        // It was killed while it asked for the lease, so that which one it got is not known.
        let running = running_since(session, &lease.on, &lease.known).await;
        let may_be_held = lease.task.is_none() && !running.is_ok_and(|running| running.is_empty());
        return may_be_held.then(|| "a lease, perhaps, that has not ended yet".to_owned());
    };
    let (name, entity) = (&note.name, &note.entity);
    match session.read(entity, &["name"]).await {
        Err(error) if is_gone(&error) => None,
        // What was completed is nobody's leftover; reap knows how to tell.
        Ok(_) | Err(_) => Some(format!("{name} ({entity})")),
    }
}

/// Begins the journal of an import.
pub(super) async fn begin(plan: &ImportPlan, options: &Options) -> Journal {
    let Some(folder) = plan.journal_dir.clone() else { return Journal::default() };
    let stale = plan.stale.clone();
    blocking(move || stale.iter().for_each(|path| journal::remove(path))).await;
    let records = vec![Record::Begin(Box::new(record(plan)))];
    Journal::begin_apart(folder, "import", records, &*options.observer).await
}

fn record(plan: &ImportPlan) -> Begin {
    Begin {
        version: VERSION,
        tool: concat!("ovftransfer ", env!("CARGO_PKG_VERSION")).to_owned(),
        kind: Kind::Import,
        process: Process::current(),
        started: since_1970().as_secs(),
        server: plan.server.note(),
        subject: (&plan.place.pool).into(),
        name: plan.name(),
        package: None,
        made: Vec::new(),
        wishes: None,
    }
}

/// Writes down what tells the machine that comes to be from every other.
pub(super) async fn note_entity(journal: &Journal, plan: &ImportPlan, entity: &MoRef) {
    if !journal.is_kept() {
        return;
    }
    let paths: &[&str] = if entity.kind() == "VirtualApp" { &PATHS[..1] } else { &PATHS };
    let (name, instance_uuid) = match plan.server.session().read(entity, paths).await {
        Ok(read) => (read.text(PATHS[0]), read.text(PATHS[1])),
        Err(error) => {
            tracing::debug!(%error, %entity, "its name cannot be read");
            (None, None)
        }
    };
    let name = name.or_else(|| plan.spec.entity_name()).unwrap_or_default();
    journal.note(Record::Entity { entity: entity.into(), name, instance_uuid }).await;
}

const PATHS: [&str; 2] = ["name", "config.instanceUuid"];

/// Journals that are looked at.  Each is one of a run that was killed and never cleaned up after.
const JOURNALS_MAX: usize = 1_000;
