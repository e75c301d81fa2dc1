//! Imports a package that comes in its own order and can be read only once.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::envelope::Disk;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_vim::lease::LeaseInfo;
use tokio_util::sync::CancellationToken;

use crate::check::algorithms_in_order;
use crate::check::check_end;
use crate::check::check_size;
use crate::copy::Copy;
use crate::error::Error;
use crate::import::converting::Origin;
use crate::import::disks::SAVE_FIRST;
use crate::import::disks::ToConvert;
use crate::import::disks::of_arrived;
use crate::import::package::NO_MANIFEST;
use crate::import::package::PlannedFile;
use crate::import::package::signature_findings;
use crate::import::run::Content;
use crate::import::run::Running;
use crate::inspect::DiskCheck;
use crate::inspect::Inspect;
use crate::inspect::Inspection;
use crate::inspect::Position;
use crate::lease::LeaseApi;
use crate::meter::FileMeter;
use crate::meter::Meter;
use crate::server::warn;
use crate::server::warn_of;
use crate::store::Source;
use crate::store::arriving;
use crate::store::arriving::Arriving;
use crate::store::arriving::check_late;
use crate::store::begun::Begun;
use crate::store::content::Seen;
use crate::store::file::FileSource;
use crate::store::in_order::InOrder;
use crate::store::package::Package;
use crate::store::parts::stopped;
use crate::store::reference::promised_by_name;
use crate::store::spool::Kept;
use crate::store::spool::SpoolSink;
use crate::store::spool::Spooled;
use crate::transfer::Moved;
use crate::transfer::Shared;
use crate::transfer::discard;
use crate::transfer::move_all;
use crate::verify::check_promise;

/// What every file of the import needs.
struct Under<'u> {
    info: &'u LeaseInfo,
    by_server: Option<DigestAlgorithm>,
    lease: &'u Arc<dyn LeaseApi>,
    shared: Shared,
    scope: &'u CancellationToken,
    meters: BTreeMap<FileName, Arc<FileMeter>>,
}

impl Running {
    /// Uploads files as they come, one after the other, and compares them at the end with what only
    /// the end tells.
    pub(super) async fn move_in_order(
        &self,
        in_order: &Arc<InOrder>,
        info: &LeaseInfo,
        by_server: Option<DigestAlgorithm>,
        lease: &Arc<dyn LeaseApi>,
        scope: &CancellationToken,
    ) -> Result<Vec<Moved>, Error> {
        let shared = self.options.shared_by_uploads();
        // All of them from the beginning: a percentage counts what is still to come.
        let meters = self.plan.files.iter().map(|planned| {
            let reference = self.plan.package.reference(&planned.file);
            let weight = reference.and_then(FileRef::size_bytes).unwrap_or_default();
            (planned.file.clone(), self.meter.add_file(&planned.file, weight))
        });
        let under = Under { info, by_server, lease, shared, scope, meters: meters.collect() };
        let mut moved = Vec::new();
        let outcome = self.move_each(in_order, &under, &mut moved).await;
        match outcome {
            Ok(()) => Ok(moved),
            Err(error) => {
                discard(moved).await;
                Err(error)
            }
        }
    }

