//! An XML element in memory, read with limits.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use crate::fault::Fault;

/// An element with its namespace, attributes, children and text.
#[derive(Debug, Default)]
pub(crate) struct Element {
    /// Namespace, empty if none.
    pub(crate) namespace: String,
    /// Local name.
    pub(crate) name: String,
    /// Namespace, local name and value of each attribute; declarations of namespaces are not here.
    pub(crate) attributes: Vec<(String, String, String)>,
    /// Elements inside.
    pub(crate) children: Vec<Self>,
    /// Text directly inside.
    pub(crate) text: String,
    /// Where it begins in the document.
    pub(crate) at_byte: usize,
}

impl Element {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// A fault without detail if it is no XML, too deep, or has a document type.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let mut reader = NsReader::from_str(text);
        // The elements that are open, outermost first; the first is the document.
        let mut open = vec![Self::default()];
        let mut elements = 0_usize;
        loop {
            let at_byte = reader.buffer_position();
            let broken = |what: &str| {
                Fault::unreadable(format!("{what}\n\nwhile parsing SOAP body\nat byte {at_byte}"))
            };
            let event = reader.read_event().map_err(|error| broken(&error.to_string()))?;
            match event {
                Event::Start(start) => {
                    elements += 1;
                    if open.len() > DEPTH_MAX || elements > ELEMENTS_MAX {
                        return Err(broken("the request is too deep or has too many elements"));
                    }
                    open.push(Self::start(&reader, &start, at_byte).map_err(|what| broken(&what))?);
                }
                Event::Empty(start) => {
                    elements += 1;
                    if elements > ELEMENTS_MAX {
                        return Err(broken("the request has too many elements"));
                    }
                    let element = Self::start(&reader, &start, at_byte);
                    let element = element.map_err(|what| broken(&what))?;
                    if let Some(parent) = open.last_mut() {
                        parent.children.push(element);
                    }
                }
                Event::End(_) => {
                    let (Some(element), Some(parent)) = (open.pop(), open.last_mut()) else {
                        return Err(broken("an element ends that did not begin"));
                    };
                    parent.children.push(element);
                }
                Event::Text(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.xml10_content());
                    }
                }
                Event::CData(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.xml10_content());
                    }
                }
                Event::GeneralRef(reference) => {
                    let name = reference.xml10_content();
                    let letter = match reference.resolve_char_ref() {
                        Ok(Some(letter)) => letter,
                        Ok(None) => predefined(&name)
                            .ok_or_else(|| broken(&format!("unknown entity \"{name}\"")))?,
                        Err(error) => return Err(broken(&error.to_string())),
                    };
                    if let Some(element) = open.last_mut() {
                        element.text.push(letter);
                    }
                }
                Event::DocType(_) => return Err(broken("a document type is not allowed")),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => {
                    let (Some(mut document), true) = (open.pop(), open.is_empty()) else {
                        return Err(broken("the document ends too early"));
                    };
                    return match document.children.pop() {
                        Some(root) if document.children.is_empty() => Ok(root),
                        _ => Err(broken("expected exactly one root element")),
                    };
                }
            }
        }
    }

    fn start(
        reader: &NsReader<&[u8]>,
        start: &BytesStart<'_>,
        at_byte: u64,
    ) -> Result<Self, String> {
        let resolver = reader.resolver();
        let (namespace, name) = resolver.resolve_element(start.name());
        let mut element = Self {
            namespace: bound(&namespace)?,
            name: name.into_inner().to_owned(),
            at_byte: usize::try_from(at_byte).unwrap_or(usize::MAX),
            ..Self::default()
        };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let (namespace, name) = resolver.resolve_attribute(attribute.key);
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|error| error.to_string())?.into_owned();
            element.attributes.push((bound(&namespace)?, name.into_inner().to_owned(), value));
        }
        Ok(element)
    }

    /// Whether it is `name` of `namespace`.
    pub(crate) fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// Value of the attribute `name` of `namespace` (empty for none).
    pub(crate) fn attribute(&self, namespace: &str, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(ns, local, _)| ns == namespace && local == name);
        found.map(|(_, _, value)| value.as_str())
    }
}

fn bound(namespace: &ResolveResult<'_>) -> Result<String, String> {
    match namespace {
        ResolveResult::Bound(namespace) => Ok(namespace.into_inner().to_owned()),
        ResolveResult::Unbound => Ok(String::new()),
        ResolveResult::Unknown(prefix) => Err(format!("undeclared prefix \"{prefix}\"")),
    }
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "apos" => '\'',
        "gt" => '>',
        "lt" => '<',
        "quot" => '"',
        _ => return None,
    })
}

/// Nesting of elements.  The deepest legal request, an import spec of nested vApps, has about 20.
const DEPTH_MAX: usize = 64;

/// Elements of one request.  An import spec has some hundreds; this bounds the memory of one that
/// was made to hurt.
const ELEMENTS_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_namespaces_attributes_and_references() {
        let root = Element::parse(
            "<a:x xmlns:a='urn:a' xmlns='urn:b' type='1' a:type='2'>t&amp;&#x41;<y/><![CDATA[<]]></a:x>",
        )
        .unwrap();
        assert!(root.is("urn:a", "x"));
        assert_eq!(root.attribute("", "type"), Some("1"));
        assert_eq!(root.attribute("urn:a", "type"), Some("2"));
        assert_eq!(root.text, "t&A<");
        assert!(root.children[0].is("urn:b", "y"));
    }

    #[test]
    fn refuses_what_is_not_well_formed() {
        let deep = "<a>".repeat(1000);
        let bomb = "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>";
        for text in
            ["", "x", "<a>", "</a>", "<a></b>", "<a/><b/>", "<x:a/>", "<a>&b;</a>", bomb, &deep]
        {
            assert!(Element::parse(text).is_err(), "{text:.40}");
        }
    }
}
