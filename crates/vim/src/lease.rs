//! What the server says about a lease, in types.

use std::fmt;

use url::Url;

use crate::endpoint::{DEFAULT_PORT, Endpoint};
use crate::fault::Fault;
use crate::secret::redact;
use crate::tls::Thumbprint;
use crate::value::{MoRef, Value};

/// A lease (`HttpNfcLease`).
///
/// Its id contains the session key, so `Display` and `Debug` print only what stands behind it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(MoRef);

impl LeaseId {
    /// The lease behind a reference that the server gave.
    #[must_use]
    pub fn new(moref: MoRef) -> Self {
        Self(moref)
    }

    /// The reference, for calls of your own.  Do not print its id.
    #[must_use]
    pub fn moref(&self) -> &MoRef {
        &self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0.id();
        f.write_str(id.rfind(']').map_or(id, |at| &id[at + 1..]))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it stands on the wire.
            #[must_use]
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text as it stands on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type! {
    /// Which device of the machine a device URL or an entry of the lease's manifest is about
    /// (`HttpNfcLeaseDeviceUrl.key`): `/vm-10649/VirtualLsiLogicController0:0`.
    DeviceKey
}

text_type! {
    /// Which file item of an import a device URL is for (`HttpNfcLeaseDeviceUrl.importKey`, equal
    /// to `OvfFileItem.deviceId`): `/My-VM/VirtualLsiLogicController0:0`.
    ImportKey
}

/// Where one device's bytes go to or come from.
///
/// The path carries the lease's ticket: whoever has it can read the disk.  `Display` and `Debug`
/// print `https://host/nfc/<ticket>/disk-0.vmdk`.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceUrl(Url);

/// A text is not a device URL.  Does not repeat the text: it carries a ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a device URL: {0}")]
pub struct DeviceUrlError(String);

impl DeviceUrl {
    /// Reads the URL of a device, as servers write it: with unescaped spaces and brackets, and with
    /// `*` in place of the host, which is then the API host (and its port, if the URL has none).
    ///
    /// # Errors
    ///
    /// It is not an `https` URL with a host.
    pub fn parse(text: &str, api: &Endpoint) -> Result<Self, DeviceUrlError> {
        let error = |reason: &str| DeviceUrlError(reason.to_owned());
        let text = text.trim();
        let rest = text.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        if authority.is_empty() {
            return Err(error("it names no host"));
        }
        let expanded = match authority.strip_prefix('*') {
            Some("") => Some(format!("https://{api}{path}")),
            Some(port) => {
                let host = api.to_string();
                let host = host.rsplit_once(':').map_or(host.as_str(), |(host, _)| host);
                Some(format!("https://{host}{port}{path}"))
            }
            None => None,
        };
        let url = Url::parse(expanded.as_deref().unwrap_or(text))
            .map_err(|parse_error| DeviceUrlError(parse_error.to_string()))?;
        if url.scheme() != "https" {
            return Err(error("the scheme is not https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("it names a user"));
        }
        Ok(Self(url))
    }

    /// The host; IPv6 addresses in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, 443 if the URL has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port().unwrap_or(DEFAULT_PORT)
    }

    /// The last part of the path, as it stands in the URL: `disk-0.vmdk`.
    #[must_use]
    pub fn target(&self) -> &str {
        self.0.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default()
    }

    /// Whether the device host is the API host, so that the session's cookie may go there.
    #[must_use]
    pub fn is_at(&self, api: &Endpoint) -> bool {
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case(api.host()) && self.port() == api.port()
    }

    /// The whole URL, ticket included, for the request itself.  Do not print it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for DeviceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.host())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        write!(f, "/nfc/<ticket>/{}", self.target())
    }
}

impl fmt::Debug for DeviceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceUrl({self})")
    }
}

/// What the server says about a lease (`HttpNfcLeaseState` with the properties that belong to it).
///
/// ```text
///                   Progress (renews)
///                       ,---.
///                       v   |
///   Initializing ---> Ready ---- Complete ----> Done
///        |              |
///        |              +------- Abort -------> Error
///        `-- fault -->  +-- timeout, fault ---> Error
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LeaseState {
    /// Completed.
    Done,
    /// Failed, timed out or aborted.  An import has been undone.
    Error(Fault),
    /// The server is making or locking the objects.
    Initializing {
        /// How far it is, 0 to 100.
        percent: u8,
    },
    /// The device URLs can be used.
    Ready(LeaseInfo),
    /// A state that this crate does not know.
    Unknown(String),
}

