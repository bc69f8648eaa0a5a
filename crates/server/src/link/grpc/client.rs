//! The side that tells: a stream to each connector in the directory, and who is told what.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::{Code, DeviceId, NodeId, Seq, SessionId, UserId};
use anser_store::NewEntry;
use futures_util::stream;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming, transport::Endpoint};
use tracing::{debug, info, warn};

use super::{
    Credentials, HANDSHAKE_TIMEOUT, PING_EVERY, PING_TIMEOUT,
    buffer::Buffer,
    message::Rings,
    metrics::{CallerMetrics, Counted},
    secret::{End, Talk, is_nonce, nonce},
    tls::Causes,
    wire::{
        FromCaller, FromConnector, Opening, Proof, from_caller, from_connector,
        link_client::LinkClient,
    },
};
use crate::{
    directory::{Node, Role},
    link::{Doorbell, Link},
    presence::Presence,
};

/// A connector that does not answer is dialled again after this time, which doubles ...
const RETRY_MIN: Duration = Duration::from_millis(50);
/// ... up to this.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Connectors that are not listed yet: no cluster starts more at a time.
const UNLISTED_MAX: usize = 64;
/// A node that ends looks so often whether all was told ...
const FLUSH_STEP: Duration = Duration::from_millis(10);
/// ... for so long.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// The way to the connectors of all nodes. Dropped, its streams end.
pub struct Remote {
    here: NodeId,
    local: Option<Arc<dyn Doorbell>>,
    /// Entries whose users are to be located.
    news: Arc<Buffer>,
    peers: Arc<Peers>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Remote {
    /// Dials the connectors that are listed, and those that will be. `local`: the connector of this
    /// process, which is told at once and without a stream.
    pub fn start(
        here: NodeId,
        credentials: Credentials,
        local: Option<Arc<dyn Doorbell>>,
        presence: Arc<dyn Presence>,
        nodes: watch::Receiver<Arc<[Node]>>,
    ) -> Arc<Self> {
        let metrics = CallerMetrics::new();
        let news = Arc::new(Buffer::new(metrics.clone()));
        let peers = Arc::new(Peers {
            here,
            credentials,
            metrics,
            all: RwLock::default(),
            unlisted: Mutex::default(),
        });
        peers.update(&nodes.borrow());
        let tasks = [
            tokio::spawn(peers.clone().follow(nodes)),
            tokio::spawn(route(news.clone(), presence, peers.clone())),
        ];
        Arc::new(Self { here, local, news, peers, _tasks: tasks.map(AbortOnDropHandle::new) })
    }

    /// Waits until what was told has gone out, but not for long: it is a doorbell.
    pub async fn flush(&self) {
        let gone = async {
            while !self.news.is_empty() || !self.peers.all_told() {
                tokio::time::sleep(FLUSH_STEP).await;
            }
        };
        let _ = tokio::time::timeout(FLUSH_MAX, gone).await;
        // The last of it is in a stream, and not yet on its socket.
        tokio::time::sleep(FLUSH_STEP).await;
    }

    /// Passes something on to one connector.
    fn tell(&self, connector: NodeId, here: impl FnOnce(&dyn Doorbell), there: impl Fn(&Buffer)) {
        match &self.local {
            Some(local) if connector == self.here => here(&**local),
            _ => self.peers.tell(connector, there),
        }
    }
}

impl Link for Remote {
    fn deliver(&self, entries: Vec<NewEntry>, accepted: Option<Instant>) {
        let elsewhere = !self.peers.all.read().is_empty();
        match &self.local {
            Some(local) if elsewhere => local.deliver(entries.clone(), accepted),
            Some(local) => return local.deliver(entries, accepted),
            None => {}
        }
        if elsewhere {
            self.news.deliver(entries, accepted);
        }
    }

    fn ack(&self, connector: NodeId, device: DeviceId, position: Seq) {
        let here = |local: &dyn Doorbell| local.ack(device, position);
        self.tell(connector, here, |peer| peer.ack(device, position));
    }

    fn refused(&self, connector: NodeId, session: (DeviceId, SessionId), code: Code) {
        let here = |local: &dyn Doorbell| local.refused(session, code);
        self.tell(connector, here, |peer| peer.refused(session, code));
    }

