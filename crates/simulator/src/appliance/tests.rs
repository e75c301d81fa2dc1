use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::ReadAt;
use ovftransfer_vmdk::GrainReader;

use super::*;
use crate::scenario::{Data, DataKind, DiskSpec, Size, Spread};

fn machine() -> Machine {
    let mut machine = Machine::new("box");
    let disk = |kind, spread| {
        DiskSpec::new(4 << 20).with_data(Data::new(kind, 1 << 20, 3).with_spread(spread))
    };
    machine.disks =
        vec![disk(DataKind::Mixed, Spread::Front), disk(DataKind::Random, Spread::Even)];
    machine.networks = vec!["VM Network".to_owned()];
    machine.nvram = Size::from_bytes(8684);
    machine
}

/// Raw content of a stream-optimized disk.
fn inflate(file: impl io::Read) -> Vec<u8> {
    let mut reader = GrainReader::new(file).unwrap();
    let mut raw = vec![0; usize::try_from(reader.capacity_bytes()).unwrap()];
    while let Some(grain) = reader.next_grain().unwrap() {
        let at = usize::try_from(grain.lba_sectors() * 512).unwrap();
        raw[at..at + grain.data().len()].copy_from_slice(grain.data());
    }
    raw
}

#[test]
fn a_folder_holds_what_its_manifest_says() {
    let folder = tempfile::tempdir().unwrap();
    let appliance = Appliance::new(machine());
    let package = appliance.write_folder(folder.path()).unwrap();
    let envelope = Envelope::parse(fs::read(package.path()).unwrap()).unwrap();
    let manifest = Manifest::parse(&fs::read(folder.path().join("box.mf")).unwrap()).unwrap();
    assert_eq!(manifest.entries().len(), 4);
    let mut file_bytes = fs::metadata(folder.path().join("box.mf")).unwrap().len();
    for entry in manifest.entries() {
        let content = fs::read(folder.path().join(entry.file().as_str())).unwrap();
        assert_eq!(entry.digest().as_bytes(), sha256(&content), "{}", entry.file());
        file_bytes += content.len() as u64;
    }
    assert_eq!(package.file_bytes(), file_bytes);
    for file in envelope.references() {
        let metadata = fs::metadata(folder.path().join(file.href().as_str())).unwrap();
        assert_eq!(file.size_bytes(), Some(metadata.len()), "{}", file.href());
    }
    let digests = appliance.raw_sha256().unwrap();
    for (disk, digest) in package.disks().iter().zip(digests) {
        let raw = inflate(File::open(folder.path().join(disk.name().as_str())).unwrap());
        assert_eq!(crate::disk::hex(&sha256(&raw)), digest);
        assert_eq!(raw.len() as u64, disk.capacity_bytes());
    }
}

#[test]
fn an_archive_holds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("box.ova");
    let appliance = Appliance::new(machine());
    let package = appliance.write_ova(&path).unwrap();
    let file = File::open(package.path()).unwrap();
    assert_eq!(package.file_bytes(), file.metadata().unwrap().len());
    let archive = ova::Ova::index(&file).unwrap();
    let digests = appliance.raw_sha256().unwrap();
    for (disk, digest) in package.disks().iter().zip(digests) {
        let member = archive.member(disk.name()).unwrap();
        let mut bytes = vec![0; usize::try_from(member.size_bytes()).unwrap()];
        file.read_exact_at(&mut bytes, member.offset_bytes()).unwrap();
        assert_eq!(crate::disk::hex(&sha256(&inflate(bytes.as_slice()))), digest);
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "the spool is gone: {left:?}");
}

#[test]
fn what_cannot_be_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let named = Appliance::new(Machine::new("a/../../b")).write_folder(folder.path());
    assert!(matches!(named, Err(ApplianceError::Name(_))));
    let mut odd = machine();
    odd.disks[0].capacity = Size::from_bytes(100);
    let odd = Appliance::new(odd).write_folder(folder.path());
    assert!(matches!(odd, Err(ApplianceError::Scenario(_))));
    let nowhere = Appliance::new(machine()).write_folder(&folder.path().join("none"));
    assert!(matches!(nowhere, Err(ApplianceError::File { .. })));
}
