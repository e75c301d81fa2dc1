//! The descriptor (`.ovf`): what the package holds and what machine it makes.

mod describe;
mod edit;
mod error;
mod messages;
mod read;
mod scan;
mod sections;
mod tree;
mod units;
mod view;

pub use edit::Edit;
pub use error::{EnvelopeError, EnvelopeFault, Position};
pub use sections::{Configuration, Eula, IpAssignment, Product, Property, PropertyValue};
pub use sections::{StartupItem, VirtualSystemCollection};
pub use view::{Disk, EnvelopeVersion, FileRef, HardwareItem, Network, VirtualSystem};

use edit::Changes;
use read::Outside;
use read::Parts;

use crate::manifest::is_utf16;

/// An OVF descriptor of version 1.x or 2.x, or of the drafts that call themselves 0.9.
///
/// It is a view: the bytes it was read from are kept and never altered, so that they can be sent,
/// hashed and stored as they came; an [edit](Self::edit) makes another.  Reading is bounded (4 MiB, 256 nested elements, 256 attributes
/// of an element, no document type declaration) and checks what a transfer relies on: that ids are
/// unique, that what is referred to exists, that sizes are numbers, that names stay in the package.
/// It is not a validation by the schema.
///
/// ```
/// use ovftransfer_ovf::Envelope;
///
/// let envelope = Envelope::parse(
///     r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
///                  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
///          <References><File ovf:id="file1" ovf:href="disk-1.vmdk"/></References>
///          <DiskSection>
///            <Disk ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:capacity="4"
///                  ovf:capacityAllocationUnits="byte * 2^30"/>
///          </DiskSection>
///          <VirtualSystem ovf:id="vm"/>
///        </Envelope>"#,
/// )?;
/// assert_eq!(envelope.disks()[0].capacity_bytes(), 4 << 30);
/// assert_eq!(envelope.file("file1").map(|file| file.href().as_str()), Some("disk-1.vmdk"));
/// # Ok::<(), ovftransfer_ovf::EnvelopeError>(())
/// ```
#[derive(Debug)]
pub struct Envelope {
    source: String,
    outside: Outside,
    parts: Parts,
}

