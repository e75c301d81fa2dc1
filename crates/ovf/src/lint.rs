//! Whether a descriptor keeps to the rules of OVF, and where it does not.
//!
//! [`lint`] reads a descriptor by DSP0243 and its schema DSP8023 and tells all that it finds, not
//! just the first thing: each [`Finding`] has a [`Code`] that never changes, a severity, a place, a
//! sentence, and the section of DSP0243 1.1.0 with the rule.  An error refuses the descriptor, a
//! warning does not.  OVF 1.0, 1.1, 2.0 and 2.1 are known, and the drafts that are called 0.9.
//!
//! It is bounded as [`Envelope::parse`](crate::Envelope::parse) is, and stricter: that one asks for
//! what a transfer needs.  It lists the first 100 errors and the first 100 warnings.  Where a
//! namespace prefix is not declared, which is an error, it goes on with what the prefix is commonly
//! used for.
//!
//! ```
//! use ovftransfer_ovf::lint::Code;
//! use ovftransfer_ovf::lint::lint;
//!
//! let found = lint(
//!     br#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
//!                   xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
//!           <References/>
//!           <NetworkSection><Info/><Network ovf:name="a"/><Network ovf:name="a"/></NetworkSection>
//!           <VirtualSystem ovf:id="vm">
//!             <Info/><VirtualHardwareSection><Info/></VirtualHardwareSection>
//!           </VirtualSystem>
//!         </Envelope>"#,
//! );
//! assert!(!found.is_accepted());
//! assert_eq!(found.findings[0].code, Code::NetworkDuplicate);
//! assert_eq!(found.findings[0].path, "Envelope/NetworkSection/Network[2]");
//! ```
//!
//! Some mistakes can be told only with the files beside the descriptor: [`lint_with`] takes their
//! names, sizes and first bytes.
//!
//! # Extensions
//!
//! An element that this program does not know is an error, unless it, or one around it, is marked
//! `ovf:required="false"` (§7.3): then it is passed over with all that is in it.  Elements of VMware,
//! vCloud and VirtualBox are known, as far as they write them themselves.
//!
//! # Codes
//!
//! | code | severity | section | about |
//! |---|---|---|---|
//! | `attribute-missing` | error | §6 | A required attribute is missing or empty. |
//! | `attribute-unknown` | warning | §7.3 | An attribute of OVF's namespace that the schema does not have there. |
//! | `attribute-unqualified` | warning | §6 | An attribute of OVF without its namespace, which readers pass over. |
//! | `attribute-value` | error | §6 | The value of an attribute is not of the type that the schema gives it. |
//! | `section-repeated-unusual` | warning | §9.4 | A second section of a kind of which readers show the first. |
//! | `bundle-repeated` | warning | §10.1 | Two message bundles of one language. |
//! | `configuration-default-repeated` | error | §9.8 | Two configurations are the default. |
//! | `configuration-duplicate` | error | §9.8 | Two configurations have the same id. |
//! | `configuration-unknown` | error | §9.8 | A configuration is referred to that the DeploymentOptionSection does not have. |
//! | `content-id-again` | warning | §7.2 | Virtual systems or collections of different collections have the same id. |
//! | `content-id-duplicate` | error | §7.2 | Two virtual systems or collections side by side have the same id. |
//! | `content-missing` | error | §7.2 | The envelope has neither a VirtualSystem nor a VirtualSystemCollection. |
//! | `content-repeated` | error | §7.2 | The envelope has more than one VirtualSystem or VirtualSystemCollection directly in it. |
//! | `disk-capacity` | error | §9.1 | A capacity is no positive number of bytes, or a property without one. |
//! | `disk-delta` | error | §9.1 | The file of a disk holds only the difference to a parent that the descriptor does not name; told by the file beside it. |
//! | `disk-id-duplicate` | error | §9.1 | Two disks have the same id. |
//! | `disk-file-empty` | error | §9.1 | The file of a disk has no bytes; told by the file beside it. |
//! | `disk-file-shared` | error | §9.1 | Two disks of one configuration have the same file for their content. |
//! | `disk-file-unknown` | error | §9.1 | A disk refers to a file that the References do not have. |
//! | `disk-format` | error | §9.1 | A disk with content does not say by a URI in which format. |
//! | `disk-format-unknown` | warning | §9.1 | A disk format that this program does not know. |
//! | `disk-parent-circle` | error | §9.1 | A disk is its own ancestor. |
//! | `disk-parent-unknown` | error | §9.1 | A disk refers to a parent that the DiskSection does not have. |
//! | `disk-populated` | warning | §9.1 | The populated size is more than the capacity. |
//! | `disk-unit` | error | §9.1 | The capacity's unit is not one of bytes. |
//! | `doctype` | error | §6 | A document type declaration, which could define entities that grow without bound. |
//! | `draft-prefix` | error | §6 | A draft of OVF 0.9 with another prefix than ovf: what reads drafts knows sections by the literal names of their types. |
//! | `element-missing` | error | §6 | A required element is missing. |
//! | `element-order` | warning | §6 | Elements are not in the order of the schema. |
//! | `element-passed-over` | warning | §7.3 | An unknown element that may be passed over, as it is marked so or lies in a foreign namespace. |
//! | `element-repeated` | error | §6 | An element stands more often than the schema lets it. |
//! | `element-unknown` | error | §7.3 | An unknown element that is not marked as one to pass over. |
//! | `encoding` | error | §6 | The text is not UTF-8. |
//! | `envelope-namespace` | error | §6 | The envelope is in a namespace of no known version of OVF. |
//! | `envelope-version` | error | §6 | The envelope says another version than its namespace. |
//! | `envelope-order` | error | §6 | The parts of the envelope are not in their order: references, sections, content, messages. |
//! | `envelope-root` | error | §6 | The root element is not an Envelope. |
//! | `file-chunks` | error | §7.1 | The size of the chunks is not a positive number. |
//! | `file-compression` | error | §7.1 | A compression that this version of OVF does not have. |
//! | `file-id-duplicate` | error | §7.1 | Two files have the same id. |
//! | `file-href` | error | §7.1 | A file's href is no URL. |
//! | `file-href-duplicate` | error | §7.1 | Two files are the same one. |
//! | `file-missing` | error | §7.1 | A file of the package is not in its archive; told by the files beside it. |
//! | `file-missing-beside` | warning | §7.1 | A file of the package is not beside the descriptor. |
//! | `file-outside` | warning | §7.1 | A file lies outside the folder of the descriptor. |
//! | `file-scheme` | warning | §7.1 | A URL of another scheme than file, http and https. |
//! | `file-size` | error | §7.1 | A file's size is no number of bytes that a file can have. |
//! | `file-size-unknown` | warning | §7.1 | A file's size is -1 or -2, as some packers write for an unknown one. |
//! | `file-size-differs` | error | §7.1 | A file has another size than the descriptor says; told by the files beside it. |
//! | `hardware-family` | warning | §8.1 | The System of a hardware section does not say what is needed to tell hardware families apart. |
//! | `hardware-missing` | warning | §8.1 | A virtual system without a VirtualHardwareSection. |
//! | `icon-file-unknown` | error | §9.5 | An icon refers to a file that the References do not have. |
//! | `info-missing` | error | §7.3 | A section or content has no Info. |
//! | `item-address` | warning | §8.3 | Two devices have the same address on the same parent. |
//! | `item-bound` | error | §8.4 | A bound that is not min, normal or max. |
//! | `item-bound-alone` | error | §8.4 | A minimum or maximum without the item that it bounds. |
//! | `item-bound-repeated` | error | §8.4 | Two minima or maxima of one item. |
//! | `item-caption` | warning | §8.3 | An item has only a Caption, as in the drafts, for its ElementName. |
//! | `item-child` | error | §8.3 | An unknown element in an item that is not marked as one to pass over. |
//! | `item-connection` | error | §9.2 | A network adapter connects to a network that the NetworkSection does not have. |
//! | `item-disk` | error | §8.3 | A drive refers to a disk that the DiskSection does not have. |
//! | `item-id-duplicate` | error | §8.3 | Two items of one section and configuration have the same InstanceID. |
//! | `item-file` | error | §8.3 | A drive refers to a file that the References do not have. |
//! | `item-host-resource` | error | §8.3 | A disk drive whose host resource is neither ovf:/disk/ nor ovf:/file/. |
//! | `item-host-resource-unusual` | warning | §8.3 | Another drive with such a host resource, which only its own host can know. |
//! | `item-kind-differs` | error | §8.4 | Items of one InstanceID are of different resource types. |
//! | `item-missing` | error | §8.3 | An item lacks an element that it must have. |
//! | `item-overlap` | warning | §9.8 | Two items of one InstanceID share a configuration, among others that they do not share. |
//! | `item-parent-unknown` | error | §8.3 | An item refers to a parent that its section does not have. |
//! | `item-parent-circle` | error | §8.3 | A device is attached to itself. |
//! | `item-quantity` | warning | §8.3 | Processors or memory without a quantity. |
//! | `item-range` | error | §8.4 | A minimum, normal or maximum that are not in this order. |
//! | `item-type` | error | §8.3 | A required item of a resource type that CIM does not have. |
//! | `item-type-unusual` | warning | §8.3 | A resource type that CIM does not have, but a product writes. |
//! | `item-unit` | error | §8.3 | The unit of an amount of memory is not one of bytes. |
//! | `item-unit-unusual` | warning | §8.3 | A unit that is none of DSP0004. |
//! | `item-value` | error | §8.3 | The value of an element of an item is not of its CIM type. |
//! | `instance-count` | error | §7.3 | The least, usual and most instances of a machine that scales are no such numbers, or not in this order (OVF 2.0). |
//! | `limit` | error | §6 | A limit of this program is exceeded. |
//! | `message-duplicate` | error | §10.1 | Two messages of one bundle have the same id. |
//! | `message-file-unknown` | error | §10.2 | A message bundle is in a file that the References do not have. |
//! | `message-unknown` | warning | §10.1 | A message id that no bundle has. |
//! | `network-duplicate` | error | §9.2 | Two networks have the same name. |
//! | `placement-group` | error | §7.3 | A group of placement is referred to that the envelope does not have, or twice by one machine. |
//! | `product-duplicate` | error | §9.5 | Two product sections of one machine have the same class and instance. |
//! | `property-duplicate` | error | §9.5.1 | Two properties have the same key. |
//! | `property-key` | warning | §9.5.1 | A key with a full stop or colon, which separates class and instance. |
//! | `property-qualifier` | error | §9.5.1 | Qualifiers that cannot be read or that contradict each other. |
//! | `property-qualifier-unknown` | warning | §9.5.1 | A qualifier that neither OVF nor VMware has. |
//! | `property-range` | warning | §9.5.1 | A default value that the property's own qualifiers refuse. |
//! | `property-type` | error | §9.5.1 | A type that OVF does not have. |
//! | `property-type-unusual` | warning | §9.5.1 | A type that OVF does not have, but products write. |
//! | `property-value` | error | §9.5.1 | A value that is not of the property's type. |
//! | `section-place` | error | §7.2 | A section stands where it is not allowed. |
//! | `section-repeated` | error | §7.2 | A section that may stand once stands twice. |
//! | `section-unknown` | error | §7.3 | An unknown section that is required. |
//! | `startup-action` | error | §9.7 | An action that is none of starting and stopping. |
//! | `startup-duplicate` | error | §9.7 | Two startup items are for the same entity. |
//! | `startup-unknown` | error | §9.7 | A startup item is for an entity that the collection does not have. |
//! | `system-child` | error | §8.1 | An unknown element in a System that is not marked as one to pass over. |
//! | `operating-system-unknown` | warning | §9.9 | An operating system that CIM does not have. |
//! | `text-unexpected` | warning | §6 | Text between elements. |
//! | `transport` | warning | §9.5 | A transport of the OVF environment that neither OVF nor VMware has. |
//! | `xml` | error | §6 | The text is not well-formed XML. |
//! | `xml-prefix` | error | §6 | A namespace prefix is used that is not declared. |

