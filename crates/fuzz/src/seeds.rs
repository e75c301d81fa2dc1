//! What the fuzz targets start from.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use ovftransfer_ovf::FileName;
use ovftransfer_ovf::ova::Writer;
use ovftransfer_vmdk::Header;
use ovftransfer_vmdk::Marker;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::StreamWriter;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// If `FUZZ_SEEDS` names a folder, writes the seeds of a target to it, and ends the process.
///
/// Part of each target instead of a program of its own, because only targets can be linked with the
/// flags of a fuzz build.  `FUZZ_DESCRIPTORS` is a list of folders, parted as `PATH` is; each `.ovf`
/// file below them is a seed, too.
///
/// # Panics
///
/// If the seeds cannot be written.
pub fn seeds(target: &str) {
    let Some(folder) = env::var_os("FUZZ_SEEDS").map(PathBuf::from) else { return };
    let seeds = match target {
        "descriptor" | "edit" | "lint" => descriptors(),
        "manifest" => Ok(manifests()),
        "ova" => archives(),
        "qcow2" => Ok(qcow2_images()),
        "sparse" => sparse_disks(),
        "vmdk" => disks(),
        _ => Ok(Vec::new()),
    };
    fs::create_dir_all(&folder).expect("the folder of the seeds is made");
    for (number, bytes) in seeds.expect("the seeds are made").iter().enumerate() {
        fs::write(folder.join(format!("{number:04}")), bytes).expect("a seed is written");
    }
    std::process::exit(0);
}

fn descriptors() -> Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for folder in env::split_paths(&env::var_os("FUZZ_DESCRIPTORS").unwrap_or_default()) {
        find(&folder, &mut paths)?;
    }
    paths.sort();
    let mut descriptors = Vec::new();
    for path in paths {
        descriptors.push(fs::read(path)?);
    }
    descriptors.retain(|bytes| bytes.len() <= SEED_BYTES_MAX);
    Ok(descriptors)
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ovf")) {
            found.push(path);
        }
    }
    Ok(())
}

