//! A device: what it keeps on its disk, and its end of a connection. It follows the rules that the
//! SDK follows (`crates/client`), which the server may not import.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use anser_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    fault::Fault,
    frame::{self, FRAME_BYTES_MAX},
    session::{Closed, Config, Event, Output, PROTOCOL_VERSION, Session},
    wire::{self, entry::Kind},
};
use bytes::{Bytes, BytesMut};
use prost::Message as _;

use super::check::Check;

/// A device with its process.
pub(super) struct Device {
    pub(super) disk: Disk,
    /// An old copy of the disk, which may come back.
    pub(super) copy: Option<Disk>,
    /// The highest command that the server is known to have; the process forgets it.
    pub(super) acked: Seq,
    pub(super) line: Option<usize>,
    /// The process that waits for a snapshot or a login, and does not connect meanwhile.
    pub(super) asks: Option<u32>,
    /// Counts the processes, so that what an old one had planned is known.
    pub(super) process: u32,
    pub(super) failures: u32,
}

/// All that a device keeps, changed in transactions.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    pub(super) epoch: String,
    pub(super) position: Seq,
    /// The highest command number ever given out.
    pub(super) head: Seq,
    /// What is not forgotten: the last ones up to `head`.
    pub(super) outbox: VecDeque<Held>,
    /// The highest message seen of each conversation.
    pub(super) seen: BTreeMap<ConversationId, Seq>,
}

/// A command in an outbox.
#[derive(Clone)]
pub(super) struct Held {
    /// Its number in the record of the simulation.
    pub(super) id: usize,
    pub(super) bytes: Bytes,
    /// The history has its message.
    pub(super) applied: bool,
}

impl Disk {
    pub(super) fn new(user: UserId, device: DeviceId, epoch: String, position: Seq) -> Self {
        let (outbox, seen) = (VecDeque::new(), BTreeMap::new());
        Self { user, device, epoch, position, head: 0, outbox, seen }
    }

    pub(super) fn trimmed(&self) -> Seq {
        self.head - self.outbox.len() as Seq
    }

    pub(super) fn held(&self, client_seq: Seq) -> Option<&Held> {
        let index = client_seq.checked_sub(self.trimmed() + 1)?;
        self.outbox.get(usize::try_from(index).ok()?)
    }

    pub(super) fn push(&mut self, held: Held) {
        self.outbox.push_back(held);
        self.head += 1;
    }

    /// Forgets commands up to `through`.
    pub(super) fn trim(&mut self, through: Seq, history: u32, check: &mut Check) {
        while self.trimmed() < through.min(self.head) {
            let client_seq = self.trimmed() + 1;
            let Some(held) = self.outbox.pop_front() else { return };
            check.trimmed(self.device, client_seq, held.id, history);
        }
    }

    /// Another command than the one held here was applied under this number.
    pub(super) fn contradicts(&self, position: Seq, digest: &[u8]) -> bool {
        let held = self.held(position);
        let differs = held.is_some_and(|held| wire::outbox_digest_differs(&held.bytes, digest));
        differs && !Fault::TrustOldCopy.is_on()
    }

    /// Stores an entry in the running transaction.
    fn on_entry(&mut self, seq: Seq, body: &Bytes, history: u32, check: &mut Check) {
        check.stored(self, seq, body, history);
        self.position = seq;
        let entry = wire::Entry::decode(body.clone()).expect("entries decode");
        let (device, client_seq) = match entry.kind {
            Some(Kind::Message(message)) => {
                let seen = self.seen.entry(ConversationId(message.conversation)).or_default();
                *seen = message.conv_seq.max(*seen);
                (message.device, message.client_seq)
            }
            Some(Kind::ReadMark(mark)) => (mark.device, mark.client_seq),
            Some(Kind::Rejected(rejected)) => (rejected.device, rejected.client_seq),
            _ => return,
        };
        if DeviceId(device) == self.device {
            self.trim(client_seq, history, check);
        }
    }
}

/// The client's end of a connection.
pub(super) struct Client {
    pub(super) session: Session,
    input: BytesMut,
    out: BytesMut,
    /// Received and not stored.
    entries: VecDeque<(Seq, Bytes)>,
    caught_up_due: bool,
    pub(super) caught_up: bool,
    /// Commands that the Welcome told to be applied.
    applied: Seq,
    leaving: bool,
    pub(super) reset: Option<wire::Reset>,
    pub(super) welcomed: bool,
    until: Instant,
    pub(super) closed: Option<Closed>,
    /// When a timer event is due, and whether a transaction is.
    pub(super) timer: Option<Instant>,
    pub(super) storing: bool,
}

/// What a client's end works on.
pub(super) struct Around<'a> {
    pub(super) now: Instant,
    pub(super) disk: &'a mut Disk,
    pub(super) acked: &'a mut Seq,
    pub(super) check: &'a mut Check,
    /// The server's history when the line was opened.
    pub(super) history: u32,
}

