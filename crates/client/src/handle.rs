//! What becomes of a sent message.

use std::sync::Arc;

use anser_proto::{Code, Seq};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendState {
    /// In this device's outbox.
    Queued,
    /// Safe at the server.
    Sent,
    /// On a device of the receiver.
    Delivered,
    /// The receiver's client says that it was read.
    Read,
    /// It was refused; [`SendState::failure`] says more.
    Failed {
        /// Why; `None` when this version does not know the code, or nobody can tell any more.
        code: Option<Code>,
    },
}

/// Why a message was refused, and what can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code; `None` when this version does not know it, or nobody can tell any more.
    pub code: Option<Code>,
    /// One sentence for people.
    pub reason: &'static str,
    /// Whether sending the same text again, as a new message, can succeed.
    pub retryable: bool,
}

/// Follows one message; a cheap clone. Dropping it changes nothing about the message.
#[derive(Clone, Debug)]
pub struct SendHandle(pub(crate) Arc<Progress>);

#[derive(Debug)]
pub(crate) struct Progress {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    client_seq: Seq,
    state: SendState,
    /// Nobody will tell of more: the client has ended, or too many messages are followed.
    ended: bool,
}

impl SendHandle {
    pub(crate) fn new(client_seq: Seq) -> Self {
        let inner = Inner { client_seq, state: SendState::Queued, ended: false };
        Self(Arc::new(Progress { inner: Mutex::new(inner), changed: Notify::new() }))
    }

    /// The message's number in this device's outbox. Changes when the message moves to a new
    /// device.
    pub fn client_seq(&self) -> Seq {
        self.0.inner.lock().client_seq
    }

    /// How far it is now.
    pub fn state(&self) -> SendState {
        self.0.inner.lock().state
    }

    /// Waits until it is sent (or more), or failed. Gives the state then.
    ///
    /// When the client ends first, it gives the state at that moment: a message that is `Queued`
    /// then stays in the storage and goes out when a client is opened on it again.
    pub async fn sent(&self) -> SendState {
        self.reach(1).await
    }

    /// Waits until it is delivered (or read), or failed; else as [`SendHandle::sent`].
    pub async fn delivered(&self) -> SendState {
        self.reach(2).await
    }

    /// Waits until it is read, or failed; else as [`SendHandle::sent`].
    pub async fn read(&self) -> SendState {
        self.reach(3).await
    }

    /// Whether nobody but `holders` holds it.
    pub(crate) fn is_forgotten(&self, holders: usize) -> bool {
        Arc::strong_count(&self.0) <= holders
    }

    async fn reach(&self, rank: u8) -> SendState {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let inner = self.0.inner.lock();
                if inner.ended || inner.state.rank() >= rank {
                    return inner.state;
                }
            }
            changed.await;
        }
    }
}

impl Progress {
    /// Moves forward; going back is ignored.
    pub(crate) fn advance(&self, to: SendState) {
        let mut inner = self.inner.lock();
        if to.rank() > inner.state.rank() {
            inner.state = to;
            drop(inner);
            self.changed.notify_waiters();
        }
    }

    /// The message is another command now.
    pub(crate) fn moved(&self, client_seq: Seq) {
        self.inner.lock().client_seq = client_seq;
    }

    /// Nobody will tell of more.
    pub(crate) fn end(&self) {
        self.inner.lock().ended = true;
        self.changed.notify_waiters();
    }
}

impl SendState {
    /// Why it was refused, if it was.
    pub fn failure(self) -> Option<Failure> {
        let Self::Failed { code } = self else { return None };
        let unknown = "The server refused it for a reason that this version does not know.";
        Some(Failure {
            code,
            reason: code.map_or(unknown, Code::sentence),
            retryable: code.is_none_or(Code::retryable),
        })
    }

    fn rank(self) -> u8 {
        match self {
            Self::Queued => 0,
            Self::Sent => 1,
            Self::Delivered => 2,
            Self::Read => 3,
            Self::Failed { .. } => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_state_never_goes_back_and_waiters_hear_of_more() {
        let handle = SendHandle::new(1);
        handle.0.advance(SendState::Delivered);
        handle.0.advance(SendState::Sent);
        assert_eq!(handle.state(), SendState::Delivered);
        assert_eq!(handle.sent().await, SendState::Delivered);
        let (read, ()) = tokio::join!(handle.read(), async { handle.0.advance(SendState::Read) });
        assert_eq!(read, SendState::Read);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_client_that_ended() {
        let handle = SendHandle::new(1);
        let (sent, ()) = tokio::join!(handle.sent(), async { handle.0.end() });
        assert_eq!(sent, SendState::Queued);
    }

    #[test]
    fn a_failure_says_why_and_whether_to_try_again() {
        let failure = |code| SendState::Failed { code }.failure().expect("a failure");
        let refused = failure(Some(Code::NotMember));
        assert_eq!(refused.reason, Code::NotMember.sentence());
        assert!(!refused.retryable && failure(None).retryable);
        assert_eq!(SendState::Read.failure(), None);
    }
}
