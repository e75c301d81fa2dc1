//! Certificates and keys.

use std::time::Duration;
use std::time::SystemTime;

use ovftransfer_ovf::certificate::Certificate;
use ovftransfer_ovf::certificate::SigningKey;
use ovftransfer_ovf::certificate::TrustAnchors;

/// A certificate is judged the same each time, and trusted only with an anchor.
///
/// The input is a `.cert` file, a key, or the encoded certificate alone, which mutations reach
/// better than through the letters of PEM.
pub fn certificate(bytes: &[u8]) {
    let _key = SigningKey::read(bytes, None, None);
    let _anchors = TrustAnchors::from_pem(bytes);
    judge(bytes);
    if bytes.first() == Some(&0x30) {
        let text = format!(
            "SHA256(vm.mf)= {}\n-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            "5a".repeat(256),
            base64(bytes)
        );
        judge(text.as_bytes());
    }
}

fn judge(file: &[u8]) {
    let Ok(certificate) = Certificate::parse(file) else { return };
    let name = certificate.manifest().clone();
    // 2027-01-15.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let judged = certificate.verify(&name, MANIFEST, &TrustAnchors::none(), now);
    if let Ok(signature) = judged {
        assert!(!signature.is_trusted(), "nobody is trusted, but {} is", signature.subject);
        assert!(!signature.subject.contains(char::is_control));
        assert!(!signature.issuer.contains(char::is_control));
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// What the seeds have signed.
const MANIFEST: &[u8] = b"SHA256(vm.ovf)= 00\n";
