//! A package that is being written into a folder.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use ovftransfer_ovf::FileName;

use crate::error::Error;
use crate::sabotage;
use crate::sabotage::Defect;
use crate::store::Sink;
use crate::store::faulty;
use crate::store::file::Existing;
use crate::store::file::blocking;
use crate::store::file::give_name;
use crate::store::file::partial_path;
use crate::store::file::sync_folder;
use crate::store::file::write_partial;
use crate::store::inode::is_one;
use crate::store::lock::PackageLock;
use crate::store::neighbours;
use crate::store::neighbours::partial_of;
use crate::store::papers::Papers;
use crate::verify::Verified;

/// A folder that takes a package, and keeps other exports out of it meanwhile.
///
/// ```text
///  create ──> check ──> [disks move] ──> stage ──> make_way ──> commit* ──> publish
///     └──────────┴─────────────┴───────────┴───────────┴───────────┴──> discard
/// ```
///
/// Nothing has its final name before [`make_way`](Self::make_way), and from there on there is no
/// descriptor before everything that it names is there: at no time does a descriptor lead to files
/// of two packages.
#[derive(Debug)]
pub(crate) struct PackageFolder {
    folder: PathBuf,
    /// The base name of the descriptor and the manifest.
    base: String,
    existing: Existing,
    /// The folders that were made for this package, the outermost first.
    made: Vec<PathBuf>,
    /// The descriptor under its `.partial` name.
    lock: Arc<PackageLock>,
    /// Whether a certificate was written.
    is_signed: AtomicBool,
    /// What got its final name and took nobody's place, in this order.
    published: Vec<PathBuf>,
}

