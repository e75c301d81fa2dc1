//! Packages become other packages: byte for byte where nothing is wrong, repaired where something
//! is, and not at all where nobody can tell.
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use ovftransfer::ByteStream;
use ovftransfer::Convert;
use ovftransfer::Converted;
use ovftransfer::DigestAlgorithm;
use ovftransfer::Error;
use ovftransfer::ErrorKind;
use ovftransfer::Event;
use ovftransfer::FileName;
use ovftransfer::Manifest;
use ovftransfer::Observer;
use ovftransfer::Options;
use ovftransfer::Output;
use ovftransfer::Package;
use ovftransfer::Pipe;
use ovftransfer::Repair;
use ovftransfer::SignaturePolicy;
use ovftransfer::Sink;
use ovftransfer::Store;
use ovftransfer::Verified;
use ovftransfer::certificate::SigningKey;
use ovftransfer::check_package;
use ovftransfer_ovf::ova::END;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::member_header;
use ovftransfer_ovf::ova::member_padding;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::Data;
use ovftransfer_simulator::scenario::DataKind;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Machine;

/// A package with two disks, in a folder.
struct World {
    temp: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut machine = Machine::new("web");
        for seed in [1, 2] {
            let data = Data::new(DataKind::Random, 256 << 10, seed);
            machine.disks.push(DiskSpec::new(16 << 20).with_data(data));
        }
        fs::create_dir(temp.path().join("in")).unwrap();
        Appliance::new(machine).write_folder(&temp.path().join("in")).unwrap();
        Self { temp }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn descriptor(&self) -> PathBuf {
        self.path("in/web.ovf")
    }

    /// The files of the package, the descriptor and the manifest first.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let package = Package::open(&self.descriptor()).unwrap();
        let hrefs = package.envelope().references().iter().map(|file| file.href().to_string());
        let names = ["web.ovf", "web.mf"].into_iter().map(str::to_owned).chain(hrefs);
        names.map(|name| (name.clone(), fs::read(self.path("in").join(name)).unwrap())).collect()
    }

    /// Everything that is there, but for the package itself.
    fn others(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![self.temp.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name =
                    path.strip_prefix(self.temp.path()).unwrap().to_str().unwrap().to_owned();
                if !name.starts_with("in") {
                    names.push(name);
                }
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        names.sort();
        names
    }
}

fn convert(source: &Path, destination: impl Into<Output>) -> Convert {
    Convert::new(Package::open(source).unwrap(), destination)
}

async fn run(convert: Convert) -> Result<Converted, Error> {
    convert.plan().await?.start(Options::default()).finish().await
}

/// An archive of these members, in this order.
fn archive<'m>(members: impl IntoIterator<Item = (&'m str, &'m [u8])>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in members {
        let len = content.len() as u64;
        bytes.extend_from_slice(&member_header(&FileName::new(name).unwrap(), len).unwrap());
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(member_padding(len));
    }
    bytes.extend_from_slice(&END);
    bytes
}

fn of<'f>(files: &'f [(String, Vec<u8>)], name: &str) -> &'f [u8] {
    &files.iter().find(|(known, _)| known == name).unwrap().1
}

fn members(ova: &[u8]) -> Vec<String> {
    let ova = Ova::index(&ova.to_vec()).unwrap();
    ova.members().iter().map(|member| member.name().to_string()).collect()
}

async fn is_valid(package: &Path) -> bool {
    let package = Package::open(package).unwrap();
    let policy = SignaturePolicy::default();
    let cancel = Default::default();
    let checked = check_package(Arc::new(package), &policy, Arc::default(), &cancel).await;
    checked.unwrap().files.iter().all(|file| file.in_manifest)
}

