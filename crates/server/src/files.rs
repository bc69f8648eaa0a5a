//! The bytes of files: a plain file per upload under `files/` of the data folder. What a file is,
//! whose it is and whether it may be fetched is in the store; here are only bytes and their number.
//!
//! The bytes are sealed by clients. A file grows at its end, by one writer at a time, and its
//! length after a sync is the offset that is told: after a crash it is that, or more of the same
//! bytes. Nothing here decides to remove: the store ends a file first, and forgets it last.

mod read;
mod write;

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anser_proto::FileId;
use anser_store::embedded::FreeSpace;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config;

pub(crate) use read::pieces;
pub(crate) use write::Append;

/// The folder with the bytes of all files; a cheap clone.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    config: config::Files,
    folder: PathBuf,
    free_space: FreeSpace,
    disk_floor_bytes: u64,
    /// The files that somebody writes to.
    busy: Mutex<HashSet<FileId>>,
    /// Somebody does not write any more.
    released: Notify,
}

/// A request that broke is over after a sync.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(5);

/// The right to write to a file; nobody else has it.
pub(crate) struct Writing {
    files: Files,
    id: FileId,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.files.inner.busy.lock().remove(&self.id);
        self.files.inner.released.notify_waiters();
    }
}

impl Files {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// It can not be made.
    pub fn open(
        folder: &Path,
        config: config::Files,
        (free_space, disk_floor_bytes): (FreeSpace, u64),
    ) -> io::Result<Self> {
        make_folder(folder)?;
        let (folder, busy, released) = (folder.to_owned(), Mutex::default(), Notify::new());
        let inner = Inner { config, folder, free_space, disk_floor_bytes, busy, released };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is taken.
    pub(crate) fn config(&self) -> &config::Files {
        &self.inner.config
    }

    /// Whether so many bytes more leave the disk above its floor.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let free = (self.inner.free_space)();
        free.saturating_sub(bytes) >= self.inner.disk_floor_bytes
    }

    /// The right to write to a file; `None` while another has it.
    pub(crate) fn writing(&self, id: FileId) -> Option<Writing> {
        let is_first = self.inner.busy.lock().insert(id);
        is_first.then(|| Writing { files: self.clone(), id })
    }

    /// Waits for the right to write to a file, for a while.
    pub(crate) async fn writing_soon(&self, id: FileId) -> Option<Writing> {
        let wait = async {
            loop {
                let released = self.inner.released.notified();
                tokio::pin!(released);
                released.as_mut().enable();
                if let Some(writing) = self.writing(id) {
                    return writing;
                }
                released.await;
            }
        };
        tokio::time::timeout(RELEASE_TIME_MAX, wait).await.ok()
    }

    /// How many bytes of a file are on disk, synced; `None`: it is not there.
    ///
    /// # Errors
    /// The disk fails. What is synced is not known then, and a second try could lie.
    pub(crate) async fn synced_bytes(&self, id: FileId) -> io::Result<Option<u64>> {
        let path = self.path(id);
        blocking(move || {
            let Some(file) = found(File::open(path))? else { return Ok(None) };
            // An earlier process may have been killed between its write and its sync.
            file.sync_data()?;
            Ok(Some(file.metadata()?.len()))
        })
        .await
    }

    /// Removes the bytes of a file that has ended, durably. Nothing is no error: an earlier try may
    /// have got so far. Who writes meanwhile would make it anew: hence the right to write.
    ///
    /// # Errors
    /// The disk fails; try again later.
    pub(crate) async fn remove(&self, writing: Writing) -> io::Result<()> {
        let path = self.path(writing.id);
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
    fn path(&self, id: FileId) -> PathBuf {
        self.inner.folder.join(format!("{:02x}", id.0 & 0xff)).join(id.to_string())
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
