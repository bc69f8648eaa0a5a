//! Windows, positions and acks against a model: an open session says exactly what a handful of
//! numbers predict, whatever comes in which order.

use std::collections::VecDeque;

use proptest::{collection::vec, prelude::*};

use super::*;

/// One input, relative to where the session stands, so that most of them mean something.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// This end pushes a body of so many bytes.
    Push(usize),
    /// The peer acks a number so far from its last one, but none that was not pushed.
    Ack(i64),
    /// The peer acks a number so far above what was pushed.
    AckAbove(u64),
    /// The peer pushes the number that is so far from the next one.
    PeerPush(i64),
    /// So many more of what was received are durable here.
    Processed(u64),
    /// Milliseconds pass; few enough that no other timer comes due.
    Wait(u64),
}

fn any_operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        30 => (0..60_usize).prop_map(Push),
        20 => (-2..6_i64).prop_map(Ack),
        1 => (1..3_u64).prop_map(AckAbove),
        30 => Just(PeerPush(0)),
        4 => (-3..0_i64).prop_map(PeerPush),
        1 => (1..3_i64).prop_map(PeerPush),
        20 => (0..5_u64).prop_map(Processed),
        5 => (0..60_u64).prop_map(Wait),
    ]
}

fn any_config() -> impl Strategy<Value = Config> {
    (1..12_u32, 1..12_u32, 1..200_usize, any::<bool>()).prop_map(
        |(entries, commands, bytes, at_once)| Config {
            entries_max: entries,
            commands_max: commands,
            entry_bytes_max: bytes,
            ack_delay: Duration::from_millis(if at_once { 0 } else { 100 }),
            ..Config::default()
        },
    )
}

/// What a session knows, in its simplest form.
struct Model {
    side: Side,
    config: Config,
    /// Sizes of the own bodies that the peer did not ack.
    unacked: VecDeque<usize>,
    acked: Seq,
    received: Seq,
    processed: Seq,
    /// The last ack that was sent.
    told: Seq,
    /// When an ack must have been sent.
    ack_at: Option<Instant>,
    closed: bool,
}

impl Model {
    fn new(side: Side, config: Config) -> Self {
        let (unacked, ack_at) = (VecDeque::new(), None);
        Self {
            side,
            config,
            unacked,
            acked: 0,
            received: 0,
            processed: 0,
            told: 0,
            ack_at,
            closed: false,
        }
    }

    fn pushed(&self) -> Seq {
        self.acked + self.unacked.len() as Seq
    }

    fn window(&self, side: Side) -> usize {
        let window = match side {
            Side::Client => self.config.commands_max,
            Side::Server => self.config.entries_max,
        };
        window as usize
    }

    /// One body always fits an empty window; a server counts bytes, too.
    fn has_room_for(&self, len: usize) -> bool {
        let bytes: usize = self.unacked.iter().sum();
        let limit = self.config.entry_bytes_max;
        let bytes_fit = self.side == Side::Client || (bytes < limit && bytes + len <= limit);
        self.unacked.is_empty() || (self.unacked.len() < self.window(self.side) && bytes_fit)
    }

    fn next_push(&self) -> Option<Seq> {
        (!self.closed && self.has_room_for(0)).then(|| self.pushed() + 1)
    }

    fn push(&mut self, len: usize) -> Vec<String> {
        if !self.has_room_for(len) {
            return vec!["full".to_owned()];
        }
        self.unacked.push_back(len);
        vec![format!("send push {}", self.pushed())]
    }

    fn ack(&mut self, position: Seq) -> Vec<String> {
        if position > self.pushed() {
            return self.close("ack_above_head");
        }
        if position <= self.acked {
            return Vec::new();
        }
        for _ in self.acked..position {
            self.unacked.pop_front();
        }
        self.acked = position;
        vec![format!("acked {position}")]
    }

    fn peer_push(&mut self, seq: Seq) -> Vec<String> {
        let other = match self.side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        if seq == 0 {
            return self.close("malformed");
        }
        if seq <= self.received {
            let repeated = (self.side == Side::Server).then(|| format!("repeated {seq}"));
            return repeated.into_iter().chain([self.send_ack()]).collect();
        }
        if seq > self.received + 1 {
            let code = if self.side == Side::Server { "outbox_gap" } else { "inbox_gap" };
            return self.close(code);
        }
        if seq - self.processed > self.window(other) as Seq {
            return self.close("window_exceeded");
        }
        self.received = seq;
        vec![format!("received {seq}")]
    }

    fn processed(&mut self, now: Instant, position: Seq) -> Vec<String> {
        let other = if self.side == Side::Client { Side::Server } else { Side::Client };
        self.processed = position;
        let unacked = self.processed - self.told;
        let urgent = unacked * 4 >= self.window(other) as Seq;
        match unacked {
            0 => Vec::new(),
            _ if urgent || self.config.ack_delay.is_zero() => vec![self.send_ack()],
            _ => {
                self.ack_at = self.ack_at.or(Some(now + self.config.ack_delay));
                Vec::new()
            }
        }
    }

    fn at(&mut self, now: Instant) -> Vec<String> {
        let due = self.ack_at.is_some_and(|at| at <= now);
        due.then(|| self.send_ack()).into_iter().collect()
    }

    fn send_ack(&mut self) -> String {
        (self.told, self.ack_at) = (self.processed, None);
        format!("send ack {}", self.told)
    }

    /// The last words tell what is durable and was not told.
    fn close(&mut self, code: &str) -> Vec<String> {
        self.closed = true;
        let told = (self.processed > self.told).then(|| self.send_ack());
        told.into_iter().chain([format!("send close {code}"), format!("closed: {code}")]).collect()
    }
}

/// Does one operation to both; what each says.
fn step(rig: &mut Rig, model: &mut Model, operation: Operation) -> (Vec<String>, Vec<String>) {
    match operation {
        Operation::Push(len) => {
            let pushed = rig.session.push(rig.now, Bytes::from(vec![0; len]));
            let said = if pushed.is_ok() { rig.drain() } else { vec!["full".to_owned()] };
            (said, model.push(len))
        }
        Operation::Ack(more) => {
            let position = model.acked.saturating_add_signed(more).min(model.pushed());
            (rig.frame(ack(position)), model.ack(position))
        }
        Operation::AckAbove(more) => {
            let position = model.pushed() + more;
            (rig.frame(ack(position)), model.ack(position))
        }
        Operation::PeerPush(offset) => {
            let seq = (model.received + 1).saturating_add_signed(offset);
            (rig.frame(push(seq)), model.peer_push(seq))
        }
        Operation::Processed(more) => {
            let position = (model.processed + more).min(model.received);
            (rig.processed(position), model.processed(rig.now, position))
        }
        Operation::Wait(millis) => {
            rig.now += Duration::from_millis(millis);
            rig.session.handle_timeout(rig.now);
            (rig.drain(), model.at(rig.now))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_open_session_says_what_the_model_says(
        config in any_config(),
        operations in vec(any_operation(), 0..120),
    ) {
        for side in [Side::Client, Side::Server] {
            let mut rig = Rig::open_with(side, config.clone());
            let mut model = Model::new(side, config.clone());
            for operation in &operations {
                let (said, expected) = step(&mut rig, &mut model, *operation);
                prop_assert_eq!(said, expected, "{:?} at a {:?}", operation, side);
                prop_assert_eq!(rig.session.next_push(), model.next_push());
                let Rig { session, .. } = &rig;
                let positions = [session.acked(), session.received(), session.durable()];
                prop_assert_eq!(positions, [model.acked, model.received, model.processed]);
                if model.closed {
                    break;
                }
            }
        }
    }
}
