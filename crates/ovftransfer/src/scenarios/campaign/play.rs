//! Plays a script with the engine, from the lease to the names of the files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use tokio_util::sync::CancellationToken;

use super::ends::ALGORITHM;
use super::ends::PackageFile;
use super::ends::ScriptedStore;
use super::hosts::device;
use super::hosts::host_name;
use super::hosts::key;
use super::lease::ScriptedLease;
use super::script::CANCEL_SLOT;
use super::script::FilePlan;
use super::script::Into as Goes;
use super::script::Promised;
use super::script::Script;
use super::script::Way;
use super::universe::Listener;
use super::universe::Streams;
use super::universe::Universe;
use crate::artefact::Artefact;
use crate::artefact::Output;
use crate::artefact::Place;
use crate::error::Error;
use crate::governor::Governor;
use crate::governor::Limits;
use crate::hosts;
use crate::inspect::DiskCheck;
use crate::inspect::Hasher;
use crate::inspect::Inspect;
use crate::inspect::Position;
use crate::lease::Lease;
use crate::lease::LeaseApi;
use crate::meter::Meter;
use crate::server::Options;
use crate::server::server_algorithm;
use crate::store::device::DeviceDestination;
use crate::store::device::Upload;
use crate::store::faulty::Watch;
use crate::store::file::Existing;
use crate::store::papers::Papers;
use crate::store::pipe::Pipe;
use crate::transfer::Job;
use crate::transfer::Moved;
use crate::transfer::discard;
use crate::transfer::move_all;
use crate::transfer::run;
use crate::verify::Promise;

/// What came of a script.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) universe: Arc<Universe>,
    pub(super) outcome: Result<(), Error>,
    /// When the caller cancelled, and when all was over.
    pub(super) cancelled_ms: Option<u64>,
    pub(super) ended_ms: u64,
    /// The folder that took an export, with everything in it; or what went through the pipe.
    pub(super) folder: Option<tempfile::TempDir>,
    pub(super) piped: Vec<u8>,
    pub(super) meter: Arc<Meter>,
}

/// Plays a script to its end.
pub(super) async fn play(script: Script) -> Played {
    let streams = Streams::new(script.parallel, script.per_host);
    let governor = Governor::new(Limits::new(script.parallel, script.per_host));
    play_beside(script, streams, governor).await
}

