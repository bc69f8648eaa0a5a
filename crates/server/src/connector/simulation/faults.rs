//! What goes wrong, and the end of it.

use std::time::Duration;

use super::{
    event::Event,
    line::To,
    server::{Bell, StoreTrouble},
    world::World,
};

/// Commands that end a seed, where windows are still full of what came before.
const LAST_BURST: usize = 40;

impl World {
    /// One fault, of any kind.
    pub(super) fn fault(&mut self) {
        if self.healed {
            return;
        }
        self.reached.faults += 1;
        let device = self.random.index(self.devices.len());
        match self.random.below(14) {
            0 | 1 => self.cut(device, true),
            2 => self.cut(device, false),
            3 => self.stall(device),
            4 | 5 => self.crash(),
            6 => self.store_trouble(),
            7 => self.server.busy_until = self.now + self.random.millis(60_000),
            8 => self.end_process(device),
            9 => {
                self.devices[device].copy = Some(self.devices[device].disk.clone());
                let after = self.random.millis(120_000);
                self.after(after, Event::RollBack { device });
            }
            10 => self.stay_away(device),
            11 => self.prune(),
            12 => self.restore(),
            _ => self.stop(),
        }
    }

    pub(super) fn bell(&mut self) -> Bell {
        match () {
            () if self.healed && !self.knobs.slow_end => Bell::Whole,
            () if !self.random.chance(self.knobs.lost_bells) => Bell::Whole,
            () if self.healed || self.random.chance(500) => Bell::Newest,
            () => Bell::Lost,
        }
    }

    /// What a lost doorbell left: the head of every inbox is told.
    pub(super) fn sweep(&mut self) {
        if !self.server.up {
            return;
        }
        self.server.sweep();
        self.wake_all();
    }

    /// A line breaks in the middle of what is under way. An end that is not told must find out.
    fn cut(&mut self, device: usize, told: bool) {
        self.trace.note(|| format!("  cut the line of {device}, told {told}"));
        let Some(line) = self.devices[device].line else { return };
        for to in [To::Server, To::Client] {
            let bytes = self.random.index(400);
            self.lines[line].pipe(to).cut_after(bytes);
            if told || self.random.chance(300) {
                let delay = self.random.millis(4000);
                self.after(delay, Event::Gone { line, to });
            }
        }
    }

    /// Nothing comes through for a while.
    fn stall(&mut self, device: usize) {
        self.trace.note(|| format!("  stall the line of {device}"));
        let Some(line) = self.devices[device].line else { return };
        let to = if self.random.chance(500) { To::Server } else { To::Client };
        let until = self.now + self.random.millis(60_000);
        let pipe = self.lines[line].pipe(to);
        pipe.last = pipe.last.max(until);
    }

    /// The server's process ends in the middle of its commits.
    fn crash(&mut self) {
        self.trace.note(|| "  crash".to_owned());
        self.reached.crashes += 1;
        let survivors = self.random.index(self.server.memory.begun() + 1);
        self.server.crash(survivors);
        for line in 0..self.lines.len() {
            if self.lines[line].server.take().is_none() {
                continue;
            }
            let bytes = self.random.index(400);
            self.lines[line].pipe(To::Client).cut_after(bytes);
            if self.random.chance(800) {
                let delay = self.random.millis(2000);
                self.after(delay, Event::Gone { line, to: To::Client });
            }
        }
        self.check.audit_all(&self.server.memory);
        let delay = self.random.millis(30_000);
        self.after(delay, Event::ServerUp { start: self.server.start });
    }

    /// The server says goodbye and starts again.
    fn stop(&mut self) {
        self.trace.note(|| "  stop".to_owned());
        if self.server.up {
            self.server.registry.go_away(Duration::from_secs(2));
            self.wake_all();
        }
    }

    fn store_trouble(&mut self) {
        self.trace.note(|| "  store trouble".to_owned());
        self.server.trouble = Some(match self.random.below(3) {
            0 => StoreTrouble::Refused,
            1 => StoreTrouble::UnknownThenAgain,
            _ => StoreTrouble::UnknownThenClosed,
        });
    }

    /// A device's process ends; what it had not stored is lost.
    fn end_process(&mut self, device: usize) {
        self.trace.note(|| format!("  end the process of {device}"));
        let known = &mut self.devices[device];
        known.process += 1;
        known.acked = known.disk.trimmed();
        if let Some(line) = known.line.take() {
            self.lines[line].client = None;
            if self.random.chance(700) {
                self.hang_up(line, To::Server);
            }
        }
        self.connect_later(device);
    }

