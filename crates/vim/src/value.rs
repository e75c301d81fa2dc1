//! The neutral value tree: what both wires of the API carry.
//!
//! A codec turns a tree into bytes and back; everything else in this crate reads and builds trees.
//! The tree keeps the order of fields, because SOAP demands it, and the names of types, because
//! both wires need them wherever a declared type has sub-types.  Unknown types and fields are kept
//! like known ones.

use std::borrow::Cow;
use std::fmt;

use serde_json::Number;

use crate::secret::{Secret, redact};

/// One value: a scalar, a reference to a managed object, an object or a list.
///
/// `Debug` shows the shape but no text: a tree may hold a password or a device URL.
#[derive(Clone, PartialEq)]
pub struct Value {
    pub(crate) type_name: Option<TypeName>,
    pub(crate) data: Data,
}

/// What a [`Value`] holds.
#[derive(Clone, PartialEq)]
pub(crate) enum Data {
    List(Vec<Value>),
    MoRef(MoRef),
    Object(Vec<Field>),
    Scalar(Scalar),
}

/// A named field of an object.
#[derive(Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: Cow<'static, str>,
    pub(crate) value: Value,
}

/// A value without parts.  SOAP reads every scalar as text, JSON keeps numbers and booleans apart;
/// the accessors of [`Value`] do not mind.
#[derive(Clone, PartialEq)]
pub(crate) enum Scalar {
    Bool(bool),
    Int(i64),
    /// A number that is no `i64`; only JSON tells.
    Number(Number),
    Secret(Secret),
    Text(String),
}

