//! Why a call, or the search for something, failed.

use std::time::Duration;

use crate::fault::Fault;
use crate::transport::TransportError;

/// What went wrong between us and the server.
///
/// Every variant names the host, and where it is about a call, the call.  The cause of
/// [`VimError::Transport`] is in `source`; nothing here ever prints a password, a cookie, a session
/// key or a ticket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VimError {
    /// A name stands for more than one object, or none was given where there is more than one.
    #[error("{path} is ambiguous on {host}: {}", candidates.join(", "))]
    Ambiguous {
        /// The API host.
        host: String,
        /// What was looked for.
        path: String,
        /// Everything it could be.
        candidates: Vec<String>,
    },
    /// The server refused the call.
    #[error("{call} on {host}: {fault}")]
    Fault {
        /// The API host.
        host: String,
        /// The method.
        call: String,
        /// What the server said.
        fault: Box<Fault>,
    },
    /// A request cannot be written, such as a name with a control character in it.
    #[error("{call} on {host} cannot be sent: {reason}")]
    Invalid {
        /// The API host.
        host: String,
        /// The method.
        call: String,
        /// Why not.
        reason: String,
    },
    /// The lease is not on the server any more: ended, timed out, or another session's.
    #[error("lease {lease} is gone from {host}")]
    LeaseGone {
        /// The API host.
        host: String,
        /// The lease, without the session key.
        lease: String,
    },
    /// There is no object of that name.
    #[error("{path} not found on {host}{}", near_text(near))]
    NotFound {
        /// The API host.
        host: String,
        /// The path, as far as it was asked for.
        path: String,
        /// Names at that place that look alike.
        near: Vec<String>,
    },
    /// What has that name is of another kind.
    #[error("{path} on {host} is {found}, not {wanted}")]
    OtherKind {
        /// The API host.
        host: String,
        /// The path, as far as it was asked for.
        path: String,
        /// What it is.
        found: &'static str,
        /// What was wanted.
        wanted: String,
    },
    /// The answer is not one of the API's.
    #[error("{call} on {host}: {reason}")]
    Protocol {
        /// The API host.
        host: String,
        /// The method.
        call: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The session has ended: logged out, idle for too long, or ended by an administrator.
    #[error("the session on {host} has ended ({call})")]
    SessionLost {
        /// The API host.
        host: String,
        /// The method that was refused.
        call: String,
    },
    /// The server answered with an HTTP status that is not the API's.
    #[error("{call} on {host}: HTTP status {status}{}", snippet_text(snippet))]
    Status {
        /// The API host.
        host: String,
        /// The method.
        call: String,
        /// The status.
        status: u16,
        /// The beginning of the body, on one line.
        snippet: String,
    },
    /// No answer came in time.  While a session connects, `call` is `connecting`.
    #[error("{}: no answer within {} seconds", calling(call, host), after.as_secs())]
    TimedOut {
        /// The API host.
        host: String,
        /// The method.
        call: String,
        /// How long we waited.
        after: Duration,
    },
    /// The server is older than the call.  Nothing was sent.
    #[error("{host} is too old for {call}: it speaks version {version}, and {since} is needed")]
    TooOld {
        /// The API host.
        host: String,
        /// The method.
        call: String,
        /// The server's version of the API; empty if it says none.
        version: String,
        /// The first version with the method.
        since: &'static str,
    },
    /// No answer came at all.  While a session connects, `call` is `connecting`.
    #[error("{} failed", calling(call, host))]
    Transport {
        /// The API host.
        host: String,
        /// The method.
        call: String,
        /// Why.
        #[source]
        source: TransportError,
    },
}

/// Coarse class of a [`VimError`]; stable, unlike the variants.  Decides retry and exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// More than one object fits.
    Ambiguous,
    /// Wrong user name or password, or a missing privilege.
    Denied,
    /// The object of the call is not on the server any more.
    Gone,
    /// The name is taken.
    NameExists,
    /// Not reached, broken or too slow.  The same call may succeed later.
    Network,
    /// No space, or no resources left.
    NoSpace,
    /// No object of that name.
    NotFound,
    /// Not a vSphere server, or one that we do not understand.
    Protocol,
    /// Refused for any other reason.
    Refused,
    /// The session has ended, and with it every lease it held.
    SessionLost,
    /// The certificate is not trusted.
    Tls,
}

impl VimError {
    /// Coarse class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Ambiguous { .. } => ErrorKind::Ambiguous,
            Self::Fault { fault, .. } => fault_kind(fault),
            Self::Invalid { .. } => ErrorKind::Refused,
            Self::LeaseGone { .. } => ErrorKind::Gone,
            Self::NotFound { .. } | Self::OtherKind { .. } => ErrorKind::NotFound,
            Self::Protocol { .. } => ErrorKind::Protocol,
            Self::SessionLost { .. } => ErrorKind::SessionLost,
            // Proxies and restarting servers answer 5xx; everything else is not the API.
            Self::Status { status, .. } if *status >= 500 => ErrorKind::Network,
            Self::Status { .. } => ErrorKind::Protocol,
            Self::TimedOut { .. } => ErrorKind::Network,
            Self::TooOld { .. } => ErrorKind::Refused,
            Self::Transport { source: TransportError::Tls { .. }, .. } => ErrorKind::Tls,
            Self::Transport { source: TransportError::Invalid { .. }, .. } => ErrorKind::Refused,
            Self::Transport { .. } => ErrorKind::Network,
        }
    }

    /// The fault, if the server sent one.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault { fault, .. } => Some(fault),
            Self::Ambiguous { .. }
            | Self::Invalid { .. }
            | Self::LeaseGone { .. }
            | Self::NotFound { .. }
            | Self::OtherKind { .. }
            | Self::Protocol { .. }
            | Self::SessionLost { .. }
            | Self::Status { .. }
            | Self::TimedOut { .. }
            | Self::TooOld { .. }
            | Self::Transport { .. } => None,
        }
    }

    /// Whether the server refused with a fault of this type or a known sub-type of it.
    #[must_use]
    pub fn is_fault(&self, type_name: &str) -> bool {
        self.fault().is_some_and(|fault| fault.is(type_name))
    }
}

fn fault_kind(fault: &Fault) -> ErrorKind {
    const TABLE: [(&str, ErrorKind); 10] = [
        ("InvalidLogin", ErrorKind::Denied),
        ("SecurityError", ErrorKind::Denied),
        ("DuplicateName", ErrorKind::NameExists),
        ("FileAlreadyExists", ErrorKind::NameExists),
        ("ManagedObjectNotFound", ErrorKind::Gone),
        ("NoDiskSpace", ErrorKind::NoSpace),
        ("InsufficientResourcesFault", ErrorKind::NoSpace),
        ("HostCommunication", ErrorKind::Network),
        ("RequestCanceled", ErrorKind::Network),
        ("ConcurrentAccess", ErrorKind::Network),
    ];
    TABLE.iter().find(|(name, _)| fault.is(name)).map_or(ErrorKind::Refused, |(_, kind)| *kind)
}

/// What stands for the call in errors about the first contact: which of several small questions
/// was not answered says nothing to people.
pub(crate) const CONNECTING: &str = "connecting";

fn calling(call: &str, host: &str) -> String {
    if call == CONNECTING { format!("connecting to {host}") } else { format!("{call} on {host}") }
}

fn near_text(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!(", but there is {}", near.join(", ")) }
}

fn snippet_text(snippet: &str) -> String {
    if snippet.is_empty() { String::new() } else { format!(": {snippet}") }
}
