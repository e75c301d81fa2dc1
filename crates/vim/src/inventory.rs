//! Finding things by path, as people and other tools write paths.
//!
//! ```text
//! /                                    folders of datacenters, datacenters
//! /dc/vm/folder/../machine             machines, vApps, templates
//! /dc/host/folder/../cluster           clusters and standalone hosts
//! /dc/host/cluster/host                hosts of a cluster
//! /dc/host/cluster/Resources/pool/..   resource pools and vApps
//! /dc/datastore/folder/../datastore
//! /dc/network/folder/../network
//! ```

mod facts;
mod named;
mod near;
mod networks;
mod places;
mod walk;

use crate::connection::Call;
use crate::error::VimError;
use crate::locator::{InventoryPath, Locator, unescape};
use crate::session::Session;
use crate::value::{MoRef, Value};

pub use named::{HostFacts, StoragePlace, similar};
pub use places::{DatastoreCluster, DatastoreFacts, VappFacts, VappState};

pub use walk::Listed;

pub use facts::{ImportTarget, PowerState, Snapshot, VmDisk, VmFacts};

/// An object of the inventory, with its name and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    moref: MoRef,
    path: InventoryPath,
}

impl Entity {
    /// The object.
    #[must_use]
    pub fn moref(&self) -> &MoRef {
        &self.moref
    }

    /// Its name, as people write it; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.name().unwrap_or_default()
    }

    /// Where it is.  An object that was given by its id has only its name here.
    #[must_use]
    pub fn path(&self) -> &InventoryPath {
        &self.path
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> EntityKind {
        EntityKind::of(&self.moref)
    }

    fn labelled(&self) -> String {
        format!("{} ({})", self.path, self.moref)
    }
}

/// What an object of the inventory is, for our purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntityKind {
    /// A cluster or a standalone host with its pool.
    Compute,
    /// A datacenter.
    Datacenter,
    /// A datastore.
    Datastore,
    /// A folder or a datastore cluster.
    Folder,
    /// A host of a cluster.
    Host,
    /// A standard network, distributed port group or NSX network.
    Network,
    /// A resource pool.
    ResourcePool,
    /// A switch, or something that this crate has no use for.
    Unknown,
    /// A vApp.
    VirtualApp,
    /// A machine or template.
    VirtualMachine,
}

impl EntityKind {
    fn of(moref: &MoRef) -> Self {
        match moref.kind() {
            "ClusterComputeResource" | "ComputeResource" => Self::Compute,
            "Datacenter" => Self::Datacenter,
            "Datastore" => Self::Datastore,
            "DistributedVirtualPortgroup" | "Network" | "OpaqueNetwork" => Self::Network,
            "Folder" | "StoragePod" => Self::Folder,
            "HostSystem" => Self::Host,
            "ResourcePool" => Self::ResourcePool,
            "VirtualApp" => Self::VirtualApp,
            "VirtualMachine" => Self::VirtualMachine,
            _ => Self::Unknown,
        }
    }

    /// What it is, in words.
    const fn words(self) -> &'static str {
        match self {
            Self::Compute => "a cluster",
            Self::Datacenter => "a datacenter",
            Self::Datastore => "a datastore",
            Self::Folder => "a folder",
            Self::Host => "a host",
            Self::Network => "a network",
            Self::ResourcePool => "a resource pool",
            Self::Unknown => "of another kind",
            Self::VirtualApp => "a vApp",
            Self::VirtualMachine => "a machine",
        }
    }

    /// Whether a path may go on below it.
    fn has_children(self) -> bool {
        match self {
            Self::Compute
            | Self::Datacenter
            | Self::Folder
            | Self::ResourcePool
            | Self::VirtualApp => true,
            Self::Datastore | Self::Host | Self::Network | Self::Unknown | Self::VirtualMachine => {
                false
            }
        }
    }
}

