//! Rejections are told: what can not be applied becomes a `rejected` entry with a code.

use anser_client::{RelationAction, SendState};
use anser_proto::{Code, ConversationId, Seq, wire, wire::entry::Kind};
use bytes::Bytes;
use prost::Message as _;

use crate::support::{
    people::{Person, builder, session, storage},
    raw::{Raw, push, send},
    server::Server,
    view::View,
};

fn command(kind: wire::command::Kind, body: &'static [u8]) -> Bytes {
    let body = Bytes::from_static(body);
    wire::Command { kind: Some(kind), body }.encode_to_vec().into()
}

/// One of each kind of command that is rejected, with its code.
fn wrong(
    chat: ConversationId,
    closed: ConversationId,
    foreign: ConversationId,
) -> Vec<(Bytes, Code)> {
    let version = |key_version| {
        let send = wire::Send { conversation: chat.0, key_version, ..<_>::default() };
        command(wire::command::Kind::Send(send), b"sealed")
    };
    let read = |conversation: ConversationId, conv_seq| {
        let read = wire::Read { conversation: conversation.0, conv_seq };
        command(wire::command::Kind::Read(read), b"")
    };
    vec![
        (send(ConversationId(123_456), b"nowhere"), Code::NotMember),
        (send(foreign, b"not mine"), Code::NotMember),
        (send(closed, b"over"), Code::NotMember),
        (read(foreign, 1), Code::NotMember),
        (read(closed, 1), Code::NotMember),
        (read(chat, 99), Code::ReadAboveHead),
        (send(chat, b""), Code::BodyEmpty),
        (send(chat, &[1; 16 * 1024 + 1]), Code::BodyTooLarge),
        (version(0), Code::UnknownKeyVersion),
        (version(2), Code::UnknownKeyVersion),
        (Bytes::from_static(&[0x72, 0x00]), Code::UnknownCommand),
        (Bytes::new(), Code::UnknownCommand),
    ]
}

async fn next_rejection(raw: &mut Raw) -> (u64, Seq, u32) {
    loop {
        match raw.entry().await.1.kind {
            Some(Kind::Rejected(told)) => return (told.device, told.client_seq, told.code),
            Some(Kind::Message(message)) => panic!("applied: {message:?}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn p10_every_rejection_is_told_to_every_device_of_its_sender() {
    let mut server = Server::start().await;
    let [alice, bob, carol] = server.accounts(["alice", "bob", "carol"]).await;
    let chat = server.befriend(&alice, &bob).await;
    let closed = server.befriend(&alice, &carol).await;
    let foreign = server.befriend(&bob, &carol).await;
    let other = server.device(&alice).await;
    let leaving = Person::online(&server, &carol).await;
    leaving.client.change_relation(alice.user, RelationAction::Remove).await.expect("removed");

    let (mut sender, welcome) = Raw::resume(&server, &alice, 3, 0).await;
    let (mut watcher, _) = Raw::resume(&server, &other, welcome.head, 0).await;
    let wrong = wrong(chat, closed, foreign);
    for (client_seq, (command, code)) in (1..).zip(&wrong) {
        sender.send(push(client_seq, command.clone())).await;
        let told = (alice.device.0, client_seq, code.number());
        assert_eq!(next_rejection(&mut sender).await, told, "{code:?}");
        assert_eq!(next_rejection(&mut watcher).await, told, "{code:?}");
    }
    // Each of them used its number up, and what follows is applied.
    let next = wrong.len() as Seq + 1;
    sender.send(push(next, send(chat, b"this one is right"))).await;
    sender.acked(next).await;
    let (_, entry) = watcher.entry().await;
    assert_eq!(entry.body, "this one is right");
    server.stop().await;
}

#[tokio::test]
async fn p10_a_rejection_waits_for_a_sender_who_was_away() {
    let mut server = Server::start().await;
    let (alice, _, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    sender.send(push(1, send(ConversationId(5), b"nowhere"))).await;
    sender.acked(1).await;
    server.stop().await;
    server.start_again().await;
    let (mut sender, _) = Raw::resume(&server, &alice, 1, 1).await;
    let told = next_rejection(&mut sender).await;
    assert_eq!(told, (alice.device.0, 1, Code::NotMember.number()));
    // The repeat is acked like the first, and rejected only once.
    sender.send(push(1, send(ConversationId(5), b"nowhere"))).await;
    sender.send(push(2, send(chat, b"and on"))).await;
    let (seq, entry) = sender.entry().await;
    assert!(matches!(entry.kind, Some(Kind::Message(_))), "{entry:?}");
    assert_eq!(seq, 3);
    server.stop().await;
}

#[tokio::test]
async fn p10_the_sdk_says_which_message_failed_and_why() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    // Alice writes while she has no connection, and meanwhile Bob ends the friendship.
    let file = || builder(&server).storage(storage(&server, "alice.redb"));
    let offline = Person::of(file().connector("127.0.0.1:1"), session(&alice)).await;
    offline.client.send(chat, "still friends?").expect("a place in the outbox");
    offline.client.shutdown().await;
    let leaving = Person::online(&server, &bob).await;
    leaving.client.change_relation(alice.user, RelationAction::Remove).await.expect("removed");
    let mut back = View::of(Person::of(file(), session(&alice)).await);
    let seen = back.until(|seen| !seen.rejected.is_empty()).await;
    assert_eq!(seen.rejected, [(1, Some(Code::NotMember))]);
    assert_eq!(back.client.outbox_len(), 0, "it is not tried again");

    server.stop().await;
}

#[tokio::test]
async fn p10_the_handle_of_a_message_says_that_it_failed_and_why() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let sender = Person::online(&server, &alice).await;
    // Fits when it is written; the limit is lower when it arrives.
    server.stop().await;
    server.configure(|config| config.connector.body_bytes_max = 1024);
    let long = sender.client.send(chat, "x".repeat(2048)).expect("a place in the outbox");
    let short = sender.client.send(chat, "short").expect("a place in the outbox");
    server.start_again().await;
    let code = Some(Code::BodyTooLarge);
    // In a cluster the ack may come before the entry that tells of the rejection: then it is sent
    // for a moment. It never is delivered.
    assert_eq!(long.delivered().await, SendState::Failed { code });
    short.sent().await;
    let mut receiver = View::of(Person::online(&server, &bob).await);
    let seen = receiver.messages(1).await;
    assert_eq!((seen[0].conv_seq, seen[0].client_seq), (1, 2), "the next one is applied");
    server.stop().await;
}
