//! Locations that come back.

use std::collections::BTreeSet;

use roadstead_placement::{LocationName, Use};
use tokio::sync::watch;

use crate::locations::Locations;

/// Tells when a location that was left alone is used as usual again. Made by [`Locations::recoveries`].
#[derive(Debug)]
pub struct Recoveries {
    locations: Locations,
    changes: watch::Receiver<u64>,
    away: BTreeSet<(LocationName, Use)>,
}

impl Locations {
    /// What tells of recoveries from now on.
    pub fn recoveries(&self) -> Recoveries {
        Recoveries {
            changes: self.seen.changes(),
            away: self.away(),
            locations: self.clone(),
        }
    }

    /// What locations are not used for at this moment, or on trial only.
    fn away(&self) -> BTreeSet<(LocationName, Use)> {
        let standings = self.standings();
        let mut away = BTreeSet::new();
        for name in self.names() {
            for wanted in [Use::Read, Use::Write] {
                if !standings.get(name).of(wanted).is_closed() {
                    away.insert((name.clone(), wanted));
                }
            }
        }
        away
    }
}

impl Recoveries {
    /// Returns with a location that has come back since this last returned, which may be never. Several are told as one. When it is dropped
    /// before, nothing is lost.
    pub async fn next(&mut self) -> LocationName {
        loop {
            self.changes.mark_unchanged();
            let away = self.locations.away();
            let back = self.away.difference(&away).next().cloned();
            self.away = away;
            if let Some((location, _)) = back {
                return location;
            }
            // Its sender is part of `locations`.
            self.changes.changed().await.ok();
        }
    }
}
