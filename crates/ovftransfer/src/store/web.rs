//! Files on web servers, read by ranges.
//!
//! A server can lie, change its mind and trickle.  Every answer is compared with what was asked
//! for and with what the file was when it was first seen; a body that breaks is taken up again at
//! the byte where it broke, but only if the server proves that it is still the same file.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::HeaderMap;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http::header::HeaderName;
use ovftransfer_vim::tls::Trust;
use ovftransfer_vim::transport::Body;
use ovftransfer_vim::transport::ByteStream;
use ovftransfer_vim::transport::Transport;
use ovftransfer_vim::transport::TransportError;
use tokio::time::Instant;
use url::Url;

use crate::error::FileChanged;
use crate::error::Misfit;
use crate::error::WebStatus;
use crate::error::is_final;
use crate::sabotage;
use crate::sabotage::Defect;
use crate::store::Source;
use crate::store::fetch::FetchOptions;
use crate::store::url::PackageUrl;
use crate::store::url::host_of;
use crate::store::url::shown;

/// How files are fetched: shared by all files of a package.
pub(crate) struct Web {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) options: FetchOptions,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").finish_non_exhaustive()
    }
}

/// What the first request for a file brought.
pub(crate) enum Found {
    /// The file can be read by ranges; these are its first bytes.
    Ranges(Arc<WebFile>, Bytes),
    /// It can only be read as a whole.
    Whole(Arc<WebFile>, ByteStream),
    /// There is no such file.
    Nothing,
}

/// A file on a web server, as it was when it was first seen.
#[derive(Debug)]
pub(crate) struct WebFile {
    web: Arc<Web>,
    url: PackageUrl,
    /// Where redirects led.
    place: Mutex<Url>,
    /// Size in bytes; unknown if the server does not tell.
    size_bytes: Option<u64>,
    identity: Identity,
    has_ranges: bool,
}

/// How a file is recognised.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Identity {
    /// A strong entity tag (RFC 9110 section 8.8.3).
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Identity {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let etag = text(header::ETAG).filter(|etag| !etag.starts_with("W/"));
        Self { etag, last_modified: text(header::LAST_MODIFIED) }
    }

    /// What proves that a file is the same; none if nothing does.
    fn validator(&self) -> Option<&str> {
        self.etag.as_deref().or(self.last_modified.as_deref())
    }

    /// Whether an answer is about the same file.  What proves it must be there.
    fn is_still(&self, headers: &HeaderMap) -> bool {
        let now = Self::of(headers);
        match &self.etag {
            Some(_) => self.etag == now.etag,
            None => self.last_modified == now.last_modified,
        }
    }
}

