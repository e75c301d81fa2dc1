//! The VI JSON codec: calls into paths and bodies, bodies into values and faults.

mod decode;
mod encode;

use std::fmt::Write;

use crate::value::MoRef;

pub(crate) use decode::{decode, decode_fault, decode_reply};
pub(crate) use encode::encode;

/// Why an answer is not one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DecodeError {
    #[error("the answer is an HTML page, not JSON: is this a vSphere server?")]
    Html,
    #[error("the answer is not JSON: {0}")]
    Json(String),
    #[error("the answer has more than {NODES_MAX} values")]
    TooManyNodes,
    #[error("the answer is cut off")]
    Truncated,
}

/// The path of a call; `None` if the object's id cannot be part of one.
///
/// Brackets of ids stand in it as they are: that is what every other client sends.
pub(crate) fn path(this: &MoRef, method: &str, release: &str) -> Option<String> {
    let mut path = format!("/sdk/vim25/{release}");
    for segment in [this.kind(), this.id(), method] {
        // They would name another object, or none.
        if matches!(segment, "" | "." | "..") {
            return None;
        }
        path.push('/');
        for byte in segment.bytes() {
            if byte.is_ascii_alphanumeric() || SEGMENT_MARKS.contains(&byte) {
                path.push(char::from(byte));
            } else {
                write!(path, "%{byte:02X}").ok()?;
            }
        }
    }
    Some(path)
}

/// What a segment of a path carries unescaped, besides letters and digits.
const SEGMENT_MARKS: &[u8] = b"-._~!$&'()*+,;=:@[]";
/// Names the type of an object.
const TYPE_NAME: &str = "_typeName";
/// The value of a box.
const BOX_VALUE: &str = "_value";
/// The type of references.
const MOREF: &str = "ManagedObjectReference";
/// Values of one answer.  A page of properties has at most some ten thousand.
const NODES_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_brackets_and_escape_the_rest() {
        let path = |id: &str| path(&MoRef::new("HttpNfcLease", id), "M", "8.0.1.0");
        assert_eq!(
            path("session[52aa]7-b").as_deref(),
            Some("/sdk/vim25/8.0.1.0/HttpNfcLease/session[52aa]7-b/M")
        );
        assert_eq!(
            path("a/b?c#d%20 ü").as_deref(),
            Some("/sdk/vim25/8.0.1.0/HttpNfcLease/a%2Fb%3Fc%23d%2520%20%C3%BC/M")
        );
        for none in ["", ".", ".."] {
            assert_eq!(path(none), None);
        }
    }
}
