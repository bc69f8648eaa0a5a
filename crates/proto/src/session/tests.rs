//! Tests of the session.

use super::*;

/// All outputs up to the wait or the end.
fn drain(session: &mut Session) -> Vec<Output> {
    let mut all = Vec::new();
    loop {
        let output = session.poll();
        let last = matches!(output, Output::WaitUntil(_) | Output::Closed(_));
        all.push(output);
        if last {
            return all;
        }
    }
}

#[test]
fn a_message_travels_and_comes_back() {
    let now = Instant::now();
    let config = Arc::new(Config { ack_delay: Duration::ZERO, ..Config::default() });
    let hello = wire::Hello { version: 1, ..Default::default() };
    let mut client = Session::client(config.clone(), hello, now);
    let mut server = Session::server(config, now);
    let mut acked = Vec::new();
    for _ in 0..10 {
        for output in drain(&mut client) {
            match output {
                Output::Send(frame) => server.handle_frame(now, frame),
                Output::Event(Event::Welcome(_)) => {
                    client.push(now, Bytes::from_static(b"command")).unwrap();
                }
                Output::Event(Event::Received { seq, .. }) => client.processed(now, seq),
                Output::Event(Event::Acked { position }) => acked.push(("client", position)),
                Output::Closed(closed) => panic!("{closed:?}"),
                _ => {}
            }
        }
        for output in drain(&mut server) {
            match output {
                Output::Send(frame) => client.handle_frame(now, frame),
                Output::Event(Event::Hello(_)) => server.welcome(now, 0, wire::Welcome::default()),
                Output::Event(Event::Received { seq, body }) => {
                    server.processed(now, seq);
                    server.push(now, body).unwrap();
                }
                Output::Event(Event::Acked { position }) => acked.push(("server", position)),
                Output::Closed(closed) => panic!("{closed:?}"),
                _ => {}
            }
        }
    }
    assert_eq!(acked, [("client", 1), ("server", 1)]);
    assert!(size_of::<Session>() <= 400, "{}", size_of::<Session>());
}
