//! A node's place in a cluster: who it is to the others, and the shared parts that are between
//! processes.

use std::{net::SocketAddr, sync::Arc};

use anser_proto::{NodeId, rest};
use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    clock,
    config::Config,
    connector::Registry,
    directory::{Directory, Node, Role, State, least_loaded},
    link::{
        self,
        grpc::{Credentials, Listener, Remote, Secret, Tls},
    },
    presence::{Presence, redis::Redis},
    queue::{
        Partition, Queue,
        rabbitmq::{Consumer, Options, Publisher},
    },
    secrets::Secrets,
    trace::Tracer,
};

/// A node's place in a cluster.
pub(super) struct Cluster {
    directory: Directory,
    link: Arc<Remote>,
    me: Arc<Mutex<Node>>,
    /// Where other nodes ring, where there is a connector.
    listener: Mutex<Option<Listener>>,
    queue: Option<Durable>,
}

/// The ends of the queue that this node has.
struct Durable {
    publisher: Option<Publisher>,
    consumer: Option<Consumer>,
}

/// What a node's place depends on.
pub(super) struct Parts<'a> {
    pub(super) here: NodeId,
    pub(super) epoch: &'a str,
    pub(super) queue: &'a Queue,
    pub(super) registry: &'a Arc<Registry>,
    pub(super) sweep_soon: &'a Arc<Notify>,
    pub(super) tls: Option<Tls>,
    pub(super) tracer: &'a Tracer,
}

impl Cluster {
    /// Takes the place; it gets work once it is told to serve. `None`: the node
    /// is alone.
    ///
    /// # Errors
    /// The node has no secret of a cluster, an address can not be bound, or a URL is none.
    pub(super) async fn join(
        config: &Config,
        secrets: &Secrets,
        parts: Parts<'_>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(url) = &config.presence.url else { return Ok(None) };
        let Parts { here, registry, .. } = parts;
        let secret = secrets.cluster.as_ref().context("the secret of the cluster is missing")?;
        let secret = Secret::new(secret.as_bytes());
        let credentials = Credentials { secret, tls: parts.tls.clone() };
        let roles = config.node.roles;
        let redis = Redis::start(url.reveal(), &config.presence.name, here)
            .with_context(|| format!("presence.url = {url:?}"))?;
        let listener = match roles.connector {
            true => Some(listen(config, &credentials, &parts).await?),
            false => None,
        };
        let link = listener.as_ref().map(Listener::local_addr).transpose()?;
        let me = Arc::new(Mutex::new(node(config, here, link)));
        let (described, connected) = (me.clone(), registry.clone());
        let describe =
            move || Node { connections: connected.len() as u64, ..described.lock().clone() };
        let directory = Directory::start(redis.clone(), describe);
        let local = roles.connector.then(|| registry.clone() as Arc<_>);
        let link = Remote::start(here, credentials, local, redis.clone(), directory.nodes());
        let queue = config.queue.url.as_ref().map(|url| {
            let options = Options {
                name: config.queue.name.clone(),
                partitions: config.queue.partitions,
                tracer: parts.tracer.clone(),
                ..Options::new(url.reveal().to_owned(), parts.epoch.to_owned(), here)
            };
            let publish = || Publisher::start(options.clone(), parts.queue);
            let consume = || Consumer::start(options.clone(), directory.transfers());
            Durable {
                publisher: roles.connector.then(publish),
                consumer: roles.transfer.then(consume),
            }
        });
        let listener = Mutex::new(listener);
        Ok(Some(Self { directory, link, me, listener, queue }))
    }

    /// The way to the connectors of all nodes.
    pub(super) fn link(&self) -> link::Handle {
        link::Handle::new(self.link.clone())
    }

    /// Who is connected where.
    pub(super) fn presence(&self) -> Arc<dyn Presence> {
        self.directory.redis().clone()
    }

    /// What a transfer takes from; `None`: from its own process.
    pub(super) fn partitions(&self) -> Option<Vec<Arc<dyn Partition>>> {
        self.queue
            .as_ref()
            .map(|queue| queue.consumer.as_ref().map(Consumer::partitions).unwrap_or_default())
    }

