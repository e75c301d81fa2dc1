//! The types of attributes and CIM elements: what may be written for each.

/// What the text of a value has to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lexical {
    /// `true`, `false`, `1` or `0`.
    Boolean,
    /// A language tag, such as `en-US`.
    Language,
    /// A whole number within 64 bits, with or without a sign.
    Long,
    /// Any text.
    Text,
    /// A whole number up to 2^16 - 1.
    UnsignedShort,
    /// A whole number up to 2^32 - 1.
    UnsignedInt,
    /// A whole number up to 2^64 - 1.
    UnsignedLong,
    /// A reference by the syntax of RFC 3986, in which blanks and letters of all languages may
    /// stand as they are.
    Uri,
}

impl Lexical {
    /// Whether a text is of this type.  Blanks around it do not count.
    pub(super) fn takes(self, text: &str) -> bool {
        let text = text.trim_matches(is_blank);
        match self {
            Self::Boolean => matches!(text, "true" | "false" | "1" | "0"),
            Self::Language => is_language(text),
            Self::Long => parse_signed(text).is_some_and(|value| i64::try_from(value).is_ok()),
            Self::Text => true,
            Self::UnsignedShort => fits(text, u16::MAX.into()),
            Self::UnsignedInt => fits(text, u32::MAX.into()),
            Self::UnsignedLong => fits(text, u64::MAX.into()),
            Self::Uri => is_uri(text),
        }
    }

    /// The type in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Language => "a language tag, such as en-US",
            Self::Long => "a whole number within 64 bits",
            Self::Text => "text",
            Self::UnsignedShort => "a whole number from 0 to 65535",
            Self::UnsignedInt => "a whole number from 0 to 4294967295",
            Self::UnsignedLong => "a whole number from 0 to 2^64 - 1",
            Self::Uri => "a URI",
        }
    }
}

/// A whole number as XML Schema writes it.
pub(super) fn parse_signed(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    Some(if text.starts_with('-') { -value } else { value })
}

fn fits(text: &str, max: i128) -> bool {
    parse_signed(text).is_some_and(|value| (0..=max).contains(&value))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// By the grammar of `xs:language`: up to 8 letters, then parts of up to 8 letters and digits.
fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let is_part = |part: &str, is: fn(&u8) -> bool| {
        (1..=8).contains(&part.len()) && part.as_bytes().iter().all(is)
    };
    let first = parts.next().unwrap_or_default();
    is_part(first, u8::is_ascii_alphabetic)
        && parts.all(|part| is_part(part, u8::is_ascii_alphanumeric))
}

/// `xs:anyURI` takes what can be made a URI by escaping; `%` must be an escape already.
fn is_uri(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let escapes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    let scheme = text.split_once(':').filter(|(before, _)| !before.contains(['/', '?', '#']));
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    text.matches('#').count() <= 1
        && !text.chars().any(char::is_control)
        && escapes.into_iter().all(|(at, _)| is_hex(at + 1) && is_hex(at + 2))
        && scheme.is_none_or(|(scheme, _)| is_scheme(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_takes_its_own() {
        for (lexical, good, bad) in [
            (Lexical::Boolean, &["true", "false", "1", " 0 "][..], &["", "yes", "TRUE", "2"][..]),
            (
                Lexical::Language,
                &["en", "en-US", "zh-Hant-TW", "de-1996"],
                &["", "en_US", "e n", "englishes-US", "en-", "-en", "1e"],
            ),
            (
                Lexical::Long,
                &["-1", "0", "9223372036854775807"],
                &["", "1.0", "9223372036854775808"],
            ),
            (Lexical::UnsignedShort, &["0", "65535", "+1"], &["-1", "65536", "0x10", "1 2"]),
            (Lexical::UnsignedInt, &["4294967295"], &["4294967296"]),
            (Lexical::UnsignedLong, &["18446744073709551615"], &["18446744073709551616", "-0x"]),
            (
                Lexical::Uri,
                &["", "a b.vmdk", "http://h/a#b", "../ü.vmdk", "a%20b"],
                &["a%2", "%zz", "a#b#c", "1a:b", "a\u{7}"],
            ),
        ] {
            for text in good {
                assert!(lexical.takes(text), "{lexical:?} {text}");
            }
            for text in bad {
                assert!(!lexical.takes(text), "{lexical:?} {text}");
            }
        }
    }
}
