//! The real transport against real sockets: what the HTTP and TLS libraries do, not what they say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::Request;
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::tls::{Thumbprint, ThumbprintAlgorithm};
use ovftransfer_vim::transport::{Body, Transport, TransportError};
use ovftransfer_vim::{Trust, VimError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion, version};

/// Answers one request with `answer` and returns what was received.
fn plain(answer: &'static str) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let asked = request(&mut socket);
        socket.write_all(answer.as_bytes()).unwrap();
        asked
    });
    (port, server)
}

/// Reads a request until its announced end, the end of the connection, or silence.
fn request(socket: &mut TcpStream) -> Vec<u8> {
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut asked = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&asked).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).unwrap_or("0");
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            if body.len() >= length {
                return asked;
            }
        }
        match socket.read(&mut piece) {
            Ok(0) | Err(_) => return asked,
            Ok(read) => asked.extend_from_slice(&piece[..read]),
        }
    }
}

fn upload(port: u16, len_bytes: u64, chunks: &[&'static [u8]]) -> Request<Body> {
    let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
    let stream = futures::stream::iter(chunks).boxed();
    Request::post(format!("http://127.0.0.1:{port}/nfc/TICKET/disk-0.vmdk"))
        .body(Body::Stream { len_bytes, stream })
        .unwrap()
}

async fn body_of(port: u16) -> io::Result<Vec<u8>> {
    let get = Request::get(format!("http://127.0.0.1:{port}/")).body(Body::Empty).unwrap();
    let response = HttpTransport::new().send(get, &Trust::System).await.unwrap();
    let chunks: Vec<Bytes> = response.into_body().try_collect().await?;
    Ok(chunks.concat())
}

#[tokio::test]
async fn uploads_have_their_exact_length() {
    let (port, server) = plain("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    let transport = HttpTransport::new();
    let sent = transport.send(upload(port, 6, &[b"abc", b"", b"def"]), &Trust::System);
    assert_eq!(sent.await.unwrap().status(), 201);
    let asked = String::from_utf8(server.join().unwrap()).unwrap().to_lowercase();
    assert!(asked.starts_with("post /nfc/ticket/disk-0.vmdk http/1.1\r\n"), "{asked}");
    assert!(
        asked.contains("content-length: 6\r\n") && asked.ends_with("\r\n\r\nabcdef"),
        "{asked}"
    );
    for never in ["chunked", "accept-encoding", "cookie", "authorization", "referer"] {
        assert!(!asked.contains(never), "{never} in {asked}");
    }
}

#[tokio::test]
async fn bodies_of_another_length_break_the_connection() {
    for (len_bytes, chunks) in [(7, [&b"abc"[..], b"def"]), (5, [b"abc", b"def"])] {
        let (port, server) = plain("");
        let transport = HttpTransport::new();
        let sent = transport.send(upload(port, len_bytes, &chunks), &Trust::System);
        let error = sent.await.map(|response| response.status()).unwrap_err();
        assert!(matches!(error, TransportError::Broken { .. }), "{error:?}");
        assert!(error.to_string().contains("body"), "{error}");
        assert!(!error.to_string().contains("TICKET"), "{error}");
        let asked = String::from_utf8(server.join().unwrap()).unwrap();
        assert!(!asked.ends_with("abcdef\r\n") && !asked.ends_with("abcde"), "{asked}");
    }
}

#[tokio::test]
async fn cut_answers_are_unexpected_ends() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ] {
        let (port, server) = plain(answer);
        let error = body_of(port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{answer}: {error}");
        server.join().unwrap();
    }
    let (port, _) = plain("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(body_of(port).await.unwrap(), b"abc");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (port, _) =
        plain("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    let get = Request::get(format!("http://127.0.0.1:{port}/")).body(Body::Empty).unwrap();
    let response = HttpTransport::new().send(get, &Trust::System).await.unwrap();
    assert_eq!(response.status(), 302);
}

#[tokio::test]
async fn failures_name_the_host_and_never_the_path() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = HttpTransport::new().send(upload(port, 0, &[]), &Trust::System).await;
    let Err(TransportError::Connect { host, reason }) = refused.map(|r| r.status()) else {
        panic!()
    };
    assert_eq!(host, format!("127.0.0.1:{port}"));
    assert!(reason.to_lowercase().contains("refused") && !reason.contains("TICKET"), "{reason}");

    let unknown = Request::get("https://host.invalid/TICKET").body(Body::Empty).unwrap();
    let unknown = HttpTransport::new().send(unknown, &Trust::Insecure).await;
    let error = unknown.map(|r| r.status()).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, TransportError::Connect { .. }), "{text}");
    assert!(text.contains("host.invalid:443") && !text.contains("TICKET"), "{text}");

    let (port, _) = plain("no HTTP");
    let broken = HttpTransport::new().send(upload(port, 0, &[]), &Trust::System).await;
    assert!(matches!(broken.map(|r| r.status()), Err(TransportError::Broken { .. })));
}

