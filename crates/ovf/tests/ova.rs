//! OVAs: what is accepted means the same to every other tool, the rest is refused.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use ovftransfer_ovf::FileName;
use ovftransfer_ovf::ReadAt;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::OvaError;
use ovftransfer_ovf::ova::OvaWarning;
use ovftransfer_ovf::ova::Rules;
use ovftransfer_ovf::ova::Walk;
use ovftransfer_ovf::ova::WriteError;
use ovftransfer_ovf::ova::Writer;
use proptest::prelude::*;
use tar::EntryType;
use tar::Header;

const ZEROS: [u8; 1024] = [0; 1024];

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

/// A header and its padded body; `size` may lie.
fn member(path: &str, kind: u8, size: u64, body: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(path: &str, body: &[u8]) -> Vec<u8> {
    member(path, b'0', body.len() as u64, body)
}

/// A PAX header with one record.
fn pax(kind: u8, key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut len = rest.len() + 1;
    while len != rest.len() + len.to_string().len() {
        len += 1;
    }
    let record = format!("{len}{rest}");
    member("pax", kind, record.len() as u64, record.as_bytes())
}

/// An archive of a descriptor, these parts, and the end blocks.
fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [file("vm.ovf", b"<Envelope/>"), parts.concat(), ZEROS.to_vec()].concat()
}

/// With its checksum made right after a change of a header.
fn with_checksum(mut archive: Vec<u8>, at: usize) -> Vec<u8> {
    let mut header = Header::from_byte_slice(&archive[at..at + 512]).clone();
    header.set_cksum();
    archive[at..at + 512].copy_from_slice(header.as_bytes());
    archive
}

fn list(archive: &[u8]) -> Vec<(String, u64)> {
    let ova = Ova::index(&archive).unwrap();
    let names = ova.members().iter();
    names.map(|member| (member.name().to_string(), member.size_bytes())).collect()
}

/// What the tar crate lists; nothing if it refuses the archive.
fn list_by_tar_crate(archive: impl Read) -> Option<Vec<(String, u64)>> {
    let mut members = Vec::new();
    for entry in tar::Archive::new(archive).entries().ok()? {
        let entry = entry.ok()?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().ok()?.to_str()?.to_owned();
        let path = path.trim_start_matches("./").to_owned();
        members.push((path, entry.size()));
    }
    Some(members)
}

fn written() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let long = format!("{}/{}", "folder".repeat(15), "x".repeat(90));
    for (path, size) in [("vm.ovf", 11), ("vm.mf", 0), ("disk-1.vmdk", 512), (&long, 513), ("ü", 1)]
    {
        writer.append(&name(path), size, &mut io::repeat(7).take(size)).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn what_is_written_is_listed_the_same_by_all() {
    let archive = written();
    let members = list(&archive);
    assert_eq!(members.len(), 5);
    assert_eq!(list_by_tar_crate(archive.as_slice()).unwrap(), members);
    assert_eq!(archive, written(), "the same members give the same bytes");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm.ova");
    fs::write(&path, &archive).unwrap();
    compare_with_programs(&path, &members);
}

#[test]
fn a_member_above_8_gib_is_listed_the_same_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.ova");
    let size_bytes = (8 << 30) + 5;
    write_sparse(&path, size_bytes);
    let archive = fs::File::open(&path).unwrap();
    let ova = Ova::index(&archive).unwrap();
    assert_eq!(ova.member(&name("disk-1.vmdk")).unwrap().size_bytes(), size_bytes);
    assert!(ova.warnings().is_empty());
    let members: Vec<_> = ova
        .members()
        .iter()
        .map(|member| (member.name().to_string(), member.size_bytes()))
        .collect();
    compare_with_programs(&path, &members);
}

/// Lets the writer count zeros, and keeps only the blocks that are not zero.
fn write_sparse(path: &Path, size_bytes: u64) {
    struct Sparse {
        file: fs::File,
        at_byte: u64,
    }
    impl io::Write for Sparse {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes != &[0; 64 << 10][..bytes.len()] {
                io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.at_byte))?;
                self.file.write_all(bytes)?;
            }
            self.at_byte += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            self.file.set_len(self.at_byte)
        }
    }
    /// Says that it has filled the buffer, which starts as zeros; filling 8 GiB takes seconds.
    struct Zeros;
    impl Read for Zeros {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }
    }
    let mut writer = Writer::new(Sparse { file: fs::File::create(path).unwrap(), at_byte: 0 });
    writer.append(&name("vm.ovf"), 2, &mut b"<>".as_slice()).unwrap();
    writer.append(&name("disk-1.vmdk"), size_bytes, &mut Zeros.take(size_bytes)).unwrap();
    writer.append(&name("last"), 3, &mut b"end".as_slice()).unwrap();
    writer.finish().unwrap();
}