fn stream(bytes: &[u8]) -> ByteStream {
    let chunks: Vec<io::Result<Bytes>> =
        bytes.chunks(10_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    futures::stream::iter(chunks).boxed()
}

#[tokio::test]
async fn a_round_trip_keeps_every_byte() {
    let world = World::new();
    let before = world.files();
    let ova = world.path("web.ova");
    let report = run(convert(&world.descriptor(), &ova)).await.unwrap();
    assert_eq!(report.repairs, []);
    assert_eq!(report.package.as_deref(), Some(&*ova));
    assert!(report.is_descriptor_kept && report.files.iter().all(|file| file.by_package));
    let bytes = fs::read(&ova).unwrap();
    // What every product takes, and nothing else.
    let parts = before.iter().map(|(name, content)| (&**name, &**content));
    assert!(bytes == archive(parts), "not what was expected: {:?}", members(&bytes));
    assert!(is_valid(&ova).await);

    // Once more: the same bytes.
    let again = world.path("again/web.ova");
    run(convert(&ova, &again)).await.unwrap();
    assert!(fs::read(&again).unwrap() == bytes);

    // And back.
    let back = world.path("back");
    let report = run(convert(&ova, &back)).await.unwrap();
    assert_eq!(report.package, Some(back.join("web/web.ovf")));
    for (name, content) in &before {
        assert!(fs::read(back.join("web").join(name)).unwrap() == *content, "{name}");
    }
    assert_eq!(fs::read_dir(back.join("web")).unwrap().count(), before.len());
}

#[tokio::test]
async fn the_new_manifest_is_by_the_wanted_algorithm() {
    let world = World::new();
    for (algorithm, word) in
        [(DigestAlgorithm::Sha1, "SHA1("), (DigestAlgorithm::Sha512, "SHA512(")]
    {
        let target = world.path(&format!("{algorithm}.ovf"));
        let mut convert = convert(&world.descriptor(), &target);
        convert.algorithm = algorithm;
        let report = run(convert).await.unwrap();
        let old = vec![DigestAlgorithm::Sha256];
        assert_eq!(report.repairs, [Repair::Manifest { algorithms: old }]);
        assert!(report.files.iter().all(|file| file.by_package), "both were compared");
        let manifest = fs::read_to_string(target.with_extension("mf")).unwrap();
        assert!(manifest.lines().count() == 3 && manifest.lines().all(|l| l.starts_with(word)));
        assert!(is_valid(&target).await);
        for disk in &report.files {
            fs::remove_file(world.path(disk.file.as_str())).unwrap();
        }
    }
}

#[tokio::test]
async fn an_odd_archive_comes_out_straight() {
    let world = World::new();
    let files = world.files();
    let straight = archive(files.iter().map(|(name, content)| (&**name, &**content)));
    let (first, second) = (&*files[2].0, &*files[3].0);
    // Disks in the wrong order, a stranger, the manifest last, and no end.
    let order = ["web.ovf", second, first, "notes.txt", "web.mf"];
    let odd = archive(order.map(|name| match name {
        "notes.txt" => (name, &b"hello"[..]),
        name => (name, of(&files, name)),
    }));
    let path = world.path("odd/web.ova");
    fs::create_dir(world.path("odd")).unwrap();
    fs::write(&path, &odd[..odd.len() - END.len()]).unwrap();
    let out = world.path("web.ova");
    let report = run(convert(&path, &out)).await.unwrap();
    assert!(matches!(&report.repairs[..], [Repair::Archive { .. }]), "{:?}", report.repairs);
    assert!(report.is_descriptor_kept);
    assert!(fs::read(&out).unwrap() == straight);
}

#[tokio::test]
async fn a_stream_is_converted_as_it_comes() {
    let world = World::new();
    let files = world.files();
    let straight = archive(files.iter().map(|(name, content)| (&**name, &**content)));
    let names: Vec<&str> = files.iter().map(|(name, _)| &**name).collect();
    let with = |order: &[&str]| archive(order.iter().map(|name| (*name, of(&files, name))));
    let late = with(&[names[0], names[2], names[3], names[1]]);
    for bytes in [&straight, &late] {
        let out = world.path("web.ova");
        let package = Package::from_stream(stream(bytes), "a pipe").await.unwrap();
        let report = run(Convert::new(package, &out)).await.unwrap();
        assert_eq!(report.repairs, []);
        assert!(report.files.iter().all(|file| file.by_package));
        assert!(fs::read(&out).unwrap() == straight);
        fs::remove_file(&out).unwrap();
    }
    // The files of an archive stand in the order of the references; of a stream they cannot wait.
    let turned = with(&[names[0], names[1], names[3], names[2]]);
    let out = world.path("web.ova");
    let package = Package::from_stream(stream(&turned), "a pipe").await.unwrap();
    let report = run(Convert::new(package, &out)).await.unwrap();
    assert_eq!(report.repairs, [Repair::Order]);
    assert!(!report.is_descriptor_kept && is_valid(&out).await);
    let bytes = fs::read(&out).unwrap();
    assert_eq!(members(&bytes), [names[0], names[1], names[3], names[2]]);
    let package = Package::open(&out).unwrap();
    assert_eq!(package.envelope().references()[0].href().as_str(), names[3]);

    // A digest that is wrong shows at the end, and leaves nothing.
    fs::remove_file(&out).unwrap();
    let mut files = world.files();
    files[1].1 = flipped(&files[1].1, &files[3].0);
    let with = |order: &[usize]| archive(order.iter().map(|at| (&*files[*at].0, &*files[*at].1)));
    let wrong = with(&[0, 2, 3, 1]);
    let package = Package::from_stream(stream(&wrong), "a pipe").await.unwrap();
    let error = run(Convert::new(package, &out)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
    assert_eq!(world.others(), Vec::<String>::new());
    let package = Package::from_stream(stream(&wrong), "a pipe").await.unwrap();
    let mut convert = Convert::new(package, &out);
    convert.rehash = true;
    let report = run(convert).await.unwrap();
    assert!(matches!(&report.repairs[..], [Repair::Digest { .. }]), "{:?}", report.repairs);
    assert!(is_valid(&out).await);
}

/// A manifest with another digest for a file.
fn flipped(manifest: &[u8], file: &str) -> Vec<u8> {
    let mut manifest = manifest.to_vec();
    let line = format!("({file})= ");
    let at = manifest.windows(line.len()).position(|bytes| bytes == line.as_bytes()).unwrap();
    let digit = &mut manifest[at + line.len()];
    *digit = if *digit == b'0' { b'1' } else { b'0' };
    manifest
}

#[tokio::test]
async fn a_pipe_gets_the_same_archive() {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let world = World::new();
    let shared = Shared::default();
    let pipe = Pipe::new(shared.clone());
    let report = run(convert(&world.descriptor(), pipe)).await.unwrap();
    assert_eq!(report.package, None);
    let files = world.files();
    let straight = archive(files.iter().map(|(name, content)| (&**name, &**content)));
    assert!(*shared.0.lock().unwrap() == straight);
}

#[tokio::test]
async fn a_wrong_size_is_repaired_if_the_file_is_proven() {
    let world = World::new();
    let files = world.files();
    let disk = fs::metadata(world.path("in").join(&files[2].0)).unwrap().len();
    let text = fs::read_to_string(world.descriptor()).unwrap();
    let right = format!("ovf:size=\"{disk}\"");
    assert!(text.contains(&right), "{text}");
    fs::write(world.descriptor(), text.replacen(&right, "ovf:size=\"12345\"", 1)).unwrap();
    fs::remove_file(world.path("in/web.mf")).unwrap();
    let out = world.path("web.ova");
    let plan = convert(&world.descriptor(), &out).plan().await.unwrap();
    assert_eq!(plan.repairs().len(), 2, "{plan}");
    assert_eq!(world.others(), Vec::<String>::new(), "a plan writes nothing");
    // By its structure.
    let report = run(convert(&world.descriptor(), &out)).await.unwrap();
    let file = report.files[0].file.clone();
    let size = Repair::Size { file, stated: 12_345, found: disk };
    assert_eq!(report.repairs, [Repair::Manifest { algorithms: Vec::new() }, size]);
    assert!(!report.is_descriptor_kept);
    let package = Package::open(&out).unwrap();
    assert_eq!(package.envelope().references()[0].size_bytes(), Some(disk));
    assert_eq!(package.envelope().text(), text, "but for the size, nothing has changed");
    assert!(is_valid(&out).await);

    // Cut off: the structure says so.
    let path = world.path("in").join(&files[2].0);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1024]).unwrap();
    let cut = world.path("cut.ova");
    let error = run(convert(&world.descriptor(), &cut)).await.unwrap_err();
    assert!(matches!(error, Error::Structure { .. }), "{error}");

    // Of another format, nothing says so.
    let raw = fs::read_to_string(world.descriptor()).unwrap().replace("#streamOptimized", "#raw");
    fs::write(world.descriptor(), raw).unwrap();
    fs::write(&path, "no VMDK").unwrap();
    let error = convert(&world.descriptor(), &cut).plan().await.unwrap_err();
    assert!(error.to_string().contains("nothing proves"), "{error}");
    assert_eq!(world.others(), ["web.ova"]);
    let mut convert = convert(&world.descriptor(), &cut);
    convert.rehash = true;
    assert_eq!(run(convert).await.unwrap().files[0].bytes, 7);
}

