//! The key that signs a package.

use std::fs;
use std::io;
use std::io::IsTerminal;
use std::path::Path;

use ovftransfer::Secret;
use ovftransfer::certificate::KeyError;
use ovftransfer::certificate::SigningKey;
use zeroize::Zeroizing;

use crate::args::SigningArgs;
use crate::connection::password_file;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::terminal;

/// Reads the key, if one is given; asks for its password at a terminal, if it needs one and none
/// is given.
pub(crate) async fn key(
    args: &SigningArgs,
    environment: &Environment,
) -> Result<Option<SigningKey>, Failure> {
    let Some(file) = &args.private_key else { return Ok(None) };
    let bytes = read(file, "the private key")?;
    let certificate = args.certificate.as_deref().map(|file| read(file, "the certificate"));
    let certificate = certificate.transpose()?;
    let open = |password: Option<&Secret>| {
        SigningKey::read(
            &bytes,
            password.map(Secret::expose),
            certificate.as_deref().map(Vec::as_slice),
        )
    };
    let mut opened = open(password(args, environment)?.as_ref());
    if matches!(opened, Err(KeyError::PasswordMissing)) && io::stdin().is_terminal() {
        let prompt = format!("Password of the key in {}: ", file.display());
        let password = terminal::ask_password(prompt).await;
        let password = password
            .map_err(|error| Failure::local("cannot read the password of the key", &error))?;
        opened = open(Some(&Secret::new(password)));
    }
    opened.map(Some).map_err(|error| {
        let failure = Failure::usage(format!("{}: {error}", file.display()));
        if error == KeyError::PasswordMissing {
            failure.hint("use --private-key-password-file, or set OVFTRANSFER_PRIVATE_KEY_PASSWORD")
        } else if matches!(error, KeyError::NoCertificate | KeyError::Mismatch { .. }) {
            failure.hint("name the file of the key's certificate with --certificate")
        } else {
            failure
        }
    })
}

fn password(args: &SigningArgs, environment: &Environment) -> Result<Option<Secret>, Failure> {
    if let Some(file) = &args.private_key_password_file {
        return password_file(file).map(Some);
    }
    if let Some(password) = environment.ours("PRIVATE_KEY_PASSWORD") {
        return Ok(Some(Secret::from(password)));
    }
    let file = environment.ours("PRIVATE_KEY_PASSWORD_FILE");
    file.map(|file| password_file(Path::new(file))).transpose()
}

/// Reads a small file that may be secret.
fn read(file: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let what = || format!("cannot read {what} in {}", file.display());
    let metadata = fs::metadata(file).map_err(|error| Failure::local(what(), &error))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{}: more than {FILE_BYTES_MAX} bytes", what())));
    }
    let bytes = fs::read(file).map_err(|error| Failure::local(what(), &error))?;
    Ok(Zeroizing::new(bytes))
}

/// A file with a key or a certificate: real ones have 2 to 20 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
