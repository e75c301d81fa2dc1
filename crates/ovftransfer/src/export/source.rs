//! Whether what is exported is still what it was.

use std::fmt::Write;

use ovftransfer_vim::Session;
use ovftransfer_vim::VimError;
use ovftransfer_vim::value::MoRef;
use ovftransfer_vim::value::Value;

use super::subject::Subject;
use crate::journal::history::sha256_of;
use crate::server::Server;

/// What tells the present content of the disks from every other; `None` if nothing does.
///
/// - The disks of a snapshot never change: its reference is enough.
/// - Those of a machine that is off change only with a start, with its configuration, or under the
///   hands of somebody who has its files.  The configuration has a version and a date
///   (`config.changeVersion`, `config.modified`); a start leaves a log of its own, so names and sizes
///   of all its files count (`layoutEx.file`), and so do the ids of changed block tracking.
///
/// It is asked for while a lease holds the machine, so that it cannot change afterwards.
pub(super) async fn identity(
    server: &Server,
    subject: &Subject,
    snapshot: Option<&MoRef>,
) -> Option<String> {
    let session = server.session();
    let about = session.about();
    let mut text = about.instance_uuid.clone().unwrap_or_else(|| session.endpoint().to_string());
    if let Some(snapshot) = snapshot {
        let entity = subject.entity();
        return Some(sha256_of(format!("{text}\n{entity}\n{snapshot}").as_bytes()));
    }
    for machine in subject.machines() {
        match state_of(session, &machine.vm).await {
            Ok(state) => text.push_str(&state?),
            Err(error) => {
                tracing::debug!(%error, vm = %machine.vm, "whether it changes cannot be told");
                return None;
            }
        }
    }
    Some(sha256_of(text.as_bytes()))
}

/// Everything that changes when the content of a machine's disks may have changed.
async fn state_of(session: &Session, vm: &MoRef) -> Result<Option<String>, VimError> {
    let read = session.read(vm, &PATHS).await?;
    let Some(version) = read.text(VERSION).filter(|version| !version.is_empty()) else {
        return Ok(None);
    };
    if read.text(POWER).as_deref() != Some("poweredOff") {
        return Ok(None);
    }
    let modified = read.text(MODIFIED).unwrap_or_default();
    let uuid = read.text(UUID).unwrap_or_default();
    let mut text = format!("\n{vm} {uuid}\n{version}\n{modified}\n");
    let mut parts = Vec::new();
    for file in read.value(FILES).into_iter().flat_map(Value::items) {
        let name = file.text_of("name").unwrap_or_default();
        parts.push(format!("{name} {}", file.unsigned_of("size").unwrap_or_default()));
    }
    for device in read.value(DEVICES).into_iter().flat_map(Value::items) {
        let Some(backing) = device.field("backing") else { continue };
        let name = backing.text_of("fileName").unwrap_or_default();
        parts.push(format!("{name} {}", backing.text_of("changeId").unwrap_or_default()));
    }
    parts.sort();
    parts.iter().for_each(|part| {
        // Writing to a text does not fail.
        let _written = writeln!(text, "{part}");
    });
    Ok(Some(text))
}

const VERSION: &str = "config.changeVersion";
const MODIFIED: &str = "config.modified";
const UUID: &str = "config.instanceUuid";
const POWER: &str = "runtime.powerState";
const DEVICES: &str = "config.hardware.device";
const FILES: &str = "layoutEx.file";

const PATHS: [&str; 6] = [VERSION, MODIFIED, UUID, POWER, DEVICES, FILES];
