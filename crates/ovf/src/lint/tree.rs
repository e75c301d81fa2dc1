//! Elements and attributes of OVF by their names, in each of its dialects.

use roxmltree::Document;
use roxmltree::Node;

use super::document::OVF_1;
use super::document::OVF_2;
use super::document::OVF_DRAFT;
use super::document::XSI;
use super::report::Code;
use super::report::Report;
use crate::name::shown;

/// An element of the tree.
pub(super) type Element<'a> = Node<'a, 'a>;

/// Which writing of OVF a descriptor is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Dialect {
    /// The drafts called OVF 0.9: sections are `Section` with `xsi:type`, their elements may be in
    /// no namespace.
    Draft,
    /// OVF 1.0 and 1.1.
    V1,
    /// OVF 2.0 and 2.1.
    V2,
}

/// A descriptor whose root is an envelope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a> {
    pub(super) root: Element<'a>,
    pub(super) dialect: Dialect,
    /// The namespace of OVF.
    pub(super) ovf: &'static str,
}

impl<'a> Tree<'a> {
    /// Looks at the root element.
    pub(super) fn of(document: &'a Document<'a>, report: &mut Report) -> Option<Self> {
        let root = document.root_element();
        let (name, namespace) = (root.tag_name().name(), root.tag_name().namespace());
        if name != "Envelope" {
            let message = format!("the root element is {}, not an Envelope", shown(name));
            report.add(root, Code::EnvelopeRoot, message);
            return None;
        }
        let (dialect, ovf) = match namespace {
            Some(OVF_1) => (Dialect::V1, OVF_1),
            Some(OVF_2) => (Dialect::V2, OVF_2),
            Some(OVF_DRAFT) => (Dialect::Draft, OVF_DRAFT),
            other => {
                let found = shown(other.unwrap_or("no namespace"));
                let message = format!("the Envelope is in {found}, which is no version of OVF");
                report.add(root, Code::EnvelopeNamespace, message);
                return None;
            }
        };
        let tree = Self { root, dialect, ovf };
        tree.version(report);
        Some(tree)
    }

    /// What the envelope says of its version, if it does, must fit its namespace.
    fn version(self, report: &mut Report) {
        let major = match self.dialect {
            Dialect::Draft => "0",
            Dialect::V1 => "1",
            Dialect::V2 => "2",
        };
        if let Some(version) = self.value(self.root, "version")
            && version.trim().split('.').next() != Some(major)
        {
            let message = format!("version \"{}\" is not that of the namespace", shown(version));
            report.add(self.root, Code::EnvelopeVersion, message);
        }
        let prefix = self.root.lookup_prefix(self.ovf);
        if self.dialect == Dialect::Draft
            && let Some(prefix) = prefix.filter(|prefix| !matches!(*prefix, "" | "ovf"))
        {
            let message = format!(
                "a draft with the prefix {} instead of ovf, by which its types are known",
                shown(prefix)
            );
            report.add(self.root, Code::DraftPrefix, message);
        }
    }

    /// The name of an element of OVF; nothing if it is none.
    ///
    /// A `Section` or `Content` goes by its `xsi:type`: `ovf:DiskSection_Type` is a `DiskSection`
    /// (DSP8023 has both writings; the drafts have only that one).
    pub(super) fn name(self, node: Element<'a>) -> Option<&'a str> {
        let tag = node.tag_name();
        let is_ovf = match tag.namespace() {
            None => self.dialect == Dialect::Draft,
            Some(uri) => uri == self.ovf || uri == STRINGS && tag.name() == "Strings",
        };
        if !is_ovf {
            return None;
        }
        if !matches!(tag.name(), "Section" | "Content") {
            return Some(tag.name());
        }
        let Some(kind) = node.attribute((XSI, "type")) else { return Some(tag.name()) };
        let kind = kind.trim();
        let (prefix, local) = kind.split_once(':').map_or((None, kind), |(p, l)| (Some(p), l));
        if node.lookup_namespace_uri(prefix) != Some(self.ovf) {
            return None;
        }
        Some(local.strip_suffix("_Type").unwrap_or(local))
    }

    pub(super) fn is(self, node: Element<'a>, name: &str) -> bool {
        node.is_element() && self.name(node) == Some(name)
    }

    /// The children of a name.
    pub(super) fn children(
        self,
        node: Element<'a>,
        name: &'static str,
    ) -> impl Iterator<Item = Element<'a>> {
        node.children().filter(move |child| self.is(*child, name))
    }

    /// The elements of a name below those of another in the envelope.
    pub(super) fn below(
        self,
        section: &'static str,
        name: &'static str,
    ) -> impl Iterator<Item = Element<'a>> {
        self.children(self.root, section).flat_map(move |node| self.children(node, name))
    }

    /// The value of an attribute of OVF.
    pub(super) fn attribute(self, node: Element<'a>, name: &str) -> Option<&'a str> {
        node.attribute((self.ovf, name))
    }

    /// The value of an attribute of OVF that is not empty.
    pub(super) fn value(self, node: Element<'a>, name: &str) -> Option<&'a str> {
        self.attribute(node, name).filter(|value| !value.trim().is_empty())
    }

    /// Whether a reader that does not know an element must refuse the descriptor (DSP0243 1.1.0
    /// §7.3).
    pub(super) fn is_required(self, node: Element<'a>) -> bool {
        !matches!(self.attribute(node, "required").map(str::trim), Some("false" | "0"))
    }

    /// The machines and collections in the order of the text.
    pub(super) fn contents(self) -> impl Iterator<Item = Element<'a>> {
        self.root
            .descendants()
            .filter(move |node| node.is_element() && self.name(*node).is_some_and(is_content))
    }
}

/// Whether this is a name of what an envelope is for (DSP0243 1.1.0 §7.2).
pub(super) fn is_content(name: &str) -> bool {
    matches!(name, "VirtualSystem" | "VirtualSystemCollection")
}

/// All text of an element, without the blanks around it.
pub(super) fn text_of(node: Element<'_>) -> String {
    let texts = node.children().filter(Node::is_text).filter_map(|child| child.text());
    texts.collect::<String>().trim().to_owned()
}

/// Namespace of the message bundles of the drafts.
const STRINGS: &str = "http://schemas.dmtf.org/ovf/strings/1";
