//! What is done with packages: descriptors and manifests read, archives indexed, files copied.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails says so by a panic")]

use std::fs;
use std::hint::black_box;

use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use ovftransfer::Convert;
use ovftransfer::Envelope;
use ovftransfer::FileName;
use ovftransfer::Manifest;
use ovftransfer::Options;
use ovftransfer::Package;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::Writer;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::Data;
use ovftransfer_simulator::scenario::DataKind;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Machine;

/// The descriptor of a vApp of so many machines with two small disks each, and its manifest.
fn papers(machines: usize) -> (Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let machine = |number| {
        let mut machine = Machine::new(&format!("machine-{number}"));
        machine.disks = vec![DiskSpec::new(1 << 20); 2];
        machine
    };
    let vapp = Appliance::vapp("vapp", (0..machines).map(machine).collect());
    let path = vapp.write_folder(folder.path()).unwrap().path().to_owned();
    (fs::read(&path).unwrap(), fs::read(path.with_extension("mf")).unwrap())
}

fn descriptors(criterion: &mut Criterion) {
    let (descriptor, manifest) = papers(20);
    let mut group = criterion.benchmark_group("descriptor");
    group.throughput(Throughput::Bytes(descriptor.len() as u64));
    group.bench_function("20 machines", |b| {
        b.iter(|| Envelope::parse(black_box(descriptor.as_slice())).unwrap());
    });
    group.throughput(Throughput::Bytes(manifest.len() as u64));
    group.bench_function("its manifest", |b| {
        b.iter(|| Manifest::parse(black_box(&manifest)).unwrap());
    });
    group.finish();
}

/// An archive of a descriptor and so many small files.
fn archive(files: usize) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.append(&FileName::new("many.ovf").unwrap(), 1024, &mut &[b' '; 1024][..]).unwrap();
    for number in 0..files {
        let file = FileName::new(format!("file-{number}.bin")).unwrap();
        writer.append(&file, 1024, &mut &[7; 1024][..]).unwrap();
    }
    writer.finish().unwrap()
}

fn indexes(criterion: &mut Criterion) {
    let archive = archive(MEMBERS);
    let mut group = criterion.benchmark_group("ova");
    group.throughput(Throughput::Elements(MEMBERS as u64));
    group.bench_function("index of 1,000 members", |b| {
        b.iter(|| Ova::index(black_box(&archive)).unwrap());
    });
    group.finish();
}

/// Every byte read, hashed, checked and written, as in every transfer, but for the network.
fn copies(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = Machine::new("copied");
    let data = Data::new(DataKind::Repeat, COPIED_BYTES, 1);
    machine.disks.push(DiskSpec::new(COPIED_BYTES).with_data(data));
    let archive = folder.path().join("copied.ova");
    Appliance::new(machine).write_ova(&archive).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let mut group = criterion.benchmark_group("copy");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(fs::metadata(&archive).unwrap().len()));
    group.bench_function("OVA into a folder", |b| {
        b.iter(|| {
            let output = folder.path().join("out");
            fs::create_dir(&output).unwrap();
            let package = Package::open(&archive).unwrap();
            let copied = runtime.block_on(async {
                let plan = Convert::new(package, output.as_path()).plan().await?;
                plan.start(Options::default()).finish().await
            });
            assert!(copied.unwrap().bytes() > COPIED_BYTES);
            fs::remove_dir_all(&output).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, descriptors, indexes, copies);
criterion_main!(benches);

const COPIED_BYTES: u64 = 64 << 20;
const MEMBERS: usize = 1000;
