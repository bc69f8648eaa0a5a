//! What is run again has one result: lost answers, killed connections, a server that is away.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anser_proto::wire::entry::Kind;
use anser_proto::{ConversationId, UserId};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use super::Database;
use super::proxy::{Plan, network};
use crate::contract::{Person, World, random_hash};
use crate::mysql::Mysql;
use crate::{Batch, CreateUser, NewDevice, NewUser, Outcome, Record, Store, StoreError};

#[tokio::test]
async fn p2_a_commit_whose_answer_is_lost_has_one_result() {
    let Some(database) = Database::new() else { return };
    let plan = Arc::new(Plan::default());
    let store = Mysql::open(network(&database, &plan).await).await.unwrap();
    let world = World::open(&database).await;
    let (alice, bob, conversation) = world.friends().await;

    plan.lose_commits.store(1, Relaxed);
    let records = || vec![alice.send(1, conversation, "one"), alice.send(2, conversation, "two")];
    let committed = store.commit(Batch { records: records(), now_ms: 5 }).await.unwrap();
    assert_eq!(plan.lose_commits.load(Relaxed), 0, "the answer was lost");
    assert_eq!(committed.outcomes, [Outcome::Repeat; 2], "the first run had done it");
    assert!(committed.entries.is_empty());
    assert_eq!(messages(&world, bob.user).await, [(1, 1), (2, 2)]);
    assert_eq!(world.positions(alice).await.0, 2);

    // The answer is lost until nobody wants to wait any more.
    let mut options = network(&database, &plan).await;
    options.patience = Duration::ZERO;
    let hasty = Mysql::open(options).await.unwrap();
    plan.lose_commits.store(1, Relaxed);
    let records = vec![alice.send(3, conversation, "three"), bob.ack(4, &[(conversation, 3)])];
    let batch = Batch { records, now_ms: 5 };
    let lost = hasty.commit(batch.clone()).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    let again = store.commit(batch).await.unwrap();
    assert_eq!(again.outcomes, [Outcome::Repeat, Outcome::Applied]);
    assert_eq!(messages(&world, bob.user).await, [(1, 1), (2, 2), (3, 3)]);
    let receipts = world.kinds(alice.user, 0).await;
    let receipts = receipts.iter().filter(|kind| matches!(kind, Kind::Receipt(_))).count();
    assert_eq!((receipts, world.marks(conversation, bob.user).await), (1, (3, 0)));
}

#[tokio::test]
async fn a_verb_whose_answer_is_lost_is_done_once() {
    let Some(database) = Database::new() else { return };
    let plan = Arc::new(Plan::default());
    let store = Mysql::open(network(&database, &plan).await).await.unwrap();
    store.create_invite([7; 32], 1).await.unwrap();
    let new = NewUser {
        id: UserId(42),
        name: "alice".into(),
        display_name: "Alice".into(),
        password_hash: None,
        system: false,
        invite: Some([7; 32]),
        now_ms: 1,
    };
    plan.lose_commits.store(1, Relaxed);
    let created = store.create_user(new).await.unwrap();
    assert!(matches!(&created, CreateUser::Created(user) if user.id == UserId(42)), "{created:?}");
    plan.lose_commits.store(1, Relaxed);
    let device = NewDevice {
        user: UserId(42),
        name: "laptop".into(),
        token_hash: random_hash(),
        devices_max: 1,
        now_ms: 1,
    };
    let device = store.create_device(device).await.unwrap().expect("there was room for one");
    let devices = store.devices(UserId(42)).await.unwrap();
    assert_eq!(devices.iter().map(|one| one.id).collect::<Vec<_>>(), [device]);
    assert_eq!(plan.lose_commits.load(Relaxed), 0, "both answers were lost");
}

