//! Backpressure, not loss: every buffer has a bound, a slow reader's entries stay in the log, a
//! full disk refuses.

use anser_client::SendState;
use anser_proto::Code;

use crate::support::{
    layout,
    people::{Person, numbered},
    raw::{Raw, push, send},
    server::Server,
    view::{Differences, Expected, View},
};

#[tokio::test]
async fn p9_a_reader_that_stops_loses_nothing_and_disturbs_nobody() {
    let mut server = Server::start_with(Server::without_rate_limit).await;
    let [alice, bob, carol] = server.accounts(["alice", "bob", "carol"]).await;
    let slow_chat = server.befriend(&alice, &bob).await;
    let chat = server.befriend(&alice, &carol).await;
    let mut slow = Raw::online(&server, &bob).await;
    let sender = Person::online(&server, &alice).await;
    let mut other = View::of(Person::online(&server, &carol).await);
    // More than all buffers between them hold: two windows, the mailbox, the sockets.
    let body = "x".repeat(8 * 1024);
    for number in 1..=1_500 {
        let text = format!("{number} {body}");
        sender.client.send(slow_chat, text).expect("a place in the outbox");
        if number % 10 == 0 {
            sender.client.send(chat, number.to_string()).expect("a place in the outbox");
        }
    }
    let seen = other.messages(150).await;
    assert!(seen.iter().map(|message| message.conv_seq).eq(1..=150), "others notice nothing");
    let mut position = 0;
    while position < 1_501 {
        let (seq, entry) = slow.entry().await;
        if seq == 1 && position > 0 {
            // It was silent for so long that the oldest entry came once more.
            continue;
        }
        assert_eq!(seq, position + 1, "no hole");
        assert!(seq == 1 || entry.body.len() > body.len());
        position = seq;
        slow.ack(position).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn p9_a_window_that_stays_full_drops_nothing() {
    let mut server = Server::start_with(Server::without_rate_limit).await;
    let (alice, bob, chat) = server.friends().await;
    let mut slow = Raw::online(&server, &bob).await;
    let sender = Person::online(&server, &alice).await;
    let texts = numbered("waits", 1_200);
    sender.send_all(chat, &texts);
    // It reads all the time, but stores nothing before everything was sent.
    let first = slow.entries(1, 256).await;
    assert_eq!(first.len(), 256);
    let mut own = View::of(sender);
    own.messages(1_200).await;
    slow.ack(256).await;
    for seq in 257..=1_201 {
        slow.entries(seq, seq).await;
        slow.ack(seq).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn p9_a_flood_is_slowed_down_and_not_dropped() {
    let mut server = Server::start_with(|config| {
        config.connector.commands_per_second = 200;
        config.connector.commands_burst = 10;
    })
    .await;
    let (alice, bob, chat) = server.friends().await;
    let started = std::time::Instant::now();
    let sender = Person::online(&server, &alice).await;
    let texts = numbered("flood", 150);
    sender.send_all(chat, &texts);
    let mut receiver = View::of(Person::online(&server, &bob).await);
    receiver.messages(150).await;
    let expected = Expected::from([(alice.device, texts)]);
    assert_eq!(receiver.now().differences(chat, &expected), Differences::default());
    // A window of 64 may be handed over as debt; the rest has to wait for its price.
    assert!(started.elapsed().as_millis() >= 300, "nothing was slowed down");
    server.stop().await;
}

#[tokio::test]
async fn p9_a_full_disk_refuses_with_a_code_and_the_service_resumes() {
    if layout::is_elsewhere("p9_a_full_disk_refuses_with_a_code_and_the_service_resumes") {
        return;
    }
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let alices_other = server.device(&alice).await;
    let sender = Person::online(&server, &alice).await;
    let texts = numbered("disk", 20);
    sender.send_all(chat, &texts[..10]);
    let mut receiver = View::of(Person::online(&server, &bob).await);
    receiver.messages(10).await;

    server.set_free_bytes(1024);
    let (mut raw, _) = Raw::resume(&server, &alices_other, 1, 0).await;
    raw.send(push(1, send(chat, b"refused"))).await;
    assert_eq!(raw.closed().await, Code::DiskFull);
    sender.send_all(chat, &texts[10..19]);
    let last = sender.client.send(chat, texts[19].clone()).expect("a place in the outbox");
    // What is stored can still be read, by a device that resumes too.
    let (mut resumed, _) = Raw::resume(&server, &alices_other, 1, 1).await;
    assert_eq!(resumed.entries(2, 11).await.len(), 10);
    assert_eq!(last.state(), SendState::Queued);

    server.set_free_bytes(u64::MAX);
    assert!(matches!(last.sent().await, SendState::Sent | SendState::Delivered));
    receiver.messages(20).await;
    let expected = Expected::from([(alice.device, texts)]);
    assert_eq!(receiver.now().differences(chat, &expected), Differences::default());
    server.stop().await;
}