    fn close(&self, devices: &[DeviceId], code: Code) {
        if let Some(local) = &self.local {
            local.close(devices, code);
        }
        self.peers.tell_all(|peer| peer.close(devices, code));
    }
}

/// Tells the connectors that hold a user's sessions of the user's news. One look-up at a time: what
/// comes meanwhile waits and is looked up together, and the order stays.
async fn route(news: Arc<Buffer>, presence: Arc<dyn Presence>, peers: Arc<Peers>) {
    loop {
        let rings = news.take().await;
        if rings.lost {
            peers.tell_all(Buffer::lose);
        }
        let of_entries = rings.entries.iter().map(|entry| entry.user);
        let of_heads = rings.heads.iter().map(|(user, _)| *user);
        let users: HashSet<UserId> = of_entries.chain(of_heads).collect();
        if users.is_empty() {
            continue;
        }
        match presence.locate(users.into_iter().collect()).await {
            None => peers.tell_all(|peer| tell_news(peer, &rings, |_| true)),
            Some(at) => {
                for (node, users) in at.into_iter().filter(|(node, _)| *node != peers.here) {
                    let users: HashSet<UserId> = users.into_iter().collect();
                    peers.tell(node, |peer| tell_news(peer, &rings, |user| users.contains(&user)));
                }
            }
        }
    }
}

fn tell_news(peer: &Buffer, rings: &Rings, is_there: impl Fn(UserId) -> bool) {
    let entries = rings.entries.iter().filter(|entry| is_there(entry.user));
    peer.deliver(entries.cloned().collect(), rings.accepted);
    peer.grew(rings.heads.iter().copied().filter(|(user, _)| is_there(*user)));
}

/// The other connectors.
struct Peers {
    here: NodeId,
    credentials: Credentials,
    metrics: CallerMetrics,
    all: RwLock<HashMap<NodeId, Peer>>,
    /// What is for connectors that are not listed yet: their commands can be here before.
    unlisted: Mutex<HashMap<NodeId, Arc<Buffer>>>,
}

struct Peer {
    buffer: Arc<Buffer>,
    _caller: AbortOnDropHandle<()>,
}

impl Peers {
    async fn follow(self: Arc<Self>, mut nodes: watch::Receiver<Arc<[Node]>>) {
        while nodes.changed().await.is_ok() {
            let listed = nodes.borrow_and_update().clone();
            self.update(&listed);
        }
    }

    fn update(&self, nodes: &[Node]) {
        let connectors = nodes.iter().filter(|node| node.is(Role::Connector));
        let addresses = connectors.filter_map(|node| Some((node, node.link.as_ref()?)));
        let others = addresses.filter(|(node, _)| node.id != self.here);
        let listed: HashMap<_, _> =
            others.map(|(node, address)| (node.id, (address, node.link_tls))).collect();
        let mut all = self.all.write();
        all.retain(|id, _| listed.contains_key(id));
        for (id, (address, over_tls)) in listed {
            all.entry(id).or_insert_with(|| self.dial(id, address, over_tls));
        }
    }

    fn dial(&self, connector: NodeId, address: &str, over_tls: bool) -> Peer {
        let waiting = self.unlisted.lock().remove(&connector);
        let buffer = waiting.unwrap_or_else(|| Arc::new(Buffer::new(self.metrics.clone())));
        let caller = Caller {
            here: self.here,
            credentials: self.credentials.clone(),
            connector,
            address: address.to_owned(),
            over_tls,
            buffer: buffer.clone(),
            metrics: self.metrics.clone(),
        };
        Peer { buffer, _caller: AbortOnDropHandle::new(tokio::spawn(caller.run())) }
    }

    fn tell(&self, connector: NodeId, tell: impl Fn(&Buffer)) {
        let all = self.all.read();
        if let Some(peer) = all.get(&connector) {
            return tell(&peer.buffer);
        }
        // Still holding the list: who is listed now takes what is left here.
        let mut unlisted = self.unlisted.lock();
        if unlisted.len() >= UNLISTED_MAX && !unlisted.contains_key(&connector) {
            // They are gone rather than new.
            self.metrics.dropped.increment(1);
            unlisted.clear();
        }
        tell(
            unlisted
                .entry(connector)
                .or_insert_with(|| Arc::new(Buffer::new(self.metrics.clone()))),
        );
    }

    fn all_told(&self) -> bool {
        self.all.read().values().all(|peer| peer.buffer.is_empty())
    }