#[tokio::test]
async fn p1_a_killed_connection_leaves_nothing_half() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, bob, conversation) = world.friends().await;
    let mut hand = database.connect().await;
    let victim = database.store().await;

    // First where it waits for its first row, then where it has written and waits for the last.
    let bobs_inbox = format!("SELECT * FROM im_inbox_head WHERE user = {} FOR UPDATE", bob.user.0);
    let the_key =
        "INSERT INTO im_message VALUES (?, 2, 0, 0, '')".replace('?', &conversation.0.to_string());
    let places = [(1, bobs_inbox, LOCKS_INBOXES), (2, the_key, "INSERT INTO im_message ")];
    for (number, held, place) in places {
        hand.execute("START TRANSACTION").await.unwrap();
        hand.execute(AssertSqlSafe(held)).await.unwrap();
        let records = vec![alice.send(number, conversation, "honk")];
        let batch = Batch { records, now_ms: 5 };
        let committing = tokio::spawn({
            let victim = victim.clone();
            async move { victim.commit(batch).await }
        });
        let waiting = wait_for_one_at(place, &database, &mut hand).await;
        hand.execute(AssertSqlSafe(format!("KILL {waiting}"))).await.unwrap();
        hand.execute("ROLLBACK").await.unwrap();
        let committed = committing.await.unwrap().unwrap();
        assert_eq!(committed.outcomes, [Outcome::Applied], "run again: the first run left nothing");
        assert_eq!(committed.entries.len(), 2);
        assert!(victim.inner.counters.again.load(Relaxed) >= number, "it was killed");
    }
    assert_eq!(messages(&world, bob.user).await, [(1, 1), (2, 2)]);
    assert_eq!(messages(&world, alice.user).await, [(1, 1), (2, 2)]);
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_comes_back() {
    let Some(database) = Database::new() else { return };
    let plan = Arc::new(Plan::default());
    let mut options = network(&database, &plan).await;
    options.patience = Duration::from_millis(50);
    let store = Mysql::open(options.clone()).await.unwrap();
    let world = World::open(&database).await;
    let (alice, bob, conversation) = world.friends().await;
    let send = |number| Batch { records: vec![alice.send(number, conversation, "hi")], now_ms: 5 };
    store.commit(send(1)).await.unwrap();

    plan.down.store(true, Relaxed);
    for answer in [store.commit(send(2)).await.err(), store.meta().await.err()] {
        assert!(matches!(answer, Some(StoreError::Unavailable(_))), "{answer:?}");
    }
    let refused = Mysql::open(options).await.err();
    assert!(refused.is_some_and(|error| error.to_string().contains("not available")));
    plan.down.store(false, Relaxed);
    assert_eq!(store.commit(send(2)).await.unwrap().outcomes, [Outcome::Applied]);
    assert_eq!(messages(&world, bob.user).await, [(1, 1), (2, 2)]);

    store.close().await.unwrap();
    let closed = store.commit(send(3)).await;
    assert!(matches!(closed, Err(StoreError::Unavailable(_))), "{closed:?}");
}

/// A caller who goes away in the middle leaves a transaction that is undone, and no locks.
#[tokio::test]
async fn a_cancelled_commit_leaves_nothing() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, bob, conversation) = world.friends().await;
    let mut hand = database.connect().await;
    hand.execute("START TRANSACTION").await.unwrap();
    let held = format!("SELECT * FROM im_inbox_head WHERE user = {} FOR UPDATE", bob.user.0);
    hand.execute(AssertSqlSafe(held)).await.unwrap();
    let store = database.store().await;
    let committing = tokio::spawn({
        let (store, send) = (store.clone(), alice.send(1, conversation, "never"));
        async move { store.commit(Batch { records: vec![send], now_ms: 5 }).await }
    });
    wait_for_one_at(LOCKS_INBOXES, &database, &mut hand).await;
    committing.abort();
    assert!(committing.await.unwrap_err().is_cancelled());
    hand.execute("ROLLBACK").await.unwrap();
    let batch = Batch { records: vec![alice.send(1, conversation, "once")], now_ms: 5 };
    assert_eq!(store.commit(batch).await.unwrap().outcomes, [Outcome::Applied]);
    assert_eq!(messages(&world, bob.user).await, [(1, 1)]);
}

