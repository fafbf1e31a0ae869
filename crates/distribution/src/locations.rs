//! The locations that a registry can reach, and which of them have just failed. In which order they are used is decided by
//! `roadstead_placement`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use roadstead_storage::{Location, StorageError};

/// What a location is wanted for. A full disk can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    Read,
    Write,
}

/// The locations that a registry can reach, by name.
///
/// It remembers for a short time which of them failed, so that a store that hangs is not waited for by every request while
/// there is another.
#[derive(Debug, Default)]
pub struct Locations {
    by_name: BTreeMap<LocationName, Location>,
    /// Until when a location that failed is passed over. At most two entries for each location.
    passed_over: Mutex<BTreeMap<(Use, LocationName), Timestamp>>,
}

impl Locations {
    /// These locations. Of several with the same name the last counts.
    pub fn new(locations: impl IntoIterator<Item = Location>) -> Self {
        Self {
            by_name: locations
                .into_iter()
                .map(|location| (location.name().clone(), location))
                .collect(),
            passed_over: Mutex::default(),
        }
    }

    /// The location of this name.
    pub fn get(&self, name: &LocationName) -> Option<&Location> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Location> {
        self.by_name.values()
    }

    /// Those that failed so recently that another is to be asked first.
    pub(crate) fn in_trouble(&self, wanted: Use, now: Timestamp) -> BTreeSet<LocationName> {
        self.passed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|((failed, _), until)| *failed == wanted && **until > now)
            .map(|((_, name), _)| name.clone())
            .collect()
    }

    /// Passes a location over until then, if the failure is one of the location and not of a single object.
    pub(crate) fn note_failure(&self, failed: Use, failure: &StorageError, until: Timestamp) {
        if failure.kind().is_the_locations() {
            self.pass_over(failed, failure.location(), until);
        }
    }

    /// Passes a location over until then.
    pub(crate) fn pass_over(&self, failed: Use, location: &LocationName, until: Timestamp) {
        self.passed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((failed, location.clone()), until);
    }
}
