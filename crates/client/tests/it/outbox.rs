//! Commands: sealed once, resent byte for byte, forgotten only when their entry is stored.

use std::sync::atomic::Ordering;

use anser_client::{Event, FileStorage, MemoryStorage, SendState};
use anser_proto::{
    Code, Frame,
    wire::{self, entry::Kind},
};
use prost::Message as _;

use crate::support::{
    World,
    connector::welcome,
    fixtures::{CHAT, entry, open_command, own, receipt},
    soon,
    store::Breakable,
};

#[tokio::test]
async fn what_was_not_applied_is_resent_byte_for_byte_after_a_reconnect() {
    let world = World::new().await;
    let (alice, mut peer) = world.online().await;
    for text in ["one", "two", "three"] {
        alice.client.send(CHAT, text).expect("a place in the outbox");
    }
    let pushed = [peer.command().await, peer.command().await, peer.command().await];
    assert_eq!(pushed.each_ref().map(|(seq, _)| *seq), [1, 2, 3]);
    assert_eq!(open_command(12, 2, &pushed[1].1), "two");
    drop(peer);
    let mut peer = world.welcome(0, 1).await;
    assert_eq!((peer.hello.outbox_head, peer.hello.outbox_trimmed), (3, 0));
    assert_eq!([peer.command().await, peer.command().await], pushed[1..]);
}

#[tokio::test]
async fn an_ack_means_sent_and_only_the_entry_trims() {
    let world = World::new().await;
    let (mut alice, mut peer) = world.online().await;
    let sent = alice.client.send(CHAT, "hello").expect("a place in the outbox");
    let pushed = peer.command().await;
    assert_eq!((sent.state(), alice.client.outbox_len()), (SendState::Queued, 1));
    peer.ack(1).await;
    assert_eq!(soon(sent.sent()).await, SendState::Sent);
    assert_eq!(alice.client.outbox_len(), 0);
    drop(peer);

    // Acked by a durable queue, and not applied yet: the device still holds it.
    let mut peer = world.welcome(0, 0).await;
    assert_eq!((peer.hello.outbox_head, peer.hello.outbox_trimmed), (1, 0));
    assert_eq!(peer.command().await, pushed);
    peer.entry(1, &own(12, 1, 1)).await;
    peer.acked(1).await;
    assert_eq!(alice.text().await, (1, "hello".to_owned()));
    drop(peer);

    let peer = world.welcome(1, 1).await;
    assert_eq!((peer.hello.position, peer.hello.outbox_trimmed), (1, 1));
}

#[tokio::test]
async fn what_welcome_tells_to_be_applied_is_forgotten_when_caught_up() {
    let world = World::new().await;
    let (alice, mut peer) = world.online().await;
    let sent = alice.client.send(CHAT, "hello").expect("a place in the outbox");
    peer.command().await;
    drop(peer);
    // Its entry is of a kind that this version does not know.
    let mut peer = world.welcome(1, 1).await;
    peer.bytes(1, vec![0x7a, 0].into()).await;
    peer.caught_up().await;
    assert_eq!(soon(sent.sent()).await, SendState::Sent);
    peer.acked(1).await;
    drop(peer);
    let peer = world.welcome(1, 1).await;
    assert_eq!((peer.hello.outbox_head, peer.hello.outbox_trimmed), (1, 1));
}

/// Command 1 went over an older connection and was applied after this one's Welcome was made.
#[tokio::test]
async fn an_entry_that_overtakes_its_command_does_not_stop_the_outbox() {
    let world = World::new().await;
    let alice = world.open(MemoryStorage::default()).await;
    let mut peer = world.connector.accept().await;
    for text in ["one", "two"] {
        alice.client.send(CHAT, text).expect("a place in the outbox");
    }
    let body = own(12, 1, 1).encode_to_vec().into();
    let push = Frame::Push(wire::Push { seq: 1, body });
    peer.send_together([Frame::Welcome(welcome(0, 0)), push]).await;
    // The command is forgotten, so the client can go on only behind it: with a new Welcome.
    let mut next = world.welcome(1, 1).await;
    assert_eq!((next.hello.position, next.hello.outbox_trimmed), (1, 1));
    assert_eq!(next.command().await.0, 2);
}

