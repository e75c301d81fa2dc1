//! A small web server whose answers a test decides, byte by byte if need be.
#![allow(dead_code, reason = "every test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::PrivatePkcs8KeyDer;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// How many requests had come before.
    pub(crate) before: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The bytes asked for, as start and end.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (start, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse().ok()?, last.parse::<usize>().ok()? + 1))
    }
}

/// An answer, and how it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection breaks after so many bytes of the body.
    pub(crate) cut_at: Option<usize>,
    /// Wait between single bytes from this place on.
    pub(crate) trickle_from: Option<usize>,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        let (headers, body) = (vec![("Content-Length".to_owned(), "0".to_owned())], Vec::new());
        Self { status, headers, body, cut_at: None, trickle_from: None }
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::status(302).with("Location", to)
    }

    /// Sets a header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }
}

/// All of a file.
pub(crate) fn whole(file: &[u8]) -> Reply {
    let reply = Reply { body: file.to_vec(), ..Reply::status(200) };
    reply.with("Content-Length", &file.len().to_string())
}

/// A file with a strong tag, by ranges.
pub(crate) fn ranges(seen: &Seen, file: &[u8], etag: &str) -> Reply {
    let is_same = seen.header("if-range").is_none_or(|known| known == etag);
    let reply = match seen.range().filter(|_| is_same) {
        Some((start, _)) if start >= file.len() => Reply::status(416),
        Some((start, end)) => {
            let end = end.min(file.len());
            let range = format!("bytes {start}-{}/{}", end - 1, file.len());
            let reply = whole(&file[start..end]).with("Content-Range", &range);
            Reply { status: 206, ..reply }
        }
        None => whole(file),
    };
    reply.with("ETag", etag)
}

/// A server in this process, on a thread of its own.
pub(crate) struct WebServer {
    address: SocketAddr,
    is_tls: bool,
    /// Its certificate, which is its own authority.
    pub(crate) pem: String,
    requests: Arc<Mutex<Vec<Seen>>>,
}

type Answer = dyn Fn(&Seen) -> Reply + Send + Sync;

impl WebServer {
    /// Serves `http`.
    pub(crate) fn plain(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, String::new(), Arc::new(answer))
    }

    /// Serves `https`.
    pub(crate) fn tls(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Self::start(Some(Arc::new(config)), certificate.pem(), Arc::new(answer))
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>, pem: String, answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (is_tls, log) = (tls.is_some(), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tls, answer, log) = (tls.clone(), Arc::clone(&answer), Arc::clone(&log));
                thread::spawn(move || {
                    // A peer that goes away is none of the server's business.
                    let _gone = match tls {
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).unwrap();
                            serve(rustls::StreamOwned::new(session, stream), &*answer, &log)
                        }
                        None => serve(stream, &*answer, &log),
                    };
                });
            }
        });
        Self { address, is_tls, pem, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.requests.lock().unwrap().clone()
    }
}

trait Connection: Read + Write {
    /// Breaks it without a word.
    fn cut(&mut self);
}

impl Connection for TcpStream {
    fn cut(&mut self) {
        let _gone = self.shutdown(std::net::Shutdown::Both);
    }
}

impl Connection for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn cut(&mut self) {
        self.sock.cut();
    }
}

fn serve(mut stream: impl Connection, answer: &Answer, log: &Mutex<Vec<Seen>>) -> io::Result<()> {
    loop {
        let Some(seen) = read_request(&mut stream, log)? else { return Ok(()) };
        let reply = answer(&seen);
        let mut head = format!("HTTP/1.1 {} Test\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        let end = reply.cut_at.unwrap_or(reply.body.len()).min(reply.body.len());
        let slow = reply.trickle_from.unwrap_or(end).min(end);
        stream.write_all(&reply.body[..slow])?;
        stream.flush()?;
        for byte in &reply.body[slow..end] {
            pause();
            stream.write_all(&[*byte])?;
            stream.flush()?;
        }
        let has_end = reply.headers.iter().any(|(name, _)| name == "Content-Length");
        if reply.cut_at.is_some() || !has_end {
            stream.cut();
            return Ok(());
        }
    }
}

fn read_request(stream: &mut impl Read, log: &Mutex<Vec<Seen>>) -> io::Result<Option<Seen>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let mut log = log.lock().unwrap();
    let seen = Seen { path, headers: headers.collect(), before: log.len() };
    log.push(seen.clone());
    Ok(Some(seen))
}

#[allow(clippy::disallowed_methods, reason = "no runtime that could be blocked")]
fn pause() {
    thread::sleep(Duration::from_millis(20));
}
