//! `verify`: a package is what it says it is, or a disk.

use std::sync::Arc;

use ovftransfer::CheckedFile;
use ovftransfer::CheckedPackage;
use ovftransfer::Meter;
use ovftransfer::Package;
use ovftransfer::StoredFile;
use ovftransfer::check_package;
use ovftransfer::check_package_deep;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::args::VerifyArgs;
use crate::console::Console;
use crate::console::without_nulls;
use crate::disk;
use crate::exit::Failure;
use crate::format;
use crate::package::Origin;
use crate::signals::Interrupts;
use crate::signature;
use crate::tell;
use crate::tell::Mailbox;
use crate::watch::Watched;

pub(crate) async fn run(
    args: VerifyArgs,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    if disk::is_disk(&args.package, args.input_format) {
        return disk::verify(args, console, interrupts).await;
    }
    let origin = Origin::of(&args.package, &args.source)?;
    let policy = signature::policy(args.ca_cert.as_deref(), &args.signature)?;
    let started = Instant::now();
    let opening = origin.open_with(&args.source, args.allow_remote_references);
    let package = Arc::new(interrupts.race(Box::pin(opening)).await?);
    let meter = Arc::new(Meter::default());
    let cancel = CancellationToken::new();
    let (_no_events, events) = Mailbox::new();
    let watched = Watched {
        work: async {
            let (package, meter) = (Arc::clone(&package), Arc::clone(&meter));
            if args.deep {
                check_package_deep(package, &policy, meter, &cancel).await
            } else {
                check_package(package, &policy, meter, &cancel).await
            }
        },
        meter: Arc::clone(&meter),
        cancel: cancel.clone(),
        events,
        cleans_up: "interrupted",
        left_behind: "nothing was changed".to_owned(),
    };
    let checked = watched.finish(console, interrupts).await?;
    show(&package, &checked, args.deep, started, console);
    Ok(())
}

fn show(
    package: &Package,
    checked: &CheckedPackage,
    deep: bool,
    started: Instant,
    console: &Console,
) {
    let CheckedPackage { files, signature, warnings, .. } = checked;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let took = started.elapsed();
    console.object(
        "report",
        without_nulls(json!({
            "command": "verify",
            "package": package.location(),
            "has_manifest": package.manifest().is_some(),
            "deep": deep,
            "signature": signature.as_ref().map(signature::object),
            "files": files.iter().map(file_object).collect::<Vec<_>>(),
            "bytes": bytes,
            "took_ms": tell::millis(took),
        })),
    );
    for warning in package.warnings().iter().chain(warnings) {
        console.object("warning", json!({ "message": warning }));
        console.note(format_args!("warning: {warning}"));
    }
    if package.manifest().is_none() {
        let checked = if deep { "the data of disks was" } else { "the structure was" };
        console.note(format_args!("warning: the package has no manifest: only {checked} checked"));
    }
    if let Some(signature) = signature {
        signature::warn(signature, console);
    }
    console.result(format_args!("{}: valid", package.location()));
    if let Some(signature) = signature {
        console.result(signature::line(signature));
    }
    let rows: Vec<Vec<String>> = files.iter().flat_map(file_rows).collect();
    for line in format::table(&rows, &[1]) {
        console.result(line);
    }
    console.result(format_args!(
        "{}, {} in {} ({})",
        format::count(files.len() as u64, "file"),
        format::size(bytes),
        format::span(took),
        format::rate(bytes, took)
    ));
}

fn file_object(file: &CheckedFile) -> Value {
    let stored = |part: &StoredFile| {
        json!({
            "file": part.file.as_str(),
            "bytes": part.bytes,
            "digests": tell::digests(std::slice::from_ref(&part.digest)),
            "in_manifest": part.in_manifest,
        })
    };
    let stored: Vec<Value> = file.stored.iter().map(stored).collect();
    without_nulls(json!({
        "stored": (!stored.is_empty()).then_some(stored),
        "file": file.file.as_str(),
        "bytes": file.bytes,
        "digests": tell::digests(std::slice::from_ref(&file.digest)),
        "in_manifest": file.in_manifest,
        "capacity_bytes": file.disk.as_ref().map(|disk| disk.capacity_bytes()),
        "populated_bytes": file.disk.as_ref().map(|disk| disk.populated_bytes()),
    }))
}

/// A file, and below it those that the package has for it.
fn file_rows(file: &CheckedFile) -> Vec<Vec<String>> {
    let stored = |part: &StoredFile| {
        vec![
            format!("  {}", part.file),
            format::size(part.bytes),
            tell::short(&part.digest),
            by_manifest(part.in_manifest).to_owned(),
            String::new(),
        ]
    };
    let mut rows = vec![file_row(file)];
    rows.extend(file.stored.iter().map(stored));
    rows
}

const fn by_manifest(in_manifest: bool) -> &'static str {
    if in_manifest { "as in the manifest" } else { "not in the manifest" }
}

fn file_row(file: &CheckedFile) -> Vec<String> {
    let by = by_manifest(file.in_manifest);
    let disk = file.disk.as_ref().map(|disk| {
        let (populated, capacity) = (disk.populated_bytes(), disk.capacity_bytes());
        format!("disk, {} of {}", format::size(populated), format::size(capacity))
    });
    vec![
        file.file.to_string(),
        format::size(file.bytes),
        tell::short(&file.digest),
        by.to_owned(),
        disk.unwrap_or_default(),
    ]
}
