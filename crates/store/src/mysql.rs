//! The engine on a server: MySQL 8 or MariaDB 10.6 and later, one database, any number of
//! processes.
//!
//! Rows are locked where the embedded engine has its one writer: a batch locks what it needs, in an
//! order that is the same everywhere, applies the shared rule (`apply.rs`) and commits. What the
//! server answers "committed" to is durable there, which is checked at every connection. A
//! transaction that the server undid (deadlock), or whose end is not known because the answer was
//! lost, is run again: what it had done then shows as repeats.
//!
//! Input: the verbs of [`Store`](crate::Store). Not here: copies of the data and who is the
//! primary; that is the server's own business.

mod accounts;
mod devices;
mod dump;
mod failure;
mod files;
mod greet;
mod hot;
mod lists;
mod load;
mod migration;
mod open;
mod pool;
mod prune;
mod read;
mod relations;
mod script;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod tx;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub(crate) use dump::{export, import, new_epoch};
pub use migration::SCHEMA;
pub use open::{Checked, OpenError, check};

use crate::apply::Limits;
use failure::{Failure, Tries};
use pool::Pool;
use tx::{Mode, Tx};

/// How to open a store on a server.
#[derive(Clone)]
pub struct Options {
    /// `mysql://user:password@host:port/database`; the database must exist. Behind it may stand
    /// how the connection is encrypted, as in `?ssl-mode=VERIFY_IDENTITY&ssl-ca=/path/of/ca.pem`;
    /// without, it is where the server can do so, whoever the server is.
    pub url: String,
    /// Longest sealed body of a message, in bytes.
    pub body_bytes_max: usize,
    /// Most connections at a time; verbs wait beyond that.
    pub connections_max: usize,
    /// How long a verb tries again while the server is away or undoes it, before it answers
    /// `Unavailable`.
    pub patience: Duration,
    /// Serve although the server is set to answer before data is on its disk. For tests and
    /// throw-away data only: what was acked can be lost.
    pub weak_durability: bool,
}

impl Options {
    /// A store at `url` with bodies up to 16 KiB and 16 connections, tried for 5 seconds.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            body_bytes_max: 16 << 10,
            connections_max: 16,
            patience: Duration::from_secs(5),
            weak_durability: false,
        }
    }
}

/// The URL holds a password.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("connections_max", &self.connections_max).finish()
    }
}

/// A handle to an open store; a clone is the same store.
#[derive(Clone)]
pub struct Mysql {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Arc<Pool>,
    epoch: Arc<str>,
    limits: Limits,
    patience: Duration,
    counters: Counters,
    /// Where the next step of retention goes on.
    prune_cursor: AtomicU64,
}

/// Counters since start.
#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    messages: AtomicU64,
    /// Transactions that were run again.
    again: AtomicU64,
}

/// Runs work in a transaction, and again when the server undid it or its end is not known.
/// The work is evaluated anew for each try.
macro_rules! in_transaction {
    ($store:expr, $mode:expr, $tx:ident => $work:expr) => {{
        let store: &$crate::mysql::Mysql = $store;
        let mut tries = store.tries();
        loop {
            let attempt = async {
                let mut $tx = store.begin($mode).await?;
                let done = $work.await;
                $tx.end(done).await
            };
            if let Some(end) = tries.end(attempt).await {
                break end;
            }
        }
    }};
}
use in_transaction;

impl Mysql {
    async fn begin(&self, mode: Mode) -> Result<Tx, Failure> {
        Ok(Tx::new(self.inner.pool.take().await?, mode).of_epoch(Arc::clone(&self.inner.epoch)))
    }

    fn tries(&self) -> Tries<'_> {
        Tries::new(self.inner.patience, Some(&self.inner.counters.again))
    }
}
