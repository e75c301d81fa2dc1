//! Which device of a lease belongs to which file.

use ovftransfer_ovf::FileName;
use ovftransfer_vim::lease::ImportKey;
use ovftransfer_vim::lease::LeaseDevice;

use crate::error::Error;
use crate::journal::SUFFIX;

/// Finds the device that takes a file item: `OvfFileItem.deviceId` equals `DeviceUrl.importKey`.
///
/// # Errors
///
/// [`Error::Refused`] if there is none: the file could not be uploaded, and a machine without one
/// of its disks must not be completed.
pub(crate) fn for_item<'d>(
    import_key: &ImportKey,
    path: &str,
    devices: &'d [LeaseDevice],
) -> Result<&'d LeaseDevice, Error> {
    let found = devices.iter().find(|device| device.import_key.as_ref() == Some(import_key));
    found.ok_or_else(|| Error::Refused {
        problem: format!("the lease has no device for {path} ({import_key})"),
    })
}

/// A device that is exported, and the file it becomes.
#[derive(Clone, Debug)]
pub(crate) struct Exported {
    pub(crate) device: LeaseDevice,
    pub(crate) file: FileName,
    pub(crate) is_disk: bool,
}

/// Which files belong to a package, and what they are called.
#[derive(Clone, Copy)]
pub(crate) struct Selection<'s> {
    /// The name of the package, without an extension.
    pub(crate) base: &'s str,
    /// What the names of disks begin with.
    pub(crate) prefix: &'s str,
    /// The machine that a device is one of, where the package has several.
    pub(crate) owner: &'s dyn Fn(&LeaseDevice) -> Option<String>,
    pub(crate) nvram: bool,
    pub(crate) images: bool,
    /// How many disks the server must offer at least.
    pub(crate) disks_min: usize,
}

/// Chooses the devices that are exported: all disks, the NVRAM and images if they are wanted.
///
/// # Errors
///
/// [`Error::Refused`] if the server offers a device under a name that cannot be used, or too few
/// disks: a package without one of the machine's disks must not look like a good one.
pub(crate) fn for_export(
    devices: &[LeaseDevice],
    selection: &Selection<'_>,
) -> Result<Vec<Exported>, Error> {
    let mut chosen: Vec<Exported> = Vec::new();
    let mut left_out = Vec::new();
    for device in devices {
        let target = device.target_id.clone().unwrap_or_else(|| device.url.target().to_owned());
        let is_nvram = has_extension(&target, "nvram");
        // Older servers do not say what is a disk; the name does.  And a file that is one by its
        // name is not left out, whatever they say: its structure will tell.
        let is_disk = device.is_disk == Some(true) || has_extension(&target, "vmdk");
        // An image that cannot be fetched has no target.
        let is_image = !is_disk && !is_nvram && device.target_id.is_some();
        if !(is_disk || is_nvram && selection.nvram || is_image && selection.images) {
            left_out.push(target);
            continue;
        }
        let file = selection.name(device, &target, is_nvram)?;
        if let Some(other) = chosen.iter().find(|other| same_file(&other.file, &file)) {
            return Err(Error::Refused {
                problem: format!("the server offers {} and {file}, which are one", other.file),
            });
        }
        chosen.push(Exported { device: device.clone(), file, is_disk });
    }
    let disks: Vec<&str> =
        chosen.iter().filter(|one| one.is_disk).map(|one| one.file.as_str()).collect();
    if disks.len() < selection.disks_min {
        return Err(Error::Refused { problem: too_few(selection.disks_min, &disks, &left_out) });
    }
    Ok(chosen)
}

/// Finds a chosen device among those of another lease.
///
/// # Errors
///
/// [`Error::Refused`] if the lease does not offer it.
pub(crate) fn same<'d>(
    exported: &Exported,
    devices: &'d [LeaseDevice],
) -> Result<&'d LeaseDevice, Error> {
    let found = devices.iter().find(|device| device.key == exported.device.key);
    found.ok_or_else(|| Error::Refused {
        problem: format!("the server does not offer {} any more", exported.file),
    })
}

