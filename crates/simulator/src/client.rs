//! A small HTTP client for tests: one connection, nothing hidden.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;

use crate::tls::Identity;

/// Connects and checks that the server shows `identity`.
pub(crate) async fn connect(
    address: SocketAddr,
    identity: &Identity,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(identity.certificate_der().clone()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(address.ip().into(), stream).await
}

/// A connection that requests can be sent on, one after the other.
pub(crate) struct Client {
    sender: http1::SendRequest<BoxBody<Bytes, io::Error>>,
    _driver: JoinSet<Result<(), hyper::Error>>,
}

impl Client {
    pub(crate) async fn open(address: SocketAddr, identity: &Identity) -> Self {
        let stream = connect(address, identity).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Self { sender, _driver: driver }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Response<Incoming>, hyper::Error> {
        let body = Empty::new().map_err(|never| match never {}).boxed();
        self.send("GET", path, body).await
    }

    /// Sends `content` with its length.
    pub(crate) async fn put(
        &mut self,
        method: &str,
        path: &str,
        content: impl Into<Bytes>,
    ) -> Result<StatusCode, hyper::Error> {
        let body = Full::new(content.into()).map_err(|never| match never {}).boxed();
        let response = self.send(method, path, body).await?;
        let status = response.status();
        response.into_body().collect().await?;
        Ok(status)
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: BoxBody<Bytes, io::Error>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(method).uri(path).header("Host", "host");
        if method == "PUT" {
            request = request.header("Overwrite", "t");
        }
        let request = request.body(body).unwrap();
        self.sender.send_request(request).await
    }
}

/// Sends `text` as it is and returns everything that comes back, until the end or an error.
pub(crate) async fn raw(address: SocketAddr, identity: &Identity, text: &str) -> String {
    let mut stream = connect(address, identity).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer).await;
    let ended = ended.map(|_| "").unwrap_or("<broken>");
    format!("{}{ended}", String::from_utf8_lossy(&answer))
}
