//! What a simulated vCenter holds and how it misbehaves: the schema of scenario files.
//!
//! A scenario is a JSON object.  Every field has a default, an unknown field is an error, and an
//! empty object is the default vCenter: one datacenter `DC0` with the cluster `Cluster0` of two
//! hosts, a host beside it, two pools, datastores alone and in a cluster, networks and a distributed
//! switch, a few small machines and a vApp of two more.
//!
//! What stands on another field is empty where the file gives that other field and not this one:
//! `datastore_clusters` on `datastores`, `vapps` on `machines` and `networks`, and with `esxi` all
//! that a host without vCenter cannot have.
//!
//! ```
//! use ovftransfer_simulator::scenario::Scenario;
//!
//! let scenario = Scenario::from_json(
//!     r#"{
//!         "hosts": [{ "name": "host0", "throttle_mb_per_s_per_stream": 30 }],
//!         "machines": [{
//!             "name": "web",
//!             "disks": [
//!                 { "capacity": "4GiB", "data": { "amount": "256MiB", "kind": "random", "seed": 7 } }
//!             ]
//!         }],
//!         "faults": [{ "on": "export", "disk": 0, "kind": { "reset_after_bytes": 1000000 } }]
//!     }"#,
//! )?;
//! assert_eq!(scenario.machines[0].disks[0].capacity.bytes(), 4 << 30);
//! # Ok::<(), ovftransfer_simulator::scenario::ScenarioError>(())
//! ```
//!
//! # Switches
//!
//! What is not named in a scenario is as on a real server.  Beside the inventory there are:
//!
//! | field | default | what it does |
//! |---|---|---|
//! | `lease_timeout_s`, `lease_timeout_shown` | 300, the truth | when a lease that is not renewed ends, and what `leaseTimeout` says |
//! | `no_data_timeout_s` | never | when a lease under which nothing moves ends; the real time is published nowhere |
//! | `lease_grace_s`, `lease_vanishes` | 300, false | how long an ended lease is readable |
//! | `initialize_delay_ms`, `latency_ms` | 0 | time that leases, or all calls, take more |
//! | `session_idle_s`, `session_calls_max` | 1800, none | when sessions end |
//! | `api_version` | 8.0.3.0 | older: less or no VI JSON; 9.0.0.0: `sslCertificate` |
//! | `pull_mode` | true | `HttpNfcLeasePullFromUrls_Task`, `HttpNfcLeaseProbeUrls` |
//! | `multi_post` | true | `hostMap`, and one upload for many disks |
//! | `esxi` | false | a host without vCenter: SOAP only, `https://*/ha-nfc/…` |
//! | `missing_privileges` | none | methods that need them are `NoPermission` |
//! | `guest_ip_after_ms` | 1000 | when guests that were started report addresses |
//!
//! Of each host (`hosts`):
//!
//! | field | default | what it does |
//! |---|---|---|
//! | `throttle_mb_per_s`, `throttle_mb_per_s_per_stream` | none | pace of the host, and of each of its streams |
//! | `standalone` | false | not in the cluster but beside it |
//! | `connection_cap` | 32 | connections above it get 503 |
//! | `star_url` | false | device URLs are `https://*/ha-nfc/…` and lead to the API's port |
//! | `thumbprint` | `"sha1"`, `"empty"` with `*` | or `"sha256"`, `"wrong"` |
//! | `unreachable` | false | device URLs lead to a port where nobody listens |
//! | `condition` | `"connected"` | or `"disconnected"`, `"maintenance"`, `"not_responding"` |
//! | `uploads` | `"store"` | or `"hash"`: only their digests are kept; `"drop"`: nothing is |
//!
//! A host that keeps nothing, and disks whose data is of the kind `"repeat"`, make a server that
//! takes and gives at the speed of memory, so that a client can be measured beside it.  The digests
//! in its manifests are right, and computed once: those of a generated disk when it is read for the
//! first time, those of an upload when its bytes come for the first time (a checksum of each MiB
//! tells).  A machine that was imported into such a host has empty disks.
//!
//! Of each distributed switch (`switches`):
//!
//! | field | default | what it does |
//! |---|---|---|
//! | `folder` | `""` | the folder of networks that it and its portgroups lie in; names are unique in one |
//! | `uplinks` | two | names of its uplinks: on each host the first is `vmnic0`, the next `vmnic1`, … |
//! | `portgroups` | none | see below; the uplinks have one of their own, `NAME-DVUplinks` |
//! | `mtu` | 1500 | largest frame in bytes |
//! | `offload` | none | the DPUs that carry it, see below |
//! | `state_lags` | false | a port that a card came to has no `runtimeInfo` until `RefreshDVPortState` |
//! | `quirks` | none | what is wrong with ports of machines, see below |
//!
//! Of each of its `portgroups`:
//!
//! | field | default | what it does |
//! |---|---|---|
//! | `kind` | `"early_binding"` | or `"ephemeral"`: a port is there while the machine runs, and cannot be chosen |
//! | `ports` | 8 | so many with early binding; a card that finds none is `InsufficientResourcesFault` |
//! | `auto_expand` | false | ports are added when all are taken |
//! | `vlan` | 0 | VLAN of its ports |
//! | `vmkernel`, `console` | false | each host has its `vmk0`, or its `vswif0`, on a port of its own |
//! | `host_local` | false | the hosts made the ports of their `vmk0` without vCenter, in conflict with its own |
//!
//! Of its `offload` to data processing units:
//!
//! | field | default | what it does |
//! |---|---|---|
//! | `dpus` | | for each uplink the alias of its card's DPU; empty for an ordinary card |
//! | `standby` | none | uplinks that stand by; without any, `startDpuFailover` is `InvalidArgument` |
//! | `failed_dpus` | none | DPUs that cannot take over: `InvalidArgument` |
//! | `failover_ms` | 0 | how long it takes until the host shows the other DPU |
//! | `stuck` | false | the host never shows it |
//! | `untold` | false | the host does not tell which uplinks are in use |
//! | `partial_maintenance` | false | `MethodDisabled` (9.0.0.0) |
//!
//! Of each of its `quirks`, of which the first that fits `machine` (a name) and `nic` (from 0) counts,
//! from the moment when the card comes to its port:
//!
//! | field | what is wrong with the port |
//! |---|---|
//! | `blocked`, `link_down` | it lets nothing through; its link is down |
//! | `conflict`, `host_local` | it is in conflict with another port; the host made it without vCenter |
//! | `missing` | it is not among the ports |
//! | `no_connectee`, `wrong_connectee` | nobody is shown on it; another machine is |
//! | `nsx` | nothing: it belongs to NSX, with the ids of a segment and a VNI |
//! | `wrong_cookie`, `wrong_mac` | its cookie, or its MAC address, is not the card's |
//!
//! Rules of a real server, all true, that can be switched off (`strict`): what a client gets by with
//! elsewhere.
//!
//! | field | the rule |
//! |---|---|
//! | `block` | a machine under a lease can be neither changed nor started: `TaskInProgress` |
//! | `clean_up` | an import that ends in error deletes what it made |
//! | `content_length` | an upload without `Content-Length` is 411 |
//! | `export_manifest` | downloads are in the manifest |
//! | `lease_timeout` | leases end when they are not renewed |
//! | `magic` | a disk that does not begin with `KDMV` is 500 |
//! | `overwrite` | PUT without `Overwrite: t` is 412 |
//! | `verbs` | disks by POST, other files by PUT, else 405 |
//! | `whole_bodies` | an upload that ends early does not count |
//!
//! Rules and habits of a wire:
//!
//! | field | default | what it does |
//! |---|---|---|
//! | `soap.action_needed` | true | without a version in `SOAPAction` there are no leases |
//! | `soap.fault_text` | true | faults have a text |
//! | `soap.quoted_cookie` | true | the cookie's value is in quotes |
//! | `vi_json.fault_text` | `"faultstring"` | or `"fault_message"`, `"none"` |
//! | `vi_json.boxed_results` | false | `{"_typeName":"string","_value":"ready"}` for `"ready"` |
//! | `vi_json.empty_is_200` | false | no result is an empty 200, not 204 |
//!
//! Oddities, none by default (`quirks`):
//!
//! | field | the oddity |
//! |---|---|
//! | `bracketed_tickets` | the ticket in device URLs is the lease's id: `session%5B…%5D…` |
//! | `escaped_blanks` | blanks in device URLs are escaped; real servers leave them |
//! | `file_size_offset` | `fileSize` of other files than disks is wrong by so many bytes |
//! | `images_without_target` | device URLs of images have no `targetId` |
//! | `missing` | names of properties and fields that are left out |
//! | `one_disk_per_lease` | every disk but the first one asked for is an empty 200 |
//! | `plain_lease_ids` | no `session[…]` in the ids of leases |
//!
//! What goes wrong, by script (`faults`): `{ "on": "export" or "import", "kind": …, "disk": 0,
//! "machine": "web", "after": 0, "times": 1 }`, where all but the first two may be left out.
//!
//! | kind | what happens |
//! |---|---|
//! | `{ "flip_bit_at": N }` | one bit of the stream is turned over |
//! | `"heartbeat_refused"` | an `HttpNfcLeaseProgress` fails |
//! | `{ "initialize_error": "text" }` | the lease does not become ready |
//! | `{ "lease_lost_after_bytes": N }`, `{ "lease_lost_after_ms": N }` | the lease ends in error |
//! | `{ "reset_after_bytes": N }` | the connection is reset |
//! | `{ "stall_after_bytes": N }` | nothing moves any more |
//! | `{ "status": N }` | 400 to 599 in place of the transfer |
//! | `{ "truncate_after_bytes": N }` | the stream ends early and looks whole |
//! | `"wrong_digest"` | the manifest has another digest |
//!
//! And by chance (`random_faults`): `seed`, `per_mille` of occasions that are struck (20), `on`
//! (both ways), `within` so many bytes (1 MiB), and `kinds`, by default `"heartbeat_refused"`,
//! `"reset"`, `"status_503"`; the others are `"flip_bit"`, `"initialize_error"`, `"lease_lost"`,
//! `"stall"`, `"status_500"`, `"truncate"` and `"wrong_digest"`.  The same seed does the same to the
//! same work, however it is timed; see [`RandomFaults`].

