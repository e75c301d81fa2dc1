//! Tasks: what the server does or did, with state, progress and outcome.

use serde_json::{Value, json};

use crate::clock;
use crate::fault::Fault;
use crate::inventory::fixed;
use crate::object::Moref;
use crate::vm::unescape_name;
use crate::world::World;

/// Starts a task on `entity`.
///
/// `description_id` is what clients know it by, such as `VirtualMachine.powerOn`.
pub(crate) fn start(world: &mut World, entity: &Moref, description_id: &str, user: &str) -> Moref {
    let task = world.new_moref("Task", "task");
    let name = description_id.rsplit('.').next().unwrap_or(description_id);
    let info = json!({
        "key": task.id,
        "task": task.value(),
        "name": name,
        "descriptionId": description_id,
        "entity": entity.value(),
        "entityName": unescape_name(world.objects.text(entity, "name")),
        "state": "running",
        "cancelled": false,
        "cancelable": description_id.ends_with("LRO") || description_id.starts_with("HttpNfcLease."),
        "progress": 0,
        "reason": { "_typeName": "TaskReasonUser", "userName": user },
        "queueTime": clock::now(),
        "startTime": clock::now(),
        "eventChainId": task.id.rsplit('-').next().and_then(|id| id.parse::<i64>().ok()),
    });
    world.objects.put(task.clone(), None, json!({ "info": info }));
    for holder in [&fixed::task_manager(), entity] {
        if world.objects.get(holder).is_some() {
            let mut recent = world.objects.references(holder, "recentTask");
            recent.push(task.clone());
            let spare = recent.len().saturating_sub(RECENT_MAX);
            let recent: Value = recent[spare..].iter().map(Moref::value).collect();
            world.objects.set(holder, "recentTask", recent);
        }
    }
    task
}

/// Says how far a task is.
pub(crate) fn progress(world: &mut World, task: &Moref, percent: i64) {
    change(world, task, |info| info["progress"] = json!(percent.clamp(0, 100)));
}

/// Says what a task is about, once that exists.
pub(crate) fn set_entity(world: &mut World, task: &Moref, entity: &Moref) {
    let name = unescape_name(world.objects.text(entity, "name"));
    change(world, task, |info| {
        info["entity"] = entity.value();
        info["entityName"] = json!(name);
    });
}

/// Ends a task.
pub(crate) fn finish(world: &mut World, task: &Moref, outcome: &Result<Value, Fault>) {
    change(world, task, |info| {
        info["completeTime"] = json!(clock::now());
        info["cancelable"] = json!(false);
        match outcome {
            Ok(result) => {
                info["state"] = json!("success");
                if !result.is_null() {
                    info["result"] = result.clone();
                }
                if let Some(fields) = info.as_object_mut() {
                    fields.remove("progress");
                }
            }
            Err(fault) => {
                info["state"] = json!("error");
                info["error"] = fault.localized();
                info["cancelled"] = json!(fault.kind() == "RequestCanceled");
            }
        }
    });
}

/// Does `work` at once, as a task, and returns the task.
pub(crate) fn run(
    world: &mut World,
    entity: &Moref,
    description_id: &str,
    user: &str,
    work: impl FnOnce(&mut World) -> Result<Value, Fault>,
) -> Value {
    let task = start(world, entity, description_id, user);
    let outcome = work(world);
    finish(world, &task, &outcome);
    task.value()
}

fn change(world: &mut World, task: &Moref, edit: impl FnOnce(&mut Value)) {
    let mut info = world.objects.value(task, "info").clone();
    if info["state"] == "running" {
        edit(&mut info);
        world.objects.set(task, "info", info);
    }
}

/// Length of `recentTask`; vCenter keeps about as many.
const RECENT_MAX: usize = 200;
