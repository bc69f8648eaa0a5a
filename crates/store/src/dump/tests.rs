//! Data to move: what a random plan leaves, and some of everything that it does not make.

use std::sync::{Arc, Mutex};

use anser_proto::wire::{self, command};
use anser_proto::{ConversationId, UserId};
use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;

use super::{Place, Summary};
use crate::contract::{Factory, Person, World, random_operations};
use crate::*;

/// A dump in memory.
pub(crate) async fn export(place: &Place) -> (Vec<u8>, Summary) {
    let mut bytes = Vec::new();
    let summary = place.export(&mut bytes).await.unwrap();
    (bytes, summary)
}

pub(crate) async fn import(place: &Place, dump: &[u8]) -> super::Result<Summary> {
    place.import(&mut &dump[..]).await
}

/// Fills an empty store. It is closed before and after.
pub(crate) async fn fill(factory: &dyn Factory, seed: u64) {
    let keeper = Keeper { factory, last: Mutex::default() };
    random_operations(&keeper, seed).await;
    let world = World::open(&keeper).await;
    some_of_everything(&world).await;
    let users = world.store.users(None, 3).await.unwrap();
    world.store.close().await.unwrap();
    // Not in the order of their ids.
    let members: Vec<UserId> = users.iter().rev().map(|user| user.id).collect();
    factory.group(&members).await;
}

/// What a random plan does not make.
async fn some_of_everything(world: &World) {
    let store = &world.store;
    store.claim_key_check(vec![0xab; 16]).await.unwrap();
    for code in [[1; 32], [2; 32]] {
        store.create_invite(code, 77).await.unwrap();
    }
    let alice = person(world, "alice, 鸿雁", Some([1; 32])).await;
    let bob = person(world, "bob", None).await;
    let chat = world.befriend(alice.user, bob.user).await;
    world.relate(bob.user, RelationAction::Remove, alice.user).await;
    assert_eq!(world.befriend(alice.user, bob.user).await, chat, "two keys now");
    let other = person(world, "carol", None).await;
    world.relate(other.user, RelationAction::Request, alice.user).await;
    world.relate(bob.user, RelationAction::Block, other.user).await;

    let mut records: Vec<Record> =
        (1..=70).map(|number| alice.send(number, chat, &format!("honk {number}"))).collect();
    if let Record::Command { once, .. } = &mut records[0] {
        *once = Some(Box::new(ONCE));
    }
    records.extend([bob.ack(40, &[(chat, 30)]), bob.read(1, chat, 7)]);
    let outcomes = world.commit(records).await.outcomes;
    assert!(outcomes.iter().all(|one| *one == Outcome::Applied), "{outcomes:?}");
    let mut files = Vec::new();
    for whole in [false, true, true, true] {
        let (now_ms, user_bytes_max) = (world.now(), 1000);
        let owner = alice.user;
        let new = NewFile { owner, conversation: chat, size: 100, user_bytes_max, now_ms };
        let CreateFile::Created(file) = store.create_file(new).await.unwrap() else { panic!() };
        store.advance_file(file.id, whole, now_ms).await.unwrap();
        files.push(file.id);
    }
    store.end_file(alice.user, files[2]).await.unwrap();
    let send = wire::Send { conversation: chat.0, key_version: 1, files: vec![files[3].0] };
    let (kind, body) = (Some(command::Kind::Send(send)), Bytes::from_static(b"sealed"));
    let command = wire::Command { kind, body }.encode_to_vec();
    assert_eq!(world.one(alice.command(71, command)).await, Outcome::Applied);
    let disabled = UserChange { state: Some(UserState::Disabled), ..UserChange::default() };
    store.update_user(other.user, disabled).await.unwrap();
}

async fn person(world: &World, name: &str, invite: Option<Hash>) -> Person {
    let new = NewUser {
        id: UserId::random(),
        name: name.into(),
        display_name: format!("{name}; 'quoted' \\ \u{1f9a2}"),
        password_hash: invite.map(|_| "$argon2id$v=19$…".into()),
        system: invite.is_none(),
        invite,
        now_ms: world.now(),
    };
    let CreateUser::Created(user) = world.store.create_user(new).await.unwrap() else { panic!() };
    Person { user: user.id, device: world.device(user.id).await }
}

/// All that can be read through the verbs, which look things up by rows that no dump holds.
pub(crate) async fn seen(store: &dyn Store) -> Vec<String> {
    // The version of the tables is the engine's own.
    let Meta { epoch, key_check, .. } = store.meta().await.unwrap();
    let mut seen = vec![format!("{epoch} {key_check:?}")];
    let users = store.users(None, 10_000).await.unwrap();
    for user in &users {
        let id = user.id;
        assert_eq!(store.user(UserKey::Name(user.name.clone())).await.unwrap(), Some(user.clone()));
        let Snapshot { epoch, head, relations, conversations } = store.snapshot(id).await.unwrap();
        seen.push(format!("{user:?} {epoch} {head} {relations:?}"));
        for mut one in conversations {
            // A folder keeps the order in which a group was made; no verb tells of an order.
            one.members.sort_by_key(|member| member.user.id);
            let page = store.history(id, one.id, HistoryRange::After(0), 10_000).await.unwrap();
            seen.push(format!("{one:?} {page:?}"));
        }
        seen.push(format!("{:?}", store.devices(id).await.unwrap()));
        let limit = PageLimit { entries: 100_000, bytes: usize::MAX };
        let mut page = store.read_inbox(id, 0, limit).await.unwrap();
        if let InboxPage::BelowFloor { floor } = page {
            seen.push(format!("floor {floor}"));
            page = store.read_inbox(id, floor - 1, limit).await.unwrap();
        }
        seen.push(format!("{page:?}"));
    }
    seen
}

