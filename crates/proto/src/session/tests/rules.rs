//! Numbers, windows, CaughtUp, endings.

use super::*;

#[test]
fn a_gap_closes_with_the_code_of_the_log() {
    let gap = Rig::open(Side::Server).frame(push(2));
    assert_eq!(gap, ["send close outbox_gap", "closed: outbox_gap"]);
    let gap = Rig::open(Side::Client).frame(push(2));
    assert_eq!(gap, ["send close inbox_gap", "closed: inbox_gap"]);
}

#[test]
fn a_repeat_is_dropped_and_acked_again_but_never_above_processed() {
    let mut rig = Rig::open(Side::Client);
    assert_eq!(rig.frame(push(1)), ["received 1"]);
    assert_eq!(rig.frame(push(2)), ["received 2"]);
    assert_eq!(rig.frame(push(2)), ["send ack 0"]);
    rig.processed(1);
    assert_eq!(rig.frame(push(2)), ["send ack 1"]);
    assert_eq!(rig.frame(push(1)), ["send ack 1"]);
    assert_eq!(rig.session.received(), 2);
}

#[test]
fn a_repeated_command_is_also_given_out_to_be_compared() {
    let mut rig = Rig::open(Side::Server);
    assert_eq!(rig.frame(push(1)), ["received 1"]);
    assert_eq!(rig.frame(push(1)), ["repeated 1", "send ack 0"]);
    rig.processed(1);
    assert_eq!(rig.frame(push(1)), ["repeated 1", "send ack 1"]);
    assert_eq!(rig.session.received(), 1);
}

#[test]
fn more_unprocessed_than_the_window_closes() {
    for (side, window) in [(Side::Server, 64), (Side::Client, 256)] {
        let mut rig = Rig::open(side);
        for seq in 1..=window {
            assert_eq!(rig.frame(push(seq)), [format!("received {seq}")]);
        }
        rig.processed(1);
        assert_eq!(rig.frame(push(window + 1)), [format!("received {}", window + 1)]);
        let exceeded = rig.frame(push(window + 2));
        // The last words ack what is durable.
        assert_eq!(
            exceeded,
            ["send ack 1", "send close window_exceeded", "closed: window_exceeded"]
        );
    }
}

#[test]
fn acks_move_the_window_and_only_forward() {
    for side in [Side::Client, Side::Server] {
        let mut rig = Rig::open(side);
        for _ in 0..3 {
            rig.push(b"body").unwrap();
        }
        assert_eq!(rig.frame(ack(2)), ["acked 2"]);
        assert_eq!(rig.frame(ack(2)), Vec::<String>::new());
        assert_eq!(rig.frame(ack(1)), Vec::<String>::new());
        assert_eq!(rig.session.acked(), 2);
        let above = rig.frame(ack(4));
        assert_eq!(above, ["send close ack_above_head", "closed: ack_above_head"]);
    }
}

#[test]
fn windows_count_commands_and_entries() {
    for (side, window) in [(Side::Client, 64), (Side::Server, 256)] {
        let mut rig = Rig::open(side);
        for seq in 1..=window {
            assert_eq!(rig.session.next_push(), Some(seq));
            assert_eq!(rig.push(b"body"), Ok(seq));
        }
        assert_eq!(rig.session.next_push(), None);
        assert_eq!(rig.push(b"body"), Err(WindowFull));
        rig.frame(ack(1));
        assert_eq!(rig.push(b"body"), Ok(window + 1));
        assert_eq!(rig.push(b"body"), Err(WindowFull));
    }
}

#[test]
fn client_stays_within_the_command_window_that_it_is_told() {
    for (told, window) in [(0, 64), (3, 3), (1000, 64)] {
        let mut rig = Rig::client();
        let limits = wire::Limits { commands_in_flight_max: told, ..Default::default() };
        rig.frame(Frame::Welcome(wire::Welcome { limits: Some(limits), ..welcome(0) }));
        let pushed = std::iter::from_fn(|| rig.push(b"body").ok()).count();
        assert_eq!(pushed, window, "told {told}");
    }
}

