//! A package that is being written into a store of somebody else.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;

use crate::error::Error;
use crate::inspect::Hasher;
use crate::inspect::Inspection;
use crate::store::Destination;
use crate::store::Sink;
use crate::store::Store;
use crate::store::papers::Papers;
use crate::verify::Verification;
use crate::verify::Verified;

/// One package on its way into a [`Store`].
#[derive(Debug)]
pub(crate) struct PackageStore {
    store: Arc<dyn Store>,
    /// Manifest, certificate if there is one, and descriptor, in this order.
    small: Mutex<Vec<(Box<dyn Sink>, Verified)>>,
}

impl PackageStore {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, small: Mutex::default() }
    }

    /// Where the bytes of a file go.
    pub(crate) fn destination(&self, file: &FileName) -> Arc<dyn Destination> {
        Arc::new(StoreDestination { store: Arc::clone(&self.store), file: file.clone() })
    }

    /// Writes the small files, and makes them durable.
    pub(crate) async fn stage(&self, papers: Papers) -> Result<(), Error> {
        let Papers { descriptor, manifest, certificate } = papers;
        for (file, content) in [Some(manifest), certificate, Some(descriptor)].into_iter().flatten()
        {
            let proof = proof_of(&file, &content)?;
            let mut sink = self.store.create(&file).await.map_err(writing(&file))?;
            let written = async {
                sink.write(vec![Bytes::from(content)]).await?;
                sink.finish().await
            };
            if let Err(error) = written.await.map_err(writing(&file)) {
                remove(sink, &file).await;
                return Err(error);
            }
            self.lock().push((sink, proof));
        }
        Ok(())
    }

    /// Makes everything visible, the descriptor last.
    ///
    /// If that stops half-way, what is visible is removed again.
    pub(crate) async fn publish(self, files: Vec<(Box<dyn Sink>, Verified)>) -> Result<(), Error> {
        let small = std::mem::take(&mut *self.lock());
        let mut waiting = files.into_iter().chain(small);
        let mut visible = Vec::new();
        let outcome = async {
            for (sink, proof) in waiting.by_ref() {
                sink.commit(&proof).await.map_err(writing(proof.file()))?;
                visible.push(proof.file().clone());
            }
            Ok(())
        }
        .await;
        if outcome.is_err() {
            for (sink, proof) in waiting {
                remove(sink, proof.file()).await;
            }
            for file in visible.iter().rev() {
                if let Err(error) = self.store.remove(file).await {
                    tracing::warn!(%file, %error, "could not be removed");
                }
            }
        }
        outcome
    }

    /// Removes what was written.  The files that moved are removed by whoever holds their sinks.
    pub(crate) async fn discard(self) {
        let small = std::mem::take(&mut *self.lock());
        for (sink, proof) in small {
            remove(sink, proof.file()).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Box<dyn Sink>, Verified)>> {
        self.small.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn remove(sink: Box<dyn Sink>, file: &FileName) {
    if let Err(error) = sink.abort().await {
        tracing::warn!(%file, %error, "could not be removed");
    }
}

/// Descriptor and manifest are made here: nobody else has promised anything about them.
fn proof_of(file: &FileName, content: &[u8]) -> Result<Verified, Error> {
    let digests = vec![Hasher::digest(DigestAlgorithm::Sha256, content)];
    let seen = Inspection { digests, disk: None };
    Verified::check(file, content.len() as u64, &seen, None, None, Verification::Off)
}

fn writing(file: &FileName) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = PathBuf::from(file.as_str());
    |source| Error::Local { action: "write", path, source }
}

#[derive(Debug)]
struct StoreDestination {
    store: Arc<dyn Store>,
    file: FileName,
}

impl Destination for StoreDestination {
    fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>> {
        self.store.create(&self.file).boxed()
    }
}
