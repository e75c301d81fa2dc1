//! From values to JSON for a client, by the schema.

use serde_json::{Map, Value, json};

use crate::scenario::{FaultText, ViJson};
use crate::types::{self, Kind};

/// Writes what a call or a property gave.
pub(super) fn result(given: &Value, kind: Kind, style: ViJson) -> Value {
    let bare = value(given, kind, style.fault_text);
    let is_scalar = bare.is_boolean() || bare.is_number() || bare.is_string();
    if style.boxed_results && is_scalar {
        return json!({ "_typeName": wire_name(kind.name), "_value": bare });
    }
    bare
}

fn value(given: &Value, kind: Kind, text: FaultText) -> Value {
    let is_any = kind.name == Kind::ANY.name && !kind.array;
    match given {
        Value::Null => Value::Null,
        Value::Array(items) if is_any => {
            let first =
                items.first().and_then(|item| item.get("_typeName")).and_then(Value::as_str);
            let same = |item: &Value| item.get("_typeName").and_then(Value::as_str) == first;
            let item = first.filter(|_| items.iter().all(same)).unwrap_or("AnyType");
            boxed_array(items, item, text)
        }
        Value::Array(items) => items.iter().map(|item| value(item, kind.element(), text)).collect(),
        Value::Object(fields) => object(fields, kind, text),
        Value::Bool(_) if is_any => json!({ "_typeName": "boolean", "_value": given }),
        Value::String(_) if is_any => json!({ "_typeName": "string", "_value": given }),
        Value::Number(number) if is_any => {
            let is_int = number.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
            let name = match number.is_f64() {
                true => "double",
                false if is_int => "int",
                false => "long",
            };
            json!({ "_typeName": name, "_value": given })
        }
        Value::Bool(_) | Value::String(_) | Value::Number(_) => given.clone(),
    }
}

fn object(fields: &Map<String, Value>, kind: Kind, text: FaultText) -> Value {
    let name = fields.get("_typeName").and_then(Value::as_str).unwrap_or(kind.name);
    if let Some(inner) = fields.get("_value") {
        return boxed(name, inner, kind, text);
    }
    if name == LOCALIZED {
        return fault(fields, text);
    }
    data(fields, name, text)
}

/// The box of `inner`, or only what is in it where the type is declared.
fn boxed(name: &str, inner: &Value, kind: Kind, text: FaultText) -> Value {
    let is_declared = kind.name != Kind::ANY.name && kind != TOLD;
    if is_declared {
        return value(inner, kind, text);
    }
    match (name.strip_prefix("ArrayOf"), inner) {
        (Some(item), Value::Array(items)) => boxed_array(items, item, text),
        _ => json!({ "_typeName": wire_name(name), "_value": inner }),
    }
}

fn boxed_array(items: &[Value], item: &str, text: FaultText) -> Value {
    let kind = types::item(item).unwrap_or(TOLD);
    let name = match item {
        "Base64Binary" => "Binary",
        LOCALIZED => "MethodFault",
        item => item,
    };
    let items: Vec<Value> = items.iter().map(|item| value(item, kind, text)).collect();
    json!({ "_typeName": format!("ArrayOf{name}"), "_value": items })
}

fn data(fields: &Map<String, Value>, name: &str, text: FaultText) -> Value {
    let known = types::data(name);
    let mut whole = Map::new();
    if !name.is_empty() && name != Kind::ANY.name {
        whole.insert("_typeName".to_owned(), json!(name));
    }
    for (field, inner) in fields {
        if field == "_typeName" || inner.is_null() {
            continue;
        }
        let kind = known.and_then(|known| known.field(field));
        let kind = kind.map_or(TOLD, |(_, field)| field.kind);
        whole.insert(field.clone(), value(inner, kind, text));
    }
    Value::Object(whole)
}

/// The fault itself in place of a `LocalizedMethodFault`; its text goes where `text` says.
fn fault(localized: &Map<String, Value>, text: FaultText) -> Value {
    let inner = localized.get("fault").and_then(Value::as_object);
    let name = inner.and_then(|inner| inner.get("_typeName")).and_then(Value::as_str);
    let empty = Map::new();
    let mut whole = data(inner.unwrap_or(&empty), name.unwrap_or("MethodFault"), text);
    let message = localized.get("localizedMessage").and_then(Value::as_str).unwrap_or_default();
    if let Value::Object(whole) = &mut whole
        && !message.is_empty()
    {
        match text {
            FaultText::Faultstring => {
                whole.insert("faultstring".to_owned(), json!(message));
            }
            FaultText::FaultMessage => {
                let key = format!("com.vmware.vim.{}", name.unwrap_or("MethodFault"));
                let message =
                    json!({ "_typeName": "LocalizableMessage", "key": key, "message": message });
                whole.insert("faultMessage".to_owned(), json!([message]));
            }
            FaultText::None => {}
        }
    }
    whole
}

