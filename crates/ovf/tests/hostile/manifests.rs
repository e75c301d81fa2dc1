//! Manifests.

use super::Case;

/// All of them; none has an entry that is right about a file.
pub(crate) fn manifests() -> Vec<Case> {
    let sha1 = "5a".repeat(20);
    let line = |name: &str| format!("SHA1({name})= {sha1}\n");
    let utf16: Vec<u8> = "\u{feff}SHA1(a)= ".encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        Case::sane("nothing", Vec::new()),
        Case::sane("blank lines", b"\n \r\n\t\n".to_vec()),
        Case::refused("rubbish", b"rubbish\n".to_vec(), "not of the form"),
        Case::refused("of sha1sum", format!("{sha1}  vm.ovf\n").into_bytes(), "not of the form"),
        Case::refused("not utf-8", b"SHA1(\xFF)= 00\n".to_vec(), "not UTF-8"),
        Case::refused("utf-16", utf16, "UTF-16"),
        Case::refused(
            "md5",
            format!("MD5(vm.ovf)= {}\n", "5a".repeat(16)).into_bytes(),
            "algorithm",
        ),
        Case::refused("too short", b"SHA1(vm.ovf)= 5a\n".to_vec(), "digest of 1 bytes"),
        Case::refused(
            "too long",
            format!("SHA1(vm.ovf)= {sha1}{sha1}\n").into_bytes(),
            "digest of",
        ),
        Case::refused(
            "not hex",
            format!("SHA1(vm.ovf)= {}\n", "xy".repeat(20)).into_bytes(),
            "hex",
        ),
        Case::refused("traversal", line("../../etc/passwd").into_bytes(), "\"..\" part"),
        Case::refused("absolute", line("/etc/passwd").into_bytes(), "absolute"),
        Case::refused("no name", line("").into_bytes(), "empty"),
        Case::refused("a zero", line("a\0b").into_bytes(), "control character"),
        Case::refused(
            "two for one",
            [line("a"), line("a").replace('5', "6")].concat().into_bytes(),
            "a second",
        ),
        Case::refused("100,000 lines", b"\n".repeat(100_000), "lines"),
        Case::refused("5 MiB of blanks", vec![b' '; 5 << 20], "larger than"),
    ]
}
