//! Finding elements and attributes of OVF in the XML tree.

use roxmltree::Node;

use super::error::EnvelopeError;
use super::error::EnvelopeFault;
use super::units;
use crate::name::shown;

/// The tree of a descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a, 'input> {
    pub(super) root: Node<'a, 'input>,
    /// The namespace of this envelope's version.
    pub(super) ovf: &'static str,
    /// Whether it is one of the drafts before OVF 1.0.
    pub(super) is_draft: bool,
}

impl<'a, 'input> Reader<'a, 'input> {
    pub(super) fn is(self, node: Node<'_, '_>, name: &str) -> bool {
        if self.is_draft {
            self.is_in_draft(node, name)
        } else {
            node.has_tag_name((self.ovf, name))
        }
    }

    /// In the drafts elements have no namespace, if the packer did not give them one by default,
    /// and what a section or a machine is stands in its type: `xsi:type="ovf:DiskSection_Type"`.
    fn is_in_draft(self, node: Node<'_, '_>, name: &str) -> bool {
        let tag = node.tag_name();
        match tag.namespace() {
            None => {}
            Some(namespace) if namespace == self.ovf => {}
            Some(namespace) => return namespace == DRAFT_STRINGS && tag.name() == name,
        }
        let is_typed = matches!(tag.name(), "Content" | "Section");
        tag.name() == name || is_typed && self.draft_type(node) == Some(name)
    }

    /// Name of a section of a draft without the `_Type` at its end, whoever defines it.
    pub(super) fn drafted_type<'n>(self, node: Node<'n, '_>) -> Option<&'n str> {
        let written = node.attribute((XSI, "type")).filter(|_| self.is_draft)?.trim();
        let name = written.split_once(':').map_or(written, |(_, name)| name);
        Some(name.strip_suffix("_Type").unwrap_or(name))
    }

    /// `DiskSection` for `ovf:DiskSection_Type`.
    fn draft_type<'n>(self, node: Node<'n, '_>) -> Option<&'n str> {
        let written = node.attribute((XSI, "type"))?.trim();
        let (prefix, name) = match written.split_once(':') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, written),
        };
        let is_ovf = node.lookup_namespace_uri(prefix) == Some(self.ovf);
        name.strip_suffix("_Type").filter(|_| is_ovf)
    }

    pub(super) fn children(
        self,
        node: Node<'a, 'input>,
        name: &'static str,
    ) -> impl Iterator<Item = Node<'a, 'input>> {
        node.children().filter(move |child| self.is(*child, name))
    }

    /// The references to files.
    pub(super) fn file_nodes(self) -> impl Iterator<Item = Node<'a, 'input>> {
        self.children(self.root, "References").flat_map(move |node| self.children(node, "File"))
    }

    /// The disks.  OVF 2 has those that machines share in a section of their own.
    pub(super) fn disk_nodes(self) -> impl Iterator<Item = Node<'a, 'input>> {
        [("DiskSection", "Disk"), ("SharedDiskSection", "SharedDisk")].into_iter().flat_map(
            move |(section, disk)| {
                self.children(self.root, section).flat_map(move |node| self.children(node, disk))
            },
        )
    }

    /// Whether a machine or collection is a part of what the envelope describes: it lies directly
    /// in the envelope, or in a collection (DSP0243 1.1.0 §7.2).
    pub(super) fn is_content(self, node: Node<'_, '_>) -> bool {
        let up = node.parent_element();
        up.is_some_and(|up| up == self.root || self.is(up, "VirtualSystemCollection"))
    }

    pub(super) fn attribute(self, node: Node<'a, 'input>, name: &str) -> Option<&'a str> {
        node.attribute((self.ovf, name))
    }

    /// The configurations that an element is for, with blanks between.
    ///
    /// VMware's own appliances (vCenter 6.5) write the attribute without a prefix, and vSphere reads it.
    pub(super) fn configuration(self, node: Node<'a, 'input>) -> Option<&'a str> {
        let found =
            self.attribute(node, "configuration").or_else(|| node.attribute("configuration"));
        found.filter(|ids| !ids.is_empty())
    }

    /// The value of a property if the user sets none.
    pub(super) fn property_value(self, node: Node<'a, 'input>) -> Option<&'a str> {
        let drafted = || self.attribute(node, "defaultValue").filter(|_| self.is_draft);
        self.attribute(node, "value").or_else(drafted)
    }

    pub(super) fn required(
        self,
        node: Node<'a, 'input>,
        element: &'static str,
        part: &'static str,
    ) -> Result<&'a str, EnvelopeError> {
        self.attribute(node, part)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| fail(node, EnvelopeFault::Missing { element, part }))
    }

    pub(super) fn number(
        self,
        node: Node<'a, 'input>,
        name: &'static str,
    ) -> Result<Option<u64>, EnvelopeError> {
        let Some(text) = self.attribute(node, name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        match units::whole(text.trim()).filter(|value| *value <= SIZE_BYTES_MAX) {
            Some(value) => Ok(Some(value)),
            None => {
                let (found, max) = (shown(text), SIZE_BYTES_MAX);
                Err(fail(node, EnvelopeFault::Number { part: name, found, max }))
            }
        }
    }
}

/// An `xs:boolean`, in any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// All text of an element, without the blanks around it.
pub(super) fn text_of(node: Node<'_, '_>) -> String {
    let texts = node.children().filter(Node::is_text).filter_map(|child| child.text());
    texts.collect::<String>().trim().to_owned()
}

pub(super) fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn fail(node: Node<'_, '_>, fault: EnvelopeFault) -> EnvelopeError {
    EnvelopeError::at(node.document().input_text(), node.range().start, fault)
}

/// Namespace of `xsi:type`.
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Namespace of the message bundles of the drafts.
const DRAFT_STRINGS: &str = "http://schemas.dmtf.org/ovf/strings/1";

/// Namespace of OVF 2.0 and 2.1.
pub(super) const OVF_2: &str = "http://schemas.dmtf.org/ovf/envelope/2";

/// Namespace of VMware's extensions.
pub(super) const VMW: &str = "http://www.vmware.com/schema/ovf";

/// Largest size and capacity: vSphere keeps them as signed 64-bit numbers.
pub(super) const SIZE_BYTES_MAX: u64 = i64::MAX as u64;
