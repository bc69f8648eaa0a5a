//! From one version of the tables to the next, while nodes start, die, and serve from the old one.

use std::time::Duration;

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::Database;
use super::again::wait_for_one_at;
use crate::contract::World;
use crate::dump::{Error, Place};
use crate::mysql::{Mysql, OpenError, Options, SCHEMA, check};
use crate::{CreateFile, NewFile, Store as _, StoreError};

/// A database as a program of version 1 leaves it, with an epoch.
async fn version_1(database: &Database) -> MySqlConnection {
    let mut hand = database.connect().await;
    let tables = [
        include_str!("../migrations/1.sql"),
        "CREATE TABLE im_migration (version INT UNSIGNED NOT NULL PRIMARY KEY, \
         applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)",
        "INSERT INTO im_migration (version) VALUES (1)",
        "INSERT INTO im_meta VALUES ('epoch', 'an epoch')",
        "INSERT INTO im_file VALUES (1, 2, 3, 4, 2, 5, 6)",
    ];
    for statements in tables {
        sqlx::raw_sql(statements).execute(&mut hand).await.unwrap();
    }
    hand
}

/// Each version, and the oldest whose programs serve from it.
async fn versions(hand: &mut MySqlConnection) -> Vec<(u32, Option<u32>)> {
    let versions = sqlx::query_as("SELECT version, oldest FROM im_migration ORDER BY version");
    versions.fetch_all(hand).await.unwrap()
}

/// The columns of the index that version 2 brings.
async fn index(hand: &mut MySqlConnection) -> Vec<String> {
    let index = "SELECT COLUMN_NAME FROM information_schema.STATISTICS \
                 WHERE TABLE_SCHEMA = DATABASE() AND INDEX_NAME = 'owner_size' \
                 ORDER BY SEQ_IN_INDEX";
    let columns = sqlx::query_as::<_, (String,)>(index).fetch_all(hand).await.unwrap();
    columns.into_iter().map(|(name,)| name).collect()
}

async fn is_up_to_date(hand: &mut MySqlConnection) -> bool {
    let (versions, index) = (versions(hand).await, index(hand).await);
    versions == [(1, None), (SCHEMA, Some(1))] && index == ["owner", "size"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_bring_old_tables_up_to_date_once() {
    let Some(database) = Database::new() else { return };
    let mut hand = version_1(&database).await;
    check(&database.options()).await.unwrap();
    assert_eq!(index(&mut hand).await, [""; 0], "to look changes nothing");
    let nodes: Vec<_> = (0..4).map(|_| tokio::spawn(Mysql::open(database.options()))).collect();
    for node in nodes {
        let meta = node.await.unwrap().unwrap().meta().await.unwrap();
        assert_eq!((&*meta.epoch, meta.schema), ("an epoch", SCHEMA));
    }
    assert!(is_up_to_date(&mut hand).await, "{:?}", versions(&mut hand).await);
    let files: Vec<(u64, u64)> =
        sqlx::query_as("SELECT owner, size FROM im_file").fetch_all(&mut hand).await.unwrap();
    assert_eq!(files, [(2, 4)], "what was there");
}

/// The server has done what it was told, and the process that told it died before it noted that.
#[tokio::test]
async fn a_migration_that_was_cut_is_run_again() {
    let Some(database) = Database::new() else { return };
    let mut hand = version_1(&database).await;
    database.store().await.close().await.unwrap();
    hand.execute("DELETE FROM im_migration WHERE version > 1").await.unwrap();
    database.store().await.close().await.unwrap();
    assert!(is_up_to_date(&mut hand).await, "{:?}", versions(&mut hand).await);

    hand.execute("DELETE FROM im_migration WHERE version > 1").await.unwrap();
    hand.execute("ALTER TABLE im_file DROP INDEX owner_size").await.unwrap();
    database.store().await.close().await.unwrap();
    assert!(is_up_to_date(&mut hand).await, "only the column was there");
}

/// Another client, such as a backup, keeps a table: who asks to change it would keep all others
/// waiting behind it. Then the connection of the migration is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_gives_way_and_bears_to_be_killed() {
    let Some(database) = Database::new() else { return };
    let mut backup = version_1(&database).await;
    backup.execute("START TRANSACTION").await.unwrap();
    backup.execute("SELECT * FROM im_file").await.unwrap();
    let hasty = Options { patience: Duration::ZERO, ..database.options() };
    let opening = tokio::time::timeout(Duration::from_secs(30), Mysql::open(hasty));
    let refused = opening.await.expect("it gives way").err();
    let why = match &refused {
        Some(OpenError::Store(StoreError::Unavailable(why))) => why,
        other => panic!("{other:?}"),
    };
    assert!(why.contains("not yet of version 2"), "{why}");
    let mut hand = database.connect().await;
    hand.execute("SET SESSION lock_wait_timeout = 1").await.unwrap();
    hand.execute("UPDATE im_file SET updated_at_ms = 7").await.unwrap();

    let opening = tokio::spawn(Mysql::open(database.options()));
    let migrating = wait_for_one_at("owner_size", &database, &mut hand).await;
    hand.execute(AssertSqlSafe(format!("KILL {migrating}"))).await.unwrap();
    backup.execute("ROLLBACK").await.unwrap();
    opening.await.unwrap().unwrap().close().await.unwrap();
    assert!(is_up_to_date(&mut hand).await, "{:?}", versions(&mut hand).await);
}

/// By what the database says, not by the number: a program of the version before comes back in
/// the middle of an upgrade, unless the newer tables are no longer for it.
#[tokio::test]
async fn newer_tables_serve_those_that_they_are_for() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, bob, conversation) = world.friends().await;
    let mut hand = database.connect().await;
    let newer = format!("INSERT INTO im_migration (version, oldest) VALUES (7, {SCHEMA})");
    hand.execute(AssertSqlSafe(newer)).await.unwrap();
    let epoch = world.store.meta().await.unwrap().epoch;
    world.store.close().await.unwrap();

    let world = World::open(&database).await;
    assert_eq!(world.store.meta().await.unwrap().epoch, epoch);
    world.commit(vec![alice.send(1, conversation, "honk")]).await;
    assert_eq!(world.head(bob.user).await, 2);
    let added = versions(&mut hand).await;
    assert_eq!(added.last(), Some(&(7, Some(SCHEMA))), "nothing was changed: {added:?}");
    world.store.close().await.unwrap();
    // A dump of it would lack what only the newer program knows.
    hand.close().await.unwrap();
    let export = Place::Server(database.options()).export(&mut Vec::new()).await;
    let refused = matches!(export, Err(Error::Server(OpenError::NewerSchema { found: 7 })));
    assert!(refused, "{export:?}");

    let mut hand = database.connect().await;
    for oldest in [(SCHEMA + 1).to_string(), "NULL".to_owned()] {
        let change = format!("UPDATE im_migration SET oldest = {oldest} WHERE version = 7");
        hand.execute(AssertSqlSafe(change)).await.unwrap();
        let refused = Mysql::open(database.options()).await.err();
        assert!(matches!(refused, Some(OpenError::NewerSchema { found: 7 })), "{refused:?}");
        let told = check(&database.options()).await;
        assert!(matches!(told, Err(OpenError::NewerSchema { found: 7 })), "{told:?}");
    }
    // One that is for this program does not open what a later one closed to it.
    hand.execute("INSERT INTO im_migration (version, oldest) VALUES (8, 1)").await.unwrap();
    let refused = Mysql::open(database.options()).await.err();
    assert!(matches!(refused, Some(OpenError::NewerSchema { found: 8 })), "{refused:?}");
}

