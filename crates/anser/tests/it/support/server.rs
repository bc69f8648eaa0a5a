//! A server inside the test's process: ports chosen by the operating system, kept over a restart.

use std::{
    ops::Deref,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anser_proto::seal::Key;
use anser_server::{
    config::{Config, StoreUrl},
    node::{self, Node},
    secrets::{MasterKey, Secrets},
};
use anser_store::embedded;
use tokio::{sync::oneshot, task::JoinHandle};

pub(crate) use super::site::Account;
use super::{database::Database, port, site::Site};

/// A running server with its own data folder.
pub(crate) struct Server {
    site: Site,
    config: Config,
    secrets: Secrets,
    free_bytes: Arc<AtomicU64>,
    /// Its database where that is not in its folder.
    _database: Option<Database>,
    running: Option<(oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>)>,
}

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
        let secrets = Secrets {
            master_key: MasterKey::new(*Key::random().bytes()),
            server_api_key: anser_server::token::mint("anser_api_"),
        };
        Self::start_as(secrets, change).await
    }

    async fn start_as(secrets: Secrets, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::default();
        config.node.data_dir = folder.path().join("data");
        std::fs::create_dir(&config.node.data_dir).expect("a data folder");
        for listen in [&mut config.connector.listen, &mut config.api.listen, &mut config.ops.listen]
        {
            *listen = port::free();
        }
        let database = Database::elsewhere();
        config.store.url = database.as_ref().map(|database| StoreUrl::new(database.url()));
        change(&mut config);
        if config.store.url.is_some() && config.files.path.is_none() {
            config.files.shared = true;
            config.files.path = Some(config.node.data_dir.join("files"));
        }
        let free_bytes = Arc::new(AtomicU64::new(u64::MAX));
        let node = bind(&config, &secrets, &free_bytes).await;
        let addresses = node.addresses().clone();
        config.connector.listen = addresses.connector;
        config.api.listen = addresses.api;
        config.ops.listen = addresses.ops;
        let site = Site {
            connector: addresses.connector,
            api: addresses.api,
            ops: addresses.ops,
            admin: addresses.admin,
            folder,
        };
        let running = Some(run(node));
        Self { site, config, secrets, free_bytes, _database: database, running }
    }

    /// Starts another one on the same database and files, with the same secrets.
    pub(crate) async fn start_beside(&self) -> Self {
        let (url, files) = (self.config.store.url.clone(), self.config.files.clone());
        let change = |config: &mut Config| (config.store.url, config.files) = (url, files);
        Self::start_as(self.secrets.clone(), change).await
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

    /// Stops as on SIGTERM.
    pub(crate) async fn stop(&mut self) {
        let (stop, running) = self.running.take().expect("the server runs");
        stop.send(()).expect("the server waits for the signal");
        running.await.expect("the server did not panic").expect("the server stopped cleanly");
    }

    /// Starts again on the same ports and data.
    pub(crate) async fn start_again(&mut self) {
        let node = bind(&self.config, &self.secrets, &self.free_bytes).await;
        self.site.admin = node.addresses().admin.clone();
        self.running = Some(run(node));
    }

    /// Starts again on the same ports, with the data of a backup in a new folder.
    pub(crate) async fn start_restored(&mut self, backup: &Path) {
        let data_dir = self.site.folder().join("restored");
        let key_check = self.secrets.master_key.check();
        embedded::restore(backup, &node::database(&data_dir), &key_check).expect("a restore");
        self.config.node.data_dir = data_dir;
        self.start_again().await;
    }

    /// Changes what the next start goes by.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.config.node.data_dir
    }
}

async fn bind(config: &Config, secrets: &Secrets, free_bytes: &Arc<AtomicU64>) -> Node {
    let free_bytes = free_bytes.clone();
    let probe: embedded::FreeSpace = Arc::new(move || free_bytes.load(Relaxed));
    let node = Node::bind_with(config.clone(), secrets.clone(), Some(probe)).await;
    node.expect("a node")
}

fn run(node: Node) -> (oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>) {
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(node.run(async move {
        let _ = stopped.await;
    }));
    (stop, running)
}
