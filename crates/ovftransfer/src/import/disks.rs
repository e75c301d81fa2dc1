//! Which disks of a package are converted before they are sent, as a host takes nothing but
//! stream-optimized VMDKs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::envelope::Disk;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_vmdk::AnyImage;
use ovftransfer_vmdk::ConvertError;
use ovftransfer_vmdk::Descriptor;
use ovftransfer_vmdk::Format;
use ovftransfer_vmdk::Storage;
use ovftransfer_vmdk::VmdkError;
use ovftransfer_vmdk::check_image;
use ovftransfer_vmdk::open_storage;

use crate::error::Check;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Finding;
use crate::kind::Declared;
use crate::kind::DiskFileFormat;
use crate::store::file::FileSource;
use crate::store::file::blocking;
use crate::store::file::free_bytes;
use crate::store::package::Package;
use crate::store::parts::PackageFile;
use crate::store::parts::stopped;

/// What is known of the disks of a package before anything moves.
#[derive(Clone, Debug, Default)]
pub(super) struct Disks {
    /// Those to convert, by their names in the package.
    converted: BTreeMap<FileName, ToConvert>,
    /// Those that are stream-optimized, but the descriptor calls them something else.
    misnamed: BTreeSet<FileName>,
    /// Names that are given to converted disks, and how far those of each stem are counted.
    sent: BTreeSet<FileName>,
    numbers: BTreeMap<String, usize>,
    pub(super) findings: Vec<Finding>,
}

/// A disk that is converted before it is sent.
#[derive(Clone, Debug)]
pub(super) struct ToConvert {
    pub(super) kind: DiskFileFormat,
    /// What the server is told that the file is called.
    pub(super) sent_as: FileName,
    /// The other files of the disk: the names in its own descriptor, and in the package.
    pub(super) extents: Vec<(String, FileName)>,
    /// The capacity in the descriptor.
    pub(super) capacity_bytes: u64,
}

impl Disks {
    /// Looks at the first bytes of every disk that is there.  Of one that has yet to come the
    /// descriptor's word is taken, until it comes.
    ///
    /// # Errors
    ///
    /// [`Error::Package`] and [`Error::Disk`] for what cannot be converted, as far as that can be
    /// known without reading it.
    pub(super) async fn of(package: &Package) -> Result<Self, Error> {
        let mut disks = Self::default();
        let envelope = package.envelope();
        for reference in envelope.references() {
            let (href, file) = (reference.href(), package.file(reference.href()));
            let Some(declared) = Declared::of(envelope, reference) else { continue };
            let Some((file, head)) = file.and_then(|file| Some((file, file.head()?))) else {
                if package.is_in_order() && reference.url().is_none() {
                    disks.presume(package, reference, &declared)?;
                }
                continue;
            };
            let wrong = |problem: String| package.wrong(format!("{href} {problem}"));
            let kind = declared.kind(head, file.size_bytes()).map_err(wrong)?;
            if let Some(problem) = declared.contradiction(kind) {
                disks.findings.push(Finding::warning(Check::Package, href.as_str(), problem));
            }
            if kind == DiskFileFormat::StreamOptimized {
                disks.misnamed.extend(declared.says_other().then(|| href.clone()));
                continue;
            }
            check_alone(package, reference, kind)?;
            let extents = if kind == DiskFileFormat::Extents {
                extents(package, reference, file).await?
            } else {
                Vec::new()
            };
            let sent_as = disks.sent_as(package, href);
            let capacity_bytes = declared.capacity_bytes;
            let to_convert = ToConvert { kind, sent_as, extents, capacity_bytes };
            look(package, href, &to_convert).await?;
            disks.converted.insert(href.clone(), to_convert);
        }
        Ok(disks)
    }

    /// Notes what the descriptor says about a disk of which nothing has come yet.
    fn presume(
        &mut self,
        package: &Package,
        reference: &FileRef,
        declared: &Declared<'_>,
    ) -> Result<(), Error> {
        let href = reference.href();
        let Some(kind) = declared.kind_by_uri() else {
            self.misnamed.extend(declared.says_other().then(|| href.clone()));
            return Ok(());
        };
        check_alone(package, reference, kind)?;
        let (sent_as, capacity_bytes) = (self.sent_as(package, href), declared.capacity_bytes);
        let to_convert = ToConvert { kind, sent_as, extents: Vec::new(), capacity_bytes };
        self.converted.insert(href.clone(), to_convert);
        Ok(())
    }

