//! What users do, and how their devices go on after the end of a connection.

use std::time::Duration;

use anser_proto::{Code, ConversationId, DeviceId, Seq, session::Closed, wire};
use bytes::{BufMut, BytesMut};
use prost::Message as _;

use super::{
    check::{BadBody, What},
    device::{Client, Disk, Held},
    event::Event,
    line::To,
    server::Bell,
    world::{BODY_BYTES_MAX, World},
};

impl World {
    // ---- users ----

    /// Somebody gives out some commands.
    pub(super) fn act(&mut self) {
        let device = self.random.index(self.devices.len());
        let count = 1 + self.random.below(self.knobs.burst);
        for _ in 0..count {
            self.give_out(device);
        }
        if let Some(line) = self.devices[device].line {
            self.with_client(line, |_, _| {});
        }
        let left = (self.knobs.commands as u64).saturating_sub(self.reached.commands);
        if left > 0 || !(self.healed || self.knobs.slow_end) {
            let trouble = u64::try_from(self.knobs.trouble.as_millis()).expect("minutes");
            let acts = self.knobs.commands as u64 * 2 / (1 + self.knobs.burst);
            let pace = if self.healed { 100 } else { 2 * trouble / acts.max(1) };
            let delay = Duration::from_millis(self.random.below(pace + 1));
            self.after(delay, Event::Act);
        }
    }

    /// None, or a few.
    pub(super) fn give_out_some(&mut self, device: usize) {
        for _ in 0..self.random.below(6) {
            self.give_out(device);
        }
    }

    pub(super) fn give_out(&mut self, device: usize) {
        self.reached.commands += 1;
        let user = self.devices[device].disk.user;
        let all: Vec<ConversationId> = self.check.conversations.keys().copied().collect();
        let member = |id: &&ConversationId| self.check.conversations[*id].contains(&user);
        let own: Vec<ConversationId> = all.iter().filter(member).copied().collect();
        let stranger = own.is_empty() || self.random.chance(20);
        let from = if stranger { &all } else { &own };
        let conversation = from[self.random.index(from.len())];
        let what = if self.random.chance(200) {
            let seen = self.devices[device].disk.seen.get(&conversation).copied().unwrap_or(0);
            let above = u64::from(self.random.chance(30)) * 50;
            let back = self.random.below(3);
            What::Read { conversation, conv_seq: seen.saturating_sub(back) + above }
        } else {
            let fault = self.random.chance(40).then(|| match self.random.below(3) {
                0 => BadBody::Empty,
                1 => BadBody::TooLarge,
                _ => BadBody::UnknownKey,
            });
            What::Send { conversation, fault }
        };
        let id = self.check.give_out(user, what);
        let bytes = self.encode(id, what);
        let disk = &mut self.devices[device].disk;
        disk.push(Held { id, bytes, applied: false });
        self.check.enqueued(id, disk.device, disk.head);
        let number = disk.head;
        self.trace.note(|| format!("  device {device} gives out {number}: command {id} {what:?}"));
    }

    /// The body begins with the command's number, so that an entry shows whose it is.
    fn encode(&mut self, id: usize, what: What) -> bytes::Bytes {
        let mut body = BytesMut::new();
        body.put_u64(id as u64);
        let kind = match what {
            What::Send { conversation, fault } => {
                match fault {
                    Some(BadBody::Empty) => body.clear(),
                    Some(BadBody::TooLarge) => body.resize(BODY_BYTES_MAX + 1, 0),
                    Some(BadBody::UnknownKey) | None => {
                        body.resize(8 + self.random.index(60), 0);
                    }
                }
                let key_version = if fault == Some(BadBody::UnknownKey) { 99 } else { 1 };
                let conversation = conversation.0;
                wire::command::Kind::Send(wire::Send {
                    conversation,
                    key_version,
                    files: Vec::new(),
                })
            }
            What::Read { conversation, conv_seq } => {
                wire::command::Kind::Read(wire::Read { conversation: conversation.0, conv_seq })
            }
        };
        wire::Command { kind: Some(kind), body: body.freeze() }.encode_to_vec().into()
    }

    /// Two friends part, or meet again.
    pub(super) fn change_relation(&mut self) {
        let id = self.pairs[self.random.index(self.pairs.len())];
        if !self.server.up {
            return;
        }
        let mut entries = self.server.memory.set_open(id, false);
        if entries.is_empty() {
            entries = self.server.memory.set_open(id, true);
        } else {
            self.check.was_closed(id);
            self.reached.closed_conversations += 1;
        }
        self.check.audit(&self.server.memory);
        self.server.ring(entries, Bell::Whole);
        self.wake_all();
    }

    // ---- devices ----

    /// The client learns that the server is gone.
    pub(super) fn lose_client(&mut self, line: usize) {
        if let Some(client) = self.lines[line].client.take() {
            self.leave(line, client, None);
        }
    }

    /// The client's session is over.
    pub(super) fn end_client(&mut self, line: usize, client: Client) {
        self.hang_up(line, To::Server);
        let closed = client.closed.clone();
        self.leave(line, client, closed);
    }

