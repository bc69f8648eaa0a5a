//! A server inside the test's process: ports chosen by the operating system, kept over a restart.

use std::{
    net::SocketAddr,
    ops::Deref,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anser_proto::seal::Key;
use anser_server::{
    config::Config,
    node::{self, Node},
    secrets::{MasterKey, Secrets},
};
use anser_store::{Store, embedded};
use tokio::{sync::oneshot, task::JoinHandle};

pub(crate) use super::site::Account;
use super::{
    layout::{self, Ground},
    port,
    site::Site,
};

/// A running server with its own data folder.
pub(crate) struct Server {
    site: Site,
    config: Config,
    /// Of its processes, in the order of their start.
    nodes: Vec<Config>,
    secrets: Secrets,
    free_bytes: Arc<AtomicU64>,
    _ground: Option<Ground>,
    running: Vec<Running>,
}

type Running = (oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>);

impl Deref for Server {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Server {
    /// Starts with the default configuration but for ports and folder.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with a changed configuration.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(secrets(), Ground::wanted(), change).await
    }

    /// Starts three roles over MySQL, RabbitMQ and Redis, whatever layout this run has. `None`,
    /// with a word about it: they are not here.
    pub(crate) async fn start_cluster(
        test: &str,
        change: impl FnOnce(&mut Config),
    ) -> Option<Self> {
        let ground = Ground::of_cluster(test)?;
        Some(Self::start_as(secrets(), Some(ground), change).await)
    }

    async fn start_as(
        secrets: Secrets,
        ground: Option<Ground>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::default();
        config.node.data_dir = folder.path().join("data");
        std::fs::create_dir(&config.node.data_dir).expect("a data folder");
        for listen in [&mut config.connector.listen, &mut config.api.listen, &mut config.ops.listen]
        {
            *listen = port::free();
        }
        ground.as_ref().inspect(|ground| ground.configure(&mut config));
        change(&mut config);
        if config.store.url.is_some() && config.files.path.is_none() {
            config.files.shared = true;
            config.files.path = Some(config.node.data_dir.join("files"));
        }
        let nodes = layout::nodes(&config);
        let site = Site {
            connector: config.connector.listen,
            api: config.api.listen,
            ops: nodes[0].ops.listen,
            admin: node::admin_socket(&nodes.last().expect("a node").node.data_dir),
            folder,
        };
        let free_bytes = Arc::new(AtomicU64::new(u64::MAX));
        let running = Vec::new();
        let mut server =
            Self { site, config, nodes, secrets, free_bytes, _ground: ground, running };
        server.start_again().await;
        server
    }

    /// Starts another one on the same database and files, with the same secrets.
    pub(crate) async fn start_beside(&self) -> Self {
        let (url, files) = (self.config.store.url.clone(), self.config.files.clone());
        let change = |config: &mut Config| (config.store.url, config.files) = (url, files);
        Self::start_as(self.secrets.clone(), Ground::wanted(), change).await
    }

    /// For tests that send more than a person types.
    pub(crate) fn without_rate_limit(config: &mut Config) {
        config.connector.commands_per_second = 1_000_000;
        config.connector.commands_burst = 1_000_000;
    }

    /// What the server is told to be free on its disk.
    pub(crate) fn set_free_bytes(&self, bytes: u64) {
        self.free_bytes.store(bytes, Relaxed);
    }

    /// Stops as on SIGTERM: who hands over before who takes.
    pub(crate) async fn stop(&mut self) {
        assert!(!self.running.is_empty(), "the server runs");
        while let Some((stop, running)) = self.running.pop() {
            stop.send(()).expect("the server waits for the signal");
            running.await.expect("the server did not panic").expect("the server stopped cleanly");
        }
    }

    /// Starts again on the same ports and data.
    pub(crate) async fn start_again(&mut self) {
        for config in &self.nodes {
            let node = bind(config, &self.secrets, &self.free_bytes).await;
            self.running.push(run(node));
        }
    }

    /// Starts again on the same ports, with the data of a backup in a new folder.
    pub(crate) async fn start_restored(&mut self, backup: &Path) {
        let data_dir = self.site.folder().join("restored");
        let key_check = self.secrets.master_key.check();
        embedded::restore(backup, &node::database(&data_dir), &key_check).expect("a restore");
        self.site.admin = node::admin_socket(&data_dir);
        self.configure(|config| config.node.data_dir.clone_from(&data_dir));
        self.start_again().await;
    }

    /// Changes what the next start goes by.
    pub(crate) fn configure(&mut self, change: impl Fn(&mut Config)) {
        change(&mut self.config);
        self.nodes.iter_mut().for_each(change);
    }

    /// Its data, while it does not run.
    pub(crate) async fn open_store(&self) -> Arc<dyn Store> {
        layout::open_store(&self.config).await
    }

    /// Where the node with this role hears of others.
    pub(crate) fn link_of(&self, role: &str) -> SocketAddr {
        let node = self.nodes.iter().find(|node| node.node.roles.names() == [role]);
        node.expect("a node of a cluster").link.listen
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.config.node.data_dir
    }
}

fn secrets() -> Secrets {
    Secrets {
        master_key: MasterKey::new(*Key::random().bytes()),
        server_api_key: anser_server::token::mint("anser_api_"),
        cluster: Some(anser_server::token::mint("")),
    }
}

async fn bind(config: &Config, secrets: &Secrets, free_bytes: &Arc<AtomicU64>) -> Node {
    let free_bytes = free_bytes.clone();
    let probe: embedded::FreeSpace = Arc::new(move || free_bytes.load(Relaxed));
    let node = Node::bind_with(config.clone(), secrets.clone(), Some(probe)).await;
    node.expect("a node")
}

fn run(node: Node) -> Running {
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(node.run(async move {
        let _ = stopped.await;
    }));
    (stop, running)
}
