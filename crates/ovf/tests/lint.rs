//! The rules one by one: each changes one thing in a descriptor that has nothing to find.

use std::collections::BTreeSet;
use std::fs;

use ovftransfer_ovf::lint::Code;
use ovftransfer_ovf::lint::FilesBeside;
use ovftransfer_ovf::lint::Lint;
use ovftransfer_ovf::lint::Severity;
use ovftransfer_ovf::lint::hrefs;
use ovftransfer_ovf::lint::lint;
use ovftransfer_ovf::lint::lint_with;
use proptest::prelude::*;

/// Every section of OVF 1.1, and nothing to find.
const RIGHT: &str = include_str!("data/every-section.ovf");

/// A draft of OVF 0.9 with nothing to find.
const DRAFT: &str = include_str!("data/lint-draft.ovf");

/// What is found when one thing is written for another.
const WRONG: &[(Code, &str, &str)] = &[
    // §6: the text and the root.
    (Code::Doctype, "<ovf:Envelope", "<!DOCTYPE x><ovf:Envelope"),
    (Code::Xml, "</References>", "</Reference>"),
    (Code::Xml, "ovf:id=\"file1\"", "ovf:id=\"file1\" ovf:id=\"file1\""),
    (Code::Xml, "<Info>Disks</Info>", "<Info>&undefined;</Info>"),
    (Code::XmlPrefix, "<Info>Disks</Info>", "<Info other:a=\"b\">Disks</Info>"),
    (Code::XmlPrefix, "<Info>Disks</Info>", "<Info>Disks</Info><other:Thing/>"),
    (Code::EnvelopeRoot, "ovf:Envelope", "ovf:Package"),
    (
        Code::EnvelopeNamespace,
        "xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"",
        "xmlns:ovf=\"http://example.com/\"",
    ),
    (Code::EnvelopeVersion, "xml:lang=\"en-US\"", "ovf:version=\"0.9\""),
    (Code::EnvelopeVersion, "xml:lang=\"en-US\"", "ovf:version=\"2.0\""),
    (Code::AttributeValue, "xml:lang=\"en-US\"", "xml:lang=\"American English\""),
    (Code::ElementMissing, "References>", "ovf:Unreferenced>"),
    (Code::ElementRepeated, "<DiskSection>", "<References/><DiskSection>"),
    (Code::TextUnexpected, "<DiskSection>", "<DiskSection>words"),
    (Code::EnvelopeOrder, "<NetworkSection>", "<Strings/><NetworkSection>"),
    (
        Code::EnvelopeOrder,
        "<Strings xml",
        "<vmw:IpAssignmentSection><Info/></vmw:IpAssignmentSection><EulaSection/><Strings xml",
    ),
    // §7.1: files.
    (Code::AttributeMissing, "ovf:id=\"file1\"", ""),
    (Code::AttributeMissing, "ovf:id=\"file1\"", "ovf:id=\"\""),
    (Code::AttributeMissing, "ovf:href=\"disk1.vmdk\"", ""),
    (Code::AttributeMissing, "ovf:href=\"disk1.vmdk\"", "ovf:href=\" \""),
    (Code::AttributeUnqualified, "ovf:href=\"disk1.vmdk\"", "href=\"disk1.vmdk\""),
    (Code::AttributeUnknown, "ovf:href=\"disk1.vmdk\"", "ovf:href=\"disk1.vmdk\" ovf:digest=\"1\""),
    (Code::ElementUnknown, "<File ovf:id=\"file1\"", "<Folder/><File ovf:id=\"file1\""),
    (Code::FileDuplicate, "ovf:id=\"file2\"", "ovf:id=\"file1\""),
    (Code::FileHref, "disk1.vmdk", "disk%1.vmdk"),
    (Code::FileHref, "disk1.vmdk", "1disk:a"),
    (Code::FileHrefDuplicate, "disk%202.vmdk", "disk1.vmdk"),
    (Code::FileOutside, "disk1.vmdk", "../disk1.vmdk"),
    (Code::FileOutside, "disk1.vmdk", "/tmp/disk1.vmdk"),
    (Code::FileOutside, "disk1.vmdk", "file:///disk1.vmdk"),
    (Code::FileScheme, "disk1.vmdk", "ftp://h/disk1.vmdk"),
    (Code::FileSize, "ovf:size=\"1000\"", "ovf:size=\"1e3\""),
    (Code::FileSize, "ovf:size=\"1000\"", "ovf:size=\"-3\""),
    (Code::FileSize, "ovf:size=\"1000\"", "ovf:size=\"9223372036854775808\""),
    (Code::FileSizeUnknown, "ovf:size=\"1000\"", "ovf:size=\"-1\""),
    (Code::FileCompression, "gzip", "bzip2"),
    (Code::FileCompression, "gzip", "GZIP"),
    (Code::FileChunks, "ovf:chunkSize=\"700\"", "ovf:chunkSize=\"0\""),
    (Code::FileChunks, "ovf:chunkSize=\"700\"", "ovf:chunkSize=\"-1\""),
    (Code::FileChunks, "ovf:chunkSize=\"700\"", "ovf:chunkSize=\"1 MB\""),
    // §7.2: content.
    (Code::ContentMissing, "VirtualSystemCollection", "ovf:Nothing"),
    (
        Code::ContentRepeated,
        "<Strings xml",
        "<VirtualSystem ovf:id=\"x\"><Info/></VirtualSystem><Strings xml",
    ),
    (Code::ContentDuplicate, "<VirtualSystem ovf:id=\"web\">", "<VirtualSystem ovf:id=\"db\">"),
    (Code::ContentAgain, "ovf:id=\"all\"", "ovf:id=\"web\""),
    (Code::AttributeMissing, "<VirtualSystem ovf:id=\"web\">", "<VirtualSystem>"),
    (Code::InfoMissing, "<Info>The server</Info>", ""),
    (Code::ElementRepeated, "<Name>Everything</Name>", "<Name>One</Name><Name>Two</Name>"),
    (
        Code::ElementUnknown,
        "<Info>The server</Info>",
        "<Info/><VirtualSystem ovf:id=\"in\"><Info/></VirtualSystem>",
    ),
    (
        Code::HardwareMissing,
        "<Info>The server</Info>",
        "<Info/></VirtualSystem><VirtualSystem ovf:id=\"x\"><Info/>",
    ),
    // §7.3: extensions.
    (
        Code::SectionUnknown,
        "<NetworkSection>",
        "<ColourSection><Info/></ColourSection><NetworkSection>",
    ),
    (
        Code::SectionUnknown,
        "<NetworkSection>",
        "<a:Section xmlns:a=\"urn:a\"><Info/></a:Section><NetworkSection>",
    ),
    (
        Code::SectionUnknown,
        "<NetworkSection>",
        "<a:S xmlns:a=\"urn:a\" ovf:required=\"true\"/><NetworkSection>",
    ),
    (
        Code::ElementPassedOver,
        "<NetworkSection>",
        "<ColourSection ovf:required=\"false\"/><NetworkSection>",
    ),
    (
        Code::ElementPassedOver,
        "<NetworkSection>",
        "<a:S xmlns:a=\"urn:a\" ovf:required=\"false\"/><NetworkSection>",
    ),
    (Code::ElementUnknown, "<Info>Disks</Info>", "<Info/><a:B xmlns:a=\"urn:a\"/>"),
    (
        Code::ElementUnknown,
        "<Info>Disks</Info>",
        "<Info/><Unknown><a ovf:required=\"false\"/></Unknown>",
    ),
    (
        Code::ElementPassedOver,
        "<Info>Disks</Info>",
        "<Info/><Unknown ovf:required=\"false\"><a ovf:required=\"true\"/></Unknown>",
    ),
    (Code::AttributeValue, "<DiskSection>", "<DiskSection ovf:required=\"perhaps\">"),
    (Code::PlacementGroup, "vmw:group=\"group1\"", "vmw:group=\"group2\""),
    (Code::InfoMissing, "<Info>Disks</Info>", ""),
    (Code::InfoMissing, "<Info>Networks</Info>", ""),
    (Code::InfoMissing, "<Info>Licence</Info>", ""),
    (Code::ElementRepeated, "<Info>Disks</Info>", "<Info>Disks</Info><Info>Disks</Info>"),
    // §8.1, §8.2: hardware.
    (Code::HardwareFamily, "<vssd:VirtualSystemType>vmx-10</vssd:VirtualSystemType>", ""),
    (Code::HardwareFamily, "<vssd:InstanceID>0</vssd:InstanceID>", ""),
    (Code::ElementRepeated, "<System>", "<System/><System>"),
    (Code::Transport, "ovf:transport=\"iso ", "ovf:transport=\"floppy "),
    (
        Code::SectionPlace,
        "<Name>Everything</Name>",
        "<VirtualHardwareSection><Info/></VirtualHardwareSection>",
    ),
    (
        Code::SectionPlace,
        "<NetworkSection>",
        "<VirtualHardwareSection><Info/></VirtualHardwareSection><NetworkSection>",
    ),
    (Code::SystemChild, "<vssd:InstanceID>0<", "<vssd:Colour/><vssd:InstanceID>0<"),
    (
        Code::SystemChild,
        "<vssd:InstanceID>0<",
        "<vmw:Colour ovf:required=\"true\"/><vssd:InstanceID>0<",
    ),
    (
        Code::ElementPassedOver,
        "<vssd:InstanceID>0<",
        "<vssd:Colour ovf:required=\"false\"/><vssd:InstanceID>0<",
    ),
    (
        Code::ElementRepeated,
        "<vssd:InstanceID>0<",
        "<vssd:InstanceID>1</vssd:InstanceID><vssd:InstanceID>0<",
    ),
    (
        Code::AttributeValue,
        "<vssd:InstanceID>0<",
        "<vssd:Colour ovf:required=\"no\"/><vssd:InstanceID>0<",
    ),
    (
        Code::AttributeValue,
        "<vmw:CoresPerSocket ovf:required=\"false\"",
        "<vmw:CoresPerSocket ovf:required=\"\"",
    ),
    (Code::AttributeValue, "<vmw:Config ovf:required=\"true\"", "<vmw:Config ovf:required=\"yes\""),
    (Code::AttributeValue, "ovf:default=\"true\"", "ovf:default=\"\""),
    (Code::AttributeValue, "ovf:startDelay=\"30\"", "ovf:startDelay=\"\""),
    (Code::AttributeValue, "ovf:populatedSize=\"5\"", "ovf:populatedSize=\"\""),
    (Code::FileSize, "ovf:size=\"1000\"", "ovf:size=\"\""),
    (Code::FileChunks, "ovf:chunkSize=\"700\"", "ovf:chunkSize=\"\""),
    // §8.3: items.
    (Code::ItemMissing, "<rasd:InstanceID>7</rasd:InstanceID>", ""),
    (Code::ItemMissing, "<rasd:InstanceID>7</rasd:InstanceID>", "<rasd:InstanceID/>"),
    (Code::ItemMissing, "<rasd:ResourceType>10</rasd:ResourceType>", ""),
    (Code::ItemMissing, "<rasd:ElementName>Adapter</rasd:ElementName>", ""),
    (Code::ItemMissing, "<rasd:InstanceID>0</rasd:InstanceID>", ""),
    (Code::ItemMissing, "<rasd:ResourceType>10</rasd:ResourceType>", "<rasd:ResourceType/>"),
    (Code::ItemValue, "<rasd:ResourceType>10<", "<rasd:ResourceType>ten<"),
    (Code::ItemValue, "<rasd:ResourceType>10<", "<rasd:ResourceType>65536<"),
    (Code::ItemValue, "<rasd:VirtualQuantity>512<", "<rasd:VirtualQuantity>-512<"),
    (Code::ItemValue, "<rasd:Reservation>500<", "<rasd:Reservation>half<"),
    (Code::ItemValue, "<rasd:AutomaticAllocation>true<", "<rasd:AutomaticAllocation>on<"),
    (Code::ItemType, "<rasd:ResourceType>10<", "<rasd:ResourceType>89<"),
    (Code::ItemType, "<rasd:ResourceType>10<", "<rasd:ResourceType>0<"),
    (Code::ItemTypeUnusual, "<rasd:ResourceType>15<", "<rasd:ResourceType>89<"),
    (Code::ItemTypeUnusual, "<rasd:ResourceType>10<", "<rasd:ResourceType>35<"),
    (Code::ItemChild, "<rasd:Connection>back<", "<rasd:Colour/><rasd:Connection>back<"),
    (
        Code::ItemChild,
        "<rasd:Connection>back<",
        "<rasd:Colour ovf:required=\"true\"/><rasd:Connection>back<",
    ),
    (Code::ItemChild, "<rasd:Connection>back<", "<Colour/><rasd:Connection>back<"),
    (
        Code::ItemChild,
        "<rasd:Connection>back<",
        "<vmw:Colour ovf:required=\"true\"/><rasd:Connection>back<",
    ),
    (
        Code::ElementPassedOver,
        "<rasd:Connection>back<",
        "<rasd:Colour ovf:required=\"false\"/><rasd:Connection>back<",
    ),
    (
        Code::ElementRepeated,
        "<rasd:InstanceID>7</rasd:InstanceID>",
        "<rasd:InstanceID>7</rasd:InstanceID><rasd:InstanceID>8</rasd:InstanceID>",
    ),
    (Code::ItemDuplicate, "<rasd:InstanceID>7<", "<rasd:InstanceID>6<"),
    (Code::ItemKind, "<rasd:InstanceID>7<", "<rasd:InstanceID>6<"),
    (Code::ItemDisk, "ovf:/disk/disk1", "ovf:/disk/disk9"),
    (Code::ItemDisk, "/disk/disk2", "/disk/file2"),
    (Code::ItemFile, "ovf:/file/texts", "ovf:/file/file9"),
    (Code::ItemHostResourceUnusual, "ovf:/file/texts", "[datastore1] a.iso"),
    (Code::ItemParent, "<rasd:Parent>3<", "<rasd:Parent>33<"),
    (Code::ItemParentCircle, "<rasd:Parent>3<", "<rasd:Parent>4<"),
    (Code::ItemAddress, "<rasd:AddressOnParent>1<", "<rasd:AddressOnParent>0<"),
    (Code::ItemQuantity, "<rasd:VirtualQuantity>2</rasd:VirtualQuantity>", ""),
    (Code::ItemUnit, "byte * 2^20</rasd", "hertz * 10^6</rasd"),
    (Code::ItemUnit, "byte * 2^20</rasd", "byte * x</rasd"),
    (Code::ItemUnitUnusual, "hertz * 10^6", "megaflops"),
    // §8.4: ranges.
    (Code::ItemBound, "ovf:bound=\"min\"", "ovf:bound=\"least\""),
    (Code::ItemBoundRepeated, "ovf:bound=\"min\"", "ovf:bound=\"max\""),
    (Code::ItemBoundRepeated, "ovf:bound=\"max\"", "ovf:bound=\"min\""),
    (
        Code::ItemBoundAlone,
        "ovf:bound=\"min\">\n          <rasd:ElementName>Least memory</rasd:ElementName>\n          <rasd:InstanceID>2<",
        "ovf:bound=\"min\"><rasd:ElementName/><rasd:InstanceID>99<",
    ),
    (Code::ItemRange, "<rasd:Reservation>384<", "<rasd:Reservation>2048<"),
    (Code::ItemRange, "<rasd:Reservation>1024<", "<rasd:Reservation>256<"),
    (Code::ItemRange, "<rasd:Reservation>384<", "<rasd:Reservation>600<"),
    (Code::ItemHostResource, "ovf:/disk/disk1", "disk1"),
    (Code::ItemHostResource, "ovf:/disk/disk1", "ovf:/volume/disk1"),
    (Code::ItemValue, "<rasd:VirtualQuantity>512<", "<rasd:VirtualQuantity>0<"),
    (
        Code::SectionUnknown,
        "<NetworkSection>",
        "<ScaleOutSection><Info/></ScaleOutSection><NetworkSection>",
    ),
    (
        Code::SectionUnknown,
        "<NetworkSection>",
        "<vmw:ColourSection ovf:required=\"true\"/><NetworkSection>",
    ),
    (
        Code::ElementPassedOver,
        "<NetworkSection>",
        "<vmw:ColourSection><Info/></vmw:ColourSection><NetworkSection>",
    ),
    (
        Code::InstanceCount,
        "<StartupSection>",
        "<s:ScaleOutSection xmlns:s=\"http://schemas.dmtf.org/ovf/envelope/2\"><Info/><s:InstanceCount s:minimum=\"2\" s:maximum=\"1\"/></s:ScaleOutSection><StartupSection>",
    ),
    (
        Code::InstanceCount,
        "<StartupSection>",
        "<s:ScaleOutSection xmlns:s=\"http://schemas.dmtf.org/ovf/envelope/2\"><Info/><s:InstanceCount s:minimum=\"few\"/></s:ScaleOutSection><StartupSection>",
    ),
    (Code::AttributeMissing, "vmw:group=\"group1\"", ""),
    (Code::AttributeValue, "vmw:id=\"group1\"", "vmw:id=\"group1\" vmw:priority=\"high\""),
    (Code::DiskFormat, "vmdk.html#streamOptimized", "vmdk.html#other"),
    (
        Code::ItemCaption,
        "<rasd:ElementName>Adapter</rasd:ElementName>",
        "<rasd:Caption>Adapter</rasd:Caption>",
    ),
    // §9.1: disks.
    (Code::SectionPlace, "<Info>The server</Info>", "<Info/><DiskSection><Info/></DiskSection>"),
    (
        Code::SectionRepeatedUnusual,
        "<NetworkSection>",
        "<DiskSection><Info/></DiskSection><NetworkSection>",
    ),
    (Code::AttributeMissing, "ovf:diskId=\"disk3\"", ""),
    (Code::AttributeMissing, "ovf:capacity=\"8\"", ""),
    (Code::DiskDuplicate, "ovf:diskId=\"disk3\"", "ovf:diskId=\"disk1\""),
    (Code::DiskFileUnknown, "ovf:fileRef=\"file2\"", "ovf:fileRef=\"file9\""),
    (Code::DiskFileShared, "ovf:fileRef=\"file2\"", "ovf:fileRef=\"file1\""),
    (Code::DiskCapacity, "ovf:capacity=\"8\"", "ovf:capacity=\"eight\""),
    (Code::DiskCapacity, "ovf:capacity=\"8\"", "ovf:capacity=\"0\""),
    (Code::DiskCapacity, "ovf:capacity=\"8\"", "ovf:capacity=\"-8\""),
    (Code::DiskCapacity, "ovf:capacity=\"8\"", "ovf:capacity=\"8.5\""),
    (Code::DiskCapacity, "ovf:capacity=\"8\"", "ovf:capacity=\"8589934592\""),
    (Code::DiskCapacity, "${size.db}", "${size.web}"),
    (Code::DiskCapacity, "${size.db}", "${}"),
    (Code::DiskUnit, "byte * 2^30", "hertz"),
    (Code::DiskUnit, "byte * 2^30", "byte * 2^99"),
    (Code::DiskPopulated, "ovf:populatedSize=\"5\"", "ovf:populatedSize=\"9000000000\""),
    (Code::AttributeValue, "ovf:populatedSize=\"5\"", "ovf:populatedSize=\"some\""),
    (
        Code::DiskFormat,
        "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
        "",
    ),
    (
        Code::DiskFormat,
        "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
        "vmdk",
    ),
    (
        Code::DiskFormatUnknown,
        "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
        "http://example.com/disk",
    ),
    (Code::DiskParentUnknown, "ovf:parentRef=\"disk1\"", "ovf:parentRef=\"disk9\""),
    (Code::DiskParentCircle, "ovf:parentRef=\"disk1\"", "ovf:parentRef=\"disk2\""),
    // §9.2: networks.
    (Code::AttributeMissing, "<Network ovf:name=\"back\"/>", "<Network/>"),
    (Code::NetworkDuplicate, "<Network ovf:name=\"back\"/>", "<Network ovf:name=\"front\"/>"),
    (Code::ItemConnection, "<rasd:Connection>back<", "<rasd:Connection>side<"),
    (
        Code::SectionPlace,
        "<Info>The server</Info>",
        "<Info/><NetworkSection><Info/></NetworkSection>",
    ),
    // §9.3: resources.
    (
        Code::SectionPlace,
        "<Info>The server</Info>",
        "<Info/><ResourceAllocationSection><Info/></ResourceAllocationSection>",
    ),
    (
        Code::SectionPlace,
        "<NetworkSection>",
        "<ResourceAllocationSection><Info/></ResourceAllocationSection><NetworkSection>",
    ),
    // §9.4: annotations.
    (Code::ElementMissing, "<Annotation>Of the package</Annotation>", ""),
    (
        Code::ElementRepeated,
        "<Annotation>Of the package</Annotation>",
        "<Annotation>1</Annotation><Annotation>2</Annotation>",
    ),
    (
        Code::SectionPlace,
        "<NetworkSection>",
        "<AnnotationSection><Info/><Annotation/></AnnotationSection><NetworkSection>",
    ),
    // §9.5: products.
    (
        Code::SectionPlace,
        "<NetworkSection>",
        "<ProductSection><Info/></ProductSection><NetworkSection>",
    ),
    (Code::ProductDuplicate, "ovf:instance=\"2\"", "ovf:instance=\"1\""),
    (Code::ElementRepeated, "<Version>1</Version>", "<Version>1</Version><Version>2</Version>"),
    (
        Code::ElementOrder,
        "<Product>Database</Product>",
        "<FullVersion>0</FullVersion><Product>Database</Product>",
    ),
    (Code::IconFileUnknown, "ovf:fileRef=\"icon\"", "ovf:fileRef=\"face\""),
    (Code::AttributeMissing, "ovf:fileRef=\"icon\"", ""),
    (Code::AttributeValue, "ovf:height=\"32\"", "ovf:height=\"tall\""),
    (Code::AttributeMissing, "ovf:key=\"log\"", ""),
    (Code::AttributeMissing, "ovf:type=\"boolean\"", ""),
    (Code::AttributeValue, "ovf:userConfigurable=\"true\"", "ovf:userConfigurable=\"yes\""),
    (Code::PropertyDuplicate, "ovf:key=\"log\"", "ovf:key=\"name\""),
    (Code::PropertyKey, "ovf:key=\"log\"", "ovf:key=\"lo.g\""),
    (Code::PropertyKey, "ovf:key=\"log\"", "ovf:key=\"lo:g\""),
    (Code::PropertyType, "ovf:type=\"boolean\"", "ovf:type=\"flag\""),
    (Code::PropertyType, "ovf:type=\"boolean\"", "ovf:type=\"uint128\""),
    (Code::PropertyTypeUnusual, "ovf:type=\"real32\"", "ovf:type=\"real\""),
    (Code::PropertyTypeUnusual, "ovf:type=\"real32\"", "ovf:type=\"\""),
    (Code::PropertyValue, "ovf:value=\"5432\"", "ovf:value=\"65536\""),
    (Code::PropertyValue, "ovf:value=\"5432\"", "ovf:value=\"-1\""),
    (Code::PropertyValue, "ovf:value=\"5432\"", "ovf:value=\"http\""),
    (Code::PropertyValue, "ovf:value=\"5433\"", "ovf:value=\"65536\""),
    (Code::PropertyValue, "ovf:value=\"-128\"", "ovf:value=\"-129\""),
    (
        Code::PropertyValue,
        "ovf:value=\"true\"/>\n        <Property ovf:key=\"rate\"",
        "ovf:value=\"yes\"/><Property ovf:key=\"rate\"",
    ),
    (Code::PropertyValue, "ovf:value=\"0.5\"", "ovf:value=\"half\""),
    (Code::PropertyRange, "ovf:value=\"5432\"", "ovf:value=\"5434\""),
    (Code::PropertyRange, "ovf:value=\"main\"", "ovf:value=\"m\""),
    (Code::PropertyRange, "ovf:value=\"main\"", "ovf:value=\"main database\""),
    (Code::PropertyQualifier, "MinLen(2), MaxLen(8)", "MinLen(two)"),
    (Code::PropertyQualifier, "MinLen(2), MaxLen(8)", "MinLen(2"),
    (Code::PropertyQualifier, "MinLen(2), MaxLen(8)", "MinLen(9), MaxLen(8)"),
    (Code::PropertyQualifier, "MinLen(2), MaxLen(8)", "ValueMap{\"a, \"b\"}"),
    (Code::PropertyQualifierUnknown, "MinLen(2), MaxLen(8)", "Colour(red)"),
    (Code::AttributeMissing, "<Value ovf:value=\"5433\"", "<Value"),
    // §9.6: licences.
    (Code::ElementMissing, "<License>Be good</License>", ""),
    (
        Code::ElementRepeated,
        "<License>Be good</License>",
        "<License>Be</License><License>good</License>",
    ),
    (
        Code::SectionPlace,
        "<NetworkSection>",
        "<EulaSection><Info/><License/></EulaSection><NetworkSection>",
    ),
    // §9.7: startup.
    (
        Code::SectionPlace,
        "<Info>The server</Info>",
        "<Info/><StartupSection><Info/></StartupSection>",
    ),
    (
        Code::SectionRepeated,
        "<StartupSection>",
        "<StartupSection><Info/></StartupSection><StartupSection>",
    ),
    (Code::AttributeMissing, "<Item ovf:id=\"web\" ovf:order=\"1\"/>", "<Item ovf:id=\"web\"/>"),
    (Code::AttributeMissing, "<Item ovf:id=\"web\" ovf:order=\"1\"/>", "<Item ovf:order=\"1\"/>"),
    (Code::AttributeValue, "ovf:order=\"1\"", "ovf:order=\"first\""),
    (Code::AttributeValue, "ovf:order=\"1\"", "ovf:order=\"-1\""),
    (Code::AttributeValue, "ovf:startDelay=\"30\"", "ovf:startDelay=\"a while\""),
    (Code::AttributeValue, "ovf:waitingForGuest=\"true\"", "ovf:waitingForGuest=\"maybe\""),
    (Code::StartupUnknown, "<Item ovf:id=\"web\"", "<Item ovf:id=\"mail\""),
    (Code::StartupDuplicate, "<Item ovf:id=\"web\"", "<Item ovf:id=\"db\""),
    (Code::StartupAction, "ovf:startAction=\"powerOn\"", "ovf:startAction=\"guestShutdown\""),
    (Code::StartupAction, "ovf:stopAction=\"guestShutdown\"", "ovf:stopAction=\"stop\""),
    // §9.8: configurations.
    (
        Code::SectionPlace,
        "<Info>The server</Info>",
        "<Info/><DeploymentOptionSection><Info/></DeploymentOptionSection>",
    ),
    (
        Code::SectionRepeated,
        "<DeploymentOptionSection>",
        "<DeploymentOptionSection><Info/></DeploymentOptionSection><DeploymentOptionSection>",
    ),
    (Code::ElementMissing, "<Label>Small</Label>", ""),
    (Code::ElementMissing, "<Description>For a few</Description>", ""),
    (
        Code::ElementMissing,
        "<DeploymentOptionSection>",
        "<DeploymentOptionSection><Info/></DeploymentOptionSection><DeploymentOptionSection>",
    ),
    (Code::AttributeMissing, "<Configuration ovf:id=\"large\">", "<Configuration>"),
    (Code::AttributeValue, "ovf:default=\"true\"", "ovf:default=\"yes\""),
    (
        Code::ConfigurationDuplicate,
        "<Configuration ovf:id=\"large\">",
        "<Configuration ovf:id=\"small\">",
    ),
    (
        Code::ConfigurationDefaultRepeated,
        "<Configuration ovf:id=\"large\">",
        "<Configuration ovf:id=\"large\" ovf:default=\"1\">",
    ),
    (
        Code::ConfigurationUnknown,
        "<Item ovf:configuration=\"large\">",
        "<Item ovf:configuration=\"large huge\">",
    ),
    (
        Code::ConfigurationUnknown,
        "ovf:value=\"5433\" ovf:configuration=\"large\"",
        "ovf:value=\"5433\" ovf:configuration=\"huge\"",
    ),
    (
        Code::ItemOverlap,
        "<Item ovf:configuration=\"large\">",
        "<Item ovf:configuration=\"small large\"><rasd:ElementName/><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType></Item><Item ovf:configuration=\"large\">",
    ),
    // §9.9, §9.10: operating system and installation.
    (Code::AttributeMissing, "OperatingSystemSection ovf:id=\"36\"", "OperatingSystemSection"),
    (
        Code::AttributeValue,
        "OperatingSystemSection ovf:id=\"36\"",
        "OperatingSystemSection ovf:id=\"Linux\"",
    ),
    (
        Code::SystemType,
        "OperatingSystemSection ovf:id=\"36\"",
        "OperatingSystemSection ovf:id=\"36000\"",
    ),
    (
        Code::SystemType,
        "OperatingSystemSection ovf:id=\"36\"",
        "OperatingSystemSection ovf:id=\"-100\"",
    ),
    (
        Code::SectionPlace,
        "<Name>Everything</Name>",
        "<OperatingSystemSection ovf:id=\"1\"><Info/></OperatingSystemSection>",
    ),
    (
        Code::SectionRepeated,
        "<OperatingSystemSection",
        "<OperatingSystemSection ovf:id=\"1\"><Info/></OperatingSystemSection><OperatingSystemSection",
    ),
    (
        Code::AttributeValue,
        "ovf:initialBootStopDelay=\"300\"",
        "ovf:initialBootStopDelay=\"65536\"",
    ),
    (Code::SectionPlace, "<Name>Everything</Name>", "<InstallSection><Info/></InstallSection>"),
    (
        Code::SectionRepeated,
        "<InstallSection",
        "<InstallSection><Info/></InstallSection><InstallSection",
    ),
    // §10: messages.
    (Code::MessageUnknown, "ovf:msgid=\"large\">Large", "ovf:msgid=\"huge\">Large"),
    (Code::MessageDuplicate, "<Msg ovf:msgid=\"large\">", "<Msg ovf:msgid=\"vendor\">"),
    (Code::AttributeMissing, "<Msg ovf:msgid=\"large\">", "<Msg>"),
    (Code::AttributeValue, "<Strings xml:lang=\"de-DE\">", "<Strings xml:lang=\"de_DE\">"),
    (
        Code::BundleRepeated,
        "<Strings xml:lang=\"de-DE\">",
        "<Strings xml:lang=\"de-DE\"/><Strings xml:lang=\"de-de\">",
    ),
    (
        Code::MessageFileUnknown,
        "<Strings xml:lang=\"de-DE\">",
        "<Strings ovf:fileRef=\"file9\"/><Strings xml:lang=\"de-DE\">",
    ),
];

