//! The node: the only place that knows which roles and back ends are on. It opens the shared parts,
//! binds the roles, runs them, and stops them in an order that loses nothing.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anser_proto::rest;
use anser_store::{
    Store,
    embedded::{self, Embedded, FreeSpace},
    mysql::Mysql,
};
use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    api::{
        self, Api,
        admin::{self, Admin},
    },
    config::{self, Config},
    connector::{self, Connector, Registry, WEBSOCKET_PATH, sweep},
    files::{self, Files},
    link, metrics,
    ops::{self, Ops, Ready},
    presence,
    queue::Queue,
    retention,
    secrets::Secrets,
    token,
    transfer::Transfer,
};

/// The admin socket's name in the data folder.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// The database's folder in the data folder.
const DATABASE: &str = "db";

/// A whole server in one process, bound and ready to run.
pub struct Node {
    config: Config,
    store: Arc<dyn Store>,
    /// Where the answer to a commit can get lost, and its doorbell with it.
    swept: Option<Arc<Registry>>,
    files: Files,
    queue: Arc<Queue>,
    ready: Ready,
    transfer: Transfer,
    connector: Connector,
    api: Api,
    admin: Admin,
    ops: Ops,
    addresses: Addresses,
}

/// Where a node listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// TCP frames and WebSocket.
    pub connector: SocketAddr,
    /// REST.
    pub api: SocketAddr,
    /// Health and metrics.
    pub ops: SocketAddr,
    /// Administration.
    pub admin: PathBuf,
}

/// The master key does not open what is in the data folder.
#[derive(Debug, thiserror::Error)]
#[error("the master key is not the one that this data was written with; put the right file back")]
pub struct WrongMasterKey;

impl Node {
    /// Opens the store and binds everything; nothing is served yet.
    ///
    /// # Errors
    /// The data folder is in use or damaged, the master key is not the one that this data was
    /// written with ([`WrongMasterKey`]), or an address can not be bound.
    pub async fn bind(config: Config, secrets: Secrets) -> anyhow::Result<Self> {
        Self::bind_with(config, secrets, None).await
    }

