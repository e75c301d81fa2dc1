//! The signature of a package: whom to trust, and what is told about it.

use std::fs;
use std::path::Path;

use ovftransfer::SignaturePolicy;
use ovftransfer::certificate::Signature;
use serde_json::Value;
use serde_json::json;

use crate::args::SignatureArgs;
use crate::console::Console;
use crate::exit::Code;
use crate::exit::Failure;

/// How the signature is judged; `trusted` is a PEM file.
pub(crate) fn policy(
    trusted: Option<&Path>,
    args: &SignatureArgs,
) -> Result<SignaturePolicy, Failure> {
    let mut policy = SignaturePolicy::default();
    policy.require = args.require_signature;
    policy.allow_weak = args.allow_legacy_sha1;
    if let Some(file) = trusted {
        let what = format!("cannot read the certificates in {}", file.display());
        let pem = fs::read(file).map_err(|error| Failure::local(&what, &error))?;
        policy
            .trust_pem(&pem)
            .map_err(|error| Failure::new(Code::Usage, format!("{what}: {error}")))?;
    }
    Ok(policy)
}

/// A signature as the object of the JSON format.
pub(crate) fn object(signature: &Signature) -> Value {
    json!({
        "trust": signature.verdict.word(),
        "problem": signature.problem(),
        "algorithm": signature.algorithm.to_string(),
        "subject": signature.subject,
        "issuer": signature.issuer,
        "serial": signature.serial,
        "not_before": signature.not_before.to_string(),
        "not_after": signature.not_after.to_string(),
        "fingerprint": signature.fingerprint.to_string(),
    })
}

/// A signature in one line.
pub(crate) fn line(signature: &Signature) -> String {
    format!(
        "signed by {} ({}, {}, certificate valid until {})",
        signature.subject, signature.verdict, signature.algorithm, signature.not_after
    )
}

/// Tells what stands against a signature, and what is odd about it.
pub(crate) fn warn(signature: &Signature, console: &Console) {
    for warning in signature.problem().iter().chain(&signature.warnings) {
        console.object("warning", json!({ "message": warning }));
        console.note(format_args!("warning: {warning}"));
    }
}
