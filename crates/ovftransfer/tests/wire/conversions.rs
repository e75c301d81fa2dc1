//! Disks of other formats: converted on their way to the server.

mod carried;

use std::fs;
use std::fs::File;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;

use ovftransfer::Conversion;
use ovftransfer::Digest;
use ovftransfer::DigestAlgorithm;
use ovftransfer::DiskFileFormat;
use ovftransfer::DiskFormat;
use ovftransfer::Event;
use ovftransfer::ImportPlan;
use ovftransfer::Observer;
use ovftransfer::Severity;
use ovftransfer::SignaturePolicy;
use ovftransfer::check_package;
use ovftransfer_vmdk::Header;
use ovftransfer_vmdk::open_image;
use ovftransfer_vmdk::to_raw;
use sha2::Digest as _;
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use super::*;

const STREAM: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";
const RAW: &str = "urn:example:raw";

/// A package of the machine `web` with small disks, in a folder of its own, to be spoiled.
struct Shop {
    world: World,
    /// Where the package is.
    folder: PathBuf,
    spool: tempfile::TempDir,
}

impl Shop {
    async fn new(wire: Wire, disks: u64) -> Self {
        Self::with(wire, disks, |_| {}).await
    }

    async fn with(wire: Wire, disks: u64, change: impl FnOnce(&mut Scenario)) -> Self {
        let world = World::over(wire, |scenario| {
            scenario.machines[0].disks = small_disks(disks);
            change(scenario);
        })
        .await;
        world.export().await.unwrap();
        let folder = world.folder.path().join("web");
        Self { world, folder, spool: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("web.ovf")).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        fs::write(self.path("web.ovf"), text.replacen(from, to, 1)).unwrap();
    }

    /// Puts a raw disk in the place of a stream-optimized one.
    fn to_raw(&self, disk: u64) -> PathBuf {
        let (old, new) = (format!("web-disk-{disk}.vmdk"), format!("web-disk-{disk}.raw"));
        let image = open_image(&self.path(&old), None).unwrap();
        let file = File::create(self.path(&new)).unwrap();
        let go_on = &mut |_| std::ops::ControlFlow::Continue(());
        to_raw(&*image, &file, ovftransfer_vmdk::Options::default(), go_on).unwrap();
        self.refer(&old, &new);
        self.path(&new)
    }

