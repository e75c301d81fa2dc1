//! The descriptor as the server gets it: about the files that are sent, which are not always those
//! that the package has.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::thread;

use futures::StreamExt;
use futures::TryStreamExt;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;

use crate::check::measure;
use crate::error::Error;
use crate::import::disks::Disks;
use crate::kind::STREAM_OPTIMIZED_URI;
use crate::store::package::Package;

/// The descriptor as the server gets it.
///
/// A host takes every file in one piece and as it is, so chunks and compression are no longer
/// spoken of; and of disks that are converted it gets the format and the name, but not the size,
/// which nobody knows yet, and nothing of the files that their data is in.  The package's own descriptor stays what the manifest is compared with.
#[derive(Debug)]
pub(super) struct Sent<'p> {
    package: &'p Package,
    /// Nothing if the server gets the package's own.
    edited: Option<Envelope>,
    sizes: BTreeMap<FileName, u64>,
}

impl<'p> Sent<'p> {
    /// Reads compressed files once to learn their sizes, which a server has to be told beforehand;
    /// that proves them, too.  What comes in its own order has no sizes yet.
    pub(super) async fn of(package: &'p Package, disks: &Disks) -> Result<Self, Error> {
        let references = package.envelope().references();
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let unknown = references.iter().filter_map(|reference| {
            let file = package.file(reference.href())?;
            let is_wanted = disks.conversion(reference.href()).is_none();
            (is_wanted && file.size_bytes().is_none()).then_some((reference, file))
        });
        let sizes: BTreeMap<FileName, u64> = futures::stream::iter(unknown)
            .map(|(reference, file)| async move {
                Ok::<_, Error>((reference.href().clone(), measure(package, reference, file).await?))
            })
            .buffer_unordered(cores)
            .try_collect()
            .await?;
        let mut edit = package.envelope().edit();
        let mut is_edited = false;
        for reference in references {
            let (id, href) = (reference.id(), reference.href());
            if disks.is_extent(href) {
                is_edited = true;
                edit.remove_file(id);
                continue;
            }
            if disks.conversion(href).is_some() || disks.is_misnamed(href) {
                is_edited = true;
                let disks = package.envelope().disks().iter();
                for disk in disks.filter(|disk| disk.file_ref() == Some(id)) {
                    edit.disk_format(disk.id(), STREAM_OPTIMIZED_URI);
                }
            }
            if let Some(to_convert) = disks.conversion(href) {
                edit.file_href(id, &to_convert.sent_as).file_size(id, None);
                edit.file_compression(id, None).file_chunk_size(id, None);
                continue;
            }
            if reference.url().is_some() {
                is_edited = true;
                edit.file_href(reference.id(), reference.href());
            }
            let is_compressed = reference.compression().is_some_and(|name| name != "identity");
            if !is_compressed && reference.chunk_size_bytes().is_none() {
                continue;
            }
            is_edited = true;
            edit.file_compression(reference.id(), None).file_chunk_size(reference.id(), None);
            if is_compressed {
                let size_bytes = sizes.get(reference.href()).copied();
                edit.file_size(reference.id(), size_bytes);
            }
        }
        let edited = is_edited.then(|| edit.apply()).transpose().map_err(|source| {
            Error::Envelope { package: package.display(), source: Box::new(source) }
        })?;
        Ok(Self { package, edited, sizes })
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        self.edited.as_ref().unwrap_or(self.package.envelope()).text()
    }

    /// Size in bytes of a file as it is sent; nothing if it has yet to come.
    pub(super) fn size_bytes(&self, file: &FileName) -> Option<u64> {
        let known = self.sizes.get(file).copied();
        known.or_else(|| self.package.file(file)?.size_bytes())
    }
}
