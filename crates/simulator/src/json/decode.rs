//! From JSON of a client to values, by the schema.
//!
//! What comes out has the same form as what the SOAP wire reads.

use serde_json::{Map, Value, json};

use crate::fault::Fault;
use crate::object::Moref;
use crate::types::{self, Field, Kind};

/// Reads the parameters of a method.
pub(super) fn parameters(body: &Value, known: &[Field], method: &str) -> Result<Value, Fault> {
    let Value::Object(given) = body else {
        return Err(Fault::invalid_request(format!("The body of {method} is no object.")));
    };
    let whole = fields(given, known, method)?;
    for field in known {
        // An empty list may be left out.
        let is_needed = !field.kind.optional && !field.kind.array;
        if is_needed && !whole.contains_key(field.name) {
            return Err(Fault::invalid_argument(field.name));
        }
    }
    Ok(Value::Object(whole))
}

fn fields(
    given: &Map<String, Value>,
    known: &[Field],
    of: &str,
) -> Result<Map<String, Value>, Fault> {
    let mut whole = Map::new();
    for (name, inner) in given {
        if name == "_typeName" {
            continue;
        }
        let Some(field) = known.iter().find(|field| field.name == name) else {
            return Err(Fault::invalid_request(format!("Unexpected field \"{name}\" in {of}")));
        };
        if inner.is_null() {
            continue;
        }
        whole.insert(field.name.to_owned(), value(inner, field.kind, name)?);
    }
    Ok(whole)
}

fn value(given: &Value, declared: Kind, at: &str) -> Result<Value, Fault> {
    if declared.array {
        let items = given.as_array().ok_or_else(|| wrong(given, "list", at))?;
        return items.iter().map(|item| value(item, declared.element(), at)).collect();
    }
    match declared.name {
        "anyType" => any(given, at),
        "ManagedObjectReference" => reference(given, at),
        "LocalizedMethodFault" => fault(given, at),
        name if types::primitive(name).is_some() => scalar(given, name, at),
        name if types::data(name).is_some() => object(given, name, at),
        // Enums, and types that the schema does not spell out.
        _ if given.is_string() || given.is_object() => Ok(given.clone()),
        name => Err(wrong(given, name, at)),
    }
}

/// Reads a data object of the type `declared` or of one that derives from it.
fn object(given: &Value, declared: &str, at: &str) -> Result<Value, Fault> {
    let given = given.as_object().ok_or_else(|| wrong(given, declared, at))?;
    let name = match given.get("_typeName") {
        Some(Value::String(name)) if types::is_a(name, declared) => name.as_str(),
        None => declared,
        Some(other) => return Err(unfit(other, declared, at)),
    };
    let known = types::data(name).map_or(&[][..], |known| &known.fields);
    let mut whole = Map::new();
    whole.insert("_typeName".to_owned(), json!(name));
    whole.extend(fields(given, known, name)?);
    Ok(Value::Object(whole))
}

/// Reads what may be anything: it must tell its type.
fn any(given: &Value, at: &str) -> Result<Value, Fault> {
    let fields = given.as_object().ok_or_else(|| wrong(given, "value with _typeName", at))?;
    let Some(name) = fields.get("_typeName").and_then(Value::as_str) else {
        return Err(wrong(given, "value with _typeName", at));
    };
    if name == "ManagedObjectReference" {
        return reference(given, at);
    }
    let Some(inner) = fields.get("_value") else {
        return if types::data(name).is_some() {
            object(given, name, at)
        } else {
            Ok(given.clone())
        };
    };
    if fields.len() > 2 {
        return Err(wrong(given, "box of _typeName and _value", at));
    }
    if let Some(item) = name.strip_prefix("ArrayOf") {
        let item = if item == "Binary" { "Base64Binary" } else { item };
        let items = inner.as_array().ok_or_else(|| wrong(inner, "list", at))?;
        let known = types::item(item);
        let items: Result<Vec<Value>, Fault> = items
            .iter()
            .map(|inner| known.map_or_else(|| Ok(inner.clone()), |kind| value(inner, kind, at)))
            .collect();
        return Ok(json!({ "_typeName": format!("ArrayOf{item}"), "_value": items? }));
    }
    let name = if name == "binary" { "base64Binary" } else { name };
    let bare = match types::primitive(name) {
        Some(_) => scalar(inner, name, at)?,
        None if inner.is_string() => inner.clone(),
        None => return Err(wrong(inner, name, at)),
    };
    Ok(json!({ "_typeName": name, "_value": bare }))
}

