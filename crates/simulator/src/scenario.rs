//! What a simulated vCenter holds and how it misbehaves: the schema of scenario files.
//!
//! A scenario is a JSON object.  Every field has a default, an unknown field is an error, and an
//! empty object is the default vCenter: one datacenter `DC0` with the cluster `Cluster0` of two
//! hosts, two datastores, two networks and a few small machines.
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

mod storage;
mod switch;
mod wire;

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

pub use self::wire::{ApiVersion, FaultText, ViJson};
pub use storage::DatastoreCluster;
pub use switch::{Offload, PortQuirk, PortgroupKind, PortgroupSpec, SwitchSpec};

/// Everything a simulated vCenter is made from.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Scenario {
    /// Name of the only user.
    pub username: String,
    /// Password of that user.
    pub password: String,
    /// Hosts of the cluster `Cluster0`, each with its own NFC port and certificate.
    pub hosts: Vec<Host>,
    /// Names of the datastores; every host reaches all of them.
    pub datastores: Vec<String>,
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
    /// Rate of each transfer in megabytes (10^6 bytes) per second; absent: as fast as it goes.
    pub throttle_mb_per_s_per_stream: Option<f64>,
    /// Rate of all transfers of the host together, in the same unit.
    pub throttle_mb_per_s: Option<f64>,
    /// Connections served at a time; those above get 503 (real hosts: `NFC` buffers for about 48).
    pub connection_cap: usize,
    /// Device URLs have `*` in place of the host, as a host without vCenter gives them; the data
    /// then passes through the API's port.
    pub star_url: bool,
}

/// One machine that exists from the start.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Machine {
    /// Name in the inventory.
    pub name: String,
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether it runs; a running machine cannot be exported, its snapshots can.
    pub powered_on: bool,
    /// Folder below the datacenter's `vm` folder, made if missing; parts joined by `/`.
    pub folder: String,
    /// Name of the host it is registered on; empty: the first one.
    pub host: String,
    /// Guest identifier, such as `otherLinux64Guest`.
    pub guest_id: String,
    /// Kind of SCSI controller its disks hang on.
    pub controller: Controller,
    /// Disks in the order of their unit numbers.
    pub disks: Vec<DiskSpec>,
    /// Names of the networks or portgroups of its network cards, one card for each.
    pub networks: Vec<String>,
    /// Size of its NVRAM file; 0 means that it has none.
    pub nvram: Size,
    /// Names of its snapshots, oldest first, each the child of the one before.
    pub snapshots: Vec<String>,
}

/// One virtual disk.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DiskSpec {
    /// Size the machine sees; a multiple of a sector, 512 bytes.
    pub capacity: Size,
    /// What is on it.
    pub data: Data,
}

/// Content of a disk, made from a seed: the same fields give the same bytes everywhere.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Data {
    /// How much of the disk was written, rounded up to whole grains of 64 KiB and cut to the
    /// capacity.
    pub amount: Size,
    /// What the bytes look like.
    pub kind: DataKind,
    /// Another seed gives other bytes.
    pub seed: u64,
    /// Where on the disk they lie.
    pub spread: Spread,
}

/// What the written part of a disk looks like.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DataKind {
    /// Regions of 1 MiB, each of one of the other kinds.
    #[default]
    Mixed,
    /// Incompressible.
    Random,
    /// Words, which compress to about a fifth.
    Text,
    /// Zeros, which a stream-optimized disk leaves out.
    Zero,
}

/// Where the written part of a disk lies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Spread {
    /// Grains at even distances over the whole disk.
    Even,
    /// All at the start of the disk.
    #[default]
    Front,
}

/// Kind of SCSI controller.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Controller {
    /// LSI Logic parallel.
    #[default]
    Lsilogic,
    /// VMware paravirtual.
    Paravirtual,
}

/// Something that goes wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Fault {
    /// Which transfers it strikes.
    pub on: Direction,
    /// Only this disk of the machine, counted from 0; absent: any file.  Faults of a lease
    /// ignore it.
    #[serde(default)]
    pub disk: Option<usize>,
    /// Only this machine, by name; absent: any.
    #[serde(default)]
    pub machine: Option<String>,
    /// What happens.
    pub kind: FaultKind,
    /// How many occasions pass before it strikes.
    #[serde(default)]
    pub after: u32,
    /// How many times it strikes.
    #[serde(default = "once")]
    pub times: u32,
}

