//! What is accepted means the same to GNU tar, to Python's tarfile and to the tar crate: the same
//! names, sizes and contents.  Everything else is refused.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod hostile;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use hostile::Dice;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::OvaWarning;
use ovftransfer_ovf::ova::Rules;
use ovftransfer_ovf::ova::Writer;

/// Name, size and SHA-256 of each file, in order.
type Listing = Vec<(String, u64, String)>;

/// Name and size of each file, in order.
type Sizes = Vec<(String, u64)>;

/// An archive, and what is in it.
struct Sample {
    name: String,
    archive: Vec<u8>,
    listing: Listing,
}

impl Sample {
    /// Nothing if we refuse the archive.
    fn accepted(name: impl Into<String>, archive: Vec<u8>) -> Option<Self> {
        let listing = listing(&Ova::index(&archive).ok()?, &archive);
        Some(Self { name: name.into(), archive, listing })
    }
}

fn listing(ova: &Ova, archive: &[u8]) -> Listing {
    let of = |member: &ovftransfer_ovf::ova::Member| {
        let start = usize::try_from(member.offset_bytes()).unwrap();
        let end = start + usize::try_from(member.size_bytes()).unwrap();
        (member.name().to_string(), member.size_bytes(), sha256(&archive[start..end]))
    };
    ova.members().iter().map(of).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The outcome of a case that should have been another one.  Reasons fit on a line of a terminal.
fn wrong<T>(case: &hostile::Case, outcome: Result<T, impl ToString>) -> Option<String> {
    if let Err(error) = &outcome
        && (error.to_string().contains(char::is_control) || error.to_string().len() > 1024)
    {
        return Some(format!("{}: {:?}", case.name, error.to_string()));
    }
    match (outcome, case.refused) {
        (Ok(_), None) => None,
        (Err(error), Some(because)) if error.to_string().contains(because) => None,
        (Ok(_), Some(because)) => Some(format!("{}: accepted, not refused: {because}", case.name)),
        (Err(error), _) => {
            Some(format!("{}: {}, not {:?}", case.name, error.to_string(), case.refused))
        }
    }
}

#[test]
fn every_case_is_told_apart() {
    let archives = hostile::archives();
    let mut wrong: Vec<String> =
        archives.iter().filter_map(|case| wrong(case, Ova::index(&case.bytes))).collect();
    for case in hostile::descriptors() {
        wrong.extend(self::wrong(&case, Envelope::parse(case.bytes.clone())));
    }
    for case in hostile::manifests() {
        wrong.extend(self::wrong(&case, Manifest::parse(&case.bytes)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for case in archives {
        let lenient = Ova::index_by(Rules::Lenient, &case.bytes);
        if lenient.is_err() && case.refused.is_some() {
            continue;
        }
        // The only difference is what stands behind the last member.
        let is_told = lenient.unwrap().warnings().iter().any(|warning| {
            matches!(warning, OvaWarning::CutEnd { .. } | OvaWarning::DataAfterEnd { .. })
        });
        assert_eq!(is_told, case.refused.is_some(), "{}", case.name);
    }
}

/// `OVFTRANSFER_TRIES` says how many changed archives are tried, 2000 if it is not set.
#[test]
fn what_we_accept_is_the_same_to_all() {
    let mut samples: Vec<Sample> = hostile::archives()
        .into_iter()
        .filter(|case| case.refused.is_none())
        .map(|case| Sample::accepted(case.name, case.bytes).unwrap())
        .collect();
    let sane = samples.len();
    let written = (0..60).map(written);
    samples.extend(
        written.enumerate().map(|(number, archive)| {
            Sample::accepted(format!("written {number}"), archive).unwrap()
        }),
    );
    let tries = std::env::var("OVFTRANSFER_TRIES").map_or(2000, |tries| tries.parse().unwrap());
    let tried = hostile::campaign(5, tries).into_iter().enumerate();
    samples
        .extend(tried.filter_map(|(number, archive)| {
            Sample::accepted(format!("changed {number}"), archive)
        }));
    let changed = samples.len() - sane - 60;
    println!("{sane} sane ones, 60 written ones, {changed} of {tries} changed ones accepted");
    compare(&samples);
}

/// What others write, in every format that they know.
#[test]
fn what_others_write_is_read_alike() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let long = format!("{}/{}.txt", "folder".repeat(12), "n".repeat(90));
    fs::create_dir_all(path("in").join(&long).parent().unwrap()).unwrap();
    for (name, bytes) in [
        ("vm.ovf", &b"<Envelope/>"[..]),
        ("vm.mf", b""),
        ("disk-1.vmdk", &[7; 70_000]),
        ("ü (1).txt", b"x"),
        (&long, b"long"),
    ] {
        fs::write(path("in").join(name), bytes).unwrap();
    }
    let short = ["vm.ovf", "vm.mf", "disk-1.vmdk", "ü (1).txt"];
    let mut samples = Vec::new();
    let mut read = |name: String, file: &Path, members: usize| {
        let archive = fs::read(file).unwrap();
        let refused = Ova::index(&archive).err();
        let sample = Sample::accepted(name.clone(), archive);
        let sample = sample.unwrap_or_else(|| panic!("{name}: {refused:?}"));
        assert_eq!(sample.listing.len(), members, "{name}");
        samples.push(sample);
    };
    for (format, takes_long) in
        [("ustar", true), ("gnu", true), ("pax", true), ("oldgnu", true), ("v7", false)]
    {
        let out = path("out.tar");
        let mut command = Command::new("tar");
        command.args(["--format", format, "-cf"]).arg(&out).arg("-C").arg(path("in"));
        command.args(short).args(takes_long.then_some(&long));
        if run(&mut command).is_some_and(|output| succeeded("tar", &output)) {
            read(format!("tar {format}"), &out, short.len() + usize::from(takes_long));
        }
        // As people do it who stand in the folder: `./` before each name, and folders.
        let mut command = Command::new("tar");
        command.args(["--format", format, "--sort=name", "-cf"]).arg(&out);
        command
            .arg("-C")
            .arg(path("in"))
            .args((!takes_long).then_some("--exclude=folder*"))
            .arg(".");
        if run(&mut command).is_some_and(|output| succeeded("tar", &output)) {
            read(format!("tar {format} ."), &out, short.len() + usize::from(takes_long));
        }
    }
    let script = "import sys, tarfile\n\
                  for name in ['USTAR', 'GNU', 'PAX']:\n\
                  \x20 with tarfile.open(name, 'w', format=getattr(tarfile, name + '_FORMAT')) as t:\n\
                  \x20   for file in sys.argv[1:]: t.add('in/' + file, file)";
    let mut command = Command::new("python3");
    command.args(["-c", script]).args(short).arg(&long).current_dir(folder.path());
    if run(&mut command).is_some_and(|output| succeeded("python3", &output)) {
        for format in ["USTAR", "GNU", "PAX"] {
            read(format!("tarfile {format}"), &path(format), short.len() + 1);
        }
    }
    compare(&samples);
}

/// An archive by our writer, of members with names and sizes that the dice choose.
fn written(seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(1000 + seed);
    let mut writer = Writer::new(Vec::new());
    let mut add = |name: &str, dice: &mut Dice| {
        let size = [0, 1, 511, 512, 513, dice.below(5000)][dice.below(6)];
        let body: Vec<u8> = (0..size).map(|_| b"ab\0\xFF"[dice.below(4)]).collect();
        let name = FileName::new(name).unwrap();
        writer.append(&name, size as u64, &mut body.as_slice()).unwrap();
    };
    add("vm.ovf", &mut dice);
    for number in 0..dice.below(8) {
        let letters = ["a", "Ω", " ", "(1)", "-", "é", ".", "=", "x/"];
        let mut name = number.to_string();
        for _ in 0..dice.below(40) {
            name.push_str(letters[dice.below(letters.len())]);
        }
        name.push('z');
        if name.len() <= 100 {
            add(&name, &mut dice);
        }
    }
    writer.finish().unwrap()
}

fn compare(samples: &[Sample]) {
    for sample in samples {
        assert_eq!(by_tar_crate(&sample.archive), sample.listing, "tar crate: {}", sample.name);
    }
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> =
        (0..samples.len()).map(|number| folder.path().join(format!("{number:05}.tar"))).collect();
    for (file, sample) in files.iter().zip(samples) {
        fs::write(file, &sample.archive).unwrap();
    }
    if let Some(listings) = by_python(folder.path(), samples.len()) {
        for (sample, listing) in samples.iter().zip(listings) {
            assert_eq!(listing, sample.listing, "tarfile: {}", sample.name);
        }
    }
    for (file, sample) in files.iter().zip(samples) {
        let Some((sizes, content)) = by_gnu_tar(file, &sample.name) else { return };
        let expected: Sizes =
            sample.listing.iter().map(|(name, size, _)| (name.clone(), *size)).collect();
        assert_eq!(sizes, expected, "tar: {}", sample.name);
        // All of it in one piece: with the sizes it tells what each file holds.
        let ova = Ova::index(&sample.archive).unwrap();
        let whole: Vec<u8> = ova
            .members()
            .iter()
            .flat_map(|member| {
                let start = usize::try_from(member.offset_bytes()).unwrap();
                let size = usize::try_from(member.size_bytes()).unwrap();
                sample.archive[start..start + size].iter().copied()
            })
            .collect();
        assert_eq!(content, whole, "tar: {}", sample.name);
    }
}

fn by_tar_crate(archive: &[u8]) -> Listing {
    let mut listing = Listing::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let name = plain(str::from_utf8(&entry.path_bytes()).unwrap());
            let mut body = Vec::new();
            entry.read_to_end(&mut body).unwrap();
            listing.push((name, entry.size(), sha256(&body)));
        }
    }
    listing
}

/// All archives of a folder, by one process.
fn by_python(folder: &Path, count: usize) -> Option<Vec<Listing>> {
    let script = "import hashlib, os, sys, tarfile\n\
        sys.stdout.reconfigure(encoding='utf-8', errors='surrogateescape')\n\
        for name in sorted(os.listdir(sys.argv[1])):\n\
        \x20 print('archive')\n\
        \x20 try:\n\
        \x20   with tarfile.open(os.path.join(sys.argv[1], name), 'r:', encoding='utf-8') as t:\n\
        \x20     for m in t:\n\
        \x20       if m.isdir(): continue\n\
        \x20       assert m.isreg(), m.type\n\
        \x20       print(m.size, hashlib.sha256(t.extractfile(m).read()).hexdigest(), m.name, sep='\\t')\n\
        \x20 except Exception as error: print(0, repr(error), 'error', sep='\\t')\n";
    let output = run(Command::new("python3").args(["-c", script]).arg(folder))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut listings = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if line == "archive" {
            listings.push(Listing::new());
            continue;
        }
        let mut words = line.splitn(3, '\t');
        let (size, digest) = (words.next().unwrap(), words.next().unwrap());
        let entry = (plain(words.next().unwrap()), size.parse().unwrap(), digest.to_owned());
        listings.last_mut().unwrap().push(entry);
    }
    assert_eq!(listings.len(), count);
    Some(listings)
}

