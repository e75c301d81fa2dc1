//! OVAs.

use super::Case;
use super::tar::DATA;
use super::tar::DESCRIPTOR;
use super::tar::MAGIC;
use super::tar::Tar;
use super::tar::record;

/// All of them.
pub(crate) fn archives() -> Vec<Case> {
    [names(), kinds(), twice(), extended(), numbers(), headers(), ends(), wholes()].concat()
}

fn names() -> Vec<Case> {
    let package = Tar::package;
    let mut cases: Vec<Case> = [
        ("traversal", &b"../evil"[..], "\"..\" part"),
        ("traversal in the middle", b"a/../../evil", "\"..\" part"),
        ("traversal at the end", b"a/..", "\"..\" part"),
        ("absolute", b"/etc/evil", "absolute"),
        ("two slashes", b"//etc/evil", "absolute"),
        ("empty part", b"a//evil", "empty"),
        ("dot in the middle", b"a/./evil", "\"..\" part"),
        ("backslash", b"..\\evil", "a backslash"),
        ("drive letter", b"C:evil", "a drive letter"),
        ("url", b"file://evil", "a URL"),
        ("escape", b"evil\x1b[2J", "a control character"),
        ("new line", b"evil\nvm.mf", "a control character"),
        ("not utf-8", b"evil\xFF", "not UTF-8"),
        ("no name", b"", "empty"),
        ("slash at the end", b"evil/", "empty"),
    ]
    .into_iter()
    .map(|(name, path, because)| {
        let archive = package().member(path, b'0', 1, b"x").data().end();
        Case::refused(format!("name, {name}"), archive, because)
    })
    .collect();

    let prefixed = |prefix: &'static [u8], name: &[u8]| {
        package()
            .header(name, b'0', b"00000000001\0", |header| {
                header[345..345 + prefix.len()].copy_from_slice(prefix);
            })
            .raw(b"x")
            .raw(&[0; 511])
            .data()
            .end()
    };
    let full = [b'n'; 100];
    cases.extend([
        Case::refused("name, traversal in the prefix", prefixed(b"..", b"evil"), "\"..\" part"),
        Case::refused("name, absolute prefix", prefixed(b"/etc", b"evil"), "absolute"),
        Case::refused("name, prefix with a slash", prefixed(b"a/", b"evil"), "empty"),
        Case::sane("name, prefix", prefixed(b"folder/other", b"good")),
        Case::sane(
            "name, as long as its field",
            package().data().member(&full, b'0', 1, b"x").end(),
        ),
        Case::sane(
            "name, data behind its zero",
            package().data().member(b"a\0b", b'0', 1, b"x").end(),
        ),
        Case::sane("name, dot and slash", Tar::default().file("./vm.ovf", DESCRIPTOR).data().end()),
        Case::sane("name, not ascii", package().data().file("ä/ö 1.txt", b"x").end()),
        Case::sane("name, blanks", package().data().file(" a (1) [x] ", b"x").end()),
    ]);
    cases
}

fn kinds() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (b'1', "a hard link"),
        (b'2', "a symbolic link"),
        (b'3', "a device"),
        (b'4', "a device"),
        (b'6', "a named pipe"),
        (b'7', "a contiguous file"),
        (b'D', "unknown type"),
        (b'K', "a link with a long target"),
        (b'M', "unknown type"),
        (b'N', "unknown type"),
        (b'S', "a sparse file"),
        (b'V', "unknown type"),
        (b'X', "unknown type"),
        (b'A', "unknown type"),
    ]
    .into_iter()
    .map(|(kind, because)| {
        let archive = Tar::package().member(b"data.bin", kind, 0, b"").data().end();
        Case::refused(format!("kind {}", char::from(kind)), archive, because)
    })
    .collect();
    let link = Tar::package().header(b"data.bin", b'2', b"00000000000\0", |header| {
        header[157..168].copy_from_slice(b"/etc/passwd");
    });
    let folder = |name: &[u8], size| Tar::package().member(name, b'5', size, b"x").data().end();
    cases.extend([
        Case::refused("kind, link and a file through it", link.data().end(), "a symbolic link"),
        Case::refused("kind, folder with a size", folder(b"sub/", 1), "a folder with a size"),
        Case::refused("kind, folder outside", folder(b"../sub/", 0), "\"..\" part"),
        Case::refused("kind, folder of the root", folder(b"/", 0), "empty"),
        Case::sane("kind, zero", Tar::package().member(b"data.bin", 0, 700, DATA).end()),
        Case::sane("kind, folder", Tar::package().member(b"sub/", b'5', 0, b"").data().end()),
        Case::sane(
            "kind, this folder",
            Tar::default().member(b"./", b'5', 0, b"").file("./vm.ovf", DESCRIPTOR).data().end(),
        ),
    ]);
    cases
}

