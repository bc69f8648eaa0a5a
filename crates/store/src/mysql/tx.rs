//! A transaction: the statements of a verb on one connection, all of them or none.
//!
//! One that writes first locks the row of the epoch, shared, and sees that the store is still the
//! one that this process opened. Whoever holds that row alone, as an export does, knows that no
//! process writes, whether it was told to stop or not; and once the row is gone or another one,
//! none ever will. It costs no packet. (A single statement does without: those that write forget a
//! session, or set what is set once.)

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Either, Executor as _, FromRow, MySql};

use super::failure::Failure;
use super::pool::Conn;
use super::script::Script;

/// A statement with its arguments.
pub(super) type Statement<'q> = Query<'q, MySql, MySqlArguments>;
/// The rows of each statement of a script.
pub(super) type Results = Vec<Vec<MySqlRow>>;

/// What the statements see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each the newest state, with locks.
    Write,
    /// All the same state; they write nothing.
    Snapshot,
    /// One statement, which needs no transaction.
    Single,
}

/// A transaction. Dropped before its [`end`](Tx::end), it is undone, with its connection closed.
pub(super) struct Tx {
    conn: Conn,
    mode: Mode,
    /// What it may write to, see above.
    epoch: Option<Arc<str>>,
    /// Begins with the first statement, in the same packet where that can be.
    begun: bool,
    /// Ended by the last script.
    ended: bool,
    lost: bool,
}

impl Tx {
    pub(super) fn new(conn: Conn, mode: Mode) -> Self {
        let begun = mode == Mode::Single;
        Self { conn, mode, epoch: None, begun, ended: false, lost: false }
    }

    /// Ends it with a failure when the store has another epoch than this.
    pub(super) fn of_epoch(mut self, epoch: Arc<str>) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// All rows of a statement.
    pub(super) async fn all<T>(&mut self, statement: Statement<'_>) -> Result<Vec<T>, Failure>
    where
        T: for<'r> FromRow<'r, MySqlRow>,
    {
        self.begin().await?;
        let rows = self.conn.connection.fetch_all(statement).await;
        self.told(rows)?.iter().map(|row| Ok(T::from_row(row)?)).collect()
    }

    /// The one row of a statement, if there is one.
    pub(super) async fn one<T>(&mut self, statement: Statement<'_>) -> Result<Option<T>, Failure>
    where
        T: for<'r> FromRow<'r, MySqlRow>,
    {
        Ok(self.all(statement).await?.pop())
    }

    /// Changes rows; gives how many.
    pub(super) async fn change(&mut self, statement: Statement<'_>) -> Result<u64, Failure> {
        self.begin().await?;
        let done = self.conn.connection.execute(statement).await;
        Ok(self.told(done)?.rows_affected())
    }

    /// Statements of numbers and bytes only, sent as one packet. Gives the rows of each.
    pub(super) async fn script(&mut self, mut text: String) -> Result<Results, Failure> {
        let mut prefix = 0;
        if !self.begun {
            let begin = self.mode.begin();
            prefix = begin.matches(';').count();
            text.insert_str(0, begin);
            self.begun = true;
        }
        let results = run(&mut self.conn.connection, text).await;
        let mut results = self.told(results)?;
        let begun = results.drain(..prefix.min(results.len())).next_back();
        if prefix > 0 && self.mode == Mode::Write {
            self.check_epoch(begun.as_deref().and_then(|rows| rows.first()))?;
        }
        Ok(results)
    }

    /// The rows of a script of one statement, read as `T`.
    pub(super) async fn select<T>(&mut self, text: String) -> Result<Vec<T>, Failure>
    where
        T: for<'r> FromRow<'r, MySqlRow>,
    {
        let results = self.script(text).await?;
        results.iter().flatten().map(|row| Ok(T::from_row(row)?)).collect()
    }

    /// Changes, all in as few packets as they fit in.
    pub(super) async fn write(&mut self, script: Script) -> Result<(), Failure> {
        for packet in script.packets() {
            self.script(packet).await?;
        }
        Ok(())
    }

    /// The last changes, and the commit in their last packet.
    pub(super) async fn write_and_commit(&mut self, mut script: Script) -> Result<(), Failure> {
        // What is in one packet with the beginning is done before the epoch was looked at.
        self.begin().await?;
        script.statement("COMMIT");
        self.write(script).await?;
        self.ended = true;
        Ok(())
    }

    /// Commits what is done, or undoes what failed.
    pub(super) async fn end<T>(mut self, done: Result<T, Failure>) -> Result<T, Failure> {
        if self.lost {
            self.conn.lost();
            return done;
        }
        let open = self.begun && !self.ended && self.mode != Mode::Single;
        if open {
            let how = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
            let ended = run(&mut self.conn.connection, how.to_owned()).await;
            match (self.told(ended), &done) {
                (Ok(_), _) => {}
                (Err(failure), Ok(_)) => return Err(failure),
                // Closing the connection undoes it as well.
                (Err(_), Err(_)) => return done,
            }
        }
        self.conn.give_back();
        done
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        if !self.begun {
            self.script(String::new()).await?;
        }
        Ok(())
    }

    fn check_epoch(&self, row: Option<&MySqlRow>) -> Result<(), Failure> {
        let found = row.map(<(Vec<u8>,)>::from_row).transpose()?;
        match (&self.epoch, found) {
            (Some(epoch), Some((found,))) if epoch.as_bytes() == found => Ok(()),
            (None, _) => Ok(()),
            (Some(_), None) => Err(Failure::unavailable(
                "the store was exported and takes no more changes; stop this server",
            )),
            (Some(_), Some(_)) => Err(Failure::unavailable(
                "the store has got another epoch since this server opened it; start the server anew",
            )),
        }
    }

    /// Notes whether the connection is still good.
    fn told<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Failure> {
        result.map_err(|error| {
            self.lost |= !matches!(error, sqlx::Error::Database(_));
            error.into()
        })
    }
}

impl Mode {
    fn begin(self) -> &'static str {
        match self {
            Self::Write => {
                "START TRANSACTION;\
                 SELECT value FROM im_meta WHERE name = 'epoch' LOCK IN SHARE MODE;"
            }
            Self::Snapshot => {
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;\
                 START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;"
            }
            Self::Single => "",
        }
    }
}

/// Sends statements as one packet; gives the rows of each. They end at the first that fails.
pub(super) async fn run(
    connection: &mut MySqlConnection,
    text: String,
) -> Result<Results, sqlx::Error> {
    let mut results = Vec::new();
    let mut rows = Vec::new();
    // Safe: our own words, with numbers and hex digits from outside and nothing else.
    let mut stream = connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(text)));
    while let Some(next) = stream.try_next().await? {
        match next {
            Either::Left(_) => results.push(std::mem::take(&mut rows)),
            Either::Right(row) => rows.push(row),
        }
    }
    Ok(results)
}
