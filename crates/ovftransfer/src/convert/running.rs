//! A conversion from its first byte to its report.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ConvertPlan;
use super::Converted;
use super::ConvertedFile;
use super::PlannedFile;
use super::Repair;
use super::manifest_repairs;
use crate::artefact::Artefact;
use crate::check::algorithms_in_order;
use crate::check::check_end;
use crate::copy::Copy;
use crate::error::Error;
use crate::event::Event;
use crate::inspect::DiskCheck;
use crate::inspect::Hasher;
use crate::inspect::Inspect;
use crate::inspect::Inspection;
use crate::inspect::Position;
use crate::meter::FileMeter;
use crate::meter::Meter;
use crate::server::Options;
use crate::server::warn;
use crate::server::warn_of;
use crate::signature::SignaturePolicy;
use crate::store::Sink;
use crate::store::Source;
use crate::store::arriving;
use crate::store::arriving::Arriving;
use crate::store::arriving::check_late;
use crate::store::content::Seen;
use crate::store::in_order::End;
use crate::store::in_order::InOrder;
use crate::store::papers::Papers;
use crate::store::papers::certificate_bytes;
use crate::store::reference::ALL_ALGORITHMS;
use crate::store::reference::promised_by_name;
use crate::transfer::Proven;
use crate::transfer::discard;
use crate::verify::Verification;
use crate::verify::Verified;

/// A conversion that runs.
pub(super) struct Running {
    plan: ConvertPlan,
    options: Options,
    meter: Arc<Meter>,
    /// What the plan could not know.
    repairs: Mutex<Vec<Repair>>,
}

/// A file that lies where it belongs, and waits for its name.
struct Moved {
    planned: PlannedFile,
    proof: Verified,
    seen: Inspection,
    sink: Box<dyn Sink>,
}

impl From<Moved> for Proven {
    fn from(moved: Moved) -> Self {
        Self { proof: moved.proof, sink: moved.sink }
    }
}

/// A package that only waits for its names.
struct Done {
    descriptor: FileName,
    is_descriptor_kept: bool,
    is_signed: bool,
    files: Vec<ConvertedFile>,
}

impl Running {
    pub(super) fn new(plan: ConvertPlan, options: Options, meter: Arc<Meter>) -> Self {
        Self { plan, options, meter, repairs: Mutex::default() }
    }

