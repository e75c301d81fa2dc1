//! Moves virtual machines between VMware vSphere and OVF/OVA packages.
//!
//! A lease on the server (`HttpNfcLease`) is held while all disks of a machine stream in parallel
//! to or from the lease's device URLs; a heartbeat renews it; a verifier checks every file against
//! the package's manifest and the server's; the lease ends exactly once: completed when everything
//! is proven, aborted otherwise.
//!
//! ```text
//!  descriptor ──> request ──> plan ──> lease ──> streams ──> verifier ──> artefact
//!    pure   ◄────┤├── server read ──┤├── leased ──►    └─ no proof: no commit, no complete
//! ```
//!
//! - A request ([`Import`], [`Export`], [`Convert`]) is a value.
//! - A plan ([`ImportPlan`], [`ExportPlan`]) is made by reading the server and creates nothing.
//! - A [`Transfer`] runs. Its [`Meter`] can be read at any time, its [`Event`]s are told to an
//!   [`Observer`], and its end is a [`Report`] or an [`Error`].
//!
//! # Example
//!
//! Exports a machine of the simulated vCenter of `ovftransfer-simulator` and imports it again:
//!
//! ```
//! use ovftransfer::{Endpoint, Export, Import, Options, Package, Secret, Server};
//! # use ovftransfer_simulator::Simulator;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let simulator = Simulator::builder().start().await?;
//! # let locator: ovftransfer::Locator = simulator.url().replace("https", "vi").parse()?;
//! # let endpoint: Endpoint = locator.endpoint().clone();
//! # let trust = ovftransfer::Trust::Pinned(simulator.thumbprint().parse()?);
//! # let (username, password) = (simulator.username(), Secret::from(simulator.password().to_owned()));
//! let server = Server::connect(endpoint, trust, &username, password).await?;
//! let folder = tempfile::tempdir()?;
//!
//! let export = Export::new("/DC0/vm/small", folder.path());
//! let report = export.plan(&server).await?.start(Options::default()).finish().await?;
//! println!("{} bytes, every one proven", report.bytes());
//!
//! let package = Package::open(report.package.as_deref().unwrap_or(folder.path()))?;
//! let mut import = Import::new(package, "/DC0/host/Cluster0");
//! import.name = Some("again".to_owned());
//! import.datastore = Some("datastore0".to_owned());
//! let report = import.plan(&server).await?.start(Options::default()).finish().await?;
//! println!("{} is there", report.name);
//! server.logout().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })
//! # }
//! ```
//!
//! The calls need a tokio runtime with its I/O and time drivers.
//!
//! # Your own store
//!
//! A package is read from a folder or an OVA ([`Package::open`]), a web server
//! ([`Package::fetch`]), a stream ([`Package::from_stream`]), or from whatever implements
//! [`PackageFiles`]; it is written to an [`Output`], which may be whatever implements [`Store`].  The
//! traits are small and have written contracts; the module `conformance` (a feature) checks an
//! implementation against them.
//!
//! A store in memory that takes the export of a machine, and from which it is imported again:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::io;
//! use std::sync::{Arc, Mutex};
//!
//! use bytes::Bytes;
//! use futures::future::BoxFuture;
//! use futures::{FutureExt, StreamExt};
//! use ovftransfer::{ByteStream, Export, FileName, Import, Options, Output, Package, PackageFiles};
//! use ovftransfer::{Sink, Source, Store, Verified};
//!
//! #[derive(Clone, Debug, Default)]
//! struct Shelf(Arc<Mutex<BTreeMap<FileName, Bytes>>>);
//!
//! /// A file that is being written: it comes onto the shelf when it is proven.
//! #[derive(Debug)]
//! struct Pending {
//!     shelf: Shelf,
//!     bytes: Vec<u8>,
//! }
//!
//! impl Store for Shelf {
//!     fn create<'a>(&'a self, _file: &'a FileName) -> BoxFuture<'a, io::Result<Box<dyn Sink>>> {
//!         let pending = Pending { shelf: self.clone(), bytes: Vec::new() };
//!         async { Ok(Box::new(pending) as Box<dyn Sink>) }.boxed()
//!     }
//!
//!     fn remove<'a>(&'a self, file: &'a FileName) -> BoxFuture<'a, io::Result<()>> {
//!         self.0.lock().unwrap().remove(file);
//!         async { Ok(()) }.boxed()
//!     }
//! }
//!
//! impl Sink for Pending {
//!     fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
//!         batch.iter().for_each(|chunk| self.bytes.extend_from_slice(chunk));
//!         async { Ok(()) }.boxed()
//!     }
//!
//!     fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
//!         async { Ok(()) }.boxed()
//!     }
//!
//!     fn commit(self: Box<Self>, proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
//!         self.shelf.0.lock().unwrap().insert(proof.file().clone(), self.bytes.into());
//!         async { Ok(()) }.boxed()
//!     }
//!
//!     fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
//!         async { Ok(()) }.boxed()
//!     }
//! }
//!
//! #[derive(Debug)]
//! struct Stored(Bytes);
//!
//! impl Source for Stored {
//!     fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
//!         let bytes = self.0.clone();
//!         async { Ok(futures::stream::iter([Ok(bytes)]).boxed()) }.boxed()
//!     }
//!
//!     fn size_bytes(&self) -> Option<u64> {
//!         Some(self.0.len() as u64)
//!     }
//! }
//!
//! impl PackageFiles for Shelf {
//!     fn location(&self) -> String {
//!         "the shelf".to_owned()
//!     }
//!
//!     fn find<'a>(
//!         &'a self,
//!         file: &'a FileName,
//!     ) -> BoxFuture<'a, io::Result<Option<Arc<dyn Source>>>> {
//!         let found = self.0.lock().unwrap().get(file).cloned();
//!         async { Ok(found.map(|bytes| Arc::new(Stored(bytes)) as Arc<dyn Source>)) }.boxed()
//!     }
//! }
//!
//! # use ovftransfer_simulator::Simulator;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let simulator = Simulator::builder().start().await?;
//! # let locator: ovftransfer::Locator = simulator.url().replace("https", "vi").parse()?;
//! # let trust = ovftransfer::Trust::Pinned(simulator.thumbprint().parse()?);
//! # let password = ovftransfer::Secret::from(simulator.password().to_owned());
//! # let (endpoint, username) = (locator.endpoint().clone(), simulator.username());
//! # let server = ovftransfer::Server::connect(endpoint, trust, &username, password).await?;
//! let shelf = Shelf::default();
//! let export = Export::new("/DC0/vm/small", Output::Store(Arc::new(shelf.clone())));
//! export.plan(&server).await?.start(Options::default()).finish().await?;
//!
//! let descriptor = FileName::new("small.ovf")?;
//! let package = Package::from_files(&shelf, &descriptor).await?;
//! let mut import = Import::new(package, "/DC0/host/Cluster0");
//! import.name = Some("again".to_owned());
//! import.datastore = Some("datastore0".to_owned());
//! let report = import.plan(&server).await?.start(Options::default()).finish().await?;
//! assert_eq!(report.name, "again");
//! # server.logout().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })
//! # }
//! ```

