//! Upgrades: a data folder of each released schema opens, with every row in it, and goes on.
//!
//! The folders are in `fixtures`; `examples/make_fixture.rs` made them and tells what is in them.

use std::path::{Path, PathBuf};

use anser_proto::wire::{RelationState, entry::Kind};
use anser_proto::{Code, ConversationId, Seq, SessionId, UserId};

use super::{Folder, folder};
use crate::contract::{Person, World, done};
use crate::*;

const ALICE: UserId = UserId(1001);
const BOB: UserId = UserId(1002);
const CAROL: UserId = UserId(1003);
const DAVE: UserId = UserId(1004);
const MESSAGES: u64 = 80;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A world over a copy of a fixture.
async fn copy_of(name: &str) -> (Folder, World) {
    let folder = Folder::new();
    folder::copy(&fixture(name), folder.0.path());
    let world = World::open(&folder).await;
    (folder, world)
}

#[tokio::test]
async fn schema_1_opens_with_every_row() {
    let (folder, world) = copy_of("schema-1").await;
    let backup = folder.0.path().join("backup");
    world.store.backup(&backup).await.unwrap();
    // The manifest has the number of rows and the checksum of each table, epoch and key check.
    let manifest = std::fs::read_to_string(backup.join("manifest")).unwrap();
    let expected = std::fs::read_to_string(fixture("schema-1.manifest")).unwrap();
    // Tables that came since are there, and empty.
    let later = |line: &&str| line.starts_with("table im_file") && line.contains(" 0 0 ");
    let kept: Vec<_> = manifest.lines().filter(|line| !later(line)).collect();
    assert_eq!(kept, expected.lines().collect::<Vec<_>>());
}

#[tokio::test]
async fn schema_1_is_understood() {
    let (_folder, world) = copy_of("schema-1").await;
    let store = &*world.store;
    let meta = store.meta().await.unwrap();
    assert_eq!(meta.key_check.as_deref(), Some(&b"key check"[..]));
    let users = store.users(None, 9).await.unwrap();
    let accounts = users.iter().map(|user| (user.id, user.name.as_str(), user.state, user.system));
    let expected = [
        (ALICE, "alice", UserState::Active, false),
        (BOB, "bob", UserState::Active, true),
        (CAROL, "carol", UserState::Disabled, false),
        (DAVE, "dave", UserState::Removed, false),
    ];
    assert!(accounts.eq(expected), "{users:?}");
    assert_eq!(users[2].password_hash.as_deref(), Some("$argon2id$"));
    let names = |devices: Vec<Device>| devices.into_iter().map(|one| one.name).collect::<Vec<_>>();
    let mut of_alice = names(store.devices(ALICE).await.unwrap());
    of_alice.sort();
    assert_eq!(of_alice, ["a device", "a second device"]);
    assert!(store.devices(DAVE).await.unwrap().is_empty());
    assert_eq!(store.token([2; 32]).await.unwrap().unwrap().user, BOB);
    assert_eq!(store.token([3; 32]).await.unwrap(), None, "carol is disabled");
    for (code, good) in [([7; 32], false), ([8; 32], true)] {
        let new = NewUser { invite: Some(code), name: format!("{code:?}"), ..new_user() };
        let created = store.create_user(new).await.unwrap();
        assert_eq!(matches!(created, CreateUser::Created(_)), good, "{created:?}");
    }

    let relations = store.relations(ALICE).await.unwrap();
    let of = |peer| relations.iter().find(|one| one.peer.id == peer).unwrap();
    let keys = |peer| of(peer).wrapped_keys.iter().map(|key| &key[..]).collect::<Vec<_>>();
    assert_eq!((of(BOB).state, keys(BOB)), (RelationState::Friends, vec![&b"key 1"[..], b"key 2"]));
    assert_eq!((of(CAROL).state, keys(CAROL)), (RelationState::Incoming, vec![]));
    assert_eq!((of(DAVE).state, keys(DAVE)), (RelationState::None, vec![&b"key of dave"[..]]));
    let of_bob = store.relations(BOB).await.unwrap();
    assert!(of_bob.iter().any(|one| (one.peer.id, one.state) == (CAROL, RelationState::Blocked)));

    let conversations = store.conversations(ALICE).await.unwrap();
    let with = |id| conversations.iter().find(|one| one.id == id).unwrap();
    let (ours, over) = (with(of(BOB).id), with(of(DAVE).id));
    assert_eq!((ours.open, ours.head, ours.unread), (true, MESSAGES + 1, 1));
    assert_eq!((over.open, over.head, over.unread), (false, 1, 1));
    assert_eq!(world.marks(ours.id, BOB).await, (38, 30));
    assert_eq!(world.marks(ours.id, ALICE).await, (0, 0));
    let history = store.history(BOB, ours.id, HistoryRange::Latest, 99).await.unwrap().unwrap();
    for (n, message) in (1..=MESSAGES).zip(&history.messages) {
        let entry = crate::contract::decode(message);
        assert_eq!(entry.body, format!("message {n}"));
        let Some(Kind::Message(message)) = entry.kind else { panic!("a message") };
        assert_eq!((message.conv_seq, message.created_at_ms), (n, 2_000 + 10 * n));
    }
    check_inboxes(&world, ours.id).await;
}

