//! `inspect`: what is in a package or a disk, and what a machine on a server looks like.

mod disk;
mod hardware;
mod object;
mod text;

use ovftransfer::DiskOverview;
use ovftransfer::Server;
use ovftransfer::VmFacts;
use serde_json::Value;
use serde_json::json;

use crate::args::InspectArgs;
use crate::args::SignatureArgs;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console::Console;
use crate::console::without_nulls;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::format;
use crate::package::Origin;
use crate::package::waiting;
use crate::signals::Interrupts;
use crate::signature;
use crate::transfer;

pub(crate) async fn run(
    args: InspectArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let place = args.package.to_string_lossy();
    if place.starts_with("vi://") {
        let connection = Connection::resolve(&place, Root::Vm, &args.connection, environment)?;
        let server = interrupts.race(connection.connect(console)).await?;
        let outcome = machine(&server, &connection, console, interrupts).await;
        transfer::logout(&server, &outcome, interrupts).await;
        return outcome;
    }
    if crate::disk::is_disk(&args.package, args.input_format) {
        let format = args.input_format.map(Into::into);
        let path = args.package;
        let reading = waiting(move || Ok(DiskOverview::read(&path, format)?));
        let overview = interrupts.race(reading).await?;
        disk::show(&overview, console);
        return Ok(());
    }
    let origin = Origin::of(&args.package, &args.source)?;
    let overview = interrupts.race(origin.look()).await?;
    for warning in overview.warnings() {
        console.object("warning", json!({ "message": warning }));
        console.note(format_args!("warning: {warning}"));
    }
    let trusted = args.connection.ca_cert.as_deref();
    let policy = signature::policy(trusted, &SignatureArgs::default())?;
    let signature = overview.signature(&policy)?;
    if let Some(signature) = &signature {
        signature::warn(signature, console);
    }
    let signature = signature.as_ref();
    if console.json {
        console.object("package", without_nulls(object::package(&overview, signature)));
    } else {
        text::package(&overview, signature, console);
    }
    Ok(())
}

/// Tells about a machine on a server.
async fn machine(
    server: &Server,
    connection: &Connection,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let facts = async { Ok(server.machine(&connection.path).await?) };
    let facts = interrupts.race(facts).await?;
    if console.json {
        console.object("machine", without_nulls(facts_object(&facts)));
        return Ok(());
    }
    let used = facts.unshared_bytes.map(|bytes| format!(", {} used", format::size(bytes)));
    console.data(format::printable(&format!(
        "{} ({}): {}{}",
        facts.name,
        facts.vm,
        facts.power_state.word(),
        used.unwrap_or_default()
    )));
    let disks = facts.disks.iter().map(|disk| {
        vec![
            disk.label.clone(),
            format::size(disk.capacity_bytes),
            disk.slot.clone().unwrap_or_default(),
        ]
    });
    text::section(console, "disks", disks.collect(), &[1]);
    let snapshots = facts.snapshots.iter().map(|snapshot| {
        let mark = if snapshot.is_current { "current" } else { "" };
        vec![snapshot.path.clone(), snapshot.moref.to_string(), mark.to_owned()]
    });
    text::section(console, "snapshots", snapshots.collect(), &[]);
    Ok(())
}

fn facts_object(facts: &VmFacts) -> Value {
    json!({
        "name": facts.name,
        "moref": facts.vm.to_string(),
        "powerState": facts.power_state.word(),
        "used_bytes": facts.unshared_bytes,
        "disks": facts.disks.iter().map(|disk| json!({
            "label": disk.label,
            "capacity_bytes": disk.capacity_bytes,
            "slot": disk.slot,
        })).collect::<Vec<_>>(),
        "snapshots": facts.snapshots.iter().map(|snapshot| json!({
            "name": snapshot.name,
            "path": snapshot.path,
            "moref": snapshot.moref.to_string(),
            "is_current": snapshot.is_current,
        })).collect::<Vec<_>>(),
    })
}
