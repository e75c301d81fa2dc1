//! What the measurements of this workspace share: programs that run under GNU time, a simulator in
//! a process of its own, data, and tables.

pub mod image;
pub mod measure;
pub mod peer;
pub mod server;
pub mod table;