    /// Has qemu-img make a disk of another format of the raw one.
    fn by_qemu(&self, disk: u64, format: &str, options: &str, extension: &str) -> Option<PathBuf> {
        let raw = self.to_raw(disk);
        let name = format!("web-disk-{disk}.{extension}");
        let out = self.path(&name);
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "raw", "-O", format, "-o", options]).arg(&raw).arg(&out);
        let Ok(made) = command.output() else {
            let needed = std::env::var("OVFTRANSFER_REQUIRE_PEERS").is_ok_and(|v| v == "1");
            assert!(!needed, "qemu-img is not there");
            return None;
        };
        assert!(made.status.success(), "{made:?}");
        fs::remove_file(raw).unwrap();
        self.refer(&format!("web-disk-{disk}.raw"), &name);
        Some(out)
    }

    /// A flat VMDK of two extents, of which the second begins in the middle of its file.
    fn to_flat(&self, disk: u64) {
        let raw = fs::read(self.to_raw(disk)).unwrap();
        let (first, second) = raw.split_at(3 << 20);
        let name = |number| format!("web-disk-{disk}-f00{number}.vmdk");
        fs::write(self.path(&name(1)), first).unwrap();
        fs::write(self.path(&name(2)), [&[9; 1024], second].concat()).unwrap();
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
             createType=\"twoGbMaxExtentFlat\"\n\
             RW {} FLAT \"{}\" 0\nRW {} FLAT \"{}\" 2\n",
            first.len() / 512,
            name(1),
            second.len() / 512,
            name(2)
        );
        fs::write(self.path(&format!("web-disk-{disk}.vmdk")), text).unwrap();
        fs::remove_file(self.path(&format!("web-disk-{disk}.raw"))).unwrap();
        self.refer(&format!("web-disk-{disk}.raw"), &format!("web-disk-{disk}.vmdk"));
        let extents: String = (1..3)
            .map(|number| format!("<File ovf:id=\"{}\" ovf:href=\"{0}\"/>", name(number)))
            .collect();
        self.edit("</References>", &format!("{extents}</References>"));
    }

    /// Has the descriptor name another file, with the size that it has.
    fn refer(&self, old: &str, new: &str) {
        let mut text = fs::read_to_string(self.path("web.ovf")).unwrap();
        let start = text.find(&format!("\"{old}\"")).unwrap();
        let end = start + text[start..].find('>').unwrap();
        let size = text[start..end].find("ovf:size=\"").map(|at| start + at + 10);
        if let Some(at) = size {
            let len = text[at..].find('"').unwrap();
            let bytes = fs::metadata(self.path(new)).unwrap().len();
            text.replace_range(at..at + len, &bytes.to_string());
        }
        fs::write(
            self.path("web.ovf"),
            text.replacen(&format!("\"{old}\""), &format!("\"{new}\""), 1),
        )
        .unwrap();
        if old != new && self.path(old).exists() {
            fs::remove_file(self.path(old)).unwrap();
        }
    }

    /// Writes the manifest of what is there.
    fn seal(&self) {
        let mut lines = String::new();
        for entry in fs::read_dir(&self.folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".mf") {
                lines += &format!("SHA256({name})= {}\n", self.sha256(&name).hex());
            }
        }
        fs::write(self.path("web.mf"), lines).unwrap();
    }

    fn sha256(&self, name: &str) -> Digest {
        let digest = Sha256::digest(fs::read(self.path(name)).unwrap());
        Digest::new(DigestAlgorithm::Sha256, &digest).unwrap()
    }

    fn request(&self) -> Import {
        let package = Package::open(&self.path("web.ovf")).unwrap();
        let mut import = Import::new(package, "/DC0/host/Cluster0");
        import.name = Some("again".to_owned());
        import.datastore = Some("datastore0".to_owned());
        import.spool_dir = Some(self.spool.path().to_owned());
        import
    }

    async fn plan(&self) -> Result<ImportPlan, Error> {
        self.request().plan(&self.world.server).await
    }

    async fn import(&self) -> Result<Report, Error> {
        self.plan().await?.start(options()).finish().await
    }

    fn assert_arrived(&self) {
        assert_eq!(self.world.disks("again").unwrap(), self.world.disks("web").unwrap());
        self.assert_spool_empty();
    }

    /// Nothing was made that is still there.
    fn assert_gone(&self) {
        let names: Vec<String> = self.world.simulator.vms().into_iter().map(|vm| vm.name).collect();
        assert_eq!(names, ["web"], "machines are left");
        let leases = self.world.simulator.leases();
        let ended = [LeaseState::Done, LeaseState::Error];
        assert!(leases.iter().all(|lease| ended.contains(&lease.state)), "{leases:?}");
        self.assert_spool_empty();
    }

    fn assert_spool_empty(&self) {
        assert_eq!(fs::read_dir(self.spool.path()).unwrap().count(), 0, "a spool is left");
    }
}

/// Most of such a disk are holes.
fn small_disks(count: u64) -> Vec<DiskSpec> {
    let disk = |seed| {
        let data = Data::new(DataKind::Mixed, MIB, seed).with_spread(Spread::Even);
        DiskSpec::new(4 * MIB).with_data(data)
    };
    (1..=count).map(disk).collect()
}

fn conversions(report: &Report) -> Vec<(String, &Conversion)> {
    let files = report.files.iter();
    files.filter_map(|file| Some((file.file.to_string(), file.conversion.as_ref()?))).collect()
}

#[tokio::test]
async fn disks_of_every_format_arrive() {
    side_by_side([Wire::Json, Wire::Soap], async |wire| {
        let shop = Shop::new(wire, 5).await;
        shop.to_raw(0);
        let Some(_) = shop.by_qemu(1, "qcow2", "compat=1.1", "qcow2") else { return };
        shop.by_qemu(2, "vmdk", "subformat=monolithicSparse", "vmdk").unwrap();
        shop.to_flat(3);
        shop.seal();
        let plan = shop.plan().await.unwrap();
        plan.check().unwrap();
        let planned: Vec<(String, DiskFileFormat)> =
            plan.conversions().map(|(file, kind)| (file.to_string(), kind)).collect();
        let kinds = [
            DiskFileFormat::Raw,
            DiskFileFormat::Qcow2,
            DiskFileFormat::SparseVmdk,
            DiskFileFormat::Extents,
        ];
        assert_eq!(planned.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(), kinds);
        assert!(plan.to_string().contains("web-disk-1.qcow2: a qcow2 disk, converted"), "{plan}");
        assert_eq!(plan.files().filter(|(_, bytes)| bytes.is_some()).count(), 1);
        // Which of them is right about its format, and which is not.
        let odd = plan.warnings().iter().filter(|text| text.contains("calls its format")).count();
        assert_eq!(odd, 4, "{:?}", plan.warnings());

        let report = plan.start(options()).finish().await.unwrap();
        shop.assert_arrived();
        assert!(report.files.iter().all(|file| file.by_server && file.by_package), "{report:?}");
        let done = conversions(&report);
        assert_eq!(done.iter().map(|(_, one)| one.from).collect::<Vec<_>>(), kinds);
        for (name, conversion) in &done {
            assert_eq!(conversion.files[0].file.as_str(), name);
            for file in &conversion.files {
                assert_eq!(file.digests, [shop.sha256(file.file.as_str())]);
                assert_eq!(file.bytes, fs::metadata(shop.path(file.file.as_str())).unwrap().len());
                assert!(file.by_package);
            }
        }
        assert_eq!(done[3].1.files.len(), 3, "the descriptor and two extents");
        let leases = shop.world.simulator.leases();
        assert!(leases.iter().all(|lease| lease.percents.last() == Some(&100)), "{leases:?}");
    })
    .await;
}

