//! The property collector: selects objects, reads their properties, and tells what changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::clock;
use crate::fault::Fault;
use crate::inventory::fixed;
use crate::object::{Moref, Property, boxed};
use crate::types::{self, Kind};
use crate::view;
use crate::world::{Collector, Filter, Remainder, Snapshot, World};

/// Who reads: the session, whose own objects it may see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    /// Key of the session.
    pub(crate) key: &'a str,
}

/// `RetrieveProperties`, and `RetrievePropertiesEx` with `options`.
///
/// # Errors
///
/// `ManagedObjectNotFound`, `InvalidProperty`, `InvalidArgument` by the contract of the API.
pub(crate) fn retrieve(
    world: &World,
    reader: Reader<'_>,
    specs: &Value,
) -> Result<Vec<Value>, Fault> {
    let mut all = Vec::new();
    for spec in specs.as_array().into_iter().flatten() {
        for (object, properties) in select(world, reader, spec)? {
            let set: Vec<Value> = properties
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| {
                    json!({ "_typeName": "DynamicProperty", "name": name, "val": value })
                })
                .collect();
            all.push(
                json!({ "_typeName": "ObjectContent", "obj": object.value(), "propSet": set }),
            );
        }
    }
    Ok(all)
}

/// One answer of `RetrievePropertiesEx`; what does not fit is kept for the next one.
pub(crate) fn page(
    world: &mut World,
    key: &str,
    mut objects: Vec<Value>,
    at_most: Option<usize>,
) -> Value {
    if objects.is_empty() {
        return Value::Null;
    }
    let at_most = at_most.filter(|at_most| *at_most > 0).unwrap_or(OBJECTS_MAX).min(OBJECTS_MAX);
    if objects.len() <= at_most {
        return json!({ "_typeName": "RetrieveResult", "objects": objects });
    }
    let rest = objects.split_off(at_most);
    let token = clock::uuid();
    let rest = Remainder { owner: key.to_owned(), objects: rest, at_most };
    world.remainders.insert(token.clone(), rest);
    json!({ "_typeName": "RetrieveResult", "token": token, "objects": objects })
}

/// `ContinueRetrievePropertiesEx`.
///
/// # Errors
///
/// `InvalidProperty` for a token that is not in force, as the API says.
pub(crate) fn next_page(world: &mut World, key: &str, token: &str) -> Result<Value, Fault> {
    let is_own = world.remainders.get(token).is_some_and(|rest| rest.owner == key);
    let rest = is_own.then(|| world.remainders.remove(token)).flatten();
    let rest = rest.ok_or_else(|| {
        Fault::new("InvalidProperty", "The token is not in force.").with("name", "token")
    })?;
    Ok(page(world, key, rest.objects, Some(rest.at_most)))
}

/// `Fetch`: one property of one object, as it would stand in `DynamicProperty.val`.
///
/// # Errors
///
/// As [`retrieve`].
pub(crate) fn fetch(
    world: &World,
    reader: Reader<'_>,
    object: &Moref,
    path: &str,
) -> Result<Value, Fault> {
    if world.objects.visible(object, Some(reader.key)).is_none() {
        return Err(Fault::not_found(object));
    }
    read(world, reader, object, path)
}

/// `CreatePropertyCollector`.
pub(crate) fn create(world: &mut World, key: &str) -> Value {
    let moref = World::new_session_moref(key, "PropertyCollector");
    world.objects.put(moref.clone(), Some(key.to_owned()), json!({}));
    moref.value()
}

/// `DestroyPropertyCollector`.
pub(crate) fn destroy(world: &mut World, key: &str, collector: &Moref) -> Result<Value, Fault> {
    if *collector == fixed::property_collector() {
        return Err(Fault::new("NotSupported", "The session's own collector stays."));
    }
    if let Some(gone) = world.collectors.remove(&place(key, collector)) {
        for filter in gone.filters.keys() {
            world.objects.remove(&Moref::new("PropertyFilter", filter.as_str()));
        }
    }
    world.objects.remove(collector);
    Ok(Value::Null)
}