impl Client {
    pub(super) fn new(config: &Arc<Config>, disk: &Disk, now: Instant) -> Self {
        let hello = wire::Hello {
            version: PROTOCOL_VERSION,
            token: disk.device.to_string(),
            epoch: disk.epoch.clone(),
            position: disk.position,
            outbox_head: disk.head,
            outbox_trimmed: disk.trimmed(),
        };
        Self {
            session: Session::client(config.clone(), hello, now),
            input: BytesMut::new(),
            out: BytesMut::new(),
            entries: VecDeque::new(),
            caught_up_due: false,
            caught_up: false,
            applied: 0,
            leaving: false,
            reset: None,
            welcomed: false,
            until: now,
            closed: None,
            timer: None,
            storing: false,
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.until
    }

    /// Whether a transaction is due.
    pub(super) fn has_to_store(&self) -> bool {
        !self.entries.is_empty() || self.caught_up_due
    }

    pub(super) fn handle_bytes(&mut self, around: &mut Around<'_>, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while self.closed.is_none() {
            match frame::decode(&mut self.input, FRAME_BYTES_MAX) {
                Ok(Some(frame)) => self.session.handle_frame(around.now, frame),
                Ok(None) => break,
                Err(_) => self.session.close(Code::Malformed),
            }
            self.drain(around);
        }
    }

    /// Pushes what the window takes; gives what is to be written.
    pub(super) fn settle(&mut self, around: &mut Around<'_>) -> Bytes {
        self.drain(around);
        self.push_commands(around);
        self.drain(around);
        if self.out.is_empty() {
            return Bytes::new();
        }
        let out = self.out.split().freeze();
        self.session.written(around.now);
        self.drain(around);
        out
    }

    /// Entries and position in one transaction; then they may be acked.
    pub(super) fn store(&mut self, around: &mut Around<'_>) {
        self.storing = false;
        let mut stored = None;
        while let Some((seq, body)) = self.entries.pop_front() {
            around.disk.on_entry(seq, &body, around.history, around.check);
            stored = Some(seq);
        }
        if std::mem::take(&mut self.caught_up_due) {
            // Whatever entry named them is stored now.
            around.disk.trim(self.applied, around.history, around.check);
            self.caught_up = true;
        }
        if let Some(position) = stored {
            self.session.processed(around.now, position);
        }
    }

    fn drain(&mut self, around: &mut Around<'_>) {
        loop {
            match self.session.poll() {
                Output::Send(frame) => frame::encode(&frame, &mut self.out),
                Output::Event(event) => self.on_event(event, around),
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

    fn on_event(&mut self, event: Event, around: &mut Around<'_>) {
        match event {
            Event::Welcome(welcome) => self.on_welcome(&welcome, around),
            Event::Received { seq, body } => self.entries.push_back((seq, body)),
            Event::Acked { position } => self.on_acked(position, around),
            Event::Resend { seq } => {
                if let Some(held) = around.disk.held(seq) {
                    self.session.resend(around.now, seq, held.bytes.clone());
                }
            }
            Event::CaughtUp => self.caught_up_due = true,
            Event::Reset(reset) => {
                around.check.told(around.disk.device, reset.outbox_position);
                self.reset = Some(reset);
            }
            Event::GoAway { .. } => self.leaving = true,
            Event::Hello(_) | Event::Repeated { .. } | Event::Notify(_) => {}
        }
    }

    fn on_welcome(&mut self, welcome: &wire::Welcome, around: &mut Around<'_>) {
        let position = welcome.outbox_position;
        if around.disk.contradicts(position, &welcome.outbox_digest) {
            return self.session.close(Code::DeviceStale);
        }
        self.welcomed = true;
        self.applied = position;
        around.check.told(around.disk.device, position);
        self.on_acked(position, around);
        if around.disk.trimmed() > position {
            self.session.close(Code::OutboxGap);
        }
    }

    fn on_acked(&mut self, position: Seq, around: &mut Around<'_>) {
        let position = position.min(around.disk.head);
        if position <= *around.acked {
            return;
        }
        around.check.acked(around.disk, *around.acked + 1..=position, around.history);
        *around.acked = position;
        if Fault::TrimAtAck.is_on() {
            around.disk.trim(position, around.history, around.check);
        }
    }

    fn push_commands(&mut self, around: &mut Around<'_>) {
        if self.leaving {
            return;
        }
        while let Some(next) = self.session.next_push() {
            if next <= around.disk.trimmed() {
                // An older connection had sent it, and its entry came before this could be pushed.
                return self.session.close(Code::Normal);
            }
            let Some(held) = around.disk.held(next) else { break };
            if self.session.push(around.now, held.bytes.clone()).is_err() {
                break;
            }
            self.drain(around);
        }
    }
}
