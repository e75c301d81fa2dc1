//! `export`: a machine becomes a package.

use std::path::Path;

use ovftransfer::DigestAlgorithm;
use ovftransfer::Export;
use ovftransfer::ExportPlan;
use ovftransfer::Server;
use serde_json::json;

use crate::args::ExportArgs;
use crate::args::Sha;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console::Console;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::signals::Interrupts;
use crate::tell;
use crate::transfer;

pub(crate) async fn run(
    args: ExportArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    check_destination(&args.dest)?;
    let connection = Connection::resolve(&args.source, Root::Vm, &args.connection, environment)?;
    let server = interrupts.race(connection.connect()).await?;
    let outcome = export(&args, &server, &connection, console, interrupts).await;
    transfer::logout(&server, &outcome, interrupts).await;
    outcome
}

async fn export(
    args: &ExportArgs,
    server: &Server,
    connection: &Connection,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let request = request(args, &connection.path);
    let plan = async { Ok(request.plan(server).await?) };
    let plan = interrupts.race(plan).await?;
    if args.dry_run {
        show(&plan, console);
        return Ok(());
    }
    let (options, events) = transfer::options(&args.transfer);
    let descriptor = plan.descriptor();
    let left_behind = format!(
        "{} may be blocked on {} until the lease times out, and .partial files may be in {}",
        plan.machine(),
        connection.server(),
        descriptor.parent().unwrap_or(&descriptor).display(),
    );
    let running = plan.start(options);
    let report = transfer::finish(running, events, left_behind, console, interrupts).await?;
    tell::report(console, "export", &report);
    Ok(())
}

fn request(args: &ExportArgs, source: &str) -> Export {
    let mut request = Export::new(source, &args.dest);
    request.snapshot.clone_from(&args.snapshot);
    request.algorithm = match args.sha {
        Sha::Sha1 => DigestAlgorithm::Sha1,
        Sha::Sha256 => DigestAlgorithm::Sha256,
        Sha::Sha512 => DigestAlgorithm::Sha512,
    };
    request.overwrite = args.overwrite;
    request.nvram = !args.no_nvram;
    request
}

/// Refuses what other tools take and we cannot yet.
fn check_destination(destination: &Path) -> Result<(), Failure> {
    let text = destination.to_string_lossy();
    let is_ova = destination.extension().is_some_and(|e| e.eq_ignore_ascii_case("ova"));
    let what = match &*text {
        "-" => "to standard output",
        text if text.contains("://") => "to a URL",
        _ if is_ova => "to an OVA",
        _ => return Ok(()),
    };
    Err(Failure::usage(format!("{text}: a package cannot be written {what} yet"))
        .hint("give a folder, which gets NAME/NAME.ovf, or the descriptor, x.ovf"))
}

fn show(plan: &ExportPlan, console: &Console) {
    let text = plan.to_string();
    if console.json {
        let fields = json!({
            "command": "export",
            "name": plan.machine(),
            "descriptor": plan.descriptor().display().to_string(),
            "text": text.trim_end(),
        });
        console.object("plan", fields);
    } else {
        console.data(text.trim_end());
    }
}