    /// A device comes back from an old copy of its disk.
    ///
    /// What it had sent since may still be under way, and must not be taken for what the copy
    /// sends under the same numbers.
    pub(super) fn roll_back(&mut self, device: usize) {
        self.trace.note(|| format!("  roll back {device}"));
        let Some(copy) = self.devices[device].copy.take() else { return };
        // Some commands that are lost with the disk.
        self.give_out_some(device);
        if let Some(line) = self.devices[device].line {
            self.with_client(line, |_, _| {});
        }
        for held in &self.devices[device].disk.outbox {
            if !copy.outbox.iter().any(|kept| kept.id == held.id) {
                self.check.lost(held.id);
            }
        }
        self.end_process(device);
        self.devices[device].disk = copy;
        self.devices[device].acked = self.devices[device].disk.trimmed();
        self.check.moved(&self.devices[device].disk);
        // And their numbers are given out again, before or after the first Hello.
        self.give_out_some(device);
    }

    /// A device is not there for long.
    fn stay_away(&mut self, device: usize) {
        self.end_process(device);
        let known = &mut self.devices[device];
        known.process += 1;
        let process = known.process;
        let delay = self.any_time();
        self.after(delay, Event::Connect { device, process });
    }

    fn prune(&mut self) {
        self.trace.note(|| "  prune".to_owned());
        let kept = u64::try_from(self.knobs.retention.as_millis()).expect("minutes");
        let older_than_ms = self.now_ms().saturating_sub(kept);
        self.reached.pruned += self.server.memory.prune(older_than_ms);
        self.check.audit_all(&self.server.memory);
    }

    pub(super) fn save(&mut self) {
        self.saved = Some(self.server.memory.save());
    }

    /// The server goes on from an old copy of its store, as another history.
    pub(super) fn restore(&mut self) {
        self.trace.note(|| "  restore".to_owned());
        let Some(saved) = self.saved.take() else { return self.save() };
        self.crash();
        self.reached.restores += 1;
        self.server.history += 1;
        let epoch = format!("history {}", self.server.history);
        self.check.restored(&saved);
        self.server.memory.restore(saved, &epoch);
        self.check.audit_all(&self.server.memory);
        // Perhaps it was the wrong copy, and soon there is another one.
        if self.random.chance(500) {
            self.save();
            let after = self.random.millis(60_000);
            self.after(after, Event::Restore);
        }
    }

    /// From here on nothing new goes wrong.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.server.trouble = None;
        self.server.busy_until = self.now;
        if !self.server.up {
            self.server.up = true;
        }
        for device in 0..self.devices.len() {
            self.connect_later(device);
        }
        if self.knobs.slow_end {
            let device = self.random.index(self.devices.len());
            (0..LAST_BURST).for_each(|_| self.give_out(device));
            if let Some(line) = self.devices[device].line {
                self.with_client(line, |_, _| {});
            }
        }
    }

    /// Everybody holds everything, and nothing is under way.
    pub(super) fn is_done(&self) -> bool {
        let given = self.reached.commands >= self.knobs.commands as u64;
        given && self.server.in_flight.is_empty() && self.who_waits().is_none()
    }

    /// A device that is not done.
    fn who_waits(&self) -> Option<usize> {
        let is_done = |index: usize| {
            let device = &self.devices[index];
            let Some(line) = device.line.map(|line| &self.lines[line]) else { return false };
            let (Some(client), Some(server)) = (&line.client, &line.server) else { return false };
            let head = self.server.memory.head(device.disk.user);
            client.caught_up
                && !client.has_to_store()
                && device.disk.outbox.is_empty()
                && device.disk.position == head
                && client.session.acked() == device.disk.head
                && server.is_quiet(head)
        };
        (0..self.devices.len()).find(|index| !is_done(*index))
    }

    pub(super) fn panic_for_who_waits(&self) -> ! {
        let Some(waits) = self.who_waits() else { panic!("the commits do not end") };
        let device = &self.devices[waits];
        let head = self.server.memory.head(device.disk.user);
        panic!(
            "device {waits} {} is not done: connected {}, inbox {} of {head}, outbox {}..={}",
            device.disk.device,
            device.line.is_some(),
            device.disk.position,
            device.disk.trimmed(),
            device.disk.head,
        )
    }
}
