//! The server's end of a connection: what `connector/connection.rs` and `connector/greet.rs` do
//! round session, feed and mailbox, without a socket and with nothing to wait for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Instant,
};

use anser_proto::{
    Code, ConversationId, DeviceId, Seq, SessionId, UserId, frame,
    frame::FRAME_BYTES_MAX,
    session::{Closed, Config, Event, Output, Session},
    wire,
};
use anser_store::{Greeting, Hello, InboxPage, Mark, NewEntry, PageLimit, Record};
use bytes::{Bytes, BytesMut};

use super::{
    super::{
        feed::{self, Feed, Next},
        mailbox::{Mailbox, News},
        planted,
        position::Position,
    },
    server::Server,
};

/// Smaller than the real one, so that a page is often not all.
const PAGE: PageLimit = PageLimit { entries: 20, bytes: 4096 };
/// More of what is done before waiting is a loop.
const ROUNDS_MAX: u32 = 10_000;
const CONNECTIONS_PER_USER: usize = 16;
/// At one of so many Hellos a sweep looks while they are on their way to the store.
const HELLOS_SWEPT: u64 = 16;

/// The server's end.
pub(super) struct Connection {
    pub(super) session: Session,
    feed: Feed,
    mailbox: Option<Arc<Mailbox>>,
    records: Vec<Record>,
    input: BytesMut,
    out: BytesMut,
    welcome_head: Seq,
    applied: Seq,
    position: Position,
    welcomed: bool,
    draining: bool,
    hello: Option<wire::Hello>,
    resend: Option<Seq>,
    until: Instant,
    pub(super) closed: Option<Closed>,
    /// When a timer event is due, and whether a wake is.
    pub(super) timer: Option<Instant>,
    pub(super) wake: bool,
    rung: Arc<Rung>,
}

/// Set when the mailbox wakes its task.
struct Rung(AtomicBool);

impl Wake for Rung {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a Hello said and got, for the record.
pub(super) struct Greeted {
    pub(super) device: DeviceId,
    /// Numbers up to here were skipped, because the Hello is of another history.
    pub(super) skipped: Seq,
}

impl Connection {
    pub(super) fn new(config: &Arc<Config>, now: Instant) -> Self {
        Self {
            session: Session::server(config.clone(), now),
            feed: Feed::default(),
            mailbox: None,
            records: Vec::new(),
            input: BytesMut::new(),
            out: BytesMut::new(),
            welcome_head: 0,
            applied: 0,
            position: Position::default(),
            welcomed: false,
            draining: false,
            hello: None,
            resend: None,
            until: now,
            closed: None,
            timer: None,
            wake: false,
            rung: Arc::new(Rung(AtomicBool::new(true))),
        }
    }

    /// When something is due.
    pub(super) fn due(&self) -> Instant {
        self.position.due().map_or(self.until, |due| due.min(self.until))
    }

    /// Whether the mailbox woke this since it was looked into; a fresh one is to be looked into.
    pub(super) fn is_rung(&self) -> bool {
        self.mailbox.is_some() && self.rung.0.swap(false, Ordering::Relaxed)
    }

    /// Nothing waits to be handed over or acked.
    pub(super) fn is_quiet(&self, head: Seq) -> bool {
        self.records.is_empty()
            && self.position.due().is_none()
            && self.session.acked() == head
            && self.session.durable() == self.session.received()
    }

    pub(super) fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while self.closed.is_none() {
            match frame::decode(&mut self.input, FRAME_BYTES_MAX) {
                Ok(Some(frame)) => self.session.handle_frame(now, frame),
                Ok(None) => break,
                Err(_) => self.session.close(Code::Malformed),
            }
            self.drain(now);
        }
    }

    pub(super) fn handle_deadline(&mut self, now: Instant) {
        if self.position.due().is_some_and(|due| due <= now) {
            self.record_ack(now, Vec::new(), true);
        }
        self.session.handle_timeout(now);
    }

    pub(super) fn handle_wake(&mut self, now: Instant) {
        self.wake = false;
        let Some(mailbox) = self.mailbox.clone() else { return };
        let waker = Waker::from(self.rung.clone());
        while let Some(news) = mailbox.poll_news(&mut Context::from_waker(&waker)) {
            self.handle_news(now, news);
        }
    }

    fn handle_news(&mut self, now: Instant, news: News) {
        self.applied = self.applied.max(news.acked);
        self.confirm(now);
        self.feed.news(news.entries, news.head);
        if let Some(after) = news.go_away {
            self.session.go_away(after);
            self.draining = true;
            self.drain(now);
        }
        if let Some(code) = news.close {
            self.session.close(code);
        }
    }