mod fault;
mod machine;
mod privilege;
mod random;
mod size;
mod storage;
mod strict;
mod switch;
mod vapp;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

pub use self::fault::{Direction, Fault, FaultKind};
pub use self::machine::{Controller, Data, DataKind, DiskSpec, Machine, Spread};
pub(crate) use self::privilege::PRIVILEGES;
pub use self::random::{RandomFaults, RandomKind};
pub use self::size::Size;
pub use self::storage::DatastoreCluster;
pub use self::strict::{Quirks, Strict};
pub use self::switch::{Offload, PortQuirk, PortgroupKind, PortgroupSpec, SwitchSpec};
pub use self::vapp::VappSpec;
pub use self::wire::{ApiVersion, FaultText, Soap, ViJson};

/// Everything a simulated vCenter is made from.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Scenario {
    /// Name of the only user.
    pub username: String,
    /// Password of that user.
    pub password: String,
    /// Hosts, of the cluster `Cluster0` unless they stand alone, each with its own NFC port and
    /// certificate.
    pub hosts: Vec<Host>,
    /// Names of the datastores; every host reaches all of them.
    pub datastores: Vec<String>,
    /// Free space of datastores, by name, which stays as it is; those that are not named have plenty.  A machine whose
    /// disks take all their space at once and more than this is not made.
    pub datastore_free: BTreeMap<String, Size>,
    /// Datastore clusters and which datastores are in them.
    pub datastore_clusters: Vec<DatastoreCluster>,
    /// Names of the networks; every host reaches all of them.
    pub networks: Vec<String>,
    /// The server is a host without vCenter: one host whose device URLs lead to the API's own port,
    /// no cluster, no distributed switches, no folders.
    pub esxi: bool,
    /// Distributed switches; every host is on all of them.
    pub switches: Vec<SwitchSpec>,
    /// Names of the resource pools below the cluster's root pool.
    pub pools: Vec<String>,
    /// Machines that exist when the server starts.
    pub machines: Vec<Machine>,
    /// vApps below the cluster's root pool, with machines of their own.
    pub vapps: Vec<VappSpec>,
    /// The guest of a machine that was started reports an address so many milliseconds later, and
    /// those that run from the start have one; absent: guests report nothing.
    pub guest_ip_after_ms: Option<u64>,
    /// Privileges that the user does not have, such as `VApp.Export`: methods that need one fail
    /// with `NoPermission`.
    pub missing_privileges: Vec<String>,
    /// `leaseTimeout` in seconds: a lease that is not renewed for so long ends in error.
    pub lease_timeout_s: u32,
    /// Ended leases vanish at once (`ManagedObjectNotFound`) instead of staying readable.
    pub lease_vanishes: bool,
    /// How many seconds an ended lease stays readable, if it does not vanish at once.
    pub lease_grace_s: u32,
    /// What `leaseTimeout` says in place of the truth, as an old host's 300000000; absent: the truth.
    pub lease_timeout_shown: Option<i32>,
    /// A lease under which nothing moves for so many seconds ends in `Timedout`, however often it
    /// is renewed; absent: it does not.
    pub no_data_timeout_s: Option<u32>,
    /// Time that every call takes more, in milliseconds.
    pub latency_ms: u64,
    /// Sessions that are idle for so many seconds end.
    pub session_idle_s: u32,
    /// Sessions end with the call of this number after their login; absent: they do not.
    pub session_calls_max: Option<u32>,
    /// Time a lease stays in the state `initializing`, in milliseconds.
    pub initialize_delay_ms: u64,
    /// Version of the API; older ones have no VI JSON.
    pub api_version: ApiVersion,
    /// Rules and habits of the SOAP wire.
    pub soap: Soap,
    /// Habits of the VI JSON wire.
    pub vi_json: ViJson,
    /// Imports can be pulled: the host fetches the files from URLs.
    pub pull_mode: bool,
    /// One upload can go to several disks: `hostMap`, and `multi?targets=` on the hosts.
    pub multi_post: bool,
    /// Rules of a real server that can be switched off.
    pub strict: Strict,
    /// Oddities that can be switched on.
    pub quirks: Quirks,
    /// What goes wrong, tried in this order.
    pub faults: Vec<Fault>,
    /// What goes wrong by chance; absent: nothing.
    pub random_faults: Option<RandomFaults>,
}

