//! The package that is imported, and the store that takes an export.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;

use super::hosts::pause_ms;
use super::script::FilePlan;
use super::script::SinkTrouble;
use super::script::SourceTrouble;
use super::universe::OnServer;
use super::universe::Universe;
use crate::inspect::Hasher;
use crate::store::ByteStream;
use crate::store::Sink;
use crate::store::Source;
use crate::store::Store;
use crate::verify::Verified;

/// A file of the package.
#[derive(Debug)]
pub(super) struct PackageFile {
    pub(super) world: Arc<Universe>,
    pub(super) name: String,
}

impl Source for PackageFile {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let world = Arc::clone(&self.world);
        let file = world.file(&self.name);
        let attempt = world.opens(file, "package");
        if world.fails("open the package") {
            return std::future::ready(Err(io::Error::from_raw_os_error(5))).boxed();
        }
        let trouble = match (file.source, attempt) {
            (Some(SourceTrouble::Open), 1) => {
                world.hit("package cannot be opened");
                let error = io::Error::from_raw_os_error(5);
                return std::future::ready(Err(error)).boxed();
            }
            (Some(SourceTrouble::Once), 2..) => {
                world.hit("package can be read once");
                return std::future::ready(Err(io::ErrorKind::Unsupported.into())).boxed();
            }
            (Some(SourceTrouble::Stall(_)), 2..) => None,
            (trouble, _) => trouble,
        };
        let read = (Arc::clone(&world), self.name.clone(), trouble, 0_u64);
        let stream = futures::stream::unfold(read, |(world, name, trouble, at_byte)| async move {
            let file = world.file(&name);
            world.wait(pause_ms(file, at_byte), file.slot).await;
            let fails = world.fails("read the package");
            match trouble.filter(|_| !fails).or(fails.then_some(SourceTrouble::Read(0))) {
                Some(SourceTrouble::Read(at)) if at <= at_byte => {
                    world.hit("package cannot be read");
                    let error = io::Error::from_raw_os_error(5);
                    let over = (Arc::clone(&world), name.clone(), None, file.len_bytes());
                    return Some((Err(error), over));
                }
                Some(SourceTrouble::Stall(at)) if at <= at_byte => {
                    world.hit("package stalls");
                    return std::future::pending().await;
                }
                _ => {}
            }
            let from = usize::try_from(at_byte).unwrap();
            let end = (from + file.piece_bytes()).min(file.content.len());
            let chunk = (from < end).then(|| file.content.slice(from..end))?;
            Some((Ok(chunk), (Arc::clone(&world), name.clone(), trouble, end as u64)))
        });
        std::future::ready(Ok(stream.boxed())).boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.world.file(&self.name).len_bytes())
    }
}

/// The store that takes an export.
#[derive(Debug)]
pub(super) struct ScriptedStore(pub(super) Arc<Universe>);

impl Store for ScriptedStore {
    fn create<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<Box<dyn Sink>>> {
        let world = Arc::clone(&self.0);
        let plan = plan_of(&world, file);
        let attempt = {
            let mut state = world.lock();
            let count = state.opened.entry((file.to_string(), "store")).or_default();
            *count += 1;
            *count
        };
        let trouble = match plan {
            Some(plan) => plan.sink,
            None if file.has_extension("ovf") => world.script.papers,
            None => None,
        };
        if world.fails("create") {
            return std::future::ready(Err(io::Error::from_raw_os_error(5))).boxed();
        }
        if let Some(SinkTrouble::Create(errno)) = trouble {
            world.hit("store creates nothing");
            return std::future::ready(Err(errno.error())).boxed();
        }
        let trouble = trouble.filter(|trouble| *trouble != SinkTrouble::Stall || attempt == 1);
        world.lock().open_sinks += 1;
        let sink = ScriptedSink { world, file: file.clone(), trouble, bytes: Vec::new() };
        std::future::ready(Ok(Box::new(sink) as Box<dyn Sink>)).boxed()
    }

    fn remove<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<()>> {
        self.0.lock().there.remove(file);
        std::future::ready(Ok(())).boxed()
    }
}

fn plan_of<'w>(world: &'w Universe, file: &FileName) -> Option<&'w FilePlan> {
    world.script.files.iter().find(|plan| plan.name == file.as_str())
}

#[derive(Debug)]
struct ScriptedSink {
    world: Arc<Universe>,
    file: FileName,
    trouble: Option<SinkTrouble>,
    bytes: Vec<u8>,
}

impl Sink for ScriptedSink {
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        if self.world.fails("write") {
            return std::future::ready(Err(io::Error::from_raw_os_error(5))).boxed();
        }
        match self.trouble {
            Some(SinkTrouble::Write(errno)) => {
                self.world.hit("store takes no byte");
                return std::future::ready(Err(errno.error())).boxed();
            }
            Some(SinkTrouble::Stall) => {
                self.world.hit("store stalls");
                return std::future::pending().boxed();
            }
            _ => {}
        }
        batch.iter().for_each(|chunk| self.bytes.extend_from_slice(chunk));
        std::future::ready(Ok(())).boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        if self.world.fails("sync") {
            return std::future::ready(Err(io::Error::from_raw_os_error(5))).boxed();
        }
        if self.trouble == Some(SinkTrouble::Finish) {
            self.world.hit("store cannot sync");
            return std::future::ready(Err(io::Error::from_raw_os_error(5))).boxed();
        }
        std::future::ready(Ok(())).boxed()
    }

    fn commit(self: Box<Self>, proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        self.world.lock().open_sinks -= 1;
        self.check(proof);
        let fails = self.world.fails("commit");
        let outcome = if fails || self.trouble == Some(SinkTrouble::Commit) {
            self.world.hit("store gives no name");
            Err(io::Error::from_raw_os_error(5))
        } else {
            self.world.note(self.file.as_str(), "commit");
            self.world.lock().there.insert(self.file.clone(), self.bytes.into());
            Ok(())
        };
        std::future::ready(outcome).boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        self.world.lock().open_sinks -= 1;
        self.world.note(self.file.as_str(), "abort");
        if self.trouble == Some(SinkTrouble::Abort) {
            self.world.hit("store removes nothing");
            return std::future::ready(Err(io::Error::from_raw_os_error(5))).boxed();
        }
        std::future::ready(Ok(())).boxed()
    }
}

impl ScriptedSink {
    /// Nothing gets its name without a proof of what it holds, and of the whole.
    fn check(&self, proof: &Verified) {
        let algorithm = proof.digest().algorithm();
        let is_of_this = *proof.digest() == Hasher::digest(algorithm, &self.bytes)
            && proof.bytes() == self.bytes.len() as u64;
        if !is_of_this {
            self.world.broken(format!("{}: committed by the proof of something else", self.file));
        }
        let (lease, is_described) = {
            let state = self.world.lock();
            (state.lease, state.there.keys().any(|file| file.has_extension("ovf")))
        };
        if lease != OnServer::Completed {
            self.world.broken(format!("{}: committed while the lease is {lease:?}", self.file));
        }
        if is_described {
            self.world.broken(format!("{}: committed after the descriptor", self.file));
        }
    }
}

/// The algorithm of the packages here.
pub(super) const ALGORITHM: DigestAlgorithm = DigestAlgorithm::Sha256;
