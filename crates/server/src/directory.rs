//! The live nodes of a cluster, on Redis: who runs, in which roles, and where.
//!
//! Each node announces itself every second in one hash, `anser:nodes`, and reads the others there.
//! An announcement ends by itself 5 s later. While Redis is away the last known list stays: it is
//! old, but nothing better is known, and connectors and transfers do not change often.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anser_proto::NodeId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::debug;

use crate::presence::redis::{Redis, ms};

/// How often a node says that it is there, and looks who else is.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);
/// An announcement is believed for so long: four may be lost.
const TTL: Duration = Duration::from_secs(5);
/// What ended so long ago is removed from Redis.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// A node that is asked to drain stops long before.
const DRAIN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// What a node says of itself. JSON in Redis; unknown fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// This run of its process.
    pub id: NodeId,
    /// What an operator calls it.
    pub name: String,
    /// What it does.
    pub roles: Vec<Role>,
    /// Where its connector takes the link of other nodes: `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Whether that link is over TLS.
    #[serde(default)]
    pub link_tls: bool,
    /// Where clients reach its connector by TCP frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// Where clients reach its connector by WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ws: Option<String>,
    /// Devices connected to it.
    #[serde(default)]
    pub connections: u64,
    /// Its version.
    pub version: String,
    /// When it started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Whether it takes more work.
    pub state: State,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Holds the clients' connections.
    Connector,
    /// Sequences and stores.
    Transfer,
    /// Serves REST.
    Api,
    /// A role of a later version.
    #[serde(other)]
    Other,
}

/// Whether a node takes more work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Serving,
    /// It finishes what it has.
    Draining,
    /// It stopped; nobody lists it any more.
    Left,
}

/// Redis does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis does not answer")]
pub struct NoAnswer;

impl Node {
    /// Whether it has this role.
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// This node's place among the live nodes. Dropped without [`Directory::leave`], it is believed to
/// be there for 5 s more.
pub struct Directory {
    redis: Arc<Redis>,
    nodes: watch::Receiver<Arc<[Node]>>,
    transfers: watch::Receiver<Vec<NodeId>>,
    stale: Arc<AtomicBool>,
    asked_to_drain: CancellationToken,
    leaving: CancellationToken,
    announcer: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Directory {
    /// Announces this node from now on, as `me` describes it each time. Until Redis answers it is
    /// the only node.
    pub fn start(redis: Arc<Redis>, me: impl Fn() -> Node + Send + Sync + 'static) -> Self {
        let alone: Arc<[Node]> = [me()].into();
        let (nodes_to, nodes) = watch::channel(alone.clone());
        let (transfers_to, transfers) = watch::channel(transfers_of(&alone));
        let stale = Arc::new(AtomicBool::new(true));
        let (asked_to_drain, leaving) = (CancellationToken::new(), CancellationToken::new());
        let announcer = Announcer {
            redis: redis.clone(),
            me: Box::new(me),
            known: BTreeMap::new(),
            nodes: nodes_to,
            transfers: transfers_to,
            stale: stale.clone(),
            asked_to_drain: asked_to_drain.clone(),
        };
        let announcer = AbortOnDropHandle::new(tokio::spawn(announcer.run(leaving.clone())));
        let announcer = Mutex::new(Some(announcer));
        Self { redis, nodes, transfers, stale, asked_to_drain, leaving, announcer }
    }

    /// The Redis that it is on.
    pub fn redis(&self) -> &Arc<Redis> {
        &self.redis
    }

    /// The live nodes by id, this one among them.
    pub fn nodes(&self) -> watch::Receiver<Arc<[Node]>> {
        self.nodes.clone()
    }

    /// The transfers that take more work, rising.
    pub fn transfers(&self) -> watch::Receiver<Vec<NodeId>> {
        self.transfers.clone()
    }

    /// Whether the list could not be read at the last try.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Cancelled when somebody asks this node to drain.
    pub fn asked_to_drain(&self) -> CancellationToken {
        self.asked_to_drain.clone()
    }

    /// Says goodbye: the others drop this node within a second. Takes 300 ms at most.
    pub async fn leave(&self) {
        self.leaving.cancel();
        let announcer = self.announcer.lock().take();
        if let Some(announcer) = announcer {
            // It was aborted, or says goodbye.
            let _ = announcer.await;
        }
    }
}

/// The live nodes by id, for somebody who is none of them.
///
/// # Errors
/// [`NoAnswer`]: try again.
pub async fn live(redis: &Redis) -> Result<Vec<Node>, NoAnswer> {
    let key = redis.connection().key(format_args!("nodes"));
    let mut read_at_ms = 0;
    let look = |now_ms, pipeline: &mut redis::Pipeline| {
        read_at_ms = now_ms;
        pipeline.cmd("HVALS").arg(key);
    };
    let (all,): (Vec<Vec<u8>>,) = redis.connection().request(look).await.ok_or(NoAnswer)?;
    let parsed = all.iter().filter_map(|json| serde_json::from_slice::<Announcement>(json).ok());
    let lives = |one: &Announcement| one.until_ms > read_at_ms && one.node.state != State::Left;
    let mut nodes: Vec<_> = parsed.filter(lives).map(|one| one.node).collect();
    nodes.sort_by_key(|node| node.id);
    Ok(nodes)
}

/// Asks these nodes to drain; they notice within a second.
///
/// # Errors
/// [`NoAnswer`]: try again.
pub async fn drain(redis: &Redis, nodes: &[&Node]) -> Result<(), NoAnswer> {
    let ask = |_now_ms, pipeline: &mut redis::Pipeline| {
        for node in nodes {
            let key = drain_key(redis, node.id);
            pipeline.cmd("SET").arg(key).arg(1).arg("PX").arg(ms(DRAIN_TTL)).ignore();
        }
    };
    redis.connection().request::<()>(ask).await.ok_or(NoAnswer)
}

/// The connectors that take more clients, the least loaded first.
pub fn least_loaded(nodes: &[Node]) -> Vec<&Node> {
    let serving = |node: &&Node| node.is(Role::Connector) && node.state == State::Serving;
    let mut connectors: Vec<_> = nodes.iter().filter(serving).collect();
    connectors.sort_by_key(|node| (node.connections, node.id));
    connectors
}

struct Announcer {
    redis: Arc<Redis>,
    me: Box<dyn Fn() -> Node + Send + Sync>,
    known: BTreeMap<NodeId, Announcement>,
    nodes: watch::Sender<Arc<[Node]>>,
    transfers: watch::Sender<Vec<NodeId>>,
    stale: Arc<AtomicBool>,
    asked_to_drain: CancellationToken,
}

#[derive(Serialize, Deserialize)]
struct Announcement {
    /// Believed until then, by the clock of Redis.
    until_ms: u64,
    node: Node,
}

/// What Redis says to an announcement.
struct Read {
    now_ms: u64,
    drain: bool,
    all: HashMap<String, Vec<u8>>,
}

impl Announcer {
    async fn run(mut self, leaving: CancellationToken) {
        let mut turns = tokio::time::interval(ANNOUNCE_EVERY);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while leaving.run_until_cancelled(turns.tick()).await.is_some() {
            let me = (self.me)();
            match self.announce(&me).await {
                Some(read) => self.heard(me, read).await,
                None => {
                    self.stale.store(true, Ordering::Relaxed);
                    self.tell(me);
                }
            }
        }
        let me = Node { state: State::Left, ..(self.me)() };
        self.announce(&me).await;
    }