/// One simulated ESXi host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Host {
    /// Name in the inventory.
    pub name: String,
    /// It stands beside the cluster, with a root pool of its own: `/DC0/host/NAME/Resources`.
    pub standalone: bool,
    /// Rate of each transfer in megabytes (10^6 bytes) per second; absent: as fast as it goes.
    pub throttle_mb_per_s_per_stream: Option<f64>,
    /// Rate of all transfers of the host together, in the same unit.
    pub throttle_mb_per_s: Option<f64>,
    /// Connections served at a time; those above get 503 (real hosts: `NFC` buffers for about 48).
    pub connection_cap: usize,
    /// Device URLs have `*` in place of the host, as a host without vCenter gives them; the data
    /// then passes through the API's port.
    pub star_url: bool,
    /// Its device URLs lead to a port where nobody listens.
    pub unreachable: bool,
    /// Whether it can take machines.
    pub condition: HostCondition,
    /// What `sslThumbprint` of its device URLs says; absent: SHA-1, and nothing with `*`.
    pub thumbprint: Option<Thumbprint>,
    /// What becomes of uploads.
    pub uploads: Uploads,
}

/// What becomes of uploads.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Uploads {
    /// They are checked and stored.
    #[default]
    Store,
    /// They are dropped; the lease's manifest has their sizes and digests.
    Hash,
    /// They are dropped, and are not in the lease's manifest.
    Drop,
}

