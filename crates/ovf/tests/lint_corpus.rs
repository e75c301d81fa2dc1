//! Descriptors that other people wrote, checked by the rules: who is accepted, who is refused for
//! what.
//!
//! Runs over the folder that `OVFTRANSFER_CORPUS` names, else over `shared/corpus/ovf` beside the
//! workspace, if there is one.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use ovftransfer_ovf::lint::Code;
use ovftransfer_ovf::lint::FilesBeside;
use ovftransfer_ovf::lint::Lint;
use ovftransfer_ovf::lint::Severity;
use ovftransfer_ovf::lint::lint;
use ovftransfer_ovf::lint::lint_with;

/// A descriptor that must be refused: by which code, and which words of the finding say that it is
/// for the reason in its name.
struct Refused {
    file: &'static str,
    code: Code,
    words: &'static str,
    told_by: ToldBy,
}

/// What tells that a descriptor is wrong.
#[derive(Clone, Copy)]
enum ToldBy {
    /// The descriptor alone.
    Itself,
    /// The size of a file beside it.
    Size(&'static str, u64),
    /// How a file beside it begins.
    Start(&'static str, &'static [u8]),
}

const fn wrong(file: &'static str, code: Code, words: &'static str) -> Refused {
    Refused { file, code, words, told_by: ToldBy::Itself }
}

/// The descriptors in folders named `Neg`, below `OVFToolTemplates/OVF/xmltestfiles/`.
const NEGATIVE: &[Refused] = &[
    wrong("DiskSection/Neg/dup_filerefs.ovf", Code::DiskFileShared, "file1"),
    wrong("DiskSection/Neg/no_diskid.ovf", Code::AttributeMissing, "diskId"),
    wrong("DiskSection/Neg/no_format.ovf", Code::DiskFormat, "format"),
    wrong("DiskSection_1_0/Neg/dup_diskid.ovf", Code::DiskDuplicate, "vmdisk1"),
    // A VMDK that needs a parent; the descriptor is that of its siblings which are right.
    Refused {
        told_by: ToldBy::Start(
            "../../../vmdk/invalid_delta_reference_disk.vmdk",
            b"KDMV\0# Disk DescriptorFile\nparentCID=7f2c01ab\n",
        ),
        ..wrong("DiskSection_1_0/Neg/invalid_delta_reference_disk.ovf", Code::DiskDelta, "parent")
    },
    wrong("DiskSection_1_0/Neg/no_capacity.ovf", Code::AttributeMissing, "capacity"),
    wrong("Envelope/Neg/identity_compression.ovf", Code::FileCompression, "identity"),
    // The file of the disk is empty; without a size in the descriptor, as in a sibling that is right.
    Refused {
        told_by: ToldBy::Size("../../../vmdk/dummy.vmdk", 0),
        ..wrong("Envelope/Neg/invalid_ref_size_null.ovf", Code::DiskFileEmpty, "dummy.vmdk")
    },
    // It has no disk at all; what is wrong with it is that its content has no Info.
    wrong("Envelope/Neg/invalid_zero_capacity.ovf", Code::InfoMissing, "VirtualSystem"),
    wrong("Envelope_1_0/Neg/bare_minimal.ovf", Code::InfoMissing, "VirtualSystem"),
    wrong("Envelope_1_0/Neg/invalid_env.ovf", Code::EnvelopeRoot, "FakeEnvelope"),
    wrong("Envelope_1_0/Neg/invalid_namespace.ovf", Code::EnvelopeNamespace, "nosuchspec"),
    wrong("Envelope_1_0/Neg/invalid_ref_no_href.ovf", Code::AttributeMissing, "href"),
    wrong("Envelope_1_0/Neg/section_compatibility_neg.ovf", Code::ElementUnknown, "UnknownSection"),
    wrong("Envelope_1_0/Neg/section_compatibility_rec.ovf", Code::ElementUnknown, "UnknownSection"),
    wrong("NetworkSection/Neg/net_sec_elsewhr.ovf", Code::SectionPlace, "NetworkSection"),
    wrong("NetworkSection_1_0/Neg/net_sec_elsewhr.ovf", Code::SectionPlace, "NetworkSection"),
    wrong("RASection_1_0/Neg/ras_sec_elsewhr.ovf", Code::SectionPlace, "ResourceAllocation"),
    wrong("VirtualHardware/Neg/child_uitem_req_true.ovf", Code::ItemChild, "Unknown"),
    wrong("VirtualHardware/Neg/dup_instanceid.ovf", Code::ItemDuplicate, "\"6\""),
    // An empty System is in a sibling that is right, too: what differs is the prefix.
    wrong("VirtualHardware/Neg/empty_system.ovf", Code::DraftPrefix, "ovf-namespace"),
    wrong("VirtualHardware/Neg/no_resourcetype.ovf", Code::ItemMissing, "ResourceType"),
    wrong("VirtualHardware/Neg/twomax_rangemarker.ovf", Code::ItemBoundRepeated, "max"),
    wrong("VirtualHardware/Neg/twomin_rangemarker.ovf", Code::ItemBoundRepeated, "min"),
    // The same with the prefix not declared.
    wrong("VirtualHardware_1_0/Neg/empty_system.ovf", Code::XmlPrefix, "ovf-namespace"),
    wrong("VirtualHardware_1_0/Neg/invalid_multiple_vh.ovf", Code::ItemMissing, "InstanceID"),
];

/// Descriptors of other folders that are wrong as well.
const OTHERS: &[Refused] = &[
    // The answer of a web server that did not have the file.
    wrong("DeleteHDTestdata/Sass_old/descriptor.ovf", Code::EnvelopeRoot, "HTML"),
    wrong("ImportOvf2014/aag-1-vm-AA.ovf", Code::InfoMissing, "DiskSection"),
    // It says of itself that it is to be refused, and for this.
    wrong(
        "ImportOvf2014/tagBasedPlacementSection/tagBasedPlacement007.ovf",
        Code::PlacementGroup,
        "group1",
    ),
    wrong("nostalgia-missing-element-name.ovf", Code::ItemMissing, "ElementName"),
    // A message bundle in a file that is not among the references.
    wrong("ovftoolresources/nvapp001.ovf", Code::MessageFileUnknown, "eula"),
    wrong("qualifiers.ovf", Code::DiskFormat, "format"),
    wrong(
        "security-test-content/ovf/negative-out-of-bound-disk/haoUnOS2VMs.ovf",
        Code::FileSize,
        "-9223372036854775809",
    ),
    wrong(
        "security-test-content/ovf/negative-size-disk/haoUnOS2VMs.ovf",
        Code::FileSize,
        "-9223372036854775807",
    ),
    wrong(
        "security-test-content/ovf/out-of-bounds-disk/haoUnOS2VMs.ovf",
        Code::FileSize,
        "9223372036854775808",
    ),
    wrong("unsupported-ovfs/unsupportedSection.ovf", Code::SectionUnknown, "UnsupportedSectionFoo"),
];

#[test]
fn descriptors_of_other_people_are_accepted_or_refused_for_a_reason() {
    let Some(folder) = corpus() else {
        println!("skipped: no folder shared/corpus/ovf, and OVFTRANSFER_CORPUS names none");
        return;
    };
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no .ovf file below {}", folder.display());
    // By folder: accepted, refused, refused with the files beside it.
    let mut table: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut reasons = Vec::new();
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let name = file.strip_prefix(&folder).unwrap().to_string_lossy().replace('\\', "/");
        let short = name.strip_prefix(TEMPLATES).unwrap_or(&name);
        let expected = NEGATIVE.iter().chain(OTHERS).find(|wrong| wrong.file == short);
        let alone = lint(&bytes);
        let found = expected.map_or_else(|| alone.clone(), |wrong| whole(wrong, &bytes));
        let place = match (alone.is_accepted(), found.is_accepted()) {
            (true, true) => 0,
            (false, _) => 1,
            (true, false) => 2,
        };
        table.entry(group(short)).or_default()[place] += 1;
        match expected {
            Some(wrong) => {
                let is_reason = |finding: &&ovftransfer_ovf::lint::Finding| {
                    finding.code == wrong.code && finding.message.contains(wrong.words)
                };
                let reason = found.findings.iter().find(is_reason);
                let reason = reason.unwrap_or_else(|| panic!("{short}: {:#?}", found.findings));
                assert_eq!(reason.severity, Severity::Error, "{short}");
                reasons.push(format!("{short}: {reason}"));
                let needs_files = !matches!(wrong.told_by, ToldBy::Itself);
                assert_eq!(alone.is_accepted(), needs_files, "{short}");
            }
            None => {
                let errors = found.findings.iter().filter(|one| one.severity == Severity::Error);
                let errors: Vec<String> = errors.map(ToString::to_string).collect();
                assert!(found.is_accepted(), "{name}: {errors:#?}");
            }
        }
    }
    let is_here = |wrong: &&Refused| files.iter().any(|file| file.ends_with(wrong.file));
    let known = NEGATIVE.iter().chain(OTHERS).filter(is_here).count();
    println!("{:<44} {:>8} {:>8} {:>10}", "folder", "accepted", "refused", "with files");
    let mut sum = [0; 3];
    for (group, counts) in &table {
        let [accepted, refused, with_files] = counts;
        println!("{group:<44} {accepted:>8} {refused:>8} {with_files:>10}");
        sum = [sum[0] + accepted, sum[1] + refused, sum[2] + with_files];
        if group.ends_with("/Pos") {
            assert_eq!(refused + with_files, 0, "{group}");
        }
        if group.ends_with("/Neg") {
            assert_eq!(*accepted, 0, "{group}");
        }
    }
    println!("{:<44} {:>8} {:>8} {:>10}", "all", sum[0], sum[1], sum[2]);
    println!("{}", reasons.join("\n"));
    assert_eq!(sum[1] + sum[2], known);
    if files.len() == CORPUS_FILES {
        assert_eq!(sum, [169, 34, 2]);
    }
}

