//! What the transfer counts. Handles are looked up once: the hot path only adds.

use std::time::Duration;

use anser_store::{Committed, Outcome};
use metrics::{Counter, Histogram, counter, histogram};

/// The transfer's instruments.
pub(super) struct TransferMetrics {
    applied: Counter,
    repeated: Counter,
    refused: Counter,
    entries: Counter,
    commit: Histogram,
    sync: Histogram,
    batch: Histogram,
}

impl TransferMetrics {
    pub(super) fn new() -> Self {
        let records = |outcome: &'static str| counter!("anser_records_total", "outcome" => outcome);
        Self {
            applied: records("applied"),
            repeated: records("repeated"),
            refused: records("refused"),
            entries: counter!("anser_entries_total"),
            commit: histogram!("anser_commit_seconds"),
            sync: histogram!("anser_sync_seconds"),
            batch: histogram!("anser_batch_records"),
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
        self.entries.increment(committed.entries.len() as u64);
        self.commit.record(took.as_secs_f64());
        self.batch.record(all as f64);
        if let Some(sync) = committed.sync {
            self.sync.record(sync.as_secs_f64());
        }
    }
}
