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
            if let Some(end) = tries.end(migrate(&pool)).await {
                break end?;
            }
        };
        if found > SCHEMA {
            return Err(OpenError::NewerSchema { found });
        }
        let mut store = Inner {
            pool,
            epoch: String::new(),
            limits: Limits { body_bytes_max: options.body_bytes_max },
            patience: options.patience,
            counters: Counters::default(),
            prune_cursor: 0.into(),
        };
        store.epoch = epoch(&store.pool, options.patience).await?;
        Ok(Self { inner: Arc::new(store) })
    }
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

fn connect_options(options: &Options) -> Result<MySqlConnectOptions, OpenError> {
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

/// Brings the tables to [`SCHEMA`]; gives the version that they have now.
async fn migrate(pool: &Arc<Pool>) -> Result<u32, Failure> {
    // The lock ends with its connection, so this one is not given back.
    let mut tx = Tx::new(pool.take().await?, Mode::Single);
    let locked = sqlx::query("SELECT CAST(COALESCE(GET_LOCK(?, ?), 0) AS UNSIGNED)");
    let name: Option<(String,)> =
        tx.one(sqlx::query("SELECT CONCAT('anser.', MD5(DATABASE()))")).await?;
    let name = name.map(|(name,)| name).unwrap_or_default();
    let locked: Option<(u64,)> = tx.one(locked.bind(name).bind(MIGRATION_SECONDS)).await?;
    if locked != Some((1,)) {
        return Err(Failure::Again("another node brings the tables up to date".into()));
    }
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

/// The epoch, minted by the first who opens.
async fn epoch(pool: &Arc<Pool>, patience: std::time::Duration) -> Result<String, OpenError> {
    let random = || getrandom::u64().expect("the operating system gives random bytes");
    let minted = format!("{:016x}{:016x}", random(), random());
    let mut tries = Tries::new(patience, None);
    loop {
        let attempt = async {
            let mut tx = Tx::new(pool.take().await?, Mode::Single);
            let epoch = claim(&mut tx, META_EPOCH, minted.as_bytes()).await;
            tx.end(epoch).await
        };
        if let Some(end) = tries.end(attempt).await {
            let text = String::from_utf8(end?);
            let unreadable = |_| StoreError::Corrupt("the epoch in im_meta is no text".into());
            return Ok(text.map_err(unreadable)?);
        }
    }
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

const META_EPOCH: &str = "epoch";
pub(super) const META_KEY_CHECK: &str = "key_check";
/// What leads from version n to n + 1 is at n.
const MIGRATIONS: [&str; SCHEMA as usize] = [include_str!("migrations/1.sql")];
const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS im_migration (\
     version INT UNSIGNED NOT NULL PRIMARY KEY, \
     applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP\
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
/// How long a node waits for another one's migration, which may copy a large table; the attempt
/// ends before and is made again.
const MIGRATION_SECONDS: u32 = 10;
