//! Reset: the position can not be continued, so the device starts from a snapshot.

use anser_client::{Event, SendState};
use anser_proto::{Frame, Seq, rest::Message, wire};

use crate::support::{
    Alice, World,
    connector::Peer,
    fixtures::{CHAT, applied, bobs, entry, own, page, snapshot},
    soon,
};

async fn reset(world: &World, epoch: &str, outbox_position: Seq) -> Peer {
    let mut peer = world.connector.accept().await;
    let (epoch, outbox_digest) = (epoch.to_owned(), peer.digest(outbox_position));
    let reset = wire::Reset { epoch, head: 30, outbox_position, outbox_digest };
    peer.send(Frame::Reset(reset)).await;
    peer
}

#[tokio::test]
async fn a_reset_takes_a_snapshot_the_missed_history_and_says_hello_from_there() {
    let world = World::new().await;
    let (mut alice, mut peer) = world.online().await;
    peer.entry(1, &entry(1, "before")).await;
    assert_eq!(alice.text().await, (1, "before".to_owned()));
    let handles = ["applied", "refused", "unsent"]
        .map(|text| alice.client.send(CHAT, text).expect("a place in the outbox"));
    let commands = [peer.command().await, peer.command().await, peer.command().await];
    world.rest.set("GET /v1/snapshot", &snapshot("e1", 40, &[(3, [(2, 1), (3, 3)])]));
    let missed = page(vec![bobs(2, "missed"), applied(12, 1, 3, &commands[0].1)]);
    world.rest.set("GET /v1/conversations/7/messages?after=1", &missed);
    drop(peer);
    drop(reset(&world, "e1", 2).await);

    let mut peer = world.welcome(40, 2).await;
    let hello = &peer.hello;
    assert_eq!((hello.epoch.as_str(), hello.position), ("e1", 40));
    assert_eq!((hello.outbox_head, hello.outbox_trimmed), (3, 2));
    assert_eq!(peer.command().await, commands[2]);
    // The snapshot was taken after its head, so its last message comes again.
    peer.entry(41, &own(12, 1, 3)).await;
    peer.entry(42, &entry(4, "after")).await;
    alice.next(|event| (event == Event::Reset).then_some(())).await;
    for text in [(2, "missed"), (3, "applied"), (4, "after")] {
        assert_eq!(alice.text().await, (text.0, text.1.to_owned()));
    }
    assert_eq!(soon(handles[0].read()).await, SendState::Read);
    assert_eq!(soon(handles[1].sent()).await, SendState::Failed { code: None });
    assert_eq!(handles[2].state(), SendState::Queued);
    assert_eq!(alice.client.watermarks(CHAT).read, 1);
}

#[tokio::test]
async fn a_restored_server_gives_lost_numbers_to_other_messages() {
    let (world, mut alice, peer) = with_five_messages().await;
    // The backup ended after message 3; since then 4, 5 and 6 are Alice's, from another device.
    let command = sealed_by_another_device(&world).await;
    let fresh = |conv_seq| applied(13, conv_seq, conv_seq, &command);
    world.rest.set("GET /v1/snapshot", &snapshot("e2", 9, &[(6, [(6, 0), (2, 1)])]));
    let same = [bobs(2, "old"), bobs(3, "old")];
    let newest = page([&same[..], &[fresh(4), fresh(5)]].concat());
    world.rest.set("GET /v1/conversations/7/messages?before=6", &newest);
    world
        .rest
        .set("GET /v1/conversations/7/messages?after=3", &page([4, 5, 6].map(fresh).to_vec()));
    drop(peer);
    drop(reset(&world, "e2", 0).await);

    let mut peer = world.connector.accept().await;
    assert_eq!((peer.hello.epoch.as_str(), peer.hello.position), ("e2", 9));
    peer.send(Frame::Welcome(wire::Welcome {
        epoch: "e2".to_owned(),
        ..crate::support::connector::welcome(10, 0)
    }))
    .await;
    peer.entry(10, &entry(7, "new")).await;
    assert_eq!(numbers(&mut alice, 9).await, [1, 2, 3, 4, 5, 4, 5, 6, 7]);
    let held = alice.client.messages(CHAT, None, 10).expect("messages");
    let devices: Vec<_> = held.iter().map(|message| message.device.0).collect();
    assert_eq!(devices, [23, 23, 23, 13, 13, 13, 23]);
    let watermarks = alice.client.watermarks(CHAT);
    assert_eq!((watermarks.peer_delivered, watermarks.peer_read), (2, 1));
}

