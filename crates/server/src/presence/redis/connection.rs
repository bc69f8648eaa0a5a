//! The connection to Redis: every request is bounded, none fails loudly, and while Redis is away
//! none waits.
//!
//! A keeper looks every second. It connects, notes the clock of Redis, and finds out whether Redis
//! forgot what it was told: after a restart, a FLUSHALL, or a change to a replica that lags.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::NodeId;
use metrics::{counter, gauge};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult,
    ServerErrorKind, aio::MultiplexedConnection,
};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::ms;
use crate::metrics::{REDIS_FAILURES_TOTAL, REDIS_UP};

/// No request takes longer. A Hello waits for one, once: then Redis counts as away.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_millis(300);
/// How often the keeper looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The keeper's mark of this node is there for so long after it last looked.
const MARK_TTL: Duration = Duration::from_secs(60);
/// What Redis refuses is said once in this time.
const REFUSED_LOG_EVERY: Duration = Duration::from_secs(10);

/// A connection that comes back by itself. Dropped, it ends.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    _keeper: AbortOnDropHandle<()>,
}

struct Shared {
    client: Client,
    config: AsyncConnectionConfig,
    name: String,
    here: NodeId,
    state: Mutex<State>,
    forgot: Notify,
}

#[derive(Default)]
struct State {
    up: Option<Up>,
    /// Tells one connection from the next.
    connects: u64,
    /// Whether its absence was said.
    said_away: bool,
    said_refused: Option<Instant>,
}

#[derive(Clone)]
struct Up {
    connection: MultiplexedConnection,
    connect: u64,
    /// The clock of Redis, and when it was read.
    time_ms: u64,
    read: Instant,
}

impl Connection {
    pub(super) fn start(url: &str, name: &str, here: NodeId) -> Result<Self, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(REQUEST_TIMEOUT))
            .set_response_timeout(Some(REQUEST_TIMEOUT));
        let shared = Arc::new(Shared {
            client: Client::open(url)?,
            config,
            name: name.to_owned(),
            here,
            state: Mutex::default(),
            forgot: Notify::new(),
        });
        gauge!(REDIS_UP).set(0.0);
        let keeper = tokio::spawn(keep(shared.clone()));
        Ok(Self { shared, _keeper: AbortOnDropHandle::new(keeper) })
    }

    pub(super) fn is_up(&self) -> bool {
        self.shared.state.lock().up.is_some()
    }

    /// Waits until Redis was found not to know all that this node told it.
    pub(super) async fn forgot(&self) {
        self.shared.forgot.notified().await;
    }

    /// A key of this cluster.
    pub(crate) fn key(&self, rest: fmt::Arguments<'_>) -> String {
        self.shared.key(rest)
    }

    /// One round trip. `fill` gets the time by the clock of Redis, in milliseconds. `None`: Redis
    /// is away or refuses it, which is counted, and logged at its beginning.
    pub(crate) async fn request<T: FromRedisValue>(
        &self,
        fill: impl FnOnce(u64, &mut Pipeline) + Send,
    ) -> Option<T> {
        let up = self.shared.state.lock().up.clone();
        let Some(mut up) = up else {
            counter!(REDIS_FAILURES_TOTAL).increment(1);
            return None;
        };
        let mut pipeline = redis::pipe();
        fill(up.time_ms + ms(up.read.elapsed()), &mut pipeline);
        match within(pipeline.query_async(&mut up.connection)).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.shared.failed(up.connect, &error);
                None
            }
        }
    }
}

async fn keep(shared: Arc<Shared>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let up = shared.state.lock().up.clone();
        let known = up.as_ref().map_or(0, |up| up.connect);
        if let Err(error) = shared.look(up).await {
            shared.failed(known, &error);
        }
    }
}

impl Shared {
    fn key(&self, rest: fmt::Arguments<'_>) -> String {
        format!("{}:{rest}", self.name)
    }

    /// Looks whether Redis is there, over the connection if there is one.
    async fn look(&self, up: Option<Up>) -> RedisResult<()> {
        let connection = match &up {
            Some(up) => up.connection.clone(),
            None => {
                let connect =
                    self.client.get_multiplexed_async_connection_with_config(&self.config);
                within(connect).await?
            }
        };
        let mark = self.key(format_args!("knows:{}", self.here));
        let mut look = redis::pipe();
        look.cmd("TIME").cmd("EXISTS").arg(&mark);
        look.cmd("SET").arg(&mark).arg(1).arg("PX").arg(ms(MARK_TTL)).ignore();
        let mut asked = connection.clone();
        let answer = within(look.query_async(&mut asked)).await?;
        let ((seconds, micros), knows): ((u64, u64), bool) = answer;
        self.answered(connection, seconds * 1000 + micros / 1000, up.is_none());
        // What was asked while it was away, it never heard.
        if !knows || up.is_none() {
            self.forgot.notify_one();
        }
        Ok(())
    }

    fn answered(&self, connection: MultiplexedConnection, time_ms: u64, is_new: bool) {
        let mut state = self.state.lock();
        if is_new {
            state.connects += 1;
            info!("Redis answers");
        } else if state.up.is_none() {
            // Another request found it too slow meanwhile; the next look connects again.
            return;
        }
        state.said_away = false;
        let connect = state.connects;
        state.up = Some(Up { connection, connect, time_ms, read: Instant::now() });
        gauge!(REDIS_UP).set(1.0);
    }

    fn failed(&self, connect: u64, error: &RedisError) {
        counter!(REDIS_FAILURES_TOTAL).increment(1);
        let mut state = self.state.lock();
        // One that became a replica is not the one to talk to any more: whoever is, has its name.
        let demoted = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
        let is_away =
            demoted || error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error();
        if !is_away {
            let now = Instant::now();
            let is_old = |said: Instant| now.duration_since(said) > REFUSED_LOG_EVERY;
            if state.said_refused.is_none_or(is_old) {
                state.said_refused = Some(now);
                warn!(%error, "Redis refuses a request");
            }
            return;
        }
        if state.up.as_ref().is_some_and(|up| up.connect == connect) {
            state.up = None;
            gauge!(REDIS_UP).set(0.0);
        }
        if state.up.is_none() && !std::mem::replace(&mut state.said_away, true) {
            warn!(%error, "Redis is away; until it is back, news to other nodes come later");
        }
    }
}

/// Like the driver's own limits, which do not cover all of its waits.
async fn within<T>(request: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    tokio::time::timeout(REQUEST_TIMEOUT, request).await.map_err(late)?
}
