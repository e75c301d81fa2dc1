//! Managed objects: references, properties as ordered values, and reading a property path.
//!
//! Data objects are JSON objects with `_typeName`; references are `{_typeName, type, value}`.  From
//! this one form either wire can be written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::types::{self, Kind};

/// Reference to a managed object.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Moref {
    /// Type of the object, such as `VirtualMachine`.
    pub(crate) kind: String,
    /// Its id, such as `vm-62`.
    pub(crate) id: String,
}

impl Moref {
    /// The reference to `id` of type `kind`.
    pub(crate) fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }

    /// As a value.
    pub(crate) fn value(&self) -> Value {
        json!({ "_typeName": "ManagedObjectReference", "type": self.kind, "value": self.id })
    }

    /// Reads a reference.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        Some(Self::new(value.get("type")?.as_str()?, value.get("value")?.as_str()?))
    }
}

impl From<&Moref> for Value {
    fn from(moref: &Moref) -> Self {
        moref.value()
    }
}

impl fmt::Display for Moref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

/// One managed object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// Key of the session that alone may see it, for leases, collectors and views.
    pub(crate) owner: Option<String>,
    /// Its properties; unset ones are not there.
    pub(crate) properties: Map<String, Value>,
}

/// What a property path leads to.
#[derive(Debug, PartialEq)]
pub(crate) enum Property {
    /// A value, boxed where a bare one would not tell its type.
    Set(Value),
    /// No such property in the schema.
    Unknown,
    /// Known, and not set.
    Unset,
}

/// All managed objects of the server.
#[derive(Debug)]
pub(crate) struct Objects {
    all: BTreeMap<Moref, Object>,
    revision: watch::Sender<u64>,
    missing: Missing,
}

/// Properties and fields that this server leaves out, as type and name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missing(BTreeSet<(String, String)>);

impl Missing {
    fn of(names: &[String]) -> Self {
        let pairs = names.iter().filter_map(|name| name.split_once('.'));
        Self(pairs.map(|(kind, name)| (kind.to_owned(), name.to_owned())).collect())
    }

    /// What came with 9.0.0.0, which clients of older versions must not see.
    pub(crate) fn since_9() -> Self {
        Self::of(&["HttpNfcLeaseDeviceUrl.sslCertificate".to_owned()])
    }

    fn has(&self, kind: &str, name: &str) -> bool {
        !self.0.is_empty() && self.0.contains(&(kind.to_owned(), name.to_owned()))
    }

