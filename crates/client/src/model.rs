//! What this device knows, and what entries change in it. Pure: no I/O, no locks, no waiting; what
//! must be stored and told comes out as [`Outcome`].

mod conversation;
mod history;
mod uploads;

use std::collections::HashMap;

use anser_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    id::NUMBER_MAX,
    seal::{Key, OVERHEAD_BYTES, Place},
    wire::{self, entry::Kind},
};
use bytes::Bytes;
use prost::Message as _;

pub(crate) use self::uploads::Upload;
use self::{conversation::Conversation, uploads::Uploads};
use crate::{
    error::{Error, ErrorKind, Result},
    event::{Content, Event, Message, Relation, RelationState, Unreadable, Waiting},
    file::File,
    handle::SendState,
    outbox::Outbox,
    storage::{Change, Identity, Saved, SavedRelation, Watermarks},
};

/// Largest sealed body, unless a Welcome tells a higher limit.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// And the highest limit that is believed: it fits a frame of 1 MiB.
const BODY_BYTES_CEILING: usize = 1024 * 1024 - 1024;

/// What this device knows.
pub(crate) struct Model {
    pub(crate) identity: Option<Identity>,
    pub(crate) epoch: String,
    pub(crate) position: Seq,
    pub(crate) outbox: Outbox,
    pub(crate) relations: HashMap<ConversationId, SavedRelation>,
    /// How many relation entries came: an answer of REST that is older than one must not undo it.
    pub(crate) relation_entries: u64,
    body_bytes_max: usize,
    keys: HashMap<ConversationId, Vec<Key>>,
    conversations: HashMap<ConversationId, Conversation>,
    pub(crate) uploads: Uploads,
}

/// What must be stored and told. Made once and used again, because it comes with every read.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<Event>,
    /// Commands up to here are forgotten; one change for all entries of a read.
    trim: Seq,
    /// There is something to upload (again).
    pub(crate) wakes_uploads: bool,
    /// Conversations whose watermarks moved.
    touched: Vec<ConversationId>,
}

/// An entry needs a key that is not here: fetch the relations, then try again.
#[derive(Debug)]
pub(crate) struct KeyMissing;

impl Outcome {
    fn touch(&mut self, conversation: ConversationId) {
        if !self.touched.contains(&conversation) {
            self.touched.push(conversation);
        }
    }

    /// Turns what moved often into one change each. To be called before `changes` is stored.
    pub(crate) fn finish(&mut self, model: &Model) {
        if self.trim > 0 {
            self.changes.push(Change::Trim { through: std::mem::take(&mut self.trim) });
        }
        for conversation in self.touched.drain(..) {
            let watermarks = model.watermarks(conversation);
            self.changes.push(Change::Watermarks(conversation, watermarks));
        }
    }
}

impl Model {
    /// What a storage held.
    ///
    /// # Errors
    /// `Storage`: it is damaged.
    pub(crate) fn new(saved: Saved) -> Result<Self> {
        let outbox = Outbox::restore(saved.outbox_head, saved.outbox)?;
        let uploads = Uploads::restore(saved.uploads, outbox.trimmed());
        if saved.position >= NUMBER_MAX || outbox.head() >= NUMBER_MAX {
            let detail = "the stored positions are damaged: a number is above 2^53";
            return Err(Error::new(ErrorKind::Storage, detail));
        }
        let mut model = Self {
            identity: saved.identity,
            epoch: saved.epoch,
            position: saved.position,
            outbox,
            relations: HashMap::new(),
            relation_entries: 0,
            body_bytes_max: BODY_BYTES_MAX,
            keys: HashMap::new(),
            conversations: HashMap::new(),
            uploads,
        };
        for (conversation, watermarks) in saved.watermarks {
            model.conversations.entry(conversation).or_default().watermarks = watermarks;
        }
        for relation in saved.relations {
            model.put_relation(relation);
        }
        Ok(model)
    }

    pub(crate) fn user(&self) -> UserId {
        self.identity.as_ref().map_or(UserId(0), |identity| identity.user)
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.identity.as_ref().map_or(DeviceId(0), |identity| identity.device)
    }

    pub(crate) fn watermarks(&self, conversation: ConversationId) -> Watermarks {
        let known = self.conversations.get(&conversation);
        known.map_or_else(Watermarks::default, |known| known.watermarks)
    }

