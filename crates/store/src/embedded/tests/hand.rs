//! A writer without its thread: the test decides what waits together.

use std::path::Path;
use std::sync::Arc;

use super::folder;
use crate::apply::Limits;
use crate::embedded::cache::Cache;
use crate::embedded::engine::Engine;
use crate::embedded::open::{self, Lock};
use crate::embedded::shared::Shared;
use crate::embedded::writer::Writer;

/// An open store of which only the writer is there.
pub(super) struct Hand {
    /// Rows are read here.
    pub(super) engine: Arc<Engine>,
    /// Counters of the writer.
    pub(super) shared: Arc<Shared>,
    /// `None` once it was run.
    pub(super) writer: Option<Writer>,
    folder: tempfile::TempDir,
    _lock: Lock,
}

impl Hand {
    /// Opens a copy of a data folder.
    pub(super) fn copy_of(from: &Path, cache_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        folder::copy(&from.join("db"), &folder.path().join("db"));
        let opened = open::open(folder.path(), 0).unwrap();
        let engine = Arc::new(opened.engine);
        let shared = Arc::new(Shared::new(Arc::new(|| u64::MAX), 0));
        let limits = Limits { body_bytes_max: 1 << 10 };
        let cache = Cache::new(cache_bytes);
        let writer = Writer::new(Arc::clone(&engine), Arc::clone(&shared), cache, limits);
        Self { engine, shared, writer: Some(writer), folder, _lock: opened.lock }
    }

    /// The folder of the copy.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}