/// A CA, and a server certificate for `localhost` that it signed.
struct Keys {
    ca_pem: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Keys {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        Self {
            ca_pem: ca.pem(),
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }

    fn ca(&self) -> Trust {
        Trust::CaPem(Arc::from(self.ca_pem.as_bytes()))
    }

    fn pin(&self, algorithm: ThumbprintAlgorithm) -> Trust {
        Trust::Pinned(Thumbprint::of(&self.certificate, algorithm))
    }

    /// Serves one connection.  Returns the bytes of the request that arrived.
    fn serve(&self, versions: &[&'static SupportedProtocolVersion]) -> (u16, JoinHandle<usize>) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let connection = ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket);
            let read = stream.read(&mut [0; 4096]).unwrap_or(0);
            if read > 0 {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            }
            read
        });
        (port, server)
    }
}

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

async fn get(host: &str, port: u16, trust: &Trust) -> Result<u16, TransportError> {
    let get = Request::get(format!("https://{host}:{port}/")).body(Body::Empty).unwrap();
    Ok(HttpTransport::new().send(get, trust).await?.status().as_u16())
}

#[tokio::test]
async fn who_is_trusted_is_trusted() {
    let keys = Keys::new();
    for versions in [&BOTH[..], &BOTH[..1], &BOTH[1..]] {
        for trust in [
            keys.ca(),
            keys.pin(ThumbprintAlgorithm::Sha1),
            keys.pin(ThumbprintAlgorithm::Sha256),
            Trust::Insecure,
        ] {
            let (port, server) = keys.serve(versions);
            assert_eq!(get("localhost", port, &trust).await.unwrap(), 204, "{trust:?}");
            assert!(server.join().unwrap() > 0);
        }
    }
    // A pin does not look at the name.
    let (port, _) = keys.serve(&BOTH);
    let pin = keys.pin(ThumbprintAlgorithm::Sha256);
    assert_eq!(get("127.0.0.1", port, &pin).await.unwrap(), 204);
}

#[tokio::test]
async fn who_is_not_trusted_gets_no_byte() {
    let (keys, others) = (Keys::new(), Keys::new());
    let presented = Thumbprint::of(&keys.certificate, ThumbprintAlgorithm::Sha256).to_string();
    for (host, trust) in [
        ("localhost", Trust::System),
        ("localhost", others.ca()),
        ("localhost", others.pin(ThumbprintAlgorithm::Sha1)),
        ("localhost", others.pin(ThumbprintAlgorithm::Sha256)),
        ("127.0.0.1", keys.ca()),
    ] {
        let (port, server) = keys.serve(&BOTH);
        let error = get(host, port, &trust).await.unwrap_err();
        let TransportError::Tls { presented: shown, .. } = &error else { panic!("{error:?}") };
        assert_eq!(shown.as_deref(), Some(presented.as_str()), "{trust:?}");
        assert_eq!(server.join().unwrap(), 0, "{trust:?}");
        let error = VimError::Transport { host: host.into(), call: "Login".into(), source: error };
        assert_eq!(error.kind(), ovftransfer_vim::ErrorKind::Tls);
    }
}

/// Somebody who has the certificate but not its key is refused, pinned or not.
#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    let (keys, thief) = (Keys::new(), Keys::new());
    let stolen =
        Keys { ca_pem: String::new(), certificate: keys.certificate.clone(), key: thief.key };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let signing = provider.key_provider.load_private_key(stolen.key.clone_key()).unwrap();
    for versions in [&BOTH[..1], &BOTH[1..]] {
        let certified =
            rustls::sign::CertifiedKey::new(vec![stolen.certificate.clone()], Arc::clone(&signing));
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let connection = ServerConnection::new(Arc::new(config)).unwrap();
            rustls::StreamOwned::new(connection, socket).read(&mut [0; 4096]).unwrap_or(0)
        });
        let pin = keys.pin(ThumbprintAlgorithm::Sha256);
        let error = get("localhost", port, &pin).await.unwrap_err();
        assert!(matches!(error, TransportError::Tls { .. }), "{error:?}");
        assert_eq!(server.join().unwrap(), 0);
    }
}