/// What `sslThumbprint` says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Thumbprint {
    /// Nothing; there is no `sslCertificate` either.
    Empty,
    /// SHA-1 of the certificate that the client will see.
    Sha1,
    /// SHA-256 of it.
    Sha256,
    /// SHA-1 of another certificate, which is `sslCertificate` then.
    Wrong,
}

/// Whether a host can take machines.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HostCondition {
    /// It can.
    #[default]
    Connected,
    /// vCenter has been told to leave it alone.
    Disconnected,
    /// It is connected, but in maintenance.
    Maintenance,
    /// vCenter does not hear from it.
    NotResponding,
}

impl HostCondition {
    /// `HostSystemConnectionState`.
    pub(crate) const fn connection(self) -> &'static str {
        match self {
            Self::Connected | Self::Maintenance => "connected",
            Self::Disconnected => "disconnected",
            Self::NotResponding => "notResponding",
        }
    }
}

/// Why a text is no scenario.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The text is not JSON or not of this schema; the cause says what was expected.
    #[error("scenario: line {line}, column {column}")]
    Syntax {
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What was expected there.
        source: serde_json::Error,
    },
    /// A value contradicts another one or a limit.
    #[error("scenario: {at}: {problem}")]
    Value {
        /// Path of the value, such as `machines[0].disks[1].capacity`.
        at: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Syntax`] if the text does not have the form, [`ScenarioError::Value`] if
    /// the parts do not fit together.
    pub fn from_json(text: &str) -> Result<Self, ScenarioError> {
        let syntax = |source: serde_json::Error| ScenarioError::Syntax {
            line: source.line(),
            column: source.column(),
            source,
        };
        let mut scenario: Self = serde_json::from_str(text).map_err(syntax)?;
        let given: BTreeMap<String, IgnoredAny> = serde_json::from_str(text).map_err(syntax)?;
        scenario.drop_defaults(|field| given.contains_key(field));
        scenario.check()?;
        Ok(scenario)
    }

    /// Empties what was not given and stands on something that was.
    fn drop_defaults(&mut self, is_given: impl Fn(&str) -> bool) {
        let esxi = self.esxi;
        let is_new = |fields: &[&str]| esxi || fields.iter().any(|field| is_given(field));
        if !is_given("datastore_clusters") && is_new(&["datastores"]) {
            self.datastore_clusters.clear();
        }
        if !is_given("vapps") && is_new(&["machines", "networks"]) {
            self.vapps.clear();
        }
        if !is_given("switches") && esxi {
            self.switches.clear();
        }
    }

    /// Checks what the types cannot: names that exist, sizes that a disk can have.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Value`] for the first contradiction.
    pub fn check(&self) -> Result<(), ScenarioError> {
        if self.hosts.is_empty() {
            return Err(wrong("hosts", "at least one is needed"));
        }
        if self.datastores.is_empty() {
            return Err(wrong("datastores", "at least one is needed"));
        }
        if self.lease_timeout_s == 0 {
            return Err(wrong("lease_timeout_s", "must be at least 1"));
        }
        if self.session_idle_s == 0 {
            return Err(wrong("session_idle_s", "must be at least 1"));
        }
        if self.no_data_timeout_s == Some(0) {
            return Err(wrong("no_data_timeout_s", "must be at least 1"));
        }
        unique("hosts", self.hosts.iter().map(|host| host.name.as_str()))?;
        if self.hosts.iter().all(|host| host.standalone) {
            return Err(wrong("hosts", "at least one must be in the cluster"));
        }
        storage::check(self)?;
        unique("datastores", self.datastores.iter().map(String::as_str))?;
        unique("networks", self.networks.iter().map(String::as_str))?;
        // Names are unique in a folder.
        let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        folders.insert("", self.networks.iter().map(String::as_str).collect());
        for switch in &self.switches {
            let names = folders.entry(&switch.folder).or_default();
            names.push(&switch.name);
            names.extend(switch.portgroups.iter().map(|group| group.name.as_str()));
        }
        folders.into_values().try_for_each(|names| unique("switches", names.into_iter()))?;
        for (index, switch) in self.switches.iter().enumerate() {
            switch.check(&format!("switches[{index}]"))?;
        }
        unique("pools", self.pools.iter().map(String::as_str))?;
        if self.esxi {
            self.check_esxi()?;
        }
        for (index, host) in self.hosts.iter().enumerate() {
            host.check(&format!("hosts[{index}]"))?;
        }
        let mut places = BTreeSet::new();
        for (index, machine) in self.machines.iter().enumerate() {
            let at = format!("machines[{index}]");
            machine.check(&at, self)?;
            if !places.insert((machine.folder.as_str(), machine.name.as_str())) {
                return Err(wrong(at, "the same name twice in one folder"));
            }
        }
        vapp::check(self)?;
        privilege::check(self)?;
        for (index, fault) in self.faults.iter().enumerate() {
            fault.check(&format!("faults[{index}]"))?;
        }
        self.quirks.check()?;
        self.random_faults.as_ref().map_or(Ok(()), RandomFaults::check)
    }

    /// The default scenario on a host without vCenter.
    #[must_use]
    pub fn esxi() -> Self {
        let mut scenario = Self { esxi: true, hosts: vec![Host::new("esxi0")], ..Self::default() };
        scenario.drop_defaults(|_| false);
        for machine in &mut scenario.machines {
            machine.host.clear();
            machine.folder.clear();
        }
        scenario
    }

    /// What a host without vCenter cannot have.
    fn check_esxi(&self) -> Result<(), ScenarioError> {
        if self.hosts.len() != 1 {
            return Err(wrong("hosts", "a server without vCenter is exactly one host"));
        }
        if !self.switches.is_empty() {
            return Err(wrong("switches", "a server without vCenter has none"));
        }
        match self.machines.iter().position(|machine| !machine.folder.is_empty()) {
            Some(index) => Err(wrong(
                format!("machines[{index}].folder"),
                "a server without vCenter has no folders",
            )),
            None => Ok(()),
        }
    }
}

