//! The locations of a blob, in the order in which they are asked. Those that let nothing through come after all others, and not never.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use roadstead_locations::{Admitted, Wish};
use roadstead_placement::{LocationName, Use};
use roadstead_storage::Location;

use crate::registry::Inner;

/// Locations that have not been asked yet.
#[derive(Debug)]
pub(super) struct Candidates {
    inner: Arc<Inner>,
    /// Best first.
    ranked: VecDeque<LocationName>,
    /// Those that are asked when there is no other.
    last: VecDeque<LocationName>,
    /// Those that were given up and may be asked once more.
    given_up: BTreeSet<LocationName>,
}

/// A location that is to be asked.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) location: Location,
    /// Kept for as long as it is asked.
    pub(super) admitted: Option<Admitted>,
}

impl Candidates {
    pub(super) fn of(inner: &Arc<Inner>, present: &BTreeSet<LocationName>) -> Self {
        Self {
            ranked: inner.locations.rank_reads(&inner.topology, present).into(),
            last: VecDeque::new(),
            given_up: BTreeSet::new(),
            inner: Arc::clone(inner),
        }
    }

    /// The next location, if it is one that lets requests through.
    pub(super) fn next_that_admits(&mut self) -> Option<Candidate> {
        while let Some(name) = self.ranked.pop_front() {
            match self.inner.locations.admit(&name, Use::Read) {
                None => {}
                Some(Wish::Granted(admitted)) => {
                    return Some(Candidate {
                        location: admitted.location().clone(),
                        admitted: Some(admitted),
                    });
                }
                Some(Wish::Refused) => self.last.push_back(name),
            }
        }
        None
    }

    /// The next location, whatever it is like.
    pub(super) fn next(&mut self) -> Option<Candidate> {
        if let Some(candidate) = self.next_that_admits() {
            return Some(candidate);
        }
        while let Some(name) = self.last.pop_front() {
            if let Some(location) = self.inner.locations.get(&name) {
                return Some(Candidate {
                    location: location.clone(),
                    admitted: None,
                });
            }
        }
        None
    }

    /// Whether there is a better place to go to than one that is slow.
    pub(super) fn has_another(&self) -> bool {
        let standings = self.inner.locations.standings();
        self.ranked
            .iter()
            .any(|name| standings.get(name).read.admits())
    }

    /// Asks a location next, because it was asked already, has not failed, and another one was faster.
    pub(super) fn ask_next(&mut self, name: LocationName) {
        self.ranked.push_front(name);
    }

    /// Keeps a location that works, and was given up for being slow, for when there is no other. Once.
    pub(super) fn put_back(&mut self, name: LocationName) {
        if self.given_up.insert(name.clone()) {
            self.last.push_back(name);
        }
    }
}
