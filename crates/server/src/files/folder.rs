//! Files in a folder: a plain file each, whose length after a sync is the offset that is told.

mod direct;
mod lock;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anser_proto::FileId;

use super::{Disk, Failure, Writing};

pub(super) use lock::Lock;

/// A folder of files.
pub(super) struct Folder {
    path: PathBuf,
    /// Other servers write to it, too.
    is_shared: bool,
    disk: Disk,
}

impl Folder {
    /// Makes the folder if it is not there.
    pub(super) fn open(path: &Path, is_shared: bool, disk: Disk) -> io::Result<Self> {
        make_folder(path)?;
        Ok(Self { path: path.to_owned(), is_shared, disk })
    }

    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    pub(super) fn has_room(&self, bytes: u64) -> bool {
        (self.disk.free_space)().saturating_sub(bytes) >= self.disk.floor_bytes
    }

    /// How often the disk was synced for the store.
    fn syncs(&self) -> u64 {
        (self.disk.syncs)()
    }

    pub(super) async fn synced_bytes(&self, id: FileId) -> Result<Option<u64>, Failure> {
        let path = self.file(id);
        let look = move || {
            let Some(file) = found(File::open(path))? else { return Ok(None) };
            // What is written after this is not in the sync.
            let bytes = file.metadata()?.len();
            // An earlier process may have been killed between its write and its sync.
            Ok(Some((bytes, file.sync_data())))
        };
        let looked = blocking(look).await.map_err(Failure::Unopened)?;
        let Some((bytes, synced)) = looked else { return Ok(None) };
        synced?;
        Ok(Some(bytes))
    }

    pub(super) async fn remove(&self, writing: Writing) -> io::Result<()> {
        let path = self.file(writing.id());
        blocking(move || {
            let _writing = writing;
            if found(fs::remove_file(&path))?.is_some() {
                sync_parent(&path)?;
            }
            Ok(())
        })
        .await
    }

    /// Folders of some thousand files each are quick to list and to copy.
    fn file(&self, id: FileId) -> PathBuf {
        self.path.join(format!("{:02x}", id.0 & 0xff)).join(id.to_string())
    }
}

/// Opens a file to write to; makes it, durably, when it is not there.
fn open_or_make(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if let Some(file) = found(options.open(path))? {
        return Ok(file);
    }
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let file = options.create(true).truncate(false).open(path)?;
    sync_parent(path)?;
    Ok(file)
}

/// Makes a folder that only the server reads, durably.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sync_parent(path)
}

/// Makes the name of a file or folder durable, or that it is gone.
fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// `None` for what is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Short work on a disk, where it blocks nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
