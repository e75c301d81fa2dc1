//! A client of both wires that knows nothing of the types it carries.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ovftransfer_simulator::Simulator;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{self, CryptoProvider};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// A connection to the API, or to a host, that takes one request after the other.
pub(crate) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    headers: Vec<(&'static str, String)>,
    _driver: JoinSet<Result<(), hyper::Error>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is empty.
    pub(crate) fn value(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Client {
    /// Connects to `host:port`.
    pub(crate) async fn connect(authority: &str) -> Self {
        let stream = tls(authority.parse().unwrap()).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Self { sender, headers: Vec::new(), _driver: driver }
    }

    /// Connects to the API and logs in over VI JSON.
    pub(crate) async fn log_in(simulator: &Simulator) -> Self {
        let mut client = Self::connect(simulator.url().strip_prefix("https://").unwrap()).await;
        let user = json!({ "userName": simulator.username(), "password": simulator.password() });
        let path = "/sdk/vim25/8.0.3.0/SessionManager/SessionManager/Login";
        let answer = client.send("POST", path, user.to_string()).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let token = answer.headers["vmware-api-session-id"].to_str().unwrap().to_owned();
        client.headers.push(("vmware-api-session-id", token));
        client
    }

    /// Sends `header` with every request from now on.
    pub(crate) fn keep_header(&mut self, name: &'static str, value: &str) {
        self.headers.push((name, value.to_owned()));
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, hyper::Error> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(method).uri(path).header("Host", "host");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// A method over VI JSON; the fault if it fails.
    pub(crate) async fn call(
        &mut self,
        this: &Value,
        method: &str,
        arguments: &Value,
    ) -> Result<Value, Value> {
        let path = format!("/sdk/vim25/8.0.3.0/{}/{method}", object(this));
        let answer = self.send("POST", &path, arguments.to_string()).await.unwrap();
        match answer.status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(answer.value()),
            StatusCode::INTERNAL_SERVER_ERROR => Err(answer.value()),
            other => panic!("{path}: {other} {}", answer.text()),
        }
    }

    /// A property over VI JSON.
    pub(crate) async fn property(&mut self, this: &Value, name: &str) -> Value {
        let path = format!("/sdk/vim25/8.0.3.0/{}/{name}", object(this));
        let answer = self.send("GET", &path, "").await.unwrap();
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        answer.value()
    }

    /// The object with an inventory path.
    pub(crate) async fn find(&mut self, path: &str) -> Value {
        let index = moref("SearchIndex", "SearchIndex");
        let path = json!({ "inventoryPath": path });
        self.call(&index, "FindByInventoryPath", &path).await.unwrap()
    }
}

/// A reference as VI JSON writes it.
pub(crate) fn moref(kind: &str, id: &str) -> Value {
    json!({ "_typeName": "ManagedObjectReference", "type": kind, "value": id })
}

fn object(this: &Value) -> String {
    format!("{}/{}", this["type"].as_str().unwrap(), this["value"].as_str().unwrap())
}

/// Connects; the certificate is not what these tests are about.
pub(crate) async fn tls(address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(address.ip().into(), stream).await
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