/// Names and sizes, and the contents of all files in one piece.
fn by_gnu_tar(archive: &Path, name: &str) -> Option<(Sizes, Vec<u8>)> {
    let tar = |arguments: &[&str]| {
        let mut command = Command::new("tar");
        command.args(arguments).arg(archive).env("LC_ALL", "C").env("TZ", "UTC");
        let output = run(&mut command)?;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tar: {name}: {told}");
        Some(output.stdout)
    };
    let listed = tar(&["--quoting-style=literal", "--numeric-owner", "-tvf"])?;
    let listed = String::from_utf8(listed).unwrap();
    let files = listed.lines().filter(|line| !line.starts_with('d')).map(|line| {
        assert!(line.starts_with('-'), "tar: {name}: {line}");
        // Mode, owner, size, date, time; the rest is the name, blanks and all.
        let mut rest = line;
        let mut words = Vec::new();
        for _ in 0..5 {
            let (word, after) = rest.trim_start().split_once(' ').unwrap();
            words.push(word);
            rest = after;
        }
        (plain(rest), words[2].parse().unwrap())
    });
    Some((files.collect(), tar(&["-xOf"])?))
}

/// A name without the `./` that says nothing.
fn plain(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = name.strip_prefix("./") {
        name = rest;
    }
    name.to_owned()
}

/// Nothing if the program is not there and need not be.
fn run(command: &mut Command) -> Option<Output> {
    let output = command.output();
    if let Err(error) = &output {
        println!("skipped: {}: {error}", command.get_program().to_string_lossy());
    }
    let is_needed = std::env::var_os("OVFTRANSFER_REQUIRE_PEERS").is_some();
    assert!(output.is_ok() || !is_needed, "{command:?} is needed");
    output.ok()
}

fn succeeded(program: &str, output: &Output) -> bool {
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    true
}
