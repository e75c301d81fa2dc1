//! OVF packages on disk: envelope, references, manifest, certificate, OVA layout.
//!
//! ```text
//!   package folder            one file
//!   vm.ovf  ──> Envelope      vm.ova ──> ova::Ova ──> offset and size of each member
//!   vm.mf   ──> Manifest      members   ──> ova::Writer ──> vm.ova
//!   vm.cert ──> Certificate
//!   disk-1.vmdk
//! ```
//!
//! Everything here is pure: no network, no threads, no async.  Bytes are borrowed from a
//! [`ReadAt`] or given as a slice.  All of it is written for hostile input: every limit is a
//! constant with its reason, no bytes can make it panic, and a [`FileName`] cannot leave the package.
//! Files are not hashed here; a [`Digest`] is only a value that others compute and compare.
//!
//! # Example
//!
//! A package in one file, opened once, its parts read by position:
//!
//! ```
//! use ovftransfer_ovf::ova::{Ova, Writer};
//! use ovftransfer_ovf::{Envelope, FileName, Manifest, ReadAt};
//!
//! let descriptor = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
//!                               xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
//!                       <References><File ovf:id="f1" ovf:href="disk-1.vmdk"/></References>
//!                       <VirtualSystem ovf:id="vm"/>
//!                     </Envelope>"#;
//! let manifest = format!("SHA1(disk-1.vmdk)= {}\n", "ab".repeat(20));
//! let mut writer = Writer::new(Vec::new());
//! for (name, content) in [("vm.ovf", descriptor), ("vm.mf", &manifest), ("disk-1.vmdk", "KDMV")] {
//!     let name = FileName::new(name)?;
//!     writer.append(&name, content.len() as u64, &mut content.as_bytes())?;
//! }
//! let archive: Vec<u8> = writer.finish()?;
//!
//! let ova = Ova::index(&archive)?;
//! let read = |member: &ovftransfer_ovf::ova::Member| -> std::io::Result<Vec<u8>> {
//!     let mut bytes = vec![0; member.size_bytes() as usize];
//!     archive.read_exact_at(&mut bytes, member.offset_bytes())?;
//!     Ok(bytes)
//! };
//! let envelope = Envelope::parse(read(ova.descriptor())?)?;
//! let manifest = Manifest::parse(&read(ova.manifest().expect("it was written"))?)?;
//! for file in envelope.references() {
//!     assert!(ova.member(file.href()).is_some());
//!     assert!(manifest.digest(file.href()).is_some());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod certificate;
pub mod envelope;
pub mod lint;
pub mod ova;

mod digest;
mod manifest;
mod name;
mod read_at;
mod sabotage;

pub use certificate::{Certificate, CertificateError, SigningKey};
pub use digest::{Digest, DigestAlgorithm, DigestError};
pub use envelope::{Envelope, EnvelopeError};
pub use manifest::{Manifest, ManifestEntry, ManifestError, ManifestFault};
pub use name::{FileName, NameError, NameFault};
pub use read_at::ReadAt;
