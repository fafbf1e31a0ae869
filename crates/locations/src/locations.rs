//! The locations by their names, and what is asked about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use roadstead_placement::{
    Admission, HealthOptions, HedgeOptions, LocationName, Outcome, PlacementError, Standings,
    Topology, Trial, Use, choose_write, hedge_after, rank_reads,
};
use roadstead_runtime::Clock;
use roadstead_storage::Location;

use crate::seen::Seen;

/// The locations that a process can reach, by name. Clones are the same.
#[derive(Clone, Debug)]
pub struct Locations {
    by_name: Arc<BTreeMap<LocationName, Location>>,
    pub(crate) seen: Arc<Seen>,
}

impl Locations {
    /// These locations, of which nothing is known yet. Of several with the same name the last counts. From now on every call to their
    /// stores through [`Locations::get`] is seen.
    pub fn new(
        locations: impl IntoIterator<Item = Location>,
        health: HealthOptions,
        hedge: HedgeOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let locations: Vec<Location> = locations.into_iter().collect();
        let names = locations.iter().map(|location| location.name().clone());
        let seen = Arc::new(Seen::new(names, health, hedge, clock));
        let by_name = locations
            .into_iter()
            .map(|location| {
                let name = location.name().clone();
                let observer = Seen::observer(&seen, name.clone(), None);
                (name, location.observed_by(observer))
            })
            .collect();
        Self {
            by_name: Arc::new(by_name),
            seen,
        }
    }

    /// As [`Locations::new`], with every threshold as it is by default.
    pub fn with_defaults(
        locations: impl IntoIterator<Item = Location>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::new(
            locations,
            HealthOptions::default(),
            HedgeOptions::default(),
            clock,
        )
    }

    /// The location of this name.
    pub fn get(&self, name: &LocationName) -> Option<&Location> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Location> {
        self.by_name.values()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &LocationName> {
        self.by_name.keys()
    }

    /// How each of them is at this moment.
    pub fn standings(&self) -> Standings {
        self.seen.standings()
    }

    /// The locations of a blob, best first. None that is configured is left out.
    pub fn rank_reads(
        &self,
        topology: &Topology,
        present: &BTreeSet<LocationName>,
    ) -> Vec<LocationName> {
        rank_reads(topology, present, &self.standings())
    }

    /// The location that takes an upload: the best of those that are not excluded.
    ///
    /// # Errors
    /// When all are.
    pub fn choose_write(
        &self,
        topology: &Topology,
        excluded: &BTreeSet<LocationName>,
    ) -> Result<LocationName, PlacementError> {
        choose_write(topology, excluded, &self.standings())
    }

    /// Asks whether a request is to be sent to a location. Keep what comes back until the request is over, and send it to
    /// [`Admitted::location`]. `None` for a location that is not here.
    pub fn admit(&self, name: &LocationName, wanted: Use) -> Option<Wish> {
        let location = self.get(name)?;
        let trial = match self.seen.admit(name, wanted) {
            Admission::No { .. } => return Some(Wish::Refused),
            Admission::Yes => None,
            Admission::Trial(trial) => Some(trial),
        };
        let location = match trial {
            None => location.clone(),
            // What is seen of a trial is told as such.
            Some(trial) => {
                let observer = Seen::observer(&self.seen, name.clone(), Some(trial));
                location.clone().observed_by(observer)
            }
        };
        Some(Wish::Granted(Admitted {
            seen: Arc::clone(&self.seen),
            trial,
            location,
        }))
    }

    /// How long a read waits for the first byte of a location before another one is asked too, if there is leave for that when the time has come
    /// ([`Locations::take_hedge`]).
    pub fn hedge_after(&self, name: &LocationName) -> Duration {
        let view = self.seen.standings().get(name);
        self.seen.note_read();
        hedge_after(&view.read, self.seen.hedge_options())
    }

    /// Takes leave to ask another location too.
    pub fn take_hedge(&self) -> bool {
        self.seen.take_hedge()
    }

    /// Tells what was seen of a location by somebody who knows more than its store: that bytes were wrong, or right, or that another
    /// location was faster.
    pub fn tell(&self, name: &LocationName, wanted: Use, outcome: Outcome) {
        self.seen.record(name, wanted, outcome);
    }

    /// Returns when a location lets no requests through for this use any more, which may be never.
    pub async fn shut(&self, name: &LocationName, wanted: Use) {
        let mut changes = self.seen.changes();
        loop {
            changes.mark_unchanged();
            if !self.standings().get(name).of(wanted).admits() {
                return;
            }
            if changes.changed().await.is_err() {
                // The sender is part of `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Whether a request is to be sent to a location.
#[derive(Debug)]
pub enum Wish {
    /// It is.
    Granted(Admitted),
    /// It is not, while there is another to ask.
    Refused,
}

/// Leave to send one request to a location. Dropping it says that the request is over.
#[derive(Debug)]
pub struct Admitted {
    seen: Arc<Seen>,
    trial: Option<Trial>,
    location: Location,
}

impl Admitted {
    /// The location, for this one request.
    pub const fn location(&self) -> &Location {
        &self.location
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(trial) = self.trial {
            self.seen.release(self.location.name(), trial);
        }
    }
}
