//! Memory that the requests of one process share, so that the configuration bounds it and not their number.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is given out at a time.
const UNIT_BYTES: u64 = 64 << 10;

/// So much memory for one purpose. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
}

impl Budget {
    /// Rounded down to whole units of 64 KiB.
    pub(crate) fn of(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT_BYTES).unwrap_or(usize::MAX);
        Self {
            units: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// A share of nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            held: None,
        }
    }

    /// A share of so many bytes, if there are as many left.
    pub(crate) fn take(&self, bytes: u64) -> Option<Share> {
        let mut share = self.share();
        share.cover(bytes).then_some(share)
    }
}

/// What one request holds of a budget. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Makes it large enough for `bytes` in all. Says whether it is; it stays as it was if there is not that much left.
    pub(crate) fn cover(&mut self, bytes: u64) -> bool {
        let held = self
            .held
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let Ok(units) = usize::try_from(bytes.div_ceil(UNIT_BYTES)) else {
            return false;
        };
        let Ok(missing) = u32::try_from(units.saturating_sub(held)) else {
            return false;
        };
        if missing == 0 {
            return true;
        }
        let Ok(more) = Arc::clone(&self.budget.units).try_acquire_many_owned(missing) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        true
    }

    /// Gives all of it back.
    pub(crate) fn give_back(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_as_long_as_there_is_memory_and_give_it_back() {
        let budget = Budget::of(3 * UNIT_BYTES + 1);
        let mut one = budget.share();
        assert!(one.cover(0) && one.cover(1) && one.cover(UNIT_BYTES));
        let two = budget.take(UNIT_BYTES + 1).unwrap();
        assert!(!one.cover(UNIT_BYTES + 1));
        // What it had, it still has.
        assert!(one.cover(UNIT_BYTES));
        drop(two);
        assert!(one.cover(3 * UNIT_BYTES));
        assert!(budget.take(1).is_none());
        drop(one);
        assert!(budget.take(3 * UNIT_BYTES).is_some());
        assert!(budget.take(u64::MAX).is_none());
    }
}
