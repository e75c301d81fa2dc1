//! The device URLs of a lease: disks and other files as the NFC service of a host serves and takes
//! them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use http::Method;
use http::Request;
use http::Response;
use http::header;
use ovftransfer_vim::lease::DeviceUrl;
use ovftransfer_vim::tls::Trust;
use ovftransfer_vim::transport::Body;
use ovftransfer_vim::transport::ByteStream;
use ovftransfer_vim::transport::Transport;
use ovftransfer_vim::transport::TransportError;
use tokio::sync::mpsc;

use crate::error::DeviceStatus;
use crate::sabotage;
use crate::sabotage::Defect;
use crate::store::Destination;
use crate::store::Sink;
use crate::store::Source;
use crate::verify::Verified;

/// One device URL, and how its host is to be trusted.
///
/// The ticket in the URL is the only credential: no cookie is sent.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) url: DeviceUrl,
    pub(crate) trust: Trust,
}

impl Device {
    /// The host as `name:port`.
    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.url.host(), self.url.port())
    }

    /// Connects to the host and judges its certificate; any answer will do.
    ///
    /// The request goes the way of those for the files, through a proxy if there is one, and leaves
    /// a connection for them.  It carries no ticket.
    pub(crate) async fn reach(&self) -> Result<(), TransportError> {
        let request = Request::head(format!("https://{}/", self.host())).body(Body::Empty);
        let request = request.map_err(|error| TransportError::Invalid {
            host: self.host(),
            reason: error.to_string(),
        })?;
        self.transport.send(request, &self.trust).await.map(drop)
    }

    async fn get(&self) -> io::Result<ByteStream> {
        let request = Request::get(self.url.expose())
            .header(header::ACCEPT, STREAM_VMDK)
            // No layer may decode the body: its digest is compared.
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Body::Empty)
            .map_err(io::Error::other)?;
        let response = self.transport.send(request, &self.trust).await.map_err(io_error)?;
        Ok(expect_success(response, &self.url).await?.into_body())
    }
}

impl Source for Device {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        self.get().boxed()
    }

    /// Not known: leases do not tell the sizes of disks, and what they say of NVRAM
    /// (`HttpNfcLeaseDeviceUrl.fileSize`) is not always true.  The server's manifest tells.
    fn size_bytes(&self) -> Option<u64> {
        None
    }
}

/// How a host takes a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Upload {
    /// A stream-optimized disk, which the host converts while it comes: `POST`.
    Disk,
    /// A file that is created as it is (`OvfFileItem.create`): `PUT` with `Overwrite: t`.
    Create,
}

/// Uploads to one device URL.
#[derive(Debug)]
pub(crate) struct DeviceDestination {
    pub(crate) device: Device,
    pub(crate) upload: Upload,
    /// The real size of what is uploaded, which is not always what the descriptor says.
    pub(crate) len_bytes: u64,
}

impl Destination for DeviceDestination {
    fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>> {
        std::future::ready(self.start().map(|sink| Box::new(sink) as Box<dyn Sink>)).boxed()
    }
}

impl DeviceDestination {
    fn start(&self) -> io::Result<DeviceSink> {
        let (body, mut queue) = mpsc::channel::<Bytes>(BODY_CHUNKS);
        let stream = futures::stream::poll_fn(move |context| queue.poll_recv(context));
        let body_stream =
            Body::Stream { len_bytes: self.len_bytes, stream: stream.map(Ok).boxed() };
        let request = Request::builder().uri(self.device.url.expose());
        let request = match self.upload {
            Upload::Disk => request.method(Method::POST).header(header::CONTENT_TYPE, STREAM_VMDK),
            Upload::Create => request
                .method(Method::PUT)
                .header("Overwrite", "t")
                .header(header::CONTENT_TYPE, "application/octet-stream"),
        };
        let request = request.body(body_stream).map_err(io::Error::other)?;
        let device = self.device.clone();
        let answer = async move {
            let response = device.transport.send(request, &device.trust).await.map_err(io_error)?;
            expect_success(response, &device.url).await.map(drop)
        };
        Ok(DeviceSink { body: Some(body), answer: Answer::Awaited(answer.boxed()) })
    }
}

