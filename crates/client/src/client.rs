//! The handle: what an application calls. A cheap clone; the work is done by one task.

use std::{sync::Arc, time::Duration};

use anser_proto::{
    ConversationId, DeviceId, Seq, UserId,
    rest::User,
    seal::{OVERHEAD_BYTES, Place},
    wire,
};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{Notify, watch};

use crate::{
    credentials::Credentials,
    error::{Error, ErrorKind, Result},
    event::{
        ConnectionState, Content, Event, Events, Message, Queue, Relation, RelationState, Waiting,
    },
    handle::SendHandle,
    model::{self, Model, Outcome},
    outbox::Item,
    rest::{Authorized, Range, RelationAction, Rest},
    storage::{Change, MemoryStorage, Storage, Watermarks},
    task,
};

/// Sealed bodies above this are refused by the server's default limit; checked before the outbox.
const BODY_BYTES_MAX: usize = 16 * 1024;
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
    pub(crate) server: String,
    pub(crate) connector: Option<String>,
    pub(crate) transport: Transport,
    pub(crate) backoff: (Duration, Duration),
    storage: Box<dyn Storage>,
    events_max: usize,
    outbox_max: usize,
}

/// A device of a user. A cheap clone; when the last one is dropped, the connection closes.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    _guard: Arc<Guard>,
}

/// What the handle and the task share.
pub(crate) struct Shared {
    pub(crate) local: Mutex<Local>,
    pub(crate) events: Arc<Queue>,
    pub(crate) state: watch::Sender<ConnectionState>,
    /// Something for the task: a command, or the wish to close.
    pub(crate) work: Notify,
    pub(crate) closing: std::sync::atomic::AtomicBool,
    pub(crate) closed: watch::Sender<bool>,
    pub(crate) rest: Rest,
    outbox_max: usize,
}

/// The model and where it is stored, changed together.
pub(crate) struct Local {
    pub(crate) model: Model,
    pub(crate) storage: Box<dyn Storage>,
}

struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Client {
    /// Sets a client up for the server whose REST interface is at `server`, such as
    /// `http://127.0.0.1:7401`.
    pub fn builder(server: impl Into<String>) -> Builder {
        Builder {
            server: server.into(),
            connector: None,
            transport: Transport::Tcp,
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            storage: Box::new(MemoryStorage::default()),
            events_max: EVENTS_MAX,
            outbox_max: OUTBOX_MAX,
        }
    }

    /// The user, once this device has logged in for the first time.
    pub fn user(&self) -> UserId {
        self.shared.local.lock().model.user()
    }

    /// The user's name.
    pub fn user_name(&self) -> String {
        let local = self.shared.local.lock();
        local.model.identity.as_ref().map(|identity| identity.name.clone()).unwrap_or_default()
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.shared.local.lock().model.device()
    }

    /// The connection's state, and a way to wait for its changes.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.state.subscribe()
    }

    /// Waits until the device is online: connected, and everything that waited has come.
    ///
    /// # Errors
    /// `Closed`: the client will not connect any more.
    pub async fn online(&self) -> Result<()> {
        let mut state = self.state();
        let mut closed = self.shared.closed.subscribe();
        tokio::select! {
            online = state.wait_for(|state| state.device_online) => {
                online.map(drop).map_err(|_| Error::closed())
            }
            _ = closed.wait_for(|closed| *closed) => Err(Error::closed()),
        }
    }

    /// Puts a text into the outbox and returns once it is stored there: it will be sent, now or when
    /// the server is back, exactly once.
    ///
    /// # Errors
    /// `NotFriends`, `TooLong`, `OutboxFull`, `Storage`, `Closed`.
    pub fn send(
        &self,
        conversation: ConversationId,
        text: impl Into<String>,
    ) -> Result<SendHandle> {
        let content = Content::Text(text.into());
        let mut local = self.shared.local.lock();
        self.check_outbox(&local)?;
        if !local.model.is_open(conversation) {
            return Err(Error::new(ErrorKind::NotFriends, "you are not friends (any more)"));
        }
        let client_seq = local.model.outbox.head() + 1;
        let handle = SendHandle::new(client_seq);
        let command = seal(&local.model, conversation, client_seq, &content)?;
        local.enqueue(Item { command, content: Some(content), handle: Some(handle.clone()) })?;
        drop(local);
        self.shared.work.notify_one();
        Ok(handle)
    }

    /// Says that the user has read a conversation up to `conv_seq`. Going back is ignored.
    ///
    /// # Errors
    /// `OutboxFull`, `Storage`, `Closed`.
    pub fn mark_read(&self, conversation: ConversationId, conv_seq: Seq) -> Result<()> {
        let mut local = self.shared.local.lock();
        self.check_outbox(&local)?;
        let known = local.model.watermarks(conversation);
        if conv_seq <= known.read || conv_seq > known.head {
            return Ok(());
        }
        let read = wire::Read { conversation: conversation.0, conv_seq };
        let kind = Some(wire::command::Kind::Read(read));
        let command = wire::Command { kind, ..<_>::default() }.encode_to_vec().into();
        local.enqueue(Item { command, content: None, handle: None })?;
        drop(local);
        self.shared.work.notify_one();
        Ok(())
    }

    fn check_outbox(&self, local: &Local) -> Result<()> {
        if *self.shared.closed.borrow() || local.model.identity.is_none() {
            return Err(Error::closed());
        }
        if local.model.outbox.len() >= self.shared.outbox_max {
            let detail = format!("{} commands wait already", self.shared.outbox_max);
            return Err(Error::new(ErrorKind::OutboxFull, detail));
        }
        Ok(())
    }

    /// Commands that the server has not taken yet.
    pub fn outbox_len(&self) -> usize {
        self.shared.local.lock().model.outbox.unacked()
    }

    /// The own messages that the server has not put into their conversations yet, oldest first.
    pub fn waiting(&self) -> Vec<Waiting> {
        self.shared.local.lock().model.waiting()
    }

    /// The relations that this device knows, by peer name.
    pub fn relations(&self) -> Vec<Relation> {
        let local = self.shared.local.lock();
        let mut relations: Vec<_> = local.model.relations.values().map(model::view).collect();
        relations.sort_by(|one, other| one.peer_name.cmp(&other.peer_name));
        relations
    }

    /// The conversation with a friend.
    pub fn conversation_with(&self, peer: UserId) -> Option<ConversationId> {
        let relations = self.relations();
        let friend = |relation: &&Relation| {
            relation.peer == peer && relation.state == RelationState::Friends
        };
        relations.iter().find(friend).map(|relation| relation.id)
    }

    /// How far a conversation is.
    pub fn watermarks(&self, conversation: ConversationId) -> Watermarks {
        self.shared.local.lock().model.watermarks(conversation)
    }

    /// Messages that this device holds, rising: the newest `limit` below `before`.
    ///
    /// # Errors
    /// `Storage`.
    pub fn messages(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        self.shared.local.lock().storage.messages(conversation, before, limit)
    }

    /// A page of the server's history, rising and opened with the keys that this device has, and
    /// whether the server has older messages. For what came before this device; nothing is stored.
    ///
    /// # Errors
    /// `Refused` with `not_found` or `invalid_request` (a limit above the server's maximum);
    /// `Unreachable`.
    pub async fn history(
        &self,
        conversation: ConversationId,
        range: Range,
        limit: u32,
    ) -> Result<(Vec<Message>, bool)> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let page = self.rest().history(conversation, range, limit).await?;
        let local = self.shared.local.lock();
        let opened = page.messages.iter().map(|message| {
            let body = STANDARD.decode(&message.body).unwrap_or_default();
            local.model.opened(message, &body)
        });
        Ok((opened.collect(), page.more_before))
    }

    /// Looks a user up by exact name.
    ///
    /// # Errors
    /// `Refused` with `not_found`, `Unreachable`.
    pub async fn find_user(&self, name: &str) -> Result<User> {
        self.rest().user_by_name(name).await
    }

    /// Asks a user to become friends; accepts when they asked before.
    ///
    /// # Errors
    /// `Refused` with `not_found`, `relation_state`, `too_many`; `Unreachable`.
    pub async fn befriend(&self, user: UserId) -> Result<Relation> {
        let relation = self.rest().request_relation(user).await?;
        self.learn(&relation)
    }

    /// Changes the relation with a user.
    ///
    /// # Errors
    /// `Refused` with `not_found` or `relation_state`; `Unreachable`.
    pub async fn change_relation(&self, user: UserId, action: RelationAction) -> Result<Relation> {
        let relation = self.rest().change_relation(user, action).await?;
        self.learn(&relation)
    }

    /// The REST calls of this session.
    pub fn rest(&self) -> Authorized {
        let local = self.shared.local.lock();
        let identity = local.model.identity.as_ref();
        let token = identity.map(|identity| identity.token.clone()).unwrap_or_default();
        self.shared.rest.with_token(token)
    }

    /// Closes the connection and waits until the task has ended. What is in the outbox stays in the
    /// storage.
    pub async fn shutdown(self) {
        self.shared.close();
        let mut closed = self.shared.closed.subscribe();
        let _ = closed.wait_for(|closed| *closed).await;
    }

    fn learn(&self, relation: &anser_proto::rest::Relation) -> Result<Relation> {
        let mut outcome = Outcome::default();
        let mut local = self.shared.local.lock();
        local.model.on_rest_relation(relation, &mut outcome);
        local.storage.apply(&outcome.changes)?;
        Ok(Relation::from_rest(relation))
    }
}

