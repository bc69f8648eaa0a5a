//! Batches of a durable queue: they are not given back, so a store that can not take one now is
//! asked until it can, and a command that no store can take is told apart from the others.

use std::time::Duration;

use anser_proto::Code;
use anser_store::{Batch, Committed, Outcome, Record, Result, StoreError};
use futures_util::future::BoxFuture;
use tracing::{error, warn};

use super::Transfer;
use crate::clock;

/// Between two tries: the store itself was patient before.
const RETRY_AFTER: Duration = Duration::from_millis(200);

impl Transfer {
    /// Commits records, in one transaction if all of them can be.
    ///
    /// A batch that the store calls damaged is cut in halves, until it is known which record the
    /// damage is about. That one is refused with `internal`: its session ends, and the others go
    /// on.
    ///
    /// # Errors
    /// The server stops before the store took it.
    pub(super) fn persist(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Committed>> {
        Box::pin(async move {
            loop {
                let batch = Batch { records: records.clone(), now_ms: clock::now_ms() };
                match self.store.commit(batch).await {
                    Err(StoreError::Corrupt(why)) if records.len() > 1 => {
                        warn!(%why, records = records.len(), "a batch fails; cutting it in halves");
                        let mut first = records;
                        let second = first.split_off(first.len() / 2);
                        let first = self.persist(first).await?;
                        return Ok(joined(first, self.persist(second).await?));
                    }
                    Err(StoreError::Corrupt(why)) => {
                        error!(%why, record = ?name(&records), "the store can not take a record");
                        let outcomes = vec![Outcome::Refused(Code::Internal); records.len()];
                        return Ok(Committed { outcomes, ..Committed::default() });
                    }
                    Err(error) => {
                        warn!(%error, records = records.len(), "the store can not take a batch now");
                        tokio::select! {
                            () = self.stop.cancelled() => return Err(error),
                            () = tokio::time::sleep(RETRY_AFTER) => {}
                        }
                    }
                    Ok(committed) => return Ok(committed),
                }
            }
        })
    }
}

fn joined(mut first: Committed, second: Committed) -> Committed {
    first.outcomes.extend(second.outcomes);
    first.entries.extend(second.entries);
    first.sync = first.sync.zip(second.sync).map(|(one, other)| one + other);
    first
}

/// Whose it is, without what is in it.
fn name(records: &[Record]) -> Option<String> {
    match records.first()? {
        Record::Command { device, client_seq, .. } => Some(format!("{device}:{client_seq}")),
        Record::Ack { device, position, .. } => Some(format!("{device}: ack {position}")),
    }
}