fn manifests() -> Vec<Vec<u8>> {
    let [sha1, sha256, sha512] = [40, 64, 128].map(|len| "5a".repeat(len / 2));
    [
        format!("SHA1(vm.ovf)= {sha1}\nSHA1(disk-1.vmdk)= {sha1}\n"),
        format!("SHA256(vm.ovf)={sha256}\r\nSHA256(disk-1.vmdk)={}\r\n", sha256.to_uppercase()),
        format!("sha-512 (a (1).ovf) = {sha512}\n\n SHA1(./a)= {sha1}"),
        format!("\u{feff}SHA256(sub/ü.vmdk)= {sha256}\nSHA256(sub/ü.vmdk)= {sha256}\n"),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// Archives of our writer, and with the headers that other writers use.
fn archives() -> Result<Vec<Vec<u8>>> {
    let long = format!("{}/{}.vmdk", "folder".repeat(15), "x".repeat(80));
    let mut archives = Vec::new();
    for names in
        [&["vm.ovf"][..], &["vm.ovf", "vm.mf", "vm.cert", "disk-1.vmdk"], &["vm.ovf", &long]]
    {
        let mut writer = Writer::new(Vec::new());
        for name in names {
            writer.append(&FileName::new(*name)?, 600, &mut [7_u8; 600].as_slice())?;
        }
        archives.push(writer.finish()?);
    }
    let descriptor = member(tar::Header::new_gnu(), "./vm.ovf", b'0', b"<Envelope/>");
    for parts in [
        member(tar::Header::new_gnu(), "././@LongLink", b'L', b"sub/disk-1.vmdk\0"),
        member(tar::Header::new_ustar(), "pax", b'x', b"19 path=sub/disk-1\n10 size=3\n"),
        member(tar::Header::new_ustar(), "pax", b'g', b"13 comment=x\n"),
        member(tar::Header::new_old(), "sub/", b'5', b""),
    ] {
        let disk = member(tar::Header::new_ustar(), "disk-1.vmdk", b'0', b"abc");
        archives.push([&descriptor[..], &parts, &disk, &[0; 1024]].concat());
    }
    Ok(archives)
}

fn member(mut header: tar::Header, path: &str, kind: u8, body: &[u8]) -> Vec<u8> {
    let name = &mut header.as_old_mut().name;
    name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(body.len() as u64);
    header.set_cksum();
    let mut bytes = [header.as_bytes(), body].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn disks() -> Result<Vec<Vec<u8>>> {
    let mut disks = Vec::new();
    let text: Vec<u8> = (0_u32..65_536).map(|at| (at / 997 % 251) as u8).collect();
    for (capacity_bytes, grains) in
        [(1 << 20, &[][..]), (1 << 20, &[0, 1, 15]), (40 << 20, &[2, 513]), (65_536 + 512, &[0])]
    {
        let mut writer = StreamWriter::new(Vec::new(), capacity_bytes, Options::default())?;
        for grain in grains {
            writer.write_grain(128 * grain, &text)?;
        }
        disks.push(compact(&writer.finish()?.0).ok_or("a disk of the usual form")?);
    }
    Ok(disks)
}

/// A sparse disk of 3 MiB in grains of 4 KiB with two of them, with and without a redundant directory;
/// descriptors; and streams.
fn sparse_disks() -> Result<Vec<Vec<u8>>> {
    let mut images = disks()?;
    for copies in [1_usize, 2] {
        let mut image = vec![0; 24 * 512];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        let (flags, grains_at) = (2 * copies as u32 - 1, 2 + 9 * copies);
        put(0, &[b"KDMV".as_slice(), &1_u32.to_le_bytes(), &flags.to_le_bytes()].concat());
        let second = 2 + 9 * (copies as u64 - 1);
        let redundant = if copies == 2 { 2 } else { 0 };
        let overhead = grains_at as u64;
        for (at, number) in
            [(12, 6144), (20, 8), (28, 1), (36, 1), (48, redundant), (56, second), (64, overhead)]
        {
            put(at, &u64::to_le_bytes(number));
        }
        put(44, &512_u32.to_le_bytes());
        put(73, b"\n \r\n");
        put(512, b"# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"x\"\n");
        for copy in 0..copies {
            let directory = 2 + 9 * copy;
            put(directory * 512, &(directory as u32 + 1).to_le_bytes());
            put(directory * 512 + 4, &(directory as u32 + 5).to_le_bytes());
            put((directory + 1) * 512 + 4, &(grains_at as u32).to_le_bytes());
            put((directory + 5) * 512 + 8, &(grains_at as u32 + 8).to_le_bytes());
        }
        image.resize((grains_at + 16) * 512, 7);
        images.push(image);
    }
    for lines in [
        "RW 8 FLAT \"flat.vmdk\" 8\nRW 8 ZERO\nRW 4 FLAT \"flat.vmdk\" 0\n",
        "RW 8 VMFS \"flat.vmdk\"\n",
    ] {
        images.push(format!("# Disk DescriptorFile\nCID=1\n{lines}").into_bytes());
    }
    Ok(images)
}

/// A disk in clusters of 512 bytes, of version 2 and 3: data, a compressed cluster, zeros; and one with
/// extended entries, whose data is its own L1 table.
fn qcow2_images() -> Vec<Vec<u8>> {
    let mut images = Vec::new();
    for version in [2_u32, 3] {
        let mut image = vec![0; 8 * 512];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"QFI\xfb");
        for (at, number) in [(4, version), (20, 9), (36, 2), (56, 1), (96, 4), (100, 104)] {
            put(at, &number.to_be_bytes());
        }
        let compressed = (1_u64 << 62) | (1 << 61) | (6 * 512);
        let zero = u64::from(version - 2);
        for (at, number) in [
            (24, 60_000),
            (40, 3 * 512),
            (48, 512),
            (512, 2 * 512),
            (3 * 512, 4 * 512),
            (4 * 512 + 8, 5 * 512),
            (4 * 512 + 24, compressed),
            (4 * 512 + 32, zero),
        ] {
            put(at, &u64::to_be_bytes(number));
        }
        for cluster in 0..8 {
            put(2 * 512 + 2 * cluster, &[0, 1]);
        }
        put(5 * 512, &[7; 512]);
        // A block that is stored.
        put(6 * 512, &[&[1, 0, 2, 0xff, 0xfd], &[9; 512][..]].concat());
        images.push(image);
    }
    let mut image = vec![0; (32 << 10) + 64];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    for (at, number) in [(4, 3_u32), (20, 14), (36, 1), (96, 4), (100, 104)] {
        put(at, &number.to_be_bytes());
    }
    let half = (1_u64 << 33) | 1;
    for (at, number) in [
        (24, 60_000),
        (40, 16 << 10),
        (72, 1 << 4),
        (16 << 10, 32 << 10),
        (32 << 10, 16 << 10),
        ((32 << 10) + 8, half),
    ] {
        put(at, &u64::to_be_bytes(number));
    }
    images.push(image);
    images
}

/// The same disk with two sectors before the first grain instead of 128, for the longer an input
/// is, the more of its changes are in vain.
fn compact(disk: &[u8]) -> Option<Vec<u8>> {
    let mut header = Header::parse(disk.first_chunk()?).ok()?;
    let cut_sectors = header.overhead_sectors - 2;
    (header.descriptor_sectors, header.overhead_sectors) = (1, 2);
    let mut small = [&header.encode(), disk.get(512..1024)?].concat();
    let mut rest = disk.get((2 + cut_sectors as usize) * 512..)?;
    while let Some((marker, body)) = rest.split_first_chunk::<512>() {
        let len = match Marker::parse(marker.first_chunk()?) {
            Marker::Grain { size_bytes, .. } => {
                (size_bytes as usize + 12).div_ceil(512) * 512 - 512
            }
            Marker::GrainTable { sectors } | Marker::GrainDirectory { sectors } => {
                sectors as usize * 512
            }
            Marker::Footer { .. } => 512,
            _ => 0,
        };
        let (body, after) = body.split_at_checked(len)?;
        small.extend_from_slice(marker);
        match Marker::parse(marker.first_chunk()?) {
            Marker::GrainTable { .. } | Marker::GrainDirectory { .. } => {
                for entry in body.as_chunks::<4>().0 {
                    let entry = u32::from_le_bytes(*entry).saturating_sub(cut_sectors as u32);
                    small.extend_from_slice(&entry.to_le_bytes());
                }
            }
            Marker::Footer { .. } => {
                let at = Header::parse(body.first_chunk()?).ok()?.gd_offset_sectors;
                header.gd_offset_sectors = at - cut_sectors;
                small.extend_from_slice(&header.encode());
            }
            _ => small.extend_from_slice(body),
        }
        rest = after;
    }
    Some(small)
}

/// Larger descriptors make every try slow, and hold nothing that smaller ones do not.
const SEED_BYTES_MAX: usize = 64 << 10;
