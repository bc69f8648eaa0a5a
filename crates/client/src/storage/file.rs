//! A storage in one file (redb): every transaction is on disk when it returns.

use std::path::Path;

use anser_proto::{ConversationId, DeviceId, Seq, UserId, wire};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use prost::Message as _;
use redb::{
    Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
    backends::FileBackend,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Change, Identity, Saved, SavedRelation, SavedUpload, Storage, Watermarks};
use crate::{
    error::{Error, ErrorKind, Result},
    event::{Content, Message, Unreadable},
    file::File,
};

/// The shape of the tables. A file of a later version is refused: it may hold what must not be
/// ignored.
const FORMAT: u32 = 1;

/// Format, identity, epoch, position and outbox head, as JSON under a name each.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Commands by number.
const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");
/// Messages by (conversation, conv_seq), as JSON.
const MESSAGES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("messages");
/// Watermarks by conversation, as JSON.
const WATERMARKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("watermarks");
/// Relations by id, as JSON.
const RELATIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("relations");

/// Files on their way out by number, as JSON.
const UPLOADS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("uploads");

/// A storage in one file. The file holds secrets: it is made readable by its owner only.
pub struct FileStorage {
    database: Database,
}

impl FileStorage {
    /// Opens or makes the file. Only one process can have it open.
    ///
    /// # Errors
    /// `InUse`: it is open elsewhere. `Storage`: it is damaged, of a later version, or can not be
    /// made.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = path.as_ref();
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let open = || -> Result<Database, redb::Error> {
            let database =
                redb::Builder::new().create_with_backend(FileBackend::new(options.open(path)?)?)?;
            let transaction = database.begin_write()?;
            let format = {
                let mut meta = transaction.open_table(META)?;
                let format = read(meta.get("format")?)?.unwrap_or(FORMAT);
                meta.insert("format", &*json(&format.min(FORMAT)))?;
                format
            };
            if format > FORMAT {
                let detail = "it was written by a later version";
                return Err(std::io::Error::new(std::io::ErrorKind::Unsupported, detail).into());
            }
            transaction.open_table(OUTBOX)?;
            transaction.open_table(MESSAGES)?;
            transaction.open_table(WATERMARKS)?;
            transaction.open_table(RELATIONS)?;
            transaction.open_table(UPLOADS)?;
            transaction.commit()?;
            Ok(database)
        };
        let database = open().map_err(|error| {
            let in_use = matches!(error, redb::Error::DatabaseAlreadyOpen);
            let kind = if in_use { ErrorKind::InUse } else { ErrorKind::Storage };
            let detail = format!("{} can not be opened: {error}", path.display());
            Error::with(kind, detail, error)
        })?;
        Ok(Self { database })
    }

    fn try_load(&self) -> Result<Saved, redb::Error> {
        let transaction = self.database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let mut saved = Saved {
            identity: read(meta.get("identity")?)?,
            epoch: read(meta.get("epoch")?)?.unwrap_or_default(),
            position: read(meta.get("position")?)?.unwrap_or_default(),
            outbox_head: read(meta.get("outbox_head")?)?.unwrap_or_default(),
            ..Saved::default()
        };
        for row in transaction.open_table(OUTBOX)?.iter()? {
            let (client_seq, command) = row?;
            saved.outbox.push((client_seq.value(), Bytes::copy_from_slice(command.value())));
        }
        for row in transaction.open_table(WATERMARKS)?.iter()? {
            let (conversation, watermarks) = row?;
            let watermarks: Watermarks = parse(watermarks.value())?;
            saved.watermarks.push((ConversationId(conversation.value()), watermarks));
        }
        for row in transaction.open_table(RELATIONS)?.iter()? {
            saved.relations.push(parse::<SavedRelation>(row?.1.value())?);
        }
        for row in transaction.open_table(UPLOADS)?.iter()? {
            saved.uploads.push(parse::<SavedUpload>(row?.1.value())?);
        }
        Ok(saved)
    }

    fn try_apply(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        for change in changes {
            apply(&transaction, change)?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn try_messages(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(MESSAGES)?;
        let range = (conversation.0, 0)..(conversation.0, before.unwrap_or(u64::MAX));
        let mut page = Vec::new();
        for row in table.range(range)?.rev().take(limit) {
            page.push(parse::<Row>(row?.1.value())?.into());
        }
        page.reverse();
        Ok(page)
    }
}

impl Storage for FileStorage {
    fn load(&mut self) -> Result<Saved> {
        self.try_load().map_err(Error::storage)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        self.try_apply(changes).map_err(Error::storage)
    }

    fn messages(
        &mut self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        self.try_messages(conversation, before, limit).map_err(Error::storage)
    }
}

fn apply(transaction: &WriteTransaction, change: &Change) -> Result<(), redb::Error> {
    match change {
        Change::Identity(identity) => become_device(transaction, identity)?,
        Change::Position { epoch, position } => {
            let mut meta = transaction.open_table(META)?;
            if let Some(epoch) = epoch {
                meta.insert("epoch", &*json(epoch))?;
            }
            meta.insert("position", &*json(position))?;
        }
        Change::Enqueue { client_seq, command } => {
            transaction.open_table(OUTBOX)?.insert(client_seq, &**command)?;
            transaction.open_table(META)?.insert("outbox_head", &*json(client_seq))?;
        }
        Change::Trim { through } => {
            transaction.open_table(OUTBOX)?.retain_in::<u64, _>(..=*through, |_, _| false)?;
        }
        Change::Message(message) => {
            let key = (message.conversation.0, message.conv_seq);
            let row = json(&Row::from(message));
            transaction.open_table(MESSAGES)?.insert(key, &*row)?;
        }
        Change::Rewind { conversation, head } => {
            let above = (conversation.0, head + 1)..=(conversation.0, u64::MAX);
            transaction.open_table(MESSAGES)?.retain_in(above, |_, _| false)?;
        }
        Change::Watermarks(conversation, watermarks) => {
            transaction.open_table(WATERMARKS)?.insert(conversation.0, &*json(watermarks))?;
        }
        Change::Relation(relation) => {
            transaction.open_table(RELATIONS)?.insert(relation.id.0, &*json(relation))?;
        }
        Change::Upload(upload) => {
            transaction.open_table(UPLOADS)?.insert(upload.number, &*json(upload))?;
        }
        Change::Uploaded { number } => {
            transaction.open_table(UPLOADS)?.remove(number)?;
        }
    }
    Ok(())
}

fn become_device(transaction: &WriteTransaction, identity: &Identity) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert("identity", &*json(identity))?;
    meta.insert("epoch", &*json(&""))?;
    meta.insert("position", &*json(&0))?;
    meta.insert("outbox_head", &*json(&0))?;
    transaction.open_table(OUTBOX)?.retain(|_, _| false)?;
    Ok(())
}

