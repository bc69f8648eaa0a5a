//! The open database: its keyspaces, snapshots of it, and typed reads.

use anser_proto::{ConversationId, DeviceId, Seq, UserId};
use fjall::{Database, Iter, Keyspace, Readable as _, Slice, Snapshot};

use super::{keys, rows};
use crate::{Result, StoreError, apply};

/// The open database.
pub(super) struct Engine {
    pub(super) db: Database,
    /// (user, seq) → encoded entry.
    pub(super) inbox: Keyspace,
    /// (conversation, conv_seq) → encoded entry.
    pub(super) message: Keyspace,
    /// All small tables, see [`keys`].
    pub(super) small: Keyspace,
    pub(super) epoch: String,
}

/// One consistent state of the database.
pub(super) struct View<'e> {
    pub(super) engine: &'e Engine,
    pub(super) snapshot: Snapshot,
}

/// Reads of small rows: a [`View`], or a transaction that sees its own writes.
pub(super) trait Rows {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Slice>>;
    /// All rows whose keys begin with `prefix`, rising by key.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Slice, Slice)>>;

    /// A decoded row.
    fn row<R: prost::Message + Default>(
        &self,
        what: &'static str,
        key: &[u8],
    ) -> Result<Option<R>> {
        self.get(key)?.map(|bytes| rows::decode(what, &bytes)).transpose()
    }
}

impl Engine {
    pub(super) fn view(&self) -> View<'_> {
        View { engine: self, snapshot: self.db.snapshot() }
    }
}

/// The engine failed below us.
pub(super) fn broken(error: fjall::Error) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

impl Rows for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Slice>> {
        self.snapshot.get(&self.engine.small, key).map_err(broken)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Slice, Slice)>> {
        let rows = self.snapshot.prefix(&self.engine.small, prefix);
        rows.map(|row| row.into_inner().map_err(broken)).collect()
    }
}

impl View<'_> {
    /// The last entry number of an inbox, 0 when it is empty.
    pub(super) fn inbox_head(&self, user: UserId) -> Result<Seq> {
        last_seq(self.rows(&self.engine.inbox, user.0, 0, u64::MAX))
    }

    /// The last message number of a conversation, 0 when it is empty.
    pub(super) fn message_head(&self, conversation: ConversationId) -> Result<Seq> {
        last_seq(self.rows(&self.engine.message, conversation.0, 0, u64::MAX))
    }

    /// The lowest entry number that exists, 1 when there was none yet.
    pub(super) fn floor(&self, user: UserId) -> Result<Seq> {
        floor(self, user)
    }

    /// Rows `from ..= to` of one inbox or conversation.
    pub(super) fn rows(&self, keyspace: &Keyspace, log: u64, from: Seq, to: Seq) -> Iter {
        self.snapshot.range(keyspace, keys::row(log, from)..=keys::row(log, to))
    }

    /// The part of a device that the apply rule works on.
    pub(super) fn device(&self, id: DeviceId) -> Result<Option<apply::Device>> {
        Ok(device(self, id)?.map(apply::Device::from))
    }

    /// A conversation with its members and head.
    pub(super) fn conversation(&self, id: ConversationId) -> Result<Option<apply::Conversation>> {
        let row = self.row::<rows::ConversationRow>("conversation", &keys::conversation(id))?;
        let Some(row) = row else { return Ok(None) };
        let mut members = Vec::with_capacity(row.members.len());
        for user in row.members.iter().copied().map(UserId) {
            let row = self.row::<rows::MemberRow>("member", &keys::member(id, user))?;
            let row = row.unwrap_or_default();
            members.push(apply::Member {
                user,
                delivered: row.delivered,
                read: row.read,
                joined_at_seq: row.joined_at_seq,
                ..apply::Member::default()
            });
        }
        let head = self.message_head(id)?;
        let (open, key_version) = (row.open, row.key_version);
        Ok(Some(apply::Conversation { open, head, key_version, members }))
    }
}

/// A user's row.
pub(super) fn user(rows: &impl Rows, id: UserId) -> Result<Option<rows::UserRow>> {
    rows.row("user", &keys::user(id))
}

/// A device's row.
pub(super) fn device(rows: &impl Rows, id: DeviceId) -> Result<Option<rows::DeviceRow>> {
    rows.row("device", &keys::device(id))
}

/// The lowest entry number of an inbox, 1 when nothing was pruned yet.
pub(super) fn floor(rows: &impl Rows, user: UserId) -> Result<Seq> {
    let row: Option<rows::FloorRow> = rows.row("floor", &keys::floor(user))?;
    Ok(row.map_or(1, |row| row.floor))
}

fn last_seq(mut rows: Iter) -> Result<Seq> {
    let Some(row) = rows.next_back() else { return Ok(0) };
    let key = row.key().map_err(broken)?;
    keys::last_number(&key).ok_or_else(|| StoreError::Corrupt("a short key".into()))
}

impl From<rows::DeviceRow> for apply::Device {
    fn from(row: rows::DeviceRow) -> Self {
        Self {
            user: UserId(row.user),
            outbox_position: row.outbox_position,
            inbox_position: row.inbox_position,
            seen_at_ms: row.seen_at_ms,
            digests: row.digests,
            dirty: false,
        }
    }
}

impl From<&apply::Device> for rows::DeviceRow {
    fn from(device: &apply::Device) -> Self {
        Self {
            user: device.user.0,
            outbox_position: device.outbox_position,
            inbox_position: device.inbox_position,
            seen_at_ms: device.seen_at_ms,
            digests: device.digests.clone(),
        }
    }
}
