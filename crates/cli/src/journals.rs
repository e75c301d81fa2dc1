//! Where journals are kept that lie beside no package.

use std::env;
use std::path::Path;
use std::path::PathBuf;

/// The folder that was asked for, or the one for what programs keep from run to run:
/// `$XDG_STATE_HOME/ovftransfer`, or `~/.local/state/ovftransfer`.
pub(crate) fn folder(wanted: Option<&Path>) -> Option<PathBuf> {
    let home = |name: &str| env::var_os(name).map(PathBuf::from);
    chosen(wanted, home("XDG_STATE_HOME"), home("HOME"))
}

/// Paths that are not absolute do not count (XDG Base Directory Specification).
fn chosen(wanted: Option<&Path>, state: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: Option<PathBuf>| path.filter(|path| path.is_absolute());
    match wanted {
        Some(wanted) => Some(wanted.to_owned()),
        None => absolute(state)
            .or_else(|| absolute(home).map(|home| home.join(".local/state")))
            .map(|folder| folder.join("ovftransfer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_where_others_keep_theirs() {
        let path = |text: &str| Some(PathBuf::from(text));
        let wanted = Path::new("here");
        assert_eq!(chosen(Some(wanted), path("/s"), path("/h")), path("here"));
        assert_eq!(chosen(None, path("/s"), path("/h")), path("/s/ovftransfer"));
        assert_eq!(chosen(None, path("s"), path("/h")), path("/h/.local/state/ovftransfer"));
        assert_eq!(chosen(None, None, None), None);
    }
}
