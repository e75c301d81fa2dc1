//! Files, disks and networks: DSP0243 1.1.0 §7.1, §9.1, §9.2.

use std::collections::HashMap;
use std::collections::HashSet;

use super::beside::FilesBeside;
use super::lexical::Lexical;
use super::lexical::parse_signed;
use super::report::Code;
use super::report::Report;
use super::tree::Dialect;
use super::tree::Element;
use super::tree::Tree;
use crate::envelope::units;
use crate::name::shown;

/// What the rest of the descriptor may refer to.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    pub(super) files: HashMap<&'a str, Element<'a>>,
    pub(super) disks: HashMap<&'a str, Element<'a>>,
    pub(super) networks: HashSet<&'a str>,
    pub(super) configurations: HashSet<&'a str>,
}

/// Checks what stands before the content, and collects its names.
pub(super) fn check<'a>(tree: Tree<'a>, beside: &FilesBeside, report: &mut Report) -> Names<'a> {
    let files = references(tree, report);
    let disks = disks(tree, &files, report);
    self::beside(tree, &files, beside, report);
    let networks = networks(tree, report);
    let configurations = configurations(tree, report);
    Names { files, disks, networks, configurations }
}

fn references<'a>(tree: Tree<'a>, report: &mut Report) -> HashMap<&'a str, Element<'a>> {
    let mut files = HashMap::new();
    let mut hrefs = HashSet::new();
    for node in tree.below("References", "File") {
        if let Some(id) = tree.value(node, "id")
            && files.insert(id, node).is_some()
        {
            let message = format!("a second file with the id \"{}\"", shown(id));
            report.add(node, Code::FileDuplicate, message);
        }
        if let Some(href) = tree.value(node, "href") {
            self::href(node, href, report);
            if !hrefs.insert(href.trim()) {
                let message = format!("a second file at \"{}\"", shown(href));
                report.add(node, Code::FileHrefDuplicate, message);
            }
        }
        if let Some(size) = tree.attribute(node, "size") {
            self::size(node, size, report);
        }
        if let Some(size) = tree.attribute(node, "chunkSize")
            && !parse_signed(size.trim()).is_some_and(|size| (1..=MAX).contains(&size))
        {
            let message = format!("\"chunkSize\" is \"{}\", not a positive number", shown(size));
            report.add(node, Code::FileChunks, message);
        }
        if let Some(compression) = tree.attribute(node, "compression") {
            self::compression(tree, node, compression, report);
        }
    }
    files
}

fn href(node: Element<'_>, href: &str, report: &mut Report) {
    let href = href.trim();
    if !Lexical::Uri.takes(href) {
        let message = format!("\"{}\" is no URL", shown(href));
        report.add(node, Code::FileHref, message);
        return;
    }
    let scheme = href.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("http" | "https") => {}
        Some("file") => outside(node, href, report),
        Some(scheme) => {
            let message = format!("the scheme {} is one that few readers know", shown(scheme));
            report.add(node, Code::FileScheme, message);
        }
        None if href.starts_with(['/', '\\']) || href.split(['/', '\\']).any(|up| up == "..") => {
            outside(node, href, report);
        }
        None => {}
    }
}

fn outside(node: Element<'_>, href: &str, report: &mut Report) {
    let message = format!("\"{}\" lies outside the folder of the descriptor", shown(href));
    report.add(node, Code::FileOutside, message);
}

/// A number of bytes; in the drafts it had a sign, and -1 and -2 stood for an unknown one.
fn size(node: Element<'_>, size: &str, report: &mut Report) {
    let found = shown(size);
    match parse_signed(size.trim()) {
        Some(0..=MAX) => {}
        Some(-2 | -1) => {
            let message = format!("the size is {found}, which can only mean that it is unknown");
            report.add(node, Code::FileSizeUnknown, message);
        }
        _ => {
            let message = format!("the size \"{found}\" is not that of any file");
            report.add(node, Code::FileSize, message);
        }
    }
}

/// `gzip` or `identity`; before 1.0, nothing stood for what 1.0 calls `identity`, and there was
/// `bzip2`, which the schema of 1.0 still mentions.
fn compression(tree: Tree<'_>, node: Element<'_>, compression: &str, report: &mut Report) {
    let is_known = match compression.trim() {
        "" | "gzip" => true,
        "identity" => tree.dialect != Dialect::Draft,
        "bzip2" => tree.dialect == Dialect::Draft,
        _ => false,
    };
    if !is_known {
        let version = if tree.dialect == Dialect::Draft { "OVF 0.9" } else { "OVF" };
        let message = format!("{version} has no compression \"{}\"", shown(compression));
        report.add(node, Code::FileCompression, message);
    }
}

