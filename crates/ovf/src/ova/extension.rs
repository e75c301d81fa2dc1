//! Extended headers: PAX records and GNU long names.

/// What an extended header says about the next member.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Extension {
    pub(super) name: Option<String>,
    pub(super) size_bytes: Option<u64>,
}

/// Reads the records of a PAX header (POSIX.1-2008, pax, "extended header").
///
/// Each is `LENGTH KEY=VALUE\n`, and LENGTH counts all of it.  Keys that cannot change which bytes
/// belong to which name, such as times and owners, are skipped.
pub(super) fn parse_pax(mut bytes: &[u8]) -> Result<Extension, &'static str> {
    let mut extension = Extension::default();
    while !bytes.is_empty() {
        let (key, value, rest) = split_record(bytes).ok_or("malformed record")?;
        bytes = rest;
        match key {
            b"path" => {
                let name = str::from_utf8(value).map_err(|_| "the name is not UTF-8")?;
                set_once(&mut extension.name, name.to_owned())?;
            }
            b"size" => {
                let size = decimal(value).filter(|size| i64::try_from(*size).is_ok());
                set_once(&mut extension.size_bytes, size.ok_or("the size is not a number")?)?;
            }
            b"hdrcharset" if value == b"ISO-IR 10646 2000 UTF-8" => {}
            b"hdrcharset" => return Err("names that are not UTF-8"),
            b"linkpath" => return Err("the target of a link"),
            b"SCHILY.realsize" => return Err("a sparse file"),
            key if key.starts_with(b"GNU.sparse.") => return Err("a sparse file"),
            _ => {}
        }
    }
    Ok(extension)
}

/// Reads the body of a GNU long name: the name and, with most writers, one zero.
///
/// With more zeros some tools take the rest for a part of the name.
pub(super) fn parse_long_name(bytes: &[u8]) -> Result<Extension, &'static str> {
    let name = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if name.contains(&0) {
        return Err("data after the name");
    }
    let name = str::from_utf8(name).map_err(|_| "the name is not UTF-8")?;
    Ok(Extension { name: Some(name.to_owned()), size_bytes: None })
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let len_bytes = usize::try_from(decimal(bytes.get(..blank)?)?).ok()?;
    let (record, rest) = bytes.split_at_checked(len_bytes)?;
    let pair = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equal = pair.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    // To GNU tar a zero ends the record before its equal sign.
    let key = pair.get(..equal).filter(|key| !key.contains(&0))?;
    Some((key, pair.get(equal + 1..)?, rest))
}

/// A second value, or an empty one, which takes the first back, is read differently by tools.
fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err("a value is given twice"),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_matter_are_kept() {
        let extension = parse_pax(b"11 mtime=1\n16 path=a/b=c.d\n14 size=12345\n").unwrap();
        assert_eq!(extension.name.as_deref(), Some("a/b=c.d"));
        assert_eq!(extension.size_bytes, Some(12345));
    }

    #[test]
    fn malformed_and_ambiguous_records_are_refused() {
        for bytes in [
            b"8 path=a\n".as_slice(),
            b"11 path=a\n",
            b"99 path=a\n",
            b"9 path=a ",
            b" path=a\n",
            b"+9 path=a\n",
            b"9 =pat=a\n",
            b"7 path\n",
            b"14 mt\0me=1.50\n",
            b"99999999999999999999 path=a\n",
            b"9 path=a\n9 path=a\n",
            b"8 size=\n",
            b"11 size=-1\n",
            b"28 size=9223372036854775808\n",
            b"9 path=\xFF\n",
            b"14 linkpath=a\n",
            b"21 GNU.sparse.size=1\n",
            b"21 hdrcharset=BINARY\n",
        ] {
            assert!(parse_pax(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_long_name_ends_at_its_zero() {
        assert_eq!(parse_long_name(b"abc\0").unwrap().name.as_deref(), Some("abc"));
        assert_eq!(parse_long_name(b"abc").unwrap().name.as_deref(), Some("abc"));
        assert!(parse_long_name(b"abc\0d").is_err());
        assert!(parse_long_name(b"abc\0\0").is_err());
    }
}
