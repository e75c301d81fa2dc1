//! The whole state of the server, under one lock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::fault::Fault;
use crate::nfc::{Device, Tickets};
use crate::object::{Moref, Objects};
use crate::port::{Failover, Switch};
use crate::scenario::{Direction, HostCondition, Scenario};
use crate::script::Script;
use crate::session::Sessions;
use crate::vapp::{Part, Vapp};
use crate::vm::{Vm, is_network_card, network_of};

/// Everything the server knows.
#[derive(Debug)]
pub(crate) struct World {
    /// All managed objects.
    pub(crate) objects: Objects,
    /// Who is logged in.
    pub(crate) sessions: Sessions,
    /// What the server was made from.
    pub(crate) scenario: Arc<Scenario>,
    /// The hosts, in the cluster and beside it.
    pub(crate) hosts: Vec<HostEntry>,
    /// What device URLs say of the hosts' certificates; without sockets there are none.
    pub(crate) certificates: Vec<Certificate>,
    /// The distributed switches.
    pub(crate) switches: Vec<Switch>,
    /// Failovers that have begun and are not seen to yet.
    pub(crate) failovers: Vec<Failover>,
    /// The machines, by id.
    pub(crate) vms: BTreeMap<String, Vm>,
    /// The vApps, by id.
    pub(crate) vapps: BTreeMap<String, Vapp>,
    /// Property collectors and what their clients know, by session and id.
    pub(crate) collectors: BTreeMap<(String, String), Collector>,
    /// Objects that did not fit into an answer of `RetrievePropertiesEx`, by token.
    pub(crate) remainders: BTreeMap<String, Remainder>,
    /// Leases, by id.  Ended ones stay until nobody can read them any more.
    pub(crate) leases: BTreeMap<String, Lease>,
    /// Rights to reach device URLs.
    pub(crate) tickets: Arc<Tickets>,
    /// The scenario's faults, counting down.
    pub(crate) script: Arc<Script>,
    /// Machines whose guests begin to start: they report an address in a while.
    pub(crate) booting: Vec<Moref>,
    /// Methods whose next call fails.
    pub(crate) refused: Vec<String>,
    /// Folder where uploads are stored.
    pub(crate) store: PathBuf,
    next_id: u32,
}

/// A host of the inventory.
#[derive(Clone, Debug)]
pub(crate) struct HostEntry {
    /// Its reference.
    pub(crate) moref: Moref,
    /// Its name.
    pub(crate) name: String,
    /// Whether it can take machines.
    pub(crate) condition: HostCondition,
    /// Host and port of its device URLs; `*` for the API's own.
    pub(crate) authority: String,
    /// SHA-1 of its certificate, for `sslThumbprint`.
    pub(crate) thumbprint: String,
    /// The cluster that it is in, or what it has in its place.
    pub(crate) compute: Moref,
    /// The root pool there.
    pub(crate) pool: Moref,
}

/// What a device URL says of the certificate of its host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificate {
    /// `sslThumbprint`.
    pub(crate) thumbprint: String,
    /// `sslCertificate`, on servers that have it.
    pub(crate) pem: Option<String>,
}

/// A pull that runs under a lease.
#[derive(Clone, Debug)]
pub(crate) struct Pull {
    /// Its task.
    pub(crate) task: Moref,
    /// Cancelled when the task is.
    pub(crate) cancel: CancellationToken,
}

/// A lease, from the call that asked for it until nobody can read it any more.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Its reference; the id has the session's key in it.
    pub(crate) moref: Moref,
    /// The task behind it.
    pub(crate) task: Moref,
    /// The machine or vApp it covers; on import, once that exists.
    pub(crate) entity: Option<Moref>,
    /// All machines that it holds.
    pub(crate) vms: Vec<Moref>,
    /// All vApps that it holds, the outer before the inner.
    pub(crate) vapps: Vec<Moref>,
    /// Name of the machine or vApp.
    pub(crate) machine: String,
    /// Export or import.
    pub(crate) direction: Direction,
    /// What the server says about it.
    pub(crate) state: LeaseState,
    /// Why it is in error.
    pub(crate) fault: Option<Fault>,
    /// Places of its hosts among the hosts.
    pub(crate) hosts: Vec<usize>,
    /// The right that stands in its device URLs.
    pub(crate) ticket: String,
    /// Its files, in the order of the device URLs.
    pub(crate) devices: Vec<Arc<Device>>,
    /// The name-based key of each of them; empty on export.
    pub(crate) import_keys: Vec<String>,
    /// Bytes that had moved when it ended; its files are let go then.
    pub(crate) moved_bytes: u64,
    /// How long it lives without being renewed.
    pub(crate) timeout: Duration,
    /// When it was renewed last.
    pub(crate) renewed: Instant,
    /// The percents that were reported, in order.
    pub(crate) percents: Vec<i64>,
    /// Heartbeats that were refused.
    pub(crate) refused: usize,
    /// The pull that was begun under it.
    pub(crate) pull: Option<Pull>,
    /// Cancelled when it ends.
    pub(crate) ended: CancellationToken,
}

