//! Bodies into values and faults.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::{BOX_VALUE, DecodeError, MOREF, NODES_MAX, TYPE_NAME};
use crate::fault::Fault;
use crate::value::{Data, Field, MoRef, Scalar, TypeName, Value};

/// Reads the body of an answer: no value for an empty one and for `null`, several for an array.
///
/// # Errors
///
/// It is not JSON, or JSON beyond our limits.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<Value>, DecodeError> {
    let Some(value) = read(body)? else { return Ok(Vec::new()) };
    let Value { type_name, data } = value;
    Ok(match data {
        Data::List(list) => list,
        data @ (Data::MoRef(_) | Data::Object(_) | Data::Scalar(_)) => {
            vec![Value { type_name, data }]
        }
    })
}

/// Reads the body of a refusal.  `None` if there is no fault in it.
pub(crate) fn decode_fault(body: &[u8]) -> Option<Fault> {
    let value = read(body).ok()??;
    // An object of somebody else, such as a proxy, names no type.
    let is_fault = value.type_name.is_some()
        || value.field("faultstring").is_some()
        || value.field("faultMessage").is_some();
    if is_fault && matches!(value.data, Data::Object(_)) { Fault::from_value(&value) } else { None }
}

/// Reads an answer of the other JSON API, which has no types: one object.
pub(crate) fn decode_reply(body: &[u8]) -> Option<Value> {
    read(body).ok()?
}

fn read(body: &[u8]) -> Result<Option<Value>, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|_| DecodeError::Json("not UTF-8".to_owned()))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('<') {
        return Err(DecodeError::Html);
    }
    let mut nodes = 0;
    // The reader bounds the depth to 128 levels, far below a thread's stack.
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Node { nodes: &mut nodes }.deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        if nodes > NODES_MAX {
            DecodeError::TooManyNodes
        } else if error.is_eof() {
            DecodeError::Truncated
        } else {
            DecodeError::Json(error.to_string())
        }
    })
}

/// One value; `null` is none.
struct Node<'n> {
    nodes: &'n mut usize,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        *self.nodes += 1;
        if *self.nodes > NODES_MAX {
            return Err(D::Error::custom("too many values"));
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(scalar(Scalar::Bool(value))))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(scalar(Scalar::Int(value))))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        let number = i64::try_from(value);
        Ok(Some(scalar(number.map_or_else(|_| Scalar::Number(value.into()), Scalar::Int))))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(value).map(|number| scalar(Scalar::Number(number))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(scalar(Scalar::Text(text.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Node { nodes: self.nodes })? {
            list.extend(item);
        }
        Ok(Some(Value { type_name: None, data: Data::List(list) }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut type_name = None;
        let mut boxed = None;
        let mut fields = Vec::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Node { nodes: self.nodes })?;
            // The guide's prose writes the name in lower case.
            if name.eq_ignore_ascii_case(TYPE_NAME) {
                let text = value.as_ref().and_then(Value::text);
                type_name = text.map(|text| text.into_owned()).filter(|text| !text.is_empty());
            } else if name == BOX_VALUE {
                boxed = Some(value);
            } else if let Some(value) = value {
                fields.push(Field { name: Cow::Owned(name), value });
            }
        }
        Ok(match boxed {
            Some(boxed) => boxed.map(|inner| unbox(type_name, inner)),
            None => Some(object(type_name, fields)),
        })
    }
}

/// A value that a box names the type of.
fn unbox(type_name: Option<String>, inner: Value) -> Value {
    match inner.data {
        // A reference in a box may leave out its own type.
        Data::Object(fields) if inner.type_name.is_none() => {
            let is_moref = type_name.as_deref() == Some(MOREF);
            let mut value = object(type_name, fields);
            if is_moref && matches!(value.data, Data::MoRef(_)) {
                value.type_name = Some(named(MOREF.to_owned()));
            }
            value
        }
        // An object says it itself.
        Data::Object(_) => inner,
        Data::List(_) | Data::MoRef(_) | Data::Scalar(_) => {
            Value { type_name: type_name.map(named).or(inner.type_name), data: inner.data }
        }
    }
}

fn object(type_name: Option<String>, fields: Vec<Field>) -> Value {
    let may_be_moref = match type_name.as_deref() {
        Some(name) => name == MOREF,
        None => fields.iter().all(|f| matches!(&*f.name, "type" | "value" | "serverGuid")),
    };
    let value = Value { type_name: type_name.map(named), data: Data::Object(fields) };
    let moref = may_be_moref.then(|| moref(&value)).flatten();
    match moref {
        Some(moref) => Value::from(moref),
        None => value,
    }
}

fn moref(value: &Value) -> Option<MoRef> {
    let mut moref = MoRef::new(value.text_of("type")?, value.text_of("value")?);
    moref.server_guid = value.text_of("serverGuid");
    Some(moref)
}

fn scalar(scalar: Scalar) -> Value {
    Value { type_name: None, data: Data::Scalar(scalar) }
}

fn named(name: String) -> TypeName {
    if PRIMITIVES.contains(&name.as_str()) {
        TypeName::Xsd(Cow::Owned(name))
    } else {
        TypeName::Vim(Cow::Owned(name))
    }
}

/// Types that are not the API's own.
const PRIMITIVES: [&str; 11] = [
    "anyURI", "binary", "boolean", "byte", "dateTime", "double", "float", "int", "long", "short",
    "string",
];
