//! `ls`: what is on a server.

use ovftransfer::EntityKind;
use ovftransfer::Listed;
use ovftransfer::PowerState;
use ovftransfer::Server;
use serde_json::json;

use crate::args::ListedType;
use crate::args::LsArgs;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console::Console;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::format;
use crate::signals::Interrupts;
use crate::transfer;

pub(crate) async fn run(
    args: LsArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let connection = Connection::resolve(&args.place, Root::Vm, &args.connection, environment)?;
    let server = interrupts.race(connection.connect(console)).await?;
    let outcome = list(&args, &server, &connection, console, interrupts).await;
    transfer::logout(&server, &outcome, interrupts).await;
    outcome
}

async fn list(
    args: &LsArgs,
    server: &Server,
    connection: &Connection,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let listing = async { Ok(server.list(&connection.path).await?) };
    let mut listed = interrupts.race(listing).await?;
    listed.retain(|one| is_wanted(one.entity.kind(), &args.types));
    if console.json {
        listed.iter().for_each(|one| show(one, console));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = listed.iter().map(row).collect();
    for line in format::table(&rows, &[]) {
        console.data(line.trim_start());
    }
    Ok(())
}

fn is_wanted(kind: EntityKind, types: &[ListedType]) -> bool {
    types.is_empty() || types.iter().any(|wanted| kind_of(*wanted) == kind)
}

const fn kind_of(wanted: ListedType) -> EntityKind {
    match wanted {
        ListedType::Cluster => EntityKind::Compute,
        ListedType::Datacenter => EntityKind::Datacenter,
        ListedType::Datastore => EntityKind::Datastore,
        ListedType::Folder => EntityKind::Folder,
        ListedType::Host => EntityKind::Host,
        ListedType::Network => EntityKind::Network,
        ListedType::Pool => EntityKind::ResourcePool,
        ListedType::Vapp => EntityKind::VirtualApp,
        ListedType::Vm => EntityKind::VirtualMachine,
    }
}

fn show(one: &Listed, console: &Console) {
    let entity = &one.entity;
    let fields = json!({
        "path": entity.path().encoded(),
        "moref": entity.moref().to_string(),
        "name": entity.name(),
        "powerState": one.power_state.as_ref().map(PowerState::word),
    });
    console.object(entity.moref().kind(), fields);
}

/// Path, type, and for machines whether they run.
fn row(one: &Listed) -> Vec<String> {
    let state = one.power_state.as_ref().map(PowerState::word).unwrap_or_default();
    vec![one.entity.path().encoded(), one.entity.moref().kind().to_owned(), state.to_owned()]
}
