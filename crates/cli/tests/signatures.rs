//! Signed packages on the command line: what is told, what is refused, and with which code.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

mod support;

use ovftransfer::DigestAlgorithm;
use ovftransfer::FileName;
use ovftransfer::certificate::SigningKey;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::KeyPair;
use support::Done;
use support::Lab;
use support::files;
use support::import_args;
use support::text;

const EMPTY: &str = r#"{"machines": []}"#;

/// A key whose certificate vouches for itself; returns both as PEM.
fn identity() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "packer");
    (key.serialize_pem(), params.self_signed(&key).unwrap().pem())
}

/// Signs the package beside a descriptor; returns the certificate file, and the signer's own.
fn sign(lab: &Lab, descriptor: &Path) -> (PathBuf, PathBuf) {
    let (key, certificate) = identity();
    let manifest = descriptor.with_extension("mf");
    let name = FileName::new(manifest.file_name().unwrap().to_str().unwrap()).unwrap();
    let key = SigningKey::read(key.as_bytes(), None, Some(certificate.as_bytes())).unwrap();
    let signed = key.sign(&name, &fs::read(manifest).unwrap(), DigestAlgorithm::Sha256).unwrap();
    let (cert, signer) = (descriptor.with_extension("cert"), lab.path("signer.pem"));
    fs::write(&cert, signed).unwrap();
    fs::write(&signer, certificate).unwrap();
    (cert, signer)
}

#[test]
fn a_signature_is_told_and_judged() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let (cert, signer) = sign(&lab, &package);
    let (package, trusted) = (text(&package), ["--ca-cert", text(&signer)]);
    // Unknown: a warning, and an error where a signature is required.
    let done = lab.run(&["verify", package]);
    done.expect(0, &["warning: the signer, CN=packer", "fingerprint"]);
    assert!(done.stdout.contains("signed by CN=packer (self signed, ECDSA P-256"), "{done:?}");
    lab.run(&["verify", package, "--require-signature"]).expect(6, &["--require-signature"]);
    let done = lab.run(&["inspect", package]);
    done.expect(0, &["warning: the signer"]);
    assert!(done.stdout.contains("signed by CN=packer (self signed"), "{done:?}");
    // Known.
    let verify = [&["verify", package, "--require-signature", "--json"][..], &trusted].concat();
    let done = lab.run(&verify);
    done.expect(0, &[]);
    let signature = &done.object("report")["signature"];
    assert_eq!(signature["trust"], "trusted");
    assert_eq!(signature["subject"], "CN=packer");
    assert!(signature.get("problem").is_none(), "{signature}");
    let done = lab.run(&[&["inspect", package, "--json"][..], &trusted].concat());
    assert_eq!(done.object("package")["signature"]["trust"], "trusted");
    // A file without certificates is a mistake of the caller.
    lab.run(&["verify", package, "--ca-cert", package]).expect(2, &["no certificate"]);

    // The signature of another manifest: a mismatch; no signature at all: not a package.
    let good = fs::read_to_string(&cert).unwrap();
    let digit = good.find("= ").unwrap() + 20;
    let mut bent = good.clone();
    bent.replace_range(digit..=digit, if &good[digit..=digit] == "1" { "2" } else { "1" });
    for (text, code, words) in
        [(bent, 7, "does not fit the manifest"), ("nonsense".to_owned(), 6, "first line")]
    {
        fs::write(&cert, text).unwrap();
        for command in ["verify", "inspect"] {
            lab.run(&[command, package]).expect(code, &[words]);
        }
    }
    fs::write(&cert, good).unwrap();
    fs::remove_file(Path::new(package).with_extension("mf")).unwrap();
    lab.run(&["verify", package]).expect(6, &["cert", "there is none"]);
}

#[test]
fn an_import_judges_the_signature_before_anything_is_created() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let (cert, signer) = sign(&lab, &package);
    let import = |extra: &[&str]| lab.run(&[&import_args(&package, "web")[..], extra].concat());
    import(&["--require-signature"]).expect(6, &["--require-signature"]);
    let trusted = ["--require-signature", "--signer-ca-cert", text(&signer)];
    let plan = import(&[&trusted[..], &["--dry-run"]].concat());
    plan.expect(0, &[]);
    let plan = plan.object("plan");
    assert_eq!(plan["signature"]["trust"], "trusted");
    let findings = plan["findings"].as_array().unwrap();
    assert!(findings.iter().any(|one| one["check"] == "signature" && one["severity"] == "note"));
    let good = fs::read(&cert).unwrap();
    fs::write(&cert, good.to_ascii_uppercase()).unwrap();
    import(&[]).expect(6, &[]);
    lab.expect_untouched();
    assert_eq!(lab.simulator.leases().len(), 0);
    fs::write(&cert, good).unwrap();
    import(&[]).expect(0, &["the signer, CN=packer"]);
    lab.expect_machines(1);
}