/// Reads a reference, boxed or not: the guide shows one form, the bindings write the other.
fn reference(given: &Value, at: &str) -> Result<Value, Fault> {
    let given = given.get("_value").unwrap_or(given);
    let fields = given.as_object().ok_or_else(|| wrong(given, "reference", at))?;
    for (name, inner) in fields {
        match name.as_str() {
            "_typeName" if inner != "ManagedObjectReference" => {
                return Err(unfit(inner, "ManagedObjectReference", at));
            }
            "_typeName" | "type" | "value" | "serverGuid" => {}
            other => {
                let what = format!("Unexpected field \"{other}\" in the reference \"{at}\"");
                return Err(Fault::invalid_request(what));
            }
        }
    }
    let moref = Moref::from_value(given).ok_or_else(|| wrong(given, "reference", at))?;
    Ok(moref.value())
}

/// Reads a fault, which on this wire stands bare where SOAP has a `LocalizedMethodFault`.
fn fault(given: &Value, at: &str) -> Result<Value, Fault> {
    let fields = given.as_object().ok_or_else(|| wrong(given, "MethodFault", at))?;
    let name = fields.get("_typeName").unwrap_or(&Value::Null);
    if name == "LocalizedMethodFault" {
        return Err(unfit(name, "MethodFault", at));
    }
    let mut fields = fields.clone();
    let text = fields.remove("faultstring");
    let given = Value::Object(fields);
    let inner = match name.as_str() {
        // A fault that this server has never heard of is kept as it is.
        Some(name) if types::data(name).is_none() => given,
        _ => object(&given, "MethodFault", at)?,
    };
    let text = text.as_ref().and_then(Value::as_str);
    let text = text.or_else(|| inner["faultMessage"][0]["message"].as_str()).unwrap_or_default();
    Ok(json!({ "_typeName": "LocalizedMethodFault", "localizedMessage": text, "fault": inner }))
}