impl PackageFolder {
    /// Finds out where a package goes: `x.ovf` is a descriptor beside which the files go; anything
    /// else is a folder in which the package gets a folder of its own.
    pub(crate) fn resolve(destination: &Path, machine: &str) -> (PathBuf, String) {
        if destination.extension().is_some_and(|e| e.eq_ignore_ascii_case("ovf")) {
            let folder = match destination.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            };
            let base = destination.file_stem().and_then(|s| s.to_str()).unwrap_or(machine);
            return (folder, safe_base(base));
        }
        let base = safe_base(machine);
        (destination.join(&base), base)
    }

    /// Refuses final names of a package that cannot be given: those of the descriptor, of the
    /// manifest, of the certificate and of `files`.  A certificate that stayed would be taken for
    /// that of a package which is not signed.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if a name is a folder's, [`Error::Exists`] if it is that of a file which is
    /// to be kept.
    pub(crate) fn check_names(
        folder: &Path,
        base: &str,
        files: &[FileName],
        existing: Existing,
    ) -> Result<(), Error> {
        let own = ["ovf", "mf", "cert"].map(|extension| format!("{base}.{extension}"));
        let names = own.iter().map(String::as_str).chain(files.iter().map(FileName::as_str));
        names.map(|name| folder.join(name)).try_for_each(|path| check_name(path, existing))
    }

    /// Makes the folder, if need be, and takes it for this package alone.
    ///
    /// `early` are final names that a run has given which was killed before its package had all of
    /// them; they are taken back.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if somebody else is writing a package of this name into it, or if there
    /// is one already; [`Error::Local`] if it cannot be made.
    pub(crate) async fn create(
        folder: PathBuf,
        base: String,
        existing: Existing,
        early: Vec<PathBuf>,
    ) -> Result<Self, Error> {
        blocking(move || {
            let made = make_folders(&folder)?;
            let taken = take(&folder.join(format!("{base}.ovf"))).and_then(|lock| {
                take_back(&folder.join(format!("{base}.ovf")), &early)?;
                // Somebody may have finished one since the plan was made.
                match Self::check_names(&folder, &base, &[], existing) {
                    Ok(()) => Ok(lock),
                    Err(error) => {
                        remove(lock.path());
                        Err(error)
                    }
                }
            });
            match taken {
                Ok(lock) => {
                    let (lock, published) = (Arc::new(lock), Vec::new());
                    let is_signed = AtomicBool::new(false);
                    Ok(Self { folder, base, existing, made, lock, is_signed, published })
                }
                Err(error) => {
                    remove_folders(made);
                    Err(error)
                }
            }
        })
        .await
    }

    /// The folders that were made for this package, the outermost first.
    pub(crate) fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// What becomes of files that are there already.
    pub(crate) const fn existing(&self) -> Existing {
        self.existing
    }

    /// The descriptor under its present name.
    pub(crate) fn descriptor(&self) -> PathBuf {
        self.lock.path().to_owned()
    }

    /// The final path of a file.
    pub(crate) fn path(&self, file: &FileName) -> PathBuf {
        self.folder.join(file.as_str())
    }

    /// The path of a file until it gets its final one.
    pub(crate) fn partial(&self, file: &FileName) -> PathBuf {
        partial_of(&self.path(file), &self.own("ovf"))
    }

    /// [`check_names`](Self::check_names) for all files of the package, before the first byte.
    pub(crate) async fn check(&self, files: Vec<FileName>) -> Result<(), Error> {
        let (folder, base, existing) = (self.folder.clone(), self.base.clone(), self.existing);
        let descriptor = self.own("ovf");
        blocking(move || {
            Self::check_names(&folder, &base, &files, existing)?;
            neighbours::check(&descriptor, &files, existing)
        })
        .await
    }

    /// Writes the small files under their `.partial` names and makes them durable.
    pub(crate) async fn stage(&self, papers: Papers) -> Result<(), Error> {
        self.is_signed.store(papers.certificate.is_some(), Ordering::Relaxed);
        let paths = (self.own("mf"), self.own("cert"));
        let lock = Arc::clone(&self.lock);
        blocking(move || {
            let write = |path: &Path, bytes: &[u8]| {
                write_partial(path, bytes).map_err(writing(&partial_path(path)))
            };
            write(&paths.0, &papers.manifest.1)?;
            if let Some((_, certificate)) = &papers.certificate {
                write(&paths.1, certificate)?;
            }
            lock.write(&papers.descriptor.1).map_err(writing(lock.path()))
        })
        .await
    }

    /// Takes down the package that is to be replaced, so that its descriptor does not lead to the
    /// new files.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if one of the files is another package's: that may have come meanwhile.
    pub(crate) async fn make_way(&self, files: Vec<FileName>) -> Result<(), Error> {
        let old = ["ovf", "cert", "mf"].map(|extension| self.own(extension));
        let (folder, existing) = (self.folder.clone(), self.existing);
        blocking(move || {
            neighbours::check(&old[0], &files, existing)?;
            if existing == Existing::Keep {
                return Ok(());
            }
            for path in old {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(Error::Local { action: "replace", path, source }),
                    Ok(()) => {}
                }
            }
            sync_folder(&folder).map_err(writing(&folder))
        })
        .await
    }

    /// Gives a file its final name.
    pub(crate) async fn commit(
        &mut self,
        sink: Box<dyn Sink>,
        proof: &Verified,
    ) -> Result<(), Error> {
        let path = self.path(proof.file());
        let looked_at = path.clone();
        let replaces = blocking(move || fs::symlink_metadata(looked_at).is_ok()).await;
        sink.commit(proof).await.map_err(naming(&path))?;
        if !replaces {
            self.published.push(path);
        }
        Ok(())
    }

    /// Gives the manifest its final name, then the certificate, then the descriptor, and makes all
    /// names durable.
    ///
    /// Returns the path of the descriptor.
    pub(crate) async fn publish(&mut self) -> Result<PathBuf, Error> {
        let is_signed = self.is_signed.load(Ordering::Relaxed);
        let mut extensions = ["mf", "cert", "ovf"];
        if sabotage::on(Defect::DescriptorFirst) {
            extensions.reverse();
        }
        let extensions = extensions.into_iter();
        for extension in extensions.filter(|extension| *extension != "cert" || is_signed) {
            let path = self.own(extension);
            let (given, existing) = (path.clone(), self.existing);
            blocking(move || {
                give_name(&partial_path(&given), &given, existing).map_err(naming(&given))
            })
            .await?;
            self.published.push(path);
        }
        let folder = self.folder.clone();
        blocking(move || sync_folder(&folder).map_err(writing(&folder))).await?;
        Ok(self.own("ovf"))
    }

    /// Removes what was made: the small files, what has its final name already, and the folders,
    /// unless somebody else put something into them.
    pub(crate) async fn discard(self) {
        blocking(move || {
            // The descriptor before the files that it names.
            for path in self.published.iter().rev() {
                remove(path);
            }
            remove(&partial_path(&self.own("cert")));
            remove(&partial_path(&self.own("mf")));
            // The last of the files: once it is gone the names belong to somebody else.
            remove(self.lock.path());
            remove_folders(self.made);
        })
        .await;
    }

    fn own(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.base))
    }
}