/// Compares with GNU tar and with Python, where they are installed.
fn compare_with_programs(archive: &Path, members: &[(String, u64)]) {
    let expected: String = members.iter().map(|(path, size)| format!("{size} {path}\n")).collect();
    let script = "import sys, tarfile\n\
                  sys.stdout.reconfigure(encoding='utf-8')\n\
                  for m in tarfile.open(sys.argv[1]): print(m.size, m.name)";
    match Command::new("python3").args(["-c", script]).arg(archive).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "tarfile"),
        Err(error) => println!("skipped: python3: {error}"),
    }
    let tar = ["--quoting-style=literal", "--show-transformed-names", "-tvf"];
    match Command::new("tar").args(tar).arg(archive).env("TZ", "UTC").output() {
        Ok(output) if output.status.success() => {
            // Mode, owner, size, date, time, name.
            let listed: String = String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(|line| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    format!("{} {}\n", words[2], words[5])
                })
                .collect();
            assert_eq!(listed, expected, "tar");
        }
        Ok(output) => {
            println!("skipped: tar: {}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => println!("skipped: tar: {error}"),
    }
}

#[test]
fn contents_are_found_by_position() {
    let archive = archive(&[file("a.mf", b"first"), file("b", b""), file("c", &[9; 1000])]);
    let ova = Ova::index(&archive).unwrap();
    let read = |path| {
        let member = ova.member(&name(path)).unwrap();
        let mut bytes = vec![0; usize::try_from(member.size_bytes()).unwrap()];
        archive.read_exact_at(&mut bytes, member.offset_bytes()).unwrap();
        bytes
    };
    assert_eq!(read("vm.ovf"), b"<Envelope/>");
    assert_eq!(read("a.mf"), b"first");
    assert_eq!(read("b"), b"");
    assert_eq!(read("c"), [9; 1000]);
    assert!(ova.member(&name("d")).is_none());
}

#[test]
fn other_writings_of_the_same_are_accepted() {
    let long = "x/".repeat(60) + "y";
    let gnu_long = format!("{long}\0");
    let global = pax(b'g', "comment", "by git");
    for (parts, expected) in [
        (vec![file("./b", b"1")], "b"),
        (vec![member("b", 0, 1, b"1")], "b"),
        (vec![member("sub/", b'5', 0, b""), file("sub/b", b"1")], "sub/b"),
        (vec![member("./", b'5', 0, b""), file("b", b"1")], "b"),
        (vec![global, file("b", b"1")], "b"),
        (vec![pax(b'x', "path", "ü/b"), file("ascii", b"1")], "ü/b"),
        (vec![pax(b'x', "size", "1"), member("b", b'0', 0, b"1")], "b"),
        (vec![pax(b'x', "size", "1"), file("b", b"1")], "b"),
        (vec![pax(b'x', "mtime", "1.5"), file("b", b"1")], "b"),
        (
            vec![member("long", b'L', gnu_long.len() as u64, gnu_long.as_bytes()), file("x", b"1")],
            &long,
        ),
    ] {
        let archive = archive(&parts);
        let members = list(&archive);
        assert_eq!(members.get(1), Some(&(expected.to_owned(), 1)));
        assert_eq!(list_by_tar_crate(archive.as_slice()).unwrap(), members);
    }
}

