//! Honest receipts: `delivered` after a device of the recipient stored the message, `read` when
//! their client says so, never backwards, and also for a sender who was away.

use anser_client::SendState;
use anser_proto::{ConversationId, Seq, wire, wire::entry::Kind};
use prost::Message as _;

use crate::support::{
    people::{Person, numbered},
    raw::{Raw, push, send},
    server::Server,
    view::View,
};

fn read(chat: ConversationId, conv_seq: Seq) -> bytes::Bytes {
    let read = wire::Read { conversation: chat.0, conv_seq };
    let kind = Some(wire::command::Kind::Read(read));
    wire::Command { kind, ..<_>::default() }.encode_to_vec().into()
}

/// Reads entries up to the own message `client_seq`; gives the receipts among them.
async fn receipts_until(raw: &mut Raw, client_seq: Seq) -> Vec<(Seq, Seq)> {
    let mut receipts = Vec::new();
    loop {
        match raw.entry().await.1.kind {
            Some(Kind::Receipt(receipt)) => receipts.push((receipt.delivered, receipt.read)),
            Some(Kind::Message(message)) if message.client_seq == client_seq => return receipts,
            _ => {}
        }
    }
}

#[tokio::test]
async fn p7_receipts_follow_the_truth() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Person::online(&server, &alice).await;
    let sent = sender.client.send(chat, "tick").expect("a place in the outbox");
    assert_eq!(sent.sent().await, SendState::Sent);
    let mut receiver = Person::online(&server, &bob).await;
    assert_eq!(receiver.text().await, "tick");
    assert_eq!(sent.delivered().await, SendState::Delivered);
    assert_eq!(sender.receipt((1, 0)).await, (1, 0));
    receiver.client.mark_read(chat, 1).expect("a place in the outbox");
    assert_eq!(sent.read().await, SendState::Read);
    assert_eq!(sender.receipt((1, 1)).await, (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn p7_delivered_is_told_after_the_ack_and_not_after_the_push() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    let mut receiver = Raw::online(&server, &bob).await;
    sender.send(push(1, send(chat, b"pushed, not stored"))).await;
    receiver.entries(1, 2).await;
    // Whatever the push caused is in the inbox before the last of these.
    for number in 2..=4 {
        sender.send(push(number, send(chat, b"later"))).await;
        assert_eq!(receipts_until(&mut sender, number).await, [], "nobody stored anything");
    }
    receiver.ack(2).await;
    assert_eq!(sender.receipt().await, (1, 0), "what was acked, and not more");
    receiver.entries(3, 5).await;
    receiver.ack(5).await;
    assert_eq!(sender.receipt().await, (4, 0));
    server.stop().await;
}

#[tokio::test]
async fn p7_read_is_told_when_it_is_said_and_never_goes_back() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    for number in 1..=5 {
        sender.send(push(number, send(chat, b"read me"))).await;
    }
    sender.acked(5).await;
    let mut reader = Raw::online(&server, &bob).await;
    reader.entries(1, 6).await;
    reader.ack(6).await;
    assert_eq!(sender.receipt().await, (5, 0), "stored is not read");
    reader.send(push(1, read(chat, 3))).await;
    assert_eq!(sender.receipt().await, (5, 3));
    // Backwards and again: commands like others, but nothing to tell.
    reader.send(push(2, read(chat, 1))).await;
    reader.send(push(3, read(chat, 3))).await;
    reader.acked(3).await;
    sender.send(push(6, send(chat, b"more"))).await;
    assert_eq!(receipts_until(&mut sender, 6).await, []);
    // A read mark of what was not acked yet says that it was delivered, too.
    while reader.entry().await.0 < 10 {}
    reader.send(push(4, read(chat, 6))).await;
    assert_eq!(sender.receipt().await, (6, 6));
    server.stop().await;
}

#[tokio::test]
async fn p7_a_sender_who_was_away_gets_the_receipts() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let sender = Person::with_file(&server, &alice, "alice.redb").await;
    let sent = sender.client.send(chat, "see you").expect("a place in the outbox");
    sent.sent().await;
    let mut own = View::of(sender);
    own.messages(1).await;
    own.client.shutdown().await;
    let mut receiver = Person::online(&server, &bob).await;
    receiver.text().await;
    receiver.client.mark_read(chat, 1).expect("a place in the outbox");
    receiver
        .next(|event| matches!(event, anser_client::Event::ReadMark { .. }).then_some(()))
        .await;
    server.stop().await;
    server.start_again().await;
    let mut sender = Person::with_file(&server, &alice, "alice.redb").await;
    assert_eq!(sender.receipt((1, 1)).await, (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn p7_receipts_of_several_devices_only_rise() {
    let mut server = Server::start_with(Server::without_rate_limit).await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = View::of(Person::online(&server, &alice).await);
    let mut readers = Vec::new();
    for account in [&server.device(&bob).await, &bob] {
        readers.push(View::of(Person::online(&server, account).await));
    }
    for round in 0..10 {
        for text in numbered(&format!("round {round}"), 20) {
            sender.client.send(chat, text).expect("a place in the outbox");
        }
        let reader = &mut readers[round % 2];
        reader.messages(round * 20 + 10).await;
        reader.client.mark_read(chat, round as Seq * 20 + 5).expect("a place in the outbox");
    }
    readers[0].messages(200).await;
    readers[0].client.mark_read(chat, 200).expect("a place in the outbox");
    let seen = sender.until(|seen| seen.receipts.last() == Some(&(chat, (200, 200)))).await;
    let marks: Vec<_> = seen.receipts.iter().map(|(_, marks)| *marks).collect();
    assert!(marks.is_sorted_by_key(|(delivered, _)| *delivered), "{marks:?}");
    assert!(marks.is_sorted_by_key(|(_, read)| *read), "{marks:?}");
    assert!(marks.iter().all(|(delivered, read)| read <= delivered && *delivered <= 200));
    server.stop().await;
}
