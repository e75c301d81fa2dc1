//! From values to XML, by the schema.

use serde_json::Value;

use crate::types::{self, Kind};

/// Writes XML text.
#[derive(Debug)]
pub(crate) struct Writer {
    out: String,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { out: String::new() }
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// Opens an element.
    pub(crate) fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.out.push('<');
        self.out.push_str(name);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(&mut self.out, value);
            self.out.push('"');
        }
        self.out.push('>');
    }

    /// Closes an element.
    pub(crate) fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// Writes an element with text.
    pub(crate) fn leaf(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.open(name, attributes);
        escape(&mut self.out, text);
        self.close(name);
    }

    /// Writes a field: nothing for `null`, one element, or one for each item.
    pub(crate) fn field(&mut self, name: &str, value: &Value, kind: Kind) {
        match value {
            Value::Null => {}
            Value::Array(items) => {
                for item in items {
                    self.field(name, item, kind.element());
                }
            }
            Value::Object(fields) => {
                let actual = fields.get("_typeName").and_then(Value::as_str).unwrap_or(kind.name);
                if let Some(inner) = fields.get("_value") {
                    self.boxed(name, inner, actual);
                } else if actual == "ManagedObjectReference" {
                    self.reference(name, value, kind);
                } else {
                    self.object(name, value, actual, kind);
                }
            }
            scalar => {
                let text = text_of(scalar);
                if kind.name == "anyType" {
                    let guess = match scalar {
                        Value::Bool(_) => "xsd:boolean",
                        Value::Number(number) if number.is_f64() => "xsd:double",
                        Value::Number(number) if is_int(number) => "xsd:int",
                        Value::Number(_) => "xsd:long",
                        _ => "xsd:string",
                    };
                    self.leaf(name, &[("xsi:type", guess)], &text);
                } else {
                    self.leaf(name, &[], &text);
                }
            }
        }
    }

    /// Writes `<{Kind}Fault xmlns="urn:vim25" xsi:type="{Kind}">` with the fault's fields.
    pub(crate) fn fault_detail(&mut self, detail: &Value, kind: &str) {
        let name = format!("{kind}Fault");
        self.open(&name, &[("xmlns", "urn:vim25"), ("xsi:type", kind)]);
        self.children(detail, kind);
        self.close(&name);
    }

    fn boxed(&mut self, name: &str, inner: &Value, actual: &str) {
        if let (Value::Array(items), Some(item)) = (inner, actual.strip_prefix("ArrayOf")) {
            self.open(name, &[("xsi:type", actual)]);
            let lower = format!("{}{}", item.get(..1).unwrap_or_default().to_lowercase(), item.get(1..).unwrap_or_default());
            let lower = lower.as_str();
            let kind = match types::data(item) {
                Some(known) => Kind { name: known.name, array: false, optional: false },
                None if item == "ManagedObjectReference" => REFERENCE,
                // Bare values inside are told by the wrapper: no type of their own.
                None if item == "AnyType" => Kind::ANY,
                None => TOLD,
            };
            let simple = Kind { name: "string", ..TOLD }.is_primitive()
                && matches!(lower, "anyType" | "boolean" | "byte" | "double" | "int" | "long" | "short" | "string");
            let element = if simple { lower } else { item };
            for item in items {
                self.field(element, item, kind);
            }
            self.close(name);
            return;
        }
        let named = match actual {
            "base64Binary" | "boolean" | "byte" | "dateTime" | "double" | "float" | "int" | "long"
            | "short" | "string" => format!("xsd:{actual}"),
            other => other.to_owned(),
        };
        self.leaf(name, &[("xsi:type", &named)], &text_of(inner));
    }

    fn reference(&mut self, name: &str, value: &Value, kind: Kind) {
        let part = |part| value.get(part).and_then(Value::as_str).unwrap_or_default();
        let mut attributes = vec![("type", part("type"))];
        if kind.name == "anyType" {
            attributes.push(("xsi:type", "ManagedObjectReference"));
        }
        self.leaf(name, &attributes, part("value"));
    }

    fn object(&mut self, name: &str, value: &Value, actual: &str, kind: Kind) {
        if actual == kind.name || actual == "anyType" {
            self.open(name, &[]);
        } else {
            self.open(name, &[("xsi:type", actual)]);
        }
        self.children(value, actual);
        self.close(name);
    }

    /// The fields in the schema's order, whatever order they have in memory; those that the schema
    /// does not know follow.
    fn children(&mut self, value: &Value, actual: &str) {
        let Some(fields) = value.as_object() else { return };
        let known = types::data(actual).map_or(&[][..], |known| &known.fields);
        for field in known {
            if let Some(inner) = fields.get(field.name) {
                self.field(field.name, inner, field.kind);
            }
        }
        for (name, inner) in fields {
            let foreign = !name.starts_with('_') && !known.iter().any(|field| field.name == name);
            if foreign {
                self.field(name, inner, TOLD);
            }
        }
    }
}

fn text_of(scalar: &Value) -> String {
    match scalar {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_int(number: &serde_json::Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Kept as they are: a parser would turn a bare one into a line feed.
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' | '\u{20}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}' => out.push(letter),
            // XML 1.0 has no way to write these.
            _ => out.push('\u{fffd}'),
        }
    }
}

const REFERENCE: Kind = Kind { name: "ManagedObjectReference", array: false, optional: false };

/// A field of a type that is told elsewhere or that the schema does not spell out.
const TOLD: Kind = Kind { name: "", array: false, optional: true };
