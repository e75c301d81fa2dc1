use std::time::SystemTime;

use proptest::prelude::*;
use rcgen::CertificateParams;
use rcgen::KeyPair;

use super::*;
use crate::digest::DigestAlgorithm;

const MANIFEST: &[u8] = b"SHA256(vm.ovf)= 00\n";

fn name() -> FileName {
    FileName::new("vm.mf").unwrap()
}

#[expect(clippy::disallowed_methods, reason = "certificates are judged by the time of day")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// A key with a certificate that vouches for itself, as PEM.
fn identity() -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "a \u{1b}[31m\u{202e}packer");
    let certificate = params.self_signed(&key).unwrap();
    format!("{}{}", key.serialize_pem(), certificate.pem())
}

fn signed() -> String {
    let key = SigningKey::read(identity().as_bytes(), None, None).unwrap();
    String::from_utf8(key.sign(&name(), MANIFEST, DigestAlgorithm::Sha256).unwrap()).unwrap()
}

fn verify(text: &str) -> Result<Signature, CertificateError> {
    let certificate = Certificate::parse(text.as_bytes())?;
    certificate.verify(&name(), MANIFEST, &TrustAnchors::none(), now())
}

#[test]
fn every_writing_of_a_file_means_the_same() {
    let cert = signed();
    let (line, rest) = cert.split_once('\n').unwrap();
    let hex = line.split_once("= ").unwrap().1;
    let bytes = signature_bytes(hex).unwrap();
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bytes);
    let wrapped = base64.as_bytes().chunks(40).map(|part| str::from_utf8(part).unwrap());
    let wrapped = wrapped.collect::<Vec<_>>().join("\r\n");
    for line in [
        format!("SHA256(vm.mf)= {hex}"),
        format!("\u{feff}sha-256 (vm.mf) ={}\r", hex.to_uppercase()),
        format!("\n SHA256(./VM.mf)=\t{hex} \n\n"),
        format!("SHA256(vm.mf)= {base64}"),
        format!("SHA256(vm.mf)= {}", base64.trim_end_matches('=')),
        format!("SHA256(vm.mf)= {wrapped}\r\n"),
    ] {
        for rest in [rest.to_owned(), rest.replace('\n', "\r\n")] {
            let signature = verify(&format!("{line}\n{rest}")).unwrap();
            assert_eq!(signature.verdict, Verdict::SelfSigned, "{line}");
            assert!(signature.warnings.is_empty());
        }
    }
}

#[test]
fn further_certificates_and_blocks_are_tolerated() {
    let other = identity();
    let other = other.split_at(other.find("-----BEGIN CERT").unwrap()).1;
    let pkcs7 = "-----BEGIN PKCS7-----\nMIIB\n-----END PKCS7-----\n";
    let signature = verify(&format!("{}{other}some text\n{pkcs7}", signed())).unwrap();
    assert_eq!(signature.warnings.len(), 1);
    assert!(signature.warnings[0].contains("PKCS7"), "{:?}", signature.warnings);
}