    pub(super) async fn run(self, cancel: CancellationToken) -> Result<Converted, Error> {
        let started = Instant::now();
        let (plan, request) = (&self.plan, &self.plan.request);
        plan.check()?;
        warn_of(&self.options, &plan.findings);
        for repair in plan.repairs.iter().filter(|repair| repair.is_on_trust()) {
            warn(&self.options, repair.to_string());
        }
        let artefact = plan.place.create(request.existing(), request.spool_dir.clone()).await?;
        let mut moved = Vec::new();
        let done = match self.work(&artefact, &mut moved, &cancel).await {
            Ok(done) if !cancel.is_cancelled() => Ok(done),
            done => Err(done.err().unwrap_or(Error::Cancelled)),
        };
        let Done { descriptor, is_descriptor_kept, is_signed, files } = match done {
            Ok(done) => done,
            Err(error) => {
                discard(moved).await;
                artefact.discard().await;
                return Err(error);
            }
        };
        let package = artefact.publish(moved.into_iter().map(Into::into).collect()).await?;
        let late = self.repairs.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Converted {
            package,
            descriptor,
            is_descriptor_kept,
            is_signed,
            files,
            repairs: self.plan.repairs.into_iter().chain(late).collect(),
            took: started.elapsed(),
        })
    }

    /// Moves and proves all files, and writes the descriptor and the manifest, not yet under their
    /// final names.
    async fn work(
        &self,
        artefact: &Artefact,
        moved: &mut Vec<Moved>,
        scope: &CancellationToken,
    ) -> Result<Done, Error> {
        let plan = &self.plan;
        let planned: Vec<FileName> = plan.files.iter().map(|file| file.file.clone()).collect();
        let descriptor = plan.place.own_file("ovf")?;
        let expected_bytes = plan.described(&plan.files, &planned)?.len() as u64;
        let algorithm = plan.request.algorithm;
        let certificate = match &plan.request.signing_key {
            Some(key) => Some(certificate_bytes(key, &descriptor)?),
            None => plan.kept.as_ref().map(|kept| kept.bytes.len()),
        };
        let names = planned.clone();
        artefact.reserve_for(&descriptor, expected_bytes, names, algorithm, certificate).await?;
        match plan.request.source.in_order() {
            None => self.move_each(artefact, moved, scope).await?,
            Some(in_order) => self.move_in_order(in_order, artefact, moved, scope).await?,
        }
        let order = artefact.order(planned.clone()).await?;
        if order != planned {
            self.note(Repair::Order);
        }
        let places: HashMap<&FileName, usize> = order.iter().zip(0..).collect();
        moved.sort_by_key(|one| places.get(&one.planned.file));
        let files: Vec<PlannedFile> = moved.iter().map(|one| one.planned.clone()).collect();
        let bytes = plan.described(&files, &order)?;
        let bytes = artefact.fit_to(bytes).await?;
        let is_descriptor_kept = bytes == plan.request.source.envelope().bytes();
        let mut manifest = Manifest::new();
        add(&mut manifest, &descriptor, Hasher::digest(algorithm, &bytes))?;
        for one in &*moved {
            add(&mut manifest, one.proof.file(), digest_of(&one.seen, algorithm)?)?;
        }
        let papers = Papers::new(descriptor.clone(), bytes, manifest.to_bytes())?;
        let papers = self.sign(papers)?;
        let is_signed = papers.certificate.is_some();
        artefact.stage(papers).await?;
        let files = moved.iter().map(|one| self.report(one)).collect::<Result<_, _>>()?;
        Ok(Done { descriptor, is_descriptor_kept, is_signed, files })
    }

    fn sign(&self, papers: Papers) -> Result<Papers, Error> {
        let plan = &self.plan;
        match (&plan.request.signing_key, &plan.kept) {
            (Some(key), _) => papers.sign(key, plan.request.algorithm),
            (None, Some(kept)) => {
                let certificate = (plan.place.own_file("cert")?, kept.bytes.clone());
                Ok(Papers { certificate: Some(certificate), ..papers })
            }
            (None, None) => Ok(papers),
        }
    }

    /// Moves the files in the order of the references.
    ///
    /// One after the other: in an archive each then goes straight to its place, and reading, hashing
    /// and writing of one file keep two cores busy.
    async fn move_each(
        &self,
        artefact: &Artefact,
        moved: &mut Vec<Moved>,
        scope: &CancellationToken,
    ) -> Result<(), Error> {
        // All of them from the beginning: a percentage counts what is still to come.
        let meters = self.meters();
        for (planned, meter) in self.plan.files.iter().zip(&meters) {
            self.move_known(planned, meter, artefact, moved, scope).await?;
        }
        Ok(())
    }

    /// Moves a file that can be read at any time.
    ///
    /// Returns what went by of the files that it is made of, if the manifest is still to come.
    async fn move_known(
        &self,
        planned: &PlannedFile,
        meter: &Arc<FileMeter>,
        artefact: &Artefact,
        moved: &mut Vec<Moved>,
        scope: &CancellationToken,
    ) -> Result<Option<Seen>, Error> {
        let package = &self.plan.request.source;
        let lost = || package.wrong(format!("{} is not there", planned.source()));
        let file = package.file(planned.source()).ok_or_else(lost)?;
        let (is_late, rehash) = (package.is_promised_later(), self.plan.request.rehash);
        // The files behind a content are compared while they go by, unless they may differ.
        let content = file.content().map(|content| match (rehash, is_late) {
            (true, _) => content.unpromised(ALL_ALGORITHMS.to_vec()),
            (false, true) => content.recording(ALL_ALGORITHMS.to_vec()),
            (false, false) => content.recording(Vec::new()),
        });
        let seen = content.as_ref().map(|content| content.seen().clone());
        let source = match content {
            Some(content) => Arc::new(content) as Arc<dyn Source>,
            None => Arc::clone(file.source()),
        };
        let promised = package.promised(&planned.reference);
        let algorithms = match is_late && seen.is_none() {
            true => ALL_ALGORITHMS.to_vec(),
            false => promised.iter().map(Digest::algorithm).collect(),
        };
        let copied = self.copy(planned, &*source, meter, algorithms, artefact, scope).await?;
        let mut done = self.prove(copied, promised.as_ref()).await?;
        let is_proven = match (&seen, package.manifest()) {
            (Some(seen), Some(manifest)) if rehash => {
                check_late(&planned.reference, seen, manifest)
            }
            (Some(_), Some(_)) => Ok(file.is_promised()),
            (Some(_), None) | (None, _) => Ok(false),
        };
        if let Ok(true) = is_proven {
            done.proof.confirm_parts();
        }
        moved.push(done);
        if let Err(error) = is_proven {
            self.take_as_it_is(planned.source(), error)?;
        }
        Ok(seen.filter(|_| is_late))
    }

    /// Moves the files as they come; what only the end of the archive tells is compared at the end.
    async fn move_in_order(
        &self,
        in_order: &Arc<InOrder>,
        artefact: &Artefact,
        moved: &mut Vec<Moved>,
        scope: &CancellationToken,
    ) -> Result<(), Error> {
        let package = &self.plan.request.source;
        let meters = self.meters();
        let of = |href: &FileName| {
            let mut files = self.plan.files.iter().zip(&meters);
            files.find(|(planned, _)| planned.source() == href)
        };
        // What went by of the files that others are made of.
        let mut parts: Vec<(FileName, Seen)> = Vec::new();
        let stall = Some(self.options.stall);
        loop {
            // What waits may be dropped, what writes may not: a write that is under way would meet
            // the clean-up.
            let next = Box::pin(arriving::next(package, in_order, stall, |_| true));
            let next = scope.run_until_cancelled(next).await.unwrap_or(Err(Error::Cancelled))?;
            let Some(arriving) = next else { break };
            let Arriving { reference, source, seen, stored_bytes } = arriving;
            let Some((planned, meter)) = of(reference.href()) else { continue };
            let misfit = self.plan.check_size(planned, stored_bytes)?;
            misfit.into_iter().for_each(|repair| self.note(repair));
            parts.extend(seen.map(|seen| (reference.href().clone(), seen)));
            let algorithms = algorithms_in_order(package, &reference);
            let copied = self.copy(planned, &*source, meter, algorithms, artefact, scope).await?;
            let promised = package.promised(&reference);
            moved.push(self.prove(copied, promised.as_ref()).await?);
        }
        // What lies elsewhere comes last: the stream does not wait.
        for (planned, meter) in self.plan.files.iter().zip(&meters) {
            if package.file(planned.source()).is_some() {
                let seen = self.move_known(planned, meter, artefact, moved, scope).await?;
                parts.extend(seen.map(|seen| (planned.source().clone(), seen)));
            }
        }
        let end = scope.run_until_cancelled(in_order.end()).await;
        let end = end.unwrap_or(Err(Error::Cancelled))?;
        for warning in end.ova.warnings() {
            self.note(Repair::Archive { problem: warning.to_string() });
        }
        if let Err(error) = check_end(package, &end) {
            // A digest that differs there is the descriptor's.
            self.take_as_it_is(package.descriptor(), error)?;
        }
        self.look_at_strangers(&end);
        self.look_at_late_signature(&end)?;
        let Some(manifest) = &end.manifest else {
            self.note(Repair::Manifest { algorithms: Vec::new() });
            return Ok(());
        };
        if package.manifest().is_none() {
            let repairs = manifest_repairs(package, manifest, self.plan.request.algorithm);
            repairs.into_iter().for_each(|repair| self.note(repair));
        }
        for one in moved {
            let reference = &one.planned.reference;
            let seen = parts.iter().find(|(href, _)| href == reference.href());
            let outcome = match (seen, promised_by_name(Some(manifest), reference)) {
                (Some((_, seen)), _) => match check_late(reference, seen, manifest) {
                    Ok(true) => {
                        one.proof.confirm_parts();
                        Ok(())
                    }
                    other => other.map(|_| ()),
                },
                // What came with the manifest before it has been compared.
                (None, Some(expected)) if package.manifest().is_none() => {
                    one.proof.confirm(&one.seen, &expected)
                }
                (None, _) => Ok(()),
            };
            if let Err(error) = outcome {
                self.take_as_it_is(one.planned.source(), error)?;
            }
        }
        Ok(())
    }

    /// Members of an archive that the descriptor does not name.
    fn look_at_strangers(&self, end: &End) {
        let package = &self.plan.request.source;
        for member in end.ova.members() {
            let name = member.name();
            let is_own = name == package.descriptor()
                || ["mf", "cert"].iter().any(|extension| name.has_extension(extension));
            if !is_own && package.reference(name).is_none() {
                self.note(Repair::LeftOut { file: name.clone() });
            }
        }
    }

    /// A certificate at the end of a stream.
    fn look_at_late_signature(&self, end: &End) -> Result<(), Error> {
        let package = &self.plan.request.source;
        if !package.may_be_signed_later() {
            return Ok(());
        }
        let sealed = package.sealed(end.manifest.as_ref(), end.certificate.as_ref());
        if let (Err(error), false) =
            (SignaturePolicy::default().judge(&sealed), self.plan.request.rehash)
        {
            return Err(error);
        }
        let is_new = end.certificate.is_some() && !package.has_certificate();
        if is_new && self.plan.request.signing_key.is_none() {
            self.note(Repair::Signature);
        }
        Ok(())
    }

    fn meters(&self) -> Vec<Arc<FileMeter>> {
        let weight = |file: &PlannedFile| {
            file.size_bytes.or(file.reference.size_bytes()).unwrap_or_default()
        };
        self.plan.files.iter().map(|file| self.meter.add_file(&file.file, weight(file))).collect()
    }

    /// Moves one file to its place.
    async fn copy(
        &self,
        planned: &PlannedFile,
        source: &dyn Source,
        meter: &Arc<FileMeter>,
        algorithms: Vec<DigestAlgorithm>,
        artefact: &Artefact,
        scope: &CancellationToken,
    ) -> Result<Copied, Error> {
        let (destination, sink_at) = artefact.destination(&planned.file);
        let inspect = Inspect { algorithms, disk: DiskCheck::structure(planned.is_stream) };
        let inspect = inspect.also(self.plan.request.algorithm);
        let source_at = self.plan.request.source.display();
        let mut sink = destination.create().await.map_err(|source| Error::Stream {
            file: planned.file.clone(),
            side: "writing to",
            at: sink_at.clone(),
            at_byte: 0,
            source,
        })?;
        let copy = Copy {
            file: planned.source(),
            source,
            source_at: &source_at,
            sink_at: &sink_at,
            inspect: &inspect,
            position: Position::Bytes,
            meter,
            stall: self.options.stall,
        };
        match copy.run(&mut *sink, scope).await {
            Ok((bytes, seen)) => {
                let mut planned = planned.clone();
                planned.size_bytes = Some(bytes);
                Ok(Copied { planned, bytes, seen, sink })
            }
            Err(error) => {
                remove(sink, &sink_at).await;
                Err(error)
            }
        }
    }

    /// Compares a file with what the manifest promises.
    async fn prove(&self, copied: Copied, promised: Option<&Digest>) -> Result<Moved, Error> {
        let Copied { planned, bytes, seen, sink } = copied;
        let check = |promised| {
            Verified::check(&planned.file, bytes, &seen, promised, None, Verification::Off)
        };
        let proven = match check(promised) {
            Err(error) => self.take_as_it_is(planned.source(), error).and_then(|()| check(None)),
            proven => proven,
        };
        let proof = match proven {
            Ok(proof) => proof,
            Err(error) => {
                remove(sink, planned.file.as_str()).await;
                return Err(error);
            }
        };
        self.options.observer.observe(&Event::FileProven {
            file: planned.file.clone(),
            bytes,
            digest: *proof.digest(),
            by_server: false,
        });
        Ok(Moved { planned, proof, seen, sink })
    }

    /// Lets a file pass that is not what the manifest says, if that is wanted.
    fn take_as_it_is(&self, file: &FileName, error: Error) -> Result<(), Error> {
        if !self.plan.request.rehash {
            return Err(error);
        }
        let Error::DigestMismatch { expected, computed, .. } = error else { return Err(error) };
        self.note(Repair::Digest { file: file.clone(), expected, computed });
        Ok(())
    }

    /// Keeps a repair for the report, and tells it if somebody should know at once.
    fn note(&self, repair: Repair) {
        if repair.is_on_trust() {
            warn(&self.options, repair.to_string());
        }
        self.repairs.lock().unwrap_or_else(PoisonError::into_inner).push(repair);
    }

    fn report(&self, moved: &Moved) -> Result<ConvertedFile, Error> {
        Ok(ConvertedFile {
            source: moved.planned.source().clone(),
            file: moved.planned.file.clone(),
            bytes: moved.proof.bytes(),
            capacity_bytes: moved.seen.disk.as_ref().map(|disk| disk.capacity_bytes()),
            digest: digest_of(&moved.seen, self.plan.request.algorithm)?,
            by_package: moved.proof.by_package(),
        })
    }
}

/// A file that lies where it belongs, and is not proven yet.
struct Copied {
    planned: PlannedFile,
    bytes: u64,
    seen: Inspection,
    sink: Box<dyn Sink>,
}

fn digest_of(seen: &Inspection, algorithm: DigestAlgorithm) -> Result<Digest, Error> {
    let lost = || Error::Refused { problem: "a digest was lost (a defect)".to_owned() };
    seen.digest(algorithm).copied().ok_or_else(lost)
}

fn add(manifest: &mut Manifest, file: &FileName, digest: Digest) -> Result<(), Error> {
    manifest
        .push(file.clone(), digest)
        .map_err(|source| Error::Manifest { package: file.to_string(), source: Box::new(source) })
}

async fn remove(sink: Box<dyn Sink>, what: &str) {
    if let Err(error) = sink.abort().await {
        tracing::warn!(what, %error, "could not be removed");
    }
}
