//! A wrong or hostile client gets a clear answer, and the others notice nothing. A file for each
//! class of incidents that others had; here is what frames can do wrong.

mod dumps;
mod handshakes;
mod lengths;
mod memory;
mod names;
mod rows;
mod secrets;
mod tokens;
mod wire;

use anser_proto::{Code, ConversationId, Frame, wire as frames};
use anser_server::config::Config;
use bytes::Bytes;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    task::JoinSet,
};

use crate::support::{
    raw::{Raw, hello, push, send},
    server::{Account, Server},
};

/// Two friends, one of them online, and what they need to notice harm.
struct Scene {
    server: Server,
    alice: Account,
    friends: ConversationId,
    bob_online: Raw,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let server = Server::start_with(change).await;
        let [alice, bob] = server.accounts(["alice", "bob"]).await;
        let friends = server.befriend(&alice, &bob).await;
        let bob_online = Raw::online(&server, &bob).await;
        Self { server, alice, friends, bob_online }
    }

    async fn alice_online(&self) -> Raw {
        Raw::online(&self.server, &self.alice).await
    }

    /// Bob still gets what a well-behaved Alice sends as her command `client_seq`.
    async fn others_notice_nothing(mut self, client_seq: u64) {
        let mut alice = Raw::connect(&self.server).await;
        alice.send(hello(&self.server, &self.alice, 0, client_seq).await).await;
        alice.welcome().await;
        alice.send(push(client_seq, send(self.friends, b"all is well"))).await;
        alice.acked(client_seq).await;
        loop {
            let (_, entry) = self.bob_online.entry().await;
            if entry.body == "all is well" {
                break;
            }
        }
        self.server.stop().await;
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_closes() {
    let scene = Scene::start().await;
    let mut alice = scene.alice_online().await;
    alice.send_bytes(&(64 * 1024 + 1_u32).to_be_bytes()).await;
    assert_eq!(alice.closed().await, Code::FrameTooLarge);
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn garbage_closes() {
    let scene = Scene::start().await;
    let mut alice = scene.alice_online().await;
    alice.send_bytes(&[0, 0, 0, 3, 0xff, 0xff, 0xff]).await;
    assert_eq!(alice.closed().await, Code::Malformed);
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn half_a_frame_waits_for_the_rest() {
    let scene = Scene::start().await;
    let mut alice = scene.alice_online().await;
    let mut bytes = bytes::BytesMut::new();
    anser_proto::frame::encode(&push(1, send(scene.friends, b"in pieces")), &mut bytes);
    for byte in &bytes {
        alice.send_bytes(&[*byte]).await;
    }
    alice.acked(1).await;
    scene.others_notice_nothing(2).await;
}

#[tokio::test]
async fn no_hello_times_out() {
    let mut server = Server::start_with(|config| {
        config.connector.hello_timeout = std::time::Duration::from_millis(50);
    })
    .await;
    let mut silent = Raw::connect(&server).await;
    // The first byte makes it a frame connection; nothing else comes.
    silent.send_bytes(&[0]).await;
    assert_eq!(silent.closed().await, Code::TimedOut);
    let mut mute = Raw::connect(&server).await;
    assert!(mute.try_next().await.is_none(), "a socket that says nothing at all is closed");
    server.stop().await;
}

/// From another address than everybody else: the limit is one of each address.
#[tokio::test]
async fn thousands_of_silent_sockets_take_no_place_from_others() {
    const SOCKETS: usize = 2_000;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit up to the hard one");
    let scene = Scene::start().await;
    let welcome = Config::default().connector.unauthenticated_per_address;
    let mut silent = JoinSet::new();
    for _ in 0..SOCKETS {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 2], 0).into()).expect("a second loopback address");
        let mut stream = socket.connect(scene.server.connector).await.expect("a connection");
        // Begins a frame and says no more. What is let in is told that it timed out.
        silent.spawn(async move {
            let _ = stream.write_all(&[0]).await;
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard).await;
            heard.len()
        });
    }
    for _ in welcome..SOCKETS {
        let heard = silent.join_next().await.expect("a socket").expect("no panic");
        assert_eq!(heard, 0, "it was let in and timed out");
    }
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn a_command_before_hello_closes() {
    let scene = Scene::start().await;
    let mut alice = Raw::connect(&scene.server).await;
    alice.send(push(1, send(scene.friends, b"too early"))).await;
    assert_eq!(alice.closed().await, Code::UnexpectedFrame);
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn hello_twice_closes() {
    let scene = Scene::start().await;
    let mut alice = scene.alice_online().await;
    alice.send(hello(&scene.server, &scene.alice, 0, 0).await).await;
    assert_eq!(alice.closed().await, Code::UnexpectedFrame);
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn a_foreign_token_closes() {
    let scene = Scene::start().await;
    let mut alice = Raw::connect(&scene.server).await;
    let thief = Account { token: "anser_0000".into(), ..scene.alice.clone() };
    alice.send(hello(&scene.server, &thief, 0, 0).await).await;
    assert_eq!(alice.closed().await, Code::Unauthenticated);
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn another_protocol_version_closes() {
    let scene = Scene::start().await;
    let mut alice = Raw::connect(&scene.server).await;
    alice.send(Frame::Hello(frames::Hello { version: 2, ..<_>::default() })).await;
    assert_eq!(alice.closed().await, Code::UnsupportedVersion);
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn an_ack_above_the_head_closes() {
    let scene = Scene::start().await;
    let mut alice = scene.alice_online().await;
    alice.send(Frame::Ack(frames::Ack { position: 1_000 })).await;
    assert_eq!(alice.closed().await, Code::AckAboveHead);
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn a_gap_in_the_outbox_closes_and_is_not_applied() {
    let scene = Scene::start().await;
    let mut alice = scene.alice_online().await;
    alice.send(push(2, send(scene.friends, b"before its time"))).await;
    assert_eq!(alice.closed().await, Code::OutboxGap);
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn the_same_number_with_another_payload_is_a_conflict() {
    let scene = Scene::start().await;
    let mut alice = scene.alice_online().await;
    alice.send(push(1, send(scene.friends, b"one thing"))).await;
    alice.acked(1).await;
    alice.send(push(1, send(scene.friends, b"one thing"))).await;
    alice.acked(1).await;
    alice.send(push(1, send(scene.friends, b"another"))).await;
    assert_eq!(alice.closed().await, Code::Conflict);
    scene.others_notice_nothing(2).await;
}

#[tokio::test]
async fn a_rolled_back_client_is_stale() {
    let scene = Scene::start().await;
    let mut alice = scene.alice_online().await;
    alice.send(push(1, send(scene.friends, b"sent before the roll-back"))).await;
    alice.acked(1).await;
    let mut rolled_back = Raw::connect(&scene.server).await;
    rolled_back.send(hello(&scene.server, &scene.alice, 0, 0).await).await;
    assert_eq!(rolled_back.closed().await, Code::DeviceStale);
    scene.others_notice_nothing(2).await;
}

#[tokio::test]
async fn a_message_to_strangers_is_rejected_in_place() {
    let scene = Scene::start().await;
    let [mallory] = scene.server.accounts(["mallory"]).await;
    let mut stranger = Raw::online(&scene.server, &mallory).await;
    stranger.send(push(1, send(scene.friends, b"let me in"))).await;
    assert_rejected(&mut stranger, 1, Code::NotMember).await;
    stranger.send(push(2, send(ConversationId(123_456), b"anybody?"))).await;
    assert_rejected(&mut stranger, 2, Code::NotMember).await;
    scene.others_notice_nothing(1).await;
}

#[tokio::test]
async fn a_body_too_large_and_an_unknown_command_are_rejected_in_place() {
    let scene = Scene::start().await;
    let mut alice = scene.alice_online().await;
    alice.send(push(1, send(scene.friends, &[7; 16 * 1024 + 1]))).await;
    assert_rejected(&mut alice, 1, Code::BodyTooLarge).await;
    // Field 14 is no kind of command yet: a newer client's.
    alice.send(push(2, Bytes::from_static(&[0x72, 0x00]))).await;
    assert_rejected(&mut alice, 2, Code::UnknownCommand).await;
    alice.send(push(3, send(scene.friends, b""))).await;
    assert_rejected(&mut alice, 3, Code::BodyEmpty).await;
    scene.others_notice_nothing(4).await;
}

async fn assert_rejected(raw: &mut Raw, client_seq: u64, code: Code) {
    loop {
        let (_, entry) = raw.entry().await;
        if let Some(frames::entry::Kind::Rejected(rejected)) = entry.kind
            && rejected.client_seq == client_seq
        {
            assert_eq!(rejected.code, code.number());
            return;
        }
    }
}
