//! A VMDK of any sub-format, as one disk.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::check::StreamCheck;
use crate::descriptor::Descriptor;
use crate::descriptor::Extent;
use crate::error::Fault;
use crate::error::VmdkError;
use crate::header::Header;
use crate::header::SECTOR_BYTES;
use crate::image::DiskImage;
use crate::image::OnTable;
use crate::image::Units;
use crate::image::next_units;
use crate::image::read_units;
use crate::image::require_capacity;
use crate::lookup::Shared;
use crate::scan::len_u64;
use crate::sparse::SparseExtent;
use crate::storage::FileStorage;
use crate::storage::FindExtent;
use crate::storage::Storage;
use crate::storage::for_each_chunk;

/// A VMDK: monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat,
/// streamOptimized, or a descriptor of ESXi with its `-flat.vmdk`.
///
/// Deltas are refused, for their data is elsewhere, too; and so are devices and the sparse formats
/// of ESXi's own file system.
#[derive(Debug)]
pub struct VmdkImage {
    /// In the order of the disk, without gaps.
    parts: Vec<Part>,
    capacity_bytes: u64,
    unit_bytes: u64,
    descriptor: Descriptor,
    header: Option<Header>,
    /// Length of the descriptor, if it is a file of its own.
    text_bytes: u64,
}

/// What one extent of the descriptor says.
#[derive(Debug)]
struct Part {
    /// Place on the disk.
    bytes: Range<u64>,
    /// Name of the file, if the disk has several.
    file: Option<String>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Flat { storage: Arc<dyn Storage>, offset_bytes: u64 },
    Sparse(SparseExtent),
    Zero,
}

impl VmdkImage {
    /// Opens a disk by its descriptor, or by its only file.
    ///
    /// Files that a descriptor names are looked for in `folder` and nowhere else.
    ///
    /// # Errors
    ///
    /// [`VmdkError::Io`] if a file cannot be read, otherwise what is wrong with it;
    /// [`VmdkError::Extent`] says in which file.
    pub fn open(storage: Arc<dyn Storage>, folder: &Path) -> Result<Self, VmdkError> {
        Self::open_with(storage, &|name| Ok(Arc::new(FileStorage::open_in(folder, name)?)))
    }

