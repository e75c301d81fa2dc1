//! Changes to a descriptor that leave the rest of its text as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ops::Range;

use roxmltree::Node;

use super::error::EnvelopeError;
use super::error::EnvelopeFault;
use super::read;
use super::read::Outside;
use super::read::Parts;
use super::tree::Reader;
use super::tree::fail;
use super::units;
use super::view::Disk;
use super::view::FileRef;
use crate::name::FileName;
use crate::name::shown;

/// Changes to files and disks of a descriptor, collected by their ids and made together.
///
/// Only the bytes of the attributes and elements that change are replaced: byte order mark, line
/// ends, comments, CDATA, unknown elements, prefixes and order stay as they are, and an edit that
/// changes nothing gives the same bytes.  What has the wanted value already is not written again,
/// however it is spelled.  Of two changes of one thing the later counts.
///
/// A draft of OVF ([`EnvelopeVersion::Draft`](super::EnvelopeVersion::Draft)) cannot be changed.
/// Ids are looked up by [`apply`](Self::apply), and what comes out is read like any descriptor, so
/// that no edit can end in one that contradicts itself.
///
/// ```
/// # use ovftransfer_ovf::{Envelope, FileName};
/// # let text = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
/// #                         xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
/// #   <References><File ovf:id="f1" ovf:href="a.vmdk" ovf:size="1"/></References>
/// #   <VirtualSystem ovf:id="vm"/></Envelope>"#;
/// let envelope = Envelope::parse(text)?;
/// let edited =
///     envelope.edit().file_href("f1", &FileName::new("b.vmdk")?).file_size("f1", None).apply()?;
/// assert!(edited.text().contains(r#"<File ovf:id="f1" ovf:href="b.vmdk"/>"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "an edit does nothing before it is applied"]
pub struct Edit<'a> {
    /// The text with its byte order mark.
    pub(super) source: &'a str,
    pub(super) outside: Outside,
    pub(super) parts: &'a Parts,
    pub(super) changes: Changes,
}

/// What an [`Edit`] is going to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    files: BTreeMap<String, Change>,
    disks: BTreeMap<String, Change>,
    pub(super) order: Vec<FileName>,
}

/// What happens to one element.
#[derive(Clone, Debug, Default)]
struct Change {
    is_removed: bool,
    /// Values by the local names of the attributes; nothing for one that is to go.
    attributes: BTreeMap<&'static str, Option<String>>,
    capacity_bytes: Option<u64>,
}

impl Change {
    /// Wants an attribute to have a value, unless it has it.
    fn attribute(&mut self, name: &'static str, value: Option<String>, is_there: bool) {
        if is_there {
            self.attributes.remove(name);
        } else {
            self.attributes.insert(name, value);
        }
    }
}

