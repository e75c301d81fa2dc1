//! The sections that describe a product rather than its hardware, as values.

use super::hardware::HardwareItem;

/// A product, by `ProductSection` (DSP0243 1.1.0 §9.5).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Product {
    /// Tells the products of one machine apart, such as `com.example.db`.
    pub class: Option<String>,
    /// Tells several installations of one product apart.
    pub instance: Option<String>,
    /// What the section is, for people.
    pub info: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Who made it.
    pub vendor: Option<String>,
    /// Its version in short, such as `6.5.0`.
    pub version: Option<String>,
    /// Its version in full, perhaps with a build number.
    pub full_version: Option<String>,
    /// Where to read about it.
    pub product_url: Option<String>,
    /// Where to read about its maker.
    pub vendor_url: Option<String>,
    /// Where it answers once it runs; may hold `${key}` for the value of a property.
    pub app_url: Option<String>,
    /// What can be set when it is deployed, in order.
    pub properties: Vec<Property>,
}

impl Product {
    /// The key of one of its properties in the package: `[class.]key[.instance]` (DSP0243 1.1.0
    /// §9.5.1).
    ///
    /// ```
    /// # use ovftransfer_ovf::Envelope;
    /// # let envelope = Envelope::parse(
    /// #     r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
    /// #                  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
    /// #          <VirtualSystem ovf:id="vm"><ProductSection ovf:class="org.db" ovf:instance="1">
    /// #            <Property ovf:key="port" ovf:type="uint16"/>
    /// #          </ProductSection></VirtualSystem></Envelope>"#)?;
    /// let product = &envelope.systems()[0].products()[0];
    /// assert_eq!(product.key_of(&product.properties[0]), "org.db.port.1");
    /// # Ok::<(), ovftransfer_ovf::EnvelopeError>(())
    /// ```
    #[must_use]
    pub fn key_of(&self, property: &Property) -> String {
        let parts = [self.class.as_deref(), Some(property.key.as_str()), self.instance.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(".")
    }
}

/// Something that can be set when a product is deployed, by `Property` (DSP0243 1.1.0 §9.5.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Property {
    /// Its key in the product; [`Product::key_of`] has the one in the package.
    pub key: String,
    /// Its type, such as `string`, `boolean` or `uint16`; empty if the descriptor does not say.
    pub kind: String,
    /// What its value must be like, such as `MinLen(1),MaxLen(20)`.
    pub qualifiers: Option<String>,
    /// Whether the user may set it; nothing if the descriptor does not say, which means no.
    pub user_configurable: Option<bool>,
    /// Whether its value is a secret.
    pub is_password: bool,
    /// Its value if the user sets none; empty is a value too.
    pub value: Option<String>,
    /// Values for single configurations.
    pub values: Vec<PropertyValue>,
    /// The configurations in which it is asked for, with blanks between; nothing if in all.
    /// DSP0243 does not have it, vSphere does.
    pub configuration: Option<String>,
    /// Its name for people.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Heading of the group that it is in.
    pub category: Option<String>,
}

impl Property {
    /// Its value in a configuration if the user sets none.
    #[must_use]
    pub fn value_in(&self, configuration: Option<&str>) -> Option<&str> {
        let in_this = |value: &&PropertyValue| {
            value.configuration.is_some() && value.configuration.as_deref() == configuration
        };
        let special = self.values.iter().find(in_this);
        special.map(|value| value.value.as_str()).or(self.value.as_deref())
    }
}

/// A value of a property for a configuration, by `Property/Value` (DSP0243 1.1.0 §9.5.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PropertyValue {
    /// The value.
    pub value: String,
    /// Id of the configuration; nothing for one choice of several that a tool may offer.
    pub configuration: Option<String>,
}

/// One of the ways to deploy a package, by `DeploymentOptionSection/Configuration` (DSP0243 1.1.0
/// §9.8).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Configuration {
    /// Its id, by which items and values refer to it.
    pub id: String,
    /// Its name for people.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether the descriptor calls it the default.
    pub is_default: bool,
}

/// A licence that the user has to agree to, by `EulaSection` (DSP0243 1.1.0 §9.6).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Eula {
    /// What the section is, for people.
    pub info: Option<String>,
    /// Its text; empty if that stands in a file beside the descriptor.
    pub license: String,
}

