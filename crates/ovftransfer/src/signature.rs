//! The signature of a package, and what it takes to be enough.

use ovftransfer_ovf::Certificate;
use ovftransfer_ovf::CertificateError;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::certificate::Signature;
use ovftransfer_ovf::certificate::TrustAnchors;

use crate::clock::time_of_day;
use crate::error::Error;

/// How the signature of a package is judged.
///
/// A signature that does not fit its manifest is an error, whatever the policy says, and so is a
/// certificate without a manifest.  Whether the signer must be trusted is what the policy is about.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SignaturePolicy {
    /// Whether a package is refused that nobody who is trusted has signed.
    pub require: bool,
    /// Whether signatures count that can be forged: over SHA-1, or by RSA keys below 2,048 bits.
    pub allow_weak: bool,
    trusted: Option<TrustAnchors>,
}

impl SignaturePolicy {
    /// Trusts the authorities and the signers whose certificates are in this PEM file, and no others.
    /// Without it the authorities of the operating system are trusted.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if there is no certificate in it, or a broken one.
    pub fn trust_pem(&mut self, pem: &[u8]) -> Result<(), CertificateError> {
        self.trusted = Some(TrustAnchors::from_pem(pem)?);
        Ok(())
    }

    /// Judges what is signed; nothing if there is no signature, and none is required.
    pub(crate) fn judge(&self, sealed: &Sealed<'_>) -> Result<Option<Signature>, Error> {
        let package = || sealed.package.to_owned();
        let unsigned = |problem: String| Error::Unsigned { package: package(), problem };
        let Some(stored) = sealed.certificate else {
            return match self.require {
                true => Err(unsigned("nobody has signed it".to_owned())),
                false => Ok(None),
            };
        };
        let Some(manifest) = sealed.manifest else {
            let problem = format!("{} signs a manifest, but there is none", stored.file);
            return Err(Error::Package { package: package(), problem });
        };
        if manifest.digest(sealed.descriptor).is_none() {
            let problem = format!("the signed manifest does not list {}", sealed.descriptor);
            return Err(Error::Package { package: package(), problem });
        }
        let signature = self.verify(stored, manifest, sealed.descriptor);
        let signature = signature.map_err(|source| Error::Certificate {
            package: format!("{}: {}", sealed.package, stored.file),
            source: Box::new(source),
        })?;
        match signature.problem() {
            Some(problem) if self.require => Err(unsigned(problem)),
            _ => Ok(Some(signature)),
        }
    }

    fn verify(
        &self,
        stored: &StoredCertificate,
        manifest: &Manifest,
        descriptor: &FileName,
    ) -> Result<Signature, CertificateError> {
        let certificate = Certificate::parse(&stored.bytes)?;
        let anchors = match &self.trusted {
            Some(anchors) => anchors.clone(),
            None => system(),
        };
        // The three small files have one base name, in an archive perhaps another than the
        // descriptor.
        let certified = certificate.manifest();
        let is_beside = certified.stem() == stored.file.stem() && certified.has_extension("mf");
        let name = match is_beside {
            true => certified.clone(),
            false => FileName::new(format!("{}.mf", descriptor.stem()))
                .map_err(CertificateError::Name)?,
        };
        let source = manifest.source().unwrap_or_default();
        let anchors = anchors.allow_weak(self.allow_weak);
        certificate.verify(&name, source, &anchors, time_of_day())
    }
}

/// The authorities of the operating system.
fn system() -> TrustAnchors {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "an authority of the system cannot be read");
    }
    TrustAnchors::authorities(found.certs)
}

/// A certificate as the package has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StoredCertificate {
    pub(crate) file: FileName,
    pub(crate) bytes: Vec<u8>,
}

/// What a signature is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed<'s> {
    /// Where the package is, for messages.
    pub(crate) package: &'s str,
    pub(crate) descriptor: &'s FileName,
    pub(crate) manifest: Option<&'s Manifest>,
    pub(crate) certificate: Option<&'s StoredCertificate>,
}
