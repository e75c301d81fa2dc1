//! The hosts of a universe: HTTP as the script has it.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use http::Method;
use http::Request;
use http::Response;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_vim::Endpoint;
use ovftransfer_vim::lease::DeviceKey;
use ovftransfer_vim::lease::DeviceUrl;
use ovftransfer_vim::lease::LeaseManifestEntry;
use ovftransfer_vim::tls::Trust;
use ovftransfer_vim::transport::Body;
use ovftransfer_vim::transport::ByteStream;
use ovftransfer_vim::transport::Transport;
use ovftransfer_vim::transport::TransportError;
use ovftransfer_vim::value::Object;
use ovftransfer_vim::value::Value;

use super::script::CANARY;
use super::script::Entry;
use super::script::FilePlan;
use super::script::HostTrouble;
use super::script::Sha256Answer;
use super::script::Trouble;
use super::universe::Open;
use super::universe::Universe;
use crate::inspect::Hasher;
use crate::store::device::Device;

/// All hosts of a universe.
#[derive(Debug)]
pub(super) struct Hosts(pub(super) Arc<Universe>);

pub(super) fn key(file: &FilePlan) -> DeviceKey {
    DeviceKey::new(format!("/vm-1/{}", file.name))
}

pub(super) fn host_name(host: usize) -> String {
    format!("esx{host}.example")
}

/// The device of a file, with a ticket that must not be told.
pub(super) fn device(universe: &Arc<Universe>, file: &FilePlan) -> Device {
    let url = format!("https://{}/nfc/52{CANARY}-7/{}", host_name(file.host), file.name);
    Device {
        transport: Arc::new(Hosts(Arc::clone(universe))),
        url: DeviceUrl::parse(&url, &Endpoint::new("vc.example", 443)).unwrap(),
        trust: Trust::System,
    }
}

type Answer = Result<Response<ByteStream>, TransportError>;

impl Transport for Hosts {
    fn send(&self, request: Request<Body>, _: &Trust) -> BoxFuture<'_, Answer> {
        async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let index = (0..).find(|index| host_name(*index) == host).unwrap();
            if request.method() == Method::HEAD {
                return self.look(index).await;
            }
            let name = request.uri().path().rsplit('/').next().unwrap().to_owned();
            let upload = request.method() != Method::GET;
            match request.into_body() {
                Body::Stream { stream, len_bytes } if upload => {
                    self.take(&name, stream, len_bytes).await
                }
                _ => self.give(&name).await,
            }
        }
        .boxed()
    }
}

impl Hosts {
    async fn look(&self, index: usize) -> Answer {
        let world = &self.0;
        let looks = {
            let mut state = world.lock();
            let looks = state.opened.entry((host_name(index), "looked at")).or_default();
            *looks += 1;
            *looks
        };
        let host = format!("{}:443", host_name(index));
        if world.fails("look at a host") {
            return Err(TransportError::Connect { host, reason: "refused".to_owned() });
        }
        match world.script.hosts[index] {
            HostTrouble::None => {}
            HostTrouble::Broken => {
                world.hit("host breaks the handshake's connection");
                let reason = "reset by peer".to_owned();
                return Err(TransportError::Broken { host, reason });
            }
            HostTrouble::Away(times) if looks <= times => {
                world.hit("host away");
                return Err(TransportError::Connect { host, reason: "refused".to_owned() });
            }
            HostTrouble::Away(_) => {}
            HostTrouble::Mute => {
                world.hit("host mute");
                return std::future::pending().await;
            }
            HostTrouble::WrongCertificate => {
                world.hit("host with a wrong certificate");
                return Err(tls(host));
            }
        }
        answer(200, futures::stream::empty().boxed())
    }

    /// A download.
    async fn give(&self, name: &str) -> Answer {
        let world = &self.0;
        let file = world.file(name);
        let trouble = begin(world, file).await;
        let open = Open::new(world, file.host);
        let host = format!("{}:443", host_name(file.host));
        match trouble {
            Trouble::Connect => {
                return Err(TransportError::Connect { host, reason: "-".to_owned() });
            }
            Trouble::Tls => return Err(tls(host)),
            Trouble::Status(status, _) => return page(status, name),
            _ => {}
        }
        let sending = Sending {
            world: Arc::clone(world),
            name: name.to_owned(),
            trouble,
            at_byte: 0,
            is_over: false,
            _open: open,
        };
        let body = futures::stream::unfold(sending, |mut sending| async move {
            sending.next().await.map(|chunk| (chunk, sending))
        });
        answer(200, body.boxed())
    }

