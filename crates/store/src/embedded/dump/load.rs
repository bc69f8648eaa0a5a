//! Loads the rows of a dump into a new database, in bounded batches. Nobody reads it yet, so it is
//! synced once, at the end.

use std::collections::BTreeMap;

use anser_proto::{ConversationId, DeviceId, FileId, UserId};
use fjall::{OwnedWriteBatch, Readable as _};
use prost::Message;

use crate::dump::{self, Next, Reader, Result, Row, Summary};
use crate::embedded::engine::{Engine, broken};
use crate::embedded::open::{self, META_KEY_CHECK};
use crate::embedded::{files, keys, rows};

/// What is being loaded.
pub(super) struct Loader<'e> {
    engine: &'e Engine,
    batch: OwnedWriteBatch,
    /// What the files of a batch add to their owners' rows.
    used: BTreeMap<u64, u64>,
}

impl<'e> Loader<'e> {
    pub(super) fn new(engine: &'e Engine) -> Self {
        Self { engine, batch: engine.db.batch(), used: BTreeMap::new() }
    }

    /// Loads all rows up to the dump's end.
    pub(super) fn load(mut self, from: &mut Reader<'_>) -> Result<Summary> {
        if let Some(check) = from.key_check() {
            self.bytes(open::meta_key(META_KEY_CHECK), check);
        }
        loop {
            match from.next()? {
                Next::Row(row) => self.row(row),
                Next::End(summary) => {
                    self.commit()?;
                    return Ok(summary);
                }
            }
            if self.batch.len() >= ROWS_PER_BATCH {
                self.commit()?;
            }
        }
    }

    fn row(&mut self, row: Row) {
        match row {
            Row::User(user) => self.user(user),
            Row::Invite(dump::Invite { code_hash, created_at_ms, used_by }) => {
                let row = rows::InviteRow { created_at_ms, used_by };
                self.put(keys::bytes(keys::INVITE, &code_hash), &row);
            }
            Row::Device(device) => self.device(device),
            Row::Relation(relation) => self.relation(relation),
            Row::Conversation(conversation) => self.conversation(conversation),
            Row::Message(dump::Message { conversation, conv_seq, entry }) => {
                let key = keys::row(conversation, conv_seq);
                self.batch.insert(&self.engine.message, key, &entry[..]);
            }
            Row::Entry(dump::Entry { user, seq, entry }) => {
                self.batch.insert(&self.engine.inbox, keys::row(user, seq), &entry[..]);
            }
            Row::Once(dump::Once { key, used_at_ms }) => {
                self.put(keys::bytes(keys::ONCE, &key), &rows::OnceRow { used_at_ms });
            }
            Row::File(file) => self.file(file),
        }
    }

    fn user(&mut self, user: dump::User) {
        let id = UserId(user.id);
        self.bytes(keys::user_name(&user.name), &user.id.to_be_bytes());
        if user.inbox_floor > 1 {
            self.put(keys::floor(id), &rows::FloorRow { floor: user.inbox_floor });
        }
        let row = rows::UserRow {
            name: user.name,
            display_name: user.display_name,
            password_hash: user.password_hash,
            state: user.state,
            system: user.system,
            created_at_ms: user.created_at_ms,
        };
        self.put(keys::user(id), &row);
    }

    fn device(&mut self, device: dump::Device) {
        let (user, id) = (device.user, DeviceId(device.id));
        let token = rows::TokenRow { user, device: id.0 };
        self.put(keys::bytes(keys::TOKEN, &device.token_hash), &token);
        let row = rows::DeviceRow {
            user,
            outbox_position: device.outbox_position,
            inbox_position: device.inbox_position,
            seen_at_ms: device.seen_at_ms,
            digests: device.digests,
        };
        self.put(keys::device(id), &row);
        let row = rows::SessionRow {
            name: device.name,
            token_hash: device.token_hash,
            created_at_ms: device.created_at_ms,
        };
        self.put(keys::session(UserId(user), id), &row);
    }

    fn relation(&mut self, relation: dump::Relation) {
        let row = rows::RelationRow {
            low: relation.low,
            high: relation.high,
            friends: relation.friends,
            low_asks: relation.low_asks,
            high_asks: relation.high_asks,
            low_blocks: relation.low_blocks,
            high_blocks: relation.high_blocks,
            keys: relation.wrapped_keys,
        };
        let (low, high) = (UserId(row.low), UserId(row.high));
        for (user, peer, is_low) in [(low, high, true), (high, low, false)] {
            let state = row.view(is_low).into();
            let seen = rows::PeerRow { relation: relation.id, state };
            self.put(keys::peer(user, peer), &seen);
        }
        self.put(keys::relation(ConversationId(relation.id)), &row);
    }

    fn conversation(&mut self, conversation: dump::Conversation) {
        let id = ConversationId(conversation.id);
        let dump::Conversation { kind, open, key_version, members, .. } = conversation;
        for member in &members {
            let dump::Member { user, delivered, read, joined_at_seq } = *member;
            let row = rows::MemberRow { delivered, read, joined_at_seq };
            self.put(keys::member(id, UserId(user)), &row);
            self.bytes(keys::membership(UserId(user), id), &[]);
        }
        let members = members.iter().map(|member| member.user).collect();
        let row = rows::ConversationRow { kind, open, key_version, members };
        self.put(keys::conversation(id), &row);
    }

    fn file(&mut self, file: dump::File) {
        let id = FileId(file.id);
        if file.state != files::REFERENCED {
            self.put(keys::loose_file(id), &rows::LooseFileRow {});
        }
        *self.used.entry(file.owner).or_default() += file.size;
        let row = rows::FileRow {
            owner: file.owner,
            conversation: file.conversation,
            size: file.size,
            state: file.state,
            created_at_ms: file.created_at_ms,
            updated_at_ms: file.updated_at_ms,
        };
        self.put(keys::file(id), &row);
    }

    fn put(&mut self, key: impl AsRef<[u8]>, row: &impl Message) {
        self.bytes(key, &row.encode_to_vec());
    }

    fn bytes(&mut self, key: impl AsRef<[u8]>, value: &[u8]) {
        self.batch.insert(&self.engine.small, key.as_ref(), value);
    }

    fn commit(&mut self) -> Result<()> {
        let before = self.engine.db.snapshot();
        for (owner, bytes) in std::mem::take(&mut self.used) {
            let key = keys::used(UserId(owner));
            let known = before.get(&self.engine.small, key).map_err(broken)?;
            let known: Option<rows::UsedRow> =
                known.map(|row| rows::decode("room for files", &row)).transpose()?;
            let bytes = known.map_or(0, |row| row.bytes) + bytes;
            self.put(key, &rows::UsedRow { bytes });
        }
        let batch = std::mem::replace(&mut self.batch, self.engine.db.batch());
        Ok(batch.commit().map_err(broken)?)
    }
}

/// Enough to make the cost of a batch small, few enough for its memory: rows are below 17 KiB.
const ROWS_PER_BATCH: usize = 1000;