const SMALL: &str = r#"{"machines": [{"name": "small", "disks": [
    {"capacity": "16MiB", "data": {"amount": "1MiB", "kind": "random"}}]}]}"#;

#[test]
fn an_export_is_signed_wherever_it_goes() {
    let lab = Lab::new(SMALL);
    let (key, certificate) = identity();
    let (key_file, signer) = (lab.path("key.pem"), lab.path("signer.pem"));
    fs::write(&key_file, key).unwrap();
    fs::write(&signer, certificate).unwrap();
    let signing = ["--private-key", text(&key_file), "--certificate", text(&signer)];
    let export = |dest: &str, extra: &[&str]| {
        lab.run(&[&["export", "/DC0/vm/small", dest][..], &signing, extra].concat())
    };
    let verify = |package: &Path, code: i32| {
        let args = ["verify", text(package), "--require-signature", "--ca-cert", text(&signer)];
        lab.run(&args).expect(code, &[]);
    };
    let plan = export(text(&lab.path("x.ova")), &["--dry-run"]);
    plan.expect(0, &[]);
    assert!(plan.stdout.contains("signed by CN=packer"), "{plan:?}");

    let (ova, descriptor, piped) = (lab.path("x.ova"), lab.path("x.ovf"), lab.path("piped.ova"));
    export(text(&ova), &["--sha", "512"]).expect(0, &[]);
    verify(&ova, 0);
    let output = lab.command(&[&["export", "/DC0/vm/small", "-"][..], &signing].concat()).output();
    fs::write(&piped, output.unwrap().stdout).unwrap();
    verify(&piped, 0);
    for (archive, base) in [(&ova, "x"), (&piped, "small")] {
        let bytes = fs::read(archive).unwrap();
        // The name of a member stands at the beginning of its header.
        let names = ["ovf", "mf", "cert"].map(|extension| format!("{base}.{extension}\0"));
        let place =
            |name: &str| bytes.chunks(512).position(|block| block.starts_with(name.as_bytes()));
        let places = names.map(|name| place(&name).unwrap());
        assert!(places.is_sorted(), "{places:?}");
        assert!(place("disk-0.vmdk\0").unwrap() > places[2]);
    }

    export(text(&descriptor), &[]).expect(0, &[]);
    verify(&descriptor, 0);
    // A package that is not signed does not keep the certificate of the one before.
    fs::remove_file(&descriptor).unwrap();
    fs::remove_file(lab.path("x.mf")).unwrap();
    fs::remove_file(lab.path("x-disk-0.vmdk")).unwrap();
    let unsigned = ["export", "/DC0/vm/small", text(&descriptor)];
    lab.run(&unsigned).expect(12, &["x.cert exists"]);
    lab.run(&[&unsigned[..], &["--overwrite"]].concat()).expect(0, &[]);
    assert!(!lab.path("x.cert").exists());
    lab.run(&["verify", text(&descriptor)]).expect(0, &[]);
    verify(&descriptor, 6);
}

#[test]
fn a_key_that_cannot_sign_is_told_before_the_server_is_asked() {
    let lab = Lab::new(SMALL);
    let (key, certificate) = identity();
    let (_, other) = identity();
    let (file, dest) = (lab.path("key.pem"), lab.path("x.ova"));
    let export = |extra: &[&str]| {
        let args = ["export", "/DC0/vm/small", text(&dest), "--private-key", text(&file)];
        lab.run(&[&args[..], extra].concat())
    };
    export(&[]).expect(14, &["key.pem"]);
    for (content, words) in [
        (key.clone(), "--certificate"),
        (format!("{key}{other}"), "does not belong"),
        (certificate.clone(), "no private key"),
        (
            format!(
                "{certificate}-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"
            ),
            "OVFTRANSFER_PRIVATE_KEY_PASSWORD",
        ),
    ] {
        fs::write(&file, content).unwrap();
        let done = export(&[]);
        done.expect(2, &[words]);
        assert!(!done.stderr.contains(key.lines().nth(1).unwrap()), "{done:?}");
    }
    assert_eq!(lab.simulator.leases().len(), 0);
    assert!(!dest.exists());
}