/// What was told of an import, in order.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn observe(&self, event: &Event) {
        let line = if let Event::FileConvert { file, from } = event {
            format!("convert {file} {}", from.word())
        } else if let Event::FileConverted { file, .. } = event {
            format!("converted {file}")
        } else if let Event::FileStart { file, .. } = event {
            format!("start {file}")
        } else if let Event::FileProven { file, .. } = event {
            format!("proven {file}")
        } else {
            return;
        };
        self.0.lock().unwrap().push(line);
    }
}

/// The next disk is converted while the last one is sent, and no more than two are there at a time.
#[tokio::test]
async fn the_next_disk_is_converted_while_the_last_one_is_sent() {
    let shop = Shop::with(Wire::Json, 4, |scenario| {
        for host in &mut scenario.hosts {
            host.throttle_mb_per_s_per_stream = Some(2.0);
        }
    })
    .await;
    (0..4).for_each(|disk| drop(shop.to_raw(disk)));
    shop.seal();
    let told = Arc::new(Told::default());
    let mut options = options();
    options.observer = Arc::clone(&told) as Arc<dyn Observer>;
    let plan = shop.plan().await.unwrap();
    plan.start(options).finish().await.unwrap();
    shop.assert_arrived();
    let told = told.0.lock().unwrap().clone();
    let place = |line: &str| told.iter().position(|one| one == line).unwrap();
    let mut at_once = 0;
    let counts: Vec<i32> = told
        .iter()
        .map(|line| {
            at_once += i32::from(line.starts_with("convert "));
            at_once -= i32::from(line.starts_with("proven "));
            at_once
        })
        .collect();
    assert_eq!(counts.iter().max(), Some(&2), "{told:?}");
    for disk in 0..4 {
        let line = |word: &str| place(&format!("{word} web-disk-{disk}.raw"));
        assert!(line("converted") < line("start") && line("start") < line("proven"), "{told:?}");
    }
}

/// A few MiB can be a disk of many TiB if all its tables lead to one grain.
#[tokio::test]
async fn a_disk_whose_grains_overlap_gets_no_lease() {
    let shop = Shop::new(Wire::Json, 1).await;
    let mut header = Header::stream_optimized(4 * MIB / 512).unwrap();
    header.version = 1;
    header.flags = Header::FLAG_NEW_LINES;
    header.compress_algorithm = 0;
    header.gd_offset_sectors = 21;
    header.overhead_sectors = 26;
    let mut file = header.encode().to_vec();
    file.extend_from_slice(b"# Disk DescriptorFile\ncreateType=\"monolithicSparse\"\n");
    file.resize(21 * 512, 0);
    file.extend_from_slice(&22_u32.to_le_bytes());
    file.resize(22 * 512, 0);
    file.extend((0..64).flat_map(|_| 26_u32.to_le_bytes()));
    file.resize(26 * 512, 0);
    file.resize((26 + 128) * 512, 7);
    fs::write(shop.path("web-disk-0.vmdk"), file).unwrap();
    shop.refer("web-disk-0.vmdk", "web-disk-0.vmdk");
    shop.seal();
    let leases = shop.world.simulator.leases().len();
    let error = shop.import().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Package, "{}", error.chain());
    assert!(error.chain().contains("a grain shares its place"), "{}", error.chain());
    assert_eq!(shop.world.simulator.leases().len(), leases);
    shop.assert_gone();
}