fn disks<'a>(
    tree: Tree<'a>,
    files: &HashMap<&str, Element<'a>>,
    report: &mut Report,
) -> HashMap<&'a str, Element<'a>> {
    let properties = properties(tree);
    let mut disks = HashMap::new();
    let mut used: HashMap<&str, Vec<Element<'_>>> = HashMap::new();
    let users = Users::of(tree);
    for node in disk_nodes(tree) {
        if let Some(id) = tree.value(node, "diskId")
            && disks.insert(id, node).is_some()
        {
            let message = format!("a second disk with the id \"{}\"", shown(id));
            report.add(node, Code::DiskDuplicate, message);
        }
        // Packers of VMware write an empty one for a disk without content.
        let file = tree.value(node, "fileRef");
        if let Some(file) = file {
            if !files.contains_key(file) {
                let message = format!("the file \"{}\" is not in the References", shown(file));
                report.add(node, Code::DiskFileUnknown, message);
            }
            let others: &mut Vec<Element<'_>> = used.entry(file).or_default();
            // One is enough to tell, and a thousand must not be compared each with each.
            if others.iter().take(COMPARED_MAX).any(|other| users.meet(tree, node, *other)) {
                let message =
                    format!("the file \"{}\" is the content of another disk, too", shown(file));
                report.add(node, Code::DiskFileShared, message);
            }
            others.push(node);
        }
        format(tree, node, file.is_some(), report);
        capacity(tree, node, &properties, report);
    }
    parents(tree, &disks, report);
    disks
}

/// In which configurations each disk is used.
struct Users<'a> {
    by_disk: HashMap<&'a str, HashSet<&'a str>>,
}

impl<'a> Users<'a> {
    fn of(tree: Tree<'a>) -> Self {
        let mut by_disk: HashMap<&str, HashSet<&str>> = HashMap::new();
        let resources =
            tree.root.descendants().filter(|node| node.tag_name().name() == "HostResource");
        for node in resources {
            let resource = node.text().unwrap_or_default().trim();
            let Some((_, disk)) = resource.rsplit_once("/disk/") else { continue };
            let configurations =
                node.parent().and_then(|item| tree.attribute(item, "configuration"));
            let used = by_disk.entry(disk.trim()).or_default();
            match configurations {
                Some(configurations) => used.extend(configurations.split_whitespace()),
                // In all.
                None => {
                    used.insert("");
                }
            }
        }
        Self { by_disk }
    }

    /// Whether there is a configuration that may have both disks.
    fn meet(&self, tree: Tree<'a>, one: Element<'a>, other: Element<'a>) -> bool {
        let of = |disk| self.by_disk.get(tree.value(disk, "diskId").unwrap_or_default());
        match (of(one), of(other)) {
            (Some(one), Some(other)) => {
                one.contains("") || other.contains("") || !one.is_disjoint(other)
            }
            // Nothing says that they do not.
            _ => true,
        }
    }
}

pub(super) fn disk_nodes<'a>(tree: Tree<'a>) -> impl Iterator<Item = Element<'a>> {
    tree.below("DiskSection", "Disk").chain(tree.below("SharedDiskSection", "SharedDisk"))
}

/// A disk with content must have a format, and it is a URI (DSP0243 1.1.0 §9.1).
fn format<'a>(tree: Tree<'a>, node: Element<'a>, has_content: bool, report: &mut Report) {
    let Some(format) = tree.value(node, "format").map(str::trim) else {
        if has_content {
            let message = "a disk with content does not say in which format";
            report.add(node, Code::DiskFormat, message);
        }
        return;
    };
    if !Lexical::Uri.takes(format) {
        // Told by the type of the attribute.
    } else if !format.contains(':') {
        let message = format!("the format \"{}\" is not a URI", shown(format));
        report.add(node, Code::DiskFormat, message);
    } else if is_no_vmdk(format) {
        let message = format!("VMware's format has no variant \"{}\"", shown(format));
        report.add(node, Code::DiskFormat, message);
    } else if !FORMATS.iter().any(|known| format.to_ascii_lowercase().contains(known)) {
        let message = format!("the format \"{}\" is one that few readers know", shown(format));
        report.add(node, Code::DiskFormatUnknown, message);
    }
}

