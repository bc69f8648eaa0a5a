//! Presence: which connectors hold sessions of a user, where there are several.
//!
//! It only says where to ring. What it does not know, or says wrongly, costs latency: the sweep
//! finds what a lost doorbell told of. So none of this fails, and none of it waits for long.

pub mod redis;

use anser_proto::{NodeId, SessionId, UserId};
use anser_store::LiveSession;
use async_trait::async_trait;

/// Where users are connected.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// A session began at this node; from then on it is renewed until it ends. Answers the sessions
    /// of the same device that other nodes hold, as far as it is known: they can be told that they
    /// are replaced. Of two Hellos at once at most one is answered the other.
    async fn online(&self, session: LiveSession) -> Vec<(NodeId, SessionId)>;
    /// It ended here. What another node, or a later session, said of the device meanwhile stays.
    async fn offline(&self, session: LiveSession);
    /// The connectors that hold sessions of these users, each once with the users that it has.
    /// `None`: it is not known, all connectors are to be asked.
    async fn locate(&self, users: Vec<UserId>) -> Option<Vec<(NodeId, Vec<UserId>)>>;
}
