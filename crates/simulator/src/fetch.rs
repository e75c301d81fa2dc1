//! What a host reads from a web server when it pulls: one GET or HEAD, no redirects, pinned TLS.
//!
//! A host has no store of authorities: the client of the lease says which certificate to expect.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

use crate::disk::hex;
use crate::lock::lock;
use crate::tls::colon_hex;

/// A file on a web server.
pub(crate) struct Remote {
    uri: Uri,
    pin: Pin,
    headers: HeaderMap,
}

/// Which certificate the web server must show.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Pin {
    Certificate(Vec<u8>),
    Nothing,
    /// Lower-case hex without colons, SHA-1 or SHA-256.
    Thumbprint(String),
}

/// Why nothing came from a web server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// It does not answer, or not in HTTP.
    #[error("cannot reach the web server: {0}")]
    Connect(String),
    /// The OVA is none, or has no such member.
    #[error("{0}")]
    Member(String),
    /// It answered with a status that is no success.
    #[error("the web server answered {0}")]
    Status(StatusCode),
    /// It has another certificate than it should.
    #[error("the certificate is another one than it should be")]
    Untrusted {
        /// SHA-1 of the one it has, `AA:BB:…`.
        thumbprint: String,
        /// Whether it is its own issuer.
        is_self_signed: bool,
    },
}

impl Remote {
    /// A file at `url`.  `None` if a part cannot be used: the scheme, a thumbprint, a certificate,
    /// a header.
    pub(crate) fn new(
        url: &str,
        thumbprint: Option<&str>,
        certificate: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Option<Self> {
        let uri: Uri = url.replace(' ', "%20").parse().ok()?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return None;
        }
        let pin = match (thumbprint.filter(|print| !print.is_empty()), certificate) {
            (Some(_), Some(_)) => return None,
            (Some(print), None) => Pin::Thumbprint(thumbprint_hex(print)?),
            (None, Some(pem)) => {
                Pin::Certificate(CertificateDer::from_pem_slice(pem.as_bytes()).ok()?.to_vec())
            }
            (None, None) => Pin::Nothing,
        };
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            all.append(name, HeaderValue::from_str(value).ok()?);
        }
        Some(Self { uri, pin, headers: all })
    }

    /// Size of the file, if the web server says it.
    pub(crate) async fn size_bytes(&self) -> Result<Option<u64>, FetchError> {
        let reading = self.ask(Method::HEAD).await?;
        Ok(reading.len_bytes)
    }

    /// Begins to read the file.
    pub(crate) async fn read(&self) -> Result<Reading, FetchError> {
        self.ask(Method::GET).await
    }

    /// Begins to read the member `name` of the OVA that is here.
    pub(crate) async fn read_member(&self, name: &str) -> Result<Reading, FetchError> {
        let mut reading = self.ask(Method::GET).await?;
        let size_bytes = seek_member(&mut reading, name).await?;
        reading.left = Some(size_bytes);
        reading.len_bytes = Some(size_bytes);
        Ok(reading)
    }

    async fn ask(&self, method: Method) -> Result<Reading, FetchError> {
        let unreachable = |error: &dyn fmt::Display| FetchError::Connect(error.to_string());
        let stream = tokio::time::timeout(CONNECT_DEADLINE, self.connect())
            .await
            .map_err(|_| FetchError::Connect("no answer in time".to_owned()))??;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        // Credentials of the URL are not for the wire.
        let host = authority.rsplit('@').next().unwrap_or_default();
        let mut request = Request::builder().method(method).uri(target).header(HOST, host);
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| unreachable(&error))?;
        let answer = tokio::time::timeout(ANSWER_DEADLINE, sender.send_request(request))
            .await
            .map_err(|_| FetchError::Connect("no answer in time".to_owned()))?
            .map_err(|error| unreachable(&error))?;
        if !answer.status().is_success() {
            // Redirects too: the pin is for this server only.
            return Err(FetchError::Status(answer.status()));
        }
        let length = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let len_bytes = length.and_then(|length| length.parse().ok());
        let body = answer.into_body();
        Ok(Reading { body, held: Bytes::new(), left: None, len_bytes, _driver: driver })
    }

    async fn connect(&self) -> Result<Box<dyn Io>, FetchError> {
        let is_tls = self.uri.scheme_str() == Some("https");
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|error| FetchError::Connect(error.to_string()))?;
        if !is_tls {
            return Ok(Box::new(stream));
        }
        let seen = Arc::new(Mutex::new(None));
        let config = self.tls(Arc::clone(&seen)).map_err(|e| FetchError::Connect(e.to_string()))?;
        let name = ServerName::try_from(host).map_err(|e| FetchError::Connect(e.to_string()))?;
        match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(match lock(&seen).take() {
                Some(certificate) if !self.pin.fits(&certificate) => FetchError::Untrusted {
                    thumbprint: colon_hex(&Sha1::digest(&certificate)),
                    is_self_signed: is_self_signed(&certificate),
                },
                _ => FetchError::Connect(error.to_string()),
            }),
        }
    }

    fn tls(&self, seen: Seen) -> Result<rustls::ClientConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Verifier { pin: self.pin.clone(), provider: Arc::clone(&provider), seen };
        Ok(rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth())
    }
}

