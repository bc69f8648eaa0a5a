//! A client's storage, watched: what the SDK stores is noted once it is durable.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anser_client::{
    Change, FileStorage, Identity, Message, Saved, Storage,
    proto::{
        ConversationId, DeviceId, Seq,
        seal::{Key, Place},
        wire,
    },
};
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;

use super::{
    history::{ClientId, Command, ConnId, Device, Recorder, User, What},
    words,
};

/// What the recording knows of one client, shared by its storage and its links.
#[derive(Clone)]
pub(super) struct Mirror {
    client: ClientId,
    recorder: Recorder,
    connections: Arc<AtomicU64>,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    identity: Option<Identity>,
    epoch: String,
    position: Seq,
    /// By token: the device of a Hello.
    devices: HashMap<String, Device>,
    keys: HashMap<ConversationId, Vec<[u8; 32]>>,
}

impl Mirror {
    /// Of a new client. `connections` numbers those of all clients.
    pub(super) fn new(client: ClientId, recorder: Recorder, connections: Arc<AtomicU64>) -> Self {
        Self { client, recorder, connections, known: Arc::default() }
    }

    pub(super) fn client(&self) -> ClientId {
        self.client
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub(super) fn new_connection(&self) -> ConnId {
        self.connections.fetch_add(1, Relaxed)
    }

    /// The device that a token is of.
    pub(super) fn device_of(&self, token: &str) -> Option<Device> {
        self.known.lock().devices.get(token).copied()
    }

    /// The device that the client is now, and its user.
    pub(super) fn identity(&self) -> Option<(User, Device)> {
        let known = self.known.lock();
        known.identity.as_ref().map(|identity| (identity.user.0, identity.device.0))
    }

    /// How far the inbox is stored, and of which history.
    pub(super) fn position(&self) -> (String, Seq) {
        let known = self.known.lock();
        (known.epoch.clone(), known.position)
    }

    fn load(&self, saved: &Saved) {
        let mut known = self.known.lock();
        known.epoch.clone_from(&saved.epoch);
        known.position = saved.position;
        known.identity.clone_from(&saved.identity);
        if let Some(identity) = &saved.identity {
            known.devices.insert(identity.token.clone(), identity.device.0);
        }
        for relation in &saved.relations {
            known.keys.insert(relation.id, relation.keys.clone());
        }
    }

    /// Notes changes that are durable now.
    fn note(&self, changes: &[Change]) {
        let mut known = self.known.lock();
        let what: Vec<What> =
            changes.iter().filter_map(|change| known.what(self.client, change)).collect();
        self.recorder.note_all(what);
    }
}

impl Known {
    fn what(&mut self, client: ClientId, change: &Change) -> Option<What> {
        match change {
            Change::Identity(identity) => {
                let (user, device) = (identity.user.0, identity.device.0);
                self.devices.insert(identity.token.clone(), device);
                self.identity = Some(identity.clone());
                (self.epoch, self.position) = (String::new(), 0);
                Some(What::Became { client, user, device })
            }
            Change::Position { epoch, position } => {
                if let Some(epoch) = epoch {
                    self.epoch.clone_from(epoch);
                }
                self.position = *position;
                let (epoch, position) = (self.epoch.clone(), self.position);
                Some(What::Stored { client, device: self.device(), epoch, position })
            }
            Change::Enqueue { client_seq, command } => {
                let (device, client_seq) = (self.device(), *client_seq);
                let command = self.command(client_seq, command)?;
                Some(What::Queued { client, device, client_seq, command })
            }
            Change::Message(message) => {
                let message = words::message(message);
                Some(What::Holds { client, device: self.device(), message })
            }
            Change::Relation(relation) => {
                self.keys.insert(relation.id, relation.keys.clone());
                None
            }
            Change::Trim { .. }
            | Change::Rewind { .. }
            | Change::Watermarks(..)
            | Change::Upload(_)
            | Change::Uploaded { .. } => None,
        }
    }

    fn device(&self) -> Device {
        self.identity.as_ref().map_or(0, |identity| identity.device.0)
    }

    fn command(&self, client_seq: Seq, bytes: &Bytes) -> Option<Command> {
        let command = wire::Command::decode(bytes.clone()).ok()?;
        match command.kind? {
            wire::command::Kind::Send(send) => Some(Command::Send {
                conversation: send.conversation,
                text: self.open(client_seq, &send, &command.body),
            }),
            wire::command::Kind::Read(read) => {
                Some(Command::Read { conversation: read.conversation, conv_seq: read.conv_seq })
            }
        }
    }

    fn open(&self, client_seq: Seq, send: &wire::Send, body: &[u8]) -> Option<String> {
        let conversation = ConversationId(send.conversation);
        let index = (send.key_version as usize).checked_sub(1)?;
        let key = Key::new(*self.keys.get(&conversation)?.get(index)?);
        let sender = self.identity.as_ref()?.user;
        let (device, key_version) = (DeviceId(self.device()), send.key_version);
        let place = Place { conversation, sender, device, client_seq, key_version };
        let opened = key.open(&place, body).ok()?;
        match wire::Content::decode(&opened[..]).ok()?.kind? {
            wire::content::Kind::Text(text) => Some(text.text),
            wire::content::Kind::File(file) => {
                Some(words::of_file(&file.name, &words::bytes_of(file.size, &file.sha256)))
            }
        }
    }
}

/// The SDK's own file storage, with a witness.
pub(super) struct Watched {
    file: FileStorage,
    mirror: Mirror,
}

impl Watched {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// As [`FileStorage::open`].
    pub(super) fn open(path: &Path, mirror: Mirror) -> anser_client::Result<Self> {
        Ok(Self { file: FileStorage::open(path)?, mirror })
    }
}

impl Storage for Watched {
    fn load(&mut self) -> anser_client::Result<Saved> {
        let saved = self.file.load()?;
        self.mirror.load(&saved);
        Ok(saved)
    }

    fn apply(&mut self, changes: &[Change]) -> anser_client::Result<()> {
        self.file.apply(changes)?;
        self.mirror.note(changes);
        Ok(())
    }

    fn messages(
        &mut self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> anser_client::Result<Vec<Message>> {
        self.file.messages(conversation, before, limit)
    }
}