impl Web {
    /// Asks for a file, and for its first `head_bytes` bytes if the server can give these alone.
    pub(crate) async fn find(
        self: &Arc<Self>,
        url: &PackageUrl,
        head_bytes: u64,
    ) -> io::Result<Found> {
        let mut tries = Tries::new(&self.options);
        let (place, response) = loop {
            let answer = self.follow(url, url.url(), Some((0, head_bytes)), None).await;
            match answer.and_then(|(place, response)| Ok((place, not_overloaded(response)?))) {
                Ok(found) => break found,
                Err(error) => tries.again(error).await?,
            }
        };
        let headers = response.headers();
        let identity = Identity::of(headers);
        let is_known = identity.validator().is_some();
        let file = |size_bytes, has_ranges| {
            let (web, url, place) = (Arc::clone(self), url.clone(), Mutex::new(place));
            Arc::new(WebFile { web, url, place, size_bytes, identity, has_ranges })
        };
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = ContentRange::of(headers)?;
                let expected = head_bytes.min(range.total_bytes);
                range.expect(0, expected, range.total_bytes)?;
                let file = file(Some(range.total_bytes), is_known);
                let head = file.collect(response.into_body(), expected).await?;
                if file.has_ranges {
                    return Ok(Found::Ranges(file, head));
                }
                // Nothing would show if it changed between two ranges.
                let whole = file.whole().await?;
                Ok(Found::Whole(file, whole))
            }
            StatusCode::OK => {
                let size_bytes = length_of(headers);
                if size_bytes.is_none() && !headers.contains_key(header::TRANSFER_ENCODING) {
                    // A connection that breaks would look like the end.
                    return Err(refused("the server does not say how long the file is".to_owned()));
                }
                let file = file(size_bytes, false);
                let body = response.into_body();
                let body = file.paced(body, size_bytes);
                Ok(Found::Whole(file, body))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty"))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Found::Nothing),
            status => Err(io::Error::other(WebStatus::new(status.as_u16()))),
        }
    }

    /// Sends a request and follows redirects: five at most, to `https` only, and without the user
    /// and the password, which belong to the place that was named.
    async fn follow(
        &self,
        url: &PackageUrl,
        start: &Url,
        range: Option<(u64, u64)>,
        identity: Option<&Identity>,
    ) -> io::Result<(Url, Response<ByteStream>)> {
        let mut place = start.clone();
        for _ in 0..=REDIRECTS_MAX {
            let is_named = place == *url.url();
            let request = request(&place, range, identity, url, is_named)?;
            let trust = self.trust(url.url(), &place);
            let answer = self.transport.send(request, &trust);
            let response = match tokio::time::timeout(self.options.window, answer).await {
                Ok(response) => response.map_err(io::Error::other)?,
                Err(_) => return Err(self.silent()),
            };
            if !is_redirect(response.status()) {
                check_encoding(response.headers())?;
                return Ok((place, response));
            }
            place = redirected(&place, response.headers())?;
        }
        Err(refused(format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// The pin of one host says nothing about another, to which a redirect led.
    fn trust(&self, named: &Url, place: &Url) -> Trust {
        let trust = &self.options.trust;
        if matches!(trust, Trust::Pinned(_)) && host_of(named) != host_of(place) {
            return Trust::System;
        }
        trust.clone()
    }

    fn silent(&self) -> io::Error {
        let text = format!("no answer within {} seconds", self.options.window.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

impl WebFile {
    /// Size in bytes; unknown if the server does not tell.
    pub(crate) const fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// The bytes from `start` on, up to `end`; taken up again where they break.
    pub(crate) fn range(self: &Arc<Self>, start: u64, end: u64) -> ByteStream {
        let reader = Reader {
            file: Arc::clone(self),
            at_byte: start,
            end_byte: end,
            body: None,
            tries: Tries::new(&self.web.options),
            good_byte: start,
        };
        futures::stream::unfold(reader, Reader::next).boxed()
    }

    /// The whole file in one answer, compared with what it was.
    async fn whole(self: &Arc<Self>) -> io::Result<ByteStream> {
        let mut tries = Tries::new(&self.web.options);
        loop {
            match self.get(None).await {
                Ok(body) => return Ok(self.paced(body, self.size_bytes)),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Reads a body of `len_bytes` bytes into memory.
    async fn collect(&self, body: ByteStream, len_bytes: u64) -> io::Result<Bytes> {
        let mut bytes = Vec::new();
        let mut body = self.paced(body, Some(len_bytes));
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes.into())
    }

    /// A body that must have `len_bytes` bytes, and must not trickle.
    fn paced(&self, body: ByteStream, len_bytes: Option<u64>) -> ByteStream {
        let paced = Paced {
            body,
            left_bytes: len_bytes,
            floor_bytes_per_s: self.web.options.floor_bytes_per_s,
            window: self.web.options.window,
            waited: Duration::ZERO,
            came_bytes: 0,
        };
        futures::stream::unfold(Some(paced), Paced::next).boxed()
    }

    /// One request for a part of the file, or for all of it, without a second try.
    async fn get(&self, range: Option<(u64, u64)>) -> io::Result<ByteStream> {
        let named = self.url.url();
        let start = self.place().clone();
        let identity = Some(&self.identity).filter(|_| range.is_some());
        let (mut place, mut response) = self.web.follow(&self.url, &start, range, identity).await?;
        if response.status().is_client_error() && start != *named {
            // Where redirects lead is often good for some minutes only.
            (place, response) = self.web.follow(&self.url, named, range, identity).await?;
        }
        let body = self.checked(range, response)?;
        *self.place() = place;
        Ok(body)
    }

    /// Compares an answer with what was asked for, and with what the file was.
    fn checked(
        &self,
        range: Option<(u64, u64)>,
        response: Response<ByteStream>,
    ) -> io::Result<ByteStream> {
        let changed = |what| Err(io::Error::other(FileChanged { what }));
        let headers = response.headers();
        match (response.status(), range) {
            (StatusCode::PARTIAL_CONTENT, Some((start, end))) => {
                let found = ContentRange::of(headers)?;
                if Some(found.total_bytes) != self.size_bytes {
                    return changed("it has another size");
                }
                if !self.identity.is_still(headers) {
                    return changed("the server does not say that it is the same");
                }
                found.expect(start, end, found.total_bytes)?;
            }
            (StatusCode::OK, None) => {
                if length_of(headers) != self.size_bytes {
                    return changed("it has another size");
                }
                if self.identity.validator().is_some() && !self.identity.is_still(headers) {
                    return changed("the server does not say that it is the same");
                }
            }
            // The answer to `If-Range` for another file.
            (StatusCode::OK | StatusCode::PRECONDITION_FAILED, Some(_)) => {
                return changed("the server sends all of it instead of the rest");
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => return changed("it is shorter"),
            (status, _) => return Err(io::Error::other(WebStatus::new(status.as_u16()))),
        }
        Ok(response.into_body())
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Url> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for WebFile {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let file = Arc::new(self.clone());
        match self.size_bytes {
            Some(size_bytes) if self.has_ranges => {
                std::future::ready(Ok(file.range(0, size_bytes))).boxed()
            }
            _ => async move { file.whole().await }.boxed(),
        }
    }

    fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }
}

impl Clone for WebFile {
    fn clone(&self) -> Self {
        Self {
            web: Arc::clone(&self.web),
            url: self.url.clone(),
            place: Mutex::new(self.place().clone()),
            size_bytes: self.size_bytes,
            identity: self.identity.clone(),
            has_ranges: self.has_ranges,
        }
    }
}

/// A part of a file: a member of an OVA.
#[derive(Debug)]
pub(crate) struct WebPart {
    pub(crate) file: Arc<WebFile>,
    pub(crate) offset_bytes: u64,
    pub(crate) size_bytes: u64,
}

impl Source for WebPart {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let end = self.offset_bytes.saturating_add(self.size_bytes);
        std::future::ready(Ok(self.file.range(self.offset_bytes, end))).boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.size_bytes)
    }
}

/// Reads a range in as many requests as it takes.
struct Reader {
    file: Arc<WebFile>,
    at_byte: u64,
    end_byte: u64,
    body: Option<ByteStream>,
    tries: Tries,
    /// Where the last failure was forgiven.
    good_byte: u64,
}

impl Reader {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        loop {
            if self.at_byte == self.end_byte {
                return None;
            }
            let error = match self.chunk().await {
                Ok(chunk) => {
                    self.at_byte += chunk.len() as u64;
                    if self.at_byte - self.good_byte >= FORGIVEN_BYTES {
                        self.good_byte = self.at_byte;
                        self.tries.forgive();
                    }
                    return Some((Ok(chunk), self));
                }
                Err(error) => error,
            };
            self.body = None;
            if let Err(error) = self.tries.again(error).await {
                // What comes after an error is nothing.
                self.end_byte = self.at_byte;
                return Some((Err(error), self));
            }
        }
    }

    async fn chunk(&mut self) -> io::Result<Bytes> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let range = (self.at_byte, self.end_byte);
                let body = self.file.get(Some(range)).await?;
                self.body.insert(self.file.paced(body, Some(range.1 - range.0)))
            }
        };
        body.next().await.unwrap_or_else(|| Err(cut(self.end_byte - self.at_byte)))
    }
}

/// A body whose length is known, and which has to come at a certain pace.
///
/// Only the time is counted that is spent waiting: who is slow to take the bytes, such as a host
/// that allocates a disk, is not the server's fault.
struct Paced {
    body: ByteStream,
    left_bytes: Option<u64>,
    floor_bytes_per_s: u64,
    window: Duration,
    waited: Duration,
    came_bytes: u64,
}

impl Paced {
    async fn next(state: Option<Self>) -> Option<(io::Result<Bytes>, Option<Self>)> {
        let mut this = state?;
        match this.chunk().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(this))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }

    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        let started = Instant::now();
        let left = self.window.saturating_sub(self.waited);
        let chunk = match tokio::time::timeout(left, self.body.next()).await {
            Ok(Some(chunk)) => chunk?,
            Ok(None) => {
                return match self.left_bytes {
                    None | Some(0) => Ok(None),
                    Some(left_bytes) => Err(cut(left_bytes)),
                };
            }
            Err(_) => {
                self.check_pace()?;
                return Ok(Some(Bytes::new()));
            }
        };
        self.waited += started.elapsed();
        self.came_bytes += chunk.len() as u64;
        if self.waited >= self.window {
            self.check_pace()?;
        }
        if let Some(left_bytes) = &mut self.left_bytes {
            *left_bytes = left_bytes
                .checked_sub(chunk.len() as u64)
                .ok_or_else(|| refused("the server sends more than was asked for".to_owned()))?;
        }
        Ok(Some(chunk))
    }

    /// At the end of a window.
    fn check_pace(&mut self) -> io::Result<()> {
        let window_ms = u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX);
        let needed = self.floor_bytes_per_s.saturating_mul(window_ms) / 1000;
        let came_bytes = std::mem::take(&mut self.came_bytes);
        self.waited = Duration::ZERO;
        if came_bytes >= needed.max(1) {
            return Ok(());
        }
        let text = format!(
            "the server is too slow: {came_bytes} bytes in {} seconds",
            self.window.as_secs_f32()
        );
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}

