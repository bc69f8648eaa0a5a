//! Backup and restore, in a logical form that says nothing of the engine.
//!
//! A backup is a folder with one file `<table>.rows` per table and the file `manifest`.
//!
//! | file | content |
//! |---|---|
//! | `<table>.rows` | for each row, rising by key: `u32 key length, key, u32 value length, value`, lengths big-endian |
//! | `manifest` | lines of words: `anser-backup 1`, `schema N`, `epoch E`, `key_check HEX` or `key_check -`, then for each table `table NAME ROWS BYTES SHA256`, then `end` |
//!
//! Keys are those of `keys.rs` without the byte of the table: numbers big-endian. Values are those
//! of `rows.rs`, and encoded `wire::Entry`s in `im_inbox` and `im_message`. `im_meta` is not a
//! table here, its rows are the manifest's. The manifest is written last, after everything was
//! synced and read back: a folder without one is no backup.

mod file;
mod manifest;

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use fjall::{Iter, Keyspace, OwnedWriteBatch, PersistMode, Readable as _};

use super::engine::{Engine, Rows as _, View, broken};
use super::keys;
use super::open::{self, META_KEY_CHECK, OpenError, SCHEMA};
use crate::{BackupReport, Result, StoreError};
use file::{RowReader, RowWriter};
use manifest::{Manifest, Table};

/// Writes a copy of one snapshot and reads it back.
pub(super) fn write(engine: &Engine, to: &Path) -> Result<BackupReport> {
    let failed = |error: std::io::Error| {
        StoreError::Unavailable(format!("the backup to {} failed: {error}", to.display()))
    };
    // Password hashes and wrapped keys are in there.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(failed)?;
    if fs::read_dir(to).map_err(failed)?.next().is_some() {
        let reason = format!("the folder {} is not empty; back up into a new one", to.display());
        return Err(StoreError::Unavailable(reason));
    }
    let view = engine.view();
    let mut tables = Vec::new();
    for (name, source) in sources() {
        tables.push(table(&view, name, source, to)?);
    }
    for table in &tables {
        verify(to, table).map_err(StoreError::Unavailable)?;
    }
    let key_check = view.get(&open::meta_key(META_KEY_CHECK))?;
    let manifest = Manifest {
        schema: SCHEMA,
        epoch: engine.epoch.clone(),
        key_check: key_check.map(|check| check.to_vec()),
        tables,
    };
    manifest.write(to).map_err(failed)?;
    File::open(to).and_then(|folder| folder.sync_all()).map_err(failed)?;
    let total = |count: fn(&Table) -> u64| manifest.tables.iter().map(count).sum();
    Ok(BackupReport { rows: total(|table| table.rows), bytes: total(|table| table.bytes) })
}

/// Loads a backup into a new data folder, with a new epoch.
///
/// All checksums are verified before anything is loaded. What has to be told to the devices follows
/// from the epoch: each of them gets a reset.
///
/// # Errors
/// [`OpenError`] when the target is not empty, or the backup is newer, incomplete, damaged, or of
/// another master key than the one that `key_check` tells of.
pub fn restore(backup: &Path, data: &Path, key_check: &[u8]) -> Result<(), OpenError> {
    let damaged = |reason: String| OpenError::Broken { path: backup.into(), reason };
    let manifest = Manifest::read(backup).map_err(damaged)?;
    if manifest.schema > SCHEMA {
        return Err(OpenError::NewerSchema { path: backup.into(), found: manifest.schema });
    }
    if manifest.key_check.as_ref().is_some_and(|check| check != key_check) {
        return Err(OpenError::OtherKey(backup.into()));
    }
    for table in &manifest.tables {
        verify(backup, table).map_err(damaged)?;
    }
    let _lock = open::lock_new(data)?;
    let fill = |engine: &Engine| {
        for table in &manifest.tables {
            load(engine, table, backup)?;
        }
        if let Some(check) = &manifest.key_check {
            let mut batch = engine.db.batch();
            batch.insert(&engine.small, open::meta_key(META_KEY_CHECK), &check[..]);
            batch.commit().map_err(|error| error.to_string())?;
        }
        engine.db.persist(PersistMode::SyncAll).map_err(|error| error.to_string())
    };
    open::create(data, fill).map_err(|reason| OpenError::Broken { path: data.into(), reason })
}