#[test]
fn ambiguous_and_hostile_archives_are_refused() {
    let smuggled = file("evil.ovf", b"<Envelope/>");
    let evil_size = smuggled.len() as u64;
    let long = "x".repeat(2000);
    for (parts, problem) in [
        (vec![pax(b'g', "size", "1"), file("b", b"1")], "for all members"),
        (vec![pax(b'g', "path", "c"), file("b", b"1")], "for all members"),
        (vec![pax(b'x', "size", "0"), file("b", &smuggled)], "the extended header 0"),
        (vec![pax(b'x', "size", "99"), file("b", b"1")], "the header says 1 bytes"),
        (vec![pax(b'x', "GNU.sparse.major", "1"), file("b", b"1")], "a sparse file"),
        (vec![pax(b'x', "linkpath", "c"), file("b", b"1")], "the target of a link"),
        (vec![pax(b'x', "path", "../b"), file("b", b"1")], "\"..\" part"),
        (vec![pax(b'x', "path", "c\0d"), file("b", b"1")], "a control character"),
        (vec![pax(b'x', "path", "c"), pax(b'x', "path", "d"), file("b", b"1")], "two for one"),
        (vec![pax(b'x', "path", "c")], "no member after it"),
        (vec![pax(b'g', "comment", "c")], "no member after it"),
        (vec![member("x", b'x', 4, b"9 a=")], "malformed record"),
        (vec![member("x", b'x', 2 << 20, b"")], "exceed the limit of 1048576"),
        (vec![member("x", b'L', 2000, long.as_bytes()), file("b", b"")], "exceed the limit of"),
        (vec![member("b", b'1', 0, b"")], "a hard link"),
        (vec![member("b", b'2', 0, b"")], "a symbolic link"),
        (vec![member("b", b'3', 0, b"")], "a device"),
        (vec![member("b", b'6', 0, b"")], "a named pipe"),
        (vec![member("b", b'K', 2, b"c\0"), file("b", b"")], "a link with a long target"),
        (vec![member("b", b'S', 0, b"")], "a sparse file"),
        (vec![member("b", b'V', 0, b"")], "a member of unknown type"),
        (vec![member("sub/", b'5', 1, b"1")], "a folder with a size"),
        (vec![member("../sub/", b'5', 0, b"")], "\"..\" part"),
        (vec![member("b/", b'0', 0, b"")], "empty"),
        (vec![file("/b", b"")], "absolute"),
        (vec![file("../b", b"")], "\"..\" part"),
        (vec![file("a\\b", b"")], "a backslash"),
        (vec![file("a\x1bb", b"")], "a control character"),
        (vec![file("", b"")], "empty"),
        (vec![file("b", b""), file("b", b"")], "a second member with the name b"),
        (vec![file("b", b""), file("./B", b"")], "a second member with the name B"),
        (vec![file("ä", b""), file("Ä", b"")], "a second member"),
        (vec![smuggled], "evil.ovf is a second descriptor"),
        (vec![member("b", b'0', evil_size + 4096, b"1")], "the file has"),
        (vec![member("b", b'0', u64::MAX, b"1")], "the size is negative, larger"),
        (vec![member("b", b'0', 1 << 63, b"1")], "the size is negative, larger"),
        (vec![member("b", b'0', i64::MAX as u64, b"1")], "the file has"),
        (vec![vec![0; 512], file("b", b"")], "data after the end"),
        (vec![vec![0; 4096], file("b", b"")], "data after the end"),
        (vec![vec![0; 2 << 20]], "exceed the limit"),
        (vec![b"not a header".repeat(512)], "not a tar header"),
    ] {
        let error = Ova::index(&archive(&parts)).expect_err(problem).to_string();
        assert!(error.contains(problem), "{problem}: {error}");
    }
}

#[test]
fn one_descriptor_is_needed_and_better_comes_first() {
    let late = [file("disk-1.vmdk", b""), file("vm.ovf", b"<>"), ZEROS.to_vec()].concat();
    let ova = Ova::index(&late).unwrap();
    assert_eq!(ova.descriptor().name(), &name("vm.ovf"));
    let warning = OvaWarning::DescriptorNotFirst { file: name("disk-1.vmdk") };
    assert_eq!(ova.warnings(), [warning]);

    let none = [file("disk-1.vmdk", b""), ZEROS.to_vec()].concat();
    assert!(matches!(Ova::index(&none), Err(OvaError::NoDescriptor)));
    assert!(matches!(Ova::index(&ZEROS.to_vec()), Err(OvaError::Empty)));
    assert!(matches!(Ova::index(&Vec::new()), Err(OvaError::Empty)));
    assert!(matches!(Ova::index(&b"short".to_vec()), Err(OvaError::Truncated { .. })));
}

#[test]
fn what_macos_puts_beside_files_is_passed_over() {
    let double = b"\0\x05\x16\x07";
    let parts = ["._vm.ovf", "vm.ovf", "._vm.mf", "vm.mf"].map(|name| file(name, double));
    let ova = Ova::index(&[&parts.concat()[..], &ZEROS].concat()).unwrap();
    assert_eq!(ova.descriptor().name(), &name("vm.ovf"));
    assert_eq!(ova.manifest().unwrap().name(), &name("vm.mf"));
    assert_eq!((ova.members().len(), ova.warnings().len()), (4, 0));
}

