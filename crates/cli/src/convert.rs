//! `convert`: a package becomes another one, and what is wrong with it is repaired.

use std::sync::Arc;

use ovftransfer::Convert;
use ovftransfer::ConvertPlan;
use ovftransfer::Converted;
use ovftransfer::ConvertedFile;
use ovftransfer::Options;
use ovftransfer::Output;
use ovftransfer::Repair;
use serde_json::Value;
use serde_json::json;

use crate::args::ConvertArgs;
use crate::console::Console;
use crate::console::without_nulls;
use crate::disk;
use crate::environment::Environment;
use crate::exit::Code;
use crate::exit::Failure;
use crate::export;
use crate::format;
use crate::package::Origin;
use crate::signals::Interrupts;
use crate::signing;
use crate::tell;
use crate::tell::Mailbox;
use crate::watch::Watched;

pub(crate) async fn run(
    args: ConvertArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    if let Some(request) = disk::request(&args)? {
        return disk::run(request, console, interrupts).await;
    }
    let origin = Origin::of(&args.input, &args.source)?;
    let output = export::output(&args.output, console)?;
    let is_piped = matches!(output, Output::Pipe(_));
    // The archive has standard output for itself.
    let console = &if is_piped { console.to_stderr() } else { console.clone() };
    let key = interrupts.race(signing::key(&args.signing, environment)).await?;
    let opening = origin.open_with(&args.source, args.allow_remote_references);
    let package = interrupts.race(opening).await?;
    let location = package.location().to_owned();
    let mut request = Convert::new(package, output);
    request.algorithm = args.sha.into();
    request.overwrite = args.overwrite;
    request.rehash = args.rehash;
    request.signing_key = key.map(Arc::new);
    request.spool_dir.clone_from(&args.spool_dir);
    let plan = async { Ok(request.plan().await?) };
    let plan = interrupts.race(plan).await.map_err(with_advice)?;
    if args.dry_run {
        show(&plan, console);
        return Ok(plan.check()?);
    }
    let (mailbox, events) = Mailbox::new();
    let mut options = Options::default();
    options.observer = Arc::new(mailbox);
    let left_behind = plan.path().map_or("nothing is left".to_owned(), |path| {
        format!("{}.partial and the like may be left", path.display())
    });
    let running = plan.start(options);
    let watched = Watched {
        meter: running.meter(),
        cancel: running.canceller(),
        work: running.finish(),
        events,
        cleans_up: "interrupted: removing what was made; interrupt again to leave at once",
        left_behind,
    };
    let converted = watched.finish(console, interrupts).await.map_err(with_advice)?;
    tell(&location, &converted, console);
    Ok(())
}

/// What somebody can do who has changed the package on purpose.
fn with_advice(failure: Failure) -> Failure {
    if failure.code != Code::DigestMismatch {
        return failure;
    }
    failure.hint("if the bytes are as you want them, --rehash takes them and makes a new manifest")
}

fn tell(location: &str, converted: &Converted, console: &Console) {
    console.object(
        "report",
        without_nulls(json!({
            "command": "convert",
            "source": location,
            "package": converted.package.as_ref().map(|path| path.display().to_string()),
            "descriptor": converted.descriptor.as_str(),
            "is_descriptor_kept": converted.is_descriptor_kept,
            "is_signed": converted.is_signed,
            "repairs": converted.repairs.iter().map(repair_object).collect::<Vec<_>>(),
            "files": converted.files.iter().map(file_object).collect::<Vec<_>>(),
            "bytes": converted.bytes(),
            "took_ms": tell::millis(converted.took),
        })),
    );
    match &converted.package {
        Some(path) => console.result(format_args!("{location}: converted to {}", path.display())),
        None => console.result(format_args!("{location}: converted")),
    }
    // What is taken on trust was a warning already.
    for repair in converted.repairs.iter().filter(|repair| !repair.is_on_trust()) {
        console.result(format::printable(&format!("repaired: {repair}")));
    }
    let rows: Vec<Vec<String>> = converted.files.iter().map(file_row).collect();
    for line in format::table(&rows, &[1]) {
        console.result(line);
    }
    console.result(format_args!(
        "{}, {} in {} ({})",
        format::count(converted.files.len() as u64, "file"),
        format::size(converted.bytes()),
        format::span(converted.took),
        format::rate(converted.bytes(), converted.took)
    ));
}

fn show(plan: &ConvertPlan, console: &Console) {
    let text = plan.to_string();
    if console.json {
        let fields = json!({
            "command": "convert",
            "package": plan.path().map(|path| path.display().to_string()),
            "repairs": plan.repairs().iter().map(repair_object).collect::<Vec<_>>(),
            "findings": plan.findings().iter().map(tell::finding_object).collect::<Vec<_>>(),
            "text": text.trim_end(),
        });
        console.object("plan", fields);
    } else {
        console.data(text.trim_end());
    }
}

fn repair_object(repair: &Repair) -> Value {
    json!({ "repair": repair.word(), "is_on_trust": repair.is_on_trust(), "text": repair.to_string() })
}

fn file_object(file: &ConvertedFile) -> Value {
    json!({
        "file": file.file.as_str(),
        "source": file.source.as_str(),
        "bytes": file.bytes,
        "capacity_bytes": file.capacity_bytes,
        "digests": tell::digests(std::slice::from_ref(&file.digest)),
        "by_package": file.by_package,
    })
}

fn file_row(file: &ConvertedFile) -> Vec<String> {
    let by = if file.by_package { "as in the manifest" } else { "not proven by a manifest" };
    vec![file.file.to_string(), format::size(file.bytes), tell::short(&file.digest), by.to_owned()]
}