/// What is found in a draft.
const WRONG_DRAFT: &[(Code, &str, &str)] = &[
    (Code::FileCompression, "bzip2", "identity"),
    (Code::EnvelopeVersion, "ovf:version=\"0.9\"", "ovf:version=\"1.0\""),
    (Code::SectionUnknown, "ovf:EulaSection_Type", "ovf:ColourSection_Type"),
    (Code::SectionUnknown, "ovf:EulaSection_Type", "ovf:ColourSection"),
    (Code::SectionUnknown, " xsi:type=\"ovf:EulaSection_Type\"", ""),
    (
        Code::SectionPlace,
        "<Section xsi:type=\"ovf:OperatingSystemSection_Type\"",
        "<Section xsi:type=\"ovf:NetworkSection_Type\"><Info/></Section><Section xsi:type=\"ovf:OperatingSystemSection_Type\"",
    ),
    (Code::SectionPlace, "ovf:EulaSection_Type", "ovf:StartupSection_Type"),
    (Code::ItemMissing, "<rasd:Caption>Disk</rasd:Caption>", ""),
    (Code::ItemMissing, "<rasd:InstanceId>2</rasd:InstanceId>", ""),
    (Code::ItemDuplicate, "<rasd:InstanceId>2<", "<rasd:InstanceId>1<"),
    (Code::ContentMissing, "ovf:VirtualSystem_Type", "ovf:Other_Type"),
    (Code::InfoMissing, "<Info>A machine</Info>", ""),
    (Code::DiskFormat, "ovf:format=\"http://www.vmware.com/specifications/vmdk.html#sparse\"", ""),
];