/// The name of a type: one of the API's, or a primitive of XML Schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TypeName {
    /// The type that the API declares at this place: SOAP leaves it out, JSON names it.
    Declared(Cow<'static, str>),
    /// `VirtualDisk`, `HttpNfcLeaseState`, `ArrayOfString`.
    Vim(Cow<'static, str>),
    /// `string`, `int`, `long`, `dateTime`.
    Xsd(Cow<'static, str>),
}

impl Value {
    /// The text of a scalar; `None` for anything else.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match &self.data {
            Data::Scalar(Scalar::Text(text)) => Some(Cow::Borrowed(text)),
            Data::Scalar(Scalar::Bool(value)) => Some(Cow::Owned(value.to_string())),
            Data::Scalar(Scalar::Int(value)) => Some(Cow::Owned(value.to_string())),
            Data::Scalar(Scalar::Number(value)) => Some(Cow::Owned(value.to_string())),
            Data::Scalar(Scalar::Secret(_)) | Data::List(_) | Data::MoRef(_) | Data::Object(_) => {
                None
            }
        }
    }

    /// A whole number, also when it travelled as text.
    #[must_use]
    pub fn int(&self) -> Option<i64> {
        match &self.data {
            Data::Scalar(Scalar::Int(value)) => Some(*value),
            Data::Scalar(Scalar::Text(text)) => text.trim().parse().ok(),
            Data::Scalar(Scalar::Bool(_) | Scalar::Number(_) | Scalar::Secret(_))
            | Data::List(_)
            | Data::MoRef(_)
            | Data::Object(_) => None,
        }
    }

    /// A truth value, also when it travelled as text.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match &self.data {
            Data::Scalar(Scalar::Bool(value)) => Some(*value),
            Data::Scalar(Scalar::Text(text)) => match text.trim() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            Data::Scalar(Scalar::Int(_) | Scalar::Number(_) | Scalar::Secret(_))
            | Data::List(_)
            | Data::MoRef(_)
            | Data::Object(_) => None,
        }
    }

    /// The reference, if it is one.
    #[must_use]
    pub fn moref(&self) -> Option<&MoRef> {
        match &self.data {
            Data::MoRef(moref) => Some(moref),
            Data::List(_) | Data::Object(_) | Data::Scalar(_) => None,
        }
    }

    /// The name of the concrete type, where the server gave one: `VirtualDisk`, `string`.
    #[must_use]
    pub fn type_name(&self) -> Option<&str> {
        self.type_name.as_ref().map(|name| match name {
            TypeName::Declared(name) | TypeName::Vim(name) | TypeName::Xsd(name) => name.as_ref(),
        })
    }

    /// The first value of the field `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.fields().iter().find(|field| field.name == name)?.value.flat().next()
    }

    /// The value of the field `name` as it stands: where any type may stand, an array is one value.
    pub(crate) fn whole(&self, name: &str) -> Option<&Self> {
        self.fields().iter().find(|field| field.name == name).map(|field| &field.value)
    }

    /// Every value of the field `name`: repeated SOAP elements and JSON arrays read alike.
    pub fn each<'v>(&'v self, name: &'v str) -> impl Iterator<Item = &'v Self> {
        self.fields().iter().filter(move |field| field.name == name).flat_map(|f| f.value.flat())
    }

    /// The value at the end of a path of field names.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |value, name| value.field(name))
    }

    /// Text of the field `name`.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<String> {
        Some(self.field(name)?.text()?.into_owned())
    }

    /// Text of the field `name`, unless it is missing or empty.
    #[must_use]
    pub fn filled_text_of(&self, name: &str) -> Option<String> {
        self.text_of(name).filter(|text| !text.is_empty())
    }

    /// Whole number of the field `name`.
    #[must_use]
    pub fn int_of(&self, name: &str) -> Option<i64> {
        self.field(name)?.int()
    }

    /// A size in bytes, or another number that is never negative, of the field `name`.
    #[must_use]
    pub fn unsigned_of(&self, name: &str) -> Option<u64> {
        u64::try_from(self.int_of(name)?).ok()
    }

    /// Truth value of the field `name`.
    #[must_use]
    pub fn boolean_of(&self, name: &str) -> Option<bool> {
        self.field(name)?.boolean()
    }

    /// Reference of the field `name`.
    #[must_use]
    pub fn moref_of(&self, name: &str) -> Option<MoRef> {
        self.field(name)?.moref().cloned()
    }

    /// The elements of an array in `Any` position (`ArrayOfString`), whatever they are called.
    pub fn items(&self) -> impl Iterator<Item = &Self> {
        let listed = match &self.data {
            Data::List(list) => list.as_slice(),
            Data::MoRef(_) | Data::Object(_) | Data::Scalar(_) => &[],
        };
        listed.iter().chain(self.fields().iter().flat_map(|field| field.value.flat()))
    }

    /// The value as JSON, for people and programs that read it: with `_typeName` where the server
    /// gave a type, and without secrets.  Over SOAP numbers and truth values are texts.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;

        match &self.data {
            Data::List(list) => list.iter().map(Self::to_json).collect(),
            Data::MoRef(moref) => Json::from(moref.to_string()),
            Data::Scalar(Scalar::Bool(value)) => Json::from(*value),
            Data::Scalar(Scalar::Int(value)) => Json::from(*value),
            Data::Scalar(Scalar::Number(value)) => Json::from(value.clone()),
            Data::Scalar(Scalar::Text(text)) => Json::from(text.as_str()),
            Data::Scalar(Scalar::Secret(_)) => Json::Null,
            Data::Object(fields) => {
                let mut object = serde_json::Map::new();
                if let Some(name) = self.type_name() {
                    object.insert("_typeName".to_owned(), Json::from(name));
                }
                for field in fields {
                    let value = field.value.to_json();
                    match object.get_mut(field.name.as_ref()) {
                        // SOAP repeats the name for each item.
                        Some(Json::Array(items)) => items.push(value),
                        Some(first) => *first = Json::Array(vec![first.take(), value]),
                        None => drop(object.insert(field.name.clone().into_owned(), value)),
                    }
                }
                Json::Object(object)
            }
        }
    }

    /// Names and values of the fields, in order.
    pub(crate) fn fields(&self) -> &[Field] {
        match &self.data {
            Data::Object(fields) => fields,
            Data::List(_) | Data::MoRef(_) | Data::Scalar(_) => &[],
        }
    }

    /// A text where a value of any type may stand: its type is named on both wires.
    pub(crate) fn any_text(text: &str) -> Self {
        let type_name = Some(TypeName::Xsd(Cow::Borrowed("string")));
        Self { type_name, ..Self::from(text) }
    }

    /// The same object with the field `name` set to `value`.  A field that was not there comes
    /// after the last of those in `before`, which SOAP wants to stand before it.
    pub(crate) fn with_field(mut self, name: &'static str, value: Self, before: &[&str]) -> Self {
        let Data::Object(fields) = &mut self.data else { return self };
        if let Some(field) = fields.iter_mut().find(|field| field.name == name) {
            field.value = value;
            return self;
        }
        let last = fields.iter().rposition(|field| before.contains(&field.name.as_ref()));
        fields.insert(last.map_or(0, |at| at + 1), Field { name: Cow::Borrowed(name), value });
        self
    }

    fn flat(&self) -> std::slice::Iter<'_, Self> {
        match &self.data {
            Data::List(list) => list.iter(),
            Data::MoRef(_) | Data::Object(_) | Data::Scalar(_) => std::slice::from_ref(self).iter(),
        }
    }

    fn scalar(scalar: Scalar) -> Self {
        Self { type_name: None, data: Data::Scalar(scalar) }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.data {
            Data::List(list) => f.debug_list().entries(list).finish(),
            Data::MoRef(moref) => fmt::Debug::fmt(moref, f),
            Data::Object(fields) => {
                let mut shape = f.debug_struct(self.type_name().unwrap_or("Object"));
                for field in fields {
                    shape.field(&field.name, &field.value);
                }
                shape.finish()
            }
            Data::Scalar(_) => f.write_str(".."),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::scalar(Scalar::Bool(value))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::scalar(Scalar::Int(value))
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::scalar(Scalar::Int(value.into()))
    }
}

impl From<u8> for Value {
    fn from(value: u8) -> Self {
        Self::scalar(Scalar::Int(value.into()))
    }
}

