//! The tables and their version.
//!
//! Each version has one file of statements, which are run once, under the lock of `open.rs`:
//! several nodes may start at once. The server commits each statement that makes a table or an
//! index by itself, so a migration may have been cut in two; its statements must bear to be run
//! again. Versions only go up.
//!
//! Nodes of older programs run meanwhile, so a migration only adds, and takes no lock that keeps
//! them waiting for long. The database says of each version whose programs may go on to serve from
//! it, and start: a program looks at that, not at the number, so that a node of the old program
//! comes back after a crash in the middle of an upgrade. What takes something away from old
//! programs waits for a later version, when none of them is left.

use std::collections::HashSet;

use super::failure::Failure;
use super::tx::Tx;

/// Version of the tables that this code writes.
pub const SCHEMA: u32 = 2;

/// Leads from the version before to the next.
struct Migration {
    statements: &'static str,
    /// Programs that know this version, or a later one, serve from the tables that it makes.
    oldest: u32,
}

/// The tables of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tables {
    /// 0 where there are none.
    pub(super) version: u32,
    oldest: u32,
}

impl Tables {
    /// Whether a program that knows versions up to `schema` may serve from them.
    pub(super) fn serve(self, schema: u32) -> bool {
        self.oldest <= schema
    }
}

/// Brings older tables to [`SCHEMA`] and makes those that are missing; gives what they are now.
/// The caller has the lock.
///
/// # Errors
/// `Again` also when another client keeps a table for longer than a migration may make others wait.
pub(super) async fn run(tx: &mut Tx) -> Result<Tables, Failure> {
    tx.script(format!("{TABLE}; SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}")).await?;
    if !columns(tx).await?.contains(OLDEST) {
        tx.script("ALTER TABLE im_migration ADD COLUMN oldest INT UNSIGNED NULL".into()).await?;
    }
    let mut tables = tables(tx, OLDEST).await?;
    let known = usize::try_from(tables.version).unwrap_or(usize::MAX);
    for migration in MIGRATIONS.iter().skip(known) {
        let version = tables.version + 1;
        tracing::info!(version, "the tables are brought up to date");
        let made = tx.script(migration.statements.to_owned()).await;
        made.map_err(|failure| of_migration(version, failure))?;
        let row = sqlx::query("INSERT INTO im_migration (version, oldest) VALUES (?, ?)");
        tx.change(row.bind(version).bind(migration.oldest)).await?;
        tables = Tables { version, oldest: tables.oldest.max(migration.oldest) };
    }
    Ok(tables)
}

/// What the tables are; `None` where there are none. Changes nothing.
pub(super) async fn look(tx: &mut Tx) -> Result<Option<Tables>, Failure> {
    let columns = columns(tx).await?;
    if columns.is_empty() {
        return Ok(None);
    }
    let oldest = if columns.contains(OLDEST) { OLDEST } else { "NULL" };
    Ok(Some(tables(tx, oldest).await?).filter(|tables| tables.version > 0))
}

/// Of `im_migration`; none when there is no such table.
async fn columns(tx: &mut Tx) -> Result<HashSet<String>, Failure> {
    let columns = "SELECT CAST(COLUMN_NAME AS CHAR) FROM information_schema.COLUMNS \
                   WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'im_migration'";
    let columns: Vec<(String,)> = tx.select(columns.to_owned()).await?;
    Ok(columns.into_iter().map(|(name,)| name).collect())
}

async fn tables(tx: &mut Tx, oldest: &str) -> Result<Tables, Failure> {
    // A version that says nothing is for its own programs only.
    let versions = format!(
        "SELECT CAST(COALESCE(MAX(version), 0) AS UNSIGNED), \
         CAST(COALESCE(MAX(COALESCE({oldest}, version)), 0) AS UNSIGNED) FROM im_migration"
    );
    let (version, oldest) = tx.select::<(u32, u32)>(versions).await?.pop().unwrap_or_default();
    Ok(Tables { version, oldest })
}

fn of_migration(version: u32, failure: Failure) -> Failure {
    match failure {
        Failure::Again(why) => Failure::Again(format!(
            "the tables are not yet of version {version}; if another client keeps one of them, as \
             a backup does, start again when it has ended: {why}"
        )),
        other => other,
    }
}

/// What leads from version n to n + 1 is at n.
const MIGRATIONS: [Migration; SCHEMA as usize] = [
    Migration { statements: include_str!("migrations/1.sql"), oldest: 1 },
    // One index more, which nobody names.
    Migration { statements: include_str!("migrations/2.sql"), oldest: 1 },
];
const TABLE: &str = "CREATE TABLE IF NOT EXISTS im_migration (\
     version INT UNSIGNED NOT NULL PRIMARY KEY, \
     applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
     oldest INT UNSIGNED NULL\
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
/// The column that version 1 did not know.
const OLDEST: &str = "oldest";
/// A migration that waits for a table makes all others wait for it, too: it gives way.
const LOCK_WAIT_SECONDS: u32 = 2;
