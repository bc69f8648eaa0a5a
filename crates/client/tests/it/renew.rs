//! New devices: what moves over, and who is asked for the session.

use anser_client::{ErrorKind, Event, FileStorage, MemoryStorage, SendState, Session};
use anser_proto::{
    Code, ConversationId, DeviceId, Frame, Seq,
    rest::{Conversation, LoggedIn},
    wire::{self, command_digest, outbox_digest},
};
use prost::Message as _;

use crate::support::{
    Alice, Logins, World,
    connector::{Peer, welcome},
    fixtures::{BOB, CHAT, alice, applied, open_command, own, page, snapshot, user},
    soon,
};

/// Alice's device 12 has sent "one" and "two" without hearing of them, and is refused when it comes
/// back.
async fn refused(world: &World, code: Code, credentials: Logins) -> (Alice, Vec<bytes::Bytes>) {
    let alice = world.open_as(MemoryStorage::default(), credentials).await;
    let mut peer = world.welcome(0, 0).await;
    soon(alice.client.online()).await.expect("online");
    let mut commands = Vec::new();
    for text in ["one", "two"] {
        alice.client.send(CHAT, text).expect("a place in the outbox");
        commands.push(peer.command().await.1);
    }
    world.rest.set("GET /v1/snapshot", &snapshot("e1", 5, &[(1, [(0, 0), (0, 0)])]));
    let history = page(vec![applied(12, 1, 1, &commands[0])]);
    world.rest.set("GET /v1/conversations/7/messages", &history);
    drop(peer);
    world.connector.accept().await.close(code).await;
    (alice, commands)
}

async fn moved(world: &World) -> Peer {
    let mut peer = world.welcome(5, 0).await;
    let hello = &peer.hello;
    assert_eq!((hello.token.as_str(), hello.epoch.as_str()), ("token 13", "e1"));
    assert_eq!((hello.position, hello.outbox_head, hello.outbox_trimmed), (5, 1, 0));
    let (client_seq, command) = peer.command().await;
    assert_eq!(client_seq, 1);
    assert_eq!(open_command(13, 1, &command), "two");
    peer
}

#[tokio::test]
async fn a_stale_device_becomes_a_new_one_and_moves_only_what_was_not_applied() {
    for code in [Code::DeviceStale, Code::Conflict, Code::Unauthenticated] {
        let world = World::new().await;
        let logins = Logins::new([alice(12), alice(13)]);
        let (mut alice, _) = refused(&world, code, logins.clone()).await;
        drop(moved(&world).await);
        let device = alice
            .next(|event| match event {
                Event::NewDevice(device) => Some(device),
                _ => None,
            })
            .await;
        assert_eq!((device, alice.client.device(), logins.left()), (DeviceId(13), device, 0));
        // The old one has ended, so that nothing of it is applied after the history was read.
        assert_eq!(world.rest.asked("DELETE /v1/me/sessions/12"), ["token 13"]);
        assert!(world.rest.is_before("DELETE /v1/me/sessions/12", "GET /v1/conversations/7/"));
    }
}

#[tokio::test]
async fn a_move_that_was_cut_off_and_is_done_again_moves_nothing_that_was_applied() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = || FileStorage::open(folder.path().join("file")).expect("a storage");
    let world = World::new().await;
    let mut first = world.open_as(storage(), Logins::new([alice(12), alice(13)])).await;
    let mut peer = world.welcome(0, 0).await;
    soon(first.client.online()).await.expect("online");
    let mut commands = Vec::new();
    for text in ["one", "two"] {
        first.client.send(CHAT, text).expect("a place in the outbox");
        commands.push(peer.command().await.1);
    }
    let whole = snapshot("e1", 5, &[(1, [(0, 0), (0, 0)])]);
    let mut cut_off = whole.clone();
    // Its history is not to be had: the move ends when the message of the other one is stored.
    let another = Conversation { id: ConversationId(8), ..whole.conversations[0].clone() };
    cut_off.conversations.push(another);
    world.rest.set("GET /v1/snapshot", &cut_off);
    let history = page(vec![applied(12, 1, 1, &commands[0])]);
    world.rest.set("GET /v1/conversations/7/messages", &history);
    world.rest.refuse("GET /v1/conversations/8/messages?after=0", Code::NotFound);
    drop(peer);
    world.connector.accept().await.close(Code::DeviceStale).await;
    first.rest_of_events().await;
    first.client.shutdown().await;

    world.rest.set("GET /v1/snapshot", &whole);
    let again = world.open_as(storage(), Logins::new([alice(14)])).await;
    world.connector.accept().await.close(Code::DeviceStale).await;
    let mut peer = world.welcome(5, 0).await;
    assert_eq!((peer.hello.token.as_str(), peer.hello.outbox_head), ("token 14", 1));
    assert_eq!(open_command(14, 1, &peer.command().await.1), "two");
    again.client.shutdown().await;
}

