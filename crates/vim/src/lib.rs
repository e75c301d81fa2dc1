//! The part of the vSphere API that moves virtual machines: session, inventory, leases.
//!
//! ```text
//!  Locator ──> Session ──> inventory ──> create_import_spec ──> import_vapp ──> LeaseId
//!              connect     find          create_descriptor      export_vm        │
//!              login       vm_facts                             export_snapshot  ├─ watch_lease
//!                          import_target                                         └─ lease_progress, ..
//!     everything above:  typed structs that read from and are written to ..
//!     value:             .. one neutral tree of values, ..
//!     json, soap:        .. which one of two codecs turns into bytes, ..
//!     transport, tls:    .. and one place sends.
//! ```
//!
//! Moves no disk: a ready lease names the device URLs, and whoever moves the bytes sends them
//! through the same [`Transport`](transport::Transport), with the device's own thumbprint as
//! [`Trust`].
//!
//! Names, fields and faults are those of the vSphere API reference, which the documentation of each
//! item names.  Where an item gives no version, every server since 4.1 has it; "since 6.7" means a
//! server whose API has at least that version.  Sizes are bytes and times are seconds, unless the
//! name says otherwise.
//!
//! Secrets cannot be printed: `Debug` and `Display` of everything here leave out passwords,
//! cookies, session keys and the tickets of device URLs.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use ovftransfer_vim::http::HttpTransport;
//! use ovftransfer_vim::lease::LeaseState;
//! use ovftransfer_vim::{EntityKind, Locator, Secret, Session, Trust, VimError};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let locator: Locator = "vi://vcenter.example/dc/vm/web-01".parse()?;
//! let trust = Trust::Pinned("AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD".parse()?);
//! let transport = Arc::new(HttpTransport::new());
//! let session = Session::connect(transport, locator.endpoint().clone(), trust).await?;
//! session.login("administrator@vsphere.local", &Secret::new("secret")).await?;
//!
//! let vm = session.locate(&locator, &[EntityKind::VirtualMachine]).await?;
//! let lease = session.export_vm(vm.moref()).await?;
//! let mut watch = session.watch_lease(&lease).await?;
//! loop {
//!     match watch.changed().await? {
//!         LeaseState::Initializing { percent } => println!("{percent} %"),
//!         LeaseState::Ready(info) => break println!("{} devices", info.devices.len()),
//!         state => return Err(format!("{state:?}").into()),
//!     }
//! }
//! session.lease_abort(&lease, None).await?;
//! session.logout().await?;
//! # Ok(())
//! # }
//! ```

pub mod authorization;
pub mod dvs;
pub mod endpoint;
pub mod error;
pub mod fault;
pub mod host_network;
pub mod http;
pub mod inventory;
pub mod keep_alive;
pub mod lease;
pub mod locator;
pub mod machine;
pub mod nfc;
pub mod ovf;
pub mod property;
pub mod secret;
pub mod session;
pub mod task;
pub mod tls;
pub mod transport;
pub mod updates;
pub mod value;

mod connection;
mod json;
mod negotiation;
mod service;
mod soap;

pub use connection::Call;
pub use endpoint::Endpoint;
pub use error::{ErrorKind, VimError};
pub use fault::Fault;
pub use inventory::{Entity, EntityKind};
pub use keep_alive::{KEEP_ALIVE_INTERVAL, KeepAlive};
pub use locator::{InventoryPath, Locator, LocatorError};
pub use negotiation::Wire;
pub use secret::Secret;
pub use session::Session;
pub use tls::{Thumbprint, Trust};
pub use updates::LeaseWatch;
pub use value::{MoRef, Object, Value};
