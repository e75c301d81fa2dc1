//! `convert` of a disk that is a file of its own.

use std::sync::Arc;

use ovftransfer::CompressionLevel;
use ovftransfer::ConvertDisk;
use ovftransfer::ConvertedDisk;
use ovftransfer::DiskFormat;
use ovftransfer::Meter;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::args::ConvertArgs;
use crate::console::Console;
use crate::exit::Failure;
use crate::format;
use crate::signals::Interrupts;
use crate::tell;
use crate::tell::Mailbox;
use crate::watch::Watched;

/// Converts the disk, if it is one that is asked for: by the name of the output.
pub(crate) fn request(args: &ConvertArgs) -> Result<Option<ConvertDisk>, Failure> {
    let for_packages = [
        ("--rehash", args.rehash),
        ("--spool-dir", args.spool_dir.is_some()),
        ("--allow-remote-references", args.allow_remote_references),
        ("--dry-run", args.dry_run),
        ("--private-key", args.signing.private_key.is_some()),
    ];
    let for_disks =
        [("--level", args.level.is_some()), ("--input-format", args.input_format.is_some())];
    let (strangers, what) = match DiskFormat::of_path(&args.output) {
        Some(_) => (&for_packages[..], "a package, and the output is a disk"),
        None => (&for_disks[..], "a disk, and the output is a package"),
    };
    if let Some((option, _)) = strangers.iter().find(|(_, given)| *given) {
        return Err(Failure::usage(format!("{option} is about {what}")));
    }
    let Some(to) = DiskFormat::of_path(&args.output) else { return Ok(None) };
    let mut request = ConvertDisk::new(args.input.clone(), args.output.clone(), to);
    request.overwrite = args.overwrite;
    request.input_format = args.input_format.map(Into::into);
    if let Some(level) = args.level.and_then(CompressionLevel::new) {
        request.level = level;
    }
    Ok(Some(request))
}

pub(crate) async fn run(
    request: ConvertDisk,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let source = request.input.display().to_string();
    let meter = Arc::new(Meter::default());
    let cancel = CancellationToken::new();
    let (_no_events, events) = Mailbox::new();
    let left_behind = format!("{}.partial may be left", request.output.display());
    let watched = Watched {
        work: request.run(&meter, &cancel),
        meter: Arc::clone(&meter),
        cancel: cancel.clone(),
        events,
        cleans_up: "interrupted: removing what was made; interrupt again to leave at once",
        left_behind,
    };
    let converted = watched.finish(console, interrupts).await?;
    show(&source, &converted, console);
    Ok(())
}

fn show(source: &str, converted: &ConvertedDisk, console: &Console) {
    let ConvertedDisk { path, capacity_bytes, populated_bytes, bytes, took, .. } = converted;
    console.object(
        "report",
        json!({
            "command": "convert",
            "source": source,
            "disk": path.display().to_string(),
            "capacity_bytes": capacity_bytes,
            "populated_bytes": populated_bytes,
            "bytes": bytes,
            "took_ms": tell::millis(*took),
        }),
    );
    console.result(format_args!("{source}: converted to {}", path.display()));
    console.result(format_args!(
        "{} of {} hold data, {} written in {} ({})",
        format::size(*populated_bytes),
        format::size(*capacity_bytes),
        format::size(*bytes),
        format::span(*took),
        format::rate(*populated_bytes, *took)
    ));
}
