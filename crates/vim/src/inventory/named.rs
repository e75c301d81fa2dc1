//! Places for an import by name, path or reference.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::facts::ImportTarget;
use super::places::DatastoreFacts;
use super::{Entity, EntityKind, near};
use crate::error::{ErrorKind, VimError};
use crate::locator::{InventoryPath, moref_in, unescape};
use crate::property::{self, Properties};
use crate::session::Session;
use crate::value::{MoRef, Value};

/// The few names among `there` that are nearest to `wanted`, best first, for people who mistyped
/// one.  A short list comes whole.
pub fn similar<'n>(wanted: &str, there: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    near::names(wanted, there.into_iter())
}

/// What an import needs to know about a host (`HostRuntimeInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostFacts {
    /// The host.
    pub moref: MoRef,
    /// Its name.
    pub name: String,
    /// `connected`, `disconnected` or `notResponding`.
    pub connection_state: String,
    /// Whether it is in maintenance.
    pub is_in_maintenance: bool,
}

impl HostFacts {
    /// Whether it can take a machine: connected, and not in maintenance.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.connection_state == "connected" && !self.is_in_maintenance
    }
}

/// Where disks can go: the datastore, or the members of a datastore cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoragePlace {
    /// Name of the datastore cluster, if one was meant.
    pub cluster: Option<String>,
    /// The datastore, or the members of the cluster that the place for the machine can reach.
    pub datastores: Vec<DatastoreFacts>,
}

impl StoragePlace {
    /// The datastore to take: of several the one with the most free space that can take something.
    #[must_use]
    pub fn choice(&self) -> Option<&DatastoreFacts> {
        match self.datastores.as_slice() {
            [one] => Some(one),
            several => several
                .iter()
                .filter(|datastore| datastore.is_usable())
                .max_by_key(|datastore| datastore.free_bytes.unwrap_or(0)),
        }
    }
}

/// Finding by what people and other tools write.
impl Session {
    /// Finds what `text` means: a reference (`ResourcePool:resgroup-8`, `?moref=resgroup-8`) or an
    /// inventory path.
    ///
    /// # Errors
    ///
    /// Those of [`find`](Self::find); [`VimError::NotFound`] for a reference to nothing, or to
    /// something of another kind than `wanted`.
    pub async fn find_named(&self, text: &str, wanted: &[EntityKind]) -> Result<Entity, VimError> {
        match reference(text, wanted) {
            Some(moref) => self.entity(&moref, wanted).await,
            None => self.find(&InventoryPath::new(text), wanted).await,
        }
    }