impl Edit<'_> {
    /// Has a file reference point to another file of the package.
    pub fn file_href(&mut self, file_id: &str, href: &FileName) -> &mut Self {
        let is_same = |file: &FileRef| file.href() == href && file.url().is_none();
        let is_there = self.file(file_id).is_some_and(is_same);
        let value = Some(href.as_str().to_owned());
        self.change_file(file_id).attribute("href", value, is_there);
        self
    }

    /// Sets or drops the size of a file, in bytes (DSP0243 1.1.0 §7.1).
    pub fn file_size(&mut self, file_id: &str, size_bytes: Option<u64>) -> &mut Self {
        let is_there = self.file(file_id).is_some_and(|file| file.size_bytes() == size_bytes);
        let value = size_bytes.map(|bytes| bytes.to_string());
        self.change_file(file_id).attribute("size", value, is_there);
        self
    }

    /// Sets or drops how a file is compressed, such as `gzip`.
    pub fn file_compression(&mut self, file_id: &str, compression: Option<&str>) -> &mut Self {
        let is_there = self.file(file_id).is_some_and(|file| file.compression() == compression);
        self.change_file(file_id).attribute(
            "compression",
            compression.map(str::to_owned),
            is_there,
        );
        self
    }

    /// Sets or drops the size of the pieces of a file, in bytes.
    pub fn file_chunk_size(&mut self, file_id: &str, chunk_size_bytes: Option<u64>) -> &mut Self {
        let is_there =
            self.file(file_id).is_some_and(|file| file.chunk_size_bytes() == chunk_size_bytes);
        let value = chunk_size_bytes.map(|bytes| bytes.to_string());
        self.change_file(file_id).attribute("chunkSize", value, is_there);
        self
    }

    /// Removes a file reference.  Nothing may refer to it any more.
    pub fn remove_file(&mut self, file_id: &str) -> &mut Self {
        self.change_file(file_id).is_removed = true;
        self
    }

    /// Puts the file references in another order: that of `names`, then the others as they were.
    ///
    /// The files of an OVA stand in the order of the references (DSP0243 1.1.0 §5.3).  The names
    /// are those after the edit; names of no reference are passed over.
    ///
    /// ```
    /// # use ovftransfer_ovf::{Envelope, FileName};
    /// let text = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
    ///                         xmlns:o="http://schemas.dmtf.org/ovf/envelope/1">
    ///     <References> <File o:id="1" o:href="a"/> <!-- --> <File o:id="2" o:href="b"/> </References>
    ///     <VirtualSystem o:id="vm"/></Envelope>"#;
    /// let envelope = Envelope::parse(text)?;
    /// let order = [FileName::new("b")?, FileName::new("a")?];
    /// assert!(envelope.edit().order_references(&order).apply()?.text().contains(
    ///     r#"<References> <File o:id="2" o:href="b"/> <!-- --> <File o:id="1" o:href="a"/> </Ref"#
    /// ));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn order_references(&mut self, names: &[FileName]) -> &mut Self {
        self.changes.order = names.to_vec();
        self
    }

    /// Sets the URI of the format of a disk (DSP0243 1.1.0 §9.1).
    pub fn disk_format(&mut self, disk_id: &str, format: &str) -> &mut Self {
        let is_there = self.disk(disk_id).is_some_and(|disk| disk.format() == format);
        self.change_disk(disk_id).attribute("format", Some(format.to_owned()), is_there);
        self
    }

    /// Sets the capacity of a disk.  Its unit stays if the capacity is a multiple of it.
    ///
    /// A capacity that was a property becomes a number, unless its value is the wanted one.
    pub fn disk_capacity(&mut self, disk_id: &str, capacity_bytes: u64) -> &mut Self {
        let is_there =
            self.disk(disk_id).is_some_and(|disk| disk.capacity_bytes() == capacity_bytes);
        self.change_disk(disk_id).capacity_bytes = (!is_there).then_some(capacity_bytes);
        self
    }

    /// Sets or drops the estimate of the bytes of a disk that are in use.
    pub fn disk_populated(&mut self, disk_id: &str, populated_bytes: Option<u64>) -> &mut Self {
        let is_there =
            self.disk(disk_id).is_some_and(|disk| disk.populated_bytes() == populated_bytes);
        let value = populated_bytes.map(|bytes| bytes.to_string());
        self.change_disk(disk_id).attribute("populatedSize", value, is_there);
        self
    }

    /// Has a disk get its content from another file reference, or from none: it is then created
    /// empty.
    pub fn disk_file_ref(&mut self, disk_id: &str, file_id: Option<&str>) -> &mut Self {
        let is_there = self.disk(disk_id).is_some_and(|disk| disk.file_ref() == file_id);
        self.change_disk(disk_id).attribute("fileRef", file_id.map(str::to_owned), is_there);
        self
    }

    /// Removes a disk.  Nothing may refer to it any more.
    pub fn remove_disk(&mut self, disk_id: &str) -> &mut Self {
        self.change_disk(disk_id).is_removed = true;
        self
    }

    fn file(&self, id: &str) -> Option<&FileRef> {
        self.parts.file(id)
    }

    fn disk(&self, id: &str) -> Option<&Disk> {
        self.parts.disk(id)
    }

    fn change_file(&mut self, id: &str) -> &mut Change {
        self.changes.files.entry(id.to_owned()).or_default()
    }

    fn change_disk(&mut self, id: &str) -> &mut Change {
        self.changes.disks.entry(id.to_owned()).or_default()
    }
}

impl Changes {
    /// The text with everything changed but the order.
    pub(super) fn made_in<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, EnvelopeError> {
        if self.files.is_empty() && self.disks.is_empty() && self.order.is_empty() {
            return Ok(Cow::Borrowed(text));
        }
        let tree = read::tree(text)?;
        let (_, reader) = read::envelope(&tree)?;
        if reader.is_draft {
            return Err(fail(reader.root, EnvelopeFault::Draft));
        }
        let mut splices = Splices { text, all: Vec::new() };
        let by_id = |name| move |node| Some((reader.attribute(node, name)?, node));
        let nodes: HashMap<_, _> = reader.file_nodes().filter_map(by_id("id")).collect();
        for (id, change) in &self.files {
            let missing = || EnvelopeFault::UnknownFile { from: EDIT, id: shown(id) };
            let node = nodes.get(id.as_str()).ok_or_else(|| fail(reader.root, missing()))?;
            splices.change(reader, *node, change);
        }
        let nodes: HashMap<_, _> = reader.disk_nodes().filter_map(by_id("diskId")).collect();
        for (id, change) in &self.disks {
            let missing = || EnvelopeFault::UnknownDisk { from: EDIT, id: shown(id) };
            let node = nodes.get(id.as_str()).ok_or_else(|| fail(reader.root, missing()))?;
            splices.change(reader, *node, change);
        }
        Ok(splices.made())
    }
}

