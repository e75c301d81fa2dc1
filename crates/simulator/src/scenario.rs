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

mod fault;
mod machine;
mod privilege;
mod size;
mod storage;
mod switch;
mod vapp;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

pub use self::fault::{Direction, Fault, FaultKind};
pub use self::machine::{Controller, Data, DataKind, DiskSpec, Machine, Spread};
pub(crate) use self::privilege::PRIVILEGES;
pub use self::size::Size;
pub use self::storage::DatastoreCluster;
pub use self::switch::{Offload, PortQuirk, PortgroupKind, PortgroupSpec, SwitchSpec};
pub use self::vapp::VappSpec;
pub use self::wire::{ApiVersion, FaultText, ViJson};

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
    /// Free space of datastores, by name; those that are not named have plenty.  A machine whose
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
    /// What `leaseTimeout` says in place of the truth, as an old host's 300000000; absent: the truth.
    pub lease_timeout_shown: Option<i32>,
    /// A lease under which nothing moves for so many seconds ends in `Timedout`, however often it
    /// is renewed; absent: it does not.
    pub no_data_timeout_s: Option<u32>,
    /// Time that every call takes more, in milliseconds.
    pub latency_ms: u64,
    /// Sessions end with the call of this number after their login; absent: they do not.
    pub session_calls_max: Option<u32>,
    /// Time a lease stays in the state `initializing`, in milliseconds.
    pub initialize_delay_ms: u64,
    /// Version of the API; older ones have no VI JSON.
    pub api_version: ApiVersion,
    /// Habits of the VI JSON wire.
    pub vi_json: ViJson,
    /// What goes wrong, tried in this order.
    pub faults: Vec<Fault>,
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
    /// Whether it can take machines.
    pub condition: HostCondition,
    /// What is wrong with its device URLs; absent: nothing.
    pub quirk: Option<HostQuirk>,
}

/// What is wrong with the device URLs of a host.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HostQuirk {
    /// They lead to a port where nobody listens.
    Unreachable,
    /// `sslThumbprint` is another certificate's.
    WrongThumbprint,
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
        let portgroups = self.switches.iter().flat_map(|switch| &switch.portgroups);
        let portgroups = portgroups.map(|group| group.name.as_str());
        let names = self.networks.iter().map(String::as_str).chain(portgroups);
        unique("switches", names.chain(self.switches.iter().map(|switch| switch.name.as_str())))?;
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
        Ok(())
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
            lease_timeout_shown: None,
            no_data_timeout_s: None,
            latency_ms: 0,
            session_calls_max: None,
            initialize_delay_ms: 0,
            api_version: ApiVersion::default(),
            vi_json: ViJson::default(),
            faults: Vec::new(),
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
            condition: HostCondition::Connected,
            quirk: None,
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
        ] {
            match Scenario::from_json(text) {
                Err(ScenarioError::Value { at, .. }) => assert_eq!(at, path, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