    fn tell_all(&self, tell: impl Fn(&Buffer)) {
        self.all.read().values().for_each(|peer| tell(&peer.buffer));
    }
}

/// The stream to one connector, again and again.
struct Caller {
    here: NodeId,
    credentials: Credentials,
    connector: NodeId,
    address: String,
    /// What it says of itself: whether it wants TLS.
    over_tls: bool,
    buffer: Arc<Buffer>,
    metrics: CallerMetrics,
}

/// A stream after its handshake.
struct Stream {
    to: mpsc::Sender<FromCaller>,
    from: Streaming<FromConnector>,
    _counted: Counted,
}

/// Why there is no stream (any more).
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("it can not be reached: {}", Causes(.0))]
    Connect(#[from] tonic::transport::Error),
    #[error("{}: {}{}", .0.code(), .0.message(), behind(.0))]
    Status(Box<Status>),
    #[error("it speaks TLS, and this node does not: link.tls_cert must be set on all or none")]
    OnlyTls,
    #[error("it speaks no TLS, and this node does: link.tls_cert must be set on all or none")]
    NoTls,
    #[error("another node answers there")]
    OtherNode,
    #[error("it does not know the cluster's secret")]
    Secret,
    #[error("it said something else than the handshake asks for")]
    Handshake,
    #[error("it did not answer in time")]
    Late,
    #[error("it ended the stream")]
    Ended,
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// What is behind a status of tonic's own making.
fn behind(status: &Status) -> String {
    std::error::Error::source(status)
        .map_or_else(String::new, |cause| format!(": {}", Causes(cause)))
}

impl Caller {
    async fn run(self) {
        let (connector, address) = (self.connector, &self.address);
        let mut retry = RETRY_MIN;
        let mut said = false;
        loop {
            let opened = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.open());
            let why = match opened.await.unwrap_or(Err(Broken::Late)) {
                Ok(stream) => {
                    info!(%connector, %address, "linked to a connector");
                    (retry, said) = (RETRY_MIN, false);
                    self.pass_on(stream).await
                }
                Err(why) => why,
            };
            // Once; the many tries while it is away say nothing new.
            if std::mem::replace(&mut said, true) {
                debug!(%connector, %address, %why, "a connector is not linked");
            } else {
                warn!(%connector, %address, %why, "a connector is not linked");
            }
            tokio::time::sleep(retry).await;
            retry = RETRY_MAX.min(retry * 2);
        }
    }

    async fn open(&self) -> Result<Stream, Broken> {
        let channel = self.endpoint()?.connect().await?;
        // One message beside those in the windows; what waits behind it waits in the buffer.
        let (to, mut outgoing) = mpsc::channel(1);
        let outgoing = stream::poll_fn(move |context| outgoing.poll_recv(context));
        let caller_nonce = nonce();
        let opening = Opening { node: self.here.0, nonce: caller_nonce.clone().into() };
        say(&to, from_caller::Kind::Opening(opening)).await?;
        let mut from = LinkClient::new(channel).ring(outgoing).await?.into_inner();

        let Some(from_connector::Kind::Challenge(challenge)) = hear(&mut from).await? else {
            return Err(Broken::Handshake);
        };
        let talk = Talk {
            connector: NodeId(challenge.node),
            caller: self.here,
            connector_nonce: challenge.nonce.to_vec(),
            caller_nonce,
        };
        if !is_nonce(&talk.connector_nonce)
            || !self.credentials.secret.is_proof(End::Connector, &talk, &challenge.proof)
        {
            return Err(Broken::Secret);
        }
        if talk.connector != self.connector {
            return Err(Broken::OtherNode);
        }
        let proof = Proof { proof: self.credentials.secret.proof(End::Caller, &talk).into() };
        say(&to, from_caller::Kind::Proof(proof)).await?;
        let Some(from_connector::Kind::Ready(_)) = hear(&mut from).await? else {
            return Err(Broken::Handshake);
        };
        Ok(Stream { to, from, _counted: Counted::stream() })
    }

    /// Where it is dialled. What the connector says of itself can not turn TLS off here.
    fn endpoint(&self) -> Result<Endpoint, Broken> {
        let Self { address, credentials: Credentials { tls, .. }, .. } = self;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        match (tls, self.over_tls) {
            (Some(tls), true) => Ok(tls.secure(endpoint, address)?),
            (None, false) => Ok(endpoint),
            (None, true) => Err(Broken::OnlyTls),
            (Some(_), false) => Err(Broken::NoTls),
        }
    }

    /// Sends what waits, whenever something does, until the stream breaks.
    async fn pass_on(&self, mut stream: Stream) -> Broken {
        loop {
            tokio::select! {
                heard = hear(&mut stream.from) => if let Err(why) = heard {
                    return why;
                },
                sent = self.send(&stream.to) => if let Err(why) = sent {
                    return why;
                },
            }
        }
    }

    async fn send(&self, to: &mpsc::Sender<FromCaller>) -> Result<(), Broken> {
        let room = to.reserve().await.map_err(|_| Broken::Ended)?;
        let rings = self.buffer.take().await;
        self.metrics.sent.increment(rings.count() as u64);
        room.send(FromCaller { kind: Some(from_caller::Kind::Rings(rings.into())) });
        Ok(())
    }
}

async fn say(to: &mpsc::Sender<FromCaller>, kind: from_caller::Kind) -> Result<(), Broken> {
    to.send(FromCaller { kind: Some(kind) }).await.map_err(|_| Broken::Ended)
}

async fn hear(from: &mut Streaming<FromConnector>) -> Result<Option<from_connector::Kind>, Broken> {
    Ok(from.message().await?.ok_or(Broken::Ended)?.kind)
}