#[test]
fn papers_under_other_names_are_found_beside_those_of_macos() {
    let index = |names: &[&str]| {
        let parts: Vec<u8> = names.iter().flat_map(|name| file(name, b"x")).collect();
        Ova::index(&[&parts[..], &ZEROS].concat()).unwrap()
    };
    for extension in ["mf", "cert"] {
        let of = |stem: &str| format!("{stem}.{extension}");
        let found = |ova: &Ova| {
            let member = if extension == "mf" { ova.manifest() } else { ova.certificate() };
            member.map(|member| member.name().clone())
        };
        let ova = index(&["vm.ovf", &of("release"), &of("._release")]);
        assert_eq!(found(&ova), Some(name(&of("release"))));
        assert_eq!(found(&index(&["vm.ovf", &of("._vm")])), None);
        // To choose one of two would be to guess.
        let ova = index(&["vm.ovf", &of("one"), &of("two")]);
        assert_eq!(found(&ova), None);
        let (first, second) = (name(&of("one")), name(&of("two")));
        assert_eq!(ova.warnings(), [OvaWarning::Several { first, second }]);
        assert_eq!(index(&["vm.ovf", &of("one"), &of("vm")]).warnings(), []);
    }
}

#[test]
fn wrapped_archives_are_named() {
    for (start, format, command) in [
        (b"\x1F\x8B\x08\0".as_slice(), "gzip", "gunzip"),
        (b"\xFD7zXZ\0\0", "xz", "unxz"),
        (b"BZh91AY&SY", "bzip2", "bunzip2"),
        (b"\x28\xB5\x2F\xFD", "zstd", "unzstd"),
        (b"PK\x03\x04", "zip", "unzip"),
    ] {
        for len in [start.len(), 511, 512, 4096] {
            let mut archive = start.to_vec();
            archive.resize(archive.len().max(len), 0x5A);
            for rules in [Rules::Strict, Rules::Lenient] {
                let error = Ova::index_by(rules, &archive).unwrap_err();
                assert_eq!(
                    error.to_string(),
                    format!("packed with {format}, and must be unpacked first: {command}")
                );
                assert_eq!(streamed(rules, &archive).unwrap_err().to_string(), error.to_string());
            }
        }
    }
    // A name may begin like anything.
    let named = [file("BZh.ovf", b"<>"), ZEROS.to_vec()].concat();
    assert_eq!(list(&named), [("BZh.ovf".to_owned(), 2)]);
}

#[test]
fn lenient_rules_stop_looking_where_every_tool_does() {
    let body = [file("vm.ovf", b"<Envelope/>"), file("disk.vmdk", &[7; 700])].concat();
    let after = |bytes: &[u8]| [&body, &ZEROS[..], bytes].concat();
    let cut = |len: usize| after(&[])[..len].to_vec();
    let end = body.len();
    let at_byte = end as u64 + 1024;
    for (archive, expected) in [
        (after(b"signature"), vec![OvaWarning::DataAfterEnd { at_byte }]),
        (after(&file("evil", b"")), vec![OvaWarning::DataAfterEnd { at_byte }]),
        (
            after(&vec![0; 2 << 20]),
            vec![OvaWarning::DataAfterEnd { at_byte: end as u64 + (1 << 20) + 512 }],
        ),
        (after(&[]), vec![]),
        (cut(end), vec![OvaWarning::MissingEnd]),
        (cut(end + 1), vec![OvaWarning::CutEnd { len_bytes: end as u64 + 1 }]),
        (cut(end + 512), vec![OvaWarning::SingleEndBlock]),
        (cut(end + 513), vec![OvaWarning::CutEnd { len_bytes: end as u64 + 513 }]),
        (cut(end - 1), vec![OvaWarning::CutEnd { len_bytes: end as u64 - 1 }]),
        (cut(end - 324), vec![OvaWarning::CutEnd { len_bytes: end as u64 - 324 }]),
    ] {
        let ova = Ova::index_by(Rules::Lenient, &archive).unwrap();
        assert_eq!(ova.warnings(), expected);
        assert_eq!(ova.members().len(), 2);
        let stream = streamed(Rules::Lenient, &archive).unwrap();
        assert_eq!((stream.members(), stream.warnings()), (ova.members(), ova.warnings()));
    }
    for archive in [
        cut(end - 325),                        // within the content
        [&body, &ZEROS[..512], b"x"].concat(), // one block, then data
        [&body, &ZEROS[..512], &file("more", b"")].concat(),
        [&body[..], &pax(b'x', "path", "c")[..600]].concat(), // no member after it
        [&body[..], &file("VM.ovf", b"")[..512]].concat(),
    ] {
        assert!(Ova::index_by(Rules::Lenient, &archive).is_err());
        assert!(streamed(Rules::Lenient, &archive).is_err());
        assert!(Ova::index(&archive).is_err());
    }
}

