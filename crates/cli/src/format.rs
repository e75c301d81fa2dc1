//! Numbers and words for people.

use std::borrow::Cow;
use std::time::Duration;

/// A size in binary units, such as `310.2 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of a unit, in whole numbers: 2^64 tenths fit into 128 bits.
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A rate in megabytes (10^6 bytes) per second, such as `25.1 MB/s`.
pub(crate) fn rate(bytes: u64, took: Duration) -> String {
    let micros = took.as_micros().max(1);
    // Bytes per microsecond are megabytes per second.
    let tenths = u128::from(bytes) * 10 / micros;
    format!("{}.{} MB/s", tenths / 10, tenths % 10)
}

/// A length of time, such as `12.3 s` or `1 h 02 min`.
pub(crate) fn span(took: Duration) -> String {
    let seconds = took.as_secs();
    match seconds {
        0..60 => format!("{seconds}.{} s", took.subsec_millis() / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `count` things, such as `1 file` or `2 files`.
pub(crate) fn count(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Text from outside as a person may see it: on one line, without control characters.
pub(crate) fn printable(text: &str) -> String {
    let words = text.split(|c: char| c.is_control()).map(str::trim);
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The text without the passwords of addresses such as `vi://user:password@host` and
/// `user:password@host`.
///
/// A message names the argument that it is about, and people write passwords into arguments.
pub(crate) fn without_passwords(text: &str) -> Cow<'_, str> {
    let mut safe = String::new();
    let mut rest = text;
    while let Some((before, after)) = password(rest) {
        safe.push_str(&rest[..before]);
        safe.push_str("***");
        rest = &rest[after..];
    }
    if safe.is_empty() {
        return Cow::Borrowed(text);
    }
    safe.push_str(rest);
    Cow::Owned(safe)
}

/// Where the first password of an address is, from behind its colon to its `@`.
fn password(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(colon) = text[from..].find(':').map(|at| from + at) {
        from = colon + 1;
        // The colon of a scheme is none of a password.
        if text[from..].starts_with("//") {
            from += 2;
            continue;
        }
        let user = text[..colon].rsplit(is_around).next().unwrap_or_default();
        let secret = &text[from..];
        let authority = secret.find(is_end).unwrap_or(secret.len());
        let after_scheme = text[..colon - user.len()].ends_with("://");
        let end = match secret[..authority].rfind('@') {
            // A password that has such characters is wrong in an address, and no less secret.
            None if after_scheme && !is_port(&secret[..authority]) => secret
                .find(|c: char| c.is_whitespace() || c == '@')
                .filter(|at| secret[*at..].starts_with('@')),
            end => end,
        };
        // Behind a slash that is none of a scheme's it is part of a path.
        let is_path = !after_scheme && text[..colon - user.len()].ends_with('/');
        let is_user = !user.is_empty() && !is_path;
        // The word stands in our own hints for what is to be written there.
        let is_secret = |length: &usize| *length > 0 && secret[..*length] != *"password";
        if let Some(length) = end.filter(|length| is_user && is_secret(length)) {
            return Some((from, from + length));
        }
    }
    None
}

fn is_port(text: &str) -> bool {
    text.trim_end_matches([':', ',', '.', ')', '\'']).bytes().all(|byte| byte.is_ascii_digit())
}

/// What is not part of a user's name in an address.
fn is_around(c: char) -> bool {
    c.is_whitespace() || "/\"'`(<,=@".contains(c)
}

/// What ends the part of an address that may have a password.
fn is_end(c: char) -> bool {
    c.is_whitespace() || "/?#\"".contains(c)
}

/// Lines of cells as columns, each as wide as its widest cell; columns of numbers to the right.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            let (before, after) =
                if right.contains(&column) { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.push_str("  ");
            line.push_str(before);
            line.push_str(cell);
            line.push_str(after);
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (1 << 20, "1.0 MiB"),
            (325 << 20, "325.0 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn rates_and_spans_do_not_divide_by_zero() {
        assert_eq!(rate(25_100_000, Duration::from_secs(1)), "25.1 MB/s");
        assert_eq!(rate(0, Duration::ZERO), "0.0 MB/s");
        assert_eq!(rate(u64::MAX, Duration::ZERO), "18446744073709551615.0 MB/s");
        assert_eq!(span(Duration::from_millis(12_345)), "12.3 s");
        assert_eq!(span(Duration::from_secs(62)), "1 min 02 s");
        assert_eq!(span(Duration::from_secs(3_720)), "1 h 02 min");
    }

    #[test]
    fn text_from_outside_is_on_one_line() {
        assert_eq!(printable("a\r\n b\u{1b}[31mc\n"), "a b [31mc");
    }

    #[test]
    fn passwords_of_addresses_are_left_out() {
        for (text, safe) in [
            ("https://u:pw@h/x.ova", "https://u:***@h/x.ova"),
            ("\"vi://u:pw@h:443/DC0\" is none", "\"vi://u:***@h:443/DC0\" is none"),
            ("u:pw@h/DC0: no path", "u:***@h/DC0: no path"),
            ("DOMAIN\\u:p@w@h", "DOMAIN\\u:***@h"),
            ("vi://u:p/w@h/DC0", "vi://u:***@h/DC0"),
            ("vi://u:p#w?@h", "vi://u:***@h"),
            ("'u:a@h' 'v:b@h'", "'u:***@h' 'v:***@h'"),
            ("URL=https://u:pw@h", "URL=https://u:***@h"),
        ] {
            assert_eq!(without_passwords(text), safe);
        }
        for text in [
            "vi://u@h:443/DC0/vm/a@b",
            "vi://h:443/DC0/vm/a@b",
            "vi://u@h/DC0/vm/a: not found, mail c@d",
            "error: administrator@vsphere.local may not log in",
            "/DC0/vm/a:b@c is no machine",
            "https://h:443: refused to a@b",
            "u:@h",
            "it wants a password: https://user:password@...",
            "",
        ] {
            assert_eq!(without_passwords(text), text);
        }
    }

    #[test]
    fn tables_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["bcd".to_owned(), "22".to_owned()]];
        assert_eq!(table(&rows, &[1]), ["  a     1", "  bcd  22"]);
        assert!(table(&[], &[]).is_empty());
    }
}
