//! What the handles, the writer and the watchdog share: counters, the floor of free space, the
//! watch over a commit that hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::FreeSpace;

/// Shared by handles and writer.
pub(super) struct Shared {
    pub(super) counters: Counters,
    pub(super) watch: Watch,
    pub(super) free_space: FreeSpace,
    pub(super) disk_floor_bytes: u64,
    /// Where the next step of retention goes on.
    pub(super) prune_cursor: AtomicU64,
}

/// Counters since start.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) disk_free_bytes: AtomicU64,
}

/// When the writer began what it does now.
pub(super) struct Watch {
    started: Instant,
    /// Milliseconds after `started`, plus one; 0 while the writer rests.
    busy_since: AtomicU64,
}

impl Shared {
    pub(super) fn new(free_space: FreeSpace, disk_floor_bytes: u64) -> Self {
        Self {
            counters: Counters::default(),
            watch: Watch { started: Instant::now(), busy_since: AtomicU64::new(0) },
            free_space,
            disk_floor_bytes,
            prune_cursor: AtomicU64::new(0),
        }
    }

    /// Asks the file system, which takes a microsecond: nothing beside a sync.
    pub(super) fn disk_is_full(&self) -> bool {
        let free = (self.free_space)();
        self.counters.disk_free_bytes.store(free, Relaxed);
        free < self.disk_floor_bytes
    }
}

impl Watch {
    pub(super) fn begin(&self) {
        self.busy_since.store(self.now() + 1, Relaxed);
    }

    pub(super) fn end(&self) {
        self.busy_since.store(0, Relaxed);
    }

    /// The process did not run for a while: that was no time of the writer.
    fn forgive(&self, now: u64) {
        // A writer that began or ended something meanwhile has set it anew.
        let forgiven = |since| (since > 0 && since <= now).then_some(now + 1);
        let _ = self.busy_since.fetch_update(Relaxed, Relaxed, forgiven);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// How long the writer is at the same thing, when that is longer than any disk takes.
    fn hang(&self, now: u64) -> Option<Duration> {
        let since = self.busy_since.load(Relaxed);
        let busy = Duration::from_millis((now + 1).saturating_sub(since));
        (since > 0 && busy > COMMIT_HANGS_AFTER).then_some(busy)
    }
}

/// Aborts the process when the writer hangs: nobody would be told otherwise, and a restart helps.
/// Ends when the other end of `alive` is dropped.
pub(super) fn watchdog(shared: &Arc<Shared>, alive: &Receiver<()>) {
    let watch = &shared.watch;
    let mut looked = watch.now();
    while alive.recv_timeout(LOOKS_EVERY) == Err(RecvTimeoutError::Timeout) {
        let now = watch.now();
        if is_late(looked, now) {
            watch.forgive(now);
        }
        looked = now;
        if let Some(busy) = watch.hang(now) {
            tracing::error!(?busy, "a commit hangs; the process aborts");
            std::process::abort();
        }
    }
}

/// Whether this thread looks so late that the process, stopped by a signal or with its machine, did
/// not run.
fn is_late(looked: u64, now: u64) -> bool {
    u128::from(now.saturating_sub(looked)) > 3 * LOOKS_EVERY.as_millis()
}

const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// One sync takes 0.2-0.4 ms; a stalled journal rotation tens of ms; ten seconds is no disk.
const COMMIT_HANGS_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_hangs_after_ten_seconds_and_rest_never_does() {
        let watch = Watch { started: Instant::now(), busy_since: AtomicU64::new(0) };
        let hour = 3_600_000;
        assert_eq!(watch.hang(watch.now() + hour), None, "it rests");

        watch.begin();
        // As stored: the moment plus one, so that a commit in the first millisecond counts.
        let began = watch.busy_since.load(Relaxed) - 1;
        assert_eq!(watch.hang(began), None);
        assert_eq!(watch.hang(began + 10_000), None, "ten seconds are not more than ten");
        assert_eq!(watch.hang(began + 10_001), Some(Duration::from_millis(10_001)));
        assert_eq!(watch.hang(began.saturating_sub(5)), None, "a look from before the beginning");

        watch.end();
        assert_eq!(watch.hang(began + hour), None, "done");
    }

    #[test]
    fn a_process_that_was_stopped_does_not_hang() {
        assert!(!is_late(5_000, 8_000) && is_late(5_000, 8_001));
        let watch = Watch { started: Instant::now(), busy_since: AtomicU64::new(0) };
        watch.forgive(16_000);
        assert_eq!(watch.hang(60_000), None, "it rests");
        watch.busy_since.store(1_001, Relaxed);
        watch.forgive(16_000);
        assert_eq!(watch.hang(26_000), None, "counted from when it ran again");
        assert!(watch.hang(26_001).is_some(), "and then as always");
        watch.busy_since.store(30_001, Relaxed);
        watch.forgive(16_000);
        assert!(watch.hang(40_001).is_some(), "what began since is not moved");
    }

    #[test]
    fn a_commit_that_began_with_the_process_is_no_rest() {
        let watch = Watch { started: Instant::now(), busy_since: AtomicU64::new(0) };
        watch.busy_since.store(1, Relaxed);
        assert!(watch.hang(10_001).is_some());
    }
}
