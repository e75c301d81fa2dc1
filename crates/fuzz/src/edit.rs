//! Edits of descriptors.

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;

/// An edit that succeeds has done what was asked for, and one that changes nothing does nothing.
pub fn edit(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    let unchanged = envelope.edit().apply().expect("an edit that changes nothing");
    assert_eq!(unchanged.bytes(), bytes);

    // What is done depends on the input, so that the same input is always tried in the same way.
    let mut choice = bytes.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31) ^ u64::from(*byte));
    let mut choose = |count: u64| {
        choice = choice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (choice >> 33) % count
    };
    let number = [0, 1, 512, 1 << 30, u64::MAX][choose(5) as usize];
    let text = ["gzip", "", "a\"b", "'&<>]]>", "ü\t\n"][choose(5) as usize];
    let href = FileName::new("sub/a&b\"'.vmdk").expect("a good name");
    if let Some(file) = envelope.references().first() {
        let id = file.id();
        let mut edit = envelope.edit();
        let action = choose(5);
        match action {
            0 => edit.file_href(id, &href),
            1 => edit.file_size(id, Some(number)),
            2 => edit.file_compression(id, Some(text)),
            3 => edit.file_size(id, None).file_compression(id, None).file_chunk_size(id, None),
            _ => edit.remove_file(id),
        };
        if let Ok(edited) = edit.apply() {
            let now = edited.file(id);
            match action {
                0 => assert_eq!(now.map(|file| file.href()), Some(&href)),
                1 => assert_eq!(now.and_then(|file| file.size_bytes()), Some(number)),
                3 => assert_eq!(now.and_then(|file| file.size_bytes()), None),
                2 => {
                    let compression = Some(text).filter(|text| !text.is_empty());
                    assert_eq!(now.and_then(|file| file.compression()), compression);
                }
                _ => assert!(now.is_none()),
            }
            assert_eq!(edited.systems().len(), envelope.systems().len());
        }
    }
    if let Some(disk) = envelope.disks().first() {
        let id = disk.id();
        let mut edit = envelope.edit();
        let action = choose(4);
        match action {
            0 => edit.disk_capacity(id, number),
            1 => edit.disk_format(id, text),
            2 => edit.disk_populated(id, Some(number)),
            _ => edit.remove_disk(id),
        };
        if let Ok(edited) = edit.apply() {
            let now = edited.disk(id);
            match action {
                0 => assert_eq!(now.map(|disk| disk.capacity_bytes()), Some(number)),
                1 => assert_eq!(now.map(|disk| disk.format()), Some(text)),
                2 => assert_eq!(now.and_then(|disk| disk.populated_bytes()), Some(number)),
                _ => assert!(now.is_none()),
            }
        }
    }
}
