//! A storage that fails when the test says so: what a crash leaves is what was applied before.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anser_client::{Change, Error, Message, Result, Saved, Storage};
use anser_proto::{ConversationId, Seq};

/// Refuses every transaction once `broken` is set.
pub(crate) struct Breakable<S> {
    pub(crate) inner: S,
    pub(crate) broken: Arc<AtomicBool>,
    /// Transactions that still succeed after `broken` was set.
    pub(crate) spare: usize,
}

impl<S: Storage> Breakable<S> {
    pub(crate) fn new(inner: S) -> (Self, Arc<AtomicBool>) {
        let broken = Arc::new(AtomicBool::new(false));
        (Self { inner, broken: broken.clone(), spare: 0 }, broken)
    }
}

impl<S: Storage> Storage for Breakable<S> {
    fn load(&mut self) -> Result<Saved> {
        self.inner.load()
    }

    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            if self.spare == 0 {
                return Err(Error::storage(std::io::Error::other("broken by the test")));
            }
            self.spare -= 1;
        }
        self.inner.apply(changes)
    }

    fn messages(
        &mut self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        self.inner.messages(conversation, before, limit)
    }
}
