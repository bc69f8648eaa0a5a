//! What this device knows, and what entries change in it. Pure: no I/O, no locks, no waiting; what must
//! be stored and told comes out as [`Outcome`].

use std::collections::HashMap;

use anser_proto::{
    Code, ConversationId, DeviceId, Seq, UserId, rest,
    seal::{Key, Place},
    wire::{self, entry::Kind},
};
use bytes::Bytes;
use prost::Message as _;

use crate::{
    event::{Content, Event, Message, Relation, RelationState, Unreadable, Waiting},
    handle::{SendHandle, SendState},
    outbox::Outbox,
    storage::{Change, Identity, Saved, SavedRelation, Watermarks},
};

/// Handles that wait for a receipt in one conversation; older ones stop following.
const FOLLOWED_MAX: usize = 4_096;

/// What this device knows.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) identity: Option<Identity>,
    pub(crate) epoch: String,
    pub(crate) position: Seq,
    pub(crate) outbox: Outbox,
    pub(crate) relations: HashMap<ConversationId, SavedRelation>,
    keys: HashMap<ConversationId, Vec<Key>>,
    conversations: HashMap<ConversationId, Conversation>,
}

#[derive(Default)]
struct Conversation {
    watermarks: Watermarks,
    /// Sent messages whose receipts somebody waits for, by number, rising.
    followed: Vec<(Seq, SendHandle)>,
}

/// What must be stored and told.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<Event>,
}

/// An entry needs a key that is not here: fetch the relations, then try again.
#[derive(Debug)]
pub(crate) struct KeyMissing;

