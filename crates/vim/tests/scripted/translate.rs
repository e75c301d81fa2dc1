//! SOAP answers as VI JSON, by the rules of the fact sheet (section 6.4).

use roxmltree::{Document, Node};
use serde_json::{Map, Value, json};

use super::Answer;

const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Fields that are arrays also with one element.
const ARRAYS: [&str; 18] = [
    "hostMap",
    "hosts",
    "changeSet",
    "childSnapshotList",
    "deviceUrl",
    "error",
    "fileItem",
    "filterSet",
    "missingSet",
    "objectSet",
    "objects",
    "privilegeIds",
    "missingPrivileges",
    "propSet",
    "rootSnapshotList",
    "warning",
    "faultMessage",
    "deviceChange",
];
const NUMBERS: [&str; 9] = [
    "capacity",
    "chunkSize",
    "cimType",
    "fileSize",
    "leaseTimeout",
    "populatedSize",
    "progress",
    "size",
    "totalDiskCapacityInKB",
];
const ARRAY_METHODS: [&str; 3] =
    ["FindAllByUuidResponse", "HttpNfcLeaseGetManifestResponse", "HttpNfcLeaseProbeUrlsResponse"];

/// Translates an envelope; leaves everything else as it is.
pub fn to_json(answer: &mut Answer) {
    let Ok(text) = String::from_utf8(answer.body.clone()) else { return };
    let Ok(document) = Document::parse(&text) else { return };
    if document.root_element().tag_name().name() != "Envelope" {
        return;
    }
    let body = child(document.root_element(), "Body").unwrap();
    let content = body.first_element_child().unwrap();
    if content.tag_name().name() == "Fault" {
        answer.body = fault(content).to_string().into_bytes();
        return;
    }
    let results: Vec<Value> =
        content.children().filter(Node::is_element).map(|result| value(result, "")).collect();
    let is_array = ARRAY_METHODS.contains(&content.tag_name().name());
    (answer.status, answer.body) = match results.as_slice() {
        [] => (204, Vec::new()),
        [one] if !is_array => (200, one.to_string().into_bytes()),
        several => (200, json!(several).to_string().into_bytes()),
    };
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn fault(node: Node<'_, '_>) -> Value {
    let typed = child(node, "detail").and_then(|detail| detail.first_element_child()).unwrap();
    let mut fault = Map::new();
    fault.insert("_typeName".to_owned(), typed.attribute((XSI, "type")).unwrap().into());
    let text = child(node, "faultstring").and_then(|text| text.text()).unwrap_or_default();
    fault.insert("faultstring".to_owned(), text.into());
    fill(&mut fault, typed);
    fault.into()
}

fn fill(object: &mut Map<String, Value>, node: Node<'_, '_>) {
    for field in node.children().filter(Node::is_element) {
        let name = field.tag_name().name();
        // The error of a task or a lease is one.
        let is_one = name == "error" && node.attribute((XSI, "type")) == Some("TaskInfo");
        let value = value(field, name);
        match object.get_mut(name) {
            Some(Value::Array(array)) => array.push(value),
            Some(_) => panic!("{name} is an array"),
            None if ARRAYS.contains(&name) && !is_one => {
                object.insert(name.to_owned(), json!([value]));
            }
            None => {
                object.insert(name.to_owned(), value);
            }
        }
    }
}

fn value(node: Node<'_, '_>, name: &str) -> Value {
    let text: String = node.children().filter_map(|child| child.text()).collect();
    if node.attribute((XSI, "nil")).is_some() {
        return Value::Null;
    }
    // By name alone `xsi:type` would do as well.
    let plain = node.attributes().find(|a| a.name() == "type" && a.namespace().is_none());
    if let Some(kind) = plain.map(|attribute| attribute.value()) {
        return json!({ "_typeName": "ManagedObjectReference", "type": kind, "value": text });
    }
    let mut object = Map::new();
    if let Some(inner) = child(node, "fault")
        && inner.attribute((XSI, "type")).is_some()
    {
        // This wire has no wrapper around faults.
        let Value::Object(mut flat) = value(inner, "fault") else { panic!("a fault") };
        if let Some(text) = child(node, "localizedMessage").and_then(|text| text.text()) {
            flat.insert("faultstring".to_owned(), text.into());
        }
        return flat.into();
    }
    let has_fields = node.first_element_child().is_some();
    if let Some(type_name) = node.attribute((XSI, "type")) {
        let type_name = type_name.rsplit(':').next().unwrap();
        object.insert("_typeName".to_owned(), type_name.into());
        if type_name.starts_with("ArrayOf") {
            let items = node.children().filter(Node::is_element);
            let items: Vec<Value> = items.map(|item| value(item, "")).collect();
            object.insert("_value".to_owned(), items.into());
            return object.into();
        }
        if !has_fields && !text.is_empty() {
            let number = text.parse::<i64>().ok().filter(|_| type_name != "string");
            object.insert("_value".to_owned(), number.map_or(json!(text), Value::from));
            return object.into();
        }
    } else if !has_fields {
        return match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            number if NUMBERS.contains(&name) => number.parse::<i64>().unwrap().into(),
            text => text.into(),
        };
    }
    fill(&mut object, node);
    object.into()
}
