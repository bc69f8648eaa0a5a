//! Several stores on one database: nothing is lost between them, and no number is given out twice.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anser_proto::{SessionId, UserId};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::sync::Barrier;

use super::Database;
use super::again::{LOCKS_INBOXES, messages, sends, wait_for_one_at};
use crate::contract::{Person, World, by, greet};
use crate::mysql::{Mysql, Options};
use crate::{Batch, Devices, Outcome, Record, Store};

const PEOPLE: usize = 6;
const ROUNDS: u64 = 20;

/// Everybody writes to everybody, through two stores, which see them in opposite orders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_stores_that_write_across_each_other_lose_nothing() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let mut people = Vec::new();
    for _ in 0..PEOPLE {
        people.push(world.person().await);
    }
    let mut pairs = Vec::new();
    for (at, one) in people.iter().enumerate() {
        for other in &people[at + 1..] {
            pairs.push((*one, *other, world.befriend(one.user, other.user).await));
        }
    }
    let start = Arc::new(Barrier::new(2));
    let mut writers = Vec::new();
    for forwards in [true, false] {
        // Each pair's first one writes through one store, the second through the other one; a
        // person's two stores would overtake each other, so each has a device for either.
        let mut senders = Vec::new();
        for (one, other, place) in &pairs {
            let from = if forwards { one } else { other };
            senders.push((Person { device: world.device(from.user).await, ..*from }, *place));
        }
        if !forwards {
            senders.reverse();
        }
        let (store, start) = (database.store().await, Arc::clone(&start));
        writers.push(tokio::spawn(async move {
            start.wait().await;
            for round in 1..=ROUNDS {
                // Few at a time: other conversations than the other one's, the same inboxes.
                for senders in senders.chunks(2) {
                    let records: Vec<Record> = senders
                        .iter()
                        .flat_map(|(person, place)| sends(*person, *place, round..round + 1))
                        .collect();
                    let count = records.len();
                    let committed = store.commit(Batch { records, now_ms: round }).await.unwrap();
                    assert_eq!(committed.outcomes, vec![Outcome::Applied; count]);
                    assert_eq!(committed.entries.len(), 2 * count);
                }
            }
            store.inner.counters.again.load(Relaxed)
        }));
    }
    let mut again = 0;
    for writer in writers {
        again += writer.await.unwrap();
    }
    // Each waits for the other one's rows: that numbers collide and are found out is not enough.
    assert!(again < ROUNDS, "{again} transactions were run again");
    for person in &people {
        // `inbox` checks that each is contiguous.
        let mine = messages(&world, person.user).await;
        assert_eq!(mine.len() as u64, (PEOPLE as u64 - 1) * 2 * ROUNDS);
    }
    for (one, _, place) in &pairs {
        let range = crate::HistoryRange::Latest;
        let history = world.store.history(one.user, *place, range, 1000).await.unwrap().unwrap();
        assert_eq!(history.messages.len() as u64, 2 * ROUNDS, "no hole, or it would not be read");
    }
}

