//! From bytes to a tree, also where a namespace prefix is not declared.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::BytesStart;
use quick_xml::events::Event;
use roxmltree::Document;
use roxmltree::ParsingOptions;

use super::place::Place;
use super::report::Code;
use super::report::Report;
use crate::envelope::DESCRIPTOR_BYTES_MAX;
use crate::envelope::EnvelopeFault;
use crate::envelope::Position;
use crate::envelope::scan;
use crate::name::shown;

/// The text that is parsed: the descriptor, perhaps with declarations that it lacks.
#[derive(Debug)]
pub(super) struct Text<'a> {
    original: &'a str,
    /// The text with the missing declarations in its root element.
    mended: Option<String>,
    /// Where they were put, and how many bytes they are.
    inserted: (usize, usize),
}

impl<'a> Text<'a> {
    /// The text of a descriptor, if it is within the bounds of one.
    ///
    /// The bounds are those of [`Envelope::parse`](crate::Envelope::parse).
    pub(super) fn read(bytes: &'a [u8], report: &mut Report) -> Result<Self, Place<'a>> {
        if bytes.len() > DESCRIPTOR_BYTES_MAX {
            let message =
                format!("the descriptor exceeds the limit of {DESCRIPTOR_BYTES_MAX} bytes");
            report.at(0, Code::Limit, message);
            return Err(Place::of(""));
        }
        let text = match str::from_utf8(bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => {
                let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let message = if bytes.starts_with(GZIP_MAGIC) {
                    "this is packed with gzip; unpack it first"
                } else {
                    "the text is not UTF-8 from here on"
                };
                report.at(good.len(), Code::Encoding, message.to_owned());
                return Err(Place::of(str::from_utf8(good).unwrap_or_default()));
            }
        };
        if let Err(error) = scan::check(text) {
            let code = if matches!(error.fault(), EnvelopeFault::DocType) {
                Code::Doctype
            } else if matches!(error.fault(), EnvelopeFault::Limit { .. }) {
                Code::Limit
            } else {
                Code::Xml
            };
            let Position { line, column } = error.position();
            report.at(byte_at(text, line, column), code, error.fault().to_string());
            return Err(Place::of(text));
        }
        let mut read = Self { original: text, mended: None, inserted: (0, 0) };
        read.mend(report);
        Ok(read)
    }

    /// Declares the prefixes that are not, so that what they are used for can be checked as well.
    fn mend(&mut self, report: &mut Report) {
        let Some(Undeclared { root_name_end, first_uses, ovf }) = undeclared(self.original) else {
            return;
        };
        if first_uses.is_empty() {
            return;
        }
        let declarations: String = first_uses
            .keys()
            .map(|prefix| format!(" xmlns:{prefix}=\"{}\"", meant_by(prefix, ovf)))
            .collect();
        for (prefix, at_byte) in &first_uses {
            let message = format!("the namespace prefix \"{}\" is not declared", shown(prefix));
            let moved = if *at_byte > root_name_end { declarations.len() } else { 0 };
            report.at(at_byte + moved, Code::XmlPrefix, message);
        }
        let (before, after) = self.original.split_at(root_name_end);
        self.mended = Some([before, &declarations, after].concat());
        self.inserted = (root_name_end, declarations.len());
    }

    /// Parses the text.
    pub(super) fn parse(&self, report: &mut Report) -> Option<Document<'_>> {
        let text = self.mended.as_deref().unwrap_or(self.original);
        let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
        match Document::parse_with_options(text, options) {
            Ok(tree) => Some(tree),
            Err(error) => {
                let (code, message) = if matches!(error, roxmltree::Error::NodesLimitReached) {
                    let message = format!("elements and texts exceed the limit of {NODES_MAX}");
                    (Code::Limit, message)
                } else {
                    (Code::Xml, format!("not well-formed XML: {}", shown(&error.to_string())))
                };
                let position = error.pos();
                let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
                let (line, column) = (number(position.row), number(position.col));
                report.at(byte_at(text, line, column), code, message);
                None
            }
        }
    }

    /// How places in the parsed text are places in the descriptor.
    pub(super) fn place(&self) -> Place<'a> {
        Place::mended(self.original, self.inserted)
    }
}

/// Prefixes that are used without being declared.
struct Undeclared {
    /// The byte behind the root element's name.
    root_name_end: usize,
    /// Each prefix with the byte of the first tag that uses it.
    first_uses: BTreeMap<String, usize>,
    /// The namespace of OVF that the root declares.
    ovf: &'static str,
}

