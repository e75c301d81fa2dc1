//! The pre-scan: bounds what the tree parser will be given, before it is given it.

use quick_xml::Reader;
use quick_xml::events::BytesStart;
use quick_xml::events::Event;

use super::error::EnvelopeError;
use super::error::EnvelopeFault;
use crate::name::shown;

/// Checks that the text cannot cost more than a descriptor may.
///
/// The tree parser keeps every node and every namespace in scope, and looks for duplicate
/// attributes by comparing each with each.
pub(crate) fn check(text: &str) -> Result<(), EnvelopeError> {
    let mut reader = Reader::from_str(text);
    // Declarations of namespaces on each open element.
    let mut open: Vec<usize> = Vec::new();
    let mut in_scope = 0;
    loop {
        let at_byte = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let at = |fault| Err(EnvelopeError::at(text, at_byte, fault));
        let limit = |what, max| at(EnvelopeFault::Limit { what, max });
        match reader.read_event() {
            Ok(Event::Start(tag)) => {
                let Some(declared) = count_declarations(&tag) else {
                    return limit("attributes of an element", ATTRIBUTES_MAX);
                };
                open.push(declared);
                in_scope += declared;
                if open.len() > DEPTH_MAX {
                    return limit("nested elements", DEPTH_MAX);
                }
                if in_scope > NAMESPACES_MAX {
                    return limit("namespaces in scope", NAMESPACES_MAX);
                }
            }
            Ok(Event::Empty(tag)) => match count_declarations(&tag) {
                None => return limit("attributes of an element", ATTRIBUTES_MAX),
                Some(declared) if in_scope + declared > NAMESPACES_MAX => {
                    return limit("namespaces in scope", NAMESPACES_MAX);
                }
                Some(_) => {}
            },
            Ok(Event::End(_)) => in_scope -= open.pop().unwrap_or(0),
            Ok(Event::DocType(_)) => return at(EnvelopeFault::DocType),
            Ok(Event::Eof) => return Ok(()),
            Ok(
                Event::CData(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::GeneralRef(_)
                | Event::PI(_)
                | Event::Text(_),
            ) => {}
            Err(error) => {
                let at_byte = usize::try_from(reader.error_position()).unwrap_or(usize::MAX);
                // It repeats names of the text, however long they are and whatever is in them.
                let problem = shown(&error.to_string());
                return Err(EnvelopeError::at(text, at_byte, EnvelopeFault::Xml { problem }));
            }
        }
    }
}

/// Number of namespaces that a tag declares; nothing if it has too many attributes.
fn count_declarations(tag: &BytesStart<'_>) -> Option<usize> {
    let mut attributes = tag.attributes();
    // The check for duplicates is quadratic; the tree parser makes it once the count is bounded.
    attributes.with_checks(false);
    let mut declared = 0;
    for (index, attribute) in attributes.enumerate() {
        if index == ATTRIBUTES_MAX {
            return None;
        }
        // A malformed attribute is reported better by the tree parser.
        if attribute.is_ok_and(|attribute| attribute.key.as_namespace_binding().is_some()) {
            declared += 1;
        }
    }
    Some(declared)
}

/// Nested elements.  Real descriptors have about 10; a vApp in a vApp adds one level each.
const DEPTH_MAX: usize = 256;

/// Attributes of one element.  Real ones have up to 12; the tree parser needs the square of it.
const ATTRIBUTES_MAX: usize = 256;

/// Namespaces in scope of one element.  Real descriptors have about 10; the tree parser copies the
/// list for each element that adds to it, so 200,000 nodes cost 25 MiB at most.
const NAMESPACES_MAX: usize = 64;