/// The page that VMware's URIs name has a fragment for each variant.
fn is_no_vmdk(format: &str) -> bool {
    let format = format.to_ascii_lowercase();
    format.split_once('#').is_some_and(|(page, variant)| {
        page.contains("vmware.com/") && page.contains("vmdk") && !VMDK_VARIANTS.contains(&variant)
    })
}

/// Properties by each key that a capacity may name them by: the short and the full one.
fn properties<'a>(tree: Tree<'a>) -> HashMap<String, Option<&'a str>> {
    let mut found = HashMap::new();
    let products = tree.root.descendants().filter(|node| tree.is(*node, "ProductSection"));
    for product in products {
        let part = |name| tree.value(product, name).filter(|part| part.len() <= KEY_BYTES_MAX);
        let (class, instance) = (part("class"), part("instance"));
        for property in tree.children(product, "Property") {
            let Some(key) = tree.value(property, "key").filter(|key| key.len() <= KEY_BYTES_MAX)
            else {
                continue;
            };
            let value = tree.value(property, "value").or_else(|| {
                tree.children(property, "Value").find_map(|value| tree.value(value, "value"))
            });
            let full: Vec<&str> = [class, Some(key), instance].into_iter().flatten().collect();
            found.entry(full.join(".")).or_insert(value);
            found.entry(key.to_owned()).or_insert(value);
        }
    }
    found
}

fn capacity<'a>(
    tree: Tree<'a>,
    node: Element<'a>,
    properties: &HashMap<String, Option<&'a str>>,
    report: &mut Report,
) {
    let unit = tree.value(node, "capacityAllocationUnits").unwrap_or("byte");
    let unit_bytes = units::bytes_of_unit(unit);
    if unit_bytes.is_none() {
        let message = format!("\"{}\" is not a unit of bytes, such as byte * 2^30", shown(unit));
        report.add(node, Code::DiskUnit, message);
    }
    let Some(found) = tree.value(node, "capacity").map(str::trim) else { return };
    let digits = match found.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        None => found,
        Some(key) => match properties.get(key) {
            Some(Some(value)) => value.trim(),
            // The user gives it.
            Some(None) => return,
            None => {
                let message = format!("the capacity is the unknown property \"{}\"", shown(key));
                report.add(node, Code::DiskCapacity, message);
                return;
            }
        },
    };
    let bytes = match parse_signed(digits) {
        None => {
            let message = format!("the capacity \"{}\" is not a number", shown(digits));
            report.add(node, Code::DiskCapacity, message);
            return;
        }
        Some(number) => number.checked_mul(unit_bytes.unwrap_or(1).into()),
    };
    let why = match bytes {
        None => "too large",
        Some(bytes) if bytes > MAX => "too large",
        Some(0) => "zero",
        Some(..0) => "negative",
        Some(bytes) => {
            let populated = tree.value(node, "populatedSize").map(str::trim);
            if populated.and_then(parse_signed).is_some_and(|populated| populated > bytes) {
                let message = "the populated size is more than the capacity";
                report.add(node, Code::DiskPopulated, message);
            }
            return;
        }
    };
    report.add(node, Code::DiskCapacity, format!("the capacity {} is {why}", shown(digits)));
}

fn parents<'a>(tree: Tree<'a>, disks: &HashMap<&str, Element<'a>>, report: &mut Report) {
    // By the step in which a disk was first met, and the walk that did.
    let mut walked: HashMap<&str, usize> = HashMap::new();
    for (walk, node) in disk_nodes(tree).enumerate() {
        if let Some(parent) = tree.value(node, "parentRef")
            && !disks.contains_key(parent)
        {
            let message = format!("the parent \"{}\" is not in the DiskSection", shown(parent));
            report.add(node, Code::DiskParentUnknown, message);
        }
        let mut next = tree.value(node, "diskId");
        while let Some(id) = next {
            match walked.insert(id, walk) {
                Some(before) if before == walk => {
                    let message = format!("the disk \"{}\" is its own ancestor", shown(id));
                    report.add(node, Code::DiskParentCircle, message);
                    break;
                }
                Some(before) => {
                    walked.insert(id, before);
                    break;
                }
                None => {}
            }
            next = disks.get(id).and_then(|disk| tree.value(*disk, "parentRef"));
        }
    }
}

