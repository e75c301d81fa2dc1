//! The VI JSON wire: reads a request, writes an answer.
//!
//! As strict as the SOAP wire: parameters and fields must be in the schema, values must be of their
//! types, and whatever stands where anything may stand must name its type.  Faults inside data are
//! the faults themselves here; `LocalizedMethodFault` is of the other wire only.

mod decode;
mod encode;

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::object::Moref;
use crate::scenario::{ApiVersion, ViJson};
use crate::soap::Call;
use crate::types::{self, Kind};

/// What a path below `/sdk/vim25/` names.
#[derive(Debug, PartialEq)]
pub(crate) struct Target {
    /// The object.
    pub(crate) this: Moref,
    /// The method or the property.
    pub(crate) member: String,
}

impl Target {
    /// Reads `{release}/{type}/{id}/{member}`, each part raw or percent-encoded.
    ///
    /// `None` for other forms and for releases that a server of `version` does not serve.
    pub(crate) fn parse(rest: &str, version: ApiVersion) -> Option<Self> {
        let mut parts = rest.split('/').map(decoded);
        let release = parts.next()??;
        let (kind, id, member) = (parts.next()??, parts.next()??, parts.next()??);
        let is_whole =
            parts.next().is_none() && ![&kind, &id, &member].iter().any(|p| p.is_empty());
        (is_whole && version.releases().contains(&&*release))
            .then(|| Self { this: Moref::new(kind, id), member: member.into_owned() })
    }
}

/// Reads the body of a call of `method`, which must be in the schema.
///
/// # Errors
///
/// A fault that says what is wrong with the request.
pub(crate) fn read(this: Moref, method: &str, body: &[u8]) -> Result<Call, Fault> {
    let known = types::method(method).ok_or_else(|| crate::soap::unknown_method(&this, method))?;
    let parameters: Value = if body.iter().all(u8::is_ascii_whitespace) {
        json!({})
    } else {
        // The parser refuses what is nested more than 128 levels deep.
        serde_json::from_slice(body)
            .map_err(|error| Fault::invalid_request(format!("The body is no JSON: {error}")))?
    };
    let arguments = decode::parameters(&parameters, &known.parameters, method)?;
    Ok(Call { method: method.to_owned(), this, arguments })
}

/// Writes the result of `method`; `null` if there is none.
pub(crate) fn answer(method: &str, result: &Value, style: ViJson) -> Value {
    let kind = types::method(method).map_or(Kind::ANY, |known| known.result);
    encode::result(result, kind, style)
}

/// Writes the value of a property; `null` if it is not set.
pub(crate) fn property(this: &Moref, name: &str, value: &Value, style: ViJson) -> Value {
    encode::result(value, types::property(&this.kind, name).unwrap_or(Kind::ANY), style)
}

/// Writes a fault.
pub(crate) fn fault(fault: &Fault, style: ViJson) -> Value {
    let mut fault = fault.clone();
    // This wire has no faults without a type.
    fault.detail.get_or_insert_with(|| json!({ "_typeName": "InvalidRequest" }));
    encode::result(&fault.localized(), Kind::ANY, style)
}

/// Undoes percent-encoding; `None` if what comes out is no UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digit = |place: usize| {
            let digit = bytes.get(place).and_then(|digit| char::from(*digit).to_digit(16));
            digit.and_then(|digit| u8::try_from(digit).ok())
        };
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_name_objects_raw_and_encoded() {
        let lease = Some(Target {
            this: Moref::new("HttpNfcLease", "session[52-a]52-b"),
            member: "state".to_owned(),
        });
        let parse = |rest| Target::parse(rest, ApiVersion::V8_0_3_0);
        assert_eq!(parse("8.0.3.0/HttpNfcLease/session[52-a]52-b/state"), lease);
        assert_eq!(parse("8.0.1.0/HttpNfcLease/session%5b52-a%5D52-b/state"), lease);
        for rest in [
            "",
            "8.0.3.0",
            "8.0.3.0/Folder/group-d1",
            "8.0.3.0/Folder//name",
            "8.0.3.0/Folder/group-d1/name/more",
            "8.0.3.0/Folder/group-d1/",
            "8.0.3.0/Folder/%ff/name",
            "8.0.0.0/Folder/group-d1/name",
            "9.0.0.0/Folder/group-d1/name",
        ] {
            assert_eq!(parse(rest), None, "{rest}");
        }
        assert_eq!(decoded("100%").unwrap(), "100%");
    }

    #[test]
    fn newer_releases_are_not_served_by_older_servers() {
        let path = "8.0.2.0/Folder/group-d1/name";
        assert!(Target::parse(path, ApiVersion::V8_0_3_0).is_some());
        assert!(Target::parse(path, ApiVersion::V8_0_1_0).is_none());
        assert!(Target::parse(path, ApiVersion::V7_0_3_0).is_none());
    }

    proptest! {
        #[test]
        fn no_body_and_no_path_makes_it_panic(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            path in "\\PC{0,40}",
            text in "[\\[\\]{}\":,a-z0-9_ ]{0,60}",
        ) {
            let this = || Moref::new("HttpNfcLease", "x");
            drop(read(this(), "CreateFilter", &body));
            drop(read(this(), "ImportVApp", text.as_bytes()));
            drop(Target::parse(&format!("8.0.3.0/{path}"), ApiVersion::V8_0_3_0));
        }
    }
}
