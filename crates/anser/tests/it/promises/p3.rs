//! No holes: the rows of an inbox are exactly floor … head, a number is never reused, a row never
//! changes.

use std::{collections::HashMap, time::Duration};

use anser_proto::{Frame, Seq};
use bytes::Bytes;

use crate::support::{
    audit::Audit,
    people::{PATIENCE, Person, numbered},
    process::{Process, WITHOUT_RATE_LIMIT},
    raw::{Raw, hello, push, send},
    server::Server,
    site::{Account, Site},
    view::View,
};

/// All rows that a device is pushed when it starts from nothing, as they came. It stores none of
/// them, so it may start from nothing again.
async fn rows(site: &Site, account: &Account) -> Vec<Bytes> {
    let (mut raw, welcome) = Raw::resume(site, account, 0, 0).await;
    let mut rows = Vec::new();
    while (rows.len() as Seq) < welcome.head {
        if let Frame::Push(push) = raw.next().await {
            rows.push(push.body);
            assert_eq!(push.seq, rows.len() as Seq);
        }
    }
    rows
}

#[tokio::test]
async fn p3_rows_are_exactly_one_to_head_after_concurrent_senders() {
    let mut server = Server::start_with(Server::without_rate_limit).await;
    let [bob, one, two, three] = server.accounts(["bob", "one", "two", "three"]).await;
    let mut receiver = View::of(Person::online(&server, &bob).await);
    let mut senders = Vec::new();
    for account in [&one, &two, &three] {
        let chat = server.befriend(account, &bob).await;
        senders.push((Person::online(&server, account).await, chat));
    }
    for (sender, chat) in &senders {
        sender.send_all(*chat, &numbered("at once", 100));
    }
    receiver.messages(300).await;
    server.stop().await;
    let inboxes = Audit::default().look(server.open_store().await, &HashMap::new()).await;
    assert_eq!(inboxes[&bob.user].floor, 1);
    assert!(inboxes[&bob.user].head >= 303, "300 messages and 3 relations");
}

#[tokio::test]
async fn p3_rows_are_exactly_floor_to_head_after_pruning() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    for number in 1..=40 {
        sender.send(push(number, send(chat, b"to be pruned"))).await;
    }
    sender.acked(40).await;
    // A device that has come back and not said what it has keeps its rows until the next round.
    let (mut receiver, welcome) = Raw::resume(&server, &bob, 0, 0).await;
    receiver.entries(1, welcome.head).await;
    receiver.ack(welcome.head).await;
    assert_eq!(sender.receipt().await, (40, 0), "its position is stored");
    server.stop().await;
    let mut audit = Audit::default();
    let before = audit.look(server.open_store().await, &HashMap::new()).await;
    let head = before[&bob.user].head;
    assert_eq!((before[&bob.user].floor, head), (1, 41));

    // Retention looks when the server starts; by then everything is older than this.
    server.configure(|config| config.retention.inbox = Duration::from_millis(1));
    server.start_again().await;
    let pruned = async {
        loop {
            let (_raw, welcome) = Raw::resume(&server, &bob, head, 0).await;
            if welcome.floor > 1 {
                return welcome.floor;
            }
        }
    };
    let floor = tokio::time::timeout(PATIENCE, pruned).await.expect("old rows are pruned");
    assert!(floor <= head, "the last row stays");
    let below = hello(&server, &bob, floor - 2, 0).await;
    assert_eq!(Raw::reset(&server, below).await.head, head, "no silent gap below the floor");
    let (mut sender, _) = Raw::resume(&server, &alice, 41, 40).await;
    sender.send(push(41, send(chat, b"after pruning"))).await;
    sender.acked(41).await;
    let (mut receiver, _) = Raw::resume(&server, &bob, head, 0).await;
    assert_eq!(receiver.entry().await.0, head + 1, "numbers go on");
    server.stop().await;
    let after = audit.look(server.open_store().await, &HashMap::new()).await;
    let bobs = &after[&bob.user];
    assert_eq!(bobs.head, head + 1);
    // The round of retention may have gone on while the new row came.
    assert!((floor..=bobs.head).contains(&bobs.floor), "floor {} after {floor}", bobs.floor);
}

#[tokio::test]
async fn p3_no_number_is_used_again_after_kill_9() {
    let mut server = Process::start(&WITHOUT_RATE_LIMIT).await;
    let (alice, bob, chat) = server.friends().await;
    let mut known: Vec<Bytes> = Vec::new();
    let mut position = 0;
    for round in 0..4_u8 {
        let (mut sender, welcome) = Raw::resume(&server, &alice, 0, position + 64).await;
        position = welcome.outbox_position;
        for number in position + 1..=position + 40 {
            sender.send(push(number, send(chat, &[round, 1, 2, 3]))).await;
        }
        sender.acked(position + 20).await;
        let pushed = rows(&server, &bob).await;
        assert!(pushed.starts_with(&known), "round {round}: what was seen stays as it was");
        known = pushed;
        server.kill().await;
        server.start_again().await;
    }
    let pushed = rows(&server, &bob).await;
    assert!(pushed.starts_with(&known) && known.len() >= 80, "{} rows", known.len());
}
