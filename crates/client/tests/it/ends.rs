//! Ends of a connection: which are for good, and what a hostile server can not do.

use std::time::Duration;

use anser_client::{Client, Event, FileStorage, MemoryStorage, SendState, Session, Transport};
use anser_proto::{Code, Frame, wire};
use tokio::io::AsyncWriteExt;

use crate::support::{
    World,
    connector::{Connector, welcome},
    fixtures::{CHAT, alice, entry, own, user},
    soon,
};

#[tokio::test]
async fn a_device_that_is_replaced_again_and_again_does_not_come_back() {
    let world = World::new().await;
    let (mut alice, mut peer) = world.online().await;
    // By a Hello of its own that was late, as far as it can know.
    peer.close(Code::Replaced).await;
    drop(peer);
    let mut peer = world.welcome(0, 0).await;
    // And by somebody else.
    peer.close(Code::Replaced).await;
    drop(peer);
    let events = alice.rest_of_events().await;
    assert_eq!(events.last(), Some(&Event::Closed { code: Some(Code::Replaced) }));
    soon(alice.client.online()).await.unwrap_err();
}

#[tokio::test]
async fn retryable_and_unknown_codes_are_tried_again_and_others_end() {
    let world = World::new().await;
    let (mut alice, mut peer) = world.online().await;
    for code in [Code::Unavailable, Code::DiskFull, Code::OutboxGap, Code::BelowFloor] {
        peer.close(code).await;
        peer = world.welcome(0, 0).await;
    }
    peer.send(Frame::Close(wire::Close { code: 4_000, text: "of a later version".to_owned() }))
        .await;
    let mut peer = world.welcome(0, 0).await;
    peer.close(Code::UnsupportedVersion).await;
    let events = alice.rest_of_events().await;
    assert_eq!(events.last(), Some(&Event::Closed { code: Some(Code::UnsupportedVersion) }));
}

#[tokio::test]
async fn what_came_with_the_last_frame_is_stored() {
    let world = World::new().await;
    let (mut alice, mut peer) = world.online().await;
    peer.entry(1, &entry(1, "last words")).await;
    peer.close(Code::GoingAway).await;
    drop(peer);
    assert_eq!(alice.text().await, (1, "last words".to_owned()));
    assert_eq!(world.welcome(1, 0).await.hello.position, 1);
}

#[tokio::test]
async fn after_go_away_nothing_is_pushed_until_the_next_connection() {
    let world = World::new().await;
    let (alice, mut peer) = world.online().await;
    peer.send(Frame::GoAway(wire::GoAway { after_ms: 50 })).await;
    // The answer to the Ping shows that the GoAway was read.
    peer.send(Frame::Ping(wire::Ping { nonce: 1 })).await;
    assert!(matches!(peer.frame().await, Some(Frame::Pong(_))));
    let handle = alice.client.send(CHAT, "for the next server").expect("a place in the outbox");
    let said = peer.last_frames().await;
    assert!(!said.iter().any(|frame| matches!(frame, Frame::Push(_))), "{said:?}");
    let mut peer = world.welcome(0, 0).await;
    assert_eq!(peer.command().await.0, 1);
    peer.entry(1, &own(12, 1, 1)).await;
    assert_eq!(soon(handle.sent()).await, SendState::Sent);
}

#[tokio::test]
async fn a_server_that_lies_about_its_limits_gets_no_more_memory() {
    let world = World::new().await;
    let (_alice, mut peer) = world.online().await;
    let mut lie = welcome(0, 0);
    if let Some(limits) = &mut lie.limits {
        limits.frame_bytes_max = u32::MAX;
        limits.entries_in_flight_max = u32::MAX;
        limits.commands_in_flight_max = u32::MAX;
    }
    peer.close(Code::GoingAway).await;
    let mut peer = world.connector.accept().await;
    peer.send(Frame::Welcome(lie)).await;
    // A frame that is announced with 1 MiB and one byte is refused before anything of it comes.
    peer.stream.write_all(&(1024 * 1024 + 1_u32).to_be_bytes()).await.expect("it reads");
    let said = peer.last_frames().await;
    let Some(Frame::Close(close)) = said.last() else { panic!("{said:?}") };
    assert_eq!(close.code, Code::FrameTooLarge.number());
}

