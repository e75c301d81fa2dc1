//! What may stand where: the schema of the envelope (DSP8023) as a table.
//!
//! It has what DSP8023 1.0 and 1.1 say, and the sections that 2.0 added.  Of elements in other
//! namespaces the schema says nothing; the items of hardware are checked by rules of their own.

use super::lexical::Lexical;

/// What an element may have.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) attributes: &'static [Attribute],
    /// In the order in which they must stand.
    pub(super) children: &'static [Child],
    pub(super) content: Content,
    /// The section of DSP0243 1.1.0.
    pub(super) section: &'static str,
}

/// What else may stand between the tags.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Content {
    /// Only the children, and elements of other namespaces.
    Elements,
    /// Text that may be in a message bundle.
    Message,
    /// The children, then sections, then, in a collection, other content.
    Sections,
    /// Anything: other rules look at it.
    Other,
}

/// An attribute in the namespace of OVF.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) lexical: Lexical,
    pub(super) is_required: bool,
}

/// A child in the namespace of OVF.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: &'static str,
    pub(super) kind: &'static Type,
    pub(super) min: usize,
    /// Whether it may stand more often than once.
    pub(super) is_many: bool,
    /// Children of the same rank may stand in any order among each other.
    pub(super) rank: u8,
}

/// A section: where it may stand, and what may stand in it.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) kind: &'static Type,
    pub(super) in_envelope: bool,
    pub(super) in_system: bool,
    pub(super) in_collection: bool,
    pub(super) often: Often,
    /// OVF 1 does not have it.
    pub(super) since_2: bool,
    /// The drafts have it in the envelope, too.
    pub(super) in_draft_envelope: bool,
}

/// How often a section may stand in one place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Often {
    /// As often as one likes.
    Many,
    /// Once.
    Once,
    /// The schema does not say; readers show the first, or all.
    OnceOrUnusual,
}

const fn optional(name: &'static str, lexical: Lexical) -> Attribute {
    Attribute { name, lexical, is_required: false }
}

const fn required(name: &'static str, lexical: Lexical) -> Attribute {
    Attribute { name, lexical, is_required: true }
}

const fn one(rank: u8, name: &'static str, kind: &'static Type) -> Child {
    Child { name, kind, min: 1, is_many: false, rank }
}

const fn maybe(rank: u8, name: &'static str, kind: &'static Type) -> Child {
    Child { name, kind, min: 0, is_many: false, rank }
}

const fn many(rank: u8, name: &'static str, kind: &'static Type) -> Child {
    Child { name, kind, min: 0, is_many: true, rank }
}

const fn some(rank: u8, name: &'static str, kind: &'static Type) -> Child {
    Child { name, kind, min: 1, is_many: true, rank }
}

/// The root.
pub(super) static ENVELOPE: Type = Type {
    attributes: &[optional("version", Lexical::Text)],
    children: &[one(0, "References", &REFERENCES), many(9, "Strings", &STRINGS)],
    content: Content::Sections,
    section: "6",
};

static REFERENCES: Type = Type {
    attributes: &[],
    children: &[many(0, "File", &FILE)],
    content: Content::Elements,
    section: "7.1",
};

static FILE: Type = Type {
    attributes: &[
        required("id", Lexical::Text),
        required("href", Lexical::Text),
        // Its number is looked at by a rule: some packers write a negative one.
        optional("size", Lexical::Text),
        optional("compression", Lexical::Text),
        optional("chunkSize", Lexical::Text),
    ],
    children: &[],
    content: Content::Elements,
    section: "7.1",
};

/// A machine or a collection.
pub(super) static CONTENT: Type = Type {
    attributes: &[required("id", Lexical::Text)],
    children: &[one(0, "Info", &MESSAGE), maybe(1, "Name", &MESSAGE)],
    content: Content::Sections,
    section: "7.2",
};

static STRINGS: Type = Type {
    attributes: &[optional("fileRef", Lexical::Text)],
    children: &[many(0, "Msg", &BUNDLED)],
    content: Content::Elements,
    section: "10.1",
};

static BUNDLED: Type = Type {
    attributes: &[required("msgid", Lexical::Text)],
    children: &[],
    content: Content::Message,
    section: "10.1",
};

static MESSAGE: Type = Type {
    attributes: &[optional("msgid", Lexical::Text)],
    children: &[],
    content: Content::Message,
    section: "10",
};

static TEXT: Type =
    Type { attributes: &[], children: &[], content: Content::Message, section: "9.5" };

static ANY: Type = Type { attributes: &[], children: &[], content: Content::Other, section: "8.3" };

/// Only the `Info` that every section has (DSP0243 1.1.0 §7.3).
pub(super) static SECTION: Type = Type {
    attributes: &[],
    children: &[one(0, "Info", &MESSAGE)],
    content: Content::Other,
    section: "7.3",
};

static ANNOTATION: Type = Type {
    attributes: &[],
    children: &[one(0, "Info", &MESSAGE), one(1, "Annotation", &MESSAGE)],
    content: Content::Elements,
    section: "9.4",
};

