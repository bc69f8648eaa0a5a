//! Opening: the URL, the tables and their version, the epoch.
//!
//! Each version of the tables has one file of statements, which are run once, under a lock of the
//! server's: several nodes may start at once. The server commits each statement that makes a table
//! by itself, so a migration may have been cut in two; its statements must bear to be run again.
//! Versions only go up. A node of the version before may still run meanwhile.

use std::str::FromStr as _;
use std::sync::Arc;

use sqlx::ConnectOptions as _;
use sqlx::mysql::MySqlConnectOptions;

use super::failure::{Failure, Tries};
use super::pool::Pool;
use super::tx::{Mode, Tx};
use super::{Counters, Inner, Mysql, Options, server};
use crate::StoreError;
use crate::apply::Limits;

/// Version of the tables that this code writes.
pub const SCHEMA: u32 = 1;

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL does not make sense. What it says is not told: it holds a password.
    #[error("the URL of the store is not of the form mysql://user:password@host:port/database")]
    Url,
    /// A newer version wrote the tables.
    #[error(
        "the database has schema version {found}, this program knows versions up to {SCHEMA}; use \
         the newer program that wrote it"
    )]
    NewerSchema {
        /// Its version.
        found: u32,
    },
    /// An export fenced it.
    #[error(
        "the store in this database was exported and serves no more: its clients belong to the \
         store that it was imported to. To let it serve as a history of its own, with a reset of \
         every device: anser new-epoch"
    )]
    Exported,
    /// An import was cut off.
    #[error(
        "an import into this database did not end; drop the database, make it anew and import again"
    )]
    Unfinished,
    /// The server can not be reached, or is not fit to serve from.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Mysql {
    /// Opens the store of a database, and makes its tables with a new epoch when there are none.
    ///
    /// # Errors
    /// [`OpenError`] when the server is not to be reached within the patience of `options`, is too
    /// old, or answers before data is on its disk; when a newer version wrote the database.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let connect = connect_options(&options)?;
        let pool = Arc::new(Pool::new(connect, options.connections_max, options.weak_durability));
        let mut tries = Tries::new(options.patience, None);
        let found = loop {
            if let Some(end) = tries.end(start(&pool)).await {
                break end?;
            }
        };
        let epoch = match found {
            Found::Serves(epoch) => epoch,
            Found::Exported(_) => return Err(OpenError::Exported),
            Found::Unfinished => return Err(OpenError::Unfinished),
            Found::Newer(found) => return Err(OpenError::NewerSchema { found }),
        };
        let store = Inner {
            pool,
            epoch: epoch.into(),
            limits: Limits { body_bytes_max: options.body_bytes_max },
            patience: options.patience,
            counters: Counters::default(),
            prune_cursor: 0.into(),
        };
        Ok(Self { inner: Arc::new(store) })
    }
}

/// What a database holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A store that serves, with its epoch.
    Serves(String),
    /// One that was exported, with the epoch that it had.
    Exported(String),
    /// A half import.
    Unfinished,
    /// One of a newer version, which is this.
    Newer(u32),
}

/// Connects to a server and changes nothing; gives its version and what an operator should know.
///
/// # Errors
/// As for [`Mysql::open`].
pub async fn check(options: &Options) -> Result<(String, Option<&'static str>), OpenError> {
    let connect = connect_options(options)?;
    let mut tries = Tries::new(options.patience, None);
    loop {
        if let Some(end) = tries.end(server::connect(&connect, options.weak_durability)).await {
            let (_, server) = end?;
            let doubt = server.doubt();
            return Ok((server.version, doubt));
        }
    }
}

pub(super) fn connect_options(options: &Options) -> Result<MySqlConnectOptions, OpenError> {
    let connect = MySqlConnectOptions::from_str(&options.url).map_err(|_| OpenError::Url)?;
    let named = connect.get_database().is_some_and(|name| !name.is_empty());
    if !named || !options.url.starts_with("mysql://") {
        return Err(OpenError::Url);
    }
    // A statement holds what must not get into a log. The session's settings are our own.
    Ok(connect
        .disable_statement_logging()
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false))
}

/// Brings the tables up to date, and mints the epoch of a store that is new.
async fn start(pool: &Arc<Pool>) -> Result<Found, Failure> {
    let mut tx = lock(pool).await?;
    match prepare(&mut tx).await? {
        None => {
            let epoch = claim(&mut tx, META_EPOCH, new_epoch().as_bytes()).await?;
            Ok(Found::Serves(text(epoch)?))
        }
        Some(found) => Ok(found),
    }
}