#[tokio::test]
async fn a_server_that_knows_fewer_commands_than_are_forgotten_is_not_trusted() {
    let world = World::new().await;
    let (alice, mut peer) = world.online().await;
    alice.client.send(CHAT, "applied").expect("a place in the outbox");
    peer.command().await;
    peer.entry(1, &own(12, 1, 1)).await;
    peer.acked(1).await;
    drop(peer);
    let mut peer = world.welcome(1, 0).await;
    let said = peer.last_frames().await;
    let Some(Frame::Close(close)) = said.last() else { panic!("{said:?}") };
    assert_eq!(close.code, Code::OutboxGap.number());
}

#[tokio::test]
async fn connectors_come_from_the_server_and_are_tried_in_turn() {
    let world = World::new().await;
    let other = Connector::bind().await;
    let named = |connector: &Connector| anser_proto::rest::Connector {
        tcp: connector.address.to_string(),
        ws: format!("ws://{}/v1/connect", connector.address),
    };
    let connectors = vec![named(&world.connector), named(&other)];
    world.rest.set("GET /v1/connectors", &anser_proto::rest::Connectors { connectors });
    let builder = Client::builder(&world.rest.url)
        .backoff(Duration::from_millis(1), Duration::from_millis(5))
        .storage(MemoryStorage::default());
    let opened = builder.open(Session::new(alice(12))).await;
    let (_client, _events) = opened.expect("a client");
    drop(world.connector.accept().await);
    let second = other.accept().await;
    // REST is away now: the last list is good enough.
    world.rest.refuse("GET /v1/connectors", Code::Unavailable);
    drop(second);
    drop(world.connector.accept().await);
    let asked = world.rest.asked("GET /v1/connectors");
    assert_eq!(asked, ["token 12"; 3]);
}

#[tokio::test]
async fn websocket_messages_hold_many_frames_or_parts_of_the_log() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;

    let world = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let builder = world
        .builder(MemoryStorage::default())
        .connector(format!("ws://{address}/v1/connect"))
        .transport(Transport::WebSocket);
    let opened = builder.open(Session::new(alice(12))).await;
    let (client, mut events) = opened.expect("a client");
    let (stream, _) = soon(listener.accept()).await.expect("a connection");
    let mut socket = soon(tokio_tungstenite::accept_async(stream)).await.expect("a WebSocket");
    let Some(Ok(Message::Binary(hello))) = soon(socket.next()).await else { panic!("no Hello") };
    assert!(!hello.is_empty());
    let mut bytes = bytes::BytesMut::new();
    for frame in [Frame::Welcome(welcome(0, 0)), Frame::CaughtUp(wire::CaughtUp {})] {
        anser_proto::frame::encode(&frame, &mut bytes);
    }
    socket.send(Message::Binary(bytes.freeze())).await.expect("it reads");
    soon(client.online()).await.expect("online");
    assert_eq!(client.user(), user(crate::support::fixtures::ALICE).id);
    // 64 of these are above the 1 MiB that a message may hold.
    for _ in 0..64 {
        client.send(CHAT, "x".repeat(16_340)).expect("a place in the outbox");
    }
    let mut bytes = 0;
    while bytes < 64 * 16_340 {
        match soon(socket.next()).await {
            Some(Ok(Message::Binary(message))) => {
                assert!(message.len() <= 1024 * 1024);
                bytes += message.len();
            }
            other => panic!("{other:?}"),
        }
    }
    client.shutdown().await;
    while soon(events.next()).await.is_some() {}
}

/// Whoever waits for the end may open the storage again at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_storage_is_free_when_its_client_has_ended() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alice.redb");
    for round in 0..100 {
        let storage = FileStorage::open(&file);
        let storage = storage.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let alice = world.open(storage).await;
        alice.client.shutdown().await;
    }
}