    /// An upload.
    async fn take(&self, name: &str, mut body: ByteStream, len_bytes: u64) -> Answer {
        let world = &self.0;
        let file = world.file(name);
        let trouble = begin(world, file).await;
        let _open = Open::new(world, file.host);
        let host = format!("{}:443", host_name(file.host));
        let broken = |reason: &str| {
            Err(TransportError::Broken { host: host.clone(), reason: reason.to_owned() })
        };
        let until = match trouble {
            Trouble::Connect => {
                return Err(TransportError::Connect { host, reason: "-".to_owned() });
            }
            Trouble::Tls => return Err(tls(host)),
            Trouble::Reset(at)
            | Trouble::Stall(at)
            | Trouble::Status(_, at)
            | Trouble::Truncate(at) => Some(at),
            Trouble::None | Trouble::Flip(_) | Trouble::LateAnswer(_) => None,
        };
        let mut bytes = Vec::new();
        while until.is_none_or(|until| (bytes.len() as u64) < until) {
            if world.fails("send") {
                return broken("reset by peer");
            }
            match body.try_next().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(_) => return broken("the body broke"),
            }
        }
        match trouble {
            Trouble::Reset(_) => return broken("reset by peer"),
            Trouble::Stall(_) => return std::future::pending().await,
            Trouble::Status(status, _) => return page(status, name),
            // All is well, says the host, and has half of it.
            Trouble::Truncate(_) => {
                enter(world, file, &bytes, 0);
                return answer(200, futures::stream::empty().boxed());
            }
            Trouble::Flip(at) => bytes[usize::try_from(at).unwrap()] ^= 1,
            Trouble::LateAnswer(ms) => world.wait(ms, file.slot).await,
            Trouble::None | Trouble::Connect | Trouble::Tls => {}
        }
        if bytes.len() as u64 != len_bytes {
            return broken("the body ended early");
        }
        if world.fails("answer") {
            return broken("reset by peer");
        }
        enter_as_planned(world, file, &bytes);
        world.lock().there.insert(FileName::new(name).unwrap(), bytes.into());
        answer(200, futures::stream::empty().boxed())
    }
}

/// What goes wrong with the stream that begins now, at the file's place in the raster.
async fn begin(world: &Arc<Universe>, file: &FilePlan) -> Trouble {
    let attempt = usize::try_from(world.opens(file, "host")).unwrap();
    world.wait(0, file.slot).await;
    let trouble = file.tries.get(attempt - 1).copied().unwrap_or(Trouble::None);
    world.note(&file.name, format!("stream {attempt}: {trouble:?}"));
    if world.fails("connect") {
        return Trouble::Connect;
    }
    let kind = match trouble {
        Trouble::None => return trouble,
        Trouble::Connect => "connection refused",
        Trouble::Tls => "certificate changed in mid-transfer",
        Trouble::Reset(_) => "connection reset",
        Trouble::Stall(_) => "stall",
        Trouble::Status(500, _) => "status 500",
        Trouble::Status(503, _) => "status 503",
        Trouble::Status(405, _) => "status 405",
        Trouble::Status(..) => "another status",
        Trouble::Truncate(_) => "looks whole",
        Trouble::Flip(_) => "flipped bit",
        Trouble::LateAnswer(_) => "late answer",
    };
    world.hit(kind);
    if file.entry == Entry::Stale {
        enter(world, file, b"of a try that broke", 0);
    }
    trouble
}

