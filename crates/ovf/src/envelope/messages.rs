//! Texts in the language of the reader: `ovf:msgid` and the bundles that it points to.

use std::cell::Cell;
use std::collections::HashMap;

use roxmltree::Document;
use roxmltree::Node;

use super::error::EnvelopeError;
use super::error::EnvelopeFault;
use super::tree::Reader;
use super::tree::fail;
use super::tree::text_of;

/// The messages of a descriptor's bundles, `Strings` (DSP0243 1.1.0 §10.1), and of those in files of
/// their own (§10.2) that somebody brings.
#[derive(Debug)]
pub(super) struct Messages<'a, 'input> {
    by_id: HashMap<&'a str, Message<'a, 'input>>,
    /// Bytes that may still be copied.
    left_bytes: Cell<usize>,
}

impl<'a, 'input> Messages<'a, 'input> {
    /// Takes the language that is wanted, else that of the envelope, then English, then the first
    /// bundle.
    pub(super) fn of(
        reader: Reader<'a, 'input>,
        language: Option<&str>,
        files: &'a [Document<'input>],
    ) -> Self {
        let own = reader.children(reader.root, "Strings");
        let others = files.iter().map(Document::root_element);
        // The standard gives a bundle the envelope's namespace; not every packer does.
        let others = others.filter(|root| root.tag_name().name() == "Strings");
        let mut bundles: Vec<_> = own.chain(others).collect();
        let wanted =
            language.or_else(|| language_of(reader.root)).unwrap_or(LANGUAGE_DEFAULT).trim();
        let rank = |node: &Node<'a, 'input>| match language_of(*node) {
            Some(lang) if lang.eq_ignore_ascii_case(wanted) => 0,
            Some(lang) if primary(lang).eq_ignore_ascii_case(primary(wanted)) => 1,
            None => 2,
            Some(lang) if primary(lang).eq_ignore_ascii_case("en") => 3,
            Some(_) => 4,
        };
        bundles.sort_by_key(rank);
        let mut by_id = HashMap::new();
        for bundle in bundles {
            let is_wanted = language.is_some() && rank(&bundle) <= 1;
            for node in messages(reader, bundle) {
                if let Some(id) = reader.attribute(node, "msgid") {
                    by_id.entry(id).or_insert(Message { node, is_wanted });
                }
            }
        }
        Self { by_id, left_bytes: Cell::new(COPIED_BYTES_MAX) }
    }

    /// The text of an element: that of its message in the language that was asked for, else its
    /// own, which is the default, else that of its message in any language.
    pub(super) fn text(
        &self,
        reader: Reader<'a, 'input>,
        node: Node<'a, 'input>,
    ) -> Result<Option<String>, EnvelopeError> {
        let own = Some(text_of(node)).filter(|text| !text.is_empty());
        // Some packers leave the namespace away.
        let id = reader.attribute(node, "msgid").or_else(|| node.attribute("msgid"));
        let message = id.and_then(|id| self.by_id.get(id));
        let Some(message) = message.filter(|message| own.is_none() || message.is_wanted) else {
            return Ok(own);
        };
        let text = text_of(message.node);
        self.spend(node, text.len())?;
        Ok(if text.is_empty() { own } else { Some(text) })
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

/// A message of a bundle.
#[derive(Clone, Copy, Debug)]
struct Message<'a, 'input> {
    node: Node<'a, 'input>,
    /// Whether it is in the language that somebody asked for, so that it comes before the text of
    /// the element.
    is_wanted: bool,
}

/// The language that an element says it is in.
pub(super) fn language_of<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    node.attribute((XML, "lang"))
}

/// `de` of `de-DE`.
fn primary(language: &str) -> &str {
    language.split(['-', '_']).next().unwrap_or_default()
}

/// The messages of a bundle.
fn messages<'a, 'input>(
    reader: Reader<'a, 'input>,
    bundle: Node<'a, 'input>,
) -> impl Iterator<Item = Node<'a, 'input>> {
    let namespace = bundle.tag_name().namespace();
    bundle.children().filter(move |node| {
        let is_like_bundle =
            node.tag_name().name() == "Msg" && node.tag_name().namespace() == namespace;
        is_like_bundle || reader.is(*node, "Msg")
    })
}

/// Namespace of `xml:lang`.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// The language of a descriptor that does not say (DSP0243 1.1.0 §10).
const LANGUAGE_DEFAULT: &str = "en-US";

/// All copies of messages together: as much as the largest descriptor.  Real descriptors refer to
/// a message once; without the limit, 70,000 elements could refer to one of 2 MiB.
const COPIED_BYTES_MAX: usize = 4 << 20;