/// Finding by path.
impl Session {
    /// Finds the object of a locator: by `?moref=` or `?bios=` if it has one, else by path.
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] with similar names, [`VimError::Ambiguous`] with the candidates.
    pub async fn locate(
        &self,
        locator: &Locator,
        wanted: &[EntityKind],
    ) -> Result<Entity, VimError> {
        let by_bios;
        let moref = match (locator.moref(), locator.bios()) {
            (Some(moref), _) => moref,
            (None, Some(uuid)) => {
                by_bios = self.find_by_bios(uuid).await?;
                &by_bios
            }
            (None, None) => return self.find(locator.path(), wanted).await,
        };
        let Some(name) = self.name_of(moref).await? else {
            return Err(self.nowhere(moref.to_string()));
        };
        let path = InventoryPath::default().join(&name);
        let entity = Entity { moref: moref.clone(), path };
        if !fits(&entity, wanted) {
            return Err(self.other_kind(entity.labelled(), entity.kind(), &any_of(wanted)));
        }
        Ok(entity)
    }

    /// Finds the machine with this BIOS UUID, in the server's form: lower case, with hyphens
    /// (`SearchIndex.FindAllByUuid`, since 4.0).
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] if no machine has it, or the caller may not see it;
    /// [`VimError::Ambiguous`] with the machines if several have it, such as a restored one beside
    /// its original.
    pub async fn find_by_bios(&self, uuid: &str) -> Result<MoRef, VimError> {
        let path = format!("a machine with the BIOS UUID {uuid}");
        let mut found = self.find_all_by_bios(uuid).await?;
        match found.len() {
            0 => Err(self.nowhere(path)),
            1 => Ok(found.remove(0)),
            _ => {
                let mut candidates = Vec::new();
                for vm in &found {
                    let name = self.name_of(vm).await?.unwrap_or_default();
                    candidates.push(format!("{name} ({vm})"));
                }
                Err(self.ambiguous(path, candidates))
            }
        }
    }

    /// Finds every machine with this BIOS UUID, in the server's form: lower case, with hyphens
    /// (`SearchIndex.FindAllByUuid`, since 4.0).  Only those that the caller may see.
    ///
    /// # Errors
    ///
    /// Any, but never because there is none.
    pub async fn find_all_by_bios(&self, uuid: &str) -> Result<Vec<MoRef>, VimError> {
        const METHOD: &str = "FindAllByUuid";
        let index = self.singleton("searchIndex", METHOD)?;
        let call = Call::new(&index, METHOD)
            .with("uuid", uuid)
            .with("vmSearch", true)
            .with("instanceUuid", false);
        let found = self.connection().call(call).await?;
        Ok(found.iter().filter_map(Value::moref).cloned().collect())
    }

    /// The name of an object, as people write it; `None` if it is gone.
    ///
    /// # Errors
    ///
    /// Any, but not because it is gone.
    pub async fn name_of(&self, object: &MoRef) -> Result<Option<String>, VimError> {
        match self.read(object, &["name"]).await {
            Ok(named) => Ok(Some(unescape(&named.text("name").unwrap_or_default()))),
            Err(error) if error.is_fault("ManagedObjectNotFound") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Finds the object at `path`.  `wanted` are the kinds that are meant; none means any.
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] with similar names of the level where the path ends,
    /// [`VimError::Ambiguous`] with the candidates.
    pub async fn find(
        &self,
        path: &InventoryPath,
        wanted: &[EntityKind],
    ) -> Result<Entity, VimError> {
        let root = self.content().root_folder.clone();
        let mut here = Entity { moref: root, path: InventoryPath::default() };
        let Some((last, above)) = path.names().split_last() else { return Ok(here) };
        for name in above {
            let leads_on = |entity: &Entity| entity.kind().has_children();
            here = self.step(&here, name, &leads_on, "a folder").await?;
        }
        self.step(&here, last, &|entity| fits(entity, wanted), &any_of(wanted)).await
    }

    /// Everything directly below `parent`, in the server's order.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn children(&self, parent: &Entity) -> Result<Vec<Entity>, VimError> {
        // One request per edge: the name comes with the object.
        let edges: &[(&str, &str)] = match parent.kind() {
            EntityKind::Folder => &[("Folder", "childEntity")],
            EntityKind::Datacenter => return self.folders_of(parent).await,
            EntityKind::Compute => {
                &[("ComputeResource", "host"), ("ComputeResource", "resourcePool")]
            }
            EntityKind::ResourcePool => &[("ResourcePool", "resourcePool")],
            EntityKind::VirtualApp => &[("ResourcePool", "resourcePool"), ("ResourcePool", "vm")],
            EntityKind::Datastore
            | EntityKind::Host
            | EntityKind::Network
            | EntityKind::Unknown
            | EntityKind::VirtualMachine => &[],
        };
        let mut children = Vec::new();
        for (kind, edge) in edges {
            for found in self.read_children(parent.moref(), kind, edge, &["name"]).await? {
                let name = unescape(&found.text("name").unwrap_or_default());
                let moref = found.object().clone();
                children.push(Entity { moref, path: parent.path.join(&name) });
            }
        }
        Ok(children)
    }

    /// The object called `name` directly in the folder `folder`, of whatever kind.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn child_named(&self, folder: &MoRef, name: &str) -> Result<Option<MoRef>, VimError> {
        let parent = Entity { moref: folder.clone(), path: InventoryPath::default() };
        let children = self.children(&parent).await?;
        Ok(children.into_iter().find(|child| child.name() == name).map(|child| child.moref))
    }

    /// The four folders of a datacenter, under the names that paths use for them.
    async fn folders_of(&self, datacenter: &Entity) -> Result<Vec<Entity>, VimError> {
        const FOLDERS: [(&str, &str); 4] = [
            ("vm", "vmFolder"),
            ("host", "hostFolder"),
            ("datastore", "datastoreFolder"),
            ("network", "networkFolder"),
        ];
        let read = self.read(datacenter.moref(), &FOLDERS.map(|(_, property)| property)).await?;
        let folders = FOLDERS.iter().filter_map(|(name, property)| {
            let moref = read.moref(property)?;
            Some(Entity { moref, path: datacenter.path.join(name) })
        });
        Ok(folders.collect())
    }

    async fn step(
        &self,
        parent: &Entity,
        name: &str,
        fits: &(dyn Fn(&Entity) -> bool + Sync),
        wanted: &str,
    ) -> Result<Entity, VimError> {
        let children = self.children(parent).await?;
        let named: Vec<&Entity> = children.iter().filter(|child| is_called(child, name)).collect();
        let fitting: Vec<&Entity> = named.iter().copied().filter(|child| fits(child)).collect();
        match fitting.as_slice() {
            [one] => return Ok((*one).clone()),
            [] => {}
            several => {
                let candidates = several.iter().map(|entity| entity.labelled()).collect();
                return Err(self.ambiguous(parent.path.join(name).to_string(), candidates));
            }
        }
        let (host, path) = (self.connection().host(), parent.path.join(name).to_string());
        if let Some(other) = named.first() {
            return Err(self.other_kind(path, other.kind(), wanted));
        }
        let near = near::names(name, children.iter().map(Entity::name));
        Err(VimError::NotFound { host, path, near })
    }
}