/// What depends on rows that no dump holds, and changes something: room for files, files that
/// nobody names, codes and keys that were used.
pub(crate) async fn works(store: &dyn Store) {
    let alice = store.user(UserKey::Name("alice, 鸿雁".into())).await.unwrap().unwrap();
    let open = |one: &Conversation| one.open && one.members.len() == 2;
    let chats = store.conversations(alice.id).await.unwrap();
    let chat = chats.into_iter().find(open).unwrap();
    let new = |size| NewFile {
        owner: alice.id,
        conversation: chat.id,
        size,
        user_bytes_max: 1000,
        now_ms: 1,
    };
    let full = store.create_file(new(601)).await.unwrap();
    assert!(matches!(full, CreateFile::Refused(anser_proto::Code::QuotaExceeded)), "{full:?}");
    let fits = store.create_file(new(600)).await.unwrap();
    assert!(matches!(fits, CreateFile::Created(_)), "{fits:?}");
    let all = FileExpiry {
        incomplete_before_ms: u64::MAX >> 11,
        complete_before_ms: u64::MAX >> 11,
        files_max: 10_000,
    };
    let ended = store.expire_files(all).await.unwrap();
    let own = store.expire_files(all).await.unwrap();
    assert!(ended.len() >= 4 && ended.len() == own.len(), "all but the one that is named");
    store.forget_files(ended).await.unwrap();
    let fits = store.create_file(new(900)).await.unwrap();
    assert!(matches!(fits, CreateFile::Created(_)), "what is forgotten takes no room: {fits:?}");

    // Her relations are counted by what she sees of each.
    let relations = store.relations(alice.id).await.unwrap();
    let none = wire::RelationState::None;
    let count = relations.iter().filter(|one| one.state != none).count();
    let peers: Vec<_> = relations.iter().map(|one| one.peer.id).collect();
    let users = store.users(None, 10_000).await.unwrap();
    let stranger = users.iter().find(|user| {
        user.id != alice.id && user.state != UserState::Removed && !peers.contains(&user.id)
    });
    let ask = |relations_max| RelationChange {
        actor: alice.id,
        peer: stranger.unwrap().id,
        action: RelationAction::Request,
        wrapped_key: b"wrapped".to_vec(),
        relations_max,
        now_ms: 1,
    };
    let full = store.change_relation(ask(count)).await.unwrap();
    let too_many = RelationOutcome::Refused(anser_proto::Code::TooMany);
    assert_eq!(format!("{full:?}"), format!("{too_many:?}"));
    let fits = store.change_relation(ask(count + 1)).await.unwrap();
    assert!(matches!(fits, RelationOutcome::Done { .. }), "{fits:?}");

    let device = store.devices(alice.id).await.unwrap().remove(0);
    let alice = Person { user: alice.id, device: device.id };
    let mut record = alice.send(device.outbox_position + 1, chat.id, "twice");
    if let Record::Command { once, .. } = &mut record {
        *once = Some(Box::new(ONCE));
    }
    let next = alice.send(device.outbox_position + 1, chat.id, "on");
    let repeat = alice.send(device.outbox_position - 1, chat.id, "honk 70");
    let records = vec![record, next, repeat];
    let committed = store.commit(Batch { records, now_ms: 5_000_000 }).await.unwrap();
    assert_eq!(committed.outcomes, [Outcome::Repeat, Outcome::Applied, Outcome::Repeat]);
    let head = committed.entries.iter().map(|entry| entry.seq).max();
    assert!(head > Some(70), "numbers go on: {head:?}");
}

/// A factory that remembers the store that it opened last, and can close what a plan leaves open.
struct Keeper<'f> {
    factory: &'f dyn Factory,
    last: Mutex<Option<Arc<dyn Store>>>,
}

impl Keeper<'_> {
    fn last(&self) -> Option<Arc<dyn Store>> {
        self.last.lock().unwrap().take()
    }

    fn keep(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        *self.last.lock().unwrap() = Some(Arc::clone(&store));
        store
    }
}

#[async_trait]
impl Factory for Keeper<'_> {
    async fn open(&self) -> Arc<dyn Store> {
        if let Some(last) = self.last() {
            last.close().await.unwrap();
        }
        self.keep(self.factory.open().await)
    }

    async fn crash(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        drop(self.last());
        self.keep(self.factory.crash(store).await)
    }

    async fn group(&self, members: &[UserId]) -> ConversationId {
        self.factory.group(members).await
    }
}

/// No random plan has this one.
const ONCE: Hash = *b"once, as a product server says!!";
