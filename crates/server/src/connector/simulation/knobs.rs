//! What differs between seeds: sizes, speeds and troubles, drawn once at the start.

use std::{sync::Arc, time::Duration};

use anser_proto::session::Config;

use super::random::Random;

/// The shape of a seed.
pub(super) struct Knobs {
    pub(super) users: usize,
    /// Of each user.
    pub(super) devices: usize,
    /// At least so many commands are given out.
    pub(super) commands: usize,
    /// Most commands that are given out at once.
    pub(super) burst: u64,
    /// Faults besides what `lost_bells` and the like do all the time.
    pub(super) faults: usize,
    /// How long users act and things break; then everything heals.
    pub(super) trouble: Duration,
    /// One way, in milliseconds.
    pub(super) latency: u64,
    /// Of a commit, in milliseconds.
    pub(super) commit: u64,
    /// Until a session of the server looks into its mailbox, in milliseconds.
    pub(super) wake: u64,
    /// Of a device's transaction, in milliseconds.
    pub(super) store: u64,
    /// Doorbells in a thousand that lose something.
    pub(super) lost_bells: u64,
    /// Records of one batch.
    pub(super) batch: usize,
    /// Inbox rows older than this may be pruned.
    pub(super) retention: Duration,
    /// Whether lines stay slow when the troubles end, and one burst of commands is the last: what a
    /// session is not told then is never told by what follows.
    pub(super) slow_end: bool,
    pub(super) server: Arc<Config>,
    pub(super) client: Arc<Config>,
}

impl Knobs {
    pub(super) fn draw(random: &mut Random) -> Self {
        let flood = random.chance(80);
        let speed = |random: &mut Random, usual, slow| match random.below(4) {
            0 => 0,
            1 => slow,
            _ => usual,
        };
        let small = random.chance(400);
        let base = Config {
            entries_max: if small { random.between(1, 12) as u32 } else { 256 },
            commands_max: if small { random.between(1, 12) as u32 } else { 64 },
            entry_bytes_max: if small { random.between(1, 4000) as usize } else { 1024 * 1024 },
            ..Config::default()
        };
        Self {
            users: 3 + usize::from(random.chance(250)),
            devices: 2,
            commands: if flood { 900 } else { random.between(200, 260) as usize },
            burst: if flood { 60 } else { random.between(1, 12) },
            faults: random.between(5, 12) as usize,
            trouble: Duration::from_secs(random.between(120, 900)),
            latency: speed(random, 80, 2000),
            commit: speed(random, 10, 1500),
            wake: speed(random, 2, 8000),
            store: speed(random, 20, 1500),
            lost_bells: if random.chance(300) { 200 } else { 0 },
            batch: if random.chance(500) { 256 } else { random.between(1, 6) as usize },
            retention: Duration::from_secs(random.between(30, 300)),
            slow_end: random.chance(500),
            // As the connector does: what comes back from the commit path is acked at once.
            server: Arc::new(Config { ack_delay: Duration::ZERO, ..base.clone() }),
            client: Arc::new(base),
        }
    }
}
