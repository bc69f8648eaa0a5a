//! What follows from the rows of the inboxes, row by row, and what must hold at each of them.

use std::collections::HashMap;

use anser_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    wire::{self, RelationState, entry::Kind},
};
use bytes::Bytes;
use prost::Message as _;

use super::{BadBody, Check, What};

/// What the rows tell.
#[derive(Default)]
pub(super) struct Fold {
    /// What became of each command.
    pub(super) results: HashMap<(DeviceId, Seq), Outcome>,
    /// The last number of each device with a result.
    last: HashMap<DeviceId, Seq>,
    /// Which message has a number, as all members must see it.
    places: HashMap<(ConversationId, Seq), (DeviceId, Seq)>,
    /// Where each command's message is.
    applied: HashMap<usize, (ConversationId, Seq)>,
    /// The last message of each conversation in each inbox.
    pub(super) seen: HashMap<(UserId, ConversationId), Seq>,
    /// Inbox, conversation, reader: delivered and read, as told last.
    pub(super) receipts: HashMap<(UserId, ConversationId, UserId), (Seq, Seq)>,
    /// The own read mark in each inbox.
    marks: HashMap<(UserId, ConversationId), Seq>,
    /// Conversations that are closed, as each inbox tells it.
    closed: HashMap<(UserId, ConversationId), bool>,
}

/// What became of a command.
pub(super) struct Outcome {
    /// Which one it was, where the entry shows it: a message.
    pub(super) id: Option<usize>,
}

impl Check {
    pub(super) fn fold_row(&mut self, user: UserId, row: &Bytes) {
        let entry = wire::Entry::decode(row.clone()).expect("rows decode");
        match entry.kind.expect("rows have a kind") {
            Kind::Message(message) => self.fold_message(user, &message, &entry.body),
            Kind::Receipt(receipt) => self.fold_receipt(user, &receipt),
            Kind::ReadMark(mark) => self.fold_mark(user, &mark),
            Kind::Rejected(rejected) => self.fold_rejected(user, &rejected),
            Kind::Relation(relation) => {
                let id = ConversationId(relation.relation);
                self.assert_member(user, id);
                let open = relation.state == RelationState::Friends as i32;
                self.fold.closed.insert((user, id), !open);
            }
        }
    }

    /// Takes an old receipt for proof that somebody stored what it tells.
    pub(super) fn fold_receipt_as_stored(&mut self, _: UserId, row: &Bytes) {
        let entry = wire::Entry::decode(row.clone()).expect("rows decode");
        if let Some(Kind::Receipt(receipt)) = entry.kind {
            let id = ConversationId(receipt.conversation);
            self.holds(UserId(receipt.user), id, receipt.delivered);
        }
    }

    fn fold_message(&mut self, user: UserId, message: &wire::Message, body: &Bytes) {
        let id = ConversationId(message.conversation);
        let (sender, key) = (UserId(message.sender), key(message.device, message.client_seq));
        self.assert_member(user, id);
        self.assert_member(sender, id);
        assert!(!self.is_closed(user, id), "{user}: a message in {id:?}, which is closed");
        let seen = self.fold.seen.entry((user, id)).or_default();
        *seen += 1;
        assert_eq!(message.conv_seq, *seen, "{user}: the order of {id:?}");
        let place = self.fold.places.entry((id, message.conv_seq)).or_insert(key);
        assert_eq!(*place, key, "{id:?}: two messages under number {}", message.conv_seq);

        let number = body.first_chunk().map(|first| u64::from_be_bytes(*first));
        let number = number.expect("a body begins with its command's number") as usize;
        let command = &self.commands[number];
        assert_eq!(command.user, sender, "command {number}: the sender is another one");
        assert!(command.keys.contains(&key), "command {number}: applied as {key:?}");
        let What::Send { conversation, fault: None } = command.what else {
            panic!("command {number}, {:?}, was applied as a message", command.what);
        };
        assert_eq!(conversation, id, "command {number}: another conversation");
        let applied = (id, message.conv_seq);
        let first = self.fold.applied.entry(number).or_insert(applied);
        assert_eq!(*first, applied, "command {number} was applied twice");
        if user == sender {
            self.fold_result(key, Some(number));
        }
    }

    fn fold_mark(&mut self, user: UserId, mark: &wire::ReadMark) {
        let id = ConversationId(mark.conversation);
        let key = key(mark.device, mark.client_seq);
        self.assert_member(user, id);
        assert!(!self.is_closed(user, id), "{user}: a read mark in {id:?}, which is closed");
        let head = self.seen(user, id);
        let before = self.fold.marks.insert((user, id), mark.read).unwrap_or(0);
        assert!(before <= mark.read && mark.read <= head, "{user}: read {} of {head}", mark.read);
        let asked = self.asked(user, key, |what| {
            matches!(what, What::Read { conversation, conv_seq }
                if conversation == id && conv_seq <= mark.read)
        });
        assert!(asked, "{user}: nobody asked for the read mark {key:?}");
        self.fold_result(key, None);
    }