fn twice() -> Vec<Case> {
    [("twice", "data.bin"), ("twice, by case", "DATA.bin"), ("twice, by a prefix", "./data.bin")]
        .map(|(name, path)| {
            Case::refused(name, Tar::package().data().file(path, b"x").end(), "a second member")
        })
        .into_iter()
        .chain([
            Case::refused(
                "twice, by case beyond ascii",
                Tar::package().data().file("ä", b"").file("Ä", b"").end(),
                "a second member",
            ),
            Case::refused(
                "twice, by an extended name",
                Tar::package().data().pax(b'x', &[("path", "Data.Bin")]).file("x", b"x").end(),
                "a second member",
            ),
            Case::refused(
                "two descriptors",
                Tar::package().data().file("other.ovf", DESCRIPTOR).end(),
                "a second descriptor",
            ),
            Case::refused(
                "two descriptors, one in a folder",
                Tar::package().data().file("sub/vm.OVF", DESCRIPTOR).end(),
                "a second descriptor",
            ),
        ])
        .collect()
}

fn extended() -> Vec<Case> {
    let package = Tar::package;
    let smuggled = Tar::default().file("evil.ovf", DESCRIPTOR).cut();
    let smuggled_bytes = smuggled.len().to_string();
    let with = |records: &[(&str, &str)]| package().pax(b'x', records).data().end();
    let body = |body: &[u8]| package().pax_of(b'x', body).data().end();
    let claims = |kind: u8| {
        let tar = package().header(b"x", kind, b"20000000000\0", |_header| ());
        tar.raw(&[b'x'; 512]).data().end()
    };
    let without_magic = |kind: u8| {
        let size = format!("{:011o}\0", record("path", "evil").len());
        let change = |header: &mut [u8; 512]| header[MAGIC].fill(0);
        let tar = package().header(b"x", kind, size.as_bytes(), change);
        tar.raw(record("path", "evil").as_bytes()).raw(&[0; 499]).data().end()
    };
    let mut cases = vec![
        Case::refused(
            "pax, size hides a member",
            package()
                .pax(b'x', &[("size", &smuggled_bytes)])
                .member(b"a", b'0', 1, &[0; 512])
                .raw(&smuggled)
                .data()
                .end(),
            "the header says 1 bytes",
        ),
        Case::refused(
            "pax, size shows a member",
            package()
                .pax(b'x', &[("size", "0")])
                .member(b"a", b'0', smuggled.len() as u64, &smuggled)
                .data()
                .end(),
            "the extended header 0",
        ),
        Case::refused(
            "pax, size of 2^63",
            with(&[("size", "9223372036854775808")]),
            "not a number",
        ),
        Case::refused("pax, negative size", with(&[("size", "-1")]), "not a number"),
        Case::refused("pax, no size", with(&[("size", "")]), "not a number"),
        Case::refused("pax, size and size", with(&[("size", "700"), ("size", "700")]), "twice"),
        Case::refused("pax, path and path", with(&[("path", "a"), ("path", "data.bin")]), "twice"),
        Case::refused("pax, no path", with(&[("path", "")]), "empty"),
        Case::refused("pax, traversal", with(&[("path", "../evil")]), "\"..\" part"),
        Case::refused(
            "pax, zero in the path",
            with(&[("path", "data.bin\0x")]),
            "control character",
        ),
        Case::refused("pax, not utf-8", body(b"12 path=a\xFFb\n"), "not UTF-8"),
        Case::refused("pax, charset", with(&[("hdrcharset", "BINARY")]), "not UTF-8"),
        Case::refused("pax, target", with(&[("linkpath", "evil")]), "the target of a link"),
        Case::refused("pax, sparse", with(&[("GNU.sparse.major", "1")]), "a sparse file"),
        Case::refused("pax, sparse name", with(&[("GNU.sparse.name", "evil")]), "a sparse file"),
        Case::refused("pax, real size", with(&[("SCHILY.realsize", "1")]), "a sparse file"),
        Case::refused(
            "pax, global size",
            package().pax(b'g', &[("size", "1")]).data().end(),
            "for all members",
        ),
        Case::refused(
            "pax, global path",
            package().pax(b'g', &[("path", "evil")]).data().end(),
            "for all members",
        ),
        Case::refused("pax, of 2 GiB", claims(b'x'), "exceed the limit"),
        Case::refused("pax, global of 2 GiB", claims(b'g'), "exceed the limit"),
        Case::refused("long name of 2 GiB", claims(b'L'), "exceed the limit"),
        Case::refused("pax without magic", without_magic(b'x'), "without the magic"),
        Case::refused("global pax without magic", without_magic(b'g'), "without the magic"),
        Case::refused("long name without magic", without_magic(b'L'), "without the magic"),
        Case::refused(
            "pax and pax",
            package().pax(b'x', &[("path", "a")]).pax(b'x', &[("mtime", "1")]).data().end(),
            "two for one",
        ),
        Case::refused(
            "pax and long name",
            package().pax(b'x', &[("path", "a")]).long_name(b'L', b"b\0").data().end(),
            "two for one",
        ),
        Case::refused(
            "long name and long name",
            package().long_name(b'L', b"a\0").long_name(b'L', b"b\0").data().end(),
            "two for one",
        ),
        Case::refused(
            "long name with data behind it",
            package().long_name(b'L', b"a\0b\0").data().end(),
            "data after the name",
        ),
        Case::refused(
            "long name outside",
            package().long_name(b'L', b"../evil\0").data().end(),
            "\"..\" part",
        ),
        Case::refused(
            "pax at the end",
            package().data().pax(b'x', &[("path", "a")]).end(),
            "no member after it",
        ),
        Case::refused(
            "long name at the end",
            package().data().long_name(b'L', b"a\0").end(),
            "no member after it",
        ),
        Case::sane("pax, path", {
            package().pax(b'x', &[("path", "data.bin")]).file("short", DATA).end()
        }),
        Case::sane("pax, size", {
            package().pax(b'x', &[("size", "700")]).member(b"data.bin", b'0', 0, DATA).end()
        }),
        Case::sane("pax, size twice the same", with(&[("size", "700")])),
        Case::sane("pax, times", with(&[("mtime", "1234567890.5"), ("atime", "1")])),
        Case::sane("pax, unknown key", with(&[("VENDOR.key", "a=b c")])),
        Case::sane("pax, charset of utf-8", with(&[("hdrcharset", "ISO-IR 10646 2000 UTF-8")])),
        Case::sane("pax, comment for all", package().pax(b'g', &[("comment", "x")]).data().end()),
        Case::sane("long name", {
            package()
                .data()
                .long_name(b'L', &[&[b'n'; 120][..], b"\0"].concat())
                .file("n", b"x")
                .end()
        }),
    ];
    for (name, bytes) in [
        ("too short", &b"8 path=a\n"[..]),
        ("too long", b"11 path=a\n"),
        ("beyond the header", b"99 path=a\n"),
        ("no length", b" path=a\n"),
        ("length with a sign", b"+9 path=a\n"),
        ("length of zero", b"0 path=a\n"),
        ("length in hex", b"0x9 path=a\n"),
        ("length beyond 64 bits", b"99999999999999999999 path=a\n"),
        ("no key", b"5 =a\n"),
        ("zero in the key", b"14 mt\0me=1.50\n"),
        ("no equal sign", b"7 path\n"),
        ("no line feed", b"9 path=a "),
        ("rubbish behind", b"9 path=a\nrubbish"),
        ("zeros behind", b"9 path=a\n\0\0\0"),
        ("rubbish", b"rubbish"),
    ] {
        cases.push(Case::refused(format!("pax, record, {name}"), body(bytes), "malformed record"));
    }
    cases
}