/// Errors of names.
impl Session {
    /// Nothing is called `path`, nor anything like it.
    fn nowhere(&self, path: String) -> VimError {
        VimError::NotFound { host: self.connection().host(), path, near: Vec::new() }
    }

    /// What `path` leads to is something else than was wanted.
    fn other_kind(&self, path: String, found: EntityKind, wanted: &str) -> VimError {
        let (host, found) = (self.connection().host(), found.words());
        VimError::OtherKind { host, path, found, wanted: wanted.to_owned() }
    }

    fn ambiguous(&self, path: String, candidates: Vec<String>) -> VimError {
        VimError::Ambiguous { host: self.connection().host(), path, candidates }
    }
}

/// Finding what a machine needs.
impl Session {
    /// The datastore called `wanted` (a name or an absolute path) that `scope` can use; without a
    /// name the only one.  `scope` is a cluster, standalone host, host or datacenter.
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] or [`VimError::Ambiguous`] with the names there are.
    pub async fn datastore(&self, scope: &MoRef, wanted: Option<&str>) -> Result<Entity, VimError> {
        self.resource(scope, "datastore", EntityKind::Datastore, wanted).await
    }

    /// The network called `wanted` (a name or an absolute path) that `scope` can use; without a
    /// name the only one.  `scope` is a cluster, standalone host, host or datacenter.
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] or [`VimError::Ambiguous`] with the names there are.
    pub async fn network(&self, scope: &MoRef, wanted: Option<&str>) -> Result<Entity, VimError> {
        self.resource(scope, "network", EntityKind::Network, wanted).await
    }

    async fn resource(
        &self,
        scope: &MoRef,
        edge: &str,
        kind: EntityKind,
        wanted: Option<&str>,
    ) -> Result<Entity, VimError> {
        if let Some(path) = wanted.filter(|wanted| wanted.starts_with('/')) {
            return self.find(&InventoryPath::new(path), &[kind]).await;
        }
        let is_compute = EntityKind::of(scope) == EntityKind::Compute;
        let declared = if is_compute { "ComputeResource" } else { scope.kind() };
        let found = self.read_children(scope, declared, edge, &["name"]).await?;
        let all: Vec<Entity> = found
            .iter()
            .map(|found| {
                let name = unescape(&found.text("name").unwrap_or_default());
                let path = InventoryPath::default().join(&name);
                Entity { moref: found.object().clone(), path }
            })
            .filter(|entity| entity.kind() == kind)
            .collect();
        let fitting: Vec<&Entity> =
            all.iter().filter(|e| wanted.is_none_or(|wanted| is_called(e, wanted))).collect();
        let what = wanted.map_or_else(|| format!("the {edge}"), |name| format!("{edge} {name}"));
        match fitting.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let near = near::names(wanted.unwrap_or_default(), all.iter().map(Entity::name));
                Err(VimError::NotFound { host: self.connection().host(), path: what, near })
            }
            several => {
                let label = |entity: &&Entity| format!("{} ({})", entity.name(), entity.moref);
                let candidates = several.iter().map(label).collect();
                Err(self.ambiguous(what, candidates))
            }
        }
    }
}

fn fits(entity: &Entity, wanted: &[EntityKind]) -> bool {
    wanted.is_empty() || wanted.contains(&entity.kind())
}

/// Names of entities are unescaped; `name` may still carry the server's escapes.
fn is_called(entity: &Entity, name: &str) -> bool {
    entity.name() == name || entity.name() == unescape(name)
}

/// Kinds in words: `a host, a vApp or a machine`.
fn any_of(kinds: &[EntityKind]) -> String {
    let words: Vec<&str> = kinds.iter().map(|kind| kind.words()).collect();
    match words.split_last() {
        Some((last, rest @ [_, ..])) => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}
