//! Rows that the writer keeps in memory, bounded by their weight.
//!
//! The writer *takes* what a batch needs and puts it back after the commit. What a batch that did
//! not commit had taken is simply gone from here, and is read from disk when it is needed again.

use std::hash::Hash;

use anser_proto::{ConversationId, DeviceId, Seq, UserId};

use crate::apply::{Conversation, Device, IdMap, Member};

/// The writer's rows.
pub(super) struct Cache {
    pub(super) devices: Recent<DeviceId, Device>,
    pub(super) conversations: Recent<ConversationId, Conversation>,
    pub(super) heads: Recent<UserId, Seq>,
}

/// A map that forgets what was not used for long. When it is too heavy it drops the least recent of
/// a few rows picked at random, which is as good as a list of all in order and costs no pointers.
pub(super) struct Recent<K, V> {
    index: IdMap<K, u32>,
    rows: Vec<Row<K, V>>,
    weight: usize,
    weight_max: usize,
    clock: u32,
    random: u64,
}

struct Row<K, V> {
    key: K,
    value: V,
    used: u32,
}

/// How many bytes a row has on the heap beside its place in the map.
pub(super) trait Heap {
    fn heap_bytes(&self) -> usize;
}

impl Cache {
    /// Rows of about `bytes` in all. With few digests a device weighs 150 bytes, a conversation of
    /// two 200, a head 60; each user has one head and mostly one or two devices.
    pub(super) fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            devices: Recent::new(bytes / 2),
            conversations: Recent::new(bytes / 3),
            heads: Recent::new(bytes / 6),
        }
    }
}

impl<K: Eq + Hash + Copy, V: Heap> Recent<K, V> {
    fn new(weight_max: usize) -> Self {
        let (index, rows) = (IdMap::default(), Vec::new());
        Self { index, rows, weight: 0, weight_max, clock: 0, random: 0x2545_f491_4f6c_dd1d }
    }

    /// Gives the row out of the map.
    pub(super) fn take(&mut self, key: K) -> Option<V> {
        let at = self.index.remove(&key)?;
        Some(self.remove_at(at as usize).value)
    }

    /// Puts a row in; it is the most recent one then.
    pub(super) fn put(&mut self, key: K, value: V) {
        drop(self.take(key));
        self.weight += Self::weight(&value);
        while self.weight > self.weight_max && !self.rows.is_empty() {
            let at = self.victim();
            let row = self.remove_at(at);
            self.index.remove(&row.key);
        }
        self.clock = self.clock.wrapping_add(1);
        self.index.insert(key, u32::try_from(self.rows.len()).expect("fewer rows than 2^32"));
        self.rows.push(Row { key, value, used: self.clock });
    }

    fn remove_at(&mut self, at: usize) -> Row<K, V> {
        let row = self.rows.swap_remove(at);
        if let Some(moved) = self.rows.get(at) {
            self.index.insert(moved.key, u32::try_from(at).expect("fewer rows than 2^32"));
        }
        self.weight -= Self::weight(&row.value);
        row
    }

    /// The least recent of five.
    fn victim(&mut self) -> usize {
        let pick = |_| {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let at = self.random % self.rows.len() as u64;
            usize::try_from(at).expect("an index")
        };
        let picks: [usize; 5] = std::array::from_fn(pick);
        let age = |at: &usize| self.clock.wrapping_sub(self.rows[*at].used);
        picks.into_iter().max_by_key(age).expect("five picks")
    }

    /// Heap, the row, and its place in the index: a table of keys that is two thirds full.
    fn weight(value: &V) -> usize {
        value.heap_bytes() + size_of::<Row<K, V>>() + size_of::<(K, u32)>() * 3 / 2
    }
}

impl Heap for Seq {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Heap for Device {
    fn heap_bytes(&self) -> usize {
        self.digests.capacity() * size_of::<u64>()
    }
}

impl Heap for Conversation {
    fn heap_bytes(&self) -> usize {
        self.members.capacity() * size_of::<Member>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_stays_within_its_weight_and_keeps_what_is_used() {
        let mut recent: Recent<UserId, Seq> = Recent::new(10_000);
        let each = Recent::<UserId, Seq>::weight(&0);
        for n in 1..=10_000 {
            recent.put(UserId(n), n);
            if let Some(favourite) = recent.take(UserId(1)) {
                recent.put(UserId(1), favourite);
            }
            assert!(recent.rows.len() * each <= 10_000);
            assert_eq!(recent.rows.len(), recent.index.len());
        }
        assert_eq!(recent.take(UserId(1)), Some(1), "used all the time");
        let kept = (9_900..=10_000).filter(|n| recent.take(UserId(*n)) == Some(*n)).count();
        assert!(kept > 60, "most of the recent ones are there: {kept}");
    }

    /// What is weighed too lightly, memory has no bound for.
    #[test]
    fn a_row_weighs_as_much_as_it_takes() {
        let place = size_of::<(UserId, u32)>() * 3 / 2;
        assert_eq!((size_of::<Row<UserId, Seq>>(), place), (24, 24));
        assert_eq!(Recent::<UserId, Seq>::weight(&7), 48);
        let digests = Vec::with_capacity(64);
        let device = Device { digests, ..Device::default() };
        let row = size_of::<Row<DeviceId, Device>>();
        assert_eq!(Recent::<DeviceId, _>::weight(&device), row + 24 + 64 * 8);
        let members = Vec::with_capacity(3);
        let conversation = Conversation { members, ..Conversation::default() };
        let row = size_of::<Row<ConversationId, Conversation>>();
        let members = 3 * size_of::<Member>();
        assert_eq!(Recent::<ConversationId, _>::weight(&conversation), row + 24 + members);
    }

    #[test]
    fn a_row_that_grew_is_weighed_again() {
        let mut recent: Recent<DeviceId, Device> = Recent::new(100_000);
        for round in 1..=64 {
            for id in 1..=50 {
                let mut device = recent.take(DeviceId(id)).unwrap_or_default();
                device.digests.push(round);
                recent.put(DeviceId(id), device);
            }
        }
        let weights = recent.rows.iter().map(|row| Recent::<DeviceId, _>::weight(&row.value));
        assert_eq!(recent.weight, weights.sum::<usize>());
    }
}