/// Without the URL and the headers, which may carry credentials.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A reply that is read.
#[derive(Debug)]
pub(crate) struct Reading {
    body: Incoming,
    /// Bytes that came and were not taken yet.
    held: Bytes,
    /// Bytes until the end; absent: all that comes.
    left: Option<u64>,
    len_bytes: Option<u64>,
    _driver: JoinSet<Result<(), hyper::Error>>,
}

impl Reading {
    /// Length of what is read, if that is known.
    pub(crate) fn len_bytes(&self) -> Option<u64> {
        self.len_bytes
    }

    /// The next bytes; none at the end.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.left == Some(0) {
            return None;
        }
        let mut data = match self.piece().await {
            Some(Ok(data)) => data,
            None if self.left.is_some() => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
            other => return other,
        };
        if let Some(left) = &mut self.left {
            let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
            self.held = data.split_off(taken);
            *left -= taken as u64;
        }
        Some(Ok(data))
    }

    async fn piece(&mut self) -> Option<io::Result<Bytes>> {
        if !self.held.is_empty() {
            return Some(Ok(std::mem::take(&mut self.held)));
        }
        loop {
            let frame = match self.body.frame().await? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(io::Error::other(error))),
            };
            match frame.into_data() {
                Ok(data) if !data.is_empty() => return Some(Ok(data)),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Passes over `len_bytes`, keeping the first `keep` of them.
    async fn take(&mut self, len_bytes: u64, keep: usize) -> Result<Vec<u8>, FetchError> {
        let mut kept = Vec::new();
        let mut left = len_bytes;
        while left > 0 {
            let mut data = match self.piece().await {
                Some(Ok(data)) => data,
                Some(Err(error)) => return Err(FetchError::Connect(error.to_string())),
                None => return Err(FetchError::Member("the OVA ends early".to_owned())),
            };
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
            self.held = data.split_off(taken);
            left -= taken as u64;
            kept.extend(data.iter().take(keep.saturating_sub(kept.len())));
        }
        Ok(kept)
    }
}

/// Reads up to the content of the member `name` and returns its length.
async fn seek_member(reading: &mut Reading, name: &str) -> Result<u64, FetchError> {
    let not_there = || FetchError::Member(format!("the OVA has no member {name}"));
    for _ in 0..MEMBERS_MAX {
        let header = reading.take(TAR_BLOCK_BYTES, TAR_HEADER_BYTES).await?;
        if header.iter().all(|byte| *byte == 0) {
            return Err(not_there());
        }
        let text = |from: usize, to: usize| {
            let field = header.get(from..to).unwrap_or_default();
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        let size_bytes = tar_number(header.get(124..136).unwrap_or_default())
            .ok_or_else(|| FetchError::Member("the OVA is no tar archive".to_owned()))?;
        let is_file = matches!(header.get(156), Some(0 | b'0'));
        // Members are found by their last name, as other readers of OVAs do.
        let member = text(0, 100);
        if is_file && member.rsplit('/').next() == name.rsplit('/').next() {
            return Ok(size_bytes);
        }
        let padded = size_bytes.div_ceil(TAR_BLOCK_BYTES).saturating_mul(TAR_BLOCK_BYTES);
        reading.take(padded, 0).await?;
    }
    Err(not_there())
}

/// A number in a tar header: octal, or GNU base-256.
fn tar_number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if *first == 0x80 {
        let mut number = 0_u64;
        for byte in rest {
            number = number.checked_mul(256)?.checked_add(u64::from(*byte))?;
        }
        return Some(number);
    }
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

type Seen = Arc<Mutex<Option<Vec<u8>>>>;

#[derive(Debug)]
struct Verifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
    seen: Seen,
}