#[test]
fn bad_files_are_refused_with_the_reason() {
    let good = signed();
    let (line, rest) = good.split_once('\n').unwrap();
    let hex = line.split_once("= ").unwrap().1;
    let certificate = |rest: &str| format!("SHA256(vm.mf)= {hex}\n{rest}");
    for (text, words) in [
        (String::new(), "first line"),
        (rest.to_owned(), "first line"),
        (format!("SHA256(vm.mf) {hex}\n{rest}"), "first line"),
        (format!("MD5(vm.mf)= {hex}\n{rest}"), "MD5"),
        (format!("SHA256(../vm.mf)= {hex}\n{rest}"), "\"..\""),
        (format!("SHA256(vm.mf)= \n{rest}"), "neither hex nor Base64"),
        (format!("SHA256(vm.mf)= ?{hex}\n{rest}"), "neither hex nor Base64"),
        (format!("SHA256(other.mf)= {hex}\n{rest}"), "other.mf"),
        (format!("SHA256(vm.mf)= {}\n{rest}", hex.replace(['1', '2'], "3")), "changed"),
        (certificate(""), "no certificate"),
        (certificate("-----BEGIN CERTIFICATE-----\nMIIB\n"), "broken"),
        (certificate("-----BEGIN CERTIFICATE\nMIIB\n"), "broken"),
        (certificate("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), "broken"),
        (
            certificate("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
            "not sound",
        ),
        (certificate(&rest.repeat(17)), "more than 16"),
        (certificate(&" ".repeat(256 << 10)), "larger"),
    ] {
        let error = verify(&text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}, expected {words}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert_eq!(Certificate::parse(b"\xff\xfe").unwrap_err(), CertificateError::Encoding);
}

#[test]
fn names_of_signers_cannot_disturb_a_terminal() {
    let signature = verify(&signed()).unwrap();
    assert!(signature.subject.contains("packer"), "{}", signature.subject);
    for text in [&signature.subject, &signature.issuer, &signature.problem().unwrap()] {
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}

#[test]
fn keys_and_certificates_must_belong_together() {
    let (one, other) = (identity(), identity());
    let at = one.find("-----BEGIN CERT").unwrap();
    let (key, own) = one.split_at(at);
    let theirs = other.split_at(other.find("-----BEGIN CERT").unwrap()).1;
    let read = |text: &str, certificate: Option<&str>| {
        SigningKey::read(text.as_bytes(), None, certificate.map(str::as_bytes))
    };
    read(&format!("{theirs}{own}{key}"), None).unwrap();
    read(key, Some(own)).unwrap();
    assert_eq!(read(key, None).unwrap_err(), KeyError::NoCertificate);
    assert_eq!(read(own, None).unwrap_err(), KeyError::NoKey);
    assert_eq!(read("", None).unwrap_err(), KeyError::NoKey);
    assert!(matches!(read(key, Some(theirs)).unwrap_err(), KeyError::Mismatch { .. }));
    let shown = format!("{:?}", read(&one, None).unwrap());
    assert!(shown.len() < 200 && !shown.contains("pair"), "{shown}");
    assert_eq!(SigningKey::read(&[b' '; 2 << 20], None, None).unwrap_err(), KeyError::TooLarge);
    for bytes in [&b"\x30"[..], b"\x30\x80\0\0", b"\x30\x03\x02\x01\x03", b"\xff\xfe", b"\x30\x00"]
    {
        assert!(matches!(SigningKey::read(bytes, None, None), Err(KeyError::Form { .. })));
    }
}

#[test]
fn a_changed_character_anywhere_is_found() {
    let cert = signed();
    let original = verify(&cert).unwrap();
    let mut unnoticed = Vec::new();
    for at in 0..cert.len() {
        let mut bent = cert.clone().into_bytes();
        bent[at] ^= 1;
        let Ok(text) = String::from_utf8(bent) else { continue };
        match verify(&text) {
            Err(_) => {}
            // It must at least be another certificate, which nobody knows.
            Ok(signature) if signature.fingerprint != original.fingerprint => {}
            Ok(_) => unnoticed.push(cert.as_bytes()[at]),
        }
    }
    // White space and letters of which case does not matter carry no meaning.
    assert!(unnoticed.iter().all(|byte| byte.is_ascii_whitespace()), "{unnoticed:?}");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _no_panic = Certificate::parse(&bytes).is_ok();
        let _no_panic = SigningKey::read(&bytes, Some("x"), None).is_ok();
        let mut der = vec![0x30, 0x82, 1, 0x2c];
        der.extend(&bytes);
        let _no_panic = SigningKey::read(&der, None, None).is_ok();
    }

    #[test]
    fn no_damage_to_a_file_panics(at in 0_usize..2000, byte: u8) {
        let mut cert = FILE.with(Clone::clone);
        let len = cert.len();
        cert[at % len] = byte;
        if let Ok(certificate) = Certificate::parse(&cert) {
            let anchors = TrustAnchors::none();
            let _no_panic = certificate.verify(&name(), MANIFEST, &anchors, now());
        }
    }
}

thread_local! {
    static FILE: Vec<u8> = signed().into_bytes();
}
