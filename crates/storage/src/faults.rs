//! Deliberate failures, for tests and simulations only: behind the feature `faults`, which no shipped binary enables.
//!
//! A [`Faults`] is the remote control of the locations made with [`crate::Location::local_with_faults`]: it makes them
//! fail, hang, go slow, damage bytes and lie, always at the same point of the same calls. Nothing happens by chance.
//!
//! Failures injected here take the same way as those of the kernel, except that a location's root is not looked at:
//! [`StorageErrorKind::NotFound`] injected into a look-up makes an object seem missing that is there.

pub(crate) mod hook;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roadstead_runtime::Clock;
use tokio::sync::Notify;

use crate::error::{Failure, Operation, StorageErrorKind};

/// Controls how the locations that were made with it fail. Clones control the same locations. All orders stand until
/// [`Faults::heal`], except for those that say how often.
#[derive(Clone, Debug)]
pub struct Faults {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    orders: Orders,
    /// Calls that are being held up.
    stalled: usize,
}

#[derive(Debug, Default)]
struct Orders {
    next: BTreeMap<Operation, VecDeque<StorageErrorKind>>,
    always: BTreeMap<Operation, StorageErrorKind>,
    down: bool,
    stalls: Vec<Operation>,
    reads_end_at: Option<u64>,
    reads_fail_at: Option<(u64, StorageErrorKind)>,
    read_flip_at: Option<u64>,
    write_flip_at: Option<u64>,
    space_left: Option<u64>,
    lost_publications: u32,
    bytes_per_second: Option<NonZeroU64>,
    /// Bytes that were moved and not yet waited for.
    debt_bytes: u64,
}

