//! A vApp: a resource pool with machines that are started, stopped and moved together.

use serde_json::{Value, json};

use crate::clock;
use crate::object::Moref;
use crate::vm::vapp_config;

/// A vApp of the inventory.
#[derive(Debug)]
pub(crate) struct Vapp {
    /// Its reference.
    pub(crate) moref: Moref,
    /// Its name, as people write it.
    pub(crate) name: String,
    /// The folder it lies in; none inside of another vApp.
    pub(crate) folder: Option<Moref>,
    /// The pool or vApp that it is in.
    pub(crate) parent: Moref,
    /// `VAppConfigSpec` that it was made with; the machines' start order stands in `entities`.
    pub(crate) spec: Value,
    /// `VAppEntityConfigInfo` of each child, in the order in which they came.
    pub(crate) entities: Vec<Value>,
    /// What it may use, `ResourceConfigSpec`.
    pub(crate) resources: Value,
    /// What it uses, `ResourcePoolRuntimeInfo`.
    pub(crate) runtime: Value,
    /// vCenter's own UUID for it.
    pub(crate) instance_uuid: String,
    /// Id of the lease that holds it.
    pub(crate) lease: Option<String>,
}

/// What a vApp shows of one of its machines.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where its files lie.
    pub(crate) datastore: Moref,
    /// What its cards are on.
    pub(crate) networks: Vec<Moref>,
    /// Whether it runs.
    pub(crate) powered_on: bool,
}

impl Vapp {
    /// A vApp without children.  `resources` and `runtime` are those of a pool.
    pub(crate) fn new(
        (moref, name): (Moref, &str),
        (parent, folder): (Moref, Option<Moref>),
        spec: Value,
        (resources, runtime): (Value, Value),
    ) -> Self {
        Self {
            moref,
            name: name.to_owned(),
            folder,
            parent,
            spec,
            entities: Vec::new(),
            resources,
            runtime,
            instance_uuid: clock::uuid(),
            lease: None,
        }
    }

    /// Takes a child, to be started after the others unless `wanted` (`VAppEntityConfigInfo`) says
    /// otherwise.
    pub(crate) fn add(&mut self, child: &Moref, name: &str, wanted: &Value) {
        let number = |field: &str, default: i64| wanted[field].as_i64().unwrap_or(default);
        let text = |field: &str, default| wanted[field].as_str().unwrap_or(default).to_owned();
        let last = self.entities.iter().filter_map(|one| one["startOrder"].as_i64()).max();
        self.entities.push(json!({
            "key": child.value(),
            "tag": name,
            "startOrder": number("startOrder", last.unwrap_or(0) + 1),
            "startDelay": number("startDelay", DELAY_S),
            "waitingForGuest": wanted["waitingForGuest"].as_bool().unwrap_or(false),
            "startAction": text("startAction", "powerOn"),
            "stopDelay": number("stopDelay", DELAY_S),
            "stopAction": text("stopAction", "powerOff"),
        }));
    }

    /// Calls a child by its new name.
    pub(crate) fn rename_child(&mut self, child: &Moref, name: &str) {
        let known = self.entities.iter_mut();
        for entity in known.filter(|one| one["key"]["value"] == child.id.as_str()) {
            entity["tag"] = json!(name);
        }
    }

    /// Forgets a child.
    pub(crate) fn drop_child(&mut self, child: &Moref) {
        self.entities.retain(|one| one["key"]["value"] != child.id.as_str());
    }

    /// The child's place in the order of starts.
    pub(crate) fn start_order(&self, child: &Moref) -> i64 {
        let found = self.entities.iter().find(|one| one["key"]["value"] == child.id.as_str());
        found.and_then(|one| one["startOrder"].as_i64()).unwrap_or(i64::MAX)
    }

    /// All properties that change with the vApp and its machines.
    pub(crate) fn properties(&self, machines: &[Part]) -> Value {
        let is_started = machines.iter().any(|machine| machine.powered_on);
        let disabled = if self.lease.is_some() || is_started {
            vec!["Destroy_Task", "ExportVApp", "PowerOnVApp_Task"]
        } else {
            vec!["PowerOffVApp_Task", "SuspendVApp_Task"]
        };
        let mut config = vapp_config(&self.spec);
        if config.is_null() {
            config = json!({
                "ipAssignment": {},
                "installBootRequired": false,
                "installBootStopDelay": 0,
            });
        }
        config["_typeName"] = json!("VAppConfigInfo");
        config["entityConfig"] = json!(self.entities);
        config["annotation"] = json!(self.spec["annotation"].as_str().unwrap_or_default());
        config["instanceUuid"] = json!(self.instance_uuid);
        json!({
            "datastore": once(machines.iter().map(|machine| &machine.datastore)),
            "network": once(machines.iter().flat_map(|machine| &machine.networks)),
            "disabledMethod": disabled,
            "summary": {
                "_typeName": "VirtualAppSummary",
                "name": self.name,
                "config": self.resources,
                "runtime": self.runtime,
                "vAppState": if is_started { "started" } else { "stopped" },
                "suspended": false,
                "installBootRequired": false,
                "instanceUuid": self.instance_uuid,
                "product": config["product"].get(0).cloned().unwrap_or_default(),
            },
            "vAppConfig": config,
        })
    }
}

fn once<'a>(all: impl Iterator<Item = &'a Moref>) -> Value {
    let mut seen: Vec<Value> = Vec::new();
    for value in all.map(Moref::value) {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    Value::Array(seen)
}

/// What vSphere waits between two machines if nobody says otherwise.
const DELAY_S: i64 = 120;