/// What a ready lease offers (`HttpNfcLeaseInfo`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// The machine or vApp it covers; the new one on import.
    pub entity: Option<MoRef>,
    /// The devices, in the server's order.
    pub devices: Vec<LeaseDevice>,
    /// Provisioned capacity in KiB, not the size of the transfer; some servers say 0.
    pub total_capacity_kib: u64,
    /// Seconds without a renewal after which the server ends the lease.  As the server says it:
    /// 300,000,000 has been seen.
    pub timeout_s: u64,
}

/// One device of a lease (`HttpNfcLeaseDeviceUrl`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaseDevice {
    /// Names the device in the lease's manifest.
    pub key: DeviceKey,
    /// Names the file item it is for; import only.
    pub import_key: Option<ImportKey>,
    /// Where its bytes go to or come from.
    pub url: DeviceUrl,
    /// The certificate of the device's host, if the server told.
    pub thumbprint: Option<Thumbprint>,
    /// The certificate of the device's host as PEM text (since 9.0.0.0).
    pub certificate_pem: Option<String>,
    /// Whether it is a disk (since 4.1; `None` if the server did not say).
    pub is_disk: Option<bool>,
    /// Name of the file on the device's host, such as `disk-0.vmdk` (since 4.1).
    pub target_id: Option<String>,
    /// Size in bytes of a file that is not a disk (since 4.1).
    pub file_bytes: Option<u64>,
    /// Every host that reaches the device's datastore, and could move the bytes instead of the one
    /// in `url` (`HttpNfcLeaseInfo.hostMap`, since 4.1).  Usually empty.
    pub hosts: Vec<LeaseHost>,
}

/// A host that can move the bytes of a device (`HttpNfcLeaseHostInfo`, since 4.1).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaseHost {
    /// Where the files of the lease are on this host; the device's `target_id` goes behind it.
    pub url: DeviceUrl,
    /// The host's certificate, if the server told.
    pub thumbprint: Option<Thumbprint>,
}

/// How a lease moves its bytes, and how far it is: its properties beside state, info and error.
///
/// Nothing but `initialize_percent` is known of servers older than 6.7.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseFacts {
    /// Percent of the initialisation, 0 to 100 (`initializeProgress`, since 4.0).
    pub initialize_percent: Option<u8>,
    /// Percent of the transfer, 0 to 100, as the holder of the lease told it (`transferProgress`).
    pub transfer_percent: Option<u8>,
    /// Who moves the bytes (`mode`).
    pub mode: Option<LeaseMode>,
    /// Whether hosts can fetch the files themselves (`capabilities.pullModeSupported`).
    pub can_pull: Option<bool>,
    /// Whether web pages may use the device URLs (`capabilities.corsSupported`).
    pub can_cors: Option<bool>,
}

/// Who moves the bytes of a lease (`HttpNfcLeaseMode`, since 6.7).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseMode {
    /// The hosts fetch the files from elsewhere.
    Pull,
    /// The client sends or gets them.
    PushOrGet,
    /// A mode that this crate does not know.
    Unknown(String),
}

impl LeaseFacts {
    /// Reads the properties of a lease by their names.
    pub(crate) fn from_properties<'v>(property: impl Fn(&str) -> Option<&'v Value>) -> Self {
        let percent = |name| {
            let percent = property(name).and_then(Value::int)?;
            u8::try_from(percent.clamp(0, 100)).ok()
        };
        let can = |name| property("capabilities").and_then(|all| all.boolean_of(name));
        let mode = property("mode").and_then(Value::text).filter(|mode| !mode.is_empty());
        Self {
            initialize_percent: percent("initializeProgress"),
            transfer_percent: percent("transferProgress"),
            mode: mode.map(|mode| match &*mode {
                "pull" => LeaseMode::Pull,
                "pushOrGet" => LeaseMode::PushOrGet,
                unknown => LeaseMode::Unknown(redact(unknown)),
            }),
            can_pull: can("pullModeSupported"),
            can_cors: can("corsSupported"),
        }
    }
}

