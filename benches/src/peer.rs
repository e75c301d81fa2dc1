//! Finds the programs of others.

use std::env;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use anyhow::ensure;

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program of somebody else: what `.ci/run` built (`.ci/peers/bin`), what lies in
/// `$OVFTRANSFER_PEERS/bin`, or what `PATH` leads to.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let given = env::var_os("OVFTRANSFER_PEERS").map(|folder| PathBuf::from(folder).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [root().join(".ci/peers/bin")].into_iter().chain(given);
    folders
        .chain(env::split_paths(&path).collect::<Vec<_>>())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The binary of this workspace, built beforehand so that it is the one that users build.
///
/// # Errors
///
/// It has not been built.
pub fn ours() -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let program = target.join("release/ovftransfer");
    ensure!(
        program.is_file(),
        "{} is missing: run `cargo build --release -p ovftransfer-cli` first",
        program.display()
    );
    Ok(program)
}
