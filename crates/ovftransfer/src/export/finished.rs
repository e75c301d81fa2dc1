//! What is left when a run is killed around the moment in which its package gets its names, and what
//! the next one may take that for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_simulator::Scenario;
use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::scenario::Data;
use ovftransfer_simulator::scenario::DataKind;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Machine;
use ovftransfer_vim::Locator;
use ovftransfer_vim::Secret;
use ovftransfer_vim::Wire;
use ovftransfer_vim::tls::Trust;
use tokio_util::sync::CancellationToken;

use super::Export;
use crate::check::check_package;
use crate::disk::DiskFormat;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::journal::format;
use crate::journal::is_journal;
use crate::journal::path_of;
use crate::journal::record::Record;
use crate::reap::ReapOptions;
use crate::reap::Remains;
use crate::report::Report;
use crate::server::Options;
use crate::server::Server;
use crate::signature::SignaturePolicy;
use crate::store::faulty::Watch;
use crate::store::file::partial_path;
use crate::store::neighbours::partial_of;
use crate::store::package::Package;

/// Two machines of one disk each, the first running or not, and a folder for their packages.
struct World {
    simulator: Simulator,
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(is_on: bool) -> Self {
        let machine = |(name, seed)| {
            let mut machine = Machine::new(name);
            machine.networks = vec!["VM Network".to_owned()];
            let data = Data::new(DataKind::Random, 200_000, seed);
            machine.disks = vec![DiskSpec::new(1 << 20).with_data(data)];
            machine
        };
        let mut scenario = Scenario::default();
        scenario.vapps.clear();
        scenario.machines = [("web", 1), ("db", 2)].map(machine).into();
        scenario.machines[0].powered_on = is_on;
        let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
        let locator: Locator = simulator.url().replace("https", "vi").parse().unwrap();
        let trust = Trust::Pinned(simulator.thumbprint().parse().unwrap());
        let (user, password) = (simulator.username(), Secret::new(simulator.password()));
        let endpoint = locator.endpoint().clone();
        let server = Server::connect_with(endpoint, trust, user, password, Wire::Auto);
        let server = server.await.unwrap();
        Self { simulator, server, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn export(&self, to: &str, change: impl FnOnce(&mut Export)) -> Result<Report, Error> {
        let mut export = Export::new("/DC0/vm/web", self.path(to));
        change(&mut export);
        export.plan(&self.server).await?.start(Options::default()).finish().await
    }

    /// An export that has done everything but remove its journal.
    async fn finished(&self, to: &str) -> BTreeMap<String, Vec<u8>> {
        let watch = Watch::new(self.folder.path(), |operation, _| operation == "remove");
        self.export(to, |_| {}).await.unwrap();
        drop(watch);
        assert!(path_of(&self.path(to)).exists());
        self.files()
    }

    /// The files of the folder; not the journals.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| !is_journal(&entry.path()));
        let named = |path: PathBuf| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        };
        files.map(|entry| named(entry.path())).collect()
    }

    async fn reap(&self, to: &str) {
        let remains = Remains::open(&path_of(&self.path(to)), ReapOptions::default()).unwrap();
        remains.remove(Some(&self.server)).await.unwrap();
        assert!(!path_of(&self.path(to)).exists());
    }

    async fn verify(&self, to: &str) {
        let package = Arc::new(Package::open(&self.path(to)).unwrap());
        let (policy, cancel) = (SignaturePolicy::default(), CancellationToken::new());
        check_package(package, &policy, Arc::default(), &cancel).await.unwrap();
    }
}

