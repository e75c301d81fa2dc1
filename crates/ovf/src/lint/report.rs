//! What a check finds: codes, findings, and the report that they are collected in.

use std::fmt;

use roxmltree::Node;

use super::place::Place;
use crate::envelope::Position;

macro_rules! codes {
    ($($variant:ident $word:literal $severity:ident $section:literal $about:literal)*) => {
        /// What kind of thing was found.  The [word](Self::word) of a code never changes.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $about] $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it is printed, such as `disk-id-duplicate`.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Whether a descriptor with such a finding is refused.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What the code stands for, in a sentence.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }

            /// The section of DSP0243 1.1.0 that has the rule; a finding may know a finer one.
            #[must_use]
            pub fn section(self) -> &'static str {
                match self { $(Self::$variant => $section,)* }
            }
        }
    };
}

codes! {
    AttributeMissing "attribute-missing" Error "6" "A required attribute is missing or empty."
    AttributeUnknown "attribute-unknown" Warning "7.3" "An attribute of OVF's namespace that the schema does not have there."
    AttributeUnqualified "attribute-unqualified" Warning "6" "An attribute of OVF without its namespace, which readers pass over."
    AttributeValue "attribute-value" Error "6" "The value of an attribute is not of the type that the schema gives it."
    SectionRepeatedUnusual "section-repeated-unusual" Warning "9.4" "A second section of a kind of which readers show the first."
    BundleRepeated "bundle-repeated" Warning "10.1" "Two message bundles of one language."
    ConfigurationDefaultRepeated "configuration-default-repeated" Error "9.8" "Two configurations are the default."
    ConfigurationDuplicate "configuration-duplicate" Error "9.8" "Two configurations have the same id."
    ConfigurationUnknown "configuration-unknown" Error "9.8" "A configuration is referred to that the DeploymentOptionSection does not have."
    ContentAgain "content-id-again" Warning "7.2" "Virtual systems or collections of different collections have the same id."
    ContentDuplicate "content-id-duplicate" Error "7.2" "Two virtual systems or collections side by side have the same id."
    ContentMissing "content-missing" Error "7.2" "The envelope has neither a VirtualSystem nor a VirtualSystemCollection."
    ContentRepeated "content-repeated" Error "7.2" "The envelope has more than one VirtualSystem or VirtualSystemCollection directly in it."
    DiskCapacity "disk-capacity" Error "9.1" "A capacity is no positive number of bytes, or a property without one."
    DiskDelta "disk-delta" Error "9.1" "The file of a disk holds only the difference to a parent that the descriptor does not name; told by the file beside it."
    DiskDuplicate "disk-id-duplicate" Error "9.1" "Two disks have the same id."
    DiskFileEmpty "disk-file-empty" Error "9.1" "The file of a disk has no bytes; told by the file beside it."
    DiskFileShared "disk-file-shared" Error "9.1" "Two disks of one configuration have the same file for their content."
    DiskFileUnknown "disk-file-unknown" Error "9.1" "A disk refers to a file that the References do not have."
    DiskFormat "disk-format" Error "9.1" "A disk with content does not say by a URI in which format."
    DiskFormatUnknown "disk-format-unknown" Warning "9.1" "A disk format that this program does not know."
    DiskParentCircle "disk-parent-circle" Error "9.1" "A disk is its own ancestor."
    DiskParentUnknown "disk-parent-unknown" Error "9.1" "A disk refers to a parent that the DiskSection does not have."
    DiskPopulated "disk-populated" Warning "9.1" "The populated size is more than the capacity."
    DiskUnit "disk-unit" Error "9.1" "The capacity's unit is not one of bytes."
    Doctype "doctype" Error "6" "A document type declaration, which could define entities that grow without bound."
    DraftPrefix "draft-prefix" Error "6" "A draft of OVF 0.9 with another prefix than ovf: what reads drafts knows sections by the literal names of their types."
    ElementMissing "element-missing" Error "6" "A required element is missing."
    ElementOrder "element-order" Warning "6" "Elements are not in the order of the schema."
    ElementPassedOver "element-passed-over" Warning "7.3" "An unknown element that may be passed over, as it is marked so or lies in a foreign namespace."
    ElementRepeated "element-repeated" Error "6" "An element stands more often than the schema lets it."
    ElementUnknown "element-unknown" Error "7.3" "An unknown element that is not marked as one to pass over."
    Encoding "encoding" Error "6" "The text is not UTF-8."
    EnvelopeNamespace "envelope-namespace" Error "6" "The envelope is in a namespace of no known version of OVF."
    EnvelopeVersion "envelope-version" Error "6" "The envelope says another version than its namespace."
    EnvelopeOrder "envelope-order" Error "6" "The parts of the envelope are not in their order: references, sections, content, messages."
    EnvelopeRoot "envelope-root" Error "6" "The root element is not an Envelope."
    FileChunks "file-chunks" Error "7.1" "The size of the chunks is not a positive number."
    FileCompression "file-compression" Error "7.1" "A compression that this version of OVF does not have."
    FileDuplicate "file-id-duplicate" Error "7.1" "Two files have the same id."
    FileHref "file-href" Error "7.1" "A file's href is no URL."
    FileHrefDuplicate "file-href-duplicate" Error "7.1" "Two files are the same one."
    FileMissing "file-missing" Error "7.1" "A file of the package is not in its archive; told by the files beside it."
    FileMissingBeside "file-missing-beside" Warning "7.1" "A file of the package is not beside the descriptor."
    FileOutside "file-outside" Warning "7.1" "A file lies outside the folder of the descriptor."
    FileScheme "file-scheme" Warning "7.1" "A URL of another scheme than file, http and https."
    FileSize "file-size" Error "7.1" "A file's size is no number of bytes that a file can have."
    FileSizeUnknown "file-size-unknown" Warning "7.1" "A file's size is -1 or -2, as some packers write for an unknown one."
    FileSizeDiffers "file-size-differs" Error "7.1" "A file has another size than the descriptor says; told by the files beside it."
    HardwareFamily "hardware-family" Warning "8.1" "The System of a hardware section does not say what is needed to tell hardware families apart."
    HardwareMissing "hardware-missing" Warning "8.1" "A virtual system without a VirtualHardwareSection."
    IconFileUnknown "icon-file-unknown" Error "9.5" "An icon refers to a file that the References do not have."
    InfoMissing "info-missing" Error "7.3" "A section or content has no Info."
    ItemAddress "item-address" Warning "8.3" "Two devices have the same address on the same parent."
    ItemBound "item-bound" Error "8.4" "A bound that is not min, normal or max."
    ItemBoundAlone "item-bound-alone" Error "8.4" "A minimum or maximum without the item that it bounds."
    ItemBoundRepeated "item-bound-repeated" Error "8.4" "Two minima or maxima of one item."
    ItemCaption "item-caption" Warning "8.3" "An item has only a Caption, as in the drafts, for its ElementName."
    ItemChild "item-child" Error "8.3" "An unknown element in an item that is not marked as one to pass over."
    ItemConnection "item-connection" Error "9.2" "A network adapter connects to a network that the NetworkSection does not have."
    ItemDisk "item-disk" Error "8.3" "A drive refers to a disk that the DiskSection does not have."
    ItemDuplicate "item-id-duplicate" Error "8.3" "Two items of one section and configuration have the same InstanceID."
    ItemFile "item-file" Error "8.3" "A drive refers to a file that the References do not have."
    ItemHostResource "item-host-resource" Error "8.3" "A disk drive whose host resource is neither ovf:/disk/ nor ovf:/file/."
    ItemHostResourceUnusual "item-host-resource-unusual" Warning "8.3" "Another drive with such a host resource, which only its own host can know."
    ItemKind "item-kind-differs" Error "8.4" "Items of one InstanceID are of different resource types."
    ItemMissing "item-missing" Error "8.3" "An item lacks an element that it must have."
    ItemOverlap "item-overlap" Warning "9.8" "Two items of one InstanceID share a configuration, among others that they do not share."
    ItemParent "item-parent-unknown" Error "8.3" "An item refers to a parent that its section does not have."
    ItemParentCircle "item-parent-circle" Error "8.3" "A device is attached to itself."
    ItemQuantity "item-quantity" Warning "8.3" "Processors or memory without a quantity."
    ItemRange "item-range" Error "8.4" "A minimum, normal or maximum that are not in this order."
    ItemType "item-type" Error "8.3" "A required item of a resource type that CIM does not have."
    ItemTypeUnusual "item-type-unusual" Warning "8.3" "A resource type that CIM does not have, but a product writes."
    ItemUnit "item-unit" Error "8.3" "The unit of an amount of memory is not one of bytes."
    ItemUnitUnusual "item-unit-unusual" Warning "8.3" "A unit that is none of DSP0004."
    ItemValue "item-value" Error "8.3" "The value of an element of an item is not of its CIM type."
    InstanceCount "instance-count" Error "7.3" "The least, usual and most instances of a machine that scales are no such numbers, or not in this order (OVF 2.0)."
    Limit "limit" Error "6" "A limit of this program is exceeded."
    MessageDuplicate "message-duplicate" Error "10.1" "Two messages of one bundle have the same id."
    MessageFileUnknown "message-file-unknown" Error "10.2" "A message bundle is in a file that the References do not have."
    MessageUnknown "message-unknown" Warning "10.1" "A message id that no bundle has."
    NetworkDuplicate "network-duplicate" Error "9.2" "Two networks have the same name."
    PlacementGroup "placement-group" Error "7.3" "A group of placement is referred to that the envelope does not have, or twice by one machine."
    ProductDuplicate "product-duplicate" Error "9.5" "Two product sections of one machine have the same class and instance."
    PropertyDuplicate "property-duplicate" Error "9.5.1" "Two properties have the same key."
    PropertyKey "property-key" Warning "9.5.1" "A key with a full stop or colon, which separates class and instance."
    PropertyQualifier "property-qualifier" Error "9.5.1" "Qualifiers that cannot be read or that contradict each other."
    PropertyQualifierUnknown "property-qualifier-unknown" Warning "9.5.1" "A qualifier that neither OVF nor VMware has."
    PropertyRange "property-range" Warning "9.5.1" "A default value that the property's own qualifiers refuse."
    PropertyType "property-type" Error "9.5.1" "A type that OVF does not have."
    PropertyTypeUnusual "property-type-unusual" Warning "9.5.1" "A type that OVF does not have, but products write."
    PropertyValue "property-value" Error "9.5.1" "A value that is not of the property's type."
    SectionPlace "section-place" Error "7.2" "A section stands where it is not allowed."
    SectionRepeated "section-repeated" Error "7.2" "A section that may stand once stands twice."
    SectionUnknown "section-unknown" Error "7.3" "An unknown section that is required."
    StartupAction "startup-action" Error "9.7" "An action that is none of starting and stopping."
    StartupDuplicate "startup-duplicate" Error "9.7" "Two startup items are for the same entity."
    StartupUnknown "startup-unknown" Error "9.7" "A startup item is for an entity that the collection does not have."
    SystemChild "system-child" Error "8.1" "An unknown element in a System that is not marked as one to pass over."
    SystemType "operating-system-unknown" Warning "9.9" "An operating system that CIM does not have."
    TextUnexpected "text-unexpected" Warning "6" "Text between elements."
    Transport "transport" Warning "9.5" "A transport of the OVF environment that neither OVF nor VMware has."
    Xml "xml" Error "6" "The text is not well-formed XML."
    XmlPrefix "xml-prefix" Error "6" "A namespace prefix is used that is not declared."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whether a finding refuses the descriptor.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Severity {
    /// The descriptor is refused.
    Error,
    /// The descriptor is accepted; a reader may take it otherwise than it is meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// Whether it refuses the descriptor.
    pub severity: Severity,
    /// Where it stands.
    pub position: Position,
    /// The element that it is in, such as `Envelope/References/File[2]`; empty if there is none.
    pub path: String,
    /// What was found, in a sentence.  Text of the descriptor is escaped and shortened.
    pub message: String,
    /// The section of DSP0243 1.1.0 that has the rule, such as `9.1`.
    pub section: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, severity, position, message, section, .. } = self;
        write!(f, "{severity} at {position}: {message} [{code}, DSP0243 §{section}]")
    }
}

