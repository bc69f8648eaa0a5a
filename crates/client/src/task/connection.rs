//! One connection: a socket, a session, and the device's model between them. The thin shell: drain the
//! session, store what came, then wait for socket, work or deadline.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::{
    Code, Seq,
    fault::Fault,
    frame,
    session::{Closed, Config, Event as Happened, Output, Session},
    wire,
};
use bytes::{Bytes, BytesMut};

use super::{Task, socket::Socket};
use crate::{
    error::{Error, ErrorKind, Result},
    event::{ConnectionState, Event},
    model::{KeyMissing, Outcome},
    storage::Change,
};

/// What follows the end of a connection.
pub(super) enum End {
    /// Connect again.
    Again,
    /// Never again.
    Final(Option<Code>),
}

pub(super) struct Connection<'a> {
    task: &'a Task,
    socket: Socket,
    session: Session,
    input: BytesMut,
    out: BytesMut,
    /// Entries received and not stored yet, in order.
    entries: Vec<(Seq, Bytes)>,
    sent: Seq,
    caught_up: bool,
    reset: Option<wire::Reset>,
    state: ConnectionState,
    welcomed: bool,
    until: Instant,
    closed: Option<Closed>,
    leave_by: Option<Instant>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(task: &'a Task, socket: Socket) -> Self {
        let local = task.shared.local.lock();
        let model = &local.model;
        let token = model.identity.as_ref().map(|identity| identity.token.clone());
        let hello = wire::Hello {
            version: 1,
            token: token.unwrap_or_default(),
            epoch: model.epoch.clone(),
            position: model.position,
            outbox_head: model.outbox.head(),
            outbox_trimmed: model.outbox.trimmed(),
        };
        let now = Instant::now();
        Self {
            task,
            socket,
            session: Session::client(Arc::new(Config::default()), hello, now),
            input: BytesMut::new(),
            out: BytesMut::new(),
            entries: Vec::new(),
            sent: 0,
            caught_up: false,
            reset: None,
            state: ConnectionState::default(),
            welcomed: false,
            until: now,
            closed: None,
            leave_by: None,
        }
    }

    /// Runs to the end; `attempt` goes back to 0 once the server welcomed the device.
    pub(super) async fn run(mut self, attempt: &mut u32) -> Result<Closed> {
        loop {
            self.settle().await?;
            if self.welcomed {
                *attempt = 0;
            }
            if let Some(reset) = self.reset.take() {
                self.task.on_reset(&reset).await?;
            }
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
        self.push_commands();
        self.drain();
        self.tell_state();
        if !self.out.is_empty() {
            let frames = self.out.split().freeze();
            self.socket.write(frames).await.map_err(unreachable)?;
            self.session.written(Instant::now());
            self.drain();
        }
        Ok(())
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
                self.welcomed = true;
                self.state.socket_healthy = true;
                self.sent = self.sent.max(welcome.outbox_position);
            }
            Happened::Received { seq, body } => self.entries.push((seq, body)),
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
                let leave_by = Instant::now() + after.min(Duration::from_secs(60));
                self.leave_by = Some(leave_by);
            }
            Happened::Hello(_) | Happened::Repeated { .. } | Happened::Notify(_) => {}
        }
    }

    /// Stores the received entries and the new position in one transaction, then acks them. Keys
    /// that are not here yet are fetched first.
    async fn store(&mut self) -> Result<()> {
        let mut keys_are_fresh = false;
        while self.store_some(keys_are_fresh)? {
            self.task.fetch_keys().await?;
            keys_are_fresh = true;
        }
        Ok(())
    }

    /// True: a key is missing for the first entry that is left.
    fn store_some(&mut self, keys_are_fresh: bool) -> Result<bool> {
        let news = self.sent > 0 || !self.entries.is_empty() || self.caught_up;
        if !news {
            return Ok(false);
        }
        let mut outcome = Outcome::default();
        let shared = &self.task.shared;
        let mut local = shared.local.lock();
        let sent = std::mem::take(&mut self.sent);
        if local.model.outbox.ack(sent) {
            outcome.events.push(Event::Sent { client_seq: sent });
            if Fault::TrimAtAck.is_on() && local.model.outbox.trim(sent) {
                outcome.changes.push(Change::Trim { through: sent });
            }
        }
        let mut stored = None;
        let mut missing = false;
        let mut entries = std::mem::take(&mut self.entries).into_iter();
        while let Some((seq, body)) = entries.next() {
            let taken = local.model.on_entry(seq, body.clone(), keys_are_fresh, &mut outcome);
            if let Err(KeyMissing) = taken {
                missing = true;
                self.entries.push((seq, body));
                self.entries.extend(entries);
                break;
            }
            stored = Some(seq);
        }
        if let Some(position) = stored {
            outcome.changes.push(Change::Position { epoch: None, position });
        }
        if !missing && std::mem::take(&mut self.caught_up) {
            outcome.events.push(Event::CaughtUp);
            self.state.device_online = true;
        }
        shared.settle(&mut local, outcome)?;
        drop(local);
        if let Some(position) = stored {
            self.session.processed(Instant::now(), position);
            self.drain();
        }
        Ok(missing)
    }

    fn push_commands(&mut self) {
        if self.leave_by.is_some() {
            return;
        }
        let now = Instant::now();
        let local = self.task.shared.local.lock();
        while let Some(next) = self.session.next_push() {
            if next <= local.model.outbox.trimmed() {
                // What an older connection had sent was applied after this Welcome was written, and its
                // entries came before it could be pushed again here. It can not be pushed any more, and
                // nothing may follow with a gap. The next Welcome stands behind it.
                drop(local);
                self.session.close(Code::Normal);
                return;
            }
            let Some(command) = local.model.outbox.command(next) else { break };
            if self.session.push(now, command).is_err() {
                break;
            }
        }
    }

    fn tell_state(&mut self) {
        if self.closed.is_none() {
            self.task.shared.set_state(self.state);
        }
    }

    async fn wait(&mut self) -> Result<()> {
        let shared = &self.task.shared;
        if shared.is_closing() {
            self.session.close(Code::Normal);
            return Ok(());
        }
        let until = self.leave_by.map_or(self.until, |leave_by| leave_by.min(self.until));
        tokio::select! {
            read = self.socket.read(&mut self.input) => {
                read.map_err(unreachable)?;
                self.handle_input();
            }
            () = shared.work.notified() => {}
            () = tokio::time::sleep_until(until.into()) => {
                let now = Instant::now();
                if self.leave_by.is_some_and(|leave_by| leave_by <= now) {
                    self.session.close(Code::Normal);
                }
                self.session.handle_timeout(now);
            }
        }
        Ok(())
    }

    fn handle_input(&mut self) {
        let now = Instant::now();
        while self.closed.is_none() {
            match frame::decode(&mut self.input, frame::FRAME_BYTES_MAX) {
                Ok(Some(frame)) => self.session.handle_frame(now, frame),
                Ok(None) => break,
                Err(_) => self.session.close(Code::Malformed),
            }
            self.drain();
        }
    }
}

fn unreachable(error: std::io::Error) -> Error {
    Error::with(ErrorKind::Unreachable, "the connection broke", error)
}
