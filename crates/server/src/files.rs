//! The bytes of files: a plain file per upload in a folder, or objects in an S3-compatible store.
//! What a file is, whose it is and whether it may be fetched is in the store; here are only bytes
//! and their number.
//!
//! The bytes are sealed by clients. A file grows at its end, by one writer at a time, and what is
//! kept of it for good is the offset that is told: after a crash it is that, or more of the same
//! bytes. Nothing here decides to remove: the store ends a file first, and forgets it last.

mod bucket;
mod folder;
mod incoming;

use std::{
    collections::HashSet,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anser_proto::{Code, FileId};
use anser_store::embedded::FreeSpace;
use axum::body::{Body, Bytes};
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config;
use bucket::Bucket;
use folder::Folder;

/// Where the bytes of all files are; a cheap clone.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    config: config::Files,
    place: Place,
    /// The files that somebody in this process writes to.
    busy: Mutex<HashSet<FileId>>,
    /// Somebody does not write any more.
    released: Notify,
}

enum Place {
    Folder(Folder),
    Bucket(Bucket),
}

/// The disk of a folder of files, which is not for them alone.
pub struct Disk {
    /// Tells its free bytes.
    pub free_space: FreeSpace,
    /// So many must stay free.
    pub floor_bytes: u64,
    /// Tells how often it was synced for the store.
    pub syncs: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// Why bytes can not be kept, or not be had.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A disk fails. What is on it is not known any more, and a second try could lie.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// A file can not be looked at now. What is on the disk is as it was.
    #[error("a file can not be opened: {0}")]
    Unopened(io::Error),
    /// The store of files does not answer, or refuses. Nothing is lost; it may work later.
    #[error("the store of files fails: {0}")]
    Away(#[from] object_store::Error),
}

/// What comes for a file.
pub(crate) struct Append {
    /// Who writes.
    pub(crate) writing: Writing,
    /// Where the bytes begin: the file's length.
    pub(crate) offset: u64,
    /// Where the file ends.
    pub(crate) size: u64,
    /// The bytes.
    pub(crate) body: Body,
}

/// What became of it.
pub(crate) struct Appended {
    /// How many bytes the file has now, all of them kept for good.
    pub(crate) offset: u64,
    /// Why not all bytes that were sent are among them.
    pub(crate) cut: Option<Code>,
}

/// A request that broke is over after a sync.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(5);

/// The right to write to a file; nobody else has it.
pub(crate) struct Writing {
    place: Claim,
    /// Among the servers that share a folder.
    _lock: Option<folder::Lock>,
}

/// A file is being written to in this process.
struct Claim {
    files: Files,
    id: FileId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.files.inner.busy.lock().remove(&self.id);
        self.files.inner.released.notify_waiters();
    }
}

impl Files {
    /// Takes a folder, and makes it if it is not there.
    ///
    /// # Errors
    /// It can not be made.
    pub fn in_folder(path: &Path, config: config::Files, disk: Disk) -> io::Result<Self> {
        let folder = Folder::open(path, config.shared, disk)?;
        Ok(Self::at(Place::Folder(folder), config))
    }

    /// Takes the S3-compatible store that the configuration names.
    ///
    /// # Errors
    /// It does not answer, or refuses: the configuration must be changed.
    pub async fn in_bucket(
        config: config::Files,
        address: &config::Bucket,
    ) -> Result<Self, Failure> {
        let bucket = Bucket::open(&config, address)?;
        bucket.check().await?;
        Ok(Self::at(Place::Bucket(bucket), config))
    }

    /// Takes a store of objects that a test made.
    #[cfg(test)]
    pub(crate) fn in_objects(
        objects: Arc<dyn object_store::ObjectStore>,
        config: config::Files,
    ) -> Self {
        Self::at(Place::Bucket(Bucket::new(objects, "files".into())), config)
    }

    fn at(place: Place, config: config::Files) -> Self {
        let (busy, released) = (Mutex::default(), Notify::new());
        Self { inner: Arc::new(Inner { config, place, busy, released }) }
    }

    /// What is taken.
    pub(crate) fn config(&self) -> &config::Files {
        &self.inner.config
    }

