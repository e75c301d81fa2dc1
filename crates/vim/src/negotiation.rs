//! Which wire, and which version of the schema: `protocol` section 6.2.
//!
//! ```text
//!   Hello ── a release of ours ─────────────────────> VI JSON
//!     └─ absent, or none ──> vimServiceVersions.xml
//!                              ├─ 8.0.1.0 or newer ──> VI JSON, if it answers as a vCenter
//!                              └─ older, or absent ──> SOAP
//! ```

use http::StatusCode;

use crate::connection::Connection;
use crate::error::VimError;
use crate::json;
use crate::value::{Object, Value};

/// What calls and answers travel in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wire {
    /// VI JSON where the server has it, else SOAP.
    #[default]
    Auto,
    /// VI JSON: a vCenter since 8.0.1.0.
    Json,
    /// SOAP: every vCenter, and the only one that ESXi hosts have.
    Soap,
}

/// What a server seems to have.
pub(crate) struct Offer {
    /// The release to speak VI JSON in.
    pub(crate) json: Option<String>,
    /// The version to speak SOAP in; `None` if it has not been asked for.
    pub(crate) soap: Option<Listed>,
}

/// The newest version of `vimServiceVersions.xml` that we implement.  Absent behind some proxies
/// and on simulators.
pub(crate) struct Listed(Option<String>);

impl Listed {
    pub(crate) fn version(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The version, if servers of that version have VI JSON.
    fn json(&self) -> Option<&str> {
        self.version()
            .filter(|version| numbers(version).is_some_and(|n| n.as_slice() >= JSON_SINCE))
    }
}

/// Asks what the server has, as far as `wire` leaves it open.
pub(crate) async fn ask(connection: &Connection, wire: Wire) -> Result<Offer, VimError> {
    if wire == Wire::Soap {
        return Ok(Offer { json: None, soap: None });
    }
    if let Some(release) = hello(connection).await? {
        return Ok(Offer { json: Some(release), soap: None });
    }
    let listed = listed(connection).await?;
    let json = match (listed.json(), listed.version(), wire) {
        (Some(version), _, _) => Some(version.to_owned()),
        (None, Some(version), Wire::Json) => {
            let reason = format!("the server has no VI JSON: its newest version is {version}");
            return Err(connection.protocol(VERSIONS_PATH, &reason));
        }
        // Nothing is known: the oldest release is the one that every server with VI JSON has.
        (None, None, Wire::Json) => Some(text(JSON_SINCE)),
        (None, _, Wire::Auto | Wire::Soap) => None,
    };
    Ok(Offer { json, soap: Some(listed) })
}

/// The release that both sides know; `None` where Hello is absent (it came with 8.0.2.0) or the
/// server knows none of ours.
async fn hello(connection: &Connection) -> Result<Option<String>, VimError> {
    let question = Object::untyped().with_each("api_releases", RELEASES);
    let (status, body) = connection.ask(HELLO_PATH, question).await?;
    if status != StatusCode::OK {
        return Ok(None);
    }
    let reply = json::decode_reply(&body);
    let release = reply.as_ref().and_then(|reply| reply.field("api_release")).and_then(Value::text);
    Ok(release.filter(|r| RELEASES.contains(&r.as_ref())).map(|release| release.into_owned()))
}

/// What `vimServiceVersions.xml` says.
pub(crate) async fn listed(connection: &Connection) -> Result<Listed, VimError> {
    Ok(Listed(match connection.file(VERSIONS_PATH).await? {
        (StatusCode::OK, body) => pick_version(&String::from_utf8_lossy(&body)),
        _ => None,
    }))
}

/// The newest version in a `vimServiceVersions.xml` that we implement.  The file is small and
/// simple, and a mistake in reading it costs nothing but a lower version.
fn pick_version(xml: &str) -> Option<String> {
    let namespace =
        xml.split("<namespace>").find(|part| part.contains("<name>urn:vim25</name>"))?;
    let versions = namespace.split("<version>").skip(1);
    best_version(versions.filter_map(|part| part.split('<').next()))
}

/// The newest of `versions` that we implement.
pub(crate) fn best_version<'v>(versions: impl IntoIterator<Item = &'v str>) -> Option<String> {
    let versions = versions.into_iter().map(str::trim);
    let parsed = versions.filter_map(|version| Some((numbers(version)?, version)));
    // A server that is newer than we are lists older versions too; if not, it takes ours.
    let (numbers, version) = parsed.max_by(|a, b| {
        let rank = |numbers: &Vec<u32>| (numbers.as_slice() <= VERSION_NEWEST, numbers.clone());
        rank(&a.0).cmp(&rank(&b.0))
    })?;
    Some(if numbers.as_slice() <= VERSION_NEWEST {
        version.to_owned()
    } else {
        text(VERSION_NEWEST)
    })
}

fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

fn text(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

const HELLO_PATH: &str = "/api/vcenter/system?action=hello";
const VERSIONS_PATH: &str = "/sdk/vimServiceVersions.xml";
/// The newest schema whose fields we know.  A newer one might add what older servers never sent.
const VERSION_NEWEST: &[u32] = &[8, 0, 3, 0];
/// The first schema with VI JSON.
const JSON_SINCE: &[u32] = &[8, 0, 1, 0];
/// The releases of VI JSON that we implement, best first: a server takes the first that it has.
const RELEASES: [&str; 3] = ["8.0.3.0", "8.0.2.0", "8.0.1.0"];

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(current: &str, prior: &[&str]) -> String {
        let prior: String = prior.iter().map(|v| format!("<version>{v}</version>")).collect();
        format!(
            "<namespaces version=\"1.0\"><namespace><name>urn:vsan</name><version>1.9</version>\
             </namespace><namespace><name>urn:vim25</name><version>{current}</version>\
             <priorVersions>{prior}</priorVersions></namespace></namespaces>"
        )
    }

    #[test]
    fn the_newest_version_that_both_know_is_picked() {
        let pick = |current, prior: &[&str]| pick_version(&versions(current, prior));
        assert_eq!(pick("8.0.3.0", &["6.0", "5.5"]).as_deref(), Some("8.0.3.0"));
        assert_eq!(pick("9.1.0.0", &["9.0.0.0", "8.0.3.0", "7.0"]).as_deref(), Some("8.0.3.0"));
        assert_eq!(pick("9.1.0.0", &["8.0.2.0", "7.0"]).as_deref(), Some("8.0.2.0"));
        assert_eq!(pick("10.0.0.0", &[]).as_deref(), Some("8.0.3.0"));
        assert_eq!(pick("6.7.3", &["6.7"]).as_deref(), Some("6.7.3"));
        assert_eq!(pick("later", &["x"]), None);
        assert_eq!(pick_version("<html>not here</html>"), None);
    }
}