#[tokio::test]
async fn what_a_restored_server_lost_is_held_no_more() {
    let (world, mut alice, peer) = with_five_messages().await;
    world.rest.set("GET /v1/snapshot", &snapshot("e2", 4, &[(3, [(3, 0), (2, 1)])]));
    let left = page([2, 3].map(|number| bobs(number, "old")).to_vec());
    world.rest.set("GET /v1/conversations/7/messages?before=4", &left);
    drop(peer);
    drop(reset(&world, "e2", 0).await);

    drop(world.connector.accept().await);
    assert_eq!(numbers(&mut alice, 5).await, [1, 2, 3, 4, 5]);
    let held = alice.client.messages(CHAT, None, 10).expect("messages");
    assert!(held.iter().map(|message| message.conv_seq).eq(1..=3), "{held:?}");
    assert_eq!(alice.client.watermarks(CHAT).head, 3);
}

#[tokio::test]
async fn a_message_that_is_applied_again_under_its_old_number_hides_none_below_it() {
    let (world, mut alice, peer) = with_five_messages().await;
    // The backup ended after message 3. Since then 4 is Alice's, from another device, and Bob's
    // device sent its command 5 again: it is message 5 once more.
    let command = sealed_by_another_device(&world).await;
    let again = Message { created_at_ms: 1_700_000_060_000, ..bobs(5, "old") };
    let since = [applied(13, 4, 4, &command), again];
    world.rest.set("GET /v1/snapshot", &snapshot("e2", 9, &[(5, [(5, 0), (2, 1)])]));
    let newest = page([&[bobs(2, "old"), bobs(3, "old")][..], &since].concat());
    world.rest.set("GET /v1/conversations/7/messages?before=6", &newest);
    world.rest.set("GET /v1/conversations/7/messages?after=3", &page(since.to_vec()));
    drop(peer);
    drop(reset(&world, "e2", 0).await);

    drop(world.connector.accept().await);
    assert_eq!(numbers(&mut alice, 7).await, [1, 2, 3, 4, 5, 4, 5]);
    let held = alice.client.messages(CHAT, None, 10).expect("messages");
    let devices: Vec<_> = held.iter().map(|message| message.device.0).collect();
    assert_eq!(devices, [23, 23, 23, 13, 23]);
}

#[tokio::test]
async fn a_reset_of_a_history_that_has_ended_forgets_nothing() {
    let world = World::new().await;
    let (alice, mut peer) = world.online().await;
    alice.client.send(CHAT, "kept").expect("a place in the outbox");
    let command = peer.command().await;
    world.rest.set("GET /v1/snapshot", &snapshot("e3", 9, &[]));
    drop(peer);
    // The server applied it, and was restored from an older copy before the snapshot was taken.
    drop(reset(&world, "e2", 1).await);
    let peer = reset(&world, "e3", 0).await;
    assert_eq!((peer.hello.epoch.as_str(), peer.hello.outbox_trimmed), ("e1", 0));
    drop(peer);

    let mut peer = world.connector.accept().await;
    assert_eq!((peer.hello.epoch.as_str(), peer.hello.position), ("e3", 9));
    peer.send(Frame::Welcome(wire::Welcome {
        epoch: "e3".to_owned(),
        ..crate::support::connector::welcome(9, 0)
    }))
    .await;
    assert_eq!(peer.command().await, command);
}

/// Alice has stored five messages of Bob.
async fn with_five_messages() -> (World, Alice, Peer) {
    let world = World::new().await;
    let (alice, mut peer) = world.online().await;
    for number in 1..=5 {
        peer.entry(number, &entry(number, "old")).await;
    }
    peer.acked(5).await;
    (world, alice, peer)
}

async fn numbers(alice: &mut Alice, count: usize) -> Vec<Seq> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(alice.message().await.0);
    }
    numbers
}

async fn sealed_by_another_device(world: &World) -> bytes::Bytes {
    let session = anser_client::Session::new(crate::support::fixtures::alice(13));
    let other = world.open_as(anser_client::MemoryStorage::default(), session).await;
    let mut peer = world.welcome(0, 0).await;
    other.client.send(CHAT, "from the other device").expect("a place in the outbox");
    let (_, command) = peer.command().await;
    other.client.shutdown().await;
    command
}
