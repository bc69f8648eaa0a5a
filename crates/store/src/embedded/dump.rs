//! Everything out of a folder and into one, as the rows of a [dump](crate::dump). Nobody serves
//! from the folder meanwhile: its lock is held.

mod load;

use std::io::{self, Read, Write};
use std::path::Path;

use anser_proto::{ConversationId, DeviceId, FileId, UserId};
use bytes::Bytes;
use fjall::{Keyspace, Readable as _, Slice};
use prost::Message;

use super::engine::{self, Engine, Rows as _, View, broken};
use super::open::{self, FOLDER, Found, IMPORTED, Lock, META_KEY_CHECK};
use super::{OpenError, keys, rows};
use crate::dump::{self, Error, Header, Reader, Result, Row, Summary, Writer};
use crate::{Hash, StoreError};
use load::Loader;

/// See [`dump::Place::export`].
pub(crate) fn export(path: &Path, to: &mut (dyn Write + Send)) -> Result<Summary> {
    let (found, _lock) = find(path)?;
    let writer = rows_of(&found.engine, to)?;
    open::fence(&found.engine).map_err(broken)?;
    writer.end()
}

/// See [`dump::Place::import`].
pub(crate) fn import(path: &Path, from: &mut (dyn Read + Send)) -> Result<Summary> {
    let mut reader = Reader::begin(from)?;
    let _lock = open::lock_new(path)?;
    let epoch = reader.header().epoch.clone();
    let broken_folder = |reason| OpenError::Broken { path: path.into(), reason };
    let engine = open::begin(path, IMPORTED, epoch).map_err(broken_folder)?;
    let summary = Loader::new(&engine).load(&mut reader)?;
    open::write_meta(&engine).map_err(broken)?;
    drop(engine);
    // Opened anew, so that what is read back comes from its files.
    let Found { engine, .. } = open::find(path, IMPORTED, 0)?;
    summary.matches(&rows_of(&engine, &mut io::sink())?.end()?)?;
    drop(engine);
    open::publish(path, IMPORTED)?;
    Ok(summary)
}

/// See [`dump::Place::new_epoch`].
pub(crate) fn new_epoch(path: &Path) -> Result<String> {
    let (found, _lock) = find(path)?;
    Ok(open::renew(&found.engine).map_err(broken)?)
}

/// The database of a folder, which is not made if there is none, and the folder's lock.
fn find(path: &Path) -> Result<(Found, Lock)> {
    let is_there = |name: &str| path.join(name).try_exists();
    if !is_there(FOLDER)? {
        return Err(match is_there(IMPORTED)? {
            true => OpenError::Unfinished(path.into()).into(),
            false => Error::NoStore(path.display().to_string()),
        });
    }
    let lock = open::lock(path)?;
    Ok((open::find(path, FOLDER, 0)?, lock))
}

/// Writes all but the end of a dump.
fn rows_of<'w>(engine: &Engine, to: &'w mut (dyn Write + Send)) -> Result<Writer<'w>> {
    let view = engine.view();
    let key_check = view.get(&open::meta_key(META_KEY_CHECK))?.map(|check| check.to_vec());
    let mut writer = Writer::begin(to, Header { epoch: engine.epoch.clone(), key_check })?;
    let mut put = |row: Row| writer.row(row);
    each(&view, keys::USER, |key, row| put(Row::User(user(&view, number(key)?, row)?)))?;
    each(&view, keys::INVITE, |key, row: rows::InviteRow| {
        let (code_hash, rows::InviteRow { created_at_ms, used_by }) = (key.to_vec(), row);
        put(Row::Invite(dump::Invite { code_hash, created_at_ms, used_by }))
    })?;
    let mut devices = 0;
    each(&view, keys::SESSION, |key, row| {
        devices += 1;
        put(Row::Device(device(&view, two_numbers(key)?, row)?))
    })?;
    for table in [keys::DEVICE, keys::TOKEN] {
        let others = view.snapshot.prefix(&engine.small, [table]).count();
        if others != devices {
            let text = format!("{devices} devices, but {others} rows or tokens of devices");
            return Err(StoreError::Corrupt(text).into());
        }
    }
    each(&view, keys::RELATION, |key, row| put(Row::Relation(relation(number(key)?, row))))?;
    each(&view, keys::CONVERSATION, |key, row| {
        put(Row::Conversation(conversation(&view, number(key)?, row)?))
    })?;
    log(&view, &engine.message, |(conversation, conv_seq), entry| {
        put(Row::Message(dump::Message { conversation, conv_seq, entry }))
    })?;
    log(&view, &engine.inbox, |(user, seq), entry| {
        put(Row::Entry(dump::Entry { user, seq, entry }))
    })?;
    each(&view, keys::ONCE, |key, row: rows::OnceRow| {
        put(Row::Once(dump::Once { key: key.to_vec(), used_at_ms: row.used_at_ms }))
    })?;
    each(&view, keys::FILE, |key, row| put(Row::File(file(FileId(number(key)?), row))))?;
    Ok(writer)
}

