//! Signed packages: whom they are from, and that nothing in them can be changed unnoticed.
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use ovftransfer::CheckedPackage;
use ovftransfer::Digest;
use ovftransfer::DigestAlgorithm;
use ovftransfer::Error;
use ovftransfer::ErrorKind;
use ovftransfer::FileName;
use ovftransfer::Manifest;
use ovftransfer::Meter;
use ovftransfer::Overview;
use ovftransfer::Package;
use ovftransfer::SignaturePolicy;
use ovftransfer::certificate::SigningKey;
use ovftransfer::certificate::Verdict;
use ovftransfer::check_package;
use ovftransfer::read_stream;
use ovftransfer_ovf::ova::Writer;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;

const DESCRIPTOR: &str = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
    xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References><File ovf:id="f" ovf:href="vm.nvram"/></References>
  <VirtualSystem ovf:id="vm"><Info>A machine</Info></VirtualSystem>
</Envelope>
"#;

/// An authority, and a packer that it vouches for.
struct Makers {
    authority: String,
    packer: SigningKey,
}

impl Makers {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "packer");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        let pem = key.serialize_pem() + &certificate;
        Self { authority, packer: SigningKey::read(pem.as_bytes(), None, None).unwrap() }
    }

    fn policy(&self) -> SignaturePolicy {
        let mut policy = SignaturePolicy::default();
        policy.require = true;
        policy.trust_pem(self.authority.as_bytes()).unwrap();
        policy
    }

    /// The files of a signed package: descriptor, manifest, certificate, NVRAM.
    fn package(&self) -> Vec<(&'static str, Vec<u8>)> {
        let (descriptor, nvram) = (DESCRIPTOR.as_bytes().to_vec(), vec![7; 100]);
        let mut manifest = Manifest::new();
        for (file, bytes) in [("vm.ovf", &descriptor), ("vm.nvram", &nvram)] {
            manifest.push(name(file), sha256(bytes)).unwrap();
        }
        let manifest = manifest.to_bytes();
        let signed = self.packer.sign(&name("vm.mf"), &manifest, DigestAlgorithm::Sha256);
        vec![
            ("vm.ovf", descriptor),
            ("vm.mf", manifest),
            ("vm.cert", signed.unwrap()),
            ("vm.nvram", nvram),
        ]
    }
}

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn sha256(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;

    Digest::new(DigestAlgorithm::Sha256, &sha2::Sha256::digest(bytes)).unwrap()
}

