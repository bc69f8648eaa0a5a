//! Everything out of a database and into one, as the rows of a [dump](crate::dump).
//!
//! Servers may not use the database meanwhile, and are looked for. That look may miss one, so it
//! is not what is relied on: an export holds the row of the epoch, without which no process
//! writes (see `tx.rs`), reads what is there, and takes that row away when it ends. What a server
//! wanted to write meanwhile waits and fails, and stays in its clients.

mod load;
mod rows;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use sqlx::Row as _;

use super::Options;
use super::failure::{Failure, Tries};
use super::open::{
    self, Found, META_EPOCH, META_EXPORTED, META_IMPORTING, META_KEY_CHECK, OpenError,
};
use super::pool::Pool;
use super::script::bytes;
use super::tx::Tx;
use crate::StoreError;
use crate::dump::{Error, Reader, Result, Summary};
use load::Loader;
use rows::rows_of;

/// See [`crate::dump::Place::export`].
pub(crate) async fn export(options: &Options, to: &mut (dyn Write + Send)) -> Result<Summary> {
    let (mut tx, found) = alone(options).await?;
    let (epoch, is_exported) = store(found)?;
    // What was fenced already does not change.
    if !is_exported {
        // The snapshot is taken by the first read that locks nothing, and that follows this.
        let begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION; \
                     SELECT value FROM im_meta WHERE name = 'epoch' FOR UPDATE";
        tx.script(begin.to_owned()).await?;
    }
    let writer = rows_of(&mut tx, epoch.clone(), to).await?;
    let fence = [drop_meta(META_EPOCH), put_meta(META_EXPORTED, epoch.as_bytes())];
    tx.script(format!("{}; COMMIT", fence.join(";"))).await?;
    writer.end()
}

/// See [`crate::dump::Place::import`].
pub(crate) async fn import(options: &Options, from: &mut (dyn Read + Send)) -> Result<Summary> {
    let mut reader = Reader::begin(from)?;
    let header = reader.header().clone();
    let (mut tx, found) = alone(options).await?;
    match found {
        None => {}
        Some(Found::Exported(_)) => return Err(not_empty()),
        // One that was started before it is filled is empty, too.
        found => drop(store(found)?),
    }
    let look: Vec<_> =
        TABLES.iter().map(|table| format!("SELECT 1 FROM {table} LIMIT 1")).collect();
    if tx.script(look.join(";")).await?.iter().any(|rows| !rows.is_empty()) {
        return Err(not_empty());
    }
    let begin = [META_EPOCH, META_KEY_CHECK].map(drop_meta).join(";");
    let importing = put_meta(META_IMPORTING, b"1");
    tx.script(format!("START TRANSACTION; {begin}; {importing}; COMMIT")).await?;

    let summary = Loader::new(&mut tx).load(&mut reader).await?;
    if let Some(check) = &header.key_check {
        tx.script(put_meta(META_KEY_CHECK, check)).await?;
    }
    let read_back = rows_of(&mut tx, header.epoch.clone(), &mut io::sink()).await?.end()?;
    summary.matches(&read_back)?;
    // What was written before is on the disk when this is.
    let end = [drop_meta(META_IMPORTING), put_meta(META_EPOCH, header.epoch.as_bytes())].join(";");
    tx.script(format!("START TRANSACTION; {end}; COMMIT")).await?;
    Ok(summary)
}

/// See [`crate::dump::Place::new_epoch`].
pub(crate) async fn new_epoch(options: &Options) -> Result<String> {
    let (mut tx, found) = alone(options).await?;
    store(found)?;
    let epoch = open::new_epoch();
    let changes =
        [drop_meta(META_EXPORTED), drop_meta(META_EPOCH), put_meta(META_EPOCH, epoch.as_bytes())];
    tx.script(format!("START TRANSACTION; {}; COMMIT", changes.join(";"))).await?;
    Ok(epoch)
}

/// A connection that keeps all who open the database out, and what is there.
async fn alone(options: &Options) -> Result<(Tx, Option<Found>)> {
    let connect = open::connect_options(options)?;
    let pool = std::sync::Arc::new(Pool::new(connect, 1, options.weak_durability));
    let mut tries = Tries::new(options.patience, None);
    let mut tx = loop {
        if let Some(end) = tries.end(open::lock(&pool)).await {
            break end?;
        }
    };
    let found = open::prepare_whole(&mut tx).await?;
    let until = Instant::now() + options.patience;
    loop {
        let others = others(&mut tx).await?;
        if others == 0 {
            return Ok((tx, found));
        }
        // A server that has just stopped is no longer there in a moment.
        if Instant::now() >= until {
            return Err(Error::InUse(others));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How many other connections use the database, as far as this one may see them.
async fn others(tx: &mut Tx) -> Result<u64> {
    let own: Option<(String,)> = tx.one(sqlx::query("SELECT DATABASE()")).await?;
    // Not from information_schema: of MySQL it fails while a statement with bytes in it runs.
    let all = tx.script("SHOW PROCESSLIST".to_owned()).await?;
    let used: Vec<Option<String>> = all
        .iter()
        .flatten()
        .map(|row| row.try_get("db"))
        .collect::<Result<_, _>>()
        .map_err(Failure::from)?;
    let own = own.map(|(name,)| name);
    Ok(used.iter().filter(|name| **name == own).count().saturating_sub(1) as u64)
}

/// The epoch of what is there, and whether it was exported already.
fn store(found: Option<Found>) -> Result<(String, bool)> {
    match found {
        Some(Found::Serves(epoch)) => Ok((epoch, false)),
        Some(Found::Exported(epoch)) => Ok((epoch, true)),
        Some(Found::Unfinished) => Err(OpenError::Unfinished.into()),
        Some(Found::Newer(found)) => Err(OpenError::NewerSchema { found }.into()),
        None => Err(Error::NoStore("the database".into())),
    }
}

fn not_empty() -> Error {
    Error::NotEmpty("the database".into())
}

fn drop_meta(name: &str) -> String {
    format!("DELETE FROM im_meta WHERE name = '{name}'")
}

fn put_meta(name: &str, value: &[u8]) -> String {
    let mut text = format!("REPLACE INTO im_meta (name, value) VALUES ('{name}', ");
    bytes(&mut text, value);
    text + ")"
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Store(match failure {
            Failure::Again(why) => StoreError::Unavailable(why),
            Failure::Duplicate(why) => StoreError::Corrupt(why),
            Failure::Store(error) => error,
        })
    }
}

/// All tables that hold data.
const TABLES: [&str; 17] = [
    "im_user",
    "im_user_name",
    "im_invite",
    "im_device",
    "im_device_session",
    "im_token",
    "im_relation",
    "im_relation_key",
    "im_relation_peer",
    "im_conversation",
    "im_member",
    "im_member_user",
    "im_message",
    "im_inbox_head",
    "im_inbox",
    "im_once",
    "im_file",
];

const LOOK_AGAIN: Duration = Duration::from_millis(100);