#[tokio::test]
async fn a_digest_that_differs_is_an_error_or_told_loudly() {
    #[derive(Debug, Default)]
    struct Warnings(Mutex<Vec<String>>);
    impl Observer for Warnings {
        fn observe(&self, event: &Event) {
            if let Event::Warning { message } = event {
                self.0.lock().unwrap().push(message.clone());
            }
        }
    }
    let world = World::new();
    let files = world.files();
    let manifest = world.path("in/web.mf");
    fs::write(&manifest, flipped(&files[1].1, &files[3].0)).unwrap();
    for out in ["out.ova", "out", "out.ovf"] {
        let error = run(convert(&world.descriptor(), world.path(out))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
        assert!(error.to_string().contains(&files[3].0), "{error}");
        assert_eq!(world.others(), Vec::<String>::new());
    }
    let mut convert = convert(&world.descriptor(), world.path("out.ova"));
    convert.rehash = true;
    let warnings = Arc::new(Warnings::default());
    let mut options = Options::default();
    options.observer = Arc::clone(&warnings) as Arc<dyn Observer>;
    let report = convert.plan().await.unwrap().start(options).finish().await.unwrap();
    assert!(matches!(&report.repairs[..], [Repair::Digest { .. }]), "{:?}", report.repairs);
    assert_eq!(report.files.iter().map(|f| f.by_package).collect::<Vec<_>>(), [true, false]);
    let warnings = std::mem::take(&mut *warnings.0.lock().unwrap());
    assert!(matches!(&warnings[..], [one] if one.contains(&files[3].0)), "{warnings:?}");
    assert!(is_valid(&world.path("out.ova")).await);
}

/// People edit descriptors, and nothing but the manifest says so.
#[tokio::test]
async fn a_changed_descriptor_is_taken_only_on_request() {
    let world = World::new();
    let before = fs::read_to_string(world.descriptor()).unwrap();
    fs::write(world.descriptor(), before + "<!-- mine -->").unwrap();
    let files = world.files();
    let late = archive([0, 2, 3, 1].map(|at| (&*files[at].0, &*files[at].1)));
    let package = async |is_streamed: bool| match is_streamed {
        true => Package::from_stream(stream(&late), "a pipe").await.unwrap(),
        false => Package::open(&world.descriptor()).unwrap(),
    };
    for is_streamed in [false, true] {
        let out = world.path("out.ova");
        let strict = Convert::new(package(is_streamed).await, &out);
        let error = run(strict).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
        assert_eq!(world.others(), Vec::<String>::new());
        let mut lax = Convert::new(package(is_streamed).await, &out);
        lax.rehash = true;
        let report = run(lax).await.unwrap();
        let [Repair::Digest { file, .. }] = &report.repairs[..] else { panic!("{report:?}") };
        assert_eq!(file.as_str(), "web.ovf");
        assert!(report.is_descriptor_kept && is_valid(&out).await);
        fs::remove_file(&out).unwrap();
    }
    // Opening it is no proof: whoever does something with it asks first.
    let package = Package::open(&world.descriptor()).unwrap();
    assert!(package.prove_descriptor().is_err());
    let policy = SignaturePolicy::default();
    let cancel = Default::default();
    let checked = check_package(Arc::new(package), &policy, Arc::default(), &cancel).await;
    assert_eq!(checked.unwrap_err().kind(), ErrorKind::DigestMismatch);
}

#[tokio::test]
async fn names_become_those_that_every_product_takes() {
    let world = World::new();
    let files = world.files();
    let (first, second) = (&*files[2].0, &*files[3].0);
    fs::create_dir(world.path("in/disks")).unwrap();
    fs::rename(world.path("in").join(first), world.path("in/disks/Büro.vmdk")).unwrap();
    let text = fs::read_to_string(world.descriptor()).unwrap().replace(first, "disks/Büro.vmdk");
    fs::write(world.descriptor(), &text).unwrap();
    fs::remove_file(world.path("in/web.mf")).unwrap();
    for (out, descriptor) in [("out.ova", "out.ova"), ("out", "out/web/web.ovf")] {
        let report = run(convert(&world.descriptor(), world.path(out))).await.unwrap();
        assert_eq!(report.package, Some(world.path(descriptor)));
        let names: Vec<&str> = report.files.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(names, ["disk-1.vmdk", second]);
        let from = FileName::new("disks/Büro.vmdk").unwrap();
        let to = FileName::new("disk-1.vmdk").unwrap();
        assert!(report.repairs.contains(&Repair::Name { from, to }), "{:?}", report.repairs);
        let package = Package::open(&world.path(descriptor)).unwrap();
        assert_eq!(package.envelope().text(), text.replace("disks/Büro.vmdk", "disk-1.vmdk"));
        assert!(is_valid(&world.path(descriptor)).await);
    }
}

/// Names that files have here until they are proven.
#[tokio::test]
async fn no_file_of_a_package_takes_the_place_of_another() {
    for other in ["a.vmdk", "web.ovf", "web.mf"] {
        let world = World::new();
        let files = world.files();
        let first = format!("{other}.partial");
        let mut text = fs::read_to_string(world.descriptor()).unwrap();
        for (name, new) in [(&*files[2].0, &*first), (&*files[3].0, "a.vmdk")] {
            fs::rename(world.path("in").join(name), world.path("in").join(new)).unwrap();
            text = text.replace(name, new);
        }
        fs::write(world.descriptor(), &text).unwrap();
        fs::remove_file(world.path("in/web.mf")).unwrap();
        let mut convert = convert(&world.descriptor(), world.path("out"));
        convert.overwrite = true;
        let report = run(convert).await.unwrap();
        let names: Vec<&str> = report.files.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(names, ["disk-1.bin", "a.vmdk"]);
        assert!(is_valid(&world.path("out/web/web.ovf")).await, "{first}");
        let second = fs::read(world.path("out/web/a.vmdk")).unwrap();
        assert!(second == files[3].1, "{first}");
    }
}

#[tokio::test]
async fn nothing_is_written_over_that_is_not_to_be() {
    let world = World::new();
    let refused = async |convert: Convert, words: &str| {
        let error = run(convert).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let over = |out: &Path| {
        let mut convert = convert(&world.descriptor(), out);
        convert.overwrite = true;
        convert
    };
    refused(over(&world.descriptor()), "the package itself").await;
    refused(over(&world.path("in/other.ovf")), "lies beside the package").await;
    let ova = world.path("web.ova");
    fs::write(&ova, "old").unwrap();
    refused(convert(&world.descriptor(), &ova), "exists").await;
    assert_eq!(fs::read(&ova).unwrap(), b"old");
    run(over(&ova)).await.unwrap();
    assert!(is_valid(&ova).await);
    let mut itself = convert(&ova, &ova);
    itself.overwrite = true;
    refused(itself, "the package itself").await;
    // A file of the package, not only the descriptor.
    let folder = world.path("out");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(&world.files()[3].0), "mine").unwrap();
    refused(convert(&ova, folder.join("web.ovf")), "exists").await;
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    run(over(&folder.join("web.ovf"))).await.unwrap();
    assert!(is_valid(&folder.join("web.ovf")).await);
}

/// A store whose disk is full after some bytes.
#[derive(Debug)]
struct Full;

#[derive(Debug)]
struct FullSink(usize);

impl Store for Full {
    fn create<'a>(&'a self, _file: &'a FileName) -> BoxFuture<'a, io::Result<Box<dyn Sink>>> {
        async { Ok(Box::new(FullSink(100_000)) as Box<dyn Sink>) }.boxed()
    }

    fn remove<'a>(&'a self, _file: &'a FileName) -> BoxFuture<'a, io::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

impl Sink for FullSink {
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        let len: usize = batch.iter().map(Bytes::len).sum();
        let left = self.0.checked_sub(len);
        self.0 = left.unwrap_or_default();
        let outcome = left.map(|_| ()).ok_or_else(|| io::ErrorKind::StorageFull.into());
        std::future::ready(outcome).boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn commit(self: Box<Self>, _proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

#[tokio::test]
async fn a_full_disk_is_told_as_such() {
    let world = World::new();
    let output = Output::Store(Arc::new(Full));
    let error = run(convert(&world.descriptor(), output)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.chain());
}

#[tokio::test]
async fn a_cancelled_conversion_leaves_nothing() {
    let world = World::new();
    let files = world.files();
    let whole = archive(files.iter().map(|(name, content)| (&**name, &**content)));
    for out in ["out.ova", "out", "deep/er/out.ovf"] {
        // The first disk and a half, and then nothing any more.
        let half = stream(&whole[..whole.len() - 200_000]);
        let endless = half.chain(futures::stream::pending()).boxed();
        let package = Package::from_stream(endless, "a pipe").await.unwrap();
        let running =
            Convert::new(package, world.path(out)).plan().await.unwrap().start(Options::default());
        let meter = running.meter();
        while meter.bytes() < 300_000 {
            tokio::task::yield_now().await;
        }
        assert!(!world.others().is_empty(), "something is under way");
        running.cancel();
        let error = running.finish().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        assert_eq!(world.others(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_the_manifest_leaves_out_or_names_in_vain_is_told() {
    let world = World::new();
    let files = world.files();
    let mut manifest = Manifest::new();
    let old = Manifest::parse(&files[1].1).unwrap();
    for entry in &old.entries()[..2] {
        manifest.push(entry.file().clone(), *entry.digest()).unwrap();
    }
    let stranger = FileName::new("notes.txt").unwrap();
    manifest.push(stranger.clone(), *old.entries()[0].digest()).unwrap();
    fs::write(world.path("in/web.mf"), manifest.to_bytes()).unwrap();
    let report = run(convert(&world.descriptor(), world.path("out.ova"))).await.unwrap();
    let unlisted = FileName::new(&*files[3].0).unwrap();
    assert_eq!(
        report.repairs,
        [Repair::LeftOut { file: stranger }, Repair::Unlisted { file: unlisted }]
    );
    assert!(is_valid(&world.path("out.ova")).await);
}

/// A key, and its certificate, which is its own authority.
fn key() -> Arc<SigningKey> {
    let pair = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    let pem = pair.serialize_pem() + &certificate.pem();
    Arc::new(SigningKey::read(pem.as_bytes(), None, None).unwrap())
}

#[tokio::test]
async fn a_signature_is_made_kept_or_left_out() {
    let world = World::new();
    let (ova, first) = (world.path("one/web.ova"), key());
    let mut signed = convert(&world.descriptor(), &ova);
    signed.signing_key = Some(Arc::clone(&first));
    assert!(run(signed).await.unwrap().is_signed);
    assert!(is_valid(&ova).await);
    let bytes = fs::read(&ova).unwrap();
    assert_eq!(members(&bytes)[..3], ["web.ovf", "web.mf", "web.cert"]);
    let fingerprint = |path: &Path| {
        let package = Package::open(path).unwrap();
        package.signature(&SignaturePolicy::default()).unwrap().map(|one| one.fingerprint)
    };
    assert_eq!(fingerprint(&ova), Some(first.fingerprint()));

    // As long as nothing changes it stays what it was, in whatever form.
    let folder = world.path("two/web.ovf");
    let report = run(convert(&ova, &folder)).await.unwrap();
    assert!(report.is_signed && report.repairs.is_empty(), "{:?}", report.repairs);
    let again = world.path("three/web.ova");
    run(convert(&folder, &again)).await.unwrap();
    assert!(fs::read(&again).unwrap() == bytes);

    // By another name or algorithm it is no signature any more, unless somebody signs again.
    let other = world.path("other.ova");
    for (key, algorithm) in [
        (None, DigestAlgorithm::Sha256),
        (None, DigestAlgorithm::Sha512),
        (Some(key()), DigestAlgorithm::Sha512),
    ] {
        let mut convert = convert(&ova, &other);
        (convert.algorithm, convert.signing_key, convert.overwrite) = (algorithm, key, true);
        let signer = convert.signing_key.clone();
        let report = run(convert).await.unwrap();
        assert_eq!(report.is_signed, signer.is_some());
        assert_eq!(report.repairs.contains(&Repair::Signature), signer.is_none());
        assert_eq!(fingerprint(&other), signer.as_deref().map(SigningKey::fingerprint));
    }
    let package = Package::from_stream(stream(&bytes), "a pipe").await.unwrap();
    let mut piped = Convert::new(package, &other);
    piped.overwrite = true;
    assert_eq!(run(piped).await.unwrap().repairs, [Repair::Signature]);

    // One that does not fit is an error.
    let certificate = folder.with_extension("cert");
    let forged = fs::read_to_string(&certificate).unwrap();
    let (start, digit) = forged.split_at(forged.find(")= ").unwrap() + 3);
    let turned = if digit.starts_with('3') { "4" } else { "3" };
    fs::write(&certificate, format!("{start}{turned}{}", &digit[1..])).unwrap();
    let error = run(convert(&folder, world.path("never.ova"))).await.unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error}");
    let mut taken = convert(&folder, world.path("taken.ova"));
    taken.rehash = true;
    assert_eq!(run(taken).await.unwrap().repairs, [Repair::Signature]);
}

/// The package with its first disk in chunks and its second one compressed.
fn packed(world: &World) -> String {
    let files = world.files();
    let (first, second) = (&files[2], &files[3]);
    let folder = world.path("in");
    let before = fs::read_to_string(world.descriptor()).unwrap();
    let mut manifest = Manifest::new();
    let mut names = Vec::new();
    for (number, chunk) in first.1.chunks(100_000).enumerate() {
        let name = format!("{}.{number:09}", first.0);
        fs::write(folder.join(&name), chunk).unwrap();
        names.push(name);
    }
    let zipped = format!("{}.gz", second.0);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, &second.1).unwrap();
    let content = encoder.finish().unwrap();
    fs::write(folder.join(&zipped), &content).unwrap();
    names.push(zipped.clone());
    let named = |name: &str, more: &str| format!("ovf:href=\"{name}\"{more}");
    let after = before
        .replace(&named(&first.0, ""), &named(&first.0, " ovf:chunkSize=\"100000\""))
        .replace(&named(&second.0, ""), &named(&zipped, " ovf:compression=\"gzip\""));
    assert!(after.contains("chunkSize") && after.contains("gzip"), "{after}");
    fs::write(world.descriptor(), after).unwrap();
    for (name, _) in [first, second] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    for name in std::iter::once("web.ovf").chain(names.iter().map(String::as_str)) {
        let content = fs::read(folder.join(name)).unwrap();
        let digest = sha256(&content);
        manifest.push(FileName::new(name).unwrap(), digest).unwrap();
    }
    fs::write(folder.join("web.mf"), manifest.to_bytes()).unwrap();
    before
}

fn sha256(content: &[u8]) -> ovftransfer::Digest {
    use sha2::Digest as _;

    let digest = sha2::Sha256::digest(content);
    ovftransfer::Digest::new(DigestAlgorithm::Sha256, &digest).unwrap()
}

#[tokio::test]
async fn chunks_are_joined_and_compressed_files_inflated() {
    let world = World::new();
    let disks: Vec<(String, Vec<u8>)> = world.files().split_off(2);
    let straight = packed(&world);
    let expected: Vec<Repair> = disks
        .iter()
        .map(|(name, _)| FileName::new(&**name).unwrap())
        .zip([true, false])
        .flat_map(|(file, is_first)| match is_first {
            true => vec![Repair::Joined { file }],
            false => {
                let from = FileName::new(format!("{file}.gz")).unwrap();
                vec![Repair::Inflated { file: file.clone() }, Repair::Name { from, to: file }]
            }
        })
        .collect();
    // From a folder, and from an archive that comes as a stream.
    let folder = world.path("in");
    let package = Package::open(&world.descriptor()).unwrap();
    let parts = package.envelope().references().iter().map(|one| one.href().as_str().to_owned());
    let chunks = (0..).map(|number| format!("{}.{number:09}", disks[0].0));
    let chunks = chunks.take_while(|name| folder.join(name).exists());
    let names = ["web.ovf", "web.mf"].into_iter().map(str::to_owned);
    let names: Vec<String> = names.chain(chunks).chain(parts.skip(1)).collect();
    let content: Vec<Vec<u8>> =
        names.iter().map(|name| fs::read(folder.join(name)).unwrap()).collect();
    let bytes = archive(names.iter().map(String::as_str).zip(content.iter().map(Vec::as_slice)));
    let streamed = Package::from_stream(stream(&bytes), "a pipe").await.unwrap();
    for package in [package, streamed] {
        let out = world.path("out.ova");
        let report = run(Convert::new(package, &out)).await.unwrap();
        assert_eq!(report.repairs, expected);
        assert!(report.files.iter().all(|file| file.by_package), "{:?}", report.files);
        assert!(is_valid(&out).await);
        let package = Package::open(&out).unwrap();
        assert!(!package.envelope().text().contains("chunkSize"));
        // Blanks behind it, where the size of what was compressed has turned out shorter.
        assert_eq!(package.envelope().text().trim_end(), straight.trim_end());
        let back = world.path("back");
        run(convert(&out, back.join("web.ovf"))).await.unwrap();
        for (name, content) in &disks {
            assert!(fs::read(back.join(name)).unwrap() == *content, "{name}");
        }
        fs::remove_file(&out).unwrap();
        fs::remove_dir_all(back).unwrap();
    }

    // One byte of a chunk.
    let chunk = folder.join(format!("{}.000000001", disks[0].0));
    let mut content = fs::read(&chunk).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&chunk, content).unwrap();
    let error = run(convert(&world.descriptor(), world.path("out.ova"))).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::DigestMismatch | ErrorKind::Package),
        "{}",
        error.chain()
    );
    assert_eq!(world.others(), Vec::<String>::new());
}
