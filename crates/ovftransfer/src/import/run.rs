//! An import that runs: lease, uploads, and the end of the lease.

use std::io;
use std::sync::Arc;

use futures::SinkExt;
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_vim::lease::LeaseInfo;
use ovftransfer_vim::value::MoRef;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::check::algorithms_in_order;
use crate::devices;
use crate::error::Error;
use crate::hosts;
use crate::import::ImportPlan;
use crate::import::after;
use crate::import::converting::Converted;
use crate::import::converting::Converter;
use crate::import::converting::Origin;
use crate::import::disks::SPOOLS_AT_ONCE;
use crate::import::earlier;
use crate::import::package::PlannedFile;
use crate::import::ports;
use crate::inspect::DiskCheck;
use crate::inspect::Inspect;
use crate::inspect::Position;
use crate::journal::Journal;
use crate::journal::record::Record;
use crate::kind::Conversion;
use crate::lease::Lease;
use crate::lease::LeaseApi;
use crate::meter::FileMeter;
use crate::meter::Meter;
use crate::report;
use crate::report::Report;
use crate::server::Options;
use crate::server::server_algorithm;
use crate::server::warn;
use crate::server::warn_of;
use crate::settle::Asked;
use crate::store::ByteStream;
use crate::store::Source;
use crate::store::device::DeviceDestination;
use crate::store::device::Upload;
use crate::store::parts::PackageFile;
use crate::store::reference::is_packed;
use crate::transfer::Job;
use crate::transfer::Moved;
use crate::transfer::discard;
use crate::transfer::move_coming;
use crate::transfer::run;
use crate::verify::Promise;

/// An import that runs.
pub(super) struct Running {
    pub(super) plan: ImportPlan,
    pub(super) options: Options,
    pub(super) meter: Arc<Meter>,
}

impl Running {
    pub(super) async fn run(mut self, cancel: CancellationToken) -> Result<Report, Error> {
        let started = Instant::now();
        self.plan.check()?;
        warn_of(&self.options, self.plan.findings());
        let journal = earlier::begin(&self.plan, &self.options).await;
        self.options.observer = journal.observing(Arc::clone(&self.options.observer));
        let uploaded = self.under_lease(&journal, &cancel).await;
        if let Some(message) = journal.close(uploaded.as_ref().err()).await {
            warn(&self.options, message);
        }
        let (lease_name, info, moved) = uploaded?;
        let streamed = started.elapsed();
        let files = report::files(&moved, &self.meter);
        for file in moved {
            // For a device URL the lease is the commit, and it has been completed.
            let _nothing_to_do = file.sink.commit(&file.proof).await;
        }
        let entity = entity_of(&info)?.clone();
        let took = started.elapsed();
        let (after, network) = after::run(&self.plan, &entity, &self.options, &cancel).await?;
        Ok(Report {
            name: self.plan.name(),
            entity,
            lease: lease_name,
            package: None,
            streamed,
            verification: self.options.verification,
            files,
            after,
            network,
            beats: self.meter.beats(),
            took,
        })
    }

    /// Everything that happens under the lease.
    async fn under_lease(
        &self,
        journal: &Journal,
        cancel: &CancellationToken,
    ) -> Result<(String, LeaseInfo, Vec<Moved>), Error> {
        let (server, pool) = (&self.plan.server, &self.plan.place.pool);
        let asked = Asked::begin(server.session(), journal, pool).await;
        let api = server.hold(self.plan.take_lease(), cancel).await?;
        journal.lease_is_held();
        let name = api.name();
        let lease = Lease::new(api, Arc::clone(&self.options.observer));
        let (lease, is_noted) = tokio::join!(lease.ready(cancel), asked.note_task(&name, None));
        let lease = lease?;
        let info = lease.info().clone();
        let (offered, asked, lease_name) = (&info, &asked, &name);
        let moved = run(lease, &self.meter, cancel, |api, scope| async move {
            let entity = entity_of(offered)?;
            earlier::note_entity(journal, &self.plan, entity).await;
            if !is_noted {
                asked.note_task(lease_name, Some(entity)).await;
            }
            let moved = self.work(offered, &api, &scope).await?;
            match Box::pin(ports::prove(&self.plan, entity, &scope)).await {
                Ok(()) => {
                    journal.note(Record::Completing).await;
                    Ok(moved)
                }
                Err(error) => {
                    discard(moved).await;
                    Err(error)
                }
            }
        })
        .await?;
        Ok((name, info, moved))
    }

