//! Rows of files. Those that no message names have a row in `LOOSE_FILE` too, so that looking for
//! what has expired reads a few rows and not all files that were ever sent.

use anser_proto::{Code, ConversationId, FileId, UserId, fault::Fault};

use super::accounts::fresh_id;
use super::engine::{Rows, View};
use super::keys;
use super::rows::{ConversationRow, FileRow, LooseFileRow, UsedRow};
use super::tx::Tx;
use crate::{CreateFile, EndFile, File, FileExpiry, FileState, NewFile, Result};

pub(super) fn create(tx: &mut Tx<'_>, new: NewFile) -> Result<CreateFile> {
    let conversation: Option<ConversationRow> =
        tx.row("conversation", &keys::conversation(new.conversation))?;
    let is_member = conversation.is_some_and(|row| row.open && row.members.contains(&new.owner.0));
    if !is_member {
        return Ok(CreateFile::Refused(Code::NotMember));
    }
    let bytes = used(tx, new.owner)?.saturating_add(new.size);
    if bytes > new.user_bytes_max {
        return Ok(CreateFile::Refused(Code::QuotaExceeded));
    }
    let file = File {
        id: fresh_id(tx, None, FileId::random, keys::file)?,
        owner: new.owner,
        conversation: new.conversation,
        size: new.size,
        state: FileState::Incomplete,
        created_at_ms: new.now_ms,
        updated_at_ms: new.now_ms,
    };
    tx.put(&keys::used(new.owner), &UsedRow { bytes });
    tx.put(&keys::file(file.id), &row_of(&file));
    tx.put(&keys::loose_file(file.id), &LooseFileRow {});
    Ok(CreateFile::Created(file))
}

pub(super) fn seen(view: &View<'_>, user: UserId, id: FileId) -> Result<Option<File>> {
    let file = find(view, id)?.filter(|file| file.state != FileState::Ended);
    let Some(file) = file else { return Ok(None) };
    let membership = keys::membership(user, file.conversation);
    let may_see = file.owner == user
        || Fault::FileToAnybody.is_on()
        || file.state == FileState::Referenced && view.get(&membership)?.is_some();
    Ok(may_see.then_some(file))
}

pub(super) fn advance(
    tx: &mut Tx<'_>,
    id: FileId,
    is_whole: bool,
    now_ms: u64,
) -> Result<Option<File>> {
    let file = find(tx, id)?.filter(|file| file.state != FileState::Ended);
    let Some(mut file) = file else { return Ok(None) };
    if file.state == FileState::Incomplete {
        if is_whole {
            file.state = FileState::Complete;
        }
        file.updated_at_ms = file.updated_at_ms.max(now_ms);
        tx.put(&keys::file(id), &row_of(&file));
    }
    Ok(Some(file))
}

pub(super) fn end(tx: &mut Tx<'_>, owner: UserId, id: FileId) -> Result<EndFile> {
    let Some(mut file) = find(tx, id)?.filter(|file| file.owner == owner) else {
        return Ok(EndFile::Unknown);
    };
    if file.state == FileState::Referenced {
        return Ok(EndFile::Referenced);
    }
    file.state = FileState::Ended;
    tx.put(&keys::file(id), &row_of(&file));
    Ok(EndFile::Ended)
}

/// The files that have ended, or do by this.
pub(super) fn expired(rows: &impl Rows, expiry: FileExpiry) -> Result<Vec<File>> {
    let mut found = Vec::new();
    for (key, _) in rows.scan(&[keys::LOOSE_FILE])? {
        let id = FileId(keys::last_number(&key).unwrap_or_default());
        let Some(file) = find(rows, id)? else { continue };
        let is_due = match file.state {
            FileState::Incomplete => file.updated_at_ms < expiry.incomplete_before_ms,
            FileState::Complete => file.updated_at_ms < expiry.complete_before_ms,
            FileState::Ended => true,
            FileState::Referenced => false,
        };
        if is_due {
            found.push(file);
        }
        if found.len() >= expiry.files_max {
            break;
        }
    }
    Ok(found)
}

pub(super) fn expire(tx: &mut Tx<'_>, expiry: FileExpiry) -> Result<Vec<FileId>> {
    let found = expired(tx, expiry)?;
    for file in &found {
        tx.put(&keys::file(file.id), &row_of(&File { state: FileState::Ended, ..*file }));
    }
    Ok(found.into_iter().map(|file| file.id).collect())
}

pub(super) fn forget(tx: &mut Tx<'_>, ids: &[FileId]) -> Result<()> {
    for id in ids {
        let file = find(tx, *id)?.filter(|file| file.state == FileState::Ended);
        let Some(file) = file else { continue };
        let bytes = used(tx, file.owner)?.saturating_sub(file.size);
        tx.put(&keys::used(file.owner), &UsedRow { bytes });
        tx.delete(&keys::file(*id));
        tx.delete(&keys::loose_file(*id));
    }
    Ok(())
}

/// A file in any state.
pub(super) fn find(rows: &impl Rows, id: FileId) -> Result<Option<File>> {
    let row: Option<FileRow> = rows.row("file", &keys::file(id))?;
    Ok(row.map(|row| File {
        id,
        owner: UserId(row.owner),
        conversation: ConversationId(row.conversation),
        size: row.size,
        state: match row.state {
            INCOMPLETE => FileState::Incomplete,
            COMPLETE => FileState::Complete,
            REFERENCED => FileState::Referenced,
            _ => FileState::Ended,
        },
        created_at_ms: row.created_at_ms,
        updated_at_ms: row.updated_at_ms,
    }))
}

pub(super) fn row_of(file: &File) -> FileRow {
    FileRow {
        owner: file.owner.0,
        conversation: file.conversation.0,
        size: file.size,
        state: match file.state {
            FileState::Incomplete => INCOMPLETE,
            FileState::Complete => COMPLETE,
            FileState::Referenced => REFERENCED,
            FileState::Ended => ENDED,
        },
        created_at_ms: file.created_at_ms,
        updated_at_ms: file.updated_at_ms,
    }
}

fn used(rows: &impl Rows, user: UserId) -> Result<u64> {
    let row: Option<UsedRow> = rows.row("room for files", &keys::used(user))?;
    Ok(row.map_or(0, |row| row.bytes))
}

const INCOMPLETE: u32 = 0;
const COMPLETE: u32 = 1;
const REFERENCED: u32 = 2;
const ENDED: u32 = 3;
