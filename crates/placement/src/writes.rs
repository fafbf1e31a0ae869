//! Where a new blob goes.

use std::collections::BTreeSet;

use crate::{FailureKind, LocationName, Reason, Standings, Topology, UseView};

/// Chooses the location that a new upload is written to. Those that are `excluded` never are: closed for new bytes, or tried
/// already.
///
/// The first by preference, then by configured order, whose circuit for writing lets requests through, be it degraded: what is
/// written elsewhere has to come home. If none does, the first that is not known to be full or to refuse us; if all are, the
/// first.
///
/// # Errors
/// [`PlacementError::NoWritableLocation`] if all are excluded.
pub fn choose_write(
    topology: &Topology,
    excluded: &BTreeSet<LocationName>,
    standings: &Standings,
) -> Result<LocationName, PlacementError> {
    topology
        .locations()
        .iter()
        .filter(|location| !excluded.contains(*location))
        // Of equal ones the first.
        .min_by_key(|location| reluctance(&standings.get(location).write))
        .cloned()
        .ok_or_else(|| PlacementError::NoWritableLocation {
            locations: topology.locations().to_vec(),
        })
}

fn reluctance(view: &UseView) -> u8 {
    let needs_a_person =
        [FailureKind::Full, FailureKind::Refused].map(|kind| Some(Reason::from(kind)));
    if view.admits() {
        0
    } else if needs_a_person.contains(&view.reason) {
        2
    } else {
        1
    }
}

/// Why there is no location for something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Every location is unavailable. It passes when one of them comes back.
    #[error("no storage location can be written to at present; all {} configured are unavailable", locations.len())]
    NoWritableLocation {
        /// Every configured location.
        locations: Vec<LocationName>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standings::tests::{degraded, half_open, open, some_standings, standings};
    use crate::topology::tests::{name, names, some_names, some_topology, topology};
    use proptest::prelude::*;

    #[test]
    fn writes_go_to_the_first_location_that_is_available() {
        let topology = topology("us eu ap", "eu", "us");
        for (unavailable, expected) in [
            ("", "eu"),
            ("us", "eu"),
            ("eu", "us"),
            ("eu us", "ap"),
            ("eu mars", "us"),
        ] {
            assert_eq!(
                choose_write(&topology, &names(unavailable), &Standings::unknown()).unwrap(),
                name(expected)
            );
        }
        let error = choose_write(&topology, &names("us eu ap"), &Standings::unknown()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no storage location can be written to at present; all 3 configured are unavailable"
        );
    }

    #[test]
    fn an_open_circuit_is_written_to_only_when_no_other_location_is_left() {
        let topology = topology("a b c", "a b c", "");
        let down = open(FailureKind::Timeout.into());
        let full = open(FailureKind::Full.into());
        let denied = open(FailureKind::Refused.into());
        let slow = degraded(Reason::SlowAnswers);
        for (a, b, c, excluded, expected) in [
            (slow, half_open(1), down, "", "a"),
            (down, half_open(1), slow, "", "b"),
            (down, half_open(0), slow, "", "c"),
            (down, half_open(0), slow, "c", "a"),
            (full, denied, down, "", "c"),
            (full, denied, down, "c", "a"),
            (slow, slow, down, "a b", "c"),
        ] {
            let standings = standings(&[("a", a), ("b", b), ("c", c)]);
            let chosen = choose_write(&topology, &names(excluded), &standings);
            assert_eq!(chosen.unwrap(), name(expected));
        }
    }

    proptest! {
        #[test]
        fn somewhere_is_written_to_unless_everything_is_excluded(
            topology in some_topology(), excluded in some_names(), standings in some_standings(),
        ) {
            let left: Vec<_> = topology.locations().iter().filter(|location| !excluded.contains(*location)).collect();
            let admits = |location: &LocationName| standings.get(location).write.admits();
            match choose_write(&topology, &excluded, &standings) {
                Ok(chosen) => {
                    prop_assert!(left.contains(&&chosen));
                    prop_assert_eq!(admits(&chosen), left.iter().any(|location| admits(location)));
                    let again = choose_write(&topology, &excluded, &standings);
                    prop_assert_eq!(again, Ok(chosen));
                }
                Err(PlacementError::NoWritableLocation { .. }) => prop_assert!(left.is_empty()),
            }
        }

        #[test]
        fn the_choice_is_configured_and_available_and_nothing_better_is(topology in some_topology(), unavailable in some_names()) {
            match choose_write(&topology, &unavailable, &Standings::unknown()) {
                Ok(chosen) => {
                    prop_assert!(topology.contains(&chosen) && !unavailable.contains(&chosen));
                    let better = topology.locations().iter().take_while(|location| **location != chosen);
                    prop_assert!(better.into_iter().all(|location| unavailable.contains(location)));
                }
                Err(PlacementError::NoWritableLocation { locations }) => {
                    prop_assert!(locations.iter().all(|location| unavailable.contains(location)));
                }
            }
        }
    }
}