/// A download that is under way.
struct Sending {
    world: Arc<Universe>,
    name: String,
    trouble: Trouble,
    at_byte: u64,
    is_over: bool,
    _open: Open,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sending {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.is_over {
            return None;
        }
        let world = Arc::clone(&self.world);
        let file = world.file(&self.name);
        let len_bytes = file.len_bytes();
        let pause_ms = pause_ms(file, self.at_byte);
        world.wait(pause_ms, file.slot).await;
        if world.fails("receive") {
            self.is_over = true;
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut end = (self.at_byte + file.piece_bytes() as u64).min(len_bytes);
        match self.trouble {
            Trouble::Reset(at) if at <= self.at_byte => {
                self.is_over = true;
                return Some(Err(io::ErrorKind::ConnectionReset.into()));
            }
            Trouble::Stall(at) if at <= self.at_byte => return std::future::pending().await,
            Trouble::Truncate(at) if at <= self.at_byte => {
                // The host believes that it sent everything.
                enter_as_planned(&world, file, &file.content);
                return None;
            }
            Trouble::Reset(at) | Trouble::Stall(at) | Trouble::Truncate(at) => end = end.min(at),
            _ => {}
        }
        if self.at_byte == len_bytes {
            enter_as_planned(&world, file, &file.content);
            return None;
        }
        let range = usize::try_from(self.at_byte).unwrap()..usize::try_from(end).unwrap();
        let mut chunk = file.content.slice(range);
        if let Trouble::Flip(at) = self.trouble
            && (self.at_byte..end).contains(&at)
        {
            let mut bytes = chunk.to_vec();
            bytes[usize::try_from(at - self.at_byte).unwrap()] ^= 1;
            chunk = bytes.into();
        }
        self.at_byte = end;
        Some(Ok(chunk))
    }
}

/// The pause before the piece at this byte.
pub(super) fn pause_ms(file: &FilePlan, at_byte: u64) -> u64 {
    // Once in every try, after half of the file.
    let is_middle = at_byte >= file.len_bytes() / 2
        && at_byte < file.len_bytes() / 2 + file.piece_bytes() as u64;
    file.pause_ms + if is_middle { file.rest_ms } else { 0 }
}

/// What the server's manifest says about a file that has come or gone whole.
fn enter_as_planned(world: &Arc<Universe>, file: &FilePlan, bytes: &[u8]) {
    match file.entry {
        Entry::Right | Entry::Stale => enter(world, file, bytes, 0),
        Entry::Late(ms) => {
            world.hit("manifest late");
            enter(world, file, bytes, ms);
        }
        Entry::Missing => world.hit("manifest without the file"),
        Entry::NoDigest | Entry::NotHex | Entry::WrongDigest | Entry::WrongSize => {
            world.hit("manifest wrong");
            enter(world, file, bytes, 0);
        }
    }
}

fn enter(world: &Arc<Universe>, file: &FilePlan, bytes: &[u8], late_ms: u64) {
    let is_sha256 = !matches!(world.script.lease.sha256, Sha256Answer::No);
    let algorithm = if is_sha256 { DigestAlgorithm::Sha256 } else { DigestAlgorithm::Sha1 };
    let mut size_bytes = bytes.len() as u64;
    let mut hex = Hasher::digest(algorithm, bytes).hex();
    match file.entry {
        Entry::NoDigest => hex.clear(),
        Entry::NotHex => hex = "not a digest".to_owned(),
        Entry::WrongDigest => hex = Hasher::digest(algorithm, b"something else").hex(),
        Entry::WrongSize => size_bytes += 1,
        Entry::Right | Entry::Late(_) | Entry::Missing | Entry::Stale => {}
    }
    let entry = Object::untyped()
        .with("key", key(file).as_str().to_owned())
        .with("size", size_bytes.to_string());
    let entry = match is_sha256 {
        true => entry.with("sha1", "").with("checksum", hex).with("checksumType", "sha256"),
        false => entry.with("sha1", hex),
    };
    let entry: Value = entry.into();
    let entry = LeaseManifestEntry::from_value(&entry).unwrap();
    let from_ms = world.now_ms() + late_ms;
    world.lock().manifest.push((from_ms, entry));
}

fn answer(status: u16, body: ByteStream) -> Answer {
    Ok(Response::builder().status(status).body(body).unwrap())
}

/// An error page that repeats the path, as servers like to.
fn page(status: u16, name: &str) -> Answer {
    let text = format!("<html>{status} for /nfc/52{CANARY}-7/{name}</html>");
    answer(status, futures::stream::iter([Ok(Bytes::from(text))]).boxed())
}

fn tls(host: String) -> TransportError {
    let reason = "the certificate is another one".to_owned();
    TransportError::Tls { host, reason, presented: None }
}
