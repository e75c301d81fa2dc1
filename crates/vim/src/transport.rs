//! The one place where HTTP requests leave the process.
//!
//! Everything above speaks in terms of [`Transport`]: `http` requests with byte-stream bodies.
//! In production it is `HttpTransport` of the module above; scenario tests play a
//! scripted one on a paused clock.

use std::fmt;
use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::tls::Trust;

/// The bytes of one body, in order, from byte 0.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// Sends HTTP/1.1 requests.
///
/// # Contract
///
/// - The peer is checked against `trust` in the TLS handshake, before a byte of the request is
///   sent.
/// - Redirects are not followed: a 3xx answer is returned as it is.
/// - No cookie or credential is added: what `request` does not carry is not sent.
/// - No time limit applies to the request as a whole, nor to the wait for an answer; the caller
///   drops the future.  Connecting (with the handshake) is limited to 30 seconds.
/// - A request body is polled only as fast as the peer takes it.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Sends `request` and returns the answer once its head has arrived.
    fn send(
        &self,
        request: http::Request<Body>,
        trust: &Trust,
    ) -> BoxFuture<'_, Result<http::Response<ByteStream>, TransportError>>;
}

/// The body of a request.
#[expect(clippy::exhaustive_enums, reason = "a transport must be able to send every form")]
pub enum Body {
    /// No body.
    Empty,
    /// A body in memory.
    Full(Bytes),
    /// A body of exactly `len_bytes` bytes; `Content-Length` says so, never chunked.
    Stream {
        /// The length in bytes.
        len_bytes: u64,
        /// The bytes.
        stream: ByteStream,
    },
}

impl fmt::Debug for Body {
    /// Never the bytes: they may be a password or a disk.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream { len_bytes, .. } => write!(f, "Stream({len_bytes} bytes)"),
        }
    }
}

/// Why no answer came.
///
/// `host` is `name:port`; the path is left out because a device URL carries the lease's ticket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The host could not be reached: name resolution, routing, refused, time-out.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// The host, with its port.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// The connection broke after it was made.
    #[error("the connection to {host} broke: {reason}")]
    Broken {
        /// The host, with its port.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// The certificate is not the pinned one, or not trusted.
    #[error("{host} is not trusted: {reason}")]
    Tls {
        /// The host, with its port.
        host: String,
        /// What is wrong with the certificate.
        reason: String,
        /// SHA-256 thumbprint of the certificate that was presented, if one was.
        presented: Option<String>,
    },
    /// The request could not be built.
    #[error("not a valid request for {host}: {reason}")]
    Invalid {
        /// The host, with its port.
        host: String,
        /// Why not.
        reason: String,
    },
}
