//! A folder for the data of one measurement, on a real disk, removed afterwards.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::disk;

/// Data of one run; dropping it removes the folder.
pub(super) struct Folder {
    path: PathBuf,
    filesystem: String,
}

impl Folder {
    /// Makes a folder inside `parent` (the current folder when `None`).
    ///
    /// # Errors
    /// It can not be made, or is held in memory.
    pub(super) fn create(parent: Option<&Path>) -> anyhow::Result<Self> {
        let parent = parent.unwrap_or(Path::new("."));
        let path = parent.join(format!("anser-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        // Made first, so that it is removed when the file system is refused.
        let mut folder = Self { path: path.canonicalize()?, filesystem: String::new() };
        let found = disk::filesystem(&folder.path)?;
        // Syncs would be free there, and the figures a lie.
        ensure!(
            !found.in_memory,
            "{} is a {}, held in memory; give --dir on a disk",
            folder.path.display(),
            found.kind
        );
        folder.filesystem = found.kind;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its file system's type.
    pub(super) fn filesystem(&self) -> String {
        self.filesystem.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("{} could not be removed: {error}", self.path.display());
        }
    }
}