    /// The newest key of a conversation and its version.
    pub(crate) fn newest_key(&self, conversation: ConversationId) -> Option<(u32, &Key)> {
        let keys = self.keys.get(&conversation)?;
        Some((u32::try_from(keys.len()).ok()?, keys.last()?))
    }

    /// Whether messages can be sent to it.
    pub(crate) fn is_open(&self, conversation: ConversationId) -> bool {
        let relation = self.relations.get(&conversation);
        relation.is_some_and(|relation| relation.state == RelationState::Friends as i32)
    }

    /// What the server takes. A lower limit than the default is the server's to enforce: it can
    /// rise again while a message waits.
    pub(crate) fn on_limits(&mut self, limits: &wire::Limits) {
        let told = limits.body_bytes_max as usize;
        self.body_bytes_max = told.clamp(BODY_BYTES_MAX, BODY_BYTES_CEILING);
    }

    /// The longest text that fits a body, in bytes, about.
    pub(crate) fn text_bytes_max(&self) -> usize {
        self.body_bytes_max.saturating_sub(OVERHEAD_BYTES)
    }

    /// This is another device now: outbox and position start anew.
    pub(crate) fn become_device(&mut self, identity: Identity, outcome: &mut Outcome) {
        let device = identity.device;
        if self.identity.replace(identity.clone()).is_some() {
            outcome.events.push(Event::NewDevice(device));
        }
        self.epoch = String::new();
        self.position = 0;
        self.outbox = Outbox::default();
        outcome.changes.push(Change::Identity(identity));
    }

    /// The inbox is stored up to `position` of the history `epoch`.
    pub(crate) fn start_from(&mut self, epoch: String, position: Seq, outcome: &mut Outcome) {
        self.epoch.clone_from(&epoch);
        self.position = position;
        outcome.changes.push(Change::Position { epoch: Some(epoch), position });
    }

    /// The server applied commands up to `position` and does not tell any more what became of them.
    /// The history told of the messages; the others were refused.
    pub(crate) fn forget_through(&mut self, position: Seq, outcome: &mut Outcome) {
        self.outbox.ack(position);
        for (client_seq, item) in self.outbox.iter().take_while(|(seq, _)| *seq <= position) {
            let command = item.decode().and_then(|command| command.kind);
            if item.applied || !matches!(command, Some(wire::command::Kind::Send(_))) {
                continue;
            }
            if let Some(handle) = &item.handle {
                handle.0.advance(SendState::Failed { code: None });
            }
            outcome.events.push(Event::Rejected { client_seq, code: None });
        }
        self.trim(position, outcome);
        self.settle_uploads_through(position, outcome);
    }

