//! Networks by the names that people give them.

use super::{Entity, EntityKind, is_called, near};
use crate::error::VimError;
use crate::locator::{InventoryPath, unescape};
use crate::session::Session;
use crate::value::MoRef;

/// Finding networks.
impl Session {
    /// The network that `wanted` means: a name among those that `scope` can use, such a name of a
    /// distributed switch as `switch/portgroup`, a path or a reference such as `Network:network-7`.
    /// `scope` is a cluster, standalone host, host or datacenter.
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] with names that look alike, or [`VimError::Ambiguous`] with all that
    /// it could be, each with its switch.
    pub async fn network_named(&self, scope: &MoRef, wanted: &str) -> Result<Entity, VimError> {
        const KINDS: [EntityKind; 1] = [EntityKind::Network];
        if let Some(moref) = super::named::reference(wanted, &KINDS) {
            return self.entity(&moref, &KINDS).await;
        }
        if wanted.starts_with('/') {
            return self.find(&InventoryPath::new(wanted), &KINDS).await;
        }
        let all = self.networks_of(scope).await?;
        let called = |name: &str| all.iter().filter(|one| is_called(one, name)).collect::<Vec<_>>();
        let mut fitting = called(wanted);
        if fitting.is_empty() {
            // Both names may have a slash in them.
            for (at, _) in wanted.match_indices('/') {
                let (switch, portgroup) = (&wanted[..at], &wanted[at + 1..]);
                for one in called(portgroup) {
                    let of = self.switch_name(one.moref()).await?;
                    if of.is_some_and(|name| name == switch || name == unescape(switch)) {
                        fitting.push(one);
                    }
                }
            }
        }
        let path = || format!("network {wanted}");
        match fitting.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let last = wanted.rsplit('/').next().unwrap_or_default();
                let near = near::names(last, all.iter().map(Entity::name));
                Err(VimError::NotFound { host: self.connection().host(), path: path(), near })
            }
            several => {
                let mut candidates = Vec::new();
                for one in several {
                    let switch = self.switch_name(one.moref()).await?;
                    let switch = switch.map(|name| format!("{name}/")).unwrap_or_default();
                    candidates.push(format!("{switch}{} ({})", one.name(), one.moref()));
                }
                Err(self.ambiguous(path(), candidates))
            }
        }
    }

    /// The names of the networks that a cluster or standalone host can use.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn network_names(&self, compute: &MoRef) -> Result<Vec<String>, VimError> {
        let all = self.networks_of(compute).await?;
        Ok(all.iter().map(|one| one.name().to_owned()).collect())
    }

    /// The networks that `scope` can use.
    async fn networks_of(&self, scope: &MoRef) -> Result<Vec<Entity>, VimError> {
        let is_compute = EntityKind::of(scope) == EntityKind::Compute;
        let declared = if is_compute { "ComputeResource" } else { scope.kind() };
        let found = self.read_children(scope, declared, "network", &["name"]).await?;
        let entity = |found: &crate::property::Properties| {
            let name = unescape(&found.text("name").unwrap_or_default());
            let path = InventoryPath::default().join(&name);
            Entity { moref: found.object().clone(), path }
        };
        let is_network = |one: &Entity| one.kind() == EntityKind::Network;
        Ok(found.iter().map(entity).filter(is_network).collect())
    }

    /// Name of the switch of a portgroup; `None` for a network without one, or if the caller may
    /// not see it.
    async fn switch_name(&self, network: &MoRef) -> Result<Option<String>, VimError> {
        const SWITCH: &str = "config.distributedVirtualSwitch";
        if network.kind() != "DistributedVirtualPortgroup" {
            return Ok(None);
        }
        let Some(switch) = self.read(network, &[SWITCH]).await?.moref(SWITCH) else {
            return Ok(None);
        };
        let read = self.read(&switch, &["name"]).await?;
        Ok(read.text("name").map(|name| unescape(&name)))
    }
}
