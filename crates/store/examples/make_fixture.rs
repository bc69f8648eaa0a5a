//! Makes a small data folder of the present schema: `make_fixture FOLDER`.
//!
//! `crates/store/fixtures/schema-N` was made by this with the code of schema N, and stays as it is:
//! every later version must open it. The test `embedded::tests::fixture` says what is in it.
//! `schema-N.manifest` beside it is that of a backup of the folder: its checksums tell every row of
//! every table.

use std::path::Path;

use anser_proto::wire::{self, command};
use anser_proto::{ConversationId, DeviceId, SessionId, UserId};
use anser_store::embedded::{Embedded, Options};
use anser_store::*;
use bytes::Bytes;
use prost::Message as _;

#[derive(Clone, Copy)]
struct Person {
    user: UserId,
    device: DeviceId,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let folder = std::env::args().nth(1).expect("a folder to make the store in");
    let folder = Path::new(&folder);
    let options = || Options { disk_floor_bytes: 0, ..Options::new(folder) };
    let store = Embedded::open(options()).expect("the store opens");
    fill(&store).await;
    store.close().await.expect("closes");
    // A journal is made 64 MiB long and cut to what is in it by the next start.
    let store = Embedded::open(options()).expect("the store opens again");
    let copy = folder.with_extension("backup");
    println!("{:?}", store.backup(&copy).await.expect("a backup"));
    store.close().await.expect("closes");
    let manifest = folder.with_extension("manifest");
    std::fs::rename(copy.join("manifest"), manifest).expect("moves the manifest");
    std::fs::remove_dir_all(copy).expect("removes the rest of the backup");
}

async fn fill(store: &Embedded) {
    store.claim_key_check(b"key check".to_vec()).await.expect("claims");
    store.create_invite([7; 32], 100).await.expect("an invitation");
    store.create_invite([8; 32], 100).await.expect("an invitation");
    let alice = person(store, 1001, "alice", None).await;
    let bob = person(store, 1002, "bob", None).await;
    let carol = person(store, 1003, "carol", Some([7; 32])).await;
    let dave = person(store, 1004, "dave", None).await;

    let ours = relate(store, alice, RelationAction::Befriend, bob, b"key 1").await;
    relate(store, carol, RelationAction::Request, alice, b"").await;
    relate(store, bob, RelationAction::Block, carol, b"").await;
    let over = relate(store, alice, RelationAction::Befriend, dave, b"key of dave").await;
    commit(store, 1_000, vec![send(dave, 1, over, 1, b"before dave left")]).await;
    store.remove_user(dave.user, 1_500).await.expect("removes").expect("there was one");

    for n in 1..=MESSAGES {
        let body = format!("message {n}");
        commit(store, 2_000 + 10 * n, vec![send(alice, n, ours, 1, body.as_bytes())]).await;
    }
    let delivered = |position, conv_seq| Record::Ack {
        user: bob.user,
        device: bob.device,
        position,
        delivered: vec![(ours, conv_seq)],
        store_position: true,
    };
    commit(store, 3_000, vec![delivered(40, 38), read(bob, 1, ours, 30)]).await;
    let all = store.snapshot(alice.user).await.expect("a snapshot").head;
    let passed = Record::Ack {
        user: alice.user,
        device: alice.device,
        position: all,
        delivered: Vec::new(),
        store_position: true,
    };
    commit(store, 3_000, vec![passed]).await;
    // Of the messages before 2,300 bob's device passed all, alice's too.
    while store.prune(2_300, 50).await.expect("prunes") > 0 {}

    relate(store, alice, RelationAction::Remove, bob, b"").await;
    relate(store, bob, RelationAction::Befriend, alice, b"key 2").await;
    let rejected = send(alice, MESSAGES + 1, ConversationId(5), 1, b"to nowhere");
    commit(store, 4_000, vec![rejected]).await;
    let once = Record::Command {
        user: bob.user,
        device: bob.device,
        session: SessionId(0),
        client_seq: 2,
        command: send_bytes(ours, 2, b"with the second key"),
        once: Some(Box::new([9; 32])),
        trace: None,
    };
    commit(store, 5_000, vec![once]).await;
    let change = UserChange {
        password_hash: Some("$argon2id$".into()),
        state: Some(UserState::Disabled),
        ..UserChange::default()
    };
    store.update_user(carol.user, change).await.expect("updates").expect("there is one");
    device(store, alice.user, [11; 32], "a second device").await;
}

async fn person(store: &Embedded, id: u64, name: &str, invite: Option<Hash>) -> Person {
    let new = NewUser {
        id: UserId(id),
        name: name.into(),
        display_name: name.to_uppercase(),
        password_hash: None,
        system: name == "bob",
        invite,
        now_ms: id,
    };
    let created = store.create_user(new).await.expect("a user");
    let CreateUser::Created(user) = created else { panic!("{created:?}") };
    let token_hash = [u8::try_from(id % 100).expect("below 100"); 32];
    Person { user: user.id, device: device(store, user.id, token_hash, "a device").await }
}

async fn device(store: &Embedded, user: UserId, token_hash: Hash, name: &str) -> DeviceId {
    let new = NewDevice { user, name: name.into(), token_hash, devices_max: 9, now_ms: 900 };
    store.create_device(new).await.expect("a device").expect("an active user")
}

async fn relate(
    store: &Embedded,
    actor: Person,
    action: RelationAction,
    peer: Person,
    key: &[u8],
) -> ConversationId {
    let change = RelationChange {
        actor: actor.user,
        peer: peer.user,
        action,
        wrapped_key: key.to_vec(),
        relations_max: 9,
        now_ms: 950,
    };
    let outcome = store.change_relation(change).await.expect("a relation");
    let RelationOutcome::Done { relation, .. } = outcome else { panic!("{outcome:?}") };
    relation.id
}

async fn commit(store: &Embedded, now_ms: u64, records: Vec<Record>) {
    let committed = store.commit(Batch { records, now_ms }).await.expect("commits");
    assert!(committed.outcomes.iter().all(|outcome| *outcome == Outcome::Applied));
}

fn send(from: Person, client_seq: u64, to: ConversationId, key: u32, body: &[u8]) -> Record {
    command(from, client_seq, send_bytes(to, key, body))
}

fn send_bytes(to: ConversationId, key_version: u32, body: &[u8]) -> Bytes {
    let kind =
        Some(command::Kind::Send(wire::Send { conversation: to.0, key_version, ..<_>::default() }));
    wire::Command { kind, body: body.to_vec().into() }.encode_to_vec().into()
}

fn read(from: Person, client_seq: u64, conversation: ConversationId, conv_seq: u64) -> Record {
    let read = wire::Read { conversation: conversation.0, conv_seq };
    let kind = Some(command::Kind::Read(read));
    let bytes = wire::Command { kind, body: Bytes::new() }.encode_to_vec();
    command(from, client_seq, bytes.into())
}

fn command(from: Person, client_seq: u64, command: Bytes) -> Record {
    let Person { user, device } = from;
    Record::Command {
        user,
        device,
        session: SessionId(0),
        client_seq,
        command,
        once: None,
        trace: None,
    }
}

/// More than a device's last commands that can be compared.
const MESSAGES: u64 = 80;
