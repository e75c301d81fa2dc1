//! `import`: a package becomes a machine.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use ovftransfer::FileName;
use ovftransfer::Import;
use ovftransfer::ImportPlan;
use ovftransfer::ImportSpecOptions;
use ovftransfer::NetworkMap;
use ovftransfer::Package;
use ovftransfer::PortMap;
use ovftransfer::Server;
use serde_json::json;

use crate::args::ImportArgs;
use crate::args::YesNo;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console;
use crate::console::Console;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::journals;
use crate::package::Origin;
use crate::place::Place;
use crate::signals::Interrupts;
use crate::signature;
use crate::tell;
use crate::tell::network;
use crate::transfer;

pub(crate) async fn run(
    args: ImportArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    check_pairs(&args)?;
    let origin = Origin::of(&args.package, &args.source)?;
    let connection = Connection::resolve(&args.target, Root::Host, &args.connection, environment)?;
    let options = match &args.options {
        Some(file) => Some(interrupts.race(read_options(file)).await?),
        None => None,
    };
    for field in options.iter().flat_map(ImportSpecOptions::unknown) {
        console.note(format_args!("warning: {field} in the options has no meaning"));
    }
    let policy = signature::policy(args.signer_ca_cert.as_deref(), &args.signature)?;
    let opening = origin.open_with(&args.source, args.allow_remote_references);
    let package = interrupts.race(Box::pin(opening)).await?;
    let mut request = request(&args, options.as_ref(), package, &connection, environment)?;
    request.signature = policy;
    let server = interrupts.race(connection.connect(console)).await?;
    let importing = import(request, &args, &server, &connection, console, interrupts);
    let outcome = Box::pin(importing).await;
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
    let plan = Box::pin(async { Ok(request.plan(server).await?) });
    let plan = interrupts.race(plan).await?;
    if args.dry_run {
        show(&plan, console);
        return Ok(plan.check()?);
    }
    let name = plan.name();
    let (mut options, events) = transfer::options(&args.transfer);
    options.retry_uploads = args.retry_uploads == YesNo::Yes;
    let left_behind = format!(
        "{name} may be on {} until its lease times out; ovftransfer reap ends and removes it",
        connection.server()
    );
    let running = plan.start(options);
    let report = transfer::finish(running, events, left_behind, console, interrupts).await?;
    tell::report(console, "import", &report);
    Ok(())
}

/// Reads the options of an import, `-` from standard input, on a thread that may wait.
async fn read_options(file: &Path) -> Result<ImportSpecOptions, Failure> {
    let file = file.to_owned();
    let is_stdin = file.as_os_str() == "-";
    let name = if is_stdin { "standard input".to_owned() } else { file.display().to_string() };
    let reading = move || -> io::Result<String> {
        let mut source: Box<dyn Read> =
            if is_stdin { Box::new(io::stdin()) } else { Box::new(File::open(file)?) };
        let mut text = String::new();
        source.by_ref().take(OPTIONS_BYTES_MAX + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = match tokio::task::spawn_blocking(reading).await {
        Ok(read) => read.map_err(|error| Failure::local(format!("cannot read {name}"), &error))?,
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    };
    if text.len() as u64 > OPTIONS_BYTES_MAX {
        return Err(Failure::usage(format!("{name}: more than {OPTIONS_BYTES_MAX} bytes")));
    }
    ImportSpecOptions::from_json(&text).map_err(|error| {
        Failure::usage(format!("{name}: {error}"))
            .hint("ovftransfer spec PACKAGE prints options to begin with")
    })
}

/// The request: flags first, then the options, then govc's variables as defaults.
fn request(
    args: &ImportArgs,
    options: Option<&ImportSpecOptions>,
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
    request.networks = networks(args);
    request.require_networks = args.require_network;
    request.ports = ports(args);
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
    request.spool_dir.clone_from(&args.spool_dir);
    request.journal_dir = journals::folder(args.transfer.journal_dir.as_deref());
    if let Some(options) = options {
        options.fill(&mut request);
    }
    // For the networks that nothing else has been said about.
    if args.networks.is_empty()
        && let Some(name) = environment.govc("NETWORK")
    {
        request.networks.push(NetworkMap::new(None, name));
    }
    Ok(request)
}

/// Whether a reference is to a pool: it says more than a cluster or a host.
fn is_pool(moref: &str) -> bool {
    moref.starts_with("ResourcePool:") || moref.starts_with("VirtualApp:")
}

/// Refuses options that say two things about one: neither would be more right than the other.
fn check_pairs(args: &ImportArgs) -> Result<(), Failure> {
    let networks = args.networks.iter().map(|map| (map.ovf.as_deref(), &*map.network));
    if let Some(ovf) = contradicted(networks) {
        let of = ovf.map_or("all networks".to_owned(), |ovf| format!("the network {ovf:?}"));
        return Err(Failure::usage(format!("--network says two things about {of}"))
            .hint("OVF=NET is about one network of the package, NET about all others"));
    }
    let properties = args.properties.iter().map(|(key, value)| (&**key, &**value));
    match contradicted(properties) {
        Some(key) => Err(Failure::usage(format!("--property says two things about {key}"))),
        None => Ok(()),
    }
}

/// The first key that comes again with another value.
fn contradicted<'a, K: Copy + Eq + Hash>(
    mut pairs: impl Iterator<Item = (K, &'a str)>,
) -> Option<K> {
    let mut known = HashMap::new();
    pairs.find(|(key, value)| *known.entry(*key).or_insert(*value) != *value).map(|(key, _)| key)
}

fn networks(args: &ImportArgs) -> Vec<NetworkMap> {
    let map = |network: &crate::args::NetworkArg| {
        NetworkMap::new(network.ovf.clone(), network.network.clone())
    };
    args.networks.iter().map(map).collect()
}

fn ports(args: &ImportArgs) -> Vec<PortMap> {
    args.ports.iter().map(|(nic, port)| PortMap::new(nic, port)).collect()
}

fn show(plan: &ImportPlan, console: &Console) {
    let text = plan.to_string();
    if !console.json {
        console.data(text.trim_end());
        return;
    }
    let file = |(file, bytes): (&FileName, Option<u64>)| {
        let mut conversions = plan.conversions();
        let from = conversions.find_map(|(one, kind)| (one == file).then_some(kind.word()));
        console::without_nulls(json!({
            "file": file.as_str(),
            "bytes": bytes,
            "converted_from": from,
        }))
    };
    let files: Vec<_> = plan.files().map(file).collect();
    let fields = json!({
        "command": "import",
        "name": plan.name(),
        "signature": plan.signature().map(signature::object),
        "datastore": plan.datastore(),
        "networks": plan.networks().iter().map(network::planned_object).collect::<Vec<_>>(),
        "files": files,
        "warnings": plan.warnings(),
        "findings": plan.findings().iter().map(tell::finding_object).collect::<Vec<_>>(),
        "text": text.trim_end(),
    });
    console.object("plan", console::without_nulls(fields));
}

/// The largest file of options; real ones have a line for each property and network.
const OPTIONS_BYTES_MAX: u64 = 4 << 20;