/// Way of a transfer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "there are two ways")]
pub enum Direction {
    /// From the server: downloads.
    Export,
    /// To the server: uploads.
    Import,
}

/// What goes wrong.  Bytes are counted in the body of one request, from 0.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// The lowest bit of the byte at this offset is turned over.  On export the manifest keeps
    /// the digest of the right bytes; on import the bytes count as they arrived: turned over.
    FlipBitAt(u64),
    /// One `HttpNfcLeaseProgress` fails.
    HeartbeatRefused,
    /// The lease does not become ready but ends in error with this message.
    InitializeError(String),
    /// The lease ends in error once so many bytes have moved under it.
    LeaseLostAfterBytes(u64),
    /// The lease ends in error so many milliseconds after it became ready.
    LeaseLostAfterMs(u64),
    /// The connection is cut by a TCP reset after so many bytes.
    ResetAfterBytes(u64),
    /// Nothing moves any more after so many bytes, until the lease ends.
    StallAfterBytes(u64),
    /// The host answers with this HTTP status instead of moving anything.
    Status(u16),
    /// The reply ends cleanly after so many bytes, as if it were whole (export); an upload is
    /// answered with 200 although the rest was dropped (import).
    TruncateAfterBytes(u64),
    /// The manifest of the lease has another digest than the bytes.
    WrongDigest,
}

/// A number of bytes: in JSON a number, or a string with a unit such as `"64KiB"` or `"4GiB"`.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Size(u64);

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
        let scenario: Self = serde_json::from_str(text).map_err(|source| {
            ScenarioError::Syntax { line: source.line(), column: source.column(), source }
        })?;
        scenario.check()?;
        Ok(scenario)
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
        for (index, fault) in self.faults.iter().enumerate() {
            fault.check(&format!("faults[{index}]"))?;
        }
        Ok(())
    }

    /// The default scenario on a host without vCenter.
    #[must_use]
    pub fn esxi() -> Self {
        let mut scenario = Self { esxi: true, hosts: vec![Host::new("esxi0")], ..Self::default() };
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

impl Machine {
    /// A machine without disks, off, in the top folder of the first host.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    fn check(&self, at: &str, scenario: &Scenario) -> Result<(), ScenarioError> {
        if self.name.is_empty() {
            return Err(wrong(format!("{at}.name"), "must not be empty"));
        }
        if !self.host.is_empty() && !scenario.hosts.iter().any(|host| host.name == self.host) {
            return Err(wrong(format!("{at}.host"), format!("no host is called {}", self.host)));
        }
        let is_known = |name: &String| {
            let mut groups = scenario.switches.iter().flat_map(|switch| &switch.portgroups);
            scenario.networks.contains(name) || groups.any(|group| group.name == *name)
        };
        if let Some(network) = self.networks.iter().find(|name| !is_known(name)) {
            let problem = format!("no network is called {network}");
            return Err(wrong(format!("{at}.networks"), problem));
        }
        if self.disks.len() > DISKS_MAX {
            return Err(wrong(format!("{at}.disks"), format!("more than {DISKS_MAX}")));
        }
        if self.nvram.bytes() > NVRAM_BYTES_MAX {
            return Err(wrong(format!("{at}.nvram"), format!("above {NVRAM_BYTES_MAX} bytes")));
        }
        for (index, disk) in self.disks.iter().enumerate() {
            disk.check(&format!("{at}.disks[{index}]"))?;
        }
        Ok(())
    }
}

impl DiskSpec {
    /// A disk of `capacity_bytes` on which nothing was written.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        Self { capacity: Size(capacity_bytes), data: Data::default() }
    }

    /// The same disk with `data` on it.
    #[must_use]
    pub fn with_data(mut self, data: Data) -> Self {
        self.data = data;
        self
    }

    pub(crate) fn check(&self, at: &str) -> Result<(), ScenarioError> {
        let capacity = self.capacity.bytes();
        if capacity == 0 || !capacity.is_multiple_of(SECTOR_BYTES) {
            let problem = format!("must be a multiple of {SECTOR_BYTES} bytes above 0");
            return Err(wrong(format!("{at}.capacity"), problem));
        }
        if capacity > CAPACITY_BYTES_MAX {
            return Err(wrong(format!("{at}.capacity"), "above 62 TiB, the largest virtual disk"));
        }
        Ok(())
    }
}

impl Data {
    /// `amount_bytes` of `kind` at the front of the disk.
    #[must_use]
    pub fn new(kind: DataKind, amount_bytes: u64, seed: u64) -> Self {
        Self { amount: Size(amount_bytes), kind, seed, spread: Spread::default() }
    }

