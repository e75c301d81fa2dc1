//! Disks as stream-optimized VMDK, for downloads and packages.

use std::io::Write;

use ovftransfer_vmdk::{Level, Options, StreamWriter, Summary, VmdkError};

use crate::disk::{Disk, grain_buffer};
use crate::generate::GRAIN_BYTES;

/// Writes `disk` to `sink`, grain by grain.
///
/// As fast as it goes: what compresses is compressed a little, what does not is stored, and what
/// repeats is packed once.
pub(crate) fn write_disk<W: Write>(disk: &Disk, sink: W) -> Result<(W, Summary), VmdkError> {
    let level = Level::new(1).unwrap_or_default();
    let options = Options::default().level(level).store_incompressible(true);
    let mut writer = StreamWriter::new(sink, disk.capacity_bytes(), options)?;
    let mut buffer = grain_buffer();
    let mut from = 0;
    let repeats = disk.repeats();
    let mut is_packed = false;
    while let Some(grain) = disk.next_grain(from) {
        if repeats && is_packed && disk.grain_bytes(grain) == GRAIN_BYTES {
            writer.repeat_grain(grain * GRAIN_SECTORS)?;
            from = grain + 1;
            continue;
        }
        is_packed = true;
        disk.read_grain(grain, &mut buffer)
            .map_err(|source| VmdkError::Io { at_byte: writer.file_bytes(), source })?;
        let len = usize::try_from(disk.grain_bytes(grain)).unwrap_or(buffer.len());
        writer.write_grain(grain * GRAIN_SECTORS, buffer.get(..len).unwrap_or(&buffer))?;
        from = grain + 1;
    }
    writer.finish()
}

/// Sectors of 512 bytes in a grain.
const GRAIN_SECTORS: u64 = GRAIN_BYTES / 512;