/// Gives files their `.partial` names again.
fn take_back(descriptor: &Path, early: &[PathBuf]) -> Result<(), Error> {
    for path in early {
        let partial = partial_of(path, descriptor);
        let given = match is_one(path, &partial) {
            // It had been given by a link.
            true => fs::remove_file(path),
            false => give_name(path, &partial, Existing::Keep),
        };
        given.map_err(naming(&partial))?;
    }
    let folder = descriptor.parent().unwrap_or(Path::new("."));
    if early.is_empty() { Ok(()) } else { sync_folder(folder).map_err(writing(folder)) }
}

/// Refuses a final name that cannot be given.
///
/// # Errors
///
/// [`Error::Refused`] if it is a folder's, [`Error::Exists`] if it is that of a file which is to be
/// kept.
pub(crate) fn check_name(path: PathBuf, existing: Existing) -> Result<(), Error> {
    let problem = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::Local { action: "read", path, source }),
        Ok(_) if path.is_dir() => "is a folder; choose another name",
        Ok(_) if existing == Existing::Keep => return Err(Error::Exists { path }),
        Ok(_) => return Ok(()),
    };
    Err(Error::Refused { problem: format!("{} {problem}", path.display()) })
}

/// Makes `folder` and what is missing above it; returns what was made, the outermost first.
pub(crate) fn make_folders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut missing = Vec::new();
    let mut at = folder;
    while !at.as_os_str().is_empty() && !at.exists() {
        missing.push(at.to_owned());
        let Some(parent) = at.parent() else { break };
        at = parent;
    }
    let mut made = Vec::new();
    for folder in missing.into_iter().rev() {
        let created = faulty::point("create a folder", &folder);
        let outcome = match created.and_then(|()| fs::create_dir(&folder)) {
            // Somebody else was faster, so it is theirs.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Ok(()) => {
                made.push(folder.clone());
                sync_parent(&folder)
            }
            failed => failed,
        };
        if let Err(source) = outcome {
            remove_folders(made);
            return Err(Error::Local { action: "create", path: folder, source });
        }
    }
    Ok(made)
}

fn sync_parent(folder: &Path) -> io::Result<()> {
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        Some(_) => sync_folder(Path::new(".")),
        None => Ok(()),
    }
}

/// Takes the package whose descriptor, or archive, is to have the name `path`.
pub(crate) fn take(path: &Path) -> Result<PackageLock, Error> {
    let partial = partial_path(path);
    PackageLock::take(partial.clone()).map_err(|source| {
        let (path, partial) = (path.display(), partial);
        let problem = if source.kind() == io::ErrorKind::WouldBlock {
            format!("another export is writing {path}")
        } else if source.kind() == io::ErrorKind::AlreadyExists {
            let partial = partial.display();
            format!("another export may be writing {path}; if none is, remove {partial}")
        } else {
            return Error::Local { action: "create", path: partial, source };
        };
        Error::Refused { problem }
    })
}

pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    |source| Error::Local { action: "write", path, source }
}

pub(crate) fn naming(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    |source| Error::Local { action: "give its name to", path, source }
}

/// Removes folders, the innermost first.
pub(crate) fn remove_folders(made: Vec<PathBuf>) {
    for folder in made.into_iter().rev() {
        log_failure(fs::remove_dir(&folder), &folder);
    }
}

fn remove(path: &Path) {
    log_failure(fs::remove_file(path), path);
}

pub(crate) fn log_failure(outcome: io::Result<()>, path: &Path) {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
}

