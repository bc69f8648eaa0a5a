//! Retention: prunes inbox entries that are old and that every device seen since has passed, and
//! removes files that no message names. History, and the files it names, are not touched.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::FileId;
use anser_store::{FileExpiry, Store};
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, warn};

use crate::{
    clock, config,
    files::{Failure, Files},
    metrics::{PRUNED_ENTRIES_TOTAL, RETENTION_STOPPED},
};

/// How often the job looks.
const INTERVAL: Duration = Duration::from_secs(600);
/// Rows of one transaction: short enough to hide between two commits.
const ROWS_PER_STEP: usize = 1_000;
/// Files of one transaction.
const FILES_PER_STEP: usize = 100;
/// A wall clock that moved more than this against the monotonic one is wrong now or was before:
/// pruning by it could delete what is needed (DESIGN section 4).
const CLOCK_JUMP_MAX_MS: u64 = 24 * 3600 * 1000;

/// Prunes for ever. Ends only when the clock jumped; a restart, by a person who looked, resumes it.
pub async fn run(store: Arc<dyn Store>, files: Files, config: config::Retention) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // There from the start, so that an alarm can tell "fine" from "missing".
    metrics::gauge!(RETENTION_STOPPED).set(0.0);
    metrics::counter!(PRUNED_ENTRIES_TOTAL).increment(0);
    let (wall_start, start) = (clock::now_ms(), Instant::now());
    loop {
        ticks.tick().await;
        let now_ms = clock::now_ms();
        if jumped(wall_start, now_ms, start.elapsed()) {
            error!("the clock moved by more than a day: retention stops until the next start");
            metrics::gauge!(RETENTION_STOPPED).set(1.0);
            return;
        }
        prune(&*store, before(now_ms, config.inbox)).await;
        collect(&*store, &files, now_ms).await;
    }
}

async fn prune(store: &dyn Store, older_than_ms: u64) {
    loop {
        match store.prune(older_than_ms, ROWS_PER_STEP).await {
            Ok(0) => return,
            Ok(rows) => {
                debug!(rows, "pruned inbox entries");
                metrics::counter!(PRUNED_ENTRIES_TOTAL).increment(rows);
            }
            Err(error) => {
                warn!(%error, "pruning failed; the next round tries again");
                return;
            }
        }
    }
}

/// Removes the bytes of files that nobody waits for, then forgets them: whatever was cut short is
/// found again by the next round.
pub(crate) async fn collect(store: &dyn Store, files: &Files, now_ms: u64) {
    let expiry = FileExpiry {
        incomplete_before_ms: before(now_ms, files.config().unfinished_kept),
        complete_before_ms: before(now_ms, files.config().unsent_kept),
        files_max: FILES_PER_STEP,
    };
    loop {
        let step = async {
            let mut removed = Vec::new();
            for file in store.expire_files(expiry).await? {
                match remove(files, file).await {
                    Ok(true) => removed.push(file),
                    // To one that has ended somebody can write for a little while.
                    Ok(false) => {}
                    Err(Failure::Away(error)) => {
                        warn!(%error, "the store of files is away; the next round tries again");
                        break;
                    }
                    Err(error) => warn!(%file, %error, "a file can not be removed"),
                }
            }
            let count = removed.len();
            store.forget_files(removed).await?;
            anyhow::Ok(count)
        };
        match step.await {
            Ok(0) => return,
            Ok(count) => debug!(count, "removed files that no message names"),
            Err(error) => {
                warn!(%error, "removing files failed; the next round tries again");
                return;
            }
        }
    }
}

/// Whether it is gone; else somebody writes to it.
async fn remove(files: &Files, file: FileId) -> Result<bool, Failure> {
    let Some(writing) = files.writing(file).await? else { return Ok(false) };
    files.remove(writing).await?;
    Ok(true)
}

/// The moment so long ago.
fn before(now_ms: u64, ago: Duration) -> u64 {
    now_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))
}

fn jumped(wall_start_ms: u64, wall_now_ms: u64, elapsed: Duration) -> bool {
    let expected = wall_start_ms + u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    wall_now_ms.abs_diff(expected) > CLOCK_JUMP_MAX_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_along_is_trusted() {
        let day = 24 * 3600 * 1000;
        let elapsed = Duration::from_secs(3600);
        assert!(!jumped(1_000_000, 1_000_000 + 3_600_000, elapsed));
        assert!(!jumped(1_000_000, 1_000_000 + 3_600_000 + day, elapsed));
        assert!(jumped(1_000_000, 1_000_000 + 3_600_000 + day + 1, elapsed));
        assert!(jumped(10 * day, 8 * day, elapsed), "back too");
    }
}
