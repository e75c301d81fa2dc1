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
            scalar @ (Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                let text = text_of(scalar);
                if kind.name == "anyType" {
                    let guess = match scalar {
                        Value::Bool(_) => "xsd:boolean",
                        Value::Number(number) if number.is_f64() => "xsd:double",
                        Value::Number(number) if is_int(number) => "xsd:int",
                        Value::Number(_) => "xsd:long",
                        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                            "xsd:string"
                        }
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
            // Bare values inside are told by the wrapper: they need no type of their own.
            let kind = types::item(item).unwrap_or(TOLD);
            let element = if kind == TOLD { item } else { kind.name };
            for item in items {
                self.field(element, item, kind);
            }
            self.close(name);
            return;
        }
        let named = match types::primitive(actual) {
            Some(_) => format!("xsd:{actual}"),
            None => actual.to_owned(),
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
    scalar.as_str().map_or_else(|| scalar.to_string(), str::to_owned)
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

/// A field of a type that is told elsewhere or that the schema does not spell out.
const TOLD: Kind = Kind { name: "", array: false, optional: true };

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn write(value: &Value, kind: Kind) -> String {
        let mut out = Writer::new();
        out.field("val", value, kind);
        out.finish()
    }

    #[test]
    fn fields_come_in_the_order_of_the_schema() {
        let entry = json!({ "_typeName": "KeyValue", "value": "b", "key": "a" });
        assert_eq!(
            write(&entry, Kind::ANY),
            "<val xsi:type=\"KeyValue\"><key>a</key><value>b</value></val>"
        );
    }

    #[test]
    fn values_that_may_be_anything_tell_their_type() {
        let boxed = |name: &str, value: Value| json!({ "_typeName": name, "_value": value });
        for (value, text) in [
            (boxed("int", json!(7)), "<val xsi:type=\"xsd:int\">7</val>"),
            (
                boxed("HttpNfcLeaseState", json!("ready")),
                "<val xsi:type=\"HttpNfcLeaseState\">ready</val>",
            ),
            (
                boxed("ArrayOfString", json!(["a"])),
                "<val xsi:type=\"ArrayOfString\"><string>a</string></val>",
            ),
            (
                boxed("ArrayOfAnyType", json!(["a"])),
                "<val xsi:type=\"ArrayOfAnyType\"><anyType xsi:type=\"xsd:string\">a</anyType></val>",
            ),
            (
                json!({ "_typeName": "ManagedObjectReference", "type": "Folder", "value": "group-1" }),
                "<val type=\"Folder\" xsi:type=\"ManagedObjectReference\">group-1</val>",
            ),
            (json!(5_000_000_000_i64), "<val xsi:type=\"xsd:long\">5000000000</val>"),
        ] {
            assert_eq!(write(&value, Kind::ANY), text);
        }
    }

    #[test]
    fn text_cannot_break_the_document() {
        let text = write(&json!("<&>\"\u{0}\r\n\u{e9}"), Kind { name: "string", ..TOLD });
        assert_eq!(text, "<val>&lt;&amp;&gt;&quot;\u{fffd}&#xD;\n\u{e9}</val>");
    }
}
