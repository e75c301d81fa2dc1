//! The power may go at any moment: what is on the disk then tells of all that there is elsewhere.
//!
//! A transfer runs against a simulated server while everything that it asks of the file system is
//! seen before it is done.  From what was synced until then follows what would be there after a
//! power failure; and each time the server, and the names in the folder, are held against that.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use ovftransfer_simulator::LeaseRecord;
use ovftransfer_simulator::LeaseState;
use ovftransfer_simulator::Scenario;
use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::scenario::Data;
use ovftransfer_simulator::scenario::DataKind;
use ovftransfer_simulator::scenario::Direction;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Machine;
use ovftransfer_vim::Locator;
use ovftransfer_vim::Secret;
use ovftransfer_vim::Wire;
use ovftransfer_vim::tls::Trust;

use super::Export;
use crate::import::Import;
use crate::journal::format;
use crate::journal::history::History;
use crate::journal::is_journal;
use crate::journal::path_of;
use crate::server::Options;
use crate::server::Server;
use crate::store::faulty::Watch;
use crate::store::neighbours::partial_of;
use crate::store::package::Package;

/// The disk that the power failure leaves.
#[derive(Default)]
struct Disk {
    /// The content of files when they were synced last, under the names that they have now.
    synced: BTreeMap<PathBuf, Vec<u8>>,
    /// Names that are there for good.
    durable: BTreeSet<PathBuf>,
    /// Names that were given, in folders that were not synced since: nobody knows.
    renamed: BTreeSet<PathBuf>,
    journal: Option<PathBuf>,
    wrong: Vec<String>,
    /// What has come to be while something told of it.
    told: BTreeSet<&'static str>,
}

/// The name that a file gets, which until then ends in `.new`, or in `.partial` and, if it is a
/// disk, in what tells its package from others before that.
fn final_name(path: &Path) -> PathBuf {
    let name = path.with_extension("");
    let disk = name.with_extension("");
    if partial_of(&disk, Path::new("web.ovf")) == path { disk } else { name }
}

impl Disk {
    /// An operation that is about to be done.
    fn touch(&mut self, simulator: &Simulator, operation: &str, path: &Path) {
        let step = format!("{operation} {}", path.file_name().unwrap_or_default().display());
        self.look(simulator, &step);
        match operation {
            "sync" => {
                self.synced.insert(path.to_owned(), fs::read(path).unwrap());
            }
            "rename" => {
                let content = self.synced.remove(path);
                let is_same = content.as_deref() == Some(fs::read(path).unwrap().as_slice());
                self.expect(is_same, &step, "the name is given to bytes that are not on the disk");
                let name = final_name(path);
                self.synced.insert(name.clone(), content.unwrap_or_default());
                if is_journal(&name) {
                    self.journal = Some(name.clone());
                }
                self.renamed.insert(name);
            }
            "sync a folder" => {
                let (durable, renamed) = std::mem::take(&mut self.renamed)
                    .into_iter()
                    .partition(|name| name.parent() == Some(path));
                self.durable.extend(durable);
                self.renamed = renamed;
            }
            "remove" => {
                let all = self.renamed.is_empty();
                self.expect(all, &step, "a name of the package is not on the disk");
                let held = simulator.vms().iter().any(|vm| !vm.snapshots.is_empty());
                self.expect(!held, &step, "a snapshot is still there");
                self.journal = None;
            }
            _ => {}
        }
    }

