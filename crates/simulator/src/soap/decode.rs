//! From XML elements to values, by the schema.

use serde_json::{Map, Number, Value, json};

use crate::fault::Fault;
use crate::object::Moref;
use crate::soap::XSI_NS;
use crate::soap::element::Element;
use crate::types::{self, Field, Kind};

/// Parameters of `Fetch`, which no schema has.
pub(crate) const FETCH_PARAMETERS: [Field; 1] =
    [Field { name: "prop", kind: Kind { name: "string", array: false, optional: false } }];

/// Reads the fields of a data object or the parameters of a method, in the schema's order.
pub(crate) fn fields(children: &[Element], known: &[Field], of: &str) -> Result<Value, Fault> {
    let mut whole = Map::new();
    let mut reached = 0;
    for child in children {
        let place = known.iter().position(|field| field.name == child.name);
        let Some(place) = place else {
            // Relics of the first version that may stand in every data object.
            if matches!(child.name.as_str(), "dynamicType" | "dynamicProperty") {
                continue;
            }
            return Err(unexpected(&child.name, of, "no such field"));
        };
        let field = known[place];
        if place < reached {
            return Err(unexpected(&child.name, of, "fields out of order"));
        }
        reached = place;
        let read = value(child, field.kind.element())?;
        if field.kind.array {
            let list = whole.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(items) = list {
                items.push(read);
            }
        } else if whole.insert(field.name.to_owned(), read).is_some() {
            return Err(unexpected(&child.name, of, "it is there twice"));
        }
    }
    Ok(Value::Object(whole))
}

/// Reads an element as a reference to a managed object.
pub(crate) fn reference(element: &Element) -> Result<Moref, Fault> {
    let kind = element.attribute("", "type").ok_or_else(|| {
        Fault::invalid_request(format!("element \"{}\" has no attribute \"type\"", element.name))
    })?;
    Ok(Moref::new(kind, element.text.trim()))
}

fn value(element: &Element, declared: Kind) -> Result<Value, Fault> {
    let actual = element.attribute(XSI_NS, "type").map(|name| {
        // The prefix is not looked up: types of the schema and XML Schema's own do not collide.
        name.rsplit_once(':').map_or(name, |(_, local)| local)
    });
    let any = declared.name == "anyType";
    let name = match actual {
        Some(actual) if any || actual == declared.name || types::is_a(actual, declared.name) => {
            actual
        }
        Some(actual) if types::data(declared.name).is_some() => {
            return Err(Fault::new(
                "InvalidType",
                format!("\"{actual}\" in \"{}\" is no {}", element.name, declared.name),
            ));
        }
        // Types that the schema does not spell out.
        Some(actual) => actual,
        None if any => "string",
        None => declared.name,
    };
    if name == "ManagedObjectReference" {
        return Ok(reference(element)?.value());
    }
    if let Some(kind) = types::primitive(name) {
        let bare = scalar(&element.text, kind.name, &element.name)?;
        return Ok(if any { json!({ "_typeName": name, "_value": bare }) } else { bare });
    }
    if let Some(item) = name.strip_prefix("ArrayOf") {
        return array(element, name, item);
    }
    if let Some(known) = types::data(name) {
        let mut whole = Map::new();
        whole.insert("_typeName".to_owned(), json!(name));
        if let Value::Object(inner) = fields(&element.children, &known.fields, name)? {
            whole.extend(inner);
        }
        return Ok(Value::Object(whole));
    }
    Ok(generic(element, name))
}

/// Reads `ArrayOfString` and its like.
fn array(element: &Element, name: &str, item: &str) -> Result<Value, Fault> {
    let kind = types::item(item).unwrap_or(Kind::ANY);
    let items: Result<Vec<Value>, Fault> =
        element.children.iter().map(|child| value(child, kind)).collect();
    Ok(json!({ "_typeName": name, "_value": items? }))
}

