//! The role *connector*: holds the clients' long connections, over TCP and WebSocket on one port.
//!
//! It checks who a client is, hands its commands to the queue, pushes its inbox and passes acks on.
//! It decides nothing about messages and stores nothing itself.

mod connection;
#[cfg(any(test, feature = "testing"))]
pub mod echo;
mod feed;
mod followed;
mod greet;
mod limits;
mod mailbox;
mod metrics;
mod planted;
mod position;
mod registry;
#[cfg(test)]
mod simulation;
pub(crate) mod sweep;
#[cfg(test)]
mod tests;
mod transport;

/// What the parts that threads share lock with; a test puts loom's in its place.
mod sync {
    pub(super) use parking_lot::Mutex;
}

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anser_proto::{Code, Seq, UserId, session, wire};
use anser_store::{LiveSession, Store};
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, error, warn};

pub use registry::Registry;
pub(crate) use registry::SHARDS;
pub use transport::WEBSOCKET_PATH;

use crate::{
    config, link,
    presence::Presence,
    proxy::{self, TrustedProxies},
    queue::Queue,
    trace::Tracer,
};
use connection::Connection;
use limits::{Guest, Unauthenticated};
use metrics::ConnectorMetrics;
use transport::Transport;

/// Connections that wait to be accepted while this process is busy: a reconnect storm's worth.
const BACKLOG: u32 = 4096;
/// Clients reconnect within this time after GoAway.
const GO_AWAY_AFTER: Duration = Duration::from_secs(2);
/// Sessions of a stopping server may finish their commands for so long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// After this the accept loop tries again when the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Most bytes of a Push frame beside its entry: two tags with lengths, and the number.
const PUSH_BYTES: usize = 32;

/// What the connector needs from the other parts.
pub struct Deps {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// Where commands go.
    pub queue: Queue,
    /// The connections of this process; the link rings here.
    pub registry: Arc<Registry>,
    /// Other nodes, where there are some.
    pub neighbours: Option<Neighbours>,
    /// The store's epoch.
    pub epoch: String,
    /// Whose word on a client's address is taken.
    pub proxies: TrustedProxies,
    /// Told of the commands that are followed.
    pub tracer: Tracer,
}

/// How a connector tells others of its sessions.
#[derive(Clone)]
pub struct Neighbours {
    /// Who is connected where.
    pub presence: Arc<dyn Presence>,
    /// The way to the other connectors.
    pub link: link::Handle,
}

impl Neighbours {
    /// A session began; those of the same device elsewhere are told that they are over.
    async fn online(&self, session: LiveSession) {
        for (node, older) in self.presence.online(session).await {
            self.link.refused(node, (session.device, older), Code::Replaced);
        }
    }
}

/// What all connections share.
pub(crate) struct Context {
    config: config::Connector,
    session: Arc<session::Config>,
    store: Arc<dyn Store>,
    queue: Queue,
    registry: Arc<Registry>,
    neighbours: Option<Neighbours>,
    epoch: String,
    unauthenticated: Arc<Unauthenticated>,
    proxies: TrustedProxies,
    tracer: Tracer,
    metrics: ConnectorMetrics,
}

/// The role, bound to its port.
pub struct Connector {
    listener: TcpListener,
    context: Arc<Context>,
}

impl Connector {
    /// Binds the port.
    ///
    /// # Errors
    /// The address can not be bound.
    pub fn bind(config: &config::Connector, deps: Deps) -> io::Result<Self> {
        let listener = listen(config.listen)?;
        let session = session::Config {
            hello_timeout: config.hello_timeout,
            heartbeat: config.heartbeat,
            // Commands come back from the commit path in batches already.
            ack_delay: Duration::ZERO,
            ..session::Config::default()
        };
        let context = Context {
            config: config.clone(),
            session: Arc::new(session),
            store: deps.store,
            queue: deps.queue,
            registry: deps.registry,
            neighbours: deps.neighbours,
            epoch: deps.epoch,
            unauthenticated: Arc::default(),
            proxies: deps.proxies,
            tracer: deps.tracer,
            metrics: ConnectorMetrics::new(),
        };
        Ok(Self { listener, context: Arc::new(context) })
    }

