//! Records that wait inside one process, in order, up to a bound.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anser_store::Record;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};

#[cfg(test)]
mod tests;

/// Records that may wait, over all sessions: sixteen batches, more only adds latency.
const RECORDS_MAX: usize = 4096;
/// Records of one batch: the embedded store's commit is no faster with more (DESIGN section 6).
pub(crate) const BATCH_RECORDS_MAX: usize = 256;
/// Bytes of commands in one batch.
pub(super) const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// What waited, up to a batch.
#[derive(Debug)]
pub struct Waited {
    /// In the order of `publish`.
    pub records: Vec<Record>,
    /// When the oldest of them was published.
    pub published: Instant,
}

/// The queue is closed: the server is stopping.
#[derive(Debug, thiserror::Error)]
#[error("the queue is closed")]
pub struct Closed;

/// A bounded list of records with two ends.
#[derive(Debug)]
pub struct Lane {
    waiting: Mutex<Waiting>,
    filled: Notify,
    room: Semaphore,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<(Record, Instant)>,
    closed: bool,
}

impl Default for Lane {
    fn default() -> Self {
        Self { waiting: Mutex::default(), filled: Notify::new(), room: Semaphore::new(RECORDS_MAX) }
    }
}

impl Lane {
    /// Hands records over, all of them together and in order; waits while the queue is full.
    /// `records` is drained, its capacity stays with the caller.
    ///
    /// # Errors
    /// [`Closed`]: nothing was handed over.
    pub async fn publish(&self, records: &mut Vec<Record>, now: Instant) -> Result<(), Closed> {
        while !records.is_empty() {
            let share = records.len().min(RECORDS_MAX);
            let permits = u32::try_from(share).expect("a share is at most RECORDS_MAX");
            let room = self.room.acquire_many(permits).await.map_err(|_| Closed)?;
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return Err(Closed);
            }
            room.forget();
            waiting.records.extend(records.drain(..share).map(|record| (record, now)));
            drop(waiting);
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for records and takes what is there, up to a batch. `None`: closed and empty.
    /// Only one task takes.
    pub async fn take(&self) -> Option<Waited> {
        self.take_unhurried(Duration::ZERO).await
    }

    /// As [`take`](Self::take); but acks that wait alone, which nobody waits for, are left for
    /// `patience` to go with the next command.
    pub async fn take_unhurried(&self, patience: Duration) -> Option<Waited> {
        loop {
            let filled = self.filled.notified();
            let left = {
                let mut waiting = self.waiting.lock();
                let left = waiting.unhurried(patience);
                if left.is_none() {
                    if let Some(taken) = waiting.take() {
                        self.room.add_permits(taken.records.len());
                        return Some(taken);
                    }
                    if waiting.closed {
                        return None;
                    }
                }
                left
            };
            match left {
                // Whichever comes first, what is there is looked at anew.
                Some(left) => drop(timeout(left, filled).await),
                None => filled.await,
            }
        }
    }

    /// Refuses further records; what waits can still be taken.
    pub fn close(&self) {
        self.waiting.lock().closed = true;
        self.room.close();
        self.filled.notify_one();
    }
}

impl Waiting {
    /// How long the oldest may still wait, if nothing says that it must go now.
    fn unhurried(&self, patience: Duration) -> Option<Duration> {
        let (_, published) = self.records.front()?;
        let left = patience.checked_sub(published.elapsed()).filter(|left| !left.is_zero())?;
        let many = self.records.len() >= BATCH_RECORDS_MAX;
        let acks = || self.records.iter().all(|(one, _)| matches!(one, Record::Ack { .. }));
        (!self.closed && !many && acks()).then_some(left)
    }

    fn take(&mut self) -> Option<Waited> {
        let published = self.records.front()?.1;
        let mut bytes = 0;
        let mut count = 0;
        for (record, _) in self.records.iter().take(BATCH_RECORDS_MAX) {
            bytes += bytes_of(record);
            if bytes > BATCH_BYTES_MAX && count > 0 {
                break;
            }
            count += 1;
        }
        let records = self.records.drain(..count).map(|(record, _)| record).collect();
        Some(Waited { records, published })
    }
}

/// What counts for [`BATCH_BYTES_MAX`].
pub(super) fn bytes_of(record: &Record) -> usize {
    match record {
        Record::Command { command, .. } => command.len(),
        Record::Ack { .. } => 0,
    }
}