/// A number that this storage gave to one message, and a newer copy of it to another.
#[tokio::test]
async fn a_message_whose_number_another_copy_used_is_moved() {
    let world = World::new().await;
    let logins = Logins::new([alice(12), alice(13)]);
    let alice = world.open_as(MemoryStorage::default(), logins).await;
    let mut peer = world.welcome(0, 0).await;
    soon(alice.client.online()).await.expect("online");
    let handle = alice.client.send(CHAT, "mine").expect("a place in the outbox");
    let (_, command) = peer.command().await;
    let mut other = applied(12, 1, 1, &command);
    other.body = applied(12, 1, 1, &bytes::Bytes::new()).body;
    world.rest.set("GET /v1/snapshot", &snapshot("e1", 5, &[(1, [(0, 0), (0, 0)])]));
    world.rest.set("GET /v1/conversations/7/messages", &page(vec![other]));
    drop(peer);
    world.connector.accept().await.close(Code::DeviceStale).await;
    let mut peer = world.welcome(5, 0).await;
    assert_eq!(open_command(13, 1, &peer.command().await.1), "mine");
    peer.ack(1).await;
    assert_eq!(soon(handle.sent()).await, SendState::Sent);
}

/// The server's answer to a Hello, which tells of command `position` that it is `command`.
fn knows(is_reset: bool, position: Seq, command: &[u8]) -> Frame {
    let digest = outbox_digest(Some(command_digest(command)));
    let usual = welcome(2, position);
    if is_reset {
        let (epoch, head) = (usual.epoch, usual.head);
        let outbox_position = position;
        return Frame::Reset(wire::Reset { epoch, head, outbox_position, outbox_digest: digest });
    }
    Frame::Welcome(wire::Welcome { outbox_digest: digest, ..usual })
}

/// An old copy that has given out as many numbers again as it lost: no number looks wrong, only the
/// last command is another.
#[tokio::test]
async fn a_last_command_that_is_another_makes_a_new_device_and_moves_all_in_order() {
    let texts = ["one", "two", "three"];
    for (is_reset, position) in [(false, 1), (false, 2), (false, 3), (true, 2)] {
        let world = World::new().await;
        let logins = Logins::new([alice(12), alice(13)]);
        let alice = world.open_as(MemoryStorage::default(), logins.clone()).await;
        let before = world.connector.accept().await;
        let handles = texts.map(|text| alice.client.send(CHAT, text).expect("a place"));
        drop(before);
        let mut peer = world.connector.accept().await;
        assert_eq!((peer.hello.outbox_head, peer.hello.outbox_trimmed), (3, 0));
        world.rest.set("GET /v1/snapshot", &snapshot("e1", 5, &[(0, [(0, 0), (0, 0)])]));
        // The entries of the newer copy come with it, and are nobody's here.
        let entry = |seq| wire::Push { seq, body: own(12, seq, seq).encode_to_vec().into() };
        let entries = [Frame::Push(entry(1)), Frame::Push(entry(2))];
        let answer = knows(is_reset, position, b"of the newer copy");
        peer.send_together([answer].into_iter().chain(entries)).await;
        let said = peer.last_frames().await;
        let stale = |frame: &Frame| matches!(frame, Frame::Close(close) if close.code == 42);
        assert_eq!(said.iter().filter(|frame| stale(frame)).count(), usize::from(!is_reset));
        assert_eq!(said.len(), usize::from(!is_reset), "nothing is acked or pushed: {said:?}");

        let mut peer = world.welcome(5, 0).await;
        assert_eq!((peer.hello.token.as_str(), peer.hello.outbox_head), ("token 13", 3));
        for (number, text) in (1..).zip(texts) {
            let (client_seq, command) = peer.command().await;
            assert_eq!((client_seq, open_command(13, number, &command).as_str()), (number, text));
        }
        peer.ack(3).await;
        for handle in handles {
            assert_eq!(soon(handle.sent()).await, SendState::Sent);
        }
        assert!(alice.client.messages(CHAT, None, 10).expect("messages").is_empty());
    }
}

/// However many commands were applied before the device stored the first entry that names one of
/// them, it stays the device that it is: also after a restart, which forgets what was acked.
#[tokio::test]
async fn a_last_command_that_is_the_same_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = || FileStorage::open(folder.path().join("alice.redb")).expect("a storage");
    let world = World::new().await;
    let open = async || world.open_as(storage(), Logins::new([alice(12)])).await;
    let alice = open().await;
    let mut peer = world.welcome(0, 0).await;
    soon(alice.client.online()).await.expect("online");
    let mut commands = Vec::new();
    for number in 1..=200 {
        alice.client.send(CHAT, format!("{number}")).expect("a place in the outbox");
        commands.push(peer.command().await.1);
        peer.ack(number).await;
    }
    drop(peer);
    // Up to here no entry; then one, which forgets what it names.
    let mut peer = world.connector.accept().await;
    assert_eq!((peer.hello.outbox_head, peer.hello.outbox_trimmed), (200, 0));
    peer.send(knows(false, 199, &commands[198])).await;
    assert_eq!(peer.command().await, (200, commands[199].clone()));
    alice.client.shutdown().await;
    drop(peer);

    let alice = open().await;
    let mut peer = world.connector.accept().await;
    assert_eq!((peer.hello.outbox_head, peer.hello.outbox_trimmed), (200, 0));
    peer.send(knows(false, 198, &commands[197])).await;
    assert_eq!(peer.command().await, (199, commands[198].clone()));
    assert_eq!(peer.command().await, (200, commands[199].clone()));
    peer.entry(1, &own(12, 1, 1)).await;
    peer.acked(1).await;
    drop(peer);
    // What is forgotten is not compared, and what is held is found under its number.
    let mut peer = world.connector.accept().await;
    assert_eq!((peer.hello.outbox_head, peer.hello.outbox_trimmed), (200, 1));
    peer.send(knows(false, 2, &commands[1])).await;
    assert_eq!(peer.command().await, (3, commands[2].clone()));
    assert_eq!(alice.client.device(), DeviceId(12));
}

