//! An export from its lease to its report.

use std::sync::Arc;

use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_vim::lease::LeaseDevice;
use ovftransfer_vim::lease::LeaseManifestEntry;
use ovftransfer_vim::ovf::DescriptorParams;
use ovftransfer_vim::value::MoRef;
use ovftransfer_vmdk::VmdkError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ExportPlan;
use super::describe::Contents;
use super::describe::add;
use super::describe::check_described;
use super::describe::in_order;
use super::describe::small_file;
use super::resume;
use super::resume::Earlier;
use super::resume::Prepared;
use super::source::identity;
use super::subject::Subject;
use super::temporary::TemporarySnapshot;
use crate::artefact::Artefact;
use crate::devices;
use crate::devices::Exported;
use crate::devices::Selection;
use crate::disk::DiskFormat;
use crate::error::Error;
use crate::event::Event;
use crate::hosts;
use crate::inspect::DiskCheck;
use crate::inspect::Hasher;
use crate::inspect::Inspect;
use crate::inspect::Inspection;
use crate::inspect::Position;
use crate::journal::Journal;
use crate::journal::history::sha256_of;
use crate::journal::record::Record;
use crate::journal::record::WrittenDisk;
use crate::lease::Lease;
use crate::lease::LeaseApi;
use crate::meter::FileMeter;
use crate::meter::Meter;
use crate::report;
use crate::report::Report;
use crate::server::Options;
use crate::server::insist;
use crate::server::server_algorithm;
use crate::server::warn;
use crate::server::warn_of;
use crate::settle::Asked;
use crate::store::papers::Papers;
use crate::store::unpack::RawDestination;
use crate::transfer::Job;
use crate::transfer::Moved;
use crate::transfer::Shared;
use crate::transfer::discard;
use crate::transfer::move_all;
use crate::transfer::run;
use crate::verify::Promise;
use crate::verify::Verification;
use crate::verify::Verified;

/// An export that runs.
pub(super) struct Running {
    pub(super) plan: ExportPlan,
    pub(super) options: Options,
    meter: Arc<Meter>,
    journal: Journal,
}

impl Running {
    pub(super) fn new(plan: ExportPlan, options: Options, meter: Arc<Meter>) -> Self {
        Self { plan, options, meter, journal: Journal::default() }
    }

    pub(super) async fn run(mut self, cancel: CancellationToken) -> Result<Report, Error> {
        let started = Instant::now();
        self.plan.check()?;
        warn_of(&self.options, self.plan.findings());
        if let Some(earlier) = &self.plan.earlier
            && let Some(report) = resume::finish(&self, earlier, started).await?
        {
            return Ok(report);
        }
        let artefact = self.take_place().await?;
        let prepared = match resume::prepare(&self, &artefact, &cancel).await {
            Ok(prepared) => prepared,
            Err(error) => {
                artefact.discard().await;
                return Err(error);
            }
        };
        self.journal = prepared.journal.clone();
        self.options.observer = self.journal.observing(Arc::clone(&self.options.observer));
        let plan = &self.plan;
        let mut temporary = None;
        let exported = self.export(prepared, &mut temporary, &artefact, &cancel).await;
        let Exporting { leases, moved, streamed, .. } = match exported {
            Ok(exported) => exported,
            Err(error) => {
                let error = self.failed(error, temporary).await;
                artefact.discard().await;
                return Err(error);
            }
        };
        let files = report::files(&moved, &self.meter);
        let disks: Vec<_> = moved.iter().filter_map(written).collect();
        if !disks.is_empty() {
            self.journal.note(Record::Written { disks }).await;
        }
        let leading = artefact.stamp().await;
        self.journal.note(Record::Publishing { leading }).await;
        let published = artefact.publish(moved.into_iter().map(Into::into).collect()).await;
        let package = match published {
            Ok(package) => package,
            Err(error) => return Err(self.failed(error, temporary).await),
        };
        // Last, for that may take long; and a package that is whole needs no snapshot any more.
        if let Some(temporary) = temporary
            && let Err(left_behind) = temporary.remove(plan.subject.name(), &self.journal).await
        {
            warn(&self.options, left_behind);
        }
        self.close(None).await;
        Ok(Report {
            name: plan.subject.name().to_owned(),
            entity: plan.subject.entity().clone(),
            lease: leases.join(", "),
            package,
            verification: self.options.verification,
            files,
            after: report::After::default(),
            network: Vec::new(),
            beats: self.meter.beats(),
            streamed: streamed - started,
            took: started.elapsed(),
        })
    }