impl Selection<'_> {
    /// The name in the package of a file that the server calls `target`.
    fn name(&self, device: &LeaseDevice, target: &str, is_nvram: bool) -> Result<FileName, Error> {
        let unusable = |reason: &str| Error::Refused {
            problem: format!("the server offers a file that cannot be stored: {target:?}{reason}"),
        };
        // That of an NVRAM, which may have the name of its machine, is not used.
        if target.contains(['/', '\\']) && !is_nvram {
            return Err(unusable(""));
        }
        if has_extension(target, "partial") {
            return Err(unusable(", a name for files that are not complete"));
        }
        if has_extension(target, &SUFFIX[1..]) {
            return Err(unusable(", a name for journals"));
        }
        let Self { base, prefix, owner, .. } = self;
        let name = match (owner(device), is_nvram) {
            (Some(machine), true) => format!("{prefix}{machine}.nvram"),
            (Some(machine), false) => format!("{prefix}{machine}-{target}"),
            (None, true) => format!("{base}.nvram"),
            (None, false) => format!("{prefix}{target}"),
        };
        FileName::new(name).map_err(|error| unusable(&format!(": {error}")))
    }
}

/// Whether some file system, or the machine that the package goes to, takes them for one.
fn same_file(one: &FileName, other: &FileName) -> bool {
    one.as_str().to_lowercase() == other.as_str().to_lowercase()
}

fn too_few(disks_min: usize, disks: &[&str], left_out: &[String]) -> String {
    let list = |names: String| if names.is_empty() { "none".to_owned() } else { names };
    format!(
        "the machine has {disks_min} disk(s) to export, but the server offers {}: {}; \
         other files: {}",
        disks.len(),
        list(disks.join(", ")),
        list(left_out.join(", "))
    )
}

fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, found)| found.eq_ignore_ascii_case(extension))
}

#[cfg(test)]
mod tests {
    use ovftransfer_vim::Endpoint;
    use ovftransfer_vim::lease::LeaseInfo;
    use ovftransfer_vim::value::Object;
    use ovftransfer_vim::value::Value;

    use super::*;

