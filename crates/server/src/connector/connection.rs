//! One connection: a socket and a session. A thin shell: it drains the session's outputs, then
//! waits for one of socket, mailbox or deadline; nothing else awaits on the socket.
//!
//! An idle connection is this one task. Whatever is large or rare is boxed or dropped when empty; a
//! test checks the future's size.

use std::{
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use anser_proto::{
    Code, ConversationId, FrameError, Seq, frame,
    session::{Closed, Event, Output, Session},
    wire,
};
use anser_store::{Mark, Record};
use bytes::BytesMut;
use tokio::time::{Sleep, sleep_until};
use tracing::debug;

use super::{
    Context,
    feed::{Feed, Next},
    followed::Followed,
    limits::{Guest, Rate},
    mailbox::{Mailbox, News},
    planted,
    position::Position,
    transport::Transport,
};

/// How long a closing handshake of the transport may take.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// One connection.
pub(super) struct Connection {
    pub(super) context: Arc<Context>,
    pub(super) session: Session,
    pub(super) transport: Transport,
    /// Who it is, once a Hello was accepted.
    pub(super) member: Option<Arc<Mailbox>>,
    pub(super) guest: Option<Guest>,
    pub(super) feed: Feed,
    /// For the queue, in order.
    pub(super) records: Vec<Record>,
    /// The start of a frame whose end has not come.
    rest: BytesMut,
    out: BytesMut,
    /// Entries up to here are pushed whole, later ones to their own sender without the body.
    pub(super) welcome_head: Seq,
    /// The highest command of this device that the commit path told to be applied.
    pub(super) applied: Seq,
    pub(super) position: Position,
    pub(super) followed: Followed,
    rate: Rate,
    paused_until: Option<Instant>,
    /// When the oldest command behind the entries in `out` was read from its socket.
    accepted: Option<Instant>,
    draining: bool,
    pub(super) welcomed: bool,
    asked: Asked,
    until: Instant,
    pub(super) closed: Option<Closed>,
}

/// What the session asked for that needs an await.
#[derive(Default)]
struct Asked {
    hello: Option<Box<wire::Hello>>,
    resend: Option<Seq>,
}

enum Wake {
    News(News),
    Bytes(BytesMut),
    Deadline,
    Gone,
}

impl Connection {
    /// A connection whose client has said nothing yet.
    pub(super) fn new(context: Arc<Context>, transport: Transport, guest: Option<Guest>) -> Self {
        let now = Instant::now();
        Self {
            session: Session::server(context.session.clone(), now),
            context,
            transport,
            member: None,
            guest,
            feed: Feed::default(),
            records: Vec::new(),
            rest: BytesMut::new(),
            out: BytesMut::new(),
            welcome_head: 0,
            applied: 0,
            position: Position::default(),
            followed: Followed::default(),
            rate: Rate::new(),
            paused_until: None,
            accepted: None,
            draining: false,
            welcomed: false,
            asked: Asked::default(),
            until: now,
            closed: None,
        }
    }

    /// Runs until either side ends it.
    pub(super) async fn run(mut self) {
        let mut sleep = Box::pin(sleep_until(self.until.into()));
        while self.settle().await {
            match self.wait(&mut sleep).await {
                Wake::News(news) => self.handle_news(news),
                Wake::Bytes(bytes) => self.handle_bytes(bytes),
                Wake::Deadline => self.handle_deadline(),
                Wake::Gone => break,
            }
        }
        Box::pin(self.end()).await;
    }

    /// Does everything that can be done before waiting. False: it is over.
    async fn settle(&mut self) -> bool {
        loop {
            self.drain();
            if let Some(hello) = self.asked.hello.take() {
                Box::pin(self.greet(*hello)).await;
            } else if let Some(seq) = self.asked.resend.take() {
                Box::pin(self.resend(seq)).await;
            } else if !self.records.is_empty() {
                Box::pin(self.hand_over()).await;
            } else if self.fill_window() {
                Box::pin(self.read_page()).await;
            } else {
                break;
            }
        }
        self.finish_draining();
        self.flush().await.is_ok() && self.closed.is_none()
    }

    /// Takes everything out of the session: frames to write, and what to do.
    pub(super) fn drain(&mut self) {
        loop {
            match self.session.poll() {
                Output::Send(frame) => frame::encode(&frame, &mut self.out),
                Output::Event(event) => self.on_event(event),
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

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Hello(hello) => self.asked.hello = Some(Box::new(hello)),
            Event::Resend { seq } => self.asked.resend = Some(seq),
            // A repeat goes the same way: the store compares it with what it applied.
            Event::Received { seq, body } | Event::Repeated { seq, body } => {
                let Some(member) = &self.member else { return };
                let (tracer, acked) = (&self.context.tracer, self.session.durable());
                let trace = self.followed.begin(tracer, member, acked, (seq, &body));
                self.records.push(Record::Command {
                    user: member.user(),
                    device: member.device(),
                    session: member.session(),
                    client_seq: seq,
                    command: body,
                    once: None,
                    trace,
                });
            }
            Event::Acked { position } => self.on_acked(position),
            // A server's session gives none of the others, but for notices, which mean nothing yet.
            _ => {}
        }
    }

    fn on_acked(&mut self, position: Seq) {
        let delivered = self.feed.acked(position);
        self.position.ack(position);
        self.record_ack(delivered, false);
    }

    /// Leaves an ack record where one is due.
    pub(super) fn record_ack(&mut self, delivered: Vec<(ConversationId, Seq)>, store_now: bool) {
        let Some(member) = &self.member else { return };
        let now = Instant::now();
        self.records.extend(self.position.record(now, member, delivered, store_now));
    }

    fn handle_bytes(&mut self, bytes: BytesMut) {
        let now = Instant::now();
        let mut buffer = std::mem::take(&mut self.rest);
        if buffer.is_empty() {
            buffer = bytes;
        } else {
            buffer.extend_from_slice(&bytes);
        }
        let before = self.records.len();
        let frame_bytes_max = self.context.config.frame_bytes_max;
        while self.closed.is_none() {
            match frame::decode(&mut buffer, frame_bytes_max) {
                Ok(Some(frame)) => self.session.handle_frame(now, frame),
                Ok(None) => break,
                Err(FrameError::TooLarge { .. }) => self.session.close(Code::FrameTooLarge),
                Err(FrameError::Malformed) => self.session.close(Code::Malformed),
            }
            self.drain();
        }
        // A copy, so that a few bytes do not keep a whole read alive.
        self.rest = BytesMut::from(&buffer[..]);
        let commands = u32::try_from(self.records.len() - before).unwrap_or(u32::MAX);
        if commands > 0 {
            let config = &self.context.config;
            let (rate, burst) = (config.commands_per_second, config.commands_burst);
            self.paused_until = self.rate.take(now, commands, rate, burst);
        }
    }

    fn handle_news(&mut self, news: News) {
        let now = Instant::now();
        self.applied = self.applied.max(news.acked);
        self.confirm(now);
        self.feed.news(news.entries, news.head);
        self.accepted = self.accepted.or(news.accepted);
        if let Some(after) = news.go_away {
            self.session.go_away(after);
            self.draining = true;
            self.drain();
        }
        if let Some(code) = news.close {
            self.session.close(code);
        }
    }

    /// Acks what is applied. After a reconnect the commit path may tell of numbers that this
    /// session has not received again yet; they come as repeats.
    fn confirm(&mut self, now: Instant) {
        let position = self.applied.min(self.session.received());
        if position > self.session.durable() {
            self.session.processed(now, position);
            if let Some(member) = &self.member {
                self.followed.acked(&self.context.tracer, member, position);
            }
            self.drain();
        }
    }

    fn handle_deadline(&mut self) {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        if self.position.due().is_some_and(|due| due <= now) {
            self.record_ack(Vec::new(), true);
        }
        self.session.handle_timeout(now);
    }

    /// Pushes what the window takes. True: the next entry must be read from the store first.
    fn fill_window(&mut self) -> bool {
        let Some(member) = &self.member else { return false };
        let (user, device) = (member.user(), member.device());
        let now = Instant::now();
        let mut pushed = 0;
        while let Some(next) = self.session.next_push() {
            let entry = match self.feed.next(next) {
                Next::Entry(entry) => entry,
                Next::Read => {
                    self.context.metrics.pushed.increment(pushed);
                    return true;
                }
                Next::Nothing => break,
            };
            let own = entry.mark == (Mark::Own { device }) && entry.seq > self.welcome_head;
            let body = if own { wire::without_body(&entry.entry) } else { entry.entry.clone() };
            let body = self.context.fitting(user, next, body);
            if self.session.push(now, body).is_err() {
                self.feed.put_back(entry);
                break;
            }
            self.feed.pushed(entry.mark);
            pushed += 1;
            planted::pushed(user, device, &entry, &mut self.records);
            self.drain();
        }
        self.context.metrics.pushed.increment(pushed);
        false
    }

    /// After GoAway nothing new is read; once all commands are acked the session ends.
    fn finish_draining(&mut self) {
        if self.draining && self.session.durable() == self.session.received() {
            self.session.close(Code::GoingAway);
            self.drain();
        }
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let frames = std::mem::take(&mut self.out).freeze();
        self.transport.write(frames, self.context.config.write_timeout).await?;
        let now = Instant::now();
        self.session.written(now);
        if let Some(accepted) = self.accepted.take() {
            self.context.metrics.accept_to_socket.record((now - accepted).as_secs_f64());
        }
        self.drain();
        Ok(())
    }

    /// Waits for whatever comes first.
    async fn wait(&mut self, sleep: &mut Pin<Box<Sleep>>) -> Wake {
        let mut until = self.until;
        for due in [self.paused_until, self.position.due()].into_iter().flatten() {
            until = until.min(due);
        }
        // The deadline mostly moves later; then the timer fires once too early, which is cheaper
        // than moving it with every frame.
        if sleep.is_elapsed() || sleep.deadline().into_std() > until {
            sleep.as_mut().reset(until.into());
        }
        let reading = self.paused_until.is_none() && !self.draining;
        std::future::poll_fn(|context| {
            if let Some(news) = self.member.as_ref().and_then(|member| member.poll_news(context)) {
                return Poll::Ready(Wake::News(news));
            }
            if reading && let Poll::Ready(read) = self.transport.poll_read(context) {
                return Poll::Ready(match read {
                    Ok(Some(bytes)) => Wake::Bytes(bytes),
                    Ok(None) => Wake::Gone,
                    Err(error) => {
                        debug!(%error, "a socket failed");
                        Wake::Gone
                    }
                });
            }
            sleep.as_mut().poll(context).map(|()| Wake::Deadline)
        })
        .await
    }
}
