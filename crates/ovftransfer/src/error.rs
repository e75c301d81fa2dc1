//! What can go wrong, and whose turn it is then.

mod finding;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ovftransfer_ovf::CertificateError;
use ovftransfer_ovf::Digest;
use ovftransfer_ovf::EnvelopeError;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::ManifestError;
use ovftransfer_ovf::certificate::KeyError;
use ovftransfer_ovf::ova::OvaError;
use ovftransfer_vim::ErrorKind as VimErrorKind;
use ovftransfer_vim::VimError;
use ovftransfer_vim::fault::Fault;
use ovftransfer_vim::transport::TransportError;
use ovftransfer_vim::value::MoRef;
use ovftransfer_vmdk::VmdkError;

pub use crate::error::finding::Check;
pub use crate::error::finding::Finding;
pub use crate::error::finding::Severity;
use crate::event::Step;

/// Why a transfer, or the preparation of one, failed.
///
/// `Display` says what this layer was doing; the cause is in
/// [`source`](std::error::Error::source) and is not repeated here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine is imported and complete, but something that was to be done to it then failed.
    ///
    /// Nothing is undone: the machine stays.
    #[error("{name} ({entity}) is imported and complete, but {step} failed")]
    AfterImport {
        /// The machine's present name.
        name: String,
        /// The machine.
        entity: MoRef,
        /// What failed; what would have come after it was not done either.
        step: Step,
        /// Why.
        #[source]
        source: Box<Self>,
    },
    /// A card of the new machine is not on its network as it should be, and it must be.
    #[error("the network of {name} is not as it must be: {}", finding::errors(findings))]
    BadNetwork {
        /// The machine or vApp.
        name: String,
        /// Everything that was found, also what would not matter.
        findings: Vec<Finding>,
    },
    /// The caller cancelled; everything that was made has been removed again.
    #[error("cancelled; nothing is left behind")]
    Cancelled,
    /// The caller cancelled, and the clean-up could not be confirmed.
    #[error("cancelled, but the clean-up is not complete: {left_behind}")]
    CancelledUnclean {
        /// What may be left, and where.
        left_behind: String,
    },
    /// The package has licences that the caller has not agreed to.
    #[error("{package} has {} to agree to before it is imported", licences(*count))]
    Eulas {
        /// The package.
        package: String,
        /// How many licences it has.
        count: usize,
    },
    /// Bytes are not the bytes that were promised.
    #[error("{file}: {against} says {expected}, but the bytes have {computed}")]
    DigestMismatch {
        /// The file.
        file: FileName,
        /// Whose promise was broken: the package's manifest or the server's.
        against: &'static str,
        /// The promise.
        expected: Box<Digest>,
        /// What the bytes have.
        computed: Box<Digest>,
    },
    /// A file has another size than was promised.
    #[error("{file}: {against} says {expected} bytes, but there are {found}")]
    SizeMismatch {
        /// The file.
        file: FileName,
        /// Whose promise was broken.
        against: &'static str,
        /// The promise, in bytes.
        expected: u64,
        /// What is there, in bytes.
        found: u64,
    },
    /// The server's manifest does not prove a file.
    #[error("{file}: not proven, the server's manifest {reason}")]
    Unproven {
        /// The file.
        file: FileName,
        /// What is missing.
        reason: &'static str,
    },
    /// A disk is not a sound stream-optimized VMDK.
    #[error("{file}: not a sound stream-optimized VMDK")]
    Structure {
        /// The file.
        file: FileName,
        /// What is wrong, and where.
        #[source]
        source: Box<VmdkError>,
    },
    /// A disk that is a file of its own is damaged, or of a kind that is not supported.
    #[error("{}: this disk cannot be used", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: Box<VmdkError>,
    },
    /// A host answered with success, and sent nothing where a disk should come.
    #[error(
        "{file}: {host} sent nothing for this disk; some servers serve one disk of a lease only, so \
         try a lease for each disk"
    )]
    EmptyDisk {
        /// The file.
        file: FileName,
        /// The host as `name:port`.
        host: String,
    },
    /// The package cannot be used as it is.
    #[error("{package}: {problem}")]
    Package {
        /// The package's file, or the file in it.
        package: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The package's descriptor cannot be used.
    #[error("{package}: the descriptor is not valid")]
    Envelope {
        /// The descriptor.
        package: String,
        /// What is wrong, and where.
        #[source]
        source: Box<EnvelopeError>,
    },
    /// The package's manifest cannot be used.
    #[error("{package}: the manifest is not valid")]
    Manifest {
        /// The manifest.
        package: String,
        /// What is wrong, and where.
        #[source]
        source: Box<ManifestError>,
    },
    /// The package's signature does not fit its manifest, or its certificate cannot be used.
    #[error("{package}: the signature is not valid")]
    Certificate {
        /// The certificate.
        package: String,
        /// What is wrong.
        #[source]
        source: Box<CertificateError>,
    },
    /// The package could not be signed.
    #[error("the package cannot be signed")]
    Signing {
        /// What the key says.
        #[source]
        source: Box<KeyError>,
    },
    /// A signature by somebody who is trusted was asked for, and the package has none.
    #[error("{package}: a signature is required, but {problem}")]
    Unsigned {
        /// The package.
        package: String,
        /// What is missing, and what to do.
        problem: String,
    },
    /// The package is not a sound OVA.
    #[error("{package}: not a sound OVA")]
    Ova {
        /// The package.
        package: String,
        /// What is wrong, and where.
        #[source]
        source: Box<OvaError>,
    },
    /// A file of the local machine could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Local {
        /// What was tried: `read`, `write`, `create`, `rename`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Moving a file stopped in the middle.
    #[error("{file}: {side} {at} stopped at byte {at_byte}")]
    Stream {
        /// The file.
        file: FileName,
        /// Which side broke: `reading from` or `writing to`.
        side: &'static str,
        /// The host as `name:port`, or the file.
        at: String,
        /// Where, in bytes from the start.
        at_byte: u64,
        /// What the system or the host said.
        #[source]
        source: io::Error,
    },
    /// A host that serves or takes files of the lease cannot be used.  No file has moved.
    #[error("no file can move, as the lease leads to the host {host}")]
    Host {
        /// The host as `name:port`.
        host: String,
        /// Why not.
        #[source]
        source: TransportError,
    },
    /// The plan has found what stands against the transfer; nothing was created.
    #[error("{what}: {}", finding::errors(findings))]
    Preflight {
        /// What cannot be done, as a sentence.
        what: String,
        /// Everything that was found, also what would not stop the transfer.
        findings: Vec<Finding>,
    },
    /// The machine's guest has not reported an address.
    #[error(
        "the guest has reported no address within {} seconds; it needs VMware Tools for that",
        after.as_secs()
    )]
    NoAddress {
        /// How long it was waited for.
        after: Duration,
    },
    /// The server's answer, or the way to it, was not as it should be.
    #[error(transparent)]
    Server(Box<VimError>),
    /// There is a file where one is to be made.
    #[error("{} exists; overwrite it, or choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A machine runs that can only be exported as it is when it is off.
    #[error("{problem}")]
    Running {
        /// Which one, and what can be done instead.
        problem: String,
    },
    /// Something is not as the request needs it, on the server or on this machine.
    #[error("{problem}")]
    Refused {
        /// What is refused, why, and what to do.
        problem: String,
    },
    /// Something that the request names is not there, or a default is not clear.
    #[error("{problem}")]
    NotFound {
        /// What is missing, and what there is instead.
        problem: String,
    },
    /// The lease ended on the server, or could not be had.
    #[error("the lease {lease} was lost: {reason}")]
    LeaseLost {
        /// The part of the lease's id that may be shown.
        lease: String,
        /// How it was lost.
        reason: String,
        /// The server's reason, if it gave one.
        #[source]
        source: Option<Box<Self>>,
    },
    /// The lease went into the state `error` with this fault.
    #[error("{0}")]
    LeaseFault(Box<Fault>),
}

