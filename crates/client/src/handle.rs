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
    /// It was refused.
    Failed {
        /// Why; `None` when this version does not know the code.
        code: Option<Code>,
    },
}

/// Follows one message; a cheap clone. Dropping it changes nothing about the message.
#[derive(Clone, Debug)]
pub struct SendHandle(pub(crate) Arc<Progress>);

#[derive(Debug)]
pub(crate) struct Progress {
    client_seq: Mutex<Seq>,
    state: Mutex<SendState>,
    changed: Notify,
}

impl SendHandle {
    pub(crate) fn new(client_seq: Seq) -> Self {
        Self(Arc::new(Progress {
            client_seq: Mutex::new(client_seq),
            state: Mutex::new(SendState::Queued),
            changed: Notify::new(),
        }))
    }

    /// The message's number in this device's outbox. Changes when the message moves to a new device.
    pub fn client_seq(&self) -> Seq {
        *self.0.client_seq.lock()
    }

    /// How far it is now.
    pub fn state(&self) -> SendState {
        *self.0.state.lock()
    }

    /// Waits until it is sent (or more), or failed. Gives the state then.
    pub async fn sent(&self) -> SendState {
        self.reach(1).await
    }

    /// Waits until it is delivered (or read), or failed. Gives the state then.
    pub async fn delivered(&self) -> SendState {
        self.reach(2).await
    }

    /// Waits until it is read, or failed. Gives the state then.
    pub async fn read(&self) -> SendState {
        self.reach(3).await
    }

    async fn reach(&self, rank: u8) -> SendState {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let state = self.state();
            if state.rank() >= rank {
                return state;
            }
            changed.await;
        }
    }
}

impl Progress {
    /// Moves forward; going back is ignored.
    pub(crate) fn advance(&self, to: SendState) {
        let mut state = self.state.lock();
        if to.rank() > state.rank() {
            *state = to;
            drop(state);
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn moved(&self, client_seq: Seq) {
        *self.client_seq.lock() = client_seq;
    }
}

impl SendState {
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