#[tokio::test]
async fn a_source_that_the_manifest_does_not_know_leaves_nothing() {
    for wire in [Wire::Json, Wire::Soap] {
        let shop = Shop::new(wire, 4).await;
        let raw = shop.to_raw(0);
        let Some(qcow2) = shop.by_qemu(1, "qcow2", "compat=1.1", "qcow2") else { return };
        shop.to_flat(2);
        shop.seal();
        for path in [raw, qcow2, shop.path("web-disk-2-f002.vmdk")] {
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            *bad.last_mut().unwrap() ^= 1;
            fs::write(&path, bad).unwrap();
            let error = shop.import().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{}", error.chain());
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(error.to_string().starts_with(name), "{error}");
            shop.assert_gone();
            fs::write(&path, good).unwrap();
        }
        shop.import().await.unwrap();
        shop.assert_arrived();
    }
}

#[tokio::test]
async fn what_cannot_be_converted_is_refused_before_a_lease_is_taken() {
    let shop = Shop::new(Wire::Json, 1).await;
    let raw = shop.to_raw(0);
    let bytes = fs::read(&raw).unwrap();
    let mut qcow2 = vec![0; 65_536];
    qcow2[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    let with = |at: usize, value: u8| {
        let mut changed = qcow2.clone();
        changed[at] = value;
        changed
    };
    let cases: [(Vec<u8>, &str); 9] = [
        (with(15, 1), "backing file"),
        ([&with(23, 16)[..32], &[0, 0, 0, 1], &with(23, 16)[36..]].concat(), "encrypted"),
        ([&with(23, 16)[..79], &[8], &with(23, 16)[80..]].concat(), "zstd"),
        ([b"conectix", &bytes[8..]].concat(), "VHD"),
        ([b"<<< Oracle VM VirtualBox", &bytes[24..]].concat(), "VDI"),
        (bytes[..1 << 20].to_vec(), "is no disk"),
        (Vec::new(), "is no disk"),
        (b"# Disk DescriptorFile\nRW 8192 FLAT \"gone.vmdk\" 0\n".to_vec(), "gone.vmdk"),
        (b"# Disk DescriptorFile\nparentCID=12345678\n".to_vec(), "delta"),
    ];
    fs::remove_file(shop.path("web.mf")).unwrap();
    for (content, expected) in cases {
        fs::write(&raw, content).unwrap();
        shop.refer("web-disk-0.raw", "web-disk-0.raw");
        let error = shop.plan().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Package, "{}", error.chain());
        assert!(error.chain().contains(expected), "{expected}: {}", error.chain());
    }
    // Larger than the disk of the machine.
    fs::write(&raw, [&bytes[..], &[0; 512]].concat()).unwrap();
    shop.refer("web-disk-0.raw", "web-disk-0.raw");
    shop.edit(STREAM, RAW);
    let error = shop.plan().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Package, "{}", error.chain());
    assert!(error.to_string().contains("room for 4194304"), "{error}");
    // Smaller: what does not come is zero.
    fs::write(&raw, &bytes[..bytes.len() - 512]).unwrap();
    shop.refer("web-disk-0.raw", "web-disk-0.raw");
    shop.plan().await.unwrap().check().unwrap();
    assert_eq!(shop.world.simulator.leases().len(), 1, "but for the export");
}

#[tokio::test]
async fn cancelling_in_the_middle_of_a_conversion_leaves_nothing() {
    /// Cancels when a disk begins to be converted.
    #[derive(Debug, Default)]
    struct Canceller(OnceLock<CancellationToken>);

    impl Observer for Canceller {
        fn observe(&self, event: &Event) {
            if matches!(event, Event::FileConvert { .. }) {
                self.0.get().unwrap().cancel();
            }
        }
    }

    for is_flat in [false, true] {
        let shop = Shop::new(Wire::Json, 1).await;
        if is_flat {
            shop.to_flat(0)
        } else {
            drop(shop.to_raw(0))
        }
        shop.seal();
        let canceller = Arc::new(Canceller::default());
        let mut options = options();
        options.observer = Arc::clone(&canceller) as Arc<dyn Observer>;
        let running = shop.plan().await.unwrap().start(options);
        canceller.0.set(running.canceller()).unwrap();
        let error = running.finish().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", error.chain());
        shop.assert_gone();
    }
}