/// One upload that is under way.
struct DeviceSink {
    body: Option<mpsc::Sender<Bytes>>,
    answer: Answer,
}

/// The answer of the host, which may come before the whole body has been sent.
enum Answer {
    Awaited(BoxFuture<'static, io::Result<()>>),
    Success,
    Failure,
}

impl std::fmt::Debug for DeviceSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceSink").field("open", &self.body.is_some()).finish_non_exhaustive()
    }
}

impl DeviceSink {
    /// Waits for the answer.
    async fn answer(&mut self) -> io::Result<()> {
        let answer = match &mut self.answer {
            Answer::Awaited(answer) => answer.await,
            Answer::Success => return Ok(()),
            Answer::Failure => return Err(refused_early()),
        };
        self.answer = if answer.is_ok() { Answer::Success } else { Answer::Failure };
        answer
    }

    async fn send(&mut self, chunk: Bytes) -> io::Result<()> {
        let Some(body) = &self.body else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let body = body.clone();
        if matches!(self.answer, Answer::Awaited(_)) {
            // The request moves on by itself, but its answer may come early: a host that is
            // overloaded says so at once, and then takes no more.
            tokio::select! {
                biased;
                sent = body.send(chunk) => if sent.is_ok() { return Ok(()) },
                answer = self.answer() => answer?,
            }
        }
        // Nobody takes the body any more.  The answer says why, if there is one.
        self.answer().await?;
        Err(refused_early())
    }
}