    async fn move_each(
        &self,
        in_order: &Arc<InOrder>,
        under: &Under<'_>,
        moved: &mut Vec<Moved>,
    ) -> Result<(), Error> {
        // What went by of the files that others are made of.
        let mut parts: Vec<(FileRef, Seen)> = Vec::new();
        loop {
            // What the server did not ask for is skipped.
            let is_planned = |reference: &FileRef| self.planned(reference).is_some();
            let stall = Some(self.options.stall);
            let next = arriving::next(&self.plan.package, in_order, stall, is_planned);
            let next = under.scope.run_until_cancelled(next).await;
            let Some(arriving) = next.unwrap_or(Err(Error::Cancelled))? else { break };
            let Some(planned) = self.planned(&arriving.reference) else { continue };
            if let Some(parent) = parent_of(&self.plan.package, &planned.file)
                && !moved.iter().any(|file| file.proof.file() == parent)
            {
                return Err(self.plan.package.wrong(format!(
                    "{} builds on {parent}, which comes after it; {SAVE_FIRST}",
                    planned.file
                )));
            }
            let is_parts = arriving.seen.clone().map(|seen| (arriving.reference.clone(), seen));
            parts.extend(is_parts);
            moved.extend(self.move_one(arriving, planned, under).await?);
        }
        self.move_elsewhere(under, &mut parts, moved).await?;
        let end = in_order.end().await?;
        for warning in end.ova.warnings() {
            warn(&self.options, warning.to_string());
        }
        let package = &self.plan.package;
        for warning in check_end(package, &end)? {
            warn(&self.options, warning);
        }
        if package.may_be_signed_later() {
            let sealed = package.sealed(end.manifest.as_ref(), end.certificate.as_ref());
            let signature = self.plan.policy.judge(&sealed)?;
            warn_of(
                &self.options,
                &signature.iter().flat_map(signature_findings).collect::<Vec<_>>(),
            );
        }
        let is_moved = |name: &FileName| moved.iter().any(|file| file.proof.file() == name);
        if let Some(file) = self.plan.files.iter().find(|file| !is_moved(&file.file)) {
            return Err(package.wrong(format!("{} has not come", file.file)));
        }
        let Some(manifest) = &end.manifest else {
            warn(&self.options, NO_MANIFEST);
            return Ok(());
        };
        for file in moved {
            confirm(package, manifest, &parts, file)?;
        }
        Ok(())
    }

    /// Uploads what the stream does not have, because the descriptor names it by an address.
    async fn move_elsewhere(
        &self,
        under: &Under<'_>,
        parts: &mut Vec<(FileRef, Seen)>,
        moved: &mut Vec<Moved>,
    ) -> Result<(), Error> {
        let package = &self.plan.package;
        let mut jobs = Vec::new();
        for planned in &self.plan.files {
            let Some(known) = package.file(&planned.file) else { continue };
            let Some(meter) = under.meters.get(&planned.file).cloned() else { continue };
            let seen = known.content().map(|content| content.seen().clone());
            let reference = package.reference(&planned.file).cloned();
            parts.extend(reference.zip(seen));
            let (info, by_server) = (under.info, under.by_server);
            jobs.push(match &planned.conversion {
                Some(_) => {
                    let made =
                        self.converted_job(planned, meter, info, by_server, None, under.scope);
                    made.await?
                }
                None => self.known_job(planned, meter, info, by_server)?,
            });
        }
        moved.extend(move_all(self.lanes(jobs), under.lease, &under.shared, under.scope).await?);
        Ok(())
    }

    async fn move_one(
        &self,
        arriving: Arriving,
        planned: &PlannedFile,
        under: &Under<'_>,
    ) -> Result<Vec<Moved>, Error> {
        let Arriving { reference, source, seen, stored_bytes } = arriving;
        check_size(&self.plan.package, &reference, stored_bytes)?;
        let meter = under.meters.get(&planned.file).cloned();
        let meter = meter.unwrap_or_else(|| self.meter.add_file(&planned.file, stored_bytes));
        let (source, to_convert) = match planned.is_disk {
            true => self.look(&reference, &*source, under.scope).await?,
            false => (source, None),
        };
        let content = match (to_convert, source.size_bytes()) {
            (Some(to_convert), _) => {
                let is_of_parts = seen.is_some();
                let origin = (&reference, &*source, is_of_parts);
                self.convert(origin, &to_convert, &meter, under.scope).await?
            }
            (None, Some(size_bytes)) => Content::new(source, size_bytes),
            // A host has to be told the size before the first byte.
            (None, None) => {
                let spooled = self.spool(&reference, &*source, under.scope).await?;
                let size_bytes = spooled.size_bytes();
                Content::new(Arc::new(spooled), size_bytes)
            }
        };
        let job = self.job(planned, content, meter, under.info, under.by_server)?;
        move_all(vec![vec![job]], under.lease, &under.shared, under.scope).await
    }

    /// Looks at the first bytes of a disk: how it is converted, if it is.
    async fn look(
        &self,
        reference: &FileRef,
        source: &dyn Source,
        scope: &CancellationToken,
    ) -> Result<(Arc<dyn Source>, Option<ToConvert>), Error> {
        let package = &self.plan.package;
        let begun = scope.run_until_cancelled(Begun::of(source)).await.ok_or(Error::Cancelled)?;
        let begun =
            begun.map_err(|error| stopped(reference.href(), package.location(), 0, error))?;
        let found = of_arrived(package, reference, begun.head(), begun.size_bytes())?;
        Ok((Arc::new(begun), found))
    }

