//! A session with a vCenter or an ESXi host.

use std::sync::Arc;

use http::header::HeaderValue;
use tokio::sync::watch;

use crate::connection::{Call, Codec, Connection, VERSION_OLDEST};
use crate::endpoint::Endpoint;
use crate::error::{CONNECTING, VimError};
use crate::lease::{DeviceUrl, LeaseId};
use crate::negotiation::{self, Wire};
use crate::property::{self, Properties};
use crate::secret::Secret;
use crate::tls::Trust;
use crate::transport::Transport;
use crate::updates::{LeaseWatch, Updates, Watch};
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
    /// Told at each logout.
    logouts: watch::Sender<()>,
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
    /// All of it, for the singletons that only few calls need.
    pub(crate) singletons: Value,
}

impl ServiceContent {
    fn from_value(value: &Value) -> Option<Self> {
        Some(Self {
            about: About::from_value(value.field("about")),
            ovf_manager: value.moref_of("ovfManager"),
            property_collector: value.moref_of("propertyCollector")?,
            root_folder: value.moref_of("rootFolder")?,
            session_manager: value.moref_of("sessionManager")?,
            singletons: value.clone(),
        })
    }
}

impl Session {
    /// Finds out what the server is, and agrees on a wire: [`Wire::Auto`].  Nobody is logged in
    /// yet.
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
        Self::connect_with(transport, endpoint, trust, Wire::Auto).await
    }

    /// Finds out what the server is, over the wire `wire`.  Nobody is logged in yet.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect); [`VimError::Protocol`] if the server does not have
    /// the wire that was asked for.
    pub async fn connect_with(
        transport: Arc<dyn Transport>,
        endpoint: Endpoint,
        trust: Trust,
        wire: Wire,
    ) -> Result<Self, VimError> {
        let connection = Arc::new(Connection::new(transport, endpoint, trust));
        let content = greet(&connection, wire).await.map_err(unreached)?;
        tracing::debug!(
            server = content.about.full_name,
            wire = ?connection.codec(),
            version = connection.version(),
            "connected"
        );
        let parent = content.property_collector.clone();
        let updates = Updates::new(Arc::clone(&connection), parent);
        let logouts = watch::Sender::new(());
        Ok(Self { inner: Arc::new(Inner { connection, content, updates, logouts }) })
    }

    /// Logs in.
    ///
    /// API: `SessionManager.Login`, since 2.0.
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
    /// API: `SessionManager.Logout`, since 2.0.
    ///
    /// # Errors
    ///
    /// Any, but never because the session had already ended.
    pub async fn logout(&self) -> Result<(), VimError> {
        self.inner.updates.stop();
        self.inner.logouts.send_replace(());
        let call = Call::new(&self.content().session_manager, "Logout");
        let outcome = self.connection().call(call).await;
        self.connection().forget_session();
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

    /// The wire that was agreed on: [`Wire::Json`] or [`Wire::Soap`].
    #[must_use]
    pub fn wire(&self) -> Wire {
        match self.connection().codec() {
            Codec::Json => Wire::Json,
            Codec::Soap => Wire::Soap,
        }
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
    /// API: `ServiceInstance.CurrentTime`, since 2.0.
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
    /// API: `PropertyCollector.RetrievePropertiesEx`, since 4.1.
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
    /// API: `PropertyCollector.WaitForUpdatesEx`, since 4.1, on a collector of its own.
    ///
    /// # Errors
    ///
    /// [`VimError::LeaseGone`] if there is no such lease.
    pub async fn watch_lease(&self, lease: &LeaseId) -> Result<LeaseWatch, VimError> {
        let watch = self.inner.updates.watch(lease.moref()).await?;
        Ok(LeaseWatch::new(lease, watch))
    }

    /// Whether watches of leases and tasks ask the server again and again, five times a second at
    /// first and every two seconds later, because it cannot tell of changes.  Known once something
    /// has been watched.
    #[must_use]
    pub fn is_polling(&self) -> bool {
        self.inner.updates.is_polling()
    }

    /// Follows a task.
    pub(crate) async fn watch_object(&self, object: &MoRef) -> Result<Watch, VimError> {
        self.inner.updates.watch(object).await
    }

    /// Ends at the next logout.
    pub(crate) fn logged_out(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut logouts = self.inner.logouts.subscribe();
        async move {
            // An error means that nobody has the session any more.
            let _told = logouts.changed().await;
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    pub(crate) fn content(&self) -> &ServiceContent {
        &self.inner.content
    }
}

/// A server that does not answer the first question is told as such.
fn unreached(mut error: VimError) -> VimError {
    if let VimError::TimedOut { call, .. } | VimError::Transport { call, .. } = &mut error {
        CONNECTING.clone_into(call);
    }
    error
}

/// Agrees with the server on a wire and a schema version, and asks what it is.
async fn greet(connection: &Connection, wire: Wire) -> Result<ServiceContent, VimError> {
    let offer = negotiation::ask(connection, wire).await?;
    if let Some(release) = &offer.json {
        connection.agree_on(Codec::Json, release);
        match (content(connection).await, wire) {
            (Ok(content), Wire::Auto) if content.about.is_host() => {}
            // What answered is no VI JSON: behind some gateways only SOAP gets through.
            (Err(VimError::Protocol { .. } | VimError::Status { .. }), Wire::Auto) => {}
            (content, _) => return content,
        }
    }
    let listed = match offer.soap {
        Some(listed) => listed,
        None => negotiation::listed(connection).await?,
    };
    connection.agree_on(Codec::Soap, listed.version().unwrap_or(VERSION_OLDEST));
    let content = content(connection).await?;
    if listed.version().is_none()
        && let Some(version) = negotiation::best_version([content.about.api_version.as_str()])
    {
        connection.agree_on(Codec::Soap, &version);
    }
    Ok(content)
}

async fn content(connection: &Connection) -> Result<ServiceContent, VimError> {
    let service = MoRef::new("ServiceInstance", "ServiceInstance");
    let content = connection.call_one(Call::new(&service, RETRIEVE_CONTENT)).await?;
    content.as_ref().and_then(ServiceContent::from_value).ok_or_else(|| {
        connection.protocol(RETRIEVE_CONTENT, "the answer is not a vSphere server's")
    })
}

const RETRIEVE_CONTENT: &str = "RetrieveServiceContent";
/// Messages of faults come in this language.
const LOCALE: &str = "en_US";