/// The text with its references in the order of `names`, then the others as they were.
pub(super) fn ordered(text: &str, references: &[FileRef], names: &[FileName]) -> String {
    // Of a name that is there twice the first place counts.
    let places = names.iter().enumerate().rev().map(|(place, name)| (name, place));
    let places: HashMap<&FileName, usize> = places.collect();
    let rank = |file: &&FileRef| places.get(file.href()).copied().unwrap_or(names.len());
    let mut sorted: Vec<&FileRef> = references.iter().collect();
    sorted.sort_by_key(rank);
    let mut splices = Splices { text, all: Vec::new() };
    for (place, file) in references.iter().zip(sorted) {
        splices.put(place.at.clone(), text.get(file.at.clone()).unwrap_or_default().to_owned());
    }
    splices.made().into_owned()
}

/// Pieces of a text that are replaced.
#[derive(Debug)]
struct Splices<'t> {
    text: &'t str,
    /// None overlaps another; those at one place stand in order.
    all: Vec<(Range<usize>, String)>,
}

impl<'t> Splices<'t> {
    fn put(&mut self, place: Range<usize>, text: String) {
        self.all.push((place, text));
    }

    fn change(&mut self, reader: Reader<'_, '_>, node: Node<'_, '_>, change: &Change) {
        if change.is_removed {
            let range = node.range();
            return self.put(self.without_blanks(range.start)..range.end, String::new());
        }
        for (name, value) in &change.attributes {
            self.attribute(reader, node, name, value.as_deref());
        }
        if let Some(bytes) = change.capacity_bytes {
            let unit = reader.attribute(node, CAPACITY_UNITS).unwrap_or("byte");
            let in_units = units::bytes_of_unit(unit)
                .filter(|unit_bytes| bytes.is_multiple_of(*unit_bytes))
                .map(|unit_bytes| bytes / unit_bytes);
            let capacity = in_units.unwrap_or(bytes).to_string();
            self.attribute(reader, node, "capacity", Some(&capacity));
            if in_units.is_none() {
                self.attribute(reader, node, CAPACITY_UNITS, None);
            }
        }
    }

    /// Sets, inserts or drops an attribute of an element that has one of OVF.
    fn attribute(
        &mut self,
        reader: Reader<'_, '_>,
        node: Node<'_, '_>,
        name: &str,
        value: Option<&str>,
    ) {
        let range_of = |name| node.attribute_node((reader.ovf, name)).map(|found| found.range());
        match (range_of(name), value) {
            (None, None) => {}
            (Some(range), None) => {
                self.put(self.without_blanks(range.start)..range.end, String::new());
            }
            (Some(range), Some(value)) => {
                // The parser's own range of the value is wrong behind names of 64 KiB.
                let (start, quote) = self.value_of(&range);
                self.put(start..range.end.saturating_sub(1), escaped(value, quote));
            }
            (None, Some(value)) => {
                // An attribute is in a namespace by its prefix only, and that by which the element
                // was found has the right one.
                let known = range_of("id").or_else(|| range_of("diskId")).unwrap_or_default();
                let known = self.text.get(known).unwrap_or_default();
                let prefix = known.split_once(':').map_or("ovf", |(prefix, _)| prefix);
                let last = node.attributes().map(|attribute| attribute.range().end).max();
                let end = last.unwrap_or_default();
                self.put(end..end, format!(" {prefix}:{name}=\"{}\"", escaped(value, '"')));
            }
        }
    }

    /// Where the value of an attribute starts, and what stands around it.
    fn value_of(&self, attribute: &Range<usize>) -> (usize, char) {
        let text = self.text.get(attribute.clone()).unwrap_or_default();
        let quote = if text.ends_with('\'') { '\'' } else { '"' };
        let opening = text.find(quote).map_or(text.len(), |at| at + 1);
        (attribute.start + opening, quote)
    }

    /// Start of the blanks before a place.
    fn without_blanks(&self, at_byte: usize) -> usize {
        let before = self.text.get(..at_byte).unwrap_or_default();
        before.trim_end_matches(BLANKS).len()
    }

    fn made(mut self) -> Cow<'t, str> {
        if self.all.is_empty() {
            return Cow::Borrowed(self.text);
        }
        self.all.sort_by_key(|(place, _)| place.start);
        let mut made = String::with_capacity(self.text.len());
        let mut from = 0;
        for (place, text) in &self.all {
            made.push_str(self.text.get(from..place.start).unwrap_or_default());
            made.push_str(text);
            from = place.end;
        }
        made.push_str(self.text.get(from..).unwrap_or_default());
        Cow::Owned(made)
    }
}

/// A value as it stands between quotes, also after it has been normalised by a parser.
fn escaped(value: &str, quote: char) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '"' if quote == '"' => text.push_str("&quot;"),
            '\'' if quote == '\'' => text.push_str("&apos;"),
            '\t' => text.push_str("&#9;"),
            '\n' => text.push_str("&#10;"),
            '\r' => text.push_str("&#13;"),
            _ => text.push(character),
        }
    }
    text
}

/// What refers to an element that is not there.
const EDIT: &str = "the edit";

/// Unit of a capacity.
const CAPACITY_UNITS: &str = "capacityAllocationUnits";

/// White space of XML.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];