    /// Converts a disk as it comes; the last of the three says whether it is cut into chunks or
    /// compressed.
    async fn convert(
        &self,
        (reference, source, is_of_parts): (&FileRef, &dyn Source, bool),
        to_convert: &ToConvert,
        meter: &Arc<FileMeter>,
        scope: &CancellationToken,
    ) -> Result<Content, Error> {
        let package = &self.plan.package;
        let promised = package.promised(reference);
        let algorithms = match is_of_parts {
            // The parts are compared, not what they hold.
            true => vec![DigestAlgorithm::Sha256],
            false => algorithms_in_order(package, reference),
        };
        let origin = Origin {
            file: reference.href(),
            source,
            at_hand: None,
            size_bytes: source.size_bytes(),
            promised: promised.as_ref(),
            is_proven_by_parts: false,
            algorithms: &algorithms,
        };
        let converted = self.converter().run(origin, to_convert, meter, scope).await?;
        Ok(Content::converted(converted, None))
    }

    /// Keeps what a compressed file holds in a file without a name until its size is known.
    async fn spool(
        &self,
        reference: &FileRef,
        source: &dyn Source,
        scope: &CancellationToken,
    ) -> Result<FileSource, Error> {
        let folder = self.plan.spool_dir.clone();
        let broken = |source| Error::Local { action: "write into", path: folder.clone(), source };
        let kept = Kept::default();
        let sink = SpoolSink::create(reference.href().clone(), &folder, kept.clone());
        let mut sink = sink.await.map_err(broken)?;
        let package = &self.plan.package;
        let copy = Copy {
            file: reference.href(),
            source,
            source_at: &package.display(),
            sink_at: &folder.display().to_string(),
            inspect: &Inspect {
                algorithms: Vec::new(),
                disk: DiskCheck::structure(package.is_disk(reference)),
            },
            position: Position::Bytes,
            meter: &Meter::default().add_file(reference.href(), 0),
            stall: self.options.stall,
        };
        copy.run(&mut sink, scope).await?;
        let spooled = kept.lock().pop();
        let Some(Spooled { content, size_bytes, .. }) = spooled else {
            return Err(broken(io::ErrorKind::NotFound.into()));
        };
        Ok(FileSource::new(Arc::new(content), 0, size_bytes))
    }

    fn planned(&self, reference: &FileRef) -> Option<&PlannedFile> {
        self.plan.files.iter().find(|planned| planned.file == *reference.href())
    }
}

/// Compares what has been uploaded with a manifest that came after it; what was converted, by the
/// files that it was made of.
fn confirm(
    package: &Package,
    manifest: &Manifest,
    parts: &[(FileRef, Seen)],
    file: &mut Moved,
) -> Result<(), Error> {
    let late = |name: &FileName, digests: &[Digest]| {
        let Some(reference) = package.reference(name) else { return Ok(false) };
        if let Some((_, seen)) = parts.iter().find(|(one, _)| one.href() == name) {
            return check_late(reference, seen, manifest);
        }
        let Some(expected) = promised_by_name(Some(manifest), reference) else { return Ok(false) };
        let seen = Inspection { digests: digests.to_vec(), disk: None };
        check_promise(name, &seen, &expected).map(|()| true)
    };
    let by_package = match &mut file.conversion {
        None => late(file.proof.file(), &file.digests)?,
        Some(conversion) => {
            for from in &mut conversion.files {
                from.by_package |= late(&from.file, &from.digests)?;
            }
            conversion.by_package()
        }
    };
    if by_package {
        file.proof.confirm_parts();
    }
    Ok(())
}

/// The file of the disk that a delta disk builds on.
fn parent_of<'p>(package: &'p Package, file: &FileName) -> Option<&'p FileName> {
    let envelope = package.envelope();
    let file_of = |disk: &'p Disk| Some(envelope.file(disk.file_ref()?)?.href());
    let disk = envelope.disks().iter().find(|disk| file_of(disk) == Some(file))?;
    file_of(envelope.disk(disk.parent_ref()?)?)
}
