//! Points at which tests see what is asked of the file system, and let it fail.

#[cfg(not(test))]
use std::io;
#[cfg(not(test))]
use std::path::Path;

/// Passes an operation on the file or folder `path`, unless a test lets it fail.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "tests let it fail")]
pub(crate) const fn point(_operation: &'static str, _path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use self::watched::Watch;
#[cfg(test)]
pub(crate) use self::watched::point;

#[cfg(test)]
mod watched {
    use std::io;
    use std::path::Path;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::Mutex;

    type Judge = Arc<dyn Fn(&'static str, &Path) -> bool + Send + Sync>;

    static WATCHED: Mutex<Vec<(PathBuf, Judge)>> = Mutex::new(Vec::new());

    /// Watches everything in a folder until it is dropped.
    pub(crate) struct Watch(PathBuf);

    impl Watch {
        /// `fails` is asked at each operation.
        pub(crate) fn new(
            folder: &Path,
            fails: impl Fn(&'static str, &Path) -> bool + Send + Sync + 'static,
        ) -> Self {
            WATCHED.lock().unwrap().push((folder.to_owned(), Arc::new(fails)));
            Self(folder.to_owned())
        }
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            WATCHED.lock().unwrap().retain(|(folder, _)| *folder != self.0);
        }
    }

    pub(crate) fn point(operation: &'static str, path: &Path) -> io::Result<()> {
        let judge = {
            let watched = WATCHED.lock().unwrap();
            let found = watched.iter().find(|(folder, _)| path.starts_with(folder));
            found.map(|(_, judge)| Arc::clone(judge))
        };
        match judge {
            Some(judge) if judge(operation, path) => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }
}