    /// Holds what there is against what the journal on the disk tells of it.
    fn look(&mut self, simulator: &Simulator, step: &str) {
        let on_disk = self.journal.as_ref().filter(|path| self.durable.contains(*path));
        let history = on_disk.and_then(|path| {
            let bytes = self.synced.get(path).map(Vec::as_slice).unwrap_or_default();
            History::of(format::records(bytes)).unwrap()
        });
        let lease = history.as_ref().and_then(|history| history.lease.as_ref());

        let leases = simulator.leases();
        let is_held = |state| matches!(state, LeaseState::Initializing | LeaseState::Ready);
        if leases.iter().any(|lease| is_held(lease.state)) {
            self.promise("a lease", lease.is_some_and(|lease| !lease.is_over), step);
        }
        let imported =
            |one: &LeaseRecord| one.direction == Direction::Import && one.state == LeaseState::Done;
        if self.journal.is_some() && leases.last().is_some_and(imported) {
            self.promise("a new machine", lease.is_some_and(|lease| lease.is_completing), step);
        }
        if simulator.vms().iter().any(|vm| !vm.snapshots.is_empty()) {
            let is_told = history.as_ref().is_some_and(|history| history.snapshot.is_some());
            self.promise("a snapshot", is_told, step);
        }
        let Some(journal) = self.journal.clone() else { return };
        let folder = journal.parent().unwrap();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|one| one == "vmdk" || one == "mf" || one == "ovf") {
                let is_told = history.as_ref().is_some_and(|history| history.is_publishing);
                self.promise("a final name", is_told, step);
            }
        }
        for proven in history.iter().flat_map(|history| &history.proven) {
            let path = folder.join(&proven.file);
            let partial = partial_of(&path, Path::new("web.ovf"));
            let bytes = self.synced.get(&partial).or_else(|| self.synced.get(&path));
            let is_whole = bytes.is_some_and(|bytes| bytes.len() as u64 == proven.bytes);
            self.promise("a proven disk", is_whole, step);
        }
    }

    fn promise(&mut self, what: &'static str, is_kept: bool, step: &str) {
        self.told.insert(what);
        self.expect(is_kept, step, &format!("{what} of which the disk does not tell"));
    }

    fn expect(&mut self, holds: bool, step: &str, problem: &str) {
        if !holds {
            self.wrong.push(format!("before {step:?}: {problem}"));
        }
    }
}

/// A machine that runs, with two small disks.
async fn simulator() -> Simulator {
    let mut machine = Machine::new("web");
    machine.powered_on = true;
    machine.networks = vec!["VM Network".to_owned()];
    machine.disks = [1, 2]
        .map(|seed| DiskSpec::new(1 << 20).with_data(Data::new(DataKind::Random, 200_000, seed)))
        .into();
    let mut scenario = Scenario::default();
    scenario.vapps.clear();
    scenario.machines = vec![machine];
    Simulator::builder().scenario(scenario).start().await.unwrap()
}

async fn connect(simulator: &Simulator) -> Server {
    let locator: Locator = simulator.url().replace("https", "vi").parse().unwrap();
    let trust = Trust::Pinned(simulator.thumbprint().parse().unwrap());
    let (user, password) = (simulator.username(), Secret::new(simulator.password()));
    let endpoint = locator.endpoint().clone();
    Server::connect_with(endpoint, trust, user, password, Wire::Auto).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_the_power_goes_the_disk_tells_of_all_that_there_is() {
    let simulator = Arc::new(simulator().await);
    let server = connect(&simulator).await;
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Mutex::new(Disk::default()));
    let (seen, of) = (Arc::clone(&disk), Arc::clone(&simulator));
    let _watch = Watch::new(folder.path(), move |operation, path| {
        seen.lock().unwrap().touch(&of, operation, path);
        false
    });

    let mut export = Export::new("/DC0/vm/web", folder.path());
    export.live = true;
    let plan = export.plan(&server).await.unwrap();
    let report = plan.start(Options::default()).finish().await.unwrap();

    let path = report.package.unwrap();
    assert!(!path_of(&path).exists(), "there is nothing to tell any more");
    let mut import = Import::new(Package::open(&path).unwrap(), "/DC0/host/Cluster0");
    import.name = Some("again".to_owned());
    import.datastore = Some("datastore0".to_owned());
    let journals = folder.path().join("journals");
    import.journal_dir = Some(journals.clone());
    let plan = import.plan(&server).await.unwrap();
    plan.start(Options::default()).finish().await.unwrap();

    let disk = disk.lock().unwrap();
    assert_eq!(disk.wrong, [""; 0]);
    // None of it was left out.
    let all = ["a final name", "a lease", "a new machine", "a proven disk", "a snapshot"];
    assert_eq!(disk.told.iter().copied().collect::<Vec<_>>(), all);
    assert_eq!(fs::read_dir(journals).unwrap().count(), 0);
}