#[test]
fn server_window_counts_bytes_and_one_body_always_fits() {
    let config = Config { entry_bytes_max: 10, ..Config::default() };
    let mut rig = Rig::open_with(Side::Server, config);
    rig.push(b"longer than the window").unwrap();
    assert_eq!(rig.session.next_push(), None);
    assert_eq!(rig.push(b""), Err(WindowFull));
    rig.frame(ack(1));
    rig.push(b"12345").unwrap();
    assert_eq!(rig.push(b"123456"), Err(WindowFull), "11 bytes");
    rig.push(b"12345").unwrap();
    assert_eq!(rig.session.next_push(), None);
    rig.frame(ack(2));
    rig.push(b"12345").unwrap();
}

#[test]
fn caught_up_follows_the_entry_head_once() {
    let mut rig = Rig::server();
    rig.frame(Frame::Hello(hello(3, 0)));
    rig.session.welcome(rig.now, 3, welcome(5));
    assert_eq!(rig.drain(), ["send welcome"]);
    for expected in [
        &["send push 4"][..],
        &["send push 5", "send caught_up"],
        &["send push 6"],
        &["send push 7"],
    ] {
        rig.session.push(rig.now, Bytes::new()).unwrap();
        assert_eq!(rig.drain(), expected);
    }
}

#[test]
fn caught_up_before_the_entry_head_is_a_gap() {
    let mut rig = Rig::client();
    rig.frame(Frame::Welcome(welcome(2)));
    rig.frame(push(1));
    let got = rig.frame(Frame::CaughtUp(wire::CaughtUp {}));
    assert_eq!(got, ["send close inbox_gap", "closed: inbox_gap"]);
}

#[test]
fn logs_continue_where_the_handshake_says() {
    let mut client = Rig::new(Side::Client, Config::default());
    client.session = Session::client(client.session.config.clone(), hello(7, 9), client.now);
    client.drain();
    client.frame(Frame::Welcome(wire::Welcome { outbox_position: 4, ..welcome(8) }));
    assert_eq!((client.session.acked(), client.session.received()), (4, 7));
    assert_eq!(client.session.next_push(), Some(5));
    assert_eq!(client.frame(push(8)), ["received 8"]);
    assert_eq!(client.processed(8), Vec::<String>::new());

    let mut server = Rig::server();
    server.frame(Frame::Hello(hello(7, 9)));
    let welcome = wire::Welcome { outbox_position: 4, ..welcome(8) };
    server.session.welcome(server.now, 7, welcome);
    server.drain();
    assert_eq!(server.session.next_push(), Some(8));
    assert_eq!(server.frame(push(5)), ["received 5"]);
    assert_eq!(server.frame(push(4)), ["repeated 4", "send ack 4"], "a repeat of what is applied");
}

#[test]
fn client_refuses_a_welcome_that_contradicts_its_storage() {
    let answer = |welcome| {
        let now = Instant::now();
        let mut session = Session::client(Arc::new(Config::default()), hello(7, 9), now);
        session.handle_frame(now, Frame::Welcome(welcome));
        Rig { session, start: now, now }.drain().pop().unwrap()
    };
    let good = wire::Welcome { outbox_position: 9, floor: 8, ..welcome(7) };
    assert_eq!(answer(good.clone()), "welcome");
    let rolled_back = wire::Welcome { outbox_position: 10, ..good.clone() };
    assert_eq!(answer(rolled_back), "closed: device_stale");
    assert_eq!(answer(wire::Welcome { head: 6, ..good.clone() }), "closed: inbox_gap");
    assert_eq!(answer(wire::Welcome { floor: 9, ..good }), "closed: inbox_gap");
}

#[test]
fn nothing_is_pushed_before_welcome_or_after_close() {
    for mut rig in [Rig::client(), Rig::server(), Rig::server_with_hello()] {
        assert_eq!(rig.session.next_push(), None);
        assert_eq!(rig.push(b"early"), Err(WindowFull));
        assert_eq!(rig.drain(), Vec::<String>::new());
        rig.session.close(Code::Normal);
        rig.drain();
        assert_eq!(rig.push(b"late"), Err(WindowFull));
    }
}

#[test]
fn client_keeps_its_token_no_longer_than_the_hello() {
    let mut rig = Rig::new(Side::Client, Config::default());
    let Output::Send(Frame::Hello(said)) = rig.session.poll() else { panic!("Hello comes first") };
    assert_eq!(said.token, "secret");
    assert_eq!(rig.session.hello.as_ref().map(|kept| kept.token.as_str()), Some(""));
}