mod artefact;
mod check;
mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod convert;
mod copy;
mod devices;
mod disk;
mod dpu;
mod error;
mod event;
mod export;
mod governor;
mod handle;
mod hosts;
mod image;
mod import;
mod inspect;
mod inventory;
mod journal;
mod kind;
mod lease;
mod linted;
mod meter;
mod network;
mod overview;
mod ports;
mod reap;
mod report;
mod rights;
mod sabotage;
#[cfg(test)]
mod scenarios;
mod server;
mod settle;
mod signature;
mod spec;
mod store;
mod transfer;
mod verify;
mod worker;

pub use ovftransfer_ovf::CertificateError;
pub use ovftransfer_ovf::Digest;
pub use ovftransfer_ovf::DigestAlgorithm;
pub use ovftransfer_ovf::Envelope;
pub use ovftransfer_ovf::FileName;
pub use ovftransfer_ovf::Manifest;
pub use ovftransfer_ovf::certificate;
pub use ovftransfer_ovf::envelope;
pub use ovftransfer_ovf::lint;
pub use ovftransfer_ovf::ova::Rules;
pub use ovftransfer_vim::Endpoint;
pub use ovftransfer_vim::Entity;
pub use ovftransfer_vim::EntityKind;
pub use ovftransfer_vim::Locator;
pub use ovftransfer_vim::Secret;
pub use ovftransfer_vim::VimError;
pub use ovftransfer_vim::Wire;
pub use ovftransfer_vim::dvs;
pub use ovftransfer_vim::inventory::Listed;
pub use ovftransfer_vim::inventory::PowerState;
pub use ovftransfer_vim::inventory::VmFacts;
pub use ovftransfer_vim::tls::Thumbprint;
pub use ovftransfer_vim::tls::Trust;
pub use ovftransfer_vim::transport::TransportError;
pub use ovftransfer_vmdk::Descriptor as DiskDescriptor;
pub use ovftransfer_vmdk::Fault as DiskFault;
pub use ovftransfer_vmdk::Format as ImageFormat;
pub use ovftransfer_vmdk::Header as DiskHeader;
pub use ovftransfer_vmdk::Level as CompressionLevel;
pub use ovftransfer_vmdk::SECTOR_BYTES;
pub use ovftransfer_vmdk::VmdkError;

