//! `import`: a package becomes a machine.

use ovftransfer::Import;
use ovftransfer::ImportPlan;
use ovftransfer::NetworkMap;
use ovftransfer::Package;
use ovftransfer::Server;
use serde_json::json;

use crate::args::ImportArgs;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console::Console;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::package::Origin;
use crate::place::Place;
use crate::signals::Interrupts;
use crate::tell;
use crate::transfer;

pub(crate) async fn run(
    args: ImportArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let origin = Origin::of(&args.package, &args.source)?;
    let connection = Connection::resolve(&args.target, Root::Host, &args.connection, environment)?;
    let package = interrupts.race(origin.open()).await?;
    let request = request(&args, package, &connection.path, environment);
    let server = interrupts.race(connection.connect()).await?;
    let outcome = import(request, &args, &server, &connection, console, interrupts).await;
    transfer::logout(&server, &outcome, interrupts).await;
    outcome
}

async fn import(
    request: Import,
    args: &ImportArgs,
    server: &Server,
    connection: &Connection,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let plan = async { Ok(request.plan(server).await?) };
    let plan = interrupts.race(plan).await?;
    if args.dry_run {
        show(&plan, console);
        return Ok(());
    }
    let name = plan.name();
    let (options, events) = transfer::options(&args.transfer);
    let left_behind = format!(
        "{name} may be on {} until its lease times out; remove it if it stays",
        connection.server()
    );
    let running = plan.start(options);
    let report = transfer::finish(running, events, left_behind, console, interrupts).await?;
    tell::report(console, "import", &report);
    Ok(())
}

/// The request: flags first, then govc's variables as defaults.
fn request(args: &ImportArgs, package: Package, target: &str, environment: &Environment) -> Import {
    let place = Place::new(target);
    let or_govc = |flag: &Option<String>, variable: &str| {
        flag.clone().or_else(|| environment.govc(variable).map(str::to_owned))
    };
    let mut request = Import::new(package, target);
    request.name.clone_from(&args.name);
    request.datastore = or_govc(&args.datastore, "DATASTORE");
    request.folder = or_govc(&args.folder, "FOLDER").map(|path| place.folder(&path));
    // A target that names a pool or a host is more than a default.
    request.pool = match place.names_pool() {
        true => args.pool.clone(),
        false => or_govc(&args.pool, "RESOURCE_POOL"),
    }
    .map(|path| place.pool(&path));
    request.host = or_govc(&args.host, "HOST").map(|path| place.host(&path));
    request.networks = networks(args, environment);
    request.properties.clone_from(&args.properties);
    request.deployment_option.clone_from(&args.deployment_option);
    request.disk_provisioning.clone_from(&args.disk_mode);
    request
}

fn networks(args: &ImportArgs, environment: &Environment) -> Vec<NetworkMap> {
    if args.networks.is_empty() {
        return environment
            .govc("NETWORK")
            .map(|name| NetworkMap::new(None, name))
            .into_iter()
            .collect();
    }
    let map = |network: &crate::args::NetworkArg| {
        NetworkMap::new(network.ovf.clone(), network.network.clone())
    };
    args.networks.iter().map(map).collect()
}

fn show(plan: &ImportPlan, console: &Console) {
    let text = plan.to_string();
    if console.json {
        let file = |(file, bytes): (&ovftransfer::FileName, Option<u64>)| match bytes {
            Some(bytes) => json!({ "file": file.as_str(), "bytes": bytes }),
            None => json!({ "file": file.as_str() }),
        };
        let files: Vec<_> = plan.files().map(file).collect();
        let fields = json!({
            "command": "import",
            "name": plan.name(),
            "files": files,
            "warnings": plan.warnings(),
            "text": text.trim_end(),
        });
        console.object("plan", fields);
    } else {
        console.data(text.trim_end());
    }
}
