//! Opening: the URL, the lock of who brings the tables up to date, the epoch.
//!
//! What is done under that lock is in `migration.rs`.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use super::failure::{Failure, Tries, in_time};
use super::migration::{self, SCHEMA, Tables};
use super::pool::Pool;
use super::tx::{Mode, Tx};
use super::{Counters, Inner, Mysql, Options, server};
use crate::StoreError;
use crate::apply::Limits;

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL does not make sense. What it says is not told: it holds a password.
    #[error(
        "the URL of the store is not of the form mysql://user:password@host:port/database, with \
         nothing behind it but ?ssl-mode=…&ssl-ca=…&ssl-cert=…&ssl-key=…&socket=…"
    )]
    Url,
    /// A newer version wrote the tables, and they are no longer for this one.
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
    /// Older tables are brought up to date; that, and waiting for another process that does it, may
    /// take an hour.
    ///
    /// # Errors
    /// [`OpenError`] when the server is not to be reached within the patience of `options`, is too
    /// old, or answers before data is on its disk; when the tables are of a newer version that this
    /// one may not serve from.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let connect = connect_options(&options)?;
        let pool = Arc::new(Pool::new(connect, options.connections_max, options.weak_durability));
        let mut tries = Tries::new(options.patience, None);
        let found = loop {
            // In a box of its own: who opens a store is deep in other futures, rustc counts.
            let start = Box::pin(start(&pool));
            if let Some(end) = tries.end_within(MIGRATION_MAX, start).await {
                break end?;
            }
        };
        let epoch = found.epoch()?;
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

impl Found {
    /// Of a store that serves.
    fn epoch(self) -> Result<String, OpenError> {
        match self {
            Self::Serves(epoch) => Ok(epoch),
            Self::Exported(_) => Err(OpenError::Exported),
            Self::Unfinished => Err(OpenError::Unfinished),
            Self::Newer(found) => Err(OpenError::NewerSchema { found }),
        }
    }
}

/// What is known of a server before anything is stored there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// As it tells it, such as `8.4.11` or `10.11.19-MariaDB-0+deb12u1`.
    pub version: String,
    /// What the connection is encrypted with, such as `TLSv1.3`; `None` when it is not.
    pub tls: Option<String>,
    /// What an operator should know, in a sentence.
    pub doubt: Option<&'static str>,
}

/// Connects to a server and changes nothing.
///
/// # Errors
/// As for [`Mysql::open`].
pub async fn check(options: &Options) -> Result<Checked, OpenError> {
    let connect = connect_options(options)?;
    let mut tries = Tries::new(options.patience, None);
    let pool = Arc::new(Pool::new(connect.clone(), 1, options.weak_durability));
    loop {
        let looked = async {
            let (_, server) = server::connect(&connect, options.weak_durability).await?;
            let mut tx = Tx::new(pool.take().await?, Mode::Single);
            let found = match migration::look(&mut tx).await? {
                Some(tables) => found(&mut tx, tables).await?,
                None => None,
            };
            Ok((server, found, server::tls(&mut tx).await?))
        };
        if let Some(end) = tries.end(looked).await {
            let (server, found, tls) = end?;
            found.map(Found::epoch).transpose()?;
            let doubt = server.doubt();
            return Ok(Checked { version: server.version, tls, doubt });
        }
    }
}