impl Lease {
    /// Bytes that moved under it, repeated and broken transfers included.
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.moved_bytes + self.devices.iter().map(|device| device.moved_bytes()).sum::<u64>()
    }
}

/// `HttpNfcLeaseState`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the API closes the list")]
pub enum LeaseState {
    /// Completed.
    Done,
    /// Ended otherwise.
    Error,
    /// Being prepared.
    Initializing,
    /// Device URLs may be used.
    Ready,
}

impl LeaseState {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Error => "error",
            Self::Initializing => "initializing",
            Self::Ready => "ready",
        }
    }

    /// Whether the lease holds anything.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Self::Initializing | Self::Ready)
    }
}

/// A property collector of one session.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    /// Number of the last answer; the client sends it back.
    pub(crate) version: u64,
    /// Number of the answer that the client is known to have.
    pub(crate) acknowledged: u64,
    /// Changes with each wait and each cancel: only the newest wait goes on.
    pub(crate) wait: u64,
    /// Its filters, by id.
    pub(crate) filters: BTreeMap<String, Filter>,
}

/// A filter of a property collector.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// `PropertyFilterSpec`.
    pub(crate) spec: Value,
    /// What the client knew with the version it acknowledged.
    pub(crate) known: Snapshot,
    /// What it knows with the last version.
    pub(crate) sent: Snapshot,
}

/// Values of properties of objects at one time; `null` for those that are not set.
pub(crate) type Snapshot = BTreeMap<Moref, BTreeMap<String, Value>>;

/// The rest of a long answer.
#[derive(Debug)]
pub(crate) struct Remainder {
    /// Key of the session that asked.
    pub(crate) owner: String,
    /// `ObjectContent` of each object.
    pub(crate) objects: Vec<Value>,
    /// Most objects per answer.
    pub(crate) at_most: usize,
}

impl World {
    /// A world without objects.
    pub(crate) fn new(
        scenario: Arc<Scenario>,
        tickets: Arc<Tickets>,
        script: Arc<Script>,
        store: PathBuf,
    ) -> Self {
        Self {
            objects: Objects::without(&scenario.quirks.missing),
            sessions: Sessions::new(Duration::from_secs(scenario.session_idle_s.into())),
            scenario,
            certificates: Vec::new(),
            hosts: Vec::new(),
            switches: Vec::new(),
            failovers: Vec::new(),
            vms: BTreeMap::new(),
            vapps: BTreeMap::new(),
            collectors: BTreeMap::new(),
            remainders: BTreeMap::new(),
            leases: BTreeMap::new(),
            tickets,
            script,
            booting: Vec::new(),
            refused: Vec::new(),
            store,
            next_id: FIRST_ID,
        }
    }

    /// A reference to a new object, such as `vm-62`.
    pub(crate) fn new_moref(&mut self, kind: &str, prefix: &str) -> Moref {
        self.next_id += 1;
        if self.scenario.esxi && kind == "VirtualMachine" {
            // Hosts just number their machines.
            return Moref::new(kind, self.next_id.to_string());
        }
        if kind == "VirtualApp" {
            return Moref::new(kind, format!("resgroup-v{}", self.next_id));
        }
        Moref::new(kind, format!("{prefix}-{}", self.next_id))
    }

    /// A reference to a new object of one session: the id has the session's key in it.
    pub(crate) fn new_session_moref(key: &str, kind: &str) -> Moref {
        Moref::new(kind, format!("session[{key}]{}", clock::uuid()))
    }

    /// The machine `moref`.
    ///
    /// # Errors
    ///
    /// `ManagedObjectNotFound`.
    pub(crate) fn vm(&self, moref: &Moref) -> Result<&Vm, Fault> {
        self.vms.get(&moref.id).ok_or_else(|| Fault::not_found(moref))
    }

    /// The machine `moref`, to change it.  [`World::refresh`] shows the change.
    ///
    /// # Errors
    ///
    /// `ManagedObjectNotFound`.
    pub(crate) fn vm_mut(&mut self, moref: &Moref) -> Result<&mut Vm, Fault> {
        self.vms.get_mut(&moref.id).ok_or_else(|| Fault::not_found(moref))
    }

