//! `vi://` locators: a server, and a place in its inventory.

use std::fmt;
use std::str::FromStr;

use crate::endpoint::{DEFAULT_PORT, Endpoint};
use crate::secret::Secret;
use crate::value::MoRef;

/// `vi://[user@]host[:port]/path?moref=..`, or `?bios=..`
///
/// Every part may be percent-encoded.  A password in it is accepted and never printed.
///
/// ```
/// use ovftransfer_vim::Locator;
///
/// let locator: Locator = "vi://admin%40vsphere.local@vc.example/dc/vm/Büro".parse()?;
/// assert_eq!(locator.user(), Some("admin@vsphere.local"));
/// assert_eq!(locator.path().to_string(), "/dc/vm/Büro");
/// # Ok::<(), ovftransfer_vim::LocatorError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locator {
    user: Option<String>,
    password: Option<Secret>,
    endpoint: Endpoint,
    path: InventoryPath,
    moref: Option<MoRef>,
    bios: Option<String>,
}

/// A place in the inventory: `/datacenter/vm/folder/name`.
///
/// A `/` that belongs to a name is written `%2f`, a `%` is written `%25`, as the server does it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct InventoryPath(Vec<String>);

/// A text is not a locator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a vi:// locator: {0}")]
pub struct LocatorError(String);

impl Locator {
    /// The user.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, if the locator carries one.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Host and port.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The place in the inventory; empty if there is none.
    #[must_use]
    pub fn path(&self) -> &InventoryPath {
        &self.path
    }

    /// The object given by `?moref=`, which beats the path.
    #[must_use]
    pub fn moref(&self) -> Option<&MoRef> {
        self.moref.as_ref()
    }

    /// The BIOS UUID given by `?bios=`, which beats the path: lower case, with hyphens.
    #[must_use]
    pub fn bios(&self) -> Option<&str> {
        self.bios.as_deref()
    }
}

impl FromStr for Locator {
    type Err = LocatorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason: &str| LocatorError(reason.to_owned());
        let rest =
            text.strip_prefix("vi://").ok_or_else(|| error("it does not begin with vi://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // The last `@`: user names of vSphere have one of their own.
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        let (user, password) = match userinfo.map(|u| u.split_once(':').unwrap_or((u, ""))) {
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
            None => (None, None),
        };
        let (mut moref, mut bios) = (None, None);
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("bios", value)) => bios = Some(parse_uuid(&decoded(value)?)?),
                Some(("moref", value)) => moref = Some(parse_moref(&decoded(value)?)?),
                _ => {
                    let name = option.split('=').next().unwrap_or_default();
                    return Err(LocatorError(format!("unknown option {name}")));
                }
            }
        }
        if moref.is_some() && bios.is_some() {
            return Err(error("both moref and bios name an object"));
        }
        Ok(Self {
            user: user.filter(|user| !user.is_empty()),
            password: password.filter(|password| !password.is_empty()).map(Secret::from),
            endpoint: parse_endpoint(host)?,
            path: InventoryPath::from_encoded(path)?,
            moref,
            bios,
        })
    }
}

impl fmt::Display for Locator {
    /// A locator that parses to the same, but for the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("vi://")?;
        if let Some(user) = &self.user {
            write!(f, "{}@", encoded(user))?;
        }
        let shown = self.endpoint.to_string();
        let port = format!(":{DEFAULT_PORT}");
        f.write_str(shown.strip_suffix(port.as_str()).unwrap_or(&shown))?;
        for segment in &self.path.0 {
            write!(f, "/{}", encoded(segment))?;
        }
        match (&self.moref, &self.bios) {
            (Some(moref), _) => write!(f, "?moref={moref}"),
            (None, Some(bios)) => write!(f, "?bios={bios}"),
            (None, None) => Ok(()),
        }
    }
}

impl InventoryPath {
    /// Reads a path as the server, other tools and [`encoded`](Self::encoded) print it.
    ///
    /// All of them write `%` as `%25`; a name that cannot be theirs, such as `50%`, is taken as
    /// people write it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let name = |name: &str| decoded(name).unwrap_or_else(|_| unescape(name));
        Self(text.split('/').filter(|name| !name.is_empty()).map(name).collect())
    }

    /// Reads the path of a URL: percent-encoded names between slashes.
    fn from_encoded(text: &str) -> Result<Self, LocatorError> {
        let names = text.split('/').filter(|name| !name.is_empty());
        Ok(Self(names.map(decoded).collect::<Result<_, _>>()?))
    }

    /// The names, from the top.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The last name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// Whether it is the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as it stands in a `vi://` locator: names between slashes, percent-encoded.
    ///
    /// ```
    /// # use ovftransfer_vim::InventoryPath;
    /// let path = InventoryPath::new("/dc/vm").join("web 1/2");
    /// assert_eq!(path.encoded(), "/dc/vm/web%201%2f2");
    /// ```
    #[must_use]
    pub fn encoded(&self) -> String {
        if self.0.is_empty() {
            return "/".to_owned();
        }
        self.0.iter().map(|name| format!("/{}", encoded(name))).collect()
    }

    /// The place called `name` in this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_owned());
        Self(names)
    }
}