    /// Like [`Node::bind`], with another way to tell the free space: a test can not fill a disk.
    ///
    /// # Errors
    /// As for `bind`.
    pub async fn bind_with(
        config: Config,
        secrets: Secrets,
        free_space: Option<FreeSpace>,
    ) -> anyhow::Result<Self> {
        let metrics = metrics::install()?;
        let free_space =
            free_space.unwrap_or_else(|| embedded::free_space_of(config.node.data_dir.clone()));
        let store = open_store(&config, free_space.clone()).await?;
        let meta = store.meta().await?;
        check_master_key(&*store, &secrets).await?;

        let files = open_files(&config, free_space).await?;
        let queue = Arc::new(Queue::default());
        let registry = Arc::new(Registry::default());
        let swept = config.store.url.is_some().then(|| registry.clone());
        let link = link::Handle::local(registry.clone());
        let presence = presence::Handle::local(registry.clone());
        let transfer = Transfer::new(queue.clone(), store.clone(), link.clone());

        let connector_deps = connector::Deps {
            store: store.clone(),
            queue: queue.clone(),
            registry,
            epoch: meta.epoch,
            proxies: config.node.trusted_proxies.clone(),
        };
        let connector = bind_connector(&config.connector, connector_deps)?;
        let advertised = advertise(&config.connector, connector.local_addr()?);

        let api_deps = api::Deps {
            store: store.clone(),
            link,
            keys: secrets.master_key.clone(),
            server_key_hash: Some(token::hash(&secrets.server_api_key)),
            connectors: Arc::new(move || vec![advertised.clone()]),
            proxies: config.node.trusted_proxies.clone(),
            limits: limits(&config.connector),
            files: files.clone(),
        };
        let api = Api::bind(&config.api, api_deps.clone()).await?;
        let admin_path = admin_socket(&config.node.data_dir);
        let admin_deps = admin::Deps {
            api: api_deps,
            config: config.api.clone(),
            data_dir: config.node.data_dir.clone(),
            connections: Some(Arc::new(move || presence.count() as u64)),
        };
        let admin = Admin::bind(&admin_path, admin_deps)?;
        let ready = Ready::default();
        let listen = config.ops.listen;
        let ops_deps = ops::Deps { store: store.clone(), metrics, ready: ready.clone() };
        let ops = Ops::bind(&config.ops, ops_deps)
            .await
            .with_context(|| format!("ops.listen = {listen}"))?;

        let addresses = Addresses {
            connector: connector.local_addr()?,
            api: api.local_addr(),
            ops: ops.local_addr(),
            admin: admin_path,
        };
        Ok(Self {
            config,
            store,
            swept,
            files,
            queue,
            ready,
            transfer,
            connector,
            api,
            admin,
            ops,
            addresses,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until `shutdown` or the first failure of a part, then stops: sessions finish what
    /// they handed over, the queue is emptied into the store, the store is synced and closed.
    ///
    /// # Errors
    /// A part failed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self {
            config,
            store,
            swept,
            files,
            queue,
            ready,
            transfer,
            connector,
            api,
            admin,
            ops,
            ..
        } = self;
        let (front_stop, ops_stop) = (CancellationToken::new(), CancellationToken::new());
        let stopped = || front_stop.clone().cancelled_owned();
        let mut front = JoinSet::new();
        front.spawn(connector.run(stopped()));
        front.spawn(api.run(stopped()));
        front.spawn(admin.run(stopped()));
        let pruning = retention::run(store.clone(), files, config.retention.clone());
        let pruning = tokio::spawn(pruning);
        let sweeping = swept.map(|all| tokio::spawn(sweep::run(store.clone(), all)));
        let health = tokio::spawn(ops.run(ops_stop.clone().cancelled_owned()));
        let mut commits = tokio::spawn(transfer.run());
        ready.set(true);

        let failure = tokio::select! {
            () = shutdown => None,
            ended = &mut commits => Some(anyhow::anyhow!("the transfer ended: {ended:?}")),
            Some(ended) = front.join_next() => Some(anyhow::anyhow!("a role ended: {ended:?}")),
        };
        info!("stopping");
        ready.set(false);
        pruning.abort();
        sweeping.inspect(|task| task.abort());
        front_stop.cancel();
        let finish = async {
            while front.join_next().await.is_some() {}
            queue.close();
            if failure.is_none() {
                commits.await??;
            }
            store.close().await?;
            anyhow::Ok(())
        };
        let limit = config.node.shutdown_timeout;
        let finished = tokio::time::timeout(limit, finish).await;
        ops_stop.cancel();
        let _ = health.await;
        match (failure, finished) {
            (Some(failure), _) => Err(failure),
            (None, Ok(finished)) => finished,
            (None, Err(_)) => {
                // What is acked is synced already, so leaving now loses nothing.
                warn!("stopping took longer than the limit; leaving");
                Ok(())
            }
        }
    }
}

fn bind_connector(config: &config::Connector, deps: connector::Deps) -> anyhow::Result<Connector> {
    let bound = Connector::bind(config, deps);
    bound.with_context(|| format!("connector.listen = {}", config.listen))
}

/// What the api must know of what connectors take.
fn limits(config: &config::Connector) -> api::Limits {
    let (frame_bytes_max, body_bytes_max) = (config.frame_bytes_max, config.body_bytes_max);
    api::Limits { frame_bytes_max, body_bytes_max }
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
async fn open_files(config: &Config, free_space: FreeSpace) -> anyhow::Result<Files> {
    let settings = &config.files;
    settings.check(&config.store).map_err(|(key, why)| anyhow::anyhow!("{key} {why}"))?;
    if let Some(bucket) = &settings.store {
        let files = Files::in_bucket(settings.clone(), bucket).await;
        return files.with_context(|| format!("files.store = {bucket}"));
    }
    let path = files::folder(config);
    let free_space = settings.path.clone().map_or(free_space, embedded::free_space_of);
    let floor = (free_space, config.store.disk_floor_bytes);
    Files::in_folder(&path, settings.clone(), floor)
        .with_context(|| format!("the folder of files, {}", path.display()))
}

async fn check_master_key(store: &dyn Store, secrets: &Secrets) -> anyhow::Result<()> {
    let check = secrets.master_key.check();
    anyhow::ensure!(store.claim_key_check(check.clone()).await? == check, WrongMasterKey);
    Ok(())
}

/// What clients are told of this process's connector.
fn advertise(config: &config::Connector, bound: SocketAddr) -> rest::Connector {
    let tcp = config.advertise.clone().unwrap_or_else(|| bound.to_string());
    let ws = format!("ws://{tcp}{WEBSOCKET_PATH}");
    rest::Connector { tcp, ws }
}

/// The database of a data folder.
pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE)
}

/// The admin socket of a data folder.
pub fn admin_socket(data_dir: &Path) -> PathBuf {
    data_dir.join(ADMIN_SOCKET)
}
