//! Envelopes into values and faults.

use std::borrow::Cow;

use quick_xml::XmlVersion;
use quick_xml::errors::{Error as XmlError, IllFormedError, SyntaxError};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{QName, ResolveResult};
use quick_xml::reader::NsReader;

use super::{Answer, DEPTH_MAX, DecodeError, NODES_MAX, NS_XSD, NS_XSI};
use crate::fault::Fault;
use crate::value::{Data, Field, MoRef, Scalar, TypeName, Value};

/// Reads an answer.
///
/// # Errors
///
/// It is not a SOAP envelope, or one beyond our limits.
pub(crate) fn decode(body: &[u8]) -> Result<Answer, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|_| DecodeError::Xml("not UTF-8".to_owned()))?;
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if looks_like_html(text) {
        return Err(DecodeError::Html);
    }
    let root = Tree::read(text)?;
    if root.name != "Envelope" {
        return Err(DecodeError::NotAnEnvelope);
    }
    let body = root.value.field("Body").ok_or(DecodeError::NotAnEnvelope)?;
    let content = body.fields().first().ok_or(DecodeError::NotAnEnvelope)?;
    if content.name == "Fault" {
        return Ok(Answer::Fault(soap_fault(&content.value)));
    }
    Ok(Answer::Values(content.value.each("returnval").cloned().collect()))
}

/// `detail` holds one element `<TypeFault xsi:type="Type">`; any part of it may be missing.
fn soap_fault(value: &Value) -> Fault {
    let text = value.text_of("faultstring").unwrap_or_default();
    let typed = value.field("detail").and_then(|detail| detail.fields().first()).map(|field| {
        let by_element = field.name.strip_suffix("Fault").unwrap_or(&field.name);
        match Fault::from_value(&field.value) {
            Some(fault) if field.value.type_name.is_some() => fault,
            Some(fault) => fault.with_type_name(by_element),
            None => Fault::named(by_element, None),
        }
    });
    let fault = typed.unwrap_or_else(|| Fault::named("MethodFault", None));
    fault.with_message(&text)
}

fn looks_like_html(text: &str) -> bool {
    let start = text.bytes().take(14).map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
    start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
}

/// An element that is not closed yet.
struct Open {
    name: String,
    type_name: Option<TypeName>,
    moref: Option<(String, Option<String>)>,
    nil: bool,
    text: String,
    fields: Vec<Field>,
}

impl Open {
    fn close(self) -> Option<Field> {
        if self.nil {
            return None;
        }
        let data = if !self.fields.is_empty() {
            Data::Object(self.fields)
        } else if let Some((kind, server_guid)) = self.moref {
            let mut moref = MoRef::new(kind, self.text);
            moref.server_guid = server_guid;
            Data::MoRef(moref)
        } else {
            Data::Scalar(Scalar::Text(self.text))
        };
        let value = Value { type_name: self.type_name, data };
        Some(Field { name: Cow::Owned(self.name), value })
    }
}

/// Builds the tree without recursion, so that depth costs memory and no stack.
struct Tree<'t> {
    reader: NsReader<&'t [u8]>,
    open: Vec<Open>,
    nodes: usize,
    root: Option<Field>,
}

impl<'t> Tree<'t> {
    fn read(text: &'t str) -> Result<Field, DecodeError> {
        let reader = NsReader::from_str(text);
        let mut tree = Self { reader, open: Vec::new(), nodes: 0, root: None };
        loop {
            match tree.reader.read_event().map_err(xml)? {
                Event::Start(start) => tree.start(&start)?,
                Event::Empty(start) => {
                    tree.start(&start)?;
                    tree.end();
                }
                Event::End(_) => tree.end(),
                Event::Text(text) => tree.text(&text.xml10_content()),
                Event::CData(text) => tree.text(&text.xml10_content()),
                Event::GeneralRef(reference) => tree.reference(&reference)?,
                Event::DocType(_) => return Err(DecodeError::DocumentType),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof if tree.open.is_empty() => {
                    return tree.root.ok_or(DecodeError::NotAnEnvelope);
                }
                Event::Eof => return Err(DecodeError::Truncated),
            }
        }
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), DecodeError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(DecodeError::TooManyNodes);
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        let name = start.local_name().into_inner().to_owned();
        let (mut kind, mut server_guid, mut type_name, mut nil) = (None, None, None, false);
        // Two attributes may have the local name `type`: the namespace tells them apart.
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| DecodeError::Xml(e.to_string()))?;
            let (namespace, local) = self.reader.resolver().resolve_attribute(attribute.key);
            let in_xsi = match namespace {
                ResolveResult::Bound(namespace) => namespace.into_inner() == NS_XSI,
                // Sent by servers that forget to declare the usual prefix.
                ResolveResult::Unknown(prefix) => prefix == "xsi",
                ResolveResult::Unbound => false,
            };
            let is_plain = attribute.key.prefix().is_none();
            let text = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(xml)?;
            match (local.into_inner(), in_xsi, is_plain) {
                ("type", true, _) => type_name = Some(self.type_name(&text)),
                ("nil", true, _) => nil = text == "true" || text == "1",
                ("type", _, true) => kind = Some(text.into_owned()),
                ("serverGuid", _, true) => server_guid = Some(text.into_owned()),
                _ => {}
            }
        }
        let moref = kind.map(|kind| (kind, server_guid));
        let text = String::new();
        self.open.push(Open { name, type_name, moref, nil, text, fields: Vec::new() });
        Ok(())
    }

    fn type_name(&self, text: &str) -> TypeName {
        let name = QName(text.trim());
        let (local, prefix) = name.decompose();
        let local = Cow::Owned(local.into_inner().to_owned());
        match self.reader.resolver().resolve_prefix(prefix, true) {
            ResolveResult::Bound(namespace) if namespace.into_inner() == NS_XSD => {
                TypeName::Xsd(local)
            }
            ResolveResult::Unknown(prefix) if prefix == "xsd" => TypeName::Xsd(local),
            ResolveResult::Bound(_) | ResolveResult::Unbound | ResolveResult::Unknown(_) => {
                TypeName::Vim(local)
            }
        }
    }

    fn end(&mut self) {
        let Some(field) = self.open.pop().map(Open::close) else { return };
        match (self.open.last_mut(), field) {
            (Some(parent), Some(field)) => parent.fields.push(field),
            (None, field) => self.root = self.root.take().or(field),
            (Some(_), None) => {}
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(open) = self.open.last_mut() {
            open.text.push_str(text);
        }
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), DecodeError> {
        let name = reference.xml10_content();
        match reference.resolve_char_ref().map_err(xml)? {
            Some(c) => self.text(c.encode_utf8(&mut [0; 4])),
            None => match resolve_predefined_entity(&name) {
                Some(text) => self.text(text),
                None => return Err(DecodeError::Xml(format!("unknown entity &{name};"))),
            },
        }
        Ok(())
    }
}

fn xml(error: XmlError) -> DecodeError {
    match error {
        XmlError::Syntax(SyntaxError::UnclosedTag | SyntaxError::UnclosedCData)
        | XmlError::IllFormed(IllFormedError::MissingEndTag(_)) => DecodeError::Truncated,
        XmlError::Encoding(_)
        | XmlError::Escape(_)
        | XmlError::IllFormed(_)
        | XmlError::InvalidAttr(_)
        | XmlError::Io(_)
        | XmlError::Namespace(_)
        | XmlError::Syntax(_) => DecodeError::Xml(error.to_string()),
    }
}
