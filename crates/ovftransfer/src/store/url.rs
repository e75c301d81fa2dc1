//! The address of a package on a web server.

use std::fmt;
use std::str::FromStr;

use ovftransfer_ovf::FileName;
use ovftransfer_vim::Secret;
use url::Url;

/// The address of a package: `https://[user:password@]host[:port]/path`, or `http://` without a
/// password.
///
/// What may be secret is never printed: neither user and password nor what stands after a `?`,
/// which often is a signature.
///
/// ```
/// use ovftransfer::PackageUrl;
///
/// let url: PackageUrl = "https://me:secret@files.example/vm.ova?signature=secret".parse()?;
/// assert_eq!(url.to_string(), "https://files.example/vm.ova");
/// assert!("http://me:secret@files.example/vm.ova".parse::<PackageUrl>().is_err());
/// # Ok::<(), ovftransfer::PackageUrlError>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct PackageUrl {
    /// Without user and password.
    url: Url,
    authorization: Option<Secret>,
}

impl PackageUrl {
    /// The host and the port, as `host:port`.
    #[must_use]
    pub fn host(&self) -> String {
        host_of(&self.url)
    }

    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    /// The value of the header `Authorization`.
    pub(crate) const fn authorization(&self) -> Option<&Secret> {
        self.authorization.as_ref()
    }

    /// Whether the last part of the path ends in `.ovf`.
    pub(crate) fn is_descriptor(&self) -> bool {
        let name = self.url.path().rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').is_some_and(|(_, extension)| extension.eq_ignore_ascii_case("ovf"))
    }

    /// The last part of the path as a file of a package; `fallback` if it cannot be one.
    pub(crate) fn file_name(&self, fallback: &str) -> Option<FileName> {
        let last = self.url.path().rsplit('/').next().unwrap_or_default();
        let name = decoded(last).and_then(|name| FileName::new(name).ok());
        name.filter(|name| !name.as_str().contains('/')).or_else(|| FileName::new(fallback).ok())
    }

    /// The address with a dot and an extension behind its path, as chunks have it.
    pub(crate) fn with_extension(&self, extension: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(&format!("{}.{extension}", self.url.path()));
        Self { url, authorization: self.authorization.clone() }
    }

    /// The address of a file that lies beside this one; with what stands after the `?`, which may
    /// be what opens the whole folder.
    pub(crate) fn beside(&self, file: &FileName) -> Self {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            // Encodes what would mean something else in a URL.
            path.pop().extend(file.as_str().split('/'));
        }
        Self { url, authorization: self.authorization.clone() }
    }
}

impl FromStr for PackageUrl {
    type Err = PackageUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason| Err(PackageUrlError { reason });
        let Ok(mut url) = Url::parse(text) else { return wrong("it is not a URL") };
        if !matches!(url.scheme(), "http" | "https") {
            return wrong("only https:// and http:// can be read");
        }
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            _ if url.scheme() != "https" => {
                return wrong("a user and a password are sent over https:// only");
            }
            (user, password) => {
                let (user, password) = (decoded(user), decoded(password.unwrap_or_default()));
                let Some((user, password)) = user.zip(password) else {
                    return wrong("the user or the password is not UTF-8");
                };
                if user.contains(':') {
                    return wrong("a user cannot have a colon");
                }
                let pair = Secret::new(format!("{user}:{password}"));
                Some(Secret::new(format!("Basic {}", base64(pair.expose().as_bytes()))))
            }
        };
        // Both cannot fail for these schemes.
        if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
            return wrong("it cannot have a user");
        }
        url.set_fragment(None);
        Ok(Self { url, authorization })
    }
}

impl fmt::Display for PackageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.url))
    }
}

impl fmt::Debug for PackageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackageUrl({self})")
    }
}

/// A text is not the address of a package.  The text itself is not repeated: it may be secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the address of a package: {reason}")]
pub struct PackageUrlError {
    reason: &'static str,
}

/// A URL without anything that may be secret.
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or("-");
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

pub(crate) fn host_of(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or(443);
    format!("{}:{port}", url.host_str().unwrap_or("-"))
}

/// Resolves `%XX`; none if the result is not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let hex = |byte: &u8| char::from(*byte).to_digit(16);
        let pair = match others {
            [high, low, ..] if *first == b'%' => hex(high).zip(hex(low)),
            _ => None,
        };
        match pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = others.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Base64 with padding (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            let letter = usize::try_from(index).ok().and_then(|index| ALPHABET.get(index));
            let is_padding = place > group.len();
            text.push(if is_padding { '=' } else { char::from(*letter.unwrap_or(&b'=')) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> PackageUrl {
        text.parse().unwrap()
    }

    #[test]
    fn secrets_are_sent_and_never_printed() {
        let url = url("https://us%40er:p%3Aw%25@h.example:8443/a/x.ova?sig=hunter2#hunter2");
        // printf 'us@er:p:w%%' | base64
        assert_eq!(url.authorization().unwrap().expose(), "Basic dXNAZXI6cDp3JQ==");
        assert_eq!(url.to_string(), "https://h.example:8443/a/x.ova");
        assert_eq!(format!("{url:?}"), "PackageUrl(https://h.example:8443/a/x.ova)");
        assert_eq!(url.url().as_str(), "https://h.example:8443/a/x.ova?sig=hunter2");
        for text in ["http://u:hunter2@h/x", "ftp://u:hunter2@h/x", "https://u:hunter2@:x/"] {
            let error = text.parse::<PackageUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn base64_is_that_of_everybody() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("\u{fb}\u{ff}~", "w7vDv34="),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn files_lie_beside_the_descriptor() {
        let url = url("https://h/a%20b/x.OVF?token=1");
        assert!(url.is_descriptor());
        for (file, expected) in [
            ("disk 1.vmdk", "https://h/a%20b/disk%201.vmdk?token=1"),
            ("sub/d?#.vmdk", "https://h/a%20b/sub/d%3F%23.vmdk?token=1"),
            ("a%2fb", "https://h/a%20b/a%252fb?token=1"),
            ("%2e%2e", "https://h/a%20b/%252e%252e?token=1"),
        ] {
            assert_eq!(url.beside(&FileName::new(file).unwrap()).url().as_str(), expected);
        }
    }

    #[test]
    fn a_name_is_made_of_the_last_part() {
        let name = |text: &str| url(text).file_name("package.ovf").unwrap().as_str().to_owned();
        assert_eq!(name("https://h/a/my%20vm.ovf"), "my vm.ovf");
        assert_eq!(name("https://h/"), "package.ovf");
        assert_eq!(name("https://h/..%2fx.ovf"), "package.ovf");
        assert_eq!(name("https://h/a%2fx.ovf"), "package.ovf");
    }
}
