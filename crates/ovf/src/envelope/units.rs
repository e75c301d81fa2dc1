//! Units of bytes, as DSP0243 takes them from the programmatic units of DSP0004.

/// Bytes of one unit: 1 for `byte`, 1,073,741,824 for `byte * 2^30` and for `GigaBytes`.
///
/// The words are those that descriptors have from before DSP0004 had a grammar; there a `GB` has
/// always been 2^30 bytes.  Nothing if it is not a unit of bytes, or one larger than 2^64.
pub(super) fn bytes_of_unit(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let mut parts = unit.split('*').map(str::trim);
    let word = match parts.next()? {
        "b" | "byte" | "bytes" => 1,
        "kb" | "kib" | "kilobyte" | "kilobytes" => 1 << 10,
        "mb" | "mib" | "megabyte" | "megabytes" => 1 << 20,
        "gb" | "gib" | "gigabyte" | "gigabytes" => 1 << 30,
        "tb" | "tib" | "terabyte" | "terabytes" => 1 << 40,
        _ => return None,
    };
    parts.try_fold(word, |product: u64, part| product.checked_mul(factor(part)?))
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
pub(super) fn whole(text: &str) -> Option<u64> {
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
        ] {
            assert_eq!(bytes_of_unit(text), None, "{text}");
        }
    }
}