    /// The same data elsewhere.
    #[must_use]
    pub fn with_spread(mut self, spread: Spread) -> Self {
        self.spread = spread;
        self
    }
}

impl Fault {
    /// A fault that strikes the first occasion on any file of any machine.
    #[must_use]
    pub fn new(on: Direction, kind: FaultKind) -> Self {
        Self { on, disk: None, machine: None, kind, after: 0, times: once() }
    }

    /// The same fault only on the disk with this index.
    #[must_use]
    pub fn with_disk(mut self, index: usize) -> Self {
        self.disk = Some(index);
        self
    }

    /// The same fault so many times.
    #[must_use]
    pub fn with_times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    fn check(&self, at: &str) -> Result<(), ScenarioError> {
        if let FaultKind::Status(code) = self.kind
            && !(400..=599).contains(&code)
        {
            return Err(wrong(format!("{at}.kind.status"), "must be between 400 and 599"));
        }
        Ok(())
    }
}

impl Size {
    /// This many bytes.
    #[must_use]
    pub fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Number of bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim_start() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(1 << shift).map(Self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or a string such as \"4GiB\" (KiB, MiB, GiB, TiB)")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        Size::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            username: "administrator@vsphere.local".to_owned(),
            password: "simulated".to_owned(),
            hosts: vec![Host::new("host0"), Host::new("host1")],
            datastores: vec!["datastore0".to_owned(), "datastore1".to_owned()],
            datastore_clusters: Vec::new(),
            networks: vec!["VM Network".to_owned(), "Storage Network".to_owned()],
            esxi: false,
            switches: Vec::new(),
            pools: vec!["pool0".to_owned(), "pool1".to_owned()],
            machines: default_machines(),
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
            throttle_mb_per_s_per_stream: None,
            throttle_mb_per_s: None,
            connection_cap: 32,
            star_url: false,
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            name: "machine".to_owned(),
            cpus: 1,
            memory_mib: 512,
            powered_on: false,
            folder: String::new(),
            host: String::new(),
            guest_id: "otherLinux64Guest".to_owned(),
            controller: Controller::default(),
            disks: Vec::new(),
            networks: Vec::new(),
            nvram: Size(0),
            snapshots: Vec::new(),
        }
    }
}

fn default_machines() -> Vec<Machine> {
    let network = || vec!["VM Network".to_owned()];
    let disk = |capacity_mib: u64, amount_mib: u64, kind, seed| {
        DiskSpec::new(capacity_mib << 20).with_data(Data::new(kind, amount_mib << 20, seed))
    };
    vec![
        Machine {
            disks: vec![disk(64, 4, DataKind::Mixed, 1)],
            networks: network(),
            nvram: Size(8684),
            ..Machine::new("small")
        },
        Machine {
            cpus: 2,
            memory_mib: 2048,
            host: "host1".to_owned(),
            controller: Controller::Paravirtual,
            disks: vec![
                disk(256, 16, DataKind::Mixed, 2),
                disk(128, 8, DataKind::Random, 3),
                disk(32, 0, DataKind::Zero, 4),
            ],
            networks: vec!["VM Network".to_owned(), "Storage Network".to_owned()],
            ..Machine::new("database")
        },
        Machine {
            powered_on: true,
            disks: vec![disk(64, 4, DataKind::Text, 5)],
            networks: network(),
            ..Machine::new("running")
        },
        Machine {
            folder: "backup/daily".to_owned(),
            powered_on: true,
            disks: vec![disk(64, 4, DataKind::Mixed, 6)],
            networks: network(),
            snapshots: vec!["before update".to_owned()],
            ..Machine::new("with-snapshot")
        },
    ]
}

fn once() -> u32 {
    1
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

/// Bytes in a sector, here and everywhere in VMDK.
const SECTOR_BYTES: u64 = 512;

/// 62 TiB, vSphere's limit for a virtual disk.
const CAPACITY_BYTES_MAX: u64 = 62 << 40;

/// Four SCSI controllers with 64 disks each, the most that vSphere gives a machine.
const DISKS_MAX: usize = 256;

/// NVRAM files are a few hundred KiB; they are made in memory.
const NVRAM_BYTES_MAX: u64 = 16 << 20;

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

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("64KiB", 65536), ("4 GiB", 4 << 30), ("1TiB", 1 << 40)]
        {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "4GB", "4gib", "99999999999TiB"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }
}
