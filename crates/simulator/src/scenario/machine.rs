//! Machines of a scenario, and what is on their disks.

use serde::{Deserialize, Serialize};

use super::{Scenario, ScenarioError, Size, VappSpec, wrong};

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
    /// Its configuration files are encrypted.  Servers document no export of such a machine, but
    /// not how they refuse it; this one exports it.
    pub encrypted: bool,
    /// It has a virtual TPM; its configuration files are encrypted then, too.
    pub tpm: bool,
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
    /// It is encrypted on its datastore.
    pub encrypted: bool,
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
    /// Incompressible, and the same in every grain: packed once for the whole disk, so that it is
    /// served as fast as memory is copied.
    Repeat,
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

impl Machine {
    /// A machine without disks, off, in the top folder of the first host.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub(super) fn check(&self, at: &str, scenario: &Scenario) -> Result<(), ScenarioError> {
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
        let (capacity, data) = (Size::from_bytes(capacity_bytes), Data::default());
        Self { capacity, data, encrypted: false }
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
        Self { amount: Size::from_bytes(amount_bytes), kind, seed, spread: Spread::default() }
    }

    /// The same data elsewhere.
    #[must_use]
    pub fn with_spread(mut self, spread: Spread) -> Self {
        self.spread = spread;
        self
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
            nvram: Size::from_bytes(0),
            encrypted: false,
            tpm: false,
            snapshots: Vec::new(),
        }
    }
}

pub(super) fn default_machines() -> Vec<Machine> {
    let network = || vec!["VM Network".to_owned()];
    let disk = |capacity_mib: u64, amount_mib: u64, kind, seed| {
        DiskSpec::new(capacity_mib << 20).with_data(Data::new(kind, amount_mib << 20, seed))
    };
    vec![
        Machine {
            disks: vec![disk(64, 4, DataKind::Mixed, 1)],
            networks: network(),
            nvram: Size::from_bytes(8684),
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

pub(super) fn default_vapps() -> Vec<VappSpec> {
    let machine = |name: &str, host: &str, capacity_mib: u64, seed| Machine {
        memory_mib: 256,
        host: host.to_owned(),
        disks: vec![DiskSpec::new(capacity_mib << 20).with_data(Data::new(
            DataKind::Mixed,
            3 << 20,
            seed,
        ))],
        networks: vec!["VM Network".to_owned()],
        ..Machine::new(name)
    };
    let back = machine("vapp-db", "", 32, 7);
    let mut front = machine("vapp-web", "host1", 16, 8);
    front.networks.push("Storage Network".to_owned());
    vec![VappSpec::new("vapp0", vec![back, front])]
}

/// Bytes in a sector, here and everywhere in VMDK.
const SECTOR_BYTES: u64 = 512;

/// 62 TiB, vSphere's limit for a virtual disk.
const CAPACITY_BYTES_MAX: u64 = 62 << 40;

/// Four SCSI controllers with 64 disks each, the most that vSphere gives a machine.
const DISKS_MAX: usize = 256;

/// NVRAM files are a few hundred KiB; they are made in memory.
const NVRAM_BYTES_MAX: u64 = 16 << 20;