static PRODUCT: Type = Type {
    attributes: &[optional("class", Lexical::Text), optional("instance", Lexical::Text)],
    children: &[
        one(0, "Info", &MESSAGE),
        maybe(1, "Product", &MESSAGE),
        maybe(2, "Vendor", &MESSAGE),
        maybe(3, "Version", &TEXT),
        maybe(4, "FullVersion", &TEXT),
        maybe(5, "ProductUrl", &TEXT),
        maybe(6, "VendorUrl", &TEXT),
        maybe(7, "AppUrl", &TEXT),
        many(8, "Icon", &ICON),
        many(9, "Category", &MESSAGE),
        many(9, "Property", &PROPERTY),
    ],
    content: Content::Elements,
    section: "9.5",
};

static ICON: Type = Type {
    attributes: &[
        optional("height", Lexical::UnsignedShort),
        optional("width", Lexical::UnsignedShort),
        optional("mimeType", Lexical::Text),
        required("fileRef", Lexical::Text),
    ],
    children: &[],
    content: Content::Elements,
    section: "9.5",
};

static PROPERTY: Type = Type {
    attributes: &[
        required("key", Lexical::Text),
        // An empty one is taken for text; see the rules of products.
        optional("type", Lexical::Text),
        optional("qualifiers", Lexical::Text),
        optional("userConfigurable", Lexical::Boolean),
        optional("value", Lexical::Text),
        optional("password", Lexical::Boolean),
        // VMware's: the configurations in which the property is asked for.
        optional("configuration", Lexical::Text),
        // The drafts' name of `value`.
        optional("defaultValue", Lexical::Text),
        // As an old tool wrote `password`.
        optional("isPassword", Lexical::Boolean),
    ],
    children: &[
        maybe(0, "Label", &MESSAGE),
        maybe(1, "Description", &MESSAGE),
        many(2, "Value", &VALUE),
    ],
    content: Content::Elements,
    section: "9.5.1",
};

static VALUE: Type = Type {
    attributes: &[
        // Its emptiness means something, so a rule looks whether it is there.
        optional("value", Lexical::Text),
        optional("configuration", Lexical::Text),
    ],
    children: &[],
    content: Content::Elements,
    section: "9.5.1",
};

static NETWORKS: Type = Type {
    attributes: &[],
    children: &[one(0, "Info", &MESSAGE), many(1, "Network", &NETWORK)],
    content: Content::Elements,
    section: "9.2",
};

static NETWORK: Type = Type {
    attributes: &[required("name", Lexical::Text), optional("configuration", Lexical::Text)],
    children: &[maybe(0, "Description", &MESSAGE), many(1, "NetworkPortProfile", &ANY)],
    content: Content::Elements,
    section: "9.2",
};

static DISKS: Type = Type {
    attributes: &[],
    children: &[one(0, "Info", &MESSAGE), many(1, "Disk", &DISK)],
    content: Content::Elements,
    section: "9.1",
};

static SHARED_DISKS: Type = Type {
    attributes: &[],
    children: &[one(0, "Info", &MESSAGE), many(1, "SharedDisk", &DISK)],
    content: Content::Elements,
    section: "9.1",
};

static DISK: Type = Type {
    attributes: &[
        required("diskId", Lexical::Text),
        optional("fileRef", Lexical::Text),
        required("capacity", Lexical::Text),
        optional("capacityAllocationUnits", Lexical::Text),
        optional("format", Lexical::Uri),
        optional("populatedSize", Lexical::Long),
        optional("parentRef", Lexical::Text),
        optional("readOnly", Lexical::Boolean),
    ],
    children: &[],
    content: Content::Elements,
    section: "9.1",
};

static OPERATING_SYSTEM: Type = Type {
    // The number is looked at by a rule.
    attributes: &[required("id", Lexical::Text), optional("version", Lexical::Text)],
    children: &[one(0, "Info", &MESSAGE), maybe(1, "Description", &MESSAGE)],
    content: Content::Elements,
    section: "9.9",
};

static EULA: Type = Type {
    attributes: &[],
    children: &[one(0, "Info", &MESSAGE), one(1, "License", &MESSAGE)],
    content: Content::Elements,
    section: "9.6",
};

static HARDWARE: Type = Type {
    attributes: &[optional("id", Lexical::Text), optional("transport", Lexical::Text)],
    children: &[
        one(0, "Info", &MESSAGE),
        maybe(1, "System", &ANY),
        many(2, "Item", &ITEM),
        many(2, "StorageItem", &ITEM),
        many(2, "EthernetPortItem", &ITEM),
    ],
    content: Content::Elements,
    section: "8.1",
};

static RESOURCES: Type = Type {
    attributes: &[optional("configuration", Lexical::Text), optional("bound", Lexical::Text)],
    children: &[
        one(0, "Info", &MESSAGE),
        many(1, "Item", &ITEM),
        many(1, "StorageItem", &ITEM),
        many(1, "EthernetPortItem", &ITEM),
    ],
    content: Content::Elements,
    section: "9.3",
};

