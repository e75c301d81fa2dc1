//! Paths of device URLs.

/// Ticket and file of `/nfc/<ticket>/<file>` or `/ha-nfc/<ticket>/<file>`, percent-decoded.
///
/// Tickets contain brackets, which come raw or encoded.
pub(super) fn split(path: &str) -> Option<(String, String)> {
    let rest = path.strip_prefix("/nfc/").or_else(|| path.strip_prefix("/ha-nfc/"))?;
    let (ticket, file) = rest.split_once('/')?;
    if ticket.is_empty() || file.is_empty() {
        return None;
    }
    Some((percent_decode(ticket)?, percent_decode(file)?))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let (high, low) = (hex_digit(*tail.first()?)?, hex_digit(*tail.get(1)?)?);
            bytes.push(high << 4 | low);
            rest = tail.get(2..)?;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_come_raw_or_encoded() {
        let expected = Some(("session[52a]5218".to_owned(), "my vm.nvram".to_owned()));
        assert_eq!(split("/nfc/session[52a]5218/my%20vm.nvram"), expected);
        assert_eq!(split("/ha-nfc/session%5B52a%5d5218/my%20vm.nvram"), expected);
    }

    #[test]
    fn other_paths_are_none() {
        for path in [
            "/",
            "/nfc",
            "/nfc/",
            "/nfc/t",
            "/nfc/t/",
            "/nfc//f",
            "/nfc/t/%",
            "/nfc/t/%g0",
            "/nfc/t/%1",
            "/nfc/%ff/f",
            "/sdk",
        ] {
            assert_eq!(split(path), None, "{path}");
        }
    }
}