/// Two that hold what the other wants: the server undoes one, which is run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_deadlock_is_run_again() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, bob, conversation) = world.friends().await;
    let lock = |table: &str, user: UserId| {
        AssertSqlSafe(format!("SELECT * FROM {table} WHERE user = {} FOR UPDATE", user.0))
    };
    let mut hand = database.connect().await;
    let mut other_hand = database.connect().await;
    let mut runs = 0;
    // Which of the two is undone is the server's choice; the one who changed less, mostly.
    let store = database.store().await;
    for number in 1.. {
        hand.execute("START TRANSACTION").await.unwrap();
        hand.execute(lock("im_inbox_head", bob.user)).await.unwrap();
        for weight in 0..20 {
            let row = format!("INSERT INTO im_once VALUES (RANDOM_BYTES(32), {weight})");
            let row = row.replace("RANDOM_BYTES(32)", "UNHEX(SHA2(RAND(), 256))");
            hand.execute(AssertSqlSafe(row)).await.unwrap();
        }
        let batch = Batch { records: sends(alice, conversation, number..number + 1), now_ms: 1 };
        let committing = tokio::spawn({
            let store = store.clone();
            async move { store.commit(batch).await }
        });
        wait_for_one_at(LOCKS_INBOXES, &database, &mut other_hand).await;
        let undone = hand.execute(lock("im_device", alice.user)).await.is_err();
        hand.execute("ROLLBACK").await.unwrap();
        assert_eq!(committing.await.unwrap().unwrap().outcomes, [Outcome::Applied]);
        runs = number;
        if !undone {
            break;
        }
        assert!(number < 50, "it is always the other one");
    }
    assert!(store.inner.counters.again.load(Relaxed) > 0);
    assert_eq!(messages(&world, bob.user).await, (1..=runs).map(|n| (n, n)).collect::<Vec<_>>());
}

/// A Hello through one store fences what an older session has under way through another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_a_hello_fences_the_other_store() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, _, conversation) = world.friends().await;
    let (first, second) = (SessionId(u64::MAX), SessionId(2));
    greet(&world, alice, first).await;
    let other = database.store().await;
    for round in 0..20_u64 {
        let (older, newer) = if round % 2 == 0 { (first, second) } else { (second, first) };
        let before = world.positions(alice).await.0;
        let record = by(older, alice.send(before + 1, conversation, "by the older session"));
        let committing = tokio::spawn({
            let other = other.clone();
            async move { other.commit(Batch { records: vec![record], now_ms: 1 }).await }
        });
        let epoch = world.store.meta().await.unwrap().epoch;
        let hello = crate::Hello {
            session: newer,
            epoch,
            position: 0,
            outbox_head: u64::MAX >> 12,
            outbox_trimmed: 0,
        };
        let greeting = world.store.greet(alice.device, hello, 1).await.unwrap();
        let Some(crate::Greeting::Welcome { outbox_position, .. }) = greeting else {
            panic!("{greeting:?}")
        };
        let outcome = committing.await.unwrap().unwrap().outcomes[0];
        let replaced = Outcome::Refused(anser_proto::Code::Replaced);
        // In it, or refused: never applied after it was told.
        match outcome {
            Outcome::Applied => assert_eq!(outbox_position, before + 1),
            refused => assert_eq!((refused, outbox_position), (replaced, before)),
        }
        assert_eq!(world.positions(alice).await.0, outbox_position);
    }
}

/// Who ends a session reads and locks its token, not those of everybody who logs in.
#[tokio::test]
async fn a_revoked_device_waits_for_nobodys_login() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, bob) = (world.person().await, world.person().await);
    let mut hand = database.connect().await;
    hand.execute("START TRANSACTION").await.unwrap();
    // By its key, as a login does: else the hand would lock all of them itself.
    let bobs = "SELECT token_hash FROM im_token WHERE user = ?";
    let bobs = sqlx::query_as::<_, (Vec<u8>,)>(bobs).bind(bob.user.0);
    let (bobs,) = bobs.fetch_one(&mut hand).await.unwrap();
    let login = sqlx::query("SELECT * FROM im_token WHERE token_hash = ? FOR UPDATE").bind(bobs);
    login.execute(&mut hand).await.unwrap();
    let options = Options { patience: Duration::ZERO, ..database.options() };
    let store = Mysql::open(options).await.unwrap();
    let ended = store.revoke_devices(alice.user, Devices::All).await;
    assert_eq!(ended.unwrap(), [alice.device], "it waits for no lock");
    hand.execute("ROLLBACK").await.unwrap();
    let tokens = "SELECT device FROM im_token";
    let left: Vec<(u64,)> = sqlx::query_as(tokens).fetch_all(&mut hand).await.unwrap();
    assert_eq!(left, [(bob.device.0,)]);
}
