//! Every device processes every entry once: the first one to ask does not consume what is there.

use anser_proto::wire::entry::Kind;

use crate::support::{
    people::{Person, numbered},
    raw::{Raw, push, send},
    server::Server,
    view::View,
};

#[tokio::test]
async fn p6_every_device_gets_every_entry_once() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let bobs_other = server.device(&bob).await;
    let sender = Person::online(&server, &alice).await;
    let texts = numbered("for both", 20);
    // Both of Bob's devices have been online once, and are away now.
    for (device, file) in [(&bob, "bob.redb"), (&bobs_other, "other.redb")] {
        let away = Person::with_file(&server, device, file).await;
        away.client.online().await.expect("online");
        away.client.shutdown().await;
    }
    sender.send_all(chat, &texts);
    for (device, file) in [(&bob, "bob.redb"), (&bobs_other, "other.redb")] {
        let mut receiver = Person::with_file(&server, device, file).await;
        assert_eq!(receiver.texts(20).await, texts);
    }
    server.stop().await;
}

#[tokio::test]
async fn p6_a_device_that_comes_late_gets_what_the_other_acked_and_read() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let bobs_other = server.device(&bob).await;
    let late = Person::with_file(&server, &bobs_other, "late.redb").await;
    late.client.online().await.expect("online");
    late.client.shutdown().await;
    let mut sender = Person::online(&server, &alice).await;
    let mut first = View::of(Person::online(&server, &bob).await);
    sender.send_all(chat, &numbered("to both", 10));
    first.messages(10).await;
    first.client.mark_read(chat, 10).expect("a place in the outbox");
    sender.receipt((10, 10)).await;
    server.stop().await;
    server.start_again().await;
    let mut late = Person::with_file(&server, &bobs_other, "late.redb").await;
    assert_eq!(late.texts(10).await, numbered("to both", 10));
    late.next(|event| match event {
        anser_client::Event::ReadMark { read, .. } => (*read == 10).then_some(()),
        _ => None,
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn p6_live_entries_reach_all_devices_of_both_sides() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut devices = Vec::new();
    for account in [&server.device(&alice).await, &bob, &server.device(&bob).await] {
        devices.push(Raw::resume(&server, account, 1, 0).await.0);
    }
    let mut sender = Raw::online(&server, &alice).await;
    sender.send(push(1, send(chat, b"hello all"))).await;
    for device in &mut devices {
        let (seq, entry) = device.entry().await;
        assert_eq!((seq, &entry.body[..]), (2, &b"hello all"[..]));
    }
    // The device that sent it holds the body already.
    let entry = sender.entries(1, 2).await.pop().expect("two entries");
    let Some(Kind::Message(message)) = entry.kind else { panic!("a message") };
    assert_eq!((message.client_seq, entry.body.len()), (1, 0));
    server.stop().await;
}