    /// The messages among the commands that are not forgotten yet.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let acked = self.outbox.acked();
        let waiting = self.outbox.iter().filter_map(|(client_seq, item)| {
            let command = item.decode()?;
            let Some(wire::command::Kind::Send(send)) = command.kind else { return None };
            let content = item.content.clone();
            Some(Waiting {
                client_seq,
                conversation: ConversationId(send.conversation),
                content: content.unwrap_or_else(|| self.open_own(client_seq, &send, &command.body)),
                is_sent: client_seq <= acked,
            })
        });
        waiting.collect()
    }

    /// Nobody will tell the handles of more.
    pub(crate) fn end_handles(&mut self) {
        for (_, item) in self.outbox.iter() {
            if let Some(handle) = &item.handle {
                handle.0.end();
            }
        }
        self.conversations.values_mut().for_each(Conversation::end);
        self.uploads.end();
    }

    /// Asks for a read mark; gives whether it is worth a command.
    pub(crate) fn ask_read(&mut self, conversation: ConversationId, conv_seq: Seq) -> bool {
        let known = self.conversations.entry(conversation).or_default();
        let is_news = conv_seq > known.watermarks.read.max(known.read_asked);
        if is_news {
            known.read_asked = conv_seq;
        }
        is_news
    }

    /// One entry of the inbox.
    ///
    /// # Errors
    /// [`KeyMissing`]: nothing was changed.
    pub(crate) fn on_entry(
        &mut self,
        seq: Seq,
        body: &Bytes,
        keys_are_fresh: bool,
        outcome: &mut Outcome,
    ) -> Result<(), KeyMissing> {
        // An entry that does not decode is stored and acked like one of unknown kind.
        let entry = wire::Entry::decode(body.clone()).unwrap_or_default();
        match entry.kind {
            Some(Kind::Message(message)) if (1..NUMBER_MAX).contains(&message.conv_seq) => {
                self.on_message(&message, &entry.body, keys_are_fresh, outcome)?;
            }
            Some(Kind::Receipt(receipt)) => self.on_receipt(&receipt, outcome),
            Some(Kind::ReadMark(mark)) => {
                self.on_read_mark(ConversationId(mark.conversation), mark.read, outcome);
                self.on_own(mark.device, mark.client_seq, outcome);
            }
            Some(Kind::Rejected(rejected)) => self.on_rejected(&rejected, outcome),
            Some(Kind::Relation(relation)) => {
                self.on_relation(&relation, keys_are_fresh, outcome)?;
            }
            Some(Kind::Message(_)) | None => {}
        }
        self.position = seq;
        Ok(())
    }

    fn on_message(
        &mut self,
        message: &wire::Message,
        body: &[u8],
        keys_are_fresh: bool,
        outcome: &mut Outcome,
    ) -> Result<(), KeyMissing> {
        let place = place(message);
        let is_mine = place.device == self.device();
        // An entry is absolute: after a snapshot one may come whose message is here already.
        let is_new = message.conv_seq > self.watermarks(place.conversation).head;
        if is_new {
            let own = is_mine.then(|| self.outbox.item_mut(message.client_seq)).flatten();
            let known = own.and_then(|item| item.content.take());
            let content = match known {
                Some(content) => content,
                // The server leaves the body out: the outbox has it.
                None if is_mine && body.is_empty() => {
                    let body = self.outbox.body(message.client_seq).unwrap_or_default();
                    self.open(&place, &body, keys_are_fresh)?
                }
                None => self.open(&place, body, keys_are_fresh)?,
            };
            self.store_message(message, content, outcome);
        }
        let own = is_mine.then(|| self.outbox.item_mut(message.client_seq)).flatten();
        if let Some(handle) = own.and_then(|item| item.handle.take()) {
            let known = self.conversations.entry(place.conversation).or_default();
            known.follow(message.conv_seq, handle);
        }
        self.on_own(message.device, message.client_seq, outcome);
        if is_mine {
            self.settle_upload(message.client_seq, None, outcome);
        }
        Ok(())
    }

    fn store_message(&mut self, message: &wire::Message, content: Content, outcome: &mut Outcome) {
        let conversation = ConversationId(message.conversation);
        self.conversations.entry(conversation).or_default().watermarks.head = message.conv_seq;
        outcome.touch(conversation);
        let message = Message {
            conversation,
            conv_seq: message.conv_seq,
            sender: UserId(message.sender),
            device: DeviceId(message.device),
            client_seq: message.client_seq,
            created_at_ms: message.created_at_ms,
            content,
        };
        outcome.changes.push(Change::Message(message.clone()));
        outcome.events.push(Event::Message(message));
    }

    fn open(
        &self,
        place: &Place,
        body: &[u8],
        keys_are_fresh: bool,
    ) -> Result<Content, KeyMissing> {
        let index = (place.key_version as usize).wrapping_sub(1);
        let key = self.keys.get(&place.conversation).and_then(|keys| keys.get(index));
        let Some(key) = key else {
            return if keys_are_fresh {
                Ok(Content::Unreadable(Unreadable::NoKey))
            } else {
                Err(KeyMissing)
            };
        };
        let Ok(opened) = key.open(place, body) else {
            return Ok(Content::Unreadable(Unreadable::WrongKeyOrChanged));
        };
        Ok(match wire::Content::decode(&opened[..]) {
            Ok(wire::Content { kind: Some(wire::content::Kind::Text(text)) }) => {
                Content::Text(text.text)
            }
            Ok(wire::Content { kind: Some(wire::content::Kind::File(file)) }) => {
                File::from_wire(file)
                    .map_or(Content::Unreadable(Unreadable::Malformed), Content::File)
            }
            Ok(wire::Content { kind: None }) => Content::Unknown,
            Err(_) => Content::Unreadable(Unreadable::Malformed),
        })
    }

    /// Opens with the keys that are here.
    fn open_known(&self, place: &Place, body: &[u8]) -> Content {
        self.open(place, body, true).unwrap_or(Content::Unreadable(Unreadable::NoKey))
    }

    /// What one of this device's own commands says.
    pub(crate) fn open_own(&self, client_seq: Seq, send: &wire::Send, body: &[u8]) -> Content {
        let place = Place {
            conversation: ConversationId(send.conversation),
            sender: self.user(),
            device: self.device(),
            client_seq,
            key_version: send.key_version,
        };
        self.open_known(&place, body)
    }

    fn on_receipt(&mut self, receipt: &wire::Receipt, outcome: &mut Outcome) {
        let conversation = ConversationId(receipt.conversation);
        let known = self.conversations.entry(conversation).or_default();
        known.on_receipt(receipt.delivered, receipt.read);
        let Watermarks { peer_delivered: delivered, peer_read: read, .. } = known.watermarks;
        outcome.touch(conversation);
        let user = UserId(receipt.user);
        outcome.events.push(Event::Receipt { conversation, user, delivered, read });
    }

    fn on_read_mark(&mut self, conversation: ConversationId, read: Seq, outcome: &mut Outcome) {
        let watermarks = &mut self.conversations.entry(conversation).or_default().watermarks;
        watermarks.read = watermarks.read.max(read);
        let read = watermarks.read;
        outcome.touch(conversation);
        outcome.events.push(Event::ReadMark { conversation, read });
    }

    fn on_rejected(&mut self, rejected: &wire::Rejected, outcome: &mut Outcome) {
        if DeviceId(rejected.device) != self.device() {
            return;
        }
        let (client_seq, code) = (rejected.client_seq, Code::from_number(rejected.code));
        if let Some(handle) = self.outbox.item(client_seq).and_then(|item| item.handle.as_ref()) {
            handle.0.advance(SendState::Failed { code });
        }
        if let Some(known) = self.conversations.get_mut(&ConversationId(rejected.conversation)) {
            // A read mark that was refused may be asked for again.
            known.read_asked = 0;
        }
        outcome.events.push(Event::Rejected { client_seq, code });
        // A code of a later version refuses as well as a known one.
        self.settle_upload(client_seq, Some(code.unwrap_or(Code::Internal)), outcome);
        self.on_own(rejected.device, client_seq, outcome);
    }

    /// The entry that names one of this device's commands is here: the command can be forgotten.
    fn on_own(&mut self, device: u64, client_seq: Seq, outcome: &mut Outcome) {
        if DeviceId(device) == self.device() {
            self.trim(client_seq, outcome);
        }
    }

    /// Commands up to here can be forgotten.
    pub(crate) fn trim(&mut self, through: Seq, outcome: &mut Outcome) {
        if self.outbox.trim(through) {
            outcome.trim = outcome.trim.max(self.outbox.trimmed());
        }
    }

    fn on_relation(
        &mut self,
        relation: &wire::Relation,
        keys_are_fresh: bool,
        outcome: &mut Outcome,
    ) -> Result<(), KeyMissing> {
        let id = ConversationId(relation.relation);
        let known = self.keys.get(&id).map_or(0, Vec::len);
        if known < relation.key_version as usize && !keys_are_fresh {
            return Err(KeyMissing);
        }
        self.relation_entries += 1;
        let keys = self.relations.get(&id).map(|known| known.keys.clone()).unwrap_or_default();
        let saved = SavedRelation {
            id,
            peer: UserId(relation.peer),
            peer_name: relation.peer_name.clone(),
            state: relation.state,
            keys,
        };
        outcome.changes.push(Change::Relation(saved.clone()));
        outcome.events.push(Event::Relation(view(&saved)));
        self.put_relation(saved);
        Ok(())
    }

    fn put_relation(&mut self, relation: SavedRelation) {
        self.keys.insert(relation.id, relation.keys.iter().copied().map(Key::new).collect());
        self.relations.insert(relation.id, relation);
    }
}

/// A stored relation as the user sees it.
pub(crate) fn view(saved: &SavedRelation) -> Relation {
    Relation {
        id: saved.id,
        peer: saved.peer,
        peer_name: saved.peer_name.clone(),
        state: RelationState::try_from(saved.state).unwrap_or(RelationState::Unspecified),
    }
}

fn place(message: &wire::Message) -> Place {
    Place {
        conversation: ConversationId(message.conversation),
        sender: UserId(message.sender),
        device: DeviceId(message.device),
        client_seq: message.client_seq,
        key_version: message.key_version,
    }
}