    /// Shows the machine `id` in the inventory as it is now.
    pub(crate) fn refresh(&mut self, id: &str) {
        let Some(vm) = self.vms.get(id) else { return };
        let Some(host) = self.hosts.get(vm.host) else { return };
        let moref = vm.moref.clone();
        let Value::Object(fresh) = vm.properties(&host.moref) else { return };
        let snapshots: Vec<(Moref, Value)> = vm
            .snapshots
            .iter()
            .enumerate()
            .map(|(index, snapshot)| (snapshot.moref.clone(), vm.snapshot_properties(index)))
            .collect();
        if self.objects.get(&moref).is_none() {
            self.objects.put(moref.clone(), None, Value::Object(fresh));
        } else {
            for (name, value) in fresh {
                self.objects.set(&moref, &name, value);
            }
        }
        let (datastore, pool) = (vm.datastore.clone(), vm.pool.clone());
        for (snapshot, value) in snapshots {
            self.objects.put(snapshot, None, value);
        }
        self.refresh_vapp(&pool.id);
        self.count_space(&datastore);
    }

    /// Shows how much space the machines of a datastore leave on it and on the cluster around it.
    pub(crate) fn count_space(&mut self, datastore: &Moref) {
        let inside = self.vms.values().filter(|vm| vm.datastore == *datastore);
        let stored = inside.filter_map(|vm| {
            self.objects.value(&vm.moref, "storage")["perDatastoreUsage"][0]["committed"].as_i64()
        });
        let summary = self.objects.value(datastore, "summary");
        // What the scenario says stays as it is.
        let name = summary["name"].as_str().unwrap_or_default();
        if !self.scenario.datastore_free.contains_key(name) {
            // Half of it belongs to somebody else.
            let capacity = summary["capacity"].as_i64().unwrap_or(0);
            self.set_space(datastore, (capacity / 2).saturating_sub(stored.sum()));
        }
        let Some(pod) = self.objects.reference(datastore, "parent") else { return };
        if pod.kind == "StoragePod" {
            let inside = self.objects.value(&pod, "childEntity").as_array().cloned();
            let inside = inside.unwrap_or_default();
            let free = inside.iter().filter_map(Moref::from_value).filter_map(|datastore| {
                self.objects.value(&datastore, "summary")["freeSpace"].as_i64()
            });
            let free = free.sum();
            self.set_space(&pod, free);
        }
    }

    fn set_space(&mut self, store: &Moref, free_bytes: i64) {
        for name in ["summary", "info"] {
            let mut value = self.objects.value(store, name).clone();
            if value.is_object() && value["freeSpace"] != free_bytes {
                value["freeSpace"] = json!(free_bytes);
                self.objects.set(store, name, value);
            }
        }
    }

    /// Lets the guest of a machine that runs report an address.
    pub(crate) fn report_guest(&mut self, moref: &Moref) {
        let number: u32 = moref.id.trim_start_matches("vm-").parse().unwrap_or_default();
        let [_, high, middle, low] = number.to_be_bytes();
        let Some(vm) = self.vms.get_mut(&moref.id) else { return };
        let has_card = vm
            .devices
            .iter()
            .any(|device| device["_typeName"].as_str().is_some_and(is_network_card));
        if vm.powered_on && has_card {
            // One of RFC 1918's, another for each machine.
            vm.guest_ip = Some(format!("10.{high}.{middle}.{low}"));
            self.refresh(&moref.id);
        }
    }

    /// The vApp `moref`.
    ///
    /// # Errors
    ///
    /// `ManagedObjectNotFound`.
    pub(crate) fn vapp(&self, moref: &Moref) -> Result<&Vapp, Fault> {
        self.vapps.get(&moref.id).ok_or_else(|| Fault::not_found(moref))
    }

    /// Shows the vApp `id`, and those around it, as they are now.  Of a pool that is none it does
    /// nothing.
    pub(crate) fn refresh_vapp(&mut self, id: &str) {
        let mut next = Some(id.to_owned());
        while let Some(vapp) = next.and_then(|id| self.vapps.get(&id)) {
            let moref = vapp.moref.clone();
            let parts: Vec<Part> = self.parts(&moref);
            let Value::Object(fresh) = vapp.properties(&parts) else { return };
            next = Some(vapp.parent.id.clone());
            for (name, value) in fresh {
                self.objects.set(&moref, &name, value);
            }
        }
    }

    /// The machines in the vApp `moref`, those of vApps inside it too, the outer before the inner.
    pub(crate) fn machines_in(&self, moref: &Moref) -> Vec<Moref> {
        let mut found = self.objects.references(moref, "vm");
        for inner in self.objects.references(moref, "resourcePool") {
            found.extend(self.machines_in(&inner));
        }
        found
    }

    /// The machines of a vApp as it shows them.
    fn parts(&self, moref: &Moref) -> Vec<Part> {
        let machines = self.machines_in(moref).into_iter();
        let vms = machines.filter_map(|machine| self.vms.get(&machine.id));
        vms.map(|vm| Part {
            datastore: vm.datastore.clone(),
            networks: vm.devices.iter().filter_map(network_of).collect(),
            powered_on: vm.powered_on,
        })
        .collect()
    }
}

/// Ids of new objects start above those of the fixed ones.
const FIRST_ID: u32 = 60;