#[tokio::test]
async fn a_session_whose_snapshot_fails_is_used_again() {
    let world = World::new().await;
    let logins = Logins::new([alice(12), alice(13), alice(14)]);
    let alice = world.open_as(MemoryStorage::default(), logins.clone()).await;
    let mut peer = world.welcome(0, 0).await;
    soon(alice.client.online()).await.expect("online");
    world.rest.refuse("GET /v1/snapshot", Code::Unavailable);
    peer.close(Code::Unauthenticated).await;
    for _ in 0..3 {
        world.connector.accept().await.close(Code::Unauthenticated).await;
    }
    world.rest.set("GET /v1/snapshot", &snapshot("e1", 0, &[]));
    loop {
        let mut peer = world.connector.accept().await;
        if peer.hello.token != "token 12" {
            assert_eq!((peer.hello.token.as_str(), logins.left()), ("token 13", 1));
            return;
        }
        peer.close(Code::Unauthenticated).await;
    }
}

#[tokio::test]
async fn a_token_that_rest_refuses_is_renewed_too() {
    let world = World::new().await;
    let logins = Logins::new([alice(12), alice(13)]);
    let alice = world.open_as(MemoryStorage::default(), logins).await;
    let mut peer = world.welcome(0, 0).await;
    soon(alice.client.online()).await.expect("online");
    // A relation entry names a key that has to be fetched, but the session was revoked.
    world.rest.refuse("GET /v1/relations", Code::Unauthenticated);
    let relation =
        anser_proto::wire::Relation { relation: CHAT.0, key_version: 2, ..<_>::default() };
    let kind = Some(anser_proto::wire::entry::Kind::Relation(relation));
    peer.entry(1, &anser_proto::wire::Entry { kind, ..<_>::default() }).await;
    let peer = world.welcome(0, 0).await;
    assert_eq!(peer.hello.token, "token 13");
    assert_eq!(alice.client.device(), DeviceId(13));
}

#[tokio::test]
async fn the_client_ends_when_no_session_is_to_be_had() {
    let other_user = LoggedIn { user: user(BOB), ..alice(13) };
    let same_device = alice(12);
    let cases = [
        (Logins::new([alice(12)]), Code::WrongPassword),
        (Logins::new([alice(12), other_user]), Code::Forbidden),
        (Logins::new([alice(12), same_device]), Code::Unauthenticated),
    ];
    for (logins, expected) in cases {
        let world = World::new().await;
        let mut alice = world.open_as(MemoryStorage::default(), logins).await;
        let mut peer = world.welcome(0, 0).await;
        soon(alice.client.online()).await.expect("online");
        let handle = alice.client.send(CHAT, "waits").expect("a place in the outbox");
        peer.command().await;
        peer.close(Code::Unauthenticated).await;
        drop(peer);
        let events = alice.rest_of_events().await;
        assert_eq!(events.last(), Some(&Event::Closed { code: Some(expected) }));
        assert_eq!(soon(handle.sent()).await, SendState::Queued);
        let error = alice.client.send(CHAT, "too late").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

#[tokio::test]
async fn what_moved_is_durable_with_the_new_device() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("alice.redb");
    let world = World::new().await;
    let storage = FileStorage::open(&path).expect("a storage");
    let alice = world.open_as(storage, Logins::new([alice(12), alice(13)])).await;
    let mut peer = world.welcome(0, 0).await;
    soon(alice.client.online()).await.expect("online");
    alice.client.send(CHAT, "moved").expect("a place in the outbox");
    alice.client.mark_read(CHAT, 1).expect("a place in the outbox");
    peer.command().await;
    peer.close(Code::Unauthenticated).await;
    drop(peer);
    let mut peer = world.welcome(0, 0).await;
    let pushed = [peer.command().await, peer.command().await];
    alice.client.shutdown().await;
    drop(peer);

    let storage = FileStorage::open(&path).expect("a storage");
    let session = Session::new(crate::support::fixtures::alice(99));
    let again = world.open_as(storage, session).await;
    assert_eq!(again.client.device(), DeviceId(13));
    let mut peer = world.welcome(0, 0).await;
    assert_eq!(peer.hello.outbox_head, 2);
    assert_eq!([peer.command().await, peer.command().await], pushed);
}
