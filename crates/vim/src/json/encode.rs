//! Calls into bodies.

use zeroize::Zeroizing;

use super::{BOX_VALUE, MOREF, TYPE_NAME};
use crate::value::{Data, FAULT_WRAPPER, Field, MoRef, Scalar, TypeName, Value};

/// The body of a call: one object of named parameters.  Empty for a call without any.
pub(crate) fn encode(parameters: &[Field]) -> Zeroizing<Vec<u8>> {
    let mut out = Writer(Zeroizing::new(String::new()));
    if !parameters.is_empty() {
        out.raw("{");
        out.fields(parameters, true);
        out.raw("}");
    }
    Zeroizing::new(std::mem::take(&mut *out.0).into_bytes())
}

struct Writer(Zeroizing<String>);

impl Writer {
    fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn fields(&mut self, fields: &[Field], mut first: bool) {
        for field in fields {
            if !first {
                self.raw(",");
            }
            first = false;
            self.text(&field.name);
            self.raw(":");
            self.value(&field.value);
        }
    }

    fn value(&mut self, value: &Value) {
        match (&value.data, &value.type_name) {
            (Data::Object(fields), Some(TypeName::Declared(name))) if name == FAULT_WRAPPER => {
                // This wire declares the fault itself.
                match fields.iter().find(|field| field.name == "fault") {
                    Some(fault) => self.value(&fault.value),
                    None => self.raw("null"),
                }
            }
            (Data::Object(fields), type_name) => {
                self.raw("{");
                if let Some(type_name) = type_name {
                    self.name(TYPE_NAME);
                    self.type_name(type_name);
                }
                self.fields(fields, type_name.is_none());
                self.raw("}");
            }
            // Only where any type may stand does a scalar, an array or a reference name its own.
            (Data::List(_) | Data::MoRef(_) | Data::Scalar(_), Some(type_name)) => {
                self.raw("{");
                self.name(TYPE_NAME);
                self.type_name(type_name);
                self.raw(",");
                self.name(BOX_VALUE);
                self.bare(&value.data);
                self.raw("}");
            }
            (data @ (Data::List(_) | Data::MoRef(_) | Data::Scalar(_)), None) => self.bare(data),
        }
    }

    fn bare(&mut self, data: &Data) {
        match data {
            Data::List(list) => {
                self.raw("[");
                for (index, item) in list.iter().enumerate() {
                    if index > 0 {
                        self.raw(",");
                    }
                    self.value(item);
                }
                self.raw("]");
            }
            Data::MoRef(moref) => self.moref(moref),
            Data::Object(fields) => {
                self.raw("{");
                self.fields(fields, true);
                self.raw("}");
            }
            Data::Scalar(Scalar::Bool(value)) => self.raw(if *value { "true" } else { "false" }),
            Data::Scalar(Scalar::Int(value)) => self.raw(&value.to_string()),
            Data::Scalar(Scalar::Number(value)) => self.raw(&value.to_string()),
            Data::Scalar(Scalar::Secret(secret)) => self.text(secret.expose()),
            Data::Scalar(Scalar::Text(text)) => self.text(text),
        }
    }

    fn moref(&mut self, moref: &MoRef) {
        self.raw("{");
        self.name(TYPE_NAME);
        self.text(MOREF);
        self.raw(",");
        self.name("type");
        self.text(moref.kind());
        self.raw(",");
        self.name("value");
        self.text(moref.id());
        if let Some(guid) = &moref.server_guid {
            self.raw(",");
            self.name("serverGuid");
            self.text(guid);
        }
        self.raw("}");
    }

    fn type_name(&mut self, type_name: &TypeName) {
        match type_name {
            TypeName::Declared(name) | TypeName::Vim(name) | TypeName::Xsd(name) => self.text(name),
        }
    }

    fn name(&mut self, name: &str) {
        self.text(name);
        self.raw(":");
    }

    fn text(&mut self, text: &str) {
        self.0.reserve(text.len() + 2);
        self.raw("\"");
        for c in text.chars() {
            match c {
                '"' => self.raw("\\\""),
                '\\' => self.raw("\\\\"),
                '\n' => self.raw("\\n"),
                '\r' => self.raw("\\r"),
                '\t' => self.raw("\\t"),
                '\0'..'\u{20}' => self.raw(&format!("\\u{:04x}", u32::from(c))),
                c => self.0.push(c),
            }
        }
        self.raw("\"");
    }
}
