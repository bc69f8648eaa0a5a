//! Order: one device's commands keep theirs, all see a conversation in one order, and the views of
//! a user's devices agree.

use anser_client::{MemoryStorage, Transport};
use anser_proto::{Frame, Seq, wire};
use bytes::Bytes;

use crate::support::{
    people::{Person, numbered},
    raw::{Raw, hello, push, send},
    server::Server,
    view::{Differences, Expected, View, text},
};

#[tokio::test]
async fn p4_order_is_kept_in_both_transports() {
    let mut server = Server::start_with(Server::without_rate_limit).await;
    let (alice, bob, chat) = server.friends().await;
    for transport in [Transport::Tcp, Transport::WebSocket] {
        let storage = MemoryStorage::default();
        let [alice, bob] = [server.device(&alice).await, server.device(&bob).await];
        let sender = Person::open_over(&server, &alice, storage, transport).await;
        let storage = MemoryStorage::default();
        let mut receiver = Person::open_over(&server, &bob, storage, transport).await;
        receiver.client.online().await.expect("online");
        let texts = numbered(&format!("{transport:?}"), 500);
        sender.send_all(chat, &texts);
        assert_eq!(receiver.texts(500).await, texts);
    }
    server.stop().await;
}

#[tokio::test]
async fn p4_all_devices_of_all_members_see_one_order() {
    let mut server = Server::start_with(Server::without_rate_limit).await;
    let (alice, bob, chat) = server.friends().await;
    let accounts = [server.device(&alice).await, alice, server.device(&bob).await, bob];
    let (mut views, mut expected) = (Vec::new(), Expected::new());
    for account in &accounts {
        views.push(View::of(Person::online(&server, account).await));
    }
    for part in 0..4 {
        for (account, view) in accounts.iter().zip(&views) {
            let texts = numbered(&format!("{} part {part}", account.device), 25);
            for text in &texts {
                view.client.send(chat, text.clone()).expect("a place in the outbox");
            }
            expected.entry(account.device).or_default().extend(texts);
        }
        views[part].messages(part * 100 + 50).await;
    }
    let mut orders: Vec<Vec<(Seq, String)>> = Vec::new();
    for view in &mut views {
        let messages = view.messages(400).await;
        let order = messages.iter().map(|message| (message.conv_seq, text(message).to_owned()));
        orders.push(order.collect());
        assert_eq!(view.now().differences(chat, &expected), Differences::default());
    }
    assert!(orders.windows(2).all(|two| two[0] == two[1]), "all see the same order");
    server.stop().await;
}

/// What a device is pushed from its start up to `head`: numbers and bytes.
async fn pushed(raw: &mut Raw, head: Seq) -> Vec<(Seq, Bytes)> {
    let mut pushed: Vec<(Seq, Bytes)> = Vec::new();
    while pushed.last().is_none_or(|(seq, _)| *seq < head) {
        if let Frame::Push(push) = raw.next().await {
            let next = pushed.last().map_or(push.seq, |(seq, _)| seq + 1);
            assert_eq!(push.seq, next, "a view is contiguous");
            pushed.push((push.seq, push.body));
        }
    }
    pushed
}

#[tokio::test]
async fn p4_the_views_of_a_users_devices_agree_on_what_they_share() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    let mut old = Raw::online(&server, &bob).await;
    for number in 1..=20 {
        sender.send(push(number, send(chat, b"before"))).await;
    }
    sender.acked(20).await;
    // A new device starts where its snapshot ends.
    let account = server.device(&bob).await;
    let reset = Raw::reset(&server, hello(&server, &account, 0, 0).await).await;
    assert_eq!(reset.head, 21);
    let (mut new, _) = Raw::resume(&server, &account, reset.head, 0).await;
    for number in 21..=40 {
        sender.send(push(number, send(chat, b"after"))).await;
    }
    let (old, new) = (pushed(&mut old, 41).await, pushed(&mut new, 41).await);
    assert_eq!((old[0].0, new[0].0), (1, 22));
    assert_eq!(old[21..], new[..], "the same bytes under the same numbers");
    server.stop().await;
}

#[tokio::test]
async fn p4_a_devices_commands_are_applied_in_the_order_of_their_numbers() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    let mut receiver = Raw::online(&server, &bob).await;
    // All in one write, with read marks between the messages.
    let mut bytes = bytes::BytesMut::new();
    for number in (1..=20).step_by(2) {
        anser_proto::frame::encode(&push(number, send(chat, b"message")), &mut bytes);
        let read = wire::Read { conversation: chat.0, conv_seq: number.div_ceil(2) };
        let kind = Some(wire::command::Kind::Read(read));
        let read = prost::Message::encode_to_vec(&wire::Command { kind, body: Bytes::new() });
        anser_proto::frame::encode(&push(number + 1, read.into()), &mut bytes);
    }
    sender.send_bytes(&bytes).await;
    let mut named = Vec::new();
    while named.len() < 20 {
        match sender.entry().await.1.kind {
            Some(wire::entry::Kind::Message(message)) => named.push(message.client_seq),
            Some(wire::entry::Kind::ReadMark(mark)) => named.push(mark.client_seq),
            Some(wire::entry::Kind::Rejected(rejected)) => panic!("{rejected:?}"),
            _ => {}
        }
    }
    assert!(named.into_iter().eq(1..=20), "a read mark needs the message before it");
    let mut seen = Vec::new();
    while seen.len() < 10 {
        if let Some(wire::entry::Kind::Message(message)) = receiver.entry().await.1.kind {
            seen.push((message.conv_seq, message.client_seq));
        }
    }
    assert!(seen.into_iter().eq((1..=10).map(|seq| (seq, seq * 2 - 1))));
    server.stop().await;
}