impl Host {
    /// A host without limits but the usual number of connections.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The same beside the cluster.
    #[must_use]
    pub fn stand_alone(name: &str) -> Self {
        Self { standalone: true, ..Self::new(name) }
    }

    fn check(&self, at: &str) -> Result<(), ScenarioError> {
        let rates = [
            ("throttle_mb_per_s_per_stream", self.throttle_mb_per_s_per_stream),
            ("throttle_mb_per_s", self.throttle_mb_per_s),
        ];
        for (field, rate) in rates {
            if rate.is_some_and(|rate| !(MB_PER_S_MIN..=MB_PER_S_MAX).contains(&rate)) {
                let problem = format!("must be between {MB_PER_S_MIN} and {MB_PER_S_MAX}");
                return Err(wrong(format!("{at}.{field}"), problem));
            }
        }
        if self.connection_cap == 0 {
            return Err(wrong(format!("{at}.connection_cap"), "must be at least 1"));
        }
        Ok(())
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            username: "administrator@vsphere.local".to_owned(),
            password: "simulated".to_owned(),
            hosts: vec![Host::new("host0"), Host::new("host1"), Host::stand_alone("host2")],
            datastores: (0..4).map(|index| format!("datastore{index}")).collect(),
            datastore_free: BTreeMap::new(),
            datastore_clusters: vec![DatastoreCluster::new("pod0", &["datastore2", "datastore3"])],
            networks: vec!["VM Network".to_owned(), "Storage Network".to_owned()],
            esxi: false,
            switches: vec![switch::default_switch()],
            pools: vec!["pool0".to_owned(), "pool1".to_owned()],
            machines: machine::default_machines(),
            vapps: machine::default_vapps(),
            guest_ip_after_ms: Some(1000),
            missing_privileges: Vec::new(),
            lease_timeout_s: 300,
            lease_vanishes: false,
            lease_grace_s: 300,
            lease_timeout_shown: None,
            no_data_timeout_s: None,
            latency_ms: 0,
            session_idle_s: 1800,
            session_calls_max: None,
            initialize_delay_ms: 0,
            api_version: ApiVersion::default(),
            soap: Soap::default(),
            vi_json: ViJson::default(),
            pull_mode: true,
            multi_post: true,
            strict: Strict::default(),
            quirks: Quirks::default(),
            faults: Vec::new(),
            random_faults: None,
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self {
            name: "host0".to_owned(),
            standalone: false,
            throttle_mb_per_s_per_stream: None,
            throttle_mb_per_s: None,
            connection_cap: 32,
            star_url: false,
            unreachable: false,
            condition: HostCondition::Connected,
            thumbprint: None,
            uploads: Uploads::Store,
        }
    }
}

