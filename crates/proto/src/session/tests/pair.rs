//! Two sessions over a bad link on a virtual clock: chunks, delays, stalls and cuts from a seed.
//!
//! Each end owns a log and stores the other's, some time after it received it; what was not stored
//! when the connection was cut is lost or not, by the seed. The client reconnects with its
//! position. Checked: every ack and every body when it happens, and both logs when all is quiet.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::*;
use crate::frame;

const HOST: usize = 0;
const DEVICE: usize = 1;

/// Commands that the device gives out, entries besides their results.
const COMMANDS: usize = 150;
const ENTRIES: usize = 250;
/// The link is bad for so long, then good.
const BAD_LINK: Duration = Duration::from_secs(400);
/// Everything must be stored and acked by then.
const PATIENCE: Duration = Duration::from_secs(1200);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}

/// A body that is being stored.
struct Storing {
    until: Instant,
    connection: u32,
    seq: Seq,
    body: Bytes,
}

/// One end: what survives a connection, and the connection's part.
#[derive(Default)]
struct End {
    log: Vec<Bytes>,
    stored: Vec<Bytes>,
    storing: VecDeque<Storing>,
    /// The disk or queue stands still until then.
    outage: Option<Instant>,

    session: Option<Session>,
    wait: Option<Instant>,
    /// Bytes on their way to this end.
    arriving: VecDeque<(Instant, Vec<u8>)>,
    /// Nothing arrives before.
    stalled: Option<Instant>,
    decoder: BytesMut,
    head: Seq,
    caught_up: u32,
}

/// What the seeds reached, so that a simulator that tests nothing is noticed.
#[derive(Default, Debug)]
struct Reached {
    connections: u32,
    cuts: u32,
    resends: u32,
    timeouts: u32,
    caught_up: u32,
    reapplied: u32,
}