pub(super) fn connect_options(options: &Options) -> Result<MySqlConnectOptions, OpenError> {
    let connect = MySqlConnectOptions::from_str(&options.url).map_err(|_| OpenError::Url)?;
    let named = connect.get_database().is_some_and(|name| !name.is_empty());
    let verifies =
        matches!(connect.get_ssl_mode(), MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity);
    let fits = options.url.starts_with("mysql://") && does_all(&options.url, verifies);
    if !named || !fits {
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

/// Whether each setting behind the address does something. sqlx leaves out what it does not know,
/// and looks at an authority only where it verifies; who writes `ssl_mode=REQUIRED` believes it.
fn does_all(url: &str, verifies: bool) -> bool {
    let Some((_, settings)) = url.split_once('?') else { return true };
    settings.split('&').all(|setting| {
        match setting.split_once('=').map_or(setting, |(name, _)| name) {
            "ssl-ca" => verifies,
            name => ["ssl-mode", "ssl-cert", "ssl-key", "socket"].contains(&name),
        }
    })
}

/// Brings the tables up to date, and mints the epoch of a store that is new.
async fn start(pool: &Arc<Pool>) -> Result<Found, Failure> {
    let mut tx = loop {
        if let Some(tx) = in_time(try_lock(pool)).await? {
            break tx;
        }
        tracing::info!("the start waits: {LOCKED}");
    };
    let tables = migration::run(&mut tx).await?;
    match found(&mut tx, tables).await? {
        None => {
            let epoch = claim(&mut tx, META_EPOCH, new_epoch().as_bytes()).await?;
            Ok(Found::Serves(text(epoch)?))
        }
        Some(found) => Ok(found),
    }
}

/// For who exports or imports: all of the data, which only a program that knows all tables sees.
pub(super) async fn prepare_whole(tx: &mut Tx) -> Result<Option<Found>, Failure> {
    let tables = migration::run(tx).await?;
    if tables.version > SCHEMA {
        return Ok(Some(Found::Newer(tables.version)));
    }
    look(tx).await
}

/// A connection that nobody else has who brings tables up to date, mints an epoch, exports or
/// imports. The lock ends with the connection, so that one is not given back.
pub(super) async fn lock(pool: &Arc<Pool>) -> Result<Tx, Failure> {
    try_lock(pool).await?.ok_or_else(|| Failure::Again(LOCKED.into()))
}

/// The same, or `None` when another process has kept it for [`LOCK_SECONDS`].
async fn try_lock(pool: &Arc<Pool>) -> Result<Option<Tx>, Failure> {
    let mut tx = Tx::new(pool.take().await?, Mode::Single);
    let locked = sqlx::query("SELECT CAST(COALESCE(GET_LOCK(?, ?), 0) AS UNSIGNED)");
    let name: Option<(String,)> =
        tx.one(sqlx::query("SELECT CONCAT('anser.', LEFT(SHA2(DATABASE(), 256), 32))")).await?;
    let name = name.map(|(name,)| name).unwrap_or_default();
    let locked: Option<(u64,)> = tx.one(locked.bind(name).bind(LOCK_SECONDS)).await?;
    if locked != Some((1,)) {
        return Ok(None);
    }
    // Whoever reads a dump from it, or gives it one, may be slow.
    tx.script(format!("SET SESSION wait_timeout = {LOCKED_IDLE_SECONDS}")).await?;
    Ok(Some(tx))
}

/// What tables hold for who serves from them, `None` when that has no epoch yet.
async fn found(tx: &mut Tx, tables: Tables) -> Result<Option<Found>, Failure> {
    if tables.serve(SCHEMA) { look(tx).await } else { Ok(Some(Found::Newer(tables.version))) }
}

async fn look(tx: &mut Tx) -> Result<Option<Found>, Failure> {
    if meta(tx, META_IMPORTING).await?.is_some() {
        return Ok(Some(Found::Unfinished));
    }
    if let Some(epoch) = meta(tx, META_EXPORTED).await? {
        return Ok(Some(Found::Exported(text(epoch)?)));
    }
    meta(tx, META_EPOCH).await?.map(|epoch| Ok(Found::Serves(text(epoch)?))).transpose()
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
const LOCKED: &str = "the database is locked: another process brings its tables up to date, \
     exports or imports it";
/// How long the one that has the lock may be silent.
const LOCKED_IDLE_SECONDS: u64 = 3600;
/// How long one question for the lock waits.
const LOCK_SECONDS: u32 = 3;
/// An index over hundreds of millions of rows takes minutes.
const MIGRATION_MAX: Duration = Duration::from_secs(3600);
