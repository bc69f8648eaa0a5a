//! One test per timer, on a virtual clock.

use super::*;

fn at(seconds: f64, output: &str) -> (f64, String) {
    (seconds, output.to_owned())
}

fn timed_out(seconds: f64) -> [(f64, String); 2] {
    [at(seconds, "send close timed_out"), at(seconds, "closed: timed_out")]
}

#[test]
fn server_waits_for_a_hello_only_so_long() {
    let mut rig = Rig::server();
    assert_eq!(rig.run(4 * SECOND), []);
    assert_eq!(rig.run(10 * SECOND), timed_out(5.0));
}

#[test]
fn client_waits_for_a_welcome_only_so_long() {
    let mut rig = Rig::client();
    rig.run(4 * SECOND);
    assert_eq!(rig.frame(Frame::Pong(wire::Pong { nonce: 1 })), Vec::<String>::new());
    assert_eq!(rig.run(10 * SECOND), timed_out(5.0), "frames other than the answer do not count");
}

#[test]
fn client_pings_every_heartbeat_while_the_server_answers() {
    let mut rig = Rig::open(Side::Client);
    for nonce in 1..=4 {
        let outputs = rig.run(30 * SECOND);
        assert_eq!(outputs, [at(30.0 * nonce as f64, &format!("send ping {nonce}"))]);
        rig.frame(Frame::Pong(wire::Pong { nonce }));
    }
}

#[test]
fn client_takes_the_heartbeat_that_it_is_told() {
    let mut rig = Rig::client();
    rig.frame(Frame::Welcome(wire::Welcome { heartbeat_ms: 2000, ..welcome(0) }));
    let mut expected = vec![at(2.0, "send ping 1"), at(4.0, "send ping 2")];
    expected.extend(timed_out(5.0));
    assert_eq!(rig.run(10 * SECOND), expected);
}

#[test]
fn server_closes_after_two_and_a_half_silent_heartbeats() {
    let mut rig = Rig::open(Side::Server);
    rig.run(70 * SECOND);
    assert_eq!(rig.frame(Frame::Ping(wire::Ping { nonce: 7 })), ["send pong 7"]);
    assert_eq!(rig.run(74 * SECOND), [], "the Ping counts");
    assert_eq!(rig.run(10 * SECOND), timed_out(145.0));
}

#[test]
fn client_closes_after_two_and_a_half_silent_heartbeats() {
    let mut rig = Rig::open(Side::Client);
    let mut expected = vec![at(30.0, "send ping 1"), at(60.0, "send ping 2")];
    expected.extend(timed_out(75.0));
    assert_eq!(rig.run(100 * SECOND), expected);
}

#[test]
fn server_does_not_wait_for_ever_for_its_own_verdict() {
    let mut rig = Rig::server_with_hello();
    assert_eq!(rig.run(100 * SECOND), timed_out(75.0));
}

#[test]
fn ack_leaves_at_the_latest_after_the_delay() {
    let mut rig = Rig::open(Side::Client);
    rig.frame(push(1));
    assert_eq!(rig.run(SECOND), [], "received is not processed");
    assert_eq!(rig.processed(1), Vec::<String>::new());
    rig.now += Duration::from_millis(60);
    rig.frame(push(2));
    assert_eq!(rig.processed(2), Vec::<String>::new());
    assert_eq!(rig.run(SECOND), [at(1.1, "send ack 2")], "counted from the first");
    assert_eq!(rig.run(20 * SECOND), [], "and once");
}

#[test]
fn ack_leaves_at_once_when_the_delay_is_zero() {
    let config = Config { ack_delay: Duration::ZERO, ..Config::default() };
    let mut rig = Rig::open_with(Side::Server, config);
    rig.frame(push(1));
    assert_eq!(rig.processed(1), ["send ack 1"]);
    assert_eq!(rig.processed(1), Vec::<String>::new(), "nothing new");
}

#[test]
fn ack_leaves_at_once_at_a_quarter_of_the_window() {
    let mut rig = Rig::open(Side::Client);
    for seq in 1..=64 {
        rig.frame(push(seq));
    }
    assert_eq!(rig.processed(63), Vec::<String>::new());
    assert_eq!(rig.processed(64), ["send ack 64"]);
    assert_eq!(rig.run(SECOND), [], "the delay timer is off again");
}

#[test]
fn ack_quarter_is_of_the_window_that_the_server_told() {
    let mut rig = Rig::client();
    let limits = wire::Limits { entries_in_flight_max: 8, ..Default::default() };
    rig.frame(Frame::Welcome(wire::Welcome { limits: Some(limits), ..welcome(0) }));
    rig.frame(push(1));
    rig.frame(push(2));
    assert_eq!(rig.processed(1), Vec::<String>::new());
    assert_eq!(rig.processed(2), ["send ack 2"]);
}

/// Like `run`, but answers `Resend` and lets the peer stay alive.
fn run_resending(rig: &mut Rig, time: Duration, answer_pings: bool) -> Vec<(f64, String)> {
    let end = rig.now + time;
    let mut all = Vec::new();
    while rig.now < end && rig.session.state != State::Closed {
        let outputs = rig.run(SECOND);
        for (_, output) in &outputs {
            if let Some(seq) = output.strip_prefix("resend ") {
                let seq = seq.parse().unwrap();
                rig.session.resend(rig.now, seq, Bytes::from_static(b"again"));
            }
            if let Some(nonce) = output.strip_prefix("send ping ")
                && answer_pings
            {
                let nonce = nonce.parse().unwrap();
                rig.session.handle_frame(rig.now, Frame::Pong(wire::Pong { nonce }));
            }
        }
        all.extend(outputs);
    }
    all
}