fn numbers() -> Vec<Case> {
    let sized = |size: [u8; 12]| Tar::package().data().header(b"a", b'0', &size, |_header| ());
    let mut cases = Vec::new();
    for (name, size) in [
        ("of 2^63", [0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("of 2^64", [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("of 95 bits", [0xBF; 12]),
        ("below zero", [0xFF; 12]),
        ("of 11 octets below zero", *b"-0000000001\0"),
        ("with a prefix", *b"0x000000001\0"),
        ("with an underscore", *b"1_000000000\0"),
        ("with an 8", *b"00000000008\0"),
        ("of nothing", [0; 12]),
        ("of blanks", [b' '; 12]),
        ("with a zero inside", *b"0000\x00000001\0"),
    ] {
        let archive = sized(size).raw(&[0; 512]).end();
        cases.push(Case::refused(format!("size {name}"), archive, "the size is"));
    }
    for (name, size) in [
        ("of 2^63 less 1", [0x80, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("of 8 GiB", [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]),
        ("of 8 GiB less 1", *b"77777777777\0"),
        ("of twelve digits", *b"777777777777"),
    ] {
        cases.push(Case::refused(
            format!("size {name}, not there"),
            sized(size).end(),
            "are needed",
        ));
    }
    for (name, size) in [
        ("with blanks", *b"         1 \0"),
        ("without an end", *b"000000000001"),
        ("in base 256", [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        cases.push(Case::sane(format!("size {name}"), sized(size).raw(&[b'x'; 512]).end()));
    }
    for (name, at) in [("mode", 100), ("owner", 108), ("group", 116), ("time", 136)] {
        let len = if at == 136 { 12 } else { 8 };
        let archive = |text: &'static [u8]| {
            let change =
                |header: &mut [u8; 512]| header[at..at + len].copy_from_slice(&text[..len]);
            Tar::package()
                .header(b"data.bin", b'0', b"00000001274\0", change)
                .raw(DATA)
                .raw(&[0; 324])
                .end()
        };
        cases.push(Case::refused(
            format!("{name} of letters"),
            archive(b"rubbish\0\0\0\0\0"),
            "not a number",
        ));
        cases.push(Case::sane(format!("{name} of nothing"), archive(&[0; 12])));
    }
    let binary = |at: usize, number: &'static [u8]| {
        let change = |header: &mut [u8; 512]| header[at..at + number.len()].copy_from_slice(number);
        let tar = Tar::package().header(b"data.bin", b'0', b"00000001274\0", change);
        tar.raw(DATA).raw(&[0; 324]).end()
    };
    for (name, at, number) in [
        ("time of 2^56", 136, &[0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..]),
        ("time of 2^88", 136, &[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("time of -2^64", 136, &[0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("owner of 2^32", 108, &[0x80, 0, 0, 1, 0, 0, 0, 0]),
        ("owner below zero", 108, &[0xFF; 8]),
        ("group of 2^48", 116, &[0x80, 1, 0, 0, 0, 0, 0, 0]),
    ] {
        cases.push(Case::refused(name, binary(at, number), "not a number"));
    }
    for (name, at, number) in [
        ("time of 2^33", 136, &[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0][..]),
        ("time before 1970", 136, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0]),
        ("owner of 2^30", 108, &[0x80, 0, 0, 0, 0x40, 0, 0, 0]),
    ] {
        cases.push(Case::sane(name, binary(at, number)));
    }
    cases
}

fn headers() -> Vec<Case> {
    let changed = |change: fn(&mut [u8; 512])| {
        Tar::package()
            .header(b"data.bin", b'0', b"00000001274\0", change)
            .raw(DATA)
            .raw(&[0; 324])
            .end()
    };
    // After the checksum was made.
    let broken = |at: usize, bytes: &[u8]| {
        let mut archive = changed(|_header| ());
        archive[1024 + at..1024 + at + bytes.len()].copy_from_slice(bytes);
        archive
    };
    vec![
        Case::refused("checksum of zeros", broken(148, b"000000\0 "), "wrong checksum"),
        Case::refused("checksum of blanks", broken(148, b"        "), "wrong checksum"),
        Case::refused("checksum of letters", broken(148, b"rubbish!"), "wrong checksum"),
        Case::refused("a bit of the name", broken(0, b"e"), "wrong checksum"),
        Case::refused(
            "magic of another",
            changed(|h| h[MAGIC].copy_from_slice(b"ustar\x0099")),
            "magic",
        ),
        Case::refused(
            "magic of nobody",
            changed(|h| h[MAGIC].copy_from_slice(b"rubbish!")),
            "magic",
        ),
        Case::refused(
            "times where the prefix is",
            changed(|header| {
                header[MAGIC].copy_from_slice(b"ustar  \0");
                header[345..357].copy_from_slice(b"02264044200\0");
            }),
            "in place of the name prefix",
        ),
        Case::refused(
            "prefix without magic",
            changed(|header| {
                header[MAGIC].fill(0);
                header[345..349].copy_from_slice(b"evil");
            }),
            "in place of the name prefix",
        ),
        Case::sane("no magic", changed(|header| header[MAGIC].fill(0))),
        Case::sane("magic of GNU", changed(|h| h[MAGIC].copy_from_slice(b"ustar  \0"))),
        Case::sane("checksum of other form", {
            let mut archive = changed(|_header| ());
            let sum = archive[1024 + 148..1024 + 154].to_vec();
            archive[1024 + 148..1024 + 156].copy_from_slice(&[b"  ", &sum[..]].concat());
            archive
        }),
        Case::sane("rubbish in the padding", {
            let mut archive = Tar::package().data().end();
            let end = archive.len() - 1024;
            archive[end - 300..end].fill(0x5A);
            archive
        }),
    ]
}

fn ends() -> Vec<Case> {
    let package = || Tar::package().data();
    let cut = |bytes: usize| {
        let mut archive = package().cut();
        archive.truncate(archive.len() - bytes);
        archive
    };
    let smuggled = Tar::default().file("evil", b"x").cut();
    vec![
        Case::refused("cut in the data", cut(600), "are needed"),
        Case::refused("cut in the padding", cut(1), "are needed"),
        Case::refused("cut in a header", cut(1100), "are needed"),
        Case::refused(
            "one zero block, then more",
            package().raw(&[0; 512]).raw(&smuggled).end(),
            "after the end",
        ),
        Case::refused(
            "the end, then more",
            package().raw(&[0; 1024]).raw(&smuggled).end(),
            "after the end",
        ),
        Case::refused(
            "the end, then rubbish",
            package().raw(&[0; 1024]).raw(b"rubbish").cut(),
            "after the end",
        ),
        Case::refused("2 MiB of zeros", package().raw(&vec![0; 2 << 20]).cut(), "exceed the limit"),
        Case::sane("no end", package().cut()),
        Case::sane("one zero block", package().raw(&[0; 512]).cut()),
        Case::sane("64 KiB of zeros", package().raw(&vec![0; 64 << 10]).cut()),
        Case::sane("as it should be", package().end()),
        Case::sane(
            "made on macOS",
            Tar::default()
                .file("./._vm.ovf", b"\0\x05\x16\x07")
                .file("./vm.ovf", DESCRIPTOR)
                .pax(b'x', &[("LIBARCHIVE.xattr.com.apple.quarantine", "MDA4MQ")])
                .file("._data.bin", b"\0\x05\x16\x07")
                .data()
                .end(),
        ),
        Case::sane("descriptor at the end", Tar::default().data().file("vm.ovf", DESCRIPTOR).end()),
    ]
}

fn wholes() -> Vec<Case> {
    // More than the limit, which is 16,384.
    let many = (0..16_400).fold(Tar::package().data(), |tar, number| {
        tar.member(number.to_string().as_bytes(), b'0', 0, b"")
    });
    let folder = Tar::default().member(b"sub/", b'5', 0, b"").cut();
    let folders = Tar::package().data().raw(&folder.repeat(16_400));
    vec![
        Case::refused("nothing", Vec::new(), "not one member"),
        Case::refused("zeros", vec![0; 1024], "not one member"),
        Case::refused("rubbish", b"rubbish ".repeat(200), "not a tar header"),
        Case::refused("a word", b"rubbish".to_vec(), "are needed"),
        Case::refused("no descriptor", Tar::default().data().end(), "none of its members"),
        Case::refused("16,400 members", many.end(), "headers exceed the limit"),
        Case::refused("16,400 folders", folders.end(), "headers exceed the limit"),
        Case::refused("gzip", b"\x1F\x8B\x08\0\0\0\0\0".repeat(100), "gunzip"),
        Case::refused("xz", b"\xFD7zXZ\0\0\x04".repeat(100), "unxz"),
        Case::refused("bzip2", b"BZh91AY&SY".repeat(100), "bunzip2"),
        Case::refused("zstd", b"\x28\xB5\x2F\xFD\x04\x58".repeat(100), "unzstd"),
        Case::refused("zip", b"PK\x03\x04\x14\0\0\0".repeat(100), "unzip"),
    ]
}