/// `CreateFilter`.  Wakes a wait that is under way.
///
/// # Errors
///
/// As [`retrieve`], for a spec that cannot be read.
pub(crate) fn create_filter(
    world: &mut World,
    key: &str,
    collector: &Moref,
    arguments: &Value,
) -> Result<Value, Fault> {
    let spec = arguments["spec"].clone();
    select(world, Reader { key }, &spec)?;
    let moref = World::new_session_moref(key, "PropertyFilter");
    let entry = world.collectors.entry(place(key, collector)).or_default();
    entry.filters.insert(moref.id.clone(), Filter { spec: spec.clone(), ..Filter::default() });
    let partial = arguments["partialUpdates"].as_bool().unwrap_or(false);
    let properties = json!({ "spec": spec, "partialUpdates": partial });
    world.objects.put(moref.clone(), Some(key.to_owned()), properties);
    Ok(moref.value())
}

/// `DestroyPropertyFilter`.
pub(crate) fn destroy_filter(world: &mut World, filter: &Moref) -> Value {
    for collector in world.collectors.values_mut() {
        collector.filters.remove(&filter.id);
    }
    world.objects.remove(filter);
    Value::Null
}

/// Begins a wait: an older one of the same collector ends.  Returns its number.
///
/// # Errors
///
/// `InvalidCollectorVersion` for a version that was neither the last nor the one before it.
pub(crate) fn begin_wait(
    world: &mut World,
    key: &str,
    collector: &Moref,
    version: &str,
) -> Result<u64, Fault> {
    let entry = world.collectors.entry(place(key, collector)).or_default();
    match version.parse::<u64>() {
        _ if version.is_empty() => {
            for filter in entry.filters.values_mut() {
                filter.known = Snapshot::new();
            }
        }
        Ok(version) if version == entry.version => {
            for filter in entry.filters.values_mut() {
                filter.known = filter.sent.clone();
            }
            entry.acknowledged = version;
        }
        // The last answer was lost on its way: tell the same again.
        Ok(version) if version == entry.acknowledged => {}
        _ => {
            return Err(Fault::new(
                "InvalidCollectorVersion",
                "The version is not one that this collector gave out.",
            ));
        }
    }
    entry.wait += 1;
    let wait = entry.wait;
    world.objects.touch();
    Ok(wait)
}

/// `CancelWaitForUpdates`.
pub(crate) fn cancel_wait(world: &mut World, key: &str, collector: &Moref) -> Value {
    if let Some(entry) = world.collectors.get_mut(&place(key, collector)) {
        entry.wait += 1;
    }
    world.objects.touch();
    Value::Null
}

/// The answer for the wait with this number, or `null` if nothing changed yet.
///
/// # Errors
///
/// `RequestCanceled` if the wait was cancelled or replaced, `ManagedObjectNotFound` if the
/// collector is gone, `NotAuthenticated` if the session is.
pub(crate) fn updates(
    world: &mut World,
    key: &str,
    collector: &Moref,
    wait: u64,
) -> Result<Value, Fault> {
    if !world.sessions.is_open(key) {
        return Err(crate::session::not_authenticated(&collector.value()));
    }
    if world.objects.visible(collector, Some(key)).is_none() {
        return Err(Fault::not_found(collector));
    }
    let place = place(key, collector);
    let Some(entry) = world.collectors.get(&place).filter(|entry| entry.wait == wait) else {
        return Err(Fault::new("RequestCanceled", "The request was canceled by a user."));
    };
    let mut fresh = BTreeMap::new();
    let mut sets = Vec::new();
    for (id, filter) in &entry.filters {
        // An object that is gone is not an error here: it left.
        let now = select_present(world, Reader { key }, &filter.spec)?;
        let objects = difference(&filter.known, &now);
        if !objects.is_empty() {
            sets.push(json!({
                "_typeName": "PropertyFilterUpdate",
                "filter": Moref::new("PropertyFilter", id.as_str()).value(),
                "objectSet": objects,
            }));
        }
        fresh.insert(id.clone(), now);
    }
    if sets.is_empty() {
        return Ok(Value::Null);
    }
    let Some(entry) = world.collectors.get_mut(&place) else { return Ok(Value::Null) };
    let Collector { version, filters, .. } = entry;
    *version += 1;
    for (id, now) in fresh {
        if let Some(filter) = filters.get_mut(&id) {
            filter.sent = now;
        }
    }
    Ok(json!({ "_typeName": "UpdateSet", "version": version.to_string(), "filterSet": sets }))
}

