//! HTTP/1.1 over TLS on one port: accepts, serves, resets and stops connections.
//!
//! The vCenter side and every NFC host are such a server with a different service.  Nothing that
//! a client sends stops it: a connection that misbehaves is closed and the next one is served.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::tls::{Identity, TlsError};

/// Body of every reply.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A reply that fails with this is cut in the middle, which the client sees as a broken transfer.
pub(crate) type BodyError = Box<dyn Error + Send + Sync>;

/// A reply whose whole content is `content`.
pub(crate) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A reply without content.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A reply of one line of text, for errors.
pub(crate) fn text(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = Response::new(full(format!("{message}\n")));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

/// One connection, found by a service in the extensions of each request.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    peer: SocketAddr,
    reset: Arc<AtomicBool>,
    cut: CancellationToken,
}

impl Connection {
    /// The connection that `request` came by.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// Cuts the connection with a TCP reset, in the middle of whatever it carries.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
        self.cut.cancel();
    }

    /// The client's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }
}

/// Limits of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Open connections; those above get 503 for their first request and are closed.
    pub(crate) connections: Option<usize>,
}

/// A running server.  Dropping it cuts every connection; [`Server::stop`] lets replies end.
#[derive(Debug)]
pub(crate) struct Server {
    local_addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    stop: CancellationToken,
    accept: JoinSet<()>,
}

impl Server {
    /// Listens on `address` and serves every request by `service`.
    ///
    /// Port 0 takes a free one, see [`Server::local_addr`].
    pub(crate) async fn start<S, F>(
        address: SocketAddr,
        identity: &Identity,
        limits: Limits,
        service: S,
    ) -> Result<Self, ServerError>
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServerError::Listen { address, source })?;
        let local_addr =
            listener.local_addr().map_err(|source| ServerError::Listen { address, source })?;
        let shared = Shared {
            tls: TlsAcceptor::from(identity.server_config()?),
            connections: Arc::new(AtomicUsize::new(0)),
            limits,
            stop: CancellationToken::new(),
        };
        let (connections, stop) = (Arc::clone(&shared.connections), shared.stop.clone());
        let mut accept = JoinSet::new();
        accept.spawn(accept_all(listener, shared, service));
        Ok(Self { local_addr, connections, stop, accept })
    }

    /// Where the server listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Number of open connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Stops accepting, gives replies that are under way [`STOP_DEADLINE`] to end, then cuts.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.accept.join_next().await.is_some() {}
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The port is taken or the address is not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// Address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no certificate to show.
    #[error("TLS not set up")]
    Tls(#[from] TlsError),
}

#[derive(Clone)]
struct Shared {
    tls: TlsAcceptor,
    connections: Arc<AtomicUsize>,
    limits: Limits,
    stop: CancellationToken,
}

async fn accept_all<S, F>(listener: TcpListener, shared: Shared, service: S)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            Some(_ended) = running.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    running.spawn(serve(stream, peer, shared.clone(), service.clone()));
                }
                Err(error) => {
                    // Too many open files, or a client that was gone at once: neither lasts.
                    tracing::debug!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drain = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_DEADLINE, drain).await.is_err() {
        running.shutdown().await;
    }
}

async fn serve<S, F>(stream: TcpStream, peer: SocketAddr, shared: Shared, service: S)
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let place = Place::take(&shared.connections);
    let refuse = shared.limits.connections.is_some_and(|cap| place.taken > cap);
    let connection =
        Connection { peer, reset: Arc::new(AtomicBool::new(false)), cut: CancellationToken::new() };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay not set");
    }
    let wire = Wire { stream, reset: Arc::clone(&connection.reset) };
    let wire = BufReader::with_capacity(READ_AHEAD_LEN, wire);
    let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, shared.tls.accept(wire));
    let stream = tokio::select! {
        () = shared.stop.cancelled() => return,
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS"),
            Err(_) => return tracing::debug!(%peer, "no TLS in time"),
        },
    };

    let inner = connection.clone();
    let service = Arc::new(service);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let reply = (!refuse).then(|| {
            request.extensions_mut().insert(inner.clone());
            service(request)
        });
        Box::pin(async move {
            Ok::<_, Infallible>(match reply {
                Some(reply) => reply.await,
                None => refusal(),
            })
        })
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
    let mut serving = http.serve_connection(TokioIo::new(stream), answer);
    let served = tokio::select! {
        () = connection.cut.cancelled() => return,
        () = shared.stop.cancelled() => {
            Pin::new(&mut serving).graceful_shutdown();
            poll_fn(|cx| serving.poll_without_shutdown(cx)).await
        }
        served = poll_fn(|cx| serving.poll_without_shutdown(cx)) => served,
    };
    match served {
        Ok(()) => linger(serving.into_parts().io.into_inner(), &shared.stop).await,
        Err(error) => tracing::debug!(%peer, %error, "connection ended"),
    }
}

/// Ends a connection so that the client can read the reply to an upload it is still sending.
///
/// Closing a socket with unread bytes sends a reset, and a reset takes away what the client has
/// not read yet.  So: say that nothing more comes, then read and drop what is under way.
async fn linger(mut stream: TlsStream<BufReader<Wire>>, stop: &CancellationToken) {
    let drain = async {
        stream.shutdown().await?;
        let mut left = LINGER_BYTES_MAX;
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            left = left.saturating_sub(read);
        }
        io::Result::Ok(())
    };
    tokio::select! {
        () = stop.cancelled() => {}
        drained = tokio::time::timeout(LINGER_DEADLINE, drain) => {
            if let Ok(Err(error)) = drained {
                tracing::trace!(%error, "client gone");
            }
        }
    }
}

fn refusal() -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "Too many connections");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A place among the open connections, given back on drop.
struct Place {
    connections: Arc<AtomicUsize>,
    /// Open connections, this one included.
    taken: usize,
}

impl Place {
    fn take(connections: &Arc<AtomicUsize>) -> Self {
        let taken = connections.fetch_add(1, Ordering::AcqRel) + 1;
        Self { connections: Arc::clone(connections), taken }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The TCP stream under TLS; closes with a reset when that was asked for.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Acquire)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "no reset, only a close");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// rustls reads 4 KiB at a time; with this it takes one system call for four records of 16 KiB.
const READ_AHEAD_LEN: usize = 64 << 10;

/// A client that does not finish its handshake in this time holds a place for nothing.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Time for the head of a request, waiting for the next one on an open connection included.
/// Longer than clients keep idle connections (90 s is usual), so that they close first.
const HEADER_DEADLINE: Duration = Duration::from_secs(120);

/// Time for a client to stop sending after a reply that did not want its body.
const LINGER_DEADLINE: Duration = Duration::from_secs(2);

/// Bytes read and dropped for the same reason: a few socket buffers.
const LINGER_BYTES_MAX: usize = 16 << 20;

/// Time for replies under way when the server stops.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

/// Pause when the system refuses a new socket, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