/// The entry that names a command and the position are one transaction: whatever a crash leaves,
/// the two tell the same story.
#[tokio::test]
async fn a_crash_keeps_outbox_and_position_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("alice.redb");
    let world = World::new().await;
    let mut first = None;
    // The storage breaks at the first, the second … transaction that follows.
    for spare in 0..3 {
        let storage = FileStorage::open(&path).expect("a storage");
        let (mut storage, broken) = Breakable::new(storage);
        storage.spare = spare;
        let alice = world.open(storage).await;
        let mut peer = world.welcome(0, 0).await;
        let hello = &peer.hello;
        let known = u64::from(first.is_some());
        assert_eq!((hello.position, hello.outbox_head, hello.outbox_trimmed), (0, known, 0));
        if first.is_none() {
            alice.client.send(CHAT, "keep me").expect("a place in the outbox");
        }
        let pushed = peer.command().await;
        assert_eq!(*first.get_or_insert(pushed.clone()), pushed);
        broken.store(true, Ordering::SeqCst);
        peer.ack(1).await;
        peer.entry(1, &own(12, 1, 1)).await;
        if spare == 0 {
            let said = peer.last_frames().await;
            assert!(said.is_empty(), "nothing was stored, so nothing is acked: {said:?}");
        } else {
            peer.acked(1).await;
            alice.client.shutdown().await;
            break;
        }
    }
    let alice = world.open(FileStorage::open(&path).expect("a storage")).await;
    let peer = world.welcome(1, 1).await;
    let hello = &peer.hello;
    assert_eq!((hello.position, hello.outbox_head, hello.outbox_trimmed), (1, 1, 1));
    let held = alice.client.messages(CHAT, None, 10).expect("messages");
    assert_eq!(held.len(), 1);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason_and_later_commands_go_on() {
    let world = World::new().await;
    let (mut alice, mut peer) = world.online().await;
    let refused = alice.client.send(CHAT, "refused").expect("a place in the outbox");
    let sent = alice.client.send(CHAT, "sent").expect("a place in the outbox");
    peer.command().await;
    peer.command().await;
    peer.ack(2).await;
    let rejected = wire::Rejected {
        device: 12,
        client_seq: 1,
        code: Code::NotMember.number(),
        conversation: CHAT.0,
    };
    peer.entry(1, &wire::Entry { kind: Some(Kind::Rejected(rejected)), ..<_>::default() }).await;
    peer.entry(2, &own(12, 2, 1)).await;
    let rejected = alice
        .next(|event| match event {
            Event::Rejected { client_seq, code } => Some((client_seq, code)),
            _ => None,
        })
        .await;
    assert_eq!(rejected, (1, Some(Code::NotMember)));
    let failure = refused.state().failure().expect("a failure");
    assert_eq!((failure.reason, failure.retryable), (Code::NotMember.sentence(), false));
    assert_eq!(alice.text().await, (1, "sent".to_owned()));
    assert_eq!(sent.state(), SendState::Sent);
}

#[tokio::test]
async fn receipts_move_the_handles() {
    let world = World::new().await;
    let (alice, mut peer) = world.online().await;
    let handles = ["one", "two"].map(|text| alice.client.send(CHAT, text).expect("a place"));
    peer.command().await;
    peer.command().await;
    for entry in [own(12, 1, 1), entry(2, "Bob between"), own(12, 2, 3)].iter().zip(1..) {
        peer.entry(entry.1, entry.0).await;
    }
    peer.entry(4, &receipt(3, 1)).await;
    assert_eq!(soon(handles[0].read()).await, SendState::Read);
    assert_eq!(soon(handles[1].delivered()).await, SendState::Delivered);
    peer.entry(5, &receipt(3, 3)).await;
    assert_eq!(soon(handles[1].read()).await, SendState::Read);
    let watermarks = alice.client.watermarks(CHAT);
    assert_eq!((watermarks.peer_delivered, watermarks.peer_read), (3, 3));
}

#[tokio::test]
async fn a_read_mark_is_asked_for_once() {
    let world = World::new().await;
    let (alice, mut peer) = world.online().await;
    for conv_seq in [2, 2, 1, 3] {
        alice.client.mark_read(CHAT, conv_seq).expect("a place in the outbox");
    }
    alice.client.send(CHAT, "behind them").expect("a place in the outbox");
    let [(_, two), (_, three), (last, _)] =
        [peer.command().await, peer.command().await, peer.command().await];
    let read = |conv_seq| {
        let read = wire::Read { conversation: CHAT.0, conv_seq };
        wire::Command { kind: Some(wire::command::Kind::Read(read)), ..<_>::default() }
    };
    let decode = |bytes| <wire::Command as prost::Message>::decode(bytes).expect("a command");
    assert_eq!((decode(two), decode(three), last), (read(2), read(3), 3));
}

#[tokio::test]
async fn a_full_window_waits_and_a_full_outbox_refuses() {
    let world = World::new().await;
    let builder = world.builder(MemoryStorage::default()).outbox_max(100);
    let session = anser_client::Session::new(crate::support::fixtures::alice(12));
    let (client, _events) = builder.open(session).await.expect("a client");
    let mut peer = world.welcome(0, 0).await;
    soon(client.online()).await.expect("online");
    for number in 0..100 {
        // 100 of these are above what one WebSocket message holds: they are written in parts.
        client.send(CHAT, format!("{number:16000}")).expect("a place in the outbox");
    }
    let error = client.send(CHAT, "one too many").unwrap_err();
    assert!(error.is_retryable(), "{error}");
    for expected in 1..=64 {
        assert_eq!(peer.command().await.0, expected);
    }
    // Nothing but the ack opens the window: a Pong comes first.
    peer.send(anser_proto::Frame::Ping(wire::Ping { nonce: 5 })).await;
    assert!(matches!(peer.frame().await, Some(anser_proto::Frame::Pong(_))));
    peer.ack(64).await;
    for expected in 65..=100 {
        assert_eq!(peer.command().await.0, expected);
    }
    let error = client.send(CHAT, "x".repeat(20_000)).unwrap_err();
    assert_eq!(error.kind(), anser_client::ErrorKind::OutboxFull);
}
