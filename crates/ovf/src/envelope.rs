//! The descriptor (`.ovf`): what the package holds and what machine it makes.

mod describe;
mod edit;
mod error;
mod hardware;
mod items;
mod messages;
mod read;
pub(crate) mod scan;
mod sections;
mod tree;
pub(crate) mod units;
mod view;

pub use edit::Edit;
pub use error::{EnvelopeError, EnvelopeFault, Position};
pub use hardware::{Bound, HardwareItem, Setting};
pub use sections::{BootDevice, Bundle, Configuration, Eula, Install, IpAssignment, Product};
pub use sections::{Property, PropertyValue, StartupItem, VendorSection, VirtualSystemCollection};
pub use view::{Disk, EnvelopeVersion, FileRef, Network, VirtualSystem};

use edit::Changes;
use read::Outside;
use read::Parts;
use read::Wanted;

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

    /// Reads a descriptor of which files may be on web servers (DSP0243 1.1.0 §7.1).
    ///
    /// [`FileRef::url`] tells which.  Nothing is fetched.
    ///
    /// # Errors
    ///
    /// An [`EnvelopeError`] that says where and what, and by which section of DSP0243.
    pub fn parse_with_urls(bytes: impl Into<Vec<u8>>) -> Result<Self, EnvelopeError> {
        Self::read(bytes.into(), Outside::Remote)
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
        let parts = read::read(without_mark(&source), outside, Wanted::default())?;
        Ok(Self { source, outside, parts })
    }

    /// The same descriptor with its texts in a language, as far as there are messages in it, and
    /// with the messages of bundles that stand in files of their own (DSP0243 1.1.0 §10.2).
    ///
    /// Without a language the texts of the elements come first, as in [`parse`](Self::parse), and
    /// messages where they are empty.  `bundle` is called with each file that holds a bundle; what
    /// it does not have, or what is no bundle, is passed over, as are more than 64 of them.
    ///
    /// ```
    /// # use ovftransfer_ovf::Envelope;
    /// let text = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
    ///                         xmlns:o="http://schemas.dmtf.org/ovf/envelope/1">
    ///   <References><File o:id="texts" o:href="de.msg"/></References>
    ///   <VirtualSystem o:id="vm"><EulaSection><License o:msgid="terms">Terms</License></EulaSection>
    ///   </VirtualSystem><Strings xml:lang="de" o:fileRef="texts"/></Envelope>"#;
    /// let bundle = r#"<Strings xmlns="http://schemas.dmtf.org/ovf/envelope/1" xml:lang="de"
    ///     xmlns:o="http://schemas.dmtf.org/ovf/envelope/1"><Msg o:msgid="terms">Bedingungen</Msg></Strings>"#;
    /// let envelope = Envelope::parse(text)?;
    /// let german = envelope.localized(Some("de-AT"), |file| {
    ///     (file.href().as_str() == "de.msg").then(|| bundle.into())
    /// })?;
    /// assert_eq!(german.systems()[0].eulas()[0].license, "Bedingungen");
    /// assert_eq!(german.bytes(), envelope.bytes());
    /// # Ok::<(), ovftransfer_ovf::EnvelopeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An [`EnvelopeError`] if the copies of messages exceed their limit.
    pub fn localized(
        &self,
        language: Option<&str>,
        mut bundle: impl FnMut(&FileRef) -> Option<Vec<u8>>,
    ) -> Result<Self, EnvelopeError> {
        let ids = self.bundles().iter().filter_map(|bundle| bundle.file_id.as_deref());
        let files = ids.filter_map(|id| self.file(id)).take(BUNDLES_MAX);
        let read = files.filter_map(|file| {
            let bytes = bundle(file).filter(|bytes| bytes.len() <= DESCRIPTOR_BYTES_MAX)?;
            Some(without_mark(&String::from_utf8(bytes).ok()?).to_owned())
        });
        let bundles: Vec<String> = read.collect();
        let wanted = Wanted { language, bundles: &bundles };
        let parts = read::read(self.text(), self.outside, wanted)?;
        Ok(Self { source: self.source.clone(), outside: self.outside, parts })
    }

    /// The message bundles, in order (DSP0243 1.1.0 §10).
    #[must_use]
    pub fn bundles(&self) -> &[Bundle] {
        &self.parts.bundles
    }

    /// Sections that DSP0243 does not define: those of the envelope, then those of machines and
    /// collections in document order.
    #[must_use]
    pub fn vendor_sections(&self) -> &[VendorSection] {
        &self.parts.vendor_sections
    }

    /// Sections that whoever deploys the package has to understand, and that neither DSP0243 nor
    /// VMware defines: whoever does not know such a section has to refuse the package (DSP0243
    /// 1.1.0 §7.3).
    pub fn unknown_required(&self) -> impl Iterator<Item = &VendorSection> {
        self.vendor_sections().iter().filter(|one| one.is_required && !one.is_of_vmware())
    }

    /// Line and column of a byte of the [text](Self::text).
    #[must_use]
    pub fn position(&self, at_byte: usize) -> Position {
        Position::of(self.text(), at_byte)
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
        let (source, outside) = (self.source.as_str(), self.outside);
        Edit { source, outside, parts: &self.parts, changes: Changes::default() }
    }

    /// The file with an id.
    #[must_use]
    pub fn file(&self, id: &str) -> Option<&FileRef> {
        self.parts.file(id)
    }

    /// The disks, in order; those that machines share (OVF 2) come last.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        &self.parts.disks
    }

    /// The disk with an id.
    #[must_use]
    pub fn disk(&self, id: &str) -> Option<&Disk> {
        self.parts.disk(id)
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
        read::default_of(self.configurations())
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

/// Most message bundles in files of their own: more than there are languages that a product comes in.
const BUNDLES_MAX: usize = 64;
