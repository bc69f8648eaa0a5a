//! Export and import of a database, there and back.

use std::time::Duration;

use anser_proto::SessionId;
use sqlx::{Connection as _, Executor as _};

use super::Database;
use super::again::wait_for_one_at;
use crate::contract::{Factory as _, World, fresh_seed};
use crate::dump::tests::{export, fill, import, seen, works};
use crate::dump::{Error, Place};
use crate::embedded::tests::Folder;
use crate::mysql::{Mysql, OpenError, Options, check};
use crate::{Batch, Greeting, Hello, Store as _, StoreError};

fn place(database: &Database) -> Place {
    Place::Server(database.options())
}

fn folder_place(folder: &Folder) -> Place {
    Place::Folder(folder.path().into())
}

#[tokio::test]
async fn what_moves_to_a_server_and_back_is_the_same() {
    let Some(database) = Database::new() else { return };
    let (first, last, seed) = (Folder::new(), Folder::new(), fresh_seed());
    fill(&first, seed).await;
    let store = first.open().await;
    let before = seen(&*store).await;
    store.close().await.unwrap();
    let (dump, summary) = export(&folder_place(&first)).await;

    assert_eq!(import(&place(&database), &dump).await.unwrap(), summary, "seed {seed}");
    let store = database.open().await;
    assert_eq!(seen(&*store).await, before, "seed {seed}");
    store.close().await.unwrap();
    let (back, back_summary) = export(&place(&database)).await;
    assert_eq!(back_summary, summary, "seed {seed}");
    assert!(back == dump, "equal data, equal bytes; seed {seed}");

    assert_eq!(import(&folder_place(&last), &back).await.unwrap(), summary);
    let store = last.open().await;
    assert_eq!(seen(&*store).await, before, "seed {seed}");
    works(&*store).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_was_made_on_a_server_moves_to_a_folder_and_back() {
    let (Some(first), Some(last)) = (Database::new(), Database::new()) else { return };
    let (folder, seed) = (Folder::new(), fresh_seed());
    fill(&first, seed).await;
    let store = first.open().await;
    let before = seen(&*store).await;
    store.close().await.unwrap();
    let (dump, summary) = export(&place(&first)).await;
    assert_eq!(import(&folder_place(&folder), &dump).await.unwrap(), summary, "seed {seed}");
    let (back, _) = export(&folder_place(&folder)).await;
    assert!(back == dump, "equal data, equal bytes; seed {seed}");
    assert_eq!(import(&place(&last), &back).await.unwrap(), summary);
    let store = last.open().await;
    assert_eq!(seen(&*store).await, before, "seed {seed}");
    works(&*store).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_exported_database_serves_no_more_until_it_has_a_new_epoch() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, _, conversation) = world.friends().await;
    world.commit(vec![alice.send(1, conversation, "honk")]).await;
    let epoch = world.store.meta().await.unwrap().epoch;
    world.store.close().await.unwrap();
    let (dump, _) = export(&place(&database)).await;
    let refused = Mysql::open(database.options()).await.err();
    assert!(matches!(refused, Some(OpenError::Exported)), "{refused:?}");
    let told = check(&database.options()).await;
    assert!(matches!(told, Err(OpenError::Exported)), "{told:?}");
    assert_eq!(export(&place(&database)).await.0, dump, "if the first one got lost");
    let again = import(&place(&database), &dump).await;
    assert!(matches!(again, Err(Error::NotEmpty(_))), "{again:?}");

    let new_epoch = place(&database).new_epoch().await.unwrap();
    check(&database.options()).await.unwrap();
    let store = database.open().await;
    assert_eq!(store.meta().await.unwrap().epoch, new_epoch);
    let hello =
        Hello { session: SessionId(0), epoch, position: 2, outbox_head: 1, outbox_trimmed: 1 };
    let greeting = store.greet(alice.device, hello, 1).await.unwrap();
    assert!(matches!(greeting, Some(Greeting::Reset { outbox_position: 1, .. })), "{greeting:?}");
    store.close().await.unwrap();
    let over = import(&place(&database), &dump).await;
    assert!(matches!(over, Err(Error::NotEmpty(_))), "{over:?}");
    assert_eq!(database.open().await.meta().await.unwrap().epoch, new_epoch, "as it was");
}

