//! The API host.

use std::fmt;
use std::net::Ipv6Addr;

/// Name and port of the API host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// The endpoint at `host` (a name or an address; IPv6 with or without brackets) and `port`.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        Self { host: bare.map(str::to_owned).unwrap_or(host), port }
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Endpoint {
    /// `host:port`, as it stands in a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.parse::<Ipv6Addr>().is_ok() {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The port of HTTPS.
pub const DEFAULT_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_in_a_url() {
        assert_eq!(Endpoint::new("vc.example", 443).to_string(), "vc.example:443");
        assert_eq!(Endpoint::new("[::1]", 8443).to_string(), "[::1]:8443");
        assert_eq!(Endpoint::new("::1", 8443).host(), "::1");
    }
}
