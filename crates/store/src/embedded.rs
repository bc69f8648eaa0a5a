//! The embedded engine: one fjall database in a folder, one process, one writer thread.
//!
//! Writes are jobs of the writer (`writer.rs`), which applies them group by group, each group one
//! batch with one sync. Reads are snapshots, on the blocking pool. Input: the verbs of
//! [`Store`](crate::Store). Not here: what a record does, which is the rule in `apply.rs` that
//! every engine shares.

mod accounts;
mod backup;
mod cache;
mod devices;
mod dump;
mod engine;
mod files;
mod greet;
mod hot;
mod keys;
mod lists;
mod open;
mod prune;
mod read;
mod relations;
mod rows;
mod shared;
mod store;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod tx;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot};

pub use backup::restore;
pub(crate) use dump::{export, import, new_epoch};
pub use open::{OpenError, SCHEMA, check};

use crate::apply::Limits;
use crate::{Result, StoreError};
use engine::Engine;
use shared::Shared;
use tx::Tx;
use writer::{Job, VerbJob, Writer};

/// Tells the free bytes of the file system that holds the data.
pub type FreeSpace = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How to open an embedded store.
#[derive(Clone)]
pub struct Options {
    /// The data folder; made when it is not there.
    pub path: PathBuf,
    /// About how much memory caches and write buffers take, in bytes; at least 32 MiB.
    pub memory_bytes: u64,
    /// Below this many free bytes new commands are refused.
    pub disk_floor_bytes: u64,
    /// Longest sealed body of a message, in bytes.
    pub body_bytes_max: usize,
    /// Tells the free space; `None` asks the file system. For tests.
    pub free_space: Option<FreeSpace>,
}

/// A handle to an open embedded store; a clone is the same store.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` after `close`.
    engine: RwLock<Option<Arc<Engine>>>,
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

impl Options {
    /// A store in `path` with 128 MiB of memory, a floor of 512 MiB and bodies up to 16 KiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            memory_bytes: 128 << 20,
            disk_floor_bytes: 512 << 20,
            body_bytes_max: 16 << 10,
            free_space: None,
        }
    }
}

impl Embedded {
    /// Opens the store of a folder, or creates it with a new epoch.
    ///
    /// # Errors
    /// [`OpenError`] when the folder is in use, was written by a newer version, or is broken.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let opened = open::open(&options.path, options.memory_bytes)?;
        let broken = |error: std::io::Error| OpenError::Broken {
            path: options.path.clone(),
            reason: error.to_string(),
        };
        let probe = options.free_space.unwrap_or_else(|| free_space_of(options.path.clone()));
        let shared = Arc::new(Shared::new(probe, options.disk_floor_bytes));
        let engine = Arc::new(opened.engine);
        let (jobs, waiting) = mpsc::channel(writer::JOBS_MAX);
        let limits = Limits { body_bytes_max: options.body_bytes_max };
        let cache = cache::Cache::new(options.memory_bytes.max(open::MEMORY_BYTES_MIN) * 3 / 8);
        let writer = Writer::new(Arc::clone(&engine), Arc::clone(&shared), cache, limits);

        let (alive, watched) = std::sync::mpsc::sync_channel(0);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let watch = Arc::clone(&shared);
        thread("store-watchdog")
            .spawn(move || shared::watchdog(&watch, &watched))
            .map_err(broken)?;
        let lock = opened.lock;
        let work = move || {
            let _alive = alive;
            let _ends = EndsWithAPanic;
            let closed = writer.run(waiting);
            // The database was closed with the writer: the folder is free, and only then say so.
            drop(lock);
            closed.map(|closed| closed.send(()))
        };
        thread("store-writer").spawn(work).map_err(broken)?;
        Ok(Self { inner: Arc::new(Inner { engine: RwLock::new(Some(engine)), jobs, shared }) })
    }

    fn engine(&self) -> Result<Arc<Engine>> {
        let engine = self.inner.engine.read().unwrap_or_else(PoisonError::into_inner);
        engine.clone().ok_or_else(closed)
    }

    /// Reads from a snapshot, where a cold disk blocks nobody.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let engine = self.engine()?;
        let read = tokio::task::spawn_blocking(move || read(&engine));
        read.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    /// Writes in a transaction of the writer; refused below the floor of free space.
    async fn write<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_at(false, verb).await
    }

    /// Like `write`, but also when the disk is nearly full: for what must not wait.
    async fn write_always<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_at(true, verb).await
    }

    async fn write_at<T: Send + 'static>(
        &self,
        below_floor: bool,
        verb: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let run: writer::Verb = Box::new(move |tx| {
            let result = verb(tx);
            let whole = result.is_ok();
            let answer: writer::Answer = Box::new(move |failed| {
                let _ = answer.send(failed.map_or(result, Err));
            });
            (whole, answer)
        });
        self.job(Job::Verb(VerbJob { run, below_floor })).await?;
        answered.await.map_err(|_| closed())?
    }

    async fn job(&self, job: Job) -> Result<()> {
        self.inner.jobs.send(job).await.map_err(|_| closed())
    }

    async fn close_writer(&self) -> Result<()> {
        let engine = self.inner.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        if engine.is_none() {
            return Ok(());
        }
        drop(engine);
        let (closed, ended) = oneshot::channel();
        self.job(Job::Close(closed)).await?;
        ended.await.map_err(|_| self::closed())
    }
}

/// Without its writer a process would look alive and answer nothing but `Unavailable`.
struct EndsWithAPanic;

impl Drop for EndsWithAPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the writer of the store panicked; the process aborts");
            std::process::abort();
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// Asks the file system that `path` is on, each time.
pub fn free_space_of(path: PathBuf) -> FreeSpace {
    Arc::new(move || match rustix::fs::statvfs(&path) {
        Ok(space) => space.f_bavail.saturating_mul(space.f_frsize),
        // Nothing known is no reason to refuse: a write that does not fit fails by itself.
        Err(_) => u64::MAX,
    })
}
