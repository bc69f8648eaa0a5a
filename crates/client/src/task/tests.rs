//! The task against a server that says what the test wants, and the storage after its end.

use std::{path::Path, time::Duration};

use anser_proto::{ConversationId, DeviceId, Frame, UserId, frame, wire};
use bytes::BytesMut;
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    Change, Client, Event, FileStorage, Identity, RelationState, SavedRelation, Session, Storage,
};

const CHAT: ConversationId = ConversationId(7);
const DEVICE: DeviceId = DeviceId(3);
/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1";
/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device that has logged in and has a friend.
fn device(file: &Path) -> FileStorage {
    let mut storage = FileStorage::open(file).expect("a storage");
    let identity = Identity {
        user: UserId(1),
        name: "alice".to_owned(),
        device: DEVICE,
        token: "token".to_owned(),
    };
    let relation = SavedRelation {
        id: CHAT,
        peer: UserId(2),
        peer_name: "bob".to_owned(),
        state: RelationState::Friends as i32,
        keys: vec![[7; 32]],
    };
    let position = Change::Position { epoch: Some("epoch".to_owned()), position: 0 };
    let changes = [Change::Identity(identity), position, Change::Relation(relation)];
    storage.apply(&changes).expect("stored");
    storage
}

async fn next(stream: &mut TcpStream, buffer: &mut BytesMut) -> Frame {
    let read = async {
        loop {
            if let Some(frame) = frame::decode(buffer, frame::FRAME_BYTES_MAX).expect("a frame") {
                return frame;
            }
            assert_ne!(stream.read_buf(buffer).await.expect("a read"), 0, "the client left");
        }
    };
    timeout(PATIENCE, read).await.expect("a frame in time")
}

/// Takes a connection, and answers its Hello with all these frames in one write.
async fn greet(
    listener: &TcpListener,
    outbox_position: u64,
    entries: &[wire::Entry],
) -> (TcpStream, BytesMut, wire::Hello) {
    let accepted = timeout(PATIENCE, listener.accept()).await.expect("a connection in time");
    let (mut stream, mut buffer) = (accepted.expect("a socket").0, BytesMut::new());
    let Frame::Hello(hello) = next(&mut stream, &mut buffer).await else { panic!("no Hello") };
    let mut out = BytesMut::new();
    let (epoch, head) = ("epoch".to_owned(), hello.position);
    let welcome = wire::Welcome { epoch, head, floor: 1, outbox_position, ..<_>::default() };
    frame::encode(&Frame::Welcome(welcome), &mut out);
    for (seq, entry) in (head + 1..).zip(entries) {
        let push = wire::Push { seq, body: entry.encode_to_vec().into() };
        frame::encode(&Frame::Push(push), &mut out);
    }
    stream.write_all(&out).await.expect("a write");
    (stream, buffer, hello)
}

#[tokio::test]
async fn an_entry_that_overtakes_its_command_does_not_stop_the_outbox() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let builder = Client::builder(NOWHERE).connector(address).backoff(Duration::ZERO, PATIENCE);
    let storage = device(&folder.path().join("alice.redb"));
    let opened = builder.storage(storage).open(Session::stored()).await;
    let (client, _events) = opened.expect("a client");
    for text in ["one", "two"] {
        client.send(CHAT, text).expect("a place in the outbox");
    }
    // The Welcome was made before command 1, sent over an older connection, was applied.
    let rejected = wire::Rejected { device: DEVICE.0, client_seq: 1, code: 60, ..<_>::default() };
    let entry = wire::Entry { kind: Some(wire::entry::Kind::Rejected(rejected)), ..<_>::default() };
    let _older = greet(&listener, 0, &[entry]).await;
    // Command 1 is forgotten, so the client can go on only behind it: with a new Welcome.
    let (mut stream, mut buffer, hello) = greet(&listener, 1, &[]).await;
    assert_eq!((hello.position, hello.outbox_trimmed, hello.outbox_head), (1, 1, 2));
    loop {
        if let Frame::Push(push) = next(&mut stream, &mut buffer).await {
            assert_eq!(push.seq, 2);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_is_free_when_its_client_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alice.redb");
    drop(device(&file));
    for round in 0..200 {
        let storage = FileStorage::open(&file);
        let storage = storage.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let opened = Client::builder(NOWHERE).storage(storage).open(Session::stored()).await;
        let (client, mut events) = opened.expect("a client");
        client.shutdown().await;
        while let Some(event) = events.next().await {
            assert!(!matches!(event, Event::Message(_)), "nothing can come");
        }
    }
}