/// The answer of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Lint {
    /// What was found, in the order of the text.
    pub findings: Vec<Finding>,
    /// Errors, also those that are not in the list, which holds the first 100.
    pub errors: usize,
    /// Warnings, also those that are not in the list, which holds the first 100.
    pub warnings: usize,
}

impl Lint {
    /// Whether nothing was found that refuses the descriptor.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.errors == 0
    }

    /// Whether there is a finding of this code.
    #[must_use]
    pub fn has(&self, code: Code) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }

    /// Findings that are counted but not listed.
    #[must_use]
    pub fn omitted(&self) -> usize {
        (self.errors + self.warnings).saturating_sub(self.findings.len())
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub(super) struct Report {
    found: Vec<Found>,
    errors: usize,
    warnings: usize,
}

/// A finding whose position is not counted out yet.
#[derive(Debug)]
struct Found {
    code: Code,
    at_byte: usize,
    path: String,
    message: String,
    section: &'static str,
}

impl Report {
    /// Something found at a byte of the text that is read, outside of any element.
    pub(super) fn at(&mut self, at_byte: usize, code: Code, message: String) {
        if self.counts(code) {
            let section = code.section();
            self.found.push(Found { code, at_byte, path: String::new(), message, section });
        }
    }

    /// Something found at an element.
    pub(super) fn add(&mut self, node: Node<'_, '_>, code: Code, message: impl Into<String>) {
        self.add_in(node, code, code.section(), message);
    }

    /// Something found at an element, by the rule of a section that only the caller knows.
    pub(super) fn add_in(
        &mut self,
        node: Node<'_, '_>,
        code: Code,
        section: &'static str,
        message: impl Into<String>,
    ) {
        if self.counts(code) {
            let (at_byte, path) = (node.range().start, path_of(node));
            self.found.push(Found { code, at_byte, path, message: message.into(), section });
        }
    }

    /// Counts a finding, and says whether it is among those that are listed.
    fn counts(&mut self, code: Code) -> bool {
        let count = match code.severity() {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        *count <= LISTED_MAX
    }

    /// The findings in the order of the text, with positions in it.
    pub(super) fn finish(mut self, place: &Place<'_>) -> Lint {
        self.found.sort_by_key(|found| found.at_byte);
        let mut walk = place.walk();
        let findings = self.found.into_iter().map(|found| Finding {
            code: found.code,
            severity: found.code.severity(),
            position: walk.position(found.at_byte),
            path: found.path,
            message: found.message,
            section: found.section,
        });
        Lint { findings: findings.collect(), errors: self.errors, warnings: self.warnings }
    }
}

/// `Envelope/References/File[2]`; numbers only where there are several of a name.
fn path_of(node: Node<'_, '_>) -> String {
    let mut steps = Vec::new();
    for step in node.ancestors().filter(Node::is_element) {
        let name = step.tag_name().name();
        let same = |other: &Node<'_, '_>| other.is_element() && other.tag_name() == step.tag_name();
        let before = step.prev_siblings().skip(1).filter(same).count();
        let is_alone = before == 0 && !step.next_siblings().skip(1).any(|other| same(&other));
        steps.push(if is_alone { name.to_owned() } else { format!("{name}[{}]", before + 1) });
    }
    steps.reverse();
    let path = steps.join("/");
    if path.len() <= PATH_BYTES_MAX { path } else { crate::name::shown(&path) }
}

/// Errors, and warnings, that are listed.  More help nobody, and each costs a path.
const LISTED_MAX: usize = 100;

/// Longest path that is told in full; those of real descriptors have below 100.
const PATH_BYTES_MAX: usize = 1024;
