//! How a run ends: exit codes, and the words for a failure.

use std::fmt;
use std::io;
use std::process::ExitCode;

use ovftransfer::Check;
use ovftransfer::DiskFault;
use ovftransfer::Error;
use ovftransfer::ErrorKind;
use ovftransfer::Severity;
use ovftransfer::TransportError;
use ovftransfer::VimError;
use ovftransfer::VmdkError;
use ovftransfer_simulator::scenario::ScenarioError;

/// How a run ended, for scripts.  The numbers are a promise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Code {
    Unexpected = 1,
    Usage = 2,
    Permission = 3,
    NotFound = 4,
    Tls = 5,
    Package = 6,
    DigestMismatch = 7,
    LeaseLost = 8,
    Network = 9,
    Cancelled = 10,
    CancelledUnclean = 11,
    Refused = 12,
    NoSpace = 13,
    LocalFile = 14,
}

impl Code {
    /// The number that the process returns.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// The word for it in JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::Tls => "tls",
            Self::Package => "package",
            Self::DigestMismatch => "digest_mismatch",
            Self::LeaseLost => "lease_lost",
            Self::Network => "network",
            Self::Cancelled => "cancelled",
            Self::CancelledUnclean => "cancelled_unclean",
            Self::Refused => "refused",
            Self::NoSpace => "no_space",
            Self::LocalFile => "local_file",
        }
    }
}

impl From<ErrorKind> for Code {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::CancelledUnclean => Self::CancelledUnclean,
            ErrorKind::DigestMismatch => Self::DigestMismatch,
            ErrorKind::LeaseLost => Self::LeaseLost,
            ErrorKind::LocalFile => Self::LocalFile,
            ErrorKind::Network => Self::Network,
            ErrorKind::NoSpace => Self::NoSpace,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Package => Self::Package,
            ErrorKind::Permission => Self::Permission,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Tls => Self::Tls,
            // All kinds are named above; clippy says so when one is added.
            ErrorKind::Unexpected | _ => Self::Unexpected,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

/// Why a command failed, in words for a person.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// The error and its causes in one line, without `error:`.
    pub(crate) message: String,
    /// What to do about it, where that helps.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A failure of the local machine, such as one of the terminal or the runtime.
    pub(crate) fn local(what: impl fmt::Display, error: &io::Error) -> Self {
        let is_full =
            [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge]
                .contains(&error.kind());
        let code = if is_full { Code::NoSpace } else { Code::LocalFile };
        Self::new(code, format!("{what}: {error}"))
    }

    /// Nothing had been made yet when the user interrupted.
    pub(crate) fn cancelled() -> Self {
        Self::new(Code::Cancelled, Error::Cancelled.to_string())
    }

