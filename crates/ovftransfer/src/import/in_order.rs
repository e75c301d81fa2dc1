//! Imports a package that comes in its own order and can be read only once.

use std::collections::BTreeMap;
use std::sync::Arc;

use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::envelope::Disk;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_vim::lease::LeaseInfo;
use tokio_util::sync::CancellationToken;

use crate::check::check_end;
use crate::check::check_size;
use crate::error::Error;
use crate::import::package::NO_MANIFEST;
use crate::import::package::PlannedFile;
use crate::import::package::not_proven;
use crate::import::package::signature_findings;
use crate::import::run::Running;
use crate::inspect::Inspection;
use crate::lease::LeaseApi;
use crate::meter::FileMeter;
use crate::server::warn;
use crate::server::warn_of;
use crate::store::Source;
use crate::store::in_order::Arrived;
use crate::store::in_order::InOrder;
use crate::store::package::Package;
use crate::transfer::Moved;
use crate::transfer::Shared;
use crate::transfer::discard;
use crate::transfer::move_all;

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
        in_order: &InOrder,
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
        in_order: &InOrder,
        under: &Under<'_>,
        moved: &mut Vec<Moved>,
    ) -> Result<(), Error> {
        loop {
            let next = in_order.next(Some(self.options.stall));
            let next = under.scope.run_until_cancelled(next).await;
            let Some(arrived) = next.unwrap_or(Err(Error::Cancelled))? else { break };
            let mut planned = self.plan.files.iter();
            // What the server did not ask for is skipped.
            let Some(planned) = planned.find(|planned| planned.file == *arrived.name()) else {
                continue;
            };
            if let Some(parent) = parent_of(&self.plan.package, &planned.file)
                && !moved.iter().any(|file| file.proof.file() == parent)
            {
                return Err(self.plan.package.wrong(format!(
                    "{} builds on {parent}, which comes after it; save the package to a file first",
                    planned.file
                )));
            }
            moved.extend(self.move_one(arrived, planned, under).await?);
        }
        let end = in_order.end().await?;
        for warning in end.ova.warnings() {
            warn(&self.options, warning.to_string());
        }
        let package = &self.plan.package;
        check_end(package, &end)?;
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
        if package.manifest().is_none() {
            for warning in not_proven(package, manifest) {
                warn(&self.options, warning);
            }
        }
        for file in moved {
            let Some(expected) = manifest.digest(file.proof.file()) else { continue };
            let seen = Inspection { digests: file.digests.clone(), disk: None };
            file.proof.confirm(&seen, expected)?;
        }
        Ok(())
    }

    async fn move_one(
        &self,
        arrived: Arrived,
        planned: &PlannedFile,
        under: &Under<'_>,
    ) -> Result<Vec<Moved>, Error> {
        let package = &self.plan.package;
        let size_bytes = arrived.size_bytes().unwrap_or_default();
        if let Some(reference) = package.reference(&planned.file) {
            check_size(package, reference, size_bytes)?;
        }
        let meter = under.meters.get(&planned.file).cloned();
        let meter = meter.unwrap_or_else(|| self.meter.add_file(&planned.file, size_bytes));
        let source = (Arc::new(arrived) as Arc<dyn Source>, size_bytes);
        let job = self.job(planned, source, meter, under.info, under.by_server)?;
        move_all(vec![vec![job]], under.lease, &under.shared, under.scope).await
    }
}

/// The file of the disk that a delta disk builds on.
fn parent_of<'p>(package: &'p Package, file: &FileName) -> Option<&'p FileName> {
    let envelope = package.envelope();
    let file_of = |disk: &'p Disk| Some(envelope.file(disk.file_ref()?)?.href());
    let disk = envelope.disks().iter().find(|disk| file_of(disk) == Some(file))?;
    file_of(envelope.disk(disk.parent_ref()?)?)
}