/// What the server has sent or received for one device (`HttpNfcLeaseManifestEntry`, since 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseManifestEntry {
    /// The device.
    pub key: DeviceKey,
    /// SHA-1 of the stream in hex, lower case; `None` where the server left it empty.
    pub sha1: Option<String>,
    /// Digest of the stream in hex, lower case (since 6.7).
    pub checksum: Option<String>,
    /// Algorithm of `checksum`, lower case: `sha1` or `sha256` (since 6.7).
    pub checksum_type: Option<String>,
    /// Bytes sent or received.
    pub size_bytes: u64,
    /// Whether it is a disk.  Some servers say no for every device.
    pub is_disk: bool,
    /// Capacity of a disk in bytes.
    pub capacity_bytes: Option<u64>,
    /// Bytes of a disk that hold data.
    pub populated_bytes: Option<u64>,
}

impl LeaseInfo {
    /// Reads a `HttpNfcLeaseInfo`; `api` stands in for `*` hosts.
    ///
    /// # Errors
    ///
    /// A device without key, or with a URL or thumbprint that is none.
    pub fn from_value(value: &Value, api: &Endpoint) -> Result<Self, String> {
        let devices = value.each("deviceUrl").map(|device| {
            let hosts = match device.filled_text_of("datastoreKey") {
                Some(key) => LeaseHost::of_datastore(value, &key, api),
                None => Vec::new(),
            };
            LeaseDevice::from_value(device, hosts, api)
        });
        Ok(Self {
            entity: value.moref_of("entity"),
            devices: devices.collect::<Result<_, _>>()?,
            total_capacity_kib: value.unsigned_of("totalDiskCapacityInKB").unwrap_or(0),
            timeout_s: value.unsigned_of("leaseTimeout").unwrap_or(TIMEOUT_S_DEFAULT),
        })
    }
}

impl LeaseDevice {
    fn from_value(value: &Value, hosts: Vec<LeaseHost>, api: &Endpoint) -> Result<Self, String> {
        let key = value.text_of("key").ok_or("a device of the lease has no key")?;
        let failed = |reason: String| format!("device {}: {reason}", redact(&key));
        let url = value.text_of("url").ok_or_else(|| failed("it has no URL".to_owned()))?;
        // A thumbprint that cannot be read is not the same as none: none means no check.
        let thumbprint = match value.filled_text_of("sslThumbprint") {
            Some(text) => Some(text.parse().map_err(|e| failed(format!("{e}")))?),
            None => None,
        };
        Ok(Self {
            import_key: value.filled_text_of("importKey").map(ImportKey::new),
            url: DeviceUrl::parse(&url, api).map_err(|e| failed(e.to_string()))?,
            thumbprint,
            certificate_pem: value.filled_text_of("sslCertificate"),
            is_disk: value.boolean_of("disk"),
            target_id: value.filled_text_of("targetId"),
            file_bytes: value.unsigned_of("fileSize"),
            hosts,
            key: DeviceKey::new(key),
        })
    }
}

impl LeaseHost {
    /// The hosts of a datastore.  One that cannot be understood is left out: it is only another
    /// way to what `url` of the device offers.
    fn of_datastore(info: &Value, key: &str, api: &Endpoint) -> Vec<Self> {
        let same = |entry: &&Value| entry.text_of("datastoreKey").as_deref() == Some(key);
        let hosts = info.each("hostMap").filter(same).flat_map(|entry| entry.each("hosts"));
        let hosts = hosts.filter_map(|host| {
            let url = DeviceUrl::parse(&host.text_of("url")?, api).ok()?;
            let thumbprint = match host.filled_text_of("sslThumbprint") {
                Some(text) => Some(text.parse().ok()?),
                None => None,
            };
            Some(Self { url, thumbprint })
        });
        hosts.collect()
    }
}

impl LeaseManifestEntry {
    /// Reads a `HttpNfcLeaseManifestEntry`; `None` without key or size.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        let lower = |name| value.filled_text_of(name).map(|text| text.trim().to_ascii_lowercase());
        Some(Self {
            key: DeviceKey::new(value.text_of("key")?),
            sha1: lower("sha1"),
            checksum: lower("checksum"),
            checksum_type: lower("checksumType"),
            size_bytes: value.unsigned_of("size")?,
            is_disk: value.boolean_of("disk").unwrap_or(false),
            capacity_bytes: value.unsigned_of("capacity"),
            populated_bytes: value.unsigned_of("populatedSize"),
        })
    }
}

