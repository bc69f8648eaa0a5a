//! How the servers of this process are laid out, by `ANSER_TEST_LAYOUT`: one process on a folder
//! (not set), one process with its data on MySQL (`mysql`), or three roles over MySQL, RabbitMQ and
//! Redis (`cluster`).

use std::{path::Path, sync::Arc};

use anser_proto::UserId;
use anser_server::{
    config::{Config, Roles, ServiceUrl},
    node,
};
use anser_store::{Store, embedded::Embedded, mysql::Mysql};
use lapin::{ConnectionProperties, options::QueueDeleteOptions};

use super::{database::Database, left_out, port};

/// Fewer than a real cluster has: each test makes its own.
const PARTITIONS: usize = 2;

/// What a server stands on beside its folder; gone with it.
pub(crate) struct Ground {
    database: Database,
    /// Its names on RabbitMQ and Redis, where it has several roles.
    cluster: Option<Cluster>,
}

struct Cluster {
    name: String,
    amqp: String,
    redis: String,
}

impl Ground {
    /// What this run wants; `None`: nothing but a folder.
    pub(crate) fn wanted() -> Option<Self> {
        let layout = left_out::variable("ANSER_TEST_LAYOUT")?;
        let database = Database::new("a server on MySQL")?;
        let cluster = match layout.as_str() {
            "mysql" => None,
            "cluster" => Some(Cluster::new().expect("a RabbitMQ and a Redis")),
            other => panic!("ANSER_TEST_LAYOUT is mysql, cluster or not set, and not {other}"),
        };
        Some(Self { database, cluster })
    }

    /// That of a cluster, whatever this run wants; `None`, with a word about it: it is not here.
    pub(crate) fn of_cluster(test: &str) -> Option<Self> {
        let Some(cluster) = Cluster::new() else {
            left_out::some("in a cluster (ANSER_TEST_AMQP_URL, ANSER_TEST_REDIS_URL)", test);
            return None;
        };
        Some(Self { database: Database::new(test)?, cluster: Some(cluster) })
    }

    /// Puts a server on it.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.store.url = Some(ServiceUrl::new(self.database.url()));
        let Some(Cluster { name, amqp, redis }) = &self.cluster else { return };
        config.queue.url = Some(ServiceUrl::new(amqp));
        config.queue.partitions = PARTITIONS;
        config.presence.url = Some(ServiceUrl::new(redis));
        (config.queue.name, config.presence.name) = (name.clone(), name.clone());
    }
}

impl Cluster {
    fn new() -> Option<Self> {
        let name = format!("anser_test_{}", UserId::random());
        let amqp = left_out::variable("ANSER_TEST_AMQP_URL")?;
        Some(Self { name, amqp, redis: left_out::variable("ANSER_TEST_REDIS_URL")? })
    }
}

/// The processes of a server: itself, or one for each role. Each has its own folder and ports.
pub(crate) fn nodes(config: &Config) -> Vec<Config> {
    if !config.is_clustered() || config.node.roles != Roles::ALL {
        return vec![config.clone()];
    }
    // In the order of their start.
    ["transfer", "connector", "api"].map(|role| node(config, role)).into()
}

fn node(config: &Config, role: &str) -> Config {
    let mut node = config.clone();
    node.node.roles = role.parse().expect("a role");
    node.node.data_dir = config.node.data_dir.join(role);
    std::fs::create_dir(&node.node.data_dir).expect("a data folder");
    (node.ops.listen, node.link.listen) = (port::free(), port::free());
    node
}

/// The data of a server that does not run.
pub(crate) async fn open_store(config: &Config) -> Arc<dyn Store> {
    match &config.store.url {
        Some(url) => {
            let options = anser_store::mysql::Options::new(url.reveal());
            Arc::new(Mysql::open(options).await.expect("a database"))
        }
        None => open_folder(&config.node.data_dir),
    }
}

/// The data of a data folder that no server runs on.
pub(crate) fn open_folder(data_dir: &Path) -> Arc<dyn Store> {
    let options = anser_store::embedded::Options::new(node::database(data_dir));
    Arc::new(Embedded::open(options).expect("a database"))
}

/// Whether the data is not in the folder that this test looks into, and says so.
pub(crate) fn is_elsewhere(test: &str) -> bool {
    let elsewhere = left_out::variable("ANSER_TEST_LAYOUT").is_some();
    if elsewhere {
        left_out::say(&format!("{test} is of the embedded database"));
    }
    elsewhere
}

/// What Redis has expires by itself.
impl Drop for Cluster {
    fn drop(&mut self) {
        let (amqp, name) = (self.amqp.clone(), self.name.clone());
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let connected = lapin::Connection::connect(&amqp, ConnectionProperties::default());
                let connection = connected.await.expect("a RabbitMQ");
                let channel = connection.create_channel().await.expect("a channel");
                let queues = (0..PARTITIONS).map(|index| format!("{name}.{index}-of-{PARTITIONS}"));
                for queue in queues.chain([format!("{name}.partitions")]) {
                    let options = QueueDeleteOptions::default();
                    channel.queue_delete(queue.into(), options).await.expect("deleted");
                }
            });
        };
        std::thread::spawn(work).join().expect("the queues are deleted");
    }
}
