//! An embedded vCenter with NFC hosts, for tests of everything that moves virtual machines.
//!
//! A [`Simulator`] is a vCenter with a datacenter, a cluster, hosts in it and beside it, pools,
//! vApps, datastores, networks and machines with real disks.  It speaks SOAP and VI JSON over TLS like a real one, so that any
//! client of vSphere can drive it; govc does so in its tests, on each wire.  What is uploaded is stored, what is exported is streamed
//! as stream-optimized VMDK, in constant memory.  It is strict where a real server is strict, and
//! fails where its [`Scenario`] says so.
//!
//! ```text
//!   client ── SOAP /sdk, JSON /sdk/vim25 ──> vCenter ── leases, tasks, inventory
//!     │                                         │ grants tickets
//!     └── GET, POST, PUT ──> host 0, host 1, …   one port and one certificate each
//! ```
//!
//! ```
//! use ovftransfer_simulator::Simulator;
//! use ovftransfer_simulator::scenario::{Data, DataKind, DiskSpec, Machine, Scenario};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut web = Machine::new("web");
//! web.disks.push(DiskSpec::new(64 << 20).with_data(Data::new(DataKind::Mixed, 8 << 20, 7)));
//! let mut scenario = Scenario::default();
//! scenario.machines.push(web);
//!
//! let simulator = Simulator::builder().scenario(scenario).start().await?;
//! println!("{} {}", simulator.url(), simulator.thumbprint());
//! // Here a client logs in with simulator.username() and simulator.password(), and works.
//!
//! let vms = simulator.vms();
//! let web = vms.iter().find(|vm| vm.name == "web").ok_or("it is there")?;
//! assert_eq!(web.disks[0].capacity_bytes, 64 << 20);
//! println!("{}", web.disks[0].digest()?.raw_sha256);
//! assert!(simulator.leases().is_empty());
//! simulator.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What it has, method by method
//!
//! Every method and every property is served on both wires, from one state: SOAP at `/sdk` and VI
//! JSON at `/sdk/vim25/{release}/{type}/{id}/{method or property}` for the releases 8.0.1.0, 8.0.2.0
//! and 8.0.3.0, and 9.0.0.0 if the scenario names that version.  `Fetch` is of SOAP alone; VI JSON has GET of a property in its place.
//!
//! | object | methods | notes |
//! |---|---|---|
//! | ServiceInstance | `RetrieveServiceContent`, `CurrentTime` | API 8.0.3.0 if the scenario names no older one; managers that are not here are unset |
//! | SessionManager | `Login`, `Logout`, `SessionIsActive`, `TerminateSession` | one user; the cookie is quoted and is not the key, nor is the token in `vmware-api-session-id`; idle sessions end after 30 minutes |
//! | PropertyCollector | `RetrieveProperties`, `RetrievePropertiesEx`, `ContinueRetrievePropertiesEx`, `CancelRetrievePropertiesEx`, `Fetch` | traversals, `all`, nested paths, keys in brackets; an unknown property is `InvalidProperty` |
//! | | `CreatePropertyCollector`, `DestroyPropertyCollector`, `CreateFilter`, `DestroyPropertyFilter` | |
//! | | `WaitForUpdatesEx`, `WaitForUpdates`, `CheckForUpdates`, `CancelWaitForUpdates` | real versions; the last answer can be asked for again; never truncated |
//! | ViewManager | `CreateContainerView`, `CreateListView`, `ModifyListView`, `ResetListView`, `DestroyView` | container views follow the inventory |
//! | SearchIndex | `FindByInventoryPath`, `FindChild`, `FindByUuid`, `FindAllByUuid`, `FindByDnsName`, `FindByIp` | the last two by what running guests report: an address and, as host name, the machine's name |
//! | Folder | `CreateFolder` | |
//! | VirtualMachine | `PowerOnVM_Task`, `PowerOffVM_Task`, `Destroy_Task`, `Rename_Task`, `UnregisterVM` | refused with `TaskInProgress` while a lease holds the machine |
//! | | `CreateSnapshot_Task`, `RemoveAllSnapshots_Task`, and `RemoveSnapshot_Task` of the snapshot | |
//! | | `ExportVm`, and `ExportSnapshot` of the snapshot | `InvalidPowerState`, `TaskInProgress` |
//! | | `ReconfigVM_Task` | edits of network cards, also onto a chosen port: `ResourceInUse`, `InvalidArgument`; CPUs, memory, guest, annotation, extra configuration |
//! | | `MarkAsTemplate`, `MarkAsVirtualMachine` | a template is in no pool and does not start |
//! | AuthorizationManager | `HasPrivilegeOnEntities`, `HasPrivilegeOnEntity`, `FetchUserPrivilegeOnEntities` | one answer for all objects: everything but [`Scenario::missing_privileges`], which the methods that need one refuse with `NoPermission` |
//! | VmwareDistributedVirtualSwitch | `FetchDVPorts`, `FetchDVPortKeys`, `RefreshDVPortState` | every criterion but `scope`; ports with every field of the reference, bad ones as the scenario has them; unknown keys are `NotFound` |
//! | DistributedVirtualSwitchManager | `QueryDvsByUuid` | |
//! | HostNetworkSystem | `startDpuFailover` | `InvalidArgument` with its property, `MethodDisabled` (9.0.0.0), `MethodNotFound` below 8.0.3.0; at once or later |
//! | ResourcePool | `ImportVApp` | a machine or a vApp; wants a folder, except in a vApp; a taken name is an error of the lease; machines of a vApp are spread over the hosts |
//! | VirtualApp | `PowerOnVApp_Task`, `PowerOffVApp_Task`, `Destroy_Task` | machines in their start order; delays between them are not waited for |
//! | | `ExportVApp` | `InvalidPowerState`, `TaskInProgress`; device URLs of all machines, on the hosts of each |
//! | OvfManager | `ParseDescriptor`, `ValidateHost` | networks, products and properties, licences, deployment options, sizes, disk provisioning |
//! | | `CreateImportSpec`, `CreateDescriptor` | a machine or a collection of them, also in one another, with start order; disks, images, NVRAM, network cards; properties and deployment option are taken or refused; the options `lax`, `extraconfig`, `mac`, `nodevicesubtypes`, `uuid` |
//! | HttpNfcLease | `HttpNfcLeaseProgress`, `HttpNfcLeaseComplete`, `HttpNfcLeaseAbort`, `HttpNfcLeaseGetManifest`, `HttpNfcLeaseSetManifestChecksumType` | times out, cleans up, stays readable for five minutes after its end or vanishes at once |
//! | | `HttpNfcLeasePullFromUrls_Task`, `HttpNfcLeaseProbeUrls` | imports; http and https, pinned; OVAs by member name; data that moves renews the lease |
//! | Task | `CancelTask` | of the tasks behind leases, and of pulls |
//!
//! With [`Scenario::esxi`] it is a host without vCenter: SOAP only, no cluster, no vApps, no distributed
//! switches, no `CreateFolder`, an OvfManager called `ha-ovf-manager`, device URLs of the form
//! `https://*/ha-nfc/<ticket>/<file>`.
//!
//! Missing as yet: `LoginByToken`.
//!
//! Beside them: `POST /api/vcenter/system?action=hello`, `/sdk/vimServiceVersions.xml`, and on the hosts
//! `/nfc/<ticket>/<file>`: GET, POST of disks, PUT of other files, and
//! `multi?targets=<file>,<file>` for one disk that goes to many, with the status codes of real hosts
//! for everything else.
//!
//! Which rule of a real server can be switched off, and which oddity on, stands in [`scenario`].

pub mod appliance;
mod bus;
#[cfg(test)]
mod client;
mod clock;
mod collector;
mod descriptor;
mod disk;
mod dispatch;
mod dvs;
mod fault;
mod fetch;
mod generate;
mod hardware;
mod inventory;
mod json;
mod lease;
mod lock;
mod network;
mod nfc;
mod object;
mod ovf;
mod port;
mod pull;
mod rest;
mod rights;
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
mod vapp;
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
