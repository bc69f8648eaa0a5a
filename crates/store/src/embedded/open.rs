//! Opening and creating: the folder's lock, the schema version, the epoch, the first sync.
//!
//! `path/lock` is held by the one process; `path/db` is the database. It is created as
//! `path/db.new` and renamed when it is whole, so a process that dies in between leaves nothing
//! that has to be repaired. An import makes `path/db.import` in the same way; that one is not
//! removed by a start, which would serve nothing where somebody expects their data.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::config::FilterPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _};

use super::engine::Engine;
use super::{keys, tail};

/// Version of the tables that this code writes.
pub const SCHEMA: u32 = 1;

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another handle of this one, has it open.
    #[error(
        "the data folder {} is in use by another Anser server; stop that one first, or talk to it \
         over its admin socket", .0.display()
    )]
    Locked(PathBuf),
    /// A newer version wrote it.
    #[error(
        "the data folder {} has schema version {found}, this program knows versions up to {SCHEMA}; \
         use the newer program that wrote it", path.display()
    )]
    NewerSchema {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A restore or import goes to a new folder only.
    #[error("the folder {} is not empty; name a new one, or move it away", .0.display())]
    NotEmpty(PathBuf),
    /// An export fenced it.
    #[error(
        "the store in {} was exported and serves no more: its clients belong to the store that it \
         was imported to. To let it serve as a history of its own, with a reset of every device: \
         anser new-epoch", .0.display()
    )]
    Exported(PathBuf),
    /// An import was cut off.
    #[error("an import into {} did not end; import again", .0.display())]
    Unfinished(PathBuf),
    /// A restore without the key that opens what it restores is of no use.
    #[error(
        "the backup {} was made with another master key; give the one that was exported from its \
         server", .0.display()
    )]
    OtherKey(PathBuf),
    /// The folder or its files do not make sense.
    #[error("the store in {} can not be opened: {reason}", path.display())]
    Broken {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A database with the lock of its folder, which must outlive it.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) lock: Lock,
}

/// The lock of a folder, until it is dropped.
pub(super) struct Lock(pub(super) File);

impl Drop for Lock {
    /// Unlocks, and does not only close: a process that is being started has a copy of the
    /// descriptor until its program runs, and the lock would be held as long.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock of the data folder ends with the process only");
        }
    }
}

/// What is in a folder.
pub(super) struct Found {
    pub(super) engine: Engine,
    /// It was exported, under the epoch of the engine.
    pub(super) exported: bool,
}

/// Opens the database of a folder, or creates it.
pub(super) fn open(path: &Path, memory_bytes: u64) -> Result<Opened, OpenError> {
    let broken = |reason: String| OpenError::Broken { path: path.into(), reason };
    let exists =
        |name: &str| path.join(name).try_exists().map_err(|error| broken(error.to_string()));
    let lock = lock(path)?;
    if !exists(FOLDER)? {
        if exists(IMPORTED)? {
            return Err(OpenError::Unfinished(path.into()));
        }
        create(path, |_| Ok(())).map_err(&broken)?;
    }
    let Found { engine, exported } = find(path, FOLDER, memory_bytes)?;
    if exported {
        return Err(OpenError::Exported(path.into()));
    }
    Ok(Opened { engine, lock })
}

/// Looks whether the store of a folder would serve, as a start does; `false` when there is none.
///
/// # Errors
/// [`OpenError`], for which a start would end; `Locked` when a server serves from it.
pub fn check(path: &Path) -> Result<bool, OpenError> {
    let exists = |name: &str| {
        let broken =
            |error: io::Error| OpenError::Broken { path: path.into(), reason: error.to_string() };
        path.join(name).try_exists().map_err(broken)
    };
    if !exists(FOLDER)? {
        return if exists(IMPORTED)? { Err(OpenError::Unfinished(path.into())) } else { Ok(false) };
    }
    let _lock = lock(path)?;
    match find(path, FOLDER, 0)?.exported {
        true => Err(OpenError::Exported(path.into())),
        false => Ok(true),
    }
}

