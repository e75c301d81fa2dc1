//! The index of an OVA: which member stands where.

use std::collections::BTreeMap;

use super::error::OvaError;
use super::error::OvaWarning;
use super::walk::Member;
use super::walk::Rules;
use super::walk::Walk;
use super::walk::Wanted;
use crate::name::FileName;
use crate::read_at::ReadAt;

/// The members of an OVA (DSP0243 1.1.0 §5.3), by their place in the file.
///
/// Only headers are read, so that an index costs the same for any size of disks.  Members are then
/// read by position, several at once.
///
/// ```
/// use ovftransfer_ovf::FileName;
/// use ovftransfer_ovf::ova::{Ova, Writer};
///
/// let mut writer = Writer::new(Vec::new());
/// writer.append(&FileName::new("vm.ovf")?, 3, &mut b"<a>".as_slice())?;
/// writer.append(&FileName::new("disk-1.vmdk")?, 4, &mut b"KDMV".as_slice())?;
/// let archive = writer.finish()?;
///
/// let ova = Ova::index(&archive)?;
/// assert_eq!(ova.descriptor().name().as_str(), "vm.ovf");
/// let disk = ova.member(&FileName::new("disk-1.vmdk")?).expect("it was written");
/// assert_eq!(&archive[disk.offset_bytes() as usize..][..4], b"KDMV");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Ova {
    descriptor: Member,
    members: Vec<Member>,
    manifest: Option<Member>,
    certificate: Option<Member>,
    /// Where in `members` a name stands.
    places: BTreeMap<FileName, usize>,
    warnings: Vec<OvaWarning>,
}

impl Ova {
    /// Reads the headers of an archive.
    ///
    /// # Errors
    ///
    /// An [`OvaError`] that says where and what; see there for what is refused.
    pub fn index(source: &dyn ReadAt) -> Result<Self, OvaError> {
        Self::index_by(Rules::Strict, source)
    }

    /// Reads the headers of an archive by other rules.
    ///
    /// # Errors
    ///
    /// An [`OvaError`] that says where and what; see there for what is refused.
    pub fn index_by(rules: Rules, source: &dyn ReadAt) -> Result<Self, OvaError> {
        let len_bytes =
            source.len_bytes().map_err(|source| OvaError::Read { at_byte: 0, source })?;
        let mut walk = Walk::new(Some(len_bytes)).by(rules);
        let mut bytes = Vec::new();
        while let Some(Wanted { at_byte, len_bytes }) = walk.wanted() {
            bytes.resize(len_bytes, 0);
            let read = source.read_exact_at(&mut bytes, at_byte);
            read.map_err(|source| OvaError::Read { at_byte, source })?;
            walk.feed(&bytes)?;
        }
        Self::new(walk)
    }

    /// The index of an archive that has been walked to its end.
    ///
    /// # Errors
    ///
    /// An [`OvaError`] if its members are not those of a package.
    pub fn new(walk: Walk) -> Result<Self, OvaError> {
        let (members, mut warnings) = walk.into_parts();
        let descriptor = the_descriptor(&members)?;
        if let Some(first) = own(&members).next().filter(|first| **first != descriptor) {
            warnings.push(OvaWarning::DescriptorNotFirst { file: first.name.clone() });
        }
        let manifest = the_only(&members, "mf", &descriptor, &mut warnings);
        let certificate = the_only(&members, "cert", &descriptor, &mut warnings);
        if let Some(Member { name, .. }) = &manifest
            && name.stem() != descriptor.name.stem()
        {
            warnings.push(OvaWarning::ManifestName { file: name.clone() });
        }
        let places = (0..).zip(&members).map(|(place, member)| (member.name.clone(), place));
        let places = places.collect();
        Ok(Self { descriptor, members, manifest, certificate, places, warnings })
    }

    /// All members in the order of the archive; folders are left out.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The descriptor: the only `.ovf`, and with most writers the first member.
    #[must_use]
    pub fn descriptor(&self) -> &Member {
        &self.descriptor
    }

    /// The manifest: the `.mf` with the name of the descriptor, else the only `.mf`.  Of several
    /// others none is used, and there is a [warning](Self::warnings).
    #[must_use]
    pub fn manifest(&self) -> Option<&Member> {
        self.manifest.as_ref()
    }

    /// The certificate: the `.cert` with the name of the descriptor, else the only `.cert`.
    #[must_use]
    pub fn certificate(&self) -> Option<&Member> {
        self.certificate.as_ref()
    }

    /// The member with a name.
    #[must_use]
    pub fn member(&self, file: &FileName) -> Option<&Member> {
        self.places.get(file).and_then(|place| self.members.get(*place))
    }

    /// What is odd about the archive.
    #[must_use]
    pub fn warnings(&self) -> &[OvaWarning] {
        &self.warnings
    }
}

/// The descriptor must come first (DSP0243 1.1.0 §5.3), but a package that somebody packed by hand
/// means the same to every tool in any order, as long as there is one descriptor.
fn the_descriptor(members: &[Member]) -> Result<Member, OvaError> {
    let mut descriptors = of_extension(members, "ovf");
    match (descriptors.next(), descriptors.next()) {
        (Some(only), None) => Ok(only.clone()),
        (Some(_), Some(second)) => Err(OvaError::SecondDescriptor { file: second.name.clone() }),
        (None, _) if members.is_empty() => Err(OvaError::Empty),
        (None, _) => Err(OvaError::NoDescriptor),
    }
}

/// A manifest or a certificate under another name is used too: to overlook it would be to verify
/// nothing.
fn the_only(
    members: &[Member],
    extension: &str,
    descriptor: &Member,
    warnings: &mut Vec<OvaWarning>,
) -> Option<Member> {
    let mut found = of_extension(members, extension);
    let named = found.clone().find(|member| member.name.stem() == descriptor.name.stem());
    match (named, found.next(), found.next()) {
        (Some(named), ..) => Some(named.clone()),
        (None, Some(only), None) => Some(only.clone()),
        (None, Some(first), Some(second)) => {
            let (first, second) = (first.name.clone(), second.name.clone());
            warnings.push(OvaWarning::Several { first, second });
            None
        }
        (None, None, _) => None,
    }
}

fn of_extension<'m>(
    members: &'m [Member],
    extension: &str,
) -> impl Iterator<Item = &'m Member> + Clone {
    own(members).filter(move |member| member.name.has_extension(extension))
}

/// Members that are not only there because the archive was made on macOS.
fn own(members: &[Member]) -> impl Iterator<Item = &Member> + Clone {
    members.iter().filter(|member| !member.name.is_apple_double())
}
