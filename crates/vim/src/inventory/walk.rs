//! Everything below a place, for listings.

use std::collections::{HashMap, HashSet};

use super::facts::PowerState;
use super::{Entity, EntityKind};
use crate::error::VimError;
use crate::locator::InventoryPath;
use crate::property;
use crate::session::Session;
use crate::value::MoRef;

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The object, with its place.
    pub entity: Entity,
    /// Whether it runs; nothing for what is no machine, or may not be asked.
    pub power_state: Option<PowerState>,
}

/// Listing.
impl Session {
    /// Everything at and below `path`, parents before children, in the server's order.
    ///
    /// A vApp has a place among the machines and one among the pools; it is listed at both, and
    /// what is in it at the first one.  One request per folder, pool and the like, and one more
    /// where there are machines.
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] or [`VimError::Ambiguous`] for `path`, and any other.  What goes while
    /// the listing runs is passed over.
    pub async fn list(&self, path: &InventoryPath) -> Result<Vec<Listed>, VimError> {
        let start = self.find(path, &[]).await?;
        let mut listed = Vec::new();
        if start.kind() == EntityKind::VirtualMachine {
            let power_state = match self.read(start.moref(), &[POWER_STATE]).await {
                Ok(read) => read.text(POWER_STATE).map(|state| PowerState::of(&state)),
                Err(error) if error.is_fault(GONE) => None,
                Err(error) => return Err(error),
            };
            listed.push(Listed { entity: start, power_state });
            return Ok(listed);
        }
        let mut walked = HashSet::new();
        let mut open = Vec::new();
        if !start.path().is_empty() {
            listed.push(Listed { entity: start.clone(), power_state: None });
        }
        open.extend(self.below(&start, &mut walked).await?);
        // The next one to list is the last: children come before the siblings of their parent.
        while let Some(next) = open.pop() {
            let entity = next.entity.clone();
            listed.push(next);
            if entity.kind().has_children() {
                open.extend(self.below(&entity, &mut walked).await?);
            }
        }
        Ok(listed)
    }

    /// What is directly in `parent`, the last first; nothing if that has been listed before.
    async fn below(
        &self,
        parent: &Entity,
        walked: &mut HashSet<MoRef>,
    ) -> Result<Vec<Listed>, VimError> {
        if !walked.insert(parent.moref().clone()) {
            return Ok(Vec::new());
        }
        let children = match self.children(parent).await {
            Err(error) if error.is_fault(GONE) => return Ok(Vec::new()),
            children => children?,
        };
        let has_machines = children.iter().any(|one| one.kind() == EntityKind::VirtualMachine);
        let mut states =
            if has_machines { self.power_states(parent).await? } else { HashMap::new() };
        let listed = children.into_iter().rev().map(|entity| {
            let power_state = states.remove(entity.moref());
            Listed { entity, power_state }
        });
        Ok(listed.collect())
    }

    /// Which of the machines directly in `parent` run.
    async fn power_states(&self, parent: &Entity) -> Result<HashMap<MoRef, PowerState>, VimError> {
        let is_vapp = parent.kind() == EntityKind::VirtualApp;
        let (kind, edge) = if is_vapp { ("ResourcePool", "vm") } else { ("Folder", "childEntity") };
        let collector = &self.content().property_collector;
        let parent = property::Edge { parent: parent.moref(), kind, edge };
        let read = property::read_children_of_type(
            self.connection(),
            collector,
            parent,
            "VirtualMachine",
            &[POWER_STATE],
        );
        let read = match read.await {
            Err(error) if error.is_fault(GONE) => return Ok(HashMap::new()),
            read => read?,
        };
        let state = |one: &property::Properties| {
            Some((one.object().clone(), PowerState::of(&one.text(POWER_STATE)?)))
        };
        Ok(read.iter().filter_map(state).collect())
    }
}

/// Property of a machine.
const POWER_STATE: &str = "runtime.powerState";

/// The fault for an object that is not there any more.
const GONE: &str = "ManagedObjectNotFound";