    /// A name for what is sent that says what it is, and that nothing else has.
    fn sent_as(&mut self, package: &Package, href: &FileName) -> FileName {
        let stem = href.as_str().rsplit_once('.').map_or(href.as_str(), |(stem, _)| stem);
        let last = self.numbers.entry(stem.to_owned()).or_default();
        let is_free = |name: &FileName| {
            name == href || (package.reference(name).is_none() && !self.sent.contains(name))
        };
        let name_of = |number| match number {
            0 => FileName::new(format!("{stem}.vmdk")),
            _ => FileName::new(format!("{stem}-{number}.vmdk")),
        };
        // What was not free before is not free now.
        let numbers = std::iter::once(0).chain(*last + 1..);
        let found = numbers
            .take(package.envelope().references().len() + 1)
            .filter_map(|number| Some((number, name_of(number).ok()?)))
            .find(|(_, name)| is_free(name));
        let (number, name) = found.unwrap_or_else(|| (0, href.clone()));
        *last = number.max(*last);
        self.sent.insert(name.clone());
        name
    }

    /// How a disk is converted, if it is.
    pub(super) fn conversion(&self, file: &FileName) -> Option<&ToConvert> {
        self.converted.get(file)
    }

    /// Disks that are sent as they are, and of which the descriptor gets the right format.
    pub(super) fn is_misnamed(&self, file: &FileName) -> bool {
        self.misnamed.contains(file)
    }

    /// Whether a file is a part of a disk that is sent as a whole.
    pub(super) fn is_extent(&self, file: &FileName) -> bool {
        self.converted.values().any(|one| one.extents.iter().any(|(_, name)| name == file))
    }

    /// The package's name for a file that the server knows by another.
    pub(super) fn of_sent<'d>(&'d self, sent: &'d FileName) -> &'d FileName {
        let found = self.converted.iter().find(|(_, one)| one.sent_as == *sent);
        found.map_or(sent, |(name, _)| name)
    }

    /// Bytes of a disk that are written for sure, if it is converted: nobody knows of a raw disk
    /// how much of it is zeros.
    pub(super) fn sure_bytes(&self, file: &FileName, stored_bytes: u64) -> u64 {
        match self.conversion(file).map(|one| one.kind) {
            Some(DiskFileFormat::Raw | DiskFileFormat::Extents) => 0,
            Some(
                DiskFileFormat::Qcow2
                | DiskFileFormat::SparseVmdk
                | DiskFileFormat::StreamOptimized,
            )
            | None => stored_bytes,
        }
    }

    /// Whether the spool has room: two converted disks at a time, and what cannot be read by
    /// position as it is.
    pub(super) fn check_space(&mut self, package: &Package, folder: &Path) {
        let mut sizes: Vec<(u64, u64)> = Vec::new();
        for (file, to_convert) in &self.converted {
            let names = std::iter::once(file).chain(to_convert.extents.iter().map(|(_, n)| n));
            let (mut fetched, mut data) = (0, 0);
            for name in names {
                let found = package.file(name);
                let told = package.reference(name).and_then(FileRef::size_bytes);
                let stored = found.map_or(told.unwrap_or(0), PackageFile::stored_bytes);
                let at_hand = found.and_then(PackageFile::at_hand);
                data += at_hand.map_or(stored, FileSource::allocated_bytes);
                let is_spooled = to_convert.kind != DiskFileFormat::Raw && at_hand.is_none();
                fetched += if is_spooled { stored } else { 0 };
            }
            sizes.push((fetched, data));
        }
        let Ok(free) = free_bytes(folder) else { return };
        let needed = sizes.iter().map(|(fetched, _)| *fetched).max().unwrap_or_default();
        sizes.sort_by_key(|(fetched, data)| std::cmp::Reverse(fetched.saturating_add(*data)));
        let both = sizes.iter().take(SPOOLS_AT_ONCE);
        let most = both.map(|(fetched, data)| fetched.saturating_add(*data)).sum::<u64>();
        let subject = folder.display().to_string();
        let advice = "make room, or name another folder for the spool";
        if needed > free {
            let problem = format!("the disks wait there, {needed} bytes, but {free} are free");
            let finding = Finding::error(Check::Space, ErrorKind::NoSpace, subject, problem);
            self.findings.push(finding.advise(advice));
        } else if most > free {
            let problem =
                format!("converted disks wait there, up to {most} bytes, but {free} are free");
            self.findings.push(Finding::warning(Check::Space, subject, problem).advise(advice));
        }
    }
}