    /// Tells the others where clients reach this node's connector.
    pub(super) fn advertise(&self, connector: &rest::Connector) {
        let mut me = self.me.lock();
        (me.tcp, me.ws) = (Some(connector.tcp.clone()), Some(connector.ws.clone()));
    }

    /// The connectors that take clients, the least loaded first.
    pub(super) fn connectors(&self) -> impl Fn() -> Vec<rest::Connector> + Send + Sync + 'static {
        let nodes = self.directory.nodes();
        move || {
            let nodes = nodes.borrow();
            let addresses = |node: &Node| {
                Some(rest::Connector { tcp: node.tcp.clone()?, ws: node.ws.clone()? })
            };
            least_loaded(&nodes).into_iter().filter_map(addresses).collect()
        }
    }

    /// Whether the node takes work from now on, or only finishes what it has.
    pub(super) fn set_serving(&self, serving: bool) {
        self.me.lock().state = if serving { State::Serving } else { State::Draining };
    }

    /// Waits until somebody asks the node to drain.
    pub(super) async fn asked_to_drain(&self) {
        self.directory.asked_to_drain().cancelled_owned().await;
        info!("asked to drain");
    }

    /// Takes what other nodes tell, until `stop`.
    pub(super) fn listen(&self, stop: CancellationToken) -> Option<JoinHandle<()>> {
        let listener = self.listener.lock().take()?;
        Some(tokio::spawn(async move {
            if let Err(error) = listener.run(stop.cancelled_owned()).await {
                warn!(%error, "link.listen failed");
            }
        }))
    }

    /// Keeps the sessions of this node's connector known, until it is dropped.
    pub(super) fn renew(&self, registry: Arc<Registry>) -> impl Future<Output = ()> + use<> {
        self.directory.redis().clone().renew(registry)
    }

    /// What the closed queue still has goes out, and nothing more comes in.
    pub(super) async fn close_queue(&self) {
        let Some(queue) = &self.queue else { return };
        if let Some(publisher) = &queue.publisher {
            publisher.finished().await;
        }
        if let Some(consumer) = &queue.consumer {
            consumer.close();
        }
    }

    /// Says goodbye.
    pub(super) async fn leave(&self) {
        if let Some(consumer) = self.queue.as_ref().and_then(|queue| queue.consumer.as_ref()) {
            consumer.finished().await;
        }
        self.link.flush().await;
        self.directory.leave().await;
    }
}

async fn listen(
    config: &Config,
    credentials: &Credentials,
    parts: &Parts<'_>,
) -> anyhow::Result<Listener> {
    let (address, soon) = (config.link.listen, parts.sweep_soon.clone());
    let doorbell = parts.registry.clone();
    let bound = Listener::bind(address, credentials.clone(), parts.here, doorbell, soon).await;
    bound.with_context(|| format!("link.listen = {address}"))
}

/// What this node says of itself at first.
fn node(config: &Config, here: NodeId, link: Option<SocketAddr>) -> Node {
    let roles = config.node.roles;
    let all = [
        (Role::Connector, roles.connector),
        (Role::Transfer, roles.transfer),
        (Role::Api, roles.api),
    ];
    let advertised =
        |bound: SocketAddr| config.link.advertise.clone().unwrap_or_else(|| bound.to_string());
    Node {
        id: here,
        name: name(config),
        roles: all.into_iter().filter_map(|(role, on)| on.then_some(role)).collect(),
        link: link.map(advertised),
        link_tls: config.link.tls_cert.is_some(),
        tcp: None,
        ws: None,
        connections: 0,
        version: env!("CARGO_PKG_VERSION").into(),
        started_at_ms: clock::now_ms(),
        state: State::Draining,
    }
}

/// What this node is called.
pub(super) fn name(config: &Config) -> String {
    config.node.name.clone().unwrap_or_else(default_name)
}

fn default_name() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{host}:{}", std::process::id())
}
