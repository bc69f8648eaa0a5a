//! Connections: made when they are needed, checked once, kept while they are fresh.
//!
//! Not sqlx's own pool, which asks the server for a sign of life at each return and keeps what a
//! cancelled caller left. Here a connection comes back only when its transaction is known to have
//! ended; all others are closed, which undoes what they began.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;
use super::server;

/// The connections of a store.
pub(super) struct Pool {
    options: MySqlConnectOptions,
    weak_durability: bool,
    /// The last used one is the last.
    idle: Mutex<Vec<Idle>>,
    room: Arc<Semaphore>,
    connections_max: u32,
    /// What is to be known of the server was told.
    doubted: AtomicBool,
}

struct Idle {
    connection: MySqlConnection,
    since: Instant,
}

/// A connection in use. Dropped, it is closed.
pub(super) struct Conn {
    pool: Arc<Pool>,
    pub(super) connection: MySqlConnection,
    _room: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(options: MySqlConnectOptions, connections_max: usize, weak: bool) -> Self {
        let connections_max = u32::try_from(connections_max.max(1)).unwrap_or(u32::MAX);
        let room = Arc::new(Semaphore::new(connections_max as usize));
        let doubted = AtomicBool::new(false);
        let (weak_durability, idle) = (weak, Mutex::default());
        Self { options, weak_durability, idle, room, connections_max, doubted }
    }

    /// A connection that is not in a transaction.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Conn, Failure> {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_| Failure::unavailable("the store is closed"))?;
        let fresh = self.fresh();
        let connection = match fresh {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Conn { pool: Arc::clone(self), connection, _room: room })
    }

    async fn connect(&self) -> Result<MySqlConnection, Failure> {
        let (connection, server) = server::connect(&self.options, self.weak_durability).await?;
        if let Some(doubt) = server.doubt()
            && !self.doubted.swap(true, Relaxed)
        {
            tracing::warn!("{doubt}");
        }
        Ok(connection)
    }

    /// The last used idle connection, if it is not too old; then the others are older.
    fn fresh(&self) -> Option<MySqlConnection> {
        let mut idle = self.idle();
        let last = idle.pop()?;
        if last.since.elapsed() > IDLE_MAX {
            idle.clear();
            return None;
        }
        Some(last.connection)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what is under way, and lets nothing begin.
    pub(super) async fn close(&self) {
        let all = self.room.acquire_many(self.connections_max).await;
        self.room.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle());
        for one in idle {
            let _ = one.connection.close().await;
        }
    }
}

impl Conn {
    /// Gives it back; its transaction has ended.
    pub(super) fn give_back(self) {
        let Self { pool, connection, .. } = self;
        if !pool.room.is_closed() {
            pool.idle().push(Idle { connection, since: Instant::now() });
        }
    }

    /// The connection was lost. The server went away, so the idle ones are of no use either.
    pub(super) fn lost(self) {
        self.pool.idle().clear();
    }
}

/// Well below [`server::IDLE_SECONDS`], after which the server closes it.
const IDLE_MAX: Duration = Duration::from_secs(server::IDLE_SECONDS / 3);