    async fn take_place(&self) -> Result<Artefact, Error> {
        let (plan, request) = (&self.plan, &self.plan.request);
        let early = plan.earlier.as_ref().map(Earlier::published_early).unwrap_or_default();
        let taken = plan.place.create_again(request.existing(), request.spool_dir.clone(), early);
        taken.await.map_err(|error| match &plan.earlier {
            Some(earlier) => earlier.explain(error),
            None => error,
        })
    }

    /// Removes the journal, unless there is something that it must tell.
    async fn close(&self, error: Option<&Error>) {
        if let Some(message) = self.journal.close(error).await {
            warn(&self.options, message);
        }
    }

    /// Removes the snapshot of an export that has failed, and the journal.
    async fn failed(&self, error: Error, temporary: Option<TemporarySnapshot>) -> Error {
        let removed = match temporary {
            Some(temporary) => temporary.remove(self.plan.subject.name(), &self.journal).await,
            None => Ok(()),
        };
        let error = match (removed, error) {
            (Ok(()), error) => error,
            (Err(left_behind), Error::Cancelled) => Error::CancelledUnclean { left_behind },
            // Its own failure is what matters.
            (Err(left_behind), error) => {
                warn(&self.options, left_behind);
                error
            }
        };
        self.close(Some(&error)).await;
        error
    }

    /// Moves all files; of a machine that runs, by a snapshot that is made for it.
    async fn export(
        &self,
        mut prepared: Prepared,
        temporary: &mut Option<TemporarySnapshot>,
        artefact: &Artefact,
        cancel: &CancellationToken,
    ) -> Result<Exporting, Error> {
        if let Subject::Live(facts) = &self.plan.subject {
            let (session, journal) = (self.plan.server.session(), &self.journal);
            let (vm, name) = (&facts.vm, &facts.name);
            *temporary = Some(match prepared.snapshot.take() {
                Some(found) => found,
                None => TemporarySnapshot::take(session, vm, name, journal, cancel).await?,
            });
        }
        let snapshot = temporary.as_ref().map(TemporarySnapshot::moref);
        self.lease_and_move(snapshot, prepared, artefact, cancel).await
    }

    /// Everything that happens under a lease, or under one after the other.
    async fn lease_and_move(
        &self,
        temporary: Option<&MoRef>,
        prepared: Prepared,
        artefact: &Artefact,
        cancel: &CancellationToken,
    ) -> Result<Exporting, Error> {
        let plan = &self.plan;
        let snapshot = temporary.or_else(|| plan.subject.snapshot());
        let mut exporting = Exporting::new(prepared);
        loop {
            match self.under_lease(snapshot, &mut exporting, artefact, cancel).await {
                Ok(()) if exporting.is_complete() => return Ok(exporting),
                Ok(()) => {}
                Err(error) => {
                    discard(exporting.moved).await;
                    return Err(error);
                }
            }
        }
    }

    /// Moves all files, or the next one, under a lease of its own.
    async fn under_lease(
        &self,
        snapshot: Option<&MoRef>,
        exporting: &mut Exporting,
        artefact: &Artefact,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let plan = &self.plan;
        let (session, entity) = (plan.server.session(), plan.subject.entity());
        let asked = Asked::begin(session, &self.journal, entity).await;
        let api = plan.server.hold(plan.subject.take_lease(&plan.server, snapshot), cancel).await?;
        self.journal.lease_is_held();
        let name = api.name();
        exporting.leases.push(name.clone());
        let lease = Lease::new(api, Arc::clone(&self.options.observer));
        let (lease, _) = tokio::join!(lease.ready(cancel), asked.note_task(&name, None));
        let lease = lease?;
        let offered = lease.info().devices.clone();
        let so_far = &mut *exporting;
        let moved = run(lease, &self.meter, cancel, |api, scope| async move {
            self.work(&offered, snapshot, so_far, artefact, &api, &scope).await
        })
        .await?;
        self.journal.note(Record::LeaseEnded).await;
        exporting.moved.extend(moved);
        let order = &exporting.order;
        exporting.moved.sort_by_key(|one| order.iter().position(|file| file == one.proof.file()));
        Ok(())
    }