/// Raw disks of an export are those of the machine, in a folder and in an OVA, and go back.
#[tokio::test]
async fn raw_disks_come_out_and_go_back() {
    side_by_side([Wire::Json, Wire::Soap], async |wire| {
        let shop = Shop::new(wire, 2).await;
        let world = &shop.world;
        for name in ["raw/web.ovf", "raw.ova"] {
            let mut export = Export::new("/DC0/vm/web", world.folder.path().join(name));
            export.disk_format = DiskFormat::Raw;
            export.algorithm = DigestAlgorithm::Sha512;
            let plan = export.plan(&world.server).await.unwrap();
            assert!(plan.to_string().contains("with raw disks"), "{plan}");
            let report = plan.start(options()).finish().await.unwrap();
            for file in &report.files {
                assert!(file.by_server, "{file:?}");
                let written = file.written.as_ref().unwrap();
                assert_eq!((written.format, written.bytes), (DiskFileFormat::Raw, 4 * MIB));
            }
            let package = Package::open(&report.package.unwrap()).unwrap();
            for disk in package.envelope().disks() {
                assert!(disk.format().ends_with("-raw"), "{}", disk.format());
                let file = package.envelope().file(disk.file_ref().unwrap()).unwrap();
                assert!(file.href().as_str().ends_with(".raw"), "{}", file.href());
                assert_eq!(file.size_bytes(), Some(4 * MIB));
            }
            let policy = SignaturePolicy::default();
            let (meter, cancel) = (Arc::default(), CancellationToken::new());
            let package = Arc::new(package);
            let checked = check_package(Arc::clone(&package), &policy, meter, &cancel).await;
            assert!(checked.unwrap().files.iter().all(|file| file.in_manifest));
            let again = name.replace('/', "-");
            let mut import = shop.request();
            (import.package, import.name) = (package, Some(again.clone()));
            import.plan(&world.server).await.unwrap().start(options()).finish().await.unwrap();
            assert_eq!(world.disks(&again), world.disks("web"));
        }
        for disk in 0..2 {
            let (stream, raw) = (format!("web-disk-{disk}.vmdk"), format!("web-disk-{disk}.raw"));
            let raw = world.folder.path().join("raw").join(raw);
            let mut compare = Command::new("qemu-img");
            compare.args(["compare", "-f", "vmdk", "-F", "raw"]).arg(shop.path(&stream)).arg(&raw);
            let Ok(judged) = compare.output() else { return };
            assert!(judged.status.success(), "{judged:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_raw_disk_that_is_not_proven_is_none() {
    let export_to = async |world: &World, name: &str| {
        let mut export = Export::new("/DC0/vm/web", world.folder.path().join(name));
        export.disk_format = DiskFormat::Raw;
        export.plan(&world.server).await.unwrap().start(options()).finish().await
    };
    let small = async |fault: Fault| {
        World::with(|scenario| {
            scenario.machines[0].disks = small_disks(2);
            scenario.faults = vec![fault];
        })
        .await
    };
    let cases = [
        (FaultKind::WrongDigest, "raw/web.ovf"),
        (FaultKind::FlipBitAt(300_000), "raw/web.ovf"),
        (FaultKind::FlipBitAt(300_000), "new/raw.ova"),
        (FaultKind::TruncateAfterBytes(300_000), "raw/web.ovf"),
        (FaultKind::LeaseLostAfterBytes(300_000), "raw/web.ovf"),
    ];
    // Side by side, as they mostly wait for the next try.
    side_by_side(cases, async |(kind, name)| {
        let world = small(on_export(kind.clone()).with_times(99)).await;
        let error = export_to(&world, name).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Refused, "{kind:?}: {}", error.chain());
        world.assert_clean();
    })
    .await;
    // One that breaks is fetched again, from its beginning.
    let world = small(on_export(FaultKind::ResetAfterBytes(300_000))).await;
    let report = export_to(&world, "raw/web.ovf").await.unwrap();
    assert_eq!(report.files.iter().map(|file| file.attempts).max(), Some(2));
    world.import(&report.package.unwrap(), "again").await.unwrap();
    assert_eq!(world.disks("again"), world.disks("web"));
}

/// The descriptor may call a stream-optimized disk what it likes.
#[tokio::test]
async fn a_disk_that_is_right_and_misnamed_is_sent_as_it_is() {
    let shop = Shop::new(Wire::Json, 1).await;
    shop.edit(STREAM, RAW);
    shop.seal();
    let plan = shop.plan().await.unwrap();
    assert_eq!(plan.conversions().count(), 0);
    let odd = plan.findings().iter().find(|one| one.problem.contains("stream-optimized")).unwrap();
    assert_eq!(odd.severity, Severity::Warning);
    plan.start(options()).finish().await.unwrap();
    shop.assert_arrived();
}