/// Other ways to write a draft, in which nothing refuses.
const RIGHT_DRAFT_TOO: &[(&str, &str)] = &[
    ("<Info>A machine</Info>", "<Info>A machine</Info><Info xml:lang=\"de\">Eine Maschine</Info>"),
    ("<rasd:Caption>Disk</rasd:Caption>", "<rasd:ElementName>Disk</rasd:ElementName>"),
    ("    ovf:version=\"0.9\"", ""),
    ("bzip2", "gzip"),
    ("/disk/disk1", "ovf:/disk/disk1"),
];

/// Other ways to write it, in which nothing refuses.
const RIGHT_TOO: &[(&str, &str)] = &[
    ("ovf:version", "ovf:version"),
    ("xml:lang=\"en-US\"", "ovf:version=\"1.1\""),
    ("xml:lang=\"en-US\"", "xml:lang=\"de\""),
    ("ovf:fileRef=\"file2\"", "ovf:fileRef=\"\""),
    ("<rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>", "<rasd:BusNumber>0</rasd:BusNumber>"),
    ("vmdk.html#streamOptimized", "vmdk.html#sparse"),
    ("vmdk.html#streamOptimized", "vmdk.html"),
    ("gzip", "identity"),
    ("gzip", ""),
    (" ovf:size=\"1000\"", ""),
    ("ovf:size=\"1000\"", "ovf:size=\"0\""),
    ("ovf:size=\"1000\"", "ovf:size=\"-2\""),
    ("disk1.vmdk", "folder/disk 1.vmdk"),
    ("disk1.vmdk", "ùàç-1.vmdk"),
    ("<Info>Disks</Info>", "<Info/>"),
    ("<Info>Disks</Info>", "<Info/><a:B xmlns:a=\"urn:a\" ovf:required=\"false\"/>"),
    (
        "<NetworkSection>",
        "<Section xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"ovf:NetworkSection_Type\"><Info/></Section><NetworkSection>",
    ),
    (
        "<NetworkSection>",
        "<vmw:IpAssignmentSection><Info/></vmw:IpAssignmentSection><NetworkSection>",
    ),
    ("<DiskSection>", "<DiskSection ovf:required=\"false\">"),
    ("<DiskSection>", "<DiskSection ovf:required=\"1\" vmw:hint=\"x\">"),
    ("byte * 2^30", "GigaBytes"),
    ("ovf:populatedSize=\"5\"", ""),
    ("<vssd:ElementName>Family</vssd:ElementName>", ""),
    ("ovf:transport=\"iso com.vmware.guestInfo\"", "ovf:transport=\"\""),
    ("<rasd:InstanceID>7</rasd:InstanceID>", "<rasd:InstanceId>7</rasd:InstanceId>"),
    ("<rasd:ResourceType>10<", "<rasd:ResourceType> 10 <"),
    ("<rasd:ResourceType>10<", "<rasd:ResourceType>32768<"),
    ("ovf:/disk/disk1", "ovf://disk/disk1"),
    ("<rasd:Connection>back<", "<vmw:Colour/><rasd:Connection>back<"),
    ("<rasd:Connection>back</rasd:Connection>", ""),
    (
        "<Item>\n          <rasd:AllocationUnits>byte",
        "<Item ovf:bound=\"normal\">\n          <rasd:AllocationUnits>byte",
    ),
    (
        "ovf:value=\"true\"/>\n        <Property ovf:key=\"rate\"",
        "ovf:value=\"True\"/><Property ovf:key=\"rate\"",
    ),
    ("ovf:value=\"main\"", "ovf:value=\"\""),
    ("ovf:value=\"main\"", "ovf:value=\"${other}\""),
    ("MinLen(2), MaxLen(8)", "ValueMap{\"main\", \"E\\\"scape\", \"Com,ma\"}"),
    ("MinLen(2), MaxLen(8)", "MinLen(2) MaxLen(8)"),
    ("MinLen(2), MaxLen(8)", "Ip"),
    ("ovf:default=\"true\"", ""),
    ("<InstallSection ovf:initialBootStopDelay=\"300\">", "<InstallSection>"),
    ("<Product>Database</Product>", ""),
    (
        "<Network ovf:name=\"front\"><Description>To the world</Description></Network>",
        "<Network ovf:name=\"front\"/>",
    ),
    (
        "<Strings xml:lang=\"de-DE\">",
        "<Strings ovf:fileRef=\"texts\"/><Strings xml:lang=\"de-DE\">",
    ),
];

fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not there");
    // Both tags of an element.
    if from.contains('<') || from.contains('=') || from.contains(' ') {
        text.replacen(from, to, 1)
    } else {
        text.replace(from, to)
    }
}

fn errors(lint: &Lint) -> Vec<String> {
    let errors = lint.findings.iter().filter(|one| one.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    for text in [RIGHT, DRAFT] {
        let found = lint(text.as_bytes());
        assert!(found.findings.is_empty(), "{:#?}", found.findings);
        assert!(found.is_accepted());
    }
}

#[test]
fn each_rule_finds_what_is_wrong() {
    for (text, cases) in [(RIGHT, WRONG), (DRAFT, WRONG_DRAFT)] {
        for (code, from, to) in cases {
            let found = lint(with(text, from, to).as_bytes());
            let finding = found.findings.iter().find(|finding| finding.code == *code);
            let finding =
                finding.unwrap_or_else(|| panic!("{code}: {from} -> {to}: {:#?}", found.findings));
            assert_eq!(finding.severity, code.severity());
            assert!(!finding.message.is_empty() && !finding.section.is_empty());
            assert!(finding.position.line > 0 && finding.position.column > 0);
            if code.severity() == Severity::Error {
                assert!(!found.is_accepted());
            }
        }
    }
}

#[test]
fn warnings_alone_do_not_refuse() {
    for (code, from, to) in WRONG.iter().filter(|(code, ..)| code.severity() == Severity::Warning) {
        // Without its namespace an attribute is missing, which refuses; so is an item of no type.
        if *code == Code::AttributeUnqualified {
            continue;
        }
        let found = lint(with(RIGHT, from, to).as_bytes());
        assert!(found.is_accepted(), "{code}: {from} -> {to}: {:#?}", errors(&found));
    }
}

#[test]
fn other_ways_to_write_it_are_accepted() {
    for (from, to) in RIGHT_TOO.iter().skip(1) {
        let found = lint(with(RIGHT, from, to).as_bytes());
        assert!(found.is_accepted(), "{from} -> {to}: {:#?}", errors(&found));
    }
    for (from, to) in RIGHT_DRAFT_TOO {
        let found = lint(with(DRAFT, from, to).as_bytes());
        assert!(found.is_accepted(), "{from} -> {to}: {:#?}", errors(&found));
    }
}

#[test]
fn every_code_has_a_case_and_is_documented() {
    let cases = WRONG.iter().chain(WRONG_DRAFT).map(|(code, ..)| *code);
    // Told by bytes that are no text, by sizes, by files; see the tests of these.
    let others = [
        Code::DiskDelta,
        Code::DiskFileEmpty,
        Code::DraftPrefix,
        Code::Encoding,
        Code::FileMissing,
        Code::FileMissingBeside,
        Code::FileSizeDiffers,
        Code::Limit,
    ];
    let tested: BTreeSet<Code> = cases.chain(others).collect();
    let docs = fs::read_to_string("src/lint.rs").unwrap();
    let mut words = BTreeSet::new();
    for code in Code::ALL {
        assert!(tested.contains(code), "{code} has no case");
        assert!(words.insert(code.word()), "{code} twice");
        let row = format!(
            "//! | `{code}` | {} | §{} | {} |",
            code.severity(),
            code.section(),
            code.about()
        );
        assert!(docs.contains(&row), "src/lint.rs lacks:\n{row}");
    }
}

#[test]
fn a_finding_says_where() {
    let text = with(RIGHT, "ovf:diskId=\"disk3\"", "ovf:diskId=\"disk1\"");
    let found = lint(text.as_bytes());
    let [finding] = &found.findings[..] else { panic!("{:#?}", found.findings) };
    assert_eq!(finding.path, "Envelope/DiskSection/Disk[3]");
    assert_eq!((finding.position.line, finding.position.column), (17, 5));
    assert_eq!(
        finding.to_string(),
        "error at line 17, column 5: a second disk with the id \"disk1\" [disk-id-duplicate, DSP0243 §9.1]"
    );
}

#[test]
fn places_are_those_of_the_file_also_with_a_prefix_that_is_not_declared() {
    let text = with(RIGHT, "<Info>Disks</Info>", "<Info x:a=\"b\">Disks</Info>");
    let text = with(&text, "ovf:diskId=\"disk3\"", "ovf:diskId=\"disk1\"");
    let found = lint(text.as_bytes());
    let places =
        found.findings.iter().map(|one| (one.code, one.position.line, one.position.column));
    assert_eq!(
        places.collect::<Vec<_>>(),
        [(Code::XmlPrefix, 14, 5), (Code::DiskDuplicate, 17, 5)]
    );
    // An envelope whose every prefix is undeclared is still read as what it means to be.
    let bare = "<ovf:Envelope><ovf:References/></ovf:Envelope>";
    assert!(lint(bare.as_bytes()).has(Code::ContentMissing));
}

#[test]
fn bytes_that_are_no_text_and_limits() {
    assert!(lint(b"").has(Code::Xml) || !lint(b"").is_accepted());
    assert!(lint(b"<Envelope>\xff</Envelope>").has(Code::Encoding));
    assert!(lint(&[&b"<"[..], &vec![b' '; 5 << 20]].concat()).has(Code::Limit));
    let deep = format!("{}{}", "<a>".repeat(300), "</a>".repeat(300));
    assert!(lint(deep.as_bytes()).has(Code::Limit));
    let wide = with(RIGHT, "<References>", &format!("<References>{}", "<a/>".repeat(210_000)));
    assert!(lint(wide.as_bytes()).has(Code::Limit));
    // A byte order mark is no text.
    assert!(lint([&[0xef, 0xbb, 0xbf], RIGHT.as_bytes()].concat().as_slice()).findings.is_empty());
}

#[test]
fn what_is_found_is_bounded() {
    let files: String = (0..5_000).map(|_| "<File ovf:id=\"a\" ovf:href=\"b\"/>").collect();
    let text = with(RIGHT, "<References>", &format!("<References>{files}"));
    let found = lint(text.as_bytes());
    assert_eq!(found.errors, 2 * 4_999);
    assert_eq!(found.findings.len(), 100);
    assert_eq!(found.omitted(), 2 * 4_999 - 100);
    // The first of them.
    let many = "<Disk ovf:format='a'>b</Disk>".repeat(500);
    let found = lint(with(RIGHT, "<Info>Disks</Info>", &many).as_bytes());
    let first = found.findings.iter().find(|finding| finding.path.ends_with("Disk[1]"));
    assert!(first.is_some_and(|finding| finding.code == Code::AttributeMissing));
}

/// Nothing is looked through once for each of many others: these would take minutes.
#[test]
fn what_is_long_is_looked_through_once() {
    let many = |text: &str| text.repeat(10_000);
    let startup = format!("{}{}", many("<StartupSection/>"), many("<VirtualSystem/>"));
    let values: String = (0..10_000).map(|number| format!("{number},")).collect();
    let values = format!(
        "<Property ovf:key='k' ovf:type='string' ovf:qualifiers='ValueMap{{{values}}}'>{}</Property>",
        many("<Value ovf:value='x'/>")
    );
    let circle: String = (0..10_000)
        .map(|number| format!("<Disk ovf:diskId='{number}' ovf:parentRef='{}'/>", number + 1))
        .collect();
    for (from, long) in [
        ("<Name>Everything</Name>", startup),
        ("<Property ovf:key=\"rate\"", format!("{values}<Property ovf:key=\"rate\"")),
        ("<Info>Disks</Info>", circle),
        ("<Info>Disks</Info>", many("<Disk ovf:fileRef='file1'/>")),
        ("<Info>Nothing special</Info>", many("<Item><rasd:InstanceID>1</rasd:InstanceID></Item>")),
    ] {
        let found = lint(with(RIGHT, from, &long).as_bytes());
        assert!(found.errors + found.warnings > 1000);
    }
}

#[test]
fn files_beside_the_descriptor_tell_more() {
    assert_eq!(
        hrefs(RIGHT.as_bytes()),
        ["disk1.vmdk", "disk 2.vmdk", "https://example.com/icon.png", "texts.msg"]
    );
    let mut files = FilesBeside::default();
    files.add("disk1.vmdk", 1000);
    for (chunk, size) in [("000000000", 700), ("000000001", 700), ("000000002", 600)] {
        files.add(format!("disk 2.vmdk.{chunk}"), size);
    }
    files.add("texts.msg", 10);
    let found = lint_with(RIGHT.as_bytes(), &files);
    assert!(found.findings.is_empty(), "{:#?}", found.findings);

    let with = |change: &dyn Fn(&mut FilesBeside)| {
        let mut files = files.clone();
        change(&mut files);
        lint_with(RIGHT.as_bytes(), &files)
    };
    let found = with(&|files| files.add("disk1.vmdk", 999));
    assert!(found.has(Code::FileSizeDiffers) && !found.is_accepted());
    let found = with(&|files| files.add("disk1.vmdk", 0));
    assert!(found.has(Code::DiskFileEmpty));
    let start = b"# Disk DescriptorFile\nversion=1\nparentCID=12345678\n";
    assert!(with(&|files| files.add_start("disk1.vmdk", start)).has(Code::DiskDelta));
    let mut few = FilesBeside::default();
    few.add("disk1.vmdk", 1000);
    let found = lint_with(RIGHT.as_bytes(), &few);
    assert!(found.has(Code::FileMissingBeside) && found.is_accepted());
    few.complete();
    let found = lint_with(RIGHT.as_bytes(), &few);
    assert!(found.has(Code::FileMissing) && !found.is_accepted());
}

#[test]
fn a_draft_goes_by_the_names_of_its_types() {
    let other = DRAFT.replace("ovf:", "o:").replace("xmlns:ovf", "xmlns:o");
    assert!(lint(other.as_bytes()).has(Code::DraftPrefix));
    // OVF 1 may have any prefix.
    let other = RIGHT.replace("ovf:", "o:").replace("xmlns:ovf", "xmlns:o");
    let other = other.replace("o:/", "ovf:/");
    let found = lint(other.as_bytes());
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No change of a descriptor makes it panic, and each is read in time.
    #[test]
    fn no_descriptor_makes_it_panic(
        is_draft in any::<bool>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, ".{0,6}"), 1..8),
    ) {
        let mut text: Vec<char> = if is_draft { DRAFT } else { RIGHT }.chars().collect();
        for (at, len, put) in cuts {
            let at = at.index(text.len());
            let end = (at + len).min(text.len());
            text.splice(at..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        let found = lint(text.as_bytes());
        for finding in &found.findings {
            prop_assert!(finding.position.line <= text.lines().count() + 1);
        }
    }

    /// Words of descriptors in another order are no danger, either.
    #[test]
    fn moved_elements_do_not_make_it_panic(
        moves in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..12),
    ) {
        let mut lines: Vec<&str> = RIGHT.lines().collect();
        for (from, to) in moves {
            let (from, to) = (from.index(lines.len()), to.index(lines.len()));
            lines.swap(from, to);
        }
        let found = lint(lines.join("\n").as_bytes());
        prop_assert!(found.findings.len() <= 200);
    }

    /// Bytes without any sense are refused.
    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!lint(&bytes).is_accepted());
    }
}