impl Model {
    pub(crate) fn new(saved: Saved) -> Self {
        let mut model = Self {
            identity: saved.identity,
            epoch: saved.epoch,
            position: saved.position,
            outbox: Outbox::restore(saved.outbox_head, saved.outbox),
            ..Self::default()
        };
        for (conversation, watermarks) in saved.watermarks {
            model.conversations.entry(conversation).or_default().watermarks = watermarks;
        }
        for relation in saved.relations {
            model.put_relation(relation);
        }
        model
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

    /// This is a new device now; the outbox and the position start anew.
    pub(crate) fn become_device(&mut self, identity: Identity) -> Outcome {
        let device = identity.device;
        let changed = self.identity.replace(identity.clone()).is_some();
        self.epoch = String::new();
        self.position = 0;
        self.outbox = Outbox::default();
        let mut outcome = Outcome::default();
        outcome.changes.push(Change::Identity(identity));
        outcome.events.extend(changed.then_some(Event::NewDevice(device)));
        outcome
    }

    /// One entry of the inbox.
    pub(crate) fn on_entry(
        &mut self,
        seq: Seq,
        body: Bytes,
        keys_are_fresh: bool,
        outcome: &mut Outcome,
    ) -> Result<(), KeyMissing> {
        // An entry that does not decode is stored and acked like one of unknown kind.
        let entry = wire::Entry::decode(body).unwrap_or_default();
        match entry.kind {
            Some(Kind::Message(message)) => {
                self.on_message(&message, entry.body, keys_are_fresh, outcome)?;
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
            None => {}
        }
        self.position = seq;
        Ok(())
    }

    fn on_message(
        &mut self,
        message: &wire::Message,
        body: Bytes,
        keys_are_fresh: bool,
        outcome: &mut Outcome,
    ) -> Result<(), KeyMissing> {
        let place = place(message);
        let is_mine = place.device == self.device();
        let known = is_mine.then(|| self.outbox.content(message.client_seq)).flatten();
        let content = match known {
            Some(content) => content,
            None => {
                let body = if body.is_empty() && is_mine {
                    self.outbox.body(message.client_seq).unwrap_or_default()
                } else {
                    body
                };
                self.open(&place, &body, keys_are_fresh)?
            }
        };
        if is_mine && let Some(handle) = self.outbox.handle(message.client_seq) {
            handle.0.advance(SendState::Sent);
            self.follow(place.conversation, message.conv_seq, handle);
        }
        self.on_own(message.device, message.client_seq, outcome);
        self.store_message(message, content, outcome);
        Ok(())
    }

    /// A message of the history, after a reset.
    pub(crate) fn on_history(&mut self, message: &rest::Message, body: &[u8], out: &mut Outcome) {
        let message = from_rest(message);
        // Keys came with the snapshot: one that is missing now stays missing.
        let content = self.open(&place(&message), body, true).unwrap_or(Content::Unknown);
        self.store_message(&message, content, out);
    }

    /// A message of the history, opened and not kept.
    pub(crate) fn opened(&self, message: &rest::Message, body: &[u8]) -> Message {
        let message = from_rest(message);
        let content = self.open(&place(&message), body, true).unwrap_or(Content::Unknown);
        with_content(&message, content)
    }

    /// The messages among the commands that are not forgotten yet.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let acked = self.outbox.acked();
        let sends = self.outbox.sends();
        let waiting = sends.map(|(client_seq, send, body, content)| Waiting {
            client_seq,
            conversation: ConversationId(send.conversation),
            content: content.unwrap_or_else(|| self.open_own(client_seq, &send, &body)),
            is_sent: client_seq <= acked,
        });
        waiting.collect()
    }

    fn store_message(&mut self, message: &wire::Message, content: Content, outcome: &mut Outcome) {
        let conversation = ConversationId(message.conversation);
        let known = &mut self.conversations.entry(conversation).or_default().watermarks;
        known.head = known.head.max(message.conv_seq);
        outcome.changes.push(Change::Watermarks(conversation, *known));
        let message = with_content(message, content);
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
            Ok(wire::Content { kind: None }) => Content::Unknown,
            Err(_) => Content::Unreadable(Unreadable::Malformed),
        })
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
        self.open(&place, body, true).unwrap_or(Content::Unreadable(Unreadable::NoKey))
    }

    fn follow(&mut self, conversation: ConversationId, conv_seq: Seq, handle: SendHandle) {
        // Nobody but the outbox and this call holds it: nobody waits.
        if std::sync::Arc::strong_count(&handle.0) <= 2 {
            return;
        }
        let known = self.conversations.entry(conversation).or_default();
        known.followed.retain(|(_, handle)| std::sync::Arc::strong_count(&handle.0) > 1);
        if known.followed.len() >= FOLLOWED_MAX {
            known.followed.remove(0);
        }
        known.followed.push((conv_seq, handle));
    }

    fn on_receipt(&mut self, receipt: &wire::Receipt, outcome: &mut Outcome) {
        let conversation = ConversationId(receipt.conversation);
        let known = self.conversations.entry(conversation).or_default();
        let watermarks = &mut known.watermarks;
        watermarks.peer_delivered = watermarks.peer_delivered.max(receipt.delivered);
        watermarks.peer_read = watermarks.peer_read.max(receipt.read);
        let (delivered, read) = (watermarks.peer_delivered, watermarks.peer_read);
        outcome.changes.push(Change::Watermarks(conversation, *watermarks));
        let user = UserId(receipt.user);
        outcome.events.push(Event::Receipt { conversation, user, delivered, read });
        for (conv_seq, handle) in &known.followed {
            if *conv_seq <= read {
                handle.0.advance(SendState::Read);
            } else if *conv_seq <= delivered {
                handle.0.advance(SendState::Delivered);
            }
        }
        known.followed.retain(|(conv_seq, _)| *conv_seq > read);
    }

    fn on_read_mark(&mut self, conversation: ConversationId, read: Seq, outcome: &mut Outcome) {
        let watermarks = &mut self.conversations.entry(conversation).or_default().watermarks;
        watermarks.read = watermarks.read.max(read);
        let read = watermarks.read;
        outcome.changes.push(Change::Watermarks(conversation, *watermarks));
        outcome.events.push(Event::ReadMark { conversation, read });
    }

    fn on_rejected(&mut self, rejected: &wire::Rejected, outcome: &mut Outcome) {
        if DeviceId(rejected.device) != self.device() {
            return;
        }
        let (client_seq, code) = (rejected.client_seq, Code::from_number(rejected.code));
        if let Some(handle) = self.outbox.handle(client_seq) {
            handle.0.advance(SendState::Failed { code });
        }
        outcome.events.push(Event::Rejected { client_seq, code });
        self.on_own(rejected.device, client_seq, outcome);
    }

    /// The entry that names one of this device's commands is here: the command can be forgotten.
    fn on_own(&mut self, device: u64, client_seq: Seq, outcome: &mut Outcome) {
        if DeviceId(device) == self.device() && self.outbox.trim(client_seq) {
            outcome.changes.push(Change::Trim { through: client_seq });
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

    /// A relation with its keys, as REST tells it.
    pub(crate) fn on_rest_relation(&mut self, relation: &rest::Relation, outcome: &mut Outcome) {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let view = Relation::from_rest(relation);
        let decode = |key: &rest::RelationKey| STANDARD.decode(&key.key).ok()?.try_into().ok();
        let saved = SavedRelation {
            id: view.id,
            peer: view.peer,
            peer_name: view.peer_name,
            state: view.state as i32,
            keys: relation.keys.iter().map_while(decode).collect(),
        };
        outcome.changes.push(Change::Relation(saved.clone()));
        self.put_relation(saved);
    }

    /// A conversation's watermarks, as a snapshot tells them.
    pub(crate) fn on_rest_conversation(
        &mut self,
        conversation: &rest::Conversation,
        outcome: &mut Outcome,
    ) {
        let user = self.user();
        let known = &mut self.conversations.entry(conversation.id).or_default().watermarks;
        for member in &conversation.members {
            if member.user.id == user {
                known.read = known.read.max(member.read);
            } else {
                known.peer_delivered = known.peer_delivered.max(member.delivered);
                known.peer_read = known.peer_read.max(member.read);
            }
        }
        outcome.changes.push(Change::Watermarks(conversation.id, *known));
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

fn from_rest(message: &rest::Message) -> wire::Message {
    wire::Message {
        conversation: message.conversation.0,
        conv_seq: message.conv_seq,
        sender: message.sender.0,
        device: message.device.0,
        client_seq: message.client_seq,
        key_version: message.key_version,
        created_at_ms: message.created_at_ms,
    }
}

fn with_content(message: &wire::Message, content: Content) -> Message {
    Message {
        conversation: ConversationId(message.conversation),
        conv_seq: message.conv_seq,
        sender: UserId(message.sender),
        device: DeviceId(message.device),
        client_seq: message.client_seq,
        created_at_ms: message.created_at_ms,
        content,
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