impl From<u64> for Value {
    /// Saturates: the API's `long` is signed.
    fn from(value: u64) -> Self {
        Self::scalar(Scalar::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::scalar(Scalar::Text(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::scalar(Scalar::Text(text))
    }
}

impl From<Secret> for Value {
    fn from(secret: Secret) -> Self {
        Self::scalar(Scalar::Secret(secret))
    }
}

impl From<MoRef> for Value {
    fn from(moref: MoRef) -> Self {
        Self { type_name: None, data: Data::MoRef(moref) }
    }
}

impl From<&MoRef> for Value {
    fn from(moref: &MoRef) -> Self {
        Self::from(moref.clone())
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self { type_name: object.type_name, data: Data::Object(object.fields) }
    }
}

/// Builds an object, field by field.  The order is that of the call and is kept: the WSDL's order
/// of elements, fields of the base type first.
#[derive(Clone, Default)]
pub struct Object {
    type_name: Option<TypeName>,
    fields: Vec<Field>,
}

impl Object {
    /// An object of the API's type `type_name`, which the wire must name: where a base type is
    /// declared.
    #[must_use]
    pub fn new(type_name: &'static str) -> Self {
        Self { type_name: Some(TypeName::Vim(Cow::Borrowed(type_name))), fields: Vec::new() }
    }

    /// An object of exactly the type that the API declares at its place.  SOAP does not name it,
    /// JSON always does.
    #[must_use]
    pub fn declared(type_name: &'static str) -> Self {
        Self { type_name: Some(TypeName::Declared(Cow::Borrowed(type_name))), fields: Vec::new() }
    }

    /// An object that names its type on no wire, such as the parameters of a call.
    #[must_use]
    pub fn untyped() -> Self {
        Self::default()
    }

    /// With a field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push(Field { name: Cow::Borrowed(name), value: value.into() });
        self
    }

    /// With a field, if there is a value; else unset.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With an array; an empty one is unset.
    #[must_use]
    pub fn with_each<V: Into<Value>>(
        self,
        name: &'static str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let list: Vec<Value> = values.into_iter().map(Into::into).collect();
        if list.is_empty() {
            return self;
        }
        self.with(name, Value { type_name: None, data: Data::List(list) })
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Value::from(self.clone()), f)
    }
}

/// A reference to a managed object on the server: its concrete type and its id.
///
/// `Display` and `Debug` leave out the session key that ids of leases and collectors carry.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MoRef {
    kind: Cow<'static, str>,
    id: String,
    /// Which vCenter it belongs to; only linked vCenters say so.
    pub(crate) server_guid: Option<String>,
}

impl MoRef {
    /// A reference from its type (`VirtualMachine`) and its id (`vm-42`).
    #[must_use]
    pub fn new(kind: impl Into<Cow<'static, str>>, id: impl Into<String>) -> Self {
        Self { kind: kind.into(), id: id.into(), server_guid: None }
    }

    /// The concrete type, as the server names it: `VirtualMachine`, `VmwareDistributedVirtualSwitch`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The id.  Ids of leases and collectors contain the session key: do not print this.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for MoRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, redact(&self.id))
    }
}

impl fmt::Debug for MoRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MoRef({self})")
    }
}

/// What SOAP wraps a fault inside data in; JSON has the fault itself.
pub(crate) const FAULT_WRAPPER: &str = "LocalizedMethodFault";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_read_alike_from_both_wires() {
        assert_eq!(Value::from("42").int(), Some(42));
        assert_eq!(Value::from(42_u32).int(), Some(42));
        assert_eq!(Value::from(42_u32).text().as_deref(), Some("42"));
        assert_eq!(Value::from("true").boolean(), Some(true));
        assert_eq!(Value::from("yes").boolean(), None);
        assert_eq!(Value::from(u64::MAX).int(), Some(i64::MAX));
        assert_eq!(Value::from("-1").int(), Some(-1));
    }

    #[test]
    fn repeated_fields_and_lists_read_alike() {
        let repeated: Value = Object::untyped().with("a", "1").with("a", "2").into();
        let listed: Value = Object::untyped().with_each("a", ["1", "2"]).into();
        for value in [&repeated, &listed] {
            let texts: Vec<_> = value.each("a").filter_map(Value::text).collect();
            assert_eq!(texts, ["1", "2"]);
            assert_eq!(value.items().count(), 2);
        }
        let empty: Value = Object::untyped().with_each("a", Vec::<String>::new()).into();
        assert!(empty.field("a").is_none());
    }

    #[test]
    fn debug_shows_shape_without_text() {
        let lease = MoRef::new("HttpNfcLease", "session[52aa]77");
        let value: Value = Object::new("Login")
            .with("password", Secret::new("hunter2"))
            .with("url", "https://esx/nfc/ticket/disk-0.vmdk")
            .with("lease", &lease)
            .into();
        let debug = format!("{value:?}");
        assert_eq!(
            debug,
            "Login { password: .., url: .., lease: MoRef(HttpNfcLease:session[..]77) }"
        );
    }
}
