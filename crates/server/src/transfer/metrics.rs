//! What the transfer counts. Handles are looked up once: the hot path only adds.

use std::time::Duration;

use anser_store::{Committed, Outcome};
use metrics::{Counter, Histogram, counter, histogram};

use crate::metrics::{
    COMMANDS_TOTAL, COMMIT_BATCH_RECORDS, COMMIT_DURATION_SECONDS, SYNC_DURATION_SECONDS,
};

/// The transfer's instruments.
pub(super) struct TransferMetrics {
    applied: Counter,
    repeated: Counter,
    refused: Counter,
    commit: Histogram,
    sync: Histogram,
    batch: Histogram,
}

impl TransferMetrics {
    pub(super) fn new() -> Self {
        let records = |outcome: &'static str| counter!(COMMANDS_TOTAL, "outcome" => outcome);
        Self {
            applied: records("applied"),
            repeated: records("repeated"),
            refused: records("refused"),
            commit: histogram!(COMMIT_DURATION_SECONDS),
            sync: histogram!(SYNC_DURATION_SECONDS),
            batch: histogram!(COMMIT_BATCH_RECORDS),
        }
    }

    pub(super) fn committed(&self, committed: &Committed, took: Duration) {
        let (mut repeated, mut refused) = (0, 0);
        for outcome in &committed.outcomes {
            match outcome {
                Outcome::Applied => {}
                Outcome::Repeat => repeated += 1,
                Outcome::Refused(_) => refused += 1,
            }
        }
        let all = committed.outcomes.len() as u64;
        self.applied.increment(all - repeated - refused);
        self.repeated.increment(repeated);
        self.refused.increment(refused);
        self.commit.record(took.as_secs_f64());
        self.batch.record(all as f64);
        if let Some(sync) = committed.sync {
            self.sync.record(sync.as_secs_f64());
        }
    }
}