/// A connection that nobody else has who brings tables up to date, mints an epoch, exports or
/// imports. The lock ends with the connection, so that one is not given back.
pub(super) async fn lock(pool: &Arc<Pool>) -> Result<Tx, Failure> {
    let mut tx = Tx::new(pool.take().await?, Mode::Single);
    let locked = sqlx::query("SELECT CAST(COALESCE(GET_LOCK(?, ?), 0) AS UNSIGNED)");
    let name: Option<(String,)> =
        tx.one(sqlx::query("SELECT CONCAT('anser.', MD5(DATABASE()))")).await?;
    let name = name.map(|(name,)| name).unwrap_or_default();
    let locked: Option<(u64,)> = tx.one(locked.bind(name).bind(LOCK_SECONDS)).await?;
    match locked {
        Some((1,)) => {
            // Whoever reads a dump from it, or gives it one, may be slow.
            tx.script(format!("SET SESSION wait_timeout = {LOCKED_IDLE_SECONDS}")).await?;
            Ok(tx)
        }
        _ => Err(Failure::Again(
            "the database is locked: another process brings its tables up to date, exports or \
             imports it"
                .into(),
        )),
    }
}

/// Brings the tables to [`SCHEMA`]; gives what they hold, `None` when that has no epoch yet.
pub(super) async fn prepare(tx: &mut Tx) -> Result<Option<Found>, Failure> {
    let version = migrate(tx).await?;
    if version > SCHEMA {
        return Ok(Some(Found::Newer(version)));
    }
    if meta(tx, META_IMPORTING).await?.is_some() {
        return Ok(Some(Found::Unfinished));
    }
    if let Some(epoch) = meta(tx, META_EXPORTED).await? {
        return Ok(Some(Found::Exported(text(epoch)?)));
    }
    meta(tx, META_EPOCH).await?.map(|epoch| Ok(Found::Serves(text(epoch)?))).transpose()
}

/// Brings the tables to [`SCHEMA`]; gives the version that they have now.
async fn migrate(tx: &mut Tx) -> Result<u32, Failure> {
    tx.script(MIGRATIONS_TABLE.to_owned()).await?;
    let version = "SELECT CAST(COALESCE(MAX(version), 0) AS UNSIGNED) FROM im_migration";
    let version: Option<(u32,)> = tx.one(sqlx::query(version)).await?;
    let mut version = version.map_or(0, |(version,)| version);
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX)) {
        tx.script((*migration).to_owned()).await?;
        version += 1;
        tx.change(sqlx::query("INSERT INTO im_migration (version) VALUES (?)").bind(version))
            .await?;
    }
    Ok(version)
}

/// 32 lower-case hex digits.
pub(super) fn new_epoch() -> String {
    let random = || getrandom::u64().expect("the operating system gives random bytes");
    format!("{:016x}{:016x}", random(), random())
}

fn text(epoch: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(epoch).map_err(|_| Failure::corrupt("the epoch in im_meta is no text"))
}

/// Sets a value that is set once; gives the one that is set now.
pub(super) async fn claim(tx: &mut Tx, name: &str, value: &[u8]) -> Result<Vec<u8>, Failure> {
    let insert = sqlx::query("INSERT IGNORE INTO im_meta (name, value) VALUES (?, ?)");
    tx.change(insert.bind(name).bind(value)).await?;
    let known = meta(tx, name).await?;
    known.ok_or_else(|| Failure::corrupt(format!("im_meta has no {name}")))
}

/// A value that is set once.
pub(super) async fn meta(tx: &mut Tx, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let value = sqlx::query("SELECT value FROM im_meta WHERE name = ?").bind(name);
    Ok(tx.one::<(Vec<u8>,)>(value).await?.map(|(value,)| value))
}

pub(super) const META_EPOCH: &str = "epoch";
/// Instead of the epoch, once it was exported.
pub(super) const META_EXPORTED: &str = "exported";
/// While an import has not ended, or was not compared.
pub(super) const META_IMPORTING: &str = "importing";
pub(super) const META_KEY_CHECK: &str = "key_check";
/// What leads from version n to n + 1 is at n.
const MIGRATIONS: [&str; SCHEMA as usize] = [include_str!("migrations/1.sql")];
const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS im_migration (\
     version INT UNSIGNED NOT NULL PRIMARY KEY, \
     applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP\
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
/// How long the one that has the lock may be silent.
const LOCKED_IDLE_SECONDS: u64 = 3600;
/// How long a node waits for another one's migration, which may copy a large table; the attempt
/// ends before and is made again.
const LOCK_SECONDS: u32 = 10;