/// Coarse class of an [`Error`]: stable, unlike the variants.  Decides retries and exit codes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller cancelled; cleaned up.
    Cancelled,
    /// The caller cancelled; something may be left behind.
    CancelledUnclean,
    /// Bytes are not what was promised.
    DigestMismatch,
    /// The lease is gone.
    LeaseLost,
    /// A local file could not be read or written.
    LocalFile,
    /// The network, or a host on it.
    Network,
    /// No space, or no quota, on either side.
    NoSpace,
    /// A name leads nowhere, or to several things.
    NotFound,
    /// The package is not valid.
    Package,
    /// Login or permission.
    Permission,
    /// The server refuses, for instance because the name exists.
    Refused,
    /// A certificate or thumbprint.
    Tls,
    /// None of the above.
    Unexpected,
}

impl From<VimError> for Error {
    fn from(error: VimError) -> Self {
        Self::Server(Box::new(error))
    }
}

impl Error {
    /// The coarse class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            // The machine stays: whoever cancelled must know that something is there.
            Self::AfterImport { source, .. } if matches!(**source, Self::Cancelled) => {
                ErrorKind::CancelledUnclean
            }
            Self::AfterImport { source, .. } => source.kind(),
            Self::Cancelled => ErrorKind::Cancelled,
            Self::CancelledUnclean { .. } => ErrorKind::CancelledUnclean,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } | Self::Unproven { .. } => {
                ErrorKind::DigestMismatch
            }
            Self::Certificate { source, .. }
                if matches!(**source, CertificateError::Mismatch { .. }) =>
            {
                ErrorKind::DigestMismatch
            }
            Self::Disk { .. }
            | Self::EmptyDisk { .. }
            | Self::Structure { .. }
            | Self::Package { .. }
            | Self::Envelope { .. }
            | Self::Manifest { .. }
            | Self::Certificate { .. }
            | Self::Unsigned { .. }
            | Self::Ova { .. } => ErrorKind::Package,
            Self::Host { source, .. } => transport_kind(source),
            Self::Local { source, .. } => local_kind(source),
            Self::Stream { source, .. } => stream_kind(source),
            Self::Server(error) => server_kind(error),
            Self::NoAddress { .. } => ErrorKind::Network,
            Self::Signing { .. } => ErrorKind::Unexpected,
            Self::Preflight { findings, .. } => {
                let error = findings.iter().find(|one| one.severity == Severity::Error);
                error.map_or(ErrorKind::Refused, |error| error.kind)
            }
            Self::BadNetwork { .. }
            | Self::Eulas { .. }
            | Self::Exists { .. }
            | Self::Refused { .. }
            | Self::Running { .. } => ErrorKind::Refused,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::LeaseLost { .. } => ErrorKind::LeaseLost,
            Self::LeaseFault(fault) => fault_kind(fault),
        }
    }

    /// The error and its causes in one line, for messages and for the server's task.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            // Some causes repeat what their wrapper says.
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = error.source();
        }
        line
    }
}

