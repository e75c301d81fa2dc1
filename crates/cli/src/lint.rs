//! `lint`: whether descriptors keep to the rules of OVF.

use std::io;
use std::io::IsTerminal;
use std::path::Path;

use ovftransfer::lint::Finding;
use ovftransfer::lint::Lint;
use ovftransfer::lint_package;
use ovftransfer::lint_stream;
use serde_json::Value;
use serde_json::json;

use crate::args::LintArgs;
use crate::console::Console;
use crate::exit::Code;
use crate::exit::Failure;
use crate::format;
use crate::signals::Interrupts;

pub(crate) async fn run(
    args: LintArgs,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let (mut refused, mut checked, mut failed) = (0, 0, None);
    for package in &args.packages {
        match interrupts.race(check(package)).await {
            Ok(lint) => {
                refused += u64::from(!lint.is_accepted());
                checked += 1;
                show(package, &lint, console);
            }
            Err(failure) if failure.code == Code::Cancelled => return Err(failure),
            // The others are still looked at.
            Err(failure) if args.packages.len() > 1 => {
                let message = format!("not checked: {}", format::printable(&failure.message));
                console.object("warning", json!({ "message": message }));
                console.note(format_args!("warning: {message}"));
                failed.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    if refused > 0 {
        let all = format::count(checked, "descriptor");
        let mut message = format!("{refused} of {all} refused");
        let unchecked = args.packages.len() as u64 - checked;
        if unchecked > 0 {
            message.push_str(&format!(", {unchecked} not checked"));
        }
        return Err(Failure::new(Code::Package, message));
    }
    failed.map_or(Ok(()), Err)
}

/// Checks a package on a thread that may wait for the file system.
async fn check(package: &Path) -> Result<Lint, Failure> {
    let path = package.to_owned();
    let is_stdin = package.as_os_str() == "-";
    if is_stdin && io::stdin().is_terminal() {
        return Err(Failure::usage("a descriptor cannot be read from a terminal")
            .hint("pipe one, or an OVA, into standard input, or name a file"));
    }
    let checking = move || {
        if is_stdin {
            lint_stream(io::stdin().lock()).map_err(Failure::from)
        } else {
            lint_package(&path).map_err(Failure::from)
        }
    };
    match tokio::task::spawn_blocking(checking).await {
        Ok(checked) => checked,
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

fn show(package: &Path, lint: &Lint, console: &Console) {
    console.object(
        "lint",
        json!({
            "package": package.display().to_string(),
            "accepted": lint.is_accepted(),
            "errors": lint.errors,
            "warnings": lint.warnings,
            "findings": lint.findings.iter().map(finding_object).collect::<Vec<_>>(),
        }),
    );
    let verdict = if lint.is_accepted() { "accepted" } else { "refused" };
    console.result(format_args!(
        "{}: {verdict}, {}, {}",
        package.display(),
        format::count(lint.errors as u64, "error"),
        format::count(lint.warnings as u64, "warning"),
    ));
    let rows: Vec<Vec<String>> = lint.findings.iter().map(finding_row).collect();
    for line in format::table(&rows, &[1]) {
        console.result(line);
    }
    if lint.omitted() > 0 {
        console.result(format_args!("  and {} more", lint.omitted()));
    }
}

fn finding_object(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.to_string(),
        "code": finding.code.word(),
        "line": finding.position.line,
        "column": finding.position.column,
        "path": finding.path,
        "message": finding.message,
        "section": finding.section,
    })
}

fn finding_row(finding: &Finding) -> Vec<String> {
    let place = if finding.path.is_empty() { "" } else { ", " };
    vec![
        String::new(),
        format!("{}:{}", finding.position.line, finding.position.column),
        finding.severity.to_string(),
        finding.code.to_string(),
        format!("{} ({}{place}DSP0243 §{})", finding.message, finding.path, finding.section),
    ]
}
