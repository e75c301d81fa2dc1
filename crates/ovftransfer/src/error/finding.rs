//! What a plan has found out before anything is created.

use std::fmt;

use crate::error::ErrorKind;

/// Something that a plan found, and what to do about it.
///
/// `Display` has all of it but the severity, in one line.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at.
    pub check: Check,
    /// What it is about: a name, a network, a host.
    pub subject: String,
    /// What is wrong, or worth knowing.
    pub problem: String,
    /// What to do, where that is known.
    pub advice: Option<String>,
    /// The class of the error that it makes, if it is one.
    pub kind: ErrorKind,
}

impl Finding {
    pub(crate) fn error(
        check: Check,
        kind: ErrorKind,
        subject: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            check,
            subject: subject.into(),
            problem: problem.into(),
            advice: None,
            kind,
        }
    }

    pub(crate) fn warning(
        check: Check,
        subject: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        let severity = Severity::Warning;
        Self { severity, ..Self::error(check, ErrorKind::Unexpected, subject, problem) }
    }

    pub(crate) fn note(
        check: Check,
        subject: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Note, ..Self::warning(check, subject, problem) }
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, problem, advice, .. } = self;
        if subject.is_empty() {
            f.write_str(problem)?;
        } else {
            write!(f, "{subject}: {problem}")?;
        }
        match advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// The transfer may go on, but not all will be as it was meant.
    Warning,
    /// The transfer is not begun.
    Error,
}

impl Severity {
    /// The word for it, for people and for JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Check {
    /// The datastore: reachable, not in maintenance, and which one of a cluster.
    Datastore,
    /// What the server says to the descriptor.
    Descriptor,
    /// The hosts that serve or take the disks.
    DeviceHost,
    /// Encryption, and virtual TPMs.
    Encryption,
    /// The OVF environment.
    Environment,
    /// The host that is to run the machine.
    Host,
    /// The name of the new machine.
    Name,
    /// The networks.
    Network,
    /// The data processing units that a switch is offloaded to.
    Offload,
    /// The files of the package.
    Package,
    /// Where in the inventory the machine goes.
    Place,
    /// What the session may do.
    Privileges,
    /// The signature of the package, and who has made it.
    Signature,
    /// Free space.
    Space,
}

impl Check {
    /// The word for it in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Datastore => "datastore",
            Self::Descriptor => "descriptor",
            Self::DeviceHost => "device_host",
            Self::Encryption => "encryption",
            Self::Environment => "environment",
            Self::Host => "host",
            Self::Name => "name",
            Self::Network => "network",
            Self::Offload => "offload",
            Self::Package => "package",
            Self::Place => "place",
            Self::Privileges => "privileges",
            Self::Signature => "signature",
            Self::Space => "space",
        }
    }
}

/// The errors among `findings`, in one line.
pub(crate) fn errors(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(ToString::to_string).collect::<Vec<_>>().join("; also: ")
}
