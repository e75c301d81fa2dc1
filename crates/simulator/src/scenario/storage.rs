//! Datastore clusters in a scenario.

use serde::{Deserialize, Serialize};

use super::{Scenario, ScenarioError, wrong};

/// A datastore cluster.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DatastoreCluster {
    /// Its name in the inventory.
    pub name: String,
    /// Names of the datastores in it.
    pub datastores: Vec<String>,
}

impl DatastoreCluster {
    /// A cluster of these datastores.
    #[must_use]
    pub fn new(name: &str, datastores: &[&str]) -> Self {
        let datastores = datastores.iter().map(|name| (*name).to_owned()).collect();
        Self { name: name.to_owned(), datastores }
    }
}

/// Checks that each datastore of a cluster exists and is in no other one.
pub(super) fn check(scenario: &Scenario) -> Result<(), ScenarioError> {
    if let Some(name) =
        scenario.datastore_free.keys().find(|name| !scenario.datastores.contains(name))
    {
        return Err(wrong("datastore_free", format!("no datastore is called {name}")));
    }
    let mut taken: Vec<&String> = Vec::new();
    for (index, cluster) in scenario.datastore_clusters.iter().enumerate() {
        let at = format!("datastore_clusters[{index}]");
        if cluster.name.is_empty() || scenario.datastores.contains(&cluster.name) {
            return Err(wrong(format!("{at}.name"), "must be another name than a datastore's"));
        }
        for name in &cluster.datastores {
            if !scenario.datastores.contains(name) || taken.contains(&name) {
                let problem = format!("no free datastore is called {name}");
                return Err(wrong(format!("{at}.datastores"), problem));
            }
            taken.push(name);
        }
    }
    if scenario.esxi && !scenario.datastore_clusters.is_empty() {
        return Err(wrong("datastore_clusters", "a server without vCenter has none"));
    }
    Ok(())
}
