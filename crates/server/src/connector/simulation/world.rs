//! The world of a seed: devices, lines and the server on a virtual clock, one event after another.

use std::{
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use anser_proto::{ConversationId, DeviceId, UserId};
use anser_store::memory::{Memory, Saved};

use super::{
    check::Check,
    connection::Connection,
    device::{Around, Client, Device, Disk},
    event::{Event, Reached, Scheduled},
    knobs::Knobs,
    line::{Line, To},
    random::Random,
    server::Server,
    trace::Trace,
};

/// Everything must be quiet so long after the troubles ended.
const PATIENCE: Duration = Duration::from_secs(3600);
/// More is a loop.
const STEPS_MAX: u64 = 3_000_000;
/// Largest body that the server takes, so that a too large one is still small.
pub(super) const BODY_BYTES_MAX: usize = 200;
/// The wall clock at the start.
const START_MS: u64 = 1_700_000_000_000;

/// The world.
pub(super) struct World {
    pub(super) random: Random,
    pub(super) knobs: Knobs,
    start: Instant,
    pub(super) now: Instant,
    events: BinaryHeap<Scheduled>,
    order: u64,
    pub(super) server: Server,
    pub(super) devices: Vec<Device>,
    pub(super) lines: Vec<Line>,
    pub(super) check: Check,
    /// Pairs, which can be closed; then groups.
    pub(super) pairs: Vec<ConversationId>,
    pub(super) saved: Option<Saved>,
    pub(super) healed: bool,
    pub(super) reached: Reached,
    pub(super) trace: Trace,
}

impl World {
    pub(super) fn new(seed: u64, trace: Trace) -> Self {
        let mut random = Random::new(seed);
        let knobs = Knobs::draw(&mut random);
        let now = Instant::now();
        let memory = Memory::new("history 0", BODY_BYTES_MAX);
        let server = Server::new(memory, knobs.server.clone(), now);
        let mut world = Self {
            random,
            knobs,
            start: now,
            now,
            events: BinaryHeap::new(),
            order: 0,
            server,
            devices: Vec::new(),
            lines: Vec::new(),
            check: Check::default(),
            pairs: Vec::new(),
            saved: None,
            healed: false,
            reached: Reached::default(),
            trace,
        };
        world.populate();
        world.plan();
        world
    }

    fn populate(&mut self) {
        let users: Vec<UserId> = (0..self.knobs.users).map(|_| UserId(self.random.id())).collect();
        for user in &users {
            self.server.memory.add_user(*user);
            self.check.add_user(*user);
        }
        for (index, user) in users.iter().enumerate() {
            for peer in &users[index + 1..] {
                // The first two know each other; who does not has a conversation to stay out of.
                if self.pairs.is_empty() || self.random.chance(750) {
                    let id = self.add_conversation(&[*user, *peer]);
                    self.pairs.push(id);
                }
            }
            for _ in 0..self.knobs.devices {
                let device = DeviceId(self.random.id());
                self.server.memory.add_device(*user, device, self.now_ms());
                let epoch = self.server.memory.epoch().to_owned();
                let disk = Disk::new(*user, device, epoch, 0);
                let (copy, line) = (None, None);
                let (acked, process, failures) = (0, 0, 0);
                self.devices.push(Device {
                    disk,
                    copy,
                    acked,
                    line,
                    asks: None,
                    process,
                    failures,
                });
            }
        }
        if self.random.chance(500) {
            self.add_conversation(&users[..3]);
        }
    }

    fn add_conversation(&mut self, users: &[UserId]) -> ConversationId {
        let id = ConversationId(self.random.id());
        self.server.memory.add_conversation(id, users);
        self.check.conversations.insert(id, users.to_vec());
        id
    }

    fn plan(&mut self) {
        for device in 0..self.devices.len() {
            let after = self.random.millis(5000);
            self.after(after, Event::Connect { device, process: 0 });
        }
        self.after(Duration::ZERO, Event::Act);
        let trouble = self.knobs.trouble;
        for _ in 0..self.knobs.faults {
            let after = self.any_time();
            self.after(after, Event::Fault);
        }
        for _ in 0..self.random.between(2, 6) {
            let after = self.any_time();
            self.after(after, Event::Relation);
        }
        let after = self.any_time();
        self.after(after, Event::Save);
        self.after(trouble, Event::Heal);
    }

    pub(super) fn any_time(&mut self) -> Duration {
        let trouble = u64::try_from(self.knobs.trouble.as_millis()).expect("minutes");
        Duration::from_millis(self.random.below(trouble))
    }

    /// Runs to the end.
    pub(super) fn run(mut self) -> Reached {
        while let Some(next) = self.events.pop() {
            self.reached.events += 1;
            assert!(self.reached.events < STEPS_MAX, "it goes round in circles");
            self.now = next.at;
            let patience = self.knobs.trouble + PATIENCE;
            if self.now - self.start > patience {
                self.panic_for_who_waits();
            }
            // Most mailboxes are empty.
            if self.trace.is_on() && !matches!(next.event, Event::Wake { .. }) {
                let at = self.now - self.start;
                self.trace.note(|| format!("{:10.3} {:?}", at.as_secs_f64(), next.event));
            }
            self.happen(next.event);
            if self.healed && self.is_done() {
                break;
            }
        }
        self.check.judge(&self.server.memory);
        assert!(self.reached.commands >= 200 && self.reached.faults >= 5, "{:?}", self.reached);
        self.reached.rows = self.check.rows();
        self.reached
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act => self.act(),
            Event::Relation => self.change_relation(),
            Event::Fault => self.fault(),
            Event::Save => self.save(),
            Event::Restore if !self.healed => self.restore(),
            Event::RollBack { device } if !self.healed => self.roll_back(device),
            Event::Restore | Event::RollBack { .. } => {}
            Event::Heal => self.heal(),
            Event::Connect { device, process } => self.connect(device, process),
            Event::Snapshot { device, process, reset, history } => {
                self.snapshot(device, process, &reset, history);
            }
            Event::Renew { device, process } => self.renew(device, process),
            Event::Bytes { line, to, bytes } => self.arrive(line, to, bytes),
            Event::Gone { line, to: To::Server } => self.end_server(line),
            Event::Gone { line, to: To::Client } => self.lose_client(line),
            Event::Timer { line, to } => self.timer(line, to),
            Event::Store { line } => self.store(line),
            Event::Wake { line } => {
                if let Some(server) = &mut self.lines[line].server {
                    server.handle_wake(self.now);
                    self.settle_server(line);
                }
            }
            Event::Commit { start } if start == self.server.start => self.commit(),
            Event::Sweep { start } if start == self.server.start => self.sweep(),
            Event::ServerUp { start } if start == self.server.start => self.server.up = true,
            Event::Commit { .. } | Event::Sweep { .. } | Event::ServerUp { .. } => {}
        }
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(super) fn at(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.push(Scheduled { at, order: self.order, event });
    }

    pub(super) fn now_ms(&self) -> u64 {
        START_MS + u64::try_from((self.now - self.start).as_millis()).expect("minutes")
    }

    pub(super) fn latency(&mut self) -> Duration {
        let slow = !self.healed || self.knobs.slow_end;
        self.random.millis(if slow { self.knobs.latency } else { 50 })
    }

    /// Writes bytes into a line; they may be split, never reordered.
    pub(super) fn send(&mut self, line: usize, to: To, mut bytes: bytes::Bytes) {
        if bytes.is_empty() || self.lines[line].pipe(to).is_dead() {
            return;
        }
        if bytes.len() > 1 && self.random.chance(200) {
            let first = bytes.split_to(1 + self.random.index(bytes.len() - 1));
            let at = self.arrival(line, to);
            self.at(at, Event::Bytes { line, to, bytes: first });
        }
        let at = self.arrival(line, to);
        self.at(at, Event::Bytes { line, to, bytes });
    }

    /// Tells the other end that this one is gone, after what was sent.
    pub(super) fn hang_up(&mut self, line: usize, to: To) {
        if !self.lines[line].pipe(to).is_cut() {
            let at = self.arrival(line, to);
            self.at(at, Event::Gone { line, to });
        }
    }

    fn arrival(&mut self, line: usize, to: To) -> Instant {
        let earliest = self.now + self.latency();
        let pipe = self.lines[line].pipe(to);
        pipe.last = pipe.last.max(earliest);
        pipe.last
    }

    fn arrive(&mut self, line: usize, to: To, bytes: bytes::Bytes) {
        let bytes = self.lines[line].pipe(to).arriving(bytes);
        if bytes.is_empty() {
            return;
        }
        match to {
            To::Server => {
                if let Some(server) = &mut self.lines[line].server {
                    server.handle_bytes(self.now, &bytes);
                    self.settle_server(line);
                }
            }
            To::Client => {
                self.with_client(line, |client, around| client.handle_bytes(around, &bytes));
            }
        }
    }

    fn timer(&mut self, line: usize, to: To) {
        match to {
            To::Server => {
                let Some(server) = &mut self.lines[line].server else { return };
                if server.timer != Some(self.now) {
                    // An earlier deadline came in between.
                    return;
                }
                server.timer = None;
                server.handle_deadline(self.now);
                self.settle_server(line);
            }
            To::Client => {
                let client = self.lines[line].client.as_ref();
                if client.is_none_or(|client| client.timer != Some(self.now)) {
                    return;
                }
                self.with_client(line, |client, around| {
                    client.timer = None;
                    client.session.handle_timeout(around.now);
                });
            }
        }
    }

    fn store(&mut self, line: usize) {
        self.with_client(line, |client, around| client.store(around));
    }

    // ---- the server ----

    /// After any input of a server's end.
    pub(super) fn settle_server(&mut self, line: usize) {
        let Some(mut server) = self.lines[line].server.take() else { return };
        let now_ms = self.now_ms();
        let settled = server.settle(self.now, &mut self.server, now_ms);
        if let Some(greeted) = settled.greeted
            && greeted.skipped > 0
        {
            self.check.skipped(greeted.device, greeted.skipped);
        }
        self.send(line, To::Client, settled.out);
        if server.closed.is_some() {
            server.end(self.now, &mut self.server);
            self.hang_up(line, To::Client);
        } else {
            let due = server.due();
            if server.timer.is_none_or(|timer| due < timer) {
                let due = due.max(self.now);
                server.timer = Some(due);
                self.at(due, Event::Timer { line, to: To::Server });
            }
            self.lines[line].server = Some(server);
        }
        self.pump();
    }

    /// The server learns that the client is gone.
    pub(super) fn end_server(&mut self, line: usize) {
        if let Some(server) = self.lines[line].server.take() {
            server.end(self.now, &mut self.server);
            self.pump();
        }
    }

    /// Begins a commit if there is something to.
    fn pump(&mut self) {
        let now_ms = self.now_ms();
        while self.server.begin(self.knobs.batch, now_ms) {
            let most = if self.healed { 10 } else { self.knobs.commit };
            let at = (self.now + self.random.millis(most)).max(self.server.busy_until);
            self.server.busy_until = at;
            self.at(at, Event::Commit { start: self.server.start });
            self.wake_all();
        }
    }

    fn commit(&mut self) {
        self.reached.unknown_commits += u64::from(self.server.trouble.is_some());
        let told = self.server.trouble.is_none();
        let bell = self.bell();
        self.server.commit(bell);
        self.check.audit(&self.server.memory);
        if !told || matches!(bell, super::server::Bell::Lost) {
            self.after(Duration::from_secs(5), Event::Sweep { start: self.server.start });
        }
        self.wake_all();
        self.pump();
    }

    /// Every session whose mailbox rang looks into it some time.
    pub(super) fn wake_all(&mut self) {
        for line in 0..self.lines.len() {
            let Some(server) = &mut self.lines[line].server else { continue };
            if server.wake || !server.is_rung() {
                continue;
            }
            server.wake = true;
            let delay = self.random.millis(if self.healed { 2 } else { self.knobs.wake });
            self.after(delay, Event::Wake { line });
        }
    }

    // ---- the devices ----

    fn connect(&mut self, device: usize, process: u32) {
        let known = &mut self.devices[device];
        if known.process != process || known.asks == Some(process) || known.line.is_some() {
            return;
        }
        if !self.server.up {
            return self.connect_later(device);
        }
        self.reached.connections += 1;
        let line = self.lines.len();
        known.line = Some(line);
        let mut opened = Line::new(device, self.server.history, self.now);
        opened.client = Some(Client::new(&self.knobs.client, &known.disk, self.now));
        opened.server = Some(Connection::new(&self.server.config, self.now));
        self.lines.push(opened);
        self.settle_server(line);
        self.with_client(line, |_, _| {});
    }

    pub(super) fn connect_later(&mut self, device: usize) {
        let known = &mut self.devices[device];
        known.failures = (known.failures + 1).min(5);
        let (process, most) = (known.process, 500 << known.failures);
        let delay = self.random.millis(most);
        self.after(delay, Event::Connect { device, process });
    }

    /// Gives a client's end an input, then does what follows from it.
    pub(super) fn with_client(
        &mut self,
        line: usize,
        input: impl FnOnce(&mut Client, &mut Around<'_>),
    ) {
        let Self { lines, devices, check, now, .. } = self;
        let (at, history) = (lines[line].device, lines[line].history);
        let Some(mut client) = lines[line].client.take() else { return };
        let Device { disk, acked, .. } = &mut devices[at];
        let mut around = Around { now: *now, disk, acked, check, history };
        input(&mut client, &mut around);
        let out = client.settle(&mut around);
        self.send(line, To::Server, out);
        if client.closed.is_some() {
            return self.end_client(line, client);
        }
        let due = client.due();
        if client.timer.is_none_or(|timer| due < timer) {
            let due = due.max(self.now);
            client.timer = Some(due);
            self.at(due, Event::Timer { line, to: To::Client });
        }
        if client.has_to_store() && !std::mem::replace(&mut client.storing, true) {
            let most = if self.healed { 20 } else { self.knobs.store };
            let delay = self.random.millis(most);
            self.after(delay, Event::Store { line });
        }
        self.lines[line].client = Some(client);
    }
}
