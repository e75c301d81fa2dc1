//! Events and reports, in words and as JSON.

pub(crate) mod card;
pub(crate) mod network;

use std::time::Duration;

use ovftransfer::After;
use ovftransfer::Conversion;
use ovftransfer::ConvertedFrom;
use ovftransfer::Digest;
use ovftransfer::Event;
use ovftransfer::FileReport;
use ovftransfer::Finding;
use ovftransfer::Observer;
use ovftransfer::Report;
use ovftransfer::Verification;
use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::unbounded_channel;

use crate::console::Console;
use crate::console::without_nulls;
use crate::format;

/// Carries events from the transfer's tasks to whoever prints them, without waiting.
#[derive(Debug)]
pub(crate) struct Mailbox(UnboundedSender<Event>);

impl Mailbox {
    pub(crate) fn new() -> (Self, UnboundedReceiver<Event>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }
}

impl Observer for Mailbox {
    fn observe(&self, event: &Event) {
        // Nobody listens any more when we leave at once.
        drop(self.0.send(event.clone()));
    }
}

/// Tells one event.
pub(crate) fn event(console: &Console, event: &Event) {
    if let Some((kind, fields)) = event_object(event) {
        console.object(kind, fields);
    }
    if let Some(line) = always_told(event) {
        console.note(line);
    } else if console.verbose
        && let Some(line) = told_on_request(event)
    {
        console.note(line);
    }
}

/// What a person should know.
fn always_told(event: &Event) -> Option<String> {
    if let Event::FileRetry { reason, after, .. } = event {
        // The reason begins with the file.
        Some(format!("warning: {reason}; trying again in {}", format::span(*after)))
    } else if let Event::HeartbeatMissed { missed, reason } = event {
        Some(format!("warning: heartbeat failed ({missed} in a row), trying again: {reason}"))
    } else if let Event::Warning { message } = event {
        Some(format!("warning: {message}"))
    } else {
        None
    }
}

/// What a person may want to know.
fn told_on_request(event: &Event) -> Option<String> {
    Some(match event {
        Event::FileStart { file, host, attempt: 1 } => format!("{file}: starts, {host}"),
        Event::FileStart { file, host, attempt } => {
            format!("{file}: starts again, {host}, try {attempt}")
        }
        Event::FileConvert { file, from } => format!("{file}: is converted, {from}"),
        Event::FileConverted { file, conversion, bytes } => format!(
            "{file}: converted in {}, {} become {}",
            format::span(conversion.took),
            format::size(conversion.bytes()),
            format::size(*bytes)
        ),
        Event::FileProven { file, bytes, digest, by_server } => {
            let by_server = if *by_server { ", proven by the server too" } else { "" };
            format!("{file}: {}, {}{by_server}", format::size(*bytes), short(digest))
        }
        Event::FileKept { file, bytes } => {
            format!("{file}: {}, kept from a run that was killed", format::size(*bytes))
        }
        Event::LeaseReady { timeout, beat } => format!(
            "the lease is ready: times out after {}, renewed every {}",
            format::span(*timeout),
            format::span(*beat)
        ),
        Event::HostChecked { host, pinned, took } => {
            let pinned = if *pinned { ", with the certificate that is expected" } else { "" };
            format!("{host}: reached in {}{pinned}", format::span(*took))
        }
        Event::LeaseAborted { reason, confirmed: true } => format!("lease given up: {reason}"),
        Event::LeaseAborted { reason, .. } => {
            format!("lease given up, but the server has not confirmed it: {reason}")
        }
        Event::LeaseComplete => "the lease is complete".to_owned(),
        Event::Step { step } => format!("the machine is there; {step}"),
        Event::FileRetry { .. }
        | Event::HeartbeatMissed { .. }
        | Event::LeaseInitializing { .. }
        | Event::Warning { .. }
        | _ => return None,
    })
}

