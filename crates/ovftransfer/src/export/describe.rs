//! Descriptor and manifest of an export.

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_vim::ovf::OvfFile;

use crate::error::Error;
use crate::kind::RAW_URI;
use crate::transfer::Moved;

/// What descriptor and manifest say about the files, in their order.
pub(super) struct Contents {
    pub(super) files: Vec<OvfFile>,
    pub(super) digests: Vec<(FileName, Digest)>,
    /// Disks that were written as raw ones.
    pub(super) raw: Vec<FileName>,
}

impl Contents {
    /// Takes what is known of the files that moved, in this `order`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the files are not those of `order`, or have no such digest.
    pub(super) fn of<'m>(
        moved: impl Iterator<Item = &'m Moved>,
        order: &[FileName],
        algorithm: DigestAlgorithm,
    ) -> Result<Self, Error> {
        let moved: Vec<&Moved> = moved.collect();
        let lost = || Error::Refused { problem: "a file was lost (a defect)".to_owned() };
        let mut contents = Self { files: Vec::new(), digests: Vec::new(), raw: Vec::new() };
        for file in order {
            let one = moved.iter().find(|one| one.proof.file() == file).ok_or_else(lost)?;
            let written = one.written.as_ref().map(|(_, digest)| digest);
            let mut digests = written.into_iter().chain(&one.digests);
            let digest = digests.find(|digest| digest.algorithm() == algorithm).ok_or_else(lost)?;
            contents.files.push(described(one));
            contents.digests.push((file.clone(), *digest));
            contents.raw.extend(written.map(|_| file.clone()));
        }
        if order.len() == moved.len() { Ok(contents) } else { Err(lost()) }
    }
}

/// What the server is told about a file, so that the descriptor is right by construction.
fn described(moved: &Moved) -> OvfFile {
    let entry = moved.entry.as_ref();
    let disk = moved.disk.as_ref();
    OvfFile {
        device_key: moved.key.clone(),
        path: moved.proof.file().to_string(),
        size_bytes: moved.written.map_or(moved.proof.bytes(), |(bytes, _)| bytes),
        capacity_bytes: entry
            .and_then(|entry| entry.capacity_bytes)
            .or_else(|| disk.map(|disk| disk.capacity_bytes())),
        populated_bytes: entry
            .and_then(|entry| entry.populated_bytes)
            .or_else(|| disk.map(|disk| disk.populated_bytes())),
    }
}

/// Compares the descriptor that the server made with the files that it is to describe.
///
/// # Errors
///
/// [`Error::Refused`] if it does not name exactly these files, each once; if it says another size
/// (it may leave the size out); or if it cannot be read, as nobody else could read it then.
pub(super) fn check_described(descriptor: &str, files: &[OvfFile]) -> Result<Envelope, Error> {
    let envelope = Envelope::parse(descriptor).map_err(|error| refused(error.to_string()))?;
    let references = envelope.references();
    if let Some(odd) = references.iter().find(|one| !files.iter().any(|file| is_of(one, file))) {
        return Err(refused(format!("{} is not exported", odd.href())));
    }
    for file in files {
        let mut named = references.iter().filter(|reference| is_of(reference, file));
        let (Some(reference), None) = (named.next(), named.next()) else {
            return Err(refused(format!("{} is not there exactly once", file.path)));
        };
        if let Some(size_bytes) = reference.size_bytes()
            && size_bytes != file.size_bytes
        {
            let (path, moved) = (&file.path, file.size_bytes);
            return Err(refused(format!("{path} has {size_bytes} bytes in it, but {moved} moved")));
        }
    }
    Ok(envelope)
}

/// The descriptor with its references in the order of the files, and the format of those that are raw.
pub(super) fn in_order(
    envelope: &Envelope,
    order: &[FileName],
    raw: &[FileName],
) -> Result<Envelope, Error> {
    let mut edit = envelope.edit();
    edit.order_references(order);
    for disk in envelope.disks() {
        let file = disk.file_ref().and_then(|id| envelope.file(id));
        if file.is_some_and(|file| raw.contains(file.href())) {
            edit.disk_format(disk.id(), RAW_URI);
        }
    }
    edit.apply().map_err(|error| refused(error.to_string()))
}

fn refused(problem: String) -> Error {
    Error::Refused { problem: format!("the server made a descriptor that does not fit: {problem}") }
}

fn is_of(reference: &FileRef, file: &OvfFile) -> bool {
    reference.href().as_str() == file.path
}

pub(super) fn add(manifest: &mut Manifest, file: &FileName, digest: Digest) -> Result<(), Error> {
    manifest
        .push(file.clone(), digest)
        .map_err(|source| Error::Manifest { package: file.to_string(), source: Box::new(source) })
}

pub(super) fn small_file(base: &str, extension: &str) -> Result<FileName, Error> {
    FileName::new(format!("{base}.{extension}")).map_err(|error| Error::Refused {
        problem: format!("the package cannot be called {base:?}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "http://schemas.dmtf.org/ovf/envelope/1";

    fn descriptor(files: &[(&str, &str)]) -> String {
        let files: String = files
            .iter()
            .zip(1..)
            .map(|((href, size), id)| format!(r#"<File ovf:href="{href}" ovf:id="f{id}" {size}/>"#))
            .collect();
        format!(
            r#"<Envelope xmlns="{NAMESPACE}" xmlns:ovf="{NAMESPACE}">
               <References>{files}</References>
               <VirtualSystem ovf:id="web"><Info>A machine</Info></VirtualSystem></Envelope>"#
        )
    }

    fn moved(path: &str, size_bytes: u64) -> OvfFile {
        OvfFile {
            device_key: ovftransfer_vim::lease::DeviceKey::new(path),
            path: path.to_owned(),
            size_bytes,
            capacity_bytes: None,
            populated_bytes: None,
        }
    }

    #[test]
    fn a_descriptor_must_describe_what_moved() {
        let files = [moved("a.vmdk", 10), moved("b.vmdk", 20)];
        let (a, b) = (("a.vmdk", r#"ovf:size="10""#), ("b.vmdk", r#"ovf:size="20""#));
        check_described(&descriptor(&[a, b]), &files).unwrap();
        check_described(&descriptor(&[("b.vmdk", ""), a]), &files).unwrap();
        for (named, expected) in [
            (&[a][..], "b.vmdk"),
            (&[a, ("c.vmdk", ""), b], "c.vmdk"),
            (&[a, ("b.vmdk", r#"ovf:size="21""#)], "21 bytes"),
            (&[a, a, b], "a.vmdk"),
        ] {
            let error = check_described(&descriptor(named), &files).unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(check_described("", &files).is_err());
    }
}
