//! One call to the API: encoded, sent, awaited, decoded, classified.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use http::response::Parts as Head;
use http::{Method, Request, StatusCode};

use crate::endpoint::Endpoint;
use crate::error::VimError;
use crate::fault::{Fault, one_line};
use crate::json;
use crate::secret::redact;
use crate::soap::{self, Answer};
use crate::tls::Trust;
use crate::transport::{Body, Transport, TransportError};
use crate::value::{Field, MoRef, Object, Value};

/// A call of any method of the API, for those that have no function of their own here.
///
/// ```
/// use ovftransfer_vim::{Call, MoRef};
///
/// let vm = MoRef::new("VirtualMachine", "vm-42");
/// let call = Call::new(&vm, "CreateSnapshot_Task")
///     .with("name", "before")
///     .with("memory", false)
///     .with("quiesce", false);
/// assert_eq!(call.method(), "CreateSnapshot_Task");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until a session makes it"]
pub struct Call {
    this: MoRef,
    method: &'static str,
    parameters: Object,
    limit: Duration,
}

impl Call {
    /// A call of `method` (its name in the WSDL) on the object `this`, without parameters.
    pub fn new(this: &MoRef, method: &'static str) -> Self {
        let limit = CALL_LIMIT;
        Self { this: this.clone(), method, parameters: Object::untyped(), limit }
    }

    /// With a parameter.  SOAP wants them in the WSDL's order.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.parameters = self.parameters.with(name, value);
        self
    }

    /// With a parameter, if there is a value.
    pub fn with_some(mut self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        self.parameters = self.parameters.with_some(name, value);
        self
    }

    /// With an array; an empty one is unset.
    pub fn with_each<V: Into<Value>>(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.parameters = self.parameters.with_each(name, values);
        self
    }

    /// With another limit for the wait for an answer, instead of two minutes.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The name of the method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.method
    }
}

/// How calls are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Json,
    Soap,
}

/// The way to the API host: address, trust, codec, schema version and what carries the session.
pub(crate) struct Connection {
    transport: Arc<dyn Transport>,
    endpoint: Endpoint,
    trust: Trust,
    schema: RwLock<Schema>,
    cookie: RwLock<Option<HeaderValue>>,
    /// What carries a session of VI JSON.
    session_id: RwLock<Option<HeaderValue>>,
}