/// A base name that every file system and every product takes.
pub(crate) fn safe_base(name: &str) -> String {
    let base: String = name
        .chars()
        .map(|c| if c.is_control() || r#"/\:*?"<>|"#.contains(c) { '_' } else { c })
        .collect();
    let base = base.trim_matches(['.', ' ']);
    if base.is_empty() { "machine".to_owned() } else { base.to_owned() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ovftransfer_ovf::DigestAlgorithm;

    use super::*;
    use crate::error::ErrorKind;
    use crate::inspect::Hasher;
    use crate::inspect::Inspection;
    use crate::store::Destination;
    use crate::store::file::FileDestination;
    use crate::verify::Verification;

    #[test]
    fn a_descriptor_or_a_folder() {
        let resolve = |path: &str| PackageFolder::resolve(Path::new(path), "web");
        assert_eq!(resolve("out/x.ovf"), (PathBuf::from("out"), "x".to_owned()));
        assert_eq!(resolve("x.ovf"), (PathBuf::from("."), "x".to_owned()));
        assert_eq!(resolve("out"), (PathBuf::from("out/web"), "web".to_owned()));
        assert_eq!(resolve("out/"), (PathBuf::from("out/web"), "web".to_owned()));
    }

    #[test]
    fn names_are_made_safe() {
        assert_eq!(safe_base("a/b:c"), "a_b_c");
        assert_eq!(safe_base(".."), "machine");
        assert_eq!(safe_base("Büro 1"), "Büro 1");
    }

    const NAMESPACE: &str = "http://schemas.dmtf.org/ovf/envelope/1";

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn papers() -> Papers {
        Papers::new(name("x.ovf"), b"<>".to_vec(), b"mf".to_vec()).unwrap()
    }

    async fn create(folder: &Path, existing: Existing) -> Result<PackageFolder, Error> {
        PackageFolder::create(folder.to_owned(), "x".to_owned(), existing, Vec::new()).await
    }

    /// A sink that has taken the file `text`, and the proof of it.
    async fn written(package: &PackageFolder, text: &str) -> (Box<dyn Sink>, Verified) {
        let path = package.path(&name(text));
        let partial = package.partial(&name(text));
        let to = FileDestination::new(path, partial, package.existing());
        let mut sink = to.create().await.unwrap();
        sink.write(vec![Bytes::from_static(b"new")]).await.unwrap();
        sink.finish().await.unwrap();
        (sink, proof(text, b"new"))
    }

    fn proof(text: &str, bytes: &[u8]) -> Verified {
        let digests = vec![Hasher::digest(DigestAlgorithm::Sha1, bytes)];
        let (seen, len) = (Inspection { digests, disk: None }, bytes.len() as u64);
        Verified::check(&name(text), len, &seen, None, None, Verification::Off).unwrap()
    }

    /// Two packages whose disks have the same name, as those of all OVAs here.
    #[tokio::test]
    async fn packages_in_one_folder_keep_their_own_bytes() {
        for existing in [Existing::Keep, Existing::Replace] {
            for is_first_ahead in [true, false] {
                let temp = tempfile::tempdir().unwrap();
                let disk = name("disk");
                let mut packages = Vec::new();
                for (base, bytes) in [("x", b"of x"), ("y", b"of y")] {
                    let folder = temp.path().to_owned();
                    let package = PackageFolder::create(folder, base.to_owned(), existing, vec![]);
                    let package = package.await.unwrap();
                    package.check(vec![disk.clone()]).await.unwrap();
                    let (path, partial) = (package.path(&disk), package.partial(&disk));
                    let to = FileDestination::new(path, partial, existing);
                    packages.push((base, bytes, to.create().await.unwrap(), package));
                }
                for (_, bytes, sink, _) in &mut packages {
                    sink.write(vec![Bytes::from_static(&bytes[..2])]).await.unwrap();
                }
                for (_, bytes, sink, _) in &mut packages {
                    sink.write(vec![Bytes::from_static(&bytes[2..])]).await.unwrap();
                    sink.finish().await.unwrap();
                }
                if !is_first_ahead {
                    packages.reverse();
                }
                let mut done = Vec::new();
                for (base, bytes, sink, mut package) in packages {
                    let text = format!(
                        r#"<Envelope xmlns="{NAMESPACE}" xmlns:o="{NAMESPACE}"><References>
                           <File o:id="f" o:href="disk"/></References>
                           <VirtualSystem o:id="v"><Info/></VirtualSystem></Envelope>"#
                    );
                    let descriptor = name(&format!("{base}.ovf"));
                    let papers = Papers::new(descriptor, text.into_bytes(), b"mf".to_vec());
                    package.stage(papers.unwrap()).await.unwrap();
                    let outcome = async {
                        package.make_way(vec![disk.clone()]).await?;
                        package.commit(sink, &proof("disk", bytes)).await?;
                        package.publish().await
                    };
                    match outcome.await {
                        Ok(_) => done.push(bytes),
                        Err(_) => package.discard().await,
                    }
                }
                let [bytes] = done[..] else { panic!("{done:?}") };
                assert_eq!(fs::read(temp.path().join("disk")).unwrap(), bytes, "{existing:?}");
            }
        }
    }

    #[tokio::test]
    async fn discard_removes_what_was_made_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("a/b");
        let package = create(&folder, Existing::Keep).await.unwrap();
        package.stage(papers()).await.unwrap();
        assert_eq!(names_in(&folder), ["x.mf.partial", "x.ovf.partial"]);
        package.discard().await;
        assert!(!temp.path().join("a").exists());
        assert!(temp.path().exists());
    }

    #[tokio::test]
    async fn a_package_is_written_by_one_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let mut first = create(temp.path(), Existing::Keep).await.unwrap();
        let error = create(temp.path(), Existing::Replace).await.unwrap_err();
        assert!(error.to_string().contains(&temp.path().display().to_string()), "{error}");
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        first.stage(papers()).await.unwrap();
        first.publish().await.unwrap();
        drop(first);
        let error = create(temp.path(), Existing::Keep).await.unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{error}");
        assert_eq!(names_in(temp.path()), ["x.mf", "x.ovf"]);
        create(temp.path(), Existing::Replace).await.unwrap().discard().await;
        assert_eq!(names_in(temp.path()), ["x.mf", "x.ovf"]);
    }

    /// Somebody else may have put them there.
    #[cfg(unix)]
    #[tokio::test]
    async fn no_link_is_followed() {
        for is_symbolic in [true, false] {
            let plant = |target: &Path, at: &Path| match is_symbolic {
                true => std::os::unix::fs::symlink(target, at),
                false => fs::hard_link(target, at),
            };
            let (temp, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let target = elsewhere.path().join("theirs");
            fs::write(&target, b"precious").unwrap();
            for file in ["x.ovf", "x.mf", "a"].map(|file| temp.path().join(file)) {
                plant(&target, &partial_of(&file, &temp.path().join("x.ovf"))).unwrap();
            }
            let mut package = create(temp.path(), Existing::Keep).await.unwrap();
            let (sink, proof) = written(&package, "a").await;
            package.stage(papers()).await.unwrap();
            package.commit(sink, &proof).await.unwrap();
            package.publish().await.unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"precious");
            assert_eq!(names_in(temp.path()), ["a", "x.mf", "x.ovf"]);
            assert_eq!(fs::read(temp.path().join("a")).unwrap(), b"new");
        }
    }

    #[tokio::test]
    async fn names_that_cannot_be_given_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("x-a.vmdk")).unwrap();
        fs::write(temp.path().join("x-b.vmdk"), b"old").unwrap();
        let keep = create(temp.path(), Existing::Keep).await.unwrap();
        keep.check(vec![name("x-c.vmdk")]).await.unwrap();
        for file in ["x-a.vmdk", "x-b.vmdk"] {
            let error = keep.check(vec![name(file)]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        }
        keep.discard().await;
        let replace = create(temp.path(), Existing::Replace).await.unwrap();
        assert!(replace.check(vec![name("x-a.vmdk")]).await.is_err());
        replace.check(vec![name("x-b.vmdk")]).await.unwrap();
    }

    #[tokio::test]
    async fn a_name_that_is_taken_meanwhile_stays_and_the_rest_goes() {
        let temp = tempfile::tempdir().unwrap();
        let mut package = create(temp.path(), Existing::Keep).await.unwrap();
        let (first, second) = (written(&package, "a").await, written(&package, "b").await);
        fs::write(temp.path().join("b"), b"theirs").unwrap();
        package.make_way(vec![name("a"), name("b")]).await.unwrap();
        package.commit(first.0, &first.1).await.unwrap();
        let error = package.commit(second.0, &second.1).await.unwrap_err();
        assert!(error.chain().contains("exists"), "{}", error.chain());
        package.discard().await;
        assert_eq!(names_in(temp.path()), ["b"]);
        assert_eq!(fs::read(temp.path().join("b")).unwrap(), b"theirs");
    }

    /// Whatever stops it, the old descriptor never leads to new files.
    #[tokio::test]
    async fn the_old_descriptor_goes_before_the_new_files_come() {
        let temp = tempfile::tempdir().unwrap();
        for file in ["x.ovf", "x.mf", "a"] {
            fs::write(temp.path().join(file), b"old").unwrap();
        }
        let mut package = create(temp.path(), Existing::Replace).await.unwrap();
        let (first, second) = (written(&package, "a").await, written(&package, "b").await);
        package.stage(papers()).await.unwrap();
        assert_eq!(fs::read(temp.path().join("x.ovf")).unwrap(), b"old");
        package.make_way(vec![name("a"), name("b")]).await.unwrap();
        package.commit(first.0, &first.1).await.unwrap();
        fs::create_dir(temp.path().join("b")).unwrap();
        package.commit(second.0, &second.1).await.unwrap_err();
        package.discard().await;
        assert_eq!(names_in(temp.path()), ["a", "b"], "what took a place cannot give it back");
    }
}
