//! Data as machines have it.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// A file system with so much of the programs and libraries of this machine, a third of it free.
///
/// # Errors
///
/// There is no `mkfs.ext4`, or no room.
pub fn make_image(folder: &Path, mib: u64) -> Result<PathBuf> {
    let tree = folder.join("tree");
    fs::create_dir(&tree)?;
    let mut left = mib << 20;
    let mut count = 0;
    for source in SOURCES {
        copy_some(Path::new(source), &tree, &mut left, &mut count)?;
    }
    let image = folder.join("image.raw");
    File::create(&image)?.set_len((mib << 20) / 2 * 3)?;
    let made = Command::new("mkfs.ext4")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .args(["-q", "-d"])
        .args([&tree, &image])
        .status()
        .context("mkfs.ext4 is needed (Debian package `e2fsprogs`)")?;
    ensure!(made.success(), "mkfs.ext4 failed: {made}");
    fs::remove_dir_all(tree)?;
    Ok(image)
}

/// Copies files below `from`, in the order of their names, until there is no room left.
fn copy_some(from: &Path, to: &Path, left: &mut u64, count: &mut u64) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    for path in paths {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() {
            copy_some(&path, to, left, count)?;
        } else if metadata.is_file() && metadata.len() <= *left {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if fs::copy(&path, to.join(format!("{count}-{name}"))).is_ok() {
                *left -= metadata.len();
                *count += 1;
            }
        }
    }
    Ok(())
}

/// Libraries first: they are most of what a machine holds.
const SOURCES: [&str; 2] = ["/usr/lib", "/usr/bin"];