/// The same beside others.
pub(super) async fn play_beside(
    script: Script,
    streams: Arc<Streams>,
    governor: Governor,
) -> Played {
    let universe = Universe::new(script, streams);
    let cancel = CancellationToken::new();
    let is_file =
        matches!(universe.script.way, Way::Export(Goes::Folder | Goes::Archive | Goes::Pipe));
    let folder = is_file.then(|| tempfile::tempdir().unwrap());
    let watch = folder.as_ref().map(|folder| {
        let universe = Arc::clone(&universe);
        Watch::new(folder.path(), move |operation, path| universe.touches(operation, path))
    });
    let piped = Piped::default();
    let meter = Arc::new(Meter::default());
    let engine = Engine {
        universe: Arc::clone(&universe),
        options: options(&universe, governor),
        meter: Arc::clone(&meter),
    };
    let transfer = async {
        match universe.script.way {
            Way::Import => engine.import(&cancel).await,
            Way::Export(into) => {
                let path = folder.as_ref().map(|folder| folder.path().to_owned());
                let output = match (into, path) {
                    (Goes::Store, _) | (_, None) => {
                        Output::Store(Arc::new(ScriptedStore(Arc::clone(&universe))))
                    }
                    (Goes::Folder, Some(path)) => Output::Folder(path.join("new/m.ovf")),
                    (Goes::Archive, Some(path)) => Output::Archive(path.join("new/m.ova")),
                    (Goes::Pipe, Some(_)) => Output::Pipe(Pipe::new(piped.clone())),
                };
                let spools = folder.as_ref().map(|folder| folder.path().to_owned());
                engine.export(output, spools, &cancel).await
            }
        }
    };
    let mut cancelled_ms = None;
    let outcome = {
        tokio::pin!(transfer);
        let caller = async {
            match universe.script.cancel {
                Some(planned) => {
                    universe.until(planned.at_ms).await;
                    universe.wait(0, CANCEL_SLOT).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            outcome = &mut transfer => outcome,
            () = caller => {
                cancelled_ms = Some(universe.now_ms());
                universe.hit("cancelled");
                cancel.cancel();
                transfer.await
            }
        }
    };
    drop((engine, watch));
    let ended_ms = universe.now_ms();
    let piped = std::mem::take(&mut *piped.0.lock().unwrap());
    Played { universe, outcome, cancelled_ms, ended_ms, folder, piped, meter }
}

fn options(universe: &Arc<Universe>, governor: Governor) -> Options {
    let script = &universe.script;
    Options {
        governor,
        verification: script.verification,
        retry_uploads: script.retry_uploads,
        stall: Duration::from_millis(script.stall_ms),
        observer: Arc::new(Listener(Arc::clone(universe))),
    }
}

#[derive(Clone, Debug, Default)]
struct Piped(Arc<Mutex<Vec<u8>>>);

impl io::Write for Piped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The engine's parts, put together as an import and an export put them together.
struct Engine {
    universe: Arc<Universe>,
    options: Options,
    meter: Arc<Meter>,
}

impl Engine {
    async fn lease(&self, cancel: &CancellationToken) -> Result<Lease<crate::lease::Ready>, Error> {
        let api: Arc<dyn LeaseApi> = Arc::new(ScriptedLease(Arc::clone(&self.universe)));
        Lease::new(api, Arc::clone(&self.options.observer)).ready(cancel).await
    }

    async fn import(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let lease = self.lease(cancel).await?;
        let moved = run(lease, &self.meter, cancel, |api, scope| async move {
            let by_server = self.prepare(&api, &scope).await?;
            let jobs = self.jobs(|file| self.upload(file, by_server));
            let moved = move_all(jobs, &api, &self.options.shared_by_uploads(), &scope).await?;
            if scope.is_cancelled() { Err(Error::Cancelled) } else { Ok(moved) }
        })
        .await?;
        for file in moved {
            file.sink.commit(&file.proof).await.unwrap();
        }
        Ok(())
    }

    async fn export(
        &self,
        output: Output,
        spools: Option<PathBuf>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let place = Place::resolve(output, "m");
        let artefact = place.create(Existing::Keep, spools).await?;
        let moved = match self.lease(cancel).await {
            Ok(lease) => {
                let artefact = &artefact;
                run(lease, &self.meter, cancel, |api, scope| async move {
                    self.download(artefact, &api, &scope).await
                })
                .await
            }
            Err(error) => Err(error),
        };
        match moved {
            Ok(moved) => {
                let moved = moved.into_iter().map(Into::into).collect();
                artefact.publish(moved).await.map(|_| ())
            }
            Err(error) => {
                artefact.discard().await;
                Err(error)
            }
        }
    }

    async fn download(
        &self,
        artefact: &Artefact,
        api: &Arc<dyn LeaseApi>,
        scope: &CancellationToken,
    ) -> Result<Vec<Moved>, Error> {
        let descriptor = name("m.ovf");
        let files = &self.universe.script.files;
        let names: Vec<FileName> = files.iter().map(|file| name(&file.name)).collect();
        artefact.reserve(&descriptor, names.clone(), ALGORITHM, None).await?;
        let by_server = self.prepare(api, scope).await?;
        let jobs = self.jobs(|file| self.fetch(file, artefact, by_server));
        let moved = move_all(jobs, api, &self.options.shared(), scope).await?;
        let digests: Vec<(FileName, Digest)> = moved
            .iter()
            .map(|one| {
                let digest = one.digests.iter().find(|digest| digest.algorithm() == ALGORITHM);
                (one.proof.file().clone(), *digest.unwrap())
            })
            .collect();
        let staged = async {
            let order = artefact.order(names).await?;
            let text = format!("<Envelope>{order:?}</Envelope>").into_bytes();
            let bytes = artefact.fit(text).await?;
            let mut manifest = Manifest::new();
            manifest.push(descriptor.clone(), Hasher::digest(ALGORITHM, &bytes)).unwrap();
            for (file, digest) in digests {
                manifest.push(file, digest).unwrap();
            }
            artefact.stage(Papers::new(descriptor, bytes, manifest.to_bytes())?).await
        };
        match staged.await {
            Ok(()) if !scope.is_cancelled() => Ok(moved),
            staged => {
                discard(moved).await;
                Err(staged.err().unwrap_or(Error::Cancelled))
            }
        }
    }

    async fn prepare(
        &self,
        api: &Arc<dyn LeaseApi>,
        scope: &CancellationToken,
    ) -> Result<Option<DigestAlgorithm>, Error> {
        let files = &self.universe.script.files;
        let devices: Vec<_> = files.iter().map(|file| device(&self.universe, file)).collect();
        hosts::check(devices, &self.options.observer, scope).await?;
        let keys: Vec<_> = files.iter().map(key).collect();
        server_algorithm(&**api, &keys, &self.options, scope).await
    }

    /// One lane for each file, but deltas go behind what they build on.
    fn jobs(&self, job: impl Fn(&FilePlan) -> Job) -> Vec<Vec<Job>> {
        let mut lanes: Vec<Vec<Job>> = Vec::new();
        for file in &self.universe.script.files {
            match lanes.last_mut() {
                Some(lane) if file.is_delta => lane.push(job(file)),
                _ => lanes.push(vec![job(file)]),
            }
        }
        lanes
    }

    fn fetch(
        &self,
        file: &FilePlan,
        artefact: &Artefact,
        by_server: Option<DigestAlgorithm>,
    ) -> Job {
        let inspect =
            Inspect { algorithms: vec![ALGORITHM], disk: DiskCheck::structure(file.is_disk) };
        let (destination, sink_at) = artefact.destination(&name(&file.name));
        Job {
            source: Arc::new(device(&self.universe, file)),
            source_at: format!("{}:443", host_name(file.host)),
            destination,
            sink_at,
            inspect: by_server.into_iter().fold(inspect, Inspect::also),
            position: if file.is_disk { Position::Disk } else { Position::Bytes },
            promised: Promise::Nothing,
            ..self.job(file)
        }
    }

    fn upload(&self, file: &FilePlan, by_server: Option<DigestAlgorithm>) -> Job {
        let promised = match file.promise {
            Promised::Nothing => None,
            Promised::Right => Some(Hasher::digest(ALGORITHM, &file.content)),
            Promised::Wrong => Some(Hasher::digest(ALGORITHM, b"something else")),
        };
        let inspect = Inspect {
            algorithms: promised.iter().map(Digest::algorithm).collect(),
            disk: DiskCheck::structure(file.is_disk),
        };
        Job {
            inspect: inspect.also(by_server.unwrap_or(ALGORITHM)),
            promised: promised.into(),
            ..self.job(file)
        }
    }

    /// The upload of a file without any promise.
    fn job(&self, file: &FilePlan) -> Job {
        let host = format!("{}:443", host_name(file.host));
        let world = Arc::clone(&self.universe);
        Job {
            file: name(&file.name),
            key: key(file),
            host: host.clone(),
            source: Arc::new(PackageFile { world, name: file.name.clone() }),
            source_at: "m.ovf".to_owned(),
            destination: Arc::new(DeviceDestination {
                device: device(&self.universe, file),
                upload: if file.is_disk { Upload::Disk } else { Upload::Create },
                len_bytes: file.len_bytes(),
            }),
            sink_at: host,
            inspect: Inspect { algorithms: Vec::new(), disk: DiskCheck::None },
            position: Position::Bytes,
            promised: Promise::Nothing,
            meter: self.meter.add_file(&name(&file.name), file.len_bytes()),
            conversion: None,
            written: None,
        }
    }
}

pub(super) fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}
