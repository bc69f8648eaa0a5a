//! The node: the only place that knows which roles and back ends are on. It opens the shared parts,
//! binds the roles, runs them, and stops them in an order that loses nothing.

mod aside;
mod cluster;
mod shared;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anser_proto::rest;
use anser_store::embedded::FreeSpace;
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
    connector::{self, Connector, WEBSOCKET_PATH, sweep},
    files::Files,
    metrics,
    ops::{self, Ops, Ready},
    queue::Partition,
    retention,
    secrets::Secrets,
    token,
    transfer::Transfer,
};
use aside::Aside;
use shared::Shared;
pub use shared::{WrongMasterKey, database};

/// The admin socket's name in the data folder.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// A server's process, bound and ready to run.
pub struct Node {
    config: Config,
    shared: Shared,
    ready: Ready,
    connector: Option<Connector>,
    transfer: Option<Transfer>,
    front: Option<Front>,
    ops: Ops,
    addresses: Addresses,
}

/// REST, and the same for the administrator.
struct Front {
    api: Api,
    admin: Admin,
    files: Files,
}

/// Where a node listens; `None` for a role that it has not.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// TCP frames and WebSocket.
    pub connector: Option<SocketAddr>,
    /// REST.
    pub api: Option<SocketAddr>,
    /// Administration, where REST is.
    pub admin: Option<PathBuf>,
    /// Health and metrics.
    pub ops: SocketAddr,
}

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
        let shared = Shared::open(&config, &secrets, free_space).await?;
        let roles = config.node.roles;
        let connector = roles.connector.then(|| bind_connector(&config, &shared)).transpose()?;
        let advertised = connector.as_ref().map(|one| advertise(&config, one)).transpose()?;
        if let (Some(cluster), Some(own)) = (&shared.cluster, &advertised) {
            cluster.advertise(own);
        }
        let transfer = roles.transfer.then(|| shared.transfer(&config));
        let front = match &shared.files {
            Some(files) => {
                Some(Front::bind((&config, &secrets), &shared, files, advertised).await?)
            }
            None => None,
        };
        let ready = Ready::default();
        let listen = config.ops.listen;
        let ops_deps = ops::Deps { store: shared.store.clone(), metrics, ready: ready.clone() };
        let ops = Ops::bind(&config.ops, ops_deps)
            .await
            .with_context(|| format!("ops.listen = {listen}"))?;
        let addresses = Addresses {
            connector: connector.as_ref().map(Connector::local_addr).transpose()?,
            api: front.as_ref().map(|front| front.api.local_addr()),
            admin: front.as_ref().map(|_| admin_socket(&config.node.data_dir)),
            ops: ops.local_addr(),
        };
        Ok(Self { config, shared, ready, connector, transfer, front, ops, addresses })
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
        let Self { config, shared, ready, connector, transfer, front, ops, .. } = self;
        let aside = Aside::new(&config.store).context("starting the threads of the api")?;
        let (front_stop, ops_stop) = (CancellationToken::new(), CancellationToken::new());
        let stopped = || front_stop.clone().cancelled_owned();
        let mut roles = JoinSet::new();
        let mut jobs = JoinSet::new();
        if let Some(connector) = connector {
            roles.spawn(connector.run(stopped()));
            if config.store.url.is_some() {
                let (store, registry) = (shared.store.clone(), shared.registry.clone());
                jobs.spawn(sweep::run(store, registry, shared.sweep_soon.clone()));
            }
            if let Some(cluster) = &shared.cluster {
                jobs.spawn(cluster.renew(shared.registry.clone()));
            }
        }
        if let Some(Front { api, admin, files }) = front {
            roles.spawn_on(api.run(stopped()), aside.handle());
            roles.spawn(admin.run(stopped()));
            let (store, kept) = (shared.store.clone(), config.retention.clone());
            jobs.spawn(retention::run(store, files, kept));
        }
        let give_up = CancellationToken::new();
        let mut commits = tokio::spawn(commit(transfer, shared.partitions(), give_up.clone()));
        let health = tokio::spawn(ops.run(ops_stop.clone().cancelled_owned()));
        let link_stop = CancellationToken::new();
        let link = shared.cluster.as_ref().and_then(|cluster| cluster.listen(link_stop.clone()));
        shared.set_serving(true);
        ready.set(true);

        let failure = tokio::select! {
            () = shutdown => None,
            () = shared.asked_to_drain() => None,
            ended = &mut commits => Some(anyhow::anyhow!("the transfer ended: {ended:?}")),
            Some(ended) = roles.join_next() => Some(anyhow::anyhow!("a role ended: {ended:?}")),
        };
        info!("stopping");
        ready.set(false);
        shared.set_serving(false);
        jobs.abort_all();
        front_stop.cancel();
        let finish = async {
            while roles.join_next().await.is_some() {}
            give_up.cancel();
            shared.close_queue().await;
            if failure.is_none() {
                commits.await??;
            }
            // Not before the sessions ended: they heard by it what became of their commands.
            link_stop.cancel();
            if let Some(link) = link {
                let _ = link.await;
            }
            shared.close().await
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

impl Front {
    async fn bind(
        (config, secrets): (&Config, &Secrets),
        shared: &Shared,
        files: &Files,
        own: Option<rest::Connector>,
    ) -> anyhow::Result<Self> {
        let registry = shared.registry.clone();
        let count = || Arc::new(move || registry.len() as u64) as Arc<_>;
        let connections = own.is_some().then(count);
        let deps = api::Deps {
            store: shared.store.clone(),
            link: shared.link.clone(),
            keys: secrets.master_key.clone(),
            server_key_hash: Some(token::hash(&secrets.server_api_key)),
            connectors: connectors(shared, own),
            proxies: config.node.trusted_proxies.clone(),
            limits: limits(&config.connector),
            files: files.clone(),
        };
        let api = Api::bind(&config.api, deps.clone()).await?;
        let deps = admin::Deps {
            api: deps,
            config: config.api.clone(),
            data_dir: config.node.data_dir.clone(),
            connections,
        };
        let admin = Admin::bind(&admin_socket(&config.node.data_dir), deps)?;
        Ok(Self { api, admin, files: files.clone() })
    }
}

/// Commits what comes; without the role, waits for the end.
async fn commit(
    transfer: Option<Transfer>,
    partitions: Vec<Arc<dyn Partition>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    match transfer {
        Some(transfer) => transfer.run(partitions, stop).await,
        None => {
            stop.cancelled().await;
            Ok(())
        }
    }
}

fn bind_connector(config: &Config, shared: &Shared) -> anyhow::Result<Connector> {
    let deps = connector::Deps {
        store: shared.store.clone(),
        queue: shared.queue.clone(),
        registry: shared.registry.clone(),
        epoch: shared.epoch.clone(),
        neighbours: shared.neighbours(),
        proxies: config.node.trusted_proxies.clone(),
        tracer: shared.tracer.clone(),
    };
    let bound = Connector::bind(&config.connector, deps);
    bound.with_context(|| format!("connector.listen = {}", config.connector.listen))
}

/// What clients are told of connectors, best first. Of the node's own one always: the others may
/// not be known yet.
fn connectors(shared: &Shared, own: Option<rest::Connector>) -> api::Connectors {
    let Some(cluster) = &shared.cluster else {
        return Arc::new(move || own.iter().cloned().collect());
    };
    let known = cluster.connectors();
    Arc::new(move || {
        let known = known();
        if known.is_empty() { own.iter().cloned().collect() } else { known }
    })
}

/// What the api must know of what connectors take.
fn limits(config: &config::Connector) -> api::Limits {
    let (frame_bytes_max, body_bytes_max) = (config.frame_bytes_max, config.body_bytes_max);
    api::Limits { frame_bytes_max, body_bytes_max }
}

/// What clients are told of this process's connector.
fn advertise(config: &Config, connector: &Connector) -> anyhow::Result<rest::Connector> {
    let bound = connector.local_addr()?;
    let tcp = config.connector.advertise.clone().unwrap_or_else(|| bound.to_string());
    let ws = format!("ws://{tcp}{WEBSOCKET_PATH}");
    Ok(rest::Connector { tcp, ws })
}

/// The admin socket of a data folder.
pub fn admin_socket(data_dir: &Path) -> PathBuf {
    data_dir.join(ADMIN_SOCKET)
}
