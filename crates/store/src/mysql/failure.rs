//! What a failure means: run the transaction again, or tell the caller which of the three kinds.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sqlx::mysql::MySqlDatabaseError;

use crate::{Result, StoreError};

/// Why a transaction did not end.
#[derive(Debug)]
pub(super) enum Failure {
    /// Run it again: it was undone, or the connection was lost and its end is not known.
    Again(String),
    /// A key exists that was not there a moment ago: somebody else was faster, and the next run
    /// sees their row. If it does not, rows contradict each other.
    Duplicate(String),
    /// Nothing that another run would mend.
    Store(StoreError),
}

impl Failure {
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Store(StoreError::Corrupt(what.into()))
    }

    pub(super) fn unavailable(why: impl Into<String>) -> Self {
        Self::Store(StoreError::Unavailable(why.into()))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(told) => match told.try_downcast_ref::<MySqlDatabaseError>() {
                Some(told) => of_server(told.number(), told.message()),
                None => Self::unavailable(error.to_string()),
            },
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::TypeNotFound { .. } => Self::corrupt(error.to_string()),
            sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => {
                Self::unavailable(error.to_string())
            }
            // What the server did with the last statement nobody knows.
            _ => Self::Again(format!("the connection to the server was lost: {error}")),
        }
    }
}

/// By the server's error number, which MySQL and MariaDB share where it matters here.
fn of_server(number: u16, message: &str) -> Failure {
    let text = format!("the server says {number}: {message}");
    match number {
        // Undone: deadlock, lock wait timeout, a row or table that changed below a snapshot.
        1213 | 1205 | 1020 | 1412 | 1615 => Failure::Again(text),
        // Going down, cut off, or full of connections; read-only while another one takes over.
        1040 | 1053 | 1152..=1161 | 1203 | 1290 | 1317 | 1836 | 1927 | 3024 | 4031 => {
            Failure::Again(text)
        }
        1062 | 1586 => Failure::Duplicate(text),
        1021 | 1114 | 3675 => Failure::Store(StoreError::DiskFull),
        // Errors of a file operation, of which 28 is the system's "no space left".
        1026 | 1030 if message.contains("28") => Failure::Store(StoreError::DiskFull),
        // A damaged table or index, or one that is not there.
        126 | 127 | 145 | 1034 | 1035 | 1054 | 1146 | 1194 | 1195 | 1712 | 1877 => {
            Failure::corrupt(text)
        }
        _ => Failure::unavailable(text),
    }
}

/// How often and how long something is tried.
pub(super) struct Tries<'a> {
    started: Instant,
    patience: Duration,
    count: u32,
    duplicates: u32,
    again: Option<&'a AtomicU64>,
}

impl<'a> Tries<'a> {
    pub(super) fn new(patience: Duration, again: Option<&'a AtomicU64>) -> Self {
        Self { started: Instant::now(), patience, count: 0, duplicates: 0, again }
    }

    /// Runs one attempt, within a limit; gives how it all ended, or `None` for another attempt,
    /// after a pause.
    pub(super) async fn end<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> Option<Result<T>> {
        self.end_within(ATTEMPT_MAX, attempt).await
    }

    /// The same, for what may take longer.
    pub(super) async fn end_within<T>(
        &mut self,
        limit: Duration,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> Option<Result<T>> {
        let why = match within(limit, attempt).await {
            Ok(done) => return Some(Ok(done)),
            Err(Failure::Store(error)) => return Some(Err(error)),
            Err(Failure::Duplicate(why)) => {
                self.duplicates += 1;
                if self.duplicates > DUPLICATES_MAX {
                    return Some(Err(StoreError::Corrupt(why)));
                }
                why
            }
            Err(Failure::Again(why)) => why,
        };
        if self.started.elapsed() >= self.patience {
            return Some(Err(StoreError::Unavailable(why)));
        }
        tracing::debug!(%why, "a transaction is run again");
        if let Some(again) = self.again {
            again.fetch_add(1, Relaxed);
        }
        self.count += 1;
        tokio::time::sleep(pause(self.count)).await;
        None
    }
}

/// One attempt, ended when the server is silent for too long.
pub(super) async fn in_time<T>(
    attempt: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    within(ATTEMPT_MAX, attempt).await
}

async fn within<T>(
    limit: Duration,
    attempt: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let tried = tokio::time::timeout(limit, attempt).await;
    tried.unwrap_or_else(|_| Err(Failure::Again(format!("no answer within {} s", limit.as_secs()))))
}

/// Random, so that two that were in each other's way part; longer when that did not help.
fn pause(count: u32) -> Duration {
    let most = 2_000_u64 << count.min(7);
    let random = getrandom::u64().expect("the operating system gives random bytes");
    Duration::from_micros(random % most)
}

/// Longer than any lock wait and sync: a server that is silent for so long is cut off.
const ATTEMPT_MAX: Duration = Duration::from_secs(20);
/// A race for a key is lost once or twice, not for ever.
const DUPLICATES_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_has_one_meaning() {
        let kind = |number, message| match of_server(number, message) {
            Failure::Again(_) => "again",
            Failure::Duplicate(_) => "duplicate",
            Failure::Store(StoreError::DiskFull) => "full",
            Failure::Store(StoreError::Corrupt(_)) => "corrupt",
            Failure::Store(StoreError::Unavailable(_)) => "unavailable",
        };
        assert_eq!(kind(1213, "Deadlock found"), "again");
        assert_eq!(kind(1040, "Too many connections"), "again");
        assert_eq!(kind(1062, "Duplicate entry"), "duplicate");
        assert_eq!(kind(1114, "The table 'im_inbox' is full"), "full");
        assert_eq!(kind(1030, "Got error 28 from storage engine"), "full");
        assert_eq!(kind(1030, "Got error 5 from storage engine"), "unavailable");
        assert_eq!(kind(1146, "Table doesn't exist"), "corrupt");
        assert_eq!(kind(1045, "Access denied"), "unavailable");
    }
}