pub use crate::artefact::Output;
pub use crate::check::CheckedFile;
pub use crate::check::CheckedPackage;
pub use crate::check::StoredFile;
pub use crate::check::check_package;
pub use crate::check::check_package_deep;
pub use crate::convert::Convert;
pub use crate::convert::ConvertPlan;
pub use crate::convert::Converted;
pub use crate::convert::ConvertedFile;
pub use crate::convert::Repair;
pub use crate::disk::ConvertDisk;
pub use crate::disk::ConvertedDisk;
pub use crate::disk::DiskFormat;
pub use crate::dpu::DpuFailover;
pub use crate::dpu::DpuFailoverPlan;
pub use crate::dpu::DpuFailoverReport;
pub use crate::dpu::HostUplink;
pub use crate::dpu::UplinkUse;
pub use crate::error::Check;
pub use crate::error::DeviceStatus;
pub use crate::error::Error;
pub use crate::error::ErrorKind;
pub use crate::error::Finding;
pub use crate::error::Severity;
pub use crate::event::Event;
pub use crate::event::Observer;
pub use crate::event::Step;
pub use crate::export::Export;
pub use crate::export::ExportPlan;
pub use crate::governor::Governor;
pub use crate::governor::Limits;
pub use crate::handle::Transfer;
pub use crate::image::CheckDisk;
pub use crate::image::CheckedDisk;
pub use crate::image::DiskKind;
pub use crate::image::DiskOverview;
pub use crate::import::Import;
pub use crate::import::ImportPlan;
pub use crate::import::NetworkMap;
pub use crate::import::PortMap;
pub use crate::kind::Conversion;
pub use crate::kind::ConvertedFrom;
pub use crate::kind::DiskFileFormat;
pub use crate::linted::lint_package;
pub use crate::linted::lint_stream;
pub use crate::meter::FileMeter;
pub use crate::meter::Meter;
pub use crate::network::CardNetwork;
pub use crate::network::CheckedCard;
pub use crate::network::CheckedMachine;
pub use crate::network::CheckedPort;
pub use crate::network::ConnectCard;
pub use crate::network::ConnectedCard;
pub use crate::network::NetworkKind;
pub use crate::network::PlannedNetwork;
pub use crate::network::PortAspect;
pub use crate::network::PortCheck;
pub use crate::network::PortgroupName;
pub use crate::network::PortgroupRoom;
pub use crate::network::ServerNetwork;
pub use crate::network::SwitchName;
pub use crate::network::Verdict;
pub use crate::overview::Overview;
pub use crate::ports::ListedPort;
pub use crate::ports::PortListing;
pub use crate::ports::PortQuery;
pub use crate::reap::Fate;
pub use crate::reap::ReapOptions;
pub use crate::reap::Remains;
pub use crate::reap::Remnant;
pub use crate::reap::RemnantKind;
pub use crate::report::After;
pub use crate::report::FileReport;
pub use crate::report::Report;
pub use crate::report::WrittenDisk;
pub use crate::server::Options;
pub use crate::server::Server;
pub use crate::signature::SignaturePolicy;
pub use crate::spec::ImportSpecOptions;
pub use crate::spec::NetworkMapping;
pub use crate::spec::PropertyMapping;
pub use crate::spec::PropertySpec;
pub use crate::spec::SpecError;
pub use crate::spec::SpecScope;
pub use crate::store::ByteStream;
pub use crate::store::PackageFiles;
pub use crate::store::Sink;
pub use crate::store::Source;
pub use crate::store::Store;
pub use crate::store::fetch::FetchOptions;
pub use crate::store::in_order::read_stream;
pub use crate::store::package::Package;
pub use crate::store::pipe::Pipe;
pub use crate::store::url::PackageUrl;
pub use crate::store::url::PackageUrlError;
pub use crate::verify::Verification;
pub use crate::verify::Verified;
