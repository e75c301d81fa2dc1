//! The real [`Transport`]: HTTP/1.1 over rustls.
//!
//! The traps of the HTTP library are answered here and nowhere else: no read time-out (it would
//! end every long upload), no redirects, no retries, no cookies, no decompression.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{StreamExt, TryStreamExt};
use reqwest::redirect::Policy;

use crate::tls::{self, Refused, Trust};
use crate::transport::{Body, ByteStream, Transport, TransportError};

/// Sends requests over TCP and TLS.
///
/// Connections are kept and reused per trust.  A proxy named in the environment (`HTTPS_PROXY`,
/// `NO_PROXY`) is used, but never for the machine itself.
#[derive(Default)]
pub struct HttpTransport {
    /// Most recently used last.
    clients: Mutex<Vec<(Key, reqwest::Client)>>,
}

#[derive(Clone, PartialEq)]
struct Key {
    trust: Trust,
    loopback: bool,
}

impl HttpTransport {
    /// A transport without connections yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn client(&self, key: &Key) -> Result<reqwest::Client, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match clients.iter().position(|(known, _)| known == key) {
            Some(at) => clients.remove(at),
            None => (key.clone(), build(key)?),
        };
        let client = entry.1.clone();
        clients.push(entry);
        if clients.len() > CLIENTS_MAX {
            clients.remove(0);
        }
        Ok(client)
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpTransport")
    }
}

impl Transport for HttpTransport {
    fn send(
        &self,
        request: http::Request<Body>,
        trust: &Trust,
    ) -> BoxFuture<'_, Result<http::Response<ByteStream>, TransportError>> {
        let host = host_of(request.uri());
        let loopback = is_loopback(request.uri().host().unwrap_or_default());
        let key = Key { trust: trust.clone(), loopback };
        Box::pin(async move {
            let invalid = |reason| TransportError::Invalid { host: host.clone(), reason };
            let client = self.client(&key).map_err(invalid)?;
            let request = translate(request).map_err(invalid)?;
            match client.execute(request).await {
                Ok(response) => Ok(answer(response)),
                Err(error) => Err(classify(host, &error)),
            }
        })
    }
}

fn build(key: &Key) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_config(&key.trust)?)
        .http1_only()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .tcp_keepalive(TCP_KEEPALIVE);
    if key.loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|e| chain(&e))
}

fn translate(request: http::Request<Body>) -> Result<reqwest::Request, String> {
    let (parts, body) = request.into_parts();
    let body = match body {
        Body::Empty => reqwest::Body::from(Bytes::new()),
        Body::Full(bytes) => reqwest::Body::from(bytes),
        Body::Stream { len_bytes, stream } => {
            let mut request = http::Request::from_parts(parts, sized(len_bytes, stream));
            request.headers_mut().insert(http::header::CONTENT_LENGTH, len_bytes.into());
            return request.try_into().map_err(|e: reqwest::Error| chain(&e.without_url()));
        }
    };
    let request = http::Request::from_parts(parts, body);
    request.try_into().map_err(|e: reqwest::Error| chain(&e.without_url()))
}

/// The stream, with an error in place of a byte too many or too few: the peer then sees a broken
/// connection, never a body that looks whole.
fn sized(len_bytes: u64, stream: ByteStream) -> reqwest::Body {
    let ends = futures::stream::once(async { Ok::<_, io::Error>(None) });
    let checked = stream.map_ok(Some).chain(ends).scan(len_bytes, |left_bytes, chunk| {
        let checked = match chunk {
            Ok(Some(chunk)) => match left_bytes.checked_sub(chunk.len() as u64) {
                Some(left) => {
                    *left_bytes = left;
                    Ok(chunk)
                }
                None => Err(io::Error::other("the body is longer than announced")),
            },
            Ok(None) if *left_bytes == 0 => Ok(Bytes::new()),
            Ok(None) => {
                let reason = format!("the body ended {left_bytes} bytes too early");
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason))
            }
            Err(error) => Err(error),
        };
        std::future::ready(Some(checked))
    });
    reqwest::Body::wrap_stream(checked)
}

fn answer(response: reqwest::Response) -> http::Response<ByteStream> {
    let mut head = http::Response::new(());
    *head.status_mut() = response.status();
    *head.version_mut() = response.version();
    *head.headers_mut() = response.headers().clone();
    let body = response.bytes_stream().map_err(|e| body_error(&e)).boxed();
    head.map(|()| body)
}

/// An error in the middle of a body, with the kind the socket gave it; a body that ended too early
/// is [`io::ErrorKind::UnexpectedEof`].
fn body_error(error: &reqwest::Error) -> io::Error {
    let kind = causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind)
        .last()
        .unwrap_or(io::ErrorKind::ConnectionAborted);
    io::Error::new(kind, chain(error))
}

fn classify(host: String, error: &reqwest::Error) -> TransportError {
    if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        return tls_error(host, tls);
    }
    let reason = chain(error);
    if error.is_connect() {
        TransportError::Connect { host, reason }
    } else if error.is_builder() {
        TransportError::Invalid { host, reason }
    } else {
        TransportError::Broken { host, reason }
    }
}

fn tls_error(host: String, error: &rustls::Error) -> TransportError {
    if let rustls::Error::InvalidCertificate(tls_cause) = error
        && let rustls::CertificateError::Other(other) = tls_cause
        && let Some(refused) = other.0.downcast_ref::<Refused>()
    {
        let presented = Some(refused.presented.to_string());
        return TransportError::Tls { host, reason: refused.reason.clone(), presented };
    }
    if matches!(error, rustls::Error::InvalidMessage(_)) {
        // Another protocol, such as HTTP: not a question of trust.
        return TransportError::Connect {
            host,
            reason: "what answers does not speak TLS".to_owned(),
        };
    }
    TransportError::Tls { host, reason: error.to_string(), presented: None }
}

/// Every cause below `error`, outermost first.  `io::Error` hides what it carries from `source`.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let below = |error: &'e (dyn Error + 'static)| -> Option<&'e (dyn Error + 'static)> {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    };
    std::iter::successors(below(error), move |error| below(*error)).take(CAUSES_MAX)
}

/// The causes as one line.  The outermost error is left out: it prints the URL.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // Many layers repeat the one below.
        if !text.is_empty() && !line.ends_with(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
    }
    if line.is_empty() { "no reason given".to_owned() } else { line }
}

/// `name:port` of a URL; never its path.
fn host_of(uri: &http::Uri) -> String {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    format!("{}:{port}", uri.host().unwrap_or("-"))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Promised by the trait's contract.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// A host that vanished without a word is noticed in minutes although no read limit is set.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Different trusts at a time: one for the API and one for every host of a large lease.
const CLIENTS_MAX: usize = 64;
/// Causes have a handful of layers; the bound only ends a cycle.
const CAUSES_MAX: usize = 16;
const USER_AGENT: &str = concat!("ovftransfer/", env!("CARGO_PKG_VERSION"));
