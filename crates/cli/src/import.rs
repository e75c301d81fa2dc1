//! `import`: a package becomes a machine.

use std::path::Path;
use std::time::Duration;

use ovftransfer::FileName;
use ovftransfer::Finding;
use ovftransfer::Import;
use ovftransfer::ImportPlan;
use ovftransfer::NetworkMap;
use ovftransfer::Package;
use ovftransfer::Server;
use serde_json::Value;
use serde_json::json;

use crate::args::ImportArgs;
use crate::args::YesNo;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console;
use crate::console::Console;
use crate::environment::Environment;
use crate::exit::Failure;
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
    check_package(&args.package)?;
    let connection = Connection::resolve(&args.target, Root::Host, &args.connection, environment)?;
    let package = interrupts.race(open(&args.package)).await?;
    let request = request(&args, package, &connection, environment)?;
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
        return Ok(plan.check()?);
    }
    let name = plan.name();
    let (mut options, events) = transfer::options(&args.transfer);
    options.retry_uploads = args.retry_uploads == YesNo::Yes;
    let left_behind = format!(
        "{name} may be on {} until its lease times out; remove it if it stays",
        connection.server()
    );
    let running = plan.start(options);
    let report = transfer::finish(running, events, left_behind, console, interrupts).await?;
    tell::report(console, "import", &report);
    Ok(())
}

/// Opens a package on a thread that may wait for the file system.
pub(crate) async fn open(path: &Path) -> Result<Package, Failure> {
    let path = path.to_owned();
    let opening = move || Package::open(&path).map_err(Failure::from);
    match tokio::task::spawn_blocking(opening).await {
        Ok(opened) => opened,
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

/// Refuses what other tools take and we cannot yet.
pub(crate) fn check_package(package: &Path) -> Result<(), Failure> {
    let text = package.to_string_lossy();
    if text == "-" || text.contains("://") {
        let what = if text == "-" { "standard input" } else { "a URL" };
        return Err(Failure::usage(format!("a package cannot be read from {what} yet"))
            .hint("give x.ovf, x.ova, or a folder with one .ovf"));
    }
    Ok(())
}

/// The request: flags first, then govc's variables as defaults.
fn request(
    args: &ImportArgs,
    package: Package,
    connection: &Connection,
    environment: &Environment,
) -> Result<Import, Failure> {
    let target = connection.moref.as_ref().unwrap_or(&connection.path);
    let place = match &connection.moref {
        Some(moref) => Place::bare(is_pool(moref)),
        None => Place::new(target),
    };
    let or_govc = |flag: &Option<String>, variable: &str| {
        let text = flag.clone().or_else(|| environment.govc(variable).map(str::to_owned));
        match text {
            Some(text) if place.cannot_complete(&text) => Err(Failure::usage(format!(
                "{text}: beside a target with ?moref= it must be a full path or a reference"
            ))),
            text => Ok(text),
        }
    };
    let mut request = Import::new(package, target);
    request.name.clone_from(&args.name);
    request.datastore =
        args.datastore.clone().or_else(|| environment.govc("DATASTORE").map(str::to_owned));
    request.folder = or_govc(&args.folder, "FOLDER")?.map(|path| place.folder(&path));
    // A target that names a pool or a host is more than a default.
    request.pool = match place.names_pool() {
        true => args.pool.clone(),
        false => or_govc(&args.pool, "RESOURCE_POOL")?,
    }
    .map(|path| place.pool(&path));
    request.host = or_govc(&args.host, "HOST")?.map(|path| place.host(&path));
    request.networks = networks(args, environment);
    request.require_networks = args.require_network;
    request.properties.clone_from(&args.properties);
    request.deployment_option.clone_from(&args.deployment_option);
    request.disk_provisioning.clone_from(&args.disk_mode);
    request.ip_allocation.clone_from(&args.ip_allocation);
    request.ip_protocol.clone_from(&args.ip_protocol);
    request.accept_eulas = args.accept_eulas;
    request.annotation.clone_from(&args.annotation);
    request.import_options.clone_from(&args.import_options);
    request.overwrite = args.overwrite;
    request.inject_ovf_env = args.inject_ovf_env;
    request.power_on = args.power_on;
    request.wait_for_ip = args.wait_for_ip.map(|seconds| Duration::from_secs(seconds.into()));
    request.template = args.template;
    Ok(request)
}

/// Whether a reference is to a pool: it says more than a cluster or a host.
fn is_pool(moref: &str) -> bool {
    moref.starts_with("ResourcePool:") || moref.starts_with("VirtualApp:")
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
    if !console.json {
        console.data(text.trim_end());
        return;
    }
    let file = |(file, bytes): (&FileName, u64)| json!({ "file": file.as_str(), "bytes": bytes });
    let files: Vec<_> = plan.files().map(file).collect();
    let fields = json!({
        "command": "import",
        "name": plan.name(),
        "datastore": plan.datastore(),
        "files": files,
        "warnings": plan.warnings(),
        "findings": plan.findings().iter().map(finding_object).collect::<Vec<_>>(),
        "text": text.trim_end(),
    });
    console.object("plan", fields);
}

fn finding_object(finding: &Finding) -> Value {
    console::without_nulls(json!({
        "severity": finding.severity.word(),
        "check": finding.check.word(),
        "subject": Some(&finding.subject).filter(|subject| !subject.is_empty()),
        "problem": finding.problem,
        "advice": finding.advice,
    }))
}