/// Opens a disk of files that are read by position.
pub(super) fn open(
    kind: DiskFileFormat,
    main: Arc<dyn Storage>,
    extents: &BTreeMap<String, Arc<dyn Storage>>,
) -> Result<AnyImage, VmdkError> {
    let format = match kind {
        DiskFileFormat::Qcow2 => Format::Qcow2,
        DiskFileFormat::Raw => Format::Raw,
        DiskFileFormat::Extents | DiskFileFormat::SparseVmdk | DiskFileFormat::StreamOptimized => {
            Format::Vmdk
        }
    };
    open_storage(main, Some(format), &|name| {
        extents.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    })
}

/// A disk of a package that cannot be converted.
pub(super) fn unusable(file: &FileName, error: VmdkError) -> Error {
    Error::Disk { path: PathBuf::from(file.as_str()), source: Box::new(error) }
}

/// A disk must not be larger than the machine thinks: its end would be lost.
pub(super) fn check_capacity(
    package: &Package,
    file: &FileName,
    found_bytes: u64,
    capacity_bytes: u64,
) -> Result<(), Error> {
    if found_bytes <= capacity_bytes.next_multiple_of(512) {
        return Ok(());
    }
    Err(package.wrong(format!(
        "{file} is a disk of {found_bytes} bytes, but the descriptor has room for \
         {capacity_bytes}; set the capacity right in the descriptor"
    )))
}

/// Opens a disk of this machine, to find out what is wrong with it before a lease is taken.
async fn look(package: &Package, file: &FileName, to_convert: &ToConvert) -> Result<(), Error> {
    let at_hand = |name: &FileName| package.file(name).and_then(PackageFile::at_hand).cloned();
    let size_bytes = package.file(file).and_then(PackageFile::size_bytes);
    let capacity_bytes = to_convert.capacity_bytes;
    if to_convert.kind == DiskFileFormat::Raw {
        return match size_bytes {
            Some(found) => check_capacity(package, file, found, capacity_bytes),
            None => Ok(()),
        };
    }
    let Some(main) = at_hand(file) else { return Ok(()) };
    let mut parts = Vec::new();
    for (name, part) in &to_convert.extents {
        let Some(part) = at_hand(part) else { return Ok(()) };
        parts.push((name.clone(), part));
    }
    let kind = to_convert.kind;
    let opened = blocking(move || {
        let broken = |source| VmdkError::Io { at_byte: 0, source };
        let parts = parts.into_iter().map(|(name, part)| Ok((name, part.storage()?)));
        let parts = parts.collect::<io::Result<_>>().map_err(broken)?;
        open(kind, main.storage().map_err(broken)?, &parts)
    });
    let image = opened.await.map_err(|error| unusable(file, error))?;
    check_capacity(package, file, image.as_image().capacity_bytes(), capacity_bytes)?;
    // Tables that share a grain make many TiB of a few MiB.
    let checked = blocking(move || check_image(&image, &mut |_| ControlFlow::Continue(())));
    match checked.await {
        Err(ConvertError::Source(error)) => Err(unusable(file, error)),
        // Nothing else ends a check that nobody cancels.
        _ => Ok(()),
    }
}

/// The other files that the descriptor of a VMDK names; they are of the package, too.
async fn extents(
    package: &Package,
    reference: &FileRef,
    file: &PackageFile,
) -> Result<Vec<(String, FileName)>, Error> {
    let href = reference.href();
    let broken = |source| stopped(href, package.location(), 0, source);
    let mut text = Vec::new();
    let mut stream = file.source().open().await.map_err(broken)?;
    while let Some(chunk) = stream.try_next().await.map_err(broken)? {
        text.extend_from_slice(&chunk);
        if text.len() > EXTENTS_TEXT_MAX {
            let problem = format!("{href}: larger than the descriptor of a VMDK can be");
            return Err(package.wrong(problem));
        }
    }
    let folder = href.as_str().rsplit_once('/').map(|(folder, _)| folder);
    let mut found: Vec<(String, FileName)> = Vec::new();
    let lines = Descriptor::parse(&text).extents().into_iter();
    for extent in lines.filter(|extent| extent.kind != "ZERO") {
        let path = folder.map_or(extent.file.clone(), |folder| format!("{folder}/{}", extent.file));
        let name = FileName::new(path.clone()).ok();
        let name = name.as_ref().and_then(|name| package.reference(name)).map(FileRef::href);
        let Some(name) = name.filter(|name| package.file(name).is_some()) else {
            return Err(package.wrong(format!(
                "the disk {href} has its data in {path}, which the descriptor of the package does \
                 not name (References)"
            )));
        };
        if found.iter().all(|(known, _)| *known != extent.file) {
            found.push((extent.file, name.clone()));
        }
    }
    Ok(found)
}