/// What version 2 is for: what an owner has is summed up out of the index alone.
#[tokio::test]
async fn the_room_of_an_owner_is_read_from_the_index() {
    let Some(database) = Database::new() else { return };
    let world = World::open(&database).await;
    let (alice, _, conversation) = world.friends().await;
    let new = |user_bytes_max| NewFile {
        owner: alice.user,
        conversation,
        size: 10,
        user_bytes_max,
        now_ms: 1,
    };
    for room in [10, 20] {
        let created = world.store.create_file(new(room)).await.unwrap();
        assert!(matches!(created, CreateFile::Created(_)), "{created:?}");
    }
    let refused = world.store.create_file(new(29)).await.unwrap();
    assert!(matches!(refused, CreateFile::Refused(_)), "{refused:?}");
    let question = super::super::files::used_by(alice.user);
    let mut hand = database.connect().await;
    // MySQL 9 draws a tree unless it is told, and MariaDB knows no other form than this one.
    let mut ask = async |how| hand.fetch_one(AssertSqlSafe(format!("{how} {question}"))).await;
    let row = match ask("EXPLAIN FORMAT=TRADITIONAL").await {
        Ok(row) => row,
        Err(_) => ask("EXPLAIN").await.unwrap(),
    };
    let told = |name| sqlx::Row::get::<Option<String>, _>(&row, name).unwrap_or_default();
    assert_eq!((told("key"), told("Extra")), ("owner_size".into(), "Using index".into()));
}

/// MariaDB, which the tests mostly run on, takes them as names.
#[test]
fn no_column_has_a_name_that_only_mysql_reserves() {
    // Of MySQL 8.0 to 9.7, without those that MariaDB reserves too.
    const RESERVED: [&str; 22] = [
        "cube",
        "cume_dist",
        "dense_rank",
        "empty",
        "first_value",
        "function",
        "grouping",
        "groups",
        "json_table",
        "lag",
        "last_value",
        "lateral",
        "lead",
        "library",
        "nth_value",
        "ntile",
        "of",
        "percent_rank",
        "qualify",
        "rank",
        "row_number",
        "system",
    ];
    for tables in [include_str!("../migrations/1.sql"), include_str!("../migrations/2.sql")] {
        for word in tables.lines().filter_map(|line| line.split_whitespace().next()) {
            assert!(!RESERVED.contains(&word.to_lowercase().as_str()), "{word} needs backticks");
        }
    }
}
