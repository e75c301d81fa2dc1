//! The small files of a package that is written.

use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::certificate::SigningKey;
use ovftransfer_ovf::ova;

use crate::error::Error;

/// Descriptor, manifest and, of a signed package, the certificate.
#[derive(Clone, Debug)]
pub(crate) struct Papers {
    pub(crate) descriptor: (FileName, Vec<u8>),
    pub(crate) manifest: (FileName, Vec<u8>),
    pub(crate) certificate: Option<(FileName, Vec<u8>)>,
}

impl Papers {
    /// Takes the descriptor called `name`; manifest and certificate lie beside it.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if there can be no file of that name beside the descriptor.
    pub(crate) fn new(
        name: FileName,
        descriptor: Vec<u8>,
        manifest: Vec<u8>,
    ) -> Result<Self, Error> {
        let manifest = (beside(&name, "mf")?, manifest);
        Ok(Self { descriptor: (name, descriptor), manifest, certificate: None })
    }

    /// Signs the manifest.
    ///
    /// # Errors
    ///
    /// [`Error::Signing`] if the key cannot.
    pub(crate) fn sign(self, key: &SigningKey, algorithm: DigestAlgorithm) -> Result<Self, Error> {
        let (name, manifest) = &self.manifest;
        let slot_bytes = certificate_bytes(key, &self.descriptor.0)?.next_multiple_of(BLOCK_BYTES);
        let signing = |source| Error::Signing { source: Box::new(source) };
        let mut content = key.sign(name, manifest, algorithm).map_err(signing)?;
        // The length of an ECDSA signature differs by a few bytes from one to the next.
        for _ in 0..SIGN_TRIES_MAX {
            if content.len().next_multiple_of(BLOCK_BYTES) == slot_bytes {
                break;
            }
            content = key.sign(name, manifest, algorithm).map_err(signing)?;
        }
        let certificate = Some((beside(&self.descriptor.0, "cert")?, content));
        Ok(Self { certificate, ..self })
    }

    /// The files in the order of an archive (DSP0243 1.1.0 §5.3).
    pub(crate) fn files(&self) -> impl Iterator<Item = &(FileName, Vec<u8>)> {
        [&self.descriptor, &self.manifest].into_iter().chain(&self.certificate)
    }

    /// The files as the first members of an archive.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if a name is too long for an archive.
    pub(crate) fn members(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        for (file, content) in self.files() {
            let size_bytes = content.len() as u64;
            let header = ova::member_header(file, size_bytes)
                .map_err(|error| refused(file, &error.to_string()))?;
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(content);
            bytes.extend_from_slice(ova::member_padding(size_bytes));
        }
        Ok(bytes)
    }
}

/// What the certificate of a package may take, in bytes; it takes as many blocks as that.
///
/// # Errors
///
/// [`Error::Refused`] if the manifest beside this descriptor can have no name.
pub(crate) fn certificate_bytes(key: &SigningKey, descriptor: &FileName) -> Result<usize, Error> {
    Ok(key.file_bytes_max(&beside(descriptor, "mf")?))
}

fn beside(descriptor: &FileName, extension: &str) -> Result<FileName, Error> {
    FileName::new(format!("{}.{extension}", descriptor.stem()))
        .map_err(|error| refused(descriptor, &error.to_string()))
}

fn refused(file: &FileName, reason: &str) -> Error {
    Error::Refused { problem: format!("the package cannot have a file called {file}: {reason}") }
}

/// A block of a tar file (POSIX.1-1988, ustar).
const BLOCK_BYTES: usize = 512;

/// How often is signed again to fill as many blocks as were left free.  Every fourth signature of
/// P-256 and P-384 has its full length, so that all of them fail once in 10¹².
const SIGN_TRIES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;
    use rcgen::KeyPair;

    use super::*;

    #[test]
    fn a_signature_fills_the_blocks_that_were_left_for_it() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let pem = key.serialize_pem() + &certificate.pem();
        let key = SigningKey::read(pem.as_bytes(), None, None).unwrap();
        let base = |len: usize| {
            (1..=len)
                .map(|at| if at % 100 == 0 && at < len { '/' } else { 'b' })
                .collect::<String>()
        };
        // A name of the length at which the last characters of a long signature open a new block.
        let size = |len: usize| {
            certificate_bytes(&key, &FileName::new(base(len) + ".ovf").unwrap()).unwrap()
        };
        let edge = (1..600).find(|len| size(*len) % BLOCK_BYTES == 1).unwrap();
        let name = FileName::new(base(edge) + ".ovf").unwrap();
        for _ in 0..20 {
            let papers = Papers::new(name.clone(), b"<>".to_vec(), b"mf".to_vec()).unwrap();
            let papers = papers.sign(&key, DigestAlgorithm::Sha256).unwrap();
            let (file, content) = papers.certificate.as_ref().unwrap();
            assert!(file.has_extension("cert"));
            assert_eq!(content.len(), size(edge));
        }
    }
}