    /// Whether so many bytes more leave the disk above its floor.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        match &self.inner.place {
            Place::Folder(folder) => folder.has_room(bytes),
            Place::Bucket(_) => true,
        }
    }

    /// The right to write to a file; `None` while another has it.
    ///
    /// # Errors
    /// The shared folder fails.
    pub(crate) async fn writing(&self, id: FileId) -> Result<Option<Writing>, Failure> {
        let Some(place) = self.claim(id) else { return Ok(None) };
        let lock = match &self.inner.place {
            Place::Folder(folder) if folder.is_shared() => {
                let Some(lock) = folder.lock(id).await? else { return Ok(None) };
                Some(lock)
            }
            _ => None,
        };
        Ok(Some(Writing { place, _lock: lock }))
    }

    fn claim(&self, id: FileId) -> Option<Claim> {
        let is_first = self.inner.busy.lock().insert(id);
        is_first.then(|| Claim { files: self.clone(), id })
    }

    /// Waits for the right to write to a file, for a while. Who writes in another process is not
    /// waited for.
    ///
    /// # Errors
    /// The shared folder fails.
    pub(crate) async fn writing_soon(&self, id: FileId) -> Result<Option<Writing>, Failure> {
        let wait = async {
            loop {
                let released = self.inner.released.notified();
                tokio::pin!(released);
                released.as_mut().enable();
                if !self.inner.busy.lock().contains(&id) {
                    return;
                }
                released.await;
            }
        };
        match tokio::time::timeout(RELEASE_TIME_MAX, wait).await {
            Ok(()) => self.writing(id).await,
            Err(_) => Ok(None),
        }
    }

    /// How many bytes of a file are kept for good; `None`: it is not there.
    ///
    /// # Errors
    /// A disk or the store of files fails.
    pub(crate) async fn synced_bytes(&self, id: FileId) -> Result<Option<u64>, Failure> {
        match &self.inner.place {
            Place::Folder(folder) => Ok(folder.synced_bytes(id).await?),
            Place::Bucket(bucket) => bucket.stored_bytes(id).await,
        }
    }

    /// Keeps what comes until it ends, breaks, or is too much. What came is kept, however it ended.
    ///
    /// # Errors
    /// `Disk`: a write or a sync failed, and what is on disk is not known any more. `Away`: nothing
    /// was kept.
    pub(crate) async fn append(&self, append: Append) -> Result<Appended, Failure> {
        match &self.inner.place {
            Place::Folder(folder) => Ok(folder.append(append).await?),
            Place::Bucket(bucket) => bucket.append(append).await,
        }
    }

    /// Opens a part of a file, whose bytes come as fast as they are taken and no faster; `None`: it
    /// is not there, or shorter.
    ///
    /// # Errors
    /// A disk or the store of files fails.
    pub(crate) async fn read(
        &self,
        id: FileId,
        range: Range<u64>,
    ) -> Result<Option<BoxStream<'static, io::Result<Bytes>>>, Failure> {
        match &self.inner.place {
            Place::Folder(folder) => Ok(folder.read(id, range).await?),
            Place::Bucket(bucket) => bucket.read(id, range).await,
        }
    }

    /// Removes the bytes of a file that has ended, durably. Nothing is no error: an earlier try may
    /// have got so far. Who writes meanwhile would make it anew: hence the right to write.
    ///
    /// # Errors
    /// A disk or the store of files fails; try again later.
    pub(crate) async fn remove(&self, writing: Writing) -> Result<(), Failure> {
        match &self.inner.place {
            Place::Folder(folder) => Ok(folder.remove(writing).await?),
            Place::Bucket(bucket) => bucket.remove(&writing).await,
        }
    }

    /// Whether a server can add to a file while another one removes it: nothing locks an object.
    pub(crate) fn adds_unseen(&self) -> bool {
        matches!(self.inner.place, Place::Bucket(_))
    }
}

impl Writing {
    fn id(&self) -> FileId {
        self.place.id
    }
}

/// The folder of files: the one that the configuration names, or one of the data folder.
pub fn folder(config: &config::Config) -> PathBuf {
    let own = || config.node.data_dir.join("files");
    config.files.path.clone().unwrap_or_else(own)
}