    async fn work(
        &self,
        info: &LeaseInfo,
        lease: &Arc<dyn LeaseApi>,
        scope: &CancellationToken,
    ) -> Result<Vec<Moved>, Error> {
        let hosts = info.devices.iter().map(|device| self.plan.server.device(device));
        hosts::check(hosts, &self.options.observer, scope).await?;
        let keys: Vec<_> = info.devices.iter().map(|device| device.key.clone()).collect();
        let by_server = server_algorithm(&**lease, &keys, &self.options, scope).await?;
        let moved = match self.plan.package.in_order() {
            Some(in_order) => self.move_in_order(in_order, info, by_server, lease, scope).await?,
            None => self.move_known(info, by_server, lease, scope).await?,
        };
        if scope.is_cancelled() { Err(Error::Cancelled) } else { Ok(moved) }
    }

    /// Uploads files that have been found; those that are converted first as they are ready.
    async fn move_known(
        &self,
        info: &LeaseInfo,
        by_server: Option<DigestAlgorithm>,
        lease: &Arc<dyn LeaseApi>,
        scope: &CancellationToken,
    ) -> Result<Vec<Moved>, Error> {
        let mut jobs = Vec::new();
        let mut to_convert = Vec::new();
        for file in &self.plan.files {
            // Of a compressed file, what it was measured to hold.
            let stored = || self.plan.package.file(&file.file).map(PackageFile::stored_bytes);
            let weight_bytes = file.size_bytes.or_else(stored).unwrap_or_default();
            let meter = self.meter.add_file(&file.file, weight_bytes);
            match &file.conversion {
                Some(_) => to_convert.push((file, meter)),
                None => jobs.push(self.known_job(file, meter, info, by_server)?),
            }
        }
        to_convert.sort_by_key(|(_, meter)| std::cmp::Reverse(meter.weight_bytes()));
        let (mut ready, coming) = mpsc::channel(0);
        let lanes = futures::stream::iter(self.lanes(jobs).into_iter().map(Ok)).chain(coming);
        let converting = async move {
            let room = Arc::new(Semaphore::new(SPOOLS_AT_ONCE));
            for (file, meter) in to_convert {
                let room = Arc::clone(&room).acquire_owned();
                let Some(Ok(room)) = scope.run_until_cancelled(room).await else { return };
                let made = self.converted_job(file, meter, info, by_server, Some(room), scope);
                let lane = made.await.map(|job| vec![job]);
                let is_last = lane.is_err();
                // Nobody waits for it any more if another file has failed.
                if ready.send(lane).await.is_err() || is_last {
                    return;
                }
            }
        };
        let shared = self.options.shared_by_uploads();
        let moving = move_coming(lanes, lease, &shared, scope);
        let (moved, ()) = futures::future::join(moving, Box::pin(converting)).await;
        moved
    }

    /// Converts a disk that has been found, and makes the upload of what came out.
    pub(super) async fn converted_job(
        &self,
        planned: &PlannedFile,
        meter: Arc<FileMeter>,
        info: &LeaseInfo,
        by_server: Option<DigestAlgorithm>,
        room: Option<OwnedSemaphorePermit>,
        scope: &CancellationToken,
    ) -> Result<Job, Error> {
        let vanished = || self.plan.package.wrong(format!("{} has vanished", planned.file));
        let known = self.plan.package.file(&planned.file).ok_or_else(vanished)?;
        let to_convert = planned.conversion.as_ref().ok_or_else(vanished)?;
        let origin = Origin::of(&self.plan.package, &planned.file, known);
        let converted = self.converter().run(origin, to_convert, &meter, scope).await?;
        self.job(planned, Content::converted(converted, room), meter, info, by_server)
    }

