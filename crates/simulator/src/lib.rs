//! An embedded vCenter with NFC hosts, for tests of everything that moves virtual machines.

pub mod appliance;
#[cfg(test)]
mod client;
mod clock;
mod collector;
mod descriptor;
mod disk;
mod dispatch;
mod fault;
mod generate;
mod hardware;
mod inventory;
mod lease;
mod lock;
mod nfc;
mod object;
mod ovf;
pub mod scenario;
mod script;
mod server;
mod session;
mod simulator;
mod soap;
mod state;
mod stream;
mod task;
mod throttle;
mod tls;
mod types;
mod vcenter;
mod view;
mod vm;
mod world;

pub use crate::disk::ContentDigest;
pub use crate::scenario::Scenario;
pub use crate::server::ServerError;
pub use crate::simulator::{Builder, Simulator, StartError};
pub use crate::state::{
    DiskState, FaultRecord, FileState, HostState, LeaseRecord, SessionRecord, TaskRecord, VmState,
};
pub use crate::tls::TlsError;
pub use crate::world::LeaseState;