    /// Opens a disk by its descriptor, or by its only file.
    ///
    /// Files that a descriptor names are looked for by `find_extent`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(
        storage: Arc<dyn Storage>,
        find_extent: &FindExtent<'_>,
    ) -> Result<Self, VmdkError> {
        let mut magic = [0; 4];
        if storage.len_bytes() >= len_u64(magic.len()) {
            read(&*storage, 0, &mut magic)?;
        }
        if magic == *b"KDMV" {
            Self::open_file(storage)
        } else {
            Self::open_text(&*storage, find_extent)
        }
    }

    /// Opens a disk of one sparse file, which holds its own descriptor.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_file(storage: Arc<dyn Storage>) -> Result<Self, VmdkError> {
        let sparse = SparseExtent::open(storage, Shared::new(), 0)?;
        let header = sparse.header().clone();
        // Any number, where the header has no room for a text.
        let at_byte = header.descriptor_offset_sectors.saturating_mul(SECTOR_BYTES);
        // Extents of qemu leave room for a text, and none in it.
        let text = sparse.descriptor()?.filter(|text| text.create_type().is_some());
        let Some(descriptor) = text else {
            let what = "one extent of a disk of several files, without their descriptor,";
            return Err(Fault::Unsupported { what }.at(0));
        };
        require_whole(&descriptor).map_err(|fault| fault.at(at_byte))?;
        let header_sectors = header.capacity_sectors;
        if let Some(bytes) = descriptor.capacity_bytes()
            && bytes / SECTOR_BYTES != header_sectors
        {
            let descriptor_sectors = bytes / SECTOR_BYTES;
            let fault = Fault::DescriptorCapacity { descriptor_sectors, header_sectors };
            return Err(fault.at(at_byte));
        }
        let capacity_bytes = header.capacity_bytes();
        let unit_bytes = header.grain_bytes();
        let part = Part { bytes: 0..capacity_bytes, file: None, content: Content::Sparse(sparse) };
        let (parts, header, text_bytes) = (vec![part], Some(header), 0);
        Ok(Self { parts, capacity_bytes, unit_bytes, descriptor, header, text_bytes })
    }

    /// Opens a disk whose descriptor is a file of its own.
    fn open_text(storage: &dyn Storage, find_extent: &FindExtent<'_>) -> Result<Self, VmdkError> {
        let len = usize::try_from(storage.len_bytes()).unwrap_or(usize::MAX);
        if len > DESCRIPTOR_LEN_MAX {
            return Err(Fault::NotADescriptor.at(0));
        }
        let mut text = vec![0; len];
        read(storage, 0, &mut text)?;
        let descriptor = Descriptor::parse(&text);
        let first = descriptor.text().lines().find(|line| !line.trim().is_empty());
        if !first.is_some_and(|line| line.trim().eq_ignore_ascii_case(FIRST_LINE)) {
            return Err(Fault::NotADescriptor.at(0));
        }
        require_whole(&descriptor).map_err(|fault| fault.at(0))?;

        let shared = Shared::new();
        let mut parts = Vec::new();
        let (mut end, mut unit_bytes) = (0, UNIT_BYTES);
        for (number, extent) in (0..).zip(extents(&descriptor)?) {
            let start = end;
            end = extent
                .sectors
                .checked_mul(SECTOR_BYTES)
                .and_then(|len| len.checked_add(start))
                .filter(|&end| end <= CAPACITY_BYTES_MAX)
                .ok_or_else(|| {
                    let max = CAPACITY_BYTES_MAX / SECTOR_BYTES;
                    Fault::Capacity { sectors: extent.sectors, max }.at(0)
                })?;
            let content = open_extent(&extent, end - start, find_extent, &shared, number);
            let content = content.map_err(|error| in_file(&extent.file, error))?;
            if let Content::Sparse(sparse) = &content {
                unit_bytes = unit_bytes.max(sparse.unit_bytes());
            }
            parts.push(Part { bytes: start..end, file: Some(extent.file), content });
        }
        if end == 0 {
            return Err(Fault::NotADescriptor.at(0));
        }
        let (header, text_bytes) = (None, len_u64(len));
        Ok(Self { parts, capacity_bytes: end, unit_bytes, descriptor, header, text_bytes })
    }

    /// The descriptor.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The header, if the disk is one sparse file.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Length of all its files, holes included, in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let parts = self.parts.iter().map(|part| match &part.content {
            // A file may hold several extents.
            Content::Flat { .. } => part.bytes.end - part.bytes.start,
            Content::Sparse(sparse) => sparse.storage().len_bytes(),
            Content::Zero => 0,
        });
        self.text_bytes + parts.sum::<u64>()
    }

    /// The only file, if the disk is one stream-optimized file.
    pub(crate) fn stream(&self) -> Option<&Arc<dyn Storage>> {
        match &self.parts[..] {
            [Part { file: None, content: Content::Sparse(sparse), .. }] => sparse.stream(),
            _ => None,
        }
    }

    /// Checks all extents: sparse ones by their tables, stream-optimized ones as streams; and that no
    /// two of them share a part of a file.  Memory: 48 MiB.  Returns whether the end was reached.
    pub(crate) fn check(&self, on_table: &mut OnTable<'_>) -> Result<bool, VmdkError> {
        self.check_files()?;
        for part in &self.parts {
            let Content::Sparse(sparse) = &part.content else { continue };
            let start = part.bytes.start;
            let on_table = &mut |lba_bytes: u64| on_table(start + lba_bytes);
            let checked = match sparse.stream() {
                Some(storage) => check_stream(&**storage, on_table),
                None => sparse.check(on_table),
            };
            if !checked.map_err(|error| part.error(error))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// That no two extents share a part of a file.
    fn check_files(&self) -> Result<(), VmdkError> {
        let places = self.parts.iter().filter_map(|part| {
            let file = part.file.as_deref()?;
            match &part.content {
                Content::Flat { offset_bytes, .. } => {
                    let len_bytes = part.bytes.end - part.bytes.start;
                    Some((file, *offset_bytes, offset_bytes + len_bytes))
                }
                Content::Sparse(_) => Some((file, 0, u64::MAX)),
                Content::Zero => None,
            }
        });
        let mut places: Vec<_> = places.collect();
        places.sort_unstable();
        for pair in places.windows(2) {
            let [(file, _, end), (next, start, _)] = pair else { continue };
            if file == next && start < end {
                return Err(in_file(file, Fault::Overlap { what: "an extent" }.at(*start)));
            }
        }
        Ok(())
    }

    /// The part that holds byte `at_byte`.
    fn part(&self, at_byte: u64) -> Option<&Part> {
        let number = self.parts.partition_point(|part| part.bytes.end <= at_byte);
        self.parts.get(number)
    }
}

impl DiskImage for VmdkImage {
    fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    fn read_at(&self, mut at_byte: u64, mut buffer: &mut [u8]) -> Result<(), VmdkError> {
        require_capacity(self.capacity_bytes, at_byte, buffer.len())?;
        while !buffer.is_empty() {
            let Some(part) = self.part(at_byte) else { break };
            let left = usize::try_from(part.bytes.end - at_byte).unwrap_or(usize::MAX);
            let (piece, rest) = buffer.split_at_mut(buffer.len().min(left));
            let read = part.content.read_at(at_byte - part.bytes.start, piece);
            read.map_err(|error| part.error(error))?;
            at_byte += len_u64(piece.len());
            buffer = rest;
        }
        Ok(())
    }

    fn next_data(&self, from_byte: u64) -> Result<Option<Range<u64>>, VmdkError> {
        let mut from_byte = from_byte;
        while let Some(part) = self.part(from_byte) {
            let start = part.bytes.start;
            let data = part.content.next_data(from_byte - start, part.bytes.end - start);
            if let Some(data) = data.map_err(|error| part.error(error))? {
                return Ok(Some(data.start + start..data.end + start));
            }
            from_byte = part.bytes.end;
        }
        Ok(None)
    }

    fn unit_bytes(&self) -> u64 {
        self.unit_bytes
    }
}

impl Part {
    fn error(&self, error: VmdkError) -> VmdkError {
        match &self.file {
            Some(file) => in_file(file, error),
            None => error,
        }
    }
}

impl Content {
    fn read_at(&self, at_byte: u64, buffer: &mut [u8]) -> Result<(), VmdkError> {
        match self {
            Self::Flat { storage, offset_bytes } => {
                read(&**storage, offset_bytes + at_byte, buffer)
            }
            Self::Sparse(sparse) => read_units(sparse, at_byte, buffer),
            Self::Zero => {
                buffer.fill(0);
                Ok(())
            }
        }
    }

    /// In an extent of `len_bytes`.
    fn next_data(&self, from: u64, len_bytes: u64) -> Result<Option<Range<u64>>, VmdkError> {
        match self {
            Self::Flat { storage, offset_bytes: offset } => {
                let at_byte = offset + from;
                let data = storage.next_data(at_byte);
                let data = data.map_err(|source| VmdkError::Io { at_byte, source })?;
                Ok(data
                    .map(|range| range.start - offset..(range.end - offset).min(len_bytes))
                    .filter(|range| !range.is_empty()))
            }
            Self::Sparse(sparse) => next_units(sparse, from),
            Self::Zero => Ok(None),
        }
    }
}

/// Checks a stream-optimized extent as a stream.  Returns whether the end was reached.
fn check_stream(storage: &dyn Storage, on_table: &mut OnTable<'_>) -> Result<bool, VmdkError> {
    let mut check = StreamCheck::new();
    let whole = for_each_chunk(storage, &mut |chunk| {
        check.push(chunk)?;
        Ok(on_table(check.position().lba_bytes))
    })?;
    if whole {
        check.finish()?;
    }
    Ok(whole)
}

/// All lines that speak of extents; one that cannot be read would move all data behind it.
fn extents(descriptor: &Descriptor) -> Result<Vec<Extent>, VmdkError> {
    let mut extents = Vec::new();
    for line in descriptor.text().lines().filter(|line| Extent::is_line(line)) {
        let extent = Extent::parse(line).ok_or_else(|| {
            let line = line.trim().chars().take(LINE_CHARS_SHOWN).collect();
            Fault::ExtentLine { line }.at(0)
        })?;
        extents.push(extent);
    }
    if extents.len() > EXTENTS_MAX {
        return Err(Fault::ExtentCount { found: extents.len(), max: EXTENTS_MAX }.at(0));
    }
    Ok(extents)
}

fn open_extent(
    extent: &Extent,
    len_bytes: u64,
    find_extent: &FindExtent<'_>,
    shared: &Arc<Shared>,
    number: u32,
) -> Result<Content, VmdkError> {
    if extent.access == "NOACCESS" {
        return Err(Fault::Unsupported { what: "an extent without access" }.at(0));
    }
    match extent.kind.as_str() {
        "ZERO" => Ok(Content::Zero),
        "FLAT" | "VMFS" => {
            let storage = open_beside(find_extent, &extent.file)?;
            let offset_bytes = extent.offset_sectors.checked_mul(SECTOR_BYTES);
            let file_bytes = storage.len_bytes();
            match offset_bytes.and_then(|from| Some((from, from.checked_add(len_bytes)?))) {
                Some((offset_bytes, end)) if end <= file_bytes => {
                    Ok(Content::Flat { storage, offset_bytes })
                }
                _ => {
                    let at_byte = offset_bytes.unwrap_or(u64::MAX);
                    Err(Fault::OutsideFile { what: "the extent", len_bytes, file_bytes }
                        .at(at_byte))
                }
            }
        }
        "SPARSE" => {
            let storage = open_beside(find_extent, &extent.file)?;
            let sparse = SparseExtent::open(storage, Arc::clone(shared), number)?;
            let header_sectors = sparse.header().capacity_sectors;
            if header_sectors != extent.sectors {
                let descriptor_sectors = extent.sectors;
                let fault = Fault::DescriptorCapacity { descriptor_sectors, header_sectors };
                return Err(fault.at(0));
            }
            Ok(Content::Sparse(sparse))
        }
        kind => {
            let kind = kind.chars().take(LINE_CHARS_SHOWN).collect();
            Err(Fault::ExtentKind { kind }.at(0))
        }
    }
}

/// Opens a file that a descriptor names.  It lies beside the descriptor, or is not opened.
fn open_beside(find_extent: &FindExtent<'_>, name: &str) -> Result<Arc<dyn Storage>, VmdkError> {
    let plain =
        !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0']);
    if !plain {
        return Err(Fault::ExtentName.at(0));
    }
    find_extent(name).map_err(|source| VmdkError::Io { at_byte: 0, source })
}

/// That the disk does not depend on another one.
fn require_whole(descriptor: &Descriptor) -> Result<(), Fault> {
    if descriptor.parent_content_id().is_some() {
        return Err(Fault::Unsupported { what: "a delta of another disk" });
    }
    Ok(())
}

fn in_file(file: &str, error: VmdkError) -> VmdkError {
    VmdkError::Extent { file: file.to_owned(), error: Box::new(error) }
}

fn read(storage: &dyn Storage, at_byte: u64, buffer: &mut [u8]) -> Result<(), VmdkError> {
    storage.read_exact_at(at_byte, buffer).map_err(|source| VmdkError::Io { at_byte, source })
}

/// How a descriptor begins.
const FIRST_LINE: &str = "# Disk DescriptorFile";

/// 2 MiB: each of the most extents with a long name.
const DESCRIPTOR_LEN_MAX: usize = 2 << 20;

/// A disk of 16 TiB in extents of 2 GiB; each takes an open file.
const EXTENTS_MAX: usize = 8192;

/// 64 TiB, as for a sparse extent.
const CAPACITY_BYTES_MAX: u64 = 64 << 40;

/// How much of a line that cannot be read is shown.
const LINE_CHARS_SHOWN: usize = 80;

/// For a disk of flat files.
const UNIT_BYTES: u64 = 64 << 10;
