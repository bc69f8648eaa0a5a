//! Finds what lost doorbells left: looks at the store for all sessions, again and again. Needed
//! where somebody else commits too, or where the answer to a commit can get lost.

use std::{sync::Arc, time::Duration};

use anser_store::Store;
use tracing::warn;

use super::registry::{Registry, SHARDS};

/// How late an entry whose doorbell was lost may be (DESIGN section 4).
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Sessions of one look at the store.
const SESSIONS_MAX: usize = 1000;

/// Sweeps until it is dropped. The shards take turns, so that the work is spread evenly.
pub(crate) async fn run(store: Arc<dyn Store>, registry: Arc<Registry>) {
    let mut turns = tokio::time::interval(SWEEP_EVERY / SHARDS as u32);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for shard in (0..SHARDS).cycle() {
        turns.tick().await;
        for sessions in registry.sessions(shard).chunks(SESSIONS_MAX) {
            match store.sweep(sessions.to_vec()).await {
                Ok(swept) => registry.swept(swept),
                Err(error) => warn!(%error, "a sweep failed; the next one tries again"),
            }
        }
    }
}