fn event_object(event: &Event) -> Option<(&'static str, Value)> {
    Some(match event {
        Event::FileConvert { file, from } => {
            ("file_convert", json!({ "file": file.as_str(), "from": from.word() }))
        }
        Event::FileConverted { file, conversion, bytes } => (
            "file_converted",
            json!({
                "file": file.as_str(),
                "bytes": bytes,
                "converted": conversion_object(conversion),
            }),
        ),
        Event::FileStart { file, host, attempt } => {
            ("file_start", json!({ "file": file.as_str(), "host": host, "attempt": attempt }))
        }
        Event::FileRetry { file, reason, after } => (
            "file_retry",
            json!({ "file": file.as_str(), "reason": reason, "after_ms": millis(*after) }),
        ),
        Event::FileProven { file, bytes, digest, by_server } => (
            "file_proven",
            json!({
                "file": file.as_str(),
                "bytes": bytes,
                "digests": digests(std::slice::from_ref(digest)),
                "by_server": by_server,
            }),
        ),
        Event::FileKept { file, bytes } => {
            ("file_kept", json!({ "file": file.as_str(), "bytes": bytes }))
        }
        Event::LeaseInitializing { percent } => {
            ("lease_initializing", json!({ "percent": percent }))
        }
        Event::LeaseReady { timeout, beat } => {
            ("lease_ready", json!({ "timeout_ms": millis(*timeout), "beat_ms": millis(*beat) }))
        }
        Event::HostChecked { host, pinned, took } => {
            ("host_checked", json!({ "host": host, "pinned": pinned, "took_ms": millis(*took) }))
        }
        Event::HeartbeatMissed { missed, reason } => {
            ("heartbeat_missed", json!({ "missed": missed, "reason": reason }))
        }
        Event::LeaseComplete => ("lease_complete", json!({})),
        Event::LeaseAborted { reason, confirmed } => {
            ("lease_aborted", json!({ "reason": reason, "confirmed": confirmed }))
        }
        Event::Step { step } => ("after_import", json!({ "step": step.word() })),
        Event::Warning { message } => ("warning", json!({ "message": message })),
        _ => return None,
    })
}

/// Tells what a transfer did, as JSON.
pub(crate) fn report_object(console: &Console, command: &str, report: &Report) {
    console.object(
        "report",
        json!({
            "command": command,
            "name": report.name,
            "entity": report.entity.to_string(),
            "lease": report.lease,
            "package": report.package.as_ref().map(|path| path.display().to_string()),
            "files": report.files.iter().map(file_object).collect::<Vec<_>>(),
            "after": after_object(&report.after),
            "network": network_objects(report),
            "bytes": report.bytes(),
            "beats": report.beats,
            "verification": match report.verification {
                Verification::Require => "require",
                Verification::Prefer => "prefer",
                Verification::Off => "off",
                _ => "unknown",
            },
            "streamed_ms": millis(report.streamed),
            "took_ms": millis(report.took),
        }),
    );
}

/// Tells what a transfer did.
pub(crate) fn report(console: &Console, command: &str, report: &Report) {
    report_object(console, command, report);
    match &report.package {
        Some(package) => {
            console.result(format_args!("{}: exported to {}", report.name, package.display()));
        }
        None if command == "export" => console.result(format_args!("{}: exported", report.name)),
        None => console.result(format_args!("{}: imported as {}", report.name, report.entity)),
    }
    if let Some(line) = after_line(&report.after) {
        console.result(line);
    }
    for line in format::table(&network::card_rows(&report.network), &[]) {
        console.result(line);
    }
    let rows: Vec<Vec<String>> = report.files.iter().map(file_row).collect();
    for line in format::table(&rows, &[1, 2]) {
        console.result(line);
    }
    console.result(format_args!(
        "{}, {} in {} ({}), {}",
        format::count(report.files.len() as u64, "file"),
        format::size(report.bytes()),
        format::span(report.took),
        format::rate(report.bytes(), report.took),
        format::count(report.beats, "heartbeat"),
    ));
}

/// The machines that came to be, if their networks were looked at.
fn network_objects(report: &Report) -> Option<Value> {
    let machines = report.network.iter().map(network::machine_object);
    (!report.network.is_empty()).then(|| machines.collect())
}