    /// Finds the place for a machine that `text` means: a reference to a cluster, host, pool or
    /// vApp, or a path as of [`import_target`](Self::import_target).
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] or [`VimError::Ambiguous`] with what there is.
    pub async fn import_target_named(&self, text: &str) -> Result<ImportTarget, VimError> {
        const KINDS: [EntityKind; 4] = [
            EntityKind::Compute,
            EntityKind::Host,
            EntityKind::ResourcePool,
            EntityKind::VirtualApp,
        ];
        let Some(moref) = reference(text, &KINDS) else {
            return self.import_target(&InventoryPath::new(text)).await;
        };
        let end = self.entity(&moref, &KINDS).await?;
        let is_pool = matches!(end.kind(), EntityKind::ResourcePool | EntityKind::VirtualApp);
        let compute = if is_pool {
            let read = self.read(end.moref(), &["owner"]).await?;
            let owner = read.moref("owner").ok_or_else(|| self.nowhere(missing(&end, "owner")))?;
            self.entity(&owner, &[]).await?
        } else if end.kind() == EntityKind::Host {
            self.entity(&self.parent(&end).await?, &[]).await?
        } else {
            end.clone()
        };
        let mut datacenter = compute.clone();
        while datacenter.kind() != EntityKind::Datacenter {
            let above = self.parent(&datacenter).await?;
            datacenter = self.entity(&above, &[]).await?;
        }
        let folders = self.read(datacenter.moref(), &["vmFolder"]).await?;
        let vm_folder = folders
            .moref("vmFolder")
            .ok_or_else(|| self.nowhere(missing(&datacenter, "vmFolder")))?;
        let pool = if is_pool { end.moref().clone() } else { self.root_pool(&compute).await? };
        let host = (end.kind() == EntityKind::Host).then(|| end.moref().clone());
        Ok(ImportTarget { datacenter, compute, pool, host, vm_folder })
    }

    /// Finds where disks can go: `wanted` is a name, a path or a reference of a datastore or of a
    /// datastore cluster; without it the only datastore that the target can use.
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] or [`VimError::Ambiguous`] with the names there are.
    pub async fn storage_place(
        &self,
        target: &ImportTarget,
        wanted: Option<&str>,
    ) -> Result<StoragePlace, VimError> {
        const KINDS: [EntityKind; 2] = [EntityKind::Datastore, EntityKind::Folder];
        let scope = target.compute.moref();
        let is_name = |text: &&str| !text.starts_with('/') && reference(text, &KINDS).is_none();
        let found = match wanted {
            None => self.datastore(scope, None).await?,
            Some(name) if is_name(&name) => match self.datastore(scope, Some(name)).await {
                Err(VimError::NotFound { host, path, near }) => {
                    let cluster = self.datastore_cluster_called(target, name).await?;
                    cluster.ok_or(VimError::NotFound { host, path, near })?
                }
                found => found?,
            },
            Some(text) => self.find_named(text, &KINDS).await?,
        };
        if found.kind() == EntityKind::Datastore {
            let datastores = vec![self.datastore_facts(found.moref()).await?];
            return Ok(StoragePlace { cluster: None, datastores });
        }
        if found.moref().kind() != "StoragePod" {
            let path = found.path().to_string();
            return Err(self.other_kind(path, found.kind(), "a datastore or a datastore cluster"));
        }
        let reachable = self.read(scope, &["datastore"]).await?.morefs("datastore");
        let mut datastores = self.datastore_cluster(found.moref()).await?.datastores;
        datastores.retain(|datastore| reachable.contains(&datastore.moref));
        if datastores.is_empty() {
            let path = format!(
                "a datastore of the cluster {} that {} can use",
                found.name(),
                target.compute.name()
            );
            return Err(self.nowhere(path));
        }
        Ok(StoragePlace { cluster: Some(found.name().to_owned()), datastores })
    }

    /// Reads what a placement needs to know about a datastore.
    ///
    /// # Errors
    ///
    /// The fault `ManagedObjectNotFound`; [`VimError::Protocol`] for one without a summary.
    pub async fn datastore_facts(&self, datastore: &MoRef) -> Result<DatastoreFacts, VimError> {
        let read = self.read(datastore, &["summary"]).await?;
        let summary = read.value("summary").ok_or_else(|| {
            self.connection().protocol("RetrievePropertiesEx", "a datastore without a summary")
        })?;
        Ok(DatastoreFacts::from_value(datastore.clone(), summary))
    }

    /// The names of objects, as people write them, with one request for each type of object.  What
    /// is gone, and what the caller may not see, has none.
    ///
    /// # Errors
    ///
    /// Any, but never because an object is gone or hidden.
    pub async fn names_of(&self, objects: &[MoRef]) -> Result<HashMap<MoRef, String>, VimError> {
        let mut by_kind: BTreeMap<&str, Vec<MoRef>> = BTreeMap::new();
        let distinct: HashSet<&MoRef> = objects.iter().collect();
        for object in distinct {
            by_kind.entry(object.kind()).or_default().push(object.clone());
        }
        let (connection, collector) = (self.connection(), &self.content().property_collector);
        let mut names = HashMap::new();
        let mut take = |found: Vec<Properties>| {
            let named = found
                .iter()
                .filter_map(|one| Some((one.object().clone(), unescape(&one.text("name")?))));
            names.extend(named);
        };
        for same in by_kind.values() {
            match property::read_each(connection, collector, same, &["name"]).await {
                Ok(found) => take(found),
                // One of them spoils the answer for all.
                Err(error) if is_unseen(&error) => {
                    for one in same {
                        let one = std::slice::from_ref(one);
                        match property::read_each(connection, collector, one, &["name"]).await {
                            Ok(found) => take(found),
                            Err(error) if is_unseen(&error) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    /// The hosts of a cluster or standalone host, in the server's order.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn hosts_of(&self, compute: &MoRef) -> Result<Vec<HostFacts>, VimError> {
        let found =
            self.read_children(compute, "ComputeResource", "host", &["name", "runtime"]).await?;
        let facts = found.iter().map(|host| {
            let runtime = host.value("runtime");
            let state = runtime.and_then(|runtime| runtime.text_of("connectionState"));
            HostFacts {
                moref: host.object().clone(),
                name: unescape(&host.text("name").unwrap_or_default()),
                connection_state: state.unwrap_or_default(),
                is_in_maintenance: runtime
                    .and_then(|runtime| runtime.boolean_of("inMaintenanceMode"))
                    .unwrap_or(false),
            }
        });
        Ok(facts.collect())
    }

    /// The object behind a reference, with its name.
    pub(super) async fn entity(
        &self,
        moref: &MoRef,
        wanted: &[EntityKind],
    ) -> Result<Entity, VimError> {
        let named = match self.read(moref, &["name"]).await {
            Err(error) if error.is_fault("ManagedObjectNotFound") => {
                return Err(self.nowhere(moref.to_string()));
            }
            named => named?,
        };
        let name = unescape(&named.text("name").unwrap_or_default());
        let entity = Entity { moref: moref.clone(), path: InventoryPath::default().join(&name) };
        if super::fits(&entity, wanted) {
            return Ok(entity);
        }
        Err(self.other_kind(entity.labelled(), entity.kind(), &super::any_of(wanted)))
    }

    async fn parent(&self, entity: &Entity) -> Result<MoRef, VimError> {
        let read = self.read(entity.moref(), &["parent"]).await?;
        read.value("parent")
            .and_then(Value::moref)
            .cloned()
            .ok_or_else(|| self.nowhere(missing(entity, "parent")))
    }

    /// The datastore cluster of this name, in whatever folder of datastores it lies.
    async fn datastore_cluster_called(
        &self,
        target: &ImportTarget,
        name: &str,
    ) -> Result<Option<Entity>, VimError> {
        let read = self.read(target.datacenter.moref(), &["datastoreFolder"]).await?;
        let top = read.moref("datastoreFolder");
        let mut open: Vec<Entity> =
            top.map(|moref| Entity { moref, path: InventoryPath::default() }).into_iter().collect();
        while let Some(here) = open.pop() {
            for child in self.children(&here).await? {
                match child.moref().kind() {
                    "StoragePod" if super::is_called(&child, name) => return Ok(Some(child)),
                    "Folder" => open.push(child),
                    _ => {}
                }
            }
        }
        Ok(None)
    }
}

/// Whether an object is gone, or the caller may not see it.
fn is_unseen(error: &VimError) -> bool {
    matches!(error.kind(), ErrorKind::Gone | ErrorKind::Denied)
}

/// The reference that `text` is, if it is one to something of the kinds `wanted`.
pub(super) fn reference(text: &str, wanted: &[EntityKind]) -> Option<MoRef> {
    if let Some(id) = text.strip_prefix("?moref=") {
        return moref_in(id);
    }
    if text.contains('/') || !text.contains(':') {
        return None;
    }
    let moref = moref_in(text)?;
    // A name may hold a colon too.
    wanted.contains(&EntityKind::of(&moref)).then_some(moref)
}

fn missing(entity: &Entity, what: &str) -> String {
    format!("the {what} of {}", entity.labelled())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_names() {
        let networks = [EntityKind::Network];
        let network = MoRef::new("Network", "network-7");
        assert_eq!(reference("Network:network-7", &networks), Some(network.clone()));
        assert_eq!(reference("?moref=network-7", &networks), Some(network));
        for name in ["VM Network", "network-7", "VLAN:7", "/DC0/network/Network:network-7"] {
            assert_eq!(reference(name, &networks), None, "{name}");
        }
        assert_eq!(reference("VirtualMachine:vm-1", &networks), None);
    }

    #[test]
    fn of_a_cluster_the_roomiest_usable_member_is_taken() {
        let facts = |name: &str, free_bytes, is_accessible| DatastoreFacts {
            moref: MoRef::new("Datastore", name.to_owned()),
            name: name.to_owned(),
            capacity_bytes: None,
            free_bytes: Some(free_bytes),
            is_accessible,
            maintenance_mode: None,
        };
        let datastores = vec![facts("a", 5, true), facts("b", 9, false), facts("c", 7, true)];
        let mut place = StoragePlace { cluster: Some("pod".to_owned()), datastores };
        assert_eq!(place.choice().unwrap().name, "c");
        // The one that was asked for is taken as it is: the plan says what is wrong with it.
        place.datastores = vec![facts("b", 9, false)];
        assert_eq!(place.choice().unwrap().name, "b");
    }
}