impl Pin {
    fn fits(&self, certificate: &[u8]) -> bool {
        match self {
            Self::Certificate(expected) => expected == certificate,
            Self::Nothing => false,
            Self::Thumbprint(print) if print.len() == SHA1_DIGITS => {
                *print == hex(&Sha1::digest(certificate))
            }
            Self::Thumbprint(print) => *print == hex(&Sha256::digest(certificate)),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *lock(&self.seen) = Some(end_entity.to_vec());
        if self.pin.fits(end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A thumbprint without colons; `None` for other lengths than those of SHA-1 and SHA-256.
fn thumbprint_hex(text: &str) -> Option<String> {
    let text = text.replace(':', "").to_ascii_lowercase();
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && matches!(text.len(), SHA1_DIGITS | SHA256_DIGITS)).then_some(text)
}

/// Whether issuer and subject of a certificate (RFC 5280, section 4.1) are the same.
fn is_self_signed(certificate: &[u8]) -> bool {
    let names = || {
        let (outer, _) = der(certificate)?;
        let (mut rest, _) = der(outer)?;
        if rest.first() == Some(&DER_VERSION) {
            rest = der(rest)?.1;
        }
        let (_serial, rest) = der(rest)?;
        let (_algorithm, rest) = der(rest)?;
        let (issuer, rest) = der(rest)?;
        let (_validity, rest) = der(rest)?;
        let (subject, _) = der(rest)?;
        Some(issuer == subject)
    };
    names().unwrap_or(false)
}

/// Content of the first DER element, and what follows it.
fn der(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.get(1..)?.split_first()?;
    let (len, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let digits = rest.get(..count).filter(|_| count <= 4)?;
        let len = digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
        (len, rest.get(count..)?)
    };
    Some((rest.get(..len)?, rest.get(len..)?))
}

/// Tag of the optional version at the beginning of a certificate.
const DER_VERSION: u8 = 0xa0;

const SHA1_DIGITS: usize = 40;

const SHA256_DIGITS: usize = 64;

/// Bytes of a block of a tar archive; headers are one, contents are padded to whole ones.
const TAR_BLOCK_BYTES: u64 = 512;

const TAR_HEADER_BYTES: usize = 512;

/// Members of an OVA that are passed over in search of one.
const MEMBERS_MAX: usize = 10_000;

/// Time for a web server to take the connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

/// Time for it to begin its reply.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Identity;

    #[test]
    fn only_what_can_be_pinned_and_fetched_is_taken() {
        let print = "AA:".repeat(19) + "AA";
        assert!(Remote::new("http://h/x y.ova", None, None, &[]).is_some());
        assert!(Remote::new("https://[::1]:8443/x", Some(&print), None, &[("a", "b")]).is_some());
        let identity = Identity::generate(&["localhost"]).unwrap();
        let pem = identity.certificate_pem();
        let remote = Remote::new("https://h/x", None, Some(pem), &[]).unwrap();
        assert!(remote.pin.fits(identity.certificate_der()));
        for (url, thumbprint, certificate, headers) in [
            ("ftp://h/x", None, None, &[][..]),
            ("/x", None, None, &[]),
            ("https://h/x", Some("AA:BB"), None, &[]),
            ("https://h/x", Some(print.as_str()), Some(pem), &[]),
            ("https://h/x", None, Some("no certificate"), &[]),
            ("https://h/x", None, None, &[("a b", "c")]),
            ("https://h/x", None, None, &[("a", "b\r\nc")]),
        ] {
            assert!(Remote::new(url, thumbprint, certificate, headers).is_none(), "{url}");
        }
        let shown = format!("{remote:?}");
        assert!(!shown.contains("/x"), "{shown}");
    }

    #[test]
    fn issuers_are_told_from_subjects() {
        let identity = Identity::generate(&["localhost"]).unwrap();
        assert!(is_self_signed(identity.certificate_der()));
        assert!(!is_self_signed(b""));
        assert!(!is_self_signed(&identity.certificate_der()[..100]));
        assert!(!is_self_signed(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]));
    }

    #[test]
    fn tar_numbers_are_octal_or_binary() {
        assert_eq!(tar_number(b"00000000017\0"), Some(15));
        assert_eq!(tar_number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(2 << 32));
        assert_eq!(tar_number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(tar_number(b"abc"), None);
        assert_eq!(tar_number(b""), None);
    }
}
