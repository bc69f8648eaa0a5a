//! Rows of files. A user's files are made one after the other under the lock of the user's row, so
//! that two of them can not fit into the same room.

use anser_proto::{Code, ConversationId, FileId, UserId};

use super::accounts;
use super::failure::Failure;
use super::script::{Script, list, numbers};
use super::tx::Tx;
use crate::{CreateFile, EndFile, File, FileExpiry, FileState, NewFile};

pub(super) async fn create(tx: &mut Tx, new: NewFile) -> Result<CreateFile, Failure> {
    accounts::lock(tx, &[new.owner]).await?;
    let member = sqlx::query(
        "SELECT c.is_open FROM im_conversation c JOIN im_member m USING (conversation) \
         WHERE c.conversation = ? AND m.user = ? AND c.is_open = 1",
    );
    let member = member.bind(new.conversation.0).bind(new.owner.0);
    if tx.one::<(u8,)>(member).await?.is_none() {
        return Ok(CreateFile::Refused(Code::NotMember));
    }
    let used = tx.select::<(u64,)>(used_by(new.owner)).await?.pop().map_or(0, |(used,)| used);
    if used.saturating_add(new.size) > new.user_bytes_max {
        return Ok(CreateFile::Refused(Code::QuotaExceeded));
    }
    let file = File {
        id: fresh_id(tx).await?,
        owner: new.owner,
        conversation: new.conversation,
        size: new.size,
        state: FileState::Incomplete,
        created_at_ms: new.now_ms,
        updated_at_ms: new.now_ms,
    };
    let mut script = Script::default();
    files_into(&mut script, &[file]);
    tx.write(script).await?;
    Ok(CreateFile::Created(file))
}

/// The statement that tells how much a user's files take.
pub(super) fn used_by(owner: UserId) -> String {
    let size = "CAST(COALESCE(SUM(size), 0) AS UNSIGNED)";
    format!("SELECT {size} FROM im_file WHERE owner = {}", owner.0)
}

async fn fresh_id(tx: &mut Tx) -> Result<FileId, Failure> {
    loop {
        let id = FileId::random();
        let taken = format!("SELECT file FROM im_file WHERE file = {}", id.0);
        if tx.select::<(u64,)>(taken).await?.is_empty() {
            return Ok(id);
        }
    }
}

pub(super) async fn seen(tx: &mut Tx, user: UserId, id: FileId) -> Result<Option<File>, Failure> {
    let Some(file) = find(tx, &[id.0], "").await?.pop() else { return Ok(None) };
    let may_see = match file.state {
        FileState::Ended => false,
        _ if file.owner == user => true,
        FileState::Referenced => {
            let member = "SELECT user FROM im_member WHERE conversation = ? AND user = ?";
            let member = sqlx::query(member).bind(file.conversation.0).bind(user.0);
            tx.one::<(u64,)>(member).await?.is_some()
        }
        FileState::Incomplete | FileState::Complete => false,
    };
    Ok(may_see.then_some(file))
}

pub(super) async fn advance(
    tx: &mut Tx,
    id: FileId,
    (is_whole, now_ms): (bool, u64),
) -> Result<Option<File>, Failure> {
    let file = find(tx, &[id.0], "FOR UPDATE").await?.pop();
    let Some(mut file) = file.filter(|file| file.state != FileState::Ended) else {
        return Ok(None);
    };
    if file.state == FileState::Incomplete {
        if is_whole {
            file.state = FileState::Complete;
        }
        file.updated_at_ms = file.updated_at_ms.max(now_ms);
        change(tx, &[file]).await?;
    }
    Ok(Some(file))
}

pub(super) async fn end(tx: &mut Tx, owner: UserId, id: FileId) -> Result<EndFile, Failure> {
    let file = find(tx, &[id.0], "FOR UPDATE").await?.pop();
    let Some(mut file) = file.filter(|file| file.owner == owner) else {
        return Ok(EndFile::Unknown);
    };
    if file.state == FileState::Referenced {
        return Ok(EndFile::Referenced);
    }
    file.state = FileState::Ended;
    change(tx, &[file]).await?;
    Ok(EndFile::Ended)
}

pub(super) async fn expire(tx: &mut Tx, expiry: FileExpiry) -> Result<Vec<FileId>, Failure> {
    let due = format!(
        "SELECT {COLUMNS} FROM im_file WHERE state = {ENDED} \
         OR (state = {INCOMPLETE} AND updated_at_ms < {}) \
         OR (state = {COMPLETE} AND updated_at_ms < {}) ORDER BY file LIMIT {} FOR UPDATE",
        expiry.incomplete_before_ms, expiry.complete_before_ms, expiry.files_max
    );
    let mut files: Vec<File> = tx.select::<Row>(due).await?.into_iter().map(file_of).collect();
    files.iter_mut().for_each(|file| file.state = FileState::Ended);
    change(tx, &files).await?;
    Ok(files.into_iter().map(|file| file.id).collect())
}

pub(super) async fn forget(tx: &mut Tx, ids: &[FileId]) -> Result<(), Failure> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = list(ids.iter().map(|id| id.0));
    tx.script(format!("DELETE FROM im_file WHERE file IN ({ids}) AND state = {ENDED}")).await?;
    Ok(())
}

/// The files with these ids, in their order; `lock` is what stands behind the select.
pub(super) async fn find(tx: &mut Tx, ids: &[u64], lock: &str) -> Result<Vec<File>, Failure> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = list(ids.iter().copied());
    let rows = format!(
        "SELECT {COLUMNS} FROM im_file FORCE INDEX (PRIMARY) WHERE file IN ({ids}) \
         ORDER BY file {lock}"
    );
    Ok(tx.select::<Row>(rows).await?.into_iter().map(file_of).collect())
}

async fn change(tx: &mut Tx, files: &[File]) -> Result<(), Failure> {
    let mut script = Script::default();
    files_into(&mut script, files);
    if script.is_empty() { Ok(()) } else { tx.write(script).await }
}

/// Stores files.
pub(super) fn files_into(script: &mut Script, files: &[File]) {
    script.insert(FILE, files, |text, file| {
        let state = match file.state {
            FileState::Incomplete => INCOMPLETE,
            FileState::Complete => COMPLETE,
            FileState::Referenced => REFERENCED,
            FileState::Ended => ENDED,
        };
        let (owner, conversation) = (file.owner.0, file.conversation.0);
        let times = [file.created_at_ms, file.updated_at_ms];
        numbers(text, [file.id.0, owner, conversation, file.size, state, times[0], times[1]]);
    });
}

type Row = (u64, u64, u64, u64, u8, u64, u64);

fn file_of(row: Row) -> File {
    File {
        id: FileId(row.0),
        owner: UserId(row.1),
        conversation: ConversationId(row.2),
        size: row.3,
        state: match u64::from(row.4) {
            INCOMPLETE => FileState::Incomplete,
            COMPLETE => FileState::Complete,
            REFERENCED => FileState::Referenced,
            _ => FileState::Ended,
        },
        created_at_ms: row.5,
        updated_at_ms: row.6,
    }
}

const COLUMNS: &str = "file, owner, conversation, size, state, created_at_ms, updated_at_ms";
const FILE: (&str, &str) = (
    "INSERT INTO im_file (file, owner, conversation, size, state, created_at_ms, updated_at_ms) \
     VALUES ",
    " ON DUPLICATE KEY UPDATE state = VALUES(state), updated_at_ms = VALUES(updated_at_ms)",
);
const INCOMPLETE: u64 = 0;
const COMPLETE: u64 = 1;
const REFERENCED: u64 = 2;
const ENDED: u64 = 3;