/// What was done to the machine, without what was not.
fn after_object(after: &After) -> Option<Value> {
    (*after != After::default()).then(|| {
        without_nulls(json!({
            "replaced": after.replaced.as_ref().map(ToString::to_string),
            "has_ovf_env": after.has_ovf_env,
            "is_powered_on": after.is_powered_on,
            "address": after.address,
            "is_template": after.is_template,
        }))
    })
}

fn after_line(after: &After) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(after.replaced.as_ref().map(|old| format!("in the place of {old}")));
    parts.extend(after.has_ovf_env.then(|| "with its OVF environment".to_owned()));
    parts.extend(after.is_powered_on.then(|| "powered on".to_owned()));
    parts.extend(after.address.as_ref().map(|address| format!("address {address}")));
    parts.extend(after.is_template.then(|| "a template".to_owned()));
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What a plan has found, as JSON.
pub(crate) fn finding_object(finding: &Finding) -> Value {
    without_nulls(json!({
        "severity": finding.severity.word(),
        "check": finding.check.word(),
        "subject": Some(&finding.subject).filter(|subject| !subject.is_empty()),
        "problem": finding.problem,
        "advice": finding.advice,
    }))
}

fn file_object(file: &FileReport) -> Value {
    let mut object = json!({
        "file": file.file.as_str(),
        "host": file.host,
        "bytes": file.bytes,
        "capacity_bytes": file.capacity_bytes,
        "digests": digests(&file.digests),
        "by_package": file.by_package,
        "by_server": file.by_server,
        "attempts": file.attempts,
        "kept": file.kept,
        "took_ms": millis(file.took),
    });
    // Most files have not been converted.
    if let (Some(conversion), Value::Object(fields)) = (&file.conversion, &mut object) {
        fields.insert("converted".to_owned(), conversion_object(conversion));
    }
    if let (Some(written), Value::Object(fields)) = (&file.written, &mut object) {
        let written = json!({
            "format": written.format.word(),
            "bytes": written.bytes,
            "digests": digests(std::slice::from_ref(&written.digest)),
        });
        fields.insert("written".to_owned(), written);
    }
    object
}

/// What a disk was before it was converted; size and digests are those of the source.
fn conversion_object(conversion: &Conversion) -> Value {
    let source = |file: &ConvertedFrom| {
        json!({
            "file": file.file.as_str(),
            "bytes": file.bytes,
            "digests": digests(&file.digests),
            "by_package": file.by_package,
        })
    };
    json!({
        "from": conversion.from.word(),
        "files": conversion.files.iter().map(source).collect::<Vec<_>>(),
        "took_ms": millis(conversion.took),
    })
}

/// Name, size, rate, digest, host, and who proved it.
pub(crate) fn file_row(file: &FileReport) -> Vec<String> {
    vec![
        file.file.to_string(),
        format::size(file.bytes),
        if file.kept { "kept".to_owned() } else { format::rate(file.bytes, file.took) },
        file.digests.first().map(short).unwrap_or_default(),
        file.host.clone(),
        match (file.by_package, file.by_server) {
            (true, true) => "as in the manifest, proven by the server",
            (true, false) => "as in the manifest, not proven by the server",
            (false, true) => "proven by the server",
            (false, false) => "not proven by the server",
        }
        .to_owned()
            + &file
                .conversion
                .as_ref()
                .map_or(String::new(), |conversion| format!(", was {}", conversion.from))
            + &file
                .written
                .as_ref()
                .map_or(String::new(), |written| format!(", written as {}", written.format)),
    ]
}

/// Digests by algorithm, in full.
pub(crate) fn digests(digests: &[Digest]) -> Value {
    let named = |digest: &Digest| (digest.algorithm().label().to_owned(), json!(digest.hex()));
    Value::Object(digests.iter().map(named).collect())
}

/// The beginning of a digest, enough to compare by eye.
pub(crate) fn short(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{}:{}…", digest.algorithm().label(), hex.get(..SHORT_DIGITS).unwrap_or(&hex))
}

/// Whole milliseconds, as JSON has them.
pub(crate) fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// Hex digits of a shortened digest: chance does not make 48 bits agree.
const SHORT_DIGITS: usize = 12;
