//! What the package itself says about an import: that it is whole, and which file is which.

use ovftransfer_ovf::FileName;
use ovftransfer_ovf::certificate::Signature;
use ovftransfer_vim::ovf::FileItem;

use crate::check::check_sizes;
use crate::check::named_in_vain;
use crate::check::not_proven;
use crate::error::Check;
use crate::error::Error;
use crate::error::Finding;
use crate::import::disks::Disks;
use crate::import::disks::ToConvert;
use crate::import::sent::Sent;
use crate::store::package::Package;

/// What can be known to go wrong before the server is asked; returns what is only odd.
pub(super) fn check_package(package: &Package) -> Result<Vec<Finding>, Error> {
    package.prove_descriptor()?;
    package.check_fetched()?;
    check_sizes(package)?;
    let mut texts = package.warnings().to_vec();
    texts.extend(package.missing().iter().map(named_in_vain));
    texts.extend(manifest_warnings(package)?);
    Ok(texts.into_iter().map(|text| Finding::warning(Check::Package, "", text)).collect())
}

/// What a signature says, and what stands against trusting it.
pub(super) fn signature_findings(signature: &Signature) -> Vec<Finding> {
    let warning = |text: String| Finding::warning(Check::Signature, "", text);
    let told = match signature.problem() {
        Some(problem) => warning(problem),
        None => {
            let (subject, algorithm) = (&signature.subject, signature.algorithm);
            Finding::note(
                Check::Signature,
                "",
                format!("signed by {subject} ({algorithm}), trusted"),
            )
        }
    };
    let odd = signature.warnings.iter().cloned().map(warning);
    std::iter::once(told).chain(odd).collect()
}

/// What is not proven by a manifest, if there is one.
fn manifest_warnings(package: &Package) -> Result<Vec<String>, Error> {
    let Some(manifest) = package.manifest() else {
        let text = if package.is_in_order() { MANIFEST_MAY_COME } else { NO_MANIFEST };
        return Ok(vec![text.to_owned()]);
    };
    not_proven(package, manifest)
}

/// Finds the package's file for everything that the server will ask for.
pub(super) fn plan_files(
    package: &Package,
    sent: &Sent<'_>,
    disks: &Disks,
    items: Vec<FileItem>,
) -> Result<Vec<PlannedFile>, Error> {
    let plan = |item: FileItem| {
        let unknown = || Error::Refused {
            problem: format!("the server asks for {}, which the package does not have", item.path),
        };
        let file = FileName::new(item.path.clone()).map_err(|_| unknown())?;
        let file = package.reference(disks.of_sent(&file)).ok_or_else(unknown)?.href().clone();
        let conversion = disks.conversion(&file).cloned();
        let size_bytes = sent.size_bytes(&file).filter(|_| conversion.is_none());
        let is_disk = !item.is_created;
        Ok(PlannedFile { size_bytes, file, item, is_disk, conversion })
    };
    items.into_iter().map(plan).collect()
}

/// One file that will be uploaded.
#[derive(Clone, Debug)]
pub(super) struct PlannedFile {
    pub(super) file: FileName,
    pub(super) item: FileItem,
    /// Not known of a file that has yet to come, or is converted first.
    pub(super) size_bytes: Option<u64>,
    pub(super) is_disk: bool,
    /// How the disk is converted before it is sent, if it is.
    pub(super) conversion: Option<ToConvert>,
}

pub(super) const NO_MANIFEST: &str =
    "the package has no manifest: its files are not checked against the packer's digests";

const MANIFEST_MAY_COME: &str =
    "no manifest has come yet: if there is one at the end, the files are checked against it then";