/// Name of a type on this wire.
fn wire_name(name: &str) -> &str {
    match name {
        "base64Binary" => "binary",
        name => name,
    }
}

const LOCALIZED: &str = "LocalizedMethodFault";

/// A field of a type that is told elsewhere or that the schema does not spell out.
const TOLD: Kind = Kind { name: "", array: false, optional: true };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    fn write(given: &Value, kind: Kind) -> Value {
        value(given, kind, FaultText::Faultstring)
    }

    #[test]
    fn values_that_may_be_anything_are_boxed() {
        let moref =
            json!({ "_typeName": "ManagedObjectReference", "type": "Folder", "value": "f" });
        for (given, expected) in [
            (json!("a"), json!({ "_typeName": "string", "_value": "a" })),
            (json!(true), json!({ "_typeName": "boolean", "_value": true })),
            (json!(7), json!({ "_typeName": "int", "_value": 7 })),
            (json!(5_000_000_000_i64), json!({ "_typeName": "long", "_value": 5_000_000_000_i64 })),
            (json!(0.5), json!({ "_typeName": "double", "_value": 0.5 })),
            (
                json!({ "_typeName": "base64Binary", "_value": "YQ==" }),
                json!({ "_typeName": "binary", "_value": "YQ==" }),
            ),
            (
                json!({ "_typeName": "ArrayOfString", "_value": ["a"] }),
                json!({ "_typeName": "ArrayOfString", "_value": ["a"] }),
            ),
            (
                json!(["a"]),
                json!({ "_typeName": "ArrayOfAnyType", "_value": [{ "_typeName": "string", "_value": "a" }] }),
            ),
            (
                json!([moref.clone()]),
                json!({ "_typeName": "ArrayOfManagedObjectReference", "_value": [moref] }),
            ),
            (moref.clone(), moref),
        ] {
            assert_eq!(write(&given, Kind::ANY), expected, "{given}");
        }
        let option = json!({ "_typeName": "OptionValue", "key": "k", "value": "v" });
        assert_eq!(write(&option, Kind::ANY)["value"]["_typeName"], "string");
    }

    #[test]
    fn values_of_declared_types_are_bare() {
        let state = json!({ "_typeName": "HttpNfcLeaseState", "_value": "ready" });
        let kind = |name, array| Kind { name, array, optional: true };
        assert_eq!(write(&state, kind("HttpNfcLeaseState", false)), "ready");
        let list = json!({ "_typeName": "ArrayOfString", "_value": ["a"] });
        assert_eq!(write(&list, kind("string", true)), json!(["a"]));
        let style = ViJson { boxed_results: true, ..ViJson::default() };
        let boxed = result(&json!("ready"), kind("HttpNfcLeaseState", false), style);
        assert_eq!(boxed, state);
    }

    #[test]
    fn faults_inside_data_are_flat_with_their_causes() {
        let cause = Fault::new("FileFault", "lost \u{e9}").with("file", "f").localized();
        let fault = Fault::new("SystemError", "broken").with("reason", "r");
        let fault = fault.with("faultCause", cause).localized();
        let missing = json!({ "_typeName": "MissingProperty", "path": "p", "fault": fault });
        assert_eq!(
            write(&missing, Kind::ANY)["fault"],
            json!({
                "_typeName": "SystemError",
                "reason": "r",
                "faultCause": { "_typeName": "FileFault", "file": "f", "faultstring": "lost \u{e9}" },
                "faultstring": "broken",
            })
        );
        let result = json!({ "_typeName": "OvfCreateImportSpecResult", "error": [fault] });
        assert_eq!(write(&result, Kind::ANY)["error"][0]["_typeName"], "SystemError");
        let many = json!({ "_typeName": "ArrayOfLocalizedMethodFault", "_value": [fault] });
        assert_eq!(write(&many, Kind::ANY)["_typeName"], "ArrayOfMethodFault");
        assert_eq!(write(&many, Kind::ANY)["_value"][0]["_typeName"], "SystemError");
    }

    #[test]
    fn the_text_of_faults_goes_where_the_scenario_says() {
        let fault = Fault::invalid_state().localized();
        let text = value(&fault, Kind::ANY, FaultText::FaultMessage);
        assert!(text["faultMessage"][0]["message"].as_str().unwrap().contains("state"));
        assert!(text.get("faultstring").is_none());
        let text = value(&fault, Kind::ANY, FaultText::None);
        assert_eq!(text, json!({ "_typeName": "InvalidState" }));
    }
}
