//! Tests of the session. [`Rig`] is one session with a clock moved by hand; `pair` is two of them
//! over a bad link.

mod forbidden;
mod model;
mod pair;
mod rules;
mod timers;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// One session, alone with the test.
struct Rig {
    session: Session,
    start: Instant,
    now: Instant,
}

impl Rig {
    fn new(side: Side, config: Config) -> Self {
        let now = Instant::now();
        let session = match side {
            Side::Client => Session::client(Arc::new(config), hello(0, 0), now),
            Side::Server => Session::server(Arc::new(config), now),
        };
        Self { session, start: now, now }
    }

    /// A client that said Hello(position 0, outbox head 0).
    fn client() -> Self {
        let mut rig = Self::new(Side::Client, Config::default());
        assert_eq!(rig.drain(), ["send hello"]);
        rig
    }

    /// A server that heard nothing yet.
    fn server() -> Self {
        Self::new(Side::Server, Config::default())
    }

    /// A server whose caller must answer the Hello.
    fn server_with_hello() -> Self {
        let mut rig = Self::server();
        assert_eq!(rig.frame(Frame::Hello(hello(0, 0))), ["hello"]);
        rig
    }

    /// Either end right after Welcome of an empty inbox.
    fn open(side: Side) -> Self {
        Self::open_with(side, Config::default())
    }

    fn open_with(side: Side, config: Config) -> Self {
        let mut rig = Self::new(side, config);
        match side {
            Side::Client => {
                rig.drain();
                assert_eq!(rig.frame(Frame::Welcome(welcome(0))), ["welcome"]);
            }
            Side::Server => {
                rig.frame(Frame::Hello(hello(0, 0)));
                rig.session.welcome(rig.now, 0, welcome(0));
                assert_eq!(rig.drain(), ["send welcome", "send caught_up"]);
            }
        }
        rig
    }

    fn frame(&mut self, frame: Frame) -> Vec<String> {
        self.session.handle_frame(self.now, frame);
        self.drain()
    }

    fn push(&mut self, body: &'static [u8]) -> Result<Seq, WindowFull> {
        let seq = self.session.push(self.now, Bytes::from_static(body))?;
        assert!(self.drain().starts_with(&[format!("send push {seq}")]));
        self.session.written(self.now);
        Ok(seq)
    }

    fn processed(&mut self, position: Seq) -> Vec<String> {
        self.session.processed(self.now, position);
        self.drain()
    }

    /// All outputs in words, up to the wait; the end is among them.
    fn drain(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let output = self.session.poll();
            match &output {
                Output::WaitUntil(_) => return all,
                Output::Closed(_) => {
                    all.push(words(&output));
                    return all;
                }
                _ => all.push(words(&output)),
            }
        }
    }

    /// Lets `time` pass and fires every deadline in it. Outputs with the seconds since the start.
    fn run(&mut self, time: Duration) -> Vec<(f64, String)> {
        let end = self.now + time;
        let mut all = Vec::new();
        loop {
            let outputs = self.drain();
            let at = (self.now - self.start).as_secs_f64();
            all.extend(outputs.into_iter().map(|output| (at, output)));
            self.session.written(self.now);
            match self.session.poll() {
                Output::WaitUntil(next) if next <= end => {
                    assert!(next > self.now, "a deadline that came stays due");
                    self.now = next;
                    self.session.handle_timeout(next);
                }
                _ => break,
            }
        }
        self.now = end;
        all
    }
}

fn hello(position: Seq, outbox_head: Seq) -> wire::Hello {
    wire::Hello {
        version: PROTOCOL_VERSION,
        token: "secret".to_owned(),
        epoch: "e".to_owned(),
        position,
        outbox_head,
        outbox_trimmed: 0,
    }
}

fn welcome(head: Seq) -> wire::Welcome {
    wire::Welcome { epoch: "e".to_owned(), head, floor: 1, ..Default::default() }
}

fn push(seq: Seq) -> Frame {
    Frame::Push(wire::Push { seq, body: Bytes::from_static(b"body") })
}

fn ack(position: Seq) -> Frame {
    Frame::Ack(wire::Ack { position })
}

fn words(output: &Output) -> String {
    match output {
        Output::Send(frame) => format!("send {}", frame_words(frame)),
        Output::Event(event) => match event {
            Event::Hello(_) => "hello".to_owned(),
            Event::Welcome(_) => "welcome".to_owned(),
            Event::Reset(_) => "reset".to_owned(),
            Event::Received { seq, .. } => format!("received {seq}"),
            Event::Repeated { seq, .. } => format!("repeated {seq}"),
            Event::Acked { position } => format!("acked {position}"),
            Event::Resend { seq } => format!("resend {seq}"),
            Event::CaughtUp => "caught_up".to_owned(),
            Event::Notify(_) => "notify".to_owned(),
            Event::GoAway { after } => format!("go_away {after:?}"),
        },
        Output::WaitUntil(_) => "wait".to_owned(),
        Output::Closed(Closed { code, by_peer, .. }) => {
            let code = code.map_or("unknown", Code::name);
            if *by_peer { format!("closed by peer: {code}") } else { format!("closed: {code}") }
        }
    }
}

fn frame_words(frame: &Frame) -> String {
    match frame {
        Frame::Hello(_) => "hello".to_owned(),
        Frame::Welcome(_) => "welcome".to_owned(),
        Frame::Reset(_) => "reset".to_owned(),
        Frame::Push(push) => format!("push {}", push.seq),
        Frame::Ack(ack) => format!("ack {}", ack.position),
        Frame::CaughtUp(_) => "caught_up".to_owned(),
        Frame::Ping(ping) => format!("ping {}", ping.nonce),
        Frame::Pong(pong) => format!("pong {}", pong.nonce),
        Frame::Notify(_) => "notify".to_owned(),
        Frame::GoAway(away) => format!("go_away {}", away.after_ms),
        Frame::Close(close) => {
            format!("close {}", Code::from_number(close.code).map_or("unknown", Code::name))
        }
    }
}
