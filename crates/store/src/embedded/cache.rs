//! Rows that the writer keeps in memory, bounded.
//!
//! The writer *takes* what a batch needs and puts it back after the commit. What a batch that did
//! not commit had taken is simply gone from here, and is read from disk when it is needed again.

use anser_proto::{ConversationId, DeviceId, Seq, UserId};
use std::hash::Hash;

use crate::apply::{Conversation, Device, IdMap};

/// The writer's rows.
pub(super) struct Cache {
    pub(super) devices: Recent<DeviceId, Device>,
    pub(super) conversations: Recent<ConversationId, Conversation>,
    pub(super) heads: Recent<UserId, Seq>,
}

/// A map that forgets what was not used for long: two generations, each of at most half the bound.
pub(super) struct Recent<K, V> {
    young: IdMap<K, V>,
    old: IdMap<K, V>,
    generation_len: usize,
}

impl Cache {
    /// About `bytes` of rows: a device with all its digests is 700 bytes in memory, a conversation
    /// of two 250, a head 40; most devices have few digests.
    pub(super) fn new(bytes: u64) -> Self {
        let rows = usize::try_from(bytes / 1024).unwrap_or(usize::MAX).clamp(1024, 1 << 20);
        Self {
            devices: Recent::new(rows),
            conversations: Recent::new(rows),
            heads: Recent::new(rows.saturating_mul(2)),
        }
    }
}

impl<K: Eq + Hash + Copy, V> Recent<K, V> {
    fn new(len_max: usize) -> Self {
        Self { young: IdMap::default(), old: IdMap::default(), generation_len: len_max.div_ceil(2) }
    }

    /// Gives the row out of the map.
    pub(super) fn take(&mut self, key: K) -> Option<V> {
        self.young.remove(&key).or_else(|| self.old.remove(&key))
    }

    /// Puts a row in; it is the most recent one then.
    pub(super) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation_len {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }
}
