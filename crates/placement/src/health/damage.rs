//! Which objects were found damaged lately: each counts once, however many ask for it.

use std::time::Duration;

use crate::moment::Tick;

/// How many are remembered. More than it takes to open a circuit; beyond that the oldest is forgotten.
const OBJECTS: usize = 16;

/// How long one is remembered, so that it does not count again: by then its placement is gone, and nobody is sent there for it.
const MEMORY: Duration = Duration::from_mins(5);

#[derive(Clone, Copy, Debug)]
struct Found {
    object: u64,
    first: Tick,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Damage {
    found: [Option<Found>; OBJECTS],
}

impl Damage {
    /// Notes a damaged object. Says whether it was not known.
    pub(super) fn note(&mut self, tick: Tick, object: u64) -> bool {
        for slot in &mut self.found {
            if slot.is_some_and(|found| tick.since(found.first) >= MEMORY) {
                *slot = None;
            }
        }
        let known = self
            .found
            .iter()
            .flatten()
            .any(|found| found.object == object);
        if known {
            return false;
        }
        let oldest = self.found.iter_mut().min_by_key(|slot| {
            // `None` is less than any.
            slot.map(|found| found.first)
        });
        if let Some(slot) = oldest {
            *slot = Some(Found {
                object,
                first: tick,
            });
        }
        true
    }

    /// How many different ones were found since then, as far as they are remembered.
    pub(super) fn since(&self, tick: Tick) -> u32 {
        let found = self.found.iter().flatten();
        let count = found.filter(|found| found.first >= tick).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_counts_once_until_it_is_forgotten() {
        let mut damage = Damage::default();
        let tick = |seconds| Tick::default().plus(Duration::from_secs(seconds));
        assert!(damage.note(tick(1), 7));
        assert!(!damage.note(tick(2), 7));
        assert!(damage.note(tick(3), 8));
        assert_eq!(damage.since(tick(0)), 2);
        assert_eq!(damage.since(tick(3)), 1);
        assert!(damage.note(tick(301), 7));
        for object in 100..200 {
            assert!(damage.note(tick(302), object));
        }
        assert_eq!(damage.since(tick(0)), 16);
    }
}
