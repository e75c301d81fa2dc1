//! A session with a vCenter or an ESXi host.

use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderValue;

use crate::connection::{Call, Connection};
use crate::endpoint::Endpoint;
use crate::error::VimError;
use crate::lease::{DeviceUrl, LeaseId};
use crate::property::{self, Properties};
use crate::secret::Secret;
use crate::tls::Trust;
use crate::transport::Transport;
use crate::updates::{LeaseWatch, Updates};
use crate::value::{MoRef, Value};

/// A session with a vCenter or an ESXi host.  Cheap to clone: all clones are the same session.
///
/// A lost session loses its leases: no other session can drive them (`protocol` section 3.6).
/// Dropping the last clone does not log out; call [`logout`](Self::logout).
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Arc<Connection>,
    content: ServiceContent,
    updates: Updates,
}

/// What the server is (`AboutInfo`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct About {
    /// `VirtualCenter` or `HostAgent`.
    pub api_type: String,
    /// Version of the API, such as `8.0.3.0`.
    pub api_version: String,
    /// Build number.
    pub build: String,
    /// Name with version and build.
    pub full_name: String,
    /// Identifies a vCenter; ESXi has none.
    pub instance_uuid: Option<String>,
    /// Version of the product, such as `8.0.3`.
    pub version: String,
}

impl About {
    /// Whether it is an ESXi host, not a vCenter.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.api_type == "HostAgent"
    }

    fn from_value(value: Option<&Value>) -> Self {
        let text = |name| value.and_then(|about| about.text_of(name)).unwrap_or_default();
        Self {
            api_type: text("apiType"),
            api_version: text("apiVersion"),
            build: text("build"),
            full_name: text("fullName"),
            instance_uuid: Some(text("instanceUuid")).filter(|uuid| !uuid.is_empty()),
            version: text("version"),
        }
    }
}

/// The singletons that everything starts from (`ServiceContent`).
#[derive(Clone, Debug)]
pub(crate) struct ServiceContent {
    pub(crate) about: About,
    pub(crate) ovf_manager: Option<MoRef>,
    pub(crate) property_collector: MoRef,
    pub(crate) root_folder: MoRef,
    pub(crate) session_manager: MoRef,
}

impl ServiceContent {
    fn from_value(value: &Value) -> Option<Self> {
        Some(Self {
            about: About::from_value(value.field("about")),
            ovf_manager: value.moref_of("ovfManager"),
            property_collector: value.moref_of("propertyCollector")?,
            root_folder: value.moref_of("rootFolder")?,
            session_manager: value.moref_of("sessionManager")?,
        })
    }
}

impl Session {
    /// Finds out what the server is.  Nobody is logged in yet.
    ///
    /// # Errors
    ///
    /// [`VimError::Transport`] if it cannot be reached or is not trusted, [`VimError::Protocol`] or
    /// [`VimError::Status`] if it is not a vSphere server.
    pub async fn connect(
        transport: Arc<dyn Transport>,
        endpoint: Endpoint,
        trust: Trust,
    ) -> Result<Self, VimError> {
        let connection = Arc::new(Connection::new(transport, endpoint, trust));
        // Absent behind some proxies and on simulators; then the server's own word decides below.
        let listed = match connection.file(VERSIONS_PATH).await? {
            (StatusCode::OK, body) => pick_version(&String::from_utf8_lossy(&body)),
            _ => None,
        };
        if let Some(version) = &listed {
            connection.set_version(version);
        }
        let service = MoRef::new("ServiceInstance", "ServiceInstance");
        let content = connection.call_one(Call::new(&service, RETRIEVE_CONTENT)).await?;
        let content = content.as_ref().and_then(ServiceContent::from_value).ok_or_else(|| {
            connection.protocol(RETRIEVE_CONTENT, "the answer is not a vSphere server's")
        })?;
        if listed.is_none()
            && let Some(version) = best_version([content.about.api_version.as_str()].into_iter())
        {
            connection.set_version(&version);
        }
        tracing::debug!(
            server = content.about.full_name,
            version = connection.version(),
            "connected"
        );
        let parent = content.property_collector.clone();
        let updates = Updates::new(Arc::clone(&connection), parent);
        Ok(Self { inner: Arc::new(Inner { connection, content, updates }) })
    }

    /// Logs in.
    ///
    /// # Errors
    ///
    /// The fault `InvalidLogin` for a wrong user or password, `NoPermission` for a user who may not
    /// log in.
    pub async fn login(&self, user: &str, password: &Secret) -> Result<(), VimError> {
        let call = Call::new(&self.content().session_manager, "Login")
            .with("userName", user)
            .with("password", password.clone())
            .with("locale", LOCALE);
        self.connection().call(call).await?;
        Ok(())
    }

