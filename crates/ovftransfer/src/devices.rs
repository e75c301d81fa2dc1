//! Which device of a lease belongs to which file.

use ovftransfer_ovf::FileName;
use ovftransfer_vim::lease::ImportKey;
use ovftransfer_vim::lease::LeaseDevice;

use crate::error::Error;

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

/// Chooses the devices that are exported: all disks, the NVRAM if it is wanted, nothing else.
///
/// # Errors
///
/// [`Error::Refused`] if the server offers a device under a name that cannot be used.
pub(crate) fn for_export(
    devices: &[LeaseDevice],
    base: &str,
    nvram: bool,
) -> Result<Vec<Exported>, Error> {
    let mut chosen: Vec<Exported> = Vec::new();
    for device in devices {
        let target = device.target_id.clone().unwrap_or_else(|| device.url.target().to_owned());
        let is_nvram = has_extension(&target, "nvram");
        // Older servers do not say what is a disk; the name does.
        let is_disk = device.is_disk.unwrap_or_else(|| has_extension(&target, "vmdk"));
        if !(is_disk || is_nvram && nvram) {
            continue;
        }
        if target.contains(['/', '\\']) {
            return Err(Error::Refused {
                problem: format!("the server offers a file that cannot be stored: {target:?}"),
            });
        }
        let name = if is_nvram { format!("{base}.nvram") } else { format!("{base}-{target}") };
        let file = FileName::new(name).map_err(|error| Error::Refused {
            problem: format!("the server offers a file that cannot be stored: {error}"),
        })?;
        if chosen.iter().any(|other| other.file == file) {
            return Err(Error::Refused { problem: format!("the server offers {file} twice") });
        }
        chosen.push(Exported { device: device.clone(), file, is_disk });
    }
    Ok(chosen)
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
            let chosen = for_export(&devices, "web", nvram).unwrap();
            chosen.into_iter().map(|exported| exported.file.to_string()).collect()
        };
        assert_eq!(names(true), ["web-disk-0.vmdk", "web.nvram"]);
        assert_eq!(names(false), ["web-disk-0.vmdk"]);
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        let devices = devices([device("/vm-1/a", "", "../disk-0.vmdk", "true")]);
        assert!(for_export(&devices, "web", true).is_err());
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
