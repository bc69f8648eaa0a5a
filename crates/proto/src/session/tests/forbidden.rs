//! Which frame is allowed in which state at which end: the whole table.

use super::*;

/// One of each kind, with numbers that are fine in themselves.
fn frames() -> Vec<Frame> {
    vec![
        Frame::Hello(hello(0, 0)),
        Frame::Welcome(welcome(0)),
        Frame::Reset(wire::Reset::default()),
        push(1),
        ack(0),
        Frame::CaughtUp(wire::CaughtUp {}),
        Frame::Ping(wire::Ping { nonce: 5 }),
        Frame::Pong(wire::Pong { nonce: 5 }),
        Frame::Notify(wire::Notify { body: Bytes::from_static(b"typing") }),
        Frame::GoAway(wire::GoAway { after_ms: 1500 }),
        Frame::Close(wire::Close { code: 2, text: "bye".to_owned() }),
    ]
}

/// Feeds each frame to a fresh session and compares what comes out with the table's line.
/// `!` stands for the close with `unexpected_frame`, an empty line for silence.
fn check(state: &str, rig: fn() -> Rig, expected: [&str; 11]) {
    for (frame, expected) in frames().into_iter().zip(expected) {
        let name = frame_words(&frame);
        let got = rig().frame(frame).join(", ");
        let expected = match expected {
            "!" => "send close unexpected_frame, closed: unexpected_frame",
            other => other,
        };
        assert_eq!(got, expected, "{name} in {state}");
    }
}

#[test]
fn server_before_hello() {
    let expected =
        ["hello", "!", "!", "!", "!", "!", "!", "!", "!", "!", "closed by peer: going_away"];
    check("a server before Hello", Rig::server, expected);
}

#[test]
fn server_before_its_verdict() {
    check(
        "a server before welcome()",
        Rig::server_with_hello,
        ["!", "!", "!", "!", "!", "!", "send pong 5", "", "", "!", "closed by peer: going_away"],
    );
}

#[test]
fn server_open() {
    check(
        "an open server",
        || Rig::open(Side::Server),
        [
            "!",
            "!",
            "!",
            "received 1",
            "",
            "!",
            "send pong 5",
            "",
            "notify",
            "!",
            "closed by peer: going_away",
        ],
    );
}

#[test]
fn client_before_welcome() {
    check(
        "a client before Welcome",
        Rig::client,
        [
            "!",
            "welcome",
            "reset, closed by peer: normal",
            "!",
            "!",
            "!",
            "send pong 5",
            "",
            "",
            "go_away 1.5s",
            "closed by peer: going_away",
        ],
    );
}

#[test]
fn client_open() {
    check(
        "an open client",
        || Rig::open(Side::Client),
        [
            "!",
            "!",
            "!",
            "received 1",
            "",
            "caught_up",
            "send pong 5",
            "",
            "notify",
            "go_away 1.5s",
            "closed by peer: going_away",
        ],
    );
}

#[test]
fn client_that_caught_up() {
    let mut rig = Rig::open(Side::Client);
    assert_eq!(rig.frame(Frame::CaughtUp(wire::CaughtUp {})), ["caught_up"]);
    assert_eq!(
        rig.frame(Frame::CaughtUp(wire::CaughtUp {})),
        ["send close unexpected_frame", "closed: unexpected_frame"]
    );
}

#[test]
fn closed_sessions_hear_nothing() {
    for side in [Side::Client, Side::Server] {
        for frame in frames() {
            let mut rig = Rig::open(side);
            rig.session.close(Code::Normal);
            assert_eq!(rig.drain(), ["send close normal", "closed: normal"]);
            assert_eq!(rig.frame(frame), ["closed: normal"]);
        }
    }
}

#[test]
fn numbers_from_2_pow_53_on_are_malformed() {
    let big = NUMBER_MAX;
    let malformed = ["send close malformed", "closed: malformed"];
    let hellos = [
        wire::Hello { position: big, ..hello(0, 0) },
        wire::Hello { outbox_head: big, ..hello(0, 0) },
        wire::Hello { outbox_head: big, outbox_trimmed: big, ..hello(0, 0) },
        wire::Hello { outbox_head: 1, outbox_trimmed: 2, ..hello(0, 0) },
    ];
    for hello in hellos {
        assert_eq!(Rig::server().frame(Frame::Hello(hello)), malformed);
    }
    let answers = [
        Frame::Welcome(welcome(big)),
        Frame::Welcome(wire::Welcome { floor: big, ..welcome(0) }),
        Frame::Welcome(wire::Welcome { outbox_position: big, ..welcome(0) }),
        Frame::Reset(wire::Reset { head: big, ..Default::default() }),
        Frame::Reset(wire::Reset { outbox_position: big, ..Default::default() }),
    ];
    for answer in answers {
        assert_eq!(Rig::client().frame(answer), malformed);
    }
    let frames = [
        push(big),
        push(0),
        push(u64::MAX),
        ack(big),
        Frame::Ping(wire::Ping { nonce: big }),
        Frame::Pong(wire::Pong { nonce: big }),
    ];
    for side in [Side::Client, Side::Server] {
        for frame in frames.clone() {
            let words = frame_words(&frame);
            assert_eq!(Rig::open(side).frame(frame), malformed, "{words} at a {side:?}");
        }
    }
}

#[test]
fn other_versions_are_refused() {
    for version in [0, 2, u32::MAX] {
        let got = Rig::server().frame(Frame::Hello(wire::Hello { version, ..hello(0, 0) }));
        assert_eq!(got, ["send close unsupported_version", "closed: unsupported_version"]);
    }
}