/// Closing waits for what is under way.
#[tokio::test]
async fn a_store_closes_after_its_last_commit() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, bob, conversation) = world.friends().await;
    let mut hand = database.connect().await;
    hand.execute("START TRANSACTION").await.unwrap();
    let held = format!("SELECT * FROM im_inbox_head WHERE user = {} FOR UPDATE", bob.user.0);
    hand.execute(AssertSqlSafe(held)).await.unwrap();
    let store = database.store().await;
    let committing = tokio::spawn({
        let (store, send) = (store.clone(), alice.send(1, conversation, "the last"));
        async move { store.commit(Batch { records: vec![send], now_ms: 5 }).await }
    });
    wait_for_one_at(LOCKS_INBOXES, &database, &mut hand).await;
    let closing = tokio::spawn(async move { store.close().await });
    for _ in 0..20 {
        hand.execute("DO 1").await.unwrap();
    }
    assert!(!closing.is_finished(), "it waits");
    hand.execute("ROLLBACK").await.unwrap();
    closing.await.unwrap().unwrap();
    assert!(committing.is_finished(), "and then no longer");
    assert_eq!(committing.await.unwrap().unwrap().outcomes, [Outcome::Applied]);
}

/// What fails for good is undone at once, though its connection is used again.
#[tokio::test]
async fn a_failed_commit_leaves_no_locks() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, bob, conversation) = world.friends().await;
    let mut hand = database.connect().await;
    let no_inbox = format!("UPDATE im_inbox_head SET user = 0 WHERE user = {}", bob.user.0);
    hand.execute(AssertSqlSafe(no_inbox)).await.unwrap();
    let store = database.store().await;
    let batch = Batch { records: vec![alice.send(1, conversation, "honk")], now_ms: 5 };
    let failed = store.commit(batch.clone()).await;
    assert!(matches!(&failed, Err(StoreError::Corrupt(why)) if why.contains("no inbox")));
    hand.execute("SET SESSION innodb_lock_wait_timeout = 1").await.unwrap();
    let inbox = format!("UPDATE im_inbox_head SET user = {} WHERE user = 0", bob.user.0);
    hand.execute(AssertSqlSafe(inbox)).await.unwrap();
    let device = format!("UPDATE im_device SET seen_at_ms = 7 WHERE user = {}", alice.user.0);
    hand.execute(AssertSqlSafe(device)).await.unwrap();
    assert_eq!(store.commit(batch).await.unwrap().outcomes, [Outcome::Applied]);
}

/// The connection of a store that is at a statement which has to wait for a lock. (What InnoDB
/// tells of waits is not asked: it is not renewed while it is asked again and again.)
pub(super) async fn wait_for_one_at(
    statement: &str,
    database: &Database,
    hand: &mut MySqlConnection,
) -> u64 {
    let all = || sqlx::raw_sql("SHOW FULL PROCESSLIST");
    loop {
        for row in all().fetch_all(&mut *hand).await.unwrap() {
            let name: Option<String> = row.try_get("db").unwrap();
            // Bytes: a statement may hold some.
            let at: Option<Vec<u8>> = row.try_get_unchecked("Info").unwrap();
            let at = at.unwrap_or_default();
            if name.as_ref() == Some(&database.name)
                && String::from_utf8_lossy(&at).contains(statement)
            {
                return row.try_get_unchecked("Id").unwrap();
            }
        }
    }
}

/// The statement that locks inboxes.
pub(super) const LOCKS_INBOXES: &str = "SELECT user, head FROM im_inbox_head ";

/// The messages in an inbox: their number in the conversation, and in the sender's outbox.
pub(super) async fn messages(world: &World, user: UserId) -> Vec<(u64, u64)> {
    let number = |kind: Kind| match kind {
        Kind::Message(message) => Some((message.conv_seq, message.client_seq)),
        _ => None,
    };
    world.kinds(user, 0).await.into_iter().filter_map(number).collect()
}

/// Somebody who sends in a conversation.
pub(super) fn sends(
    person: Person,
    place: ConversationId,
    numbers: std::ops::Range<u64>,
) -> Vec<Record> {
    numbers.map(|number| person.send(number, place, "honk")).collect()
}
