//! Points at which a process can be told to die, as a power cut would have it: without a word.
//!
//! `ANSER_FAILPOINT=before_sync:40` ends the process when it comes to that point for the 40th time.
//! `anser torture` uses them to hit the moments that a kill at random hardly ever hits. They are in
//! every build, so that what is proved is what runs: who can set the variable could kill the
//! process as well, and unset it costs one comparison per batch.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A moment between a command and what it leaves behind, in the order in which they come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failpoint {
    /// The batch has its numbers, in memory.
    AfterNumber,
    /// The batch is complete, and nothing of it is written.
    BeforeCommit,
    /// The batch is written to the journal, and not synced.
    BeforeSync,
    /// The batch is synced, and nobody knows.
    BeforeAck,
    /// The sender has its ack, and nobody has the entry.
    BeforePush,
}

impl Failpoint {
    /// All of them, with the name that `ANSER_FAILPOINT` takes.
    pub const ALL: &[(Self, &str)] = &[
        (Self::AfterNumber, "after_number"),
        (Self::BeforeCommit, "before_commit"),
        (Self::BeforeSync, "before_sync"),
        (Self::BeforeAck, "before_ack"),
        (Self::BeforePush, "before_push"),
    ];

    /// The process came here: dies if it was told so.
    pub fn reached(self) {
        if self.is_due() {
            self.die();
        }
    }

    /// The process came here; whether it has to die now. For a point that has something to do
    /// first.
    pub fn is_due(self) -> bool {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let armed = ARMED.get_or_init(Armed::from_environment);
        armed
            .as_ref()
            .is_some_and(|armed| armed.at == self && armed.left.fetch_sub(1, Relaxed) == 1)
    }

    /// Ends the process at once: no destructor, no flush.
    pub fn die(self) -> ! {
        std::process::abort()
    }
}

struct Armed {
    at: Failpoint,
    /// How often the point is yet to be reached.
    left: AtomicU64,
}

impl Armed {
    #[expect(clippy::disallowed_methods, reason = "no configuration: a test tells its own child")]
    fn from_environment() -> Option<Self> {
        Self::parse(&std::env::var("ANSER_FAILPOINT").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, times) = text.split_once(':')?;
        let (at, _) = Failpoint::ALL.iter().find(|(_, known)| *known == name)?;
        let times = times.parse().ok().filter(|times| *times > 0)?;
        Some(Self { at: *at, left: AtomicU64::new(times) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_has_a_name_and_a_count() {
        let armed = Armed::parse("before_sync:40").unwrap();
        assert_eq!((armed.at, armed.left.into_inner()), (Failpoint::BeforeSync, 40));
        for wrong in
            ["", "before_sync", "before_sync:", "before_sync:0", "sync:1", "before_sync:-1"]
        {
            assert!(Armed::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_process_that_was_told_nothing_lives() {
        Failpoint::BeforeSync.reached();
    }
}