/// A device host answered a request for a file with something else than success.
///
/// Travels inside [`io::Error`], so that sources and sinks have one kind of error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the host answered {status}{detail}")]
pub struct DeviceStatus {
    /// The HTTP status.
    pub(crate) status: u16,
    /// What this status means on an NFC service, and the first words of the answer.
    pub(crate) detail: String,
}

impl DeviceStatus {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Finds the status inside an error of a source or sink.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Makes an error of what a plan has found, if something of it stops the transfer.
///
/// `what` says as a sentence what cannot be done then.
pub(crate) fn check_findings(
    what: impl FnOnce() -> String,
    findings: &[Finding],
) -> Result<(), Error> {
    if findings.iter().all(|finding| finding.severity != Severity::Error) {
        return Ok(());
    }
    Err(Error::Preflight { what: what(), findings: findings.to_vec() })
}

fn licences(count: usize) -> String {
    if count == 1 { "a licence".to_owned() } else { format!("{count} licences") }
}

/// A web server answered a request for a file of a package with something else than the file.
///
/// Travels inside [`io::Error`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server answered {status}{}", self.meaning())]
pub(crate) struct WebStatus {
    status: u16,
}

impl WebStatus {
    pub(crate) const fn new(status: u16) -> Self {
        Self { status }
    }

    /// Whether the answer may be another one a moment later.
    pub(crate) const fn may_pass(self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502..=504)
    }

    const fn meaning(self) -> &'static str {
        match self.status {
            401 => " (it wants a user and a password: https://user:password@...)",
            403 => " (it does not allow that)",
            404 | 410 => " (there is no such file)",
            429 | 503 => " (it is overloaded)",
            _ => "",
        }
    }
}

/// A stream ended although a file of its archive had not.
///
/// Travels inside [`io::Error`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the stream ended at its byte {at_byte}, in the middle of the file")]
pub(crate) struct StreamEnded {
    /// The length of the stream in bytes.
    pub(crate) at_byte: u64,
}

/// An answer of a web server that does not fit the question.
///
/// Travels inside [`io::Error`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misfit(pub(crate) String);

/// A file on a web server is not what it was when it was first seen.
///
/// Travels inside [`io::Error`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the file has changed while it was read: {what}")]
pub(crate) struct FileChanged {
    /// How that shows.
    pub(crate) what: &'static str,
}

/// What is wrong with a compressed file of a package.
///
/// Travels inside [`io::Error`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum GzipFault {
    #[error("it is not sound gzip data ({0})")]
    Broken(String),
    #[error("behind its gzip data there is something else")]
    Garbage,
    #[error("it holds more than {limit_bytes} bytes, which is too much for what it is")]
    TooLarge { limit_bytes: u64 },
    #[error("its gzip data ends in the middle")]
    Truncated,
}

/// Whether a source has found that its file is not what it was, or not what was asked for: it would
/// be no other the next time.
pub(crate) fn is_final(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| {
        inner.is::<FileChanged>() || inner.is::<Misfit>() || inner.is::<GzipFault>()
    })
}

