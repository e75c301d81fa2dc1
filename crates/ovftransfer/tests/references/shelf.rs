//! A package in memory whose files are cut, compressed and renamed, and all places to read it from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Cursor;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use ovftransfer::ByteStream;
use ovftransfer::Envelope;
use ovftransfer::Error;
use ovftransfer::FetchOptions;
use ovftransfer::FileName;
use ovftransfer::Package;
use ovftransfer::PackageFiles;
use ovftransfer::Source;
use ovftransfer::read_stream;
use ovftransfer_ovf::ova::Writer;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::Data;
use ovftransfer_simulator::scenario::DataKind;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Machine;
use sha2::Digest;
use sha2::Sha256;

use super::server::Reply;
use super::server::WebServer;
use super::server::ranges;

pub(crate) const ETAG: &str = "\"one\"";

/// A machine with two disks.
pub(crate) fn appliance() -> Appliance {
    let mut machine = Machine::new("packed");
    for seed in [1, 2] {
        let data = Data::new(DataKind::Random, 192 << 10, seed);
        machine.disks.push(DiskSpec::new(16 << 20).with_data(data));
    }
    machine.networks = vec!["VM Network".to_owned()];
    Appliance::new(machine)
}

pub(crate) fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Files in the order of an archive: descriptor, manifest, the others.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Whether the manifest stands at the end of an archive.
    pub(crate) late_manifest: bool,
}

impl Shelf {
    /// The machine's package as everybody writes it.
    pub(crate) fn plain() -> Self {
        let folder = tempfile::tempdir().unwrap();
        appliance().write_folder(folder.path()).unwrap();
        let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(path).unwrap())
            })
            .collect();
        files.sort();
        let rank = |name: &str| match name.rsplit_once('.').unwrap().1 {
            "ovf" => 0,
            "mf" => 1,
            _ => 2,
        };
        files.sort_by_key(|(name, _)| rank(name));
        Self { files, late_manifest: false }
    }

    pub(crate) fn get(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.files.iter_mut().find(|(known, _)| known == name).unwrap().1
    }

    pub(crate) fn envelope(&self) -> Envelope {
        Envelope::parse_with_urls(self.files[0].1.clone()).unwrap()
    }

    pub(crate) fn remove(mut self, name: &str) -> Self {
        let before = self.files.len();
        self.files.retain(|(known, _)| known != name);
        assert_eq!(self.files.len(), before - 1, "{name}");
        self
    }

    /// Puts files into the place of a disk's, counted from 0.
    fn replace(&mut self, disk: usize, stored: Vec<(String, Vec<u8>)>) {
        let envelope = self.envelope();
        let old = envelope.references()[disk].href().as_str().to_owned();
        let at = self.files.iter().position(|(name, _)| *name == old).unwrap();
        self.files.splice(at..=at, stored);
    }

    fn content(&self, disk: usize) -> (String, String, Vec<u8>) {
        let envelope = self.envelope();
        let reference = &envelope.references()[disk];
        let href = reference.href().as_str().to_owned();
        let (_, bytes) = self.files.iter().find(|(name, _)| *name == href).unwrap();
        (reference.id().to_owned(), href.clone(), bytes.clone())
    }

    /// Stores a disk under another name, of which the descriptor says `href`.
    pub(crate) fn renamed(mut self, disk: usize, stored: &str, href: &str) -> Self {
        let (id, _, bytes) = self.content(disk);
        self.replace(disk, vec![(stored.to_owned(), bytes)]);
        let edited = self.envelope().edit().file_href(&id, &name(href)).apply().unwrap();
        self.files[0].1 = edited.bytes().to_vec();
        self.signed()
    }

    /// Stores a disk compressed, in chunks if `chunk_bytes` says so.
    pub(crate) fn packed(mut self, disk: usize, is_gzip: bool, chunk_bytes: Option<usize>) -> Self {
        let (id, href, bytes) = self.content(disk);
        let bytes = if is_gzip { gzip(&bytes) } else { bytes };
        let size_bytes = bytes.len() as u64;
        let stored = match chunk_bytes {
            None => vec![(href, bytes)],
            Some(len) => (0..)
                .zip(bytes.chunks(len))
                .map(|(number, chunk)| (format!("{href}.{number:09}"), chunk.to_vec()))
                .collect(),
        };
        self.replace(disk, stored);
        let envelope = self.envelope();
        let mut edit = envelope.edit();
        edit.file_size(&id, Some(size_bytes));
        edit.file_compression(&id, is_gzip.then_some("gzip"));
        edit.file_chunk_size(&id, chunk_bytes.map(|len| len as u64));
        self.files[0].1 = edit.apply().unwrap().bytes().to_vec();
        self.signed()
    }

    /// Changes the text of the descriptor.
    pub(crate) fn edited(mut self, edit: impl FnOnce(String) -> String) -> Self {
        let text = String::from_utf8(self.files[0].1.clone()).unwrap();
        self.files[0].1 = edit(text).into_bytes();
        self.signed()
    }

    /// Writes the manifest anew, of what is there; what it says about files elsewhere stays.
    pub(crate) fn signed(mut self) -> Self {
        let line = |(name, bytes): &(String, Vec<u8>)| {
            let digest = Sha256::digest(bytes);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("SHA256({name})= {hex}\n")
        };
        let listed = self.files.iter().filter(|(name, _)| !name.ends_with(".mf"));
        let old = String::from_utf8(self.files[1].1.clone()).unwrap();
        let elsewhere = old.lines().filter(|line| line.contains("://"));
        let elsewhere: String = elsewhere.map(|line| format!("{line}\n")).collect();
        let text = listed.map(line).collect::<String>() + &elsewhere;
        self.files[1].1 = text.into_bytes();
        self
    }

    /// Has the manifest say something else about a file.
    pub(crate) fn lying(mut self, file: &str) -> Self {
        let manifest = &mut self.files[1].1;
        let text = String::from_utf8(manifest.clone()).unwrap();
        let at = text.find(&format!("({file})= ")).unwrap() + file.len() + 4;
        manifest[at] = if manifest[at] == b'0' { b'1' } else { b'0' };
        self
    }

    pub(crate) fn without_manifest(mut self) -> Self {
        self.files.remove(1);
        self
    }

    pub(crate) fn descriptor(&self) -> FileName {
        name(&self.files[0].0)
    }

    pub(crate) fn write_folder(&self, folder: &Path) {
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    pub(crate) fn ova(&self) -> Vec<u8> {
        let mut files: Vec<&(String, Vec<u8>)> = self.files.iter().collect();
        let manifest = files.iter().position(|(name, _)| name.ends_with(".mf"));
        if let Some(at) = manifest.filter(|_| self.late_manifest) {
            let manifest = files.remove(at);
            files.push(manifest);
        }
        let mut writer = Writer::new(Vec::new());
        for (file, bytes) in files {
            writer.append(&name(file), bytes.len() as u64, &mut bytes.as_slice()).unwrap();
        }
        writer.finish().unwrap()
    }

    /// A web server with the files, below `/p/`.
    pub(crate) fn served(&self) -> WebServer {
        let files: BTreeMap<String, Vec<u8>> = self.files.iter().cloned().collect();
        WebServer::plain(move |seen| {
            let path = seen.path.strip_prefix("/p/").unwrap_or_default().replace("%20", " ");
            match files.get(&path.replace("%25", "%")) {
                Some(bytes) => ranges(seen, bytes, ETAG),
                None => Reply::status(404),
            }
        })
    }

    /// The package, opened in each way that there is.
    pub(crate) async fn open(&self, place: Place) -> Result<Opened, Error> {
        let folder = tempfile::tempdir().unwrap();
        let mut server = None;
        let package = match place {
            Place::Folder => {
                self.write_folder(folder.path());
                Package::open(&folder.path().join(self.descriptor().as_str()))?
            }
            Place::Ova => {
                let path = folder.path().join("x.ova");
                fs::write(&path, self.ova()).unwrap();
                Package::open(&path)?
            }
            Place::Pipe => {
                let stream = read_stream(Cursor::new(self.ova())).unwrap();
                Package::from_stream(stream, "the pipe").await?
            }
            Place::Web => {
                let served = self.served();
                let url = served.url(&format!("/p/{}", self.descriptor()));
                server = Some(served);
                Package::fetch(&url.parse().unwrap(), &FetchOptions::default()).await?
            }
            Place::WebOva => {
                let ova = self.ova();
                let served = WebServer::plain(move |seen| ranges(seen, &ova, ETAG));
                let url = served.url("/x.ova");
                server = Some(served);
                Package::fetch(&url.parse().unwrap(), &FetchOptions::default()).await?
            }
            Place::Custom => Package::from_files(self, &self.descriptor()).await?,
        };
        Ok(Opened { package, _folder: folder, _server: server })
    }
}