/// Counts failures in a row.
#[derive(Debug)]
struct Tries {
    failures: u32,
    /// Times that the server was too slow; progress does not forgive them.
    slow: u32,
    pause: Duration,
}

impl Tries {
    const fn new(options: &FetchOptions) -> Self {
        Self { failures: 0, slow: 0, pause: options.pause }
    }

    fn forgive(&mut self) {
        self.failures = 0;
    }

    /// Waits before another try; gives the error back if there is to be none.
    async fn again(&mut self, error: io::Error) -> io::Result<()> {
        self.failures += 1;
        self.slow += u32::from(error.kind() == io::ErrorKind::TimedOut);
        if self.failures >= TRIES_MAX || self.slow >= SLOW_MAX || !may_pass(&error) {
            return Err(error);
        }
        tracing::debug!(%error, failures = self.failures, "a download is taken up again");
        tokio::time::sleep(self.pause * 2u32.pow(self.failures - 1)).await;
        Ok(())
    }
}

/// Whether the same request may go well a moment later.
///
/// | what broke | again? |
/// |---|---|
/// | the connection, or it was too slow | yes |
/// | the server answered 408, 429, 500, 502, 503 or 504 | yes |
/// | the server answered anything else | no |
/// | the file has changed, or is not what was asked for | no |
/// | the certificate | no |
fn may_pass(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return true };
    if let Some(answer) = inner.downcast_ref::<WebStatus>() {
        return answer.may_pass();
    }
    if let Some(transport) = inner.downcast_ref::<TransportError>() {
        return matches!(transport, TransportError::Broken { .. } | TransportError::Connect { .. });
    }
    !is_final(error)
}