#[test]
fn reset_ends_the_session_at_both_ends() {
    let mut server = Rig::server_with_hello();
    server.session.reset(wire::Reset::default());
    assert_eq!(server.drain(), ["send reset", "closed: normal"]);
    let mut client = Rig::client();
    assert_eq!(
        client.frame(Frame::Reset(wire::Reset::default())),
        ["reset", "closed by peer: normal"]
    );
    assert_eq!(client.frame(push(1)), ["closed by peer: normal"]);
}

#[test]
fn go_away_is_told_and_the_session_goes_on() {
    let mut rig = Rig::open(Side::Server);
    rig.session.go_away(10 * SECOND);
    assert_eq!(rig.drain(), ["send go_away 10000"]);
    rig.push(b"still here").unwrap();
    rig.session.go_away(Duration::MAX);
    assert_eq!(rig.drain(), [format!("send go_away {}", u32::MAX)]);
}

#[test]
fn closing_says_why_and_acks_what_is_durable() {
    let mut rig = Rig::open(Side::Client);
    rig.frame(push(1));
    rig.processed(1);
    rig.session.close_with(Code::GoingAway, "Lunch.".to_owned());
    rig.session.close(Code::Internal);
    assert_eq!(rig.drain(), ["send ack 1", "send close going_away", "closed: going_away"]);
    let Output::Closed(closed) = rig.session.poll() else { panic!("Closed repeats") };
    assert_eq!((closed.by_peer, closed.text.as_str()), (false, "Lunch."));
    rig.session.processed(rig.now, 99);
    rig.session.written(rig.now);
    rig.session.handle_timeout(rig.now + 1000 * SECOND);
    assert_eq!(rig.drain(), ["closed: going_away"], "all input is ignored");
}

#[test]
fn unknown_close_codes_and_long_texts_are_survived() {
    let mut rig = Rig::open(Side::Client);
    let text = "é".repeat(10_000);
    rig.session.handle_frame(rig.now, Frame::Close(wire::Close { code: 9999, text }));
    let Output::Closed(closed) = rig.session.poll() else { panic!("closed at once") };
    assert_eq!((closed.code, closed.by_peer, closed.text.len()), (None, true, 256));
}

#[test]
fn misuse_is_asserted() {
    let panics = |misuse: fn(&mut Rig)| {
        let mut rig = Rig::open(Side::Client);
        rig.frame(push(1));
        rig.frame(push(2));
        rig.processed(1);
        let quiet = std::panic::AssertUnwindSafe(|| misuse(&mut rig));
        std::panic::catch_unwind(quiet).is_err()
    };
    assert!(!panics(|rig| rig.session.processed(rig.now, 2)));
    assert!(panics(|rig| rig.session.processed(rig.now, 3)), "never received");
    assert!(panics(|rig| rig.session.processed(rig.now, 0)), "goes back");
    assert!(panics(|rig| rig.session.resend(rig.now, 1, Bytes::new())), "never pushed");
    assert!(panics(|rig| rig.session.go_away(SECOND)), "a client");
    assert!(panics(|rig| rig.session.welcome(rig.now, 0, welcome(0))), "no Hello");
    assert!(panics(|rig| rig.session.reset(wire::Reset::default())), "no Hello");
}

#[test]
fn an_idle_server_session_is_small_and_has_no_heap() {
    let bytes = size_of::<Session>();
    assert!(bytes <= 400, "{bytes}: with 10,000 idle connections every byte counts");
    let mut rig = Rig::open(Side::Server);
    for seq in 1..=100 {
        rig.session.handle_frame(rig.now, push(seq));
        rig.session.push(rig.now, Bytes::from_static(b"entry")).unwrap();
        if seq % 50 == 0 {
            assert!(rig.session.heap_bytes() > 0, "busy");
            rig.session.processed(rig.now, seq);
            rig.drain();
        }
    }
    rig.frame(ack(100));
    rig.frame(Frame::Ping(wire::Ping { nonce: 1 }));
    assert_eq!(rig.session.heap_bytes(), 0);
}

impl Session {
    fn heap_bytes(&self) -> usize {
        self.outputs.heap_bytes()
            + self.outbound.heap_bytes()
            + self.hello.as_ref().map_or(0, |_| size_of::<wire::Hello>())
            + self.closed.as_ref().map_or(0, |_| size_of::<Closed>())
    }
}