/// A server that was not seen, or was paused: what it writes waits for the export and fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_past_an_export() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, bob, conversation) = world.friends().await;
    let mut hand = database.connect().await;
    let hasty = Options { patience: Duration::ZERO, ..database.options() };
    let in_use = Place::Server(hasty).export(&mut Vec::new()).await;
    assert!(matches!(in_use, Err(Error::InUse(_))), "{in_use:?}");

    // As an export does.
    hand.execute("START TRANSACTION").await.unwrap();
    hand.execute("SELECT value FROM im_meta WHERE name = 'epoch' FOR UPDATE").await.unwrap();
    let (store, records) = (world.store.clone(), vec![alice.send(1, conversation, "honk")]);
    let batch = Batch { records, now_ms: 1 };
    let late = tokio::spawn({
        let (store, batch) = (store.clone(), batch.clone());
        async move { store.commit(batch).await }
    });
    let mut look = database.connect().await;
    wait_for_one_at("LOCK IN SHARE MODE", &database, &mut look).await;
    let fence = "UPDATE im_meta SET name = 'exported' WHERE name = 'epoch'";
    hand.execute(fence).await.unwrap();
    hand.execute("COMMIT").await.unwrap();
    let told = |refused| match refused {
        Err(StoreError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = told(late.await.unwrap().map(drop));
    assert!(why.contains("exported"), "{why}");
    assert_eq!(world.head(bob.user).await, 1, "he has a friend, and no message");
    assert!(told(store.create_invite([1; 32], 1).await).contains("exported"));

    look.execute("INSERT INTO im_meta VALUES ('epoch', 'another')").await.unwrap();
    let why = told(store.commit(batch).await.map(drop));
    assert!(why.contains("another epoch"), "{why}");
    assert_eq!(world.head(bob.user).await, 1);
}

#[tokio::test]
async fn a_half_import_does_not_serve() {
    let Some(database) = Database::new() else { return };
    let folder = Folder::new();
    let world = World::open(&folder).await;
    let (alice, _, conversation) = world.friends().await;
    world.commit(vec![alice.send(1, conversation, "honk")]).await;
    world.store.close().await.unwrap();
    let (dump, summary) = export(&folder_place(&folder)).await;
    // One that was started before it is filled.
    database.store().await.close().await.unwrap();
    let half = import(&place(&database), &dump[..dump.len() - 1]).await;
    assert!(matches!(half, Err(Error::Damaged(_))), "{half:?}");
    let refused = Mysql::open(database.options()).await.err();
    assert!(matches!(refused, Some(OpenError::Unfinished)), "{refused:?}");
    let unfinished = |done: Result<(), Error>| {
        assert!(matches!(done, Err(Error::Server(OpenError::Unfinished))), "{done:?}");
    };
    unfinished(import(&place(&database), &dump).await.map(drop));
    unfinished(place(&database).export(&mut Vec::new()).await.map(drop));
    unfinished(place(&database).new_epoch().await.map(drop));

    let Some(other) = Database::new() else { return };
    assert_eq!(import(&place(&other), &dump).await.unwrap(), summary);
    let mut hand = other.connect().await;
    let rows: Vec<(String,)> = sqlx::query_as("SELECT name FROM im_meta ORDER BY name")
        .fetch_all(&mut hand)
        .await
        .unwrap();
    assert_eq!(rows, [("epoch".to_owned(),)]);
    hand.close().await.unwrap();
}

/// Read back means read from the database: a row that changed there is noticed.
#[tokio::test]
async fn what_is_read_back_is_compared() {
    let (Some(database), folder) = (Database::new(), Folder::new()) else { return };
    let world = World::open(&folder).await;
    let (alice, _, conversation) = world.friends().await;
    world.commit(vec![alice.send(1, conversation, "honk")]).await;
    world.store.close().await.unwrap();
    let (dump, _) = export(&folder_place(&folder)).await;
    database.store().await.close().await.unwrap();
    let mut hand = database.connect().await;
    let trigger = "CREATE TRIGGER t BEFORE INSERT ON im_member FOR EACH ROW SET NEW.read_seq = 1";
    hand.execute(trigger).await.unwrap();
    hand.close().await.unwrap();
    let differs = import(&place(&database), &dump).await;
    assert!(matches!(differs, Err(Error::Differs("conversations"))), "{differs:?}");
    let refused = Mysql::open(database.options()).await.err();
    assert!(matches!(refused, Some(OpenError::Unfinished)), "{refused:?}");
}