    /// Logs out.  Ends every watch; the server ends the leases of the session by their time-out.
    ///
    /// # Errors
    ///
    /// Any, but never because the session had already ended.
    pub async fn logout(&self) -> Result<(), VimError> {
        self.inner.updates.stop();
        let call = Call::new(&self.content().session_manager, "Logout");
        let outcome = self.connection().call(call).await;
        self.connection().forget_cookie();
        match outcome {
            Ok(_) | Err(VimError::SessionLost { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What the server is.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.content().about
    }

    /// The API host.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.connection().endpoint()
    }

    /// The schema version that our calls name, such as `8.0.3.0`.
    #[must_use]
    pub fn version(&self) -> String {
        self.connection().version()
    }

    /// The `Cookie` header for a request to a device, if the device is served by the API host
    /// itself; no other host may see it.
    #[must_use]
    pub fn cookie_for(&self, device: &DeviceUrl) -> Option<HeaderValue> {
        if device.is_at(self.endpoint()) { self.connection().cookie() } else { None }
    }

    /// The server's clock, as it prints it (RFC 3339).  Any call keeps an idle session alive; this
    /// one does nothing else.
    ///
    /// # Errors
    ///
    /// [`VimError::SessionLost`] if the session has ended.
    pub async fn current_time(&self) -> Result<String, VimError> {
        const METHOD: &str = "CurrentTime";
        let service = MoRef::new("ServiceInstance", "ServiceInstance");
        let time = self.connection().call_one(Call::new(&service, METHOD)).await?;
        time.as_ref()
            .and_then(Value::text)
            .map(|text| text.into_owned())
            .ok_or_else(|| self.connection().protocol(METHOD, "the answer has no time"))
    }

    /// Makes a call that has no function of its own here.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn call(&self, call: Call) -> Result<Vec<Value>, VimError> {
        self.connection().call(call).await
    }

    /// Reads properties of one object.
    ///
    /// # Errors
    ///
    /// The faults `InvalidProperty` and `ManagedObjectNotFound`, among others.
    pub async fn read(&self, object: &MoRef, paths: &[&str]) -> Result<Properties, VimError> {
        property::read(self.connection(), &self.content().property_collector, object, paths).await
    }

    /// Reads properties of every object that the property `edge` of `parent` refers to; `kind` is
    /// the type that declares `edge`.
    ///
    /// # Errors
    ///
    /// Any.
    pub(crate) async fn read_children(
        &self,
        parent: &MoRef,
        kind: &str,
        edge: &str,
        paths: &[&str],
    ) -> Result<Vec<Properties>, VimError> {
        let collector = &self.content().property_collector;
        property::read_children(self.connection(), collector, parent, kind, edge, paths).await
    }

    /// Follows the state of a lease.  All watches of a session share one request to the server.
    ///
    /// # Errors
    ///
    /// [`VimError::LeaseGone`] if there is no such lease.
    pub async fn watch_lease(&self, lease: &LeaseId) -> Result<LeaseWatch, VimError> {
        self.inner.updates.watch(lease).await
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    pub(crate) fn content(&self) -> &ServiceContent {
        &self.inner.content
    }
}

/// The newest version in a `vimServiceVersions.xml` that we implement.  The file is small and
/// simple, and a mistake in reading it costs nothing but a lower version.
fn pick_version(xml: &str) -> Option<String> {
    let namespace =
        xml.split("<namespace>").find(|part| part.contains("<name>urn:vim25</name>"))?;
    let versions = namespace.split("<version>").skip(1);
    best_version(versions.filter_map(|part| part.split('<').next()))
}

fn best_version<'v>(versions: impl Iterator<Item = &'v str>) -> Option<String> {
    let parsed = versions.filter_map(|version| {
        let version = version.trim();
        let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        Some((numbers?, version))
    });
    // A server that is newer than we are lists older versions too; if not, it takes ours.
    let (numbers, version) = parsed.max_by(|a, b| {
        let rank =
            |numbers: &Vec<u32>| (numbers.as_slice() <= &VERSION_NEWEST[..], numbers.clone());
        rank(&a.0).cmp(&rank(&b.0))
    })?;
    Some(if numbers.as_slice() <= &VERSION_NEWEST[..] {
        version.to_owned()
    } else {
        VERSION_NEWEST.map(|part| part.to_string()).join(".")
    })
}

const RETRIEVE_CONTENT: &str = "RetrieveServiceContent";
const VERSIONS_PATH: &str = "/sdk/vimServiceVersions.xml";
/// The newest schema whose fields we know.  A newer one might add what older servers never sent.
const VERSION_NEWEST: [u32; 4] = [8, 0, 3, 0];
/// Messages of faults come in this language.
const LOCALE: &str = "en_US";

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
