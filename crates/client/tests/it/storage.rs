//! The contract of a storage, over both.

use anser_client::{
    Change, Content, FileStorage, Identity, MemoryStorage, Message, SavedRelation, Storage,
    Unreadable, Watermarks,
};
use anser_proto::{ConversationId, DeviceId, Seq, UserId};
use bytes::Bytes;

use crate::support::fixtures::{BOB, CHAT};

fn message(conversation: u64, conv_seq: Seq, content: Content) -> Message {
    Message {
        conversation: ConversationId(conversation),
        conv_seq,
        sender: BOB,
        device: DeviceId(23),
        client_seq: conv_seq + 100,
        created_at_ms: 1_700_000_000_000,
        content,
    }
}

fn text(conv_seq: Seq) -> Message {
    message(CHAT.0, conv_seq, Content::Text(format!("text {conv_seq}")))
}

fn numbers(page: &[Message]) -> Vec<Seq> {
    page.iter().map(|message| message.conv_seq).collect()
}

/// What holds for every storage.
fn keeps_messages(storage: &mut impl Storage) {
    let saved = storage.load().expect("a new storage");
    assert!(saved.identity.is_none() && saved.outbox.is_empty() && saved.relations.is_empty());
    assert_eq!((saved.position, saved.outbox_head, saved.epoch.as_str()), (0, 0, ""));
    assert!(storage.messages(CHAT, None, 10).expect("a page").is_empty());

    let messages = [3, 1, 5, 2, 4].map(text).map(Change::Message);
    storage.apply(&messages).expect("stored");
    storage.apply(&[Change::Message(message(8, 1, Content::Unknown))]).expect("stored");
    let all = storage.messages(CHAT, None, 10).expect("a page");
    assert_eq!(all, [1, 2, 3, 4, 5].map(text));
    assert_eq!(numbers(&storage.messages(CHAT, None, 2).expect("a page")), [4, 5]);
    assert_eq!(numbers(&storage.messages(CHAT, Some(4), 2).expect("a page")), [2, 3]);
    assert!(storage.messages(CHAT, Some(1), 2).expect("a page").is_empty());
    assert!(storage.messages(CHAT, None, 0).expect("a page").is_empty());

    // The same number again replaces; every kind of content comes back as it was.
    let contents = [
        Content::Unknown,
        Content::Unreadable(Unreadable::NoKey),
        Content::Unreadable(Unreadable::WrongKeyOrChanged),
        Content::Unreadable(Unreadable::Malformed),
        Content::Text(String::new()),
    ];
    for content in contents {
        let again = message(CHAT.0, 5, content);
        storage.apply(&[Change::Message(again.clone())]).expect("stored");
        assert_eq!(storage.messages(CHAT, None, 1).expect("a page"), [again]);
    }
    assert_eq!(storage.messages(CHAT, None, 10).expect("a page").len(), 5);
}

#[test]
fn a_memory_storage_keeps_messages_up_to_its_bound() {
    keeps_messages(&mut MemoryStorage::default());
    let mut bounded = MemoryStorage::default().retain_messages(2);
    bounded.apply(&[1, 2, 3].map(text).map(Change::Message)).expect("stored");
    assert_eq!(numbers(&bounded.messages(CHAT, None, 10).expect("a page")), [2, 3]);
}

#[test]
fn a_file_storage_keeps_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    keeps_messages(&mut FileStorage::open(folder.path().join("file")).expect("a storage"));
}

fn identity(device: u64) -> Identity {
    Identity {
        user: UserId(11),
        name: "alice".to_owned(),
        device: DeviceId(device),
        token: format!("token {device}"),
    }
}

fn enqueue(client_seq: Seq) -> Change {
    Change::Enqueue { client_seq, command: Bytes::from(format!("command {client_seq}")) }
}

#[test]
fn a_file_storage_holds_all_state_when_it_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let relation = SavedRelation {
        id: CHAT,
        peer: BOB,
        peer_name: "bob".to_owned(),
        state: 3,
        keys: vec![[1; 32], [2; 32]],
    };
    let watermarks = Watermarks { head: 4, read: 3, peer_delivered: 2, peer_read: 1 };
    {
        let mut storage = FileStorage::open(&path).expect("a storage");
        let open = FileStorage::open(&path).err().expect("it is open already");
        assert_eq!(open.kind(), anser_client::ErrorKind::InUse);
        storage
            .apply(&[
                Change::Identity(identity(12)),
                Change::Position { epoch: Some("e1".to_owned()), position: 7 },
                enqueue(1),
                enqueue(2),
                enqueue(3),
                Change::Trim { through: 2 },
                Change::Watermarks(CHAT, watermarks),
                Change::Relation(relation.clone()),
                Change::Message(text(4)),
            ])
            .expect("stored");
        storage.apply(&[Change::Position { epoch: None, position: 9 }]).expect("stored");
    }
    let mut storage = FileStorage::open(&path).expect("a storage");
    let saved = storage.load().expect("all state");
    assert!(saved.identity == Some(identity(12)) && saved.relations == [relation]);
    assert_eq!((saved.epoch.as_str(), saved.position, saved.outbox_head), ("e1", 9, 3));
    assert_eq!(saved.outbox, [(3, Bytes::from_static(b"command 3"))]);
    assert_eq!(saved.watermarks, [(CHAT, watermarks)]);

    let rewind = Change::Rewind { conversation: CHAT, head: 4 };
    let changes = [Change::Message(text(5)), Change::Message(text(6)), rewind];
    storage.apply(&changes).expect("stored");
    assert_eq!(storage.messages(CHAT, None, 10).expect("a page"), [text(4)]);

    // A new device starts anew; what was received stays.
    storage.apply(&[Change::Identity(identity(13)), enqueue(1)]).expect("stored");
    let saved = storage.load().expect("all state");
    assert_eq!((saved.epoch.as_str(), saved.position, saved.outbox_head), ("", 0, 1));
    assert_eq!(saved.outbox, [(1, Bytes::from_static(b"command 1"))]);
    assert_eq!(saved.watermarks, [(CHAT, watermarks)]);
    assert_eq!(storage.messages(CHAT, None, 10).expect("a page"), [text(4)]);
}

#[test]
fn a_file_holds_secrets_and_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    drop(FileStorage::open(&path).expect("a storage"));
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let no_storage = folder.path().join("text");
    std::fs::write(&no_storage, "this is no storage").expect("a file");
    let error = FileStorage::open(&no_storage).err().expect("it is refused");
    assert!(error.to_string().contains("can not be opened"), "{error}");
}
