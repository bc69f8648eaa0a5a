//! Finds what lost doorbells left: looks at the store for all sessions, again and again. Needed
//! where somebody else commits too, or where the answer to a commit can get lost.

use std::{sync::Arc, time::Duration};

use anser_store::Store;
use tokio::sync::Notify;
use tracing::warn;

use super::registry::{Registry, SHARDS};

/// How late an entry whose doorbell was lost may be (DESIGN section 4).
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Sessions of one look at the store.
const SESSIONS_MAX: usize = 1000;

/// Sweeps until it is dropped: the shards take turns, so that the work is spread evenly. When
/// `soon` tells that many doorbells may have been lost, all of them at once.
pub(crate) async fn run(store: Arc<dyn Store>, registry: Arc<Registry>, soon: Arc<Notify>) {
    let mut turns = tokio::time::interval(SWEEP_EVERY / SHARDS as u32);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shards = (0..SHARDS).cycle();
    loop {
        let turn = tokio::select! {
            _ = turns.tick() => 1,
            () = soon.notified() => SHARDS,
        };
        for shard in shards.by_ref().take(turn) {
            sweep(&*store, &registry, shard).await;
        }
    }
}

async fn sweep(store: &dyn Store, registry: &Registry, shard: usize) {
    for sessions in registry.greeted(shard).chunks(SESSIONS_MAX) {
        match store.sweep(sessions.to_vec()).await {
            Ok(swept) => registry.swept(swept),
            Err(error) => warn!(%error, "a sweep failed; the next one tries again"),
        }
    }
}
