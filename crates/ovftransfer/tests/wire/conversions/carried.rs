//! Disks of other formats that do not lie in a folder: in an OVA, on a web server, in a stream.

use std::io::Cursor;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt as _;
use ovftransfer::FetchOptions;
use ovftransfer::FileName;
use ovftransfer::read_stream;
use ovftransfer_ovf::ova::Writer;

use super::*;
use crate::web_server::Reply;
use crate::web_server::WebServer;
use crate::web_server::ranges;
use crate::web_server::whole;

const ETAG: &str = "\"one\"";

/// Where the manifest of an OVA stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Manifest {
    First,
    Last,
}

impl Shop {
    /// Two raw disks, a qcow2 one, a sparse VMDK and one that is sent as it is.
    async fn mixed(wire: Wire) -> Option<Self> {
        let shop = Self::new(wire, 5).await;
        shop.to_raw(0);
        shop.by_qemu(1, "qcow2", "compat=1.1", "qcow2")?;
        shop.by_qemu(2, "vmdk", "subformat=monolithicSparse", "vmdk")?;
        shop.to_raw(3);
        shop.say_formats();
        shop.seal();
        Some(shop)
    }

    /// Has the descriptor name the formats that the first four disks have.
    fn say_formats(&self) {
        for uri in [RAW, "urn:example:qcow2", "urn:example:vmdk#sparse", RAW] {
            self.edit(STREAM, uri);
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn ova(&self, manifest: Manifest) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        let mut names = self.names();
        let place = |name: &str| match name.rsplit_once('.').unwrap().1 {
            "ovf" => 0,
            "mf" if manifest == Manifest::First => 1,
            "mf" => 3,
            _ => 2,
        };
        names.sort_by_key(|name| place(name));
        for name in names {
            let content = fs::read(self.path(&name)).unwrap();
            let name = FileName::new(name).unwrap();
            writer.append(&name, content.len() as u64, &mut &content[..]).unwrap();
        }
        writer.finish().unwrap()
    }

    async fn import_package(&self, package: Package, name: &str) -> Result<Report, Error> {
        let mut import = Import::new(package, "/DC0/host/Cluster0");
        import.name = Some(name.to_owned());
        import.datastore = Some("datastore0".to_owned());
        import.spool_dir = Some(self.spool.path().to_owned());
        let plan = import.plan(&self.world.server).await?;
        plan.check()?;
        plan.start(options()).finish().await
    }

    fn assert_arrived_as(&self, name: &str, report: &Report) {
        assert_eq!(self.world.disks(name).unwrap(), self.world.disks("web").unwrap(), "{name}");
        self.assert_spool_empty();
        for file in &report.files {
            assert!(file.by_package && file.by_server, "{name}: {file:?}");
        }
        let converted = conversions(report);
        let kinds: Vec<DiskFileFormat> = converted.iter().map(|(_, one)| one.from).collect();
        use DiskFileFormat::Qcow2;
        use DiskFileFormat::Raw;
        use DiskFileFormat::SparseVmdk;
        assert_eq!(kinds, [Raw, Qcow2, SparseVmdk, Raw], "{name}");
        for (name, conversion) in converted {
            let from = &conversion.files[0];
            assert!(from.by_package && from.digests.contains(&self.sha256(&name)), "{from:?}");
        }
    }
}

async fn streamed(archive: Vec<u8>) -> Package {
    Package::from_stream(read_stream(Cursor::new(archive)).unwrap(), "the pipe").await.unwrap()
}

async fn fetched(server: &WebServer, path: &str) -> Package {
    Package::fetch(&server.url(path).parse().unwrap(), &FetchOptions::default()).await.unwrap()
}

#[tokio::test]
async fn disks_in_an_ova_arrive_from_a_file_a_web_server_and_a_stream() {
    let Some(shop) = Shop::mixed(Wire::Json).await else { return };
    let (early, late) = (shop.ova(Manifest::First), shop.ova(Manifest::Last));

    let path = shop.world.folder.path().join("mixed.ova");
    fs::write(&path, &early).unwrap();
    let report = shop.import_package(Package::open(&path).unwrap(), "file").await.unwrap();
    shop.assert_arrived_as("file", &report);

    let ova = early.clone();
    let server = WebServer::plain(move |seen| ranges(seen, &ova, ETAG));
    let package = fetched(&server, "/mixed.ova").await;
    assert!(!package.is_in_order());
    let report = shop.import_package(package, "ranges").await.unwrap();
    shop.assert_arrived_as("ranges", &report);

    let ova = early.clone();
    let server = WebServer::plain(move |_| whole(&ova));
    let package = fetched(&server, "/mixed.ova").await;
    assert!(package.is_in_order());
    let report = shop.import_package(package, "whole").await.unwrap();
    shop.assert_arrived_as("whole", &report);

    for (name, archive) in [("early", early), ("late", late)] {
        let report = shop.import_package(streamed(archive).await, name).await.unwrap();
        shop.assert_arrived_as(name, &report);
    }
}

#[tokio::test]
async fn disks_beside_a_descriptor_on_a_web_server_arrive() {
    let Some(shop) = Shop::mixed(Wire::Soap).await else { return };
    let folder = shop.folder.clone();
    let server = WebServer::plain(move |seen| match fs::read(folder.join(&seen.path[1..])) {
        Ok(content) => ranges(seen, &content, ETAG),
        Err(_) => Reply::status(404),
    });
    let report = shop.import_package(fetched(&server, "/web.ovf").await, "web-2").await.unwrap();
    shop.assert_arrived_as("web-2", &report);
}

/// A disk may take long until it can be sent; its lease is held meanwhile.
#[tokio::test]
async fn the_lease_is_held_while_a_disk_comes_slowly() {
    let shop = Shop::with(Wire::Json, 1, |scenario| scenario.lease_timeout_s = 2).await;
    shop.to_raw(0);
    shop.edit(STREAM, RAW);
    shop.seal();
    let archive = shop.ova(Manifest::First);
    let pieces: Vec<Bytes> = archive.chunks(64 << 10).map(Bytes::copy_from_slice).collect();
    // Twice as long as the lease lasts that nobody renews.
    let wait = Duration::from_secs(4) / u32::try_from(pieces.len()).unwrap();
    let slow = futures::stream::iter(pieces).then(move |piece| async move {
        tokio::time::sleep(wait).await;
        Ok(piece)
    });
    let package = Package::from_stream(slow.boxed(), "the pipe").await.unwrap();
    let report = shop.import_package(package, "again").await.unwrap();
    shop.assert_arrived();
    assert!(report.beats >= 4, "{report:?}");
}

/// What a stream brings is compared as strictly, wherever its manifest stands.
#[tokio::test]
async fn a_stream_whose_disk_is_not_that_of_the_manifest_leaves_nothing() {
    let Some(shop) = Shop::mixed(Wire::Json).await else { return };
    for name in ["web-disk-0.raw", "web-disk-1.qcow2", "web-disk-2.vmdk"] {
        let good = fs::read(shop.path(name)).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        fs::write(shop.path(name), bad).unwrap();
        for manifest in [Manifest::First, Manifest::Last] {
            let package = streamed(shop.ova(manifest)).await;
            let error = shop.import_package(package, "again").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{}", error.chain());
            assert!(error.to_string().starts_with(name), "{error}");
            shop.assert_gone();
        }
        fs::write(shop.path(name), good).unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_ends_in_a_disk_leaves_nothing() {
    let Some(shop) = Shop::mixed(Wire::Soap).await else { return };
    let archive = shop.ova(Manifest::First);
    let find = |name: &str| {
        let name = name.as_bytes();
        archive.chunks(512).position(|block| block.starts_with(name)).unwrap() * 512
    };
    for name in ["web-disk-0.raw", "web-disk-1.qcow2", "web-disk-2.vmdk"] {
        // In its first bytes, and further on.
        for bytes in [512 + 100, 512 + 70_000] {
            let package = streamed(archive[..find(name) + bytes].to_vec()).await;
            let error = shop.import_package(package, "again").await.unwrap_err();
            assert!(error.to_string().contains(name), "{}", error.chain());
            shop.assert_gone();
        }
    }
}

#[tokio::test]
async fn what_a_stream_cannot_give_is_refused_with_a_way_out() {
    let shop = Shop::new(Wire::Json, 2).await;
    shop.to_flat(0);
    shop.seal();
    let package = streamed(shop.ova(Manifest::First)).await;
    let error = shop.import_package(package, "again").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Package, "{}", error.chain());
    assert!(error.to_string().contains("save the package to a file first"), "{error}");
    shop.assert_gone();
    // Larger than the descriptor has room for.
    let shop = Shop::new(Wire::Json, 1).await;
    let raw = shop.to_raw(0);
    let content = fs::read(&raw).unwrap();
    fs::write(&raw, [&content[..], &[0; 512]].concat()).unwrap();
    shop.refer("web-disk-0.raw", "web-disk-0.raw");
    shop.edit(STREAM, RAW);
    shop.seal();
    let package = streamed(shop.ova(Manifest::First)).await;
    let error = shop.import_package(package, "again").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Package, "{}", error.chain());
    assert!(error.to_string().contains("room for 4194304"), "{error}");
    shop.assert_gone();
}

/// The descriptor is not believed in a stream either, once the bytes are there.
#[tokio::test]
async fn what_comes_is_judged_by_its_bytes() {
    let Some(shop) = Shop::mixed(Wire::Json).await else { return };
    // A raw one that is said to be a stream, and a stream that is said to be raw.
    shop.edit(RAW, STREAM);
    let text = fs::read_to_string(shop.path("web.ovf")).unwrap();
    let last = text.rfind(STREAM).unwrap();
    let text = format!("{}{RAW}{}", &text[..last], &text[last + STREAM.len()..]);
    fs::write(shop.path("web.ovf"), text).unwrap();
    shop.seal();
    let package = streamed(shop.ova(Manifest::Last)).await;
    let report = shop.import_package(package, "again").await.unwrap();
    shop.assert_arrived_as("again", &report);
}

#[tokio::test]
async fn a_compressed_raw_disk_arrives_from_a_stream() {
    let shop = Shop::new(Wire::Json, 1).await;
    let raw = shop.to_raw(0);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&fs::read(&raw).unwrap()).unwrap();
    fs::write(&raw, packed.finish().unwrap()).unwrap();
    shop.refer("web-disk-0.raw", "web-disk-0.raw");
    shop.edit(
        "ovf:href=\"web-disk-0.raw\"",
        "ovf:compression=\"gzip\" ovf:href=\"web-disk-0.raw\"",
    );
    shop.edit(STREAM, RAW);
    shop.seal();
    for manifest in [Manifest::First, Manifest::Last] {
        let name = format!("{manifest:?}");
        let package = streamed(shop.ova(manifest)).await;
        let report = shop.import_package(package, &name).await.unwrap();
        assert_eq!(shop.world.disks(&name).unwrap(), shop.world.disks("web").unwrap());
        assert!(report.files[0].by_package && report.files[0].by_server, "{report:?}");
        assert_eq!(conversions(&report)[0].1.from, DiskFileFormat::Raw);
        shop.assert_spool_empty();
    }
}