mod beside;
mod document;
mod entities;
mod hardware;
mod item;
mod lexical;
mod package;
mod place;
mod product;
mod qualifiers;
mod report;
mod schema;
mod structure;
mod tree;

pub use beside::FilesBeside;
pub use report::Code;
pub use report::Finding;
pub use report::Lint;
pub use report::Severity;

use document::Text;
use report::Report;
use tree::Tree;

/// Checks a descriptor that stands alone.
#[must_use]
pub fn lint(bytes: &[u8]) -> Lint {
    lint_with(bytes, &FilesBeside::default())
}

/// The paths that a descriptor refers to, as [`FilesBeside`] wants to know them; URLs too.
#[must_use]
pub fn hrefs(bytes: &[u8]) -> Vec<String> {
    let mut report = Report::default();
    let Ok(text) = Text::read(bytes, &mut report) else { return Vec::new() };
    let document = text.parse(&mut report);
    let tree = document.as_ref().and_then(|document| Tree::of(document, &mut report));
    let files = tree.into_iter().flat_map(|tree| {
        tree.below("References", "File").filter_map(move |node| tree.value(node, "href"))
    });
    files.map(|href| beside::decode(href.trim())).collect()
}

/// Checks a descriptor with the files beside it.
#[must_use]
pub fn lint_with(bytes: &[u8], beside: &FilesBeside) -> Lint {
    let mut report = Report::default();
    let text = match Text::read(bytes, &mut report) {
        Ok(text) => text,
        Err(place) => return report.finish(&place),
    };
    if let Some(document) = text.parse(&mut report)
        && let Some(tree) = Tree::of(&document, &mut report)
    {
        structure::check(tree, &mut report);
        let names = package::check(tree, beside, &mut report);
        entities::check(tree, &names, &mut report);
        hardware::check(tree, &names, &mut report);
        product::check(tree, &names, &mut report);
    }
    report.finish(&text.place())
}