    fn leave(&mut self, line: usize, mut client: Client, closed: Option<Closed>) {
        let device = self.lines[line].device;
        self.devices[device].line = None;
        if client.welcomed {
            self.devices[device].failures = 0;
        }
        // What was received and not stored is stored now, or is lost.
        if client.has_to_store() && self.random.chance(500) {
            let history = self.lines[line].history;
            let super::device::Device { disk, acked, .. } = &mut self.devices[device];
            let check = &mut self.check;
            let now = self.now;
            client.store(&mut super::device::Around { now, disk, acked, check, history });
        }
        let process = self.devices[device].process;
        if let Some(reset) = client.reset.take() {
            self.reached.resets += 1;
            let history = self.lines[line].history;
            let delay = self.latency();
            let reset = Box::new(reset);
            self.devices[device].asks = Some(process);
            return self.after(delay, Event::Snapshot { device, process, reset, history });
        }
        let Some(closed) = closed else { return self.connect_later(device) };
        match closed.code {
            Some(Code::DeviceStale | Code::Conflict | Code::Unauthenticated) => {
                let delay = self.latency();
                self.devices[device].asks = Some(process);
                self.after(delay, Event::Renew { device, process });
            }
            Some(Code::BelowFloor) => self.connect_later(device),
            // By a Hello of its own that came late: nothing here says Hello twice at once.
            Some(Code::Replaced) => self.connect_later(device),
            Some(code) if closed.by_peer && !code.retryable() => {
                panic!("device {device} was ended for good: {code:?}")
            }
            _ => self.connect_later(device),
        }
    }

    /// The snapshot that a Reset asked for.
    pub(super) fn snapshot(
        &mut self,
        device: usize,
        process: u32,
        reset: &wire::Reset,
        history: u32,
    ) {
        if self.devices[device].process != process {
            return;
        }
        let disk = &self.devices[device].disk;
        let position = reset.outbox_position;
        if position > disk.head || disk.contradicts(position, &reset.outbox_digest) {
            return self.renew(device, process);
        }
        if !self.server.up {
            let (delay, reset) = (self.random.millis(2000), Box::new(reset.clone()));
            return self.after(delay, Event::Snapshot { device, process, reset, history });
        }
        self.devices[device].asks = None;
        let (epoch, head) = self.take_snapshot(device);
        if epoch != reset.epoch {
            // Restored again since: that Reset is of a history that ended. The next one tells.
            return self.connect_later(device);
        }
        let known = &mut self.devices[device];
        known.disk.trim(position, history, &mut self.check);
        known.acked = known.acked.max(position);
        (known.disk.epoch, known.disk.position) = (epoch, head);
        self.check.moved(&known.disk);
        self.connect_later(device);
    }

    /// Everything that the server has; marks what the history shows to be applied.
    fn take_snapshot(&mut self, device: usize) -> (String, Seq) {
        let memory = &self.server.memory;
        let disk = &mut self.devices[device].disk;
        self.check.reads_history(disk.user);
        for (id, members) in &self.check.conversations.clone() {
            if !members.contains(&disk.user) {
                continue;
            }
            let history = memory.history(*id);
            disk.seen.insert(*id, history.len() as Seq);
            self.check.holds(disk.user, *id, history.len() as Seq);
            for row in history {
                let entry = wire::Entry::decode(row.clone()).expect("rows decode");
                let Some(wire::entry::Kind::Message(message)) = entry.kind else { continue };
                let first = disk.trimmed() + 1;
                let index = message.client_seq.checked_sub(first);
                let held = index.and_then(|index| disk.outbox.get_mut(index as usize));
                if let Some(held) = held.filter(|_| message.device == disk.device.0) {
                    let command = wire::Command::decode(held.bytes.clone()).expect("own bytes");
                    held.applied |= command.body == entry.body;
                }
            }
        }
        (memory.epoch().to_owned(), memory.head(disk.user))
    }

    /// A new device takes over what the old one had not sent.
    pub(super) fn renew(&mut self, device: usize, process: u32) {
        if self.devices[device].process != process {
            return;
        }
        if !self.server.up {
            let delay = self.random.millis(2000);
            return self.after(delay, Event::Renew { device, process });
        }
        self.reached.new_devices += 1;
        self.devices[device].asks = None;
        let (epoch, head) = self.take_snapshot(device);
        let user = self.devices[device].disk.user;
        let id = DeviceId(self.random.id());
        let now_ms = self.now_ms();
        self.server.memory.add_device(user, id, now_ms);
        let known = &mut self.devices[device];
        let mut disk = Disk::new(user, id, epoch, head);
        disk.seen = known.disk.seen.clone();
        // What was acked is in the history that the device knew last, or went with it.
        let acked_in = history_of(&known.disk.epoch);
        let first = known.disk.trimmed() + 1;
        for (client_seq, mut held) in (first..).zip(known.disk.outbox.drain(..)) {
            if client_seq <= known.acked || held.applied {
                self.check.left_behind(held.id, acked_in);
                continue;
            }
            held.applied = false;
            self.check.enqueued(held.id, id, disk.head + 1);
            disk.push(held);
        }
        known.disk = disk;
        known.acked = 0;
        known.copy = None;
        self.check.moved(&known.disk);
        self.connect_later(device);
    }
}

/// The number of the history that an epoch names.
fn history_of(epoch: &str) -> u32 {
    let number = epoch.strip_prefix("history ").and_then(|number| number.parse().ok());
    number.expect("an epoch of a simulated server")
}
