//! `export`: a machine becomes a package.

use std::io;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use ovftransfer::Export;
use ovftransfer::ExportPlan;
use ovftransfer::Output;
use ovftransfer::Pipe;
use ovftransfer::Server;
use serde_json::json;

use crate::args::ExportArgs;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console::Console;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::journals;
use crate::signals::Interrupts;
use crate::signing;
use crate::tell;
use crate::transfer;

pub(crate) async fn run(
    args: ExportArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let output = output(&args.dest, console)?;
    let is_piped = matches!(output, Output::Pipe(_));
    // The archive has standard output for itself.
    let console = &if is_piped { console.to_stderr() } else { console.clone() };
    let connection = Connection::resolve(&args.source, Root::Vm, &args.connection, environment)?;
    let key = interrupts.race(signing::key(&args.signing, environment)).await?;
    let server = interrupts.race(connection.connect(console)).await?;
    let mut request = request(&args, &connection.path, output);
    request.signing_key = key.map(Arc::new);
    let outcome = export(&args, request, &server, &connection, console, interrupts).await;
    transfer::logout(&server, &outcome, interrupts).await;
    outcome
}

async fn export(
    args: &ExportArgs,
    request: Export,
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
    let (options, events) = transfer::options(&args.transfer);
    let mut left_behind = format!(
        "{} may be blocked on {} until the lease times out",
        plan.name(),
        connection.server(),
    );
    if let Some(folder) = plan.path().as_deref().and_then(Path::parent) {
        let folder = folder.display();
        left_behind.push_str(&format!(
            ", and .partial files may be in {folder}; run it again, or clean up by ovftransfer reap \
             {folder}"
        ));
    }
    let running = plan.start(options);
    let report = transfer::finish(running, events, left_behind, console, interrupts).await?;
    tell::report(console, "export", &report);
    Ok(())
}

fn request(args: &ExportArgs, source: &str, output: Output) -> Export {
    let mut request = Export::new(source, output);
    request.snapshot.clone_from(&args.snapshot);
    request.algorithm = args.sha.into();
    request.overwrite = args.overwrite;
    request.nvram = !args.no_nvram;
    request.live = args.live;
    request.images = args.images;
    request.options.clone_from(&args.export_options);
    request.lease_per_disk = args.lease_per_disk;
    request.spool_dir.clone_from(&args.spool_dir);
    request.resume = !args.no_resume;
    request.journal_dir = journals::folder(args.transfer.journal_dir.as_deref());
    request.disk_format = args.disk_format.into();
    request
}

/// Where the package goes, and how that is refused which would be of no use.
pub(crate) fn output(destination: &Path, console: &Console) -> Result<Output, Failure> {
    let text = destination.to_string_lossy();
    if text.contains("://") {
        return Err(Failure::usage(format!("{text}: a package cannot be written to a URL"))
            .hint("give x.ova, a folder, or - for standard output"));
    }
    if text != "-" {
        return Ok(Output::from(destination));
    }
    if console.json {
        return Err(Failure::usage("-: standard output cannot take the archive and --json both")
            .hint("write to x.ova, or leave out --json"));
    }
    if io::stdout().is_terminal() {
        return Err(Failure::usage("-: standard output is a terminal, an archive is no text")
            .hint("redirect it into a file or a pipe"));
    }
    Ok(Pipe::new(io::stdout()).into())
}

fn show(plan: &ExportPlan, console: &Console) {
    let text = plan.to_string();
    if console.json {
        let fields = json!({
            "command": "export",
            "name": plan.name(),
            "package": plan.path().map(|path| path.display().to_string()),
            "findings": plan.findings().iter().map(tell::finding_object).collect::<Vec<_>>(),
            "text": text.trim_end(),
        });
        console.object("plan", fields);
    } else {
        console.data(text.trim_end());
    }
}
