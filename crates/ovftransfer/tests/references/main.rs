//! References of a descriptor that are more than the name of a file beside it: chunks, compressed
//! files, encoded names and folders, from every place that a package can be read from.
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

mod elsewhere;
mod many;
#[path = "../web/server.rs"]
mod server;
mod shelf;

use std::sync::Arc;
use std::time::Duration;

use ovftransfer::CheckedFile;
use ovftransfer::Error;
use ovftransfer::ErrorKind;
use ovftransfer::Import;
use ovftransfer::ImportPlan;
use ovftransfer::Locator;
use ovftransfer::Meter;
use ovftransfer::Options;
use ovftransfer::Package;
use ovftransfer::Report;
use ovftransfer::Secret;
use ovftransfer::Server;
use ovftransfer::SignaturePolicy;
use ovftransfer::Trust;
use ovftransfer::check_package;
use ovftransfer_simulator::LeaseState;
use ovftransfer_simulator::Scenario;
use ovftransfer_simulator::Simulator;
use shelf::PLACES;
use shelf::Place;
use shelf::Shelf;
use shelf::appliance;
use shelf::gzip;

/// A vCenter without machines.
struct World {
    simulator: Simulator,
    server: Server,
}

impl World {
    async fn new() -> Self {
        let scenario = Scenario::from_json(r#"{"machines": []}"#).unwrap();
        let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
        let locator: Locator = simulator.url().replace("https", "vi").parse().unwrap();
        let trust = Trust::Pinned(simulator.thumbprint().parse().unwrap());
        let password = Secret::new(simulator.password());
        let endpoint = locator.endpoint().clone();
        let server = Server::connect(endpoint, trust, simulator.username(), password).await;
        Self { simulator, server: server.unwrap() }
    }

    async fn plan(&self, package: Package, name: &str) -> Result<ImportPlan, Error> {
        let mut import = Import::new(package, "/DC0/host/Cluster0");
        import.datastore = Some("datastore0".to_owned());
        import.name = Some(name.to_owned());
        import.plan(&self.server).await
    }

    async fn import(&self, package: Package, name: &str) -> Result<Report, Error> {
        let mut options = Options::default();
        options.stall = Duration::from_secs(5);
        self.plan(package, name).await?.start(options).finish().await
    }

    /// The newest machine has every byte of the disks.
    #[track_caller]
    fn expect_machine(&self, number: usize) {
        let vms = self.simulator.vms();
        assert_eq!(vms.len(), number);
        for vm in vms {
            let digests = vm.disks.iter().map(|disk| disk.digest().unwrap().raw_sha256);
            assert_eq!(digests.collect::<Vec<_>>(), appliance().raw_sha256().unwrap());
        }
    }

    #[track_caller]
    fn expect_nothing(&self) {
        assert_eq!(self.simulator.vms().len(), 0);
        for lease in self.simulator.leases() {
            assert_eq!(lease.state, LeaseState::Error, "{lease:?}");
        }
    }
}

async fn check(package: Package) -> Result<Vec<CheckedFile>, Error> {
    let (policy, meter) = (SignaturePolicy::default(), Arc::new(Meter::default()));
    Ok(check_package(Arc::new(package), &policy, meter, &Default::default()).await?.files)
}

/// Everything at once: chunks that are compressed in a folder, under a name with an encoded blank,
/// and a compressed file.
fn everything() -> Shelf {
    let shelf = Shelf::plain().renamed(0, "all disks/a b.vmdk", "all disks/a b.vmdk");
    let shelf = shelf.packed(0, true, Some(100_000)).packed(1, true, None);
    shelf.edited(|text| text.replace("all disks/a b.vmdk", "all%20disks/a%20b.vmdk"))
}

#[tokio::test]
async fn packed_references_become_the_same_machine_from_everywhere() {
    let world = World::new().await;
    for (number, place) in (1..).zip(PLACES) {
        let opened = everything().open(place).await.unwrap();
        let report = world.import(opened.package, &format!("from {place:?}")).await;
        let report = report.unwrap_or_else(|error| panic!("{place:?}: {}", error.chain()));
        assert_eq!(report.files.len(), 2);
        for file in &report.files {
            assert!(file.by_package && file.by_server, "{place:?}: {file:?}");
        }
        world.expect_machine(number);
    }
    // The manifest at the end of a stream is compared at the end.
    let late = Shelf { late_manifest: true, ..everything() };
    let opened = late.open(Place::Pipe).await.unwrap();
    let report = world.import(opened.package, "late").await.unwrap();
    assert!(report.files.iter().all(|file| file.by_package), "{report:?}");
    world.expect_machine(PLACES.len() + 1);
}

#[tokio::test]
async fn every_shape_is_valid_from_everywhere() {
    let plain = check(Shelf::plain().open(Place::Folder).await.unwrap().package).await.unwrap();
    let sizes: Vec<u64> = plain.iter().map(|file| file.bytes).collect();
    let chunked = Shelf::plain().packed(0, false, Some(100_000));
    let exact = (sizes[0] / 2) as usize * 2;
    let cases = [
        ("chunks", chunked.clone(), 3),
        ("one chunk", Shelf::plain().packed(0, false, Some(9 << 20)), 1),
        ("no size", chunked.edited(|text| no_size(&text)), 3),
        ("equal chunks", Shelf::plain().packed(0, false, Some(exact / 2)), 2),
        ("gzip", Shelf::plain().packed(0, true, None), 1),
        ("both", everything(), 3),
        ("folder", Shelf::plain().renamed(0, "a/b/c.vmdk", "a/b/c.vmdk"), 0),
        ("encoded", Shelf::plain().renamed(0, "a b.vmdk", "a%20b.vmdk"), 0),
        ("literal", Shelf::plain().renamed(0, "a%20b.vmdk", "a%20b.vmdk"), 0),
        ("odd", Shelf::plain().renamed(0, "a%2fb.vmdk", "a%2fb.vmdk"), 0),
        ("identity", Shelf::plain().edited(|text| compression(&text, "identity")), 0),
    ];
    assert_eq!(sizes[0] % 2, 0);
    for (words, shelf, stored) in cases {
        for place in PLACES {
            for &late_manifest in place.orders() {
                let shelf = Shelf { late_manifest, ..shelf.clone() };
                let checked = async { check(shelf.open(place).await?.package).await }.await;
                let checked =
                    checked.unwrap_or_else(|error| panic!("{words}, {place:?}: {}", error.chain()));
                assert_eq!(checked.iter().map(|file| file.bytes).collect::<Vec<_>>(), sizes);
                assert!(checked.iter().all(|file| file.in_manifest), "{words}, {place:?}");
                assert_eq!(checked[0].stored.len(), stored, "{words}, {place:?}");
                assert!(checked[0].stored.iter().all(|file| file.in_manifest));
                assert!(checked[0].disk.is_some());
            }
        }
    }
    let without = everything().without_manifest();
    for place in PLACES {
        let checked = check(without.open(place).await.unwrap().package).await.unwrap();
        assert!(checked.iter().all(|file| !file.in_manifest && !file.stored.is_empty()));
    }
}

fn no_size(text: &str) -> String {
    let (before, rest) = text.split_once("ovf:size=\"").unwrap();
    format!("{before}{}", rest.split_once('"').unwrap().1)
}

/// Names a compression of the first file.
fn compression(text: &str, method: &str) -> String {
    text.replacen("<File ", &format!("<File ovf:compression=\"{method}\" "), 1)
}

/// A manifest may have an entry for all chunks together (DSP0243 2.1 §6.1), and then it must hold.
#[tokio::test]
async fn all_chunks_together_may_be_promised_too() {
    let plain = Shelf::plain().signed();
    let manifest = String::from_utf8(plain.files[1].1.clone()).unwrap();
    let line = manifest.lines().nth(1).unwrap().to_owned();
    let chunked = Shelf::plain().packed(0, false, Some(100_000));
    for place in PLACES {
        for late_manifest in [false, true] {
            let mut shelf = Shelf { late_manifest, ..chunked.clone() };
            shelf.files[1].1.extend(format!("{line}\n").into_bytes());
            check(shelf.open(place).await.unwrap().package).await.unwrap();
            let end = shelf.files[1].1.len() - 2;
            shelf.files[1].1[end] = if shelf.files[1].1[end] == b'0' { b'1' } else { b'0' };
            let opened = shelf.open(place).await.unwrap();
            let error = check(opened.package).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{place:?}: {}", error.chain());
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_packed_references_is_named() {
    let chunked = Shelf::plain().packed(0, false, Some(100_000));
    let disk = chunked.envelope().references()[0].href().to_string();
    let chunk = |number: u32| format!("{disk}.{number:09}");
    let change = |shelf: &Shelf, file: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut shelf = shelf.clone();
        edit(shelf.get(file));
        shelf
    };
    let packed = Shelf::plain().packed(0, true, None);
    let both = [&disk, "a%20b.vmdk"];
    let package = ErrorKind::Package;
    let mut two_names = Shelf::plain().renamed(0, "a b.vmdk", "a%20b.vmdk");
    let again = two_names.get("a b.vmdk").clone();
    two_names.files.insert(3, ("a%20b.vmdk".to_owned(), again));
    let mut more = chunked.clone();
    more.files.insert(5, (chunk(3), vec![7; 100]));
    let cases: Vec<(&str, Shelf, ErrorKind)> = vec![
        ("000000000", chunked.clone().remove(&chunk(0)).signed(), package),
        ("000000001", chunked.clone().remove(&chunk(1)).signed(), package),
        ("000000002", chunked.clone().remove(&chunk(2)).signed(), package),
        ("000000003", more.clone().signed(), package),
        ("00000000", more.edited(|text| no_size(&text)).signed(), package),
        ("000000001", change(&chunked, &chunk(1), &|bytes| bytes.push(0)).signed(), package),
        (
            "000000001",
            change(&chunked, &chunk(1), &|bytes| bytes.truncate(99_999)).signed(),
            package,
        ),
        (
            "packed-disk1.vmdk",
            change(&chunked, &chunk(2), &|bytes| bytes.truncate(9)).signed(),
            package,
        ),
        (
            "0 bytes",
            chunked.clone().edited(|text| text.replace("chunkSize=\"100000\"", "chunkSize=\"0\"")),
            package,
        ),
        ("manifest", chunked.clone().lying(&chunk(1)), ErrorKind::DigestMismatch),
        ("manifest", packed.clone().lying(&disk), ErrorKind::DigestMismatch),
        (
            "in the middle",
            change(&packed, &disk, &|bytes| bytes.truncate(9_000)).edited(|text| no_size(&text)),
            package,
        ),
        (
            "gzip",
            change(&packed, &disk, &|bytes| *bytes.iter_mut().rev().nth(5).unwrap() ^= 1).signed(),
            package,
        ),
        (
            "behind",
            change(&packed, &disk, &|bytes| bytes.extend([0; 9])).edited(|text| no_size(&text)),
            package,
        ),
        ("bzip2", Shelf::plain().edited(|text| compression(&text, "bzip2")), package),
        ("take one of the two away", two_names.signed(), package),
        (
            "\"..\"",
            Shelf::plain()
                .edited(|text| text.replace(both[0], "a/%2e%2e/%2E%2e/x"))
                .without_manifest(),
            package,
        ),
        (
            "\"..\"",
            Shelf::plain().edited(|text| text.replace(both[0], "%2e%2e%2fx")).without_manifest(),
            package,
        ),
        (
            "control",
            Shelf::plain().edited(|text| text.replace(both[0], "a%00b.vmdk")).without_manifest(),
            package,
        ),
    ];
    let world = World::new().await;
    for (words, shelf, kind) in cases {
        for place in PLACES {
            for &late_manifest in place.orders() {
                let shelf = Shelf { late_manifest, ..shelf.clone() };
                let checked = async { check(shelf.open(place).await?.package).await }.await;
                let error = checked.unwrap_err();
                assert_eq!(error.kind(), kind, "{words}, {place:?}: {}", error.chain());
                assert!(error.chain().contains(words), "{words}, {place:?}: {}", error.chain());
            }
        }
        // And nothing of it becomes a machine, whatever the way.
        for place in [Place::Ova, Place::Pipe] {
            let shelf = Shelf { late_manifest: place == Place::Pipe, ..shelf.clone() };
            let imported =
                async { world.import(shelf.open(place).await?.package, "bad").await }.await;
            let error = imported.unwrap_err();
            assert_eq!(error.kind(), kind, "{words}, {place:?}: {}", error.chain());
        }
        world.expect_nothing();
    }
}

/// A host refuses the first grain that is not sound, before the chunk has come to its end.
#[tokio::test]
async fn a_damaged_chunk_is_what_is_told_also_when_the_host_notices_first() {
    let world = World::new().await;
    let mut shelf = Shelf::plain().packed(0, false, Some(200_000));
    let name = shelf.files[2].0.clone();
    // The checksum of the first grain.
    let at = 65_536 + 40_000;
    shelf.get(&name)[at] ^= 1;
    let opened = shelf.open(Place::Folder).await.unwrap();
    let error = world.import(opened.package, "damaged").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{}", error.chain());
    assert!(error.to_string().contains(&name), "{error}");
    world.expect_nothing();
}

/// A disk without a file is made empty by the server; nothing is sent for it.
#[tokio::test]
async fn an_empty_disk_is_no_missing_file() {
    let world = World::new().await;
    let shelf = Shelf::plain();
    let envelope = shelf.envelope();
    let (file, disk) = (&envelope.references()[1], &envelope.disks()[1]);
    let edited = envelope.edit().disk_file_ref(disk.id(), None).remove_file(file.id()).apply();
    let text = edited.unwrap().text().to_owned();
    let shelf = shelf.remove(file.href().as_str()).edited(|_| text);
    let shelf = shelf.packed(0, true, Some(100_000));
    for (number, place) in [Place::Folder, Place::Pipe].into_iter().enumerate() {
        let checked = check(shelf.open(place).await.unwrap().package).await.unwrap();
        assert_eq!(checked.len(), 1);
        let opened = shelf.open(place).await.unwrap();
        let report = world.import(opened.package, &format!("{place:?}")).await;
        assert_eq!(report.unwrap().files.len(), 1);
        let vms = world.simulator.vms();
        assert_eq!(vms.len(), number + 1);
        let digest = |at: usize| vms[number].disks[at].digest().unwrap().raw_sha256;
        assert_eq!(digest(0), appliance().raw_sha256().unwrap()[0]);
        assert_ne!(digest(1), appliance().raw_sha256().unwrap()[1]);
    }
}

/// A thousand to one: it is stopped when it has come to more than such a file may hold.
#[tokio::test]
async fn a_bomb_is_not_blown_up() {
    let world = World::new().await;
    let text =
        "<File ovf:id=\"bomb\" ovf:href=\"bomb.bin\" ovf:compression=\"gzip\"/></References>";
    let mut shelf = Shelf::plain().edited(|before| before.replace("</References>", text));
    shelf.files.push(("bomb.bin".to_owned(), gzip(&vec![0; 200 << 20])));
    let shelf = shelf.signed();
    for place in [Place::Folder, Place::Pipe] {
        let error = check(shelf.open(place).await.unwrap().package).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Package, "{place:?}: {}", error.chain());
        assert!(error.chain().contains("too much for what it is"), "{}", error.chain());
    }
    let opened = shelf.open(Place::Ova).await.unwrap();
    let error = world.plan(opened.package, "bomb").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Package, "{}", error.chain());
    world.expect_nothing();
}

#[tokio::test]
async fn two_references_are_not_one_file() {
    let one = Shelf::plain().renamed(0, "a b.vmdk", "a%20b.vmdk");
    let other = one.envelope().references()[1].href().to_string();
    let shelf = one.edited(|text| text.replace(&other, "a b.vmdk")).remove(&other).signed();
    for place in PLACES {
        let checked = async { check(shelf.open(place).await?.package).await }.await;
        let error = checked.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Package, "{place:?}: {}", error.chain());
    }
}

/// The plan tells what will be sent, and the server's descriptor is about that.
#[tokio::test]
async fn a_plan_knows_the_sizes_of_what_is_sent() {
    let world = World::new().await;
    let plain = check(Shelf::plain().open(Place::Folder).await.unwrap().package).await.unwrap();
    let opened = everything().open(Place::Folder).await.unwrap();
    let plan = world.plan(opened.package, "sizes").await.unwrap();
    let sizes: Vec<Option<u64>> = plan.files().map(|(_, size)| size).collect();
    assert_eq!(sizes, plain.iter().map(|file| Some(file.bytes)).collect::<Vec<_>>());
    assert_eq!(plan.warnings(), [] as [&str; 0]);
    let opened = everything().open(Place::Pipe).await.unwrap();
    let plan = world.plan(opened.package, "sizes").await.unwrap();
    assert!(plan.files().all(|(_, size)| size.is_none()));
}