    /// The names of the files, and which of them belong to the package.
    fn choose(&self, offered: &[LeaseDevice]) -> Result<Vec<Exported>, Error> {
        let (plan, request) = (&self.plan, &self.plan.request);
        let owner = |device: &LeaseDevice| {
            let machine = plan.subject.machine_of(device).filter(|_| plan.subject.is_vapp());
            machine.map(|machine| plan.place.part(&machine.name))
        };
        let selection = Selection {
            base: plan.place.base(),
            prefix: &plan.place.prefix(),
            owner: &owner,
            nvram: request.nvram,
            images: request.images,
            disks_min: plan.subject.disks_min(),
        };
        let mut chosen = devices::for_export(offered, &selection)?;
        if request.disk_format == DiskFormat::Raw {
            name_raw(&mut chosen)?;
        }
        Ok(chosen)
    }

    async fn work(
        &self,
        offered: &[LeaseDevice],
        snapshot: Option<&MoRef>,
        exporting: &mut Exporting,
        artefact: &Artefact,
        lease: &Arc<dyn LeaseApi>,
        scope: &CancellationToken,
    ) -> Result<Vec<Moved>, Error> {
        let (plan, request) = (&self.plan, &self.plan.request);
        let descriptor = small_file(plan.place.base(), "ovf")?;
        if exporting.chosen.is_empty() {
            exporting.chosen = self.choose(offered)?;
            let key = request.signing_key.as_deref();
            let names = exporting.names();
            artefact.reserve(&descriptor, names, request.algorithm, key).await?;
            for exported in &exporting.chosen {
                let weight_bytes = self.weight_of(exported);
                exporting.meters.push(self.meter.add_file(&exported.file, weight_bytes));
            }
            self.adopt(exporting, snapshot, lease).await;
        }
        let batch = exporting.next_batch(request.lease_per_disk);
        let hosts = batch.iter().map(|(file, _)| devices::same(file, offered));
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        let hosts = hosts.into_iter().map(|device| plan.server.device(device));
        hosts::check(hosts, &self.options.observer, scope).await?;
        let keys: Vec<_> = batch.iter().map(|(file, _)| file.device.key.clone()).collect();
        let by_server = server_algorithm(&**lease, &keys, &self.options, scope).await?;
        let mut jobs = Vec::new();
        for (exported, meter) in batch {
            let device = devices::same(&exported, offered)?;
            jobs.push(self.job(&exported, device, meter, artefact, by_server));
        }
        // The largest first: it decides when all are done.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.meter.weight_bytes()));
        let lanes = jobs.into_iter().map(|job| vec![job]).collect();
        let shared = Shared { journal: self.journal.clone(), ..self.options.shared() };
        let moved = move_all(lanes, lease, &shared, scope).await;
        let moved =
            moved.map_err(|error| self.blame_lease_of_several(error, offered, exporting))?;
        exporting.streamed = Instant::now();
        if exporting.moved.len() + moved.len() < exporting.chosen.len() {
            return Ok(moved);
        }
        // No reference to a sink may live across the waits: sinks are not shared.
        let contents = match artefact.order(exporting.names()).await {
            Ok(order) => {
                exporting.order = order;
                let all = exporting.moved.iter().chain(&moved);
                Contents::of(all, &exporting.order, request.algorithm)
            }
            Err(error) => Err(error),
        };
        let described = match contents {
            Ok(contents) => self.describe(descriptor, contents, snapshot, artefact, scope).await,
            Err(error) => Err(error),
        };
        match described {
            Ok(()) if !scope.is_cancelled() => Ok(moved),
            described => {
                discard(moved).await;
                Err(described.err().unwrap_or(Error::Cancelled))
            }
        }
    }

    /// Takes over the files that an earlier run has proven, if the machine is still what it was now
    /// that the lease holds it; and writes down what the other files, or the archive, will be of.
    async fn adopt(
        &self,
        exporting: &mut Exporting,
        snapshot: Option<&MoRef>,
        lease: &Arc<dyn LeaseApi>,
    ) {
        // Nothing of what goes elsewhere is gone on with.
        if self.plan.place.path().is_none() {
            return;
        }
        let now = identity(&self.plan.server, &self.plan.subject, snapshot).await;
        let kept = std::mem::take(&mut exporting.kept);
        self.journal.has_files(false);
        let is_same = now.is_some() && now == exporting.identity;
        if !is_same || kept.is_empty() {
            self.journal.note(Record::Source { identity: now }).await;
        }
        if self.plan.place.keeps_files() {
            let files = exporting.chosen.iter().map(|one| one.file.to_string()).collect();
            self.journal.note(Record::Writing { files }).await;
        }
        let said = match kept.is_empty() {
            true => Vec::new(),
            // What it does not say before the files move, it does not contradict.
            false => lease.manifest().await.unwrap_or_default(),
        };
        for one in kept {
            let place = exporting.chosen.iter().position(|chosen| {
                chosen.file == *one.proof.file() && chosen.device.key == one.key
            });
            match place.filter(|_| is_same && agrees(&one, &said)) {
                Some(place) => {
                    let meter = &exporting.meters[place];
                    meter.set_position(meter.weight_bytes());
                    let (file, bytes) = (one.proof.file().clone(), one.proof.bytes());
                    self.options.observer.observe(&Event::FileKept { file, bytes });
                    exporting.moved.push(one);
                }
                None => discard(vec![one]).await,
            }
        }
    }

