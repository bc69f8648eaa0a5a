//! What a client gets inside a Push and what a server gets: entries, commands, sealed bodies, and
//! the text inside.

use bytes::Bytes;
use prost::Message as _;

use crate::{
    ConversationId, DeviceId, UserId,
    seal::{Key, OVERHEAD_BYTES, Place},
    wire::{self, entry::Kind},
};

/// Decodes `data` as an entry, a command, a sealed body and a content.
///
/// # Panics
/// When cutting a body off changes anything else, or a body opens that was not sealed like this.
pub fn entry(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let cut = wire::without_body(&bytes);
    assert!(bytes.starts_with(&cut), "what is cut off stands at the end");
    assert_eq!(wire::without_body(&cut), cut, "there is nothing more to cut off");

    if let Ok(entry) = wire::Entry::decode(bytes.clone()) {
        let without = wire::Entry::decode(cut.clone()).expect("a whole number of fields is left");
        assert!(without.body.is_empty(), "the body is cut off");
        on_entry(&entry);
    }
    if let Ok(command) = wire::Command::decode(bytes.clone()) {
        let encoded = Bytes::from(command.encode_to_vec());
        assert!(encoded.len() <= data.len(), "an encoding of its own is never longer");
        let bare = wire::Command { body: Bytes::new(), ..command };
        assert_eq!(wire::without_body(&encoded), bare.encode_to_vec());
    }
    let digest = wire::outbox_digest(Some(wire::command_digest(data)));
    assert_eq!(digest.len(), 8);
    sealed(data);
    content(data);
}

fn on_entry(entry: &wire::Entry) {
    let encoded = Bytes::from(entry.encode_to_vec());
    assert_eq!(wire::Entry::decode(encoded.clone()).as_ref(), Ok(entry));
    let bare = wire::Entry { body: Bytes::new(), kind: entry.kind.clone() };
    assert_eq!(wire::without_body(&encoded), bare.encode_to_vec(), "only the body is cut off");
    match &entry.kind {
        Some(Kind::Message(message)) => {
            let place = Place {
                conversation: ConversationId(message.conversation),
                sender: UserId(message.sender),
                device: DeviceId(message.device),
                client_seq: message.client_seq,
                key_version: message.key_version,
            };
            let opened = key().open(&place, &entry.body);
            assert!(opened.is_err(), "nobody else has the key");
        }
        Some(Kind::Relation(relation)) => {
            // An unknown state reads as unspecified, never as friends.
            let known = wire::RelationState::try_from(relation.state).unwrap_or_default();
            assert_eq!(relation.state(), known);
        }
        Some(Kind::Receipt(_) | Kind::ReadMark(_) | Kind::Rejected(_)) | None => {}
    }
}

/// Sealed bytes open only whole and in their place.
fn sealed(data: &[u8]) {
    assert!(key().open(&place(0), data).is_err(), "nobody else has the key");
    let mut nonce = [0; 12];
    nonce.iter_mut().zip(data).for_each(|(slot, byte)| *slot = *byte);
    let mut sealed = key().seal_with_nonce(nonce, &place(0), data);
    assert_eq!(sealed.len(), data.len() + OVERHEAD_BYTES);
    assert_eq!(key().open(&place(0), &sealed).as_deref(), Ok(data));
    assert!(key().open(&place(1), &sealed).is_err(), "another place");
    let at = data.iter().fold(0, |sum, byte| sum + usize::from(*byte)) % sealed.len();
    assert!(key().open(&place(0), &sealed[..at]).is_err(), "a part");
    if let Some(byte) = sealed.get_mut(at) {
        *byte ^= 1;
    }
    assert!(key().open(&place(0), &sealed).is_err(), "a bit was changed");
}

fn content(data: &[u8]) {
    let Ok(content) = wire::Content::decode(data) else { return };
    assert_eq!(wire::Content::decode(&content.encode_to_vec()[..]), Ok(content.clone()));
    if let Some(wire::content::Kind::Text(text)) = content.kind {
        assert!(text.text.len() <= data.len());
    }
}

fn key() -> Key {
    Key::new(*b"only these tests know this one..")
}

fn place(client_seq: u64) -> Place {
    Place {
        conversation: ConversationId(1),
        sender: UserId(2),
        device: DeviceId(3),
        client_seq,
        key_version: 1,
    }
}