/// The properties of a lease as they arrived so far; updates bring them piece by piece.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LeaseProperties {
    pub(crate) state: Option<String>,
    pub(crate) info: Option<Value>,
    pub(crate) error: Option<Value>,
    pub(crate) percent: u8,
}

/// What is watched, and read at the start of a watch.
pub(crate) const LEASE_PATHS: [&str; 4] = ["state", "info", "error", "initializeProgress"];

impl LeaseProperties {
    /// Takes over one property; `None` means unset.
    pub(crate) fn set(&mut self, name: &str, value: Option<&Value>) {
        match name {
            "state" => {
                let state = value.and_then(Value::text).map(|text| text.into_owned());
                // A read and an update may cross: a lease never goes back to the beginning.
                let back = state.as_deref() == Some("initializing")
                    && self.state.as_deref().is_some_and(|known| known != "initializing");
                if state.is_some() && !back {
                    self.state = state;
                }
            }
            "info" if value.is_some() => self.info = value.cloned(),
            "error" if value.is_some() => self.error = value.cloned(),
            "initializeProgress" => {
                let percent = value.and_then(Value::int).unwrap_or(0).clamp(0, 100);
                self.percent = u8::try_from(percent).unwrap_or(0).max(self.percent);
            }
            _ => {}
        }
    }

    /// The state, if what belongs to it has arrived: a ready lease without info and an error
    /// without fault are not complete.
    pub(crate) fn snapshot(&self, api: &Endpoint) -> Option<Result<LeaseState, String>> {
        if let Some(fault) = self.error.as_ref().and_then(Fault::from_value) {
            return Some(Ok(LeaseState::Error(fault)));
        }
        let state = match self.state.as_deref()? {
            "done" => LeaseState::Done,
            "error" => return None,
            "initializing" => LeaseState::Initializing { percent: self.percent },
            "ready" => {
                let info = LeaseInfo::from_value(self.info.as_ref()?, api);
                return Some(info.map(LeaseState::Ready));
            }
            unknown => LeaseState::Unknown(redact(unknown)),
        };
        Some(Ok(state))
    }

    /// Whether the lease was completed.
    pub(crate) fn is_done(&self) -> bool {
        self.state.as_deref() == Some("done")
    }

    /// An error for which the server gives no reason.
    pub(crate) fn is_bare_error(&self) -> bool {
        self.state.as_deref() == Some("error")
    }
}