/// What only the files themselves can tell.
fn beside<'a>(
    tree: Tree<'a>,
    files: &HashMap<&str, Element<'a>>,
    beside: &FilesBeside,
    report: &mut Report,
) {
    if beside.is_unknown() {
        return;
    }
    let (mut seen, mut used) = (HashSet::new(), HashSet::new());
    for node in tree.below("References", "File") {
        let Some(href) = tree.value(node, "href").map(str::trim) else { continue };
        // Chunks are counted once.
        if !seen.insert(href) {
            continue;
        }
        if href.contains("://") && !href.starts_with("file:") {
            continue;
        }
        let is_chunked = tree.value(node, "chunkSize").is_some();
        let Some(found) = beside.find(href, is_chunked) else {
            let name = shown(href);
            if beside.is_complete() {
                report.add(node, Code::FileMissing, format!("\"{name}\" is not in the package"));
            } else {
                let message = format!("\"{name}\" is not beside the descriptor");
                report.add(node, Code::FileMissingBeside, message);
            }
            continue;
        };
        let size = tree.value(node, "size").and_then(|size| parse_signed(size.trim()));
        if let Some(size) = size.filter(|size| *size >= 0)
            && size != i128::from(found.size_bytes)
        {
            let message = format!(
                "\"{}\" has {} bytes, not {size} as the descriptor says",
                shown(href),
                found.size_bytes
            );
            report.add(node, Code::FileSizeDiffers, message);
        }
    }
    for disk in disk_nodes(tree) {
        let Some(id) = tree.value(disk, "fileRef") else { continue };
        let Some(file) = files.get(id).copied() else { continue };
        if !used.insert(id) {
            continue;
        }
        let Some(href) = tree.value(file, "href").map(str::trim) else { continue };
        let Some(found) = beside.find(href, tree.value(file, "chunkSize").is_some()) else {
            continue;
        };
        if found.size_bytes == 0 {
            let message = format!("the disk's file \"{}\" is empty", shown(href));
            report.add(disk, Code::DiskFileEmpty, message);
        } else if found.is_delta && tree.value(disk, "parentRef").is_none() {
            let message = format!(
                "the disk's file \"{}\" holds only the difference to a parent",
                shown(href)
            );
            report.add(disk, Code::DiskDelta, message);
        }
    }
}

fn networks<'a>(tree: Tree<'a>, report: &mut Report) -> HashSet<&'a str> {
    let mut networks = HashSet::new();
    for node in tree.below("NetworkSection", "Network") {
        if let Some(name) = tree.value(node, "name")
            && !networks.insert(name)
        {
            let message = format!("a second network \"{}\"", shown(name));
            report.add(node, Code::NetworkDuplicate, message);
        }
    }
    networks
}

fn configurations<'a>(tree: Tree<'a>, report: &mut Report) -> HashSet<&'a str> {
    let mut configurations = HashSet::new();
    let mut has_default = false;
    for node in tree.below("DeploymentOptionSection", "Configuration") {
        if let Some(id) = tree.value(node, "id")
            && !configurations.insert(id)
        {
            let message = format!("a second configuration \"{}\"", shown(id));
            report.add(node, Code::ConfigurationDuplicate, message);
        }
        if matches!(tree.value(node, "default").map(str::trim), Some("true" | "1")) {
            if has_default {
                let message = "a second default configuration";
                report.add(node, Code::ConfigurationDefaultRepeated, message);
            }
            has_default = true;
        }
    }
    configurations
}

/// Checks that the configurations in an attribute exist.
pub(super) fn configuration_list(
    tree: Tree<'_>,
    node: Element<'_>,
    names: &Names<'_>,
    report: &mut Report,
) {
    let list = tree.attribute(node, "configuration").unwrap_or_default();
    for name in list.split_whitespace().filter(|name| !names.configurations.contains(name)) {
        let message = format!("there is no configuration \"{}\"", shown(name));
        report.add(node, Code::ConfigurationUnknown, message);
    }
}

/// What the URIs of formats contain that are in use: VMware's, VirtualBox's, Hyper-V's, QEMU's.
const FORMATS: [&str; 8] = ["vmdk", "vhd", "qcow", "iso", "raw", "gzip", "virtualbox.org", "/byte"];

/// Variants of VMDK, in lower case.
const VMDK_VARIANTS: [&str; 11] = [
    "",
    "compressed",
    "flat",
    "monolithicflat",
    "monolithicsparse",
    "sparse",
    "streamoptimized",
    "twogbmaxextentflat",
    "twogbmaxextentsparse",
    "vmfs",
    "vmfssparse",
];

/// Disks of one file that are compared with the next.  Real descriptors share a file between two.
const COMPARED_MAX: usize = 16;

/// Largest size and capacity: `xs:long`.
const MAX: i128 = i64::MAX as i128;

/// Longest part of a key of a property that stands for a capacity; real keys are words.
const KEY_BYTES_MAX: usize = 256;
