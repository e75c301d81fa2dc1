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

/// The targets of `multi?targets=id1,id2`; none for other files and for none or too many targets.
pub(super) fn targets(file: &str, query: Option<&str>) -> Option<Vec<String>> {
    let list = query?.strip_prefix("targets=").filter(|_| file == "multi")?;
    // Commas come raw or encoded: no target has one in its name.
    let targets: Vec<String> = percent_decode(list)?.split(',').map(str::to_owned).collect();
    let is_good = targets.len() <= TARGETS_MAX
        && targets
            .iter()
            .enumerate()
            .all(|(at, one)| !one.is_empty() && !targets[..at].contains(one));
    is_good.then_some(targets)
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

/// Targets of one upload: as many disks as a machine can have (4 controllers of 64).
const TARGETS_MAX: usize = 256;

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
    fn many_targets_are_parted_by_commas() {
        let list = targets("multi", Some("targets=disk-0.vmdk,disk%2D1.vmdk")).unwrap();
        assert_eq!(list, ["disk-0.vmdk", "disk-1.vmdk"]);
        assert_eq!(targets("multi", Some("targets=a%2Cb")).unwrap(), ["a", "b"]);
        for query in ["targets=", "targets=a,,b", "targets=a,a", "target=a", "targets=%g"] {
            assert_eq!(targets("multi", Some(query)), None, "{query}");
        }
        assert_eq!(targets("multi", None), None);
        assert_eq!(targets("disk-0.vmdk", Some("targets=a")), None);
        assert_eq!(targets("multi", Some(&format!("targets=0{}", ",1".repeat(300)))), None);
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