#[test]
fn server_resends_the_oldest_twice_and_then_closes() {
    let mut rig = Rig::open(Side::Server);
    rig.push(b"one").unwrap();
    rig.push(b"two").unwrap();
    let mut expected = vec![
        at(10.0, "resend 1"),
        at(10.0, "send push 1"),
        at(20.0, "resend 1"),
        at(20.0, "send push 1"),
    ];
    expected.extend(timed_out(30.0));
    assert_eq!(run_resending(&mut rig, 60 * SECOND, false), expected);
}

#[test]
fn client_resends_the_oldest_twice_and_then_closes_when_no_pong_comes() {
    let mut rig = Rig::open(Side::Client);
    // Says nothing of the time after the push.
    rig.frame(Frame::Pong(wire::Pong { nonce: 1 }));
    rig.push(b"one").unwrap();
    let mut expected = vec![
        at(10.0, "resend 1"),
        at(10.0, "send push 1"),
        at(20.0, "resend 1"),
        at(20.0, "send push 1"),
    ];
    expected.extend(timed_out(30.0));
    let mut outputs = run_resending(&mut rig, 60 * SECOND, false);
    outputs.retain(|(_, output)| !output.starts_with("send ping"));
    assert_eq!(outputs, expected);
}

#[test]
fn progress_resets_the_ack_timer_and_the_count_of_resends() {
    let mut rig = Rig::open(Side::Server);
    rig.push(b"one").unwrap();
    rig.push(b"two").unwrap();
    assert_eq!(rig.run(25 * SECOND), [at(10.0, "resend 1"), at(20.0, "resend 1")]);
    assert_eq!(rig.frame(ack(1)), ["acked 1"]);
    let mut expected = vec![at(35.0, "resend 2"), at(45.0, "resend 2")];
    expected.extend(timed_out(55.0));
    assert_eq!(rig.run(60 * SECOND), expected);
}

#[test]
fn ack_timer_runs_from_the_last_byte_and_stops_with_the_last_ack() {
    let mut rig = Rig::open(Side::Server);
    rig.session.push(rig.now, Bytes::from_static(b"slow")).unwrap();
    rig.drain();
    rig.now += 20 * SECOND;
    rig.session.handle_timeout(rig.now);
    assert_eq!(rig.drain(), Vec::<String>::new(), "the bytes are still here");
    rig.session.written(rig.now);
    rig.now += 10 * SECOND;
    rig.session.handle_timeout(rig.now);
    assert_eq!(rig.drain(), ["resend 1"]);
    rig.session.resend(rig.now, 1, Bytes::from_static(b"again"));
    assert_eq!(rig.drain(), ["send push 1"]);
    rig.now += 5 * SECOND;
    rig.session.written(rig.now);
    assert_eq!(rig.run(11 * SECOND), [at(45.0, "resend 1")]);
    rig.frame(ack(1));
    assert_eq!(rig.run(40 * SECOND), []);
    rig.session.resend(rig.now, 1, Bytes::from_static(b"late"));
    assert_eq!(rig.drain(), Vec::<String>::new(), "acked meanwhile");
}

#[test]
fn ack_timer_waits_for_what_has_not_left_yet() {
    let mut rig = Rig::open(Side::Server);
    rig.push(b"left").unwrap();
    rig.session.push(rig.now, Bytes::from_static(b"stuck")).unwrap();
    rig.drain();
    assert_eq!(rig.frame(ack(1)), ["acked 1"]);
    rig.now += 20 * SECOND;
    rig.session.handle_timeout(rig.now);
    assert_eq!(rig.drain(), Vec::<String>::new(), "nothing that left is unacked");
    rig.session.written(rig.now);
    assert_eq!(rig.run(11 * SECOND), [at(30.0, "resend 2")]);
}

#[test]
fn commands_wait_while_the_server_answers_pings() {
    let mut rig = Rig::open(Side::Client);
    rig.push(b"command").unwrap();
    let outputs = run_resending(&mut rig, 600 * SECOND, true);
    let resends = outputs.iter().filter(|(_, output)| output.starts_with("resend")).count();
    assert_eq!(resends, 1, "the first expiry has no Pong before it: {outputs:?}");
    assert_eq!(rig.session.next_push(), Some(2), "still open");
    // Then the server dies: no Pong any more.
    let outputs = run_resending(&mut rig, 100 * SECOND, false);
    assert_eq!(outputs.last().unwrap().1, "closed: timed_out");
    let resends = outputs.iter().filter(|(_, output)| output.starts_with("resend")).count();
    assert_eq!(resends, 1, "{outputs:?}");
}

#[test]
fn entries_do_not_wait_for_a_client_that_only_pings() {
    let mut rig = Rig::open(Side::Server);
    rig.push(b"entry").unwrap();
    let mut closed = false;
    for nonce in 1..=40 {
        rig.frame(Frame::Ping(wire::Ping { nonce }));
        closed |= rig.run(SECOND).iter().any(|(_, output)| output == "closed: timed_out");
    }
    assert!(closed);
}

#[test]
fn calling_early_is_harmless() {
    let mut rig = Rig::open(Side::Client);
    rig.push(b"command").unwrap();
    for _ in 0..9 {
        rig.now += SECOND;
        rig.session.handle_timeout(rig.now);
        assert_eq!(rig.drain(), Vec::<String>::new());
    }
}