/// Opens the database `name` of a folder that is locked.
pub(super) fn find(path: &Path, name: &str, memory_bytes: u64) -> Result<Found, OpenError> {
    let broken = |reason: String| OpenError::Broken { path: path.into(), reason };
    let folder = path.join(name);
    tail::cut(&folder).map_err(&broken)?;
    let (db, [inbox, message, small]) = open_keyspaces(&folder, memory_bytes).map_err(&broken)?;
    // What an earlier process wrote but did not sync is visible now: make it durable before
    // anybody sees it.
    db.persist(PersistMode::SyncAll).map_err(|error| broken(error.to_string()))?;

    let meta = |name: &str| {
        let value = db.snapshot().get(&small, meta_key(name));
        value.map_err(|error| broken(error.to_string()))
    };
    let schema =
        meta(META_SCHEMA)?.and_then(|bytes| Some(u32::from_be_bytes(*bytes.first_chunk()?)));
    let Some(schema) = schema else { return Err(broken("it has no schema version".into())) };
    if schema > SCHEMA {
        return Err(OpenError::NewerSchema { path: path.into(), found: schema });
    }
    let (epoch, exported) = (meta(META_EPOCH)?, meta(META_EXPORTED)?);
    let is_exported = exported.is_some();
    let epoch = exported.or(epoch).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let epoch = epoch.ok_or_else(|| broken("it has no epoch".into()))?;
    let engine = Engine { db, inbox, message, small, epoch };
    Ok(Found { engine, exported: is_exported })
}

/// Creates a database with a new epoch beside its place, lets `fill` add rows, and moves it there.
pub(super) fn create(
    path: &Path,
    fill: impl FnOnce(&Engine) -> Result<(), String>,
) -> Result<(), String> {
    let engine = begin(path, UNFINISHED, new_epoch())?;
    fill(&engine)?;
    write_meta(&engine).map_err(|error| error.to_string())?;
    drop(engine);
    publish(path, UNFINISHED).map_err(|error| error.to_string())
}

/// Begins the database `name`, anew if there is one: nothing in there was ever served.
pub(super) fn begin(path: &Path, name: &str, epoch: String) -> Result<Engine, String> {
    let text = |error: io::Error| error.to_string();
    let unfinished = path.join(name);
    if unfinished.try_exists().map_err(text)? {
        fs::remove_dir_all(&unfinished).map_err(text)?;
    }
    let (db, [inbox, message, small]) = open_keyspaces(&unfinished, 0)?;
    Ok(Engine { db, inbox, message, small, epoch })
}

/// Moves a database to its place.
pub(super) fn publish(path: &Path, name: &str) -> io::Result<()> {
    fs::rename(path.join(name), path.join(FOLDER))?;
    File::open(path)?.sync_all()
}

/// What makes rows a database, synced with them.
pub(super) fn write_meta(engine: &Engine) -> fjall::Result<()> {
    let mut batch = engine.db.batch();
    batch.insert(&engine.small, meta_key(META_SCHEMA), SCHEMA.to_be_bytes());
    batch.insert(&engine.small, meta_key(META_EPOCH), engine.epoch.as_bytes());
    batch.commit()?;
    engine.db.persist(PersistMode::SyncAll)
}

/// From now on it does not open, but can be exported again.
pub(super) fn fence(engine: &Engine) -> fjall::Result<()> {
    let mut batch = engine.db.batch();
    batch.insert(&engine.small, meta_key(META_EXPORTED), engine.epoch.as_bytes());
    batch.remove(&engine.small, meta_key(META_EPOCH));
    batch.commit()?;
    engine.db.persist(PersistMode::SyncAll)
}

/// Gives it another epoch, under which it opens.
pub(super) fn renew(engine: &Engine) -> fjall::Result<String> {
    let epoch = new_epoch();
    let mut batch = engine.db.batch();
    batch.insert(&engine.small, meta_key(META_EPOCH), epoch.as_bytes());
    batch.remove(&engine.small, meta_key(META_EXPORTED));
    batch.commit()?;
    engine.db.persist(PersistMode::SyncAll)?;
    Ok(epoch)
}

pub(super) fn meta_key(name: &str) -> Vec<u8> {
    keys::bytes(keys::META, name.as_bytes())
}

