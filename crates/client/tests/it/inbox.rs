//! Entries: stored before they are acked, told once, whatever they hold.

use std::sync::atomic::Ordering;

use anser_client::{ConnectionState, Content, Event, MemoryStorage, Range, Session, Unreadable};
use anser_proto::{
    Code, Frame,
    id::NUMBER_MAX,
    wire::{self, entry::Kind},
};
use bytes::Bytes;

use crate::support::{
    Alice, World,
    connector::welcome,
    fixtures::{CHAT, alice, bobs, entry, from_bob, page, relations},
    soon,
    store::Breakable,
};

#[tokio::test]
async fn a_duplicate_push_is_one_event_and_acked_again() {
    let world = World::new().await;
    let (mut alice, mut peer) = world.online().await;
    peer.entry(1, &entry(1, "once")).await;
    peer.acked(1).await;
    peer.entry(1, &entry(1, "once")).await;
    peer.acked(1).await;
    // The same message under a later number, as after a snapshot that held it already.
    peer.entry(2, &entry(1, "once")).await;
    peer.entry(3, &entry(2, "next")).await;
    peer.acked(3).await;
    assert_eq!(alice.text().await, (1, "once".to_owned()));
    assert_eq!(alice.text().await, (2, "next".to_owned()));
    assert_eq!(alice.client.messages(CHAT, None, 10).expect("messages").len(), 2);
}

#[tokio::test]
async fn a_gap_closes_and_the_device_resumes_from_what_it_has() {
    let world = World::new().await;
    let (mut alice, mut peer) = world.online().await;
    peer.entry(1, &entry(1, "one")).await;
    peer.entry(3, &entry(3, "three")).await;
    let said = peer.last_frames().await;
    let closed = said
        .iter()
        .any(|frame| matches!(frame, Frame::Close(close) if close.code == Code::InboxGap.number()));
    assert!(closed, "{said:?}");
    let mut peer = world.welcome(3, 0).await;
    assert_eq!((peer.hello.position, peer.hello.epoch.as_str()), (1, "e1"));
    peer.entry(2, &entry(2, "two")).await;
    peer.entry(3, &entry(3, "three")).await;
    peer.caught_up().await;
    for text in [(1, "one"), (2, "two"), (3, "three")] {
        assert_eq!(alice.text().await, (text.0, text.1.to_owned()));
    }
}