    /// A disk that comes empty beside another one is a habit of some servers (an empty 200 for the
    /// second disk of a lease on vSAN), with a way around it.
    fn blame_lease_of_several(
        &self,
        error: Error,
        offered: &[LeaseDevice],
        exporting: &Exporting,
    ) -> Error {
        let Error::Structure { file, source } = &error else { return error };
        let disks = exporting.chosen.iter().filter(|one| one.is_disk).count();
        let is_empty = matches!(**source, VmdkError::Truncated { at_byte: 0, .. });
        let exported = exporting.chosen.iter().find(|one| one.file == *file);
        let device = exported.and_then(|one| devices::same(one, offered).ok());
        match device {
            Some(device) if is_empty && disks > 1 && !self.plan.request.lease_per_disk => {
                let host = format!("{}:{}", device.url.host(), device.url.port());
                Error::EmptyDisk { file: file.clone(), host }
            }
            _ => error,
        }
    }

    /// What a file weighs in the progress: its size, or the capacity of the disk.
    fn weight_of(&self, exported: &Exported) -> u64 {
        match exported.is_disk {
            true => self.plan.subject.capacity_of(&exported.device),
            false => exported.device.file_bytes.unwrap_or(0),
        }
    }

    fn job(
        &self,
        exported: &Exported,
        device: &LeaseDevice,
        meter: Arc<FileMeter>,
        artefact: &Artefact,
        by_server: Option<DigestAlgorithm>,
    ) -> Job {
        let source = self.plan.server.device(device);
        let position = if exported.is_disk { Position::Disk } else { Position::Bytes };
        let inspect = Inspect {
            algorithms: vec![self.plan.request.algorithm],
            disk: DiskCheck::structure(exported.is_disk),
        };
        let inspect = by_server.into_iter().fold(inspect, Inspect::also);
        let (mut destination, sink_at) = artefact.destination(&exported.file);
        let mut written = None;
        if exported.is_disk && self.plan.request.disk_format == DiskFormat::Raw {
            let raw = RawDestination::new(destination, self.plan.request.algorithm);
            written = Some(raw.written());
            destination = Arc::new(raw);
        }
        let host = format!("{}:{}", device.url.host(), device.url.port());
        Job {
            key: device.key.clone(),
            source_at: host.clone(),
            host,
            source: Arc::new(source),
            sink_at,
            destination,
            inspect,
            position,
            promised: Promise::Nothing,
            meter,
            file: exported.file.clone(),
            conversion: None,
            written,
        }
    }

    /// Writes descriptor, manifest and certificate, not yet under their final names, while the lease is held.
    async fn describe(
        &self,
        descriptor: FileName,
        contents: Contents,
        snapshot: Option<&MoRef>,
        artefact: &Artefact,
        scope: &CancellationToken,
    ) -> Result<(), Error> {
        let plan = &self.plan;
        let params = DescriptorParams {
            files: contents.files,
            name: Some(plan.subject.name().to_owned()),
            includes_images: Some(plan.request.images),
            export_options: plan.request.options.clone(),
            snapshot: snapshot.cloned(),
            ..DescriptorParams::default()
        };
        let (session, entity) = (plan.server.session(), plan.subject.entity());
        // It changes nothing, and the files have all come.
        let call = insist(|| session.create_descriptor(entity, &params));
        let made = scope.run_until_cancelled(call).await.ok_or(Error::Cancelled)??;
        if let Some(fault) = made.errors.first() {
            return Err(Error::Refused {
                problem: format!("no descriptor can be made of {}: {fault}", plan.subject.name()),
            });
        }
        for warning in &made.warnings {
            warn(&self.options, format!("descriptor: {warning}"));
        }
        let envelope = check_described(&made.descriptor, &params.files)?;
        let order: Vec<FileName> = contents.digests.iter().map(|(file, _)| file.clone()).collect();
        let bytes = artefact.fit(in_order(&envelope, &order, &contents.raw)?.into_bytes()).await?;
        let algorithm = plan.request.algorithm;
        let mut manifest = Manifest::new();
        add(&mut manifest, &descriptor, Hasher::digest(algorithm, &bytes))?;
        for (file, digest) in contents.digests {
            add(&mut manifest, &file, digest)?;
        }
        let mut papers = Papers::new(descriptor, bytes, manifest.to_bytes())?;
        if let Some(key) = &plan.request.signing_key {
            papers = papers.sign(key, algorithm)?;
        }
        if plan.place.keeps_files() {
            let named = |(name, bytes): &(FileName, Vec<u8>)| (name.to_string(), sha256_of(bytes));
            let papers = papers.files().map(named).collect();
            self.journal.note(Record::Staged { papers }).await;
        }
        artefact.stage(papers).await
    }
}

