//! What other tasks leave for one session: a small mutexed state and a waker, no channel.
//!
//! Everything in it is level-triggered: positions, a code, and as a short cut the newest entries
//! themselves. When those grow over a bound they are dropped and the session reads the log instead:
//! the log is the buffer.

use std::{
    task::{Context, Waker},
    time::{Duration, Instant},
};

use anser_proto::{Code, DeviceId, Seq, SessionId, UserId};
use anser_store::{LiveSession, NewEntry};

use super::sync::Mutex;

/// Entries kept for a session that is slower than its inbox grows: one window.
pub(super) const ENTRIES_MAX: usize = 256;
/// Their bytes: one window.
pub(super) const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// What other tasks leave for one session.
#[derive(Debug)]
pub(super) struct Mailbox {
    user: UserId,
    device: DeviceId,
    session: SessionId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    news: News,
    entry_bytes: usize,
    /// The highest head that the session was ever told of.
    told: Seq,
    /// The highest command that it was told to be applied.
    told_applied: Seq,
    /// The store knows this session as its device's newest.
    greeted: bool,
    any: bool,
    waker: Option<Waker>,
}

/// What is new since it was last taken.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Commands up to here are applied; 0: nothing new.
    pub(super) acked: Seq,
    /// The inbox has entries up to here; 0: nothing new.
    pub(super) head: Seq,
    /// The newest of them, contiguous up to `head`; perhaps not all.
    pub(super) entries: Vec<NewEntry>,
    /// When the oldest command behind them was read from its socket.
    pub(super) accepted: Option<Instant>,
    /// Close with this code.
    pub(super) close: Option<Code>,
    /// The server stops.
    pub(super) go_away: Option<Duration>,
}

impl Mailbox {
    /// An empty mailbox of a session.
    pub(super) fn new(user: UserId, device: DeviceId, session: SessionId) -> Self {
        Self { user, device, session, state: Mutex::default() }
    }

    /// The session's user.
    pub(super) fn user(&self) -> UserId {
        self.user
    }

    /// The session's device.
    pub(super) fn device(&self) -> DeviceId {
        self.device
    }

    /// Which session it is.
    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// Who it is, as the store knows it.
    pub(super) fn live(&self) -> LiveSession {
        LiveSession { user: self.user, device: self.device, session: self.session }
    }

    /// Its Hello is in the store.
    pub(super) fn greeted(&self) {
        self.state.lock().greeted = true;
    }

    /// Whether its Hello is in the store. Until then that knows an older session of the device, and
    /// whoever compares would take this one for replaced.
    pub(super) fn is_greeted(&self) -> bool {
        self.state.lock().greeted
    }

    /// Leaves a new entry; the caller calls [`Mailbox::wake`] when this answers true (once, for the
    /// first of several).
    pub(super) fn offer(&self, entry: &NewEntry, accepted: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        let full = state.news.entries.len() >= ENTRIES_MAX
            || state.entry_bytes + entry.entry.len() > ENTRY_BYTES_MAX;
        let gap = state.news.entries.last().is_some_and(|last| last.seq + 1 != entry.seq);
        if full || gap {
            state.news.entries = Vec::new();
            state.entry_bytes = 0;
        }
        state.entry_bytes += entry.entry.len();
        state.news.entries.push(entry.clone());
        state.news.head = state.news.head.max(entry.seq);
        state.told = state.told.max(entry.seq);
        state.news.accepted = state.news.accepted.or(accepted);
        !std::mem::replace(&mut state.any, true)
    }

    /// The inbox has entries up to here; wakes the session when it had not heard of them.
    pub(super) fn tell(&self, head: Seq) {
        if head > self.state.lock().told {
            self.change(|state| {
                state.told = state.told.max(head);
                state.news.head = state.news.head.max(head);
            });
        }
    }

    /// Commands up to here are applied; wakes the session when it had not heard of that.
    pub(super) fn tell_applied(&self, position: Seq) {
        if position > self.state.lock().told_applied {
            self.ack(position);
        }
    }

    /// Wakes the session's task.
    pub(super) fn wake(&self) {
        let waker = self.state.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Commands up to `position` are applied.
    pub(super) fn ack(&self, position: Seq) {
        self.change(|state| {
            state.told_applied = state.told_applied.max(position);
            state.news.acked = state.news.acked.max(position);
        });
    }

    /// The session must end; the first code wins.
    pub(super) fn close(&self, code: Code) {
        self.change(|state| state.news.close = state.news.close.or(Some(code)));
    }

    /// What it was told to end with.
    #[cfg(test)]
    pub(super) fn told_to_close(&self) -> Option<Code> {
        self.state.lock().news.close
    }

    /// The server stops.
    pub(super) fn go_away(&self, after: Duration) {
        self.change(|state| state.news.go_away = Some(after));
    }

    /// Takes what is new, or arranges that the task of `context` is woken when there is something.
    pub(super) fn poll_news(&self, context: &mut Context<'_>) -> Option<News> {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.any) {
            state.entry_bytes = 0;
            return Some(std::mem::take(&mut state.news));
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        None
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        state.any = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
