//! vApps in a scenario.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Machine, Scenario, ScenarioError, wrong};

/// A vApp: machines that are started, stopped and exported together.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct VappSpec {
    /// Its name in the inventory.
    pub name: String,
    /// Folder below the datacenter's `vm` folder, made if missing; parts joined by `/`.
    pub folder: String,
    /// Its machines, in the order in which they are started.  They lie in no folder, and on hosts of
    /// the cluster.
    pub machines: Vec<Machine>,
}

impl VappSpec {
    /// A vApp of these machines in the top folder.
    #[must_use]
    pub fn new(name: &str, machines: Vec<Machine>) -> Self {
        Self { name: name.to_owned(), folder: String::new(), machines }
    }
}

/// Checks that names are free and that the machines are where a vApp can have them.
pub(super) fn check(scenario: &Scenario) -> Result<(), ScenarioError> {
    let mut places: BTreeSet<(&str, &str)> =
        scenario.machines.iter().map(|one| (one.folder.as_str(), one.name.as_str())).collect();
    if scenario.esxi && !scenario.vapps.is_empty() {
        return Err(wrong("vapps", "a server without vCenter has none"));
    }
    for (index, vapp) in scenario.vapps.iter().enumerate() {
        let at = format!("vapps[{index}]");
        if vapp.name.is_empty() || scenario.pools.contains(&vapp.name) {
            return Err(wrong(format!("{at}.name"), "must be another name than a pool's"));
        }
        if !places.insert((vapp.folder.as_str(), vapp.name.as_str())) {
            return Err(wrong(at, "the same name twice in one folder"));
        }
        if scenario.vapps[..index].iter().any(|other| other.name == vapp.name) {
            return Err(wrong(at, "the same name twice in one pool"));
        }
        let mut names = BTreeSet::new();
        for (index, machine) in vapp.machines.iter().enumerate() {
            let at = format!("{at}.machines[{index}]");
            machine.check(&at, scenario)?;
            if !names.insert(machine.name.as_str()) {
                return Err(wrong(at, "the same name twice in one vApp"));
            }
            if !machine.folder.is_empty() {
                return Err(wrong(format!("{at}.folder"), "a machine in a vApp has none"));
            }
            let mut hosts = scenario.hosts.iter();
            if hosts.any(|host| host.standalone && host.name == machine.host) {
                return Err(wrong(format!("{at}.host"), "must be in the cluster"));
            }
        }
    }
    Ok(())
}