    fn confirm(&mut self, now: Instant) {
        let position = self.applied.min(self.session.received());
        if position > self.session.durable() {
            self.session.processed(now, position);
            self.drain(now);
        }
    }

    /// Does everything that can be done before waiting; gives what is to be written.
    pub(super) fn settle(&mut self, now: Instant, server: &mut Server, now_ms: u64) -> Settled {
        let mut settled = Settled::default();
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "a connection goes round in circles");
            self.drain(now);
            if let Some(hello) = self.hello.take() {
                settled.greeted = self.greet(now, server, hello, now_ms);
            } else if let Some(seq) = self.resend.take() {
                self.resend(now, server, seq);
            } else if !self.records.is_empty() {
                server.queue.extend(self.records.drain(..));
            } else if self.fill_window(now) {
                self.read_page(server);
            } else {
                break;
            }
        }
        if self.draining && self.session.durable() == self.session.received() {
            self.session.close(Code::GoingAway);
            self.drain(now);
        }
        if !self.out.is_empty() {
            settled.out = self.out.split().freeze();
            self.session.written(now);
            self.drain(now);
        }
        settled
    }

    /// After the last frame.
    pub(super) fn end(mut self, now: Instant, server: &mut Server) {
        if self.welcomed {
            self.record_ack(now, Vec::new(), true);
        }
        server.queue.extend(self.records.drain(..));
        if let Some(mailbox) = &self.mailbox {
            server.registry.offline(mailbox);
            server.memory.leave(mailbox.device(), mailbox.session());
        }
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.session.poll() {
                Output::Send(frame) => frame::encode(&frame, &mut self.out),
                Output::Event(event) => self.on_event(now, event),
                Output::WaitUntil(until) => {
                    self.until = until;
                    return;
                }
                Output::Closed(closed) => {
                    self.closed.get_or_insert(closed);
                    return;
                }
            }
        }
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Hello(hello) => self.hello = Some(hello),
            Event::Resend { seq } => self.resend = Some(seq),
            Event::Received { seq, body } | Event::Repeated { seq, body } => {
                let Some(mailbox) = &self.mailbox else { return };
                self.records.push(Record::Command {
                    user: mailbox.user(),
                    device: mailbox.device(),
                    session: mailbox.session(),
                    client_seq: seq,
                    command: body,
                    once: None,
                    trace: None,
                });
            }
            Event::Acked { position } => {
                let delivered = self.feed.acked(position);
                self.position.ack(position);
                self.record_ack(now, delivered, false);
            }
            _ => {}
        }
    }

    fn record_ack(&mut self, now: Instant, delivered: Vec<(ConversationId, Seq)>, store_now: bool) {
        let Some(mailbox) = &self.mailbox else { return };
        self.records.extend(self.position.record(now, mailbox, delivered, store_now));
    }

    /// True: the next entry must be read from the store first.
    fn fill_window(&mut self, now: Instant) -> bool {
        let Some(mailbox) = &self.mailbox else { return false };
        let (user, device) = (mailbox.user(), mailbox.device());
        while let Some(next) = self.session.next_push() {
            let entry = match self.feed.next(next) {
                Next::Entry(entry) => entry,
                Next::Read => return true,
                Next::Nothing => break,
            };
            let own = entry.mark == (Mark::Own { device }) && entry.seq > self.welcome_head;
            let body = if own { wire::without_body(&entry.entry) } else { entry.entry.clone() };
            if self.session.push(now, body).is_err() {
                self.feed.put_back(entry);
                break;
            }
            self.feed.pushed(entry.mark);
            planted::pushed(user, device, &entry, &mut self.records);
            self.drain(now);
        }
        false
    }

    fn greet(
        &mut self,
        now: Instant,
        server: &mut Server,
        hello: wire::Hello,
        now_ms: u64,
    ) -> Option<Greeted> {
        let device: DeviceId = hello.token.parse().expect("the token is the device");
        let skipped = if hello.epoch == server.memory.epoch() { 0 } else { hello.outbox_trimmed };
        if let Err(code) = self.try_greet(now, server, hello, now_ms) {
            self.session.close(code);
        }
        self.drain(now);
        Some(Greeted { device, skipped })
    }

    fn try_greet(
        &mut self,
        now: Instant,
        server: &mut Server,
        hello: wire::Hello,
        now_ms: u64,
    ) -> Result<(), Code> {
        let device: DeviceId = hello.token.parse().expect("the token is the device");
        let user = server.memory.owner(device).ok_or(Code::Unauthenticated)?;
        server.sessions += 1;
        let session = SessionId(server.sessions);
        let mailbox = Arc::new(Mailbox::new(user, device, session));
        let online = server.registry.online(&mailbox, CONNECTIONS_PER_USER);
        online.map_err(|_| Code::TooManyConnections)?;
        self.mailbox = Some(mailbox.clone());
        if server.sessions.is_multiple_of(HELLOS_SWEPT) {
            server.sweep();
            assert_eq!(mailbox.told_to_close(), None, "no Hello is newer than this");
        }
        let position = hello.position;
        let said = Hello {
            session,
            epoch: hello.epoch,
            position,
            outbox_head: hello.outbox_head,
            outbox_trimmed: hello.outbox_trimmed,
        };
        let greeting = server.memory.greet(device, &said, now_ms).ok_or(Code::Unauthenticated)?;
        mailbox.greeted();
        match greeting {
            Greeting::DeviceStale => Err(Code::DeviceStale),
            Greeting::Reset { epoch, head, outbox_position, outbox_digest } => {
                let outbox_digest = wire::outbox_digest(outbox_digest);
                self.session.reset(wire::Reset { epoch, head, outbox_position, outbox_digest });
                Ok(())
            }
            Greeting::Welcome { head, floor, outbox_position, outbox_digest, inbox_position } => {
                self.resume(now, server, user, (inbox_position, position));
                self.welcome_head = head;
                self.applied = outbox_position;
                self.feed.start(position, head);
                let mailbox = self.mailbox.as_ref().expect("it is online");
                planted::resumed(mailbox, &mut self.feed);
                self.welcomed = true;
                let limits = wire::Limits {
                    commands_in_flight_max: server.config.commands_max,
                    entries_in_flight_max: server.config.entries_max,
                    ..wire::Limits::default()
                };
                let welcome = wire::Welcome {
                    epoch: server.memory.epoch().to_owned(),
                    head,
                    floor,
                    outbox_position,
                    outbox_digest: wire::outbox_digest(outbox_digest),
                    heartbeat_ms: 30_000,
                    limits: Some(limits),
                };
                self.session.welcome(now, position, welcome);
                Ok(())
            }
        }
    }

    /// Counts as delivered what lies between the stored position and the Hello's.
    fn resume(&mut self, now: Instant, server: &Server, user: UserId, (stored, to): (Seq, Seq)) {
        self.position = Position::new(to, stored);
        let mut after = stored;
        while after < to {
            let InboxPage::Entries { entries, .. } = server.memory.read_inbox(user, after, PAGE)
            else {
                break;
            };
            let Some(last) = entries.last() else { break };
            after = last.seq;
            let held = entries.iter().filter(|entry| entry.seq <= to);
            let delivered = feed::delivered(held.map(|entry| entry.mark));
            self.record_ack(now, delivered, after >= to);
        }
    }

    fn read_page(&mut self, server: &Server) {
        let Some(next) = self.session.next_push() else { return };
        match self.read_after(server, next - 1, PAGE) {
            Ok((entries, head)) if !entries.is_empty() => self.feed.page(entries, head),
            Ok(_) => self.session.close(Code::Internal),
            Err(code) => self.session.close(code),
        }
    }

    fn resend(&mut self, now: Instant, server: &Server, seq: Seq) {
        match self.read_after(server, seq - 1, PageLimit { entries: 1, bytes: 0 }) {
            Ok((entries, _)) => {
                if let Some(entry) = entries.into_iter().find(|entry| entry.seq == seq) {
                    self.session.resend(now, seq, entry.entry);
                }
            }
            Err(code) => self.session.close(code),
        }
    }

    fn read_after(
        &self,
        server: &Server,
        after: Seq,
        limit: PageLimit,
    ) -> Result<(Vec<NewEntry>, Seq), Code> {
        let user = self.mailbox.as_ref().map(|mailbox| mailbox.user()).ok_or(Code::Internal)?;
        match server.memory.read_inbox(user, after, limit) {
            InboxPage::Entries { entries, head } => Ok((entries, head)),
            InboxPage::BelowFloor { .. } => Err(Code::BelowFloor),
        }
    }
}

/// What came of [`Connection::settle`].
#[derive(Default)]
pub(super) struct Settled {
    pub(super) out: Bytes,
    pub(super) greeted: Option<Greeted>,
}