fn write(folder: &Path, files: &[(&'static str, Vec<u8>)]) {
    for (file, bytes) in files {
        fs::write(folder.join(file), bytes).unwrap();
    }
}

fn archive(files: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (file, bytes) in files {
        writer.append(&name(file), bytes.len() as u64, &mut bytes.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

async fn check(
    package: Result<Package, Error>,
    policy: &SignaturePolicy,
) -> Result<CheckedPackage, Error> {
    let meter = Arc::new(Meter::default());
    check_package(Arc::new(package?), policy, meter, &Default::default()).await
}

async fn stream(bytes: Vec<u8>) -> Result<Package, Error> {
    Package::from_stream(read_stream(Cursor::new(bytes)).unwrap(), "the stream").await
}

#[tokio::test]
async fn every_way_to_a_package_sees_its_signature() {
    let makers = Makers::new();
    let policy = makers.policy();
    let folder = tempfile::tempdir().unwrap();
    let mut files = makers.package();
    write(folder.path(), &files);
    let (descriptor, ova) = (folder.path().join("vm.ovf"), folder.path().join("vm.ova"));
    let checked = check(Package::open(&descriptor), &policy).await.unwrap();
    let signature = checked.signature.unwrap();
    assert_eq!((signature.subject.as_str(), &signature.verdict), ("CN=packer", &Verdict::Trusted));
    let seen = Overview::read(&descriptor).unwrap().signature(&policy).unwrap().unwrap();
    assert!(seen.is_trusted());
    // In an archive the small files may stand at the end.
    for is_late in [false, true] {
        if is_late {
            files.swap(1, 3);
            files.swap(2, 3);
        }
        let bytes = archive(&files);
        fs::write(&ova, &bytes).unwrap();
        assert!(check(Package::open(&ova), &policy).await.unwrap().signature.is_some());
        assert!(Overview::read(&ova).unwrap().signature(&policy).unwrap().is_some());
        let package = stream(bytes.clone()).await.unwrap();
        assert_eq!(package.signature(&policy).unwrap().is_some(), !is_late);
        assert!(check(Ok(package), &policy).await.unwrap().signature.unwrap().is_trusted());
        let cursor = read_stream(Cursor::new(bytes)).unwrap();
        let overview = Overview::from_stream(cursor, "the stream").await.unwrap();
        assert_eq!(overview.signature(&policy).unwrap().is_some(), !is_late);
    }
}

#[tokio::test]
async fn a_changed_byte_anywhere_is_found() {
    let makers = Makers::new();
    let policy = makers.policy();
    let folder = tempfile::tempdir().unwrap();
    let files = makers.package();
    write(folder.path(), &files);
    let descriptor = folder.path().join("vm.ovf");
    for (file, bytes) in &files {
        // Every byte of a certificate is bent where it is read, in `ovftransfer_ovf`.
        let step = if *file == "vm.cert" { 7 } else { 1 };
        for at in (0..bytes.len()).step_by(step) {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            fs::write(folder.path().join(file), &bent).unwrap();
            let outcome = check(Package::open(&descriptor), &policy).await;
            // Around the signature and in the PEM text white space carries no meaning.
            let is_blank = *file == "vm.cert" && bytes[at].is_ascii_whitespace();
            match outcome {
                Ok(_) => assert!(is_blank, "byte {at} of {file}"),
                Err(error) => {
                    let is_told = [ErrorKind::DigestMismatch, ErrorKind::Package];
                    assert!(is_told.contains(&error.kind()), "{file}: {}", error.chain());
                }
            }
        }
        fs::write(folder.path().join(file), bytes).unwrap();
    }
    check(Package::open(&descriptor), &policy).await.unwrap();
}

#[tokio::test]
async fn what_is_required_and_what_is_only_odd() {
    let (makers, others) = (Makers::new(), Makers::new());
    let folder = tempfile::tempdir().unwrap();
    let files = makers.package();
    write(folder.path(), &files);
    let descriptor = folder.path().join("vm.ovf");
    let refused = async |policy: &SignaturePolicy| {
        let error = check(Package::open(&descriptor), policy).await.unwrap_err();
        (error.kind(), error.chain())
    };
    // Somebody else's authority, and the system's, do not know the packer.
    let mut system = SignaturePolicy::default();
    for policy in [&others.policy(), &system] {
        let mut lenient = policy.clone();
        lenient.require = false;
        let checked = check(Package::open(&descriptor), &lenient).await.unwrap();
        let signature = checked.signature.unwrap();
        assert!(matches!(signature.verdict, Verdict::Untrusted { .. }), "{:?}", signature.verdict);
        assert!(signature.problem().unwrap().contains("not trusted"));
    }
    system.require = true;
    for policy in [&others.policy(), &system] {
        let (kind, chain) = refused(policy).await;
        assert_eq!(kind, ErrorKind::Package, "{chain}");
        assert!(chain.contains("signature is required") && chain.contains("CN=packer"), "{chain}");
    }
    // A certificate without a manifest.
    fs::remove_file(folder.path().join("vm.mf")).unwrap();
    let (kind, chain) = refused(&SignaturePolicy::default()).await;
    assert_eq!(kind, ErrorKind::Package, "{chain}");
    assert!(chain.contains("vm.cert") && chain.contains("there is none"), "{chain}");
    // Neither.
    fs::remove_file(folder.path().join("vm.cert")).unwrap();
    check(Package::open(&descriptor), &SignaturePolicy::default()).await.unwrap();
    let (kind, chain) = refused(&makers.policy()).await;
    assert_eq!(kind, ErrorKind::Package, "{chain}");
    assert!(chain.contains("nobody has signed it"), "{chain}");
    let unsigned = archive(&[files[0].clone(), files[3].clone()]);
    let error = check(stream(unsigned).await, &makers.policy()).await.unwrap_err();
    assert!(matches!(error, Error::Unsigned { .. }), "{error}");
}

#[tokio::test]
async fn a_signed_manifest_must_cover_the_descriptor() {
    let makers = Makers::new();
    let folder = tempfile::tempdir().unwrap();
    let mut files = makers.package();
    let mut manifest = Manifest::new();
    manifest.push(name("vm.nvram"), sha256(&files[3].1)).unwrap();
    files[1].1 = manifest.to_bytes();
    let signed = makers.packer.sign(&name("vm.mf"), &files[1].1, DigestAlgorithm::Sha256);
    files[2].1 = signed.unwrap();
    write(folder.path(), &files);
    let error = check(Package::open(&folder.path().join("vm.ovf")), &makers.policy()).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("does not list vm.ovf"), "{error}");
}

/// Without a signature a file that the manifest leaves out is only warned of.
#[tokio::test]
async fn a_signed_manifest_must_cover_every_file() {
    let makers = Makers::new();
    for is_signed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut files = makers.package();
        let mut manifest = Manifest::new();
        manifest.push(name("vm.ovf"), sha256(&files[0].1)).unwrap();
        files[1].1 = manifest.to_bytes();
        let signed = makers.packer.sign(&name("vm.mf"), &files[1].1, DigestAlgorithm::Sha256);
        files[2].1 = signed.unwrap();
        if !is_signed {
            files.remove(2);
        }
        write(folder.path(), &files);
        let package = Package::open(&folder.path().join("vm.ovf")).unwrap();
        match check(Ok(package), &SignaturePolicy::default()).await {
            Ok(checked) => {
                assert!(!is_signed);
                let expected = "the manifest does not list vm.nvram, which it does not prove";
                assert_eq!(checked.warnings, [expected]);
                assert!(!checked.files[0].in_manifest);
            }
            Err(error) => {
                assert!(is_signed, "{error}");
                assert_eq!(error.kind(), ErrorKind::Package);
                assert!(error.to_string().contains("does not list vm.nvram"), "{error}");
            }
        }
    }
}
