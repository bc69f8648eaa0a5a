//! The promises of docs/guarantees.md, each test named after its number, through the real SDK over real
//! sockets.

use anser_client::{MemoryStorage, SendState, Transport};

use crate::support::{
    people::{Person, numbered},
    server::{Account, Server},
};

async fn friends(server: &Server) -> (Account, Account, anser_proto::ConversationId) {
    let [alice, bob] = server.accounts(["alice", "bob"]).await;
    let chat = server.befriend(&alice, &bob).await;
    (alice, bob, chat)
}

#[tokio::test]
async fn p1_sent_means_safe_over_a_restart() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = friends(&server).await;
    let mut sender = Person::online(&server, &alice).await;
    let sent = sender.client.send(chat, "remember me").expect("a place in the outbox");
    assert_eq!(sent.sent().await, SendState::Sent);
    server.stop().await;
    server.start_again().await;
    let mut receiver = Person::online(&server, &bob).await;
    assert_eq!(receiver.text().await, "remember me");
    sender.receipt((1, 0)).await;
    server.stop().await;
}

#[tokio::test]
async fn p4_order_is_kept_in_both_transports() {
    let mut server = Server::start_with(Server::without_rate_limit).await;
    let (alice, bob, chat) = friends(&server).await;
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
async fn p6_every_device_gets_every_entry_once() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = friends(&server).await;
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
async fn p7_receipts_follow_the_truth() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = friends(&server).await;
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