impl fmt::Display for InventoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        for name in &self.0 {
            write!(f, "/{}", name.replace('%', "%25").replace('/', "%2f"))?;
        }
        Ok(())
    }
}

/// A name as people write it: servers escape `/`, `\` and `%` in names, and nothing else.
#[must_use]
pub(crate) fn unescape(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let c = match rest.get(..3).map(str::to_ascii_lowercase).as_deref() {
            Some("%2f") => Some('/'),
            Some("%5c") => Some('\\'),
            Some("%25") => Some('%'),
            _ => None,
        };
        plain.push(c.unwrap_or('%'));
        rest = &rest[if c.is_some() { 3 } else { 1 }..];
    }
    plain.push_str(rest);
    plain
}

/// The reference that a text is: `VirtualMachine:vm-1` or `vm-1`.
pub(crate) fn moref_in(text: &str) -> Option<MoRef> {
    parse_moref(text).ok()
}

/// `vim.VirtualMachine:vm-1`, `VirtualMachine:vm-1` or `vm-1`.
fn parse_moref(text: &str) -> Result<MoRef, LocatorError> {
    let text = text.trim();
    let text = text.strip_prefix("vim.").unwrap_or(text);
    let (kind, id) = match text.split_once(':') {
        Some((kind, id)) => (kind.to_owned(), id),
        None => (kind_of_id(text).to_owned(), text),
    };
    if kind.is_empty() || id.is_empty() {
        return Err(LocatorError(format!("{text} names no object")));
    }
    Ok(MoRef::new(kind, id))
}

/// A UUID as the server indexes it, from any of its forms: `42 1a .. ..-.. ..`, with hyphens, bare.
fn parse_uuid(text: &str) -> Result<String, LocatorError> {
    let is_filler = |c: char| matches!(c, ' ' | '+' | '-' | '{' | '}');
    let digits: String = text.to_ascii_lowercase().replace(is_filler, "");
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(LocatorError(format!("{text} is not a UUID")));
    }
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    Ok(parts.join("-"))
}

/// The type, by the form that vCenter gives its ids.
fn kind_of_id(id: &str) -> &'static str {
    const PREFIXES: [(&str, &str); 13] = [
        ("datacenter-", "Datacenter"),
        ("datastore-", "Datastore"),
        ("domain-c", "ClusterComputeResource"),
        ("domain-s", "ComputeResource"),
        ("dvportgroup-", "DistributedVirtualPortgroup"),
        ("group-p", "StoragePod"),
        ("group-", "Folder"),
        ("host-", "HostSystem"),
        ("network-", "Network"),
        ("resgroup-v", "VirtualApp"),
        ("resgroup-", "ResourcePool"),
        ("snapshot-", "VirtualMachineSnapshot"),
        ("vm-", "VirtualMachine"),
    ];
    // On ESXi the ids of machines are plain numbers.
    PREFIXES.iter().find(|(prefix, _)| id.starts_with(prefix)).map_or("VirtualMachine", |p| p.1)
}

fn parse_endpoint(text: &str) -> Result<Endpoint, LocatorError> {
    let bracket_end = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text.rfind(':').filter(|at| *at >= bracket_end) {
        Some(at) => {
            let port = text[at + 1..].parse().ok().filter(|port| *port != 0);
            (&text[..at], port.ok_or_else(|| LocatorError("the port is not a number".to_owned()))?)
        }
        None => (text, DEFAULT_PORT),
    };
    let host = decoded(host)?;
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(is_name) {
        return Err(LocatorError("it names no host".to_owned()));
    }
    Ok(Endpoint::new(host, port))
}

