//! Datastore clusters and vApps: objects that stand for several.

use super::facts::VmFacts;
use crate::error::VimError;
use crate::locator::unescape;
use crate::session::Session;
use crate::value::{MoRef, Value};

/// A datastore cluster (`StoragePod`, since 5.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DatastoreCluster {
    /// The cluster.
    pub moref: MoRef,
    /// Its name.
    pub name: String,
    /// Its datastores, in the server's order.
    pub datastores: Vec<DatastoreFacts>,
}

/// What a placement needs to know about a datastore (`DatastoreSummary`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatastoreFacts {
    /// The datastore.
    pub moref: MoRef,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub capacity_bytes: Option<u64>,
    /// Its free space in bytes, as the server knew it last.
    pub free_bytes: Option<u64>,
    /// Whether a host can reach it.
    pub is_accessible: bool,
    /// `normal`, `enteringMaintenance` or `inMaintenance` (since 5.0).
    pub maintenance_mode: Option<String>,
}

impl DatastoreCluster {
    /// The datastore with the most free space, of those that can take something.
    #[must_use]
    pub fn roomiest(&self) -> Option<&DatastoreFacts> {
        let usable = self.datastores.iter().filter(|datastore| datastore.is_usable());
        usable.max_by_key(|datastore| datastore.free_bytes.unwrap_or(0))
    }
}

impl DatastoreFacts {
    /// Whether it can take something: reachable, and not in maintenance.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.is_accessible && self.maintenance_mode.as_deref().is_none_or(|mode| mode == "normal")
    }

    pub(super) fn from_value(moref: MoRef, summary: &Value) -> Self {
        Self {
            moref,
            name: unescape(&summary.text_of("name").unwrap_or_default()),
            capacity_bytes: summary.unsigned_of("capacity"),
            free_bytes: summary.unsigned_of("freeSpace"),
            is_accessible: summary.boolean_of("accessible").unwrap_or(false),
            maintenance_mode: summary.filled_text_of("maintenanceMode"),
        }
    }
}

/// What an export needs to know about a vApp (`VirtualApp`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VappFacts {
    /// The vApp.
    pub vapp: MoRef,
    /// Its name.
    pub name: String,
    /// Whether it runs; only a stopped one can be exported.
    pub state: VappState,
    /// Its machines, those of vApps inside it included.
    pub machines: Vec<VmFacts>,
    /// Methods that it refuses at present, such as `ExportVApp`.
    pub disabled_methods: Vec<String>,
}

/// Whether a vApp runs (`VirtualAppVAppState`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VappState {
    /// Runs.
    Started,
    /// Is being started.
    Starting,
    /// Does not run.
    Stopped,
    /// Is being stopped.
    Stopping,
    /// A state that this crate does not know, or none.
    Unknown(String),
}

/// Objects that stand for several.
impl Session {
    /// Reads a datastore cluster with its datastores.
    ///
    /// API: `StoragePod`, since 5.0.
    ///
    /// # Errors
    ///
    /// The fault `ManagedObjectNotFound`, also for a datastore that went meanwhile.
    pub async fn datastore_cluster(&self, pod: &MoRef) -> Result<DatastoreCluster, VimError> {
        let read = self.read(pod, &["name", "childEntity"]).await?;
        let mut datastores = Vec::new();
        // A cluster has at most 64.
        for moref in read.morefs("childEntity") {
            let facts = self.read(&moref, &["summary"]).await?;
            if let Some(summary) = facts.value("summary") {
                datastores.push(DatastoreFacts::from_value(moref, summary));
            }
        }
        let name = unescape(&read.text("name").unwrap_or_default());
        Ok(DatastoreCluster { moref: pod.clone(), name, datastores })
    }

    /// The machines of a vApp, those of vApps inside it included.
    ///
    /// API: `VirtualApp.vm` and `VirtualApp.resourcePool`, since 4.0.
    ///
    /// # Errors
    ///
    /// The fault `ManagedObjectNotFound`, also for a vApp inside that went meanwhile.
    pub async fn vapp_machines(&self, vapp: &MoRef) -> Result<Vec<MoRef>, VimError> {
        let mut machines = Vec::new();
        let mut open = vec![vapp.clone()];
        while let Some(pool) = open.pop() {
            let inside = self.read(&pool, &["vm", "resourcePool"]).await?;
            machines.extend(inside.morefs("vm"));
            open.extend(inside.morefs("resourcePool"));
        }
        Ok(machines)
    }

    /// Reads what an export needs to know about a vApp.
    ///
    /// API: `VirtualApp`, since 4.0.
    ///
    /// # Errors
    ///
    /// The fault `ManagedObjectNotFound`, also for a machine that went meanwhile.
    pub async fn vapp_facts(&self, vapp: &MoRef) -> Result<VappFacts, VimError> {
        let read = self.read(vapp, &["name", "summary", "disabledMethod"]).await?;
        let mut machines = Vec::new();
        for vm in self.vapp_machines(vapp).await? {
            machines.push(self.vm_facts(&vm).await?);
        }
        let state = read.value("summary").and_then(|summary| summary.text_of("vAppState"));
        let methods = read.value("disabledMethod").into_iter().flat_map(Value::items);
        Ok(VappFacts {
            vapp: vapp.clone(),
            name: unescape(&read.text("name").unwrap_or_default()),
            state: match state.unwrap_or_default().as_str() {
                "started" => VappState::Started,
                "starting" => VappState::Starting,
                "stopped" => VappState::Stopped,
                "stopping" => VappState::Stopping,
                unknown => VappState::Unknown(unknown.to_owned()),
            },
            machines,
            disabled_methods: methods.filter_map(|m| Some(m.text()?.into_owned())).collect(),
        })
    }
}