/// A package, and what it needs to be read.
pub(crate) struct Opened {
    pub(crate) package: Package,
    _folder: tempfile::TempDir,
    _server: Option<WebServer>,
}

/// Where a package is read from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Folder,
    Ova,
    Pipe,
    Web,
    WebOva,
    Custom,
}

impl Place {
    /// Where the manifest may stand that makes a difference: whether it is late.
    pub(crate) fn orders(self) -> &'static [bool] {
        if self == Self::Pipe { &[false, true] } else { &[false] }
    }
}

pub(crate) const PLACES: [Place; 6] =
    [Place::Folder, Place::Ova, Place::Pipe, Place::Web, Place::WebOva, Place::Custom];

impl PackageFiles for Shelf {
    fn location(&self) -> String {
        "the shelf".to_owned()
    }

    fn find<'a>(
        &'a self,
        file: &'a FileName,
    ) -> BoxFuture<'a, io::Result<Option<Arc<dyn Source>>>> {
        let found = self.files.iter().find(|(name, _)| name == file.as_str());
        let found = found.map(|(_, bytes)| Arc::new(Stored(bytes.clone())) as Arc<dyn Source>);
        async { Ok(found) }.boxed()
    }
}

#[derive(Debug)]
struct Stored(Vec<u8>);

impl Source for Stored {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let chunks: Vec<_> = self.0.chunks(60_000).map(|chunk| Ok(chunk.to_vec().into())).collect();
        async { Ok(futures::stream::iter(chunks).boxed()) }.boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}