static ITEM: Type = Type {
    attributes: &[
        optional("required", Lexical::Boolean),
        optional("configuration", Lexical::Text),
        optional("bound", Lexical::Text),
    ],
    children: &[],
    content: Content::Other,
    section: "8.3",
};

static INSTALL: Type = Type {
    attributes: &[
        optional("initialBootStopDelay", Lexical::UnsignedShort),
        optional("initialBoot", Lexical::Boolean),
    ],
    children: &[one(0, "Info", &MESSAGE)],
    content: Content::Elements,
    section: "9.10",
};

static STARTUP: Type = Type {
    attributes: &[],
    children: &[one(0, "Info", &MESSAGE), many(1, "Item", &STARTUP_ITEM)],
    content: Content::Elements,
    section: "9.7",
};

static STARTUP_ITEM: Type = Type {
    attributes: &[
        required("id", Lexical::Text),
        // From 0 on (DSP0243 1.1.0 §9.7); the schema itself would take less.
        required("order", Lexical::UnsignedLong),
        optional("startDelay", Lexical::UnsignedLong),
        optional("waitingForGuest", Lexical::Boolean),
        optional("stopDelay", Lexical::UnsignedLong),
        optional("startAction", Lexical::Text),
        optional("stopAction", Lexical::Text),
    ],
    children: &[],
    content: Content::Elements,
    section: "9.7",
};

static OPTIONS: Type = Type {
    attributes: &[],
    children: &[one(0, "Info", &MESSAGE), some(1, "Configuration", &CONFIGURATION)],
    content: Content::Elements,
    section: "9.8",
};

static CONFIGURATION: Type = Type {
    attributes: &[required("id", Lexical::Text), optional("default", Lexical::Boolean)],
    children: &[one(0, "Label", &MESSAGE), one(1, "Description", &MESSAGE)],
    content: Content::Elements,
    section: "9.8",
};

const fn section(name: &'static str, kind: &'static Type) -> Section {
    Section {
        name,
        kind,
        in_envelope: false,
        in_system: false,
        in_collection: false,
        often: Often::Many,
        since_2: false,
        in_draft_envelope: false,
    }
}

/// All sections of OVF: those of 1.x with their place in DSP0243 1.1.0, then those of 2.x.
pub(super) static SECTIONS: &[Section] = &[
    // §9.1
    Section { in_envelope: true, often: Often::OnceOrUnusual, ..section("DiskSection", &DISKS) },
    // §9.2
    Section {
        in_envelope: true,
        often: Often::OnceOrUnusual,
        ..section("NetworkSection", &NETWORKS)
    },
    // §9.3
    Section {
        in_collection: true,
        often: Often::OnceOrUnusual,
        ..section("ResourceAllocationSection", &RESOURCES)
    },
    // §9.4
    Section {
        in_system: true,
        in_collection: true,
        often: Often::OnceOrUnusual,
        ..section("AnnotationSection", &ANNOTATION)
    },
    // §9.5
    Section { in_system: true, in_collection: true, ..section("ProductSection", &PRODUCT) },
    // §9.6
    Section {
        in_system: true,
        in_collection: true,
        in_draft_envelope: true,
        ..section("EulaSection", &EULA)
    },
    // §9.7
    Section { in_collection: true, often: Often::Once, ..section("StartupSection", &STARTUP) },
    // §9.8
    Section {
        in_envelope: true,
        often: Often::Once,
        ..section("DeploymentOptionSection", &OPTIONS)
    },
    // §9.9
    Section {
        in_system: true,
        often: Often::Once,
        ..section("OperatingSystemSection", &OPERATING_SYSTEM)
    },
    // §9.10
    Section { in_system: true, often: Often::Once, ..section("InstallSection", &INSTALL) },
    // §8.1
    Section { in_system: true, ..section("VirtualHardwareSection", &HARDWARE) },
    // OVF 2.0
    Section { in_envelope: true, since_2: true, ..section("SharedDiskSection", &SHARED_DISKS) },
    Section { in_system: true, since_2: true, ..section("EnvironmentFilesSection", &SECTION) },
    Section {
        in_system: true,
        in_collection: true,
        since_2: true,
        ..section("BootDeviceSection", &SECTION)
    },
    Section { in_collection: true, since_2: true, ..section("ScaleOutSection", &SECTION) },
    Section { in_envelope: true, since_2: true, ..section("PlacementGroupSection", &SECTION) },
    Section {
        in_system: true,
        in_collection: true,
        since_2: true,
        ..section("PlacementSection", &SECTION)
    },
    Section { in_envelope: true, since_2: true, ..section("EncryptionSection", &SECTION) },
    Section { in_envelope: true, since_2: true, ..section("NetworkPortProfileSection", &SECTION) },
];

/// The section of a name.
pub(super) fn section_named(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}