/// Forgets everything of a session that ended.
pub(crate) fn forget(world: &mut World, key: &str) {
    world.collectors.retain(|(owner, _), _| owner != key);
    world.remainders.retain(|_, rest| rest.owner != key);
    let own: Vec<Moref> = world
        .objects
        .iter()
        .filter(|(moref, object)| {
            moref.kind != "HttpNfcLease" && object.owner.as_deref() == Some(key)
        })
        .map(|(moref, _)| moref.clone())
        .collect();
    for moref in own {
        world.objects.remove(&moref);
    }
    world.objects.touch();
}

fn place(key: &str, collector: &Moref) -> (String, String) {
    (key.to_owned(), collector.id.clone())
}

fn difference(known: &Snapshot, now: &Snapshot) -> Vec<Value> {
    let mut objects = Vec::new();
    let assign = |name: &str, value: &Value| {
        // Without `val` the property is not set.
        json!({ "_typeName": "PropertyChange", "name": name, "op": "assign", "val": value })
    };
    let update = |kind: &str, object: &Moref, changes: Vec<Value>| json!({ "_typeName": "ObjectUpdate", "kind": kind, "obj": object.value(), "changeSet": changes });
    for (object, properties) in now {
        let Some(before) = known.get(object) else {
            let all = properties.iter().map(|(name, value)| assign(name, value)).collect();
            objects.push(update("enter", object, all));
            continue;
        };
        let changes: Vec<Value> = properties
            .iter()
            .filter(|(name, value)| before.get(*name) != Some(value))
            .map(|(name, value)| assign(name, value))
            .collect();
        if !changes.is_empty() {
            objects.push(update("modify", object, changes));
        }
    }
    for object in known.keys().filter(|object| !now.contains_key(*object)) {
        objects.push(update("leave", object, Vec::new()));
    }
    objects
}

/// Like [`select`], without the objects that are gone.
fn select_present(world: &World, reader: Reader<'_>, spec: &Value) -> Result<Snapshot, Fault> {
    let mut present = spec.clone();
    if let Some(Value::Array(objects)) = present.get_mut("objectSet") {
        objects.retain(|object| {
            let moref = Moref::from_value(&object["obj"]);
            moref.is_some_and(|moref| world.objects.visible(&moref, Some(reader.key)).is_some())
        });
    }
    Ok(select(world, reader, &present)?.into_iter().collect())
}

/// Objects and properties that a `PropertyFilterSpec` selects, in the order of the traversal.
fn select(
    world: &World,
    reader: Reader<'_>,
    spec: &Value,
) -> Result<Vec<(Moref, Properties)>, Fault> {
    let mut walk =
        Walk { world, reader, named: BTreeMap::new(), seen: BTreeSet::new(), found: Vec::new() };
    for object in spec["objectSet"].as_array().into_iter().flatten() {
        let moref =
            Moref::from_value(&object["obj"]).ok_or_else(|| Fault::invalid_argument("specSet"))?;
        if world.objects.visible(&moref, Some(reader.key)).is_none() {
            return Err(Fault::not_found(&moref));
        }
        walk.named.clear();
        walk.seen.clear();
        walk.name_all(&object["selectSet"], 0);
        if !object["skip"].as_bool().unwrap_or(false) {
            walk.found.push(moref.clone());
        }
        walk.follow(&moref, &object["selectSet"], 0)?;
    }
    let mut once = BTreeSet::new();
    let mut selected = Vec::new();
    for moref in walk.found {
        if once.insert(moref.clone())
            && let Some(properties) = properties(world, reader, &moref, &spec["propSet"])?
        {
            selected.push((moref, properties));
        }
    }
    Ok(selected)
}

/// The properties that the specs want of one object; `None` if no spec is for its type.
fn properties(
    world: &World,
    reader: Reader<'_>,
    object: &Moref,
    specs: &Value,
) -> Result<Option<Properties>, Fault> {
    let mut wanted: Option<Properties> = None;
    for spec in specs.as_array().into_iter().flatten() {
        let kind = spec["type"].as_str().unwrap_or_default();
        if !types::is_a(&object.kind, kind) {
            continue;
        }
        let values = wanted.get_or_insert_with(BTreeMap::new);
        if spec["all"].as_bool().unwrap_or(false) {
            for field in types::properties(&object.kind) {
                values.insert(field.name.to_owned(), read(world, reader, object, field.name)?);
            }
        }
        for path in spec["pathSet"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            values.insert(path.to_owned(), read(world, reader, object, path)?);
        }
    }
    Ok(wanted)
}