fn request(
    place: &Url,
    range: Option<(u64, u64)>,
    identity: Option<&Identity>,
    url: &PackageUrl,
    is_named: bool,
) -> io::Result<Request<Body>> {
    let mut request = Request::get(place.as_str())
        .header(header::ACCEPT, "*/*")
        // No layer may decode the body: its bytes are counted, and their digest is compared.
        .header(header::ACCEPT_ENCODING, "identity");
    if let Some((start, end)) = range {
        request = request.header(header::RANGE, format!("bytes={start}-{}", end - 1));
        if let Some(validator) = identity.and_then(Identity::validator) {
            request = request.header(header::IF_RANGE, validator);
        }
    }
    if let Some(authorization) = url.authorization().filter(|_| is_named) {
        let mut value =
            header::HeaderValue::from_str(authorization.expose()).map_err(io::Error::other)?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(Body::Empty).map_err(io::Error::other)
}

/// An answer that may be another one a moment later is an error.
fn not_overloaded(response: Response<ByteStream>) -> io::Result<Response<ByteStream>> {
    let status = WebStatus::new(response.status().as_u16());
    if status.may_pass() { Err(io::Error::other(status)) } else { Ok(response) }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads.
fn redirected(place: &Url, headers: &HeaderMap) -> io::Result<Url> {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|location| place.join(location).ok());
    let Some(mut next) = next else {
        return Err(refused("a redirect that does not say where to".to_owned()));
    };
    if next.scheme() != "https" {
        return Err(refused(format!("a redirect to {}, which is not https", shown(&next))));
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err(refused("a redirect that brings its own password".to_owned()));
    }
    next.set_fragment(None);
    Ok(next)
}

fn check_encoding(headers: &HeaderMap) -> io::Result<()> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut others = encodings.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    match others.next() {
        None => Ok(()),
        Some(_) => Err(refused("the server compresses what it was asked not to".to_owned())),
    }
}