    /// A clean-up was interrupted; the journal still tells of what is left.
    pub(crate) fn cancelled_reap() -> Self {
        let message = "interrupted; what is left is still written down, so run it again";
        Self::new(Code::CancelledUnclean, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = Code::from(error.kind());
        Self { code, message: error.chain(), hint: hint_for(&error, code) }
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Self::usage(format!("{error}{}", cause.unwrap_or_default()))
    }
}

/// What a user can do about an error.
fn hint_for(error: &Error, code: Code) -> Option<String> {
    let text = if code == Code::Tls {
        return Some(trust_hint(error));
    } else if is_fault(error, "InvalidLogin") {
        "check the user and the password; --username and --password-file set them"
    } else if is_fault(error, "DuplicateName") {
        "choose another name with --name"
    } else if let Error::Unsigned { .. } = error {
        "take the package from its maker, or leave out --require-signature if you trust its origin"
    } else if let Error::Eulas { .. } = error {
        "read what they say with inspect -v PACKAGE, and agree with --accept-eulas"
    } else if let Error::BadNetwork { .. } = error {
        "without --require-network a bad port is a warning; --port puts a card on another one"
    } else if let Error::Exists { .. } = error {
        "--overwrite replaces it"
    } else if let Error::Running { .. } = error {
        "--live makes the temporary snapshot, --snapshot NAME exports one that is there"
    } else if let Error::Unproven { .. } = error {
        "--verify prefer accepts what the server cannot prove"
    } else if is_unclear_datastore(error) {
        "name one of them with --datastore"
    } else if stands_against(error, Check::Name) {
        "choose another name with --name; --overwrite replaces a machine that is powered off"
    } else if is_not_vsphere(error) {
        "the address must be that of a vCenter or an ESXi host, with the port of its API; only a \
         vCenter since 8.0.1.0 has --wire json, all servers have --wire soap"
    } else if let Error::Host { .. } = error {
        "files move between this machine and the ESXi hosts directly: it must know their names and \
         reach their port; check name resolution, firewalls, HTTPS_PROXY and NO_PROXY"
    } else if let Error::EmptyDisk { .. } = error {
        "--lease-per-disk takes a lease for each disk"
    } else if let Some(DiskFault::NoDisk { .. }) = disk_fault(error) {
        "a package becomes another one: name an .ova, an .ovf or a folder; unpack what is packed; \
         what is a raw disk for all that is taken as one by --input-format raw"
    } else if let Some(DiskFault::Unsupported { .. }) = disk_fault(error) {
        "qemu-img convert may make a disk of it that can be read: raw, qcow2 or vmdk"
    } else if is_unreached(error) {
        "check the host's name and port, the network between, and HTTPS_PROXY and NO_PROXY"
    } else {
        return None;
    };
    Some(text.to_owned())
}

/// Whether something answered, but not as the API does.
fn is_not_vsphere(error: &Error) -> bool {
    let Error::Server(error) = error else { return false };
    match **error {
        VimError::Protocol { .. } => true,
        VimError::Status { status, .. } => status < 500,
        VimError::Ambiguous { .. }
        | VimError::Fault { .. }
        | VimError::Invalid { .. }
        | VimError::LeaseGone { .. }
        | VimError::NotFound { .. }
        | VimError::OtherKind { .. }
        | VimError::SessionLost { .. }
        | VimError::TimedOut { .. }
        | VimError::Transport { .. }
        | _ => false,
    }
}

/// Whether the first thing that stands against a transfer is of this kind.
fn stands_against(error: &Error, check: Check) -> bool {
    let Error::Preflight { findings, .. } = error else { return false };
    let mut errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.next().is_some_and(|finding| finding.check == check)
}

/// What is wrong with the bytes of a disk that is a file of its own.
fn disk_fault(error: &Error) -> Option<&DiskFault> {
    let Error::Disk { source, .. } = error else { return None };
    if let VmdkError::Corrupt { fault, .. } = &**source { Some(fault) } else { None }
}

/// Whether no datastore was named where there are several.
fn is_unclear_datastore(error: &Error) -> bool {
    let Error::Server(error) = error else { return false };
    matches!(&**error, VimError::Ambiguous { path, .. } if path.ends_with("datastore"))
}

/// Whether no connection to the server came about.
fn is_unreached(error: &Error) -> bool {
    use std::error::Error as _;

    let Error::Server(error) = error else { return false };
    let cause = error.source().and_then(|cause| cause.downcast_ref::<TransportError>());
    matches!(cause, Some(TransportError::Connect { .. }))
}

fn is_fault(error: &Error, name: &str) -> bool {
    if let Error::Server(error) = error {
        error.is_fault(name)
    } else if let Error::LeaseFault(fault) = error {
        fault.is(name)
    } else {
        false
    }
}

/// The thumbprint that would make the server trusted, if one was presented.
fn trust_hint(error: &Error) -> String {
    match presented(error) {
        Some(_) if matches!(error, Error::Host { .. } | Error::Stream { .. }) => {
            "the server says which certificate its host has, and this is another: reconnect the \
             host to the vCenter if its certificate was renewed, else find out who answers there"
                .to_owned()
        }
        Some(thumbprint) => format!(
            "if this is the right server, trust its certificate by --thumbprint {thumbprint}"
        ),
        None => "the server showed no certificate; it must speak TLS 1.2 or newer".to_owned(),
    }
}

/// Looks for the refused certificate's thumbprint down the chain of causes.
pub(crate) fn presented(error: &Error) -> Option<&str> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        // An `io::Error` hides the error it was made from from `source`.
        let inner = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        let found = match inner {
            Some(inner) => inner.downcast_ref::<TransportError>(),
            None => error.downcast_ref::<TransportError>(),
        };
        if let Some(TransportError::Tls { presented, .. }) = found {
            return presented.as_deref();
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_code() {
        for (kind, number, word) in [
            (ErrorKind::Unexpected, 1, "unexpected"),
            (ErrorKind::Permission, 3, "permission"),
            (ErrorKind::NotFound, 4, "not_found"),
            (ErrorKind::Tls, 5, "tls"),
            (ErrorKind::Package, 6, "package"),
            (ErrorKind::DigestMismatch, 7, "digest_mismatch"),
            (ErrorKind::LeaseLost, 8, "lease_lost"),
            (ErrorKind::Network, 9, "network"),
            (ErrorKind::Cancelled, 10, "cancelled"),
            (ErrorKind::CancelledUnclean, 11, "cancelled_unclean"),
            (ErrorKind::Refused, 12, "refused"),
            (ErrorKind::NoSpace, 13, "no_space"),
            (ErrorKind::LocalFile, 14, "local_file"),
        ] {
            let code = Code::from(kind);
            assert_eq!((code.number(), code.word()), (number, word));
        }
        assert_eq!(Code::Usage.number(), 2);
    }

    #[test]
    fn a_server_that_is_not_reached_has_a_hint() {
        let (host, reason) = ("vc:443".to_owned(), "connection refused".to_owned());
        let source = TransportError::Connect { host: host.clone(), reason };
        let error = VimError::Transport { host, call: "connecting".to_owned(), source };
        let failure = Failure::from(Error::from(error));
        assert_eq!(failure.code, Code::Network);
        assert!(failure.message.starts_with("connecting to vc:443 failed"), "{}", failure.message);
        assert!(failure.hint.unwrap().contains("HTTPS_PROXY"));
    }

    #[test]
    fn a_refused_certificate_is_offered_for_trust() {
        let refused = || TransportError::Tls {
            host: "vc:443".to_owned(),
            reason: "unknown issuer".to_owned(),
            presented: Some("AA:BB".to_owned()),
        };
        let source = io::Error::other(refused());
        let stream = Error::Stream {
            file: ovftransfer::FileName::new("a.vmdk").unwrap(),
            side: "reading from",
            at: "vc:443".to_owned(),
            at_byte: 0,
            source,
        };
        let call = VimError::Transport {
            host: "vc:443".to_owned(),
            call: "Login".to_owned(),
            source: refused(),
        };
        // Which certificate a data host has is the server's word, not the user's.
        for (error, words) in [(stream, "reconnect"), (call.into(), "--thumbprint AA:BB")] {
            let failure = Failure::from(error);
            assert_eq!(failure.code, Code::Tls);
            assert!(failure.hint.unwrap().contains(words));
        }
    }
}
