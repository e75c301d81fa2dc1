//! `convert` and `verify` of a disk that is a file of its own.

use std::path::Path;
use std::sync::Arc;

use ovftransfer::CheckDisk;
use ovftransfer::CheckedDisk;
use ovftransfer::ConvertDisk;
use ovftransfer::ConvertedDisk;
use ovftransfer::DiskFormat;
use ovftransfer::DiskOverview;
use ovftransfer::ImageFormat;
use ovftransfer::Meter;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::args::ConvertArgs;
use crate::args::InputFormat;
use crate::args::VerifyArgs;
use crate::console::Console;
use crate::console::without_nulls;
use crate::exit::Failure;
use crate::format;
use crate::signals::Interrupts;
use crate::tell;
use crate::tell::Mailbox;
use crate::watch::Watched;

/// Whether a file is a disk and no package: by its first bytes and its name, or because it is said to
/// be one.
pub(crate) fn is_disk(path: &Path, format: Option<InputFormat>) -> bool {
    let text = path.to_string_lossy();
    if text == "-" || text.contains("://") {
        return false;
    }
    // One of a kind that is not supported is a disk, too, and will be refused as such.
    format.is_some() || !matches!(ImageFormat::of_path(path), Ok(None))
}

/// What kind of disk it is, in a word.
pub(crate) fn word(disk: &DiskOverview) -> String {
    match disk.create_type() {
        Some(create_type) => format!("{} ({create_type})", disk.format),
        None => disk.format.to_string(),
    }
}

/// Checks the disk.
pub(crate) async fn verify(
    args: VerifyArgs,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let for_packages = [
        ("--allow-remote-references", args.allow_remote_references),
        ("--ca-cert", args.ca_cert.is_some()),
        ("--require-signature", args.signature.require_signature),
        ("--allow-legacy-sha1", args.signature.allow_legacy_sha1),
        ("--lenient", args.source.lenient),
    ];
    if let Some((option, _)) = for_packages.iter().find(|(_, given)| *given) {
        let what = format!("{option} is about a package, and {} is a disk", args.package.display());
        return Err(Failure::usage(what));
    }
    let mut request = CheckDisk::new(args.package);
    request.format = args.input_format.map(Into::into);
    request.deep = args.deep;
    let meter = Arc::new(Meter::default());
    let cancel = CancellationToken::new();
    let (_no_events, events) = Mailbox::new();
    let watched = Watched {
        work: request.run(&meter, &cancel),
        meter: Arc::clone(&meter),
        cancel: cancel.clone(),
        events,
        cleans_up: "interrupted",
        left_behind: "nothing was changed".to_owned(),
    };
    let checked = watched.finish(console, interrupts).await?;
    show_checked(&checked, args.deep, console);
    Ok(())
}

fn show_checked(checked: &CheckedDisk, deep: bool, console: &Console) {
    let CheckedDisk { disk, took, .. } = checked;
    let path = disk.path.display();
    console.object(
        "report",
        without_nulls(json!({
            "command": "verify",
            "disk": path.to_string(),
            "format": disk.format.to_string(),
            "create_type": disk.create_type(),
            "deep": deep,
            "capacity_bytes": disk.capacity_bytes,
            "populated_bytes": disk.populated_bytes,
            "bytes": disk.file_bytes,
            "took_ms": tell::millis(*took),
        })),
    );
    if !deep && disk.format == ImageFormat::Raw {
        console.note(format_args!(
            "warning: a raw disk has no structure: nothing was checked; --deep reads all of it"
        ));
    }
    console.result(format::printable(&format!("{path}: sound {}", word(disk))));
    console.result(format_args!(
        "{} of {} hold data, file of {}, checked in {}{}",
        format::size(disk.populated_bytes),
        format::size(disk.capacity_bytes),
        format::size(disk.file_bytes),
        format::span(*took),
        if deep { ", with all data" } else { "" }
    ));
}

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
    request.level = args.level.unwrap_or_default();
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