/// The length of a body that is not sent in pieces.
fn length_of(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `Content-Range: bytes START-LAST/TOTAL` (RFC 9110 section 14.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct ContentRange {
    start: u64,
    last: u64,
    total_bytes: u64,
}

impl ContentRange {
    fn of(headers: &HeaderMap) -> io::Result<Self> {
        let text = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        text.and_then(Self::parse)
            .ok_or_else(|| refused("an answer that does not say which range it is".to_owned()))
    }

    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (start, last) = range.split_once('-')?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| is_number)
        };
        let range =
            Self { start: number(start)?, last: number(last)?, total_bytes: number(total)? };
        (range.start <= range.last && range.last < range.total_bytes).then_some(range)
    }

    /// Checks that it is the range from `start` to before `end` of `total_bytes`.
    fn expect(self, start: u64, end: u64, total_bytes: u64) -> io::Result<()> {
        let is_right = self == (Self { start, last: end.saturating_sub(1), total_bytes });
        if is_right || sabotage::on(Defect::IgnoreContentRange) {
            return Ok(());
        }
        let (last, Self { start: first, last: end, .. }) = (end.saturating_sub(1), self);
        Err(refused(format!("asked for bytes {start} to {last}, got {first} to {end}")))
    }
}

fn cut(left_bytes: u64) -> io::Error {
    let text = format!("the answer ended {left_bytes} bytes too early");
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

/// An answer that would be the same the next time.
fn refused(text: String) -> io::Error {
    io::Error::other(Misfit(text))
}

/// Redirects that are followed.  Mirrors and object stores need one or two.
const REDIRECTS_MAX: usize = 5;

/// Tries in a row without progress worth the name.
const TRIES_MAX: u32 = 5;

/// How often a server may be too slow in all.  Another connection may be a better one; who is slow
/// on that one too would be slow for ever.
const SLOW_MAX: u32 = 3;

/// After so many bytes earlier failures are forgiven: a long download over a line that breaks now
/// and then comes to its end.
const FORGIVEN_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use ovftransfer_vim::http::HttpTransport;

    use super::*;

    #[test]
    fn a_content_range_has_one_meaning() {
        let good = ContentRange { start: 0, last: 9, total_bytes: 10 };
        assert_eq!(ContentRange::parse("bytes 0-9/10"), Some(good));
        good.expect(0, 10, 10).unwrap();
        assert!(good.expect(1, 10, 10).is_err() && good.expect(0, 9, 10).is_err());
        for text in [
            "",
            "bytes 0-9/*",
            "bytes */10",
            "bytes 9-0/10",
            "bytes 0-10/10",
            "bytes +0-9/10",
            "bytes 0-9",
            "items 0-9/10",
            "bytes 0-/10",
            "bytes 0-99999999999999999999/10",
        ] {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn weak_tags_prove_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, "W/\"1\"".parse().unwrap());
        assert_eq!(Identity::of(&headers).validator(), None);
        headers.insert(header::LAST_MODIFIED, "Sat, 21 Nov 2026 06:00:00 GMT".parse().unwrap());
        let identity = Identity::of(&headers);
        assert_eq!(identity.validator(), Some("Sat, 21 Nov 2026 06:00:00 GMT"));
        assert!(identity.is_still(&headers));
        assert!(!identity.is_still(&HeaderMap::new()));
    }

    fn paced(body: ByteStream, left_bytes: u64) -> ByteStream {
        let paced = Paced {
            body,
            left_bytes: Some(left_bytes),
            floor_bytes_per_s: 100,
            window: Duration::from_secs(60),
            waited: Duration::ZERO,
            came_bytes: 0,
        };
        futures::stream::unfold(Some(paced), Paced::next).boxed()
    }

    /// One chunk of `len` bytes every `every` seconds.
    fn every(every: u64, len: usize) -> ByteStream {
        let chunks = futures::stream::repeat_with(move || async move {
            tokio::time::sleep(Duration::from_secs(every)).await;
            Ok(Bytes::from(vec![0; len]))
        });
        chunks.then(|chunk| chunk).boxed()
    }

    #[test]
    fn a_pin_is_for_the_host_that_was_named() {
        let url = |text: &str| Url::parse(text).unwrap();
        let pin = Trust::Pinned("00112233445566778899aabbccddeeff00112233".parse().unwrap());
        for (trust, place, expected) in [
            (pin.clone(), "https://a/y", pin.clone()),
            (pin.clone(), "https://a:443/y", pin.clone()),
            (pin.clone(), "https://a:444/x", Trust::System),
            (pin, "https://b/x", Trust::System),
            (Trust::Insecure, "https://b/x", Trust::Insecure),
        ] {
            let options = FetchOptions { trust, ..FetchOptions::default() };
            let web = Web { transport: Arc::new(HttpTransport::new()), options };
            assert_eq!(web.trust(&url("https://a/x"), &url(place)), expected, "{place}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_forgives_breaks_but_no_trickle() {
        let mut tries = Tries::new(&FetchOptions::default());
        for _ in 0..100 {
            tries.again(cut(1)).await.unwrap();
            tries.forgive();
        }
        for is_last in [false, false, true] {
            tries.forgive();
            let again = tries.again(io::ErrorKind::TimedOut.into()).await;
            assert_eq!(again.is_err(), is_last);
        }
        let mut tries = Tries::new(&FetchOptions::default());
        for nth in 1..=TRIES_MAX {
            assert_eq!(tries.again(cut(1)).await.is_err(), nth == TRIES_MAX);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_has_to_keep_a_pace() {
        let mut steady = paced(every(10, 1000), 1 << 20);
        for _ in 0..100 {
            steady.next().await.unwrap().unwrap();
        }
        let started = Instant::now();
        let mut slow = paced(every(10, 999), 1 << 20);
        let error = loop {
            if let Err(error) = slow.next().await.unwrap() {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), Duration::from_secs(60));
        assert!(slow.next().await.is_none());
    }

    /// A host may allocate and zero for minutes while the server waits.
    #[tokio::test(start_paused = true)]
    async fn who_takes_slowly_is_not_the_servers_fault() {
        let mut stream = paced(every(0, 1), 100);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(600)).await;
            stream.next().await.unwrap().unwrap();
        }
        assert!(stream.next().await.unwrap().is_err(), "more came than was asked for");
    }
}
