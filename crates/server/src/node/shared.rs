//! What the roles of a node share: store, files, queue, link and registry.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anser_proto::NodeId;
use anser_store::{
    Store,
    embedded::{self, Embedded, FreeSpace},
    mysql::Mysql,
};
use anyhow::Context as _;
use tokio::sync::Notify;

use crate::{
    config::Config,
    connector::Registry,
    files::Files,
    link,
    queue::{Partition, Queue},
    secrets::Secrets,
    transfer::Transfer,
};

/// The database's folder in the data folder.
const DATABASE: &str = "db";
/// The folder of files in the data folder.
const FILES: &str = "files";
/// Commits at a time, each of other users, where the store is a server.
const LANES: usize = 4;

/// The master key does not open what is in the data folder.
#[derive(Debug, thiserror::Error)]
#[error("the master key is not the one that this data was written with; put the right file back")]
pub struct WrongMasterKey;

/// What the roles of a node share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) epoch: String,
    pub(super) files: Files,
    /// Of the connector; closed at the end.
    pub(super) queue: Queue,
    /// The connections of this process.
    pub(super) registry: Arc<Registry>,
    pub(super) link: link::Handle,
    /// Told when many doorbells may have been lost.
    pub(super) sweep_soon: Arc<Notify>,
    here: NodeId,
}

impl Shared {
    /// Opens all of it.
    ///
    /// # Errors
    /// As for `Node::bind`.
    pub(super) async fn open(
        config: &Config,
        secrets: &Secrets,
        free_space: Option<FreeSpace>,
    ) -> anyhow::Result<Self> {
        let free_space =
            free_space.unwrap_or_else(|| embedded::free_space_of(config.node.data_dir.clone()));
        let store = open_store(config, free_space.clone()).await?;
        let epoch = store.meta().await?.epoch;
        check_master_key(&*store, secrets).await?;
        let files = open_files(config, free_space)?;
        let queue = Queue::new(if config.store.url.is_some() { LANES } else { 1 });
        let registry = Arc::new(Registry::default());
        let link = link::Handle::local(registry.clone());
        Ok(Self {
            store,
            epoch,
            files,
            queue,
            registry,
            link,
            sweep_soon: Arc::default(),
            here: NodeId::random(),
        })
    }

    /// A transfer to this store.
    pub(super) fn transfer(&self, config: &Config) -> Transfer {
        match config.store.url {
            Some(_) => Transfer::unordered(self.store.clone(), self.link.clone()),
            None => Transfer::ordered(self.store.clone(), self.link.clone()),
        }
    }

    /// What a transfer takes from.
    pub(super) fn partitions(&self) -> Vec<Arc<dyn Partition>> {
        self.queue.local(self.here)
    }

    /// Nothing more is handed over.
    pub(super) async fn close_queue(&self) {
        self.queue.close();
    }

    /// The end of all of it.
    ///
    /// # Errors
    /// The store can not sync what is left.
    pub(super) async fn close(&self) -> anyhow::Result<()> {
        Ok(self.store.close().await?)
    }
}

async fn open_store(config: &Config, free_space: FreeSpace) -> anyhow::Result<Arc<dyn Store>> {
    let body_bytes_max = config.connector.body_bytes_max;
    if let Some(url) = &config.store.url {
        let options = anser_store::mysql::Options {
            body_bytes_max,
            ..anser_store::mysql::Options::new(url.reveal())
        };
        let store = Mysql::open(options).await;
        return Ok(Arc::new(store.with_context(|| format!("store.url = {url:?}"))?));
    }
    let path = database(&config.node.data_dir);
    let options = anser_store::embedded::Options {
        memory_bytes: config.store.memory_bytes,
        disk_floor_bytes: config.store.disk_floor_bytes,
        body_bytes_max,
        free_space: Some(free_space),
        ..anser_store::embedded::Options::new(&path)
    };
    let store = Embedded::open(options).with_context(|| format!("database {}", path.display()))?;
    Ok(Arc::new(store))
}

fn open_files(config: &Config, free_space: FreeSpace) -> anyhow::Result<Files> {
    let path = files_folder(&config.node.data_dir);
    let floor = (free_space, config.store.disk_floor_bytes);
    Files::open(&path, config.files.clone(), floor)
        .with_context(|| format!("the folder of files, {}", path.display()))
}

async fn check_master_key(store: &dyn Store, secrets: &Secrets) -> anyhow::Result<()> {
    let check = secrets.master_key.check();
    anyhow::ensure!(store.claim_key_check(check.clone()).await? == check, WrongMasterKey);
    Ok(())
}

/// The database of a data folder.
pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE)
}

/// The folder of files of a data folder.
pub fn files_folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FILES)
}
