//! Names that every product takes.

use std::collections::BTreeSet;

use ovftransfer_ovf::FileName;
use ovftransfer_ovf::envelope::FileRef;

use super::is_compressed;
use crate::store::package::Package;

/// The names of the files in the new package, in the order of the references.
pub(super) struct Names(Vec<FileName>);

impl Names {
    /// Keeps every name that is plain, and finds short ones for the others: `disk-1.vmdk`.
    ///
    /// In a folder a name may have any letters; in an archive, which other systems unpack, not.
    pub(super) fn choose(package: &Package, is_folder: bool) -> Self {
        let references = package.envelope().references();
        let wanted: Vec<FileName> = references.iter().map(inflated).collect();
        let wanted: Vec<&FileName> = wanted.iter().collect();
        let disks: Vec<bool> = references.iter().map(|file| package.is_disk(file)).collect();
        Self(chosen(&wanted, &disks, is_folder))
    }

    pub(super) fn into_vec(self) -> Vec<FileName> {
        self.0
    }
}

/// The name of a file that is not compressed any more.
fn inflated(reference: &FileRef) -> FileName {
    let href = reference.href();
    let short = Some(href.stem()).filter(|_| is_compressed(reference) && href.has_extension("gz"));
    short.and_then(|name| FileName::new(name).ok()).unwrap_or_else(|| href.clone())
}

fn chosen(hrefs: &[&FileName], disks: &[bool], is_folder: bool) -> Vec<FileName> {
    // Case is ignored: so do the file systems of Windows and macOS.
    let folded = |name: &str| name.to_lowercase();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let kept: Vec<bool> = hrefs
        .iter()
        .map(|href| is_plain(href, is_folder) && taken.insert(folded(href.as_str())))
        .collect();
    let mut names = Vec::new();
    for ((href, is_kept), is_disk) in hrefs.iter().zip(kept).zip(disks) {
        if is_kept {
            names.push((*href).clone());
            continue;
        }
        let word = if *is_disk { "disk" } else { "file" };
        let extension = extension(href);
        let free = (1..).find_map(|number: u32| {
            let name = format!("{word}-{number}.{extension}");
            taken.insert(folded(&name)).then(|| FileName::new(name).ok())?
        });
        // There are more numbers than references.
        names.push(free.unwrap_or_else(|| (*href).clone()));
    }
    names
}

/// Whether a name may stay.
fn is_plain(name: &FileName, is_folder: bool) -> bool {
    let text = name.as_str();
    let is_own = OWN_EXTENSIONS.iter().any(|extension| name.has_extension(extension));
    // `%` begins an escape to those who take an href for a URI, and is a letter to the others.
    let is_odd = |c: char| c.is_control() || r#"/\%:*?"<>|"#.contains(c);
    let is_foreign = |c: char| !is_folder && !c.is_ascii();
    let is_edge_blank = text.starts_with(' ') || text.ends_with([' ', '.']);
    !is_own
        && !is_edge_blank
        && text.len() <= NAME_BYTES_MAX
        && !text.contains(|c: char| is_odd(c) || is_foreign(c))
}

/// The extension of a name, if it is one that says something.
fn extension(name: &FileName) -> String {
    let last = name.as_str().rsplit('/').next().unwrap_or_default();
    let extension = last.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let is_good = |text: &String| {
        !text.is_empty()
            && text.len() <= EXTENSION_BYTES_MAX
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && !OWN_EXTENSIONS.contains(&text.as_str())
    };
    extension.filter(is_good).unwrap_or_else(|| "bin".to_owned())
}

/// What names end with that mean something to this program: the small files of a package, a file
/// that is not complete, and a journal, which `reap` would believe.
const OWN_EXTENSIONS: [&str; 5] = ["cert", "mf", "ovf", "ovftransfer-journal", "partial"];

/// What fits into the name of a ustar header (POSIX.1-1988).
const NAME_BYTES_MAX: usize = 100;

/// The longest extension that is kept: `vmdk`, `nvram`.
const EXTENSION_BYTES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hrefs: &[&str], is_folder: bool) -> Vec<String> {
        let names: Vec<FileName> = hrefs.iter().map(|name| FileName::new(*name).unwrap()).collect();
        let disks: Vec<bool> = hrefs.iter().map(|name| name.contains("vmdk")).collect();
        let names = chosen(&names.iter().collect::<Vec<_>>(), &disks, is_folder);
        names.into_iter().map(|name| name.as_str().to_owned()).collect()
    }

    #[test]
    fn plain_names_are_kept() {
        let plain = ["my vm-disk1.vmdk", "a (1).nvram", "UPPER.VMDK", "x", "disk-1.vmdk.000000000"];
        assert_eq!(of(&plain, false), plain);
        assert_eq!(of(&["Büro.vmdk"], true), ["Büro.vmdk"]);
    }

    #[test]
    fn odd_names_become_short() {
        for (odd, plain) in [
            ("disks/a.vmdk", "disk-1.vmdk"),
            ("my%20disk.vmdk", "disk-1.vmdk"),
            ("Büro.vmdk", "disk-1.vmdk"),
            ("ab:c.NVRAM", "file-1.nvram"),
            ("x.mf", "file-1.bin"),
            ("x.cert", "file-1.bin"),
            ("a.vmdk.partial", "disk-1.bin"),
            ("web.ovf.Partial", "file-1.bin"),
            (".x.ovf.ovftransfer-journal", "file-1.bin"),
            (".x.ovf.OVFTRANSFER-JOURNAL", "file-1.bin"),
            ("folder.d/name", "file-1.bin"),
            ("a?.very-long-extension", "file-1.bin"),
            ("ends in a dot.", "file-1.bin"),
        ] {
            assert_eq!(of(&[odd], false), [plain], "{odd}");
        }
        assert!(OWN_EXTENSIONS.contains(&&crate::journal::SUFFIX[1..]));
        let long = format!("{}.vmdk", "a".repeat(96));
        assert_eq!(of(&[&long], false), ["disk-1.vmdk"]);
    }

    #[test]
    fn no_two_files_get_the_same_name() {
        let odd = ["a/x.vmdk", "b/x.vmdk", "Disk-1.VMDK", "disk-1.vmdk", "a.iso", "A.iso"];
        let names = of(&odd, true);
        assert_eq!(
            names,
            ["disk-2.vmdk", "disk-3.vmdk", "Disk-1.VMDK", "disk-4.vmdk", "a.iso", "file-1.iso"]
        );
    }
}