fn local_kind(error: &io::Error) -> ErrorKind {
    let no_space =
        [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
    if no_space.contains(&error.kind()) { ErrorKind::NoSpace } else { ErrorKind::LocalFile }
}

const fn transport_kind(error: &TransportError) -> ErrorKind {
    match error {
        TransportError::Tls { .. } => ErrorKind::Tls,
        TransportError::Invalid { .. } => ErrorKind::Unexpected,
        TransportError::Connect { .. } | TransportError::Broken { .. } | _ => ErrorKind::Network,
    }
}

fn stream_kind(error: &io::Error) -> ErrorKind {
    let transport = error.get_ref().and_then(|inner| inner.downcast_ref::<TransportError>());
    if let Some(error) = transport {
        return transport_kind(error);
    }
    if let Some(answer) = error.get_ref().and_then(|inner| inner.downcast_ref::<WebStatus>()) {
        return match answer.status {
            401 | 403 | 407 => ErrorKind::Permission,
            404 | 410 => ErrorKind::NotFound,
            _ => ErrorKind::Network,
        };
    }
    let is_unsound = |inner: &(dyn std::error::Error + Send + Sync + 'static)| {
        inner.is::<StreamEnded>() || inner.is::<GzipFault>()
    };
    if error.get_ref().is_some_and(is_unsound) {
        return ErrorKind::Package;
    }
    if DeviceStatus::of(error).is_some() {
        return ErrorKind::Network;
    }
    // Reads and writes by position say this of a file that is shorter, or of a disk that takes
    // nothing; the same kinds from a connection carry a text.
    let is_plain = error.get_ref().is_none();
    if is_plain && matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero) {
        return ErrorKind::LocalFile;
    }
    match error.raw_os_error() {
        // An error number of the file system; those of sockets come as a `TransportError`.
        Some(_) => local_kind(error),
        // A store of the caller's says so in its own way.
        None if local_kind(error) == ErrorKind::NoSpace => ErrorKind::NoSpace,
        None => ErrorKind::Network,
    }
}

fn server_kind(error: &VimError) -> ErrorKind {
    if error.is_fault("Timedout") {
        return ErrorKind::LeaseLost;
    }
    match error.kind() {
        VimErrorKind::Ambiguous | VimErrorKind::Gone | VimErrorKind::NotFound => {
            ErrorKind::NotFound
        }
        VimErrorKind::Denied => ErrorKind::Permission,
        VimErrorKind::NameExists | VimErrorKind::Refused => ErrorKind::Refused,
        VimErrorKind::Network | VimErrorKind::Protocol => ErrorKind::Network,
        VimErrorKind::NoSpace => ErrorKind::NoSpace,
        VimErrorKind::SessionLost => ErrorKind::LeaseLost,
        VimErrorKind::Tls => ErrorKind::Tls,
        _ => ErrorKind::Unexpected,
    }
}

/// The class of the fault of a lease that could not be had.
pub(crate) fn fault_kind(fault: &Fault) -> ErrorKind {
    const TABLE: [(&str, ErrorKind); 5] = [
        ("SecurityError", ErrorKind::Permission),
        ("NoDiskSpace", ErrorKind::NoSpace),
        ("InsufficientResourcesFault", ErrorKind::NoSpace),
        ("HostCommunication", ErrorKind::Network),
        ("Timedout", ErrorKind::LeaseLost),
    ];
    TABLE.iter().find(|(name, _)| fault.is(name)).map_or(ErrorKind::Refused, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(source: io::Error) -> ErrorKind {
        let file = FileName::new("disk.vmdk").unwrap();
        let at = "x".to_owned();
        Error::Stream { file, side: "reading from", at, at_byte: 7, source }.kind()
    }

    #[test]
    fn a_broken_stream_says_whose_side_it_was() {
        assert_eq!(stopped(io::ErrorKind::UnexpectedEof.into()), ErrorKind::LocalFile);
        assert_eq!(stopped(io::Error::from_raw_os_error(5)), ErrorKind::LocalFile);
        assert_eq!(stopped(io::Error::from_raw_os_error(28)), ErrorKind::NoSpace);
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the body ended 3 bytes too early");
        assert_eq!(stopped(cut), ErrorKind::Network);
        assert_eq!(stopped(io::ErrorKind::ConnectionReset.into()), ErrorKind::Network);
        let busy = DeviceStatus { status: 503, detail: String::new() };
        assert_eq!(stopped(io::Error::other(busy)), ErrorKind::Network);
    }

    #[test]
    fn the_chain_is_one_line_without_repetition() {
        let file = FileName::new("disk.vmdk").unwrap();
        let source = io::Error::other("no route to host");
        let at = "esx1:443".to_owned();
        let error = Error::Stream { file, side: "reading from", at, at_byte: 7, source };
        assert_eq!(
            error.chain(),
            "disk.vmdk: reading from esx1:443 stopped at byte 7: no route to host"
        );
    }
}
