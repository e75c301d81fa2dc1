//! Looks at the server and at this machine before an export begins.

use ovftransfer_vim::inventory::VmFacts;

use super::Subject;
use crate::artefact::Place;
use crate::disk::DiskFormat;
use crate::error::Check;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Finding;
use crate::hosts;
use crate::rights;
use crate::server::Server;
use crate::store::file::blocking;
use crate::store::file::free_bytes;
use crate::store::file::nearest;

/// What stands against the export, or may.  What `is_held` by a run that was killed is set free when
/// the export starts.
pub(super) async fn look(
    server: &Server,
    subject: &Subject,
    place: &Place,
    is_held: bool,
    format: DiskFormat,
) -> Result<Vec<Finding>, Error> {
    let entity = subject.entity();
    let mut wanted = vec![(entity.clone(), "VApp.Export", "it")];
    if let Subject::Live(_) = subject {
        wanted.push((entity.clone(), "VirtualMachine.State.CreateSnapshot", "it"));
        wanted.push((entity.clone(), "VirtualMachine.State.RemoveSnapshot", "it"));
    }
    let mut findings = rights::missing(server, wanted).await?;
    findings.extend(refused(subject).filter(|_| !is_held));
    findings.extend(space(subject, place, format).await);
    findings.extend(subject.machines().iter().flat_map(encryption));
    // A bare host serves its disks itself.
    if !server.session().about().is_host() {
        findings.push(hosts::not_known_yet());
    }
    Ok(findings)
}

/// The server says beforehand what it would refuse.
fn refused(subject: &Subject) -> Option<Finding> {
    let (method, advice) = match subject {
        Subject::Machine(facts) if facts.refuses("ExportVm") => ("ExportVm", "wait for it"),
        Subject::Live(facts) if facts.refuses("CreateSnapshot_Task") => {
            ("CreateSnapshot_Task", "power it off, and export it without a snapshot")
        }
        Subject::Vapp(facts) if facts.disabled_methods.iter().any(|name| name == "ExportVApp") => {
            ("ExportVApp", "wait for it")
        }
        Subject::Machine(_) | Subject::Live(_) | Subject::Snapshot(..) | Subject::Vapp(_) => {
            return None;
        }
    };
    let problem = format!("the server does not allow {method} at present: something is under way");
    let finding = Finding::error(Check::Place, ErrorKind::Refused, subject.name(), problem);
    Some(finding.advise(advice))
}

/// What of a machine is encrypted.  vSphere documents that it exports no such machine, but not which
/// call refuses it, and releases differ: the server has the last word.
fn encryption(machine: &VmFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut parts: Vec<&str> =
        machine.disks.iter().filter(|disk| disk.is_encrypted).map(|disk| &*disk.label).collect();
    // With a virtual TPM the configuration is always encrypted.
    if machine.is_encrypted && !machine.has_tpm {
        parts.insert(0, "its configuration");
    }
    let warning = |problem: String| Finding::warning(Check::Encryption, &machine.name, problem);
    if !parts.is_empty() {
        let problem = format!(
            "is encrypted ({}): the server may refuse to export it, and what it exports is not \
             encrypted",
            parts.join(", ")
        );
        let advice = "if it refuses, decrypt the machine, or a clone of it, by a storage policy \
                      without encryption";
        findings.push(warning(problem).advise(advice));
    }
    if machine.has_tpm {
        let problem = "has a virtual TPM: what it keeps does not go along, and the server may \
                       refuse to export the machine";
        let advice = "have the recovery key at hand if the guest is encrypted with the TPM";
        findings.push(warning(problem.to_owned()).advise(advice));
    }
    findings
}

/// A guess: what the disks take on their datastores is more than what moves, as that is compressed,
/// and about what raw disks take, if they may have holes.
async fn space(subject: &Subject, place: &Place, format: DiskFormat) -> Option<Finding> {
    let folder = place.folder()?;
    let machines = subject.machines().iter();
    if format == DiskFormat::Raw && place.is_archive() {
        let disks = machines.flat_map(|machine| &machine.disks);
        let capacity = disks.map(|disk| disk.capacity_bytes).fold(0, u64::saturating_add);
        let at = folder.clone();
        let free =
            blocking(move || nearest(&at).and_then(|folder| free_bytes(folder).ok())).await?;
        let problem = format!("{free} bytes are free, and raw disks in an archive take {capacity}");
        let finding = Finding::warning(Check::Space, folder.display().to_string(), problem);
        return (free < capacity)
            .then(|| finding.advise("export into a folder: it can have holes"));
    }
    let needed: u64 = machines.filter_map(|machine| machine.unshared_bytes).sum();
    let at = folder.clone();
    let free = blocking(move || nearest(&at).and_then(|folder| free_bytes(folder).ok())).await?;
    if free >= needed {
        return None;
    }
    let problem = format!(
        "{free} bytes are free, and the disks take {needed} on their datastores{}",
        if format == DiskFormat::Raw { "" } else { "; compressed it may be less" }
    );
    let finding = Finding::warning(Check::Space, folder.display().to_string(), problem);
    Some(finding.advise("make room if you can"))
}