/// Pruned up to the messages of before 2,300; then receipts, relations and a rejection.
async fn check_inboxes(world: &World, ours: ConversationId) {
    let limit = PageLimit { entries: 9, bytes: 1 << 20 };
    let mut floors = Vec::new();
    for user in [ALICE, BOB] {
        let page = world.store.read_inbox(user, 0, limit).await.unwrap();
        let InboxPage::BelowFloor { floor } = page else { panic!("{page:?}") };
        let first = world.kinds(user, floor - 1).await.remove(0);
        assert!(matches!(first, Kind::Message(message) if message.created_at_ms == 2_300));
        floors.push(floor);
    }
    let of_alice = world.kinds(ALICE, floors[0] - 1).await;
    let receipts = of_alice.iter().filter_map(|kind| match kind {
        Kind::Receipt(one) => Some((one.conversation, one.user, one.delivered, one.read)),
        _ => None,
    });
    assert!(receipts.eq([(ours.0, BOB.0, 38, 30)]), "{of_alice:?}");
    let rejected = of_alice.iter().filter_map(|kind| match kind {
        Kind::Rejected(one) => Some((one.code, one.client_seq, one.conversation)),
        _ => None,
    });
    assert!(rejected.eq([(Code::NotMember.number(), MESSAGES + 1, 5)]), "{of_alice:?}");
    let relations = |kind: &&Kind| matches!(kind, Kind::Relation(_));
    assert_eq!(of_alice.iter().filter(relations).count(), 2, "over, and friends again");
    let of_bob = world.kinds(BOB, floors[1] - 1).await;
    assert_eq!(of_bob.iter().filter(|kind| matches!(kind, Kind::ReadMark(_))).count(), 1);
}

#[tokio::test]
async fn schema_1_goes_on() {
    let (folder, mut world) = copy_of("schema-1").await;
    let [alice, bob] = persons(&world).await;
    let relations = world.store.relations(ALICE).await.unwrap();
    let ours = relations.iter().find(|one| one.peer.id == BOB).unwrap().id;
    let heads = (world.head(ALICE).await, world.head(BOB).await);
    assert_eq!(world.positions(alice).await, (MESSAGES + 1, heads.0 - 4), "then came four more");

    let again = |n: Seq| alice.send(n, ours, &format!("message {n}"));
    let stale = Outcome::Refused(Code::DeviceStale);
    assert_eq!(world.one(again(MESSAGES - 63)).await, stale, "64 digests are known");
    assert_eq!(world.one(again(MESSAGES - 62)).await, Outcome::Repeat);
    let conflict = Outcome::Refused(Code::Conflict);
    assert_eq!(world.one(alice.send(MESSAGES, ours, "another")).await, conflict);
    let once = Record::Command {
        user: BOB,
        device: bob.device,
        session: SessionId(0),
        client_seq: 3,
        command: crate::contract::send_bytes(ours, 2, "again"),
        once: Some(Box::new([9; 32])),
        trace: None,
    };
    assert_eq!(world.one(once).await, Outcome::Repeat, "the once key is known");

    world.commit(vec![alice.send(MESSAGES + 2, ours, "on"), bob.send(3, ours, "and on")]).await;
    assert_eq!((world.head(ALICE).await, world.head(BOB).await), (heads.0 + 2, heads.1 + 2));
    done(world.relate(ALICE, RelationAction::Accept, CAROL).await);
    world.reopen(&folder).await;
    assert_eq!(world.positions(alice).await.0, MESSAGES + 2);
    assert_eq!(world.head(BOB).await, heads.1 + 2);
}

/// Alice's first device and bob's.
async fn persons(world: &World) -> [Person; 2] {
    let mut persons = [ALICE, BOB].map(|user| Person { user, device: Default::default() });
    for person in &mut persons {
        let devices = world.store.devices(person.user).await.unwrap();
        person.device = devices.iter().find(|one| one.name == "a device").unwrap().id;
    }
    persons
}

fn new_user() -> NewUser {
    NewUser {
        id: UserId(1005),
        name: String::new(),
        display_name: String::new(),
        password_hash: None,
        system: false,
        invite: None,
        now_ms: 1,
    }
}
