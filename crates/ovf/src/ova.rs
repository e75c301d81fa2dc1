//! The OVA: a package in one tar file (DSP0243 1.1.0 §5.3).

mod error;
mod extension;
mod header;
mod index;
mod walk;
mod wrapper;
mod writer;

pub use error::{OvaError, OvaWarning};
pub use index::Ova;
pub use walk::{Member, Rules, Walk, Wanted};
pub use writer::{END, WriteError, Writer, member_header, member_padding};
