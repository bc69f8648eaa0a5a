//! One connection to RabbitMQ, made again whenever it is lost.
//!
//! lapin can recover a connection by itself; that is off. Which bytes were confirmed, and which
//! delivery belongs to which connection, must be known exactly, so a lost connection is lost: each
//! one has a number, and its users begin anew with the next.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Event, tcp::AMQPUriTcpExt as _,
    uri::AMQPUri,
};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Error, Options, declare};
use crate::metrics::QUEUE_UP as UP;

/// The end of the parts that use the connection; a cheap clone.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    state: watch::Receiver<Option<Session>>,
    broken: mpsc::Sender<u64>,
}

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Rises with each connection.
    pub(super) number: u64,
    pub(super) connection: Arc<Connection>,
    /// RabbitMQ is short of memory or disk, and asks to publish nothing.
    pub(super) blocked: bool,
}

/// Makes the connections.
pub(super) struct Keeper {
    options: Arc<Options>,
    /// `publisher` or `consumer`, for logs and metrics.
    end: &'static str,
    state: watch::Sender<Option<Session>>,
    broken: mpsc::Receiver<u64>,
    done: CancellationToken,
}

/// A connection, and what ends it when its thread does not.
pub(super) struct Connected {
    pub(super) connection: Arc<Connection>,
    socket: Socket,
}

/// The socket, for a hard end.
///
/// lapin gives each connection a thread, which ends with the socket. A server that was paused in a
/// handshake would keep it for ever.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<OwnedFd>>>);

impl Broker {
    /// Also gives what must run. It closes the connection and ends when `done` is cancelled.
    pub(super) fn new(
        options: Arc<Options>,
        end: &'static str,
        done: CancellationToken,
    ) -> (Self, Keeper) {
        let (state, seen) = watch::channel(None);
        let (report, broken) = mpsc::channel(REPORTS_MAX);
        (Self { state: seen, broken: report }, Keeper { options, end, state, broken, done })
    }

    /// Whether there is a connection that takes messages.
    pub(super) fn is_up(&self) -> bool {
        self.state.borrow().as_ref().is_some_and(|session| !session.blocked)
    }

    /// Waits for a connection. `None`: the keeper has ended.
    pub(super) async fn up(&mut self) -> Option<Session> {
        self.up_and(|_| true).await
    }

    /// Waits for a connection that takes messages. `None`: the keeper has ended.
    pub(super) async fn up_for_messages(&mut self) -> Option<Session> {
        self.up_and(|session| !session.blocked).await
    }

    async fn up_and(&mut self, fits: impl Fn(&Session) -> bool) -> Option<Session> {
        let fits = |state: &Option<Session>| state.as_ref().is_some_and(&fits);
        let session = self.state.wait_for(fits).await.ok()?.clone();
        // The last one stays to be seen.
        self.state.has_changed().ok()?;
        session
    }

    /// Waits until the connection with this number is over.
    pub(super) async fn over(&self, number: u64) {
        let mut state = self.state.clone();
        let other = |state: &Option<Session>| state.as_ref().is_none_or(|one| one.number != number);
        let _ = state.wait_for(other).await;
    }

    /// Asks for another connection than the one with this number, and waits until it is over.
    pub(super) async fn renew(&self, number: u64) {
        // Full: others have asked already.
        let _ = self.broken.try_send(number);
        self.over(number).await;
    }
}

impl Keeper {
    /// Connects again and again, until it is done. Dropped, it cuts the connection.
    pub(super) async fn run(mut self) {
        let done = self.done.clone();
        let mut waits = Waits::default();
        let mut told = String::new();
        let mut number = 0;
        loop {
            number += 1;
            let connected = tokio::select! {
                connected = connect(&self.options) => connected,
                () = done.cancelled() => return,
            };
            let since = Instant::now();
            let error = match connected {
                Ok(connected) => {
                    info!(end = self.end, "connected to RabbitMQ");
                    told.clear();
                    let lost = self.attend(number, connected).await;
                    metrics::gauge!(UP, "end" => self.end).set(0.0);
                    if done.is_cancelled() {
                        return;
                    }
                    waits.stood_for(since.elapsed());
                    lost
                }
                Err(error) => error.to_string(),
            };
            // The same words again and again would hide others.
            if error != told {
                warn!(end = self.end, %error, "no connection to RabbitMQ; trying again");
                told = error;
            }
            tokio::select! {
                () = sleep(waits.next()) => {}
                () = done.cancelled() => return,
            }
        }
    }

    /// Shows a connection until it is over; says why it is.
    async fn attend(&mut self, number: u64, connected: Connected) -> String {
        let connection = Arc::clone(&connected.connection);
        self.state.send_replace(Some(Session { number, connection, blocked: false }));
        let lost = self.watch(number, &connected.connection).await;
        if !self.done.is_cancelled() {
            // Before its users let go of it. lapin would cancel their subscriptions, each before it
            // closes its channel: the next in line would get later messages before those that
            // were not settled here went back to their place.
            connected.socket.shut_down();
        }
        self.state.send_replace(None);
        connected.close().await;
        lost
    }

