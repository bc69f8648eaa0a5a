//! The handle: what an application calls. A cheap clone; the work is done by one task.

use std::sync::Arc;

use anser_proto::{ConversationId, DeviceId, Seq, UserId, rest::User, wire};
use prost::Message as _;
use tokio::sync::watch;

use crate::{
    builder::Builder,
    error::{Error, ErrorKind, Result},
    event::{ConnectionState, Content, Message, Relation, RelationState, Waiting},
    handle::SendHandle,
    history::Page,
    model::{self, Outcome},
    outbox::Item,
    rest::{Authorized, Range, RelationAction},
    shared::{Local, Shared, seal},
    storage::Watermarks,
    upload::{Outgoing, UploadHandle},
};

/// A device of a user. A cheap clone; when the last one is dropped, the connection closes.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    _guard: Arc<Guard>,
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
        Builder::new(server.into())
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let guard = Arc::new(Guard(shared.clone()));
        Self { shared, _guard: guard }
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

    /// Puts a text into the outbox and returns once it is stored there: it will be sent, now or
    /// when the server is back, exactly once. Writes to the storage, which with a [`FileStorage`]
    /// takes as long as the disk does, about a millisecond.
    ///
    /// # Errors
    /// `NotFriends`, `TooLong` (more than the server takes, by default 16 KiB less some 40 bytes),
    /// `OutboxFull`, `Storage`, `Closed`. Nothing was put into the outbox then.
    ///
    /// [`FileStorage`]: crate::FileStorage
    pub fn send(
        &self,
        conversation: ConversationId,
        text: impl Into<String>,
    ) -> Result<SendHandle> {
        let mut local = self.shared.local.lock();
        self.check_outbox(&local)?;
        if !local.model.is_open(conversation) {
            return Err(Error::new(ErrorKind::NotFriends, "you are not friends (any more)"));
        }
        let client_seq = local.model.outbox.head() + 1;
        let content = Content::Text(text.into());
        let command = seal(&local.model, conversation, client_seq, &content)?;
        let handle = SendHandle::new(client_seq);
        let mut item = Item::new(command, Some(content));
        item.handle = Some(handle.clone());
        local.enqueue(item)?;
        drop(local);
        self.shared.work.notify_one();
        Ok(handle)
    }

    /// Sends a file and returns once that is stored: its bytes go to the server now or when it is
    /// back, part by part, and go on where they broke, also after a restart. The message that names
    /// it is put into the outbox when all bytes are there, so texts that are sent meanwhile come
    /// before it. The file must stay where it is, unchanged, until then.
    ///
    /// `file` comes from [`Outgoing::open`]; the handle tells how far it is and can give it up.
    /// Files are uploaded one after another, with at most two parts of 4 MiB in memory.
    ///
    /// # Errors
    /// `NotFriends`, `OutboxFull`, `TooLong` (a name or preview that does not fit), `Storage`,
    /// `Closed`. Nothing was stored then.
    pub fn send_file(&self, conversation: ConversationId, file: Outgoing) -> Result<UploadHandle> {
        file.check()?;
        let mut outcome = Outcome::default();
        let mut local = self.shared.local.lock();
        self.check_outbox(&local)?;
        if !local.model.is_open(conversation) {
            return Err(Error::new(ErrorKind::NotFriends, "you are not friends (any more)"));
        }
        let handle = local.model.put_upload(conversation, file, &mut outcome)?;
        outcome.wakes_uploads = true;
        self.shared.settle(&mut local, &mut outcome)?;
        Ok(handle)
    }

    /// The files whose bytes are on their way out, in the order in which they go.
    pub fn uploads(&self) -> Vec<UploadHandle> {
        self.shared.local.lock().model.uploads.handles()
    }

    /// Says that the user has read a conversation up to the message `conv_seq`. Going back, and
    /// what was said before, is ignored. The outcome is an event: [`Event::ReadMark`], or
    /// [`Event::Rejected`] when there is no such message or the conversation is closed.
    ///
    /// # Errors
    /// `OutboxFull`, `Storage`, `Closed`. Nothing was put into the outbox then.
    ///
    /// [`Event::ReadMark`]: crate::Event::ReadMark
    /// [`Event::Rejected`]: crate::Event::Rejected
    pub fn mark_read(&self, conversation: ConversationId, conv_seq: Seq) -> Result<()> {
        let mut local = self.shared.local.lock();
        self.check_outbox(&local)?;
        if !local.model.ask_read(conversation, conv_seq) {
            return Ok(());
        }
        let read = wire::Read { conversation: conversation.0, conv_seq };
        let kind = Some(wire::command::Kind::Read(read));
        let command = wire::Command { kind, ..<_>::default() }.encode_to_vec().into();
        local.enqueue(Item::new(command, None))?;
        drop(local);
        self.shared.work.notify_one();
        Ok(())
    }

    fn check_outbox(&self, local: &Local) -> Result<()> {
        if local.ended || local.model.identity.is_none() {
            return Err(Error::closed());
        }
        if local.model.outbox.len() >= self.shared.outbox_max {
            let detail = format!("{} commands wait already", self.shared.outbox_max);
            return Err(Error::new(ErrorKind::OutboxFull, detail));
        }
        Ok(())
    }

    /// Commands (messages and read marks) that the server has not acked yet.
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

    /// How far a conversation is, as this device knows it.
    pub fn watermarks(&self, conversation: ConversationId) -> Watermarks {
        self.shared.local.lock().model.watermarks(conversation)
    }

    /// Messages that this device holds, rising: the newest `limit` below `before`, without asking
    /// the server. [`Client::history`] has older ones.
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
        let before = self.relation_entries();
        let relation = self.rest().request_relation(user).await?;
        self.learn(&relation, before)
    }

    /// Changes the relation with a user.
    ///
    /// # Errors
    /// `Refused` with `not_found` or `relation_state`; `Unreachable`.
    pub async fn change_relation(&self, user: UserId, action: RelationAction) -> Result<Relation> {
        let before = self.relation_entries();
        let relation = self.rest().change_relation(user, action).await?;
        self.learn(&relation, before)
    }

    /// A page of a conversation's history from the server, opened, rising: also what this device
    /// never held. Nothing of it is stored. `limit` is at most the server's `page_max`, 200 by
    /// default.
    ///
    /// # Errors
    /// `Refused` with `not_found`, or with `invalid_request` when `limit` is above the maximum;
    /// `Unreachable`.
    pub async fn history(
        &self,
        conversation: ConversationId,
        range: Range,
        limit: u32,
    ) -> Result<Page> {
        crate::history::page(&self.shared, conversation, range, limit).await
    }

    /// The REST calls of this session, for all that has no method here: profile, password,
    /// sessions.
    pub fn rest(&self) -> Authorized {
        self.shared.authorized()
    }

    /// Closes the connection and waits until the task has ended. What is in the outbox stays in the
    /// storage, which can be opened again when this was the last clone.
    pub async fn shutdown(self) {
        self.shared.close();
        let mut closed = self.shared.closed.subscribe();
        let _ = closed.wait_for(|closed| *closed).await;
    }

    fn relation_entries(&self) -> u64 {
        self.shared.local.lock().model.relation_entries
    }

    /// Takes over what REST answered, unless entries overtook the answer: they are newer.
    fn learn(&self, relation: &anser_proto::rest::Relation, before: u64) -> Result<Relation> {
        let mut outcome = Outcome::default();
        let mut local = self.shared.local.lock();
        if local.model.relation_entries == before {
            local.model.on_rest_relation(relation, &mut outcome);
        } else {
            local.model.on_rest_keys(relation, &mut outcome);
        }
        self.shared.settle(&mut local, &mut outcome)?;
        Ok(Relation::from_rest(relation))
    }
}
