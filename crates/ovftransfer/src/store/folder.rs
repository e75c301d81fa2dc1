//! A package that is being written into a folder.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use ovftransfer_ovf::FileName;

use crate::error::Error;
use crate::store::file::partial_path;
use crate::store::file::sync_folder;
use crate::store::file::write_partial;

/// A folder that takes a package.  Nothing has its final name before [`publish`](Self::publish).
#[derive(Debug)]
pub(crate) struct PackageFolder {
    folder: PathBuf,
    /// The base name of the descriptor and the manifest.
    base: String,
    /// The folders that were made for this package, the outermost first.
    made: Vec<PathBuf>,
    /// Small files that wait under their `.partial` names, in the order of their publication.
    staged: Vec<PathBuf>,
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

    /// Makes the folder, if need be.
    pub(crate) fn create(folder: PathBuf, base: String) -> Result<Self, Error> {
        let mut missing = Vec::new();
        let mut at = folder.as_path();
        while !at.as_os_str().is_empty() && !at.exists() {
            missing.push(at.to_owned());
            let Some(parent) = at.parent() else { break };
            at = parent;
        }
        let mut package = Self { folder, base, made: Vec::new(), staged: Vec::new() };
        for folder in missing.into_iter().rev() {
            let made = fs::create_dir(&folder);
            if let Err(source) = made {
                package.discard();
                return Err(Error::Local { action: "create", path: folder, source });
            }
            package.made.push(folder);
        }
        Ok(package)
    }

    /// The base name of all files of the package.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The final path of a file.
    pub(crate) fn path(&self, file: &FileName) -> PathBuf {
        self.folder.join(file.as_str())
    }

    /// Writes a small file under its `.partial` name and makes it durable.
    pub(crate) fn stage(&mut self, file: &FileName, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(file);
        self.staged.push(path.clone());
        write_partial(&path, bytes).map_err(|source| Error::Local { action: "write", path, source })
    }

    /// Gives the small files their final names, in the order in which they were staged.
    pub(crate) fn publish(mut self) -> Result<PathBuf, Error> {
        for path in std::mem::take(&mut self.staged) {
            fs::rename(partial_path(&path), &path).map_err(|source| Error::Local {
                action: "rename",
                path: partial_path(&path),
                source,
            })?;
        }
        sync_folder(&self.folder).map_err(|source| Error::Local {
            action: "write",
            path: self.folder.clone(),
            source,
        })?;
        Ok(self.folder.join(format!("{}.ovf", self.base)))
    }

    /// Removes what was made: the small files and the folders, unless somebody else put something
    /// into them.
    pub(crate) fn discard(&mut self) {
        for path in self.staged.drain(..) {
            log_failure(fs::remove_file(partial_path(&path)), &path);
        }
        for folder in self.made.drain(..).rev() {
            log_failure(fs::remove_dir(&folder), &folder);
        }
    }
}

fn log_failure(outcome: io::Result<()>, path: &Path) {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
}

/// A base name that every file system and every product takes.
fn safe_base(name: &str) -> String {
    let base: String = name
        .chars()
        .map(|c| if c.is_control() || r#"/\:*?"<>|"#.contains(c) { '_' } else { c })
        .collect();
    let base = base.trim_matches(['.', ' ']);
    if base.is_empty() { "machine".to_owned() } else { base.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn discard_removes_what_was_made_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("a/b");
        let mut package = PackageFolder::create(folder.clone(), "x".to_owned()).unwrap();
        package.stage(&FileName::new("x.ovf").unwrap(), b"<>").unwrap();
        assert!(folder.join("x.ovf.partial").exists());
        package.discard();
        assert!(!temp.path().join("a").exists());
        assert!(temp.path().exists());
    }
}