    fn web(nvram: bool, images: bool, disks_min: usize) -> Selection<'static> {
        let (base, prefix) = ("web", "web-");
        Selection { base, prefix, owner: &|_| None, nvram, images, disks_min }
    }

    fn device(key: &str, import_key: &str, target: &str, disk: &str) -> Object {
        Object::untyped()
            .with("key", key.to_owned())
            .with("importKey", import_key.to_owned())
            .with("url", format!("https://esx1/nfc/52ab/{target}"))
            .with("targetId", target.to_owned())
            .with("disk", disk.to_owned())
    }

    fn devices(devices: impl IntoIterator<Item = Object>) -> Vec<LeaseDevice> {
        let info: Value = Object::untyped().with_each("deviceUrl", devices).into();
        LeaseInfo::from_value(&info, &Endpoint::new("vc", 443)).unwrap().devices
    }

    #[test]
    fn disks_and_nvram_are_exported_and_images_are_not() {
        let devices = devices([
            device("/vm-1/a", "", "disk-0.vmdk", "true"),
            device("/vm-1/b", "", "web.nvram", "false"),
            device("/vm-1/c", "", "cd.iso", "false"),
        ]);
        let names = |nvram| -> Vec<String> {
            let chosen = for_export(&devices, &web(nvram, false, 1)).unwrap();
            chosen.into_iter().map(|exported| exported.file.to_string()).collect()
        };
        assert_eq!(names(true), ["web-disk-0.vmdk", "web.nvram"]);
        assert_eq!(names(false), ["web-disk-0.vmdk"]);
        let with_images = for_export(&devices, &web(false, true, 1)).unwrap();
        assert_eq!(with_images[1].file.as_str(), "web-cd.iso");
        assert!(!with_images[1].is_disk);
    }

    #[test]
    fn files_of_several_machines_have_their_names() {
        let devices = devices([
            device("/vm-1/a", "", "disk-0.vmdk", "true"),
            device("/vm-2/a", "", "disk-0.vmdk", "true"),
            device("/vm-1/b", "", "web.nvram", "false"),
            device("/vm-2/b", "", "web.nvram", "false"),
        ]);
        let owner = |device: &LeaseDevice| Some(device.key.as_str()[4..5].to_owned());
        let selection = Selection { owner: &owner, ..web(true, false, 2) };
        let chosen = for_export(&devices, &selection).unwrap();
        let names: Vec<&str> = chosen.iter().map(|one| one.file.as_str()).collect();
        assert_eq!(names, ["web-1-disk-0.vmdk", "web-2-disk-0.vmdk", "web-1.nvram", "web-2.nvram"]);
    }

    #[test]
    fn a_machine_with_a_slash_in_its_name_has_an_nvram() {
        let offered = devices([
            device("/vm-1/a", "", "disk-0.vmdk", "true"),
            device("/vm-1/b", "", "a/b.nvram", "false"),
        ]);
        let chosen = for_export(&offered, &web(true, false, 1)).unwrap();
        assert_eq!(chosen[1].file.as_str(), "web.nvram");
    }

    #[test]
    fn names_that_would_leave_the_folder_or_be_believed_are_refused() {
        for target in ["../disk-0.vmdk", "x.ovftransfer-journal"] {
            let devices = devices([device("/vm-1/a", "", target, "true")]);
            assert!(for_export(&devices, &web(true, false, 0)).is_err(), "{target}");
        }
    }

    #[test]
    fn names_that_would_meet_another_file_are_refused() {
        for target in ["disk-0.vmdk.partial", "DISK-0.VMDK", "disk-0.vmdk"] {
            let offered = devices([
                device("/vm-1/a", "", "disk-0.vmdk", "true"),
                device("/vm-1/b", "", target, "true"),
            ]);
            let error = for_export(&offered, &web(true, false, 2)).unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{target}: {error}");
        }
    }

    #[test]
    fn what_is_a_disk_by_its_name_is_not_left_out() {
        let offered = devices([
            device("/vm-1/a", "", "disk-0.vmdk", "true"),
            device("/vm-1/b", "", "disk-1.VMDK", "false"),
        ]);
        let chosen = for_export(&offered, &web(true, false, 2)).unwrap();
        assert!(chosen.len() == 2 && chosen.iter().all(|one| one.is_disk), "{chosen:?}");
    }

    #[test]
    fn fewer_disks_than_the_machine_has_are_refused() {
        let offered = devices([
            device("/vm-1/a", "", "disk-0.vmdk", "true"),
            device("/vm-1/b", "", "disk-1.raw", "false"),
        ]);
        let error = for_export(&offered, &web(true, false, 2)).unwrap_err();
        assert!(error.to_string().contains("web-disk-0.vmdk"), "{error}");
        assert!(error.to_string().contains("disk-1.raw"), "{error}");
        for_export(&offered, &web(true, false, 1)).unwrap();
    }

    /// Fault 8 of the reference client: the key in place of the import key.
    #[test]
    fn an_item_is_found_by_its_import_key_only() {
        let devices = devices([device("/web/disk:0", "/web/disk:1", "disk-0.vmdk", "true")]);
        let find = |key: &str| for_item(&ImportKey::new(key), "disk.vmdk", &devices);
        assert_eq!(find("/web/disk:1").unwrap().key.as_str(), "/web/disk:0");
        let error = find("/web/disk:0").unwrap_err();
        assert!(error.to_string().contains("disk.vmdk"), "{error}");
    }
}