impl Sink for DeviceSink {
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        async move {
            for chunk in batch {
                self.send(chunk).await?;
            }
            Ok(())
        }
        .boxed()
    }

    /// Waits for the host's answer.
    ///
    /// There is no time limit: hosts flush and zero for minutes after the last byte.  As long as
    /// the lease lives the host is at work, and when the lease dies the caller drops this.
    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        self.body = None;
        self.answer().boxed()
    }

    /// Nothing: for a device URL the lease is the commit.
    fn commit(self: Box<Self>, _proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    /// Closes the connection; what the host has taken goes with the lease.
    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// Turns an answer that is not a success into an error with the first words of its body.
async fn expect_success(
    response: Response<ByteStream>,
    url: &DeviceUrl,
) -> io::Result<Response<ByteStream>> {
    let status = response.status();
    // Exactly these two; 3xx in particular would lead the body to somebody who was not checked.
    let is_taken = sabotage::on(Defect::AcceptAnyStatus) && status.as_u16() < 400;
    if matches!(status.as_u16(), 200 | 201) || is_taken {
        return Ok(response);
    }
    let mut words = Vec::new();
    let mut body = response.into_body();
    let reading = async {
        while let Ok(Some(chunk)) = body.try_next().await {
            words.extend_from_slice(&chunk);
            if words.len() >= ANSWER_BYTES {
                break;
            }
        }
    };
    // What has come until then is enough, if there is anything: it is the status that counts.
    let _in_time = tokio::time::timeout(ANSWER_WAIT, reading).await;
    words.truncate(ANSWER_BYTES);
    let words = String::from_utf8_lossy(&words);
    let words: String = words.chars().filter(|c| !c.is_control()).collect();
    let is_told = sabotage::on(Defect::TellTicket);
    let words = if is_told { words } else { without_ticket(&words, url) };
    let mut detail = match status.as_u16() {
        301..=308 => " (a redirect, which is never followed here)",
        404 => " (the host does not know the ticket or the file)",
        405 => " (the host takes this file in another way)",
        500 => " (the host cannot use the data)",
        503 => " (the host has too many connections, or is not well)",
        _ => "",
    }
    .to_owned();
    if !words.trim().is_empty() {
        detail.push_str(": ");
        detail.push_str(words.trim());
    }
    Err(io::Error::other(DeviceStatus { status: status.as_u16(), detail }))
}

/// Error pages like to repeat the path, and the path of a device URL is a credential.
fn without_ticket(words: &str, url: &DeviceUrl) -> String {
    let path = url.expose().split_once("://").map_or("", |(_, rest)| rest);
    let mut parts = path.split('/').skip(1).collect::<Vec<_>>();
    // The last part is the name of the file, the first one says `nfc` or `ha-nfc`.
    parts.pop();
    let mut starts = Vec::new();
    for part in parts.into_iter().filter(|part| !matches!(*part, "" | "nfc" | "ha-nfc")) {
        let plain = part.replace("%5B", "[").replace("%5D", "]");
        // A page that is cut may hold only the beginning of it.
        for form in [part, plain.as_str()] {
            starts.push(form.chars().take(TICKET_CHARS_TELLING).collect::<String>());
        }
    }
    let ticket = |c: char| c.is_alphanumeric() || "-_.%[]".contains(c);
    let (mut told, mut rest) = (String::new(), words);
    // In one pass: what is put in for a ticket is not looked at.
    while let Some(first) = rest.chars().next() {
        match starts.iter().find_map(|start| rest.strip_prefix(start.as_str())) {
            Some(after) => {
                told.push_str("<ticket>");
                rest = after.trim_start_matches(ticket);
            }
            None => {
                told.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    told
}

fn refused_early() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the host took no more data")
}

fn io_error(error: TransportError) -> io::Error {
    io::Error::other(error)
}

/// The media type of a stream-optimized disk (HttpNfcLease, API reference).
const STREAM_VMDK: &str = "application/x-vnd.vmware-streamVmdk";

/// Chunks of a body that are queued for the connection, of up to 256 KiB: enough that it goes on
/// sending while the next ones are read, hashed and woken for.
const BODY_CHUNKS: usize = 2;

/// How many characters of a ticket are enough to know it by.
const TICKET_CHARS_TELLING: usize = 8;

/// How much of an unsuccessful answer is kept for the message.
const ANSWER_BYTES: usize = 300;

/// How long the words of an unsuccessful answer may take: hosts send them with its head.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use ovftransfer_vim::Endpoint;
    use tokio::time::Instant;

    use super::*;

    fn url(text: &str) -> DeviceUrl {
        DeviceUrl::parse(text, &Endpoint::new("vc", 443)).unwrap()
    }

    /// The lease lives on, and the host has nothing to say any more.
    #[tokio::test(start_paused = true)]
    async fn the_words_of_an_error_are_not_waited_for_for_ever() {
        for (said, expected) in [(None, "cannot use the data)"), (Some("no luck"), ": no luck")] {
            let said = said.map(|words| Ok(Bytes::from(words)));
            let body = futures::stream::iter(said).chain(futures::stream::pending());
            let response = Response::builder().status(500).body(body.boxed()).unwrap();
            let begin = Instant::now();
            let refused = expect_success(response, &url("https://esx/nfc/52ab/disk-0.vmdk")).await;
            let error = refused.err().unwrap().to_string();
            assert!(error.contains("500") && error.ends_with(expected), "{error}");
            assert!(begin.elapsed() <= ANSWER_WAIT, "{:?}", begin.elapsed());
        }
    }
    #[test]
    fn a_ticket_is_taken_out_of_words_wherever_it_stands() {
        const TICKET: &str = "52ab1234-5678-9abc-def0-123456789abc";
        for path in ["nfc", "ha-nfc", "nfc/ticket", "nfc/t", "nfc/b", "nfc/~", "nfc/<ticket>"] {
            let url = url(&format!("https://esx/{path}/{TICKET}/disk-0.vmdk"));
            for words in [
                format!("not found: /{path}/{TICKET}/disk-0.vmdk"),
                format!("{TICKET}{TICKET} {TICKET}"),
                format!("/ticket/x{}", &TICKET[..9]),
            ] {
                let told = without_ticket(&words, &url);
                assert!(!told.contains(&TICKET[..4]) && told.contains("<ticket>"), "{told}");
            }
        }
        let url = url("https://esx/nfc/52[a]b1234/disk-0.vmdk");
        assert_eq!(without_ticket("é /nfc/52[a]b1234/x", &url), "é /nfc/<ticket>/x");
        assert_eq!(without_ticket("nothing of it", &url), "nothing of it");
    }
}
