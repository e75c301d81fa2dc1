//! OVF packages on disk: envelope, references, manifest, OVA layout.

pub mod envelope;

mod digest;
mod manifest;
mod name;
mod read_at;

pub use digest::{Digest, DigestAlgorithm, DigestError};
pub use envelope::{Envelope, EnvelopeError};
pub use manifest::{Manifest, ManifestEntry, ManifestError, ManifestFault};
pub use name::{FileName, NameError, NameFault};
pub use read_at::ReadAt;