/// All rows of a small table, with their keys behind its byte.
fn each<R: Message + Default>(
    view: &View<'_>,
    table: u8,
    mut then: impl FnMut(&[u8], R) -> Result<()>,
) -> Result<()> {
    for row in view.snapshot.prefix(&view.engine.small, [table]) {
        let (key, value) = row.into_inner().map_err(broken)?;
        then(&key[1..], rows::decode("a row", &value)?)?;
    }
    Ok(())
}

/// All rows of a log.
fn log(
    view: &View<'_>,
    keyspace: &Keyspace,
    mut then: impl FnMut((u64, u64), Bytes) -> Result<()>,
) -> Result<()> {
    for row in view.snapshot.iter(keyspace) {
        let (key, value): (Slice, Slice) = row.into_inner().map_err(broken)?;
        then(two_numbers(&key)?, Bytes::copy_from_slice(&value))?;
    }
    Ok(())
}

fn user(view: &View<'_>, id: u64, row: rows::UserRow) -> Result<dump::User> {
    let rows::UserRow { name, display_name, password_hash, state, system, created_at_ms } = row;
    Ok(dump::User {
        id,
        name,
        display_name,
        password_hash,
        state,
        system,
        created_at_ms,
        inbox_head: view.inbox_head(UserId(id))?,
        inbox_floor: view.floor(UserId(id))?,
    })
}

fn device(view: &View<'_>, (user, id): (u64, u64), row: rows::SessionRow) -> Result<dump::Device> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("device {id} has no {what}"));
    let rows::SessionRow { name, token_hash, created_at_ms } = row;
    let hash = Hash::try_from(&token_hash[..]).map_err(|_| corrupt("hash of a token"))?;
    if view.get(&keys::token(&hash))?.is_none() {
        return Err(corrupt("token").into());
    }
    let hot = engine::device(view, DeviceId(id))?.ok_or_else(|| corrupt("row"))?;
    let rows::DeviceRow { outbox_position, inbox_position, seen_at_ms, digests, .. } = hot;
    Ok(dump::Device {
        user,
        id,
        outbox_position,
        inbox_position,
        seen_at_ms,
        digests,
        name,
        token_hash,
        created_at_ms,
    })
}

fn relation(id: u64, row: rows::RelationRow) -> dump::Relation {
    dump::Relation {
        id,
        low: row.low,
        high: row.high,
        friends: row.friends,
        low_asks: row.low_asks,
        high_asks: row.high_asks,
        low_blocks: row.low_blocks,
        high_blocks: row.high_blocks,
        wrapped_keys: row.keys,
    }
}

fn conversation(
    view: &View<'_>,
    id: u64,
    row: rows::ConversationRow,
) -> Result<dump::Conversation> {
    let rows::ConversationRow { kind, open, key_version, mut members } = row;
    members.sort_unstable();
    let member = |user: u64| -> Result<dump::Member> {
        let key = keys::member(ConversationId(id), UserId(user));
        let row: rows::MemberRow = view.row("member", &key)?.unwrap_or_default();
        let rows::MemberRow { delivered, read, joined_at_seq } = row;
        Ok(dump::Member { user, delivered, read, joined_at_seq })
    };
    Ok(dump::Conversation {
        id,
        kind,
        open,
        key_version,
        head: view.message_head(ConversationId(id))?,
        members: members.into_iter().map(member).collect::<Result<_>>()?,
    })
}

fn file(id: FileId, row: rows::FileRow) -> dump::File {
    let rows::FileRow { owner, conversation, size, state, created_at_ms, updated_at_ms } = row;
    dump::File { id: id.0, owner, conversation, size, state, created_at_ms, updated_at_ms }
}

fn number(key: &[u8]) -> Result<u64> {
    let bytes = <[u8; 8]>::try_from(key).map_err(|_| strange(key))?;
    Ok(u64::from_be_bytes(bytes))
}

fn two_numbers(key: &[u8]) -> Result<(u64, u64)> {
    let (first, second) = key.split_first_chunk::<8>().ok_or_else(|| strange(key))?;
    Ok((u64::from_be_bytes(*first), number(second)?))
}

fn strange(key: &[u8]) -> StoreError {
    StoreError::Corrupt(format!("a key has {} bytes", key.len()))
}