fn kind_of(outcome: Result<Report, Error>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

const PLACES: [&str; 2] = ["web.ovf", "web.ova"];

#[tokio::test]
async fn what_only_lacks_its_last_words_is_not_exported_again() {
    for place in PLACES {
        let world = World::new(false).await;
        let files = world.finished(place).await;
        let report = world.export(place, |_| {}).await.unwrap();
        assert!(report.files.iter().all(|file| file.kept), "{place}");
        assert_eq!(world.simulator.leases().len(), 1, "{place}");
        assert_eq!(world.files(), files, "{place}");
        assert!(!path_of(&world.path(place)).exists(), "{place}");
        assert_eq!(kind_of(world.export(place, |_| {}).await), ErrorKind::Refused, "{place}");
    }
}

/// Success would mean that what was asked for is there.
#[tokio::test]
async fn what_is_not_what_was_asked_for_is_no_success() {
    type Case = (&'static str, fn(&World), fn(&mut Export));
    let cases: [Case; 5] = [
        ("changed", |world| world.simulator.touch("web"), |_| {}),
        ("another algorithm", |_| {}, |export| export.algorithm = DigestAlgorithm::Sha512),
        ("without the NVRAM", |_| {}, |export| export.nvram = false),
        ("anew", |_| {}, |export| export.resume = false),
        (
            "another machine",
            |_| {},
            |export| {
                export.source = "/DC0/vm/db".to_owned();
                export.resume = false;
            },
        ),
    ];
    for place in PLACES {
        for (case, happens, change) in cases {
            let world = World::new(false).await;
            let files = world.finished(place).await;
            happens(&world);
            let error = world.export(place, change).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{place}, {case}: {error}");
            assert!(error.to_string().contains("ovftransfer reap "), "{place}, {case}: {error}");
            assert_eq!(world.files(), files, "{place}, {case}");

            let replace = |export: &mut Export| {
                change(export);
                export.overwrite = true;
            };
            let report = world.export(place, replace).await.unwrap();
            assert!(report.files.iter().all(|file| !file.kept), "{place}, {case}");
            assert_eq!(world.simulator.leases().len(), 2, "{place}, {case}");
            assert!(!path_of(&world.path(place)).exists(), "{place}, {case}");
            world.verify(place).await;
        }
    }
}

/// A backup that is made each night in the same place.
#[tokio::test]
async fn a_snapshot_that_stays_does_not_stand_for_the_next_night() {
    for place in PLACES {
        let world = World::new(true).await;
        let snapshots = || world.simulator.vms()[0].snapshots.len();
        let night = |export: &mut Export| (export.live, export.overwrite) = (true, true);
        for (nights, refused) in [(1, true), (2, true), (3, false)] {
            let refusals = if nights == 2 { 2 } else { usize::from(refused) };
            for _ in 0..refusals {
                world.simulator.refuse_once("RemoveSnapshot_Task");
            }
            world.simulator.touch("web");
            let report = world.export(place, night).await.unwrap();
            assert!(report.files.iter().all(|file| !file.kept), "{place}, night {nights}");
            assert_eq!(world.simulator.leases().len(), nights, "{place}");
            // In the second night neither that of the first one goes nor its own.
            assert_eq!(snapshots(), if refused { nights } else { 0 }, "{place}, night {nights}");
            assert_eq!(path_of(&world.path(place)).exists(), refused, "{place}, night {nights}");
            if nights == 1 {
                let again = world.export(place, |export| export.live = true).await;
                assert_eq!(kind_of(again), ErrorKind::Refused, "{place}");
            }
        }
    }
}

#[tokio::test]
async fn reap_finds_every_snapshot_that_stayed() {
    let world = World::new(true).await;
    for refusals in [1, 2] {
        for _ in 0..refusals {
            world.simulator.refuse_once("RemoveSnapshot_Task");
        }
        let night = |export: &mut Export| (export.live, export.overwrite) = (true, true);
        world.export("web.ovf", night).await.unwrap();
    }
    assert_eq!(world.simulator.vms()[0].snapshots.len(), 2);
    let files = world.files();
    world.reap("web.ovf").await;
    assert!(world.simulator.vms()[0].snapshots.is_empty());
    assert_eq!(world.files(), files);
}

/// As `--overwrite` leaves it that is killed when it has written down that it will give names, and
/// what comes then loses the `.partial` files.
#[tokio::test]
async fn an_old_package_is_not_taken_for_the_new_one() {
    for (place, tells) in
        [("web.ovf", true), ("web.ovf", false), ("web.ova", true), ("web.ova", false)]
    {
        let world = World::new(false).await;
        world.export(place, |_| {}).await.unwrap();
        let old = world.files();
        let journal = path_of(&world.path(place));
        let noted = Arc::new(Mutex::new(Vec::new()));
        let (at, to) = (journal.clone(), Arc::clone(&noted));
        let watch = Watch::new(world.folder.path(), move |operation, path| {
            if operation == "sync" && path == at {
                *to.lock().unwrap() = fs::read(&at).unwrap();
            }
            false
        });
        world.export(place, |export| export.overwrite = true).await.unwrap();
        drop(watch);
        let mut noted = noted.lock().unwrap().clone();
        if !tells {
            // A journal of before.
            let lines = noted.split_inclusive(|byte| *byte == b'\n').count();
            let all = noted.split_inclusive(|byte| *byte == b'\n').take(lines - 1);
            let publishing: Record = serde_json::from_str(r#"{"is":"publishing"}"#).unwrap();
            let publishing = format::line(&publishing).unwrap().into_bytes();
            noted = all.flatten().copied().chain(publishing).collect();
        }
        for (name, bytes) in &old {
            // Another file of the same name.
            fs::remove_file(world.path(name)).unwrap();
            fs::write(world.path(name), bytes).unwrap();
        }
        fs::write(partial_path(&world.path(place)), b"").unwrap();
        fs::write(&journal, noted).unwrap();
        for _ in 0..2 {
            let again = world.export(place, |_| {}).await;
            assert_eq!(kind_of(again), ErrorKind::Refused, "{place}");
            assert_eq!(world.simulator.leases().len(), 2, "{place}");
        }
        world.reap(place).await;
        assert_eq!(world.files(), old, "{place}");
        world.verify(place).await;
    }
}

/// As it is left on a file system that gives names by links, between the link and the removal of the
/// other name.
#[cfg(unix)]
#[tokio::test]
async fn a_package_with_two_names_is_whole() {
    for place in PLACES {
        let world = World::new(false).await;
        let partial = partial_path(&world.path(place));
        let begin = async || {
            let _ignored = fs::remove_file(world.path(place));
            let files = world.finished(place).await;
            fs::hard_link(world.path(place), partial_path(&world.path(place))).unwrap();
            files
        };
        // Again.
        let files = begin().await;
        world.export(place, |_| {}).await.unwrap();
        assert_eq!(world.files(), files, "{place}");
        clear(world.folder.path());
        // Reaped.
        let files = begin().await;
        world.reap(place).await;
        assert_eq!(world.files(), files, "{place}");
        clear(world.folder.path());
        // Replaced, but that fails.
        let files = begin().await;
        let watch = Watch::new(world.folder.path(), move |operation, path| {
            operation == "write" && path == partial
        });
        world.export(place, |export| export.overwrite = true).await.unwrap_err();
        drop(watch);
        assert_eq!(world.files(), files, "{place}: it was written to");
    }
}

/// After a lease that was lost nothing but a journal may be left, and an export may have been planned.
#[cfg(unix)]
#[tokio::test]
async fn nobody_begins_while_reap_cleans_up() {
    for place in PLACES {
        let world = World::new(false).await;
        world.finished(place).await;
        clear_but_journals(world.folder.path());
        let mut export = Export::new("/DC0/vm/web", world.path(place));
        export.overwrite = true;
        let plan = async || export.clone().plan(&world.server).await.unwrap();
        let (one, other) = (plan().await, plan().await);
        let remains = Remains::open(&path_of(&world.path(place)), ReapOptions::default()).unwrap();
        let started = one.start(Options::default()).finish().await;
        assert_eq!(kind_of(started), ErrorKind::Refused, "{place}");
        let shown = remains.look(Some(&world.server)).await.unwrap();
        assert_eq!(shown, remains.remove(Some(&world.server)).await.unwrap(), "{place}");
        assert_eq!(fs::read_dir(world.folder.path()).unwrap().count(), 0, "{place}");
        other.start(Options::default()).finish().await.unwrap();
        world.verify(place).await;
    }
}

/// To look changes nothing.
#[tokio::test]
async fn what_is_only_looked_at_is_as_it_was() {
    let world = World::new(false).await;
    let files = world.finished("web.ovf").await;
    let remains = Remains::open(&path_of(&world.path("web.ovf")), ReapOptions::default()).unwrap();
    remains.look(Some(&world.server)).await.unwrap();
    drop(remains);
    assert_eq!(world.files(), files);
    assert!(path_of(&world.path("web.ovf")).exists());
}

/// A file that was extracted from an older archive has the bytes that this one has.
#[tokio::test]
async fn what_lies_beside_an_archive_is_not_of_it() {
    let world = World::new(false).await;
    world.export("other.ovf", |_| {}).await.unwrap();
    fs::rename(world.path("other-disk-0.vmdk"), world.path("disk-0.vmdk")).unwrap();
    let mut files = world.finished("web.ova").await;
    fs::rename(world.path("web.ova"), world.path("web.ova.partial")).unwrap();
    world.reap("web.ova").await;
    files.remove("web.ova");
    assert_eq!(world.files(), files);
}

/// Nothing of it is kept, and nothing is in the way.
#[tokio::test]
async fn raw_disks_that_had_their_names_are_taken_back() {
    for is_reaped in [false, true] {
        let world = World::new(false).await;
        let raw = |export: &mut Export| export.disk_format = DiskFormat::Raw;
        let watch = Watch::new(world.folder.path(), |operation, _| operation == "remove");
        world.export("web.ovf", raw).await.unwrap();
        drop(watch);
        let files = world.files();
        for name in ["web.ovf", "web.mf"] {
            fs::rename(world.path(name), partial_path(&world.path(name))).unwrap();
        }
        if is_reaped {
            world.reap("web.ovf").await;
            let left: Vec<_> = world.files().into_keys().collect();
            assert_eq!(left, [""; 0]);
            continue;
        }
        let report = world.export("web.ovf", raw).await.unwrap();
        assert!(report.files.iter().all(|file| !file.kept));
        assert_eq!(world.files(), files);
    }
}

/// A disk that had both names is taken back, or removed with them.
#[cfg(unix)]
#[tokio::test]
async fn a_disk_with_two_names_is_in_nobodys_way() {
    for is_reaped in [false, true] {
        let world = World::new(false).await;
        let files = world.finished("web.ovf").await;
        for (name, is_given) in [("web.ovf", false), ("web.mf", false), ("web-disk-0.vmdk", true)] {
            let path = world.path(name);
            fs::hard_link(&path, partial_of(&path, &world.path("web.ovf"))).unwrap();
            if !is_given {
                fs::remove_file(path).unwrap();
            }
        }
        if is_reaped {
            world.reap("web.ovf").await;
            let left: Vec<_> = world.files().into_keys().collect();
            assert_eq!(left, [""; 0]);
            continue;
        }
        let report = world.export("web.ovf", |_| {}).await.unwrap();
        assert!(report.files.iter().any(|file| file.kept));
        assert_eq!(world.files(), files);
    }
}

#[cfg(unix)]
fn clear_but_journals(folder: &Path) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| !is_journal(path)).for_each(|path| fs::remove_file(path).unwrap());
}

#[cfg(unix)]
fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}
