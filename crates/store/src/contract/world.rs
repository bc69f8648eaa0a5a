//! A small world for the contract tests: users, devices and friends, and short words for commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anser_proto::wire::{self, command, entry};
use anser_proto::{ConversationId, DeviceId, Seq, SessionId, UserId};
use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;

use crate::*;

/// Makes stores to test. One factory is one place for data.
#[async_trait]
pub trait Factory: Send + Sync {
    /// Opens the store; after its `close`, opens the same data again.
    async fn open(&self) -> Arc<dyn Store>;

    /// Ends the store as kill -9 would, and opens the same data again. An engine whose data is in
    /// another process has nothing to do but to let go.
    async fn crash(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        drop(store);
        self.open().await
    }

    /// Makes an open conversation of these members with key version 1, in the engine's own way
    /// while no store is open: no verb makes one of other than two yet.
    async fn group(&self, members: &[UserId]) -> ConversationId;
}

/// A user with one device, as most tests need them.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The user.
    pub user: UserId,
    /// A device of theirs.
    pub device: DeviceId,
}

/// An open store with helpers.
pub struct World {
    /// The store under test.
    pub store: Arc<dyn Store>,
    /// What `now_ms` is; tests move it.
    pub now_ms: AtomicU64,
    names: AtomicU64,
}

impl World {
    /// Opens the factory's store.
    pub async fn open(factory: &dyn Factory) -> Self {
        let (now_ms, names) = (AtomicU64::new(1_000_000), AtomicU64::new(0));
        Self { store: factory.open().await, now_ms, names }
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self, factory: &dyn Factory) {
        self.store.close().await.expect("closes");
        self.store = factory.open().await;
    }

    /// The time that the next verb gets.
    pub fn now(&self) -> u64 {
        self.now_ms.load(Relaxed)
    }

    /// A new user without devices.
    pub async fn user(&self) -> UserId {
        let name = format!("user-{}", self.names.fetch_add(1, Relaxed));
        let new = NewUser {
            id: UserId::random(),
            display_name: name.to_uppercase(),
            name,
            password_hash: None,
            system: false,
            invite: None,
            now_ms: self.now(),
        };
        match self.store.create_user(new).await.expect("creates a user") {
            CreateUser::Created(user) => user.id,
            refused => panic!("a fresh name was refused: {refused:?}"),
        }
    }

    /// A new device.
    pub async fn device(&self, user: UserId) -> DeviceId {
        let new = NewDevice {
            user,
            name: "a device".into(),
            token_hash: random_hash(),
            devices_max: 100,
            now_ms: self.now(),
        };
        self.store.create_device(new).await.expect("creates a device").expect("an active user")
    }

    /// A new user with a device.
    pub async fn person(&self) -> Person {
        let user = self.user().await;
        Person { user, device: self.device(user).await }
    }

    /// Does something to a relation.
    pub async fn relate(
        &self,
        actor: UserId,
        action: RelationAction,
        peer: UserId,
    ) -> RelationOutcome {
        let now_ms = self.now();
        let wrapped_key = b"wrapped".to_vec();
        let relations_max = 1000;
        let change = RelationChange { actor, peer, action, wrapped_key, relations_max, now_ms };
        self.store.change_relation(change).await.expect("changes a relation")
    }

    /// Makes two users friends.
    pub async fn befriend(&self, one: UserId, other: UserId) -> ConversationId {
        done(self.relate(one, RelationAction::Befriend, other).await).0.id
    }

    /// Two people who are friends, with their conversation.
    pub async fn friends(&self) -> (Person, Person, ConversationId) {
        let (alice, bob) = (self.person().await, self.person().await);
        let conversation = self.befriend(alice.user, bob.user).await;
        (alice, bob, conversation)
    }

    /// Commits records.
    pub async fn commit(&self, records: Vec<Record>) -> Committed {
        let batch = Batch { records, now_ms: self.now() };
        self.store.commit(batch).await.expect("commits")
    }

    /// Commits one record and gives what became of it.
    pub async fn one(&self, record: Record) -> Outcome {
        self.commit(vec![record]).await.outcomes[0]
    }

