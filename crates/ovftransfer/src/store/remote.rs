//! Files of a package that lie on web servers: the descriptor names them by their addresses.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_vim::tls::Trust;
use url::Url;

use crate::error::Error;
use crate::store::PackageFiles;
use crate::store::Source;
use crate::store::fetch::FetchOptions;
use crate::store::fetch::found_at;
use crate::store::fetch::web;
use crate::store::lookup::Stocked;
use crate::store::parts::PackageFile;
use crate::store::parts::find;
use crate::store::url::PackageUrl;
use crate::store::url::host_of;
use crate::store::url::shown;
use crate::store::web::Web;

/// Finds the files of a descriptor that lie on web servers.
///
/// `location` is where the package itself lies: what comes over `https`, or from this machine, does
/// not become something that came over `http`; and the pin of one host says nothing about another.
pub(crate) async fn fetch(
    location: &str,
    envelope: &Envelope,
    manifest: Option<&Manifest>,
    options: &FetchOptions,
) -> Result<BTreeMap<FileName, PackageFile>, Error> {
    let wrong = |problem| Error::Package { package: location.to_owned(), problem };
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https");
    let package = Url::parse(location).ok().filter(is_web);
    let mut elsewhere = BTreeMap::new();
    for reference in envelope.references() {
        let Some(text) = reference.url() else { continue };
        let file = reference.href();
        let url: PackageUrl =
            text.parse().map_err(|error| wrong(format!("the reference to {file}: {error}")))?;
        let is_plain = url.url().scheme() == "http";
        if is_plain && package.as_ref().is_none_or(|package| package.scheme() != "http") {
            return Err(wrong(format!(
                "the descriptor refers to {url}, which is not https: what a package names is \
                 fetched over http only if the package came that way too"
            )));
        }
        let mut options = options.clone();
        let is_other_host = package.as_ref().is_some_and(|one| host_of(one) != host_of(url.url()));
        if matches!(options.trust, Trust::Pinned(_)) && is_other_host {
            options.trust = Trust::System;
        }
        elsewhere.insert(file.clone(), (url, web(&options)));
    }
    let files = Elsewhere { location: location.to_owned(), files: elsewhere };
    find(&Stocked(files), envelope, manifest, |reference: &FileRef| reference.url().is_some()).await
}

/// What to do about references to web servers that nobody has allowed; nothing if there are none.
pub(crate) fn refusal(reference: &FileRef) -> Option<String> {
    let url = Url::parse(reference.url()?).ok();
    let at = url.as_ref().map_or_else(|| "a web server".to_owned(), shown);
    Some(format!(
        "the descriptor refers to {at}, which is fetched only if that is asked for: \
         --allow-remote-references, Package::fetch_references"
    ))
}

/// Files on web servers, by their names in the package.
#[derive(Debug)]
struct Elsewhere {
    location: String,
    files: BTreeMap<FileName, (PackageUrl, Arc<Web>)>,
}

impl Elsewhere {
    /// The address of a file, or of a chunk of one.
    fn place(&self, file: &FileName) -> Option<(PackageUrl, &Arc<Web>)> {
        if let Some((url, web)) = self.files.get(file) {
            return Some((url.clone(), web));
        }
        let (name, number) = file.as_str().rsplit_once('.')?;
        let (url, web) = self.files.get(&FileName::new(name).ok()?)?;
        Some((url.with_extension(number), web))
    }
}

impl PackageFiles for Elsewhere {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn find<'a>(
        &'a self,
        file: &'a FileName,
    ) -> BoxFuture<'a, io::Result<Option<Arc<dyn Source>>>> {
        async move {
            match self.place(file) {
                Some((url, web)) => found_at(web, &url).await,
                None => Ok(None),
            }
        }
        .boxed()
    }
}