/// The finding with what is known of the files beside the descriptor.
fn whole(wrong: &Refused, bytes: &[u8]) -> Lint {
    let mut files = FilesBeside::default();
    match wrong.told_by {
        ToldBy::Itself => return lint(bytes),
        ToldBy::Size(name, size) => files.add(name, size),
        ToldBy::Start(name, start) => {
            files.add(name, 329_197_568);
            files.add_start(name, start);
        }
    }
    lint_with(bytes, &files)
}

/// The folder as the table has it: those of the templates by section, others by their first part.
fn group(file: &str) -> String {
    let parts: Vec<&str> = file.split('/').collect();
    match parts.iter().position(|part| matches!(*part, "Neg" | "Pos")) {
        Some(end) => parts[..=end].join("/"),
        None if parts.len() == 1 => "(top)".to_owned(),
        None => parts[0].to_owned(),
    }
}

fn corpus() -> Option<PathBuf> {
    let folder = env::var_os("OVFTRANSFER_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/ovf"),
        PathBuf::from,
    );
    folder.is_dir().then_some(folder)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ovf")) {
            files.push(path);
        }
    }
}

/// Where the descriptors by section lie.
const TEMPLATES: &str = "OVFToolTemplates/OVF/xmltestfiles/";

/// Descriptors of the folder that the counts are of.
const CORPUS_FILES: usize = 205;
