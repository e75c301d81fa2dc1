//! The OVA: a package in one tar file (DSP0243 1.1.0 §5.3).

mod error;
mod extension;
mod header;
mod index;
mod writer;

pub use error::{OvaError, OvaWarning};
pub use index::{Member, Ova};
pub use writer::{END, WriteError, Writer, member_header, member_padding};