/// A property, boxed as `DynamicProperty.val` wants it; `null` if it is not set.
fn read(world: &World, reader: Reader<'_>, object: &Moref, path: &str) -> Result<Value, Fault> {
    // These are told by whom is asking or when, not by what is stored.
    match (object.kind.as_str(), path) {
        ("ContainerView", "view") => {
            let members = view::members(&world.objects, object);
            let members: Value = members.iter().map(Moref::value).collect();
            return Ok(boxed(&members, REFERENCES));
        }
        ("SessionManager", "currentSession") => {
            let sessions = world.sessions.list();
            let own = sessions.into_iter().find(|session| session.key == reader.key);
            return Ok(own.map_or(Value::Null, crate::session::Session::value));
        }
        ("SessionManager", "sessionList") => {
            let sessions: Value = world.sessions.list().into_iter().map(|s| s.value()).collect();
            return Ok(boxed(&sessions, USER_SESSIONS));
        }
        ("ServiceInstance", "serverClock") => {
            return Ok(json!({ "_typeName": "dateTime", "_value": clock::now() }));
        }
        _ => {}
    }
    match world.objects.read(object, path) {
        Property::Set(value) => Ok(value),
        Property::Unset => Ok(Value::Null),
        Property::Unknown => Err(Fault::new(
            "InvalidProperty",
            format!("The property \"{path}\" of {} could not be resolved.", object.kind),
        )
        .with("name", path)),
    }
}

/// Follows the traversals of one `ObjectSpec`.
struct Walk<'a> {
    world: &'a World,
    reader: Reader<'a>,
    named: BTreeMap<String, Value>,
    seen: BTreeSet<(Moref, String)>,
    found: Vec<Moref>,
}

impl Walk<'_> {
    /// Notes the traversals that have names, which others refer to.
    fn name_all(&mut self, set: &Value, depth: usize) {
        for spec in set.as_array().into_iter().flatten() {
            if let Some(name) = spec["name"].as_str()
                && spec["path"].is_string()
            {
                self.named.insert(name.to_owned(), spec.clone());
            }
            if depth < DEPTH_MAX {
                self.name_all(&spec["selectSet"], depth + 1);
            }
        }
    }

    fn follow(&mut self, from: &Moref, set: &Value, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::invalid_argument("specSet.objectSet.selectSet"));
        }
        for spec in set.as_array().into_iter().flatten() {
            let spec = if spec["path"].is_string() {
                spec.clone()
            } else {
                match spec["name"].as_str().and_then(|name| self.named.get(name)) {
                    Some(named) => named.clone(),
                    None => {
                        return Err(Fault::invalid_argument("specSet.objectSet.selectSet.name"));
                    }
                }
            };
            let kind = spec["type"].as_str().unwrap_or_default();
            if !types::is_a(&from.kind, kind) {
                continue;
            }
            // A selection set may refer to itself; each object is followed once by each.
            if !self.seen.insert((from.clone(), spec.to_string())) {
                continue;
            }
            let path = spec["path"].as_str().unwrap_or_default();
            let value = read(self.world, self.reader, from, path)?;
            for target in targets(&value) {
                if self.world.objects.visible(&target, Some(self.reader.key)).is_none() {
                    continue;
                }
                if !spec["skip"].as_bool().unwrap_or(false) {
                    self.found.push(target.clone());
                }
                self.follow(&target, &spec["selectSet"], depth + 1)?;
            }
        }
        Ok(())
    }
}

fn targets(value: &Value) -> Vec<Moref> {
    match value.get("_value") {
        Some(Value::Array(many)) => many.iter().filter_map(Moref::from_value).collect(),
        _ => Moref::from_value(value).into_iter().collect(),
    }
}

/// Values of some properties of one object, by path.
type Properties = BTreeMap<String, Value>;

const REFERENCES: Kind = Kind { name: "ManagedObjectReference", array: true, optional: true };

const USER_SESSIONS: Kind = Kind { name: "UserSession", array: true, optional: true };

/// Objects in one answer, whatever the client asks for.
const OBJECTS_MAX: usize = 10_000;

/// Steps of a traversal; an inventory path has some ten.
const DEPTH_MAX: usize = 100;
