//! Text that must never be printed.

use std::fmt;

use zeroize::Zeroizing;

/// A password, a cookie or another secret.  Overwritten in memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes `text` as a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself.  Do not print it, do not put it into an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// `text` without the session keys that servers put into ids: `session[<key>]<rest>` becomes
/// `session[..]<rest>`.  For every text of a server that may be printed.
#[must_use]
pub fn redact(text: &str) -> String {
    const MARK: &str = "session[";
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let (before, key) = rest.split_at(at + MARK.len());
        redacted.push_str(before);
        redacted.push_str("..");
        // Without an end the whole rest may be the key.
        rest = key.find(']').map_or("", |end| &key[end..]);
    }
    redacted.push_str(rest);
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_prints_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
        assert_eq!(Secret::new("hunter2").expose(), "hunter2");
    }

    #[test]
    fn session_keys_are_cut_out_of_text() {
        assert_eq!(
            redact("not found: HttpNfcLease:session[52ab]5218 or session[x]y"),
            "not found: HttpNfcLease:session[..]5218 or session[..]y"
        );
        assert_eq!(redact("session[52ab"), "session[..");
        assert_eq!(redact("Büro"), "Büro");
    }
}