/// Reads a data object whose type the schema does not spell out, or an enum.
fn generic(element: &Element, name: &str) -> Value {
    if element.children.is_empty() {
        return Value::String(element.text.clone());
    }
    let mut whole = Map::new();
    whole.insert("_typeName".to_owned(), json!(name));
    for child in &element.children {
        let inner = match child.attribute("", "type") {
            Some(kind) => Moref::new(kind, child.text.trim()).value(),
            None => generic(child, child.attribute(XSI_NS, "type").unwrap_or(&child.name)),
        };
        match whole.get_mut(&child.name) {
            Some(Value::Array(items)) => items.push(inner),
            Some(first) => *first = json!([first.take(), inner]),
            None => {
                whole.insert(child.name.clone(), inner);
            }
        }
    }
    Value::Object(whole)
}

fn scalar(text: &str, kind: &str, name: &str) -> Result<Value, Fault> {
    let trimmed = text.trim();
    let wrong = || Fault::invalid_request(format!("\"{trimmed:.64}\" in \"{name}\" is no {kind}"));
    let range = match kind {
        "byte" => i64::from(i8::MIN)..=i64::from(i8::MAX),
        "short" => i64::from(i16::MIN)..=i64::from(i16::MAX),
        "int" => i64::from(i32::MIN)..=i64::from(i32::MAX),
        "long" => i64::MIN..=i64::MAX,
        "boolean" => {
            return match trimmed {
                "true" | "1" => Ok(Value::Bool(true)),
                "false" | "0" => Ok(Value::Bool(false)),
                _ => Err(wrong()),
            };
        }
        "double" | "float" => {
            let number = trimmed.parse().ok().and_then(Number::from_f64);
            return number.map(Value::Number).ok_or_else(wrong);
        }
        _ => return Ok(Value::String(text.to_owned())),
    };
    let number = trimmed.parse::<i64>().ok().filter(|number| range.contains(number));
    number.map(Value::from).ok_or_else(wrong)
}

fn unexpected(name: &str, of: &str, why: &str) -> Fault {
    Fault::invalid_request(format!("Unexpected element tag \"{name}\" seen in \"{of}\": {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, known: &str) -> Result<Value, Fault> {
        let xsi = "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'";
        let element = Element::parse(&format!("<x {xsi}>{text}</x>"))?;
        fields(&element.children, &types::data(known).unwrap().fields, known)
    }

    #[test]
    fn subtypes_keep_their_names() {
        let value = read(
            "<key>2000</key><backing xsi:type='x:VirtualDiskFlatVer2BackingInfo'><fileName>f</fileName>\
             <diskMode>persistent</diskMode></backing><capacityInKB>5000000000</capacityInKB>",
            "VirtualDisk",
        )
        .unwrap();
        assert_eq!(value["backing"]["_typeName"], "VirtualDiskFlatVer2BackingInfo");
        assert_eq!(value["capacityInKB"], 5_000_000_000_i64);
    }

    #[test]
    fn what_does_not_fit_the_schema_is_refused() {
        for (text, known) in [
            ("<value>b</value><key>a</key>", "KeyValue"),
            ("<key>a</key><key>b</key>", "KeyValue"),
            ("<key>a</key><nothing/>", "KeyValue"),
            ("<key>many</key>", "VirtualDisk"),
            ("<key>99999999999</key>", "VirtualDisk"),
            ("<key>1</key><backing xsi:type='KeyValue'/>", "VirtualDisk"),
            ("<obj>group-d1</obj>", "ObjectSpec"),
            ("<obj type='Folder'>group-d1</obj><skip>maybe</skip>", "ObjectSpec"),
        ] {
            assert!(read(text, known).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_types_are_kept_as_they_are() {
        let option =
            "<key>k</key><value xsi:type='Novelty'><a>1</a><a>2</a><b type='Folder'>f</b></value>";
        let value = read(option, "OptionValue").unwrap();
        assert_eq!(value["value"]["_typeName"], "Novelty");
        assert_eq!(value["value"]["a"], json!(["1", "2"]));
        assert_eq!(value["value"]["b"]["value"], "f");
    }
}