    async fn announce(&self, me: &Node) -> Option<Read> {
        let connection = self.redis.connection();
        let key = connection.key(format_args!("nodes"));
        let mut read_at_ms = 0;
        let announce = |now_ms, pipeline: &mut redis::Pipeline| {
            read_at_ms = now_ms;
            let announcement = Announcement { until_ms: now_ms + ms(TTL), node: me.clone() };
            let json = serde_json::to_vec(&announcement).expect("numbers and texts");
            pipeline.cmd("HSET").arg(&key).arg(me.id.0).arg(json).ignore();
            pipeline.cmd("PEXPIRE").arg(&key).arg(ms(FORGET_AFTER)).ignore();
            pipeline.cmd("EXISTS").arg(drain_key(&self.redis, me.id));
            pipeline.cmd("HGETALL").arg(&key);
        };
        let (drain, all) = connection.request(announce).await?;
        Some(Read { now_ms: read_at_ms, drain, all })
    }

    async fn heard(&mut self, me: Node, read: Read) {
        let Read { now_ms, drain, all } = read;
        if drain {
            self.asked_to_drain.cancel();
        }
        if self.stale.swap(false, Ordering::Relaxed) {
            // Redis may have lost everything, and the others speak up within a second.
            let until_ms = now_ms + ms(TTL);
            self.known.values_mut().for_each(|one| one.until_ms = one.until_ms.max(until_ms));
        }
        let mut forgotten = Vec::new();
        for (field, json) in all {
            match serde_json::from_slice::<Announcement>(&json) {
                Ok(one) if one.until_ms + ms(FORGET_AFTER) < now_ms => forgotten.push(field),
                Ok(one) => _ = self.known.insert(one.node.id, one),
                Err(error) => debug!(%error, node = %field, "an announcement does not parse"),
            }
        }
        self.known.retain(|_, one| one.until_ms > now_ms && one.node.state != State::Left);
        self.tell(me);
        if !forgotten.is_empty() {
            let key = self.redis.connection().key(format_args!("nodes"));
            let forget = |_now_ms, pipeline: &mut redis::Pipeline| {
                pipeline.cmd("HDEL").arg(key).arg(forgotten).ignore();
            };
            self.redis.connection().request::<()>(forget).await;
        }
    }

    /// Publishes what changed; of this node, what it says itself.
    fn tell(&self, me: Node) {
        let mut all: BTreeMap<NodeId, Node> =
            self.known.values().map(|one| (one.node.id, one.node.clone())).collect();
        all.insert(me.id, me);
        let nodes: Arc<[Node]> = all.into_values().collect();
        let transfers = transfers_of(&nodes);
        self.transfers.send_if_modified(|known| replace(known, transfers));
        self.nodes.send_if_modified(|known| replace(known, nodes));
    }
}

fn replace<T: PartialEq>(old: &mut T, new: T) -> bool {
    let differs = *old != new;
    *old = new;
    differs
}

fn transfers_of(nodes: &[Node]) -> Vec<NodeId> {
    let serving = |node: &&Node| node.is(Role::Transfer) && node.state == State::Serving;
    let mut ids: Vec<_> = nodes.iter().filter(serving).map(|node| node.id).collect();
    ids.sort_unstable();
    ids
}

fn drain_key(redis: &Redis, node: NodeId) -> String {
    redis.connection().key(format_args!("drain:{node}"))
}