impl Envelope {
    /// Reads a descriptor.
    ///
    /// # Errors
    ///
    /// An [`EnvelopeError`] that says where and what, and by which section of DSP0243.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, EnvelopeError> {
        Self::read(bytes.into(), Outside::Refused)
    }

    /// Reads a descriptor that is only looked at: none of its files is going to be opened.
    ///
    /// References to what is no file of the package, such as URLs and names that leave its folder,
    /// are put [`outside`](Self::outside) instead of being refused.
    ///
    /// # Errors
    ///
    /// An [`EnvelopeError`] that says where and what, and by which section of DSP0243.
    pub fn parse_alone(bytes: impl Into<Vec<u8>>) -> Result<Self, EnvelopeError> {
        Self::read(bytes.into(), Outside::Aside)
    }

    fn read(bytes: Vec<u8>, outside: Outside) -> Result<Self, EnvelopeError> {
        if bytes.len() > DESCRIPTOR_BYTES_MAX {
            let fault = EnvelopeFault::Limit { what: "bytes", max: DESCRIPTOR_BYTES_MAX };
            return Err(EnvelopeError::at("", 0, fault));
        }
        // Its bytes are compared with the manifest and sent as they are, so it is not converted.
        if is_utf16(&bytes) {
            return Err(EnvelopeError::at("", 0, EnvelopeFault::Utf16));
        }
        let source = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let text = error.as_bytes().get(..good).map(String::from_utf8_lossy);
            EnvelopeError::at(&text.unwrap_or_default(), good, EnvelopeFault::Encoding)
        })?;
        let parts = read::read(without_mark(&source), outside)?;
        Ok(Self { source, outside, parts })
    }

    /// The bytes that the descriptor was read from.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.source.as_bytes()
    }

    /// The bytes that the descriptor was read from, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.source.into_bytes()
    }

    /// The descriptor as text: the bytes without a byte order mark.
    #[must_use]
    pub fn text(&self) -> &str {
        without_mark(&self.source)
    }

    /// The version of OVF.
    #[must_use]
    pub fn version(&self) -> EnvelopeVersion {
        self.parts.version
    }

    /// The files of the package, in order.
    #[must_use]
    pub fn references(&self) -> &[FileRef] {
        &self.parts.references
    }

    /// Starts to change it.  It stays as it is itself: [`Edit::apply`] gives another.
    pub fn edit(&self) -> Edit<'_> {
        let (references, disks) = (self.references(), self.disks());
        let (source, outside) = (self.source.as_str(), self.outside);
        Edit { source, outside, references, disks, changes: Changes::default() }
    }

    /// The file with an id.
    #[must_use]
    pub fn file(&self, id: &str) -> Option<&FileRef> {
        self.references().iter().find(|file| file.id() == id)
    }

    /// The disks, in order; those that machines share (OVF 2) come last.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        &self.parts.disks
    }

    /// The disk with an id.
    #[must_use]
    pub fn disk(&self, id: &str) -> Option<&Disk> {
        self.disks().iter().find(|disk| disk.id() == id)
    }

    /// The networks, in order.
    #[must_use]
    pub fn networks(&self) -> &[Network] {
        &self.parts.networks
    }

    /// References of a descriptor that was [read alone](Self::parse_alone) to what is no file of
    /// the package, escaped and shortened.
    #[must_use]
    pub fn outside(&self) -> &[String] {
        &self.parts.outside
    }

    /// The collections in document order, those inside of collections too.
    #[must_use]
    pub fn collections(&self) -> &[VirtualSystemCollection] {
        &self.parts.collections
    }

    /// The products of the collections, then those of the machines.
    pub fn products(&self) -> impl Iterator<Item = &Product> {
        let collections = self.collections().iter().flat_map(|collection| &collection.products);
        collections.chain(self.systems().iter().flat_map(VirtualSystem::products))
    }

    /// The licences of the collections, then those of the machines.
    pub fn eulas(&self) -> impl Iterator<Item = &Eula> {
        let collections = self.collections().iter().flat_map(|collection| &collection.eulas);
        collections.chain(self.systems().iter().flat_map(VirtualSystem::eulas))
    }

    /// The ways to deploy the package, in order; empty if there is but one.
    #[must_use]
    pub fn configurations(&self) -> &[Configuration] {
        &self.parts.configurations
    }

    /// The configuration of a user who chooses none: the one that the descriptor calls so, else
    /// the first (DSP0243 1.1.0 §9.8).
    #[must_use]
    pub fn default_configuration(&self) -> Option<&Configuration> {
        let configurations = self.configurations();
        configurations.iter().find(|one| one.is_default).or_else(|| configurations.first())
    }

    /// How the machines can get addresses, if the descriptor says.
    #[must_use]
    pub fn ip_assignment(&self) -> Option<&IpAssignment> {
        self.parts.ip_assignment.as_ref()
    }

    /// The machines in document order, those inside of collections too.
    #[must_use]
    pub fn systems(&self) -> &[VirtualSystem] {
        &self.parts.systems
    }
}

impl Edit<'_> {
    /// The descriptor with the changes, read anew as the first one was.
    ///
    /// # Errors
    ///
    /// An [`EnvelopeError`] if there is no file or disk with an id that was given, if the descriptor
    /// is a draft, or if the outcome contradicts itself: two references to one file, a reference to
    /// what was removed.
    pub fn apply(&self) -> Result<Envelope, EnvelopeError> {
        let text = without_mark(self.source);
        let mark = self.source.get(..self.source.len() - text.len()).unwrap_or_default();
        let made = |text: &str| Envelope::read(format!("{mark}{text}").into(), self.outside);
        let envelope = made(&self.changes.made_in(text)?)?;
        if self.changes.order.is_empty() {
            return Ok(envelope);
        }
        made(&edit::ordered(envelope.text(), envelope.references(), &self.changes.order))
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Largest descriptor in bytes.  Real ones are below 1 MiB, also with many machines; the tree of
/// 4 MiB takes about 50 MiB of memory.
pub const DESCRIPTOR_BYTES_MAX: usize = 4 << 20;