    fn fold_rejected(&mut self, user: UserId, rejected: &wire::Rejected) {
        let key = key(rejected.device, rejected.client_seq);
        let named = ConversationId(rejected.conversation);
        let stranger = !self.conversations.get(&named).is_some_and(|all| all.contains(&user));
        let shut = stranger || self.is_closed(user, named);
        let head = self.seen(user, named);
        let code = Code::from_number(rejected.code).expect("a known code");
        let asked = self.asked(user, key, |what| match (what, code) {
            (What::Send { conversation, .. } | What::Read { conversation, .. }, _)
                if conversation != named =>
            {
                false
            }
            (_, Code::NotMember) => shut,
            (What::Send { fault, .. }, Code::BodyEmpty) => fault == Some(BadBody::Empty),
            (What::Send { fault, .. }, Code::BodyTooLarge) => fault == Some(BadBody::TooLarge),
            (What::Send { fault, .. }, Code::UnknownKeyVersion) => {
                fault == Some(BadBody::UnknownKey)
            }
            (What::Read { conv_seq, .. }, Code::ReadAboveHead) => conv_seq > head,
            _ => false,
        });
        assert!(asked, "{user}: {key:?} was rejected with {code:?} for no reason");
        self.fold_result(key, None);
    }

    fn fold_receipt(&mut self, user: UserId, receipt: &wire::Receipt) {
        let (id, reader) = (ConversationId(receipt.conversation), UserId(receipt.user));
        self.assert_member(user, id);
        self.assert_member(reader, id);
        assert_ne!(user, reader, "{user}: a receipt of one's own");
        let (delivered, read) = (receipt.delivered, receipt.read);
        let head = self.seen(user, id);
        assert!(
            read <= delivered && delivered <= head,
            "{user}: read {read}, delivered {delivered} of {head} in {id:?}"
        );
        let told = self.fold.receipts.insert((user, id, reader), (delivered, read));
        let told = told.unwrap_or_default();
        assert!(told.0 <= delivered && told.1 <= read, "{user}: a receipt went back in {id:?}");
        let stored = self.stored.get(&(reader, id)).copied().unwrap_or(0);
        let said = self.read.get(&(reader, id)).copied().unwrap_or(0);
        assert!(read <= said, "{user}: {reader} did not read up to {read} in {id:?}");
        assert!(
            delivered <= stored.max(said),
            "{user}: no device of {reader} stored {delivered} of {id:?}, but {stored}"
        );
    }

    /// A command's result, in its sender's inbox.
    fn fold_result(&mut self, key: (DeviceId, Seq), id: Option<usize>) {
        let (device, client_seq) = key;
        let last = self.fold.last.insert(device, client_seq).unwrap_or(0);
        let skipped = self
            .skips
            .iter()
            .any(|(one, to)| *one == device && *to > last && *to + 1 == client_seq);
        assert!(
            client_seq == last + 1 || skipped,
            "device {device}: command {client_seq} follows {last}"
        );
        let twice = self.fold.results.insert(key, Outcome { id }).is_some();
        assert!(!twice, "device {device}: two results of command {client_seq}");
    }

    /// Whether a command of this number was given out that fits.
    fn asked(&self, user: UserId, key: (DeviceId, Seq), fits: impl Fn(What) -> bool) -> bool {
        let commands = self.by_key.get(&key).map_or(&[][..], Vec::as_slice);
        let mut commands = commands.iter().map(|id| &self.commands[*id]);
        commands.any(|command| command.user == user && fits(command.what))
    }

    fn assert_member(&self, user: UserId, id: ConversationId) {
        let members = self.conversations.get(&id).expect("a known conversation");
        assert!(members.contains(&user), "{user} is not in {id:?}");
    }

    fn is_closed(&self, user: UserId, id: ConversationId) -> bool {
        self.fold.closed.get(&(user, id)).copied().unwrap_or(false)
    }

    fn seen(&self, user: UserId, id: ConversationId) -> Seq {
        self.fold.seen.get(&(user, id)).copied().unwrap_or(0)
    }
}

fn key(device: u64, client_seq: Seq) -> (DeviceId, Seq) {
    (DeviceId(device), client_seq)
}

/// The command that an entry names.
pub(super) fn names(entry: &wire::Entry) -> Option<(DeviceId, Seq)> {
    match entry.kind.as_ref()? {
        Kind::Message(message) => Some(key(message.device, message.client_seq)),
        Kind::ReadMark(mark) => Some(key(mark.device, mark.client_seq)),
        Kind::Rejected(rejected) => Some(key(rejected.device, rejected.client_seq)),
        Kind::Receipt(_) | Kind::Relation(_) => None,
    }
}

/// Who sent the message of an entry.
pub(super) fn sender(entry: &Bytes) -> UserId {
    match wire::Entry::decode(entry.clone()).expect("rows decode").kind {
        Some(Kind::Message(message)) => UserId(message.sender),
        _ => panic!("a history holds messages"),
    }
}
