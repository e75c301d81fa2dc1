//! Units of bytes, as DSP0243 takes them from the programmatic units of DSP0004.

/// Bytes of one unit: 1 for `byte`, 1,073,741,824 for `byte * 2^30` and for `GigaBytes`, a milliard
/// for `byte * 10^9`.
///
/// It is a base unit with factors behind (DSP0004 2.7.0, annex C), of which `/` divides; what
/// comes out has to be a whole number of bytes.  `kibibyte` and the like are DSP0004's prefixes.
/// The other words are those that descriptors have from before DSP0004 had a grammar; there a `GB`
/// has always been 2^30 bytes.  Nothing if it is not a unit of bytes, or one larger than 2^64.
pub(crate) fn bytes_of_unit(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let mut rest = unit.trim();
    let end = rest.find(['*', '/']).unwrap_or(rest.len());
    let word = rest.get(..end)?.trim_end();
    let mut bytes: u64 = match word {
        "b" | "byte" | "bytes" => 1,
        "kb" | "kib" | "kilobyte" | "kilobytes" | "kibibyte" | "kibibytes" => 1 << 10,
        "mb" | "mib" | "megabyte" | "megabytes" | "mebibyte" | "mebibytes" => 1 << 20,
        "gb" | "gib" | "gigabyte" | "gigabytes" | "gibibyte" | "gibibytes" => 1 << 30,
        "tb" | "tib" | "terabyte" | "terabytes" | "tebibyte" | "tebibytes" => 1 << 40,
        "pb" | "pib" | "petabyte" | "petabytes" | "pebibyte" | "pebibytes" => 1 << 50,
        _ => return None,
    };
    let mut divisor: u64 = 1;
    rest = rest.get(end..)?;
    while let Some(operator) = rest.chars().next() {
        rest = rest.get(1..)?;
        let end = rest.find(['*', '/']).unwrap_or(rest.len());
        let factor = factor(rest.get(..end)?.trim())?;
        match operator {
            '*' => bytes = bytes.checked_mul(factor)?,
            _ => divisor = divisor.checked_mul(factor)?,
        }
        rest = rest.get(end..)?;
    }
    bytes.is_multiple_of(divisor).then(|| bytes / divisor)
}

/// A capacity in bytes, at most 2^63 - 1: vSphere keeps it as a signed 64-bit number.
pub(super) fn capacity_bytes(digits: &str, unit_bytes: u64) -> Option<u64> {
    let bytes = whole(digits.trim())?.checked_mul(unit_bytes)?;
    i64::try_from(bytes).is_ok().then_some(bytes)
}

/// `1024` or `2^10`; not zero.
fn factor(text: &str) -> Option<u64> {
    let value = match text.split_once('^') {
        None => whole(text)?,
        Some((base, power)) => {
            whole(base.trim())?.checked_pow(u32::try_from(whole(power.trim())?).ok()?)?
        }
    };
    (value > 0).then_some(value)
}

/// A whole number of decimal digits only; `parse` would take a `+` too.
pub(crate) fn whole(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_in_any_writing() {
        for (text, bytes) in [
            ("byte", 1),
            ("byte * 2^30", 1 << 30),
            ("byte*2^20", 1 << 20),
            ("Byte * 2 ^ 10", 1 << 10),
            ("byte * 1024 * 1024", 1 << 20),
            ("byte * 10^9", 1_000_000_000),
            ("MegaBytes", 1 << 20),
            ("GB", 1 << 30),
            ("byte * 2^63", 1 << 63),
            (" byte*2^10*2^10 ", 1 << 20),
            ("byte * 2^30 / 2", 1 << 29),
            ("byte / 2 * 2^30", 1 << 29),
            ("mebibyte", 1 << 20),
            ("kilobyte * 10^3", 1_024_000),
            ("PB", 1 << 50),
        ] {
            assert_eq!(bytes_of_unit(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_unit_of_bytes() {
        for text in [
            "",
            "bit",
            "hertz * 10^6",
            "byte *",
            "byte * 0",
            "byte * -1",
            "byte * +1",
            "byte / 2",
            "byte * 2^64",
            "byte * 2^99999999999",
            "byte * 2^63 * 2",
            "2^30 * byte",
            "byte / 0",
            "byte * 2^10 / 3",
            "byte ** 2",
            "byte * 2^-10",
            "byte / second",
            "byte 2",
            "*",
        ] {
            assert_eq!(bytes_of_unit(text), None, "{text}");
        }
    }
}
