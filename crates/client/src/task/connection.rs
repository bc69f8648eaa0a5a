//! One connection: a socket, a session, and the device's model between them. The thin shell: drain
//! the session, store what came, then wait for socket, work or deadline.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::{
    Code, Frame, Seq,
    fault::Fault,
    frame::{self, FRAME_BYTES_MAX, FrameError},
    session::{Closed, Config, Event as Happened, Output, PROTOCOL_VERSION, Session},
    wire,
};
use bytes::{Bytes, BytesMut};
use tokio::time::{Sleep, sleep_until};

use super::{Task, socket::Socket};
use crate::{
    error::{Error, ErrorKind, Result},
    event::{ConnectionState, Event},
    history,
    model::{KeyMissing, Outcome},
    storage::Change,
};

/// Largest frame of a server whose limit is above the default, whatever it says.
const FRAME_BYTES_CEILING: usize = 1024 * 1024;
/// Most entries in flight, whatever the server says. Each read's entries are stored before the next
/// read.
const ENTRIES_CEILING: u32 = 4_096;
/// Commands are written in parts of about this size: a WebSocket message holds at most 1 MiB.
const WRITE_BYTES: usize = 256 * 1024;
/// Longest that a server may take to go away; then this end leaves by itself.
const GO_AWAY_MAX: Duration = Duration::from_secs(60);
/// How long to look for the server's last words after a write failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) struct Connection<'a> {
    /// The server asked to start from a snapshot.
    pub(super) reset: Option<wire::Reset>,
    /// Since when the connection stands.
    pub(super) welcomed_at: Option<Instant>,
    task: &'a Task,
    socket: Socket,
    session: Session,
    input: BytesMut,
    out: BytesMut,
    /// Entries received and not stored yet, in order.
    entries: VecDeque<(Seq, Bytes)>,
    outcome: Outcome,
    /// The highest command that the server has, as far as it is not noted yet.
    sent: Seq,
    caught_up: bool,
    /// Commands that the Welcome told to be applied: their entries are here when the device caught
    /// up.
    applied: Seq,
    frame_bytes_max: usize,
    heartbeat: Duration,
    heard: Instant,
    state: ConnectionState,
    told: ConnectionState,
    until: Instant,
    sleep: Pin<Box<Sleep>>,
    closed: Option<Closed>,
    leave_by: Option<Instant>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(task: &'a Task, socket: Socket) -> Self {
        let hello = {
            let local = task.shared.local.lock();
            let model = &local.model;
            let token = model.identity.as_ref().map(|identity| identity.token.clone());
            wire::Hello {
                version: PROTOCOL_VERSION,
                token: token.unwrap_or_default(),
                epoch: model.epoch.clone(),
                position: model.position,
                outbox_head: model.outbox.head(),
                outbox_trimmed: model.outbox.trimmed(),
            }
        };
        let config = Arc::new(Config::default());
        let (now, heartbeat) = (Instant::now(), config.heartbeat);
        Self {
            reset: None,
            welcomed_at: None,
            task,
            socket,
            session: Session::client(config, hello, now),
            input: BytesMut::new(),
            out: BytesMut::new(),
            entries: VecDeque::new(),
            outcome: Outcome::default(),
            sent: 0,
            caught_up: false,
            applied: 0,
            frame_bytes_max: FRAME_BYTES_MAX,
            heartbeat,
            heard: now,
            state: ConnectionState::default(),
            told: ConnectionState::default(),
            until: now,
            sleep: Box::pin(sleep_until(now.into())),
            closed: None,
            leave_by: None,
        }
    }

    /// Runs to the end.
    pub(super) async fn run(&mut self) -> Result<Closed> {
        loop {
            self.settle().await?;
            if let Some(closed) = self.closed.take() {
                return Ok(closed);
            }
            self.wait().await?;
        }
    }

    /// Stores what came, pushes what the window takes, writes.
    async fn settle(&mut self) -> Result<()> {
        self.drain();
        self.store().await?;
        loop {
            let is_more = self.push_commands();
            self.drain();
            self.tell_state();
            self.flush().await?;
            if !is_more {
                return Ok(());
            }
        }
    }

    /// Writes what waits. When that fails the server may have said why, so that is looked for;
    /// without it a device that was replaced would connect again and throw the other one out.
    async fn flush(&mut self) -> Result<()> {
        if self.out.is_empty() || self.closed.as_ref().is_some_and(|closed| closed.by_peer) {
            return Ok(());
        }
        let frames = self.out.split().freeze();
        match self.socket.write(frames).await {
            Ok(()) => {
                self.session.written(Instant::now());
                self.drain();
                Ok(())
            }
            Err(_) if self.closed.is_some() => Ok(()),
            Err(error) => {
                let last_words = async {
                    while self.closed.is_none() && self.socket.read(&mut self.input).await.is_ok() {
                        self.handle_input();
                    }
                };
                let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
                match &self.closed {
                    Some(closed) if closed.by_peer => self.store().await,
                    _ => Err(unreachable(error)),
                }
            }
        }
    }

    fn drain(&mut self) {
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

    fn on_event(&mut self, event: Happened) {
        match event {
            Happened::Welcome(welcome) => {
                self.on_welcome(&welcome);
            }
            Happened::Received { seq, body } => self.entries.push_back((seq, body)),
            Happened::Acked { position } => self.sent = self.sent.max(position),
            Happened::Resend { seq } => {
                let command = self.task.shared.local.lock().model.outbox.command(seq);
                if let Some(command) = command {
                    self.session.resend(Instant::now(), seq, command);
                }
            }
            Happened::CaughtUp => self.caught_up = true,
            Happened::Reset(reset) => self.reset = Some(reset),
            Happened::GoAway { after } => {
                self.leave_by = Some(Instant::now() + after.min(GO_AWAY_MAX));
            }
            Happened::Hello(_) | Happened::Repeated { .. } | Happened::Notify(_) => {}
        }
    }

    fn on_welcome(&mut self, welcome: &wire::Welcome) {
        let (position, digest) = (welcome.outbox_position, &welcome.outbox_digest);
        if self.task.shared.local.lock().model.outbox.contradicts(position, digest) {
            // Before anything of the Welcome is believed: what it tells to be applied is not what
            // this storage holds under those numbers, and has to be moved.
            return self.session.close(Code::DeviceStale);
        }
        self.welcomed_at = Some(Instant::now());
        self.state.socket_healthy = true;
        self.sent = self.sent.max(welcome.outbox_position);
        self.applied = welcome.outbox_position;
        if welcome.heartbeat_ms > 0 {
            self.heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms));
        }
        let limits = welcome.limits.unwrap_or_default();
        let told = limits.frame_bytes_max as usize;
        self.frame_bytes_max = told.clamp(FRAME_BYTES_MAX, FRAME_BYTES_CEILING);
        let mut local = self.task.shared.local.lock();
        local.model.on_limits(&limits);
        if local.model.outbox.trimmed() > welcome.outbox_position {
            // The server lost commands whose results this device holds, without a new epoch.
            drop(local);
            self.session.close(Code::OutboxGap);
        }
    }

    /// Stores the received entries and the new position in one transaction, then acks them. Keys
    /// that are not here yet are fetched first.
    async fn store(&mut self) -> Result<()> {
        let mut keys_are_fresh = false;
        while self.store_some(keys_are_fresh)? {
            let rest = self.task.shared.authorized();
            let fetched = history::fetch_keys(&self.task.shared, &rest);
            self.task.unless_closing(fetched).await?;
            keys_are_fresh = true;
        }
        Ok(())
    }

    /// True: a key is missing for the first entry that is left.
    fn store_some(&mut self, keys_are_fresh: bool) -> Result<bool> {
        if self.sent == 0 && self.entries.is_empty() && !self.caught_up {
            return Ok(false);
        }
        let shared = &self.task.shared;
        let outcome = &mut self.outcome;
        let mut local = shared.local.lock();
        let model = &mut local.model;
        let sent = std::mem::take(&mut self.sent);
        if model.outbox.ack(sent) {
            outcome.events.push(Event::Sent { client_seq: sent });
            if Fault::TrimAtAck.is_on() {
                model.trim(sent, outcome);
            }
        }
        let mut stored = None;
        let mut is_missing = false;
        while let Some((seq, body)) = self.entries.front() {
            if let Err(KeyMissing) = model.on_entry(*seq, body, keys_are_fresh, outcome) {
                is_missing = true;
                break;
            }
            stored = Some(*seq);
            self.entries.pop_front();
        }
        if let Some(position) = stored {
            outcome.changes.push(Change::Position { epoch: None, position });
        }
        if !is_missing && std::mem::take(&mut self.caught_up) {
            // Whatever entry named them is stored now.
            model.trim(self.applied, outcome);
            outcome.events.push(Event::CaughtUp);
            self.state.device_online = true;
        }
        shared.settle(&mut local, outcome)?;
        drop(local);
        if let Some(position) = stored {
            self.session.processed(Instant::now(), position);
            self.drain();
        }
        Ok(is_missing)
    }

    /// Pushes commands for one write. True: there is room for more.
    fn push_commands(&mut self) -> bool {
        if self.leave_by.is_some() {
            return false;
        }
        let now = Instant::now();
        let local = self.task.shared.local.lock();
        let mut bytes = 0;
        while let Some(next) = self.session.next_push() {
            if next <= local.model.outbox.trimmed() {
                // An older connection had sent it, and it was applied after this Welcome was made:
                // its entry came before it could be pushed again here. It is forgotten, and nothing
                // may follow with a gap. The next Welcome stands behind it.
                drop(local);
                self.session.close(Code::Normal);
                return false;
            }
            let Some(command) = local.model.outbox.command(next) else { break };
            bytes += command.len();
            if self.session.push(now, command).is_err() {
                break;
            }
            if bytes >= WRITE_BYTES {
                return true;
            }
        }
        false
    }

    fn tell_state(&mut self) {
        if self.closed.is_none() && self.told != self.state {
            self.told = self.state;
            self.task.shared.set_state(self.state);
        }
    }

    async fn wait(&mut self) -> Result<()> {
        let shared = &self.task.shared;
        if shared.is_closing() {
            self.session.close(Code::Normal);
            return Ok(());
        }
        let mut until = self.until;
        for due in [self.leave_by, self.silent_at()].into_iter().flatten() {
            until = until.min(due);
        }
        // The deadline mostly moves later; then the timer fires once too early, which is cheaper
        // than moving it with every frame.
        if self.sleep.is_elapsed() || self.sleep.deadline().into_std() > until {
            self.sleep.as_mut().reset(until.into());
        }
        tokio::select! {
            read = self.socket.read(&mut self.input) => {
                read.map_err(unreachable)?;
                self.handle_input();
            }
            () = shared.work.notified() => {}
            () = self.sleep.as_mut() => self.handle_deadline(),
        }
        Ok(())
    }

    /// When the server is overdue: it answers a Ping of each heartbeat.
    fn silent_at(&self) -> Option<Instant> {
        self.state.socket_healthy.then(|| self.heard + self.heartbeat * 3 / 2)
    }

    fn handle_deadline(&mut self) {
        let now = Instant::now();
        if self.silent_at().is_some_and(|silent_at| silent_at <= now) {
            self.state.socket_healthy = false;
        }
        if self.leave_by.is_some_and(|leave_by| leave_by <= now) {
            self.session.close(Code::Normal);
        }
        self.session.handle_timeout(now);
    }

    fn handle_input(&mut self) {
        let now = Instant::now();
        self.heard = now;
        self.state.socket_healthy = self.welcomed_at.is_some();
        while self.closed.is_none() {
            match frame::decode(&mut self.input, self.frame_bytes_max) {
                Ok(Some(frame)) => self.session.handle_frame(now, capped(frame)),
                Ok(None) => break,
                Err(FrameError::TooLarge { .. }) => self.session.close(Code::FrameTooLarge),
                Err(FrameError::Malformed) => self.session.close(Code::Malformed),
            }
            self.drain();
        }
    }
}

/// A server's frame within what this end allows.
fn capped(mut frame: Frame) -> Frame {
    if let Frame::Welcome(wire::Welcome { limits: Some(limits), .. }) = &mut frame {
        limits.entries_in_flight_max = limits.entries_in_flight_max.min(ENTRIES_CEILING);
    }
    frame
}

fn unreachable(error: std::io::Error) -> Error {
    Error::with(ErrorKind::Unreachable, "the connection broke", error)
}