impl Builder {
    /// Connects there (`host:port`) instead of asking the server for its connectors.
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

    /// Events that may wait for a slow reader before it is told [`Event::Lagged`].
    #[must_use]
    pub fn events_max(mut self, count: usize) -> Self {
        self.events_max = count;
        self
    }

    /// Commands that may wait while the server is away.
    #[must_use]
    pub fn outbox_max(mut self, count: usize) -> Self {
        self.outbox_max = count;
        self
    }

    /// The shortest and the longest bound of the random wait before a reconnect ("full jitter").
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
    /// `Storage`; on a first login also `Unreachable` and `Refused`.
    pub async fn open(mut self, credentials: impl Credentials) -> Result<(Client, Events)> {
        let rest = Rest::new(&self.server)?;
        let model = Model::new(self.storage.load()?);
        let storage = std::mem::replace(&mut self.storage, Box::new(MemoryStorage::default()));
        let shared = Arc::new(Shared {
            local: Mutex::new(Local { model, storage }),
            events: Queue::new(self.events_max),
            state: watch::Sender::new(ConnectionState::default()),
            work: Notify::new(),
            closing: false.into(),
            closed: watch::Sender::new(false),
            rest,
            outbox_max: self.outbox_max,
        });
        let task = task::Task::new(shared.clone(), self, Box::new(credentials));
        task.prepare().await?;
        let events = Events(shared.events.clone());
        tokio::spawn(task.run());
        let guard = Arc::new(Guard(shared.clone()));
        Ok((Client { shared, _guard: guard }, events))
    }
}

impl Shared {
    pub(crate) fn close(&self) {
        self.closing.store(true, std::sync::atomic::Ordering::Release);
        self.work.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(std::sync::atomic::Ordering::Acquire)
    }

    pub(crate) fn set_state(&self, state: ConnectionState) {
        let changed = self.state.send_if_modified(|known| {
            let changed = *known != state;
            *known = state;
            changed
        });
        if changed {
            self.events.push([Event::State(state)]);
        }
    }

    /// Stores what an outcome asks for, then tells it.
    pub(crate) fn settle(&self, local: &mut Local, outcome: Outcome) -> Result<()> {
        if !outcome.changes.is_empty() {
            local.storage.apply(&outcome.changes)?;
        }
        if !outcome.events.is_empty() {
            self.events.push(outcome.events);
        }
        Ok(())
    }
}

impl Local {
    /// Stores the next command, then puts it into the outbox.
    pub(crate) fn enqueue(&mut self, item: Item) -> Result<()> {
        let client_seq = self.model.outbox.head() + 1;
        let command = item.command.clone();
        self.storage.apply(&[Change::Enqueue { client_seq, command }])?;
        self.model.outbox.push(item);
        Ok(())
    }
}

/// Seals a content as this device's command `client_seq`.
pub(crate) fn seal(
    model: &Model,
    conversation: ConversationId,
    client_seq: Seq,
    content: &Content,
) -> Result<bytes::Bytes> {
    let (key_version, key) = model.newest_key(conversation).ok_or_else(|| {
        Error::new(ErrorKind::NotFriends, "there is no key for this conversation yet")
    })?;
    let kind = match content {
        Content::Text(text) => wire::content::Kind::Text(wire::Text { text: text.clone() }),
        Content::Unknown | Content::Unreadable(_) => {
            return Err(Error::new(ErrorKind::Protocol, "only a text can be sent"));
        }
    };
    let plain = wire::Content { kind: Some(kind) }.encode_to_vec();
    if plain.len() + OVERHEAD_BYTES > BODY_BYTES_MAX {
        let max = BODY_BYTES_MAX - OVERHEAD_BYTES;
        let detail = format!("the text takes {} bytes, at most {max} are allowed", plain.len());
        return Err(Error::new(ErrorKind::TooLong, detail));
    }
    let (sender, device) = (model.user(), model.device());
    let place = Place { conversation, sender, device, client_seq, key_version };
    let kind = wire::command::Kind::Send(wire::Send { conversation: conversation.0, key_version });
    let body = key.seal(&place, &plain).into();
    Ok(wire::Command { kind: Some(kind), body }.encode_to_vec().into())
}