/// How machines can get addresses, by VMware's `IpAssignmentSection`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct IpAssignment {
    /// `IPv4`, `IPv6`.
    pub protocols: Vec<String>,
    /// `dhcp`, `ovfenv`.
    pub schemes: Vec<String>,
}

/// Several machines that are deployed together, by `VirtualSystemCollection` (DSP0243 1.1.0 §7.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct VirtualSystemCollection {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: Option<String>,
    /// Its notes (`AnnotationSection`, §9.4).
    pub annotation: Option<String>,
    /// Place of the collection that it lies in among the envelope's; nothing at the top.
    pub collection: Option<usize>,
    /// Its products.
    pub products: Vec<Product>,
    /// Its licences.
    pub eulas: Vec<Eula>,
    /// How its content is started, in the order of the section.
    pub startup: Vec<StartupItem>,
    /// What is set aside for all of its content together, by `ResourceAllocationSection` (§9.3):
    /// reservations and limits of processors and memory.
    pub resources: Vec<HardwareItem>,
}

/// How a part of a collection is started, by `StartupSection/Item` (DSP0243 1.1.0 §9.7).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct StartupItem {
    /// Id of the machine or collection.
    pub id: String,
    /// Its turn: the lowest first, equal ones at the same time, 0 in any order.
    pub order: u64,
    /// `powerOn` or `none`.
    pub start_action: Option<String>,
    /// Seconds to wait after it before the next turn.
    pub start_delay_s: Option<u64>,
    /// Whether the next turn begins as soon as its guest answers.
    pub waits_for_guest: bool,
    /// `powerOff`, `guestShutdown`, `suspend` or `none`.
    pub stop_action: Option<String>,
    /// Seconds to wait after it has been stopped.
    pub stop_delay_s: Option<u64>,
}

/// What a machine does when it is started for the first time, by `InstallSection` (DSP0243 1.1.0
/// §9.10).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Install {
    /// Whether it has to be started once to be installed, and then stops by itself.
    pub initial_boot: bool,
    /// Seconds that it takes for it at most; 0 for as long as it takes.
    pub stop_delay_s: u64,
}

/// A device that a machine is started from, by VMware's `BootOrderSection`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct BootDevice {
    /// `disk`, `cdrom`, `net` or `floppy`.
    pub kind: String,
    /// Id of the hardware item, if the section says.
    pub instance_id: Option<String>,
}

/// A section that DSP0243 does not define: one of a vendor, or of a later version.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct VendorSection {
    /// Name of the element without its prefix, such as `ApplianceSection`; in a draft, of its type.
    pub name: String,
    /// Namespace of the element; empty if it has none.
    pub namespace: String,
    /// Whether whoever does not understand it has to refuse the package: so it is if the descriptor
    /// does not say otherwise (`ovf:required`, DSP0243 1.1.0 §7.3).
    pub is_required: bool,
    /// What it is, for people.
    pub info: Option<String>,
    /// Place of the machine that it belongs to among the envelope's, if to one.
    pub system: Option<usize>,
    /// Place of the collection that it belongs to among the envelope's, if to one.
    pub collection: Option<usize>,
    /// Where it starts, in bytes of the text;
    /// [`Envelope::position`](super::Envelope::position) has the line.
    pub at_byte: usize,
}

impl VendorSection {
    /// Whether vSphere can be expected to know it: VMware defines it, or OVF 2, of which VMware's
    /// packers put sections into descriptors of OVF 1.
    #[must_use]
    pub fn is_of_vmware(&self) -> bool {
        VMWARE.iter().any(|namespace| self.namespace.starts_with(namespace))
    }
}

/// A message bundle, by `Strings` (DSP0243 1.1.0 §10).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Bundle {
    /// Its language, such as `de-DE`, if the descriptor says.
    pub language: Option<String>,
    /// Id of the file that has its messages; nothing if they stand in the descriptor.
    pub file_id: Option<String>,
}

/// What the namespaces of sections start with that VMware's products know.
const VMWARE: [&str; 3] = [
    "http://www.vmware.com/schema/ovf",
    "http://www.vmware.com/vcloud/",
    "http://schemas.dmtf.org/ovf/envelope/2",
];