    /// The whole inbox above `after`, decoded, with a check that it is contiguous.
    pub async fn inbox(&self, user: UserId, after: Seq) -> Vec<(Seq, wire::Entry)> {
        let mut entries: Vec<(Seq, wire::Entry)> = Vec::new();
        loop {
            let after = entries.last().map_or(after, |(seq, _)| *seq);
            // Odd pages, and more and more in one: some tests read much.
            let limit = PageLimit { entries: 7 + entries.len(), bytes: 1 << 20 };
            let page = self.store.read_inbox(user, after, limit).await.expect("reads");
            let InboxPage::Entries { entries: page, head } = page else {
                panic!("{after} is below the floor: {page:?}");
            };
            if page.is_empty() {
                assert_eq!(after, head, "the page ends at the head");
                return entries;
            }
            for (at, row) in (after + 1..).zip(page) {
                assert_eq!(row.seq, at, "the inbox of {user} has no hole");
                entries.push((row.seq, decode(&row.entry)));
            }
        }
    }

    /// The head of an inbox.
    pub async fn head(&self, user: UserId) -> Seq {
        self.store.snapshot(user).await.expect("snapshot").head
    }

    /// The kinds of the entries above `after`.
    pub async fn kinds(&self, user: UserId, after: Seq) -> Vec<entry::Kind> {
        let entries = self.inbox(user, after).await;
        entries.into_iter().map(|(_, entry)| entry.kind.expect("a known kind")).collect()
    }

    /// A member's (delivered, read).
    pub async fn marks(&self, conversation: ConversationId, user: UserId) -> (Seq, Seq) {
        let all = self.store.conversations(user).await.expect("lists");
        let all = all.into_iter().find(|one| one.id == conversation).expect("a member");
        let member = all.members.into_iter().find(|member| member.user.id == user);
        member.map(|member| (member.delivered, member.read)).expect("a member")
    }

    /// A device's stored positions: (outbox, inbox).
    pub async fn positions(&self, person: Person) -> (Seq, Seq) {
        let devices = self.store.devices(person.user).await.expect("lists");
        let device = devices.into_iter().find(|device| device.id == person.device);
        device.map(|device| (device.outbox_position, device.inbox_position)).expect("a device")
    }
}

impl Person {
    /// A command of this person's device.
    pub fn command(self, client_seq: Seq, command: impl Into<Bytes>) -> Record {
        let Self { user, device } = self;
        Record::Command {
            user,
            device,
            session: SessionId(0),
            client_seq,
            command: command.into(),
            once: None,
            trace: None,
        }
    }

    /// A message.
    pub fn send(self, client_seq: Seq, conversation: ConversationId, body: &str) -> Record {
        self.command(client_seq, send_bytes(conversation, 1, body))
    }

    /// A read mark.
    pub fn read(self, client_seq: Seq, conversation: ConversationId, conv_seq: Seq) -> Record {
        let read = wire::Read { conversation: conversation.0, conv_seq };
        let kind = Some(command::Kind::Read(read));
        self.command(client_seq, wire::Command { kind, body: Bytes::new() }.encode_to_vec())
    }

    /// An ack that stores its position.
    pub fn ack(self, position: Seq, delivered: &[(ConversationId, Seq)]) -> Record {
        let Self { user, device } = self;
        let delivered = delivered.to_vec();
        Record::Ack { user, device, position, delivered, store_position: true }
    }
}

/// An encoded send command.
pub fn send_bytes(conversation: ConversationId, key_version: u32, body: &str) -> Bytes {
    let kind = Some(command::Kind::Send(wire::Send {
        conversation: conversation.0,
        key_version,
        ..<_>::default()
    }));
    let body = Bytes::copy_from_slice(body.as_bytes());
    wire::Command { kind, body }.encode_to_vec().into()
}

/// A decoded entry.
pub fn decode(entry: &Bytes) -> wire::Entry {
    wire::Entry::decode(entry.clone()).expect("an entry")
}

/// What a relation change did.
pub fn done(outcome: RelationOutcome) -> (Relation, Vec<NewEntry>) {
    match outcome {
        RelationOutcome::Done { relation, entries } => (relation, entries),
        RelationOutcome::Refused(code) => panic!("refused: {code:?}"),
    }
}

/// A hash of nothing that anybody knows.
pub fn random_hash() -> Hash {
    let mut hash = [0; 32];
    getrandom::fill(&mut hash).expect("the operating system gives random bytes");
    hash
}