/// What is written down of a disk that was written in another format than it came in.
fn written(moved: &Moved) -> Option<WrittenDisk> {
    let (bytes, digest) = moved.written?;
    let digest = (digest.algorithm().label().to_owned(), digest.hex());
    Some(WrittenDisk { file: moved.proof.file().to_string(), bytes, digest })
}

/// Whether the manifest of a lease, as far as it says anything, agrees with a file of an earlier run.
fn agrees(kept: &Moved, said: &[LeaseManifestEntry]) -> bool {
    let seen = Inspection { digests: kept.digests.clone(), disk: None };
    let (file, bytes) = (kept.proof.file(), kept.proof.bytes());
    said.iter().filter(|entry| entry.key == kept.key).all(|entry| {
        Verified::check(file, bytes, &seen, None, Some(entry), Verification::Prefer).is_ok()
    })
}

/// Gives disks names that say that they are raw.
fn name_raw(chosen: &mut [Exported]) -> Result<(), Error> {
    let others = chosen.iter().filter(|one| !one.is_disk);
    let mut taken: Vec<String> = others.map(|one| one.file.as_str().to_lowercase()).collect();
    for one in chosen.iter_mut().filter(|one| one.is_disk) {
        let name = format!("{}.raw", one.file.stem());
        let unusable = |reason: &str| Error::Refused {
            problem: format!("{} cannot be stored as {name}: {reason}", one.file),
        };
        if taken.contains(&name.to_lowercase()) {
            return Err(unusable("another file has that name"));
        }
        taken.push(name.to_lowercase());
        one.file = FileName::new(&*name).map_err(|error| unusable(&error.to_string()))?;
    }
    Ok(())
}

/// What an export has done so far.
struct Exporting {
    leases: Vec<String>,
    /// The files of the package, in the server's order.
    chosen: Vec<Exported>,
    /// What an earlier run has proven, until it is known whether it is of use.
    kept: Vec<Moved>,
    /// What that was of.
    identity: Option<String>,
    /// Their counters.
    meters: Vec<Arc<FileMeter>>,
    moved: Vec<Moved>,
    /// The files in the order of the references, once all are there.
    order: Vec<FileName>,
    /// When the last byte had come and was proven.
    streamed: Instant,
}

impl Exporting {
    fn new(prepared: Prepared) -> Self {
        Self {
            leases: Vec::new(),
            chosen: Vec::new(),
            kept: prepared.kept,
            identity: prepared.identity,
            meters: Vec::new(),
            moved: Vec::new(),
            order: Vec::new(),
            streamed: Instant::now(),
        }
    }

    fn names(&self) -> Vec<FileName> {
        self.chosen.iter().map(|exported| exported.file.clone()).collect()
    }

    fn is_complete(&self) -> bool {
        self.moved.len() == self.chosen.len()
    }

    /// The files that move under the next lease: all, or one disk with everything that is none.
    fn next_batch(&self, one_disk: bool) -> Vec<(Exported, Arc<FileMeter>)> {
        let is_moved = |one: &Exported| self.moved.iter().any(|m| *m.proof.file() == one.file);
        let waiting = self.chosen.iter().zip(&self.meters).filter(|(one, _)| !is_moved(one));
        let mut has_disk = false;
        let mut is_second =
            |one: &Exported| one_disk && one.is_disk && std::mem::replace(&mut has_disk, true);
        waiting
            .filter(|(one, _)| !is_second(one))
            .map(|(one, meter)| (one.clone(), Arc::clone(meter)))
            .collect()
    }
}