fn decoded(text: &str) -> Result<String, LocatorError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| LocatorError("a % without two hex digits; write it %25".to_owned()))?;
        bytes.push(byte);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| LocatorError("not UTF-8".to_owned()))
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' | '/' | '?' | '#' | '@' | ':' | '&' | ' ' | '\0'..'\u{20}' | '\u{7f}' => {
                out.push_str(&format!("%{:02x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Locator {
        text.parse().unwrap()
    }

    #[test]
    fn every_part_is_read_and_decoded() {
        let locator = parse(
            "vi://administrator@vsphere.local:p%40ss@[fe80::1]:8443/dc/vm/a%2fb/B%C3%BCro?moref=vim.VirtualMachine:vm-1",
        );
        assert_eq!(locator.user(), Some("administrator@vsphere.local"));
        assert_eq!(locator.password().unwrap().expose(), "p@ss");
        assert_eq!(locator.endpoint(), &Endpoint::new("fe80::1", 8443));
        assert_eq!(locator.path().names(), ["dc", "vm", "a/b", "Büro"]);
        assert_eq!(locator.path().to_string(), "/dc/vm/a%2fb/Büro");
        assert_eq!(locator.moref(), Some(&MoRef::new("VirtualMachine", "vm-1")));
    }

    #[test]
    fn prints_without_password_and_parses_again() {
        let text = "vi://administrator%40vsphere.local@vc.example/dc/vm/a%2fb/50%25%20Büro";
        let locator = parse(text);
        assert_eq!(locator.to_string(), text);
        let secret = parse("vi://root:hunter2@vc.example:8443/dc");
        assert_eq!(secret.to_string(), "vi://root@vc.example:8443/dc");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn morefs_read_in_three_forms() {
        for text in ["vim.VirtualMachine:vm-7", "VirtualMachine:vm-7", "vm-7"] {
            let locator = parse(&format!("vi://h/?moref={text}"));
            assert_eq!(locator.moref(), Some(&MoRef::new("VirtualMachine", "vm-7")), "{text}");
        }
        assert_eq!(parse("vi://h?moref=resgroup-v9").moref().unwrap().kind(), "VirtualApp");
        assert_eq!(
            parse("vi://h?moref=domain-c9").moref().unwrap().kind(),
            "ClusterComputeResource"
        );
        assert_eq!(parse("vi://h?moref=8").moref().unwrap().kind(), "VirtualMachine");
    }

    #[test]
    fn bios_uuids_read_in_every_form() {
        let plain = "421a2b3c-4d5e-6f70-8192-a3b4c5d6e7f8";
        for text in [
            plain,
            "421A2B3C4D5E6F708192A3B4C5D6E7F8",
            "42%201a%202b%203c%204d%205e%206f%2070-81%2092%20a3%20b4%20c5%20d6%20e7%20f8",
        ] {
            let locator = parse(&format!("vi://h/dc?bios={text}"));
            assert_eq!(locator.bios(), Some(plain), "{text}");
            assert_eq!(locator.to_string(), format!("vi://h/dc?bios={plain}"));
            assert_eq!(parse(&locator.to_string()), locator);
        }
    }

    #[test]
    fn other_texts_say_what_is_wrong() {
        for (text, reason) in [
            ("https://h/dc", "vi://"),
            ("vi:///dc", "host"),
            ("vi://h:0/", "port"),
            ("vi://h:x/", "port"),
            ("vi://h/50%", "hex"),
            ("vi://h/%+1", "hex"),
            ("vi://h/%ff", "UTF-8"),
            ("vi://h/?uuid=1", "unknown option uuid"),
            ("vi://h/?moref=", "no object"),
            ("vi://h/?bios=421a", "not a UUID"),
            ("vi://h/?bios=421a2b3c-4d5e-6f70-8192-a3b4c5d6e7f8&moref=vm-1", "both"),
            ("vi://h h/", "host"),
        ] {
            let error = text.parse::<Locator>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let secret = "vi://u:hunter2@h:x/".parse::<Locator>().unwrap_err().to_string();
        assert!(!secret.contains("hunter2"));
    }

    #[test]
    fn names_lose_only_the_servers_escapes() {
        assert_eq!(unescape("a%2Fb%5cc%25d%20e%"), "a/b\\c%d%20e%");
        assert_eq!(unescape("100%ü"), "100%ü");
        assert_eq!(InventoryPath::new("/dc//vm/a%2fb/").names(), ["dc", "vm", "a/b"]);
        for name in ["my vm 50%", "a%20b", "a/b?", "50%", "%ff"] {
            let path = InventoryPath::default().join(name);
            assert_eq!(InventoryPath::new(&path.encoded()), path);
            assert_eq!(InventoryPath::new(&path.to_string()), path);
        }
        assert_eq!(InventoryPath::new("/my vm 50%/%ff").names(), ["my vm 50%", "%ff"]);
    }
}