impl Faults {
    /// No faults yet. `clock` is what throttled calls wait on.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Arc::default(),
            changed: Arc::default(),
        }
    }

    /// Takes everything back and lets held calls go on.
    pub fn heal(&self) {
        self.state().orders = Orders::default();
        self.changed.notify_waiters();
    }

    /// The next `count` operations fail. Later chunks of a read that has begun are not operations.
    pub fn fail_next(&self, operation: Operation, count: usize, kind: StorageErrorKind) {
        let mut state = self.state();
        let queue = state.orders.next.entry(operation).or_default();
        queue.extend(std::iter::repeat_n(kind, count));
    }

    /// Every such operation fails, also one that has begun.
    pub fn fail_always(&self, operation: Operation, kind: StorageErrorKind) {
        self.state().orders.always.insert(operation, kind);
    }

    /// Everything fails as unavailable, also what has begun.
    pub fn take_down(&self) {
        self.state().orders.down = true;
    }

    /// Such operations hang until [`Faults::heal`], or until their deadline.
    pub fn stall(&self, operation: Operation) {
        self.state().orders.stalls.push(operation);
    }

    /// Returns when at least `count` calls hang, or are held up because of [`Faults::throttle`].
    pub async fn until_stalled(&self, count: usize) {
        self.until(|state| state.stalled >= count).await;
    }

    /// Reads end, without an error, at this offset of an object: what a cut connection looks like to some clients.
    pub fn end_reads_at(&self, offset: u64) {
        self.state().orders.reads_end_at = Some(offset);
    }

    /// Reads fail when they come to this offset of an object.
    pub fn fail_reads_at(&self, offset: u64, kind: StorageErrorKind) {
        self.state().orders.reads_fail_at = Some((offset, kind));
    }

    /// Every bit of the byte at this offset of an object is read wrong.
    pub fn flip_read_byte(&self, offset: u64) {
        self.state().orders.read_flip_at = Some(offset);
    }

    /// Every bit of the byte at this offset of an upload is written wrong.
    pub fn flip_written_byte(&self, offset: u64) {
        self.state().orders.write_flip_at = Some(offset);
    }

    /// The disk is full after so many bytes more.
    pub fn fill_after(&self, bytes: u64) {
        self.state().orders.space_left = Some(bytes);
    }

    /// The next `count` publications succeed and leave nothing, neither object nor upload.
    pub fn lose_publications(&self, count: u32) {
        self.state().orders.lost_publications = count;
    }

    /// Reads and writes together move no more than this, counted over their chunks.
    pub fn throttle(&self, bytes_per_second: NonZeroU64) {
        self.state().orders.bytes_per_second = Some(bytes_per_second);
    }

    async fn before(&self, operation: Operation, continues: bool) -> Result<(), Failure> {
        self.stall_if_ordered(operation).await;
        let wait = self.state().orders.pay_debt();
        if !wait.is_zero() {
            let _held_up = Stalled::begin(self);
            self.clock.sleep(wait).await;
        }
        match self.state().orders.failure(operation, continues) {
            Some(kind) => Err(injected(kind)),
            None => Ok(()),
        }
    }

    async fn stall_if_ordered(&self, operation: Operation) {
        let ordered = |state: &State| state.orders.stalls.contains(&operation);
        if !ordered(&self.state()) {
            return;
        }
        let _stalled = Stalled::begin(self);
        self.until(|state| !ordered(state)).await;
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listening first, so that a change between the look and the wait is not missed.
            changed.as_mut().enable();
            if condition(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    fn reading(&self, at: u64, bytes: Bytes) -> Result<Bytes, Failure> {
        let mut state = self.state();
        let orders = &mut state.orders;
        let mut bytes = bytes;
        if let Some((offset, kind)) = orders.reads_fail_at {
            if at >= offset {
                return Err(injected(kind));
            }
            bytes.truncate(within(offset - at));
        }
        if let Some(offset) = orders.reads_end_at {
            bytes.truncate(within(offset.saturating_sub(at)));
        }
        if let Some(offset) = orders.read_flip_at {
            bytes = flipped(bytes, at, offset);
        }
        orders.debt_bytes += bytes.len() as u64;
        Ok(bytes)
    }

    fn writing(&self, at: u64, chunks: &mut [Bytes]) -> Result<(), Failure> {
        let mut state = self.state();
        let orders = &mut state.orders;
        let length: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if let Some(left) = orders.space_left {
            let rest = left.checked_sub(length);
            orders.space_left = Some(rest.unwrap_or(0));
            if rest.is_none() {
                return Err(injected(StorageErrorKind::Full));
            }
        }
        if let Some(offset) = orders.write_flip_at {
            let mut begin = at;
            for chunk in chunks {
                let length = chunk.len() as u64;
                *chunk = flipped(std::mem::take(chunk), begin, offset);
                begin += length;
            }
        }
        orders.debt_bytes += length;
        Ok(())
    }

    fn loses_publication(&self) -> bool {
        let mut state = self.state();
        let left = &mut state.orders.lost_publications;
        let loses = *left > 0;
        *left = left.saturating_sub(1);
        loses
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Orders {
    fn failure(&mut self, operation: Operation, continues: bool) -> Option<StorageErrorKind> {
        if self.down {
            return Some(StorageErrorKind::Unavailable);
        }
        if let Some(kind) = self.always.get(&operation) {
            return Some(*kind);
        }
        if continues {
            return None;
        }
        self.next.get_mut(&operation)?.pop_front()
    }

    fn pay_debt(&mut self) -> Duration {
        let debt = std::mem::take(&mut self.debt_bytes);
        match self.bytes_per_second {
            Some(rate) => Duration::from_millis(debt.saturating_mul(1000) / rate),
            None => Duration::ZERO,
        }
    }
}

/// Counts a call that hangs, also when it is dropped.
struct Stalled<'a>(&'a Faults);

impl<'a> Stalled<'a> {
    fn begin(faults: &'a Faults) -> Self {
        faults.state().stalled += 1;
        faults.changed.notify_waiters();
        Self(faults)
    }
}

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.0.state().stalled -= 1;
        self.0.changed.notify_waiters();
    }
}

fn injected(kind: StorageErrorKind) -> Failure {
    Failure::because(kind, "injected fault")
}

fn within(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// `bytes`, which begin at offset `at`, with the byte at `offset` inverted if it is one of them.
fn flipped(bytes: Bytes, at: u64, offset: u64) -> Bytes {
    let index = offset
        .checked_sub(at)
        .and_then(|index| usize::try_from(index).ok());
    match index {
        Some(index) if index < bytes.len() => {
            let mut changed = BytesMut::from(bytes.as_ref());
            if let Some(byte) = changed.get_mut(index) {
                *byte = !*byte;
            }
            changed.freeze()
        }
        _ => bytes,
    }
}

#[cfg(test)]
mod tests;
