//! What the wires are like: the version of the API, and the habits of VI JSON.

use serde::{Deserialize, Serialize};

/// Version of the API that the server has.
///
/// VI JSON came with 8.0.1.0, and `/api/vcenter/system?action=hello` with 8.0.2.0; older servers
/// answer both with 404.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[non_exhaustive]
pub enum ApiVersion {
    /// 7.0.3.0: SOAP only.
    #[serde(rename = "7.0.3.0")]
    V7_0_3_0,
    /// 8.0.0.0: SOAP only.
    #[serde(rename = "8.0.0.0")]
    V8_0_0_0,
    /// 8.0.1.0: both wires, no Hello.
    #[serde(rename = "8.0.1.0")]
    V8_0_1_0,
    /// 8.0.2.0: both wires.
    #[serde(rename = "8.0.2.0")]
    V8_0_2_0,
    /// 8.0.3.0: both wires.
    #[default]
    #[serde(rename = "8.0.3.0")]
    V8_0_3_0,
    /// 9.0.0.0: both wires; device URLs have `sslCertificate`.
    #[serde(rename = "9.0.0.0")]
    V9_0_0_0,
}

impl ApiVersion {
    /// As it stands on the wire, such as `8.0.3.0`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V7_0_3_0 => "7.0.3.0",
            Self::V8_0_0_0 => "8.0.0.0",
            Self::V8_0_1_0 => "8.0.1.0",
            Self::V8_0_2_0 => "8.0.2.0",
            Self::V8_0_3_0 => "8.0.3.0",
            Self::V9_0_0_0 => "9.0.0.0",
        }
    }

    /// The releases of VI JSON that such a server has; none for older ones.
    pub(crate) fn releases(self) -> &'static [&'static str] {
        match self {
            Self::V7_0_3_0 | Self::V8_0_0_0 => &[],
            Self::V8_0_1_0 => &["8.0.1.0"],
            Self::V8_0_2_0 => &["8.0.1.0", "8.0.2.0"],
            Self::V8_0_3_0 => &["8.0.1.0", "8.0.2.0", "8.0.3.0"],
            Self::V9_0_0_0 => &["8.0.1.0", "8.0.2.0", "8.0.3.0", "9.0.0.0"],
        }
    }

    /// Whether a version as it stands on the wire is 9.0.0.0 or newer.
    pub(crate) fn is_9(version: &str) -> bool {
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major >= 9)
    }

    /// Whether such a server answers Hello.
    pub(crate) fn has_hello(self) -> bool {
        self >= Self::V8_0_2_0
    }
}

/// Rules and habits of the SOAP wire.  All hold by default.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Soap {
    /// Who names no version in `SOAPAction` gets the oldest one, which has no leases.  Without the
    /// rule, the server's own.
    pub action_needed: bool,
    /// Faults have a text, in `faultstring` and `localizedMessage`.
    pub fault_text: bool,
    /// The value of the cookie is in double quotes.
    pub quoted_cookie: bool,
}

impl Default for Soap {
    fn default() -> Self {
        Self { action_needed: true, fault_text: true, quoted_cookie: true }
    }
}

/// Habits of the VI JSON wire, in which servers differ.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ViJson {
    /// Where the human text of a fault stands.
    pub fault_text: FaultText,
    /// Results that are one bare value (`"ready"`) come in a box with their type.
    pub boxed_results: bool,
    /// No result is 200 with an empty body instead of 204.
    pub empty_is_200: bool,
}

/// Where the human text of a fault stands on the VI JSON wire.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultText {
    /// In `faultMessage`, as documented.
    FaultMessage,
    /// In `faultstring`, as servers were seen to do.
    #[default]
    Faultstring,
    /// Nowhere.
    None,
}
