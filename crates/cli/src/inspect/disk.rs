//! A disk that is a file of its own.

use ovftransfer::DiskDescriptor;
use ovftransfer::DiskHeader;
use ovftransfer::DiskKind;
use ovftransfer::DiskOverview;
use ovftransfer::SECTOR_BYTES;
use serde_json::Value;
use serde_json::json;

use super::text::section;
use crate::console::Console;
use crate::console::without_nulls;
use crate::disk::word;
use crate::format;

/// Shows the header, the descriptor, and how much there is.
pub(super) fn show(disk: &DiskOverview, console: &Console) {
    if console.json {
        console.object("disk", without_nulls(object(disk)));
        return;
    }
    console.data(format::printable(&format!("{}: {}", disk.path.display(), word(disk))));
    console.data(format!(
        "{}, {} hold data, file of {}",
        format::size(disk.capacity_bytes),
        format::size(disk.populated_bytes),
        format::size(disk.file_bytes)
    ));
    match &disk.kind {
        DiskKind::Qcow2 { version, cluster_bytes, has_extended_entries } => {
            let mut rows = vec![
                vec!["version".to_owned(), version.to_string()],
                vec!["cluster".to_owned(), format::size(*cluster_bytes)],
            ];
            if *has_extended_entries {
                rows.push(vec!["entries".to_owned(), "extended".to_owned()]);
            }
            section(console, "header", rows, &[]);
        }
        DiskKind::Vmdk { header, descriptor } => {
            if let Some(header) = header {
                section(console, "header", header_rows(header), &[]);
            }
            let value = |key: &str| {
                descriptor.value(key).map(|value| vec![key.to_owned(), value.to_owned()])
            };
            let rows = ["createType", "CID", "parentCID"].into_iter().filter_map(value).collect();
            section(console, "descriptor", rows, &[]);
            let extents = descriptor.extents().into_iter().map(|extent| {
                let size = format::size(extent.sectors.saturating_mul(SECTOR_BYTES));
                vec![extent.file, extent.kind, extent.access, size]
            });
            section(console, "extents", extents.collect(), &[3]);
            let settings = descriptor.settings();
            let settings = settings.map(|(key, value)| vec![key.to_owned(), value.to_owned()]);
            section(console, "disk data base", settings.collect(), &[]);
        }
        DiskKind::Raw | _ => {}
    }
}

fn header_rows(header: &DiskHeader) -> Vec<Vec<String>> {
    let place = |sector: Option<u64>| match sector {
        Some(sector) => format!("at byte {}", sector.saturating_mul(SECTOR_BYTES)),
        None => "behind the grains".to_owned(),
    };
    let mut rows = vec![
        vec!["version".to_owned(), header.version.to_string()],
        vec!["flags".to_owned(), flags(header).join(", ")],
        vec!["grain".to_owned(), format::size(header.grain_bytes())],
        vec!["directory".to_owned(), place(header.directory_sector())],
    ];
    if let Some(sector) = header.redundant_sector() {
        rows.push(vec!["redundant directory".to_owned(), place(Some(sector))]);
    }
    let overhead = header.overhead_sectors.saturating_mul(SECTOR_BYTES);
    rows.push(vec!["overhead".to_owned(), format::size(overhead)]);
    if header.unclean_shutdown {
        rows.push(vec!["shutdown".to_owned(), "not clean".to_owned()]);
    }
    rows
}

fn flags(header: &DiskHeader) -> Vec<&'static str> {
    let known = [
        (DiskHeader::FLAG_NEW_LINES, "new_lines"),
        (DiskHeader::FLAG_REDUNDANT, "redundant"),
        (DiskHeader::FLAG_ZEROED, "zeroed"),
        (DiskHeader::FLAG_COMPRESSED, "compressed"),
        (DiskHeader::FLAG_MARKERS, "markers"),
    ];
    let set = known.into_iter().filter(|(flag, _)| header.flags & flag != 0);
    set.map(|(_, word)| word).collect()
}

fn object(disk: &DiskOverview) -> Value {
    let mut object = json!({
        "disk": disk.path.display().to_string(),
        "format": disk.format.to_string(),
        "capacity_bytes": disk.capacity_bytes,
        "populated_bytes": disk.populated_bytes,
        "bytes": disk.file_bytes,
    });
    let details = match &disk.kind {
        DiskKind::Qcow2 { version, cluster_bytes, has_extended_entries } => json!({
            "format_version": version,
            "cluster_bytes": cluster_bytes,
            "has_extended_entries": has_extended_entries,
        }),
        DiskKind::Vmdk { header, descriptor } => descriptor_object(descriptor, header.as_ref()),
        DiskKind::Raw | _ => json!({}),
    };
    if let (Some(object), Value::Object(details)) = (object.as_object_mut(), details) {
        object.extend(details);
    }
    object
}

fn descriptor_object(descriptor: &DiskDescriptor, header: Option<&DiskHeader>) -> Value {
    let extents = descriptor.extents().into_iter().map(|extent| {
        json!({
            "file": extent.file,
            "kind": extent.kind,
            "access": extent.access,
            "bytes": extent.sectors.saturating_mul(SECTOR_BYTES),
            "offset_bytes": extent.offset_sectors.saturating_mul(SECTOR_BYTES),
        })
    });
    let settings = descriptor.settings().map(|(key, value)| json!({ "key": key, "value": value }));
    json!({
        "create_type": descriptor.create_type(),
        "content_id": descriptor.value("CID"),
        "parent_content_id": descriptor.value("parentCID"),
        "extents": extents.collect::<Vec<_>>(),
        "settings": settings.collect::<Vec<_>>(),
        "header": header.map(header_object),
    })
}

fn header_object(header: &DiskHeader) -> Value {
    let bytes = |sectors: u64| sectors.saturating_mul(SECTOR_BYTES);
    let text = (header.descriptor_offset_sectors != 0).then_some(header);
    without_nulls(json!({
        "format_version": header.version,
        "flags": flags(header),
        "grain_bytes": header.grain_bytes(),
        "descriptor_at_byte": text.map(|header| bytes(header.descriptor_offset_sectors)),
        "descriptor_bytes": text.map(|header| bytes(header.descriptor_sectors)),
        "directory_at_byte": header.directory_sector().map(bytes),
        "redundant_directory_at_byte": header.redundant_sector().map(bytes),
        "overhead_bytes": bytes(header.overhead_sectors),
        "is_unclean": header.unclean_shutdown,
    }))
}
