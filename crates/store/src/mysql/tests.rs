//! The contract, kept by this engine, and what only this engine promises.
//!
//! They need a server: `ANSER_TEST_MYSQL_URL` says where, without a database. `make test` starts
//! one; a plain `cargo test` without it leaves these tests out and says so.

mod again;
mod both;
mod concurrent;
mod dump;
mod migration;
mod open;
mod proxy;

use std::io::Write as _;
use std::sync::Arc;

use anser_proto::{ConversationId, UserId};
use async_trait::async_trait;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::{Mysql, Options};
use crate::Store;
use crate::contract::Factory;

/// A database of its own, which ends with it.
struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Makes an empty database; `None`, with a word about it, when no server is known.
    fn new() -> Option<Self> {
        let Some(server) = server() else {
            left_out();
            return None;
        };
        let random = getrandom::u64().expect("the operating system gives random bytes");
        let database = Self { server, name: format!("anser_test_{random:016x}") };
        database.administer(format!("CREATE DATABASE {}", database.name));
        Some(database)
    }

    fn options(&self) -> Options {
        Options::new(format!("{}/{}", self.server, self.name))
    }

    async fn store(&self) -> Mysql {
        Mysql::open(self.options()).await.unwrap()
    }

    /// Another connection, past the store.
    async fn connect(&self) -> MySqlConnection {
        MySqlConnection::connect(&self.options().url).await.unwrap()
    }

    /// In a thread of its own, so that it can be done where a value is dropped.
    fn administer(&self, statement: String) {
        let url = self.server.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let mut connection = MySqlConnection::connect(&url).await.unwrap();
                connection.execute(AssertSqlSafe(statement)).await.unwrap();
            });
        };
        std::thread::spawn(work).join().unwrap();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.administer(format!("DROP DATABASE {}", self.name));
    }
}

#[async_trait]
impl Factory for Database {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await)
    }

    async fn group(&self, members: &[UserId]) -> ConversationId {
        let id = ConversationId::random();
        let mut connection = self.connect().await;
        let row = "INSERT INTO im_conversation VALUES (?, 2, 1, 1, 0)";
        sqlx::query(row).bind(id.0).execute(&mut connection).await.unwrap();
        for user in members {
            let member = "INSERT INTO im_member VALUES (?, ?, 0, 0, 0)";
            let member = sqlx::query(member).bind(id.0).bind(user.0);
            member.execute(&mut connection).await.unwrap();
            let listed = "INSERT INTO im_member_user VALUES (?, ?)";
            let listed = sqlx::query(listed).bind(user.0).bind(id.0);
            listed.execute(&mut connection).await.unwrap();
        }
        id
    }
}

crate::contract!(Database::new());

#[expect(clippy::disallowed_methods, reason = "where the test run finds its server")]
fn server() -> Option<String> {
    let url = std::env::var("ANSER_TEST_MYSQL_URL").ok()?;
    Some(url.trim_end_matches('/').to_owned())
}

/// Says that this test is left out, past the harness, which shows the output of failed tests only.
#[expect(clippy::disallowed_methods, reason = "a switch of the test run, not of Anser")]
fn left_out() {
    let thread = std::thread::current();
    let why = format!("{} needs ANSER_TEST_MYSQL_URL", thread.name().unwrap_or("a test"));
    assert!(std::env::var_os("ANSER_TEST_ALL").is_none(), "{why}");
    let _ = std::io::stderr().write_all(format!("left out: {why}\n").as_bytes());
}