/// Reads the tags once, with the prefixes that each declares.
fn undeclared(text: &str) -> Option<Undeclared> {
    let mut reader = Reader::from_str(text);
    // Prefixes that are in scope, and how many of them were before each open element.
    let mut declared: Vec<String> = vec!["xml".to_owned(), "xmlns".to_owned()];
    let mut before: Vec<usize> = Vec::new();
    let mut found: Option<Undeclared> = None;
    loop {
        let at_byte = usize::try_from(reader.buffer_position()).ok()?;
        let event = reader.read_event().ok()?;
        let (tag, is_open) = match &event {
            Event::Start(tag) => (tag, true),
            Event::Empty(tag) => (tag, false),
            Event::End(_) => {
                declared.truncate(before.pop().unwrap_or(2));
                continue;
            }
            Event::Eof => return found,
            Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::DocType(_)
            | Event::GeneralRef(_)
            | Event::PI(_)
            | Event::Text(_) => continue,
        };
        let scope = declared.len();
        let used = prefixes(tag, &mut declared);
        let found = found.get_or_insert_with(|| Undeclared {
            root_name_end: at_byte + 1 + tag.name().as_ref().len(),
            first_uses: BTreeMap::new(),
            ovf: namespace_in(tag),
        });
        for prefix in used {
            if !declared.contains(&prefix) && found.first_uses.len() < PREFIXES_MAX {
                found.first_uses.entry(prefix).or_insert(at_byte);
            }
        }
        if is_open {
            before.push(scope);
        } else {
            declared.truncate(scope);
        }
    }
}

/// The prefixes that a tag uses; those that it declares are added to the others.
fn prefixes(tag: &BytesStart<'_>, declared: &mut Vec<String>) -> Vec<String> {
    let mut used: Vec<String> = Vec::new();
    used.extend(tag.name().prefix().map(|prefix| prefix.as_ref().to_owned()));
    let mut attributes = tag.attributes();
    attributes.with_checks(false);
    for attribute in attributes.flatten() {
        if let Some(prefix) = attribute.key.as_ref().strip_prefix("xmlns:") {
            declared.push(prefix.to_owned());
        } else if let Some(prefix) = attribute.key.prefix()
            && !used.iter().any(|one| one == prefix.as_ref())
        {
            used.push(prefix.as_ref().to_owned());
        }
    }
    used
}

/// The namespace of OVF among those that the root element declares.
fn namespace_in(root: &BytesStart<'_>) -> &'static str {
    let mut attributes = root.attributes();
    attributes.with_checks(false);
    let values: Vec<_> = attributes.flatten().map(|attribute| attribute.value).collect();
    let declares = |uri: &&str| values.iter().any(|value| value.as_ref() == *uri);
    [OVF_1, OVF_2, OVF_DRAFT].into_iter().find(declares).unwrap_or(OVF_1)
}

/// The namespace that is meant by a prefix that descriptors commonly have.
fn meant_by<'a>(prefix: &str, ovf: &'a str) -> &'a str {
    match prefix {
        "cim" => "http://schemas.dmtf.org/wbem/wscim/1/common",
        "rasd" => RASD,
        "vmw" => VMW,
        "vssd" => VSSD,
        "xsi" => XSI,
        _ if prefix.starts_with("ovf") => ovf,
        _ => "urn:undeclared",
    }
}

/// The byte at a line and a character of it, both counted from 1.
fn byte_at(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n').take(line.saturating_sub(1));
    let start: usize = lines.map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}

/// Namespace of OVF 1.0 and 1.1.
pub(super) const OVF_1: &str = "http://schemas.dmtf.org/ovf/envelope/1";

/// Namespace of OVF 2.0 and 2.1.
pub(super) const OVF_2: &str = "http://schemas.dmtf.org/ovf/envelope/2";

/// Namespace of the drafts that are called OVF 0.9.
pub(super) const OVF_DRAFT: &str = "http://www.vmware.com/schema/ovf/1/envelope";

/// Namespace of VMware's extensions.
pub(super) const VMW: &str = "http://www.vmware.com/schema/ovf";

/// Namespace of `xsi:type`.
pub(super) const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Namespace of the elements of an item.
pub(super) const RASD: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData";

/// Namespace of the elements of a `System`.
pub(super) const VSSD: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData";

/// Most nodes of the tree, as in the envelope: at 4 MiB, text of ordinary density has 150,000.
const NODES_MAX: u32 = 200_000;

/// Undeclared prefixes that are told.  One is an error already.
const PREFIXES_MAX: usize = 16;

/// What a file begins with that is packed with gzip (RFC 1952).
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