#[tokio::test]
async fn nothing_is_acked_or_shown_that_was_not_stored() {
    let world = World::new().await;
    let (storage, broken) = Breakable::new(MemoryStorage::default());
    let mut alice = world.open(storage).await;
    let mut peer = world.welcome(0, 0).await;
    peer.entry(1, &entry(1, "stored")).await;
    peer.acked(1).await;
    broken.store(true, Ordering::SeqCst);
    peer.entry(2, &entry(2, "lost")).await;
    let said = peer.last_frames().await;
    assert!(!said.iter().any(|frame| matches!(frame, Frame::Ack(_))), "{said:?}");
    let events = alice.rest_of_events().await;
    let shown = events.iter().filter(|event| matches!(event, Event::Message(_))).count();
    assert_eq!(shown, 1);
    assert_eq!(events.last(), Some(&Event::Closed { code: None }));
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_how_much_it_missed() {
    let world = World::new().await;
    let builder = world.builder(MemoryStorage::default()).events_max(4);
    let (client, events) = builder.open(Session::new(alice(12))).await.expect("a client");
    let mut alice = Alice { client, events };
    let mut peer = world.welcome(0, 0).await;
    soon(alice.client.online()).await.expect("online");
    for number in 1..=10 {
        peer.entry(number, &entry(number, "many")).await;
    }
    peer.acked(10).await;
    let mut seen = Vec::new();
    let missed = loop {
        match alice.event().await {
            Event::Lagged { missed } => break missed,
            event => seen.push(event),
        }
    };
    let shown = seen.iter().filter(|event| matches!(event, Event::Message(_))).count() as u64;
    assert_eq!((seen.len(), shown + missed), (4, 10), "{seen:?}");
    // After the marker it goes on, and what was missed is in the storage.
    peer.entry(11, &entry(11, "after")).await;
    assert_eq!(alice.text().await, (11, "after".to_owned()));
    assert_eq!(alice.client.messages(CHAT, None, 100).expect("messages").len(), 11);
}

#[tokio::test]
async fn a_body_that_does_not_open_is_told_stored_and_acked() {
    let world = World::new().await;
    world.rest.set("GET /v1/relations", &relations(1));
    let (mut alice, mut peer) = world.online().await;
    let mut forged = entry(1, "forged");
    forged.body = Bytes::from_static(b"these bytes were never sealed with the key");
    peer.entry(1, &forged).await;
    let (message, body) = from_bob(2, 9, "of a key that nobody has");
    peer.entry(2, &wire::Entry { kind: Some(Kind::Message(message)), body }).await;
    peer.entry(3, &entry(3, "fine")).await;
    peer.acked(3).await;
    let unreadable = |why| Content::Unreadable(why);
    assert_eq!(alice.message().await, (1, unreadable(Unreadable::WrongKeyOrChanged)));
    assert_eq!(alice.message().await, (2, unreadable(Unreadable::NoKey)));
    assert_eq!(alice.text().await, (3, "fine".to_owned()));
    assert_eq!(alice.client.messages(CHAT, None, 10).expect("messages").len(), 3);
}

#[tokio::test]
async fn a_new_key_is_fetched_when_it_is_needed() {
    let world = World::new().await;
    world.rest.set("GET /v1/relations", &relations(2));
    let (mut alice, mut peer) = world.online().await;
    for conv_seq in [1, 2] {
        let (message, body) = from_bob(conv_seq, 2, "with the new key");
        peer.entry(conv_seq, &wire::Entry { kind: Some(Kind::Message(message)), body }).await;
    }
    assert_eq!(alice.text().await, (1, "with the new key".to_owned()));
    assert_eq!(alice.text().await, (2, "with the new key".to_owned()));
    assert_eq!(world.rest.asked("GET /v1/relations").len(), 1);
}

#[tokio::test]
async fn entries_of_later_versions_and_garbage_do_not_stop_the_log() {
    let world = World::new().await;
    let (mut alice, mut peer) = world.online().await;
    peer.bytes(1, Bytes::new()).await;
    peer.bytes(2, Bytes::from_static(&[0xff; 40])).await;
    // Field 14, of a kind that does not exist yet.
    peer.bytes(3, Bytes::from_static(&[0x72, 2, 8, 1])).await;
    peer.entry(4, &entry(NUMBER_MAX, "no message has this number")).await;
    peer.entry(5, &entry(1, "and on")).await;
    peer.acked(5).await;
    assert_eq!(alice.text().await, (1, "and on".to_owned()));
}

#[tokio::test]
async fn a_line_that_went_dead_is_online_and_not_healthy() {
    let world = World::new().await;
    let mut alice = world.open(MemoryStorage::default()).await;
    let mut peer = world.connector.accept().await;
    peer.send(Frame::Welcome(wire::Welcome { heartbeat_ms: 200, ..welcome(0, 0) })).await;
    peer.caught_up().await;
    let mut states = Vec::new();
    while states.len() < 3 {
        let state = alice.next(|event| match event {
            Event::State(state) => Some((state.device_online, state.socket_healthy)),
            _ => None,
        });
        states.push(state.await);
    }
    // Online; then the Pings stay unanswered; then the connection is given up.
    assert_eq!(states, [(true, true), (true, false), (false, false)]);
    assert_eq!(*alice.client.state().borrow(), ConnectionState::default());
    drop(peer);
}

#[tokio::test]
async fn history_on_demand_is_opened_and_not_stored() {
    let world = World::new().await;
    let (alice, _peer) = world.online().await;
    let older = page(vec![bobs(1, "long ago"), bobs(2, "later")]);
    let request = "GET /v1/conversations/7/messages?limit=2&around=2";
    world.rest.set(request, &anser_proto::rest::Messages { more_after: true, ..older });
    let page = soon(alice.client.history(CHAT, Range::Around(2), 2)).await.expect("a page");
    let texts: Vec<_> = page.messages.iter().map(|message| message.content.clone()).collect();
    assert_eq!(texts, ["long ago", "later"].map(|text| Content::Text(text.to_owned())));
    assert_eq!((page.more_before, page.more_after), (false, true));
    assert!(alice.client.messages(CHAT, None, 10).expect("messages").is_empty());
}