/// What both sides have agreed on.
#[derive(Clone)]
struct Schema {
    codec: Codec,
    version: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("endpoint", &self.endpoint)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(transport: Arc<dyn Transport>, endpoint: Endpoint, trust: Trust) -> Self {
        let schema = Schema { codec: Codec::Soap, version: VERSION_OLDEST.to_owned() };
        Self {
            transport,
            endpoint,
            trust,
            schema: RwLock::new(schema),
            cookie: RwLock::new(None),
            session_id: RwLock::new(None),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn host(&self) -> String {
        self.endpoint.to_string()
    }

    fn schema(&self) -> Schema {
        self.schema.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn codec(&self) -> Codec {
        self.schema().codec
    }

    pub(crate) fn version(&self) -> String {
        self.schema().version
    }

    /// Sets how the following calls are written, and the schema version that they name.
    pub(crate) fn agree_on(&self, codec: Codec, version: &str) {
        let agreed = Schema { codec, version: version.to_owned() };
        *self.schema.write().unwrap_or_else(PoisonError::into_inner) = agreed;
    }

    /// The cookie as the server gave it, quotes included.
    pub(crate) fn cookie(&self) -> Option<HeaderValue> {
        self.cookie.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn session_id(&self) -> Option<HeaderValue> {
        self.session_id.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what carried the session.
    pub(crate) fn forget_session(&self) {
        *self.cookie.write().unwrap_or_else(PoisonError::into_inner) = None;
        *self.session_id.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Makes a call that returns at most one value.
    pub(crate) async fn call_one(&self, call: Call) -> Result<Option<Value>, VimError> {
        Ok(self.call(call).await?.into_iter().next())
    }

    /// Makes a call that returns an object.
    pub(crate) async fn call_moref(&self, call: Call) -> Result<MoRef, VimError> {
        let method = call.method;
        let value = self.call_one(call).await?;
        let moref = value.as_ref().and_then(Value::moref).cloned();
        moref.ok_or_else(|| self.protocol(method, "the answer names no object"))
    }

    /// Makes a call.
    pub(crate) async fn call(&self, call: Call) -> Result<Vec<Value>, VimError> {
        let Call { this, method, parameters, limit } = call;
        let Schema { codec, version } = self.schema();
        let parameters = Value::from(parameters);
        let request = match codec {
            Codec::Json => self.json_request(&this, method, parameters.fields(), &version),
            Codec::Soap => self.soap_request(&this, method, parameters.fields(), &version),
        };
        drop(parameters);
        let request = request.map_err(|reason| VimError::Invalid {
            host: self.host(),
            call: method.to_owned(),
            reason,
        })?;
        let carrier = match codec {
            Codec::Json => request.headers().get(SESSION_HEADER).cloned(),
            Codec::Soap => request.headers().get(COOKIE).cloned(),
        };
        let (head, body) = self.exchange(method, limit, request).await?;
        tracing::debug!(method, object = %this, status = head.status.as_u16(), "called");
        let answer = match codec {
            Codec::Json => self.json_answer(method, &head, &body),
            Codec::Soap => self.soap_answer(method, head.status, &body),
        };
        let Err(mut error) = answer else { return answer };
        // Said by a gateway before the server, about what we gave it.
        if matches!(error, VimError::Status { status: UNAUTHORIZED, .. }) && carrier.is_some() {
            error = self.lost(method);
        }
        if matches!(error, VimError::SessionLost { .. }) {
            self.forget_carrier(codec, carrier.as_ref());
        }
        Err(error)
    }

    fn soap_request(
        &self,
        this: &MoRef,
        method: &str,
        parameters: &[Field],
        version: &str,
    ) -> Result<Request<Body>, String> {
        let envelope = soap::encode(this, method, parameters).map_err(|e| e.to_string())?;
        let mut request = self.request(Method::POST, SDK_PATH, Bytes::from_owner(envelope));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SOAP_TYPE));
        let action = HeaderValue::try_from(format!("urn:vim25/{version}"));
        request.headers_mut().insert("SOAPAction", action.map_err(|e| e.to_string())?);
        Ok(request)
    }

    fn soap_answer(
        &self,
        method: &str,
        status: StatusCode,
        body: &[u8],
    ) -> Result<Vec<Value>, VimError> {
        if !(status.is_success() || status == StatusCode::INTERNAL_SERVER_ERROR) {
            return Err(self.status(method, status, body));
        }
        match soap::decode(body) {
            Ok(Answer::Values(values)) if status.is_success() => Ok(values),
            Ok(Answer::Fault(fault)) => Err(self.refused(method, fault)),
            Err(error) if status.is_success() => Err(self.protocol(method, &error.to_string())),
            Ok(Answer::Values(_)) | Err(_) => Err(self.status(method, status, body)),
        }
    }

    fn json_request(
        &self,
        this: &MoRef,
        method: &str,
        parameters: &[Field],
        version: &str,
    ) -> Result<Request<Body>, String> {
        let path = json::path(this, method, version);
        let path = path.ok_or_else(|| format!("{this} cannot be part of a path"))?;
        let body = Bytes::from_owner(json::encode(parameters));
        let mut request = self.json_post(&path, body);
        if let Some(id) = self.session_id() {
            request.headers_mut().insert(SESSION_HEADER, id);
        }
        Ok(request)
    }

    fn json_post(&self, path: &str, body: Bytes) -> Request<Body> {
        let has_body = !body.is_empty();
        let mut request = self.request(Method::POST, path, body);
        if has_body {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON_TYPE));
        }
        request
    }

    fn json_answer(&self, method: &str, head: &Head, body: &[u8]) -> Result<Vec<Value>, VimError> {
        let status = head.status;
        if status.is_success() {
            let values =
                json::decode(body).map_err(|error| self.protocol(method, &error.to_string()))?;
            self.keep_session_id(&head.headers);
            return Ok(values);
        }
        Err(match json::decode_fault(body) {
            Some(fault) => self.refused(method, fault),
            None => self.status(method, status, body),
        })
    }

    /// A fault as an error.
    pub(crate) fn refused(&self, method: &str, fault: Fault) -> VimError {
        if fault.is("NotAuthenticated") {
            return self.lost(method);
        }
        VimError::Fault { host: self.host(), call: method.to_owned(), fault: Box::new(fault) }
    }

    fn keep_session_id(&self, headers: &HeaderMap) {
        let Some(id) = headers.get(SESSION_HEADER).filter(|id| !id.is_empty()) else { return };
        let mut id = id.clone();
        id.set_sensitive(true);
        *self.session_id.write().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }

    /// Forgets what carried a session that has ended, so that the next login does not name it;
    /// unless there is a new one already.
    fn forget_carrier(&self, codec: Codec, ended: Option<&HeaderValue>) {
        let carrier = match codec {
            Codec::Json => &self.session_id,
            Codec::Soap => &self.cookie,
        };
        let mut known = carrier.write().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() == ended {
            *known = None;
        }
    }

    /// Asks the other JSON API of a vCenter, the one without types and objects.
    pub(crate) async fn ask(
        &self,
        path: &'static str,
        question: Object,
    ) -> Result<(StatusCode, Bytes), VimError> {
        let body = json::encode(Value::from(question).fields());
        let request = self.json_post(path, Bytes::from_owner(body));
        let (head, body) = self.exchange(path, CALL_LIMIT, request).await?;
        Ok((head.status, body))
    }

    /// Fetches a small file of the API host.
    pub(crate) async fn file(&self, path: &'static str) -> Result<(StatusCode, Bytes), VimError> {
        let request = self.request(Method::GET, path, Bytes::new());
        let (head, body) = self.exchange(path, CALL_LIMIT, request).await?;
        Ok((head.status, body))
    }

    pub(crate) fn protocol(&self, call: &str, reason: &str) -> VimError {
        let reason = redact(reason);
        VimError::Protocol { host: self.host(), call: call.to_owned(), reason }
    }

    pub(crate) fn lost(&self, call: &str) -> VimError {
        VimError::SessionLost { host: self.host(), call: call.to_owned() }
    }

    /// The server has not answered for so long.
    pub(crate) fn silent(&self, call: &str, after: Duration) -> VimError {
        VimError::TimedOut { host: self.host(), call: call.to_owned(), after }
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Body> {
        let body = if body.is_empty() { Body::Empty } else { Body::Full(body) };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        // A host that makes no URL is reported by the transport: it cannot connect to "-".
        *request.uri_mut() = format!("https://{}{path}", self.endpoint).parse().unwrap_or_default();
        if let Some(cookie) = self.cookie() {
            request.headers_mut().insert(COOKIE, cookie);
        }
        request
    }

    async fn exchange(
        &self,
        call: &str,
        limit: Duration,
        request: Request<Body>,
    ) -> Result<(Head, Bytes), VimError> {
        let answered = tokio::time::timeout(limit, async {
            let response = self.transport.send(request, &self.trust).await.map_err(|source| {
                VimError::Transport { host: self.host(), call: call.to_owned(), source }
            })?;
            self.keep_cookie(response.headers());
            let (head, mut stream) = response.into_parts();
            let mut body = Vec::new();
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(|error| {
                    let reason = one_line(&redact(&error.to_string()));
                    let source = TransportError::Broken { host: self.host(), reason };
                    VimError::Transport { host: self.host(), call: call.to_owned(), source }
                })?;
                if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                    let reason = format!("the answer is larger than {ANSWER_BYTES_MAX} bytes");
                    return Err(self.protocol(call, &reason));
                }
                body.extend_from_slice(&chunk);
            }
            Ok((head, Bytes::from(body)))
        });
        answered.await.unwrap_or_else(|_| {
            Err(VimError::TimedOut { host: self.host(), call: call.to_owned(), after: limit })
        })
    }

    fn keep_cookie(&self, headers: &HeaderMap) {
        for header in headers.get_all(SET_COOKIE) {
            let pair = header.as_bytes().split(|b| *b == b';').next().unwrap_or_default();
            let pair = pair.trim_ascii();
            let value = pair.strip_prefix(SESSION_COOKIE.as_bytes());
            let Some(value) = value.and_then(|rest| rest.strip_prefix(b"=")) else { continue };
            if value.is_empty() || value == b"\"\"" {
                continue;
            }
            if let Ok(mut cookie) = HeaderValue::from_bytes(pair) {
                cookie.set_sensitive(true);
                *self.cookie.write().unwrap_or_else(PoisonError::into_inner) = Some(cookie);
            }
        }
    }

    fn status(&self, call: &str, status: StatusCode, body: &[u8]) -> VimError {
        // Decoded first, so that the cut never falls inside a character.
        let text = String::from_utf8_lossy(&body[..body.len().min(4 * SNIPPET_CHARS)]);
        let snippet: String = one_line(&redact(&text)).chars().take(SNIPPET_CHARS).collect();
        VimError::Status {
            host: self.host(),
            call: call.to_owned(),
            status: status.as_u16(),
            snippet,
        }
    }
}

/// The name of the cookie that carries a SOAP session.
pub(crate) const SESSION_COOKIE: &str = "vmware_soap_session";
/// The header that carries a VI JSON session.
const SESSION_HEADER: &str = "vmware-api-session-id";
const JSON_TYPE: &str = "application/json";
const SDK_PATH: &str = "/sdk";
const SOAP_TYPE: &str = "text/xml; charset=utf-8";
/// Named until the server's version is known; has everything that the first call reads.
pub(crate) const VERSION_OLDEST: &str = "6.0";
/// Most calls answer in milliseconds; a login against a slow directory may take a minute.
const CALL_LIMIT: Duration = Duration::from_secs(120);
/// Calls that look at the whole descriptor, or make objects before they answer.
pub(crate) const LONG_CALL_LIMIT: Duration = Duration::from_secs(600);
/// Pages of properties and import specs stay below one MiB; a descriptor is a few MiB at most.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// What gateways say of a session that they do not know.
const UNAUTHORIZED: u16 = 401;
/// Enough of an error page to recognise who wrote it.
const SNIPPET_CHARS: usize = 200;
