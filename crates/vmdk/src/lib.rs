//! Stream-optimized VMDK, the one disk format that vSphere takes and gives through a lease; and the
//! other formats that disks come in.
//!
//! A disk is a row of *grains* of 64 KiB; those that hold data follow one another, compressed,
//! each behind a marker that says where it belongs.  Grain tables and a grain directory point back
//! to them, a footer and an end-of-stream marker close the file (VMware Virtual Disk Format 1.1,
//! stream-optimized compressed sparse extents):
//!
//! ```text
//! header | descriptor | grain grain … table | grain … table | directory | footer | end of stream
//! ```
//!
//! - [`StreamCheck`] is pushed the bytes of a file as they pass, checks their structure without
//!   inflating anything, and knows how far the disk has come;
//! - [`GrainDecoder`] is pushed the same bytes and hands on the grains, [`GrainReader`] reads them
//!   from a source;
//! - [`DeepCheck`] does both, and inflates with all cores;
//! - [`ParallelWriter`] writes a file with all cores, [`StreamWriter`] grain by grain with one.
//!
//! Disks that are read by position, of whatever format, are [`DiskImage`]s: [`RawImage`],
//! [`VmdkImage`] for all sub-formats of VMDK, [`Qcow2Image`]; [`open_image`] opens what a file is.
//!
//! [`to_stream`] and [`to_raw`] convert them with all cores; [`check_image`] checks an [`AnyImage`] by
//! its tables, [`check_image_deep`] by its data, too.
//!
//! The others go through a file once, forward, in constant memory.  Files of VMware, VirtualBox,
//! qemu and open-vmdk are read; the last two put the tables before the grains, and qemu writes
//! neither footer nor end-of-stream marker.
//!
//! ```
//! use ovftransfer_vmdk::{GrainReader, Options, StreamCheck, StreamWriter};
//!
//! // A disk of 4 MiB with data in one place.
//! let mut writer = StreamWriter::new(Vec::new(), 4 << 20, Options::default())?;
//! writer.write_grain(256, &[b'x'; 65_536])?;
//! let (file, _) = writer.finish()?;
//!
//! let mut check = StreamCheck::new();
//! check.push(&file)?;
//! assert_eq!(check.finish()?.capacity_bytes(), 4 << 20);
//!
//! let mut reader = GrainReader::new(file.as_slice())?;
//! let grain = reader.next_grain()?.expect("one grain");
//! assert_eq!(grain.lba_sectors(), 256);
//!
//! // A file that was cut is never taken for a whole one.
//! let mut check = StreamCheck::new();
//! check.push(&file[..file.len() - 1])?;
//! assert!(check.finish().is_err());
//! # Ok::<(), ovftransfer_vmdk::VmdkError>(())
//! ```

mod assemble;
mod batch;
mod check;
mod convert;
mod decode;
mod deep;
mod descriptor;
mod error;
mod examine;
mod front;
mod gather;
mod header;
mod image;
mod inflate;
mod lookup;
mod marker;
mod occupied;
mod open;
mod pack;
mod parallel;
mod pool;
mod qcow2;
mod raw;
mod read;
mod scan;
mod sparse;
mod storage;
mod tables;
mod vmdk;
mod write;

pub use check::StreamCheck;
pub use convert::OnProgress;
pub use convert::Progress;
pub use convert::RawSummary;
pub use convert::to_raw;
pub use convert::to_stream;
pub use decode::GrainDecoder;
pub use decode::OnGrain;
pub use deep::DeepCheck;
pub use deep::OnAnyGrain;
pub use descriptor::Descriptor;
pub use descriptor::Extent;
pub use error::ConvertError;
pub use error::Fault;
pub use error::VmdkError;
pub use examine::ImageSummary;
pub use examine::check_image;
pub use examine::check_image_deep;
pub use header::GD_AT_END;
pub use header::Header;
pub use header::SECTOR_BYTES;
pub use image::DiskImage;
pub use marker::MARKER_BYTES;
pub use marker::Marker;
pub use open::AnyImage;
pub use open::Format;
pub use open::open_image;
pub use open::open_storage;
pub use pack::Level;
pub use pack::Options;
pub use parallel::ParallelWriter;
pub use qcow2::Qcow2Image;
pub use raw::RawImage;
pub use read::Grain;
pub use read::GrainReader;
pub use scan::Position;
pub use scan::Summary;
pub use storage::FileStorage;
pub use storage::FindExtent;
pub use storage::Storage;
pub use vmdk::VmdkImage;
pub use write::StreamWriter;
