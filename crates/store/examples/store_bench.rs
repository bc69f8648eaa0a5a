//! How many messages a second the embedded store commits, one caller, one sync per batch.
//!
//! `store_bench FOLDER [USERS] [BATCH] [SECONDS]`: makes USERS users (100,000), friends in pairs,
//! and sends messages of random pairs with sealed bodies of 128 bytes, BATCH (256) per commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anser_proto::{ConversationId, DeviceId, UserId, wire};
use anser_store::embedded::{Embedded, Options};
use anser_store::*;
use prost::Message as _;

#[derive(Clone, Copy)]
struct Sender {
    user: UserId,
    device: DeviceId,
    conversation: ConversationId,
    client_seq: u64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder to make the store in");
    let mut number =
        |default| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (users, batch, seconds) = (number(100_000), number(256), number(10));
    let store: Arc<dyn Store> =
        Arc::new(Embedded::open(Options::new(folder)).expect("the store opens"));

    let started = Instant::now();
    let mut senders = setup(&store, users).await;
    let took = started.elapsed();
    println!("{users} users, {} pairs in {took:.1?}", users / 2);

    let body = vec![0x5a; 128];
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let (mut messages, mut slowest, mut waited) = (0_u64, Duration::ZERO, Duration::ZERO);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(seconds) {
        let records = (0..batch).map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = usize::try_from(random % senders.len() as u64).expect("an index");
            command(&mut senders[at], &body)
        });
        let batch = Batch { records: records.collect(), now_ms: 1 };
        let began = Instant::now();
        let committed = store.commit(batch).await.expect("commits");
        slowest = slowest.max(began.elapsed());
        waited += committed.sync.unwrap_or_default();
        assert!(committed.outcomes.iter().all(|outcome| *outcome == Outcome::Applied));
        messages += committed.outcomes.len() as u64;
    }
    let took = started.elapsed();
    let per_s = messages as f64 / took.as_secs_f64();
    println!(
        "{per_s:.0} msg/s, batches of {batch}, {:.0} % of the time in write and sync, slowest commit {slowest:.1?}",
        waited.as_secs_f64() / took.as_secs_f64() * 100.0
    );
    println!("{:?}", store.stats());
    store.close().await.expect("closes");
}

fn command(sender: &mut Sender, body: &[u8]) -> Record {
    sender.client_seq += 1;
    let send = wire::Send { conversation: sender.conversation.0, key_version: 1 };
    let kind = Some(wire::command::Kind::Send(send));
    let command = wire::Command { kind, body: body.to_vec().into() };
    Record::Command {
        user: sender.user,
        device: sender.device,
        client_seq: sender.client_seq,
        command: command.encode_to_vec().into(),
        once: None,
    }
}

/// Makes the users by 64 tasks, so that the writer has groups to sync.
async fn setup(store: &Arc<dyn Store>, users: u64) -> Vec<Sender> {
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut senders = Vec::new();
                for pair in (task..users / 2).step_by(64) {
                    senders.extend(friends(&*store, pair).await);
                }
                senders
            })
        })
        .collect();
    let mut senders = Vec::new();
    for task in tasks {
        senders.extend(task.await.expect("a task ends"));
    }
    senders
}

async fn friends(store: &dyn Store, pair: u64) -> [Sender; 2] {
    let one = person(store, pair * 2).await;
    let other = person(store, pair * 2 + 1).await;
    let change = RelationChange {
        actor: one.0,
        peer: other.0,
        action: RelationAction::Befriend,
        wrapped_key: vec![7; 60],
        relations_max: 1000,
        now_ms: 1,
    };
    let outcome = store.change_relation(change).await.expect("a relation");
    let RelationOutcome::Done { relation, .. } = outcome else { panic!("{outcome:?}") };
    let conversation = relation.id;
    [one, other].map(|(user, device)| Sender { user, device, conversation, client_seq: 0 })
}

async fn person(store: &dyn Store, number: u64) -> (UserId, DeviceId) {
    let new = NewUser {
        id: UserId::random(),
        name: format!("user-{number}"),
        display_name: String::new(),
        password_hash: None,
        system: false,
        invite: None,
        now_ms: 1,
    };
    let created = store.create_user(new).await.expect("a user");
    let CreateUser::Created(user) = created else { panic!("{created:?}") };
    let mut token_hash = [0; 32];
    token_hash[..8].copy_from_slice(&user.id.0.to_le_bytes());
    let new =
        NewDevice { user: user.id, name: "bench".into(), token_hash, devices_max: 1, now_ms: 1 };
    let device = store.create_device(new).await.expect("a device").expect("an active user");
    (user.id, device)
}