struct World {
    seed: u64,
    random: Random,
    start: Instant,
    now: Instant,
    config: Arc<Config>,
    ends: [End; 2],
    connection: u32,
    /// When the next connection starts, while there is none.
    connect_at: Option<Instant>,
    /// When the connection is cut.
    cut_at: Option<Instant>,
    work_at: Instant,
    entries_made: usize,
    reached: Reached,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let mut random = Random(seed);
        let ack_delay = if random.one_in(2) { Duration::ZERO } else { Duration::from_millis(100) };
        let config = Config {
            ack_delay,
            entries_max: 1 + random.below(40) as u32,
            commands_max: 1 + random.below(20) as u32,
            entry_bytes_max: 1 + random.below(2000) as usize,
            ..Config::default()
        };
        Self {
            seed,
            random,
            start: now,
            now,
            config: Arc::new(config),
            ends: Default::default(),
            connection: 0,
            connect_at: Some(now),
            cut_at: None,
            work_at: now,
            entries_made: 0,
            reached: Reached::default(),
        }
    }

    fn run(mut self) -> Reached {
        let seed = self.seed;
        let mut steps_at_once = 0;
        while !self.is_done() {
            assert!(self.now - self.start < PATIENCE, "seed {seed}: not done in time");
            let next = self.next_instant();
            steps_at_once = if next > self.now { 0 } else { steps_at_once + 1 };
            assert!(steps_at_once < 1000, "seed {seed}: spins at {:?}", self.now - self.start);
            self.now = self.now.max(next);
            self.step();
        }
        assert_eq!(self.ends[DEVICE].log.len(), COMMANDS, "seed {seed}");
        assert_eq!(self.ends[HOST].log.len(), COMMANDS + ENTRIES, "seed {seed}");
        assert!(self.ends[HOST].stored == self.ends[DEVICE].log, "seed {seed}: commands differ");
        assert!(self.ends[DEVICE].stored == self.ends[HOST].log, "seed {seed}: entries differ");
        assert_eq!(self.ends[DEVICE].caught_up, 1, "seed {seed}: CaughtUp of the last connection");
        self.reached
    }

    fn is_bad(&self) -> bool {
        self.now - self.start < BAD_LINK
    }

    fn is_done(&self) -> bool {
        let acked = |at: usize| {
            let end = &self.ends[at];
            end.session.as_ref().is_some_and(|session| session.acked() == end.log.len() as Seq)
        };
        let worked = self.ends[DEVICE].log.len() == COMMANDS && self.entries_made == ENTRIES;
        let caught_up = self.ends[DEVICE].caught_up > 0;
        !self.is_bad() && worked && caught_up && acked(HOST) && acked(DEVICE)
    }

    /// When something happens next.
    fn next_instant(&self) -> Instant {
        let mut all = vec![self.work_at];
        all.extend(self.connect_at);
        all.extend(self.cut_at);
        for end in &self.ends {
            all.extend(end.wait);
            all.extend(end.storing.front().map(|storing| storing.until));
            all.extend(end.arriving.front().map(|(at, _)| (*at).max(end.stalled.unwrap_or(*at))));
        }
        all.into_iter().min().unwrap()
    }

    fn step(&mut self) {
        if self.work_at <= self.now {
            self.work();
        }
        if self.cut_at.is_some_and(|at| at <= self.now) {
            self.cut();
        }
        if self.connect_at.is_some_and(|at| at <= self.now) {
            self.connect();
        }
        for at in [HOST, DEVICE] {
            self.deliver(at);
            self.store(at);
            let timeout = self.ends[at].wait.is_some_and(|wait| wait <= self.now);
            let early = self.random.one_in(50);
            if let Some(session) = &mut self.ends[at].session
                && (timeout || early)
            {
                session.handle_timeout(self.now);
            }
            self.drain(at);
        }
    }

    /// The users do something, and the link something bad.
    fn work(&mut self) {
        self.work_at = self.now + self.random.millis(3000);
        for _ in 0..self.random.below(6) {
            if self.ends[DEVICE].log.len() < COMMANDS {
                let body = self.body(DEVICE);
                self.ends[DEVICE].log.push(body);
            }
            if self.entries_made < ENTRIES {
                self.entries_made += 1;
                let body = self.body(HOST);
                self.ends[HOST].log.push(body);
            }
        }
        if self.is_bad() && self.random.one_in(8) {
            let at = self.random.below(2) as usize;
            let time =
                self.random.millis(if self.random.0.is_multiple_of(4) { 120_000 } else { 15_000 });
            match self.random.below(3) {
                0 => self.cut_at = Some(self.now),
                1 => self.ends[at].stalled = Some(self.now + time),
                _ => self.ends[at].outage = Some(self.now + time),
            }
        }
    }

    /// A body that tells its log and place, of random length.
    fn body(&mut self, at: usize) -> Bytes {
        let len = self.random.below(200) as usize;
        let number = self.ends[at].log.len() + 1;
        format!("{at}/{number}{}", ".".repeat(len)).into()
    }

    fn cut(&mut self) {
        self.reached.cuts += 1;
        self.cut_at = None;
        self.connect_at = Some(self.now + self.random.millis(3000));
        for end in &mut self.ends {
            end.session = None;
            end.wait = None;
            end.arriving.clear();
            end.decoder.clear();
            end.stalled = None;
            if self.random.one_in(2) {
                end.storing.clear();
            }
        }
        // A client knows what it stored before it says Hello again.
        let stored = std::mem::take(&mut self.ends[DEVICE].storing);
        self.ends[DEVICE].stored.extend(stored.into_iter().map(|storing| storing.body));
    }

    fn connect(&mut self) {
        self.reached.connections += 1;
        self.connect_at = None;
        self.connection += 1;
        let device = &self.ends[DEVICE];
        let hello = hello(device.stored.len() as Seq, device.log.len() as Seq);
        let client = Session::client(self.config.clone(), hello, self.now);
        let server = Session::server(self.config.clone(), self.now);
        self.ends[DEVICE].session = Some(client);
        self.ends[HOST].session = Some(server);
        self.ends[DEVICE].caught_up = 0;
    }

    /// Bytes that arrived at `at`.
    fn deliver(&mut self, at: usize) {
        let end = &mut self.ends[at];
        if end.stalled.is_some_and(|until| self.now < until) {
            return;
        }
        while let Some((_, bytes)) = end.arriving.pop_front_if(|(at, _)| *at <= self.now) {
            end.decoder.extend_from_slice(&bytes);
        }
        loop {
            let decoded = frame::decode(&mut self.ends[at].decoder, frame::FRAME_BYTES_MAX);
            let Some(frame) = decoded.unwrap() else { break };
            if let Some(session) = &mut self.ends[at].session {
                session.handle_frame(self.now, frame);
            }
            self.drain(at);
        }
    }

    /// Bodies that became durable at `at`. Repeats of what is stored already are compared: the
    /// connection may have been cut between storing and acking.
    fn store(&mut self, at: usize) {
        let seed = self.seed;
        let end = &mut self.ends[at];
        if end.outage.is_some_and(|until| self.now < until) {
            let until = end.outage.unwrap();
            end.storing.iter_mut().for_each(|storing| storing.until = storing.until.max(until));
            return;
        }
        let mut results = 0;
        while let Some(done) = end.storing.pop_front_if(|storing| storing.until <= self.now) {
            if done.seq <= end.stored.len() as Seq {
                self.reached.reapplied += 1;
                assert!(
                    end.stored[done.seq as usize - 1] == done.body,
                    "seed {seed}: repeat differs"
                );
            } else {
                assert_eq!(done.seq, end.stored.len() as Seq + 1, "seed {seed}: hole at end {at}");
                end.stored.push(done.body);
                results += 1;
            }
            if let Some(session) = &mut end.session
                && done.connection == self.connection
            {
                session.processed(self.now, done.seq);
            }
        }
        for _ in 0..if at == HOST { results } else { 0 } {
            let body = self.body(HOST);
            self.ends[HOST].log.push(body);
        }
        self.drain(at);
    }

    /// All that the session at `at` wants, and what its log has to push.
    fn drain(&mut self, at: usize) {
        let Some(mut session) = self.ends[at].session.take() else { return };
        let mut bytes = BytesMut::new();
        let closed = loop {
            self.push(at, &mut session);
            match session.poll() {
                Output::WaitUntil(wait) => {
                    self.ends[at].wait = Some(wait);
                    break None;
                }
                Output::Closed(closed) => break Some(closed),
                Output::Send(frame) => frame::encode(&frame, &mut bytes),
                Output::Event(event) => self.on_event(at, &mut session, event),
            }
        };
        self.transmit(1 - at, &bytes);
        match closed {
            Some(closed) => self.on_closed(at, &closed),
            None => {
                session.written(self.now);
                if let Output::WaitUntil(wait) = session.poll() {
                    self.ends[at].wait = Some(wait);
                }
                self.ends[at].session = Some(session);
            }
        }
    }

    fn push(&self, at: usize, session: &mut Session) {
        while let Some(seq) = session.next_push()
            && let Some(body) = self.ends[at].log.get(seq as usize - 1)
            && let Ok(pushed) = session.push(self.now, body.clone())
        {
            assert_eq!(pushed, seq, "seed {}", self.seed);
        }
    }

    fn on_event(&mut self, at: usize, session: &mut Session, event: Event) {
        let seed = self.seed;
        match event {
            Event::Hello(hello) => {
                let host = &self.ends[HOST];
                let head = host.log.len() as Seq;
                assert!(hello.position <= head, "seed {seed}: position above head");
                let outbox_position = host.stored.len() as Seq;
                let limits = wire::Limits {
                    commands_in_flight_max: self.config.commands_max,
                    entries_in_flight_max: self.config.entries_max,
                    ..Default::default()
                };
                let answer =
                    wire::Welcome { outbox_position, limits: Some(limits), ..welcome(head) };
                session.welcome(self.now, hello.position, answer);
            }
            Event::Welcome(welcome) => self.ends[at].head = welcome.head,
            Event::Received { seq, body } => {
                let sent = &self.ends[1 - at].log[seq as usize - 1];
                assert!(body == *sent, "seed {seed}: number {seq} at end {at} has another body");
                let until = self.now + self.random.millis(400);
                let last = self.ends[at].storing.back().map_or(until, |last| last.until);
                let connection = self.connection;
                let storing = Storing { until: until.max(last), connection, seq, body };
                self.ends[at].storing.push_back(storing);
            }
            Event::Repeated { seq, body } => {
                let sent = &self.ends[1 - at].log[seq as usize - 1];
                assert!(at == HOST && body == *sent, "seed {seed}: repeat of {seq}");
            }
            Event::Acked { position } => {
                let stored = self.ends[1 - at].stored.len() as Seq;
                assert!(position <= stored, "seed {seed}: ack {position} above durable {stored}");
            }
            Event::Resend { seq } => {
                self.reached.resends += 1;
                let body = self.ends[at].log[seq as usize - 1].clone();
                session.resend(self.now, seq, body);
            }
            Event::CaughtUp => {
                self.reached.caught_up += 1;
                self.ends[at].caught_up += 1;
                assert_eq!(self.ends[at].caught_up, 1, "seed {seed}: CaughtUp once a connection");
                let (received, head) = (session.received(), self.ends[at].head);
                assert!(received >= head, "seed {seed}: CaughtUp at {received} before {head}");
            }
            event => panic!("seed {seed}: {event:?}"),
        }
    }

    /// Only silence may end a session here: a protocol error would be a bug of either end.
    fn on_closed(&mut self, at: usize, closed: &Closed) {
        let seed = self.seed;
        assert_eq!(closed.code, Some(Code::TimedOut), "seed {seed}: end {at}: {closed:?}");
        if !closed.by_peer {
            self.reached.timeouts += 1;
        }
        // The last frames may still arrive before the connection is torn down.
        let soon = self.now + self.random.millis(500);
        self.cut_at = Some(self.cut_at.map_or(soon, |at| at.min(soon)));
        self.ends[at].wait = None;
    }

    /// Cuts `bytes` into chunks that arrive in order, each after its own delay.
    fn transmit(&mut self, to: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = (1 + self.random.below(300) as usize).min(rest.len());
            let (chunk, after) = rest.split_at(len);
            rest = after;
            let delay = self.random.millis(200);
            let last = self.ends[to].arriving.back().map(|(at, _)| *at);
            let at = (self.now + delay).max(last.unwrap_or(self.now));
            self.ends[to].arriving.push_back((at, chunk.to_vec()));
        }
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_on_a_bad_link() {
    let mut all = Reached::default();
    for seed in 0..150 {
        let reached = World::new(seed).run();
        all.connections += reached.connections;
        all.cuts += reached.cuts;
        all.resends += reached.resends;
        all.timeouts += reached.timeouts;
        all.caught_up += reached.caught_up;
        all.reapplied += reached.reapplied;
    }
    // The simulator reaches what it is for.
    assert!(all.cuts > 500 && all.resends > 50 && all.timeouts > 50, "{all:?}");
    assert!(all.reapplied > 50 && all.caught_up > 500, "{all:?}");
}