fn open_keyspaces(folder: &Path, memory_bytes: u64) -> Result<(Database, [Keyspace; 3]), String> {
    let sizes = Sizes::new(memory_bytes);
    let open = || -> fjall::Result<_> {
        let db = Database::builder(folder)
            .cache_size(sizes.cache_bytes)
            .max_journaling_size(sizes.journal_bytes)
            .worker_threads(1)
            .open()?;
        let options = || {
            let levels = Leveled::default().with_table_target_size(TABLE_BYTES);
            KeyspaceCreateOptions::default()
                .max_memtable_size(sizes.memtable_bytes)
                .compaction_strategy(Arc::new(levels))
        };
        // Logs are read by range only: a filter, which answers for single keys, is of no use there.
        let log_options = || options().filter_policy(FilterPolicy::disabled());
        let keyspaces = [
            db.keyspace("im_inbox", log_options)?,
            db.keyspace("im_message", log_options)?,
            db.keyspace("im_small", options)?,
        ];
        Ok((db, keyspaces))
    };
    open().map_err(|error| error.to_string())
}

/// How a budget of memory is shared out.
struct Sizes {
    cache_bytes: u64,
    memtable_bytes: u64,
    journal_bytes: u64,
}

impl Sizes {
    fn new(memory_bytes: u64) -> Self {
        let memory_bytes = memory_bytes.max(MEMORY_BYTES_MIN);
        Self {
            cache_bytes: memory_bytes / 4,
            // Three keyspaces, and a full one is flushed while its successor fills.
            // A flush is one sync of this many bytes, and a commit may wait for it. Measured with
            // TABLE_BYTES: both together halve the 99th percentile under full load, against 8 MiB
            // here and tables of 64 MiB (docs/benchmarks.md).
            memtable_bytes: (memory_bytes / 32).clamp(MIB, 64 * MIB),
            // A journal is at least 64 MiB; it is given back when the rows in it are flushed.
            journal_bytes: 512 * MIB,
        }
    }
}

/// Locks a folder that holds nothing yet, but perhaps the rests of a creation or an import that did
/// not end.
pub(super) fn lock_new(path: &Path) -> Result<Lock, OpenError> {
    let broken =
        |error: std::io::Error| OpenError::Broken { path: path.into(), reason: error.to_string() };
    if path.try_exists().map_err(broken)? {
        for entry in fs::read_dir(path).map_err(broken)? {
            let name = entry.map_err(broken)?.file_name();
            if name != LOCK && name != UNFINISHED && name != IMPORTED {
                return Err(OpenError::NotEmpty(path.into()));
            }
        }
    }
    lock(path)
}

pub(super) fn lock(path: &Path) -> Result<Lock, OpenError> {
    let broken =
        |error: std::io::Error| OpenError::Broken { path: path.into(), reason: error.to_string() };
    make(path).map_err(broken)?;
    let options = File::options().create(true).truncate(false).write(true).open(path.join(LOCK));
    let file = options.map_err(broken)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.into())),
        Err(TryLockError::Error(error)) => Err(broken(error)),
    }
}

/// Makes a folder and those above it, durably: what is synced in a folder is lost with its name.
fn make(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    if path.try_exists()? {
        return Ok(());
    }
    make(parent)?;
    // Perhaps somebody else was faster: then theirs is synced here, too.
    fs::create_dir_all(path)?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    File::open(parent)?.sync_all()
}

/// 32 lower-case hex digits.
fn new_epoch() -> String {
    let random = || getrandom::u64().expect("the operating system gives random bytes");
    format!("{:016x}{:016x}", random(), random())
}

pub(super) const META_SCHEMA: &str = "schema";
pub(super) const META_EPOCH: &str = "epoch";
pub(super) const META_KEY_CHECK: &str = "key_check";
/// Instead of the epoch, once it was exported.
const META_EXPORTED: &str = "exported";
pub(super) const FOLDER: &str = "db";
const UNFINISHED: &str = "db.new";
/// An import that has not ended, or was never compared.
pub(super) const IMPORTED: &str = "db.import";
const LOCK: &str = "lock";
const MIB: u64 = 1 << 20;
/// Compaction writes and syncs files of this size. The engine's default of 64 MiB holds up commits
/// for
/// 100 ms and more.
const TABLE_BYTES: u64 = 8 * MIB;
/// Less than this is taken as this.
pub(super) const MEMORY_BYTES_MIN: u64 = 32 * MIB;