#[test]
fn headers_with_two_readings_are_refused() {
    for (at, bytes, problem) in [
        (148, b"0000000\0".as_slice(), "wrong checksum"),
        (257, b"ustar\x001x", "unknown magic"),
        (257, b"\0\0\0\0\0\0\0\0\0", ""),
        (124, b"0o000000013\0", "not a number"),
        (124, b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "negative"),
        (0, b"\xFF.ovf", "not UTF-8"),
        (108, b"000000x\0", "not a number"),
        (136, b"00000000001\0", ""),
        (136, b"\0\0\0\0\0\0\0\0\0\0\0\0", ""),
    ] {
        let mut archive = archive(&[]);
        archive[at..at + bytes.len()].copy_from_slice(bytes);
        if problem != "wrong checksum" {
            archive = with_checksum(archive, 0);
        }
        match Ova::index(&archive) {
            Ok(ova) => assert_eq!((ova.members().len(), problem), (1, "")),
            Err(error) => assert!(error.to_string().contains(problem), "{problem}: {error}"),
        }
    }
    // An extended header of the old form: the tar crate takes it for a file.
    for kind in [b'x', b'g', b'L'] {
        let mut parts = pax(kind, "path", "c");
        parts[257..265].fill(0);
        parts = with_checksum(parts, 0);
        let error = Ova::index(&archive(&[parts, file("b", b"1")])).unwrap_err().to_string();
        assert!(error.contains("without the magic"), "{error}");
    }
    // A GNU header with times where POSIX has the prefix: Python would put them into the name.
    let mut archive = archive(&[]);
    archive[257..265].copy_from_slice(b"ustar  \0");
    archive[345..349].copy_from_slice(b"1234");
    let error = Ova::index(&with_checksum(archive, 0)).unwrap_err().to_string();
    assert!(error.contains("in place of the name prefix"), "{error}");
}

#[test]
fn odd_ends_are_warned_of() {
    let body = [file("vm.ovf", b"<Envelope/>"), file("other.mf", b"x")].concat();
    let name_warning = OvaWarning::ManifestName { file: name("other.mf") };
    for (end_bytes, warning) in [
        (0, Some(OvaWarning::MissingEnd)),
        (512, Some(OvaWarning::SingleEndBlock)),
        (1024, None),
        (10240, None),
        (10752, Some(OvaWarning::Padding { bytes: 10752 })),
    ] {
        let mut archive = body.clone();
        archive.resize(body.len() + end_bytes, 0);
        let ova = Ova::index(&archive).unwrap();
        let expected: Vec<_> = warning.into_iter().chain([name_warning.clone()]).collect();
        assert_eq!(ova.warnings(), expected, "{end_bytes}");
        assert_eq!(ova.manifest().unwrap().name(), &name("other.mf"));
    }
    // A part of a block is not an end, and a body needs its padding: other tools refuse both.
    for end_bytes in [1, 511, 513, 1023] {
        let mut archive = body.clone();
        archive.resize(body.len() + end_bytes, 0);
        assert!(matches!(Ova::index(&archive), Err(OvaError::Truncated { .. })), "{end_bytes}");
    }
    for cut_bytes in [1, 511, 512, 513] {
        let archive = body[..body.len() - cut_bytes].to_vec();
        assert!(matches!(Ova::index(&archive), Err(OvaError::Truncated { .. })), "{cut_bytes}");
    }
}

