//! The descriptor (`.ovf`): what the package holds and what machine it makes.

mod error;
mod read;
mod scan;
mod units;
mod view;

pub use error::{EnvelopeError, EnvelopeFault, Position};
pub use view::{Disk, EnvelopeVersion, FileRef, HardwareItem, Network, VirtualSystem};

use read::Parts;

/// An OVF descriptor of version 1.x or 2.x.
///
/// It is a view: the bytes it was read from are kept and never altered, so that they can be sent,
/// hashed and stored as they came.  Reading is bounded (4 MiB, 256 nested elements, 256 attributes
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
    parts: Parts,
}

impl Envelope {
    /// Reads a descriptor.
    ///
    /// # Errors
    ///
    /// An [`EnvelopeError`] that says where and what, and by which section of DSP0243.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, EnvelopeError> {
        let bytes = bytes.into();
        if bytes.len() > DESCRIPTOR_BYTES_MAX {
            let fault = EnvelopeFault::Limit { what: "bytes", max: DESCRIPTOR_BYTES_MAX };
            return Err(EnvelopeError::at("", 0, fault));
        }
        let source = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let text = error.as_bytes().get(..good).map(String::from_utf8_lossy);
            EnvelopeError::at(&text.unwrap_or_default(), good, EnvelopeFault::Encoding)
        })?;
        let parts = read::read(without_mark(&source))?;
        Ok(Self { source, parts })
    }

    /// The bytes that the descriptor was read from.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.source.as_bytes()
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

    /// The machines in document order, those inside of collections too.
    #[must_use]
    pub fn systems(&self) -> &[VirtualSystem] {
        &self.parts.systems
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Largest descriptor in bytes.  Real ones are below 1 MiB, also with many machines; the tree of
/// 4 MiB takes about 50 MiB of memory.
pub const DESCRIPTOR_BYTES_MAX: usize = 4 << 20;