    async fn watch(&mut self, number: u64, connection: &Connection) -> String {
        let mut events = Box::pin(connection.events_listener());
        // Should an event be missed, the status tells.
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                () = self.done.cancelled() => return "done".to_owned(),
                Some(broken) = self.broken.recv() => if broken == number {
                    return "a part of it failed".to_owned();
                },
                event = events.next() => match event {
                    Some(Event::Error(error)) => return error.to_string(),
                    Some(_) => {}
                    None => return "it ended".to_owned(),
                },
                _ = look.tick() => {}
            }
            if !connection.status().connected() {
                return "it is over".to_owned();
            }
            self.set_blocked(connection.status().blocked());
        }
    }

    fn set_blocked(&self, blocked: bool) {
        metrics::gauge!(UP, "end" => self.end).set(if blocked { 0.0 } else { 1.0 });
        self.state.send_if_modified(|state| {
            let Some(session) = state.as_mut().filter(|one| one.blocked != blocked) else {
                return false;
            };
            session.blocked = blocked;
            let (free, short) = ("RabbitMQ takes messages again", "RabbitMQ takes no messages now");
            warn!(end = self.end, "{}", if blocked { short } else { free });
            true
        });
    }
}

/// A connection on which all queues are as they must be.
pub(super) async fn connect(options: &Options) -> Result<Connected, Error> {
    let connected = open(options).await?;
    match timeout(CONNECT_TIME, declare::declare(&connected.connection, options)).await {
        Ok(Ok(())) => Ok(connected),
        Ok(Err(error)) => {
            connected.close().await;
            Err(error)
        }
        Err(_) => Err(Error::Silent(CONNECT_TIME)),
    }
}

/// A connection.
pub(super) async fn open(options: &Options) -> Result<Connected, Error> {
    let uri = uri(&options.url)?;
    let socket = Socket::default();
    let keep = socket.clone();
    let name = format!("{} {}", options.name, options.here);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime()?;
    let connected = Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let stream = uri.connect_async(&runtime).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                *keep.0.lock() = Some(plain.get_ref().as_fd().try_clone_to_owned()?);
            }
            Ok(stream)
        },
        properties,
    );
    match timeout(CONNECT_TIME, connected).await {
        Ok(connection) => Ok(Connected { connection: Arc::new(connection?), socket }),
        Err(_) => Err(Error::Silent(CONNECT_TIME)),
    }
}

/// Closes the channel to a queue, if that is answered in time.
pub(super) async fn close(channel: &Channel, queue: &str, patience: Duration) {
    if timeout(patience, channel.close(200, "OK".into())).await.is_err() {
        debug!(queue, "a channel did not close");
    }
}

impl Connected {
    /// Takes leave, if there is still somebody to take leave of.
    pub(super) async fn close(self) {
        if self.connection.status().connected() {
            let _ = timeout(CLOSE_TIME, self.connection.close(200, "OK".into())).await;
        }
    }
}

/// What lapin makes of the URL, and what it would take for something else.
pub(super) fn uri(url: &str) -> Result<AMQPUri, Error> {
    let mut uri: AMQPUri = url.parse().map_err(Error::Url)?;
    if !url.starts_with("amqp://") {
        return Err(Error::Url("only amqp:// is spoken here, without TLS".to_owned()));
    }
    if url.contains("://[") || url.contains("@[") {
        return Err(Error::Url("an IPv6 address needs a name in /etc/hosts or DNS".to_owned()));
    }
    if uri.vhost.is_empty() {
        "/".clone_into(&mut uri.vhost);
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    Ok(uri)
}

/// The thread holds the other clone as long as it runs.
impl Drop for Socket {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Socket {
    fn shut_down(&self) {
        if let Some(socket) = self.0.lock().take() {
            let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both);
        }
    }
}

/// Waits that grow with each failure in a row.
pub(super) struct Waits {
    shortest: Duration,
    longest: Duration,
    failures: u32,
}

impl Default for Waits {
    fn default() -> Self {
        Self::between(SHORTEST_WAIT, LONGEST_WAIT)
    }
}

impl Waits {
    /// The bound of the first one, and that which none exceeds.
    pub(super) fn between(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, failures: 0 }
    }

    /// The next wait, of the size of this failure's bound: between half of it and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let bound = self.bound();
        self.failures += 1;
        let random = getrandom::u32().unwrap_or(u32::MAX / 2);
        bound.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
    }

    /// How many there were in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// What lived longer than the longest wait did not fail at once.
    fn stood_for(&mut self, time: Duration) {
        if time > self.longest {
            self.failures = 0;
        }
    }

    fn bound(&self) -> Duration {
        self.shortest.saturating_mul(1 << self.failures.min(16)).min(self.longest)
    }
}

/// A few nodes knock, not many clients: often is cheap, and a message waits for it.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// RabbitMQ's own limit of a handshake.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// For a close that nobody needs.
const CLOSE_TIME: Duration = Duration::from_secs(1);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A dead connection is found after twice this.
const HEARTBEAT_S: u16 = 10;
/// Each part reports a connection once.
const REPORTS_MAX: usize = 64;