fn unique<'a>(at: &str, names: impl Iterator<Item = &'a str>) -> Result<(), ScenarioError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() {
            return Err(wrong(at, "a name is empty"));
        }
        if !seen.insert(name) {
            return Err(wrong(at, format!("{name} stands there twice")));
        }
    }
    Ok(())
}

fn wrong(at: impl Into<String>, problem: impl Into<String>) -> ScenarioError {
    ScenarioError::Value { at: at.into(), problem: problem.into() }
}

/// One kilobyte per second: slower than any test wants to wait.
const MB_PER_S_MIN: f64 = 0.001;

/// Far above what loopback does, so that no limit is what was meant.
const MB_PER_S_MAX: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_the_default() {
        assert_eq!(Scenario::from_json("{}").unwrap(), Scenario::default());
        Scenario::default().check().unwrap();
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut scenario = Scenario::default();
        scenario.faults.push(Fault::new(Direction::Export, FaultKind::Status(503)).with_disk(1));
        scenario.faults.push(Fault::new(Direction::Import, FaultKind::HeartbeatRefused));
        let text = serde_json::to_string_pretty(&scenario).unwrap();
        assert_eq!(Scenario::from_json(&text).unwrap(), scenario);
    }

    #[test]
    fn unknown_fields_are_named_with_their_place() {
        let error = Scenario::from_json("{\n  \"machine\": []\n}").unwrap_err();
        let ScenarioError::Syntax { line, source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*line, 2);
        assert!(source.to_string().contains("machine"), "{source}");
        for text in [
            r#"{"hosts":[{"nam":"x"}]}"#,
            r#"{"machines":[{"disks":[{"capacty":1}]}]}"#,
            r#"{"faults":[{"on":"export","kind":"heartbeat_refused","x":1}]}"#,
            r#"{"faults":[{"on":"export","kind":"nothing"}]}"#,
            r#"{"faults":[{"on":"sideways","kind":"heartbeat_refused"}]}"#,
            "7",
            "",
        ] {
            assert!(
                matches!(Scenario::from_json(text), Err(ScenarioError::Syntax { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn contradictions_are_named_with_their_path() {
        for (text, path) in [
            (r#"{"hosts":[]}"#, "hosts"),
            (r#"{"hosts":[{"name":"a"},{"name":"a"}]}"#, "hosts"),
            (r#"{"hosts":[{"throttle_mb_per_s":0}]}"#, "hosts[0].throttle_mb_per_s"),
            (r#"{"hosts":[{"connection_cap":0}]}"#, "hosts[0].connection_cap"),
            (r#"{"machines":[{"disks":[{"capacity":513}]}]}"#, "machines[0].disks[0].capacity"),
            (r#"{"machines":[{"disks":[{}]}]}"#, "machines[0].disks[0].capacity"),
            (r#"{"machines":[{"networks":["x"]}]}"#, "machines[0].networks"),
            (r#"{"machines":[{"host":"x"}]}"#, "machines[0].host"),
            (r#"{"machines":[{},{}]}"#, "machines[1]"),
            (r#"{"faults":[{"on":"import","kind":{"status":200}}]}"#, "faults[0].kind.status"),
            (r#"{"lease_timeout_s":0}"#, "lease_timeout_s"),
            (r#"{"session_idle_s":0}"#, "session_idle_s"),
            (r#"{"quirks":{"missing":["HttpNfcLease.state"]}}"#, "quirks.missing"),
            (r#"{"random_faults":{"per_mille":1001}}"#, "random_faults.per_mille"),
            (r#"{"random_faults":{"kinds":[]}}"#, "random_faults.kinds"),
            (r#"{"random_faults":{"within":0}}"#, "random_faults.within"),
        ] {
            match Scenario::from_json(text) {
                Err(ScenarioError::Value { at, .. }) => assert_eq!(at, path, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_switch_is_in_the_documentation() {
        let text = include_str!("scenario.rs");
        let text = text.split("\nmod ").next().unwrap();
        let mut scenario =
            Scenario { random_faults: Some(RandomFaults::new(7)), ..Scenario::default() };
        scenario.faults.push(Fault::new(Direction::Export, FaultKind::WrongDigest));
        scenario.switches[0].offload = Some(Offload::default());
        scenario.switches[0].quirks.push(PortQuirk::default());
        let value = serde_json::to_value(&scenario).unwrap();
        let groups = ["/hosts/0", "/strict", "/quirks", "/soap", "/vi_json", "/random_faults"];
        let switch = ["", "/portgroups/0", "/offload", "/quirks/0"];
        let switch = switch.map(|part| format!("/switches/0{part}"));
        let groups = groups.map(str::to_owned).into_iter().chain(switch);
        for group in groups.chain(["/faults/0".to_owned()]) {
            for name in value.pointer(&group).unwrap().as_object().unwrap().keys() {
                let is_there = ["`", "`soap.", "`vi_json.", "\"", "`{ \""].iter().any(|before| {
                    ["`", "\""].iter().any(|after| text.contains(&format!("{before}{name}{after}")))
                });
                assert!(is_there || name == "name", "{group}: {name} is not in the tables");
            }
        }
    }
}
