//! Opening: one set of tables and one epoch for all nodes, and no server that forgets.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor as _;

use super::Database;
use super::again::wait_for_one_at;
use super::proxy::{Plan, network};
use crate::mysql::{Mysql, OpenError, Options, check};
use crate::{Store, StoreError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_make_one_store() {
    let Some(database) = Database::new() else { return };
    let nodes: Vec<_> = (0..4).map(|_| tokio::spawn(Mysql::open(database.options()))).collect();
    let mut epochs = Vec::new();
    for node in nodes {
        epochs.push(node.await.unwrap().unwrap().meta().await.unwrap().epoch);
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1, "{epochs:?}");
    let mut hand = database.connect().await;
    let versions = sqlx::query_as::<_, (u32,)>("SELECT version FROM im_migration");
    assert_eq!(versions.fetch_all(&mut hand).await.unwrap(), [(1,), (2,)]);
}

#[tokio::test]
async fn a_node_waits_while_another_one_migrates() {
    let Some(database) = Database::new() else { return };
    let mut hand = database.connect().await;
    hand.execute("DO GET_LOCK(CONCAT('anser.', LEFT(SHA2(DATABASE(), 256), 32)), 0)")
        .await
        .unwrap();
    // That may take longer than the patience with a server that does not answer.
    let hasty = Options { patience: Duration::ZERO, ..database.options() };
    let opening = tokio::spawn(Mysql::open(hasty));
    let first = wait_for_one_at("GET_LOCK(", &database, &mut hand).await;
    let asks_again =
        async { while wait_for_one_at("GET_LOCK(", &database, &mut hand).await == first {} };
    tokio::time::timeout(Duration::from_secs(30), asks_again).await.expect("it asks again");
    let tables = hand.fetch_all("SHOW TABLES").await.unwrap();
    assert!(tables.is_empty() && !opening.is_finished(), "it has not begun");
    hand.execute("DO RELEASE_ALL_LOCKS()").await.unwrap();
    opening.await.unwrap().unwrap().close().await.unwrap();
}

/// A migration that was cut in two is run again whole.
#[tokio::test]
async fn tables_that_are_half_made_are_completed() {
    let Some(database) = Database::new() else { return };
    database.store().await.close().await.unwrap();
    let mut hand = database.connect().await;
    hand.execute("DELETE FROM im_migration").await.unwrap();
    hand.execute("DROP TABLE im_once, im_meta").await.unwrap();
    let store = database.store().await;
    assert_eq!(store.claim_key_check(vec![1]).await.unwrap(), [1]);
}

/// The server says that it answers before its disk. (It is asked through a network that changes
/// the question, because the setting is one for all that use the server.)
#[tokio::test]
async fn p1_a_server_that_answers_before_its_disk_is_refused() {
    let Some(database) = Database::new() else { return };
    let plan = Plan {
        replace: Some(("@@innodb_flush_log_at_trx_commit", "2 /*                          */")),
        ..Plan::default()
    };
    let mut options = network(&database, &Arc::new(plan)).await;
    let refused = Mysql::open(options.clone()).await.err().map(|error| error.to_string());
    let why = refused.unwrap_or_default();
    assert!(why.contains("innodb_flush_log_at_trx_commit = 2"), "{why}");
    options.weak_durability = true;
    Mysql::open(options).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn what_is_no_store_is_told_in_a_sentence() {
    let wrong = [
        "mysql://localhost",
        "mysql://localhost/",
        "redis://localhost/x",
        "anser",
        "",
        // What would be believed to hold, and does not.
        "mysql://localhost/anser?ssl_mode=REQUIRED",
        "mysql://localhost/anser?ssl-mode=ALWAYS",
        "mysql://localhost/anser?ssl-mode=REQUIRED&tls",
        "mysql://localhost/anser?ssl-mode=REQUIRED&ssl-ca=/ca.pem",
    ];
    for url in wrong {
        let refused = Mysql::open(Options::new(url)).await.err();
        assert!(matches!(refused, Some(OpenError::Url)), "{url}: {refused:?}");
    }
    let Some(database) = Database::new() else { return };
    let version = check(&database.options()).await.unwrap().version;
    assert!(version.starts_with(|digit: char| digit.is_ascii_digit()), "{version}");
    let tables = database.connect().await.fetch_all("SHOW TABLES").await.unwrap();
    assert!(tables.is_empty(), "to look changes nothing");
    let nowhere = Options::new(format!("{}/anser_test_there_is_none", database.server));
    let refused = Mysql::open(nowhere).await.err();
    let missing = matches!(&refused, Some(OpenError::Store(StoreError::Unavailable(_))));
    assert!(missing, "{refused:?}");
    let debug = format!("{:?}", Options::new("mysql://anser:secret@localhost/anser"));
    assert!(!debug.contains("secret"), "{debug}");
}

#[tokio::test]
async fn a_backup_is_the_servers_business() {
    let Some(database) = Database::new() else { return };
    let refused = database.store().await.backup("/nowhere".as_ref()).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("mysqldump")));
}