    pub(super) fn converter(&self) -> Converter<'_> {
        Converter {
            package: &self.plan.package,
            folder: self.plan.spool_dir.clone(),
            stall: self.options.stall,
            observer: &self.options.observer,
        }
    }

    /// The upload of a file that has been found.
    pub(super) fn known_job(
        &self,
        planned: &PlannedFile,
        meter: Arc<FileMeter>,
        info: &LeaseInfo,
        by_server: Option<DigestAlgorithm>,
    ) -> Result<Job, Error> {
        let vanished = || self.plan.package.wrong(format!("{} has vanished", planned.file));
        let known = self.plan.package.file(&planned.file).ok_or_else(vanished)?;
        let size_bytes = planned.size_bytes.or(known.size_bytes()).ok_or_else(vanished)?;
        let source = Arc::new(Measured { source: Arc::clone(known.source()), size_bytes });
        self.job(planned, Content::new(source, size_bytes), meter, info, by_server)
    }

    pub(super) fn job(
        &self,
        planned: &PlannedFile,
        content: Content,
        meter: Arc<FileMeter>,
        info: &LeaseInfo,
        by_server: Option<DigestAlgorithm>,
    ) -> Result<Job, Error> {
        let item = &planned.item;
        let offered = devices::for_item(&item.import_key, &item.path, &info.devices)?;
        let package = &self.plan.package;
        let reference = package.reference(&planned.file);
        let promised = reference.and_then(|reference| package.promised(reference));
        let Content { source, size_bytes, conversion } = content;
        let algorithms = match reference {
            // What was read of it has been compared.
            _ if conversion.is_some() => Vec::new(),
            // What it is made of is compared on its way.
            Some(reference) if is_packed(reference) => Vec::new(),
            Some(reference) if package.is_in_order() => algorithms_in_order(package, reference),
            _ => promised.iter().map(Digest::algorithm).collect(),
        };
        let inspect = Inspect { algorithms, disk: DiskCheck::structure(planned.is_disk) };
        // Something is always computed, for the report.
        let inspect = inspect.also(by_server.unwrap_or(DigestAlgorithm::Sha256));
        let file = package.file(&planned.file);
        let is_of_parts = file.is_some_and(|file| file.content().is_some() && file.is_promised());
        let promised = match &conversion {
            Some(conversion) if conversion.by_package() => Promise::Parts,
            Some(_) => Promise::Nothing,
            None if is_of_parts => Promise::Parts,
            None => promised.into(),
        };
        let host = format!("{}:{}", offered.url.host(), offered.url.port());
        Ok(Job {
            file: planned.file.clone(),
            key: offered.key.clone(),
            source,
            source_at: package.display(),
            destination: Arc::new(DeviceDestination {
                device: self.plan.server.device(offered),
                upload: if planned.is_disk { Upload::Disk } else { Upload::Create },
                len_bytes: size_bytes,
            }),
            sink_at: host.clone(),
            host,
            inspect,
            position: Position::Bytes,
            promised,
            meter,
            conversion,
            written: None,
        })
    }

    /// Sorts the files into lanes: the largest first; disks that build on one another in one lane,
    /// in the order of the server's items, because a delta needs its parent.
    pub(super) fn lanes(&self, jobs: Vec<Job>) -> Vec<Vec<Job>> {
        let envelope = self.plan.package.envelope();
        let file_of = |disk: &ovftransfer_ovf::envelope::Disk| {
            disk.file_ref().and_then(|id| envelope.file(id)).map(FileRef::href)
        };
        let is_delta = |file: &FileName| {
            let mut disks = envelope.disks().iter();
            disks.any(|disk| {
                let parent = disk.parent_ref().and_then(|id| envelope.disk(id));
                parent.is_some_and(|parent| [file_of(disk), file_of(parent)].contains(&Some(file)))
            })
        };
        let (chain, free): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| is_delta(&job.file));
        let mut lanes: Vec<Vec<Job>> = free.into_iter().map(|job| vec![job]).collect();
        if !chain.is_empty() {
            lanes.push(chain);
        }
        let weight = |lane: &Vec<Job>| lane.iter().map(|job| job.meter.weight_bytes()).sum::<u64>();
        lanes.sort_by_key(|lane| std::cmp::Reverse(weight(lane)));
        lanes
    }
}

/// What is sent of a file, and how it came to be.
#[derive(Debug)]
pub(super) struct Content {
    source: Arc<dyn Source>,
    size_bytes: u64,
    conversion: Option<Conversion>,
}

impl Content {
    /// The file as it is.
    pub(super) const fn new(source: Arc<dyn Source>, size_bytes: u64) -> Self {
        Self { source, size_bytes, conversion: None }
    }

    /// A disk that was converted; `room` is given back when it has been sent.
    pub(super) fn converted(converted: Converted, room: Option<OwnedSemaphorePermit>) -> Self {
        let (source, size_bytes) = (converted.source(room), converted.size_bytes());
        Self { source, size_bytes, conversion: Some(converted.conversion) }
    }
}

/// A file whose size was found out by reading it.
#[derive(Debug)]
struct Measured {
    source: Arc<dyn Source>,
    size_bytes: u64,
}

impl Source for Measured {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        self.source.open()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.size_bytes)
    }
}

/// The machine, or the vApp, that comes to be (`HttpNfcLeaseInfo.entity`, which is not optional).
fn entity_of(info: &LeaseInfo) -> Result<&MoRef, Error> {
    info.entity.as_ref().ok_or_else(|| Error::Refused {
        problem: "the lease does not say which machine it is for".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use ovftransfer_vim::Endpoint;
    use ovftransfer_vim::value::Object;
    use ovftransfer_vim::value::Value;

    use super::*;

    /// A report must not name a machine that nobody told us of.
    #[test]
    fn a_lease_without_its_machine_is_refused() {
        let info: Value = Object::untyped().with("leaseTimeout", "300").into();
        let info = LeaseInfo::from_value(&info, &Endpoint::new("vc", 443)).unwrap();
        assert!(matches!(entity_of(&info), Err(Error::Refused { .. })));
        let vm = MoRef::new("VirtualMachine", "vm-7");
        let info = Object::untyped().with("leaseTimeout", "300").with("entity", &vm).into();
        let info = LeaseInfo::from_value(&info, &Endpoint::new("vc", 443)).unwrap();
        assert_eq!(*entity_of(&info).unwrap(), vm);
    }
}