/// Small files at the end: only then is known whether the machine may stay.
#[test]
fn a_signature_at_the_end_of_a_stream_counts_before_the_machine_is_complete() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let (cert, signer) = sign(&lab, &package);
    let folder = package.parent().unwrap();
    let import = |extra: &[&str]| {
        let mut names: Vec<String> = files(folder)
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        let rank =
            |name: &String| ["ovf", "vmdk", "mf", "cert"].iter().position(|e| name.ends_with(e));
        names.sort_by_key(rank);
        let tar = Command::new("tar")
            .args(["--format=ustar", "-C", text(folder), "-cf", "-"])
            .args(&names)
            .output()
            .unwrap();
        assert!(tar.status.success(), "{tar:?}");
        let path = lab.path("late.ova");
        fs::write(&path, tar.stdout).unwrap();
        let args = [&import_args(Path::new("-"), "web")[..], extra].concat();
        let output = lab.command(&args).stdin(fs::File::open(path).unwrap()).output();
        Done::of(&output.unwrap())
    };
    let trusted = ["--require-signature", "--signer-ca-cert", text(&signer)];
    import(&["--require-signature"]).expect(6, &["CN=packer"]);
    let good = fs::read_to_string(&cert).unwrap();
    let digit = good.find("= ").unwrap() + 20;
    let mut bent = good.clone();
    bent.replace_range(digit..=digit, if &good[digit..=digit] == "1" { "2" } else { "1" });
    fs::write(&cert, bent).unwrap();
    import(&[]).expect(7, &["does not fit the manifest"]);
    fs::remove_file(&cert).unwrap();
    import(&trusted).expect(6, &["nobody has signed it"]);
    lab.expect_untouched();
    fs::write(&cert, good).unwrap();
    import(&trusted).expect(0, &[]);
    lab.expect_machines(1);
}

/// Runs openssl in a folder; nothing if it is not there.
fn openssl(folder: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let Ok(output) = Command::new("openssl").current_dir(folder).args(arguments).output() else {
        let required = std::env::var("OVFTRANSFER_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "openssl is missing, and OVFTRANSFER_REQUIRE_PEERS=1");
        return None;
    };
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

#[test]
fn openssl_checks_an_export_that_was_signed_with_its_keys() {
    let lab = Lab::new(SMALL);
    let folder = lab.folder.path();
    let make = "req -x509 -newkey rsa:2048 -nodes -subj /CN=packer -keyout key.pem -out cert.pem";
    let run = |command: &str| openssl(folder, &command.split(' ').collect::<Vec<_>>());
    if run(make).is_none() {
        return;
    }
    run("pkey -in key.pem -aes256 -passout pass:open -out encrypted.pem");
    run("pkcs12 -export -inkey key.pem -in cert.pem -passout pass:open -out key.p12");
    fs::write(lab.path("password"), "open\n").unwrap();
    let (password, cert) = (lab.path("password"), lab.path("cert.pem"));
    let file = ["--private-key-password-file", text(&password)];
    for (key, extra) in [
        ("encrypted.pem", &[&file[..], &["--certificate", text(&cert)]].concat()[..]),
        ("key.p12", &file),
        ("key.p12", &[]),
    ] {
        let (key, dest) = (lab.path(key), lab.path("x.ovf"));
        let args =
            ["export", "/DC0/vm/small", text(&dest), "--overwrite", "--private-key", text(&key)];
        let mut command = lab.command(&[&args[..], extra].concat());
        if extra.is_empty() {
            let unread = Done::of(&command.output().unwrap());
            unread.expect(2, &["OVFTRANSFER_PRIVATE_KEY_PASSWORD"]);
            command.env("OVFTRANSFER_PRIVATE_KEY_PASSWORD", "open");
        }
        Done::of(&command.output().unwrap()).expect(0, &[]);
        let signed = fs::read_to_string(lab.path("x.cert")).unwrap();
        let (line, certificate) = signed.split_once('\n').unwrap();
        let hex = line.strip_prefix("SHA256(x.mf)= ").unwrap();
        let digit = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = hex.as_bytes().chunks(2).map(digit).collect();
        fs::write(lab.path("x.sig"), bytes).unwrap();
        assert_eq!(certificate, fs::read_to_string(&cert).unwrap());
        run("x509 -in cert.pem -pubkey -noout -out public.pem");
        let said = run("dgst -sha256 -verify public.pem -signature x.sig x.mf").unwrap();
        assert_eq!(String::from_utf8_lossy(&said).trim(), "Verified OK");
    }
}
