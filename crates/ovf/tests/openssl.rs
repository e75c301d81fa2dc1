//! `openssl` as a judge: we check what it signs, it checks what we sign, and we read its keys.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::SystemTime;

use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::certificate::Certificate;
use ovftransfer_ovf::certificate::CertificateError;
use ovftransfer_ovf::certificate::KeyError;
use ovftransfer_ovf::certificate::Signature;
use ovftransfer_ovf::certificate::SigningKey;
use ovftransfer_ovf::certificate::TrustAnchors;
use ovftransfer_ovf::certificate::Verdict;

const MANIFEST: &[u8] = b"SHA256(vm.ovf)= 00\n";

fn name() -> FileName {
    FileName::new("vm.mf").unwrap()
}

/// A folder for one test, in which openssl works; nothing if there is no openssl.
fn bench() -> Option<tempfile::TempDir> {
    if Command::new("openssl").arg("version").output().is_err() {
        let required = std::env::var("OVFTRANSFER_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "openssl is missing, and OVFTRANSFER_REQUIRE_PEERS=1");
        eprintln!("skipped: openssl is missing");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vm.mf"), MANIFEST).unwrap();
    Some(folder)
}

fn openssl(folder: &Path, command: &str) -> Vec<u8> {
    let arguments: Vec<&str> = command.split_whitespace().collect();
    let output = Command::new("openssl").current_dir(folder).args(&arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {command}: {said}");
    output.stdout
}

/// Makes a key and a certificate that vouches for itself: `key.pem`, `cert.pem`.
fn identity(folder: &Path, kind: &str) {
    openssl(folder, &format!("genpkey {kind} -out key.pem"));
    openssl(folder, "req -x509 -new -key key.pem -days 30 -subj /O=Test/CN=packer -out cert.pem");
}

/// What `openssl dgst -sign` and a certificate make of the manifest.
fn signed_by_openssl(folder: &Path, hash: &str) -> Vec<u8> {
    let value = openssl(folder, &format!("dgst -{hash} -hex -r -sign key.pem vm.mf"));
    let hex = String::from_utf8(value).unwrap().split_whitespace().next().unwrap().to_owned();
    let certificate = fs::read_to_string(folder.join("cert.pem")).unwrap();
    format!("{}(vm.mf)= {hex}\n{certificate}", hash.to_uppercase()).into_bytes()
}

#[expect(clippy::disallowed_methods, reason = "certificates are judged by the time of day")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn verify(cert: &[u8], anchors: &TrustAnchors) -> Result<Signature, CertificateError> {
    Certificate::parse(cert)?.verify(&name(), MANIFEST, anchors, now())
}

const RSA: &str = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";
const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
const P384: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-384";
const P521: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-521";

#[test]
fn what_openssl_signs_holds_and_a_changed_bit_does_not() {
    let Some(folder) = bench() else { return };
    let folder = folder.path();
    for (kind, key, hashes) in [
        (RSA, "RSA-2048", &["sha1", "sha256", "sha384", "sha512"][..]),
        (P256, "ECDSA P-256", &["sha1", "sha256", "sha384", "sha512"]),
        (P384, "ECDSA P-384", &["sha256", "sha384", "sha512"]),
        (P521, "ECDSA P-521", &["sha256", "sha512"]),
    ] {
        identity(folder, kind);
        let known = TrustAnchors::from_pem(&fs::read(folder.join("cert.pem")).unwrap()).unwrap();
        for hash in hashes {
            let cert = signed_by_openssl(folder, hash);
            let signature = verify(&cert, &TrustAnchors::none()).unwrap();
            let is_weak = *hash == "sha1";
            let verdict = if is_weak { Verdict::Weak } else { Verdict::SelfSigned };
            assert_eq!(signature.verdict, verdict, "{kind} {hash}");
            let algorithm = format!("{key} with {}", hash.to_uppercase());
            assert_eq!(signature.algorithm.to_string(), algorithm);
            assert_eq!(signature.subject, "CN=packer,O=Test");
            let trusted = verify(&cert, &known.clone().allow_weak(true)).unwrap();
            assert!(trusted.is_trusted(), "{kind} {hash}");
            // A bit of the signature, and one of the manifest, also of a weak one.
            let mut bent = cert.clone();
            let digit = &mut bent[hash.len() + 40];
            *digit = if *digit == b'0' { b'1' } else { b'0' };
            let error = verify(&bent, &known).unwrap_err();
            assert!(matches!(error, CertificateError::Mismatch { .. }), "{error}");
            let certificate = Certificate::parse(&cert).unwrap();
            let other = MANIFEST.to_ascii_lowercase();
            let error = certificate.verify(&name(), &other, &known, now());
            assert!(matches!(error, Err(CertificateError::Mismatch { .. })));
        }
    }
}

#[test]
fn keys_of_other_kinds_are_told_by_name() {
    let Some(folder) = bench() else { return };
    let folder = folder.path();
    identity(folder, "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1");
    let error = verify(&signed_by_openssl(folder, "sha256"), &TrustAnchors::none()).unwrap_err();
    assert!(error.to_string().contains("curve 1.3.132.0.10"), "{error}");
    let key =
        [fs::read(folder.join("key.pem")).unwrap(), fs::read(folder.join("cert.pem")).unwrap()];
    let error = SigningKey::read(&key.concat(), None, None).unwrap_err();
    assert_eq!(error, KeyError::Unsuitable);

    openssl(folder, "genpkey -algorithm ED25519 -out key.pem");
    openssl(folder, "req -x509 -new -key key.pem -days 30 -subj /CN=ed -out cert.pem");
    openssl(folder, "pkeyutl -sign -inkey key.pem -rawin -in vm.mf -out vm.sig");
    let signature = fs::read(folder.join("vm.sig")).unwrap();
    let hex: String = signature.iter().map(|byte| format!("{byte:02X}")).collect();
    let certificate = fs::read_to_string(folder.join("cert.pem")).unwrap();
    let cert = format!("SHA512(vm.mf)= {hex}\n{certificate}");
    let signature = verify(cert.as_bytes(), &TrustAnchors::none()).unwrap();
    assert_eq!(signature.algorithm.to_string(), "Ed25519");
    let key = fs::read(folder.join("key.pem")).unwrap();
    let error = SigningKey::read(&key, None, Some(certificate.as_bytes())).unwrap_err();
    assert_eq!(error, KeyError::Unsuitable);

    identity(folder, "-algorithm RSA -pkeyopt rsa_keygen_bits:1024");
    let cert = signed_by_openssl(folder, "sha256");
    assert_eq!(verify(&cert, &TrustAnchors::none()).unwrap().verdict, Verdict::Weak);
}

/// `openssl dgst -verify` takes what a key of this file signs.
fn openssl_agrees(folder: &Path, key: &SigningKey, algorithm: DigestAlgorithm, hash: &str) {
    let cert = key.sign(&name(), MANIFEST, algorithm).unwrap();
    assert!(cert.len() <= key.file_bytes_max(&name()));
    let text = String::from_utf8(cert.clone()).unwrap();
    let (line, certificate) = text.split_once('\n').unwrap();
    let (start, hex) = line.split_once("= ").unwrap();
    assert_eq!(start, format!("{}(vm.mf)", hash.to_uppercase()));
    let digit = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = hex.as_bytes().chunks(2).map(digit).collect();
    fs::write(folder.join("vm.sig"), bytes).unwrap();
    fs::write(folder.join("out.pem"), certificate).unwrap();
    openssl(folder, "x509 -in out.pem -pubkey -noout -out public.pem");
    let said = openssl(folder, &format!("dgst -{hash} -verify public.pem -signature vm.sig vm.mf"));
    assert_eq!(String::from_utf8_lossy(&said).trim(), "Verified OK");
    // The certificate is written as openssl writes it.
    assert_eq!(certificate, fs::read_to_string(folder.join("cert.pem")).unwrap());
    assert_eq!(verify(&cert, &TrustAnchors::none()).unwrap().verdict, Verdict::SelfSigned);
}

#[test]
fn openssl_takes_what_we_sign() {
    let Some(folder) = bench() else { return };
    let folder = folder.path();
    for (kind, signs) in [
        (RSA, [(DigestAlgorithm::Sha1, "sha256"), (DigestAlgorithm::Sha512, "sha512")]),
        (P256, [(DigestAlgorithm::Sha256, "sha256"), (DigestAlgorithm::Sha512, "sha256")]),
        (P384, [(DigestAlgorithm::Sha1, "sha384"), (DigestAlgorithm::Sha256, "sha384")]),
        (P521, [(DigestAlgorithm::Sha1, "sha512"), (DigestAlgorithm::Sha512, "sha512")]),
    ] {
        identity(folder, kind);
        let (key, cert) = (read(folder, "key.pem"), read(folder, "cert.pem"));
        let together = SigningKey::read(&[key.clone(), cert.clone()].concat(), None, None).unwrap();
        let apart = SigningKey::read(&key, None, Some(&cert)).unwrap();
        assert_eq!(together.subject(), "CN=packer,O=Test");
        for (key, (algorithm, hash)) in [&together, &apart].into_iter().zip(signs) {
            openssl_agrees(folder, key, algorithm, hash);
        }
    }
}

fn read(folder: &Path, file: &str) -> Vec<u8> {
    fs::read(folder.join(file)).unwrap()
}

#[test]
fn every_form_of_a_key_is_read_or_told_how_to_convert() {
    let Some(folder) = bench() else { return };
    let folder = folder.path();
    for kind in [RSA, P256] {
        identity(folder, kind);
        let cert = read(folder, "cert.pem");
        let old = if kind == RSA { "rsa" } else { "ec" };
        for (command, needs_password) in [
            (format!("{old} -in key.pem -out k {}", if kind == RSA { "-traditional" } else { "" }), false),
            ("pkcs8 -topk8 -nocrypt -in key.pem -out k".to_owned(), false),
            ("pkey -in key.pem -aes256 -passout pass:open -out k".to_owned(), true),
            ("pkcs8 -topk8 -in key.pem -v2 aes-128-cbc -v2prf hmacWithSHA512 -passout pass:open -out k".to_owned(), true),
            ("pkcs8 -topk8 -in key.pem -v2 aes-192-cbc -iter 1000 -v2prf hmacWithSHA1 -passout pass:open -out k".to_owned(), true),
            ("pkcs8 -topk8 -in key.pem -scrypt -passout pass:open -out k".to_owned(), true),
        ] {
            openssl(folder, &command);
            let key = read(folder, "k");
            let read = |password| SigningKey::read(&key, password, Some(&cert));
            read(Some("open")).unwrap_or_else(|error| panic!("{command}: {error}"));
            if needs_password {
                assert_eq!(read(None).unwrap_err(), KeyError::PasswordMissing, "{command}");
                assert_eq!(read(Some("shut")).unwrap_err(), KeyError::PasswordWrong, "{command}");
            } else {
                read(None).unwrap();
            }
        }
        for (command, words) in [
            (
                "pkcs8 -topk8 -in key.pem -v2 des3 -passout pass:open -out k".to_owned(),
                "openssl pkey",
            ),
            (
                format!(
                    "{old} -in key.pem -aes128 -passout pass:open -out k {}",
                    if kind == RSA { "-traditional" } else { "" }
                ),
                "Proc-Type",
            ),
        ] {
            openssl(folder, &command);
            let error =
                SigningKey::read(&read(folder, "k"), Some("open"), Some(&cert)).unwrap_err();
            assert!(matches!(error, KeyError::Encryption { .. }), "{command}: {error}");
            assert!(error.to_string().contains(words), "{command}: {error}");
        }
    }
}

#[test]
fn pkcs12_files_of_openssl_are_read() {
    let Some(folder) = bench() else { return };
    let folder = folder.path();
    for kind in [RSA, P384] {
        identity(folder, kind);
        let export = "pkcs12 -export -inkey key.pem -in cert.pem -out x.p12";
        for options in [
            "-passout pass:open",
            "-passout pass:open -name web -keypbe AES-128-CBC -certpbe NONE",
            "-passout pass:open -keypbe NONE -certpbe NONE -nomac",
            "-passout pass:",
        ] {
            openssl(folder, &format!("{export} {options}"));
            let bytes = read(folder, "x.p12");
            let has_password = options != "-passout pass:";
            let key = SigningKey::read(&bytes, has_password.then_some("open"), None);
            let key = key.unwrap_or_else(|error| panic!("{options}: {error}"));
            assert_eq!(key.subject(), "CN=packer,O=Test");
            if has_password && !options.contains("keypbe NONE") {
                let error = |password| SigningKey::read(&bytes, password, None).unwrap_err();
                assert_eq!(error(Some("shut")), KeyError::PasswordWrong);
                assert_eq!(error(None), KeyError::PasswordMissing);
            }
        }
        let hash = if kind == RSA { "sha256" } else { "sha384" };
        let key = SigningKey::read(&read(folder, "x.p12"), None, None).unwrap();
        openssl_agrees(folder, &key, DigestAlgorithm::Sha256, hash);
        openssl(folder, &format!("{export} -passout pass:open -keypbe PBE-SHA1-3DES"));
        let error = SigningKey::read(&read(folder, "x.p12"), Some("open"), None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("3DES") && text.contains("openssl pkcs12 -legacy"), "{text}");
    }
}

/// Authorities, usages and times, as openssl makes certificates.
#[test]
fn a_chain_is_followed_to_a_known_authority() {
    let Some(folder) = bench() else { return };
    let folder = folder.path();
    let extensions = "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n\
                      [code]\nextendedKeyUsage=codeSigning\n[server]\nextendedKeyUsage=serverAuth\n[plain]\n\
                      keyUsage=digitalSignature\n";
    fs::write(folder.join("ext"), extensions).unwrap();
    let key = |name: &str| openssl(folder, &format!("genpkey {P256} -out {name}.key"));
    let issue = |name: &str, by: &str, section: &str| {
        openssl(folder, &format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA {by}.pem -CAkey {by}.key -days 30 -extfile ext \
                 -extensions {section} -out {name}.pem"
            ),
        );
    };
    for name in ["root", "middle", "packer"] {
        key(name);
    }
    openssl(folder, "req -x509 -new -key root.key -days 90 -subj /CN=root -out root.pem");
    issue("middle", "root", "ca");
    let roots = TrustAnchors::from_pem(&read(folder, "root.pem")).unwrap();
    let middle = TrustAnchors::from_pem(&read(folder, "middle.pem")).unwrap();
    for (section, is_good) in [("code", true), ("plain", true), ("server", false)] {
        issue("packer", "middle", section);
        let files = [read(folder, "packer.key"), read(folder, "packer.pem")].concat();
        let key = SigningKey::read(&files, None, None).unwrap();
        let cert = key.sign(&name(), MANIFEST, DigestAlgorithm::Sha256).unwrap();
        let chain = [cert.clone(), read(folder, "middle.pem")].concat();
        let verdict = |cert: &[u8], anchors: &TrustAnchors, days: i64| {
            let age = Duration::from_secs(days.unsigned_abs() * 86_400);
            let now = if days < 0 { now() - age } else { now() + age };
            let certificate = Certificate::parse(cert).unwrap();
            certificate.verify(&name(), MANIFEST, anchors, now).unwrap().verdict
        };
        if is_good {
            assert_eq!(verdict(&chain, &roots, 0), Verdict::Trusted, "{section}");
            assert_eq!(verdict(&cert, &middle, 0), Verdict::Trusted, "{section}");
            assert_eq!(verdict(&chain, &roots, 60), Verdict::Expired, "{section}");
            assert_eq!(verdict(&chain, &roots, -2), Verdict::NotYetValid, "{section}");
            let reason = "no known authority has issued it".to_owned();
            let untrusted = Verdict::Untrusted { reason };
            assert_eq!(verdict(&cert, &TrustAnchors::none(), 0), untrusted, "{section}");
            // Without the certificate between, nobody knows.
            assert_eq!(verdict(&cert, &roots, 0), untrusted, "{section}");
        } else {
            let reason = "it is not meant for signing code".to_owned();
            assert_eq!(verdict(&chain, &roots, 0), Verdict::Untrusted { reason });
        }
    }
}
