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
use opentelemetry::KeyValue;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::cluster::{self, Cluster, Parts};
use crate::{
    config::Config,
    connector::{Neighbours, Registry},
    files::{self, Disk, Files},
    link::{self, grpc::Tls},
    queue::{Partition, Queue},
    secrets::Secrets,
    trace::{self, Exporter, Tracer},
    transfer::Transfer,
};

/// The database's folder in the data folder.
const DATABASE: &str = "db";
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
    /// Where there is an api.
    pub(super) files: Option<Files>,
    /// Of the connector; closed at the end.
    pub(super) queue: Queue,
    /// The connections of this process.
    pub(super) registry: Arc<Registry>,
    pub(super) link: link::Handle,
    /// Told when many doorbells may have been lost.
    pub(super) sweep_soon: Arc<Notify>,
    /// Its place among others, if there are others.
    pub(super) cluster: Option<Cluster>,
    here: NodeId,
    /// Told of the commands that are followed.
    pub(super) tracer: Tracer,
    exporter: Mutex<Option<Exporter>>,
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
        // Before anything is opened: what is wrong there is wrong in the configuration.
        let tls = Tls::of(&config.link)?;
        let here = NodeId::random();
        let (tracer, exporter) = trace::start(&config.trace, about(config, here))?.unzip();
        let tracer = tracer.unwrap_or_default();
        let free_space =
            free_space.unwrap_or_else(|| embedded::free_space_of(config.node.data_dir.clone()));
        let store = open_store(config, free_space.clone()).await?;
        let epoch = store.meta().await?.epoch;
        check_master_key(&*store, secrets).await?;
        let files = match config.node.roles.api {
            true => Some(open_files(config, free_space, &store).await?),
            false => None,
        };
        let queue = Queue::new(match (&config.queue.url, &config.store.url) {
            (Some(_), _) => config.queue.partitions,
            (None, Some(_)) => LANES,
            (None, None) => 1,
        });
        let (registry, sweep_soon) = (Arc::new(Registry::default()), Arc::default());
        let parts = Parts {
            here,
            epoch: &epoch,
            queue: &queue,
            registry: &registry,
            sweep_soon: &sweep_soon,
            tls,
            tracer: &tracer,
        };
        let cluster = Cluster::join(config, secrets, parts).await?;
        let link = match &cluster {
            Some(cluster) => cluster.link(),
            None => link::Handle::local(registry.clone()),
        };
        let exporter = Mutex::new(exporter);
        Ok(Self {
            store,
            epoch,
            files,
            queue,
            registry,
            link,
            sweep_soon,
            cluster,
            here,
            tracer,
            exporter,
        })
    }

    /// A transfer to this store.
    pub(super) fn transfer(&self, config: &Config) -> Transfer {
        let transfer = match config.store.url {
            Some(_) => Transfer::unordered(self.store.clone(), self.link.clone()),
            None => Transfer::ordered(self.store.clone(), self.link.clone()),
        };
        transfer.traced(self.tracer.clone())
    }

    /// What the connector tells of its sessions, where others want to know.
    pub(super) fn neighbours(&self) -> Option<Neighbours> {
        let presence = self.cluster.as_ref()?.presence();
        Some(Neighbours { presence, link: self.link.clone() })
    }

    /// Whether the node takes work now.
    pub(super) fn set_serving(&self, serving: bool) {
        if let Some(cluster) = &self.cluster {
            cluster.set_serving(serving);
        }
    }

    /// Waits until somebody asks the node to drain; for ever, where there is nobody.
    pub(super) async fn asked_to_drain(&self) {
        match &self.cluster {
            Some(cluster) => cluster.asked_to_drain().await,
            None => std::future::pending().await,
        }
    }

    /// What a transfer takes from.
    pub(super) fn partitions(&self) -> Vec<Arc<dyn Partition>> {
        let durable = self.cluster.as_ref().and_then(Cluster::partitions);
        durable.unwrap_or_else(|| self.queue.local(self.here))
    }

    /// Nothing more is handed over.
    pub(super) async fn close_queue(&self) {
        self.queue.close();
        if let Some(cluster) = &self.cluster {
            cluster.close_queue().await;
        }
    }

    /// The end of all of it.
    ///
    /// # Errors
    /// The store can not sync what is left.
    pub(super) async fn close(&self) -> anyhow::Result<()> {
        if let Some(cluster) = &self.cluster {
            cluster.leave().await;
        }
        let exporter = self.exporter.lock().take();
        // The collector may be away; the store does not wait for it.
        let told = async {
            if let Some(exporter) = exporter {
                exporter.finish().await;
            }
        };
        let (closed, ()) = tokio::join!(self.store.close(), told);
        Ok(closed?)
    }
}

/// What a collector of traces is told of this node.
fn about(config: &Config, here: NodeId) -> Vec<KeyValue> {
    vec![
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", here.to_string()),
        KeyValue::new("anser.node", cluster::name(config)),
        KeyValue::new("anser.roles", config.node.roles.names().join(",")),
    ]
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

/// `free_space` tells of the data folder's disk; a folder elsewhere has its own.
async fn open_files(
    config: &Config,
    free_space: FreeSpace,
    store: &Arc<dyn Store>,
) -> anyhow::Result<Files> {
    let settings = &config.files;
    settings.check(&config.store).map_err(|(key, why)| anyhow::anyhow!("{key} {why}"))?;
    if let Some(bucket) = &settings.store {
        let files = Files::in_bucket(settings.clone(), bucket).await;
        return files.with_context(|| format!("files.store = {bucket}"));
    }
    let path = files::folder(config);
    let free_space = settings.path.clone().map_or(free_space, embedded::free_space_of);
    let floor_bytes = config.store.disk_floor_bytes;
    let store = store.clone();
    let disk = Disk { free_space, floor_bytes, syncs: Arc::new(move || store.syncs_here()) };
    Files::in_folder(&path, settings.clone(), disk)
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
