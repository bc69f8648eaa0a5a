//! Presence on Redis, shared by all nodes of a cluster.
//!
//! One sorted set per user, `anser:at:USER`: a member for each session, `NODE:DEVICE:SESSION`, its
//! score the time, by the clock of Redis, until which it is believed. A session only ever removes
//! its own member, so the late end of an older one can not undo a newer one.
//!
//! Nothing here is kept for ever: what its node does not renew ends by itself. Nothing here is
//! precious: after Redis lost everything, one pass over the registry puts it back.

mod check;
mod connection;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use anser_proto::{DeviceId, NodeId, SessionId, UserId};
use anser_store::LiveSession;
use async_trait::async_trait;
use redis::{Pipeline, RedisError};

pub use check::{Check, check};
pub(crate) use connection::Connection;

use super::Presence;
use crate::connector::{Registry, SHARDS};

/// A session is believed for so long after its last renewal: a node that died is rung in vain for
/// a minute at most, which costs next to nothing.
const TTL: Duration = Duration::from_secs(60);
/// Three renewals fit into it, so two may be lost.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Sessions renewed, or users looked up, in one request: about a millisecond of Redis's one thread.
const REQUEST_MAX: usize = 500;

/// Presence of this node's sessions, and where those of all nodes are.
pub struct Redis {
    connection: Connection,
    here: NodeId,
    times: Times,
}

/// How long things are believed; a test is in a hurry.
#[derive(Clone, Copy, Debug)]
struct Times {
    ttl: Duration,
    renew_every: Duration,
}

impl Redis {
    /// Connects in the background, and again whenever the connection is lost. `name` begins all
    /// keys, so that several clusters can share a server; `here` is this run of this process.
    ///
    /// # Errors
    /// The URL is none of a Redis server.
    pub fn start(url: &str, name: &str, here: NodeId) -> Result<Arc<Self>, RedisError> {
        Self::start_with(url, name, here, Times { ttl: TTL, renew_every: RENEW_EVERY })
    }

    fn start_with(
        url: &str,
        name: &str,
        here: NodeId,
        times: Times,
    ) -> Result<Arc<Self>, RedisError> {
        let connection = Connection::start(url, name, here)?;
        Ok(Arc::new(Self { connection, here, times }))
    }

    /// Whether Redis answered lately.
    pub fn is_up(&self) -> bool {
        self.connection.is_up()
    }

    /// Which node it speaks for.
    pub fn here(&self) -> NodeId {
        self.here
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Keeps the sessions of this registry alive until it is dropped. The shards take turns, so
    /// that the work is spread evenly; after a loss of Redis all of them are put back at once.
    pub async fn renew(self: Arc<Self>, registry: Arc<Registry>) {
        let mut turns = tokio::time::interval(self.times.renew_every / SHARDS as u32);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for shard in (0..SHARDS).cycle() {
            tokio::select! {
                _ = turns.tick() => self.renew_sessions(&registry.sessions(shard)).await,
                () = self.connection.forgot() => {
                    for shard in 0..SHARDS {
                        self.renew_sessions(&registry.sessions(shard)).await;
                    }
                }
            }
        }
    }

    async fn renew_sessions(&self, sessions: &[LiveSession]) {
        for sessions in sessions.chunks(REQUEST_MAX) {
            let renew = |now_ms, pipeline: &mut Pipeline| {
                for session in sessions {
                    self.put(pipeline, now_ms, session);
                }
            };
            self.connection.request::<()>(renew).await;
        }
    }

    fn put(&self, pipeline: &mut Pipeline, now_ms: u64, session: &LiveSession) {
        let (key, ttl_ms) = (self.key(session.user), ms(self.times.ttl));
        let until_ms = now_ms + ttl_ms;
        pipeline.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(now_ms).ignore();
        pipeline.cmd("ZADD").arg(&key).arg(until_ms).arg(self.member(session)).ignore();
        pipeline.cmd("PEXPIRE").arg(&key).arg(ttl_ms).ignore();
    }

    fn key(&self, user: UserId) -> String {
        self.connection.key(format_args!("at:{user}"))
    }

    fn member(&self, session: &LiveSession) -> String {
        let LiveSession { device, session, .. } = session;
        Member { node: self.here, device: *device, session: *session }.to_string()
    }
}

#[async_trait]
impl Presence for Redis {
    async fn online(&self, session: LiveSession) -> Vec<(NodeId, SessionId)> {
        let begin = |now_ms, pipeline: &mut Pipeline| {
            // Read before it is written: of two at once never both see the other.
            let key = self.key(session.user);
            pipeline.cmd("ZRANGEBYSCORE").arg(key).arg(now_ms).arg("+inf");
            self.put(pipeline, now_ms, &session);
        };
        let answer = self.connection.request::<(Vec<String>,)>(begin).await;
        let (before,) = answer.unwrap_or_default();
        let before = before.iter().filter_map(|member| Member::parse(member));
        let elsewhere = before.filter(|one| one.device == session.device && one.node != self.here);
        elsewhere.map(|one| (one.node, one.session)).collect()
    }

    async fn offline(&self, session: LiveSession) {
        let end = |_now_ms, pipeline: &mut Pipeline| {
            let (key, member) = (self.key(session.user), self.member(&session));
            pipeline.cmd("ZREM").arg(key).arg(member).ignore();
        };
        self.connection.request::<()>(end).await;
    }

    async fn locate(&self, users: Vec<UserId>) -> Option<Vec<(NodeId, Vec<UserId>)>> {
        let mut at = BTreeMap::<NodeId, Vec<UserId>>::new();
        for users in users.chunks(REQUEST_MAX) {
            let look = |now_ms, pipeline: &mut Pipeline| {
                for user in users {
                    let key = self.key(*user);
                    pipeline.cmd("ZRANGEBYSCORE").arg(key).arg(now_ms).arg("+inf");
                }
            };
            let found = self.connection.request::<Vec<Vec<String>>>(look).await?;
            for (user, members) in users.iter().zip(found) {
                let members = members.iter().filter_map(|member| Member::parse(member));
                for node in members.map(|member| member.node).collect::<BTreeSet<_>>() {
                    at.entry(node).or_default().push(*user);
                }
            }
        }
        Some(at.into_iter().collect())
    }
}

/// A session, as Redis keeps it.
struct Member {
    node: NodeId,
    device: DeviceId,
    session: SessionId,
}

impl Member {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let node = parts.next()?.parse().ok()?;
        let device = parts.next()?.parse().ok()?;
        let session = parts.next()?.parse().ok()?;
        Some(Self { node, device, session })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.node, self.device, self.session)
    }
}

/// Whole milliseconds, as Redis counts.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