    /// Takes the fields out of a value that names its types.
    pub(crate) fn strip(&self, value: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.strip(item)),
            Value::Object(fields) => {
                let kind = fields.get("_typeName").and_then(Value::as_str).unwrap_or_default();
                let kind = kind.to_owned();
                fields.retain(|name, _| !self.has(&kind, name));
                fields.values_mut().for_each(|inner| self.strip(inner));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

impl Objects {
    /// No objects; those to come lack what `missing` names, such as `HttpNfcLease.mode`.
    pub(crate) fn without(missing: &[String]) -> Self {
        let missing = Missing::of(missing);
        Self { all: BTreeMap::new(), revision: watch::Sender::new(0), missing }
    }

    /// What is left out.
    pub(crate) fn missing(&self) -> &Missing {
        &self.missing
    }

    /// Changes whenever an object does.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Wakes everybody who waits for a change.
    pub(crate) fn touch(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// The object `moref`.
    pub(crate) fn get(&self, moref: &Moref) -> Option<&Object> {
        self.all.get(moref)
    }

    /// The object `moref` if the session `key` may see it.
    pub(crate) fn visible(&self, moref: &Moref, key: Option<&str>) -> Option<&Object> {
        let found = self.all.get(moref)?;
        (found.owner.is_none() || found.owner.as_deref() == key).then_some(found)
    }

    /// All objects.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Moref, &Object)> {
        self.all.iter()
    }

    /// Adds or replaces an object.  `properties` is a JSON object.
    pub(crate) fn put(&mut self, moref: Moref, owner: Option<String>, properties: Value) {
        let mut whole = Map::new();
        if let Value::Object(given) = properties {
            for (name, value) in given {
                insert(&moref, &mut whole, &name, value, &self.missing);
            }
        }
        self.all.insert(moref, Object { owner, properties: whole });
        self.touch();
    }

    /// Sets one property; `null` unsets it.
    pub(crate) fn set(&mut self, moref: &Moref, name: &str, value: Value) {
        if let Some(object) = self.all.get_mut(moref) {
            insert(moref, &mut object.properties, name, value, &self.missing);
            self.touch();
        }
    }

    /// Removes an object.
    pub(crate) fn remove(&mut self, moref: &Moref) -> Option<Object> {
        let removed = self.all.remove(moref);
        self.touch();
        removed
    }

    /// The property `name` as it is, or `null`.
    pub(crate) fn value(&self, moref: &Moref, name: &str) -> &Value {
        self.all.get(moref).and_then(|object| object.properties.get(name)).unwrap_or(&Value::Null)
    }

    /// The property `name` as text, or empty.
    pub(crate) fn text(&self, moref: &Moref, name: &str) -> &str {
        self.value(moref, name).as_str().unwrap_or_default()
    }

    /// The reference in the property `name`.
    pub(crate) fn reference(&self, moref: &Moref, name: &str) -> Option<Moref> {
        Moref::from_value(self.value(moref, name))
    }

    /// The references in the property `name`, whether it is one or many.
    pub(crate) fn references(&self, moref: &Moref, name: &str) -> Vec<Moref> {
        let value = self.value(moref, name);
        match value.as_array() {
            Some(many) => many.iter().filter_map(Moref::from_value).collect(),
            None => Moref::from_value(value).into_iter().collect(),
        }
    }

    /// Adds `target` to the references in the property `name`, once.
    pub(crate) fn link(&mut self, moref: &Moref, name: &str, target: &Moref) {
        let mut all = self.references(moref, name);
        if !all.contains(target) {
            all.push(target.clone());
            self.set(moref, name, all.iter().map(Moref::value).collect());
        }
    }

    /// Takes `target` out of the references in the property `name`.
    pub(crate) fn unlink(&mut self, moref: &Moref, name: &str, target: &Moref) {
        let mut all = self.references(moref, name);
        all.retain(|known| known != target);
        self.set(moref, name, all.iter().map(Moref::value).collect());
    }

    /// Reads a property path such as `summary.runtime.powerState` or `config.hardware.device[2000]`.
    pub(crate) fn read(&self, moref: &Moref, path: &str) -> Property {
        let Some(object) = self.all.get(moref) else { return Property::Unset };
        let mut steps = path.split('.');
        let (name, index) = step(steps.next().unwrap_or_default());
        let Some(kind) = types::property(&moref.kind, name) else { return Property::Unknown };
        let value = object.properties.get(name).unwrap_or(&Value::Null);
        let Some(mut at) = select(value, kind, index) else { return Property::Unset };
        for next in steps {
            let (name, index) = step(next);
            // A value may be of a derived type, which has more fields than the declared one.
            let actual = at.0.get("_typeName").and_then(Value::as_str).unwrap_or(at.1.name);
            // A type that the table does not spell out is never filled.
            let Some(known) = types::data(actual) else { return Property::Unset };
            let Some((_, field)) = known.field(name) else { return Property::Unknown };
            let inner = at.0.get(name).unwrap_or(&Value::Null);
            match select(inner, field.kind, index) {
                Some(found) => at = found,
                None => return Property::Unset,
            }
        }
        if at.0.is_null() { Property::Unset } else { Property::Set(boxed(at.0, at.1)) }
    }
}

/// Gives a bare value the box that names its type, as it must have where anything may stand.
pub(crate) fn boxed(value: &Value, kind: Kind) -> Value {
    if value.is_object() {
        value.clone()
    } else {
        json!({ "_typeName": kind.boxed_name(), "_value": value })
    }
}

/// Writes `_typeName` into every data object of `value`, whose declared kind is `kind`.
pub(crate) fn complete(value: Value, kind: Kind) -> Value {
    match value {
        Value::Array(items) => {
            items.into_iter().map(|item| complete(item, kind.element())).collect()
        }
        Value::Object(mut fields) => {
            let own = fields.remove("_typeName");
            let name = own.as_ref().and_then(Value::as_str).unwrap_or(kind.name);
            let known = types::data(name);
            let mut whole = Map::new();
            if name != Kind::ANY.name {
                whole.insert("_typeName".to_owned(), Value::from(name));
            }
            for (field, inner) in fields {
                if inner.is_null() {
                    continue;
                }
                let kind = known.and_then(|known| known.field(&field));
                let kind = kind.map_or(Kind::ANY, |(_, field)| field.kind);
                whole.insert(field, complete(inner, kind));
            }
            Value::Object(whole)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn insert(
    moref: &Moref,
    properties: &mut Map<String, Value>,
    name: &str,
    value: Value,
    missing: &Missing,
) {
    if value.is_null() || missing.has(&moref.kind, name) {
        properties.remove(name);
        return;
    }
    let kind = types::property(&moref.kind, name).unwrap_or(Kind::ANY);
    let mut value = complete(value, kind);
    missing.strip(&mut value);
    properties.insert(name.to_owned(), value);
}

/// Splits `device[2000]` or `value["a b"]` into the name and the key.
fn step(text: &str) -> (&str, Option<&str>) {
    let Some((name, rest)) = text.split_once('[') else { return (text, None) };
    let key = rest.strip_suffix(']').unwrap_or(rest);
    (name, Some(key.trim_matches('"')))
}

/// The value itself, or its element with the key `index`.
fn select<'a>(value: &'a Value, kind: Kind, index: Option<&str>) -> Option<(&'a Value, Kind)> {
    let Some(index) = index else { return Some((value, kind)) };
    let found = value.as_array()?.iter().find(|item| match item.get("key") {
        Some(Value::String(key)) => key == index,
        Some(Value::Number(key)) => key.to_string() == index,
        _ => Moref::from_value(item).is_some_and(|moref| moref.id == index),
    })?;
    Some((found, kind.element()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> (Objects, Moref) {
        let mut objects = Objects::without(&[]);
        let vm = Moref::new("VirtualMachine", "vm-1");
        objects.put(
            vm.clone(),
            None,
            json!({
                "name": "a",
                "summary": { "runtime": { "powerState": "poweredOff" }, "quickStats": {} },
                "config": { "hardware": { "numCPU": 2, "device": [
                    { "_typeName": "VirtualDisk", "key": 2000, "capacityInKB": 4096 },
                ] } },
                "datastore": [Moref::new("Datastore", "datastore-1").value()],
            }),
        );
        (objects, vm)
    }

    #[test]
    fn paths_lead_to_boxed_values() {
        let (objects, vm) = world();
        let read = |path| objects.read(&vm, path);
        assert_eq!(
            read("summary.runtime.powerState"),
            Property::Set(
                json!({ "_typeName": "VirtualMachinePowerState", "_value": "poweredOff" })
            )
        );
        assert_eq!(
            read("config.hardware.numCPU"),
            Property::Set(json!({ "_typeName": "int", "_value": 2 }))
        );
        assert_eq!(
            read("config.hardware.device[2000].capacityInKB"),
            Property::Set(json!({ "_typeName": "long", "_value": 4096 }))
        );
        let Property::Set(list) = read("datastore") else { panic!() };
        assert_eq!(list["_typeName"], "ArrayOfManagedObjectReference");
    }

    #[test]
    fn unset_is_not_unknown() {
        let (objects, vm) = world();
        assert_eq!(objects.read(&vm, "snapshot"), Property::Unset);
        assert_eq!(objects.read(&vm, "config.hardware.device[7].key"), Property::Unset);
        assert_eq!(objects.read(&vm, "nope"), Property::Unknown);
        assert_eq!(objects.read(&vm, "summary.nope"), Property::Unknown);
        assert_eq!(objects.read(&vm, "summary.runtime.nope.nope"), Property::Unknown);
        assert_eq!(objects.read(&vm, ""), Property::Unknown);
    }

    #[test]
    fn data_objects_get_their_type_names() {
        let (objects, vm) = world();
        assert_eq!(
            objects.value(&vm, "summary")["runtime"]["_typeName"],
            "VirtualMachineRuntimeInfo"
        );
        assert_eq!(objects.value(&vm, "config")["_typeName"], "VirtualMachineConfigInfo");
    }
}
