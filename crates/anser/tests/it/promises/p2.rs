//! Exactly once: one result per (device, client_seq), however often it is retried.

use anser_client::{Password, SendState};
use anser_proto::{Code, ConversationId};

use crate::support::{
    people::{Person, builder, numbered, storage},
    raw::{Raw, hello, push, send},
    server::Server,
    site::{Account, Site},
    view::{Differences, Expected, View},
};

/// The bodies that a device holds of a conversation's messages, after everything came.
async fn bodies(site: &Site, account: &Account) -> Vec<String> {
    let (mut raw, welcome) = Raw::resume(site, account, 0, 1_000).await;
    let entries = raw.entries(1, welcome.head).await;
    let messages = entries.into_iter().filter(|entry| !entry.body.is_empty());
    messages.map(|entry| String::from_utf8(entry.body.to_vec()).expect("a text")).collect()
}

async fn pushed(raw: &mut Raw, chat: ConversationId, numbers: std::ops::RangeInclusive<u64>) {
    let last = *numbers.end();
    for number in numbers {
        raw.send(push(number, send(chat, format!("command {number}").as_bytes()))).await;
    }
    raw.acked(last).await;
}

#[tokio::test]
async fn p2_a_retry_on_another_connection_is_applied_once() {
    let mut server = Server::start_with(Server::without_rate_limit).await;
    let (alice, bob, chat) = server.friends().await;
    let mut first = Raw::online(&server, &alice).await;
    pushed(&mut first, chat, 1..=20).await;
    // As if no ack had come: everything again, and then some more.
    for _ in 0..3 {
        let (mut again, welcome) = Raw::resume(&server, &alice, 0, 20).await;
        assert_eq!(welcome.outbox_position, 20);
        pushed(&mut again, chat, 1..=20).await;
    }
    let (mut last, _) = Raw::resume(&server, &alice, 0, 30).await;
    pushed(&mut last, chat, 15..=30).await;
    let expected: Vec<_> = (1..=30).map(|number| format!("command {number}")).collect();
    assert_eq!(bodies(&server, &bob).await, expected);
    server.stop().await;
}

#[tokio::test]
async fn p2_a_retry_after_a_restart_is_applied_once() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    pushed(&mut Raw::online(&server, &alice).await, chat, 1..=10).await;
    server.stop().await;
    server.start_again().await;
    let (mut again, _) = Raw::resume(&server, &alice, 0, 10).await;
    pushed(&mut again, chat, 1..=10).await;
    assert_eq!(bodies(&server, &bob).await.len(), 10);
    server.stop().await;
}

#[tokio::test]
async fn p2_another_payload_on_another_connection_is_a_conflict() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    pushed(&mut Raw::online(&server, &alice).await, chat, 1..=3).await;
    let (mut again, _) = Raw::resume(&server, &alice, 0, 3).await;
    again.send(push(2, send(chat, b"not what it was"))).await;
    assert_eq!(again.closed().await, Code::Conflict);
    assert_eq!(bodies(&server, &bob).await, ["command 1", "command 2", "command 3"]);
    server.stop().await;
}

#[tokio::test]
async fn p2_a_number_too_old_to_compare_is_stale() {
    let mut server = Server::start_with(Server::without_rate_limit).await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    pushed(&mut sender, chat, 1..=60).await;
    pushed(&mut sender, chat, 61..=70).await;
    // The last 64 can be compared.
    sender.send(push(7, send(chat, b"command 7"))).await;
    sender.acked(70).await;
    sender.send(push(6, send(chat, b"command 6"))).await;
    assert_eq!(sender.closed().await, Code::DeviceStale);
    assert_eq!(bodies(&server, &bob).await.len(), 70);
    server.stop().await;
}

#[tokio::test]
async fn p2_a_rolled_back_device_is_stale() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    pushed(&mut Raw::online(&server, &alice).await, chat, 1..=3).await;
    for outbox_head in 0..3 {
        let mut rolled_back = Raw::connect(&server).await;
        rolled_back.send(hello(&server, &alice, 0, outbox_head).await).await;
        assert_eq!(rolled_back.closed().await, Code::DeviceStale);
    }
    let (_, welcome) = Raw::resume(&server, &alice, 0, 3).await;
    assert_eq!(welcome.outbox_position, 3);
    assert_eq!(bodies(&server, &bob).await.len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn p2_a_client_from_an_old_copy_of_its_storage_goes_on_as_a_new_device() {
    let mut server = Server::start().await;
    let [bob] = server.accounts(["bob"]).await;
    let password = || Password::new("alice", "correct horse", "laptop").or_register();
    let file = |name| builder(&server).storage(storage(&server, name));
    let alice = Person::of(file("alice.redb"), password()).await;
    let account = Account {
        name: "alice".into(),
        user: alice.client.user(),
        device: alice.client.device(),
        token: String::new(),
    };
    let chat = server.befriend(&account, &bob).await;
    alice.client.online().await.expect("online");
    let mut receiver = View::of(Person::online(&server, &bob).await);
    let before = numbered("before the copy", 2);
    alice.send_all(chat, &before);
    receiver.messages(2).await;
    let mut alice = View::of(alice);
    alice.messages(2).await;
    alice.client.shutdown().await;

    let copy = |from, to| std::fs::copy(server.folder().join(from), server.folder().join(to));
    copy("alice.redb", "copy.redb").expect("a copy");
    let alice = Person::of(file("alice.redb"), password()).await;
    let after = numbered("after the copy", 2);
    alice.send_all(chat, &after);
    receiver.messages(4).await;
    alice.client.shutdown().await;

    // The copy knows nothing of the last two, and gives the first of their numbers out again.
    let nowhere = file("copy.redb").connector("127.0.0.1:1");
    let alice = Person::of(nowhere, password()).await;
    let rolled_back = alice.client.device();
    assert_eq!(rolled_back, account.device);
    alice.send_all(chat, &["from the copy".into()]);
    alice.client.shutdown().await;
    let mut alice = Person::of(file("copy.redb"), password()).await;
    let new_device = alice
        .next(|event| match event {
            anser_client::Event::NewDevice(device) => Some(*device),
            _ => None,
        })
        .await;
    let sent = alice.client.send(chat, "and on").expect("a place in the outbox");
    assert_eq!(sent.sent().await, SendState::Sent);
    let seen = receiver.messages(6).await;
    let from_copy = vec!["from the copy".to_owned(), "and on".to_owned()];
    let expected =
        Expected::from([(rolled_back, [before, after].concat()), (new_device, from_copy)]);
    assert_eq!(seen.len(), 6);
    assert_eq!(receiver.now().differences(chat, &expected), Differences::default());
    server.stop().await;
}
