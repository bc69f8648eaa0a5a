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

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn busy(&self) -> Duration {
        match self.busy_since.load(Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((self.now() + 1).saturating_sub(since)),
        }
    }
}

/// Aborts the process when the writer hangs: nobody would be told otherwise, and a restart helps.
/// Ends when the other end of `alive` is dropped.
pub(super) fn watchdog(shared: &Arc<Shared>, alive: &Receiver<()>) {
    while alive.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        let busy = shared.watch.busy();
        if busy > COMMIT_HANGS_AFTER {
            tracing::error!(?busy, "a commit hangs; the process aborts");
            std::process::abort();
        }
    }
}

/// One sync takes 0.2-0.4 ms; a stalled journal rotation tens of ms; ten seconds is no disk.
const COMMIT_HANGS_AFTER: Duration = Duration::from_secs(10);
