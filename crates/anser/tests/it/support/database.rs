//! Databases on the MySQL or MariaDB server of `ANSER_TEST_MYSQL_URL`, which `make test` starts.

use anser_proto::UserId;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, mysql::MySqlConnection};

use super::left_out;

/// An empty database, dropped with its owner.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Makes one; `None`, with a word about it, when no server is known.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let Some(server) = left_out::variable("ANSER_TEST_MYSQL_URL") else {
            left_out::some("on MySQL (ANSER_TEST_MYSQL_URL)", test);
            return None;
        };
        let name = format!("anser_test_{}", UserId::random());
        let database = Self { server, name };
        database.administer(format!("CREATE DATABASE {}", database.name));
        Some(database)
    }

    /// Where it is, as `store.url` wants it.
    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.server.trim_end_matches('/'), self.name)
    }

    /// In a thread of its own, so that it can be done where a value is dropped.
    fn administer(&self, statement: String) {
        let url = self.server.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut connection = MySqlConnection::connect(&url).await.expect("a server");
                connection.execute(AssertSqlSafe(statement)).await.expect("a statement that runs");
            });
        };
        std::thread::spawn(work).join().expect("the server does as it is told");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.administer(format!("DROP DATABASE {}", self.name));
        }
    }
}
