//! The methods of a lease.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{end, timed_out};
use crate::fault::Fault;
use crate::object::Moref;
use crate::task;
use crate::world::{Lease, LeaseState, World};

/// A method of `HttpNfcLease`.
///
/// # Errors
///
/// The faults that section 1.2 of the protocol lists for each.
pub(crate) fn call(
    world: &mut World,
    moref: &Moref,
    method: &str,
    arguments: &Value,
) -> Result<Value, Fault> {
    let lease = world.leases.get(&moref.id).ok_or_else(|| Fault::not_found(moref))?;
    check_state(lease, method)?;
    match method {
        "HttpNfcLeaseProgress" => {
            progress(world, moref, arguments["percent"].as_i64().unwrap_or(0))
        }
        "HttpNfcLeaseComplete" => {
            end(world, &moref.id, Ok(()));
            Ok(Value::Null)
        }
        "HttpNfcLeaseAbort" => {
            let fault = match arguments.get("fault") {
                Some(cause) => Fault::from_localized(cause),
                None => Fault::new("RequestCanceled", "The lease was aborted."),
            };
            end(world, &moref.id, Err(fault));
            Ok(Value::Null)
        }
        "HttpNfcLeaseGetManifest" => {
            let mut entries = manifest(lease);
            world.objects.missing().strip(&mut entries);
            Ok(entries)
        }
        "HttpNfcLeaseSetManifestChecksumType" => set_checksum_type(lease, arguments),
        _ => Err(crate::soap::unknown_method(moref, method)),
    }
}

/// Whether a lease is in a state for `method`.
///
/// # Errors
///
/// `Timedout` or `InvalidState`.
pub(crate) fn check_state(lease: &Lease, method: &str) -> Result<(), Fault> {
    match lease.state {
        LeaseState::Ready => Ok(()),
        LeaseState::Initializing
            if matches!(method, "HttpNfcLeaseAbort" | "HttpNfcLeaseProgress") =>
        {
            Ok(())
        }
        LeaseState::Error if lease.fault.as_ref().is_some_and(|f| f.kind() == "Timedout") => {
            Err(timed_out())
        }
        LeaseState::Done | LeaseState::Error | LeaseState::Initializing => {
            Err(Fault::invalid_state())
        }
    }
}

fn progress(world: &mut World, moref: &Moref, percent: i64) -> Result<Value, Fault> {
    let lease = world.leases.get_mut(&moref.id).ok_or_else(|| Fault::not_found(moref))?;
    if world.script.refuses_heartbeat(lease.direction, &lease.machine) {
        lease.refused += 1;
        let reason = "heartbeat refused by the scenario";
        return Err(Fault::new(
            "SystemError",
            format!("A general system error occurred: {reason}"),
        )
        .with("reason", reason));
    }
    lease.renewed = Instant::now();
    lease.percents.push(percent);
    let task = lease.task.clone();
    world.objects.set(moref, "transferProgress", json!(percent.clamp(0, 100)));
    task::progress(world, &task, percent);
    Ok(Value::Null)
}

fn manifest(lease: &Lease) -> Value {
    let mut entries = Vec::new();
    for device in &lease.devices {
        let Some(moved) = device.transferred() else { continue };
        let (checksum, checksum_type) = match &moved.sha256 {
            Some(sha256) => (sha256, "sha256"),
            None => (&moved.sha1, "sha1"),
        };
        entries.push(json!({
            "_typeName": "HttpNfcLeaseManifestEntry",
            "key": device.key(),
            "sha1": moved.sha1,
            "checksum": checksum,
            "checksumType": checksum_type,
            "size": moved.size_bytes,
            "disk": device.disk_index().is_some(),
            "capacity": moved.capacity_bytes,
            "populatedSize": moved.populated_bytes,
        }));
    }
    if entries.is_empty() { Value::Null } else { Value::Array(entries) }
}

fn set_checksum_type(lease: &Lease, arguments: &Value) -> Result<Value, Fault> {
    let wanted = arguments["deviceUrlsToChecksumTypes"].as_array().into_iter().flatten();
    let mut devices = Vec::new();
    for pair in wanted {
        let key = pair["key"].as_str().unwrap_or_default();
        let device = lease.devices.iter().find(|device| device.key() == key);
        let device = device.ok_or_else(|| Fault::invalid_argument("deviceUrlsToChecksumTypes"))?;
        match pair["value"].as_str() {
            Some("sha256") => devices.push(device),
            Some("sha1") => {}
            _ => return Err(Fault::invalid_argument("deviceUrlsToChecksumTypes")),
        }
    }
    // "Should be set before any transfer starts."
    if lease.devices.iter().any(|device| device.moved_bytes() > 0) {
        return Err(Fault::invalid_state());
    }
    devices.into_iter().for_each(|device| device.want_sha256());
    Ok(Value::Null)
}
