//! A write transaction of the verbs outside of the hot path: sees its own writes, ends as one
//! batch.

use std::collections::BTreeMap;

use anser_proto::{ConversationId, DeviceId, Seq, UserId};
use bytes::Bytes;
use fjall::{OwnedWriteBatch, Slice};
use prost::Message;

use super::cache::Cache;
use super::engine::{Engine, Rows, View};
use super::keys;
use super::rows::DeviceRow;
use crate::apply::{IdMap, NewRow, push_entry};
use crate::{Mark, NewEntry, Result};

/// Writes that belong together, over the state before them.
pub(super) struct Tx<'e> {
    pub(super) view: View<'e>,
    small: BTreeMap<Vec<u8>, Option<Slice>>,
    inbox: Vec<NewEntry>,
    inbox_removed: Vec<keys::RowKey>,
    heads: IdMap<UserId, Seq>,
}

impl<'e> Tx<'e> {
    pub(super) fn new(engine: &'e Engine) -> Self {
        Self {
            view: engine.view(),
            small: BTreeMap::new(),
            inbox: Vec::new(),
            inbox_removed: Vec::new(),
            heads: IdMap::default(),
        }
    }

    /// Inserts or replaces a row.
    pub(super) fn put(&mut self, key: &[u8], row: &impl Message) {
        self.put_bytes(key, &row.encode_to_vec());
    }

    /// Inserts or replaces a row that is no message.
    pub(super) fn put_bytes(&mut self, key: &[u8], value: &[u8]) {
        self.small.insert(key.to_vec(), Some(value.into()));
    }

    /// Deletes a row.
    pub(super) fn delete(&mut self, key: &[u8]) {
        self.small.insert(key.to_vec(), None);
    }

    /// Deletes an inbox row below the floor.
    pub(super) fn prune_entry(&mut self, user: UserId, seq: Seq) {
        self.inbox_removed.push(keys::row(user.0, seq));
    }

    /// The last entry number of an inbox, with what this transaction appended.
    pub(super) fn inbox_head(&self, user: UserId) -> Result<Seq> {
        match self.heads.get(&user) {
            Some(head) => Ok(*head),
            None => self.view.inbox_head(user),
        }
    }

    /// Appends an entry to an inbox.
    pub(super) fn push(&mut self, user: UserId, entry: Bytes) -> Result<NewEntry> {
        let head = self.inbox_head(user)?;
        self.heads.insert(user, head);
        push_entry(&mut self.heads, &mut self.inbox, NewRow { user, entry, mark: Mark::Other });
        Ok(self.inbox.last().cloned().expect("pushed right above"))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.inbox.is_empty() && self.inbox_removed.is_empty()
    }

    /// Moves the writes into a batch; gives what the cache is to learn once that is committed.
    pub(super) fn into_batch(self, batch: &mut OwnedWriteBatch) -> Learned {
        let engine = self.view.engine;
        let mut learned = Learned { heads: self.heads, ..Learned::default() };
        for (key, value) in self.small {
            learned.note(&key, value.as_ref());
            match value {
                Some(value) => batch.insert(&engine.small, key, value),
                None => batch.remove(&engine.small, key),
            }
        }
        for row in self.inbox {
            batch.insert(&engine.inbox, keys::row(row.user.0, row.seq), &row.entry[..]);
        }
        for key in self.inbox_removed {
            batch.remove(&engine.inbox, key);
        }
        learned
    }
}

/// Rows of the hot path that a transaction changed.
#[derive(Default)]
pub(super) struct Learned {
    heads: IdMap<UserId, Seq>,
    devices: Vec<(DeviceId, Option<DeviceRow>)>,
    conversations: Vec<ConversationId>,
}

impl Learned {
    fn note(&mut self, key: &[u8], value: Option<&Slice>) {
        let Some((table, rest)) = key.split_first() else { return };
        let Some(id) = rest.first_chunk::<8>().map(|id| u64::from_be_bytes(*id)) else { return };
        match *table {
            keys::DEVICE => {
                let row = value.and_then(|value| DeviceRow::decode(&value[..]).ok());
                self.devices.push((DeviceId(id), row));
            }
            keys::CONVERSATION | keys::MEMBER => self.conversations.push(ConversationId(id)),
            _ => {}
        }
    }

    /// Brings the cache up to date: who was just made or befriended is about to write.
    pub(super) fn teach(self, cache: &mut Cache, view: &View<'_>) -> Result<()> {
        for (user, head) in self.heads {
            cache.heads.put(user, head);
        }
        for (id, row) in self.devices {
            match row {
                Some(row) => cache.devices.put(id, row.into()),
                None => drop(cache.devices.take(id)),
            }
        }
        for id in self.conversations {
            match view.conversation(id)? {
                Some(conversation) => cache.conversations.put(id, conversation),
                None => drop(cache.conversations.take(id)),
            }
        }
        Ok(())
    }
}

impl Rows for Tx<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Slice>> {
        match self.small.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.view.get(key),
        }
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Slice, Slice)>> {
        let mut rows = self.view.scan(prefix)?;
        let own =
            self.small.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        for (key, value) in own {
            match (rows.binary_search_by(|(known, _)| (**known).cmp(&key[..])), value) {
                (Ok(at), Some(value)) => rows[at].1 = value.clone(),
                (Ok(at), None) => drop(rows.remove(at)),
                (Err(at), Some(value)) => rows.insert(at, (key.as_slice().into(), value.clone())),
                (Err(_), None) => {}
            }
        }
        Ok(rows)
    }
}