/// Where the rows of a table are.
#[derive(Clone, Copy)]
enum Source {
    Inbox,
    Message,
    Small(u8),
}

/// All tables but `im_meta`.
fn sources() -> impl Iterator<Item = (&'static str, Source)> {
    let logs = [("im_inbox", Source::Inbox), ("im_message", Source::Message)];
    let small = keys::TABLES.iter().filter(|(table, _)| *table != keys::META);
    logs.into_iter().chain(small.map(|(table, name)| (*name, Source::Small(*table))))
}

impl Source {
    /// The keyspace, and what its keys begin with in there.
    fn place(self, engine: &Engine) -> (&Keyspace, Option<u8>) {
        match self {
            Self::Inbox => (&engine.inbox, None),
            Self::Message => (&engine.message, None),
            Self::Small(table) => (&engine.small, Some(table)),
        }
    }

    fn rows(self, view: &View<'_>) -> Iter {
        let (keyspace, table) = self.place(view.engine);
        match table {
            None => view.snapshot.iter(keyspace),
            Some(table) => view.snapshot.prefix(keyspace, [table]),
        }
    }
}

fn table(view: &View<'_>, name: &'static str, source: Source, to: &Path) -> Result<Table> {
    let failed = |error: std::io::Error| {
        StoreError::Unavailable(format!("the backup of {name} failed: {error}"))
    };
    let skip = usize::from(source.place(view.engine).1.is_some());
    let mut writer = RowWriter::create(&to.join(file_name(name))).map_err(failed)?;
    for row in source.rows(view) {
        let (key, value) = row.into_inner().map_err(broken)?;
        writer.row(&key[skip..], &value).map_err(failed)?;
    }
    let (rows, bytes, sha256) = writer.finish().map_err(failed)?;
    Ok(Table { name: name.into(), rows, bytes, sha256 })
}

/// Reads a table's file and compares it with the manifest.
fn verify(folder: &Path, table: &Table) -> Result<(), String> {
    source(&table.name)?;
    let check = || -> std::io::Result<(u64, u64, String)> {
        let mut reader = RowReader::open(&folder.join(file_name(&table.name)))?;
        while reader.row()?.is_some() {}
        Ok(reader.finish())
    };
    let found = check().map_err(|error| format!("{}: {error}", file_name(&table.name)))?;
    if found != (table.rows, table.bytes, table.sha256.clone()) {
        return Err(format!("{} is damaged: its checksum differs", file_name(&table.name)));
    }
    Ok(())
}

fn load(engine: &Engine, table: &Table, backup: &Path) -> Result<(), String> {
    let (keyspace, prefix) = source(&table.name)?.place(engine);
    let commit = |batch: OwnedWriteBatch| batch.commit().map_err(|error| error.to_string());
    let read = |error: std::io::Error| format!("{}: {error}", file_name(&table.name));
    let mut reader = RowReader::open(&backup.join(file_name(&table.name))).map_err(read)?;
    let mut batch = engine.db.batch();
    while let Some((key, value)) = reader.row().map_err(read)? {
        let mut whole = Vec::with_capacity(1 + key.len());
        whole.extend(prefix);
        whole.extend_from_slice(key);
        batch.insert(keyspace, whole, value);
        if batch.len() >= ROWS_PER_BATCH {
            commit(std::mem::replace(&mut batch, engine.db.batch()))?;
        }
    }
    commit(batch)
}

/// The source of a name, which may come from a file: nothing else becomes part of a path.
fn source(table: &str) -> Result<Source, String> {
    let known = sources().find(|(name, _)| *name == table);
    known.map(|(_, source)| source).ok_or_else(|| format!("the table {table} is not known"))
}

fn file_name(table: &str) -> String {
    format!("{table}.rows")
}

/// Enough to make the cost of a batch small, few enough for its memory: rows are below 17 KiB.
const ROWS_PER_BATCH: usize = 1000;