/// A message as it is stored.
#[derive(Serialize, Deserialize)]
struct Row {
    conversation: u64,
    conv_seq: Seq,
    sender: u64,
    device: u64,
    client_seq: Seq,
    created_at_ms: u64,
    /// `None`: no text, see `why`.
    text: Option<String>,
    /// Why there is no text: a name of [`Unreadable`], or empty for an unknown kind.
    #[serde(default)]
    why: String,
    /// A `wire::File`, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl From<&Message> for Row {
    fn from(message: &Message) -> Self {
        let (text, why) = match &message.content {
            Content::Text(text) => (Some(text.clone()), ""),
            Content::File(_) | Content::Unknown => (None, ""),
            Content::Unreadable(Unreadable::NoKey) => (None, "no_key"),
            Content::Unreadable(Unreadable::WrongKeyOrChanged) => (None, "wrong_key"),
            Content::Unreadable(Unreadable::Malformed) => (None, "malformed"),
        };
        let file = match &message.content {
            Content::File(file) => Some(STANDARD.encode(file.to_wire().encode_to_vec())),
            _ => None,
        };
        Self {
            conversation: message.conversation.0,
            conv_seq: message.conv_seq,
            sender: message.sender.0,
            device: message.device.0,
            client_seq: message.client_seq,
            created_at_ms: message.created_at_ms,
            text,
            why: why.to_owned(),
            file,
        }
    }
}

impl From<Row> for Message {
    fn from(row: Row) -> Self {
        let content = match (row.text, &*row.why) {
            (None, "") if row.file.is_some() => file(row.file.as_deref().unwrap_or_default()),
            (Some(text), _) => Content::Text(text),
            (None, "no_key") => Content::Unreadable(Unreadable::NoKey),
            (None, "wrong_key") => Content::Unreadable(Unreadable::WrongKeyOrChanged),
            (None, "malformed") => Content::Unreadable(Unreadable::Malformed),
            (None, _) => Content::Unknown,
        };
        Self {
            conversation: ConversationId(row.conversation),
            conv_seq: row.conv_seq,
            sender: UserId(row.sender),
            device: DeviceId(row.device),
            client_seq: row.client_seq,
            created_at_ms: row.created_at_ms,
            content,
        }
    }
}

/// A file as it is stored.
fn file(base64: &str) -> Content {
    let bytes = STANDARD.decode(base64).ok();
    let file = bytes.and_then(|bytes| wire::File::decode(&bytes[..]).ok());
    file.and_then(File::from_wire).map_or(Content::Unreadable(Unreadable::Malformed), Content::File)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these types always have a JSON form")
}

/// A stored value, or that there is none.
fn read<T: DeserializeOwned>(
    value: Option<redb::AccessGuard<'_, &[u8]>>,
) -> Result<Option<T>, redb::Error> {
    value.map(|value| parse(value.value())).transpose()
}

/// A value that does not parse is damage. Taking it for absent would give out numbers twice.
fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(json).map_err(|error| std::io::Error::from(error).into())
}

#[cfg(test)]
mod tests {
    use anser_proto::{FileId, seal::Key};

    use super::*;

    #[test]
    fn a_file_of_a_message_comes_back_as_it_was() {
        let file = File {
            id: FileId(7),
            name: "photo.png".into(),
            media_type: "image/png".into(),
            size: 5,
            sha256: [3; 32],
            pixels: Some((640, 480)),
            preview: Bytes::from_static(b"small"),
            key: Key::new([9; 32]),
        };
        let message = Message {
            conversation: ConversationId(1),
            conv_seq: 2,
            sender: UserId(3),
            device: DeviceId(4),
            client_seq: 5,
            created_at_ms: 6,
            content: Content::File(file),
        };
        let stored = json(&Row::from(&message));
        assert_eq!(Message::from(parse::<Row>(&stored).unwrap()), message);
    }
}