/// What a disk that comes in a stream really is, by its first bytes: nothing if it is sent as it is.
pub(super) fn of_arrived(
    package: &Package,
    reference: &FileRef,
    head: &[u8],
    size_bytes: Option<u64>,
) -> Result<Option<ToConvert>, Error> {
    let href = reference.href();
    let Some(declared) = Declared::of(package.envelope(), reference) else { return Ok(None) };
    let wrong = |problem: String| package.wrong(format!("{href} {problem}"));
    let kind = declared.kind(head, size_bytes).map_err(wrong)?;
    if kind == DiskFileFormat::StreamOptimized {
        return Ok(None);
    }
    check_alone(package, reference, kind)?;
    if kind == DiskFileFormat::Extents {
        let problem = format!("is {kind}, which cannot be read in a stream: {SAVE_FIRST}");
        return Err(wrong(problem));
    }
    let (sent_as, capacity_bytes) = (href.clone(), declared.capacity_bytes);
    Ok(Some(ToConvert { kind, sent_as, extents: Vec::new(), capacity_bytes }))
}

/// A disk that is converted stands alone: nobody converts what is between two disks.
fn check_alone(package: &Package, reference: &FileRef, kind: DiskFileFormat) -> Result<(), Error> {
    if !is_of_chain(package, reference) {
        return Ok(());
    }
    let href = reference.href();
    let problem = format!("{href} is {kind} and one of a chain of deltas: convert it first");
    Err(package.wrong(problem))
}

/// Whether a disk is a delta, or has one.
fn is_of_chain(package: &Package, reference: &FileRef) -> bool {
    let disks = package.envelope().disks();
    let is_of = |disk: &&Disk| disk.file_ref() == Some(reference.id());
    let is_parent = |id: &str| disks.iter().any(|disk| disk.parent_ref() == Some(id));
    disks.iter().filter(is_of).any(|disk| disk.parent_ref().is_some() || is_parent(disk.id()))
}

/// Converted disks that are there at the same time: one that is being written, and one that is being
/// sent.
pub(super) const SPOOLS_AT_ONCE: usize = 2;

/// What to do about a package that a stream is not good enough for.
pub(super) const SAVE_FIRST: &str = "save the package to a file first";

/// The largest descriptor of a VMDK that is read, as for a disk of its own.
const EXTENTS_TEXT_MAX: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::store::local::at_once;

    /// Names are counted through, and found without a look at every reference.
    #[test]
    fn many_disks_of_one_stem_get_names_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let (mut files, mut disks) = (String::new(), String::new());
        for number in 1..=2_000 {
            fs::write(folder.path().join(format!("d.{number}")), [0; 512]).unwrap();
            write!(files, "<File o:id=\"{number}\" o:href=\"d.{number}\"/>").unwrap();
            write!(
                disks,
                "<Disk o:diskId=\"{number}\" o:fileRef=\"{number}\" o:capacity=\"512\"/>"
            )
            .unwrap();
        }
        // It keeps its name, and nobody else gets it.
        fs::write(folder.path().join("d-7.vmdk"), [0; 512]).unwrap();
        files += "<File o:id=\"last\" o:href=\"d-7.vmdk\"/>";
        disks += "<Disk o:diskId=\"last\" o:fileRef=\"last\" o:capacity=\"512\"/>";
        let text = format!(
            "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
             xmlns:o=\"http://schemas.dmtf.org/ovf/envelope/1\">\
             <References>{files}</References><DiskSection><Info/>{disks}</DiskSection>\
             <VirtualSystem o:id=\"vm\"><Info/></VirtualSystem></Envelope>"
        );
        let path = folder.path().join("vm.ovf");
        fs::write(&path, text).unwrap();
        let package = Package::open(&path).unwrap();
        let started = Instant::now();
        let found = at_once(Disks::of(&package)).unwrap();
        assert!(started.elapsed() < TIME_MAX, "{:?}", started.elapsed());
        let sent = |href: &str| {
            found.conversion(&FileName::new(href).unwrap()).unwrap().sent_as.as_str().to_owned()
        };
        assert_eq!([sent("d.1"), sent("d.2"), sent("d.7")], ["d.vmdk", "d-1.vmdk", "d-6.vmdk"]);
        assert_eq!([sent("d.8"), sent("d-7.vmdk")], ["d-8.vmdk", "d-7.vmdk"]);
        let names: BTreeSet<&FileName> = found.converted.values().map(|one| &one.sent_as).collect();
        assert_eq!(names.len(), 2_001);
    }

    /// For one package, in a test build on a busy machine.
    const TIME_MAX: Duration = Duration::from_secs(5);
}
