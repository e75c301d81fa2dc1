//! Texts in the language of the reader: `ovf:msgid` and the bundles that it points to.

use std::cell::Cell;
use std::collections::HashMap;

use roxmltree::Node;

use super::error::EnvelopeError;
use super::error::EnvelopeFault;
use super::tree::Reader;
use super::tree::fail;
use super::tree::text_of;

/// The messages of a descriptor's own bundles, `Strings` (DSP0243 1.1.0 §10.1).
///
/// Bundles in files of their own (§10.2) are not read: the text in the descriptor stands for them.
#[derive(Debug)]
pub(super) struct Messages<'a, 'input> {
    by_id: HashMap<&'a str, Node<'a, 'input>>,
    /// Bytes that may still be copied.
    left_bytes: Cell<usize>,
}

impl<'a, 'input> Messages<'a, 'input> {
    /// Prefers the language of the envelope, then English, then the first bundle.
    pub(super) fn of(reader: Reader<'a, 'input>) -> Self {
        let lang = |node: Node<'a, 'input>| node.attribute((XML, "lang"));
        let wanted = lang(reader.root).unwrap_or(LANGUAGE_DEFAULT);
        let rank = |node: &Node<'a, 'input>| match lang(*node) {
            Some(lang) if lang.eq_ignore_ascii_case(wanted) => 0,
            None => 1,
            Some(lang) if lang.to_ascii_lowercase().starts_with("en") => 2,
            Some(_) => 3,
        };
        let mut bundles: Vec<_> = reader.children(reader.root, "Strings").collect();
        bundles.sort_by_key(rank);
        let mut by_id = HashMap::new();
        for message in bundles.into_iter().flat_map(|bundle| reader.children(bundle, "Msg")) {
            if let Some(id) = reader.attribute(message, "msgid") {
                by_id.entry(id).or_insert(message);
            }
        }
        Self { by_id, left_bytes: Cell::new(COPIED_BYTES_MAX) }
    }

    /// The text of an element: its own, which is the default, else that of its message.
    pub(super) fn text(
        &self,
        reader: Reader<'a, 'input>,
        node: Node<'a, 'input>,
    ) -> Result<Option<String>, EnvelopeError> {
        let own = text_of(node);
        if !own.is_empty() {
            return Ok(Some(own));
        }
        // Some packers leave the namespace away.
        let id = reader.attribute(node, "msgid").or_else(|| node.attribute("msgid"));
        let Some(message) = id.and_then(|id| self.by_id.get(id)) else { return Ok(None) };
        let text = text_of(*message);
        self.spend(node, text.len())?;
        Ok((!text.is_empty()).then_some(text))
    }

    /// The text of the first child of this name that has one.
    pub(super) fn child_text(
        &self,
        reader: Reader<'a, 'input>,
        node: Node<'a, 'input>,
        name: &'static str,
    ) -> Result<Option<String>, EnvelopeError> {
        for child in reader.children(node, name) {
            if let Some(text) = self.text(reader, child)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// Counts a text that stands once in the descriptor and is copied to several places.
    pub(super) fn spend(&self, node: Node<'_, '_>, bytes: usize) -> Result<(), EnvelopeError> {
        let fault = EnvelopeFault::Limit { what: "bytes of copied texts", max: COPIED_BYTES_MAX };
        let left = self.left_bytes.get().checked_sub(bytes).ok_or_else(|| fail(node, fault))?;
        self.left_bytes.set(left);
        Ok(())
    }
}

/// Namespace of `xml:lang`.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// The language of a descriptor that does not say (DSP0243 1.1.0 §10).
const LANGUAGE_DEFAULT: &str = "en-US";

/// All copies of messages together: as much as the largest descriptor.  Real descriptors refer to
/// a message once; without the limit, 70,000 elements could refer to one of 2 MiB.
const COPIED_BYTES_MAX: usize = 4 << 20;
