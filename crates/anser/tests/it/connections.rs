//! How connections end and are followed by others.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anser_client::{Event, SendState};
use anser_proto::{Code, Frame};

use crate::support::{
    audit::Audit,
    people::{Person, numbered},
    process::{Process, WITHOUT_RATE_LIMIT},
    raw::{Raw, hello, push, send},
    server::Server,
    view::View,
};

/// Revocation reaches open sockets within this time (DESIGN section 7).
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);
/// Most time from SIGTERM to the end of the process.
const STOP: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_revoked_device_is_disconnected_at_once_and_stays_out() {
    let mut server = Server::start().await;
    let (alice, _, chat) = server.friends().await;
    let stolen = server.device(&alice).await;
    let owner = Person::online(&server, &alice).await;
    let (mut thief, _) = Raw::resume(&server, &stolen, 1, 0).await;
    owner.client.rest().revoke(stolen.device).await.expect("revoked");
    let revoked = Instant::now();
    assert_eq!(thief.closed().await, Code::Unauthenticated);
    assert!(revoked.elapsed() < AT_ONCE, "closed after {:?}", revoked.elapsed());
    let mut again = Raw::connect(&server).await;
    again.send(hello(&server, &stolen, 1, 0).await).await;
    assert_eq!(again.closed().await, Code::Unauthenticated);
    let sent = owner.client.send(chat, "the others notice nothing").expect("a place in the outbox");
    assert_eq!(sent.sent().await, SendState::Sent);
    server.stop().await;
}

#[tokio::test]
async fn the_newest_hello_of_a_device_wins() {
    let mut server = Server::start().await;
    let (alice, _, chat) = server.friends().await;
    let mut older = Raw::online(&server, &alice).await;
    let (mut newest, _) = Raw::resume(&server, &alice, 1, 0).await;
    assert_eq!(older.closed().await, Code::Replaced);
    newest.send(push(1, send(chat, b"still here"))).await;
    newest.acked(1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_replaced_client_does_not_fight_for_its_place() {
    let mut server = Server::start().await;
    let (alice, _, chat) = server.friends().await;
    let mut older = Person::online(&server, &alice).await;
    let newest = Person::online(&server, &alice).await;
    let code = older
        .next(|event| match event {
            Event::Closed { code } => Some(*code),
            _ => None,
        })
        .await;
    assert_eq!(code, Some(Code::Replaced));
    let sent = newest.client.send(chat, "the one that stays").expect("a place in the outbox");
    assert_eq!(sent.sent().await, SendState::Sent);
    server.stop().await;
}

#[tokio::test]
async fn sigterm_says_go_away_finishes_and_exits_with_status_0() {
    let mut server = Process::start(&WITHOUT_RATE_LIMIT).await;
    let (alice, bob, chat) = server.friends().await;
    let mut idle = Raw::online(&server, &bob).await;
    let sender = Person::online(&server, &alice).await;
    sender.send_all(chat, &numbered("load", 500));
    let mut sender = View::of(sender);
    sender.until(|seen| seen.sent >= 50).await;
    let asked = Instant::now();
    let status = server.terminate().await;
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() < STOP, "stopped after {:?}", asked.elapsed());
    let mut went_away = false;
    loop {
        match idle.next().await {
            Frame::GoAway(_) => went_away = true,
            Frame::Close(close) => {
                assert_eq!(close.code, Code::GoingAway.number());
                break;
            }
            _ => {}
        }
    }
    assert!(went_away, "GoAway comes before Close");
    let told = HashMap::from([(alice.device, sender.now().sent)]);
    Audit::default().look(server.open_store(), &told).await;
    server.start_again().await;
    sender.messages(500).await;
}

#[tokio::test]
async fn each_connection_says_caught_up_once() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let sender = Person::online(&server, &alice).await;
    let mut receiver = View::of(Person::online(&server, &bob).await);
    for round in 1..=3 {
        receiver.until(|seen| seen.caught_up == round).await;
        sender.send_all(chat, &numbered("live", 10));
        receiver.messages(round * 10).await;
        assert_eq!(receiver.now().caught_up, round);
        server.stop().await;
        server.start_again().await;
    }
    server.stop().await;
}