    /// The bound address.
    ///
    /// # Errors
    /// The operating system does not tell it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then lets the sessions finish what they handed over.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = self.accept() => {}
            () = shutdown => {}
        }
        let Self { listener, context } = self;
        drop(listener);
        context.registry.go_away(GO_AWAY_AFTER);
        // Sockets that never said a valid Hello are not waited for.
        if tokio::time::timeout(DRAIN_TIMEOUT, context.registry.emptied()).await.is_err() {
            warn!(sessions = context.registry.len(), "sessions did not finish in time");
        }
    }

    async fn accept(&self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => self.open(stream, peer),
                Err(error) => {
                    warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn open(&self, stream: TcpStream, peer: SocketAddr) {
        let (context, peer) = (self.context.clone(), peer.ip());
        if let Ok(guest) = context.guest(peer) {
            context.metrics.accepted.increment(1);
            tokio::spawn(serve(context, stream, peer, guest));
        }
    }
}

/// The one task of a connection.
async fn serve(context: Arc<Context>, stream: TcpStream, peer: IpAddr, guest: Option<Guest>) {
    let _ = stream.set_nodelay(true);
    match Box::pin(open(&context, stream, peer, guest)).await {
        Ok((transport, guest)) => Connection::new(context, transport, guest).run().await,
        Err(error) => debug!(%peer, %error, "a connection ended before its first frame"),
    }
}

/// Learns whose connection it is, and what it speaks.
///
/// # Errors
/// The socket failed, or its beginning was none, or late; or its address has too many of these.
async fn open(
    context: &Context,
    mut stream: TcpStream,
    peer: IpAddr,
    mut guest: Option<Guest>,
) -> io::Result<(Transport, Option<Guest>)> {
    let within = context.config.hello_timeout;
    let mut client = peer;
    if guest.is_none() {
        let header = tokio::time::timeout(within, proxy::read_header(&mut stream));
        client = header.await??.unwrap_or(peer);
        // Before the client's first byte, which may never come.
        guest = context.guest(client)?;
    }
    let accepted = Transport::accept(stream, client, &context.proxies, within).await;
    let (transport, client) = accepted?;
    if guest.is_none() {
        guest = context.guest(client)?;
    }
    Ok((transport, guest))
}

impl Context {
    /// Counts a connection of this address; `None` when it is a proxy, which says later whose
    /// connection it is, or never: its own.
    ///
    /// # Errors
    /// The address has too many that have not authenticated.
    fn guest(&self, address: IpAddr) -> io::Result<Option<Guest>> {
        if self.proxies.contains(address) {
            return Ok(None);
        }
        let max = self.config.unauthenticated_per_address;
        let guest = self.unauthenticated.enter(address, max);
        if guest.is_none() {
            debug!(%address, "too many unauthenticated connections of one address");
            self.metrics.refused.increment(1);
        }
        guest.map(Some).ok_or_else(|| io::Error::other("too many unauthenticated connections"))
    }

    fn heartbeat_ms(&self) -> u32 {
        u32::try_from(self.session.heartbeat.as_millis()).unwrap_or(u32::MAX)
    }

    /// What of a stored entry goes into a frame of the size that clients were told. A larger one
    /// comes from damage, or from before a limit was lowered; pushed whole it would end every
    /// connection of this user at the same place. So it goes without its body (the history has
    /// it), or empty in its place, and what is behind it follows.
    fn fitting(&self, user: UserId, seq: Seq, entry: Bytes) -> Bytes {
        let bytes_max = self.config.frame_bytes_max.saturating_sub(PUSH_BYTES);
        if entry.len() <= bytes_max {
            return entry;
        }
        error!(%user, seq, bytes = entry.len(), "an inbox entry is larger than a frame");
        let head = wire::without_body(&entry);
        if head.len() <= bytes_max { head } else { Bytes::new() }
    }

    fn limits(&self) -> wire::Limits {
        let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        wire::Limits {
            frame_bytes_max: bytes(self.config.frame_bytes_max),
            body_bytes_max: bytes(self.config.body_bytes_max),
            commands_in_flight_max: self.session.commands_max,
            entries_in_flight_max: self.session.entries_max,
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
