//! How a client is set up.

use std::{sync::Arc, time::Duration};

use crate::{
    client::Client,
    credentials::Credentials,
    error::Result,
    event::{Events, Queue},
    model::Model,
    rest::Rest,
    shared::Shared,
    storage::{MemoryStorage, Storage},
    task::Task,
};

/// Commands that may wait while the server is away, unless told otherwise.
const OUTBOX_MAX: usize = 100_000;
/// Events that may wait for a slow reader, unless told otherwise.
const EVENTS_MAX: usize = 16_384;

/// How a client reaches connectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Frames right on TCP.
    #[default]
    Tcp,
    /// Frames in WebSocket messages, which pass through web proxies.
    WebSocket,
}

/// How the client is set up; see [`Client::builder`].
pub struct Builder {
    pub(crate) connector: Option<String>,
    pub(crate) transport: Transport,
    pub(crate) backoff: (Duration, Duration),
    server: String,
    storage: Box<dyn Storage>,
    events_max: usize,
    outbox_max: usize,
}

impl Builder {
    pub(crate) fn new(server: String) -> Self {
        Self {
            connector: None,
            transport: Transport::Tcp,
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            server,
            storage: Box::new(MemoryStorage::default()),
            events_max: EVENTS_MAX,
            outbox_max: OUTBOX_MAX,
        }
    }

    /// Connects there (`host:port`) instead of asking the server for its connectors, which it
    /// otherwise does before every connection, trying another one after each failure.
    #[must_use]
    pub fn connector(mut self, address: impl Into<String>) -> Self {
        self.connector = Some(address.into());
        self
    }

    /// How to connect; TCP when not set.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Where the device keeps its state; in memory when not set.
    #[must_use]
    pub fn storage(mut self, storage: impl Storage) -> Self {
        self.storage = Box::new(storage);
        self
    }

    /// Events that may wait for a slow reader before it is told
    /// [`Event::Lagged`](crate::Event::Lagged); 16,384 when not set.
    #[must_use]
    pub fn events_max(mut self, count: usize) -> Self {
        self.events_max = count;
        self
    }

    /// Commands that may wait while the server is away; 100,000 when not set. Each takes the length
    /// of its text and about 100 bytes.
    #[must_use]
    pub fn outbox_max(mut self, count: usize) -> Self {
        self.outbox_max = count;
        self
    }

    /// The shortest and the longest bound of the random wait before a reconnect; 100 ms and 10 s
    /// when not set. A wait is anything from nothing to the bound ("full jitter"), and the bound
    /// doubles with each failure.
    #[must_use]
    pub fn backoff(mut self, shortest: Duration, longest: Duration) -> Self {
        self.backoff = (shortest, longest);
        self
    }

    /// Opens the storage, logs in if this device never did, and starts the task that connects and
    /// stays connected. Returns before the connection stands: a device that logged in once works
    /// offline.
    ///
    /// # Errors
    /// `Storage`: it is damaged, or open elsewhere. On a first login also `Unreachable` (try again)
    /// and `Refused` (mostly `wrong_password`, `name_taken`, `rate_limited`).
    pub async fn open(mut self, credentials: impl Credentials) -> Result<(Client, Events)> {
        let rest = Rest::new(&self.server)?;
        let model = Model::new(self.storage.load()?)?;
        let storage = std::mem::replace(&mut self.storage, Box::new(MemoryStorage::default()));
        let events = Events(Queue::new(self.events_max));
        let shared = Shared::new(model, storage, events.0.clone(), rest, self.outbox_max);
        let shared = Arc::new(shared);
        let task = Task::new(shared.clone(), self, Box::new(credentials));
        task.prepare().await?;
        tokio::spawn(task.run());
        Ok((Client::new(shared), events))
    }
}