fn scalar(given: &Value, kind: &str, at: &str) -> Result<Value, Fault> {
    let range = match kind {
        "byte" => i64::from(i8::MIN)..=i64::from(i8::MAX),
        "short" => i64::from(i16::MIN)..=i64::from(i16::MAX),
        "int" => i64::from(i32::MIN)..=i64::from(i32::MAX),
        "long" => i64::MIN..=i64::MAX,
        _ => {
            let fits = match kind {
                "boolean" => given.is_boolean(),
                "double" | "float" => given.is_number(),
                "base64Binary" => given.as_str().is_some_and(is_base64),
                "dateTime" => given.as_str().is_some_and(is_date_time),
                _ => given.is_string(),
            };
            return if fits { Ok(given.clone()) } else { Err(wrong(given, kind, at)) };
        }
    };
    match given.as_i64() {
        Some(number) if range.contains(&number) => Ok(given.clone()),
        _ => Err(wrong(given, kind, at)),
    }
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

/// Whether `text` begins as RFC 3339 has it.
fn is_date_time(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00";
    text.len() > form.len()
        && form.iter().zip(text.as_bytes()).all(|(form, byte)| match form {
            b'0' => byte.is_ascii_digit(),
            mark => mark == byte,
        })
}

fn wrong(given: &Value, kind: &str, at: &str) -> Fault {
    let text = given.to_string();
    Fault::invalid_request(format!("{text:.64} in \"{at}\" is no {kind}"))
}

fn unfit(name: &Value, declared: &str, at: &str) -> Fault {
    let text = name.to_string();
    Fault::new("InvalidType", format!("{text:.64} in \"{at}\" is no {declared}"))
        .with("argument", at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: Value, known: &str) -> Result<Value, Fault> {
        object(&given, known, "x")
    }

    #[test]
    fn subtypes_keep_their_names() {
        let disk = json!({
            "_typeName": "VirtualDisk",
            "key": 2000,
            "backing": { "_typeName": "VirtualDiskFlatVer2BackingInfo", "fileName": "f", "diskMode": "persistent" },
            "capacityInKB": 5_000_000_000_i64,
            "controllerKey": null,
        });
        let read = read(disk, "VirtualDevice").unwrap();
        assert_eq!(read["backing"]["_typeName"], "VirtualDiskFlatVer2BackingInfo");
        assert_eq!(read["capacityInKB"], 5_000_000_000_i64);
        assert!(read.get("controllerKey").is_none());
    }

    #[test]
    fn what_does_not_fit_the_schema_is_refused() {
        for (given, known) in [
            (json!([]), "KeyValue"),
            (json!("a"), "KeyValue"),
            (json!({ "key": "a", "nothing": 1 }), "KeyValue"),
            (json!({ "_typeName": "VirtualDisk", "key": "a" }), "KeyValue"),
            (json!({ "_typeName": 7 }), "KeyValue"),
            (json!({ "_typeName": "Novelty" }), "KeyValue"),
            (json!({ "key": 1 }), "KeyValue"),
            (json!({ "key": "2000" }), "VirtualDisk"),
            (json!({ "key": 2.5 }), "VirtualDisk"),
            (json!({ "key": 99_999_999_999_i64 }), "VirtualDisk"),
            (json!({ "capacityInBytes": 9.3e18 }), "VirtualDisk"),
            (json!({ "backing": { "_typeName": "KeyValue" } }), "VirtualDisk"),
            (json!({ "obj": "group-d1" }), "ObjectSpec"),
            (json!({ "obj": { "type": "Folder" } }), "ObjectSpec"),
            (json!({ "obj": { "type": "Folder", "value": 1 } }), "ObjectSpec"),
            (json!({ "obj": { "type": "Folder", "value": "x", "id": "x" } }), "ObjectSpec"),
            (json!({ "obj": { "_typeName": "Folder", "type": "a", "value": "b" } }), "ObjectSpec"),
            (json!({ "skip": "true" }), "ObjectSpec"),
            (json!({ "pathSet": "name" }), "PropertySpec"),
            (
                json!({ "pathSet": { "_typeName": "ArrayOfString", "_value": ["a"] } }),
                "PropertySpec",
            ),
            (json!({ "key": "k", "value": "bare" }), "OptionValue"),
            (json!({ "key": "k", "value": ["bare"] }), "OptionValue"),
            (json!({ "value": { "_typeName": "int", "_value": "7" } }), "OptionValue"),
            (json!({ "value": { "_typeName": "int", "_value": 7, "x": 1 } }), "OptionValue"),
            (json!({ "value": { "_typeName": "ArrayOfInt", "_value": ["7"] } }), "OptionValue"),
            (json!({ "value": { "_typeName": "binary", "_value": "?" } }), "OptionValue"),
            (json!({ "value": { "_typeName": "dateTime", "_value": "now" } }), "OptionValue"),
        ] {
            let fault = read(given.clone(), known).unwrap_err();
            assert!(["InvalidRequest", "InvalidType"].contains(&fault.kind()), "{given}");
        }
    }

    #[test]
    fn boxes_are_read_in_all_their_forms() {
        let moref =
            json!({ "_typeName": "ManagedObjectReference", "type": "Folder", "value": "f" });
        for (given, expected) in [
            (
                json!({ "_typeName": "int", "_value": 7 }),
                json!({ "_typeName": "int", "_value": 7 }),
            ),
            (
                json!({ "_typeName": "binary", "_value": "YQ==" }),
                json!({ "_typeName": "base64Binary", "_value": "YQ==" }),
            ),
            (
                json!({ "_typeName": "dateTime", "_value": "2022-12-12T11:48:35.473645Z" }),
                json!({ "_typeName": "dateTime", "_value": "2022-12-12T11:48:35.473645Z" }),
            ),
            (
                json!({ "_typeName": "ArrayOfString", "_value": ["a"] }),
                json!({ "_typeName": "ArrayOfString", "_value": ["a"] }),
            ),
            (
                json!({ "_typeName": "HttpNfcLeaseState", "_value": "ready" }),
                json!({ "_typeName": "HttpNfcLeaseState", "_value": "ready" }),
            ),
            (moref.clone(), moref.clone()),
            (json!({ "_typeName": "ManagedObjectReference", "_value": moref }), moref),
            (json!({ "_typeName": "Novelty", "a": 1 }), json!({ "_typeName": "Novelty", "a": 1 })),
        ] {
            let option = json!({ "key": "k", "value": given });
            assert_eq!(read(option, "OptionValue").unwrap()["value"], expected);
        }
    }

    #[test]
    fn faults_come_without_an_envelope() {
        let kind = Kind { name: "LocalizedMethodFault", array: false, optional: true };
        let given = json!({ "_typeName": "SystemError", "reason": "r", "faultstring": "for you" });
        let read = value(&given, kind, "fault").unwrap();
        assert_eq!(read["fault"], json!({ "_typeName": "SystemError", "reason": "r" }));
        assert_eq!(read["localizedMessage"], "for you");
        let given = json!({ "_typeName": "NoveltyFault", "why": 7 });
        assert_eq!(value(&given, kind, "fault").unwrap()["fault"]["why"], 7);
        for given in [
            json!({ "_typeName": "LocalizedMethodFault", "fault": { "_typeName": "SystemError" } }),
            json!({ "_typeName": "KeyValue" }),
            json!({ "_typeName": "SystemError", "reason": 7 }),
            json!("broken"),
        ] {
            assert!(value(&given, kind, "fault").is_err(), "{given}");
        }
    }
}