#[test]
fn headers_are_counted() {
    let many: Vec<_> = (0..16_384).map(|n| file(&n.to_string(), b"")).collect();
    assert!(matches!(Ova::index(&archive(&many)), Err(OvaError::Limit { .. })));
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let mut writer = Writer::new(Vec::new());
    let mut append =
        |path: &str, size, body: &[u8]| Writer::append(&mut writer, &name(path), size, &mut &*body);
    append("vm.ovf", 1, b"1").unwrap();
    assert!(matches!(append("VM.OVF", 0, b""), Err(WriteError::Duplicate { .. })));
    assert!(matches!(append("a", 0, b""), Err(WriteError::Broken)));
    assert!(matches!(writer.finish(), Err(WriteError::Broken)));

    let first = |path: &str, size, body: &[u8]| {
        Writer::new(Vec::new()).append(&name(path), size, &mut &*body)
    };
    assert!(matches!(first("a.vmdk", 0, b""), Err(WriteError::DescriptorNotFirst { .. })));
    assert!(matches!(first("a.ovf", 2, b"1"), Err(WriteError::Size { found_bytes: 1, .. })));
    assert!(matches!(first("a.ovf", 0, b"1"), Err(WriteError::Size { .. })));
    let long = "x".repeat(110) + ".ovf";
    assert!(matches!(first(&long, 0, b""), Err(WriteError::NameTooLong { .. })));
}

fn samples() -> Vec<Vec<u8>> {
    vec![
        written(),
        archive(&[pax(b'x', "path", "c/d"), file("b", b"1"), file("vm.mf", &[1; 700])]),
        archive(&[pax(b'x', "size", "600"), member("b", b'0', 0, &[1; 600]), file("c", b"1")]),
        archive(&[pax(b'g', "comment", "x"), member("l", b'L', 4, b"a/b\0"), file("x", b"1")]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _checked = Ova::index(&bytes);
    }

    /// Header bytes are changed under a right checksum, so that the change is looked at.
    #[test]
    fn what_is_accepted_after_a_mutation_means_the_same_to_tar(
        sample in 0_usize..4,
        edits in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..512, any::<u8>()), 1..3),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut archive = samples().swap_remove(sample);
        for (block, place, byte) in edits {
            let block = 512 * block.index(archive.len() / 512);
            archive[block + place] = byte;
            archive = with_checksum(archive, block);
        }
        if let Some(cut) = cut {
            archive.truncate(cut.index(archive.len()));
        }
        if Ova::index(&archive).is_ok() {
            prop_assert_eq!(list_by_tar_crate(archive.as_slice()), Some(list(&archive)));
        }
    }
}

/// The index of an archive whose length is not known beforehand, as it comes from a stream.
fn streamed(rules: Rules, archive: &[u8]) -> Result<Ova, OvaError> {
    let mut walk = Walk::new(None).by(rules);
    while let Some(wanted) = walk.wanted() {
        let start = usize::try_from(wanted.at_byte).unwrap_or(usize::MAX);
        let Some(rest) = archive.get(start..) else {
            walk.ends_at(archive.len() as u64)?;
            break;
        };
        walk.feed(&rest[..rest.len().min(wanted.len_bytes)])?;
    }
    Ova::new(walk)
}

#[test]
fn a_stream_has_no_other_meaning_than_a_file() {
    let parts = [
        file("disk-1.vmdk", &[7; 1300]),
        pax(b'x', "path", "long.vmdk"),
        file("short", b"x"),
        member("sub/", b'5', 0, b""),
        file("vm.mf", b""),
    ];
    let whole = archive(&parts);
    let padded = |len: usize| [&whole[..], &vec![0; len]].concat();
    let mut archives =
        vec![whole.clone(), padded(512), padded(100), padded(20_000), padded(2 << 20)];
    archives.push([&whole[..], b"x"].concat());
    archives.extend((0..whole.len()).step_by(97).map(|len| whole[..len].to_vec()));
    archives.extend((0..whole.len()).step_by(61).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x11;
        flipped
    }));
    archives.extend((0..whole.len()).step_by(512).map(|at| {
        // Something else is wrong than the checksum.
        with_checksum(whole.clone(), at)
    }));
    for archive in archives {
        for rules in [Rules::Strict, Rules::Lenient] {
            match (Ova::index_by(rules, &archive), streamed(rules, &archive)) {
                (Ok(file), Ok(stream)) => {
                    assert_eq!(file.members(), stream.members());
                    assert_eq!(file.warnings(), stream.warnings());
                }
                (Err(_), Err(_)) => {}
                (file, stream) => panic!("{} bytes: {file:?}, {stream:?}", archive.len()),
            }
        }
    }
}
