//! What was found out lately: a map with a fixed number of entries that end by themselves. What is kept in it, and for how long, its users say.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use crate::clock::Timestamp;

/// At most `capacity` entries; the one that came first goes first.
#[derive(Debug)]
pub struct Recent<K, V> {
    entries: HashMap<K, (V, Timestamp)>,
    /// The keys of `entries`, in the order in which they came.
    order: VecDeque<K>,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// None yet.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            capacity,
        }
    }

    /// The entry of `key`, unless it has ended.
    pub fn get(&self, key: &K, now: Timestamp) -> Option<&V> {
        self.entries
            .get(key)
            .filter(|(_, until)| now < *until)
            .map(|(value, _)| value)
    }

    /// Keeps `value` until `until`, in place of what was there.
    pub fn insert(&mut self, key: K, value: V, until: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&key) {
            *entry = (value, until);
            return;
        }
        while self.entries.len() >= self.capacity {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.entries.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.entries.insert(key, (value, until));
    }

    /// How many are kept, those that have ended included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_entry_ends_at_its_time() {
        let start = Timestamp::UNIX_EPOCH;
        let end = start + Duration::from_secs(10);
        let mut recent = Recent::new(2);
        recent.insert("key", 1, end);
        assert_eq!(recent.get(&"key", start), Some(&1));
        assert_eq!(recent.get(&"key", end), None);
        recent.insert("key", 2, end + Duration::from_secs(1));
        assert_eq!(recent.get(&"key", end), Some(&2));
    }

    #[test]
    fn the_oldest_entry_makes_room_and_the_number_stays_bounded() {
        let end = Timestamp::UNIX_EPOCH + Duration::from_secs(10);
        let mut recent = Recent::new(3);
        for number in 0..1000 {
            recent.insert(number, number, end);
            recent.insert(number, number, end);
            assert!(recent.len() <= 3);
        }
        let kept: Vec<i32> = (0..1000)
            .filter(|number| recent.get(number, Timestamp::UNIX_EPOCH).is_some())
            .collect();
        assert_eq!(kept, [997, 998, 999]);
    }

    #[test]
    fn a_map_for_nothing_keeps_nothing() {
        let mut recent = Recent::new(0);
        recent.insert("key", (), Timestamp::MAX_UTC);
        assert_eq!(recent.len(), 0);
    }
}