/// What every known release says.
const TIMEOUT_S_DEFAULT: u64 = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Object;

    fn api() -> Endpoint {
        Endpoint::new("vc.example", 8443)
    }

    #[test]
    fn lease_ids_print_without_session_key() {
        let id = LeaseId::new(MoRef::new("HttpNfcLease", "session[52485c20]5218b3b2"));
        assert_eq!(id.to_string(), "5218b3b2");
        assert_eq!(format!("{id:?}"), "LeaseId(5218b3b2)");
        assert_eq!(LeaseId::new(MoRef::new("HttpNfcLease", "lease-7")).to_string(), "lease-7");
    }

    #[test]
    fn device_urls_take_what_servers_send() {
        let parse = |text| DeviceUrl::parse(text, &api()).map(|url| url.expose().to_owned());
        let cases = [
            ("https://esx/nfc/52c1/My VM.nvram", "https://esx/nfc/52c1/My%20VM.nvram"),
            (
                "https://*/ha-nfc/52c1/disk-0.vmdk",
                "https://vc.example:8443/ha-nfc/52c1/disk-0.vmdk",
            ),
            ("https://*:902/nfc/1/d", "https://vc.example:902/nfc/1/d"),
            ("https://[::1]:443/nfc/session[1]2/d", "https://[::1]/nfc/session[1]2/d"),
            (
                "https://h/nfc/session%5B1%5D2/Büro.nvram",
                "https://h/nfc/session%5B1%5D2/B%C3%BCro.nvram",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).as_deref(), Ok(expected));
        }
        for text in ["", "disk-0.vmdk", "http://h/nfc/1/d", "https:///x"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["https://u:p@h/x", "https://u@h/x", "https://:p@h/x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    /// Where the session's cookie may go.
    #[test]
    fn a_device_is_at_the_api_only_with_its_host_and_its_port() {
        let is_at = |text, host, port| {
            DeviceUrl::parse(text, &api()).unwrap().is_at(&Endpoint::new(host, port))
        };
        assert!(is_at("https://vc.example:8443/nfc/1/d", "vc.example", 8443));
        assert!(is_at("https://VC.example/nfc/1/d", "vc.Example", 443));
        assert!(is_at("https://[::1]:902/nfc/1/d", "::1", 902));
        assert!(!is_at("https://vc.example:8443/nfc/1/d", "vc.example", 443));
        assert!(!is_at("https://esx.example:8443/nfc/1/d", "vc.example", 8443));
        assert!(!is_at("https://esx.example/nfc/1/d", "vc.example", 8443));
    }

    #[test]
    fn device_urls_never_print_the_ticket() {
        let url = DeviceUrl::parse("https://esx:902/nfc/52c1-ticket/disk-0.vmdk", &api()).unwrap();
        assert_eq!(url.to_string(), "https://esx:902/nfc/<ticket>/disk-0.vmdk");
        assert_eq!(format!("{url:?}"), "DeviceUrl(https://esx:902/nfc/<ticket>/disk-0.vmdk)");
        assert!(!format!("{url:?}").contains("52c1"));
        assert!(!url.is_at(&api()));
        let error = DeviceUrl::parse("ftp://esx/nfc/52c1-ticket/d", &api()).unwrap_err();
        assert!(!error.to_string().contains("52c1"));
    }

    #[test]
    fn info_reads_with_missing_and_unknown_fields() {
        let device = Object::untyped()
            .with("key", "/vm-9/VirtualLsiLogicController0:0")
            .with("url", "https://*/nfc/t/disk-0.vmdk")
            .with("sslThumbprint", "")
            .with("novelty", "x");
        let info: Value = Object::untyped().with_each("deviceUrl", [device]).into();
        let info = LeaseInfo::from_value(&info, &api()).unwrap();
        assert_eq!(info.timeout_s, 300);
        let device = &info.devices[0];
        assert_eq!((device.is_disk, &device.import_key, device.thumbprint), (None, &None, None));
        assert!(device.url.is_at(&api()));
    }

    #[test]
    fn a_thumbprint_that_is_none_is_refused() {
        let device = Object::untyped()
            .with("key", "k")
            .with("url", "https://h/t/d")
            .with("sslThumbprint", "AA:BB");
        let info: Value = Object::untyped().with_each("deviceUrl", [device]).into();
        let error = LeaseInfo::from_value(&info, &api()).unwrap_err();
        assert!(error.contains("device k: not a SHA-1"), "{error}");
    }

    #[test]
    fn properties_merge_across_updates() {
        let mut lease = LeaseProperties::default();
        assert!(lease.snapshot(&api()).is_none());
        lease.set("state", Some(&"initializing".into()));
        lease.set("initializeProgress", Some(&"40".into()));
        lease.set("info", None);
        assert!(matches!(
            lease.snapshot(&api()),
            Some(Ok(LeaseState::Initializing { percent: 40 }))
        ));
        lease.set("state", Some(&"ready".into()));
        assert!(lease.snapshot(&api()).is_none(), "ready without info");
        lease.set("info", Some(&Object::untyped().with("leaseTimeout", "300").into()));
        lease.set("state", Some(&"initializing".into()));
        // What has come stays, whatever a later update leaves out.
        lease.set("info", None);
        assert!(matches!(lease.snapshot(&api()), Some(Ok(LeaseState::Ready(_)))));
        lease.set("state", Some(&"error".into()));
        assert!(lease.snapshot(&api()).is_none() && lease.is_bare_error());
        let fault = Object::untyped().with("fault", Object::new("Timedout"));
        lease.set("error", Some(&fault.into()));
        lease.set("error", None);
        assert!(
            matches!(lease.snapshot(&api()), Some(Ok(LeaseState::Error(f))) if f.is("Timedout"))
        );
    }

    #[test]
    fn manifest_entries_read_in_lower_case() {
        let entry: Value = Object::untyped()
            .with("key", "/vm-9/disk:0")
            .with("sha1", "6881A1AE")
            .with("checksum", "")
            .with("size", "70000")
            .with("disk", "true")
            .with("capacity", "1048576")
            .into();
        let entry = LeaseManifestEntry::from_value(&entry).unwrap();
        assert_eq!(entry.sha1.as_deref(), Some("6881a1ae"));
        assert_eq!((entry.checksum, entry.populated_bytes), (None, None));
        assert_eq!((entry.size_bytes, entry.capacity_bytes), (70_000, Some(1 << 20)));
    }
}
